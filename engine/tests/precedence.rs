//! The order of checks: a command that violates several is refused for the first.
//!
//! For each kind of command a ladder. Its first rung violates as much at once as it can; each rung repairs what
//! the rung before it was refused for and nothing else. So every two neighbours show that of two violations the
//! earlier one is named. Where two exclude each other (an unknown account is not a suspended one; a price is not
//! both zero and too large) the repair brings the next violation in. The last rung is accepted. That a ladder
//! has every reason in its order is checked against the table in `engine/src/exchange/rules.md`.

#[path = "model/mod.rs"]
mod model;
#[path = "precedence/payouts.rs"]
mod payouts;

use engine::{
    command::Command,
    event::{Event, RejectReason},
    exchange::Exchange,
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, Digest, ExternalId, FeeRate, Gate, LimitType, MarketId,
        OrderId, PRICE_MAX, Price, Quantity, Sequence, Side, Symbol, Timestamp, TradingStatus, WithdrawalId,
    },
};
use model::ModelExchange;

const BTC: AssetId = AssetId(0);
const USD: AssetId = AssetId(1);
const NO_ASSET: AssetId = AssetId(9);
const MARKET: MarketId = MarketId(0);
const OTHER_MARKET: MarketId = MarketId(1);
const NO_MARKET: MarketId = MarketId(9);
/// Owns the order and the withdrawal of the setting.
const ANN: AccountId = AccountId(1);
/// Has the ask that others would trade with.
const BOB: AccountId = AccountId(2);
const NOBODY: AccountId = AccountId(9);

const GLOBAL_HALT: Command = Command::SetGlobalStatus { status: TradingStatus::Halted };
const GLOBAL_CANCEL_ONLY: Command = Command::SetGlobalStatus { status: TradingStatus::CancelOnly };
const MARKET_HALT: Command = Command::SetMarketStatus { market: MARKET, status: TradingStatus::Halted };
const MARKET_CANCEL_ONLY: Command = Command::SetMarketStatus { market: MARKET, status: TradingStatus::CancelOnly };
const MARKET_AUCTION: Command = Command::SetMarketStatus { market: MARKET, status: TradingStatus::Auction };
const FREEZE: Command = Command::SetGlobalStatus { status: TradingStatus::Frozen };
const SUSPEND_ANN: Command = Command::SuspendAccount { account: ANN };
const STOP_USD: Command = Command::SetAssetWithdrawals { asset: USD, withdrawals: Gate::Closed };
const STOP_BTC: Command = Command::SetAssetWithdrawals { asset: BTC, withdrawals: Gate::Closed };
const NO_MORE_USD: Command = Command::SetPayoutVelocity { asset: USD, amount_max: Amount(0), window_seconds: 60 };
const NO_MORE_BTC: Command = Command::SetPayoutVelocity { asset: BTC, amount_max: Amount(0), window_seconds: 60 };
/// Stands for a recovery behind which Ann owes some BTC: no command does that.
const ANN_OWES: Command = Command::AddPlanPart { index: u32::MAX, length: 1, bytes: Digest([0xFF; 32]) };

/// What is refused, after which further commands, and why; `None` when it is accepted.
type Rung = (Option<RejectReason>, Vec<Command>, Command);

fn refused(reason: RejectReason, before: &[Command], command: Command) -> Rung {
    (Some(reason), before.to_vec(), command)
}

fn accepted(command: Command) -> Rung {
    (None, Vec::new(), command)
}

/// Two assets, two markets, two funded accounts; Ann's post-only bid (client order id 7) of 10 at 90 and her
/// requested withdrawal of 100 USD; Bob's ask of 5 at 110 and his requested withdrawal. Behind it, the setting of payouts.
fn setting() -> Vec<Command> {
    let deposit = |account, asset, id| Command::Deposit {
        account,
        asset,
        amount: Amount(1_000_000),
        external_id: ExternalId::from_u128(id),
    };
    let add_market = |market| Command::AddMarket {
        market,
        base: BTC,
        quote: USD,
        lot_size: Amount(10),
        tick_value: Amount(3),
        maker_rate: FeeRate(100),
        taker_rate: FeeRate(200),
    };
    vec![
        Command::AddAsset { asset: BTC, symbol: symbol("BTC"), scale: 8 },
        Command::AddAsset { asset: USD, symbol: symbol("USD"), scale: 2 },
        add_market(MARKET),
        add_market(OTHER_MARKET),
        Command::CreateAccount { account: ANN },
        Command::CreateAccount { account: BOB },
        deposit(ANN, BTC, 1),
        deposit(ANN, USD, 2),
        deposit(BOB, BTC, 3),
        deposit(BOB, USD, 4),
        limit(ANN, MARKET, Side::Buy, LimitType::PostOnly, 90, 10, 7),
        limit(BOB, MARKET, Side::Sell, LimitType::GoodTillCancel, 110, 5, 7),
        Command::RequestWithdrawal { account: ANN, asset: USD, amount: Amount(100) },
        Command::RequestWithdrawal { account: BOB, asset: USD, amount: Amount(100) },
    ]
    .into_iter()
    .chain(payouts::setting())
    .collect()
}

/// By their places in the setting.
const ANNS_BID: OrderId = OrderId(11);
const BOBS_ASK: OrderId = OrderId(12);
const ANNS_WITHDRAWAL: WithdrawalId = WithdrawalId(13);
const BOBS_WITHDRAWAL: WithdrawalId = WithdrawalId(14);
const NO_WITHDRAWAL: WithdrawalId = WithdrawalId(1);
const NO_ORDER: OrderId = OrderId(1);
const RELEASE_ANNS: Command =
    Command::ReleaseWithdrawal { withdrawal: ANNS_WITHDRAWAL, account: ANN, asset: USD, amount: Amount(100) };
