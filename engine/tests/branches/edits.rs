//! Plans that make no sense are refused, with words that say why.

use engine::{
    command::Command,
    recovery::{BranchError, Edits, Payment, Strategy},
    types::{Amount, Digest, Sequence, TradingStatus},
};

use super::*;

/// All strategies that have edits.
fn with(edits: &Edits) -> [Strategy; 3] {
    let payments: Vec<Payment> = Vec::new();
    let compensate = Strategy::Compensate { edits: edits.clone(), payments };
    [Strategy::Excise(edits.clone()), Strategy::Bust(edits.clone()), compensate]
}

fn small_world() -> (World, Sequence) {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let moved = world.transfer(ANNA, BERT, USD, 5);
    (world, moved)
}

#[test]
fn at_least_one_edit() {
    let (world, _) = small_world();
    for strategy in with(&Edits::default()) {
        assert!(matches!(world.fails(&strategy), BranchError::NoEdits));
    }
}

#[test]
fn a_sequence_has_one_edit() {
    let (world, moved) = small_world();
    let mut edits = drops(&[moved]);
    edits.replaced.insert(moved, transfer(ANNA, CARL, USD, 5));
    for strategy in with(&edits) {
        let error = world.fails(&strategy);
        let BranchError::EditedTwice { sequence } = error else { panic!("{error}") };
        assert_eq!(sequence, moved);
    }
}

#[test]
fn an_edited_sequence_is_between_the_first_and_the_halt() {
    let (world, moved) = small_world();
    let (_, halt, _) = world.frozen();
    for sequence in [Sequence(0), halt, halt.next(), Sequence(u64::MAX)] {
        let tick = Command::Tick {};
        for edits in [drops(&[moved, sequence]), replaces(sequence, tick), drops_fact(sequence)] {
            for strategy in with(&edits) {
                let error = world.fails(&strategy);
                let BranchError::OutsideHistory { sequence: told, .. } = error else { panic!("{error}") };
                assert_eq!(told, sequence);
            }
        }
    }
}

#[test]
fn a_halt_that_has_not_come_is_refused() {
    let (world, moved) = small_world();
    let (history, halt, _) = world.frozen();
    for strategy in with(&drops(&[moved])).into_iter().chain([Strategy::Rewind { cut: moved }]) {
        let error = evaluate(&history, halt.next(), &strategy, &|_| ()).unwrap_err();
        assert!(matches!(error, BranchError::Timeline(_)), "{error}");
    }
    // Also when the cut has not come either.
    let strategy = Strategy::Rewind { cut: Sequence(1_000) };
    let error = evaluate(&history, Sequence(2_000), &strategy, &|_| ()).unwrap_err();
    assert!(matches!(error, BranchError::Timeline(_)), "{error}");
}

#[test]
fn a_fact_is_dropped_with_a_reason_only() {
    let (mut world, _) = small_world();
    let deposited = world.deposit(CARL, USD, 5);
    for strategy in with(&drops(&[deposited])) {
        let error = world.fails(&strategy);
        let BranchError::Fact { sequence, kind } = &error else { panic!("{error}") };
        assert_eq!((*sequence, *kind), (deposited, "Deposit"), "{error}");
    }
    for strategy in with(&drops_fact(deposited)) {
        assert_eq!(has(&world.branch(&strategy).exchange, CARL, USD), (0, 0));
    }
}

#[test]
fn a_command_is_replaced_by_another() {
    let (world, moved) = small_world();
    let same = replaces(moved, transfer(ANNA, BERT, USD, 5));
    for strategy in [Strategy::Excise(same.clone()), Strategy::Bust(same)] {
        let error = world.fails(&strategy);
        let BranchError::Unchanged { sequence } = error else { panic!("{error}") };
        assert_eq!(sequence, moved);
    }
}

#[test]
fn no_epoch_begins_on_a_branch() {
    let (world, moved) = small_world();
    for at in [moved, Sequence(1)] {
        let edits = replaces(moved, Command::StartEpoch { at, digest: Digest([0; 32]) });
        for strategy in with(&edits) {
            let error = world.fails(&strategy);
            assert!(matches!(error, BranchError::Unsuited { .. }), "{error}");
        }
    }
}

#[test]
fn an_airdrop_is_found_and_dropped() {
    let (mut world, _) = small_world();
    let (unpaid, _) = world.open_airdrop(USD, &[(ANNA, 1)], 0);
    let (airdrop, _) = world.open_airdrop(BTC, &[(ANNA, 9), (BERT, 4)], 0);
    let paid = world.execute_airdrop(airdrop);
    let (history, halt, _) = world.frozen();
    let edits = Edits::drop_airdrop(&history, halt, airdrop).unwrap();
    assert_eq!(edits, drops(&[paid]));
    for strategy in with(&edits) {
        let branch = world.branch(&strategy).exchange;
        assert_eq!((has(&branch, ANNA, BTC), has(&branch, BERT, BTC)), ((0, 0), (0, 0)));
    }
    let unknown = Edits::drop_airdrop(&history, halt, AirdropId(99)).unwrap_err();
    assert!(matches!(unknown, BranchError::UnknownAirdrop { airdrop: AirdropId(99) }), "{unknown}");
    let not_paid = Edits::drop_airdrop(&history, halt, unpaid).unwrap_err();
    assert!(matches!(not_paid, BranchError::AirdropNotPaid { .. }), "{not_paid}");
    // Before it was paid, it was not.
    let early = Edits::drop_airdrop(&history, Sequence(paid.0 - 1), airdrop).unwrap_err();
    assert!(matches!(early, BranchError::AirdropNotPaid { .. }), "{early}");
    let future = Edits::drop_airdrop(&history, halt.next(), airdrop).unwrap_err();
    assert!(matches!(future, BranchError::Timeline(_)), "{future}");
}

