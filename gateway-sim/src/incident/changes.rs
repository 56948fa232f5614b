//! What a branch changes: accounts, and orders in their queues.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    exchange::{Exchange, OrderView},
    recovery::Branch,
    types::{AccountId, MarketId, OrderId, Side},
};

/// What a branch changes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Accounts whose balances, open orders, withdrawals or debts differ.
    pub accounts: BTreeSet<AccountId>,
    /// Orders that are open again, or with more.
    pub orders_restored: u64,
    /// Orders that are open no more, or with less.
    pub orders_lost: u64,
    /// Orders that another stands in front of which stood behind them.
    pub orders_requeued: u64,
}

/// Compares a branch with its parent, at the halt.
#[must_use]
pub fn changes(branch: &Branch) -> Changes {
    let (parent, other) = (&branch.parent, &branch.exchange);
    let mut changes = Changes::default();
    let balances = |exchange: &Exchange| -> BTreeMap<AccountId, _> {
        exchange.accounts().map(|view| (view.account, (view.suspended, view.balances))).collect()
    };
    differing(&balances(parent), &balances(other), |account| {
        changes.accounts.insert(*account);
    });
    let debts = |exchange: &Exchange| -> BTreeMap<_, _> {
        exchange.receivables().map(|(account, asset, amount)| ((account, asset), amount)).collect()
    };
    differing(&debts(parent), &debts(other), |&(account, _)| {
        changes.accounts.insert(account);
    });
    let withdrawals = |exchange: &Exchange| -> BTreeMap<_, _> {
        let all = exchange.withdrawals().into_iter();
        all.map(|(id, it)| ((id, it.account), (it.asset, it.amount, it.state, it.shortfall))).collect()
    };
    differing(&withdrawals(parent), &withdrawals(other), |&(_, account)| {
        changes.accounts.insert(account);
    });
    for market in parent.markets() {
        for side in [Side::Buy, Side::Sell] {
            queues(parent, other, market.spec.market, side, &mut changes);
        }
    }
    changes
}

/// Tells `found` of every key whose value is not the same in both.
fn differing<K: Ord, V: PartialEq>(one: &BTreeMap<K, V>, other: &BTreeMap<K, V>, mut found: impl FnMut(&K)) {
    one.iter().filter(|(key, value)| other.get(key) != Some(value)).for_each(|(key, _)| found(key));
    other.keys().filter(|key| !one.contains_key(key)).for_each(found);
}

fn queues(parent: &Exchange, other: &Exchange, market: MarketId, side: Side, changes: &mut Changes) {
    let before: Vec<OrderView> = parent.queue(market, side).collect();
    let after: Vec<OrderView> = other.queue(market, side).collect();
    let open: BTreeMap<OrderId, &OrderView> = after.iter().map(|order| (order.order, order)).collect();
    let was_open: BTreeMap<OrderId, &OrderView> = before.iter().map(|order| (order.order, order)).collect();
    for order in &before {
        match open.get(&order.order) {
            Some(same) if *same == order => {}
            Some(same) => {
                changes.accounts.insert(order.account);
                if same.quantity > order.quantity {
                    changes.orders_restored += 1;
                } else {
                    changes.orders_lost += 1;
                }
            }
            None => {
                changes.accounts.insert(order.account);
                changes.orders_lost += 1;
            }
        }
    }
    for order in after.iter().filter(|order| !was_open.contains_key(&order.order)) {
        changes.accounts.insert(order.account);
        changes.orders_restored += 1;
    }
    // Of those that stand in both: who has come behind one that was behind it.
    let places: BTreeMap<OrderId, usize> =
        before.iter().enumerate().map(|(place, order)| (order.order, place)).collect();
    let mut furthest = None;
    for place in after.iter().filter_map(|order| places.get(&order.order)) {
        if furthest.is_some_and(|furthest| place < furthest) {
            changes.orders_requeued += 1;
        }
        furthest = furthest.max(Some(place));
    }
}
