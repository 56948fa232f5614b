//! The dry run of an airdrop.

use std::path::Path;

use engine::{
    command::Command,
    exchange::ManifestHasher,
    types::{AccountId, AirdropId, Amount, Cause, Controls, Digest, ExternalId, OperatorId, Timestamp, TradingStatus},
};
use serde_json::Value;

use super::{BEGUN, BTC, KRW, open, reprise, text, write_history};

const NOBODY: OperatorId = OperatorId(0);

/// The small history, two operators, a treasury with 2 BTC, attested reserves, limits and one past airdrop of 0.4 BTC.
fn prepare(directory: &Path) {
    write_history(directory);
    let mut inline = open(directory);
    let (airdrop, asset, total) = (AirdropId(3), BTC, Amount(40_000_000));
    let lines = [(AccountId(1), Amount(30_000_000)), (AccountId(2), Amount(10_000_000))];
    let mut hasher = ManifestHasher::new(asset);
    lines.iter().for_each(|(account, amount)| hasher.line(*account, *amount));
    let (author, operator) = (OperatorId(1), OperatorId(2));
    let key = Digest([0; 32]);
    let mut commands = vec![
        Command::RegisterOperator { operator: author, key, first: NOBODY, second: NOBODY },
        Command::RegisterOperator { operator, key, first: NOBODY, second: NOBODY },
        Command::FundTreasury { asset, amount: Amount(240_000_000), external_id: ExternalId::from_u128(9) },
        Command::AttestReserves { asset, amount: Amount(1_000_000_000_000) },
        Command::SetAirdropLimits {
            asset,
            recipient_max: Amount(50_000_000),
            airdrop_max: Amount(100_000_000),
            day_max: Amount(120_000_000),
        },
        Command::OpenAirdrop { airdrop, author, asset, total, lines: 2, hash: hasher.finish(), lock_seconds: 0 },
    ];
    commands.extend(lines.map(|(account, amount)| Command::AddAirdropLine { airdrop, account, amount }));
    commands.push(Command::ApproveAirdrop { airdrop, operator });
    commands.push(Command::ExecuteAirdrop { airdrop, operator: author });
    for (second, command) in (0..).zip(commands) {
        let time = Timestamp(BEGUN + (100 + second) * 1_000_000_000);
        inline.submit_at(time, Cause::operator(1), command).unwrap();
    }
    assert_ne!(inline.exchange().airdrop(airdrop).unwrap().executed.0, 0);
    inline.close().unwrap();
}

fn submit(directory: &Path, command: Command) {
    let mut inline = open(directory);
    inline.submit(Cause::operator(1), command).unwrap();
    inline.close().unwrap();
}

/// Checks a file of this text; gives the exit code and what was found.
fn check(directory: &Path, contents: &str, more: &[&str]) -> (i32, Value) {
    let file = directory.join("airdrop.csv");
    std::fs::write(&file, contents).unwrap();
    let file = file.to_str().unwrap();
    let output = reprise(directory, &[&["airdrop", "check", file, "--asset", "BTC", "--json"], more].concat());
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), found)
}

