//! What a poller does when it finds nothing to do, and how the others wake it.
//!
//! A [`Signal`] is an event count: whoever made work for a poller calls [`Signal::notify`] afterwards, which
//! costs a fence and a load while nobody is parked. A poller that found nothing calls [`Waiter::idle`] with
//! the question whether there is something after all. Only [`WaitStrategy::Park`] depends on being notified.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, fence, spin_loop, yield_now,
};

/// How a poller waits for work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WaitStrategy {
    /// Polls without pause: the shortest delay, and a core used up.
    BusySpin,
    /// Offers the core to other threads between polls.
    Yield,
    /// Spins, then yields, then sleeps between polls, never longer than [`WaitStrategy::SLEEP_MAX`] at once.
    #[default]
    BackOff,
    /// Spins, then yields, then sleeps until it is notified.
    Park,
}

impl WaitStrategy {
    /// All strategies, in the order of rising delay.
    pub const ALL: [Self; 4] = [Self::BusySpin, Self::Yield, Self::BackOff, Self::Park];

    /// The longest sleep that [`WaitStrategy::BackOff`] asks of the operating system.
    pub const SLEEP_MAX: Duration = Duration::from_micros(100);

    /// Returns the name by which the strategy is configured.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BusySpin => "busy-spin",
            Self::Yield => "yield",
            Self::BackOff => "back-off",
            Self::Park => "park",
        }
    }
}

impl fmt::Display for WaitStrategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for WaitStrategy {
    type Err = ParseWaitStrategyError;

    /// Reads the name of a strategy.
    ///
    /// ```
    /// use ringbuf::WaitStrategy;
    ///
    /// assert_eq!("back-off".parse(), Ok(WaitStrategy::BackOff));
    /// assert!("sleep".parse::<WaitStrategy>().is_err());
    /// ```
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|strategy| strategy.name() == name);
        known.ok_or_else(|| ParseWaitStrategyError { name: name.to_owned() })
    }
}

/// The name is not that of a wait strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseWaitStrategyError {
    name: String,
}

impl fmt::Display for ParseWaitStrategyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "unknown wait strategy {:?}; use busy-spin, yield, back-off or park", self.name)
    }
}

impl Error for ParseWaitStrategyError {}

/// An event count shared among threads: some announce that there may be work, others park until then.
///
/// Clones share the same count.
#[derive(Clone)]
pub struct Signal {
    event: Arc<CachePadded<Event>>,
}

struct Event {
    /// How many threads are parked or about to be.
    parked: AtomicUsize,
    /// Counts the wake-ups; changes only under `mutex`.
    epoch: AtomicU64,
    /// Goes from false to true once.
    closed: AtomicBool,
    mutex: Mutex<()>,
    woken: Condvar,
}

impl Signal {
    /// Creates a signal.
    pub fn new() -> Self {
        let event = Event {
            parked: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            mutex: Mutex::new(()),
            woken: Condvar::new(),
        };
        Self { event: Arc::new(CachePadded::new(event)) }
    }

    /// Wakes the threads that are parked on this signal, if any.
    ///
    /// To be called *after* the work was made visible, such as by publishing to a ring.
    #[inline]
    pub fn notify(&self) {
        // Pairs with the fence in `park`: either this thread sees that one parked, or that one sees the
        // work made before this call. An acquire load would not do, as it does not order the store before it.
        fence(Ordering::SeqCst);
        if self.event.parked.load(Ordering::Relaxed) != 0 {
            self.event.wake();
        }
    }

    /// Closes the signal and wakes everyone: nobody parks on it any more.
    pub fn close(&self) {
        self.event.closed.store(true, Ordering::Release);
        self.event.wake();
    }

