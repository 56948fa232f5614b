//! The exchange on the caller's own thread: journal and state machine, without rings, threads or latency.

use std::path::Path;

use super::{
    PipelineError, SubmitError,
    clock::Clock,
    gateway::is_reserved,
    journaler::{Log, LogStorage},
    start::hash_seed,
};
use crate::{
    command::{Command, SequencedCommand},
    event::{Event, RejectReason, SequencedEvent},
    exchange::Exchange,
    journal::{Durability, Epoch, FileStorage, JournalError, MemoryStorage, Options, Storage},
    recovery::{Application, Applied, ApplyError, Approval, Branch, Plan, Prepared, Standing, open_exchange, standing},
    types::{Cause, Controls, Sequence, Timestamp, TradingStatus},
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
    storage: LogStorage,
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
        let storage = FileStorage::lock(directory)?;
        let opened = open_exchange(&storage, &options, hash_seed(), &mut |_| ())?;
        let log = Log::Files(Box::new(opened.journal));
        Ok(Self::new(opened.exchange, opened.time, log, LogStorage::Files(storage)))
    }

    /// As [`open`](Self::open), on a storage that lives in memory and can be made to fail.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_memory_storage(storage: &MemoryStorage, options: &Options) -> Result<Self, PipelineError> {
        let opened = open_exchange(storage, options, hash_seed(), &mut |_| ())?;
        let log = Log::Memory(Box::new(opened.journal));
        Ok(Self::new(opened.exchange, opened.time, log, LogStorage::Memory(storage.clone())))
    }

    /// An exchange that nothing outlives.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Exchange::with_hash_seed(hash_seed()), Timestamp(0), Log::Nowhere, LogStorage::Nowhere)
    }

    fn new(exchange: Exchange, time: Timestamp, log: Log, storage: LogStorage) -> Self {
        Self { exchange, log, storage, clock: Clock::new(), time, current: Vec::new(), events: Vec::new() }
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
        if is_reserved(&command) {
            return Err(SubmitError::Reserved.into());
        }
        let first = self.events.len();
        let sequence = self.take(time, cause, command)?;
        if self.events[first..].iter().any(|event| self.trips(&event.event)) {
            // Journaled right behind what it was seen in.
            let freeze = Command::SetGlobalStatus { status: TradingStatus::Frozen };
            self.take(time, Cause::exchange(), freeze)?;
        }
        Ok(sequence)
    }

    /// Whether the exchange must stop at the sight of the event.
    fn trips(&self, event: &Event) -> bool {
        let seen = match *event {
            Event::Refused { reason, .. } => reason == RejectReason::VelocityExceeded,
            Event::ReservesAttested { amount, liabilities, .. } => {
                amount < liabilities && self.exchange.controls().has(Controls::RESERVES)
            }
            _ => false,
        };
        seen && self.exchange.global_status() != TradingStatus::Frozen
    }

    fn take(&mut self, time: Timestamp, cause: Cause, command: Command) -> Result<Sequence, PipelineError> {
        let (sequence, time) = (self.exchange.last_sequence().next(), time.max(self.time));
        let record = SequencedCommand { sequence, time, cause, command };
        self.append(&record)?;
        self.time = time;
        self.exchange.apply(sequence, time, &command, &mut self.current);
        self.number(sequence, time);
        Ok(sequence)
    }

    fn append(&mut self, record: &SequencedCommand) -> Result<(), JournalError> {
        match self.log.append(record) {
            Err(JournalError::Full { .. }) => {
                self.log.commit()?;
                self.log.append(record)
            }
            appended => appended,
        }
    }

    /// Takes over the events of one command.
    fn number(&mut self, sequence: Sequence, time: Timestamp) {
        let numbered = (0..).zip(self.current.drain(..));
        self.events.extend(numbered.map(|(index, event)| SequencedEvent { sequence, time, index, event }));
    }

    /// Freezes the exchange for a recovery. The sequence is the halt that plans are made for.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn freeze(&mut self, cause: Cause) -> Result<Sequence, PipelineError> {
        self.submit(cause, Command::SetGlobalStatus { status: TradingStatus::Frozen })
    }

    /// The epoch of what was made durable last.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.log.epoch()
    }

    /// Applies an approved plan, for a freeze since which nothing else was asked for than what a frozen exchange takes.
    /// `branch` is what the plan was made with. When this returns, the new epoch is durable, and so is all that was submitted
    /// before; its events are handed out by the next [`commit`](Self::commit). The exchange is still frozen. A plan that has
    /// been applied is reported as such.
    ///
    /// # Errors
    /// [`ApplyError`]; the old epoch goes on, unless the journal fails.
    pub fn apply(&mut self, plan: &Plan, branch: Branch, approvals: &[Approval]) -> Result<Applied, ApplyError> {
        match self.storage.clone() {
            LogStorage::Nowhere => Err(ApplyError::NoJournal),
            LogStorage::Files(storage) => self.apply_in(&storage, plan, branch, approvals),
            LogStorage::Memory(storage) => self.apply_in(&storage, plan, branch, approvals),
        }
    }

    fn apply_in<S: Storage>(
        &mut self,
        storage: &S,
        plan: &Plan,
        branch: Branch,
        approvals: &[Approval],
    ) -> Result<Applied, ApplyError> {
        // What was submitted must be in the journal, which all of this reads.
        self.log.commit()?;
        if let Standing::Applied(applied) = standing(storage, plan)? {
            return Ok(applied);
        }
        let mut application = Application::new(plan, branch, approvals)?;
        application.go_forward(storage, self.exchange.last_sequence())?;
        let now = self.clock.now().max(self.time);
        application.check_approvals(now)?;
        for part in application.parts() {
            self.take(now, application.cause(), part).map_err(stopped)?;
        }
        self.log.commit()?;
        application.go_forward(storage, self.exchange.last_sequence())?;
        let Prepared { start, begun, applied } = application.prepare(storage, hash_seed())?;
        self.log.begin_epoch()?;
        let (sequence, time) = (applied.sequence, self.time);
        self.append(&SequencedCommand { sequence, time, cause: application.cause(), command: start })?;
        self.log.commit()?;
        self.exchange.start_epoch(sequence, begun.exchange, &begun.corrections, &mut self.current);
        self.number(sequence, time);
        Ok(applied)
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

fn stopped(error: PipelineError) -> ApplyError {
    match error {
        PipelineError::Journal(error) => error.into(),
        other => ApplyError::Stopped(other.to_string()),
    }
}
