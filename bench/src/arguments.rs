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
    /// The exchange alone: in line, durable, reopened.
    Exchange,
    /// What recording latency costs, and the exchange under attack by accounts that always overdraw.
    Overdrafts,
    /// The durable pipeline for half a minute, beside what the disk alone could do.
    Durable,
    /// The latency ladder, without durability and with it.
    Latency,
    /// The rings and their peers.
    Rings,
    /// The book and its peers.
    Books,
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
    /// How many commands each run of the exchange takes, after its setup.
    #[arg(long, default_value = "1000000", global = true)]
    commands: NonZeroUsize,
    /// How many limit orders and cancels each book takes.
    #[arg(long, default_value = "500000", global = true)]
    book_commands: NonZeroUsize,
    /// How many items go through each ring.
    #[arg(long, default_value = "4000000", global = true)]
    items: NonZeroUsize,
    /// How many accounts the deep workloads have, about three resting orders each.
    #[arg(long, default_value = "34490", value_parser = clap::value_parser!(u32).range(10..=1_000_000), global = true)]
    deep_accounts: u32,
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
    /// Limit orders and cancels in each run of a book, after its setup.
    pub book_commands: usize,
    /// Items through each ring.
    pub items: u64,
    /// How many accounts the deep workloads have, at least 10; about three resting orders each.
    pub deep_accounts: u32,
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
        Settings {
            part: self.part.unwrap_or(Part::Peers),
            rounds: options.rounds.get(),
            commands: options.commands.get(),
            book_commands: options.book_commands.get(),
            items: options.items.get() as u64,
            deep_accounts: options.deep_accounts,
            durable_seconds: options.durable_seconds.into(),
            latency_seconds: options.latency_seconds,
            directory: options.directory.clone().unwrap_or_else(std::env::temp_dir),
            json: options.json.clone(),
        }
    }
}
