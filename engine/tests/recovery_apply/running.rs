//! Applying to an exchange that runs, in line and on threads.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use engine::{
    command::Command,
    event::{Event, SequencedEvent},
    journal::{Durability, Epoch, MemoryStorage, Options},
    pipeline::{Config, Inline, Pipeline, Published, SubmitError, Subscriber, Subscription},
    recovery::{ApplyError, ApprovalError, Timeline, apply_to, verify_epochs},
    types::{Cause, OperatorId, Sequence, Side, Timestamp, TradingStatus},
};

use super::world::{
    BAD, approved, bytes_of, frozen, head_hash, incident, late_deposit, limit, play, replayed, setup, status,
    strategies,
};

const TOPOLOGIES: [&str; 4] = ["single", "fused", "split", "full"];

/// Reads all until the pipeline ends, on a thread of its own.
fn read_all(mut subscriber: Subscriber) -> thread::JoinHandle<Vec<Published>> {
    thread::spawn(move || std::iter::from_fn(|| subscriber.next().ok()).collect())
}

fn config(topology: &str, ring: usize) -> Config {
    Config {
        topology: topology.parse().unwrap(),
        durability: Durability::None,
        gateway_ring: ring,
        input_ring: ring,
        event_ring: ring,
        segment_bytes: 4 << 20,
        snapshot_every: Some(50),
        ..Config::default()
    }
}

#[test]
fn a_running_exchange_goes_on_in_the_new_epoch_on_every_topology() {
    for (number, topology) in TOPOLOGIES.into_iter().enumerate() {
        for ring in [8, 1 << 12] {
            let directory = tempfile::tempdir().unwrap();
            let pipeline = Pipeline::open(directory.path(), config(topology, ring)).unwrap();
            let events = read_all(pipeline.subscribe(Subscription { ring: 64, ..Subscription::default() }).unwrap());
            let mut operator = pipeline.operator(Cause::operator(1)).unwrap();
            let mut last = Sequence(0);
            for command in setup() {
                last = operator.execute(command).unwrap()[0].sequence;
            }
            for command in incident(BAD, last.next()) {
                operator.execute(command).unwrap();
            }
            let mut gateway = pipeline.gateway(Cause::session(1)).unwrap();
            gateway.submit(limit(8, Side::Buy, 800, 1)).unwrap();
            let frozen = pipeline.freeze(Cause::operator(1)).unwrap();
            assert_eq!(gateway.submit(limit(8, Side::Buy, 800, 1)), Err(SubmitError::Halted));

            // Deposits keep coming, before, while and after it is applied.
            let stop = Arc::new(AtomicBool::new(false));
            let bank = {
                let (stop, mut bank) = (Arc::clone(&stop), pipeline.operator(Cause::operator(9)).unwrap());
                thread::spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        count += 1;
                        let events = bank.execute(late_deposit(count)).unwrap();
                        assert!(matches!(events[0].event, Event::Deposited { .. }), "{events:?}");
                    }
                    count
                })
            };
            let timeline = Timeline::open(directory.path()).unwrap();
            let strategy = strategies(&timeline, BAD).swap_remove(number);
            let (plan, branch, approvals) = approved(&timeline, &strategy);
            assert_eq!((plan.halt, plan.preview), (frozen[0].sequence, false));
            let applied = pipeline.apply(&plan, branch.clone(), &approvals).unwrap();
            assert_eq!((applied.epoch, pipeline.epoch()), (Epoch(2), Epoch(2)));
            let again = pipeline.apply(&plan, branch, &approvals).unwrap();
            assert_eq!((again.already, again.sequence), (true, applied.sequence));
            stop.store(true, Ordering::Relaxed);
            let deposits = bank.join().unwrap();
            assert!(deposits > 0);

            operator.execute(status(TradingStatus::CancelOnly)).unwrap();
            operator.execute(status(TradingStatus::Open)).unwrap();
            for number in 0..200 {
                let side = if number % 2 == 0 { Side::Buy } else { Side::Sell };
                let order = limit(1 + number as u32 % 12, side, 940 + number % 7, 1 + number % 5);
                while gateway.submit(order) == Err(SubmitError::Busy) {
                    thread::yield_now();
                }
            }
            let stopped = pipeline.shutdown().unwrap();
            stopped.exchange.check_invariants().unwrap();
            let hash = stopped.exchange.state_hash();
            let events = events.join().unwrap();
            for published in &events {
                let expected = if published.event.sequence < applied.sequence { 1 } else { 2 };
                assert_eq!(published.epoch, Epoch(expected), "{published:?}");
            }
            let of_record: Vec<_> = events.iter().filter(|event| event.event.sequence == applied.sequence).collect();
            assert_eq!(of_record.len(), applied.corrections);
            assert!(matches!(of_record[0].event.event, Event::EpochStarted { epoch: 2, .. }));
            assert!(of_record.last().is_some_and(|event| event.last));

            let live: Vec<SequencedEvent> = events.iter().map(|published| published.event).collect();
            let (again, exchange) = replayed(&timeline);
            assert!(bytes_of(&live) == bytes_of(&again), "{topology}: live and replayed");
            assert_eq!(exchange.state_hash(), hash, "{topology}");
            assert_eq!(head_hash(&timeline), hash, "{topology}: from the newest snapshot");
            let pipeline = Pipeline::open(directory.path(), config(topology, ring)).unwrap();
            assert_eq!((pipeline.recovered().state_hash, pipeline.recovered().epoch), (hash, Epoch(2)));
            assert_eq!(pipeline.epoch(), Epoch(2));
        }
    }
}

