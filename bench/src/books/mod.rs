//! Order books alone, ours and the peers': the same commands, and what they trade held against a naive book.
//!
//! Ours is the matcher without risk and ledger, which the peers don't have either; it writes every event to a buffer. All
//! hand out their trades, which are checked: number, quantity, price, maker and taker, in order. Below all stands a ladder
//! that does nothing but match, under the flows that it can take: no peer, but a yardstick.

mod ladder;
mod limitbook;
mod lobster;
mod matchcore;
mod orderbook_rs;
mod reprise;
mod run;
mod rust_ob;
mod rust_order_book;
mod section;

use anyhow::Result;
use gateway_sim::report::text::grouped;

pub use run::Book;
use run::{Run, measure, peer};

use crate::{
    arguments::Settings,
    flows::{self, Flow},
    report::{Findings, Section, Target, median},
};

/// One book under one flow.
struct Case {
    book: &'static str,
    setting: &'static str,
    run: fn(&Flow) -> Result<Run, String>,
    /// What was found when its trades were looked into.
    known: &'static str,
    runs: Vec<Run>,
    error: Option<String>,
}

impl Case {
    fn samples(&self) -> Vec<f64> {
        self.runs.iter().map(Run::per_second).collect()
    }

    fn speed(&self) -> f64 {
        median(&self.samples())
    }

    /// Whether all its trades were those of the naive book.
    fn is_right(&self) -> bool {
        self.error.is_none() && self.runs.iter().all(Run::is_right)
    }
}

/// A flow, and all books under it; the first is ours.
struct Comparison {
    flow: Flow,
    cases: Vec<Case>,
    /// The plain ladder: it enters no lead and no ratio.
    floor: Case,
}

/// Measures books.
pub struct Books {
    comparisons: Vec<Comparison>,
    /// Flows that cannot be had.
    skipped: Vec<String>,
}

impl Books {
    /// Makes the flows.
    ///
    /// # Errors
    /// When recorded data is there and cannot be read.
    pub fn new(settings: &Settings) -> Result<Self> {
        let (orders, commands) = (settings.deep_orders, settings.book_commands);
        let mut flows = vec![flows::exchange_core(commands), flows::deep(orders, 1_000, commands)];
        flows.extend(flows::EQUITY_SWINGS.map(|swing| flows::equity(swing, orders / 10, commands)));
        let mut skipped = Vec::new();
        match flows::recorded(commands)? {
            Ok(flow) => flows.push(flow),
            Err(reason) => skipped.push(reason),
        }
        flows.extend(flows::worst_cases(orders, commands));
        let comparisons = flows.into_iter().map(|flow| Comparison { flow, cases: cases(), floor: floor() }).collect();
        Ok(Self { comparisons, skipped })
    }

    /// Measures everything once.
    pub fn round(&mut self) {
        for Comparison { flow, cases, floor } in &mut self.comparisons {
            for case in cases.iter_mut().chain([floor]).filter(|case| case.error.is_none()) {
                match (case.run)(flow) {
                    Ok(run) => case.runs.push(run),
                    Err(error) => case.error = Some(error),
                }
            }
        }
    }

    /// The figures, and what of ours went wrong.
    #[must_use]
    pub fn finish(self) -> Findings {
        let mut findings = Findings::default();
        let all = &self.comparisons;
        findings.sections.extend(all.iter().map(Comparison::section));
        if let Some(first) = findings.sections.first_mut() {
            first.conditions.extend(self.skipped);
        }
        findings.failures.extend(all.iter().flat_map(Comparison::failures));

        let named = |name: &str| all.iter().find(|comparison| comparison.flow.name == name);
        for (key, name, bound) in
            [("ratios.book_1k_vs_best_rust", "exchange-core", 4.0), ("ratios.book_100k_vs_best_rust", "deep", 6.0)]
        {
            if let Some((lead, peer)) = named(name).and_then(|comparison| comparison.lead(|_| true)) {
                let claim = format!("book alone, {name}: times the fastest peer, {peer}");
                findings.targets.push(Target::at_least(key, claim, lead, bound));
            }
            if let Some((lead, peer)) = named(name).and_then(|comparison| comparison.lead(Case::is_right)) {
                let claim = format!("book alone, {name}: times the fastest peer that is right, {peer}");
                findings.targets.push(Target::at_least("", claim, lead, bound));
            }
        }
        let leads = all.iter().filter_map(|comparison| Some((comparison.lead(|_| true)?, &comparison.flow.name)));
        if let Some(((lead, peer), flow)) = leads.min_by(|((one, _), _), ((other, _), _)| one.total_cmp(other)) {
            let claim = format!("book alone, least lead of all flows: {flow}, over {peer}");
            findings.targets.push(Target::at_least("", claim, lead, 1.0));
        }
        let by_speed = || all.iter().map(|comparison| (comparison.cases[0].speed(), &comparison.flow.name));
        let slowest = by_speed().min_by(|(one, _), (other, _)| one.total_cmp(other));
        let fastest = by_speed().max_by(|(one, _), (other, _)| one.total_cmp(other));
        if let (Some((least, worst)), Some((most, best))) = (slowest, fastest) {
            let claim = format!("book alone, the slowest flow, {worst}, of the fastest, {best}");
            findings.targets.push(Target::at_least("", claim, least / most, 0.5));
        }
        findings
    }
}

