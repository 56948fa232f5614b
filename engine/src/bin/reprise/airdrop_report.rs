//! How a checked airdrop is told: to people, and to programs.

use engine::types::{AssetId, MarketSpec};
use serde_json::{Value, json};

use crate::{
    airdrop::{CheckArguments, Checked, Finding, share},
    describe::price_text,
    failure::{FAILED, FINE, Failure, WARNED},
    manifest::Line,
    moments::At,
    names::{self, Names},
    output::{Output, count, grouped},
    prices::LastPrice,
};

/// Lines of a file that are named for people; programs get all.
const LINES_TOLD: usize = 20;

/// Tells it; gives the exit code.
pub fn write(
    at: &At,
    names: &Names,
    arguments: &CheckArguments,
    checked: &Checked,
    output: &mut Output,
) -> Result<u8, Failure> {
    let warned = checked.open_warnings().count() > 0;
    let (verdict, code) = match (checked.can_be_paid(), warned) {
        (false, _) => ("refused", FAILED),
        (true, true) => ("warnings", WARNED),
        (true, false) => ("fine", FINE),
    };
    if output.json {
        output.document(&document(at, names, arguments, checked, verdict, code))?;
    } else {
        text(at, names, arguments, checked, verdict, output)?;
    }
    Ok(code)
}

fn amount(names: &Names, asset: AssetId, amount: u128) -> String {
    names.amount(asset, i128::try_from(amount).unwrap_or(i128::MAX))
}

/// What a total comes to at a price, rounded down, in minor units of quote.
fn worth(spec: &MarketSpec, last: &LastPrice, total: u128) -> Option<u128> {
    let lot = u128::from(spec.tick_value.0).checked_mul(last.price.0.into())?;
    total.checked_mul(lot)?.checked_div(spec.lot_size.0.into())
}

fn document(at: &At, names: &Names, arguments: &CheckArguments, checked: &Checked, verdict: &str, code: u8) -> Value {
    let asset = checked.spec.asset;
    let of = |value: u128| amount(names, asset, value);
    let line =
        |line: &Line| json!({ "line": line.number, "account": line.account.0, "amount": of(line.amount.0.into()) });
    let findings = |findings: &[Finding]| -> Vec<Value> {
        let one = |found: &Finding| {
            json!({
                "name": found.name, "what": found.what, "lines": found.lines,
                "accepted": checked.accepted.contains(&found.name),
            })
        };
        findings.iter().map(one).collect()
    };
    let worths = checked.prices.iter().filter_map(|(spec, last)| {
        let last = last.as_ref()?;
        Some(json!({
            "market": names.market(spec.market), "asset": names.asset(spec.quote),
            "price": names.price(spec.market, last.price), "sequence": last.sequence.0, "time": names::time(last.time),
            "worth": worth(spec, last, checked.total).map(|value| amount(names, spec.quote, value)),
        }))
    });
    // A file with wrong lines has no manifest yet.
    let manifest = checked.manifest.wrong.is_empty().then(|| {
        json!({
            "id": checked.id.0, "author": checked.author.map(|author| author.0), "asset": names.asset(asset),
            "total": of(checked.total), "total_minor_units": checked.total.to_string(),
            "lines": checked.manifest.lines.len(), "hash": checked.hash.to_string(),
            "lock_seconds": checked.lock_seconds,
        })
    });
    json!({
        "verdict": verdict, "exit_code": code, "file": arguments.file.display().to_string(), "asset": names.asset(asset),
        "at": { "sequence": at.sequence().0, "time": at.time.map(names::time) },
        "recipients": checked.manifest.lines.len(), "total": of(checked.total),
        "smallest": checked.range.map(|[smallest, ..]| line(&smallest)),
        "median": checked.range.map(|[_, median, _]| of(median.amount.0.into())),
        "largest": checked.range.map(|[.., largest]| line(&largest)),
        "worth": worths.collect::<Vec<_>>(),
        "users_have": of(checked.users), "share_of_users": share(checked.total, checked.users),
        "liabilities": of(checked.liabilities.0.into()),
        "share_of_liabilities": share(checked.total, checked.liabilities.0.into()),
        "attested_reserves": checked.attested.map(|attested| of(attested.0.into())),
        "share_of_reserves": checked.attested.and_then(|attested| share(checked.total, attested.0.into())),
        "treasury": names.amount(asset, checked.treasury),
        "past": checked.past.as_ref().map(|past| json!({
            "airdrops": past.count, "median_total": of(past.total), "median_per_recipient": of(past.line),
        })),
        "manifest": manifest,
        "wrong_lines": checked.manifest.wrong.iter()
            .map(|wrong| json!({ "line": wrong.number, "what": wrong.what })).collect::<Vec<_>>(),
        "refusals": findings(&checked.refusals), "warnings": findings(&checked.warnings),
    })
}

