//! Where a replay sends its commands and hears of their outcomes: the pipeline, or a bare exchange.

use anyhow::Result;
use engine::{
    command::Command,
    event::{Event, SequencedEvent},
    exchange::Exchange,
    types::Timestamp,
};

/// One event, with the submission that caused it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The number that [`Venue::submit`] gave.
    pub submission: u64,
    /// Whether it is the submission's last event.
    pub last: bool,
    /// What happened.
    pub event: SequencedEvent,
}

/// An exchange seen from one gateway: commands are dealt with in the order in which they are submitted.
pub trait Venue {
    /// Submits a command, and appends the outcomes that happen to have arrived by now.
    ///
    /// # Errors
    /// When the exchange takes no more commands.
    fn submit(&mut self, command: Command, outcomes: &mut Vec<Outcome>) -> Result<u64>;

    /// Waits for the outcomes of all that was submitted, and appends those not handed out before.
    ///
    /// # Errors
    /// When the exchange stops.
    fn settle(&mut self, outcomes: &mut Vec<Outcome>) -> Result<()>;
}

/// A bare exchange: no thread, no journal.
#[derive(Debug, Default)]
pub struct DirectVenue {
    /// The exchange itself.
    pub exchange: Exchange,
    submitted: u64,
    events: Vec<Event>,
}

impl Venue for DirectVenue {
    fn submit(&mut self, command: Command, outcomes: &mut Vec<Outcome>) -> Result<u64> {
        self.submitted += 1;
        let sequence = self.exchange.last_sequence().next();
        self.events.clear();
        self.exchange.apply(sequence, Timestamp(0), &command, &mut self.events);
        let count = self.events.len();
        outcomes.extend(self.events.iter().enumerate().map(|(index, &event)| Outcome {
            submission: self.submitted,
            last: index + 1 == count,
            event: SequencedEvent { sequence, time: Timestamp(0), index: index as u32, event },
        }));
        Ok(self.submitted)
    }

    fn settle(&mut self, _outcomes: &mut Vec<Outcome>) -> Result<()> {
        Ok(())
    }
}
