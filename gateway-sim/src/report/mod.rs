//! What a run says in the end: as text for people, as JSON for tools.

pub mod text;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use engine::pipeline::{Latency, StageLatency};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    load::LoadFigures,
    machine::Machine,
    replay::{Oracle, ReplayFigures},
};

/// The result of a run. Counts and latencies are those of the run proper, without its setup.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was run.
    pub title: String,
    /// On what.
    pub machine: Machine,
    /// From which sources.
    pub commit: String,
    /// Which stages shared a worker.
    pub topology: String,
    /// What workers did while there was nothing to do.
    pub wait: String,
    /// When a command counted as durable.
    pub durability: String,
    /// Where the journal was.
    pub directory: String,
    /// On what file system.
    pub file_system: String,
    /// Commands that set the exchange up before the clock started.
    pub setup_commands: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Events they caused.
    pub events: u64,
    /// Of these, fills.
    pub trades: u64,
    /// Commands that were refused.
    pub refusals: u64,
    /// From the first command until the last event was published.
    pub seconds: f64,
    /// Commands by seconds.
    pub commands_per_second: f64,
    /// What commands met at each stage.
    pub stages: Stages,
    /// From the intended send time until the last event of the command was published.
    pub end_to_end_ns: Percentiles,
    /// The state when the exchange was shut down.
    pub state_hash: String,
    /// The state when it was opened again from its journal.
    pub state_hash_reopened: String,
    /// How long opening took.
    pub reopen_seconds: f64,
    /// The last sequence in the snapshot that opening began with, if there was one.
    pub reopen_snapshot: Option<u64>,
    /// How many commands were replayed behind it.
    pub reopen_replayed: u64,
    /// The state when the whole journal was replayed from its first command.
    pub state_hash_replayed: String,
    /// How long that took.
    pub replay_seconds: f64,
    /// How many commands that were.
    pub replay_commands: u64,
    /// Of a load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadFigures>,
    /// Of a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayFigures>,
    /// Of a replay that can be held against the truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oracle: Option<Oracle>,
    /// Of a replay: refusals by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<BTreeMap<&'static str, u64>>,
}

impl Report {
    /// Whether the journal held every command and led back to the same state.
    #[must_use]
    pub fn reopened_to_the_same_state(&self) -> bool {
        self.state_hash == self.state_hash_reopened
            && self.state_hash == self.state_hash_replayed
            && self.replay_commands == self.setup_commands + self.commands
    }
}

/// Writes a report as JSON.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(report: &impl Serialize, path: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write the report to {}", path.display()))
}

/// What commands met at the stages.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stages {
    /// Until durable.
    pub journal: Stage,
    /// The checks of balances.
    pub risk: Stage,
    /// The matching of orders.
    pub r#match: Stage,
    /// Until outside.
    pub publish: Stage,
}

/// What commands met at one stage.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stage {
    /// From when a command was ready for the stage until the stage took it.
    pub wait_ns: Percentiles,
    /// How long the stage worked on it, or on the batch that held it.
    pub service_ns: Percentiles,
}

impl From<&StageLatency> for Stage {
    fn from(stage: &StageLatency) -> Self {
        Self { wait_ns: (&stage.wait).into(), service_ns: (&stage.service).into() }
    }
}

impl From<&Latency> for Stages {
    fn from(latency: &Latency) -> Self {
        let [journal, risk, r#match, publish] = latency.stages.each_ref().map(Stage::from);
        Self { journal, risk, r#match, publish }
    }
}

/// A distribution in nanoseconds. An empty one is all zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// 50 % are not above it.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// The largest value.
    pub max: u64,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn another_state_or_a_lost_command_is_noticed() {
        let equal = Report {
            setup_commands: 3,
            commands: 4,
            replay_commands: 7,
            state_hash: "aa".to_owned(),
            state_hash_reopened: "aa".to_owned(),
            state_hash_replayed: "aa".to_owned(),
            ..Report::default()
        };
        assert!(equal.reopened_to_the_same_state());
        assert_eq!(equal.to_string().matches("aa (equal; ").count(), 2, "{equal}");
        for other in [
            Report { state_hash_reopened: "bb".to_owned(), ..equal.clone() },
            Report { state_hash_replayed: "bb".to_owned(), ..equal.clone() },
        ] {
            assert!(!other.reopened_to_the_same_state());
            assert!(other.to_string().contains("bb (DIFFERENT; "), "{other}");
        }
        assert!(!Report { replay_commands: 6, ..equal }.reopened_to_the_same_state());
    }

    #[test]
    fn a_journal_in_memory_is_called_so() {
        let report = Report { file_system: "tmpfs on tmpfs".to_owned(), ..Report::default() };
        assert!(report.to_string().contains("held in memory"), "{report}");
    }
}
