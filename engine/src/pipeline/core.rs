//! Risk and matching on one worker: the serial machine, settling by direct call.

use std::sync::{Arc, mpsc};

use ringbuf::{CursorReader, broadcast};

use super::{
    journaler::{SERVICE, WAIT},
    latency::Recorder,
    messages::{Input, Output},
    outlet::Outlet,
    shared::{AccountQuery, BookQuery, Shared},
    stage::{Poll, Progress},
};
use crate::{
    command::Command,
    event::{Event, EventSink},
    exchange::Exchange,
    types::{Digest, Sequence, Timestamp},
};

/// The matcher's histograms follow risk's.
pub(super) const MATCH_WAIT: usize = 2;
pub(super) const MATCH_SERVICE: usize = 3;

/// One command in this many is timed by itself; a power of two.
pub(super) const TIMED_EVERY: u64 = 128;

#[inline]
pub(super) const fn is_timed(sequence: Sequence) -> bool {
    sequence.0 & (TIMED_EVERY - 1) == 0
}

pub(super) struct Core {
    shared: Arc<Shared>,
    input: broadcast::Consumer<Input>,
    exchange: Exchange,
    output: Outlet<Output>,
    answers: Answers,
    /// Risk's wait and service, the matcher's wait and service.
    latency: Recorder<4>,
}

impl Core {
    pub(super) fn new(
        shared: Arc<Shared>,
        input: broadcast::Consumer<Input>,
        exchange: Exchange,
        output: Outlet<Output>,
        durable: CursorReader,
        latency: Recorder<4>,
    ) -> Self {
        Self { shared, input, exchange, output, answers: Answers::new(durable), latency }
    }

    /// The final state.
    pub(super) fn into_exchange(self) -> Exchange {
        self.exchange
    }

    #[cold]
    fn answer(&mut self) {
        let at = self.exchange.last_sequence();
        let exchange = &self.exchange;
        self.answers.take_accounts(&self.shared, at, |account| exchange.account(account));
        self.answers.take_books(&self.shared, at, |(market, depth)| exchange.book(market, depth));
    }

    fn finish(&mut self) -> Progress {
        self.latency.close();
        self.answers.close(&self.shared);
        self.output.close();
        Progress::Finished
    }
}

impl Poll for Core {
    fn poll(&mut self, batch: usize) -> Progress {
        self.latency.hand_over_if_asked();
        let mut worked = self.answers.release();
        if self.shared.account_queries.is_filled() || self.shared.book_queries.is_filled() {
            self.answer();
        }
        if self.shared.has_failed() {
            return self.finish();
        }
        worked |= self.output.flush();
        if !self.output.is_flushed() {
            return Progress::from_worked(worked);
        }
        let count = self.input.readable().min(batch);
        if count == 0 {
            // What was asked must be answered before the end.
            if self.input.is_finished() && self.answers.is_empty() {
                return self.finish();
            }
            return Progress::from_worked(worked);
        }
        let started = self.latency.now(&self.shared.clock);
        let mut now = started;
        let mut done = 0;
        while done < count && self.output.is_flushed() {
            let input = self.input.get(done).expect("counted as readable");
            self.exchange.look_ahead(|distance| later(&self.input, done + distance, count));
            let mut sink = CommandSink::new(&mut self.output, input, now);
            if let Some(digest) = input.begins_epoch() {
                begin_epoch(&self.shared, &mut self.exchange, input.sequence, digest, &mut sink);
            } else if self.latency.records() && is_timed(input.sequence) {
                let before = self.latency.now(&self.shared.clock);
                let decision = self.exchange.decide(input.sequence, input.time, &input.command);
                let between = self.latency.now(&self.shared.clock);
                self.exchange.execute(input.sequence, input.time, &input.command, &decision, &mut sink);
                now = self.latency.now(&self.shared.clock);
                sink.matched = now;
                self.latency.record(SERVICE, between.0.saturating_sub(before.0), 1);
                self.latency.record(MATCH_WAIT, 0, 1);
                self.latency.record(MATCH_SERVICE, now.0.saturating_sub(between.0), 1);
            } else {
                self.exchange.apply(input.sequence, input.time, &input.command, &mut sink);
            }
            sink.finish();
            done += 1;
        }
        let sequenced = |offset| self.input.get(offset).expect("counted as readable").sequenced;
        self.latency.record_waits(WAIT, started, done, sequenced);
        self.input.release(done);
        self.shared.set_next_timer(self.exchange.next_timer());
        Progress::Worked
    }

