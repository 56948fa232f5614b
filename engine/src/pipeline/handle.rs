//! What can be done with a pipeline from outside.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use parking_lot::Mutex;
use ringbuf::{Signal, spsc};

use super::{
    PipelineError,
    clock::Clock,
    gateway::{Gateway, Operator},
    journaler::LogStorage,
    latency::{Collector, Latency, StageLatency},
    publisher::SubscriberPort,
    shared::{Counters, Query, Replacement, Shared, SnapshotStatus},
    start::hash_seed,
    subscriber::{Events, Subscriber, Subscription, WhenFull},
    topology::{StageName, Topology},
};
use crate::{
    command::Command,
    event::{Event, SequencedEvent},
    exchange::{AccountView, BookView},
    journal::{Epoch, Storage},
    recovery::{Application, Applied, ApplyError, Approval, Branch, Plan, Standing, standing},
    types::{AccountId, Cause, MarketId, Sequence, TradingStatus},
};

/// How many commands of operators may wait.
pub(super) const CONTROL_RING: usize = 1_024;

/// How often the record of an epoch is submitted before applying gives up.
const APPLY_ATTEMPTS: u32 = 8;

/// Collects what the stages have recorded.
pub(super) struct Collectors {
    pub(super) journal: Collector<2>,
    pub(super) trading: TradingCollector,
    pub(super) publish: Collector<3>,
}

/// Risk's and the matcher's histograms, recorded by one stage or by two.
pub(super) enum TradingCollector {
    Fused(Collector<4>),
    Split(Collector<2>, Collector<2>),
}

impl Collectors {
    pub(super) fn collect(&self, wake: impl Fn()) -> Latency {
        self.journal.ask();
        match &self.trading {
            TradingCollector::Fused(core) => core.ask(),
            TradingCollector::Split(risk, matcher) => {
                risk.ask();
                matcher.ask();
            }
        }
        self.publish.ask();
        wake();
        let [journal_wait, journal_service] = self.journal.take().into_array();
        let [risk_wait, risk_service, match_wait, match_service] = match &self.trading {
            TradingCollector::Fused(core) => core.take().into_array(),
            TradingCollector::Split(risk, matcher) => {
                let [risk_wait, risk_service] = risk.take().into_array();
                let [match_wait, match_service] = matcher.take().into_array();
                [risk_wait, risk_service, match_wait, match_service]
            }
        };
        let [publish_wait, publish_service, end_to_end] = self.publish.take().into_array();
        let stages = [
            StageLatency { name: "journal", wait: journal_wait, service: journal_service },
            StageLatency { name: "risk", wait: risk_wait, service: risk_service },
            StageLatency { name: "match", wait: match_wait, service: match_service },
            StageLatency { name: "publish", wait: publish_wait, service: publish_service },
        ];
        Latency { stages, end_to_end }
    }
}

/// What can be done with a running pipeline. Any thread may use it at any time; none of it stops a stage.
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) topology: Topology,
    pub(super) gateway_ring: usize,
    pub(super) collectors: Mutex<Collectors>,
    pub(super) log: LogStorage,
    /// Held by whoever applies a plan.
    pub(super) applying: Mutex<()>,
}

/// Stops gateways while it is there.
struct GatewaysStopped<'a>(&'a Shared);

impl<'a> GatewaysStopped<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.halting.fetch_add(1, Ordering::AcqRel);
        Self(shared)
    }
}

