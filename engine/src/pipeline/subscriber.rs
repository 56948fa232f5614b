//! How events get out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ringbuf::{Signal, WaitStrategy, Waiter, spsc};

use super::messages::{GatewayId, Published};

/// What a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which events.
    pub events: Events,
    /// How many events may wait for the subscriber: a power of two.
    pub ring: usize,
    /// What happens when that is not enough.
    pub when_full: WhenFull,
}

impl Default for Subscription {
    fn default() -> Self {
        Self { events: Events::All, ring: 65_536, when_full: WhenFull::HoldBack }
    }
}

/// Which events a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// All: a drop copy.
    All,
    /// Those of the commands that one gateway submitted.
    OfGateway(GatewayId),
}

/// What happens when a subscriber falls behind by more than its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The exchange waits for it, and in the end its gateways are told `Busy`.
    HoldBack,
    /// The subscriber is cut off: it reads what it has, then [`ReceiveError::Lagged`].
    Disconnect,
}

/// Why there is no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Not yet.
    #[error("no event is there")]
    Empty,
    /// The subscriber fell behind and was cut off.
    #[error(
        "the subscriber fell behind by more than its ring holds and was cut off; subscribe again with a larger one"
    )]
    Lagged,
    /// The pipeline has ended, and everything was read.
    #[error("closed: the pipeline has ended")]
    Closed,
}

/// Receives durable events, in order.
pub struct Subscriber {
    ring: spsc::Consumer<Published>,
    lagged: Arc<AtomicBool>,
    waiter: Waiter,
    /// Wakes the publisher when there is room again.
    publisher: Signal,
}

impl Subscriber {
    pub(super) fn new(
        ring: spsc::Consumer<Published>,
        lagged: Arc<AtomicBool>,
        signal: Signal,
        publisher: Signal,
    ) -> Self {
        Self { ring, lagged, waiter: Waiter::new(WaitStrategy::Park, signal), publisher }
    }

    /// The next event, if it is there.
    ///
    /// # Errors
    /// [`ReceiveError`] when there is none.
    #[inline]
    pub fn try_next(&mut self) -> Result<Published, ReceiveError> {
        match self.ring.pop() {
            Ok(published) => {
                self.publisher.notify();
                Ok(published)
            }
            Err(spsc::PopError::Empty) => Err(ReceiveError::Empty),
            Err(spsc::PopError::Closed) => Err(self.end()),
        }
    }

    /// The next event; waits for it.
    ///
    /// # Errors
    /// [`ReceiveError::Lagged`] or [`ReceiveError::Closed`] when there will be none.
    #[allow(clippy::should_implement_trait, reason = "an end that is not the normal one must not be taken for it")]
    pub fn next(&mut self) -> Result<Published, ReceiveError> {
        loop {
            match self.try_next() {
                Err(ReceiveError::Empty) => self.wait(),
                other => {
                    self.waiter.reset();
                    return other;
                }
            }
        }
    }

    /// Hands up to `max` events to `handle`, gives their slots back at once, and says how many there were, 0 when none is there.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline]
    pub fn drain(&mut self, max: usize, mut handle: impl FnMut(&Published)) -> Result<usize, ReceiveError> {
        let count = self.ring.readable().min(max);
        if count == 0 {
            return if self.ring.is_finished() { Err(self.end()) } else { Ok(0) };
        }
        for offset in 0..count {
            handle(self.ring.get(offset).expect("counted as readable"));
        }
        self.ring.release(count);
        self.publisher.notify();
        Ok(count)
    }

    /// Waits until there may be something to read.
    pub fn wait(&mut self) {
        let ring = &self.ring;
        self.waiter.idle(|| ring.readable() > 0 || ring.is_closed());
    }

    fn end(&self) -> ReceiveError {
        if self.lagged.load(Ordering::Acquire) { ReceiveError::Lagged } else { ReceiveError::Closed }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.ring.close();
        self.publisher.notify();
    }
}
