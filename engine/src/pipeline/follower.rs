//! The follower: replays the journal aside and makes snapshots of it, so that the exchange never stops for one.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ringbuf::CursorReader;

use super::shared::Shared;
use crate::{
    command::SequencedCommand,
    event::NoEvents,
    exchange::Exchange,
    journal::{FileStorage, JournalReader, snapshot},
    recovery::{Epochs, save_snapshot, step},
    types::{Sequence, Timestamp},
};

/// How long it rests when it has caught up.
const REST: Duration = Duration::from_millis(20);

/// The thread of the follower; dropping it ends it.
pub(super) struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows the journal from the state in `exchange` on, whose last command was at `time`.
    pub(super) fn start(
        shared: Arc<Shared>,
        storage: FileStorage,
        every: u64,
        exchange: Exchange,
        time: Timestamp,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let durable = shared.durable();
        let next = exchange.last_sequence().0.saturating_add(every.max(1));
        let following =
            Following { shared: Arc::clone(&shared), storage, every: every.max(1), exchange, time, next, durable };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("follower".to_owned()).spawn(move || {
            yield_to_the_stages();
            if let Err(failure) = following.run(&stopped) {
                shared.snapshots.lock().failure = Some(failure);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Gives this thread the lowest priority: where cores are few it must not take one from a stage.
fn yield_to_the_stages() {
    // What cannot be had costs latency only.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A follower that panicked has made no snapshot, and has harmed nobody.
            drop(thread.join());
        }
    }
}

struct Following {
    shared: Arc<Shared>,
    storage: FileStorage,
    every: u64,
    exchange: Exchange,
    time: Timestamp,
    /// The sequence from which on the next snapshot is due.
    next: u64,
    durable: CursorReader,
}

impl Following {
    fn run(mut self, stop: &AtomicBool) -> Result<(), String> {
        let mut reader = JournalReader::open_at(self.storage.clone(), self.exchange.last_sequence())
            .map_err(|error| error.to_string())?;
        let epochs = Epochs::new(self.storage.clone());
        let mut read: Option<SequencedCommand> = None;
        loop {
            let durable = self.durable.load();
            let mut applied = 0_u32;
            while !stop.load(Ordering::Relaxed) && self.exchange.last_sequence().0 < durable {
                let next = match read.take() {
                    Some(command) => command,
                    None => match reader.next().transpose().map_err(|error| error.to_string())? {
                        Some(command) => command,
                        None => break,
                    },
                };
                if next.sequence.0 > durable {
                    read = Some(next);
                    break;
                }
                step(&mut self.exchange, &next, &mut NoEvents, &epochs).map_err(|error| error.to_string())?;
                self.time = next.time;
                applied += 1;
                if next.sequence.0 >= self.next && reader.head().sequence == next.sequence {
                    self.save(&reader)?;
                }
                if applied.is_multiple_of(1 << 14) {
                    self.shared.snapshots.lock().replayed = next.sequence;
                }
            }
            self.shared.snapshots.lock().replayed = self.exchange.last_sequence();
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            thread::park_timeout(REST);
        }
    }

    fn save(&mut self, reader: &JournalReader<FileStorage>) -> Result<(), String> {
        let header = save_snapshot(&self.storage, &self.exchange, reader.head(), self.time, reader.journal_id())
            .map_err(|error| error.to_string())?;
        snapshot::remove_old_snapshots(&self.storage, snapshot::SNAPSHOTS_KEPT_MIN)
            .map_err(|error| error.to_string())?;
        self.next = header.sequence.0.saturating_add(self.every);
        let mut status = self.shared.snapshots.lock();
        (status.newest, status.made) = (Some(Sequence(header.sequence.0)), status.made + 1);
        Ok(())
    }
}
