//! A ring with one producer and several consumers, each of which reads every item in place.
//!
//! A consumer may be gated on others: it sees an item only when all its gates have released it. A slot is
//! free again when all consumers have released it, so the slowest holds the producer up. The manner is that
//! of the LMAX Disruptor (<https://lmax-exchange.github.io/disruptor/disruptor.html>).
//!
//! ```text
//!                 ┌─► journaler ─┐
//!   producer ─────┤              ├─► publisher ─ ─ ─► (frees the slots for the producer)
//!                 └─► matcher  ──┘
//!
//!   builder.consumer(&[])  twice, then  builder.consumer(&[journaler, matcher])
//! ```
//!
//! Nobody ever waits inside. A producer that closes, or is dropped, ends the ring in order: the consumers
//! read what is left and are finished. A consumer that is dropped before it is finished poisons the ring,
//! since an item it never saw must not go by unnoticed: the producer is refused, and the other consumers
//! are finished once they have read what they can still get.

use std::cell::Cell;
use std::error::Error;
use std::fmt;

use crossbeam_utils::CachePadded;

use crate::slots::{CapacityError, Slots, slots_ahead};
use crate::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Lays out a broadcast ring: its capacity, its consumers, and who is behind whom.
///
/// ```
/// use ringbuf::broadcast::Builder;
///
/// let mut builder = Builder::new(4);
/// let journaler = builder.consumer(&[]);
/// let publisher = builder.consumer(&[journaler]);
/// let (mut producer, mut consumers) = builder.build::<u64>()?;
///
/// let mut claim = producer.claim(3)?;
/// claim.push(10);
/// claim.push(20);
/// assert_eq!(claim.publish(), 2);
///
/// assert_eq!(consumers[publisher.index()].readable(), 0);
/// assert_eq!(consumers[journaler.index()].get(1), Some(&20));
/// consumers[journaler.index()].release(2);
/// assert_eq!(consumers[publisher.index()].get(0), Some(&10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    capacity: usize,
    /// Of each consumer, the indices of those it is gated on.
    gates: Vec<Box<[usize]>>,
}

/// Names a consumer of the [`Builder`] that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerId(usize);

impl ConsumerId {
    /// Returns the place of the consumer among those that [`Builder::build`] returns.
    pub fn index(self) -> usize {
        self.0
    }
}

impl Builder {
    /// Starts a ring for `capacity` items.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, gates: Vec::new() }
    }

    /// Adds a consumer that sees an item when all the `gates` have released it, or as soon as it is
    /// published if there are none.
    pub fn consumer(&mut self, gates: &[ConsumerId]) -> ConsumerId {
        self.gates.push(gates.iter().map(|gate| gate.0).collect());
        ConsumerId(self.gates.len() - 1)
    }

    /// Builds the ring and returns its ends, the consumers in the order in which they were added.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if such a ring cannot be.
    pub fn build<T: Copy + Send + Sync>(self) -> Result<(Producer<T>, Vec<Consumer<T>>), BuildError> {
        if self.gates.is_empty() {
            return Err(BuildError::NoConsumers);
        }
        for (index, gates) in self.gates.iter().enumerate() {
            // Gates come before whom they gate, so there is no cycle.
            if let Some(gate) = gates.iter().find(|gate| **gate >= index) {
                return Err(BuildError::UnknownGate { consumer: ConsumerId(index), gate: ConsumerId(*gate) });
            }
        }
        let progress = self.gates.iter().map(|gates| Progress {
            released: CachePadded::new(AtomicU64::new(0)),
            gone: AtomicBool::new(false),
            gates: gates.clone(),
        });
        let ring = Arc::new(Ring {
            published: CachePadded::new(AtomicU64::new(0)),
            slots: Slots::new(self.capacity)?,
            consumers: progress.collect(),
            state: AtomicU8::new(OPEN),
        });
        // Who gates another is never behind it, so only those who gate nobody can be the slowest.
        let is_gate = |index| self.gates.iter().any(|gates| gates.contains(&index));
        let last = (0..self.gates.len()).filter(|index| !is_gate(*index)).collect();
        let consumers = (0..self.gates.len()).map(|index| Consumer {
            ring: ring.clone(),
            index,
            position: 0,
            cached_limit: Cell::new(0),
        });
        let consumers = consumers.collect();
        let ahead = slots_ahead(self.capacity);
        Ok((Producer { ring, position: 0, cached_slowest: Cell::new(0), last, ahead }, consumers))
    }
}

