//! `reprise`, the operator's tool: reads an exchange's journal aside and answers questions about any past moment. Only
//! `snapshot`, `prune` and `accept-loss` write into the data directory.
//!
//! Exit codes: 0 all is well; 1 it could not be done, or what was asked for is not there; 2 the command line is wrong;
//! 3 damage or a mismatch was found; 4 it can be done, and there are warnings to look at before.
#![forbid(unsafe_code)]

mod airdrop;
mod airdrop_report;
mod arguments;
mod describe;
mod diff;
mod export;
mod failure;
mod log;
mod manifest;
mod moments;
mod names;
mod orders;
mod output;
mod payouts;
mod prices;
mod progress;
mod show;
mod statement;
mod statement_report;
mod upkeep;
mod verify;

use std::process::ExitCode;

use arguments::{Action, Arguments};
use clap::Parser;
use engine::recovery::Timeline;
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    // A broken invariant panics: here it is a finding, told like any other.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("reprise: the replay stopped at something that must never happen: {panic}");
        eprintln!("reprise: keep a copy of the data directory, and report this");
        std::process::exit(failure::DAMAGED.into());
    }));
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json);
    let outcome = run(&arguments, &mut output).and_then(|code| {
        output.flush()?;
        Ok(code)
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            tell(&failure, &mut output);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: &Arguments, output: &mut Output) -> Result<u8, Failure> {
    let Some(directory) = &arguments.data else {
        return Err(Failure::Usage("give the exchange's data directory: --data DIR".to_owned()));
    };
    if let Action::AcceptLoss(arguments) = &arguments.action {
        return upkeep::accept_loss(directory, arguments, output);
    }
    let timeline = Timeline::open(directory)?;
    match &arguments.action {
        Action::Verify(arguments) => verify::run(&timeline, arguments, output),
        Action::Log(arguments) => log::run(&timeline, arguments, output),
        Action::Show(arguments) => show::run(&timeline, arguments, output),
        Action::Diff(arguments) => diff::run(&timeline, arguments, output),
        Action::Export(arguments) => export::run(&timeline, arguments, output),
        Action::Airdrop(action) => airdrop::run(&timeline, action, output),
        Action::Statement(arguments) => statement::run(&timeline, arguments, output),
        Action::Snapshot => upkeep::snapshot(&timeline, output),
        Action::AcceptLoss(_) => unreachable!("it needs no journal that can be read"),
        Action::Prune(arguments) => upkeep::prune_segments(&timeline, arguments, output),
    }
}

/// Says on standard error why there is no answer, and in JSON on standard output as well.
fn tell(failure: &Failure, output: &mut Output) {
    if matches!(failure, Failure::BrokenPipe) {
        return;
    }
    // Lines that were listed before come first.
    let _ = output.flush();
    eprintln!("reprise: {failure}");
    if output.json {
        let document = serde_json::json!({ "error": failure.to_string(), "exit_code": failure.exit_code() });
        let _ = output.json_line(&document).and_then(|()| output.flush());
    }
}
