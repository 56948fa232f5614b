//! The operator's tool, run as an operator runs it, on a small history written by the test.

mod airdrop;
#[cfg(feature = "sqlite")]
mod exported;
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "the tests of the export use the rest"))]
mod incident;
#[path = "../model/mod.rs"]
mod model;
mod past;
mod refused;
mod statement;
mod taken_back;
#[allow(dead_code, reason = "its other tests use the rest")]
#[path = "../recovery_apply/world.rs"]
mod world;

use std::{
    path::Path,
    process::{Command as Process, Output},
    time::Duration,
};

use engine::{
    command::Command,
    exchange::Exchange,
    journal::Durability,
    pipeline::{Config, Inline, Pipeline},
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId, Price,
        Quantity, Side, Timestamp, WithdrawalId,
    },
};
use serde_json::Value;

const BTC: AssetId = AssetId(0);
const KRW: AssetId = AssetId(1);
const MARKET: MarketId = MarketId(0);
/// 2026-11-25T09:30:00Z.
const BEGUN: u64 = 1_795_599_000_000_000_000;

/// Ticks of 1,000 KRW, lots of 0.01 BTC; a command every second.
fn write_history(directory: &Path) -> Exchange {
    let limit = |account, side, price, quantity, name| Command::PlaceLimit {
        account: AccountId(account),
        market: MARKET,
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(price),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(name),
    };
    let deposit = |account, asset, amount, id| Command::Deposit {
        account: AccountId(account),
        asset,
        amount: Amount(amount),
        external_id: ExternalId::from_u128(id),
    };
    let withdrawal = WithdrawalId(14);
    let (account, asset, amount) = (AccountId(1), KRW, Amount(1_000_000));
    let commands = [
        Command::AddAsset { asset: BTC, symbol: "BTC".parse().unwrap(), scale: 8 },
        Command::AddAsset { asset: KRW, symbol: "KRW".parse().unwrap(), scale: 0 },
        Command::AddMarket {
            market: MARKET,
            base: BTC,
            quote: KRW,
            lot_size: Amount(1_000_000),
            tick_value: Amount(10),
            maker_rate: FeeRate(50),
            taker_rate: FeeRate(100),
        },
        Command::CreateAccount { account: AccountId(1) },
        Command::CreateAccount { account: AccountId(2) },
        deposit(1, KRW, 500_000_000, 1),
        deposit(2, BTC, 300_000_000, 2),
        limit(2, Side::Sell, 95_000, 100, 0),
        limit(2, Side::Sell, 95_000, 50, 7),
        limit(1, Side::Buy, 95_000, 120, 0),
        limit(1, Side::Buy, 94_000, 100, 0),
        limit(1, Side::Buy, 94_000, 1_000_000, 0),
        Command::CancelOrder { account: AccountId(1), order: OrderId(11) },
        Command::RequestWithdrawal { account, asset, amount },
        Command::ReleaseWithdrawal { withdrawal, account, asset, amount },
        Command::ConfirmWithdrawalSent { withdrawal, external_id: ExternalId::from_u128(0xabc) },
        Command::SuspendAccount { account: AccountId(2) },
    ];
    let mut inline = open(directory);
    for (second, command) in (0..).zip(commands) {
        let cause = if second < 5 { Cause::operator(1) } else { Cause::session(3) };
        inline.submit_at(Timestamp(BEGUN + second * 1_000_000_000), cause, command).unwrap();
        inline.commit(&mut |_| {}).unwrap();
    }
    inline.close().unwrap()
}

