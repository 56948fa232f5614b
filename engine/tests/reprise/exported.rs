//! What is exported and listed of a history with everything in it, held against the exchange's own state.

use std::{collections::BTreeMap, path::Path};

use engine::{
    exchange::Exchange,
    types::{Cause, Side},
};
use serde_json::Value;

use super::{
    incident, json,
    model::streams::{self, Kind},
    open, reprise, text,
};

/// Exports a directory to SQLite, and holds all that is in it against the state.
fn check_export(directory: &Path, exchange: &Exchange, more: impl FnOnce(&rusqlite::Connection)) {
    let out = tempfile::tempdir().unwrap();
    let (file, csv) = (out.path().join("audit.sqlite"), out.path().join("csv"));
    text(directory, &["export", "--sqlite", file.to_str().unwrap(), "--csv", csv.to_str().unwrap()]);
    let sql = rusqlite::Connection::open(&file).unwrap();
    let number = |query: &str| {
        sql.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap_or_else(|error| panic!("{query}: {error}"))
    };
    assert_eq!(number("SELECT count(*) FROM v_ledger_check WHERE total <> 0"), 0);

    // The entries alone lead to the balances that the exchange has.
    let mut summed: BTreeMap<(u32, u16), (i64, i64)> = BTreeMap::new();
    let mut unbalanced: BTreeMap<(i64, u16), i128> = BTreeMap::new();
    let mut rows = sql
        .prepare("SELECT account, asset, bucket, delta, sequence FROM ledger_entries ORDER BY sequence, event")
        .unwrap();
    let mut rows = rows.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (account, asset, delta): (u32, u16, i64) = (row.get(0).unwrap(), row.get(1).unwrap(), row.get(3).unwrap());
        let entry = summed.entry((account, asset)).or_default();
        match row.get::<_, String>(2).unwrap().as_str() {
            "held" => entry.1 += delta,
            _ => entry.0 += delta,
        }
        *unbalanced.entry((row.get(4).unwrap(), asset)).or_default() += i128::from(delta);
    }
    unbalanced.retain(|_, sum| *sum != 0);
    assert_eq!(unbalanced, BTreeMap::new(), "entries that do not sum to zero");
    summed.retain(|_, balance| *balance != (0, 0));
    assert_eq!(summed, incident::balances(exchange));
    let mut written: BTreeMap<(u32, u16), (i64, i64)> = BTreeMap::new();
    let mut rows = sql.prepare("SELECT account, asset, available + system, held FROM balances").unwrap();
    let mut rows = rows.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        written.insert((row.get(0).unwrap(), row.get(1).unwrap()), (row.get(2).unwrap(), row.get(3).unwrap()));
    }
    assert_eq!(written, incident::balances(exchange));

    // What is owed is what the exchange has as an asset.
    let mut owed: BTreeMap<i64, i128> = BTreeMap::new();
    let mut rows = sql.prepare("SELECT asset, owed FROM receivables").unwrap();
    let mut rows = rows.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        *owed.entry(row.get(0).unwrap()).or_default() += i128::from(row.get::<_, i64>(1).unwrap());
    }
    let receivables = exchange.assets().map(|spec| {
        let system = exchange.system_balances(spec.asset).unwrap();
        (i64::from(spec.asset.0), -system[3])
    });
    assert_eq!(owed, receivables.filter(|(_, owed)| *owed != 0).collect());
    let shortfalls = exchange.withdrawals().into_iter().filter(|(_, known)| !known.shortfall.is_zero()).count();
    assert_eq!(number("SELECT count(*) FROM withdrawals WHERE shortfall > 0"), shortfalls as i64);

    // Orders are open as in the books.
    let mut open: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for market in exchange.markets() {
        for side in [Side::Buy, Side::Sell] {
            let orders = exchange.queue(market.spec.market, side);
            open.extend(orders.map(|order| (order.order.0 as i64, (order.price.0 as i64, order.quantity.0 as i64))));
        }
    }
    let mut listed = BTreeMap::new();
    let mut rows = sql.prepare("SELECT order_id, price, open FROM orders WHERE status = 'open'").unwrap();
    let mut rows = rows.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        listed.insert(row.get(0).unwrap(), (row.get(1).unwrap(), row.get(2).unwrap()));
    }
    assert_eq!(listed, open);
    assert!(std::fs::read_to_string(csv.join("balances.csv")).unwrap().lines().count() > 1);
    more(&sql);
}

