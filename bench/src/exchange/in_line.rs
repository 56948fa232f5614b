//! The whole exchange on this thread: risk, ledger, matching, settlement, and a hash over all events.

use std::time::Instant;

use engine::{
    command::Command,
    event::{Event, EventSink},
    exchange::Exchange,
    types::Timestamp,
};

use super::{event_hash::EventHash, workload::Workload};

/// How many commands are handed over at once.
const BATCH: usize = 64;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndState {
    /// How many commands there were.
    pub commands: u64,
    /// What came out.
    pub events: EventHash,
    /// The hash of the final state.
    pub state_hash: String,
}

impl EndState {
    /// The end state of an exchange, with what it emitted.
    #[must_use]
    pub fn new(exchange: &Exchange, events: EventHash) -> Self {
        Self { commands: exchange.last_sequence().0, events, state_hash: exchange.state_hash().to_string() }
    }
}

/// One run's speed and end.
pub struct Outcome {
    /// Seconds of the flow, without the setup.
    pub flow_seconds: f64,
    /// Seconds of setup and flow.
    pub all_seconds: f64,
    /// How it ended.
    pub end: EndState,
}

/// Runs the state machine alone, on this thread.
#[must_use]
pub fn run(workload: &Workload) -> Outcome {
    let (mut exchange, mut events) = (Exchange::new(), EventHash::default());
    let begun = Instant::now();
    apply(&mut exchange, &workload.setup, &mut events);
    let set_up = Instant::now();
    apply(&mut exchange, &workload.flow, &mut events);
    let (flow_seconds, all_seconds) = (set_up.elapsed().as_secs_f64(), begun.elapsed().as_secs_f64());
    Outcome { flow_seconds, all_seconds, end: EndState::new(&exchange, events) }
}

fn apply(exchange: &mut Exchange, commands: &[Command], events: &mut impl EventSink) {
    for batch in commands.chunks(BATCH) {
        // The place to look ahead in the batch.
        for command in batch {
            let sequence = exchange.last_sequence().next();
            exchange.apply(sequence, Timestamp(0), command, events);
        }
    }
}

/// How many trades there are, and of how much in all; not timed.
#[must_use]
pub fn trades(workload: &Workload) -> (u64, u64) {
    struct Count(u64, u64);
    impl EventSink for Count {
        fn emit(&mut self, event: Event) {
            if let Event::Filled { quantity, .. } = event {
                (self.0, self.1) = (self.0 + 1, self.1 + quantity.0);
            }
        }
    }
    let (mut exchange, mut count) = (Exchange::new(), Count(0, 0));
    apply(&mut exchange, &workload.setup, &mut count);
    apply(&mut exchange, &workload.flow, &mut count);
    (count.0, count.1)
}
