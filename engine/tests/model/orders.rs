//! Orders: how they are held for, trade, and leave the book.

use engine::{
    command::Command,
    event::{CancelReason, Event, RejectReason},
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, LimitType, MarketId, OrderId, PRICE_MAX, Price,
        Quantity, Side, TradingStatus,
    },
};

use super::{
    FEES, MAX, Market, ModelExchange, Order, OrderType, Outcome, amount, fee, is_halted, raw_fee, refuse_if, to_i128,
    to_u64,
};

impl Market {
    /// `p * q * tick_value`. It saturates: the largest arguments pass even 128 bits, and then it is far above
    /// any limit.
    pub fn notional(&self, price: u128, quantity: u128) -> u128 {
        price.saturating_mul(quantity).saturating_mul(self.tick_value)
    }

    /// The worst case of a new limit order at the rates now in force.
    pub fn worst_case(&self, price: u128, quantity: u128) -> u128 {
        let rate = self.maker_rate.max(self.taker_rate).max(0);
        let notional = self.notional(price, quantity);
        notional.saturating_add(fee(rate, notional))
    }

    pub fn side(&self, side: Side) -> &Vec<Order> {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    pub fn side_mut(&mut self, side: Side) -> &mut Vec<Order> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.bids.iter().chain(&self.asks)
    }

    /// Whether an order of `side` at `price` would trade with the best of the other side.
    pub(super) fn would_trade(&self, side: Side, price: u128) -> bool {
        self.side(side.opposite()).first().is_some_and(|best| crosses(side, price, best.price))
    }

    /// Whether the opposite orders, in turn and before the first of the account's own, cover the quantity.
    pub(super) fn can_fill(&self, account: AccountId, side: Side, price: u128, quantity: u128) -> bool {
        let mut found = 0;
        for order in self.side(side.opposite()) {
            if !crosses(side, price, order.price) || order.account == account {
                break;
            }
            found += order.open;
        }
        found >= quantity
    }

    /// Puts an order at the end of its level's queue.
    pub(super) fn stand(&mut self, order: Order) {
        let orders = self.side_mut(order.side);
        let behind = |other: &Order| match order.side {
            Side::Buy => other.price < order.price,
            Side::Sell => other.price > order.price,
        };
        let position = orders.iter().position(behind).unwrap_or(orders.len());
        orders.insert(position, order);
    }

    /// What an open order must hold.
    pub fn required_hold(&self, order: &Order) -> u128 {
        match order.side {
            Side::Sell => order.open * self.lot_size,
            Side::Buy if order.open == 0 => 0,
            Side::Buy => {
                let rate = order.maker_rate.max(order.taker_rate).max(0);
                let rest = self.notional(order.price, order.open);
                let mut charged = 0;
                if order.taker_rate >= 0 {
                    charged += fee(order.taker_rate, order.taken);
                }
                if order.maker_rate >= 0 {
                    charged += fee(order.maker_rate, order.made);
                }
                let undercharged = (-order.taker_carry).max(0) + (-order.maker_carry).max(0);
                rest + fee(rate, order.taken + order.made + rest) - charged
                    + u128::try_from(undercharged).expect("not negative")
            }
        }
    }

    /// How much more is bid for at a price than is asked.
    pub fn imbalance(&self, price: u128) -> i128 {
        let bids = self.bids.iter().filter(|bid| bid.price >= price).map(|bid| to_i128(bid.open));
        let asks = self.asks.iter().filter(|ask| ask.price <= price).map(|ask| to_i128(ask.open));
        bids.sum::<i128>() - asks.sum::<i128>()
    }

