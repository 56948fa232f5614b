//! Applying to a directory that nobody has open.

use engine::{
    command::Command,
    event::Event,
    journal::{Durability, Epoch, FileStorage, epoch_starts},
    pipeline::Inline,
    recovery::{Moment, Timeline, TimelineError, apply, epoch_files, save_snapshot},
    types::{Cause, Sequence, Side, Timestamp, TradingStatus},
};

use super::world::{BAD, approved, bytes_of, frozen, head_hash, late_deposit, limit, replayed, status, strategies};

#[test]
fn every_strategy_becomes_the_epoch_that_all_readers_see() {
    for number in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        frozen(directory.path());
        let timeline = Timeline::open(directory.path()).unwrap();
        let strategy = strategies(&timeline, BAD).swap_remove(number);
        let (plan, branch, approvals) = approved(&timeline, &strategy);
        let before = timeline.at(plan.halt).unwrap();

        let applied = apply(directory.path(), &plan, &approvals, Timestamp(1), &|_| ()).unwrap();
        assert_eq!((applied.epoch, applied.already), (Epoch(2), false), "{strategy}");
        assert_eq!(applied.state, Some(branch.exchange.state_hash()), "nothing came after the halt but the plan");
        assert_eq!(head_hash(&timeline), branch.exchange.state_hash());
        assert_eq!(timeline.at(plan.halt).unwrap().state_hash(), before.state_hash(), "the parent is untouched");

        // From the first command, by way of the epoch file and without it.
        let (events, exchange) = replayed(&timeline);
        assert_eq!(exchange.state_hash(), branch.exchange.state_hash());
        let storage = FileStorage::read_only(directory.path());
        let [name] = epoch_files(&storage).unwrap()[..] else { panic!("one epoch file") };
        assert_eq!((name.epoch, name.sequence), (applied.epoch, applied.sequence));
        let file = directory.path().join(name.to_string());
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let (again, exchange) = replayed(&timeline);
        assert_eq!(exchange.state_hash(), branch.exchange.state_hash());
        assert_eq!(bytes_of(&events), bytes_of(&again));

        // Opening writes the file again, and the exchange goes on.
        let mut inline = Inline::open(directory.path(), Durability::None).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "the same file");
        assert_eq!(inline.exchange().state_hash(), branch.exchange.state_hash());
        inline.submit(Cause::operator(1), status(TradingStatus::Open)).unwrap();
        inline.submit(Cause::session(1), limit(5, Side::Sell, 900, 10)).unwrap();
        let hash = inline.exchange().state_hash();
        inline.close().unwrap();
        assert_eq!((head_hash(&timeline), replayed(&timeline).1.state_hash()), (hash, hash));

        // Again is no error.
        let again = apply(directory.path(), &plan, &approvals, Timestamp(1), &|_| ()).unwrap();
        assert_eq!((again.already, again.epoch, again.sequence), (true, applied.epoch, applied.sequence));
        assert_eq!(head_hash(&timeline), hash);
    }
}

