//! A bounded queue between two threads for messages that are sent one at a time.
//!
//! Beside each item is a *stamp*, in the same cache line where the item has up to 56 bytes. It says which
//! position was written there last, so the consumer sees from the slot itself whether its item has come: a
//! message costs the transfer of one line, and no index that both ends touch.
//!
//! ```text
//!             head                    tail
//!   … ┌───────┬───────┬───────┬───────┬───────┐ …    the slot of position p is full when its stamp is p + 1;
//!     │ item  │ item  │ item  │ item  │ (old) │      it may be written again when the consumer has released p,
//!     │ stamp │ stamp │ stamp │ stamp │ stamp │      which it says for many at once
//!   … └───────┴───────┴───────┴───────┴───────┘ …
//! ```
//!
//! Compared to [`spsc`](crate::spsc), which publishes an index: a round trip is a third shorter, as each end waits for one
//! line instead of two. Small items in batches are what `spsc` is for, as each takes a whole line here. What is in the ring
//! can only be taken in order, not looked at ahead.
//!
//! Neither end ever waits. Either end may close the ring, and dropping an end closes it, also when its thread
//! panics: nobody waits for a peer that is gone. What was pushed before the producer closed can still be taken.

use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use crate::prefetch::{prefetch_read, prefetch_write};
use crate::slots::{CapacityError, slots_ahead};
pub use crate::spsc::{Closed, PopError, PushError};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, UnsafeCell};

/// How many slots ahead the consumer asks for; and how many it must have taken since it last gave slots back, which it also
/// does when it finds none: then most likely there are so many, and the producer is not writing there.
const TAKEN_AHEAD: u64 = 24;
const TAKEN_BEFORE: u64 = 16;

/// After how many items taken one by one, at most, the consumer gives their slots back.
const BUNCH_MAX: u64 = 256;

/// Creates a ring for `capacity` items.
///
/// ```
/// use ringbuf::stamped::{self, PopError, PushError};
///
/// let (mut producer, mut consumer) = stamped::channel(2)?;
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
    CapacityError::check::<Slot<T>>(capacity)?;
    let slot = |_| Slot { item: UnsafeCell::new(MaybeUninit::uninit()), stamp: AtomicU64::new(0) };
    let ring = Arc::new(Ring {
        released: CachePadded::new(AtomicU64::new(0)),
        slots: (0..capacity).map(slot).collect(),
        closed: AtomicBool::new(false),
    });
    let ahead = slots_ahead(capacity);
    // A part of the ring only, so that the producer of a full one soon finds room.
    let bunch = (capacity as u64 / 4).clamp(1, BUNCH_MAX);
    let producer = Producer { ring: ring.clone(), tail: 0, cached_released: Cell::new(0), ahead };
    let consumer = Consumer { ring, head: 0, released: Cell::new(0), bunch };
    Ok((producer, consumer))
}

/// The end that pushes items; dropping it closes the ring.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// The position of the next item.
    tail: u64,
    /// `ring.released` when last looked at, so at most `ring.released`.
    cached_released: Cell<u64>,
    /// How many slots ahead of the one just pushed it asks for.
    ahead: u64,
}

