//! Applying a plan: the checks, what is journaled, and the one record that commits it.
//!
//! The same on a directory that nobody has open ([`apply`]), on an exchange in line and on one that runs: those bring their
//! own journal, and take the steps in [`Application`] one by one.
//!
//! ```text
//!  check everything ─► journal the plan's parts ─► go forward to the head ─► write the epoch file ─► journal the record
//!  nothing written     facts: change no state      deposits, outcomes ...    counts for nothing yet  the new epoch
//! ```
//!
//! Whatever fails before the record is durable leaves the old epoch; running it again does all of it again.

use std::{collections::BTreeMap, io, path::Path};

use super::{
    approval::{Approval, ApprovalError, check_approvals, operators_of},
    branch::{Branch, BranchError, BustedFill, evaluate},
    corrections::carry_forward,
    epoch::{Begun, EpochError, Made, journaled_plan, plan_parts},
    opening::open_exchange,
    plan::Plan,
    timeline::{Timeline, TimelineError},
};
use crate::{
    command::{Command, SequencedCommand},
    exchange::{Exchange, RULES_VERSION, RestoreError, StateHash},
    journal::{
        Epoch, FileStorage, Journal, JournalError, JournalId, JournalReader, OpenError, Options, Storage, epoch_starts,
        journal_id,
    },
    types::{Cause, Digest, OperatorId, Sequence, Timestamp, TradingStatus},
};

/// What applying a plan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The epoch that the plan began.
    pub epoch: Epoch,
    /// The sequence of the record that begins it.
    pub sequence: Sequence,
    /// Whether it had been applied before, and nothing was done now.
    pub already: bool,
    /// The hash of the plan.
    pub plan: Digest,
    /// The hash of the state from which the epoch went on; unknown when the plan had been applied before.
    pub state: Option<StateHash>,
    /// How many events say what changed; 0 when the plan had been applied before.
    pub corrections: usize,
}

/// Why a plan was not applied. Unless it says otherwise, the old epoch goes on and nothing of the state has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The approvals do not suffice.
    #[error("the plan is not approved: {0}")]
    Approval(#[from] ApprovalError),
    /// It is a plan for another exchange.
    #[error("the plan is for journal {plan}, and this is journal {journal}")]
    OtherJournal {
        /// The plan's.
        plan: JournalId,
        /// The one here.
        journal: JournalId,
    },
    /// It is a plan for another epoch.
    #[error(
        "the plan ends epoch {plan}, and the exchange is in epoch {now}: it was made before another recovery; make a new one"
    )]
    OtherEpoch {
        /// The plan's.
        plan: Epoch,
        /// The one that is now.
        now: Epoch,
    },
    /// It follows other rules.
    #[error("the plan was computed by rules version {plan}, and this program follows {RULES_VERSION}: make it again")]
    OtherRules {
        /// The plan's.
        plan: u32,
    },
    /// There is no halt where the plan says.
    #[error(
        "the plan is for a halt at sequence {halt}, and what is there is {found}: make a plan for the halt that is now"
    )]
    NoHalt {
        /// The plan's halt.
        halt: Sequence,
        /// What stands there.
        found: String,
    },
    /// The exchange was opened behind the halt.
    #[error(
        "the plan is for the halt at sequence {halt}, and the exchange was set to {status:?} at {at}: freeze it, and make a new plan"
    )]
    Thawed {
        /// The plan's halt.
        halt: Sequence,
        /// Where the status was set.
        at: Sequence,
        /// To what.
        status: TradingStatus,
    },
    /// The plan leads elsewhere than it says.
    #[error(
        "the plan says that the {which} has the state {expected} at the halt, and it has {found}: the plan is not of this history"
    )]
    OtherState {
        /// The parent or the branch.
        which: &'static str,
        /// What the plan says.
        expected: StateHash,
        /// What was computed.
        found: StateHash,
    },
    /// The branch cannot be computed.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// The state of the branch cannot be read back.
    #[error("the state that the plan leads to cannot be restored: {0}; report this")]
    Restore(#[from] RestoreError),
    /// The past cannot be read.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The journal cannot be opened or read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The epoch file cannot be written.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The journal cannot be written. Whether the record is in it is known when it is opened again.
    #[error("{0}; open the journal again to see whether the new epoch has begun")]
    Journal(#[from] JournalError),
    /// There is no journal to commit to.
    #[error("the exchange has no journal: only what is journaled can be recovered")]
    NoJournal,
    /// Others went on submitting.
    #[error(
        "commands kept coming in between, {attempts} times: stop whoever submits to the frozen exchange, and apply again"
    )]
    OutOfPlace {
        /// How often it was tried.
        attempts: u32,
    },
    /// The exchange has stopped. Whether the record is in the journal is known when it is opened again.
    #[error("the exchange stopped: {0}; open it again to see whether the new epoch has begun")]
    Stopped(String),
}

impl From<io::Error> for ApplyError {
    fn from(source: io::Error) -> Self {
        Self::Epoch(EpochError::Io { file: "the journal's directory".to_owned(), source })
    }
}

