//! Batches from one thread to another. Who finds the queue full sleeps until half of it is free: waking a thread costs more
//! than handing over a batch, most of all where the processor it slept on has gone to sleep too.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Condvar, Mutex};

/// Gives batches, in order. Dropping it says that there are no more.
#[derive(Debug)]
pub(crate) struct Giver<T>(Arc<Shared<T>>);

/// Takes them. Dropping it says that no more are wanted.
#[derive(Debug)]
pub(crate) struct Taker<T>(Arc<Shared<T>>);

/// Nobody takes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotWanted;

#[derive(Debug)]
struct Shared<T> {
    capacity: usize,
    queue: Mutex<Queue<T>>,
    /// There is a batch, or there will be none.
    filled: Condvar,
    /// At least half of the places are free, or no batch is wanted.
    drained: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    batches: VecDeque<T>,
    /// Whether the giver waits for room.
    giver_sleeps: bool,
    /// Whether both ends are there.
    joined: bool,
}

/// A queue of so many places, at least one.
pub(crate) fn handover<T>(capacity: usize) -> (Giver<T>, Taker<T>) {
    assert!(capacity > 0, "a batch needs a place");
    let queue = Mutex::new(Queue { batches: VecDeque::with_capacity(capacity), giver_sleeps: false, joined: true });
    let shared = Arc::new(Shared { capacity, queue, filled: Condvar::new(), drained: Condvar::new() });
    (Giver(Arc::clone(&shared)), Taker(shared))
}

impl<T> Giver<T> {
    /// Hands over a batch, when there is room.
    pub(crate) fn give(&mut self, batch: T) -> Result<(), NotWanted> {
        let Shared { capacity, queue, filled, drained } = &*self.0;
        let mut queue = queue.lock();
        if queue.batches.len() == *capacity {
            queue.giver_sleeps = true;
            drained.wait_while(&mut queue, |queue| queue.joined && queue.batches.len() > capacity / 2);
            queue.giver_sleeps = false;
        }
        if !queue.joined {
            return Err(NotWanted);
        }
        queue.batches.push_back(batch);
        drop(queue);
        filled.notify_one();
        Ok(())
    }
}

impl<T> Taker<T> {
    /// The next batch, when there is one; `None` when there will be none.
    pub(crate) fn take(&mut self) -> Option<T> {
        let Shared { capacity, queue, filled, drained } = &*self.0;
        let mut queue = queue.lock();
        filled.wait_while(&mut queue, |queue| queue.joined && queue.batches.is_empty());
        let batch = queue.batches.pop_front();
        let may_go_on = queue.giver_sleeps && queue.batches.len() <= capacity / 2;
        drop(queue);
        if may_go_on {
            drained.notify_one();
        }
        batch
    }
}

impl<T> Shared<T> {
    /// One of the two goes.
    fn part(&self, queue: &mut Queue<T>) {
        queue.joined = false;
        self.filled.notify_one();
        self.drained.notify_one();
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.0.part(&mut self.0.queue.lock());
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        self.0.part(&mut queue);
        let unwanted = std::mem::take(&mut queue.batches);
        // What a batch does when it is dropped is its own affair.
        drop(queue);
        drop(unwanted);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Waits until the giver has found the queue full.
    fn await_sleeping(taker: &Taker<i32>) {
        let sleeps = |queue: &Queue<i32>| queue.giver_sleeps && queue.batches.len() == taker.0.capacity;
        while !sleeps(&taker.0.queue.lock()) {
            thread::yield_now();
        }
    }

    #[test]
    fn batches_come_in_order_and_then_none() {
        for capacity in [1, 2, 3, 16] {
            let (mut giver, mut taker) = handover(capacity);
            let giving = thread::spawn(move || (0..1_000).try_for_each(|batch| giver.give(batch)));
            let taken: Vec<i32> = std::iter::from_fn(|| taker.take()).collect();
            assert_eq!(giving.join().unwrap(), Ok(()));
            assert!(taken.into_iter().eq(0..1_000), "capacity {capacity}");
        }
    }

    #[test]
    fn a_giver_sleeps_until_half_is_taken() {
        let (mut giver, mut taker) = handover(4);
        let giving = thread::spawn(move || (0..9).try_for_each(|batch| giver.give(batch)));
        await_sleeping(&taker);
        assert_eq!(taker.take(), Some(0));
        let queue = taker.0.queue.lock();
        // It has a place, and may not have it yet, whatever wakes it.
        assert_eq!((queue.giver_sleeps, queue.batches.len()), (true, 3));
        drop(queue);
        assert_eq!(taker.take(), Some(1));
        await_sleeping(&taker);
        assert_eq!(taker.0.queue.lock().batches, [2, 3, 4, 5]);
        assert!(std::iter::from_fn(|| taker.take()).eq(2..9));
        assert_eq!(giving.join().unwrap(), Ok(()));
    }

    #[test]
    fn who_sleeps_is_woken_when_the_other_goes() {
        let (mut giver, taker) = handover(2);
        let giving = thread::spawn(move || (0..).map(|batch| giver.give(batch)).position(|given| given.is_err()));
        await_sleeping(&taker);
        drop(taker);
        assert_eq!(giving.join().unwrap(), Some(2));

        let (giver, mut taker) = handover::<i32>(2);
        let taking = thread::spawn(move || taker.take());
        thread::yield_now();
        drop(giver);
        assert_eq!(taking.join().unwrap(), None);
    }
}
