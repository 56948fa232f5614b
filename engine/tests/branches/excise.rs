//! Excise: everything again, but for the edits.

use engine::{
    command::Command,
    event::RejectReason,
    recovery::{BranchError, Strategy},
    types::{Amount, ClientOrderId, ExternalId, LimitType, Quantity, Sequence, Side, TradingStatus},
};

use super::*;

#[test]
fn rule_1_a_dropped_command_did_not_happen_and_ids_stay() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bad = world.transfer(ANNA, BERT, USD, 40);
    let order = world.buy(ANNA, 1, 10);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(has(&branch, ANNA, USD), (90, 10));
    assert_eq!(has(&branch, BERT, USD), (0, 0));
    assert_eq!(open(&branch, order), Some(1), "its id is still the sequence that placed it");
}

#[test]
fn rule_1_time_passes_at_a_tombstone() {
    let mut world = World::new();
    let (airdrop, _) = world.open_airdrop(USD, &[(ANNA, 50)], 10);
    world.execute_airdrop(airdrop);
    world.deposit(BERT, USD, 5);
    world.wait(20);
    // The lock ends at what will be a tombstone; the transfer that follows at the same time needs it.
    let bad = world.transfer(BERT, CARL, USD, 5);
    world.transfer(ANNA, DORA, USD, 50);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(has(&branch, ANNA, USD), (0, 0));
    assert_eq!(has(&branch, DORA, USD), (50, 0));
}

#[test]
fn rule_2_another_command_happens_instead() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bad = world.transfer(ANNA, BERT, USD, 40);
    let strategy = Strategy::Excise(replaces(bad, transfer(ANNA, CARL, USD, 4)));
    let branch = world.branch(&strategy).exchange;
    assert_eq!([ANNA, BERT, CARL].map(|account| has(&branch, account, USD).0), [96, 0, 4]);
}

#[test]
fn rule_2_one_that_is_refused_refuses_the_plan() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bad = world.transfer(ANNA, BERT, USD, 40);
    let error = world.fails(&Strategy::Excise(replaces(bad, transfer(ANNA, CARL, USD, 101))));
    let BranchError::ReplacementRefused { sequence, reason } = error else { panic!("{error}") };
    assert_eq!((sequence, reason), (bad, RejectReason::InsufficientAvailable));
}

#[test]
fn rule_2_what_the_replaced_command_closed_is_not_closed_again() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let (kept, other) = (world.buy(ANNA, 1, 10), world.buy(ANNA, 1, 11));
    let bad = world.cancel(ANNA, kept);
    let branch = world.branch(&Strategy::Excise(replaces(bad, Command::CancelOrder { account: ANNA, order: other })));
    assert_eq!((open(&branch.exchange, kept), open(&branch.exchange, other)), (Some(1), None));
}

#[test]
fn rule_1_a_dropped_cancel_leaves_the_order_open() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let order = world.buy(ANNA, 1, 10);
    let single = world.cancel(ANNA, order);
    assert_eq!(open(&world.excise(&[single]).exchange, order), Some(1));

    let (first, second) = (world.buy(ANNA, 1, 10), world.buy(ANNA, 2, 10));
    for mass in [Command::CancelAllOfAccount { account: ANNA }, Command::CancelAllOfMarket { market: MARKET }] {
        let mut world = world.clone();
        let mass = world.done(mass);
        let branch = world.excise(&[mass]);
        assert_eq!(queue(&branch.exchange, Side::Buy), [first, second]);
    }
}

#[test]
fn rule_3_facts_happen_whatever_else_does_not() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bad = world.transfer(ANNA, BERT, USD, 40);
    world.deposit(BERT, BTC, 7);
    world.done(Command::SuspendAccount { account: BERT });
    world.done(Command::SetMarketFees { market: MARKET, maker_rate: FeeRate(1), taker_rate: FeeRate(2) });
    world.set_status(TradingStatus::CancelOnly);
    world.fund_treasury(ETH, 9);
    world.done(Command::AttestReserves { asset: ETH, amount: Amount(10) });
    world.done(Command::SetPayoutVelocity { asset: ETH, amount_max: Amount(3), window_seconds: 60 });
    world.done(Command::SetAirdropLimits {
        asset: ETH,
        recipient_max: Amount(1),
        airdrop_max: Amount(2),
        day_max: Amount(3),
    });
    let branch = world.excise(&[bad]);
    let (parent, branch) = (branch.parent, branch.exchange);
    assert_eq!(has(&branch, BERT, BTC), (7, 0));
    assert!(branch.account(BERT).unwrap().suspended);
    assert_eq!(branch.markets().collect::<Vec<_>>(), parent.markets().collect::<Vec<_>>());
    assert_eq!(branch.system_balances(ETH), parent.system_balances(ETH));
    assert_eq!(branch.attested_reserves(ETH), Some(Amount(10)));
    assert_eq!(branch.payout_velocity(ETH), parent.payout_velocity(ETH));
    assert_eq!(branch.airdrop_limits(ETH), parent.airdrop_limits(ETH));
    assert_eq!(branch.global_status(), TradingStatus::Frozen);
}

