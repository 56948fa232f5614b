//! A bounded queue between one producer and one consumer, each on its own thread.
//!
//! Neither end ever waits. Either end may close the ring, and dropping an end closes it, so nobody waits
//! for a peer that is gone. What was pushed before the producer closed can still be taken.
//!
//! ```text
//!            head               tail
//!   ─ free ─┴─ pushed, unread ─┴─ free ─      positions grow for ever; position p is in slot p % capacity
//!   written by the consumer     written by the producer
//! ```
//!
//! Each end keeps its own position to itself, publishes it in a cache line of its own, and keeps the
//! counterpart's last seen position, which it reads again only when that one no longer suffices.

use std::cell::Cell;
use std::error::Error;
use std::fmt;

use crossbeam_utils::CachePadded;

use crate::slots::{CapacityError, SLOTS_AHEAD_MAX, Slots, slots_ahead};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// Creates a ring for `capacity` items.
///
/// ```
/// use ringbuf::spsc::{self, PopError, PushError};
///
/// let (mut producer, mut consumer) = spsc::channel(2)?;
/// producer.push("a")?;
/// producer.push("b")?;
/// assert_eq!(producer.push("c"), Err(PushError::Full("c")));
/// assert_eq!(consumer.pop(), Ok("a"));
/// drop(producer);
/// assert_eq!(consumer.pop(), Ok("b"));
/// assert_eq!(consumer.pop(), Err(PopError::Closed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`CapacityError`] unless the capacity is a power of two and such a ring fits the address space.
pub fn channel<T>(capacity: usize) -> Result<(Producer<T>, Consumer<T>), CapacityError> {
    let ring = Arc::new(Ring {
        head: CachePadded::new(AtomicU64::new(0)),
        tail: CachePadded::new(AtomicU64::new(0)),
        slots: Slots::new(capacity)?,
        closed: AtomicBool::new(false),
    });
    let ahead = slots_ahead(capacity);
    let producer = Producer { ring: ring.clone(), tail: 0, staged: 0, cached_head: Cell::new(0), ahead };
    let consumer = Consumer { ring, head: 0, cached_tail: Cell::new(0) };
    Ok((producer, consumer))
}

/// The end that pushes items; dropping it closes the ring.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// Equals `ring.tail`, which only this end writes.
    tail: u64,
    /// How many items have been written behind `tail` that are not published yet.
    staged: u64,
    /// `ring.head` when last looked at, so at most `ring.head`.
    cached_head: Cell<u64>,
    /// How many slots ahead of what is written one by one it asks for.
    ahead: u64,
}

