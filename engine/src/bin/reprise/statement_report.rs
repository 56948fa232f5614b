//! How a statement is told: as a letter, and to programs.

use std::collections::BTreeMap;

use engine::{
    recovery::{Difference, Strategy},
    types::{Amount, AssetId},
};
use serde_json::{Value, json};

use crate::{
    failure::{FINE, Failure},
    names::{self, Names},
    output::{Output, grouped},
    statement::{Item, Row, Statement, Touched, amount, date},
};

/// Tells it.
pub fn write(statement: &Statement, names: &Names, output: &mut Output) -> Result<u8, Failure> {
    if output.json {
        output.document(&document(statement, names))?;
    } else {
        letter(statement, names, output)?;
    }
    Ok(FINE)
}

fn signed(names: &Names, asset: AssetId, value: i128) -> String {
    let sign = if value > 0 { "+" } else { "" };
    format!("{sign}{}", amount(names, asset, value))
}

/// The sums of all items.
fn sums(items: &[Item]) -> BTreeMap<AssetId, Difference> {
    let mut sums: BTreeMap<AssetId, Difference> = BTreeMap::new();
    for (asset, change) in items.iter().flat_map(|item| &item.changes) {
        let sum = sums.entry(*asset).or_default();
        (sum.total, sum.owed) = (sum.total + change.total, sum.owed + change.owed);
    }
    sums
}

fn document(statement: &Statement, names: &Names) -> Value {
    let changes = |changes: &BTreeMap<AssetId, Difference>| -> Vec<Value> {
        let change = |(asset, change): (&AssetId, &Difference)| {
            json!({
                "asset": names.asset(*asset), "change": names.amount(*asset, change.total),
                "owed": names.amount(*asset, change.owed),
            })
        };
        changes.iter().map(change).collect()
    };
    let row = |row: &Row| {
        let of = |value: Amount| names.amount(row.asset, value.0.into());
        let difference = row.difference();
        json!({
            "asset": names.asset(row.asset), "before_incident": of(row.at_cut.total), "before": of(row.before.total),
            "change": names.amount(row.asset, difference.total), "after": of(row.after.total), "after_available": of(row.free),
            "owed_before": of(row.before.owed), "owed_change": names.amount(row.asset, difference.owed),
            "owed_after": of(row.after.owed),
        })
    };
    let touched = |touched: &[Touched]| -> Vec<Value> {
        let one = |one: &Touched| json!({ "number": one.number, "fate": one.fate, "what": one.what });
        touched.iter().map(one).collect()
    };
    let items = statement.items.iter().map(|item| {
        json!({
            "kind": item.kind, "sequence": item.place.map(|(sequence, _)| sequence.0),
            "time": item.place.map(|(_, time)| names::time(time)), "what": item.what, "trades": item.trades,
            "changes": changes(&item.changes),
        })
    });
    json!({
        "account": statement.account.0, "applied": statement.applied.is_some(), "preview": statement.preview,
        "epoch": statement.applied.map(|(epoch, ..)| epoch.0),
        "record": statement.applied.map(|(_, sequence, _)| sequence.0),
        "corrected": statement.applied.map(|(.., time)| names::time(time)),
        "strategy": statement.strategy.name(), "plan": statement.plan.to_string(),
        "journal_id": statement.journal_id.to_string(),
        "incident": { "sequence": statement.incident.0.0, "time": names::time(statement.incident.1) },
        "halt": { "sequence": statement.halt.0.0, "time": names::time(statement.halt.1) },
        "balances": statement.rows.iter().map(row).collect::<Vec<_>>(),
        "lines": items.collect::<Vec<_>>(), "sums": changes(&sums(&statement.items)),
        "orders": touched(&statement.orders), "withdrawals": touched(&statement.withdrawals),
        "to_do": statement.advice,
    })
}

/// What was done, in a sentence.
fn what_was_done(statement: &Statement) -> String {
    match &statement.strategy {
        Strategy::Rewind { .. } => format!(
            "Everything from {} on was taken back, but for deposits, for withdrawals that had left, and for orders that their owners had cancelled.",
            date(statement.incident.1)
        ),
        Strategy::Excise(_) => {
            "What was done in error was taken out, or replaced by what was meant, and all orders met again without it.".to_owned()
        }
        Strategy::Bust(_) => {
            "All trades stand that could be paid for without what was credited in error; the others are void.".to_owned()
        }
        Strategy::Compensate { .. } => {
            "All trades stand. What was credited in error is taken back as far as it is still there, and the rest is owed.".to_owned()
        }
    }
}

