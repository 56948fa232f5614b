//! What came out, counted: by it runs are told to have ended alike.

use engine::{
    event::{Event, EventSink},
    exchange::Exchange,
    pipeline::Counters,
};

/// Counts events and keeps none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All events.
    pub events: u64,
    /// Fills.
    pub fills: u64,
    /// Refused commands.
    pub refusals: u64,
}

impl EventSink for Tally {
    #[inline]
    fn emit(&mut self, event: Event) {
        self.events += 1;
        match event {
            Event::Filled { .. } => self.fills += 1,
            Event::Refused { .. } => self.refusals += 1,
            _ => {}
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndState {
    /// How many commands there were.
    pub commands: u64,
    /// What came out.
    pub tally: Tally,
    /// The hash of the final state.
    pub state_hash: String,
}

impl EndState {
    /// The end state of an exchange that counted its own events.
    #[must_use]
    pub fn new(exchange: &Exchange, tally: Tally) -> Self {
        Self { commands: exchange.last_sequence().0, tally, state_hash: exchange.state_hash().to_string() }
    }

    /// The end state of a pipeline.
    #[must_use]
    pub fn of_pipeline(exchange: &Exchange, counters: &Counters) -> Self {
        let tally = Tally { events: counters.events, fills: counters.fills, refusals: counters.refusals };
        let state_hash = exchange.state_hash().to_string();
        Self { commands: counters.commands, tally, state_hash }
    }
}
