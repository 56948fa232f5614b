//! Real threads moving many items through the rings: nothing is lost, doubled, reordered or torn, and
//! nobody hangs on a peer that is gone.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use ringbuf::broadcast::{self, Builder};
use ringbuf::spsc::{self, PopError, PushError};
use ringbuf::stamped;
use ringbuf::{Cursor, Signal, WaitStrategy, Waiter};

/// Items per test; few under Miri, which takes a thousand times as long.
const ITEMS: u64 = if cfg!(miri) { 300 } else { 3_000_000 };

/// Item `number`, whose halves belong together so that a torn one is noticed.
fn item(number: u64) -> [u64; 2] {
    [number, !number]
}

/// Checks that items come in order, without gaps.
#[derive(Default)]
struct Checker {
    seen: u64,
}

impl Checker {
    fn check(&mut self, found: [u64; 2]) {
        assert_eq!(found, item(self.seen));
        self.seen += 1;
    }
}

/// Numbers that look random and are the same in each run (xorshift64, G. Marsaglia, 2003).
struct Random(u64);

impl Random {
    /// A number in `0..bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn spsc_one_at_a_time() {
    let (mut producer, mut consumer) = spsc::channel(64).unwrap();
    let pushing = thread::spawn(move || {
        for number in 0..ITEMS {
            while let Err(error) = producer.push(item(number)) {
                assert_eq!(error, PushError::Full(item(number)));
                thread::yield_now();
            }
        }
    });
    let mut checker = Checker::default();
    loop {
        match consumer.pop() {
            Ok(found) => checker.check(found),
            Err(PopError::Empty) => thread::yield_now(),
            Err(PopError::Closed) => break,
        }
    }
    assert_eq!(checker.seen, ITEMS);
    pushing.join().unwrap();
}

#[test]
fn spsc_in_batches() {
    let (mut producer, mut consumer) = spsc::channel(256).unwrap();
    let pushing = thread::spawn(move || {
        let mut pushed = 0;
        while pushed < ITEMS {
            let batch: [_; 64] = std::array::from_fn(|offset| item(pushed + offset as u64));
            let count = batch.len().min((ITEMS - pushed) as usize);
            match producer.push_slice(&batch[..count]).unwrap() {
                0 => thread::yield_now(),
                count => pushed += count as u64,
            }
        }
    });
    let mut checker = Checker::default();
    while !consumer.is_finished() {
        if consumer.drain(64, |found| checker.check(found)) == 0 {
            thread::yield_now();
        }
    }
    assert_eq!(checker.seen, ITEMS);
    pushing.join().unwrap();
}

#[test]
fn spsc_every_operation_mixed() {
    let (mut producer, mut consumer) = spsc::channel(128).unwrap();
    let pushing = thread::spawn(move || {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut numbers = 0..ITEMS;
        while !numbers.is_empty() {
            let wanted = (1 + random.below(100)).min(numbers.end - numbers.start);
            let pushed = match random.below(4) {
                0 => u64::from(producer.push(item(numbers.start)).is_ok()),
                1 => {
                    // Changed twice, so that it is as if it had not been.
                    let staged = (numbers.start..numbers.start + wanted).take_while(|&number| {
                        let staged = producer.stage(item(number).map(|word| !word)).is_ok();
                        staged.then(|| producer.change_staged(|item| *item = item.map(|word| !word))).is_some()
                    });
                    let staged = staged.count() as u64;
                    // Half of the time the next push publishes them.
                    if staged == wanted || random.below(2) == 0 {
                        producer.commit();
                    }
                    staged
                }
                2 => {
                    let batch: Vec<_> = (numbers.start..numbers.start + wanted).map(item).collect();
                    producer.push_slice(&batch).unwrap() as u64
                }
                _ => producer.push_iter((numbers.start..numbers.start + wanted).map(item)).unwrap() as u64,
            };
            numbers.start += pushed;
            if producer.free() == 0 {
                thread::yield_now();
            }
        }
        producer.commit();
    });
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut checker = Checker::default();
    while !consumer.is_finished() {
        match random.below(5) {
            0 => consumer.pop().into_iter().for_each(|found| checker.check(found)),
            1 => {
                let max = random.below(100) as usize;
                consumer.drain(max, |found| checker.check(found));
            }
            2 => consumer.take().into_iter().for_each(|found| checker.check(found)),
            3 => {
                let first = consumer.peek().copied();
                first.into_iter().for_each(|found| checker.check(found));
                consumer.release(usize::from(first.is_some()));
            }
            _ => {
                let count = consumer.readable();
                (0..count).for_each(|offset| checker.check(*consumer.get(offset).unwrap()));
                consumer.release(count);
            }
        }
        if consumer.readable() == 0 {
            thread::yield_now();
        }
    }
    assert_eq!(checker.seen, ITEMS);
    pushing.join().unwrap();
}

