//! Auctions a second time, from `engine/src/exchange/rules.md` alone and as plainly as possible: one list of orders, sorted
//! whenever an order is wanted, and a price found by trying them all. It knows as much of continuous trading as it takes
//! to go on behind an auction. It shares no code with the reference model, and no arithmetic with the engine.

use std::collections::BTreeMap;

use engine::{
    command::Command,
    event::{CancelReason, Event, RejectReason},
    types::{
        AccountId, Amount, AssetId, ClientOrderId, FeeRate, LimitType, MarketId, OrderId, Price, Quantity, Side,
        TradingStatus,
    },
};

/// All balances and all orders.
#[derive(Clone, Debug)]
pub struct Naive {
    pub global: TradingStatus,
    pub markets: BTreeMap<MarketId, Market>,
    /// Available and held.
    pub balances: BTreeMap<(AccountId, AssetId), (i128, i128)>,
    /// What the exchange has earned.
    pub fees: BTreeMap<AssetId, i128>,
    /// In no order that means anything.
    pub orders: Vec<Order>,
    arrivals: u64,
    events: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
pub struct Market {
    pub base: AssetId,
    pub quote: AssetId,
    pub lot_size: i128,
    pub tick_value: i128,
    pub maker_rate: i128,
    pub taker_rate: i128,
    pub status: TradingStatus,
}

#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub id: u64,
    /// When it came to where it stands.
    arrival: u64,
    pub account: AccountId,
    pub market: MarketId,
    name: ClientOrderId,
    pub side: Side,
    pub post_only: bool,
    pub price: i128,
    pub open: i128,
    pub maker_rate: i128,
    pub taker_rate: i128,
    /// Notional traded as a taker and as a maker.
    taken: i128,
    made: i128,
    /// Charged beyond what the rates say.
    pub taker_carry: i128,
    pub maker_carry: i128,
}

/// What an auction would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auction {
    pub price: i128,
    pub quantity: i128,
    pub imbalance: i128,
}

/// Rounded down, of the magnitude.
fn fee(rate: i128, notional: i128) -> i128 {
    rate.abs() * notional / 100_000
}

fn small(value: i128) -> u64 {
    u64::try_from(value).expect("it fits")
}

impl Market {
    pub fn notional(&self, price: i128, quantity: i128) -> i128 {
        price * quantity * self.tick_value
    }

    pub fn hold_asset(&self, side: Side) -> AssetId {
        if side == Side::Buy { self.quote } else { self.base }
    }
}

impl Order {
    /// What must be held for it.
    pub fn hold(&self, market: &Market) -> i128 {
        if self.side == Side::Sell {
            return self.open * market.lot_size;
        }
        if self.open == 0 {
            return 0;
        }
        let rest = market.notional(self.price, self.open);
        let rate = self.maker_rate.max(self.taker_rate).max(0);
        let charged = fee(self.taker_rate.max(0), self.taken) + fee(self.maker_rate.max(0), self.made);
        let carried = (-self.taker_carry).max(0) + (-self.maker_carry).max(0);
        rest + fee(rate, self.taken + self.made + rest) - charged + carried
    }

    /// What it is due for `notional` more, in this role; counts it.
    fn charge(&mut self, takes: bool, notional: i128) -> (i128, i128) {
        let sells = self.side == Side::Sell;
        let (rate, traded, carry) = if takes {
            (self.taker_rate, &mut self.taken, &mut self.taker_carry)
        } else {
            (self.maker_rate, &mut self.made, &mut self.maker_carry)
        };
        let (before, after) = (fee(rate, *traded), fee(rate, *traded + notional));
        *traded += notional;
        if rate < 0 {
            return (rate, after - before);
        }
        let charged_before = before + *carry;
        let mut charge = (after - charged_before).max(0);
        if sells {
            charge = charge.min(notional);
        }
        *carry = charged_before + charge - after;
        (rate, charge)
    }
}

impl Naive {
    pub fn new() -> Self {
        Self {
            global: TradingStatus::Open,
            markets: BTreeMap::new(),
            balances: BTreeMap::new(),
            fees: BTreeMap::new(),
            orders: Vec::new(),
            arrivals: 0,
            events: Vec::new(),
        }
    }

