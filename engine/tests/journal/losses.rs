//! Accepting a loss: only what lies behind the damage is given up, nothing is removed, and it is on record.

use engine::{
    journal::{
        FileStorage, Journal, LossError, MemoryStorage, OpenError, Storage, loss::accepted_losses,
        snapshot::check_snapshot,
    },
    types::{Sequence, Timestamp},
};

use super::{Numbers, check, fill, filled, small, snapshots};

const TIME: Timestamp = Timestamp(1_800_000_000_000_000_000);
const REASON: &str = "no copy; \"accepted\" by\noperator 3 \\ 4";

/// The sequence behind which opening finds damage.
fn damaged_after<S: Storage>(storage: &S) -> u64 {
    match check(storage, &small()) {
        Err(OpenError::Damaged { after, .. }) => after.0,
        found => panic!("{found:?}"),
    }
}

/// Accepts a loss, and checks that all before it is there, that it is told, and that it can be written on.
fn accept<S: Storage>(storage: &S, after: u64, losses: usize) {
    let loss = Journal::accept_loss(storage, Sequence(after), REASON, TIME).unwrap();
    assert_eq!((loss.kept.sequence, loss.reason.as_str(), loss.time), (Sequence(after), REASON, TIME));
    let (found, _) = check(storage, &small()).unwrap();
    assert_eq!(found, after);
    let opening = Journal::open(storage.clone(), small()).unwrap();
    assert_eq!(opening.accepted_losses().len(), losses);
    assert_eq!(opening.accepted_losses().last(), Some(&loss));
    let mut journal = opening.into_journal().unwrap();
    assert_eq!(journal.head(), loss.kept);
    fill(&mut journal, after + 60, &mut Numbers(3));
    journal.close().unwrap();
    assert_eq!(check(storage, &small()).unwrap(), (after + 60, None));
}

#[test]
fn what_is_good_stays_and_what_is_not_is_kept_aside() {
    let journal = filled(&small(), 300);
    let segments = journal.segments().unwrap();
    for &segment in &segments {
        for sector in 0..8 {
            let storage = journal.crash(|_| true);
            storage.flip_bit(segment, (sector * 512 + 100) * 8);
            if (segment, sector) == (0, 0) {
                let error = Journal::accept_loss(&storage, Sequence(0), REASON, TIME).unwrap_err();
                assert!(matches!(error, LossError::Journal(OpenError::Damaged { .. })), "{error}");
                continue;
            }
            let before: Vec<_> = segments.iter().map(|&index| storage.contents(index).unwrap()).collect();
            let after = damaged_after(&storage);
            for other in [after + 1, after.wrapping_sub(1)] {
                let refused = Journal::accept_loss(&storage, Sequence(other), REASON, TIME);
                assert!(matches!(refused, Err(LossError::OtherSequence { last: Sequence(last), .. }) if last == after));
            }
            assert_eq!(storage.files().unwrap(), [""; 0], "what is refused changes nothing");
            accept(&storage, after, 1);
            // Every segment that was touched is there as it was.
            for (&index, before) in segments.iter().zip(&before) {
                let aside = storage.file(&format!("{index:08}.1.lost"));
                assert!(aside.as_ref().is_none_or(|aside| aside == before));
                assert!(index < segment || sector == 0 || aside.is_some(), "{index} of {segment}");
            }
            // And again.
            let last = *storage.segments().unwrap().last().unwrap();
            storage.flip_bit(last, 1_300 * 8);
            accept(&storage, damaged_after(&storage), 2);
        }
    }
}

#[test]
fn a_sound_journal_gives_up_nothing() {
    let storage = filled(&small(), 300);
    let refused = Journal::accept_loss(&storage, Sequence(300), REASON, TIME);
    assert!(matches!(refused, Err(LossError::NotDamaged)));
    assert!(matches!(
        Journal::accept_loss(&MemoryStorage::default(), Sequence(0), REASON, TIME),
        Err(LossError::Journal(_))
    ));
}

#[test]
fn behind_a_missing_segment_the_rest_is_given_up() {
    let storage = filled(&small(), 300);
    storage.remove(2).unwrap();
    let refused = Journal::accept_loss(&storage, Sequence(0), REASON, TIME).unwrap_err();
    let LossError::OtherSequence { last, .. } = refused else { panic!("{refused}") };
    accept(&storage, last.0, 1);
}

#[test]
fn a_crash_at_any_step_can_be_repeated() {
    for nth in 1.. {
        let storage = filled(&small(), 300);
        let segments = storage.segments().unwrap().len();
        storage.flip_bit(2, 1_300 * 8);
        let after = damaged_after(&storage);
        storage.fail_at_file_step(nth);
        if Journal::accept_loss(&storage, Sequence(after), REASON, TIME).is_ok() {
            assert_eq!(nth as usize, 5 + segments - 2 + 1, "five for the record, and one for each segment");
            break;
        }
        for image in [storage.crash(|_| true), storage.crash_before_directory_sync()] {
            assert_eq!(damaged_after(&image), after, "it is not opened before all is done");
            let recorded = accepted_losses(&image).unwrap().len();
            accept(&image, after, recorded + 1);
        }
    }
}

#[test]
fn snapshots_of_what_was_lost_are_refused() {
    let storage = filled(&small(), 300);
    let head = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap().head();
    let name = snapshots::write(&storage, head);
    check_snapshot(&storage, name).unwrap();
    storage.flip_bit(5, 1_300 * 8);
    let after = damaged_after(&storage);
    accept(&storage, after, 1);
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    fill(&mut journal, 400, &mut Numbers(999));
    drop(journal);
    check_snapshot(&storage, name).unwrap_err();
}

#[test]
fn in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::lock(directory.path()).unwrap();
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    fill(&mut journal, 300, &mut Numbers(42));
    drop(journal);
    let path = directory.path().join("00000002.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_300] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let after = damaged_after(&storage);
    let beside = FileStorage::read_only(directory.path());
    assert!(Journal::accept_loss(&beside, Sequence(after), REASON, TIME).is_err(), "the directory must be taken");
    accept(&storage, after, 1);
    assert_eq!(std::fs::read(directory.path().join("00000002.1.lost")).unwrap(), bytes);
}

#[test]
fn a_changed_record_is_refused() {
    let storage = filled(&small(), 300);
    storage.flip_bit(2, 1_300 * 8);
    accept(&storage, damaged_after(&storage), 1);
    let bytes = storage.file("ACCEPTED-LOSSES").unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        storage.replace_file("ACCEPTED-LOSSES", flipped);
        assert!(matches!(accepted_losses(&storage), Err(OpenError::BadRecord { .. })), "bit {bit}");
    }
}
