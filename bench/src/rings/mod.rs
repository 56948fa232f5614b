//! Rings between threads, ours and the peers': the same items, in the same order, by the same loop around them.

mod broadcast;
mod fused;
mod round_trip;
mod spsc;
mod transfer;

use gateway_sim::{machine::cores, report::text::grouped};

use crate::{
    arguments::Settings,
    report::{Figure, Findings, Section, Target, median},
};
pub use transfer::{Item, Transfer};

/// How many items every ring holds.
pub const CAPACITY: usize = 1_024;
/// How many items a batch has.
pub const BATCH: usize = 64;
/// How often everything is measured in one round of the run, as one measurement is short and some are disturbed.
const REPEATS: usize = 7;
/// How many items go through a ring for one round trip that is made.
const ITEMS_PER_TRIP: u64 = 50;

/// One ring under one setting.
struct Case {
    ring: &'static str,
    setting: String,
    kind: Kind,
    run: fn(u64) -> Transfer,
    samples: Vec<f64>,
    wrong: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Spsc,
    Fused,
    Broadcast,
}

impl Case {
    const fn new(kind: Kind, ring: &'static str, setting: String, run: fn(u64) -> Transfer) -> Self {
        Self { ring, setting, kind, run, samples: Vec::new(), wrong: 0 }
    }
}

/// How one queue's round trips went, over all rounds.
struct TripCase {
    ring: &'static str,
    run: fn(usize) -> round_trip::RoundTrips,
    /// Medians of a round's trips, in nanoseconds.
    medians: Vec<f64>,
    wrong: u64,
}

/// Whether it is ours: it may not fail.
fn is_ours(ring: &str) -> bool {
    ring.starts_with("reprise")
}

/// Measures rings.
pub struct Rings {
    items: u64,
    cases: Vec<Case>,
    trips: Vec<TripCase>,
}

