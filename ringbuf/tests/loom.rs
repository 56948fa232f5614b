//! The rings, the signal and the cursor under the loom model checker: `cargo loom`.
//!
//! Each model runs under every interleaving (some with bounded preemptions) of two or three threads on tiny
//! rings. Loom also checks that nobody touches a slot while another does and that nothing leaks.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use ringbuf::broadcast::{self, Builder};
use ringbuf::spsc::{self, PopError, PushError};
use ringbuf::stamped;
use ringbuf::{Cursor, Signal, WaitStrategy, Waiter};

/// Checks a model with at most so many preemptions in each execution.
fn model(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Pops until the ring is closed.
fn pop_all(mut consumer: spsc::Consumer<Box<u32>>) -> Vec<u32> {
    let mut items = Vec::new();
    loop {
        match consumer.pop() {
            Ok(item) => items.push(*item),
            Err(PopError::Empty) => thread::yield_now(),
            Err(PopError::Closed) => return items,
        }
    }
}

#[test]
fn spsc_items_arrive_in_order_around_the_ring() {
    model(3, || {
        let (mut producer, consumer) = spsc::channel(2).unwrap();
        let consumer = thread::spawn(move || pop_all(consumer));
        for item in 0..4 {
            let mut item = Box::new(item);
            while let Err(error) = producer.push(item) {
                assert!(matches!(error, PushError::Full(_)));
                item = error.into_inner();
                thread::yield_now();
            }
        }
        drop(producer);
        assert_eq!(consumer.join().unwrap(), [0, 1, 2, 3]);
    });
}

#[test]
fn spsc_batches_arrive_in_order_around_the_ring() {
    model(3, || {
        let (mut producer, mut consumer) = spsc::channel(2).unwrap();
        let consumer = thread::spawn(move || {
            let mut items = Vec::new();
            while !consumer.is_finished() {
                if consumer.drain(2, |item| items.push(item)) == 0 {
                    thread::yield_now();
                }
            }
            items
        });
        assert_eq!(producer.push(0), Ok(()));
        let mut rest: &[u32] = &[1, 2, 3];
        while !rest.is_empty() {
            let count = producer.push_slice(rest).unwrap();
            rest = &rest[count..];
            if count == 0 {
                thread::yield_now();
            }
        }
        let mut last = [4].into_iter();
        while producer.push_iter(&mut last).unwrap() == 0 {
            thread::yield_now();
        }
        drop(producer);
        assert_eq!(consumer.join().unwrap(), [0, 1, 2, 3, 4]);
    });
}

/// Staged items are seen when they are committed, and as they were changed last.
#[test]
fn spsc_staged_items_arrive_together() {
    model(3, || {
        let (mut producer, mut consumer) = spsc::channel(2).unwrap();
        let consumer = thread::spawn(move || {
            let mut items = Vec::new();
            while !consumer.is_finished() {
                match consumer.readable() {
                    0 => thread::yield_now(),
                    _ => drop(consumer.drain(2, |item| items.push(item))),
                }
            }
            items
        });
        for item in [1, 3] {
            for item in [item, item + 1] {
                while producer.stage(item).is_err() {
                    thread::yield_now();
                }
            }
            producer.change_staged(|last| *last *= 10);
            producer.commit();
        }
        while producer.stage(5).is_err() {
            thread::yield_now();
        }
        // What is never committed is never seen.
        drop(producer);
        assert_eq!(consumer.join().unwrap(), [1, 20, 3, 40]);
    });
}

#[test]
fn spsc_items_are_read_in_place_and_released() {
    model(3, || {
        let (mut producer, mut consumer) = spsc::channel(2).unwrap();
        let consumer = thread::spawn(move || {
            while consumer.readable() < 2 {
                thread::yield_now();
            }
            assert_eq!((consumer.peek(), consumer.get(1)), (Some(&Box::new(1)), Some(&Box::new(2))));
            consumer.release(2);
            pop_all(consumer)
        });
        assert_eq!(producer.push_iter([1, 2, 3].map(Box::new)), Ok(2));
        while producer.free() == 0 {
            thread::yield_now();
        }
        producer.push(Box::new(4)).unwrap();
        producer.close();
        assert_eq!(consumer.join().unwrap(), [4]);
    });
}

#[test]
fn spsc_a_producer_that_goes_loses_nothing() {
    loom::model(|| {
        let (mut producer, consumer) = spsc::channel(2).unwrap();
        let producer = thread::spawn(move || producer.push_iter([1, 2].map(Box::new)).unwrap());
        assert_eq!(pop_all(consumer), [1, 2]);
        producer.join().unwrap();
    });
}

#[test]
fn spsc_a_consumer_that_goes_is_noticed() {
    loom::model(|| {
        let (mut producer, mut consumer) = spsc::channel(2).unwrap();
        let consumer = thread::spawn(move || consumer.pop().ok());
        // Ends only because the ring is closed; what is left in it is dropped, or loom finds a leak.
        let mut pushed = 0;
        loop {
            match producer.push(Arc::new(pushed)) {
                Ok(()) => pushed += 1,
                Err(PushError::Full(_)) => thread::yield_now(),
                Err(PushError::Closed(_)) => break,
            }
        }
        assert!(consumer.join().unwrap().is_none_or(|first| *first == 0));
        assert!(pushed <= 3);
    });
}

#[test]
fn spsc_whoever_goes_last_drops_the_items() {
    loom::model(|| {
        let item = Arc::new(());
        let (mut producer, mut consumer) = spsc::channel(2).unwrap();
        let pushed = item.clone();
        let producer = thread::spawn(move || {
            let _ = producer.push_iter([pushed.clone(), pushed]);
        });
        if consumer.readable() > 1 {
            consumer.release(1);
        }
        drop(consumer);
        producer.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1);
    });
}