impl<T> Producer<T> {
    /// Pushes one item, and publishes those staged before it.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if either end closed the ring, otherwise [`PushError::Full`] if there is no
    /// room. Both give the item back.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), PushError<T>> {
        if self.staged > 0 {
            self.commit();
        }
        if self.is_closed() {
            return Err(PushError::Closed(item));
        }
        if self.room(1) == 0 {
            return Err(PushError::Full(item));
        }
        // SAFETY: there is room, so position `tail` is the producer's alone until it advances past it.
        unsafe { self.ring.slots.write(self.tail, item) };
        self.advance(1);
        self.ring.slots.prefetch_write(self.tail.wrapping_add(self.ahead));
        Ok(())
    }

    /// Writes one item behind those pushed, to be published by [`commit`](Self::commit), or by the next push. Until then
    /// it can be [changed](Self::change_staged), and takes room; it is lost when the producer goes.
    ///
    /// ```
    /// let (mut producer, mut consumer) = ringbuf::spsc::channel(4)?;
    /// producer.stage(1)?;
    /// producer.stage(2)?;
    /// producer.change_staged(|last| *last += 40);
    /// assert_eq!(consumer.take(), None);
    /// producer.commit();
    /// assert_eq!((consumer.take(), consumer.take()), (Some(1), Some(42)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push). What was staged before stays so.
    #[inline]
    pub fn stage(&mut self, item: T) -> Result<(), PushError<T>>
    where
        T: Copy,
    {
        if self.is_closed() {
            return Err(PushError::Closed(item));
        }
        let staged = self.staged as usize;
        if self.room(staged + 1) == staged {
            return Err(PushError::Full(item));
        }
        // SAFETY: there is room behind what is staged, so this position is the producer's alone until it advances past it.
        unsafe { self.ring.slots.write(self.tail.wrapping_add(self.staged), item) };
        self.staged += 1;
        Ok(())
    }

    /// Changes the item staged last, if one is.
    #[inline]
    pub fn change_staged(&mut self, change: impl FnOnce(&mut T))
    where
        T: Copy,
    {
        if self.staged > 0 {
            let position = self.tail.wrapping_add(self.staged - 1);
            // SAFETY: it was written by `stage`, and is the producer's alone until it advances past it.
            unsafe { self.ring.slots.change(position, change) };
        }
    }

    /// Publishes what is staged, at once; if either end closed the ring, lets it go.
    #[inline]
    pub fn commit(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        if staged > 0 && !self.is_closed() {
            self.advance(staged);
        }
    }

    /// Pushes as many of the first items as there is room for, publishes them at once, and returns how
    /// many those were.
    ///
    /// # Errors
    ///
    /// [`Closed`] if either end closed the ring; then no item was pushed.
    #[inline]
    pub fn push_slice(&mut self, items: &[T]) -> Result<usize, Closed>
    where
        T: Copy,
    {
        self.commit();
        if self.is_closed() {
            return Err(Closed);
        }
        let count = self.room(items.len());
        // SAFETY: there is room for `count`, so positions `tail..tail + count` are the producer's alone
        // until it advances past them.
        unsafe { self.ring.slots.write_slice(self.tail, &items[..count]) };
        self.advance(count as u64);
        Ok(count)
    }

    /// Pushes items of an iterator while there is room, publishes them at once, and returns how many
    /// those were.
    ///
    /// The iterator is never asked for an item that has no room: to keep the rest, pass `&mut iterator`.
    /// If it panics, the items it gave before are pushed.
    ///
    /// # Errors
    ///
    /// [`Closed`] if either end closed the ring; then the iterator was not asked at all.
    #[inline]
    pub fn push_iter(&mut self, items: impl IntoIterator<Item = T>) -> Result<usize, Closed> {
        self.commit();
        if self.is_closed() {
            return Err(Closed);
        }
        let items = items.into_iter();
        let room = self.room(items.size_hint().1.unwrap_or(usize::MAX));
        let mut written = AdvanceOnDrop { producer: self, count: 0 };
        for item in items.take(room) {
            let producer = &*written.producer;
            // SAFETY: `count` is below `room`, so this position is the producer's alone until it advances
            // past it.
            unsafe { producer.ring.slots.write(producer.tail.wrapping_add(written.count), item) };
            written.count += 1;
        }
        Ok(written.count as usize)
    }

    /// Looks at the consumer's progress and returns how many items there is room for, at least; what is staged counts as
    /// room.
    #[inline]
    pub fn free(&self) -> usize {
        // Pairs with the release store in `Consumer::advance`: the consumer is done with those slots.
        self.cached_head.set(self.ring.head.load(Ordering::Acquire));
        self.cached_free()
    }

    /// Returns how many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.slots.capacity()
    }

    /// Returns whether either end closed the ring.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    /// Closes the ring: nothing more can be pushed, what is in it can still be taken.
    pub fn close(&self) {
        self.ring.close();
    }

    /// The room for items as far as known, looking again only if that is less than wanted; at most `wanted`.
    #[inline]
    fn room(&self, wanted: usize) -> usize {
        let known = self.cached_free();
        if known >= wanted { wanted } else { self.free().min(wanted) }
    }

    #[inline]
    fn cached_free(&self) -> usize {
        let used = self.tail.wrapping_sub(self.cached_head.get()) as usize;
        debug_assert!(used <= self.capacity());
        self.capacity().wrapping_sub(used)
    }

    /// Publishes the next `count` items, which must have been written.
    #[inline]
    fn advance(&mut self, count: u64) {
        if count == 0 {
            return; // A store would take the cache line from the other end for nothing.
        }
        self.tail = self.tail.wrapping_add(count);
        // Pairs with the acquire load in `Consumer::readable`: the items are seen with the position.
        self.ring.tail.store(self.tail, Ordering::Release);
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Producer").field("tail", &self.tail).finish_non_exhaustive()
    }
}

