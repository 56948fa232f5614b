//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use engine::{
    journal::{Durability, WriteMethod},
    pipeline::{Config, Topology, WaitStrategy},
};

use crate::{
    arrivals::{ArrivalProcess, Timetable},
    flow::{ACCOUNTS_PER_GATEWAY_MIN, FlowSpecification, MARKETS_MAX},
    incident::{
        Incident, StrategyName,
        scale::{BEFORE_DEFAULT, Scale},
        scenario::Scenario,
    },
    load::Load,
    market_data::Format,
    replay::Replay,
};

const RATE_MAX: u64 = 100_000_000;
const SECONDS_MAX: u64 = 86_400;
const GATEWAYS_MAX: i64 = 1_024;
const ACCOUNTS_MAX: i64 = 10_000_000;
/// After how many commands a snapshot is made, if nothing else is asked for.
const SNAPSHOT_EVERY: u64 = 1_000_000;
/// The same in an incident: what it looks back to is near.
const SNAPSHOT_EVERY_INCIDENT: u64 = 250_000;
const INCIDENT_ACCOUNTS_MIN: i64 = 1_000;
const INCIDENT_MARKETS_MIN: i64 = 3;
const COMMANDS_MAX: u64 = 1_000_000_000;
const HTML_DEFAULT: &str = "reprise-incident.html";

/// Sends order flow through an exchange and reports what it took.
///
/// Without a command it plays the incident of Coinzest, as `incident coinzest` does.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 all is well; 1 the run failed; 2 the command line is wrong; 3 a state that was computed \
                  again (from the journal, or on a branch) is another than it was, or money was made or lost."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    incident: IncidentArguments,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Runs an open-loop load of built-in order flow.
    Load(LoadArguments),
    /// Replays recorded order flow, as fast as the exchange takes it.
    Replay(ReplayArguments),
    /// Plays an incident on a live exchange under load, from the first trade to the reopening.
    #[command(subcommand)]
    Incident(IncidentSubcommands),
}

#[derive(Debug, Subcommand)]
enum IncidentSubcommands {
    /// Korea, January 2019: a promotion pays 30,000 BTC, ETH and others instead of 30,000 WGT.
    Coinzest(IncidentArguments),
    /// Korea, February 2026: a promotion pays 620,000 BTC instead of 620,000 won; then the same with the preventive
    /// controls on.
    Bithumb(IncidentArguments),
    /// Measures a recovery over a long history.
    Scale(ScaleArguments),
}

#[derive(Debug, Args)]
struct IncidentArguments {
    /// Commands per second of the crowd, all gateways together.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    rate: u64,
    /// How many accounts there are; by default as many as the scenario says.
    #[arg(long, value_parser = clap::value_parser!(u32).range(INCIDENT_ACCOUNTS_MIN..=ACCOUNTS_MAX))]
    accounts: Option<u32>,
    /// How many markets; by default as many as the scenario says.
    #[arg(long, value_parser = clap::value_parser!(u16).range(INCIDENT_MARKETS_MIN..))]
    markets: Option<u16>,
    /// How many times as fast as usual people act: the sale, the detection, the auction.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    haste: u32,
    /// Which strategy is applied; by default the scenario's rule chooses between bust and excise.
    #[arg(long)]
    strategy: Option<StrategyName>,
    /// Determines the world, the crowd and the actors. What meets what depends on the threads, too.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the HTML report goes.
    #[arg(long, value_name = "FILE", default_value = HTML_DEFAULT)]
    html: PathBuf,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Args)]
