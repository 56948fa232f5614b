//! Rewind: behind the cut only facts happened, and what owners asked to be closed is closed.

use engine::{
    command::Command,
    event::RejectReason,
    exchange::WithdrawalState,
    recovery::{BranchError, Strategy},
    types::{ClientOrderId, LimitType, Quantity, Sequence, Side, TradingStatus},
};

use super::*;

#[test]
fn what_is_no_fact_did_not_happen() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 10);
    let first = world.buy(ANNA, 2, 10);
    let second = world.buy(ANNA, 1, 10);
    let cut = world.last();
    world.airdrop(USD, &[(CARL, 1_000)]);
    world.sell(BERT, 3, 10);
    assert_eq!(world.fills(), 2);
    let placed = world.buy(CARL, 1, 7);
    world.transfer(CARL, DORA, USD, 5);
    world.deposit(EMIL, USD, 3);
    let branch = world.rewind(cut);
    assert_eq!(queue(&branch.exchange, Side::Buy), [first, second], "in their old order");
    assert_eq!(open(&branch.exchange, placed), None);
    assert_eq!([BERT, CARL, DORA, EMIL].map(|account| has(&branch.exchange, account, USD).0), [0, 0, 0, 3]);
    assert_eq!(has(&branch.exchange, BERT, BTC), (10, 0));
    assert_eq!(branch.busted.len(), 2);
    assert!(branch.new_fills.is_empty());
    assert_eq!(branch.cut, cut);
}

#[test]
fn closures_that_were_asked_for_happen() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 1_000);
    let orders: Vec<_> = (0..6).map(|_| world.buy(ANNA, 4, 10)).collect();
    let named = OrderId(world.done(named(ANNA, Side::Buy, LimitType::GoodTillCancel, 1, 9, 5)).0);
    let withdrawal = world.request(ANNA, USD, 7);
    let cut = world.last();
    world.cancel(ANNA, orders[0]);
    world.done(Command::ReduceOrder { account: ANNA, order: orders[1], quantity: Quantity(1) });
    world.done(Command::CancelByClientOrderId { account: ANNA, client_order_id: ClientOrderId(5) });
    world.replace(ANNA, Side::Buy, orders[2], 3, 10);
    world.replace(ANNA, Side::Buy, orders[3], 4, 11);
    world.replace(ANNA, Side::Buy, orders[4], 5, 10);
    world.done(Command::CancelWithdrawal { account: ANNA, withdrawal });
    let branch = world.rewind(cut).exchange;
    let left = orders.iter().map(|order| open(&branch, *order)).collect::<Vec<_>>();
    assert_eq!(left, [None, Some(1), Some(3), None, None, Some(4)], "a repricing and an increase count as cancels");
    assert_eq!(open(&branch, named), None);
    assert_eq!(withdrawal_of(&branch, withdrawal).unwrap().state, WithdrawalState::Cancelled);
    assert_eq!(has(&branch, ANNA, USD), (920, 80));
}

#[test]
fn mass_cancels_take_all_that_they_match_on_the_branch() {
    for mass in [Command::CancelAllOfAccount { account: ANNA }, Command::CancelAllOfMarket { market: MARKET }] {
        let mut world = World::new();
        world.deposit(ANNA, USD, 100);
        world.deposit(BERT, BTC, 10);
        let filled = world.buy(ANNA, 1, 10);
        let cut = world.last();
        world.sell(BERT, 1, 10);
        world.done(mass);
        let branch = world.rewind(cut);
        assert_eq!(open(&branch.exchange, filled), None);
        assert_eq!(has(&branch.exchange, ANNA, USD), (100, 0));
    }
}

