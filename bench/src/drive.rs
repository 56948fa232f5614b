//! Runs a workload in each of the ways there are, times it, and says how it ended.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use engine::{
    command::Command,
    exchange::Exchange,
    journal::{FileStorage, Journal, Options, ReadAhead},
    pipeline::{Gateway, Handle, Pipeline, SubmitError},
    types::{Cause, Sequence, Timestamp},
};

use crate::{
    tally::{EndState, Tally},
    workload::Workload,
};

/// One run's speed and end.
pub struct Outcome {
    /// Seconds of the flow, without the setup.
    pub flow_seconds: f64,
    /// Seconds of setup and flow.
    pub all_seconds: f64,
    /// How it ended.
    pub end: EndState,
}

/// Runs the state machine alone, on this thread.
#[must_use]
pub fn in_line(workload: &Workload) -> Outcome {
    let (mut exchange, mut tally) = (Exchange::new(), Tally::default());
    let mut apply = |commands: &[Command]| {
        for command in commands {
            let sequence = exchange.last_sequence().next();
            exchange.apply(sequence, Timestamp(0), command, &mut tally);
        }
    };
    let begun = Instant::now();
    apply(&workload.setup);
    let set_up = Instant::now();
    apply(&workload.flow);
    let (flow_seconds, all_seconds) = (set_up.elapsed().as_secs_f64(), begun.elapsed().as_secs_f64());
    Outcome { flow_seconds, all_seconds, end: EndState::new(&exchange, tally) }
}

/// Runs a pipeline from start to end, as fast as it takes commands from one gateway.
///
/// # Errors
/// When the exchange stops by itself.
pub fn piped(pipeline: Pipeline, workload: &Workload) -> Result<Outcome> {
    let mut gateway = pipeline.gateway(Cause::session(1))?;
    let begun = Instant::now();
    submit_all(&mut gateway, &workload.setup)?;
    await_published(&pipeline, workload.setup.len())?;
    let set_up = Instant::now();
    submit_all(&mut gateway, &workload.flow)?;
    await_published(&pipeline, workload.commands())?;
    let (flow_seconds, all_seconds) = (set_up.elapsed().as_secs_f64(), begun.elapsed().as_secs_f64());
    let stopped = pipeline.shutdown().context("the exchange failed")?;
    let end = EndState::of_pipeline(&stopped.exchange, &stopped.counters);
    Ok(Outcome { flow_seconds, all_seconds, end })
}

fn submit_all(gateway: &mut Gateway, commands: &[Command]) -> Result<()> {
    for command in commands {
        while let Err(error) = gateway.submit(*command) {
            if error != SubmitError::Busy {
                return Err(error).context("the exchange stopped during the run");
            }
            nap();
        }
    }
    Ok(())
}

pub(crate) fn await_published(handle: &Handle, commands: usize) -> Result<()> {
    while handle.counters().commands < commands as u64 {
        if let Some(reason) = handle.failure() {
            bail!("the exchange stopped during the run: {reason}");
        }
        nap();
    }
    Ok(())
}

/// Leaves the core to the exchange for a while, which is shorter than what a gateway's full ring lasts for. Yielding instead
/// takes it from the stages on two cores: by a profile the feeding thread had two thirds of all processor time, and
/// spent it on yielding.
pub(crate) fn nap() {
    thread::sleep(Duration::from_micros(20));
}

/// Replays a journal, as a start does it.
///
/// # Errors
/// When the journal cannot be read, or is empty.
pub fn replayed(directory: &Path) -> Result<Outcome> {
    let begun = Instant::now();
    let (mut exchange, mut tally) = (Exchange::new(), Tally::default());
    let mut reading = ReadAhead::start(Journal::open(FileStorage::lock(directory)?, Options::default())?)?;
    while let Some(batch) = reading.next_batch()? {
        for command in batch.iter() {
            exchange.apply(command.sequence, command.time, &command.command, &mut tally);
        }
    }
    drop(reading.into_reader());
    let all_seconds = begun.elapsed().as_secs_f64();
    if exchange.last_sequence() == Sequence(0) {
        bail!("the journal is empty");
    }
    Ok(Outcome { flow_seconds: all_seconds, all_seconds, end: EndState::new(&exchange, tally) })
}
