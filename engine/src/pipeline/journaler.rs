//! The journaler: makes commands durable, everything queued with one write.

use std::sync::Arc;

use ringbuf::{Cursor, broadcast};

use super::{
    latency::Recorder,
    messages::Input,
    shared::Shared,
    stage::{Poll, Progress},
};
use crate::{
    command::SequencedCommand,
    journal::{Epoch, FileStorage, Headroom, Journal, JournalError, MemoryStorage},
    types::Sequence,
};

/// The indices of the journaler's, and of the publisher's first, histograms.
pub(super) const WAIT: usize = 0;
pub(super) const SERVICE: usize = 1;

pub(super) struct Journaler {
    shared: Arc<Shared>,
    input: broadcast::Consumer<Input>,
    log: Log,
    durable: Cursor,
    latency: Recorder<2>,
}

impl Journaler {
    pub(super) const fn new(
        shared: Arc<Shared>,
        input: broadcast::Consumer<Input>,
        log: Log,
        durable: Cursor,
        latency: Recorder<2>,
    ) -> Self {
        Self { shared, input, log, durable, latency }
    }

    /// Writes the first `count` commands, as one block if they fit one.
    fn write(&mut self, count: usize) -> Result<(), JournalError> {
        for offset in 0..count {
            let input = self.input.get(offset).expect("counted as readable");
            let &Input { sequence, time, cause, command, .. } = input;
            if input.begins_epoch().is_some() {
                // The record is the first of a block of its epoch.
                self.log.commit()?;
                self.log.begin_epoch()?;
            }
            let command = SequencedCommand { sequence, time, cause, command };
            match self.log.append(&command) {
                Err(JournalError::Full { .. }) => {
                    self.log.commit()?;
                    self.log.append(&command)?;
                }
                appended => appended?,
            }
        }
        self.log.commit()
    }

    fn finish(&mut self) -> Progress {
        self.latency.close();
        if let Err(error) = std::mem::replace(&mut self.log, Log::Nowhere).close() {
            self.shared.fail(error.to_string());
        }
        Progress::Finished
    }
}

/// The storage of a log, for those who read it aside and write files beside it.
#[derive(Clone)]
pub(super) enum LogStorage {
    /// There is none.
    Nowhere,
    /// A directory.
    Files(FileStorage),
    /// In memory.
    Memory(MemoryStorage),
}

/// Where commands are kept.
pub(super) enum Log {
    /// Nowhere: the exchange lives in memory only.
    Nowhere,
    /// In a directory.
    Files(Box<Journal<FileStorage>>),
    /// In a storage that can be made to fail.
    Memory(Box<Journal<MemoryStorage>>),
}

impl Log {
    #[inline]
    pub(super) fn append(&mut self, command: &SequencedCommand) -> Result<(), JournalError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Files(journal) => journal.append(command),
            Self::Memory(journal) => journal.append(command),
        }
    }

    pub(super) fn commit(&mut self) -> Result<(), JournalError> {
        let _: Option<Sequence> = match self {
            Self::Nowhere => None,
            Self::Files(journal) => Some(journal.commit()?),
            Self::Memory(journal) => Some(journal.commit()?),
        };
        Ok(())
    }

    /// What is appended next belongs to the next epoch; everything before it must be committed.
    pub(super) fn begin_epoch(&mut self) -> Result<(), JournalError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Files(journal) => journal.begin_epoch().map(drop),
            Self::Memory(journal) => journal.begin_epoch().map(drop),
        }
    }

    /// The epoch of the last block.
    pub(super) fn epoch(&self) -> Epoch {
        match self {
            Self::Nowhere => Epoch::FIRST,
            Self::Files(journal) => journal.head().epoch,
            Self::Memory(journal) => journal.head().epoch,
        }
    }

    /// What space is left; `None` where none is needed.
    pub(super) fn headroom(&self) -> Option<Headroom> {
        match self {
            Self::Nowhere => None,
            Self::Files(journal) => Some(journal.headroom()),
            Self::Memory(journal) => Some(journal.headroom()),
        }
    }

    pub(super) fn close(self) -> Result<(), JournalError> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Files(journal) => journal.close().map(drop),
            Self::Memory(journal) => journal.close().map(drop),
        }
    }
}

impl Poll for Journaler {
    /// `batch` does not bound the block: the more is queued, the more one sync covers.
    fn poll(&mut self, _batch: usize) -> Progress {
        self.latency.hand_over_if_asked();
        let count = self.input.readable();
        if self.shared.has_failed() || (count == 0 && self.input.is_finished()) {
            return self.finish();
        }
        if count == 0 {
            return Progress::Idle;
        }
        let started = self.latency.now(&self.shared.clock);
        let sequenced = |offset| self.input.get(offset).expect("counted as readable").sequenced;
        self.latency.record_waits(WAIT, started, count, sequenced);
        let last = self.input.get(count - 1).expect("counted as readable").sequence;
        // Without a journal there is nothing to do, and it takes no time.
        let nowhere = matches!(self.log, Log::Nowhere);
        let written = if nowhere { Ok(()) } else { self.write(count) };
        if let Err(error) = written {
            // Nothing that is not durable will ever be acknowledged.
            self.shared.fail(error.to_string());
            return self.finish();
        }
        self.durable.publish(last.0);
        self.input.release(count);
        let ended = if nowhere { started } else { self.latency.now(&self.shared.clock) };
        self.latency.record(SERVICE, ended.0.saturating_sub(started.0), count as u64);
        Progress::Worked
    }

    fn is_ready(&self) -> bool {
        self.latency.is_asked() || self.shared.has_failed() || self.input.readable() > 0 || self.input.is_finished()
    }
}