const RELEASE_BOBS: Command =
    Command::ReleaseWithdrawal { withdrawal: BOBS_WITHDRAWAL, account: BOB, asset: USD, amount: Amount(100) };

fn symbol(text: &str) -> Symbol {
    text.parse().expect("a valid symbol")
}

fn limit(
    account: AccountId,
    market: MarketId,
    side: Side,
    limit_type: LimitType,
    price: u64,
    quantity: u64,
    client_order_id: u64,
) -> Command {
    let (price, quantity) = (Price(price), Quantity(quantity));
    let client_order_id = ClientOrderId(client_order_id);
    Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id }
}

/// Climbs a ladder on the engine and on the model, and compares its reasons with the table's.
fn climb(kinds: &[&str], ladder: &[Rung]) {
    for (reason, before, command) in ladder {
        let mut commands = setting();
        commands.extend(before);
        commands.push(*command);
        let mut exchange = Exchange::new();
        let mut model = ModelExchange::new();
        let (mut events, mut expected) = (Vec::new(), Vec::new());
        for (index, command) in commands.iter().enumerate() {
            let sequence = Sequence(index as u64 + 1);
            events.clear();
            if *command == ANN_OWES {
                model.make_owe(ANN, BTC, 10);
                exchange = Exchange::from_canonical_state(&model.canonical_state(), sequence, 0).expect("a state");
                continue;
            }
            exchange.apply(sequence, Timestamp(1), command, &mut events);
            expected = model.apply(sequence, Timestamp(1), command);
            if index + 1 < commands.len() {
                assert_eq!(refusal(&expected), None, "the setting must be accepted: {command:?}");
            }
        }
        assert_eq!(refusal(&expected), *reason, "the model on {command:?} after {before:?}");
        assert_eq!(events, expected, "the engine on {command:?} after {before:?}");
        assert!(kinds.contains(&command.kind_name()), "{command:?} is on another's ladder");
    }
    let mut climbed: Vec<_> = ladder.iter().filter_map(|rung| rung.0).map(RejectReason::name).collect();
    climbed.dedup();
    for kind in kinds {
        assert_eq!(climbed, table(kind), "reasons of {kind}, and those in the table");
    }
    assert_eq!(ladder.last().map(|rung| rung.0), Some(None), "the last rung is accepted");
}

fn refusal(events: &[Event]) -> Option<RejectReason> {
    match events {
        [Event::Refused { reason, .. }] => Some(*reason),
        _ => None,
    }
}

/// The reasons that the table of the rules has for a kind, in order, but for the one that no test can reach.
fn table(kind: &str) -> Vec<&'static str> {
    let rules = include_str!("../src/exchange/rules.md");
    let row = |wanted: &str| -> Vec<&'static str> {
        // The last one: a later version's row takes the place of an earlier one's.
        let found = rules.lines().filter(|line| line.starts_with("| ")).rev().find_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            cells[1].split(", ").any(|name| name == wanted).then(|| (cells[2], cells[3]))
        });
        let (risk, matcher) = found.unwrap_or_else(|| panic!("{wanted} is in the table"));
        let words = |cell: &'static str| cell.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
        words(risk).chain(words(matcher)).collect()
    };
    let mut words = row(kind);
    if words.contains(&"as") {
        words.extend(row("PlaceMarketBuy").into_iter().skip_while(|word| *word != "market_halted"));
    }
    let is_reason = |word: &&str| RejectReason::ALL.iter().any(|reason| reason.name() == *word);
    let unreachable = RejectReason::TooManyOpenOrders.name();
    words.into_iter().filter(is_reason).filter(|word| *word != unreachable).collect()
}

#[test]
fn add_asset() {
    let add = |asset, text: &[u8; 12], scale| Command::AddAsset {
        asset: AssetId(asset),
        symbol: Symbol::from_bytes(*text),
        scale,
    };
    climb(
        &["AddAsset"],
        &[
            refused(RejectReason::AssetIdTooLarge, &[], add(1_024, b"btc\0\0\0\0\0\0\0\0\0", 19)),
            refused(RejectReason::AssetExists, &[], add(0, b"btc\0\0\0\0\0\0\0\0\0", 19)),
            refused(RejectReason::InvalidSymbol, &[], add(2, b"btc\0\0\0\0\0\0\0\0\0", 19)),
            refused(RejectReason::SymbolExists, &[], add(2, b"BTC\0\0\0\0\0\0\0\0\0", 19)),
            refused(RejectReason::ScaleTooLarge, &[FREEZE], add(2, b"ETH\0\0\0\0\0\0\0\0\0", 19)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], add(2, b"ETH\0\0\0\0\0\0\0\0\0", 18)),
            accepted(add(2, b"ETH\0\0\0\0\0\0\0\0\0", 18)),
        ],
    );
}

