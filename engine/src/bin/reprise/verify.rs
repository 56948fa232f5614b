//! `reprise verify`: reads the whole journal with all its checks, computes the state again and checks its invariants, and
//! every epoch from its parent and its plan.
//!
//! One thread reads and checks, another applies, so that the reading hides behind the state machine.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Bound,
    path::Path,
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Instant,
};

use engine::{
    command::SequencedCommand,
    event::{Event, NoEvents, SequencedEvent},
    exchange::{Exchange, StateHash},
    journal::{
        FileStorage, Head, JournalId, JournalReader, OpenError, Tail,
        snapshot::{SnapshotError, SnapshotHeader, SnapshotName, check_snapshot, list_snapshots},
    },
    recovery::{self, EpochError, Timeline, load_snapshot, step},
    types::{Sequence, wire::Writer},
};
use serde_json::json;

use crate::{
    arguments::VerifyArguments,
    epochs::{self, Epochs},
    failure::{FINE, Failure},
    output::{Output, count},
    progress::{self, Progress},
};

/// Commands handed over at once, and how many such handfuls may wait.
const BATCH_COMMANDS: usize = 4096;
const BATCHES_WAITING: usize = 8;

/// What one pass over the journal found.
struct Pass {
    exchange: Exchange,
    state_hash: StateHash,
    events_hash: Option<blake3::Hash>,
    events: u64,
    journal_id: JournalId,
    head: Head,
    /// `None` when the journal is being written, so that its tail cannot be judged.
    tail: Option<Tail>,
    commands: u64,
    seconds: f64,
    /// The snapshots whose state was computed again.
    snapshots: Vec<SnapshotName>,
    /// What the pass began with, where history before it was pruned.
    began_with: Option<SnapshotName>,
}

/// Verifies.
pub fn run(timeline: &Timeline, arguments: &VerifyArguments, output: &mut Output) -> Result<u8, Failure> {
    let directory = timeline.directory();
    let what = if arguments.deep { "first replay" } else { "verifying" };
    let pass = replay(directory, what, arguments, None)?;
    if arguments.deep {
        let until = Some(pass.exchange.last_sequence());
        let second = replay(directory, "second replay", arguments, until)?;
        compare(&pass, &second)?;
    }
    let epochs = epochs::verify(timeline, is_in_use(directory))?;
    report(directory, &pass, &epochs, arguments, output)?;
    Ok(FINE)
}

/// Replays from the first command, through `until` or to the end.
fn replay(
    directory: &Path,
    what: &'static str,
    arguments: &VerifyArguments,
    until: Option<Sequence>,
) -> Result<Pass, Failure> {
    let begun = Instant::now();
    let (sender, batches) = sync_channel(BATCHES_WAITING);
    let in_use = is_in_use(directory);
    let beginning = begin(directory)?;
    let (exchange, began_with, reader) = (beginning.exchange, beginning.snapshot, beginning.reader);
    let snapshots = snapshots(directory, in_use)?;
    thread::scope(|scope| {
        let reading = scope.spawn(move || -> Result<(JournalId, Head, Option<Tail>), Failure> {
            let mut reader = reader;
            let journal_id = reader.journal_id();
            let mut batch = Vec::with_capacity(BATCH_COMMANDS);
            let hand_over = |batch: &mut Vec<SequencedCommand>| {
                // If nobody takes it, the other thread has stopped, and says why.
                let full = std::mem::replace(batch, Vec::with_capacity(BATCH_COMMANDS));
                sender.send(full).is_ok()
            };
            let last = until.unwrap_or(Sequence(u64::MAX));
            for command in reader.by_ref().take_while(|read| !matches!(read, Ok(read) if read.sequence > last)) {
                batch.push(command?);
                if batch.len() == BATCH_COMMANDS && !hand_over(&mut batch) {
                    break;
                }
            }
            hand_over(&mut batch);
            let head = reader.head();
            let tail = if in_use { None } else { Some(reader.into_tail()?) };
            Ok((journal_id, head, tail))
        });
        let applied = apply(exchange, &snapshots, &batches, what, directory, arguments);
        // The reader waits for no one once there is nobody to take a batch.
        drop(batches);
        let read = reading.join().unwrap_or_else(|_| Err(Failure::failed("the journal's reader stopped")));
        // What the reader found comes first: the commands before it are sound.
        let (journal_id, head, tail) = read?;
        let (exchange, events_hash, events, commands) = applied?;
        let seconds = begun.elapsed().as_secs_f64();
        let state_hash = exchange.state_hash();
        let snapshots = snapshots.values().map(SnapshotHeader::name).filter(|name| Some(*name) != began_with).collect();
        Ok(Pass {
            exchange,
            state_hash,
            events_hash,
            events,
            journal_id,
            head,
            tail,
            commands,
            seconds,
            snapshots,
            began_with,
        })
    })
}

