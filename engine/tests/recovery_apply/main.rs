//! Recoveries as they are committed: the plan, its approvals, the one record, and every way to read what follows.

mod corrections;
mod directory;
mod running;
mod world;

#[path = "../model/mod.rs"]
mod model;
