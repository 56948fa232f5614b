//! A process that is killed at any moment loses nothing that it acknowledged, in whatever way it writes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command as Process, Stdio},
    time::Duration,
};

use engine::{
    command::Command,
    journal::{JournalReader, WriteMethod},
    pipeline::{Config, Pipeline, Subscription},
    types::Sequence,
};

use super::{Numbers, gateway, order, setup, submit};

const DIRECTORY: &str = "REPRISE_KILL_TEST_DIRECTORY";
const WRITE_METHOD: &str = "REPRISE_KILL_TEST_WRITE_METHOD";
const KILLS: usize = 50;

fn config() -> Config {
    let write_method = std::env::var(WRITE_METHOD).ok().map(|name| name.parse().unwrap());
    Config { segment_bytes: 2 << 20, snapshot_every: Some(1_000), write_method, ..Config::default() }
}

/// The ways to write that there are here; `None` is that which is chosen where none is asked for.
fn write_methods() -> Vec<Option<WriteMethod>> {
    let works = |write_method: &WriteMethod| {
        let directory = tempfile::tempdir().unwrap();
        let opened = Pipeline::open(directory.path(), Config { write_method: Some(*write_method), ..config() });
        if let Err(error) = &opened {
            eprintln!("nothing is killed while it writes by {write_method}: {error}");
        }
        opened.is_ok()
    };
    let all = WriteMethod::ALL.into_iter().filter(works).map(Some);
    std::iter::once(None).chain(all).collect()
}

/// The command at each sequence of every run.
fn command_at(sequence: Sequence) -> Command {
    let setup = setup();
    let index = sequence.0 as usize - 1;
    setup.get(index).copied().unwrap_or_else(|| order(sequence.0))
}

/// Not a test: what runs in the process that is killed. It says what is acknowledged.
#[test]
fn the_process_to_be_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let pipeline = Pipeline::open(directory, config()).unwrap();
    let mut events = pipeline.subscribe(Subscription::default()).unwrap();
    let mut gateway = gateway(&pipeline);
    let last = pipeline.recovered().last_sequence;
    let sender = std::thread::spawn(move || {
        for sequence in (last.0 + 1..).map(Sequence) {
            submit(&mut gateway, command_at(sequence));
        }
    });
    let mut out = std::io::stdout().lock();
    while let Ok(published) = events.next() {
        if published.last {
            writeln!(out, "acknowledged {}", published.event.sequence).unwrap();
        }
    }
    sender.join().unwrap();
}

fn start(directory: &std::path::Path, write_method: Option<WriteMethod>) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["kill::the_process_to_be_killed", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .envs(write_method.map(|method| (WRITE_METHOD, method.to_string())))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn fifty_kills_lose_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(1);
    let write_methods = write_methods();
    let (mut before, mut acknowledged_in_all, mut torn) = (Sequence(0), 0, 0);
    for kill in 0..KILLS {
        let mut child = start(directory.path(), write_methods[kill % write_methods.len()]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = before;
        // Not before it is under load; then at any moment.
        let mut read = |acknowledged: &mut Sequence| match lines.next() {
            Some(Ok(line)) => {
                if let Some(number) = line.strip_prefix("acknowledged ").and_then(|rest| rest.parse().ok()) {
                    *acknowledged = Sequence(number);
                }
                true
            }
            _ => false,
        };
        while acknowledged.0 < before.0 + 1 + numbers.below(3_000) {
            assert!(read(&mut acknowledged), "kill {kill}: the process ended by itself");
        }
        std::thread::sleep(Duration::from_micros(numbers.below(3_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        while read(&mut acknowledged) {}
        acknowledged_in_all += acknowledged.0 - before.0;

        let pipeline = Pipeline::open(directory.path(), config()).unwrap();
        let recovered = pipeline.recovered();
        torn += u32::from(recovered.torn.is_some());
        assert!(
            recovered.last_sequence >= acknowledged,
            "kill {kill}: {acknowledged} was acknowledged, {} is the last there",
            recovered.last_sequence
        );
        before = recovered.last_sequence;
        let exchange = pipeline.shutdown().unwrap().exchange;
        exchange.check_invariants().unwrap_or_else(|error| panic!("kill {kill}: {error}"));
    }
    let mut expected = Sequence(1);
    for record in JournalReader::open_directory(directory.path()).unwrap() {
        let record = record.unwrap();
        assert_eq!((record.sequence, record.command), (expected, command_at(expected)));
        expected = expected.next();
    }
    assert_eq!(expected, before.next());
    println!("{KILLS} kills, {acknowledged_in_all} commands acknowledged, {} found, {torn} torn tails dropped", before);
}
