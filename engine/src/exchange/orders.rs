//! All open orders: a slab with 32-bit links, found by id, by the owner's own name, and by owner.
//!
//! A slot is linked into two lists at once: its price level's queue (kept by [`book`](super::book)) and its
//! owner's orders (kept here).

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::types::{AccountId, Amount, ClientOrderId, FeeRate, MarketId, MarketSpec, OrderId, Price, Quantity, Side};

/// No slot, no level.
pub(super) const NONE: u32 = u32::MAX;

/// Most orders that can be open at once: every slot number but [`NONE`].
pub(super) const OPEN_ORDERS_MAX: usize = u32::MAX as usize - 1;

const PAGE_BITS: u32 = 10;
const PAGE_ACCOUNTS: usize = 1 << PAGE_BITS;

/// An open order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: OrderId,
    pub(super) client_order_id: ClientOrderId,
    pub(super) price: Price,
    /// What is open.
    pub(super) remaining: Quantity,
    /// Notional traded as a taker, for the cumulative fee.
    pub(super) taker_notional: u64,
    /// Notional traded as a maker.
    pub(super) maker_notional: u64,
    /// What was charged as a taker beyond what the rate says for the notional; other than 0 only after a recovery.
    pub(super) taker_carry: i64,
    /// The same as a maker.
    pub(super) maker_carry: i64,
    pub(super) account: AccountId,
    /// The level it stands on, and its neighbours in that level's queue.
    pub(super) level: u32,
    pub(super) older: u32,
    pub(super) newer: u32,
    /// Its neighbours among its owner's orders.
    account_next: u32,
    account_previous: u32,
    pub(super) market: MarketId,
    pub(super) maker_rate: FeeRate,
    pub(super) taker_rate: FeeRate,
    pub(super) side: Side,
    pub(super) post_only: bool,
}

impl Order {
    /// An order that is in no list yet.
    #[allow(clippy::too_many_arguments, reason = "each is a field")]
    pub(super) const fn new(
        id: OrderId,
        client_order_id: ClientOrderId,
        account: AccountId,
        market: MarketId,
        side: Side,
        post_only: bool,
        price: Price,
        remaining: Quantity,
        maker_rate: FeeRate,
        taker_rate: FeeRate,
    ) -> Self {
        Self {
            id,
            client_order_id,
            price,
            remaining,
            taker_notional: 0,
            maker_notional: 0,
            taker_carry: 0,
            maker_carry: 0,
            account,
            level: NONE,
            older: NONE,
            newer: NONE,
            account_next: NONE,
            account_previous: NONE,
            market,
            maker_rate,
            taker_rate,
            side,
            post_only,
        }
    }

    /// Makes it as good as new at another price, its fees counted from what it has just traded as a taker.
    pub(super) const fn renew(
        &mut self,
        price: Price,
        remaining: Quantity,
        taker_notional: u64,
        maker_rate: FeeRate,
        taker_rate: FeeRate,
    ) {
        (self.price, self.remaining) = (price, remaining);
        (self.taker_notional, self.maker_notional) = (taker_notional, 0);
        (self.taker_carry, self.maker_carry) = (0, 0);
        (self.maker_rate, self.taker_rate) = (maker_rate, taker_rate);
    }

    /// What is held for it: base for a sell, quote for a buy.
    pub(super) fn hold(&self, spec: &MarketSpec) -> Amount {
        match self.side {
            Side::Sell => spec.base_amount(self.remaining).expect("an open order's quantity was checked"),
            Side::Buy if self.remaining.is_zero() => Amount::ZERO,
            Side::Buy => {
                let notional = spec.notional(self.price, self.remaining).expect("an open order's notional was checked");
                let hold_rate = MarketSpec::hold_rate(self.maker_rate, self.taker_rate);
                let traded = self.taker_notional + self.maker_notional;
                let by_the_rules = notional.0 + hold_rate.fee_floor(Amount(traded + notional.0)) - self.charged();
                Amount(by_the_rules + self.owed_by_carries())
            }
        }
    }

    /// Whether a recovery left it with fees charged too much or too little.
    #[inline]
    pub(super) const fn is_carried(&self) -> bool {
        self.taker_carry | self.maker_carry != 0
    }

    /// What it was charged too little, and later fills will charge.
    #[inline]
    pub(super) fn owed_by_carries(&self) -> u64 {
        (-self.taker_carry.min(0)).unsigned_abs() + (-self.maker_carry.min(0)).unsigned_abs()
    }

