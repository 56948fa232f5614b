//! Bust: what happened stands, as far as it can be paid.

use engine::{
    command::Command,
    event::RejectReason,
    recovery::{BranchError, Strategy},
    types::{Amount, ClientOrderId, LimitType, Quantity, Side, TradingStatus},
};

use super::*;

#[test]
fn a_void_fill_voids_those_that_it_would_have_paid() {
    let mut world = World::new();
    let bad = world.airdrop(BTC, &[(ANNA, 5)]);
    world.deposit(BERT, USD, 50);
    world.deposit(CARL, USD, 60);
    world.deposit(DORA, BTC, 5);
    world.deposit(EMIL, USD, 55);
    // Anna sells what she should not have to Bert, and he sells it to Carl. What Dora sells Emil has nothing to do with it.
    world.sell(ANNA, 5, 10);
    world.buy(BERT, 5, 10);
    world.sell(BERT, 5, 12);
    world.buy(CARL, 5, 12);
    world.sell(DORA, 5, 11);
    world.buy(EMIL, 5, 11);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.busted.iter().map(|fill| fill.price.0).collect::<Vec<_>>(), [10, 12]);
    for (account, btc, usd) in [(ANNA, 0, 0), (BERT, 0, 50), (CARL, 0, 60), (DORA, 0, 55), (EMIL, 5, 0)] {
        assert_eq!((has(&branch.exchange, account, BTC), has(&branch.exchange, account, USD)), ((btc, 0), (usd, 0)));
    }
    assert!(branch.new_fills.is_empty());
}

#[test]
fn a_fill_stands_whole_or_not_at_all() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 4);
    let bad = world.airdrop(BTC, &[(ANNA, 1)]);
    world.deposit(BERT, USD, 50);
    world.sell(ANNA, 5, 10);
    world.buy(BERT, 5, 10);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.busted.len(), 1);
    assert_eq!((has(&branch.exchange, ANNA, BTC), has(&branch.exchange, BERT, USD)), ((4, 0), (50, 0)));
}

#[test]
fn the_buyers_fee_counts_and_so_does_a_rebate() {
    // 2 % for the taker, of which the maker gets half. The buyer has exactly what it takes, with and without a bad unit.
    for (maker_rate, taker_rate, needs, buyer_takes) in
        [(-PERCENT, 2 * PERCENT, 102, true), (-PERCENT, 2 * PERCENT, 99, false), (PERCENT, 0, 101, false)]
    {
        for short in [0, 1] {
            let mut world = World::with_fees(maker_rate, taker_rate);
            // A resting bid with a rebate holds more than it costs.
            world.deposit(BERT, USD, needs - short);
            let bad = world.airdrop(USD, &[(BERT, 10)]);
            world.deposit(ANNA, BTC, 10);
            if buyer_takes {
                world.sell(ANNA, 10, 10);
                world.buy(BERT, 10, 10);
            } else {
                world.buy(BERT, 10, 10);
                world.sell(ANNA, 10, 10);
            }
            assert_eq!(world.fills(), 1);
            let branch = world.bust(&[bad]);
            assert_eq!(branch.busted.len(), short as usize, "at rates {maker_rate} and {taker_rate}");
            if short == 0 {
                assert_eq!(has(&branch.exchange, BERT, USD), (0, 0));
                assert_eq!(has(&branch.exchange, BERT, BTC), (10, 0));
                let fees = |exchange| system(exchange, AccountId::FEES, USD);
                assert_eq!(fees(&branch.exchange), fees(&branch.parent), "a kept fill keeps its fees");
            } else {
                assert_eq!(system(&branch.exchange, AccountId::FEES, USD), 0);
            }
        }
    }
}

#[test]
fn during_the_pass_orders_hold_nothing_and_requests_do() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 10);
    let resting = world.buy(ANNA, 6, 10);
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    // It needs what the resting order would hold.
    world.sell(BERT, 5, 15);
    world.buy(ANNA, 5, 15);
    assert_eq!(world.fills(), 1);
    let branch = world.bust(&[bad]);
    assert!(branch.busted.is_empty());
    assert_eq!(branch.unfunded, [resting]);
    assert_eq!(has(&branch.exchange, ANNA, USD), (25, 0));

    // With a request in its way it does not stand.
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 10);
    let withdrawal = world.request(ANNA, USD, 30);
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    world.sell(BERT, 5, 15);
    world.buy(ANNA, 5, 15);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.busted.len(), 1);
    assert_eq!(has(&branch.exchange, ANNA, USD), (70, 30));
    assert!(withdrawal_of(&branch.exchange, withdrawal).is_some());
}

