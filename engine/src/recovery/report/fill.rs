//! A report filled from what recovery found: a trace, the outcomes of strategies, a diff, a branch.
//!
//! ```text
//! IncidentReport::new(title, exchange)      assets and markets
//!     .add_trace(trace)                     credits, flows, error and halt, what assets were worth
//!     .add_outcomes(outcomes, chosen)       the comparison of the strategies
//!     .add_diff(diff, credited)             what the chosen one changes: balances, orders, withdrawals, debts, books
//!     .add_prices(trace, branch)            prices as they happened, and as they are on the branch
//! ```

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::data::{
    BalanceChange, BookChange, HolderRow, HopRow, IncidentReport, Mark, PriceChart, StrategyRow, TraceFigures,
    Valuation,
};
use crate::{
    exchange::Balance,
    recovery::{Branch, CreditRow, Diff, Outcome, PricePoint, Trace},
    types::{AccountId, Amount, AssetId, MarketId, Price, Sequence},
};

/// How many of the largest changes are shown.
const CHANGES_MAX: usize = 15;
/// How many credits are shown by themselves.
const MOVERS_MAX: usize = 15;
/// In how many markets prices are shown: two beside each other.
const MARKETS_MAX: usize = 4;
/// And of how many books.
const BOOKS_MAX: usize = 2;
/// How many new trades of a market are looked at, at most.
const NEW_TRADES_MAX: usize = 1_000;

impl IncidentReport {
    /// Takes over what a trace found: credits, flows, figures, the marks of error and halt, and, unless there is one, a
    /// valuation at the prices before the error. `units` is needed before.
    pub fn add_trace(&mut self, trace: &Trace) {
        self.error = trace.first.1;
        self.credits = trace.totals();
        self.flows.clone_from(&trace.flows);
        self.hops =
            trace.hops.iter().map(|(&(asset, hop, kind), &amount)| HopRow { asset, hop, kind, amount }).collect();
        let mut holders: BTreeMap<(AssetId, u8), (u64, u64)> = BTreeMap::new();
        for &(_, asset, hop, amount) in &trace.holders {
            let (accounts, sum) = holders.entry((asset, hop)).or_default();
            (*accounts, *sum) = (*accounts + 1, *sum + amount.0);
        }
        self.holders = holders
            .into_iter()
            .map(|((asset, hop), (accounts, sum))| HolderRow { asset, hop, accounts, amount: Amount(sum) })
            .collect();
        self.traced = Some(TraceFigures {
            recipients: trace.credited_accounts().len() as u64,
            commands: trace.commands,
            nanoseconds: trace.halt.1.0.saturating_sub(trace.first.1.0),
            first: trace.first.0,
            last: trace.last.0,
            halt: trace.halt.0,
            fills: trace.fills,
            fills_touched: trace.fills_touched,
            poisoned: trace.poisoned.len() as u64,
            poisoned_innocent: trace.poisoned.difference(&trace.credited_accounts()).count() as u64,
            holders: trace.holders.iter().map(|(account, ..)| account).collect::<BTreeSet<_>>().len() as u64,
        });
        self.marks.push(Mark::new(trace.first.1, "error"));
        self.marks.push(Mark::new(trace.halt.1, "halt"));
        if self.valuation.is_none() {
            self.valuation = self.valuation_before(trace);
        }
        let mut movers: Vec<CreditRow> = trace.credits.iter().filter(|row| gone(row) > 0).cloned().collect();
        self.movers_total = movers.len() as u64;
        movers.sort_by_key(|row| (Reverse(self.weight(row.asset, gone(row))), row.account, row.sequence));
        movers.truncate(MOVERS_MAX);
        self.movers = movers;
    }

