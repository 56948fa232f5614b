//! Reads a journal aside, also while another process or thread writes it.

use std::path::Path;

use super::{
    Head, JournalId, OpenError, Tail,
    read_ahead::ReadCommands,
    scan::Scan,
    storage::{Access, FileStorage, Storage},
};
use crate::{command::SequencedCommand, types::Sequence};

/// An iterator over the commands in a journal, in order, each verified before it is handed out. Takes no lock and
/// changes nothing.
///
/// It ends (`None`) after the last block that is complete, and goes on when it is asked again and there is more.
/// It sees what is written, which need not be durable yet. After an error it ends for good.
#[derive(Debug)]
pub struct JournalReader<S: Storage = FileStorage> {
    scan: Scan<S>,
    failed: bool,
}

impl JournalReader<FileStorage> {
    /// Opens the journal in a directory.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none, other [`OpenError`]s when it cannot be read.
    pub fn open_directory(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open(FileStorage::read_only(directory))
    }
}

impl<S: Storage> JournalReader<S> {
    /// Opens the journal in a storage.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is none, other [`OpenError`]s when it cannot be read.
    pub fn open(storage: S) -> Result<Self, OpenError> {
        let place = storage.name(0);
        match Scan::open(storage, Access::Read)? {
            Some(scan) => Ok(Self { scan, failed: false }),
            None => Err(OpenError::Missing { place }),
        }
    }

    /// Opens the journal in a storage behind a sequence: the first command handed out is that of `after + 1`. Reads the
    /// segment that holds `after`, and what follows.
    ///
    /// What it reads is verified as by [`open`](Self::open). **Not** verified is whatever lies in earlier segments, nor
    /// that this is the history which the caller has in mind; [`open_after`](Self::open_after) verifies that. Where
    /// history begins with `after + 1`, as it was pruned, [`head`](Self::head) has the epoch of the block that follows,
    /// until one has been read.
    ///
    /// # Errors
    /// [`OpenError::NotReached`] or [`OpenError::Pruned`] when `after` is not in the journal, and as for
    /// [`open`](Self::open).
    pub fn open_at(storage: S, after: Sequence) -> Result<Self, OpenError> {
        let scan = Scan::open_at(storage, Access::Read, after)?;
        let mut reader = Self { scan, failed: false };
        while reader.scan.sequence() < after {
            if reader.try_next()?.is_none() {
                return Err(OpenError::NotReached { wanted: after, last: reader.scan.sequence() });
            }
        }
        Ok(reader)
    }

    /// Opens the journal in a storage behind the block that `anchor` names, which must have that hash and epoch: what
    /// follows is then what followed there. Otherwise as [`open_at`](Self::open_at).
    ///
    /// # Errors
    /// [`OpenError::Anchor`], [`OpenError::NotReached`] or [`OpenError::Pruned`] when the anchor is not in the journal,
    /// and as for [`open`](Self::open).
    pub fn open_after(storage: S, anchor: Head) -> Result<Self, OpenError> {
        let reader = Self::open_at(storage, anchor.sequence)?;
        reader.scan.check_anchor(anchor)?;
        Ok(reader)
    }

    /// The end of the last block whose commands have all been handed out.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.scan.head()
    }

    /// The segment that the last block read is in.
    pub(super) const fn segment_index(&self) -> u32 {
        self.scan.place().index
    }

    /// The journal's id.
    #[must_use]
    pub const fn journal_id(&self) -> JournalId {
        self.scan.journal_id()
    }

    /// Reads what is left, and everything behind it, and says how the journal ends. For audits: while somebody writes
    /// the journal, the answer can be wrong, and damage can be seen that is none.
    ///
    /// # Errors
    /// [`OpenError`] when the journal is damaged or cannot be read.
    pub fn into_tail(mut self) -> Result<Tail, OpenError> {
        loop {
            while self.scan.next_in_block()?.is_some() {}
            if let Some(tail) = self.scan.tail_alone()? {
                return Ok(tail);
            }
        }
    }

    /// Passes over what is left of the block whose commands are being handed out.
    pub(super) fn finish_block(&mut self) -> Result<(), OpenError> {
        while self.scan.head().sequence < self.scan.sequence() {
            self.try_next()?;
        }
        Ok(())
    }

    /// Passes over the next block, whose sectors and place are verified; `false` when there is none that is complete.
    pub(super) fn skip_block(&mut self) -> Result<bool, OpenError> {
        let found = self.scan.next_block_shared()?;
        if found {
            self.scan.pass_block();
        }
        Ok(found)
    }

    fn try_read(&mut self, batch: &mut Vec<SequencedCommand>, most: usize) -> Result<(), OpenError> {
        loop {
            self.scan.take_from_block(batch, most)?;
            if batch.len() >= most || !self.scan.next_block_shared()? {
                return Ok(());
            }
        }
    }

    fn try_next(&mut self) -> Result<Option<SequencedCommand>, OpenError> {
        loop {
            if let Some(command) = self.scan.next_in_block()? {
                return Ok(Some(command));
            }
            if !self.scan.next_block_shared()? {
                return Ok(None);
            }
        }
    }
}

impl<S: Storage> ReadCommands for JournalReader<S> {
    fn read_commands(&mut self, batch: &mut Vec<SequencedCommand>, most: usize) -> Result<(), OpenError> {
        if self.failed {
            return Ok(());
        }
        let result = self.try_read(batch, most);
        self.failed = result.is_err();
        result
    }
}

impl<S: Storage> Iterator for JournalReader<S> {
    type Item = Result<SequencedCommand, OpenError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.try_next();
        self.failed = result.is_err();
        result.transpose()
    }
}
