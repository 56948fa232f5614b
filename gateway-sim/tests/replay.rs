//! Replays of small files that the tests write, through the real pipeline.

mod common;

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use common::{gateway_sim, report_of};
use tempfile::tempdir;

/// Two sell orders at one price, executed in turn, a reduction, a hidden execution, a halt, an unknown order.
const LOBSTER: &str = "\
34200.004241176,1,101,100,5853300,-1
34200.00426064,1,102,100,5853300,-1
34200.1,1,103,18,5853100,1
34200.2,2,101,40,5853300,-1
34200.3,4,101,60,5853300,-1
34200.4,4,102,30,5853300,-1
34200.5,5,0,30,5853200,-1
34200.6,4,7,30,5853300,-1
34200.7,7,0,0,-1,-1
34200.8,3,102,70,5853300,-1
34200.9,3,103,18,5853100,1
";

const BITSTAMP: &str = "\
id,timestamp,exchange.timestamp,price,volume,action,direction
1,1430438404518,1430438404000,236.47,500,created,ask
2,1430438404600,1430438404000,236.5,200,created,bid
1,1430438404635,1430438404000,236.47,300,changed,ask
2,1430438404637,1430438404000,236.5,0,deleted,bid
1,1430438404700,1430438404000,236.47,300,deleted,ask
";

fn compress(path: &Path, text: &str) {
    let file = File::create(path).unwrap();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            writer.write_all(text.as_bytes()).unwrap();
            writer.finish().unwrap();
        }
        Some("xz") => {
            let mut writer = liblzma::write::XzEncoder::new(file, 1);
            writer.write_all(text.as_bytes()).unwrap();
            writer.finish().unwrap();
        }
        Some("zst") => {
            let mut writer = zstd::Encoder::new(file, 1).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
            writer.finish().unwrap();
        }
        _ => fs::write(path, text).unwrap(),
    }
}