/// Takes until the ring is closed.
fn take_all(mut consumer: stamped::Consumer<Box<u32>>) -> Vec<u32> {
    let mut items = Vec::new();
    loop {
        match consumer.pop() {
            Ok(item) => items.push(*item),
            Err(PopError::Empty) => thread::yield_now(),
            Err(PopError::Closed) => return items,
        }
    }
}

#[test]
fn stamped_items_arrive_in_order_around_the_ring() {
    model(3, || {
        let (mut producer, consumer) = stamped::channel(2).unwrap();
        let consumer = thread::spawn(move || take_all(consumer));
        for item in 0..4 {
            let mut item = Box::new(item);
            while let Err(error) = producer.push(item) {
                assert!(matches!(error, PushError::Full(_)));
                item = error.into_inner();
                thread::yield_now();
            }
        }
        drop(producer);
        assert_eq!(consumer.join().unwrap(), [0, 1, 2, 3]);
    });
}

/// In a ring of eight the consumer keeps one slot back: the producer of a full one goes on only because what is
/// kept back is given back before the ring is reported empty.
#[test]
fn stamped_slots_that_were_kept_back_are_given_back() {
    model(2, || {
        let (mut producer, mut consumer) = stamped::channel(8).unwrap();
        assert_eq!(producer.push_slice(&[0, 1, 2, 3, 4, 5, 6]), Ok(7));
        assert_eq!(consumer.drain(6, drop), 6);
        let consumer = thread::spawn(move || {
            let mut items = Vec::new();
            while !consumer.is_finished() {
                match consumer.take() {
                    Some(item) => items.push(item),
                    None => thread::yield_now(),
                }
            }
            items
        });
        let mut rest: &[u32] = &[7, 8, 9, 10, 11, 12, 13, 14];
        while !rest.is_empty() {
            let count = producer.push_slice(rest).unwrap();
            rest = &rest[count..];
            if count == 0 {
                thread::yield_now();
            }
        }
        drop(producer);
        assert_eq!(consumer.join().unwrap(), [6, 7, 8, 9, 10, 11, 12, 13, 14]);
    });
}

#[test]
fn stamped_batches_arrive_whole_and_in_order() {
    model(3, || {
        let (mut producer, mut consumer) = stamped::channel(2).unwrap();
        let consumer = thread::spawn(move || {
            let mut items = Vec::new();
            while !consumer.is_finished() {
                if consumer.drain(2, |item| items.push(item)) == 0 {
                    thread::yield_now();
                }
            }
            items
        });
        let mut rest: &[u32] = &[0, 1, 2];
        while !rest.is_empty() {
            let count = producer.push_slice(rest).unwrap();
            rest = &rest[count..];
            if count == 0 {
                thread::yield_now();
            }
        }
        let mut last = [3].into_iter();
        while producer.push_iter(&mut last).unwrap() == 0 {
            thread::yield_now();
        }
        drop(producer);
        assert_eq!(consumer.join().unwrap(), [0, 1, 2, 3]);
    });
}

