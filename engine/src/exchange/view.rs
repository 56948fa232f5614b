//! What the state looks like from outside.

use super::{
    Airdrop, AirdropLimits, Exchange, Matcher, OperatorView, PayoutVelocity,
    book::BookSide,
    orders::{Order, Orders},
    risk::{AccountView, Withdrawal},
};
use crate::types::{
    AccountId, AirdropId, Amount, AssetId, AssetSpec, ClientOrderId, Controls, Digest, Gate, MarketId, MarketSpec,
    OperatorId, OrderId, Price, Quantity, Side, Timestamp, TradingStatus, WithdrawalId,
};

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

/// A market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketView {
    /// What it is.
    pub spec: MarketSpec,
    /// Its own status; the exchange's may be stricter.
    pub status: TradingStatus,
}

/// What would trade before an open order does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePosition {
    /// Older orders at its price.
    pub orders_ahead: u32,
    /// What is open of them.
    pub quantity_ahead: Quantity,
    /// What is open at better prices.
    pub quantity_at_better_prices: Quantity,
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
            status: found.status.stricter(self.global_status()),
            bids: view(found.bids()),
            asks: view(found.asks()),
        })
    }

    /// The open orders of one side of a market in the order in which they would trade.
    pub fn queue(&self, market: MarketId, side: Side) -> impl Iterator<Item = OrderView> {
        let side = self.market(market).map(|market| match side {
            Side::Buy => market.bids(),
            Side::Sell => market.asks(),
        });
        side.into_iter().flat_map(|side| in_turn(side, self.orders()).map(OrderView::from))
    }

    /// An open order.
    #[must_use]
    pub fn order(&self, order: OrderId) -> Option<OrderView> {
        self.orders().find(order).map(|slot| self.orders().get(slot).into())
    }

    /// An account's open orders, ids ascending.
    #[must_use]
    pub fn orders_of_account(&self, account: AccountId) -> Vec<OrderView> {
        let slots = self.orders().of_account(account);
        let mut orders: Vec<OrderView> = slots.map(|slot| self.orders().get(slot).into()).collect();
        orders.sort_unstable_by_key(|order| order.order);
        orders
    }

    /// Where an open order stands in its book; `None` when it is not open. Walks the orders before it.
    #[must_use]
    pub fn queue_position(&self, order: OrderId) -> Option<QueuePosition> {
        let wanted = self.order(order)?;
        let mut position = QueuePosition::default();
        for other in self.queue(wanted.market, wanted.side).take_while(|other| other.order != order) {
            if other.price == wanted.price {
                position.orders_ahead += 1;
                position.quantity_ahead.0 += other.quantity.0;
            } else {
                position.quantity_at_better_prices.0 += other.quantity.0;
            }
        }
        Some(position)
    }

    /// All markets, ids ascending.
    pub fn market_views(&self) -> impl Iterator<Item = MarketView> {
        self.markets().map(|market| MarketView { spec: market.spec, status: market.status })
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

    /// The open orders of one side of a market in the order in which they would trade.
    pub fn queue(&self, market: MarketId, side: Side) -> impl Iterator<Item = OrderView> {
        self.matcher.queue(market, side)
    }

    /// Where an open order stands in its book; `None` when it is not open. Walks the orders before it.
    #[must_use]
    pub fn queue_position(&self, order: OrderId) -> Option<QueuePosition> {
        self.matcher.queue_position(order)
    }

    /// An account's open orders, ids ascending.
    #[must_use]
    pub fn orders_of_account(&self, account: AccountId) -> Vec<OrderView> {
        self.matcher.orders_of_account(account)
    }

    /// What the whole exchange accepts.
    #[must_use]
    pub const fn global_status(&self) -> TradingStatus {
        self.matcher.global_status()
    }

    /// All assets, ids ascending.
    pub fn assets(&self) -> impl Iterator<Item = &AssetSpec> {
        self.risk.assets()
    }

    /// All markets, ids ascending.
    pub fn markets(&self) -> impl Iterator<Item = MarketView> {
        self.matcher.market_views()
    }

    /// All user accounts with their balances, ids ascending.
    pub fn accounts(&self) -> impl Iterator<Item = AccountView> {
        self.risk.accounts()
    }

    /// All withdrawals ever asked for, ids ascending. Collects and sorts them.
    #[must_use]
    pub fn withdrawals(&self) -> Vec<(WithdrawalId, Withdrawal)> {
        self.risk.withdrawals_where(|_| true)
    }

    /// An account's withdrawals, ids ascending. Walks all withdrawals.
    #[must_use]
    pub fn withdrawals_of(&self, account: AccountId) -> Vec<(WithdrawalId, Withdrawal)> {
        self.risk.withdrawals_where(|withdrawal| withdrawal.account == account)
    }

    /// The system accounts' balances of an asset, in the order of [`AccountId::SYSTEM`]; `None` when there is no such
    /// asset.
    #[must_use]
    pub fn system_balances(&self, asset: AssetId) -> Option<[i128; AccountId::SYSTEM.len()]> {
        self.risk.system_balances(asset)
    }

    /// What users, fees and treasury have of an asset; 0 when there is no such asset.
    #[must_use]
    pub fn liabilities(&self, asset: AssetId) -> Amount {
        Amount(self.risk.asset(asset).map_or(0, |_| self.risk.ledger.liabilities(asset)))
    }

    /// What was last attested of an asset.
    #[must_use]
    pub fn attested_reserves(&self, asset: AssetId) -> Option<Amount> {
        self.risk.payouts.attested.get(&asset).copied()
    }

    /// What an account owes of an asset.
    #[must_use]
    pub fn owed(&self, account: AccountId, asset: AssetId) -> Amount {
        self.risk.ledger.owed(account, asset)
    }

    /// All that accounts owe, ascending.
    pub fn receivables(&self) -> impl Iterator<Item = (AccountId, AssetId, Amount)> {
        self.risk.ledger.debts().iter().map(|((account, asset), amount)| (*account, *asset, *amount))
    }

    /// All operators ever registered, numbers ascending.
    pub fn operators(&self) -> impl Iterator<Item = (OperatorId, OperatorView)> {
        self.risk.payouts.operators.iter().map(|(operator, view)| (*operator, *view))
    }

    /// The public key of an operator whose rights have not been taken away.
    #[must_use]
    pub fn operator_key(&self, operator: OperatorId) -> Option<Digest> {
        self.risk.payouts.operators.get(&operator).filter(|known| known.registered).map(|known| known.key)
    }

    /// All airdrops, numbers ascending.
    pub fn airdrops(&self) -> impl Iterator<Item = (AirdropId, &Airdrop)> {
        self.risk.payouts.airdrops.iter().map(|(id, airdrop)| (*id, airdrop))
    }

    /// An airdrop.
    #[must_use]
    pub fn airdrop(&self, airdrop: AirdropId) -> Option<&Airdrop> {
        self.risk.payouts.airdrops.get(&airdrop)
    }

    /// The preventive controls that are on.
    #[must_use]
    pub const fn controls(&self) -> Controls {
        self.risk.payouts.controls
    }

    /// The limits on airdrops of an asset; all 0 where none were set.
    #[must_use]
    pub fn airdrop_limits(&self, asset: AssetId) -> AirdropLimits {
        self.risk.payouts.limits.get(&asset).copied().unwrap_or_default()
    }

    /// The limit on withdrawals of an asset, if one was set.
    #[must_use]
    pub fn payout_velocity(&self, asset: AssetId) -> Option<PayoutVelocity> {
        self.risk.payouts.velocities.get(&asset).copied()
    }

    /// Whether withdrawals of an asset may pass.
    #[must_use]
    pub fn withdrawals_gate(&self, asset: AssetId) -> Gate {
        if self.risk.payouts.stopped.contains(&asset) { Gate::Closed } else { Gate::Open }
    }

    /// When the next lock ends, if there is one: an exchange that is idle then should let time pass.
    #[must_use]
    pub const fn next_timer(&self) -> Option<Timestamp> {
        self.risk.next_timer()
    }
}
