//! The durable pipeline for as long as a disk's caches and its making of segments need to show: sync on, fed by one
//! gateway that stops only when it is told `Busy`, everything on the same cores.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};
use engine::{
    journal::{Durability, WriteMethod},
    pipeline::{Config, Pipeline, SubmitError},
    types::Cause,
};
use gateway_sim::{machine::file_system_of, report::text::grouped};

use crate::{
    arguments::Settings,
    cycle::Cycle,
    drive::{await_published, nap},
    limits::{Disk, best_write_method, disk_of},
    report::{Figure, Findings, Section, Target, median},
    tally::EndState,
};

/// Commands per second that are to be reached, in millions.
const TARGET: f64 = 3.0;
/// After how many commands the feeding thread looks at the clock.
const LOOK_EVERY: usize = 4_096;

/// Measures the durable pipeline.
pub struct Durable {
    directory: PathBuf,
    seconds: f64,
    cycle: Cycle,
    disk: Option<Disk>,
    runs: [Runs; 2],
    in_line: Vec<f64>,
    failures: Vec<String>,
}

/// With snapshots made aside, or without; samples are commands per second.
struct Runs {
    setting: &'static str,
    config: Config,
    samples: Vec<f64>,
    /// Commands per second in the slowest whole second of each run.
    slowest: Vec<f64>,
    /// By how many commands snapshots were behind when each run ended.
    behind: Vec<u64>,
}

impl Runs {
    const fn new(setting: &'static str, config: Config) -> Self {
        Self { setting, config, samples: Vec::new(), slowest: Vec::new(), behind: Vec::new() }
    }
}

impl Durable {
    /// Generates the commands.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let write_method = best_write_method(&settings.directory);
        let config = Config { durability: Durability::Sync, write_method, ..Config::default() };
        let alone = Config { snapshot_every: None, ..config.clone() };
        Self {
            directory: settings.directory.clone(),
            seconds: settings.durable_seconds,
            cycle: Cycle::exchange_core(settings.commands),
            disk: None,
            runs: [Runs::new("snapshots made aside, as by default", config), Runs::new("no snapshots", alone)],
            in_line: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Measures everything once: the disk, then the pipeline with snapshots and without, each for the time there is,
    /// and in line what the longer of them took.
    ///
    /// # Errors
    /// When a journal cannot be made, or an exchange stops.
    pub fn round(&mut self) -> Result<()> {
        self.disk = Some(disk_of(&self.directory, 2)?);
        for runs in &mut self.runs {
            let made = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.directory);
            let place = made.with_context(|| format!("cannot make a directory in {}", self.directory.display()))?;
            let run = run(place.path(), &runs.config, &self.cycle, self.seconds)?;
            runs.samples.push(run.commands as f64 / run.seconds);
            runs.slowest.push(run.slowest_second);
            runs.behind.push(run.behind);
            let (exchange, tally, seconds) = self.cycle.in_line(run.commands);
            self.in_line.push(run.commands as f64 / seconds);
            let expected = EndState::new(&exchange, tally);
            if run.end != expected {
                let setting = runs.setting;
                self.failures
                    .push(format!("durable, {setting}: ended with {:?}, and should with {expected:?}", run.end));
            }
        }
        Ok(())
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let outcome = if self.failures.is_empty() { "same end state as in line" } else { "END STATES DIFFER" };
        let in_line = median(&self.in_line);
        let mut conditions = vec![
            self.cycle.description.clone(),
            "repeated, each time from an empty book; made beforehand, orders named in the loop".to_owned(),
            format!(
                "each run {:.0} s, from the first submit until the last event is durable and published; one gateway stops only \
                 when it is told Busy, on the same cores",
                self.seconds
            ),
            format!(
                "topology {}, wait {}, written by {}, journal on {}",
                self.runs[0].config.topology,
                self.runs[0].config.wait,
                self.runs[0].config.write_method.map_or("nothing", WriteMethod::name),
                file_system_of(&self.directory)
            ),
        ];
        let mut figures = vec![Figure::new("in line", "no journal", &self.in_line, "the measure".to_owned())];
        for Runs { setting, samples, slowest, behind, .. } in &self.runs {
            let mut figure = Figure::new("durable", *setting, samples, outcome.to_owned());
            figure.ratio = Some(crate::report::Ratio { to: "in line".to_owned(), median: median(samples) / in_line });
            figures.push(figure);
            let slowest = slowest.iter().copied().fold(f64::INFINITY, f64::min) / 1e6;
            // A run may be too short for one.
            let slowest = if slowest.is_finite() { format!("{slowest:.2} M/s") } else { "none".to_owned() };
            let behind = behind.iter().max().map_or_else(String::new, |&behind| grouped(behind));
            conditions
                .push(format!("{setting}: slowest second {slowest}, snapshots behind by {behind} commands at the end"));
        }
        if let Some(disk) = &self.disk {
            conditions.push(format!(
                "the disk alone: at most {:.2} M/s of {:.0} bytes each, {} bytes at a time by {}",
                disk.group_commit_ceiling / 1e6,
                disk.command_bytes,
                disk.ceiling_block_bytes,
                disk.ceiling_method
            ));
        }
        let durable = median(&self.runs[0].samples) / 1e6;
        let claim = format!("durable pipeline, M commands/s sustained for {:.0} s", self.seconds);
        let title = "durable pipeline".to_owned();
        Findings {
            sections: vec![Section { title, conditions, unit: "commands", figures }],
            targets: vec![Target::at_least("durable_mps", claim, durable, TARGET)],
            failures: self.failures,
        }
    }
}

/// What one run came to.
struct Run {
    commands: usize,
    seconds: f64,
    slowest_second: f64,
    behind: u64,
    end: EndState,
}

/// Runs a pipeline for some seconds.
fn run(place: &std::path::Path, config: &Config, cycle: &Cycle, seconds: f64) -> Result<Run> {
    let pipeline = Pipeline::open(place, config.clone()).context("cannot open a pipeline")?;
    let mut gateway = pipeline.gateway(Cause::session(1))?;
    let mut submit = |command| -> Result<()> {
        while let Err(error) = gateway.submit(command) {
            if error != SubmitError::Busy {
                return Err(error).context("the exchange stopped during the run");
            }
            nap();
        }
        Ok(())
    };
    cycle.setup.iter().try_for_each(|command| submit(*command))?;
    await_published(&pipeline, cycle.setup.len())?;
    let begun = Instant::now();
    let (mut commands, mut seconds_seen, mut published, mut slowest_second) =
        (0, 1.0, cycle.setup.len() as u64, f64::INFINITY);
    for command in cycle.flow() {
        submit(command)?;
        commands += 1;
        if commands % LOOK_EVERY == 0 {
            let elapsed = begun.elapsed().as_secs_f64();
            if elapsed >= seconds_seen {
                let now = pipeline.counters().commands;
                slowest_second = f64::min(slowest_second, (now - published) as f64 / (elapsed - seconds_seen + 1.0));
                (published, seconds_seen) = (now, elapsed + 1.0);
            }
            if elapsed >= seconds {
                break;
            }
        }
    }
    await_published(&pipeline, cycle.setup.len() + commands)?;
    let seconds = begun.elapsed().as_secs_f64();
    let behind = (cycle.setup.len() + commands) as u64 - pipeline.snapshots().replayed.0;
    let behind = if config.snapshot_every.is_some() { behind } else { 0 };
    let stopped = pipeline.shutdown().context("the exchange failed")?;
    let end = EndState::of_pipeline(&stopped.exchange, &stopped.counters);
    Ok(Run { commands, seconds, slowest_second, behind, end })
}
