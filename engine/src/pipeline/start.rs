//! Opening a pipeline on its journal, and bringing it to its end.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    ops::Deref,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use ringbuf::{Cursor, broadcast, spsc};

use super::{
    Config, PipelineError,
    clock::Clock,
    core::Core,
    handle::{CONTROL_RING, Collectors, Handle, TradingCollector},
    journaler::{Journaler, Log},
    latency::{Latency, recorder},
    outlet::Outlet,
    publisher::Publisher,
    sequencer::Sequencer,
    shared::{Counters, Shared},
    split::{MatcherStage, RiskStage},
    worker::{Stage, Stages},
};
use crate::{
    event::NoEvents,
    exchange::{Exchange, StateHash},
    journal::{FileStorage, Journal, MemoryStorage, Opening, Options, Storage, TornTail},
    types::{Sequence, Timestamp},
};

/// What was found when the pipeline was opened.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// How many commands the journal held.
    pub commands: u64,
    /// The last of them, or 0.
    pub last_sequence: Sequence,
    /// The state they lead to.
    pub state_hash: StateHash,
    /// The last write, if it never finished: it was never acknowledged, and has been dropped.
    pub torn: Option<TornTail>,
}

/// What is left when a pipeline has ended.
#[derive(Debug)]
pub struct Stopped {
    /// The final state.
    pub exchange: Exchange,
    /// How much was published.
    pub counters: Counters,
    /// What commands met since the last snapshot.
    pub latency: Latency,
}

/// An exchange that runs: durable, on threads of its own. All that a [`Handle`] can do, it can do.
///
/// Dropping it stops it as [`shutdown`](Self::shutdown) does, but tells no error and waits for no subscriber: one whose
/// ring is full is cut off.
///
/// ```
/// use engine::{
///     command::Command,
///     event::Event,
///     pipeline::{Config, Pipeline, Subscription},
///     types::{AccountId, Cause},
/// };
/// let pipeline = Pipeline::in_memory(Config::default())?;
/// let mut events = pipeline.subscribe(Subscription::default())?;
/// let mut gateway = pipeline.gateway(Cause::session(1))?;
/// gateway.submit(Command::CreateAccount { account: AccountId(7) })?;
/// assert_eq!(events.next()?.event.event, Event::AccountCreated { account: AccountId(7) });
/// let stopped = pipeline.shutdown()?;
/// assert!(stopped.exchange.account(AccountId(7)).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pipeline {
    handle: Handle,
    recovered: Recovered,
    workers: Vec<JoinHandle<Stages>>,
}

impl Deref for Pipeline {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Pipeline {
    /// Opens the exchange that is journaled in `directory`, which is made if it is not there: replays the journal, then runs.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or the journal cannot be opened: another process holds it, it
    /// is damaged, or a file cannot be read or written.
    pub fn open(directory: impl AsRef<Path>, config: Config) -> Result<Self, PipelineError> {
        config.check()?;
        let opening = Journal::open(FileStorage::lock(directory)?, journal_options(&config))?;
        Self::open_log(opening, config, |journal| Log::Files(Box::new(journal)))
    }

    /// As [`open`](Self::open), on a storage that lives in memory and can be made to fail.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_memory_storage(storage: MemoryStorage, config: Config) -> Result<Self, PipelineError> {
        config.check()?;
        let opening = Journal::open(storage, journal_options(&config))?;
        Self::open_log(opening, config, |journal| Log::Memory(Box::new(journal)))
    }

