//! The report of an incident as one HTML file: what was measured and found here, in the library's terms.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result};
use engine::{
    exchange::Exchange,
    recovery::{
        Branch, PricePoint, Trace,
        report::{
            self, BalanceChange, BookChange, Check, Fact, LatencyRow, Mark, Phase, PriceChart, Reference, StrategyRow,
            Units,
        },
    },
    types::{AccountId, Amount, AssetId, MarketId, Sequence, Timestamp},
};

use super::{
    board::Board,
    report::{IncidentReport, Prevented},
    world::{KRW, WON, World},
};
use crate::report::{Percentiles, text::grouped};

/// In how many markets prices and books are shown.
const MARKETS_SHOWN: usize = 3;
/// How many of the largest changes of balances are shown.
const CHANGES_SHOWN: usize = 25;
/// How many levels of a book are shown at most.
const LEVELS_SHOWN: usize = 2_000;
/// How many new trades of a market are shown at most.
const NEW_TRADES_SHOWN: usize = 1_000;

/// What the page is made of, besides the figures.
pub struct Material<'a> {
    /// Assets, markets, and what they are worth.
    pub world: &'a World,
    /// Prices along the way.
    pub board: &'a Board,
    /// The markets of what was credited.
    pub markets: Vec<MarketId>,
    /// Who was credited.
    pub recipients: &'a BTreeSet<AccountId>,
    /// What the trace found.
    pub trace: Option<&'a Trace>,
    /// The branch that was applied.
    pub branch: Option<&'a Branch>,
    /// When the error was made.
    pub error: Timestamp,
    /// When everything was open again.
    pub reopened: Timestamp,
    /// How long it took then, and what is told of it.
    pub reference: Reference,
}

/// Writes the page.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, figures: &IncidentReport, material: &Material<'_>) -> Result<()> {
    page(figures, material).write_file(path).with_context(|| format!("cannot write the report to {}", path.display()))
}

fn page(figures: &IncidentReport, material: &Material<'_>) -> report::IncidentReport {
    let mut page = report::IncidentReport {
        title: figures.title.lines().next().unwrap_or_default().to_owned(),
        lead: lead(figures, material),
        facts: facts(figures),
        timeline: figures
            .timeline
            .iter()
            .map(|moment| Mark::new(Timestamp(material.error.0 + (moment.seconds * 1e9) as u64), moment.what.as_str()))
            .collect(),
        phases: phases(figures),
        references: vec![material.reference.clone()],
        prices: shown(material).map(|market| prices(market, material)).collect(),
        strategies: strategies(figures, material.world),
        latency: latency(figures),
        checks: checks(figures),
        ..report::IncidentReport::default()
    };
    if let Some(trace) = material.trace {
        page.add_trace(trace);
    }
    page.error = material.error;
    page.marks.push(Mark::new(material.reopened, "reopened"));
    if let Some(branch) = material.branch {
        page.units = Units::of(&branch.parent);
        page.books = shown(material)
            .filter_map(|market| {
                let book = |exchange: &Exchange| exchange.book(market, LEVELS_SHOWN);
                Some(BookChange { before: book(&branch.parent)?, after: book(&branch.exchange)? })
            })
            .collect();
        let (innocent, credited): (Vec<_>, Vec<_>) = changes(branch, material)
            .into_iter()
            .partition(|(_, change)| !material.recipients.contains(&change.account));
        page.changes_total = credited.len() as u64;
        page.changes = largest(credited);
        page.innocent_changes_total = innocent.len() as u64;
        page.innocent_changes = largest(innocent);
    }
    page
}

fn shown<'a>(material: &'a Material<'_>) -> impl Iterator<Item = MarketId> + 'a {
    material.markets.iter().copied().take(MARKETS_SHOWN)
}

fn lead(figures: &IncidentReport, material: &Material<'_>) -> String {
    let payout = &figures.payout;
    let falls: Vec<String> = figures.falls.iter().take(2).map(ToString::to_string).collect();
    format!(
        "{} accounts were credited in error instead of {}, worth {} KRW. {}. {} was applied on the exchange as it ran: {:.0} ms of machine \
         time from the halt to the reopening; {} took {}.",
        grouped(payout.recipients as u64),
        payout.meant,
        grouped(payout.worth_krw),
        if falls.is_empty() { "Prices fell".to_owned() } else { falls.join(", ") },
        figures.chosen.strategy,
        figures.phases_ms.total,
        material.reference.name,
        hours(material.reference.seconds)
    )
}

