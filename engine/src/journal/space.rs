//! How much can still be journaled: counted by the writer and by the thread that prepares segments, read by anyone.
//!
//! Segments are written full of zeros before they are used, so writing to one that exists needs no more space (on file
//! systems that overwrite in place). What exists and is unwritten is therefore certain, and what the disk has free is not:
//! others may take it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::storage::Storage;

/// A view of how much can still be journaled. Clones see the same; reading costs two loads.
///
/// It is low when [`bytes`](Self::bytes) and the whole segments for which the disk has room are together less than
/// [`Options::low_space_bytes`](super::Options::low_space_bytes). The journal itself does nothing then: whoever feeds it
/// should take no more orders, and leave what there is to halts, cancels and recovery. It is low no longer when space
/// has returned. Then, as under a disk that others fill, it takes up to
/// [`Options::space_interval`](super::Options::space_interval) until it is seen.
#[derive(Clone, Debug)]
pub struct Headroom {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Unwritten bytes of the segments that exist.
    unwritten: AtomicU64,
    /// What the disk has free, as it was last seen.
    free: AtomicU64,
    segment_bytes: u64,
    low_space_bytes: u64,
}

impl Headroom {
    pub(super) fn new(unwritten: u64, segment_bytes: u64, low_space_bytes: u64) -> Self {
        let (unwritten, free) = (AtomicU64::new(unwritten), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { unwritten, free, segment_bytes, low_space_bytes }) }
    }

    /// Bytes that can be appended in segments that exist: the rest of the current one, and those that are prepared.
    /// Includes what blocks take beside records, and ends of segments in which the next block may not fit.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> u64 {
        // Nothing is published with these numbers, here and below: they are all there is to see.
        self.shared.unwritten.load(Ordering::Relaxed)
    }

    /// Whether the disk has room for another segment, as it was last seen.
    #[must_use]
    pub fn can_prepare(&self) -> bool {
        self.shared.free.load(Ordering::Relaxed) >= self.shared.segment_bytes
    }

    /// Whether so little is left that only what must be journaled should be.
    #[must_use]
    #[inline]
    pub fn is_low(&self) -> bool {
        let free = self.shared.free.load(Ordering::Relaxed);
        let whole = free - free % self.shared.segment_bytes;
        self.bytes().saturating_add(whole) < self.shared.low_space_bytes
    }

    /// Notes that a segment has been made.
    pub(super) fn prepared(&self, bytes: u64) {
        self.shared.unwritten.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that bytes of a segment have been written or passed over.
    #[inline]
    pub(super) fn used(&self, bytes: u64) {
        self.shared.unwritten.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Looks at the disk, and returns whether there is room for another segment. One that cannot be asked counts as
    /// full for the watermark, and is tried all the same.
    pub(super) fn measure<S: Storage>(&self, storage: &S) -> bool {
        let free = storage.free_bytes();
        self.shared.free.store(*free.as_ref().unwrap_or(&0), Ordering::Relaxed);
        free.is_err() || self.can_prepare()
    }
}
