//! Follows orders through the events of history: what each asked for, what it traded, and how it ended.

use std::collections::{HashMap, HashSet};

use engine::{
    command::Command,
    event::{CancelReason, Event},
    exchange::Exchange,
    journal::{Epoch, OpenError, epoch_starts},
    recovery::{Timeline, TimelineError},
    types::{AccountId, ClientOrderId, MarketId, MarketSpec, OrderId, Price, Quantity, Sequence, Side, Timestamp},
};

use crate::failure::Failure;

/// An order, as far as it has been followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its id: where it was placed.
    pub order: OrderId,
    /// Whose.
    pub account: AccountId,
    /// Where.
    pub market: MarketId,
    /// Which side.
    pub side: Side,
    /// `gtc`, `ioc`, `fok`, `post-only` or `market`; unknown when it was met half-way.
    pub order_type: Option<&'static str>,
    /// Its limit now; 0 for a market order.
    pub price: Price,
    /// What it asked for first; unknown when it was met half-way, 0 for a market buy.
    pub quantity: Option<Quantity>,
    /// What is open; 0 for a market buy.
    pub open: Quantity,
    /// Its owner's name for it, or 0.
    pub client_order_id: ClientOrderId,
    /// When it was placed, if it was seen.
    pub placed: Option<Timestamp>,
    /// What it has traded since it was met.
    pub filled: u64,
    /// For how much quote.
    pub notional: u64,
    /// In how many fills.
    pub fills: u64,
    /// What it was charged, less rebates.
    pub fees: i64,
    /// How and when it ended.
    pub end: Option<End>,
}

/// How an order ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// With which command.
    pub sequence: Sequence,
    /// When.
    pub time: Timestamp,
    /// `None`: all of it has traded.
    pub cancelled: Option<CancelReason>,
}

impl Followed {
    /// What it is now, in a word.
    pub const fn status(&self) -> &'static str {
        match self.end {
            None => "open",
            Some(End { cancelled: None, .. }) => "filled",
            Some(End { cancelled: Some(_), .. }) => "cancelled",
        }
    }
}

/// A fill, as a new epoch names it: the sequence, the taker, the maker.
pub type FillKey = (Sequence, OrderId, OrderId);

/// What the epochs of a journal change of fills and orders.
pub fn recoveries(timeline: &Timeline) -> Result<Recoveries, Failure> {
    let mut recoveries = Recoveries::default();
    for start in epoch_starts(timeline.storage())?.into_iter().filter(|start| start.epoch > Epoch::FIRST) {
        let before = Sequence(start.first.0 - 1);
        let mut replay = match timeline.replay_from(before) {
            Ok(replay) => replay,
            // Whoever asks begins behind what was pruned, too.
            Err(TimelineError::Journal(OpenError::Pruned { .. })) => continue,
            Err(error) => return Err(error.into()),
        };
        replay.run_to(before)?;
        if let Some(step) = replay.next()? {
            recoveries.learn(step.events);
        }
    }
    Ok(recoveries)
}

/// What later epochs change of orders: known beforehand, so that nothing else must be remembered.
#[derive(Clone, Debug, Default)]
pub struct Recoveries {
    /// Fills that are void, and from which epoch on.
    pub busted: HashMap<FillKey, u32>,
    /// Orders that are touched.
    orders: HashSet<OrderId>,
    /// An order whose fills may all turn out to be void.
    doubted: Option<OrderId>,
}

impl Recoveries {
    /// Takes in the events that begin an epoch.
    pub fn learn(&mut self, events: &[Event]) {
        let mut now = 0;
        for event in events {
            match *event {
                Event::EpochStarted { epoch, .. } => now = epoch,
                Event::FillBusted { sequence, taker, maker, .. } => {
                    self.busted.insert((sequence, taker, maker), now);
                    self.orders.extend([taker, maker]);
                }
                Event::OrderRestored { order, .. } => drop(self.orders.insert(order)),
                _ => {}
            }
        }
    }

