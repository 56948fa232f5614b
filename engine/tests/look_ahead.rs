//! Looking ahead in batches of any length changes nothing that comes out, and leaves the same state.

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    exchange::Exchange,
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId, Price,
        Quantity, Sequence, Side, Timestamp,
    },
};

/// Apart, so that there are as many accounts as make an exchange look ahead.
const ACCOUNTS_APART: u64 = 64;
const ACCOUNTS: u64 = 300;
const COMMANDS: u64 = 50_000;
/// So many open orders that their neighbours and levels are asked for too.
const VERY_MANY: u64 = 410_000;
/// More than an account's own record has room for; accounts get to hold the last ones on the way.
const ASSETS: u64 = 9;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn account(number: u64) -> AccountId {
    AccountId((number * ACCOUNTS_APART) as u32 + 1)
}

fn setup() -> Vec<Command> {
    let asset = |asset: u16| AssetId(asset);
    let symbol = |number: u16| format!("A{number}").parse().expect("a symbol");
    let mut commands: Vec<_> = (0..ASSETS as u16)
        .map(|number| Command::AddAsset { asset: asset(number), symbol: symbol(number), scale: 0 })
        .collect();
    commands.extend((0..2).map(|market| Command::AddMarket {
        market: MarketId(market),
        base: asset(market + 1),
        quote: asset(0),
        lot_size: Amount(1),
        tick_value: Amount(1),
        maker_rate: FeeRate(10),
        taker_rate: FeeRate(20),
    }));
    for number in 0..ACCOUNTS {
        commands.push(Command::CreateAccount { account: account(number) });
        commands.extend((0..3).map(|asset| Command::Deposit {
            account: account(number),
            asset: AssetId(asset),
            amount: Amount(1_000_000_000),
            external_id: ExternalId::from_u128(number.into()),
        }));
    }
    commands
}

/// A command of any kind that looking ahead treats for itself; `next` is its sequence.
fn command(random: &mut Random, next: u64) -> Command {
    let account = account(random.below(ACCOUNTS));
    let (market, side) = (MarketId(random.below(2) as u16), [Side::Buy, Side::Sell][random.below(2) as usize]);
    let client_order_id = ClientOrderId(random.below(2) * random.below(50));
    let order = OrderId(next - random.below(next.min(1_000)));
    let (price, quantity) = (Price(1_000 + random.below(200)), Quantity(1 + random.below(20)));
    let limit_type = [LimitType::GoodTillCancel, LimitType::ImmediateOrCancel][usize::from(random.below(8) == 0)];
    let (asset, amount) = (AssetId(random.below(ASSETS) as u16), Amount(1 + random.below(1_000)));
    match random.below(24) {
        0..8 => Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id },
        8..11 => Command::CancelOrder { account, order },
        11 => Command::CancelByClientOrderId { account, client_order_id },
        12 => Command::ReduceOrder { account, order, quantity },
        13 => Command::ReplaceOrder { account, market, side, order, price, quantity },
        14 => Command::PlaceMarketSell { account, market, quantity, client_order_id },
        15 => Command::Deposit { account, asset, amount, external_id: ExternalId::from_u128(u128::from(next) << 32) },
        16 => Command::Transfer { from: account, to: self::account(random.below(ACCOUNTS)), asset, amount },
        // On a leaf of its own, so that there are many.
        17..21 => {
            let (side, price) = (Side::Sell, Price(10_000 + random.below(100_000_000)));
            Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id }
        }
        21 if random.below(8) == 0 => Command::CancelAllOfAccount { account },
        _ => Command::PlaceMarketBuy { account, market, budget: Amount(quantity.0 * 1_000), client_order_id },
    }
}

/// One account sells at so many prices that nobody pays.
fn very_many_orders() -> Vec<Command> {
    let (account, assets) = (account(ACCOUNTS), [AssetId(1), AssetId(2)]);
    let mut commands = vec![Command::CreateAccount { account }];
    commands.extend(assets.map(|asset| Command::Deposit {
        account,
        asset,
        amount: Amount(VERY_MANY),
        external_id: ExternalId::from_u128(u128::MAX),
    }));
    commands.extend((0..VERY_MANY).map(|number| Command::PlaceLimit {
        account,
        market: MarketId((number % 2) as u16),
        side: Side::Sell,
        limit_type: LimitType::GoodTillCancel,
        price: Price(200_000_000 + number * 5),
        quantity: Quantity(1),
        client_order_id: ClientOrderId(0),
    }));
    commands
}

#[test]
fn looking_ahead_changes_nothing() {
    look_ahead(setup(), &[1, 4, 5, 8, 9, 12, 13, 14, 17, 64, usize::MAX], 1_000);
}

#[test]
fn looking_ahead_among_very_many_orders_changes_nothing() {
    look_ahead([setup(), very_many_orders()].concat(), &[9, 64, usize::MAX], 200_000);
}

/// In batches of these lengths, with so many levels in the end.
fn look_ahead(mut commands: Vec<Command>, lengths: &[usize], levels_min: usize) {
    let mut random = Random(7);
    let end = commands.len() as u64 + COMMANDS;
    while (commands.len() as u64) < end {
        let next = commands.len() as u64 + 1;
        let mut command = command(&mut random, next);
        // Whose the order is must fit, or nothing is found.
        if let Command::CancelOrder { account, order }
        | Command::ReduceOrder { account, order, .. }
        | Command::ReplaceOrder { account, order, .. } = &mut command
            && let Some(&Command::PlaceLimit { account: owner, .. }) = commands.get(order.0 as usize - 1)
        {
            *account = owner;
        }
        commands.push(command);
    }
    let commands: Vec<_> = (1..)
        .map(Sequence)
        .zip(commands)
        .map(|(sequence, command)| SequencedCommand { sequence, time: Timestamp(0), cause: Cause::session(1), command })
        .collect();
    let apply = |exchange: &mut Exchange, next: &SequencedCommand| {
        let mut events: Vec<Event> = Vec::new();
        exchange.apply(next.sequence, next.time, &next.command, &mut events);
        events
    };
    let mut plain = Exchange::new();
    let expected: Vec<_> = commands.iter().map(|command| apply(&mut plain, command)).collect();
    let closed = |events: &[Event]| events.iter().any(|event| matches!(event, Event::OrderCancelled { .. }));
    let cancelled = expected.iter().filter(|events| closed(events)).count();
    assert!(cancelled > 4_000, "{cancelled} orders are found and cancelled");
    let levels = plain.book(MarketId(0), usize::MAX).expect("the market is there").asks.len();
    assert!(
        levels > levels_min,
        "{levels} levels, most on a leaf of their own, are more than a cache is taken to hold"
    );
    let holds = |account| plain.account(account).map_or(0, |account| account.balances.len());
    let most = (0..ACCOUNTS).map(|number| holds(account(number))).max();
    assert!(most > Some(4), "accounts hold up to {most:?} assets, most of them outside their record");

    for length in lengths.iter().map(|length| (*length).min(commands.len())) {
        let (mut exchange, mut expected) = (Exchange::new(), expected.iter());
        for batch in commands.chunks(length) {
            for (index, command) in batch.iter().enumerate() {
                exchange.look_ahead_in(batch, index);
                let events = apply(&mut exchange, command);
                assert_eq!(Some(&events), expected.next(), "batches of {length}, {command:?}");
            }
        }
        assert_eq!(exchange.state_hash(), plain.state_hash(), "batches of {length}");
    }
}
