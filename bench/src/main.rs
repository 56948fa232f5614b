//! The benchmarks' binary: reads the command line, measures, prints the report.
#![forbid(unsafe_code)]

use std::{fmt::Display, fs::File, process::ExitCode};

use anyhow::{Context as _, Result};
use bench::{
    arguments::{Arguments, Part, Settings},
    limits, run,
};
use clap::Parser as _;
use serde::Serialize;

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every run ended as it must.
fn measure(arguments: &Arguments) -> Result<bool> {
    let settings = arguments.settings();
    if let Some(path) = &settings.json {
        // Rather now than after the run.
        File::create(path).with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    match settings.part {
        Part::Limits => {
            tell(&settings, &limits::measure(&settings.directory, settings.rounds)?)?;
            Ok(true)
        }
        _ => {
            let report = run::run(&settings)?;
            tell(&settings, &report)?;
            Ok(report.failures.is_empty())
        }
    }
}

/// Prints a report, and writes it where it is wanted.
fn tell<T: Serialize + Display>(settings: &Settings, report: &T) -> Result<()> {
    print!("{report}");
    if let Some(path) = &settings.json {
        let file = File::create(path).with_context(|| format!("cannot write the report to {}", path.display()))?;
        serde_json::to_writer_pretty(file, report)?;
    }
    Ok(())
}
