//! The latency ladder: commands are due by a schedule that does not care how the exchange is doing, and their time
//! counts from when they were due until their last event has been released, as the pipeline's own histogram has it.
//!
//! Without durability all stages share one core and the generator has the other. With it, the journal's worker sleeps
//! while the disk writes, so the generator shares its core.

use std::{
    hint::spin_loop,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, bail};
use engine::{
    command::Command,
    journal::{Durability, JournalReader},
    pipeline::{Config, Gateway, Pipeline, SubmitError, Topology, WaitStrategy},
    types::{Cause, Timestamp},
};
use gateway_sim::{
    arrivals::{ArrivalProcess, Timetable},
    report::text::grouped,
};
use hdrhistogram::Histogram;

use crate::{
    arguments::Settings,
    cycle::Cycle,
    drive::await_published,
    limits::{best_write_method, disk_of},
    report::{Findings, Section, Target, median},
    tally::EndState,
};

/// Commands per second, without durability and with it.
const RATES: [u64; 5] = [100_000, 250_000, 500_000, 1_000_000, 1_500_000];
/// The rate at which the first two targets hold.
const RATE_OF_TARGETS: u64 = 1_000_000;
/// Microseconds that half of all commands may take at that rate.
const P50_MAX_US: f64 = 1.5;
/// That nine in ten may take.
const P90_MAX_US: f64 = 5.0;
/// How many times the disk's own time half of all durable commands may take.
const SYNCS_MAX: f64 = 2.0;
/// How many items the rings hold where nothing waits for a disk.
const SHORT_RING: usize = 256;
/// From the announcement of a schedule until its first command is due.
const LEAD_NS: u64 = 20_000_000;

/// Measures the ladder.
pub struct Latencies {
    directory: PathBuf,
    seconds: u64,
    cycle: Cycle,
    ladders: [Ladder; 2],
    failures: Vec<String>,
}

/// All rates in one setting.
struct Ladder {
    name: &'static str,
    config: Config,
    /// For each rate one for each round.
    rungs: Vec<Vec<Rung>>,
}

/// One rate in one round; times in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Rung {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    /// Whether the generator kept to the schedule: half of all commands were submitted within this time.
    late_p50: f64,
    /// Bytes of a block, on average; 0 without a journal.
    block_bytes: f64,
    /// The disk's own time for such a block, half of the times; 0 without a journal.
    sync_p50: f64,
}

