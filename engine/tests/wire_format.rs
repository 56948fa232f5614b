//! The canonical bytes of every command and event, pinned: a change of one is a change of the journal's format.
//!
//! `fixtures/wire_format.txt` has one line per message: its name and its bytes in hex. Lines are only ever added.
//! With `UPDATE_EXPECT` set the file is written anew, and its diff is reviewed.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use engine::{
    command::Command,
    event::{CancelReason, Event, RejectReason, SequencedEvent},
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, ClientOrderId, Controls, Digest, ExternalId, FeeRate, Gate,
        LimitType, ManifestHash, MarketId, OperatorId, OrderId, PRICE_MAX, Price, Quantity, Sequence, Side, Symbol,
        Timestamp, TradingStatus, WithdrawalId,
        wire::{MESSAGE_BYTES_MAX, WireError, Writer},
    },
};

// Every byte of a field differs from its neighbours', so that a swap or a shift shows.
const ACCOUNT: AccountId = AccountId(0x0403_0201);
const OTHER: AccountId = AccountId(0x1413_1211);
const ASSET: AssetId = AssetId(0x2221);
const QUOTE: AssetId = AssetId(0x2423);
const MARKET: MarketId = MarketId(0x3231);
const ORDER: OrderId = OrderId(0x4847_4645_4443_4241);
const MAKER: OrderId = OrderId(0x5857_5655_5453_5251);
const CLIENT: ClientOrderId = ClientOrderId(0x6867_6665_6463_6261);
const WITHDRAWAL: WithdrawalId = WithdrawalId(0x7877_7675_7473_7271);
const AMOUNT: Amount = Amount(0x0807_0605_0403_0201);
const SECOND: Amount = Amount(0x1817_1615_1413_1211);
const PRICE: Price = Price(0x0095_9493_9291);
const QUANTITY: Quantity = Quantity(0xA8A7_A6A5_A4A3_A2A1);
const REMAINING: Quantity = Quantity(0xB8B7_B6B5_B4B3_B2B1);
const MAKER_RATE: FeeRate = FeeRate(-2);
const TAKER_RATE: FeeRate = FeeRate(0x0102);
const EXTERNAL: ExternalId = ExternalId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const OPERATOR: OperatorId = OperatorId(0xC2C1);
const FIRST: OperatorId = OperatorId(0xC4C3);
const ENDORSER: OperatorId = OperatorId(0xC6C5);
const AIRDROP: AirdropId = AirdropId(0xD4D3_D2D1);
const LINES: u32 = 0xE4E3_E2E1;
const SECONDS: u32 = 0xF4F3_F2F1;
const THIRD: Amount = Amount(0x2827_2625_2423_2221);
const HASH: ManifestHash = ManifestHash([65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80]);
const TIME: Timestamp = Timestamp(0x3837_3635_3433_3231);
const SEQUENCE: Sequence = Sequence(0x9897_9695_9493_9291);

/// 32 bytes of which each is one more than the one before.
const fn digest(first: u8) -> Digest {
    let (mut bytes, mut index) = ([0; 32], 0);
    while index < bytes.len() {
        bytes[index] = first.wrapping_add(index as u8);
        index += 1;
    }
    Digest(bytes)
}
const SYMBOL: Symbol = Symbol::from_bytes(*b"BTC2\0\0\0\0\0\0\0\0");