/// What the journal says of a plan before anything is done.
pub(crate) enum Standing {
    /// It can be applied.
    Open,
    /// It began the epoch that is now, or an earlier one.
    Applied(Applied),
}

/// Checks that the plan is for this journal, for its epoch and for the halt that it is in, or has been applied.
///
/// # Errors
/// [`ApplyError`] says what it is for instead.
pub(crate) fn standing<S: Storage>(storage: &S, plan: &Plan) -> Result<Standing, ApplyError> {
    if plan.preview {
        return Err(ApprovalError::Preview.into());
    }
    let journal = journal_id(storage)?;
    if plan.journal_id != journal {
        return Err(ApplyError::OtherJournal { plan: plan.journal_id, journal });
    }
    let starts = epoch_starts(storage)?;
    let now = starts.last().map_or(Epoch::FIRST, |last| last.epoch);
    // Also where other recoveries followed.
    if let Some(start) = starts.iter().find(|start| plan.epoch.0.checked_add(1) == Some(start.epoch.0))
        && journaled_plan(storage, start.first).is_ok_and(|journaled| journaled.plan == *plan)
    {
        let (epoch, sequence) = (start.epoch, start.first);
        let applied = Applied { epoch, sequence, already: true, plan: plan.hash(), state: None, corrections: 0 };
        return Ok(Standing::Applied(applied));
    }
    if plan.epoch != now {
        return Err(ApplyError::OtherEpoch { plan: plan.epoch, now });
    }
    if plan.rules_version != RULES_VERSION {
        return Err(ApplyError::OtherRules { plan: plan.rules_version });
    }
    let start = starts.last().map_or(Sequence(1), |last| last.first);
    check_halt(storage, plan.halt, start)?;
    Ok(Standing::Open)
}

/// Whether a plan is for the exchange in a storage as it stands: for its journal, its epoch and the halt that it is in. Says
/// what it came to where it has been applied. Neither approvals nor states are looked at.
///
/// # Errors
/// [`ApplyError`] says what it is for instead.
pub fn plan_standing<S: Storage>(storage: &S, plan: &Plan) -> Result<Option<Applied>, ApplyError> {
    Ok(match standing(storage, plan)? {
        Standing::Open => None,
        Standing::Applied(applied) => Some(applied),
    })
}

/// Checks that the exchange was frozen at `halt` and has been since.
fn check_halt<S: Storage>(storage: &S, halt: Sequence, start: Sequence) -> Result<(), ApplyError> {
    let no_halt = |found: &str| ApplyError::NoHalt { halt, found: found.to_owned() };
    if halt < start || halt.0 == 0 {
        return Err(no_halt("before the epoch that is now"));
    }
    let mut behind = match JournalReader::open_at(storage.clone(), Sequence(halt.0 - 1)) {
        Ok(behind) => behind,
        Err(OpenError::NotReached { .. }) => return Err(no_halt("behind the end of the journal")),
        Err(error) => return Err(error.into()),
    };
    match behind.next().transpose()?.map(|command| command.command) {
        Some(Command::SetGlobalStatus { status: TradingStatus::Frozen }) => {}
        Some(other) => return Err(no_halt(other.kind_name())),
        None => return Err(no_halt("behind the end of the journal")),
    }
    behind.try_for_each(|command| check_frozen(halt, &command?))
}

/// Checks that a command does not thaw the exchange.
fn check_frozen(halt: Sequence, command: &SequencedCommand) -> Result<(), ApplyError> {
    match command.command {
        Command::SetGlobalStatus { status } if status != TradingStatus::Frozen => {
            Err(ApplyError::Thawed { halt, at: command.sequence, status })
        }
        _ => Ok(()),
    }
}

/// A plan being applied.
pub(crate) struct Application {
    plan: Plan,
    approvals: Vec<Approval>,
    /// What happened, and the branch: at the halt first, then forward.
    parent: Exchange,
    branch: Exchange,
    busted: Vec<BustedFill>,
    /// Who could sign.
    at_halt: BTreeMap<OperatorId, Digest>,
    /// The time of the last command gone over.
    time: Timestamp,
}

/// A new epoch that only its record lacks.
pub(crate) struct Prepared {
    /// What to submit: right behind everything that was gone over.
    pub(crate) start: Command,
    /// The state that the exchange goes on from, and the events of the record.
    pub(crate) begun: Begun,
    /// What to tell when it is durable.
    pub(crate) applied: Applied,
}

impl Application {
    /// Begins with the plan's branch, which must be the one that the plan says.
    pub(crate) fn new(plan: &Plan, branch: Branch, approvals: &[Approval]) -> Result<Self, ApplyError> {
        for (which, expected, exchange) in
            [("parent", plan.parent_state, &branch.parent), ("branch", plan.state, &branch.exchange)]
        {
            let found = exchange.state_hash();
            if found != expected || exchange.last_sequence() != plan.halt {
                return Err(ApplyError::OtherState { which, expected, found });
            }
        }
        let mut approvals = approvals.to_vec();
        approvals.sort_unstable_by_key(|approval| approval.operator);
        let Branch { parent, exchange, busted, .. } = branch;
        let at_halt = operators_of(&parent);
        Ok(Self { plan: plan.clone(), approvals, parent, branch: exchange, busted, at_halt, time: Timestamp(0) })
    }

