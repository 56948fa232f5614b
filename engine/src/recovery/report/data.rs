//! What a report shows: everything in the exchange's own units, with [`Units`] to say what they are.

use std::{collections::BTreeMap, io, path::Path};

use crate::{
    exchange::{BookView, Exchange},
    recovery::{CreditRow, Flow, FlowKind, OrderChange, PricePoint, WithdrawalChange},
    types::{AccountId, Amount, AssetId, AssetSpec, MarketId, MarketSpec, Price, Sequence, Timestamp},
};

/// The report of an incident. What is empty is not shown.
///
/// ```
/// use engine::recovery::report::{Fact, IncidentReport};
/// let report = IncidentReport {
///     title: "The wrong airdrop".to_owned(),
///     facts: vec![Fact::new("plan", "excise <1 dropped>")],
///     ..IncidentReport::default()
/// };
/// let page = report.to_html();
/// assert!(page.starts_with("<!DOCTYPE html>") && page.contains("excise &lt;1 dropped&gt;"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct IncidentReport {
    /// What it is about.
    pub title: String,
    /// What happened and what came of it, in a sentence or two.
    pub lead: String,
    /// What should be known of it at once: journal, epoch, halt, plan, machine.
    pub facts: Vec<Fact>,
    /// What ids and numbers mean.
    pub units: Units,
    /// When the error happened: times are told from here.
    pub error: Timestamp,
    /// What happened when, in order.
    pub timeline: Vec<Mark>,
    /// What each phase of the recovery took.
    pub phases: Vec<Phase>,
    /// How long it took in this run from the error until trading went on, with all that people were waited for.
    pub elapsed_seconds: Option<f64>,
    /// What recoveries of the past took, for comparison.
    pub references: Vec<Reference>,
    /// Prices through the incident.
    pub prices: Vec<PriceChart>,
    /// What is marked in the charts of prices: the error, the halt, the reopening.
    pub marks: Vec<Mark>,
    /// What was credited and where it is, a row for each asset: [`Trace::totals`](crate::recovery::Trace::totals).
    pub credits: Vec<CreditRow>,
    /// The credits of which most is no longer there, in the order in which they are to be read.
    pub movers: Vec<CreditRow>,
    /// How many there are in all of which anything has gone.
    pub movers_total: u64,
    /// What went from whom to whom, the largest first.
    pub flows: Vec<Flow>,
    /// All that went, by hop.
    pub hops: Vec<HopRow>,
    /// Who has it now, by hop.
    pub holders: Vec<HolderRow>,
    /// What assets were worth before the error, where that is known: what makes different assets comparable.
    pub valuation: Option<Valuation>,
    /// What else the trace found.
    pub traced: Option<TraceFigures>,
    /// The strategies, side by side.
    pub strategies: Vec<StrategyRow>,
    /// Why the chosen one was chosen.
    pub reason: String,
    /// The largest balances changed by the strategy chosen, in the order in which they are to be read.
    pub changes: Vec<BalanceChange>,
    /// How many there are in all.
    pub changes_total: u64,
    /// The largest balances changed of accounts that were never credited in error.
    pub innocent_changes: Vec<BalanceChange>,
    /// How many there are in all.
    pub innocent_changes_total: u64,
    /// The largest orders changed by the strategy chosen.
    pub orders: Vec<OrderChange>,
    /// How many there are in all.
    pub orders_total: u64,
    /// Withdrawals changed by the strategy chosen.
    pub withdrawals: Vec<WithdrawalChange>,
    /// How many there are in all.
    pub withdrawals_total: u64,
    /// The largest debts that are others: account, asset, before, after.
    pub debts: Vec<(AccountId, AssetId, Amount, Amount)>,
    /// How many there are in all.
    pub debts_total: u64,
    /// Books before and after.
    pub books: Vec<BookChange>,
    /// What commands met at each stage.
    pub latency: Vec<LatencyRow>,
    /// What was verified.
    pub checks: Vec<Check>,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl Fact {
    /// A fact.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Which assets and markets there are, so that numbers can be told in them.
#[derive(Clone, Debug, Default)]
pub struct Units {
    /// Assets.
    pub assets: Vec<AssetSpec>,
    /// Markets.
    pub markets: Vec<MarketSpec>,
}

impl Units {
    /// Those of an exchange.
    #[must_use]
    pub fn of(exchange: &Exchange) -> Self {
        Self {
            assets: exchange.assets().copied().collect(),
            markets: exchange.markets().map(|market| market.spec).collect(),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub time: Timestamp,
    /// What, in a few words.
    pub what: String,
}

impl Mark {
    /// A mark.
    #[must_use]
    pub fn new(time: Timestamp, what: impl Into<String>) -> Self {
        Self { time, what: what.into() }
    }
}

/// A phase of the recovery.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name: halt, trace, plan, apply, verify, reopen.
    pub name: String,
    /// What was done.
    pub what: String,
    /// Machine time.
    pub milliseconds: f64,
    /// Whether it counts in the time from halt to reopened; the comparison of the other strategies and the wait for people
    /// do not.
    pub counts: bool,
}

/// A recovery of the past to compare with.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Which.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

impl Reference {
    /// Coinzest, 18 and 19 January 2019: from the payout at 18:30 until trading went on at 05:00.
    #[must_use]
    pub fn coinzest() -> Self {
        Self { name: "Coinzest, January 2019".to_owned(), seconds: 10.5 * 3_600.0 }
    }

    /// Bithumb, 6 and 7 February 2026: from the payout at 19:00 until parity was restored with company assets.
    #[must_use]
    pub fn bithumb() -> Self {
        Self { name: "Bithumb, February 2026".to_owned(), seconds: 27.0 * 3_600.0 }
    }
}

/// The prices of a market.
#[derive(Clone, Debug)]
pub struct PriceChart {
    /// Which.
    pub market: MarketId,
    /// The trades that happened, before the error and after it until the halt.
    pub happened: Vec<PricePoint>,
    /// What they are after the repair, from the error on: those that stand, and those that the strategy made. `None` where
    /// that is not shown.
    pub repaired: Option<Vec<PricePoint>>,
    /// The trades after the reopening.
    pub reopened: Vec<PricePoint>,
}

/// What a trace found, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFigures {
    /// Accounts that were credited.
    pub recipients: u64,
    /// Commands from the first suspect one through the halt.
    pub commands: u64,
    /// Nanoseconds from the first suspect one through the halt.
    pub nanoseconds: u64,
    /// The first suspect command.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
    /// The halt.
    pub halt: Sequence,
    /// All trades in that time.
    pub fills: u64,
    /// Trades in which an account took part that had got anything of it.
    pub fills_touched: u64,
    /// Accounts that got anything from a credited one, directly or through others, the credited ones included.
    pub poisoned: u64,
    /// Of these, never credited in error.
    pub poisoned_innocent: u64,
    /// Accounts that have anything of the credits themselves now.
    pub holders: u64,
}

/// What went from hand to hand at one hop, of one asset and in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopRow {
    /// What.
    pub asset: AssetId,
    /// The hop: 1 from the accounts that were credited.
    pub hop: u8,
    /// How.
    pub kind: FlowKind,
    /// How much.
    pub amount: Amount,
}

