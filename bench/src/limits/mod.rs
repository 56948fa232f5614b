//! The machine's own floor, to read every other figure against: how fast cores talk and how much they do together, what
//! a clock costs, how fast memory is copied, how long the disk takes to make something durable, and how long a thread is
//! kept from running.
//!
//! No figure here has anything of the exchange in it, except that the disk is written by the journal's own storage, so
//! that what is measured is what the journal does, and that a command's bytes in the journal are taken from it.

mod clocks;
mod copies;
mod cores;
mod disk;
mod hiccups;
mod together;

use std::{fmt, path::Path};

use anyhow::Result;
use gateway_sim::machine::{COMMIT, Machine, file_system_of};
use serde::Serialize;

pub use clocks::ClockRead;
pub use copies::Copies;
pub use cores::RoundTrip;
pub use disk::{BLOCK_BYTES, Disk, Method, SyncLatency, best_write_method};
pub use hiccups::Hiccups;
pub use together::Together;

use crate::report::load_average;

/// What the machine can do.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// The machine.
    pub machine: Machine,
    /// The commit that was built.
    pub commit: String,
    /// The load average before the run.
    pub load_average_before: String,
    /// What two cores do together.
    pub together: Together,
    /// From core to core and back; `None` on one core.
    pub round_trip: Option<RoundTrip>,
    /// What reading a clock takes.
    pub clocks: Vec<ClockRead>,
    /// How fast memory is copied.
    pub copies: Copies,
    /// How long the disk takes.
    pub disk: Disk,
    /// How long a thread is kept from running.
    pub hiccups: Vec<Hiccups>,
}

/// Measures everything; takes about half a minute. The disk is measured in a directory that is removed again.
///
/// # Errors
/// When files cannot be made in `directory`.
pub fn measure(directory: &Path, rounds: usize) -> Result<Limits> {
    let mut together = Together::new();
    (0..rounds).for_each(|_| together.round());
    Ok(Limits {
        together,
        machine: Machine::current(),
        commit: COMMIT.to_owned(),
        load_average_before: load_average(),
        round_trip: cores::measure(rounds),
        clocks: clocks::measure(rounds),
        copies: copies::measure(rounds),
        disk: disk_of(directory, rounds)?,
        hiccups: hiccups::measure(),
    })
}

/// Measures the disk alone.
///
/// # Errors
/// When files cannot be made in `directory`.
pub fn disk_of(directory: &Path, rounds: usize) -> Result<Disk> {
    disk::measure(directory, file_system_of(directory), rounds)
}

impl fmt::Display for Limits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(formatter, "machine   {}, {} cores, {}", machine.processor, machine.cores, machine.kernel)?;
        writeln!(formatter, "commit    {}", self.commit)?;
        writeln!(formatter, "load      {} before", self.load_average_before)?;
        write!(formatter, "{}", self.together)?;
        writeln!(formatter)?;
        match &self.round_trip {
            Some(round_trip) => write!(formatter, "{round_trip}")?,
            None => writeln!(formatter, "core to core and back: there is one core")?,
        }
        writeln!(formatter, "\nclocks (nanoseconds a read)")?;
        self.clocks.iter().try_for_each(|clock| write!(formatter, "{clock}"))?;
        write!(formatter, "\n{}\n{}", self.copies, self.disk)?;
        writeln!(
            formatter,
            "\nhiccups: the longest gap in each millisecond of a thread that does nothing but read the clock"
        )?;
        self.hiccups.iter().try_for_each(|hiccups| write!(formatter, "{hiccups}"))
    }
}

/// The value that this part of the sorted samples do not exceed; 0 of nothing.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    sorted[((last as f64 * part).ceil() as usize).min(last)]
}
