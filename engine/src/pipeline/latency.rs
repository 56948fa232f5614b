//! Latency histograms that a stage fills alone and hands over without stopping.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hdrhistogram::Histogram;
use parking_lot::{Condvar, Mutex};

use super::clock::Clock;
use crate::types::Timestamp;

/// The longest time that is told apart: a minute. What took longer counts as a minute.
pub const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// What commands met at one stage since the last snapshot, in nanoseconds.
#[derive(Clone, Debug)]
pub struct StageLatency {
    /// `journal`, `risk`, `match` or `publish`.
    pub name: &'static str,
    /// From when the command was ready for the stage until the stage took it.
    pub wait: Histogram<u64>,
    /// How long the stage worked on it: the whole block or batch it was in for `journal` and `publish`; the command
    /// alone, one in 128, for `risk` and `match`.
    pub service: Histogram<u64>,
}

/// What commands met on their way since the last snapshot.
#[derive(Clone, Debug)]
pub struct Latency {
    /// In the order in which a command meets the stages.
    pub stages: [StageLatency; 4],
    /// From the intended send time until the command's last event left the publisher.
    pub end_to_end: Histogram<u64>,
}

/// The histograms of one recorder.
#[derive(Clone, Debug)]
pub(super) struct Histograms<const N: usize>([Histogram<u64>; N]);

impl<const N: usize> Histograms<N> {
    fn new() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| {
            Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are in order")
        })))
    }

    pub(super) fn into_array(self) -> [Histogram<u64>; N] {
        self.0
    }
}

/// The place where a stage and whoever asks change a full set of histograms for an empty one.
#[derive(Debug)]
struct Exchange<const N: usize> {
    asked: AtomicBool,
    state: Mutex<State<N>>,
    done: Condvar,
}

#[derive(Debug)]
struct State<const N: usize> {
    empty: Option<Box<Histograms<N>>>,
    full: Option<Box<Histograms<N>>>,
    closed: bool,
}

/// A stage's own histograms.
#[derive(Debug)]
pub(super) struct Recorder<const N: usize> {
    /// Whether anything is recorded at all.
    records: bool,
    current: Box<Histograms<N>>,
    exchange: Arc<Exchange<N>>,
}

/// Asks a recorder for what it has recorded.
#[derive(Clone, Debug)]
pub(super) struct Collector<const N: usize> {
    exchange: Arc<Exchange<N>>,
}

/// A recorder and its collector; unless it `records`, its histograms stay empty.
pub(super) fn recorder<const N: usize>(records: bool) -> (Recorder<N>, Collector<N>) {
    let state = State { empty: None, full: None, closed: false };
    let exchange = Arc::new(Exchange { asked: AtomicBool::new(false), state: Mutex::new(state), done: Condvar::new() });
    (Recorder { records, current: Histograms::new(), exchange: Arc::clone(&exchange) }, Collector { exchange })
}

impl<const N: usize> Recorder<N> {
    /// Whether anything is recorded at all.
    #[inline]
    pub(super) const fn records(&self) -> bool {
        self.records
    }

    /// The time, to record how long something takes; without a meaning where nothing is recorded.
    #[inline]
    pub(super) fn now(&self, clock: &Clock) -> Timestamp {
        if self.records { clock.now() } else { Timestamp(0) }
    }

    /// Records that `count` commands met `nanoseconds` in the histogram with this index.
    #[inline]
    pub(super) fn record(&mut self, histogram: usize, nanoseconds: u64, count: u64) {
        if !self.records || count == 0 {
            return;
        }
        let histogram = &mut self.current.0[histogram];
        histogram.record_n(nanoseconds.clamp(1, LATENCY_MAX_NS), count).expect("the value is within the bounds");
    }

