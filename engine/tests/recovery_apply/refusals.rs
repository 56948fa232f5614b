//! Plans that must not be applied: each is refused with the reason, and nothing is written.

use std::path::Path;

use engine::{
    command::Command,
    journal::{Durability, JournalId},
    pipeline::Inline,
    recovery::{ApplyError, Approval, ApprovalError, Branch, Edits, Plan, Strategy, Timeline, apply, make_plan},
    types::{Amount, Cause, OperatorId, Sequence, Timestamp, TradingStatus},
};

use super::world::{BAD, NEVER, approve, approved, execution, frozen, key, late_deposit, status, strategies};

/// All files and what is in them.
fn contents(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
}

/// Applied to the directory and to the exchange opened from it, it is refused alike; gives why.
fn refused(
    directory: &Path,
    plan: &Plan,
    branch: impl Fn() -> Branch,
    approvals: &[Approval],
    now: Timestamp,
) -> ApplyError {
    let before = contents(directory);
    let error = apply(directory, plan, approvals, now, &|_| ()).unwrap_err();
    assert!(contents(directory) == before, "{error}: something was written");
    let mut inline = Inline::open(directory, Durability::None).unwrap();
    let hash = inline.exchange().state_hash();
    let last = inline.exchange().last_sequence();
    // An exchange in line takes its own clock.
    if !matches!(error, ApplyError::Approval(ApprovalError::Expired { .. })) {
        let other = inline.apply(plan, branch(), approvals).unwrap_err();
        assert_eq!(other.to_string(), error.to_string());
    }
    assert_eq!((inline.exchange().state_hash(), inline.exchange().last_sequence()), (hash, last));
    inline.close().unwrap();
    error
}

fn sign(plan: &Plan, signers: &[(u16, u16)], expires: Timestamp) -> Vec<Approval> {
    let sign = |&(operator, of): &(u16, u16)| Approval::sign(plan, OperatorId(operator), &key(of), expires).unwrap();
    signers.iter().map(sign).collect()
}

