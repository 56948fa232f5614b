//! Small incidents through the real pipeline, from the command line to the exchange that was put right.

mod common;

use common::gateway_sim;
use serde_json::Value;
use tempfile::tempdir;

const SMALL: [&str; 8] = ["--accounts", "3000", "--markets", "6", "--rate", "3000", "--haste", "10"];
const STRATEGIES: [&str; 4] = ["rewind", "excise", "bust", "compensate"];
const CONTROLS: [&str; 7] = [
    "treasury_not_covered",
    "approval_missing",
    "over_recipient_limit",
    "over_airdrop_limit",
    "over_day_limit",
    "reserves_exceeded",
    "approval_missing",
];

/// Runs an incident that must end well; gives its text, its JSON and its HTML.
fn incident(arguments: &[&str]) -> (String, Value, String) {
    let directory = tempdir().unwrap();
    let files = ["--json", "report.json", "--html", "report.html"];
    let run = gateway_sim(directory.path(), &[arguments, &files].concat());
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let read = |name| std::fs::read_to_string(directory.path().join(name)).expect("the report is there");
    let report = serde_json::from_str(&read("report.json")).expect("the report is JSON");
    check(&report);
    (run.stdout, report, read("report.html"))
}

/// What every incident's report must hold.
fn check(report: &Value) {
    assert_eq!(report["conserved"], true, "{report:#}");
    assert_eq!(report["state_hashes_equal"], true, "{report:#}");
    let phases = &report["phases_ms"];
    let phase = |name: &str| phases[name].as_f64().unwrap_or_else(|| panic!("{name} in {phases:#}"));
    let parts = ["halt", "trace", "plan", "apply", "verify", "reopen"].map(phase);
    assert!(parts.iter().all(|&ms| ms > 0.0), "{phases:#}");
    assert!((parts.iter().sum::<f64>() - phase("total")).abs() < 0.001, "{phases:#}");

    let rows = report["trace"].as_array().expect("a trace");
    assert!(!rows.is_empty());
    for row in rows {
        let of = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name} in {row:#}"));
        let columns = ["available", "held", "sold", "withdrawn", "transferred", "fees", "set_off"].map(of);
        assert_eq!(of("credited"), columns.iter().sum::<u64>(), "{row:#}");
        assert!(of("sold") > 0, "{row:#}");
    }

    let strategies = report["strategies"].as_array().expect("strategies");
    let names: Vec<_> = strategies.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names, STRATEGIES);
    for row in strategies {
        for number in ["accounts_changed", "innocent_changed", "trades_voided"] {
            assert!(row[number].is_u64(), "{number} in {row:#}");
        }
        assert!(row["innocent_changed"].as_u64() <= row["accounts_changed"].as_u64(), "{row:#}");
        assert!(row["shortfall"].is_array(), "{row:#}");
        assert_eq!(row["state_hash"].as_str().map(str::len), Some(64), "{row:#}");
        assert_eq!(row["conserved"], true, "{row:#}");
    }
    let row = |name: &str| strategies.iter().find(|row| row["name"] == name).expect("the strategy is there");
    let voided = |name: &str| row(name)["trades_voided"].as_u64();
    assert_eq!(voided("compensate"), Some(0), "compensation leaves trades alone");
    assert!(voided("bust") < voided("rewind"), "innocent trades stand");
    assert!(row("compensate")["accounts_changed"].as_u64() <= report["payout"]["recipients"].as_u64());

    let chosen = report["chosen"]["strategy"].as_str().expect("a choice");
    assert!(["bust", "excise"].contains(&chosen) || report["chosen"]["why"] == "it was asked for", "{report:#}");
    assert_eq!(report["chosen"]["operators"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["chosen"]["epoch"], 2);
    let told = |name: &str| report["corrections"][name].as_u64();
    assert_eq!(told("fills_busted"), voided(chosen), "subscribers are told of every void trade");
    assert!(told("balances_corrected") > Some(0));
    assert!(report["load"]["halted"].as_u64() > Some(0), "the crowd went on through the halt");
}

#[test]
fn coinzest_is_put_right() {
    let (text, report, html) = incident(&[&["incident", "coinzest"], &SMALL[..]].concat());
    assert_eq!(report["payout"]["recipients"], 402);
    let fall = |name: &str| report["falls"][0][name].as_f64();
    assert_eq!(fall("before"), Some(4_000_000.0));
    assert!(fall("lowest") < Some(400_000.0), "the price collapses: {report:#}");
    assert!(report["auction"]["crossed"].as_u64() > Some(0));
    assert_eq!(report["load"]["end_to_end"].as_array().map(Vec::len), Some(3), "before, during, after");
    for words in ["10 h 30 min", "machine time", "compensate", "end to end", "(equal:", "what was meant is paid"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(html.contains("<svg") && !html.contains("http://") && !html.contains("https://"), "a file of its own");
}

#[test]
fn without_a_command_it_plays_coinzest() {
    let (text, _, _) = incident(&SMALL);
    assert!(text.starts_with("incident coinzest: 3,000 accounts, 6 markets"), "{text}");
}

#[test]
fn too_small_a_world_is_refused() {
    let directory = tempdir().unwrap();
    let run = gateway_sim(directory.path(), &["incident", "bithumb", "--accounts", "1000"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("1000 accounts are too few for 695 recipients of whom 86 sell"), "{}", run.stderr);
}

#[test]
fn bithumb_is_put_right_and_then_prevented() {
    let (_, report, _) = incident(&[&["incident", "bithumb"], &SMALL[..]].concat());
    let prevented = report["prevention"].as_array().expect("controls");
    let refusals: Vec<_> = prevented.iter().map(|row| row["refusal"].as_str().expect("a refusal")).collect();
    assert_eq!(refusals, CONTROLS);
    assert!(prevented.iter().all(|row| row["credited"] == 0), "{prevented:?}");
}

#[test]
fn every_strategy_can_be_asked_for() {
    for strategy in STRATEGIES {
        let (_, report, _) = incident(&[&["incident", "coinzest", "--strategy", strategy], &SMALL[..]].concat());
        assert_eq!(report["chosen"]["strategy"], strategy);
    }
}

#[test]
fn a_long_history_is_measured() {
    let small = ["--accounts", "2000", "--markets", "6", "--commands", "30000", "--before", "5000"];
    let (text, report, _) = incident(&[&["incident", "scale"], &small[..]].concat());
    assert_eq!(report["commands_after"], 30_000);
    assert!(report["payout"]["window_commands"].as_u64() > Some(30_000));
    for number in ["inline_per_second", "branch_per_second", "branch_to_inline"] {
        assert!(report[number].as_f64() > Some(0.0), "{number} in {report:#}");
    }
    assert!(text.contains("commands per second on the branch of bust"), "{text}");
}