impl Latencies {
    /// Generates the commands.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let topology = |name: &str| -> Topology { name.parse().expect("a name of a topology") };
        let config = Config { snapshot_every: None, ..Config::default() };
        let alone = Config {
            topology: topology("single"),
            wait: WaitStrategy::BusySpin,
            durability: Durability::None,
            // What is passed on stays in the nearest caches.
            gateway_ring: SHORT_RING,
            input_ring: SHORT_RING,
            event_ring: SHORT_RING,
            ..config.clone()
        };
        let write_method = best_write_method(&settings.directory);
        let durable = Config { topology: topology("fused"), durability: Durability::Sync, write_method, ..config };
        Self {
            directory: settings.directory.clone(),
            seconds: settings.latency_seconds,
            cycle: Cycle::exchange_core(settings.commands),
            ladders: [
                Ladder { name: "without durability, in memory", config: alone, rungs: vec![Vec::new(); RATES.len()] },
                Ladder { name: "durable", config: durable, rungs: vec![Vec::new(); RATES.len()] },
            ],
            failures: Vec::new(),
        }
    }

    /// Climbs both ladders once.
    ///
    /// # Errors
    /// When a journal cannot be made, or an exchange stops.
    pub fn round(&mut self) -> Result<()> {
        let disk = disk_of(&self.directory, 1)?;
        for ladder in &mut self.ladders {
            let place = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.directory)?;
            let journaled = ladder.config.durability == Durability::Sync;
            let pipeline = if journaled {
                Pipeline::open(place.path(), ladder.config.clone()).context("cannot open a pipeline")?
            } else {
                Pipeline::in_memory(ladder.config.clone())?
            };
            let (end, commands, rungs) = climb(pipeline, &self.cycle, self.seconds, journaled)?;
            let (exchange, tally, _) = self.cycle.in_line(commands);
            let expected = EndState::new(&exchange, tally);
            if end != expected {
                let name = ladder.name;
                self.failures.push(format!("latency, {name}: ended with {end:?}, and should with {expected:?}"));
            }
            let before = self.cycle.setup.len() + self.cycle.commands.len();
            let blocks = if journaled { commands_per_block(place.path(), before, &rungs)? } else { Vec::new() };
            for (index, (mut rung, _)) in rungs.into_iter().enumerate() {
                if let Some(&commands) = blocks.get(index) {
                    let bytes = commands * disk.command_bytes;
                    rung.block_bytes = bytes;
                    let sync = ladder.config.write_method.and_then(|method| disk.sync(method, bytes));
                    rung.sync_p50 = sync.map_or(0.0, |sync| sync.p50_us);
                }
                ladder.rungs[index].push(rung);
            }
        }
        Ok(())
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let mut findings = Findings { failures: self.failures, ..Findings::default() };
        for ladder in &self.ladders {
            let durable = ladder.config.durability == Durability::Sync;
            let mut conditions = vec![
                self.cycle.description.clone(),
                format!(
                    "{} s each rate, Poisson arrivals, open loop: microseconds from when a command was due until its last event \
                     was released; the median of the rounds",
                    self.seconds
                ),
                format!(
                    "topology {}, wait {}, rings of {}{}",
                    ladder.config.topology,
                    ladder.config.wait,
                    ladder.config.input_ring,
                    ladder.config.write_method.map_or_else(String::new, |method| format!(", written by {method}"))
                ),
                "commands/s        p50       p90       p99     p99.9         max   generator late p50".to_owned(),
            ];
            for (rate, rungs) in RATES.into_iter().zip(&ladder.rungs) {
                let of = |field: fn(&Rung) -> f64| median(&rungs.iter().map(field).collect::<Vec<_>>());
                let mut line = format!(
                    "{:>10}  {:>9.2} {:>9.2} {:>9.2} {:>9.2}  {:>10.2}   {:>9.2}",
                    grouped(rate),
                    of(|rung| rung.p50),
                    of(|rung| rung.p90),
                    of(|rung| rung.p99),
                    of(|rung| rung.p999),
                    of(|rung| rung.max),
                    of(|rung| rung.late_p50),
                );
                if durable {
                    let ratio = of(|rung| rung.p50 / rung.sync_p50);
                    line.push_str(&format!(
                        "   p50 is {ratio:.2} of the disk's own p50 of {:.0} us for blocks of {:.0} bytes",
                        of(|rung| rung.sync_p50),
                        of(|rung| rung.block_bytes),
                    ));
                    let claim = format!("latency, durable, {} commands/s: p50 in syncs of the disk", grouped(rate));
                    findings.targets.push(Target::at_most("", claim, ratio, SYNCS_MAX));
                } else if rate == RATE_OF_TARGETS {
                    let claim = |part: &str| format!("latency, not durable, {} commands/s: {part}, us", grouped(rate));
                    findings.targets.push(Target::at_most("", claim("p50"), of(|rung| rung.p50), P50_MAX_US));
                    findings.targets.push(Target::at_most("", claim("p90"), of(|rung| rung.p90), P90_MAX_US));
                }
                conditions.push(line);
            }
            let title = format!("latency, {}", ladder.name);
            findings.sections.push(Section { title, conditions, unit: "commands", figures: Vec::new() });
        }
        findings
    }
}

/// A rate's times, and up to which sequence its commands went.
type RungUntil = (Rung, usize);

