//! Whatever is wrong and is not a torn tail refuses to open, says where, and changes nothing.

use engine::journal::{
    Damage, Journal, JournalId, JournalReader, MemoryStorage, OpenError, Options, Storage, storage::Access,
};

use super::{check, command, filled, small};

const SECTOR: usize = 512;

/// Opens, expects damage, and returns the segment's name, the offset, the last good sequence and what is wrong.
fn refused(storage: &MemoryStorage) -> (String, u64, u64, Damage) {
    let before = contents(storage);
    let error = check(storage, &small()).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("nothing was changed: restore the file from a copy"), "{text}");
    assert_eq!(contents(storage), before);
    let OpenError::Damaged { file, offset, after, damage } = error else { panic!("{text}") };
    assert!(text.starts_with(&format!("{file} at byte {offset}, after sequence {after}: {damage}")), "{text}");
    (file, offset, after.0, damage)
}

fn contents(storage: &MemoryStorage) -> Vec<Vec<u8>> {
    storage.segments().unwrap().into_iter().map(|index| storage.contents(index).unwrap()).collect()
}

/// Blocks of one sector each: the block with sequence `n` is in segment `(n - 1) / 7`, sector `(n - 1) % 7 + 1`.
fn one_by_one(id: JournalId, last: u64) -> MemoryStorage {
    let storage = MemoryStorage::default();
    let options = Options { journal_id: Some(id), ..small() };
    let mut journal = Journal::open(storage.clone(), options).unwrap().into_journal().unwrap();
    for sequence in 1..=last {
        journal.append(&command(sequence)).unwrap();
        journal.commit().unwrap();
    }
    storage
}

fn edit(storage: &MemoryStorage, segment: u32, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = storage.contents(segment).unwrap();
    edit(&mut bytes);
    storage.replace(segment, bytes);
}

const ID: JournalId = JournalId(*b"another journal!");

#[test]
fn every_flipped_bit_is_seen() {
    let options = Options { segment_bytes: 4 * 512, block_bytes: 1_200, ..small() };
    let storage = filled(&options, 60);
    let used = storage.segments().unwrap().len() as u32;
    assert!(used > 3);
    for spare in used..used + 2 {
        storage.create(spare, 2 * 512, Access::Write).unwrap();
    }
    let segments = storage.segments().unwrap();
    let mut bits = 0;
    for segment in segments {
        for bit in 0..storage.contents(segment).unwrap().len() * 8 {
            storage.flip_bit(segment, bit);
            let error = check(&storage, &options).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { damage: Damage::Sector, .. }), "{segment}, {bit}: {error}");
            // A reader stops, at the latest, before the segment where it could be a write under way.
            let seen = JournalReader::open(storage.clone()).map(|mut reader| reader.any(|found| found.is_err()));
            assert!(segment + 1 >= used || seen.is_err() || seen.is_ok_and(|seen| seen), "{segment}, {bit}");
            storage.flip_bit(segment, bit);
            bits += 1;
        }
    }
    println!("{bits} flipped bits, all refused");
    check(&storage, &options).unwrap();
}

#[test]
fn a_sector_lost_before_the_end_is_no_torn_tail() {
    for last in [17, 21] {
        let journal = one_by_one(ID, last);
        for lost in 1..last {
            let storage = journal.crash(|_| true);
            let (segment, sector) = ((lost as u32 - 1) / 7, (lost as usize - 1) % 7 + 1);
            edit(&storage, segment, |bytes| bytes[sector * SECTOR..][..SECTOR].fill(0));
            let (_, _, after, _) = refused(&storage);
            assert_eq!(after, lost - 1);
            // Whoever only reads sees it, too, at the latest when it asks how the journal ends.
            assert!(JournalReader::open(storage).unwrap().into_tail().is_err());
        }
    }
}

/// The same in blocks of several sectors: only in the last one does a lost sector count as torn.
#[test]
fn a_part_of_a_block_lost_before_the_end_is_no_torn_tail() {
    let journal = filled(&small(), 310);
    let segments = journal.segments().unwrap().len() as u32;
    let (mut seen, mut torn) = (0, 0);
    for segment in 0..segments {
        for sector in 0..8 {
            let storage = journal.crash(|_| true);
            if storage.contents(segment).unwrap()[sector * SECTOR..][..SECTOR] == [0; SECTOR] {
                continue;
            }
            edit(&storage, segment, |bytes| bytes[sector * SECTOR..][..SECTOR].fill(0));
            let mut reader = JournalReader::open(storage.clone());
            let ended = reader.as_mut().is_ok_and(|reader| reader.all(|found| found.is_ok()));
            if let Ok((count, tail)) = check(&storage, &small()) {
                assert!(ended && segment == segments - 1 && count > 270 && tail.is_some());
                torn += 1;
            } else {
                refused(&storage);
                assert!(!ended || segment == segments - 1);
                seen += 1;
            }
        }
    }
    assert!(seen > 20 && (1..=4).contains(&torn), "{seen}, {torn}");
}

#[test]
fn a_lost_header_is_no_torn_tail() {
    let journal = one_by_one(ID, 16);
    for segment in 0..2 {
        let storage = journal.crash(|_| true);
        edit(&storage, segment, |bytes| bytes[..SECTOR].fill(0));
        let (file, _, after, damage) = refused(&storage);
        assert_eq!((after, damage), (u64::from(segment) * 7, Damage::AfterHole));
        assert_eq!(file, format!("memory/{segment:08}.segment"));
    }
}