#[test]
fn add_market() {
    let add = |market, (base, quote), lot_size, tick_value, (maker_rate, taker_rate)| Command::AddMarket {
        market: MarketId(market),
        base,
        quote,
        lot_size: Amount(lot_size),
        tick_value: Amount(tick_value),
        maker_rate: FeeRate(maker_rate),
        taker_rate: FeeRate(taker_rate),
    };
    climb(
        &["AddMarket"],
        &[
            refused(RejectReason::UnknownAsset, &[], add(4_096, (NO_ASSET, NO_ASSET), 0, 0, (-10_001, 0))),
            refused(RejectReason::UnknownAsset, &[], add(4_096, (USD, NO_ASSET), 0, 0, (-10_001, 0))),
            refused(RejectReason::MarketIdTooLarge, &[], add(4_096, (USD, USD), 0, 0, (-10_001, 0))),
            refused(RejectReason::MarketExists, &[], add(0, (USD, USD), 0, 0, (-10_001, 0))),
            refused(RejectReason::SameBaseAndQuote, &[], add(2, (USD, USD), 0, 0, (-10_001, 0))),
            refused(RejectReason::InvalidLotSize, &[], add(2, (BTC, USD), 0, 0, (-10_001, 0))),
            refused(RejectReason::InvalidLotSize, &[], add(2, (BTC, USD), AMOUNT_MAX + 1, 0, (-10_001, 0))),
            refused(RejectReason::InvalidTickValue, &[], add(2, (BTC, USD), 1, 0, (-10_001, 0))),
            refused(RejectReason::InvalidTickValue, &[], add(2, (BTC, USD), 1, AMOUNT_MAX + 1, (-10_001, 0))),
            refused(RejectReason::FeeRateOutOfRange, &[], add(2, (BTC, USD), 1, 1, (-10_001, 0))),
            refused(RejectReason::FeeRateOutOfRange, &[], add(2, (BTC, USD), 1, 1, (0, -10_001))),
            refused(RejectReason::FeeRatesSumNegative, &[FREEZE], add(2, (BTC, USD), 1, 1, (-10_000, 9_999))),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], add(2, (BTC, USD), AMOUNT_MAX, 1, (-10_000, 10_000))),
            accepted(add(2, (BTC, USD), AMOUNT_MAX, AMOUNT_MAX, (-10_000, 10_000))),
        ],
    );
}

#[test]
fn set_market_fees_and_statuses() {
    let set = |market, maker_rate, taker_rate| Command::SetMarketFees {
        market,
        maker_rate: FeeRate(maker_rate),
        taker_rate: FeeRate(taker_rate),
    };
    climb(
        &["SetMarketFees"],
        &[
            refused(RejectReason::UnknownMarket, &[], set(NO_MARKET, -10_001, 0)),
            refused(RejectReason::FeeRateOutOfRange, &[], set(MARKET, -10_001, 0)),
            refused(RejectReason::FeeRatesSumNegative, &[FREEZE], set(MARKET, -1, 0)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], set(MARKET, -1, 1)),
            accepted(set(MARKET, -1, 1)),
        ],
    );
    let set = |market, status| Command::SetMarketStatus { market, status };
    climb(
        &["SetMarketStatus"],
        &[
            refused(RejectReason::UnknownMarket, &[FREEZE], set(NO_MARKET, TradingStatus::Frozen)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], set(MARKET, TradingStatus::Frozen)),
            refused(RejectReason::InvalidStatus, &[], set(MARKET, TradingStatus::Frozen)),
            accepted(set(MARKET, TradingStatus::Auction)),
        ],
    );
    let status = TradingStatus::CancelOnly;
    climb(&["SetGlobalStatus"], &[(None, vec![FREEZE], Command::SetGlobalStatus { status })]);
    climb(&["SetGlobalStatus"], &[accepted(FREEZE)]);
    climb(&["SetGlobalStatus"], &[accepted(Command::SetGlobalStatus { status })]);
}

#[test]
fn accounts() {
    let create = |account| Command::CreateAccount { account };
    climb(
        &["CreateAccount"],
        &[
            refused(RejectReason::ReservedAccount, &[FREEZE], create(AccountId::EXTERNAL)),
            refused(RejectReason::AccountExists, &[FREEZE], create(ANN)),
            refused(RejectReason::ExchangeFrozen, &[FREEZE], create(AccountId::USER_MAX)),
            accepted(create(AccountId::USER_MAX)),
        ],
    );
    let suspend = |account| Command::SuspendAccount { account };
    climb(
        &["SuspendAccount"],
        &[
            refused(RejectReason::UnknownAccount, &[], suspend(AccountId::FEES)),
            refused(RejectReason::AccountSuspended, &[SUSPEND_ANN], suspend(ANN)),
            // Also one that owes, and while all stands still.
            (None, vec![ANN_OWES, FREEZE], suspend(ANN)),
        ],
    );
    let resume = |account| Command::ResumeAccount { account };
    climb(
        &["ResumeAccount"],
        &[
            refused(RejectReason::UnknownAccount, &[], resume(AccountId(0))),
            refused(RejectReason::AccountNotSuspended, &[], resume(ANN)),
            (None, vec![ANN_OWES, SUSPEND_ANN, FREEZE], resume(ANN)),
        ],
    );
}

#[test]
fn deposit() {
    let deposit = |account, asset, amount, id| Command::Deposit {
        account,
        asset,
        amount: Amount(amount),
        external_id: ExternalId::from_u128(id),
    };
    climb(
        &["Deposit"],
        &[
            refused(RejectReason::UnknownAccount, &[], deposit(NOBODY, NO_ASSET, 0, 2)),
            refused(RejectReason::UnknownAsset, &[], deposit(ANN, NO_ASSET, 0, 2)),
            refused(RejectReason::ZeroAmount, &[], deposit(ANN, USD, 0, 2)),
            refused(RejectReason::AmountTooLarge, &[], deposit(ANN, USD, AMOUNT_MAX + 1, 2)),
            refused(RejectReason::SupplyTooLarge, &[], deposit(ANN, USD, AMOUNT_MAX - 1_999_999, 2)),
            refused(RejectReason::DuplicateExternalId, &[], deposit(ANN, USD, AMOUNT_MAX - 2_000_000, 2)),
            (None, vec![SUSPEND_ANN, ANN_OWES, FREEZE], deposit(ANN, USD, AMOUNT_MAX - 2_000_000, 5)),
        ],
    );
}

