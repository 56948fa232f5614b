//! What all threads of one pipeline share. Nothing here is touched by a stage more than once per batch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use parking_lot::Mutex;
use ringbuf::{CursorReader, Signal, spsc};

use super::{
    clock::Clock,
    messages::{GatewayId, Submitted},
    publisher::SubscriberPort,
    sequencer::GatewayPort,
};
use crate::{
    event::Event,
    exchange::{AccountView, BookView, Exchange, Matcher, Risk},
    journal::{Epoch, Headroom},
    types::{AccountId, Controls, Digest, MarketId, Sequence, Timestamp},
};

/// No worker sleeps for less, even if a lock has ended that nobody has come to.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// Asks a stage something, and gets the answer when it is durable.
pub(super) struct Query<Question, Answer> {
    pub(super) question: Question,
    pub(super) reply: mpsc::SyncSender<(Sequence, Answer)>,
}

pub(super) type AccountQuery = Query<AccountId, Option<AccountView>>;
pub(super) type BookQuery = Query<(MarketId, usize), Option<BookView>>;

/// A place where other threads lay down things for one stage, which looks at a flag only.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    filled: AtomicBool,
    /// Nothing more may be laid down; what lies there is still taken.
    sealed: AtomicBool,
    items: Mutex<Option<Vec<T>>>,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { filled: AtomicBool::new(false), sealed: AtomicBool::new(false), items: Mutex::new(Some(Vec::new())) }
    }
}

impl<T> Inbox<T> {
    /// Lays an item down; gives it back when nothing more is taken.
    pub(super) fn put(&self, item: T) -> Result<(), T> {
        let mut items = self.items.lock();
        let Some(items) = items.as_mut() else { return Err(item) };
        if self.sealed.load(Ordering::Relaxed) {
            return Err(item);
        }
        items.push(item);
        self.filled.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether something lies here.
    #[inline]
    pub(super) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Relaxed)
    }

    /// Takes everything.
    #[cold]
    pub(super) fn take(&self, into: &mut Vec<T>) {
        self.filled.store(false, Ordering::Relaxed);
        if let Some(items) = self.items.lock().as_mut() {
            into.append(items);
        }
    }

    /// From now on nothing can be laid down.
    pub(super) fn seal(&self) {
        let _items = self.items.lock();
        self.sealed.store(true, Ordering::Relaxed);
    }

    /// The stage has ended: nothing is taken any more.
    pub(super) fn close(&self) {
        *self.items.lock() = None;
    }
}

/// The state of a new epoch, laid down before its record is submitted, for the stages to go on from.
pub(super) struct Replacement {
    /// Where the record must stand.
    at: Sequence,
    /// What it must bind.
    digest: Digest,
    risk: Option<Risk>,
    matcher: Option<(Matcher, Vec<Event>)>,
    has_reserves_control: bool,
}

impl Replacement {
    pub(super) fn new(at: Sequence, digest: Digest, exchange: Exchange, corrections: Vec<Event>) -> Self {
        let has_reserves_control = exchange.controls().has(Controls::RESERVES);
        let (risk, matcher) = exchange.beginning_at(at).into_parts();
        Self { at, digest, risk: Some(risk), matcher: Some((matcher, corrections)), has_reserves_control }
    }
}

/// How much was published so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands whose last event was published.
    pub commands: u64,
    /// Events.
    pub events: u64,
    /// Fills: executions of one maker order each.
    pub fills: u64,
    /// Commands that were refused.
    pub refusals: u64,
}

/// How the follower that makes snapshots is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStatus {
    /// The last sequence that it has replayed: what it lacks to the durable sequence is its lag.
    pub replayed: Sequence,
    /// The newest snapshot it has made.
    pub newest: Option<Sequence>,
    /// How many it has made.
    pub made: u64,
    /// Why it has stopped, if it has. The exchange goes on without snapshots.
    pub failure: Option<String>,
}

/// [`Counters`] that the publisher writes and all may read.
#[derive(Debug, Default)]
pub(super) struct SharedCounters {
    commands: AtomicU64,
    events: AtomicU64,
    fills: AtomicU64,
    refusals: AtomicU64,
}

impl SharedCounters {
    pub(super) fn publish(&self, counters: &Counters) {
        self.commands.store(counters.commands, Ordering::Relaxed);
        self.events.store(counters.events, Ordering::Relaxed);
        self.fills.store(counters.fills, Ordering::Relaxed);
        self.refusals.store(counters.refusals, Ordering::Relaxed);
    }

    pub(super) fn load(&self) -> Counters {
        Counters {
            commands: self.commands.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            fills: self.fills.load(Ordering::Relaxed),
            refusals: self.refusals.load(Ordering::Relaxed),
        }
    }
}

