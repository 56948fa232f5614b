//! The past: any moment of it on demand, from the journal alone, and quickly where a snapshot stands near.

mod opening;
mod snapshots;
mod timeline;

pub use opening::{Opened, open_exchange};
pub use snapshots::{LoadedSnapshot, SkippedSnapshot, SnapshotFault, load_snapshot, save_snapshot};
pub use timeline::{Moment, MomentError, Replay, Step, Timeline, TimelineError};
