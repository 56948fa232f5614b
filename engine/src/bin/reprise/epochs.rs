//! What `verify` finds of how each epoch began: computed again from its parent and its plan, with the signatures under it.

use std::io;

use engine::{
    journal::{Epoch, OpenError, snapshot::SnapshotError},
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
#[derive(Default)]
pub struct Epochs {
    /// Each of these began as it should.
    pub verified: Vec<VerifiedEpoch>,
}

/// Verifies them.
pub fn verify(timeline: &Timeline, in_use: bool) -> Result<Epochs, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let progress = telling(Progress::start("verifying epochs", None));
        let error = match verify_epochs(timeline, &progress) {
            Ok(verified) => return Ok(Epochs { verified }),
            Err(error) => error,
        };
        let removed = matches!(&error, VerifyError::Snapshot(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound);
        if in_use && removed && tries < TRIES {
            continue;
        }
        if is_pruned(&error) {
            return Ok(Epochs::default());
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
    /// How many of the epochs up to `last` rest on what was pruned, so that they cannot be computed again.
    fn pruned(&self, last: Epoch) -> u64 {
        u64::from(last.0.saturating_sub(Epoch::FIRST.0)).saturating_sub(self.verified.len() as u64)
    }

    /// For people: a few lines for each. `last` is the epoch that is now.
    pub fn lines(&self, last: Epoch) -> Vec<String> {
        let mut lines = Vec::new();
        for epoch in &self.verified {
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
        let pruned = self.pruned(last);
        if pruned > 0 {
            let were = if pruned == 1 { "1 more was" } else { &format!("{} more were", count(pruned)) };
            lines.push(format!(
                "epochs      {were} not verified: what came before was pruned, so only a copy can show it"
            ));
        }
        lines
    }

    /// For programs.
    pub fn json(&self, last: Epoch) -> Value {
        let epochs = self.verified.iter().map(|epoch| {
            json!({
                "epoch": epoch.epoch.0, "sequence": epoch.sequence.0, "halt": epoch.halt.0,
                "plan": epoch.plan.to_string(), "strategy": epoch.strategy.name(),
                "approvers": epoch.approvers.iter().map(|operator| operator.0).collect::<Vec<_>>(),
                "state_hash": epoch.state.to_string(), "corrections": epoch.corrections, "epoch_file": epoch.has_file,
            })
        });
        json!({ "verified": epochs.collect::<Vec<_>>(), "not_verified": self.pruned(last) })
    }
}
