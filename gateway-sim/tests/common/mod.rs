//! Runs the binary.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// What the binary did.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the binary in `directory`.
pub fn gateway_sim(directory: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway-sim"));
    // Backtraces would be asked for by the environment of some developers.
    command.current_dir(directory).args(arguments).env("TMPDIR", directory).env("RUST_BACKTRACE", "1");
    command.output().expect("the binary starts").into()
}

/// Runs the binary with `--json`, which must succeed, and gives text and report.
#[allow(dead_code, reason = "not every test needs it")]
pub fn report_of(directory: &Path, arguments: &[&str]) -> (String, Value) {
    let run = gateway_sim(directory, &[arguments, &["--json", "report.json"]].concat());
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let text = std::fs::read_to_string(directory.join("report.json")).expect("the report is there");
    let report: Value = serde_json::from_str(&text).expect("the report is JSON");
    check(&report);
    (run.stdout, report)
}

/// What every report must hold.
#[allow(dead_code, reason = "not every test needs it")]
fn check(report: &Value) {
    for number in ["commands", "events", "trades"] {
        assert!(report[number].is_u64(), "{number} in {report:#}");
    }
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{report:#}");
    assert!(report["commands_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{report:#}");
    for text in ["durability", "topology", "commit", "wait", "file_system"] {
        assert!(report[text].as_str().is_some_and(|text| !text.is_empty()), "{text} in {report:#}");
    }
    assert_eq!(report["state_hash"].as_str().map(str::len), Some(64), "{report:#}");
    assert_eq!(report["state_hash"], report["state_hash_reopened"]);
    let check_percentiles = |percentiles: &Value| {
        let values = ["p50", "p90", "p99", "p999", "p9999", "max"].map(|name| percentiles[name].as_u64());
        assert!(values.iter().all(Option::is_some) && values.is_sorted(), "{percentiles:#}");
    };
    for stage in ["journal", "risk", "match", "publish"] {
        for kind in ["wait_ns", "service_ns"] {
            check_percentiles(&report["stages"][stage][kind]);
        }
    }
    check_percentiles(&report["end_to_end_ns"]);
    assert_eq!(report["end_to_end_ns"]["count"], report["commands"], "every command's latency is recorded");
}
