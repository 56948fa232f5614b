//! What a branch changes: balances, orders and their queues, withdrawals, debts and fees, each line with its reason.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use super::branch::Branch;
use crate::{
    exchange::{Balance, BookView, Exchange, OrderView, Withdrawal},
    types::{AccountId, Amount, AssetId, MarketId, OrderId, Quantity, Side, WithdrawalId},
};

/// Why something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It was credited, and the credit is dropped or taken back.
    CreditDropped,
    /// A fill that it had is void.
    FillVoid,
    /// It has a fill that did not happen before.
    FillNew,
    /// It owes what could not be taken from it, or owes less.
    Owes,
    /// It could not be funded any more.
    NotFunded,
    /// It was undone with everything behind the cut.
    Undone,
    /// It was paid, or paid back.
    Paid,
    /// Something it rests on went another way.
    Follows,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::CreditDropped => "the credit is taken back",
            Self::FillVoid => "a trade is void",
            Self::FillNew => "a trade took place that had not before",
            Self::Owes => "what was paid out and is not covered is owed",
            Self::NotFunded => "the account can not pay for it any more",
            Self::Undone => "it came after the cut and is undone",
            Self::Paid => "it is paid or repaid",
            Self::Follows => "what it rests on went another way",
        })
    }
}

/// A balance that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceChange {
    /// Whose.
    pub account: AccountId,
    /// What.
    pub asset: AssetId,
    /// In the parent.
    pub before: Balance,
    /// On the branch.
    pub after: Balance,
    /// Why.
    pub reason: Reason,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderFate {
    /// Open on the branch alone, or with more than before.
    Restored,
    /// Open in the parent alone, or with less than before.
    Lost,
    /// Behind another that stood behind it.
    Requeued,
}

/// An order that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderChange {
    /// Which, as it is where it is open.
    pub order: OrderView,
    /// What was open of it in the parent; 0 when it was not open.
    pub before: Quantity,
    /// What is open of it on the branch.
    pub after: Quantity,
    /// What became of it.
    pub fate: OrderFate,
    /// Why.
    pub reason: Reason,
}

/// A withdrawal that differs; `None` where it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithdrawalChange {
    /// Which.
    pub withdrawal: WithdrawalId,
    /// Whose.
    pub account: AccountId,
    /// In the parent.
    pub before: Option<Withdrawal>,
    /// On the branch.
    pub after: Option<Withdrawal>,
    /// Why.
    pub reason: Reason,
}

/// A book before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookChange {
    /// Which.
    pub market: MarketId,
    /// Its best levels in the parent.
    pub before: BookView,
    /// On the branch.
    pub after: BookView,
    /// How many orders changed in it.
    pub orders: u64,
}

/// All that a branch changes.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// Balances, ascending by account and asset.
    pub balances: Vec<BalanceChange>,
    /// Orders, by market and side in the order in which they trade.
    pub orders: Vec<OrderChange>,
    /// Withdrawals, ascending.
    pub withdrawals: Vec<WithdrawalChange>,
    /// Debts: account, asset, before, after.
    pub debts: Vec<(AccountId, AssetId, Amount, Amount)>,
    /// What `FEES` has more on the branch, by asset.
    pub fees: BTreeMap<AssetId, i128>,
    /// What more is owed by accounts on the branch, by asset: what could not be funded.
    pub shortfalls: BTreeMap<AssetId, Amount>,
    /// What is not covered by what the exchange has: `UNBACKED` on the branch, by asset.
    pub unbacked: BTreeMap<AssetId, Amount>,
    /// The books with most changes.
    pub books: Vec<BookChange>,
}

/// How many books are told.
const BOOKS_MAX: usize = 6;
/// And how deep.
const DEPTH: usize = 12;

impl Diff {
    /// The accounts that differ in anything.
    #[must_use]
    pub fn accounts(&self) -> BTreeSet<AccountId> {
        let balances = self.balances.iter().map(|change| change.account);
        let orders = self.orders.iter().map(|change| change.order.account);
        let withdrawals = self.withdrawals.iter().map(|change| change.account);
        let debts = self.debts.iter().map(|(account, ..)| *account);
        balances.chain(orders).chain(withdrawals).chain(debts).collect()
    }

