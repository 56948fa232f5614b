//! Pruning: whole segments that only history before a kept snapshot needs are removed.
//!
//! What was pruned is recorded first, durably, in the file `PRUNED`, so that a segment that is lost is never taken for
//! one that was pruned. The record is text, and its last line the BLAKE3 of the lines before it:
//!
//! ```text
//! reprise pruned 1
//! before 12
//! kept 0 3 4
//! check 5f1c...
//! ```
//!
//! All segments with an index below `before` are pruned, except the kept ones. Segments from `before` on follow each
//! other without gaps. A crash between the record and the last removal leaves segments that the next pruning removes.
//!
//! What is kept: the segment that holds the older of two good snapshots' heads, and all later ones; segment 0, unless
//! asked otherwise; and where an epoch begins, the segment in which it does. Segments' headers name the epoch of their
//! first block only, so where two that follow each other differ, both are kept.
//!
//! Called by the operator's tool and by what runs on a schedule, also while the journal is written.

use std::{fmt::Write, io};

use super::{
    Epoch, Head, JournalReader, OpenError, SnapshotError, SnapshotName,
    scan::{io_error, read_header},
    snapshot::{check_snapshot, list_snapshots},
    storage::{NewFile, Segment, Storage},
};
use crate::types::Sequence;

/// The name of the record.
const FILE: &str = "PRUNED";
const TITLE: &str = "reprise pruned 1";

/// What becomes of the journal's first segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Genesis {
    /// It is kept.
    Keep,
    /// It is removed like others. What the first commands were can then only be known from a copy.
    Remove,
}

/// What was pruned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruning {
    /// The segments that were removed, ascending.
    pub removed: Vec<u32>,
    /// The segments before the first of history that are kept, ascending.
    pub kept: Vec<u32>,
    /// History begins with this segment.
    pub first_segment: u32,
    /// History begins with this sequence.
    pub first_sequence: Sequence,
}

/// Why nothing was pruned, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// There is no good snapshot of the head.
    #[error("no good snapshot ends at sequence {sequence} of epoch {epoch}: nothing can be pruned before it")]
    NoSnapshot {
        /// That of the head.
        sequence: Sequence,
        /// That of the head.
        epoch: Epoch,
    },
    /// It would leave the exchange with a single good snapshot.
    #[error("no good snapshot is newer than sequence {sequence}: two that are kept must need nothing that is pruned")]
    LastSnapshot {
        /// That of the head.
        sequence: Sequence,
    },
    /// Snapshots cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The journal cannot be read or changed.
    #[error(transparent)]
    Journal(#[from] OpenError),
}

