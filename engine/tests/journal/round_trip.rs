//! Writing, reading, and the calls in between, while nothing fails.

use engine::journal::{
    Durability, Epoch, Journal, JournalError, JournalReader, MemoryStorage, OpenError, Options, Storage, Tail,
};

use super::{Numbers, check, command, fill, filled, small};

#[test]
fn what_is_written_over_many_segments_and_openings_comes_back() {
    let storage = MemoryStorage::default();
    let mut numbers = Numbers(7);
    let mut last = 0;
    for _ in 0..20 {
        let journal = Journal::open(storage.clone(), small()).unwrap().into_journal();
        let mut journal = journal.unwrap();
        assert_eq!(journal.head().sequence.0, last);
        last += 1 + numbers.below(200);
        fill(&mut journal, last, &mut numbers);
        let head = journal.head();
        journal.close().unwrap();

        assert_eq!(check(&storage, &small()).unwrap(), (last, None));
        let mut reader = JournalReader::open(storage.clone()).unwrap();
        assert_eq!(reader.by_ref().map(|found| found.unwrap().sequence.0).last(), Some(last));
        assert_eq!(reader.head(), head);
        assert_eq!(reader.into_tail().unwrap(), Tail::Clean);
    }
    assert!(storage.segments().unwrap().len() > 20);
}

#[test]
fn an_empty_journal_opens_again_and_keeps_its_id() {
    let storage = MemoryStorage::default();
    assert!(matches!(JournalReader::open(storage.clone()), Err(OpenError::Missing { .. })));
    let options = Options { journal_id: None, ..small() };
    let journal = Journal::open(storage.clone(), options.clone()).unwrap().into_journal().unwrap();
    let (id, head) = (journal.journal_id(), journal.head());
    assert_eq!(head.hash, id.genesis());
    drop(journal);
    let opening = Journal::open(storage.clone(), options.clone()).unwrap();
    assert_eq!((opening.journal_id(), opening.head()), (id, head));
    assert_eq!(JournalReader::open(storage).unwrap().count(), 0);

    let other = Journal::open(MemoryStorage::default(), options).unwrap();
    assert_ne!(other.journal_id(), id);
}

#[test]
fn a_full_block_says_so_and_loses_nothing() {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    let mut full = 0;
    for sequence in 1..=200 {
        if let Err(error) = journal.append(&command(sequence)) {
            assert!(matches!(error, JournalError::Full { buffered_bytes } if buffered_bytes > 1_300), "{error}");
            full += 1;
            journal.commit().unwrap();
            journal.append(&command(sequence)).unwrap();
        }
    }
    assert!(full > 3);
    assert_eq!(journal.close().unwrap().sequence.0, 200);
    assert_eq!(check(&storage, &small()).unwrap(), (200, None));
}

#[test]
fn a_commit_takes_a_mebibyte_in_one_write() {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), Options::default()).unwrap().into_journal().unwrap();
    let mut last = 0;
    while journal.append(&command(last + 1)).is_ok() {
        last += 1;
    }
    assert!(journal.buffered_bytes() > (1 << 20) - 200);
    let writes = storage.writes();
    assert_eq!(journal.commit().unwrap().0, last);
    assert_eq!(journal.commit().unwrap().0, last, "a commit of nothing");
    assert_eq!(storage.writes(), writes + 1);
    drop(journal);
    assert_eq!(check(&storage, &Options::default()).unwrap(), (last, None));
}

#[test]
fn what_was_not_committed_is_gone() {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    fill(&mut journal, 10, &mut Numbers(1));
    journal.append(&command(11)).unwrap();
    assert_eq!((journal.head().sequence.0, journal.appended().0), (10, 11));
    drop(journal);
    assert_eq!(check(&storage, &small()).unwrap(), (10, None));
}

#[test]
#[should_panic(expected = "sequences have no gaps")]
fn a_gap_is_a_bug_of_the_caller() {
    let mut journal = Journal::open(MemoryStorage::default(), small()).unwrap().into_journal().unwrap();
    drop(journal.append(&command(2)));
}

