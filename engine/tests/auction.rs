//! Call auctions against a naive model of them: thousands of random books, and each rule of the price by hand.
//!
//! After every command the events, the balances, the books, what the exchange has earned and what the auction would come to are
//! compared, and the engine's invariants checked. In between the engine goes on from its own bytes, with fees carried as
//! a recovery leaves them. In the ordinary run 3,000 books; with `RUN_SLOW_TESTS` set, 40,000.

#[path = "auction/naive.rs"]
mod naive;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "model/random.rs"]
mod random;
#[path = "auction/random_books.rs"]
mod random_books;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::{
    command::Command,
    event::{CancelReason, Event, RejectReason},
    exchange::{Balance, Exchange, Indicative},
    types::{
        AccountId, Amount, AssetId, ClientOrderId, ExternalId, LimitType, MarketId, OrderId, Price, Quantity, Sequence,
        Side, Timestamp, TradingStatus,
    },
};
use naive::{Auction, Market, Naive, rates};

const BTC: AssetId = AssetId(0);
const USD: AssetId = AssetId(1);
const ETH: AssetId = AssetId(2);
const ASSETS: [AssetId; 3] = [BTC, USD, ETH];

const BTC_USD: MarketId = MarketId(3);
/// What one market pays is what the other pays with.
const ETH_BTC: MarketId = MarketId(67);

const ANN: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);
const CAT: AccountId = AccountId(3);
const DAN: AccountId = AccountId(4);

/// The engine and the naive model, side by side.
#[derive(Clone)]
struct Both {
    exchange: Exchange,
    naive: Naive,
    sequence: u64,
    /// The last commands, to be printed when something differs.
    trail: VecDeque<(u64, Command)>,
}

impl Both {
    /// Four accounts with this much of everything, and two markets of these lot sizes, tick values and rates.
    fn new(funds: u64, lot_size: u64, tick_value: u64, maker_rate: i128, taker_rate: i128) -> Self {
        let mut both =
            Self { exchange: Exchange::new(), naive: Naive::new(), sequence: 0, trail: VecDeque::with_capacity(60) };
        for (asset, symbol) in ASSETS.into_iter().zip(["BTC", "USD", "ETH"]) {
            both.set_up(Command::AddAsset { asset, symbol: symbol.parse().expect("a symbol"), scale: 2 });
        }
        for account in [ANN, BOB, CAT, DAN] {
            both.set_up(Command::CreateAccount { account });
            for asset in ASSETS {
                let external_id = ExternalId::from_u128(both.sequence.into());
                both.set_up(Command::Deposit { account, asset, amount: Amount(funds), external_id });
                both.naive.balances.insert((account, asset), (funds.into(), 0));
            }
        }
        for (market, base, quote) in [(BTC_USD, BTC, USD), (ETH_BTC, ETH, BTC)] {
            let (maker, taker) = rates(maker_rate, taker_rate);
            both.set_up(Command::AddMarket {
                market,
                base,
                quote,
                lot_size: Amount(lot_size),
                tick_value: Amount(tick_value),
                maker_rate: maker,
                taker_rate: taker,
            });
            let (lot_size, tick_value, status) = (lot_size.into(), tick_value.into(), TradingStatus::Open);
            both.naive
                .markets
                .insert(market, Market { base, quote, lot_size, tick_value, maker_rate, taker_rate, status });
        }
        both
    }

    /// Without fees, and with enough of everything; the first market is in auction.
    fn in_auction() -> Self {
        let mut both = Self::new(1_000_000, 1, 1, 0, 0);
        both.run(status(BTC_USD, TradingStatus::Auction));
        both
    }

    /// What the naive model does not know of.
    fn set_up(&mut self, command: Command) {
        self.sequence += 1;
        let mut events = Vec::<Event>::new();
        self.exchange.apply(Sequence(self.sequence), Timestamp(self.sequence), &command, &mut events);
        assert!(!matches!(events[..], [Event::Refused { .. }]), "{events:?}");
    }

    /// Runs a command through both, and compares all there is to see.
    fn run(&mut self, command: Command) -> Vec<Event> {
        self.sequence += 1;
        if self.trail.len() == 60 {
            self.trail.pop_front();
        }
        self.trail.push_back((self.sequence, command));
        let expected = self.naive.apply(self.sequence, &command);
        let mut events = Vec::<Event>::new();
        self.exchange.apply(Sequence(self.sequence), Timestamp(self.sequence), &command, &mut events);
        assert!(events == expected, "{}: {command:?}\nnaive:  {expected:#?}\nengine: {events:#?}", self.sequence);
        check_auctions(&events);
        self.compare();
        events
    }

    fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        let balances = self.exchange.account(account).expect("an account").balances;
        balances.iter().find(|(found, _)| *found == asset).map_or(Balance::default(), |(_, balance)| *balance)
    }

    fn compare(&self) {
        if let Err(broken) = self.exchange.check_invariants() {
            panic!("{}: invariant broken: {broken}", self.sequence);
        }
        for account in [ANN, BOB, CAT, DAN] {
            for asset in ASSETS {
                let balance = self.balance(account, asset);
                let found = (i128::from(balance.available.0), i128::from(balance.held.0));
                assert_eq!(found, self.naive.balance(account, asset), "{}: {account} of {asset}", self.sequence);
            }
        }
        for asset in ASSETS {
            let earned = self.naive.fees.get(&asset).copied().unwrap_or_default();
            assert_eq!(self.exchange.system_balances(asset).expect("an asset")[1], earned, "{}", self.sequence);
        }
        for market in [BTC_USD, ETH_BTC] {
            for side in [Side::Buy, Side::Sell] {
                let found = self.exchange.queue(market, side);
                let found = found.map(|order| (order.order.0, i128::from(order.price.0), i128::from(order.quantity.0)));
                let expected = self.naive.queue(market, side);
                let expected = expected.iter().map(|order| (order.id, order.price, order.open));
                assert!(found.eq(expected), "{}: the {side} side of {market}", self.sequence);
            }
            let found = self.exchange.indicative(market).map(|Indicative { price, quantity, imbalance }| Auction {
                price: price.0.into(),
                quantity: quantity.0.into(),
                imbalance: imbalance.into(),
            });
            assert_eq!(found, self.naive.auction(market), "{}: {market}", self.sequence);
        }
    }

    fn place(&mut self, account: AccountId, side: Side, quantity: u64, price: u64) -> OrderId {
        let events = self.run(limit(BTC_USD, account, side, LimitType::GoodTillCancel, quantity, price));
        assert!(matches!(events[0], Event::OrderAccepted { .. }), "{events:?}");
        OrderId(self.sequence)
    }

    fn buy(&mut self, account: AccountId, quantity: u64, price: u64) -> OrderId {
        self.place(account, Side::Buy, quantity, price)
    }

    fn sell(&mut self, account: AccountId, quantity: u64, price: u64) -> OrderId {
        self.place(account, Side::Sell, quantity, price)
    }

    /// Opens the market; what follows the status event, told shortly.
    fn open(&mut self) -> Vec<Told> {
        let events = self.run(status(BTC_USD, TradingStatus::Open));
        assert!(matches!(events[0], Event::MarketStatusSet { .. }));
        told(&events[1..])
    }

    /// The engine goes on from its bytes, with the carried fees of the naive model.
    fn restore(&mut self) {
        let bytes = self.bytes_with_carries();
        let seed = self.sequence;
        self.exchange = Exchange::from_canonical_state(&bytes, Sequence(self.sequence), seed).expect("a sound state");
        assert!(canonical(&self.exchange) == bytes);
        self.compare();
    }

    /// The engine's bytes, but with the balances and the carried fees of the naive model.
    fn bytes_with_carries(&self) -> Vec<u8> {
        let mut bytes = canonical(&self.exchange);
        if bytes[..4] == 1_u32.to_le_bytes() {
            return bytes;
        }
        let count = |bytes: &[u8], at: usize| {
            usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))).expect("a count")
        };
        // Version and status; assets; markets.
        let mut at = 5;
        at += 8 + count(&bytes, at) * 95;
        at += 8 + count(&bytes, at) * 27;
        let accounts = count(&bytes, at);
        at += 8;
        for _ in 0..accounts {
            let account = AccountId(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")));
            let balances = count(&bytes, at + 5);
            at += 13;
            for _ in 0..balances {
                let asset = AssetId(u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes")));
                let (available, held) = self.naive.balance(account, asset);
                let write = |value: i128| u64::try_from(value).expect("an amount").to_le_bytes();
                bytes[at + 2..at + 10].copy_from_slice(&write(available));
                bytes[at + 10..at + 18].copy_from_slice(&write(held));
                at += 18;
            }
        }
        // External ids; withdrawals, of which there are none; two markets' books; and of version 2 the controls, and lists
        // of nothing but the last.
        at += 8 + count(&bytes, at) * 18;
        at += 8;
        for _ in 0..4 {
            at += 8 + count(&bytes, at) * 57;
        }
        at += 1 + 8 * 8;
        assert_eq!(bytes.len(), at + 8 + count(&bytes, at) * 24);
        bytes.truncate(at);
        let mut carried: Vec<_> = self.naive.orders.iter().filter(|order| is_carried(order)).collect();
        carried.sort_by_key(|order| order.id);
        bytes.extend((carried.len() as u64).to_le_bytes());
        for order in carried {
            bytes.extend(order.id.to_le_bytes());
            for carry in [order.taker_carry, order.maker_carry] {
                bytes.extend(i64::try_from(carry).expect("a carry").to_le_bytes());
            }
        }
        bytes
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (sequence, command) in &self.trail {
                eprintln!("  {sequence}: {command:?}");
            }
        }
    }
}

