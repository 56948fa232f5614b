//! The journal without a disk: encoding, checks, hash chain and one write for each commit, by the size of the batch.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::{
    command::{Command, SequencedCommand},
    journal::{Journal, MemoryStorage, Options},
    types::{AccountId, Cause, ClientOrderId, LimitType, MarketId, Price, Quantity, Sequence, Side, Timestamp},
};

/// Commits until a new journal is begun, so that it stays within its first segment.
const COMMITS_MAX: u64 = 1_000;

fn record(sequence: u64) -> SequencedCommand {
    let command = Command::PlaceLimit {
        account: AccountId(7),
        market: MarketId(0),
        side: Side::Buy,
        limit_type: LimitType::GoodTillCancel,
        price: Price(100_000),
        quantity: Quantity(10),
        client_order_id: ClientOrderId(sequence),
    };
    SequencedCommand { sequence: Sequence(sequence), time: Timestamp(sequence), cause: Cause::session(1), command }
}

/// Times `iterations` commits of `batch` commands each.
fn timed(iterations: u64, batch: u64) -> Duration {
    let (mut taken, mut left) = (Duration::ZERO, iterations);
    while left > 0 {
        let options = Options { segments_ahead: 0, ..Options::default() };
        let opening = Journal::open(MemoryStorage::default(), options).expect("the journal opens");
        let mut journal = opening.into_journal().expect("the journal is new");
        let commits = left.min(COMMITS_MAX);
        let mut sequence = 0;
        let begun = Instant::now();
        for _ in 0..commits {
            for _ in 0..batch {
                sequence += 1;
                journal.append(&record(sequence)).expect("there is room");
            }
            journal.commit().expect("the memory takes it");
        }
        taken += begun.elapsed();
        left -= commits;
    }
    taken
}

fn append_and_commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal in memory, append and commit");
    for batch in [1, 16, 256] {
        group.throughput(Throughput::Elements(batch));
        group.bench_with_input(BenchmarkId::from_parameter(batch), &batch, |bencher, &batch| {
            bencher.iter_custom(|iterations| timed(iterations, batch));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500));
    targets = append_and_commit
}
criterion_main!(benches);