#[test]
fn blocks_in_the_wrong_place_are_refused() {
    let storage = one_by_one(ID, 16);
    edit(&storage, 0, |bytes| {
        let (left, right) = bytes.split_at_mut(3 * SECTOR);
        left[2 * SECTOR..].swap_with_slice(&mut right[..SECTOR]);
    });
    assert_eq!(refused(&storage), ("memory/00000000.segment".to_owned(), 1024, 1, Damage::Sector));

    // The last block once more, behind itself.
    let storage = one_by_one(ID, 16);
    edit(&storage, 2, |bytes| bytes.copy_within(2 * SECTOR..3 * SECTOR, 3 * SECTOR));
    assert_eq!(refused(&storage), ("memory/00000002.segment".to_owned(), 1536, 16, Damage::Sector));

    // Two segments in each other's place.
    let storage = one_by_one(ID, 21);
    let (one, two) = (storage.contents(1).unwrap(), storage.contents(2).unwrap());
    storage.replace(1, two);
    storage.replace(2, one);
    assert_eq!(refused(&storage), ("memory/00000001.segment".to_owned(), 0, 7, Damage::Sector));
}

#[test]
fn segments_of_another_history_are_refused() {
    // Another journal.
    let storage = one_by_one(ID, 16);
    let other = JournalId(*b"0123456789abcdef");
    storage.replace(1, one_by_one(other, 16).contents(1).unwrap());
    let expected = Damage::Journal { expected: ID, found: other };
    assert_eq!(refused(&storage), ("memory/00000001.segment".to_owned(), 0, 7, expected));

    // The same journal, written otherwise from the start.
    let storage = one_by_one(ID, 16);
    let options = Options { journal_id: Some(ID), ..small() };
    storage.replace(1, filled(&options, 100).contents(1).unwrap());
    let (file, offset, after, damage) = refused(&storage);
    assert_eq!((file.as_str(), offset, after), ("memory/00000001.segment", 0, 7));
    assert!(matches!(damage, Damage::Chain { .. }), "{damage}");
}

#[test]
fn missing_and_shortened_segments_are_refused() {
    let storage = one_by_one(ID, 30);
    storage.remove(1).unwrap();
    assert_eq!(refused(&storage), ("memory/00000002.segment".to_owned(), 0, 0, Damage::SegmentMissing { index: 1 }));

    for (segment, length) in [(0, 4 * SECTOR), (1, 4 * SECTOR), (2, 7 * SECTOR)] {
        let storage = one_by_one(ID, 16);
        edit(&storage, segment, |bytes| bytes.truncate(length));
        let damage = Damage::SegmentLength { expected: 4096, found: length as u64 };
        assert_eq!(refused(&storage).3, damage);
    }
    let storage = one_by_one(ID, 16);
    edit(&storage, 2, |bytes| bytes.truncate(1000));
    assert!(matches!(refused(&storage).3, Damage::SegmentLength { .. }));
}

#[test]
fn a_refused_journal_cannot_be_written() {
    let storage = one_by_one(ID, 16);
    storage.flip_bit(1, 5_000);
    assert!(matches!(Journal::open(storage.clone(), small()).unwrap().into_journal(), Err(OpenError::Damaged { .. })));
    let mut opening = Journal::open(storage, small()).unwrap();
    assert_eq!(opening.by_ref().filter(Result::is_ok).count(), 7);
    assert!(opening.next().is_none());
    assert!(matches!(opening.into_journal(), Err(OpenError::Damaged { damage: Damage::Unread, .. })));
}

#[test]
fn a_reader_tells_damage_from_what_is_being_written() {
    // In the last block it may be a write under way.
    let storage = one_by_one(ID, 16);
    storage.flip_bit(2, (2 * SECTOR + 100) * 8);
    let mut reader = JournalReader::open(storage.clone()).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).count(), 15);
    storage.flip_bit(2, (2 * SECTOR + 100) * 8);
    assert_eq!(reader.next().unwrap().unwrap(), command(16));

    // Before it there is damage.
    for (segment, sector, after) in [(0, 2, 1), (0, 7, 6), (1, 2, 8), (2, 1, 14)] {
        let storage = one_by_one(ID, 16);
        storage.flip_bit(segment, (sector * SECTOR + 100) * 8);
        let mut reader = JournalReader::open(storage).unwrap();
        assert_eq!(reader.by_ref().take(after).map(Result::unwrap).count(), after);
        assert!(matches!(reader.next(), Some(Err(OpenError::Damaged { damage: Damage::Sector, .. }))));
        assert!(reader.next().is_none());
    }

    // So there is where nothing was ever written, once the next segment has begun.
    let storage = one_by_one(ID, 5);
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    for sequence in 6..=27 {
        journal.append(&command(sequence)).unwrap();
    }
    journal.commit().unwrap();
    assert!(storage.segments().unwrap().len() == 2, "a block of three sectors does not fit behind five others");
    storage.flip_bit(0, 8 * SECTOR * 8 - 1);
    let mut reader = JournalReader::open(storage).unwrap();
    assert_eq!(reader.by_ref().take(5).map(Result::unwrap).count(), 5);
    assert!(matches!(reader.next(), Some(Err(OpenError::Damaged { damage: Damage::Sector, .. }))));
}
