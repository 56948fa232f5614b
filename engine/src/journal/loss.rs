//! Accepting a loss: the one way to open a damaged journal of which there is no copy, and an operator's explicit act.
//!
//! What is good stays, up to the last good block; the segments from the damage on are set aside, as `<index>.<n>.lost`, and
//! no byte of them is changed or removed. A segment that is partly good is made again of its good part. Before anything
//! is changed, the acceptance is recorded in the file `ACCEPTED-LOSSES`: one line of text for each, which ends with the
//! CRC-32C of what stands before it.
//!
//! ```text
//! time=… file="…" offset=… after=… epoch=… hash=… damage="…" reason="…" check=…
//! ```
//!
//! What was lost may have been acknowledged, and its sequences are given again. Snapshots of it are not of the journal's
//! history any more, which [`check_snapshot`](super::snapshot::check_snapshot) sees.

use std::io::{self, Write};

use super::{
    ChainHash, Epoch, Head, OpenError, Tail,
    scan::{Scan, io_error},
    storage::{NewFile, Segment, Storage},
};
use crate::types::{Sequence, Timestamp};

/// The name of the record.
const FILE: &str = "ACCEPTED-LOSSES";

/// What an operator has given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// When, as the operator's tool said.
    pub time: Timestamp,
    /// Where the damage was found.
    pub file: String,
    /// Bytes from the file's beginning.
    pub offset: u64,
    /// The last block that was kept.
    pub kept: Head,
    /// What was wrong.
    pub damage: String,
    /// Why it was accepted.
    pub reason: String,
}

/// Why nothing was given up, or not all that should have been.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// There is nothing to accept.
    #[error("the journal is not damaged: there is nothing to give up")]
    NotDamaged,
    /// The damage is not where the caller thinks.
    #[error("the journal is good up to sequence {last}, not {given}: look at it again")]
    OtherSequence {
        /// What was given.
        given: Sequence,
        /// The last sequence of the last good block.
        last: Sequence,
    },
    /// The journal is damaged in a way that leaves nothing good, or cannot be read or changed.
    #[error(transparent)]
    Journal(#[from] OpenError),
}

/// Does what [`Journal::accept_loss`](super::Journal::accept_loss) says.
pub(super) fn accept<S: Storage>(
    storage: &S,
    after: Sequence,
    reason: &str,
    time: Timestamp,
) -> Result<AcceptedLoss, LossError> {
    let mut scan = Scan::open_damaged(storage.clone())?.ok_or(LossError::NotDamaged)?;
    let (file, offset, damage) = find_damage(&mut scan, storage)?;
    let kept = scan.block_before_damage();
    if kept.head.sequence != after {
        return Err(LossError::OtherSequence { given: after, last: kept.head.sequence });
    }
    let failed = |source| LossError::Journal(io_error(storage, Some(kept.segment), kept.offset, after, source));
    let damage_in_kept = file == storage.name(kept.segment);
    let loss = AcceptedLoss { time, file, offset, kept: kept.head, damage, reason: reason.to_owned() };
    let mut losses = accepted_losses(storage)?;
    losses.push(loss.clone());
    write(storage, &losses).map_err(failed)?;

    // From the last one on, so that after a crash the damage is still there, and this is repeated.
    let later = storage.segments().map_err(failed)?.into_iter().filter(|&index| index > kept.segment);
    for index in later.rev() {
        storage.set_aside(index, 0).map_err(failed)?;
    }
    if damage_in_kept {
        storage.set_aside(kept.segment, kept.offset).map_err(failed)?;
    }
    Ok(loss)
}

/// Walks until something is wrong, and returns where and what.
fn find_damage<S: Storage>(scan: &mut Scan<S>, storage: &S) -> Result<(String, u64, String), LossError> {
    let found = loop {
        match walk_block(scan) {
            Ok(None) => {}
            Ok(Some(_)) => match super::scan::check_listing(storage) {
                Ok(()) => return Err(LossError::NotDamaged),
                Err(error) => break error,
            },
            Err(error) => break error,
        }
    };
    match found {
        OpenError::Damaged { file, offset, damage, .. } => Ok((file, offset, damage.to_string())),
        error => Err(error.into()),
    }
}

fn walk_block<S: Storage>(scan: &mut Scan<S>) -> Result<Option<Tail>, OpenError> {
    while scan.next_in_block()?.is_some() {}
    scan.next_block_alone()
}

/// Returns what has been given up of a journal, the earliest first.
///
/// # Errors
/// [`OpenError::BadRecord`] when the record is not what was written, [`OpenError::Io`] when it cannot be read.
pub fn accepted_losses<S: Storage>(storage: &S) -> Result<Vec<AcceptedLoss>, OpenError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = storage.open_file(FILE)?;
        let mut bytes = vec![0; usize::try_from(file.bytes()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let file = storage.file_name(FILE);
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(OpenError::Io { file, offset: 0, after: Sequence(0), source }),
    };
    let parse = || {
        let text = String::from_utf8(bytes).ok()?;
        let losses: Vec<_> = text.lines().map(from_line).collect::<Option<_>>()?;
        (to_text(&losses) == text).then_some(losses)
    };
    parse().ok_or(OpenError::BadRecord { file })
}

fn write<S: Storage>(storage: &S, losses: &[AcceptedLoss]) -> io::Result<()> {
    let mut file = storage.create_file(FILE)?;
    file.write_all(to_text(losses).as_bytes())?;
    file.publish()
}

fn to_text(losses: &[AcceptedLoss]) -> String {
    losses.iter().map(to_line).collect()
}

fn to_line(loss: &AcceptedLoss) -> String {
    let AcceptedLoss { time, file, offset, kept, damage, reason } = loss;
    let [file, damage, reason] = [file, damage, reason].map(|text| quote(text));
    let line = format!(
        "time={time} file={file} offset={offset} after={} epoch={} hash={} damage={damage} reason={reason}",
        kept.sequence, kept.epoch, kept.hash
    );
    format!("{line} check={:08x}\n", crc_fast::crc32_iscsi(line.as_bytes()))
}

fn from_line(line: &str) -> Option<AcceptedLoss> {
    let rest = line.strip_prefix("time=")?;
    let (time, rest) = rest.split_once(" file=")?;
    let (file, rest) = unquote(rest)?;
    let (offset, rest) = rest.strip_prefix(" offset=")?.split_once(" after=")?;
    let (after, rest) = rest.split_once(" epoch=")?;
    let (epoch, rest) = rest.split_once(" hash=")?;
    let (hash, rest) = rest.split_once(" damage=")?;
    let (damage, rest) = unquote(rest)?;
    let (reason, _check) = unquote(rest.strip_prefix(" reason=")?)?;
    let hash = ChainHash(*blake3::Hash::from_hex(hash).ok()?.as_bytes());
    let kept = Head { sequence: Sequence(after.parse().ok()?), hash, epoch: Epoch(epoch.parse().ok()?) };
    Some(AcceptedLoss { time: Timestamp(time.parse().ok()?), file, offset: offset.parse().ok()?, kept, damage, reason })
}

/// A text in quotation marks, on one line.
fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{escaped}\"")
}

/// Reads a text in quotation marks; with it, what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut found = String::new();
    let mut characters = inner.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((found, &inner[at + 1..])),
            (_, '\\') => found.push(match characters.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                other => other,
            }),
            (_, other) => found.push(other),
        }
    }
}