/// Nothing is published any more once either end has closed the ring.
#[test]
fn spsc_what_is_staged_goes_with_a_closed_ring() {
    for producer_closes in [false, true] {
        let (mut producer, mut consumer) = spsc::channel(4).unwrap();
        producer.push(1).unwrap();
        producer.stage(2).unwrap();
        if producer_closes {
            producer.close()
        } else {
            consumer.close()
        }
        producer.commit();
        assert_eq!((consumer.pop(), consumer.pop()), (Ok(1), Err(spsc::PopError::Closed)));
        assert!(producer.stage(3).is_err());
    }
}

#[test]
fn spsc_items_that_own_memory_are_dropped_once() {
    let items = ITEMS / 10;
    let shared = Arc::new(());
    let (mut producer, mut consumer) = spsc::channel(32).unwrap();
    let pushing = thread::spawn({
        let shared = shared.clone();
        move || {
            let mut numbers = (0..items).map(|number| (number, shared.clone()));
            // Ends when the consumer goes, with items in the ring.
            while producer.push_iter(&mut numbers).is_ok() {
                thread::yield_now();
            }
        }
    });
    for expected in 0..items / 2 {
        loop {
            match consumer.pop() {
                Ok((number, _)) => {
                    assert_eq!(number, expected);
                    break;
                }
                Err(error) => {
                    assert_eq!(error, PopError::Empty);
                    thread::yield_now();
                }
            }
        }
    }
    drop(consumer);
    pushing.join().unwrap();
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn stamped_one_at_a_time() {
    for capacity in [1, 2, 64, 1_024] {
        let items = ITEMS / 4;
        let (mut producer, mut consumer) = stamped::channel(capacity).unwrap();
        let pushing = thread::spawn(move || {
            for number in 0..items {
                while let Err(error) = producer.push(item(number)) {
                    assert_eq!(error, PushError::Full(item(number)));
                    thread::yield_now();
                }
            }
        });
        let mut checker = Checker::default();
        loop {
            match consumer.pop() {
                Ok(found) => checker.check(found),
                Err(PopError::Empty) => thread::yield_now(),
                Err(PopError::Closed) => break,
            }
        }
        assert_eq!(checker.seen, items);
        pushing.join().unwrap();
    }
}

#[test]
fn stamped_every_operation_mixed() {
    let (mut producer, mut consumer) = stamped::channel(128).unwrap();
    let pushing = thread::spawn(move || {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut numbers = 0..ITEMS;
        while !numbers.is_empty() {
            let wanted = (1 + random.below(100)).min(numbers.end - numbers.start);
            let pushed = match random.below(3) {
                0 => u64::from(producer.push(item(numbers.start)).is_ok()),
                1 => {
                    let batch: Vec<_> = (numbers.start..numbers.start + wanted).map(item).collect();
                    producer.push_slice(&batch).unwrap() as u64
                }
                _ => producer.push_iter((numbers.start..numbers.start + wanted).map(item)).unwrap() as u64,
            };
            numbers.start += pushed;
            if producer.free() == 0 {
                thread::yield_now();
            }
        }
    });
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut checker = Checker::default();
    while !consumer.is_finished() {
        match random.below(3) {
            0 => consumer.pop().into_iter().for_each(|found| checker.check(found)),
            1 => {
                let max = random.below(100) as usize;
                consumer.drain(max, |found| checker.check(found));
            }
            _ => consumer.take().into_iter().for_each(|found| checker.check(found)),
        }
        if consumer.is_empty() {
            thread::yield_now();
        }
    }
    assert_eq!(checker.seen, ITEMS);
    pushing.join().unwrap();
}

#[test]
fn stamped_items_that_own_memory_are_dropped_once() {
    let items = ITEMS / 10;
    let shared = Arc::new(());
    let (mut producer, mut consumer) = stamped::channel(32).unwrap();
    let pushing = thread::spawn({
        let shared = shared.clone();
        move || {
            let mut numbers = (0..items).map(|number| (number, shared.clone()));
            // Ends when the consumer goes, with items in the ring.
            while producer.push_iter(&mut numbers).is_ok() {
                thread::yield_now();
            }
        }
    });
    for expected in 0..items / 2 {
        while consumer.take().map(|(number, _)| assert_eq!(number, expected)).is_none() {
            thread::yield_now();
        }
    }
    drop(consumer);
    pushing.join().unwrap();
    assert_eq!(Arc::strong_count(&shared), 1);
}

/// A consumer's thread that panics, between items or with one in its hands, ends the producer.
#[test]
fn stamped_a_consumer_thread_that_panics_closes_the_ring_and_wakes_the_producer() {
    for drains in [true, false] {
        let (mut producer, consumer) = stamped::channel(16).unwrap();
        let signal = Signal::new();
        let consuming = thread::spawn({
            let signal = signal.clone();
            move || {
                // Declared first, so that the consumer goes before the producer is woken.
                let _guard = signal.close_on_drop();
                let mut consumer = consumer;
                let handle = |number: u64| assert!(number < 100, "as planned");
                loop {
                    let taken = if drains {
                        consumer.drain(16, handle)
                    } else {
                        usize::from(consumer.take().map(handle).is_some())
                    };
                    match taken {
                        0 => thread::yield_now(),
                        _ => signal.notify(),
                    }
                }
            }
        });
        let mut waiter = Waiter::new(WaitStrategy::BackOff, signal);
        for number in 0.. {
            let mut number = number;
            let closed = loop {
                match producer.push(number) {
                    Ok(()) => break false,
                    Err(PushError::Full(again)) => number = again,
                    Err(PushError::Closed(_)) => break true,
                }
                waiter.idle(|| producer.free() > 0 || producer.is_closed());
            };
            if closed {
                break;
            }
        }
        assert!(consuming.join().is_err());
    }
}

/// Reads items in place until the consumer is finished, and tells `position` how many were released.
fn read(mut consumer: broadcast::Consumer<[u64; 2]>, mut released: impl FnMut(u64)) -> (u64, u64) {
    let mut checker = Checker::default();
    let mut sum = 0;
    while !consumer.is_finished() {
        let count = consumer.for_each(64, |found| {
            checker.check(*found);
            sum += found[0];
        });
        match count {
            0 => thread::yield_now(),
            _ => released(consumer.position()),
        }
    }
    assert!(!consumer.is_poisoned());
    (checker.seen, sum)
}

#[test]
fn broadcast_to_three_consumers_one_behind_the_others() {
    let mut builder = Builder::new(256);
    let (left, right) = (builder.consumer(&[]), builder.consumer(&[]));
    builder.consumer(&[left, right]);
    let (mut producer, consumers) = builder.build().unwrap();
    let progress: [_; 2] = std::array::from_fn(|_| Cursor::new(0));
    let readers: Vec<_> = progress.iter().map(Cursor::reader).collect();
    let mut progress = progress.into_iter();
    let mut consumers = consumers.into_iter();
    let mut threads = Vec::new();
    for (consumer, mut cursor) in consumers.by_ref().take(2).zip(progress.by_ref()) {
        // The cursor lags behind what was released by at most what one batch holds.
        threads.push(thread::spawn(move || read(consumer, |position| cursor.publish(position))));
    }
    let last = consumers.next().unwrap();
    threads.push(thread::spawn(move || {
        read(last, |position| assert!(readers.iter().all(|reader| reader.load() + 64 >= position)))
    }));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    while producer.position() < ITEMS {
        let wanted = (1 + random.below(100)).min(ITEMS - producer.position());
        match producer.claim(wanted as usize) {
            Ok(mut claim) => {
                // One by one and many at once, in turn.
                claim.push(item(claim.position()));
                let from = claim.position();
                let slice: Vec<_> = (from..from + random.below(100)).map(item).collect();
                let left = claim.remaining();
                assert_eq!(claim.push_slice(&slice), slice.len().min(left));
                while claim.remaining() > 0 {
                    claim.push(item(claim.position()));
                }
                claim.publish();
            }
            Err(error) => {
                assert_eq!(error, broadcast::PushError::Full(()));
                thread::yield_now();
            }
        }
    }
    drop(producer);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), (ITEMS, ITEMS * (ITEMS - 1) / 2));
    }
}

