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
        BLOCK_HEADER_BYTES, BlockHeader, PLACEHOLDER, SECTOR_BYTES, SECTOR_PAYLOAD_BYTES, SectorPlace, SectorState,
        SegmentHeader, SegmentHeaderError, decode_record, is_zero, sector_state, sectors_of,
    },
    prune::Record,
    storage::{Access, PageBuffer, Segment, Storage},
};
use crate::{
    command::SequencedCommand,
    types::{Sequence, Timestamp},
};

/// How much is read ahead, unless a block is longer.
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

/// Where what is good ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct GoodEnd {
    pub head: Head,
    pub segment: u32,
    pub offset: u64,
}

/// Bytes of a segment, read ahead.
#[derive(Debug, Default)]
struct Window {
    /// Read from the beginning of a page of the file, as it begins at one in memory: else the kernel's copies collapse, as
    /// [`PageBuffer`] tells.
    buffer: PageBuffer,
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
    /// The block is whole, and is in `Scan::block`.
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
    /// Starts at the beginning of history. `None` when no journal was created here; then, unless access is for
    /// reading only, every segment is known to be all zero.
    pub fn open(storage: S, access: Access) -> Result<Option<Self>, OpenError> {
        let indexes = listing(&storage)?;
        let Some(&first) = indexes.first() else { return Ok(None) };
        let mut scan = Self::unstarted(storage, access, first)?;
        let place = scan.place.clone();
        let Some(header) = scan.segment_header(&place)? else {
            if first > 0 {
                return Err(scan.damaged(&place, 0, Damage::AfterHole));
            }
            if access != Access::Read {
                scan.expect_zeros_from(&place, 0)?;
                scan.expect_empty_from(1)?;
            }
            return Ok(None);
        };
        if first > 0 {
            return Err(OpenError::Pruned { first: header.first_sequence });
        }
        scan.start(place, &header)?;
        Ok(Some(scan))
    }

    /// Starts at the first segment of history that is there, pruned or not, and without asking whether others are missing.
    pub fn open_damaged(storage: S) -> Result<Option<Self>, OpenError> {
        let first = Record::read(&storage)?.map_or(0, |record| record.before);
        let mut scan = Self::unstarted(storage, Access::Read, first)?;
        let place = scan.place.clone();
        let Some(header) = scan.segment_header(&place)? else { return Ok(None) };
        scan.start(place, &header)?;
        Ok(Some(scan))
    }

