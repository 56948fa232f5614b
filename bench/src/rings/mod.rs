//! Rings between threads, ours and the peers': the same items, in the same order, by the same loop around them.

mod broadcast;
mod spsc;
mod transfer;

use gateway_sim::{machine::cores, report::text::grouped};

use crate::{
    arguments::Settings,
    report::{Figure, Findings, Section},
};
pub use transfer::{Item, Transfer};

/// How many items every ring holds.
pub const CAPACITY: usize = 1_024;
/// How many items a batch has.
pub const BATCH: usize = 64;

/// One ring under one setting.
struct Case {
    ring: &'static str,
    setting: String,
    /// Whether it is ours: it may not fail.
    ours: bool,
    kind: Kind,
    run: fn(u64) -> Transfer,
    samples: Vec<f64>,
    wrong: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Spsc,
    Broadcast,
}

impl Case {
    const fn new(kind: Kind, ring: &'static str, setting: String, run: fn(u64) -> Transfer) -> Self {
        let ours = matches!(ring.as_bytes(), b"reprise");
        Self { ring, setting, ours, kind, run, samples: Vec::new(), wrong: 0 }
    }
}

/// Measures rings.
pub struct Rings {
    items: u64,
    cases: Vec<Case>,
}

impl Rings {
    /// All rings under all settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut cases = spsc::cases();
        cases.extend(broadcast::cases());
        Self { items: settings.items, cases }
    }

    /// Measures everything once.
    pub fn round(&mut self) {
        for case in &mut self.cases {
            let transfer = (case.run)(self.items);
            case.samples.push(self.items as f64 / transfer.seconds);
            case.wrong += transfer.wrong;
        }
    }

    /// The figures, and what of ours went wrong.
    #[must_use]
    pub fn finish(self) -> Findings {
        let section = |kind, title: &str, conditions: Vec<String>| {
            let cases: Vec<&Case> = self.cases.iter().filter(|case| case.kind == kind).collect();
            let figures = cases.iter().map(|case| {
                let outcome = match case.wrong {
                    0 => "all items, in order".to_owned(),
                    wrong => format!("{wrong} ITEMS WRONG"),
                };
                let figure = Figure::new(case.ring, case.setting.as_str(), &case.samples, outcome);
                match cases.iter().find(|other| other.ours && other.setting == case.setting) {
                    Some(ours) if !case.ours => figure.compared_to("reprise", &ours.samples),
                    _ => figure,
                }
            });
            let mut figures: Vec<Figure> = figures.collect();
            if kind == Kind::Spsc {
                for bytes in [8, 64] {
                    let setting = format!("{bytes} bytes, batch of {BATCH}");
                    figures.push(Figure::new("crossbeam ArrayQueue", setting, &[], "has no batches".to_owned()));
                }
            }
            Section { title: title.to_owned(), conditions, unit: "items", figures }
        };
        let common = format!(
            "{} items, rings of {CAPACITY}, who finds a ring full or empty yields; every item is checked",
            grouped(self.items)
        );
        let pinned = |threads: usize| if threads <= cores() { "each pinned" } else { "not pinned: more than cores" };
        let spsc = vec![common.clone(), format!("two threads, {}", pinned(2))];
        let broadcast =
            vec![common, format!("every consumer sees every item; 3 threads {}, 4 threads {}", pinned(3), pinned(4))];
        let sections = vec![
            section(Kind::Spsc, "rings, one producer and one consumer", spsc),
            section(Kind::Broadcast, "rings, one producer and several consumers", broadcast),
        ];
        let wrong = self.cases.iter().filter(|case| case.ours && case.wrong > 0);
        let failures = wrong.map(|case| format!("ring, {}: {} items wrong", case.setting, case.wrong)).collect();
        Findings { sections, failures, ..Findings::default() }
    }
}
