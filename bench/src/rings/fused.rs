//! A pipeline of a producer and three stages, each behind the one before, in which every stage looks at every item:
//! ours as pollers on two pinned threads, as the engine's workers run theirs, `disruptor`'s with a thread for each.
//!
//! ```text
//! ours        [ producer ─► first ] ─► [ second ─► third ]      two threads
//! disruptor   [ producer ] ─► [ first ] ─► [ second ] ─► [ third ]
//! ```

use std::{
    sync::{Arc, Barrier, Mutex},
    thread,
    time::Instant,
};

use disruptor::wait_strategies::WaitStrategy;
use ringbuf::broadcast::Builder;

use super::{
    BATCH, CAPACITY, Case, Item, Kind, Transfer,
    broadcast::{publish, publish_to_disruptor},
    transfer::{Check, Wait, pin, send_all},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    add_size::<u64>(&mut cases);
    add_size::<[u64; 7]>(&mut cases);
    cases
}

fn add_size<T: Item>(cases: &mut Vec<Case>) {
    for (each, ours, peer) in [
        ("one by one".to_owned(), ours::<T, 1> as fn(u64) -> Transfer, disruptor::<T, 1> as fn(u64) -> Transfer),
        (format!("batch of {BATCH}"), ours::<T, BATCH>, disruptor::<T, BATCH>),
    ] {
        let setting = format!("{} bytes, {each}", T::BYTES);
        cases.push(Case::new(Kind::Fused, "reprise", setting.clone(), ours));
        cases.push(Case::new(Kind::Fused, "disruptor", setting, peer));
    }
}

fn ours<T: Item, const BATCHED: usize>(items: u64) -> Transfer {
    let mut builder = Builder::new(CAPACITY);
    let first = builder.consumer(&[]);
    let second = builder.consumer(&[first]);
    builder.consumer(&[second]);
    let (mut producer, mut consumers) = builder.build::<T>().expect("the capacity is a power of two");
    let (mut third, mut second) = (consumers.pop().expect("three"), consumers.pop().expect("three"));
    let mut first = consumers.pop().expect("three");
    let barrier = &Barrier::new(2);
    thread::scope(|scope| {
        let behind = scope.spawn(move || {
            pin(1, 2);
            let mut checks = [Check::new(); 2];
            let mut wait = Wait::default();
            barrier.wait();
            while checks[1].seen < items {
                let mut moved = second.for_each(BATCH, |item| checks[0].see(item));
                moved += third.for_each(BATCH, |item| checks[1].see(item));
                wait.after(moved);
            }
            (Instant::now(), checks.iter().map(|check| check.wrong).sum::<u64>())
        });
        let ahead = scope.spawn(move || {
            pin(0, 2);
            let mut check = Check::new();
            let mut wait = Wait::default();
            barrier.wait();
            let begun = Instant::now();
            let send = |batch: &[T]| {
                let sent = publish(&mut producer, batch);
                // The stage is polled when it has a batch, or there is nothing else to do.
                if BATCHED > 1 || sent == 0 || producer.position() % BATCH as u64 == 0 {
                    let moved = first.for_each(BATCH, |item| check.see(item));
                    wait.after(sent + moved);
                }
                sent
            };
            send_all::<T, BATCHED>(items, send, |_| ());
            while check.seen < items {
                first.for_each(BATCH, |item| check.see(item));
            }
            (begun, check.wrong)
        });
        let (begun, wrong_ahead) = ahead.join().expect("no stage panics");
        let (ended, wrong_behind) = behind.join().expect("no stage panics");
        Transfer { seconds: (ended - begun).as_secs_f64(), wrong: wrong_ahead + wrong_behind }
    })
}

/// Offers the core to other threads: with more stages than cores, spinning starves whom it waits for.
#[derive(Clone, Copy)]
struct Yield;

impl WaitStrategy for Yield {
    fn wait_for(&self, _: disruptor::Sequence) {
        thread::yield_now();
    }
}

fn disruptor<T: Item, const BATCHED: usize>(items: u64) -> Transfer {
    // Of each stage that has seen all items: when, and how many were wrong.
    let ends = Arc::new(Mutex::new(Vec::new()));
    let stage = || {
        let ends = Arc::clone(&ends);
        let mut check = Check::new();
        move |item: &T, _, _| {
            check.see(item);
            if check.seen == items {
                ends.lock().expect("no stage panics").push((Instant::now(), check.wrong));
            }
        }
    };
    let mut producer = disruptor::build_single_producer(CAPACITY, T::default, Yield)
        .handle_events_with(stage())
        .and_then()
        .handle_events_with(stage())
        .and_then()
        .handle_events_with(stage())
        .build();
    let begun = Instant::now();
    let after = |sent| {
        if sent == 0 {
            thread::yield_now();
        }
    };
    send_all::<T, BATCHED>(items, |batch| publish_to_disruptor(&mut producer, batch), after);
    // Waits for the stages.
    drop(producer);
    let ends = ends.lock().expect("no stage panics");
    let last = ends.iter().map(|(ended, _)| *ended).max().expect("three stages have ended");
    let wrong = ends.iter().map(|(_, wrong)| wrong).sum::<u64>() + 3 - ends.len() as u64;
    Transfer { seconds: (last - begun).as_secs_f64(), wrong }
}