#[test]
fn a_lobster_file_is_replayed_from_every_compression() {
    let directory = tempdir().unwrap();
    let mut states = Vec::new();
    for name in ["flow.csv", "flow.csv.gz", "flow.csv.xz", "flow.csv.zst"] {
        compress(&directory.path().join(name), LOBSTER);
        let (text, report) = report_of(directory.path(), &["replay", "--format", "lobster", name]);
        assert_eq!(report["oracle"]["named_executions"], 2);
        assert_eq!(report["oracle"]["exact_fills"], 2);
        assert_eq!(report["commands"], 8, "3 orders, 1 reduction, 2 executions, 2 cancels");
        assert_eq!(report["trades"], 2);
        assert_eq!(report["rejected"], serde_json::json!({}));
        let figures = &report["replay"];
        assert_eq!((&figures["hidden_executions"], &figures["halts"]), (&1.into(), &1.into()));
        assert_eq!(figures["unknown_executions"], 1);
        assert!(text.contains("2 of 2 named executions"), "{text}");
        states.push(report["state_hash"].clone());
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{states:?}");
}

#[test]
fn a_bitstamp_file_is_replayed_and_compared() {
    let directory = tempdir().unwrap();
    compress(&directory.path().join("flow.csv.zst"), BITSTAMP);
    let (text, report) = report_of(directory.path(), &["replay", "--format", "bitstamp", "flow.csv.zst"]);
    assert_eq!((&report["trades"], &report["commands"]), (&1.into(), &3.into()));
    let figures = &report["replay"];
    assert_eq!((&figures["file_trades"], &figures["agreeing_trades"]), (&1.into(), &1.into()));
    assert_eq!(figures["unexplained_changes"], 0);
    assert!(text.contains("1 agree in maker and size"), "{text}");
}

#[test]
fn departures_from_priority_are_listed() {
    let directory = tempdir().unwrap();
    let file = "1.0,1,101,100,50,-1\n1.1,1,102,100,50,-1\n1.2,4,102,100,50,-1\n1.3,4,101,100,50,-1\n";
    fs::write(directory.path().join("flow.csv"), file).unwrap();
    let (text, report) = report_of(directory.path(), &["replay", "--format", "lobster", "flow.csv"]);
    assert_eq!((&report["oracle"]["named_executions"], &report["oracle"]["exact_fills"]), (&2.into(), &1.into()));
    let expected =
        "line 3, 1.200000000 s: names 100 of order 102 at 50; filled 100 of order 101: order 101, which line 1 adds";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_malformed_line_is_named() {
    let header = "id,timestamp,exchange.timestamp,price,volume,action,direction\n";
    let cases: &[(&str, String, &str)] = &[
        ("lobster", "1.0,1,101,x,50,-1\n".into(), "flow.csv, line 1: size is \"x\": expected a whole number"),
        ("lobster", format!("{LOBSTER}1.0,9,1,1,50,-1\n"), "line 12: type is \"9\": expected one of 1, 2, 3"),
        ("lobster", "1.0,1,0,5,50,-1\n".into(), "line 1: order id is \"0\": expected a whole number, at least 1"),
        ("lobster", "1.0,1,1,5,-50,-1\n".into(), "line 1: price is \"-50\": expected a whole number from 1 to"),
        ("lobster", "1.0,1,1,5,50,0\n".into(), "line 1: direction is \"0\": expected one of 1, -1"),
        ("lobster", "1.0,1,1,5\n".into(), "line 1: 4 fields: expected 6 fields (time, type, order id"),
        ("lobster", "one,1,1,5,50,1\n".into(), "line 1: time is \"one\": expected a number with at most"),
        ("lobster", String::new(), "flow.csv holds no order flow"),
        ("bitstamp", "1,2,3,4,5,created,bid\n".into(), "line 1: expected the header id,timestamp"),
        ("bitstamp", String::new(), "is empty: expected the header id,timestamp"),
        ("bitstamp", format!("{header}1,2,3,4.001,5,created,bid\n"), "line 2: price is \"4.001\": expected a number"),
        ("bitstamp", format!("{header}1,2,3,4,5,made,bid\n"), "line 2: action is \"made\": expected one of created"),
        (
            "bitstamp",
            format!("{header}1,2,3,4,5,created,up\n"),
            "line 2: direction is \"up\": expected one of bid, ask",
        ),
    ];
    for (format, text, expected) in cases {
        let directory = tempdir().unwrap();
        fs::write(directory.path().join("flow.csv"), text).unwrap();
        let run = gateway_sim(directory.path(), &["replay", "--format", format, "flow.csv"]);
        assert_eq!(run.code, Some(1), "{text:?}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{expected:?} in {}", run.stderr);
        assert!(!run.stderr.contains("backtrace") && !run.stderr.contains("panicked"), "{}", run.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempdir().unwrap();
    let whole = directory.path().join("whole.csv.xz");
    compress(&whole, &LOBSTER.repeat(200));
    let bytes = fs::read(&whole).unwrap();
    fs::write(directory.path().join("cut.csv.xz"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(directory.path().join("plain.csv.gz"), LOBSTER).unwrap();
    fs::write(directory.path().join("garbage.gz"), [&[0x1f, 0x8b][..], &[0xaa; 500]].concat()).unwrap();
    fs::write(directory.path().join("garbage.zst"), [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0xff; 500]].concat()).unwrap();
    for (name, expected) in [
        ("missing.csv", "cannot open missing.csv"),
        (".", "is a directory"),
        ("cut.csv.xz", "the file is damaged or cut off"),
        ("plain.csv.gz", "does not begin like a .gz file"),
        ("garbage.gz", "cannot read garbage.gz"),
        ("garbage.zst", "garbage.zst"),
    ] {
        let run = gateway_sim(directory.path(), &["replay", "--format", "lobster", name]);
        assert_eq!(run.code, Some(1), "{name}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(expected), "{name}: {}", run.stderr);
        assert!(!run.stderr.contains("backtrace") && !run.stderr.contains("panicked"), "{}", run.stderr);
    }
}
