//! The journal: every command the exchange took, in order, on disk before anything it caused leaves the process.
//!
//! ```text
//! LOCK               held by the one process that may write; its process id in text
//! 00000000.segment   ┌ segment header │ block │ block │ ... │ zeros ┐
//! 00000001.segment   │ the same; its header names the last block of the one before  │ chained by hash
//! 00000002.segment   └ zeros: prepared ahead of use                                 ┘
//! 00000003.preparing   being filled with zeros; removed when the journal is opened
//! 00000001-00000000000000012345.snapshot            the state at a sequence, see [`snapshot`]
//! 00000001-00000000000000012345.snapshot.writing    being written; removed when the journal is opened
//! 00000002-00000000000000023456.epoch               how an epoch began; see [`recovery`](crate::recovery)
//! ACCEPTED-LOSSES      what an operator has given up, see [`loss`]
//! 00000002.1.lost      a segment that was given up
//! PRUNED               which segments were removed, see [`prune()`]
//! ```
//!
//! A commit is one block in one write. It starts on a fresh sector, so no sector is ever rewritten, and every
//! sector checks itself and is never all zero ([`layout`] draws the bytes). As at most one write is in flight, an
//! incomplete last block means that the write never finished: it was never acknowledged, and is dropped and
//! reported as a [`TornTail`]. Whatever else is wrong refuses to open; nothing is truncated, nothing repaired.
//! What one disk cannot show is a whole write that it acknowledged and then lost at the very end.
//!
//! That one write is in flight holds under [`Durability::Sync`]. Under the other two a process may die at any time,
//! but a machine that loses its power may leave later blocks without earlier ones, which refuses to open.
//!
//! Never knows what a command means. Called by the pipeline's journaler (to append), by start-up (to replay), and
//! by snapshots, recovery and audit (to read aside).
//!
//! ```
//! use engine::{
//!     command::{Command, SequencedCommand},
//!     journal::{Journal, MemoryStorage, Options},
//!     types::{AccountId, Cause, Sequence, Timestamp},
//! };
//! let storage = MemoryStorage::default();
//! let command = SequencedCommand {
//!     sequence: Sequence(1),
//!     time: Timestamp(1_000),
//!     cause: Cause::operator(1),
//!     command: Command::CreateAccount { account: AccountId(7) },
//! };
//! let mut journal = Journal::open(storage.clone(), Options::default())?.into_journal()?;
//! journal.append(&command)?;
//! assert_eq!(journal.commit()?, Sequence(1));
//! journal.close()?;
//!
//! let mut opening = Journal::open(storage, Options::default())?;
//! let commands = opening.by_ref().collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(commands, [command]);
//! assert_eq!(opening.torn(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod background;
mod error;
mod handover;
pub mod layout;
mod look_back;
pub mod loss;
mod opening;
mod prune;
mod read_ahead;
mod reader;
mod scan;
pub mod snapshot;
mod space;
pub mod storage;
mod writer;

use std::{fmt, str::FromStr, time::Duration};

pub use error::{Damage, JournalError, OpenError};
pub(crate) use handover::{Giver, Taker, handover};
pub use look_back::{EpochStart, epoch_starts, journal_id, look_back};
pub use loss::{AcceptedLoss, LossError};
pub use opening::Opening;
pub use prune::{Genesis, PruneError, Pruning, prune};
pub use read_ahead::{CommandBatch, ReadAhead, ReadCommands};
pub use reader::JournalReader;
pub use scan::{Tail, TornTail};
pub use snapshot::{SnapshotError, SnapshotHeader, SnapshotName, SnapshotWriter};
pub use space::Headroom;
pub use storage::{FileStorage, MemoryStorage, Storage, WriteMethod, WriteMethodError};
pub use writer::Journal;

use crate::types::Sequence;
use layout::{BLOCK_HEADER_BYTES, RECORD_BYTES_MAX, SECTOR_BYTES, sectors_of};