    /// The price at which a crossed book trades most, and how much that is.
    pub fn auction(&self) -> Option<(u128, u128)> {
        if self.bids.first()?.price < self.asks.first()?.price {
            return None;
        }
        let demand =
            |price: u128| -> u128 { self.bids.iter().filter(|bid| bid.price >= price).map(|bid| bid.open).sum() };
        let supply =
            |price: u128| -> u128 { self.asks.iter().filter(|ask| ask.price <= price).map(|ask| ask.open).sum() };
        let traded = |price: u128| demand(price).min(supply(price));
        let left = |price: u128| demand(price).abs_diff(supply(price));
        let mut prices: Vec<u128> = self.orders().map(|order| order.price).collect();
        prices.sort_unstable();
        let most = prices.iter().map(|&price| traded(price)).max()?;
        prices.retain(|&price| traded(price) == most);
        let least = prices.iter().map(|&price| left(price)).min()?;
        prices.retain(|&price| left(price) == least);
        let (lowest, highest) = (*prices.first()?, *prices.last()?);
        let price = if prices.iter().all(|&price| demand(price) > supply(price)) {
            highest
        } else if prices.iter().all(|&price| demand(price) < supply(price)) {
            lowest
        } else {
            (lowest + highest) / 2
        };
        Some((price, traded(price)))
    }

    pub fn hold_asset(&self, side: Side) -> AssetId {
        match side {
            Side::Buy => self.quote,
            Side::Sell => self.base,
        }
    }
}

/// Whether an order of `side` with limit `price` accepts `best`.
pub(super) fn crosses(side: Side, price: u128, best: u128) -> bool {
    match side {
        Side::Buy => best <= price,
        Side::Sell => best >= price,
    }
}

impl ModelExchange {
    /// The stricter of the market's and the global status.
    pub(super) fn status_of(&self, market: MarketId) -> TradingStatus {
        let severity = |status| match status {
            TradingStatus::Open => 0,
            TradingStatus::Auction => 1,
            TradingStatus::CancelOnly => 2,
            TradingStatus::Halted => 3,
            TradingStatus::Frozen => 4,
        };
        let own = self.markets[&market].status;
        if severity(own) > severity(self.status) { own } else { self.status }
    }

    /// All open orders with their markets.
    pub fn open_orders(&self) -> impl Iterator<Item = (MarketId, &Order)> {
        self.markets.iter().flat_map(|(&market, found)| found.orders().map(move |order| (market, order)))
    }

    pub(super) fn find_order(
        &self,
        account: AccountId,
        wanted: impl Fn(&Order) -> bool,
    ) -> Result<(MarketId, &Order), RejectReason> {
        self.open_orders()
            .find(|(_, order)| order.account == account && wanted(order))
            .ok_or(RejectReason::OrderNotFound)
    }

    /// Takes an open order off its book.
    pub fn take_order(&mut self, market: MarketId, order: OrderId) -> Order {
        let found = self.markets.get_mut(&market).expect("the market exists");
        for side in [Side::Buy, Side::Sell] {
            let orders = found.side_mut(side);
            if let Some(position) = orders.iter().position(|open| open.id == order) {
                return orders.remove(position);
            }
        }
        unreachable!("the order is open")
    }

    /// The checks that every placed order passes at the matcher.
    pub(super) fn check_placing(
        &self,
        account: AccountId,
        market: MarketId,
        client_order_id: ClientOrderId,
        can_stand: bool,
    ) -> Outcome {
        refuse_if(is_halted(self.status_of(market)), RejectReason::MarketHalted)?;
        refuse_if(self.status_of(market) == TradingStatus::CancelOnly, RejectReason::MarketCancelOnly)?;
        let in_auction = self.status_of(market) == TradingStatus::Auction;
        refuse_if(in_auction && !can_stand, RejectReason::MarketInAuction)?;
        let taken = client_order_id.0 != 0
            && self
                .open_orders()
                .any(|(_, order)| order.account == account && order.client_order_id == client_order_id);
        refuse_if(taken, RejectReason::DuplicateClientOrderId)
    }