    /// Returns whether the signal was closed.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.event.closed.load(Ordering::Acquire)
    }

    /// Returns a guard that closes the signal when dropped, so that a thread that panics wakes the others.
    ///
    /// Create it before the thread's ends of rings, so that those are dropped first and the woken threads
    /// find them closed.
    pub fn close_on_drop(&self) -> CloseOnDrop {
        CloseOnDrop { signal: self.clone() }
    }

    /// Sleeps until notified, closed or (spuriously or not) `limit` has passed, unless `ready` says that
    /// there is work already.
    fn park(&self, limit: Option<Duration>, ready: impl Fn() -> bool) {
        let event = &**self.event;
        let _announced = Announced::new(event);
        // A wake-up counted already was for work that `ready` sees, thanks to the acquire; a later one
        // changes the epoch.
        let epoch = event.epoch.load(Ordering::Acquire);
        // Pairs with the fence in `notify`.
        fence(Ordering::SeqCst);
        if self.is_closed() || ready() {
            return;
        }
        let mut guard = event.lock();
        while event.epoch.load(Ordering::Relaxed) == epoch {
            match limit {
                None => guard = event.woken.wait(guard).unwrap_or_else(|poison| poison.into_inner()),
                Some(limit) => {
                    let waited = event.woken.wait_timeout(guard, limit);
                    drop(waited);
                    return;
                }
            }
        }
    }
}

impl Event {
    fn wake(&self) {
        let guard = self.lock();
        // Under the lock, so that nobody is between comparing the epoch and sleeping.
        self.epoch.fetch_add(1, Ordering::Release);
        drop(guard);
        self.woken.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data, so there is nothing that a panic could have left half-done.
        self.mutex.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signal").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// Counts its thread among the parked, also when `ready` panics.
struct Announced<'a> {
    event: &'a Event,
}

impl<'a> Announced<'a> {
    fn new(event: &'a Event) -> Self {
        event.parked.fetch_add(1, Ordering::Relaxed);
        Self { event }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.event.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes a [`Signal`] when dropped; see [`Signal::close_on_drop`].
#[derive(Debug)]
pub struct CloseOnDrop {
    signal: Signal,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.signal.close();
    }
}

/// The waiting side of one poller.
///
/// ```
/// use ringbuf::spsc::{self, PopError};
/// use ringbuf::{Signal, WaitStrategy, Waiter};
///
/// let (mut producer, mut consumer) = spsc::channel(8)?;
/// let signal = Signal::new();
/// let mut waiter = Waiter::new(WaitStrategy::Park, signal.clone());
///
/// let poller = std::thread::spawn(move || {
///     let mut sum = 0;
///     loop {
///         match consumer.pop() {
///             Ok(item) => {
///                 sum += item;
///                 waiter.reset();
///             }
///             Err(PopError::Empty) => waiter.idle(|| consumer.readable() > 0 || consumer.is_closed()),
///             Err(PopError::Closed) => return sum,
///         }
///     }
/// });
/// producer.push_slice(&[1, 2, 3])?;
/// signal.notify();
/// producer.close();
/// signal.notify();
/// assert_eq!(poller.join().unwrap(), 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Waiter {
    strategy: WaitStrategy,
    signal: Signal,
    /// The next step, from `FIRST_STEP` after a reset up to `SLEEPS_FROM + SLEEP_DOUBLINGS`.
    steps: u32,
}

/// Idle steps that spin, each twice as long as the one before up to the longest, after which it is looked again: a few
/// microseconds in all. Two stages that take turns meet within them, and longer, two cores are better yielded.
const SPIN_STEPS: u32 = 32;
const SPIN_DOUBLINGS: u32 = 3;
/// Idle steps that yield, after those that spin. No more: to whom a core is left, Linux may leave it for milliseconds.
const YIELD_STEPS: u32 = 16;
/// The first idle step that sleeps or parks.
const SLEEPS_FROM: u32 = SPIN_STEPS + YIELD_STEPS;
/// The step after a reset; the model checker has nothing to learn from spinning.
const FIRST_STEP: u32 = if cfg!(loom) { SLEEPS_FROM } else { 0 };
/// How often the sleep doubles until it is the longest.
const SLEEP_DOUBLINGS: u32 = 4;

impl Waiter {
    /// Creates the waiting side of one poller, to be notified by `signal`.
    pub fn new(strategy: WaitStrategy, signal: Signal) -> Self {
        Self { strategy, signal, steps: FIRST_STEP }
    }

