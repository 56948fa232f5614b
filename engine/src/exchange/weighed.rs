//! Whether what all accounts hold is what their orders need, told by two sums instead of by a list of all balances.

use std::hash::BuildHasher;

use crate::types::{AccountId, AssetId};

/// A sum of amounts, each weighed with a number that belongs to its account and asset.
///
/// Two lists whose amounts differ for any account and asset have the same sum by a chance of one in 2^63, if the weights are as
/// good as drawn by lot and nobody knew them who made the lists (Carter and Wegman, 1979). So millions of amounts that come
/// in one order can be compared with those that come in another, and no memory is waited for.
#[derive(Debug)]
pub(super) struct WeighedSum<'a, Weights> {
    /// Without them nothing is summed.
    weights: Option<&'a Weights>,
    /// Beyond its range it goes on at 0.
    sum: u128,
}

impl<'a, Weights: BuildHasher> WeighedSum<'a, Weights> {
    /// Nothing yet.
    pub(super) const fn new(weights: Option<&'a Weights>) -> Self {
        Self { weights, sum: 0 }
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

    /// Whether both are sums of the same amounts; without weights nobody knows.
    pub(super) const fn equals(&self, other: &Self) -> bool {
        self.weights.is_some() && self.sum == other.sum
    }

    #[inline]
    fn weighed(&self, account: AccountId, asset: AssetId, amount: u64) -> u128 {
        let Some(weights) = self.weights else { return 0 };
        let weight = weights.hash_one(u64::from(account.0) << 16 | u64::from(asset.0));
        u128::from(weight) * u128::from(amount)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;

    type Weights = BuildHasherDefault<DefaultHasher>;

    fn sum_of<'a>(weights: &'a Weights, amounts: &[(u32, u16, u64)]) -> WeighedSum<'a, Weights> {
        let mut sum = WeighedSum::new(Some(weights));
        amounts.iter().for_each(|&(account, asset, amount)| sum.add(AccountId(account), AssetId(asset), amount));
        sum
    }

    /// The order does not count, and every single change does.
    #[test]
    fn sums_are_the_same_for_the_same_amounts_only() {
        let weights = Weights::default();
        let amount_of = |account: u32, asset: u16| u64::from(account) * 1_000 + u64::from(asset) + (u64::MAX >> 20);
        let of_account = |account| (0..5).map(move |asset| (account, asset, amount_of(account, asset)));
        let mut all: Vec<_> = (0..200).flat_map(of_account).collect();
        let mut changed = sum_of(&weights, &all);
        all.reverse();
        let (expected, mut in_two) = (sum_of(&weights, &all), sum_of(&weights, &all[..300]));
        in_two.add_all(&sum_of(&weights, &all[300..]));
        assert!(changed.equals(&expected) && in_two.equals(&expected));
        let none = WeighedSum::<Weights>::new(None);
        assert!(!none.equals(&WeighedSum::new(None)));
        for &(account, asset, _) in &all {
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

    /// Four accounts whose numbers differ by two bits, too much and too little in turn: weights by a weaker hash, of one
    /// multiplication, cancel out for one pair of bits in a hundred thousand.
    #[test]
    fn changes_of_related_accounts_do_not_cancel_out() {
        let weights = Weights::default();
        let nothing = sum_of(&weights, &[]);
        for base in 0..1_000_u32 {
            for low in 0..31 {
                for high in low + 1..32 {
                    let mut sum = WeighedSum::new(Some(&weights));
                    sum.add(AccountId(base), AssetId(0), 7);
                    sum.subtract(AccountId(base ^ 1 << low), AssetId(0), 7);
                    sum.subtract(AccountId(base ^ 1 << high), AssetId(0), 7);
                    sum.add(AccountId(base ^ 1 << low ^ 1 << high), AssetId(0), 7);
                    assert!(!sum.equals(&nothing), "{base}, {low}, {high}");
                }
            }
        }
    }
}