/// What is with accounts at one hop, of one asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderRow {
    /// What.
    pub asset: AssetId,
    /// The hop: 0 with the accounts that were credited.
    pub hop: u8,
    /// How many accounts.
    pub accounts: u64,
    /// How much.
    pub amount: Amount,
}

/// What assets are worth in one of them, so that what was credited in several can be told as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valuation {
    /// In which asset.
    pub asset: AssetId,
    /// By asset: what a lot is worth in minor units, and the lot in minor units of its own.
    rates: BTreeMap<AssetId, (u128, u128)>,
}

impl Valuation {
    /// In an asset, by prices of markets whose quote it is; others are left out.
    #[must_use]
    pub fn new<'a>(asset: AssetId, prices: impl IntoIterator<Item = (&'a MarketSpec, Price)>) -> Self {
        let mut rates = BTreeMap::from([(asset, (1, 1))]);
        for (market, price) in prices.into_iter().filter(|(market, _)| market.quote == asset) {
            let lot_value = u128::from(price.0) * u128::from(market.tick_value.0);
            rates.entry(market.base).or_insert((lot_value, u128::from(market.lot_size.0).max(1)));
        }
        Self { asset, rates }
    }

    /// What an amount is worth, in minor units and rounded down; `None` where no market says so.
    #[must_use]
    pub fn worth(&self, asset: AssetId, amount: u128) -> Option<u128> {
        let (lot_value, lot) = self.rates.get(&asset)?;
        Some(
            amount
                .checked_mul(*lot_value)
                .map_or_else(|| (amount / lot).saturating_mul(*lot_value), |value| value / lot),
        )
    }
}

