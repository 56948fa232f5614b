//! Thousands of random books, uncrossed by the engine and by the naive model side by side.

use super::{random::Random, *};

/// What the random books have in common.
struct Shape {
    markets: u64,
    accounts: u64,
    lowest: u64,
    prices: u64,
    largest: u64,
}

/// What came up, so that a test that no longer reaches something is noticed.
#[derive(Default)]
struct Seen {
    auctions: u64,
    /// A second auction of one market in one command.
    again: u64,
    self_trades: u64,
    /// Prices at which nobody had an order.
    between: u64,
    rebates: u64,
    carried: u64,
    post_only: u64,
    most_fills: usize,
    refusals: BTreeMap<&'static str, BTreeSet<RejectReason>>,
}

impl Seen {
    fn look(&mut self, both: &Both, command: &Command, events: &[Event], before: &Naive) {
        let mut uncrossed = BTreeSet::new();
        let is_status = matches!(command, Command::SetMarketStatus { .. } | Command::SetGlobalStatus { .. });
        for event in events {
            match *event {
                Event::AuctionUncrossed { market, price, .. } => {
                    self.auctions += 1;
                    self.again += u64::from(!uncrossed.insert(market));
                    let at_price = |order: &naive::Order| order.market == market && order.price == price.0.into();
                    self.between += u64::from(!before.orders.iter().any(at_price));
                }
                Event::OrderCancelled { reason: CancelReason::SelfTrade, .. } if is_status => self.self_trades += 1,
                Event::Filled { taker, maker, taker_fee, maker_fee, .. } => {
                    self.rebates += u64::from(taker_fee < 0 || maker_fee < 0);
                    let of = |id: OrderId| before.orders.iter().find(|order| order.id == id.0);
                    self.carried += u64::from([of(taker), of(maker)].into_iter().flatten().any(is_carried));
                    let taker_is_post_only = of(taker).is_some_and(|order| order.post_only);
                    self.post_only += u64::from(is_status && taker_is_post_only);
                }
                Event::Refused { reason, .. } => {
                    let status = if let Command::PlaceLimit { market, .. }
                    | Command::ReplaceOrder { market, .. }
                    | Command::PlaceMarketBuy { market, .. }
                    | Command::PlaceMarketSell { market, .. } = command
                    {
                        both.naive.status(*market)
                    } else {
                        both.naive.global
                    };
                    let name = if status == TradingStatus::Auction { "auction" } else { "other" };
                    self.refusals.entry(name).or_default().insert(reason);
                }
                _ => {}
            }
        }
        if is_status {
            self.most_fills = self.most_fills.max(events.len());
        }
    }
}

fn random_command(both: &Both, random: &mut Random, shape: &Shape) -> Command {
    let market = if random.below(shape.markets) == 0 { BTC_USD } else { ETH_BTC };
    let account = AccountId(1 + random.below(shape.accounts) as u32);
    let side = if random.one_in(2) { Side::Buy } else { Side::Sell };
    let price = Price(shape.lowest + random.below(shape.prices));
    // Some that nobody can pay.
    let quantity = Quantity((1 + random.below(shape.largest)) * if random.one_in(40) { 100_000 } else { 1 });
    let orders = &both.naive.orders;
    let existing = (!orders.is_empty()).then(|| random.pick(orders));
    let order = existing.map_or(OrderId(1), |order| OrderId(order.id));
    let owner = existing.filter(|_| !random.one_in(20)).map_or(account, |order| order.account);
    match random.below(300) {
        0..195 => {
            let limit_type = match random.below(12) {
                0..8 => LimitType::GoodTillCancel,
                8..10 => LimitType::PostOnly,
                10 => LimitType::ImmediateOrCancel,
                _ => LimitType::FillOrKill,
            };
            let client_order_id = ClientOrderId(random.below(8).saturating_sub(3));
            Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id }
        }
        195..204 if both.naive.status(market) != TradingStatus::Open => {
            let client_order_id = ClientOrderId(random.below(4));
            if random.one_in(2) {
                Command::PlaceMarketBuy { account, market, budget: Amount(quantity.0), client_order_id }
            } else {
                Command::PlaceMarketSell { account, market, quantity, client_order_id }
            }
        }
        204..220 => Command::CancelOrder { account: owner, order },
        220..242 => Command::ReduceOrder { account: owner, order, quantity },
        242..290 => {
            let market = existing.filter(|_| !random.one_in(20)).map_or(market, |order| order.market);
            let side = existing.filter(|_| !random.one_in(20)).map_or(side, |order| order.side);
            // Often at its own price, and often less of it.
            let own = existing.filter(|_| random.one_in(3));
            let price = own.map_or(price, |order| Price(u64::try_from(order.price).expect("a price")));
            Command::ReplaceOrder { account: owner, market, side, order, price, quantity }
        }
        290 => Command::CancelAllOfAccount { account },
        291 => Command::CancelAllOfMarket { market },
        292..297 => {
            let (maker_rate, taker_rate) = random_rates(random);
            let (maker_rate, taker_rate) = rates(maker_rate, taker_rate);
            Command::SetMarketFees { market, maker_rate, taker_rate }
        }
        _ => {
            let status = random.pick(&[TradingStatus::Auction, TradingStatus::CancelOnly, TradingStatus::Frozen]);
            Command::SetMarketStatus { market, status }
        }
    }
}

