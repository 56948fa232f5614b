//! Format 1 as bytes. If a test here fails, journals that exist can no longer be read: a change of the format is a
//! new format, with a fixture of its own, and this one stays.

use std::fmt::Write;

use engine::journal::{Journal, JournalReader, MemoryStorage, Options, layout::SECTOR_BYTES};

use super::{command, small};

const FIXTURE: &str = include_str!("fixtures/format_1.txt");

/// Two blocks of different epochs and a third in the next segment.
fn write() -> MemoryStorage {
    let storage = MemoryStorage::default();
    let options = Options { segment_bytes: 4 * 512, block_bytes: 700, ..small() };
    let mut journal = Journal::open(storage.clone(), options).unwrap().into_journal().unwrap();
    for (first, last) in [(1, 12), (13, 13), (14, 17)] {
        for sequence in first..=last {
            journal.append(&command(sequence)).unwrap();
        }
        journal.commit().unwrap();
        if first == 1 {
            journal.begin_epoch().unwrap();
        }
    }
    storage
}

/// A line per sector that is not zero: segment, sector, and its bytes without the zeros before the check.
fn to_text(storage: &MemoryStorage) -> String {
    let mut text = String::new();
    for segment in 0..2 {
        for (number, sector) in storage.contents(segment).unwrap().chunks(SECTOR_BYTES).enumerate() {
            let (payload, check) = sector.split_at(SECTOR_BYTES - 4);
            let end = payload.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if sector.iter().any(|&byte| byte != 0) {
                writeln!(text, "{segment} {number} {} {}", to_hex(&payload[..end]), to_hex(check)).unwrap();
            }
        }
    }
    text
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What was written when the format was made is read.
#[test]
fn the_fixture_is_read() {
    let storage = MemoryStorage::default();
    let mut segments = [vec![0; 4 * SECTOR_BYTES], vec![0; 4 * SECTOR_BYTES]];
    for line in FIXTURE.lines().filter(|line| !line.starts_with('#')) {
        let [segment, sector, payload, check] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let sector = sector.parse::<usize>().unwrap() * SECTOR_BYTES;
        let target = &mut segments[segment.parse::<usize>().unwrap()][sector..sector + SECTOR_BYTES];
        let payload = from_hex(payload);
        target[..payload.len()].copy_from_slice(&payload);
        target[SECTOR_BYTES - 4..].copy_from_slice(&from_hex(check));
    }
    for (index, segment) in (0..).zip(segments) {
        storage.replace(index, segment);
    }
    let mut reader = JournalReader::open(storage).unwrap();
    let found = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(found, (1..=17).map(command).collect::<Vec<_>>());
    assert_eq!(reader.head().epoch.0, 2);
    assert_eq!(reader.head().hash.to_string(), "5073a8a1ffdec7cd1e780d742f1307949b41437d10fdd4d2b932172976599120",);
}

/// What is written now is the same, byte for byte.
#[test]
fn the_bytes_are_those_of_the_fixture() {
    let expected: String =
        FIXTURE.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |text, line| text + line + "\n");
    let found = to_text(&write());
    assert!(found == expected, "format 1 has changed; now it is\n{found}");
}
