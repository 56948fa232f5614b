//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use engine::{
    command::Command as ExchangeCommand,
    event::{Event, RejectReason},
    recovery::Moment,
    types::{AccountId, Cause, OrderId, Timestamp},
};

use crate::{
    airdrop::AirdropAction,
    approve::{ApplyArguments, ApproveArguments, OperatorAction},
    plan::PlanArguments,
    statement::StatementArguments,
    submit::{FreezeArguments, ReopenArguments, SubmitArguments},
    trace::TraceArguments,
};

const AFTER_HELP: &str = "\
A mistake was made, and the exchange is stopped. One step after the other:
  reprise --data DIR freeze --cause N            nothing but facts is taken from here on
  reprise --data DIR trace --airdrop ID          who got what, and where it is now
  reprise --data DIR plan --compare --airdrop ID what each way to repair it would come to
  reprise --data DIR plan bust --airdrop ID      the plan of one: a file to be signed
  reprise --data DIR approve PLAN --key FILE     two operators, each with a key of their own
  reprise --data DIR apply PLAN                  the next epoch begins; what happened stays in the journal
  reprise --data DIR verify                      everything is computed again
  reprise --data DIR reopen cancel-only --cause N, then auction, then open
Up to apply nothing has changed, and all of it can be done again.

Exit codes: 0 all is well, 1 it could not be done or was not found, 2 the command line is wrong, 3 damage or a mismatch was found (a file, a signature or a state is not what it should be), 4 there are warnings (airdrop check).";

/// Reads the history of a Reprise exchange: checks it, lists it, shows any past moment, compares two, exports it. Takes back a
/// mistake: traces it, plans its repair, applies it.
///
/// The exchange may be running: the journal is only read, but for apply, submit, freeze, reopen, snapshot, prune and
/// accept-loss, for which it must be stopped. A moment is a sequence (12345), an epoch and a sequence
/// (1:12345), a time (2026-11-25T09:30:00Z, or nanoseconds since 1970 as @1764000000000000000), or now. The state "at" a
/// moment is the state after its command; at a time, after the last command not later than it.
#[derive(Debug, Parser)]
#[command(
    name = "reprise",
    version,
    after_help = AFTER_HELP
)]
pub struct Arguments {
    /// The exchange's data directory: where its journal is.
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Answer in JSON, for programs: one document, or for log one line per command.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Check the chain, all checksums and that nothing is missing, and compute the whole state again; every epoch from its plan,
    /// with the signatures under it.
    Verify(VerifyArguments),
    /// List commands, and what came of them.
    Log(LogArguments),
    /// Show the exchange, an account, a market or an order as it was at a moment.
    Show(ShowArguments),
    /// Say what changed between two moments.
    Diff(DiffArguments),
    /// Write history as tables: accounts, balances, ledger entries, orders, fills, commands, withdrawals.
    Export(ExportArguments),
    /// Check an airdrop before it is opened.
    #[command(subcommand)]
    Airdrop(AirdropAction),
    /// Say what an incident and its repair did to an account, line by line, fit to be sent to its owner.
    Statement(StatementArguments),
    /// Trace what was credited in error: who got it, and where it is now, to the last unit.
    Trace(TraceArguments),
    /// Compute what a repair would come to, and write it to a file that operators sign; or compare all four.
    ///
    /// Nothing is written into the data directory, and the exchange may be running. A plan that is made while the exchange is not
    /// frozen is a preview, and can only be looked at.
    Plan(Box<PlanArguments>),
    /// Make an operator's key.
    #[command(subcommand)]
    Operator(OperatorAction),
    /// Sign a plan: two different operators must. Shows what is signed; writes PLAN.approval-N beside it.
    Approve(ApproveArguments),
    /// Apply a plan that two operators signed: the next epoch begins. The exchange must be stopped and frozen.
    ///
    /// Interrupted at any point, what is left is the old epoch or the new one; run it again, and it ends in the new one. A plan
    /// that is applied is told as such.
    Apply(ApplyArguments),
    /// Submit commands to an exchange that is stopped.
    ///
    /// They are journaled, refused or not, and what came of them is listed. Exit code 1 when one was refused.
    Submit(SubmitArguments),
    /// Freeze an exchange that is stopped: only facts, such as deposits, are taken from here on. Plans are made for this halt.
    Freeze(FreezeArguments),
    /// Open an exchange that is stopped, step by step: cancel-only, then auction, then open.
    Reopen(ReopenArguments),
    /// Make a snapshot of the last moment; the exchange must be stopped (one that runs makes its own).
    Snapshot,
    /// Remove whole segments that come before the older of the two newest good snapshots; the exchange must be stopped.
    /// What is removed can no longer be shown, verified or replayed: keep a copy elsewhere.
    Prune(PruneArguments),
    /// Give up what is damaged and everything behind it, so that the exchange can be opened again. The last resort: first
    /// look for a copy. Nothing is deleted, and the acceptance is recorded.
    AcceptLoss(AcceptLossArguments),
}