#[test]
fn two_recoveries_in_a_row_and_snapshots_between() {
    let directory = tempfile::tempdir().unwrap();
    frozen(directory.path());
    let timeline = Timeline::open(directory.path()).unwrap();
    let [excise, bust, ..] = &strategies(&timeline, BAD)[..] else { panic!("four strategies") };
    let (plan, _, approvals) = approved(&timeline, excise);
    let first = apply(directory.path(), &plan, &approvals, Timestamp(1), &|_| ()).unwrap();
    let (stale, _, _) = {
        // Made for the first epoch, and too late.
        let (plan, branch, approvals) = (plan.clone(), (), approvals.clone());
        (plan, branch, approvals)
    };

    // The second epoch: more trade, a snapshot, and another bad airdrop.
    let mut inline = Inline::open(directory.path(), Durability::None).unwrap();
    inline.submit(Cause::operator(1), status(TradingStatus::Open)).unwrap();
    let bad = engine::types::AirdropId(2);
    let next = inline.exchange().last_sequence().next();
    for command in super::world::incident(bad, next) {
        inline.submit(Cause::session(1), command).unwrap();
    }
    inline.close().unwrap();
    let mut replay = timeline.replay().unwrap();
    while replay.skip().unwrap().is_some() {}
    let storage = FileStorage::lock(directory.path()).unwrap();
    save_snapshot(&storage, replay.exchange(), replay.head(), replay.time(), replay.journal_id()).unwrap();
    drop(storage);
    let mut inline = Inline::open(directory.path(), Durability::None).unwrap();
    inline.freeze(Cause::operator(1)).unwrap();
    inline.submit(Cause::operator(1), late_deposit(1)).unwrap();
    inline.close().unwrap();

    // What an earlier epoch did cannot be changed any more.
    let error = engine::recovery::make_plan(&timeline, bust, &|_| ()).unwrap_err().to_string();
    assert!(error.contains("earlier epoch"), "{error}");
    let second = super::world::execution(&timeline, bad);
    let strategy = engine::recovery::Strategy::Excise(engine::recovery::Edits::drop_sequences([second]));
    let (plan, branch, approvals) = approved(&timeline, &strategy);
    assert_eq!(plan.epoch, Epoch(2));
    let applied = apply(directory.path(), &plan, &approvals, Timestamp(1), &|_| ()).unwrap();
    assert_eq!(applied.epoch, Epoch(3));
    assert_ne!(applied.state, Some(branch.exchange.state_hash()), "a deposit came behind the halt");

    let starts: Vec<_> = epoch_starts(&FileStorage::read_only(directory.path()))
        .unwrap()
        .into_iter()
        .map(|start| (start.epoch.0, start.first))
        .collect();
    assert_eq!(starts, [(1, Sequence(1)), (2, first.sequence), (3, applied.sequence)]);
    let (events, exchange) = replayed(&timeline);
    assert_eq!(Some(exchange.state_hash()), applied.state);
    assert_eq!(Some(head_hash(&timeline)), applied.state);
    let started: Vec<u32> = events
        .iter()
        .filter_map(|event| match event.event {
            Event::EpochStarted { epoch, .. } => Some(epoch),
            _ => None,
        })
        .collect();
    assert_eq!(started, [2, 3]);
    // Without both files, from the first command and from the snapshot.
    for name in epoch_files(&FileStorage::read_only(directory.path())).unwrap() {
        std::fs::remove_file(directory.path().join(name.to_string())).unwrap();
    }
    assert_eq!(bytes_of(&replayed(&timeline).0), bytes_of(&events));
    assert_eq!(Some(head_hash(&timeline)), applied.state);

    // Each sequence has its epoch.
    assert!(timeline.at_moment(Moment::InEpoch(Epoch(2), first.sequence)).is_ok());
    let wrong = timeline.at_moment(Moment::InEpoch(Epoch(1), first.sequence)).unwrap_err();
    assert!(matches!(wrong, TimelineError::Epoch { is: Epoch(2), .. }));
    let name = first.sequence;
    assert_eq!(wrong.to_string(), format!("sequence {name} belongs to epoch 2, not to 1: say 2:{name}"));
    let wrong = timeline.at_moment(Moment::InEpoch(Epoch(3), Sequence(first.sequence.0 - 1))).unwrap_err();
    assert!(matches!(wrong, TimelineError::Epoch { is: Epoch(1), .. }));

    // The first plan was applied long ago, and is told so. Another for the first epoch is for none that is now.
    let again = apply(directory.path(), &stale, &approvals, Timestamp(1), &|_| ()).unwrap();
    assert_eq!((again.already, again.epoch, again.sequence), (true, Epoch(2), first.sequence));
    let mut other = stale;
    other.state.0[0] ^= 1;
    let error = apply(directory.path(), &other, &approvals, Timestamp(1), &|_| ()).unwrap_err().to_string();
    assert!(error.contains("the plan ends epoch 1, and the exchange is in epoch 3"), "{error}");
    assert_eq!(Some(head_hash(&timeline)), applied.state);
    let mut inline = Inline::open(directory.path(), Durability::None).unwrap();
    assert!(
        inline.submit(Cause::operator(1), Command::StartEpoch { at: Sequence(1), digest: Default::default() }).is_err()
    );
}