pub(super) struct Shared {
    pub(super) clock: Clock,
    /// Nothing more is taken; what was taken is carried out.
    pub(super) stopping: AtomicBool,
    /// Nobody waits for the end any more: subscribers that do not read are not waited for.
    pub(super) abandoned: AtomicBool,
    /// Gateways are stopped, as the exchange was halted; the control lane is open.
    pub(super) halted: AtomicBool,
    /// How many halts are on their way.
    pub(super) halting: AtomicU32,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
    /// What space the journal has left.
    pub(super) headroom: Option<Headroom>,
    pub(super) gateways: Inbox<GatewayPort>,
    pub(super) subscribers: Inbox<SubscriberPort>,
    pub(super) account_queries: Inbox<AccountQuery>,
    pub(super) book_queries: Inbox<BookQuery>,
    pub(super) control: Mutex<spsc::Producer<Submitted>>,
    pub(super) counters: SharedCounters,
    /// The epoch of what was published last.
    epoch: AtomicU32,
    /// When the next lock ends, for the sequencer of an idle exchange; the end of time when there is none.
    next_timer: AtomicU64,
    /// Whether an attestation below liabilities trips the exchange.
    pub(super) reserves_control: AtomicBool,
    replacement: Mutex<Option<Replacement>>,
    next_gateway: AtomicU32,
    /// How far the journal is durable, for the follower.
    durable: Mutex<Option<CursorReader>>,
    pub(super) snapshots: Mutex<SnapshotStatus>,
    /// One for each worker.
    pub(super) signals: Vec<Signal>,
}

impl Shared {
    pub(super) fn new(
        clock: Clock,
        control: spsc::Producer<Submitted>,
        workers: usize,
        headroom: Option<Headroom>,
        exchange: &Exchange,
        epoch: Epoch,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            halting: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            headroom,
            gateways: Inbox::default(),
            subscribers: Inbox::default(),
            account_queries: Inbox::default(),
            book_queries: Inbox::default(),
            control: Mutex::new(control),
            counters: SharedCounters::default(),
            epoch: AtomicU32::new(epoch.0),
            next_timer: AtomicU64::new(exchange.next_timer().map_or(u64::MAX, |due| due.0)),
            reserves_control: AtomicBool::new(exchange.controls().has(Controls::RESERVES)),
            replacement: Mutex::new(None),
            // 0 is the exchange itself.
            next_gateway: AtomicU32::new(1),
            durable: Mutex::new(None),
            snapshots: Mutex::new(SnapshotStatus::default()),
            signals: (0..workers).map(|_| Signal::new()).collect(),
        })
    }

    /// Sets the cursor that tells how far the journal is durable.
    pub(super) fn follow(&self, durable: CursorReader) {
        *self.durable.lock() = Some(durable);
    }

    /// The cursor that tells how far the journal is durable.
    pub(super) fn durable(&self) -> CursorReader {
        self.durable.lock().clone().expect("it is set when the stages are built")
    }

    /// The epoch of what was published last.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    pub(super) fn set_epoch(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::Relaxed);
    }

    /// Says when the next lock ends; only one stage does.
    #[inline]
    pub(super) fn set_next_timer(&self, due: Option<Timestamp>) {
        let due = due.map_or(u64::MAX, |due| due.0);
        if self.next_timer.load(Ordering::Relaxed) != due {
            self.next_timer.store(due, Ordering::Relaxed);
        }
    }

    /// When the next lock ends; the end of time when there is none.
    #[inline]
    pub(super) fn next_timer(&self) -> Timestamp {
        Timestamp(self.next_timer.load(Ordering::Relaxed))
    }

    /// For how long a worker may sleep; `None` for as long as it likes.
    pub(super) fn sleep_max(&self) -> Option<Duration> {
        let due = self.next_timer();
        if due.0 == u64::MAX {
            return None;
        }
        let left = Duration::from_nanos(due.0.saturating_sub(self.clock.now().0));
        Some(left.max(SLEEP_MIN))
    }

    /// Lays the state of a new epoch down, or takes back one that no record came to.
    pub(super) fn replace_state(&self, replacement: Option<Replacement>) {
        *self.replacement.lock() = replacement;
    }

    /// Takes what lies here for the record at `sequence`, or a part of it.
    #[cold]
    fn take_replacement<T>(
        &self,
        sequence: Sequence,
        digest: Digest,
        take: impl FnOnce(&mut Replacement) -> Option<T>,
    ) -> T {
        let mut place = self.replacement.lock();
        let found = place.as_mut().filter(|found| (found.at, found.digest) == (sequence, digest));
        let found = found.expect("nobody begins an epoch without laying its state down");
        self.reserves_control.store(found.has_reserves_control, Ordering::Relaxed);
        take(found).expect("each half is taken once")
    }

    /// The half of the new state that owns the balances.
    pub(super) fn take_risk(&self, sequence: Sequence, digest: Digest) -> Risk {
        self.take_replacement(sequence, digest, |found| found.risk.take())
    }

    /// The half of the new state that owns the books, and what the record tells.
    pub(super) fn take_matcher(&self, sequence: Sequence, digest: Digest) -> (Matcher, Vec<Event>) {
        self.take_replacement(sequence, digest, |found| found.matcher.take())
    }

    pub(super) fn next_gateway(&self) -> GatewayId {
        GatewayId(self.next_gateway.fetch_add(1, Ordering::Relaxed))
    }

    /// Wakes every worker.
    pub(super) fn notify_all(&self) {
        self.signals.iter().for_each(Signal::notify);
    }

    /// Stops the pipeline at once, for the first reason given.
    #[cold]
    pub(super) fn fail(&self, reason: String) {
        self.failure.lock().get_or_insert(reason);
        self.failed.store(true, Ordering::Release);
        // Also if the stage that looks into one has gone: nobody waits for an answer.
        self.gateways.close();
        self.subscribers.close();
        self.account_queries.close();
        self.book_queries.close();
        self.notify_all();
    }

    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Why it stopped.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    #[inline]
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