fn is_carried(order: &naive::Order) -> bool {
    (order.taker_carry, order.maker_carry) != (0, 0)
}

fn canonical(exchange: &Exchange) -> Vec<u8> {
    let mut bytes = Vec::new();
    exchange.canonical_state(&mut |chunk: &[u8]| bytes.extend_from_slice(chunk));
    bytes
}

fn status(market: MarketId, status: TradingStatus) -> Command {
    Command::SetMarketStatus { market, status }
}

fn limit(
    market: MarketId,
    account: AccountId,
    side: Side,
    limit_type: LimitType,
    quantity: u64,
    price: u64,
) -> Command {
    let (price, quantity, client_order_id) = (Price(price), Quantity(quantity), ClientOrderId(0));
    Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id }
}

fn replace(account: AccountId, side: Side, order: OrderId, quantity: u64, price: u64) -> Command {
    let (market, price, quantity) = (BTC_USD, Price(price), Quantity(quantity));
    Command::ReplaceOrder { account, market, side, order, price, quantity }
}

/// Looks at the events of a command alone: what trades in an auction trades at its price, and as much as was told unless an
/// account met itself.
fn check_auctions(events: &[Event]) {
    let auctions = events.iter().enumerate().filter_map(|(at, event)| match event {
        Event::AuctionUncrossed { price, quantity, .. } => Some((at, *price, *quantity)),
        _ => None,
    });
    for (at, told_price, told_quantity) in auctions {
        let (mut traded, mut cancelled) = (0, false);
        for event in events[at + 1..].iter().take_while(|event| !matches!(event, Event::AuctionUncrossed { .. })) {
            match event {
                Event::Filled { price, quantity, taker, maker, taker_account, maker_account, .. } => {
                    assert_eq!(*price, told_price);
                    assert!(taker > maker && taker_account != maker_account);
                    traded += quantity.0;
                }
                Event::OrderCancelled { reason, .. } => {
                    assert_eq!(*reason, CancelReason::SelfTrade);
                    cancelled = true;
                }
                other => panic!("{other:?} in an auction"),
            }
        }
        assert!(traded == told_quantity.0 || (cancelled && traded < told_quantity.0), "{events:?}");
    }
}

/// What an auction did, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Quantity and price.
    Uncrossed(u64, u64),
    /// Taker, maker and quantity.
    Fill(OrderId, OrderId, u64),
    SelfTrade(OrderId, u64),
}

fn told(events: &[Event]) -> Vec<Told> {
    let told = events.iter().map(|event| match *event {
        Event::AuctionUncrossed { price, quantity, .. } => Told::Uncrossed(quantity.0, price.0),
        Event::Filled { taker, maker, quantity, .. } => Told::Fill(taker, maker, quantity.0),
        Event::OrderCancelled { order, reason: CancelReason::SelfTrade, quantity, .. } => {
            Told::SelfTrade(order, quantity.0)
        }
        other => panic!("{other:?}"),
    });
    told.collect()
}

/// Quantities and prices of bids and of asks, and the price, quantity and imbalance they come to.
type PriceCase<'a> = (&'a str, &'a [(u64, u64)], &'a [(u64, u64)], Option<(u64, u64, i64)>);