    /// At the prices before the error, in the quote in which most of what was credited has one.
    fn valuation_before(&self, trace: &Trace) -> Option<Valuation> {
        let priced: Vec<_> = trace
            .markets
            .iter()
            .filter_map(|traced| {
                let spec = self.units.markets.iter().find(|spec| spec.market == traced.market)?;
                Some((spec, traced.before.or_else(|| traced.series.first().map(|point| point.price))?))
            })
            .collect();
        let credited: BTreeSet<AssetId> = self.credits.iter().map(|row| row.asset).collect();
        let mut values: BTreeMap<AssetId, BTreeSet<AssetId>> = BTreeMap::new();
        for (spec, _) in &priced {
            let valued = values.entry(spec.quote).or_default();
            valued.extend([spec.base, spec.quote].into_iter().filter(|asset| credited.contains(asset)));
        }
        let (quote, valued) = values.into_iter().max_by_key(|(quote, valued)| (valued.len(), Reverse(*quote)))?;
        let prices = priced.into_iter();
        (!valued.is_empty()).then(|| Valuation::new(quote, prices.map(|(spec, price): (_, Price)| (spec, price))))
    }

    /// What to order amounts of different assets by: what they are worth, or, where nobody knows, how much they are. What is
    /// worth something known goes first.
    fn weight(&self, asset: AssetId, amount: u128) -> (bool, u128) {
        let worth = self.valuation.as_ref().and_then(|valuation| valuation.worth(asset, amount));
        (worth.is_some(), worth.unwrap_or(amount))
    }

    /// Adds the comparison: of each strategy its name and what it came to, or why it came to nothing. `chosen` is the name of
    /// the one that the report is about.
    pub fn add_outcomes<'a, E: fmt::Display + 'a>(
        &mut self,
        outcomes: impl IntoIterator<Item = (&'a str, Result<&'a Outcome, &'a E>)>,
        chosen: Option<&str>,
    ) {
        for (name, outcome) in outcomes {
            let mut row = match outcome {
                Ok(outcome) => StrategyRow::of(outcome),
                Err(error) => StrategyRow::refused(name, error.to_string()),
            };
            row.chosen = chosen == Some(name);
            row.worth = self.valuation.as_ref().and_then(|valuation| {
                let worth = row.shortfall.iter().map(|(asset, amount)| valuation.worth(*asset, amount.0.into()));
                let sum = worth.sum::<Option<u128>>()?;
                Some((valuation.asset, Amount(u64::try_from(sum).ok()?)))
            });
            self.strategies.push(row);
        }
    }

    /// Adds what a strategy changes, the largest first: balances of those credited in error and of all others, orders,
    /// withdrawals, debts and books.
    pub fn add_diff(&mut self, diff: &Diff, credited: &BTreeSet<AccountId>) {
        let changes = diff.balances.iter().map(|change| BalanceChange {
            account: change.account,
            asset: change.asset,
            before: total(change.before),
            after: total(change.after),
            reason: change.reason.to_string(),
        });
        // What went from available to held, or back, is another balance, but nobody has more or less.
        let changes = changes.filter(|change| change.before != change.after);
        let (of_credited, innocent): (Vec<_>, Vec<_>) = changes.partition(|change| credited.contains(&change.account));
        (self.changes, self.changes_total) = self.largest(of_credited);
        (self.innocent_changes, self.innocent_changes_total) = self.largest(innocent);
        self.orders_total = diff.orders.len() as u64;
        let mut orders = diff.orders.clone();
        orders.sort_by_cached_key(|change| {
            let (before, _) = self.units.quantity(change.order.market, change.before);
            let (after, _) = self.units.quantity(change.order.market, change.after);
            let asset = self.units.base(change.order.market);
            (Reverse(self.weight(asset, before.abs_diff(after))), change.order.order)
        });
        orders.truncate(CHANGES_MAX);
        self.orders = orders;
        self.withdrawals_total = diff.withdrawals.len() as u64;
        self.withdrawals = diff.withdrawals.iter().take(CHANGES_MAX).copied().collect();
        self.debts_total = diff.debts.len() as u64;
        let mut debts = diff.debts.clone();
        debts.sort_by_key(|(account, asset, before, after)| {
            (Reverse(self.weight(*asset, before.0.abs_diff(after.0).into())), *account, *asset)
        });
        debts.truncate(CHANGES_MAX);
        self.debts = debts;
        let books = diff.books.iter().take(BOOKS_MAX);
        self.books = books.map(|book| BookChange { before: book.before.clone(), after: book.after.clone() }).collect();
    }

    fn largest(&self, mut changes: Vec<BalanceChange>) -> (Vec<BalanceChange>, u64) {
        changes.sort_by_cached_key(|change| {
            let by = change.before.0.abs_diff(change.after.0);
            (Reverse(self.weight(change.asset, by.into())), change.account, change.asset)
        });
        let all = changes.len() as u64;
        changes.truncate(CHANGES_MAX);
        (changes, all)
    }

    /// Adds prices as the trace saw them, in the markets of what was credited in which most trades were touched; with a
    /// branch also as they are there.
    pub fn add_prices(&mut self, trace: &Trace, branch: Option<&Branch>) {
        let credited: BTreeSet<AssetId> = trace.credits.iter().map(|row| row.asset).collect();
        let of_credited = |market: MarketId| {
            let spec = self.units.markets.iter().find(|spec| spec.market == market);
            spec.is_some_and(|spec| credited.contains(&spec.base) || credited.contains(&spec.quote))
        };
        let mut markets: Vec<_> =
            trace.markets.iter().filter(|market| market.fills_touched > 0 && of_credited(market.market)).collect();
        markets.sort_by_key(|market| (Reverse(market.fills_touched), market.market));
        let charts = markets.into_iter().take(MARKETS_MAX).map(|traced| PriceChart {
            market: traced.market,
            happened: traced.series.clone(),
            repaired: branch.map(|branch| repaired(traced.market, &traced.series, branch)),
            reopened: Vec::new(),
        });
        self.prices.extend(charts);
    }
}

impl StrategyRow {
    /// What a strategy came to, computed twice.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let amounts = |of: &BTreeMap<AssetId, Amount>| of.iter().map(|(asset, amount)| (*asset, *amount)).collect();
        Self {
            name: outcome.strategy.name().to_owned(),
            chosen: false,
            refused: None,
            accounts_changed: outcome.accounts_changed,
            innocent_changed: outcome.innocent_changed,
            trades_voided: outcome.trades_voided,
            trades_new: outcome.trades_new,
            orders_restored: outcome.orders_restored,
            orders_lost: outcome.orders_lost,
            orders_requeued: outcome.orders_requeued,
            shortfall: amounts(&outcome.shortfall),
            receivables: amounts(&outcome.receivables),
            unbacked: amounts(&outcome.unbacked),
            fee_delta: outcome.fee_delta.iter().map(|(asset, delta)| (*asset, *delta)).collect(),
            worth: None,
            state_hash: outcome.state_hash.to_string(),
            sound: outcome.conserved,
            seconds: outcome.seconds,
        }
    }