    /// Applies one of the commands that it knows and returns its events.
    pub fn apply(&mut self, sequence: u64, command: &Command) -> Vec<Event> {
        if let Err(reason) = self.dispatch(sequence, command) {
            assert!(self.events.is_empty(), "{reason} after an event");
            self.events.push(refusal(command, reason));
        }
        for order in &self.orders {
            assert!(order.open > 0);
        }
        let mut held = BTreeMap::new();
        for order in &self.orders {
            let market = &self.markets[&order.market];
            *held.entry((order.account, market.hold_asset(order.side))).or_insert(0) += order.hold(market);
        }
        for (owner, (available, found)) in &self.balances {
            assert!(*available >= 0 && *found == held.remove(owner).unwrap_or(0), "{owner:?}");
        }
        assert!(held.is_empty());
        for market in self.markets.keys() {
            assert!(
                self.status(*market) != TradingStatus::Open || self.auction(*market).is_none(),
                "{market} is crossed"
            );
        }
        std::mem::take(&mut self.events)
    }

    pub fn status(&self, market: MarketId) -> TradingStatus {
        use TradingStatus::{Auction, CancelOnly, Frozen, Halted, Open};
        let severity = |status| [Open, Auction, CancelOnly, Halted, Frozen].iter().position(|&other| other == status);
        let own = self.markets[&market].status;
        if severity(own) > severity(self.global) { own } else { self.global }
    }

    /// The orders of one side, the next to trade first.
    pub fn queue(&self, market: MarketId, side: Side) -> Vec<Order> {
        let mut found: Vec<_> =
            self.orders.iter().filter(|order| order.market == market && order.side == side).copied().collect();
        let sign = if side == Side::Buy { -1 } else { 1 };
        found.sort_by_key(|order| (sign * order.price, order.arrival));
        found
    }

    /// What the auction would come to: every price that is in the book is tried.
    pub fn auction(&self, market: MarketId) -> Option<Auction> {
        let (bids, asks) = (self.queue(market, Side::Buy), self.queue(market, Side::Sell));
        if bids.first()?.price < asks.first()?.price {
            return None;
        }
        let demand = |price: i128| -> i128 { bids.iter().filter(|bid| bid.price >= price).map(|bid| bid.open).sum() };
        let supply = |price: i128| -> i128 { asks.iter().filter(|ask| ask.price <= price).map(|ask| ask.open).sum() };
        let volume = |price: i128| demand(price).min(supply(price));
        let left = |price: i128| demand(price) - supply(price);

        let mut prices: Vec<i128> = bids.iter().chain(&asks).map(|order| order.price).collect();
        prices.sort_unstable();
        prices.dedup();
        let (low, high) = (prices[0], prices[prices.len() - 1]);
        let most = prices.iter().map(|&price| volume(price)).max()?;
        prices.retain(|&price| volume(price) == most);
        let least = prices.iter().map(|&price| left(price).abs()).min()?;
        prices.retain(|&price| left(price).abs() == least);
        let (lowest, highest) = (prices[0], prices[prices.len() - 1]);
        let price = if prices.iter().all(|&price| left(price) > 0) {
            highest
        } else if prices.iter().all(|&price| left(price) < 0) {
            lowest
        } else {
            (lowest + highest) / 2
        };
        // No price whatever, in the book or not, trades more; and the one chosen trades as much.
        for any in low..=high.min(low + 200) {
            assert!(volume(any) <= most);
        }
        assert_eq!(volume(price), most);
        Some(Auction { price, quantity: most, imbalance: left(price) })
    }

    /// Lets `value` more have been charged than the rates say; false when that cannot be.
    pub fn carry(&mut self, id: u64, taker: i128, maker: i128) -> bool {
        let place = self.place_of(id);
        let mut order = self.orders[place];
        if (order.taker_rate < 0 && taker != 0) || (order.maker_rate < 0 && maker != 0) {
            return false;
        }
        let market = self.markets[&order.market];
        let before = order.hold(&market);
        (order.taker_carry, order.maker_carry) = (taker, maker);
        let more = order.hold(&market) - before;
        let balance = self.balances.get_mut(&(order.account, market.hold_asset(order.side))).expect("its hold");
        if balance.0 < more {
            return false;
        }
        *balance = (balance.0 - more, balance.1 + more);
        self.orders[place] = order;
        true
    }