#[test]
fn transfer() {
    let transfer = |from, to, asset, amount| Command::Transfer { from, to, asset, amount: Amount(amount) };
    let halted = &[GLOBAL_HALT][..];
    let both = &[GLOBAL_HALT, ANN_OWES, SUSPEND_ANN][..];
    climb(
        &["Transfer"],
        &[
            refused(RejectReason::UnknownAccount, both, transfer(NOBODY, NOBODY, NO_ASSET, 0)),
            refused(RejectReason::UnknownAccount, both, transfer(ANN, NOBODY, NO_ASSET, 0)),
            refused(RejectReason::AccountSuspended, both, transfer(ANN, ANN, NO_ASSET, 0)),
            refused(RejectReason::AccountOwes, &[GLOBAL_HALT, ANN_OWES], transfer(ANN, ANN, NO_ASSET, 0)),
            refused(RejectReason::SameAccount, halted, transfer(ANN, ANN, NO_ASSET, 0)),
            refused(RejectReason::UnknownAsset, halted, transfer(ANN, BOB, NO_ASSET, 0)),
            refused(RejectReason::ExchangeHalted, halted, transfer(ANN, BOB, USD, 0)),
            refused(RejectReason::ExchangeHalted, &[FREEZE], transfer(ANN, BOB, USD, 0)),
            refused(RejectReason::ZeroAmount, &[GLOBAL_CANCEL_ONLY], transfer(ANN, BOB, USD, 0)),
            refused(RejectReason::AmountTooLarge, &[], transfer(ANN, BOB, USD, AMOUNT_MAX + 1)),
            refused(RejectReason::InsufficientAvailable, &[], transfer(ANN, BOB, USD, AMOUNT_MAX)),
            // Who receives may be suspended, and may owe.
            (None, vec![Command::SuspendAccount { account: BOB }], transfer(ANN, BOB, USD, 1)),
            (None, vec![ANN_OWES], transfer(BOB, ANN, USD, 1)),
        ],
    );
}

#[test]
fn request_withdrawal() {
    let request = |account, asset, amount| Command::RequestWithdrawal { account, asset, amount: Amount(amount) };
    let halted = &[STOP_USD, NO_MORE_USD, GLOBAL_HALT][..];
    let owing = &[STOP_USD, NO_MORE_USD, GLOBAL_HALT, ANN_OWES][..];
    let suspended = &[STOP_USD, NO_MORE_USD, GLOBAL_HALT, ANN_OWES, SUSPEND_ANN][..];
    climb(
        &["RequestWithdrawal"],
        &[
            refused(RejectReason::UnknownAccount, suspended, request(NOBODY, NO_ASSET, 0)),
            refused(RejectReason::AccountSuspended, suspended, request(ANN, NO_ASSET, 0)),
            refused(RejectReason::AccountOwes, owing, request(ANN, NO_ASSET, 0)),
            refused(RejectReason::UnknownAsset, halted, request(ANN, NO_ASSET, 0)),
            refused(RejectReason::ExchangeHalted, halted, request(ANN, USD, 0)),
            refused(RejectReason::WithdrawalsStopped, &[STOP_USD, NO_MORE_USD], request(ANN, USD, 0)),
            refused(RejectReason::ZeroAmount, &[NO_MORE_USD], request(ANN, USD, 0)),
            refused(RejectReason::AmountTooLarge, &[NO_MORE_USD], request(ANN, USD, AMOUNT_MAX + 1)),
            refused(RejectReason::InsufficientAvailable, &[NO_MORE_USD], request(ANN, USD, AMOUNT_MAX)),
            refused(RejectReason::VelocityExceeded, &[NO_MORE_USD], request(ANN, USD, 1)),
            (None, vec![STOP_BTC, NO_MORE_BTC], request(ANN, USD, 1)),
        ],
    );
    let all = |account, asset| Command::RequestWithdrawalOfAll { account, asset };
    let emptied = all(ANN, BTC);
    let guards = |more: &[Command]| [&[emptied, STOP_BTC, NO_MORE_BTC, GLOBAL_HALT], more].concat();
    climb(
        &["RequestWithdrawalOfAll"],
        &[
            refused(RejectReason::UnknownAccount, &guards(&[ANN_OWES, SUSPEND_ANN]), all(NOBODY, NO_ASSET)),
            refused(RejectReason::AccountSuspended, &guards(&[ANN_OWES, SUSPEND_ANN]), all(ANN, NO_ASSET)),
            refused(RejectReason::AccountOwes, &guards(&[ANN_OWES]), all(ANN, NO_ASSET)),
            refused(RejectReason::UnknownAsset, &guards(&[]), all(ANN, NO_ASSET)),
            refused(RejectReason::ExchangeHalted, &guards(&[]), all(ANN, BTC)),
            refused(RejectReason::ExchangeHalted, &[emptied, STOP_BTC, FREEZE], all(ANN, BTC)),
            refused(RejectReason::WithdrawalsStopped, &[emptied, STOP_BTC, NO_MORE_BTC], all(ANN, BTC)),
            refused(RejectReason::InsufficientAvailable, &[emptied, NO_MORE_BTC], all(ANN, BTC)),
            refused(RejectReason::VelocityExceeded, &[NO_MORE_BTC], all(ANN, BTC)),
            accepted(all(ANN, BTC)),
        ],
    );
}

