//! A wrong airdrop, taken back from the command line: from the freeze until trading goes on.

use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};

use engine::{
    command::Command,
    exchange::{Exchange, ManifestHasher},
    journal::{Durability, FileStorage, Options},
    pipeline::{Config, Pipeline},
    recovery::{Moment, Plan, Timeline, apply_to},
    types::{AccountId, AirdropId, Amount, Cause, OperatorId, Sequence, Timestamp, TradingStatus},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    reprise,
    world::{self, BAD, BTC},
};

/// An airdrop that was opened and never paid.
pub const UNPAID: AirdropId = AirdropId(30);
const SEGMENT_BYTES: u64 = 2 << 20;

/// A directory with the exchange in `data` after a wrong airdrop, and the keys of its operators beside it.
pub struct Place {
    directory: TempDir,
}

impl Place {
    /// Nobody has stopped it yet.
    pub fn after_the_airdrop() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        let pipeline = place.open_pipeline();
        let mut operator = pipeline.operator(Cause::operator(1)).unwrap();
        let mut hasher = ManifestHasher::new(BTC);
        hasher.line(AccountId(1), Amount(7));
        let (airdrop, author, total, hash) = (UNPAID, OperatorId(1), Amount(7), hasher.finish());
        let open = Command::OpenAirdrop { airdrop, author, asset: BTC, total, lines: 1, hash, lock_seconds: 0 };
        let mut last = Sequence(0);
        for command in world::setup().into_iter().chain([open]) {
            last = operator.execute(command).unwrap()[0].sequence;
        }
        for command in world::incident(BAD, last.next()) {
            operator.execute(command).unwrap();
        }
        drop(operator);
        pipeline.shutdown().unwrap();
        for operator in 1..=4 {
            world::key(operator).write_file(place.file(&format!("{operator}.key"))).unwrap();
        }
        place
    }

    /// The exchange running, with small segments, so that all bytes are soon compared.
    fn open_pipeline(&self) -> Pipeline {
        let config = Config {
            durability: Durability::None,
            segment_bytes: SEGMENT_BYTES,
            snapshot_every: None,
            ..Config::default()
        };
        super::once_free(|| Pipeline::open(self.data(), config.clone()))
    }

    /// Frozen from the command line.
    pub fn frozen() -> Self {
        let place = Self::after_the_airdrop();
        place.fine(&["freeze", "--cause", "1"]);
        place
    }

    pub fn data(&self) -> PathBuf {
        self.file("data")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As an argument.
    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Every file of the exchange; its lock says who had it last, and nothing of the exchange.
    pub fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap());
        let files =
            entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()));
        files.filter(|(name, _)| name != "LOCK").collect()
    }

    /// Every file of the exchange with its length and when it was last written: what would not be the same after a write.
    pub fn stamps(&self) -> BTreeMap<String, (u64, SystemTime)> {
        let entries = std::fs::read_dir(self.data()).unwrap().map(|entry| entry.unwrap());
        let stamp = |entry: std::fs::DirEntry| {
            let known = entry.metadata().unwrap();
            (entry.file_name().into_string().unwrap(), (known.len(), known.modified().unwrap()))
        };
        entries.map(stamp).filter(|(name, _)| name != "LOCK").collect()
    }

    /// The names and bytes of all files beside the exchange's.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
    }

    /// Exit code, standard output, standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        for _ in 0..500 {
            let output = reprise(&self.data(), arguments);
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let (told, errors) = (text(output.stdout), text(output.stderr));
            // A process that another test starts has the lock as well, until it has become the tool.
            if errors.contains("is in use by") {
                std::thread::sleep(std::time::Duration::from_millis(10));
                continue;
            }
            return (output.status.code().unwrap(), told, errors);
        }
        panic!("the directory stays in use");
    }

    pub fn fine(&self, arguments: &[&str]) -> String {
        let (code, told, errors) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {told}{errors}");
        told
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.fine(&[arguments, &["--json"]].concat())).unwrap()
    }

    pub fn now(&self) -> Exchange {
        Timeline::open(self.data()).unwrap().at_moment(Moment::Now).unwrap()
    }

    /// Makes a plan.
    pub fn plan(&self, name: &str, arguments: &[&str]) -> (String, Value) {
        let file = self.path(name);
        let planned = self.json(&[&["plan"], arguments, &["--out", &file]].concat());
        (file, planned)
    }

    /// Signs it.
    pub fn approve(&self, plan: &str, operator: u16) {
        self.fine(&["approve", plan, "--key", &self.path(&format!("{operator}.key"))]);
    }

    pub fn submit(&self, command: &str) -> Value {
        self.json(&["submit", "--cause", "session:3", "--command", command])
    }
}

