//! Follows orders through the events of history: what each asked for, what it traded, and how it ended.

use std::collections::HashMap;

use engine::{
    command::Command,
    event::{CancelReason, Event},
    exchange::Exchange,
    types::{AccountId, ClientOrderId, MarketId, MarketSpec, OrderId, Price, Quantity, Sequence, Side, Timestamp},
};

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

/// The orders that are open, followed.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    open: HashMap<u64, Followed>,
    markets: HashMap<u16, MarketSpec>,
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
        let mut close = |followed: Option<Followed>, cancelled| {
            if let Some(followed) = followed {
                closed(Followed { end: Some(End { sequence, time, cancelled }), ..followed });
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
