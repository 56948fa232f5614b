//! One exchange from its first command to its reopening: what a load and a replay have in common.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use engine::{
    exchange::{Exchange, StateHash},
    pipeline::{Config, Counters, Latency, Pipeline, Recovered},
    recovery::Timeline,
};
use tempfile::TempDir;

use crate::{
    machine::{COMMIT, Machine, file_system_of},
    progress::Progress,
    report::Report,
};

/// Opening that takes longer shows how it is going.
const SHOW_PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// A running exchange in a directory of its own.
pub struct Session {
    /// The exchange.
    pub pipeline: Pipeline,
    config: Config,
    path: PathBuf,
    /// Removed when the session ends.
    temporary: Option<TempDir>,
}

/// What was measured between setup and shutdown.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was published when the setup was done.
    pub before: Counters,
    /// What was published in the end.
    pub after: Counters,
    /// From the first command until the last event was published.
    pub seconds: f64,
    /// What commands met.
    pub latency: Latency,
}

impl Session {
    /// Starts an exchange in `data`, which must hold none yet; without it in a temporary directory.
    ///
    /// # Errors
    /// When the directory cannot be used or the exchange cannot start.
    pub fn start(data: Option<&Path>, config: Config) -> Result<Self> {
        let (path, temporary) = match data {
            Some(path) => (path.to_owned(), None),
            None => {
                let directory = tempfile::Builder::new().prefix("gateway-sim-").tempdir();
                let directory = directory.context("cannot make a temporary directory; give one with --data")?;
                (directory.path().to_owned(), Some(directory))
            }
        };
        let pipeline = Pipeline::open(&path, config.clone())
            .with_context(|| format!("cannot start an exchange in {}", path.display()))?;
        let held = pipeline.recovered().commands;
        if held > 0 {
            bail!(
                "{} holds an exchange with {held} commands already, and a run begins with an empty one: give another \
                 directory with --data",
                path.display()
            );
        }
        Ok(Self { pipeline, config, path, temporary })
    }

    /// Goes on with the exchange in `path`.
    ///
    /// # Errors
    /// When the directory cannot be used or the exchange cannot start.
    pub fn open(path: &Path, config: Config) -> Result<Self> {
        let pipeline = Pipeline::open(path, config.clone())
            .with_context(|| format!("cannot start the exchange in {}", path.display()))?;
        Ok(Self { pipeline, config, path: path.to_owned(), temporary: None })
    }

    /// Why the exchange takes no more commands, as an error.
    #[must_use]
    pub fn failure(&self) -> anyhow::Error {
        let reason = self.pipeline.failure().unwrap_or_else(|| "it has been shut down".to_owned());
        anyhow::anyhow!("the exchange stopped during the run: {reason}")
    }

    /// Shuts the exchange down, checks it, opens it again from its journal, and replays all of that.
    ///
    /// # Errors
    /// When the exchange has failed, breaks an invariant, or cannot be opened again.
    pub fn close(self) -> Result<Closed> {
        let Self { pipeline, config, path, temporary } = self;
        let stopped = pipeline.shutdown().context("the exchange failed")?;
        if let Err(broken) = stopped.exchange.check_invariants() {
            bail!("the exchange broke an invariant: {broken}");
        }
        let file_system = file_system_of(&path);
        let begun = Instant::now();
        let mut progress: Option<Progress> = None;
        let last = stopped.exchange.last_sequence();
        let reopened = Pipeline::open_with_progress(&path, config, &mut |sequence| {
            if begun.elapsed() > SHOW_PROGRESS_AFTER {
                progress.get_or_insert_with(|| Progress::start("commands", last.0)).update(sequence.0, String::new);
            }
        })
        .with_context(|| format!("cannot open the exchange in {} again", path.display()))?;
        let reopen_seconds = begun.elapsed().as_secs_f64();
        let recovered = reopened.recovered().clone();
        if let Some(progress) = progress {
            progress.finish();
        }
        reopened.shutdown().context("the reopened exchange failed")?;
        let begun = Instant::now();
        let mut replay = Timeline::open(&path)?.replay()?;
        let mut replay_commands = 0;
        while replay.skip()?.is_some() {
            replay_commands += 1;
        }
        let replay_seconds = begun.elapsed().as_secs_f64();
        let replayed = replay.exchange().state_hash();
        let recomputed = recompute(&path)?;
        drop(temporary);
        Ok(Closed {
            state_hash: stopped.exchange.state_hash(),
            exchange: stopped.exchange,
            recovered,
            replayed,
            recomputed,
            reopen_seconds,
            replay_seconds,
            replay_commands,
            directory: path.display().to_string(),
            file_system,
        })
    }

