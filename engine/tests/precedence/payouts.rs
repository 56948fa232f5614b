//! The ladders of operators, payouts and debts, and what is taken while all stands still.

use engine::{
    command::Command,
    event::{Event, RejectReason},
    exchange::{Decision, Exchange},
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, ClientOrderId, Controls, Digest, ExternalId, FeeRate, Gate,
        LimitType, ManifestHash, MarketId, OperatorId, OrderId, Price, Quantity, Sequence, Side, Timestamp,
        TradingStatus, WithdrawalId,
    },
};

use super::{
    ANN, ANN_OWES, ANNS_BID, ANNS_WITHDRAWAL, BOB, BTC, FREEZE, MARKET, NO_ASSET, NOBODY, RELEASE_ANNS, SUSPEND_ANN,
    USD, accepted, climb, limit, model::payouts::manifest_hash, refusal, refused, setting as whole_setting, symbol,
};

/// The author of all airdrops.
const AUTHOR: OperatorId = OperatorId(1);
const OTHER: OperatorId = OperatorId(2);
const THIRD: OperatorId = OperatorId(3);
const STRANGER: OperatorId = OperatorId(99);

/// Complete: 30 USD for Ann, 70 for Bob.
const GOOD: AirdropId = AirdropId(1);
/// Given up.
const CANCELLED: AirdropId = AirdropId(2);
/// One of two lines is there, of 1 USD for Ann; neither sum nor hash will be right.
const SHORT: AirdropId = AirdropId(3);
/// Complete but for the hash.
const WRONG: AirdropId = AirdropId(4);
/// Of all USD there can be; without a line.
const HUGE: AirdropId = AirdropId(5);
const NO_AIRDROP: AirdropId = AirdropId(99);

const NO_COVER: Command = Command::SetControls { controls: Controls(Controls::ALL.0 - Controls::COVER.0) };
const APPROVE: Command = Command::ApproveAirdrop { airdrop: GOOD, operator: OTHER };
const FUND: Command =
    Command::FundTreasury { asset: USD, amount: Amount(100), external_id: ExternalId::from_u128(1_000) };

const fn limits(recipient_max: u64, airdrop_max: u64, day_max: u64) -> Command {
    let (recipient_max, airdrop_max, day_max) = (Amount(recipient_max), Amount(airdrop_max), Amount(day_max));
    Command::SetAirdropLimits { asset: USD, recipient_max, airdrop_max, day_max }
}

const fn attest(asset: AssetId, amount: u64) -> Command {
    Command::AttestReserves { asset, amount: Amount(amount) }
}

const fn line(airdrop: AirdropId, account: AccountId, amount: u64) -> Command {
    Command::AddAirdropLine { airdrop, account, amount: Amount(amount) }
}

const fn open(airdrop: AirdropId, total: u64, lines: u32, hash: ManifestHash) -> Command {
    Command::OpenAirdrop { airdrop, author: AUTHOR, asset: USD, total: Amount(total), lines, hash, lock_seconds: 0 }
}

/// Three operators and five airdrops.
pub fn setting() -> Vec<Command> {
    let nobody = OperatorId(0);
    let register =
        |operator, first, second| Command::RegisterOperator { operator, key: Digest([7; 32]), first, second };
    let hash = manifest_hash(USD, &[(ANN, 30), (BOB, 70)]);
    vec![
        register(AUTHOR, nobody, nobody),
        register(OTHER, nobody, nobody),
        register(THIRD, AUTHOR, OTHER),
        open(GOOD, 100, 2, hash),
        line(GOOD, ANN, 30),
        line(GOOD, BOB, 70),
        open(CANCELLED, 100, 2, hash),
        line(CANCELLED, ANN, 30),
        Command::CancelAirdrop { airdrop: CANCELLED, operator: THIRD },
        open(SHORT, 100, 2, hash),
        line(SHORT, ANN, 1),
        open(WRONG, 100, 2, hash),
        line(WRONG, BOB, 70),
        line(WRONG, ANN, 30),
        open(HUGE, AMOUNT_MAX, 1, hash),
    ]
}