    pub(super) fn place_limit(&mut self, sequence: u64, command: &Command) -> Outcome {
        let &Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id } = command
        else {
            unreachable!("called for this kind only")
        };
        self.check_account(account)?;
        self.check_active(account)?;
        self.check_market(market)?;
        self.check_limit(market, price, quantity)?;
        let found = &self.markets[&market];
        let (p, q) = (u128::from(price.0), u128::from(quantity.0));
        let hold = match side {
            Side::Buy => found.worst_case(p, q),
            Side::Sell => q * found.lot_size,
        };
        let available = self.balance(account, found.hold_asset(side)).available;
        refuse_if(available < hold, RejectReason::InsufficientAvailable)?;
        let post_only = limit_type == LimitType::PostOnly;
        let can_stand = post_only || limit_type == LimitType::GoodTillCancel;
        self.check_placing(account, market, client_order_id, can_stand)?;
        let trades = self.status_of(market) == TradingStatus::Open;
        refuse_if(trades && post_only && found.would_trade(side, p), RejectReason::WouldTrade)?;
        let fill_or_kill = limit_type == LimitType::FillOrKill;
        refuse_if(fill_or_kill && !found.can_fill(account, side, p, q), RejectReason::NotFillable)?;

        self.accept(
            market,
            Order {
                id: OrderId(sequence),
                account,
                client_order_id,
                order_type: OrderType::Limit(limit_type),
                side,
                price: p,
                open: q,
                maker_rate: found.maker_rate,
                taker_rate: found.taker_rate,
                taken: 0,
                made: 0,
                taker_carry: 0,
                maker_carry: 0,
                hold,
            },
        )
    }

    /// The checks of price and quantity that placing and replacing share.
    pub(super) fn check_limit(&self, market: MarketId, price: Price, quantity: Quantity) -> Outcome {
        let found = &self.markets[&market];
        refuse_if(price.0 == 0, RejectReason::ZeroPrice)?;
        refuse_if(price.0 > PRICE_MAX, RejectReason::PriceTooLarge)?;
        refuse_if(quantity.0 == 0, RejectReason::ZeroQuantity)?;
        refuse_if(u128::from(quantity.0) * found.lot_size > MAX, RejectReason::QuantityTooLarge)?;
        let worst_case = found.worst_case(price.0.into(), quantity.0.into());
        refuse_if(worst_case > MAX, RejectReason::NotionalTooLarge)
    }

    pub(super) fn place_market_buy(
        &mut self,
        sequence: u64,
        account: AccountId,
        market: MarketId,
        budget: Amount,
        client_order_id: ClientOrderId,
    ) -> Outcome {
        self.check_account(account)?;
        self.check_active(account)?;
        self.check_market(market)?;
        refuse_if(budget.0 == 0, RejectReason::ZeroAmount)?;
        refuse_if(budget.0 > AMOUNT_MAX, RejectReason::AmountTooLarge)?;
        let found = &self.markets[&market];
        let available = self.balance(account, found.quote).available;
        refuse_if(available < budget.0.into(), RejectReason::InsufficientAvailable)?;
        self.check_placing(account, market, client_order_id, false)?;
        self.accept(
            market,
            Order {
                id: OrderId(sequence),
                account,
                client_order_id,
                order_type: OrderType::MarketBuy,
                side: Side::Buy,
                price: 0,
                open: 0,
                maker_rate: found.maker_rate,
                taker_rate: found.taker_rate,
                taken: 0,
                made: 0,
                taker_carry: 0,
                maker_carry: 0,
                hold: budget.0.into(),
            },
        )
    }

    pub(super) fn place_market_sell(
        &mut self,
        sequence: u64,
        account: AccountId,
        market: MarketId,
        quantity: Quantity,
        client_order_id: ClientOrderId,
    ) -> Outcome {
        self.check_account(account)?;
        self.check_active(account)?;
        self.check_market(market)?;
        let found = &self.markets[&market];
        let hold = u128::from(quantity.0) * found.lot_size;
        refuse_if(quantity.0 == 0, RejectReason::ZeroQuantity)?;
        refuse_if(hold > MAX, RejectReason::QuantityTooLarge)?;
        let available = self.balance(account, found.base).available;
        refuse_if(available < hold, RejectReason::InsufficientAvailable)?;
        self.check_placing(account, market, client_order_id, false)?;
        self.accept(
            market,
            Order {
                id: OrderId(sequence),
                account,
                client_order_id,
                order_type: OrderType::MarketSell,
                side: Side::Sell,
                price: 0,
                open: quantity.0.into(),
                maker_rate: found.maker_rate,
                taker_rate: found.taker_rate,
                taken: 0,
                made: 0,
                taker_carry: 0,
                maker_carry: 0,
                hold,
            },
        )
    }

    /// Takes a new order's hold, lets it trade and disposes of the rest.
    pub(super) fn accept(&mut self, market: MarketId, order: Order) -> Outcome {
        let asset = self.markets[&market].hold_asset(order.side);
        self.hold(order.account, asset, order.hold);
        self.events.push(Event::OrderAccepted {
            order: order.id,
            account: order.account,
            market,
            side: order.side,
            price: Price(to_u64(order.price)),
            quantity: Quantity(to_u64(order.open)),
            held: amount(order.hold),
            client_order_id: order.client_order_id,
        });
        self.trade(market, order)
    }

    /// Lets an arriving order trade, then cancels what is left of it or puts it on the book.
    fn trade(&mut self, market: MarketId, mut taker: Order) -> Outcome {
        let market_buy = taker.order_type == OrderType::MarketBuy;
        let stopped = loop {
            if !market_buy && taker.open == 0 {
                return Ok(());
            }
            if self.status_of(market) == TradingStatus::Auction {
                break CancelReason::Unfilled;
            }
            let found = &self.markets[&market];
            let Some(maker) = found.side(taker.side.opposite()).first() else {
                break CancelReason::Unfilled;
            };
            let is_limit = matches!(taker.order_type, OrderType::Limit(_));
            if is_limit && !crosses(taker.side, taker.price, maker.price) {
                break CancelReason::Unfilled;
            }
            if maker.account == taker.account {
                break CancelReason::SelfTrade;
            }
            let offered = maker.open;
            let quantity = if market_buy { affordable(found, &taker, maker) } else { taker.open.min(offered) };
            if quantity > 0 {
                let mut maker = self.take_first(market, taker.side.opposite());
                let price = maker.price;
                self.fill(market, &mut taker, &mut maker, price, quantity);
                self.put_back_first(market, maker);
            }
            if market_buy && quantity < offered {
                break CancelReason::BudgetSpent;
            }
        };
        let stands = matches!(taker.order_type, OrderType::Limit(LimitType::GoodTillCancel | LimitType::PostOnly));
        if stands && stopped != CancelReason::SelfTrade {
            self.markets.get_mut(&market).expect("the market exists").stand(taker);
            return Ok(());
        }
        self.close(market, &taker, stopped);
        Ok(())
    }

    fn take_first(&mut self, market: MarketId, side: Side) -> Order {
        self.markets.get_mut(&market).expect("the market exists").side_mut(side).remove(0)
    }

    /// Puts an order back where it stood, unless nothing is left of it.
    fn put_back_first(&mut self, market: MarketId, order: Order) {
        if order.open > 0 {
            self.markets.get_mut(&market).expect("the market exists").side_mut(order.side).insert(0, order);
        }
    }

    /// One execution between two orders that are on no book at the moment.
    fn fill(&mut self, market: MarketId, taker: &mut Order, maker: &mut Order, price: u128, quantity: u128) {
        let found = &self.markets[&market];
        let (base, quote) = (found.base, found.quote);
        let notional = found.notional(price, quantity);
        let lots = quantity * found.lot_size;

        let maker_sells = maker.side == Side::Sell;
        let (taker_most, maker_most) = if maker_sells { (u128::MAX, notional) } else { (notional, u128::MAX) };
        let mut taker_fee = charge(taker.taker_rate, taker.taken, &mut taker.taker_carry, notional, taker_most);
        let mut maker_fee = charge(maker.maker_rate, maker.made, &mut maker.maker_carry, notional, maker_most);
        let (taker_charge, maker_charge) = (taker_fee.max(0), maker_fee.max(0));
        taker_fee = taker_fee.max(-maker_charge);
        maker_fee = maker_fee.max(-taker_charge);
        taker.taken += notional;
        maker.made += notional;
        maker.open -= quantity;
        if taker.order_type != OrderType::MarketBuy {
            taker.open -= quantity;
        }

        let (buyer, buyer_fee, seller, seller_fee) = if maker_sells {
            (&mut *taker, taker_fee, &mut *maker, maker_fee)
        } else {
            (&mut *maker, maker_fee, &mut *taker, taker_fee)
        };
        // What the buyer's hold pays.
        let paid = notional + u128::try_from(buyer_fee.max(0)).expect("not negative");
        let left = buyer.hold - paid;
        let required = if buyer.order_type == OrderType::MarketBuy { left } else { found.required_hold(buyer) };
        let released = left - required;
        buyer.hold = required;
        seller.hold -= lots;

        let (buyer, seller) = (buyer.account, seller.account);
        self.balance_mut(buyer, quote).held -= paid + released;
        self.balance_mut(buyer, quote).available += released;
        self.balance_mut(buyer, quote).available += u128::try_from((-buyer_fee).max(0)).expect("not negative");
        self.balance_mut(buyer, base).available += lots;
        self.balance_mut(seller, base).held -= lots;
        let proceeds = u128::try_from(to_i128(notional) - seller_fee).expect("a fee never exceeds the notional");
        self.balance_mut(seller, quote).available += proceeds;
        *self.system(FEES, quote) += taker_fee + maker_fee;

        self.events.push(Event::Filled {
            taker: taker.id,
            maker: maker.id,
            taker_account: taker.account,
            maker_account: maker.account,
            market,
            taker_side: taker.side,
            price: Price(to_u64(price)),
            quantity: Quantity(to_u64(quantity)),
            maker_remaining: Quantity(to_u64(maker.open)),
            taker_fee: i64::try_from(taker_fee).expect("a fee fits"),
            maker_fee: i64::try_from(maker_fee).expect("a fee fits"),
            released: amount(released),
        });
    }

    /// If the market is open and crossed, trades at one price until it is not crossed any more.
    pub(super) fn uncross(&mut self, market: MarketId) {
        if self.status_of(market) != TradingStatus::Open {
            return;
        }
        while let Some((price, quantity)) = self.markets[&market].auction() {
            let told = Price(to_u64(price));
            self.events.push(Event::AuctionUncrossed { market, price: told, quantity: Quantity(to_u64(quantity)) });
            loop {
                let found = &self.markets[&market];
                let (Some(bid), Some(ask)) = (found.bids.first(), found.asks.first()) else { break };
                if bid.price < price || ask.price > price {
                    break;
                }
                let bid = self.take_first(market, Side::Buy);
                let ask = self.take_first(market, Side::Sell);
                let quantity = bid.open.min(ask.open);
                let (mut taker, mut maker) = if bid.id > ask.id { (bid, ask) } else { (ask, bid) };
                if taker.account == maker.account {
                    self.put_back_first(market, maker);
                    self.close(market, &taker, CancelReason::SelfTrade);
                    continue;
                }
                self.fill(market, &mut taker, &mut maker, price, quantity);
                self.put_back_first(market, taker);
                self.put_back_first(market, maker);
            }
        }
    }

    /// Closes an order that is on no book any more, and releases its hold.
    pub fn close(&mut self, market: MarketId, order: &Order, reason: CancelReason) {
        let asset = self.markets[&market].hold_asset(order.side);
        self.release(order.account, asset, order.hold);
        self.events.push(Event::OrderCancelled {
            order: order.id,
            account: order.account,
            market,
            reason,
            quantity: Quantity(to_u64(order.open)),
            released: amount(order.hold),
        });
    }

    pub(super) fn cancel_order(&mut self, account: AccountId, wanted: impl Fn(&Order) -> bool) -> Outcome {
        let (market, order) = self.find_order(account, wanted)?;
        refuse_if(is_halted(self.status_of(market)), RejectReason::MarketHalted)?;
        let order = self.take_order(market, order.id);
        self.close(market, &order, CancelReason::Owner);
        Ok(())
    }

    pub(super) fn mass_cancel(&mut self, orders: &[(OrderId, MarketId)]) {
        for &(order, market) in orders {
            let order = self.take_order(market, order);
            self.close(market, &order, CancelReason::MassCancel);
        }
    }

    /// Lowers the open quantity to at most `quantity`.
    pub(super) fn reduce(&mut self, market: MarketId, order: OrderId, quantity: u128) -> Outcome {
        let found = self.markets.get_mut(&market).expect("the market exists");
        let mut reduced = found.orders().find(|open| open.id == order).expect("the order is open").clone();
        reduced.open = reduced.open.min(quantity);
        let required = found.required_hold(&reduced);
        let released = reduced.hold - required;
        reduced.hold = required;
        let (account, open) = (reduced.account, reduced.open);
        let asset = found.hold_asset(reduced.side);
        let place = found.side_mut(reduced.side).iter_mut().find(|open| open.id == order).expect("it is open");
        *place = reduced;
        self.release(account, asset, released);
        self.emit(Event::OrderReduced {
            order,
            account,
            market,
            quantity: Quantity(to_u64(open)),
            released: amount(released),
        })
    }

    pub(super) fn replace_order(&mut self, command: &Command) -> Outcome {
        let &Command::ReplaceOrder { account, market, side, order, price, quantity } = command else {
            unreachable!("called for this kind only")
        };
        self.check_account(account)?;
        self.check_active(account)?;
        self.check_market(market)?;
        self.check_limit(market, price, quantity)?;
        let (p, q) = (u128::from(price.0), u128::from(quantity.0));
        let (actual_market, open) = self.find_order(account, |open| open.id == order)?;
        refuse_if(actual_market != market || open.side != side, RejectReason::OrderMismatch)?;
        refuse_if(is_halted(self.status_of(market)), RejectReason::MarketHalted)?;
        if p == open.price && q <= open.open {
            return self.reduce(market, order, q);
        }
        refuse_if(self.status_of(market) == TradingStatus::CancelOnly, RejectReason::MarketCancelOnly)?;
        let found = &self.markets[&market];
        let post_only = open.order_type == OrderType::Limit(LimitType::PostOnly);
        let trades = self.status_of(market) == TradingStatus::Open;
        refuse_if(trades && post_only && found.would_trade(side, p), RejectReason::WouldTrade)?;
        let asset = found.hold_asset(side);
        let held = match side {
            Side::Buy => found.worst_case(p, q),
            Side::Sell => q * found.lot_size,
        };
        let funds = self.balance(account, asset).available + open.hold;
        refuse_if(funds < held, RejectReason::InsufficientAvailable)?;

        let (maker_rate, taker_rate) = (found.maker_rate, found.taker_rate);
        let old = self.take_order(market, order);
        let released = old.hold;
        self.release(account, asset, released);
        self.hold(account, asset, held);
        self.events.push(Event::OrderReplaced {
            order,
            account,
            market,
            price,
            quantity,
            released: amount(released),
            held: amount(held),
        });
        self.trade(
            market,
            Order {
                price: p,
                open: q,
                maker_rate,
                taker_rate,
                taken: 0,
                made: 0,
                taker_carry: 0,
                maker_carry: 0,
                hold: held,
                ..old
            },
        )
    }
}

