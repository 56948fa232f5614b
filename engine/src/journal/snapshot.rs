//! Snapshots: states of the exchange, kept beside the segments, each a file that is written once and whole.
//!
//! A name is `<epoch, 8 digits or more>-<sequence, 20 digits>.snapshot`. The file, all numbers little-endian:
//!
//! ```text
//!  0 magic "REPRISES"          32 journal id, 16 bytes
//!  8 format u32 = 1            48 hash of the journal's block that ends at the sequence, 32 bytes
//! 12 epoch u32                 80 hash of the state, 32 bytes
//! 16 sequence u64             112 payload
//! 24 time u64, nanoseconds      + length of the payload u64
//!                               + BLAKE3 of all before it, 32 bytes
//! ```
//!
//! Epoch, sequence and hash name the end of a block: the snapshot's [`Head`]. `time` is that of the command with this
//! sequence. A snapshot is used only if its head lies on the journal's history, which
//! [`Journal::open_after`](super::Journal::open_after) checks.
//!
//! Never knows what a payload or the hash of a state means. Called by the follower that makes snapshots, by opening,
//! and by the operator's tool.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
    thread,
};

use super::{
    ChainHash, Epoch, Head, JournalId, JournalReader, OpenError,
    storage::{NewFile, Segment, Storage},
};
use crate::types::{Sequence, Timestamp};

/// The format this code writes.
pub const SNAPSHOT_FORMAT: u32 = 1;
/// The fewest good snapshots that [`remove_old_snapshots`] keeps.
pub const SNAPSHOTS_KEPT_MIN: usize = 2;

const MAGIC: [u8; 8] = *b"REPRISES";
const SUFFIX: &str = ".snapshot";
const HEADER_BYTES: usize = 112;
const CHECK_BYTES: usize = 32;
const TRAILER_BYTES: usize = 8 + CHECK_BYTES;
/// How much is written at once.
const PIECE_BYTES: usize = 1 << 20;
/// How much is read at once: more is slower, see [`scan`](super::scan).
const READ_BYTES: usize = 128 << 10;

/// Which snapshot: older ones are less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// The epoch of the block that it ends with.
    pub epoch: Epoch,
    /// The last sequence in it.
    pub sequence: Sequence,
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08}-{:020}{SUFFIX}", self.epoch.0, self.sequence.0)
    }
}

/// A text that names no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no snapshot: a name is <epoch>-<sequence>{SUFFIX}")]
pub struct SnapshotNameError(pub String);

impl FromStr for SnapshotName {
    type Err = SnapshotNameError;

    fn from_str(text: &str) -> Result<Self, SnapshotNameError> {
        let parse = || {
            let (epoch, sequence) = text.strip_suffix(SUFFIX)?.split_once('-')?;
            let name = Self { epoch: Epoch(epoch.parse().ok()?), sequence: Sequence(sequence.parse().ok()?) };
            (name.to_string() == text).then_some(name)
        };
        parse().ok_or_else(|| SnapshotNameError(text.to_owned()))
    }
}

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The epoch of the block that it ends with.
    pub epoch: Epoch,
    /// The last sequence in it.
    pub sequence: Sequence,
    /// The time of that sequence.
    pub time: Timestamp,
    /// The journal it was made of.
    pub journal_id: JournalId,
    /// The hash of the block that ends at that sequence.
    pub chain_hash: ChainHash,
    /// The hash of the state, as who made it understands it.
    pub state_hash: [u8; 32],
}

impl SnapshotHeader {
    /// The name of the snapshot.
    #[must_use]
    pub const fn name(&self) -> SnapshotName {
        SnapshotName { epoch: self.epoch, sequence: self.sequence }
    }

    /// The point in history that it is of.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head { sequence: self.sequence, hash: self.chain_hash, epoch: self.epoch }
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&SNAPSHOT_FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.journal_id.0);
        bytes[48..80].copy_from_slice(&self.chain_hash.0);
        bytes[80..].copy_from_slice(&self.state_hash);
        bytes
    }

    /// Reads what follows magic and format.
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            epoch: Epoch(u32::from_le_bytes(field(bytes, 12))),
            sequence: Sequence(u64::from_le_bytes(field(bytes, 16))),
            time: Timestamp(u64::from_le_bytes(field(bytes, 24))),
            journal_id: JournalId(field(bytes, 32)),
            chain_hash: ChainHash(field(bytes, 48)),
            state_hash: field(bytes, 80),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

