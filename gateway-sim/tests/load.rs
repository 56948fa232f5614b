//! Small loads through the real pipeline, from the command line to the reopened exchange.

mod common;

use common::{gateway_sim, report_of};
use tempfile::tempdir;

const SMALL: [&str; 8] = ["--accounts", "200", "--markets", "3", "--seconds", "1", "--rate", "5000"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ["load"].iter().chain(&SMALL).chain(more).copied().collect()
}

#[test]
fn a_constant_load_sends_every_command_and_reopens_to_the_same_state() {
    let directory = tempdir().unwrap();
    let (text, report) = report_of(directory.path(), &with(&["--arrivals", "constant", "--gateways", "3"]));
    assert_eq!(report["commands"], 5_000);
    assert!(report["trades"].as_u64() > Some(0));
    assert!(report["events"].as_u64() >= Some(5_000));
    assert_eq!(report["durability"], "sync");
    assert_eq!(report["load"]["generator_late_ns"]["count"], 5_000);
    for words in ["machine", "commit", "topology", "(equal;", "end to end", "p99.99", "state"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["report.json"], "the temporary directory is gone");
}

#[test]
fn every_topology_and_durability_is_accepted() {
    for (topology, durability) in [("single", "none"), ("fused", "async"), ("split", "none"), ("full", "sync")] {
        let directory = tempdir().unwrap();
        let run = ["--topology", topology, "--durability", durability, "--wait", "back-off", "--arrivals", "poisson"];
        let (_, report) = report_of(directory.path(), &with(&run));
        assert_eq!(report["durability"], durability);
        assert_eq!(report["wait"], "back-off");
        assert!(report["commands"].as_u64() > Some(4_000));
    }
}

#[test]
fn with_one_gateway_the_seed_determines_the_state() {
    let state = |seed| {
        let directory = tempdir().unwrap();
        let (_, report) = report_of(directory.path(), &with(&["--gateways", "1", "--seed", seed]));
        report["state_hash"].clone()
    };
    assert_eq!(state("3"), state("3"));
    assert_ne!(state("3"), state("4"));
}

#[test]
fn a_given_directory_is_kept_and_not_used_again() {
    let directory = tempdir().unwrap();
    report_of(directory.path(), &with(&["--data", "journal"]));
    assert!(directory.path().join("journal").is_dir());
    let again = gateway_sim(directory.path(), &with(&["--data", "journal"]));
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("journal holds an exchange with"), "{}", again.stderr);
    assert!(again.stderr.contains("give another directory with --data"), "{}", again.stderr);
}