    /// Records how long `count` commands that are taken at `now` have waited: each since when it was ready, which is never
    /// before the one in front of it. Those that became ready together are counted without a look at each.
    #[inline]
    pub(super) fn record_waits(
        &mut self,
        histogram: usize,
        now: Timestamp,
        count: usize,
        since: impl Fn(usize) -> Timestamp,
    ) {
        if !self.records {
            return;
        }
        let mut from = 0;
        while from < count {
            let first = since(from);
            let (mut until, mut beyond) = (from + 1, count);
            if since(count - 1) == first {
                until = count;
            }
            while until < beyond {
                let middle = until.midpoint(beyond);
                if since(middle) == first { until = middle + 1 } else { beyond = middle }
            }
            self.record(histogram, now.0.saturating_sub(first.0), (until - from) as u64);
            from = until;
        }
    }

    /// Records how long it is `now` since each of these times, of which neighbours mostly lie close together: what the histogram
    /// does not tell apart is recorded at once.
    #[inline]
    pub(super) fn record_all_since(&mut self, histogram: usize, now: Timestamp, times: &[Timestamp]) {
        let histogram = &mut self.current.0[histogram];
        let mut rest = times;
        while let Some(first) = rest.first() {
            let value = now.0.saturating_sub(first.0).clamp(1, LATENCY_MAX_NS);
            let (lowest, highest) = (histogram.lowest_equivalent(value), histogram.highest_equivalent(value));
            // The times that long ago; what is clamped may lie outside, and then is recorded by itself.
            let [from, until] = [highest, lowest].map(|ago| now.0.saturating_sub(ago));
            let is_alike = |time: &Timestamp| time.0.wrapping_sub(from) <= until - from;
            let mut alike = 1;
            // Eight at a time without a branch on each.
            while let Some((eight, _)) = rest[alike..].split_first_chunk::<8>()
                && eight.iter().fold(true, |all, time| all & is_alike(time))
            {
                alike += 8;
            }
            alike += rest[alike..].iter().take_while(|time| is_alike(time)).count();
            histogram.record_n(value, alike as u64).expect("the value is within the bounds");
            rest = &rest[alike..];
        }
    }

    /// Whether a snapshot is asked for.
    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.exchange.asked.load(Ordering::Relaxed)
    }

    /// Hands over what was recorded, if it is asked for. Never waits, never allocates.
    #[inline]
    pub(super) fn hand_over_if_asked(&mut self) {
        if self.is_asked() {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&mut self) {
        let Some(mut state) = self.exchange.state.try_lock() else { return };
        if let Some(empty) = state.empty.take() {
            state.full = Some(std::mem::replace(&mut self.current, empty));
            self.exchange.asked.store(false, Ordering::Relaxed);
            self.exchange.done.notify_all();
        }
    }
}

impl<const N: usize> Recorder<N> {
    /// Hands over what was recorded, for good: the stage has ended, and nobody needs to wait for it any more. It comes on
    /// top of what was handed over just before, and not taken yet.
    pub(super) fn close(&mut self) {
        let mut state = self.exchange.state.lock();
        if !state.closed {
            state.closed = true;
            let mut last = std::mem::replace(&mut self.current, Histograms::new());
            if let Some(full) = state.full.take() {
                for (last, full) in last.0.iter_mut().zip(&full.0) {
                    last.add(full).expect("the bounds are the same");
                }
            }
            state.full = Some(last);
            self.exchange.done.notify_all();
        }
    }
}

impl<const N: usize> Drop for Recorder<N> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<const N: usize> Collector<N> {
    /// Lays down an empty set and asks for the full one.
    pub(super) fn ask(&self) {
        let mut state = self.exchange.state.lock();
        if !state.closed {
            state.empty.get_or_insert_with(Histograms::new);
            state.full = None;
            self.exchange.asked.store(true, Ordering::Relaxed);
        }
    }

