//! What can go wrong: when a journal is opened or read, and when it is written.

use std::{io, path::PathBuf};

use super::{ChainHash, Epoch, Head, JournalId};
use crate::types::{Sequence, Timestamp, wire::WireError};

/// What is wrong with bytes that should be a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A sector has data, and its check does not match the data and the place.
    #[error("the sector's check does not match its data and place")]
    Sector,
    /// Data follow sectors that hold nothing.
    #[error("data follow a hole of zeros")]
    AfterHole,
    /// No segment or block begins where one should.
    #[error("neither a segment nor a block begins here")]
    Magic,
    /// The segment is not the one its name says.
    #[error("the segment's header says that it is segment {found}")]
    SegmentIndex {
        /// What the header says.
        found: u32,
    },
    /// A segment before the last one is gone.
    #[error("segment {index} is missing")]
    SegmentMissing {
        /// The one that is missing.
        index: u32,
    },
    /// The file is not as long as it was made.
    #[error("the segment was made with {expected} bytes and has {found}")]
    SegmentLength {
        /// What the header says.
        expected: u64,
        /// The length of the file.
        found: u64,
    },
    /// The segment belongs to another journal.
    #[error("the segment belongs to journal {found}, not to {expected}")]
    Journal {
        /// The id in the first segment.
        expected: JournalId,
        /// The id here.
        found: JournalId,
    },
    /// The block was written for another place.
    #[error("the block was written for byte {found} of its segment")]
    Misplaced {
        /// The place it names.
        found: u64,
    },
    /// The block does not follow the one before it.
    #[error("the block or segment follows {found}, not {expected}")]
    Chain {
        /// The hash of the block before.
        expected: ChainHash,
        /// The hash it names.
        found: ChainHash,
    },
    /// The epoch is neither that of the block before nor the next.
    #[error("epoch {found} cannot follow epoch {after}")]
    Epoch {
        /// The epoch of the block before.
        after: Epoch,
        /// The epoch here.
        found: Epoch,
    },
    /// Sequences are missing or repeated.
    #[error("sequence {found} is found where {expected} should be")]
    Gap {
        /// The next in order.
        expected: Sequence,
        /// What is there.
        found: Sequence,
    },
    /// Time runs backwards.
    #[error("time {found} follows {after}")]
    Time {
        /// The time of the record before.
        after: Timestamp,
        /// The time here.
        found: Timestamp,
    },
    /// The lengths and counts in a block contradict each other.
    #[error("the lengths and counts of the block contradict each other")]
    Length,
    /// A record's check does not match its bytes.
    #[error("the record's check does not match its bytes")]
    Record,
    /// Reading stopped here at an error that was already reported.
    #[error("reading stopped here at an earlier error")]
    Unread,
    /// No cause has this number.
    #[error("no cause has the number {0}")]
    Cause(u32),
    /// The bytes are no command.
    #[error("the record holds no command: {0}")]
    Command(WireError),
}

/// Why a journal cannot be opened or read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The options contradict each other.
    #[error("{reason}")]
    Options {
        /// Which, and what to give instead.
        reason: String,
    },
    /// Another process, or another part of this one, has the journal open for writing.
    #[error("{} is in use by {}: stop it first", directory.display(), holder(*.process_id))]
    Locked {
        /// The journal.
        directory: PathBuf,
        /// Who holds it, if its lock file says so.
        process_id: Option<u32>,
    },
    /// There is no journal to read.
    #[error("{place} holds no journal")]
    Missing {
        /// Where.
        place: String,
    },
    /// What lies before was removed.
    #[error(
        "history begins at sequence {first}, as what came before was pruned: open the journal from a snapshot of that \
         sequence or a later one"
    )]
    Pruned {
        /// The first sequence that is left.
        first: Sequence,
    },
    /// The journal ends before the place from which it should be read.
    #[error("sequence {wanted} is not in the journal, which ends at {last}")]
    NotReached {
        /// Where reading should have begun.
        wanted: Sequence,
        /// The last sequence.
        last: Sequence,
    },
    /// The journal is not the history that a snapshot was made of.
    #[error("{}", anchor_mismatch(anchor, found))]
    Anchor {
        /// What was asked for.
        anchor: Box<Head>,
        /// The last block in the journal that ends at its sequence or before.
        found: Box<Head>,
    },
    /// A record beside the journal is not what was written.
    #[error("{file} is not what was written: restore it from a copy")]
    BadRecord {
        /// The file.
        file: String,
    },
    /// The operating system failed.
    #[error("{file} at byte {offset}, after sequence {after}: {source}")]
    Io {
        /// The file or directory.
        file: String,
        /// Bytes from its beginning, or 0 where it does not apply.
        offset: u64,
        /// The last sequence that was read.
        after: Sequence,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// What the journal holds cannot be gone over: the state that an epoch begins with is not to be had.
    #[error("the epoch that begins at sequence {sequence} cannot be entered: {source}")]
    Epoch {
        /// Where it begins.
        sequence: Sequence,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A later version wrote the journal.
    #[error("{file} has format {format}: this version reads format 1 only, take a later one")]
    Format {
        /// The segment.
        file: String,
        /// Its format.
        format: u32,
    },
    /// The journal holds what was never written. Nothing has been changed.
    #[error(
        "{file} at byte {offset}, after sequence {after}: {damage}; nothing was changed: restore the file from a copy"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Bytes from its beginning.
        offset: u64,
        /// The last sequence before the damage.
        after: Sequence,
        /// What is wrong.
        damage: Damage,
    },
}

fn anchor_mismatch(anchor: &Head, found: &Head) -> String {
    let sequence = anchor.sequence;
    if found.sequence != sequence {
        format!(
            "no block of the journal ends at sequence {sequence}: the last one before it ends at {}",
            found.sequence
        )
    } else if found.hash != anchor.hash {
        format!("the block that ends at sequence {sequence} has hash {}, not {}", found.hash, anchor.hash)
    } else {
        format!("the block that ends at sequence {sequence} is of epoch {}, not {}", found.epoch, anchor.epoch)
    }
}

fn holder(process_id: Option<u32>) -> String {
    process_id.map_or_else(|| "another process".to_owned(), |process_id| format!("process {process_id}"))
}

/// Why a command was not journaled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The block has no room for the record; commit, and append it again.
    #[error("the block is full with {buffered_bytes} bytes: commit first")]
    Full {
        /// What waits to be committed.
        buffered_bytes: usize,
    },
    /// A write or sync failed. What it held may or may not be on disk; the journal is poisoned.
    #[error("{file} at byte {offset}, after sequence {after}: {source}")]
    Io {
        /// The segment.
        file: String,
        /// Bytes from its beginning.
        offset: u64,
        /// The last sequence that was committed.
        after: Sequence,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// An earlier write or sync failed. Stop, look at the disk, and open the journal again.
    #[error("the journal stopped after sequence {after}, when a write failed: open it again")]
    Poisoned {
        /// The last sequence that was committed.
        after: Sequence,
    },
}
