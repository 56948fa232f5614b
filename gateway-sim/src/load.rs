//! Open-loop load: commands are due by a schedule that does not care how the exchange is doing, and their latency
//! counts from when they were due. So a stall is charged to every command it delayed, also to those that could
//! not even be sent.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Result, bail};
use engine::{
    command::Command,
    pipeline::{Clock, Config, Gateway, SubmitError},
    types::{Cause, Timestamp},
};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    arrivals::{Arrivals, Timetable},
    flow::{Flow, FlowSpecification},
    machine,
    progress::Progress,
    report::{Percentiles, Report, text::grouped},
    session::{Measured, Session},
};

/// From the end of the setup until the first command is due.
pub(crate) const LEAD: Duration = Duration::from_millis(20);
/// After so many commands of one gateway the others have their turn and the clock is read again.
const BURST: usize = 64;
/// A sleep takes about this much longer than asked.
const SLEEP_EXCESS_NS: u64 = 60_000;
/// How long the generator sleeps when a core must be left to the exchange; yielding instead takes the core from it
/// (at 200,000 per second on two busy cores the median end to end was 0.2 ms with sleeps, 4 to 12 ms with yields).
pub(crate) const NAP: Duration = Duration::from_micros(20);
const LATE_MAX_NS: u64 = 600_000_000_000;

/// What is run.
#[derive(Clone, Debug)]
pub struct Load {
    /// When commands are due.
    pub timetable: Timetable,
    /// Which commands.
    pub flow: FlowSpecification,
    /// Where the journal goes; `None` for a temporary directory.
    pub data: Option<PathBuf>,
    /// How the exchange runs.
    pub config: Config,
}

/// What only a load has to report.
#[derive(Clone, Debug, Serialize)]
pub struct LoadFigures {
    /// Commands per second that were due.
    pub rate: u64,
    /// For how many seconds.
    pub seconds: u64,
    /// Gateways that shared the rate.
    pub gateways: u32,
    /// Threads that served the gateways.
    pub generator_threads: usize,
    /// The arrival process.
    pub arrivals: String,
    /// The seed.
    pub seed: u64,
    /// User accounts.
    pub accounts: u32,
    /// Markets.
    pub markets: u16,
    /// How often a gateway was told `Busy`.
    pub busy: u64,
    /// How many commands were told so at least once. All were accepted in the end.
    pub busy_commands: u64,
    /// Actual minus intended submission.
    pub generator_late_ns: Percentiles,
}

