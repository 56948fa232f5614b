//! Forced releases: what has left the house has left it on every branch, whoever pays.

use engine::{
    command::Command,
    event::RejectReason,
    exchange::WithdrawalState,
    recovery::{BranchError, Strategy},
    types::Amount,
};

use super::*;

/// What an account has, owes, and what was let out: available, held, owed.
fn account(exchange: &Exchange, account: AccountId) -> (u64, u64, u64) {
    let (available, held) = has(exchange, account, USD);
    (available, held, owes(exchange, account, USD))
}

#[test]
fn the_hold_of_its_own_request_pays() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bad = world.airdrop(USD, &[(BERT, 5)]);
    let withdrawal = world.request(ANNA, USD, 60);
    world.release(withdrawal);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (40, 0, 0));
    assert_eq!(system(&branch, AccountId::EXTERNAL, USD), -40);

    world.done(Command::FailWithdrawal { withdrawal });
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (100, 0, 0));
    assert_eq!(withdrawal_of(&branch, withdrawal).unwrap().state, WithdrawalState::Failed);
}

#[test]
fn available_pays_where_the_request_is_void() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let cut = world.last();
    let withdrawal = world.request(ANNA, USD, 60);
    world.release(withdrawal);
    let branch = world.rewind(cut).exchange;
    assert_eq!(account(&branch, ANNA), (40, 0, 0));
    let known = withdrawal_of(&branch, withdrawal).expect("it is made");
    assert_eq!((known.state, known.amount, known.shortfall), (WithdrawalState::Released, Amount(60), Amount(0)));

    world.sent(withdrawal);
    world.done(Command::FailWithdrawal { withdrawal });
    assert_eq!(account(&world.rewind(cut).exchange, ANNA), (100, 0, 0));
}

#[test]
fn the_rest_is_owed_and_forgiven_first_when_it_comes_back() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 10);
    let bad = world.airdrop(USD, &[(ANNA, 1_000)]);
    let withdrawal = world.request(ANNA, USD, 700);
    world.release(withdrawal);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (0, 0, 690));
    assert_eq!(withdrawal_of(&branch, withdrawal).unwrap().shortfall, Amount(690));
    assert_eq!(system(&branch, AccountId::RECEIVABLES, USD), -690);
    assert_eq!(system(&branch, AccountId::EXTERNAL, USD), 690);

    // What comes in meanwhile does not pay the debt by itself.
    world.deposit(ANNA, USD, 5);
    world.sent(withdrawal);
    assert_eq!(account(&world.excise(&[bad]).exchange, ANNA), (5, 0, 690));

    let mut failed = world.clone();
    failed.done(Command::FailWithdrawal { withdrawal });
    let branch = failed.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (15, 0, 0));
    assert_eq!(system(&branch, AccountId::RECEIVABLES, USD), 0);

    // Settled, it is owed for good.
    world.done(Command::ConfirmWithdrawalSettled { withdrawal });
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (5, 0, 690));
    assert_eq!(withdrawal_of(&branch, withdrawal).unwrap().shortfall, Amount(0));
}

#[test]
fn who_owes_is_refused_later() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 10);
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    let withdrawal = world.request(ANNA, USD, 100);
    world.release(withdrawal);
    world.transfer(ANNA, BERT, BTC, 1);
    let ask = world.sell(ANNA, 1, 10);
    let branch = world.excise(&[bad]);
    assert_eq!(has(&branch.exchange, ANNA, BTC), (10, 0));
    assert_eq!(open(&branch.exchange, ask), None);
    assert_eq!(branch.refused.get(&RejectReason::AccountOwes), Some(&2));
}

#[test]
fn open_orders_are_never_taken() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bid = world.buy(ANNA, 8, 10);
    let bad = world.airdrop(USD, &[(ANNA, 50)]);
    let withdrawal = world.request(ANNA, USD, 70);
    world.release(withdrawal);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (0, 80, 50));
    assert_eq!(open(&branch, bid), Some(8));
}

