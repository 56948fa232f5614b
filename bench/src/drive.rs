//! Runs a workload in each of the ways there are, times it, and says how it ended.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use engine::{
    command::Command,
    exchange::Exchange,
    pipeline::{Gateway, Handle, Pipeline, SubmitError},
    types::{Cause, Timestamp},
};

use crate::{
    tally::{EndState, Tally},
    workload::Workload,
};

/// One run's speed and end.
pub struct Outcome {
    /// Seconds of the flow, without the setup.
    pub flow_seconds: f64,
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
    apply(&workload.setup);
    let begun = Instant::now();
    apply(&workload.flow);
    Outcome { flow_seconds: begun.elapsed().as_secs_f64(), end: EndState::new(&exchange, tally) }
}

/// Runs a pipeline from start to end, as fast as it takes commands from one gateway.
///
/// # Errors
/// When the exchange stops by itself.
pub fn piped(pipeline: Pipeline, workload: &Workload) -> Result<Outcome> {
    let mut gateway = pipeline.gateway(Cause::session(1))?;
    submit_all(&mut gateway, &workload.setup)?;
    await_published(&pipeline, workload.setup.len())?;
    let begun = Instant::now();
    submit_all(&mut gateway, &workload.flow)?;
    await_published(&pipeline, workload.commands())?;
    let flow_seconds = begun.elapsed().as_secs_f64();
    let stopped = pipeline.shutdown().context("the exchange failed")?;
    let end = EndState::of_pipeline(&stopped.exchange, &stopped.counters);
    Ok(Outcome { flow_seconds, end })
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
