//! The halt that a plan binds to, found in the journal.

use super::timeline::{Timeline, TimelineError};
use crate::{
    command::Command,
    journal::{Epoch, JournalId, Storage, epoch_starts, journal_id, look_back},
    types::{Sequence, TradingStatus},
};

/// Where a plan would be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The last `SetGlobalStatus(frozen)`, if the exchange has been frozen since; else the last sequence there is.
    pub sequence: Sequence,
    /// Whether the exchange has been frozen since, in the epoch that is now.
    pub is_frozen: bool,
    /// The epoch that is now.
    pub epoch: Epoch,
    /// Its first sequence.
    pub epoch_start: Sequence,
    /// The journal.
    pub journal_id: JournalId,
}

/// Finds the halt that the exchange is in. An exchange that was frozen before the epoch that is now began, and has not been
/// since, is in none: a plan needs a halt of its own epoch.
///
/// # Errors
/// When the journal cannot be read.
pub fn find_halt<S: Storage>(timeline: &Timeline<S>) -> Result<Halt, TimelineError> {
    let storage = timeline.storage();
    let starts = epoch_starts(storage)?;
    let (epoch, epoch_start) = starts.last().map_or((Epoch::FIRST, Sequence(1)), |last| (last.epoch, last.first));
    let (mut last, mut status) = (None, None);
    look_back(storage, epoch_start, Sequence(u64::MAX), |piece| {
        last = last.or(piece.last().map(|command| command.sequence));
        status = piece.iter().rev().find_map(|command| match command.command {
            Command::SetGlobalStatus { status } => Some((command.sequence, status)),
            _ => None,
        });
        status.is_some()
    })?;
    let head = last.unwrap_or(Sequence(epoch_start.0 - 1));
    let (sequence, is_frozen) = match status {
        Some((sequence, TradingStatus::Frozen)) => (sequence, true),
        _ => (head, false),
    };
    Ok(Halt { sequence, is_frozen, epoch, epoch_start, journal_id: journal_id(storage)? })
}
