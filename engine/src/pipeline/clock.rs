//! The exchange's clock: nanoseconds since the Unix epoch that never go back.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::types::Timestamp;

/// A monotonic clock, set by the wall clock when it is made. Cheap to read: the processor's time stamp counter
/// where that is invariant, else the system's monotonic clock.
///
/// ```
/// use engine::pipeline::Clock;
/// let clock = Clock::new();
/// assert!(clock.now() <= clock.now());
/// ```
#[derive(Clone, Debug)]
pub struct Clock {
    counter: quanta::Clock,
    start: quanta::Instant,
    start_time: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock that agrees with the wall clock now, and runs on by itself.
    #[must_use]
    pub fn new() -> Self {
        let counter = quanta::Clock::new();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_time = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX / 2);
        Self { start: counter.now(), counter, start_time }
    }

    /// The time.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Timestamp {
        let elapsed = self.counter.now().duration_since(self.start);
        Timestamp(self.start_time + elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()))
    }
}
