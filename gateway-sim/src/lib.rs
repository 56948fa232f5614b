//! The load simulator of the exchange: open-loop load by a built-in order flow, replay of recorded order flow, and
//! the report of both. The binary is a thin shell around this library; benchmarks and tests use [`flow`] directly.
#![forbid(unsafe_code)]

pub mod arrivals;
pub mod flow;
pub mod market_data;
pub mod random;
pub mod replay;
