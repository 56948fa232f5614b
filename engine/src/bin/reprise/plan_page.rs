//! The comparison as one HTML file: what was traced and computed, handed to the library's report.

use std::{cmp::Reverse, collections::BTreeSet, path::Path};

use engine::{
    recovery::{
        Branch, Outcome, PricePoint, Timeline, Trace,
        report::{BalanceChange, BookChange, Check, Fact, IncidentReport, Mark, PriceChart, StrategyRow, Units},
    },
    types::{Amount, MarketId, Sequence},
};

use crate::{
    failure::Failure,
    names,
    output::count,
    plan::{Comparison, StrategyName, branch, chosen, credited_assets},
};

/// In how many markets prices are shown.
const MARKETS_SHOWN: usize = 3;
/// How many of the largest changes of balances are shown.
const CHANGES_SHOWN: usize = 25;
/// How many new trades of a market are shown at most.
const NEW_TRADES_SHOWN: usize = 1_000;

/// Writes the page. `place` names the exchange.
pub fn write(
    place: &str,
    comparison: &Comparison<'_>,
    asked: Option<StrategyName>,
    timeline: &Timeline,
    file: &Path,
) -> Result<(), Failure> {
    let chosen = chosen(comparison, asked);
    if let (Some(asked), None) = (asked, chosen) {
        return Err(Failure::failed(format!(
            "{} cannot do it, so its changes cannot be shown: choose another",
            asked.name()
        )));
    }
    let branch = match chosen {
        Some(chosen) => Some(branch(timeline, comparison.halt.sequence, &chosen.strategy)?),
        None => None,
    };
    let page = page(place, comparison, chosen, branch.as_ref());
    page.write_file(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

fn page(place: &str, comparison: &Comparison<'_>, chosen: Option<&Outcome>, branch: Option<&Branch>) -> IncidentReport {
    let mut page = IncidentReport {
        title: "An error, and what can be done about it".to_owned(),
        lead: lead(comparison, chosen),
        units: Units::of(comparison.exchange),
        strategies: strategies(comparison, chosen),
        ..IncidentReport::default()
    };
    let halt = comparison.halt;
    page.facts = vec![
        Fact::new("exchange", place),
        Fact::new("journal", halt.journal_id.to_string()),
        Fact::new("epoch", halt.epoch.to_string()),
        Fact::new(
            if halt.is_frozen { "halt" } else { "preview, not frozen, at" },
            format!("sequence {}", count(halt.sequence.0)),
        ),
        Fact::new("state at the halt", comparison.exchange.state_hash().to_string()),
    ];
    if let Some(trace) = comparison.trace {
        page.add_trace(trace);
        let credited = format!("{} accounts credited in error", count(comparison.credited.len() as u64));
        page.timeline = vec![
            Mark::new(trace.first.1, format!("sequence {}: {credited}", trace.first.0)),
            Mark::new(
                trace.halt.1,
                format!("sequence {}: halt, {} commands later", trace.halt.0, count(trace.commands)),
            ),
        ];
        page.prices = shown(comparison, trace).map(|market| prices(market, trace, branch)).collect();
    }
    if let Some(chosen) = chosen {
        page.facts.push(Fact::new("shown line by line", chosen.strategy.to_string()));
        let (credited, innocent) = changes(comparison, chosen);
        (page.changes_total, page.innocent_changes_total) = (credited.len() as u64, innocent.len() as u64);
        page.changes = largest(credited);
        page.innocent_changes = largest(innocent);
        let books = chosen.diff.books.iter();
        page.books = books.map(|book| BookChange { before: book.before.clone(), after: book.after.clone() }).collect();
        page.checks = checks(comparison);
    }
    page
}

fn lead(comparison: &Comparison<'_>, chosen: Option<&Outcome>) -> String {
    let credited = count(comparison.credited.len() as u64);
    let Some(chosen) = chosen else {
        return format!(
            "{credited} accounts were credited in error. None of the four strategies can put it right as asked for."
        );
    };
    format!(
        "{credited} accounts were credited in error. Four ways to put it right, each computed twice on a branch of its own; nothing is applied. {} \
         would change {} accounts that were never credited in error, and {} trades would be void.",
        chosen.strategy.name(),
        count(chosen.innocent_changed),
        count(chosen.trades_voided)
    )
}

fn strategies(comparison: &Comparison<'_>, chosen: Option<&Outcome>) -> Vec<StrategyRow> {
    let rows = comparison.outcomes.iter().zip(comparison.strategies).map(|(outcome, strategy)| {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(failure) => {
                let refused = Some(failure.to_string());
                return StrategyRow { name: strategy.name().to_owned(), refused, ..StrategyRow::default() };
            }
        };
        StrategyRow {
            name: strategy.name().to_owned(),
            chosen: chosen.is_some_and(|chosen| chosen.strategy == *strategy),
            refused: None,
            accounts_changed: outcome.accounts_changed,
            innocent_changed: outcome.innocent_changed,
            trades_voided: outcome.trades_voided,
            trades_new: outcome.trades_new,
            orders_restored: outcome.orders_restored,
            orders_lost: outcome.orders_lost,
            orders_requeued: outcome.orders_requeued,
            shortfall: outcome.shortfall.iter().map(|(asset, amount)| (*asset, *amount)).collect(),
            receivables: outcome.receivables.iter().map(|(asset, amount)| (*asset, *amount)).collect(),
            fee_delta: outcome.fee_delta.iter().map(|(asset, amount)| (*asset, *amount)).collect(),
            worth: None,
            state_hash: outcome.state_hash.to_string(),
            sound: outcome.conserved,
            seconds: outcome.seconds,
        }
    });
    rows.collect()
}

/// The markets of what was credited in which most trades were touched.
fn shown<'a>(comparison: &'a Comparison<'_>, trace: &'a Trace) -> impl Iterator<Item = MarketId> + 'a {
    let assets = credited_assets(trace);
    let of_credited = |market: &MarketId| {
        let spec = comparison.names.market_spec(*market);
        spec.is_some_and(|spec| assets.contains(&spec.base) || assets.contains(&spec.quote))
    };
    let mut markets: Vec<_> = trace
        .markets
        .iter()
        .filter(|market| market.fills_touched > 0 && of_credited(&market.market))
        .map(|market| (Reverse(market.fills_touched), market.market))
        .collect();
    markets.sort_unstable();
    markets.into_iter().map(|(_, market)| market).take(MARKETS_SHOWN)
}

