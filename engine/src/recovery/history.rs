//! Where a branch reads the past: a state, and the commands behind it.

use super::{
    epoch::last_start,
    timeline::{Timeline, TimelineError},
};
use crate::{
    command::{Command, SequencedCommand},
    event::NoEvents,
    exchange::Exchange,
    journal::{CommandBatch, Storage, look_back},
    types::{AirdropId, Sequence},
};

/// How many commands a past that is in memory hands out at once.
const BATCH_COMMANDS: usize = 2_048;

/// Gives the next commands in order, a handful at a time; `None` at the end.
pub type Commands = Box<dyn FnMut() -> Result<Option<CommandBatch>, TimelineError> + Send>;

/// The past, as far as a branch needs it.
pub trait History: Send + Sync {
    /// The state after the command at `cut`, and the commands behind it.
    ///
    /// # Errors
    /// When the past ends before `cut`, or cannot be read.
    fn behind(&self, cut: Sequence) -> Result<(Exchange, Commands), TimelineError>;

    /// The state after the command at `sequence`.
    ///
    /// # Errors
    /// As [`behind`](Self::behind).
    fn state_at(&self, sequence: Sequence) -> Result<Exchange, TimelineError> {
        Ok(self.behind(sequence)?.0)
    }

    /// The last sequence before the epoch that is now began: nothing up to it can be changed any more. 0 in the first.
    ///
    /// # Errors
    /// As [`behind`](Self::behind).
    fn epoch_start(&self) -> Result<Sequence, TimelineError> {
        Ok(Sequence(0))
    }

    /// Where an airdrop was last told to be executed, up to and with `through`, refused or not; found without applying anything.
    /// `None` when it never was in the epoch that is now, or when this past cannot say so without applying.
    ///
    /// # Errors
    /// As [`behind`](Self::behind).
    fn last_execution(&self, airdrop: AirdropId, through: Sequence) -> Result<Option<Sequence>, TimelineError> {
        let _ = (airdrop, through);
        Ok(None)
    }
}

fn executes(command: &Command, wanted: AirdropId) -> bool {
    matches!(command, Command::ExecuteAirdrop { airdrop, .. } if *airdrop == wanted)
}

impl<S: Storage> History for Timeline<S> {
    fn behind(&self, cut: Sequence) -> Result<(Exchange, Commands), TimelineError> {
        let (exchange, mut rest, mut reading) = self.read_ahead_to(cut)?;
        let commands: Commands = Box::new(move || match rest.take() {
            Some(rest) => Ok(Some(rest)),
            None => Ok(reading.next_batch()?),
        });
        Ok((exchange, commands))
    }

    fn state_at(&self, sequence: Sequence) -> Result<Exchange, TimelineError> {
        self.at(sequence)
    }

    fn epoch_start(&self) -> Result<Sequence, TimelineError> {
        last_start(self.storage(), self.until())
    }

    fn last_execution(&self, airdrop: AirdropId, through: Sequence) -> Result<Option<Sequence>, TimelineError> {
        let mut found = None;
        look_back(self.storage(), self.epoch_start()?.next(), through, |piece| {
            found = piece.iter().rfind(|command| executes(&command.command, airdrop)).map(|command| command.sequence);
            found.is_some()
        })?;
        Ok(found)
    }
}

/// A past that is held in memory: for simulations and tests.
///
/// ```
/// use engine::{
///     command::{Command, SequencedCommand},
///     recovery::{History as _, Recorded},
///     types::{AccountId, Cause, Sequence, Timestamp},
/// };
/// let commands = (1..=3).map(|number| SequencedCommand {
///     sequence: Sequence(number), time: Timestamp(0), cause: Cause::operator(1),
///     command: Command::CreateAccount { account: AccountId(number as u32) },
/// });
/// let history = Recorded::new(commands.collect());
/// let state = history.state_at(Sequence(2))?;
/// assert!(state.account(AccountId(2)).is_some() && state.account(AccountId(3)).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    commands: Vec<SequencedCommand>,
}

impl Recorded {
    /// A past of these commands, from sequence 1 without gaps, in the first epoch.
    #[must_use]
    pub const fn new(commands: Vec<SequencedCommand>) -> Self {
        Self { commands }
    }

    /// All commands.
    #[must_use]
    pub fn commands(&self) -> &[SequencedCommand] {
        &self.commands
    }
}

impl History for Recorded {
    fn behind(&self, cut: Sequence) -> Result<(Exchange, Commands), TimelineError> {
        let last = self.commands.last().map_or(Sequence(0), |last| last.sequence);
        if cut > last {
            return Err(TimelineError::Future { asked: cut, last });
        }
        let mut exchange = Exchange::new();
        let (before, behind) = self.commands.split_at(usize::try_from(cut.0).unwrap_or(usize::MAX));
        for command in before {
            exchange.apply(command.sequence, command.time, &command.command, &mut NoEvents);
        }
        let mut behind = Vec::from(behind).into_iter();
        let next = move || {
            let batch: Vec<_> = behind.by_ref().take(BATCH_COMMANDS).collect();
            Ok((!batch.is_empty()).then(|| batch.into()))
        };
        Ok((exchange, Box::new(next)))
    }

    fn last_execution(&self, airdrop: AirdropId, through: Sequence) -> Result<Option<Sequence>, TimelineError> {
        let last = self.commands.iter().rfind(|it| it.sequence <= through && executes(&it.command, airdrop));
        Ok(last.map(|command| command.sequence))
    }
}