/// Why a snapshot was not written, or cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The operating system failed.
    #[error("{file}: {source}")]
    Io {
        /// The file or directory.
        file: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The file does not begin as a snapshot does, or is too short for one.
    #[error("{file} is no snapshot")]
    Magic {
        /// The file.
        file: String,
    },
    /// A later version wrote the snapshot.
    #[error("{file} has format {format}: this version reads format {SNAPSHOT_FORMAT} only, take a later one")]
    Format {
        /// The file.
        file: String,
        /// Its format.
        format: u32,
    },
    /// The file is not what was written.
    #[error("{file}: the check of its {bytes} bytes does not match: take an older snapshot")]
    Check {
        /// The file.
        file: String,
        /// Its length.
        bytes: u64,
    },
    /// The file was written whole, and its length is not what it says.
    #[error("{file} says that its payload has {expected} bytes, and it has {found}")]
    Length {
        /// The file.
        file: String,
        /// What it says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The file has another snapshot's name.
    #[error("{file} holds the snapshot {found}")]
    Name {
        /// The file.
        file: String,
        /// What the name should be.
        found: SnapshotName,
    },
    /// The snapshot is whole, and not of this journal's history.
    #[error("{file} is not of the journal beside it: {source}")]
    Lineage {
        /// The file.
        file: String,
        /// What the journal says.
        #[source]
        source: Box<OpenError>,
    },
}

/// Writes a snapshot piece by piece, under a temporary name until it is [finished](Self::finish).
#[derive(Debug)]
pub struct SnapshotWriter<S: Storage> {
    name: SnapshotName,
    file: String,
    writer: io::BufWriter<Hashing<S::NewFile>>,
}

impl<S: Storage> SnapshotWriter<S> {
    /// Begins a snapshot. Its payload is what is then written.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn begin(storage: &S, header: &SnapshotHeader) -> Result<Self, SnapshotError> {
        let name = header.name();
        let file = storage.file_name(&name.to_string());
        let begin = || {
            let inner =
                Hashing { inner: storage.create_file(&name.to_string())?, hasher: blake3::Hasher::new(), bytes: 0 };
            let mut writer = io::BufWriter::with_capacity(PIECE_BYTES, inner);
            writer.write_all(&header.encode())?;
            Ok(writer)
        };
        match begin() {
            Ok(writer) => Ok(Self { name, file, writer }),
            Err(source) => Err(SnapshotError::Io { file, source }),
        }
    }

    /// Makes the snapshot durable and gives it its name. One that is dropped instead never was.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn finish(self) -> Result<SnapshotName, SnapshotError> {
        let Self { name, file, mut writer } = self;
        let finish = || {
            writer.flush()?;
            let payload_bytes = writer.get_ref().bytes - HEADER_BYTES as u64;
            writer.write_all(&payload_bytes.to_le_bytes())?;
            writer.flush()?;
            let check = writer.get_ref().hasher.finalize();
            writer.write_all(check.as_bytes())?;
            writer.into_inner().map_err(io::IntoInnerError::into_error)?.inner.publish()
        };
        match finish() {
            Ok(()) => Ok(name),
            Err(source) => Err(SnapshotError::Io { file, source }),
        }
    }
}

