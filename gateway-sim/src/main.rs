//! The load simulator.
#![forbid(unsafe_code)]

fn main() {}
