//! Whether what all accounts hold is what their orders need, told by two sums instead of by a list of all balances.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use crate::types::{AccountId, AssetId};

/// A sum of amounts, each weighed with a number that belongs to its account and asset.
///
/// Two lists whose amounts differ for any account and asset have the same sum by a chance of one in 2^63, if nobody knew
/// the seed who made them: the weights of universal hashing (Carter and Wegman, 1979). So millions of amounts that come in one
/// order can be compared with those that come in another, and no memory is waited for.
#[derive(Clone, Debug)]
pub(super) struct WeighedSum {
    weights: FixedState,
    /// Beyond its range it goes on at 0.
    sum: u128,
}

impl WeighedSum {
    /// Nothing yet. What is compared has the same seed.
    pub(super) fn new(seed: u64) -> Self {
        Self { weights: FixedState::with_seed(seed), sum: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, account: AccountId, asset: AssetId, amount: u64) {
        self.sum = self.sum.wrapping_add(self.weighed(account, asset, amount));
    }

    #[inline]
    pub(super) fn subtract(&mut self, account: AccountId, asset: AssetId, amount: u64) {
        self.sum = self.sum.wrapping_sub(self.weighed(account, asset, amount));
    }

    /// Adds what another sum has.
    pub(super) const fn add_all(&mut self, other: &Self) {
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Whether it is the sum of the same amounts.
    pub(super) const fn equals(&self, other: &Self) -> bool {
        self.sum == other.sum
    }

    #[inline]
    fn weighed(&self, account: AccountId, asset: AssetId, amount: u64) -> u128 {
        let weight = self.weights.hash_one(u64::from(account.0) << 16 | u64::from(asset.0));
        u128::from(weight) * u128::from(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order does not count, and every single change does.
    #[test]
    fn sums_are_the_same_for_the_same_amounts_only() {
        let amounts = |account: u32, asset: u16| u64::from(account) * 1_000 + u64::from(asset) + (u64::MAX >> 20);
        let mut all: Vec<_> = (0..200).flat_map(|account| (0..5).map(move |asset| (account, asset))).collect();
        let sum_of = |all: &[(u32, u16)], seed| {
            let mut sum = WeighedSum::new(seed);
            all.iter()
                .for_each(|&(account, asset)| sum.add(AccountId(account), AssetId(asset), amounts(account, asset)));
            sum
        };
        let (expected, other_seed) = (sum_of(&all, 7), sum_of(&all, 8));
        all.reverse();
        assert!(sum_of(&all, 7).equals(&expected) && !other_seed.equals(&expected));
        let (mut first, rest) = (sum_of(&all[..300], 7), sum_of(&all[300..], 7));
        first.add_all(&rest);
        assert!(first.equals(&expected));
        for &(account, asset) in &all {
            let mut changed = expected.clone();
            // From one account to the next, and from one asset to the next.
            for (other_account, other_asset) in [(account + 1, asset), (account, asset + 1)] {
                changed.subtract(AccountId(account), AssetId(asset), 1);
                changed.add(AccountId(other_account), AssetId(other_asset), 1);
                assert!(!changed.equals(&expected));
                changed.add(AccountId(account), AssetId(asset), 1);
                changed.subtract(AccountId(other_account), AssetId(other_asset), 1);
            }
            assert!(changed.equals(&expected));
        }
    }
}
