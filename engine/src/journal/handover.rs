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
    /// Half of the places are free, or no batch is wanted.
    drained: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    batches: VecDeque<T>,
    /// Whether both ends are there.
    joined: bool,
}

/// A queue of so many places, at least one.
pub(crate) fn handover<T>(capacity: usize) -> (Giver<T>, Taker<T>) {
    assert!(capacity > 0, "a batch needs a place");
    let queue = Mutex::new(Queue { batches: VecDeque::with_capacity(capacity), joined: true });
    let shared = Arc::new(Shared { capacity, queue, filled: Condvar::new(), drained: Condvar::new() });
    (Giver(Arc::clone(&shared)), Taker(shared))
}

impl<T> Giver<T> {
    /// Hands over a batch, when there is room.
    pub(crate) fn give(&self, batch: T) -> Result<(), NotWanted> {
        let Shared { capacity, queue, filled, drained } = &*self.0;
        let mut queue = queue.lock();
        if queue.batches.len() == *capacity {
            drained.wait_while(&mut queue, |queue| queue.joined && queue.batches.len() > capacity / 2);
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
    pub(crate) fn take(&self) -> Option<T> {
        let Shared { capacity, queue, filled, drained } = &*self.0;
        let mut queue = queue.lock();
        filled.wait_while(&mut queue, |queue| queue.joined && queue.batches.is_empty());
        let batch = queue.batches.pop_front();
        let may_go_on = queue.batches.len() == capacity / 2;
        drop(queue);
        if may_go_on {
            drained.notify_one();
        }
        batch
    }
}

impl<T> Shared<T> {
    fn part(&self) {
        self.queue.lock().joined = false;
        self.filled.notify_one();
        self.drained.notify_one();
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.0.part();
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.0.part();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn batches_come_in_order_and_then_none() {
        for capacity in [1, 2, 3, 16] {
            let (giver, taker) = handover(capacity);
            let giving = thread::spawn(move || (0..1_000).try_for_each(|batch| giver.give(batch)));
            let taken: Vec<i32> = std::iter::from_fn(|| taker.take()).collect();
            assert_eq!(giving.join().unwrap(), Ok(()));
            assert!(taken.into_iter().eq(0..1_000), "capacity {capacity}");
        }
    }

    #[test]
    fn who_gives_what_nobody_takes_is_told() {
        let (giver, taker) = handover(2);
        let giving = thread::spawn(move || (0..).map(|batch: u32| giver.give(batch)).find(Result::is_err));
        assert_eq!(taker.take(), Some(0));
        drop(taker);
        assert_eq!(giving.join().unwrap(), Some(Err(NotWanted)));
    }
}
