//! An attack: accounts that always overdraw, each time right behind an order of theirs that is still in flight.
//!
//! Where risk and matcher run apart, risk may refuse for want of funds only when nothing in flight could still bring
//! the funds, so each such order makes it wait for the one before. What that costs everybody is measured here.

use anyhow::Result;
use engine::pipeline::{Config, Pipeline, Topology};

use crate::{
    arguments::Settings,
    drive::{in_line, piped},
    report::{Figure, Findings, Section},
    tally::EndState,
    workload::Workload,
};

/// Topologies that the attack is tried on: with one worker for risk and matcher, and with two.
const TOPOLOGIES: [&str; 2] = ["fused", "split"];

/// Measures the attack.
pub struct Overdrafts {
    clean: Case,
    attacked: Case,
}

/// Samples are commands per second, one for each round, the attackers' included.
struct Case {
    workload: Workload,
    in_line: Vec<f64>,
    piped: [Vec<f64>; TOPOLOGIES.len()],
    expected: Option<EndState>,
    failures: Vec<String>,
}

impl Case {
    const fn new(workload: Workload) -> Self {
        Self { workload, in_line: Vec::new(), piped: [const { Vec::new() }; 2], expected: None, failures: Vec::new() }
    }

    fn round(&mut self) -> Result<()> {
        let flow = self.workload.flow.len() as f64;
        let outcome = in_line(&self.workload);
        self.in_line.push(flow / outcome.flow_seconds);
        let expected = self.expected.get_or_insert(outcome.end);
        for (name, samples) in TOPOLOGIES.into_iter().zip(&mut self.piped) {
            let config = Config { topology: topology(name), ..Config::default() };
            let outcome = piped(Pipeline::in_memory(config)?, &self.workload)?;
            samples.push(flow / outcome.flow_seconds);
            if outcome.end != *expected {
                let (workload, end) = (self.workload.name, outcome.end);
                self.failures.push(format!("{workload}, {name}: ended with {end:?}, and should with {expected:?}"));
            }
        }
        Ok(())
    }
}

fn topology(name: &str) -> Topology {
    name.parse().expect("a name of a topology")
}

impl Overdrafts {
    /// Generates the commands.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let clean = Workload::shallow(settings.commands);
        let attacked = Workload::overdrawn(settings.commands);
        Self { clean: Case::new(clean), attacked: Case::new(attacked) }
    }

    /// Measures everything once.
    ///
    /// # Errors
    /// When an exchange stops.
    pub fn round(&mut self) -> Result<()> {
        self.clean.round()?;
        self.attacked.round()
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let Self { clean, attacked } = self;
        let failures = [clean.failures.as_slice(), &attacked.failures].concat();
        let outcome = if failures.is_empty() { "same end state" } else { "END STATES DIFFER" };
        let figure =
            |name: &str, setting: &str, samples: &[f64]| Figure::new(name, setting, samples, outcome.to_owned());
        let mut figures = vec![
            figure("in line, clean", "no journal", &clean.in_line),
            figure("in line, attacked", "no journal", &attacked.in_line).compared_to("clean", &clean.in_line),
        ];
        for (index, name) in TOPOLOGIES.into_iter().enumerate() {
            let setting = format!("{}, in memory", topology(name));
            figures.push(figure(&format!("{name}, clean"), &setting, &clean.piped[index]));
            let attacked = figure(&format!("{name}, attacked"), &setting, &attacked.piped[index]);
            figures.push(attacked.compared_to("clean", &clean.piped[index]));
        }
        let refused = attacked.expected.as_ref().map_or(0, |end| end.tally.refusals);
        let conditions = vec![
            format!("clean: {}", clean.workload.description()),
            format!("attacked: the same commands, and every other command an attacker's; {refused} refusals in all"),
            "an attacker sends an order that finds nothing, and behind it one that it cannot pay".to_owned(),
        ];
        let title = "attack by accounts that always overdraw".to_owned();
        let sections = vec![Section { title, conditions, unit: "commands", figures }];
        Findings { sections, failures, ..Findings::default() }
    }
}
