//! Recoveries as they are committed: the plan, its approvals, the one record, and every way to read what follows.

mod corrections;
mod directory;
mod effects;
mod kill;
mod refusals;
mod running;
mod tampering;
mod world;

#[path = "../model/mod.rs"]
mod model;
