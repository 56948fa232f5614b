//! A journal as a line of moments, each of which can be rebuilt.

use std::{fmt, path::Path, str::FromStr};

use super::{
    epoch::{EpochError, Epochs, step},
    snapshots::base_for_reading,
};
use crate::{
    command::SequencedCommand,
    event::{Event, NoEvents},
    exchange::Exchange,
    journal::{
        CommandBatch, Epoch, FileStorage, Head, JournalId, JournalReader, OpenError, ReadAhead, Storage, epoch_starts,
    },
    types::{Sequence, Timestamp},
};

/// The history in a directory, or in another storage, read without disturbing the exchange that may be writing it.
///
/// ```
/// use engine::{
///     command::Command,
///     journal::Durability,
///     pipeline::Inline,
///     recovery::Timeline,
///     types::{AccountId, Cause, Sequence},
/// };
/// let directory = tempfile::tempdir()?;
/// let mut inline = Inline::open(directory.path(), Durability::None)?;
/// for account in (1..=10).map(AccountId) {
///     inline.submit(Cause::operator(1), Command::CreateAccount { account })?;
/// }
/// inline.close()?;
///
/// let timeline = Timeline::open(directory.path())?;
/// let then = timeline.at(Sequence(4))?;
/// assert!(then.account(AccountId(4)).is_some() && then.account(AccountId(5)).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Timeline<S: Storage = FileStorage> {
    storage: S,
    /// What stands here or behind it is not looked at.
    until: Sequence,
}

/// Why a moment cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The moment has not come yet.
    #[error("sequence {asked} is not there yet: the journal ends at {last}")]
    Future {
        /// What was asked for.
        asked: Sequence,
        /// The last sequence there.
        last: Sequence,
    },
    /// The moment belongs to another epoch.
    #[error("sequence {sequence} belongs to epoch {is}, not to {asked}: say {is}:{sequence}")]
    Epoch {
        /// Which sequence.
        sequence: Sequence,
        /// The epoch that was named.
        asked: Epoch,
        /// The epoch it belongs to.
        is: Epoch,
    },
    /// An epoch cannot be entered.
    #[error(transparent)]
    Begin(Box<EpochError>),
}

impl From<Box<EpochError>> for TimelineError {
    fn from(error: Box<EpochError>) -> Self {
        Self::Begin(error)
    }
}

/// A moment as a user names it: `12345`, `1:12345` (epoch and sequence), or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the command at this sequence.
    Sequence(Sequence),
    /// The same, in the named epoch.
    InEpoch(Epoch, Sequence),
    /// After the last command not later than this.
    Time(Timestamp),
    /// After the last command there is.
    Now,
}

/// A text that names no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no moment: give a sequence (12345), an epoch and a sequence (1:12345), nanoseconds since 1970 (@1764000000000000000), or now"
)]
pub struct MomentError(pub String);

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let wrong = || MomentError(text.to_owned());
        if text == "now" {
            return Ok(Self::Now);
        }
        if let Some(time) = text.strip_prefix('@') {
            return Ok(Self::Time(Timestamp(time.parse().map_err(|_| wrong())?)));
        }
        match text.split_once(':') {
            None => Ok(Self::Sequence(Sequence(text.parse().map_err(|_| wrong())?))),
            Some((epoch, sequence)) => {
                let epoch = Epoch(epoch.parse().map_err(|_| wrong())?);
                Ok(Self::InEpoch(epoch, Sequence(sequence.parse().map_err(|_| wrong())?)))
            }
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(sequence) => sequence.fmt(formatter),
            Self::InEpoch(epoch, sequence) => write!(formatter, "{epoch}:{sequence}"),
            Self::Time(time) => write!(formatter, "@{time}"),
            Self::Now => formatter.write_str("now"),
        }
    }
}

/// A command that was replayed, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The command with its place.
    pub command: &'a SequencedCommand,
    /// Its events, in order.
    pub events: &'a [Event],
}

