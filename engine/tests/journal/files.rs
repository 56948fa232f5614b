//! The journal in a directory: the lock, the files' names, segments prepared by the thread, and reading meanwhile.

use std::{fs, thread};

use engine::journal::{Durability, FileStorage, Journal, JournalReader, OpenError, Options, Storage, Tail};

use super::{Numbers, check, command, fill, small};

#[test]
fn a_second_opener_is_refused_and_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let storage = FileStorage::lock(&path).unwrap();
    let error = FileStorage::lock(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{} is in use by process {}: stop it first", path.display(), std::process::id())
    );
    assert!(matches!(error, OpenError::Locked { process_id: Some(_), .. }));

    let options = Options { segments_ahead: 1, ..small() };
    let journal = Journal::open(storage, options).unwrap().into_journal().unwrap();
    assert!(matches!(FileStorage::lock(&path), Err(OpenError::Locked { .. })));
    journal.close().unwrap();
    FileStorage::lock(&path).unwrap();
}

#[test]
fn what_is_written_to_files_comes_back() {
    for durability in [Durability::Sync, Durability::Async, Durability::None] {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { durability, segments_ahead: 2, ..small() };
        let mut numbers = Numbers(11);
        for last in [1, 100, 101, 400] {
            fs::write(directory.path().join("00000999.preparing"), "part of a segment").unwrap();
            let storage = FileStorage::lock(directory.path()).unwrap();
            let mut journal = Journal::open(storage, options.clone()).unwrap().into_journal().unwrap();
            fill(&mut journal, last, &mut numbers);
            journal.close().unwrap();

            let storage = FileStorage::lock(directory.path()).unwrap();
            assert_eq!(check(&storage, &options).unwrap(), (last, None));
            assert!(!directory.path().join("00000999.preparing").exists());
            assert_eq!(JournalReader::open_directory(directory.path()).unwrap().into_tail().unwrap(), Tail::Clean);
        }
        // However often it is opened, no more segments are ready than asked for.
        let storage = FileStorage::lock(directory.path()).unwrap();
        for _ in 0..4 {
            drop(Journal::open(storage.clone(), options.clone()).unwrap().into_journal().unwrap());
        }
        let mut empty = 0;
        for index in storage.segments().unwrap() {
            let segment = fs::read(directory.path().join(format!("{index:08}.segment"))).unwrap();
            assert_eq!(segment.len(), 8 * 512);
            empty += usize::from(segment.iter().all(|&byte| byte == 0));
        }
        assert!(empty <= options.segments_ahead, "{empty}");
    }
}

#[test]
fn a_directory_without_a_journal_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(JournalReader::open_directory(directory.path()), Err(OpenError::Missing { .. })));
    let error = JournalReader::open_directory(directory.path().join("none")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

/// A reader follows a writer through many segments, and sees every command once, whole, and in order.
#[test]
fn a_reader_follows_a_writer() {
    const LAST: u64 = 200_000;
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        durability: Durability::None,
        segment_bytes: 256 << 10,
        block_bytes: 64 << 10,
        segments_ahead: 2,
        ..Options::default()
    };
    let storage = FileStorage::lock(directory.path()).unwrap();
    let mut journal = Journal::open(storage, options).unwrap().into_journal().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut numbers = Numbers(17);
            while journal.head().sequence.0 < LAST {
                let first = journal.appended().0 + 1;
                for sequence in first..=(first + numbers.below(900)).min(LAST) {
                    journal.append(&command(sequence)).unwrap();
                }
                journal.commit().unwrap();
            }
        });
        scope.spawn(|| {
            let mut reader = JournalReader::open_directory(directory.path()).unwrap();
            let mut last = 0;
            while last < LAST {
                match reader.next() {
                    Some(found) => {
                        last += 1;
                        assert_eq!(found.unwrap(), command(last));
                    }
                    None => thread::yield_now(),
                }
            }
            assert!(reader.next().is_none());
        });
    });
    let head = journal.close().unwrap();
    let mut reader = JournalReader::open_directory(directory.path()).unwrap();
    assert_eq!(reader.by_ref().count() as u64, LAST);
    assert_eq!(reader.head(), head);
}
