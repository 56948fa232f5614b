//! All open orders: a slab with 32-bit links, found by id, by the owner's own name, and by owner.
//!
//! An order is one cache line. What few orders need lies apart: what one that rests has traded, and the carries that a
//! recovery leaves. A slot is linked into two lists at once: its price level's queue (kept by [`book`](super::book)) and
//! its owner's orders (kept here).

use std::{collections::BTreeMap, hash::BuildHasher as _, hint::select_unpredictable};

use foldhash::fast::FixedState;

use super::{id_index::IdIndex, slab::Slab, slot_index::SlotIndex};
use crate::types::{
    AMOUNT_MAX, AccountId, Amount, ClientOrderId, FeeRate, MarketId, MarketSpec, OrderId, Price, Quantity, Side,
};

/// No order: the slot of one that nobody reads, so that links may be written without asking whether there is a neighbour.
/// Where a list ends is all but random, and a branch on it is mispredicted.
pub(super) const NONE: u32 = 0;

/// Most orders that can be open at once: every slot number but [`NONE`].
pub(super) const OPEN_ORDERS_MAX: usize = u32::MAX as usize - 1;

const PAGE_BITS: u32 = 10;
const PAGE_ACCOUNTS: u32 = 1 << PAGE_BITS;
const NO_PAGE: u32 = u32::MAX;
/// So many pages stay in a core's own cache without being asked for.
const PAGES_IN_CACHE: usize = 16;

/// An open order.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Order {
    pub(super) id: OrderId,
    pub(super) client_order_id: ClientOrderId,
    pub(super) price: Price,
    /// What is open.
    pub(super) remaining: Quantity,
    pub(super) account: AccountId,
    /// The level it stands on, and its neighbours in that level's queue. In a free slot, `newer` is the next free one.
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
    /// [`POST_ONLY`], [`HAS_TRADED`], [`CARRIED`].
    flags: u8,
}

const _: () = assert!(size_of::<Order>() == 64, "an order is one cache line");

const POST_ONLY: u8 = 1;
/// What it has traded is in `Orders::notionals`.
const HAS_TRADED: u8 = 2;
/// Its carries are in `Orders::carries`.
const CARRIED: u8 = 4;

/// What an order has traded and was charged for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traded {
    /// Notional traded as a taker, for the cumulative fee.
    pub(super) taker_notional: u64,
    /// Notional traded as a maker.
    pub(super) maker_notional: u64,
    /// What was charged as a taker beyond what the rate says for the notional; other than 0 only after a recovery.
    pub(super) taker_carry: i64,
    /// The same as a maker.
    pub(super) maker_carry: i64,
}

impl Traded {
    /// What was traded as a taker, and nothing else.
    pub(super) const fn as_taker(taker_notional: u64) -> Self {
        Self { taker_notional, maker_notional: 0, taker_carry: 0, maker_carry: 0 }
    }

    /// Whether a recovery left it with fees charged too much or too little.
    #[inline]
    pub(super) const fn is_carried(&self) -> bool {
        self.taker_carry | self.maker_carry != 0
    }