#[test]
fn another_requests_hold_is_never_taken() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let waiting = world.request(ANNA, USD, 90);
    let bad = world.airdrop(USD, &[(ANNA, 50)]);
    let withdrawal = world.request(ANNA, USD, 60);
    world.release(withdrawal);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (0, 90, 50));
    assert_eq!(withdrawal_of(&branch, waiting).unwrap().state, WithdrawalState::Requested);
}

#[test]
fn a_hold_that_is_larger_gives_the_rest_back() {
    // All that is available is asked for: 50 in the parent, 90 on the branch.
    let mut world = World::new();
    world.deposit(ANNA, USD, 90);
    let bad = world.transfer(ANNA, BERT, USD, 40);
    let withdrawal = WithdrawalId(world.done(Command::RequestWithdrawalOfAll { account: ANNA, asset: USD }).0);
    world.release(withdrawal);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (40, 0, 0));
    assert_eq!(withdrawal_of(&branch, withdrawal).unwrap().amount, Amount(50));
    world.done(Command::FailWithdrawal { withdrawal });
    assert_eq!(account(&world.excise(&[bad]).exchange, ANNA), (90, 0, 0));
}

#[test]
fn a_hold_that_is_smaller_is_eked_out() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 90);
    let bad = world.airdrop(USD, &[(ANNA, 40)]);
    let withdrawal = WithdrawalId(world.done(Command::RequestWithdrawalOfAll { account: ANNA, asset: USD }).0);
    world.deposit(ANNA, USD, 15);
    world.release(withdrawal);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(account(&branch, ANNA), (0, 0, 25));
    assert_eq!(withdrawal_of(&branch, withdrawal).unwrap().amount, Amount(130));
}

#[test]
fn a_request_that_was_replaced_by_somebody_elses_is_that_accounts_hold() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 100);
    let withdrawal = world.request(ANNA, USD, 60);
    world.release(withdrawal);
    let other = Command::RequestWithdrawal { account: BERT, asset: BTC, amount: Amount(30) };
    for strategy in [Strategy::Excise, Strategy::Bust] {
        let branch = world.branch(&strategy(replaces(Sequence(withdrawal.0), other))).exchange;
        assert_eq!(account(&branch, ANNA), (40, 0, 0));
        assert_eq!(has(&branch, BERT, BTC), (100, 0));
    }
}

#[test]
fn the_accounts_status_does_not_matter() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bad = world.done(Command::SuspendAccount { account: ANNA });
    world.done(Command::ResumeAccount { account: ANNA });
    let withdrawal = world.request(ANNA, USD, 60);
    let released = world.release(withdrawal);
    // Instead of resuming, nothing: a plan may do that only if it says that it is no fact.
    let resumed = Sequence(bad.0 + 1);
    for strategy in [Strategy::Excise, Strategy::Bust] {
        let branch = world.branch(&strategy(drops_fact(resumed)));
        assert!(branch.exchange.account(ANNA).unwrap().suspended);
        assert_eq!(account(&branch.exchange, ANNA), (40, 0, 0), "released at {released}");
    }
}

#[test]
fn stopped_withdrawals_do_not_matter() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let close = Command::SetAssetWithdrawals { asset: USD, withdrawals: engine::types::Gate::Closed };
    let open = Command::SetAssetWithdrawals { asset: USD, withdrawals: engine::types::Gate::Open };
    world.done(close);
    let opened = world.done(open);
    let withdrawal = world.request(ANNA, USD, 60);
    world.release(withdrawal);
    for strategy in [Strategy::Excise, Strategy::Bust] {
        assert_eq!(account(&world.branch(&strategy(drops_fact(opened))).exchange, ANNA), (40, 0, 0));
    }
}

#[test]
fn a_release_from_nowhere_is_an_error() {
    let mut world = World::new();
    let bad = world.done(Command::CreateAccount { account: AccountId(77) });
    let paid = world.airdrop(USD, &[(AccountId(77), 50)]);
    let withdrawal = world.request(AccountId(77), USD, 50);
    let released = world.release(withdrawal);
    let mut edits = drops_fact(bad);
    for sequence in [paid, Sequence(paid.0 - 1), Sequence(paid.0 - 2)] {
        edits.dropped.insert(sequence, None);
    }
    let error = world.fails(&Strategy::Excise(edits));
    let BranchError::FactRefused { sequence, reason, .. } = error else { panic!("{error}") };
    assert_eq!((sequence, reason), (released, RejectReason::UnknownAccount));
}