    /// A strategy that cannot be computed, and why.
    #[must_use]
    pub fn refused(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), refused: Some(why.into()), ..Self::default() }
    }
}

/// What is left of `happened` on a branch, with the trades that are there instead.
#[must_use]
pub fn repaired(market: MarketId, happened: &[PricePoint], branch: &Branch) -> Vec<PricePoint> {
    let void: BTreeSet<Sequence> =
        branch.busted.iter().filter(|fill| fill.market == market).map(|fill| fill.sequence).collect();
    let stands =
        happened.iter().copied().filter(|point| point.sequence > branch.cut && !void.contains(&point.sequence));
    let new: Vec<_> = branch.new_fills.iter().filter(|fill| fill.market == market).collect();
    let every = new.len().div_ceil(NEW_TRADES_MAX).max(1);
    let new = new.into_iter().step_by(every);
    let new = new.map(|fill| PricePoint { sequence: fill.sequence, time: fill.time, price: fill.price });
    let mut repaired: Vec<PricePoint> = stands.chain(new).collect();
    repaired.sort_unstable_by_key(|point| point.sequence);
    repaired
}

/// What of a credit is no longer with the account.
fn gone(row: &CreditRow) -> u128 {
    [row.sold, row.withdrawn, row.transferred, row.fees, row.set_off].iter().map(|amount| u128::from(amount.0)).sum()
}

const fn total(balance: Balance) -> Amount {
    Amount(balance.available.0.saturating_add(balance.held.0))
}