/// What an order is charged for `notional` after `traded`, at most `most`, before the cap on rebates; negative is a rebate.
/// What was charged too much or too little before is in `carry`, and what is after this.
fn charge(rate: i16, traded: u128, carry: &mut i128, notional: u128, most: u128) -> i128 {
    if rate < 0 {
        return raw_fee(rate, traded, notional);
    }
    let charged = to_i128(fee(rate, traded)) + *carry;
    let due = to_i128(fee(rate, traded + notional));
    let charge = (due - charged).max(0).min(i128::try_from(most).unwrap_or(i128::MAX));
    *carry = charged + charge - due;
    charge
}

/// The most lots of the maker whose notional and fee fit what is left of a market buy's budget.
pub(super) fn affordable(market: &Market, taker: &Order, maker: &Order) -> u128 {
    let fits = |quantity: u128| {
        let notional = market.notional(maker.price, quantity);
        let charge = u128::try_from(raw_fee(taker.taker_rate, taker.taken, notional).max(0)).expect("not negative");
        notional + charge <= taker.hold
    };
    // Cost grows with quantity: halve the range until only the answer is left.
    let (mut fitting, mut above) = (0, maker.open + 1);
    while above - fitting > 1 {
        let middle = fitting + (above - fitting) / 2;
        if fits(middle) { fitting = middle } else { above = middle }
    }
    fitting
}
