//! Incidents, played from the first trade to the reopening on a running exchange under load.
//!
//! The crowd trades all the time, before, during and after; what is scripted is what people do: the wrong payout, the sale, the
//! freeze, the choice of a strategy, two signatures, the auction. Everything else is the exchange and its recovery, measured.

pub mod actors;
pub mod board;
pub mod crowd;
pub mod html;
pub mod live;
pub mod prevention;
pub mod recovery;
pub mod report;
pub mod scale;
pub mod scenario;
pub mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use engine::{
    command::Command,
    event::Event,
    exchange::Exchange,
    pipeline::{Config, Latency},
    types::{Amount, AssetId, Cause, Controls, ExternalId, Timestamp, TradingStatus},
};

use self::{
    actors::{Cast, Payout, fall, pay, sell, withdraw_late},
    board::Mood,
    live::{Crowded, Live, Party, accepted},
    recovery::{Operators, Recovered, Recovery},
    report::{Fall, IncidentReport, LoadRow, Moment, PayoutFigures, merge},
    scenario::Scenario,
    world::{COIN, MARKETS_MAX, Place, World},
};
use crate::{
    machine::{COMMIT, Machine},
    report::text::grouped,
    session::Session,
};

const _: () = assert!(MARKETS_MAX == 71, "Coinzest listed about 50 coins on 71 markets");

/// Causes of those who are no part of the crowd.
const OPERATIONS: u32 = 80;
const BANK: u32 = 81;

/// A way to put an error right, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StrategyName {
    /// Undoes everything behind the cut that is no fact.
    Rewind,
    /// Lets all happen again but the error; orders match again.
    Excise,
    /// Lets stand what can be paid for without the error.
    Bust,
    /// Lets all trades stand, and takes back what is left.
    Compensate,
}

impl StrategyName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rewind, Self::Excise, Self::Bust, Self::Compensate];
}

impl fmt::Display for StrategyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Rewind => "rewind",
            Self::Excise => "excise",
            Self::Bust => "bust",
            Self::Compensate => "compensate",
        })
    }
}

/// What is to be played.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Which incident.
    pub scenario: Scenario,
    /// The strategy to apply; `None` lets the scenario's rule choose.
    pub strategy: Option<StrategyName>,
    /// Where the HTML report goes.
    pub html: PathBuf,
    /// Where the journal goes; `None` for a temporary directory.
    pub data: Option<PathBuf>,
    /// How the exchange runs.
    pub config: Config,
}

/// Tells, on standard error and for the report, what happens when.
#[derive(Debug, Default)]
pub struct Narrator {
    /// When it all began.
    begun: Option<Instant>,
    /// When the error was made.
    error: Option<Instant>,
    moments: Vec<Moment>,
}

impl Narrator {
    fn start() -> Self {
        Self { begun: Some(Instant::now()), ..Self::default() }
    }

    /// From here on seconds count.
    fn error_made(&mut self) {
        self.error = Some(Instant::now());
    }

    /// Something happened.
    pub fn tell(&mut self, what: impl Into<String>) {
        let what = what.into();
        let begun = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        eprintln!("{begun:>6.1} s  {what}");
        if let Some(error) = self.error {
            self.moments.push(Moment { seconds: error.elapsed().as_secs_f64(), what });
        }
    }
}

/// Plays an incident and puts it right.
///
/// # Errors
/// When the exchange stops, or a step of the recovery is refused.
pub fn run(incident: &Incident) -> Result<IncidentReport> {
    let scenario = &incident.scenario;
    let world = Arc::new(World::new(scenario.world));
    let cast = Cast::new(scenario, &world)?;
    let operators = Operators::new()?;
    let session = Session::start(incident.data.as_deref(), incident.config.clone())?;
    let mut narrator = Narrator::start();
    narrator.tell(format!(
        "{}: setting up {} accounts, {} assets and {} markets",
        scenario.then.when,
        grouped(scenario.world.accounts.into()),
        world.assets.len(),
        world.markets.len()
    ));
    let mut report = empty_report(scenario, &world, &session, &incident.config);
    let before = before(&operators);
    let ((latency, recovered), crowded) = Live::run(&session, &world, scenario.rate, &before, |live| {
        play(live, incident, &cast, &operators, &mut narrator, &mut report)
    })?;
    finish(session, narrator, &crowded, &latency, &mut report)?;
    recovered.write_report(&incident.html, &world, scenario, &mut report)?;
    Ok(report)
}

