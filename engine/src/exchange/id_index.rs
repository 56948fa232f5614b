//! Finds the slot of an open order by its id: the newest ones by the lowest bits of the id, the others by a hash.
//!
//! An order's id is the sequence of its command, so ids only grow, and most orders that come to be looked up are among
//! the newest. Those stand where their id modulo the length says: one is entered with a store beside the last one, and
//! found with a load. One that is still open when an id takes its place, a lap later, moves to the hash. Which are where
//! depends on the commands alone, and nothing that comes out depends on it.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use super::{orders::NONE, slab::room_for, slot_index::SlotIndex};
use crate::types::OrderId;

const NEWEST_MIN: usize = 64;
/// 16 MiB of them; with more orders open, most are in the hash.
const NEWEST_MAX: usize = 1 << 22;
/// When in one lap more than this part of the places had to be cleared for a newer order, there will be twice as many.
const MOVED_PART: usize = 32;
/// But no more than twice so many for each open order, however long some of them stay.
const PLACES_PER_ORDER: usize = 8;
/// So many in the hash stay in a core's own cache without being asked for.
const OLDER_IN_CACHE: usize = 16_384;

/// Slots by the ids of their orders; told from outside which id the order in a slot has.
#[derive(Debug)]
pub(super) struct IdIndex {
    /// By id, modulo their number, which is a power of two. A slot may also stand where its order does not belong; never does it
    /// stand where its order belongs unless that was entered here.
    newest: Vec<u32>,
    older: SlotIndex,
    hasher: FixedState,
    /// The id with which this lap began, and how many orders have moved to the hash in it.
    lap_began: u64,
    moved: usize,
    /// The highest id entered: tells which ids are old.
    last: u64,
}

impl Clone for IdIndex {
    fn clone(&self) -> Self {
        let mut newest = room_for(self.newest.len());
        newest.extend_from_slice(&self.newest);
        Self { newest, older: self.older.clone(), hasher: self.hasher.clone(), ..*self }
    }
}

impl IdIndex {
    /// With the hash's seed.
    pub(super) fn new(hasher: FixedState) -> Self {
        Self { newest: vec![NONE; NEWEST_MIN], older: SlotIndex::default(), hasher, lap_began: 0, moved: 0, last: 0 }
    }

    /// The slot of the order with this id.
    #[inline]
    pub(super) fn find(&self, id: OrderId, id_of: impl Fn(u32) -> OrderId) -> Option<u32> {
        if self.is_past(id)
            && let Some(slot) = self.find_older(id, &id_of)
        {
            // Without a look at the order that has taken its place.
            return Some(slot);
        }
        let slot = self.newest[self.place(id)];
        if slot != NONE && id_of(slot) == id { Some(slot) } else { self.find_older(id, id_of) }
    }

    /// The slot of the order with this id, most likely, without a look at an order; of an id that will come, of the order that
    /// has to make room for it, or none.
    #[inline]
    pub(super) fn guess(&self, id: OrderId) -> u32 {
        let slot = self.newest[self.place(id)];
        if self.is_past(id) { self.find_older(id, |_| id).unwrap_or(slot) } else { slot }
    }

    /// Enters an order whose id is above those of all that were entered so before; with it, so many are `open`.
    #[inline(always)]
    pub(super) fn insert(&mut self, id: OrderId, slot: u32, open: usize, id_of: impl Fn(u32) -> OrderId) {
        let place = self.place(id);
        let before = std::mem::replace(&mut self.newest[place], slot);
        self.last = id.0;
        if before != NONE {
            self.move_to_hash(before, slot, id, open, id_of);
        }
    }

    /// Enters an order with any id, unless there is one with the same; gives whether it was entered. Only as long as none was
    /// taken out.
    pub(super) fn insert_new(&mut self, id: OrderId, slot: u32, id_of: impl Fn(u32) -> OrderId) -> bool {
        let place = self.place(id);
        let before = self.newest[place];
        self.last = self.last.max(id.0);
        if before == NONE {
            // Nor is it in the hash, where none goes whose place is free.
            self.newest[place] = slot;
            return true;
        }
        let known = id_of(before);
        if known == id || self.find_older(id, id_of).is_some() {
            return false;
        }
        let (newer, older, older_id) = if known > id { (before, slot, id) } else { (slot, before, known) };
        self.newest[place] = newer;
        self.older.insert(self.hash_of(older_id), older);
        true
    }