/// What to give up.
#[derive(Debug, Args)]
pub struct AcceptLossArguments {
    /// The last good sequence, as verify names it: nothing at or before it can be given up.
    #[arg(long, value_name = "SEQUENCE")]
    pub after: u64,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// What to remove.
#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Also the first segment, which says how it all began.
    #[arg(long)]
    pub first_segment: bool,
}

/// How to verify.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// Replay twice from the first command, and compare the bytes of all events and the states.
    #[arg(long)]
    pub deep: bool,
    /// Check all invariants after every so many commands, besides at the end.
    #[arg(long, value_name = "COMMANDS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub check_every: u64,
}

/// What to list: commands that meet all conditions given.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// The first moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub from: Option<Moment>,
    /// The last moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub to: Option<Moment>,
    /// Commands that name the account, or whose events do.
    #[arg(long, value_name = "N", value_parser = account)]
    pub account: Option<AccountId>,
    /// Commands that concern the market: a pair like BTC-KRW, or a number.
    #[arg(long, value_name = "MARKET")]
    pub market: Option<String>,
    /// Commands that concern the asset, also as half of a market: a symbol like BTC, or a number.
    #[arg(long, value_name = "ASSET")]
    pub asset: Option<String>,
    /// Commands of this kind (PlaceLimit, deposit, ...), or with an event of it (Filled, order-cancelled, ...).
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub kind: Option<&'static str>,
    /// Commands that name the order, or whose events do.
    #[arg(long, value_name = "N", value_parser = order)]
    pub order: Option<OrderId>,
    /// Commands from session:N, operator:N, batch:N or exchange.
    #[arg(long, value_name = "WHO", value_parser = cause)]
    pub cause: Option<Cause>,
    /// Only commands that were refused; with a reason, those refused for it.
    #[arg(long, value_name = "REASON", num_args = 0..=1, value_parser = reason)]
    pub refused: Option<Option<RejectReason>>,
    /// Under each command, its events. In JSON they are always there.
    #[arg(long)]
    pub events: bool,
    /// Stop after so many commands.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub at: Moment,
    /// An account: balances, open orders, withdrawals.
    #[arg(long, value_name = "N", value_parser = account, conflicts_with_all = ["market", "order"])]
    pub account: Option<AccountId>,
    /// A market's book: a pair like BTC-KRW, or a number.
    #[arg(long, value_name = "MARKET", conflicts_with = "order")]
    pub market: Option<String>,
    /// An order: open, with what stands before it, or how it ended.
    #[arg(long, value_name = "N", value_parser = order)]
    pub order: Option<OrderId>,
    /// How many levels of the book, on each side.
    #[arg(long, value_name = "LEVELS", default_value_t = 10, requires = "market")]
    pub depth: usize,
    /// The book by order, in turn.
    #[arg(long, requires = "market")]
    pub orders: bool,
}

