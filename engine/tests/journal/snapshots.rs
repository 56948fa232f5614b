//! Snapshots: what is written comes back, what is wrong is refused, and a crash leaves the whole one or none.

use std::{fs, io::Write};

use engine::{
    journal::{
        ChainHash, Epoch, FileStorage, Head, Journal, JournalId, MemoryStorage, OpenError, SnapshotError,
        SnapshotHeader, SnapshotName, SnapshotWriter, Storage,
        snapshot::{check_snapshot, list_snapshots, read_snapshot, remove_old_snapshots, write_snapshot},
    },
    types::{Sequence, Timestamp},
};

use super::{Numbers, check, command, fill, filled, small};

/// The snapshot of a head, with a payload that depends on it.
pub fn header(head: Head) -> SnapshotHeader {
    SnapshotHeader {
        epoch: head.epoch,
        sequence: head.sequence,
        time: Timestamp(1_700_000_000_000_000_000 + head.sequence.0),
        journal_id: JournalId(*b"a small journal!"),
        chain_hash: head.hash,
        state_hash: [7; 32],
    }
}

pub fn write<S: Storage>(storage: &S, head: Head) -> SnapshotName {
    try_write(storage, head).unwrap()
}

pub fn try_write<S: Storage>(storage: &S, head: Head) -> Result<SnapshotName, SnapshotError> {
    write_snapshot(storage, &header(head), |writer| write!(writer, "the state at {}", head.sequence))
}

fn head(sequence: u64) -> Head {
    Head { sequence: Sequence(sequence), hash: ChainHash([3; 32]), epoch: Epoch(2) }
}

/// A journal with the given number of commands and its last head.
fn journal(last: u64) -> (MemoryStorage, Vec<Head>) {
    let storage = MemoryStorage::default();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    let mut heads = Vec::new();
    for sequence in 1..=last {
        fill(&mut journal, sequence, &mut Numbers(5));
        heads.push(journal.head());
    }
    (storage, heads)
}

fn check_comes_back<S: Storage>(storage: &S) {
    assert_eq!(list_snapshots(storage).unwrap(), []);
    for payload in [vec![], vec![1, 2, 3], (0..3_000_001_u32).map(|byte| byte as u8).collect::<Vec<_>>()] {
        let header = header(head(payload.len() as u64));
        let mut writer = SnapshotWriter::begin(storage, &header).unwrap();
        payload.chunks(70_001).for_each(|piece| writer.write_all(piece).unwrap());
        assert!(!list_snapshots(storage).unwrap().contains(&header.name()), "it is not finished");
        let name = writer.finish().unwrap();
        assert_eq!(name, header.name());
        assert_eq!(read_snapshot(storage, name).unwrap(), (header, payload));
    }
    let listed: Vec<_> = list_snapshots(storage).unwrap().iter().map(|name| name.sequence.0).collect();
    assert_eq!(listed, [3_000_001, 3, 0]);

    // One that is begun and dropped never was; the one it would replace stays.
    let header = header(head(3));
    let failed = write_snapshot(storage, &header, |_| Err(std::io::Error::other("no state")));
    assert!(matches!(failed, Err(SnapshotError::Io { .. })));
    drop(SnapshotWriter::begin(storage, &header).unwrap());
    assert_eq!(read_snapshot(storage, header.name()).unwrap().1, [1, 2, 3]);
    storage.remove_file(&header.name().to_string()).unwrap();
    assert!(matches!(read_snapshot(storage, header.name()), Err(SnapshotError::Io { .. })));
}

#[test]
fn what_is_written_comes_back() {
    check_comes_back(&MemoryStorage::default());
    let short = MemoryStorage::default();
    short.limit_reads(4_001);
    check_comes_back(&short);
}