#[test]
fn locks_are_those_of_the_branch() {
    let mut world = World::new();
    let (airdrop, _) = world.open_airdrop(USD, &[(ANNA, 50)], 10);
    let bad = world.airdrop(BTC, &[(EMIL, 1)]);
    world.execute_airdrop(airdrop);
    world.deposit(BERT, USD, 5);
    world.wait(20);
    world.transfer(ANNA, DORA, USD, 50);
    let branch = world.bust(&[bad]).exchange;
    assert_eq!((has(&branch, ANNA, USD), has(&branch, DORA, USD)), ((0, 0), (50, 0)));

    // Still locked in the end, and found when it ends.
    let mut world = World::new();
    let (airdrop, _) = world.open_airdrop(USD, &[(ANNA, 50)], 10_000);
    let bad = world.airdrop(BTC, &[(EMIL, 1)]);
    world.execute_airdrop(airdrop);
    let branch = world.bust(&[bad]).exchange;
    assert_eq!(has(&branch, ANNA, USD), (0, 50));
    assert!(branch.next_timer().is_some());
}

#[test]
fn a_dropped_orders_fills_are_void_wherever_they_are() {
    let mut world = World::new();
    for account in [ANNA, CARL] {
        world.deposit(account, BTC, 10);
    }
    world.deposit(BERT, USD, 1_000);
    world.sell(ANNA, 2, 10);
    let bad = world.buy(BERT, 5, 10);
    assert_eq!(world.fills(), 1);
    world.sell(CARL, 1, 10);
    assert_eq!(world.fills(), 1);
    let branch = world.bust(&[Sequence(bad.0)]);
    assert_eq!(branch.busted.len(), 2);
    assert_eq!(open(&branch.parent, bad), Some(2));
    assert_eq!(open(&branch.exchange, bad), None);
    assert_eq!(has(&branch.exchange, BERT, USD), (1_000, 0));
    assert!(branch.unfunded.is_empty(), "it was dropped, and not short of funds");
}

#[test]
fn what_was_busted_is_not_put_back() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 10);
    world.deposit(BERT, USD, 1_000);
    let ask = world.sell(ANNA, 5, 10);
    let bad = world.done(limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 2, 10));
    let branch = world.bust(&[bad]).exchange;
    assert_eq!(open(&branch, ask), Some(3));
    assert_eq!(has(&branch, ANNA, BTC), (7, 3));
}

/// The fees of one lot more of an order that rests: it is the maker, so the second of these.
fn next_fee(branch: &Branch, command: &Command) -> i64 {
    fees_of(&goes_on(branch, command).1).1
}

#[test]
fn a_makers_fee_does_not_count_a_dropped_takers_fill() {
    // The maker pays 1 %: nothing for 50 traded, and 1 for 100.
    let mut world = World::with_fees(PERCENT, 0);
    world.deposit(ANNA, BTC, 100);
    world.deposit(BERT, USD, 1_000);
    let ask = world.sell(ANNA, 20, 10);
    let bad = world.done(limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 5, 10));
    let branch = world.bust(&[bad]);
    assert_eq!(open(&branch.exchange, ask), Some(15));
    let more = limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 5, 10);
    assert_eq!(next_fee(&branch, &more), 0, "50 were traded by what stands, and now 100, for which nothing is due yet");
    let twice = limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 10, 10);
    assert_eq!(next_fee(&branch, &twice), 1);
}

