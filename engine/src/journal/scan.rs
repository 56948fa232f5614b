//! Reads blocks in order and verifies all there is to verify. Shared by opening, where nobody else writes, and by
//! readers, where somebody may.
//!
//! Where blocks end, the two differ. Opening looks at everything that follows, and decides: a clean end, a torn tail,
//! or damage. A reader stops at what is not complete. It takes the same thing for damage only when something was
//! written after it: as one write follows the other, what comes before a later write is finished, so it looks once
//! more, and only then complains. It never trusts what it read ahead without reading it again.

use std::{io, sync::Arc};

use super::{
    ChainHash, Damage, Epoch, Head, JournalId, OpenError,
    layout::{
        BLOCK_HEADER_BYTES, BlockHeader, SECTOR_BYTES, SECTOR_PAYLOAD_BYTES, SectorPlace, SectorState, SegmentHeader,
        SegmentHeaderError, decode_record, is_zero, sector_state, sectors_of,
    },
    storage::{Access, Segment, Storage},
};
use crate::{
    command::SequencedCommand,
    types::{Sequence, Timestamp},
};

/// How much is read at once, unless a block is longer.
const READ_BYTES: usize = 1 << 20;
const SECTOR: u64 = SECTOR_BYTES as u64;

/// How a journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// After its last block there are zeros only.
    Clean,
    /// After its last block there is part of another.
    Torn(TornTail),
}

/// A last block that never arrived whole, and so was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's name.
    pub file: String,
    /// The segment's index.
    pub segment: u32,
    /// Where the part begins, in bytes from the segment's beginning.
    pub offset: u64,
    /// From there to the end of the last sector that arrived.
    pub bytes: u64,
    /// The last sequence before it, which is kept.
    pub after_sequence: Sequence,
}

/// A segment being read, and how far.
#[derive(Debug)]
pub(super) struct Place<G> {
    pub segment: Arc<G>,
    pub index: u32,
    pub bytes: u64,
    /// Where the next block begins.
    pub offset: u64,
}

impl<G> Clone for Place<G> {
    fn clone(&self) -> Self {
        Self { segment: Arc::clone(&self.segment), ..*self }
    }
}

/// Bytes of a segment, read ahead.
#[derive(Debug, Default)]
struct Window {
    buffer: Vec<u8>,
    segment: u32,
    offset: u64,
    length: usize,
}

impl Window {
    fn get(&self, segment: u32, offset: u64, bytes: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        if segment != self.segment || start + bytes > self.length {
            return None;
        }
        Some(&self.buffer[start..start + bytes])
    }
}

/// What a try to read a block came to, other than damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The block is whole, and is in `Scan::block` with its header in `Scan::header`.
    Complete,
    /// Its first sector is zero, or there is no room for one.
    Absent,
    /// Its first sector is good, and others are zero.
    Incomplete,
}

/// A verified walk along the blocks.
#[derive(Debug)]
pub(super) struct Scan<S: Storage> {
    storage: S,
    access: Access,
    place: Place<S::Segment>,
    journal_id: JournalId,
    window: Window,
    /// Header and records of the block being handed out.
    block: Vec<u8>,
    /// Where the next record in `block` begins.
    record_at: usize,
    records_left: u32,
    /// The last block that was read, whose records may not all be handed out.
    block_head: Head,
    /// The last block whose records are all handed out.
    head: Head,
    /// The last record handed out.
    sequence: Sequence,
    time: Timestamp,
}