impl<T> Producer<T> {
    /// Pushes one item.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] if either end closed the ring, otherwise [`PushError::Full`] if there is no
    /// room. Both give the item back.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), PushError<T>> {
        if self.is_closed() {
            return Err(PushError::Closed(item));
        }
        if self.room(1) == 0 {
            return Err(PushError::Full(item));
        }
        // SAFETY: there is room, so the slot at `tail` is the producer's alone until it is stamped.
        unsafe { self.ring.fill(self.tail, item) };
        self.tail = self.tail.wrapping_add(1);
        prefetch_write(self.ring.slot(self.tail.wrapping_add(self.ahead)));
        Ok(())
    }

    /// Pushes as many of the first items as there is room for, publishes them at once, and returns how
    /// many those were.
    ///
    /// # Errors
    ///
    /// [`Closed`] if either end closed the ring; then no item was pushed.
    ///
    /// ```
    /// let (mut producer, mut consumer) = ringbuf::stamped::channel(4)?;
    /// assert_eq!(producer.push_slice(&[1, 2, 3, 4, 5])?, 4);
    /// let mut sum = 0;
    /// assert_eq!(consumer.drain(3, |item| sum += item), 3);
    /// assert_eq!((sum, producer.free()), (6, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn push_slice(&mut self, items: &[T]) -> Result<usize, Closed>
    where
        T: Copy,
    {
        if self.is_closed() {
            return Err(Closed);
        }
        let count = self.room(items.len());
        let asks_ahead = count <= self.capacity() / 4;
        // From the last to the first: the consumer, who waits for the first, then finds all of them there and never
        // takes a line that is still being written.
        for (offset, item) in items[..count].iter().enumerate().rev() {
            let position = self.tail.wrapping_add(offset as u64);
            if asks_ahead {
                // As many as are pushed now most likely come next; with more, they are most likely still being read.
                prefetch_write(self.ring.slot(position.wrapping_add(count as u64)));
            }
            // SAFETY: there is room for `count`, so this slot is the producer's alone until it is stamped.
            unsafe { self.ring.fill(position, *item) };
        }
        self.tail = self.tail.wrapping_add(count as u64);
        Ok(count)
    }

    /// Pushes items of an iterator while there is room, each as it comes, and returns how many those were.
    ///
    /// The iterator is never asked for an item that has no room: to keep the rest, pass `&mut iterator`.
    /// If it panics, the items it gave before are pushed.
    ///
    /// # Errors
    ///
    /// [`Closed`] if either end closed the ring; then the iterator was not asked at all.
    #[inline]
    pub fn push_iter(&mut self, items: impl IntoIterator<Item = T>) -> Result<usize, Closed> {
        if self.is_closed() {
            return Err(Closed);
        }
        let items = items.into_iter();
        let room = self.room(items.size_hint().1.unwrap_or(usize::MAX));
        let mut count = 0;
        for item in items.take(room) {
            // SAFETY: fewer than `room` were pushed, so the slot at `tail` is the producer's alone until it is stamped.
            unsafe { self.ring.fill(self.tail, item) };
            self.tail = self.tail.wrapping_add(1);
            count += 1;
        }
        Ok(count)
    }

    /// Looks at the consumer's progress and returns how many items there is room for, at least: what it took one by
    /// one it may not have given back yet.
    #[inline]
    pub fn free(&self) -> usize {
        // Pairs with the release store in `Consumer::give_back`: the consumer is done with those slots.
        self.cached_released.set(self.ring.released.load(Ordering::Acquire));
        self.cached_free()
    }

    /// Returns how many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
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
        let used = self.tail.wrapping_sub(self.cached_released.get()) as usize;
        debug_assert!(used <= self.capacity());
        self.capacity().wrapping_sub(used)
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

/// The end that takes items; dropping it closes the ring.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    /// The position of the next item to take.
    head: u64,
    /// Equals `ring.released`, which only this end writes; at most `head`.
    released: Cell<u64>,
    /// How many slots may be kept back, at least 1: fewer than the ring has, unless that is 1.
    bunch: u64,
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

    /// Takes the first item, if there is one. Its slot is given back with those of others, at the latest when the
    /// ring is found empty.
    ///
    /// As [`Consumer::pop`] without the reason for there being none.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the item at `head` is there, and the slot the consumer's until it is given back, which happens only
        // after `head` has passed it. So the item is moved out once.
        let item = unsafe { self.ring.empty(self.head) };
        self.head = self.head.wrapping_add(1);
        let kept_back = self.kept_back();
        if kept_back >= TAKEN_BEFORE {
            prefetch_read(self.ring.slot(self.head.wrapping_add(TAKEN_AHEAD)));
        }
        if kept_back >= self.bunch {
            self.give_back();
        }
        Some(item)
    }

    /// Takes up to `max` items, gives their slots back at once, and returns how many those were.
    ///
    /// If `handle` panics, the items it was given are gone and the others stay in the ring, which remains usable.
    #[inline]
    pub fn drain(&mut self, max: usize, mut handle: impl FnMut(T)) -> usize {
        let taken = GiveBackOnDrop { consumer: self };
        let consumer = &mut *taken.consumer;
        let mut count = 0;
        while count < max && consumer.ring.is_full(consumer.head) {
            // SAFETY: as in `take`; `head` passes the item before anything can panic.
            let item = unsafe { consumer.ring.empty(consumer.head) };
            consumer.head = consumer.head.wrapping_add(1);
            count += 1;
            if count as u64 >= TAKEN_BEFORE {
                prefetch_read(consumer.ring.slot(consumer.head.wrapping_add(TAKEN_AHEAD)));
            }
            handle(item);
        }
        count
    }

    /// Returns whether there is no item at the moment. Then all slots have been given back.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let is_empty = !self.ring.is_full(self.head);
        if is_empty && self.kept_back() > 0 {
            // Or the producer would wait for room, and this end for what the producer has none for.
            self.give_back();
        }
        is_empty
    }

    /// Returns how many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
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
        self.is_closed() && self.is_empty()
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

    /// How many slots have been emptied and not given back.
    #[inline]
    fn kept_back(&self) -> u64 {
        self.head.wrapping_sub(self.released.get())
    }

    /// Gives back the slots of all that was taken.
    #[inline]
    fn give_back(&self) {
        self.released.set(self.head);
        // Pairs with the acquire load in `Producer::free`: the consumer is done with those slots.
        self.ring.released.store(self.head, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // The ring drops what was not taken, and must not drop what was.
        self.give_back();
        self.close();
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Consumer").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Gives the slots of the taken items back, also when their handler panics.
struct GiveBackOnDrop<'a, T> {
    consumer: &'a mut Consumer<T>,
}

impl<T> Drop for GiveBackOnDrop<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.consumer.kept_back() > 0 {
            self.consumer.give_back();
        }
    }
}