#[test]
fn each_rule_of_the_price() {
    let cases: [PriceCase<'_>; 20] = [
        ("nothing", &[], &[], None),
        ("bids alone", &[(5, 10)], &[], None),
        ("asks alone", &[], &[(5, 10)], None),
        ("not crossed", &[(5, 9)], &[(5, 10)], None),
        ("touching", &[(5, 10)], &[(5, 10)], Some((10, 5, 0))),
        // 10 trades 5, 9 trades 8.
        ("the most trades", &[(5, 10), (5, 9)], &[(8, 9)], Some((9, 8, 2))),
        ("the most trades, though it leaves more", &[(5, 10), (50, 8)], &[(5, 8), (1, 7)], Some((8, 6, 49))),
        // At 8 and 10 as much trades; at 8 two are left, at 10 five.
        ("the least is left", &[(10, 10)], &[(12, 8), (3, 10)], Some((8, 10, -2))),
        ("of bids left, the highest", &[(9, 10), (1, 4)], &[(4, 6), (1, 20)], Some((10, 4, 5))),
        ("of bids left, the highest in the book", &[(9, 10)], &[(4, 3), (4, 12)], Some((10, 4, 5))),
        ("of asks left, the lowest", &[(4, 10)], &[(9, 6)], Some((6, 4, -5))),
        ("of asks left, the lowest in the book", &[(4, 10), (2, 2)], &[(9, 3)], Some((3, 4, -5))),
        ("nothing left, the midpoint", &[(9, 10)], &[(9, 6)], Some((8, 9, 0))),
        ("nothing left, the midpoint rounded down", &[(9, 11)], &[(9, 6)], Some((8, 9, 0))),
        ("nothing left, the midpoint of three prices", &[(4, 20), (5, 12)], &[(9, 5)], Some((8, 9, 0))),
        ("next to each other", &[(9, 7)], &[(9, 6)], Some((6, 9, 0))),
        // At 4 five bids are left, at 6 five asks, and between them nothing.
        ("left on either side, the midpoint", &[(10, 6), (5, 4)], &[(10, 4), (5, 6)], Some((5, 10, 0))),
        // At 4 five bids are left, at 5 five asks: there is nothing between them.
        ("left on either side, next to each other", &[(10, 5), (5, 4)], &[(10, 4), (5, 5)], Some((4, 10, 5))),
        // At 4, 5 and 6 as much trades: at 4 four are left, at 5 two, at 6 three.
        ("the least is left in the middle", &[(10, 6), (2, 5), (2, 4)], &[(10, 4), (3, 6)], Some((5, 10, 2))),
        ("levels outside count nothing", &[(5, 10), (99, 2)], &[(5, 8), (99, 12)], Some((9, 5, 0))),
    ];
    for (name, bids, asks, expected) in cases {
        // The order in which they come is no part of it.
        for asks_first in [false, true] {
            let mut both = Both::in_auction();
            let mut sides = [(Side::Buy, bids), (Side::Sell, asks)];
            if asks_first {
                sides.reverse();
            }
            for (side, orders) in sides {
                for &(quantity, price) in orders {
                    // Two accounts, so that nobody meets itself.
                    both.place(if side == Side::Buy { ANN } else { BOB }, side, quantity, price);
                }
            }
            let indicative = both.exchange.indicative(BTC_USD);
            let found = indicative.map(|found| (found.price.0, found.quantity.0, found.imbalance));
            assert_eq!(found, expected, "{name}");
            let auctions = both.open();
            match found {
                None => assert_eq!(auctions, [], "{name}"),
                Some((price, quantity, _)) => {
                    assert_eq!(auctions[0], Told::Uncrossed(quantity, price), "{name}");
                    let again = auctions[1..].iter().any(|told| matches!(told, Told::Uncrossed(..)));
                    assert!(!again, "{name}: once is enough");
                }
            }
            assert_eq!(both.exchange.indicative(BTC_USD), None, "{name}");
        }
    }
}

#[test]
fn the_best_price_trades_first_and_at_a_price_the_oldest() {
    let mut both = Both::in_auction();
    let late = both.buy(ANN, 4, 10);
    let first = both.buy(BOB, 3, 11);
    let rationed = both.buy(CAT, 6, 10);
    let dear = both.sell(DAN, 5, 9);
    let cheap = both.sell(DAN, 4, 8);
    // 10 trades nine of thirteen, and so does 9: more bids than asks at both, so the higher.
    assert_eq!(
        both.open(),
        [
            Told::Uncrossed(9, 10),
            Told::Fill(cheap, first, 3),
            Told::Fill(cheap, late, 1),
            Told::Fill(dear, late, 3),
            Told::Fill(dear, rationed, 2),
        ]
    );
    assert_eq!(both.exchange.order(rationed).expect("it stands").quantity, Quantity(4));
}

#[test]
fn the_larger_id_takes_wherever_it_stands() {
    let mut both = Both::in_auction();
    let bid = both.buy(ANN, 5, 10);
    let ask = both.sell(BOB, 2, 10);
    let other = both.buy(CAT, 5, 10);
    // Behind the other now, with its old id.
    both.run(replace(ANN, Side::Buy, bid, 6, 10));
    assert_eq!(both.open(), [Told::Uncrossed(2, 10), Told::Fill(other, ask, 2)]);

    let mut both = Both::in_auction();
    let ask = both.sell(BOB, 8, 9);
    let bid = both.buy(ANN, 5, 9);
    both.run(replace(BOB, Side::Sell, ask, 8, 7));
    assert_eq!(both.open(), [Told::Uncrossed(5, 7), Told::Fill(bid, ask, 5)]);
}

#[test]
fn a_reduction_keeps_its_place_in_an_auction() {
    let mut both = Both::in_auction();
    let first = both.buy(ANN, 5, 10);
    both.buy(CAT, 5, 10);
    let ask = both.sell(BOB, 2, 10);
    both.run(Command::ReduceOrder { account: ANN, order: first, quantity: Quantity(3) });
    both.run(replace(ANN, Side::Buy, first, 2, 10));
    assert_eq!(both.open(), [Told::Uncrossed(2, 10), Told::Fill(ask, first, 2)]);
}

