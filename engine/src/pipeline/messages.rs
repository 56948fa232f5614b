//! What travels between stages.

use crate::{
    command::Command,
    event::{Event, SequencedEvent},
    journal::Epoch,
    types::{Cause, Digest, Sequence, Timestamp},
};

/// Who submitted a command: the number of a gateway or operator handle, unique while the pipeline runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub u32);

impl GatewayId {
    /// The exchange itself: when it trips, and when an idle one lets time pass.
    pub const EXCHANGE: Self = Self(0);
}

/// From a gateway to the sequencer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submitted {
    pub(super) submission: u64,
    pub(super) intended: Timestamp,
    pub(super) cause: Cause,
    /// Whether all that the gateways' rings hold goes first; on the control lane only.
    pub(super) behind_gateways: bool,
    pub(super) command: Command,
}

/// From the sequencer to journaler, risk and matcher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) sequence: Sequence,
    /// The command's time, which is part of history.
    pub(super) time: Timestamp,
    /// When the sequencer published it, for the histograms.
    pub(super) sequenced: Timestamp,
    pub(super) intended: Timestamp,
    pub(super) submission: u64,
    pub(super) cause: Cause,
    pub(super) gateway: GatewayId,
    pub(super) command: Command,
}

impl Input {
    /// The digest of the epoch that the command begins, if it begins one.
    #[inline]
    pub(super) fn begins_epoch(&self) -> Option<Digest> {
        match self.command {
            Command::StartEpoch { at, digest } if at == self.sequence => Some(digest),
            _ => None,
        }
    }
}

/// From the matcher to the publisher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) published: Published,
    pub(super) intended: Timestamp,
    /// When the matcher had it, to within 128 commands.
    pub(super) matched: Timestamp,
}

/// A durable event, as a subscriber receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event with its place.
    pub event: SequencedEvent,
    /// The epoch it belongs to: that of the events before it, unless this is the first of a new one.
    pub epoch: Epoch,
    /// Whose command caused it.
    pub gateway: GatewayId,
    /// Which of that gateway's submissions.
    pub submission: u64,
    /// Whether it is the command's last.
    pub last: bool,
}

impl Output {
    /// The event number `index` of the command in `input`.
    #[inline(always)]
    pub(super) const fn new(input: &Input, matched: Timestamp, index: u32, event: Event) -> Self {
        let event = SequencedEvent { sequence: input.sequence, time: input.time, index, event };
        // Which epoch it is, the publisher knows.
        let (epoch, gateway, submission) = (Epoch::FIRST, input.gateway, input.submission);
        let published = Published { event, epoch, gateway, submission, last: false };
        Self { published, intended: input.intended, matched }
    }
}