/// An item and its stamp, in cache lines of their own: in one, where the item has at most 56 bytes.
#[repr(C, align(64))]
struct Slot<T> {
    item: UnsafeCell<MaybeUninit<T>>,
    /// One more than the position whose item was written last, 0 before the first; written by the producer only.
    stamp: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot<[u64; 7]>>() == 64, "seven words and the stamp share a cache line");

/// What both ends share.
struct Ring<T> {
    /// Position behind the last slot given back; written by the consumer only.
    released: CachePadded<AtomicU64>,
    /// As many as a power of two; position `p` is in slot `p % capacity`.
    slots: Box<[Slot<T>]>,
    /// Goes from false to true once, set by either end.
    closed: AtomicBool,
}

// SAFETY: a slot is written by the producer before it stamps it, and read by the consumer after seeing the stamp and
// before giving the slot back in `released`, after which the producer may write it again; each end is one value that
// cannot be shared (it has a `Cell`). So no two threads touch an item at once, items move from the producer's thread
// to the consumer's, and `T: Send` allows that.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn slot(&self, position: u64) -> &Slot<T> {
        let index = position as usize & self.slots.len().wrapping_sub(1);
        debug_assert!(index < self.slots.len());
        // SAFETY: the length is a power of two, since `channel`, so the masked index is below it.
        unsafe { self.slots.get_unchecked(index) }
    }

    /// Whether the item of a position is there, which must be that of the next to take.
    #[inline]
    fn is_full(&self, position: u64) -> bool {
        // Pairs with the release store in `fill`: the item is seen with its stamp.
        self.slot(position).stamp.load(Ordering::Acquire) == position.wrapping_add(1)
    }

    /// Moves an item into the slot of a position and stamps it.
    ///
    /// # Safety
    ///
    /// The slot must have been given back, or never used, and nobody else may fill it.
    #[inline]
    unsafe fn fill(&self, position: u64, item: T) {
        let slot = self.slot(position);
        // SAFETY: the pointer is valid, and the caller guarantees that the slot is theirs alone.
        slot.item.with_mut(|cell| unsafe { cell.cast::<T>().write(item) });
        slot.stamp.store(position.wrapping_add(1), Ordering::Release);
    }

    /// Moves the item out of the slot of a position.
    ///
    /// # Safety
    ///
    /// The item must be there, the slot not given back yet, and the item not used through the slot again.
    #[inline]
    unsafe fn empty(&self, position: u64) -> T {
        // SAFETY: the pointer is valid; the caller guarantees an initialised slot that is moved out of once.
        self.slot(position).item.with(|cell| unsafe { cell.cast::<T>().read() })
    }

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
        // Both ends are gone and their stores are seen, by the synchronisation inside `Arc`; the consumer gave back
        // exactly what it took.
        let mut position = self.released.load(Ordering::Relaxed);
        while self.is_full(position) {
            // SAFETY: the item was pushed and not taken, and nobody else is left.
            drop(unsafe { self.empty(position) });
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
            assert_eq!(producer.push_slice(&[round, 1, 2]), Ok(3));
            assert_eq!(producer.push_iter([3, 4]), Ok(1));
            assert_eq!(producer.push(7), Err(PushError::Full(7)));
            assert_eq!(producer.free(), 0);
            assert_eq!((consumer.pop(), consumer.take()), (Ok(round), Some(1)));
            assert_eq!(producer.push_slice(&[4, 5, 6]), Ok(2));
            let mut expected = 2;
            let handle = |item| {
                assert_eq!(item, expected);
                expected += 1;
            };
            assert_eq!(consumer.drain(10, handle), 4);
            assert_eq!(producer.free(), 4);
            assert_eq!((consumer.pop(), consumer.take()), (Err(PopError::Empty), None));
            assert_eq!(consumer.drain(10, |_| ()), 0);
        }
    }

    #[test]
    fn slots_are_given_back_in_bunches_and_when_the_ring_is_empty() {
        let (mut producer, mut consumer) = channel(16).unwrap();
        assert_eq!(producer.push_slice(&[0; 16]), Ok(16));
        (0..3).for_each(|_| assert_eq!(consumer.pop(), Ok(0)));
        assert_eq!(producer.free(), 0);
        assert_eq!(consumer.pop(), Ok(0));
        assert_eq!(producer.free(), 4);
        assert_eq!(consumer.drain(9, drop), 9);
        assert_eq!(producer.free(), 13);
        (0..3).for_each(|_| assert_eq!(consumer.pop(), Ok(0)));
        assert_eq!(producer.free(), 13);
        assert!(consumer.is_empty());
        assert_eq!(producer.free(), 16);
        producer.push(1).unwrap();
        assert_eq!((consumer.pop(), consumer.pop()), (Ok(1), Err(PopError::Empty)));
        assert_eq!(producer.free(), 16);
    }

    /// The smallest rings, in which nothing can be kept back.
    #[test]
    fn one_slot_and_two() {
        for capacity in [1, 2] {
            let (mut producer, mut consumer) = channel(capacity).unwrap();
            for item in 0..10 {
                producer.push(item).unwrap();
                assert_eq!((consumer.pop(), producer.free()), (Ok(item), capacity));
            }
        }
    }

    #[test]
    fn positions_may_wrap_around() {
        let (mut producer, mut consumer) = channel(2).unwrap();
        let start = u64::MAX - 2;
        (producer.tail, consumer.head) = (start, start);
        producer.cached_released.set(start);
        consumer.released.set(start);
        producer.ring.released.store(start, Ordering::Relaxed);
        for item in 0..10 {
            assert_eq!(producer.push_iter([Rc::new(item), Rc::new(item + 1)]), Ok(2));
            assert_eq!(consumer.pop(), Ok(Rc::new(item)));
            assert_eq!(consumer.drain(9, |last| assert_eq!(*last, item + 1)), 1);
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
        assert_eq!(consumer.drain(2, drop), 2);
        drop(consumer.take());
        assert_eq!(Rc::strong_count(&item), 5);
        // One was taken without its slot being given back.
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
        assert_eq!(producer.free(), 3);
        let handle = |item: Rc<i32>| assert!(*item < 2);
        assert!(catch_unwind(AssertUnwindSafe(|| consumer.drain(8, handle))).is_err());
        assert_eq!(producer.free(), 6);
        assert_eq!((consumer.pop(), consumer.pop()), (Ok(Rc::new(3)), Ok(Rc::new(4))));
        assert!(consumer.is_empty());
    }

    #[test]
    fn capacities_that_cannot_be() {
        let error = |capacity| channel::<u64>(capacity).err().unwrap();
        assert_eq!(error(0), CapacityError::Zero);
        assert_eq!(error(12), CapacityError::NotPowerOfTwo(12));
        assert_eq!(error(1 << 60), CapacityError::TooLarge(1 << 60));
    }

    #[test]
    fn items_without_size_and_large_ones() {
        let (mut producer, mut consumer) = channel(2).unwrap();
        assert_eq!(producer.push_slice(&[(), (), ()]), Ok(2));
        assert_eq!(consumer.drain(9, drop), 2);
        let (mut producer, mut consumer) = channel(2).unwrap();
        producer.push([7_u64; 100]).unwrap();
        assert_eq!(consumer.pop(), Ok([7; 100]));
    }

    #[test]
    fn ends_may_change_threads() {
        fn assert_send<T: Send>() {}
        assert_send::<Producer<Cell<u8>>>();
        assert_send::<Consumer<Cell<u8>>>();
    }
}
