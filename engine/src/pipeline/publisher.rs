//! The publisher: releases an event when its command is durable, and not before.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ringbuf::{CursorReader, Signal, spsc};

use super::{
    journaler::{SERVICE, WAIT},
    latency::Recorder,
    messages::{GatewayId, Output, Published, Submitted},
    shared::{Counters, Shared},
    stage::{Poll, Progress},
};
use crate::{
    command::Command,
    event::{Event, RejectReason},
    journal::Epoch,
    types::{Cause, Controls, Timestamp, TradingStatus},
};

/// The index of the histogram that follows the publisher's own two.
pub(super) const END_TO_END: usize = 2;

/// How far the freeze has come that the exchange decided on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trip {
    None,
    Wanted,
    Submitted,
}

/// The publisher's end of a subscription.
pub(super) struct SubscriberPort {
    pub(super) ring: spsc::Producer<Published>,
    /// Only the events of this gateway's commands, or all.
    pub(super) only: Option<GatewayId>,
    /// Whether a full ring holds the publisher up; else the subscriber is cut off.
    pub(super) holds_back: bool,
    /// Set when the subscriber is cut off.
    pub(super) lagged: Arc<AtomicBool>,
    pub(super) signal: Signal,
}

impl Drop for SubscriberPort {
    fn drop(&mut self) {
        self.ring.close();
        self.signal.notify();
    }
}

pub(super) struct Publisher {
    shared: Arc<Shared>,
    output: spsc::Consumer<Output>,
    durable: CursorReader,
    subscribers: Vec<SubscriberPort>,
    counters: Counters,
    /// The epoch of what is published.
    epoch: Epoch,
    /// The status of the whole exchange, as published.
    status: TradingStatus,
    trip: Trip,
    /// When the commands of a batch were meant to be sent.
    intended: Vec<Timestamp>,
    /// Its wait and service, and the whole way.
    latency: Recorder<3>,
}

impl Publisher {
    pub(super) fn new(
        shared: Arc<Shared>,
        output: spsc::Consumer<Output>,
        durable: CursorReader,
        status: TradingStatus,
        latency: Recorder<3>,
    ) -> Self {
        let (subscribers, counters, epoch) = (Vec::new(), Counters::default(), shared.epoch());
        let intended = Vec::with_capacity(output.capacity());
        Self { shared, output, durable, subscribers, counters, epoch, status, trip: Trip::None, intended, latency }
    }

    /// The exchange has seen that it must stop: gateways are stopped at once, and a freeze goes through the control lane
    /// behind what they have submitted.
    #[cold]
    fn trip(&mut self) {
        if self.status != TradingStatus::Frozen && self.trip == Trip::None {
            self.shared.halting.fetch_add(1, Ordering::AcqRel);
            self.trip = Trip::Wanted;
            self.submit_trip();
        }
    }

    /// Gives whether it was submitted; the lane may be full, or held by a recovery.
    #[cold]
    fn submit_trip(&mut self) -> bool {
        let command = Command::SetGlobalStatus { status: TradingStatus::Frozen };
        let (cause, intended) = (Cause::exchange(), self.shared.clock.now());
        let freeze = Submitted { submission: 0, intended, cause, behind_gateways: true, command };
        let submitted = self.shared.control.try_lock().is_some_and(|mut lane| lane.push(freeze).is_ok());
        if submitted {
            self.trip = Trip::Submitted;
            self.shared.notify_all();
        }
        submitted
    }

