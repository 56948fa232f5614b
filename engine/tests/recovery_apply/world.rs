//! A small exchange, an airdrop that went wrong on it, and what to do about that.

use engine::{
    command::Command,
    event::{Event, SequencedEvent},
    exchange::{Exchange, ManifestHasher, StateHash},
    journal::{Durability, Storage},
    pipeline::Inline,
    recovery::{Approval, Branch, Edits, Payment, Plan, SecretKey, Strategy, Timeline, make_plan},
    types::{
        AccountId, AirdropId, Amount, AssetId, Cause, ClientOrderId, Controls, ExternalId, FeeRate, LimitType,
        MarketId, OperatorId, Price, Quantity, Sequence, Side, Timestamp, TradingStatus, WithdrawalId, wire::Writer,
    },
};

pub const BTC: AssetId = AssetId(0);
pub const USD: AssetId = AssetId(1);
pub const MARKET: MarketId = MarketId(0);
pub const ACCOUNTS: u32 = 12;
pub const BAD: AirdropId = AirdropId(1);
/// When approvals expire that do not.
pub const NEVER: Timestamp = Timestamp(u64::MAX);

/// The secret of an operator.
pub fn key(operator: u16) -> SecretKey {
    SecretKey::from_bytes([operator as u8; 32])
}

fn deposit(account: AccountId, asset: AssetId, amount: u64, number: u64) -> Command {
    let external_id = ExternalId::from_u128(u128::from(number));
    Command::Deposit { account, asset, amount: Amount(amount), external_id }
}

/// A deposit that nothing else has the number of.
pub fn late_deposit(number: u64) -> Command {
    deposit(AccountId(1 + (number % u64::from(ACCOUNTS)) as u32), USD, 1_000 + number, 1_000_000 + number)
}

pub fn limit(account: u32, side: Side, price: u64, quantity: u64) -> Command {
    Command::PlaceLimit {
        account: AccountId(account),
        market: MARKET,
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(price),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    }
}

pub const fn status(status: TradingStatus) -> Command {
    Command::SetGlobalStatus { status }
}

/// Two assets, a market, three operators, accounts with something of both, and orders that stand.
pub fn setup() -> Vec<Command> {
    let (first, second) = (OperatorId(0), OperatorId(0));
    let mut commands = vec![
        Command::AddAsset { asset: BTC, symbol: "BTC".parse().unwrap(), scale: 8 },
        Command::AddAsset { asset: USD, symbol: "USD".parse().unwrap(), scale: 6 },
        Command::AddMarket {
            market: MARKET,
            base: BTC,
            quote: USD,
            lot_size: Amount(10),
            tick_value: Amount(3),
            maker_rate: FeeRate(-5),
            taker_rate: FeeRate(20),
        },
        Command::SetControls { controls: Controls::NONE },
        Command::RegisterOperator { operator: OperatorId(1), key: key(1).public(), first, second },
        Command::RegisterOperator { operator: OperatorId(2), key: key(2).public(), first, second },
        Command::RegisterOperator {
            operator: OperatorId(3),
            key: key(3).public(),
            first: OperatorId(1),
            second: OperatorId(2),
        },
        Command::RegisterOperator {
            operator: OperatorId(4),
            key: key(4).public(),
            first: OperatorId(1),
            second: OperatorId(2),
        },
        Command::RevokeOperator { operator: OperatorId(4), first: OperatorId(1), second: OperatorId(2) },
        Command::FundTreasury { asset: USD, amount: Amount(500_000), external_id: ExternalId::from_u128(77) },
    ];
    for account in (1..=ACCOUNTS).map(AccountId) {
        commands.push(Command::CreateAccount { account });
        commands.push(deposit(account, BTC, 10_000, u64::from(account.0)));
        commands.push(deposit(account, USD, 10_000_000, u64::from(account.0)));
    }
    for account in 1..=ACCOUNTS {
        commands.push(limit(account, Side::Buy, 900 + u64::from(account), 20));
        commands.push(limit(account, Side::Sell, 1_100 - u64::from(account), 20));
    }
    commands
}

