//! The past: any moment of it on demand, from the journal alone, and quickly where a snapshot stands near.
//!
//! And what to do about it: a strategy leads to a [`Branch`], a [`Plan`] says what it leads to, two operators sign it, and
//! one record in the journal makes it the next epoch.

mod apply;
mod approval;
mod branch;
mod bust;
mod comparison;
mod compensate;
mod corrections;
mod diff;
mod edits;
mod effects;
mod epoch;
mod halt;
mod history;
mod lots;
mod opening;
mod plan;
mod reach;
pub mod report;
mod snapshots;
mod timeline;
mod trace;
mod verification;

pub(crate) use apply::{Application, Prepared, Standing, standing};
pub use apply::{Applied, ApplyError, apply, apply_to, plan_standing};
pub use approval::{APPROVALS_MAX, APPROVALS_MIN, Approval, ApprovalError, ApprovalFileError, SecretKey, generate_key};
pub use branch::{Branch, BranchError, BustedFill, evaluate};
pub use comparison::{ComparisonError, Outcome, compare, outcome, outcome_of, sums_to_zero, victims};
pub use corrections::{WITHDRAWAL_GONE, carry_forward};
pub use diff::{BalanceChange, BookChange, Diff, OrderChange, OrderFate, Reason, WithdrawalChange, diff};
pub use edits::{Edits, Payment, Strategy, is_fact};
pub use effects::{Difference, Effect, Effects, effects};
pub use epoch::{
    Begun, EPOCH_FORMAT, EpochError, EpochFile, EpochFileFault, EpochHeader, EpochName, EpochNameError, Epochs,
    JournaledPlan, Recomputed, begun_by, epoch_files, journaled_plan, step,
};
pub use halt::{Halt, find_halt};
pub use history::{Commands, History, Recorded};
pub use opening::{Opened, open_exchange};
pub use plan::{PLAN_FORMAT, Plan, PlanDocumentError, PlanError, make_plan};
pub use reach::reach;
pub use snapshots::{LoadedSnapshot, SkippedSnapshot, SnapshotFault, load_snapshot, save_snapshot};
pub use timeline::{Moment, MomentError, Replay, Step, Timeline, TimelineError};
pub use trace::{CreditRow, FLOWS_MAX, Flow, FlowKind, MarketTrace, PricePoint, Suspects, Trace, trace};
pub use verification::{VerifiedEpoch, VerifyError, VerifyFault, verify_epochs, verify_last_epoch};
