//! The load simulator's binary: reads the command line, runs, prints the report.
#![forbid(unsafe_code)]

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use engine::pipeline::PipelineError;
use gateway_sim::{
    arguments::{Arguments, Task},
    load, replay,
    report::Report,
};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const STATE_HASH_DIFFERS: u8 = 3;

fn main() -> ExitCode {
    let (task, json) = Arguments::task();
    match run(&task, json) {
        Ok(report) if report.reopened_to_the_same_state() => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!("error: the exchange opened again from its journal has another state than the one shut down");
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

fn run(task: &Task, json: Option<PathBuf>) -> Result<Report> {
    if let Some(path) = &json {
        // Rather now than after the run.
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    let report = match task {
        Task::Load(load) => load::run(load)?,
        Task::Replay(replay) => replay::run(replay)?,
    };
    // Whoever reads may have read enough.
    if let Err(error) = write!(io::stdout(), "{report}")
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error).context("cannot print the report");
    }
    if let Some(path) = &json {
        report.write_json(path)?;
    }
    Ok(report)
}