/// Tries again while the directory is in use: a process that another test starts has the lock, too, until it has become the
/// tool.
fn once_free<T, E: std::fmt::Display>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    for _ in 0..500 {
        match attempt() {
            Ok(done) => return done,
            Err(error) if error.to_string().contains("is in use by") => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the directory stays in use")
}

fn open(directory: &Path) -> Inline {
    once_free(|| Inline::open(directory, Durability::None))
}

fn reprise(directory: &Path, arguments: &[&str]) -> Output {
    let mut process = Process::new(env!("CARGO_BIN_EXE_reprise"));
    process.arg("--data").arg(directory).args(arguments).output().unwrap()
}

fn text(directory: &Path, arguments: &[&str]) -> String {
    let output = reprise(directory, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(directory: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(directory, &[arguments, &["--json"]].concat())).unwrap()
}

#[test]
fn verify_says_what_it_found() {
    let directory = tempfile::tempdir().unwrap();
    let exchange = write_history(directory.path());
    for arguments in [&["verify"][..], &["verify", "--deep", "--check-every", "3"]] {
        let found = json(directory.path(), arguments);
        assert_eq!(found["commands"], 17);
        assert_eq!(found["state_hash"], exchange.state_hash().to_string());
        assert_eq!(found["tail"]["state"], "clean");
        assert!(text(directory.path(), arguments).contains("17 in "));
    }
}

#[test]
fn damage_is_exit_code_3_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    write_history(directory.path());
    let segment = directory.path().join("00000000.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[512 * 4 + 100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let output = reprise(directory.path(), &["verify"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("00000000.segment at byte") && errors.contains("after sequence"), "{errors}");

    // The loss is accepted only by who knows what is lost, and is on record.
    let good: u64 = errors.split("after sequence ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    let accept = |after: u64| {
        let after = after.to_string();
        reprise(directory.path(), &["accept-loss", "--after", &after, "--reason", "no copy was kept"])
    };
    assert_eq!(accept(good - 1).status.code(), Some(1));
    assert!(accept(good).status.success());
    assert_eq!(json(directory.path(), &["verify"])["sequence"], good);
    assert_eq!(accept(good).status.code(), Some(1), "nothing is damaged any more");
    let record = std::fs::read_to_string(directory.path().join("ACCEPTED-LOSSES")).unwrap();
    assert!(record.contains("no copy was kept"), "{record}");
}

#[test]
fn the_log_lists_and_filters() {
    let directory = tempfile::tempdir().unwrap();
    write_history(directory.path());
    let sequences = |arguments: &[&str]| -> Vec<u64> {
        let lines = text(directory.path(), &[&["log", "--json"], arguments].concat());
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences(&[]), (1..=17).collect::<Vec<_>>());
    assert_eq!(sequences(&["--from", "3", "--to", "1:5"]), [3, 4, 5]);
    assert_eq!(sequences(&["--from", "2026-11-25T09:30:14Z", "--limit", "2"]), [15, 16]);
    assert_eq!(sequences(&["--to", "2026-11-25T18:30:01.5+09:00"]), [1, 2]);
    assert_eq!(sequences(&["--refused"]), [12]);
    assert_eq!(sequences(&["--refused", "would_trade"]), [0; 0]);
    assert_eq!(sequences(&["--cause", "operator:1"]), [1, 2, 3, 4, 5]);
    assert_eq!(sequences(&["--kind", "filled"]), [10]);
    assert_eq!(sequences(&["--kind", "place-limit", "--account", "2"]), [8, 9, 10]);
    assert_eq!(sequences(&["--order", "8"]), [8, 10]);
    assert_eq!(sequences(&["--market", "btc-krw", "--from", "13"]), [13]);
    assert_eq!(sequences(&["--asset", "KRW", "--from", "14"]), [14, 15]);
    let lines = text(directory.path(), &["log", "--events", "--from", "10", "--to", "12"]);
    assert!(lines.contains("PlaceLimit A1 buy 1.2 BTC @ 95,000,000 KRW on BTC-KRW gtc  -> 2 fills"), "{lines}");
    assert!(lines.contains("2026-11-25T09:30:09.000000000Z  session 3"), "{lines}");
    assert!(lines.contains("REFUSED insufficient_available"), "{lines}");
}

#[test]
fn any_moment_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let exchange = write_history(directory.path());
    let now = json(directory.path(), &["show", "--at", "now"]);
    assert_eq!(now["state_hash"], exchange.state_hash().to_string());
    assert_eq!(now["at"]["sequence"], 17);
    let account = json(directory.path(), &["show", "--at", "9", "--account", "2"]);
    assert_eq!(account["balances"][0]["held"], "1.5");
    assert_eq!(account["open_orders"].as_array().unwrap().len(), 2);
    let order = json(directory.path(), &["show", "--at", "9", "--order", "9"]);
    assert_eq!((&order["status"], &order["queue"]["orders_ahead"]), (&"open".into(), &1.into()));
    let order = json(directory.path(), &["show", "--at", "now", "--order", "8"]);
    assert_eq!((&order["status"], &order["ended"]["sequence"]), (&"filled".into(), &10.into()));
    let book = json(directory.path(), &["show", "--at", "11", "--market", "BTC-KRW"]);
    assert_eq!((&book["asks"][0]["quantity"], &book["bids"][0]["price"]), (&"0.3".into(), &"94000000".into()));
    let book = json(directory.path(), &["show", "--at", "9", "--market", "0", "--orders"]);
    assert_eq!((&book["asks"][1]["order"], &book["asks"][1]["position"]), (&9.into(), &2.into()));
    for arguments in
        [&["--account", "1"][..], &["--order", "9"], &["--market", "0"], &["--market", "0", "--orders"], &[]]
    {
        assert!(text(directory.path(), &[&["show", "--at", "11"], arguments].concat()).contains("after sequence 11"));
    }
}

#[test]
fn a_difference_sums_to_zero() {
    let directory = tempfile::tempdir().unwrap();
    write_history(directory.path());
    let diff = json(directory.path(), &["diff", "--from", "9", "--to", "17"]);
    assert!(diff["totals"].as_array().unwrap().iter().all(|total| total["sum"] == "0"), "{diff:#}");
    assert_eq!(diff["orders"]["closed"][0]["order"], 8);
    assert_eq!(diff["orders"]["opened_and_closed"], 2);
    assert_eq!(diff["withdrawals"][0]["state"], "sent");
    let diff = text(directory.path(), &["diff", "--from", "9"]);
    assert!(diff.contains("sums to zero") && diff.contains("suspended"), "{diff}");
}

#[test]
fn what_makes_no_sense_is_told_apart_from_what_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    write_history(directory.path());
    for (arguments, code) in [
        (&["show", "--at", "yesterday"][..], 2),
        (&["show", "--at", "-5"], 2),
        (&["log", "--kind", "nothing"], 2),
        (&["log", "--from", "9", "--to", "3"], 2),
        (&["diff", "--from", "9", "--to", "3"], 2),
        (&["export"], 2),
        (&["show", "--at", "18"], 1),
        (&["show", "--at", "2:5"], 1),
        (&["show", "--at", "17", "--account", "9"], 1),
        (&["show", "--at", "17", "--market", "XRP-KRW"], 1),
        (&["show", "--at", "17", "--order", "12"], 1),
        (&["log", "--asset", "XRP"], 1),
    ] {
        let output = reprise(directory.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(!errors.is_empty() && !errors.contains("panicked"), "{arguments:?}: {errors}");
    }
    assert_eq!(reprise(&directory.path().join("none"), &["verify"]).status.code(), Some(1));
}

#[cfg(feature = "sqlite")]
#[test]
fn the_exported_ledger_balances() {
    let directory = tempfile::tempdir().unwrap();
    let exchange = write_history(directory.path());
    let out = tempfile::tempdir().unwrap();
    let (file, csv) = (out.path().join("audit.sqlite"), out.path().join("csv"));
    let arguments = ["export", "--sqlite", file.to_str().unwrap(), "--csv", csv.to_str().unwrap()];
    assert!(text(directory.path(), &arguments).contains("through sequence 17"));
    assert_eq!(reprise(directory.path(), &arguments).status.code(), Some(1), "nothing is overwritten");
    let sql = rusqlite::Connection::open(&file).unwrap();
    let number = |query: &str| sql.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM v_ledger_check WHERE total = 0"), 2);
    let unbalanced =
        "SELECT count(*) FROM (SELECT 1 FROM ledger_entries GROUP BY sequence, asset HAVING sum(delta) <> 0)";
    assert_eq!(number(unbalanced), 0);
    for account in [1, 2] {
        for (asset, balance) in exchange.account(AccountId(account)).unwrap().balances {
            for (bucket, expected) in [("available", balance.available), ("held", balance.held)] {
                let query = format!(
                    "SELECT coalesce(sum(delta), 0) FROM ledger_entries WHERE account = {account} AND asset = {} AND bucket = '{bucket}'",
                    asset.0
                );
                assert_eq!(number(&query), i64::try_from(expected.0).unwrap(), "{query}");
            }
        }
    }
    for (view, rows) in
        [("v_account_statement", 29), ("v_fees_by_market", 1), ("v_top_balances", 4), ("v_deposits_withdrawals", 3)]
    {
        assert!(number(&format!("SELECT count(*) FROM {view}")) > 0, "{view} of about {rows}");
    }
    assert!(std::fs::read_to_string(csv.join("fills.csv")).unwrap().lines().count() == 3);
}

#[test]
fn snapshots_are_made_and_verified_and_what_they_replace_can_be_pruned() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        Config { durability: Durability::None, segment_bytes: 2 << 20, snapshot_every: None, ..Config::default() };
    let grow = |from: u32, to: u32| {
        let pipeline = once_free(|| Pipeline::open(directory.path(), config.clone()));
        let mut gateway = pipeline.gateway(Cause::session(1)).unwrap();
        for account in (from..to).map(AccountId) {
            while gateway.submit(Command::CreateAccount { account }).is_err() {
                std::thread::yield_now();
            }
        }
        let running = reprise(directory.path(), &["snapshot"]);
        let errors = String::from_utf8_lossy(&running.stderr).into_owned();
        assert_eq!(running.status.code(), Some(1), "{errors}");
        assert!(errors.contains(&std::process::id().to_string()), "names the holder: {errors}");
        pipeline.shutdown().unwrap().exchange
    };
    assert_eq!(reprise(directory.path(), &["snapshot"]).status.code(), Some(1), "nothing is there yet");
    grow(1, 80_000);
    assert_eq!(json(directory.path(), &["snapshot"])["sequence"], 79_999);
    let too_early = reprise(directory.path(), &["prune"]);
    assert_eq!(too_early.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&too_early.stderr).contains("fewer than two good snapshots"));
    grow(80_000, 160_000);
    json(directory.path(), &["snapshot"]);
    let exchange = grow(160_000, 170_000);

    let hash = exchange.state_hash().to_string();
    let verified = json(directory.path(), &["verify", "--deep"]);
    assert_eq!((&verified["state_hash"], &verified["commands"]), (&Value::from(hash.clone()), &Value::from(169_999)));
    assert_eq!(verified["snapshots"], Value::from(vec![79_999, 159_999]));

    let pruned = json(directory.path(), &["prune", "--first-segment"]);
    assert!(!pruned["removed_segments"].as_array().unwrap().is_empty(), "{pruned}");
    let verified = json(directory.path(), &["verify"]);
    assert_eq!(verified["state_hash"], hash);
    assert_eq!(verified["began_with_snapshot"], 79_999);
    assert_eq!(verified["snapshots"], Value::from(vec![159_999]));
    assert!(text(directory.path(), &["show", "--at", "now"]).contains(&hash));
    let gone = reprise(directory.path(), &["show", "--at", "100"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("history begins at sequence"), "{gone:?}");
    assert_eq!(Pipeline::open(directory.path(), config.clone()).unwrap().recovered().state_hash, exchange.state_hash());

    // A snapshot that is no good is found.
    let newest = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest.filter(|path| path.extension().is_some_and(|extension| extension == "snapshot")).max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes[200] ^= 4;
    std::fs::write(&newest, bytes).unwrap();
    let damaged = reprise(directory.path(), &["verify"]);
    assert_eq!(damaged.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("00000000000000159999.snapshot"), "{damaged:?}");
}