#[test]
fn cancel_and_release_withdrawal() {
    let cancel = |account, withdrawal| Command::CancelWithdrawal { account, withdrawal };
    climb(
        &["CancelWithdrawal"],
        &[
            refused(RejectReason::UnknownAccount, &[GLOBAL_HALT], cancel(NOBODY, NO_WITHDRAWAL)),
            refused(RejectReason::UnknownWithdrawal, &[GLOBAL_HALT], cancel(ANN, NO_WITHDRAWAL)),
            refused(RejectReason::WithdrawalMismatch, &[RELEASE_BOBS, GLOBAL_HALT], cancel(ANN, BOBS_WITHDRAWAL)),
            refused(RejectReason::WithdrawalStateInvalid, &[RELEASE_ANNS, GLOBAL_HALT], cancel(ANN, ANNS_WITHDRAWAL)),
            refused(RejectReason::ExchangeHalted, &[GLOBAL_HALT], cancel(ANN, ANNS_WITHDRAWAL)),
            // Who is suspended or owes may cancel, also while no withdrawal passes.
            (None, vec![SUSPEND_ANN, ANN_OWES, STOP_USD], cancel(ANN, ANNS_WITHDRAWAL)),
        ],
    );
    let release = |withdrawal, account, asset, amount| Command::ReleaseWithdrawal {
        withdrawal,
        account,
        asset,
        amount: Amount(amount),
    };
    let done = &[RELEASE_ANNS, RELEASE_BOBS, STOP_USD, GLOBAL_HALT][..];
    let owing = &[RELEASE_ANNS, RELEASE_BOBS, STOP_USD, GLOBAL_HALT, ANN_OWES][..];
    let suspended = &[RELEASE_ANNS, RELEASE_BOBS, STOP_USD, GLOBAL_HALT, ANN_OWES, SUSPEND_ANN][..];
    climb(
        &["ReleaseWithdrawal"],
        &[
            refused(RejectReason::UnknownAccount, suspended, release(NO_WITHDRAWAL, NOBODY, USD, 100)),
            refused(RejectReason::AccountSuspended, suspended, release(NO_WITHDRAWAL, ANN, USD, 100)),
            refused(RejectReason::AccountOwes, owing, release(NO_WITHDRAWAL, ANN, USD, 100)),
            refused(RejectReason::UnknownWithdrawal, done, release(NO_WITHDRAWAL, ANN, USD, 100)),
            refused(RejectReason::WithdrawalMismatch, done, release(BOBS_WITHDRAWAL, ANN, USD, 100)),
            refused(RejectReason::WithdrawalMismatch, done, release(ANNS_WITHDRAWAL, ANN, BTC, 100)),
            refused(RejectReason::WithdrawalMismatch, done, release(ANNS_WITHDRAWAL, ANN, USD, 101)),
            refused(RejectReason::WithdrawalStateInvalid, done, RELEASE_ANNS),
            refused(RejectReason::ExchangeHalted, &[STOP_USD, GLOBAL_HALT], RELEASE_ANNS),
            refused(RejectReason::ExchangeHalted, &[STOP_USD, FREEZE], RELEASE_ANNS),
            refused(RejectReason::WithdrawalsStopped, &[STOP_USD], RELEASE_ANNS),
            // The velocity is that of requests.
            (None, vec![STOP_BTC, NO_MORE_USD], RELEASE_ANNS),
        ],
    );
}

#[test]
fn steps_of_a_withdrawal() {
    let external_id = ExternalId::from_u128(77);
    let sent = |withdrawal| Command::ConfirmWithdrawalSent { withdrawal, external_id };
    let settled = |withdrawal| Command::ConfirmWithdrawalSettled { withdrawal };
    let failed = |withdrawal| Command::FailWithdrawal { withdrawal };
    let released = &[RELEASE_ANNS][..];
    climb(
        &["ConfirmWithdrawalSent"],
        &[
            refused(RejectReason::UnknownWithdrawal, released, sent(NO_WITHDRAWAL)),
            refused(RejectReason::WithdrawalStateInvalid, &[], sent(ANNS_WITHDRAWAL)),
            refused(
                RejectReason::WithdrawalStateInvalid,
                &[RELEASE_ANNS, sent(ANNS_WITHDRAWAL)],
                sent(ANNS_WITHDRAWAL),
            ),
            // A halt does not stop facts.
            (None, vec![RELEASE_ANNS, STOP_USD, FREEZE, ANN_OWES, SUSPEND_ANN], sent(ANNS_WITHDRAWAL)),
        ],
    );
    climb(
        &["ConfirmWithdrawalSettled"],
        &[
            refused(RejectReason::UnknownWithdrawal, released, settled(NO_WITHDRAWAL)),
            refused(RejectReason::WithdrawalStateInvalid, released, settled(ANNS_WITHDRAWAL)),
            (None, vec![RELEASE_ANNS, sent(ANNS_WITHDRAWAL), FREEZE], settled(ANNS_WITHDRAWAL)),
        ],
    );
    climb(
        &["FailWithdrawal"],
        &[
            refused(RejectReason::UnknownWithdrawal, released, failed(NO_WITHDRAWAL)),
            refused(RejectReason::WithdrawalStateInvalid, &[], failed(ANNS_WITHDRAWAL)),
            refused(
                RejectReason::WithdrawalStateInvalid,
                &[RELEASE_ANNS, sent(ANNS_WITHDRAWAL), settled(ANNS_WITHDRAWAL)],
                failed(ANNS_WITHDRAWAL),
            ),
            (None, vec![RELEASE_ANNS, sent(ANNS_WITHDRAWAL)], failed(ANNS_WITHDRAWAL)),
            (None, vec![RELEASE_ANNS, GLOBAL_HALT, SUSPEND_ANN], failed(ANNS_WITHDRAWAL)),
            (None, vec![RELEASE_ANNS, FREEZE, ANN_OWES], failed(ANNS_WITHDRAWAL)),
        ],
    );
}