#[test]
fn kept_fills_keep_their_fees_and_what_is_too_much_is_carried() {
    // Anna's ask trades 60 and 60: of the second, 1 is due, for 120. Void the first, and 1 was charged for 60.
    let mut world = World::with_fees(PERCENT, 0);
    world.deposit(ANNA, BTC, 100);
    world.deposit(CARL, USD, 1_000);
    let bad = world.airdrop(USD, &[(BERT, 60)]);
    let ask = world.sell(ANNA, 30, 10);
    world.done(limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 6, 10));
    world.done(limit(CARL, Side::Buy, LimitType::ImmediateOrCancel, 6, 10));
    assert_eq!(fees_of(&world.events), (0, 1));
    let branch = world.bust(&[bad]);
    assert_eq!(branch.busted.len(), 1);
    assert_eq!(has(&branch.exchange, ANNA, USD), (59, 0));
    assert_eq!(system(&branch.exchange, AccountId::FEES, USD), 1);
    assert_eq!(open(&branch.exchange, ask), Some(18));
    // 60 more make 120, for which 1 is due and was charged; only at 200 is there a second.
    let more = |lots| limit(CARL, Side::Buy, LimitType::ImmediateOrCancel, lots, 10);
    assert_eq!(next_fee(&branch, &more(6)), 0);
    assert_eq!(next_fee(&branch, &more(13)), 0);
    assert_eq!(next_fee(&branch, &more(14)), 1);
}

#[test]
fn a_buyers_carry_is_held_until_it_is_charged() {
    // Void what was charged: a bid that traded 90 (nothing due) and 20 (1 due) and loses the second, was charged nothing for
    // 90. Losing the first, it was charged 1 for 20. Both hold what is required.
    for lost in [0, 1] {
        let mut world = World::with_fees(PERCENT, 0);
        world.deposit(BERT, USD, 1_000);
        let bid = world.buy(BERT, 30, 10);
        let mut bad = Vec::new();
        for (account, lots) in [(ANNA, 9), (CARL, 2)] {
            bad.push(world.airdrop(BTC, &[(account, lots)]));
            world.done(limit(account, Side::Sell, LimitType::ImmediateOrCancel, lots, 10));
        }
        let branch = world.bust(&[bad[lost]]);
        let (traded, charged) = if lost == 0 { (20, 1) } else { (90, 0) };
        assert_eq!(open(&branch.exchange, bid), Some(19));
        let (rest, held) = has(&branch.exchange, BERT, USD);
        // required: 190 for what is open, and 1 % of that and what was traded, less what that comes to by the rules.
        let due = (traded + 190) / 100;
        let by_the_rules = traded / 100;
        assert_eq!(held, 190 + due - by_the_rules);
        assert_eq!(rest + held, 1_000 - traded - charged);
    }
}

#[test]
fn fills_before_the_cut_count_as_charged() {
    let mut world = World::with_fees(PERCENT, 0);
    world.deposit(ANNA, BTC, 100);
    world.deposit(CARL, USD, 1_000);
    let ask = world.sell(ANNA, 50, 10);
    world.done(limit(CARL, Side::Buy, LimitType::ImmediateOrCancel, 15, 10));
    assert_eq!(fees_of(&world.events), (0, 1));
    let bad = world.airdrop(USD, &[(BERT, 60)]);
    world.done(limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 6, 10));
    assert_eq!(fees_of(&world.events), (0, 1));
    let branch = world.bust(&[bad]);
    assert_eq!(open(&branch.exchange, ask), Some(29));
    let more = |lots| limit(CARL, Side::Buy, LimitType::ImmediateOrCancel, lots, 10);
    assert_eq!(next_fee(&branch, &more(4)), 0, "190 traded");
    assert_eq!(next_fee(&branch, &more(5)), 1, "200 traded");
}

#[test]
fn a_takers_carry_counts_in_its_own_role() {
    // Bert's bid takes 60 from Anna, who should not have them, and 60 from Carl, and rests.
    let mut world = World::with_fees(0, PERCENT);
    world.deposit(BERT, USD, 1_000);
    world.deposit(CARL, BTC, 10);
    let bad = world.airdrop(BTC, &[(ANNA, 6)]);
    world.sell(ANNA, 6, 10);
    world.sell(CARL, 6, 10);
    let bid = world.buy(BERT, 20, 10);
    assert_eq!(world.fills(), 2);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.busted.len(), 1);
    // 1 was charged for 60, by the rules nothing: a carry of 1. For the 80 that are open, 1 % of 140 is required.
    assert_eq!(has(&branch.exchange, BERT, USD), (1_000 - 60 - 1 - 81, 81));
    assert_eq!(open(&branch.exchange, bid), Some(8));
}