#[test]
fn every_repair_is_exported_as_the_exchange_has_it() {
    let mut kinds = std::collections::BTreeSet::new();
    for number in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        incident::play(directory.path());
        let (plan, applied) = incident::repair(directory.path(), number);
        let exchange = incident::live_on(directory.path());
        kinds.extend(incident::kinds(directory.path()));
        let what = plan.strategy.name();
        check_export(directory.path(), &exchange, |sql| {
            let number = |query: &str| {
                sql.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap_or_else(|error| panic!("{query}: {error}"))
            };
            let corrections = incident::corrections(directory.path(), applied.sequence);
            let count = |kind: &str| corrections.iter().filter(|event| event.kind_name() == kind).count() as i64;
            assert_eq!(number("SELECT count(*) FROM fills WHERE void_since_epoch = 2"), count("FillBusted"), "{what}");
            assert_eq!(number("SELECT count(*) FROM fills WHERE void_since_epoch IS NOT NULL"), count("FillBusted"));
            assert_eq!(number("SELECT count(*) FROM v_epoch_corrections") > 0, count("BalanceCorrected") > 0, "{what}");
            // What an order has traded is what is left of its fills, where no new ones took their place.
            if ["bust", "compensate", "rewind"].contains(&what) {
                let wrong =
                    "SELECT count(*) FROM orders o WHERE filled <> (SELECT coalesce(sum(quantity), 0) FROM fills f
                WHERE void_since_epoch IS NULL AND (f.taker_order = o.order_id OR f.maker_order = o.order_id))";
                assert_eq!(number(wrong), 0, "{what}");
                let wrong =
                "SELECT count(*) FROM orders o WHERE fees <> (SELECT coalesce(sum(CASE WHEN taker_order = o.order_id
                THEN taker_fee ELSE maker_fee END), 0) FROM fills f
                WHERE void_since_epoch IS NULL AND (f.taker_order = o.order_id OR f.maker_order = o.order_id))";
                assert_eq!(number(wrong), 0, "{what}");
            }

            // Each order is shown as it is listed.
            let mut rows = sql.prepare("SELECT order_id, status, filled, fees FROM orders").unwrap();
            let orders: Vec<(i64, String, i64, i64)> = rows
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            for (order, status, filled, fees) in orders.into_iter().filter(|(order, ..)| order % 3 == 0) {
                let shown = json(directory.path(), &["show", "--at", "now", "--order", &order.to_string()]);
                // Lots of 0.0000001, fees in millionths.
                let decimal = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
                assert_eq!(shown["status"], status, "{what}, order {order}");
                assert_eq!((decimal(&shown["filled"]) * 1e7).round() as i64, filled, "{what}, order {order}");
                assert_eq!((decimal(&shown["fees"]) * 1e6).round() as i64, fees, "{what}, order {order}");
            }
        });
        check_listing(directory.path(), applied.sequence.0, what);
    }
    for kind in [
        "EpochStarted",
        "FillBusted",
        "BalanceCorrected",
        "OrderVoided",
        "OrderRestored",
        "WithdrawalCorrected",
        "ReceivableCorrected",
        "EpochReady",
        "AuctionUncrossed",
        "AirdropUnlocked",
        "AirdropCancelled",
        "SetOffDone",
        "WithdrawalFailed",
        "TreasuryFunded",
        "OperatorRevoked",
        "PlanPartAdded",
    ] {
        assert!(kinds.contains(kind), "{kind} is in no history");
    }
}

