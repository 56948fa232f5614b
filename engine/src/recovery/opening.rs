//! Opening an exchange: the newest good snapshot, and what the journal holds behind it.

use super::{
    epoch::{Epochs, Recomputed, step},
    snapshots::{SkippedSnapshot, base_for_writing},
};
use crate::{
    event::NoEvents,
    exchange::Exchange,
    journal::{Journal, OpenError, Options, ReadAhead, Storage, TornTail, snapshot::SnapshotName},
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
    /// Epochs whose files were no good, so that their states were computed again.
    pub recomputed: Vec<Recomputed>,
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
    let base = base_for_writing(storage, options, hash_seed)?;
    let epochs = Epochs::for_writing(storage.clone(), hash_seed);
    let (mut exchange, mut time, mut replayed) = (base.exchange, base.time, 0);
    let mut reading = ReadAhead::start(base.reading).map_err(|source| OpenError::Io {
        file: "the thread that reads ahead".to_owned(),
        offset: 0,
        after: exchange.last_sequence(),
        source,
    })?;
    loop {
        let batch = match reading.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) => {
                // The thread has the directory too: whoever tries again must find it free.
                drop(reading.into_reader());
                return Err(error);
            }
        };
        for command in batch.iter() {
            if let Err(source) = step(&mut exchange, command, &mut NoEvents, &epochs) {
                drop(reading.into_reader());
                return Err(OpenError::Epoch { sequence: command.sequence, source });
            }
            time = command.time;
        }
        replayed += batch.len() as u64;
        progress(exchange.last_sequence());
    }
    let opening = reading.into_reader();
    let torn = opening.torn().cloned();
    let journal = opening.into_journal()?;
    Ok(Opened {
        exchange,
        journal,
        time,
        replayed,
        snapshot: base.snapshot,
        skipped: base.skipped,
        recomputed: epochs.recomputed(),
        torn,
    })
}
