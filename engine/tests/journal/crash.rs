//! A crash at every write, with every choice of the sectors that arrived: what was committed survives, and what was
//! not comes back whole or not at all. Also failing writes and syncs without a crash.

use engine::{
    journal::{
        Durability, Journal, JournalError, JournalReader, MemoryStorage, OpenError, Options, Storage, Tail, TornTail,
        storage::Access,
    },
    types::Sequence,
};

use super::{Numbers, check, command, fill, small};

/// Every choice of the sectors that are not synced. There are at most five: a block of three behind a header, or what
/// is cleared of one.
fn images(storage: &MemoryStorage) -> impl Iterator<Item = (u32, u32, MemoryStorage)> {
    let count = storage.unsynced().len() as u32;
    assert!(count <= 5, "{count} sectors are not synced");
    (0..1 << count).map(move |chosen| {
        let mut number = 0;
        let image = storage.crash(|_| {
            number += 1;
            chosen >> (number - 1) & 1 == 1
        });
        (chosen, count, image)
    })
}

/// Writes until the write that is set to fail, and returns what was acknowledged and what was appended.
fn write_until_failure(storage: &MemoryStorage) -> Option<(u64, u64)> {
    let mut journal = match Journal::open(storage.clone(), small()).and_then(|opening| opening.into_journal()) {
        Ok(journal) => journal,
        Err(OpenError::Io { .. }) => return Some((0, 0)),
        Err(error) => panic!("{error}"),
    };
    let mut numbers = Numbers(99);
    while journal.head().sequence.0 < 600 {
        let acknowledged = journal.head().sequence.0;
        for sequence in acknowledged + 1..=acknowledged + 1 + numbers.below(24) {
            journal.append(&command(sequence)).unwrap();
        }
        match journal.commit() {
            Ok(sequence) => assert_eq!(sequence, journal.appended()),
            Err(JournalError::Io { .. }) => return Some((acknowledged, journal.appended().0)),
            Err(error) => panic!("{error}"),
        }
    }
    None
}

/// The journal after the crash can be opened, and written on, whatever happens meanwhile.
fn check_image(image: &MemoryStorage, chosen: u32, count: u32, acknowledged: u64, appended: u64) {
    let whole = chosen == (1 << count) - 1;
    let (found, torn) = check(image, &small()).unwrap();
    assert_eq!(found, if whole { appended } else { acknowledged });
    let created = appended > 0;
    assert_eq!(torn.is_some(), created && !whole && chosen != 0);

    // Whoever only reads sees the same, and goes on when the journal does.
    let mut beside = None;
    if created {
        let expected = torn.clone().map_or(Tail::Clean, Tail::Torn);
        let mut readers = [(); 2].map(|()| JournalReader::open(image.clone()).unwrap());
        assert_eq!(readers.each_mut().map(|reader| reader.map(Result::unwrap).count() as u64), [found; 2]);
        let [ended, going_on] = readers;
        assert_eq!(ended.into_tail().unwrap(), expected);
        assert_eq!(JournalReader::open(image.clone()).unwrap().into_tail().unwrap(), expected);
        beside = Some(going_on);
    }

    // A crash while the tail is cleared.
    if torn.is_some() {
        let again = image.crash(|_| true);
        again.fail_at_write(1);
        let opening = Journal::open(again.clone(), small()).unwrap();
        assert!(matches!(opening.into_journal(), Err(OpenError::Io { .. })));
        for (_, _, image) in images(&again) {
            assert_eq!(check(&image, &small()).unwrap().0, found);
        }
    }

    let mut journal = Journal::open(image.clone(), small()).unwrap().into_journal().unwrap();
    fill(&mut journal, found + 30, &mut Numbers(3));
    journal.close().unwrap();
    assert_eq!(check(image, &small()).unwrap(), (found + 30, None));
    if let Some(reader) = beside {
        assert_eq!(
            reader.map(|found| found.unwrap().sequence.0).collect::<Vec<_>>(),
            (found + 1..=found + 30).collect::<Vec<_>>()
        );
    }
}

#[test]
fn everything_committed_survives_a_crash_at_any_write() {
    let (mut torn_at_roll, mut writes, mut crashes) = (0, 0, 0);
    for nth in 1.. {
        let storage = MemoryStorage::default();
        storage.fail_at_write(nth);
        let Some((acknowledged, appended)) = write_until_failure(&storage) else {
            assert!(nth > 40, "there were {nth} writes");
            break;
        };
        torn_at_roll += u32::from(storage.unsynced()[0].sector == 0);
        writes += 1;
        for (chosen, count, image) in images(&storage) {
            check_image(&image, chosen, count, acknowledged, appended);
            crashes += 1;
        }
    }
    assert!(torn_at_roll > 8, "{torn_at_roll}");
    println!("{crashes} crashes at {writes} writes: every subset of the sectors of the last write");
}

