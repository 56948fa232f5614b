//! Acknowledged means durable, and a journal that fails stops the exchange.

use engine::{
    event::Event,
    journal::{Journal, MemoryStorage, Options},
    pipeline::{Config, Pipeline, PipelineError, ReceiveError, StageName, SubmitError, Subscription},
    types::Sequence,
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
                let pipeline = Pipeline::open_memory_storage(storage.clone(), config(topology)).unwrap();
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
