//! Moving numbered items from one thread to others, and checking that they arrive.

use std::{
    marker::PhantomData,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// What goes through a ring.
pub trait Item: Copy + Default + Send + Sync + 'static {
    /// Its size.
    const BYTES: usize = size_of::<Self>();

    /// The item with this number.
    fn numbered(number: u64) -> Self;

    /// Whether it is, in all its bytes, the item with this number.
    fn is(&self, number: u64) -> bool;
}

impl Item for u64 {
    #[inline]
    fn numbered(number: u64) -> Self {
        number
    }

    #[inline]
    fn is(&self, number: u64) -> bool {
        *self == number
    }
}

impl Item for [u64; 8] {
    #[inline]
    fn numbered(number: u64) -> Self {
        [number; 8]
    }

    #[inline]
    fn is(&self, number: u64) -> bool {
        self.iter().fold(0, |different, word| different | (word ^ number)) == 0
    }
}

/// Looks at every item that arrives.
#[derive(Debug)]
pub struct Check<T> {
    seen: u64,
    wrong: u64,
    item: PhantomData<T>,
}

impl<T: Item> Check<T> {
    /// Looks at the next item.
    #[inline]
    pub fn see(&mut self, item: &T) {
        self.wrong += u64::from(!item.is(self.seen));
        self.seen += 1;
    }
}

/// How a transfer went.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// From the first item sent until all consumers had the last.
    pub seconds: f64,
    /// Items that were not the one that was due.
    pub wrong: u64,
}

/// Sends `items` items, `BATCH` at a time, on one thread, and receives them on one thread for each receiver.
///
/// `send` gives how many of the items it took, and a receiver how many it showed: at 0 they are called again after
/// a yield. Threads are pinned when there is a core for each.
pub fn transfer<T: Item, const BATCH: usize, Receive>(
    items: u64,
    mut send: impl FnMut(&[T]) -> usize + Send,
    receivers: Vec<Receive>,
) -> Transfer
where
    Receive: FnMut(&mut Check<T>) -> usize + Send,
{
    let barrier = Barrier::new(receivers.len() + 1);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let has_cores = receivers.len() < cores.len();
    let pin = |thread: usize| {
        if has_cores {
            // A core that cannot be had costs speed only.
            core_affinity::set_for_current(cores[thread]);
        }
    };
    let (barrier, pin) = (&barrier, &pin);
    thread::scope(|scope| {
        let consumers = receivers.into_iter().zip(1..).map(|(mut receive, number)| {
            scope.spawn(move || {
                pin(number);
                let mut check = Check { seen: 0, wrong: 0, item: PhantomData };
                barrier.wait();
                while check.seen < items {
                    if receive(&mut check) == 0 {
                        thread::yield_now();
                    }
                }
                (Instant::now(), check.wrong)
            })
        });
        let consumers: Vec<_> = consumers.collect();
        let producer = scope.spawn(move || {
            pin(0);
            barrier.wait();
            let begun = Instant::now();
            let mut next = 0;
            while next < items {
                let count = BATCH.min((items - next) as usize);
                let batch: [T; BATCH] = std::array::from_fn(|offset| T::numbered(next + offset as u64));
                let mut rest = &batch[..count];
                while !rest.is_empty() {
                    let sent = send(rest);
                    if sent == 0 {
                        thread::yield_now();
                    }
                    rest = &rest[sent..];
                }
                next += count as u64;
            }
            begun
        });
        let begun = producer.join().expect("the producer does not panic");
        let mut transfer = Transfer { seconds: 0.0, wrong: 0 };
        for consumer in consumers {
            let (ended, wrong) = consumer.join().expect("no consumer panics");
            let taken: Duration = ended.saturating_duration_since(begun);
            transfer.seconds = transfer.seconds.max(taken.as_secs_f64());
            transfer.wrong += wrong;
        }
        transfer
    })
}