#[test]
fn a_replacing_counts_from_zero() {
    let mut world = World::with_fees(PERCENT, 0);
    world.deposit(ANNA, BTC, 100);
    world.deposit(CARL, USD, 1_000);
    let bad = world.airdrop(USD, &[(BERT, 161)]);
    let ask = world.sell(ANNA, 50, 10);
    world.done(limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 16, 10));
    world.replace(ANNA, Side::Sell, ask, 40, 11);
    world.done(limit(CARL, Side::Buy, LimitType::ImmediateOrCancel, 9, 11));
    let branch = world.bust(&[bad]);
    assert_eq!(branch.busted.len(), 1);
    assert_eq!(open(&branch.exchange, ask), Some(31));
    // 99 traded since, nothing charged: one lot more makes 110.
    assert_eq!(next_fee(&branch, &limit(CARL, Side::Buy, LimitType::ImmediateOrCancel, 1, 11)), 1);
}

#[test]
fn market_orders_and_closed_ones_are_void_like_any() {
    let mut world = World::with_fees(PERCENT, PERCENT);
    world.deposit(ANNA, BTC, 100);
    let bad = world.airdrop(USD, &[(BERT, 505)]);
    world.sell(ANNA, 50, 10);
    let (budget, client_order_id) = (Amount(505), ClientOrderId(0));
    world.done(Command::PlaceMarketBuy { account: BERT, market: MARKET, budget, client_order_id });
    assert_eq!(open(&world.exchange, OrderId(world.last().0 - 1)), None, "both are closed");
    let branch = world.bust(&[bad]).exchange;
    assert_eq!((has(&branch, ANNA, BTC), has(&branch, ANNA, USD)), ((100, 0), (0, 0)));
    assert_eq!(system(&branch, AccountId::FEES, USD), 0);

    let mut world = World::with_fees(PERCENT, PERCENT);
    world.deposit(BERT, USD, 1_000);
    let bad = world.airdrop(BTC, &[(ANNA, 10)]);
    world.buy(BERT, 10, 10);
    let quantity = Quantity(10);
    world.done(Command::PlaceMarketSell { account: ANNA, market: MARKET, quantity, client_order_id });
    assert_eq!(has(&world.bust(&[bad]).exchange, BERT, USD), (1_000, 0));
}

#[test]
fn one_that_cannot_be_funded_is_cancelled_and_the_next_is_still_tried() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 60);
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    let (first, second, third) = (world.buy(ANNA, 3, 10), world.buy(ANNA, 10, 9), world.buy(ANNA, 3, 10));
    world.deposit(BERT, USD, 30);
    let other = world.buy(BERT, 3, 10);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.unfunded, [second]);
    assert_eq!(queue(&branch.exchange, Side::Buy), [first, third, other], "in the parent's queues");
    assert_eq!(has(&branch.exchange, ANNA, USD), (0, 60));
}

#[test]
fn orders_are_held_ascending_by_id_and_queues_stay() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 20);
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    let (first, second) = (world.buy(ANNA, 2, 10), world.buy(ANNA, 2, 10));
    // The first goes to the end of the queue, and is the first to be held nevertheless.
    world.replace(ANNA, Side::Buy, first, 1, 9);
    world.replace(ANNA, Side::Buy, first, 2, 10);
    assert_eq!(queue(&world.exchange, Side::Buy), [second, first]);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.unfunded, [second]);
    assert_eq!(queue(&branch.exchange, Side::Buy), [first]);
}

