//! The whole exchange in line, under the flows that the book is measured with, and the replay of a journal of the same.

pub mod event_hash;
pub mod in_line;
mod replay;
pub mod workload;

use anyhow::Result;

pub use self::replay::read_into_page_cache;
use self::{in_line::EndState, replay::History, workload::Workload};
use crate::{
    arguments::Settings,
    flows,
    report::{Figure, Findings, Section, Target, median},
};

/// One workload in line; samples are commands per second.
struct InLine {
    workload: Workload,
    samples: Vec<f64>,
    expected: EndState,
    failures: Vec<String>,
}

/// How often the flow is repeated in the history that is replayed.
const HISTORY_CYCLES: usize = 4;

/// Measures the exchange in line.
pub struct Exchanges {
    runs: Vec<InLine>,
    history: History,
}

impl InLine {
    /// Runs the workload once, to know how it must end.
    fn new(workload: Workload) -> Self {
        let mut failures = Vec::new();
        let trades = in_line::trades(&workload);
        if trades != workload.trades {
            let name = &workload.name;
            failures.push(format!("in line, {name}: {trades:?} traded, and the naive book {:?}", workload.trades));
        }
        let expected = in_line::run(&workload).end;
        if expected.events.refusals > 0 {
            failures.push(format!("in line, {}: {} commands refused", workload.name, expected.events.refusals));
        }
        Self { workload, samples: Vec::new(), expected, failures }
    }

    fn round(&mut self) {
        let outcome = in_line::run(&self.workload);
        self.samples.push(self.workload.flow.len() as f64 / outcome.flow_seconds);
        if outcome.end != self.expected {
            let (name, end, expected) = (&self.workload.name, &outcome.end, &self.expected);
            self.failures.push(format!("in line, {name}: ended with {end:?}, and should with {expected:?}"));
        }
    }

    const fn outcome(&self) -> &'static str {
        if self.failures.is_empty() { "same end state" } else { "END STATES DIFFER" }
    }
}

impl Exchanges {
    /// Makes the workloads, and the history in a journal.
    ///
    /// # Errors
    /// When no journal can be made.
    pub fn new(settings: &Settings) -> Result<Self> {
        let commands = settings.commands;
        let mut flows =
            vec![flows::exchange_core(commands), flows::deep(settings.deep_orders, settings.deep_accounts, commands)];
        flows.extend(flows::EQUITY_SWINGS.map(|swing| flows::equity(swing, settings.deep_orders / 10, commands)));
        let runs: Vec<InLine> = flows.iter().map(|flow| InLine::new(Workload::new(flow))).collect();
        let history = History::new(commands, HISTORY_CYCLES, &settings.directory)?;
        Ok(Self { runs, history })
    }

    /// Measures everything once.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn round(&mut self) -> Result<()> {
        self.runs.iter_mut().for_each(InLine::round);
        self.history.round()
    }

    /// The figures, and what of ours went wrong.
    #[must_use]
    pub fn finish(self) -> Findings {
        let mut figures = Vec::new();
        let mut conditions =
            vec!["risk, ledger, matching, settlement, and a hash over every event; one thread, no journal".to_owned()];
        for InLine { workload, samples, .. } in &self.runs {
            conditions.push(format!("{}: {}", workload.name, workload.description));
            let outcome = self.runs.iter().find(|run| run.workload.name == workload.name).map_or("", InLine::outcome);
            figures.push(Figure::new(workload.name.as_str(), "in line", samples, outcome.to_owned()));
        }
        let first = &self.runs[0];
        let millions = |samples: &[f64]| median(samples) / 1e6;
        let equity = self.runs[2..].iter().min_by(|one, other| median(&one.samples).total_cmp(&median(&other.samples)));
        let mut targets = vec![
            Target::at_least(
                "inline_mps.exchange_core",
                "in line, exchange-core, 1,000 accounts: millions a second",
                millions(&first.samples),
                8.0,
            ),
            Target::at_least(
                "inline_mps.deep",
                "in line, deep, 1,000,000 accounts: millions a second",
                millions(&self.runs[1].samples),
                5.0,
            ),
        ];
        if let Some(worst) = equity {
            let claim = format!("in line, the worst equity path, {}: millions a second", worst.workload.name);
            targets.push(Target::at_least("inline_mps.equity_worst", claim, millions(&worst.samples), 5.0));
        }
        let section = Section { title: "exchange in line".to_owned(), conditions, unit: "commands", figures };
        let mut replayed = self.history.finish();
        replayed.sections.insert(0, section);
        replayed.targets.splice(0..0, targets);
        replayed.failures.extend(self.runs.into_iter().flat_map(|run| run.failures));
        replayed
    }
}
