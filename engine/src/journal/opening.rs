//! A journal being opened: hands out every command it holds, finds its end, and becomes ready to be written.

use super::{
    AcceptedLoss, Damage, Epoch, Head, Journal, JournalId, OpenError, Options, Tail, TornTail,
    layout::{SECTOR_BYTES, SectorPlace, SegmentHeader, seal_sector},
    loss::accepted_losses,
    read_ahead::ReadCommands,
    scan::{Scan, io_error},
    storage::{Access, FileStorage, Segment, Storage},
};
use crate::{command::SequencedCommand, types::Sequence};

/// An iterator over all commands in the journal, or over those behind an anchor, in order, each verified before it is handed out. After an error it
/// ends; [`into_journal`](Self::into_journal) then fails with the same kind of error.
#[derive(Debug)]
pub struct Opening<S: Storage = FileStorage> {
    scan: Scan<S>,
    options: Options,
    tail: Option<Tail>,
    failed: bool,
    accepted_losses: Vec<AcceptedLoss>,
}

impl<S: Storage> Opening<S> {
    /// Opens the journal, or creates it where there is none.
    pub(super) fn open(storage: S, options: Options) -> Result<Self, OpenError> {
        options.check()?;
        let scan = match Scan::open(storage.clone(), Access::Write)? {
            Some(scan) => scan,
            None => {
                create(&storage, &options)?;
                let missing = || OpenError::Missing { place: storage.name(0) };
                Scan::open(storage.clone(), Access::Write)?.ok_or_else(missing)?
            }
        };
        let accepted_losses = accepted_losses(scan.storage())?;
        Ok(Self { scan, options, tail: None, failed: false, accepted_losses })
    }

    /// Opens the journal behind `anchor`, which must be in it.
    pub(super) fn open_after(storage: S, options: Options, anchor: Head) -> Result<Self, OpenError> {
        options.check()?;
        let scan = Scan::open_at(storage, Access::Write, anchor.sequence)?;
        let accepted_losses = accepted_losses(scan.storage())?;
        let mut opening = Self { scan, options, tail: None, failed: false, accepted_losses };
        while opening.scan.sequence() < anchor.sequence {
            if opening.next_command()?.is_none() {
                return Err(OpenError::NotReached { wanted: anchor.sequence, last: opening.scan.sequence() });
            }
        }
        opening.scan.check_anchor(anchor)?;
        Ok(opening)
    }

    /// The block that was dropped because it never arrived whole. Known once all commands have been read.
    #[must_use]
    pub const fn torn(&self) -> Option<&TornTail> {
        match &self.tail {
            Some(Tail::Torn(torn)) => Some(torn),
            _ => None,
        }
    }

    /// What an operator has given up of this journal, ever; the earliest first.
    #[must_use]
    pub fn accepted_losses(&self) -> &[AcceptedLoss] {
        &self.accepted_losses
    }

    /// The end of the last block whose commands have all been handed out.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.scan.head()
    }

    /// The journal's id.
    #[must_use]
    pub const fn journal_id(&self) -> JournalId {
        self.scan.journal_id()
    }

    /// Reads what has not been read, clears a torn tail, and makes the journal ready to append.
    ///
    /// # Errors
    /// [`OpenError`] when the journal is damaged or cannot be written.
    pub fn into_journal(mut self) -> Result<Journal<S>, OpenError> {
        while !self.failed && self.next_command()?.is_some() {}
        let storage = self.scan.storage().clone();
        let after = self.scan.head().sequence;
        let Some(tail) = self.tail.take() else {
            return Err(OpenError::Damaged {
                file: storage.name(self.scan.place().index),
                offset: self.scan.place().offset,
                after,
                damage: Damage::Unread,
            });
        };
        if let Tail::Torn(torn) = &tail {
            clear(&storage, torn)?;
        }
        remove_misfits(&storage, self.scan.place().index, self.options.segment_bytes)
            .map_err(|source| io_error(&storage, None, 0, after, source))?;
        Journal::at(&self.scan, self.options)
    }

    fn next_command(&mut self) -> Result<Option<SequencedCommand>, OpenError> {
        let result = self.try_next();
        self.failed |= result.is_err();
        result
    }

    fn try_read(&mut self, batch: &mut Vec<SequencedCommand>, most: usize) -> Result<(), OpenError> {
        loop {
            self.scan.take_from_block(batch, most)?;
            if batch.len() >= most || self.tail.is_some() {
                return Ok(());
            }
            self.tail = self.scan.next_block_alone()?;
        }
    }

    fn try_next(&mut self) -> Result<Option<SequencedCommand>, OpenError> {
        loop {
            if let Some(command) = self.scan.next_in_block()? {
                return Ok(Some(command));
            }
            if self.tail.is_some() {
                return Ok(None);
            }
            self.tail = self.scan.next_block_alone()?;
        }
    }
}

impl<S: Storage> ReadCommands for Opening<S> {
    fn read_commands(&mut self, batch: &mut Vec<SequencedCommand>, most: usize) -> Result<(), OpenError> {
        if self.failed {
            return Ok(());
        }
        let result = self.try_read(batch, most);
        self.failed = result.is_err();
        result
    }
}

impl<S: Storage> Iterator for Opening<S> {
    type Item = Result<SequencedCommand, OpenError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.next_command().transpose()
    }
}

/// Writes the header of the first segment.
fn create<S: Storage>(storage: &S, options: &Options) -> Result<(), OpenError> {
    let journal_id = options.journal_id.unwrap_or_else(JournalId::generate);
    let write = || {
        // A segment left by a crash during creation is all zero, and may have been made with another length.
        for index in storage.segments()?.into_iter().rev() {
            storage.remove(index)?;
        }
        storage.create(0, options.segment_bytes, Access::Write)?;
        let header = SegmentHeader {
            epoch: Epoch::FIRST,
            index: 0,
            first_sequence: Sequence(1),
            segment_bytes: options.segment_bytes,
            journal_id,
            previous: journal_id.genesis(),
        };
        let mut sector = [0; SECTOR_BYTES];
        seal_sector(&mut sector, SectorPlace { segment: 0, first: 0, sector: 0 }, &header.encode());
        let segment = storage.open(0, Access::Write)?;
        segment.write_all_at(&sector, 0)?;
        segment.sync()
    };
    write().map_err(|source| io_error(storage, Some(0), 0, Sequence(0), source))
}

/// Writes zeros over a torn tail, so that no part of it can ever be taken for part of a later block.
fn clear<S: Storage>(storage: &S, torn: &TornTail) -> Result<(), OpenError> {
    let write = || {
        let segment = storage.open(torn.segment, Access::Write)?;
        segment.write_all_at(&vec![0; torn.bytes as usize], torn.offset)?;
        segment.sync()
    };
    write().map_err(|source| io_error(storage, Some(torn.segment), torn.offset, torn.after_sequence, source))
}

/// Removes segments that were prepared under other options: from the first one with another length on, last one first,
/// so that a crash leaves no gap. All of them are known to be zero.
fn remove_misfits<S: Storage>(storage: &S, used: u32, segment_bytes: u64) -> std::io::Result<()> {
    let prepared: Vec<u32> = storage.segments()?.into_iter().filter(|&index| index > used).collect();
    for (position, &index) in prepared.iter().enumerate() {
        if storage.open(index, Access::Read)?.bytes()? != segment_bytes {
            return prepared[position..].iter().rev().try_for_each(|&index| storage.remove(index));
        }
    }
    Ok(())
}
