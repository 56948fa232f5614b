//! A message there and back through two queues, the next one only after the last has returned.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};

use crossbeam_queue::ArrayQueue;
use ringbuf_peer::{
    HeapRb,
    traits::{Consumer as _, Producer as _, Split as _},
};

use super::{
    CAPACITY,
    transfer::{Item, Wait, pin},
};

/// What is sent there and back: as large as a ring of one cache line for each message takes.
type Message = [u64; 7];

/// How round trips went.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// Of one, in nanoseconds; half took no longer. Reading the clock once is part of it.
    pub median_ns: f64,
    /// Messages that were not the one that was due.
    pub wrong: u64,
}

/// A queue, by name.
pub type Case = (&'static str, fn(usize) -> RoundTrips);

/// Each queue whose round trips are measured; ours first.
pub const CASES: [Case; 7] = [
    ("reprise stamped", stamped),
    ("reprise spsc", spsc),
    ("rtrb", rtrb),
    ("ringbuf", ringbuf_peer),
    ("crossbeam ArrayQueue", array_queue),
    ("crossbeam-channel", channel),
    ("kanal", kanal),
];

/// One end of two queues, and what is there at the other.
type Ends<Send, Take> = ((Send, Take), (Send, Take));

/// Makes `trips` round trips between two threads.
fn round_trips<Send, Take>(trips: usize, (here, there): Ends<Send, Take>) -> RoundTrips
where
    Send: FnMut(Message) -> bool + std::marker::Send,
    Take: FnMut() -> Option<Message> + std::marker::Send,
{
    let barrier = &Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut send, mut take) = there;
            pin(1, 2);
            barrier.wait();
            for _ in 0..trips {
                let message = wait_for(&mut take);
                assert!(send(message), "one message is under way");
            }
        });
        let measured = scope.spawn(move || {
            let (mut send, mut take) = here;
            pin(0, 2);
            let mut taken = Vec::with_capacity(trips);
            let mut wrong = 0;
            barrier.wait();
            let mut last = Instant::now();
            for number in 0..trips as u64 {
                assert!(send(Message::numbered(number)), "one message is under way");
                wrong += u64::from(!wait_for(&mut take).is(number));
                let now = Instant::now();
                taken.push((now - last).as_nanos() as u64);
                last = now;
            }
            let middle = taken.len() / 2;
            let (_, median, _) = taken.select_nth_unstable(middle);
            RoundTrips { median_ns: *median as f64, wrong }
        });
        measured.join().expect("no round trip panics")
    })
}

#[inline]
fn wait_for(take: &mut impl FnMut() -> Option<Message>) -> Message {
    let mut wait = Wait::default();
    loop {
        match take() {
            Some(message) => return message,
            None => wait.after(0),
        }
    }
}

/// The ends from two queues made by the same expression: `$producer` and `$consumer` name what it gives.
macro_rules! trips {
    ($trips:ident, $make:expr, |$producer:ident, $message:ident| $send:expr, |$consumer:ident| $take:expr) => {{
        let ends = || {
            #[allow(unused_mut, reason = "some queues are used through a shared reference")]
            let (mut $producer, mut $consumer) = $make;
            (move |$message: Message| $send, move || $take)
        };
        let ((send_there, take_there), (send_back, take_back)) = (ends(), ends());
        round_trips($trips, ((send_there, take_back), (send_back, take_there)))
    }};
}

fn stamped(trips: usize) -> RoundTrips {
    let make = || ringbuf::stamped::channel(CAPACITY).expect("the capacity is a power of two");
    trips!(trips, make(), |producer, message| producer.push(message).is_ok(), |consumer| consumer.take())
}

fn spsc(trips: usize) -> RoundTrips {
    let make = || ringbuf::spsc::channel(CAPACITY).expect("the capacity is a power of two");
    trips!(trips, make(), |producer, message| producer.push(message).is_ok(), |consumer| consumer.take())
}

fn rtrb(trips: usize) -> RoundTrips {
    let make = || ::rtrb::RingBuffer::new(CAPACITY);
    trips!(trips, make(), |producer, message| producer.push(message).is_ok(), |consumer| consumer.pop().ok())
}

fn ringbuf_peer(trips: usize) -> RoundTrips {
    let make = || HeapRb::new(CAPACITY).split();
    trips!(trips, make(), |producer, message| producer.try_push(message).is_ok(), |consumer| consumer.try_pop())
}

fn array_queue(trips: usize) -> RoundTrips {
    let make = || {
        let queue = Arc::new(ArrayQueue::new(CAPACITY));
        (Arc::clone(&queue), queue)
    };
    trips!(trips, make(), |producer, message| producer.push(message).is_ok(), |consumer| consumer.pop())
}

fn channel(trips: usize) -> RoundTrips {
    let make = || crossbeam_channel::bounded(CAPACITY);
    trips!(trips, make(), |producer, message| producer.try_send(message).is_ok(), |consumer| consumer.try_recv().ok())
}

fn kanal(trips: usize) -> RoundTrips {
    let make = || ::kanal::bounded(CAPACITY);
    trips!(trips, make(), |producer, message| producer.try_send(message).unwrap_or(false), |consumer| consumer
        .try_recv()
        .ok()
        .flatten())
}
