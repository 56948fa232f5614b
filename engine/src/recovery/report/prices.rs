//! Prices through the incident, and books before and after it.

use super::{
    chart::Plot,
    data::{BookChange, IncidentReport, Mark, PriceChart},
    markup::{Html, Text},
    numbers::{PriceUnit, grouped},
};
use crate::{
    exchange::{BookView, LevelView},
    recovery::PricePoint,
    types::{Price, Timestamp},
};

/// A chart that stands beside another.
const SIZE: (f64, f64) = (460.0, 280.0);
/// Room above a plot for the words of its marks.
const MARKS_HEIGHT: f64 = 28.0;
/// A price axis begins at zero when the lowest price is less than this of the highest.
const FROM_ZERO: f64 = 0.45;

/// A line chart for each market.
pub(super) fn prices(html: &mut Html, report: &IncidentReport) {
    let drawn: Vec<&PriceChart> = report.prices.iter().filter(|chart| !is_empty(chart)).collect();
    if drawn.is_empty() {
        return;
    }
    let shows = |has: fn(&PriceChart) -> bool| drawn.iter().any(|chart| has(chart));
    let mut key = vec![("line happened", "as it happened")];
    if shows(|chart| chart.repaired.as_ref().is_some_and(|points| !points.is_empty())) {
        key.push(("line repaired", "trades that stand after the repair"));
    }
    if shows(|chart| !chart.reopened.is_empty()) {
        key.push(("line reopened", "after the reopening"));
    }
    html.key(&key);
    html.raw("<div class=\"charts\">\n");
    for chart in drawn {
        price(html, report, chart);
    }
    html.raw("</div>\n");
    html.note("Seconds are counted from the error.");
    if report.prices.iter().any(|chart| chart.repaired.is_some()) {
        html.note("Where a line of the repair is missing, every trade at that time is void: nothing took place there.");
    }
}

fn is_empty(chart: &PriceChart) -> bool {
    chart.happened.is_empty() && chart.reopened.is_empty() && chart.repaired.as_ref().is_none_or(Vec::is_empty)
}

fn price(html: &mut Html, report: &IncidentReport, chart: &PriceChart) {
    let unit = report.units.price_unit(chart.market);
    let seconds = |time: Timestamp| (i128::from(time.0) - i128::from(report.error.0)) as f64 / 1e9;
    let point = |point: &PricePoint| (seconds(point.time), unit.value(point.price));
    let repaired = chart.repaired.as_deref().unwrap_or_default();
    let all = || chart.happened.iter().chain(repaired).chain(&chart.reopened);
    let marks: Vec<(f64, &str)> =
        report.marks.iter().map(|Mark { time, what }| (seconds(*time), what.as_str())).collect();
    let x = extent(all().map(|point| seconds(point.time)).chain(marks.iter().map(|(time, _)| *time)));
    let plot = Plot::new(SIZE, x, padded(extent(all().map(|point| unit.value(point.price)))), MARKS_HEIGHT);
    let name = report.units.market_name(chart.market);
    html.put(format_args!(
        "<figure><figcaption><b>{}</b>, {}{}</figcaption>\n",
        Text(&name),
        Text(&report.units.price_name(chart.market)),
        Text(&fall(report, chart, unit))
    ));
    plot.begin(html, &format!("price of {name} through the incident"), "seconds from the error");
    // Broad below, so that what stands of it can be drawn over it.
    let under = if repaired.is_empty() { "happened" } else { "happened under" };
    plot.line(html, under, chart.happened.iter().map(point));
    plot.line(html, "repaired", repaired.iter().map(point));
    plot.line(html, "reopened", chart.reopened.iter().map(point));
    plot.marks(html, &marks);
    html.raw("</svg></figure>\n");
}

/// How far the price fell, in words.
fn fall(report: &IncidentReport, chart: &PriceChart, unit: PriceUnit) -> String {
    deepest(report, chart).map_or_else(String::new, |(before, lowest)| {
        format!(
            ": {} before, {} at its lowest ({})",
            unit.text(before),
            unit.text(lowest),
            change(unit, before, lowest)
        )
    })
}

/// A fall in percent.
pub(super) fn change(unit: PriceUnit, before: Price, lowest: Price) -> String {
    let share = (unit.value(lowest) / unit.value(before) - 1.0) * 100.0;
    if share > -99.5 { format!("\u{2212}{:.0} %", -share) } else { format!("\u{2212}{:.1} %", -share) }
}