    fn is_ready(&self) -> bool {
        self.latency.is_asked()
            || self.shared.has_failed()
            || self.answers.is_releasable()
            || self.shared.account_queries.is_filled()
            || self.shared.book_queries.is_filled()
            || self.output.is_flushable()
            || (self.output.is_flushed()
                && (self.input.readable() > 0 || (self.input.is_finished() && self.answers.is_empty())))
    }
}

/// The command at `offset`, among the first `count`.
#[inline]
pub(super) fn later(input: &broadcast::Consumer<Input>, offset: usize, count: usize) -> Option<(Sequence, &Command)> {
    if offset >= count {
        return None;
    }
    input.get(offset).map(|later| (later.sequence, &later.command))
}

/// Goes on from the state that was laid down.
#[cold]
fn begin_epoch(
    shared: &Shared,
    exchange: &mut Exchange,
    sequence: Sequence,
    digest: Digest,
    sink: &mut CommandSink<'_>,
) {
    let risk = shared.take_risk(sequence, digest);
    let (matcher, corrections) = shared.take_matcher(sequence, digest);
    let replacement = Exchange::from_parts(risk, matcher, exchange.last_sequence());
    exchange.start_epoch(sequence, replacement, &corrections, sink);
}

/// Numbers a command's events, and marks the last.
pub(super) struct CommandSink<'a> {
    outlet: &'a mut Outlet<Output>,
    input: &'a Input,
    /// When the command was matched, as far as it is known.
    pub(super) matched: Timestamp,
    events: u32,
}

impl<'a> CommandSink<'a> {
    #[inline]
    pub(super) const fn new(outlet: &'a mut Outlet<Output>, input: &'a Input, matched: Timestamp) -> Self {
        Self { outlet, input, matched, events: 0 }
    }

    #[inline]
    pub(super) fn finish(self) {
        assert!(self.events > 0, "every command yields an event");
        self.outlet.commit(|output| {
            output.published.last = true;
            output.matched = self.matched;
        });
    }
}

impl EventSink for CommandSink<'_> {
    #[inline(always)]
    fn emit(&mut self, event: Event) {
        self.outlet.stage(Output::new(self.input, self.matched, self.events, event));
        self.events += 1;
    }
}

/// Answers that wait until what they rest on is durable.
pub(super) struct Answers {
    durable: CursorReader,
    waiting: Vec<(Sequence, Box<dyn FnOnce() + Send>)>,
    accounts: Vec<AccountQuery>,
    books: Vec<BookQuery>,
}

impl Answers {
    pub(super) const fn new(durable: CursorReader) -> Self {
        Self { durable, waiting: Vec::new(), accounts: Vec::new(), books: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the questions about accounts and answers them for the state at `at`.
    pub(super) fn take_accounts(
        &mut self,
        shared: &Shared,
        at: Sequence,
        answer: impl Fn(crate::types::AccountId) -> Option<crate::exchange::AccountView>,
    ) {
        shared.account_queries.take(&mut self.accounts);
        for query in self.accounts.drain(..) {
            let found = answer(query.question);
            self.waiting.push((at, send_later(query.reply, at, found)));
        }
    }

    /// Takes the questions about books and answers them for the state at `at`.
    pub(super) fn take_books(
        &mut self,
        shared: &Shared,
        at: Sequence,
        answer: impl Fn((crate::types::MarketId, usize)) -> Option<crate::exchange::BookView>,
    ) {
        shared.book_queries.take(&mut self.books);
        for query in self.books.drain(..) {
            let found = answer(query.question);
            self.waiting.push((at, send_later(query.reply, at, found)));
        }
    }

    pub(super) fn is_releasable(&self) -> bool {
        !self.waiting.is_empty() && self.waiting[0].0.0 <= self.durable.load()
    }

    /// Sends the answers that have become durable.
    #[inline]
    pub(super) fn release(&mut self) -> bool {
        !self.waiting.is_empty() && self.release_waiting()
    }

    #[cold]
    fn release_waiting(&mut self) -> bool {
        let durable = self.durable.load();
        let ready = self.waiting.iter().take_while(|(at, _)| at.0 <= durable).count();
        self.waiting.drain(..ready).for_each(|(_, send)| send());
        ready > 0
    }

    /// Lets those who ask from now on, and those whose answer never became durable, know that there is none.
    pub(super) fn close(&mut self, shared: &Shared) {
        self.release();
        shared.account_queries.close();
        shared.book_queries.close();
        self.waiting.clear();
    }
}

fn send_later<T: Send + 'static>(
    reply: mpsc::SyncSender<(Sequence, T)>,
    at: Sequence,
    answer: T,
) -> Box<dyn FnOnce() + Send> {
    // Whoever asked may have gone.
    Box::new(move || drop(reply.try_send((at, answer))))
}