/// A lineage of history: the first is 1, and every recovery starts the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch in which a journal is created.
    pub const FIRST: Self = Self(1);

    /// The epoch after this one.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Whether a block of this epoch can stand right behind one of `before`.
    const fn can_follow(self, before: Self) -> bool {
        self.0 == before.0 || (self.0 > before.0 && self.0 - before.0 == 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// The BLAKE3 hash of a block, which covers the hash of the block before it, and so all of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ChainHash(pub [u8; 32]);

impl fmt::Display for ChainHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// What tells one journal from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct JournalId(pub [u8; 16]);

impl JournalId {
    /// An id that no other journal has: a hash of the time in nanoseconds, the process and a counter.
    #[must_use]
    pub fn generate() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"reprise journal id");
        hasher.update(&since_epoch.as_nanos().to_le_bytes());
        hasher.update(&std::process::id().to_le_bytes());
        hasher.update(&COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// The hash that stands before the first block.
    #[must_use]
    pub fn genesis(self) -> ChainHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"reprise journal genesis");
        hasher.update(&self.0);
        ChainHash(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The end of a block: a point in history that a snapshot can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last sequence in the block, or 0 before the first command.
    pub sequence: Sequence,
    /// The block's hash, or [`JournalId::genesis`].
    pub hash: ChainHash,
    /// The block's epoch.
    pub epoch: Epoch,
}

/// What has happened when [`Journal::commit`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// The block is on the device: it survives a loss of power.
    Sync,
    /// The operating system has the block: it survives the process. It reaches the device within about
    /// [`Options::sync_interval`].
    Async,
    /// The operating system has the block, and writes it when it likes. For latency studies.
    None,
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::None => "none",
        })
    }
}

/// A text that is no [`Durability`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no durability: give sync, async or none")]
pub struct DurabilityError(pub String);

impl FromStr for Durability {
    type Err = DurabilityError;

    fn from_str(text: &str) -> Result<Self, DurabilityError> {
        match text {
            "sync" => Ok(Self::Sync),
            "async" => Ok(Self::Async),
            "none" => Ok(Self::None),
            _ => Err(DurabilityError(text.to_owned())),
        }
    }
}

/// How a journal is written. Nothing here changes how one is read: existing segments keep their length.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of the segments made from now on, in bytes: whole sectors, room for the header and the largest block.
    pub segment_bytes: u64,
    /// The most bytes of records that one commit can take, at least [`RECORD_BYTES_MAX`].
    pub block_bytes: usize,
    /// What a commit waits for.
    pub durability: Durability,
    /// How blocks reach the device under [`Durability::Sync`]; `None` for
    /// [the best there is where the journal lies](Storage::best_write_method).
    pub write_method: Option<WriteMethod>,
    /// How many segments are kept ready ahead of use by a thread of their own. With 0 there is no such thread:
    /// rolling over makes the next segment while the commit waits.
    ///
    /// They are what can still be written when the disk is suddenly full. From 2 on, the last one is used only then; a
    /// writer that is faster than they are made waits instead. So, once the first have been made, a whole segment can
    /// always be written.
    pub segments_ahead: usize,
    /// With less than this to append to, existing segments and free space together, [`Headroom::is_low`].
    pub low_space_bytes: u64,
    /// How often free space is looked at by the thread that keeps segments ready. Without it, it is looked at when the
    /// journal is opened, and whenever a segment is made.
    pub space_interval: Duration,
    /// How often written blocks are synced under [`Durability::Async`].
    pub sync_interval: Duration,
    /// The id of the journal, should it be created; else one is generated.
    pub journal_id: Option<JournalId>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            block_bytes: 1 << 20,
            durability: Durability::Sync,
            write_method: None,
            segments_ahead: 2,
            low_space_bytes: 256 << 20,
            space_interval: Duration::from_secs(1),
            sync_interval: Duration::from_millis(20),
            journal_id: None,
        }
    }
}

impl Options {
    /// Sectors that the largest block fills.
    fn block_sectors_max(&self) -> usize {
        sectors_of(BLOCK_HEADER_BYTES + self.block_bytes)
    }

    fn check(&self) -> Result<(), OpenError> {
        let refuse = |reason| Err(OpenError::Options { reason });
        if self.block_bytes < RECORD_BYTES_MAX {
            return refuse(format!("block_bytes is {}: one record takes {RECORD_BYTES_MAX}", self.block_bytes));
        }
        if self.block_bytes > 1 << 30 {
            return refuse(format!("block_bytes is {}: the most is {}", self.block_bytes, 1 << 30));
        }
        let least = (1 + self.block_sectors_max()) * SECTOR_BYTES;
        if self.segment_bytes < least as u64 || self.segment_bytes > 1 << 40 {
            let reason =
                format!("segment_bytes is {}: with this block_bytes {least} to {}", self.segment_bytes, 1u64 << 40);
            return refuse(reason);
        }
        if !self.segment_bytes.is_multiple_of(SECTOR_BYTES as u64) {
            return refuse(format!("segment_bytes is {}: give a multiple of {SECTOR_BYTES}", self.segment_bytes));
        }
        Ok(())
    }
}
