//! Risk and matching on two workers, with the outcome of one.
//!
//! ```text
//!                  ┌──► risk ── decisions ──► matcher ──► output
//!   input ring ────┤     ▲                    │  ▲
//!                  │     └─ settlements, ◄────┘  │
//!                  │        then `matched`       │
//!                  └─────────────────────────────┘
//! ```
//!
//! The matcher reads each command from the input ring once risk's decision on it is there. What it settles
//! goes back through the feedback ring; when all settlements up to a sequence are in that ring, the cursor `matched`
//! says so. Risk reads the cursor first and the ring after it, so what the cursor covers has been settled.
//!
//! What risk cannot decide before something has been settled it leaves to the matcher where that can tell, by what it has
//! settled [of late](RecentSettlements); the cursor `needed_from` says how far back that may have to look.
//!
//! Neither waits for the other inside a poll: what does not fit a ring waits in an [`Outlet`], and a command that
//! risk cannot decide yet is tried again in a later poll, when everything decided before it has long been passed on.

use std::sync::Arc;

use ringbuf::{Cursor, CursorReader, broadcast, spsc};

use super::{
    core::{Answers, CommandSink, is_timed, later},
    journaler::{SERVICE, WAIT},
    latency::Recorder,
    messages::{Input, Output},
    outlet::Outlet,
    shared::Shared,
    stage::{Poll, Progress},
};
use crate::{
    event::{Event, EventSink as _},
    exchange::{Decision, MatchSink, Matcher, RecentSettlements, Risk, Settlement},
    types::{Sequence, Timestamp},
};

/// A decision on its way to the matcher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    decision: Decision,
    /// When risk had decided, as far as it is known.
    at: Timestamp,
}

pub(super) struct RiskStage {
    shared: Arc<Shared>,
    input: broadcast::Consumer<Input>,
    risk: Risk,
    decisions: spsc::Producer<Decided>,
    feedback: spsc::Consumer<Settlement>,
    matched: CursorReader,
    /// What the matcher had settled when last looked at.
    settled: Sequence,
    /// The last sequence decided.
    decided: Sequence,
    /// What the first undecided command waits for.
    waits_for: Option<Sequence>,
    /// How many settlements it has taken.
    settlements: u64,
    needed_from: Cursor,
    answers: Answers,
    latency: Recorder<2>,
}

impl RiskStage {
    #[allow(clippy::too_many_arguments, reason = "the ends of the rings it is joined to")]
    pub(super) fn new(
        shared: Arc<Shared>,
        input: broadcast::Consumer<Input>,
        risk: Risk,
        decisions: spsc::Producer<Decided>,
        feedback: spsc::Consumer<Settlement>,
        matched: CursorReader,
        needed_from: Cursor,
        last: Sequence,
        durable: CursorReader,
        latency: Recorder<2>,
    ) -> Self {
        Self {
            shared,
            input,
            risk,
            decisions,
            feedback,
            matched,
            settled: last,
            decided: last,
            waits_for: None,
            settlements: 0,
            needed_from,
            answers: Answers::new(durable),
            latency,
        }
    }

    /// Settles what the matcher reports; gives whether there was anything.
    #[inline]
    fn settle(&mut self) -> bool {
        let matched = Sequence(self.matched.load());
        let settlements = self.feedback.readable();
        for offset in 0..settlements {
            self.risk.settle(self.feedback.get(offset).expect("counted as readable"));
        }
        self.feedback.release(settlements);
        self.settlements += settlements as u64;
        if matched == self.settled {
            return settlements > 0;
        }
        self.settled = matched;
        self.risk.settled_through(matched);
        self.needed_from.publish(self.risk.needs_settlements_from(self.settlements));
        true
    }

    /// The final state of its half.
    pub(super) fn into_risk(self) -> Risk {
        self.risk
    }

    /// Whether the first undecided command cannot be decided yet.
    #[inline]
    fn is_waiting(&self) -> bool {
        self.waits_for.is_some_and(|until| self.settled < until)
    }

    /// Whether there is nothing left to do; the matcher's last settlements belong to the final state.
    fn is_done(&self) -> bool {
        self.input.is_finished() && self.settled == self.decided && self.answers.is_empty()
    }

    /// Accounts are shown as they are with everything decided before settled, and nothing after it.
    #[cold]
    fn answer(&mut self) {
        let risk = &self.risk;
        self.answers.take_accounts(&self.shared, self.decided, |account| risk.account(account));
    }

    fn finish(&mut self) -> Progress {
        self.latency.close();
        self.answers.close(&self.shared);
        self.decisions.close();
        Progress::Finished
    }
}

