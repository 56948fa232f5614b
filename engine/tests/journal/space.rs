//! A disk that fills up: it is seen in time, what was prepared can still be written, and nothing acknowledged is lost.

use std::{io, thread, time::Duration};

use engine::journal::{FileStorage, Headroom, Journal, JournalError, MemoryStorage, Options, SnapshotError, Storage};

use super::{check, command, fill, filled, small, snapshots};

const SEGMENT: u64 = 8 * 512;

/// Two segments ahead, and low below four.
fn options(segments_ahead: usize) -> Options {
    Options { segments_ahead, low_space_bytes: 4 * SEGMENT, space_interval: Duration::from_millis(1), ..small() }
}

fn open(storage: &MemoryStorage, segments_ahead: usize) -> (Journal<MemoryStorage>, Headroom) {
    let opening = Journal::open(storage.clone(), options(segments_ahead)).unwrap();
    let journal = opening.into_journal().unwrap();
    let headroom = journal.headroom();
    (journal, headroom)
}

/// One block of one sector.
fn write_one(journal: &mut Journal<MemoryStorage>) -> Result<(), JournalError> {
    journal.append(&command(journal.appended().0 + 1))?;
    journal.commit().map(drop)
}

fn wait_until(mut reached: impl FnMut() -> bool) {
    while !reached() {
        thread::yield_now();
    }
}

#[test]
fn headroom_is_what_segments_and_the_disk_have_left() {
    let storage = MemoryStorage::default();
    storage.set_capacity(Some(10 * SEGMENT + 100));
    let (mut journal, headroom) = open(&storage, 2);
    wait_until(|| headroom.bytes() == 3 * SEGMENT - 512);
    wait_until(|| storage.free_bytes().unwrap() == 7 * SEGMENT + 100);
    assert!(headroom.can_prepare() && !headroom.is_low());
    write_one(&mut journal).unwrap();
    assert_eq!(headroom.bytes(), 3 * SEGMENT - 1024);
    // Seven blocks fill the first segment. The eighth takes a header with it, and a segment more is prepared.
    for _ in 1..8 {
        write_one(&mut journal).unwrap();
    }
    wait_until(|| headroom.bytes() == 3 * SEGMENT - 1024);

    // Others fill the disk, then make room.
    storage.set_capacity(Some(storage.used_bytes() + SEGMENT));
    wait_until(|| headroom.is_low());
    assert!(headroom.can_prepare());
    storage.set_capacity(Some(storage.used_bytes() + SEGMENT - 1));
    wait_until(|| !headroom.can_prepare());
    assert!(headroom.is_low());
    storage.set_capacity(None);
    wait_until(|| !headroom.is_low() && headroom.can_prepare());
    assert_eq!(storage.free_bytes().unwrap(), u64::MAX);
}

#[test]
fn a_sudden_full_disk_leaves_a_whole_segment_at_least() {
    for written in 0..30 {
        let storage = MemoryStorage::default();
        let (mut journal, headroom) = open(&storage, 2);
        wait_until(|| headroom.bytes() == 3 * SEGMENT - 512);
        for _ in 0..written {
            write_one(&mut journal).unwrap();
        }
        // As many as there may be at this moment, whatever the thread is about to do.
        storage.set_capacity(Some(storage.used_bytes()));
        let mut more = 0;
        let error = loop {
            match write_one(&mut journal) {
                Ok(()) => more += 1,
                Err(error) => break error,
            }
        };
        assert!(more >= 7, "{more} blocks after {written}");
        assert!(matches!(&error, JournalError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull));
        assert!(headroom.is_low() && !headroom.can_prepare());
        assert!(matches!(write_one(&mut journal), Err(JournalError::Poisoned { .. })));
        drop(journal);

        // Nothing acknowledged is lost, and when space returns, it goes on.
        let acknowledged = written + more;
        assert_eq!(check(&storage, &small()).unwrap(), (acknowledged, None));
        storage.set_capacity(None);
        let (mut journal, headroom) = open(&storage, 2);
        fill(&mut journal, acknowledged + 100, &mut super::Numbers(3));
        assert!(!headroom.is_low());
        journal.close().unwrap();
        assert_eq!(check(&storage, &small()).unwrap(), (acknowledged + 100, None));
    }
}

#[test]
fn when_space_returns_in_time_nothing_stops() {
    let storage = MemoryStorage::default();
    let (mut journal, headroom) = open(&storage, 2);
    wait_until(|| headroom.bytes() == 3 * SEGMENT - 512);
    for _ in 0..5 {
        storage.set_capacity(Some(storage.used_bytes()));
        wait_until(|| headroom.is_low());
        // A whole segment and a half.
        for _ in 0..10 {
            write_one(&mut journal).unwrap();
        }
        let left = headroom.bytes();
        assert!(left < 2 * SEGMENT);
        storage.set_capacity(None);
        wait_until(|| headroom.bytes() >= left + SEGMENT && !headroom.is_low());
        wait_until(|| headroom.bytes() > 2 * SEGMENT);
    }
    // Also at the last moment, when the writer itself asks.
    storage.set_capacity(Some(storage.used_bytes()));
    wait_until(|| headroom.is_low());
    while headroom.bytes() >= 512 {
        write_one(&mut journal).unwrap();
    }
    storage.set_capacity(None);
    fill(&mut journal, 500, &mut super::Numbers(3));
    journal.close().unwrap();
    assert_eq!(check(&storage, &small()).unwrap(), (500, None));
}

#[test]
fn without_a_thread_space_is_looked_at_when_a_segment_is_made() {
    let storage = MemoryStorage::default();
    storage.set_capacity(Some(5 * SEGMENT));
    let (mut journal, headroom) = open(&storage, 0);
    let mut seen = Vec::new();
    let error = loop {
        if headroom.is_low() && seen.is_empty() {
            seen.push(journal.head().sequence.0);
        }
        if let Err(error) = write_one(&mut journal) {
            break error;
        }
    };
    assert_eq!(journal.head().sequence.0, 5 * 7);
    assert_eq!(seen, [8], "from the second segment on, fewer than four are left");
    assert!(
        matches!(&error, JournalError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    assert_eq!(headroom.bytes(), 0);
}

#[test]
fn a_snapshot_on_a_full_disk_fails_and_leaves_nothing() {
    let storage = filled(&small(), 50);
    let head = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap().head();
    storage.set_capacity(Some(storage.used_bytes() + 100));
    let failed = snapshots::try_write(&storage, head).unwrap_err();
    assert!(matches!(failed, SnapshotError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull));
    assert_eq!(storage.files().unwrap(), [""; 0]);
    storage.set_capacity(None);
    snapshots::try_write(&storage, head).unwrap();
}

#[test]
fn a_directory_knows_what_its_disk_has_free() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::lock(directory.path()).unwrap();
    let free = storage.free_bytes().unwrap();
    assert!(free > 0 && free < 1 << 60, "{free}");
    let journal = Journal::open(storage, small()).unwrap().into_journal().unwrap();
    assert!(journal.headroom().can_prepare());
    assert_eq!(journal.headroom().bytes(), SEGMENT - 512);
}
