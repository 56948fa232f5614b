//! Compensate: no trade is touched; what is left of the credits is taken back, the rest is owed, and others are paid.

use std::collections::BTreeMap;

use super::{
    branch::{Branch, BranchError, each_through},
    edits::{Edits, Payment, is_fact},
    history::Commands,
    trace::Tracer,
};
use crate::{
    command::Command,
    event::Event,
    exchange::Exchange,
    types::{AccountId, AirdropId, Amount, AssetId, Sequence},
};

/// A wrong credit: to whom and of what, and where it came from.
type Key = (AccountId, AssetId, AccountId);

/// Computes the branch.
pub(super) fn evaluate(
    exchange: Exchange,
    commands: Commands,
    cut: Sequence,
    halt: Sequence,
    edits: &Edits,
    payments: &[Payment],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Branch, BranchError> {
    if let Some(sequence) = edits.replaced.keys().next() {
        let (strategy, kind) = ("compensate", edits.replaced[sequence].kind_name());
        let why = "it changes nothing that happened, it only takes back; take excise or bust";
        return Err(BranchError::Unsuited { strategy, sequence: *sequence, kind, why });
    }
    let mut tracer = Tracer::new(exchange, edits.dropped.keys().copied().collect());
    let mut credits: BTreeMap<Key, u64> = BTreeMap::new();
    let mut airdrops: Vec<AirdropId> = Vec::new();
    let count = each_through(commands, cut, halt, |command| {
        let events = tracer.step(command);
        if let Some(reason) = edits.dropped.get(&command.sequence) {
            let is_refused = matches!(events[..], [.., Event::Refused { .. }]);
            if is_fact(&command.command) && reason.is_none() && !is_refused {
                let (sequence, kind) = (command.sequence, command.command.kind_name());
                return Err(BranchError::Fact { sequence, kind });
            }
            if let Command::ExecuteAirdrop { airdrop, .. } = command.command {
                airdrops.push(airdrop);
            }
            let mut source = AccountId::UNBACKED;
            for event in events {
                let (key, amount) = match *event {
                    Event::AirdropExecuted { source: paid_by, .. } => {
                        source = paid_by;
                        continue;
                    }
                    Event::AirdropCredited { account, asset, amount, .. } => ((account, asset, source), amount),
                    Event::Transferred { from, to, asset, amount } => ((to, asset, from), amount),
                    Event::Deposited { account, asset, amount, .. } => ((account, asset, AccountId::EXTERNAL), amount),
                    _ => continue,
                };
                let credited = credits.entry(key).or_default();
                *credited = credited.checked_add(amount.0).ok_or_else(|| too_much(key.0, key.1))?;
            }
        }
        if (command.sequence.0 - cut.0).is_multiple_of(1 << 12) || command.sequence == halt {
            progress(command.sequence.0 - cut.0);
        }
        Ok(())
    })?;
    if credits.is_empty() {
        return Err(BranchError::NothingCredited);
    }
    let parent = tracer.exchange().clone();
    let mut branch = parent.clone();
    airdrops.into_iter().for_each(|airdrop| branch.unlock_airdrop(airdrop));

    // What is left of all credits of an account and asset is shared by their sources, in order.
    let mut left: BTreeMap<(AccountId, AssetId), u64> = BTreeMap::new();
    for (account, asset, _) in credits.keys() {
        left.entry((*account, *asset)).or_insert_with(|| tracer.left(*account, *asset));
    }
    for (&(account, asset, source), &credited) in &credits {
        let available = branch.account(account).map_or(Amount::ZERO, |view| {
            view.balances.iter().find(|(of, _)| *of == asset).map_or(Amount::ZERO, |(_, balance)| balance.available)
        });
        let left = left.get_mut(&(account, asset)).expect("it was looked up for all");
        let clawed = (*left).min(credited).min(available.0);
        *left -= clawed;
        branch.claw_back(account, asset, Amount(clawed), source);
        let owed = Amount(credited - clawed);
        if !owed.is_zero() {
            branch.make_owe(account, asset, owed, source).map_err(|_| too_much(account, asset))?;
        }
    }
    for (number, payment) in (1..).zip(payments) {
        let Payment { account, asset, amount } = *payment;
        if amount.is_zero() || !branch.pay_from_treasury(account, asset, amount) {
            return Err(BranchError::Payment { number, account, asset, amount: amount.0 });
        }
    }
    Ok(Branch {
        parent,
        exchange: branch,
        cut,
        busted: Vec::new(),
        new_fills: Vec::new(),
        refused: BTreeMap::new(),
        unfunded: Vec::new(),
        commands: count,
    })
}

fn too_much(account: AccountId, asset: AssetId) -> BranchError {
    BranchError::Invariant(format!("{account} would owe more of {asset} than there can be"))
}