#[test]
fn transfers_and_requests_stand_if_they_can_be_paid() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 60);
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    world.transfer(ANNA, BERT, USD, 61);
    let void = world.request(ANNA, USD, 61);
    world.transfer(ANNA, CARL, USD, 20);
    let stands = world.request(ANNA, USD, 10);
    world.deposit(BERT, USD, 1);
    world.transfer(BERT, DORA, USD, 62);
    let branch = world.bust(&[bad]).exchange;
    assert_eq!([BERT, CARL, DORA].map(|account| has(&branch, account, USD).0), [1, 20, 0]);
    assert_eq!(withdrawal_of(&branch, void), None);
    assert_eq!(withdrawal_of(&branch, stands).unwrap().amount, Amount(10));
    assert_eq!(has(&branch, ANNA, USD), (30, 10));

    // A cancel happens if the request stands.
    let mut cancelled = world.clone();
    cancelled.done(Command::CancelWithdrawal { account: ANNA, withdrawal: void });
    cancelled.done(Command::CancelWithdrawal { account: ANNA, withdrawal: stands });
    let branch = cancelled.bust(&[bad]).exchange;
    assert_eq!(withdrawal_of(&branch, void), None);
    assert_eq!(has(&branch, ANNA, USD), (40, 0));

    // Released, the void one is forced: it takes what the other has not.
    world.release(void);
    let branch = world.bust(&[bad]).exchange;
    assert_eq!((has(&branch, ANNA, USD), owes(&branch, ANNA, USD)), ((0, 10), 31));
}

#[test]
fn a_request_that_stands_counts_in_the_velocity() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 60);
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    world.done(Command::SetPayoutVelocity { asset: USD, amount_max: Amount(100), window_seconds: 100_000 });
    world.request(ANNA, USD, 70);
    world.request(ANNA, USD, 20);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.parent.payout_velocity(USD).unwrap().requested, Amount(90));
    assert_eq!(branch.exchange.payout_velocity(USD).unwrap().requested, Amount(20));
    // A replaced one fills the window; the next stands and fits in part.
    let larger = Command::RequestWithdrawal { account: ANNA, asset: USD, amount: Amount(95) };
    let edits = replaces(Sequence(world.last().0 - 1), larger);
    let branch = world.branch(&Strategy::Bust(edits)).exchange;
    assert_eq!(has(&branch, ANNA, USD), (45, 115));
    assert_eq!(branch.payout_velocity(USD).unwrap().requested, Amount(100));
}

#[test]
fn later_airdrops_are_paid_as_they_were() {
    let mut world = World::new();
    let bad = world.airdrop(USD, &[(ANNA, 100)]);
    world.fund_treasury(USD, 30);
    let (approved, _) = world.open_airdrop(USD, &[(BERT, 10)], 0);
    world.done(Command::ApproveAirdrop { airdrop: approved, operator: APPROVER });
    world.done(Command::SetControls { controls: Controls::ALL });
    world.done(Command::AttestReserves { asset: USD, amount: Amount(1_000) });
    world.execute_airdrop(approved);
    let (cancelled, _) = world.open_airdrop(USD, &[(CARL, 10)], 0);
    world.done(Command::CancelAirdrop { airdrop: cancelled, operator: APPROVER });
    let branch = world.bust(&[bad]);
    assert_eq!([ANNA, BERT, CARL].map(|account| has(&branch.exchange, account, USD).0), [0, 10, 0]);
    assert_eq!(system(&branch.exchange, AccountId::TREASURY, USD), 20);
    assert_eq!(system(&branch.exchange, AccountId::UNBACKED, USD), 0);
    for airdrop in [approved, cancelled] {
        assert_eq!(branch.exchange.airdrop(airdrop), branch.parent.airdrop(airdrop));
    }
}

#[test]
fn the_source_is_what_the_branchs_controls_say() {
    let mut world = World::new();
    world.fund_treasury(USD, 30);
    let covering = world.done(Command::SetControls { controls: Controls::COVER });
    world.airdrop(USD, &[(BERT, 10)]);
    let branch = world.branch(&Strategy::Bust(drops_fact(covering))).exchange;
    assert_eq!(system(&branch, AccountId::TREASURY, USD), 30);
    assert_eq!(system(&branch, AccountId::UNBACKED, USD), -10);
}

#[test]
fn a_treasury_that_does_not_cover_refuses_the_plan() {
    let mut world = World::new();
    let funded = world.fund_treasury(USD, 30);
    world.done(Command::SetControls { controls: Controls::COVER });
    world.airdrop(USD, &[(BERT, 10)]);
    let error = world.fails(&Strategy::Bust(drops_fact(funded)));
    assert!(matches!(error, BranchError::Invariant(_)) && error.to_string().contains("TREASURY"), "{error}");
    // What was paid so leaves, and there is less than nothing, whatever follows.
    let withdrawal = world.request(BERT, USD, 10);
    world.release(withdrawal);
    let released = world.last();
    world.fund_treasury(USD, 100);
    let error = world.fails(&Strategy::Bust(drops_fact(funded)));
    let BranchError::Overdrawn { sequence, asset } = error else { panic!("{error}") };
    assert_eq!((sequence, asset), (released, USD));
}

