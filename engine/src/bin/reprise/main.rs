//! `reprise`, the operator's tool: reads an exchange's journal aside and answers questions about any past moment, plans
//! repairs, and applies them. Only `snapshot`, `prune`, `accept-loss`, `apply`, `submit`, `freeze` and `reopen` write into the
//! data directory, of an exchange that is stopped.
//!
//! Exit codes: 0 all is well; 1 it could not be done, or what was asked for is not there; 2 the command line is wrong;
//! 3 damage or a mismatch was found; 4 it can be done, and there are warnings to look at before.
#![forbid(unsafe_code)]

mod airdrop;
mod airdrop_report;
mod approve;
mod arguments;
mod commands;
mod describe;
mod diff;
mod epochs;
mod export;
mod failure;
mod log;
mod manifest;
mod moments;
mod names;
mod orders;
mod output;
mod payouts;
mod plan;
mod plan_page;
mod plan_report;
mod prices;
mod progress;
mod refusals;
mod show;
mod statement;
mod statement_report;
mod strategies;
mod submit;
mod trace;
mod upkeep;
mod verify;

use std::process::ExitCode;

use approve::OperatorAction;
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
    // Some need no exchange, and say more when there is one.
    let at_hand = || arguments.data.as_ref().map(Timeline::open).transpose();
    match &arguments.action {
        Action::Operator(OperatorAction::Keygen(arguments)) => return approve::keygen(arguments, output),
        Action::Approve(arguments) => return approve::approve(at_hand()?.as_ref(), arguments, output),
        Action::Plan(arguments) => return plan::run(at_hand()?.as_ref(), arguments, output),
        _ => {}
    }
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
        Action::Trace(arguments) => trace::run(&timeline, arguments, output),
        Action::Apply(arguments) => approve::run_apply(&timeline, arguments, output),
        Action::Submit(arguments) => submit::run(&timeline, arguments, output),
        Action::Freeze(arguments) => submit::freeze(&timeline, arguments, output),
        Action::Reopen(arguments) => submit::reopen(&timeline, arguments, output),
        Action::Operator(_) | Action::Approve(_) | Action::Plan(_) => unreachable!("they were seen before"),
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