fn letter(statement: &Statement, names: &Names, output: &mut Output) -> Result<(), Failure> {
    output.line(format!("Statement for account {}", statement.account))?;
    output.line("")?;
    let [incident, halt] = [statement.incident, statement.halt].map(|(_, time)| date(time));
    output.line(format!("On our exchange there was an error at {incident}. Trading was stopped at {halt}."))?;
    match statement.applied {
        Some((.., time)) => output.line(format!("It was put right at {}.", date(time)))?,
        None => {
            output
                .line("THIS IS A DRAFT: what follows has been worked out and not been done. Nothing is changed yet.")?;
        }
    }
    output.line(what_was_done(statement))?;
    output.line("")?;
    if statement.items.is_empty() {
        output.line("The correction changes nothing in your balances.")?;
        output.line("")?;
    }
    let cell = |asset: AssetId, value: i128| grouped(&names.amount(asset, value));
    let rows: Vec<_> = statement
        .rows
        .iter()
        .map(|row| {
            let amounts = [row.at_cut.total, row.before.total].map(|value| cell(row.asset, value.0.into()));
            let [at_cut, before] = amounts;
            let change = row.difference().total;
            let sign = if change > 0 { "+" } else { "" };
            let change = format!("{sign}{}", cell(row.asset, change));
            let [after, free] = [row.after.total, row.free].map(|value| cell(row.asset, value.0.into()));
            vec![names.asset(row.asset), at_cut, before, change, after, free]
        })
        .collect();
    output.line("Your balances")?;
    if rows.is_empty() {
        output.line("  none")?;
    } else {
        let titles =
            ["asset", ">before the error", ">when trading stopped", ">correction", ">after it", ">of that available"];
        output.table(&titles, &rows)?;
    }
    if !statement.items.is_empty() {
        output.line("")?;
        output.line("The correction, line by line (fees included)")?;
        for (number, item) in (1..).zip(&statement.items) {
            line(number, item, names, output)?;
        }
        let sums: Vec<_> = sums(&statement.items)
            .into_iter()
            .filter(|(_, sum)| sum.total != 0)
            .map(|(asset, sum)| signed(names, asset, sum.total))
            .collect();
        let sums = if sums.is_empty() { "nothing".to_owned() } else { sums.join(", ") };
        output.line(format!("  The sum of all lines is {sums}, as in the table above."))?;
    }
    let debts = statement.rows.iter().filter(|row| !row.after.owed.is_zero() || !row.before.owed.is_zero());
    let debts: Vec<_> = debts
        .map(|row| {
            let amounts = [row.before.owed, row.after.owed].map(|value| cell(row.asset, value.0.into()));
            std::iter::once(names.asset(row.asset)).chain(amounts).collect()
        })
        .collect();
    if !debts.is_empty() {
        output.line("")?;
        output.line("What you owe")?;
        output.table(&["asset", ">before", ">now"], &debts)?;
    }
    for (title, touched) in [("Your orders", &statement.orders), ("Your withdrawals", &statement.withdrawals)] {
        if !touched.is_empty() {
            output.line("")?;
            output.line(title)?;
            for touched in touched {
                output.line(format!("  {}", touched.what))?;
            }
        }
    }
    output.line("")?;
    output.line("What to do")?;
    for advice in &statement.advice {
        output.line(format!("  {advice}"))?;
    }
    output.line("")?;
    let applied = statement.applied.map_or_else(
        || (if statement.preview { "preview" } else { "not applied" }).to_owned(),
        |(epoch, sequence, _)| format!("epoch {epoch}, sequence {sequence}"),
    );
    output.line(format!(
        "Reference: {applied}; plan {} ({}), journal {}",
        statement.plan,
        statement.strategy.name(),
        statement.journal_id
    ))?;
    Ok(())
}

/// One line, with its trades and what it comes to.
fn line(number: usize, item: &Item, names: &Names, output: &mut Output) -> Result<(), Failure> {
    let when = item.place.map_or_else(String::new, |(_, time)| format!("{}  ", date(time)));
    output.line(format!("  {number}. {when}{}", item.what))?;
    for trade in &item.trades {
        output.line(format!("       {trade}"))?;
    }
    let changes: Vec<_> = item
        .changes
        .iter()
        .flat_map(|(asset, change)| {
            let total = (change.total != 0).then(|| signed(names, *asset, change.total));
            let owed = match change.owed {
                0 => None,
                more if more > 0 => Some(format!("owed {}", amount(names, *asset, more))),
                less => Some(format!("owed less by {}", amount(names, *asset, -less))),
            };
            [total, owed]
        })
        .flatten()
        .collect();
    output.line(format!("       {}", changes.join(", ")))?;
    Ok(())
}