struct ScaleArguments {
    /// How many commands follow the bad airdrop.
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..=COMMANDS_MAX))]
    commands: u64,
    /// How many commands lie between the last snapshot and the airdrop.
    #[arg(long, default_value_t = BEFORE_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=COMMANDS_MAX))]
    before: u64,
    /// How many accounts there are.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(INCIDENT_ACCOUNTS_MIN..=ACCOUNTS_MAX))]
    accounts: u32,
    /// How many markets.
    #[arg(long, default_value_t = 71, value_parser = clap::value_parser!(u16).range(INCIDENT_MARKETS_MIN..))]
    markets: u16,
    /// Which strategy is applied.
    #[arg(long, default_value_t = StrategyName::Bust)]
    strategy: StrategyName,
    /// Leaves out the comparison of all strategies.
    #[arg(long)]
    no_compare: bool,
    /// Determines the history.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An empty directory for the journal, which is kept; without it a temporary one.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Also writes the HTML report to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also writes the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    /// How the journal's blocks reach the device: dsync, direct, fdatasync or io-uring; if left out, direct where the file
    /// system and the device can, else dsync.
    #[arg(long)]
    write_method: Option<WriteMethod>,
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
    /// After how many commands a snapshot is made aside; 0 for none. By default 1,000,000, in an incident 250,000.
    #[arg(long, value_name = "COMMANDS")]
    snapshot_every: Option<u64>,
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
    /// An incident.
    Incident(Box<Incident>),
    /// A recovery over a long history.
    Scale(Scale),
}

impl RunArguments {
    fn config(&self, snapshot_every: u64) -> Config {
        let snapshot_every = self.snapshot_every.unwrap_or(snapshot_every);
        Config {
            topology: self.topology.clone(),
            wait: self.wait,
            force_busy_spin: self.force_busy_spin,
            pin: !self.no_pin,
            durability: self.durability,
            write_method: self.write_method,
            snapshot_every: (snapshot_every > 0).then_some(snapshot_every),
            ..Config::default()
        }
    }
}

impl Arguments {
    /// What the command line asks for, and where the JSON report goes. Ends the process with a message when
    /// the command line is wrong.
    #[must_use]
    pub fn task() -> (Task, Option<PathBuf>) {
        let Self { command, incident } = Self::parse();
        match command.unwrap_or(Subcommands::Incident(IncidentSubcommands::Coinzest(incident))) {
            Subcommands::Load(load) => {
                load.check();
                let LoadArguments { rate, seconds, gateways, arrivals, accounts, markets, seed, run } = load;
                let config = run.config(SNAPSHOT_EVERY);
                let task = Load {
                    timetable: Timetable { process: arrivals, rate, seconds, gateways, seed },
                    flow: FlowSpecification { seed, accounts, markets, gateways },
                    data: run.data,
                    config,
                };
                (Task::Load(task), run.json)
            }
            Subcommands::Replay(ReplayArguments { format, file, run }) => {
                let config = run.config(SNAPSHOT_EVERY);
                (Task::Replay(Replay { format, file, data: run.data, config }), run.json)
            }
            Subcommands::Incident(IncidentSubcommands::Coinzest(incident)) => {
                incident.task(Scenario::coinzest(incident.seed))
            }
            Subcommands::Incident(IncidentSubcommands::Bithumb(incident)) => {
                incident.task(Scenario::bithumb(incident.seed))
            }
            Subcommands::Incident(IncidentSubcommands::Scale(scale)) => {
                let ScaleArguments {
                    commands,
                    before,
                    accounts,
                    markets,
                    strategy,
                    no_compare,
                    seed,
                    data,
                    html,
                    json,
                } = scale;
                check_markets(markets, &Scenario::coinzest(seed));
                let compare = !no_compare;
                (Task::Scale(Scale { commands, before, accounts, markets, strategy, compare, seed, data, html }), json)
            }
        }
    }
}

impl IncidentArguments {
    fn task(&self, mut scenario: Scenario) -> (Task, Option<PathBuf>) {
        scenario.rate = self.rate;
        scenario.world.accounts = self.accounts.unwrap_or(scenario.world.accounts);
        scenario.world.markets = self.markets.unwrap_or(scenario.world.markets);
        check_markets(scenario.world.markets, &scenario);
        scenario.hasten(self.haste);
        let incident = Incident {
            scenario,
            strategy: self.strategy,
            html: self.html.clone(),
            data: self.run.data.clone(),
            config: self.run.config(SNAPSHOT_EVERY_INCIDENT),
        };
        (Task::Incident(Box::new(incident)), self.run.json.clone())
    }
}

fn check_markets(markets: u16, scenario: &Scenario) {
    let most = scenario.world.place.markets_max();
    if markets > most {
        let message = format!("--markets {markets} is too many for {}: it has at most {most}", scenario.name);
        Arguments::command().error(ErrorKind::ValueValidation, message).exit();
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
