//! Acknowledged means durable, and a journal that fails stops the exchange.

use engine::{
    command::Command,
    event::Event,
    journal::{Durability, FileStorage, Journal, MemoryStorage, Options, snapshot::list_snapshots},
    pipeline::{Config, Pipeline, PipelineError, ReceiveError, StageName, SubmitError, Subscription},
    recovery::Timeline,
    types::{AccountId, Cause, MarketId, Sequence, TradingStatus},
};

use super::{gateway, order, setup, submit};

fn config(topology: &str) -> Config {
    Config { topology: topology.parse().unwrap(), segment_bytes: 2 << 20, ..Config::default() }
}

#[test]
fn an_exchange_goes_on_where_it_ended_however_often_it_is_reopened() {
    let directory = tempfile::tempdir().unwrap();
    let commands: Vec<_> = setup().into_iter().chain((0..700).map(order)).collect();
    let mut hash = None;
    let mut done = 0;
    for part in commands.chunks(100) {
        let pipeline = Pipeline::open(directory.path(), config("fused")).unwrap();
        assert_eq!(pipeline.recovered().last_sequence, Sequence(done));
        assert!(hash.is_none_or(|hash| hash == pipeline.recovered().state_hash));
        assert!(pipeline.recovered().torn.is_none());
        let mut gateway = gateway(&pipeline);
        for command in part {
            submit(&mut gateway, *command);
        }
        done += part.len() as u64;
        let stopped = pipeline.shutdown().unwrap();
        assert_eq!(stopped.exchange.last_sequence(), Sequence(done));
        stopped.exchange.check_invariants().unwrap();
        hash = Some(stopped.exchange.state_hash());
    }
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Pipeline::open(directory.path(), config("fused")).unwrap();
    let second = Pipeline::open(directory.path(), config("fused")).err().unwrap();
    assert!(second.to_string().contains(&std::process::id().to_string()), "names the holder: {second}");
    drop(first);
    Pipeline::open(directory.path(), config("fused")).unwrap();
}

/// Whatever write or sync fails: what was acknowledged is there after reopening, and nothing is acknowledged
/// after the failure.
#[test]
fn a_failing_journal_stops_the_exchange_and_loses_nothing_acknowledged() {
    for topology in ["single", "fused", "full"] {
        for failing in 1..12 {
            for by_sync in [false, true] {
                let storage = MemoryStorage::default();
                let pipeline = Pipeline::open_memory_storage(&storage, config(topology)).unwrap();
                let mut events = pipeline.subscribe(Subscription::default()).unwrap();
                let mut gateway = gateway(&pipeline);
                if by_sync {
                    storage.fail_at_sync(failing);
                } else {
                    storage.fail_at_write(failing);
                }
                let mut acknowledged = Sequence(0);
                let refused = (0..).find_map(|number| {
                    while let Ok(published) = events.try_next() {
                        acknowledged = published.event.sequence;
                    }
                    match gateway.submit(order(number)) {
                        Ok(_) | Err(SubmitError::Busy) => None,
                        Err(error) => Some(error),
                    }
                });
                assert_eq!(refused, Some(SubmitError::Closed));
                let end = loop {
                    match events.next() {
                        Ok(published) => acknowledged = published.event.sequence,
                        Err(end) => break end,
                    }
                };
                assert_eq!(end, ReceiveError::Closed);
                assert!(pipeline.failure().is_some());
                assert!(matches!(pipeline.account(engine::types::AccountId(1)), Err(PipelineError::Failed(_))));
                assert!(matches!(pipeline.shutdown(), Err(PipelineError::Failed(_))));

                // What only the failed write held is lost, as in a crash.
                let crashed = storage.crash(|_| false);
                let mut opening = Journal::open(crashed, Options::default()).unwrap();
                let kept = opening.by_ref().map(Result::unwrap).last().map_or(Sequence(0), |command| command.sequence);
                assert!(kept >= acknowledged, "{acknowledged} was acknowledged, {kept} is the last that is kept");
            }
        }
    }
}

#[test]
fn nothing_is_published_before_it_is_durable() {
    use StageName::{Journaler, Matcher, Publisher, Risk, Sequencer};
    let (commands, durable) = (200, 40);
    // The journal is polled by hand: events of what it has not written must not come out.
    let directory = tempfile::tempdir().unwrap();
    let (handle, mut stages) = Pipeline::open_unstarted(directory.path(), &config("full")).unwrap();
    let mut events = handle.subscribe(Subscription::default()).unwrap();
    let mut gateway = gateway(&handle);
    for number in 0..durable {
        submit(&mut gateway, order(number));
    }
    for _ in 0..10 {
        for stage in [Sequencer, Journaler] {
            stages.poll(stage, 64);
        }
    }
    for number in durable..commands {
        submit(&mut gateway, order(number));
    }
    for _ in 0..50 {
        for stage in [Sequencer, Risk, Matcher, Publisher] {
            stages.poll(stage, 64);
        }
    }
    let mut seen = Vec::new();
    events.drain(usize::MAX, |published| seen.push(published.event.sequence.0)).unwrap();
    assert_eq!(seen.last(), Some(&durable), "all that is durable was published, and no more");
    handle.stop();
    while stages.running().next().is_some() {
        for stage in StageName::ALL {
            stages.poll(stage, 64);
        }
    }
    events
        .drain(usize::MAX, |published| {
            assert!(matches!(published.event.event, Event::Refused { .. }));
            seen.push(published.event.sequence.0);
        })
        .unwrap();
    assert_eq!(seen.last(), Some(&commands));
}

