//! Where segments and epochs begin, so that who looks for something recent need not read all of history.
//!
//! Reads headers, and of the segments in which an epoch may begin the blocks. Called by recovery, which looks for the
//! last halt, for the start of an epoch and for the plan before it.

use super::{Epoch, JournalId, JournalReader, OpenError, scan, storage::Storage};
use crate::{command::SequencedCommand, types::Sequence};

/// Where an epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// Which.
    pub epoch: Epoch,
    /// Its first sequence.
    pub first: Sequence,
}

/// The first sequence of each segment of history that has begun, with the epoch of its first block, ascending.
fn beginnings<S: Storage>(storage: &S) -> Result<Vec<EpochStart>, OpenError> {
    let mut found: Vec<EpochStart> = Vec::new();
    for index in scan::listing(storage)? {
        match scan::header_if_begun(storage, index)? {
            Some(header) => found.push(EpochStart { epoch: header.epoch, first: header.first_sequence }),
            // Segments that are prepared ahead of use, and one whose first write is under way, have none.
            None => break,
        }
    }
    Ok(found)
}

/// The journal's id, from the header of its first segment.
///
/// # Errors
/// [`OpenError::Missing`] when there is no journal, other [`OpenError`]s when it cannot be read.
pub fn journal_id<S: Storage>(storage: &S) -> Result<JournalId, OpenError> {
    let missing = || OpenError::Missing { place: storage.name(0) };
    let first = *scan::listing(storage)?.first().ok_or_else(missing)?;
    Ok(scan::header_if_begun(storage, first)?.ok_or_else(missing)?.journal_id)
}

/// All epochs of the journal with their first sequences, ascending: those that begin in what is left of it, and the one
/// that it begins with. What is written and not durable counts.
///
/// # Errors
/// [`OpenError`] when the journal cannot be read.
pub fn epoch_starts<S: Storage>(storage: &S) -> Result<Vec<EpochStart>, OpenError> {
    let beginnings = beginnings(storage)?;
    let Some(&first) = beginnings.first() else { return Ok(Vec::new()) };
    let (mut starts, mut known) = (vec![first], first.epoch);
    for (position, begins) in beginnings.iter().enumerate() {
        let next = beginnings.get(position + 1);
        if begins.epoch > known {
            (known, _) = (begins.epoch, starts.push(*begins));
        }
        // Inside a segment others can begin only if the one behind it is of a later epoch, or there is none.
        if next.is_none_or(|next| next.epoch > known) {
            let mut reader = reader_from(storage, begins.first, position == 0)?;
            let mut before = reader.head().sequence;
            while next.is_none_or(|next| before.next() < next.first) && reader.skip_block()? {
                let head = reader.head();
                if head.epoch > known {
                    (known, _) = (head.epoch, starts.push(EpochStart { epoch: head.epoch, first: before.next() }));
                }
                before = head.sequence;
            }
        }
    }
    Ok(starts)
}

/// Looks through the commands from `from` to `to`, both included, from the end backwards, about a segment at a time: `each`
/// is given the commands of one piece in order, and says whether that was enough.
///
/// # Errors
/// [`OpenError`] when the journal cannot be read.
pub fn look_back<S: Storage>(
    storage: &S,
    from: Sequence,
    to: Sequence,
    mut each: impl FnMut(Vec<SequencedCommand>) -> bool,
) -> Result<(), OpenError> {
    let mut end = to;
    for (position, begins) in beginnings(storage)?.into_iter().enumerate().rev() {
        // A piece goes from behind a segment's first command through that of the next.
        let after = if position == 0 { Sequence(begins.first.0.saturating_sub(1)) } else { begins.first };
        if after >= end {
            continue;
        }
        let after = after.max(Sequence(from.0.saturating_sub(1)));
        let mut piece = Vec::new();
        for command in JournalReader::open_at(storage.clone(), after)? {
            let command = command?;
            if command.sequence > end {
                break;
            }
            piece.push(command);
        }
        if each(piece) || after < from {
            return Ok(());
        }
        end = after;
    }
    Ok(())
}

/// Reads the blocks of a segment, from its first or, where history begins before it, from its second.
fn reader_from<S: Storage>(storage: &S, first: Sequence, is_first: bool) -> Result<JournalReader<S>, OpenError> {
    let after = if is_first { Sequence(first.0.saturating_sub(1)) } else { first };
    let mut reader = JournalReader::open_at(storage.clone(), after)?;
    reader.finish_block()?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::Command,
        journal::{Durability, Journal, MemoryStorage, Options},
        types::{AccountId, Cause, Timestamp},
    };

    /// A journal of small segments in which epochs begin at these sequences, blocks of two commands otherwise.
    fn journal(last: u64, epochs: &[u64]) -> MemoryStorage {
        let storage = MemoryStorage::default();
        let options = Options {
            segment_bytes: 8 * 512,
            block_bytes: 512,
            durability: Durability::None,
            segments_ahead: 0,
            ..Options::default()
        };
        let mut journal = Journal::open(storage.clone(), options).unwrap().into_journal().unwrap();
        for number in 1..=last {
            if epochs.contains(&number) {
                journal.commit().unwrap();
                journal.begin_epoch().unwrap();
            }
            journal.append(&command(number)).unwrap();
            if number % 2 == 0 {
                journal.commit().unwrap();
            }
        }
        journal.close().unwrap();
        storage
    }

    fn command(number: u64) -> SequencedCommand {
        SequencedCommand {
            sequence: Sequence(number),
            time: Timestamp(number),
            cause: Cause::operator(1),
            command: Command::CreateAccount { account: AccountId(number as u32) },
        }
    }

    #[test]
    fn epochs_are_found_wherever_they_begin() {
        // A segment holds seven blocks: beginnings at its first block, in its middle, at its last, and two in one.
        for epochs in [&[][..], &[1], &[2, 3], &[13], &[14], &[15], &[16], &[20, 22, 24], &[13, 14, 15, 28, 29, 60]] {
            for last in [2, 13, 14, 15, 16, 30, 60, 61] {
                let storage = journal(last, epochs);
                let mut expected = vec![EpochStart { epoch: Epoch(1), first: Sequence(1) }];
                for (epoch, first) in (2..).map(Epoch).zip(epochs.iter().filter(|first| **first <= last)) {
                    expected.push(EpochStart { epoch, first: Sequence(*first) });
                }
                if epochs.first() == Some(&1) {
                    expected.remove(0);
                }
                // What the journal begins with is told by its first segment's header, which is written alone.
                let found = epoch_starts(&storage).unwrap();
                let found: Vec<_> =
                    found.into_iter().filter(|start| epochs.first() != Some(&1) || start.epoch > Epoch(1)).collect();
                assert_eq!(found, expected, "{epochs:?} {last}");
            }
        }
    }

    #[test]
    fn looking_back_gives_every_command_once() {
        let storage = journal(61, &[20, 45]);
        for (from, to) in [(1, 61), (1, 1), (61, 61), (2, 60), (15, 15), (14, 16), (30, 30), (16, 44)] {
            let mut found = Vec::new();
            look_back(&storage, Sequence(from), Sequence(to), |piece| {
                found.splice(0..0, piece.into_iter().map(|command| command.sequence.0));
                false
            })
            .unwrap();
            assert_eq!(found, (from..=to).collect::<Vec<_>>());
        }
        let mut pieces = 0;
        look_back(&storage, Sequence(1), Sequence(61), |_| {
            pieces += 1;
            pieces == 2
        })
        .unwrap();
        assert_eq!(pieces, 2);
    }
}
