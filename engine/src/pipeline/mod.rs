//! The pipeline: pinned threads joined by lock-free rings carry each command through sequencing, journaling, risk,
//! matching and publication.
//!
//! ```text
//!  gateways ──► a ring each ──┐
//!  operators ─► control lane ─┴► sequencer ─► input ring ─┬─► journaler ──► durable sequence ────────┐
//!                                (sequence, time)         └─► risk ─► matcher ─► events ─► publisher ◄┘
//!                                                               ▲        │                    │ releases an event when
//!                                                               └feedback┘                    ▼ its command is durable
//!                                                                                        subscribers
//! ```
//!
//! A stage is a poller that never waits; a worker is a pinned thread that polls one or more of them; the
//! [`Topology`] says which. Whatever the topology, the wait strategy, the sizes of rings and batches: the
//! same sequenced commands give the same events.
//!
//! Threads, rings and clocks live here and nowhere else. [`Inline`] does the same on the caller's thread, without any.

mod clock;
mod config;
mod core;
mod follower;
mod gateway;
mod handle;
mod inline;
mod journaler;
mod latency;
mod messages;
mod outlet;
mod publisher;
mod sequencer;
mod shared;
mod split;
mod stage;
mod start;
mod subscriber;
mod topology;
mod worker;

pub use clock::Clock;
pub use config::Config;
use config::available_cores;
pub use gateway::{Gateway, Operator, SubmitError};
pub use handle::Handle;
pub use inline::Inline;
pub use latency::{LATENCY_MAX_NS, Latency, StageLatency};
pub use messages::{GatewayId, Published};
pub use ringbuf::WaitStrategy;
pub use shared::{Counters, SnapshotStatus};
pub use stage::Progress;
pub use start::{Pipeline, Recovered, Stopped};
pub use subscriber::{Events, ReceiveError, Subscriber, Subscription, WhenFull};
pub use topology::{StageName, Topology, TopologyError};
pub use worker::Stages;

use crate::journal::{JournalError, OpenError};

/// Why a pipeline cannot start, go on, or answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// More workers than cores would spin.
    #[error(
        "busy-spin with {workers} workers on {cores} cores would starve the stages; use yield, back-off or park, fewer workers, or force it"
    )]
    SpinsTooMuch {
        /// How many workers the topology has.
        workers: usize,
        /// How many cores there are.
        cores: usize,
    },
    /// A stage that takes no commands at once takes none at all.
    #[error("a batch of 0 commands: it must be at least 1")]
    EmptyBatch,
    /// The size of a ring is no power of two.
    #[error("a ring cannot be made: {0}")]
    Ring(#[from] ringbuf::CapacityError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal cannot be written; nothing that was not durable was acknowledged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A worker's thread cannot be started.
    #[error("a worker's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// The command was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The pipeline stopped by itself.
    #[error("the exchange stopped: {0}")]
    Failed(String),
    /// The pipeline has been shut down.
    #[error("the pipeline has ended")]
    Closed,
}

impl PipelineError {
    /// Why nothing is taken any more.
    fn closed(shared: &shared::Shared) -> Self {
        shared.failure().map_or(Self::Closed, Self::Failed)
    }
}