impl Comparison {
    /// By how many times we are faster than the fastest of the `wanted` peers, and which that is.
    fn lead(&self, wanted: impl Fn(&Case) -> bool) -> Option<(f64, &'static str)> {
        let peers = self.cases[1..].iter().filter(|case| case.error.is_none() && wanted(case));
        let fastest = peers.max_by(|one, other| one.speed().total_cmp(&other.speed()))?;
        Some((self.cases[0].speed() / fastest.speed(), fastest.book))
    }

    fn failures(&self) -> Vec<String> {
        let ours = &self.cases[0];
        let mut failures = Vec::new();
        failures.extend(ours.error.as_ref().map(|error| format!("book, {}: {error}", self.flow.name)));
        if self.floor.error.is_none() && !self.floor.is_right() {
            failures.push(format!("book, {}: the ladder trades otherwise than the naive book", self.flow.name));
        }
        if !ours.is_right() {
            failures.push(format!("book, {}: other trades than the naive book", self.flow.name));
        }
        if !self.cases[1..].iter().any(Case::is_right) {
            failures.push(format!("book, {}: no peer agrees", self.flow.name));
        }
        failures
    }

    fn section(&self) -> Section {
        let ours = &self.cases[0];
        let mut conditions = vec![self.flow.description.clone()];
        for (which, lead) in [("peer", self.lead(|_| true)), ("peer that is right", self.lead(Case::is_right))] {
            conditions.extend(lead.map(|(lead, peer)| format!("{lead:.2} times the fastest {which}, {peer}")));
        }
        if self.floor.error.is_none() {
            let of_peer = self.lead(|_| true).map_or_else(String::new, |(_, peer)| {
                let speed = self.cases.iter().find(|case| case.book == peer).map_or(0.0, Case::speed);
                format!(", which is {:.2} times {peer}", self.floor.speed() / speed)
            });
            let share = ours.speed() / self.floor.speed();
            conditions.push(format!("{share:.2} of a plain ladder without ids to look up, owners and events{of_peer}"));
        }
        let figures =
            self.cases.iter().chain([&self.floor]).map(|case| section::figure(case, ours, self.flow.timed())).collect();
        Section { title: format!("books, {}", self.flow.name), conditions, unit: "commands", figures }
    }
}

const fn case(
    book: &'static str,
    setting: &'static str,
    run: fn(&Flow) -> Result<Run, String>,
    known: &'static str,
) -> Case {
    Case { book, setting, run, known, runs: Vec::new(), error: None }
}

const fn floor() -> Case {
    case("plain ladder", "no peer: it only matches", ladder::run, "")
}

fn cases() -> Vec<Case> {
    vec![
        case("reprise", "events written out", measure::<reprise::RepriseBook>, ""),
        case(
            "matchcore",
            "",
            peer::<matchcore::MatchcoreBook>,
            "version 0.4.0 lets a limit order that crosses trade beyond its limit",
        ),
        case("rust_ob", "decimals", peer::<rust_ob::RustObBook>, ""),
        case("lobster", "", peer::<lobster::LobsterBook>, ""),
        case(
            "limitbook",
            "decimals",
            peer::<limitbook::LimitbookBook>,
            "in version 0.1.0 an order that is filled in part keeps its whole quantity",
        ),
        case(
            "rust-order-book",
            "",
            peer::<rust_order_book::RustOrderBook>,
            "version 0.0.2 hands out no trades, only how much was executed",
        ),
        case("orderbook-rs", "made for many threads", peer::<orderbook_rs::OrderbookRsBook>, ""),
    ]
}
