//! Verifying how epochs began: all that a record binds is computed again from its parent and its plan, and the signatures
//! are checked. What does not fit is named.

use super::{
    approval::{ApprovalError, check_approvals},
    edits::Strategy,
    epoch::{
        EpochError, EpochFile, EpochName, JournaledPlan, Made, begun_by, branch_before, epoch_files, journaled_plan,
    },
    timeline::{Timeline, TimelineError},
};
use crate::{
    command::{Command, SequencedCommand},
    exchange::StateHash,
    journal::{
        Epoch, JournalId, JournalReader, OpenError, Storage, epoch_starts, journal_id,
        snapshot::{SnapshotError, check_snapshot, list_snapshots},
    },
    types::{Digest, OperatorId, Sequence, Timestamp, TradingStatus},
};

/// By how much an approval may have expired when the plan was journaled: between the check and the journal there is a queue.
const EXPIRY_GRACE_NS: u64 = 60_000_000_000;

/// An epoch whose beginning is as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEpoch {
    /// Which.
    pub epoch: Epoch,
    /// The sequence of the record that began it.
    pub sequence: Sequence,
    /// The halt that its plan was for.
    pub halt: Sequence,
    /// The hash of the plan.
    pub plan: Digest,
    /// What was done.
    pub strategy: Strategy,
    /// Who approved it.
    pub approvers: Vec<OperatorId>,
    /// The state from which it went on.
    pub state: StateHash,
    /// How many events said what changed.
    pub corrections: usize,
    /// Whether its epoch file is there; it is then what it should be.
    pub has_file: bool,
}

/// What is wrong with how an epoch began.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyFault {
    /// What was journaled of the plan, or the epoch file, cannot be read or is not what was written.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The plan in the journal is not the one in the epoch file.
    #[error(
        "the plan journaled before it has the hash {journaled}, and the one in {file} {found}: one of them was altered"
    )]
    OtherPlan {
        /// Of the plan in the journal.
        journaled: Digest,
        /// The epoch file.
        file: String,
        /// Of the plan in it.
        found: Digest,
    },
    /// The approvals in the journal are not those in the epoch file.
    #[error("the approvals journaled before it are not those in {file}: one of them was altered")]
    OtherApprovals {
        /// The epoch file.
        file: String,
    },
    /// The epoch file holds something else than the plan leads to.
    #[error("{file} is not what its plan leads to: its {what} was altered")]
    OtherFile {
        /// The epoch file.
        file: String,
        /// Which part of it.
        what: &'static str,
    },
    /// The plan is for something else.
    #[error("the plan journaled before it is for journal {journal_id}, epoch {epoch}, halt {halt}: {why}")]
    Place {
        /// The plan's journal.
        journal_id: JournalId,
        /// The plan's epoch.
        epoch: Epoch,
        /// The plan's halt.
        halt: Sequence,
        /// What it should be.
        why: String,
    },
    /// A signature is not good.
    #[error("the plan journaled before it was not approved: {0}")]
    Approval(#[from] ApprovalError),
    /// The plan leads elsewhere than it says.
    #[error(
        "the plan says that the {which} has the state {expected} at the halt, and computed again it has {found}: the plan or the history before it was altered"
    )]
    OtherState {
        /// The parent or the branch.
        which: &'static str,
        /// What the plan says.
        expected: StateHash,
        /// What was computed.
        found: StateHash,
    },
    /// The record binds something else.
    #[error(
        "its record binds {record}, and its plan and approvals lead to {computed}: the record, the approvals or the history between the halt and it were altered"
    )]
    Record {
        /// In the record.
        record: Digest,
        /// Computed again.
        computed: Digest,
    },
    /// An epoch begins without a record, or a record stands where none begins.
    #[error("{0}")]
    Beginning(String),
}

