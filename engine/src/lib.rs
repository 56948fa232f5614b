//! The exchange core: accounts and balances, risk checks, order matching, a durable journal, and the pipeline
//! of pinned threads that carries a command through them.
//!
//! Everything rests on one idea: state is a pure function of the journal.
#![forbid(unsafe_code)]

pub mod command;
pub mod event;
pub mod exchange;
pub mod journal;
pub mod pipeline;
pub mod recovery;
pub mod types;
