//! Compensate: trades stand; what is left is taken back, the rest is owed, and others are paid.

use engine::{
    command::Command,
    recovery::{BranchError, Payment, Strategy},
    types::{Amount, Side},
};

use super::*;

fn compensate(edits: Edits, payments: &[(AccountId, AssetId, u64)]) -> Strategy {
    let payments =
        payments.iter().map(|&(account, asset, amount)| Payment { account, asset, amount: Amount(amount) }).collect();
    Strategy::Compensate { edits, payments }
}

#[test]
fn what_is_left_is_taken_back_and_the_rest_is_owed() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 30);
    let bad = world.airdrop(USD, &[(ANNA, 100), (BERT, 100), (CARL, 100)]);
    // Anna spends 50, of which the first 30 are her own. Bert spends all. Carl nothing.
    world.transfer(ANNA, DORA, USD, 50);
    world.transfer(BERT, DORA, USD, 100);
    let branch = world.branch(&compensate(drops(&[bad]), &[]));
    let exchange = &branch.exchange;
    let of = |account| (has(exchange, account, USD).0, owes(exchange, account, USD));
    assert_eq!([ANNA, BERT, CARL, DORA].map(of), [(0, 20), (0, 100), (0, 0), (150, 0)]);
    assert_eq!(system(exchange, AccountId::UNBACKED, USD), 0, "the source has it all back");
    assert_eq!(system(exchange, AccountId::RECEIVABLES, USD), -120);
}

#[test]
fn no_more_than_is_available_is_taken() {
    let mut world = World::new();
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    let bid = world.buy(ANNA, 7, 10);
    let branch = world.branch(&compensate(drops(&[bad]), &[])).exchange;
    assert_eq!((has(&branch, ANNA, USD), owes(&branch, ANNA, USD)), ((0, 70), 70));
    assert_eq!(open(&branch, bid), Some(7), "orders and holds are untouched");
}

#[test]
fn clean_money_that_came_later_is_not_taken() {
    let mut world = World::new();
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    world.transfer(ANNA, BERT, USD, 100);
    world.deposit(ANNA, USD, 80);
    let branch = world.branch(&compensate(drops(&[bad]), &[])).exchange;
    assert_eq!((has(&branch, ANNA, USD), owes(&branch, ANNA, USD)), ((80, 0), 100));
}

#[test]
fn trades_stand() {
    let mut world = World::with_fees(PERCENT, PERCENT);
    let bad = world.airdrop(BTC, &[(ANNA, 100)]);
    world.deposit(BERT, USD, 10_000);
    world.sell(ANNA, 60, 10);
    world.buy(BERT, 60, 10);
    let branch = world.branch(&compensate(drops(&[bad]), &[]));
    assert!(branch.busted.is_empty() && branch.new_fills.is_empty());
    assert_eq!((has(&branch.exchange, ANNA, BTC), owes(&branch.exchange, ANNA, BTC)), ((0, 0), 60));
    assert_eq!(has(&branch.exchange, ANNA, USD), has(&branch.parent, ANNA, USD));
    assert_eq!(branch.exchange.account(BERT), branch.parent.account(BERT));
    assert_eq!(queue(&branch.exchange, Side::Buy), queue(&branch.parent, Side::Buy));
}

#[test]
fn the_source_is_who_paid() {
    // From the treasury.
    let mut world = World::new();
    world.fund_treasury(USD, 500);
    world.done(Command::SetControls { controls: Controls::COVER });
    let paid = world.airdrop(USD, &[(ANNA, 100)]);
    let branch = world.branch(&compensate(drops(&[paid]), &[])).exchange;
    assert_eq!(system(&branch, AccountId::TREASURY, USD), 500);

    // From outside: a deposit that was none, half of which is gone.
    let deposited = world.deposit(BERT, USD, 100);
    world.transfer(BERT, CARL, USD, 50);
    let branch = world.branch(&compensate(drops_fact(deposited), &[])).exchange;
    assert_eq!((has(&branch, BERT, USD), owes(&branch, BERT, USD)), ((0, 0), 50));
    assert_eq!(system(&branch, AccountId::EXTERNAL, USD), system(&world.exchange, AccountId::EXTERNAL, USD) + 100);

    // From an account, which has it back at once.
    let moved = world.transfer(CARL, DORA, USD, 40);
    world.transfer(DORA, EMIL, USD, 30);
    let branch = world.branch(&compensate(drops(&[moved]), &[])).exchange;
    assert_eq!([CARL, DORA, EMIL].map(|account| has(&branch, account, USD).0), [50, 0, 30]);
    assert_eq!(owes(&branch, DORA, USD), 30);
    assert_eq!(system(&branch, AccountId::TREASURY, USD), 400);
}

#[test]
fn several_credits_of_one_account_share_what_is_left() {
    let mut world = World::new();
    world.fund_treasury(USD, 500);
    let first = world.airdrop(USD, &[(ANNA, 100)]);
    world.done(Command::SetControls { controls: Controls::COVER });
    let second = world.airdrop(USD, &[(ANNA, 100)]);
    world.transfer(ANNA, BERT, USD, 150);
    let branch = world.branch(&compensate(drops(&[first, second]), &[])).exchange;
    assert_eq!((has(&branch, ANNA, USD), owes(&branch, ANNA, USD)), ((0, 0), 150));
    assert_eq!(system(&branch, AccountId::UNBACKED, USD), 0);
    assert_eq!(system(&branch, AccountId::TREASURY, USD), 500);
}