fn commands() -> Vec<Command> {
    let (account, asset, amount, market) = (ACCOUNT, ASSET, AMOUNT, MARKET);
    let (withdrawal, external_id, client_order_id) = (WITHDRAWAL, EXTERNAL, CLIENT);
    let (order, price, quantity) = (ORDER, PRICE, QUANTITY);
    let (maker_rate, taker_rate) = (MAKER_RATE, TAKER_RATE);
    let limit =
        |side, limit_type| Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id };
    vec![
        Command::AddAsset { asset, symbol: SYMBOL, scale: 18 },
        Command::AddMarket {
            market,
            base: asset,
            quote: QUOTE,
            lot_size: AMOUNT,
            tick_value: SECOND,
            maker_rate,
            taker_rate,
        },
        Command::SetMarketFees { market, maker_rate, taker_rate },
        Command::SetMarketStatus { market, status: TradingStatus::CancelOnly },
        Command::SetGlobalStatus { status: TradingStatus::Open },
        Command::SetGlobalStatus { status: TradingStatus::Halted },
        Command::CreateAccount { account },
        Command::SuspendAccount { account },
        Command::ResumeAccount { account },
        Command::Deposit { account, asset, amount, external_id },
        Command::Transfer { from: account, to: OTHER, asset, amount },
        Command::RequestWithdrawal { account, asset, amount },
        Command::RequestWithdrawalOfAll { account, asset },
        Command::CancelWithdrawal { account, withdrawal },
        Command::ReleaseWithdrawal { withdrawal, account, asset, amount },
        Command::ConfirmWithdrawalSent { withdrawal, external_id },
        Command::ConfirmWithdrawalSettled { withdrawal },
        Command::FailWithdrawal { withdrawal },
        limit(Side::Buy, LimitType::GoodTillCancel),
        limit(Side::Sell, LimitType::ImmediateOrCancel),
        limit(Side::Buy, LimitType::FillOrKill),
        limit(Side::Sell, LimitType::PostOnly),
        Command::PlaceMarketBuy { account, market, budget: amount, client_order_id },
        Command::PlaceMarketSell { account, market, quantity, client_order_id },
        Command::CancelOrder { account, order },
        Command::CancelByClientOrderId { account, client_order_id },
        Command::ReduceOrder { account, order, quantity },
        Command::ReplaceOrder { account, market, side: Side::Sell, order, price, quantity },
        Command::CancelAllOfAccount { account },
        Command::CancelAllOfMarket { market },
        // The extremes.
        Command::Deposit {
            account: AccountId(u32::MAX),
            asset: AssetId(u16::MAX),
            amount: Amount(u64::MAX),
            external_id: ExternalId([u8::MAX; 16]),
        },
        Command::SetMarketFees { market: MarketId(0), maker_rate: FeeRate(i16::MIN), taker_rate: FeeRate(i16::MAX) },
        Command::ReduceOrder { account: AccountId(1), order: OrderId(1), quantity: Quantity(AMOUNT_MAX) },
    ]
    .into_iter()
    .chain(commands_of_version_2())
    .collect()
}

fn commands_of_version_2() -> Vec<Command> {
    let (account, asset, amount, market) = (ACCOUNT, ASSET, AMOUNT, MARKET);
    let (airdrop, operator, external_id) = (AIRDROP, OPERATOR, EXTERNAL);
    vec![
        Command::SetMarketStatus { market, status: TradingStatus::Auction },
        Command::SetGlobalStatus { status: TradingStatus::Frozen },
        Command::SetAssetWithdrawals { asset, withdrawals: Gate::Open },
        Command::SetAssetWithdrawals { asset, withdrawals: Gate::Closed },
        Command::Tick {},
        Command::RegisterOperator { operator, key: digest(1), first: FIRST, second: ENDORSER },
        Command::RevokeOperator { operator, first: FIRST, second: ENDORSER },
        Command::FundTreasury { asset, amount, external_id },
        Command::AttestReserves { asset, amount },
        Command::SetPayoutVelocity { asset, amount_max: amount, window_seconds: SECONDS },
        Command::SetAirdropLimits { asset, recipient_max: amount, airdrop_max: SECOND, day_max: THIRD },
        Command::SetControls { controls: Controls(5) },
        // What is no set of controls is refused by the exchange, not by the reader.
        Command::SetControls { controls: Controls(u8::MAX) },
        Command::OpenAirdrop {
            airdrop,
            author: operator,
            asset,
            total: amount,
            lines: LINES,
            hash: HASH,
            lock_seconds: SECONDS,
        },
        Command::AddAirdropLine { airdrop, account, amount },
        Command::ApproveAirdrop { airdrop, operator },
        Command::ExecuteAirdrop { airdrop, operator },
        Command::CancelAirdrop { airdrop, operator },
        Command::SetOff { account, asset },
        Command::AddPlanPart { index: LINES, length: 31, bytes: digest(100) },
        Command::StartEpoch { at: SEQUENCE, digest: digest(200) },
    ]
}