    /// Returns the strategy.
    pub fn strategy(&self) -> WaitStrategy {
        self.strategy
    }

    /// Returns the signal that wakes this waiter.
    pub fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Waits a little, or when parking until notified; to be called when a poll found nothing to do.
    ///
    /// `ready` tells whether there is something to do by now, the end of a ring included: a parked thread
    /// is woken only by notifications that follow after `ready` said no. It is asked only before sleeping.
    /// Returning does not mean that there is work. Once the signal is closed it never parks, but yields.
    #[inline]
    pub fn idle(&mut self, ready: impl Fn() -> bool) {
        self.wait(None, ready);
    }

    /// As [`Waiter::idle`], but parks for about `limit` at most: for a poller that also watches the time.
    #[inline]
    pub fn idle_at_most(&mut self, limit: Duration, ready: impl Fn() -> bool) {
        self.wait(Some(limit), ready);
    }

    /// Starts again with the shortest wait; to be called after a poll that found something to do.
    #[inline]
    pub fn reset(&mut self) {
        self.steps = FIRST_STEP;
    }

    #[inline]
    fn wait(&mut self, limit: Option<Duration>, ready: impl Fn() -> bool) {
        match self.strategy {
            WaitStrategy::BusySpin => spin_loop(),
            WaitStrategy::Yield => yield_now(),
            WaitStrategy::BackOff | WaitStrategy::Park => {
                let step = self.steps;
                self.steps = (step + 1).min(SLEEPS_FROM + SLEEP_DOUBLINGS);
                if step < SPIN_STEPS {
                    (0..1 << step.min(SPIN_DOUBLINGS)).for_each(|_| spin_loop());
                } else if step < SLEEPS_FROM || self.signal.is_closed() {
                    yield_now();
                } else if self.strategy == WaitStrategy::Park {
                    self.signal.park(limit, ready);
                } else if !ready() {
                    let sleep = WaitStrategy::SLEEP_MAX / (1 << (SLEEP_DOUBLINGS + SLEEPS_FROM - step));
                    pause(limit.map_or(sleep, |limit| limit.min(sleep)));
                }
            }
        }
    }
}

/// Sleeps; the model checker knows no time, so there any sleep is a yield.
fn pause(duration: Duration) {
    if cfg!(loom) {
        yield_now();
    } else {
        std::thread::sleep(duration);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for strategy in WaitStrategy::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        assert_eq!(WaitStrategy::default(), WaitStrategy::BackOff);
        let error = "spin".parse::<WaitStrategy>().unwrap_err();
        assert_eq!(error.to_string(), r#"unknown wait strategy "spin"; use busy-spin, yield, back-off or park"#);
    }

    #[test]
    fn a_closed_signal_does_not_park() {
        let signal = Signal::new();
        drop(signal.close_on_drop());
        assert!(signal.is_closed());
        let mut waiter = Waiter::new(WaitStrategy::Park, signal);
        (0..SLEEPS_FROM + 50).for_each(|_| waiter.idle(|| false));
        waiter.reset();
        assert_eq!(waiter.steps, 0);
    }

    #[test]
    fn idling_comes_back() {
        for strategy in WaitStrategy::ALL {
            let mut waiter = Waiter::new(strategy, Signal::new());
            (0..SLEEPS_FROM + 50).for_each(|_| waiter.idle(|| true));
            (0..40).for_each(|_| waiter.idle_at_most(Duration::from_micros(10), || false));
            assert_eq!(waiter.signal().event.parked.load(Ordering::Relaxed), 0);
        }
    }
}