#[test]
fn rule_3_a_fact_that_was_refused_is_a_tombstone() {
    let mut world = World::new();
    let external_id = ExternalId::from_u128(99);
    let deposit = |amount| Command::Deposit { account: ANNA, asset: USD, amount: Amount(amount), external_id };
    let bad = world.done(deposit(100));
    world.refused(RejectReason::DuplicateExternalId, deposit(10));
    let branch = world.branch(&Strategy::Excise(drops_fact(bad)));
    assert_eq!(has(&branch.exchange, ANNA, USD), (0, 0), "the second would be taken, but it was refused");
}

#[test]
fn rule_4_what_was_refused_stays_void() {
    let mut world = World::new();
    world.deposit(ANNA, USD, 100);
    let bad = world.transfer(ANNA, BERT, USD, 100);
    // On the branch all of these would be covered, and the order is there to be reduced.
    world.refused(RejectReason::InsufficientAvailable, transfer(ANNA, CARL, USD, 1));
    let buying = limit(ANNA, Side::Buy, LimitType::GoodTillCancel, 1, 1);
    world.refused(RejectReason::InsufficientAvailable, buying);
    let request = Command::RequestWithdrawal { account: ANNA, asset: USD, amount: Amount(1) };
    world.refused(RejectReason::InsufficientAvailable, request);
    let branch = world.excise(&[bad]);
    assert_eq!(has(&branch.exchange, ANNA, USD), (100, 0));
    assert!(branch.refused.is_empty(), "a tombstone is no refusal: {:?}", branch.refused);
}

#[test]
fn rule_4_a_cancel_that_came_too_late_is_in_time_on_the_branch() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 10);
    world.deposit(BERT, USD, 1_000);
    let by_id = world.sell(ANNA, 3, 10);
    let by_name = OrderId(world.done(named(ANNA, Side::Sell, LimitType::GoodTillCancel, 4, 10, 77)).0);
    let reduced = world.sell(ANNA, 3, 10);
    let bad = world.done(Command::PlaceMarketBuy {
        account: BERT,
        market: MARKET,
        budget: Amount(1_000),
        client_order_id: ClientOrderId(0),
    });
    assert_eq!(world.fills(), 3);
    world.refused(RejectReason::OrderNotFound, Command::CancelOrder { account: ANNA, order: by_id });
    let name = ClientOrderId(77);
    world.refused(RejectReason::OrderNotFound, Command::CancelByClientOrderId { account: ANNA, client_order_id: name });
    let reduction = Command::ReduceOrder { account: ANNA, order: reduced, quantity: Quantity(1) };
    world.refused(RejectReason::OrderNotFound, reduction);
    // Somebody else's cancel is refused on the branch as it was.
    world.refused(RejectReason::OrderNotFound, Command::CancelOrder { account: CARL, order: reduced });

    let branch = world.excise(&[bad]);
    assert_eq!([by_id, by_name, reduced].map(|order| open(&branch.exchange, order)), [None, None, Some(3)]);
    assert_eq!(has(&branch.exchange, ANNA, BTC), (7, 3));
    assert_eq!(branch.busted.len(), 3);
    assert!(branch.new_fills.is_empty());
}

#[test]
fn rule_4_an_order_that_found_nothing_finds_nothing() {
    // The bad transfer takes what Anna sells with, so that on the branch there is something to find.
    for (limit_type, reason) in
        [(LimitType::ImmediateOrCancel, None), (LimitType::FillOrKill, Some(RejectReason::NotFillable))]
    {
        let mut world = World::new();
        world.deposit(ANNA, BTC, 5);
        world.deposit(BERT, USD, 100);
        let bad = world.done(limit(ANNA, Side::Sell, LimitType::GoodTillCancel, 5, 10));
        let order = OrderId(bad.0);
        let cancelled = world.cancel(ANNA, order);
        let command = limit(BERT, Side::Buy, limit_type, 5, 10);
        match reason {
            Some(reason) => world.refused(reason, command),
            None => world.done(command),
        };
        let budget = Amount(50);
        world.done(Command::PlaceMarketBuy {
            account: BERT,
            market: MARKET,
            budget,
            client_order_id: ClientOrderId(0),
        });
        let branch = world.excise(&[cancelled]);
        assert_eq!(open(&branch.exchange, order), Some(5));
        assert_eq!(has(&branch.exchange, BERT, USD), (100, 0));
        assert!(branch.new_fills.is_empty());
    }
}