/// The last price before the error, or the first after it, and the lowest after it, if that is lower.
pub(super) fn deepest(report: &IncidentReport, chart: &PriceChart) -> Option<(Price, Price)> {
    let is_before = |point: &&PricePoint| point.time <= report.error;
    let before = chart.happened.iter().rfind(is_before).or_else(|| chart.happened.first())?.price;
    let lowest = chart.happened.iter().filter(|point| !is_before(point)).map(|point| point.price).min()?;
    (lowest < before && before.0 > 0).then_some((before, lowest))
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// With a little room, and from zero where the range is wide.
fn padded((low, high): (f64, f64)) -> (f64, f64) {
    let room = (high - low).max(high.abs() * 0.01) * 0.06;
    (if low < FROM_ZERO * high { 0.0 } else { low - room }, high + room)
}

/// Depth before and after, side by side and at the same scale.
pub(super) fn books(html: &mut Html, report: &IncidentReport) {
    let drawn = report.books.iter().filter(|book| !(is_bare(&book.before) && is_bare(&book.after)));
    let mut drawn = drawn.peekable();
    if drawn.peek().is_none() {
        return;
    }
    html.put(format_args!(
        "<p>What could be bought and sold at each price, at the halt and after the repair. The drawings of a market \
         have the same scale.</p>\n"
    ));
    html.key(&[
        ("reopened", "bids: what buyers would pay down to a price"),
        ("happened", "asks: what sellers would take up to a price"),
    ]);
    html.raw("<div class=\"charts\">\n");
    for book in drawn {
        depths(html, report, book);
    }
    html.raw("</div>\n");
}

const fn is_bare(book: &BookView) -> bool {
    book.bids.is_empty() && book.asks.is_empty()
}

fn depths(html: &mut Html, report: &IncidentReport, book: &BookChange) {
    let market = book.before.market;
    let unit = report.units.price_unit(market);
    let window = window(book, unit);
    let (before, after) = (Depth::of(report, &book.before, window), Depth::of(report, &book.after, window));
    let deepest = before.deepest().max(after.deepest());
    let name = report.units.market_name(market);
    let same = book.before.bids == book.after.bids && book.before.asks == book.after.asks;
    let drawings = [("before", &book.before, before), ("after", &book.after, after)];
    for (when, view, depth) in drawings.into_iter().take(if same { 1 } else { 2 }) {
        let when = if same { "before and after: the repair changes nothing in it" } else { when };
        html.put(format_args!(
            "<figure><figcaption><b>{}</b> {when}; sums in {}. {}</figcaption>\n",
            Text(&name),
            Text(&report.units.quote_name(market)),
            Text(&best(view, unit))
        ));
        let plot = Plot::new(SIZE, window, (0.0, deepest * 1.05), 0.0);
        let along = report.units.price_name(market);
        plot.begin(html, &format!("depth of {name} {when}"), &along);
        plot.steps(html, "bid", &depth.bids, window.0);
        plot.steps(html, "ask", &depth.asks, window.1);
        html.raw("</svg></figure>\n");
    }
}

fn best(book: &BookView, unit: PriceUnit) -> String {
    let price = |levels: &[LevelView]| levels.first().map_or_else(|| "none".to_owned(), |level| unit.text(level.price));
    let orders: u64 = book.bids.iter().chain(&book.asks).map(|level| u64::from(level.orders)).sum();
    format!("Best bid {}, best ask {}; {} orders", price(&book.bids), price(&book.asks), grouped(orders))
}

/// The prices to be shown: around the best ones of both books.
fn window(book: &BookChange, unit: PriceUnit) -> (f64, f64) {
    let levels = [&book.before.bids, &book.before.asks, &book.after.bids, &book.after.asks];
    let value = |level: &LevelView| unit.value(level.price);
    let (low, high) = extent(levels.iter().filter_map(|levels| levels.first()).map(value));
    let (lowest, highest) = extent(levels.iter().flat_map(|levels| levels.iter()).map(value));
    let room = ((high - low) * 0.3).max(high * 0.04);
    ((low - room).max(lowest - room * 0.05).max(0.0), (high + room).min(highest + room * 0.05))
}

/// Sums along a book, in the quote: in the base a few orders at next to nothing would hide all others.
struct Depth {
    bids: Vec<(f64, f64)>,
    asks: Vec<(f64, f64)>,
}

impl Depth {
    fn of(report: &IncidentReport, book: &BookView, window: (f64, f64)) -> Self {
        let unit = report.units.price_unit(book.market);
        let sums = |levels: &[LevelView]| {
            let mut sum = 0.0;
            let levels = levels.iter().map(|level| {
                let (minor, scale) = report.units.quantity(book.market, level.quantity);
                let price = unit.value(level.price);
                sum += price * minor as f64 / 10_f64.powi(scale.into());
                (price, sum)
            });
            levels.filter(|(price, _)| (window.0..=window.1).contains(price)).collect()
        };
        Self { bids: sums(&book.bids), asks: sums(&book.asks) }
    }

    fn deepest(&self) -> f64 {
        self.bids.iter().chain(&self.asks).map(|(_, sum)| *sum).fold(0.0, f64::max)
    }
}