impl<S: Storage> Scan<S> {
    /// Reads the header of the first segment. `None` when no journal was created here; then, unless access is for
    /// reading only, every segment is known to be all zero.
    pub fn open(storage: S, access: Access) -> Result<Option<Self>, OpenError> {
        let nothing = Sequence(0);
        let indexes = storage.segments().map_err(|source| io_error(&storage, None, 0, nothing, source))?;
        for (expected, &found) in (0..).zip(&indexes) {
            if expected != found {
                let damage = Damage::SegmentMissing { index: expected };
                return Err(OpenError::Damaged { file: storage.name(found), offset: 0, after: nothing, damage });
            }
        }
        if indexes.is_empty() {
            return Ok(None);
        }
        let place = open_segment(&storage, 0, access, nothing)?;
        let id = JournalId([0; 16]);
        let head = Head { sequence: nothing, hash: ChainHash([0; 32]), epoch: Epoch::FIRST };
        let mut scan = Self {
            storage,
            access,
            place,
            journal_id: id,
            window: Window::default(),
            block: Vec::new(),
            record_at: 0,
            records_left: 0,
            block_head: head,
            head,
            sequence: nothing,
            time: Timestamp(0),
        };
        let place = scan.place.clone();
        let Some(header) = scan.segment_header(&place)? else {
            if access != Access::Read {
                scan.expect_zeros_from(&place, 0)?;
                scan.expect_empty_from(1)?;
            }
            return Ok(None);
        };
        let fits = header.first_sequence == Sequence(1) && header.previous == header.journal_id.genesis();
        if !fits {
            let damage = Damage::Chain { expected: header.journal_id.genesis(), found: header.previous };
            return Err(scan.damaged(&place, 0, damage));
        }
        scan.journal_id = header.journal_id;
        scan.block_head = Head { sequence: nothing, hash: header.previous, epoch: header.epoch };
        scan.head = scan.block_head;
        scan.place.offset = SECTOR;
        Ok(Some(scan))
    }

