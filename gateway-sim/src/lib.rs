//! The load simulator of the exchange: incidents that are played and put right, open-loop load by a built-in order flow,
//! replay of recorded order flow, and the reports of all. The binary is a thin shell around this library; benchmarks and tests use [`flow`] directly.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod arrivals;
pub mod flow;
pub mod incident;
pub mod load;
pub mod machine;
pub mod market_data;
pub mod progress;
pub mod random;
pub mod replay;
pub mod report;
pub mod session;
