//! A journal of a workload, and its replay as an opening does it.

use std::{path::Path, time::Instant};

use anyhow::{Context as _, Result};
use engine::{
    command::SequencedCommand,
    exchange::Exchange,
    journal::{FileStorage, Journal, Options, ReadAhead},
    types::{Cause, Sequence, Timestamp},
};
use tempfile::TempDir;

use super::{
    event_hash::EventHash,
    in_line::{EndState, Outcome},
    workload::Workload,
};

/// Commands in one block.
const BLOCK: usize = 1_024;

/// Writes the workload into a journal in a new directory.
///
/// # Errors
/// When the directory or the journal cannot be made.
pub fn journal_of(workload: &Workload, directory: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("bench-").tempdir_in(directory);
    let made = made.with_context(|| {
        format!("cannot make a directory in {}; give another with --directory", directory.display())
    })?;
    let opening = Journal::open(FileStorage::lock(made.path())?, Options::default())?;
    let mut journal = opening.into_journal()?;
    let commands: Vec<_> = workload.setup.iter().chain(&workload.flow).collect();
    let mut sequence = Sequence(0);
    for block in commands.chunks(BLOCK) {
        for &&command in block {
            sequence = sequence.next();
            journal.append(&SequencedCommand { sequence, time: Timestamp(0), cause: Cause::session(1), command })?;
        }
        journal.commit()?;
    }
    Ok(made)
}

/// Replays a journal.
///
/// # Errors
/// When the journal cannot be read.
pub fn replay(directory: &Path) -> Result<Outcome> {
    let begun = Instant::now();
    let (mut exchange, mut events) = (Exchange::new(), EventHash::default());
    let mut reading = ReadAhead::start(Journal::open(FileStorage::lock(directory)?, Options::default())?)?;
    while let Some(batch) = reading.next_batch()? {
        for command in batch.iter() {
            exchange.apply(command.sequence, command.time, &command.command, &mut events);
        }
    }
    drop(reading.into_reader());
    let all_seconds = begun.elapsed().as_secs_f64();
    Ok(Outcome { flow_seconds: all_seconds, all_seconds, end: EndState::new(&exchange, events) })
}