    /// Goes forward over what the journal holds behind, through `until` or to its end.
    pub(crate) fn go_forward<S: Storage>(&mut self, storage: &S, until: Sequence) -> Result<(), ApplyError> {
        let through = self.through();
        for command in JournalReader::open_at(storage.clone(), Sequence(through.0 - 1))? {
            let command = command?;
            if command.sequence > until {
                break;
            }
            self.time = command.time;
            if command.sequence <= through {
                continue;
            }
            check_frozen(self.plan.halt, &command)?;
            carry_forward(&mut self.parent, &mut self.branch, &command)?;
        }
        Ok(())
    }

    /// The last sequence gone over.
    pub(crate) const fn through(&self) -> Sequence {
        self.parent.last_sequence()
    }

    /// Checks the approvals, with the operators as they are where it stands; time never runs backwards.
    pub(crate) fn check_approvals(&self, now: Timestamp) -> Result<(), ApplyError> {
        Ok(check_approvals(&self.plan, &self.approvals, &self.at_halt, &self.parent, now.max(self.time))?)
    }

    /// The commands that journal the plan and its approvals.
    pub(crate) fn parts(&self) -> Vec<Command> {
        plan_parts(&self.plan, &self.approvals)
    }

    /// Who is named as the cause of what is journaled: the first who approved.
    pub(crate) fn cause(&self) -> Cause {
        self.approvals.first().map_or(Cause::exchange(), |approval| Cause::operator(approval.operator.0.into()))
    }

    /// Computes the new epoch right behind where it stands, and writes its file.
    pub(crate) fn prepare<S: Storage>(&self, storage: &S, hash_seed: u64) -> Result<Prepared, ApplyError> {
        let at = self.through().next();
        let made = Made::new(&self.plan, &self.approvals, &self.parent, &self.branch, &self.busted, at);
        made.write(storage)?;
        let (header, start) = (made.header, Command::StartEpoch { at, digest: made.header.digest() });
        let begun = made.into_begun(hash_seed)?;
        let applied = Applied {
            epoch: header.epoch,
            sequence: at,
            already: false,
            plan: header.plan,
            state: Some(header.state),
            corrections: begun.corrections.len(),
        };
        Ok(Prepared { start, begun, applied })
    }
}

/// Applies a plan to the exchange in a directory that nobody has open, at `now`. Killed at any point of it, what is left is
/// the old epoch or the new one, and running it again ends in the new one.
///
/// `progress` is told how many commands were gone over, now and then, beginning with those that are replayed.
///
/// # Errors
/// [`ApplyError`]. What is refused has written nothing.
pub fn apply(
    directory: impl AsRef<Path>,
    plan: &Plan,
    approvals: &[Approval],
    now: Timestamp,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Applied, ApplyError> {
    let directory = directory.as_ref();
    // Looked at before the directory is taken, which would be made where there is none.
    if let Standing::Applied(applied) = standing(&FileStorage::read_only(directory), plan)? {
        return Ok(applied);
    }
    apply_to(&FileStorage::lock(directory)?, &Options::default(), plan, approvals, now, progress)
}

/// As [`apply`], on any storage that nobody writes.
///
/// # Errors
/// As `apply`.
pub fn apply_to<S: Storage>(
    storage: &S,
    options: &Options,
    plan: &Plan,
    approvals: &[Approval],
    now: Timestamp,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Applied, ApplyError> {
    if let Standing::Applied(applied) = standing(storage, plan)? {
        return Ok(applied);
    }
    let branch = evaluate(&Timeline::of(storage.clone()), plan.halt, &plan.strategy, progress)?;
    let mut application = Application::new(plan, branch, approvals)?;
    // What was torn is never read, so the end is the same before it is cleared.
    application.go_forward(storage, Sequence(u64::MAX))?;
    application.check_approvals(now)?;

    let opened = open_exchange(storage, options, 0, &mut |sequence| progress(sequence.0))?;
    let (mut journal, time) = (opened.journal, opened.time.max(now));
    let cause = application.cause();
    let append = |journal: &mut Journal<S>, command: Command| {
        let command = SequencedCommand { sequence: journal.appended().next(), time, cause, command };
        match journal.append(&command) {
            Err(JournalError::Full { .. }) => {
                journal.commit()?;
                journal.append(&command)
            }
            appended => appended,
        }
    };
    for part in application.parts() {
        append(&mut journal, part)?;
    }
    let head = journal.commit()?;
    application.go_forward(storage, head)?;
    let prepared = application.prepare(storage, 0)?;
    journal.begin_epoch()?;
    append(&mut journal, prepared.start)?;
    journal.commit()?;
    journal.close()?;
    Ok(prepared.applied)
}
