//! The matcher: owns the books, decides what only they can tell, and numbers all that happens.
//!
//! It takes each command together with what risk decided about it, emits the events in order, and reports to
//! risk's ledger what each fill and each closed order changes. It never looks at a balance.

use super::{
    book::BookSide,
    mirror::Mirror,
    orders::{OPEN_ORDERS_MAX, Order, Orders, Traded},
    risk::{Decision, OrderTerms, Settlement},
};
use crate::{
    command::Command,
    event::{CancelReason, Event, RejectReason},
    types::{
        AccountId, Amount, ClientOrderId, FeeRate, LimitType, MarketId, MarketSpec, OrderId, Price, Quantity, Sequence,
        Side, Timestamp, TradingStatus,
    },
};

/// Where the matcher puts what it does.
pub trait MatchSink {
    /// The next event of the command.
    fn emit(&mut self, event: Event);
    /// The next change of the ledger.
    fn settle(&mut self, settlement: Settlement);
}

/// The half of the exchange that owns the books.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub(super) global_status: TradingStatus,
    pub(super) markets: Vec<Option<Market>>,
    pub(super) orders: Orders,
    /// The lines of airdrops that are pending or locked.
    pub(super) mirror: Mirror,
    /// The orders a mass cancel is about to take; kept to be used again.
    mass_cancel: Vec<(OrderId, u32)>,
}

/// A market with its two books.
#[derive(Clone, Debug)]
pub(super) struct Market {
    pub(super) spec: MarketSpec,
    pub(super) status: TradingStatus,
    pub(super) bids: BookSide,
    pub(super) asks: BookSide,
}

impl Market {
    #[inline]
    pub(super) fn side_mut(&mut self, side: Side) -> &mut BookSide {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    #[inline]
    pub(super) const fn side(&self, side: Side) -> &BookSide {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }
}

/// The arriving order, while it matches.
struct Taker {
    id: OrderId,
    account: AccountId,
    side: Side,
    limit: Price,
    remaining: Quantity,
    notional: u64,
    maker_rate: FeeRate,
    taker_rate: FeeRate,
    /// What is held for it; counted down for a buy only.
    hold: u64,
}

/// Why matching ended before the order did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    NothingToTrade,
    OwnOrder,
}

impl Default for Matcher {
    fn default() -> Self {
        Self {
            global_status: TradingStatus::Open,
            markets: Vec::new(),
            orders: Orders::default(),
            mirror: Mirror::default(),
            mass_cancel: Vec::new(),
        }
    }
}

impl Matcher {
    /// Carries out the command at `sequence` as risk decided it.
    ///
    /// # Panics
    /// When `decision` is [`Decision::Wait`]: such a command has not been decided; or [`Decision::StartEpoch`], where the
    /// state is replaced instead.
    #[inline]
    pub fn execute(
        &mut self,
        sequence: Sequence,
        time: Timestamp,
        command: &Command,
        decision: &Decision,
        sink: &mut impl MatchSink,
    ) {
        if self.mirror.is_due(time) {
            self.mirror.unlock(time, sink);
        }
        match decision {
            Decision::Order(terms) => self.execute_order(sequence, command, terms, sink),
            Decision::Forward => self.execute_forwarded(command, sink),
            Decision::Done(event) => {
                self.mirror.observe(event);
                sink.emit(*event);
            }
            Decision::Airdrop { source, locked_until } => self.mirror.pay(command, *source, *locked_until, sink),
            Decision::Refuse(reason) => sink.emit(refused(*reason, command)),
            Decision::Wait { .. } => panic!("sequence {sequence} was passed on before it was decided"),
            Decision::StartEpoch => panic!("an epoch starts at {sequence}: the state must be replaced there"),
        }
    }