/// A report of what is known beforehand.
fn empty_report(scenario: &Scenario, world: &World, session: &Session, config: &Config) -> IncidentReport {
    IncidentReport {
        title: title(scenario),
        machine: Machine::current(),
        commit: COMMIT.to_owned(),
        topology: session.pipeline.topology().to_string(),
        durability: config.durability.to_string(),
        seed: scenario.world.seed,
        accounts: scenario.world.accounts,
        assets: world.assets.len(),
        markets: world.markets.len(),
        conserved: true,
        state_hashes_equal: true,
        load: LoadRow { rate: scenario.rate, ..LoadRow::default() },
        ..IncidentReport::default()
    }
}

fn title(scenario: &Scenario) -> String {
    format!(
        "incident {}: {} accounts, {} markets, {} commands per second all the time, seed {}\n{}: {}, open again {} after \
         the error",
        scenario.name,
        grouped(scenario.world.accounts.into()),
        scenario.world.markets,
        grouped(scenario.rate),
        scenario.world.seed,
        scenario.then.when,
        scenario.then.how,
        scenario.then.until_open
    )
}

/// What operators set before anybody trades: none of the preventive controls, as it was.
fn before(operators: &Operators) -> Vec<Command> {
    let mut commands = vec![Command::SetControls { controls: Controls::NONE }];
    commands.extend(operators.registrations());
    commands
}

/// From the first trade to the last.
fn play(
    live: &Live<'_>,
    incident: &Incident,
    cast: &Cast,
    operators: &Operators,
    narrator: &mut Narrator,
    report: &mut IncidentReport,
) -> Result<(Latency, Recovered)> {
    let scenario = &incident.scenario;
    let mut latency = None;
    narrator.tell(format!("open: {} commands per second", grouped(scenario.rate)));
    live.wait(scenario.calm)?;
    interval(live, "before the error", &mut latency, report)?;

    let payout = the_error(live, scenario, cast, narrator, report)?;
    let mut recovery = Recovery::begin(live, &payout, cast)?;
    repair(&mut recovery, operators, incident.strategy, true, narrator, report)?;
    interval(live, "during the incident", &mut latency, report)?;
    let recovered = reopen(live, scenario, recovery, narrator, report)?;

    aftermath(live, scenario, cast, &recovered, narrator, report)?;
    if scenario.world.place == Place::Bithumb {
        prevention::prove(live, cast, narrator, report)?;
    }
    live.wait(scenario.after)?;
    interval(live, "after the reopening", &mut latency, report)?;
    Ok((latency.expect("there were intervals"), recovered))
}

/// The first two, and how many more.
fn listed(all: &[String]) -> String {
    match all {
        [first, second, rest @ ..] if rest.len() > 1 => format!("{first}, {second} and {} others", rest.len()),
        _ => all.join(", "),
    }
}

/// The first two falls, and what the others are between.
fn falls_text(falls: &[Fall]) -> String {
    let (first, rest) = falls.split_at(falls.len().min(2));
    let mut text = first.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let percents = || rest.iter().map(Fall::percent);
    if let (Some(least), Some(most)) = (percents().min(), percents().max()) {
        text = format!("{text}; {} others by {least} to {most} %", rest.len());
    }
    text
}

/// From the freeze to the verified new epoch.
fn repair(
    recovery: &mut Recovery<'_>,
    operators: &Operators,
    strategy: Option<StrategyName>,
    compare: bool,
    narrator: &mut Narrator,
    report: &mut IncidentReport,
) -> Result<()> {
    recovery.freeze(narrator, report)?;
    // Money that is on its way arrives whatever stands still here.
    recovery.facts_arrive()?;
    recovery.trace(narrator, report)?;
    let strategy = match strategy {
        Some(strategy) if !compare => strategy,
        strategy => recovery.compare(strategy, narrator, report)?,
    };
    recovery.plan(strategy, narrator, report)?;
    recovery.approve(operators, narrator, report)?;
    recovery.apply(narrator, report)?;
    recovery.verify(narrator, report)
}

