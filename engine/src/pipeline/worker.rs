//! A worker: a pinned thread that polls its stages in turn.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use ringbuf::{WaitStrategy, Waiter};

use super::{
    core::Core,
    journaler::Journaler,
    publisher::Publisher,
    sequencer::Sequencer,
    shared::Shared,
    split::{MatcherStage, RiskStage},
    stage::{Poll, Progress},
    topology::StageName,
};

/// Any stage.
pub(super) enum Stage {
    Sequencer(Box<Sequencer>),
    Journaler(Box<Journaler>),
    /// Risk and matcher, fused.
    Core(Box<Core>),
    Risk(Box<RiskStage>),
    Matcher(Box<MatcherStage>),
    Publisher(Box<Publisher>),
    /// One that goes wrong when it has something to do.
    #[cfg(test)]
    Faulty(Box<Stage>),
}

impl Stage {
    /// Its name; the fused stage goes by that of its first half.
    pub(super) const fn name(&self) -> StageName {
        match self {
            Self::Sequencer(_) => StageName::Sequencer,
            Self::Journaler(_) => StageName::Journaler,
            Self::Core(_) | Self::Risk(_) => StageName::Risk,
            Self::Matcher(_) => StageName::Matcher,
            Self::Publisher(_) => StageName::Publisher,
            #[cfg(test)]
            Self::Faulty(stage) => stage.name(),
        }
    }
}

impl Poll for Stage {
    #[inline]
    fn poll(&mut self, batch: usize) -> Progress {
        match self {
            Self::Sequencer(stage) => stage.poll(batch),
            Self::Journaler(stage) => stage.poll(batch),
            Self::Core(stage) => stage.poll(batch),
            Self::Risk(stage) => stage.poll(batch),
            Self::Matcher(stage) => stage.poll(batch),
            Self::Publisher(stage) => stage.poll(batch),
            #[cfg(test)]
            Self::Faulty(stage) => {
                assert!(!stage.is_ready(), "an invariant is broken");
                stage.poll(batch)
            }
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::Sequencer(stage) => stage.is_ready(),
            Self::Journaler(stage) => stage.is_ready(),
            Self::Core(stage) => stage.is_ready(),
            Self::Risk(stage) => stage.is_ready(),
            Self::Matcher(stage) => stage.is_ready(),
            Self::Publisher(stage) => stage.is_ready(),
            #[cfg(test)]
            Self::Faulty(stage) => stage.is_ready(),
        }
    }
}

/// Stages that are polled on one thread.
pub struct Stages {
    running: Vec<Stage>,
    finished: Vec<Stage>,
    /// Which of the running is being polled.
    polling: usize,
    shared: Arc<Shared>,
}

impl Stages {
    pub(super) const fn new(stages: Vec<Stage>, shared: Arc<Shared>) -> Self {
        Self { running: stages, finished: Vec::new(), polling: 0, shared }
    }

    /// The stages that have not ended; risk stands for the matcher too where they are fused.
    pub fn running(&self) -> impl Iterator<Item = StageName> {
        self.running.iter().map(Stage::name)
    }

    /// Polls one stage: it takes up to `batch` commands. Gives `Finished` for a stage that has ended or is not here.
    ///
    /// # Panics
    /// When an invariant of the exchange is broken. The pipeline has then failed and must not be polled again.
    pub fn poll(&mut self, stage: StageName, batch: usize) -> Progress {
        let Some(index) = self.running.iter().position(|running| running.name() == stage) else {
            return Progress::Finished;
        };
        let polled = catch_unwind(AssertUnwindSafe(|| self.running[index].poll(batch)));
        let progress = polled.unwrap_or_else(|panic| {
            self.shared.fail(format!("the {stage} stage panicked"));
            resume_unwind(panic)
        });
        if progress == Progress::Finished {
            let stage = self.running.remove(index);
            self.finished.push(stage);
        }
        progress
    }

    /// One for each stage, to be polled on threads of their own.
    #[must_use]
    pub fn apart(self) -> Vec<Self> {
        let stages = self.running.into_iter().chain(self.finished);
        stages.map(|stage| Self::new(vec![stage], Arc::clone(&self.shared))).collect()
    }

