//! What a plan does to each account, command by command, sums to the whole difference.

use engine::{
    journal::{Durability, MemoryStorage, Options},
    pipeline::Inline,
    recovery::{Difference, Effects, Strategy, Timeline, effects, make_plan},
    types::{Cause, Sequence},
};

use super::{
    corrections::{random_strategy, register, stream},
    model::streams::{Kind, Random},
    world::{BAD, approved, late_deposit, play, strategies},
};

/// Effects and settlements sum to the difference, and only compensation settles.
fn check(what: &str, strategy: &Strategy, found: &Effects) -> usize {
    let mut rest = found.difference();
    for changes in found.effects.iter().map(|effect| &effect.changes).chain([&found.settled]) {
        for (asset, change) in changes {
            let entry = rest.entry(*asset).or_default();
            entry.total -= change.total;
            entry.owed -= change.owed;
        }
    }
    assert!(rest.values().all(|rest| *rest == Difference::default()), "{what}: {rest:?}");
    assert!(found.effects.windows(2).all(|pair| pair[0].command.sequence < pair[1].command.sequence), "{what}");
    assert!(found.effects.iter().all(|effect| !effect.changes.is_empty()), "{what}");
    if strategy.name() != "compensate" {
        assert!(found.settled.is_empty(), "{what}: {:?}", found.settled);
    }
    found.effects.len() + found.settled.len()
}

fn options() -> Options {
    Options { durability: Durability::None, segment_bytes: 2 << 20, segments_ahead: 0, ..Options::default() }
}

#[test]
fn every_account_of_an_applied_plan_is_explained() {
    for number in 0..4 {
        let storage = MemoryStorage::default();
        let mut inline = Inline::open_memory_storage(&storage, &options()).unwrap();
        play(&mut inline);
        inline.submit(Cause::operator(1), late_deposit(3)).unwrap();
        inline.commit(&mut |_| ()).unwrap();
        let timeline = Timeline::of(storage);
        let strategy = strategies(&timeline, BAD).swap_remove(number);
        let (plan, branch, approvals) = approved(&timeline, &strategy);
        let applied = inline.apply(&plan, branch, &approvals).unwrap();
        inline.commit(&mut |_| ()).unwrap();
        let before = timeline.at(Sequence(applied.sequence.0 - 1)).unwrap();
        let after = timeline.at(applied.sequence).unwrap();
        let mut explained = 0;
        for view in before.accounts() {
            let what = format!("{strategy}, {}", view.account);
            let found = effects(&timeline, &plan, Some(applied.sequence), view.account, &|_| ()).unwrap();
            assert_eq!(found.branch.parent.possessions(view.account), before.possessions(view.account), "{what}");
            assert_eq!(found.branch.exchange.possessions(view.account), after.possessions(view.account), "{what}");
            explained += check(&what, &strategy, &found);
        }
        assert!(explained > 3, "{strategy}: {explained}");
    }
}

#[test]
fn random_histories_are_explained() {
    let seeds = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 30 } else { 3 };
    let mut explained = 0;
    for kind in Kind::ALL {
        for seed in 0..seeds {
            let mut random = Random::new(seed * 1_000 + kind as u64 + 7);
            let commands = stream(kind, seed + 100, 400);
            let storage = MemoryStorage::default();
            let mut inline = Inline::open_memory_storage(&storage, &options()).unwrap();
            for (sequence, command) in (1..).zip(&commands) {
                inline.submit_at(kind.time(sequence), Cause::session(1), *command).unwrap();
            }
            register(&mut inline);
            inline.freeze(Cause::operator(1)).unwrap();
            inline.commit(&mut |_| ()).unwrap();
            let timeline = Timeline::of(storage);
            let strategy = random_strategy(&mut random, &commands);
            let Ok((plan, branch)) = make_plan(&timeline, &strategy, &|_| ()) else { continue };
            for view in branch.parent.accounts().take(12) {
                let what = format!("{kind:?}, seed {seed}, {strategy}, {}", view.account);
                let found = effects(&timeline, &plan, None, view.account, &|_| ()).unwrap();
                assert_eq!(found.branch.exchange.state_hash(), plan.state, "{what}");
                explained += check(&what, &strategy, &found);
            }
        }
    }
    assert!(explained > 20, "{explained}");
}
