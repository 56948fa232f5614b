//! The benchmarks' binary: reads the command line, measures, prints the report.
#![forbid(unsafe_code)]

use std::{fs::File, process::ExitCode};

use anyhow::{Context as _, Result};
use bench::{arguments::Arguments, run};
use clap::Parser as _;

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
    let report = run::run(&settings)?;
    print!("{report}");
    if let Some(path) = &settings.json {
        let file = File::create(path).with_context(|| format!("cannot write the report to {}", path.display()))?;
        serde_json::to_writer_pretty(file, &report)?;
    }
    Ok(report.failures.is_empty())
}
