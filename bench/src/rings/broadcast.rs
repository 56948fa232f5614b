//! Rings in which several consumers see every item.

use ringbuf::broadcast::{Builder, Producer};

use super::{
    BATCH, CAPACITY, Case, Item, Kind, Transfer,
    transfer::{Check, transfer},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    add_size::<u64>(&mut cases);
    add_size::<[u64; 7]>(&mut cases);
    cases
}

fn add_size<T: Item>(cases: &mut Vec<Case>) {
    let mut add = |consumers: usize, batch: usize, ours, peer| {
        let each = if batch == 1 { "one by one".to_owned() } else { format!("batch of {batch}") };
        let many = if consumers == 1 { "consumer" } else { "consumers" };
        let setting = format!("{} bytes, {consumers} {many}, {each}", T::BYTES);
        cases.push(Case::new(Kind::Broadcast, "reprise", setting.clone(), ours));
        cases.push(Case::new(Kind::Broadcast, "disruptor", setting, peer));
    };
    add(1, 1, ours::<T, 1, 1>, disruptor_with_one::<T, 1>);
    add(1, BATCH, ours::<T, BATCH, 1>, disruptor_with_one::<T, BATCH>);
    add(2, 1, ours::<T, 1, 2>, disruptor_with_two::<T, 1>);
    add(2, BATCH, ours::<T, BATCH, 2>, disruptor_with_two::<T, BATCH>);
    add(3, 1, ours::<T, 1, 3>, disruptor_with_three::<T, 1>);
    add(3, BATCH, ours::<T, BATCH, 3>, disruptor_with_three::<T, BATCH>);
}

fn ours<T: Item, const BATCHED: usize, const CONSUMERS: usize>(items: u64) -> Transfer {
    let mut builder = Builder::new(CAPACITY);
    for _ in 0..CONSUMERS {
        builder.consumer(&[]);
    }
    let (mut producer, consumers) = builder.build::<T>().expect("the capacity is a power of two");
    let receivers = consumers
        .into_iter()
        .map(|mut consumer| move |check: &mut Check<T>| consumer.for_each(BATCH, |item| check.see(item)));
    let send = move |batch: &[T]| publish(&mut producer, batch);
    transfer::<T, BATCHED, _>(items, send, receivers.collect())
}

/// As much of the batch as there is room for.
#[inline]
pub(super) fn publish<T: Item>(producer: &mut Producer<T>, batch: &[T]) -> usize {
    if let [item] = batch {
        return usize::from(producer.publish(*item).is_ok());
    }
    let Ok(mut claim) = producer.claim(batch.len()) else { return 0 };
    claim.push_slice(batch);
    claim.publish()
}

/// Polls, as ours does, so that both wait in the same way.
macro_rules! receiver_of {
    ($poller:expr) => {{
        let mut poller = $poller;
        move |check: &mut Check<T>| match poller.take(BATCH as u64) {
            Ok(mut items) => {
                let count = (&mut items).len();
                (&mut items).for_each(|item| check.see(item));
                count
            }
            Err(_) => 0,
        }
    }};
}

fn disruptor_with_one<T: Item, const BATCHED: usize>(items: u64) -> Transfer {
    let builder = disruptor::build_single_producer(CAPACITY, T::default, disruptor::BusySpin);
    let (poller, builder) = builder.new_event_poller();
    let mut producer = builder.build();
    let receivers = vec![receiver_of!(poller)];
    transfer::<T, BATCHED, _>(items, move |batch| publish_to_disruptor(&mut producer, batch), receivers)
}

fn disruptor_with_two<T: Item, const BATCHED: usize>(items: u64) -> Transfer {
    let builder = disruptor::build_single_producer(CAPACITY, T::default, disruptor::BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (second, builder) = builder.new_event_poller();
    let mut producer = builder.build();
    let pollers = vec![first, second];
    let receivers = pollers.into_iter().map(|poller| receiver_of!(poller)).collect();
    transfer::<T, BATCHED, _>(items, move |batch| publish_to_disruptor(&mut producer, batch), receivers)
}

fn disruptor_with_three<T: Item, const BATCHED: usize>(items: u64) -> Transfer {
    let builder = disruptor::build_single_producer(CAPACITY, T::default, disruptor::BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (second, builder) = builder.new_event_poller();
    let (third, builder) = builder.new_event_poller();
    let mut producer = builder.build();
    let pollers = vec![first, second, third];
    let receivers = pollers.into_iter().map(|poller| receiver_of!(poller)).collect();
    transfer::<T, BATCHED, _>(items, move |batch| publish_to_disruptor(&mut producer, batch), receivers)
}

/// All of the batch or nothing, as the peer has it.
pub(super) fn publish_to_disruptor<T: Item>(producer: &mut impl disruptor::Producer<T>, batch: &[T]) -> usize {
    let published = match batch {
        [item] => producer.try_publish(|slot| *slot = *item).is_ok(),
        _ => {
            let write = producer.try_batch_publish(batch.len(), |slots| {
                slots.zip(batch).for_each(|(slot, item)| *slot = *item);
            });
            write.is_ok()
        }
    };
    if published { batch.len() } else { 0 }
}
