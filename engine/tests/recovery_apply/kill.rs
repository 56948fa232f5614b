//! Applying a plan is killed at any moment: by a signal, and at every single thing that it writes.
//!
//! In the ordinary run 15 kills by signal; with `RUN_SLOW_TESTS` set, 200.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command as Process, Stdio},
    time::{Duration, Instant},
};

use engine::{
    exchange::StateHash,
    journal::{Durability, Epoch, FileStorage, Journal, MemoryStorage, Options, epoch_starts},
    pipeline::Inline,
    recovery::{
        Approval, Plan, Strategy, Timeline, apply, apply_to, epoch_files, make_plan, open_exchange, verify_epochs,
    },
    types::{Cause, Sequence, Side, Timestamp, TradingStatus},
};

use super::world::{BAD, approved, frozen, head_hash, late_deposit, limit, play, status, strategies};
use crate::model::streams::Random;

const DIRECTORY: &str = "REPRISE_APPLY_KILL_TEST_DIRECTORY";
/// What applying takes as the time that it is.
const NOW: Timestamp = Timestamp(1);

fn apply_here(directory: &Path) -> engine::recovery::Applied {
    let file = directory.join("plan");
    let plan = Plan::read_file(&file).unwrap();
    let approvals = Approval::read_beside(&file, &plan).unwrap();
    apply(directory.join("data"), &plan, &approvals, NOW, &|_| ()).unwrap()
}

/// Not a test: what runs in the process that is killed.
#[test]
fn the_process_to_be_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    println!("begun");
    apply_here(directory.as_ref());
    println!("applied");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A frozen exchange in `data` and an approved plan beside it.
fn prepare(directory: &Path, number: usize) -> (Plan, StateHash) {
    let data = directory.join("data");
    frozen(&data);
    // Trade behind the incident, so that there is something to go over.
    let timeline = Timeline::open(&data).unwrap();
    let strategy: Strategy = strategies(&timeline, BAD).swap_remove(number);
    let (plan, branch) = make_plan(&timeline, &strategy, &|_| ()).unwrap();
    let file = directory.join("plan");
    plan.write_file(&file).unwrap();
    for approval in super::world::approve(&plan) {
        approval.write_file(Approval::file_beside(&file, approval.operator), &plan).unwrap();
    }
    (plan, branch.exchange.state_hash())
}

fn wait_for(word: &str, out: &mut impl BufRead) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended before it said {word:?}");
    }
}

/// Starts applying in a process of its own, and waits until it begins.
fn start(directory: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["kill::the_process_to_be_killed", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    wait_for("begun", &mut out);
    (child, out)
}

#[test]
fn killed_at_random_points_it_is_the_old_epoch_or_the_new_one() {
    let kills = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 200 } else { 15 };
    let mut random = Random::new(4711);
    let bases: Vec<_> = (0..4)
        .map(|number| {
            let base = tempfile::tempdir().unwrap();
            let (plan, after) = prepare(base.path(), number);
            let before = head_hash(&Timeline::open(base.path().join("data")).unwrap());
            (base, plan, before, after)
        })
        .collect();
    // How long it takes when nobody kills it.
    let run = |(base, ..): &(tempfile::TempDir, Plan, StateHash, StateHash)| {
        let directory = tempfile::tempdir().unwrap();
        copy(base.path(), directory.path());
        let (mut child, mut out) = start(directory.path());
        let begun = Instant::now();
        wait_for("applied", &mut out);
        let took = begun.elapsed();
        assert!(child.wait().unwrap().success());
        took
    };
    let took = bases.iter().chain(&bases).map(run).min().unwrap();
    let [mut old, mut parts, mut new] = [0; 3];
    for kill in 0..kills {
        let (base, plan, before, after) = &bases[kill % bases.len()];
        let directory = tempfile::tempdir().unwrap();
        copy(base.path(), directory.path());
        let (mut child, _out) = start(directory.path());
        std::thread::sleep(Duration::from_nanos(random.below(took.as_nanos() as u64 * 11 / 10)));
        child.kill().unwrap();
        child.wait().unwrap();

        let data = directory.path().join("data");
        let timeline = Timeline::open(&data).unwrap();
        let head = timeline.at_moment(engine::recovery::Moment::Now).unwrap();
        let starts = epoch_starts(timeline.storage()).unwrap();
        match starts.len() {
            1 => {
                assert_eq!(head.state_hash(), *before, "kill {kill}: nothing of the state has changed");
                *(if head.last_sequence() == plan.halt { &mut old } else { &mut parts }) += 1;
                assert_eq!(verify_epochs(&timeline, &|_| ()).unwrap(), []);
            }
            2 => {
                assert_eq!(head.state_hash(), *after, "kill {kill}: what the plan leads to");
                let verified = verify_epochs(&timeline, &|_| ()).unwrap();
                assert_eq!((verified.len(), verified[0].plan), (1, plan.hash()));
                new += 1;
            }
            epochs => panic!("kill {kill}: {epochs} epochs"),
        }
        ends_in_the_new_epoch(directory.path(), plan, *after);
    }
    println!(
        "{kills} kills within {took:?}: {old} before anything was written, {parts} before the record, {new} behind it"
    );
}

