//! Opening from the middle: the same commands, the same end and the same refusals as opening in full, for what is read.

use engine::{
    journal::{Epoch, Head, Journal, JournalReader, MemoryStorage, OpenError, Storage},
    types::Sequence,
};

use super::{Numbers, command, fill, filled, small};

/// The ends of all blocks, the journal's beginning first.
fn heads(storage: &MemoryStorage) -> Vec<Head> {
    let mut reader = JournalReader::open(storage.clone()).unwrap();
    let mut heads = vec![reader.head()];
    while reader.next().is_some() {
        if heads.last() != Some(&reader.head()) {
            heads.push(reader.head());
        }
    }
    heads
}

/// Three epochs in segments of seven sectors.
fn epochs() -> MemoryStorage {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    let mut numbers = Numbers(5);
    for last in [130, 290, 400] {
        fill(&mut journal, last, &mut numbers);
        if last < 400 {
            journal.begin_epoch().unwrap();
        }
    }
    storage
}

#[test]
fn from_every_sequence_the_rest_comes() {
    let storage = epochs();
    for after in 0..=400 {
        let mut reader = JournalReader::open_at(storage.clone(), Sequence(after)).unwrap();
        let found: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(found, (after + 1..=400).map(command).collect::<Vec<_>>());
        assert_eq!(reader.head(), *heads(&storage).last().unwrap());
    }
    let error = JournalReader::open_at(storage, Sequence(401)).unwrap_err();
    assert_eq!(error.to_string(), "sequence 401 is not in the journal, which ends at 400");
}

#[test]
fn from_every_block_it_opens_and_is_written_on() {
    let journal = epochs();
    for anchor in heads(&journal) {
        let storage = journal.crash(|_| true);
        assert_eq!(JournalReader::open_after(storage.clone(), anchor).unwrap().head(), anchor);
        let mut opening = Journal::open_after(storage.clone(), small(), anchor).unwrap();
        assert_eq!(opening.head(), anchor);
        let found: Vec<_> = opening.by_ref().map(Result::unwrap).collect();
        assert_eq!(found, (anchor.sequence.0 + 1..=400).map(command).collect::<Vec<_>>());
        let mut journal = opening.into_journal().unwrap();
        assert_eq!(journal.head().epoch, Epoch(3));
        fill(&mut journal, 430, &mut Numbers(9));
        journal.close().unwrap();
        assert_eq!(super::check(&storage, &small()).unwrap(), (430, None));
    }
}

#[test]
fn an_anchor_of_another_history_is_refused_and_the_difference_named() {
    let storage = epochs();
    let heads = heads(&storage);
    let open = |anchor: Head| {
        let beside = JournalReader::open_after(storage.clone(), anchor).unwrap_err();
        let alone = Journal::open_after(storage.clone(), small(), anchor).unwrap_err();
        assert_eq!(alone.to_string(), beside.to_string());
        alone
    };
    for (&before, &anchor) in heads.iter().zip(&heads[1..]) {
        let sequence = anchor.sequence;
        let error = open(Head { hash: before.hash, ..anchor });
        let text = format!("the block that ends at sequence {sequence} has hash {}, not {}", anchor.hash, before.hash);
        assert_eq!(error.to_string(), text);
        let error = open(Head { epoch: anchor.epoch.next(), ..anchor });
        let ending = format!("is of epoch {}, not {}", anchor.epoch, anchor.epoch.next());
        assert!(error.to_string().ends_with(&ending), "{error}");
        if sequence.0 - before.sequence.0 > 1 {
            let error = open(Head { sequence: Sequence(sequence.0 - 1), ..anchor });
            let OpenError::Anchor { found, .. } = error else { panic!("{error}") };
            assert_eq!((found.sequence, found.hash), (before.sequence, before.hash));
        }
    }
    let error = open(Head { sequence: Sequence(500), ..heads[3] });
    assert!(matches!(error, OpenError::NotReached { wanted: Sequence(500), last: Sequence(400) }), "{error}");
    let nothing = Journal::open_after(MemoryStorage::default(), small(), heads[0]);
    assert!(matches!(nothing, Err(OpenError::Missing { .. })));
}

/// Every flipped bit behind the anchor's segment header is seen, and none before it is looked at.
#[test]
fn what_is_read_is_verified_alike() {
    let journal = filled(&small(), 200);
    let segments = journal.segments().unwrap().len() as u32;
    let anchor = heads(&journal)[heads(&journal).len() / 2];
    let starts = |segment: u32| {
        let bytes = journal.contents(segment).unwrap();
        u64::from_le_bytes(bytes[24..32].try_into().unwrap())
    };
    let first = (0..segments).rev().find(|&segment| starts(segment) <= anchor.sequence.0).unwrap();
    assert!(first > 1 && first + 1 < segments);
    for segment in 0..segments {
        for bit in (0..8 * 512 * 8).step_by(5) {
            let storage = journal.crash(|_| true);
            storage.flip_bit(segment, bit);
            let whole = super::check(&storage, &small()).unwrap_err().to_string();
            let found = Journal::open_after(storage, small(), anchor);
            let found = found.and_then(|mut opening| opening.try_for_each(|found| found.map(drop)));
            if segment > first || (segment == first && bit >= 512 * 8) {
                assert_eq!(found.unwrap_err().to_string(), whole, "{segment}, {bit}");
            } else if segment < first {
                assert!(found.is_ok() || found.unwrap_err().to_string() == whole, "{segment}, {bit}");
            } else {
                assert!(found.is_err());
            }
        }
    }
}

/// A torn tail is dropped and reported as by the opening in full, at every write.
#[test]
fn a_torn_tail_is_told_alike() {
    let mut torn = 0;
    for nth in 3..40 {
        let storage = MemoryStorage::default();
        let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
        storage.fail_at_write(nth);
        let mut numbers = Numbers(31);
        let anchor = loop {
            let head = journal.head();
            let first = head.sequence.0 + 1;
            (first..=first + numbers.below(24)).for_each(|sequence| journal.append(&command(sequence)).unwrap());
            if journal.commit().is_err() {
                break head;
            }
        };
        let unsynced = storage.unsynced();
        for lost in &unsynced {
            let image = storage.crash(|sector| sector != *lost);
            let whole = super::check(&image, &small()).unwrap();
            let mut opening = Journal::open_after(image.clone(), small(), anchor).unwrap();
            assert!(opening.next().is_none());
            assert_eq!(opening.torn(), whole.1.as_ref());
            torn += u32::from(whole.1.is_some());
            assert_eq!(JournalReader::open_after(image.clone(), anchor).unwrap().next().map(drop), None);
            let mut journal = opening.into_journal().unwrap();
            fill(&mut journal, whole.0 + 20, &mut numbers);
            assert_eq!(super::check(&image, &small()).unwrap(), (whole.0 + 20, None));
        }
    }
    assert!(torn > 40, "{torn}");
}