#[test]
fn rule_4_an_order_stopped_at_once_by_its_own_counts_as_refused() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(ANNA, USD, 100);
    let resting = world.sell(ANNA, 5, 10);
    let bad = world.transfer(ANNA, BERT, USD, 20);
    let stopped = world.buy(ANNA, 1, 10);
    let branch = world.excise(&[bad]);
    assert_eq!((open(&branch.exchange, resting), open(&branch.exchange, stopped)), (Some(5), None));
    assert_eq!(has(&branch.exchange, ANNA, USD), (100, 0));
}

#[test]
fn rule_4_one_with_a_fill_is_applied() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(CARL, BTC, 5);
    world.deposit(BERT, USD, 100);
    let bad = world.done(limit(ANNA, Side::Sell, LimitType::GoodTillCancel, 1, 10));
    world.sell(CARL, 2, 11);
    world.done(limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 3, 11));
    assert_eq!(world.fills(), 2);
    let branch = world.excise(&[bad]);
    assert_eq!(has(&branch.exchange, BERT, BTC), (2, 0));
    assert_eq!(has(&branch.exchange, BERT, USD), (78, 0));
    assert_eq!(branch.busted.len(), 1, "the one with Carl stands");
}

#[test]
fn rule_5_everything_else_may_be_refused_on_the_branch() {
    let mut world = World::new();
    let bad = world.airdrop(USD, &[(ANNA, 1_000)]);
    world.deposit(BERT, BTC, 5);
    let bid = world.buy(ANNA, 5, 10);
    let ask = world.sell(BERT, 5, 10);
    world.transfer(ANNA, CARL, USD, 950);
    world.transfer(CARL, DORA, USD, 950);
    let branch = world.excise(&[bad]);
    assert_eq!((open(&branch.exchange, bid), open(&branch.exchange, ask)), (None, Some(5)));
    assert_eq!(branch.refused.get(&RejectReason::InsufficientAvailable), Some(&3));
    assert_eq!(branch.busted.len(), 1);
    for account in [ANNA, CARL, DORA] {
        assert_eq!(has(&branch.exchange, account, USD), (0, 0));
    }
    assert_eq!(system(&branch.exchange, AccountId::UNBACKED, USD), 0);
}

#[test]
fn rule_5_orders_match_again() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(BERT, USD, 100);
    world.deposit(DORA, BTC, 5);
    world.deposit(CARL, USD, 100);
    let bad = world.done(limit(BERT, Side::Buy, LimitType::GoodTillCancel, 5, 10));
    world.buy(CARL, 5, 9);
    let ask = world.sell(ANNA, 5, 9);
    assert_eq!(world.fills(), 1);
    let branch = world.excise(&[bad]);
    assert_eq!(has(&branch.exchange, CARL, BTC), (5, 0));
    assert_eq!(has(&branch.exchange, ANNA, USD), (45, 0));
    let fill = |fill: &engine::recovery::BustedFill| (fill.taker, fill.maker_account, fill.price, fill.quantity);
    let (price, quantity) = (Price(10), Quantity(5));
    assert_eq!(branch.busted.iter().map(fill).collect::<Vec<_>>(), [(ask, BERT, price, quantity)]);
    assert_eq!(branch.new_fills.iter().map(fill).collect::<Vec<_>>(), [(ask, CARL, Price(9), quantity)]);
}

#[test]
fn rule_5_a_post_only_refused_on_the_branch_stands_refused() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(BERT, USD, 100);
    let resting = world.sell(ANNA, 5, 10);
    let bad = world.cancel(ANNA, resting);
    let post_only = world.done(limit(BERT, Side::Buy, LimitType::PostOnly, 1, 10));
    let branch = world.excise(&[bad]);
    assert_eq!(open(&branch.exchange, OrderId(post_only.0)), None);
    assert_eq!(branch.refused.get(&RejectReason::WouldTrade), Some(&1));
}

#[test]
fn rule_6_closures_other_than_by_fills_are_repeated() {
    // In the parent Anna's bid trades and then meets her own ask, which ends it. On the branch it meets neither.
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(ANNA, USD, 100);
    world.deposit(BERT, BTC, 5);
    let first = world.done(limit(BERT, Side::Sell, LimitType::GoodTillCancel, 1, 9));
    let own = world.done(limit(ANNA, Side::Sell, LimitType::GoodTillCancel, 1, 10));
    let bid = world.buy(ANNA, 3, 10);
    assert_eq!(open(&world.exchange, bid), None);
    // What comes later would trade with it.
    let late = world.sell(BERT, 1, 10);
    let branch = world.excise(&[first, own]);
    assert_eq!(open(&branch.exchange, bid), None, "the owner was told that it is cancelled");
    assert_eq!(open(&branch.exchange, late), Some(1));
    assert_eq!(has(&branch.exchange, ANNA, USD), (100, 0));
}