    #[inline]
    fn execute_order(&mut self, sequence: Sequence, command: &Command, terms: &OrderTerms, sink: &mut impl MatchSink) {
        match *command {
            Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id } => {
                let hold_asset = self.hold_asset(market, side);
                if let Err(reason) =
                    self.check_limit(account, market, side, limit_type, price, quantity, client_order_id)
                {
                    let (amount, order_done) = (terms.held, true);
                    sink.settle(Settlement::Release { account, asset: hold_asset, amount, order_done });
                    sink.emit(refused(reason, command));
                    return;
                }
                let order = OrderId(sequence.0);
                let held = terms.held;
                sink.emit(Event::OrderAccepted {
                    order,
                    account,
                    market,
                    side,
                    price,
                    quantity,
                    held,
                    client_order_id,
                });
                let mut taker = Taker::new(order, account, side, price, quantity, terms);
                let stopped = self.match_limit(market, &mut taker, sink);
                if taker.remaining.is_zero() {
                    return;
                }
                let reason = match (stopped, limit_type) {
                    (Stopped::OwnOrder, _) => CancelReason::SelfTrade,
                    (_, LimitType::GoodTillCancel | LimitType::PostOnly) => {
                        let post_only = limit_type == LimitType::PostOnly;
                        let resting = Order::new(
                            order,
                            client_order_id,
                            account,
                            market,
                            side,
                            post_only,
                            price,
                            taker.remaining,
                            terms.maker_rate,
                            terms.taker_rate,
                        );
                        let slot = self.orders.insert(resting);
                        if taker.notional > 0 {
                            self.orders.set_traded(slot, &Traded::as_taker(taker.notional));
                        }
                        market_mut(&mut self.markets, market).side_mut(side).append(&mut self.orders, slot);
                        return;
                    }
                    (_, LimitType::ImmediateOrCancel | LimitType::FillOrKill) => CancelReason::Unfilled,
                };
                self.cancel_taker(market, &taker, reason, sink);
            }
            Command::PlaceMarketSell { account, market, quantity, client_order_id } => {
                let side = Side::Sell;
                if let Err(reason) = self.check_new(account, market, client_order_id, false) {
                    let asset = self.hold_asset(market, side);
                    sink.settle(Settlement::Release { account, asset, amount: terms.held, order_done: true });
                    sink.emit(refused(reason, command));
                    return;
                }
                let (order, price, held) = (OrderId(sequence.0), Price::ZERO, terms.held);
                sink.emit(Event::OrderAccepted {
                    order,
                    account,
                    market,
                    side,
                    price,
                    quantity,
                    held,
                    client_order_id,
                });
                let mut taker = Taker::new(order, account, side, price, quantity, terms);
                let stopped = self.match_limit(market, &mut taker, sink);
                if !taker.remaining.is_zero() {
                    let own = stopped == Stopped::OwnOrder;
                    let reason = if own { CancelReason::SelfTrade } else { CancelReason::Unfilled };
                    self.cancel_taker(market, &taker, reason, sink);
                }
            }
            Command::PlaceMarketBuy { account, market, client_order_id, .. } => {
                let side = Side::Buy;
                if let Err(reason) = self.check_new(account, market, client_order_id, false) {
                    let asset = self.hold_asset(market, side);
                    sink.settle(Settlement::Release { account, asset, amount: terms.held, order_done: true });
                    sink.emit(refused(reason, command));
                    return;
                }
                let (order, price, quantity, held) = (OrderId(sequence.0), Price::ZERO, Quantity::ZERO, terms.held);
                sink.emit(Event::OrderAccepted {
                    order,
                    account,
                    market,
                    side,
                    price,
                    quantity,
                    held,
                    client_order_id,
                });
                let mut taker = Taker::new(order, account, side, price, quantity, terms);
                let reason = self.match_budget(market, &mut taker, sink);
                self.cancel_taker(market, &taker, reason, sink);
            }
            Command::ReplaceOrder { account, market, side, order, price, quantity } => {
                let asset = self.hold_asset(market, side);
                match self.check_replace(account, market, side, order, price, quantity, terms) {
                    Err(reason) => {
                        let (amount, order_done) = (terms.held, false);
                        sink.settle(Settlement::Release { account, asset, amount, order_done });
                        sink.emit(refused(reason, command));
                    }
                    Ok((slot, Replacing::Reduction)) => {
                        let (amount, order_done) = (terms.held, false);
                        sink.settle(Settlement::Release { account, asset, amount, order_done });
                        self.reduce(slot, quantity, sink);
                    }
                    Ok((slot, Replacing::Renewal { old, new })) => {
                        let amount = Amount(terms.held.0 + old.0 - new.0);
                        sink.settle(Settlement::Release { account, asset, amount, order_done: false });
                        sink.emit(Event::OrderReplaced {
                            order,
                            account,
                            market,
                            price,
                            quantity,
                            released: old,
                            held: new,
                        });
                        self.renew(slot, price, quantity, new, terms, sink);
                    }
                }
            }
            _ => unreachable!("risk holds nothing for a {}", command.kind_name()),
        }
    }

    fn execute_forwarded(&mut self, command: &Command, sink: &mut impl MatchSink) {
        match *command {
            Command::CancelOrder { account, order } => {
                match self.check_open(account, self.orders.find(order)) {
                    Ok(slot) => self.cancel_open(slot, CancelReason::Owner, sink),
                    Err(reason) => sink.emit(refused(reason, command)),
                };
            }
            Command::CancelByClientOrderId { account, client_order_id } => {
                let found = self.orders.find_by_client_order_id(account, client_order_id);
                match self.check_open(account, found) {
                    Ok(slot) => self.cancel_open(slot, CancelReason::Owner, sink),
                    Err(reason) => sink.emit(refused(reason, command)),
                };
            }
            Command::ReduceOrder { account, order, quantity } => {
                match self.check_open(account, self.orders.find(order)) {
                    Ok(slot) => self.reduce(slot, quantity, sink),
                    Err(reason) => sink.emit(refused(reason, command)),
                };
            }
            Command::CancelAllOfAccount { account } => {
                if self.global_status.is_halted() {
                    sink.emit(refused(RejectReason::MarketHalted, command));
                    return;
                }
                let slots = self.orders.of_account(account).map(|slot| (self.orders.get(slot).id, slot));
                self.mass_cancel.extend(slots);
                self.mass_cancel.sort_unstable();
                self.cancel_all(account, MarketId(0), sink);
            }
            Command::CancelAllOfMarket { market } => {
                if self.global_status.is_halted() {
                    sink.emit(refused(RejectReason::MarketHalted, command));
                    return;
                }
                let books = self.markets[usize::from(market.0)].as_ref().expect("risk knows the market");
                for side in [&books.bids, &books.asks] {
                    let in_turn = side.slots_in_turn(&self.orders);
                    self.mass_cancel.extend(in_turn.map(|slot| (self.orders.get(slot).id, slot)));
                }
                self.cancel_all(AccountId(0), market, sink);
            }
            Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } => {
                let spec = MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate };
                self.put_market(spec, TradingStatus::Open);
                let added = Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate };
                sink.emit(added);
            }
            Command::SetMarketFees { market, maker_rate, taker_rate } => {
                let spec = &mut market_mut(&mut self.markets, market).spec;
                (spec.maker_rate, spec.taker_rate) = (maker_rate, taker_rate);
                sink.emit(Event::MarketFeesSet { market, maker_rate, taker_rate });
            }
            Command::SetMarketStatus { market, status } => {
                market_mut(&mut self.markets, market).status = status;
                sink.emit(Event::MarketStatusSet { market, status });
                self.uncross_if_open(market, sink);
            }
            Command::SetGlobalStatus { status } => {
                self.global_status = status;
                sink.emit(Event::GlobalStatusSet { status });
                if status == TradingStatus::Open {
                    for index in 0..self.markets.len() {
                        if self.markets[index].is_some() {
                            self.uncross_if_open(MarketId(index as u16), sink);
                        }
                    }
                }
            }
            _ => unreachable!("risk decides a {} itself", command.kind_name()),
        }
    }

    /// What the whole exchange accepts.
    #[must_use]
    pub const fn global_status(&self) -> TradingStatus {
        self.global_status
    }

    /// How many orders are open.
    #[must_use]
    pub fn open_orders(&self) -> usize {
        self.orders.len()
    }

    /// Nothing but a status, for the state that follows.
    pub(super) fn restored(status: TradingStatus, hash_seed: u64) -> Self {
        Self { global_status: status, ..Self::with_hash_seed(hash_seed) }
    }

    pub(super) fn with_hash_seed(seed: u64) -> Self {
        Self { orders: Orders::with_hash_seed(seed), ..Self::default() }
    }

    pub(super) fn put_market(&mut self, spec: MarketSpec, status: TradingStatus) {
        let index = usize::from(spec.market.0);
        if self.markets.len() <= index {
            self.markets.resize_with(index + 1, || None);
        }
        self.markets[index] =
            Some(Market { spec, status, bids: BookSide::new(Side::Buy), asks: BookSide::new(Side::Sell) });
    }

    /// Puts an order behind all others of its price; gives false when there is one with its id or its name already.
    #[must_use]
    pub(super) fn restore_order(&mut self, order: Order, traded: &Traded) -> bool {
        let named = self.orders.find_by_client_order_id(order.account, order.client_order_id).is_some();
        if named || self.orders.find(order.id).is_some() {
            return false;
        }
        let (market, side) = (order.market, order.side);
        let slot = self.orders.insert(order);
        self.orders.set_traded(slot, traded);
        market_mut(&mut self.markets, market).side_mut(side).append(&mut self.orders, slot);
        true
    }

    #[inline]
    pub(super) fn market(&self, market: MarketId) -> Option<&Market> {
        self.markets.get(usize::from(market.0))?.as_ref()
    }

    /// All markets, ids ascending.
    pub(super) fn markets(&self) -> impl Iterator<Item = &Market> {
        self.markets.iter().flatten()
    }

    pub(super) const fn orders(&self) -> &Orders {
        &self.orders
    }

    #[inline]
    fn hold_asset(&self, market: MarketId, side: Side) -> crate::types::AssetId {
        let spec = &self.market(market).expect("risk knows the market").spec;
        match side {
            Side::Buy => spec.quote,
            Side::Sell => spec.base,
        }
    }

    /// Whether orders trade.
    #[inline]
    pub(super) fn is_open(&self, market: MarketId) -> bool {
        self.status(market) == TradingStatus::Open
    }

    /// The stricter of the global status and the market's.
    #[inline]
    pub(super) fn status(&self, market: MarketId) -> TradingStatus {
        self.global_status.stricter(self.market(market).expect("risk knows the market").status)
    }

    #[inline]
    fn check_new(
        &self,
        account: AccountId,
        market: MarketId,
        name: ClientOrderId,
        can_stand: bool,
    ) -> Result<(), RejectReason> {
        match self.status(market) {
            TradingStatus::Open => {}
            TradingStatus::Auction if can_stand => {}
            TradingStatus::Auction => return Err(RejectReason::MarketInAuction),
            TradingStatus::CancelOnly => return Err(RejectReason::MarketCancelOnly),
            TradingStatus::Halted | TradingStatus::Frozen => return Err(RejectReason::MarketHalted),
        }
        if self.orders.find_by_client_order_id(account, name).is_some() {
            return Err(RejectReason::DuplicateClientOrderId);
        }
        if self.orders.len() >= OPEN_ORDERS_MAX {
            return Err(RejectReason::TooManyOpenOrders);
        }
        Ok(())
    }

    #[inline]
    #[allow(clippy::too_many_arguments, reason = "the fields of one command")]
    fn check_limit(
        &self,
        account: AccountId,
        market: MarketId,
        side: Side,
        limit_type: LimitType,
        price: Price,
        quantity: Quantity,
        name: ClientOrderId,
    ) -> Result<(), RejectReason> {
        let can_stand = matches!(limit_type, LimitType::GoodTillCancel | LimitType::PostOnly);
        self.check_new(account, market, name, can_stand)?;
        match limit_type {
            LimitType::GoodTillCancel | LimitType::ImmediateOrCancel => Ok(()),
            LimitType::PostOnly if self.is_open(market) && self.would_trade(market, side, price) => {
                Err(RejectReason::WouldTrade)
            }
            LimitType::PostOnly => Ok(()),
            LimitType::FillOrKill if self.is_fillable(account, market, side, price, quantity) => Ok(()),
            LimitType::FillOrKill => Err(RejectReason::NotFillable),
        }
    }

    #[inline]
    fn would_trade(&self, market: MarketId, side: Side, limit: Price) -> bool {
        self.market(market).expect("risk knows the market").side(side.opposite()).trades_at(limit)
    }

    /// Whether what stands in turn, before the first order of the same account, covers the quantity.
    fn is_fillable(&self, account: AccountId, market: MarketId, side: Side, limit: Price, quantity: Quantity) -> bool {
        let opposite = self.market(market).expect("risk knows the market").side(side.opposite());
        // The price of the account's own order that would come first: up to there, levels count as wholes.
        let own = self.orders.of_account(account).map(|slot| self.orders.get(slot));
        let own = own.filter(|order| order.market == market && order.side == side.opposite()).map(|order| order.price);
        let own_price = match side {
            Side::Buy => own.min(),
            Side::Sell => own.max(),
        };
        let mut missing = quantity.0;
        for level in opposite.levels().take_while(|level| opposite.is_within(level.price, limit)) {
            if own_price != Some(level.price) {
                if level.quantity.0 >= missing {
                    return true;
                }
                missing -= level.quantity.0;
                continue;
            }
            let mut slot = level.oldest;
            loop {
                let maker = self.orders.get(slot);
                if maker.account == account {
                    return false;
                }
                if maker.remaining.0 >= missing {
                    return true;
                }
                missing -= maker.remaining.0;
                slot = maker.newer;
            }
        }
        false
    }

    /// The account's own open order, on a market where orders may be cancelled.
    #[inline]
    fn check_open(&self, account: AccountId, slot: Option<u32>) -> Result<u32, RejectReason> {
        let slot = slot.ok_or(RejectReason::OrderNotFound)?;
        let order = self.orders.get(slot);
        if order.account != account {
            return Err(RejectReason::OrderNotFound);
        }
        if self.status(order.market).is_halted() {
            return Err(RejectReason::MarketHalted);
        }
        Ok(slot)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one command")]
    fn check_replace(
        &self,
        account: AccountId,
        market: MarketId,
        side: Side,
        id: OrderId,
        price: Price,
        quantity: Quantity,
        terms: &OrderTerms,
    ) -> Result<(u32, Replacing), RejectReason> {
        let slot = self.orders.find(id).ok_or(RejectReason::OrderNotFound)?;
        let order = self.orders.get(slot);
        if order.account != account {
            return Err(RejectReason::OrderNotFound);
        }
        if (order.market, order.side) != (market, side) {
            return Err(RejectReason::OrderMismatch);
        }
        let is_reduction = order.price == price && quantity <= order.remaining;
        match self.status(market) {
            TradingStatus::Halted | TradingStatus::Frozen => return Err(RejectReason::MarketHalted),
            TradingStatus::CancelOnly if !is_reduction => return Err(RejectReason::MarketCancelOnly),
            TradingStatus::CancelOnly | TradingStatus::Auction | TradingStatus::Open => {}
        }
        if is_reduction {
            return Ok((slot, Replacing::Reduction));
        }
        if order.is_post_only() && self.is_open(market) && self.would_trade(market, side, price) {
            return Err(RejectReason::WouldTrade);
        }
        let spec = &self.market(market).expect("risk knows the market").spec;
        let (maker_rate, taker_rate) = (terms.maker_rate, terms.taker_rate);
        let mut renewed = order.clone();
        (renewed.price, renewed.remaining) = (price, quantity);
        (renewed.maker_rate, renewed.taker_rate) = (maker_rate, taker_rate);
        let (old, new) = (self.orders.hold(slot, spec), renewed.hold(&Traded::default(), spec));
        if terms.held.0 + old.0 < new.0 {
            return Err(RejectReason::InsufficientAvailable);
        }
        Ok((slot, Replacing::Renewal { old, new }))
    }

    /// Matches against the other side while prices allow and something is left.
    #[inline]
    fn match_limit(&mut self, market: MarketId, taker: &mut Taker, sink: &mut impl MatchSink) -> Stopped {
        if !self.is_open(market) {
            return Stopped::NothingToTrade;
        }
        let market = market_mut(&mut self.markets, market);
        let spec = market.spec;
        let opposite = market.side_mut(taker.side.opposite());
        while !taker.remaining.is_zero() {
            let Some(level) = opposite.best() else { break };
            if !opposite.is_within(level.price, taker.limit) {
                break;
            }
            let slot = level.oldest;
            if self.orders.get(slot).account == taker.account {
                return Stopped::OwnOrder;
            }
            let maker = self.orders.get(slot);
            let quantity = taker.remaining.min(maker.remaining);
            taker.remaining.0 -= quantity.0;
            let closes = taker.remaining.is_zero();
            let hold_before = taker.hold;
            fill(
                &spec,
                opposite,
                &mut self.orders,
                slot,
                taker,
                quantity,
                closes,
                |taker, paid| match taker.side {
                    Side::Sell => Amount::ZERO,
                    Side::Buy => {
                        taker.hold = taker.required(&spec);
                        Amount(hold_before - paid - taker.hold)
                    }
                },
                sink,
            );
        }
        Stopped::NothingToTrade
    }

    /// Buys until the budget affords no further lot; what is left of it stays in `taker.hold`.
    fn match_budget(&mut self, market: MarketId, taker: &mut Taker, sink: &mut impl MatchSink) -> CancelReason {
        let market = market_mut(&mut self.markets, market);
        let spec = market.spec;
        let opposite = &mut market.asks;
        while let Some(level) = opposite.best() {
            let slot = level.oldest;
            let price = level.price;
            let maker = self.orders.get(slot);
            if maker.account == taker.account {
                return CancelReason::SelfTrade;
            }
            let offered = maker.remaining;
            let quantity = taker.affordable(&spec, price).min(offered);
            if quantity.is_zero() {
                return CancelReason::BudgetSpent;
            }
            fill(
                &spec,
                opposite,
                &mut self.orders,
                slot,
                taker,
                quantity,
                false,
                |taker, paid| {
                    taker.hold -= paid;
                    Amount::ZERO
                },
                sink,
            );
            if quantity < offered {
                return CancelReason::BudgetSpent;
            }
        }
        CancelReason::Unfilled
    }

    /// Cancels what is left of an arriving order.
    fn cancel_taker(&self, market: MarketId, taker: &Taker, reason: CancelReason, sink: &mut impl MatchSink) {
        let spec = &self.market(market).expect("risk knows the market").spec;
        let (asset, released) = match taker.side {
            Side::Buy => (spec.quote, Amount(taker.hold)),
            Side::Sell => (spec.base, spec.base_amount(taker.remaining).expect("risk checked the quantity")),
        };
        let account = taker.account;
        sink.settle(Settlement::Release { account, asset, amount: released, order_done: true });
        let quantity = taker.remaining;
        sink.emit(Event::OrderCancelled { order: taker.id, account, market, reason, quantity, released });
    }

    /// Cancels an open order.
    pub(super) fn cancel_open(&mut self, slot: u32, reason: CancelReason, sink: &mut impl MatchSink) {
        let order = self.orders.get(slot);
        let (id, account, quantity, side) = (order.id, order.account, order.remaining, order.side);
        let market = market_mut(&mut self.markets, order.market);
        let released = self.orders.hold(slot, &market.spec);
        market.side_mut(side).unlink(&mut self.orders, slot);
        let asset = if side == Side::Buy { market.spec.quote } else { market.spec.base };
        let market = market.spec.market;
        self.orders.remove(slot);
        sink.settle(Settlement::Release { account, asset, amount: released, order_done: true });
        sink.emit(Event::OrderCancelled { order: id, account, market, reason, quantity, released });
    }

    fn cancel_all(&mut self, account: AccountId, market: MarketId, sink: &mut impl MatchSink) {
        let mut taken = std::mem::take(&mut self.mass_cancel);
        for &(_, slot) in &taken {
            self.cancel_open(slot, CancelReason::MassCancel, sink);
        }
        let orders = u32::try_from(taken.len()).expect("the number of open orders was checked");
        sink.emit(Event::MassCancelled { account, market, orders });
        taken.clear();
        self.mass_cancel = taken;
    }

    fn reduce(&mut self, slot: u32, quantity: Quantity, sink: &mut impl MatchSink) {
        let traded = self.orders.traded(slot);
        let order = self.orders.get_mut(slot);
        let market = market_mut(&mut self.markets, order.market);
        let before = order.hold(&traded, &market.spec);
        let less = Quantity(order.remaining.0.saturating_sub(quantity.0));
        order.remaining.0 -= less.0;
        let released = Amount(before.0 - order.hold(&traded, &market.spec).0);
        market.side_mut(order.side).shrink(order.level, less);
        let (account, side, quantity) = (order.account, order.side, order.remaining);
        let asset = if side == Side::Buy { market.spec.quote } else { market.spec.base };
        sink.settle(Settlement::Release { account, asset, amount: released, order_done: false });
        let (order, market) = (order.id, order.market);
        sink.emit(Event::OrderReduced { order, account, market, quantity, released });
    }

    /// Takes an open order off its level and lets it arrive again with a new price and quantity.
    fn renew(
        &mut self,
        slot: u32,
        price: Price,
        quantity: Quantity,
        hold: Amount,
        terms: &OrderTerms,
        sink: &mut impl MatchSink,
    ) {
        let order = self.orders.get(slot);
        let (id, account, market, side) = (order.id, order.account, order.market, order.side);
        market_mut(&mut self.markets, market).side_mut(side).unlink(&mut self.orders, slot);
        let terms = OrderTerms { held: hold, ..*terms };
        let mut taker = Taker::new(id, account, side, price, quantity, &terms);
        let stopped = self.match_limit(market, &mut taker, sink);
        if taker.remaining.is_zero() {
            self.orders.remove(slot);
        } else if stopped == Stopped::OwnOrder {
            self.orders.remove(slot);
            self.cancel_taker(market, &taker, CancelReason::SelfTrade, sink);
        } else {
            let order = self.orders.get_mut(slot);
            (order.price, order.remaining) = (price, taker.remaining);
            (order.maker_rate, order.taker_rate) = (terms.maker_rate, terms.taker_rate);
            self.orders.set_traded(slot, &Traded::as_taker(taker.notional));
            market_mut(&mut self.markets, market).side_mut(side).append(&mut self.orders, slot);
        }
    }
}

