//! Queues with one producer and one consumer.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use ringbuf_peer::{
    HeapRb,
    traits::{Consumer as _, Producer as _, Split as _},
};

use super::{
    BATCH, CAPACITY, Case, Item, Kind, Transfer,
    transfer::{Check, transfer},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    add_size::<u64>(&mut cases);
    add_size::<[u64; 7]>(&mut cases);
    add_size::<[u64; 15]>(&mut cases);
    cases
}

fn add_size<T: Item>(cases: &mut Vec<Case>) {
    let mut add = |ring, setting: &str, run| cases.push(Case::new(Kind::Spsc, ring, setting.to_owned(), run));
    let single = format!("{} bytes, one by one", T::BYTES);
    add("reprise stamped", &single, stamped::<T>);
    add("reprise spsc", &single, spsc::<T>);
    add("rtrb", &single, rtrb::<T>);
    add("ringbuf", &single, ringbuf_peer::<T>);
    add("crossbeam ArrayQueue", &single, array_queue::<T>);
    add("crossbeam-channel", &single, channel::<T>);
    add("kanal", &single, kanal::<T>);
    let batch = format!("{} bytes, batch of {BATCH}", T::BYTES);
    add("reprise spsc", &batch, spsc_in_batches::<T>);
    add("reprise stamped", &batch, stamped_in_batches::<T>);
    add("rtrb", &batch, rtrb_in_batches::<T>);
    add("ringbuf", &batch, ringbuf_peer_in_batches::<T>);
}

fn stamped<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = ringbuf::stamped::channel(CAPACITY).expect("the capacity is a power of two");
    let receive = move |check: &mut Check<T>| check.see_one(consumer.take());
    transfer::<T, 1, _>(items, move |batch| usize::from(producer.push(batch[0]).is_ok()), vec![receive])
}

fn stamped_in_batches<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = ringbuf::stamped::channel(CAPACITY).expect("the capacity is a power of two");
    let receive = move |check: &mut Check<T>| consumer.drain(BATCH, |item: T| check.see(&item));
    let send = move |batch: &[T]| producer.push_slice(batch).expect("the consumer stays");
    transfer::<T, BATCH, _>(items, send, vec![receive])
}

fn spsc<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = ringbuf::spsc::channel(CAPACITY).expect("the capacity is a power of two");
    let receive = move |check: &mut Check<T>| check.see_one(consumer.take());
    transfer::<T, 1, _>(items, move |batch| usize::from(producer.push(batch[0]).is_ok()), vec![receive])
}

fn spsc_in_batches<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = ringbuf::spsc::channel(CAPACITY).expect("the capacity is a power of two");
    let receive = move |check: &mut Check<T>| consumer.drain(BATCH, |item: T| check.see(&item));
    let send = move |batch: &[T]| producer.push_slice(batch).expect("the consumer stays");
    transfer::<T, BATCH, _>(items, send, vec![receive])
}

fn rtrb<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = ::rtrb::RingBuffer::<T>::new(CAPACITY);
    let receive = move |check: &mut Check<T>| check.see_one(consumer.pop().ok());
    transfer::<T, 1, _>(items, move |batch| usize::from(producer.push(batch[0]).is_ok()), vec![receive])
}

fn rtrb_in_batches<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = ::rtrb::RingBuffer::<T>::new(CAPACITY);
    let receive = move |check: &mut Check<T>| {
        let count = consumer.slots().min(BATCH);
        let chunk = consumer.read_chunk(count).expect("counted as readable");
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(|item| check.see(item));
        chunk.commit_all();
        count
    };
    let send = move |batch: &[T]| producer.push_partial_slice(batch).0.len();
    transfer::<T, BATCH, _>(items, send, vec![receive])
}

fn ringbuf_peer<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = HeapRb::<T>::new(CAPACITY).split();
    let receive = move |check: &mut Check<T>| check.see_one(consumer.try_pop());
    transfer::<T, 1, _>(items, move |batch| usize::from(producer.try_push(batch[0]).is_ok()), vec![receive])
}

fn ringbuf_peer_in_batches<T: Item>(items: u64) -> Transfer {
    let (mut producer, mut consumer) = HeapRb::<T>::new(CAPACITY).split();
    let receive = move |check: &mut Check<T>| {
        let (first, second) = consumer.as_slices();
        let count = (first.len() + second.len()).min(BATCH);
        first.iter().chain(second).take(count).for_each(|item| check.see(item));
        consumer.skip(count)
    };
    let send = move |batch: &[T]| producer.push_slice(batch);
    transfer::<T, BATCH, _>(items, send, vec![receive])
}

fn array_queue<T: Item>(items: u64) -> Transfer {
    let producer = Arc::new(ArrayQueue::<T>::new(CAPACITY));
    let consumer = Arc::clone(&producer);
    let receive = move |check: &mut Check<T>| check.see_one(consumer.pop());
    transfer::<T, 1, _>(items, move |batch| usize::from(producer.push(batch[0]).is_ok()), vec![receive])
}

fn channel<T: Item>(items: u64) -> Transfer {
    let (producer, consumer) = crossbeam_channel::bounded::<T>(CAPACITY);
    let receive = move |check: &mut Check<T>| check.see_one(consumer.try_recv().ok());
    transfer::<T, 1, _>(items, move |batch| usize::from(producer.try_send(batch[0]).is_ok()), vec![receive])
}

fn kanal<T: Item>(items: u64) -> Transfer {
    let (producer, consumer) = ::kanal::bounded::<T>(CAPACITY);
    let receive = move |check: &mut Check<T>| check.see_one(consumer.try_recv().ok().flatten());
    let send = move |batch: &[T]| usize::from(producer.try_send(batch[0]).unwrap_or(false));
    transfer::<T, 1, _>(items, send, vec![receive])
}
