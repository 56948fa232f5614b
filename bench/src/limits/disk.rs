//! How long the disk takes to make a block durable, by its size and by the way it is written, and what that allows.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use engine::{
    command::SequencedCommand,
    journal::{
        FileStorage, Journal, MemoryStorage, Options, WriteMethod,
        storage::{Access, PageBuffer, Segment as _, Storage as _},
    },
    types::{Cause, Timestamp},
};
use serde::Serialize;

use super::percentile;
use crate::workload::Workload;

/// What is written at once.
pub const BLOCK_BYTES: [usize; 9] =
    [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20];
/// Of the file that is written over and over, as a segment filled with zeros ahead of use is written.
const FILE_BYTES: u64 = 64 << 20;
/// How many blocks of one size are written in one round, if there is time.
const WRITES: usize = 150;
/// How long one size is written for in one round.
const ROUND_TIME: Duration = Duration::from_millis(120);
/// Commands whose bytes in the journal are counted.
const COMMANDS: usize = 20_000;

/// How long the disk takes.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// On what the journal would be.
    pub file_system: String,
    /// A row for each way to write, in the order of [`WriteMethod::ALL`].
    pub methods: Vec<Method>,
    /// Bytes that a command takes in the journal, blocks and sectors apart.
    pub command_bytes: f64,
    /// The most commands per second that writes of one block at a time can make durable.
    pub group_commit_ceiling: f64,
    /// With which block size.
    pub ceiling_block_bytes: usize,
    /// Written in which way.
    pub ceiling_method: String,
}

/// One way to write.
#[derive(Clone, Debug, Serialize)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// Why it cannot be had here, if so.
    pub refused: Option<String>,
    /// One for each of [`BLOCK_BYTES`].
    pub blocks: Vec<SyncLatency>,
}

/// One block size.
#[derive(Clone, Debug, Serialize)]
pub struct SyncLatency {
    /// Bytes written at once.
    pub bytes: usize,
    /// How often it was measured.
    pub writes: usize,
    /// Half were durable within this time.
    pub p50_us: f64,
    /// All but one in a hundred.
    pub p99_us: f64,
    /// On average.
    pub mean_us: f64,
}

/// Writes blocks of all sizes in all ways, in interleaved rounds.
pub(super) fn measure(directory: &Path, file_system: String, rounds: usize) -> Result<Disk> {
    let made = tempfile::Builder::new().prefix("bench-").tempdir_in(directory);
    let place = made.with_context(|| format!("cannot make a directory in {}", directory.display()))?;
    let storage = FileStorage::lock(place.path())?;
    for index in 0..WriteMethod::ALL.len() as u32 {
        storage.create(index, FILE_BYTES, Access::Write).context("cannot make a file to write to")?;
    }
    let opened: Vec<_> = WriteMethod::ALL
        .into_iter()
        .zip(0..)
        .map(|(method, index)| storage.open(index, Access::WriteDurable(method)))
        .collect();
    let most = BLOCK_BYTES.into_iter().max().unwrap_or_default();
    let mut block = PageBuffer::new(most);
    block.fill(0x5a);
    let mut samples = vec![vec![Vec::new(); BLOCK_BYTES.len()]; opened.len()];
    let mut offsets = vec![0; opened.len()];
    for _ in 0..rounds {
        for (size, &bytes) in BLOCK_BYTES.iter().enumerate() {
            for (number, segment) in opened.iter().enumerate() {
                let Ok(segment) = segment else { continue };
                let begun = Instant::now();
                for _ in 0..WRITES {
                    if offsets[number] + bytes as u64 > FILE_BYTES {
                        offsets[number] = 0;
                    }
                    let written = Instant::now();
                    segment.write_all_at(&block[..bytes], offsets[number]).context("cannot write")?;
                    samples[number][size].push(written.elapsed().as_nanos() as f64 / 1e3);
                    offsets[number] += bytes as u64;
                    if begun.elapsed() > ROUND_TIME {
                        break;
                    }
                }
            }
        }
    }
    let methods: Vec<Method> = WriteMethod::ALL
        .into_iter()
        .zip(opened)
        .zip(samples)
        .map(|((method, opened), samples)| Method {
            name: method.to_string(),
            refused: opened.err().map(|error| error.to_string()),
            blocks: BLOCK_BYTES.into_iter().zip(samples).map(|(bytes, samples)| latency(bytes, samples)).collect(),
        })
        .collect();
    let command_bytes = command_bytes()?;
    let per_second = |block: &SyncLatency| block.bytes as f64 / command_bytes / (block.mean_us / 1e6);
    let all = methods.iter().flat_map(|method| method.blocks.iter().map(move |block| (method, block)));
    let written = all.filter(|(_, block)| block.writes > 0);
    let best = written.max_by(|(_, first), (_, second)| per_second(first).total_cmp(&per_second(second)));
    let (method, block) = best.context("nothing could be written in any way")?;
    Ok(Disk {
        file_system,
        command_bytes,
        group_commit_ceiling: per_second(block),
        ceiling_block_bytes: block.bytes,
        ceiling_method: method.name.clone(),
        methods,
    })
}

