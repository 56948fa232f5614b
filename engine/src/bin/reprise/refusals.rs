//! What the library refuses of a repair, told with what to do next. A document, a signature or a state that is not what it
//! should be is a mismatch, with an exit code of its own; everything else could not be done.

use std::io::ErrorKind;

use engine::{
    journal::OpenError,
    pipeline::PipelineError,
    recovery::{
        ApplyError, ApprovalError, ApprovalFileError, BranchError, ComparisonError, EpochError, PlanDocumentError,
        PlanError,
    },
};

use crate::{failure::Failure, names};

/// The message and what to do next.
fn advised(error: &dyn std::fmt::Display, advice: &str) -> Failure {
    Failure::failed(format!("{error}; {advice}"))
}

impl From<BranchError> for Failure {
    fn from(error: BranchError) -> Self {
        let advice = match &error {
            BranchError::Timeline(_) => {
                let BranchError::Timeline(error) = error else { unreachable!("it was just seen to be one") };
                return error.into();
            }
            BranchError::NoEdits => "use --airdrop, --drop or --replace",
            BranchError::OutsideHistory { .. } => "name sequences before the halt: `reprise log` lists them",
            BranchError::CutNotBeforeHalt { .. } => "give with --to the last good sequence, which is before the halt",
            BranchError::Fact { sequence, .. } => {
                return advised(&error, &format!("as --not-a-fact {sequence}=\"the reason\", or leave it as it is"));
            }
            BranchError::UnreadableReason { sequence } => {
                return advised(&error, &format!("as --not-a-fact {sequence}=\"the reason\""));
            }
            BranchError::Unchanged { .. } => "leave it out, or give another command",
            BranchError::ReplacementRefused { .. } => "give a command that can be taken there, or drop the sequence",
            BranchError::FactRefused { .. } | BranchError::PayoutRefused { .. } => {
                "choose other edits, or another strategy: `reprise plan --compare` tries all"
            }
            BranchError::UnknownAirdrop { .. } => "`reprise show --at now` lists those that there are",
            BranchError::AirdropNotPaid { .. } => "one that is not paid yet is given up with a CancelAirdrop",
            BranchError::NothingCredited => "name the sequences that credited in error",
            BranchError::Payment { .. } => {
                "fund the treasury first (FundTreasury is taken while the exchange is frozen), or pay less"
            }
            BranchError::Invariant(_) => {
                return Self::Damaged(format!("{error}; do not apply anything like it, and report this"));
            }
            _ => return Self::failed(error.to_string()),
        };
        advised(&error, advice)
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Branch(error) => error.into(),
            PlanError::Timeline(error) => error.into(),
            PlanError::NotReproducible { .. } => Self::Damaged(error.to_string()),
            PlanError::Document { reason: PlanDocumentError::Magic, .. } => {
                advised(&error, "give a file that `reprise plan` wrote")
            }
            PlanError::Document { reason: PlanDocumentError::Format(_), .. } => Self::failed(error.to_string()),
            PlanError::Document { .. } => Self::Damaged(format!(
                "{error}; do not use it: take the original from whoever made it, or make the plan again"
            )),
            PlanError::Io { ref source, .. } if source.kind() == ErrorKind::NotFound => {
                advised(&error, "name the file that `reprise plan` told")
            }
            PlanError::LongReason { .. } => advised(&error, "say it shorter"),
            PlanError::Io { .. } => advised(&error, "see whether the file may be read, or written where it is to be"),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<ComparisonError> for Failure {
    fn from(error: ComparisonError) -> Self {
        match error {
            ComparisonError::Branch(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<ApprovalError> for Failure {
    fn from(error: ApprovalError) -> Self {
        let advice = match &error {
            ApprovalError::Signature { .. } => {
                return Self::Damaged(format!(
                    "{error}: it was altered, or made with another key; let the operator run `reprise approve` again"
                ));
            }
            ApprovalError::Unknown { .. } | ApprovalError::Revoked { .. } => {
                "take this approval away, and let another operator sign: `reprise show --at now` lists all"
            }
            ApprovalError::TooFew { .. } => "each runs `reprise approve` with a key of their own",
            ApprovalError::Twice { .. } | ApprovalError::SameKey { .. } => "let a second person run `reprise approve`",
            ApprovalError::Expired { operator, expires, now } => {
                let (expires, now) = (names::time(*expires), names::time(*now));
                return Self::failed(format!(
                    "approval of {operator}: it expired at {expires}, and it is {now}: sign again, with `reprise approve`"
                ));
            }
            _ => return Self::failed(error.to_string()),
        };
        advised(&error, advice)
    }
}

impl From<ApprovalFileError> for Failure {
    fn from(error: ApprovalFileError) -> Self {
        match &error {
            ApprovalFileError::Approval { .. } => {
                Self::Damaged(format!("{error}; let the operator run `reprise approve` again"))
            }
            ApprovalFileError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                advised(&error, "name the file that `reprise operator keygen` told, and an approval beside its plan")
            }
            ApprovalFileError::OtherPlan { .. } => {
                advised(&error, "take the file away, and let the operator look at this plan and sign it")
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

/// What to do about a directory that a running exchange holds.
const RUNNING: &str = "while it runs, an exchange is frozen, repaired and opened through its own operator lane";

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let advice = match error {
            ApplyError::Approval(ref inner) => {
                let failure = Self::from(inner.clone());
                let told = format!("the plan is not applied: {failure}");
                return if matches!(failure, Self::Damaged(_)) { Self::Damaged(told) } else { Self::failed(told) };
            }
            ApplyError::Branch(error) => return error.into(),
            ApplyError::Timeline(error) => return error.into(),
            ApplyError::Open(error) => return open_failed(error),
            ApplyError::OtherState { .. } => {
                return Self::Damaged(format!(
                    "{error}; `reprise verify` says whether the journal is sound, and a new plan has to be made"
                ));
            }
            ApplyError::OtherJournal { .. } => "give the data directory of the exchange that it was made for",
            ApplyError::NoHalt { .. } => "and `reprise freeze` makes a halt where there is none",
            _ => return Self::failed(error.to_string()),
        };
        advised(&error, advice)
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Open(error) => open_failed(error),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<EpochError> for Failure {
    fn from(error: EpochError) -> Self {
        match error {
            EpochError::Journal(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

fn open_failed(error: OpenError) -> Failure {
    match error {
        OpenError::Locked { .. } => advised(&error, RUNNING),
        other => other.into(),
    }
}
