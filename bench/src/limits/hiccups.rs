//! How long a thread that never waits is kept from running, by the system or by whatever else runs on its core.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use engine::pipeline::Clock;
use serde::Serialize;

use super::percentile;

/// For how long each core is watched.
const WATCHED: Duration = Duration::from_secs(3);
const WINDOW_NS: u64 = 1_000_000;

/// One core.
#[derive(Clone, Debug, Serialize)]
pub struct Hiccups {
    /// The core.
    pub core: usize,
    /// Half of all milliseconds have no longer gap than this.
    pub p50_ns: f64,
    /// All but one in a hundred.
    pub p99_ns: f64,
    /// All but one in a thousand.
    pub p999_ns: f64,
    /// The longest gap of all.
    pub max_ns: f64,
    /// The part of the time that gaps of more than 10 microseconds took.
    pub lost: f64,
}

/// Watches each core in turn, at most two of them.
pub(super) fn measure() -> Vec<Hiccups> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let watch = |core: core_affinity::CoreId| {
        thread::spawn(move || {
            core_affinity::set_for_current(core);
            watch_core(core.id)
        })
    };
    cores.into_iter().take(2).map(|core| watch(core).join().expect("the thread does not panic")).collect()
}

fn watch_core(core: usize) -> Hiccups {
    let clock = Clock::new();
    let mut longest: Vec<f64> = Vec::with_capacity(WATCHED.as_millis() as usize + 1);
    let begun = Instant::now();
    let first = clock.now().0;
    let (mut last, mut window, mut gap_max, mut lost) = (first, first, 0, 0);
    while last - first < WATCHED.as_nanos() as u64 {
        let now = clock.now().0;
        let gap = now - last;
        gap_max = gap_max.max(gap);
        lost += if gap > 10_000 { gap } else { 0 };
        if now - window >= WINDOW_NS {
            longest.push(gap_max as f64);
            (window, gap_max) = (now, 0);
        }
        last = now;
    }
    let lost = lost as f64 / begun.elapsed().as_nanos() as f64;
    longest.sort_by(f64::total_cmp);
    let of = |part| percentile(&longest, part);
    Hiccups { core, p50_ns: of(0.5), p99_ns: of(0.99), p999_ns: of(0.999), max_ns: of(1.0), lost }
}

impl fmt::Display for Hiccups {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: f64| format!("{:.1} us", ns / 1e3);
        writeln!(
            formatter,
            "  core {}  p50 {}, p99 {}, p99.9 {}, max {}; gaps of more than 10 us took {:.2} % of the time",
            self.core,
            us(self.p50_ns),
            us(self.p99_ns),
            us(self.p999_ns),
            us(self.max_ns),
            self.lost * 100.0
        )
    }
}
