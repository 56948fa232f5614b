//! A journal of a workload, and its replay as an opening does it.

use std::{fs, io, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use engine::{
    command::SequencedCommand,
    exchange::Exchange,
    journal::{FileStorage, Journal, Options, ReadAhead},
    types::{Cause, Sequence, Timestamp},
};
use gateway_sim::{machine::file_system_of, report::text::grouped};
use tempfile::TempDir;

use super::{
    event_hash::EventHash,
    in_line::{self, EndState, Outcome},
    workload::Workload,
};
use crate::{
    cycle::Cycle,
    report::{Figure, Findings, Section, Target, median},
};

/// Commands in one block.
const BLOCK: usize = 1_024;

/// How often both are measured in one round of the run: they differ by less than one measurement from the next.
const REPEATS: usize = 5;

/// A long history, in a journal and in memory.
pub struct History {
    workload: Workload,
    journal: TempDir,
    expected: EndState,
    in_line: Vec<f64>,
    replays: Vec<f64>,
    failures: Vec<String>,
}

impl History {
    /// The flow that is as exchange-core makes it, `cycles` times one after the other, in a journal.
    ///
    /// # Errors
    /// When no journal can be made.
    pub fn new(commands: usize, cycles: usize, directory: &Path) -> Result<Self> {
        let cycle = Cycle::exchange_core(commands);
        let flow = cycle.flow().take(cycle.commands.len() * cycles).collect();
        let Cycle { description, setup, .. } = cycle;
        let workload = Workload { name: "replay".to_owned(), description, setup, flow, trades: (0, 0) };
        let journal = journal_of(&workload, directory)?;
        let expected = in_line::run(&workload).end;
        let (in_line, replays, failures) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { workload, journal, expected, in_line, replays, failures })
    }

    /// Applies it some times from memory and from the journal, in turn.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn round(&mut self) -> Result<()> {
        read_into_page_cache(self.journal.path())?;
        (0..REPEATS).try_for_each(|_| self.repeat())
    }

    fn repeat(&mut self) -> Result<()> {
        let outcomes = [("in line", in_line::run(&self.workload)), ("replay", replay(self.journal.path())?)];
        let commands = self.workload.commands() as f64;
        for ((way, outcome), samples) in outcomes.into_iter().zip([&mut self.in_line, &mut self.replays]) {
            samples.push(commands / outcome.all_seconds);
            if outcome.end != self.expected {
                let (end, expected) = (&outcome.end, &self.expected);
                self.failures
                    .push(format!("{way} of a long history: ended with {end:?}, and should with {expected:?}"));
            }
        }
        Ok(())
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let outcome = if self.failures.is_empty() { "same end state" } else { "END STATES DIFFER" };
        let conditions = vec![
            format!(
                "{} commands, from a new exchange to the last event's hash; {REPEATS} times in each round, in turn",
                grouped(self.workload.commands() as u64)
            ),
            self.workload.description,
            format!(
                "the journal on {}, in the page cache, read, checked and decoded on a second thread; no segments lie ready in \
                 it, which an opening would look through for anything but zeros",
                file_system_of(self.journal.path())
            ),
        ];
        let figures = vec![
            Figure::new("in line", "from memory", &self.in_line, outcome.to_owned()),
            Figure::new("replay", "from a journal", &self.replays, outcome.to_owned())
                .compared_to("in line", &self.in_line),
        ];
        let ratio = median(&self.replays) / median(&self.in_line);
        Findings {
            sections: vec![Section { title: "replay".to_owned(), conditions, unit: "commands", figures }],
            targets: vec![Target::at_least(
                "ratios.replay_vs_inline",
                "replay from the journal, of in line",
                ratio,
                0.9,
            )],
            failures: self.failures,
        }
    }
}

/// Reads all files in a directory, so that they are in the page cache: a journal is written past it, and what is there the
/// system may let go while other things are measured.
///
/// # Errors
/// When a file cannot be read.
pub fn read_into_page_cache(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            io::copy(&mut fs::File::open(&path)?, &mut io::sink())
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    Ok(())
}

/// Writes the workload into a journal in a new directory.
///
/// # Errors
/// When the directory or the journal cannot be made.
pub fn journal_of(workload: &Workload, directory: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("bench-").tempdir_in(directory);
    let made = made.with_context(|| {
        format!("cannot make a directory in {}; give another with --directory", directory.display())
    })?;
    let opening = Journal::open(FileStorage::lock(made.path())?, Options { segments_ahead: 0, ..Options::default() })?;
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
    let mut reading = ReadAhead::start(Journal::open(
        FileStorage::lock(directory)?,
        Options { segments_ahead: 0, ..Options::default() },
    )?)?;
    while let Some(batch) = reading.next_batch()? {
        for (index, command) in batch.iter().enumerate() {
            exchange.look_ahead_in(&batch, index);
            exchange.apply(command.sequence, command.time, &command.command, &mut events);
        }
    }
    drop(reading.into_reader());
    let all_seconds = begun.elapsed().as_secs_f64();
    Ok(Outcome { flow_seconds: all_seconds, all_seconds, end: EndState::new(&exchange, events) })
}
