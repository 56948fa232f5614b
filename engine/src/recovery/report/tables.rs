//! The sections that are tables, with their bars.

use super::{
    charts,
    data::{BalanceChange, IncidentReport, StrategyRow, Units},
    markup::{Align, Html, Table, Text},
    numbers::{account, decimal, grouped, microseconds, offset, percent, signed, span},
    page::{legend, section},
};
use crate::{
    recovery::{CreditRow, FlowKind},
    types::{Amount, AssetId},
};

use Align::{Numbers, Words};

/// How many flows are listed.
const FLOWS_SHOWN: usize = 20;

/// What each phase took.
pub(super) fn phases(html: &mut Html, report: &IncidentReport) {
    if report.phases.is_empty() {
        return;
    }
    section(
        html,
        "From halt to reopened",
        "Machine time. What people were waited for, and the comparison of the other strategies, is told but not counted.",
    );
    let most = report.phases.iter().map(|phase| phase.milliseconds).fold(0.0, f64::max);
    let columns = [("phase", Words), ("what was done", Words), ("time", Numbers), ("", Words)];
    let mut table = Table::begin(html, "Phases of the recovery", &columns);
    for phase in &report.phases {
        let note = if phase.counts { "" } else { " <span class=\"note\">(not counted)</span>" };
        table.markup_row(
            "",
            &[
                Text(&phase.name).to_string(),
                format!("{}{note}", Text(&phase.what)),
                span(phase.milliseconds / 1e3),
                charts::bar(if most > 0.0 { phase.milliseconds / most } else { 0.0 }),
            ],
        );
    }
    let counted: f64 = report.phases.iter().filter(|phase| phase.counts).map(|phase| phase.milliseconds).sum();
    let total = format!("<b>{}</b>", span(counted / 1e3));
    table
        .markup_row("chosen", &["halt to reopened".to_owned(), "all that is counted".to_owned(), total, String::new()]);
    if let Some(elapsed) = report.elapsed_seconds {
        table.row(&["in this run", "from the error until trading went on, with all waiting", &span(elapsed), ""]);
    }
    for reference in &report.references {
        table.row(&[reference.name.as_str(), "for comparison", &span(reference.seconds), ""]);
    }
    table.end();
}

/// What happened when.
pub(super) fn timeline(html: &mut Html, report: &IncidentReport) {
    if report.timeline.is_empty() {
        return;
    }
    section(html, "What happened", "");
    let mut table = Table::begin(html, "Times from the error", &[("time", Numbers), ("event", Words)]);
    for mark in &report.timeline {
        let time = offset(i128::from(mark.time.0) - i128::from(report.error.0));
        table.row(&[time.as_str(), &mark.what]);
    }
    table.end();
}

/// The columns of a credit: colour, name, and how to read it.
type Part = (&'static str, &'static str, fn(&CreditRow) -> Amount);

const PARTS: [Part; 7] = [
    ("s1", "available", |row| row.available),
    ("s7", "held", |row| row.held),
    ("s6", "sold", |row| row.sold),
    ("s2", "withdrawn", |row| row.withdrawn),
    ("s4", "transferred", |row| row.transferred),
    ("s5", "fees", |row| row.fees),
    ("s3", "set off", |row| row.set_off),
];

/// Where the credits are.
pub(super) fn credits(html: &mut Html, report: &IncidentReport) {
    if report.credits.is_empty() {
        return;
    }
    section(
        html,
        "Where the money went",
        "What was credited in error, by asset, and where it was at the halt. The parts of each row sum exactly to what was credited.",
    );
    html.raw("<figure>");
    for row in &report.credits {
        let units = &report.units;
        let credited = row.credited.0.into();
        html.put(format_args!(
            "<figcaption><b>{}</b> credited: {} still there</figcaption>",
            Text(&units.amount(row.asset, credited)),
            percent(u128::from(row.available.0) + u128::from(row.held.0), credited)
        ));
        let parts = PARTS.map(|(colour, _, part)| (colour, part(row).0 as f64));
        charts::stacked(html, &format!("Where the {} are", units.symbol(row.asset)), &parts);
        html.raw("<p></p>");
    }
    legend(html, &PARTS.map(|(colour, name, _)| (colour, name)));
    html.raw("</figure>\n");
    let mut columns = vec![("asset", Words), ("credited", Numbers)];
    columns.extend(PARTS.iter().map(|(_, name, _)| (*name, Numbers)));
    columns.push(("sums", Words));
    let mut table = Table::begin(html, "Exact amounts", &columns);
    for row in &report.credits {
        let scale = report.units.scale(row.asset);
        let amount = |amount: Amount| decimal(amount.0.into(), scale, 0);
        let mut cells = vec![Text(&report.units.symbol(row.asset)).to_string(), amount(row.credited)];
        cells.extend(PARTS.iter().map(|(_, _, part)| amount(part(row))));
        cells.push(verdict(row.sums_exactly(), "exactly", "NOT"));
        table.markup_row("", &cells);
    }
    table.end();
    let proceeds: Vec<&CreditRow> = report.credits.iter().filter(|row| !row.proceeds.is_empty()).collect();
    if !proceeds.is_empty() {
        let columns = [("sold", Words), ("got for it, after fees", Numbers), ("of this, withdrawn", Numbers)];
        let mut table = Table::begin(html, "What was got for what was sold", &columns);
        for row in proceeds {
            for (asset, amount) in &row.proceeds {
                let withdrawn = row.proceeds_withdrawn.get(asset).copied().unwrap_or_default();
                table.row(&[
                    report.units.symbol(row.asset),
                    report.units.amount(*asset, amount.0.into()),
                    report.units.amount(*asset, withdrawn.0.into()),
                ]);
            }
        }
        table.end();
    }
    if let Some(traced) = &report.traced {
        html.put(format_args!(
            "<p>{} accounts got something of it, {} of them at first hand; {} of {} trades between the error and the halt ({} commands) had such an account on a side.</p>\n",
            grouped(traced.poisoned),
            grouped(traced.recipients),
            grouped(traced.fills_touched),
            grouped(traced.fills),
            grouped(traced.commands)
        ));
    }
}