/// Where a pass begins.
struct Beginning {
    exchange: Exchange,
    snapshot: Option<SnapshotName>,
    reader: JournalReader,
}

/// With the first command, or with the oldest good snapshot where what came before was pruned.
fn begin(directory: &Path) -> Result<Beginning, Failure> {
    let pruned = match JournalReader::open_directory(directory) {
        Ok(reader) => return Ok(Beginning { exchange: Exchange::new(), snapshot: None, reader }),
        Err(pruned @ OpenError::Pruned { .. }) => pruned,
        Err(error) => return Err(error.into()),
    };
    let storage = FileStorage::read_only(directory);
    for name in list_snapshots(&storage).map_err(unreadable)?.into_iter().rev() {
        if let Ok(loaded) = load_snapshot(&storage, name, 0)
            && let Ok(reader) = JournalReader::open_after(storage.clone(), loaded.header.head())
        {
            return Ok(Beginning { exchange: loaded.exchange, snapshot: Some(name), reader });
        }
    }
    Err(pruned.into())
}

/// The snapshots by their sequence, all of which must be good.
fn snapshots(directory: &Path, in_use: bool) -> Result<BTreeMap<Sequence, SnapshotHeader>, Failure> {
    let storage = FileStorage::read_only(directory);
    let mut found = BTreeMap::new();
    for name in list_snapshots(&storage).map_err(unreadable)? {
        match check_snapshot(&storage, name) {
            Ok(header) => drop(found.insert(header.sequence, header)),
            // A running exchange removes those that are too old.
            Err(SnapshotError::Io { source, .. }) if in_use && source.kind() == io::ErrorKind::NotFound => {}
            Err(bad) => {
                return Err(Failure::Damaged(format!(
                    "snapshot {name}: {bad}; the exchange opens from an older one: move the file away once you have a copy"
                )));
            }
        }
    }
    Ok(found)
}

fn unreadable(error: SnapshotError) -> Failure {
    Failure::failed(error.to_string())
}

type Applied = (Exchange, Option<blake3::Hash>, u64, u64);

/// Applies what is read, and checks the invariants now and then and at the end.
fn apply(
    mut exchange: Exchange,
    snapshots: &BTreeMap<Sequence, SnapshotHeader>,
    batches: &Receiver<Vec<SequencedCommand>>,
    what: &'static str,
    directory: &Path,
    arguments: &VerifyArguments,
) -> Result<Applied, Failure> {
    let epochs = recovery::Epochs::new(FileStorage::read_only(directory));
    let mut hashed = arguments.deep.then(EventHash::default);
    let (mut events, mut commands) = (Vec::<Event>::new(), 0_u64);
    let mut progress = Progress::start(what, progress::estimate(directory));
    let mut awaited = snapshots.range((Bound::Excluded(exchange.last_sequence()), Bound::Unbounded));
    let mut due = awaited.next();
    for batch in batches {
        for sequenced in &batch {
            let SequencedCommand { sequence, time, .. } = sequenced;
            match &mut hashed {
                None => step(&mut exchange, sequenced, &mut NoEvents, &epochs).map_err(damaged_epoch)?,
                Some(hashed) => {
                    events.clear();
                    step(&mut exchange, sequenced, &mut events, &epochs).map_err(damaged_epoch)?;
                    for (index, &event) in (0..).zip(&events) {
                        hashed.take(&SequencedEvent { sequence: *sequence, time: *time, index, event });
                    }
                }
            }
            commands += 1;
            if due.is_some_and(|(due, _)| due == sequence) {
                let (_, header) = due.expect("it is due");
                if exchange.state_hash().0 != header.state_hash {
                    return Err(Failure::Damaged(format!(
                        "snapshot {}: its state is not what the commands before it lead to; move the file away, and report this",
                        header.name()
                    )));
                }
                due = awaited.next();
            }
            if commands.is_multiple_of(arguments.check_every) {
                check(&exchange)?;
            }
            progress.step();
        }
    }
    check(&exchange)?;
    let (events_hash, events) = hashed.map_or((None, 0), |hashed| (Some(hashed.finish()), hashed.count));
    Ok((exchange, events_hash, events, commands))
}

fn damaged_epoch(error: Box<EpochError>) -> Failure {
    Failure::Damaged(error.to_string())
}

fn check(exchange: &Exchange) -> Result<(), Failure> {
    exchange.check_invariants().map_err(|broken| {
        let sequence = exchange.last_sequence();
        Failure::Damaged(format!(
            "after sequence {sequence} an invariant is broken: {broken}; keep a copy of the data directory, and report this"
        ))
    })
}