#[test]
fn place_limit() {
    use LimitType::{FillOrKill, GoodTillCancel, ImmediateOrCancel, PostOnly};
    // Ann buys; 7 is the client order id of her open bid.
    let buy = |account, market, limit_type, price, quantity, client_order_id| {
        limit(account, market, Side::Buy, limit_type, price, quantity, client_order_id)
    };
    let too_many = AMOUNT_MAX / 10 + 1;
    let halted = &[GLOBAL_HALT, MARKET_CANCEL_ONLY][..];
    climb(
        &["PlaceLimit"],
        &[
            refused(RejectReason::UnknownAccount, halted, buy(NOBODY, NO_MARKET, PostOnly, 0, 0, 7)),
            refused(
                RejectReason::AccountSuspended,
                &[GLOBAL_HALT, MARKET_CANCEL_ONLY, ANN_OWES, SUSPEND_ANN],
                buy(ANN, NO_MARKET, PostOnly, 0, 0, 7),
            ),
            refused(
                RejectReason::AccountOwes,
                &[GLOBAL_HALT, MARKET_CANCEL_ONLY, ANN_OWES],
                buy(ANN, NO_MARKET, PostOnly, 0, 0, 7),
            ),
            refused(RejectReason::UnknownMarket, halted, buy(ANN, NO_MARKET, PostOnly, 0, 0, 7)),
            refused(RejectReason::ZeroPrice, halted, buy(ANN, MARKET, PostOnly, 0, 0, 7)),
            refused(RejectReason::PriceTooLarge, halted, buy(ANN, MARKET, PostOnly, PRICE_MAX + 1, 0, 7)),
            refused(RejectReason::ZeroQuantity, halted, buy(ANN, MARKET, PostOnly, PRICE_MAX, 0, 7)),
            refused(RejectReason::QuantityTooLarge, halted, buy(ANN, MARKET, PostOnly, PRICE_MAX, too_many, 7)),
            refused(RejectReason::NotionalTooLarge, halted, buy(ANN, MARKET, PostOnly, PRICE_MAX, too_many - 1, 7)),
            refused(RejectReason::InsufficientAvailable, halted, buy(ANN, MARKET, PostOnly, PRICE_MAX, 5, 7)),
            refused(RejectReason::MarketHalted, halted, buy(ANN, MARKET, PostOnly, 110, 5, 7)),
            refused(RejectReason::MarketHalted, &[MARKET_CANCEL_ONLY, FREEZE], buy(ANN, MARKET, PostOnly, 110, 5, 7)),
            // The stricter of the two, whichever it is.
            refused(
                RejectReason::MarketHalted,
                &[GLOBAL_CANCEL_ONLY, MARKET_HALT],
                buy(ANN, MARKET, PostOnly, 110, 5, 7),
            ),
            refused(RejectReason::MarketCancelOnly, &[MARKET_CANCEL_ONLY], buy(ANN, MARKET, PostOnly, 110, 5, 7)),
            refused(RejectReason::MarketCancelOnly, &[GLOBAL_CANCEL_ONLY], buy(ANN, MARKET, PostOnly, 110, 5, 7)),
            refused(
                RejectReason::MarketCancelOnly,
                &[GLOBAL_CANCEL_ONLY, MARKET_AUCTION],
                buy(ANN, MARKET, FillOrKill, 110, 6, 7),
            ),
            refused(RejectReason::MarketInAuction, &[MARKET_AUCTION], buy(ANN, MARKET, FillOrKill, 110, 6, 7)),
            refused(RejectReason::MarketInAuction, &[MARKET_AUCTION], buy(ANN, MARKET, ImmediateOrCancel, 110, 6, 7)),
            refused(RejectReason::DuplicateClientOrderId, &[MARKET_AUCTION], buy(ANN, MARKET, PostOnly, 110, 6, 7)),
            // Before what post-only and what fill-or-kill would be refused for; these two exclude each other.
            refused(RejectReason::DuplicateClientOrderId, &[], buy(ANN, MARKET, FillOrKill, 110, 6, 7)),
            refused(RejectReason::DuplicateClientOrderId, &[], buy(ANN, MARKET, PostOnly, 110, 6, 7)),
            refused(RejectReason::WouldTrade, &[], buy(ANN, MARKET, PostOnly, 110, 6, 8)),
            refused(RejectReason::NotFillable, &[], buy(ANN, MARKET, FillOrKill, 110, 6, 8)),
            // In an auction post-only may stand across.
            (None, vec![MARKET_AUCTION], buy(ANN, MARKET, PostOnly, 110, 6, 8)),
            accepted(buy(ANN, MARKET, GoodTillCancel, 110, 6, 8)),
        ],
    );
}