#[test]
fn a_second_release_is_an_error() {
    // The replacement lets out what the parent lets out later.
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let withdrawal = world.request(ANNA, USD, 60);
    let moved = world.transfer(ANNA, BERT, USD, 1);
    let released = world.release(withdrawal);
    let early = Command::ReleaseWithdrawal { withdrawal, account: ANNA, asset: USD, amount: Amount(60) };
    let error = world.fails(&Strategy::Excise(replaces(moved, early)));
    let BranchError::FactRefused { sequence, reason, .. } = error else { panic!("{error}") };
    assert_eq!((sequence, reason), (released, RejectReason::WithdrawalStateInvalid));
}

#[test]
fn an_outcome_without_its_release_is_an_error() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let withdrawal = world.request(ANNA, USD, 60);
    let released = world.release(withdrawal);
    let sent = world.sent(withdrawal);
    for strategy in [Strategy::Excise, Strategy::Bust] {
        let error = world.fails(&strategy(drops_fact(released)));
        let BranchError::FactRefused { sequence, .. } = error else { panic!("{error}") };
        assert_eq!(sequence, sent);
        let mut edits = drops_fact(released);
        edits.dropped.insert(sent, Some("it never left".to_owned()));
        assert_eq!(account(&world.branch(&strategy(edits)).exchange, ANNA), (40, 60, 0));
    }
}

#[test]
fn in_a_bust_what_orders_would_hold_pays_too() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bid = world.buy(ANNA, 8, 10);
    let bad = world.airdrop(USD, &[(ANNA, 50)]);
    let withdrawal = world.request(ANNA, USD, 70);
    world.release(withdrawal);
    let branch = world.bust(&[bad]);
    assert_eq!(account(&branch.exchange, ANNA), (30, 0, 0));
    assert_eq!(branch.unfunded, [bid]);
    assert_eq!(open(&branch.exchange, bid), None);
}

#[test]
fn debts_beyond_all_there_can_be_are_an_error() {
    // Paid from nothing, let out and settled, again and again: more than a debt can be.
    let most = engine::types::AMOUNT_MAX;
    let mut world = World::new();
    let mut bad = Vec::new();
    for _ in 0..3 {
        bad.push(world.airdrop(USD, &[(ANNA, most)]));
        let withdrawal = world.request(ANNA, USD, most);
        world.release(withdrawal);
        world.sent(withdrawal);
        world.done(Command::ConfirmWithdrawalSettled { withdrawal });
    }
    for strategy in [Strategy::Excise, Strategy::Bust] {
        let error = world.fails(&strategy(drops(&bad)));
        let BranchError::FactRefused { reason, .. } = error else { panic!("{error}") };
        assert_eq!(reason, RejectReason::SupplyTooLarge);
    }
    let payments = Vec::new();
    let error = world.fails(&Strategy::Compensate { edits: drops(&bad), payments });
    assert!(matches!(error, BranchError::Invariant(_)), "{error}");
}

#[test]
fn what_is_owed_of_a_release_does_not_come_back() {
    // Nearly all there can be goes to Bert and out, and should have stayed with Anna: on the branch she has it still, and as
    // much is on its way. If that comes back, it pays what Bert owes, so there is never more than there can be.
    let most = engine::types::AMOUNT_MAX / 4 * 3;
    let mut world = World::new();
    world.deposit(ANNA, USD, most);
    let bad = world.transfer(ANNA, BERT, USD, most);
    let withdrawal = world.request(BERT, USD, most);
    world.release(withdrawal);
    for strategy in [Strategy::Excise, Strategy::Bust] {
        let branch = world.branch(&strategy(drops(&[bad]))).exchange;
        assert_eq!((account(&branch, ANNA), account(&branch, BERT)), ((most, 0, 0), (0, 0, most)));
    }
    world.done(Command::FailWithdrawal { withdrawal });
    assert_eq!(account(&world.excise(&[bad]).exchange, BERT), (0, 0, 0));
}
