//! The journal in a directory: the lock, the files' names, segments prepared by the thread, and reading meanwhile.

use std::{fs, io, thread};

use engine::journal::{
    Durability, FileStorage, Journal, JournalId, JournalReader, OpenError, Options, Storage, Tail, WriteMethod,
};

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

/// Whatever the way to write, the same bytes are on the disk; and one that cannot be had is refused with what to do.
#[test]
fn all_ways_to_write_write_the_same() {
    let mut written = Vec::new();
    for write_method in WriteMethod::ALL {
        let directory = tempfile::tempdir().unwrap();
        let journal_id = Some(JournalId([7; 16]));
        let options = Options { write_method: Some(write_method), journal_id, segments_ahead: 2, ..small() };
        let storage = FileStorage::lock(directory.path()).unwrap();
        let mut journal = match Journal::open(storage, options.clone()).unwrap().into_journal() {
            Ok(journal) => journal,
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
                assert!(source.to_string().contains("choose another way to write"), "{source}");
                eprintln!("{write_method} is not tested: {source}");
                continue;
            }
            Err(error) => panic!("{write_method}: {error}"),
        };
        fill(&mut journal, 500, &mut Numbers(4));
        journal.close().unwrap();
        let storage = FileStorage::lock(directory.path()).unwrap();
        assert_eq!(check(&storage, &options).unwrap(), (500, None));
        let bytes = |index: &u32| fs::read(directory.path().join(format!("{index:08}.segment"))).unwrap();
        let segments: Vec<_> = storage.segments().unwrap().iter().map(bytes).collect();
        written.push(segments.into_iter().filter(|segment| segment.iter().any(|&byte| byte != 0)).collect::<Vec<_>>());
        assert_eq!(written.last(), written.first(), "{write_method}");
    }
    assert!(written[0].len() > 10, "rolled over often");
}

#[test]
fn names_of_ways_to_write_are_read_and_written() {
    for method in WriteMethod::ALL {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    let error = "sync".parse::<WriteMethod>().unwrap_err();
    assert_eq!(error.to_string(), r#""sync" is no way to write: give dsync, direct, fdatasync or io-uring"#);
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