/// Live, replayed from the first command, and from the newest snapshot on: the same state, also when the exchange is
/// reopened a dozen times in the middle of load, and also when the newest snapshot is no good.
#[test]
fn live_replayed_and_snapshot_with_tail_are_the_same() {
    for topology in ["fused", "full"] {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { durability: Durability::None, snapshot_every: Some(500), ..config(topology) };
        let mut number = 0;
        let mut from_snapshots = 0;
        let mut last_hash = None;
        for round in 0..12 {
            let pipeline = Pipeline::open(directory.path(), config.clone()).unwrap();
            let recovered = pipeline.recovered().clone();
            assert!(last_hash.is_none_or(|hash| hash == recovered.state_hash), "round {round}");
            assert_eq!(recovered.skipped.len(), usize::from(round == 9), "{:?}", recovered.skipped);
            from_snapshots += u64::from(recovered.snapshot.is_some());
            assert!(recovered.snapshot.is_none() || recovered.replayed < recovered.commands);
            let mut gateway = gateway(&pipeline);
            if round == 0 {
                for command in setup() {
                    submit(&mut gateway, command);
                }
            }
            let made = pipeline.snapshots().made;
            // In steps, as the follower is let run only when nobody else needs a core.
            while pipeline.snapshots().made < made + 2 {
                for _ in 0..300 {
                    submit(&mut gateway, order(number));
                    number += 1;
                }
                let submitted = recovered.commands + pipeline.counters().commands;
                while pipeline.snapshots().replayed.0 < submitted {
                    assert_eq!(pipeline.snapshots().failure, None);
                    std::thread::yield_now();
                }
            }
            let stopped = pipeline.shutdown().unwrap();
            let hash = stopped.exchange.state_hash();
            let replayed = Timeline::open(directory.path()).unwrap();
            let mut from_the_first = replayed.replay().unwrap();
            from_the_first.run_to(stopped.exchange.last_sequence()).unwrap();
            assert_eq!(from_the_first.exchange().state_hash(), hash);
            assert_eq!(replayed.at(stopped.exchange.last_sequence()).unwrap().state_hash(), hash);
            let storage = FileStorage::read_only(directory.path());
            let snapshots = list_snapshots(&storage).unwrap();
            assert_eq!(snapshots.len(), 2, "two are kept");
            if round == 8 {
                let file = directory.path().join(snapshots[0].to_string());
                let mut bytes = std::fs::read(&file).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&file, bytes).unwrap();
            }
            last_hash = Some(hash);
        }
        assert_eq!(from_snapshots, 11);
    }
}

/// Orders stop at the watermark; what must get through gets through; and when there is space again, it goes on.
#[test]
fn a_disk_that_fills_up_stops_orders_and_nothing_else() {
    for topology in ["fused", "full"] {
        let storage = MemoryStorage::default();
        let config = Config { low_space_bytes: 8 << 20, ..config(topology) };
        storage.set_capacity(Some(14 << 20));
        let pipeline = Pipeline::open_memory_storage(&storage, config.clone()).unwrap();
        let mut gateway = gateway(&pipeline);
        for command in setup() {
            submit(&mut gateway, command);
        }
        let mut number = 0;
        let refused = loop {
            match gateway.submit(order(number)) {
                Ok(_) => number += 1,
                Err(SubmitError::Busy) => std::thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, SubmitError::LowSpace);
        submit(&mut gateway, Command::CancelAllOfAccount { account: AccountId(1) });
        let operator = Cause::operator(1);
        pipeline.halt(operator).unwrap();
        let mut lane = pipeline.operator(operator).unwrap();
        lane.execute(Command::CancelAllOfMarket { market: MarketId(0) }).unwrap();
        lane.execute(Command::SetGlobalStatus { status: TradingStatus::Open }).unwrap();
        storage.set_capacity(None);
        while gateway.submit(order(number)) == Err(SubmitError::LowSpace) {
            std::thread::yield_now();
        }
        let stopped = pipeline.shutdown().unwrap();
        let reopened = Pipeline::open_memory_storage(&storage, config).unwrap();
        assert_eq!(reopened.recovered().state_hash, stopped.exchange.state_hash());
    }
}
