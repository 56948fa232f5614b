//! The past: any moment of it on demand, from the journal alone.

mod timeline;

pub use timeline::{Moment, MomentError, Replay, Step, Timeline, TimelineError};
