//! Two threads on two cores that hand a number to and fro.

use std::{
    fmt,
    hint::spin_loop,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use serde::Serialize;

use crate::report::median;

/// Handovers there and back in one round.
const TRIPS: u64 = 500_000;

/// From one core to another and back.
#[derive(Clone, Debug, Serialize)]
pub struct RoundTrip {
    /// Whether each thread was on a core of its own.
    pub pinned: bool,
    /// The median of the rounds.
    pub median_ns: f64,
    /// The least of the rounds.
    pub least_ns: f64,
    /// The most of the rounds.
    pub most_ns: f64,
}

/// A number in cache lines of its own: processors fetch two at a time.
#[repr(align(128))]
struct Line(AtomicU64);

/// Measures round trips; `None` where there is one core.
pub(super) fn measure(rounds: usize) -> Option<RoundTrip> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let &[first, second, ..] = cores.as_slice() else { return None };
    let mut pinned = true;
    let samples: Vec<f64> = (0..rounds)
        .map(|_| {
            let (there, back) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
            thread::scope(|scope| {
                let answering = scope.spawn(|| {
                    let pinned = core_affinity::set_for_current(second);
                    for number in 1..=TRIPS {
                        await_number(&there.0, number);
                        back.0.store(number, Ordering::Release);
                    }
                    pinned
                });
                let asking = scope.spawn(|| {
                    let pinned = core_affinity::set_for_current(first);
                    // The first is not timed: the other thread may not have started.
                    there.0.store(1, Ordering::Release);
                    await_number(&back.0, 1);
                    let begun = Instant::now();
                    for number in 2..=TRIPS {
                        there.0.store(number, Ordering::Release);
                        await_number(&back.0, number);
                    }
                    (pinned, begun.elapsed().as_nanos() as f64 / (TRIPS - 1) as f64)
                });
                let (first_pinned, ns) = asking.join().expect("the thread does not panic");
                pinned &= first_pinned & answering.join().expect("the thread does not panic");
                ns
            })
        })
        .collect();
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(0.0, f64::max);
    Some(RoundTrip { pinned, median_ns: median(&samples), least_ns: least, most_ns: most })
}

/// Spins, and offers the core now and then: on a busy machine the other thread may need it.
fn await_number(line: &AtomicU64, number: u64) {
    let mut spins = 0_u32;
    while line.load(Ordering::Acquire) != number {
        spins += 1;
        if spins.is_multiple_of(1 << 14) {
            thread::yield_now();
        } else {
            spin_loop();
        }
    }
}

impl fmt::Display for RoundTrip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pinned, median_ns, least_ns, most_ns } = self;
        let where_ = if *pinned { "pinned to two cores" } else { "NOT PINNED" };
        writeln!(
            formatter,
            "core to core and back: {median_ns:.0} ns ({least_ns:.0} to {most_ns:.0} over the rounds), {where_}"
        )
    }
}
