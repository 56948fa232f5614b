//! What `show` says of payouts: operators, airdrops, controls, limits, reserves and debts.

use std::{cmp::Reverse, collections::BTreeMap};

use engine::{
    exchange::{Airdrop, Exchange},
    types::{AccountId, AirdropId, Amount, AssetId, Gate, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    names::{self, Names},
    output::{Output, count, grouped},
    show::section,
};

/// Debts that are listed for people; programs get all.
const DEBTS_LISTED: usize = 20;

/// What an airdrop's state is called.
pub const fn airdrop_state(airdrop: &Airdrop) -> &'static str {
    use engine::exchange::AirdropState::{Approved, Cancelled, Executed, Open};
    match airdrop.state {
        Open => "open",
        Approved => "approved",
        Executed => "executed",
        Cancelled => "cancelled",
    }
}

/// All of it, for programs.
pub fn json(exchange: &Exchange, names: &Names) -> Value {
    let operators = exchange.operators().map(|(id, operator)| {
        json!({ "operator": id.0, "key": operator.key.to_string(), "registered": operator.registered })
    });
    let airdrops = exchange.airdrops().map(|(id, airdrop)| airdrop_json(names, id, airdrop));
    let protection = exchange.assets().map(|spec| {
        let asset = spec.asset;
        let amount = |amount: Amount| names.amount(asset, amount.0.into());
        let limit = |limit: Amount| (!limit.is_zero()).then(|| amount(limit));
        let limits = exchange.airdrop_limits(asset);
        let velocity = exchange.payout_velocity(asset).map(|velocity| {
            json!({
                "amount_max": amount(velocity.amount_max), "window_seconds": velocity.window_seconds,
                "requested": amount(velocity.requested),
            })
        });
        json!({
            "asset": names.asset(asset), "withdrawals": exchange.withdrawals_gate(asset).to_string(),
            "liabilities": amount(exchange.liabilities(asset)),
            "attested_reserves": exchange.attested_reserves(asset).map(amount),
            "airdrop_recipient_max": limit(limits.recipient_max), "airdrop_max": limit(limits.airdrop_max),
            "airdrop_day_max": limit(limits.day_max), "payout_velocity": velocity,
        })
    });
    json!({
        "controls": exchange.controls().to_string(),
        "operators": operators.collect::<Vec<_>>(),
        "airdrops": airdrops.collect::<Vec<_>>(),
        "protection": protection.collect::<Vec<_>>(),
        "receivables": exchange.receivables().map(|debt| debt_json(names, debt)).collect::<Vec<_>>(),
    })
}

fn airdrop_json(names: &Names, id: AirdropId, airdrop: &Airdrop) -> Value {
    json!({
        "airdrop": id.0, "state": airdrop_state(airdrop), "asset": names.asset(airdrop.asset),
        "total": names.amount(airdrop.asset, airdrop.total.0.into()), "lines": airdrop.lines_announced,
        "hash": airdrop.hash.to_string(), "author": airdrop.author.0,
        "approver": (airdrop.approver.0 != 0).then_some(airdrop.approver.0), "lock_seconds": airdrop.lock_seconds,
        "opened": airdrop.opened.0, "executed": (airdrop.executed.0 != 0).then_some(airdrop.executed.0),
        "locked_until": (airdrop.locked_until.0 != 0).then(|| names::time(airdrop.locked_until)),
        "source": (airdrop.source.0 != 0).then(|| names::account(airdrop.source)),
    })
}

fn debt_json(names: &Names, (account, asset, amount): (AccountId, AssetId, Amount)) -> Value {
    json!({ "account": account.0, "asset": names.asset(asset), "owed": names.amount(asset, amount.0.into()) })
}

/// All of it, for people; what an exchange does not use is not shown.
pub fn text(exchange: &Exchange, names: &Names, output: &mut Output) -> Result<(), Failure> {
    output.line("")?;
    output.line(format!("preventive controls: {}", exchange.controls()))?;
    protection(exchange, names, output)?;
    let operators: Vec<_> = exchange
        .operators()
        .map(|(id, operator)| {
            let state = if operator.registered { "registered" } else { "revoked" };
            vec![id.0.to_string(), state.to_owned(), operator.key.to_string()]
        })
        .collect();
    if !operators.is_empty() {
        output.line("")?;
        section(output, "operators", &[">number", "state", "public key"], operators)?;
    }
    let airdrops: Vec<_> = exchange
        .airdrops()
        .map(|(id, airdrop)| {
            let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
            let source = if airdrop.source.0 == 0 { String::new() } else { names::account(airdrop.source) };
            vec![
                id.0.to_string(),
                airdrop_state(airdrop).to_owned(),
                format!("{} {}", amount(names, airdrop.asset, airdrop.total), names.asset(airdrop.asset)),
                count(airdrop.lines_announced.into()),
                airdrop.author.0.to_string(),
                number(airdrop.approver.0.into()),
                number(airdrop.executed.0),
                source,
            ]
        })
        .collect();
    if !airdrops.is_empty() {
        let titles = [">number", "state", ">total", ">lines", ">author", ">approver", ">executed at", "from"];
        output.line("")?;
        section(output, "airdrops", &titles, airdrops)?;
    }
    debts(exchange, names, output)
}

fn amount(names: &Names, asset: AssetId, amount: Amount) -> String {
    grouped(&names.amount(asset, amount.0.into()))
}

