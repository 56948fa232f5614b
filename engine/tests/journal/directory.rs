//! A directory of format 1, as it was written when the format was made: three segments, two epochs, and a snapshot. If a
//! test here fails, exchanges that exist can no longer be opened.

use std::{
    fs,
    path::{Path, PathBuf},
};

use engine::journal::{
    FileStorage, Journal, JournalReader, Tail,
    snapshot::{check_snapshot, list_snapshots, read_snapshot},
};

use super::{Numbers, command, fill, small, snapshots};

const LAST: u64 = 130;
const SNAPSHOT_AT: u64 = 60;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal/fixtures/format_1")
}

/// What this version writes.
fn write(directory: &Path) {
    let storage = FileStorage::lock(directory).unwrap();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    let mut numbers = Numbers(2_024);
    fill(&mut journal, SNAPSHOT_AT, &mut numbers);
    snapshots::write(&storage, journal.head());
    journal.begin_epoch().unwrap();
    fill(&mut journal, LAST, &mut numbers);
    journal.close().unwrap();
}

/// The names and contents of all files but the lock.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "LOCK")
        .collect();
    files.sort_unstable();
    files
}

#[test]
fn the_directory_is_read() {
    let reader = JournalReader::open_directory(fixture()).unwrap();
    assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), (1..=LAST).map(command).collect::<Vec<_>>());
    assert_eq!(JournalReader::open_directory(fixture()).unwrap().into_tail().unwrap(), Tail::Clean);

    let storage = FileStorage::read_only(fixture());
    let names = list_snapshots(&storage).unwrap();
    let header = check_snapshot(&storage, names[0]).unwrap();
    assert_eq!((names.len(), header.epoch.0, header.sequence.0), (1, 1, SNAPSHOT_AT));
    assert_eq!(header.state_hash, [7; 32]);
    assert_eq!(read_snapshot(&storage, names[0]).unwrap().1, b"the state at 60");
    let tail = JournalReader::open_after(storage, header.head()).unwrap();
    assert_eq!(tail.map(Result::unwrap).next(), Some(command(SNAPSHOT_AT + 1)));
}

#[test]
fn a_copy_is_opened_from_its_snapshot_and_written_on() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files(&fixture()) {
        fs::write(directory.path().join(name), bytes).unwrap();
    }
    let storage = FileStorage::lock(directory.path()).unwrap();
    let header = check_snapshot(&storage, list_snapshots(&storage).unwrap()[0]).unwrap();
    let opening = Journal::open_after(storage.clone(), small(), header.head()).unwrap();
    assert_eq!(opening.accepted_losses(), []);
    let mut journal = opening.into_journal().unwrap();
    assert_eq!((journal.head().sequence.0, journal.head().epoch.0), (LAST, 2));
    fill(&mut journal, LAST + 100, &mut Numbers(1));
    journal.close().unwrap();
    assert_eq!(super::check(&storage, &small()).unwrap(), (LAST + 100, None));
}

/// `UPDATE_EXPECT=1` writes the directory where there is none yet, and never over one that is there.
#[test]
fn what_is_written_now_is_the_same() {
    if std::env::var_os("UPDATE_EXPECT").is_some() && !fixture().exists() {
        write(&fixture());
        fs::remove_file(fixture().join("LOCK")).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    let (found, expected) = (files(directory.path()), files(&fixture()));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert!(found == expected, "{name} is written otherwise than it was");
    }
}