/// Why a ring could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The capacity cannot be that of a ring.
    Capacity(CapacityError),
    /// Nobody would read the items.
    NoConsumers,
    /// A consumer is gated on one that was not added before it.
    UnknownGate {
        /// The gated consumer.
        consumer: ConsumerId,
        /// The gate that this builder did not know then.
        gate: ConsumerId,
    },
}

impl From<CapacityError> for BuildError {
    fn from(error: CapacityError) -> Self {
        Self::Capacity(error)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity(error) => error.fmt(formatter),
            Self::NoConsumers => write!(formatter, "a broadcast ring needs a consumer"),
            Self::UnknownGate { consumer, gate } => {
                let (consumer, gate) = (consumer.0, gate.0);
                write!(formatter, "consumer {consumer} is gated on {gate}, which was not added before it")
            }
        }
    }
}

impl Error for BuildError {}

/// The end that publishes items; dropping it closes the ring.
pub struct Producer<T: Copy> {
    ring: Arc<Ring<T>>,
    /// Equals `ring.published`, which only this end writes.
    position: u64,
    /// What the slowest consumer had released when last looked at.
    cached_slowest: Cell<u64>,
    /// The consumers that gate nobody.
    last: Box<[usize]>,
    /// How many slots ahead of what is written one by one it asks for.
    ahead: u64,
}

impl<T: Copy> Producer<T> {
    /// Publishes one item.
    ///
    /// # Errors
    ///
    /// [`PushError::Poisoned`] or [`PushError::Closed`] if the ring is, otherwise [`PushError::Full`] if the
    /// slowest consumer leaves no room. All give the item back.
    #[inline]
    pub fn publish(&mut self, item: T) -> Result<(), PushError<T>> {
        match self.claim(1) {
            Ok(mut claim) => {
                claim.push(item);
                claim.publish();
                self.ring.slots.prefetch_write(self.position.wrapping_add(self.ahead));
                Ok(())
            }
            Err(error) => Err(error.map(|()| item)),
        }
    }

    /// Claims room for at least one and at most `max` items, to be written and then published at once.
    ///
    /// # Errors
    ///
    /// As for [`Producer::publish`].
    #[inline]
    pub fn claim(&mut self, max: usize) -> Result<Claim<'_, T>, PushError> {
        match self.ring.state() {
            OPEN => {}
            CLOSED => return Err(PushError::Closed(())),
            _ => return Err(PushError::Poisoned(())),
        }
        let known = self.cached_free();
        let room = if known >= max { max } else { self.free().min(max) };
        if room == 0 && max != 0 {
            return Err(PushError::Full(()));
        }
        Ok(Claim { producer: self, room, written: 0 })
    }

    /// Looks at the consumers' progress and returns how many items there is room for, at least.
    #[inline]
    pub fn free(&self) -> usize {
        let slowest = self.last.iter().map(|index| self.ring.released(*index)).min();
        self.cached_slowest.set(slowest.expect("a ring has consumers, and not all of them gate another"));
        self.cached_free()
    }

    /// Returns how many items were published so far, which is the position of the next.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.slots.capacity()
    }

    /// Returns whether the ring is closed or poisoned.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ring.state() != OPEN
    }

    /// Returns whether a consumer was dropped before it was finished.
    pub fn is_poisoned(&self) -> bool {
        self.ring.is_poisoned()
    }

    /// Closes the ring: nothing more can be published, the consumers can still read what was.
    pub fn close(&self) {
        self.ring.mark(CLOSED);
    }

    #[inline]
    fn cached_free(&self) -> usize {
        let used = self.position.wrapping_sub(self.cached_slowest.get()) as usize;
        debug_assert!(used <= self.capacity());
        self.capacity().wrapping_sub(used)
    }
}

impl<T: Copy> Drop for Producer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T: Copy> fmt::Debug for Producer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Producer").field("position", &self.position).finish_non_exhaustive()
    }
}

/// Room claimed by [`Producer::claim`]; dropping it without publishing publishes nothing.
#[must_use = "what is written into a claim is seen only after `publish`"]
pub struct Claim<'a, T: Copy> {
    producer: &'a mut Producer<T>,
    room: usize,
    /// At most `room`.
    written: usize,
}

