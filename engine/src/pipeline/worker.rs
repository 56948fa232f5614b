//! A worker: a pinned thread that polls its stages in turn.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
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
        }
    }
}

/// Stages that are polled on one thread.
pub struct Stages {
    running: Vec<Stage>,
    finished: Vec<Stage>,
    shared: Arc<Shared>,
}

impl Stages {
    pub(super) const fn new(stages: Vec<Stage>, shared: Arc<Shared>) -> Self {
        Self { running: stages, finished: Vec::new(), shared }
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
        let progress = self.running[index].poll(batch);
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

    /// Polls all in turn until they have ended, waiting as `strategy` says when there is nothing to do.
    pub(super) fn run(&mut self, worker: usize, batch: usize, strategy: WaitStrategy) {
        let shared = Arc::clone(&self.shared);
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_until_finished(worker, batch, strategy)));
        if let Err(panic) = polled {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            shared.fail(format!("a stage of worker {worker} panicked: {text}"));
        }
        shared.notify_all();
    }

    fn poll_until_finished(&mut self, worker: usize, batch: usize, strategy: WaitStrategy) {
        let shared = Arc::clone(&self.shared);
        let mut waiter = Waiter::new(strategy, shared.signals[worker].clone());
        let others: Vec<_> = shared.signals.iter().enumerate().filter(|(index, _)| *index != worker).collect();
        while !self.running.is_empty() {
            let mut worked = false;
            let mut index = 0;
            while index < self.running.len() {
                match self.running[index].poll(batch) {
                    Progress::Idle => index += 1,
                    Progress::Worked => {
                        worked = true;
                        index += 1;
                    }
                    Progress::Finished => {
                        worked = true;
                        let stage = self.running.remove(index);
                        self.finished.push(stage);
                    }
                }
            }
            if worked {
                waiter.reset();
                others.iter().for_each(|(_, signal)| signal.notify());
            } else {
                waiter.idle(|| self.running.iter().any(Poll::is_ready));
            }
        }
    }

    pub(super) fn into_stages(self) -> impl Iterator<Item = Stage> {
        self.running.into_iter().chain(self.finished)
    }
}