impl Timeline<FileStorage> {
    /// Looks at the journal in `directory`. Takes no lock: an exchange may be writing it.
    ///
    /// # Errors
    /// When there is no journal there, or it cannot be read.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, TimelineError> {
        let directory = directory.as_ref().to_owned();
        match JournalReader::open_directory(&directory) {
            // What is left can be read from a snapshot on.
            Ok(_) | Err(OpenError::Pruned { .. }) => Ok(Self::of(FileStorage::read_only(directory))),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.storage.directory()
    }
}

impl<S: Storage> Timeline<S> {
    /// Looks at the journal in a storage.
    #[must_use]
    pub const fn of(storage: S) -> Self {
        Self { storage, until: Sequence(u64::MAX) }
    }

    /// The same as it was before the command at `sequence`: for the parent of an epoch.
    #[must_use]
    pub fn before(self, sequence: Sequence) -> Self {
        Self { until: sequence, ..self }
    }

    /// Where it looks.
    #[must_use]
    pub const fn storage(&self) -> &S {
        &self.storage
    }

    /// What it does not look at begins here.
    pub(super) const fn until(&self) -> Sequence {
        self.until
    }

    /// The epoch that a sequence belongs to, whether it has come yet or not.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn epoch_of(&self, sequence: Sequence) -> Result<Epoch, TimelineError> {
        let starts = epoch_starts(&self.storage)?;
        let begun = starts.iter().rev().find(|start| start.first <= sequence).or(starts.first());
        Ok(begun.map_or(Epoch::FIRST, |start| start.epoch))
    }

    /// The sequence, if it belongs to the epoch.
    ///
    /// # Errors
    /// [`TimelineError::Epoch`] names the right one.
    pub fn in_epoch(&self, asked: Epoch, sequence: Sequence) -> Result<Sequence, TimelineError> {
        match self.epoch_of(sequence)? {
            is if is == asked => Ok(sequence),
            is => Err(TimelineError::Epoch { sequence, asked, is }),
        }
    }

    /// The state after the command at `sequence`; before the first command for 0.
    ///
    /// # Errors
    /// When the journal ends before, or is damaged before.
    pub fn at(&self, sequence: Sequence) -> Result<Exchange, TimelineError> {
        Ok(self.read_ahead_to(sequence)?.0)
    }

    /// The state after the command at `cut`, what was read behind it, and what gives the commands behind that.
    #[allow(clippy::type_complexity, reason = "used once, by what makes it a history")]
    pub(super) fn read_ahead_to(
        &self,
        cut: Sequence,
    ) -> Result<(Exchange, Option<CommandBatch>, ReadAhead<JournalReader<S>>), TimelineError> {
        let base = base_for_reading(&self.storage, cut)?;
        let (mut exchange, epochs) = (base.exchange, Epochs::new(self.storage.clone()));
        let mut reading = ReadAhead::start(base.reading).map_err(|source| OpenError::Io {
            file: "the thread that reads ahead".to_owned(),
            offset: 0,
            after: cut,
            source,
        })?;
        let mut rest = None;
        while exchange.last_sequence() < cut {
            let Some(batch) = reading.next_batch()? else {
                return Err(TimelineError::Future { asked: cut, last: exchange.last_sequence() });
            };
            let before = batch.partition_point(|command| command.sequence <= cut);
            for command in &batch[..before] {
                step(&mut exchange, command, &mut NoEvents, &epochs)?;
            }
            rest = Some(batch.behind(before)).filter(|batch| !batch.is_empty());
        }
        Ok((exchange, rest, reading))
    }

    /// The state at a moment, and the sequence that it comes after.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn at_moment(&self, moment: Moment) -> Result<Exchange, TimelineError> {
        match moment {
            Moment::Sequence(sequence) => self.at(sequence),
            Moment::InEpoch(epoch, sequence) => self.at(self.in_epoch(epoch, sequence)?),
            Moment::Time(time) => {
                let mut replay = self.replay()?;
                while replay.peek()?.is_some_and(|command| command.time <= time) {
                    replay.skip()?;
                }
                Ok(replay.into_exchange())
            }
            Moment::Now => {
                let mut replay = self.replay_from(Sequence(u64::MAX))?;
                while replay.skip()?.is_some() {}
                Ok(replay.into_exchange())
            }
        }
    }

    /// All of history from its first command, one step at a time.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn replay(&self) -> Result<Replay<S>, TimelineError> {
        let reader = JournalReader::open(self.storage.clone())?;
        Ok(self.replay_of(reader, Exchange::new(), Timestamp(0)))
    }

    /// As [`replay`](Self::replay), but may begin at any moment not after `sequence`.
    ///
    /// # Errors
    /// As `replay`.
    pub fn replay_from(&self, sequence: Sequence) -> Result<Replay<S>, TimelineError> {
        let base = base_for_reading(&self.storage, sequence)?;
        Ok(self.replay_of(base.reading, base.exchange, base.time))
    }

    fn replay_of(&self, reader: JournalReader<S>, exchange: Exchange, time: Timestamp) -> Replay<S> {
        let epochs = Epochs::new(self.storage.clone());
        Replay { reader, epochs, exchange, time, next: None, current: None, events: Vec::new() }
    }
}