/// A strategy's figures.
#[derive(Clone, Debug, Default)]
pub struct StrategyRow {
    /// Its name.
    pub name: String,
    /// Whether it is the one that the report is about.
    pub chosen: bool,
    /// Why it cannot be computed, if it cannot: nothing else of the row counts then.
    pub refused: Option<String>,
    /// Accounts that would have another state.
    pub accounts_changed: u64,
    /// Of these, never credited in error.
    pub innocent_changed: u64,
    /// Trades that would be void.
    pub trades_voided: u64,
    /// Trades that would be there instead.
    pub trades_new: u64,
    /// Orders that would be open again.
    pub orders_restored: u64,
    /// Orders that would be lost.
    pub orders_lost: u64,
    /// Orders that would lose their place.
    pub orders_requeued: u64,
    /// What could not be funded.
    pub shortfall: Vec<(AssetId, Amount)>,
    /// What accounts would owe in all.
    pub receivables: Vec<(AssetId, Amount)>,
    /// What would still not be covered by what the exchange has.
    pub unbacked: Vec<(AssetId, Amount)>,
    /// What the exchange would have more in fees, or less.
    pub fee_delta: Vec<(AssetId, i128)>,
    /// The shortfall in one asset, where it was valued.
    pub worth: Option<(AssetId, Amount)>,
    /// The hash of the state it leads to.
    pub state_hash: String,
    /// Whether no asset is made or lost, and the state came out the same twice.
    pub sound: bool,
    /// How long it took to compute.
    pub seconds: f64,
}

/// A balance that is another after the repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceChange {
    /// Whose.
    pub account: AccountId,
    /// What.
    pub asset: AssetId,
    /// Available and held together, before.
    pub before: Amount,
    /// After.
    pub after: Amount,
    /// Why.
    pub reason: String,
}

/// A book before and after.
#[derive(Clone, Debug)]
pub struct BookChange {
    /// As it was at the halt.
    pub before: BookView,
    /// As it is after the repair.
    pub after: BookView,
}

/// Latencies, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyRow {
    /// Of which stage, and what: wait or service.
    pub name: String,
    /// The 50th, 90th, 99th, 99.9th and 99.99th percentile, and the maximum.
    pub nanoseconds: [u64; 6],
}

/// Something that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was held against what.
    pub what: String,
    /// The value, such as a hash.
    pub value: String,
    /// Whether it holds.
    pub holds: bool,
}

impl IncidentReport {
    /// A report that is to be filled in, for an exchange whose assets and markets are known.
    #[must_use]
    pub fn new(title: impl Into<String>, exchange: &Exchange) -> Self {
        Self { title: title.into(), units: Units::of(exchange), ..Self::default() }
    }

    /// The page.
    #[must_use]
    pub fn to_html(&self) -> String {
        super::page::page(self)
    }

    /// Writes the page to a file; one that is there is replaced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.to_html())
    }
}