#[test]
fn a_manifest_is_replaced_line_by_line() {
    let (mut world, _) = small_world();
    let (airdrop, opened) = world.open_airdrop(BTC, &[(ANNA, 9), (BERT, 4), (CARL, 5)], 3);
    // Lines of another airdrop and refused ones in between are none of its own.
    let (other, _) = world.open_airdrop(USD, &[(ANNA, 1)], 0);
    world.apply(Command::AddAirdropLine { airdrop, account: DORA, amount: Amount(5) });
    world.execute_airdrop(airdrop);
    world.execute_airdrop(other);
    let (history, halt, _) = world.frozen();
    let replace = |asset, lines: &[(AccountId, Amount)]| Edits::replace_airdrop(&history, halt, airdrop, asset, lines);

    let edits = replace(None, &[(ANNA, Amount(9)), (DORA, Amount(4))]).unwrap();
    let line = |number: u64| Sequence(opened.0 + number);
    assert_eq!(edits.dropped.keys().copied().collect::<Vec<_>>(), [line(3)]);
    assert_eq!(edits.replaced.keys().copied().collect::<Vec<_>>(), [opened, line(2)], "the first line is unchanged");
    let branch = world.branch(&Strategy::Excise(edits.clone())).exchange;
    let held = [ANNA, BERT, CARL, DORA].map(|account| has(&branch, account, BTC));
    assert_eq!(held, [(0, 9), (0, 0), (0, 0), (0, 4)], "locked as announced");
    assert_eq!(branch.airdrop(airdrop).unwrap().total, Amount(13));
    assert_eq!(edits.sequences().len(), 3);
    assert_eq!(edits.cut(), Sequence(opened.0 - 1));

    let four = [ANNA, BERT, CARL, DORA].map(|account| (account, Amount(1)));
    let error = replace(None, &four).unwrap_err();
    assert!(matches!(error, BranchError::TooManyLines { given: 4, journaled: 3, .. }), "{error}");
    assert!(error.to_string().contains("run another"), "it says what to do: {error}");
    assert!(matches!(replace(None, &[]).unwrap_err(), BranchError::TooManyLines { given: 0, .. }));
    let same = [(ANNA, Amount(9)), (BERT, Amount(4)), (CARL, Amount(5))];
    assert!(matches!(replace(None, &same).unwrap_err(), BranchError::Unchanged { .. }));
    assert!(replace(Some(ETH), &same).is_ok());

    // Lines that no manifest can have refuse the plan.
    for lines in [[(ANNA, Amount(1)), (ANNA, Amount(1))], [(ANNA, Amount(0)), (BERT, Amount(1))]] {
        let error = world.fails(&Strategy::Excise(replace(None, &lines).unwrap()));
        assert!(matches!(error, BranchError::ReplacementRefused { .. }), "{error}");
    }
    let huge = [(ANNA, Amount(u64::MAX)), (BERT, Amount(u64::MAX))];
    let error = world.fails(&Strategy::Excise(replace(None, &huge).unwrap()));
    assert!(matches!(error, BranchError::ReplacementRefused { .. }), "{error}");
}

#[test]
fn edits_of_two_airdrops_go_together() {
    let (mut world, _) = small_world();
    let first = world.airdrop(BTC, &[(ANNA, 9)]);
    let second = world.airdrop(ETH, &[(ANNA, 9)]);
    let (history, halt, _) = world.frozen();
    let of = |airdrop| Edits::drop_airdrop(&history, halt, AirdropId(airdrop)).unwrap();
    let edits = of(1).and(of(2));
    assert_eq!(edits, drops(&[first, second]));
    for strategy in with(&edits) {
        let branch = world.branch(&strategy).exchange;
        assert_eq!((has(&branch, ANNA, BTC), has(&branch, ANNA, ETH)), ((0, 0), (0, 0)));
    }
}

#[test]
fn the_same_sequence_with_two_replacements_is_told() {
    // One airdrop is dropped and its opening replaced: the edits do not overlap, and lead to a refusal that says so.
    let (mut world, _) = small_world();
    let (airdrop, opened) = world.open_airdrop(BTC, &[(ANNA, 9)], 0);
    world.execute_airdrop(airdrop);
    let mut edits = replaces(opened, opening(airdrop, BTC, &[(ANNA, 8)], 0));
    edits = edits.and(drops(&[opened]));
    assert!(matches!(world.fails(&Strategy::Excise(edits)), BranchError::EditedTwice { .. }));
}

#[test]
fn what_came_after_the_halt_is_carried_forward() {
    let (mut world, moved) = small_world();
    let withdrawal = world.request(ANNA, USD, 10);
    world.release(withdrawal);
    let branch = world.excise(&[moved]);
    let (_, halt, mut later) = world.frozen();
    later.deposit(CARL, USD, 9);
    later.sent(withdrawal);
    later.apply(transfer(ANNA, CARL, USD, 1));
    later.apply(Command::SetOff { account: ANNA, asset: USD });
    later.done(Command::SuspendAccount { account: BERT });
    let (mut happened, mut exchange) = (branch.parent, branch.exchange);
    for command in &later.commands[usize::try_from(halt.0).unwrap()..] {
        engine::recovery::carry_forward(&mut happened, &mut exchange, command).unwrap();
    }
    assert_eq!(has(&exchange, CARL, USD), (9, 0));
    assert_eq!(has(&exchange, ANNA, USD), (90, 0));
    assert!(exchange.account(BERT).unwrap().suspended);
    assert_eq!(exchange.last_sequence(), later.last());
    assert_eq!(exchange.global_status(), TradingStatus::Frozen);
    assert_eq!(exchange.check_invariants(), Ok(()));
}