impl<T: Copy> Claim<'_, T> {
    /// Writes the next item.
    ///
    /// # Panics
    ///
    /// If nothing is left of the claim; see [`Claim::remaining`].
    #[inline]
    pub fn push(&mut self, item: T) {
        assert!(self.written < self.room, "wrote more items than were claimed");
        // SAFETY: all consumers have released this slot and none sees the position before it is published,
        // so it is the producer's alone, which the claim borrows mutably.
        unsafe { self.producer.ring.slots.write(self.position(), item) };
        self.written += 1;
    }

    /// Writes as many of the first items as are left of the claim, and returns how many those were.
    ///
    /// ```
    /// let mut builder = ringbuf::broadcast::Builder::new(4);
    /// builder.consumer(&[]);
    /// let (mut producer, mut consumers) = builder.build()?;
    /// let mut claim = producer.claim(3)?;
    /// assert_eq!(claim.push_slice(&[1, 2]), 2);
    /// assert_eq!(claim.push_slice(&[3, 4]), 1);
    /// claim.publish();
    /// let mut sum = 0;
    /// consumers[0].for_each(4, |item| sum += item);
    /// assert_eq!(sum, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn push_slice(&mut self, items: &[T]) -> usize {
        let count = self.remaining().min(items.len());
        // SAFETY: as in `push`, for each of these slots; `room` is at most the ring's capacity.
        unsafe { self.producer.ring.slots.write_slice(self.position(), &items[..count]) };
        self.written += count;
        count
    }

    /// Returns the position that the next item written will have.
    #[inline]
    pub fn position(&self) -> u64 {
        self.producer.position.wrapping_add(self.written as u64)
    }

    /// Returns how many items were written.
    #[inline]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Returns how many items can still be written.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.room - self.written
    }

    /// Publishes all that was written at once, and returns how many items that were.
    #[inline]
    pub fn publish(self) -> usize {
        if self.written != 0 {
            self.producer.position = self.position();
            // Pairs with the acquire load in `Consumer::readable`: the items are seen with the position.
            self.producer.ring.published.store(self.producer.position, Ordering::Release);
        }
        self.written
    }
}

impl<T: Copy> fmt::Debug for Claim<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Claim");
        debug.field("room", &self.room).field("written", &self.written).finish_non_exhaustive()
    }
}

/// One of the ends that read items; dropping it before it is finished poisons the ring.
pub struct Consumer<T: Copy> {
    ring: Arc<Ring<T>>,
    /// Its place in `ring.consumers`.
    index: usize,
    /// Equals what `ring.consumers[index]` has released, which only this end writes.
    position: u64,
    /// The position up to which items were readable when last looked at.
    cached_limit: Cell<u64>,
}

impl<T: Copy> Consumer<T> {
    /// Looks at the progress of the producer or the gates and returns how many items can be read, at least.
    #[inline]
    pub fn readable(&self) -> usize {
        self.cached_limit.set(self.ring.limit(self.index));
        self.cached_readable()
    }

    /// Borrows the item `offset` places behind the first not released, if so many can be read.
    #[inline]
    pub fn get(&self, offset: usize) -> Option<&T> {
        if self.cached_readable() <= offset && self.readable() <= offset {
            return None;
        }
        // SAFETY: the item is published, and the producer does not write its slot before this consumer
        // releases it, for which the consumer has to be borrowed mutably.
        Some(unsafe { self.ring.slots.get(self.position.wrapping_add(offset as u64)) })
    }

    /// Releases the first `count` items at once: to those gated on this consumer, and to the producer.
    ///
    /// # Panics
    ///
    /// If fewer can be read.
    #[inline]
    pub fn release(&mut self, count: usize) {
        assert!(self.available(count) == count, "released more items than can be read");
        self.advance(count as u64);
    }

    /// Hands up to `max` items to `handle`, releases them at once, and returns how many those were.
    ///
    /// If `handle` panics, nothing is released.
    #[inline]
    pub fn for_each(&mut self, max: usize, mut handle: impl FnMut(&T)) -> usize {
        let count = self.available(max);
        let more = (self.cached_readable() - count).min(count);
        self.ring.slots.prefetch(self.position.wrapping_add(count as u64), more);
        // SAFETY: as in `get`; `count` items can be read, and none is released before all were handled.
        unsafe { self.ring.slots.get_each(self.position, count, &mut handle) };
        self.advance(count as u64);
        count
    }