#[test]
fn epochs_follow_each_other() {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    for epoch in 1..30 {
        assert_eq!(journal.head().epoch.0.max(1), (epoch - 1).max(1));
        fill(&mut journal, u64::from(epoch) * 17, &mut Numbers(5));
        assert_eq!(journal.head().epoch, Epoch(epoch));
        journal.begin_epoch().unwrap();
    }
    drop(journal);
    assert_eq!(check(&storage, &small()).unwrap(), (29 * 17, None));
    let mut reader = JournalReader::open(storage.clone()).unwrap();
    assert_eq!(reader.by_ref().count(), 29 * 17);
    assert_eq!(reader.head().epoch, Epoch(29));
    let journal = Journal::open(storage, small()).unwrap().into_journal().unwrap();
    assert_eq!(journal.head().epoch, Epoch(29), "an epoch without a block never was");
}

#[test]
fn short_reads_change_nothing() {
    let storage = filled(&small(), 300);
    storage.limit_reads(61);
    assert_eq!(check(&storage, &small()).unwrap(), (300, None));
    assert_eq!(JournalReader::open(storage).unwrap().filter(Result::is_ok).count(), 300);
}

#[test]
fn a_reader_goes_on_when_there_is_more() {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    let mut reader = JournalReader::open(storage).unwrap();
    for last in 1..200 {
        fill(&mut journal, last, &mut Numbers(5));
        assert_eq!(reader.next().unwrap().unwrap(), command(last));
        assert!(reader.next().is_none());
        assert_eq!(reader.head(), journal.head());
    }
}

#[test]
fn under_each_durability_what_is_closed_comes_back() {
    for durability in [Durability::Sync, Durability::Async, Durability::None] {
        let options = Options { durability, segments_ahead: 2, ..small() };
        let storage = filled(&options, 500);
        assert_eq!(storage.unsynced().is_empty(), durability != Durability::None, "{durability}");
        assert_eq!(check(&storage, &options).unwrap(), (500, None));
        assert!(storage.unsynced().is_empty(), "what an opening has read is durable");
    }
}

#[test]
fn durability_has_names() {
    for (name, durability) in [("sync", Durability::Sync), ("async", Durability::Async), ("none", Durability::None)] {
        assert_eq!(name.parse(), Ok(durability));
        assert_eq!(durability.to_string(), name);
    }
    assert_eq!(
        "Sync".parse::<Durability>().unwrap_err().to_string(),
        r#""Sync" is no durability: give sync, async or none"#
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let refused = |options| {
        assert!(matches!(Journal::open(MemoryStorage::default(), options), Err(OpenError::Options { .. })));
    };
    refused(Options { segment_bytes: 4 * 512 - 1, ..small() });
    refused(Options { segment_bytes: 3 * 512, ..small() });
    refused(Options { segment_bytes: 4 * 512 + 8, ..small() });
    refused(Options { block_bytes: 100, ..small() });
    assert!(Journal::open(MemoryStorage::default(), Options { segment_bytes: 4 * 512, ..small() }).is_ok());
}

#[test]
fn segments_prepared_under_other_options_are_made_again() {
    let storage = filled(&small(), 100);
    let used = storage.segments().unwrap().len() as u32;
    let spare = |bytes: usize| vec![0; bytes];
    storage.replace(used, spare(8 * 512));
    storage.replace(used + 1, spare(4 * 512));
    storage.replace(used + 2, spare(8 * 512));
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    assert_eq!(storage.segments().unwrap().len() as u32, used + 1);
    fill(&mut journal, 400, &mut Numbers(3));
    let larger = Options { segment_bytes: 16 * 512, ..small() };
    drop(journal);
    let mut journal = Journal::open(storage.clone(), larger.clone()).unwrap().into_journal().unwrap();
    fill(&mut journal, 700, &mut Numbers(3));
    assert_eq!(check(&storage, &larger).unwrap(), (700, None));
}