#[test]
fn of_an_account_that_meets_itself_the_newer_order_goes() {
    let mut both = Both::in_auction();
    let older = both.sell(ANN, 10, 5);
    let newer = both.buy(ANN, 10, 10);
    let low = both.buy(BOB, 3, 7);
    // First 10 trades ten and leaves nothing; without the bid there, 5 and 7 trade three and leave asks: the lower.
    assert_eq!(
        both.open(),
        [Told::Uncrossed(10, 10), Told::SelfTrade(newer, 10), Told::Uncrossed(3, 5), Told::Fill(low, older, 3)]
    );
    assert_eq!(both.exchange.order(older).expect("it stands").quantity, Quantity(7));

    // The newer one is the ask, and partly traded.
    let mut both = Both::in_auction();
    let first = both.buy(BOB, 2, 10);
    let own = both.buy(ANN, 5, 10);
    let last = both.buy(CAT, 5, 10);
    let newer = both.sell(ANN, 4, 10);
    let rest = both.sell(DAN, 1, 10);
    assert_eq!(
        both.open(),
        [Told::Uncrossed(5, 10), Told::Fill(newer, first, 2), Told::SelfTrade(newer, 2), Told::Fill(rest, own, 1)]
    );
    assert!(both.exchange.order(last).is_some());

    // Nothing but one account: all that is newer goes, and nothing trades.
    let mut both = Both::in_auction();
    let ids: Vec<_> = (0..4).map(|at| both.buy(ANN, 1, 10 - at)).collect();
    let ask = both.sell(ANN, 100, 1);
    assert_eq!(both.open(), [Told::Uncrossed(4, 1), Told::SelfTrade(ask, 100)]);
    assert!(ids.iter().all(|id| both.exchange.order(*id).is_some()));
}

#[test]
fn an_account_that_meets_itself_is_uncrossed_level_by_level() {
    let mut both = Both::in_auction();
    let ask = both.sell(ANN, 1, 1);
    let bids: Vec<_> = (1..=5).map(|price| both.buy(ANN, 1, price)).collect();
    let mut expected = Vec::new();
    for (bid, price) in bids.iter().rev().zip((1..=5).rev()) {
        // At the highest bid nothing is left; with the last one at 1 there is but one price.
        expected.extend([Told::Uncrossed(1, price), Told::SelfTrade(*bid, 1)]);
    }
    assert_eq!(both.open(), expected);
    assert!(both.exchange.order(ask).is_some());
}

