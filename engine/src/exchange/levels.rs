//! Price levels by price: a 64-way bitmap trie, as tall as the highest price seen needs.
//!
//! Finding a level takes one step per six bits of the price (three for prices below 262,144 ticks, seven for the
//! largest), all in nodes that stay in cache; among the leaves touched lately, which cover 4,096 ticks, it takes one. The
//! next level up or down is found from the bitmaps, so an empty stretch of millions of ticks costs the same few steps.
//! Knows nothing of orders.

use crate::types::Price;

const BITS: u32 = 6;
const FAN_OUT: usize = 1 << BITS;
/// `PRICE_MAX` has 40 bits.
const HEIGHT_MAX: usize = 7;
const NONE: u32 = u32::MAX;
/// As many nodes, of a little over four cache lines each, no longer fit the cache that a core has to itself beside all else.
const NODES_IN_CACHE: usize = 512;

/// A map from price to a `u32`, ordered by price.
#[derive(Clone, Debug)]
pub(super) struct PriceLevels {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    /// How many levels of nodes there are; the leaves are at the bottom.
    height: usize,
    /// The leaves touched lately, each where the lowest bits of its key say.
    recent: Box<[Recent; RECENT]>,
}

/// How many leaves are found at once; a power of two.
const RECENT: usize = 64;

/// A leaf, and what its prices have in common: all but their six lowest bits.
#[derive(Clone, Copy, Debug)]
struct Recent {
    key: u64,
    leaf: u32,
}

/// A key that no price has.
const NO_RECENT: Recent = Recent { key: u64::MAX, leaf: NONE };

#[derive(Clone, Debug)]
struct Node {
    /// Which children there are. The others' numbers mean nothing.
    bitmap: u64,
    children: [u32; FAN_OUT],
}

impl Default for PriceLevels {
    fn default() -> Self {
        let root = Node { bitmap: 0, children: [NONE; FAN_OUT] };
        let recent = Box::new([NO_RECENT; RECENT]);
        Self { nodes: vec![root], free: Vec::new(), root: 0, height: 1, recent }
    }
}

impl PriceLevels {
    /// The leaf that covers `price`, made if there is none: then something must be put in it.
    #[inline(always)]
    pub(super) fn leaf_for(&mut self, price: Price) -> u32 {
        self.recent_leaf(price).unwrap_or_else(|| self.find_or_make_leaf(price))
    }

    /// What stands at `price`, which this leaf covers.
    #[inline(always)]
    pub(super) fn get_in(&self, leaf: u32, price: Price) -> Option<u32> {
        let node = &self.nodes[leaf as usize];
        let slot = slot_at(price.0, 0);
        (node.bitmap >> slot & 1 != 0).then(|| node.children[slot])
    }

    /// What stands at `price`, if its leaf was touched lately.
    #[inline]
    pub(super) fn get_recent(&self, price: Price) -> Option<u32> {
        self.get_in(self.recent_leaf(price)?, price)
    }

    /// Puts `value` at `price`, which this leaf covers, and where nothing stands yet.
    #[inline]
    pub(super) fn insert_in(&mut self, leaf: u32, price: Price, value: u32) {
        let slot = slot_at(price.0, 0);
        let node = &mut self.nodes[leaf as usize];
        debug_assert!(node.bitmap >> slot & 1 == 0, "a level stands at this price");
        node.bitmap |= 1 << slot;
        node.children[slot] = value;
    }

    /// Takes away what stands at `price`, which this leaf covers, and where something does.
    #[inline]
    pub(super) fn remove_from(&mut self, leaf: u32, price: Price) {
        let node = &mut self.nodes[leaf as usize];
        let slot = slot_at(price.0, 0);
        debug_assert!(node.bitmap >> slot & 1 != 0, "no level stands at this price");
        node.bitmap &= !(1 << slot);
        if node.bitmap == 0 && self.height > 1 {
            self.prune(price);
        }
    }

    /// Asks for where `price` is looked up.
    #[inline(never)]
    pub(super) fn prefetch(&self, price: Price) {
        if let Some(leaf) = self.walk_to_leaf(price) {
            let node = &self.nodes[leaf as usize];
            ringbuf::prefetch_write(&node.bitmap);
            ringbuf::prefetch_write(&node.children[slot_at(price.0, 0)]);
        }
    }

    /// Asks at least for what a level's removal at `price` changes. Unless there are many nodes, a leaf touched lately is taken
    /// for the right one: on a deep book a branch on whether it is was measured to cost more than asking in vain.
    #[inline]
    pub(super) fn prefetch_removal(&self, price: Price) {
        if self.is_large() {
            self.prefetch(price);
        } else {
            let leaf = self.recent[(price.0 >> BITS) as usize % RECENT].leaf;
            if let Some(node) = self.nodes.get(leaf as usize) {
                ringbuf::prefetch_write(&node.bitmap);
            }
        }
    }

