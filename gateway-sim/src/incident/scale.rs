//! A recovery over a long history, measured: a directory with millions of commands after the bad airdrop is made first, as fast
//! as one thread can; then the exchange in it is opened, halted, repaired and reopened as any other.

use std::{
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use engine::{
    command::Command,
    event::{Event, NoEvents, SequencedEvent},
    exchange::Exchange,
    journal::{Durability, FileStorage},
    pipeline::{Config, Inline},
    recovery::{History as _, Plan, Timeline, evaluate, save_snapshot},
    types::{Amount, Cause, ExternalId, Sequence, WithdrawalId},
};
use serde::Serialize;
use tempfile::TempDir;

use super::{
    Narrator, StrategyName,
    actors::{Cast, Manifest, Payout, Sellers, payout_of, wanted},
    before,
    board::{Board, Mood},
    crowd::Crowd,
    empty_report, finish,
    live::Live,
    payout_figures,
    recovery::{Operators, Recovery},
    reopen, repair,
    report::{IncidentReport, phases},
    scenario::Scenario,
    world::World,
};
use crate::{
    load::Source as _,
    machine::{file_system_of, memory_peak_kib},
    progress::Progress,
    report::text::{grouped, line},
    session::Session,
};

/// How many commands lie between the last snapshot and the airdrop, if nothing else is asked for.
pub const BEFORE_DEFAULT: u64 = 900_000;

/// The crowd's rate while the exchange is repaired: it is halted most of the time.
const RATE: u64 = 2_000;
/// After how many commands the history is written.
const COMMIT_EVERY: u64 = 4_096;
/// The sale takes so many commands of the crowd, or a third of the history if that is less.
const SALE_COMMANDS: u64 = 200_000;
/// In so many rounds.
const SALE_ROUNDS: u64 = 150;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// How many commands follow the bad airdrop.
    pub commands: u64,
    /// How many commands lie between the last snapshot and the airdrop.
    pub before: u64,
    /// How many accounts there are.
    pub accounts: u32,
    /// How many markets.
    pub markets: u16,
    /// The strategy to apply.
    pub strategy: StrategyName,
    /// Whether all strategies are compared as well.
    pub compare: bool,
    /// Determines the history.
    pub seed: u64,
    /// Where the journal goes; `None` for a temporary directory.
    pub data: Option<PathBuf>,
    /// Where the HTML report goes, if anywhere.
    pub html: Option<PathBuf>,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScaleReport {
    /// Commands after the bad airdrop.
    pub commands_after: u64,
    /// Commands between the snapshot and the airdrop.
    pub commands_before: u64,
    /// How long making the history took.
    pub build_seconds: f64,
    /// On what file system.
    pub file_system: String,
    /// Commands per second of the same history on one thread, read ahead and applied in line.
    pub inline_per_second: f64,
    /// Commands per second of the branch of the chosen strategy, from the cut to the halt.
    pub branch_per_second: f64,
    /// The second by the first.
    pub branch_to_inline: f64,
    /// The largest resident memory of the process, in KiB, where the system tells it.
    pub memory_peak_kib: Option<u64>,
    /// What an incident reports.
    #[serde(flatten)]
    pub incident: IncidentReport,
}

impl ScaleReport {
    /// Whether everything came out as it must.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.incident.is_right()
    }
}