/// Publishes what was written, also when the source of the items panics.
struct AdvanceOnDrop<'a, T> {
    producer: &'a mut Producer<T>,
    count: u64,
}

impl<T> Drop for AdvanceOnDrop<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.producer.advance(self.count);
    }
}

/// The end that takes items; dropping it closes the ring.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    /// Equals `ring.head`, which only this end writes.
    head: u64,
    /// `ring.tail` when last looked at, so at most `ring.tail`.
    cached_tail: Cell<u64>,
}

impl<T> Consumer<T> {
    /// Takes the first item.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if there is none yet, [`PopError::Closed`] if there is none and the ring is
    /// closed. Nothing follows after the producer closed; an item whose push overlapped the *consumer's*
    /// own close may still follow.
    #[inline]
    pub fn pop(&mut self) -> Result<T, PopError> {
        match self.take() {
            Some(item) => Ok(item),
            None => self.take_last(),
        }
    }

    /// Takes the first item, if there is one.
    ///
    /// As [`Consumer::pop`] without the reason for there being none. An `Option` spares large items a copy:
    /// taking one of 128 bytes was measured at 5.7 ns, popping it at 8.0 ns.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        if self.available(1) == 0 {
            return None;
        }
        // SAFETY: the item at `head` is published, and is the consumer's alone until it advances past it,
        // which it does at once, so the item is moved out once.
        let item = unsafe { self.ring.slots.read(self.head) };
        if self.cached_readable() as u64 > SLOTS_AHEAD_MAX {
            self.ring.slots.prefetch_read(self.head.wrapping_add(SLOTS_AHEAD_MAX));
        }
        self.advance(1);
        Some(item)
    }

    /// Borrows the first item, if there is one.
    #[inline]
    pub fn peek(&self) -> Option<&T> {
        self.get(0)
    }

    /// Borrows the item `offset` places behind the first, if there are so many.
    #[inline]
    pub fn get(&self, offset: usize) -> Option<&T> {
        if self.cached_readable() <= offset && self.readable() <= offset {
            return None;
        }
        // SAFETY: the item is published, and is the consumer's alone until it advances past it, for which
        // it has to be borrowed mutably.
        Some(unsafe { self.ring.slots.get(self.head.wrapping_add(offset as u64)) })
    }

    /// Looks at the producer's progress and returns how many items there are, at least.
    #[inline]
    pub fn readable(&self) -> usize {
        // Pairs with the release store in `Producer::advance`: the items are seen with the position.
        self.cached_tail.set(self.ring.tail.load(Ordering::Acquire));
        self.cached_readable()
    }

    /// Drops the first `count` items and gives their slots back at once.
    ///
    /// # Panics
    ///
    /// If there are fewer items. If dropping an item panics, the items behind it stay in the ring.
    #[inline]
    pub fn release(&mut self, count: usize) {
        assert!(self.available(count) == count, "released more items than there are");
        if std::mem::needs_drop::<T>() {
            self.drain(count, drop);
        } else {
            self.advance(count as u64);
        }
    }

    /// Takes up to `max` items, gives their slots back at once, and returns how many those were.
    ///
    /// Items pushed during the call may be left for the next. If `handle` panics, the items it was given
    /// are gone and the others stay in the ring, which remains usable.
    #[inline]
    pub fn drain(&mut self, max: usize, mut handle: impl FnMut(T)) -> usize {
        let available = self.available(max);
        let more = (self.cached_readable() - available).min(available);
        self.ring.slots.prefetch(self.head.wrapping_add(available as u64), more);
        let mut taken = ReleaseOnDrop { consumer: self, count: 0 };
        let ReleaseOnDrop { consumer, count } = &mut taken;
        let handle = |item| {
            *count += 1;
            handle(item);
        };
        // SAFETY: these items are published and the consumer's alone. Each is counted as taken before anything can panic,
        // so it is moved out once.
        unsafe { consumer.ring.slots.read_each(consumer.head, available, handle) };
        available
    }

    /// Returns how many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.slots.capacity()
    }

    /// Returns whether either end closed the ring; there may be items left to take.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    /// Returns whether the ring is closed and everything was taken.
    #[inline]
    pub fn is_finished(&self) -> bool {
        // The order matters: all that was pushed before the close is seen after it.
        self.is_closed() && self.readable() == 0
    }

    /// Closes the ring: the producer cannot push any more, what is in it can still be taken.
    pub fn close(&self) {
        self.ring.close();
    }

    /// Tells why there is no item, unless there is one after all, pushed just before the ring was closed.
    #[cold]
    fn take_last(&mut self) -> Result<T, PopError> {
        // The order matters: all that was pushed before the close is seen after it.
        if self.is_closed() { self.take().ok_or(PopError::Closed) } else { Err(PopError::Empty) }
    }

    /// The items there are as far as known, looking again only if those are fewer than wanted; at most
    /// `wanted`.
    #[inline]
    fn available(&self, wanted: usize) -> usize {
        let known = self.cached_readable();
        if known >= wanted { wanted } else { self.readable().min(wanted) }
    }

    #[inline]
    fn cached_readable(&self) -> usize {
        let readable = self.cached_tail.get().wrapping_sub(self.head) as usize;
        debug_assert!(readable <= self.capacity());
        readable
    }

    /// Gives the next `count` slots back, whose items must have been moved out of or dropped.
    #[inline]
    fn advance(&mut self, count: u64) {
        if count == 0 {
            return; // A store would take the cache line from the other end for nothing.
        }
        self.head = self.head.wrapping_add(count);
        // Pairs with the acquire load in `Producer::free`: the consumer is done with those slots.
        self.ring.head.store(self.head, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Consumer").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Gives the slots of the taken items back, also when their handler panics.
struct ReleaseOnDrop<'a, T> {
    consumer: &'a mut Consumer<T>,
    count: u64,
}

impl<T> Drop for ReleaseOnDrop<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.consumer.advance(self.count);
    }
}