#[test]
fn a_manifest_can_be_replaced() {
    let mut world = World::new();
    world.fund_treasury(ETH, 100);
    world.fund_treasury(BTC, 100);
    world.done(Command::SetControls { controls: Controls::COVER });
    let (airdrop, _) = world.open_airdrop(BTC, &[(ANNA, 20), (BERT, 30), (CARL, 1)], 0);
    world.done(Command::ApproveAirdrop { airdrop, operator: APPROVER });
    world.execute_airdrop(airdrop);
    let (history, halt, _) = world.frozen();
    let lines = [(ANNA, Amount(2)), (DORA, Amount(3))];
    let edits = Edits::replace_airdrop(&history, halt, airdrop, Some(ETH), &lines).unwrap();
    assert_eq!((edits.dropped.len(), edits.replaced.len()), (1, 3));
    for strategy in [Strategy::Bust, Strategy::Excise] {
        let branch = world.branch(&strategy(edits.clone())).exchange;
        assert_eq!([ANNA, BERT, CARL, DORA].map(|account| has(&branch, account, ETH).0), [2, 0, 0, 3]);
        assert_eq!(system(&branch, AccountId::TREASURY, ETH), 95);
        assert_eq!(system(&branch, AccountId::TREASURY, BTC), 100);
    }
}

#[test]
fn replacements_are_of_their_own_kind_and_accepted() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let external_id = ExternalId::from_u128(500);
    let deposited = world.done(Command::Deposit { account: BERT, asset: USD, amount: Amount(5_000), external_id });
    let moved = world.transfer(ANNA, BERT, USD, 10);
    let order = world.buy(ANNA, 1, 10);
    let smaller = Command::Deposit { account: BERT, asset: USD, amount: Amount(50), external_id };
    assert_eq!(has(&world.branch(&Strategy::Bust(replaces(deposited, smaller))).exchange, BERT, USD), (60, 0));
    let unsuited = [
        (moved, smaller),
        (Sequence(order.0), limit(ANNA, Side::Buy, LimitType::GoodTillCancel, 1, 9)),
        (Sequence(order.0), Command::CancelOrder { account: ANNA, order }),
    ];
    for (sequence, other) in unsuited {
        let error = world.fails(&Strategy::Bust(replaces(sequence, other)));
        assert!(matches!(error, BranchError::Unsuited { .. }), "{error}");
    }
    let error = world.fails(&Strategy::Bust(replaces(moved, transfer(ANNA, ANNA, USD, 1))));
    let BranchError::ReplacementRefused { reason, .. } = error else { panic!("{error}") };
    assert_eq!(reason, RejectReason::SameAccount);
}

#[test]
fn cancels_reductions_and_replacings_cannot_be_dropped() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let order = world.buy(ANNA, 5, 10);
    let mut sequences = vec![
        world.done(Command::ReduceOrder { account: ANNA, order, quantity: Quantity(4) }),
        world.replace(ANNA, Side::Buy, order, 4, 9),
        world.cancel(ANNA, order),
    ];
    world.done(named(ANNA, Side::Buy, LimitType::GoodTillCancel, 1, 1, 8));
    sequences.push(world.done(Command::CancelByClientOrderId { account: ANNA, client_order_id: ClientOrderId(8) }));
    sequences.push(world.done(Command::CancelAllOfAccount { account: ANNA }));
    sequences.push(world.done(Command::CancelAllOfMarket { market: MARKET }));
    for sequence in sequences {
        let error = world.fails(&Strategy::Bust(drops(&[sequence])));
        assert!(matches!(error, BranchError::Unsuited { .. }), "{error}");
    }
    // One that was refused did nothing.
    let refused = world.refused(RejectReason::OrderNotFound, Command::CancelOrder { account: ANNA, order });
    let branch = world.bust(&[refused]);
    assert_eq!(branch.exchange.state_hash(), branch.parent.state_hash());
}

