//! Where it is now: of every asset what became of what was credited, through how many hands it went, and who was touched.

use super::{
    data::{IncidentReport, TraceFigures},
    flow,
    markup::{Align, Html, Table, Text},
    numbers::{account, counted, decimal, grouped, percent, span},
};
use crate::{
    recovery::{CreditRow, FlowKind},
    types::{Amount, AssetId},
};

/// Of how many assets a bar is drawn.
const BARS_MAX: usize = 12;
/// How many flows are told one by one.
const FLOWS_MAX: usize = 15;
/// Hops that are told apart; those behind them are one.
const HOPS_MAX: u8 = 5;

/// A column of a credit.
type Column = fn(&CreditRow) -> Amount;

/// What became of credits: a class of the style sheet, a word, and the column.
pub(super) const FATES: [(&str, &str, Column); 7] = [
    ("available", "still there", |row| row.available),
    ("held", "held", |row| row.held),
    ("sold", "sold", |row| row.sold),
    ("withdrawn", "withdrawn", |row| row.withdrawn),
    ("transferred", "transferred", |row| row.transferred),
    ("fees", "fees", |row| row.fees),
    ("setoff", "set off", |row| row.set_off),
];

/// All of it.
pub(super) fn money(html: &mut Html, report: &IncidentReport) {
    if report.credits.is_empty() && report.traced.is_none() {
        return;
    }
    if let Some(figures) = &report.traced {
        window(html, figures);
    }
    bars(html, report);
    credits(html, report);
    flow::diagram(html, report);
    hops(html, report);
    movers(html, report);
    flows(html, report);
    if let Some(figures) = &report.traced {
        touched(html, report, figures);
    }
}

fn window(html: &mut Html, figures: &TraceFigures) {
    let suspects = if figures.first == figures.last {
        format!("at sequence {}", grouped(figures.first.0))
    } else {
        format!("from sequence {} to {}", grouped(figures.first.0), grouped(figures.last.0))
    };
    html.put(format_args!(
        "<p>The wrong credits were made {suspects}, to {}; the halt came at sequence {}, {} and {} after the \
         first of them.</p>\n",
        counted(figures.recipients, "account"),
        grouped(figures.halt.0),
        counted(figures.commands, "command"),
        span(figures.nanoseconds as f64 / 1e9)
    ));
}

/// Credits by what they were worth, the largest first.
pub(super) fn by_worth(report: &IncidentReport) -> Vec<&CreditRow> {
    let mut rows: Vec<&CreditRow> = report.credits.iter().filter(|row| row.credited.0 > 0).collect();
    let worth = |row: &CreditRow| {
        report.valuation.as_ref().and_then(|valuation| valuation.worth(row.asset, row.credited.0.into()))
    };
    rows.sort_by_key(|row| (std::cmp::Reverse(worth(row)), row.asset));
    rows
}

fn bars(html: &mut Html, report: &IncidentReport) {
    let rows = by_worth(report);
    if rows.is_empty() {
        return;
    }
    let used: Vec<_> = FATES.iter().filter(|(_, _, of)| rows.iter().any(|row| of(row).0 > 0)).collect();
    html.key(&used.iter().map(|(class, word, _)| (*class, *word)).collect::<Vec<_>>());
    html.raw("<div class=\"bars\">\n");
    for row in rows.iter().take(BARS_MAX) {
        html.put(format_args!(
            "<div><div class=\"bar-label\"><span>{} credited</span><span>{} still there</span></div><div class=\"bar\">",
            Text(&report.units.amount(row.asset, row.credited.0.into())),
            Text(&percent(u128::from(row.available.0) + u128::from(row.held.0), row.credited.0.into()))
        ));
        for (class, word, of) in &used {
            let amount = of(row).0;
            if amount > 0 {
                html.put(format_args!(
                    "<span class=\"{class}\" style=\"width:{:.2}%\" title=\"{word}: {}\"></span>",
                    amount as f64 / row.credited.0 as f64 * 100.0,
                    Text(&report.units.amount(row.asset, amount.into()))
                ));
            }
        }
        html.raw("</div></div>\n");
    }
    html.raw("</div>\n");
}

fn credits(html: &mut Html, report: &IncidentReport) {
    let rows = by_worth(report);
    if rows.is_empty() {
        return;
    }
    let (used, unused): (Vec<_>, Vec<_>) = FATES.iter().partition(|(_, _, of)| rows.iter().any(|row| of(row).0 > 0));
    let mut columns = vec![("asset", Align::Words), ("credited", Align::Numbers)];
    columns.extend(used.iter().map(|(_, word, _)| (*word, Align::Numbers)));
    columns.push(("sum", Align::Words));
    let mut table = Table::begin(html, "What became of it, to the last unit", &columns);
    for row in &rows {
        let scale = report.units.scale(row.asset);
        let mut cells =
            vec![Text(&report.units.symbol(row.asset)).to_string(), decimal(row.credited.0.into(), scale, 0)];
        cells.extend(used.iter().map(|(_, _, of)| decimal(of(row).0.into(), scale, 0)));
        cells.push(verdict(row.sums_exactly(), "exact", "DIFFERS"));
        table.markup_row("", &cells);
    }
    table.end();
    if !unused.is_empty() {
        let words: Vec<&str> = unused.iter().map(|(_, word, _)| *word).collect();
        html.note(&format!("Nothing of it: {}.", words.join(", ")));
    }
    proceeds(html, report, &rows);
}