    /// What was charged too little, and later fills will charge.
    #[inline]
    pub(super) fn owed_by_carries(&self) -> u64 {
        (-self.taker_carry.min(0)).unsigned_abs() + (-self.maker_carry.min(0)).unsigned_abs()
    }
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
            account,
            level: 0,
            older: NONE,
            newer: NONE,
            account_next: NONE,
            account_previous: NONE,
            market,
            maker_rate,
            taker_rate,
            side,
            flags: if post_only { POST_ONLY } else { 0 },
        }
    }

    /// The same order as the last one of a level's queue.
    #[inline]
    pub(super) const fn queued(self, level: u32, older: u32) -> Self {
        Self { level, older, newer: NONE, ..self }
    }

    /// Whether it may only rest.
    #[inline]
    pub(super) const fn is_post_only(&self) -> bool {
        self.flags & POST_ONLY != 0
    }

    /// Whether a recovery left it with carries.
    #[inline]
    pub(super) const fn is_carried(&self) -> bool {
        self.flags & CARRIED != 0
    }

    /// What is held for it, given what it has traded: base for a sell, quote for a buy.
    #[inline]
    pub(super) fn hold(&self, traded: &Traded, spec: &MarketSpec) -> Amount {
        match self.side {
            Side::Sell => spec.base_amount(self.remaining).expect("an open order's quantity was checked"),
            Side::Buy if self.remaining.is_zero() => Amount::ZERO,
            Side::Buy => {
                let notional = spec.notional(self.price, self.remaining).expect("an open order's notional was checked");
                let hold_rate = MarketSpec::hold_rate(self.maker_rate, self.taker_rate);
                let notional_before = traded.taker_notional + traded.maker_notional;
                let fee = hold_rate.fee_floor(Amount(notional_before + notional.0));
                Amount(notional.0 + fee - self.charged(traded) + traded.owed_by_carries())
            }
        }
    }

    /// What is held for it before it has traded. The side is all but random, so there is no branch on it.
    #[inline]
    fn hold_of_whole(&self, spec: &MarketSpec) -> Amount {
        let buys = self.side == Side::Buy;
        let price = select_unpredictable(buys, self.price.0, 1);
        let unit = select_unpredictable(buys, spec.tick_value.0, spec.lot_size.0);
        let rate = select_unpredictable(buys, MarketSpec::hold_rate(self.maker_rate, self.taker_rate).0, 0);
        let amount = price.checked_mul(self.remaining.0).and_then(|product| product.checked_mul(unit));
        let amount = amount.filter(|amount| *amount <= AMOUNT_MAX).expect("an open order's hold was checked");
        Amount(amount + FeeRate(rate).fee_floor(Amount(amount)))
    }

    /// What it has been charged in fees so far by the rules, rebates and carries apart.
    #[inline]
    pub(super) fn charged(&self, traded: &Traded) -> u64 {
        let as_taker = if self.taker_rate.0 > 0 { self.taker_rate.fee_floor(Amount(traded.taker_notional)) } else { 0 };
        let as_maker = if self.maker_rate.0 > 0 { self.maker_rate.fee_floor(Amount(traded.maker_notional)) } else { 0 };
        as_taker + as_maker
    }
}

/// The notionals of an order that has traded a part.
#[derive(Clone, Copy, Debug, Default)]
struct Notionals {
    taker: u64,
    maker: u64,
}

/// The carries of an order that a recovery left with some.
#[derive(Clone, Copy, Debug)]
struct Carries {
    taker: i64,
    maker: i64,
}

/// The slab and its indices.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    slots: Slab<Order>,
    /// By slot, as far as any has traded; means something only where the order says so.
    notionals: Slab<Notionals>,
    carries: BTreeMap<u32, Carries>,
    /// The free slot to be taken next.
    free: u32,
    open: u32,
    by_id: IdIndex,
    by_client_order_id: SlotIndex,
    /// Users choose names, and which of the ids they are given stay open, so the hash has a seed that they don't know: crafted
    /// ones must not all collide.
    hasher: FixedState,
    /// The first order of each account, page by page, in the order in which the pages were made.
    firsts: Slab<u32>,
    /// By account number, without its lower bits: which page it is on, or [`NO_PAGE`].
    pages: Vec<u32>,
}

/// What is in the slot [`NONE`].
const NOBODY: Order = {
    let (side, zero) = (Side::Buy, FeeRate(0));
    Order::new(OrderId(0), ClientOrderId(0), AccountId(0), MarketId(0), side, false, Price(0), Quantity(0), zero, zero)
};

impl Default for Orders {
    fn default() -> Self {
        Self {
            slots: Slab::of(NOBODY),
            notionals: Slab::of(Notionals::default()),
            carries: BTreeMap::new(),
            free: NONE,
            open: 0,
            by_id: IdIndex::new(FixedState::default()),
            by_client_order_id: SlotIndex::default(),
            hasher: FixedState::default(),
            firsts: Slab::default(),
            pages: Vec::new(),
        }
    }
}