#[test]
fn operators() {
    let register = |operator, first, second| Command::RegisterOperator {
        operator: OperatorId(operator),
        key: Digest([7; 32]),
        first,
        second,
    };
    let revoke = |operator, first, second| Command::RevokeOperator { operator, first, second };
    climb(
        &["RegisterOperator"],
        &[
            refused(RejectReason::OperatorExists, &[], register(1, OTHER, OTHER)),
            refused(RejectReason::OperatorExists, &[], register(0, OTHER, STRANGER)),
            // One that was revoked stays taken.
            refused(RejectReason::OperatorExists, &[revoke(THIRD, AUTHOR, OTHER)], register(3, AUTHOR, OTHER)),
            refused(RejectReason::SameOperator, &[], register(9, OTHER, OTHER)),
            refused(RejectReason::EndorsementMissing, &[], register(9, STRANGER, STRANGER)),
            refused(RejectReason::EndorsementMissing, &[], register(9, OTHER, STRANGER)),
            refused(RejectReason::EndorsementMissing, &[], register(9, OperatorId(9), OTHER)),
            refused(RejectReason::EndorsementMissing, &[], register(9, OperatorId(0), OperatorId(0))),
            refused(RejectReason::EndorsementMissing, &[revoke(THIRD, AUTHOR, OTHER)], register(9, THIRD, OTHER)),
            (None, vec![FREEZE], register(9, AUTHOR, OTHER)),
        ],
    );
    climb(
        &["RevokeOperator"],
        &[
            refused(RejectReason::UnknownOperator, &[], revoke(STRANGER, OTHER, OTHER)),
            refused(RejectReason::UnknownOperator, &[revoke(THIRD, AUTHOR, OTHER)], revoke(THIRD, OTHER, OTHER)),
            refused(RejectReason::SameOperator, &[], revoke(THIRD, OTHER, OTHER)),
            refused(RejectReason::EndorsementMissing, &[], revoke(THIRD, THIRD, THIRD)),
            refused(RejectReason::EndorsementMissing, &[], revoke(THIRD, THIRD, OTHER)),
            refused(RejectReason::EndorsementMissing, &[], revoke(THIRD, OTHER, STRANGER)),
            (None, vec![FREEZE], revoke(THIRD, AUTHOR, OTHER)),
        ],
    );
}

#[test]
fn guards() {
    let gate = |asset, withdrawals| Command::SetAssetWithdrawals { asset, withdrawals };
    climb(
        &["SetAssetWithdrawals"],
        &[
            refused(RejectReason::UnknownAsset, &[FREEZE], gate(NO_ASSET, Gate::Closed)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], gate(USD, Gate::Open)),
            accepted(gate(USD, Gate::Open)),
        ],
    );
    let velocity = |asset, amount| Command::SetPayoutVelocity { asset, amount_max: Amount(amount), window_seconds: 1 };
    climb(
        &["SetPayoutVelocity"],
        &[
            refused(RejectReason::UnknownAsset, &[FREEZE], velocity(NO_ASSET, AMOUNT_MAX + 1)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], velocity(USD, AMOUNT_MAX + 1)),
            refused(RejectReason::AmountTooLarge, &[], velocity(USD, AMOUNT_MAX + 1)),
            accepted(velocity(USD, AMOUNT_MAX)),
        ],
    );
    let of_none = Command::SetAirdropLimits {
        asset: NO_ASSET,
        recipient_max: Amount(u64::MAX),
        airdrop_max: Amount(u64::MAX),
        day_max: Amount(u64::MAX),
    };
    climb(
        &["SetAirdropLimits"],
        &[
            refused(RejectReason::UnknownAsset, &[FREEZE], of_none),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], limits(u64::MAX, 0, 0)),
            refused(RejectReason::AmountTooLarge, &[], limits(AMOUNT_MAX + 1, 0, 0)),
            refused(RejectReason::AmountTooLarge, &[], limits(0, AMOUNT_MAX + 1, 0)),
            refused(RejectReason::AmountTooLarge, &[], limits(0, 0, AMOUNT_MAX + 1)),
            accepted(limits(AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX)),
        ],
    );
    let set = |controls| Command::SetControls { controls: Controls(controls) };
    climb(
        &["SetControls"],
        &[
            refused(RejectReason::ExchangeFrozen, &[FREEZE], set(8)),
            refused(RejectReason::InvalidControls, &[], set(8)),
            accepted(set(0)),
        ],
    );
    climb(
        &["AttestReserves"],
        &[
            refused(RejectReason::UnknownAsset, &[], attest(NO_ASSET, AMOUNT_MAX + 1)),
            refused(RejectReason::AmountTooLarge, &[], attest(USD, AMOUNT_MAX + 1)),
            (Some(RejectReason::AmountTooLarge), vec![FREEZE], attest(USD, u64::MAX)),
            (None, vec![FREEZE], attest(USD, 0)),
        ],
    );
    let fund = |asset, amount, id| Command::FundTreasury {
        asset,
        amount: Amount(amount),
        external_id: ExternalId::from_u128(id),
    };
    climb(
        &["FundTreasury"],
        &[
            refused(RejectReason::UnknownAsset, &[], fund(NO_ASSET, 0, 2)),
            refused(RejectReason::ZeroAmount, &[], fund(USD, 0, 2)),
            refused(RejectReason::AmountTooLarge, &[], fund(USD, AMOUNT_MAX + 1, 2)),
            refused(RejectReason::SupplyTooLarge, &[], fund(USD, AMOUNT_MAX - 1_999_999, 2)),
            // Where a deposit was credited.
            refused(RejectReason::DuplicateExternalId, &[], fund(USD, AMOUNT_MAX - 2_000_000, 2)),
            refused(RejectReason::DuplicateExternalId, &[FUND], fund(USD, 1, 1_000)),
            (None, vec![FREEZE], fund(USD, AMOUNT_MAX - 2_000_000, 5)),
        ],
    );
}