/// From whom to whom.
pub(super) fn flows(html: &mut Html, report: &IncidentReport) {
    if report.flows.is_empty() {
        return;
    }
    html.raw("<h3>From whom to whom</h3>\n");
    let caption = if report.flows.len() > FLOWS_SHOWN {
        format!("The largest {FLOWS_SHOWN} of {} flows, first in, first out", grouped(report.flows.len() as u64))
    } else {
        "All flows, first in, first out".to_owned()
    };
    let columns = [("from", Words), ("to", Words), ("how", Words), ("hop", Numbers), ("amount", Numbers)];
    let mut table = Table::begin(html, &caption, &columns);
    for flow in report.flows.iter().take(FLOWS_SHOWN) {
        let kind = match flow.kind {
            FlowKind::Sold => "sold",
            FlowKind::Transferred => "transferred",
            FlowKind::Withdrawn => "withdrawn",
            FlowKind::Fee => "fee",
        };
        table.row(&[
            account(flow.from),
            account(flow.to),
            kind.to_owned(),
            flow.hop.to_string(),
            report.units.amount(flow.asset, flow.amount.0.into()),
        ]);
    }
    table.end();
}

/// The strategies, side by side.
pub(super) fn strategies(html: &mut Html, report: &IncidentReport) {
    if report.strategies.is_empty() {
        return;
    }
    section(html, "Ways to repair it", "Each was computed on its own branch of history, by two independent replays.");
    if !report.reason.is_empty() {
        html.put(format_args!("<p>{}</p>\n", Text(&report.reason)));
    }
    // A row for each figure, so that the strategies stand beside each other.
    let rows = &report.strategies;
    let mut columns = vec![("", Words)];
    columns.extend(rows.iter().map(|row| (row.name.as_str(), Numbers)));
    let mut table = Table::begin(html, "Strategies compared", &columns);
    let chosen = |row: &StrategyRow| if row.chosen { "<span class=\"tag\">applied</span>" } else { "" };
    if rows.iter().any(|row| row.chosen) {
        line(&mut table, rows, "", |row| chosen(row).to_owned());
    }
    let count = |name: &str, table: &mut Table<'_>, of: fn(&StrategyRow) -> u64| {
        line(table, rows, name, |row| if row.refused.is_some() { "\u{2013}".to_owned() } else { grouped(of(row)) });
    };
    count("accounts changed", &mut table, |row| row.accounts_changed);
    count("of them innocent", &mut table, |row| row.innocent_changed);
    count("trades voided", &mut table, |row| row.trades_voided);
    count("trades made anew", &mut table, |row| row.trades_new);
    count("orders open again", &mut table, |row| row.orders_restored);
    count("orders lost", &mut table, |row| row.orders_lost);
    count("orders that lose their place", &mut table, |row| row.orders_requeued);
    let units = &report.units;
    amounts(&mut table, rows, units, "shortfall", |row| &row.shortfall);
    amounts(&mut table, rows, units, "owed by accounts", |row| &row.receivables);
    if rows.iter().any(|row| !row.unbacked.is_empty()) {
        amounts(&mut table, rows, units, "unbacked", |row| &row.unbacked);
    }
    line(&mut table, rows, "fees of the exchange", |row| {
        let cells: Vec<String> = row
            .fee_delta
            .iter()
            .filter(|(_, delta)| *delta != 0)
            .map(|(asset, delta)| {
                Text(&format!("{} {}", signed(*delta, units.scale(*asset), 0), units.symbol(*asset))).to_string()
            })
            .collect();
        list(&cells)
    });
    if rows.iter().any(|row| row.worth.is_some()) {
        line(&mut table, rows, "shortfall, valued", |row| {
            row.worth.map_or_else(String::new, |(asset, worth)| Text(&units.amount(asset, worth.0.into())).to_string())
        });
    }
    line(&mut table, rows, "nothing made or lost, same twice", |row| match &row.refused {
        Some(_) => "\u{2013}".to_owned(),
        None => verdict(row.sound, "yes", "NO"),
    });
    line(&mut table, rows, "computed in", |row| if row.refused.is_some() { String::new() } else { span(row.seconds) });
    line(&mut table, rows, "state", |row| {
        let short: String = row.state_hash.chars().take(12).collect();
        if short.is_empty() {
            short
        } else {
            format!("<code title=\"{}\">{}\u{2026}</code>", Text(&row.state_hash), Text(&short))
        }
    });
    table.end();
    for row in rows {
        if let Some(refused) = &row.refused {
            html.put(format_args!("<p><b>{}</b> cannot be computed: {}</p>\n", Text(&row.name), Text(refused)));
        }
    }
}

