//! The page: its head, and its sections in order; those that have nothing to say are left out.

use super::{
    changes,
    data::IncidentReport,
    markup::{Html, Text},
    money,
    numbers::{counted, grouped, percent, span},
    prices, strategies, times,
};
use crate::types::Amount;

/// How it looks; in light and dark, narrow and printed.
const STYLE: &str = include_str!("style.css");

/// Writes a section.
type Section = fn(&mut Html, &IncidentReport);

/// The sections: what links point to, the title, and what writes it.
const SECTIONS: [(&str, &str, Section); 9] = [
    ("happened", "What happened", times::timeline),
    ("time", "From halt to reopened", times::phases),
    ("prices", "Prices through the incident", prices::prices),
    ("funds", "Where the money went", money::money),
    ("strategies", "Ways to repair it", strategies::strategies),
    ("changes", "What the repair changes", changes::changes),
    ("books", "Order books before and after", prices::books),
    ("checks", "Proof", checks),
    ("latency", "Latencies", times::latency),
];

/// The whole page.
pub(super) fn page(report: &IncidentReport) -> String {
    let mut html = Html::default();
    let title = if report.title.is_empty() { "Incident report" } else { &report.title };
    html.put(format_args!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        Text(title)
    ));
    let mut sections: Vec<(&str, &str, String)> = Vec::new();
    for (id, name, write) in SECTIONS.into_iter().chain([("particulars", "Particulars", facts as Section)]) {
        let mut section = Html::default();
        write(&mut section, report);
        if !section.is_empty() {
            sections.push((id, name, section.finish()));
        }
    }
    html.put(format_args!("<header>\n<p class=\"kicker\">Incident report</p>\n<h1>{}</h1>\n", Text(title)));
    if !report.lead.is_empty() {
        html.put(format_args!("<p class=\"lead\">{}</p>\n", Text(&report.lead)));
    }
    figures(&mut html, report);
    if sections.len() > 1 {
        html.raw("<nav aria-label=\"sections\">\n");
        for (id, name, _) in &sections {
            html.put(format_args!("<a href=\"#{id}\">{name}</a>\n"));
        }
        html.raw("</nav>\n");
    }
    html.raw("</header>\n<main>\n");
    for (id, name, section) in &sections {
        html.put(format_args!("<section id=\"{id}\">\n<h2>{name}</h2>\n{section}</section>\n"));
    }
    html.raw(
        "</main>\n<footer><p class=\"note\">Written by Reprise. This file needs nothing else: no script, and nothing is \
         fetched.</p></footer>\n</body>\n</html>\n",
    );
    html.finish()
}

/// The few figures that should be known at once.
fn figures(html: &mut Html, report: &IncidentReport) {
    let mut tiles: Vec<(String, String)> = Vec::new();
    if let Some(seconds) = times::machine_seconds(report) {
        let past = report.references.first();
        let past = past.map_or_else(String::new, |past| format!("; {} took {}", past.name, span(past.seconds)));
        tiles.push((span(seconds), format!("of machine time from the halt to the reopening{past}")));
    }
    if let Some(unit) = money::Unit::of(report) {
        let sum = |of: fn(&crate::recovery::CreditRow) -> Amount| {
            report.credits.iter().map(|row| unit.value(row.asset, of(row))).sum::<u128>()
        };
        let credited = sum(|row| row.credited);
        if credited > 0 {
            let accounts = report.traced.map(|traced| format!(" to {}", counted(traced.recipients, "account")));
            let still = sum(|row| row.available) + sum(|row| row.held);
            tiles.push((
                unit.about(credited),
                format!(
                    "credited in error{}; {} of it never left them",
                    accounts.unwrap_or_default(),
                    percent(still, credited)
                ),
            ));
        }
    } else if let Some(traced) = report.traced {
        tiles.push((grouped(traced.recipients), "accounts credited in error".to_owned()));
    }
    let fall = report.prices.iter().filter_map(|chart| {
        let unit = report.units.price_unit(chart.market);
        let (before, lowest) = prices::deepest(report, chart)?;
        Some((unit.value(lowest) / unit.value(before), chart.market, prices::change(unit, before, lowest)))
    });
    if let Some((_, market, text)) = fall.min_by(|one, other| one.0.total_cmp(&other.0)) {
        tiles.push((text, format!("{} at its lowest", report.units.market_name(market))));
    }
    if let Some(row) = report.strategies.iter().find(|row| row.chosen && row.refused.is_none()) {
        let trades = format!("{} void", counted(row.trades_voided, "trade"));
        tiles.push((
            grouped(row.innocent_changed),
            format!("innocent accounts changed by {}, of {}; {trades}", row.name, grouped(row.accounts_changed)),
        ));
        if let Some((asset, amount)) = row.worth {
            let told = format!("could not be funded and is owed after {}", row.name);
            tiles.push((report.units.about(asset, amount.0.into()), told));
        }
    }
    if tiles.is_empty() {
        return;
    }
    html.raw("<dl class=\"tiles\">\n");
    for (value, what) in tiles {
        html.put(format_args!("<div class=\"tile\"><dt>{}</dt><dd>{}</dd></div>\n", Text(&what), Text(&value)));
    }
    html.raw("</dl>\n");
}

fn checks(html: &mut Html, report: &IncidentReport) {
    let sums = report.credits.iter().filter(|row| row.credited.0 > 0);
    let sums = (sums.clone().count(), sums.filter(|row| !row.sums_exactly()).count());
    if report.checks.is_empty() && sums.0 == 0 {
        return;
    }
    html.raw("<ul class=\"checks\">\n");
    let mut check = |what: &str, value: &str, holds: bool| {
        html.put(format_args!("<li>{}<span>{}", money::verdict(holds, "\u{2713} holds", "\u{2717} FAILS"), Text(what)));
        if !value.is_empty() {
            html.put(format_args!("<code>{}</code>", Text(value)));
        }
        html.raw("</span></li>\n");
    };
    for row in &report.checks {
        check(&row.what, &row.value, row.holds);
    }
    if sums.0 > 0 {
        let what = "what was credited is still there, held, sold, withdrawn, transferred, paid in fees or set off: the columns of every \
                    asset sum exactly";
        check(what, "", sums.1 == 0);
    }
    html.raw("</ul>\n");
}

fn facts(html: &mut Html, report: &IncidentReport) {
    if report.facts.is_empty() {
        return;
    }
    html.raw("<dl class=\"facts\">\n");
    for fact in &report.facts {
        html.put(format_args!("<dt>{}</dt><dd>{}</dd>\n", Text(&fact.name), Text(&fact.value)));
    }
    html.raw("</dl>\n");
}