#[test]
fn stamped_a_producer_that_goes_loses_nothing() {
    loom::model(|| {
        let (mut producer, consumer) = stamped::channel(2).unwrap();
        let producer = thread::spawn(move || producer.push_iter([1, 2].map(Box::new)).unwrap());
        assert_eq!(take_all(consumer), [1, 2]);
        producer.join().unwrap();
    });
}

#[test]
fn stamped_a_consumer_that_goes_is_noticed() {
    loom::model(|| {
        let (mut producer, mut consumer) = stamped::channel(2).unwrap();
        let consumer = thread::spawn(move || consumer.pop().ok());
        // Ends only because the ring is closed; what is left in it is dropped, or loom finds a leak.
        let mut pushed = 0;
        loop {
            match producer.push(Arc::new(pushed)) {
                Ok(()) => pushed += 1,
                Err(PushError::Full(_)) => thread::yield_now(),
                Err(PushError::Closed(_)) => break,
            }
        }
        assert!(consumer.join().unwrap().is_none_or(|first| *first == 0));
        assert!(pushed <= 3);
    });
}

#[test]
fn stamped_whoever_goes_last_drops_the_items() {
    loom::model(|| {
        let item = Arc::new(());
        let (mut producer, mut consumer) = stamped::channel(8).unwrap();
        let pushed = item.clone();
        let producer = thread::spawn(move || {
            let _ = producer.push_iter([pushed.clone(), pushed]);
        });
        // Its slot is kept back until the consumer goes.
        drop(consumer.take());
        drop(consumer);
        producer.join().unwrap();
        assert_eq!(Arc::strong_count(&item), 1);
    });
}

/// Reads until the consumer is finished.
fn read_all(consumer: &mut broadcast::Consumer<u32>, items: &mut Vec<u32>) {
    while !consumer.is_finished() {
        if consumer.for_each(1, |item| items.push(*item)) == 0 {
            thread::yield_now();
        }
    }
}

/// Reads what there is at a few looks. Loom has no fair scheduler, so with three threads none may wait.
fn read_some(mut consumer: broadcast::Consumer<u32>) -> (broadcast::Consumer<u32>, Vec<u32>) {
    let mut items = Vec::new();
    for _ in 0..2 {
        if let Some(item) = consumer.get(0) {
            items.push(*item);
            consumer.release(1);
        }
    }
    (consumer, items)
}

/// Publishes as many of the items as there is room for, and takes them off the front.
fn publish_some(producer: &mut broadcast::Producer<u32>, items: &mut &[u32]) {
    match producer.claim(items.len()) {
        Ok(mut claim) => {
            if let Some((first, rest)) = items.split_first() {
                claim.push(*first);
                claim.push_slice(rest);
            }
            *items = &items[claim.publish()..];
        }
        Err(error) => assert_eq!(error, broadcast::PushError::Full(())),
    }
}

#[test]
fn broadcast_two_consumers_see_everything_and_hold_the_producer_up() {
    model(3, || {
        let mut builder = Builder::new(2);
        builder.consumer(&[]);
        builder.consumer(&[]);
        let (mut producer, consumers) = builder.build().unwrap();
        let threads: Vec<_> =
            consumers.into_iter().map(|consumer| thread::spawn(move || read_some(consumer))).collect();
        let mut rest: &[u32] = &[1, 2, 3];
        publish_some(&mut producer, &mut rest);
        publish_some(&mut producer, &mut rest);
        let published = 3 - rest.len();
        drop(producer);
        for thread in threads {
            let (mut consumer, mut items) = thread.join().unwrap();
            read_all(&mut consumer, &mut items);
            assert_eq!(items, [1, 2, 3][..published]);
            assert!(!consumer.is_poisoned());
        }
    });
}

