//! Finds slots by a hash: open addressing with linear probing, eight entries to a cache line.
//!
//! An entry is a slot and 32 bits of its key's hash, which also tell where it belongs. So entries move, when one before
//! them is removed or the table grows, without a look at the slots themselves; only a look-up asks the slot whether it
//! is the right one. Knows nothing of orders.

use super::orders::NONE;

/// An entry that is not taken.
const VACANT: Entry = Entry { tag: 0, slot: NONE };
const ENTRIES_MIN: usize = 16;
const SMALL_ENTRIES: usize = 1 << 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The upper half of the hash.
    tag: u32,
    slot: u32,
}

/// Slots by the hash of a key that each of them knows.
#[derive(Debug)]
pub(super) struct SlotIndex {
    /// A power of two of them, at most seven of ten taken; of a small table half, for shorter ways.
    entries: Box<[Entry]>,
    /// How many bits of a hash, of which a tag is the upper half, do not tell where it belongs.
    shift: u32,
    /// How many more may be taken before the table grows.
    room: usize,
}

impl Clone for SlotIndex {
    fn clone(&self) -> Self {
        let mut entries = vacant_entries(self.entries.len());
        entries.copy_from_slice(&self.entries);
        Self { entries, shift: self.shift, room: self.room }
    }
}

impl Default for SlotIndex {
    fn default() -> Self {
        Self { entries: Box::new([VACANT; ENTRIES_MIN]), shift: shift_of(ENTRIES_MIN), room: taken_max(ENTRIES_MIN) }
    }
}

impl SlotIndex {
    /// The slot with this hash that `is_right`.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_right: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let mut place = self.home(tag);
        loop {
            let entry = self.entries[place];
            if entry.slot == NONE {
                return None;
            }
            if entry.tag == tag && is_right(entry.slot) {
                return Some(entry.slot);
            }
            place = self.next(place);
        }
    }

    /// Adds a slot that is not there.
    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        if self.room == 0 {
            self.grow_to(self.entries.len() * 2);
        }
        self.room -= 1;
        self.put(Entry { tag: tag_of(hash), slot });
    }

    /// Adds a slot, unless one with this hash `is_the_same`; gives whether it was added.
    #[inline]
    pub(super) fn insert_new(&mut self, hash: u64, slot: u32, mut is_the_same: impl FnMut(u32) -> bool) -> bool {
        if self.room == 0 {
            self.grow_to(self.entries.len() * 2);
        }
        let tag = tag_of(hash);
        let mut place = self.home(tag);
        while self.entries[place].slot != NONE {
            if self.entries[place].tag == tag && is_the_same(self.entries[place].slot) {
                return false;
            }
            place = self.next(place);
        }
        self.entries[place] = Entry { tag, slot };
        self.room -= 1;
        true
    }

    /// Takes out a slot that is there.
    #[inline(always)]
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let mut vacant = self.home(tag_of(hash));
        while self.entries[vacant].slot != slot {
            assert!(self.entries[vacant].slot != NONE, "slot {slot} is in the index");
            vacant = self.next(vacant);
        }
        // What follows without a gap moves up, as far as each entry's own place allows.
        let mask = self.entries.len() - 1;
        let mut place = vacant;
        loop {
            place = self.next(place);
            let entry = self.entries[place];
            if entry.slot == NONE {
                break;
            }
            let from_home = place.wrapping_sub(self.home(entry.tag)) & mask;
            if from_home >= place.wrapping_sub(vacant) & mask {
                self.entries[vacant] = entry;
                vacant = place;
            }
        }
        self.entries[vacant] = VACANT;
        self.room += 1;
    }

    /// How many there are.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        taken_max(self.entries.len()) - self.room
    }

    /// The most entries in a row that are taken: no look-up takes more steps.
    #[cfg(test)]
    pub(super) fn longest_run(&self) -> usize {
        let runs = self.entries.split(|entry| entry.slot == NONE);
        runs.map(<[Entry]>::len).max().unwrap_or_default()
    }

    /// Makes room for so many in all.
    pub(super) fn reserve(&mut self, slots: usize) {
        let mut entries = self.entries.len();
        while slots > taken_max(entries) {
            entries *= 2;
        }
        if entries > self.entries.len() {
            self.grow_to(entries);
        }
    }

    /// Asks for the entries that a look-up of this hash begins with.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        ringbuf::prefetch_slice_index(&self.entries, self.home(tag_of(hash)));
    }

    #[inline]
    fn put(&mut self, entry: Entry) {
        let mut place = self.home(entry.tag);
        while self.entries[place].slot != NONE {
            place = self.next(place);
        }
        self.entries[place] = entry;
    }

    #[cold]
    fn grow_to(&mut self, entries: usize) {
        let larger = vacant_entries(entries);
        self.shift = shift_of(larger.len());
        self.room += taken_max(larger.len()) - taken_max(self.entries.len());
        let entries = std::mem::replace(&mut self.entries, larger);
        entries.iter().filter(|entry| entry.slot != NONE).for_each(|entry| self.put(*entry));
    }

    /// Where an entry belongs: the tag's upper bits, as many as number the entries.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        (u64::from(tag) << 32).wrapping_shr(self.shift) as usize
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        place.wrapping_add(1) & (self.entries.len() - 1)
    }
}

fn vacant_entries(count: usize) -> Box<[Entry]> {
    let mut entries = Vec::with_capacity(count);
    ringbuf::advise_huge_pages(entries.spare_capacity_mut());
    entries.resize(count, VACANT);
    entries.into()
}

const fn taken_max(entries: usize) -> usize {
    if entries <= SMALL_ENTRIES { entries / 2 } else { entries / 10 * 7 }
}

/// All bits of a hash but as many as number the entries.
const fn shift_of(entries: usize) -> u32 {
    u64::BITS - entries.ilog2()
}

#[inline]
const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Against a map, with hashes of which many are equal, and many lie at the end of the table.
    #[test]
    fn it_finds_what_a_map_finds() {
        let (mut index, mut map) = (SlotIndex::default(), BTreeMap::<u32, u64>::new());
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round in 0..60_000 {
            let slot = 1 + random(if round % 20_000 < 10_000 { 2_000 } else { 40 }) as u32;
            if let Some(hash) = map.remove(&slot) {
                index.remove(hash, slot);
            } else {
                let hash = (u64::MAX - random(50) * (1 << 58)).rotate_left(random(2) as u32 * 7);
                map.insert(slot, hash);
                if round % 2 == 0 {
                    index.insert(hash, slot);
                } else {
                    assert!(index.insert_new(hash, slot, |known| known == slot));
                    assert!(!index.insert_new(hash, slot, |known| known == slot));
                }
            }
            let asked = 1 + random(2_000) as u32;
            let hash = map.get(&asked).copied();
            let found = index.find(hash.unwrap_or(u64::MAX), |slot| slot == asked);
            assert_eq!(found, hash.map(|_| asked));
            assert_eq!(taken_max(index.entries.len()) - index.room, map.len());
        }
        for (&slot, &hash) in &map {
            assert_eq!(index.find(hash, |found| found == slot), Some(slot));
        }
    }
}