#[test]
fn manifests() {
    let open = |airdrop, author, asset, total, lines| Command::OpenAirdrop {
        airdrop,
        author,
        asset,
        total: Amount(total),
        lines,
        hash: ManifestHash([0; 16]),
        lock_seconds: 0,
    };
    climb(
        &["OpenAirdrop"],
        &[
            refused(RejectReason::UnknownAsset, &[FREEZE], open(GOOD, STRANGER, NO_ASSET, 0, 0)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], open(GOOD, STRANGER, USD, 0, 0)),
            refused(RejectReason::ZeroAmount, &[], open(GOOD, STRANGER, USD, 0, 0)),
            refused(RejectReason::AmountTooLarge, &[], open(GOOD, STRANGER, USD, AMOUNT_MAX + 1, 0)),
            refused(RejectReason::UnknownOperator, &[], open(GOOD, STRANGER, USD, AMOUNT_MAX, 0)),
            refused(RejectReason::AirdropExists, &[], open(GOOD, AUTHOR, USD, AMOUNT_MAX, 0)),
            refused(RejectReason::AirdropExists, &[], open(CANCELLED, AUTHOR, USD, AMOUNT_MAX, 0)),
            refused(RejectReason::LineCountInvalid, &[], open(NO_AIRDROP, AUTHOR, USD, AMOUNT_MAX, 0)),
            refused(RejectReason::LineCountInvalid, &[], open(NO_AIRDROP, AUTHOR, USD, AMOUNT_MAX, 1_000_001)),
            accepted(open(NO_AIRDROP, AUTHOR, USD, AMOUNT_MAX, 1_000_000)),
        ],
    );
    climb(
        &["AddAirdropLine"],
        &[
            refused(RejectReason::UnknownAccount, &[FREEZE], line(NO_AIRDROP, NOBODY, 0)),
            refused(RejectReason::UnknownAccount, &[FREEZE], line(NO_AIRDROP, AccountId::TREASURY, 0)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], line(NO_AIRDROP, ANN, 0)),
            refused(RejectReason::ZeroAmount, &[], line(NO_AIRDROP, ANN, 0)),
            refused(RejectReason::AmountTooLarge, &[], line(NO_AIRDROP, ANN, AMOUNT_MAX + 1)),
            refused(RejectReason::UnknownAirdrop, &[], line(NO_AIRDROP, ANN, AMOUNT_MAX)),
            // It has all its lines, is approved, or given up.
            refused(RejectReason::AirdropStateInvalid, &[], line(GOOD, ANN, 1)),
            refused(RejectReason::AirdropStateInvalid, &[APPROVE], line(GOOD, ANN, 1)),
            refused(RejectReason::AirdropStateInvalid, &[], line(CANCELLED, ANN, 1)),
            refused(RejectReason::DuplicateRecipient, &[], line(SHORT, ANN, 1)),
            (None, vec![SUSPEND_ANN, ANN_OWES], line(HUGE, ANN, AMOUNT_MAX)),
        ],
    );
    let approve = |airdrop, operator| Command::ApproveAirdrop { airdrop, operator };
    climb(
        &["ApproveAirdrop"],
        &[
            refused(RejectReason::ExchangeFrozen, &[FREEZE], approve(NO_AIRDROP, STRANGER)),
            refused(RejectReason::UnknownOperator, &[], approve(NO_AIRDROP, STRANGER)),
            refused(RejectReason::SameOperator, &[], approve(CANCELLED, AUTHOR)),
            refused(RejectReason::UnknownAirdrop, &[], approve(NO_AIRDROP, OTHER)),
            refused(RejectReason::AirdropStateInvalid, &[], approve(CANCELLED, OTHER)),
            refused(RejectReason::AirdropIncomplete, &[], approve(SHORT, OTHER)),
            refused(RejectReason::AirdropTotalMismatch, &[line(SHORT, BOB, 70)], approve(SHORT, OTHER)),
            refused(RejectReason::AirdropHashMismatch, &[], approve(WRONG, OTHER)),
            // Again, by another.
            (None, vec![APPROVE], approve(GOOD, THIRD)),
            accepted(approve(GOOD, OTHER)),
        ],
    );
    let cancel = |airdrop, operator| Command::CancelAirdrop { airdrop, operator };
    climb(
        &["CancelAirdrop"],
        &[
            refused(RejectReason::ExchangeFrozen, &[FREEZE], cancel(NO_AIRDROP, STRANGER)),
            refused(RejectReason::UnknownOperator, &[], cancel(NO_AIRDROP, STRANGER)),
            refused(RejectReason::UnknownAirdrop, &[], cancel(NO_AIRDROP, AUTHOR)),
            refused(RejectReason::AirdropStateInvalid, &[], cancel(CANCELLED, AUTHOR)),
            (None, vec![APPROVE], cancel(GOOD, AUTHOR)),
        ],
    );
}