#[test]
fn place_market() {
    let buy = |account, market, budget, client_order_id| Command::PlaceMarketBuy {
        account,
        market,
        budget: Amount(budget),
        client_order_id: ClientOrderId(client_order_id),
    };
    let halted = &[MARKET_HALT, GLOBAL_CANCEL_ONLY][..];
    let owing = &[MARKET_HALT, GLOBAL_CANCEL_ONLY, ANN_OWES][..];
    let suspended = &[MARKET_HALT, GLOBAL_CANCEL_ONLY, ANN_OWES, SUSPEND_ANN][..];
    climb(
        &["PlaceMarketBuy"],
        &[
            refused(RejectReason::UnknownAccount, halted, buy(NOBODY, NO_MARKET, 0, 7)),
            refused(RejectReason::AccountSuspended, suspended, buy(ANN, NO_MARKET, 0, 7)),
            refused(RejectReason::AccountOwes, owing, buy(ANN, NO_MARKET, 0, 7)),
            refused(RejectReason::UnknownMarket, halted, buy(ANN, NO_MARKET, 0, 7)),
            refused(RejectReason::ZeroAmount, halted, buy(ANN, MARKET, 0, 7)),
            refused(RejectReason::AmountTooLarge, halted, buy(ANN, MARKET, AMOUNT_MAX + 1, 7)),
            refused(RejectReason::InsufficientAvailable, halted, buy(ANN, MARKET, AMOUNT_MAX, 7)),
            refused(RejectReason::MarketHalted, halted, buy(ANN, MARKET, 1_000, 7)),
            refused(RejectReason::MarketCancelOnly, &[MARKET_AUCTION, GLOBAL_CANCEL_ONLY], buy(ANN, MARKET, 1_000, 7)),
            refused(RejectReason::MarketInAuction, &[MARKET_AUCTION], buy(ANN, MARKET, 1_000, 7)),
            refused(RejectReason::DuplicateClientOrderId, &[], buy(ANN, MARKET, 1_000, 7)),
            accepted(buy(ANN, MARKET, 1_000, 8)),
        ],
    );
    let sell = |account, market, quantity, client_order_id| Command::PlaceMarketSell {
        account,
        market,
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(client_order_id),
    };
    let too_many = AMOUNT_MAX / 10 + 1;
    climb(
        &["PlaceMarketSell"],
        &[
            refused(RejectReason::UnknownAccount, halted, sell(NOBODY, NO_MARKET, 0, 7)),
            refused(RejectReason::AccountSuspended, suspended, sell(ANN, NO_MARKET, 0, 7)),
            refused(RejectReason::AccountOwes, owing, sell(ANN, NO_MARKET, 0, 7)),
            refused(RejectReason::UnknownMarket, halted, sell(ANN, NO_MARKET, 0, 7)),
            refused(RejectReason::ZeroQuantity, halted, sell(ANN, MARKET, 0, 7)),
            refused(RejectReason::QuantityTooLarge, halted, sell(ANN, MARKET, too_many, 7)),
            refused(RejectReason::InsufficientAvailable, halted, sell(ANN, MARKET, too_many - 1, 7)),
            refused(RejectReason::MarketHalted, halted, sell(ANN, MARKET, 5, 7)),
            refused(RejectReason::MarketCancelOnly, &[MARKET_AUCTION, GLOBAL_CANCEL_ONLY], sell(ANN, MARKET, 5, 7)),
            refused(RejectReason::MarketInAuction, &[MARKET_AUCTION], sell(ANN, MARKET, 5, 7)),
            refused(RejectReason::DuplicateClientOrderId, &[], sell(ANN, MARKET, 5, 7)),
            accepted(sell(ANN, MARKET, 5, 8)),
        ],
    );
}

#[test]
fn cancel_and_reduce() {
    let cancel = |account, order| Command::CancelOrder { account, order };
    let by_name = |account, name| Command::CancelByClientOrderId { account, client_order_id: ClientOrderId(name) };
    let halted = &[MARKET_HALT][..];
    let kept = vec![MARKET_CANCEL_ONLY, GLOBAL_CANCEL_ONLY, ANN_OWES, SUSPEND_ANN];
    climb(
        &["CancelOrder"],
        &[
            refused(RejectReason::UnknownAccount, halted, cancel(NOBODY, NO_ORDER)),
            refused(RejectReason::OrderNotFound, halted, cancel(ANN, NO_ORDER)),
            refused(RejectReason::OrderNotFound, halted, cancel(ANN, BOBS_ASK)),
            refused(RejectReason::MarketHalted, halted, cancel(ANN, ANNS_BID)),
            refused(RejectReason::MarketHalted, &[GLOBAL_HALT], cancel(ANN, ANNS_BID)),
            refused(RejectReason::MarketHalted, &[FREEZE], cancel(ANN, ANNS_BID)),
            (None, kept.clone(), cancel(ANN, ANNS_BID)),
        ],
    );
    climb(
        &["CancelByClientOrderId"],
        &[
            refused(RejectReason::UnknownAccount, halted, by_name(NOBODY, 0)),
            refused(RejectReason::OrderNotFound, halted, by_name(ANN, 0)),
            refused(RejectReason::OrderNotFound, halted, by_name(ANN, 8)),
            refused(RejectReason::MarketHalted, halted, by_name(ANN, 7)),
            (None, kept.clone(), by_name(ANN, 7)),
        ],
    );
    let reduce = |account, order, quantity| Command::ReduceOrder { account, order, quantity: Quantity(quantity) };
    climb(
        &["ReduceOrder"],
        &[
            refused(RejectReason::UnknownAccount, halted, reduce(NOBODY, NO_ORDER, 0)),
            refused(RejectReason::ZeroQuantity, halted, reduce(ANN, NO_ORDER, 0)),
            refused(RejectReason::OrderNotFound, halted, reduce(ANN, NO_ORDER, 1)),
            refused(RejectReason::OrderNotFound, halted, reduce(ANN, BOBS_ASK, 1)),
            refused(RejectReason::MarketHalted, halted, reduce(ANN, ANNS_BID, 1)),
            (None, kept, reduce(ANN, ANNS_BID, u64::MAX)),
        ],
    );
}

