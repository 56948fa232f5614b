//! Two things that must cost the others little: recording latency, and accounts that always overdraw.
//!
//! Where risk and matcher run apart, risk may refuse for want of funds only when nothing in flight could still bring
//! the funds. An account that asks for more than it owns in all is refused at once. One that asks for what would be free if
//! its resting order were cancelled is another matter: each time, only when the last command in that market has been
//! settled is it known. One command in ten is of the one kind, or of the other; what counts is how fast the others get
//! through.

use anyhow::Result;
use engine::pipeline::{Config, Pipeline, Topology};

use crate::{
    arguments::Settings,
    drive::{in_line, piped},
    report::{Figure, Findings, Section, Target, median},
    tally::EndState,
    workload::Workload,
};

/// Topologies that both are tried on: with one worker for risk and matcher, and with two.
const TOPOLOGIES: [&str; 2] = ["fused", "split"];
/// What the others must keep of their speed.
const KEPT_MIN: f64 = 0.7;
/// What recording must leave of it.
const RECORDING_MIN: f64 = 0.95;
/// How often everything is measured in one round of the run: what recording costs is less than by what one measurement
/// differs from the next.
const REPEATS: usize = 4;

/// Measures both.
pub struct Overdrafts {
    clean: Workload,
    /// By accounts that are refused at once, and by those about which risk cannot decide alone.
    attacked: [Workload; 2],
    /// Commands per second that are no attacker's; clean, and of both attacks.
    in_line: [Vec<f64>; 3],
    /// For each topology the same, and clean without histograms.
    piped: [[Vec<f64>; 4]; TOPOLOGIES.len()],
    expected: [Option<EndState>; 3],
    failures: Vec<String>,
}

impl Overdrafts {
    /// Generates the commands.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            clean: Workload::shallow(settings.commands * 2),
            attacked: [true, false].map(|beyond_all| Workload::overdrawn(settings.commands * 2, beyond_all)),
            in_line: Default::default(),
            piped: Default::default(),
            expected: [None, None, None],
            failures: Vec::new(),
        }
    }

    /// Measures everything some times.
    ///
    /// # Errors
    /// When an exchange stops.
    pub fn round(&mut self) -> Result<()> {
        (0..REPEATS).try_for_each(|_| self.repeat())
    }

    fn repeat(&mut self) -> Result<()> {
        // Who attacks does not count.
        let others = self.clean.flow.len() as f64;
        let [beyond, undecided] = &self.attacked;
        for (index, workload) in [&self.clean, beyond, undecided].into_iter().enumerate() {
            let outcome = in_line(workload);
            self.in_line[index].push(others / outcome.flow_seconds);
            self.expected[index].get_or_insert(outcome.end);
        }
        for (name, samples) in TOPOLOGIES.into_iter().zip(&mut self.piped) {
            let runs = [(&self.clean, 0, true), (beyond, 1, true), (undecided, 2, true), (&self.clean, 0, false)];
            for ((workload, expected, record_latency), samples) in runs.into_iter().zip(samples) {
                let config = Config { topology: topology(name), record_latency, ..Config::default() };
                let outcome = piped(Pipeline::in_memory(config)?, workload)?;
                samples.push(others / outcome.flow_seconds);
                let expected = self.expected[expected].as_ref();
                if expected.is_some_and(|expected| *expected != outcome.end) {
                    let (workload, end) = (workload.name, outcome.end);
                    self.failures.push(format!("{workload}, {name}: ended with {end:?}, and should with {expected:?}"));
                }
            }
        }
        Ok(())
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let outcome = if self.failures.is_empty() { "same end state" } else { "END STATES DIFFER" };
        let figure =
            |name: &str, setting: &str, samples: &[f64]| Figure::new(name, setting, samples, outcome.to_owned());
        let [clean, beyond, undecided] = &self.in_line;
        let mut figures = vec![
            figure("in line, clean", "no journal", clean),
            figure("in line, beyond all", "no journal", beyond).compared_to("clean", clean),
            figure("in line, undecided", "no journal", undecided).compared_to("clean", clean),
        ];
        let mut targets = Vec::new();
        for (name, [clean, beyond, undecided, unrecorded]) in TOPOLOGIES.into_iter().zip(&self.piped) {
            let setting = format!("{}, in memory", topology(name));
            figures.push(figure(&format!("{name}, clean"), &setting, clean));
            figures.push(figure(&format!("{name}, beyond all"), &setting, beyond).compared_to("clean", clean));
            figures.push(figure(&format!("{name}, undecided"), &setting, undecided).compared_to("clean", clean));
            figures.push(figure(&format!("{name}, no histograms"), &setting, unrecorded).compared_to("clean", clean));
            let ratio = |of: &[f64], to: &[f64]| median(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>());
            for (kind, attacked) in
                [("overdraws beyond all it owns", beyond), ("overdraws and risk cannot tell", undecided)]
            {
                let claim = format!("{name}: what others keep of their speed when one command in ten {kind}");
                targets.push(Target::at_least("", claim, ratio(attacked, clean), KEPT_MIN));
            }
            let key = if name == TOPOLOGIES[0] { "ratios.histograms_on_vs_off" } else { "" };
            let claim = format!("{name}: speed with histograms by that without");
            targets.push(Target::at_least(key, claim, ratio(clean, unrecorded), RECORDING_MIN));
        }
        let refused: Vec<_> = self.expected.iter().flatten().map(|end| end.tally.refusals.to_string()).collect();
        let conditions = vec![
            format!("clean: {}", self.clean.description()),
            format!("{REPEATS} times in each round, in turn"),
            format!(
                "attacked: the same commands, and one command in ten an attacker's, which is refused; refusals in all: {}; speeds \
                 are those of the commands that are no attacker's",
                refused.join(", ")
            ),
        ];
        let title = "what recording latency costs, and accounts that always overdraw".to_owned();
        let sections = vec![Section { title, conditions, unit: "commands", figures }];
        Findings { sections, targets, failures: self.failures }
    }
}

fn topology(name: &str) -> Topology {
    name.parse().expect("a name of a topology")
}