#[test]
fn rule_6_a_mass_cancel_takes_all_that_it_matches_on_the_branch() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(BERT, USD, 100);
    let filled = world.sell(ANNA, 2, 10);
    let bad = world.done(limit(BERT, Side::Buy, LimitType::GoodTillCancel, 2, 10));
    world.done(Command::CancelAllOfAccount { account: ANNA });
    let branch = world.excise(&[bad]);
    assert_eq!(open(&branch.exchange, filled), None);
    assert_eq!(has(&branch.exchange, ANNA, BTC), (5, 0));
}

#[test]
fn rule_6_a_replacing_that_ended_in_its_own_order_ends_on_the_branch() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(ANNA, USD, 100);
    let own = world.done(limit(ANNA, Side::Sell, LimitType::GoodTillCancel, 1, 10));
    let bid = world.buy(ANNA, 1, 5);
    world.replace(ANNA, Side::Buy, bid, 1, 10);
    assert_eq!(open(&world.exchange, bid), None);
    let branch = world.excise(&[own]);
    assert_eq!(open(&branch.exchange, bid), None);
    assert_eq!(has(&branch.exchange, ANNA, USD), (100, 0));
}

#[test]
fn rule_6_so_are_those_of_an_auction_that_a_fact_ends() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(ANNA, USD, 100);
    world.set_status(TradingStatus::Auction);
    let own = world.done(limit(ANNA, Side::Sell, LimitType::GoodTillCancel, 1, 10));
    let bid = world.buy(ANNA, 1, 10);
    world.set_status(TradingStatus::Open);
    assert_eq!((open(&world.exchange, OrderId(own.0)), open(&world.exchange, bid)), (Some(1), None));
    let branch = world.excise(&[own]);
    assert_eq!(open(&branch.exchange, bid), None);
}

#[test]
fn an_auction_is_uncrossed_again() {
    let mut world = World::new();
    world.deposit(ANNA, BTC, 5);
    world.deposit(BERT, USD, 100);
    world.deposit(CARL, USD, 100);
    world.set_status(TradingStatus::Auction);
    world.sell(ANNA, 2, 8);
    let bad = world.done(limit(BERT, Side::Buy, LimitType::GoodTillCancel, 2, 12));
    world.buy(CARL, 2, 10);
    let opened = world.set_status(TradingStatus::Open);
    let branch = world.excise(&[bad]);
    assert_eq!(has(&branch.exchange, CARL, BTC), (2, 0));
    assert_eq!(has(&branch.exchange, BERT, USD), (100, 0));
    assert!(branch.busted.iter().chain(&branch.new_fills).all(|fill| fill.sequence == opened));
}

#[test]
fn fills_are_compared_as_often_as_they_happened() {
    // Two sweeps of one command, through makers with the same price and quantity.
    let mut world = World::new();
    world.deposit(ANNA, BTC, 9);
    world.deposit(BERT, USD, 1_000);
    let makers: Vec<_> = (0..3).map(|_| world.sell(ANNA, 1, 10)).collect();
    world.done(limit(BERT, Side::Buy, LimitType::ImmediateOrCancel, 2, 10));
    let branch = world.excise(&[Sequence(makers[0].0)]);
    assert_eq!(branch.busted.iter().map(|fill| fill.maker).collect::<Vec<_>>(), [makers[0]]);
    assert_eq!(branch.new_fills.iter().map(|fill| fill.maker).collect::<Vec<_>>(), [makers[2]]);
}

#[test]
fn a_lock_of_a_dropped_airdrop_is_none() {
    let mut world = World::new();
    let (airdrop, _) = world.open_airdrop(USD, &[(ANNA, 50)], 1_000);
    let bad = world.execute_airdrop(airdrop);
    let branch = world.excise(&[bad]).exchange;
    assert_eq!(has(&branch, ANNA, USD), (0, 0));
    assert_eq!(branch.next_timer(), None);
    // It may be paid later: its manifest is still there.
    assert_eq!(branch.airdrop(airdrop).unwrap().lines.len(), 1);
}

#[test]
fn a_fact_that_needs_what_was_dropped_is_named() {
    let mut world = World::new();
    let bad = world.done(Command::CreateAccount { account: AccountId(77) });
    let deposit = world.deposit(AccountId(77), USD, 5);
    let error = world.fails(&Strategy::Excise(drops_fact(bad)));
    let BranchError::FactRefused { sequence, reason, .. } = error else { panic!("{error}") };
    assert_eq!((sequence, reason), (deposit, RejectReason::UnknownAccount));
}