/// Why an item could not be pushed; holds the item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// There is no room at the moment.
    Full(T),
    /// The ring is closed, so there will never be room.
    Closed(T),
}

impl<T> PushError<T> {
    /// Returns the item that was not pushed.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "the ring is full",
            Self::Closed(_) => "the ring is closed",
        })
    }
}

impl<T> Error for PushError<T> {}

/// The ring is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the ring is closed")
    }
}

impl Error for Closed {}

/// Why no item could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopError {
    /// There is no item at the moment.
    Empty,
    /// The ring is closed and everything in it was taken.
    Closed,
}

impl fmt::Display for PopError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "the ring is empty",
            Self::Closed => "the ring is closed and empty",
        })
    }
}

impl Error for PopError {}

/// What both ends share.
struct Ring<T> {
    /// Position of the first item not taken yet; written by the consumer only, at most `tail`.
    head: CachePadded<AtomicU64>,
    /// Position behind the last item pushed; written by the producer only, at most `head + capacity`.
    tail: CachePadded<AtomicU64>,
    slots: Slots<T>,
    /// Goes from false to true once, set by either end.
    closed: AtomicBool,
}

// SAFETY: a slot is written by the producer before it publishes the position in `tail`, and read by the
// consumer after seeing that position and before giving the slot back in `head`; each end is one value that
// cannot be shared (it has a `Cell`). So no two threads touch a slot at once, items move from the
// producer's thread to the consumer's, and `T: Send` allows that.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn is_closed(&self) -> bool {
        // Pairs with the release store in `close`: what was pushed before is seen.
        self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // Both ends are gone and their stores are seen, by the synchronisation inside `Arc`.
        let tail = self.tail.load(Ordering::Relaxed);
        let mut position = self.head.load(Ordering::Relaxed);
        while position != tail {
            // SAFETY: the items at `head..tail` were pushed and not taken, and nobody else is left.
            drop(unsafe { self.slots.read(position) });
            position = position.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use super::*;

    #[test]
    fn items_come_out_in_order_and_slots_are_reused() {
        let (mut producer, mut consumer) = channel(4).unwrap();
        for round in 0..100_u64 {
            assert_eq!(producer.push_slice(&[round; 3]), Ok(3));
            assert_eq!(producer.push_iter([1, 2]), Ok(1));
            assert_eq!(producer.push(7), Err(PushError::Full(7)));
            assert_eq!(producer.free(), 0);
            assert_eq!(consumer.readable(), 4);
            assert_eq!(consumer.peek(), Some(&round));
            assert_eq!((consumer.get(3), consumer.get(4)), (Some(&1), None));
            consumer.release(2);
            assert_eq!(producer.free(), 2);
            assert_eq!(consumer.pop(), Ok(round));
            assert_eq!(consumer.drain(10, |item| assert_eq!(item, 1)), 1);
            assert_eq!(consumer.pop(), Err(PopError::Empty));
            assert_eq!(consumer.peek(), None);
            assert_eq!(consumer.take(), None);
            assert_eq!(consumer.drain(10, |_| ()), 0);
        }
    }

    #[test]
    fn positions_may_wrap_around() {
        let (mut producer, mut consumer) = channel(2).unwrap();
        let start = u64::MAX - 1;
        (producer.tail, consumer.head) = (start, start);
        producer.cached_head.set(start);
        consumer.cached_tail.set(start);
        producer.ring.tail.store(start, Ordering::Relaxed);
        producer.ring.head.store(start, Ordering::Relaxed);
        for item in 0..10 {
            assert_eq!(producer.push_iter([Rc::new(item), Rc::new(item + 1)]), Ok(2));
            assert_eq!(consumer.get(1).map(|item| **item), Some(item + 1));
            assert_eq!(consumer.pop(), Ok(Rc::new(item)));
            consumer.release(1);
        }
    }

    #[test]
    fn a_closed_ring_is_drained_and_takes_no_more() {
        let (mut producer, mut consumer) = channel(4).unwrap();
        producer.push_slice(&[1, 2]).unwrap();
        producer.close();
        assert_eq!(producer.push(3), Err(PushError::Closed(3)));
        assert_eq!(producer.push_slice(&[3]), Err(Closed));
        assert_eq!(producer.push_iter([3]), Err(Closed));
        assert!(consumer.is_closed() && !consumer.is_finished());
        assert_eq!((consumer.pop(), consumer.pop()), (Ok(1), Ok(2)));
        assert_eq!(consumer.pop(), Err(PopError::Closed));
        assert!(consumer.is_finished());

        let (mut producer, consumer) = channel(4).unwrap();
        drop(consumer);
        assert!(producer.is_closed());
        assert_eq!(producer.push(1), Err(PushError::Closed(1)));
    }

    #[test]
    fn items_left_behind_are_dropped_once() {
        let item = Rc::new(());
        let (mut producer, mut consumer) = channel(8).unwrap();
        assert_eq!(producer.push_iter(std::iter::repeat_n(item.clone(), 7)), Ok(7));
        assert_eq!(Rc::strong_count(&item), 8);
        consumer.release(2);
        assert_eq!(Rc::strong_count(&item), 6);
        drop(consumer.take());
        assert_eq!(Rc::strong_count(&item), 5);
        drop(consumer);
        assert_eq!(Rc::strong_count(&item), 5);
        drop(producer);
        assert_eq!(Rc::strong_count(&item), 1);
    }

    #[test]
    fn a_panic_in_between_leaves_the_ring_usable() {
        let (mut producer, mut consumer) = channel(8).unwrap();
        let source = (0..6).map(|item| if item < 5 { Rc::new(item) } else { panic!("no more") });
        assert!(catch_unwind(AssertUnwindSafe(|| producer.push_iter(source))).is_err());
        assert_eq!(consumer.readable(), 5);
        let handle = |item: Rc<i32>| assert!(*item < 2);
        assert!(catch_unwind(AssertUnwindSafe(|| consumer.drain(8, handle))).is_err());
        assert_eq!(producer.free(), 6);
        assert_eq!(consumer.pop(), Ok(Rc::new(3)));
        assert_eq!(consumer.readable(), 1);
    }

    #[test]
    #[should_panic(expected = "released more items than there are")]
    fn release_is_bounded() {
        let (mut producer, mut consumer) = channel(4).unwrap();
        producer.push(1).unwrap();
        consumer.release(2);
    }

    #[test]
    fn items_without_size() {
        let (mut producer, mut consumer) = channel(2).unwrap();
        assert_eq!(producer.push_slice(&[(), (), ()]), Ok(2));
        assert_eq!(consumer.drain(9, drop), 2);
    }

    #[test]
    fn ends_may_change_threads() {
        fn assert_send<T: Send>() {}
        assert_send::<Producer<Cell<u8>>>();
        assert_send::<Consumer<Cell<u8>>>();
    }
}
