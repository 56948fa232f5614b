//! What the writer must not wait for: making segments ahead of use, and syncing under `Durability::Async`.
//!
//! Two threads, each with one task. Both end when the writer drops its side, which waits for them, so that none
//! holds the storage afterwards.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    space::Headroom,
    storage::{Access, Segment, Storage},
};

/// Makes a segment, unless it was made before, and opens it.
pub(super) fn prepare<S: Storage>(
    storage: &S,
    index: u32,
    bytes: u64,
    access: Access,
    headroom: &Headroom,
) -> io::Result<S::Segment> {
    if !storage.segments()?.contains(&index) {
        if !headroom.measure(storage) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        storage.create(index, bytes, access)?;
        headroom.prepared(bytes);
    }
    headroom.measure(storage);
    storage.open(index, access)
}

/// Whether space is all that was missing.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Which segments a [`Preparer`] makes.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The first.
    pub first: u32,
    /// The length of each.
    pub bytes: u64,
    pub access: Access,
    /// How many are kept ready, at least 1.
    pub ahead: usize,
    /// How often the disk is looked at while nothing else is to do.
    pub space_interval: Duration,
}

/// A thread that keeps segments ready, and looks at what space there is. On a full disk it waits for space.
#[derive(Debug)]
pub(super) struct Preparer<G> {
    shared: Arc<Ready<G>>,
    /// How many stay ready while more can be made.
    reserve: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Ready<G> {
    queue: Mutex<Queue<G>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue<G> {
    segments: VecDeque<G>,
    /// The last try found no space.
    full: bool,
    /// Why the thread has ended by itself.
    failure: Option<io::Error>,
    /// The thread has ended, or should.
    ended: bool,
}

impl<G> Ready<G> {
    fn lock(&self) -> MutexGuard<'_, Queue<G>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue<G>>) -> MutexGuard<'a, Queue<G>> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

/// Tells that the thread has ended, whatever way it does.
struct Ending<G>(Arc<Ready<G>>);

impl<G> Drop for Ending<G> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<G: Segment> Preparer<G> {
    /// Starts to prepare segments.
    pub fn start<S>(storage: S, wanted: Wanted, headroom: Headroom) -> io::Result<Self>
    where
        S: Storage<Segment = G>,
    {
        let segments = VecDeque::with_capacity(wanted.ahead);
        let queue = Mutex::new(Queue { segments, full: false, failure: None, ended: false });
        let shared = Arc::new(Ready { queue, changed: Condvar::new() });
        let ending = Ending(Arc::clone(&shared));
        let reserve = usize::from(wanted.ahead > 1);
        let run = move || keep_ready(&ending.0, &storage, &wanted, &headroom);
        let thread = thread::Builder::new().name("journal-prepare".to_owned()).spawn(run)?;
        Ok(Self { shared, reserve, thread: Some(thread) })
    }

    /// Takes the next segment, and waits for it if need be. The last one that is ready is taken only when no more can be
    /// made; without space that is found out by trying once more.
    pub fn next(&self) -> io::Result<G> {
        let mut queue = self.shared.lock();
        let mut tried = false;
        loop {
            let exhausted = queue.ended || (queue.full && tried);
            if (queue.segments.len() > self.reserve || exhausted)
                && let Some(segment) = queue.segments.pop_front()
            {
                self.shared.changed.notify_all();
                return Ok(segment);
            }
            if queue.ended {
                let ended = || io::Error::other("the thread that prepares segments has ended");
                return Err(queue.failure.take().unwrap_or_else(ended));
            }
            if exhausted {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if queue.full {
                tried = true;
                queue.full = false;
                self.shared.changed.notify_all();
            }
            queue = self.shared.wait(queue);
        }
    }
}

/// What the thread does until it should end.
fn keep_ready<S: Storage>(ready: &Ready<S::Segment>, storage: &S, wanted: &Wanted, headroom: &Headroom) {
    let mut next = Some(wanted.first);
    loop {
        let is_due = |queue: &Queue<S::Segment>| queue.segments.len() < wanted.ahead && next.is_some();
        let mut queue = ready.lock();
        while !queue.ended && (queue.full || !is_due(&queue)) {
            let waited = ready.changed.wait_timeout(queue, wanted.space_interval);
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = again;
            if timeout.timed_out() {
                break;
            }
        }
        if queue.ended {
            return;
        }
        let index = next.filter(|_| is_due(&queue));
        drop(queue);
        let Some(index) = index else {
            headroom.measure(storage);
            continue;
        };
        let prepared = prepare(storage, index, wanted.bytes, wanted.access, headroom);
        let mut queue = ready.lock();
        match prepared {
            Ok(segment) => {
                queue.segments.push_back(segment);
                queue.full = false;
                next = index.checked_add(1);
            }
            Err(error) if is_full(&error) => queue.full = true,
            Err(error) => {
                queue.failure = Some(error);
                return;
            }
        }
        drop(queue);
        ready.changed.notify_all();
    }
}

impl<G> Drop for Preparer<G> {
    fn drop(&mut self) {
        self.shared.end();
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

fn lock<G>(shared: &Mutex<Shared<G>>) -> MutexGuard<'_, Shared<G>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        // A panic there shows as an ended thread here; there is nothing more to learn from it.
        drop(thread.join());
    }
}
