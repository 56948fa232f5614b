//! Format 1, byte by byte. Permanent: a golden-byte test pins it. All numbers are little-endian.
//!
//! **Sector**, the unit that a device writes whole or not at all: 512 bytes.
//!
//! ```text
//! 0                                                              508        512
//! │ payload                                                       │ check u32 │
//! ```
//!
//! `check` is the CRC-32C of segment index `u32`, sector number `u32`, number of the block's first sector `u32`, and
//! payload, so that a sector in the wrong place, or of another block, is seen; a check of 0 is stored as
//! [`CHECK_OF_ZERO`], so no sector is all zero. The segment header counts as its own first sector.
//!
//! **Segment header**: the payload of sector 0.
//!
//! ```text
//!  0 magic "REPRISEJ"           32 segment length in bytes u64
//!  8 format u32 = 1             40 journal id, 16 bytes
//! 12 epoch u32                  56 hash of the last block of the segment before, 32 bytes
//! 16 segment index u32          88 zeros to 508
//! 20 zeros, 4 bytes
//! 24 first sequence u64
//! ```
//!
//! In segment 0 the hash is [`JournalId::genesis`], and the header is written alone when the journal is created. In
//! every other it is written together with the first block.
//!
//! **Block**: header and records, cut into the payloads of consecutive sectors, the last one filled with zeros. Its hash
//! is the BLAKE3 of header and records, without what fills the sector and without the sectors' checks.
//!
//! ```text
//!  0 magic "RBLK"               24 count of records u32, at least 1
//!  4 bytes of all records u32   28 epoch u32
//!  8 offset in the segment u64  32 hash of the block before, 32 bytes
//! 16 first sequence u64         64 records, one after the other
//! ```
//!
//! **Record**:
//!
//! ```text
//!  0 bytes of the command u16   14 time u64, nanoseconds
//!  2 cause u32                  22 the command's canonical bytes
//!  6 sequence u64                + CRC-32C of all before it u32
//! ```

use super::{ChainHash, Damage, Epoch, JournalId};
use crate::{
    command::{Command, SequencedCommand},
    types::{
        Cause, Sequence, Timestamp,
        wire::{MESSAGE_BYTES_MAX, Writer},
    },
};

/// The format this code writes.
pub const FORMAT: u32 = 1;
/// Length of a sector.
pub const SECTOR_BYTES: usize = 512;
/// What a sector carries beside its check.
pub const SECTOR_PAYLOAD_BYTES: usize = SECTOR_BYTES - 4;
/// Length of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Length of a record without its command.
pub const RECORD_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + 4;
/// Length of the longest record.
pub const RECORD_BYTES_MAX: usize = RECORD_OVERHEAD_BYTES + MESSAGE_BYTES_MAX;
/// Stands for a check of zero. No single bit of a sector changes its check by this value.
pub const CHECK_OF_ZERO: u32 = u32::MAX;

const RECORD_HEADER_BYTES: usize = 22;
const SEGMENT_MAGIC: [u8; 8] = *b"REPRISEJ";
const BLOCK_MAGIC: [u8; 4] = *b"RBLK";

const _: () = assert!(MESSAGE_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(BLOCK_HEADER_BYTES <= SECTOR_PAYLOAD_BYTES, "the first sector holds the whole header");

/// How many sectors `bytes` of header and records fill.
#[must_use]
pub(super) const fn sectors_of(bytes: usize) -> usize {
    bytes.div_ceil(SECTOR_PAYLOAD_BYTES)
}

/// Where a sector belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectorPlace {
    /// The segment's index.
    pub segment: u32,
    /// The number of the first sector of its block.
    pub first: u32,
    /// Its own number in the segment.
    pub sector: u32,
}

/// What a sector was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectorState {
    /// Whole, and in its place.
    Good,
    /// All zero: never written.
    Zero,
    /// Anything else.
    Bad,
}

fn check_of(place: SectorPlace, payload: &[u8]) -> u32 {
    let mut seed = [0; 12];
    seed[..4].copy_from_slice(&place.segment.to_le_bytes());
    seed[4..8].copy_from_slice(&place.sector.to_le_bytes());
    seed[8..].copy_from_slice(&place.first.to_le_bytes());
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&seed);
    digest.update(payload);
    // A check of 32 bits, in a number of the longest that the library knows.
    match digest.finalize() as u32 {
        0 => CHECK_OF_ZERO,
        check => check,
    }
}

/// Fills one sector: at most [`SECTOR_PAYLOAD_BYTES`] of payload, zeros, check.
pub(super) fn seal_sector(sector: &mut [u8], place: SectorPlace, payload: &[u8]) {
    let (head, check) = sector.split_at_mut(SECTOR_PAYLOAD_BYTES);
    head[..payload.len()].copy_from_slice(payload);
    head[payload.len()..].fill(0);
    check.copy_from_slice(&check_of(place, head).to_le_bytes());
}

/// Finds out whether a sector is whole and in its place.
pub(super) fn sector_state(sector: &[u8], place: SectorPlace) -> SectorState {
    let (payload, check) = sector.split_at(SECTOR_PAYLOAD_BYTES);
    if check_of(place, payload) == u32::from_le_bytes(field(check, 0)) {
        SectorState::Good
    } else if is_zero(sector) {
        SectorState::Zero
    } else {
        SectorState::Bad
    }
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
    bytes.chunks(SECTOR_BYTES).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// `N` bytes from `at`, which the caller knows to be there.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub epoch: Epoch,
    pub index: u32,
    pub first_sequence: Sequence,
    pub segment_bytes: u64,
    pub journal_id: JournalId,
    pub previous: ChainHash,
}

