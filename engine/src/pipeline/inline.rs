//! The exchange on the caller's own thread: journal and state machine, without rings, threads or latency.

use std::path::Path;

use super::{PipelineError, clock::Clock, journaler::Log, start::hash_seed};
use crate::{
    command::{Command, SequencedCommand},
    event::{Event, SequencedEvent},
    exchange::Exchange,
    journal::{Durability, FileStorage, JournalError, Options},
    recovery::open_exchange,
    types::{Cause, Sequence, Timestamp},
};

/// An exchange in line: commands are applied as they are submitted, and their events are handed out when they are durable.
///
/// ```
/// use engine::{command::Command, event::Event, pipeline::Inline, types::{AccountId, Cause}};
/// let mut inline = Inline::in_memory();
/// inline.submit(Cause::operator(1), Command::CreateAccount { account: AccountId(7) })?;
/// let mut events = Vec::new();
/// inline.commit(&mut |event| events.push(event.event))?;
/// assert_eq!(events, [Event::AccountCreated { account: AccountId(7) }]);
/// # Ok::<(), engine::pipeline::PipelineError>(())
/// ```
pub struct Inline {
    exchange: Exchange,
    log: Log,
    clock: Clock,
    time: Timestamp,
    /// The events of one command, and those of all that are not durable yet.
    current: Vec<Event>,
    events: Vec<SequencedEvent>,
}

impl Inline {
    /// Opens the exchange that is journaled in `directory`, which is made if it is not there, and replays the journal.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn open(directory: impl AsRef<Path>, durability: Durability) -> Result<Self, PipelineError> {
        let options = Options { durability, ..Options::default() };
        let opened = open_exchange(&FileStorage::lock(directory)?, &options, hash_seed(), &mut |_| ())?;
        Ok(Self::new(opened.exchange, opened.time, Log::Files(Box::new(opened.journal))))
    }

    /// An exchange that nothing outlives.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Exchange::with_hash_seed(hash_seed()), Timestamp(0), Log::Nowhere)
    }

    fn new(exchange: Exchange, time: Timestamp, log: Log) -> Self {
        Self { exchange, log, clock: Clock::new(), time, current: Vec::new(), events: Vec::new() }
    }

    /// Sequences a command at the clock's time, applies it and buffers it for the journal.
    ///
    /// # Errors
    /// When the journal has failed; the command has then had no effect.
    pub fn submit(&mut self, cause: Cause, command: Command) -> Result<Sequence, PipelineError> {
        let now = self.clock.now();
        self.submit_at(now, cause, command)
    }

    /// Sequences a command at `time`, or at the time of the one before if that is later.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_at(&mut self, time: Timestamp, cause: Cause, command: Command) -> Result<Sequence, PipelineError> {
        let (sequence, time) = (self.exchange.last_sequence().next(), time.max(self.time));
        let record = SequencedCommand { sequence, time, cause, command };
        match self.log.append(&record) {
            Err(JournalError::Full { .. }) => {
                self.log.commit()?;
                self.log.append(&record)?;
            }
            appended => appended?,
        }
        self.time = time;
        self.exchange.apply(sequence, time, &command, &mut self.current);
        let numbered = (0..).zip(self.current.drain(..));
        self.events.extend(numbered.map(|(index, event)| SequencedEvent { sequence, time, index, event }));
        Ok(sequence)
    }

    /// Makes all that was submitted durable, then hands out its events, in order. Gives the last durable sequence.
    ///
    /// # Errors
    /// When the journal fails. No event is handed out then, nor ever after: reopen the directory to see what is
    /// durable.
    pub fn commit(&mut self, events: &mut impl FnMut(&SequencedEvent)) -> Result<Sequence, PipelineError> {
        self.log.commit()?;
        self.events.drain(..).for_each(|event| events(&event));
        Ok(self.exchange.last_sequence())
    }

    /// The state, with all that was submitted applied, durable or not.
    #[must_use]
    pub const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Makes all durable and closes the journal.
    ///
    /// # Errors
    /// When the journal fails.
    pub fn close(mut self) -> Result<Exchange, PipelineError> {
        self.log.commit()?;
        self.log.close()?;
        Ok(self.exchange)
    }
}