impl Poll for RiskStage {
    fn poll(&mut self, batch: usize) -> Progress {
        self.latency.hand_over_if_asked();
        if self.shared.has_failed() {
            return self.finish();
        }
        let mut worked = self.settle();
        worked |= self.answers.release();
        if self.shared.account_queries.is_filled() {
            // A barrier: nothing more is decided until everything before is settled.
            if self.settled < self.decided {
                return Progress::from_worked(worked);
            }
            self.answer();
        }
        let count = self.input.readable().min(batch).min(self.decisions.free());
        if count == 0 {
            return if self.is_done() { self.finish() } else { Progress::from_worked(worked) };
        }
        if self.is_waiting() {
            return Progress::from_worked(worked);
        }
        self.waits_for = None;
        let started = self.latency.now(&self.shared.clock);
        let (mut at, mut done) = (started, 0);
        while done < count {
            let input = self.input.get(done).expect("counted as readable");
            self.risk.look_ahead(|distance| later(&self.input, done + distance, count));
            let timed = self.latency.records() && is_timed(input.sequence);
            let before = if timed { self.latency.now(&self.shared.clock) } else { started };
            let mut decision = self.risk.decide(input.sequence, input.time, &input.command);
            if let Decision::Wait { until } = decision {
                let left = self.risk.decide_conditionally(input.sequence, &input.command, self.settlements);
                let Some(conditional) = left else {
                    self.waits_for = Some(until);
                    break;
                };
                decision = conditional;
            }
            if decision == Decision::StartEpoch {
                // Everything before it is settled, so nothing is on its way to the half that is replaced.
                let digest = input.begins_epoch().expect("nothing else begins an epoch");
                self.risk = self.shared.take_risk(input.sequence, digest);
            }
            if timed {
                at = self.latency.now(&self.shared.clock);
                self.latency.record(SERVICE, at.0.saturating_sub(before.0), 1);
            }
            self.decided = input.sequence;
            if self.decisions.push(Decided { decision, at }).is_err() {
                self.shared.fail("the matcher has gone".to_owned());
                return self.finish();
            }
            done += 1;
        }
        let sequenced = |offset| self.input.get(offset).expect("counted as readable").sequenced;
        self.latency.record_waits(WAIT, started, done, sequenced);
        self.input.release(done);
        self.shared.set_next_timer(self.risk.next_timer());
        Progress::from_worked(worked || done > 0)
    }

    fn is_ready(&self) -> bool {
        self.latency.is_asked()
            || self.shared.has_failed()
            || self.feedback.readable() > 0
            || self.matched.load() != self.settled.0
            || self.answers.is_releasable()
            || (self.shared.account_queries.is_filled() && self.settled == self.decided)
            || (self.decisions.free() > 0 && self.input.readable() > 0 && !self.is_waiting())
            || self.is_done()
    }
}

pub(super) struct MatcherStage {
    shared: Arc<Shared>,
    input: broadcast::Consumer<Input>,
    matcher: Matcher,
    decisions: spsc::Consumer<Decided>,
    feedback: Outlet<Settlement>,
    recent: RecentSettlements,
    needed_from: CursorReader,
    matched: Cursor,
    output: Outlet<Output>,
    /// The last sequence carried out; `matched` follows when all its settlements are in the ring.
    done: Sequence,
    answers: Answers,
    latency: Recorder<2>,
}

impl MatcherStage {
    #[allow(clippy::too_many_arguments, reason = "the ends of the rings it is joined to")]
    pub(super) fn new(
        shared: Arc<Shared>,
        input: broadcast::Consumer<Input>,
        matcher: Matcher,
        decisions: spsc::Consumer<Decided>,
        feedback: Outlet<Settlement>,
        needed_from: CursorReader,
        matched: Cursor,
        output: Outlet<Output>,
        last: Sequence,
        durable: CursorReader,
        latency: Recorder<2>,
    ) -> Self {
        Self {
            shared,
            input,
            matcher,
            decisions,
            feedback,
            recent: RecentSettlements::default(),
            needed_from,
            matched,
            output,
            done: last,
            answers: Answers::new(durable),
            latency,
        }
    }

    /// The final state of its half, and the last sequence it carried out.
    pub(super) fn into_matcher(self) -> (Matcher, Sequence) {
        (self.matcher, self.done)
    }

