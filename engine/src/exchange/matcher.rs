//! The matcher: owns the books, decides what only they can tell, and numbers all that happens.
//!
//! It takes each command together with what risk decided about it, emits the events in order, and reports to
//! risk's ledger what each fill and each closed order changes. It never looks at a balance, but for what risk
//! [leaves to it](Matcher::decide).

use super::{
    book::BookSide,
    decision::{Decision, OrderTerms, Settlement},
    look_ahead::Noted,
    matching::{ANY_BID, Stopped, Taker, cancel_taker, match_budget, match_limit},
    mirror::Mirror,
    orders::{NONE, OPEN_ORDERS_MAX, Order, Orders, Traded},
};
use crate::{
    command::Command,
    event::{CancelReason, Event, RejectReason},
    types::{
        AccountId, Amount, AssetId, ClientOrderId, LimitType, MarketId, MarketSpec, OrderId, Price, Quantity, Sequence,
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
    pub(super) noted: Noted,
}

/// A market with its two books.
#[derive(Clone, Debug)]
pub(super) struct Market {
    pub(super) spec: MarketSpec,
    pub(super) status: TradingStatus,
    /// In the order of the sides' numbers.
    sides: [BookSide; 2],
}

impl Market {
    #[inline]
    pub(super) const fn side_mut(&mut self, side: Side) -> &mut BookSide {
        &mut self.sides[side as usize]
    }

    #[inline]
    pub(super) const fn side(&self, side: Side) -> &BookSide {
        &self.sides[side as usize]
    }

    /// What the market is, beside one of its sides.
    #[inline]
    pub(super) const fn spec_and_side(&mut self, side: Side) -> (&MarketSpec, &mut BookSide) {
        (&self.spec, &mut self.sides[side as usize])
    }

    #[inline]
    pub(super) const fn bids(&self) -> &BookSide {
        self.side(Side::Buy)
    }

    #[inline]
    pub(super) const fn asks(&self) -> &BookSide {
        self.side(Side::Sell)
    }
}

impl Default for Matcher {
    fn default() -> Self {
        Self {
            global_status: TradingStatus::Open,
            markets: Vec::new(),
            orders: Orders::default(),
            mirror: Mirror::default(),
            mass_cancel: Vec::new(),
            noted: Noted::default(),
        }
    }
}

impl Matcher {
    /// Carries out the command at `sequence` as risk decided it.
    ///
    /// # Panics
    /// When `decision` is [`Decision::Wait`] or [`Decision::Conditional`]: such a command has not been decided; or
    /// [`Decision::StartEpoch`], where the state is replaced instead.
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
        if let Command::PlaceLimit { .. } = command
            && let Decision::Order(terms) = decision
        {
            self.place_limit(sequence, command, terms, sink);
        } else if let &Command::CancelOrder { account, order } = command
            && matches!(decision, Decision::Forward)
        {
            self.cancel_order(account, order, command, sink);
        } else {
            self.execute_other(sequence, command, decision, sink);
        }
    }

    #[inline(never)]
    fn execute_other(&mut self, sequence: Sequence, command: &Command, decision: &Decision, sink: &mut impl MatchSink) {
        match decision {
            Decision::Order(terms) => self.execute_order(sequence, command, terms, sink),
            Decision::Forward => self.execute_forwarded(command, sink),
            Decision::Done(event) => {
                self.mirror.observe(event);
                sink.emit(*event);
            }
            Decision::Airdrop { source, locked_until } => self.mirror.pay(command, *source, *locked_until, sink),
            Decision::Refuse(reason) => sink.emit(refused(*reason, command)),
            Decision::Wait { .. } | Decision::Conditional(_) => {
                panic!("sequence {sequence} was passed on before it was decided")
            }
            Decision::StartEpoch => panic!("an epoch starts at {sequence}: the state must be replaced there"),
        }
    }

    #[inline(never)]
    fn place_limit(&mut self, sequence: Sequence, command: &Command, terms: &OrderTerms, sink: &mut impl MatchSink) {
        let &Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id } = command
        else {
            unreachable!("a {} places no limit order", command.kind_name());
        };
        let mut books = market_mut(&mut self.markets, market);
        let is_open = (self.global_status, books.status) == (TradingStatus::Open, TradingStatus::Open);
        // Most orders are such, and need none of the checks.
        let is_plain = client_order_id.0 == 0
            && matches!(limit_type, LimitType::GoodTillCancel | LimitType::ImmediateOrCancel)
            && self.orders.len() < OPEN_ORDERS_MAX
            && is_open;
        if !is_plain {
            if let Err(reason) = self.check_limit(command) {
                let asset = self.hold_asset(market, side);
                refuse_order(account, asset, terms, reason, command, sink);
                return;
            }
            books = market_mut(&mut self.markets, market);
        }
        let orders = &mut self.orders;
        let (order, held) = (OrderId(sequence.0), terms.held);
        sink.emit(Event::OrderAccepted { order, account, market, side, price, quantity, held, client_order_id });
        let (mut remaining, mut notional) = (quantity, 0);
        if is_open && books.side(side.opposite()).trades_at(price) {
            let mut taker = Taker::new(order, account, side, price, quantity, terms);
            let stopped = match_limit(books, orders, &mut taker, sink);
            if taker.remaining.is_zero() {
                return;
            }
            if stopped == Stopped::OwnOrder || !limit_type.may_rest() {
                cancel_taker(&books.spec, &taker, stopped.cancel_reason(), sink);
                return;
            }
            (remaining, notional) = (taker.remaining, taker.notional);
        } else if !limit_type.may_rest() {
            let taker = Taker::new(order, account, side, price, quantity, terms);
            cancel_taker(&books.spec, &taker, CancelReason::Unfilled, sink);
            return;
        }
        let slot = orders.next_slot();
        let (level, older) = books.side_mut(side).append(orders, slot, price, remaining);
        let post_only = limit_type == LimitType::PostOnly;
        let (maker_rate, taker_rate) = (terms.maker_rate, terms.taker_rate);
        let resting = Order::new(
            order,
            client_order_id,
            account,
            market,
            side,
            post_only,
            price,
            remaining,
            maker_rate,
            taker_rate,
        );
        orders.insert(slot, resting.queued(level, older));
        if notional > 0 {
            orders.set_traded(slot, &Traded::as_taker(notional));
        }
    }

    #[inline(never)]
    fn cancel_order(&mut self, account: AccountId, order: OrderId, command: &Command, sink: &mut impl MatchSink) {
        match self.check_open(account, self.orders.find(order)) {
            Ok(slot) => self.cancel_open(slot, CancelReason::Owner, sink),
            Err(reason) => sink.emit(refused(reason, command)),
        }
    }

    fn execute_order(&mut self, sequence: Sequence, command: &Command, terms: &OrderTerms, sink: &mut impl MatchSink) {
        match *command {
            Command::PlaceLimit { .. } => self.place_limit(sequence, command, terms, sink),
            Command::PlaceMarketSell { account, market, quantity, client_order_id } => {
                let side = Side::Sell;
                if let Err(reason) = self.check_new(account, market, client_order_id, false) {
                    let asset = self.hold_asset(market, side);
                    refuse_order(account, asset, terms, reason, command, sink);
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
                let market = market_mut(&mut self.markets, market);
                let mut taker = Taker::new(order, account, side, ANY_BID, quantity, terms);
                let stopped = match_limit(market, &mut self.orders, &mut taker, sink);
                if !taker.remaining.is_zero() {
                    cancel_taker(&market.spec, &taker, stopped.cancel_reason(), sink);
                }
            }
            Command::PlaceMarketBuy { account, market, client_order_id, .. } => {
                let side = Side::Buy;
                if let Err(reason) = self.check_new(account, market, client_order_id, false) {
                    let asset = self.hold_asset(market, side);
                    refuse_order(account, asset, terms, reason, command, sink);
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
                let market = market_mut(&mut self.markets, market);
                let reason = match_budget(market, &mut self.orders, &mut taker, sink);
                cancel_taker(&market.spec, &taker, reason, sink);
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
            Command::CancelOrder { account, order } => self.cancel_order(account, order, command, sink),
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
                for side in [books.bids(), books.asks()] {
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
        self.markets[index] = Some(Market { spec, status, sides: [Side::Buy, Side::Sell].map(BookSide::new) });
    }

    /// Puts an order behind all others of its price; gives false when there is one with its id or its name already.
    #[must_use]
    pub(super) fn restore_order(&mut self, order: Order, traded: &Traded) -> bool {
        let (slot, books) = (self.orders.next_slot(), market_mut(&mut self.markets, order.market));
        let side = books.side_mut(order.side);
        let (level, older) = side.append(&mut self.orders, slot, order.price, order.remaining);
        if !self.orders.restore(slot, order.queued(level, older)) {
            return false;
        }
        self.orders.set_traded(slot, traded);
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
    fn hold_asset(&self, market: MarketId, side: Side) -> AssetId {
        self.market(market).expect("risk knows the market").spec.held_asset(side)
    }

    /// Whether orders trade.
    #[inline]
    pub(super) fn is_open(&self, market: MarketId) -> bool {
        let status = self.market(market).expect("risk knows the market").status;
        (self.global_status, status) == (TradingStatus::Open, TradingStatus::Open)
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

    fn check_limit(&self, command: &Command) -> Result<(), RejectReason> {
        let &Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id: name } =
            command
        else {
            unreachable!("a {} places no limit order", command.kind_name());
        };
        self.check_new(account, market, name, limit_type.may_rest())?;
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
        let market = self.market(order.market).expect("an order has a market");
        if self.global_status.is_halted() || market.status.is_halted() {
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

    /// Cancels an open order.
    #[inline(always)]
    pub(super) fn cancel_open(&mut self, slot: u32, reason: CancelReason, sink: &mut impl MatchSink) {
        let order = self.orders.get(slot);
        let (id, account, quantity, side) = (order.id, order.account, order.remaining, order.side);
        let (spec, books) = market_mut(&mut self.markets, order.market).spec_and_side(side);
        let released = self.orders.hold(slot, spec);
        let (market, asset) = (spec.market, spec.held_asset(side));
        books.unlink(&mut self.orders, slot);
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
        let asset = market.spec.held_asset(side);
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
        let is_open = self.is_open(market);
        let market = market_mut(&mut self.markets, market);
        let stopped =
            if is_open { match_limit(market, &mut self.orders, &mut taker, sink) } else { Stopped::NothingToTrade };
        if taker.remaining.is_zero() {
            self.orders.remove(slot);
        } else if stopped == Stopped::OwnOrder {
            self.orders.remove(slot);
            cancel_taker(&market.spec, &taker, CancelReason::SelfTrade, sink);
        } else {
            let (level, older) = market.side_mut(side).append(&mut self.orders, slot, price, taker.remaining);
            let order = self.orders.get_mut(slot);
            (order.price, order.remaining) = (price, taker.remaining);
            (order.maker_rate, order.taker_rate) = (terms.maker_rate, terms.taker_rate);
            (order.level, order.older, order.newer) = (level, older, NONE);
            self.orders.set_traded(slot, &Traded::as_taker(taker.notional));
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

#[inline]
pub(super) fn market_mut(markets: &mut [Option<Market>], market: MarketId) -> &mut Market {
    markets[usize::from(market.0)].as_mut().expect("risk knows the market")
}

/// Declines an order that risk has passed.
#[cold]
fn refuse_order(
    account: AccountId,
    asset: AssetId,
    terms: &OrderTerms,
    reason: RejectReason,
    command: &Command,
    sink: &mut impl MatchSink,
) {
    sink.settle(Settlement::Release { account, asset, amount: terms.held, order_done: true });
    sink.emit(refused(reason, command));
}

/// The event that declines a command.
#[cold]
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