/// The bad airdrop and what came of it: sales, a transfer, withdrawals, an owner's cancel, others' orders. Begins at
/// `next`, the sequence of the first.
pub fn incident(airdrop: AirdropId, next: Sequence) -> Vec<Command> {
    let lines: Vec<_> = (1..=4).map(|account| (AccountId(account), Amount(5_000 * u64::from(account)))).collect();
    let mut hasher = ManifestHasher::new(BTC);
    lines.iter().for_each(|(account, amount)| hasher.line(*account, *amount));
    let total = Amount(lines.iter().map(|(_, amount)| amount.0).sum());
    let (author, operator) = (OperatorId(1), OperatorId(2));
    let (hash, count) = (hasher.finish(), lines.len() as u32);
    let mut commands =
        vec![Command::OpenAirdrop { airdrop, author, asset: BTC, total, lines: count, hash, lock_seconds: 0 }];
    commands.extend(lines.iter().map(|&(account, amount)| Command::AddAirdropLine { airdrop, account, amount }));
    commands.push(Command::ApproveAirdrop { airdrop, operator });
    commands.push(Command::ExecuteAirdrop { airdrop, operator: author });
    for account in 1..=4 {
        // More than they had before.
        commands.push(limit(account, Side::Sell, 905, 1_200));
        commands.push(limit(account + 4, Side::Buy, 950, 1_000));
        commands.push(limit(account + 6, Side::Sell, 949, 30));
    }
    commands.push(Command::Transfer { from: AccountId(4), to: AccountId(9), asset: BTC, amount: Amount(12_000) });
    commands.push(deposit(AccountId(6), USD, 5_000, 500 + u64::from(airdrop.0)));
    let request = Sequence(next.0 + commands.len() as u64);
    commands.push(Command::RequestWithdrawal { account: AccountId(9), asset: BTC, amount: Amount(15_000) });
    commands.push(Command::ReleaseWithdrawal {
        withdrawal: WithdrawalId(request.0),
        account: AccountId(9),
        asset: BTC,
        amount: Amount(15_000),
    });
    commands.push(Command::RequestWithdrawal { account: AccountId(3), asset: BTC, amount: Amount(9_000) });
    commands.push(Command::CancelAllOfAccount { account: AccountId(12) });
    commands.push(limit(11, Side::Buy, 970, 15));
    commands
}

/// The sequence at which the airdrop was executed, in a history that was made of [`setup`] and [`incident`].
pub fn execution<S: Storage>(timeline: &Timeline<S>, airdrop: AirdropId) -> Sequence {
    let mut replay = timeline.replay().unwrap();
    while let Some(step) = replay.next().unwrap() {
        let executed = |event: &Event| matches!(event, Event::AirdropExecuted { airdrop: of, .. } if *of == airdrop);
        if step.events.iter().any(executed) {
            return step.command.sequence;
        }
    }
    panic!("{airdrop} was not executed")
}

/// One of each kind.
pub fn strategies<S: Storage>(timeline: &Timeline<S>, airdrop: AirdropId) -> Vec<Strategy> {
    let executed = execution(timeline, airdrop);
    let edits = Edits::drop_sequences([executed]);
    let payments = vec![Payment { account: AccountId(7), asset: USD, amount: Amount(1_234) }];
    vec![
        Strategy::Excise(edits.clone()),
        Strategy::Bust(edits.clone()),
        Strategy::Rewind { cut: Sequence(executed.0 - 1) },
        Strategy::Compensate { edits, payments },
    ]
}

/// A plan with its branch and two good approvals.
pub fn approved<S: Storage>(timeline: &Timeline<S>, strategy: &Strategy) -> (Plan, Branch, Vec<Approval>) {
    let (plan, branch) = make_plan(timeline, strategy, &|_| ()).unwrap();
    let approvals = approve(&plan);
    (plan, branch, approvals)
}

/// Two good approvals.
pub fn approve(plan: &Plan) -> Vec<Approval> {
    [1, 3].map(|operator| Approval::sign(plan, OperatorId(operator), &key(operator), NEVER).unwrap()).to_vec()
}

/// Plays the setup, the incident and the freeze into a directory, and closes it.
pub fn frozen(directory: &std::path::Path) {
    let mut inline = Inline::open(directory, Durability::None).unwrap();
    play(&mut inline);
    inline.close().unwrap();
}

/// Plays the setup, the incident and the freeze.
pub fn play(inline: &mut Inline) {
    for command in setup() {
        inline.submit(Cause::operator(1), command).unwrap();
    }
    let next = inline.exchange().last_sequence().next();
    for command in incident(BAD, next) {
        inline.submit(Cause::session(1), command).unwrap();
    }
    inline.freeze(Cause::operator(1)).unwrap();
}

/// The canonical bytes of events.
pub fn bytes_of<'a>(events: impl IntoIterator<Item = &'a SequencedEvent>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        let mut writer = Writer::default();
        event.encode(&mut writer);
        bytes.extend_from_slice(writer.as_bytes());
    }
    bytes
}

/// All events of history, replayed from the first command, and the state at its end.
pub fn replayed<S: Storage>(timeline: &Timeline<S>) -> (Vec<SequencedEvent>, Exchange) {
    let mut replay = timeline.replay().unwrap();
    let mut all = Vec::new();
    while let Some(step) = replay.next().unwrap() {
        let (sequence, time) = (step.command.sequence, step.command.time);
        let numbered = (0..).zip(step.events);
        all.extend(numbered.map(|(index, &event)| SequencedEvent { sequence, time, index, event }));
    }
    let exchange = replay.into_exchange();
    exchange.check_invariants().unwrap();
    (all, exchange)
}

/// The state at the end of a journal, from its newest snapshot.
pub fn head_hash<S: Storage>(timeline: &Timeline<S>) -> StateHash {
    timeline.at_moment(engine::recovery::Moment::Now).unwrap().state_hash()
}
