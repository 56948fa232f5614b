//! Pruning: what two snapshots need stays, epochs keep their beginnings, and what is lost is never taken for pruned.

use engine::{
    journal::{
        ChainHash, Damage, FileStorage, Genesis, Head, Journal, JournalReader, MemoryStorage, OpenError, PruneError,
        SnapshotError, Storage, prune,
        snapshot::{check_snapshot, list_snapshots},
    },
    types::Sequence,
};

use super::{Numbers, command, fill, small, snapshots::write};

/// Blocks of up to 20 commands until 800, the last heads before each 100 with a snapshot, and epochs that begin behind
/// the given sequences.
fn journal<S: Storage>(storage: &S, epochs_after: &[u64]) -> Vec<Head> {
    let mut journal = Journal::open(storage.clone(), small()).unwrap().into_journal().unwrap();
    let mut numbers = Numbers(77);
    let mut heads = Vec::new();
    for last in (10..=800).step_by(10) {
        fill(&mut journal, last, &mut numbers);
        if last % 100 == 0 {
            heads.push(journal.head());
            write(storage, journal.head());
        }
        if epochs_after.contains(&last) {
            journal.begin_epoch().unwrap();
        }
    }
    heads
}

/// Opens behind each head, and checks that all the rest comes.
fn check_from<S: Storage>(storage: &S, heads: &[Head]) {
    for &head in heads {
        let reader = JournalReader::open_after(storage.clone(), head).unwrap();
        let expected: Vec<_> = (head.sequence.0 + 1..=800).map(command).collect();
        assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), expected);
        let opening = Journal::open_after(storage.clone(), small(), head).unwrap();
        assert_eq!(opening.map(Result::unwrap).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn what_two_snapshots_need_stays() {
    for genesis in [Genesis::Keep, Genesis::Remove] {
        let storage = MemoryStorage::default();
        let heads = journal(&storage, &[]);
        let before = storage.segments().unwrap();
        let pruning = prune(&storage, heads[5], genesis).unwrap();
        assert!(pruning.removed.len() > 10, "{pruning:?}");
        assert_eq!(pruning.kept, if genesis == Genesis::Keep { vec![0] } else { vec![] });
        assert!(pruning.first_sequence <= heads[5].sequence);
        let left: Vec<_> = before.iter().copied().filter(|index| !pruning.removed.contains(index)).collect();
        assert_eq!(storage.segments().unwrap(), left);
        check_from(&storage, &heads[5..]);

        let first = pruning.first_sequence;
        let text = format!(
            "history begins at sequence {first}, as what came before was pruned: open the journal from a snapshot of that \
             sequence or a later one"
        );
        assert_eq!(Journal::open(storage.clone(), small()).unwrap_err().to_string(), text);
        assert_eq!(JournalReader::open(storage.clone()).unwrap_err().to_string(), text);
        assert_eq!(Journal::open_after(storage.clone(), small(), heads[4]).unwrap_err().to_string(), text);
        assert_eq!(JournalReader::open_at(storage.clone(), Sequence(first.0 - 2)).unwrap_err().to_string(), text);
        let reader = JournalReader::open_at(storage.clone(), Sequence(first.0 - 1)).unwrap();
        assert_eq!(reader.map(Result::unwrap).next(), Some(command(first.0)));

        // Its epoch and time are not known there, so it is no anchor.
        let before_first = heads[5];
        let before_first = Head { sequence: Sequence(first.0 - 1), ..before_first };
        assert_eq!(JournalReader::open_after(storage.clone(), before_first).unwrap_err().to_string(), text);

        // It is written on, and pruned again.
        let mut journal = Journal::open_after(storage.clone(), small(), heads[7]).unwrap().into_journal().unwrap();
        fill(&mut journal, 900, &mut Numbers(3));
        write(&storage, journal.head());
        drop(journal);
        let again = prune(&storage, heads[7], genesis).unwrap();
        assert_eq!(again.kept, pruning.kept);
        assert!(again.first_sequence > first && !again.removed.is_empty());
        assert_eq!(JournalReader::open_after(storage.clone(), heads[7]).unwrap().count(), 100);
        let earlier = prune(&storage, heads[5], genesis);
        assert!(matches!(earlier, Err(PruneError::NoSnapshot { .. })), "its snapshot is no longer of this history");
    }
}

#[test]
fn the_beginning_of_an_epoch_stays() {
    for epochs_after in [[100, 300], [110, 410], [250, 260], [10, 20]] {
        let storage = MemoryStorage::default();
        let heads = journal(&storage, &epochs_after);
        let mut firsts = Vec::new();
        for after in epochs_after {
            let starts = |index: &u32| {
                let bytes = storage.contents(*index).unwrap();
                let first = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
                first > 0 && first <= after + 1
            };
            firsts.push(storage.segments().unwrap().into_iter().rfind(starts).unwrap());
        }
        let pruning = prune(&storage, heads[5], Genesis::Remove).unwrap();
        let left = storage.segments().unwrap();
        assert!(firsts.iter().all(|first| left.contains(first)), "{firsts:?} {pruning:?}");
        assert!(pruning.kept.len() <= 4 && !pruning.removed.is_empty());
        check_from(&storage, &heads[5..]);
        // Pruning further keeps them, too, and the first segment goes only when it is asked for.
        prune(&storage, heads[6], Genesis::Remove).unwrap();
        assert!(firsts.iter().all(|first| storage.segments().unwrap().contains(first)));
        check_from(&storage, &heads[6..]);
    }
}

#[test]
fn what_no_two_good_snapshots_cover_is_not_pruned() {
    let storage = MemoryStorage::default();
    let heads = journal(&storage, &[]);
    let segments = storage.segments().unwrap();
    let refused = |head| prune(&storage, head, Genesis::Keep).unwrap_err();
    assert!(matches!(refused(heads[7]), PruneError::LastSnapshot { .. }));
    assert!(matches!(refused(Head { hash: ChainHash([0; 32]), ..heads[3] }), PruneError::NoSnapshot { .. }));
    assert!(matches!(refused(Head { sequence: Sequence(5), ..heads[3] }), PruneError::NoSnapshot { .. }));
    // The newer one is damaged, then the one itself.
    for name in &list_snapshots(&storage).unwrap()[..2] {
        let name = name.to_string();
        let mut bytes = storage.file(&name).unwrap();
        bytes[50] ^= 4;
        storage.replace_file(&name, bytes);
    }
    assert!(matches!(refused(heads[5]), PruneError::LastSnapshot { .. }));
    assert!(matches!(refused(heads[6]), PruneError::NoSnapshot { .. }));
    assert_eq!(storage.segments().unwrap(), segments);
    assert_eq!(storage.file("PRUNED"), None);
    prune(&storage, heads[4], Genesis::Keep).unwrap();
    let oldest = *list_snapshots(&storage).unwrap().last().unwrap();
    let error = check_snapshot(&storage, oldest).unwrap_err();
    assert!(
        matches!(&error, SnapshotError::Lineage { source, .. } if matches!(**source, OpenError::Pruned { .. })),
        "{error}"
    );
}

#[test]
fn what_is_lost_is_not_taken_for_pruned() {
    let storage = MemoryStorage::default();
    let heads = journal(&storage, &[]);
    let missing = |storage: &MemoryStorage, index| {
        let error = Journal::open_after(storage.clone(), small(), heads[7]).unwrap_err();
        let OpenError::Damaged { damage: Damage::SegmentMissing { index: found }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(found, index);
    };
    let lost = storage.crash(|_| true);
    lost.remove(0).unwrap();
    missing(&lost, 0);
    let first = prune(&storage, heads[4], Genesis::Keep).unwrap().first_segment;
    storage.remove(first).unwrap();
    missing(&storage, first);
}

#[test]
fn a_crash_while_pruning_can_be_repeated() {
    for nth in 1..=5 {
        let storage = MemoryStorage::default();
        let heads = journal(&storage, &[150]);
        let all = storage.segments().unwrap();
        storage.fail_at_file_step(nth);
        let pruned = prune(&storage, heads[5], Genesis::Keep);
        assert!(matches!(pruned, Err(PruneError::Journal(OpenError::Io { .. }))), "step {nth}");
        for image in [storage.crash(|_| true), storage.crash_before_directory_sync()] {
            assert_eq!(image.segments().unwrap(), all, "nothing is removed before the record is durable");
            check_from(&image, &heads[5..]);
            let pruning = prune(&image, heads[5], Genesis::Keep).unwrap();
            assert!(pruning.removed.len() > 10);
            check_from(&image, &heads[5..]);
        }
    }
    // Segments that were recorded as pruned, and came back.
    let storage = MemoryStorage::default();
    let heads = journal(&storage, &[]);
    let whole = storage.crash(|_| true);
    let pruning = prune(&storage, heads[5], Genesis::Keep).unwrap();
    for &index in &pruning.removed[3..] {
        storage.replace(index, whole.contents(index).unwrap());
    }
    check_from(&storage, &heads[5..]);
    assert_eq!(prune(&storage, heads[5], Genesis::Keep).unwrap().removed, pruning.removed[3..]);
}

#[test]
fn a_directory_is_pruned_while_the_journal_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::lock(directory.path()).unwrap();
    let heads = journal(&storage, &[]);
    let mut journal = Journal::open_after(storage.clone(), small(), heads[7]).unwrap().into_journal().unwrap();
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let before = files();
    let pruning = prune(&storage, heads[6], Genesis::Keep).unwrap();
    assert_eq!(files(), before - pruning.removed.len() + 1);
    fill(&mut journal, 900, &mut Numbers(3));
    journal.close().unwrap();
    drop(storage);
    let reader = JournalReader::open_at(FileStorage::read_only(directory.path()), Sequence(800)).unwrap();
    assert_eq!(reader.count(), 100);
    assert!(matches!(Journal::open_directory(directory.path(), small()), Err(OpenError::Pruned { .. })));
}