#[test]
fn approvals_that_do_not_suffice() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    frozen(directory);
    let timeline = Timeline::open(directory).unwrap();
    let strategy = strategies(&timeline, BAD).swap_remove(0);
    let (plan, ..) = approved(&timeline, &strategy);
    let branch = || make_plan(&timeline, &strategy, &|_| ()).unwrap().1;
    let why = |approvals: &[Approval], now| match refused(directory, &plan, branch, approvals, Timestamp(now)) {
        ApplyError::Approval(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(why(&[], 1), ApprovalError::TooFew { found: 0 });
    assert_eq!(why(&sign(&plan, &[(1, 1)], NEVER), 1), ApprovalError::TooFew { found: 1 });
    let twice = ApprovalError::Twice { operator: OperatorId(1) };
    assert_eq!(why(&sign(&plan, &[(1, 1), (1, 1)], NEVER), 1), twice);
    let unknown = ApprovalError::Unknown { operator: OperatorId(9) };
    assert_eq!(why(&sign(&plan, &[(1, 1), (9, 9)], NEVER), 1), unknown);
    let revoked = ApprovalError::Revoked { operator: OperatorId(4) };
    assert_eq!(why(&sign(&plan, &[(1, 1), (4, 4)], NEVER), 1), revoked);
    // Another's name under one's own signature.
    let signature = ApprovalError::Signature { operator: OperatorId(3) };
    assert_eq!(why(&sign(&plan, &[(1, 1), (3, 1)], NEVER), 1), signature);
    // Good once; time runs on.
    let expires = Timestamp(u64::MAX / 2);
    let expired = why(&sign(&plan, &[(1, 1), (3, 3)], expires), u64::MAX / 2 + 1);
    assert!(matches!(expired, ApprovalError::Expired { operator: OperatorId(1), .. }), "{expired}");
    // An expiry put off behind the signature.
    let mut put_off = sign(&plan, &[(1, 1), (3, 3)], expires);
    put_off[1].expires = NEVER;
    assert_eq!(why(&put_off, 1), signature);
    // Every bit of a signature.
    for bit in (0..512).step_by(61) {
        let mut altered = approve(&plan);
        altered[1].signature[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(why(&altered, 1), signature);
    }
    // Signatures under another plan.
    let other = Plan { strategy: Strategy::Rewind { cut: Sequence(2) }, ..plan.clone() };
    assert_eq!(why(&approve(&other), 1), ApprovalError::Signature { operator: OperatorId(1) });
    apply(directory, &plan, &approve(&plan), Timestamp(1), &|_| ()).unwrap();
}

/// Whoever holds the operator lane of a frozen exchange cannot make himself two signers.
#[test]
fn operators_who_came_behind_the_halt() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    frozen(directory);
    let timeline = Timeline::open(directory).unwrap();
    let strategy = strategies(&timeline, BAD).swap_remove(1);
    let (plan, _) = make_plan(&timeline, &strategy, &|_| ()).unwrap();
    let branch = || make_plan(&timeline, &strategy, &|_| ()).unwrap().1;
    let mut inline = Inline::open(directory, Durability::None).unwrap();
    let (first, second) = (OperatorId(1), OperatorId(3));
    let register = |operator: u16| Command::RegisterOperator {
        operator: OperatorId(operator),
        key: key(operator).public(),
        first,
        second,
    };
    for operator in [5, 6] {
        inline.submit(Cause::operator(1), register(operator)).unwrap();
    }
    // A number is never given again, so nobody who was there has another key now.
    let revoked = OperatorId(2);
    inline.submit(Cause::operator(1), Command::RevokeOperator { operator: revoked, first, second }).unwrap();
    let again = Command::RegisterOperator { operator: revoked, key: key(7).public(), first, second };
    inline.submit(Cause::operator(1), again).unwrap();
    let standing: Vec<u16> =
        inline.exchange().operators().filter(|(_, it)| it.registered).map(|(it, _)| it.0).collect();
    assert_eq!(standing, [1, 3, 5, 6]);
    inline.close().unwrap();
    for (signers, late) in [([(5, 5), (6, 6)], 5), ([(1, 1), (6, 6)], 6)] {
        let error = refused(directory, &plan, branch, &sign(&plan, &signers, NEVER), Timestamp(1));
        let expected = ApprovalError::RegisteredLate { operator: OperatorId(late), halt: plan.halt };
        assert!(matches!(&error, ApplyError::Approval(found) if *found == expected), "{error}");
    }
    apply(directory, &plan, &approve(&plan), Timestamp(1), &|_| ()).unwrap();
}

#[test]
fn plans_for_something_else() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    frozen(directory);
    let timeline = Timeline::open(directory).unwrap();
    let strategy = strategies(&timeline, BAD).swap_remove(1);
    let (plan, _) = make_plan(&timeline, &strategy, &|_| ()).unwrap();
    let branch = || make_plan(&timeline, &strategy, &|_| ()).unwrap().1;
    let why = |plan: &Plan| refused(directory, plan, branch, &approve(plan), Timestamp(1)).to_string();

    let other = Plan { journal_id: JournalId([9; 16]), ..plan.clone() };
    assert!(why(&other).contains("the plan is for journal"));
    let other = Plan { epoch: plan.epoch.next(), ..plan.clone() };
    assert!(why(&other).contains("the plan ends epoch 2, and the exchange is in epoch 1"));
    let other = Plan { rules_version: plan.rules_version + 1, ..plan.clone() };
    assert!(why(&other).contains("rules version"));
    for (halt, found) in [(Sequence(plan.halt.0 - 1), "PlaceLimit"), (Sequence(plan.halt.0 + 1), "behind the end")] {
        let error = why(&Plan { halt, ..plan.clone() });
        assert!(error.contains("is for a halt at sequence") && error.contains(found), "{error}");
    }
    let mut state = plan.clone();
    state.state.0[0] ^= 1;
    assert!(why(&state).contains("says that the branch has the state"));
    let mut state = plan.clone();
    state.parent_state.0[0] ^= 1;
    assert!(why(&state).contains("says that the parent has the state"));

    // Thawed and frozen again: it is another halt.
    let mut inline = Inline::open(directory, Durability::None).unwrap();
    inline.submit(Cause::operator(1), status(TradingStatus::CancelOnly)).unwrap();
    inline.freeze(Cause::operator(1)).unwrap();
    inline.close().unwrap();
    let before = contents(directory);
    let error = apply(directory, &plan, &approve(&plan), Timestamp(1), &|_| ()).unwrap_err().to_string();
    assert!(error.contains("the exchange was set to CancelOnly"), "{error}");
    assert!(contents(directory) == before);

    // Nobody's directory is not made.
    let nowhere = directory.join("nowhere");
    assert!(apply(&nowhere, &plan, &approve(&plan), Timestamp(1), &|_| ()).is_err());
    assert!(!nowhere.exists());
}

