//! The matcher's copy of the lines of airdrops that are pending or locked, learned from what risk has done: with it the
//! matcher tells who was paid, and whose lock has ended.

use std::collections::{BTreeMap, BTreeSet};

use super::{MatchSink, payouts::Airdrop};
use crate::{
    command::Command,
    event::Event,
    types::{AccountId, AirdropId, Amount, AssetId, Gate, Timestamp},
};

/// An airdrop whose lines will still be told.
#[derive(Clone, Debug, Default)]
struct Lines {
    asset: AssetId,
    total: Amount,
    lines: Vec<(AccountId, Amount)>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    airdrops: BTreeMap<AirdropId, Lines>,
    locks: BTreeSet<(Timestamp, AirdropId)>,
}

impl Mirror {
    /// Copies an airdrop of a restored state.
    pub(super) fn restore(&mut self, id: AirdropId, airdrop: &Airdrop) {
        if !airdrop.is_pending() && !airdrop.is_locked() {
            return;
        }
        let Airdrop { asset, total, ref lines, locked_until, .. } = *airdrop;
        self.airdrops.insert(id, Lines { asset, total, lines: lines.clone() });
        if airdrop.is_locked() {
            self.locks.insert((locked_until, id));
        }
    }

    /// Learns what risk has done.
    #[inline]
    pub(super) fn observe(&mut self, event: &Event) {
        match *event {
            Event::AirdropOpened { airdrop, asset, total, .. } => {
                self.airdrops.insert(airdrop, Lines { asset, total, lines: Vec::new() });
            }
            Event::AirdropLineAdded { airdrop, account, amount } => {
                self.airdrops.get_mut(&airdrop).expect("risk knows the airdrop").lines.push((account, amount));
            }
            Event::AirdropCancelled { airdrop, .. } => {
                self.airdrops.remove(&airdrop);
            }
            _ => {}
        }
    }

    /// Whether a lock has ended at `time`.
    #[inline]
    pub(super) fn is_due(&self, time: Timestamp) -> bool {
        self.locks.first().is_some_and(|(due, _)| *due <= time)
    }

    /// Tells whose locks have ended at `time`.
    #[cold]
    pub(super) fn unlock(&mut self, time: Timestamp, sink: &mut impl MatchSink) {
        while self.is_due(time) {
            let Some((_, airdrop)) = self.locks.pop_first() else { return };
            let Lines { asset, lines, .. } = self.airdrops.remove(&airdrop).expect("what is locked is known");
            for (account, amount) in lines {
                sink.emit(Event::AirdropUnlocked { airdrop, account, asset, amount });
            }
        }
    }

    /// Forgets an airdrop: its lock was ended by other means.
    pub(super) fn forget(&mut self, airdrop: AirdropId) {
        self.airdrops.remove(&airdrop);
        self.locks.retain(|(_, locked)| *locked != airdrop);
    }

    /// Tells who was paid by the airdrop that `command` executes.
    #[cold]
    pub(super) fn pay(
        &mut self,
        command: &Command,
        source: AccountId,
        locked_until: Timestamp,
        sink: &mut impl MatchSink,
    ) {
        let Command::ExecuteAirdrop { airdrop, .. } = *command else {
            unreachable!("a {} pays no airdrop", command.kind_name())
        };
        let known = self.airdrops.remove(&airdrop).expect("what is paid is known");
        let (asset, total) = (known.asset, known.total);
        let locked = if locked_until.0 > 0 { Gate::Closed } else { Gate::Open };
        sink.emit(Event::AirdropExecuted { airdrop, asset, total, source, locked_until });
        for &(account, amount) in &known.lines {
            sink.emit(Event::AirdropCredited { airdrop, account, asset, amount, locked });
        }
        if locked == Gate::Closed {
            self.airdrops.insert(airdrop, known);
            self.locks.insert((locked_until, airdrop));
        }
    }
}
