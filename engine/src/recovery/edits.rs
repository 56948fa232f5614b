//! What a recovery changes: the sequences that are dropped or replaced, and by which strategy the rest follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{BranchError, history::History};
use crate::{
    command::Command,
    event::Event,
    exchange::ManifestHasher,
    types::{AccountId, AirdropId, Amount, AssetId, Sequence},
};

/// Whether a reason shows as what it is to whoever is to sign it: in one line, and nothing in it moves, hides or turns around
/// what stands beside it.
pub(super) fn is_readable(reason: &str) -> bool {
    let deceives = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    !reason.trim().is_empty() && !reason.contains(deceives)
}

/// Which commands are dropped, and which are replaced by another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The sequences that do not happen. A fact needs a reason why it is none.
    pub dropped: BTreeMap<Sequence, Option<String>>,
    /// The commands that happen instead.
    pub replaced: BTreeMap<Sequence, Command>,
}

/// A payment to somebody who lost by the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// To whom.
    pub account: AccountId,
    /// What.
    pub asset: AssetId,
    /// How much.
    pub amount: Amount,
}

/// A way to put an error right. What each does exactly is in `recovery/rules.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Everything behind the cut that is no fact is undone.
    Rewind {
        /// The last good sequence.
        cut: Sequence,
    },
    /// All happens again, but for the edits; orders match again.
    Excise(Edits),
    /// What happened stands, as far as it can be paid without the edits.
    Bust(Edits),
    /// Trades stand; the credits are taken back as far as they are there, and the rest is owed.
    Compensate {
        /// The wrong credits.
        edits: Edits,
        /// What is paid to others from the treasury.
        payments: Vec<Payment>,
    },
}

impl Strategy {
    /// The strategy's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rewind { .. } => "rewind",
            Self::Excise(_) => "excise",
            Self::Bust(_) => "bust",
            Self::Compensate { .. } => "compensate",
        }
    }

    /// The last sequence before anything changes.
    #[must_use]
    pub fn cut(&self) -> Sequence {
        match self {
            Self::Rewind { cut } => *cut,
            Self::Excise(edits) | Self::Bust(edits) | Self::Compensate { edits, .. } => edits.cut(),
        }
    }

    /// The edits, if it has any.
    #[must_use]
    pub const fn edits(&self) -> Option<&Edits> {
        match self {
            Self::Rewind { .. } => None,
            Self::Excise(edits) | Self::Bust(edits) | Self::Compensate { edits, .. } => Some(edits),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rewind { cut } => write!(formatter, "rewind to {cut}"),
            Self::Excise(edits) | Self::Bust(edits) => write!(formatter, "{} {edits}", self.name()),
            Self::Compensate { edits, payments } => {
                write!(formatter, "compensate {edits}, {} payments", payments.len())
            }
        }
    }
}

impl fmt::Display for Edits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} dropped, {} replaced", self.dropped.len(), self.replaced.len())
    }
}

/// Whether a command states a fact: something that a recovery repeats, whatever else it undoes.
#[must_use]
pub const fn is_fact(command: &Command) -> bool {
    matches!(
        command,
        Command::AddAsset { .. }
            | Command::AddMarket { .. }
            | Command::SetMarketFees { .. }
            | Command::SetMarketStatus { .. }
            | Command::SetGlobalStatus { .. }
            | Command::SetAssetWithdrawals { .. }
            | Command::Tick {}
            | Command::CreateAccount { .. }
            | Command::SuspendAccount { .. }
            | Command::ResumeAccount { .. }
            | Command::RegisterOperator { .. }
            | Command::RevokeOperator { .. }
            | Command::Deposit { .. }
            | Command::FundTreasury { .. }
            | Command::ReleaseWithdrawal { .. }
            | Command::ConfirmWithdrawalSent { .. }
            | Command::ConfirmWithdrawalSettled { .. }
            | Command::FailWithdrawal { .. }
            | Command::AttestReserves { .. }
            | Command::SetPayoutVelocity { .. }
            | Command::SetAirdropLimits { .. }
            | Command::SetControls { .. }
            | Command::AddPlanPart { .. }
    )
}

/// An airdrop as the journal has it.
#[derive(Clone, Debug)]
struct Journaled {
    opened: Option<(Sequence, Command)>,
    lines: Vec<(Sequence, Command)>,
}

impl Edits {
    /// Drops these sequences, none of which is a fact.
    #[must_use]
    pub fn drop_sequences(sequences: impl IntoIterator<Item = Sequence>) -> Self {
        Self { dropped: sequences.into_iter().map(|sequence| (sequence, None)).collect(), replaced: BTreeMap::new() }
    }

    /// Drops the execution of an airdrop.
    ///
    /// # Errors
    /// When no such airdrop was paid through `halt`, or the journal cannot be read.
    pub fn drop_airdrop(history: &dyn History, halt: Sequence, airdrop: AirdropId) -> Result<Self, BranchError> {
        let state = history.state_at(halt)?;
        let known = state.airdrop(airdrop).ok_or(BranchError::UnknownAirdrop { airdrop })?;
        if known.executed.0 == 0 {
            return Err(BranchError::AirdropNotPaid { airdrop });
        }
        Ok(Self::drop_sequences([known.executed]))
    }