/// What was got for what was sold.
fn proceeds(html: &mut Html, report: &IncidentReport, rows: &[&CreditRow]) {
    if rows.iter().all(|row| row.proceeds.is_empty()) {
        return;
    }
    let columns =
        [("sold", Align::Numbers), ("got for it, after fees", Align::Numbers), ("of this, withdrawn", Align::Numbers)];
    let mut table = Table::begin(html, "What was got for it", &columns);
    for row in rows {
        for (place, (asset, amount)) in row.proceeds.iter().enumerate() {
            let sold = if place == 0 { report.units.amount(row.asset, row.sold.0.into()) } else { String::new() };
            let withdrawn = row.proceeds_withdrawn.get(asset).copied().unwrap_or_default();
            table.row(&[
                sold,
                report.units.amount(*asset, amount.0.into()),
                report.units.amount(*asset, withdrawn.0.into()),
            ]);
        }
    }
    table.end();
}

/// A word for whether something holds.
pub(super) fn verdict(holds: bool, yes: &str, no: &str) -> String {
    if holds { format!("<span class=\"holds\">{yes}</span>") } else { format!("<span class=\"fails\">{no}</span>") }
}

/// Sums by hop, of one asset or, at what it was worth, of all.
fn hops(html: &mut Html, report: &IncidentReport) {
    let Some(unit) = Unit::of(report) else { return };
    if report.hops.is_empty() {
        return;
    }
    let columns = [
        ("hop", Align::Words),
        ("sold", Align::Numbers),
        ("transferred", Align::Numbers),
        ("withdrawn", Align::Numbers),
        ("fees", Align::Numbers),
        ("now with accounts there", Align::Numbers),
        ("balances", Align::Numbers),
    ];
    let what = format!("Through how many hands it went: {}", unit.name());
    let mut table = Table::begin(html, &what, &columns);
    let deepest =
        report.hops.iter().map(|row| row.hop).chain(report.holders.iter().map(|row| row.hop)).max().unwrap_or(0);
    for hop in 0..=deepest.min(HOPS_MAX) {
        let is_here = |other: u8| other.min(HOPS_MAX) == hop;
        let sum = |kind: FlowKind| {
            let rows = report.hops.iter().filter(|row| row.kind == kind && is_here(row.hop));
            let sum = rows.map(|row| unit.value(row.asset, row.amount)).sum::<u128>();
            if sum == 0 { "\u{2013}".to_owned() } else { unit.text(sum) }
        };
        let holders = || report.holders.iter().filter(|row| is_here(row.hop));
        let name = match hop {
            0 => "0: credited".to_owned(),
            _ if hop == HOPS_MAX && deepest > HOPS_MAX => format!("{hop} to {deepest}"),
            _ => hop.to_string(),
        };
        table.row(&[
            name,
            sum(FlowKind::Sold),
            sum(FlowKind::Transferred),
            sum(FlowKind::Withdrawn),
            sum(FlowKind::Fee),
            unit.text(holders().map(|row| unit.value(row.asset, row.amount)).sum()),
            grouped(holders().map(|row| u128::from(row.accounts)).sum::<u128>()),
        ]);
    }
    table.end();
}

/// In what amounts of several assets are told as one.
pub(super) struct Unit<'a> {
    report: &'a IncidentReport,
    asset: AssetId,
    is_worth: bool,
}

impl<'a> Unit<'a> {
    /// The one asset that there is; else what all of them were worth; `None` where that is not known.
    pub(super) fn of(report: &'a IncidentReport) -> Option<Self> {
        match (report.credits.as_slice(), &report.valuation) {
            ([], _) => None,
            ([only], _) => Some(Self { report, asset: only.asset, is_worth: false }),
            (rows, Some(valuation)) => rows.iter().any(|row| valuation.worth(row.asset, 1).is_some()).then_some(Self {
                report,
                asset: valuation.asset,
                is_worth: true,
            }),
            (_, None) => None,
        }
    }

    /// What it is.
    pub(super) fn name(&self) -> String {
        let symbol = self.report.units.symbol(self.asset);
        if self.is_worth { format!("worth in {symbol} at prices before the error") } else { format!("in {symbol}") }
    }

    /// An amount in it; what has no price counts nothing.
    pub(super) fn value(&self, asset: AssetId, amount: Amount) -> u128 {
        let amount = u128::from(amount.0);
        if !self.is_worth {
            return amount;
        }
        self.report.valuation.as_ref().and_then(|valuation| valuation.worth(asset, amount)).unwrap_or(0)
    }

