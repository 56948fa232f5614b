//! The whole exchange, as fast as it takes commands: in line and through the pipeline.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use engine::{
    journal::Durability,
    pipeline::{Config, Pipeline},
};
use gateway_sim::machine::file_system_of;

use crate::{
    arguments::Settings,
    drive::{in_line, piped},
    report::{Figure, Findings, Section},
    tally::{EndState, Tally},
    workload::Workload,
};

/// Measures the exchange under several workloads.
pub struct Throughput {
    directory: PathBuf,
    runs: Vec<WorkloadRuns>,
}

/// What came out under one workload; samples are commands per second, one for each round.
struct WorkloadRuns {
    workload: Workload,
    in_line: Vec<f64>,
    durable: Vec<f64>,
    not_durable: Vec<f64>,
    in_memory: Vec<f64>,
    expected: Option<EndState>,
    failures: Vec<String>,
}

impl Throughput {
    /// Generates the commands.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let workloads = [Workload::shallow(settings.commands)];
        let runs = workloads.into_iter().map(WorkloadRuns::new).collect();
        Self { directory: settings.directory.clone(), runs }
    }

    /// Measures everything once.
    ///
    /// # Errors
    /// When a journal cannot be made, or an exchange stops.
    pub fn round(&mut self) -> Result<()> {
        self.runs.iter_mut().try_for_each(|runs| runs.round(&self.directory))
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let file_system = file_system_of(&self.directory);
        let mut failures = Vec::new();
        let mut sections = Vec::new();
        for runs in self.runs {
            failures.extend_from_slice(&runs.failures);
            sections.push(runs.section(&file_system));
        }
        Findings { sections, failures, ..Findings::default() }
    }
}

impl WorkloadRuns {
    const fn new(workload: Workload) -> Self {
        Self {
            workload,
            in_line: Vec::new(),
            durable: Vec::new(),
            not_durable: Vec::new(),
            in_memory: Vec::new(),
            expected: None,
            failures: Vec::new(),
        }
    }

    fn round(&mut self, directory: &Path) -> Result<()> {
        let flow = self.workload.flow.len() as f64;

        let outcome = in_line(&self.workload);
        self.in_line.push(flow / outcome.flow_seconds);
        self.check("in line", outcome.end);

        let journal = temporary(directory)?;
        let pipeline = Pipeline::open(journal.path(), config(Durability::Sync)).context("cannot open a pipeline")?;
        let outcome = piped(pipeline, &self.workload)?;
        self.durable.push(flow / outcome.flow_seconds);
        self.check("pipeline, sync", outcome.end);

        let reopened = Pipeline::open(journal.path(), config(Durability::Sync)).context("cannot reopen a pipeline")?;
        let recovered = reopened.recovered().state_hash.to_string();
        reopened.shutdown().context("the reopened exchange failed")?;
        if self.expected.as_ref().is_some_and(|expected| expected.state_hash != recovered) {
            self.failures.push(format!("{}: the reopened pipeline has another state", self.workload.name));
        }
        drop(journal);

        let journal = temporary(directory)?;
        let pipeline = Pipeline::open(journal.path(), config(Durability::None)).context("cannot open a pipeline")?;
        let outcome = piped(pipeline, &self.workload)?;
        self.not_durable.push(flow / outcome.flow_seconds);
        self.check("pipeline, none", outcome.end);
        drop(journal);

        let outcome = piped(Pipeline::in_memory(config(Durability::None))?, &self.workload)?;
        self.in_memory.push(flow / outcome.flow_seconds);
        self.check("pipeline, in memory", outcome.end);
        Ok(())
    }

    /// All runs must end as the first one did.
    fn check(&mut self, name: &str, end: EndState) {
        match &self.expected {
            None => self.expected = Some(end),
            Some(expected) if *expected == end => {}
            Some(expected) => {
                let workload = self.workload.name;
                self.failures.push(format!("{workload}, {name}: ended with {end:?}, and should with {expected:?}"));
            }
        }
    }

    fn section(self, file_system: &str) -> Section {
        let config = config(Durability::Sync);
        let outcome = if self.failures.is_empty() { "same end state" } else { "END STATES DIFFER" };
        let figure = |name: &str, setting: &str, samples: &[f64]| {
            let figure = Figure::new(name, setting, samples, outcome.to_owned());
            if name == "in line" { figure } else { figure.compared_to("in line", &self.in_line) }
        };
        let journal = format!("journal on {file_system}");
        let mut conditions = vec![
            self.workload.description(),
            format!("pipeline: topology {}, wait {}, one gateway closed only by Busy", config.topology, config.wait),
            "pipeline timed from the first submit until the last event is published, without subscribers".to_owned(),
        ];
        if let Some(end) = &self.expected {
            let Tally { events, fills, refusals } = end.tally;
            conditions.push(format!(
                "end state, all runs: {} commands, {events} events, {fills} fills, {refusals} refusals, hash {}",
                end.commands, end.state_hash
            ));
        }
        if file_system.starts_with("tmpfs") {
            conditions.push("the journal is on tmpfs: its syncs cost nothing and keep nothing; see --directory".into());
        }
        Section {
            title: format!("exchange, {}", self.workload.name),
            conditions,
            unit: "commands",
            figures: vec![
                figure("in line", "risk + match + settle, events counted, no journal", &self.in_line),
                figure("pipeline", &format!("durability sync, {journal}"), &self.durable),
                figure("pipeline", &format!("durability none, {journal}"), &self.not_durable),
                figure("pipeline", "in memory, no journal", &self.in_memory),
            ],
        }
    }
}

fn config(durability: Durability) -> Config {
    Config { durability, ..Config::default() }
}

fn temporary(directory: &Path) -> Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("bench-").tempdir_in(directory);
    made.with_context(|| format!("cannot make a directory in {}; give another with --directory", directory.display()))
}
