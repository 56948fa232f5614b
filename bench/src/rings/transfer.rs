//! Moving numbered items from one thread to others, and checking that they arrive.

use std::{
    hint::spin_loop,
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

impl<const WORDS: usize> Item for [u64; WORDS]
where
    Self: Default,
{
    #[inline]
    fn numbered(number: u64) -> Self {
        [number; WORDS]
    }

    #[inline]
    fn is(&self, number: u64) -> bool {
        self.iter().fold(0, |different, word| different | (word ^ number)) == 0
    }
}

/// Looks at every item that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Check<T> {
    pub(super) seen: u64,
    pub(super) wrong: u64,
    item: PhantomData<T>,
}

impl<T: Item> Check<T> {
    pub(super) const fn new() -> Self {
        Self { seen: 0, wrong: 0, item: PhantomData }
    }

    /// Looks at the next item.
    #[inline]
    pub fn see(&mut self, item: &T) {
        self.wrong += u64::from(!item.is(self.seen));
        self.seen += 1;
    }

    /// Looks at an item, if there is one, and gives how many there were.
    #[inline]
    pub fn see_one(&mut self, item: Option<T>) -> usize {
        item.inspect(|item| self.see(item)).is_some().into()
    }
}

/// How everybody waits here who finds a ring full or empty: spins for some microseconds, then yields now and then.
#[derive(Debug, Default)]
pub(super) struct Wait {
    spins: u32,
}

impl Wait {
    const SPINS: u32 = 200;

    #[inline]
    pub(super) fn after(&mut self, moved: usize) {
        if moved > 0 {
            self.spins = 0;
        } else if self.spins < Self::SPINS {
            self.spins += 1;
            spin_loop();
        } else {
            self.spins = 0;
            thread::yield_now();
        }
    }
}

/// Pins the calling thread to one of the cores, when there is one for each of so many threads.
pub(super) fn pin(thread: usize, threads: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if threads <= cores.len() {
        // A core that cannot be had costs speed only.
        core_affinity::set_for_current(cores[thread]);
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
/// a [`Wait`]. Threads are pinned when there is a core for each.
pub fn transfer<T: Item, const BATCH: usize, Receive>(
    items: u64,
    mut send: impl FnMut(&[T]) -> usize + Send,
    receivers: Vec<Receive>,
) -> Transfer
where
    Receive: FnMut(&mut Check<T>) -> usize + Send,
{
    let threads = receivers.len() + 1;
    let barrier = &Barrier::new(threads);
    thread::scope(|scope| {
        let consumers = receivers.into_iter().zip(1..).map(|(mut receive, number)| {
            scope.spawn(move || {
                pin(number, threads);
                let mut check = Check::new();
                let mut wait = Wait::default();
                barrier.wait();
                while check.seen < items {
                    wait.after(receive(&mut check));
                }
                (Instant::now(), check.wrong)
            })
        });
        let consumers: Vec<_> = consumers.collect();
        let producer = scope.spawn(move || {
            pin(0, threads);
            let mut wait = Wait::default();
            barrier.wait();
            let begun = Instant::now();
            send_all::<T, BATCH>(items, &mut send, |sent| wait.after(sent));
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

/// Sends `items` items, `BATCH` at a time, and calls `after` with how many were taken each time.
#[inline]
pub(super) fn send_all<T: Item, const BATCH: usize>(
    items: u64,
    mut send: impl FnMut(&[T]) -> usize,
    mut after: impl FnMut(usize),
) {
    let mut next = 0;
    while next < items {
        let count = BATCH.min((items - next) as usize);
        let batch: [T; BATCH] = std::array::from_fn(|offset| T::numbered(next + offset as u64));
        let mut rest = &batch[..count];
        while !rest.is_empty() {
            let sent = send(rest);
            after(sent);
            rest = &rest[sent..];
        }
        next += count as u64;
    }
}