    /// Runs an exchange without a journal: nothing outlives it.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn in_memory(config: Config) -> Result<Self, PipelineError> {
        config.check()?;
        Self::run(Replayed::default(), Log::Nowhere, config)
    }

    /// As [`open`](Self::open), but the caller polls the stages: for those who bring their own threads or scheduler.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_unstarted(directory: impl AsRef<Path>, config: &Config) -> Result<(Handle, Stages), PipelineError> {
        config.check()?;
        let (replayed, journal) = replay(Journal::open(FileStorage::lock(directory)?, journal_options(config))?)?;
        build(replayed, Log::Files(Box::new(journal)), config)
    }

    /// As [`in_memory`](Self::in_memory), but the caller polls the stages.
    ///
    /// # Errors
    /// As `in_memory`.
    pub fn in_memory_unstarted(config: &Config) -> Result<(Handle, Stages), PipelineError> {
        config.check()?;
        build(Replayed::default(), Log::Nowhere, config)
    }

    fn open_log<S: Storage>(
        opening: Opening<S>,
        config: Config,
        log: impl FnOnce(Journal<S>) -> Log,
    ) -> Result<Self, PipelineError> {
        let (replayed, journal) = replay(opening)?;
        Self::run(replayed, log(journal), config)
    }

    fn run(replayed: Replayed, log: Log, config: Config) -> Result<Self, PipelineError> {
        let recovered = replayed.report();
        let (handle, stages) = build(replayed, log, &config)?;
        let mut by_worker: Vec<Vec<Stage>> = handle.topology.stages().iter().map(|_| Vec::new()).collect();
        let mut stages: Vec<_> = stages.into_stages().map(Some).collect();
        for (worker, names) in handle.topology.stages().iter().enumerate() {
            for &name in names {
                let found = stages.iter_mut().find(|stage| stage.as_ref().is_some_and(|stage| stage.name() == name));
                by_worker[worker].extend(found.and_then(Option::take));
            }
        }
        let cores = if config.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        let mut workers = Vec::with_capacity(by_worker.len());
        let count = by_worker.len();
        for (worker, stages) in by_worker.into_iter().enumerate() {
            let core = if count <= cores.len() { cores.get(worker).copied() } else { None };
            let mut stages = Stages::new(stages, Arc::clone(&handle.shared));
            let (batch, wait) = (config.batch, config.wait);
            let name = handle.topology.stages()[worker].first().map_or_else(String::new, ToString::to_string);
            let started = thread::Builder::new().name(format!("{worker}-{name}")).spawn(move || {
                if let Some(core) = core {
                    // A core that cannot be had costs speed only.
                    core_affinity::set_for_current(core);
                }
                stages.run(worker, batch, wait);
                stages
            });
            match started {
                Ok(started) => workers.push(started),
                Err(error) => {
                    handle.shared.fail(format!("a worker's thread cannot be started: {error}"));
                    workers.into_iter().for_each(|worker| drop(worker.join()));
                    return Err(error.into());
                }
            }
        }
        Ok(Self { handle, recovered, workers })
    }

    /// What was found when it was opened.
    #[must_use]
    pub const fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Takes nothing more, carries out what was taken, makes it durable, publishes it, and ends. Waits for subscribers
    /// that [hold back](super::WhenFull::HoldBack): read them on another thread, or drop them first.
    ///
    /// # Errors
    /// When the exchange stopped by itself before, or the journal cannot be closed.
    pub fn shutdown(mut self) -> Result<Stopped, PipelineError> {
        self.handle.stop();
        let mut stages = Vec::new();
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(worker) => stages.push(worker),
                Err(_) => self.handle.shared.fail("a worker's thread has panicked".to_owned()),
            }
        }
        self.handle.collect(stages)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.handle.shared.abandoned.store(true, std::sync::atomic::Ordering::Relaxed);
        self.handle.stop();
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
    }
}

impl Handle {
    /// Puts the final state together from stages that have all ended after [`stop`](Self::stop).
    ///
    /// # Errors
    /// When the exchange stopped by itself before.
    ///
    /// # Panics
    /// When a stage is missing.
    pub fn collect(&self, stages: impl IntoIterator<Item = Stages>) -> Result<Stopped, PipelineError> {
        if let Some(reason) = self.shared.failure() {
            return Err(PipelineError::Failed(reason));
        }
        let (mut exchange, mut risk_half, mut matcher_half) = (None, None, None);
        for stage in stages.into_iter().flat_map(Stages::into_stages) {
            match stage {
                Stage::Core(core) => exchange = Some(core.into_exchange()),
                Stage::Risk(stage) => risk_half = Some(stage.into_risk()),
                Stage::Matcher(stage) => matcher_half = Some(stage.into_matcher()),
                Stage::Sequencer(_) | Stage::Journaler(_) | Stage::Publisher(_) => {}
                #[cfg(test)]
                Stage::Faulty(_) => {}
            }
        }
        let exchange = exchange.unwrap_or_else(|| {
            let (risk, (matcher, last)) =
                (risk_half.expect("risk has ended"), matcher_half.expect("the matcher has ended"));
            Exchange::from_parts(risk, matcher, last)
        });
        let latency = self.collectors.lock().collect(|| {});
        Ok(Stopped { exchange, counters: self.counters(), latency })
    }
}

fn journal_options(config: &Config) -> Options {
    Options { durability: config.durability, segment_bytes: config.segment_bytes, ..Options::default() }
}

/// A state and how it was come by.
pub(super) struct Replayed {
    pub(super) exchange: Exchange,
    pub(super) commands: u64,
    pub(super) last_time: Timestamp,
    torn: Option<TornTail>,
}

