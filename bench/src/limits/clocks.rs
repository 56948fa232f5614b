//! What reading a clock takes.

use std::{
    fmt,
    hint::black_box,
    time::{Instant, SystemTime},
};

use engine::pipeline::Clock;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::report::median;

const READS: u32 = 1_000_000;

/// One clock.
#[derive(Clone, Debug, Serialize)]
pub struct ClockRead {
    /// Which.
    pub name: &'static str,
    /// Nanoseconds a read, the median of the rounds.
    pub median_ns: f64,
}

/// Reads the clocks in turn.
pub(super) fn measure(rounds: usize) -> Vec<ClockRead> {
    let clock = Clock::new();
    let mut histogram =
        Histogram::<u64>::new_with_bounds(1, engine::pipeline::LATENCY_MAX_NS, 3).expect("the bounds are in order");
    let mut samples: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        samples[0].push(timed(|| {
            black_box(clock.now());
        }));
        samples[1].push(timed(|| {
            black_box(Instant::now());
        }));
        samples[2].push(timed(|| {
            black_box(SystemTime::now());
        }));
        let mut value = 100;
        samples[3].push(timed(|| {
            // Values as a stage meets them, in no order that a processor could learn.
            value = (value * 29 + 17) % 8_191 + 100;
            histogram.record(value).expect("the value is within the bounds");
        }));
    }
    let names = [
        "the exchange's clock",
        "std::time::Instant",
        "std::time::SystemTime",
        "one record in a histogram, beside them",
    ];
    names.into_iter().zip(samples).map(|(name, samples)| ClockRead { name, median_ns: median(&samples) }).collect()
}

/// Nanoseconds a call.
fn timed(mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..READS).for_each(|_| call());
    begun.elapsed().as_nanos() as f64 / f64::from(READS)
}

impl fmt::Display for ClockRead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "  {:40} {:6.1}", self.name, self.median_ns)
    }
}