/// Lists, shows and compares the whole of it.
fn check_listing(directory: &Path, record: u64, what: &str) {
    let lines = text(directory, &["log", "--events"]);
    for part in [
        "RegisterOperator operator 1 with key",
        "RevokeOperator operator 4 vouched for by operator 1 and operator 2",
        "-> 4 accounts credited",
        "-> 2 accounts credited",
        "FundTreasury 0.5 USD ref",
        "SetPayoutVelocity BTC at most 0.01 BTC in 3,600 s",
        "SetAssetWithdrawals BTC withdrawals closed",
        ", uncrossed on BTC-USD ",
        "REFUSED zero_price",
        "-> epoch 2:",
        "EpochReady 2 state",
        "AirdropUnlocked",
    ] {
        assert!(lines.contains(part), "{what}: {part}: {lines}");
    }
    assert!(!lines.contains("minor units"), "{what}: {lines}");
    // A refusal counts, whatever timers fired ahead of it.
    let refused = text(directory, &["log", "--refused", "zero_price", "--json"]);
    let refused: Value = serde_json::from_str(refused.trim()).unwrap();
    assert_eq!((&refused["refused"], &refused["events"][0]["kind"]), (&"zero_price".into(), &"AirdropUnlocked".into()));

    let before = (record - 1).to_string();
    let diff = json(directory, &["diff", "--from", &before, "--to", &record.to_string()]);
    assert!(diff["totals"].as_array().unwrap().iter().all(|total| total["sum"] == "0"), "{what}: {diff:#}");
    if what == "compensate" {
        let debts = diff["debts"].as_array().unwrap();
        assert!(!debts.is_empty() && debts.iter().all(|debt| debt["before"] == "0"), "{diff:#}");
    }
    let diff = json(directory, &["diff", "--from", "60"]);
    let statuses = diff["statuses"].as_array().unwrap();
    for what in ["airdrop 1", "airdrop 20", "reserves of USD"] {
        assert!(statuses.iter().any(|status| status["what"] == what), "{what}: {diff:#}");
    }
    text(directory, &["diff", "--from", &before]);
    let shown = text(directory, &["show", "--at", &before]);
    for part in ["frozen", "operators", "airdrops", "reserves and limits"] {
        assert!(shown.contains(part), "{what}: {part}: {shown}");
    }
    let locked = text(directory, &["show", "--at", &before, "--account", "7"]);
    assert!(locked.contains("locked until 2026-11-25T") && locked.contains("0.07 USD"), "{locked}");
}

#[test]
fn a_book_in_auction_tells_the_price_it_would_open_at() {
    let directory = tempfile::tempdir().unwrap();
    incident::play(directory.path());
    let (_, applied) = incident::repair(directory.path(), 1);
    incident::live_on(directory.path());
    let at = |behind: u64| (applied.sequence.0 + behind).to_string();
    let book = json(directory.path(), &["show", "--at", &at(3), "--market", "BTC-USD"]);
    assert_eq!(book["status"], "auction");
    let indicative = &book["indicative"];
    assert!(indicative["price"].is_string() && indicative["quantity"].is_string(), "{book:#}");
    assert!(text(directory.path(), &["show", "--at", &at(3), "--market", "0"]).contains("would open at"));
    assert_eq!(json(directory.path(), &["show", "--at", &at(5), "--market", "0"])["indicative"], Value::Null);
}

#[test]
fn random_histories_are_exported_as_the_exchange_has_them() {
    let seeds = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 20 } else { 1 };
    for kind in Kind::ALL {
        for seed in 0..seeds {
            let directory = tempfile::tempdir().unwrap();
            let mut inline = open(directory.path());
            for (sequence, command) in (1..).zip(streams::commands(kind, seed + 40, 500)) {
                // What only a recovery submits is refused here.
                let _ = inline.submit_at(kind.time(sequence), Cause::session(1), command);
            }
            let exchange = inline.close().unwrap();
            check_export(directory.path(), &exchange, |_| ());
            assert_eq!(reprise(directory.path(), &["log", "--events"]).status.code(), Some(0));
        }
    }
}