/// History under way: a state, and the commands that follow.
pub struct Replay<S: Storage = FileStorage> {
    reader: JournalReader<S>,
    epochs: Epochs<S>,
    exchange: Exchange,
    /// That of the last command applied.
    time: Timestamp,
    /// Read, and not yet applied.
    next: Option<SequencedCommand>,
    current: Option<SequencedCommand>,
    events: Vec<Event>,
}

impl<S: Storage> Replay<S> {
    /// The command that comes next; `None` at the end of what is durable.
    ///
    /// # Errors
    /// When the journal is damaged here.
    pub fn peek(&mut self) -> Result<Option<&SequencedCommand>, TimelineError> {
        if self.next.is_none() {
            self.next = self.reader.next().transpose()?;
        }
        Ok(self.next.as_ref())
    }

    /// Applies the next command and gives it with its events; `None` at the end of what is durable.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    #[allow(clippy::should_implement_trait, reason = "it lends what it gives, and may fail")]
    pub fn next(&mut self) -> Result<Option<Step<'_>>, TimelineError> {
        self.peek()?;
        self.current = self.next.take();
        let Some(command) = &self.current else { return Ok(None) };
        self.events.clear();
        step(&mut self.exchange, command, &mut self.events, &self.epochs)?;
        self.time = command.time;
        Ok(Some(Step { command, events: &self.events }))
    }

    /// Applies the next command without keeping its events; gives its sequence.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn skip(&mut self) -> Result<Option<Sequence>, TimelineError> {
        self.peek()?;
        let Some(command) = self.next.take() else { return Ok(None) };
        step(&mut self.exchange, &command, &mut NoEvents, &self.epochs)?;
        self.time = command.time;
        Ok(Some(command.sequence))
    }

    /// Applies everything up to and including `sequence`.
    ///
    /// # Errors
    /// When the journal ends before it, or is damaged before it.
    pub fn run_to(&mut self, sequence: Sequence) -> Result<(), TimelineError> {
        while self.exchange.last_sequence() < sequence {
            if self.skip()?.is_none() {
                return Err(TimelineError::Future { asked: sequence, last: self.exchange.last_sequence() });
            }
        }
        Ok(())
    }

    /// The state so far.
    #[must_use]
    pub const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The time of the last command applied.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// The journal's id.
    #[must_use]
    pub const fn journal_id(&self) -> JournalId {
        self.reader.journal_id()
    }

    /// The end of the block that was read last: where a snapshot can stand, if all of the block was applied.
    #[must_use]
    pub fn head(&self) -> Head {
        self.reader.head()
    }

    /// The epochs that were entered without their files, as those were no good.
    #[must_use]
    pub fn recomputed(&self) -> Vec<super::Recomputed> {
        self.epochs.recomputed()
    }

    /// Ends here.
    #[must_use]
    pub fn into_exchange(self) -> Exchange {
        self.exchange
    }
}