    /// Passes on what was settled, and what waits; gives whether there is anything that others may not have seen yet.
    #[inline]
    fn flush(&mut self) -> bool {
        // At once for all commands of a poll: risk looks at nothing before `matched` covers it, and one by one each would take
        // the cache line from under its eyes.
        self.feedback.commit(|_| ());
        let mut worked = self.feedback.flush();
        if self.feedback.is_flushed() && self.matched.load() != self.done.0 {
            self.matched.publish(self.done.0);
            worked = true;
        }
        worked | self.output.flush()
    }

    /// Whether another command may begin.
    #[inline]
    const fn is_flushed(&self) -> bool {
        self.output.is_flushed() && self.feedback.is_flushed()
    }

    #[cold]
    fn answer(&mut self) {
        let matcher = &self.matcher;
        self.answers.take_books(&self.shared, self.done, |(market, depth)| matcher.book(market, depth));
    }

    fn finish(&mut self) -> Progress {
        self.latency.close();
        self.answers.close(&self.shared);
        self.output.close();
        self.feedback.close();
        Progress::Finished
    }
}

impl Poll for MatcherStage {
    fn poll(&mut self, batch: usize) -> Progress {
        self.latency.hand_over_if_asked();
        if self.shared.has_failed() {
            return self.finish();
        }
        let mut worked = self.answers.release();
        if self.shared.book_queries.is_filled() {
            self.answer();
        }
        worked |= self.flush();
        if !self.is_flushed() {
            return Progress::from_worked(worked);
        }
        let count = self.decisions.readable().min(self.input.readable()).min(batch);
        if count == 0 {
            if self.input.is_finished() && self.answers.is_empty() {
                return self.finish();
            }
            return Progress::from_worked(worked);
        }
        let started = self.latency.now(&self.shared.clock);
        let mut now = started;
        let mut done = 0;
        while done < count && self.is_flushed() {
            let input = self.input.get(done).expect("counted as readable");
            self.matcher.look_ahead(|distance| later(&self.input, done + distance, count));
            let Decided { decision, .. } = self.decisions.get(done).expect("counted as readable");
            let timed = self.latency.records() && is_timed(input.sequence);
            if timed {
                now = self.latency.now(&self.shared.clock);
            }
            let commands = CommandSink::new(&mut self.output, input, now);
            let left_open = match decision {
                Decision::Conditional(conditional) => Some(self.matcher.decide(conditional, &mut self.recent)),
                _ => None,
            };
            let (feedback, recent, needed_from) = (&mut self.feedback, &mut self.recent, &self.needed_from);
            let mut sink = SplitSink { commands, feedback, recent, needed_from };
            let decision = match &left_open {
                Some((decided, settled_before)) => {
                    sink.settle(*settled_before);
                    decided
                }
                None => decision,
            };
            if *decision == Decision::StartEpoch {
                let digest = input.begins_epoch().expect("nothing else begins an epoch");
                let (matcher, corrections) = self.shared.take_matcher(input.sequence, digest);
                self.matcher = matcher;
                corrections.iter().for_each(|event| sink.emit(*event));
            } else {
                self.matcher.execute(input.sequence, input.time, &input.command, decision, &mut sink);
            }
            if timed {
                let before = now;
                now = self.latency.now(&self.shared.clock);
                sink.commands.matched = now;
                self.latency.record(SERVICE, now.0.saturating_sub(before.0), 1);
            }
            sink.commands.finish();
            self.done = input.sequence;
            done += 1;
        }
        let decided = |offset| self.decisions.get(offset).expect("counted as readable").at;
        self.latency.record_waits(WAIT, started, done, decided);
        self.decisions.release(done);
        self.input.release(done);
        self.flush();
        Progress::Worked
    }

    fn is_ready(&self) -> bool {
        let has_input = self.decisions.readable() > 0 && self.input.readable() > 0;
        self.latency.is_asked()
            || self.shared.has_failed()
            || self.answers.is_releasable()
            || self.shared.book_queries.is_filled()
            || self.output.is_flushable()
            || self.feedback.is_flushable()
            || (self.is_flushed() && (has_input || (self.input.is_finished() && self.answers.is_empty())))
    }
}

struct SplitSink<'a> {
    commands: CommandSink<'a>,
    feedback: &'a mut Outlet<Settlement>,
    recent: &'a mut RecentSettlements,
    needed_from: &'a CursorReader,
}

impl MatchSink for SplitSink<'_> {
    #[inline]
    fn emit(&mut self, event: Event) {
        self.commands.emit(event);
    }

    #[inline]
    fn settle(&mut self, settlement: Settlement) {
        if self.recent.is_full() {
            self.recent.forget_before(self.needed_from.load());
        }
        self.recent.note(&settlement);
        self.feedback.stage(settlement);
    }
}
