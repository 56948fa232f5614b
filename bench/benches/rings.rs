//! The rings on one thread: what an item costs when nobody waits. Between threads: `cargo run --release -p bench rings`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::{hint::black_box, time::Duration};

use bench::rings::{BATCH, CAPACITY};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringbuf::{broadcast::Builder, spsc, stamped};

type Item = [u64; 8];

fn spsc_single(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spsc");
    group.throughput(Throughput::Elements(1));
    let (mut producer, mut consumer) = spsc::channel::<Item>(CAPACITY).expect("the capacity is a power of two");
    group.bench_function("64 bytes, push and take", |bencher| {
        bencher.iter(|| {
            producer.push(black_box([7; 8])).expect("there is room");
            black_box(consumer.take())
        });
    });
    group.finish();
}

fn stamped_single(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stamped");
    group.throughput(Throughput::Elements(1));
    let (mut producer, mut consumer) = stamped::channel::<[u64; 7]>(CAPACITY).expect("the capacity is a power of two");
    group.bench_function("56 bytes, push and take", |bencher| {
        bencher.iter(|| {
            producer.push(black_box([7; 7])).expect("there is room");
            black_box(consumer.take())
        });
    });
    group.finish();
}

fn spsc_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spsc");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (mut producer, mut consumer) = spsc::channel::<Item>(CAPACITY).expect("the capacity is a power of two");
    let batch = [[7; 8]; BATCH];
    group.bench_function("64 bytes, batch of 64", |bencher| {
        bencher.iter(|| {
            producer.push_slice(black_box(&batch)).expect("the consumer is there");
            consumer.drain(BATCH, |item| {
                black_box(item);
            })
        });
    });
    group.finish();
}

fn broadcast(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("broadcast");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut builder = Builder::new(CAPACITY);
    let first = builder.consumer(&[]);
    let second = builder.consumer(&[]);
    builder.consumer(&[first, second]);
    let (mut producer, mut consumers) = builder.build::<Item>().expect("the ring can be built");
    group.bench_function("64 bytes, batch of 64, two consumers and one behind them", |bencher| {
        bencher.iter(|| {
            let mut claim = producer.claim(BATCH).expect("there is room");
            while claim.remaining() > 0 {
                claim.push(black_box([7; 8]));
            }
            claim.publish();
            for consumer in &mut consumers {
                consumer.for_each(BATCH, |item| {
                    black_box(item);
                });
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500));
    targets = spsc_single, stamped_single, spsc_batch, broadcast
}
criterion_main!(benches);
