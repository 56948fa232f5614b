//! What the state looks like from outside.

use super::{
    Exchange, Matcher,
    book::BookSide,
    orders::{Order, Orders},
    risk::AccountView,
};
use crate::types::{AccountId, ClientOrderId, MarketId, OrderId, Price, Quantity, Side, TradingStatus};

/// A market's book, best prices first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookView {
    /// Which market.
    pub market: MarketId,
    /// What it accepts: the stricter of its own status and the exchange's.
    pub status: TradingStatus,
    /// Highest first.
    pub bids: Vec<LevelView>,
    /// Lowest first.
    pub asks: Vec<LevelView>,
}

/// All orders at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelView {
    /// The price.
    pub price: Price,
    /// The sum of what is open.
    pub quantity: Quantity,
    /// How many orders.
    pub orders: u32,
}

/// An open order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderView {
    /// Its id.
    pub order: OrderId,
    /// Its owner's own name for it, or 0.
    pub client_order_id: ClientOrderId,
    /// Whose.
    pub account: AccountId,
    /// Where.
    pub market: MarketId,
    /// Which side.
    pub side: Side,
    /// The limit.
    pub price: Price,
    /// What is open.
    pub quantity: Quantity,
}

impl From<&Order> for OrderView {
    fn from(order: &Order) -> Self {
        Self {
            order: order.id,
            client_order_id: order.client_order_id,
            account: order.account,
            market: order.market,
            side: order.side,
            price: order.price,
            quantity: order.remaining,
        }
    }
}

impl Matcher {
    /// The `depth` best levels of each side; `None` when there is no such market.
    #[must_use]
    pub fn book(&self, market: MarketId, depth: usize) -> Option<BookView> {
        let found = self.market(market)?;
        let view = |side: &BookSide| -> Vec<LevelView> {
            let levels = side.levels().take(depth);
            levels
                .map(|level| LevelView { price: level.price, quantity: level.quantity, orders: level.orders })
                .collect()
        };
        Some(BookView {
            market,
            status: found.status.max(self.global_status()),
            bids: view(&found.bids),
            asks: view(&found.asks),
        })
    }

    /// The open orders of one side of a market in the order in which they would trade.
    pub fn queue(&self, market: MarketId, side: Side) -> impl Iterator<Item = OrderView> {
        let side = self.market(market).map(|market| match side {
            Side::Buy => &market.bids,
            Side::Sell => &market.asks,
        });
        side.into_iter().flat_map(|side| in_turn(side, self.orders()).map(OrderView::from))
    }

    /// An open order.
    #[must_use]
    pub fn order(&self, order: OrderId) -> Option<OrderView> {
        self.orders().find(order).map(|slot| self.orders().get(slot).into())
    }
}

/// A side's orders, best price first and at a price the oldest first.
pub(super) fn in_turn<'a>(side: &'a BookSide, orders: &'a Orders) -> impl Iterator<Item = &'a Order> {
    side.slots_in_turn(orders).map(|slot| orders.get(slot))
}

impl Exchange {
    /// An account with its balances; `None` when there is no such user account.
    #[must_use]
    pub fn account(&self, account: AccountId) -> Option<AccountView> {
        self.risk.account(account)
    }

    /// The `depth` best levels of each side of a market's book; `None` when there is no such market.
    #[must_use]
    pub fn book(&self, market: MarketId, depth: usize) -> Option<BookView> {
        self.matcher.book(market, depth)
    }

    /// An open order.
    #[must_use]
    pub fn order(&self, order: OrderId) -> Option<OrderView> {
        self.matcher.order(order)
    }
}
