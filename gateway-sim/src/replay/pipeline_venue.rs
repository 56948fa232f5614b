//! The real exchange as a venue: a gateway to submit, a subscriber to hear of durable outcomes.

use anyhow::Result;
use engine::{
    command::Command,
    pipeline::{Events, Gateway, Published, ReceiveError, SubmitError, Subscriber, Subscription},
    types::Cause,
};

use super::venue::{Outcome, Venue};
use crate::session::Session;

/// After so many submissions outcomes are looked for.
const LOOK_EVERY: u64 = 64;
const DRAIN_MAX: usize = 4_096;

/// A gateway to a running exchange, with a subscriber of its own.
pub struct PipelineVenue<'a> {
    session: &'a Session,
    gateway: Gateway,
    subscriber: Subscriber,
    submitted: u64,
    completed: u64,
}

impl<'a> PipelineVenue<'a> {
    /// Opens both.
    ///
    /// # Errors
    /// When the exchange has ended.
    pub fn open(session: &'a Session) -> Result<Self> {
        let gateway = session.pipeline.gateway(Cause::session(1))?;
        let events = Events::OfGateway(gateway.id());
        let subscriber = session.pipeline.subscribe(Subscription { events, ..Subscription::default() })?;
        Ok(Self { session, gateway, subscriber, submitted: 0, completed: 0 })
    }

    /// Takes the outcomes that are there; returns how many.
    fn receive(&mut self, outcomes: &mut Vec<Outcome>) -> Result<usize> {
        let completed = &mut self.completed;
        let received = self.subscriber.drain(DRAIN_MAX, |&Published { event, submission, last, .. }| {
            *completed += u64::from(last);
            outcomes.push(Outcome { submission, last, event });
        });
        match received {
            Ok(count) => Ok(count),
            Err(ReceiveError::Empty) => Ok(0),
            Err(_) => Err(self.session.failure()),
        }
    }
}

impl Venue for PipelineVenue<'_> {
    fn submit(&mut self, command: Command, outcomes: &mut Vec<Outcome>) -> Result<u64> {
        if self.submitted.is_multiple_of(LOOK_EVERY) {
            self.receive(outcomes)?;
        }
        loop {
            match self.gateway.submit(command) {
                Ok(submission) => {
                    self.submitted += 1;
                    return Ok(submission);
                }
                Err(SubmitError::Busy) => {
                    if self.receive(outcomes)? == 0 {
                        self.subscriber.wait();
                    }
                }
                Err(_) => return Err(self.session.failure()),
            }
        }
    }

    fn settle(&mut self, outcomes: &mut Vec<Outcome>) -> Result<()> {
        while self.completed < self.submitted {
            if self.receive(outcomes)? == 0 {
                self.subscriber.wait();
            }
        }
        Ok(())
    }
}