/// Applied again, it is the new epoch, which verifies, and the exchange goes on in it.
fn ends_in_the_new_epoch(directory: &Path, plan: &Plan, after: StateHash) {
    let data = directory.join("data");
    let applied = apply_here(directory);
    assert_eq!((applied.epoch, applied.plan), (Epoch(2), plan.hash()));
    let timeline = Timeline::open(&data).unwrap();
    assert_eq!(head_hash(&timeline), after);
    let verified = verify_epochs(&timeline, &|_| ()).unwrap();
    assert_eq!(
        verified.iter().map(|epoch| (epoch.sequence, epoch.state)).collect::<Vec<_>>(),
        [(applied.sequence, after)]
    );
    let files = epoch_files(&FileStorage::read_only(&data)).unwrap();
    assert_eq!(files.last().map(|file| file.sequence), Some(applied.sequence));

    let mut inline = Inline::open(&data, Durability::None).unwrap();
    assert_eq!(inline.exchange().state_hash(), after);
    inline.submit(Cause::operator(1), status(TradingStatus::Open)).unwrap();
    inline.submit(Cause::session(1), limit(5, Side::Sell, 900, 10)).unwrap();
    inline.close().unwrap().check_invariants().unwrap();
}

/// Small segments, so that there is less to copy.
fn small() -> Options {
    Options { segment_bytes: 2 << 20, ..Options::default() }
}