/// How a replacing is done.
enum Replacing {
    /// In place.
    Reduction,
    /// As a new arrival, with the hold before and after.
    Renewal { old: Amount, new: Amount },
}

impl Taker {
    #[inline]
    const fn new(
        id: OrderId,
        account: AccountId,
        side: Side,
        limit: Price,
        quantity: Quantity,
        terms: &OrderTerms,
    ) -> Self {
        let OrderTerms { held, maker_rate, taker_rate } = *terms;
        Self { id, account, side, limit, remaining: quantity, notional: 0, maker_rate, taker_rate, hold: held.0 }
    }

    /// What a limit buy must hold for what is left of it.
    #[inline]
    fn required(&self, spec: &MarketSpec) -> u64 {
        if self.remaining.is_zero() {
            return 0;
        }
        let notional = spec.notional(self.limit, self.remaining).expect("risk checked the whole order's notional").0;
        let hold_rate = MarketSpec::hold_rate(self.maker_rate, self.taker_rate);
        let charged = if self.taker_rate.0 > 0 { self.taker_rate.fee_floor(Amount(self.notional)) } else { 0 };
        notional + hold_rate.fee_floor(Amount(self.notional + notional)) - charged
    }

    /// The most lots at `price` that, with their fee, fit what is left of a market buy's budget.
    fn affordable(&self, spec: &MarketSpec, price: Price) -> Quantity {
        let lot = u128::from(price.0) * u128::from(spec.tick_value.0);
        let budget = u128::from(self.hold);
        let rate = self.taker_rate.max(FeeRate(0));
        let charged = rate.fee_floor(Amount(self.notional));
        let fits = |quantity: u128| {
            let notional = quantity * lot;
            // A notional above the budget is out of the question, so the sum below stays in range.
            notional <= budget && {
                let fee = rate.fee_floor(Amount(self.notional + notional as u64)) - charged;
                notional + u128::from(fee) <= budget
            }
        };
        let denominator = u128::from(crate::types::FEE_RATE_DENOMINATOR);
        // Without rounding; rounding shifts it by no more than a minor unit or two.
        let mut quantity = budget * denominator / (denominator + rate.0.unsigned_abs() as u128) / lot;
        while quantity > 0 && !fits(quantity) {
            quantity -= 1;
        }
        while fits(quantity + 1) {
            quantity += 1;
        }
        Quantity(quantity as u64)
    }
}