impl Default for Replayed {
    /// Nothing, with a seed for its hashes that nobody can guess.
    fn default() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self { exchange: Exchange::with_hash_seed(seed), commands: 0, last_time: Timestamp(0), torn: None }
    }
}

impl Replayed {
    fn report(&self) -> Recovered {
        Recovered {
            commands: self.commands,
            last_sequence: self.exchange.last_sequence(),
            state_hash: self.exchange.state_hash(),
            torn: self.torn.clone(),
        }
    }
}

/// Applies all that a journal holds.
pub(super) fn replay<S: Storage>(mut opening: Opening<S>) -> Result<(Replayed, Journal<S>), PipelineError> {
    let mut replayed = Replayed::default();
    for command in &mut opening {
        let command = command?;
        replayed.exchange.apply(command.sequence, command.time, &command.command, &mut NoEvents);
        replayed.commands += 1;
        replayed.last_time = command.time;
    }
    replayed.torn = opening.torn().cloned();
    Ok((replayed, opening.into_journal()?))
}

/// Makes all rings and stages.
fn build(replayed: Replayed, log: Log, config: &Config) -> Result<(Handle, Stages), PipelineError> {
    let last = replayed.exchange.last_sequence();
    let fused = config.topology.is_fused();

    let (control, control_consumer) = spsc::channel(CONTROL_RING)?;
    let shared = Shared::new(Clock::new(), control, config.topology.workers());
    let mut builder = broadcast::Builder::new(config.input_ring);
    for _ in 0..if fused { 2 } else { 3 } {
        builder.consumer(&[]);
    }
    let (input, consumers) = builder.build().map_err(|error| match error {
        broadcast::BuildError::Capacity(error) => PipelineError::Ring(error),
        other => unreachable!("the input ring has consumers without gates: {other}"),
    })?;
    let mut consumers = consumers.into_iter();
    let mut consumer = || consumers.next().expect("one for each stage that reads the input");
    let (output, output_consumer) = spsc::channel(config.event_ring)?;
    let output = Outlet::new(output);
    let durable = Cursor::new(last.0);
    let durable_reader = durable.reader();

    let (journal_recorder, journal_collector) = recorder();
    let (publish_recorder, publish_collector) = recorder();
    let mut stages = Vec::with_capacity(5);
    let sequencer = Sequencer::new(Arc::clone(&shared), control_consumer, input, last, replayed.last_time);
    stages.push(Stage::Sequencer(Box::new(sequencer)));
    let journaler = Journaler::new(Arc::clone(&shared), consumer(), log, durable, journal_recorder);
    stages.push(Stage::Journaler(Box::new(journaler)));
    let trading = if fused {
        let (core_recorder, collector) = recorder();
        let (exchange, durable) = (replayed.exchange, durable_reader.clone());
        let core = Core::new(Arc::clone(&shared), consumer(), exchange, output, durable, core_recorder);
        stages.push(Stage::Core(Box::new(core)));
        TradingCollector::Fused(collector)
    } else {
        let (risk, matcher) = replayed.exchange.into_parts();
        let (decisions, decisions_consumer) = spsc::channel(config.input_ring)?;
        let (feedback, feedback_consumer) = spsc::channel(config.event_ring)?;
        let matched = Cursor::new(last.0);
        let (risk_recorder, risk_collector) = recorder();
        let (matcher_recorder, matcher_collector) = recorder();
        stages.push(Stage::Risk(Box::new(RiskStage::new(
            Arc::clone(&shared),
            consumer(),
            risk,
            decisions,
            feedback_consumer,
            matched.reader(),
            last,
            durable_reader.clone(),
            risk_recorder,
        ))));
        stages.push(Stage::Matcher(Box::new(MatcherStage::new(
            Arc::clone(&shared),
            consumer(),
            matcher,
            decisions_consumer,
            Outlet::new(feedback),
            matched,
            output,
            last,
            durable_reader.clone(),
            matcher_recorder,
        ))));
        TradingCollector::Split(risk_collector, matcher_collector)
    };
    let publisher = Publisher::new(Arc::clone(&shared), output_consumer, durable_reader, publish_recorder);
    stages.push(Stage::Publisher(Box::new(publisher)));

    let collectors = Collectors { journal: journal_collector, trading, publish: publish_collector };
    let stages = Stages::new(stages, Arc::clone(&shared));
    let handle = Handle {
        shared,
        topology: config.topology.clone(),
        gateway_ring: config.gateway_ring,
        collectors: Mutex::new(collectors),
    };
    Ok((handle, stages))
}