/// Moves items there and back between two threads that wait by a strategy.
fn echo(strategy: WaitStrategy, items: u64, burst: u64) {
    let (mut requests, mut requested) = spsc::channel(64).unwrap();
    let (mut replies, mut replied) = spsc::channel(64).unwrap();
    let (server_signal, client_signal) = (Signal::new(), Signal::new());
    let server = thread::spawn({
        let mut waiter = Waiter::new(strategy, server_signal.clone());
        let client_signal = client_signal.clone();
        move || {
            while !requested.is_finished() {
                // As many requests are under way as the ring of replies holds, so there is room.
                if requested.drain(64, |number: u64| replies.push(number * 2).unwrap()) > 0 {
                    client_signal.notify();
                    waiter.reset();
                } else {
                    waiter.idle(|| requested.readable() > 0 || requested.is_closed());
                }
            }
        }
    });
    let mut waiter = Waiter::new(strategy, client_signal);
    let mut expected = 0;
    while expected < items {
        let end = expected + burst;
        let mut burst = expected..end;
        while !burst.is_empty() {
            // The server may have replied to requests whose slots it has not given back yet.
            if requests.push_iter(&mut burst).unwrap() == 0 {
                thread::yield_now();
            }
            server_signal.notify();
        }
        while expected < end {
            let handle = |reply| {
                assert_eq!(reply, expected * 2);
                expected += 1;
            };
            match replied.drain(64, handle) {
                0 => waiter.idle(|| replied.readable() > 0 || replied.is_closed()),
                _ => waiter.reset(),
            }
        }
    }
    drop(requests);
    server_signal.notify();
    server.join().unwrap();
}