impl Rings {
    /// All rings under all settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut cases = spsc::cases();
        cases.extend(fused::cases());
        cases.extend(broadcast::cases());
        let trips = round_trip::CASES.map(|(ring, run)| TripCase { ring, run, medians: Vec::new(), wrong: 0 });
        Self { items: settings.items, cases, trips: trips.into() }
    }

    fn trip_count(&self) -> usize {
        (self.items / ITEMS_PER_TRIP).max(1) as usize
    }

    /// Measures everything some times.
    pub fn round(&mut self) {
        // What is compared is measured closely together: the machine is at times another after some seconds.
        for cases in self.cases.chunk_by_mut(|one, next| (one.kind, &one.setting) == (next.kind, &next.setting)) {
            for _ in 0..REPEATS {
                for case in &mut *cases {
                    let transfer = (case.run)(self.items);
                    case.samples.push(self.items as f64 / transfer.seconds);
                    case.wrong += transfer.wrong;
                }
            }
        }
        let trips = self.trip_count();
        for _ in 0..REPEATS {
            for case in &mut self.trips {
                let made = (case.run)(trips);
                case.medians.push(made.median_ns);
                case.wrong += made.wrong;
            }
        }
    }

    /// The figures, and what of ours went wrong.
    #[must_use]
    pub fn finish(self) -> Findings {
        let common = format!(
            "{} items, {REPEATS} times in each round, rings of {CAPACITY}; every item is checked",
            grouped(self.items)
        );
        let wait = "who finds a ring full or empty spins for some microseconds, then yields".to_owned();
        let pinned = |threads: usize| if threads <= cores() { "each pinned" } else { "not pinned: more than cores" };
        let spsc = vec![common.clone(), wait.clone(), format!("two threads, {}", pinned(2))];
        let fused = vec![
            common.clone(),
            "a producer and three stages, each behind the one before, all look at every item".to_owned(),
            format!(
                "reprise: two threads {}, producer and first stage, second and third, who spin before they yield; disruptor: a thread for each, not pinned, who yields",
                pinned(2)
            ),
        ];
        let broadcast = vec![
            common,
            wait,
            format!(
                "every consumer sees every item; 2 threads {}, 3 threads {}, 4 threads {}",
                pinned(2),
                pinned(3),
                pinned(4)
            ),
        ];
        let sections = vec![
            self.section(Kind::Spsc, "rings, one producer and one consumer", spsc),
            self.trips_section(),
            self.section(Kind::Fused, "rings, a pipeline of three stages", fused),
            self.section(Kind::Broadcast, "rings, one producer and several consumers", broadcast),
        ];
        let wrong = self.cases.iter().filter(|case| is_ours(case.ring) && case.wrong > 0);
        let wrong = wrong.map(|case| format!("ring, {}: {} items wrong", case.setting, case.wrong));
        let trips = self.trips.iter().filter(|case| is_ours(case.ring) && case.wrong > 0);
        let trips = trips.map(|case| format!("ring, round trips: {} messages wrong", case.wrong));
        let failures = wrong.chain(trips).collect();
        Findings { sections, targets: self.targets(), failures }
    }

    /// What the rings are to reach, each a ratio of medians over the same rounds.
    fn targets(&self) -> Vec<Target> {
        let of = |kind, ours: &str, peer: &str, setting: &str| {
            let samples = |ring: &str| {
                let case =
                    self.cases.iter().find(|case| case.kind == kind && case.ring == ring && case.setting == setting);
                median(&case.expect("such a case is measured").samples)
            };
            samples(ours) / samples(peer)
        };
        let trip = |ring: &str| {
            let case = self.trips.iter().find(|case| case.ring == ring);
            median(&case.expect("such a queue is measured").medians)
        };
        let spsc = |ours, peer, setting| of(Kind::Spsc, ours, peer, setting);
        vec![
            Target::at_least(
                "ratios.spsc_single_vs_rtrb",
                "messages of 56 bytes one by one, stamped ring to rtrb",
                spsc("reprise stamped", "rtrb", "56 bytes, one by one"),
                2.5,
            ),
            Target::at_least(
                "ratios.spsc_batch64_vs_rtrb",
                "items of 8 bytes in batches of 64, to rtrb",
                spsc("reprise spsc", "rtrb", "8 bytes, batch of 64"),
                1.2,
            ),
            Target::at_least(
                "ratios.spsc_batch64_vs_ringbuf",
                "items of 8 bytes in batches of 64, to ringbuf",
                spsc("reprise spsc", "ringbuf", "8 bytes, batch of 64"),
                1.1,
            ),
            Target::at_most(
                "ratios.pingpong_vs_rtrb",
                "round trip of 56 bytes, median time, stamped ring to rtrb",
                trip("reprise stamped") / trip("rtrb"),
                0.8,
            ),
            Target::at_least(
                "ratios.fused3_vs_disruptor",
                "three stages, items of 8 bytes in batches of 64, to disruptor",
                of(Kind::Fused, "reprise", "disruptor", "8 bytes, batch of 64"),
                4.0,
            ),
            Target::at_least(
                "ratios.broadcast_vs_disruptor",
                "one to one, items of 8 bytes in batches of 64, to disruptor",
                of(Kind::Broadcast, "reprise", "disruptor", "8 bytes, 1 consumer, batch of 64"),
                1.0,
            ),
        ]
    }

    fn section(&self, kind: Kind, title: &str, conditions: Vec<String>) -> Section {
        let cases: Vec<&Case> = self.cases.iter().filter(|case| case.kind == kind).collect();
        let figures = cases.iter().map(|case| {
            let outcome = match case.wrong {
                0 => "all items, in order".to_owned(),
                wrong => format!("{wrong} ITEMS WRONG"),
            };
            let figure = Figure::new(case.ring, case.setting.as_str(), &case.samples, outcome);
            // The first of ours under the setting: the one that is meant for it.
            match cases.iter().find(|other| is_ours(other.ring) && other.setting == case.setting) {
                Some(ours) if ours.ring != case.ring => figure.compared_to(ours.ring, &ours.samples),
                _ => figure,
            }
        });
        let mut figures: Vec<Figure> = figures.collect();
        if kind == Kind::Spsc {
            for ring in ["crossbeam ArrayQueue", "crossbeam-channel", "kanal"] {
                figures.push(Figure::new(ring, format!("batch of {BATCH}"), &[], "has no batches".to_owned()));
            }
        }
        Section { title: title.to_owned(), conditions, unit: "items", figures }
    }

    fn trips_section(&self) -> Section {
        let per_second = |case: &TripCase| -> Vec<f64> { case.medians.iter().map(|median| 1e9 / median).collect() };
        let ours = per_second(&self.trips[0]);
        let figures = self.trips.iter().map(|case| {
            let outcome = match case.wrong {
                0 => "every message, in order",
                _ => "WRONG MESSAGES",
            };
            let setting = format!("56 bytes, p50 {:.0} ns", median(&case.medians));
            let figure = Figure::new(case.ring, setting, &per_second(case), outcome.to_owned());
            if case.ring == self.trips[0].ring { figure } else { figure.compared_to(self.trips[0].ring, &ours) }
        });
        let conditions = vec![
            format!(
                "{} round trips, {REPEATS} times in each round, two threads pinned, each spinning for some microseconds before it yields",
                grouped(self.trip_count() as u64)
            ),
            "the rate is that of the median round trip, one reading of the clock included".to_owned(),
        ];
        Section {
            title: "rings, there and back".to_owned(),
            conditions,
            unit: "round trips",
            figures: figures.collect(),
        }
    }
}
