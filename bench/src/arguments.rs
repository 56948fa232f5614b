//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Measures the exchange, its rings and its book beside their peers, and checks every run's outcome.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench")]
pub struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Part {
    /// Everything below in one run, its rounds interleaved; the default.
    Peers,
    /// The rings and their peers.
    Rings,
    /// The book alone and its peers.
    Books,
    /// The exchange in line, and the replay of its journal.
    Exchange,
    /// The exchange through its pipeline: durable, not durable, in memory.
    Pipeline,
    /// The durable pipeline for half a minute, beside what the disk alone could do.
    Durable,
    /// The latency ladder, without durability and with it.
    Latency,
    /// What recording latency costs, and the pipeline under attack by accounts that always overdraw.
    Overdrafts,
    /// What orders, accounts and balances take up, at ten million orders and a million accounts.
    Memory,
    /// The machine's own floor: cores, clocks, memory, disk, hiccups. Not part of `peers`.
    Limits,
    /// What it takes to excise a wrong airdrop from a history, beside replaying it.
    Excision(ExcisionSize),
    /// How fast a snapshot is loaded.
    Snapshot(SnapshotSize),
}

/// How much history there is to excise from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct ExcisionSize {
    /// How many commands the history has after its setup.
    #[arg(long, default_value = "10000000")]
    pub history: u64,
}

/// How large a state is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct SnapshotSize {
    /// How many accounts, each with five assets and three open orders.
    #[arg(long, default_value = "1000000", value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    pub accounts: u32,
}

#[derive(Clone, Debug, Args)]
struct Options {
    /// How often everything is measured; figures are medians.
    #[arg(long, default_value = "5", global = true)]
    rounds: NonZeroUsize,
    /// A quarter of the work, for a first look: the figures are rougher.
    #[arg(long, global = true)]
    quick: bool,
    /// For how many seconds the durable pipeline runs, once with snapshots and once without.
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u32).range(1..=3_600), global = true)]
    durable_seconds: u32,
    /// For how many seconds commands fall due at each rate of the latency ladder.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3_600), global = true)]
    latency_seconds: u64,
    /// Where journals are made, in directories that are removed again; by default where temporary files belong.
    #[arg(long, global = true)]
    directory: Option<PathBuf>,
    /// Writes the report there as well.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

/// What to measure, and how much of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is measured.
    pub part: Part,
    /// How often, at least once.
    pub rounds: usize,
    /// Commands in each run of the exchange, after its setup.
    pub commands: usize,
    /// Commands in each run of a book, after its setup.
    pub book_commands: usize,
    /// Items through each ring.
    pub items: u64,
    /// How many orders rest on a deep book; a tenth of it on one of middling depth.
    pub deep_orders: usize,
    /// How many accounts there are beside a deep book.
    pub deep_accounts: u32,
    /// How many orders their memory is measured of.
    pub memory_orders: u32,
    /// How many accounts their memory is measured of.
    pub memory_accounts: u32,
    /// For how many seconds the durable pipeline runs.
    pub durable_seconds: f64,
    /// For how many seconds commands fall due at each rate of the latency ladder.
    pub latency_seconds: u64,
    /// Where journals are made.
    pub directory: PathBuf,
    /// Where the report is also written.
    pub json: Option<PathBuf>,
}

impl Arguments {
    /// What the command line asks for.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let options = &self.options;
        let share = if options.quick { 4 } else { 1 };
        Settings {
            part: self.part.unwrap_or(Part::Peers),
            rounds: options.rounds.get(),
            commands: 1_000_000 / share,
            book_commands: 1_000_000 / share,
            items: 500_000 / share as u64,
            deep_orders: 100_000,
            deep_accounts: 1_000_000,
            memory_orders: 10_000_000 / share as u32,
            memory_accounts: 1_000_000 / share as u32,
            durable_seconds: options.durable_seconds.into(),
            latency_seconds: options.latency_seconds,
            directory: options.directory.clone().unwrap_or_else(std::env::temp_dir),
            json: options.json.clone(),
        }
    }
}
