//! How commands get in: gateways, and the operators' control lane.

use std::sync::{Arc, atomic::Ordering};

use ringbuf::{Signal, spsc, stamped};

use super::{
    PipelineError,
    messages::{GatewayId, Submitted},
    sequencer::{GatewayPort, OPERATOR_SHIFT},
    shared::Shared,
    subscriber::{ReceiveError, Subscriber},
};
use crate::{
    command::Command,
    event::SequencedEvent,
    journal::Headroom,
    types::{Cause, Timestamp},
};

/// Why a command was not taken. It is not in the journal and has had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The gateway's ring is full: the exchange takes less than is sent. Try again, or tell the user.
    #[error("busy: the gateway's ring is full; try again")]
    Busy,
    /// The disk is nearly full: orders, transfers and requests of withdrawals are not taken until there is space again;
    /// cancels and reductions are, and all that operators do.
    #[error("low space: the journal's disk is nearly full; make room on it")]
    LowSpace,
    /// The command is one of those that only applying a plan submits.
    #[error("reserved: epochs are begun by applying a plan, and in no other way")]
    Reserved,
    /// The exchange is halted.
    #[error("halted: the exchange takes no commands from gateways")]
    Halted,
    /// The pipeline has been shut down, or has failed.
    #[error("closed: the pipeline has ended")]
    Closed,
}

/// A handle through which one thread submits commands. A clone is a gateway of its own, with its own ring and id.
pub struct Gateway {
    shared: Arc<Shared>,
    id: GatewayId,
    cause: Cause,
    ring: stamped::Producer<Submitted>,
    capacity: usize,
    submissions: u64,
    signal: Signal,
}

impl Gateway {
    pub(super) fn open(
        shared: &Arc<Shared>,
        cause: Cause,
        capacity: usize,
        sequencer: usize,
    ) -> Result<Self, PipelineError> {
        let signal = shared.signals[sequencer].clone();
        let mut gateway = Self::unregistered(Arc::clone(shared), cause, capacity, signal)?;
        gateway.register()?;
        Ok(gateway)
    }

    /// A gateway whose other end is gone.
    fn unregistered(shared: Arc<Shared>, cause: Cause, capacity: usize, signal: Signal) -> Result<Self, PipelineError> {
        let (ring, _) = stamped::channel(1)?;
        let id = shared.next_gateway();
        Ok(Self { shared, id, cause, ring, capacity, submissions: 0, signal })
    }

    fn register(&mut self) -> Result<(), PipelineError> {
        let (ring, consumer) = stamped::channel(self.capacity)?;
        self.ring = ring;
        let port = GatewayPort { id: self.id, ring: consumer };
        self.shared.gateways.put(port).map_err(|_| PipelineError::closed(&self.shared))?;
        self.signal.notify();
        Ok(())
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> GatewayId {
        self.id
    }

    /// Submits a command, its latency counted from now. Never waits. Gives the submission's number, from 1, by which its events
    /// can be told.
    ///
    /// # Errors
    /// [`SubmitError`] when the command was not taken.
    #[inline]
    pub fn submit(&mut self, command: Command) -> Result<u64, SubmitError> {
        let now = self.shared.clock.now();
        self.submit_at(command, now)
    }

    /// Submits a command, its latency counted from when it was meant to be sent (open loop), on the pipeline's clock.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[inline]
    pub fn submit_at(&mut self, command: Command, intended: Timestamp) -> Result<u64, SubmitError> {
        if self.shared.halted.load(Ordering::Relaxed) || self.shared.halting.load(Ordering::Relaxed) > 0 {
            return Err(SubmitError::Halted);
        }
        if is_reserved(&command) {
            return Err(SubmitError::Reserved);
        }
        if self.shared.headroom.as_ref().is_some_and(Headroom::is_low) && can_wait(&command) {
            return Err(SubmitError::LowSpace);
        }
        let submission = self.submissions + 1;
        match self.ring.push(Submitted { submission, intended, cause: self.cause, behind_gateways: false, command }) {
            Ok(()) => {
                self.submissions = submission;
                self.signal.notify();
                Ok(submission)
            }
            Err(spsc::PushError::Full(_)) => Err(SubmitError::Busy),
            Err(spsc::PushError::Closed(_)) => Err(SubmitError::Closed),
        }
    }
}

/// Whether only a recovery submits the command.
#[inline]
pub(super) const fn is_reserved(command: &Command) -> bool {
    matches!(command, Command::AddPlanPart { .. } | Command::StartEpoch { .. })
}

/// Whether a command is one to be refused when the last space must be kept for others.
const fn can_wait(command: &Command) -> bool {
    matches!(
        command,
        Command::PlaceLimit { .. }
            | Command::PlaceMarketBuy { .. }
            | Command::PlaceMarketSell { .. }
            | Command::ReplaceOrder { .. }
            | Command::Transfer { .. }
            | Command::RequestWithdrawal { .. }
            | Command::RequestWithdrawalOfAll { .. }
    )
}

impl Clone for Gateway {
    fn clone(&self) -> Self {
        let (shared, signal) = (Arc::clone(&self.shared), self.signal.clone());
        let mut gateway =
            Self::unregistered(shared, self.cause, self.capacity, signal).expect("the capacity was valid");
        // When the pipeline has ended, the clone is closed as the original is.
        drop(gateway.register());
        gateway
    }
}

/// A handle to the control lane, which is served before all gateways and is open also when they are halted. For
/// operators' commands, a few at a time.
pub struct Operator {
    shared: Arc<Shared>,
    id: GatewayId,
    cause: Cause,
    submissions: u64,
    outcomes: Subscriber,
    signal: Signal,
}

impl Operator {
    pub(super) fn new(
        shared: &Arc<Shared>,
        id: GatewayId,
        cause: Cause,
        outcomes: Subscriber,
        sequencer: usize,
    ) -> Self {
        let signal = shared.signals[sequencer].clone();
        Self { shared: Arc::clone(shared), id, cause, submissions: 0, outcomes, signal }
    }