fn hours(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

fn facts(figures: &IncidentReport) -> Vec<Fact> {
    let chosen = &figures.chosen;
    let operators: Vec<String> = chosen.operators.iter().map(ToString::to_string).collect();
    let mut facts = vec![
        Fact::new("applied", format!("{}: {}", chosen.strategy, chosen.why)),
        Fact::new("plan", chosen.plan.as_str()),
        Fact::new("approved by", format!("operators {}", operators.join(" and "))),
        Fact::new("halt", format!("sequence {}", grouped(chosen.halt))),
        Fact::new("epoch", chosen.epoch.to_string()),
        Fact::new(
            "load",
            format!(
                "{} commands per second all the time: {} taken, {} told halted",
                grouped(figures.load.rate),
                grouped(figures.load.commands),
                grouped(figures.load.halted)
            ),
        ),
        Fact::new(
            "exchange",
            format!(
                "{} accounts, {} assets, {} markets; {}, durability {}",
                grouped(figures.accounts.into()),
                figures.assets,
                figures.markets,
                figures.topology,
                figures.durability
            ),
        ),
        Fact::new(
            "machine",
            format!("{}, {} cores, {}", figures.machine.processor, figures.machine.cores, figures.machine.kernel),
        ),
        Fact::new("commit", figures.commit.as_str()),
    ];
    facts.extend(figures.aftermath.iter().map(|text| Fact::new("afterwards", text.as_str())));
    facts.extend(figures.prevention.iter().map(|Prevented { control, refusal, credited }| {
        Fact::new(format!("prevented by {control}"), format!("{refusal}; credited: {credited}"))
    }));
    facts
}

fn phases(figures: &IncidentReport) -> Vec<Phase> {
    let ms = &figures.phases_ms;
    let phase = |name: &str, what: &str, milliseconds: f64, counts: bool| Phase {
        name: name.to_owned(),
        what: what.to_owned(),
        milliseconds,
        counts,
    };
    vec![
        phase("halt", "from the decision until the freeze is durable", ms.halt, true),
        phase("trace", "who got what, and where it is", ms.trace, true),
        phase("compare", "all four strategies, each on its own branch", ms.compare, false),
        phase("plan", "the chosen strategy, by two independent replays", ms.plan, true),
        phase("approve", "two operators sign; people would take longer", ms.approve, false),
        phase("apply", "one committing record; the new state in force", ms.apply, true),
        phase("verify", "read back: hashes and invariants", ms.verify, true),
        phase("auction", "orders are collected", figures.auction.seconds * 1e3, false),
        phase("reopen", "corrections acknowledged, markets uncrossed", ms.reopen, true),
    ]
}

fn prices(market: MarketId, material: &Material<'_>) -> PriceChart {
    let series = material.board.series(market);
    let halt = material.trace.map_or(Timestamp(u64::MAX), |trace| trace.halt.1);
    let (happened, later): (Vec<PricePoint>, Vec<PricePoint>) =
        series.into_iter().partition(|point| point.time <= halt);
    let repaired = material.branch.map(|branch| {
        let void: BTreeSet<Sequence> =
            branch.busted.iter().filter(|fill| fill.market == market).map(|fill| fill.sequence).collect();
        let stands =
            happened.iter().copied().filter(|point| point.sequence > branch.cut && !void.contains(&point.sequence));
        let new: Vec<_> = branch.new_fills.iter().filter(|fill| fill.market == market).collect();
        let every = new.len().div_ceil(NEW_TRADES_SHOWN).max(1);
        let new = new.into_iter().step_by(every);
        let mut repaired: Vec<PricePoint> = stands
            .chain(new.map(|fill| PricePoint { sequence: fill.sequence, time: fill.time, price: fill.price }))
            .collect();
        repaired.sort_unstable_by_key(|point| point.sequence);
        repaired
    });
    PriceChart { market, happened, repaired, reopened: later }
}

fn strategies(figures: &IncidentReport, world: &World) -> Vec<StrategyRow> {
    let asset = |symbol: &str| world.assets.iter().find(|asset| asset.symbol.to_string() == symbol).map(|it| it.asset);
    let amounts = |rows: &[(String, u64)]| -> Vec<(AssetId, Amount)> {
        rows.iter().filter_map(|(symbol, amount)| Some((asset(symbol)?, Amount(*amount)))).collect()
    };
    let row = |row: &super::report::StrategyRow| StrategyRow {
        name: row.name.clone(),
        chosen: row.name == figures.chosen.strategy,
        refused: row.refused.clone(),
        accounts_changed: row.accounts_changed,
        innocent_changed: row.innocent_changed,
        trades_voided: row.trades_voided,
        trades_new: row.trades_new,
        orders_restored: row.orders_restored,
        orders_lost: row.orders_lost,
        orders_requeued: row.orders_requeued,
        shortfall: amounts(&row.shortfall),
        receivables: amounts(&row.shortfall),
        unbacked: amounts(&row.unbacked),
        fee_delta: row.fee_delta.iter().filter_map(|(symbol, delta)| Some((asset(symbol)?, *delta))).collect(),
        worth: Some((KRW, Amount(row.shortfall_krw * WON))),
        state_hash: row.state_hash.clone(),
        sound: row.conserved,
        seconds: row.seconds,
    };
    figures.strategies.iter().map(row).collect()
}

fn latency(figures: &IncidentReport) -> Vec<LatencyRow> {
    let row = |name: &str, of: &Percentiles| LatencyRow {
        name: name.to_owned(),
        nanoseconds: [of.p50, of.p90, of.p99, of.p999, of.p9999, of.max],
    };
    let stages = &figures.stages;
    vec![
        row("journal wait", &stages.journal.wait_ns),
        row("journal service", &stages.journal.service_ns),
        row("risk wait", &stages.risk.wait_ns),
        row("risk service", &stages.risk.service_ns),
        row("match wait", &stages.r#match.wait_ns),
        row("match service", &stages.r#match.service_ns),
        row("publish wait", &stages.publish.wait_ns),
        row("publish service", &stages.publish.service_ns),
        row("end to end", &figures.end_to_end_ns),
    ]
}

fn checks(figures: &IncidentReport) -> Vec<Check> {
    let states = figures.states.iter().map(|state| Check {
        what: state.what.clone(),
        value: state.hash.clone(),
        holds: state.equal,
    });
    let conserved = Check {
        what: "no asset is made or lost, on every branch and in the end".to_owned(),
        value: String::new(),
        holds: figures.conserved,
    };
    states.chain([conserved]).collect()
}

/// Every balance that differs, with what the difference is worth in won.
fn changes(branch: &Branch, material: &Material<'_>) -> Vec<(u64, BalanceChange)> {
    let balances = |exchange: &Exchange| -> BTreeMap<(AccountId, AssetId), u64> {
        let all = exchange.accounts().flat_map(|view| {
            let account = view.account;
            view.balances.into_iter().map(move |(asset, it)| ((account, asset), it.available.0 + it.held.0))
        });
        all.collect()
    };
    let (before, after) = (balances(&branch.parent), balances(&branch.exchange));
    let credited: BTreeSet<(AccountId, AssetId)> = material
        .trace
        .map(|trace| trace.credits.iter().map(|row| (row.account, row.asset)).collect())
        .unwrap_or_default();
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    keys.into_iter()
        .filter_map(|(account, asset)| {
            let of = |balances: &BTreeMap<_, u64>| balances.get(&(account, asset)).copied().unwrap_or(0);
            let (before, after) = (of(&before), of(&after));
            if before == after {
                return None;
            }
            let reason = match (credited.contains(&(account, asset)), after > before) {
                (true, _) => "the wrong credit is taken back, and what was sold of it returns",
                (false, true) => "trades that could not be paid for are void: what was given returns",
                (false, false) => "trades that could not be paid for are void: what was got goes back",
            };
            let worth = material.world.krw_of(asset, Amount(before.abs_diff(after)));
            let (before, after) = (Amount(before), Amount(after));
            Some((worth, BalanceChange { account, asset, before, after, reason: reason.to_owned() }))
        })
        .collect()
}

fn largest(mut changes: Vec<(u64, BalanceChange)>) -> Vec<BalanceChange> {
    changes.sort_by_key(|(worth, change)| (std::cmp::Reverse(*worth), change.account, change.asset));
    changes.into_iter().take(CHANGES_SHOWN).map(|(_, change)| change).collect()
}