#[test]
fn broadcast_a_gated_consumer_sees_what_its_gate_released() {
    model(3, || {
        let mut builder = Builder::new(2);
        let gate = builder.consumer(&[]);
        builder.consumer(&[gate]);
        let (mut producer, mut consumers) = builder.build().unwrap();
        let (gated, gate) = (consumers.pop().unwrap(), consumers.pop().unwrap());
        // The gated consumer reads this cell only after the gate released the item: loom would find the
        // write at the same time as the read.
        let handled = Arc::new(loom::cell::UnsafeCell::new(0));
        let gate = thread::spawn({
            let handled = Handled(handled.clone());
            move || {
                handled.set(7);
                read_some(gate)
            }
        });
        let gated = thread::spawn({
            let handled = Handled(handled);
            move || {
                let (gated, items) = read_some(gated);
                assert!(items.is_empty() || handled.get() == 7);
                (gated, items)
            }
        });
        let mut rest: &[u32] = &[1, 2, 3];
        publish_some(&mut producer, &mut rest);
        publish_some(&mut producer, &mut rest);
        let published = 3 - rest.len();
        drop(producer);
        let (mut gated, mut gated_items) = gated.join().unwrap();
        // There was room for a third item only if the gated consumer, too, had released the first.
        assert!(published < 3 || !gated_items.is_empty());
        let (mut gate, mut gate_items) = gate.join().unwrap();
        read_all(&mut gate, &mut gate_items);
        read_all(&mut gated, &mut gated_items);
        assert_eq!(gate_items, [1, 2, 3][..published]);
        assert_eq!(gated_items, gate_items);
    });
}

/// A cell without synchronisation of its own; loom checks each access to it.
struct Handled(Arc<loom::cell::UnsafeCell<u32>>);

// SAFETY: the models order the accesses by what they test, and loom fails them if they do not.
unsafe impl Send for Handled {}

impl Handled {
    fn set(&self, value: u32) {
        // SAFETY: as above.
        self.0.with_mut(|cell| unsafe { *cell = value });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|cell| unsafe { *cell })
    }
}

#[test]
fn broadcast_the_slowest_frees_slots_for_the_producer() {
    model(3, || {
        let mut builder = Builder::new(1);
        let gate = builder.consumer(&[]);
        builder.consumer(&[gate]);
        let (mut producer, mut consumers) = builder.build().unwrap();
        let reader = thread::spawn(move || {
            let mut items = Vec::new();
            while consumers.iter().any(|consumer| !consumer.is_finished()) {
                let read = consumers.iter_mut().map(|consumer| consumer.for_each(1, |item| items.push(*item)));
                if read.sum::<usize>() == 0 {
                    thread::yield_now();
                }
            }
            items
        });
        let mut rest: &[u32] = &[1, 2, 3];
        while !rest.is_empty() {
            publish_some(&mut producer, &mut rest);
            if producer.free() == 0 {
                thread::yield_now();
            }
        }
        drop(producer);
        assert_eq!(reader.join().unwrap(), [1, 1, 2, 2, 3, 3]);
    });
}

#[test]
fn broadcast_a_consumer_that_goes_early_stops_the_others() {
    model(3, || {
        let mut builder = Builder::new(2);
        let gate = builder.consumer(&[]);
        builder.consumer(&[gate]);
        let (mut producer, mut consumers) = builder.build::<u32>().unwrap();
        let (gated, mut gate) = (consumers.pop().unwrap(), consumers.pop().unwrap());
        let gate = thread::spawn(move || {
            let released = gate.readable().min(1);
            gate.release(released);
            released
        });
        let gated = thread::spawn(move || read_some(gated));
        let mut published = 0;
        for _ in 0..3 {
            published += u32::from(producer.publish(published).is_ok());
        }
        let released = gate.join().unwrap();
        assert_eq!(producer.publish(published), Err(broadcast::PushError::Poisoned(published)));
        let (mut gated, mut items) = gated.join().unwrap();
        read_all(&mut gated, &mut items);
        assert_eq!(items.len(), released);
        assert!(items.iter().all(|item| *item == 0));
    });
}