    /// Only that this order may come back.
    pub fn of_order(order: OrderId) -> Self {
        Self { busted: HashMap::new(), orders: HashSet::from([order]), doubted: Some(order) }
    }

    /// Whether a fill may be void later, so that what it cost must be remembered.
    fn may_void(&self, fill: &FillKey) -> bool {
        self.busted.contains_key(fill) || self.doubted.is_some_and(|order| fill.1 == order || fill.2 == order)
    }
}

/// The orders that are open, followed.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    open: HashMap<u64, Followed>,
    markets: HashMap<u16, MarketSpec>,
    recoveries: Recoveries,
    /// Orders that were closed and are touched by a later epoch.
    closed: HashMap<u64, Followed>,
    /// What taker and maker were charged in fills that are void later.
    fees: HashMap<FillKey, (i64, i64)>,
}

impl Orders {
    /// Begins at a state: what is open there is met half-way.
    pub fn of(exchange: &Exchange) -> Self {
        let mut orders = Self::default();
        for market in exchange.markets() {
            orders.markets.insert(market.spec.market.0, market.spec);
            for view in [Side::Buy, Side::Sell].into_iter().flat_map(|side| exchange.queue(market.spec.market, side)) {
                let followed = Followed {
                    order: view.order,
                    account: view.account,
                    market: view.market,
                    side: view.side,
                    order_type: None,
                    price: view.price,
                    quantity: None,
                    open: view.quantity,
                    client_order_id: view.client_order_id,
                    placed: None,
                    filled: 0,
                    notional: 0,
                    fills: 0,
                    fees: 0,
                    end: None,
                };
                orders.open.insert(view.order.0, followed);
            }
        }
        orders
    }

    /// The same, with later epochs known: what they touch is not told as closed until they have begun, and never lost.
    #[must_use]
    pub fn knowing(mut self, recoveries: Recoveries) -> Self {
        self.recoveries = recoveries;
        self
    }

    /// All that were closed and not told so, since a later epoch touched them, or would have.
    pub fn closed(&self) -> impl Iterator<Item = &Followed> {
        self.closed.values()
    }

    /// Which fills are void later.
    pub const fn recoveries(&self) -> &Recoveries {
        &self.recoveries
    }

    /// The side of an open order.
    pub fn side(&self, order: OrderId) -> Option<Side> {
        self.open.get(&order.0).map(|followed| followed.side)
    }

    /// All that are open, in no order that means anything.
    pub fn open(&self) -> impl Iterator<Item = &Followed> {
        self.open.values()
    }