fn random_rates(random: &mut Random) -> (i128, i128) {
    random.pick(&[(0, 0), (100, 200), (-100, 200), (300, -300), (10_000, 10_000), (-7, 7), (33, 0), (0, 1_234)])
}

fn run_book(seed: u64, seen: &mut Seen) {
    let mut random = Random::new(seed);
    let (maker_rate, taker_rate) = random_rates(&mut random);
    let (lot_size, tick_value) = (1 + random.below(3), 1 + random.below(70));
    let is_large = seed.is_multiple_of(1_000);
    let funds = if is_large { 1 << 40 } else { random.pick(&[1_000, 50_000, 100_000_000]) };
    let mut both = Both::new(funds, lot_size, tick_value, maker_rate, taker_rate);
    let shape = Shape {
        markets: 1 + random.below(2),
        accounts: 2 + random.below(3),
        lowest: 1 + random.below(3) * 60,
        prices: if is_large { 150 } else { random.pick(&[1, 2, 3, 5, 8, 20, 60]) },
        largest: random.pick(&[1, 3, 10, 40]),
    };
    let mut run = |both: &mut Both, command: Command| {
        let before = both.naive.clone();
        let events = both.run(command);
        seen.look(both, &command, &events, &before);
    };
    for _ in 0..1 + random.below(3) {
        let closed = TradingStatus::Auction;
        let by_market = random.one_in(2);
        let close = if by_market { status(BTC_USD, closed) } else { Command::SetGlobalStatus { status: closed } };
        run(&mut both, close);
        for _ in 0..if is_large { 400 } else { random.pick(&[3, 8, 25, 60, 120]) } {
            let command = random_command(&both, &mut random, &shape);
            run(&mut both, command);
            if random.one_in(30) {
                // Only states of version 2 have room for them.
                let orders = if canonical(&both.exchange)[0] == 1 { &[][..] } else { &both.naive.orders[..] };
                for id in orders.iter().map(|order| order.id).collect::<Vec<_>>() {
                    let carry = |random: &mut Random| i128::from(random.below(61)) - 30;
                    let (taker, maker) = (carry(&mut random), carry(&mut random));
                    let large = if random.one_in(10) { 100 } else { 1 };
                    match random.below(4) {
                        0 => _ = both.naive.carry(id, taker * large, 0),
                        1 => _ = both.naive.carry(id, 0, maker * large),
                        2 => _ = both.naive.carry(id, taker * large, maker),
                        _ => {}
                    }
                }
                both.restore();
            }
        }
        // Open at last, with detours.
        let mut opening = vec![
            status(BTC_USD, TradingStatus::Open),
            status(ETH_BTC, TradingStatus::Open),
            Command::SetGlobalStatus { status: TradingStatus::Open },
        ];
        if random.one_in(3) {
            let status = random.pick(&[TradingStatus::CancelOnly, TradingStatus::Frozen, TradingStatus::Halted]);
            run(&mut both, Command::SetGlobalStatus { status });
            let command = random_command(&both, &mut random, &shape);
            run(&mut both, command);
            // What is frozen takes no market's status.
            run(&mut both, opening[2]);
        }
        while !opening.is_empty() {
            let at = random.below(opening.len() as u64) as usize;
            run(&mut both, opening.swap_remove(at));
        }
        for _ in 0..random.below(15) {
            let command = random_command(&both, &mut random, &shape);
            run(&mut both, command);
        }
    }
}

#[test]
fn random_books() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let mut seen = Seen::default();
    for seed in 1..=if slow { 40_000 } else { 3_000 } {
        let _on_panic = OnPanic(seed);
        run_book(seed, &mut seen);
    }
    let Seen { auctions, again, self_trades, between, rebates, carried, post_only, most_fills, ref refusals } = seen;
    println!(
        "{auctions} auctions, {again} repeated, {between} between prices; {self_trades} self trades, {rebates} rebates, \
         {carried} fills of carried fees, {post_only} post-only takers; at most {most_fills} events"
    );
    for (what, count) in [
        ("auctions", auctions),
        ("repeated", again),
        ("self trades", self_trades),
        ("between", between),
        ("rebates", rebates),
        ("carried", carried),
        ("post-only", post_only),
    ] {
        assert!(count >= 100, "{what}: {count}");
    }
    let in_auction = Vec::from_iter(refusals["auction"].iter().copied());
    assert_eq!(
        in_auction,
        [
            RejectReason::InvalidStatus,
            RejectReason::InsufficientAvailable,
            RejectReason::OrderNotFound,
            RejectReason::OrderMismatch,
            RejectReason::DuplicateClientOrderId,
            RejectReason::MarketInAuction,
        ]
    );
}

struct OnPanic(u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("book {}", self.0);
        }
    }
}