    /// Returns how many items were released so far, which is the position of the item at offset 0.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.ring.slots.capacity()
    }

    /// Returns whether the ring is closed or poisoned; there may be items left to read.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ring.state() != OPEN
    }

    /// Returns whether a consumer was dropped before it was finished.
    pub fn is_poisoned(&self) -> bool {
        self.ring.is_poisoned()
    }

    /// Returns whether the ring is closed or poisoned and this consumer has released all it can still get.
    ///
    /// Nothing follows in a closed ring. In a poisoned one the batch that the producer was just publishing
    /// may.
    pub fn is_finished(&self) -> bool {
        self.ring.state() != OPEN && self.ring.is_end(self.index, self.position)
    }

    /// The items that can be read as far as known, looking again only if those are fewer than wanted; at
    /// most `wanted`.
    #[inline]
    fn available(&self, wanted: usize) -> usize {
        let known = self.cached_readable();
        if known >= wanted { wanted } else { self.readable().min(wanted) }
    }

    #[inline]
    fn cached_readable(&self) -> usize {
        let readable = self.cached_limit.get().wrapping_sub(self.position) as usize;
        debug_assert!(readable <= self.capacity());
        readable
    }

    #[inline]
    fn advance(&mut self, count: u64) {
        if count == 0 {
            return; // A store would take the cache line from its readers for nothing.
        }
        self.position = self.position.wrapping_add(count);
        // Pairs with the acquire load in `Ring::released`: this consumer is done with those slots.
        self.ring.consumers[self.index].released.store(self.position, Ordering::Release);
    }
}

impl<T: Copy> Drop for Consumer<T> {
    fn drop(&mut self) {
        if !self.is_finished() {
            self.ring.mark(POISONED);
        }
        // Pairs with the acquire load in `Ring::is_end`: what it released last is seen.
        self.ring.consumers[self.index].gone.store(true, Ordering::Release);
    }
}

impl<T: Copy> fmt::Debug for Consumer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Consumer");
        debug.field("index", &self.index).field("position", &self.position).finish_non_exhaustive()
    }
}

/// Why nothing could be published; holds the item, if there was one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T = ()> {
    /// The slowest consumer leaves no room at the moment.
    Full(T),
    /// The producer closed the ring.
    Closed(T),
    /// A consumer was dropped before it was finished.
    Poisoned(T),
}

impl<T> PushError<T> {
    /// Returns the item that was not published.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) | Self::Poisoned(item) => item,
        }
    }

    fn map<U>(self, f: impl FnOnce(T) -> U) -> PushError<U> {
        match self {
            Self::Full(item) => PushError::Full(f(item)),
            Self::Closed(item) => PushError::Closed(f(item)),
            Self::Poisoned(item) => PushError::Poisoned(f(item)),
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
            Self::Poisoned(_) => "Poisoned(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "the ring is full",
            Self::Closed(_) => "the ring is closed",
            Self::Poisoned(_) => "the ring is poisoned: a consumer is gone",
        })
    }
}

impl<T> Error for PushError<T> {}

/// The state of a ring to which things are still published.
const OPEN: u8 = 0;
/// The bit that the producer sets when it closes the ring.
const CLOSED: u8 = 1;
/// The bit that a consumer sets when it is dropped before it is finished.
const POISONED: u8 = 2;

/// What all ends share.
struct Ring<T> {
    /// Position behind the last item published; written by the producer only.
    published: CachePadded<AtomicU64>,
    slots: Slots<T>,
    consumers: Box<[Progress]>,
    /// `OPEN`, or the bits `CLOSED` and `POISONED`, which are set and never cleared.
    state: AtomicU8,
}

/// What the others need to know of a consumer.
struct Progress {
    /// Position behind the last item released; written by the consumer only, never ahead of its gates.
    released: CachePadded<AtomicU64>,
    /// Whether the consumer was dropped.
    gone: AtomicBool,
    /// The consumers it is gated on.
    gates: Box<[usize]>,
}