    /// Takes out an order that is there.
    #[inline(always)]
    pub(super) fn remove(&mut self, id: OrderId, slot: u32) {
        let place = self.place(id);
        if self.newest[place] == slot {
            self.newest[place] = NONE;
        } else {
            self.remove_older(id, slot);
        }
    }

    /// Makes room for so many in all, with any ids.
    pub(super) fn reserve(&mut self, orders: usize) {
        let places = (orders * 2).next_power_of_two().min(NEWEST_MAX);
        while places > self.newest.len() {
            self.grow();
        }
        self.older.reserve((orders / 4).max(orders.saturating_sub(self.newest.len())));
    }

    /// Asks for where this id is looked up.
    #[inline]
    pub(super) fn prefetch(&self, id: OrderId) {
        ringbuf::prefetch_slice_index(&self.newest, self.place(id));
        if self.older.len() > OLDER_IN_CACHE && self.is_past(id) {
            self.older.prefetch(self.hash_of(id));
        }
    }

    /// Whether a whole lap of ids has come since.
    #[inline]
    fn is_past(&self, id: OrderId) -> bool {
        self.last.saturating_sub(id.0) >= self.newest.len() as u64
    }

    /// The most entries of the hash in a row that are taken.
    #[cfg(test)]
    pub(super) fn longest_run(&self) -> usize {
        self.older.longest_run()
    }

    #[inline(never)]
    fn find_older(&self, id: OrderId, id_of: impl Fn(u32) -> OrderId) -> Option<u32> {
        self.older.find(self.hash_of(id), |slot| id_of(slot) == id)
    }

    #[inline(never)]
    fn remove_older(&mut self, id: OrderId, slot: u32) {
        self.older.remove(self.hash_of(id), slot);
    }

    /// What stood at its place had to make room for the order with the id `newer`, in `slot`.
    #[inline(never)]
    fn move_to_hash(&mut self, before: u32, slot: u32, newer: OrderId, open: usize, id_of: impl Fn(u32) -> OrderId) {
        let id = id_of(before);
        if before == slot || self.place(id) != self.place(newer) {
            // Left over from when there were fewer places.
            return;
        }
        self.older.insert(self.hash_of(id), before);
        let places = self.newest.len();
        if newer.0.saturating_sub(self.lap_began) >= places as u64 {
            (self.lap_began, self.moved) = (newer.0, 0);
        }
        self.moved += 1;
        if self.moved > places / MOVED_PART && places < NEWEST_MAX.min(PLACES_PER_ORDER * open) {
            self.grow();
        }
    }

    /// Twice as many places. Whoever stood at one stands at both it has become, for which is the right one only the order
    /// knows, and to ask all of them would take long. The wrong one does no harm: whoever finds it looks at the id.
    #[cold]
    fn grow(&mut self) {
        let mut larger = room_for(self.newest.len() * 2);
        larger.extend_from_slice(&self.newest);
        larger.extend_from_slice(&self.newest);
        self.newest = larger;
        self.moved = 0;
    }

    #[inline]
    fn place(&self, id: OrderId) -> usize {
        id.0 as usize & self.newest.len().wrapping_sub(1)
    }

    #[inline]
    fn hash_of(&self, id: OrderId) -> u64 {
        self.hasher.hash_one(id.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// An index beside a map that is right, and what the slots hold.
    struct Pair {
        index: IdIndex,
        map: BTreeMap<u64, u32>,
        ids: Vec<OrderId>,
        free: Vec<u32>,
    }

    impl Pair {
        fn new() -> Self {
            Self {
                index: IdIndex::new(FixedState::with_seed(5)),
                map: BTreeMap::new(),
                ids: vec![OrderId(0)],
                free: vec![],
            }
        }

        fn take_slot(&mut self, id: u64) -> u32 {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.ids.push(OrderId(0));
                self.ids.len() as u32 - 1
            });
            self.ids[slot as usize] = OrderId(id);
            slot
        }

        fn insert(&mut self, id: u64) {
            let slot = self.take_slot(id);
            let ids = &self.ids;
            let open = self.map.len() + 1;
            self.index.insert(OrderId(id), slot, open, |slot| ids[slot as usize]);
            assert_eq!(self.map.insert(id, slot), None);
        }

        /// As the restoring does.
        fn insert_new(&mut self, id: u64) {
            let slot = self.take_slot(0);
            let ids = &self.ids;
            let entered = self.index.insert_new(OrderId(id), slot, |slot| ids[slot as usize]);
            assert_eq!(entered, !self.map.contains_key(&id));
            if entered {
                self.map.insert(id, slot);
                self.ids[slot as usize] = OrderId(id);
            } else {
                self.free.push(slot);
            }
        }

        fn remove(&mut self, id: u64) {
            let slot = self.map.remove(&id).unwrap();
            self.index.remove(OrderId(id), slot);
            self.free.push(slot);
        }

        fn find(&self, id: u64) -> Option<u32> {
            self.index.find(OrderId(id), |slot| self.ids[slot as usize])
        }

        fn check(&self) {
            for (&id, &slot) in &self.map {
                assert_eq!(self.find(id), Some(slot), "id {id}");
            }
        }
    }