#[test]
fn everything_committed_survives_a_crash_at_any_sync() {
    let (mut syncs, mut crashes) = (0, 0);
    for nth in 1.. {
        let storage = MemoryStorage::default();
        storage.fail_at_sync(nth);
        let Some((acknowledged, appended)) = write_until_failure(&storage) else { break };
        // The first syncs are of an opening that has written nothing.
        if storage.unsynced().is_empty() {
            assert_eq!(acknowledged, 0);
            continue;
        }
        syncs += 1;
        for (chosen, count, image) in images(&storage) {
            check_image(&image, chosen, count, acknowledged, appended);
            crashes += 1;
        }
    }
    assert!(syncs > 0);
    println!("{crashes} crashes at {syncs} syncs");
}

/// A bit that flips in a tail that was never acknowledged may make it void or refused, and never adds a command.
#[test]
fn flipped_bits_in_a_torn_tail_invent_nothing() {
    for nth in [3, 5] {
        let storage = MemoryStorage::default();
        storage.fail_at_write(nth);
        let (acknowledged, _) = write_until_failure(&storage).unwrap();
        for (chosen, count, image) in images(&storage) {
            if chosen == 0 || chosen == (1 << count) - 1 {
                continue;
            }
            for bit in (0..8 * 8 * 512).step_by(7) {
                let image = image.crash(|_| true);
                image.flip_bit(0, bit);
                match check(&image, &small()) {
                    Ok((found, torn)) => assert!(found == acknowledged && torn.is_some(), "bit {bit}"),
                    Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "bit {bit}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_failed_write_poisons() {
    for fault in [MemoryStorage::fail_at_write, MemoryStorage::fail_at_sync] {
        let storage = MemoryStorage::default();
        let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
        fill(&mut journal, 25, &mut Numbers(8));
        fault(&storage, 1);
        journal.append(&command(26)).unwrap();
        let error = journal.commit().unwrap_err();
        assert!(matches!(error, JournalError::Io { after, .. } if after.0 == 25), "{error}");
        assert!(error.to_string().starts_with("memory/0000000"), "{error}");

        let before = (storage.writes(), storage.syncs());
        assert!(matches!(journal.append(&command(27)), Err(JournalError::Poisoned { after }) if after.0 == 25));
        assert!(matches!(journal.commit(), Err(JournalError::Poisoned { .. })));
        assert!(matches!(journal.begin_epoch(), Err(JournalError::Poisoned { .. })));
        assert_eq!(journal.head().sequence.0, 25);
        assert!(matches!(journal.close(), Err(JournalError::Poisoned { .. })));
        assert_eq!((storage.writes(), storage.syncs()), before, "nothing is tried a second time");
    }
}

#[test]
fn a_failed_sync_in_the_background_poisons() {
    let storage = MemoryStorage::default();
    let options = Options { durability: Durability::Async, ..small() };
    let mut journal = Journal::open(storage.clone(), options).unwrap().into_journal().unwrap();
    storage.fail_at_sync(1);
    let mut sequence = 0;
    let error = loop {
        sequence += 1;
        journal.append(&command(sequence)).unwrap();
        if let Err(error) = journal.commit() {
            break error;
        }
    };
    assert!(matches!(error, JournalError::Io { .. }), "{error}");
    assert!(matches!(journal.append(&command(sequence + 1)), Err(JournalError::Poisoned { .. })));
}

/// A crash while the journal is created leaves none, whatever was made of it.
#[test]
fn a_crash_before_the_first_header_leaves_an_empty_journal() {
    let storage = MemoryStorage::default();
    storage.create(0, 4 * 512, Access::Write).unwrap();
    storage.create(1, 4 * 512, Access::Write).unwrap();
    assert_eq!(check(&storage, &small()).unwrap(), (0, None));
    assert_eq!(storage.segments().unwrap(), [0]);
}

#[test]
fn a_torn_tail_is_reported_exactly() {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    fill(&mut journal, 5, &mut Numbers(8));
    let offset = 512 * (1 + storage.writes() - 1);
    storage.fail_at_write(1);
    for sequence in 6..=27 {
        journal.append(&command(sequence)).unwrap();
    }
    journal.commit().unwrap_err();
    let unsynced = storage.unsynced();
    assert_eq!(unsynced.len(), 3);

    let mut torn = TornTail {
        file: "memory/00000000.segment".to_owned(),
        segment: 0,
        offset,
        bytes: 3 * 512,
        after_sequence: Sequence(5),
    };
    let image = storage.crash(|sector| sector != unsynced[0]);
    assert_eq!(check(&image, &small()).unwrap(), (5, Some(torn.clone())));
    torn.bytes = 512;
    let image = storage.crash(|sector| sector == unsynced[0]);
    assert_eq!(check(&image, &small()).unwrap(), (5, Some(torn)));

    // Once cleared, it is gone.
    drop(Journal::open(image.clone(), small()).unwrap().into_journal().unwrap());
    assert_eq!(check(&image, &small()).unwrap(), (5, None));
}
