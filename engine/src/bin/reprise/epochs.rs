//! What `verify` finds of how each epoch began: computed again from its parent and its plan, with the signatures under it.

use std::io;

use engine::{
    journal::{Epoch, OpenError, epoch_starts, snapshot::SnapshotError},
    recovery::{
        BranchError, EpochError, Timeline, TimelineError, VerifiedEpoch, VerifyError, VerifyFault, verify_epochs,
    },
};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::count,
    progress::{Progress, telling},
};

/// How often it is tried again while an exchange removes the snapshots that were listed.
const TRIES: u32 = 3;

/// The epochs behind the first.
pub enum Epochs {
    /// Each began as it should.
    Verified(Vec<VerifiedEpoch>),
    /// What they rest on was pruned.
    Pruned(u64),
}

/// Verifies them.
pub fn verify(timeline: &Timeline, in_use: bool) -> Result<Epochs, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let progress = telling(Progress::start("verifying epochs", None));
        let error = match verify_epochs(timeline, &progress) {
            Ok(verified) => return Ok(Epochs::Verified(verified)),
            Err(error) => error,
        };
        let removed = matches!(&error, VerifyError::Snapshot(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound);
        if in_use && removed && tries < TRIES {
            continue;
        }
        if is_pruned(&error) {
            let begun = epoch_starts(timeline.storage())?.iter().filter(|start| start.epoch > Epoch::FIRST).count();
            return Ok(Epochs::Pruned(begun as u64));
        }
        return Err(match error {
            VerifyError::Timeline(error) => error.into(),
            other => Failure::Damaged(format!(
                "{other}; keep a copy of the data directory, and restore what was altered from another copy"
            )),
        });
    }
}

/// Whether all that is wrong is that an epoch's parent was pruned.
fn is_pruned(error: &VerifyError) -> bool {
    let VerifyError::Epoch { fault, .. } = error else { return false };
    match &**fault {
        VerifyFault::Epoch(EpochError::Journal(OpenError::Pruned { .. })) => true,
        VerifyFault::Epoch(EpochError::Branch { source, .. }) => {
            matches!(&**source, BranchError::Timeline(TimelineError::Journal(OpenError::Pruned { .. })))
        }
        _ => false,
    }
}

impl Epochs {
    /// For people: a line for each.
    pub fn lines(&self) -> Vec<String> {
        let verified = match self {
            Self::Pruned(number) => {
                let what = "what they rest on was pruned, so they cannot be computed again";
                return vec![format!("epochs      {} were not verified: {what}", count(*number))];
            }
            Self::Verified(verified) => verified,
        };
        let mut lines = Vec::new();
        for epoch in verified {
            let operators: Vec<_> = epoch.approvers.iter().map(|operator| operator.0.to_string()).collect();
            lines.push(format!(
                "epoch       {} from sequence {}, by {} for the halt at {}, approved by operators {}",
                epoch.epoch,
                epoch.sequence,
                epoch.strategy,
                epoch.halt,
                operators.join(" and ")
            ));
            lines.push(format!("            plan {}: the signatures under it are good", epoch.plan));
            lines.push(format!(
                "            computed again from its parent and its plan: state {}, {} corrections, the same",
                epoch.state,
                count(epoch.corrections as u64)
            ));
            if !epoch.has_file {
                lines.push("            its epoch file is gone: the exchange makes it again when it opens".to_owned());
            }
        }
        lines
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let verified = match self {
            Self::Pruned(_) => return Value::Null,
            Self::Verified(verified) => verified,
        };
        let epochs = verified.iter().map(|epoch| {
            json!({
                "epoch": epoch.epoch.0, "sequence": epoch.sequence.0, "halt": epoch.halt.0,
                "plan": epoch.plan.to_string(), "strategy": epoch.strategy.name(),
                "approvers": epoch.approvers.iter().map(|operator| operator.0).collect::<Vec<_>>(),
                "state_hash": epoch.state.to_string(), "corrections": epoch.corrections, "epoch_file": epoch.has_file,
            })
        });
        epochs.collect()
    }
}
