//! One side of one market's book: price levels, each a queue of orders, the oldest first.

use std::hint::select_unpredictable;

use super::{
    levels::PriceLevels,
    orders::{NONE, Orders},
    slab::Slab,
};
use crate::types::{Price, Quantity, Side};

/// All orders at one price.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub(super) struct Level {
    pub(super) price: Price,
    /// The sum of what is open.
    pub(super) quantity: Quantity,
    pub(super) orders: u32,
    pub(super) oldest: u32,
    /// Of a level that is not in use, the next such.
    newest: u32,
    /// Where it is found by its price.
    leaf: u32,
}

const _: () = assert!(size_of::<Level>() == 32, "two levels share a cache line");

impl Level {
    /// The order that came last.
    #[inline]
    pub(super) const fn newest(&self) -> u32 {
        self.newest
    }
}

/// The bids or the asks of a market.
#[derive(Clone, Debug)]
pub(super) struct BookSide {
    side: Side,
    by_price: PriceLevels,
    levels: Slab<Level>,
    /// The level that is not in use to be taken next, and how many are in use.
    free: u32,
    used: u32,
    /// The level at the best price.
    best: u32,
    /// What turns a price into its rank, the lower the better: no bit of an ask, all bits of a bid.
    flip: u64,
    /// The rank of the best price; the highest of all while there is no level.
    best_rank: u64,
}

/// No level: one that nobody reads, so that a level's number may always be looked up.
const NO_LEVEL: u32 = 0;
const NOTHING: Level =
    Level { price: Price::ZERO, quantity: Quantity::ZERO, orders: 0, oldest: NONE, newest: NONE, leaf: 0 };

impl BookSide {
    pub(super) fn new(side: Side) -> Self {
        let (by_price, levels) = (PriceLevels::default(), Slab::of(NOTHING));
        let flip = if side == Side::Buy { u64::MAX } else { 0 };
        Self { side, by_price, levels, free: NO_LEVEL, used: 0, best: NO_LEVEL, flip, best_rank: u64::MAX }
    }

    /// The level at the best price: the highest bid, the lowest ask.
    #[inline]
    pub(super) fn best(&self) -> Option<&Level> {
        if self.best == NO_LEVEL { None } else { Some(self.levels.get(self.best)) }
    }

    /// Whether an order of the other side with this limit, from 1 to `PRICE_MAX`, would trade here.
    #[inline]
    pub(super) const fn trades_at(&self, limit: Price) -> bool {
        self.best_rank <= limit.0 ^ self.flip
    }

    /// The order at the front of the best price, which there is.
    #[inline]
    pub(super) fn front(&self) -> u32 {
        self.levels.get(self.best).oldest
    }

    /// Whether a level of this side at `price` is acceptable to an order of the other side limited to `limit`.
    #[inline]
    pub(super) const fn is_within(&self, price: Price, limit: Price) -> bool {
        price.0 ^ self.flip <= limit.0 ^ self.flip
    }

    /// The levels from the best price on.
    pub(super) fn levels(&self) -> impl Iterator<Item = &Level> {
        std::iter::successors(self.best(), |level| self.worse_than(level.price).map(|index| self.levels.get(index)))
    }

    /// The slots of the orders, best price first and at a price the oldest first.
    pub(super) fn slots_in_turn<'a>(&'a self, orders: &'a Orders) -> impl Iterator<Item = u32> + 'a {
        self.levels().flat_map(|level| {
            std::iter::successors(Some(level.oldest), |&slot| {
                let newer = orders.get(slot).newer;
                (newer != NONE).then_some(newer)
            })
        })
    }

    /// The level at a price, if prices near it were touched lately.
    #[inline]
    pub(super) fn recent_level(&self, price: Price) -> Option<&Level> {
        self.by_price.get_recent(price).map(|index| self.levels.get(index))
    }

    /// How many levels there are.
    #[inline]
    pub(super) const fn level_count(&self) -> usize {
        self.used as usize
    }

    /// Asks for where a price is looked up.
    #[inline]
    pub(super) fn prefetch_price(&self, price: Price) {
        self.by_price.prefetch(price);
    }

    /// Asks for where a level's removal at this price is noted.
    #[inline]
    pub(super) fn prefetch_removal(&self, price: Price) {
        self.by_price.prefetch_removal(price);
    }

    /// The level in this place, in use or not.
    #[inline]
    pub(super) fn level(&self, index: u32) -> Option<&Level> {
        self.levels.try_get(index)
    }