#[test]
fn broadcast_a_consumer_beside_one_that_goes_is_finished() {
    model(2, || {
        let mut builder = Builder::new(2);
        builder.consumer(&[]);
        builder.consumer(&[]);
        let (mut producer, mut consumers) = builder.build::<u32>().unwrap();
        let (second, first) = (consumers.pop().unwrap(), consumers.pop().unwrap());
        producer.publish(1).unwrap();
        let first = thread::spawn(move || drop(first));
        let second = thread::spawn(move || {
            let (mut second, mut items) = (second, Vec::new());
            read_all(&mut second, &mut items);
            items
        });
        // The producer neither publishes nor goes; still the second consumer ends.
        assert_eq!(second.join().unwrap(), [1]);
        first.join().unwrap();
        assert!(producer.is_poisoned());
    });
}

/// A flag that a parked thread waits for, with relaxed accesses: only the signal orders them.
fn park_until(flag: &AtomicBool, waiter: &mut Waiter) {
    while !flag.load(Ordering::Relaxed) {
        waiter.idle(|| flag.load(Ordering::Relaxed));
    }
}

#[test]
fn signal_no_wake_up_is_lost() {
    loom::model(|| {
        let signal = Signal::new();
        let flag = Arc::new(AtomicBool::new(false));
        let parked = thread::spawn({
            let (signal, flag) = (signal.clone(), flag.clone());
            move || park_until(&flag, &mut Waiter::new(WaitStrategy::Park, signal))
        });
        flag.store(true, Ordering::Relaxed);
        signal.notify();
        parked.join().unwrap();
    });
}

#[test]
fn signal_wakes_two_threads_one_after_the_other() {
    model(3, || {
        let signal = Signal::new();
        let flags = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let threads = [0, 1].map(|index| {
            let (signal, flags) = (signal.clone(), flags.clone());
            thread::spawn(move || park_until(&flags[index], &mut Waiter::new(WaitStrategy::Park, signal)))
        });
        for flag in flags.iter() {
            flag.store(true, Ordering::Relaxed);
            signal.notify();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn signal_two_threads_may_notify() {
    model(3, || {
        let signal = Signal::new();
        let flags = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let threads = [0, 1].map(|index| {
            let (signal, flags) = (signal.clone(), flags.clone());
            thread::spawn(move || {
                flags[index].store(true, Ordering::Relaxed);
                signal.notify();
            })
        });
        let mut waiter = Waiter::new(WaitStrategy::Park, signal);
        flags.iter().for_each(|flag| park_until(flag, &mut waiter));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn signal_close_wakes_everyone() {
    model(3, || {
        let signal = Signal::new();
        let threads = [0, 1].map(|_| {
            let signal = signal.clone();
            thread::spawn(move || {
                let mut waiter = Waiter::new(WaitStrategy::Park, signal.clone());
                while !signal.is_closed() {
                    waiter.idle(|| false);
                }
            })
        });
        drop(signal.close_on_drop());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn signal_a_parked_consumer_gets_every_item() {
    model(3, || {
        let signal = Signal::new();
        let (mut producer, mut consumer) = spsc::channel(2).unwrap();
        let consumer = thread::spawn({
            let mut waiter = Waiter::new(WaitStrategy::Park, signal.clone());
            move || {
                let mut items = Vec::new();
                loop {
                    match consumer.pop() {
                        Ok(item) => items.push(item),
                        Err(PopError::Empty) => waiter.idle(|| consumer.readable() > 0 || consumer.is_closed()),
                        Err(PopError::Closed) => return items,
                    }
                }
            }
        });
        for item in 0..2 {
            producer.push(item).unwrap();
            signal.notify();
        }
        drop(producer);
        signal.notify();
        assert_eq!(consumer.join().unwrap(), [0, 1]);
    });
}

#[test]
fn cursor_publishes_what_was_written_before() {
    loom::model(|| {
        let mut cursor = Cursor::new(0);
        let written = Arc::new(loom::cell::UnsafeCell::new(0));
        let readers = [0, 1].map(|_| {
            let (reader, written) = (cursor.reader(), Handled(written.clone()));
            thread::spawn(move || {
                if reader.load() == 1 {
                    assert_eq!(written.get(), 9);
                }
            })
        });
        Handled(written).set(9);
        cursor.publish(1);
        assert_eq!(cursor.load(), 1);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