impl Drop for GatewaysStopped<'_> {
    fn drop(&mut self) {
        self.0.halting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Handle {
    /// Opens a gateway, whose commands are journaled with `cause`.
    ///
    /// # Errors
    /// When the pipeline has ended, or the configured ring cannot be made.
    pub fn gateway(&self, cause: Cause) -> Result<Gateway, PipelineError> {
        Gateway::open(&self.shared, cause, self.gateway_ring, self.topology.worker_of(StageName::Sequencer))
    }

    /// Opens a handle to the control lane.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub fn operator(&self, cause: Cause) -> Result<Operator, PipelineError> {
        let id = self.shared.next_gateway();
        // Its own events only, which it reads while it waits for them: however many a mass cancel has, it gets them.
        let subscription = Subscription { events: Events::OfGateway(id), ring: 1 << 10, when_full: WhenFull::HoldBack };
        let outcomes = self.subscribe(subscription)?;
        Ok(Operator::new(&self.shared, id, cause, outcomes, self.topology.worker_of(StageName::Sequencer)))
    }

    /// Subscribes to durable events, from the next that is published.
    ///
    /// # Errors
    /// When the pipeline has ended, or the ring cannot be made.
    pub fn subscribe(&self, subscription: Subscription) -> Result<Subscriber, PipelineError> {
        let (producer, consumer) = spsc::channel(subscription.ring)?;
        let (lagged, signal) = (Arc::new(AtomicBool::new(false)), Signal::new());
        let port = SubscriberPort {
            ring: producer,
            only: match subscription.events {
                Events::All => None,
                Events::OfGateway(gateway) => Some(gateway),
            },
            holds_back: subscription.when_full == WhenFull::HoldBack,
            lagged: Arc::clone(&lagged),
            signal: signal.clone(),
        };
        self.shared.subscribers.put(port).map_err(|_| PipelineError::closed(&self.shared))?;
        let publisher = self.shared.signals[self.topology.worker_of(StageName::Publisher)].clone();
        publisher.notify();
        Ok(Subscriber::new(consumer, lagged, signal, publisher))
    }

    /// The pipeline's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// How much was published so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters.load()
    }

    /// How the follower that makes snapshots is doing.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStatus {
        self.shared.snapshots.lock().clone()
    }

    /// The last sequence that is durable.
    #[must_use]
    pub fn durable(&self) -> Sequence {
        Sequence(self.shared.durable().load())
    }

    /// The topology it runs on.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Why the exchange stopped by itself, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure()
    }

    /// What commands met since the last snapshot.
    ///
    /// # Errors
    /// When the pipeline has failed.
    pub fn latency(&self) -> Result<Latency, PipelineError> {
        let latency = self.collectors.lock().collect(|| self.shared.notify_all());
        match self.shared.failure() {
            Some(reason) => Err(PipelineError::Failed(reason)),
            None => Ok(latency),
        }
    }

    /// An account's balances, durable and settled, at the sequence given along; `None` when there is no such account.
    /// Waits while a subscriber holds the exchange back.
    ///
    /// # Errors
    /// When the pipeline ends before the answer is durable.
    pub fn account(&self, account: AccountId) -> Result<(Sequence, Option<AccountView>), PipelineError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let query = Query { question: account, reply };
        self.shared.account_queries.put(query).map_err(|_| PipelineError::closed(&self.shared))?;
        self.shared.notify_all();
        answer.recv().map_err(|_| PipelineError::closed(&self.shared))
    }

    /// The `depth` best levels of each side of a book, durable, at the sequence given along; `None` when there is no
    /// such market.
    ///
    /// # Errors
    /// When the pipeline ends before the answer is durable.
    pub fn book(&self, market: MarketId, depth: usize) -> Result<(Sequence, Option<BookView>), PipelineError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let query = Query { question: (market, depth), reply };
        self.shared.book_queries.put(query).map_err(|_| PipelineError::closed(&self.shared))?;
        self.shared.notify_all();
        answer.recv().map_err(|_| PipelineError::closed(&self.shared))
    }

    /// Halts the exchange: gateways are stopped at once, then the halt is sequenced behind what was already taken.
    /// Gives its durable events. They stay stopped until the global status is set to another.
    ///
    /// # Errors
    /// When the pipeline ends before they are durable.
    pub fn halt(&self, cause: Cause) -> Result<Vec<SequencedEvent>, PipelineError> {
        self.stop_gateways(cause, TradingStatus::Halted)
    }

    /// Freezes the exchange for a recovery, in the way in which [`halt`](Self::halt) halts it. The sequence of its event is
    /// the halt that plans are made for.
    ///
    /// # Errors
    /// As `halt`.
    pub fn freeze(&self, cause: Cause) -> Result<Vec<SequencedEvent>, PipelineError> {
        self.stop_gateways(cause, TradingStatus::Frozen)
    }

    fn stop_gateways(&self, cause: Cause, status: TradingStatus) -> Result<Vec<SequencedEvent>, PipelineError> {
        let _stopped = GatewaysStopped::begin(&self.shared);
        self.operator(cause)?.execute_behind_gateways(Command::SetGlobalStatus { status })
    }

    /// The epoch of what was published last.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch()
    }

    /// Applies an approved plan to the exchange as it runs, which must have been frozen since the plan's halt. `branch` is
    /// what the plan was made with, or computed again. When this returns, the new epoch is durable and published; the
    /// exchange is still frozen. A plan that has been applied is reported as such.
    ///
    /// Operators' commands wait meanwhile, and gateways are told that the exchange is halted.
    ///
    /// # Errors
    /// [`ApplyError`]; the old epoch goes on, unless the exchange has stopped.
    pub fn apply(&self, plan: &Plan, branch: Branch, approvals: &[Approval]) -> Result<Applied, ApplyError> {
        match &self.log {
            LogStorage::Nowhere => Err(ApplyError::NoJournal),
            LogStorage::Files(storage) => self.apply_in(storage, plan, branch, approvals),
            LogStorage::Memory(storage) => self.apply_in(storage, plan, branch, approvals),
        }
    }

    fn apply_in<S: Storage>(
        &self,
        storage: &S,
        plan: &Plan,
        branch: Branch,
        approvals: &[Approval],
    ) -> Result<Applied, ApplyError> {
        let stopped = |error: PipelineError| ApplyError::Stopped(error.to_string());
        let _alone = self.applying.lock();
        if let Standing::Applied(applied) = standing(storage, plan)? {
            return Ok(applied);
        }
        let mut application = Application::new(plan, branch, approvals)?;
        application.go_forward(storage, self.durable())?;
        application.check_approvals(self.shared.clock.now())?;

        let mut operator = self.operator(application.cause()).map_err(stopped)?;
        let _stopped = GatewaysStopped::begin(&self.shared);
        // Held to the end, so that what others submit comes behind the new epoch.
        let mut lane = self.shared.control.lock();
        operator.execute_holding(&mut lane, &application.parts()).map_err(stopped)?;
        for _ in 0..APPLY_ATTEMPTS {
            application.go_forward(storage, self.durable())?;
            // What came before the lane was held may have revoked who signed.
            application.check_approvals(self.shared.clock.now())?;
            let prepared = application.prepare(storage, hash_seed())?;
            let Command::StartEpoch { at, digest } = prepared.start else {
                unreachable!("an epoch is begun by its record")
            };
            let begun = prepared.begun;
            self.shared.replace_state(Some(Replacement::new(at, digest, begun.exchange, begun.corrections)));
            let outcome = operator.execute_holding(&mut lane, &[prepared.start]);
            // What is left of it is of no use to anybody.
            self.shared.replace_state(None);
            let events = outcome.map_err(stopped)?;
            let is_refused = |event: &SequencedEvent| matches!(event.event, Event::Refused { .. });
            if !events.iter().any(is_refused) {
                return Ok(prepared.applied);
            }
        }
        Err(ApplyError::OutOfPlace { attempts: APPLY_ATTEMPTS })
    }

    /// How many commands of operators wait to be sequenced.
    #[must_use]
    pub fn operators_waiting(&self) -> usize {
        CONTROL_RING - self.shared.control.lock().free()
    }

    /// Takes nothing more; what was taken is carried out. [`Pipeline::shutdown`](super::Pipeline::shutdown) also waits for it.
    pub fn stop(&self) {
        // Whoever opened a gateway before is served; nobody can open one from here on.
        self.shared.gateways.seal();
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.notify_all();
    }
}