impl<S: Storage> Write for SnapshotWriter<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Hashes and counts what it passes on.
#[derive(Debug)]
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a snapshot whose payload is what `payload` writes, and returns its name once it is durable. One that has the
/// same name is replaced.
///
/// # Errors
/// [`SnapshotError::Io`]; then there is no such snapshot, the one from before, or all of the new one.
pub fn write_snapshot<S: Storage>(
    storage: &S,
    header: &SnapshotHeader,
    payload: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<SnapshotName, SnapshotError> {
    let mut writer = SnapshotWriter::begin(storage, header)?;
    if let Err(source) = payload(&mut writer) {
        return Err(SnapshotError::Io { file: writer.file, source });
    }
    writer.finish()
}

/// Returns the names of all snapshots, the newest first. Whether they are good is not looked at.
///
/// # Errors
/// [`SnapshotError::Io`].
pub fn list_snapshots<S: Storage>(storage: &S) -> Result<Vec<SnapshotName>, SnapshotError> {
    let files = storage.files().map_err(|source| SnapshotError::Io { file: storage.file_name(""), source })?;
    let mut names: Vec<SnapshotName> = files.iter().filter_map(|file| file.parse().ok()).collect();
    names.sort_unstable_by(|left, right| right.cmp(left));
    Ok(names)
}

/// A snapshot as it was read: nothing in it counts before it is [checked](Self::check).
#[derive(Debug)]
pub struct UncheckedSnapshot {
    name: SnapshotName,
    file: String,
    bytes: Vec<u8>,
}

impl UncheckedSnapshot {
    /// Reads a snapshot whole.
    ///
    /// # Errors
    /// [`SnapshotError`] when it cannot be read, or does not begin as a snapshot of this format does.
    pub fn read<S: Storage>(storage: &S, name: SnapshotName) -> Result<Self, SnapshotError> {
        let file = storage.file_name(&name.to_string());
        let failed = |source| SnapshotError::Io { file: storage.file_name(&name.to_string()), source };
        let segment = storage.open_file(&name.to_string()).map_err(failed)?;
        let length = segment.bytes().map_err(failed)?;
        let too_long = |_| SnapshotError::Length { file: file.clone(), expected: usize::MAX as u64, found: length };
        let mut bytes = vec![0; usize::try_from(length).map_err(too_long)?];
        // Untouched so far, and as large as the state.
        ringbuf::advise_huge_pages(&mut bytes);
        let head_bytes = HEADER_BYTES.min(bytes.len());
        let (head, rest) = bytes.split_at_mut(head_bytes);
        segment.read_exact_at(head, 0).map_err(failed)?;
        if rest.len() < TRAILER_BYTES || head[..8] != MAGIC {
            return Err(SnapshotError::Magic { file });
        }
        check_format(head, &file)?;
        // Two threads, as most of the time is taken by the memory that is touched for the first time.
        let (first, second) = rest.split_at_mut((rest.len() / 2).next_multiple_of(READ_BYTES).min(rest.len()));
        let begin = HEADER_BYTES as u64;
        let middle = begin + first.len() as u64;
        let both = if second.is_empty() {
            read_in_pieces(&segment, first, begin)
        } else {
            thread::scope(|scope| {
                let second = scope.spawn(|| read_in_pieces(&segment, second, middle));
                let first = read_in_pieces(&segment, first, begin);
                first.and(second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        };
        both.map_err(failed)?;
        Ok(Self { name, file, bytes })
    }

    /// What the snapshot is of, if it is what it says.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..self.bytes.len() - TRAILER_BYTES]
    }

    /// Verifies all that can be without the journal.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is not what was written.
    pub fn check(&self) -> Result<SnapshotHeader, SnapshotError> {
        let (checked, check) = self.bytes.split_at(self.bytes.len() - CHECK_BYTES);
        let (header, rest) = checked.split_first_chunk().expect("it is as long as header and trailer");
        let matches = blake3::hash(checked).as_bytes() == check;
        let expected = u64::from_le_bytes(field(rest, rest.len() - 8));
        verdict(self.name, &self.file, header, matches, expected, self.payload().len() as u64)
    }
}

fn read_in_pieces(segment: &impl Segment, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    for (piece, number) in bytes.chunks_mut(READ_BYTES).zip(0..) {
        segment.read_exact_at(piece, offset + number * READ_BYTES as u64)?;
    }
    Ok(())
}

/// Reads a snapshot and verifies all that can be without the journal: returns its header and its payload.
///
/// # Errors
/// [`SnapshotError`] when it cannot be read or is not what was written.
pub fn read_snapshot<S: Storage>(storage: &S, name: SnapshotName) -> Result<(SnapshotHeader, Vec<u8>), SnapshotError> {
    let snapshot = UncheckedSnapshot::read(storage, name)?;
    let header = snapshot.check()?;
    let mut payload = snapshot.bytes;
    payload.truncate(payload.len() - TRAILER_BYTES);
    payload.drain(..HEADER_BYTES);
    Ok((header, payload))
}

/// Verifies a snapshot as [`read_snapshot`] does, keeping no payload, and that it is of the history in the journal beside
/// it.
///
/// # Errors
/// [`SnapshotError`] when it cannot be read, is not what was written, or is of another history.
pub fn check_snapshot<S: Storage>(storage: &S, name: SnapshotName) -> Result<SnapshotHeader, SnapshotError> {
    let header = read_pieces(storage, name)?;
    match JournalReader::open_after(storage.clone(), header.head()) {
        Ok(_) => Ok(header),
        Err(source) => {
            Err(SnapshotError::Lineage { file: storage.file_name(&name.to_string()), source: Box::new(source) })
        }
    }
}

/// What [`remove_old_snapshots`] found and did.
#[derive(Debug, Default)]
pub struct OldSnapshots {
    /// What is kept and good, the newest first.
    pub kept: Vec<SnapshotName>,
    /// What was removed: all that is older than the oldest kept.
    pub removed: Vec<SnapshotName>,
    /// What is newer than the oldest kept and not good; it is left where it is.
    pub bad: Vec<(SnapshotName, SnapshotError)>,
}

/// Removes all snapshots but the newest `keep` good ones, and never leaves fewer than [`SNAPSHOTS_KEPT_MIN`] of them. Good
/// is what [`check_snapshot`] accepts. Where there are fewer good ones, nothing is removed.
///
/// # Errors
/// [`SnapshotError::Io`].
pub fn remove_old_snapshots<S: Storage>(storage: &S, keep: usize) -> Result<OldSnapshots, SnapshotError> {
    let keep = keep.max(SNAPSHOTS_KEPT_MIN);
    let mut found = OldSnapshots::default();
    for name in list_snapshots(storage)? {
        if found.kept.len() == keep {
            let file = name.to_string();
            let failed = |source| SnapshotError::Io { file: storage.file_name(&file), source };
            storage.remove_file(&file).map_err(failed)?;
            found.removed.push(name);
            continue;
        }
        match check_snapshot(storage, name) {
            Ok(_) => found.kept.push(name),
            Err(error) => found.bad.push((name, error)),
        }
    }
    Ok(found)
}

/// Verifies a snapshot piece by piece, keeping none.
fn read_pieces<S: Storage>(storage: &S, name: SnapshotName) -> Result<SnapshotHeader, SnapshotError> {
    let file = storage.file_name(&name.to_string());
    let failed = |source| SnapshotError::Io { file: storage.file_name(&name.to_string()), source };
    let segment = storage.open_file(&name.to_string()).map_err(failed)?;
    let bytes = segment.bytes().map_err(failed)?;
    let Some(payload_bytes) = bytes.checked_sub((HEADER_BYTES + TRAILER_BYTES) as u64) else {
        return Err(SnapshotError::Magic { file });
    };
    let mut header = [0; HEADER_BYTES];
    segment.read_exact_at(&mut header, 0).map_err(failed)?;
    if header[..8] != MAGIC {
        return Err(SnapshotError::Magic { file });
    }
    check_format(&header, &file)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header);
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(payload_bytes).unwrap_or(READ_BYTES))];
    let (mut offset, end) = (HEADER_BYTES as u64, HEADER_BYTES as u64 + payload_bytes);
    while offset < end {
        let length = (end - offset).min(buffer.len() as u64);
        let piece = &mut buffer[..length as usize];
        segment.read_exact_at(piece, offset).map_err(failed)?;
        hasher.update(piece);
        offset += length;
    }
    let mut trailer = [0; TRAILER_BYTES];
    segment.read_exact_at(&mut trailer, end).map_err(failed)?;
    hasher.update(&trailer[..8]);
    let matches = hasher.finalize() == blake3::Hash::from_bytes(field(&trailer, 8));
    verdict(name, &file, &header, matches, u64::from_le_bytes(field(&trailer, 0)), payload_bytes)
}

fn check_format(header: &[u8], file: &str) -> Result<(), SnapshotError> {
    match u32::from_le_bytes(field(header, 8)) {
        SNAPSHOT_FORMAT => Ok(()),
        format => Err(SnapshotError::Format { file: file.to_owned(), format }),
    }
}

/// The header of a snapshot whose check matches or not, which says that its payload has `expected` bytes, and that has `found`.
fn verdict(
    name: SnapshotName,
    file: &str,
    header: &[u8; HEADER_BYTES],
    matches: bool,
    expected: u64,
    found: u64,
) -> Result<SnapshotHeader, SnapshotError> {
    let file = file.to_owned();
    if !matches {
        return Err(SnapshotError::Check { file, bytes: found + (HEADER_BYTES + TRAILER_BYTES) as u64 });
    }
    if expected != found {
        return Err(SnapshotError::Length { file, expected, found });
    }
    let header = SnapshotHeader::decode(header);
    if header.name() != name {
        return Err(SnapshotError::Name { file, found: header.name() });
    }
    Ok(header)
}
