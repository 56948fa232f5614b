//! Recorded order flow, turned into commands and sent through the exchange.

pub mod bitstamp;
pub mod file_book;
pub mod lobster;
pub mod orders;
pub mod venue;
