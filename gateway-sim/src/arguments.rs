//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use engine::{
    journal::Durability,
    pipeline::{Config, Topology, WaitStrategy},
};

use crate::{
    arrivals::{ArrivalProcess, Timetable},
    flow::{ACCOUNTS_PER_GATEWAY_MIN, FlowSpecification, MARKETS_MAX},
    load::Load,
    market_data::Format,
    replay::Replay,
};

const RATE_MAX: u64 = 100_000_000;
const SECONDS_MAX: u64 = 86_400;
const GATEWAYS_MAX: i64 = 1_024;
const ACCOUNTS_MAX: i64 = 10_000_000;

/// Sends order flow through an exchange and reports what it took.
///
/// Without a command it runs a load, as `load` does.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 all is well; 1 the run failed; 2 the command line is wrong; 3 the exchange that was \
                  opened again from its journal has another state than the one that was shut down."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    load: LoadArguments,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Runs an open-loop load of built-in order flow.
    Load(LoadArguments),
    /// Replays recorded order flow, as fast as the exchange takes it.
    Replay(ReplayArguments),
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// Commands per second, all gateways together.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    rate: u64,
    /// For how many seconds commands fall due.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// How many gateways share the rate.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=GATEWAYS_MAX))]
    gateways: u32,
    /// How commands arrive.
    #[arg(long, default_value_t = ArrivalProcess::Poisson)]
    arrivals: ArrivalProcess,
    /// How many accounts trade; at least 10 for each gateway.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=ACCOUNTS_MAX))]
    accounts: u32,
    /// On how many markets.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=i64::from(MARKETS_MAX)))]
    markets: u16,
    /// Determines the commands and when they are due.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Args)]
struct ReplayArguments {
    /// What the file holds.
    #[arg(long)]
    format: Format,
    /// The file: plain, or compressed with gzip, xz or Zstandard.
    file: PathBuf,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// When a command counts as durable: sync, async or none.
    #[arg(long, default_value_t = Durability::Sync)]
    durability: Durability,
    /// Which stages share a worker: auto, single, fused, split, full, or a list such as
    /// journaler/sequencer+risk+matcher+publisher.
    #[arg(long, default_value = "auto")]
    topology: Topology,
    /// What workers do while there is nothing to do: busy-spin, yield, back-off or park.
    #[arg(long, default_value_t = WaitStrategy::Park)]
    wait: WaitStrategy,
    /// Allows busy-spin with more workers than cores.
    #[arg(long)]
    force_busy_spin: bool,
    /// Leaves the workers to the scheduler instead of pinning them to cores.
    #[arg(long)]
    no_pin: bool,
    /// After how many commands a snapshot is made aside; 0 for none.
    #[arg(long, value_name = "COMMANDS", default_value_t = 1_000_000)]
    snapshot_every: u64,
    /// An empty directory for the journal, which is kept; without it a temporary one.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Also writes the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub enum Task {
    /// A load.
    Load(Load),
    /// A replay.
    Replay(Replay),
}

impl RunArguments {
    fn config(&self) -> Config {
        Config {
            topology: self.topology.clone(),
            wait: self.wait,
            force_busy_spin: self.force_busy_spin,
            pin: !self.no_pin,
            durability: self.durability,
            snapshot_every: (self.snapshot_every > 0).then_some(self.snapshot_every),
            ..Config::default()
        }
    }
}

impl Arguments {
    /// What the command line asks for, and where the JSON report goes. Ends the process with a message when
    /// the command line is wrong.
    #[must_use]
    pub fn task() -> (Task, Option<PathBuf>) {
        let Self { command, load } = Self::parse();
        match command.unwrap_or(Subcommands::Load(load)) {
            Subcommands::Load(load) => {
                load.check();
                let LoadArguments { rate, seconds, gateways, arrivals, accounts, markets, seed, run } = load;
                let config = run.config();
                let task = Load {
                    timetable: Timetable { process: arrivals, rate, seconds, gateways, seed },
                    flow: FlowSpecification { seed, accounts, markets, gateways },
                    data: run.data,
                    config,
                };
                (Task::Load(task), run.json)
            }
            Subcommands::Replay(ReplayArguments { format, file, run }) => {
                let config = run.config();
                (Task::Replay(Replay { format, file, data: run.data, config }), run.json)
            }
        }
    }
}

impl LoadArguments {
    fn check(&self) {
        let needed = u64::from(self.gateways) * u64::from(ACCOUNTS_PER_GATEWAY_MIN);
        if u64::from(self.accounts) < needed {
            let message = format!(
                "--accounts {} is too few for --gateways {}: give at least {needed} accounts, or fewer gateways",
                self.accounts, self.gateways
            );
            Arguments::command().error(ErrorKind::ValueValidation, message).exit();
        }
    }
}
