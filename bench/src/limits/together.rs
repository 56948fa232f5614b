//! How much more two cores do together than one alone: two cores of their own twice as much, two threads of one core less.

use std::{fmt, hint::black_box, sync::Barrier, thread, time::Instant};

use serde::Serialize;

use crate::report::median;

/// Numbers that are sorted again and again, out of a core's nearest cache.
const NUMBERS: usize = 4_096;
/// How often they are in one measurement, and how many of these are made: the fastest counts, as whatever disturbs makes it slower.
const SORTS: usize = 50;
const MEASUREMENTS: usize = 7;

/// What two cores do together.
#[derive(Clone, Debug, Serialize)]
pub struct Together {
    /// How much both do at once, by what one does alone; one for each round.
    pub samples: Vec<f64>,
}

impl Together {
    /// Measures it once more; does nothing where there is one core.
    pub(crate) fn round(&mut self) {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let &[first, second, ..] = cores.as_slice() else { return };
        let (mut alone, mut both) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..MEASUREMENTS {
            alone = alone.min(seconds_on(&[first]));
            both = both.min(seconds_on(&[first, second]));
        }
        self.samples.push(2.0 * alone / both);
    }

    /// Nothing measured yet.
    pub(crate) const fn new() -> Self {
        Self { samples: Vec::new() }
    }
}

/// How long it takes until all of the cores have done the same work, begun at once.
fn seconds_on(cores: &[core_affinity::CoreId]) -> f64 {
    let barrier = &Barrier::new(cores.len());
    thread::scope(|scope| {
        let running: Vec<_> = cores
            .iter()
            .map(|&core| {
                scope.spawn(move || {
                    // A core that cannot be had makes the figure worse than it is.
                    core_affinity::set_for_current(core);
                    sort_numbers();
                    barrier.wait();
                    let begun = Instant::now();
                    (0..SORTS).for_each(|_| sort_numbers());
                    begun.elapsed().as_secs_f64()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("sorting does not panic")).fold(0.0, f64::max)
    })
}

fn sort_numbers() {
    let mut state = 1_u64;
    let mut numbers: Vec<u32> = (0..NUMBERS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        })
        .collect();
    numbers.sort_unstable();
    black_box(&numbers);
}

impl fmt::Display for Together {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples } = self;
        if samples.is_empty() {
            return writeln!(formatter, "together  there is one core");
        }
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = samples.iter().copied().fold(0.0, f64::max);
        writeln!(
            formatter,
            "together  two cores do {:.2} of what one does alone ({least:.2} to {most:.2}): 2 if each is a core of its own, less \
             if they are two threads of one",
            median(samples)
        )
    }
}