    /// Puts the order in `slot`, or the one that will be there, at the end of its price's queue; gives the level and the
    /// order that was the last one, for the order to keep.
    #[inline(always)]
    pub(super) fn append(&mut self, orders: &mut Orders, slot: u32, price: Price, remaining: Quantity) -> (u32, u32) {
        let index = self.level_at(price);
        let level = self.levels.get_mut(index);
        let older = std::mem::replace(&mut level.newest, slot);
        level.oldest = select_unpredictable(level.orders == 0, slot, level.oldest);
        level.quantity.0 += remaining.0;
        level.orders += 1;
        orders.get_mut(older).newer = slot;
        (index, older)
    }

    /// Takes the order in `slot`, with what is open of it, out of its queue.
    #[inline(always)]
    pub(super) fn unlink(&mut self, orders: &mut Orders, slot: u32) {
        let order = orders.get(slot);
        let (index, older, newer, remaining) = (order.level, order.older, order.newer, order.remaining);
        let level = self.levels.get_mut(index);
        level.quantity.0 -= remaining.0;
        level.orders -= 1;
        if level.orders == 0 {
            self.remove_level(index);
            return;
        }
        level.oldest = select_unpredictable(older == NONE, newer, level.oldest);
        level.newest = select_unpredictable(newer == NONE, older, level.newest);
        orders.get_mut(older).newer = newer;
        orders.get_mut(newer).older = older;
    }

    /// The order of a level became smaller by `quantity`.
    #[inline]
    pub(super) fn shrink(&mut self, level: u32, quantity: Quantity) {
        self.levels.get_mut(level).quantity.0 -= quantity.0;
    }

    #[inline]
    fn level_at(&mut self, price: Price) -> u32 {
        let leaf = self.by_price.leaf_for(price);
        match self.by_price.get_in(leaf, price) {
            Some(index) => index,
            None => self.add_level(price, leaf),
        }
    }

    #[inline]
    fn add_level(&mut self, price: Price, leaf: u32) -> u32 {
        let level = Level { price, leaf, ..NOTHING };
        let index = self.free;
        let index = if index == NO_LEVEL {
            self.levels.push(level)
        } else {
            let vacant = self.levels.get_mut(index);
            self.free = vacant.newest;
            *vacant = level;
            index
        };
        self.used += 1;
        self.by_price.insert_in(leaf, price, index);
        let rank = price.0 ^ self.flip;
        if rank < self.best_rank {
            (self.best, self.best_rank) = (index, rank);
        }
        index
    }

    #[inline]
    fn remove_level(&mut self, index: u32) {
        let level = self.levels.get_mut(index);
        let (price, leaf) = (level.price, level.leaf);
        level.newest = std::mem::replace(&mut self.free, index);
        self.used -= 1;
        self.by_price.remove_from(leaf, price);
        if index == self.best {
            match self.worse_than(price) {
                Some(next) => (self.best, self.best_rank) = (next, self.levels.get(next).price.0 ^ self.flip),
                None => (self.best, self.best_rank) = (NO_LEVEL, u64::MAX),
            }
        }
    }

    /// The next level behind `price`.
    #[inline]
    fn worse_than(&self, price: Price) -> Option<u32> {
        match self.side {
            Side::Sell => self.by_price.above(price),
            Side::Buy => self.by_price.below(price),
        }
    }

    /// How many orders there are.
    pub(super) fn count(&self) -> usize {
        self.levels().map(|level| level.orders as usize).sum()
    }

    /// Checks queues, sums and the best price against each other.
    pub(super) fn check(&self, orders: &Orders) -> Result<usize, String> {
        let (mut count, mut levels) = (0, 0);
        if self.best_rank != self.best().map_or(u64::MAX, |level| level.price.0 ^ self.flip) {
            return Err(format!("the best {} is not the best level", self.side));
        }
        let mut previous: Option<Price> = None;
        for level in self.levels() {
            if previous.is_some_and(|previous| self.is_within(level.price, previous) || level.price == previous) {
                return Err(format!("{} levels out of order at price {}", self.side, level.price));
            }
            previous = Some(level.price);
            levels += 1;
            let (mut quantity, mut in_queue, mut older, mut slot) = (0, 0, NONE, level.oldest);
            while slot != NONE {
                let order = orders.get(slot);
                if order.older != older
                    || order.price != level.price
                    || order.side != self.side
                    || order.remaining.is_zero()
                {
                    return Err(format!("order {} is wrongly linked at {} {}", order.id, self.side, level.price));
                }
                quantity += order.remaining.0;
                in_queue += 1;
                (older, slot) = (slot, order.newer);
            }
            if (quantity, in_queue, older) != (level.quantity.0, level.orders, level.newest) {
                return Err(format!("{} level {} does not sum to its orders", self.side, level.price));
            }
            count += in_queue as usize;
        }
        if self.used != levels {
            return Err(format!("{} levels are lost", self.side));
        }
        Ok(count)
    }
}
