//! One run: all that was asked for, in interleaved rounds, so that what disturbs the machine disturbs everything alike.

use anyhow::Result;

use crate::{
    arguments::{Part, Settings},
    books::Books,
    durable::Durable,
    latency::Latencies,
    overdrafts::Overdrafts,
    recovery::{Excision, SnapshotLoad},
    report::{Report, load_average},
    rings::Rings,
    throughput::Throughput,
};

/// Commands of the history that is excised from, and accounts of the state that is loaded, in a run of everything. Each
/// alone is measured on ten times as much.
const EXCISION_COMMANDS: u64 = 1_000_000;
const SNAPSHOT_ACCOUNTS: u32 = 100_000;

/// Measures all that the settings ask for.
///
/// # Errors
/// When a run cannot be made at all. A run that ended wrongly is in [`Report::failures`].
pub fn run(settings: &Settings) -> Result<Report> {
    let wants = |part| settings.part == part || settings.part == Part::Peers;
    let load_before = load_average();
    let mut throughput = wants(Part::Exchange).then(|| Throughput::new(settings));
    let mut overdrafts = wants(Part::Overdrafts).then(|| Overdrafts::new(settings));
    let mut latencies = wants(Part::Latency).then(|| Latencies::new(settings));
    let mut durable = wants(Part::Durable).then(|| Durable::new(settings));
    let mut rings = wants(Part::Rings).then(|| Rings::new(settings));
    let mut books = wants(Part::Books).then(|| Books::new(settings));
    let excision = match settings.part {
        Part::Excision(size) => Some(size.history),
        Part::Peers => Some(EXCISION_COMMANDS.min(settings.commands as u64)),
        _ => None,
    };
    let mut excision = excision.map(|commands| Excision::new(settings, commands)).transpose()?;
    let snapshot = match settings.part {
        Part::Snapshot(size) => Some(size.accounts),
        Part::Peers => Some(SNAPSHOT_ACCOUNTS.min(settings.commands as u32)),
        _ => None,
    };
    let mut snapshot = snapshot.map(|accounts| SnapshotLoad::new(settings, accounts)).transpose()?;
    // Once: it is long, and what it is to show is that it lasts.
    if let Some(durable) = &mut durable {
        durable.round()?;
    }
    for _ in 0..settings.rounds {
        if let Some(latencies) = &mut latencies {
            latencies.round()?;
        }
        if let Some(excision) = &mut excision {
            excision.round()?;
        }
        if let Some(snapshot) = &mut snapshot {
            snapshot.round()?;
        }
        if let Some(throughput) = &mut throughput {
            throughput.round()?;
        }
        if let Some(overdrafts) = &mut overdrafts {
            overdrafts.round()?;
        }
        if let Some(rings) = &mut rings {
            rings.round();
        }
        if let Some(books) = &mut books {
            books.round();
        }
    }
    let parts = [
        throughput.map(Throughput::finish),
        overdrafts.map(Overdrafts::finish),
        durable.map(Durable::finish),
        latencies.map(Latencies::finish),
        rings.map(Rings::finish),
        books.map(Books::finish),
        excision.map(Excision::finish),
        snapshot.map(SnapshotLoad::finish),
    ];
    Ok(Report::new(settings.rounds, load_before, parts.into_iter().flatten().collect()))
}