    /// Replaces the manifest of an airdrop that was paid: its asset (unless `None`) and its lines, one for one; lines that
    /// are left over are dropped.
    ///
    /// # Errors
    /// As [`drop_airdrop`](Self::drop_airdrop), and when there are more lines than the manifest had, or none.
    pub fn replace_airdrop(
        history: &dyn History,
        halt: Sequence,
        airdrop: AirdropId,
        asset: Option<AssetId>,
        lines: &[(AccountId, Amount)],
    ) -> Result<Self, BranchError> {
        let journaled = find_airdrop(history, halt, airdrop)?;
        let (opened_at, opened) = journaled.opened.ok_or(BranchError::AirdropNotPaid { airdrop })?;
        if lines.is_empty() || lines.len() > journaled.lines.len() {
            let (given, journaled) = (lines.len(), journaled.lines.len());
            return Err(BranchError::TooManyLines { airdrop, given, journaled });
        }
        let Command::OpenAirdrop { author, asset: was, lock_seconds, .. } = opened else {
            unreachable!("it was found as the opening of an airdrop")
        };
        let asset = asset.unwrap_or(was);
        let mut hasher = ManifestHasher::new(asset);
        let mut total = 0_u64;
        for &(account, amount) in lines {
            hasher.line(account, amount);
            total = total.saturating_add(amount.0);
        }
        let (total, count) = (Amount(total), u32::try_from(lines.len()).unwrap_or(u32::MAX));
        let opening =
            Command::OpenAirdrop { airdrop, author, asset, total, lines: count, hash: hasher.finish(), lock_seconds };
        let mut edits = Self::default();
        edits.put(opened_at, &opened, opening);
        for ((sequence, was), &(account, amount)) in journaled.lines.iter().zip(lines) {
            edits.put(*sequence, was, Command::AddAirdropLine { airdrop, account, amount });
        }
        for (sequence, _) in &journaled.lines[lines.len()..] {
            edits.dropped.insert(*sequence, None);
        }
        if edits.is_empty() {
            return Err(BranchError::Unchanged { sequence: opened_at });
        }
        Ok(edits)
    }

    fn put(&mut self, sequence: Sequence, was: &Command, command: Command) {
        if *was != command {
            self.replaced.insert(sequence, command);
        }
    }

    /// Takes the edits of `other` as well.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.dropped.extend(other.dropped);
        self.replaced.extend(other.replaced);
        self
    }

    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.replaced.is_empty()
    }

    /// All edited sequences.
    #[must_use]
    pub fn sequences(&self) -> BTreeSet<Sequence> {
        self.dropped.keys().chain(self.replaced.keys()).copied().collect()
    }

    /// The last sequence before the first edit; 0 when there is none.
    #[must_use]
    pub fn cut(&self) -> Sequence {
        let first = self.dropped.keys().next().into_iter().chain(self.replaced.keys().next()).min();
        Sequence(first.map_or(0, |first| first.0.saturating_sub(1)))
    }

    /// Whether the edits make sense by themselves, for a halt at `halt` and a strategy of that name.
    pub(super) fn check(&self, halt: Sequence, strategy: &'static str) -> Result<(), BranchError> {
        if self.is_empty() {
            return Err(BranchError::NoEdits);
        }
        if let Some(sequence) = self.dropped.keys().find(|sequence| self.replaced.contains_key(sequence)) {
            return Err(BranchError::EditedTwice { sequence: *sequence });
        }
        if let Some(sequence) = self.sequences().into_iter().find(|sequence| sequence.0 == 0 || *sequence >= halt) {
            return Err(BranchError::OutsideHistory { sequence, halt });
        }
        if let Some((&sequence, _)) = self.dropped.iter().find(|(_, reason)| !reason.as_deref().is_none_or(is_readable))
        {
            return Err(BranchError::UnreadableReason { sequence });
        }
        match self.replaced.iter().find(|(_, command)| matches!(command, Command::StartEpoch { .. })) {
            Some((&sequence, command)) => {
                let (kind, why) = (command.kind_name(), "an epoch begins by applying a plan, and not on a branch");
                Err(BranchError::Unsuited { strategy, sequence, kind, why })
            }
            None => Ok(()),
        }
    }
}

/// Finds what the journal has of an airdrop that was paid.
fn find_airdrop(history: &dyn History, halt: Sequence, wanted: AirdropId) -> Result<Journaled, BranchError> {
    let mut state = history.state_at(halt)?;
    let known = state.airdrop(wanted).ok_or(BranchError::UnknownAirdrop { airdrop: wanted })?;
    let (opened, executed) = (known.opened, known.executed);
    if executed.0 == 0 {
        return Err(BranchError::AirdropNotPaid { airdrop: wanted });
    }
    let start = history.epoch_start()?;
    if opened <= start {
        return Err(BranchError::EarlierEpoch { sequence: opened, start });
    }
    let mut found = Journaled { opened: None, lines: Vec::new() };
    let (exchange, mut commands) = history.behind(Sequence(opened.0 - 1))?;
    state = exchange;
    let mut events: Vec<Event> = Vec::new();
    while let Some(batch) = commands()? {
        for command in batch.iter() {
            if command.sequence >= executed {
                return Ok(found);
            }
            events.clear();
            state.apply(command.sequence, command.time, &command.command, &mut events);
            for event in &events {
                match *event {
                    Event::AirdropOpened { airdrop, .. } if airdrop == wanted => {
                        found.opened = Some((command.sequence, command.command));
                    }
                    Event::AirdropLineAdded { airdrop, .. } if airdrop == wanted => {
                        found.lines.push((command.sequence, command.command));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}
