//! Which arrivals from outside were credited: no asset takes an external id twice.
//!
//! What a snapshot held is a sorted list, shared by all copies of the state, for it never changes; what arrived since is a
//! set. So a restored state has its millions of ids after one pass over the bytes. Owned by risk alone.

use std::sync::Arc;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

use super::slab::room_for;
use crate::types::{AssetId, ExternalId};

/// What was credited: an asset, and the id of the arrival outside.
pub(super) type Credit = (AssetId, ExternalId);

/// All that was ever credited.
#[derive(Clone, Debug, Default)]
pub(super) struct Credits {
    restored: Arc<SortedCredits>,
    since: HashSet<Credit, FxBuildHasher>,
}

impl Credits {
    /// Those of a snapshot.
    pub(super) fn restored(credits: SortedCredits) -> Self {
        Self { restored: Arc::new(credits), since: HashSet::default() }
    }

    /// Adds one; gives false if it was there.
    pub(super) fn insert(&mut self, credit: Credit) -> bool {
        !self.restored.contains(&credit) && self.since.insert(credit)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.restored.ids.len() + self.since.len()
    }

    /// All of them, ascending.
    pub(super) fn in_order(&self) -> impl Iterator<Item = Credit> {
        let mut since: Vec<_> = self.since.iter().copied().collect();
        since.sort_unstable();
        let (mut restored, mut since) = (self.restored.iter().peekable(), since.into_iter().peekable());
        std::iter::from_fn(move || match (restored.peek(), since.peek()) {
            (Some(old), Some(new)) if new < old => since.next(),
            (Some(_), _) => restored.next(),
            (None, _) => since.next(),
        })
    }
}

/// Credits that only grow at the end.
#[derive(Debug, Default)]
pub(super) struct SortedCredits {
    /// Asset by asset, each asset's ascending.
    ids: Vec<ExternalId>,
    /// The assets, ascending, and where the ids of each begin.
    assets: Vec<(AssetId, usize)>,
}

impl SortedCredits {
    /// None yet, and room for so many.
    pub(super) fn with_capacity(credits: usize) -> Self {
        Self { ids: room_for(credits), assets: Vec::new() }
    }

    /// Adds one behind all others; gives false if it does not belong there.
    #[inline]
    pub(super) fn push(&mut self, (asset, id): Credit) -> bool {
        let follows = match (self.assets.last(), self.ids.last()) {
            (Some((last_asset, _)), Some(last_id)) if *last_asset == asset => rank(*last_id) < rank(id),
            (last, _) => {
                let follows = last.is_none_or(|(last_asset, _)| *last_asset < asset);
                self.assets.push((asset, self.ids.len()));
                follows
            }
        };
        self.ids.push(id);
        follows
    }

    /// Whether it is there. Ids are mostly hashes or numbers in a row, so where one is can be guessed from its value, and
    /// guessed better from there; every fourth step halves what is left, whatever the values are.
    fn contains(&self, (asset, id): &Credit) -> bool {
        let Ok(found) = self.assets.binary_search_by_key(asset, |(known, _)| *known) else { return false };
        let wanted = rank(*id);
        let end = self.assets.get(found + 1).map_or(self.ids.len(), |(_, begin)| *begin);
        // It is in `low..high`, if anywhere, and above and below what these stand next to.
        let (mut low, mut high) = (self.assets[found].1, end);
        let (mut above, mut below) = (0, u128::MAX);
        let mut step = 0_u32;
        while low < high {
            step += 1;
            let halves = step.is_multiple_of(4);
            let middle = low + if halves { (high - low) / 2 } else { guessed(wanted, above, below, high - low) };
            let there = rank(self.ids[middle]);
            match there.cmp(&wanted) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => (low, above) = (middle + 1, there),
                std::cmp::Ordering::Greater => (high, below) = (middle, there),
            }
        }
        false
    }

    fn iter(&self) -> impl Iterator<Item = Credit> {
        let ends = self.assets.iter().skip(1).map(|(_, begin)| *begin).chain([self.ids.len()]);
        self.assets
            .iter()
            .zip(ends)
            .flat_map(|(&(asset, begin), end)| self.ids[begin..end].iter().map(move |id| (asset, *id)))
    }
}

/// Where, of `count` values spread evenly from `above` to `below`, one is.
fn guessed(wanted: u128, above: u128, below: u128, count: usize) -> usize {
    // 32 bits are enough to guess with, from the first one on that tells the bounds apart.
    let shift = (u128::BITS - u32::BITS).saturating_sub((below - above).leading_zeros());
    let (way, all) = (((wanted - above) >> shift) as u64, ((below - above) >> shift) as u64);
    let place = (way * u64::from(count as u32)).checked_div(all).unwrap_or(0);
    (place as usize).min(count - 1)
}

/// An id as a number that is ordered as ids are.
#[inline]
const fn rank(id: ExternalId) -> u128 {
    u128::from_be_bytes(id.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Against a set, with ids that are hashes, numbers in a row at either end, and texts that begin alike.
    #[test]
    fn they_are_what_a_set_holds() {
        let mut state = 11_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 24
        };
        for kind in 0..5 {
            let mut credit = || {
                let number = random();
                let id = match kind {
                    0 => u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes(),
                    1 => u128::from(number % 5_000).to_le_bytes(),
                    2 => (u128::MAX - u128::from(number % 5_000)).to_be_bytes(),
                    3 => [b'R', b'E', b'F', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (number % 60) as u8, (number % 251) as u8],
                    _ => (1_u128 << (number % 128)).to_be_bytes(),
                };
                (AssetId([0, 3, 4, 900][(random() % 4) as usize]), ExternalId(id))
            };
            let mut expected: BTreeSet<Credit> = (0..4_000).map(|_| credit()).collect();
            let mut sorted = SortedCredits::with_capacity(expected.len());
            assert!(expected.iter().all(|credit| sorted.push(*credit)));
            let mut credits = Credits::restored(sorted);
            let mut copy = credits.clone();
            assert!(expected.iter().all(|known| !copy.insert(*known)), "a copy knows what it was made of");
            for _ in 0..4_000 {
                let credit = credit();
                assert_eq!(credits.insert(credit), expected.insert(credit), "{credit:?}");
                assert!(!credits.insert(credit));
            }
            assert_eq!(credits.len(), expected.len());
            assert!(credits.in_order().eq(expected.iter().copied()));
            assert_eq!((copy.len(), copy.in_order().count()), (credits.restored.ids.len(), credits.restored.ids.len()));
        }
    }

    #[test]
    fn what_is_out_of_order_is_told() {
        let credit = |asset, id: u128| (AssetId(asset), ExternalId::from_u128(id << 120));
        let mut sorted = SortedCredits::default();
        assert!(sorted.push(credit(1, 5)) && sorted.push(credit(1, 6)) && sorted.push(credit(2, 1)));
        for wrong in [credit(2, 1), credit(2, 0), credit(1, 7)] {
            let mut sorted = SortedCredits { ids: sorted.ids.clone(), assets: sorted.assets.clone() };
            assert!(!sorted.push(wrong), "{wrong:?}");
        }
        assert!(!sorted.contains(&credit(0, 5)) && !sorted.contains(&credit(3, 5)));
    }
}
