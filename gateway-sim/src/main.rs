//! The load simulator.
fn main() {}