#[test]
fn what_is_written_to_files_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let unfinished = directory.path().join("00000001-00000000000000000009.snapshot.writing");
    fs::write(&unfinished, "part of a snapshot").unwrap();
    let storage = FileStorage::lock(directory.path()).unwrap();
    assert!(!unfinished.exists());
    check_comes_back(&storage);
    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["00000002-00000000000000000000.snapshot", "00000002-00000000000003000001.snapshot", "LOCK"]);

    let beside = FileStorage::read_only(directory.path());
    assert_eq!(list_snapshots(&beside).unwrap().len(), 2);
    let refused = write_snapshot(&beside, &header(head(9)), |_| Ok(()));
    assert_eq!(refused.unwrap_err().to_string().rsplit(": ").next(), Some("the directory was opened for reading only"));
    for name in ["LOCK", "00000000.segment", "a.writing", "../a", ""] {
        assert!(storage.create_file(name).is_err() && storage.remove_file(name).is_err(), "{name}");
    }
}

#[test]
fn every_flipped_bit_and_every_other_length_is_refused() {
    let storage = MemoryStorage::default();
    let name = write(&storage, head(12));
    let file = name.to_string();
    let bytes = storage.file(&file).unwrap();
    let refused = |bytes: Vec<u8>| {
        storage.replace_file(&file, bytes);
        read_snapshot(&storage, name).unwrap_err()
    };
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match refused(flipped) {
            SnapshotError::Magic { .. } => assert!(bit < 64),
            SnapshotError::Format { .. } => assert!((64..96).contains(&bit)),
            SnapshotError::Check { .. } => assert!(bit >= 96),
            error => panic!("bit {bit}: {error}"),
        }
    }
    for length in 0..bytes.len() {
        let error = refused(bytes[..length].to_vec());
        assert!(matches!(error, SnapshotError::Magic { .. } | SnapshotError::Check { .. }), "{length}: {error}");
    }
    assert!(matches!(refused([bytes.clone(), vec![0]].concat()), SnapshotError::Check { .. }));
    println!("{} flipped bits and {} lengths, all refused", bytes.len() * 8, bytes.len() + 1);

    // Whole, and not what its name says.
    storage.replace_file(&file, bytes);
    let other = write(&storage, head(13));
    storage.replace_file(&file, storage.file(&other.to_string()).unwrap());
    let error = read_snapshot(&storage, name).unwrap_err();
    assert_eq!(error.to_string(), format!("memory/{file} holds the snapshot {other}"));

    // Whole, and its length is wrong.
    let mut bytes = storage.file(&other.to_string()).unwrap();
    let end = bytes.len() - 32;
    bytes[end - 8] += 1;
    let check = *blake3::hash(&bytes[..end]).as_bytes();
    bytes[end..].copy_from_slice(&check);
    storage.replace_file(&other.to_string(), bytes);
    assert!(matches!(read_snapshot(&storage, other), Err(SnapshotError::Length { expected: 16, found: 15, .. })));
}

/// At every step that fails, and with the name made durable or not, there is the old snapshot or all of the new one.
#[test]
fn a_crash_at_any_step_leaves_the_old_or_the_new() {
    let mut outcomes = [0; 2];
    for replaces in [false, true] {
        for nth in 1.. {
            let storage = MemoryStorage::default();
            let old = if replaces { Some(b"old".to_vec()) } else { None };
            if let Some(old) = &old {
                write_snapshot(&storage, &header(head(5)), |writer| writer.write_all(old)).unwrap();
            }
            let new: Vec<u8> = (0..2_500_000_u32).map(|byte| byte as u8).collect();
            storage.fail_at_file_step(nth);
            let written = write_snapshot(&storage, &header(head(5)), |writer| writer.write_all(&new));
            for image in [storage.crash(|_| true), storage.crash_before_directory_sync()] {
                let found = match list_snapshots(&image).unwrap()[..] {
                    [] => None,
                    [name] => Some(read_snapshot(&image, name).unwrap().1),
                    _ => panic!("there is more than one"),
                };
                let is_new = found.as_ref() == Some(&new);
                assert!(is_new || (found == old && written.is_err()), "step {nth}");
                outcomes[usize::from(is_new)] += 1;
            }
            if written.is_ok() {
                assert!(nth > 6, "{nth}");
                break;
            }
        }
    }
    assert!(outcomes.iter().all(|&count| count > 4), "{outcomes:?}");
}

