//! Opening a pipeline on its journal, and bringing it to its end.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    ops::Deref,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use ringbuf::{Cursor, broadcast, spsc};

use super::{
    Config, PipelineError,
    clock::Clock,
    core::Core,
    follower::Follower,
    handle::{CONTROL_RING, Collectors, Handle, TradingCollector},
    journaler::{Journaler, Log, LogStorage},
    latency::{Latency, recorder},
    outlet::Outlet,
    publisher::Publisher,
    sequencer::Sequencer,
    shared::{Counters, Shared},
    split::{MatcherStage, RiskStage},
    topology::StageName,
    worker::{Stage, Stages},
};
use crate::{
    exchange::{Exchange, StateHash},
    journal::{Epoch, FileStorage, Journal, MemoryStorage, Options, Storage, TornTail, snapshot::SnapshotName},
    recovery::open_exchange,
    types::{Sequence, Timestamp},
};

/// What was found when the pipeline was opened.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// How many commands history holds.
    pub commands: u64,
    /// The last of them, or 0.
    pub last_sequence: Sequence,
    /// The state they lead to.
    pub state_hash: StateHash,
    /// How many commands were replayed: all, or those behind the snapshot.
    pub replayed: u64,
    /// The snapshot that it began with.
    pub snapshot: Option<SnapshotName>,
    /// Newer snapshots that were no good, and why.
    pub skipped: Vec<String>,
    /// Epochs whose files were no good, and why, so that their states were computed again.
    pub recomputed: Vec<String>,
    /// The epoch that it is in.
    pub epoch: Epoch,
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
    /// Makes snapshots; ends with the pipeline.
    follower: Option<Follower>,
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
        Self::open_with_progress(directory, config, &mut |_| ())
    }

    /// As [`open`](Self::open); tells `progress` now and then which sequence the replay has come to.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with_progress(
        directory: impl AsRef<Path>,
        config: Config,
        progress: &mut dyn FnMut(Sequence),
    ) -> Result<Self, PipelineError> {
        config.check()?;
        let storage = FileStorage::lock(directory)?;
        let (beginning, journal) = Beginning::open(&storage, &config, progress)?;
        Self::run(beginning, Log::Files(Box::new(journal)), LogStorage::Files(storage), config)
    }

    /// As [`open`](Self::open), on a storage that lives in memory and can be made to fail. Makes no snapshots.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_memory_storage(storage: &MemoryStorage, config: Config) -> Result<Self, PipelineError> {
        config.check()?;
        let (beginning, journal) = Beginning::open(storage, &config, &mut |_| ())?;
        Self::run(beginning, Log::Memory(Box::new(journal)), LogStorage::Memory(storage.clone()), config)
    }

    /// Runs an exchange without a journal: nothing outlives it. A journaler that would have a worker for itself shares the
    /// sequencer's.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn in_memory(config: Config) -> Result<Self, PipelineError> {
        config.check()?;
        Self::run(Beginning::empty(), Log::Nowhere, LogStorage::Nowhere, config)
    }

    /// As [`open`](Self::open), but the caller polls the stages: for those who bring their own threads or scheduler.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_unstarted(directory: impl AsRef<Path>, config: &Config) -> Result<(Handle, Stages), PipelineError> {
        config.check()?;
        let storage = FileStorage::lock(directory)?;
        let (beginning, journal) = Beginning::open(&storage, config, &mut |_| ())?;
        build(beginning, Log::Files(Box::new(journal)), LogStorage::Files(storage), config)
    }

    /// As [`in_memory`](Self::in_memory), but the caller polls the stages.
    ///
    /// # Errors
    /// As `in_memory`.
    pub fn in_memory_unstarted(config: &Config) -> Result<(Handle, Stages), PipelineError> {
        config.check()?;
        build(Beginning::empty(), Log::Nowhere, LogStorage::Nowhere, config)
    }

    fn run(beginning: Beginning, log: Log, storage: LogStorage, config: Config) -> Result<Self, PipelineError> {
        let recovered = beginning.recovered.clone();
        let following = match (&storage, config.snapshot_every) {
            // The follower begins with a state of its own.
            (LogStorage::Files(files), Some(every)) => {
                Some((every, files.clone(), beginning.exchange.clone(), beginning.time))
            }
            _ => None,
        };
        let without_journal = matches!(storage, LogStorage::Nowhere);
        let (handle, stages) = build(beginning, log, storage, &config)?;
        let mut by_worker: Vec<Vec<Stage>> = handle.topology.stages().iter().map(|_| Vec::new()).collect();
        let mut stages: Vec<_> = stages.into_stages().map(Some).collect();
        for (worker, names) in handle.topology.stages().iter().enumerate() {
            for &name in names {
                let found = stages.iter_mut().find(|stage| stage.as_ref().is_some_and(|stage| stage.name() == name));
                by_worker[worker].extend(found.and_then(Option::take));
            }
        }
        let journaler = handle.topology.worker_of(StageName::Journaler);
        if without_journal && by_worker[journaler].len() == 1 {
            // It has nothing to wait for, so a thread of its own would only be woken all the time.
            let stage = by_worker[journaler].pop().expect("it was counted");
            by_worker[handle.topology.worker_of(StageName::Sequencer)].insert(1, stage);
        }
        let cores = if config.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        let mut workers = Vec::with_capacity(by_worker.len());
        let count = by_worker.iter().filter(|stages| !stages.is_empty()).count();
        let mut pinned = 0..if count <= cores.len() { count } else { 0 };
        for (worker, stages) in by_worker.into_iter().enumerate().filter(|(_, stages)| !stages.is_empty()) {
            let core = pinned.next().map(|core| cores[core]);
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
        let follower = match following {
            Some((every, storage, exchange, time)) => {
                match Follower::start(Arc::clone(&handle.shared), storage, every, exchange, time) {
                    Ok(follower) => Some(follower),
                    Err(error) => {
                        handle.shared.fail(format!("the follower's thread cannot be started: {error}"));
                        workers.into_iter().for_each(|worker| drop(worker.join()));
                        return Err(error.into());
                    }
                }
            }
            None => None,
        };
        Ok(Self { handle, recovered, workers, follower })
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
        self.follower = None;
        self.handle.collect(stages)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.handle.shared.abandoned.store(true, Ordering::Relaxed);
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
    Options {
        durability: config.durability,
        write_method: config.write_method,
        segment_bytes: config.segment_bytes,
        low_space_bytes: config.low_space_bytes,
        ..Options::default()
    }
}

/// A seed for hashes that nobody can guess.
pub(super) fn hash_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Where a pipeline begins.
struct Beginning {
    exchange: Exchange,
    time: Timestamp,
    recovered: Recovered,
}

impl Beginning {
    /// Without a past.
    fn empty() -> Self {
        let exchange = Exchange::with_hash_seed(hash_seed());
        let recovered = Recovered {
            commands: 0,
            last_sequence: Sequence(0),
            state_hash: exchange.state_hash(),
            replayed: 0,
            snapshot: None,
            skipped: Vec::new(),
            recomputed: Vec::new(),
            epoch: Epoch::FIRST,
            torn: None,
        };
        Self { exchange, time: Timestamp(0), recovered }
    }

    /// With the past that a storage holds; gives the journal along.
    fn open<S: Storage>(
        storage: &S,
        config: &Config,
        progress: &mut dyn FnMut(Sequence),
    ) -> Result<(Self, Journal<S>), PipelineError> {
        let opened = open_exchange(storage, &journal_options(config), hash_seed(), progress)?;
        let last_sequence = opened.exchange.last_sequence();
        let skipped = opened.skipped.iter().map(|skipped| format!("{}: {}", skipped.name, skipped.reason)).collect();
        let recovered = Recovered {
            commands: last_sequence.0,
            last_sequence,
            state_hash: opened.exchange.state_hash(),
            replayed: opened.replayed,
            snapshot: opened.snapshot,
            skipped,
            recomputed: opened
                .recomputed
                .iter()
                .map(|epoch| format!("epoch from sequence {}: {}", epoch.sequence, epoch.reason))
                .collect(),
            epoch: opened.journal.head().epoch,
            torn: opened.torn,
        };
        Ok((Self { exchange: opened.exchange, time: opened.time, recovered }, opened.journal))
    }
}

/// Makes all rings and stages.
fn build(
    beginning: Beginning,
    log: Log,
    storage: LogStorage,
    config: &Config,
) -> Result<(Handle, Stages), PipelineError> {
    let last = beginning.exchange.last_sequence();
    let fused = config.topology.is_fused();

    let (control, control_consumer) = spsc::channel(CONTROL_RING)?;
    let (workers, exchange) = (config.topology.workers(), &beginning.exchange);
    let shared = Shared::new(Clock::new(), control, workers, log.headroom(), exchange, log.epoch());
    let status = exchange.global_status();
    shared.halted.store(status.is_halted(), Ordering::Relaxed);
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
    shared.follow(durable.reader());

    let (journal_recorder, journal_collector) = recorder(config.record_latency);
    let (publish_recorder, publish_collector) = recorder(config.record_latency);
    let mut stages = Vec::with_capacity(5);
    let sequencer = Sequencer::new(Arc::clone(&shared), control_consumer, input, last, beginning.time);
    stages.push(Stage::Sequencer(Box::new(sequencer)));
    let journaler = Journaler::new(Arc::clone(&shared), consumer(), log, durable, journal_recorder);
    stages.push(Stage::Journaler(Box::new(journaler)));
    let trading = if fused {
        let (core_recorder, collector) = recorder(config.record_latency);
        let (exchange, durable) = (beginning.exchange, durable_reader.clone());
        let core = Core::new(Arc::clone(&shared), consumer(), exchange, output, durable, core_recorder);
        stages.push(Stage::Core(Box::new(core)));
        TradingCollector::Fused(collector)
    } else {
        let (risk, matcher) = beginning.exchange.into_parts();
        let (decisions, decisions_consumer) = spsc::channel(config.input_ring)?;
        let (feedback, feedback_consumer) = spsc::channel(config.event_ring)?;
        let (matched, needed_from) = (Cursor::new(last.0), Cursor::new(0));
        let needed_from_reader = needed_from.reader();
        let (risk_recorder, risk_collector) = recorder(config.record_latency);
        let (matcher_recorder, matcher_collector) = recorder(config.record_latency);
        stages.push(Stage::Risk(Box::new(RiskStage::new(
            Arc::clone(&shared),
            consumer(),
            risk,
            decisions,
            feedback_consumer,
            matched.reader(),
            needed_from,
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
            needed_from_reader,
            matched,
            output,
            last,
            durable_reader.clone(),
            matcher_recorder,
        ))));
        TradingCollector::Split(risk_collector, matcher_collector)
    };
    let publisher = Publisher::new(Arc::clone(&shared), output_consumer, durable_reader, status, publish_recorder);
    stages.push(Stage::Publisher(Box::new(publisher)));

    let collectors = Collectors { journal: journal_collector, trading, publish: publish_collector };
    let stages = Stages::new(stages, Arc::clone(&shared));
    let handle = Handle {
        shared,
        topology: config.topology.clone(),
        gateway_ring: config.gateway_ring,
        collectors: Mutex::new(collectors),
        log: storage,
        applying: Mutex::new(()),
    };
    Ok((handle, stages))
}