#[test]
fn busy_spin_moves_everything() {
    echo(WaitStrategy::BusySpin, 2_000.min(ITEMS), 50);
}

#[test]
fn yield_moves_everything() {
    echo(WaitStrategy::Yield, ITEMS / 10, 50);
}

#[test]
fn back_off_moves_everything() {
    echo(WaitStrategy::BackOff, ITEMS / 10, 50);
}

#[test]
fn park_moves_everything() {
    echo(WaitStrategy::Park, ITEMS / 10, 50);
}

/// A thread that parks many times for real is woken each time.
#[test]
fn park_is_woken_each_time() {
    let rounds = 2_000.min(ITEMS);
    let signal = Signal::new();
    let asked = Arc::new(AtomicU64::new(0));
    let mut answered = Cursor::new(0);
    let answer = answered.reader();
    let sleeper = thread::spawn({
        let asked = asked.clone();
        let mut waiter = Waiter::new(WaitStrategy::Park, signal.clone());
        move || {
            // Never reset: each wait parks.
            while answered.load() < rounds {
                waiter.idle(|| asked.load(Ordering::Acquire) > answered.load());
                answered.publish(asked.load(Ordering::Acquire));
            }
        }
    });
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for round in 1..=rounds {
        asked.store(round, Ordering::Release);
        signal.notify();
        while answer.load() < round {
            thread::yield_now();
        }
        if random.below(8) == 0 {
            thread::sleep(Duration::from_micros(random.below(100)));
        }
    }
    sleeper.join().unwrap();
}