#[test]
fn names_are_read_as_they_are_written() {
    let name = SnapshotName { epoch: Epoch(3), sequence: Sequence(u64::MAX) };
    assert_eq!(name.to_string(), "00000003-18446744073709551615.snapshot");
    assert_eq!(name.to_string().parse(), Ok(name));
    for text in ["", "3-1.snapshot", "00000003-00000000000000000001.snap", "00000003-+0000000000000000001.snapshot"] {
        assert!(text.parse::<SnapshotName>().is_err(), "{text}");
    }
    assert!(SnapshotName { epoch: Epoch(2), sequence: Sequence(9) } < name);
}

#[test]
fn a_snapshot_opens_the_journal_that_it_was_made_of_and_no_other() {
    let storage = filled(&small(), 200);
    let at = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap().head();
    let name = write(&storage, at);
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    fill(&mut journal, 260, &mut Numbers(4));
    drop(journal);
    let header = check_snapshot(&storage, name).unwrap();
    let opening = Journal::open_after(storage.clone(), small(), header.head()).unwrap();
    assert_eq!(opening.map(Result::unwrap).collect::<Vec<_>>(), (201..=260).map(command).collect::<Vec<_>>());

    let other = write(&storage, Head { hash: ChainHash([1; 32]), ..at });
    assert_eq!(other, name);
    let error = check_snapshot(&storage, name).unwrap_err();
    assert!(
        matches!(&error, SnapshotError::Lineage { source, .. } if matches!(**source, OpenError::Anchor { .. })),
        "{error}"
    );
    assert_eq!(check(&storage, &small()).unwrap(), (260, None), "snapshots do not touch the journal");
}

#[test]
fn old_snapshots_are_removed_and_two_good_ones_kept() {
    let (storage, heads) = journal(60);
    for at in [10, 20, 30, 40, 50] {
        write(&storage, heads[at]);
    }
    let sequences = |names: &[SnapshotName]| names.iter().map(|name| name.sequence.0).collect::<Vec<_>>();
    // The newest is damaged, the next of another history.
    let newest = list_snapshots(&storage).unwrap()[0].to_string();
    let mut bytes = storage.file(&newest).unwrap();
    bytes[100] ^= 1;
    storage.replace_file(&newest, bytes);
    write(&storage, Head { hash: ChainHash([1; 32]), ..heads[40] });

    let found = remove_old_snapshots(&storage, 0).unwrap();
    assert_eq!(sequences(&found.kept), [31, 21]);
    assert_eq!(sequences(&found.removed), [11]);
    let [(_, SnapshotError::Check { .. }), (_, SnapshotError::Lineage { .. })] = found.bad[..] else {
        panic!("{:?}", found.bad)
    };
    assert_eq!(sequences(&list_snapshots(&storage).unwrap()), [51, 41, 31, 21]);
    let found = remove_old_snapshots(&storage, 3).unwrap();
    assert_eq!((found.kept.len(), found.removed.len(), found.bad.len()), (2, 0, 2));
}

/// Format 1 as bytes. If this fails, snapshots that exist can no longer be read.
#[test]
fn the_bytes_are_those_of_the_format() {
    let storage = MemoryStorage::default();
    let header = SnapshotHeader {
        epoch: Epoch(0x0102_0304),
        sequence: Sequence(0x0506_0708_090a_0b0c),
        time: Timestamp(0x0d0e_0f10_1112_1314),
        journal_id: JournalId(*b"a small journal!"),
        chain_hash: ChainHash([0xcc; 32]),
        state_hash: [0xee; 32],
    };
    let name = write_snapshot(&storage, &header, |writer| writer.write_all(b"payload")).unwrap();
    assert_eq!(name.to_string(), "16909060-00361984551142689548.snapshot");
    let bytes = storage.file(&name.to_string()).unwrap();
    let found = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let expected = [
        "5245505249534553", // magic
        "01000000",
        "04030201",
        "0c0b0a0908070605",
        "14131211100f0e0d",
        "6120736d616c6c206a6f75726e616c21",
        &"cc".repeat(32),
        &"ee".repeat(32),
        "7061796c6f6164",
        "0700000000000000",
        "7b155d1f6f836689d2983ff30304565dd73a2581de724e0983e652dbc4b61cda",
    ];
    assert_eq!(found, expected.concat());
}