/// What was credited in error, in figures.
fn payout_figures(world: &World, cast: &Cast, payout: &Payout) -> PayoutFigures {
    let coins = |asset: AssetId, amount: Amount| {
        let unit = 10_u64.pow(world.assets[usize::from(asset.0)].scale.into());
        (world.symbol(asset), amount.0 as f64 / unit as f64)
    };
    let (meant, meant_amount) = coins(cast.right.asset, cast.right.total());
    PayoutFigures {
        recipients: cast.recipients.len(),
        credited: payout.credited.iter().map(|&(asset, amount)| coins(asset, amount)).collect(),
        worth_krw: payout.credited.iter().map(|&(asset, amount)| world.krw_of(asset, amount)).sum(),
        meant: format!("{} {meant}", grouped(meant_amount as u64)),
        cut: payout.before.0,
        ..PayoutFigures::default()
    }
}

/// The payout, the sale and the detection.
fn the_error(
    live: &Live<'_>,
    scenario: &Scenario,
    cast: &Cast,
    narrator: &mut Narrator,
    report: &mut IncidentReport,
) -> Result<Payout> {
    narrator.error_made();
    let payout = pay(live, &cast.wrong)?;
    report.payout = payout_figures(live.world, cast, &payout);
    let symbols: Vec<String> = payout.credited.iter().map(|&(asset, _)| live.world.symbol(asset)).collect();
    let paid: u64 = payout.credited.iter().map(|(_, amount)| amount.0 / COIN).sum();
    narrator.tell(format!(
        "error: {} {} credited to {} accounts instead of {}: worth {} KRW, paid from nothing, for no control is on",
        grouped(paid),
        listed(&symbols),
        cast.recipients.len(),
        report.payout.meant,
        grouped(report.payout.worth_krw)
    ));
    let mut sale = sell(live, scenario, cast)?;
    narrator.tell(format!(
        "{} of them have sold {} for {} KRW",
        cast.sellers.len(),
        listed(
            &sale.sold.iter().map(|(symbol, coins)| format!("{} {symbol}", grouped(*coins as u64))).collect::<Vec<_>>()
        ),
        grouped(sale.proceeds_krw)
    ));
    report.falls = cast
        .wrong
        .iter()
        .filter_map(|manifest| {
            let (before, lowest) = fall(live, manifest.asset)?;
            let market = live.world.market_name(live.world.krw_market(manifest.asset)?.spec.market);
            Some(Fall { market, before, lowest })
        })
        .collect();
    narrator.tell(format!("prices: {}", falls_text(&report.falls)));
    live.wait(scenario.unnoticed)?;
    withdraw_late(live, scenario, cast, &mut sale)?;
    narrator.tell(format!(
        "{} of them have asked for {} KRW; somebody notices (then: {})",
        sale.withdrawers,
        grouped(sale.asked_krw),
        scenario.then.until_halt
    ));
    report.sale = sale;
    Ok(payout)
}

/// Collects orders for an auction, uncrosses it, and goes on.
fn reopen(
    live: &Live<'_>,
    scenario: &Scenario,
    mut recovery: Recovery<'_>,
    narrator: &mut Narrator,
    report: &mut IncidentReport,
) -> Result<Recovered> {
    live.board.set_mood(Mood::Auction);
    let mut operations = live.session.pipeline.operator(Cause::operator(OPERATIONS))?;
    let begun = Instant::now();
    recovery.await_acknowledgement(report)?;
    let open_to = |status| Command::SetGlobalStatus { status };
    accepted(operations.execute(open_to(TradingStatus::Auction))?, "the auction")?;
    let mut machine = begun.elapsed();
    narrator.tell("auction: orders are collected, nothing trades");
    let collecting = Instant::now();
    live.wait(scenario.auction)?;
    report.auction.seconds = collecting.elapsed().as_secs_f64();
    let indicative = recovery.indicative()?;
    let begun = Instant::now();
    let events = accepted(operations.execute(open_to(TradingStatus::Open))?, "the opening")?;
    machine += begun.elapsed();
    recovery.reopened(events.first().map_or(Timestamp(0), |event| event.time));
    live.board.set_mood(Mood::Calm);
    report.phases_ms.reopen = milliseconds(machine);
    report.phases_ms = report.phases_ms.summed();
    let crossed = events.iter().filter_map(|event| match event.event {
        Event::AuctionUncrossed { market, price, .. } => Some((market, price.0)),
        _ => None,
    });
    let crossed: Vec<_> = crossed.collect();
    report.auction.crossed = crossed.iter().map(|(market, _)| market).collect::<BTreeSet<_>>().len();
    report.auction.prices = indicative
        .into_iter()
        .map(|(market, indicative)| report::Opening {
            market: live.world.market_name(market),
            indicative: indicative.map(|ticks| live.world.price(market, ticks)),
            opened: crossed
                .iter()
                .find(|(number, _)| *number == market)
                .map(|&(_, ticks)| live.world.price(market, ticks)),
        })
        .collect();
    let prices: Vec<String> = report
        .auction
        .prices
        .iter()
        .take(2)
        .map(|opening| {
            let show = |price: Option<f64>| price.map_or_else(|| "none".to_owned(), |price| grouped(price as u64));
            format!("{} at {} (indicative {})", opening.market, show(opening.opened), show(opening.indicative))
        })
        .collect();
    narrator.tell(format!("open again: {} markets uncrossed, {}", report.auction.crossed, prices.join(", ")));
    narrator.tell(format!(
        "halt to reopened: {:.0} ms of machine time; then: {} from the error",
        report.phases_ms.total, scenario.then.until_open
    ));
    Ok(recovery.finish())
}

