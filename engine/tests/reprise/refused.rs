//! What makes no sense is refused: it says what and why and what to do next, has an exit code of its own, and has written
//! nothing.

use std::fs;

use serde_json::Value;

use crate::taken_back::Place;

/// Runs what must be refused: the exit code, all parts of what is said, and not a byte written.
fn refuses(place: &Place, arguments: &[&str], code: i32, parts: &[&str]) {
    let (data, files) = (place.stamps(), place.files());
    let (found, told, errors) = place.run(arguments);
    assert_eq!(found, code, "{arguments:?}: {told}{errors}");
    assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
    for part in parts {
        assert!(errors.contains(part), "{arguments:?}: {part:?} is not in: {errors}");
    }
    assert_eq!(place.stamps(), data, "{arguments:?} wrote into the data directory");
    assert_eq!(place.files(), files, "{arguments:?} wrote beside it");
    // Programs are told as well, but for what never became a command.
    if !errors.starts_with("error:") {
        let (_, told, _) = place.run(&[arguments, &["--json"]].concat());
        let document: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        assert_eq!(document["exit_code"], code, "{arguments:?}");
    }
}

/// The sequence of the only command, or the last, of a kind.
fn sequence_of(place: &Place, kind: &str) -> u64 {
    let log = place.fine(&["log", "--json", "--kind", kind]);
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    last["sequence"].as_u64().unwrap()
}