#[test]
fn locked_credits_are_unlocked_first() {
    let mut world = World::new();
    let (airdrop, _) = world.open_airdrop(USD, &[(ANNA, 100), (BERT, 5)], 10_000);
    let bad = world.execute_airdrop(airdrop);
    let (other, _) = world.open_airdrop(USD, &[(CARL, 7)], 20_000);
    world.execute_airdrop(other);
    let branch = world.branch(&compensate(drops(&[bad]), &[])).exchange;
    for account in [ANNA, BERT] {
        assert_eq!((has(&branch, account, USD), owes(&branch, account, USD)), ((0, 0), 0));
    }
    assert_eq!(has(&branch, CARL, USD), (0, 7), "the other airdrop is still locked");
    assert!(branch.next_timer().is_some());
}

#[test]
fn a_withdrawal_that_came_back_is_taken_back() {
    let mut world = World::new();
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    let withdrawal = world.request(ANNA, USD, 60);
    world.release(withdrawal);
    let branch = world.branch(&compensate(drops(&[bad]), &[])).exchange;
    assert_eq!((has(&branch, ANNA, USD), owes(&branch, ANNA, USD)), ((0, 0), 60));
    assert_eq!(withdrawal_of(&branch, withdrawal).unwrap().shortfall, Amount(0));
    world.done(Command::FailWithdrawal { withdrawal });
    let branch = world.branch(&compensate(drops(&[bad]), &[])).exchange;
    assert_eq!((has(&branch, ANNA, USD), owes(&branch, ANNA, USD)), ((0, 0), 0));
}

#[test]
fn others_are_paid_from_the_treasury() {
    let mut world = World::new();
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    world.fund_treasury(BTC, 50);
    world.fund_treasury(USD, 10);
    let payments = [(BERT, BTC, 20), (CARL, BTC, 30), (BERT, USD, 10)];
    let branch = world.branch(&compensate(drops(&[bad]), &payments)).exchange;
    assert_eq!(
        (has(&branch, BERT, BTC), has(&branch, CARL, BTC), has(&branch, BERT, USD)),
        ((20, 0), (30, 0), (10, 0))
    );
    assert_eq!(system(&branch, AccountId::TREASURY, BTC), 0);

    // What is taken back for the treasury can be paid out.
    world.done(Command::SetControls { controls: Controls::COVER });
    let paid = world.airdrop(USD, &[(DORA, 10)]);
    let branch = world.branch(&compensate(drops(&[paid]), &[(EMIL, USD, 10)])).exchange;
    assert_eq!((has(&branch, DORA, USD), has(&branch, EMIL, USD)), ((0, 0), (10, 0)));
}

#[test]
fn a_payment_that_is_not_possible_refuses_the_plan() {
    let mut world = World::new();
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    world.fund_treasury(USD, 10);
    for payments in [
        &[(BERT, USD, 10), (CARL, USD, 1)][..],
        &[(BERT, USD, 1), (AccountId(99), USD, 1)],
        &[(BERT, USD, 1), (AccountId::FEES, USD, 1)],
        &[(BERT, USD, 1), (AccountId(0), USD, 1)],
        &[(BERT, USD, 1), (BERT, AssetId(55), 1)],
        &[(BERT, USD, 1), (BERT, USD, 0)],
        &[(BERT, USD, 1), (BERT, USD, u64::MAX)],
    ] {
        let error = world.fails(&compensate(drops(&[bad]), payments));
        let BranchError::Payment { number, .. } = error else { panic!("{error}") };
        assert_eq!(number, 2);
    }
}

#[test]
fn it_takes_credits_and_no_replacing() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let order = world.buy(ANNA, 1, 10);
    let moved = world.transfer(ANNA, BERT, USD, 5);
    let error = world.fails(&compensate(drops(&[Sequence(order.0)]), &[]));
    assert!(matches!(error, BranchError::NothingCredited), "{error}");
    let error = world.fails(&compensate(replaces(moved, transfer(ANNA, CARL, USD, 5)), &[]));
    assert!(matches!(error, BranchError::Unsuited { .. }), "{error}");
}

#[test]
fn everything_sums() {
    // Whatever became of it: what was credited is what was taken back and what is owed.
    let mut world = World::with_fees(PERCENT, 2 * PERCENT);
    world.deposit(BERT, USD, 10_000);
    world.deposit(ANNA, BTC, 3);
    let bad = world.airdrop(BTC, &[(ANNA, 100), (CARL, 50)]);
    world.sell(ANNA, 40, 10);
    world.buy(BERT, 35, 10);
    world.transfer(ANNA, DORA, BTC, 9);
    let withdrawal = world.request(ANNA, BTC, 10);
    world.release(withdrawal);
    let branch = world.branch(&compensate(drops(&[bad]), &[]));
    let taken = |account| u128::from(has(&branch.parent, account, BTC).0 - has(&branch.exchange, account, BTC).0);
    let owed: u64 = branch.exchange.receivables().map(|(_, _, amount)| amount.0).sum();
    assert_eq!(taken(ANNA) + taken(CARL) + u128::from(owed), 150);
    // 35 sold, 9 moved, 10 gone: 54, of which 3 were her own.
    assert_eq!(owes(&branch.exchange, ANNA, BTC), 51 + 5, "and 5 are held for what she still sells");
}