    /// Starts at the segment that holds `after`, or at that of `after + 1` where history begins with it. Which one
    /// that is, is found by the segments' headers: one that is unwritten or damaged counts as a later one, so that the
    /// walk comes upon it.
    pub fn open_at(storage: S, access: Access, after: Sequence) -> Result<Self, OpenError> {
        let indexes = listing(&storage)?;
        let missing = OpenError::Missing { place: storage.name(0) };
        let Some(&first) = indexes.first() else { return Err(missing) };
        let mut scan = Self::unstarted(storage, access, first)?;
        let (mut low, mut high) = (0, indexes.len());
        while high - low > 1 {
            let middle = low.midpoint(high);
            let place = open_segment(&scan.storage, indexes[middle], Access::Read, Sequence(0))?;
            let begins_in_time = match scan.segment_header(&place) {
                Ok(header) => header.is_some_and(|header| header.first_sequence <= after),
                Err(OpenError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            };
            if begins_in_time {
                low = middle;
            } else {
                high = middle;
            }
        }
        let place = match low {
            0 => scan.place.clone(),
            _ => open_segment(&scan.storage, indexes[low], access, Sequence(0))?,
        };
        let Some(header) = scan.segment_header(&place)? else {
            return Err(if place.index == 0 { missing } else { scan.damaged(&place, 0, Damage::AfterHole) });
        };
        if header.first_sequence > after.next() {
            return Err(OpenError::Pruned { first: header.first_sequence });
        }
        scan.start(place, &header)?;
        Ok(scan)
    }

    fn unstarted(storage: S, access: Access, index: u32) -> Result<Self, OpenError> {
        let place = open_segment(&storage, index, access, Sequence(0))?;
        let head = Head { sequence: Sequence(0), hash: ChainHash([0; 32]), epoch: Epoch::FIRST };
        Ok(Self {
            storage,
            access,
            place,
            journal_id: JournalId([0; 16]),
            window: Window::default(),
            block: Vec::new(),
            record_at: 0,
            records_left: 0,
            block_head: head,
            head,
            sequence: Sequence(0),
            time: Timestamp(0),
        })
    }

    /// Goes to the first block of a segment, taking the header's word for what came before it.
    fn start(&mut self, place: Place<S::Segment>, header: &SegmentHeader) -> Result<(), OpenError> {
        if place.index == 0 {
            let expected = header.journal_id.genesis();
            if header.previous != expected {
                return Err(self.damaged(&place, 0, Damage::Chain { expected, found: header.previous }));
            }
            if header.first_sequence != Sequence(1) {
                let damage = Damage::Gap { expected: Sequence(1), found: header.first_sequence };
                return Err(self.damaged(&place, 0, damage));
            }
        }
        let Some(before) = header.first_sequence.0.checked_sub(1) else {
            let damage = Damage::Gap { expected: Sequence(1), found: header.first_sequence };
            return Err(self.damaged(&place, 0, damage));
        };
        self.journal_id = header.journal_id;
        self.sequence = Sequence(before);
        self.block_head = Head { sequence: self.sequence, hash: header.previous, epoch: header.epoch };
        self.head = self.block_head;
        self.place = Place { offset: SECTOR, ..place };
        Ok(())
    }

    /// Checks that the block which ended last is the one that `anchor` names.
    pub fn check_anchor(&self, anchor: Head) -> Result<(), OpenError> {
        // The header of a segment names the hash of the block before, and not its epoch.
        if self.place.index > 0 && self.place.offset == SECTOR {
            return Err(OpenError::Pruned { first: self.head.sequence.next() });
        }
        if self.head == anchor {
            Ok(())
        } else {
            Err(OpenError::Anchor { anchor: anchor.into(), found: self.head.into() })
        }
    }

    /// The last block whose commands have all been handed out.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The last command handed out, or that before the first.
    pub const fn sequence(&self) -> Sequence {
        self.sequence
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

    /// What is good when the walk has come upon damage: all blocks, except one whose records are wrong.
    pub fn block_before_damage(&self) -> GoodEnd {
        let is_whole = self.records_left == 0;
        let block = if is_whole { 0 } else { (sectors_of(self.block.len()) * SECTOR_BYTES) as u64 };
        GoodEnd { head: self.head, segment: self.place.index, offset: self.place.offset - block }
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
        let mut command = PLACEHOLDER;
        match self.decode_next(&mut command) {
            Ok(()) => Ok(Some(command)),
            Err(damage) => Err(self.damaged_in_block(damage)),
        }
    }

    /// Adds the next commands of the block being handed out to `batch`, until it holds `most` or a block must be read.
    pub fn take_from_block(&mut self, batch: &mut Vec<SequencedCommand>, most: usize) -> Result<(), OpenError> {
        let held = batch.len();
        let wanted = most.saturating_sub(held).min(self.records_left as usize);
        batch.resize(held + wanted, PLACEHOLDER);
        for index in held..held + wanted {
            if let Err(damage) = self.decode_next(&mut batch[index]) {
                batch.truncate(index);
                return Err(self.damaged_in_block(damage));
            }
        }
        Ok(())
    }

    /// The block has been passed already: what is wrong is inside it, at the sector of the record.
    #[cold]
    fn damaged_in_block(&self, damage: Damage) -> OpenError {
        let end = self.place.offset;
        let begin = end - (sectors_of(self.block.len()) * SECTOR_BYTES) as u64;
        let sector = (self.record_at.min(self.block.len() - 1) / SECTOR_PAYLOAD_BYTES) as u64;
        self.damaged(&self.place, begin + sector * SECTOR, damage)
    }

    #[inline]
    fn decode_next(&mut self, command: &mut SequencedCommand) -> Result<(), Damage> {
        let bytes = decode_record(&self.block[self.record_at..], command)?;
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
        Ok(())
    }

    /// Passes over what is left of the block being handed out.
    pub fn pass_block(&mut self) {
        self.records_left = 0;
        self.sequence = self.block_head.sequence;
        self.head = self.block_head;
    }

    /// Reads the next block when nobody else writes, or finds out how the journal ends.
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
        match self.attempt_beside(&place, self.block_head.epoch)? {
            None => return Ok(false),
            Some(Attempt::Complete) => return Ok(true),
            Some(_) => {}
        }
        // A later segment has begun, so nothing more will be written to this one.
        self.expect_zeros_from(&place, place.offset)?;
        let mut next = open_segment(&self.storage, place.index + 1, self.access, self.sequence)?;
        next.offset = SECTOR;
        let header = match self.segment_header(&next) {
            Ok(Some(header)) => header,
            Err(error) if !is_sector_damage(&error) => return Err(error),
            _ if !self.has_begun(next.index + 1)? && !self.has_block_after(&next)? => return Ok(false),
            _ => match self.segment_header(&next)? {
                Some(header) => header,
                None => return Err(self.damaged(&next, 0, Damage::AfterHole)),
            },
        };
        self.check_successor(&next, &header)?;
        // Until its first block is complete, the segment can still turn out to be torn, and be cleared.
        match self.attempt_beside(&next, header.epoch)? {
            None => Ok(false),
            Some(Attempt::Complete) => Ok(true),
            Some(_) => Err(self.damaged(&next, next.offset, Damage::AfterHole)),
        }
    }

    /// Reads the block at a place while somebody may be writing it; `None` when that may be so. `Absent` then says
    /// that a later segment has begun.
    fn attempt_beside(&mut self, place: &Place<S::Segment>, epoch: Epoch) -> Result<Option<Attempt>, OpenError> {
        if matches!(self.attempt(place, epoch), Ok(Attempt::Complete)) {
            return Ok(Some(Attempt::Complete));
        }
        let later = match self.attempt_again(place, epoch) {
            Ok(Attempt::Complete) => return Ok(Some(Attempt::Complete)),
            Ok(Attempt::Absent) => self.has_begun(place.index + 1)?,
            Ok(Attempt::Incomplete) => self.has_begun(place.index + 1)? || self.has_block_after(place)?,
            Err(error) if is_sector_damage(&error) => {
                self.has_begun(place.index + 1)? || self.has_block_after(place)?
            }
            Err(error) => return Err(error),
        };
        if !later {
            return Ok(None);
        }
        // What came before a later write is finished, and can be seen whole by now.
        match self.attempt_again(place, epoch)? {
            Attempt::Incomplete => Err(self.damaged(place, place.offset, Damage::AfterHole)),
            attempt => Ok(Some(attempt)),
        }
    }

    /// Decides how the journal ends. Gives a wrong answer while somebody writes.
    pub fn tail_alone(&mut self) -> Result<Option<Tail>, OpenError> {
        self.window.length = 0;
        self.next_block_alone()
    }

    /// Reads the block at a place afresh. Reads one sector first, as it is mostly called where nothing is yet.
    fn attempt_again(&mut self, place: &Place<S::Segment>, epoch: Epoch) -> Result<Attempt, OpenError> {
        if place.offset + SECTOR <= place.bytes {
            self.load_exactly(place, place.offset, SECTOR_BYTES)?;
        }
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
        let fits = if with_header { header.epoch == epoch } else { header.epoch.can_follow(epoch) };
        if !fits {
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
        } else if !header.epoch.can_follow(epoch) {
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
                        // A header that did not arrive may have begun the next epoch.
                        let before = self.block_head.epoch;
                        let begins = place.offset == 0 && header.epoch.can_follow(before);
                        let epoch = if begins { header.epoch } else { before };
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

    /// Whether something has been written to the header of a segment from `first` on.
    fn has_begun(&self, first: u32) -> Result<bool, OpenError> {
        let mut sector = [0; SECTOR_BYTES];
        for index in first.. {
            match self.storage.open(index, Access::Read).and_then(|segment| segment.read_exact_at(&mut sector, 0)) {
                Ok(()) if is_zero(&sector) => {}
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(source) => return Err(io_error(&self.storage, Some(index), 0, self.sequence, source)),
            }
        }
        Ok(false)
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
        let before = (offset % PageBuffer::PAGE_BYTES as u64) as usize;
        let offset = offset - before as u64;
        let rest = place.bytes - offset;
        let length = (before + bytes).max(usize::try_from(rest).map_or(READ_BYTES, |rest| rest.min(READ_BYTES)));
        self.load_exactly(place, offset, length)
    }

    /// Reads `length` bytes from `offset` into the window, and nothing else.
    fn load_exactly(&mut self, place: &Place<S::Segment>, offset: u64, length: usize) -> Result<(), OpenError> {
        if self.window.buffer.len() < length {
            self.window.buffer = PageBuffer::new(length);
        }
        self.window.length = 0;
        if let Err(source) = place.segment.read_exact_at(&mut self.window.buffer[..length], offset) {
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

/// The indexes of the segments that history is in, which follow each other from the first.
pub(super) fn listing<S: Storage>(storage: &S) -> Result<Vec<u32>, OpenError> {
    let nothing = Sequence(0);
    let mut indexes = storage.segments().map_err(|source| io_error(storage, None, 0, nothing, source))?;
    let first = Record::read(storage)?.map_or(0, |record| record.before);
    indexes.retain(|&index| index >= first);
    for (expected, &found) in (first..).zip(&indexes) {
        if expected != found {
            let damage = Damage::SegmentMissing { index: expected };
            return Err(OpenError::Damaged { file: storage.name(found), offset: 0, after: nothing, damage });
        }
    }
    if first > 0 && indexes.is_empty() {
        let damage = Damage::SegmentMissing { index: first };
        return Err(OpenError::Damaged { file: storage.name(first), offset: 0, after: nothing, damage });
    }
    Ok(indexes)
}

/// Checks that no segment of history is missing between others.
pub(super) fn check_listing<S: Storage>(storage: &S) -> Result<(), OpenError> {
    listing(storage).map(drop)
}

/// Reads the header of one segment, which must have one.
pub(super) fn read_header<S: Storage>(storage: &S, index: u32) -> Result<SegmentHeader, OpenError> {
    let mut scan = Scan::unstarted(storage.clone(), Access::Read, index)?;
    let place = scan.place.clone();
    scan.segment_header(&place)?.ok_or_else(|| scan.damaged(&place, 0, Damage::AfterHole))
}

/// Reads the header of one segment; `None` when none is written yet, or its write may be under way.
pub(super) fn header_if_begun<S: Storage>(storage: &S, index: u32) -> Result<Option<SegmentHeader>, OpenError> {
    let mut scan = Scan::unstarted(storage.clone(), Access::Read, index)?;
    let place = scan.place.clone();
    match scan.segment_header(&place) {
        Err(error) if is_sector_damage(&error) && !scan.has_begun(index + 1)? => Ok(None),
        header => header,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::Command,
        journal::{Journal, MemoryStorage, Options, layout::seal_sector},
        types::{AccountId, Cause},
    };

    const PLACE: SectorPlace = SectorPlace { segment: 0, first: 2, sector: 2 };

    /// Three blocks of one sector in segment 0, and two in segment 1.
    fn journal() -> MemoryStorage {
        let storage = MemoryStorage::default();
        let options = Options { segment_bytes: 4 * SECTOR, block_bytes: 400, segments_ahead: 0, ..Options::default() };
        let mut journal = Journal::open(storage.clone(), options).unwrap().into_journal().unwrap();
        for block in 0..5 {
            for number in 1..=2 {
                let sequence = Sequence(block * 2 + number);
                let command = Command::CreateAccount { account: AccountId(sequence.0 as u32) };
                let (time, cause) = (Timestamp(sequence.0), Cause::operator(1));
                journal.append(&SequencedCommand { sequence, time, cause, command }).unwrap();
            }
            journal.commit().unwrap();
        }
        storage
    }

    /// Changes a sector and seals it again, as a bug in a writer would, and returns what a walk says.
    fn walk_after(place: SectorPlace, edit: impl FnOnce(&mut [u8])) -> OpenError {
        let storage = journal();
        let mut bytes = storage.contents(place.segment).unwrap();
        let sector = &mut bytes[place.sector as usize * SECTOR_BYTES..][..SECTOR_BYTES];
        let mut payload = sector[..SECTOR_PAYLOAD_BYTES].to_vec();
        edit(&mut payload);
        seal_sector(sector, place, &payload);
        storage.replace(place.segment, bytes);

        let seen_alone = Journal::open(storage.clone(), Options::default())
            .and_then(|mut opening| opening.try_for_each(|found| found.map(drop)));
        let seen_beside = super::super::JournalReader::open(storage)
            .and_then(|mut reader| reader.try_for_each(|found| found.map(drop)));
        let (alone, beside) = (seen_alone.unwrap_err(), seen_beside.unwrap_err());
        assert_eq!(alone.to_string(), beside.to_string());
        alone
    }

    fn damage_after(place: SectorPlace, edit: impl FnOnce(&mut [u8])) -> (u64, u64, Damage) {
        match walk_after(place, edit) {
            OpenError::Damaged { offset, after, damage, .. } => (offset, after.0, damage),
            error => panic!("{error}"),
        }
    }

    /// Changes the second record of the second block, of the account 4, and makes its check right again.
    fn damage_in_record(edit: impl FnOnce(&mut [u8])) -> (u64, u64, Damage) {
        damage_after(PLACE, |payload| {
            let record = &mut payload[BLOCK_HEADER_BYTES + 31..BLOCK_HEADER_BYTES + 62];
            edit(record);
            let check = crc_fast::crc32_iscsi(&record[..27]);
            record[27..].copy_from_slice(&check.to_le_bytes());
        })
    }

    #[test]
    fn a_block_that_is_whole_and_wrong_is_refused() {
        let (expected, found) = (Sequence(3), Sequence(4));
        assert_eq!(damage_after(PLACE, |block| block[0] = b'X'), (1024, 2, Damage::Magic));
        assert_eq!(damage_after(PLACE, |block| block[9] = 2), (1024, 2, Damage::Misplaced { found: 512 }));
        assert_eq!(damage_after(PLACE, |block| block[16] = 4), (1024, 2, Damage::Gap { expected, found }));
        assert_eq!(damage_after(PLACE, |block| block[24] = 0), (1024, 2, Damage::Length));
        assert_eq!(damage_after(PLACE, |block| block[6] = 1), (1024, 2, Damage::Length));
        for wrong in [0, 3] {
            let damage = Damage::Epoch { after: Epoch(1), found: Epoch(wrong) };
            assert_eq!(damage_after(PLACE, |block| block[28] = wrong as u8), (1024, 2, damage));
        }
        assert!(matches!(damage_after(PLACE, |block| block[40] ^= 1), (1024, 2, Damage::Chain { .. })));
        // One byte and one record more than there are, and one record fewer.
        assert_eq!(damage_after(PLACE, |block| block[4] += 1), (1024, 3, Damage::Length));
        assert_eq!(damage_after(PLACE, |block| block[24] = 3), (1024, 4, Damage::Length));
        assert_eq!(damage_after(PLACE, |block| block[24] = 1), (1024, 2, Damage::Length));
    }

    #[test]
    fn a_record_that_is_wrong_is_refused() {
        let (expected, found) = (Sequence(4), Sequence(5));
        let after = Timestamp(3);
        assert_eq!(damage_after(PLACE, |block| block[BLOCK_HEADER_BYTES + 50] ^= 1), (1024, 3, Damage::Record));
        assert_eq!(damage_in_record(|record| record[6] = 5), (1024, 3, Damage::Gap { expected, found }));
        assert_eq!(damage_in_record(|record| record[14] = 2), (1024, 3, Damage::Time { after, found: Timestamp(2) }));
        assert_eq!(damage_in_record(|record| record[5] = 0x40), (1024, 3, Damage::Cause(0x4000_0001)));
        let unknown = Damage::Command(crate::types::wire::WireError::UnknownKind(99));
        assert_eq!(damage_in_record(|record| record[22] = 99), (1024, 3, unknown));
        // Right in every respect but that it is not what was written.
        let (offset, after, damage) = damage_in_record(|record| record[23] = 77);
        assert_eq!((offset, after), (1536, 4));
        assert!(matches!(damage, Damage::Chain { .. }), "{damage}");
    }

    #[test]
    fn a_segment_that_is_whole_and_wrong_is_refused() {
        let place = SectorPlace { segment: 1, first: 0, sector: 0 };
        let gap = Damage::Gap { expected: Sequence(7), found: Sequence(8) };
        assert_eq!(damage_after(place, |header| header[0] = 0), (0, 6, Damage::Magic));
        assert_eq!(damage_after(place, |header| header[16] = 9), (0, 6, Damage::SegmentIndex { found: 9 }));
        assert_eq!(damage_after(place, |header| header[24] = 8), (0, 6, gap));
        assert!(matches!(damage_after(place, |header| header[32] = 1), (0, 6, Damage::SegmentLength { .. })));
        assert!(matches!(damage_after(place, |header| header[40] ^= 1), (0, 6, Damage::Journal { .. })));
        assert!(matches!(damage_after(place, |header| header[56] ^= 1), (0, 6, Damage::Chain { .. })));
        assert!(matches!(damage_after(place, |header| header[12] = 3), (0, 6, Damage::Epoch { .. })));
        // An epoch begins with a block, and the header has that of the first one.
        assert!(matches!(damage_after(place, |header| header[12] = 2), (512, 6, Damage::Epoch { .. })));
        assert!(matches!(walk_after(place, |header| header[8] = 2), OpenError::Format { format: 2, .. }));
        let block = SectorPlace { segment: 1, first: 1, sector: 1 };
        assert!(matches!(damage_after(block, |block| block[28] = 2), (512, 6, Damage::Epoch { .. })));

        let first = SectorPlace { segment: 0, first: 0, sector: 0 };
        assert!(matches!(damage_after(first, |header| header[56] ^= 1), (0, 0, Damage::Chain { .. })));
        assert!(matches!(damage_after(first, |header| header[40] ^= 1), (0, 0, Damage::Chain { .. })));
        assert!(matches!(damage_after(first, |header| header[24] = 2), (0, 0, Damage::Gap { .. })));
        assert!(matches!(walk_after(first, |header| header[8] = 2), OpenError::Format { format: 2, .. }));
    }

    /// Opens after `edit` of the last segment, and returns what is wrong with it.
    fn damage_in_tail(edit: impl FnOnce(&mut [u8])) -> (u64, u64, Damage) {
        let storage = journal();
        let mut bytes = storage.contents(1).unwrap();
        edit(&mut bytes);
        storage.replace(1, bytes);
        let mut opening = Journal::open(storage, Options::default()).unwrap();
        match opening.try_for_each(|found| found.map(drop)).unwrap_err() {
            OpenError::Damaged { offset, after, damage, .. } => (offset, after.0, damage),
            error => panic!("{error}"),
        }
    }

    #[test]
    fn a_torn_tail_that_is_wrong_is_refused() {
        // The segment's header did not arrive, and the block that did follows another one.
        let first = SectorPlace { segment: 1, first: 1, sector: 1 };
        let damage = damage_in_tail(|segment| {
            let mut payload = segment[SECTOR_BYTES..2 * SECTOR_BYTES - 4].to_vec();
            payload[40] ^= 1;
            segment[..3 * SECTOR_BYTES].fill(0);
            seal_sector(&mut segment[SECTOR_BYTES..2 * SECTOR_BYTES], first, &payload);
        });
        assert!(matches!(damage, (512, 6, Damage::Chain { .. })), "{damage:?}");

        // A block of two sectors, of which one is missing and a third one is there.
        let second = SectorPlace { segment: 1, first: 1, sector: 2 };
        let third = SectorPlace { sector: 3, ..second };
        let two_sectors = |segment: &mut [u8], extra: bool| {
            let mut payload = segment[SECTOR_BYTES..2 * SECTOR_BYTES - 4].to_vec();
            payload[5] = 2;
            segment[SECTOR_BYTES..].fill(0);
            seal_sector(&mut segment[SECTOR_BYTES..2 * SECTOR_BYTES], first, &payload);
            if extra {
                seal_sector(&mut segment[3 * SECTOR_BYTES..4 * SECTOR_BYTES], third, &[1]);
            }
        };
        assert_eq!(damage_in_tail(|segment| two_sectors(segment, true)), (1536, 6, Damage::AfterHole));
    }
}