// SAFETY: a slot is written by the producer only after all consumers have released the item before it, and
// read by consumers only after it was published (or released by gates that read it after that) and before
// they release it; each end is one value that cannot be shared (it has a `Cell`). So nobody writes a slot
// while another touches it. Several consumers read an item at once and copies come from another thread,
// which `T: Send + Sync` allows.
unsafe impl<T: Send + Sync> Sync for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn state(&self) -> u8 {
        // Pairs with `mark`: what the marking end did before is seen.
        self.state.load(Ordering::Acquire)
    }

    fn is_poisoned(&self) -> bool {
        self.state() & POISONED != 0
    }

    fn mark(&self, bit: u8) {
        self.state.fetch_or(bit, Ordering::AcqRel);
    }

    #[inline]
    fn released(&self, index: usize) -> u64 {
        // Pairs with the release store in `Consumer::advance`: that consumer, and those it is gated on,
        // are done with the slots before.
        self.consumers[index].released.load(Ordering::Acquire)
    }

    #[inline]
    fn published(&self) -> u64 {
        // Pairs with the release store in `Claim::publish`.
        self.published.load(Ordering::Acquire)
    }

    /// The position up to which a consumer may read.
    #[inline]
    fn limit(&self, index: usize) -> u64 {
        let gates = self.consumers[index].gates.iter();
        gates.map(|gate| self.released(*gate)).min().unwrap_or_else(|| self.published())
    }

    /// Whether a consumer will not be let past a position that it has reached.
    ///
    /// Each flag is read before the position that it makes final.
    fn is_end(&self, index: usize, position: u64) -> bool {
        let gates = &self.consumers[index].gates;
        if gates.is_empty() {
            return self.state() != OPEN && self.published() == position;
        }
        gates.iter().any(|gate| {
            let gone = self.consumers[*gate].gone.load(Ordering::Acquire);
            let released = self.released(*gate);
            released == position && (gone || self.is_end(*gate, released))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn ring(capacity: usize, gates: &[&[usize]]) -> (Producer<u64>, Vec<Consumer<u64>>) {
        let mut builder = Builder::new(capacity);
        for gates in gates {
            let gates: Vec<_> = gates.iter().map(|gate| ConsumerId(*gate)).collect();
            builder.consumer(&gates);
        }
        builder.build().unwrap()
    }

    #[test]
    fn rings_that_cannot_be() {
        let error = |builder: Builder| builder.build::<u64>().err().unwrap();
        assert_eq!(error(Builder::new(4)), BuildError::NoConsumers);
        let mut builder = Builder::new(3);
        let first = builder.consumer(&[]);
        assert_eq!(error(builder), BuildError::Capacity(CapacityError::NotPowerOfTwo(3)));
        let mut builder = Builder::new(4);
        let itself = builder.consumer(&[first]);
        assert_eq!(error(builder), BuildError::UnknownGate { consumer: itself, gate: first });
    }

    /// What is written is seen when it is published, as far as there was room; a handler that panics releases nothing.
    #[test]
    fn slices_go_around_the_ring() {
        for capacity in [1, 4] {
            let (mut producer, mut consumers) = ring(capacity, &[&[]]);
            let consumer = &mut consumers[0];
            let items: Vec<u64> = (0..6).collect();
            for _ in 0..5 {
                let mut nothing = producer.claim(0).unwrap();
                assert_eq!((nothing.push_slice(&items), nothing.publish()), (0, 0));
                assert_eq!(producer.claim(capacity).unwrap().push_slice(&items[3..]), capacity.min(3));
                assert_eq!(consumer.readable(), 0);
                let mut claim = producer.claim(3).unwrap();
                claim.push(items[0]);
                let more = claim.push_slice(&items[1..]);
                assert_eq!((more, claim.publish()), (capacity.min(3) - 1, capacity.min(3)));
                let panics = AssertUnwindSafe(|| consumer.for_each(4, |item| assert!(*item < more as u64, "")));
                assert!(catch_unwind(panics).is_err());
                let mut seen = Vec::new();
                assert_eq!(consumer.for_each(4, |item| seen.push(*item)), capacity.min(3));
                assert_eq!(seen, items[..capacity.min(3)]);
            }
        }
    }

    #[test]
    fn the_slowest_holds_the_producer_up() {
        let (mut producer, mut consumers) = ring(4, &[&[], &[]]);
        for round in 0..50 {
            let start = round * 4;
            assert_eq!(producer.position(), start);
            let mut claim = producer.claim(9).unwrap();
            assert_eq!((claim.remaining(), claim.position()), (4, start));
            (0..4).for_each(|item| claim.push(start + item));
            assert_eq!(claim.publish(), 4);
            assert_eq!(producer.publish(0), Err(PushError::Full(0)));
            assert_eq!(consumers[0].for_each(9, |item| assert!(*item >= start)), 4);
            assert_eq!((producer.free(), consumers[1].readable()), (0, 4));
            assert_eq!((consumers[1].get(3), consumers[1].get(4)), (Some(&(start + 3)), None));
            consumers[1].release(1);
            assert_eq!(producer.free(), 1);
            consumers[1].release(3);
            assert_eq!(consumers[1].position(), start + 4);
        }
    }

    #[test]
    fn a_gated_consumer_is_behind_all_its_gates() {
        let (mut producer, mut consumers) = ring(4, &[&[], &[], &[0, 1]]);
        producer.publish(1).unwrap();
        producer.publish(2).unwrap();
        assert_eq!(consumers[2].readable(), 0);
        consumers[0].release(2);
        assert_eq!(consumers[2].get(0), None);
        consumers[1].release(1);
        assert_eq!(consumers[2].readable(), 1);
        assert_eq!(producer.free(), 2);
        consumers[2].release(1);
        assert_eq!(producer.free(), 3);
    }

    #[test]
    fn a_claim_given_up_publishes_nothing() {
        let (mut producer, consumers) = ring(2, &[&[]]);
        let mut claim = producer.claim(2).unwrap();
        claim.push(1);
        drop(claim);
        assert_eq!((producer.position(), producer.free(), consumers[0].readable()), (0, 2, 0));
        assert_eq!(producer.claim(0).unwrap().publish(), 0);
        let mut claim = producer.claim(1).unwrap();
        claim.push(2);
        assert!(catch_unwind(AssertUnwindSafe(|| claim.push(3))).is_err());
        claim.publish();
        assert_eq!(consumers[0].get(0), Some(&2));
    }

    #[test]
    fn a_closed_ring_is_finished_when_all_is_read() {
        let (mut producer, mut consumers) = ring(4, &[&[], &[0]]);
        producer.publish(1).unwrap();
        drop(producer);
        assert!(consumers.iter().all(|consumer| consumer.is_closed() && !consumer.is_finished()));
        consumers[0].release(1);
        assert!(consumers[0].is_finished() && !consumers[1].is_finished());
        drop(consumers.remove(0));
        assert!(!consumers[0].is_poisoned());
        assert_eq!(consumers[0].for_each(9, |item| assert_eq!(*item, 1)), 1);
        assert!(consumers[0].is_finished());
    }

    #[test]
    fn a_consumer_gone_early_poisons_the_ring() {
        // The third is behind both others, the fourth only behind the second.
        let (mut producer, mut consumers) = ring(8, &[&[], &[], &[0, 1], &[1]]);
        (0..3).for_each(|item| producer.publish(item).unwrap());
        let (mut fourth, mut third) = (consumers.pop().unwrap(), consumers.pop().unwrap());
        let (mut second, mut first) = (consumers.pop().unwrap(), consumers.pop().unwrap());
        first.release(2);
        drop(first);
        assert!(producer.is_poisoned() && producer.is_closed());
        assert_eq!(producer.publish(9), Err(PushError::Poisoned(9)));
        assert!(!second.is_finished() && !third.is_finished() && !fourth.is_finished());
        assert_eq!(second.for_each(9, |_| ()), 3);
        assert_eq!((third.for_each(9, |_| ()), fourth.for_each(9, |_| ())), (2, 3));
        assert!(second.is_finished() && third.is_finished() && fourth.is_finished());
    }

    #[test]
    fn a_panicking_handler_releases_nothing() {
        let (mut producer, mut consumers) = ring(4, &[&[]]);
        (0..3).for_each(|item| producer.publish(item).unwrap());
        let handle = |item: &u64| assert!(*item < 1);
        assert!(catch_unwind(AssertUnwindSafe(|| consumers[0].for_each(9, handle))).is_err());
        assert_eq!((consumers[0].readable(), consumers[0].position()), (3, 0));
        assert!(catch_unwind(AssertUnwindSafe(|| consumers[0].release(4))).is_err());
        assert_eq!(consumers[0].readable(), 3);
    }
}
