//! One run: all that was asked for, in interleaved rounds, so that what disturbs the machine disturbs everything alike.

use anyhow::Result;

use crate::{
    arguments::{Part, Settings},
    books::Books,
    durable::Durable,
    exchange::Exchanges,
    latency::Latencies,
    limits::Together,
    memory,
    overdrafts::Overdrafts,
    recovery::{Excision, SnapshotLoad},
    report::{Findings, Report, load_average},
    rings::Rings,
    throughput::Throughput,
};

/// Accounts of the state that is loaded in a run of everything; alone it is measured on ten times as many.
const SNAPSHOT_ACCOUNTS: u32 = 100_000;

/// A part of a run.
trait Measured {
    /// Measures everything of it once.
    fn round(&mut self) -> Result<()>;

    /// The figures, and what of ours went wrong.
    fn finish(self: Box<Self>) -> Findings;
}

/// What a part is, from its own two functions; a round that cannot fail is `Ok`.
macro_rules! measured {
    ($($part:ty: $round:expr;)+) => {$(
        impl Measured for $part {
            fn round(&mut self) -> Result<()> {
                let round: fn(&mut Self) -> Result<()> = $round;
                round(self)
            }

            fn finish(self: Box<Self>) -> Findings {
                <$part>::finish(*self)
            }
        }
    )+};
}

measured! {
    Rings: |part| { part.round(); Ok(()) };
    Books: |part| { part.round(); Ok(()) };
    Exchanges: Self::round;
    Throughput: Self::round;
    Latencies: Self::round;
    Overdrafts: Self::round;
    Excision: Self::round;
    SnapshotLoad: Self::round;
}

/// Measures all that the settings ask for.
///
/// # Errors
/// When a run cannot be made at all. A run that ended wrongly is in [`Report::failures`].
pub fn run(settings: &Settings) -> Result<Report> {
    let load_before = load_average();
    // First, while nothing has been freed.
    let wants = |part| settings.part == part || settings.part == Part::Peers;
    let memory = wants(Part::Memory).then(|| memory::measure(settings.memory_orders, settings.memory_accounts));
    // Once: it is long, and what it is to show is that it lasts.
    let durable = wants(Part::Durable).then(|| -> Result<Findings> {
        let mut durable = Durable::new(settings);
        durable.round()?;
        Ok(durable.finish())
    });
    let durable = durable.transpose()?;
    let mut parts = parts(settings)?;
    let rounds = if parts.is_empty() { 0 } else { settings.rounds };
    let mut together = Together::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        together.round();
        parts.iter_mut().try_for_each(|part| part.round())?;
    }
    let findings = parts.into_iter().map(|part| part.finish()).chain(durable).chain(memory).collect();
    Ok(Report::new(rounds, load_before, together, findings))
}

fn parts(settings: &Settings) -> Result<Vec<Box<dyn Measured>>> {
    let wants = |part| settings.part == part || settings.part == Part::Peers;
    let mut parts: Vec<Box<dyn Measured>> = Vec::new();
    if wants(Part::Rings) {
        parts.push(Box::new(Rings::new(settings)));
    }
    if wants(Part::Books) {
        parts.push(Box::new(Books::new(settings)?));
    }
    if wants(Part::Exchange) {
        parts.push(Box::new(Exchanges::new(settings)?));
    }
    if wants(Part::Pipeline) {
        parts.push(Box::new(Throughput::new(settings)));
    }
    if wants(Part::Latency) {
        parts.push(Box::new(Latencies::new(settings)));
    }
    if wants(Part::Overdrafts) {
        parts.push(Box::new(Overdrafts::new(settings)));
    }
    let excision = match settings.part {
        Part::Excision(size) => Some(size.history),
        // Ten million, as many as the claim is about, unless less was asked for.
        Part::Peers => Some(settings.commands as u64 * 10),
        _ => None,
    };
    if let Some(commands) = excision {
        parts.push(Box::new(Excision::new(settings, commands)?));
    }
    let snapshot = match settings.part {
        Part::Snapshot(size) => Some(size.accounts),
        Part::Peers => Some(SNAPSHOT_ACCOUNTS.min(settings.commands as u32)),
        _ => None,
    };
    if let Some(accounts) = snapshot {
        parts.push(Box::new(SnapshotLoad::new(settings, accounts)?));
    }
    Ok(parts)
}