#[test]
fn execute_airdrop() {
    let execute = |airdrop, operator| Command::ExecuteAirdrop { airdrop, operator };
    let all = limits(1, 1, 1);
    climb(
        &["ExecuteAirdrop"],
        &[
            refused(RejectReason::ExchangeFrozen, &[all, NO_COVER, FREEZE], execute(HUGE, STRANGER)),
            refused(RejectReason::SupplyTooLarge, &[all, NO_COVER], execute(HUGE, STRANGER)),
            refused(RejectReason::UnknownOperator, &[all], execute(NO_AIRDROP, STRANGER)),
            refused(RejectReason::UnknownAirdrop, &[all], execute(NO_AIRDROP, AUTHOR)),
            refused(RejectReason::AirdropStateInvalid, &[all], execute(CANCELLED, AUTHOR)),
            refused(RejectReason::AirdropIncomplete, &[all], execute(SHORT, AUTHOR)),
            refused(RejectReason::AirdropTotalMismatch, &[all, line(SHORT, BOB, 70)], execute(SHORT, AUTHOR)),
            refused(RejectReason::AirdropHashMismatch, &[all], execute(WRONG, AUTHOR)),
            refused(RejectReason::ApprovalMissing, &[all], execute(GOOD, AUTHOR)),
            refused(RejectReason::OverRecipientLimit, &[limits(69, 1, 1), APPROVE], execute(GOOD, AUTHOR)),
            refused(RejectReason::OverAirdropLimit, &[limits(70, 99, 1), APPROVE], execute(GOOD, AUTHOR)),
            refused(RejectReason::OverDayLimit, &[limits(70, 100, 99), APPROVE], execute(GOOD, AUTHOR)),
            refused(RejectReason::TreasuryNotCovered, &[limits(70, 100, 100), APPROVE], execute(GOOD, AUTHOR)),
            refused(RejectReason::ReservesNotAttested, &[APPROVE, FUND], execute(GOOD, AUTHOR)),
            refused(RejectReason::ReservesExceeded, &[APPROVE, FUND, attest(USD, 2_000_099)], execute(GOOD, AUTHOR)),
            // Without cover, what is paid comes on top of what is owed.
            refused(
                RejectReason::ReservesExceeded,
                &[APPROVE, NO_COVER, attest(USD, 2_000_099)],
                execute(GOOD, AUTHOR),
            ),
            (None, vec![APPROVE, NO_COVER, attest(USD, 2_000_100)], execute(GOOD, AUTHOR)),
            (None, vec![APPROVE, FUND, attest(USD, 2_000_100)], execute(GOOD, AUTHOR)),
            // With no controls at all, any operator's.
            (None, vec![Command::SetControls { controls: Controls::NONE }], execute(GOOD, AUTHOR)),
        ],
    );
}