    fn random_numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    /// Orders come and go, few and many, some to stay; ids jump, now and then by whole laps; and the index is replaced
    /// by a copy of itself.
    #[test]
    fn it_finds_what_a_map_finds() {
        for (seed, jump) in [(1, 2), (2, 3), (3, 130), (4, 1 << 33)] {
            let mut random = random_numbers(seed);
            let (mut pair, mut id) = (Pair::new(), 0);
            for round in 0..40_000_u64 {
                id += 1 + random(jump);
                let open = [3, 60, 1_000, 20][round as usize / 10_000];
                if pair.map.len() > open || random(3) == 0 && !pair.map.is_empty() {
                    // Any of them, or the newest.
                    let from = if random(2) == 0 { random(id) } else { id - id.min(3 * jump) };
                    let gone = pair.map.range(from..).next().or_else(|| pair.map.iter().next()).map(|(id, _)| *id);
                    pair.remove(gone.unwrap());
                } else {
                    pair.insert(id);
                }
                assert!(pair.index.older.len() <= pair.map.len());
                let asked = id - random(id.min(200));
                assert_eq!(pair.find(asked), pair.map.get(&asked).copied());
                if round % 5_000 == 0 {
                    pair.index = pair.index.clone();
                    pair.check();
                }
            }
            pair.check();
            pair.map.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| pair.remove(id));
            assert_eq!((0..=200).find_map(|back| pair.find(id - back)), None);
            assert_eq!(pair.index.older.len(), 0);
            // What is left stands where it does not belong.
            for (place, slot) in pair.index.newest.iter().enumerate().filter(|(_, slot)| **slot != NONE) {
                assert_ne!(pair.index.place(pair.ids[*slot as usize]), place);
            }
        }
    }

    /// As a snapshot is read: any order, ids that share a place, and some twice; then new ones come, above them all.
    #[test]
    fn it_takes_ids_in_any_order_and_none_twice() {
        for reserved in [0, 500] {
            let mut random = random_numbers(9);
            let mut pair = Pair::new();
            pair.index.reserve(reserved);
            for _ in 0..1_000 {
                let id = 1 + random(40) * 1_024 + random(30);
                pair.insert_new(id);
            }
            pair.check();
            for id in 50_000..60_000 {
                pair.insert(id);
                let first = *pair.map.keys().next().unwrap();
                pair.remove(first);
            }
            pair.check();
        }
    }

    /// A book that stays small keeps its index small; one that grows, or whose orders live longer, gets a larger one.
    #[test]
    fn it_is_as_large_as_orders_live_long() {
        let (mut pair, mut ids) = (Pair::new(), 1..);
        for (open, places) in [(20, 64), (1_000, 1_024), (20, 1_024)] {
            for id in ids.by_ref().take(20_000) {
                pair.insert(id);
                while pair.map.len() > open {
                    let first = *pair.map.keys().next().unwrap();
                    pair.remove(first);
                }
            }
            assert_eq!(pair.index.newest.len(), places);
        }
        // However long a few of them stay.
        let (mut pair, few) = (Pair::new(), 10);
        for id in (1..200_000).step_by(3) {
            pair.insert(id);
            if pair.map.len() > few {
                let newest = *pair.map.keys().next_back().unwrap();
                pair.remove(if id % 7 == 0 { *pair.map.keys().next().unwrap() } else { newest });
            }
        }
        assert!(pair.index.newest.len() <= 2 * PLACES_PER_ORDER * (few + 1), "{}", pair.index.newest.len());
    }
}
