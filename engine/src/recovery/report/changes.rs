//! What the chosen strategy changes, line by line and with reasons: balances, orders, withdrawals, debts.

use super::{
    data::{BalanceChange, IncidentReport},
    markup::{Align, Html, Table},
    numbers::{decimal, grouped, signed},
};
use crate::{
    exchange::{Withdrawal, WithdrawalState},
    recovery::OrderFate,
    types::{Amount, AssetId, Side},
};

const NUMBER: Align = Align::Numbers;
const WORDS: Align = Align::Words;

/// All of them.
pub(super) fn changes(html: &mut Html, report: &IncidentReport) {
    let of_credited = "Balances of accounts that were credited in error";
    balances(html, report, of_credited, &report.changes, report.changes_total);
    let of_innocent = "Balances of innocent accounts: never credited in error";
    balances(html, report, of_innocent, &report.innocent_changes, report.innocent_changes_total);
    orders(html, report);
    withdrawals(html, report);
    debts(html, report);
}

/// What a table shows of how many.
fn caption(what: &str, shown: usize, all: u64) -> String {
    if all > shown as u64 {
        format!("{what}: the largest {} of {}", grouped(shown as u64), grouped(all))
    } else {
        format!("{what}: all {}", grouped(shown as u64))
    }
}

fn difference(report: &IncidentReport, asset: AssetId, before: Amount, after: Amount) -> String {
    signed(i128::from(after.0) - i128::from(before.0), report.units.scale(asset), 0)
}

fn amount(report: &IncidentReport, asset: AssetId, amount: Amount) -> String {
    decimal(amount.0.into(), report.units.scale(asset), 0)
}

fn balances(html: &mut Html, report: &IncidentReport, what: &str, changes: &[BalanceChange], all: u64) {
    if changes.is_empty() {
        return;
    }
    let columns = [
        ("account", WORDS),
        ("asset", WORDS),
        ("before", NUMBER),
        ("after", NUMBER),
        ("difference", NUMBER),
        ("why", WORDS),
    ];
    let mut table = Table::begin(html, &caption(what, changes.len(), all), &columns);
    for change in changes {
        table.row(&[
            super::numbers::account(change.account),
            report.units.symbol(change.asset),
            amount(report, change.asset, change.before),
            amount(report, change.asset, change.after),
            difference(report, change.asset, change.before, change.after),
            change.reason.clone(),
        ]);
    }
    table.end();
}

fn orders(html: &mut Html, report: &IncidentReport) {
    if report.orders.is_empty() {
        return;
    }
    let columns = [
        ("order", WORDS),
        ("account", WORDS),
        ("market", WORDS),
        ("side", WORDS),
        ("price", NUMBER),
        ("open before", NUMBER),
        ("open after", NUMBER),
        ("", WORDS),
        ("why", WORDS),
    ];
    let mut table = Table::begin(html, &caption("Orders", report.orders.len(), report.orders_total), &columns);
    for change in &report.orders {
        let market = change.order.market;
        let quantity = |quantity| {
            let (minor, scale) = report.units.quantity(market, quantity);
            decimal(minor, scale, 0)
        };
        table.row(&[
            change.order.order.0.to_string(),
            super::numbers::account(change.order.account),
            report.units.market_name(market),
            match change.order.side {
                Side::Buy => "buy".to_owned(),
                Side::Sell => "sell".to_owned(),
            },
            report.units.price_unit(market).text(change.order.price),
            quantity(change.before),
            quantity(change.after),
            match change.fate {
                OrderFate::Restored => "restored".to_owned(),
                OrderFate::Lost => "lost".to_owned(),
                OrderFate::Requeued => "behind another".to_owned(),
            },
            change.reason.to_string(),
        ]);
    }
    table.end();
}

fn withdrawals(html: &mut Html, report: &IncidentReport) {
    if report.withdrawals.is_empty() {
        return;
    }
    let columns = [
        ("withdrawal", WORDS),
        ("account", WORDS),
        ("amount", NUMBER),
        ("before", WORDS),
        ("after", WORDS),
        ("not covered", NUMBER),
        ("why", WORDS),
    ];
    let all = caption("Withdrawals", report.withdrawals.len(), report.withdrawals_total);
    let mut table = Table::begin(html, &all, &columns);
    let state = |withdrawal: Option<Withdrawal>, none: &str| match withdrawal.map(|it| it.state) {
        None => none.to_owned(),
        Some(WithdrawalState::Requested) => "requested".to_owned(),
        Some(WithdrawalState::Released) => "released".to_owned(),
        Some(WithdrawalState::Sent) => "sent".to_owned(),
        Some(WithdrawalState::Settled) => "settled".to_owned(),
        Some(WithdrawalState::Failed) => "failed".to_owned(),
        Some(WithdrawalState::Cancelled) => "cancelled".to_owned(),
    };
    for change in &report.withdrawals {
        let Some(known) = change.after.or(change.before) else { continue };
        table.row(&[
            change.withdrawal.0.to_string(),
            super::numbers::account(change.account),
            report.units.amount(known.asset, known.amount.0.into()),
            state(change.before, "none"),
            state(change.after, "void"),
            change.after.map_or_else(String::new, |after| amount(report, after.asset, after.shortfall)),
            change.reason.to_string(),
        ]);
    }
    table.end();
}

fn debts(html: &mut Html, report: &IncidentReport) {
    if report.debts.is_empty() {
        return;
    }
    let columns =
        [("account", WORDS), ("asset", WORDS), ("owed before", NUMBER), ("owed after", NUMBER), ("difference", NUMBER)];
    let all = caption("What accounts owe the exchange", report.debts.len(), report.debts_total);
    let mut table = Table::begin(html, &all, &columns);
    for &(account, asset, before, after) in &report.debts {
        table.row(&[
            super::numbers::account(account),
            report.units.symbol(asset),
            amount(report, asset, before),
            amount(report, asset, after),
            difference(report, asset, before, after),
        ]);
    }
    table.end();
}
