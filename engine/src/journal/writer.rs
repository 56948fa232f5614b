//! Appends commands: gathers records in a block, and writes the block at each commit.
//!
//! Owned by one thread. Buffers are made at the start; `append` and `commit` allocate nothing, except that a commit
//! that rolls over to the next segment takes it from the thread that prepares segments.

use std::{io, path::Path, sync::Arc};

use super::{
    AcceptedLoss, ChainHash, Durability, Epoch, FileStorage, Head, JournalError, JournalId, LossError, OpenError,
    Opening, Options, Storage,
    background::{Preparer, Syncer, Wanted, prepare},
    layout::{
        BLOCK_HEADER_BYTES, BlockHeader, SECTOR_BYTES, SECTOR_PAYLOAD_BYTES, SectorPlace, SegmentHeader, encode_record,
        seal_sector, sectors_of,
    },
    scan::{Scan, io_error},
    space::Headroom,
    storage::{Access, PageBuffer, Segment},
};
use crate::{
    command::SequencedCommand,
    types::{Sequence, Timestamp},
};

/// A journal, open for appending.
#[derive(Debug)]
pub struct Journal<S: Storage = FileStorage> {
    storage: S,
    options: Options,
    access: Access,
    journal_id: JournalId,
    segment: Arc<S::Segment>,
    segment_index: u32,
    segment_bytes: u64,
    /// Where the next block begins, if it fits.
    offset: u64,
    /// The last block that was committed.
    head: Head,
    /// That of the next block: the head's, or the one after it.
    epoch: Epoch,
    /// The last command appended.
    appended: Sequence,
    time: Timestamp,
    /// Header and records of the next block.
    block: Box<[u8]>,
    block_bytes: usize,
    /// The sectors of one write: a segment's header, if need be, and a block.
    image: PageBuffer,
    poisoned: bool,
    headroom: Headroom,
    preparer: Option<Preparer<S::Segment>>,
    syncer: Option<Syncer<S::Segment>>,
}

impl Journal<FileStorage> {
    /// Takes a directory and opens the journal in it for writing; see [`FileStorage::lock`] and [`open`](Self::open).
    ///
    /// # Errors
    /// [`OpenError`] when someone else has the directory, and as for [`open`](Self::open).
    pub fn open_directory(directory: impl AsRef<Path>, options: Options) -> Result<Opening, OpenError> {
        Self::open(FileStorage::lock(directory)?, options)
    }
}

impl<S: Storage> Journal<S> {
    /// Opens a journal for writing, and creates it where there is none. What it holds must be read before it can be
    /// written: see [`Opening`].
    ///
    /// # Errors
    /// [`OpenError`] when the options contradict each other, or the journal is damaged or cannot be read.
    pub fn open(storage: S, options: Options) -> Result<Opening<S>, OpenError> {
        Opening::open(storage, options)
    }

    /// Opens a journal for writing from the middle: hands out the commands behind `anchor`, the end of a block that a
    /// snapshot names. Reads the segment that holds the anchor and what follows, so it costs the tail only.
    ///
    /// What it reads is verified as by [`open`](Self::open), a torn tail included, and the block that ends at the
    /// anchor must have exactly the anchor's hash and epoch. Its hash covers all of history before it, so a tail that
    /// fits belongs to that history. **Not** verified, as it is not read: that segments before the anchor's are there,
    /// whole, and what was written; and that they are durable, which matters if they were written without
    /// [`Durability::Sync`]. [`JournalReader`](super::JournalReader) reads them.
    ///
    /// # Errors
    /// [`OpenError::Anchor`], [`OpenError::NotReached`] or [`OpenError::Pruned`] when the anchor is not in the journal,
    /// [`OpenError::Missing`] when there is none, and as for [`open`](Self::open).
    pub fn open_after(storage: S, options: Options, anchor: Head) -> Result<Opening<S>, OpenError> {
        Opening::open_after(storage, options, anchor)
    }

    /// Gives up what lies at or behind damage, so that the journal can be opened again: an operator's explicit act, when
    /// there is no copy to restore. See [`loss`](super::loss).
    ///
    /// `after` must be exactly the last sequence of the last good block, so that no more is given up than was looked at.
    /// `reason` and `time` are recorded.
    ///
    /// # Errors
    /// [`LossError`](super::LossError); repeated after a crash or an error half-way, it goes on.
    pub fn accept_loss(storage: &S, after: Sequence, reason: &str, time: Timestamp) -> Result<AcceptedLoss, LossError> {
        super::loss::accept(storage, after, reason, time)
    }

