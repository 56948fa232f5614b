//! One published position: a number with one writer and many readers, in a cache line of its own.
//!
//! It carries data with it: whoever sees a position also sees what its writer did before publishing it.

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicU64, Ordering};

/// The writing handle of a published position.
///
/// ```
/// use ringbuf::Cursor;
///
/// let mut durable = Cursor::new(0);
/// let reader = durable.reader();
/// durable.publish(7);
/// assert_eq!(reader.load(), 7);
/// ```
#[derive(Debug)]
pub struct Cursor {
    position: Arc<CachePadded<AtomicU64>>,
}

impl Cursor {
    /// Creates a cursor that stands at a position.
    pub fn new(position: u64) -> Self {
        Self { position: Arc::new(CachePadded::new(AtomicU64::new(position))) }
    }

    /// Publishes a position, and with it all that this thread did before.
    #[inline]
    pub fn publish(&mut self, position: u64) {
        // Pairs with the acquire load in `CursorReader::load`.
        self.position.store(position, Ordering::Release);
    }

    /// Returns the position published last.
    #[inline]
    pub fn load(&self) -> u64 {
        // Only this handle writes, so there is nothing to acquire.
        self.position.load(Ordering::Relaxed)
    }

    /// Returns a handle that reads the position.
    pub fn reader(&self) -> CursorReader {
        CursorReader { position: self.position.clone() }
    }
}

/// A reading handle of a [`Cursor`], which it may outlive.
#[derive(Clone, Debug)]
pub struct CursorReader {
    position: Arc<CachePadded<AtomicU64>>,
}

impl CursorReader {
    /// Returns the published position; what its writer did before publishing it is seen from now on.
    #[inline]
    pub fn load(&self) -> u64 {
        // Pairs with the release store in `Cursor::publish`.
        self.position.load(Ordering::Acquire)
    }
}
