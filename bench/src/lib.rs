//! Benchmarks of the exchange as a whole, of its rings and of its book, beside the best of their peers.
//!
//! ```text
//! arguments ─► run ─┬► rings        items from thread to thread, ours and the peers'
//!                   ├► books        the book alone and the peers', under all flows ◄─┐
//!                   ├► exchange     the whole exchange in line, and its replay     ◄─┴─ flows
//!                   ├► throughput   the same commands through the pipeline: the same end state
//!                   ├► overdrafts   the pipeline under attack
//!                   ├► recovery     a wrong airdrop excised, a snapshot loaded
//!                   ├► durable      the durable pipeline for half a minute, beside what the disk could do
//!                   ├► latency      from when a command was due until its last event is released, at rising rates
//!                   ├► memory       bytes per order, account, asset held
//!                   └► limits       the machine's own floor
//!                                   └► report: text, targets, JSON
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
pub mod memory;
pub mod overdrafts;
pub mod recovery;
pub mod report;
pub mod rings;
pub mod run;
pub mod tally;
pub mod throughput;
pub mod workload;