    /// A status was published: a halt that was asked for stops gateways until the status is another; one that came as a
    /// command like any other is the state machine's affair.
    #[cold]
    fn set_status(&mut self, status: TradingStatus, gateway: GatewayId) {
        self.status = status;
        let shared = &self.shared;
        if !status.is_halted() || shared.halting.load(Ordering::Acquire) > 0 {
            shared.halted.store(status.is_halted(), Ordering::Relaxed);
        }
        if gateway == GatewayId::EXCHANGE && self.trip == Trip::Submitted {
            self.trip = Trip::None;
            shared.halting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Does what an event asks of the publisher itself, before anybody sees it.
    fn observe(&mut self, event: &Event, gateway: GatewayId) {
        match *event {
            Event::Refused { reason, .. } => {
                self.counters.refusals += 1;
                if reason == RejectReason::VelocityExceeded {
                    self.trip();
                }
            }
            Event::GlobalStatusSet { status } => self.set_status(status, gateway),
            Event::ReservesAttested { amount, liabilities, .. }
                if amount < liabilities && self.shared.reserves_control.load(Ordering::Relaxed) =>
            {
                self.trip();
            }
            Event::ControlsSet { controls } => {
                self.shared.reserves_control.store(controls.has(Controls::RESERVES), Ordering::Relaxed);
            }
            Event::EpochStarted { epoch, .. } => {
                self.epoch = Epoch(epoch);
                self.shared.set_epoch(self.epoch);
            }
            _ => {}
        }
    }

    /// How many events every subscriber that holds back has room for.
    #[inline]
    fn room(&self) -> usize {
        if self.shared.abandoned.load(Ordering::Relaxed) {
            return usize::MAX;
        }
        let holding = self.subscribers.iter().filter(|port| port.holds_back && !port.ring.is_closed());
        holding.map(|port| port.ring.free()).min().unwrap_or(usize::MAX)
    }

    /// How many of the first `most` events are of durable commands.
    #[inline]
    fn durable_among(&self, most: usize) -> usize {
        let durable = self.durable.load();
        let is_durable =
            |offset: usize| self.output.get(offset).is_some_and(|output| output.published.event.sequence.0 <= durable);
        if most == 0 || is_durable(most - 1) {
            return most;
        }
        // Sequences ascend, so the boundary is found by halving.
        let (mut low, mut high) = (0, most - 1);
        while low < high {
            let middle = (low + high) / 2;
            if is_durable(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn finish(&mut self) -> Progress {
        self.latency.close();
        self.shared.subscribers.close();
        self.subscribers.clear();
        self.output.close();
        Progress::Finished
    }
}

impl Poll for Publisher {
    fn poll(&mut self, batch: usize) -> Progress {
        self.latency.hand_over_if_asked();
        if self.shared.has_failed() {
            return self.finish();
        }
        let tripped = self.trip == Trip::Wanted && self.submit_trip();
        let readable = self.output.readable();
        let durable = self.durable_among(readable.min(batch));
        // Looked into after the events were: whoever subscribed before a command was submitted gets its events.
        if self.shared.subscribers.is_filled() {
            self.shared.subscribers.take(&mut self.subscribers);
        }
        if readable == 0 {
            return if self.output.is_finished() { self.finish() } else { Progress::from_worked(tripped) };
        }
        let count = durable.min(self.room());
        if count == 0 {
            return Progress::from_worked(tripped);
        }
        let started = self.latency.now(&self.shared.clock);
        let mut commands = 0;
        // Since when the last ones have waited, and how many: what the matcher had done at once waits alike.
        let (mut matched, mut alike) = (Timestamp(0), 0);
        for offset in 0..count {
            let output = self.output.get(offset).expect("counted as readable");
            match output.published.event.event {
                Event::OrderAccepted { .. } | Event::OrderCancelled { .. } => {}
                Event::Filled { .. } => self.counters.fills += 1,
                event => {
                    let gateway = output.published.gateway;
                    self.observe(&event, gateway);
                }
            }
            let output = self.output.get(offset).expect("counted as readable");
            let published = &output.published;
            if published.last {
                commands += 1;
                if self.latency.records() {
                    self.intended.push(output.intended);
                    if output.matched != matched {
                        self.latency.record(WAIT, started.0.saturating_sub(matched.0), alike);
                        (matched, alike) = (output.matched, 0);
                    }
                    alike += 1;
                }
            }
            for port in &mut self.subscribers {
                if port.only.is_none_or(|gateway| gateway == published.gateway)
                    && let Err(spsc::PushError::Full(_)) = port.ring.push(Published { epoch: self.epoch, ..*published })
                {
                    port.lagged.store(true, Ordering::Release);
                    port.ring.close();
                }
            }
        }
        self.latency.record(WAIT, started.0.saturating_sub(matched.0), alike);
        self.counters.events += count as u64;
        self.counters.commands += commands;
        self.shared.counters.publish(&self.counters);
        let mut closed = false;
        for port in &self.subscribers {
            port.signal.notify();
            closed |= port.ring.is_closed();
        }
        if closed {
            self.subscribers.retain(|port| !port.ring.is_closed());
        }
        if self.latency.records() {
            let released = self.shared.clock.now();
            self.latency.record_all_since(END_TO_END, released, &self.intended);
            self.latency.record(SERVICE, released.0.saturating_sub(started.0), commands);
        }
        self.intended.clear();
        self.output.release(count);
        Progress::Worked
    }

    fn is_ready(&self) -> bool {
        self.latency.is_asked()
            || self.shared.has_failed()
            || self.shared.subscribers.is_filled()
            || self.trip == Trip::Wanted
            || self.output.is_finished()
            || (self.room() > 0 && self.output.readable() > 0 && self.durable_among(1) == 1)
    }
}
