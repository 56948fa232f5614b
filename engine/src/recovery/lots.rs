//! Lots: an account's balance of an asset as a queue, in order of arrival, of which the front is spent first.
//!
//! Only balances into which a traced credit has come are kept as queues; all others are clean and need none.

use std::collections::VecDeque;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::types::{AccountId, AssetId};

/// Where a lot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Origin {
    /// The number of the credit.
    pub(super) credit: u32,
    /// How often it has changed hands: 0 with the account that was credited.
    pub(super) hop: u8,
    /// Whether it is what was got for the credit, and not the credit itself.
    pub(super) proceeds: bool,
}

/// A part of a balance. Without an origin it is clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lot {
    pub(super) origin: Option<Origin>,
    pub(super) amount: u64,
}

/// All balances that are kept as queues.
#[derive(Clone, Debug, Default)]
pub(super) struct Lots {
    queues: HashMap<(AccountId, AssetId), VecDeque<Lot>, FxBuildHasher>,
    /// The accounts that have a queue: looked at first.
    accounts: hashbrown::HashSet<AccountId, FxBuildHasher>,
}

impl Lots {
    /// Whether any of the account's balances is kept as a queue.
    #[inline]
    pub(super) fn knows(&self, account: AccountId) -> bool {
        self.accounts.contains(&account)
    }

    /// Whether this balance is kept as a queue.
    #[inline]
    pub(super) fn has(&self, account: AccountId, asset: AssetId) -> bool {
        self.knows(account) && self.queues.contains_key(&(account, asset))
    }

    /// Begins to keep a balance as a queue: what is there goes first.
    pub(super) fn begin(&mut self, account: AccountId, asset: AssetId, balance: u64) {
        self.accounts.insert(account);
        let queue = self.queues.entry((account, asset)).or_default();
        if balance > 0 {
            queue.push_back(Lot { origin: None, amount: balance });
        }
    }

    /// Puts a lot at the end of a queue, which must be there.
    pub(super) fn arrive(&mut self, account: AccountId, asset: AssetId, lot: Lot) {
        let queue = self.queues.get_mut(&(account, asset)).expect("the queue was begun");
        match queue.back_mut() {
            Some(last) if last.origin == lot.origin => last.amount += lot.amount,
            _ if lot.amount > 0 => queue.push_back(lot),
            _ => {}
        }
    }

    /// Takes from the front of a queue; hands out the lots. Without a queue, it is one clean lot.
    pub(super) fn take(&mut self, account: AccountId, asset: AssetId, amount: u64, taken: &mut Vec<Lot>) {
        taken.clear();
        let mut missing = amount;
        if let Some(queue) = self.queues.get_mut(&(account, asset)) {
            while missing > 0 {
                let Some(front) = queue.front_mut() else { break };
                let amount = front.amount.min(missing);
                taken.push(Lot { origin: front.origin, amount });
                missing -= amount;
                front.amount -= amount;
                if front.amount == 0 {
                    queue.pop_front();
                }
            }
        }
        if missing > 0 {
            taken.push(Lot { origin: None, amount: missing });
        }
    }

    /// What is left of the lots that are `wanted` in a balance.
    pub(super) fn left(&self, account: AccountId, asset: AssetId, wanted: impl Fn(Origin) -> bool) -> u64 {
        let queue = self.queues.get(&(account, asset));
        let lots = queue.into_iter().flatten();
        lots.filter(|lot| lot.origin.is_some_and(&wanted)).map(|lot| lot.amount).sum()
    }

    /// What is clean in a balance that is kept as a queue.
    pub(super) fn clean(&self, account: AccountId, asset: AssetId) -> u64 {
        let lots = self.queues.get(&(account, asset)).into_iter().flatten();
        lots.filter(|lot| lot.origin.is_none()).map(|lot| lot.amount).sum()
    }

    /// All queues, ascending by account and asset.
    pub(super) fn queues(&self) -> Vec<((AccountId, AssetId), &VecDeque<Lot>)> {
        let mut all: Vec<_> = self.queues.iter().map(|(key, queue)| (*key, queue)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}