#[test]
fn set_off_and_the_rest() {
    let set_off = |account, asset| Command::SetOff { account, asset };
    let emptied = Command::RequestWithdrawalOfAll { account: ANN, asset: BTC };
    climb(
        &["SetOff"],
        &[
            refused(RejectReason::UnknownAccount, &[emptied, FREEZE], set_off(NOBODY, NO_ASSET)),
            refused(RejectReason::UnknownAsset, &[emptied, FREEZE], set_off(ANN, NO_ASSET)),
            refused(RejectReason::ExchangeFrozen, &[emptied, FREEZE], set_off(ANN, BTC)),
            refused(RejectReason::InsufficientAvailable, &[emptied], set_off(ANN, BTC)),
            refused(RejectReason::NothingOwed, &[], set_off(ANN, BTC)),
            refused(RejectReason::NothingOwed, &[ANN_OWES], set_off(ANN, USD)),
            // It is for those who owe, also when they are suspended.
            (None, vec![ANN_OWES, SUSPEND_ANN, super::GLOBAL_HALT], set_off(ANN, BTC)),
        ],
    );
    climb(&["Tick"], &[(None, vec![FREEZE], Command::Tick {})]);
    let part = |length| Command::AddPlanPart { index: 0, length, bytes: Digest([0; 32]) };
    climb(
        &["AddPlanPart"],
        &[
            refused(RejectReason::InvalidPlanPart, &[], part(0)),
            refused(RejectReason::InvalidPlanPart, &[], part(33)),
            (None, vec![FREEZE], part(1)),
            accepted(part(32)),
        ],
    );
}

/// An epoch starts where it was prepared for, and nowhere else. Accepted, it replaces the state, and so has no last rung.
#[test]
fn start_epoch() {
    let start = |at| Command::StartEpoch { at: Sequence(at), digest: Digest([0; 32]) };
    for at in [0, 6, 8, u64::MAX] {
        let mut events = Vec::new();
        Exchange::new().apply(Sequence(7), Timestamp(1), &start(at), &mut events);
        assert_eq!(refusal(&events), Some(RejectReason::EpochOutOfPlace));
    }
    assert_eq!(Exchange::new().decide(Sequence(7), Timestamp(1), &start(7)), Decision::StartEpoch);
}

