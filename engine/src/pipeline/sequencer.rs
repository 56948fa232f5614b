//! The sequencer: gives each command its sequence and its time. Nothing else decides the order.

use std::sync::Arc;

use ringbuf::{broadcast, spsc, stamped};

use super::{
    messages::{GatewayId, Input, Submitted},
    shared::Shared,
    stage::{Poll, Progress},
};
use crate::{
    command::Command,
    types::{Cause, Sequence, Timestamp},
};

/// The sequencer's end of a gateway's ring.
pub(super) struct GatewayPort {
    pub(super) id: GatewayId,
    pub(super) ring: stamped::Consumer<Submitted>,
}

pub(super) struct Sequencer {
    shared: Arc<Shared>,
    /// The lane that is served first. The submissions' gateway is told by the highest bits.
    control: spsc::Consumer<Submitted>,
    gateways: Vec<GatewayPort>,
    /// The gateway that is served first in the next round.
    first: usize,
    input: broadcast::Producer<Input>,
    sequence: Sequence,
    time: Timestamp,
    /// The end of a lock for which a tick was made.
    ticked: Timestamp,
}

/// The control lane is one ring for all operators: their submissions carry who they are from.
pub(super) const OPERATOR_SHIFT: u32 = 32;

impl Sequencer {
    pub(super) fn new(
        shared: Arc<Shared>,
        control: spsc::Consumer<Submitted>,
        input: broadcast::Producer<Input>,
        last: Sequence,
        last_time: Timestamp,
    ) -> Self {
        let (gateways, ticked) = (Vec::new(), Timestamp(0));
        Self { shared, control, gateways, first: 0, input, sequence: last, time: last_time, ticked }
    }

    /// No gateway's ring holds anything, now that none can be filled any more.
    fn is_drained(&self) -> bool {
        self.control.readable() == 0 && self.gateways.iter().all(|port| port.ring.is_empty())
    }

    /// Whether a gateway is gone, and its ring is still looked into.
    fn has_ended_gateway(&self) -> bool {
        self.gateways.iter().any(|port| port.ring.is_closed())
    }

    fn finish(&mut self) -> Progress {
        self.shared.gateways.close();
        self.gateways.clear();
        self.control.close();
        self.input.close();
        Progress::Finished
    }
}

impl Poll for Sequencer {
    fn poll(&mut self, batch: usize) -> Progress {
        if self.shared.has_failed() {
            return self.finish();
        }
        // Looked at before the inbox: a gateway opened before the stop is seen, and what it submitted is carried out.
        let stopping = self.shared.is_stopping();
        if self.shared.gateways.is_filled() {
            self.shared.gateways.take(&mut self.gateways);
        }
        if stopping {
            // From here on pushing fails, so what the rings hold is all there will be.
            self.control.close();
            self.gateways.iter().for_each(|port| port.ring.close());
        }

        // An idle poll reads no clock, and touches nothing that another stage reads.
        if !stopping && self.is_drained() && due(&self.shared, self.ticked).is_none() && !self.has_ended_gateway() {
            return Progress::Idle;
        }

        let mut claim = match self.input.claim(batch) {
            Ok(claim) => claim,
            Err(broadcast::PushError::Full(())) => return Progress::Idle,
            Err(_) => {
                self.shared.fail("a stage behind the sequencer has gone".to_owned());
                return self.finish();
            }
        };
        let sequenced = self.shared.clock.now();
        self.time = self.time.max(sequenced);
        let mut stamp = Stamp { sequence: self.sequence, time: self.time, sequenced };

        // The control lane first, and all of it that fits, up to a command that is to follow what gateways hold.
        while claim.remaining() > 0 {
            let Some(submitted) = self.control.peek() else { break };
            if submitted.behind_gateways && self.gateways.iter().any(|port| !port.ring.is_empty()) {
                break;
            }
            let gateway = GatewayId((submitted.submission >> OPERATOR_SHIFT) as u32);
            let submission = submitted.submission & u64::from(u32::MAX);
            claim.push(stamp.next(gateway, submission, submitted));
            self.control.release(1);
        }
        // Then the gateways in turn, none more than its share before the others had theirs.
        let ports = self.gateways.len();
        let share = (batch / ports.max(1)).max(1);
        let (mut dropped, mut turn, mut idle) = (false, self.first, 0);
        while idle < ports && claim.remaining() > 0 {
            turn = if turn < ports { turn } else { 0 };
            let GatewayPort { id, ring } = &mut self.gateways[turn];
            let most = share.min(claim.remaining());
            let taken = ring.drain(most, |submitted| claim.push(stamp.next(*id, submitted.submission, &submitted)));
            dropped |= taken == 0 && ring.is_finished();
            idle = if taken == 0 { idle + 1 } else { 0 };
            turn += 1;
        }
        // With nothing to carry it, time passes by itself.
        if stamp.sequence == self.sequence
            && claim.remaining() > 0
            && let Some(due) = due(&self.shared, self.ticked)
        {
            let (cause, command) = (Cause::exchange(), Command::Tick {});
            let tick = Submitted { submission: 0, intended: sequenced, cause, behind_gateways: false, command };
            claim.push(stamp.next(GatewayId::EXCHANGE, 0, &tick));
            self.ticked = due;
        }
        // Whoever had no turn this time is first in the next round.
        self.first = turn;
        self.sequence = stamp.sequence;
        let worked = claim.publish() > 0;
        if dropped {
            self.gateways.retain(|port| !port.ring.is_finished());
            // Whose turn it was may be beyond those that are left.
            self.first = 0;
        }
        if stopping && !worked && self.is_drained() {
            return self.finish();
        }
        Progress::from_worked(worked)
    }

    fn is_ready(&self) -> bool {
        let shared = &self.shared;
        shared.has_failed()
            || shared.gateways.is_filled()
            || (self.input.free() > 0
                && (shared.is_stopping() || !self.is_drained() || due(shared, self.ticked).is_some()))
    }
}

/// The end of a lock that has come, and for which no tick was made.
#[inline]
fn due(shared: &Shared, ticked: Timestamp) -> Option<Timestamp> {
    let due = shared.next_timer();
    (due.0 != u64::MAX && due != ticked && due <= shared.clock.now()).then_some(due)
}

/// Numbers commands.
struct Stamp {
    sequence: Sequence,
    time: Timestamp,
    sequenced: Timestamp,
}

impl Stamp {
    #[inline]
    const fn next(&mut self, gateway: GatewayId, submission: u64, submitted: &Submitted) -> Input {
        self.sequence = self.sequence.next();
        let Submitted { intended, cause, command, .. } = *submitted;
        let (sequence, time, sequenced) = (self.sequence, self.time, self.sequenced);
        Input { sequence, time, sequenced, intended, submission, cause, gateway, command }
    }
}