fn latency(bytes: usize, mut samples: Vec<f64>) -> SyncLatency {
    samples.sort_by(f64::total_cmp);
    let mean_us = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    let (p50_us, p99_us) = (percentile(&samples, 0.5), percentile(&samples, 0.99));
    SyncLatency { bytes, writes: samples.len(), p50_us, p99_us, mean_us }
}

/// Bytes that a command of the flow takes in the journal, with its share of what sectors take.
fn command_bytes() -> Result<f64> {
    let workload = Workload::shallow(COMMANDS);
    let mut journal = Journal::open(MemoryStorage::default(), Options::default())?.into_journal()?;
    let mut bytes = 0;
    for &command in &workload.flow {
        let sequence = journal.appended().next();
        let command = SequencedCommand { sequence, time: Timestamp(0), cause: Cause::session(1), command };
        if journal.append(&command).is_err() {
            bytes += journal.buffered_bytes();
            journal.commit()?;
            journal.append(&command)?;
        }
    }
    bytes += journal.buffered_bytes();
    Ok(bytes as f64 / workload.flow.len() as f64 * 512.0 / 508.0)
}

/// The best way to write in this directory; `None` when nothing can be written there.
#[must_use]
pub fn best_write_method(directory: &Path) -> Option<WriteMethod> {
    let place = tempfile::Builder::new().prefix("bench-").tempdir_in(directory).ok()?;
    let storage = FileStorage::lock(place.path()).ok()?;
    storage.create(0, BLOCK_BYTES[0] as u64, Access::Write).ok()?;
    Some(storage.best_write_method(0))
}

impl Disk {
    /// How long a block of about so many bytes takes, written in this way: of the measured sizes the first that holds it.
    #[must_use]
    pub fn sync(&self, method: WriteMethod, bytes: f64) -> Option<&SyncLatency> {
        let method = self.methods.iter().find(|found| found.name == method.name())?;
        method.blocks.iter().find(|block| block.bytes as f64 >= bytes).or(method.blocks.last())
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "disk: microseconds until a block is durable (p50 / p99), over zeros on {}",
            self.file_system
        )?;
        write!(formatter, "  {:>10}", "bytes")?;
        self.methods.iter().try_for_each(|method| write!(formatter, "  {:>15}", method.name))?;
        writeln!(formatter)?;
        for (index, bytes) in BLOCK_BYTES.iter().enumerate() {
            write!(formatter, "  {bytes:>10}")?;
            for method in &self.methods {
                let block = &method.blocks[index];
                let text = match block.writes {
                    0 => "-".to_owned(),
                    _ => format!("{:.0} / {:.0}", block.p50_us, block.p99_us),
                };
                write!(formatter, "  {text:>15}")?;
            }
            writeln!(formatter)?;
        }
        for method in &self.methods {
            if let Some(reason) = &method.refused {
                writeln!(formatter, "  {}: {reason}", method.name)?;
            }
        }
        writeln!(
            formatter,
            "  group commit: at most {:.2} M commands/s of {:.0} bytes each, {} bytes at a time written by {}, one write after the other",
            self.group_commit_ceiling / 1e6,
            self.command_bytes,
            self.ceiling_block_bytes,
            self.ceiling_method
        )
    }
}