/// A running hash over the canonical bytes of events.
#[derive(Default)]
struct EventHash {
    hasher: blake3::Hasher,
    /// Waits to be hashed: long pieces are hashed faster.
    buffer: Vec<u8>,
    count: u64,
}

impl EventHash {
    fn take(&mut self, event: &SequencedEvent) {
        let mut writer = Writer::default();
        event.encode(&mut writer);
        self.buffer.extend_from_slice(writer.as_bytes());
        self.count += 1;
        if self.buffer.len() >= 1 << 16 {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn finish(&self) -> blake3::Hash {
        self.hasher.clone().update(&self.buffer).finalize()
    }
}

fn compare(first: &Pass, second: &Pass) -> Result<(), Failure> {
    let differ = |what: &str, one: String, other: String| {
        Err(Failure::Damaged(format!(
            "two replays of {} commands gave different {what}: {one} and {other}; keep a copy of the data directory, and report this",
            count(first.commands)
        )))
    };
    if (first.events, first.events_hash) != (second.events, second.events_hash) {
        let text = |pass: &Pass| {
            let hash = pass.events_hash.map(|hash| hash.to_hex().to_string()).unwrap_or_default();
            format!("{} events with hash {hash}", count(pass.events))
        };
        return differ("events", text(first), text(second));
    }
    if first.state_hash != second.state_hash {
        return differ("states", first.state_hash.to_string(), second.state_hash.to_string());
    }
    Ok(())
}

/// Whether an exchange has the journal open. The lock is tried and let go at once.
fn is_in_use(directory: &Path) -> bool {
    File::open(directory.join("LOCK")).is_ok_and(|lock| lock.try_lock_shared().is_err())
}

fn report(
    directory: &Path,
    pass: &Pass,
    epochs: &Epochs,
    arguments: &VerifyArguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let per_second = (pass.commands as f64 / pass.seconds.max(1e-9)) as u64;
    let exchange = &pass.exchange;
    let events_hash = pass.events_hash.map(|hash| hash.to_hex().to_string());
    if output.json {
        let tail = match &pass.tail {
            None => json!({ "state": "being written" }),
            Some(Tail::Clean) => json!({ "state": "clean" }),
            Some(Tail::Torn(torn)) => json!({
                "state": "torn", "file": torn.file, "offset": torn.offset, "bytes": torn.bytes,
                "after_sequence": torn.after_sequence.0,
            }),
        };
        let epochs_json = epochs.json(pass.head.epoch);
        output.document(&json!({
            "sound": true,
            "journal_id": pass.journal_id.to_string(),
            "commands": pass.commands,
            "seconds": pass.seconds,
            "commands_per_second": per_second,
            "sequence": exchange.last_sequence().0,
            "epoch": pass.head.epoch.0,
            "head_hash": pass.head.hash.to_string(),
            "state_hash": pass.state_hash.to_string(),
            "tail": tail,
            "snapshots": pass.snapshots.iter().map(|name| name.sequence.0).collect::<Vec<_>>(),
            "began_with_snapshot": pass.began_with.map(|name| name.sequence.0),
            "deep": arguments.deep,
            "events": arguments.deep.then_some(pass.events),
            "events_hash": events_hash,
            "epochs": epochs_json["verified"],
            "epochs_not_verified": epochs_json["not_verified"],
        }))?;
        return Ok(());
    }
    output.line(format!("journal     {} ({})", directory.display(), pass.journal_id))?;
    if let Some(name) = pass.began_with {
        output.line(format!("began with  snapshot {name}: what came before was pruned, and is not verified"))?;
    }
    for name in &pass.snapshots {
        output.line(format!("snapshot    {name}: its state was computed again, and is the same"))?;
    }
    output.line(format!(
        "commands    {} in {:.3} s: {} per second",
        count(pass.commands),
        pass.seconds,
        count(per_second)
    ))?;
    output.line(format!("sequence    {}:{}", pass.head.epoch, exchange.last_sequence()))?;
    epochs.lines(pass.head.epoch).iter().try_for_each(|line| output.line(line))?;
    output.line(format!("head hash   {}", pass.head.hash))?;
    output.line(format!("state hash  {}", pass.state_hash))?;
    if let Some(hash) = events_hash {
        output.line(format!("events      {} with hash {hash}, the same in both replays", count(pass.events)))?;
    }
    output.line(match &pass.tail {
        None => "tail        an exchange is writing: what follows the last whole block was not judged".to_owned(),
        Some(Tail::Clean) => "tail        clean".to_owned(),
        Some(Tail::Torn(torn)) => format!(
            "tail        torn: {} bytes in {} at byte {}, after sequence {}, never acknowledged; the exchange drops them when it starts",
            count(torn.bytes), torn.file, torn.offset, torn.after_sequence
        ),
    })?;
    output.line("sound       chain, checksums, sequences and invariants hold")?;
    Ok(())
}