    /// Submits a command and waits for its events, which are durable.
    ///
    /// # Errors
    /// When the pipeline ends before they are, and for a command that only applying a plan submits.
    pub fn execute(&mut self, command: Command) -> Result<Vec<SequencedEvent>, PipelineError> {
        if is_reserved(&command) {
            return Err(SubmitError::Reserved.into());
        }
        self.submit(command, false)
    }

    /// Submits commands through the lane, which the caller holds so that nothing comes in between, and waits for the
    /// events of the last of them, which are durable.
    pub(super) fn execute_holding(
        &mut self,
        lane: &mut spsc::Producer<Submitted>,
        commands: &[Command],
    ) -> Result<Vec<SequencedEvent>, PipelineError> {
        for &command in commands {
            let mut submitted = self.number(command, false);
            loop {
                match lane.push(submitted) {
                    Ok(()) => break,
                    Err(spsc::PushError::Full(refused)) => submitted = refused,
                    Err(spsc::PushError::Closed(_)) => return Err(PipelineError::closed(&self.shared)),
                }
                self.signal.notify();
                // What is not read holds the exchange up.
                while self.outcomes.try_next().is_ok() {}
                std::thread::yield_now();
            }
        }
        self.signal.notify();
        self.await_outcome()
    }

    /// As [`execute`](Self::execute), but the command is sequenced behind all that gateways have submitted, who must have
    /// been halted, or there is no end to it.
    pub(super) fn execute_behind_gateways(&mut self, command: Command) -> Result<Vec<SequencedEvent>, PipelineError> {
        self.submit(command, true)
    }

    fn submit(&mut self, command: Command, behind_gateways: bool) -> Result<Vec<SequencedEvent>, PipelineError> {
        let mut submitted = self.number(command, behind_gateways);
        loop {
            let pushed = self.shared.control.lock().push(submitted);
            match pushed {
                Ok(()) => break,
                Err(spsc::PushError::Full(refused)) => submitted = refused,
                Err(spsc::PushError::Closed(_)) => return Err(PipelineError::closed(&self.shared)),
            }
            std::thread::yield_now();
        }
        self.signal.notify();
        self.await_outcome()
    }

    /// The next submission.
    fn number(&mut self, command: Command, behind_gateways: bool) -> Submitted {
        self.submissions += 1;
        let submission = u64::from(self.id.0) << OPERATOR_SHIFT | self.submissions;
        Submitted { submission, intended: self.shared.clock.now(), cause: self.cause, behind_gateways, command }
    }

    /// The events of the last submission.
    fn await_outcome(&mut self) -> Result<Vec<SequencedEvent>, PipelineError> {
        let mut events = Vec::new();
        loop {
            match self.outcomes.next() {
                Ok(published) if published.submission == self.submissions => {
                    events.push(published.event);
                    if published.last {
                        return Ok(events);
                    }
                }
                Ok(_) => {}
                Err(ReceiveError::Empty) => unreachable!("`next` waits"),
                Err(ReceiveError::Lagged | ReceiveError::Closed) => return Err(PipelineError::closed(&self.shared)),
            }
        }
    }
}