/// While all stands still for a recovery: facts and what a recovery needs, and nothing else.
#[test]
fn what_is_taken_while_frozen() {
    let external_id = ExternalId::from_u128(5);
    let (account, asset, market, amount) = (ANN, USD, MARKET, Amount(1));
    let (withdrawal, client_order_id) = (WithdrawalId(ANNS_WITHDRAWAL.0), ClientOrderId(9));
    let rates = (FeeRate(0), FeeRate(0));
    let taken = [
        Command::Deposit { account, asset, amount, external_id },
        Command::FundTreasury { asset, amount, external_id },
        Command::ConfirmWithdrawalSent { withdrawal, external_id },
        Command::FailWithdrawal { withdrawal },
        attest(USD, 1),
        SUSPEND_ANN,
        Command::RegisterOperator { operator: OperatorId(4), key: Digest([4; 32]), first: AUTHOR, second: OTHER },
        Command::RevokeOperator { operator: THIRD, first: AUTHOR, second: OTHER },
        Command::AddPlanPart { index: 0, length: 32, bytes: Digest([1; 32]) },
        Command::Tick {},
        Command::SetGlobalStatus { status: TradingStatus::Halted },
        Command::SetGlobalStatus { status: TradingStatus::Frozen },
    ];
    let frozen = RejectReason::ExchangeFrozen;
    let (halted, market_halted) = (RejectReason::ExchangeHalted, RejectReason::MarketHalted);
    let quantity = Quantity(1);
    let refused = [
        (frozen, Command::AddAsset { asset: AssetId(2), symbol: symbol("ETH"), scale: 2 }),
        (
            frozen,
            Command::AddMarket {
                market: MarketId(2),
                base: BTC,
                quote: USD,
                lot_size: amount,
                tick_value: amount,
                maker_rate: rates.0,
                taker_rate: rates.1,
            },
        ),
        (frozen, Command::SetMarketFees { market, maker_rate: rates.0, taker_rate: rates.1 }),
        (frozen, Command::SetMarketStatus { market, status: TradingStatus::Halted }),
        (frozen, Command::SetAssetWithdrawals { asset, withdrawals: Gate::Closed }),
        (frozen, Command::CreateAccount { account: NOBODY }),
        (frozen, Command::SetPayoutVelocity { asset, amount_max: amount, window_seconds: 1 }),
        (frozen, limits(0, 0, 0)),
        (frozen, Command::SetControls { controls: Controls::ALL }),
        (frozen, open(NO_AIRDROP, 1, 1, ManifestHash([0; 16]))),
        (frozen, line(SHORT, BOB, 1)),
        (frozen, APPROVE),
        (frozen, Command::ExecuteAirdrop { airdrop: GOOD, operator: AUTHOR }),
        (frozen, Command::CancelAirdrop { airdrop: GOOD, operator: AUTHOR }),
        (frozen, Command::SetOff { account, asset }),
        (halted, Command::Transfer { from: ANN, to: BOB, asset, amount }),
        (halted, Command::RequestWithdrawal { account, asset, amount }),
        (halted, Command::RequestWithdrawalOfAll { account, asset }),
        (halted, Command::CancelWithdrawal { account: BOB, withdrawal: super::BOBS_WITHDRAWAL }),
        (halted, super::RELEASE_BOBS),
        (market_halted, limit(ANN, MARKET, Side::Buy, LimitType::GoodTillCancel, 1, 1, 9)),
        (market_halted, Command::PlaceMarketBuy { account, market, budget: amount, client_order_id }),
        (market_halted, Command::PlaceMarketSell { account, market, quantity, client_order_id }),
        (market_halted, Command::CancelOrder { account, order: OrderId(ANNS_BID.0) }),
        (market_halted, Command::CancelByClientOrderId { account, client_order_id: ClientOrderId(7) }),
        (market_halted, Command::ReduceOrder { account, order: ANNS_BID, quantity }),
        (
            market_halted,
            Command::ReplaceOrder { account, market, side: Side::Buy, order: ANNS_BID, price: Price(1), quantity },
        ),
        (market_halted, Command::CancelAllOfAccount { account }),
        (market_halted, Command::CancelAllOfMarket { market }),
    ];
    let all = taken.iter().map(|command| (None, *command));
    for (expected, command) in all.chain(refused.iter().map(|(reason, command)| (Some(*reason), *command))) {
        let mut exchange = Exchange::new();
        let mut events: Vec<Event> = Vec::new();
        let before = [whole_setting(), vec![RELEASE_ANNS, FREEZE], vec![command]].concat();
        for (sequence, command) in (1..).map(Sequence).zip(&before) {
            events.clear();
            exchange.apply(sequence, Timestamp(1), command, &mut events);
        }
        assert_eq!(refusal(&events), expected, "{command:?}");
    }
    // Those that are left need a setting of their own: a sent withdrawal, a suspended account, an epoch prepared for.
    let named: Vec<_> = taken.iter().chain(refused.iter().map(|(_, command)| command)).map(Command::kind).collect();
    let unknown = |kind: u8| engine::types::wire::WireError::UnknownKind(kind);
    let kinds = (0..=u8::MAX).filter(|&kind| Command::decode(&[kind]) != Err(unknown(kind)));
    let left: Vec<_> = kinds.filter(|kind| !named.contains(kind)).collect();
    let rest = [
        Command::ResumeAccount { account },
        Command::ConfirmWithdrawalSettled { withdrawal },
        Command::StartEpoch { at: Sequence(0), digest: Digest([0; 32]) },
    ];
    assert_eq!(left, rest.map(|command| command.kind()));
}