/// What is paid back, and what was meant to be paid, now with all controls on.
fn aftermath(
    live: &Live<'_>,
    scenario: &Scenario,
    cast: &Cast,
    recovered: &Recovered,
    narrator: &mut Narrator,
    report: &mut IncidentReport,
) -> Result<()> {
    let mut party = Party::new(&live.session.pipeline, Cause::operator(BANK))?;
    let mut paid = 0;
    for (number, &(account, asset, owed)) in (1_u128..).zip(&recovered.debts) {
        // About half of the money came back the same day.
        let amount = Amount(owed.0 / 2);
        if amount.0 == 0 {
            continue;
        }
        let external_id = ExternalId::from_u128(1 << 111 | number);
        let deposit = Command::Deposit { account, asset, amount, external_id };
        accepted(party.execute(&[deposit, Command::SetOff { account, asset }])?, "a debtor's payment")?;
        paid += live.world.krw_of(asset, amount);
    }
    if !recovered.debts.is_empty() {
        let text = format!("{} debtors pay {} KRW back: about half", recovered.debts.len(), grouped(paid));
        narrator.tell(text.clone());
        report.aftermath.push(text);
    }
    if scenario.world.place == Place::Coinzest {
        let text = prevention::pay_what_was_meant(live, cast)?;
        narrator.tell(text.clone());
        report.aftermath.push(text);
    }
    Ok(())
}

/// Takes the latencies of the time that has passed.
fn interval(live: &Live<'_>, name: &str, all: &mut Option<Latency>, report: &mut IncidentReport) -> Result<()> {
    let latency = live.latency()?;
    report.load.end_to_end.push((name.to_owned(), (&latency.end_to_end).into()));
    merge(all, latency);
    Ok(())
}

/// Shuts down, opens again from the journal, replays all of it, and compares.
fn finish(
    session: Session,
    mut narrator: Narrator,
    crowded: &Crowded,
    latency: &Latency,
    report: &mut IncidentReport,
) -> Result<()> {
    narrator.tell("the crowd goes home; shutting down, opening again from the journal, replaying all of it");
    let closed = session.close()?;
    report.state_hash = closed.state_hash.to_string();
    report.commands = closed.replay_commands;
    let (state, reopened) = (&closed.state_hash, &closed.recovered.state_hash);
    report.compare("the exchange shut down, and opened again from its journal", state, reopened);
    report.compare("the same, every command replayed from the first", state, &closed.replayed);
    if let Some(recomputed) = &closed.recomputed {
        report.compare("the same, the new epoch computed again from its parent and its plan", state, recomputed);
    }
    report.conserved &= sums_to_zero(&closed.exchange);
    let sent = &crowded.sent;
    report.load.commands = sent.commands;
    report.load.halted = sent.halted;
    report.load.busy_commands = sent.busy_commands;
    report.stages = latency.into();
    report.end_to_end_ns = (&latency.end_to_end).into();
    report.timeline = narrator.moments;
    Ok(())
}

/// Whether every asset sums to zero over all accounts, the system's included.
#[must_use]
pub fn sums_to_zero(exchange: &Exchange) -> bool {
    let mut sums: BTreeMap<AssetId, i128> = exchange
        .assets()
        .map(|asset| (asset.asset, exchange.system_balances(asset.asset).map_or(0, |balances| balances.iter().sum())))
        .collect();
    for account in exchange.accounts() {
        for (asset, balance) in &account.balances {
            *sums.entry(*asset).or_default() += i128::from(balance.available.0) + i128::from(balance.held.0);
        }
    }
    sums.values().all(|&sum| sum == 0)
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