/// What is in a storage after a crash is the old epoch or the new one, and applying again ends in the new one.
fn check_image(what: &str, image: &MemoryStorage, plan: &Plan, approvals: &[Approval], states: [StateHash; 2]) -> bool {
    let options = small();
    let opened = open_exchange(image, &options, 0, &mut |_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let epochs = epoch_starts(image).unwrap().len();
    assert!((1..=2).contains(&epochs), "{what}: {epochs} epochs");
    let is_new = epochs == 2;
    assert_eq!(opened.exchange.state_hash(), states[usize::from(is_new)], "{what}");
    opened.journal.close().unwrap();
    let applied =
        apply_to(image, &options, plan, approvals, NOW, &|_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(applied.already, is_new, "{what}");
    let timeline = Timeline::of(image.clone());
    assert_eq!(head_hash(&timeline), states[1], "{what}");
    let verified = verify_epochs(&timeline, &|_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((verified.len(), verified[0].state), (1, states[1]), "{what}");
    is_new
}

#[test]
fn interrupted_at_everything_that_it_writes_it_is_the_old_epoch_or_the_new_one() {
    let options = small();
    let storage = MemoryStorage::default();
    let mut inline = Inline::open_memory_storage(&storage, &options).unwrap();
    play(&mut inline);
    inline.submit(Cause::operator(1), late_deposit(3)).unwrap();
    inline.close().unwrap();
    let timeline = Timeline::of(storage.clone());
    let (mut old, mut new) = (0, 0);
    for strategy in strategies(&timeline, BAD) {
        let (plan, _, approvals) = approved(&timeline, &strategy);
        let whole = storage.crash(|_| true);
        let before = head_hash(&Timeline::of(whole.clone()));
        let counts = [whole.writes(), whole.syncs(), whole.file_steps()];
        let applied = apply_to(&whole, &options, &plan, &approvals, NOW, &|_| ()).unwrap();
        let states = [before, applied.state.unwrap()];
        let counts = [whole.writes() - counts[0], whole.syncs() - counts[1], whole.file_steps() - counts[2]];
        assert!(counts.iter().all(|count| *count >= 2), "{counts:?}: the plan, the file and the record are written");
        for (kind, count) in ["write", "sync", "file step"].into_iter().zip(counts) {
            for number in 1..=count {
                let failing = storage.crash(|_| true);
                match kind {
                    "write" => failing.fail_at_write(number),
                    "sync" => failing.fail_at_sync(number),
                    _ => failing.fail_at_file_step(number),
                }
                let what = format!("{strategy}, {kind} {number} of {count} fails");
                // What is written last of all, when the journal is closed, may fail without harm to what was committed.
                let _ = apply_to(&failing, &options, &plan, &approvals, NOW, &|_| ());
                let random = std::cell::RefCell::new(Random::new(number));
                let images = [
                    failing.crash(|_| true),
                    failing.crash(|_| false),
                    failing.crash(|_| random.borrow_mut().below(2) == 0),
                    failing.crash(|_| random.borrow_mut().below(2) == 0),
                    failing.crash_before_directory_sync(),
                ];
                for image in &images {
                    *(if check_image(&what, image, &plan, &approvals, states) { &mut new } else { &mut old }) += 1;
                }
            }
        }
    }
    assert!(old > 0 && new > 0, "{old} times the old epoch, {new} times the new one");
    println!("{old} times the old epoch, {new} times the new one");
}

/// Something else journaled between the plan and its record does not make a second head, and the plan can still be applied.
#[test]
fn a_plan_whose_record_never_came_is_no_epoch() {
    let options = small();
    let storage = MemoryStorage::default();
    let mut inline = Inline::open_memory_storage(&storage, &options).unwrap();
    play(&mut inline);
    inline.close().unwrap();
    let timeline = Timeline::of(storage.clone());
    let (plan, _, approvals) = approved(&timeline, &strategies(&timeline, BAD)[0]);
    let failing = storage.crash(|_| true);
    let writes = failing.writes();
    let whole = failing.crash(|_| true);
    let before = whole.writes();
    apply_to(&whole, &options, &plan, &approvals, NOW, &|_| ()).unwrap();
    assert!(writes == 0 && before == 0);
    // Stops when only the record lacks.
    let mut found = false;
    for number in (1..=whole.writes()).rev() {
        let failing = storage.crash(|_| true);
        failing.fail_at_write(number);
        let _ = apply_to(&failing, &options, &plan, &approvals, NOW, &|_| ());
        let image = failing.crash(|_| false);
        if epoch_starts(&image).unwrap().len() == 2 || epoch_files(&image).unwrap().is_empty() {
            continue;
        }
        found = true;
        let mut inline = Inline::open_memory_storage(&image, &options).unwrap();
        inline.submit(Cause::operator(1), late_deposit(9)).unwrap();
        inline.close().unwrap();
        let timeline = Timeline::of(image.clone());
        assert_eq!(verify_epochs(&timeline, &|_| ()).unwrap(), []);
        let applied = apply_to(&image, &options, &plan, &approvals, NOW, &|_| ()).unwrap();
        let verified = verify_epochs(&timeline, &|_| ()).unwrap();
        assert_eq!((verified.len(), Some(verified[0].state)), (1, applied.state));
        assert_eq!(head_hash(&timeline), verified[0].state);
        let journal = Journal::open(image.clone(), options.clone()).unwrap().into_journal().unwrap();
        assert!(journal.head().sequence >= applied.sequence && applied.sequence > Sequence(plan.halt.0 + 1));
    }
    assert!(found, "there is a moment when the file is there and the record is not");
}