    /// Waits for what was asked for; of a stage that has ended, what was left.
    pub(super) fn take(&self) -> Box<Histograms<N>> {
        let mut state = self.exchange.state.lock();
        loop {
            if let Some(full) = state.full.take() {
                return full;
            }
            if state.closed {
                return Histograms::new();
            }
            self.exchange.done.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_holds_what_came_since_the_last() {
        let (mut recorder, collector) = recorder::<2>(true);
        recorder.record(0, 1_000, 3);
        recorder.record(1, u64::MAX, 1);
        collector.ask();
        recorder.hand_over_if_asked();
        let [first, second] = collector.take().into_array();
        assert_eq!((first.len(), second.len()), (3, 1));
        assert!(second.max() >= LATENCY_MAX_NS);

        recorder.record(0, 2_000, 1);
        drop(recorder);
        collector.ask();
        assert_eq!(collector.take().into_array()[0].len(), 1);
        assert_eq!(collector.take().into_array()[0].len(), 0);
    }

    /// Whatever lies between equal ones, each wait is counted.
    #[test]
    fn waits_are_counted_in_runs() {
        for runs in [&[1_usize][..], &[5], &[1, 1, 1], &[7, 1, 30, 2], &[2, 64, 3, 1]] {
            let since: Vec<Timestamp> =
                runs.iter().zip(1..).flat_map(|(&length, at)| vec![Timestamp(at * 1_000); length]).collect();
            let (mut runs, runs_collector) = recorder::<1>(true);
            let (mut single, single_collector) = recorder::<1>(true);
            let now = Timestamp(50_000);
            runs.record_waits(0, now, since.len(), |offset| since[offset]);
            since.iter().for_each(|at| single.record(0, now.0 - at.0, 1));
            drop((runs, single));
            assert_eq!(runs_collector.take().into_array(), single_collector.take().into_array());
        }
    }

    /// Many at once come to what they come to one by one, also in their least and their most.
    #[test]
    fn many_values_are_recorded_as_one_by_one() {
        let now = Timestamp(1_000_000_000_000);
        let values = |seed: u64| {
            (0..5_000_u64).map(move |step| (seed * 1_000_000 + step * step / 60 * 37) >> (step % 700 / 100))
        };
        let (mut many, many_collector) = recorder::<1>(true);
        let (mut single, single_collector) = recorder::<1>(true);
        for seed in [0, 3, 90_000] {
            let times: Vec<Timestamp> = values(seed).map(|value| Timestamp(now.0 - value)).collect();
            many.record_all_since(0, now, &times);
            values(seed).for_each(|value| single.record(0, value, 1));
        }
        // Some that are yet to come, some at once, and some at the bounds of what is told apart.
        let odd = [now.0 + 5, now.0, now.0 - 1, now.0 - 1, now.0 - LATENCY_MAX_NS, now.0 - 2 * LATENCY_MAX_NS, 0];
        many.record_all_since(0, now, &odd.map(Timestamp));
        odd.iter().for_each(|time| single.record(0, now.0.saturating_sub(*time), 1));
        many.record_all_since(0, now, &[]);
        drop((many, single));
        let [many] = many_collector.take().into_array();
        let [single] = single_collector.take().into_array();
        assert_eq!(many, single);
        assert_eq!((many.min(), many.max(), many.len()), (single.min(), single.max(), 15_007));
    }

    #[test]
    fn nothing_is_recorded_when_nothing_is_wanted() {
        let (mut recorder, collector) = recorder::<1>(false);
        recorder.record(0, 1_000, 3);
        assert_eq!(recorder.now(&Clock::new()), Timestamp(0));
        drop(recorder);
        assert_eq!(collector.take().into_array()[0].len(), 0);
    }

    #[test]
    fn a_stage_that_ends_loses_nothing_that_was_not_taken_yet() {
        let (mut recorder, collector) = recorder::<1>(true);
        recorder.record(0, 1_000, 3);
        collector.ask();
        recorder.hand_over_if_asked();
        recorder.record(0, 1_000, 2);
        drop(recorder);
        assert_eq!(collector.take().into_array()[0].len(), 5);
        assert_eq!(collector.take().into_array()[0].len(), 0);
    }
}