    /// What it has been charged in fees so far by the rules, rebates and carries apart.
    #[inline]
    pub(super) fn charged(&self) -> u64 {
        let as_taker = if self.taker_rate.0 > 0 { self.taker_rate.fee_floor(Amount(self.taker_notional)) } else { 0 };
        let as_maker = if self.maker_rate.0 > 0 { self.maker_rate.fee_floor(Amount(self.maker_notional)) } else { 0 };
        as_taker + as_maker
    }
}

type Page = Box<[u32; PAGE_ACCOUNTS]>;

/// The slab and its indices.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    slots: Vec<Order>,
    free: Vec<u32>,
    by_id: HashMap<u64, u32, FxBuildHasher>,
    /// Users choose these keys, so the hash has a seed that they don't know: crafted names must not all collide.
    by_client_order_id: HashMap<(AccountId, ClientOrderId), u32, FixedState>,
    /// The first order of each account, by account number.
    first_of_account: Vec<Option<Page>>,
}

impl Orders {
    /// No orders yet; names will be hashed with this seed.
    pub(super) fn with_hash_seed(seed: u64) -> Self {
        let by_client_order_id = HashMap::with_hasher(FixedState::with_seed(seed));
        Self { by_client_order_id, ..Self::default() }
    }

    /// Whether any open order has carried fees.
    pub(super) fn any_carried(&self) -> bool {
        self.by_id.values().any(|&slot| self.get(slot).is_carried())
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The order in a slot.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Order {
        &self.slots[slot as usize]
    }

    /// The order in a slot.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Order {
        &mut self.slots[slot as usize]
    }

    /// The slot of the order with this id.
    #[inline]
    pub(super) fn find(&self, id: OrderId) -> Option<u32> {
        self.by_id.get(&id.0).copied()
    }

    /// The slot of the account's order of that name; a name of 0 names none.
    #[inline]
    pub(super) fn find_by_client_order_id(&self, account: AccountId, name: ClientOrderId) -> Option<u32> {
        if name.0 == 0 {
            return None;
        }
        self.by_client_order_id.get(&(account, name)).copied()
    }

    /// Takes in an order.
    #[inline]
    pub(super) fn insert(&mut self, mut order: Order) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => u32::try_from(self.slots.len()).expect("the number of open orders was checked"),
        };
        self.by_id.insert(order.id.0, slot);
        if order.client_order_id.0 != 0 {
            self.by_client_order_id.insert((order.account, order.client_order_id), slot);
        }
        let first = self.first_of_account_mut(order.account);
        let next = std::mem::replace(first, slot);
        (order.account_next, order.account_previous) = (next, NONE);
        if next != NONE {
            self.slots[next as usize].account_previous = slot;
        }
        if (slot as usize) < self.slots.len() {
            self.slots[slot as usize] = order;
        } else {
            self.slots.push(order);
        }
        slot
    }

    /// Lets an order go that is in no level's queue any more.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        let order = &self.slots[slot as usize];
        let (id, name, account) = (order.id, order.client_order_id, order.account);
        let (next, previous) = (order.account_next, order.account_previous);
        self.by_id.remove(&id.0);
        if name.0 != 0 {
            self.by_client_order_id.remove(&(account, name));
        }
        if next != NONE {
            self.slots[next as usize].account_previous = previous;
        }
        if previous == NONE {
            *self.first_of_account_mut(account) = next;
        } else {
            self.slots[previous as usize].account_next = next;
        }
        self.free.push(slot);
    }

    /// The slots of an account's orders, in no order that means anything.
    pub(super) fn of_account(&self, account: AccountId) -> impl Iterator<Item = u32> {
        let page = self.first_of_account.get((account.0 >> PAGE_BITS) as usize).and_then(Option::as_ref);
        let first = page.map_or(NONE, |page| page[account.0 as usize & (PAGE_ACCOUNTS - 1)]);
        std::iter::successors((first != NONE).then_some(first), |&slot| {
            let next = self.slots[slot as usize].account_next;
            (next != NONE).then_some(next)
        })
    }

    #[inline]
    fn first_of_account_mut(&mut self, account: AccountId) -> &mut u32 {
        let page = (account.0 >> PAGE_BITS) as usize;
        if page >= self.first_of_account.len() {
            self.first_of_account.resize_with(page + 1, || None);
        }
        let page = self.first_of_account[page].get_or_insert_with(|| Box::new([NONE; PAGE_ACCOUNTS]));
        &mut page[account.0 as usize & (PAGE_ACCOUNTS - 1)]
    }
}