fn protection(exchange: &Exchange, names: &Names, output: &mut Output) -> Result<(), Failure> {
    let rows: Vec<_> = exchange
        .assets()
        .filter_map(|spec| {
            let asset = spec.asset;
            let limit = |limit: Amount| {
                if limit.is_zero() { "-".to_owned() } else { amount(names, asset, limit) }
            };
            let (attested, velocity) = (exchange.attested_reserves(asset), exchange.payout_velocity(asset));
            let (limits, gate) = (exchange.airdrop_limits(asset), exchange.withdrawals_gate(asset));
            let limited = [limits.recipient_max, limits.airdrop_max, limits.day_max];
            let used = attested.is_some() || velocity.is_some() || gate == Gate::Closed;
            if !used && limited.iter().all(|limit| limit.is_zero()) {
                return None;
            }
            let mut row = vec![names.asset(asset), amount(names, asset, exchange.liabilities(asset))];
            row.push(attested.map_or_else(|| "-".to_owned(), |attested| amount(names, asset, attested)));
            row.extend(limited.map(limit));
            row.push(velocity.map_or_else(
                || "-".to_owned(),
                |velocity| format!("{} in {} s", amount(names, asset, velocity.amount_max), velocity.window_seconds),
            ));
            row.push(gate.to_string());
            Some(row)
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let titles = [
        "asset",
        ">liabilities",
        ">attested",
        ">to a recipient",
        ">an airdrop",
        ">a day",
        ">withdrawals at most",
        "withdrawals",
    ];
    output.line("")?;
    section(output, "reserves and limits (- is none)", &titles, rows)
}

fn debts(exchange: &Exchange, names: &Names, output: &mut Output) -> Result<(), Failure> {
    let mut debts: Vec<_> = exchange.receivables().collect();
    if debts.is_empty() {
        return Ok(());
    }
    debts.sort_by_key(|(account, asset, amount)| (*asset, Reverse(*amount), *account));
    let rows = debts.iter().take(DEBTS_LISTED).map(|(account, asset, owed)| {
        vec![names::account(*account), format!("{} {}", amount(names, *asset, *owed), names.asset(*asset))]
    });
    output.line("")?;
    section(output, "owed by accounts", &["account", ">owes"], rows.collect())?;
    if debts.len() > DEBTS_LISTED {
        output.line(format!("  and {} more: --json lists all", count((debts.len() - DEBTS_LISTED) as u64)))?;
    }
    Ok(())
}

/// What an account owes.
pub fn owed_by(exchange: &Exchange, account: AccountId) -> Vec<(AssetId, Amount)> {
    let debts = exchange.receivables().filter(|(debtor, ..)| *debtor == account);
    debts.map(|(_, asset, amount)| (asset, amount)).collect()
}

/// What an account was credited and is still locked: the airdrop, the asset, how much, and until when.
pub fn locked(exchange: &Exchange, account: AccountId) -> Vec<(AirdropId, AssetId, Amount, Timestamp)> {
    let locked = exchange.airdrops().filter(|(_, airdrop)| airdrop.is_locked());
    let lines = locked.flat_map(|(id, airdrop)| airdrop.lines.iter().map(move |line| (id, airdrop, line)));
    lines
        .filter(|(_, _, (of, _))| *of == account)
        .map(|(id, airdrop, (_, amount))| (id, airdrop.asset, *amount, airdrop.locked_until))
        .collect()
}

/// All that can be compared of it between two moments: what it is, and how it stands, in words.
pub fn standings(exchange: &Exchange, names: &Names) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    all.insert("preventive controls".to_owned(), exchange.controls().to_string());
    for (id, operator) in exchange.operators() {
        let state = if operator.registered { "registered" } else { "revoked" };
        all.insert(id.to_string(), format!("{state}, key {}", operator.key));
    }
    for (id, airdrop) in exchange.airdrops() {
        let total = format!("{} {}", amount(names, airdrop.asset, airdrop.total), names.asset(airdrop.asset));
        all.insert(id.to_string(), format!("{}, {total} in {} lines", airdrop_state(airdrop), airdrop.lines_announced));
    }
    for spec in exchange.assets() {
        let (asset, symbol) = (spec.asset, names.asset(spec.asset));
        if let Some(attested) = exchange.attested_reserves(asset) {
            all.insert(format!("reserves of {symbol}"), amount(names, asset, attested));
        }
        if exchange.withdrawals_gate(asset) == Gate::Closed {
            all.insert(format!("withdrawals of {symbol}"), "closed".to_owned());
        }
        if let Some(velocity) = exchange.payout_velocity(asset) {
            let most = amount(names, asset, velocity.amount_max);
            all.insert(format!("withdrawals of {symbol} at most"), format!("{most} in {} s", velocity.window_seconds));
        }
        let limits = exchange.airdrop_limits(asset);
        let parts =
            [(limits.recipient_max, "a recipient"), (limits.airdrop_max, "an airdrop"), (limits.day_max, "a day")];
        let parts = parts.iter().filter(|(most, _)| !most.is_zero());
        let parts: Vec<_> = parts.map(|(most, of)| format!("{} {of}", amount(names, asset, *most))).collect();
        if !parts.is_empty() {
            all.insert(format!("airdrops of {symbol} at most"), parts.join(", "));
        }
    }
    all
}