/// Runs the load and reports.
///
/// # Errors
/// When the exchange cannot start, stops, refuses the setup, or cannot be opened again.
pub fn run(load: &Load) -> Result<Report> {
    let (setup, flows) = load.flow.start();
    let session = Session::start(load.data.as_deref(), load.config.clone())?;
    let first = session.pipeline.gateway(Cause::session(0))?;
    set_up(&session, first, &setup)?;
    let before = session.pipeline.counters();
    if before.refusals > 0 {
        bail!("the exchange refused {} of the setup's commands; this is a defect", before.refusals);
    }
    // What the setup met does not count.
    session.pipeline.latency()?;

    let threads = generator_threads(load);
    let clock = session.pipeline.clock();
    let start = Timestamp(clock.now().0 + LEAD.as_nanos() as u64);
    let mut groups: Vec<Generator<'_, Flow>> =
        (0..threads).map(|_| Generator::new(clock.clone(), start, load.config.topology.workers() + threads)).collect();
    for (number, flow) in flows.into_iter().enumerate() {
        let gateway = session.pipeline.gateway(Cause::session(number as u32 + 1))?;
        groups[number % threads].add(gateway, flow, load.timetable.arrivals(number as u32));
    }
    let mut progress = Progress::start("commands", load.timetable.expected());
    let sent = thread::scope(|scope| -> Result<Sent> {
        let running: Vec<_> = groups.into_iter().map(|generator| scope.spawn(move || generator.run())).collect();
        watch(&session, &running, before.commands, &mut progress);
        let mut all = Sent::default();
        for generator in running {
            match generator.join() {
                Ok(Ok(sent)) => all.add(&sent),
                Ok(Err(_closed)) => return Err(session.failure()),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        await_published(&session, before.commands + all.commands)?;
        Ok(all)
    });
    progress.finish();
    let sent = sent?;
    let seconds = clock.now().0.saturating_sub(start.0) as f64 / 1e9;
    let after = session.pipeline.counters();
    let published = after.commands - before.commands;
    if published != sent.commands {
        bail!("{} commands were accepted and {published} came out; this is a defect", sent.commands);
    }
    let latency = session.pipeline.latency()?;
    let (mut report, _) = session.finish(title(load), &Measured { before, after, seconds, latency })?;
    report.load = Some(LoadFigures {
        rate: load.timetable.rate,
        seconds: load.timetable.seconds,
        gateways: load.timetable.gateways,
        generator_threads: threads,
        arrivals: load.timetable.process.to_string(),
        seed: load.flow.seed,
        accounts: load.flow.accounts,
        markets: load.flow.markets,
        busy: sent.busy,
        busy_commands: sent.busy_commands,
        generator_late_ns: (&sent.late).into(),
    });
    Ok(report)
}

fn title(load: &Load) -> String {
    let Timetable { process, rate, seconds, gateways, seed } = load.timetable;
    format!(
        "load: {} commands per second for {seconds} s ({process}), durability {}, {gateways} gateways, {} accounts, {} \
         markets, seed {seed}",
        grouped(rate),
        load.config.durability,
        grouped(load.flow.accounts.into()),
        load.flow.markets,
    )
}

/// One thread serves all gateways unless there are cores to spare.
fn generator_threads(load: &Load) -> usize {
    let spare = machine::cores().saturating_sub(load.config.topology.workers());
    spare.clamp(1, load.timetable.gateways as usize)
}

pub(crate) fn set_up(session: &Session, mut gateway: Gateway, setup: &[Command]) -> Result<()> {
    for &command in setup {
        loop {
            match gateway.submit(command) {
                Ok(_) => break,
                Err(SubmitError::Busy) => thread::sleep(NAP),
                Err(_) => return Err(session.failure()),
            }
        }
    }
    await_published(session, setup.len() as u64)
}

pub(crate) fn await_published(session: &Session, commands: u64) -> Result<()> {
    while session.pipeline.counters().commands < commands {
        if session.pipeline.failure().is_some() {
            return Err(session.failure());
        }
        thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// Shows the progress until the generators are done.
fn watch<T>(session: &Session, running: &[ScopedJoinHandle<'_, T>], setup: u64, progress: &mut Progress) {
    while running.iter().any(|generator| !generator.is_finished()) {
        let counters = session.pipeline.counters();
        progress.update(counters.commands.saturating_sub(setup), || {
            format!(", {} trades, {} refusals", grouped(counters.fills), grouped(counters.refusals))
        });
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where a gateway's commands come from.
pub(crate) trait Source {
    /// The next command; there always is one.
    fn next_command(&mut self) -> Command;
}

impl Source for Flow {
    #[inline]
    fn next_command(&mut self) -> Command {
        Self::next_command(self)
    }
}

/// What a generator did.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Commands that were taken.
    pub commands: u64,
    /// How often a gateway was told `Busy`.
    pub busy: u64,
    /// How many commands were told so at least once.
    pub busy_commands: u64,
    /// Commands that were told `Halted`, and dropped.
    pub halted: u64,
    /// Actual minus intended submission.
    pub late: Histogram<u64>,
}

impl Default for Sent {
    fn default() -> Self {
        let late = Histogram::new_with_bounds(1, LATE_MAX_NS, 3).expect("the bounds are in order");
        Self { commands: 0, busy: 0, busy_commands: 0, halted: 0, late }
    }
}

impl Sent {
    pub(crate) fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.busy += other.busy;
        self.busy_commands += other.busy_commands;
        self.halted += other.halted;
        self.late.add(&other.late).expect("the bounds are the same");
    }
}

/// One gateway with its flow and its schedule.
struct Lane<S> {
    gateway: Gateway,
    source: S,
    arrivals: Arrivals,
    /// When the next command is due, from the start.
    due: Option<u64>,
    /// The next command, if it was told `Busy`.
    busy: Option<Command>,
}

impl<S: Source> Lane<S> {
    /// Sends what is due; returns whether the gateway is busy. What an exchange that may be halted does not take is dropped.
    fn send(&mut self, start: Timestamp, now: u64, may_halt: bool, sent: &mut Sent) -> Result<bool, SubmitError> {
        for _ in 0..BURST {
            let Some(due) = self.due.filter(|&due| due <= now) else { break };
            let (command, again) = match self.busy.take() {
                Some(command) => (command, true),
                None => (self.source.next_command(), false),
            };
            match self.gateway.submit_at(command, Timestamp(start.0 + due)) {
                Ok(_) => {
                    sent.commands += 1;
                    sent.late.saturating_record(now - due);
                    self.due = self.arrivals.next();
                }
                Err(SubmitError::Busy) => {
                    sent.busy += 1;
                    sent.busy_commands += u64::from(!again);
                    self.busy = Some(command);
                    return Ok(true);
                }
                Err(SubmitError::Halted) if may_halt => {
                    sent.halted += 1;
                    self.due = self.arrivals.next();
                }
                Err(closed) => return Err(closed),
            }
        }
        Ok(false)
    }
}

/// One thread that serves some of the gateways.
pub(crate) struct Generator<'a, S> {
    clock: Clock,
    start: Timestamp,
    lanes: Vec<Lane<S>>,
    /// Whether there is a core for each busy thread: then waiting may use this one's up.
    may_spin: bool,
    /// Ends the load before its schedule does; with it the exchange may also be halted in between.
    stop: Option<&'a AtomicBool>,
}

impl<'a, S: Source> Generator<'a, S> {
    /// A generator whose schedules count from `start`, in a process with so many busy threads, this one included.
    pub(crate) fn new(clock: Clock, start: Timestamp, busy_threads: usize) -> Self {
        Self { clock, start, lanes: Vec::new(), may_spin: busy_threads < machine::cores(), stop: None }
    }

    /// Goes on until `stop` is set, and takes no offence at a halt.
    pub(crate) fn until(mut self, stop: &'a AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Serves another gateway.
    pub(crate) fn add(&mut self, gateway: Gateway, source: S, mut arrivals: Arrivals) {
        let due = arrivals.next();
        self.lanes.push(Lane { gateway, source, arrivals, due, busy: None });
    }

    /// Sends until the schedules end.
    pub(crate) fn run(mut self) -> Result<Sent, SubmitError> {
        let mut sent = Sent::default();
        loop {
            if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Ok(sent);
            }
            let mut busy = false;
            if let Some(now) = self.clock.now().0.checked_sub(self.start.0) {
                for lane in &mut self.lanes {
                    busy |= lane.send(self.start, now, self.stop.is_some(), &mut sent)?;
                }
            }
            let Some(next) = self.lanes.iter().filter_map(|lane| lane.due).min() else { return Ok(sent) };
            if busy {
                thread::sleep(NAP);
            } else {
                self.wait((self.start.0 + next).saturating_sub(self.clock.now().0));
            }
        }
    }

    /// Lets about `ns` nanoseconds pass, rather less than more.
    fn wait(&self, ns: u64) {
        match ns {
            0 => {}
            _ if ns > SLEEP_EXCESS_NS * 2 => thread::sleep(Duration::from_nanos(ns - SLEEP_EXCESS_NS)),
            _ if self.may_spin => std::hint::spin_loop(),
            _ => thread::sleep(NAP),
        }
    }
}
