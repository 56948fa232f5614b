//! The load simulator's binary: reads the command line, runs, prints the report.
#![forbid(unsafe_code)]

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use engine::pipeline::PipelineError;
use gateway_sim::{
    arguments::{Arguments, Task},
    incident::{
        self,
        report::IncidentReport,
        scale::{self, ScaleReport},
    },
    load, replay,
    report::{Report, write_json},
};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const STATE_HASH_DIFFERS: u8 = 3;

/// What a run came to.
enum Outcome {
    Run(Box<Report>),
    Incident(Box<IncidentReport>),
    Scale(Box<ScaleReport>),
}

impl Outcome {
    fn is_right(&self) -> bool {
        match self {
            Self::Run(report) => report.reopened_to_the_same_state(),
            Self::Incident(report) => report.is_right(),
            Self::Scale(report) => report.is_right(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Run(report) => report.to_string(),
            Self::Incident(report) => report.to_string(),
            Self::Scale(report) => report.to_string(),
        }
    }

    fn write_json(&self, path: &Path) -> Result<()> {
        match self {
            Self::Run(report) => write_json(report, path),
            Self::Incident(report) => write_json(report, path),
            Self::Scale(report) => write_json(report, path),
        }
    }

    /// What is wrong, when something is.
    fn fault(&self) -> &'static str {
        let incident = match self {
            Self::Run(_) => {
                return "the exchange opened again from its journal has another state than the one shut down";
            }
            Self::Incident(report) => report,
            Self::Scale(report) => &report.incident,
        };
        if incident.conserved {
            "a state that was computed twice came out differently; see above"
        } else {
            "money was made or lost; see above"
        }
    }
}

fn main() -> ExitCode {
    let (task, json) = Arguments::task();
    match run(&task, json) {
        Ok(outcome) if outcome.is_right() => ExitCode::SUCCESS,
        Ok(outcome) => {
            eprintln!("error: {}", outcome.fault());
            ExitCode::from(STATE_HASH_DIFFERS)
        }
        Err(error) => {
            eprintln!("error: {}", describe(&error));
            if matches!(error.downcast_ref(), Some(PipelineError::SpinsTooMuch { .. })) {
                eprintln!("--force-busy-spin forces it");
                return ExitCode::from(USAGE);
            }
            ExitCode::from(FAILED)
        }
    }
}

/// The error and its causes on one line. Some name their cause themselves: it is not said twice.
fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(task: &Task, json: Option<PathBuf>) -> Result<Outcome> {
    let html = match task {
        Task::Incident(incident) => Some(&incident.html),
        Task::Scale(scale) => scale.html.as_ref(),
        _ => None,
    };
    for path in json.iter().chain(html) {
        // Rather now than after the run.
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    let outcome = match task {
        Task::Load(load) => Outcome::Run(Box::new(load::run(load)?)),
        Task::Replay(replay) => Outcome::Run(Box::new(replay::run(replay)?)),
        Task::Incident(incident) => Outcome::Incident(Box::new(incident::run(incident)?)),
        Task::Scale(scale) => Outcome::Scale(Box::new(scale::run(scale)?)),
    };
    // Whoever reads may have read enough.
    if let Err(error) = write!(io::stdout(), "{}", outcome.text())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error).context("cannot print the report");
    }
    if let Some(path) = &json {
        outcome.write_json(path)?;
    }
    Ok(outcome)
}
