//! Wrong command lines: a message that says what is wrong, and exit code 2.

mod common;

use common::gateway_sim;
use tempfile::tempdir;

#[test]
fn wrong_usage_is_explained() {
    let cases: &[(&[&str], &str)] = &[
        (&["load", "--rate", "0"], "'--rate <RATE>': 0 is not in 1.."),
        (&["--rate", "0"], "'--rate <RATE>': 0 is not in 1.."),
        (&["load", "--seconds", "0"], "'--seconds <SECONDS>': 0 is not in 1.."),
        (&["load", "--gateways", "0"], "'--gateways <GATEWAYS>': 0 is not in 1.."),
        (&["load", "--markets", "0"], "'--markets <MARKETS>': 0 is not in 1.."),
        (&["load", "--rate", "many"], "'many'"),
        (&["load", "--topology", "fast"], "\"fast\" is no stage"),
        (&["load", "--topology", "sequencer+risk"], "the journaler is missing"),
        (&["load", "--wait", "sleep"], "unknown wait strategy \"sleep\""),
        (&["load", "--durability", "maybe"], "maybe"),
        (&["load", "--arrivals", "uniform"], "[possible values: constant, poisson]"),
        (&["load", "--accounts", "30", "--gateways", "4"], "give at least 40 accounts, or fewer gateways"),
        (&["replay", "flow.csv"], "--format <FORMAT>"),
        (&["replay", "--format", "itch", "flow.csv"], "[possible values: lobster, bitstamp]"),
        (&["replay", "--format", "lobster"], "<FILE>"),
        (&["launch"], "launch"),
        (&["incident"], "<COMMAND>"),
        (&["incident", "mtgox"], "mtgox"),
        (&["incident", "coinzest", "--accounts", "10"], "10 is not in 1000.."),
        (&["incident", "coinzest", "--markets", "72"], "--markets 72 is too many for coinzest: it has at most 71"),
        (&["incident", "bithumb", "--markets", "11"], "--markets 11 is too many for bithumb: it has at most 10"),
        (&["incident", "coinzest", "--strategy", "pray"], "[possible values: rewind, excise, bust, compensate]"),
        (&["incident", "coinzest", "--haste", "0"], "0 is not in 1..=100"),
        (&["incident", "scale", "--commands", "0"], "'--commands <COMMANDS>': 0 is not in 1.."),
        (&["--haste", "many"], "'many'"),
        (&["--rate", "5", "replay", "--format", "lobster", "flow.csv"], "cannot be used with"),
    ];
    let directory = tempdir().unwrap();
    for (arguments, expected) in cases {
        let run = gateway_sim(directory.path(), arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(expected), "{arguments:?}: {expected:?} in {}", run.stderr);
    }
}

#[test]
fn too_many_spinning_workers_are_refused() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores >= 5 {
        println!("skipped: {cores} cores are enough for every topology to spin");
        return;
    }
    let directory = tempdir().unwrap();
    let run = gateway_sim(directory.path(), &["--topology", "full", "--wait", "busy-spin"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("busy-spin with 5 workers") && run.stderr.contains("--force-busy-spin"));
}

#[test]
fn a_report_that_cannot_be_written_fails_before_the_run() {
    let directory = tempdir().unwrap();
    let run = gateway_sim(directory.path(), &["--json", "missing/report.json"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("cannot write the report to missing/report.json"), "{}", run.stderr);
    let run = gateway_sim(directory.path(), &["--html", "missing/report.html"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("cannot write the report to missing/report.html"), "{}", run.stderr);
}

#[test]
fn a_directory_that_cannot_be_one_is_named() {
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let run = gateway_sim(directory.path(), &["--data", "file"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("cannot start an exchange in file"), "{}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}