    /// How many orders met this fate.
    #[must_use]
    pub fn orders_with(&self, fate: OrderFate) -> u64 {
        self.orders.iter().filter(|change| change.fate == fate).count() as u64
    }
}

/// Compares a branch with its parent, at the halt. `credited` are the accounts that were credited in error.
#[must_use]
pub fn diff(branch: &Branch, credited: &BTreeSet<AccountId>) -> Diff {
    let (parent, other) = (&branch.parent, &branch.exchange);
    let reasons = Reasons::of(branch, credited);
    let mut diff = Diff::default();

    let (before, after) = (balances_of(parent), balances_of(other));
    for (account, asset) in keys(&before, &after) {
        let of = |all: &Balances| all.get(&(account, asset)).copied().unwrap_or_default();
        let (before, after) = (of(&before), of(&after));
        if before != after {
            let reason = reasons.of_account(account);
            diff.balances.push(BalanceChange { account, asset, before, after, reason });
        }
    }
    let (before, after) = (debts_of(parent), debts_of(other));
    for (account, asset) in keys(&before, &after) {
        let of = |all: &Debts| all.get(&(account, asset)).copied().unwrap_or_default();
        let (before, after) = (of(&before), of(&after));
        if before != after {
            diff.debts.push((account, asset, before, after));
        }
        if after > before {
            diff.shortfalls.entry(asset).or_default().0 += after.0 - before.0;
        }
    }
    withdrawals(parent, other, &reasons, &mut diff);
    let mut by_market: BTreeMap<MarketId, u64> = BTreeMap::new();
    for market in other.markets().map(|view| view.spec.market) {
        let first = diff.orders.len();
        for side in [Side::Buy, Side::Sell] {
            orders(parent, other, market, side, &reasons, &mut diff.orders);
        }
        let changed = diff.orders.len() - first;
        if changed > 0 {
            by_market.insert(market, changed as u64);
        }
    }
    let mut most: Vec<_> = by_market.into_iter().collect();
    most.sort_by_key(|(market, orders)| (std::cmp::Reverse(*orders), *market));
    for (market, orders) in most.into_iter().take(BOOKS_MAX) {
        if let (Some(before), Some(after)) = (parent.book(market, DEPTH), other.book(market, DEPTH)) {
            diff.books.push(BookChange { market, before, after, orders });
        }
    }
    for asset in other.assets().map(|spec| spec.asset) {
        let (Some(before), Some(after)) = (parent.system_balances(asset), other.system_balances(asset)) else {
            continue;
        };
        let (fees, unbacked) = (1, 4);
        if before[fees] != after[fees] {
            diff.fees.insert(asset, after[fees] - before[fees]);
        }
        if after[unbacked] < 0 {
            diff.unbacked.insert(asset, Amount(u64::try_from(-after[unbacked]).unwrap_or(u64::MAX)));
        }
    }
    diff
}

type Balances = BTreeMap<(AccountId, AssetId), Balance>;
type Debts = BTreeMap<(AccountId, AssetId), Amount>;

fn balances_of(exchange: &Exchange) -> Balances {
    let views = exchange.accounts();
    views.flat_map(|view| view.balances.into_iter().map(move |(asset, it)| ((view.account, asset), it))).collect()
}

fn debts_of(exchange: &Exchange) -> Debts {
    exchange.receivables().map(|(account, asset, amount)| ((account, asset), amount)).collect()
}

/// The keys of both, ascending.
fn keys<V>(
    one: &BTreeMap<(AccountId, AssetId), V>,
    other: &BTreeMap<(AccountId, AssetId), V>,
) -> BTreeSet<(AccountId, AssetId)> {
    one.keys().chain(other.keys()).copied().collect()
}

/// What is known of why accounts and orders differ.
struct Reasons<'a> {
    credited: &'a BTreeSet<AccountId>,
    /// Accounts and orders with a void fill, and with a new one.
    void: BTreeSet<AccountId>,
    new: BTreeSet<AccountId>,
    void_orders: BTreeSet<OrderId>,
    new_orders: BTreeSet<OrderId>,
    unfunded: BTreeSet<OrderId>,
    debtors: BTreeSet<AccountId>,
    cut: u64,
}