#[test]
fn a_cancel_that_came_too_late_is_in_time() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 10);
    let (filled, reduced) = (world.buy(ANNA, 1, 10), world.buy(ANNA, 2, 9));
    let cut = world.last();
    world.sell(BERT, 3, 9);
    world.refused(RejectReason::OrderNotFound, Command::CancelOrder { account: ANNA, order: filled });
    let reduction = Command::ReduceOrder { account: ANNA, order: reduced, quantity: Quantity(1) };
    world.refused(RejectReason::OrderNotFound, reduction);
    world.refused(RejectReason::OrderNotFound, replace(ANNA, Side::Buy, reduced, 1, 8));
    let branch = world.rewind(cut).exchange;
    assert_eq!((open(&branch, filled), open(&branch, reduced)), (None, Some(2)));
}

#[test]
fn a_reduction_leaves_no_more_than_was_open_on_the_branch() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 10);
    let order = world.buy(ANNA, 5, 10);
    let cut = world.last();
    world.sell(BERT, 2, 10);
    // Of three that are left, three stay; on the branch five are open, and three stay as well.
    world.replace(ANNA, Side::Buy, order, 3, 10);
    let branch = world.rewind(cut).exchange;
    assert_eq!(open(&branch, order), Some(3));
    assert_eq!(has(&branch, ANNA, USD), (70, 30));
}

#[test]
fn an_order_closed_by_its_owners_other_order_stays_closed() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(ANNA, BTC, 10);
    let (bid, ask) = (world.buy(ANNA, 1, 5), world.sell(ANNA, 1, 10));
    let cut = world.last();
    world.replace(ANNA, Side::Buy, bid, 1, 10);
    let branch = world.rewind(cut).exchange;
    assert_eq!((open(&branch, bid), open(&branch, ask)), (None, Some(1)));
}

#[test]
fn statuses_and_their_auctions_are_facts() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 10);
    world.set_status(TradingStatus::Auction);
    world.buy(ANNA, 1, 10);
    world.sell(BERT, 1, 8);
    let cut = world.last();
    let late = world.sell(BERT, 5, 7);
    world.set_status(TradingStatus::Open);
    let branch = world.rewind(cut);
    assert_eq!(has(&branch.exchange, ANNA, BTC), (1, 0), "what stood at the cut trades without what came late");
    assert_eq!(open(&branch.exchange, late), None);
}

#[test]
fn locks_end_at_tombstones() {
    let mut world = World::new();
    let (airdrop, _) = world.open_airdrop(USD, &[(ANNA, 50)], 10);
    world.execute_airdrop(airdrop);
    let cut = world.last();
    world.wait(20);
    world.transfer(ANNA, BERT, USD, 50);
    let branch = world.rewind(cut).exchange;
    assert_eq!(has(&branch, ANNA, USD), (50, 0));
    assert_eq!(branch.next_timer(), None);
}

#[test]
fn the_cut_lies_before_the_halt() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let (_, halt, _) = world.frozen();
    for cut in [halt, halt.next(), Sequence(u64::MAX)] {
        let error = world.fails(&Strategy::Rewind { cut });
        assert!(matches!(error, BranchError::CutNotBeforeHalt { .. }), "{error}");
    }
    // Right before it, nothing is undone.
    let branch = world.rewind(Sequence(halt.0 - 1));
    assert_eq!(branch.exchange.state_hash(), branch.parent.state_hash());
    // From the very beginning, all that is no fact is.
    world.transfer(ANNA, BERT, USD, 1);
    assert_eq!(has(&world.rewind(Sequence(0)).exchange, ANNA, USD), (100, 0));
}

#[test]
fn a_request_that_was_only_made_is_void() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let cut = world.last();
    let withdrawal = world.request(ANNA, USD, 40);
    let branch = world.rewind(cut).exchange;
    assert_eq!(withdrawal_of(&branch, withdrawal), None);
    assert_eq!(has(&branch, ANNA, USD), (100, 0));
    // Cancelled later, it is not there to be cancelled.
    world.done(Command::CancelWithdrawal { account: ANNA, withdrawal });
    let branch = world.rewind(cut);
    assert_eq!(branch.refused.get(&RejectReason::UnknownWithdrawal), Some(&1));
    assert_eq!(has(&branch.exchange, ANNA, USD), (100, 0));
}