/// One fill of `quantity` between the taker and the oldest order of the opposite side's best level, which is in
/// `slot`. `released` tells, given the taker after the fill and what it pays, how much of a buying taker's hold is
/// free again.
#[inline]
#[allow(clippy::too_many_arguments, reason = "all that a fill touches")]
fn fill(
    spec: &MarketSpec,
    opposite: &mut BookSide,
    orders: &mut Orders,
    slot: u32,
    taker: &mut Taker,
    quantity: Quantity,
    taker_closes: bool,
    released: impl FnOnce(&mut Taker, u64) -> Amount,
    sink: &mut impl MatchSink,
) {
    let (maker, mut traded) = (orders.get(slot), orders.traded(slot));
    let notional = spec.notional(maker.price, quantity).expect("an open order's notional was checked");
    let base_amount = spec.base_amount(quantity).expect("an open order's quantity was checked");
    let taker_due = taker.taker_rate.fee_floor(Amount(taker.notional + notional.0))
        - taker.taker_rate.fee_floor(Amount(taker.notional));
    let mut maker_due = maker.maker_rate.fee_floor(Amount(traded.maker_notional + notional.0))
        - maker.maker_rate.fee_floor(Amount(traded.maker_notional));
    let carried = traded.is_carried();
    let hold_before = if carried && taker.side == Side::Sell { maker.hold(&traded, spec).0 } else { 0 };
    if carried && maker.maker_rate.0 >= 0 {
        let most = if taker.side == Side::Buy { notional.0 } else { u64::MAX };
        maker_due = carry_over(maker_due, &mut traded.maker_carry, most);
    }
    let (taker_fee, maker_fee) = fees(taker.taker_rate, taker_due, maker.maker_rate, maker_due);

    taker.notional += notional.0;
    traded.maker_notional += notional.0;
    let (maker_id, maker_account, price) = (maker.id, maker.account, maker.price);
    let maker_remaining = Quantity(maker.remaining.0 - quantity.0);
    let maker_closes = maker_remaining.is_zero();

    let (buyer, seller, buyer_fee, seller_fee, buyer_done, seller_done, released) = match taker.side {
        Side::Buy => {
            let paid = notional.0 + taker_fee.max(0).unsigned_abs();
            let released = released(taker, paid);
            (taker.account, maker_account, taker_fee, maker_fee, taker_closes, maker_closes, released)
        }
        Side::Sell => {
            // A resting buy trades at its own limit, so only its last fill leaves something: rounding, and the
            // difference between the rate it held for and those it paid. One with carried fees may leave something earlier.
            let released = if carried {
                let mut after = maker.clone();
                after.remaining = maker_remaining;
                Amount(hold_before - notional.0 - maker_fee.max(0).unsigned_abs() - after.hold(&traded, spec).0)
            } else if maker_closes {
                let hold_rate = MarketSpec::hold_rate(maker.maker_rate, maker.taker_rate);
                let notional = Amount(traded.taker_notional + traded.maker_notional);
                Amount(hold_rate.fee_floor(notional) - maker.charged(&traded))
            } else {
                Amount::ZERO
            };
            (maker_account, taker.account, maker_fee, taker_fee, maker_closes, taker_closes, released)
        }
    };

    if maker_closes {
        opposite.unlink(orders, slot);
        orders.remove(slot);
    } else {
        let maker = orders.get_mut(slot);
        maker.remaining = maker_remaining;
        opposite.shrink(maker.level, quantity);
        orders.set_traded(slot, &traded);
    }

    sink.settle(Settlement::Fill {
        market: spec.market,
        buyer,
        seller,
        notional,
        base_amount,
        buyer_fee,
        seller_fee,
        released,
        buyer_done,
        seller_done,
    });
    sink.emit(Event::Filled {
        taker: taker.id,
        maker: maker_id,
        taker_account: taker.account,
        maker_account,
        market: spec.market,
        taker_side: taker.side,
        price,
        quantity,
        maker_remaining,
        taker_fee,
        maker_fee,
        released,
    });
}