#[test]
fn a_preview_cannot_be_signed_or_applied() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    frozen(directory);
    let mut inline = Inline::open(directory, Durability::None).unwrap();
    inline.submit(Cause::operator(1), status(TradingStatus::CancelOnly)).unwrap();
    inline.submit(Cause::operator(1), late_deposit(1)).unwrap();
    inline.close().unwrap();
    let timeline = Timeline::open(directory).unwrap();
    let strategy = Strategy::Bust(Edits::drop_sequences([execution(&timeline, BAD)]));
    let (plan, _) = make_plan(&timeline, &strategy, &|_| ()).unwrap();
    assert!(plan.preview);
    assert_eq!(Approval::sign(&plan, OperatorId(1), &key(1), NEVER).unwrap_err(), ApprovalError::Preview);
    let firm = Plan { preview: false, ..plan.clone() };
    let mut approvals = approve(&firm);
    let before = contents(directory);
    for plan in [&plan, &firm] {
        apply(directory, plan, &approvals, Timestamp(1), &|_| ()).unwrap_err();
        approvals.reverse();
    }
    assert!(contents(directory) == before);
}

#[test]
fn a_plan_that_began_an_earlier_epoch_is_told_as_applied() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    frozen(directory);
    let timeline = Timeline::open(directory).unwrap();
    let mut all = strategies(&timeline, BAD);
    let (never, ..) = approved(&timeline, &all.swap_remove(1));
    let (first, _, approvals) = approved(&timeline, &all.swap_remove(0));
    let applied = apply(directory, &first, &approvals, Timestamp(1), &|_| ()).unwrap();

    let mut inline = Inline::open(directory, Durability::None).unwrap();
    let last = inline.submit(Cause::operator(1), status(TradingStatus::Open)).unwrap();
    inline.submit(Cause::operator(1), late_deposit(1)).unwrap();
    inline.freeze(Cause::operator(1)).unwrap();
    inline.close().unwrap();
    let (second, _, approvals) = approved(&timeline, &Strategy::Rewind { cut: last });
    assert_eq!(apply(directory, &second, &approvals, Timestamp(1), &|_| ()).unwrap().epoch, second.epoch.next());

    let before = contents(directory);
    let again = apply(directory, &first, &[], Timestamp(1), &|_| ()).unwrap();
    assert!(again.already);
    assert_eq!((again.epoch, again.sequence, again.plan), (applied.epoch, applied.sequence, first.hash()));
    let error = apply(directory, &never, &approve(&never), Timestamp(1), &|_| ()).unwrap_err();
    assert!(matches!(error, ApplyError::OtherEpoch { .. }), "{error}");
    assert!(contents(directory) == before, "something was written");
}

#[test]
fn reasons_that_would_deceive_who_signs() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    frozen(directory);
    let timeline = Timeline::open(directory).unwrap();
    let strategy = |reason: &str| {
        let mut edits = Edits::default();
        edits.dropped.insert(execution(&timeline, BAD), Some(reason.to_owned()));
        Strategy::Excise(edits)
    };
    let (plan, _) = make_plan(&timeline, &strategy("typed in twice; caf\u{e9}, \u{20a9}5"), &|_| ()).unwrap();
    assert_eq!(Plan::decode(&plan.encode()), Ok(plan.clone()));
    for reason in ["", "  ", "fine\nsigned by operator 2", "\u{1b}[2K", "a\u{202e}b", "a\u{200b}b", "\u{9b}2K"] {
        let error = make_plan(&timeline, &strategy(reason), &|_| ()).unwrap_err();
        assert!(error.to_string().contains("is empty, or has letters that cannot be seen"), "{reason:?}: {error}");
        // Nor does a file that was made otherwise get as far as to be shown.
        let made = Plan { strategy: strategy(reason), ..plan.clone() };
        assert!(Plan::decode(&made.encode()).is_err(), "{reason:?}");
    }
}

#[test]
fn a_fact_is_not_dropped_by_replacing_it() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    frozen(directory);
    let timeline = Timeline::open(directory).unwrap();
    let mut funded = None;
    let mut replay = timeline.replay().unwrap();
    while let Some(step) = replay.next().unwrap() {
        if let Command::FundTreasury { asset, external_id, .. } = step.command.command {
            funded = Some((step.command.sequence, asset, external_id));
        }
    }
    let (sequence, asset, external_id) = funded.unwrap();
    let strategy = |command| {
        let mut edits = Edits::default();
        edits.replaced.insert(sequence, command);
        Strategy::Excise(edits)
    };
    let error = make_plan(&timeline, &strategy(Command::Tick {}), &|_| ()).unwrap_err().to_string();
    assert!(error.contains("a FundTreasury, which states a fact"), "{error}");
    let less = Command::FundTreasury { asset, amount: Amount(2_000), external_id };
    make_plan(&timeline, &strategy(less), &|_| ()).unwrap();
}
