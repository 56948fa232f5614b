//! Lock-free rings, the ways to wait on them, and a published position.
//!
//! This is the only crate of the workspace with `unsafe` code. It knows nothing of trading, never reads a
//! clock to decide anything, and never allocates after a ring is built.
//!
//! ```text
//! spsc        producer ─► ring ─► consumer            each item moves to one reader
//! stamped     producer ─► ring ─► consumer            the same for single messages, each in a cache line of its own
//!
//! broadcast                     ┌─► consumer A ─┐
//!             producer ─► ring ─┤               ├─► consumer C    C sees what A and B have released
//!                               └─► consumer B ─┘
//! ```
//!
//! - [`spsc`]: a bounded queue between one producer and one consumer, for batches and for reading in place.
//! - [`stamped`]: a bounded queue between two threads that send single messages: the shortest round trip.
//! - [`broadcast`]: one producer, several consumers that each read every item in place, some behind others.
//! - [`WaitStrategy`], [`Signal`] and [`Waiter`]: what a poller does when it finds nothing to do.
//! - [`Cursor`]: one number with one writer and many readers.
//! - [`prefetch_read`] and its relatives: hints to the processor. [`advise_huge_pages`]: one to the operating system.
//! - `Uring`: the rings of Linux's `io_uring`, for writes that are awaited.
//!
//! The rings themselves never wait and never wake anyone: a full or empty ring is an answer, and the
//! caller chooses what to do with it.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

pub mod broadcast;
mod cursor;
mod huge_pages;
mod prefetch;
mod slots;
pub mod spsc;
pub mod stamped;
mod sync;
#[cfg(all(target_os = "linux", not(loom), not(miri)))]
mod uring;
mod wait;

pub use cursor::{Cursor, CursorReader};
pub use huge_pages::advise_huge_pages;
pub use prefetch::{prefetch_read, prefetch_slice_index, prefetch_write};
pub use slots::CapacityError;
#[cfg(all(target_os = "linux", not(loom), not(miri)))]
pub use uring::Uring;
pub use wait::{CloseOnDrop, ParseWaitStrategyError, Signal, WaitStrategy, Waiter};