    /// As text: exact where it is an amount, about where it is what something was worth.
    pub(super) fn text(&self, value: u128) -> String {
        if self.is_worth { self.about(value) } else { self.report.units.amount(self.asset, value) }
    }

    /// About how much.
    pub(super) fn about(&self, value: u128) -> String {
        self.report.units.about(self.asset, value)
    }

    /// Assets that were credited and count nothing in it.
    pub(super) fn left_out(&self) -> Vec<String> {
        let valued = |row: &&CreditRow| self.is_worth && self.value(row.asset, row.credited) == 0 && row.credited.0 > 0;
        self.report.credits.iter().filter(valued).map(|row| self.report.units.symbol(row.asset)).collect()
    }
}

fn movers(html: &mut Html, report: &IncidentReport) {
    if report.movers.is_empty() {
        return;
    }
    let mut columns = vec![("account", Align::Words), ("asset", Align::Words), ("credited", Align::Numbers)];
    let used: Vec<_> = FATES.iter().filter(|(_, _, of)| report.movers.iter().any(|row| of(row).0 > 0)).collect();
    columns.extend(used.iter().map(|(_, word, _)| (*word, Align::Numbers)));
    columns.push(("got for it", Align::Numbers));
    columns.push(("of that withdrawn", Align::Numbers));
    let (shown, all) = (report.movers.len() as u64, report.movers_total);
    let what = format!(
        "Credits of which most is gone: {} of {} of which anything is",
        grouped(shown),
        grouped(all.max(shown))
    );
    let mut table = Table::begin(html, &what, &columns);
    for row in &report.movers {
        let scale = report.units.scale(row.asset);
        let mut cells =
            vec![account(row.account), report.units.symbol(row.asset), decimal(row.credited.0.into(), scale, 0)];
        cells.extend(used.iter().map(|(_, _, of)| decimal(of(row).0.into(), scale, 0)));
        for amounts in [&row.proceeds, &row.proceeds_withdrawn] {
            cells.push(report.units.amounts(amounts.iter().map(|(asset, amount)| (*asset, amount.0))).join(", "));
        }
        table.row(&cells);
    }
    table.end();
}

fn flows(html: &mut Html, report: &IncidentReport) {
    if report.flows.is_empty() {
        return;
    }
    let worth = |asset: AssetId, amount: Amount| {
        report.valuation.as_ref().and_then(|valuation| valuation.worth(asset, amount.0.into()))
    };
    let mut flows: Vec<_> = report.flows.iter().collect();
    flows.sort_by_key(|flow| (std::cmp::Reverse(worth(flow.asset, flow.amount)), flow.asset));
    flows.truncate(FLOWS_MAX);
    let columns = [
        ("from", Align::Words),
        ("to", Align::Words),
        ("how", Align::Words),
        ("hop", Align::Numbers),
        ("amount", Align::Numbers),
        ("worth before the error", Align::Numbers),
    ];
    let columns = if report.valuation.is_some() { &columns[..] } else { &columns[..5] };
    let mut table = Table::begin(html, "The largest movements from account to account", columns);
    for flow in flows {
        let mut cells = vec![
            account(flow.from),
            account(flow.to),
            match flow.kind {
                FlowKind::Sold => "sold",
                FlowKind::Transferred => "transferred",
                FlowKind::Withdrawn => "withdrawn",
                FlowKind::Fee => "fee",
            }
            .to_owned(),
            flow.hop.to_string(),
            report.units.amount(flow.asset, flow.amount.0.into()),
        ];
        if let Some(valuation) = &report.valuation {
            let worth = worth(flow.asset, flow.amount);
            cells.push(worth.map_or_else(String::new, |worth| report.units.about(valuation.asset, worth)));
        }
        table.row(&cells);
    }
    table.end();
}

/// Who was touched, by each of the rules.
fn touched(html: &mut Html, report: &IncidentReport, figures: &TraceFigures) {
    html.heading("Who was touched");
    let columns =
        [("rule", Align::Words), ("accounts", Align::Numbers), ("trades", Align::Numbers), ("", Align::Words)];
    let mut table = Table::begin(html, "Evidence, not entitlement", &columns);
    table.row(&[
        "lots",
        &grouped(figures.holders),
        "",
        "have something of the credit itself: what an account had before goes first, then strictly in order of arrival",
    ]);
    table.row(&[
        "poison",
        &grouped(figures.poisoned),
        &format!("{} of {}", grouped(figures.fills_touched), grouped(figures.fills)),
        &format!(
            "got anything at all from a touched account; {} of them were never credited",
            grouped(figures.poisoned_innocent)
        ),
    ]);
    let excised = report.strategies.iter().find(|row| row.name == "excise" && row.refused.is_none());
    if let Some(row) = excised {
        table.row(&[
            "divergence",
            &grouped(row.accounts_changed),
            &grouped(u128::from(row.trades_voided) + u128::from(row.trades_new)),
            &format!(
                "would stand otherwise had the error not happened; {} of them were never credited",
                grouped(row.innocent_changed)
            ),
        ]);
    }
    table.end();
}
