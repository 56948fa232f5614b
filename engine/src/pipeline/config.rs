//! How a pipeline runs. Nothing here changes what comes out.

use ringbuf::WaitStrategy;

use super::{PipelineError, topology::Topology};
use crate::journal::{Durability, WriteMethod};

/// How a pipeline runs. Nothing here changes an outcome: every configuration gives the same events and the same state for the same
/// sequenced commands.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which stages share a worker. By default what the number of cores suggests.
    pub topology: Topology,
    /// What a worker does when there is nothing to do. By default it spins a little, then yields, then parks.
    pub wait: WaitStrategy,
    /// Allows busy-spin with more workers than cores, which is refused otherwise: a spinning worker keeps the one it
    /// waits for from running.
    pub force_busy_spin: bool,
    /// Whether each worker is pinned to a core, where there are cores enough.
    pub pin: bool,
    /// When a command counts as durable; see [`Durability`].
    pub durability: Durability,
    /// How the journal's blocks reach the device; `None` for the best there is where the journal lies. See
    /// [`WriteMethod`].
    pub write_method: Option<WriteMethod>,
    /// Whether stages record how long commands take. Without it no clock is read for that, and
    /// [`Latency`](super::Latency) stays empty.
    pub record_latency: bool,
    /// How many commands a gateway's ring holds: a power of two. Beyond it the gateway is told `Busy`.
    pub gateway_ring: usize,
    /// How many commands may be on their way: a power of two.
    pub input_ring: usize,
    /// How many events may wait for their command to be durable: a power of two.
    pub event_ring: usize,
    /// The most commands that a stage takes at once; the journaler takes all there are.
    pub batch: usize,
    /// The size of the journal's segments.
    pub segment_bytes: u64,
    /// When less space than this is left for the journal, gateways are told
    /// [`LowSpace`](super::SubmitError::LowSpace), and what is left serves halts, cancels and recovery.
    pub low_space_bytes: u64,
    /// After how many commands a snapshot is made, by a thread that replays the journal aside; `None` for no snapshots.
    pub snapshot_every: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topology: Topology::for_cores(available_cores()),
            wait: WaitStrategy::Park,
            force_busy_spin: false,
            pin: true,
            durability: Durability::Sync,
            write_method: None,
            record_latency: true,
            gateway_ring: 4_096,
            input_ring: 16_384,
            event_ring: 16_384,
            batch: 256,
            segment_bytes: crate::journal::Options::default().segment_bytes,
            low_space_bytes: crate::journal::Options::default().low_space_bytes,
            snapshot_every: Some(1_000_000),
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), PipelineError> {
        let (workers, cores) = (self.topology.workers(), available_cores());
        if self.wait == WaitStrategy::BusySpin && workers > cores && !self.force_busy_spin {
            return Err(PipelineError::SpinsTooMuch { workers, cores });
        }
        if !self.gateway_ring.is_power_of_two() {
            return Err(PipelineError::Ring(match self.gateway_ring {
                0 => ringbuf::CapacityError::Zero,
                other => ringbuf::CapacityError::NotPowerOfTwo(other),
            }));
        }
        if self.batch == 0 {
            return Err(PipelineError::EmptyBatch);
        }
        Ok(())
    }
}

/// How many cores this process may use.
pub(super) fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