    /// Goes on where a scan ended.
    pub(super) fn at(scan: &Scan<S>, options: Options) -> Result<Self, OpenError> {
        let storage = scan.storage().clone();
        let (place, head) = (scan.place(), scan.head());
        let access = match options.durability {
            Durability::Sync => {
                Access::WriteDurable(options.write_method.unwrap_or_else(|| storage.best_write_method(place.index)))
            }
            Durability::Async | Durability::None => Access::Write,
        };
        let start = || -> io::Result<_> {
            let segment = Arc::new(storage.open(place.index, access)?);
            let ready = storage.segments()?.into_iter().filter(|&index| index > place.index).count() as u64;
            let unwritten = place.bytes - place.offset + ready * options.segment_bytes;
            let headroom = Headroom::new(unwritten, options.segment_bytes, options.low_space_bytes);
            headroom.measure(&storage);
            let preparer = match options.segments_ahead {
                0 => None,
                ahead => {
                    let bytes = options.segment_bytes;
                    let space_interval = options.space_interval;
                    let wanted = Wanted { first: place.index + 1, bytes, access, ahead, space_interval };
                    Some(Preparer::start(storage.clone(), wanted, headroom.clone())?)
                }
            };
            let syncer = match options.durability {
                Durability::Async => Some(Syncer::start(options.sync_interval)?),
                Durability::Sync | Durability::None => None,
            };
            Ok((segment, headroom, preparer, syncer))
        };
        let (segment, headroom, preparer, syncer) =
            start().map_err(|source| io_error(&storage, Some(place.index), 0, head.sequence, source))?;
        Ok(Self {
            access,
            journal_id: scan.journal_id(),
            segment,
            segment_index: place.index,
            segment_bytes: place.bytes,
            offset: place.offset,
            head,
            epoch: head.epoch,
            appended: head.sequence,
            time: scan.time(),
            block: vec![0; BLOCK_HEADER_BYTES + options.block_bytes].into(),
            block_bytes: BLOCK_HEADER_BYTES,
            image: PageBuffer::new((1 + options.block_sectors_max()) * SECTOR_BYTES),
            poisoned: false,
            headroom,
            preparer,
            syncer,
            storage,
            options,
        })
    }