/// What is charged of `due`, at most `most`, by an order that was charged `carry` too much; counts it in the carry.
pub(super) fn carry_over(due: u64, carry: &mut i64, most: u64) -> u64 {
    let owed = i128::from(due) - i128::from(*carry);
    let charge = u64::try_from(owed.max(0)).map_or(most, |owed| owed.min(most));
    *carry = i64::try_from(i128::from(charge) - owed).expect("a carry is a few fees at most");
    charge
}

/// What each side is charged (negative: is paid), given the magnitudes due at their rates.
#[inline]
pub(super) fn fees(taker_rate: FeeRate, taker_due: u64, maker_rate: FeeRate, maker_due: u64) -> (i64, i64) {
    let signed = |due: u64| i64::try_from(due).expect("a fee is less than its notional");
    match (taker_rate.0 < 0, maker_rate.0 < 0) {
        (false, false) => (signed(taker_due), signed(maker_due)),
        (false, true) => (signed(taker_due), -signed(maker_due.min(taker_due))),
        (true, false) => (-signed(taker_due.min(maker_due)), signed(maker_due)),
        (true, true) => (0, 0),
    }
}

#[inline]
pub(super) fn market_mut(markets: &mut [Option<Market>], market: MarketId) -> &mut Market {
    markets[usize::from(market.0)].as_mut().expect("risk knows the market")
}