    fn dispatch(&mut self, sequence: u64, command: &Command) -> Result<(), RejectReason> {
        match *command {
            Command::SetMarketStatus { market, status } => {
                check(self.global != TradingStatus::Frozen, RejectReason::ExchangeFrozen)?;
                check(status != TradingStatus::Frozen, RejectReason::InvalidStatus)?;
                self.markets.get_mut(&market).expect("a market").status = status;
                self.events.push(Event::MarketStatusSet { market, status });
                self.uncross(market);
                Ok(())
            }
            Command::SetGlobalStatus { status } => {
                self.global = status;
                self.events.push(Event::GlobalStatusSet { status });
                for market in self.markets.keys().copied().collect::<Vec<_>>() {
                    self.uncross(market);
                }
                Ok(())
            }
            Command::SetMarketFees { market, maker_rate, taker_rate } => {
                check(self.global != TradingStatus::Frozen, RejectReason::ExchangeFrozen)?;
                let found = self.markets.get_mut(&market).expect("a market");
                (found.maker_rate, found.taker_rate) = (maker_rate.0.into(), taker_rate.0.into());
                self.events.push(Event::MarketFeesSet { market, maker_rate, taker_rate });
                Ok(())
            }
            Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id } => {
                self.place_limit(sequence, account, market, side, limit_type, price, quantity, client_order_id)
            }
            // These two are given only where they are refused: continuous trading has its own model.
            Command::PlaceMarketBuy { account, market, budget, .. } => {
                let quote = self.markets[&market].quote;
                check(self.balance(account, quote).0 >= budget.0.into(), RejectReason::InsufficientAvailable)?;
                self.check_status(market, false)?;
                panic!("the market takes market orders")
            }
            Command::PlaceMarketSell { account, market, quantity, .. } => {
                let Market { base, lot_size, .. } = self.markets[&market];
                let hold = i128::from(quantity.0) * lot_size;
                check(self.balance(account, base).0 >= hold, RejectReason::InsufficientAvailable)?;
                self.check_status(market, false)?;
                panic!("the market takes market orders")
            }
            Command::CancelOrder { account, order } => {
                let place = self.own_order(account, order)?;
                self.cancel(place, CancelReason::Owner);
                Ok(())
            }
            Command::ReduceOrder { account, order, quantity } => {
                let place = self.own_order(account, order)?;
                self.reduce(place, quantity.0.into());
                Ok(())
            }
            Command::ReplaceOrder { account, market, side, order, price, quantity } => {
                self.replace(account, market, side, order, price.0.into(), quantity.0.into())
            }
            Command::CancelAllOfAccount { account } => {
                check(!self.is_halted_everywhere(), RejectReason::MarketHalted)?;
                let mut ids: Vec<_> =
                    self.orders.iter().filter(|order| order.account == account).map(|order| order.id).collect();
                ids.sort_unstable();
                self.cancel_all(&ids);
                self.events.push(Event::MassCancelled { account, market: MarketId(0), orders: ids.len() as u32 });
                Ok(())
            }
            Command::CancelAllOfMarket { market } => {
                check(!self.is_halted_everywhere(), RejectReason::MarketHalted)?;
                let sides = [self.queue(market, Side::Buy), self.queue(market, Side::Sell)].concat();
                let ids: Vec<_> = sides.iter().map(|order| order.id).collect();
                self.cancel_all(&ids);
                self.events.push(Event::MassCancelled { account: AccountId(0), market, orders: ids.len() as u32 });
                Ok(())
            }
            _ => panic!("{command:?} is not part of this"),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one command")]
    fn place_limit(
        &mut self,
        sequence: u64,
        account: AccountId,
        market: MarketId,
        side: Side,
        limit_type: LimitType,
        price: Price,
        quantity: Quantity,
        name: ClientOrderId,
    ) -> Result<(), RejectReason> {
        let found = self.markets[&market];
        let mut order = Order {
            id: sequence,
            arrival: 0,
            account,
            market,
            name,
            side,
            post_only: limit_type == LimitType::PostOnly,
            price: price.0.into(),
            open: quantity.0.into(),
            maker_rate: found.maker_rate,
            taker_rate: found.taker_rate,
            taken: 0,
            made: 0,
            taker_carry: 0,
            maker_carry: 0,
        };
        let (asset, hold) = (found.hold_asset(side), order.hold(&found));
        check(self.balance(account, asset).0 >= hold, RejectReason::InsufficientAvailable)?;
        let can_stand = matches!(limit_type, LimitType::GoodTillCancel | LimitType::PostOnly);
        self.check_status(market, can_stand)?;
        let taken = self.orders.iter().any(|other| other.account == account && name.0 != 0 && other.name == name);
        check(!taken, RejectReason::DuplicateClientOrderId)?;
        let is_open = self.status(market) == TradingStatus::Open;
        let others: Vec<_> =
            self.queue(market, side.opposite()).into_iter().filter(|other| meets(&order, other)).collect();
        check(!(is_open && order.post_only && !others.is_empty()), RejectReason::WouldTrade)?;
        if limit_type == LimitType::FillOrKill {
            let in_turn = others.iter().take_while(|other| other.account != account);
            check(in_turn.map(|other| other.open).sum::<i128>() >= order.open, RejectReason::NotFillable)?;
        }
        self.hold(account, asset, hold);
        let (id, held) = (OrderId(sequence), Amount(small(hold)));
        self.events.push(Event::OrderAccepted {
            order: id,
            account,
            market,
            side,
            price,
            quantity,
            held,
            client_order_id: name,
        });
        let met_itself = self.arrive(&mut order);
        if order.open > 0 {
            self.orders.push(order);
            if met_itself {
                self.cancel(self.orders.len() - 1, CancelReason::SelfTrade);
            } else if !can_stand {
                self.cancel(self.orders.len() - 1, CancelReason::Unfilled);
            }
        }
        Ok(())
    }

    /// Lets an order that is in no queue trade if the market is open; gives true if it met one of its own account.
    fn arrive(&mut self, order: &mut Order) -> bool {
        self.arrivals += 1;
        order.arrival = self.arrivals;
        while self.status(order.market) == TradingStatus::Open && order.open > 0 {
            let Some(next) = self.queue(order.market, order.side.opposite()).first().copied() else { break };
            if !meets(order, &next) {
                break;
            }
            if next.account == order.account {
                return true;
            }
            let place = self.place_of(next.id);
            let mut maker = self.orders[place];
            self.fill(order, &mut maker, next.price);
            self.orders[place] = maker;
            self.orders.retain(|order| order.open > 0);
        }
        false
    }

    fn replace(
        &mut self,
        account: AccountId,
        market: MarketId,
        side: Side,
        id: OrderId,
        price: i128,
        quantity: i128,
    ) -> Result<(), RejectReason> {
        let found = self.orders.iter().find(|order| order.id == id.0 && order.account == account).copied();
        let mut order = found.ok_or(RejectReason::OrderNotFound)?;
        check((order.market, order.side) == (market, side), RejectReason::OrderMismatch)?;
        let spec = self.markets[&market];
        let old = order.hold(&spec);
        let status = self.status(market);
        check(!is_halted(status), RejectReason::MarketHalted)?;
        if price == order.price && quantity <= order.open {
            self.reduce(self.place_of(id.0), quantity);
            return Ok(());
        }
        check(status != TradingStatus::CancelOnly, RejectReason::MarketCancelOnly)?;
        (order.price, order.open) = (price, quantity);
        (order.maker_rate, order.taker_rate) = (spec.maker_rate, spec.taker_rate);
        (order.taken, order.made, order.taker_carry, order.maker_carry) = (0, 0, 0, 0);
        let would_trade = self.queue(market, side.opposite()).first().is_some_and(|best| meets(&order, best));
        check(!(order.post_only && status == TradingStatus::Open && would_trade), RejectReason::WouldTrade)?;
        let (asset, new) = (spec.hold_asset(side), order.hold(&spec));
        check(self.balance(account, asset).0 + old >= new, RejectReason::InsufficientAvailable)?;
        self.orders.remove(self.place_of(id.0));
        self.hold(account, asset, new - old);
        self.events.push(Event::OrderReplaced {
            order: id,
            account,
            market,
            price: Price(small(price)),
            quantity: Quantity(small(quantity)),
            released: Amount(small(old)),
            held: Amount(small(new)),
        });
        let met_itself = self.arrive(&mut order);
        if order.open > 0 {
            self.orders.push(order);
            if met_itself {
                self.cancel(self.orders.len() - 1, CancelReason::SelfTrade);
            }
        }
        Ok(())
    }

    fn uncross(&mut self, market: MarketId) {
        if self.status(market) != TradingStatus::Open {
            return;
        }
        while let Some(Auction { price, quantity, .. }) = self.auction(market) {
            let (told, quantity) = (Price(small(price)), Quantity(small(quantity)));
            self.events.push(Event::AuctionUncrossed { market, price: told, quantity });
            loop {
                let (bids, asks) = (self.queue(market, Side::Buy), self.queue(market, Side::Sell));
                let (Some(bid), Some(ask)) = (bids.first(), asks.first()) else { break };
                if bid.price < price || ask.price > price {
                    break;
                }
                let (newer, older) = if bid.id > ask.id { (bid, ask) } else { (ask, bid) };
                if newer.account == older.account {
                    self.cancel(self.place_of(newer.id), CancelReason::SelfTrade);
                    continue;
                }
                let (mut taker, mut maker) = (*newer, *older);
                self.fill(&mut taker, &mut maker, price);
                let (taker_place, maker_place) = (self.place_of(taker.id), self.place_of(maker.id));
                (self.orders[taker_place], self.orders[maker_place]) = (taker, maker);
                self.orders.retain(|order| order.open > 0);
            }
        }
    }

    /// As much as both have.
    fn fill(&mut self, taker: &mut Order, maker: &mut Order, price: i128) {
        let market = self.markets[&taker.market];
        let quantity = taker.open.min(maker.open);
        let notional = market.notional(price, quantity);
        let holds = [taker.hold(&market), maker.hold(&market)];
        let (taker_rate, taker_due) = taker.charge(true, notional);
        let (maker_rate, maker_due) = maker.charge(false, notional);
        let taker_fee = match (taker_rate < 0, maker_rate < 0) {
            (false, _) => taker_due,
            (true, false) => -taker_due.min(maker_due),
            (true, true) => 0,
        };
        let maker_fee = match (maker_rate < 0, taker_rate < 0) {
            (false, _) => maker_due,
            (true, false) => -maker_due.min(taker_due),
            (true, true) => 0,
        };
        taker.open -= quantity;
        maker.open -= quantity;
        let (buyer, seller, hold, buyer_fee, seller_fee) = if taker.side == Side::Buy {
            (&*taker, &*maker, holds[0], taker_fee, maker_fee)
        } else {
            (&*maker, &*taker, holds[1], maker_fee, taker_fee)
        };
        assert!(price <= buyer.price && price >= seller.price, "at the limit or better");
        let released = hold - notional - buyer_fee.max(0) - buyer.hold(&market);
        assert!(released >= 0, "the hold covers the worst case");
        let mut give = |account, asset, available: i128, held: i128| {
            let balance = self.balances.entry((account, asset)).or_default();
            *balance = (balance.0 + available, balance.1 + held);
        };
        give(buyer.account, market.quote, released - buyer_fee.min(0), -notional - buyer_fee.max(0) - released);
        give(buyer.account, market.base, quantity * market.lot_size, 0);
        give(seller.account, market.base, 0, -quantity * market.lot_size);
        give(seller.account, market.quote, notional - seller_fee, 0);
        *self.fees.entry(market.quote).or_default() += buyer_fee + seller_fee;
        self.events.push(Event::Filled {
            taker: OrderId(taker.id),
            maker: OrderId(maker.id),
            taker_account: taker.account,
            maker_account: maker.account,
            market: taker.market,
            taker_side: taker.side,
            price: Price(small(price)),
            quantity: Quantity(small(quantity)),
            maker_remaining: Quantity(small(maker.open)),
            taker_fee: i64::try_from(taker_fee).expect("it fits"),
            maker_fee: i64::try_from(maker_fee).expect("it fits"),
            released: Amount(small(released)),
        });
    }

    fn cancel(&mut self, place: usize, reason: CancelReason) {
        let order = self.orders.remove(place);
        let market = self.markets[&order.market];
        let hold = order.hold(&market);
        self.hold(order.account, market.hold_asset(order.side), -hold);
        self.events.push(Event::OrderCancelled {
            order: OrderId(order.id),
            account: order.account,
            market: order.market,
            reason,
            quantity: Quantity(small(order.open)),
            released: Amount(small(hold)),
        });
    }

    fn cancel_all(&mut self, ids: &[u64]) {
        for id in ids {
            self.cancel(self.place_of(*id), CancelReason::MassCancel);
        }
    }

    fn reduce(&mut self, place: usize, quantity: i128) {
        let mut order = self.orders[place];
        let market = self.markets[&order.market];
        let before = order.hold(&market);
        order.open = order.open.min(quantity);
        let released = before - order.hold(&market);
        self.orders[place] = order;
        self.hold(order.account, market.hold_asset(order.side), -released);
        self.events.push(Event::OrderReduced {
            order: OrderId(order.id),
            account: order.account,
            market: order.market,
            quantity: Quantity(small(order.open)),
            released: Amount(small(released)),
        });
    }

    fn hold(&mut self, account: AccountId, asset: AssetId, amount: i128) {
        let balance = self.balances.entry((account, asset)).or_default();
        *balance = (balance.0 - amount, balance.1 + amount);
    }

    pub fn balance(&self, account: AccountId, asset: AssetId) -> (i128, i128) {
        self.balances.get(&(account, asset)).copied().unwrap_or_default()
    }

    fn place_of(&self, id: u64) -> usize {
        self.orders.iter().position(|order| order.id == id).expect("it is open")
    }

    fn own_order(&self, account: AccountId, id: OrderId) -> Result<usize, RejectReason> {
        let found = self.orders.iter().position(|order| order.id == id.0 && order.account == account);
        let place = found.ok_or(RejectReason::OrderNotFound)?;
        check(!is_halted(self.status(self.orders[place].market)), RejectReason::MarketHalted)?;
        Ok(place)
    }

    fn check_status(&self, market: MarketId, can_stand: bool) -> Result<(), RejectReason> {
        match self.status(market) {
            TradingStatus::Halted | TradingStatus::Frozen => Err(RejectReason::MarketHalted),
            TradingStatus::CancelOnly => Err(RejectReason::MarketCancelOnly),
            TradingStatus::Auction if !can_stand => Err(RejectReason::MarketInAuction),
            TradingStatus::Auction | TradingStatus::Open => Ok(()),
        }
    }

    fn is_halted_everywhere(&self) -> bool {
        is_halted(self.global)
    }
}

fn is_halted(status: TradingStatus) -> bool {
    matches!(status, TradingStatus::Halted | TradingStatus::Frozen)
}

/// Whether an order accepts the price of one of the other side.
fn meets(order: &Order, other: &Order) -> bool {
    if order.side == Side::Buy { other.price <= order.price } else { other.price >= order.price }
}

fn check(holds: bool, reason: RejectReason) -> Result<(), RejectReason> {
    if holds { Ok(()) } else { Err(reason) }
}

fn refusal(command: &Command, reason: RejectReason) -> Event {
    let none = (AccountId(0), ClientOrderId(0), 0);
    let (account, client_order_id, subject) = match *command {
        Command::PlaceLimit { account, client_order_id, .. }
        | Command::PlaceMarketBuy { account, client_order_id, .. }
        | Command::PlaceMarketSell { account, client_order_id, .. } => (account, client_order_id, 0),
        Command::CancelOrder { account, order }
        | Command::ReduceOrder { account, order, .. }
        | Command::ReplaceOrder { account, order, .. } => (account, ClientOrderId(0), order.0),
        Command::CancelAllOfAccount { account } => (account, ClientOrderId(0), 0),
        _ => none,
    };
    Event::Refused { reason, command_kind: command.kind(), account, client_order_id, subject }
}

/// The rates of a command.
pub fn rates(maker: i128, taker: i128) -> (FeeRate, FeeRate) {
    let rate = |rate| FeeRate(i16::try_from(rate).expect("a rate"));
    (rate(maker), rate(taker))
}