    /// The last block whose commands have all been handed out.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The time of the last command handed out.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    pub const fn journal_id(&self) -> JournalId {
        self.journal_id
    }

    pub const fn storage(&self) -> &S {
        &self.storage
    }

    /// The segment that the last block is in, and where the next one begins.
    pub const fn place(&self) -> &Place<S::Segment> {
        &self.place
    }

    /// The next command of the block being handed out, or `None` when a block must be read first.
    #[inline]
    pub fn next_in_block(&mut self) -> Result<Option<SequencedCommand>, OpenError> {
        if self.records_left == 0 {
            return Ok(None);
        }
        match self.decode_next() {
            Ok(command) => Ok(Some(command)),
            Err(damage) => {
                // The block has been passed already: what is wrong is inside it, at the sector of the record.
                let end = self.place.offset;
                let begin = end - (sectors_of(self.block.len()) * SECTOR_BYTES) as u64;
                let sector = (self.record_at.min(self.block.len() - 1) / SECTOR_PAYLOAD_BYTES) as u64;
                Err(self.damaged(&self.place, begin + sector * SECTOR, damage))
            }
        }
    }

    #[inline]
    fn decode_next(&mut self) -> Result<SequencedCommand, Damage> {
        let (command, bytes) = decode_record(&self.block[self.record_at..])?;
        let expected = self.sequence.next();
        if command.sequence != expected {
            return Err(Damage::Gap { expected, found: command.sequence });
        }
        if command.time < self.time {
            return Err(Damage::Time { after: self.time, found: command.time });
        }
        let last = self.records_left == 1;
        if last && self.record_at + bytes != self.block.len() {
            return Err(Damage::Length);
        }
        self.record_at += bytes;
        self.records_left -= 1;
        self.sequence = command.sequence;
        self.time = command.time;
        if last {
            self.head = self.block_head;
        }
        Ok(command)
    }

    /// Reads the next block when nobody else writes; `Err(Ok(tail))` is the end.
    pub fn next_block_alone(&mut self) -> Result<Option<Tail>, OpenError> {
        let place = self.place.clone();
        match self.attempt(&place, self.block_head.epoch)? {
            Attempt::Complete => return Ok(None),
            Attempt::Incomplete => return self.torn(&place).map(Some),
            Attempt::Absent => {}
        }
        if self.first_data(&place, place.offset)?.is_some() {
            return self.torn(&place).map(Some);
        }
        let indexes = self.indexes()?;
        if !indexes.contains(&(place.index + 1)) {
            return Ok(Some(Tail::Clean));
        }
        let mut next = open_segment(&self.storage, place.index + 1, self.access, self.sequence)?;
        let Some(header) = self.segment_header(&next)? else {
            if self.first_data(&next, 0)?.is_some() {
                return self.torn(&next).map(Some);
            }
            self.expect_empty_from(next.index + 1)?;
            return Ok(Some(Tail::Clean));
        };
        self.check_successor(&next, &header)?;
        next.offset = SECTOR;
        match self.attempt(&next, header.epoch)? {
            Attempt::Complete => Ok(None),
            Attempt::Absent | Attempt::Incomplete => {
                next.offset = 0;
                self.torn(&next).map(Some)
            }
        }
    }

    /// Reads the next block while somebody may be writing; `false` when there is none that is complete.
    pub fn next_block_shared(&mut self) -> Result<bool, OpenError> {
        let place = self.place.clone();
        let epoch = self.block_head.epoch;
        if matches!(self.attempt(&place, epoch), Ok(Attempt::Complete)) {
            return Ok(true);
        }
        let later = match self.attempt_again(&place, epoch) {
            Ok(Attempt::Complete) => return Ok(true),
            Ok(Attempt::Absent) => self.has_begun(place.index + 1)?,
            Ok(Attempt::Incomplete) => self.has_begun(place.index + 1)? || self.has_block_after(&place)?,
            Err(error) if is_sector_damage(&error) => {
                self.has_begun(place.index + 1)? || self.has_block_after(&place)?
            }
            Err(error) => return Err(error),
        };
        if !later {
            return Ok(false);
        }
        match self.attempt_again(&place, epoch)? {
            Attempt::Complete => return Ok(true),
            Attempt::Incomplete => return Err(self.damaged(&place, place.offset, Damage::AfterHole)),
            Attempt::Absent => {}
        }
        // A later segment has begun, so nothing more will be written to this one.
        self.expect_zeros_from(&place, place.offset)?;
        let mut next = open_segment(&self.storage, place.index + 1, self.access, self.sequence)?;
        let header = match self.segment_header(&next) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(false),
            Err(error) if is_sector_damage(&error) => {
                next.offset = SECTOR;
                if !(self.has_begun(next.index + 1)? || self.has_block_after(&next)?) {
                    return Ok(false);
                }
                match self.segment_header(&next)? {
                    Some(header) => header,
                    None => return Err(self.damaged(&next, 0, Damage::AfterHole)),
                }
            }
            Err(error) => return Err(error),
        };
        self.check_successor(&next, &header)?;
        next.offset = SECTOR;
        self.block_head.epoch = header.epoch;
        self.place = next;
        self.next_block_shared()
    }

    /// Decides how the journal ends. Gives a wrong answer while somebody writes.
    pub fn tail_alone(&mut self) -> Result<Option<Tail>, OpenError> {
        self.window.length = 0;
        self.next_block_alone()
    }

    /// Reads the block at a place afresh.
    fn attempt_again(&mut self, place: &Place<S::Segment>, epoch: Epoch) -> Result<Attempt, OpenError> {
        self.window.length = 0;
        self.attempt(place, epoch)
    }

    /// Reads the block at a place and verifies it; if it is complete, goes on behind it.
    fn attempt(&mut self, place: &Place<S::Segment>, epoch: Epoch) -> Result<Attempt, OpenError> {
        let Place { index, bytes, offset, .. } = *place;
        if offset + SECTOR > bytes {
            return Ok(Attempt::Absent);
        }
        let first = (offset / SECTOR) as u32;
        self.load(place, offset, SECTOR_BYTES)?;
        let sector = self.window.get(index, offset, SECTOR_BYTES).expect("the sector was loaded");
        match sector_state(sector, SectorPlace { segment: index, first, sector: first }) {
            SectorState::Good => {}
            SectorState::Zero => return Ok(Attempt::Absent),
            SectorState::Bad => return Err(self.damaged(place, offset, Damage::Sector)),
        }
        let header = BlockHeader::decode(sector).map_err(|damage| self.damaged(place, offset, damage))?;
        self.check_block(place, &header, epoch).map_err(|damage| self.damaged(place, offset, damage))?;
        let block_bytes = BLOCK_HEADER_BYTES + header.records_bytes as usize;
        let sectors = sectors_of(block_bytes);
        if offset + sectors as u64 * SECTOR > bytes {
            return Err(self.damaged(place, offset, Damage::Length));
        }

        self.load(place, offset, sectors * SECTOR_BYTES)?;
        let window = self.window.get(index, offset, sectors * SECTOR_BYTES).expect("the block was loaded");
        self.block.clear();
        let mut complete = true;
        for (sector, number) in window.chunks_exact(SECTOR_BYTES).zip(first..) {
            match sector_state(sector, SectorPlace { segment: index, first, sector: number }) {
                SectorState::Good => self.block.extend_from_slice(&sector[..SECTOR_PAYLOAD_BYTES]),
                SectorState::Zero => complete = false,
                SectorState::Bad => return Err(self.damaged(place, u64::from(number) * SECTOR, Damage::Sector)),
            }
        }
        if !complete {
            return Ok(Attempt::Incomplete);
        }
        self.block.truncate(block_bytes);
        self.record_at = BLOCK_HEADER_BYTES;
        self.records_left = header.records;
        self.block_head = Head {
            sequence: Sequence(header.first_sequence.0 + u64::from(header.records) - 1),
            hash: ChainHash(*blake3::hash(&self.block).as_bytes()),
            epoch: header.epoch,
        };
        self.place = Place { offset: offset + sectors as u64 * SECTOR, ..place.clone() };
        Ok(Attempt::Complete)
    }

    fn check_block(&self, place: &Place<S::Segment>, header: &BlockHeader, epoch: Epoch) -> Result<(), Damage> {
        if header.offset != place.offset {
            return Err(Damage::Misplaced { found: header.offset });
        }
        if header.previous != self.block_head.hash {
            return Err(Damage::Chain { expected: self.block_head.hash, found: header.previous });
        }
        let expected = self.block_head.sequence.next();
        if header.first_sequence != expected {
            return Err(Damage::Gap { expected, found: header.first_sequence });
        }
        // The first block of a segment was written with its header, and has its epoch.
        let with_header = place.index > 0 && place.offset == SECTOR;
        if header.epoch != epoch && (with_header || header.epoch != epoch.next()) {
            return Err(Damage::Epoch { after: epoch, found: header.epoch });
        }
        if header.records == 0 || header.first_sequence.0.checked_add(u64::from(header.records)).is_none() {
            return Err(Damage::Length);
        }
        Ok(())
    }

    /// Reads a segment's header, or `None` when its sector is zero.
    fn segment_header(&mut self, place: &Place<S::Segment>) -> Result<Option<SegmentHeader>, OpenError> {
        let index = place.index;
        if place.bytes < 2 * SECTOR || !place.bytes.is_multiple_of(SECTOR) {
            let damage = Damage::SegmentLength { expected: place.bytes.next_multiple_of(SECTOR), found: place.bytes };
            return Err(self.damaged(place, 0, damage));
        }
        self.window.length = 0;
        self.load(place, 0, SECTOR_BYTES)?;
        let sector = self.window.get(index, 0, SECTOR_BYTES).expect("the sector was loaded");
        match sector_state(sector, SectorPlace { segment: index, first: 0, sector: 0 }) {
            SectorState::Good => {}
            SectorState::Zero => return Ok(None),
            SectorState::Bad => return Err(self.damaged(place, 0, Damage::Sector)),
        }
        let header = match SegmentHeader::decode(sector) {
            Ok(header) => header,
            Err(SegmentHeaderError::Damage(damage)) => return Err(self.damaged(place, 0, damage)),
            Err(SegmentHeaderError::Format(format)) => {
                return Err(OpenError::Format { file: self.storage.name(index), format });
            }
        };
        if header.index != index {
            return Err(self.damaged(place, 0, Damage::SegmentIndex { found: header.index }));
        }
        if header.segment_bytes != place.bytes {
            let damage = Damage::SegmentLength { expected: header.segment_bytes, found: place.bytes };
            return Err(self.damaged(place, 0, damage));
        }
        Ok(Some(header))
    }

    /// Checks that a segment follows the last block.
    fn check_successor(&self, place: &Place<S::Segment>, header: &SegmentHeader) -> Result<(), OpenError> {
        let Head { sequence, hash, epoch } = self.block_head;
        let damage = if header.journal_id != self.journal_id {
            Damage::Journal { expected: self.journal_id, found: header.journal_id }
        } else if header.previous != hash {
            Damage::Chain { expected: hash, found: header.previous }
        } else if header.first_sequence != sequence.next() {
            Damage::Gap { expected: sequence.next(), found: header.first_sequence }
        } else if header.epoch != epoch && header.epoch != epoch.next() {
            Damage::Epoch { after: epoch, found: header.epoch }
        } else {
            return Ok(());
        };
        Err(self.damaged(place, 0, damage))
    }

    /// Verifies that what follows the last block, from `place` on, is part of one write that never finished.
    fn torn(&mut self, place: &Place<S::Segment>) -> Result<Tail, OpenError> {
        // A segment's header is written with the first block, which begins behind it.
        let first = (place.offset / SECTOR).max(1) as u32;
        let mut sectors_max = u64::MAX;
        let mut end = place.offset;
        let mut offset = place.offset;
        while offset < place.bytes {
            self.load(place, offset, SECTOR_BYTES)?;
            let sector = self.window.get(place.index, offset, SECTOR_BYTES).expect("the sector was loaded");
            let number = (offset / SECTOR) as u32;
            let own = SectorPlace { segment: place.index, first: number, sector: number };
            let damage = match sector_state(sector, SectorPlace { first: first.min(number), ..own }) {
                SectorState::Zero => None,
                SectorState::Good if u64::from(number) >= u64::from(first).saturating_add(sectors_max) => {
                    Some(Damage::AfterHole)
                }
                SectorState::Good => {
                    if number == first {
                        let header =
                            BlockHeader::decode(sector).map_err(|damage| self.damaged(place, offset, damage))?;
                        sectors_max = sectors_of(BLOCK_HEADER_BYTES + header.records_bytes as usize) as u64;
                        let block = Place { offset, ..place.clone() };
                        // Under a header of its own the epoch may be the next one, as it may be anywhere else.
                        let epoch = if header.epoch == self.block_head.epoch.next() && place.offset == 0 {
                            header.epoch
                        } else {
                            self.block_head.epoch
                        };
                        self.check_block(&block, &header, epoch)
                            .map_err(|damage| self.damaged(place, offset, damage))?;
                    }
                    end = offset + SECTOR;
                    None
                }
                SectorState::Bad if sector_state(sector, own) == SectorState::Good => Some(Damage::AfterHole),
                SectorState::Bad => Some(Damage::Sector),
            };
            if let Some(damage) = damage {
                return Err(self.damaged(place, offset, damage));
            }
            offset += SECTOR;
        }
        self.expect_empty_from(place.index + 1)?;
        Ok(Tail::Torn(TornTail {
            file: self.storage.name(place.index),
            segment: place.index,
            offset: place.offset,
            bytes: end - place.offset,
            after_sequence: self.sequence,
        }))
    }

    /// Verifies that a segment holds nothing from `offset` on.
    fn expect_zeros_from(&mut self, place: &Place<S::Segment>, offset: u64) -> Result<(), OpenError> {
        match self.first_data(place, offset)? {
            None => Ok(()),
            Some(offset) => {
                let number = (offset / SECTOR) as u32;
                let own = SectorPlace { segment: place.index, first: number, sector: number };
                let sector = self.window.get(place.index, offset, SECTOR_BYTES).expect("the sector was loaded");
                let damage = match sector_state(sector, own) {
                    SectorState::Good => Damage::AfterHole,
                    _ => Damage::Sector,
                };
                Err(self.damaged(place, offset, damage))
            }
        }
    }

    /// Verifies that all segments from `index` on hold nothing.
    fn expect_empty_from(&mut self, index: u32) -> Result<(), OpenError> {
        for later in self.indexes()?.into_iter().filter(|&later| later >= index) {
            let place = open_segment(&self.storage, later, self.access, self.sequence)?;
            self.expect_zeros_from(&place, 0)?;
        }
        Ok(())
    }

    /// The offset of the first sector that is not zero, from `offset` on; it is then in the window.
    fn first_data(&mut self, place: &Place<S::Segment>, mut offset: u64) -> Result<Option<u64>, OpenError> {
        while offset + SECTOR <= place.bytes {
            self.load(place, offset, SECTOR_BYTES)?;
            let sector = self.window.get(place.index, offset, SECTOR_BYTES).expect("the sector was loaded");
            if !is_zero(sector) {
                return Ok(Some(offset));
            }
            offset += SECTOR;
        }
        Ok(None)
    }

    /// Whether something has been written to a segment's header.
    fn has_begun(&self, index: u32) -> Result<bool, OpenError> {
        if !self.indexes()?.contains(&index) {
            return Ok(false);
        }
        let place = open_segment(&self.storage, index, self.access, self.sequence)?;
        let mut sector = [0; SECTOR_BYTES];
        place.segment.read_exact_at(&mut sector, 0).map_err(|source| self.io_error(&place, 0, source))?;
        Ok(!is_zero(&sector))
    }

    /// Whether a block begins behind the first sector of the one at `place`, in the same segment.
    fn has_block_after(&mut self, place: &Place<S::Segment>) -> Result<bool, OpenError> {
        self.window.length = 0;
        let mut offset = place.offset + SECTOR;
        while let Some(found) = self.first_data(place, offset)? {
            let number = (found / SECTOR) as u32;
            let sector = self.window.get(place.index, found, SECTOR_BYTES).expect("the sector was loaded");
            let own = SectorPlace { segment: place.index, first: number, sector: number };
            if sector_state(sector, own) == SectorState::Good {
                return Ok(true);
            }
            offset = found + SECTOR;
        }
        Ok(false)
    }

    /// Reads so that the window has `bytes` from `offset`.
    fn load(&mut self, place: &Place<S::Segment>, offset: u64, bytes: usize) -> Result<(), OpenError> {
        if self.window.get(place.index, offset, bytes).is_some() {
            return Ok(());
        }
        let rest = place.bytes - offset;
        let length = bytes.max(usize::try_from(rest).map_or(READ_BYTES, |rest| rest.min(READ_BYTES)));
        if self.window.buffer.len() < length {
            self.window.buffer.resize(length, 0);
        }
        self.window.length = 0;
        let buffer = &mut self.window.buffer[..length];
        if let Err(source) = place.segment.read_exact_at(buffer, offset) {
            return Err(self.io_error(place, offset, source));
        }
        self.window.segment = place.index;
        self.window.offset = offset;
        self.window.length = length;
        Ok(())
    }

    /// The indexes of all segments.
    fn indexes(&self) -> Result<Vec<u32>, OpenError> {
        self.storage.segments().map_err(|source| io_error(&self.storage, None, 0, self.sequence, source))
    }

    fn damaged(&self, place: &Place<S::Segment>, offset: u64, damage: Damage) -> OpenError {
        OpenError::Damaged { file: self.storage.name(place.index), offset, after: self.sequence, damage }
    }

    fn io_error(&self, place: &Place<S::Segment>, offset: u64, source: io::Error) -> OpenError {
        io_error(&self.storage, Some(place.index), offset, self.sequence, source)
    }
}

/// What could also be a write under way.
fn is_sector_damage(error: &OpenError) -> bool {
    matches!(error, OpenError::Damaged { damage: Damage::Sector, .. })
}

pub(super) fn io_error<S: Storage>(
    storage: &S,
    index: Option<u32>,
    offset: u64,
    after: Sequence,
    source: io::Error,
) -> OpenError {
    let file = index.map_or_else(|| storage.name(0), |index| storage.name(index));
    OpenError::Io { file, offset, after, source }
}

/// Opens a segment. Where it can be written, it is synced first, so that what is read from it is durable, whatever
/// durability the process had that wrote it.
fn open_segment<S: Storage>(
    storage: &S,
    index: u32,
    access: Access,
    after: Sequence,
) -> Result<Place<S::Segment>, OpenError> {
    let open = || -> io::Result<(S::Segment, u64)> {
        let segment = storage.open(index, access)?;
        if access != Access::Read {
            segment.sync()?;
        }
        let bytes = segment.bytes()?;
        Ok((segment, bytes))
    };
    let (segment, bytes) = open().map_err(|source| io_error(storage, Some(index), 0, after, source))?;
    Ok(Place { segment: Arc::new(segment), index, bytes, offset: 0 })
}