fn line(table: &mut Table<'_>, rows: &[StrategyRow], name: &str, cell: impl Fn(&StrategyRow) -> String) {
    let mut cells = vec![Text(name).to_string()];
    cells.extend(rows.iter().map(cell));
    table.markup_row("", &cells);
}

fn amounts(
    table: &mut Table<'_>,
    rows: &[StrategyRow],
    units: &Units,
    name: &str,
    of: fn(&StrategyRow) -> &Vec<(AssetId, Amount)>,
) {
    line(table, rows, name, |row| {
        let there = of(row).iter().filter(|(_, amount)| amount.0 > 0);
        let cells: Vec<String> =
            there.map(|(asset, amount)| Text(&units.amount(*asset, amount.0.into())).to_string()).collect();
        if row.refused.is_some() { "\u{2013}".to_owned() } else { list(&cells) }
    });
}

/// Markup one below the other.
fn list(cells: &[String]) -> String {
    if cells.is_empty() { "none".to_owned() } else { cells.join("<br>") }
}

/// The largest balances changed.
pub(super) fn changes(html: &mut Html, report: &IncidentReport) {
    if report.changes.is_empty() && report.innocent_changes.is_empty() {
        return;
    }
    section(html, "Balances changed", "Available and held together, at the halt and after the repair.");
    for (title, changes, total) in [
        ("Accounts credited in error", &report.changes, report.changes_total),
        ("Innocent accounts", &report.innocent_changes, report.innocent_changes_total),
    ] {
        if !changes.is_empty() {
            change_table(html, &report.units, title, changes, total);
        }
    }
}

fn change_table(html: &mut Html, units: &Units, title: &str, changes: &[BalanceChange], total: u64) {
    let shown = changes.len() as u64;
    let caption = if total > shown {
        format!("{title}: the largest {} of {} balances changed", grouped(shown), grouped(total))
    } else {
        format!("{title}: all {} balances changed", grouped(shown))
    };
    let columns = [
        ("account", Numbers),
        ("asset", Words),
        ("before", Numbers),
        ("after", Numbers),
        ("difference", Numbers),
        ("why", Words),
    ];
    let mut table = Table::begin(html, &caption, &columns);
    for change in changes {
        let scale = units.scale(change.asset);
        table.row(&[
            account(change.account),
            units.symbol(change.asset),
            decimal(change.before.0.into(), scale, 0),
            decimal(change.after.0.into(), scale, 0),
            signed(i128::from(change.after.0) - i128::from(change.before.0), scale, 0),
            change.reason.clone(),
        ]);
    }
    table.end();
}

/// What was verified.
pub(super) fn checks(html: &mut Html, report: &IncidentReport) {
    if report.checks.is_empty() {
        return;
    }
    section(html, "Proof", "");
    let columns = [("", Words), ("what was held against what", Words), ("value", Words)];
    let mut table = Table::begin(html, "Checks", &columns);
    for check in &report.checks {
        table.markup_row(
            "",
            &[
                verdict(check.holds, "holds", "FAILS"),
                Text(&check.what).to_string(),
                format!("<code>{}</code>", Text(&check.value)),
            ],
        );
    }
    table.end();
}

/// What commands met at each stage.
pub(super) fn latency(html: &mut Html, report: &IncidentReport) {
    if report.latency.is_empty() {
        return;
    }
    section(
        html,
        "Latencies",
        "In microseconds, of all commands in the run, from the time at which each was meant to be sent.",
    );
    let names = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let mut columns = vec![("stage", Words)];
    columns.extend(names.map(|name| (name, Numbers)));
    let mut table = Table::begin(html, "Microseconds", &columns);
    for row in &report.latency {
        let mut cells = vec![row.name.clone()];
        cells.extend(row.nanoseconds.map(microseconds));
        table.row(&cells);
    }
    table.end();
}

/// What else should be known.
pub(super) fn facts(html: &mut Html, report: &IncidentReport) {
    if report.facts.is_empty() {
        return;
    }
    section(html, "Particulars", "");
    html.raw("<dl>\n");
    for fact in &report.facts {
        html.put(format_args!("<dt>{}</dt><dd>{}</dd>\n", Text(&fact.name), Text(&fact.value)));
    }
    html.raw("</dl>\n");
}

fn verdict(holds: bool, yes: &str, no: &str) -> String {
    if holds {
        format!("<span class=\"good\">\u{2713} {yes}</span>")
    } else {
        format!("<span class=\"bad\">\u{2717} {no}</span>")
    }
}