/// Removes the segments that end before `before`, the head of a snapshot. That snapshot and a newer one must be good, by
/// [`check_snapshot`]. The journal can then be opened from either, and no longer in full.
///
/// # Errors
/// [`PruneError`]. Pruning that failed half-way can be repeated, and nothing that is needed is gone.
pub fn prune<S: Storage>(storage: &S, before: Head, genesis: Genesis) -> Result<Pruning, PruneError> {
    let names = list_snapshots(storage)?;
    let own = check_snapshot(storage, SnapshotName { epoch: before.epoch, sequence: before.sequence });
    if !own.is_ok_and(|header| header.head() == before) {
        return Err(PruneError::NoSnapshot { sequence: before.sequence, epoch: before.epoch });
    }
    if !names.iter().any(|&name| name.sequence > before.sequence && check_snapshot(storage, name).is_ok()) {
        return Err(PruneError::LastSnapshot { sequence: before.sequence });
    }
    // Verified once more, to know the segment that holds the head.
    let until = JournalReader::open_after(storage.clone(), before)?.segment_index();

    let failed = |source| io_error(storage, None, 0, before.sequence, source);
    let mut record = Record::read(storage)?.unwrap_or_default();
    let mut epoch = None;
    for index in record.before..=until {
        let header = read_header(storage, index)?;
        if epoch.is_some_and(|(_, epoch)| epoch != header.epoch) {
            record.kept.extend([index - 1, index]);
        }
        epoch = Some((header.first_sequence, header.epoch));
    }
    let first_sequence = epoch.map_or(Sequence(1), |(first, _)| first);
    match genesis {
        Genesis::Keep if record.before == 0 && until > 0 => record.kept.push(0),
        Genesis::Keep => {}
        Genesis::Remove => {
            // An epoch can begin there, too; then the segment behind it is kept for the same reason.
            let begins = record.kept.contains(&0)
                && record.kept.contains(&1)
                && read_header(storage, 0)?.epoch != read_header(storage, 1)?.epoch;
            record.kept.retain(|&index| index > 0 || begins);
        }
    }
    record.before = record.before.max(until);
    record.kept.sort_unstable();
    record.kept.dedup();

    let is_pruned = |index: &u32| *index < record.before && !record.kept.contains(index);
    let removed: Vec<u32> = storage.segments().map_err(failed)?.into_iter().filter(is_pruned).collect();
    if !removed.is_empty() {
        record.write(storage).map_err(failed)?;
        removed.iter().try_for_each(|&index| storage.remove(index)).map_err(failed)?;
    }
    let kept = record.kept.iter().copied().filter(|&index| index < record.before).collect();
    Ok(Pruning { removed, kept, first_segment: record.before, first_sequence })
}

/// What has been pruned so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The segment that history begins with.
    pub before: u32,
    /// What is kept all the same, and perhaps segments from `before` on that must be kept later; ascending.
    pub kept: Vec<u32>,
}

impl Record {
    /// Reads the record, if anything was ever pruned.
    pub fn read<S: Storage>(storage: &S) -> Result<Option<Self>, OpenError> {
        let read = || -> io::Result<Vec<u8>> {
            let file = storage.open_file(FILE)?;
            let mut bytes = vec![0; usize::try_from(file.bytes()?).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let file = storage.file_name(FILE);
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { file, offset: 0, after: Sequence(0), source }),
        };
        let parsed = String::from_utf8(bytes).ok().and_then(|text| Self::parse(&text));
        parsed.map(Some).ok_or(OpenError::BadRecord { file })
    }

    fn write<S: Storage>(&self, storage: &S) -> io::Result<()> {
        let mut file = storage.create_file(FILE)?;
        io::Write::write_all(&mut file, self.to_text().as_bytes())?;
        file.publish()
    }

    fn to_text(&self) -> String {
        let kept: String = self.kept.iter().fold(String::new(), |text, index| text + &format!(" {index}"));
        let mut text = format!("{TITLE}\nbefore {}\nkept{kept}\n", self.before);
        let check = blake3::hash(text.as_bytes()).to_hex();
        writeln!(text, "check {check}").expect("a text takes what is written");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let _title = lines.next()?;
        let before = lines.next()?.strip_prefix("before ")?.parse().ok()?;
        let kept = lines.next()?.strip_prefix("kept")?;
        let kept = kept.split_whitespace().map(|index| index.parse().ok()).collect::<Option<_>>()?;
        let record = Self { before, kept };
        (record.to_text() == text).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::MemoryStorage;

    #[test]
    fn a_record_comes_back_and_every_flipped_bit_is_refused() {
        let storage = MemoryStorage::default();
        assert_eq!(Record::read(&storage).unwrap(), None);
        for kept in [vec![], vec![0], vec![0, 3, 4]] {
            let record = Record { before: 12, kept };
            record.write(&storage).unwrap();
            assert_eq!(Record::read(&storage).unwrap(), Some(record));
        }
        let bytes = storage.file(FILE).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            storage.replace_file(FILE, flipped);
            let error = Record::read(&storage).unwrap_err();
            assert_eq!(error.to_string(), "memory/PRUNED is not what was written: restore it from a copy");
        }
    }
}