/// Makes the history, and measures.
///
/// # Errors
/// When the directory cannot be used, the exchange stops, or a step of the recovery is refused.
pub fn run(scale: &Scale) -> Result<ScaleReport> {
    let mut scenario = Scenario::coinzest(scale.seed);
    scenario.world.accounts = scale.accounts;
    scenario.world.markets = scale.markets;
    scenario.rate = RATE;
    scenario.hasten(4);
    let world = Arc::new(World::new(scenario.world));
    let cast = Cast::new(&scenario, &world)?;
    let operators = Operators::new()?;
    let directory = Directory::new(scale.data.as_deref())?;
    let mut narrator = Narrator::start();
    narrator.tell(format!(
        "making a history of {} commands after the bad airdrop, and {} before it",
        grouped(scale.commands),
        grouped(scale.before)
    ));
    let begun = Instant::now();
    let (payout, board, crowds) = build(scale, &scenario, &world, &cast, &operators, &directory.path)?;
    let mut report = ScaleReport {
        commands_after: scale.commands,
        commands_before: scale.before,
        build_seconds: begun.elapsed().as_secs_f64(),
        file_system: file_system_of(&directory.path),
        ..ScaleReport::default()
    };
    narrator.error_made();
    narrator.tell(format!("made in {:.1} s; opening the exchange", report.build_seconds));
    let config = Config { snapshot_every: None, ..Config::default() };
    let session = Session::open(&directory.path, config.clone())?;
    report.incident = empty_report(&scenario, &world, &session, &config);
    report.incident.title = format!(
        "incident scale: {} commands after the bad airdrop, a snapshot {} before it, {} accounts, {} markets, seed {}",
        grouped(scale.commands),
        grouped(scale.before),
        grouped(scale.accounts.into()),
        scale.markets,
        scale.seed
    );
    report.incident.payout = payout_figures(&world, &cast, &payout);
    let ((latency, recovered), crowded) = Live::go_on(&session, &world, &board, RATE, crowds, |live| {
        let incident = &mut report.incident;
        let mut recovery = Recovery::begin(live, &payout, &cast)?;
        repair(&mut recovery, &operators, Some(scale.strategy), scale.compare, &mut narrator, incident)?;
        let recovered = reopen(live, &scenario, recovery, &mut narrator, incident)?;
        Ok((live.latency()?, recovered))
    })?;
    let timeline = Timeline::open(&directory.path)?;
    if let (Some(plan), Some(record)) = (&recovered.plan, recovered.record) {
        // As it was before the new epoch began.
        let timeline = timeline.before(record);
        narrator.tell("the same branch, and the same history in line, in turns");
        let rounds = (0..ROUNDS).map(|_| Ok([on_branch(&timeline, plan)?, in_line(&timeline, plan)?]));
        let rounds = rounds.collect::<Result<Vec<_>>>()?;
        let median = |of: fn(&[f64; 2]) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        report.branch_per_second = median(|round| round[0]);
        report.inline_per_second = median(|round| round[1]);
        report.branch_to_inline = median(|round| round[0] / round[1]);
    }
    report.memory_peak_kib = memory_peak_kib();
    finish(session, narrator, &crowded, &latency, &mut report.incident)?;
    if let Some(html) = &scale.html {
        recovered.write_report(html, &world, &scenario, &mut report.incident)?;
    }
    Ok(report)
}

/// The directory of the journal, removed in the end if nobody asked for it.
struct Directory {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Directory {
    fn new(data: Option<&Path>) -> Result<Self> {
        if let Some(path) = data {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
            if fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?.next().is_some() {
                bail!(
                    "{} is not empty, and a history begins with nothing: give another directory with --data",
                    path.display()
                );
            }
            return Ok(Self { path: path.to_owned(), _temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix("gateway-sim-").tempdir();
        let temporary = temporary.context("cannot make a temporary directory; give one with --data")?;
        Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) })
    }
}

/// Writes a history, command by command, without waiting for the disk.
struct Historian<'a> {
    inline: Inline,
    board: &'a Board,
    uncommitted: u64,
    /// What was asked for in withdrawals and not released yet.
    asked: Vec<Command>,
    /// What was released and not confirmed yet.
    released: Vec<WithdrawalId>,
}

impl<'a> Historian<'a> {
    fn open(directory: &Path, board: &'a Board) -> Result<Self> {
        let inline = Inline::open(directory, Durability::None)?;
        Ok(Self { inline, board, uncommitted: 0, asked: Vec::new(), released: Vec::new() })
    }

