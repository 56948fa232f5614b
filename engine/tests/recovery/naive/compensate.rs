//! Compensate: the credits are taken back as far as they are there, and the rest is owed.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    event::Event,
    recovery::{Edits, Payment, Suspects},
    types::{AccountId, AssetId},
};

use super::{Branch, Parent, Refusal, cut_of, lots::Lots, may_be_dropped};
use crate::model::{ModelExchange, RECEIVABLES, TREASURY};

pub fn compensate(parent: &Parent, edits: &Edits, payments: &[Payment]) -> Result<Branch, Refusal> {
    if !edits.replaced.is_empty() {
        return Err(Refusal::Unsuited);
    }
    let mut branch = Branch::new(parent.at_halt.clone());
    branch.fills = parent.fills_behind(cut_of(edits));
    let model = &mut branch.model;
    for (at, events) in parent.behind(cut_of(edits)) {
        may_be_dropped(edits, at, events)?;
    }
    let sequences: BTreeSet<_> = edits.dropped.keys().copied().collect();
    let dropped = parent.commands.iter().zip(&parent.events).filter(|(at, _)| sequences.contains(&at.sequence));
    let dropped: Vec<&Event> = dropped.flat_map(|(_, events)| events).collect();

    // Locks of dropped airdrops end.
    for event in &dropped {
        if let Event::AirdropExecuted { airdrop, .. } = **event {
            let found = model.airdrops.get_mut(&airdrop).expect("it was executed");
            let (asset, lines) = (found.asset, std::mem::take(&mut found.lines));
            for (account, value) in lines {
                model.release(account, asset, value);
                branch.coverage.saw("compensate: a lock is ended");
            }
        }
    }

    // Where the credits of each account and asset came from.
    let mut credits: BTreeMap<(AccountId, AssetId), Vec<(AccountId, u128)>> = BTreeMap::new();
    let mut source = AccountId(0);
    for event in &dropped {
        match **event {
            Event::AirdropExecuted { source: pays, .. } => source = pays,
            Event::AirdropCredited { account, asset, amount, .. } => {
                credits.entry((account, asset)).or_default().push((source, amount.0.into()));
            }
            Event::Deposited { account, asset, amount, .. } => {
                credits.entry((account, asset)).or_default().push((AccountId::EXTERNAL, amount.0.into()));
            }
            Event::Transferred { from, to, asset, amount } => {
                credits.entry((to, asset)).or_default().push((from, amount.0.into()));
            }
            _ => {}
        }
    }

    if credits.is_empty() {
        return Err(Refusal::NothingCredited);
    }
    let lots = Lots::follow(parent, &Suspects::Sequences(sequences));
    for ((account, asset), from) in credits {
        let credited: u128 = from.iter().map(|(_, amount)| amount).sum();
        let left = lots.left(account, asset);
        let balance = model.balance_mut(account, asset);
        let taken = left.min(balance.available);
        balance.available -= taken;
        branch.coverage.saw(if taken == credited { "compensate: taken back" } else { "compensate: owed" });
        for (source, amount) in from {
            give_back(model, source, asset, amount);
        }
        let rest = credited - taken;
        if rest > 0 {
            *model.owed.entry((account, asset)).or_default() += rest;
            *model.system(RECEIVABLES, asset) -= i128::try_from(rest).expect("it fits");
        }
    }

    for payment in payments {
        let Payment { account, asset, amount } = *payment;
        let known = model.accounts.contains_key(&account) && model.assets.contains_key(&asset);
        if !known || amount.is_zero() || *model.system(TREASURY, asset) < i128::from(amount.0) {
            return Err(Refusal::Payment);
        }
        *model.system(TREASURY, asset) -= i128::from(amount.0);
        model.balance_mut(account, asset).available += u128::from(amount.0);
        branch.coverage.saw("compensate: paid");
    }
    branch.forced = true;
    Ok(branch)
}

fn give_back(model: &mut ModelExchange, source: AccountId, asset: AssetId, amount: u128) {
    if let Some(index) = AccountId::SYSTEM.iter().position(|system| *system == source) {
        *model.system(index, asset) += i128::try_from(amount).expect("it fits");
    } else {
        model.balance_mut(source, asset).available += amount;
    }
}