#[test]
fn traces_and_plans_that_make_no_sense() {
    let place = Place::frozen();
    let before = place.bytes();
    let out = place.path("new.plan");
    let halt = place.now().last_sequence().0;
    let plan = |more: &[&str], code: i32, parts: &[&str]| {
        for strategy in ["excise", "bust", "compensate"] {
            refuses(&place, &[&["plan", strategy, "--out", &out], more].concat(), code, parts);
        }
        refuses(&place, &[&["plan", "--compare"], more].concat(), code, parts);
    };
    // Airdrops that are not there, or credited nobody.
    refuses(&place, &["trace", "--airdrop", "9"], 1, &["there is no airdrop 9", "reprise show --at now"]);
    refuses(&place, &["trace", "--airdrop", "30"], 1, &["airdrop 30 has not been paid", "CancelAirdrop"]);
    refuses(&place, &["trace", "--airdrop", "x"], 2, &["give the airdrop's number"]);
    refuses(&place, &["trace", "--seq", "5..500"], 1, &["not all between 1 and the halt", "reprise log"]);
    refuses(&place, &["trace", "--seq", "9..5"], 2, &["runs backwards"]);
    refuses(&place, &["trace", "--seq", "1..3"], 1, &["credited nobody", "name the sequences"]);
    refuses(&place, &["trace"], 2, &["--airdrop"]);
    plan(&["--airdrop", "9"], 1, &["there is no airdrop 9", "reprise show --at now"]);
    plan(&["--airdrop", "30"], 1, &["airdrop 30 has not been paid"]);
    // Cuts and sequences that are not before the halt.
    for cut in [halt, halt + 1, u64::MAX] {
        let cut = cut.to_string();
        let parts = ["is not before the halt", "the last good sequence"];
        refuses(&place, &["plan", "rewind", "--to", &cut, "--out", &out], 1, &parts);
    }
    for range in ["0", "0..3", "500", &halt.to_string(), "1..18446744073709551615"] {
        plan(&["--drop", range], 1, &["is not between 1 and the halt", "reprise log"]);
    }
    plan(&["--drop", "9..3"], 2, &["runs backwards"]);
    plan(&["--drop", "here"], 2, &["no sequence and no range"]);
    plan(&[], 2, &["--airdrop ID", "--replace"]);
    // Edits that overlap.
    let paid = sequence_of(&place, "execute-airdrop");
    let both = format!("{paid}={{\"kind\": \"Tick\"}}");
    let decide = "decide for one";
    plan(&["--drop", &format!("{paid},{paid}")], 2, &["overlap", decide]);
    plan(&["--drop", &format!("{}..{paid}", paid - 3), "--drop", &format!("{}", paid - 1)], 2, &["overlap", decide]);
    plan(&["--airdrop", "1", "--drop", &paid.to_string()], 2, &["named by --airdrop 1 and by --drop", decide]);
    plan(&["--airdrop", "1", "--airdrop", "1"], 2, &["overlap", decide]);
    plan(&["--airdrop", "1", "--replace", &both], 2, &["--airdrop 1", "--replace", decide]);
    plan(&["--replace", &both, "--replace", &both], 2, &["overlap", decide]);
    // Commands that cannot be meant, are not known, or are refused on the branch.
    let replace = |command: &str| format!("{}={command}", sequence_of(&place, "transfer"));
    plan(&["--replace", &replace("{\"kind\": \"Fly\"}")], 1, &["no kind of command; there are: AddAsset"]);
    plan(&["--replace", &replace("{nothing}")], 1, &["no JSON"]);
    plan(&["--replace", &replace("/nowhere.json")], 1, &["/nowhere.json", "a file of it"]);
    plan(&["--replace", "x=y"], 2, &["no number"]);
    plan(
        &["--replace", &replace(r#"{"kind": "Transfer", "from": 4, "to": 9, "asset": "XRP", "amount": "1"}"#)],
        1,
        &["there is no asset \"XRP\"; there are", "BTC, USD"].map(|part| part.split(';').next().unwrap()),
    );
    let rich = replace(r#"{"kind": "Transfer", "from": 4, "to": 9, "asset": "BTC", "amount": "9000"}"#);
    for strategy in ["excise", "bust"] {
        let parts = ["is refused on the branch: insufficient_available", "or drop the sequence"];
        refuses(&place, &["plan", strategy, "--replace", &rich, "--out", &out], 1, &parts);
    }
    let same = place.fine(&["log", "--json", "--kind", "transfer"]);
    refuses(&place, &["plan", "excise", "--replace", &replace(&same), "--out", &out], 1, &["by the same command"]);
    let start = replace(r#"{"kind": "StartEpoch", "at": 9, "digest": "00"}"#);
    plan(&["--replace", &start], 1, &["only applying a plan submits it"]);
    // Manifests.
    let lines = place.file("lines.csv");
    fs::write(&lines, "1,0.1\nx,5\n").unwrap();
    let lines = lines.to_str().unwrap();
    plan(&["--replace-airdrop", &format!("1={lines}")], 1, &["line 2", "put it right"]);
    fs::write(lines, "1,0.1\n2,1\n3,1\n4,1\n5,1\n").unwrap();
    plan(&["--replace-airdrop", &format!("1={lines}")], 1, &["5 lines and the journaled one 4"]);
    plan(&["--replace-airdrop", &format!("9={lines}")], 1, &["there is no airdrop 9"]);
    plan(&["--replace-airdrop", &format!("1=XRP:{lines}")], 1, &["there is no asset \"XRP\""]);
    // Facts.
    let deposit = sequence_of(&place, "deposit").to_string();
    let hint = format!("--not-a-fact {deposit}=");
    for strategy in ["excise", "bust", "compensate"] {
        refuses(&place, &["plan", strategy, "--drop", &deposit, "--out", &out], 1, &["states a fact", &hint]);
    }
    plan(&["--airdrop", "1", "--not-a-fact", "5=no"], 2, &["not dropped", "--drop"]);
    // What a strategy cannot do.
    let cancel = sequence_of(&place, "cancel-all-of-account").to_string();
    refuses(&place, &["plan", "bust", "--drop", &cancel, "--out", &out], 1, &["bust cannot change sequence"]);
    let pay = |payment: &str, code: i32, parts: &[&str]| {
        refuses(&place, &["plan", "compensate", "--airdrop", "1", "--pay", payment, "--out", &out], code, parts);
    };
    pay("7,USD", 2, &["account,asset,amount"]);
    pay("7,XRP,1", 1, &["there is no asset \"XRP\""]);
    pay("7,USD,1.0000001", 1, &["off the grid"]);
    pay("7,USD,0", 1, &["zero"]);
    pay("7,USD,100000", 1, &["the treasury does not cover it", "FundTreasury"]);
    pay("777,USD,0.1", 1, &["no such account"]);
    // Files.
    let taken = place.file("taken.plan");
    fs::write(&taken, "precious").unwrap();
    let taken = taken.to_str().unwrap();
    refuses(&place, &["plan", "excise", "--airdrop", "1", "--out", taken], 1, &["is there already", "another file"]);
    let inside = place.data().join("in.plan");
    let inside = inside.to_str().unwrap();
    refuses(&place, &["plan", "excise", "--airdrop", "1", "--out", inside], 1, &["the exchange's own"]);
    let nowhere = place.path("no/such.plan");
    refuses(&place, &["plan", "excise", "--airdrop", "1", "--out", &nowhere], 1, &["there is no directory"]);
    let (other, _) = place.plan("other.plan", &["bust", "--airdrop", "1"]);
    refuses(&place, &["plan", "excise", "--airdrop", "1", "--out", &other], 1, &["is another plan"]);
    let compare = ["plan", "--compare", "--airdrop", "1", "--html"];
    refuses(&place, &[&compare[..], &[taken]].concat(), 1, &["is there already", "another file"]);
    refuses(&place, &[&compare[..], &[inside]].concat(), 1, &["the exchange's own"]);
    refuses(&place, &[&compare[..], &[&nowhere]].concat(), 1, &["there is no directory"]);
    refuses(&place, &["plan"], 2, &["plan rewind, excise, bust or compensate"]);
    refuses(&place, &["plan", "--compare", "excise", "--airdrop", "1"], 2, &["two things"]);
    refuses(&place, &["plan", "show", taken], 1, &["this is no plan", "reprise plan"]);
    assert!(place.bytes() == before, "not a byte is another");
}

#[test]
fn plans_that_are_not_approved_as_they_must_be() {
    let place = Place::frozen();
    let (plan, _) = place.plan("repair.plan", &["bust", "--airdrop", "1"]);
    let before = place.bytes();
    let apply = |more: &[&str], code: i32, parts: &[&str]| {
        refuses(&place, &[&["apply", &plan], more].concat(), code, parts);
    };
    let key = |name: &str| place.path(name);
    apply(&[], 1, &["0 approvals are there: 2 different operators must approve", "reprise approve"]);
    place.approve(&plan, 1);
    apply(&[], 1, &["1 approvals are there"]);
    let one = place.path("repair.plan.approval-1");
    apply(&["--approval", &one, "--approval", &one], 1, &["operator 1", "twice", "second person"]);
    apply(&["--approval", &one, "--approval", &place.path("nowhere")], 1, &["nowhere"]);

    // Who may not sign, or not so.
    let sign = |more: &[&str], code: i32, parts: &[&str]| {
        refuses(&place, &[&["approve", &plan], more].concat(), code, parts);
    };
    place.fine(&["operator", "keygen", "--id", "9", "--out", &key("9.key")]);
    refuses(&place, &["operator", "keygen", "--id", "9", "--out", &key("9.key")], 1, &["never overwritten"]);
    refuses(&place, &["operator", "keygen", "--id", "0"], 2, &["from 1 to 65535"]);
    sign(&["--key", &key("9.key")], 1, &["no registered operator has this key", "RegisterOperator"]);
    sign(&["--key", &key("9.key"), "--operator", "9"], 1, &["there is no operator 9"]);
    sign(&["--key", &key("4.key"), "--operator", "4"], 1, &["revoked"]);
    sign(&["--key", &key("4.key")], 1, &["no registered operator has this key"]);
    sign(&["--key", &key("1.key"), "--operator", "2"], 1, &["another key", "the operator's own"]);
    sign(&["--key", &key("nowhere.key")], 1, &["nowhere.key"]);
    sign(&["--key", &plan], 1, &["repair.plan"]);
    sign(&["--key", &key("1.key"), "--expires-in", "soon"], 2, &["such as 24h"]);
    let open = place.file("open.key");
    fs::copy(place.file("2.key"), &open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    sign(&["--key", open.to_str().unwrap()], 1, &["can be read by others", "chmod 600"]);

    // Without the exchange at hand anybody can sign: applying finds it out.
    let without_data = |number: &str, key: &str| {
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_reprise"));
        process.args(["approve", &plan, "--key", key, "--operator", number]).output().unwrap()
    };
    for (number, name, code, part) in [
        ("9", "9.key", 1, "there is no such operator"),
        ("4", "4.key", 1, "has been revoked"),
        ("2", "9.key", 3, "the signature is not this operator's"),
    ] {
        assert!(without_data(number, &key(name)).status.success());
        apply(&[], code, &["the plan is not applied", part]);
        fs::remove_file(place.file(&format!("repair.plan.approval-{number}"))).unwrap();
    }
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_reprise"))
        .args(["approve", &plan, "--key", &key("1.key")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "who signs is not said");

    // Too late.
    place.fine(&["approve", &plan, "--key", &key("2.key"), "--expires-in", "1s"]);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    apply(&[], 1, &["operator 2", "expired", "sign again"]);

    // Altered: the signature, the expiry, the plan that it names.
    place.approve(&plan, 2);
    let two = place.file("repair.plan.approval-2");
    let good = fs::read_to_string(&two).unwrap();
    let digit = good.find("signature ").unwrap() + "signature ".len();
    let other = if good.as_bytes()[digit] == b'0' { "1" } else { "0" };
    let altered = format!("{}{other}{}", &good[..digit], &good[digit + 1..]);
    let longer = good.replace("expires 1", "expires 9");
    for text in [altered, longer] {
        assert_ne!(text, good);
        fs::write(&two, text).unwrap();
        apply(&[], 3, &["approval-2", "altered", "reprise approve"]);
    }
    fs::write(&two, "reprise plan approval 1\nnothing\n").unwrap();
    apply(&[], 3, &["holds no approval, or was altered"]);
    let (another, _) = place.plan("another.plan", &["excise", "--airdrop", "1"]);
    place.approve(&another, 2);
    fs::copy(place.file("another.plan.approval-2"), &two).unwrap();
    apply(&[], 1, &["approves the plan", "look at this plan and sign it"]);
    fs::write(&two, &good).unwrap();

    // Altered: the plan, anywhere.
    let bytes = fs::read(&plan).unwrap();
    for at in [12, 20, 33, 37, 50, 80, 109, 115, bytes.len() - 1] {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        fs::write(&plan, altered).unwrap();
        apply(&[], 3, &["repair.plan", "altered"]);
        sign(&["--key", &key("3.key")], 3, &["repair.plan", "altered", "original"]);
    }
    fs::write(&plan, &bytes[..bytes.len() - 40]).unwrap();
    apply(&[], 3, &["truncated"]);
    fs::write(&plan, &bytes).unwrap();
    assert!(place.bytes() == before, "not a byte is another");
    place.fine(&["apply", &plan]);
}

#[test]
fn plans_for_something_else() {
    let place = Place::after_the_airdrop();
    let key = place.path("1.key");
    // A preview can be looked at only.
    let (preview, planned) = place.plan("preview.plan", &["bust", "--airdrop", "1"]);
    assert_eq!(planned["preview"], true);
    assert!(place.fine(&["plan", "show", &preview]).contains("PREVIEW"));
    refuses(&place, &["approve", &preview, "--key", &key], 1, &["preview", "freeze it, and make the plan again"]);
    refuses(&place, &["apply", &preview], 1, &["preview", "freeze it"]);

    // For a halt that is over.
    place.fine(&["freeze", "--cause", "1"]);
    let (first, _) = place.plan("first.plan", &["bust", "--airdrop", "1"]);
    place.approve(&first, 1);
    place.approve(&first, 2);
    refuses(&place, &["reopen", "open", "--cause", "1"], 1, &["no plan was applied since", "--without-repair"]);
    place.fine(&["reopen", "cancel-only", "--cause", "1", "--without-repair"]);
    refuses(&place, &["apply", &first], 1, &["was set to CancelOnly", "make a new plan"]);
    place.fine(&["freeze", "--cause", "1"]);
    refuses(&place, &["apply", &first], 1, &["was set to CancelOnly", "make a new plan"]);
    refuses(&place, &["approve", &first, "--key", &place.path("3.key")], 1, &["was set to CancelOnly"]);

    // For another exchange.
    let (second, _) = place.plan("second.plan", &["bust", "--airdrop", "1"]);
    let (rewind, _) = place.plan("rewind.plan", &["rewind", "--to", "76"]);
    for plan in [&second, &rewind] {
        place.approve(plan, 1);
        place.approve(plan, 2);
    }
    let other = Place::frozen();
    refuses(&other, &["apply", &second], 1, &["is for journal", "the data directory of the exchange"]);
    refuses(&other, &["approve", &second, "--key", &key], 1, &["is for journal"]);

    // For an epoch that is over.
    let told = place.fine(&["apply", &second]);
    assert!(told.contains("airdrop 1 is not paid now") && told.contains("CancelAirdrop"), "{told}");
    refuses(&place, &["apply", &rewind], 1, &["ends epoch 1, and the exchange is in epoch 2", "make a new one"]);
    refuses(&place, &["approve", &rewind, "--key", &key], 1, &["in epoch 2"]);
    refuses(&place, &["approve", &second, "--key", &key], 1, &["applied already", "nothing to sign"]);
    // What the earlier epoch did is not changed by a plan of this one.
    place.fine(&["freeze", "--cause", "1"]);
    refuses(&place, &["plan", "excise", "--airdrop", "1"], 1, &["airdrop 1 has not been paid"]);
    refuses(&place, &["plan", "excise", "--drop", "78"], 1, &["belongs to an earlier epoch"]);
    refuses(&place, &["plan", "rewind", "--to", "50"], 1, &["belongs to an earlier epoch"]);
}

#[test]
fn commands_that_are_not_taken() {
    let place = Place::frozen();
    let submit = |command: &str, code: i32, parts: &[&str]| {
        refuses(&place, &["submit", "--cause", "1", "--command", command], code, parts);
    };
    submit("{\"kind\": \"Fly\"}", 1, &["no kind of command"]);
    submit("[]", 1, &["no command in it"]);
    submit("/nowhere.json", 1, &["/nowhere.json"]);
    submit(
        r#"[{"kind": "Tick"}, {"kind": "Tick", "now": 1}]"#,
        1,
        &["command 2: Tick", "\"now\" is none of its fields"],
    );
    submit(r#"{"kind": "AddPlanPart", "index": 0}"#, 1, &["only applying a plan submits it"]);
    refuses(&place, &["submit", "--cause", "nobody", "--command", "{}"], 2, &["operator:N"]);
    refuses(&place, &["reopen", "open", "--market", "XRP-USD", "--cause", "1"], 1, &["there is no market"]);
    let market = ["reopen", "open", "--market", "BTC-USD", "--cause", "1"];
    refuses(&place, &market, 1, &["as a whole is frozen", "without --market"]);
    refuses(&place, &["reopen", "halfway", "--cause", "1"], 2, &["cancel-only"]);
    refuses(&place, &["freeze"], 2, &["--cause"]);

    // The exchange's own refusals are in its journal, as of any exchange; nothing else changes.
    let before = place.now();
    let author = r#"{"kind": "AddAirdropLine", "airdrop": 30, "account": 1, "amount": "0.00000007"}
                    {"kind": "ApproveAirdrop", "airdrop": 30, "operator": 1}"#;
    let (code, told, errors) = place.run(&["submit", "--cause", "1", "--command", author]);
    assert_eq!(code, 1, "{errors}");
    assert!(told.contains("REFUSED") && errors.contains("1 behind it were not submitted"), "{told}{errors}");
    assert_eq!(place.now().last_sequence().0, before.last_sequence().0 + 1);
    assert!(place.now().accounts().eq(before.accounts()));

    // While it runs, an exchange is nobody else's.
    let (plan, _) = place.plan("repair.plan", &["bust", "--airdrop", "1"]);
    place.approve(&plan, 1);
    place.approve(&plan, 2);
    let running = crate::open(&place.data());
    for arguments in [
        &["submit", "--cause", "1", "--command", "{\"kind\": \"Tick\"}"][..],
        &["reopen", "open", "--cause", "1", "--without-repair"],
        &["apply", &plan],
    ] {
        let output = crate::reprise(&place.data(), arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        let holder = format!("in use by process {}", std::process::id());
        assert!(errors.contains(&holder) && errors.contains("operator lane"), "{arguments:?}: {errors}");
    }
    // What only reads goes on, and a plan is made while it runs.
    place.fine(&["trace", "--airdrop", "1"]);
    place.plan("meanwhile.plan", &["excise", "--airdrop", "1"]);
    place.fine(&["verify"]);
    running.close().unwrap();
}

/// Who may not approve an airdrop, told by the exchange itself: its author.
#[test]
fn an_author_does_not_approve_an_airdrop() {
    let place = Place::after_the_airdrop();
    let commands = r#"{"kind": "SetControls", "controls": "approval"}
                      {"kind": "AddAirdropLine", "airdrop": 30, "account": 1, "amount": "0.00000007"}
                      {"kind": "ApproveAirdrop", "airdrop": 30, "operator": 1}"#;
    let (code, told, errors) = place.run(&["submit", "--cause", "1", "--command", commands]);
    assert_eq!(code, 1, "{told}{errors}");
    assert!(errors.contains("same_operator"), "{told}{errors}");
}

/// Whatever was altered of an epoch is named, with exit code 3.
#[test]
fn what_was_altered_of_an_epoch_is_found_out() {
    let place = Place::frozen();
    let (plan, _) = place.plan("repair.plan", &["bust", "--airdrop", "1"]);
    place.approve(&plan, 1);
    place.approve(&plan, 3);
    place.fine(&["apply", &plan]);
    place.fine(&["snapshot"]);
    assert_eq!(place.json(&["verify"])["epochs"][0]["approvers"], serde_json::json!([1, 3]));

    let named = |ending: &str| {
        let entries = fs::read_dir(place.data()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_string_lossy().ends_with(ending)).max().unwrap()
    };
    let (epoch, snapshot) = (named(".epoch"), named(".snapshot"));
    for (file, name) in [(&epoch, ".epoch"), (&snapshot, ".snapshot")] {
        let good = fs::read(file).unwrap();
        // The header, the plan, the signatures, the state.
        for at in [9, 60, 200, 330, 420, good.len() / 2, good.len() - 5] {
            let mut altered = good.clone();
            altered[at] ^= 1;
            fs::write(file, altered).unwrap();
            let (code, _, errors) = place.run(&["verify"]);
            assert_eq!(code, 3, "{name} at {at}: {errors}");
            assert!(errors.contains(name), "{name} at {at}: {errors}");
        }
        fs::write(file, good).unwrap();
        place.fine(&["verify"]);
    }
    // Without its file the epoch is computed again; that is no fault.
    fs::remove_file(&epoch).unwrap();
    assert_eq!(place.json(&["verify"])["epochs"][0]["epoch_file"], false);
    assert!(place.fine(&["verify"]).contains("its epoch file is gone"));
    // The plan in the journal.
    let segment = named("00000000.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let part = bytes.windows(8).position(|window| window == b"REPRISEP").unwrap();
    bytes[part + 40] ^= 1;
    fs::write(&segment, bytes).unwrap();
    assert_eq!(place.run(&["verify"]).0, 3);
}

#[test]
fn a_data_directory_that_is_none() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "no directory").unwrap();
    for data in [place.path().join("nowhere"), file, place.path().to_owned()] {
        for arguments in [&["verify"][..], &["freeze", "--cause", "1"], &["trace", "--airdrop", "1"]] {
            let output = crate::reprise(&data, arguments);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains("give the exchange's data directory with --data"), "{told}");
        }
    }
    assert!(!place.path().join("nowhere").exists());
}