#[test]
fn a_market_that_is_added_when_a_lock_ends_is_known() {
    let mut world = World::new();
    let bad = world.airdrop(BTC, &[(EMIL, 1)]);
    let (airdrop, _) = world.open_airdrop(USD, &[(ANNA, 50)], 10);
    world.execute_airdrop(airdrop);
    world.deposit(BERT, ETH, 5);
    world.wait(20);
    let market = MarketId(7);
    let (base, quote, lot_size, tick_value) = (ETH, USD, Amount(1), Amount(1));
    let (maker_rate, taker_rate) = (FeeRate(0), FeeRate(0));
    world.done(Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
    assert!(world.events.len() > 1, "the lock ends at the same sequence");
    let place = |account, side| Command::PlaceLimit {
        account,
        market,
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(10),
        quantity: Quantity(5),
        client_order_id: ClientOrderId(0),
    };
    world.done(place(BERT, Side::Sell));
    world.done(place(ANNA, Side::Buy));
    assert_eq!(world.fills(), 1);
    let branch = world.bust(&[bad]).exchange;
    assert_eq!(has(&branch, ANNA, ETH), (5, 0));
}

#[test]
fn fees_and_statuses_that_were_dropped_are_not_in_force() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 10);
    world.deposit(BERT, USD, 1_000);
    world.sell(ANNA, 5, 10);
    let fees =
        world.done(Command::SetMarketFees { market: MARKET, maker_rate: FeeRate(0), taker_rate: FeeRate(10_000) });
    let branch = world.branch(&Strategy::Bust(drops_fact(fees)));
    let view = branch.exchange.markets().next().unwrap();
    assert_eq!(view.spec.taker_rate, FeeRate(0));
    let buying = limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 1, 10);
    assert_eq!(fees_of(&goes_on(&branch, &buying).1), (0, 0));

    let status = world.set_status(TradingStatus::CancelOnly);
    let branch = world.branch(&Strategy::Bust(drops_fact(status)));
    assert_eq!(branch.exchange.markets().next().unwrap().status, TradingStatus::Open);
    // The last one counts.
    world.set_status(TradingStatus::Auction);
    let branch = world.branch(&Strategy::Bust(drops_fact(status)));
    assert_eq!(branch.exchange.markets().next().unwrap().status, TradingStatus::Auction);
}

#[test]
fn an_auction_that_did_not_end_traded_nothing() {
    let mut world = World::with_fees(PERCENT, PERCENT);
    world.deposit(ANNA, BTC, 20);
    world.deposit(BERT, USD, 1_000);
    world.set_status(TradingStatus::Auction);
    let (ask, bid) = (world.sell(ANNA, 15, 10), world.buy(BERT, 10, 10));
    let opened = world.set_status(TradingStatus::Open);
    assert_eq!(world.fills(), 1);
    let branch = world.branch(&Strategy::Bust(drops_fact(opened)));
    assert_eq!(branch.busted.len(), 1);
    assert_eq!((open(&branch.exchange, ask), open(&branch.exchange, bid)), (Some(5), None));
    assert_eq!((has(&branch.exchange, BERT, USD), has(&branch.exchange, ANNA, BTC)), ((1_000, 0), (15, 5)));
    assert_eq!(branch.exchange.markets().next().unwrap().status, TradingStatus::Auction);
}

#[test]
fn an_auctions_fills_stand_like_any() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 20);
    world.deposit(CARL, USD, 100);
    let bad = world.airdrop(USD, &[(BERT, 100)]);
    world.set_status(TradingStatus::Auction);
    world.sell(ANNA, 20, 10);
    world.buy(BERT, 10, 10);
    world.buy(CARL, 10, 10);
    world.set_status(TradingStatus::Open);
    assert_eq!(world.fills(), 2);
    let branch = world.bust(&[bad]);
    assert_eq!(branch.busted.iter().map(|fill| fill.maker_account).collect::<Vec<_>>(), [ANNA]);
    assert_eq!((has(&branch.exchange, BERT, BTC), has(&branch.exchange, CARL, BTC)), ((0, 0), (10, 0)));
}