fn text(
    at: &At,
    names: &Names,
    arguments: &CheckArguments,
    checked: &Checked,
    verdict: &str,
    output: &mut Output,
) -> Result<(), Failure> {
    let asset = checked.spec.asset;
    let of = |value: u128| format!("{} {}", grouped(&amount(names, asset, value)), checked.spec.symbol);
    let time = at.time.map_or_else(String::new, |time| format!(" of {}", names::time(time)));
    output.line(format!(
        "airdrop of {} from {}, held against the exchange after sequence {}{time}",
        checked.spec.symbol,
        arguments.file.display(),
        at.sequence()
    ))?;
    output.line("")?;
    let mut row = |name: &str, value: String| output.line(format!("  {name:<20}{value}"));
    row("recipients", count(checked.manifest.lines.len() as u64))?;
    row("total", of(checked.total))?;
    if let Some([smallest, median, largest]) = &checked.range {
        let whose = |line: &Line| format!("{}, to {} in line {}", of(line.amount.0.into()), line.account, line.number);
        row("smallest", whose(smallest))?;
        row("median", of(median.amount.0.into()))?;
        row("largest", whose(largest))?;
    }
    for (spec, last) in &checked.prices {
        let market = names.market(spec.market);
        row(
            "worth",
            match last.as_ref().map(|last| (last, worth(spec, last, checked.total))) {
                Some((last, Some(value))) => format!(
                    "{} {} at {}, the last price on {market} (sequence {} of {})",
                    grouped(&amount(names, spec.quote, value)),
                    names.asset(spec.quote),
                    price_text(names, spec.market, last.price),
                    last.sequence,
                    names::time(last.time)
                ),
                Some((_, None)) => format!("more than can be told, on {market}"),
                None => format!("not known: nothing was traded on {market}"),
            },
        )?;
    }
    if checked.prices.is_empty() {
        row("worth", format!("not known: {} is sold on no market", checked.spec.symbol))?;
    }
    let part =
        |whole: u128| share(checked.total, whole).map_or_else(String::new, |share| format!("; the total is {share}"));
    row("users have", format!("{}{}", of(checked.users), part(checked.users)))?;
    let liabilities = u128::from(checked.liabilities.0);
    row("liabilities", format!("{}{}", of(liabilities), part(liabilities)))?;
    row(
        "attested reserves",
        checked.attested.map_or_else(
            || "none".to_owned(),
            |attested| format!("{}{}", of(attested.0.into()), part(attested.0.into())),
        ),
    )?;
    row("treasury", format!("{} {}", grouped(&names.amount(asset, checked.treasury)), checked.spec.symbol))?;
    row(
        "past airdrops",
        checked.past.as_ref().map_or_else(
            || format!("none of {}", checked.spec.symbol),
            |past| {
                format!(
                    "{}: median total {}, median per recipient {}",
                    count(past.count),
                    of(past.total),
                    of(past.line)
                )
            },
        ),
    )?;
    if checked.manifest.wrong.is_empty() {
        row("manifest hash", checked.hash.to_string())?;
        let author = checked.author.map_or_else(|| "author N".to_owned(), |author| format!("author {}", author.0));
        row(
            "open it with",
            format!(
                "airdrop {}, {author}, asset {} ({}), total {} minor units, lines {}, hash {}, lock {} s",
                checked.id.0,
                checked.spec.symbol,
                asset.0,
                checked.total,
                checked.manifest.lines.len(),
                checked.hash,
                checked.lock_seconds
            ),
        )?;
    }
    if !checked.manifest.wrong.is_empty() {
        output.line("")?;
        output.line(format!("wrong lines: {}", count(checked.manifest.wrong.len() as u64)))?;
        for wrong in checked.manifest.wrong.iter().take(LINES_TOLD) {
            output.line(format!("  line {}: {}", wrong.number, wrong.what))?;
        }
        if checked.manifest.wrong.len() > LINES_TOLD {
            let more = count((checked.manifest.wrong.len() - LINES_TOLD) as u64);
            output.line(format!("  and {more} more: --json lists all"))?;
        }
    }
    for (title, found) in [("would be refused", &checked.refusals), ("warnings", &checked.warnings)] {
        if found.is_empty() {
            continue;
        }
        output.line("")?;
        output.line(format!("{title}:"))?;
        for found in found {
            let accepted = if checked.accepted.contains(&found.name) { " (accepted)" } else { "" };
            output.line(format!("  {}{accepted}: {}{}", found.name, lines(&found.lines), found.what))?;
        }
    }
    output.line("")?;
    output.line(match verdict {
        "fine" => "It can be opened.",
        "warnings" => "It would be paid. Look at the warnings first: --accept NAME for each that is all right.",
        _ if !checked.manifest.wrong.is_empty() => {
            "It must not be opened: put the wrong lines right, and check it again."
        }
        _ => "It would be refused.",
    })?;
    Ok(())
}

/// The lines that a finding is about.
fn lines(lines: &[u64]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let told: Vec<_> = lines.iter().take(LINES_TOLD).map(u64::to_string).collect();
    let more = lines.len().saturating_sub(LINES_TOLD);
    let more = if more > 0 { format!(" and {} more", count(more as u64)) } else { String::new() };
    let word = if lines.len() == 1 { "line" } else { "lines" };
    format!("{word} {}{more}: ", told.join(", "))
}
