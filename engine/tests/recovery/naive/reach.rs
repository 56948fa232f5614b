//! Reach: whom a recovery could possibly concern, from what happened alone.

use std::collections::BTreeSet;

use engine::{recovery::Strategy, types::AccountId};

use super::Parent;

pub fn reach(parent: &Parent, strategy: &Strategy) -> BTreeSet<AccountId> {
    let _ = (parent, strategy);
    BTreeSet::new()
}