#[test]
fn closing_a_signal_wakes_all_that_are_parked() {
    let signal = Signal::new();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let signal = signal.clone();
            thread::spawn(move || {
                let mut waiter = Waiter::new(WaitStrategy::Park, signal.clone());
                while !signal.is_closed() {
                    waiter.idle(|| false);
                }
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(5));
    signal.close();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_consumer_thread_that_panics_closes_the_ring_and_wakes_the_producer() {
    let (mut producer, consumer) = spsc::channel(16).unwrap();
    let signal = Signal::new();
    let consuming = thread::spawn({
        let signal = signal.clone();
        move || {
            // Declared first, so that the consumer goes before the producer is woken.
            let _guard = signal.close_on_drop();
            let mut consumer = consumer;
            loop {
                match consumer.drain(16, |number: u64| assert!(number < 100, "as planned")) {
                    0 => thread::yield_now(),
                    _ => signal.notify(),
                }
            }
        }
    });
    let mut waiter = Waiter::new(WaitStrategy::Park, signal);
    for number in 0.. {
        match producer.push(number) {
            Ok(()) => {}
            Err(PushError::Full(_)) => waiter.idle(|| producer.free() > 0 || producer.is_closed()),
            Err(PushError::Closed(_)) => break,
        }
    }
    assert!(consuming.join().is_err());
}

#[test]
fn a_handler_that_panics_leaves_the_ring_usable() {
    let items = 10_000.min(ITEMS);
    let (mut producer, mut consumer) = spsc::channel(16).unwrap();
    let pushing = thread::spawn(move || {
        let mut numbers = 0..items;
        while !numbers.is_empty() {
            producer.push_iter(&mut numbers).unwrap();
            thread::yield_now();
        }
    });
    let mut expected = 0;
    while !consumer.is_finished() {
        let handle = |number| {
            assert_eq!(number, expected);
            expected += 1;
            // Unwinds without a message.
            if number % 100 == 0 {
                std::panic::resume_unwind(Box::new(()));
            }
        };
        if let Ok(0) = catch_unwind(AssertUnwindSafe(|| consumer.drain(16, handle))) {
            thread::yield_now();
        }
    }
    assert_eq!(expected, items);
    pushing.join().unwrap();
}

#[test]
fn a_broadcast_consumer_that_panics_ends_everyone() {
    let mut builder = Builder::new(16);
    let (left, right) = (builder.consumer(&[]), builder.consumer(&[]));
    builder.consumer(&[left, right]);
    let (mut producer, consumers) = builder.build().unwrap();
    let threads: Vec<_> = consumers
        .into_iter()
        .enumerate()
        .map(|(index, mut consumer)| {
            thread::spawn(move || {
                let mut expected = 0_u64;
                while !consumer.is_finished() {
                    consumer.for_each(1, |number| {
                        assert_eq!(*number, expected);
                        assert!(index != left.index() || expected < 50, "as planned");
                        expected += 1;
                    });
                    thread::yield_now();
                }
                assert!(consumer.is_poisoned());
                expected
            })
        })
        .collect();
    let mut published = 0;
    loop {
        match producer.publish(published) {
            Ok(()) => published += 1,
            Err(broadcast::PushError::Full(_)) => thread::yield_now(),
            Err(error) => {
                assert_eq!(error, broadcast::PushError::Poisoned(published));
                break;
            }
        }
    }
    let mut ends = threads.into_iter().map(|thread| thread.join());
    assert!(ends.next().unwrap().is_err());
    assert!((50..=published).contains(&ends.next().unwrap().unwrap()));
    assert_eq!(ends.next().unwrap().unwrap(), 50);
}