    /// Whether there are so many nodes that they no longer stay in a core's own cache.
    #[inline]
    const fn is_large(&self) -> bool {
        self.nodes.len() > NODES_IN_CACHE
    }

    /// The nearest level strictly above `price`.
    #[inline]
    pub(super) fn above(&self, price: Price) -> Option<u32> {
        let nearest_higher = |bitmap: u64, slot: usize| {
            let higher = bitmap & (u64::MAX << 1 << slot);
            (higher != 0).then(|| higher.trailing_zeros() as usize)
        };
        self.near(price, nearest_higher).or_else(|| self.neighbour(price, nearest_higher))
    }

    /// The nearest level strictly below `price`.
    #[inline]
    pub(super) fn below(&self, price: Price) -> Option<u32> {
        let nearest_lower = |bitmap: u64, slot: usize| {
            let lower = bitmap & ((1 << slot) - 1);
            (lower != 0).then(|| 63 - lower.leading_zeros() as usize)
        };
        self.near(price, nearest_lower).or_else(|| self.neighbour(price, nearest_lower))
    }

    /// The neighbour of `price` within its own leaf, if that was touched lately.
    #[inline]
    fn near(&self, price: Price, next: impl Fn(u64, usize) -> Option<usize>) -> Option<u32> {
        let node = &self.nodes[self.recent_leaf(price)? as usize];
        Some(node.children[next(node.bitmap, slot_at(price.0, 0))?])
    }

    /// The leaf that covers `price`, if it was touched lately.
    #[inline]
    fn recent_leaf(&self, price: Price) -> Option<u32> {
        let key = price.0 >> BITS;
        let recent = self.recent[key as usize % RECENT];
        (recent.key == key).then_some(recent.leaf)
    }

    /// The leaf that covers `price` was touched.
    #[inline]
    fn note(&mut self, price: Price, leaf: u32) {
        let key = price.0 >> BITS;
        self.recent[key as usize % RECENT] = Recent { key, leaf };
    }

    #[inline]
    fn walk_to_leaf(&self, price: Price) -> Option<u32> {
        if !self.covers(price) {
            return None;
        }
        let mut node = self.root;
        for level in (1..self.height).rev() {
            let slot = slot_at(price.0, level);
            let parent = &self.nodes[node as usize];
            if parent.bitmap >> slot & 1 == 0 {
                return None;
            }
            node = parent.children[slot];
        }
        Some(node)
    }

    #[inline(never)]
    fn find_or_make_leaf(&mut self, price: Price) -> u32 {
        let leaf = self.walk_to_leaf(price).unwrap_or_else(|| self.make_leaf(price));
        self.note(price, leaf);
        leaf
    }

    /// Makes the leaf that covers `price`, and the nodes above it.
    fn make_leaf(&mut self, price: Price) -> u32 {
        while !self.covers(price) {
            let below = self.root;
            self.root = self.allocate();
            if self.nodes[below as usize].bitmap == 0 {
                self.free.push(below);
                // It may have been a leaf, which covered the prices from 0.
                self.recent[0] = NO_RECENT;
            } else {
                let root = &mut self.nodes[self.root as usize];
                root.bitmap = 1;
                root.children[0] = below;
            }
            self.height += 1;
        }
        let mut node = self.root;
        for level in (1..self.height).rev() {
            let slot = slot_at(price.0, level);
            if self.nodes[node as usize].bitmap >> slot & 1 == 0 {
                let child = self.allocate();
                let parent = &mut self.nodes[node as usize];
                parent.bitmap |= 1 << slot;
                parent.children[slot] = child;
            }
            node = self.nodes[node as usize].children[slot];
        }
        node
    }

    /// Frees the empty leaf that covers `price`, and each node above that is left empty; the root stays.
    #[inline(never)]
    fn prune(&mut self, price: Price) {
        let path = self.path(price);
        for level in 0..self.height - 1 {
            let node = path[level];
            if self.nodes[node as usize].bitmap != 0 {
                break;
            }
            self.free.push(node);
            self.nodes[path[level + 1] as usize].bitmap &= !(1 << slot_at(price.0, level + 1));
        }
        self.recent[(price.0 >> BITS) as usize % RECENT] = NO_RECENT;
    }

