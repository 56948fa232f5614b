//! What the writer must not wait for: making segments ahead of use, and syncing under `Durability::Async`.
//!
//! Two threads, each with one task. Both end when the writer drops its side, which waits for them, so that none
//! holds the storage afterwards.

use std::{
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::storage::{Access, Segment, Storage};

/// Makes a segment, unless it was made before, and opens it.
pub(super) fn prepare<S: Storage>(storage: &S, index: u32, bytes: u64, access: Access) -> io::Result<S::Segment> {
    if !storage.segments()?.contains(&index) {
        storage.create(index, bytes)?;
    }
    storage.open(index, access)
}

/// A thread that keeps segments ready.
#[derive(Debug)]
pub(super) struct Preparer<G> {
    /// Dropped first, which ends the thread.
    ready: Option<Receiver<io::Result<G>>>,
    thread: Option<JoinHandle<()>>,
}

impl<G: Segment> Preparer<G> {
    /// Starts to prepare segments from `first` on, and keeps `ahead` (at least 1) of them ready.
    pub fn start<S>(storage: S, first: u32, bytes: u64, access: Access, ahead: usize) -> io::Result<Self>
    where
        S: Storage<Segment = G>,
    {
        // One more is in the hands of the thread while it waits for room.
        let (sender, receiver) = mpsc::sync_channel(ahead - 1);
        let run = move |sender: SyncSender<io::Result<G>>| {
            for index in first.. {
                let prepared = prepare(&storage, index, bytes, access);
                let failed = prepared.is_err();
                if sender.send(prepared).is_err() || failed {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("journal-prepare".to_owned()).spawn(move || run(sender))?;
        Ok(Self { ready: Some(receiver), thread: Some(thread) })
    }

    /// Takes the next segment, and waits for it if need be.
    pub fn next(&self) -> io::Result<G> {
        let ended = || Err(io::Error::other("the thread that prepares segments has ended"));
        self.ready.as_ref().and_then(|ready| ready.recv().ok()).unwrap_or_else(ended)
    }
}

impl<G> Drop for Preparer<G> {
    fn drop(&mut self) {
        self.ready = None;
        join(self.thread.take());
    }
}

/// A thread that syncs what was written, at intervals.
#[derive(Debug)]
pub(super) struct Syncer<G> {
    shared: Arc<Mutex<Shared<G>>>,
    /// Dropped first, which ends the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<G> {
    /// Segments written to since the last sync, the latest last.
    unsynced: Vec<Arc<G>>,
    failure: Option<io::Error>,
}

impl<G: Segment> Syncer<G> {
    /// Starts to sync every `interval`.
    pub fn start(interval: Duration) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared { unsynced: Vec::with_capacity(8), failure: None }));
        let (running, stopped) = mpsc::channel::<()>();
        let of_thread = Arc::clone(&shared);
        let run = move || {
            let mut batch = Vec::with_capacity(8);
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                mem::swap(&mut batch, &mut lock(&of_thread).unsynced);
                for segment in batch.drain(..) {
                    let segment: Arc<G> = segment;
                    if let Err(error) = segment.sync() {
                        lock(&of_thread).failure = Some(error);
                        return;
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("journal-sync".to_owned()).spawn(run)?;
        Ok(Self { shared, running: Some(running), thread: Some(thread) })
    }

    /// Notes that a segment was written to.
    ///
    /// # Errors
    /// That of an earlier sync, once.
    pub fn written(&self, segment: &Arc<G>) -> io::Result<()> {
        let mut shared = lock(&self.shared);
        if let Some(error) = shared.failure.take() {
            return Err(error);
        }
        if !shared.unsynced.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            shared.unsynced.push(Arc::clone(segment));
        }
        Ok(())
    }

    /// Ends the thread and syncs what it has not.
    ///
    /// # Errors
    /// That of this sync, or of an earlier one.
    pub fn finish(mut self) -> io::Result<()> {
        self.stop();
        let mut shared = lock(&self.shared);
        match shared.failure.take() {
            Some(error) => Err(error),
            None => shared.unsynced.drain(..).try_for_each(|segment| segment.sync()),
        }
    }
}

impl<G> Syncer<G> {
    fn stop(&mut self) {
        self.running = None;
        join(self.thread.take());
    }
}

impl<G> Drop for Syncer<G> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<G>(shared: &Mutex<Shared<G>>) -> std::sync::MutexGuard<'_, Shared<G>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // A panic there shows as an ended thread here; there is nothing more to learn from it.
        drop(thread.join());
    }
}