fn events() -> Vec<Event> {
    let (account, asset, amount, market) = (ACCOUNT, ASSET, AMOUNT, MARKET);
    let (withdrawal, external_id, client_order_id) = (WITHDRAWAL, EXTERNAL, CLIENT);
    let (order, price, quantity) = (ORDER, PRICE, QUANTITY);
    let (maker_rate, taker_rate) = (MAKER_RATE, TAKER_RATE);
    let mut all = vec![
        Event::AssetAdded { asset, symbol: SYMBOL, scale: 18 },
        Event::MarketAdded {
            market,
            base: asset,
            quote: QUOTE,
            lot_size: AMOUNT,
            tick_value: SECOND,
            maker_rate,
            taker_rate,
        },
        Event::MarketFeesSet { market, maker_rate, taker_rate },
        Event::MarketStatusSet { market, status: TradingStatus::CancelOnly },
        Event::GlobalStatusSet { status: TradingStatus::Halted },
        Event::AccountCreated { account },
        Event::AccountSuspended { account },
        Event::AccountResumed { account },
        Event::Deposited { account, asset, amount, external_id },
        Event::Transferred { from: account, to: OTHER, asset, amount },
        Event::WithdrawalRequested { withdrawal, account, asset, amount },
        Event::WithdrawalCancelled { withdrawal, account, asset, amount },
        Event::WithdrawalReleased { withdrawal, account, asset, amount },
        Event::WithdrawalSent { withdrawal, external_id },
        Event::WithdrawalSettled { withdrawal },
        Event::WithdrawalFailed { withdrawal, account, asset, amount },
        Event::OrderAccepted {
            order,
            account,
            market,
            side: Side::Sell,
            price,
            quantity,
            held: amount,
            client_order_id,
        },
        Event::Filled {
            taker: order,
            maker: MAKER,
            taker_account: account,
            maker_account: OTHER,
            market,
            taker_side: Side::Buy,
            price: Price(PRICE_MAX),
            quantity,
            maker_remaining: REMAINING,
            taker_fee: i64::MAX,
            maker_fee: -2,
            released: amount,
        },
        Event::OrderReduced { order, account, market, quantity, released: amount },
        Event::OrderReplaced { order, account, market, price, quantity, released: amount, held: SECOND },
        Event::MassCancelled { account, market, orders: 0xC4C3_C2C1 },
    ];
    all.extend(events_of_version_2());
    let cancels = (0..=u8::MAX).filter_map(CancelReason::from_number);
    all.extend(cancels.map(|reason| Event::OrderCancelled {
        order,
        account,
        market,
        reason,
        quantity,
        released: amount,
    }));
    all.extend(RejectReason::ALL.iter().map(|&reason| Event::Refused {
        reason,
        command_kind: 46,
        account,
        client_order_id,
        subject: order.0,
    }));
    all
}

