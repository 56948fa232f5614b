//! What a plan does to one account, command by command: for whoever must be told why he has something else than before.
//!
//! Both histories are followed with an eye on the account: what each command made of what it has in all, and of what it
//! owes. Where they differ there is an [`Effect`]; what the strategy does at its end, beside all commands, is in
//! [`Effects::settled`]. Nothing else can change, so the sum of both is the whole difference.

use std::collections::BTreeMap;

use super::{
    branch::{Branch, BranchError, each_through, evaluate_watching},
    corrections::carry_forward,
    edits::Strategy,
    history::History as _,
    plan::Plan,
    reach::accounts_of,
    timeline::Timeline,
};
use crate::{
    command::SequencedCommand,
    event::Event,
    exchange::Exchange,
    journal::{JournalReader, Storage},
    types::{AccountId, Amount, AssetId, Sequence},
};

/// By how much something differs, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Of what the account has, available and held together.
    pub total: i128,
    /// Of what it owes.
    pub owed: i128,
}

impl Difference {
    const fn is_none(&self) -> bool {
        self.total == 0 && self.owed == 0
    }
}

/// What a command did to the account that it does not do on the branch, or the reverse.
#[derive(Clone, Debug)]
pub struct Effect {
    /// The command, as it happened.
    pub command: SequencedCommand,
    /// What came of it that concerns the account, as it happened.
    pub events: Vec<Event>,
    /// What differs: on the branch less in the parent.
    pub changes: BTreeMap<AssetId, Difference>,
}

/// What a plan does to an account.
#[derive(Clone, Debug)]
pub struct Effects {
    /// The account.
    pub account: AccountId,
    /// Parent and branch, both as of the moment asked for.
    pub branch: Branch,
    /// The state at the cut, from which both go on.
    pub at_cut: Exchange,
    /// Command by command.
    pub effects: Vec<Effect>,
    /// What the strategy did beside all commands: taken back, paid.
    pub settled: BTreeMap<AssetId, Difference>,
}

impl Effects {
    /// What differs in all: on the branch less in the parent. Computed from the two states.
    #[must_use]
    pub fn difference(&self) -> BTreeMap<AssetId, Difference> {
        let [before, after] = [&self.branch.parent, &self.branch.exchange].map(|state| state.possessions(self.account));
        differences(&before, &after)
    }
}

/// What an account has and owes.
type Possessions = Vec<(AssetId, Amount, Amount)>;

fn differences(before: &Possessions, after: &Possessions) -> BTreeMap<AssetId, Difference> {
    let mut changes: BTreeMap<AssetId, Difference> = BTreeMap::new();
    for (sign, possessions) in [(-1, before), (1, after)] {
        for (asset, total, owed) in possessions {
            let change = changes.entry(*asset).or_default();
            change.total += sign * i128::from(total.0);
            change.owed += sign * i128::from(owed.0);
        }
    }
    changes.retain(|_, change| !change.is_none());
    changes
}

fn add(sums: &mut BTreeMap<AssetId, Difference>, changes: &BTreeMap<AssetId, Difference>, sign: i128) {
    for (asset, change) in changes {
        let sum = sums.entry(*asset).or_default();
        sum.total += sign * change.total;
        sum.owed += sign * change.owed;
    }
    sums.retain(|_, change| !change.is_none());
}

/// Watches an account from command to command.
pub(super) struct Watched {
    account: AccountId,
    last: Possessions,
    /// Where anything moved.
    moved: BTreeMap<Sequence, BTreeMap<AssetId, Difference>>,
}

impl Watched {
    const fn new(account: AccountId) -> Self {
        Self { account, last: Vec::new(), moved: BTreeMap::new() }
    }

    /// Begins with what the account has.
    pub(super) fn begin(&mut self, possessions: impl FnOnce(AccountId) -> Possessions) {
        self.last = possessions(self.account);
    }

    /// Looks at what the command at `sequence` has changed.
    pub(super) fn look(&mut self, sequence: Sequence, possessions: impl FnOnce(AccountId) -> Possessions) {
        let now = possessions(self.account);
        if now != self.last {
            self.moved.insert(sequence, differences(&self.last, &now));
            self.last = now;
        }
    }
}

/// Computes what a plan does to an account: at its halt, or, of a plan that was applied, right before the record at `record`
/// that began the epoch. `progress` is told how many commands were applied.
///
/// # Errors
/// [`BranchError`] when the branch cannot be computed.
pub fn effects<S: Storage>(
    timeline: &Timeline<S>,
    plan: &Plan,
    record: Option<Sequence>,
    account: AccountId,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Effects, BranchError> {
    let timeline = record.map_or_else(|| timeline.clone(), |record| timeline.clone().before(record));
    let cut = plan.strategy.cut();
    let mut watched = Watched::new(account);
    let mut branch = evaluate_watching(&timeline, plan.halt, &plan.strategy, Some(&mut watched), progress)?;
    watched.begin(|account| branch.exchange.possessions(account));
    let mut through = plan.halt;
    if let Some(record) = record {
        let later = JournalReader::open_at(timeline.storage().clone(), plan.halt)
            .map_err(|error| BranchError::Timeline(error.into()))?;
        for command in later {
            let command = command.map_err(|error| BranchError::Timeline(error.into()))?;
            if command.sequence >= record {
                break;
            }
            carry_forward(&mut branch.parent, &mut branch.exchange, &command)?;
            watched.look(command.sequence, |account| branch.exchange.possessions(account));
            through = command.sequence;
        }
    }

    // Compensation leaves all that happened, and does what it does at the halt.
    let same_until = match plan.strategy {
        Strategy::Compensate { .. } => plan.halt,
        _ => cut,
    };
    let (at_cut, commands) = timeline.behind(cut)?;
    let mut parent = at_cut.clone();
    let mut own = Watched::new(account);
    own.begin(|account| parent.possessions(account));
    let (mut effects, mut events) = (Vec::new(), Vec::new());
    let (mut sum, nothing) = (BTreeMap::new(), BTreeMap::new());
    each_through(commands, cut, through, |command| {
        events.clear();
        parent.apply(command.sequence, command.time, &command.command, &mut events);
        own.look(command.sequence, |account| parent.possessions(account));
        if command.sequence <= same_until {
            return Ok(());
        }
        let there = watched.moved.get(&command.sequence).unwrap_or(&nothing);
        let here = own.moved.get(&command.sequence).unwrap_or(&nothing);
        if there != here {
            let mut changes = there.clone();
            add(&mut changes, here, -1);
            add(&mut sum, &changes, 1);
            let events = events.iter().filter(|event| concerns(event, account)).copied().collect();
            effects.push(Effect { command: *command, events, changes });
        }
        Ok(())
    })?;
    let mut all = Effects { account, branch, at_cut, effects, settled: BTreeMap::new() };
    all.settled = all.difference();
    add(&mut all.settled, &sum, -1);
    Ok(all)
}

/// Whether an event names the account.
fn concerns(event: &Event, wanted: AccountId) -> bool {
    match *event {
        Event::MassCancelled { account, .. } | Event::Refused { account, .. } => account == wanted,
        _ => accounts_of(event).contains(&wanted),
    }
}