#[test]
fn fees_are_those_of_taker_and_maker_and_the_better_price_is_released() {
    // A maker is paid 0.5 %, a taker pays 1 %.
    let mut both = Both::new(1_000_000, 1, 10, -500, 1_000);
    both.run(status(BTC_USD, TradingStatus::Auction));
    let bid = both.buy(ANN, 100, 50);
    let ask = both.sell(BOB, 60, 30);
    let late = both.buy(CAT, 10, 60);
    // 50 trades 60 of 110 bids; so do 30 and more: bids are left, so the highest price that trades as much.
    let events = both.run(status(BTC_USD, TradingStatus::Open));
    let fills: Vec<_> = events
        .iter()
        .filter_map(|event| match *event {
            Event::Filled { taker, maker, quantity, price, taker_fee, maker_fee, released, .. } => {
                Some((taker, maker, quantity.0, price.0, taker_fee, maker_fee, released.0))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        fills,
        [
            // The newer bid takes, pays 1 % of 5,000, and held 6,000 and 60.
            (late, ask, 10, 50, 50, -25, 1_010),
            // The older bid makes: 25,000 at its own price, and nothing is free before it is done.
            (ask, bid, 50, 50, 250, -125, 0),
        ]
    );
    let Event::OrderCancelled { released, .. } = both.run(Command::CancelOrder { account: ANN, order: bid })[0] else {
        panic!("it was open")
    };
    // It held 50,000 and 1 % of that, has paid 25,000, and no fee.
    assert_eq!(released, Amount(25_500));
}

#[test]
fn both_sides_pay_when_no_rate_is_negative_and_rounding_is_kept() {
    let mut both = Both::new(1_000_000, 1, 1, 333, 777);
    both.run(status(BTC_USD, TradingStatus::Auction));
    for (account, quantity, price) in [(ANN, 17, 91), (CAT, 23, 87), (ANN, 1, 93)] {
        both.buy(account, quantity, price);
    }
    for (account, quantity, price) in [(BOB, 9, 70), (DAN, 31, 85), (BOB, 2, 86)] {
        both.sell(account, quantity, price);
    }
    assert!(both.open().len() > 4);
    // What stands goes on in continuous trading.
    both.sell(DAN, 5, 80);
    both.buy(CAT, 50, 99);
}

#[test]
fn post_only_stands_across_in_an_auction_and_may_take() {
    let mut both = Both::in_auction();
    let bid = both.buy(ANN, 5, 10);
    both.run(limit(BTC_USD, BOB, Side::Sell, LimitType::PostOnly, 5, 9));
    let ask = OrderId(both.sequence);
    assert!(both.exchange.order(ask).is_some());
    // Further across still.
    let events = both.run(replace(BOB, Side::Sell, ask, 6, 8));
    assert!(matches!(events[..], [Event::OrderReplaced { .. }]));
    assert_eq!(both.open(), [Told::Uncrossed(5, 8), Told::Fill(ask, bid, 5)]);
    // Open, it may not.
    both.buy(ANN, 5, 7);
    let events = both.run(replace(BOB, Side::Sell, ask, 1, 7));
    assert!(matches!(events[..], [Event::Refused { reason: RejectReason::WouldTrade, .. }]));
}

#[test]
fn what_cannot_stand_is_refused_in_an_auction() {
    use RejectReason::{
        DuplicateClientOrderId, InsufficientAvailable, MarketCancelOnly, MarketHalted, MarketInAuction,
    };
    let market = BTC_USD;
    let name = ClientOrderId(7);
    let named = |limit_type| Command::PlaceLimit {
        account: ANN,
        market,
        side: Side::Buy,
        limit_type,
        price: Price(10),
        quantity: Quantity(1),
        client_order_id: name,
    };
    let buy = |budget| Command::PlaceMarketBuy { account: ANN, market, budget: Amount(budget), client_order_id: name };
    let sell = Command::PlaceMarketSell { account: ANN, market, quantity: Quantity(1), client_order_id: name };
    let mut both = Both::in_auction();
    both.run(named(LimitType::GoodTillCancel));
    let mut refused = |command: Command| match both.run(command)[..] {
        [Event::Refused { reason, client_order_id, .. }] => {
            assert_eq!(client_order_id, name);
            reason
        }
        ref events => panic!("{events:?}"),
    };
    // Ahead of the name that is taken.
    for command in [named(LimitType::ImmediateOrCancel), named(LimitType::FillOrKill), buy(10), sell] {
        assert_eq!(refused(command), MarketInAuction);
    }
    assert_eq!(refused(named(LimitType::GoodTillCancel)), DuplicateClientOrderId);
    assert_eq!(refused(named(LimitType::PostOnly)), DuplicateClientOrderId);
    // Behind what risk says.
    assert_eq!(refused(buy(2_000_000)), InsufficientAvailable);

    // The stricter status says why.
    for (stricter, reason) in [(TradingStatus::CancelOnly, MarketCancelOnly), (TradingStatus::Halted, MarketHalted)] {
        let mut both = Both::in_auction();
        both.run(Command::SetGlobalStatus { status: stricter });
        for command in [named(LimitType::ImmediateOrCancel), named(LimitType::PostOnly), buy(10), sell] {
            let events = both.run(command);
            assert!(matches!(events[..], [Event::Refused { reason: found, .. }] if found == reason), "{events:?}");
        }
    }
}

#[test]
fn a_book_stays_crossed_until_the_market_is_open() {
    use TradingStatus::{Auction, CancelOnly, Frozen, Halted, Open};
    let global = |status| Command::SetGlobalStatus { status };
    // Ways to open, each of them the only step that uncrosses.
    let ways: [&[Command]; 7] = [
        &[status(BTC_USD, CancelOnly), status(BTC_USD, Open)],
        &[status(BTC_USD, Halted), status(BTC_USD, Auction), status(BTC_USD, Open)],
        &[global(Auction), status(BTC_USD, Open), global(Open)],
        &[global(Frozen), global(Halted), global(CancelOnly), global(Open), status(BTC_USD, Open)],
        &[global(CancelOnly), status(BTC_USD, Open), global(Open)],
        &[global(Auction), status(BTC_USD, Open), global(Frozen), global(Open)],
        &[status(BTC_USD, Auction), status(BTC_USD, Auction), global(Open), status(BTC_USD, Open)],
    ];
    for way in ways {
        let mut both = Both::in_auction();
        let bid = both.buy(ANN, 5, 10);
        let ask = both.sell(BOB, 4, 9);
        let (last, before) = way.split_last().expect("a step");
        for command in before {
            assert_eq!(both.run(*command).len(), 1, "{command:?}");
            assert!(both.exchange.indicative(BTC_USD).is_some());
        }
        assert_eq!(told(&both.run(*last)[1..]), [Told::Uncrossed(4, 10), Told::Fill(ask, bid, 4)]);
        // Open again is open again.
        assert_eq!(both.run(*last).len(), 1);
    }
}

#[test]
fn opening_the_exchange_uncrosses_its_markets_in_ascending_order() {
    let mut both = Both::new(1_000_000, 1, 1, 0, 0);
    both.run(Command::SetGlobalStatus { status: TradingStatus::Auction });
    for market in [ETH_BTC, BTC_USD] {
        both.run(limit(market, ANN, Side::Buy, LimitType::GoodTillCancel, 2, 9));
        both.run(limit(market, BOB, Side::Sell, LimitType::GoodTillCancel, 2, 9));
    }
    let markets = |events: &[Event]| -> Vec<MarketId> {
        let markets = events.iter().filter_map(|event| match event {
            Event::AuctionUncrossed { market, .. } => Some(*market),
            _ => None,
        });
        markets.collect()
    };
    let mut other = both.clone();
    assert_eq!(markets(&both.run(Command::SetGlobalStatus { status: TradingStatus::Open })), [BTC_USD, ETH_BTC]);

    // One that is stricter itself waits for its own opening.
    other.run(status(BTC_USD, TradingStatus::CancelOnly));
    assert_eq!(markets(&other.run(Command::SetGlobalStatus { status: TradingStatus::Open })), [ETH_BTC]);
    assert_eq!(markets(&other.run(status(BTC_USD, TradingStatus::Open))), [BTC_USD]);
}

#[test]
fn proceeds_of_an_auction_can_be_spent_at_once() {
    let mut both = Both::new(100, 1, 1, 0, 0);
    both.run(status(BTC_USD, TradingStatus::Auction));
    both.sell(ANN, 50, 2);
    both.buy(BOB, 50, 2);
    both.open();
    both.buy(ANN, 100, 2);
    assert_eq!(both.balance(ANN, USD).available, Amount(0));
}

#[test]
fn a_state_in_auction_is_restored_and_a_crossed_book_that_is_open_is_not() {
    let mut both = Both::in_auction();
    both.buy(ANN, 5, 10);
    both.sell(BOB, 4, 9);
    both.restore();
    let bytes = canonical(&both.exchange);
    // The status of the first market ends its entry: behind the version, the global status, the assets, and a length.
    let at = 5 + 8 + 3 * 95 + 8 + 26;
    assert_eq!(bytes[at], TradingStatus::Auction as u8);
    let last = Sequence(both.sequence);
    for stricter in [TradingStatus::CancelOnly, TradingStatus::Halted] {
        let mut changed = bytes.clone();
        changed[at] = stricter as u8;
        // Without a market in auction it is of version 1.
        changed[0] = 1;
        changed.truncate(changed.len() - section_bytes());
        let restored = Exchange::from_canonical_state(&changed, last, 0).expect("a sound state");
        assert!(restored.indicative(BTC_USD).is_some());
    }
    let mut open = bytes.clone();
    open[at] = TradingStatus::Open as u8;
    let error = Exchange::from_canonical_state(&open, last, 0).expect_err("crossed and open");
    assert!(error.to_string().contains("bid 10 crosses ask 9"), "{error}");
    assert_eq!(both.open().len(), 2);
}

/// How long the sections of version 2 are with nothing in them: the controls, and nine lists.
fn section_bytes() -> usize {
    let mut exchange = Exchange::new();
    let plain = canonical(&exchange).len();
    let command = Command::SetGlobalStatus { status: TradingStatus::Auction };
    exchange.apply(Sequence(1), Timestamp(1), &command, &mut Vec::<Event>::new());
    canonical(&exchange).len() - plain
}

/// Whose order carries fees, what it was charged too much as a taker and as a maker, and the fees of three fills with what
/// is free in each.
type CarryCase = (Side, i128, i128, [(i64, u64); 3]);

/// Fees that were charged too much or too little are settled by later fills, in an auction and behind it.
#[test]
fn carried_fees_are_settled_by_later_fills() {
    // The fills are of 1,000 each, at 1 % for takers and 0.5 % for makers.
    let cases: [CarryCase; 8] = [
        // The bid makes in the auction at its own price, and then twice again.
        (Side::Buy, 0, 0, [(5, 0), (5, 0), (5, 15)]),
        (Side::Buy, 0, 7, [(0, 5), (3, 2), (5, 15)]),
        (Side::Buy, 0, 100, [(0, 5), (0, 5), (0, 20)]),
        (Side::Buy, 0, -7, [(12, 0), (5, 0), (5, 15)]),
        // What it owes as a taker it holds until it is closed.
        (Side::Buy, -9, 0, [(5, 0), (5, 0), (5, 24)]),
        (Side::Sell, 0, 7, [(0, 0), (3, 0), (5, 0)]),
        (Side::Sell, 0, -7, [(12, 0), (5, 0), (5, 0)]),
        // No more than it gets; the rest later.
        (Side::Sell, 0, -1_500, [(1_000, 0), (510, 0), (5, 0)]),
    ];
    for (side, taker, maker, expected) in cases {
        let mut both = Both::new(1_000_000, 1, 1, 500, 1_000);
        both.run(status(BTC_USD, TradingStatus::Auction));
        let order = both.place(ANN, side, 30, 100);
        assert!(both.naive.carry(order.0, taker, maker));
        both.restore();
        both.place(BOB, side.opposite(), 10, 100);
        let mut fills = both.run(status(BTC_USD, TradingStatus::Open));
        for _ in 0..2 {
            fills.extend(both.run(limit(BTC_USD, CAT, side.opposite(), LimitType::ImmediateOrCancel, 10, 100)));
        }
        let found: Vec<_> = fills
            .iter()
            .filter_map(|event| match *event {
                Event::Filled { maker, maker_fee, released, .. } => {
                    assert_eq!(maker, order);
                    Some((maker_fee, if side == Side::Buy { released.0 } else { 0 }))
                }
                _ => None,
            })
            .collect();
        assert_eq!(found, expected, "{side} with {taker} and {maker}");
    }
}

#[test]
fn a_replacing_forgets_carried_fees_and_a_cancel_frees_what_they_held() {
    for replaces in [false, true] {
        let mut both = Both::new(1_000_000, 1, 1, 500, 1_000);
        both.run(status(BTC_USD, TradingStatus::Auction));
        let order = both.buy(ANN, 30, 100);
        assert!(both.naive.carry(order.0, -40, -2));
        both.restore();
        let released = if replaces {
            let Event::OrderReplaced { released, held, .. } = both.run(replace(ANN, Side::Buy, order, 30, 99))[0]
            else {
                panic!("it is replaced")
            };
            assert_eq!(held, Amount(2_970 + 29));
            released
        } else {
            let events = both.run(Command::CancelOrder { account: ANN, order });
            let Event::OrderCancelled { released, .. } = events[0] else { panic!("it is cancelled") };
            released
        };
        assert_eq!(released, Amount(3_000 + 30 + 42));
        // Nothing of version 2 is left but the market's status.
        both.run(status(BTC_USD, TradingStatus::Open));
        assert_eq!(canonical(&both.exchange)[0], 1);
    }
}

#[test]
fn rebates_take_no_notice_of_carried_fees() {
    let mut both = Both::new(1_000_000, 1, 1, -500, 1_000);
    both.run(status(BTC_USD, TradingStatus::Auction));
    let order = both.buy(ANN, 30, 100);
    assert!(!both.naive.carry(order.0, 0, 3), "it is paid as a maker");
    // As a taker it was charged too little, and it makes.
    assert!(both.naive.carry(order.0, -3, 0));
    both.restore();
    both.sell(BOB, 10, 100);
    let events = both.run(status(BTC_USD, TradingStatus::Open));
    let fill = events.iter().find(|event| matches!(event, Event::Filled { .. }));
    assert!(matches!(fill, Some(Event::Filled { taker_fee: 10, maker_fee: -5, .. })), "{fill:?}");
    // A taker in an auction whose own fee is settled already pays no rebate to the other side.
    let mut both = Both::new(1_000_000, 1, 1, -500, 1_000);
    both.run(status(BTC_USD, TradingStatus::Auction));
    both.sell(BOB, 10, 100);
    let order = both.buy(ANN, 30, 100);
    assert!(both.naive.carry(order.0, 10, 0));
    both.restore();
    let events = both.run(status(BTC_USD, TradingStatus::Open));
    let fill = events.iter().find(|event| matches!(event, Event::Filled { .. }));
    assert!(matches!(fill, Some(Event::Filled { taker_fee: 0, maker_fee: 0, .. })), "{fill:?}");
}

/// An account meets itself at each of 100,000 levels, and each time the price is chosen anew: well under a second, if that does not
/// walk the levels again; minutes, if it does.
#[test]
fn a_book_full_of_one_account_is_uncrossed_in_no_time() {
    let Both { exchange, sequence, .. } = &mut Both::new(i64::MAX as u64 / 8, 1, 1, 0, 0);
    let mut run = |command: Command| {
        *sequence += 1;
        let mut events = Vec::<Event>::new();
        exchange.apply(Sequence(*sequence), Timestamp(*sequence), &command, &mut events);
        events
    };
    run(status(BTC_USD, TradingStatus::Auction));
    run(limit(BTC_USD, ANN, Side::Sell, LimitType::GoodTillCancel, 1, 1));
    for price in 1..=100_000 {
        run(limit(BTC_USD, ANN, Side::Buy, LimitType::GoodTillCancel, 1, price));
    }
    let events = run(status(BTC_USD, TradingStatus::Open));
    assert_eq!(events.len(), 1 + 2 * 100_000);
    check_auctions(&events[events.len() - 10..]);
    exchange.check_invariants().expect("a sound state");
}