/// The event that declines a command.
pub(super) fn refused(reason: RejectReason, command: &Command) -> Event {
    let none = (AccountId(0), ClientOrderId(0), 0);
    let (account, client_order_id, subject) = match *command {
        Command::CreateAccount { account }
        | Command::SuspendAccount { account }
        | Command::ResumeAccount { account }
        | Command::Deposit { account, .. }
        | Command::Transfer { from: account, .. }
        | Command::RequestWithdrawal { account, .. }
        | Command::RequestWithdrawalOfAll { account, .. }
        | Command::SetOff { account, .. }
        | Command::CancelAllOfAccount { account } => (account, ClientOrderId(0), 0),
        Command::CancelWithdrawal { account, withdrawal } | Command::ReleaseWithdrawal { account, withdrawal, .. } => {
            (account, ClientOrderId(0), withdrawal.0)
        }
        Command::ConfirmWithdrawalSent { withdrawal, .. }
        | Command::ConfirmWithdrawalSettled { withdrawal }
        | Command::FailWithdrawal { withdrawal } => (AccountId(0), ClientOrderId(0), withdrawal.0),
        Command::PlaceLimit { account, client_order_id, .. }
        | Command::PlaceMarketBuy { account, client_order_id, .. }
        | Command::PlaceMarketSell { account, client_order_id, .. }
        | Command::CancelByClientOrderId { account, client_order_id } => (account, client_order_id, 0),
        Command::CancelOrder { account, order }
        | Command::ReduceOrder { account, order, .. }
        | Command::ReplaceOrder { account, order, .. } => (account, ClientOrderId(0), order.0),
        Command::AddAsset { .. }
        | Command::AddMarket { .. }
        | Command::SetMarketFees { .. }
        | Command::SetMarketStatus { .. }
        | Command::SetGlobalStatus { .. }
        | Command::SetAssetWithdrawals { .. }
        | Command::Tick {}
        | Command::FundTreasury { .. }
        | Command::AttestReserves { .. }
        | Command::SetPayoutVelocity { .. }
        | Command::SetAirdropLimits { .. }
        | Command::SetControls { .. }
        | Command::AddPlanPart { .. }
        | Command::StartEpoch { .. }
        | Command::CancelAllOfMarket { .. } => none,
        Command::RegisterOperator { operator, .. } | Command::RevokeOperator { operator, .. } => {
            (AccountId(0), ClientOrderId(0), operator.0.into())
        }
        Command::OpenAirdrop { airdrop, .. }
        | Command::ApproveAirdrop { airdrop, .. }
        | Command::ExecuteAirdrop { airdrop, .. }
        | Command::CancelAirdrop { airdrop, .. } => (AccountId(0), ClientOrderId(0), airdrop.0.into()),
        Command::AddAirdropLine { airdrop, account, .. } => (account, ClientOrderId(0), airdrop.0.into()),
    };
    Event::Refused { reason, command_kind: command.kind(), account, client_order_id, subject }
}