fn names(found: &Value, what: &str) -> Vec<String> {
    let all = found[what].as_array().unwrap().iter();
    all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

/// The warnings that the small world has for anything.
const USUAL: [&str; 4] = ["--accept", "share_of_users", "--accept", "suspended_recipients"];

#[test]
fn a_good_airdrop_is_told_in_full() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let before = std::fs::read(directory.path().join("00000000.segment")).unwrap();
    let (code, found) = check(directory.path(), "account,amount\n1,0.1\n2,0.2\n", &[]);
    // Of 3.4 BTC that users have 0.3 are much, and account 2 is suspended.
    assert_eq!((code, names(&found, "warnings")), (4, vec!["share_of_users".into(), "suspended_recipients".into()]));
    let (code, found) = check(directory.path(), "account,amount\n1,0.1\n2,0.2\n", &USUAL);
    assert_eq!((code, &found["verdict"]), (0, &Value::from("fine")), "{found:#}");
    assert_eq!((&found["recipients"], &found["total"]), (&Value::from(2), &Value::from("0.3")));
    assert_eq!((&found["largest"]["line"], &found["smallest"]["account"]), (&Value::from(3), &Value::from(1)));
    let worth = &found["worth"][0];
    assert_eq!(
        (&worth["price"], &worth["worth"], &worth["sequence"]),
        (&"95000000".into(), &"28500000".into(), &10.into())
    );
    // Users have 3 + 0.4, fees nothing, the treasury 2.
    assert_eq!((&found["users_have"], &found["liabilities"]), (&"3.4".into(), &"5.4".into()));
    assert_eq!((&found["share_of_users"], &found["share_of_reserves"]), (&"8.8235 %".into(), &"0.003 %".into()));
    assert_eq!(
        (&found["past"]["median_total"], &found["past"]["median_per_recipient"]),
        (&"0.4".into(), &"0.2".into())
    );
    let mut hasher = ManifestHasher::new(BTC);
    hasher.line(AccountId(1), Amount(10_000_000));
    hasher.line(AccountId(2), Amount(20_000_000));
    let manifest = &found["manifest"];
    assert_eq!((&manifest["hash"], &manifest["id"]), (&hasher.finish().to_string().into(), &4.into()));
    assert_eq!(std::fs::read(directory.path().join("00000000.segment")).unwrap(), before, "nothing is written");

    // What the check says is what the exchange does.
    let file = directory.path().join("airdrop.csv");
    let lines =
        text(directory.path(), &[&["airdrop", "check", file.to_str().unwrap(), "--asset", "btc"], &USUAL[..]].concat());
    for part in
        [hasher.finish().to_string().as_str(), "It can be opened.", "28,500,000 KRW", "to A2 in line 3", "(accepted)"]
    {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    let (code, found) = check(directory.path(), "1,10000000\n2,20000000", &[&["--minor-units"], &USUAL[..]].concat());
    assert_eq!((code, &found["manifest"]["hash"]), (0, &hasher.finish().to_string().into()));
}

#[test]
fn whatever_would_refuse_it_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let refusals = |contents: &str, more: &[&str]| {
        let (code, found) = check(directory.path(), contents, &[&USUAL[..], more].concat());
        let refusals = names(&found, "refusals");
        assert_eq!(code == 1, !refusals.is_empty(), "{found:#}");
        refusals
    };
    assert_eq!(refusals("1,0.1", &[]), [""; 0]);
    assert_eq!(refusals("1,0.1", &["--id", "3"]), ["airdrop_exists"]);
    assert_eq!(refusals("1,0.1", &["--id", "4", "--cause", "2"]), [""; 0]);
    assert_eq!(refusals("1,0.1", &["--cause", "operator:7"]), ["unknown_operator"]);
    assert_eq!(refusals("1,0.51", &[]), ["over_recipient_limit"]);
    assert_eq!(refusals("1,0.6\n2,0.6", &[]), ["over_recipient_limit", "over_airdrop_limit"]);
    // The day of the past airdrop is another.
    assert_eq!(refusals("1,0.5\n2,0.5", &[]), [""; 0]);
    let that_day = ["--at", "2026-11-25T10:00:00Z"];
    assert_eq!(refusals("1,0.5\n2,0.5", &that_day), ["over_day_limit"]);
    assert_eq!(
        refusals("1,2.5\n2,0.1", &[]),
        ["over_recipient_limit", "over_airdrop_limit", "over_day_limit", "treasury_not_covered"]
    );
    submit(directory.path(), Command::AttestReserves { asset: BTC, amount: Amount(540_000_000) });
    assert_eq!(refusals("1,0.1", &["--accept", "share_of_reserves"]), [""; 0]);
    submit(directory.path(), Command::SetControls { controls: Controls::RESERVES });
    let accepted = ["--accept", "share-of-reserves", "--accept", "controls_off"];
    // From nowhere: it is owed on top.
    assert_eq!(refusals("1,0.1", &accepted), ["reserves_exceeded"]);
    submit(directory.path(), Command::SetGlobalStatus { status: TradingStatus::Frozen });
    assert_eq!(refusals("1,0.1", &accepted), ["reserves_exceeded", "exchange_frozen"]);
    let (_, found) = check(directory.path(), "1,9\n", &[]);
    let lines = found["refusals"].as_array().unwrap().iter().find(|one| one["name"] == "over_recipient_limit");
    assert_eq!(lines.unwrap()["lines"], Value::from(vec![1]));
}