/// Runs all rates one after the other; gives how it ended, after how many commands, and the rates.
fn climb(
    pipeline: Pipeline,
    cycle: &Cycle,
    seconds: u64,
    shared_core: bool,
) -> Result<(EndState, usize, Vec<RungUntil>)> {
    let mut gateway = pipeline.gateway(Cause::session(1))?;
    for command in &cycle.setup {
        submit(&mut gateway, *command, None)?;
    }
    await_published(&pipeline, cycle.setup.len())?;
    let (mut flow, mut commands, mut rungs) = (cycle.flow(), 0, Vec::new());
    // What caches and branch predictors need to learn is not the exchange's latency.
    for command in flow.by_ref().take(cycle.commands.len()) {
        submit(&mut gateway, command, None)?;
    }
    commands += cycle.commands.len();
    await_published(&pipeline, cycle.setup.len() + commands)?;
    for rate in RATES {
        pipeline.latency()?;
        let generator = Generator { pipeline: &pipeline, rate, seconds, shared_core };
        let (sent, late) = thread::scope(|scope| {
            let running = scope.spawn(|| generator.run(&mut gateway, &mut flow));
            running.join().expect("the generator does not panic")
        })?;
        commands += sent;
        await_published(&pipeline, cycle.setup.len() + commands)?;
        let latency = pipeline.latency()?.end_to_end;
        if latency.len() != sent as u64 {
            bail!("{sent} commands were sent and {} were timed", latency.len());
        }
        let us = |part: f64| latency.value_at_quantile(part) as f64 / 1e3;
        let rung = Rung {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p999: us(0.999),
            max: latency.max() as f64 / 1e3,
            late_p50: late.value_at_quantile(0.5) as f64 / 1e3,
            ..Rung::default()
        };
        rungs.push((rung, cycle.setup.len() + commands));
    }
    drop(flow);
    let stopped = pipeline.shutdown().context("the exchange failed")?;
    Ok((EndState::of_pipeline(&stopped.exchange, &stopped.counters), commands, rungs))
}

/// Sends by a schedule.
struct Generator<'a> {
    pipeline: &'a Pipeline,
    rate: u64,
    seconds: u64,
    /// Whether a worker that sleeps now and then has the same core: then it is offered between commands.
    shared_core: bool,
}

impl Generator<'_> {
    /// Gives how many commands it sent, and how late.
    fn run(&self, gateway: &mut Gateway, flow: &mut impl Iterator<Item = Command>) -> Result<(usize, Histogram<u64>)> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let own = if self.shared_core { cores.first() } else { cores.last() };
        if let Some(&core) = own {
            // A core that cannot be had shows in how late it is.
            core_affinity::set_for_current(core);
        }
        let timetable = Timetable {
            process: ArrivalProcess::Poisson,
            rate: self.rate,
            seconds: self.seconds,
            gateways: 1,
            seed: self.rate,
        };
        let mut late = Histogram::new_with_bounds(1, engine::pipeline::LATENCY_MAX_NS, 3)?;
        let clock = self.pipeline.clock();
        let start = clock.now().0 + LEAD_NS;
        let mut sent = 0;
        for (due, command) in timetable.arrivals(0).zip(flow) {
            let due = start + due;
            let mut now = clock.now().0;
            while now < due {
                if self.shared_core {
                    thread::yield_now()
                } else {
                    spin_loop()
                }
                now = clock.now().0;
            }
            submit(gateway, command, Some(Timestamp(due)))?;
            late.saturating_record(now - due);
            sent += 1;
        }
        Ok((sent, late))
    }
}

fn submit(gateway: &mut Gateway, command: Command, intended: Option<Timestamp>) -> Result<()> {
    loop {
        let submitted = match intended {
            Some(intended) => gateway.submit_at(command, intended),
            None => gateway.submit(command),
        };
        match submitted {
            Ok(_) => return Ok(()),
            Err(SubmitError::Busy) => thread::yield_now(),
            Err(error) => return Err(error).context("the exchange stopped during the run"),
        }
    }
}

/// How many commands a block of the journal had on average during each of the rates, the first of which came behind so many
/// `before`: those were sent as fast as the exchange took them, and their blocks are large.
fn commands_per_block(directory: &Path, before: usize, rungs: &[RungUntil]) -> Result<Vec<f64>> {
    let mut reader = JournalReader::open_directory(directory)?;
    while reader.head().sequence.0 < before as u64 && reader.next().transpose()?.is_some() {}
    let mut found = Vec::new();
    for &(_, until) in rungs {
        let (mut blocks, mut commands, mut last) = (0_u32, 0_u32, reader.head().sequence);
        while reader.head().sequence.0 < until as u64 && reader.next().transpose()?.is_some() {
            commands += 1;
            if reader.head().sequence != last {
                last = reader.head().sequence;
                blocks += 1;
            }
        }
        found.push(f64::from(commands) / f64::from(blocks.max(1)));
    }
    Ok(found)
}
