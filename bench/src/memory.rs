//! What the state of the exchange takes up, as the process's resident memory grows by it.
//!
//! It is measured before anything else has been freed, or what was freed would be used again and not be seen.

use std::fs;

use engine::{
    command::Command,
    event::{Event, EventSink},
    exchange::Exchange,
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, Price,
        Quantity, Side, Timestamp,
    },
};
use gateway_sim::report::text::grouped;

use crate::report::{Figure, Findings, Section, Target};

/// How many assets each account holds.
const ASSETS: u16 = 5;
/// How many orders each owner has.
const ORDERS_OF_ONE: u32 = 10;
/// On how many levels of each side they stand.
const LEVELS: u64 = 5_000;
const CENTRE: u64 = 100_000;
const PAGE_BYTES: u64 = 4_096;

/// Counts what was refused: nothing may be.
#[derive(Default)]
struct Refusals(u64);

impl EventSink for Refusals {
    fn emit(&mut self, event: Event) {
        self.0 += u64::from(matches!(event, Event::Refused { .. }));
    }
}

#[derive(Default)]
struct Desk {
    exchange: Exchange,
    refusals: Refusals,
}

impl Desk {
    /// An exchange with five assets, a market, and these accounts, which have nothing.
    fn with_accounts(accounts: u32) -> Self {
        let mut desk = Self::default();
        for (asset, symbol) in (0..ASSETS).zip(["BTC", "USD", "ETH", "SOL", "DOT"]) {
            let symbol = symbol.parse().expect("the symbols are valid");
            desk.apply(&Command::AddAsset { asset: AssetId(asset), symbol, scale: 6 });
        }
        desk.apply(&Command::AddMarket {
            market: MarketId(0),
            base: AssetId(0),
            quote: AssetId(1),
            lot_size: Amount(1),
            tick_value: Amount(1),
            maker_rate: FeeRate(20),
            taker_rate: FeeRate(50),
        });
        for account in 1..=accounts {
            desk.apply(&Command::CreateAccount { account: AccountId(account) });
        }
        desk
    }

    fn apply(&mut self, command: &Command) {
        let sequence = self.exchange.last_sequence().next();
        self.exchange.apply(sequence, Timestamp(0), command, &mut self.refusals);
    }

    /// The first account gets all there is of the first `assets`, and gives each of the others its part.
    fn hand_out(&mut self, accounts: u32, assets: u16) {
        let part = AMOUNT_MAX / 2 / u64::from(accounts);
        for asset in (0..assets).map(AssetId) {
            let (account, external_id) = (AccountId(1), ExternalId::from_u128(1));
            self.apply(&Command::Deposit { account, asset, amount: Amount(AMOUNT_MAX / 2), external_id });
        }
        for to in (2..=accounts).map(AccountId) {
            for asset in (0..assets).map(AssetId) {
                self.apply(&Command::Transfer { from: AccountId(1), to, asset, amount: Amount(part) });
            }
        }
    }
}

/// Bytes of the process that are in memory; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

/// By how many bytes the process has grown since.
fn growth(since: u64) -> f64 {
    resident_bytes().saturating_sub(since) as f64
}

/// Measures what so many resting orders, and so many accounts, take up.
#[must_use]
pub fn measure(orders: u32, accounts: u32) -> Findings {
    let mut refusals = 0;
    let start = resident_bytes();
    let mut desk = Desk::with_accounts(accounts);
    let per_account = growth(start) / f64::from(accounts);
    let before = resident_bytes();
    desk.hand_out(accounts, ASSETS);
    let per_asset = growth(before) / f64::from(accounts) / f64::from(ASSETS);
    refusals += desk.refusals.0;
    drop(desk);

    let per_order = bytes_per_order(orders, false, &mut refusals);
    let per_named_order = bytes_per_order(orders, true, &mut refusals);

    let figure = |name: &str, setting: String, bytes: f64| {
        let outcome = format!("{bytes:.0} bytes");
        Figure::new(name, setting, &[], outcome)
    };
    let of_accounts = format!("{} accounts", grouped(accounts.into()));
    let of_orders = format!("{} orders, {} of each owner", grouped(orders.into()), ORDERS_OF_ONE);
    let figures = vec![
        figure("account that holds nothing", of_accounts.clone(), per_account),
        figure("asset held by it", format!("{of_accounts}, {ASSETS} assets each"), per_asset),
        figure("resting order without a name", of_orders.clone(), per_order),
        figure("resting order with a name", of_orders, per_named_order),
    ];
    let bytes = |what: &str, value, bound| Target::at_most("", format!("memory: bytes per {what}"), value, bound);
    let targets = vec![
        bytes("resting order with all its indexes", per_named_order, 128.0),
        bytes(
            "account with five assets: 64, and 32 for each",
            per_account + f64::from(ASSETS) * per_asset,
            64.0 + 32.0 * f64::from(ASSETS),
        ),
    ];
    let conditions = vec!["by how much resident memory grows, with pages of the system and room for growth".to_owned()];
    let section = Section { title: "memory".to_owned(), conditions, unit: "bytes", figures };
    let failures = (refusals > 0).then(|| format!("memory: {refusals} commands were refused"));
    Findings { sections: vec![section], targets, failures: failures.into_iter().collect() }
}

fn bytes_per_order(orders: u32, named: bool, refusals: &mut u64) -> f64 {
    let owners = orders.div_ceil(ORDERS_OF_ONE);
    let mut desk = Desk::with_accounts(owners);
    desk.hand_out(owners, 2);
    let before = resident_bytes();
    for number in 0..orders {
        let step = u64::from(number) * 7_919;
        let (side, price) = match step % 2 {
            0 => (Side::Buy, CENTRE - step / 2 % LEVELS),
            _ => (Side::Sell, CENTRE + 1 + step / 2 % LEVELS),
        };
        desk.apply(&Command::PlaceLimit {
            account: AccountId(1 + number % owners),
            market: MarketId(0),
            side,
            limit_type: LimitType::GoodTillCancel,
            price: Price(price),
            quantity: Quantity(1),
            client_order_id: ClientOrderId(if named { 1 + u64::from(number / owners) } else { 0 }),
        });
    }
    let bytes = growth(before) / f64::from(orders);
    *refusals += desk.refusals.0;
    assert_eq!(desk.exchange.matcher().open_orders(), orders as usize, "all orders rest");
    bytes
}