    /// Adds a command to the block that the next commit writes. Does no I/O.
    ///
    /// # Errors
    /// [`JournalError::Full`] when the block has no room: commit, and append it again; [`JournalError::Poisoned`]
    /// after a failed commit. The command is then not part of the block.
    ///
    /// # Panics
    /// When the sequence is not the next one, or time runs backwards.
    #[inline]
    pub fn append(&mut self, command: &SequencedCommand) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(self.poisoned_error());
        }
        assert_eq!(command.sequence, self.appended.next(), "sequences have no gaps");
        assert!(command.time >= self.time, "time never runs backwards");
        match encode_record(&mut self.block[self.block_bytes..], command) {
            Some(bytes) => {
                self.block_bytes += bytes;
                self.appended = command.sequence;
                self.time = command.time;
                Ok(())
            }
            None => Err(JournalError::Full { buffered_bytes: self.buffered_bytes() }),
        }
    }

    /// Writes what was appended as one block, waits for what [`Options::durability`] asks for, and returns the last
    /// sequence that is safe in that sense. With nothing appended it only returns that.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the write or its sync fails: whether the block is on disk is then not known until the
    /// journal is opened again. The same when the disk is full and no prepared segment is left; [`Headroom`] warns of it. From then on [`JournalError::Poisoned`]; nothing is tried a second time.
    pub fn commit(&mut self) -> Result<Sequence, JournalError> {
        if self.poisoned {
            return Err(self.poisoned_error());
        }
        if self.buffered_bytes() == 0 {
            return Ok(self.head.sequence);
        }
        // Whatever way it ends before its end, nothing may be written any more.
        self.poisoned = true;
        self.write_block().map_err(|source| JournalError::Io {
            file: self.storage.name(self.segment_index),
            offset: self.offset,
            after: self.head.sequence,
            source,
        })?;
        self.poisoned = false;
        Ok(self.head.sequence)
    }

    /// Starts the next epoch: blocks from now on belong to it. On disk with the next commit.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`] after a failed commit.
    ///
    /// # Panics
    /// When something is appended and not committed, or the epoch was already started and is still empty.
    pub fn begin_epoch(&mut self) -> Result<Epoch, JournalError> {
        if self.poisoned {
            return Err(self.poisoned_error());
        }
        assert_eq!(self.buffered_bytes(), 0, "a block has one epoch");
        assert_eq!(self.epoch, self.head.epoch, "an epoch has at least one block");
        self.epoch = self.epoch.next();
        Ok(self.epoch)
    }

    /// Bytes of the records that wait for the next commit; at most [`Options::block_bytes`].
    #[must_use]
    #[inline]
    pub const fn buffered_bytes(&self) -> usize {
        self.block_bytes - BLOCK_HEADER_BYTES
    }

    /// The last block that was committed.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The last command that was appended, committed or not.
    #[must_use]
    pub const fn appended(&self) -> Sequence {
        self.appended
    }

    /// A view, for any thread, of how much can still be appended.
    #[must_use]
    pub fn headroom(&self) -> Headroom {
        self.headroom.clone()
    }

    /// The journal's id.
    #[must_use]
    pub const fn journal_id(&self) -> JournalId {
        self.journal_id
    }

    /// Commits what was appended and, except under [`Durability::None`], waits until everything is durable. A journal
    /// that is dropped instead loses what was not committed.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn close(mut self) -> Result<Head, JournalError> {
        self.commit()?;
        if let Some(syncer) = self.syncer.take() {
            syncer.finish().map_err(|source| JournalError::Io {
                file: self.storage.name(self.segment_index),
                offset: self.offset,
                after: self.head.sequence,
                source,
            })?;
        }
        Ok(self.head)
    }

    fn write_block(&mut self) -> io::Result<()> {
        let sectors = sectors_of(self.block_bytes);
        let block_bytes = (sectors * SECTOR_BYTES) as u64;
        let rolls = self.offset + block_bytes > self.segment_bytes;
        if rolls {
            self.roll()?;
        }
        let header_bytes = if rolls { SECTOR_BYTES } else { 0 };
        let block_offset = self.offset + header_bytes as u64;
        assert!(block_offset + block_bytes <= self.segment_bytes, "a segment has room for the largest block");

        let first_sequence = self.head.sequence.next();
        let records = self.appended.0 - self.head.sequence.0;
        let header = BlockHeader {
            records_bytes: u32::try_from(self.buffered_bytes()).map_err(io::Error::other)?,
            offset: block_offset,
            first_sequence,
            records: u32::try_from(records).map_err(io::Error::other)?,
            epoch: self.epoch,
            previous: self.head.hash,
        };
        self.block[..BLOCK_HEADER_BYTES].copy_from_slice(&header.encode());
        let block = &self.block[..self.block_bytes];
        let hash = ChainHash(*blake3::hash(block).as_bytes());

        let (header_image, block_image) = self.image.split_at_mut(header_bytes);
        if rolls {
            let header = SegmentHeader {
                epoch: self.epoch,
                index: self.segment_index,
                first_sequence,
                segment_bytes: self.segment_bytes,
                journal_id: self.journal_id,
                previous: self.head.hash,
            };
            let place = SectorPlace { segment: self.segment_index, first: 0, sector: 0 };
            seal_sector(header_image, place, &header.encode());
        }
        let first = (block_offset / SECTOR_BYTES as u64) as u32;
        let payloads = block.chunks(SECTOR_PAYLOAD_BYTES);
        for ((sector, payload), number) in block_image.chunks_exact_mut(SECTOR_BYTES).zip(payloads).zip(first..) {
            seal_sector(sector, SectorPlace { segment: self.segment_index, first, sector: number }, payload);
        }

        let image_bytes = header_bytes + sectors * SECTOR_BYTES;
        self.segment.write_all_at(&self.image[..image_bytes], self.offset)?;
        if let Some(syncer) = &self.syncer {
            syncer.written(&self.segment)?;
        }
        self.offset += image_bytes as u64;
        self.headroom.used(image_bytes as u64);
        self.head = Head { sequence: self.appended, hash, epoch: self.epoch };
        self.block_bytes = BLOCK_HEADER_BYTES;
        Ok(())
    }

    /// Goes on at the beginning of the next segment.
    fn roll(&mut self) -> io::Result<()> {
        let index = self.segment_index.checked_add(1).ok_or_else(|| io::Error::other("no segment index is left"))?;
        let segment = match &self.preparer {
            Some(preparer) => preparer.next()?,
            None => prepare(&self.storage, index, self.options.segment_bytes, self.access, &self.headroom)?,
        };
        self.headroom.used(self.segment_bytes - self.offset);
        self.segment_bytes = segment.bytes()?;
        self.segment = Arc::new(segment);
        self.segment_index = index;
        self.offset = 0;
        Ok(())
    }

    fn poisoned_error(&self) -> JournalError {
        JournalError::Poisoned { after: self.head.sequence }
    }
}
