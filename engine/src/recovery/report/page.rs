//! The page: its sections, in order, and what is said at their heads.

use super::{
    charts::{self, Depth, Line},
    data::{BookChange, IncidentReport, PriceChart},
    markup::{Html, Text},
    numbers::{grouped, span},
    tables,
};
use crate::types::Timestamp;

/// What the page looks like, in light, in dark and on paper.
const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn page(report: &IncidentReport) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw("<meta name=\"generator\" content=\"Reprise\">\n");
    html.put(format_args!(
        "<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        Text(&report.title)
    ));
    head(&mut html, report);
    tables::phases(&mut html, report);
    tables::timeline(&mut html, report);
    prices(&mut html, report);
    tables::credits(&mut html, report);
    tables::flows(&mut html, report);
    tables::strategies(&mut html, report);
    tables::changes(&mut html, report);
    books(&mut html, report);
    tables::checks(&mut html, report);
    tables::latency(&mut html, report);
    tables::facts(&mut html, report);
    html.raw("</main>\n</body>\n</html>\n");
    html.finish()
}

/// The begin of a section.
pub(super) fn section(html: &mut Html, title: &str, text: &str) {
    html.put(format_args!("<h2>{}</h2>\n", Text(title)));
    if !text.is_empty() {
        html.put(format_args!("<p class=\"note\">{}</p>\n", Text(text)));
    }
}

fn head(html: &mut Html, report: &IncidentReport) {
    html.put(format_args!("<h1>{}</h1>\n", Text(&report.title)));
    if !report.lead.is_empty() {
        html.put(format_args!("<p class=\"lead\">{}</p>\n", Text(&report.lead)));
    }
    let mut cards: Vec<(String, String)> = Vec::new();
    let counted: f64 = report.phases.iter().filter(|phase| phase.counts).map(|phase| phase.milliseconds).sum();
    if counted > 0.0 {
        let than = report
            .references
            .first()
            .map_or_else(String::new, |reference| format!("; {}: {}", reference.name, span(reference.seconds)));
        cards.push((span(counted / 1e3), format!("machine time from halt to reopened{than}")));
    }
    if let Some(traced) = &report.traced {
        cards.push((grouped(traced.recipients), "accounts credited in error".to_owned()));
        let seconds = traced.nanoseconds as f64 / 1e9;
        cards.push((
            grouped(traced.fills_touched),
            format!("of {} trades in {} reached by the money", grouped(traced.fills), span(seconds)),
        ));
    }
    if let Some(chosen) = report.strategies.iter().find(|row| row.chosen) {
        cards.push((
            grouped(chosen.innocent_changed),
            format!("innocent accounts changed by the repair, of {} changed", grouped(chosen.accounts_changed)),
        ));
    }
    if !report.checks.is_empty() {
        let hold = report.checks.iter().filter(|check| check.holds).count();
        cards.push((format!("{hold} of {}", report.checks.len()), "checks hold".to_owned()));
    }
    if cards.is_empty() {
        return;
    }
    html.raw("<ul class=\"cards\">\n");
    for (value, name) in cards {
        html.put(format_args!("<li><b>{}</b><span>{}</span></li>\n", Text(&value), Text(&name)));
    }
    html.raw("</ul>\n");
}

/// Seconds from the error.
fn seconds(report: &IncidentReport, time: Timestamp) -> f64 {
    (i128::from(time.0) - i128::from(report.error.0)) as f64 / 1e9
}

fn prices(html: &mut Html, report: &IncidentReport) {
    if report.prices.iter().all(|chart| chart.happened.is_empty() && chart.reopened.is_empty()) {
        return;
    }
    section(
        html,
        "Prices",
        "Trades as they happened, as they are after the repair, and after the reopening. Times are seconds from the error.",
    );
    for chart in &report.prices {
        price_chart(html, report, chart);
    }
}