/// Why the epochs of a journal are not sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The journal cannot be read.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// Something is wrong with how an epoch began.
    #[error("epoch {epoch}, which begins at sequence {sequence}: {fault}")]
    Epoch {
        /// Which.
        epoch: Epoch,
        /// Where it begins.
        sequence: Sequence,
        /// What.
        #[source]
        fault: Box<VerifyFault>,
    },
    /// A snapshot is not what was written, or of another history.
    #[error("a snapshot was altered: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The names of files cannot be read.
    #[error(transparent)]
    Files(EpochError),
}

impl From<OpenError> for VerifyError {
    fn from(error: OpenError) -> Self {
        Self::Timeline(error.into())
    }
}

/// Verifies how every epoch of the journal began, reading all of it, and the snapshots beside it. `progress` is told how many
/// commands were gone over, beginning anew with each epoch.
///
/// An epoch that began before what was pruned is not looked at.
///
/// # Errors
/// [`VerifyError`] names the first thing that is not as it should be.
pub fn verify_epochs<S: Storage>(
    timeline: &Timeline<S>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<VerifiedEpoch>, VerifyError> {
    let storage = timeline.storage();
    for name in list_snapshots(storage)? {
        check_snapshot(storage, name)?;
    }
    let starts = epoch_starts(storage)?;
    let first = starts.first().map_or(Sequence(1), |start| start.first);
    let mut expected = starts.iter().filter(|start| start.epoch > Epoch::FIRST).peekable();
    let mut records: Vec<(SequencedCommand, Epoch, Digest)> = Vec::new();
    let mut epoch = starts.first().map_or(Epoch::FIRST, |start| start.epoch);
    for command in JournalReader::open_at(storage.clone(), Sequence(first.0 - 1))? {
        let command = command?;
        let begins = expected.next_if(|start| start.first == command.sequence);
        match (begins, begun_by(&command)) {
            (None, None) => {}
            (Some(start), Some(digest)) => {
                epoch = start.epoch;
                records.push((command, epoch, digest));
            }
            // What is left of a pruned journal begins within an epoch.
            (Some(_), None) if command.sequence == first && first > Sequence(1) => {}
            (begins, _) => {
                let sequence = command.sequence;
                let (epoch, what) = match begins {
                    Some(start) => (start.epoch, format!("its first command is a {}", command.command.kind_name())),
                    None => (epoch.next(), "its record stands in a block of the epoch before".to_owned()),
                };
                let fault = Box::new(VerifyFault::Beginning(what));
                return Err(VerifyError::Epoch { epoch, sequence, fault });
            }
        }
    }
    let verified = records.into_iter().map(|(record, epoch, digest)| {
        verify(storage, &record, epoch, digest, progress).map_err(|fault| VerifyError::Epoch {
            epoch,
            sequence: record.sequence,
            fault: Box::new(fault),
        })
    });
    verified.collect()
}

/// Verifies how the epoch that is now began; `None` in the first. As [`verify_epochs`], without reading what came before the
/// plan's cut, and without the snapshots.
///
/// # Errors
/// As `verify_epochs`.
pub fn verify_last_epoch<S: Storage>(
    timeline: &Timeline<S>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<VerifiedEpoch>, VerifyError> {
    let storage = timeline.storage();
    let Some(start) = epoch_starts(storage)?.into_iter().next_back().filter(|start| start.epoch > Epoch::FIRST) else {
        return Ok(None);
    };
    let (epoch, sequence) = (start.epoch, start.first);
    let wrong = |fault| VerifyError::Epoch { epoch, sequence, fault: Box::new(fault) };
    let record = JournalReader::open_at(storage.clone(), Sequence(sequence.0 - 1))?.next().transpose()?;
    match record.and_then(|record| begun_by(&record).map(|digest| (record, digest))) {
        Some((record, digest)) => verify(storage, &record, epoch, digest, progress).map(Some).map_err(wrong),
        None => Err(wrong(VerifyFault::Beginning("its first command is not its record".to_owned()))),
    }
}

fn verify<S: Storage>(
    storage: &S,
    record: &SequencedCommand,
    epoch: Epoch,
    digest: Digest,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<VerifiedEpoch, VerifyFault> {
    let sequence = record.sequence;
    let JournaledPlan { time, plan, approvals } = journaled_plan(storage, sequence)?;
    let plan_hash = plan.hash();

    let name = EpochName { epoch, sequence };
    let path = storage.file_name(&name.to_string());
    let file = if epoch_files(storage)?.contains(&name) { Some(EpochFile::read(storage, name)?) } else { None };
    if let Some(file) = &file {
        if file.header.plan != plan_hash {
            let (journaled, found) = (plan_hash, file.header.plan);
            return Err(VerifyFault::OtherPlan { journaled, file: path, found });
        }
        if file.approvals != approvals {
            return Err(VerifyFault::OtherApprovals { file: path });
        }
    }
    check_place(storage, &plan, epoch, sequence)?;

    let (branch, at_halt) = branch_before(storage, sequence, &plan, progress).map_err(|error| *error)?;
    for (which, expected, found) in
        [("parent", plan.parent_state, at_halt.parent), ("branch", plan.state, at_halt.branch)]
    {
        if found != expected {
            return Err(VerifyFault::OtherState { which, expected, found });
        }
    }
    let then = Timestamp(time.0.saturating_sub(EXPIRY_GRACE_NS));
    check_approvals(&plan, &approvals, &at_halt.operators, &branch.parent, then)?;
    let made = Made::new(&plan, &approvals, &branch.parent, &branch.exchange, &branch.busted, sequence);
    let computed = made.header.digest();
    if let Some(file) = &file {
        for (what, is_same) in [
            ("state at the halt", file.header.state_at_halt == made.header.state_at_halt),
            ("state", file.header.state == made.header.state),
            ("list of corrections", file.header.corrections == made.header.corrections),
            ("header", file.header == made.header),
        ] {
            if !is_same {
                return Err(VerifyFault::OtherFile { file: path, what });
            }
        }
    }
    if computed != digest {
        return Err(VerifyFault::Record { record: digest, computed });
    }
    Ok(VerifiedEpoch {
        epoch,
        sequence,
        halt: plan.halt,
        plan: plan_hash,
        strategy: plan.strategy,
        approvers: approvals.iter().map(|approval| approval.operator).collect(),
        state: made.header.state,
        corrections: made.corrections().len(),
        has_file: file.is_some(),
    })
}

/// Checks that the plan is for this journal, for the epoch before and for a halt that held until the record.
fn check_place<S: Storage>(
    storage: &S,
    plan: &super::Plan,
    epoch: Epoch,
    sequence: Sequence,
) -> Result<(), VerifyFault> {
    let place =
        |why: String| VerifyFault::Place { journal_id: plan.journal_id, epoch: plan.epoch, halt: plan.halt, why };
    let journal = journal_id(storage).map_err(EpochError::from)?;
    if plan.journal_id != journal {
        return Err(place(format!("this is journal {journal}")));
    }
    if plan.epoch.0.checked_add(1) != Some(epoch.0) {
        return Err(place(format!("it began epoch {epoch}")));
    }
    if plan.halt.0 == 0 || plan.halt >= sequence {
        return Err(place("the halt comes before the record".to_owned()));
    }
    let behind = JournalReader::open_at(storage.clone(), Sequence(plan.halt.0 - 1)).map_err(EpochError::from)?;
    for command in behind {
        let command = command.map_err(EpochError::from)?;
        if command.sequence >= sequence {
            break;
        }
        let status = match command.command {
            Command::SetGlobalStatus { status } => Some(status),
            _ => None,
        };
        if command.sequence == plan.halt && status != Some(TradingStatus::Frozen) {
            return Err(place(format!("the command there is a {}", command.command.kind_name())));
        }
        if let Some(status) = status.filter(|status| *status != TradingStatus::Frozen) {
            return Err(place(format!("the exchange was set to {status:?} at {}", command.sequence)));
        }
    }
    Ok(())
}