/// What to compare.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The earlier moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub from: Moment,
    /// The later moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment, default_value = "now")]
    pub to: Moment,
    /// Only what concerns this account.
    #[arg(long, value_name = "N", value_parser = account)]
    pub account: Option<AccountId>,
}

/// What to export, and where to.
#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = true, args = export_targets())]
pub struct ExportArguments {
    /// An SQLite file to make, with indexes and views.
    #[cfg(feature = "sqlite")]
    #[arg(long, value_name = "FILE")]
    pub sqlite: Option<PathBuf>,
    /// A directory to make, with a CSV file for each table.
    #[arg(long, value_name = "DIR")]
    pub csv: Option<PathBuf>,
    /// The first moment; without it, the beginning.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub from: Option<Moment>,
    /// The last moment; without it, now.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub to: Option<Moment>,
}

fn export_targets() -> Vec<&'static str> {
    if cfg!(feature = "sqlite") { vec!["sqlite", "csv"] } else { vec!["csv"] }
}

/// A moment.
pub fn moment(text: &str) -> Result<Moment, String> {
    // Only a time has a dash; a negative sequence does not reach a value.
    if text.contains('T') || text.contains('-') {
        let instant: jiff::Timestamp = text
            .parse()
            .map_err(|error| format!("{error}: give a time with its zone, such as 2026-11-25T09:30:00Z"))?;
        let nanoseconds = u64::try_from(instant.as_nanosecond());
        return nanoseconds
            .map(|nanoseconds| Moment::Time(Timestamp(nanoseconds)))
            .map_err(|_| "times run from 1970 to 2554".to_owned());
    }
    text.parse().map_err(|_| {
        "give a sequence (12345), an epoch and a sequence (1:12345), a time (2026-11-25T09:30:00Z or nanoseconds since \
         1970, @1764000000000000000), or now"
            .to_owned()
    })
}

/// An account's number.
pub fn account(text: &str) -> Result<AccountId, String> {
    let number = text.strip_prefix(['A', 'a']).unwrap_or(text);
    number.parse().map(AccountId).map_err(|_| "give the account's number, such as 7 or A7".to_owned())
}

fn order(text: &str) -> Result<OrderId, String> {
    let number = text.strip_prefix('#').unwrap_or(text);
    number.parse().map(OrderId).map_err(|_| "give the order's number, such as 12345 or #12345".to_owned())
}

/// Case and dashes do not matter.
fn kind(text: &str) -> Result<&'static str, String> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let known = || ExchangeCommand::KINDS.iter().chain(Event::KINDS).map(|(_, name)| *name);
    known().find(|name| plain(name) == plain(text)).ok_or_else(|| {
        let names: Vec<_> = known().collect();
        format!("there is no such kind; there are: {}", names.join(", "))
    })
}

/// Who commands.
pub fn cause(text: &str) -> Result<Cause, String> {
    let wrong = || "give session:N, operator:N, batch:N (N up to 268435455) or exchange".to_owned();
    if text == "exchange" {
        return Ok(Cause::exchange());
    }
    let (kind, id) = text.split_once(':').ok_or_else(wrong)?;
    let id = id.parse().ok().filter(|id| *id <= Cause::ID_MAX).ok_or_else(wrong)?;
    match kind {
        "session" => Ok(Cause::session(id)),
        "operator" => Ok(Cause::operator(id)),
        "batch" => Ok(Cause::batch(id)),
        _ => Err(wrong()),
    }
}

fn reason(text: &str) -> Result<RejectReason, String> {
    let wanted = text.replace('-', "_");
    RejectReason::ALL.iter().copied().find(|reason| reason.name() == wanted).ok_or_else(|| {
        let names: Vec<_> = RejectReason::ALL.iter().map(|reason| reason.name()).collect();
        format!("there is no such reason; there are: {}", names.join(", "))
    })
}