impl<'a> Reasons<'a> {
    fn of(branch: &Branch, credited: &'a BTreeSet<AccountId>) -> Self {
        let accounts = |fills: &[super::BustedFill]| {
            fills.iter().flat_map(|fill| [fill.taker_account, fill.maker_account]).collect::<BTreeSet<_>>()
        };
        let orders = |fills: &[super::BustedFill]| {
            fills.iter().flat_map(|fill| [fill.taker, fill.maker]).collect::<BTreeSet<_>>()
        };
        let owed: Debts = debts_of(&branch.parent);
        let debtors = branch.exchange.receivables();
        let debtors = debtors.filter(|(account, asset, amount)| owed.get(&(*account, *asset)) != Some(amount));
        Self {
            credited,
            void: accounts(&branch.busted),
            new: accounts(&branch.new_fills),
            void_orders: orders(&branch.busted),
            new_orders: orders(&branch.new_fills),
            unfunded: branch.unfunded.iter().copied().collect(),
            debtors: debtors.map(|(account, ..)| account).collect(),
            cut: branch.cut.0,
        }
    }

    fn of_account(&self, account: AccountId) -> Reason {
        if self.credited.contains(&account) {
            Reason::CreditDropped
        } else if self.void.contains(&account) {
            Reason::FillVoid
        } else if self.new.contains(&account) {
            Reason::FillNew
        } else if self.debtors.contains(&account) {
            Reason::Owes
        } else {
            Reason::Follows
        }
    }

    fn of_order(&self, order: OrderId, fate: OrderFate) -> Reason {
        if self.unfunded.contains(&order) {
            Reason::NotFunded
        } else if self.void_orders.contains(&order) {
            Reason::FillVoid
        } else if self.new_orders.contains(&order) {
            Reason::FillNew
        } else if fate == OrderFate::Lost && order.0 > self.cut {
            Reason::Undone
        } else {
            Reason::Follows
        }
    }
}

fn withdrawals(parent: &Exchange, other: &Exchange, reasons: &Reasons<'_>, diff: &mut Diff) {
    let before: BTreeMap<_, _> = parent.withdrawals().into_iter().collect();
    let after: BTreeMap<_, _> = other.withdrawals().into_iter().collect();
    let ids: BTreeSet<WithdrawalId> = before.keys().chain(after.keys()).copied().collect();
    for withdrawal in ids {
        let (before, after) = (before.get(&withdrawal).copied(), after.get(&withdrawal).copied());
        let Some(account) = before.or(after).filter(|_| before != after).map(|known| known.account) else { continue };
        let reason = match (before, after) {
            (_, Some(known)) if !known.shortfall.is_zero() => Reason::Owes,
            (Some(_), None) => Reason::NotFunded,
            _ => reasons.of_account(account),
        };
        diff.withdrawals.push(WithdrawalChange { withdrawal, account, before, after, reason });
    }
}

fn orders(
    parent: &Exchange,
    other: &Exchange,
    market: MarketId,
    side: Side,
    reasons: &Reasons<'_>,
    changes: &mut Vec<OrderChange>,
) {
    let before: Vec<OrderView> = parent.queue(market, side).collect();
    let after: Vec<OrderView> = other.queue(market, side).collect();
    if before == after {
        return;
    }
    let now: HashMap<OrderId, &OrderView> = after.iter().map(|order| (order.order, order)).collect();
    let was: HashMap<OrderId, (usize, &OrderView)> =
        before.iter().enumerate().map(|(place, order)| (order.order, (place, order))).collect();
    let mut push = |order: &OrderView, before: Quantity, after: Quantity, fate| {
        let reason = reasons.of_order(order.order, fate);
        changes.push(OrderChange { order: *order, before, after, fate, reason });
    };
    for order in before.iter().filter(|order| !now.contains_key(&order.order)) {
        push(order, order.quantity, Quantity::ZERO, OrderFate::Lost);
    }
    let mut furthest: Option<usize> = None;
    for order in &after {
        let Some(&(place, old)) = was.get(&order.order) else {
            push(order, Quantity::ZERO, order.quantity, OrderFate::Restored);
            continue;
        };
        if old.quantity != order.quantity || old.price != order.price {
            let fate = if order.quantity >= old.quantity { OrderFate::Restored } else { OrderFate::Lost };
            push(order, old.quantity, order.quantity, fate);
        } else if furthest.is_some_and(|furthest| place < furthest) {
            push(order, old.quantity, order.quantity, OrderFate::Requeued);
        }
        furthest = furthest.max(Some(place));
    }
}