#[test]
fn replace_order() {
    let replace = |account, market, side, order, price, quantity| Command::ReplaceOrder {
        account,
        market,
        side,
        order,
        price: Price(price),
        quantity: Quantity(quantity),
    };
    // Ann's bid is a post-only one of 10 at 90; Bob's ask stands at 110. A quantity of 3,000 at 110 is more than
    // she can pay.
    let ann = |market, order, price, quantity| replace(ANN, market, Side::Buy, order, price, quantity);
    let too_many = AMOUNT_MAX / 10 + 1;
    let halted = &[MARKET_CANCEL_ONLY, GLOBAL_HALT][..];
    climb(
        &["ReplaceOrder"],
        &[
            refused(RejectReason::UnknownAccount, halted, replace(NOBODY, NO_MARKET, Side::Buy, NO_ORDER, 0, 0)),
            refused(
                RejectReason::AccountSuspended,
                &[MARKET_CANCEL_ONLY, GLOBAL_HALT, ANN_OWES, SUSPEND_ANN],
                ann(NO_MARKET, NO_ORDER, 0, 0),
            ),
            refused(
                RejectReason::AccountOwes,
                &[MARKET_CANCEL_ONLY, GLOBAL_HALT, ANN_OWES],
                ann(NO_MARKET, NO_ORDER, 0, 0),
            ),
            refused(RejectReason::UnknownMarket, halted, ann(NO_MARKET, NO_ORDER, 0, 0)),
            refused(RejectReason::ZeroPrice, halted, ann(MARKET, NO_ORDER, 0, 0)),
            refused(RejectReason::PriceTooLarge, halted, ann(MARKET, NO_ORDER, PRICE_MAX + 1, 0)),
            refused(RejectReason::ZeroQuantity, halted, ann(MARKET, NO_ORDER, PRICE_MAX, 0)),
            refused(RejectReason::QuantityTooLarge, halted, ann(MARKET, NO_ORDER, PRICE_MAX, too_many)),
            refused(RejectReason::NotionalTooLarge, halted, ann(MARKET, NO_ORDER, PRICE_MAX, too_many - 1)),
            refused(RejectReason::OrderNotFound, halted, ann(MARKET, NO_ORDER, 110, 4_000)),
            refused(RejectReason::OrderNotFound, halted, ann(MARKET, BOBS_ASK, 110, 4_000)),
            refused(RejectReason::OrderMismatch, halted, ann(OTHER_MARKET, ANNS_BID, 110, 4_000)),
            refused(RejectReason::OrderMismatch, halted, replace(ANN, MARKET, Side::Sell, ANNS_BID, 110, 4_000)),
            refused(RejectReason::MarketHalted, halted, ann(MARKET, ANNS_BID, 110, 4_000)),
            refused(RejectReason::MarketHalted, &[MARKET_HALT], ann(MARKET, ANNS_BID, 90, 5)),
            refused(RejectReason::MarketCancelOnly, &[MARKET_CANCEL_ONLY], ann(MARKET, ANNS_BID, 110, 4_000)),
            refused(RejectReason::WouldTrade, &[], ann(MARKET, ANNS_BID, 110, 4_000)),
            refused(RejectReason::InsufficientAvailable, &[], ann(MARKET, ANNS_BID, 109, 4_000)),
            refused(RejectReason::InsufficientAvailable, &[MARKET_AUCTION], ann(MARKET, ANNS_BID, 110, 4_000)),
            // In an auction post-only may stand across.
            (None, vec![MARKET_AUCTION], ann(MARKET, ANNS_BID, 110, 11)),
            // A reduction is allowed where a replacing is not.
            (None, vec![MARKET_CANCEL_ONLY], ann(MARKET, ANNS_BID, 90, 10)),
            accepted(ann(MARKET, ANNS_BID, 109, 11)),
        ],
    );
}

#[test]
fn mass_cancels() {
    let of_account = |account| Command::CancelAllOfAccount { account };
    let of_market = |market| Command::CancelAllOfMarket { market };
    let kept = vec![MARKET_HALT, GLOBAL_CANCEL_ONLY, SUSPEND_ANN];
    climb(
        &["CancelAllOfAccount"],
        &[
            refused(RejectReason::UnknownAccount, &[GLOBAL_HALT], of_account(NOBODY)),
            refused(RejectReason::MarketHalted, &[GLOBAL_HALT], of_account(ANN)),
            refused(RejectReason::MarketHalted, &[FREEZE], of_account(ANN)),
            (None, kept.clone(), of_account(ANN)),
        ],
    );
    climb(
        &["CancelAllOfMarket"],
        &[
            refused(RejectReason::UnknownMarket, &[GLOBAL_HALT], of_market(NO_MARKET)),
            refused(RejectReason::MarketHalted, &[GLOBAL_HALT], of_market(MARKET)),
            refused(RejectReason::MarketHalted, &[FREEZE], of_market(MARKET)),
            (None, kept, of_market(MARKET)),
        ],
    );
}