fn events_of_version_2() -> Vec<Event> {
    let (account, asset, amount, market) = (ACCOUNT, ASSET, AMOUNT, MARKET);
    let (airdrop, operator, external_id) = (AIRDROP, OPERATOR, EXTERNAL);
    let (order, withdrawal, price, quantity) = (ORDER, WITHDRAWAL, PRICE, QUANTITY);
    vec![
        Event::MarketStatusSet { market, status: TradingStatus::Auction },
        Event::GlobalStatusSet { status: TradingStatus::Frozen },
        Event::AssetWithdrawalsSet { asset, withdrawals: Gate::Closed },
        Event::Ticked {},
        Event::OperatorRegistered { operator, key: digest(1) },
        Event::OperatorRevoked { operator },
        Event::TreasuryFunded { asset, amount, external_id },
        Event::ReservesAttested { asset, amount, liabilities: SECOND },
        Event::PayoutVelocitySet { asset, amount_max: amount, window_seconds: SECONDS },
        Event::AirdropLimitsSet { asset, recipient_max: amount, airdrop_max: SECOND, day_max: THIRD },
        Event::ControlsSet { controls: Controls(6) },
        Event::AirdropOpened { airdrop, author: operator, asset, total: amount, lines: LINES, lock_seconds: SECONDS },
        Event::AirdropLineAdded { airdrop, account, amount },
        Event::AirdropApproved { airdrop, operator },
        Event::AirdropExecuted { airdrop, asset, total: amount, source: AccountId::UNBACKED, locked_until: TIME },
        Event::AirdropCredited { airdrop, account, asset, amount, locked: Gate::Closed },
        Event::AirdropUnlocked { airdrop, account, asset, amount },
        Event::AirdropCancelled { airdrop, operator },
        Event::SetOffDone { account, asset, amount, owed: SECOND },
        Event::AuctionUncrossed { market, price, quantity },
        Event::PlanPartAdded { index: LINES },
        Event::EpochStarted { epoch: LINES, first_changed: SEQUENCE, plan: digest(1) },
        Event::FillBusted { sequence: SEQUENCE, index: LINES, taker: order, maker: MAKER, market, price, quantity },
        Event::BalanceCorrected { account, asset, available: -2, held: i64::MAX },
        Event::OrderVoided { order, account, market },
        Event::OrderRestored { order, account, market, side: Side::Sell, price, quantity, behind: MAKER },
        Event::WithdrawalCorrected { withdrawal, account, state: u8::MAX },
        Event::ReceivableCorrected { account, asset, owed: amount },
        Event::EpochReady { epoch: LINES, state: digest(100) },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn bytes(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hex has two digits a byte: {text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn encode_command(command: &Command) -> Vec<u8> {
    let mut writer = Writer::default();
    command.encode(&mut writer);
    writer.as_bytes().to_vec()
}

fn encode_event(event: &Event) -> Vec<u8> {
    let mut writer = Writer::default();
    event.encode(&mut writer);
    writer.as_bytes().to_vec()
}

/// Each message's name in the fixture and its bytes. Where a kind occurs several times, what differs is named.
fn messages() -> Vec<(String, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut name = |kind: String| {
        let count: &mut u32 = seen.entry(kind.clone()).or_default();
        *count += 1;
        if *count == 1 { kind } else { format!("{kind}.{count}") }
    };
    let mut all = Vec::new();
    for command in commands() {
        all.push((name(format!("command.{}", command.kind_name())), encode_command(&command)));
    }
    for event in events() {
        let name = match event {
            Event::Refused { reason, .. } => format!("event.Refused.{reason}"),
            Event::OrderCancelled { reason, .. } => format!("event.OrderCancelled.{reason}"),
            _ => name(format!("event.{}", event.kind_name())),
        };
        all.push((name, encode_event(&event)));
    }
    let sequenced = SequencedEvent {
        sequence: Sequence(0x0807_0605_0403_0201),
        time: Timestamp(0x1817_1615_1413_1211),
        index: 0x2423_2221,
        event: Event::WithdrawalSettled { withdrawal: WITHDRAWAL },
    };
    let mut writer = Writer::default();
    sequenced.encode(&mut writer);
    all.push(("sequenced_event.WithdrawalSettled".to_owned(), writer.as_bytes().to_vec()));
    all
}

#[test]
fn the_bytes_of_every_message_are_as_pinned() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire_format.txt");
    let actual = messages().into_iter().fold(String::new(), |mut text, (name, bytes)| {
        writeln!(text, "{name} {}", hex(&bytes)).expect("a string takes all");
        text
    });
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &actual).expect("the fixture can be written");
    }
    let pinned = fs::read_to_string(&path).expect("the fixture can be read");
    for (actual, pinned) in actual.lines().zip(pinned.lines()) {
        assert_eq!(actual, pinned);
    }
    assert_eq!(actual.lines().count(), pinned.lines().count(), "messages and pinned lines");
}

#[test]
fn every_kind_is_pinned() {
    for kind in 0..=u8::MAX {
        let unknown = WireError::UnknownKind(kind);
        let known_command = Command::decode(&[kind]) != Err(unknown);
        assert_eq!(commands().iter().any(|command| command.kind() == kind), known_command, "command {kind}");
        let known_event = Event::decode(&[kind]) != Err(unknown);
        assert_eq!(events().iter().any(|event| event.kind() == kind), known_event, "event {kind}");
    }
}

#[test]
fn decoding_gives_back_what_was_encoded() {
    let fixture = include_str!("fixtures/wire_format.txt");
    let pinned: BTreeMap<_, _> = fixture.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(pinned.len(), fixture.lines().count(), "every line has a name of its own");
    for command in commands() {
        let encoded = encode_command(&command);
        assert!(encoded.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(encoded[0], command.kind());
        assert_eq!(Command::decode(&encoded), Ok(command));
    }
    for event in events() {
        let encoded = encode_event(&event);
        assert!(encoded.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(encoded[0], event.kind());
        assert_eq!(Event::decode(&encoded), Ok(event));
    }
    // From the pinned bytes and back.
    for (name, text) in pinned {
        let pinned = bytes(text);
        if name.starts_with("command.") {
            let command = Command::decode(&pinned).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(encode_command(&command), pinned, "{name}");
        } else if name.starts_with("event.") {
            let event = Event::decode(&pinned).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(encode_event(&event), pinned, "{name}");
        }
    }
}

#[test]
fn a_message_is_neither_shorter_nor_longer() {
    for encoded in commands().iter().map(encode_command) {
        check_length(&encoded, |bytes| Command::decode(bytes).err());
    }
    for encoded in events().iter().map(encode_event) {
        check_length(&encoded, |bytes| Event::decode(bytes).err());
    }
}

fn check_length(encoded: &[u8], decode: impl Fn(&[u8]) -> Option<WireError>) {
    for length in 0..encoded.len() {
        assert_eq!(decode(&encoded[..length]), Some(WireError::Truncated), "{length} of {encoded:?}");
    }
    let mut longer = encoded.to_vec();
    for extra in 1..=3 {
        longer.push(0);
        assert_eq!(decode(&longer), Some(WireError::TrailingBytes(extra)), "{extra} after {encoded:?}");
    }
}

#[test]
fn unknown_kinds_and_values_are_errors() {
    for kind in [0, 8, 9, 15, 49, 59, 62, 200, u8::MAX] {
        let message = [kind; 32];
        assert_eq!(Command::decode(&message), Err(WireError::UnknownKind(kind)));
    }
    for kind in [0, 9, 15, 47, 49, 51, 59, 69, u8::MAX] {
        let message = [kind; 32];
        assert_eq!(Event::decode(&message), Err(WireError::UnknownKind(kind)));
    }
    let invalid = |field, value| WireError::InvalidValue { field, value };
    assert_eq!(Command::decode(&[5, 5]), Err(invalid("TradingStatus", 5)));
    assert_eq!(Command::decode(&[6, 1, 0, 2]), Err(invalid("Gate", 2)));
    let mut limit = encode_command(&commands()[18]);
    // Kind, account and market come before the side; then the type.
    limit[7] = 2;
    assert_eq!(Command::decode(&limit), Err(invalid("Side", 2)));
    limit[7] = 1;
    limit[8] = 4;
    assert_eq!(Command::decode(&limit), Err(invalid("LimitType", 4)));
    let mut refused = encode_event(events().last().expect("there are events"));
    // A number between two reasons.
    refused[1..3].copy_from_slice(&7_u16.to_le_bytes());
    assert_eq!(Event::decode(&refused), Err(invalid("RejectReason", 7)));
    let cancelled = |event: &&Event| matches!(event, Event::OrderCancelled { .. });
    let mut cancelled = encode_event(events().iter().find(cancelled).expect("there is one"));
    // Kind, order, account and market come before the reason.
    cancelled[15] = 6;
    assert_eq!(Event::decode(&cancelled), Err(invalid("CancelReason", 6)));
}

#[test]
fn the_layout_is_little_endian_in_declaration_order() {
    // By hand, so that the fixture is not only its own witness.
    let transfer = Command::Transfer { from: AccountId(1), to: AccountId(258), asset: AssetId(3), amount: Amount(4) };
    assert_eq!(encode_command(&transfer), [21, 1, 0, 0, 0, 2, 1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    let line = Command::AddAirdropLine { airdrop: AirdropId(258), account: AccountId(3), amount: Amount(4) };
    assert_eq!(encode_command(&line), [35, 2, 1, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    let fees = Event::MarketFeesSet { market: MarketId(1), maker_rate: FeeRate(-2), taker_rate: FeeRate(3) };
    assert_eq!(encode_event(&fees), [4, 1, 0, 0xFE, 0xFF, 3, 0]);
    let refused = Event::Refused {
        reason: RejectReason::NotFillable,
        command_kind: 40,
        account: AccountId(9),
        client_order_id: ClientOrderId(8),
        subject: 0,
    };
    assert_eq!(encode_event(&refused), [1, 107, 0, 40, 9, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}