#[test]
fn an_exchange_in_line_goes_on_in_the_new_epoch() {
    for number in 0..4 {
        let storage = MemoryStorage::default();
        let mut inline = Inline::open_memory_storage(&storage, &Options::default()).unwrap();
        play(&mut inline);
        let mut events: Vec<SequencedEvent> = Vec::new();
        inline.commit(&mut |event| events.push(*event)).unwrap();
        let timeline = Timeline::of(storage.clone());
        let strategy = strategies(&timeline, BAD).swap_remove(number);
        let (plan, branch, approvals) = approved(&timeline, &strategy);
        inline.submit(Cause::operator(1), late_deposit(1)).unwrap();
        let applied = inline.apply(&plan, branch.clone(), &approvals).unwrap();
        assert_eq!(Some(inline.exchange().state_hash()), applied.state);
        assert_eq!(inline.epoch(), Epoch(2));
        assert!(inline.apply(&plan, branch, &approvals).unwrap().already);
        inline.submit(Cause::operator(1), status(TradingStatus::Open)).unwrap();
        for number in 0..50 {
            let side = if number % 2 == 0 { Side::Buy } else { Side::Sell };
            inline.submit(Cause::session(1), limit(1 + number as u32 % 12, side, 940 + number % 7, 2)).unwrap();
        }
        inline.commit(&mut |event| events.push(*event)).unwrap();
        let hash = inline.close().unwrap().state_hash();
        let (again, exchange) = replayed(&timeline);
        assert_eq!(bytes_of(&events), bytes_of(&again));
        assert_eq!(exchange.state_hash(), hash);
        // On a stopped storage it is known as well.
        let again = apply_to(&storage, &Options::default(), &plan, &approvals, Timestamp(1), &|_| ()).unwrap();
        assert!(again.already);
    }
}

#[test]
fn what_only_a_recovery_submits_is_refused_from_others() {
    let pipeline = Pipeline::in_memory(Config::default()).unwrap();
    let mut gateway = pipeline.gateway(Cause::session(1)).unwrap();
    let mut operator = pipeline.operator(Cause::operator(1)).unwrap();
    let mut inline = Inline::in_memory();
    for command in [
        Command::StartEpoch { at: Sequence(1), digest: Default::default() },
        Command::AddPlanPart { index: 0, length: 1, bytes: Default::default() },
    ] {
        assert_eq!(gateway.submit(command), Err(SubmitError::Reserved));
        assert!(operator.execute(command).unwrap_err().to_string().contains("applying a plan"));
        assert!(inline.submit(Cause::operator(1), command).unwrap_err().to_string().contains("applying a plan"));
    }
}

#[test]
fn an_operator_who_is_revoked_meanwhile_has_not_approved() {
    for round in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        frozen(directory.path());
        let pipeline = Pipeline::open(directory.path(), config("single", 1 << 12)).unwrap();
        let timeline = Timeline::open(directory.path()).unwrap();
        let strategy = strategies(&timeline, BAD).swap_remove(round % 2);
        let (plan, branch, approvals) = approved(&timeline, &strategy);
        let mut operator = pipeline.operator(Cause::operator(2)).unwrap();
        let together = Arc::new(Barrier::new(2));
        let revoking = {
            let together = Arc::clone(&together);
            thread::spawn(move || {
                let (first, second) = (OperatorId(1), OperatorId(2));
                together.wait();
                let events = operator.execute(Command::RevokeOperator { operator: OperatorId(3), first, second });
                events.unwrap()[0].sequence
            })
        };
        together.wait();
        let outcome = pipeline.apply(&plan, branch, &approvals);
        let revoked = revoking.join().unwrap();
        match outcome {
            Ok(applied) => assert!(revoked > applied.sequence, "revoked at {revoked}: {applied:?}"),
            Err(ApplyError::Approval(ApprovalError::Revoked { operator })) => assert_eq!(operator, OperatorId(3)),
            Err(other) => panic!("{other}"),
        }
        pipeline.shutdown().unwrap();
        verify_epochs(&timeline, &|_| ()).unwrap();
    }
}