/// Why a whole sector is no header of a segment.
#[derive(Clone, Debug)]
pub(super) enum SegmentHeaderError {
    Damage(Damage),
    Format(u32),
}

impl SegmentHeader {
    /// The length of what is encoded.
    pub const BYTES: usize = 88;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.index.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_sequence.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.journal_id.0);
        bytes[56..88].copy_from_slice(&self.previous.0);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentHeaderError> {
        if field(bytes, 0) != SEGMENT_MAGIC {
            return Err(SegmentHeaderError::Damage(Damage::Magic));
        }
        match u32::from_le_bytes(field(bytes, 8)) {
            FORMAT => {}
            format => return Err(SegmentHeaderError::Format(format)),
        }
        Ok(Self {
            epoch: Epoch(u32::from_le_bytes(field(bytes, 12))),
            index: u32::from_le_bytes(field(bytes, 16)),
            first_sequence: Sequence(u64::from_le_bytes(field(bytes, 24))),
            segment_bytes: u64::from_le_bytes(field(bytes, 32)),
            journal_id: JournalId(field(bytes, 40)),
            previous: ChainHash(field(bytes, 56)),
        })
    }
}

/// The beginning of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub records_bytes: u32,
    pub offset: u64,
    pub first_sequence: Sequence,
    pub records: u32,
    pub epoch: Epoch,
    pub previous: ChainHash,
}

impl BlockHeader {
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        bytes[..4].copy_from_slice(&BLOCK_MAGIC);
        bytes[4..8].copy_from_slice(&self.records_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_sequence.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.records.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[32..].copy_from_slice(&self.previous.0);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        if field(bytes, 0) != BLOCK_MAGIC {
            return Err(Damage::Magic);
        }
        Ok(Self {
            records_bytes: u32::from_le_bytes(field(bytes, 4)),
            offset: u64::from_le_bytes(field(bytes, 8)),
            first_sequence: Sequence(u64::from_le_bytes(field(bytes, 16))),
            records: u32::from_le_bytes(field(bytes, 24)),
            epoch: Epoch(u32::from_le_bytes(field(bytes, 28))),
            previous: ChainHash(field(bytes, 32)),
        })
    }
}

/// Writes a record at the beginning of `buffer` and returns its length, or `None` when it does not fit.
#[inline]
pub(super) fn encode_record(buffer: &mut [u8], command: &SequencedCommand) -> Option<usize> {
    let mut writer = Writer::default();
    command.command.encode(&mut writer);
    let message = writer.as_bytes();
    let checked = RECORD_HEADER_BYTES + message.len();
    let record = buffer.get_mut(..checked + 4)?;
    record[..2].copy_from_slice(&(message.len() as u16).to_le_bytes());
    record[2..6].copy_from_slice(&command.cause.to_raw().to_le_bytes());
    record[6..14].copy_from_slice(&command.sequence.0.to_le_bytes());
    record[14..22].copy_from_slice(&command.time.0.to_le_bytes());
    record[22..checked].copy_from_slice(message);
    let check = crc_fast::crc32_iscsi(&record[..checked]);
    record[checked..].copy_from_slice(&check.to_le_bytes());
    Some(checked + 4)
}

/// What stands where a record is going to be decoded.
pub(super) const PLACEHOLDER: SequencedCommand =
    SequencedCommand { sequence: Sequence(0), time: Timestamp(0), cause: Cause::session(0), command: Command::Tick {} };

/// Reads the record at the beginning of `bytes` into `command`, and gives its length.
#[inline]
pub(super) fn decode_record(bytes: &[u8], command: &mut SequencedCommand) -> Result<usize, Damage> {
    let (length, _) = bytes.split_first_chunk::<2>().ok_or(Damage::Length)?;
    let checked = RECORD_HEADER_BYTES + usize::from(u16::from_le_bytes(*length));
    let record = bytes.get(..checked + 4).ok_or(Damage::Length)?;
    if crc_fast::crc32_iscsi(&record[..checked]) != u32::from_le_bytes(field(record, checked)) {
        return Err(Damage::Record);
    }
    let cause = u32::from_le_bytes(field(record, 2));
    command.sequence = Sequence(u64::from_le_bytes(field(record, 6)));
    command.time = Timestamp(u64::from_le_bytes(field(record, 14)));
    command.cause = Cause::from_raw(cause).ok_or(Damage::Cause(cause))?;
    Command::decode_into(&record[RECORD_HEADER_BYTES..checked], &mut command.command).map_err(Damage::Command)?;
    Ok(checked + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stand-in for zero would hide a flipped bit only if that bit alone changed the check by its value.
    #[test]
    fn no_single_bit_changes_the_check_by_the_stand_in_for_zero() {
        let mut payload = [0; SECTOR_PAYLOAD_BYTES];
        let plain = crc_fast::crc32_iscsi(&payload);
        for bit in 0..SECTOR_PAYLOAD_BYTES * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(crc_fast::crc32_iscsi(&payload) ^ plain, CHECK_OF_ZERO);
            payload[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// A sector is bound to its segment, its number and its block, and never all zero.
    #[test]
    fn a_sector_is_good_in_one_place_only() {
        let place = SectorPlace { segment: 3, first: 7, sector: 9 };
        let mut sector = [0; SECTOR_BYTES];
        assert_eq!(sector_state(&sector, place), SectorState::Zero);
        seal_sector(&mut sector, place, &[]);
        assert!(!is_zero(&sector));
        assert_eq!(sector_state(&sector, place), SectorState::Good);
        for other in [
            SectorPlace { segment: 4, ..place },
            SectorPlace { first: 8, ..place },
            SectorPlace { sector: 10, ..place },
            SectorPlace { first: 9, sector: 7, ..place },
        ] {
            assert_eq!(sector_state(&sector, other), SectorState::Bad);
        }
    }
}
