//! The strategies side by side: a column each, so that they are read across.

use super::{
    data::{IncidentReport, StrategyRow},
    markup::{Align, Html, Text},
    numbers::{grouped, signed, span},
};
use crate::types::{Amount, AssetId};

/// How many assets are told of in one cell.
const ASSETS_MAX: usize = 6;

/// What a strategy of this name does.
fn meaning(name: &str) -> &'static str {
    match name {
        "rewind" => "everything after the cut is undone, but facts",
        "excise" => "all happens again without the error; orders match again",
        "bust" => "trades stand where they can be paid for without the error; others are void",
        "compensate" => "all trades stand; what is left of the credit is taken back, the rest is owed",
        _ => "",
    }
}

/// The comparison.
pub(super) fn strategies(html: &mut Html, report: &IncidentReport) {
    if report.strategies.is_empty() {
        return;
    }
    let chosen = report.strategies.iter().find(|row| row.chosen);
    match (chosen, report.reason.as_str()) {
        (Some(chosen), "") => html.put(format_args!("<p>Chosen: <b>{}</b>.</p>\n", Text(&chosen.name))),
        (Some(chosen), reason) => {
            html.put(format_args!("<p>Chosen: <b>{}</b>. {}</p>\n", Text(&chosen.name), Text(&sentence(reason))));
        }
        (None, reason) => html.note(reason),
    }
    html.raw("<div class=\"scroll\" tabindex=\"0\"><table class=\"compare\"><caption>Each computed on a branch of its own, from the same past</caption>\n<thead><tr><th scope=\"col\"></th>");
    for row in &report.strategies {
        let mark = if row.chosen { " \u{2713}" } else { "" };
        html.put(format_args!("<th scope=\"col\"{}>{}{mark}</th>", class(row, Align::Numbers), Text(&row.name)));
    }
    html.raw("</tr></thead><tbody>\n");
    let count = |html: &mut Html, name: &str, of: fn(&StrategyRow) -> u64| {
        line(html, report, name, Align::Numbers, |row| grouped(of(row)));
    };
    if report.strategies.iter().any(|row| !meaning(&row.name).is_empty()) {
        line(html, report, "what it does", Align::Words, |row| meaning(&row.name).to_owned());
    }
    count(html, "accounts changed", |row| row.accounts_changed);
    count(html, "of these innocent: never credited in error", |row| row.innocent_changed);
    count(html, "trades void", |row| row.trades_voided);
    count(html, "trades that take place instead", |row| row.trades_new);
    count(html, "orders open again, or with more", |row| row.orders_restored);
    count(html, "orders lost, or with less", |row| row.orders_lost);
    count(html, "orders that lose their place", |row| row.orders_requeued);
    if report.strategies.iter().any(|row| row.worth.is_some()) {
        line(html, report, "shortfall, at prices before the error", Align::Numbers, |row| {
            row.worth.map_or_else(dash, |(asset, amount)| Text(&report.units.about(asset, amount.0.into())).to_string())
        });
    }
    let amounts = |html: &mut Html, name: &str, of: fn(&StrategyRow) -> &[(AssetId, Amount)]| {
        if report.strategies.iter().any(|row| !of(row).is_empty()) {
            line(html, report, name, Align::Numbers, |row| {
                listed(report.units.amounts(of(row).iter().map(|(asset, amount)| (*asset, amount.0))))
            });
        }
    };
    amounts(html, "shortfall: what cannot be funded and is owed", |row| &row.shortfall);
    if report.strategies.iter().any(|row| row.receivables != row.shortfall) {
        amounts(html, "owed by accounts in all", |row| &row.receivables);
    }
    amounts(html, "still not covered by the exchange", |row| &row.unbacked);
    if report.strategies.iter().any(|row| !row.fee_delta.is_empty()) {
        line(html, report, "fees earned, more or less", Align::Numbers, |row| {
            let fees = row.fee_delta.iter().map(|(asset, delta)| {
                format!("{} {}", signed(*delta, report.units.scale(*asset), 0), report.units.symbol(*asset))
            });
            listed(fees.collect())
        });
    }
    line(html, report, "no asset made or lost", Align::Numbers, |row| {
        if row.sound { "<span class=\"holds\">holds</span>" } else { "<span class=\"fails\">FAILS</span>" }.to_owned()
    });
    line(html, report, "time to compute", Align::Numbers, |row| span(row.seconds));
    if report.strategies.iter().any(|row| !row.state_hash.is_empty()) {
        line(html, report, "hash of the state it leads to", Align::Words, |row| {
            format!("<code>{}</code>", Text(&row.state_hash))
        });
    }
    html.raw("</tbody></table></div>\n");
    for row in report.strategies.iter().filter(|row| row.refused.is_some()) {
        let why = row.refused.as_deref().unwrap_or_default();
        html.put(format_args!("<p><b>{}</b> cannot be computed: {}</p>\n", Text(&row.name), Text(why)));
    }
}

/// A line of the table; `cell` gives markup.
fn line(html: &mut Html, report: &IncidentReport, name: &str, align: Align, cell: impl Fn(&StrategyRow) -> String) {
    html.put(format_args!("<tr><th scope=\"row\">{}</th>", Text(name)));
    for row in &report.strategies {
        let text = if row.refused.is_some() { dash() } else { cell(row) };
        html.put(format_args!("<td{}>{text}</td>", class(row, align)));
    }
    html.raw("</tr>\n");
}

fn class(row: &StrategyRow, align: Align) -> String {
    let align = if align == Align::Numbers { "number" } else { "words" };
    format!(" class=\"{align}{}\"", if row.chosen { " chosen" } else { "" })
}

fn dash() -> String {
    "\u{2013}".to_owned()
}

/// A line for each, and how many more there are.
fn listed(mut amounts: Vec<String>) -> String {
    if amounts.is_empty() {
        return dash();
    }
    let more = amounts.len().saturating_sub(ASSETS_MAX);
    amounts.truncate(ASSETS_MAX);
    if more > 0 {
        amounts.push(format!("and {more} more"));
    }
    amounts.iter().map(|amount| Text(amount).to_string()).collect::<Vec<_>>().join("<br>")
}

/// With a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", characters.as_str())
}
