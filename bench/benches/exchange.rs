//! One command at a time, in line: what each kind costs on a book with a thousand other orders.
//!
//! Commands are applied in blocks; what sets a block up and clears it away is not timed.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bench::tally::Tally;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::{
    command::Command,
    exchange::Exchange,
    types::{
        AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId, Price, Quantity,
        Side, Timestamp,
    },
};
use gateway_sim::flow::FlowSpecification;

const BASE: AssetId = AssetId(0);
const QUOTE: AssetId = AssetId(1);
const MARKET: MarketId = MarketId(0);
const MAKER: AccountId = AccountId(1);
const TAKER: AccountId = AccountId(2);
/// Owns the orders that are always there.
const BYSTANDER: AccountId = AccountId(3);
/// Has nothing.
const PAUPER: AccountId = AccountId(4);
const BYSTANDERS_ORDERS: u64 = 1_000;
const FAIR: u64 = 100_000;
const BLOCK: u64 = 1_000;
const SWEPT: u64 = 100;

struct Desk {
    exchange: Exchange,
    tally: Tally,
}

impl Desk {
    fn new() -> Self {
        let mut desk = Self { exchange: Exchange::new(), tally: Tally::default() };
        let symbol = |text: &str| text.parse().expect("the symbols are valid");
        desk.apply(&Command::AddAsset { asset: BASE, symbol: symbol("BTC"), scale: 8 });
        desk.apply(&Command::AddAsset { asset: QUOTE, symbol: symbol("USD"), scale: 6 });
        desk.apply(&Command::AddMarket {
            market: MARKET,
            base: BASE,
            quote: QUOTE,
            lot_size: Amount(10_000),
            tick_value: Amount(1),
            maker_rate: FeeRate(20),
            taker_rate: FeeRate(50),
        });
        for account in [MAKER, TAKER, BYSTANDER, PAUPER] {
            desk.apply(&Command::CreateAccount { account });
            let amount = if account == PAUPER { Amount(1) } else { Amount(1_000_000_000_000_000_000) };
            for asset in [BASE, QUOTE] {
                let external_id = ExternalId::from_u128(account.0.into());
                desk.apply(&Command::Deposit { account, asset, amount, external_id });
            }
        }
        for number in 0..BYSTANDERS_ORDERS {
            let (side, price) = if number % 2 == 0 { (Side::Buy, FAIR / 2) } else { (Side::Sell, FAIR * 2) };
            desk.place(BYSTANDER, side, price + number / 2 % 100);
        }
        assert_eq!(desk.tally.refusals, 0, "the setup is accepted");
        desk
    }

    fn apply(&mut self, command: &Command) {
        let sequence = self.exchange.last_sequence().next();
        self.exchange.apply(sequence, Timestamp(0), command, &mut self.tally);
    }

    /// One lot, good till cancelled.
    fn place(&mut self, account: AccountId, side: Side, price: u64) -> OrderId {
        self.apply(&order(account, side, price, 1, LimitType::GoodTillCancel));
        OrderId(self.exchange.last_sequence().0)
    }

    /// The maker's asks, spread over prices.
    fn place_asks(&mut self, count: u64) -> Vec<OrderId> {
        (0..count).map(|number| self.place(MAKER, Side::Sell, price_of(number))).collect()
    }
}

const fn price_of(number: u64) -> u64 {
    FAIR + number * 7 % 64
}

const fn order(account: AccountId, side: Side, price: u64, quantity: u64, limit_type: LimitType) -> Command {
    Command::PlaceLimit {
        account,
        market: MARKET,
        side,
        limit_type,
        price: Price(price),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    }
}

/// Times `iterations` commands: `block` sets up for a number of them and gives them.
fn timed(desk: &mut Desk, iterations: u64, block: impl Fn(&mut Desk, u64) -> Vec<Command>) -> Duration {
    let (mut taken, mut left) = (Duration::ZERO, iterations);
    while left > 0 {
        let commands = block(desk, left.min(BLOCK));
        let begun = Instant::now();
        for command in &commands {
            desk.apply(command);
        }
        taken += begun.elapsed();
        left -= commands.len() as u64;
        for account in [MAKER, TAKER] {
            desk.apply(&Command::CancelAllOfAccount { account });
        }
    }
    taken
}

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    group.throughput(Throughput::Elements(1));
    let mut measure = |name: &str, block: fn(&mut Desk, u64) -> Vec<Command>| {
        let mut desk = Desk::new();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| timed(&mut desk, iterations, block));
        });
        desk.exchange.check_invariants().expect("the invariants hold");
        desk.tally
    };
    measure("place", |_, count| {
        (0..count).map(|number| order(MAKER, Side::Sell, price_of(number), 1, LimitType::GoodTillCancel)).collect()
    });
    measure("cancel", |desk, count| {
        let orders = desk.place_asks(count);
        orders.into_iter().map(|order| Command::CancelOrder { account: MAKER, order }).collect()
    });
    measure("fill", |desk, count| {
        desk.place_asks(count);
        (0..count).map(|_| order(TAKER, Side::Buy, FAIR + 64, 1, LimitType::ImmediateOrCancel)).collect()
    });
    measure("replace", |desk, count| {
        let orders = desk.place_asks(count);
        let replace = |(number, order)| Command::ReplaceOrder {
            account: MAKER,
            market: MARKET,
            side: Side::Sell,
            order,
            price: Price(price_of(number) + 64),
            quantity: Quantity(2),
        };
        (0..).zip(orders).map(replace).collect()
    });
    let tally = measure("refused for want of funds", |_, count| {
        (0..count).map(|number| order(PAUPER, Side::Buy, price_of(number), 1, LimitType::GoodTillCancel)).collect()
    });
    assert!(tally.refusals > 0, "the poor are refused");
    group.finish();
}

fn sweep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    group.throughput(Throughput::Elements(SWEPT));
    let mut desk = Desk::new();
    group.bench_function("sweep of 100 orders", |bencher| {
        bencher.iter_custom(|iterations| {
            timed(&mut desk, iterations, |desk, count| {
                // Few sweeps at a time, or there are too many orders.
                let count = count.min(10);
                desk.place_asks(count * SWEPT);
                (0..count).map(|_| order(TAKER, Side::Buy, FAIR + 64, SWEPT, LimitType::ImmediateOrCancel)).collect()
            })
        });
    });
    assert_eq!(desk.tally.fills % SWEPT, 0, "every sweep takes all it wants");
    group.finish();
}

fn state_hash(criterion: &mut Criterion) {
    const ACCOUNTS: u32 = 10_000;
    let (setup, _) = FlowSpecification { seed: 1, accounts: ACCOUNTS, markets: 10, gateways: 1 }.start();
    let mut desk = Desk { exchange: Exchange::new(), tally: Tally::default() };
    setup.iter().for_each(|command| desk.apply(command));
    let mut group = criterion.benchmark_group("state hash");
    group.throughput(Throughput::Elements(u64::from(ACCOUNTS)));
    group.bench_function("10,000 accounts, 29,000 orders", |bencher| {
        bencher.iter(|| black_box(&desk.exchange).state_hash());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500));
    targets = commands, sweep, state_hash
}
criterion_main!(benches);