fn price_chart(html: &mut Html, report: &IncidentReport, chart: &PriceChart) {
    let unit = report.units.price_unit(chart.market);
    let points = |points: &[crate::recovery::PricePoint]| -> Vec<(f64, f64)> {
        points.iter().map(|point| (seconds(report, point.time), unit.value(point.price))).collect()
    };
    let mut lines = vec![("as it happened", Line { colour: "s6", dashed: false, points: points(&chart.happened) })];
    if let Some(repaired) = &chart.repaired {
        let line = Line { colour: "s1", dashed: true, points: points(repaired) };
        lines.push(("trades that stand after the repair", line));
    }
    lines.push(("after the reopening", Line { colour: "s3", dashed: false, points: points(&chart.reopened) }));
    lines.retain(|(_, line)| !line.points.is_empty());
    if lines.is_empty() {
        return;
    }
    let name = report.units.market_name(chart.market);
    let before = chart.happened.iter().rfind(|point| point.time < report.error);
    let low = chart.happened.iter().filter(|point| point.time >= report.error).min_by_key(|point| point.price);
    let told =
        [("last before the error", before), ("lowest until the halt", low), ("last of all", chart.reopened.last())];
    let told: Vec<String> = told
        .into_iter()
        .filter_map(|(name, point)| point.map(|point| format!("{name} {}", unit.text(point.price))))
        .collect();
    html.put(format_args!(
        "<figure><figcaption><b>{}</b>, in {}: {}</figcaption>",
        Text(&name),
        Text(&report.units.price_name(chart.market)),
        Text(&told.join(", "))
    ));
    let mut marks: Vec<(f64, String)> =
        report.marks.iter().map(|mark| (seconds(report, mark.time), mark.what.clone())).collect();
    marks.sort_by(|left, right| left.0.total_cmp(&right.0));
    let names: Vec<(&str, &str)> = lines.iter().map(|(name, line)| (line.colour, *name)).collect();
    let lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
    charts::lines(html, &format!("Prices of {name} through the incident"), &lines, &marks);
    legend(html, &names);
    html.raw("</figure>\n");
}

/// What colours mean.
pub(super) fn legend(html: &mut Html, names: &[(&str, &str)]) {
    html.raw("<ul class=\"legend\">");
    for (colour, name) in names {
        html.put(format_args!("<li><i style=\"background:var(--{colour})\"></i>{}</li>", Text(name)));
    }
    html.raw("</ul>");
}

/// How many levels of each side are drawn: further out nobody looks.
const LEVELS_DRAWN: usize = 60;

fn books(html: &mut Html, report: &IncidentReport) {
    if report.books.is_empty() {
        return;
    }
    section(
        html,
        "Books before and after",
        "What could be bought and sold at the halt, and after the repair, on the same scale.",
    );
    for BookChange { before, after } in &report.books {
        let market = before.market;
        let name = report.units.market_name(market);
        let (_, scale) = report.units.quantity(market, crate::types::Quantity(0));
        let unit = 10_f64.powi(scale.into());
        let quantity = |lots: u128| {
            let lots = crate::types::Quantity(u64::try_from(lots).unwrap_or(u64::MAX));
            report.units.quantity(market, lots).0 as f64 / unit
        };
        let cut = |levels: &[_]| levels.len().min(LEVELS_DRAWN);
        let drawn = [(before, true), (after, false)].map(|(book, dashed)| Depth {
            bids: &book.bids[..cut(&book.bids)],
            asks: &book.asks[..cut(&book.asks)],
            dashed,
        });
        let orders = |book: &crate::exchange::BookView| -> u64 {
            book.bids.iter().chain(&book.asks).map(|level| u64::from(level.orders)).sum()
        };
        html.put(format_args!(
            "<figure><figcaption><b>{}</b>: depth in {} up to each price ({}); {} orders at the halt, {} after</figcaption>",
            Text(&name),
            Text(&report.units.base_name(market)),
            Text(&report.units.price_name(market)),
            grouped(orders(before)),
            grouped(orders(after))
        ));
        charts::depth(
            html,
            &format!("Depth of {name} before and after"),
            &drawn,
            report.units.price_unit(market),
            quantity,
        );
        legend(html, &[("s3", "bids"), ("s6", "asks"), ("s5", "dashed: at the halt; solid: after the repair")]);
        html.raw("</figure>\n");
    }
}