    /// Takes the next event of a command; `closed` is called with what it closes.
    pub fn take(
        &mut self,
        sequence: Sequence,
        time: Timestamp,
        command: &Command,
        event: &Event,
        mut closed: impl FnMut(Followed),
    ) {
        let (kept, ids) = (&mut self.closed, &self.recoveries.orders);
        let mut close = |followed: Option<Followed>, cancelled| {
            if let Some(followed) = followed {
                let followed = Followed { end: Some(End { sequence, time, cancelled }), ..followed };
                if ids.contains(&followed.order) {
                    kept.insert(followed.order.0, followed);
                } else {
                    closed(followed);
                }
            }
        };
        match *event {
            Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } => {
                let spec = MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate };
                self.markets.insert(market.0, spec);
            }
            Event::OrderAccepted { order, account, market, side, price, quantity, client_order_id, .. } => {
                let followed = Followed {
                    order,
                    account,
                    market,
                    side,
                    order_type: Some(order_type(command)),
                    price,
                    quantity: Some(quantity),
                    open: quantity,
                    client_order_id,
                    placed: Some(time),
                    filled: 0,
                    notional: 0,
                    fills: 0,
                    fees: 0,
                    end: None,
                };
                self.open.insert(order.0, followed);
            }
            Event::Filled { taker, maker, market, price, quantity, maker_remaining, taker_fee, maker_fee, .. } => {
                let spec = self.markets.get(&market.0).copied();
                let notional = spec.and_then(|spec| spec.notional(price, quantity)).unwrap_or_default().0;
                if self.recoveries.may_void(&(sequence, taker, maker)) {
                    self.fees.insert((sequence, taker, maker), (taker_fee, maker_fee));
                }
                for (order, fee) in [(taker, taker_fee), (maker, maker_fee)] {
                    let Some(followed) = self.open.get_mut(&order.0) else { continue };
                    followed.filled += quantity.0;
                    followed.notional += notional;
                    followed.fills += 1;
                    followed.fees += fee;
                    // A market buy has no quantity; it always ends with a cancel.
                    let budget = followed.quantity == Some(Quantity::ZERO);
                    followed.open.0 = followed.open.0.saturating_sub(quantity.0);
                    if followed.open.is_zero() && !budget {
                        debug_assert!(order == taker || maker_remaining.is_zero());
                        close(self.open.remove(&order.0), None);
                    }
                }
            }
            Event::OrderReduced { order, quantity, .. } => {
                if let Some(followed) = self.open.get_mut(&order.0) {
                    followed.open = quantity;
                }
            }
            Event::OrderReplaced { order, price, quantity, .. } => {
                if let Some(followed) = self.open.get_mut(&order.0) {
                    (followed.price, followed.open) = (price, quantity);
                }
            }
            Event::OrderCancelled { order, reason, .. } => close(self.open.remove(&order.0), Some(reason)),
            Event::OrderVoided { order, .. } => close(self.open.remove(&order.0), Some(CancelReason::Recovery)),
            Event::OrderRestored { order, account, market, side, price, quantity, .. } => {
                let known = self.open.remove(&order.0).or_else(|| self.closed.remove(&order.0));
                // One that was closed before it was followed is met half-way.
                let followed = known.unwrap_or(Followed {
                    order,
                    account,
                    market,
                    side,
                    order_type: None,
                    price,
                    quantity: None,
                    open: quantity,
                    client_order_id: ClientOrderId(0),
                    placed: None,
                    filled: 0,
                    notional: 0,
                    fills: 0,
                    fees: 0,
                    end: None,
                });
                self.open.insert(order.0, Followed { price, open: quantity, end: None, ..followed });
            }
            Event::FillBusted { sequence: filled_at, taker, maker, market, price, quantity, .. } => {
                let spec = self.markets.get(&market.0).copied();
                let notional = spec.and_then(|spec| spec.notional(price, quantity)).unwrap_or_default().0;
                let fees = self.fees.remove(&(filled_at, taker, maker)).unwrap_or_default();
                for (order, fee) in [(taker, fees.0), (maker, fees.1)] {
                    let known = self.open.get_mut(&order.0).or_else(|| self.closed.get_mut(&order.0));
                    let Some(followed) = known else { continue };
                    followed.filled = followed.filled.saturating_sub(quantity.0);
                    followed.notional = followed.notional.saturating_sub(notional);
                    followed.fills = followed.fills.saturating_sub(1);
                    followed.fees -= fee;
                    // What was closed by a fill that is void is not put back unless the epoch says so.
                    if let Some(End { cancelled: None, .. }) = followed.end {
                        followed.end = Some(End { sequence, time, cancelled: Some(CancelReason::Recovery) });
                    }
                }
            }
            // Nothing else touches an order: where it stands after a correction is told by `OrderRestored`.
            _ => {}
        }
    }
}

const fn order_type(command: &Command) -> &'static str {
    use engine::types::LimitType;
    match command {
        Command::PlaceLimit { limit_type, .. } => match limit_type {
            LimitType::GoodTillCancel => "gtc",
            LimitType::ImmediateOrCancel => "ioc",
            LimitType::FillOrKill => "fok",
            LimitType::PostOnly => "post-only",
        },
        _ => "market",
    }
}
