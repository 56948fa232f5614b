//! Snapshots of the state: made at the end of a block, verified when they are read.

use std::{hash::RandomState, io, thread};

use crate::{
    exchange::{Exchange, RestoreError, Restoring},
    journal::{
        Head, Journal, JournalId, JournalReader, OpenError, Opening, Options, Storage,
        snapshot::{SnapshotError, SnapshotHeader, SnapshotName, UncheckedSnapshot, list_snapshots, write_snapshot},
    },
    types::{Sequence, Timestamp},
};

/// A snapshot that was not used, and why.
#[derive(Debug)]
pub struct SkippedSnapshot {
    /// Which.
    pub name: SnapshotName,
    /// What is wrong with it.
    pub reason: SnapshotFault,
}

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotFault {
    /// The file cannot be read, or is not what was written.
    #[error(transparent)]
    File(#[from] SnapshotError),
    /// What it holds is no state.
    #[error(transparent)]
    State(#[from] RestoreError),
    /// What it holds has another hash than it says.
    #[error("its state has another hash than its header says")]
    StateHash,
    /// It is not of this journal's history.
    #[error(transparent)]
    Lineage(OpenError),
}

/// Writes the state of `exchange`, which comes after the block that ends at `head`, as a snapshot.
///
/// # Errors
/// When the file cannot be written; the exchange is not affected.
///
/// # Panics
/// When the exchange has not applied exactly what lies before `head`.
pub fn save_snapshot<S: Storage>(
    storage: &S,
    exchange: &Exchange,
    head: Head,
    time: Timestamp,
    journal_id: JournalId,
) -> Result<SnapshotHeader, SnapshotError> {
    assert_eq!(exchange.last_sequence(), head.sequence, "a snapshot is of the end of a block");
    let header = SnapshotHeader {
        epoch: head.epoch,
        sequence: head.sequence,
        time,
        journal_id,
        chain_hash: head.hash,
        state_hash: exchange.state_hash().0,
    };
    write_snapshot(storage, &header, |file| {
        let mut written = io::Result::Ok(());
        exchange.canonical_state(&mut |bytes| {
            if written.is_ok() {
                written = file.write_all(bytes);
            }
        });
        written
    })?;
    Ok(header)
}

/// A state read from a snapshot.
#[derive(Debug)]
pub struct LoadedSnapshot {
    /// The state.
    pub exchange: Exchange,
    /// What the snapshot says of itself.
    pub header: SnapshotHeader,
}

/// Reads a snapshot and verifies everything but its place in history.
///
/// # Errors
/// When the file is not what was written, or holds no state, or another than it says.
pub fn load_snapshot<S: Storage>(
    storage: &S,
    name: SnapshotName,
    hash_seed: u64,
) -> Result<LoadedSnapshot, SnapshotFault> {
    let read = UncheckedSnapshot::read(storage, name)?;
    // What is not a state is refused as such, whatever the checks say; so they can be made meanwhile.
    let (checked, restored) = thread::scope(|scope| {
        let checking = scope.spawn(|| {
            let header = read.check()?;
            let is_same = blake3::hash(read.payload()).as_bytes() == &header.state_hash;
            if is_same { Ok(header) } else { Err(SnapshotFault::StateHash) }
        });
        let restored =
            Exchange::from_canonical_state_by(read.payload(), name.sequence, hash_seed, &OnTwoThreads::default());
        (checking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), restored)
    });
    let header = checked?;
    Ok(LoadedSnapshot { exchange: restored?, header })
}

/// Does one on a thread of its own while the other is done on this one, and compares by weights that no two processes share.
#[derive(Default)]
struct OnTwoThreads {
    weights: RandomState,
}

impl Restoring for OnTwoThreads {
    type Weights = RandomState;

    fn weights(&self) -> Option<&RandomState> {
        Some(&self.weights)
    }

    fn both<First: Send, Second: Send>(
        &self,
        first: impl FnOnce() -> First + Send,
        second: impl FnOnce() -> Second + Send,
    ) -> (First, Second) {
        thread::scope(|scope| {
            let second = scope.spawn(second);
            let first = first();
            (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}

/// Where reading begins: a snapshot, or the beginning of history.
pub(super) struct Base<Reading> {
    pub(super) exchange: Exchange,
    /// The time of the last command in it.
    pub(super) time: Timestamp,
    pub(super) snapshot: Option<SnapshotName>,
    /// Newer snapshots that could not be used.
    pub(super) skipped: Vec<SkippedSnapshot>,
    pub(super) reading: Reading,
}

/// Begins with the newest good snapshot not after `limit`, or with the first command where there is none.
fn base<S: Storage, Reading>(
    storage: &S,
    limit: Sequence,
    hash_seed: u64,
    behind: impl Fn(Head) -> Result<Reading, OpenError>,
    from_the_first: impl FnOnce() -> Result<Reading, OpenError>,
) -> Result<Base<Reading>, OpenError> {
    let mut skipped = Vec::new();
    let names = list_snapshots(storage).map_err(|error| match error {
        SnapshotError::Io { file, source } => OpenError::Io { file, offset: 0, after: Sequence(0), source },
        other => OpenError::Options { reason: other.to_string() },
    })?;
    for name in names.into_iter().filter(|name| name.sequence <= limit) {
        let loaded = match load_snapshot(storage, name, hash_seed) {
            Ok(loaded) => loaded,
            Err(reason) => {
                skipped.push(SkippedSnapshot { name, reason });
                continue;
            }
        };
        match behind(loaded.header.head()) {
            Ok(reading) => {
                let LoadedSnapshot { exchange, header } = loaded;
                return Ok(Base { exchange, time: header.time, snapshot: Some(name), skipped, reading });
            }
            Err(reason @ (OpenError::Anchor { .. } | OpenError::NotReached { .. })) => {
                skipped.push(SkippedSnapshot { name, reason: SnapshotFault::Lineage(reason) });
            }
            Err(error) => return Err(error),
        }
    }
    let exchange = Exchange::with_hash_seed(hash_seed);
    Ok(Base { exchange, time: Timestamp(0), snapshot: None, skipped, reading: from_the_first()? })
}

/// Where reading aside begins.
pub(super) fn base_for_reading<S: Storage>(storage: &S, limit: Sequence) -> Result<Base<JournalReader<S>>, OpenError> {
    let behind = |head| JournalReader::open_after(storage.clone(), head);
    base(storage, limit, 0, behind, || JournalReader::open(storage.clone()))
}

/// Where an exchange that goes on begins.
pub(super) fn base_for_writing<S: Storage>(
    storage: &S,
    options: &Options,
    hash_seed: u64,
) -> Result<Base<Opening<S>>, OpenError> {
    let behind = |head| Journal::open_after(storage.clone(), options.clone(), head);
    let first = || Journal::open(storage.clone(), options.clone());
    base(storage, Sequence(u64::MAX), hash_seed, behind, first)
}