const STRATEGIES: [&[&str]; 4] = [
    &["rewind", "--to", "77"],
    &["excise", "--airdrop", "1"],
    &["bust", "--airdrop", "1"],
    &["compensate", "--airdrop", "1", "--pay", "A7,USD,0.001234", "--pay", "8,USD,0.0005"],
];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn a_trace_sums_exactly_and_says_who_was_touched() {
    let place = Place::frozen();
    let before = place.bytes();
    let traced = place.json(&["trace", "--airdrop", "1"]);
    let amount = |value: &Value| text(value).parse::<rust_decimal::Decimal>().unwrap();
    let rows = traced["recipients"].as_array().unwrap().iter().chain(traced["totals"].as_array().unwrap());
    for row in rows {
        let parts = ["available", "held", "sold", "withdrawn", "transferred", "fees", "set_off"];
        let sum: rust_decimal::Decimal = parts.iter().map(|part| amount(&row[*part])).sum();
        assert_eq!((sum, row["sums_exactly"].as_bool()), (amount(&row["credited"]), Some(true)), "{row}");
    }
    assert_eq!((&traced["totals"][0]["credited"], &traced["totals"][0]["accounts"]), (&"0.0005".into(), &4.into()));
    assert_eq!((&traced["recipients"][3]["account"], &traced["sums_exactly"]), (&4.into(), &true.into()));
    assert_eq!(traced["flows"][0]["by"], "transferred");
    assert!(traced["flows"].as_array().unwrap().iter().any(|flow| flow["to"] == "EXTERNAL" && flow["hop"] == 2));
    assert_eq!((&traced["poison"]["accounts"], &traced["poison"]["innocent"]), (&12.into(), &8.into()));
    assert!(traced["divergence"]["innocent"].as_u64().unwrap() > 0, "{}", traced["divergence"]);
    // By its sequence the same is found.
    let executed = traced["first"]["sequence"].as_u64().unwrap();
    let range = format!("{}..{executed}", executed - 1);
    assert_eq!(place.json(&["trace", "--seq", &range])["recipients"], traced["recipients"]);
    assert!(place.json(&["trace", "--airdrop", "1", "--quick"])["divergence"]["left_out"].is_string());
    let told = place.fine(&["trace", "--airdrop", "1"]);
    for part in ["sums exactly, to the last unit", "where it went", "poison ", "divergence ", "BTC-USD", "reprise plan"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(place.bytes(), before, "nothing is written");
}

#[test]
fn strategies_are_compared_and_what_is_planned_is_what_was_compared() {
    let place = Place::frozen();
    let before = place.bytes();
    let page = place.path("compared.html");
    let more = ["--pay", "7,USD,0.001234", "--pay", "8,USD,0.0005", "--html", &page];
    let compared = place.json(&[&["plan", "--compare", "--airdrop", "1"], &more[..]].concat());
    let names: Vec<_> = compared["strategies"].as_array().unwrap().iter().map(|row| text(&row["name"])).collect();
    assert_eq!(names, ["rewind", "excise", "bust", "compensate"]);
    assert_eq!((&compared["conserved"], &compared["state_hashes_equal"]), (&true.into(), &true.into()));
    assert_eq!(compared["strategies"][3]["innocent_changed"], 2, "only those who are paid");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("compensate") && !html.contains("<script"), "{html}");
    assert!(html.contains("changes the fewest innocent accounts"), "{html}");
    for (number, arguments) in STRATEGIES.iter().enumerate() {
        let (file, planned) = place.plan(&format!("{number}.plan"), arguments);
        let row = &compared["strategies"][number];
        assert_eq!(planned["state"], row["state_hash"], "{arguments:?}");
        for figure in
            ["accounts_changed", "innocent_changed", "trades_voided", "trades_new", "orders_lost", "shortfall"]
        {
            assert_eq!(planned["outcome"][figure], row[figure], "{arguments:?} {figure}");
        }
        // Made again it is the same plan, and another is not put in its place.
        assert_eq!(place.plan(&format!("{number}.plan"), arguments).1["hash"], planned["hash"]);
        let shown = place.json(&["plan", "show", &file]);
        assert_eq!((&shown["hash"], &shown["standing"]), (&planned["hash"], &"open".into()));
        assert_eq!(shown["strategy"], planned["strategy"]);
        assert!(place.fine(&["plan", "show", &file]).contains("it can be applied, once it is approved"));
    }
    let told = place.fine(&["plan", "--compare", "--airdrop", "1", "--to", "70"]);
    assert!(told.contains("never credited in error") && told.contains("compensate"), "{told}");
    let told = place.fine(&["plan", "excise", "--airdrop", "1", "--out", &place.path("told.plan")]);
    for part in
        ["ExecuteAirdrop airdrop 1", "halt at sequence", "balances changed", "innocent", "two operators sign it"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(place.bytes(), before, "nothing is written");
}

/// A manifest in another asset, and a command in place of another.
#[test]
fn what_was_meant_can_take_the_place_of_what_was_done() {
    let place = Place::frozen();
    let lines = place.path("right.csv");
    std::fs::write(&lines, "account,amount\n1,0.05\n2,0.1\n3,0.15\n").unwrap();
    let (_, planned) = place.plan("right.plan", &["excise", "--replace-airdrop", &format!("1=USD:{lines}")]);
    let replaced = planned["strategy"]["replaced"].as_array().unwrap();
    assert_eq!((replaced.len(), planned["strategy"]["dropped"].as_array().unwrap().len()), (4, 1));
    assert_eq!((&replaced[0]["kind"], &replaced[0]["command"]["total"]), (&"OpenAirdrop".into(), &"0.3".into()));
    assert_eq!((&replaced[0]["command"]["asset"], &replaced[3]["command"]["account"]), (&"USD".into(), &3.into()));
    // What the log prints is what is given back, with another amount.
    let log = place.fine(&["log", "--json", "--kind", "transfer"]);
    let mut line: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    line["command"]["amount"] = "0.00000001".into();
    let sequence = line["sequence"].as_u64().unwrap();
    let file = place.path("other.json");
    std::fs::write(&file, line.to_string()).unwrap();
    let (file, planned) = place.plan("other.plan", &["bust", "--replace", &format!("{sequence}={file}")]);
    assert_eq!(planned["strategy"]["replaced"][0]["command"], line["command"]);
    assert!(place.fine(&["plan", "show", &file]).contains("by Transfer A4 to A9 0.00000001 BTC"));
    // A fact goes with a reason, which is signed with the plan.
    let deposit: Value =
        serde_json::from_str(place.fine(&["log", "--json", "--kind", "deposit"]).lines().last().unwrap()).unwrap();
    let deposit = deposit["sequence"].to_string();
    let reason = format!("{deposit}=the bank took it back");
    let (file, planned) = place.plan("fact.plan", &["compensate", "--drop", &deposit, "--not-a-fact", &reason]);
    assert_eq!(planned["strategy"]["dropped"][0]["not_a_fact"], "the bank took it back");
    assert!(place.fine(&["plan", "show", &file]).contains("(no fact: the bank took it back)"));
    // Innocents are paid what they lost.
    let treasury = r#"{"kind": "FundTreasury", "asset": "USD", "amount": "1000", "external_id": "f00d"}"#;
    place.submit(treasury);
    let (_, planned) = place.plan("victims.plan", &["excise", "--airdrop", "1"]);
    assert_eq!(planned["preview"], false, "a fact after the halt changes nothing of it");
    let _ = place.fine(&["reopen", "open", "--without-repair", "--cause", "1"]);
    place.fine(&["freeze", "--cause", "1"]);
    let (_, planned) = place.plan("paid.plan", &["compensate", "--airdrop", "1", "--pay-victims", "USD"]);
    assert!(!planned["strategy"]["payments"].as_array().unwrap().is_empty(), "{planned}");
}

/// Everything that an operator does, for each strategy.
#[test]
fn a_mistake_is_taken_back_from_the_command_line() {
    for (number, arguments) in STRATEGIES.iter().enumerate() {
        let place = Place::after_the_airdrop();
        let register = |number: u16, name: &str| {
            let key = place.path(name);
            let made = place.json(&["operator", "keygen", "--id", &number.to_string(), "--out", &key]);
            let mut register = made["register"].clone();
            (register["command"]["first"], register["command"]["second"]) = (1.into(), 2.into());
            assert_eq!(place.submit(&register.to_string())["commands"][0]["refused"], Value::Null);
            key
        };
        // A new operator, for whom two vouch, in time.
        let key = register(5, "five.key");
        place.fine(&["freeze", "--cause", "1"]);
        let frozen = place.json(&["freeze", "--cause", "1"]);
        assert_eq!((&frozen["already"], &frozen["halt"]), (&true.into(), &place.now().last_sequence().0.into()));

        // Another one, too late to sign for this halt; and a deposit arrives: both are facts.
        let (plan, planned) = place.plan("repair.plan", arguments);
        let late = register(6, "six.key");
        let (code, _, errors) = place.run(&["approve", &plan, "--key", &late]);
        assert!(code == 1 && errors.contains("registered behind the halt"), "{code}: {errors}");
        place.submit(r#"{"kind": "Deposit", "account": "A6", "asset": "USD", "amount": "3.5", "external_id": "beef"}"#);

        let told = place.fine(&["approve", &plan, "--key", &key]);
        assert!(told.contains("signed      by operator 5") && told.contains("1 of 2 approvals"), "{told}");
        let told =
            place.json(&["approve", &plan, "--key", &place.path("1.key"), "--operator", "1", "--expires-in", "1h"]);
        assert_eq!((&told["approvals"], &told["checked"]), (&2.into(), &true.into()));

        let applied = place.json(&["apply", &plan]);
        assert_eq!((&applied["epoch"], &applied["already"]), (&2.into(), &false.into()));
        assert_eq!(applied["plan"], planned["hash"]);
        let after = place.bytes();
        for more in [&["apply", &plan][..], &["apply", &plan, "--approval", &place.path("nowhere")]] {
            let again = place.json(more);
            assert_eq!((&again["already"], &again["sequence"]), (&true.into(), &applied["sequence"]));
        }
        assert!(place.fine(&["apply", &plan]).contains("already"));
        assert_eq!(place.bytes(), after, "nothing is written again");
        assert_eq!(place.json(&["plan", "show", &plan])["standing"], "applied");

        let verified = place.json(&["verify", "--deep"]);
        let epoch = &verified["epochs"][0];
        assert_eq!((&epoch["plan"], &epoch["state_hash"]), (&planned["hash"], &applied["state"]));
        assert_eq!((&epoch["approvers"], &epoch["epoch_file"]), (&serde_json::json!([1, 5]), &true.into()));
        assert!(place.fine(&["verify"]).contains("the signatures under it are good"));
        assert_eq!(verified["state_hash"], place.now().state_hash().to_string());

        // Still frozen: step by step.
        let order = |account: u32, side: &str, price: &str| {
            format!(
                r#"{{"kind": "PlaceLimit", "account": {account}, "market": "BTC-USD", "side": "{side}", "limit_type": "gtc", "price": "{price}", "quantity": "0.000001"}}"#
            )
        };
        let refused = |command: &str, reason: &str| {
            let (code, _, errors) = place.run(&["submit", "--cause", "session:3", "--command", command]);
            assert_eq!(code, 1, "{errors}");
            assert!(errors.contains(reason), "{number}: {errors}");
        };
        refused(&order(10, "buy", "28500"), "market_halted");
        place.fine(&["reopen", "cancel-only", "--cause", "1"]);
        refused(&order(10, "buy", "28500"), "market_cancel_only");
        assert!(place.fine(&["reopen", "auction", "--cause", "1"]).contains("reprise reopen open"));
        place.submit(&order(10, "buy", "33000"));
        place.submit(&order(11, "sell", "26970"));
        let again = place.json(&["reopen", "auction", "--market", "BTC-USD", "--cause", "1"]);
        assert_eq!(again["indicative"][0]["market"], "BTC-USD", "{again}");
        place.fine(&["reopen", "open", "--market", "btc-usd", "--cause", "operator:1"]);
        let opened = place.json(&["reopen", "open", "--cause", "1"]);
        let events = opened["commands"][0]["events"].as_array().unwrap();
        assert!(events.iter().any(|event| event["kind"] == "AuctionUncrossed"), "{opened}");
        // And on it goes.
        place.submit(&order(11, "sell", "32700"));
        let traded = place.submit(&order(10, "buy", "33000"));
        let filled = traded["commands"][0]["events"].as_array().unwrap().iter().any(|event| event["kind"] == "Filled");
        assert!(filled, "{traded}");
        let verified = place.json(&["verify"]);
        assert_eq!((&verified["sound"], &verified["epoch"]), (&true.into(), &2.into()));
        place.now().check_invariants().unwrap();
    }
}

/// An exchange from its first command on, written and read back by the tool alone.
#[test]
fn a_history_is_submitted_as_it_was_listed() {
    let place = Place::frozen();
    let log = place.fine(&["log", "--json", "--from", "3"]);
    let file = place.path("log.json");
    std::fs::write(&file, &log).unwrap();
    let other = Place { directory: tempfile::tempdir().unwrap() };
    let mut inline = super::open(&other.data());
    for command in &world::setup()[..2] {
        inline.submit(Cause::operator(1), *command).unwrap();
    }
    inline.close().unwrap();
    let (code, _, errors) = other.run(&["submit", "--cause", "7", "--keep-going", "--command", &file]);
    assert_eq!(code, i32::from(log.contains("\"refused\":\"")), "{errors}");
    let (one, two) = (place.now(), other.now());
    assert_eq!(one.last_sequence(), two.last_sequence());
    assert_eq!(one.accounts().collect::<Vec<_>>(), two.accounts().collect::<Vec<_>>());
    assert_eq!(one.withdrawals(), two.withdrawals());
}

#[test]
fn an_epoch_whose_parent_was_pruned_is_told_as_such() {
    let place = Place::after_the_airdrop();
    let pipeline = place.open_pipeline();
    pipeline.freeze(Cause::operator(1)).unwrap();
    pipeline.shutdown().unwrap();
    let (file, _) = place.plan("repair.plan", &["bust", "--airdrop", "1"]);
    let plan = Plan::read_file(file).unwrap();
    let storage = super::once_free(|| FileStorage::lock(place.data()));
    let options = Options { segment_bytes: SEGMENT_BYTES, ..Options::default() };
    apply_to(&storage, &options, &plan, &world::approve(&plan), Timestamp(1), &|_| ()).unwrap();
    drop(storage);
    let grow = |from: u32, to: u32| {
        let pipeline = place.open_pipeline();
        let open = Command::SetGlobalStatus { status: TradingStatus::Open };
        pipeline.operator(Cause::operator(1)).unwrap().execute(open).unwrap();
        let mut gateway = pipeline.gateway(Cause::session(1)).unwrap();
        for account in (from..to).map(AccountId) {
            while gateway.submit(Command::CreateAccount { account }).is_err() {
                std::thread::yield_now();
            }
        }
        pipeline.shutdown().unwrap();
        place.fine(&["snapshot"]);
    };
    for first in [1_000, 81_000, 161_000, 241_000] {
        grow(first, first + 80_000);
    }
    assert_eq!(place.json(&["verify"])["epochs"][0]["epoch"], 2);
    let pruned = place.json(&["prune", "--first-segment"]);
    assert!(!pruned["removed_segments"].as_array().unwrap().is_empty(), "{pruned}");
    let verified = place.json(&["verify"]);
    assert_eq!((&verified["sound"], &verified["epoch"]), (&true.into(), &2.into()));
    assert_eq!((&verified["epochs"], &verified["epochs_not_verified"]), (&Value::Array(Vec::new()), &1.into()));
    assert!(place.fine(&["verify"]).contains("1 more was not verified: what came before was pruned"));
}