    /// Polls all in turn until they have ended, waiting as `strategy` says when there is nothing to do. A stage that panics
    /// stops the pipeline, and the others here end in order.
    pub(super) fn run(&mut self, worker: usize, batch: usize, strategy: WaitStrategy) {
        let shared = Arc::clone(&self.shared);
        while !self.running.is_empty() {
            let polled = catch_unwind(AssertUnwindSafe(|| self.poll_until_finished(worker, batch, strategy)));
            if let Err(panic) = polled {
                // Its ends of the rings go with it.
                let stage = self.running.remove(self.polling.min(self.running.len() - 1));
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                shared.fail(format!("the {} stage panicked: {text}", stage.name()));
            }
        }
        shared.notify_all();
    }

    fn poll_until_finished(&mut self, worker: usize, batch: usize, strategy: WaitStrategy) {
        let shared = Arc::clone(&self.shared);
        let mut waiter = Waiter::new(strategy, shared.signals[worker].clone());
        let others: Vec<_> = shared.signals.iter().enumerate().filter(|(index, _)| *index != worker).collect();
        while !self.running.is_empty() {
            let mut worked = false;
            self.polling = 0;
            while self.polling < self.running.len() {
                match self.running[self.polling].poll(batch) {
                    Progress::Idle => self.polling += 1,
                    Progress::Worked => {
                        worked = true;
                        self.polling += 1;
                    }
                    Progress::Finished => {
                        worked = true;
                        let stage = self.running.remove(self.polling);
                        self.finished.push(stage);
                    }
                }
            }
            if worked {
                waiter.reset();
                others.iter().for_each(|(_, signal)| signal.notify());
            } else {
                let is_ready = || self.running.iter().any(Poll::is_ready);
                match shared.sleep_max() {
                    None => waiter.idle(is_ready),
                    Some(limit) => waiter.idle_at_most(limit, is_ready),
                }
            }
        }
    }

    pub(super) fn into_stages(self) -> impl Iterator<Item = Stage> {
        self.running.into_iter().chain(self.finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::Command,
        pipeline::{Config, Pipeline, PipelineError, ReceiveError, SubmitError, Subscription},
        types::{AccountId, Cause},
    };

    /// Whichever stage panics, on whichever worker: the pipeline ends, says why, and nobody hangs.
    #[test]
    fn a_stage_that_panics_stops_everything_and_hangs_nobody() {
        for topology in ["single", "fused", "full"] {
            for faulty in StageName::ALL {
                let config = Config { topology: topology.parse().unwrap(), gateway_ring: 8, ..Config::default() };
                let (handle, stages) = Pipeline::in_memory_unstarted(&config).unwrap();
                let mut events = handle.subscribe(Subscription::default()).unwrap();
                let mut gateway = handle.gateway(Cause::session(1)).unwrap();
                let mut operator = handle.operator(Cause::operator(1)).unwrap();
                // Everything is in place before the fault is.
                gateway.submit(Command::CreateAccount { account: AccountId(1) }).unwrap();
                let mut stages = stages;
                while events.try_next().is_err() {
                    for stage in StageName::ALL {
                        stages.poll(stage, 8);
                    }
                }
                let mut by_worker: Vec<Vec<Stage>> = config.topology.stages().iter().map(|_| Vec::new()).collect();
                let fused_risk = config.topology.is_fused() && faulty == StageName::Matcher;
                for stage in stages.into_stages() {
                    let name = stage.name();
                    let is_faulty = name == faulty || (fused_risk && name == StageName::Risk);
                    let stage = if is_faulty { Stage::Faulty(Box::new(stage)) } else { stage };
                    by_worker[config.topology.worker_of(name)].push(stage);
                }
                let workers: Vec<_> = by_worker
                    .into_iter()
                    .enumerate()
                    .map(|(worker, stages)| {
                        let mut stages = Stages::new(stages, Arc::clone(&handle.shared));
                        std::thread::spawn(move || stages.run(worker, 8, WaitStrategy::Park))
                    })
                    .collect();
                let end = loop {
                    match gateway.submit(Command::CreateAccount { account: AccountId(2) }) {
                        Ok(_) | Err(SubmitError::Busy) => std::thread::yield_now(),
                        Err(end) => break end,
                    }
                };
                assert_eq!(end, SubmitError::Closed);
                while events.next().is_ok() {}
                assert_eq!(events.next(), Err(ReceiveError::Closed));
                assert!(operator.execute(Command::CancelAllOfAccount { account: AccountId(1) }).is_err());
                assert!(handle.subscribe(Subscription::default()).is_err());
                assert!(matches!(handle.account(AccountId(1)), Err(PipelineError::Failed(_))));
                let failure = handle.latency().unwrap_err().to_string();
                assert!(failure.contains("an invariant is broken"), "{failure}");
                workers.into_iter().for_each(|worker| worker.join().unwrap());
            }
        }
    }
}
