//! Benchmarks of the exchange as a whole, of its rings and of its book, beside the best of their peers.
//!
//! ```text
//! arguments ─► run ─► throughput   in line, pipeline, replay: the same commands, the same end state
//!                  ├► durable      the durable pipeline for half a minute, beside what the disk could do
//!                  ├► latency      from when a command was due until its last event is released, at rising rates
//!                  ├► overdrafts   the pipeline under attack, and what recording latency costs
//!                  ├► rings        items from thread to thread, ours and the peers'
//!                  ├► books        limit orders and cancels, the whole exchange and the peers' books
//!                  └► recovery     a wrong airdrop excised, a snapshot loaded
//!                                  └► report: text, JSON
//!               limits              the machine's own floor
//! ```
//!
//! Every figure is the median over interleaved rounds, and every run is checked: a fast wrong run is an error.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod books;
pub mod cycle;
pub mod drive;
pub mod durable;
pub mod exchange;
pub mod flows;
pub mod latency;
pub mod limits;
pub mod overdrafts;
pub mod recovery;
pub mod report;
pub mod rings;
pub mod run;
pub mod tally;
pub mod throughput;
pub mod workload;
