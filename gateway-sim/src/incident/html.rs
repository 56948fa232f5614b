//! The report of an incident as one HTML file: what was measured and found here, in the library's terms.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result};
use engine::{
    exchange::Exchange,
    recovery::{
        Branch, PricePoint, Trace, diff,
        report::{
            self, BookChange, Check, Fact, LatencyRow, Mark, Phase, PriceChart, Reference, StrategyRow, Units,
            Valuation,
        },
    },
    types::{AccountId, Amount, AssetId, MarketId, Price, Timestamp},
};

use super::{
    board::Board,
    report::{IncidentReport, Prevented},
    world::{KRW, WON, World},
};
use crate::report::{Percentiles, text::grouped};

/// In how many markets prices are shown: two beside each other.
const MARKETS_SHOWN: usize = 4;
/// And of how many books.
const BOOKS_SHOWN: usize = 2;
/// How many levels of a book are shown at most.
const LEVELS_SHOWN: usize = 2_000;

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
    // Everything is counted from the moment at which the first wrong credit was made.
    let error = material.trace.map_or(material.error, |trace| trace.first.1);
    let prices_before = material.world.markets.iter().map(|market| (&market.spec, Price(market.opening)));
    let mut page = report::IncidentReport {
        title: format!("{}, played again: the wrong airdrop, and how it was put right", material.reference.name),
        lead: lead(figures, material),
        facts: facts(figures),
        timeline: figures
            .timeline
            .iter()
            .map(|moment| Mark::new(Timestamp(error.0 + (moment.seconds * 1e9) as u64), moment.what.as_str()))
            .collect(),
        phases: phases(figures),
        elapsed_seconds: (material.reopened > error).then(|| (material.reopened.0 - error.0) as f64 / 1e9),
        references: vec![material.reference.clone()],
        prices: shown(material).map(|market| prices(market, material)).collect(),
        valuation: Some(Valuation::new(KRW, prices_before)),
        strategies: strategies(figures, material.world),
        reason: figures.chosen.why.clone(),
        latency: latency(figures),
        checks: checks(figures),
        ..report::IncidentReport::default()
    };
    if let Some(branch) = material.branch {
        page.units = Units::of(&branch.parent);
        page.add_diff(&diff(branch, material.recipients), material.recipients);
        // Deeper than a diff tells of, and in the markets whose prices are shown.
        page.books = shown(material)
            .take(BOOKS_SHOWN)
            .filter_map(|market| {
                let book = |exchange: &Exchange| exchange.book(market, LEVELS_SHOWN);
                Some(BookChange { before: book(&branch.parent)?, after: book(&branch.exchange)? })
            })
            .collect();
    }
    if let Some(trace) = material.trace {
        page.add_trace(trace);
    }
    page.error = error;
    page.marks.push(Mark::new(material.reopened, "open again"));
    page
}

fn shown<'a>(material: &'a Material<'_>) -> impl Iterator<Item = MarketId> + 'a {
    material.markets.iter().copied().take(MARKETS_SHOWN)
}

fn lead(figures: &IncidentReport, material: &Material<'_>) -> String {
    let payout = &figures.payout;
    let falls: Vec<String> = figures.falls.iter().take(2).map(ToString::to_string).collect();
    format!(
        "{} accounts were credited coins worth {} KRW in error, instead of {}. Prices fell{}. The exchange was halted; {} was planned, \
         signed by two operators and applied as the exchange ran, and trading went on after {:.1} s of machine time. What is played here, {}, took {}.",
        grouped(payout.recipients as u64),
        grouped(payout.worth_krw),
        payout.meant,
        if falls.is_empty() { String::new() } else { format!(": {}", falls.join(", ")) },
        figures.chosen.strategy,
        figures.phases_ms.total / 1e3,
        material.reference.name,
        hours(material.reference.seconds)
    )
}

fn hours(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes % 60 {
        0 => format!("{} h", minutes / 60),
        rest => format!("{} h {rest} min", minutes / 60),
    }
}

fn facts(figures: &IncidentReport) -> Vec<Fact> {
    let chosen = &figures.chosen;
    let operators: Vec<String> = chosen.operators.iter().map(ToString::to_string).collect();
    let mut facts = vec![
        Fact::new("played", figures.title.lines().next().unwrap_or_default()),
        Fact::new("applied", chosen.strategy.as_str()),
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
    let repaired = material.branch.map(|branch| report::repaired(market, &happened, branch));
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