    fn submit(&mut self, cause: Cause, command: Command) -> Result<()> {
        self.inline.submit(cause, command)?;
        self.uncommitted += 1;
        if self.uncommitted >= COMMIT_EVERY {
            self.commit(|_| ())?;
        }
        Ok(())
    }

    fn commit(&mut self, mut each: impl FnMut(&SequencedEvent)) -> Result<()> {
        let Self { inline, board, asked, released, .. } = self;
        inline.commit(&mut |event| {
            board.notice(event);
            match event.event {
                Event::WithdrawalRequested { withdrawal, account, asset, amount } => {
                    asked.push(Command::ReleaseWithdrawal { withdrawal, account, asset, amount });
                }
                Event::WithdrawalReleased { withdrawal, .. } => released.push(withdrawal),
                _ => {}
            }
            each(event);
        })?;
        self.uncommitted = 0;
        Ok(())
    }

    /// Submits these, and gives their events.
    fn execute(&mut self, cause: Cause, commands: &[Command]) -> Result<Vec<SequencedEvent>> {
        self.commit(|_| ())?;
        for command in commands {
            self.inline.submit(cause, *command)?;
        }
        let mut events = Vec::new();
        self.commit(|event| events.push(*event))?;
        Ok(events)
    }

    /// Releases what was asked for, and confirms what was released.
    fn pay_out(&mut self) -> Result<()> {
        let cashier = Cause::operator(90);
        for withdrawal in std::mem::take(&mut self.released) {
            let external_id = ExternalId::from_u128(u128::from(withdrawal.0) | 1 << 120);
            self.submit(cashier, Command::ConfirmWithdrawalSent { withdrawal, external_id })?;
        }
        for release in std::mem::take(&mut self.asked) {
            self.submit(cashier, release)?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<Exchange> {
        self.commit(|_| ())?;
        Ok(self.inline.close()?)
    }
}

/// Makes the directory: setup, snapshot, calm, airdrop, sale, panic.
fn build(
    scale: &Scale,
    scenario: &Scenario,
    world: &Arc<World>,
    cast: &Cast,
    operators: &Operators,
    directory: &Path,
) -> Result<(Payout, Arc<Board>, Vec<Crowd>)> {
    let board = Arc::new(Board::new(world));
    let (orders, mut crowds) = Crowd::start(world, &board);
    let mut historian = Historian::open(directory, &board)?;
    for command in world.setup().into_iter().chain(before(operators)).chain(orders) {
        historian.submit(Cause::session(0), command)?;
    }
    historian.close()?;
    snapshot(directory)?;

    let mut historian = Historian::open(directory, &board)?;
    let mut progress = Progress::start("commands", scale.before + scale.commands);
    let mut next = 0_u64;
    let mut crowd = |historian: &mut Historian<'_>, commands: u64| -> Result<()> {
        for _ in 0..commands {
            let gateway = (next % crowds.len() as u64) as usize;
            next += 1;
            historian.submit(Cause::session(gateway as u32 + 1), crowds[gateway].next_command())?;
            if next.is_multiple_of(COMMIT_EVERY) {
                progress.update(next, String::new);
                historian.pay_out()?;
            }
        }
        Ok(())
    };
    crowd(&mut historian, scale.before)?;

    let mut events = Vec::new();
    for manifest in &cast.wrong {
        events.extend(historian.execute(Cause::batch(1), &manifest.commands())?);
    }
    let executions: Vec<Command> = cast.wrong.iter().map(Manifest::execute).collect();
    events.extend(historian.execute(Cause::batch(1), &executions)?);
    if let Some(reason) = super::live::refusals(&events).next() {
        bail!("the payout was refused: {reason}");
    }
    let payout = payout_of(&events, &cast.wrong);

    board.set_mood(Mood::Panic);
    let mut sellers = Sellers::new(world, scenario, cast);
    if let Some(transfer) = sellers.pass_on(cast) {
        historian.execute(Cause::session(91), &[transfer])?;
    }
    let sale = SALE_COMMANDS.min(scale.commands / 3);
    let mut done = 0;
    for round in 0..SALE_ROUNDS {
        let orders = sellers.orders(&board, round as f64 / SALE_ROUNDS as f64 * 1.25);
        let events = historian.execute(Cause::session(91), &orders)?;
        events.iter().for_each(|event| sellers.notice(&event.event));
        crowd(&mut historian, sale / SALE_ROUNDS)?;
        done += sale / SALE_ROUNDS;
    }
    for &account in cast.sellers.iter().take(scenario.withdrawers as usize) {
        let view = historian.inline.exchange().account(account);
        let amount = wanted(world, scenario, account, &view.map(|view| view.balances).unwrap_or_default());
        if amount != Amount(0) {
            let request = Command::RequestWithdrawal { account, asset: super::world::KRW, amount };
            historian.execute(Cause::session(91), &[request])?;
        }
    }
    crowd(&mut historian, scale.commands - done)?;
    progress.finish();
    historian.close()?;
    Ok((payout, board, crowds))
}

/// Makes a snapshot of all that is in a directory.
fn snapshot(directory: &Path) -> Result<()> {
    let storage = FileStorage::lock(directory)?;
    let mut replay = Timeline::open(directory)?.replay_from(Sequence(u64::MAX))?;
    while replay.skip()?.is_some() {}
    save_snapshot(&storage, replay.exchange(), replay.head(), replay.time(), replay.journal_id())?;
    Ok(())
}

/// How often the speed on the branch and in line are measured, in turns.
const ROUNDS: usize = 3;

/// How many commands a second a plan's strategy gets over, computed once, from the snapshot before its cut to the branch at the
/// halt, which must be the plan's.
fn on_branch(timeline: &Timeline, plan: &Plan) -> Result<f64> {
    let begun = Instant::now();
    let branch = evaluate(timeline, plan.halt, &plan.strategy, &|_| ())?;
    let rate = branch.commands as f64 / begun.elapsed().as_secs_f64();
    ensure!(branch.exchange.state_hash() == plan.state, "the branch measured is not the one of the plan");
    Ok(rate)
}

/// How many commands a second are applied behind the cut by one thread while another reads ahead: what a replay does from the
/// same snapshot. It must end in the plan's parent.
fn in_line(timeline: &Timeline, plan: &Plan) -> Result<f64> {
    let begun = Instant::now();
    let (mut exchange, mut commands) = timeline.behind(plan.strategy.cut())?;
    let mut applied = 0_u64;
    'all: while let Some(batch) = commands()? {
        for command in batch.iter() {
            if command.sequence > plan.halt {
                break 'all;
            }
            exchange.apply(command.sequence, command.time, &command.command, &mut NoEvents);
            applied += 1;
        }
    }
    let rate = applied as f64 / begun.elapsed().as_secs_f64();
    ensure!(exchange.state_hash() == plan.parent_state, "the history measured in line does not end as it did");
    Ok(rate)
}

impl fmt::Display for ScaleReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        phases(&mut text, &self.incident.phases_ms, self.incident.auction.seconds);
        line(&mut text, "history", format_args!("made in {:.1} s, on {}", self.build_seconds, self.file_system));
        let _ = writeln!(
            text,
            "{:<14}{} commands per second on the branch of {}, {} in line: {:.0} %",
            "speed",
            grouped(self.branch_per_second as u64),
            self.incident.chosen.strategy,
            grouped(self.inline_per_second as u64),
            self.branch_to_inline * 100.0
        );
        if let Some(peak) = self.memory_peak_kib {
            line(&mut text, "memory", format_args!("{} MiB at most", grouped(peak / 1_024)));
        }
        write!(formatter, "{}\n{text}", self.incident)
    }
}
