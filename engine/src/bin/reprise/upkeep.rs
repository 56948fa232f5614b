//! `reprise snapshot`, `reprise prune` and `reprise accept-loss`: upkeep of a data directory whose exchange is stopped.

use std::path::Path;

use engine::{
    journal::{
        FileStorage, Genesis, Journal, OpenError, prune,
        snapshot::{SNAPSHOTS_KEPT_MIN, check_snapshot, list_snapshots, remove_old_snapshots},
    },
    pipeline::Clock,
    recovery::{Timeline, save_snapshot},
    types::Sequence,
};
use serde_json::json;

use crate::{
    arguments::{AcceptLossArguments, PruneArguments},
    failure::{FINE, Failure},
    output::{Output, count},
};

/// Takes the directory, which a running exchange holds.
fn lock(directory: &Path) -> Result<FileStorage, Failure> {
    FileStorage::lock(directory).map_err(|error| match error {
        OpenError::Locked { .. } => {
            Failure::failed(format!("{error}; while it runs, an exchange makes its snapshots by itself"))
        }
        other => other.into(),
    })
}

/// Gives up what is damaged and all behind it, on record.
pub fn accept_loss(directory: &Path, arguments: &AcceptLossArguments, output: &mut Output) -> Result<u8, Failure> {
    let storage = lock(directory)?;
    let time = Clock::new().now();
    let loss = Journal::accept_loss(&storage, Sequence(arguments.after), &arguments.reason, time)
        .map_err(|error| Failure::failed(error.to_string()))?;
    if output.json {
        output.document(&json!({
            "kept_through": loss.kept.sequence.0,
            "head_hash": loss.kept.hash.to_string(),
            "file": loss.file,
            "offset": loss.offset,
            "damage": loss.damage,
        }))?;
    } else {
        output.line(format!("given up    {} from byte {} on: {}", loss.file, loss.offset, loss.damage))?;
        output.line(format!("kept        all through sequence {}", count(loss.kept.sequence.0)))?;
        output.line("recorded    in ACCEPTED-LOSSES; the damaged segments are set aside as .lost files")?;
    }
    Ok(FINE)
}

/// Makes a snapshot of the last durable moment.
pub fn snapshot(timeline: &Timeline, output: &mut Output) -> Result<u8, Failure> {
    let storage = lock(timeline.directory())?;
    let mut replay = timeline.replay_from(Sequence(u64::MAX))?;
    while replay.skip()?.is_some() {}
    let header = save_snapshot(&storage, replay.exchange(), replay.head(), replay.time(), replay.journal_id())
        .map_err(|error| Failure::failed(error.to_string()))?;
    let removed =
        remove_old_snapshots(&storage, SNAPSHOTS_KEPT_MIN).map_err(|error| Failure::failed(error.to_string()))?.removed;
    if output.json {
        output.document(&json!({
            "snapshot": header.name().to_string(),
            "sequence": header.sequence.0,
            "state_hash": replay.exchange().state_hash().to_string(),
            "removed": removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }))?;
    } else {
        output.line(format!("made        {}", header.name()))?;
        output.line(format!("state       {}", replay.exchange().state_hash()))?;
        for name in removed {
            output.line(format!("removed     {name}"))?;
        }
    }
    Ok(FINE)
}

/// Removes the segments that neither of the two newest good snapshots needs.
pub fn prune_segments(timeline: &Timeline, arguments: &PruneArguments, output: &mut Output) -> Result<u8, Failure> {
    let storage = lock(timeline.directory())?;
    let names = list_snapshots(&storage).map_err(|error| Failure::failed(error.to_string()))?;
    let mut good = names.into_iter().filter_map(|name| check_snapshot(&storage, name).ok());
    let (Some(_), Some(older)) = (good.next(), good.next()) else {
        return Err(Failure::failed(
            "there are fewer than two good snapshots, and nothing is pruned that one of them alone would have to replace: make one with reprise snapshot",
        ));
    };
    let genesis = if arguments.first_segment { Genesis::Remove } else { Genesis::Keep };
    let pruned = prune(&storage, older.head(), genesis).map_err(|error| Failure::failed(error.to_string()))?;
    if output.json {
        output.document(&json!({
            "removed_segments": pruned.removed,
            "kept_segments": pruned.kept,
            "first_sequence": pruned.first_sequence.0,
        }))?;
    } else {
        output.line(format!("removed     {} segments", count(pruned.removed.len() as u64)))?;
        output.line(format!("history     begins at sequence {}", count(pruned.first_sequence.0)))?;
    }
    Ok(FINE)
}