#[test]
fn what_is_unusual_stops_a_script() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let no_limits =
        Command::SetAirdropLimits { asset: BTC, recipient_max: Amount(0), airdrop_max: Amount(0), day_max: Amount(0) };
    submit(directory.path(), no_limits);
    submit(directory.path(), Command::SetControls { controls: Controls::NONE });
    let asset_is_wrong = "1,5000\n";
    let (code, found) = check(directory.path(), asset_is_wrong, &[]);
    assert_eq!(code, 4);
    let expected =
        ["above_past_total", "above_past_lines", "share_of_users", "share_of_reserves", "no_limits", "controls_off"];
    assert_eq!(names(&found, "warnings"), expected);
    assert_eq!(found["share_of_users"], "147,058.8235 %");
    // All accepted but one is not accepted.
    let all: Vec<_> = expected.iter().flat_map(|name| ["--accept", name]).collect();
    assert_eq!(check(directory.path(), asset_is_wrong, &all[2..]).0, 4);
    assert_eq!(check(directory.path(), asset_is_wrong, &all).0, 0);
    let (_, found) = check(directory.path(), "1,0.0001\n2,0.1\n", &[]);
    let outlier = found["warnings"].as_array().unwrap().iter().find(|one| one["name"] == "outlier_lines").unwrap();
    assert_eq!(outlier["lines"], Value::from(vec![2]));

    // Of another asset none was ever paid, nothing was attested, and no market tells its worth.
    let file = directory.path().join("airdrop.csv");
    let output = reprise(directory.path(), &["airdrop", "check", file.to_str().unwrap(), "--asset", "KRW"]);
    assert_eq!(output.status.code(), Some(1), "no tenths of a won");
    std::fs::write(&file, "1,5000\n").unwrap();
    let output =
        reprise(directory.path(), &["airdrop", "check", file.to_str().unwrap(), "--asset", &KRW.0.to_string()]);
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{found}");
    for part in ["first_of_asset", "no_attested_reserves", "KRW is sold on no market"] {
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn wrong_files_and_wrong_lines_are_named() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let (code, found) = check(directory.path(), "account,amount\n1,0.1\n9,0.1\n1,0.2\n2,\"0.1\n2,0.1\n2,x\n", &USUAL);
    assert_eq!((code, &found["manifest"]), (1, &Value::Null));
    let wrong = found["wrong_lines"].as_array().unwrap();
    let lines: Vec<_> = wrong.iter().map(|wrong| wrong["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [3, 4, 5, 7], "{found:#}");
    let file = directory.path().join("airdrop.csv");
    let path = file.to_str().unwrap();
    let lines = reprise(directory.path(), &["airdrop", "check", path, "--asset", "BTC"]);
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert!(lines.contains("line 3: there is no account A9") && lines.contains("must not be opened"), "{lines}");
    assert!(!lines.contains("manifest hash"), "{lines}");

    std::fs::write(directory.path().join("empty.csv"), "account,amount\n").unwrap();
    let empty = directory.path().join("empty.csv");
    for (arguments, code, part) in [
        (&["airdrop", "check", path, "--asset", "XRP"][..], 1, "there is no asset \"XRP\""),
        (&["airdrop", "check", "/nowhere/a.csv", "--asset", "BTC"], 1, "/nowhere/a.csv"),
        (&["airdrop", "check", empty.to_str().unwrap(), "--asset", "BTC"], 1, "has no lines"),
        (&["airdrop", "check", path], 2, "--asset"),
        (&["airdrop", "check", path, "--asset", "BTC", "--accept", "all"], 2, "above_past_total"),
        (&["airdrop", "check", path, "--asset", "BTC", "--cause", "nobody"], 2, "operator:3"),
        (&["airdrop"], 2, "check"),
    ] {
        let output = reprise(directory.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
}