/// What happened, and what of it stands with what comes instead.
fn prices(market: MarketId, trace: &Trace, branch: Option<&Branch>) -> PriceChart {
    let series = trace.markets.iter().find(|traced| traced.market == market).map(|traced| traced.series.clone());
    let happened = series.unwrap_or_default();
    let repaired = branch.map(|branch| {
        let void: BTreeSet<Sequence> =
            branch.busted.iter().filter(|fill| fill.market == market).map(|fill| fill.sequence).collect();
        let stands = happened.iter().copied().filter(|point| !void.contains(&point.sequence));
        let new: Vec<_> = branch.new_fills.iter().filter(|fill| fill.market == market).collect();
        let every = new.len().div_ceil(NEW_TRADES_SHOWN).max(1);
        let new = new.into_iter().step_by(every);
        let new = new.map(|fill| PricePoint { sequence: fill.sequence, time: fill.time, price: fill.price });
        let mut repaired: Vec<PricePoint> = stands.chain(new).collect();
        repaired.sort_unstable_by_key(|point| point.sequence);
        repaired
    });
    PriceChart { market, happened, repaired, reopened: Vec::new() }
}

/// What is changed of those who were credited in error, and of all others.
fn changes(comparison: &Comparison<'_>, chosen: &Outcome) -> (Vec<BalanceChange>, Vec<BalanceChange>) {
    let total = |balance: engine::exchange::Balance| Amount(balance.available.0.saturating_add(balance.held.0));
    let all = chosen.diff.balances.iter().map(|change| BalanceChange {
        account: change.account,
        asset: change.asset,
        before: total(change.before),
        after: total(change.after),
        reason: change.reason.to_string(),
    });
    all.partition(|change| comparison.credited.contains(&change.account))
}

/// By the share that changes: amounts of different assets cannot be compared.
fn largest(mut changes: Vec<BalanceChange>) -> Vec<BalanceChange> {
    let share = |change: &BalanceChange| {
        let (before, after) = (u128::from(change.before.0), u128::from(change.after.0));
        before.abs_diff(after).saturating_mul(1_000_000) / before.max(after).max(1)
    };
    changes.sort_by_key(|change| (change.asset, Reverse(share(change)), change.account));
    changes.truncate(CHANGES_SHOWN);
    changes
}

fn checks(comparison: &Comparison<'_>) -> Vec<Check> {
    let computed = || comparison.outcomes.iter().flatten();
    let twice = computed().map(|outcome| Check {
        what: format!("{}: two replays that know nothing of each other come to one state", outcome.strategy.name()),
        value: outcome.state_hash.to_string(),
        holds: true,
    });
    let conserved = Check {
        what: "every asset sums to zero over all accounts, on every branch".to_owned(),
        value: String::new(),
        holds: computed().all(|outcome| outcome.conserved),
    };
    let sums = comparison.trace.map(|trace| Check {
        what: format!("what {} credited is found again to the last unit", names::time(trace.first.1)),
        value: String::new(),
        holds: trace.credits.iter().all(engine::recovery::CreditRow::sums_exactly),
    });
    twice.chain([conserved]).chain(sums).collect()
}