    /// The nodes over `price`, leaf first; below the first that is missing they are `NONE`.
    fn path(&self, price: Price) -> [u32; HEIGHT_MAX] {
        let mut path = [NONE; HEIGHT_MAX];
        let mut node = self.root;
        path[self.height - 1] = node;
        for level in (1..self.height).rev() {
            let slot = slot_at(price.0, level);
            let parent = &self.nodes[node as usize];
            if parent.bitmap >> slot & 1 == 0 {
                break;
            }
            node = parent.children[slot];
            path[level - 1] = node;
        }
        path
    }

    fn neighbour(&self, price: Price, next: impl Fn(u64, usize) -> Option<usize>) -> Option<u32> {
        // A price above all that is covered has everything below it.
        let price = if self.covers(price) { price.0 } else { (1 << (BITS as usize * self.height)) - 1 };
        let path = self.path(Price(price));
        for (level, &start) in path[..self.height].iter().enumerate() {
            if start == NONE {
                continue;
            }
            let Some(slot) = next(self.nodes[start as usize].bitmap, slot_at(price, level)) else { continue };
            // Down again, along the edge that faces `price`. Which edge that is, `next` tells from outside.
            let mut value = self.nodes[start as usize].children[slot];
            for _ in 0..level {
                let node = &self.nodes[value as usize];
                let lowest = node.bitmap.trailing_zeros() as usize;
                let highest = 63 - node.bitmap.leading_zeros() as usize;
                value = node.children[if slot > slot_at(price, level) { lowest } else { highest }];
            }
            return Some(value);
        }
        None
    }

    #[inline]
    fn covers(&self, price: Price) -> bool {
        price.0 >> (BITS as usize * self.height) == 0
    }

    fn allocate(&mut self) -> u32 {
        if let Some(node) = self.free.pop() {
            self.nodes[node as usize].bitmap = 0;
            return node;
        }
        self.nodes.push(Node { bitmap: 0, children: [NONE; FAN_OUT] });
        u32::try_from(self.nodes.len() - 1).expect("fewer than 2^32 trie nodes")
    }
}

#[inline]
const fn slot_at(price: u64, level: usize) -> usize {
    (price >> (BITS as usize * level)) as usize & (FAN_OUT - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, btree_map::Entry};

    use super::*;
    use crate::types::PRICE_MAX;

    /// Random inserts, removals and look-ups, near and far, against an ordered map.
    #[test]
    fn agrees_with_an_ordered_map() {
        for (seed, spread) in [(1_u64, 50_u64), (2, 5_000), (3, 1 << 21), (4, PRICE_MAX)] {
            let mut levels = PriceLevels::default();
            let mut expected = BTreeMap::new();
            let mut state = seed;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 20
            };
            for value in 0..20_000_u32 {
                // A third of the prices are near ones, so that removals hit.
                let price = 1 + if random() % 3 == 0 { random() % spread } else { random() % spread.min(200) };
                if random() % 5 == 0 {
                    if let Some(&some) = expected.keys().nth((random() % 7) as usize) {
                        let (leaf, _) = expected.remove(&some).unwrap();
                        levels.remove_from(leaf, Price(some));
                    }
                } else if let Entry::Vacant(vacant) = expected.entry(price) {
                    let leaf = levels.leaf_for(Price(price));
                    levels.insert_in(leaf, Price(price), value);
                    vacant.insert((leaf, value));
                }
                let probe = random() % (spread + 2);
                let found = levels.walk_to_leaf(Price(probe)).and_then(|leaf| levels.get_in(leaf, Price(probe)));
                assert_eq!(found, expected.get(&probe).map(|&(_, v)| v));
                let recent = levels.get_recent(Price(probe));
                assert!(recent.is_none() || recent == found);
                assert_eq!(levels.above(Price(probe)), expected.range(probe + 1..).next().map(|(_, &(_, v))| v));
                assert_eq!(levels.below(Price(probe)), expected.range(..probe).next_back().map(|(_, &(_, v))| v));
            }
        }
    }

    #[test]
    fn the_largest_price_fits() {
        let mut levels = PriceLevels::default();
        let [highest, lowest] = [PRICE_MAX, 1].map(|price| levels.leaf_for(Price(price)));
        levels.insert_in(highest, Price(PRICE_MAX), 1);
        levels.insert_in(lowest, Price(1), 2);
        assert_eq!(levels.above(Price(1)), Some(1));
        assert_eq!(levels.below(Price(PRICE_MAX)), Some(2));
        assert_eq!(levels.above(Price(PRICE_MAX)), None);
        levels.remove_from(highest, Price(PRICE_MAX));
        assert_eq!(levels.above(Price(1)), None);
    }
}
