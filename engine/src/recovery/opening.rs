//! Opening an exchange: the newest good snapshot, and what the journal holds behind it.

use super::snapshots::{SkippedSnapshot, base_for_writing};
use crate::{
    event::NoEvents,
    exchange::Exchange,
    journal::{Journal, OpenError, Options, Storage, TornTail, snapshot::SnapshotName},
    types::{Sequence, Timestamp},
};

/// An exchange as its journal left it, and the journal, to be written on.
pub struct Opened<S: Storage> {
    /// The state.
    pub exchange: Exchange,
    /// Stands where the exchange does.
    pub journal: Journal<S>,
    /// The time of the last command.
    pub time: Timestamp,
    /// How many commands were replayed.
    pub replayed: u64,
    /// The snapshot that the replay began with.
    pub snapshot: Option<SnapshotName>,
    /// Newer snapshots that were no good.
    pub skipped: Vec<SkippedSnapshot>,
    /// The last write, if it never finished: it was never acknowledged, and has been dropped.
    pub torn: Option<TornTail>,
}

/// Opens the exchange in a storage, or an empty one where there is none. `progress` is told the last sequence applied,
/// now and then.
///
/// # Errors
/// When the journal cannot be opened. A snapshot that is no good is none: an older one, or the whole journal, is used.
pub fn open_exchange<S: Storage>(
    storage: &S,
    options: &Options,
    hash_seed: u64,
    progress: &mut dyn FnMut(Sequence),
) -> Result<Opened<S>, OpenError> {
    const PROGRESS_EVERY: u64 = 1 << 16;
    let base = base_for_writing(storage, options, hash_seed)?;
    let (mut exchange, mut time, mut opening, mut replayed) = (base.exchange, base.time, base.reading, 0_u64);
    for command in &mut opening {
        let command = command?;
        exchange.apply(command.sequence, command.time, &command.command, &mut NoEvents);
        time = command.time;
        replayed += 1;
        if replayed.is_multiple_of(PROGRESS_EVERY) {
            progress(command.sequence);
        }
    }
    let torn = opening.torn().cloned();
    let journal = opening.into_journal()?;
    Ok(Opened { exchange, journal, time, replayed, snapshot: base.snapshot, skipped: base.skipped, torn })
}
