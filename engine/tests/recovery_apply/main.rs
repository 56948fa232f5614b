//! Recoveries as they are committed: the plan, its approvals, the one record, and every way to read what follows.

mod directory;
mod running;
mod world;