    /// As [`close`](Self::close), and reports.
    ///
    /// # Errors
    /// As `close`.
    pub fn finish(self, title: String, measured: &Measured) -> Result<(Report, Exchange)> {
        let (topology, wait, durability) =
            (self.config.topology.to_string(), self.config.wait.to_string(), self.config.durability.to_string());
        let closed = self.close()?;
        let Measured { before, after, seconds, latency } = measured;
        let commands = after.commands - before.commands;
        let report = Report {
            title,
            machine: Machine::current(),
            commit: COMMIT.to_owned(),
            topology,
            wait,
            durability,
            directory: closed.directory,
            file_system: closed.file_system,
            setup_commands: before.commands,
            commands,
            events: after.events - before.events,
            trades: after.fills - before.fills,
            refusals: after.refusals - before.refusals,
            seconds: *seconds,
            commands_per_second: if *seconds > 0.0 { commands as f64 / seconds } else { 0.0 },
            stages: latency.into(),
            end_to_end_ns: (&latency.end_to_end).into(),
            state_hash: closed.state_hash.to_string(),
            state_hash_reopened: closed.recovered.state_hash.to_string(),
            reopen_seconds: closed.reopen_seconds,
            reopen_snapshot: closed.recovered.snapshot.map(|snapshot| snapshot.sequence.0),
            reopen_replayed: closed.recovered.replayed,
            state_hash_replayed: closed.replayed.to_string(),
            replay_seconds: closed.replay_seconds,
            replay_commands: closed.replay_commands,
            load: None,
            replay: None,
            oracle: None,
            rejected: None,
        };
        Ok((report, closed.exchange))
    }

    /// The directory of the journal.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.path
    }
}

/// An exchange that was shut down, opened again and replayed.
#[derive(Debug)]
pub struct Closed {
    /// The final state.
    pub exchange: Exchange,
    /// Its hash.
    pub state_hash: StateHash,
    /// What was found when it was opened again.
    pub recovered: Recovered,
    /// The hash of the state to which all commands lead, replayed from the first.
    pub replayed: StateHash,
    /// The same where the first state of each later epoch is not read but computed from its parent and its plan; `None` when
    /// there is one epoch.
    pub recomputed: Option<StateHash>,
    /// How long opening took.
    pub reopen_seconds: f64,
    /// How long the replay took.
    pub replay_seconds: f64,
    /// Of how many commands.
    pub replay_commands: u64,
    /// Where the journal was.
    pub directory: String,
    /// On what file system.
    pub file_system: String,
}

/// Replays a history from its first command without the files that hold the first states of its epochs.
fn recompute(path: &Path) -> Result<Option<StateHash>> {
    let all: Vec<PathBuf> = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let is_epoch = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "epoch");
    if !all.iter().any(is_epoch) {
        return Ok(None);
    }
    // Beside the journal, so that its files need not be copied.
    let aside = tempfile::Builder::new().prefix(".gateway-sim-").tempdir_in(path.parent().unwrap_or(path))?;
    for file in all.iter().filter(|file| !is_epoch(file) && file.is_file()) {
        let Some(name) = file.file_name() else { continue };
        let link = aside.path().join(name);
        if fs::hard_link(file, &link).is_err() {
            fs::copy(file, &link).with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    let mut replay = Timeline::open(aside.path())?.replay()?;
    while replay.skip()?.is_some() {}
    Ok(Some(replay.exchange().state_hash()))
}