impl Orders {
    /// No orders yet; ids and names will be hashed with this seed.
    pub(super) fn with_hash_seed(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { by_id: IdIndex::new(hasher.clone()), hasher, ..Self::default() }
    }

    /// Whether any open order has carried fees.
    pub(super) fn any_carried(&self) -> bool {
        !self.carries.is_empty()
    }

    /// How many are open.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.open as usize
    }

    /// Makes room for so many orders in all.
    pub(super) fn reserve(&mut self, orders: usize) {
        self.slots.reserve(orders + 1);
        self.by_id.reserve(orders);
        self.by_client_order_id.reserve(orders);
    }

    /// The order in a slot.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Order {
        self.slots.get(slot)
    }

    /// The order in a slot.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Order {
        self.slots.get_mut(slot)
    }

    /// What the order in a slot has traded.
    #[inline]
    pub(super) fn traded(&self, slot: u32) -> Traded {
        let flags = self.get(slot).flags;
        if flags & (HAS_TRADED | CARRIED) == 0 { Traded::default() } else { self.traded_before(slot, flags) }
    }

    fn traded_before(&self, slot: u32, flags: u8) -> Traded {
        let mut traded = Traded::default();
        if flags & HAS_TRADED != 0 {
            let Notionals { taker, maker } = *self.notionals.get(slot);
            (traded.taker_notional, traded.maker_notional) = (taker, maker);
        }
        if flags & CARRIED != 0 {
            let Carries { taker, maker } = self.carries[&slot];
            (traded.taker_carry, traded.maker_carry) = (taker, maker);
        }
        traded
    }

    /// Sets what the order in a slot has traded.
    #[inline]
    pub(super) fn set_traded(&mut self, slot: u32, traded: &Traded) {
        if slot >= self.notionals.len() {
            self.add_notionals(slot, traded);
        }
        let flags = &mut self.slots.get_mut(slot).flags;
        let (was_carried, carried) = (*flags & CARRIED != 0, traded.is_carried());
        *flags &= !(HAS_TRADED | CARRIED);
        if traded.taker_notional | traded.maker_notional != 0 {
            *flags |= HAS_TRADED;
            *self.notionals.get_mut(slot) = Notionals { taker: traded.taker_notional, maker: traded.maker_notional };
        }
        if carried {
            *flags |= CARRIED;
            self.carries.insert(slot, Carries { taker: traded.taker_carry, maker: traded.maker_carry });
        } else if was_carried {
            self.carries.remove(&slot);
        }
    }

    /// What is held for the order in a slot.
    #[inline]
    pub(super) fn hold(&self, slot: u32, spec: &MarketSpec) -> Amount {
        let order = self.get(slot);
        if order.flags & (HAS_TRADED | CARRIED) == 0 {
            order.hold_of_whole(spec)
        } else {
            self.hold_of_traded(order, slot, spec)
        }
    }

    #[inline(never)]
    fn hold_of_traded(&self, order: &Order, slot: u32, spec: &MarketSpec) -> Amount {
        order.hold(&self.traded_before(slot, order.flags), spec)
    }

    /// The slot of the order with this id.
    #[inline]
    pub(super) fn find(&self, id: OrderId) -> Option<u32> {
        self.by_id.find(id, |slot| self.get(slot).id)
    }

    /// The slot of the account's order of that name; a name of 0 names none.
    #[inline]
    pub(super) fn find_by_client_order_id(&self, account: AccountId, name: ClientOrderId) -> Option<u32> {
        if name.0 == 0 {
            return None;
        }
        self.by_client_order_id.find(self.hash_of_name(account, name), |slot| {
            let order = self.get(slot);
            order.client_order_id == name && order.account == account
        })
    }

    /// A free slot, for the order that is taken in next.
    #[inline]
    pub(super) fn next_slot(&mut self) -> u32 {
        if self.free == NONE {
            self.add_slot();
        }
        self.free
    }

    /// Takes in an order, whose id and name no other one has, into the [next slot](Self::next_slot).
    #[inline(always)]
    pub(super) fn insert(&mut self, slot: u32, mut order: Order) {
        let next = self.replace_first_of(order.account, slot);
        (order.account_next, order.account_previous) = (next, NONE);
        self.slots.get_mut(next).account_previous = slot;
        let (id, account, name) = (order.id, order.account, order.client_order_id);
        let place = self.slots.get_mut(slot);
        self.free = place.newer;
        *place = order;
        self.open += 1;
        let slots = &self.slots;
        self.by_id.insert(id, slot, self.open as usize, |slot| slots.get(slot).id);
        if name.0 != 0 {
            self.by_client_order_id.insert(self.hash_of_name(account, name), slot);
        }
    }

    /// As [`insert`](Self::insert), of an order whose id or name another one may have; gives whether none has, or else the
    /// orders are good for nothing any more.
    pub(super) fn restore(&mut self, slot: u32, mut order: Order) -> bool {
        let slots = &self.slots;
        if !self.by_id.insert_new(order.id, slot, |known| slots.get(known).id) {
            return false;
        }
        if order.client_order_id.0 != 0 {
            let hash = self.hash_of_name(order.account, order.client_order_id);
            let is_the_same = |known| {
                let known = self.slots.get(known);
                known.client_order_id == order.client_order_id && known.account == order.account
            };
            if !self.by_client_order_id.insert_new(hash, slot, is_the_same) {
                return false;
            }
        }
        let next = self.replace_first_of(order.account, slot);
        (order.account_next, order.account_previous) = (next, NONE);
        self.slots.get_mut(next).account_previous = slot;
        let place = self.slots.get_mut(slot);
        self.free = place.newer;
        *place = order;
        self.open += 1;
        true
    }

    #[inline(never)]
    fn add_slot(&mut self) {
        assert!(self.len() < OPEN_ORDERS_MAX, "the number of open orders was checked");
        self.free = self.slots.push(NOBODY);
    }

    /// Makes the notionals reach up to this slot, if anything was traded there.
    #[cold]
    fn add_notionals(&mut self, slot: u32, traded: &Traded) {
        while self.notionals.len() <= slot && traded.taker_notional | traded.maker_notional != 0 {
            self.notionals.push(Notionals::default());
        }
    }

    /// Lets an order go that is in no level's queue any more.
    #[inline(always)]
    pub(super) fn remove(&mut self, slot: u32) {
        let order = self.slots.get_mut(slot);
        let (id, name, account) = (order.id, order.client_order_id, order.account);
        let (next, previous) = (order.account_next, order.account_previous);
        order.newer = std::mem::replace(&mut self.free, slot);
        if order.flags & CARRIED != 0 {
            self.carries.remove(&slot);
        }
        self.by_id.remove(id, slot);
        if name.0 != 0 {
            self.by_client_order_id.remove(self.hash_of_name(account, name), slot);
        }
        self.slots.get_mut(next).account_previous = previous;
        self.slots.get_mut(previous).account_next = next;
        let first = self.firsts.get_mut(self.place_of(account).expect("its owner has orders"));
        *first = select_unpredictable(previous == NONE, next, *first);
        self.open -= 1;
    }

    /// The slots of an account's orders, in no order that means anything.
    pub(super) fn of_account(&self, account: AccountId) -> impl Iterator<Item = u32> {
        let first = self.first_of(account).copied().unwrap_or(NONE);
        std::iter::successors((first != NONE).then_some(first), |&slot| {
            let next = self.get(slot).account_next;
            (next != NONE).then_some(next)
        })
    }

    /// The order in a slot, if there is such a slot.
    #[inline]
    pub(super) fn try_get(&self, slot: u32) -> Option<&Order> {
        self.slots.try_get(slot)
    }

    /// The slot of the order with this id, most likely: without a look at the order.
    #[inline]
    pub(super) fn guess(&self, id: OrderId) -> u32 {
        self.by_id.guess(id)
    }

    /// The slot of the account's order of that name, most likely.
    #[inline(never)]
    pub(super) fn guess_by_name(&self, account: AccountId, name: ClientOrderId) -> u32 {
        self.by_client_order_id.find(self.hash_of_name(account, name), |_| true).unwrap_or(NONE)
    }

    /// Asks for where this id is looked up.
    #[inline]
    pub(super) fn prefetch_id(&self, id: OrderId) {
        self.by_id.prefetch(id);
    }

    /// Asks for where this name is looked up.
    #[inline]
    pub(super) fn prefetch_name(&self, account: AccountId, name: ClientOrderId) {
        if name.0 != 0 {
            self.by_client_order_id.prefetch(self.hash_of_name(account, name));
        }
    }

    /// Asks for where the account's first order is told.
    #[inline]
    pub(super) fn prefetch_account(&self, account: AccountId) {
        if let Some(first) = self.first_of(account) {
            ringbuf::prefetch_write(first);
        }
    }

    /// Asks for the account's first order.
    #[inline]
    pub(super) fn prefetch_first_of(&self, account: AccountId) {
        if let Some(order) = self.first_of(account).and_then(|first| self.try_get(*first)) {
            ringbuf::prefetch_write(order);
        }
    }

    /// Whether there are so many accounts that where their first orders are told doesn't stay in the cache.
    #[inline]
    pub(super) const fn has_many_accounts(&self) -> bool {
        self.pages.len() > PAGES_IN_CACHE
    }

    /// Asks for the orders that are touched when one is taken out.
    #[inline]
    pub(super) fn prefetch_neighbours(&self, order: &Order) {
        for slot in [order.older, order.newer, order.account_next, order.account_previous] {
            if let Some(order) = self.try_get(slot) {
                ringbuf::prefetch_write(order);
            }
        }
    }

    #[inline]
    fn first_of(&self, account: AccountId) -> Option<&u32> {
        self.place_of(account).map(|place| self.firsts.get(place))
    }

    /// Where the account's first order is told, if any account of its page ever had one.
    #[inline]
    fn place_of(&self, account: AccountId) -> Option<u32> {
        let page = *self.pages.get((account.0 >> PAGE_BITS) as usize)?;
        (page != NO_PAGE).then_some(page << PAGE_BITS | account.0 & (PAGE_ACCOUNTS - 1))
    }

    #[inline]
    fn hash_of_name(&self, account: AccountId, name: ClientOrderId) -> u64 {
        self.hasher.hash_one((account.0, name.0))
    }

    /// Puts a slot first in the account's list, and gives the one that was.
    #[inline]
    fn replace_first_of(&mut self, account: AccountId, slot: u32) -> u32 {
        let place = match self.place_of(account) {
            Some(place) => place,
            None => self.add_page(account),
        };
        std::mem::replace(self.firsts.get_mut(place), slot)
    }

    /// Makes the account's page; gives where its first order is told.
    #[cold]
    fn add_page(&mut self, account: AccountId) -> u32 {
        let number = (account.0 >> PAGE_BITS) as usize;
        if number >= self.pages.len() {
            self.pages.resize(number + 1, NO_PAGE);
        }
        self.pages[number] = self.firsts.len() >> PAGE_BITS;
        for _ in 0..PAGE_ACCOUNTS {
            self.firsts.push(NONE);
        }
        self.place_of(account).expect("its page was made")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever keeps open only those ids that a hash known to all puts side by side gains nothing by it.
    #[test]
    fn ids_that_were_picked_do_not_gather() {
        let mut orders = Orders::with_hash_seed(0x5eed);
        let picked = (1_u64..).filter(|id| id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 == 0);
        for id in picked.take(20_000) {
            let mut order = NOBODY;
            order.id = OrderId(id);
            let slot = orders.next_slot();
            orders.insert(slot, order);
        }
        assert!(orders.by_id.longest_run() < 100, "{} entries in a row", orders.by_id.longest_run());
    }
}
