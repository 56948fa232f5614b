//! Charts, drawn as SVG with the colours of the page: prices along time, books as depth, and amounts as bars.

use std::fmt::Write as _;

use super::{
    markup::{Html, Text},
    numbers::PriceUnit,
};
use crate::exchange::LevelView;

/// Of every chart, in its own units; the page scales it.
const WIDTH: f64 = 960.0;
/// For the labels at the left.
const LEFT: f64 = 84.0;
/// For what would stand out at the right.
const RIGHT: f64 = 14.0;
/// For marks above and times below.
const TOP: f64 = 22.0;
const BOTTOM: f64 = 26.0;
/// The most steps of a line: two for each unit of width say everything.
const COLUMNS: usize = 480;

/// A line of a chart: colour, and points from left to right.
pub(super) struct Line {
    /// The style sheet's name of the colour.
    pub(super) colour: &'static str,
    /// Whether it is drawn with dashes.
    pub(super) dashed: bool,
    /// Where.
    pub(super) points: Vec<(f64, f64)>,
}

/// Round numbers from `low` to `high`, about `count` of them, and how many places they need.
pub(super) fn ticks(low: f64, high: f64, count: usize) -> (Vec<f64>, usize) {
    let rough = (high - low) / count.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return (vec![low], 0);
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let places = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    ((first..=last).map(|number| number as f64 * step).collect(), places)
}

/// A number on an axis: short, with k, M, G.
fn short(value: f64, places: usize) -> String {
    let (value, suffix) = match value.abs() {
        large if large >= 1e12 => return format!("{value:.1e}"),
        large if large >= 1e9 => (value / 1e9, "G"),
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e4 => (value / 1e3, "k"),
        _ => return format!("{value:.places$}"),
    };
    let text = format!("{value:.2}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Keeps the first, the lowest, the highest and the last point of every column, so that no spike is lost.
fn thinned(points: &[(f64, f64)], low: f64, high: f64) -> Vec<(f64, f64)> {
    if points.len() <= 2 * COLUMNS {
        return points.to_vec();
    }
    let column = |x: f64| ((x - low) / (high - low).max(f64::MIN_POSITIVE) * COLUMNS as f64) as usize;
    let mut kept = Vec::with_capacity(4 * COLUMNS);
    for chunk in points.chunk_by(|left, right| column(left.0) == column(right.0)) {
        let by = |left: &&(f64, f64), right: &&(f64, f64)| left.1.total_cmp(&right.1);
        let extremes = [chunk.first(), chunk.iter().min_by(by), chunk.iter().max_by(by), chunk.last()];
        let mut chosen: Vec<(f64, f64)> = extremes.into_iter().flatten().copied().collect();
        chosen.sort_by(|left, right| left.0.total_cmp(&right.0));
        chosen.dedup();
        kept.extend(chosen);
    }
    kept
}

struct Frame {
    low: (f64, f64),
    high: (f64, f64),
    height: f64,
}

impl Frame {
    /// Around all points, with some room above and below.
    fn around(points: impl Iterator<Item = (f64, f64)> + Clone, height: f64) -> Option<Self> {
        let fold = |of: fn(&(f64, f64)) -> f64, pick: fn(f64, f64) -> f64| {
            points.clone().map(|point| of(&point)).filter(|value| value.is_finite()).reduce(pick)
        };
        let (mut low, mut high) = (
            (fold(|point| point.0, f64::min)?, fold(|point| point.1, f64::min)?),
            (fold(|point| point.0, f64::max)?, fold(|point| point.1, f64::max)?),
        );
        if high.0 <= low.0 {
            (low.0, high.0) = (low.0 - 1.0, high.0 + 1.0);
        }
        let room = ((high.1 - low.1) * 0.06).max(high.1.abs() * 1e-3).max(f64::MIN_POSITIVE);
        low.1 = if low.1 >= 0.0 { (low.1 - room).max(0.0) } else { low.1 - room };
        high.1 += room;
        Some(Self { low, high, height })
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.low.0) / (self.high.0 - self.low.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.height - BOTTOM - (value - self.low.1) / (self.high.1 - self.low.1) * (self.height - TOP - BOTTOM)
    }

    fn begin(&self, html: &mut Html, label: &str) {
        html.put(format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">",
            self.height,
            Text(label)
        ));
    }

    /// Lines and numbers along both axes.
    fn axes(&self, html: &mut Html, unit: &str) {
        let (values, places) = ticks(self.low.1, self.high.1, 5);
        for value in values {
            let y = self.y(value);
            html.put(format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                short(value, places)
            ));
        }
        let (values, places) = ticks(self.low.0, self.high.0, 6);
        for value in values {
            html.put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}{}</text>",
                self.x(value).clamp(LEFT + 10.0, WIDTH - RIGHT - 22.0),
                self.height - 8.0,
                short(value, places),
                Text(unit)
            ));
        }
    }

    /// A vertical line with a word above. Words that would touch each other stand lower.
    fn marks(&self, html: &mut Html, marks: &[(f64, String)]) {
        let mut taken = [f64::MIN; 3];
        for (value, word) in marks {
            if *value < self.low.0 || *value > self.high.0 {
                continue;
            }
            let x = self.x(*value);
            let width = word.chars().count() as f64 * 8.0 + 8.0;
            let end = x > WIDTH - RIGHT - width;
            let start = if end { x - width } else { x };
            let row = taken.iter().position(|taken| *taken <= start).unwrap_or(0);
            taken[row] = start + width;
            html.put(format_args!(
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\"{}>{}</text>",
                TOP - 8.0,
                self.height - BOTTOM,
                if end { x - 4.0 } else { x + 4.0 },
                TOP - 8.0 + 16.0 * row as f64,
                if end { " text-anchor=\"end\"" } else { "" },
                Text(word)
            ));
        }
    }

    fn polyline(&self, html: &mut Html, line: &Line) {
        if line.points.is_empty() {
            return;
        }
        let mut path = String::new();
        for (number, (x, y)) in thinned(&line.points, self.low.0, self.high.0).into_iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.x(x), self.y(y));
        }
        // A single trade is a point.
        if line.points.len() == 1 {
            path.push_str("h3");
        }
        let dash = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        html.put(format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"var(--{})\" stroke-width=\"2\" stroke-linejoin=\"round\"{dash}/>",
            line.colour
        ));
    }
}

/// Lines along time, in seconds from the error; marks at times.
pub(super) fn lines(html: &mut Html, label: &str, lines: &[Line], marks: &[(f64, String)]) {
    let points = lines.iter().flat_map(|line| line.points.iter().copied());
    let Some(frame) = Frame::around(points, 320.0) else { return };
    frame.begin(html, label);
    frame.axes(html, " s");
    for line in lines {
        frame.polyline(html, line);
    }
    frame.marks(html, marks);
    html.raw("</svg>");
}

/// The sides of a book as depth: what could be bought, or sold, up to each price.
pub(super) struct Depth<'a> {
    /// Highest first.
    pub(super) bids: &'a [LevelView],
    /// Lowest first.
    pub(super) asks: &'a [LevelView],
    /// Prefix of the colours, and whether it is the one behind.
    pub(super) dashed: bool,
}

/// Books on the same scales, so that they can be compared at a glance. `quantity` turns lots into whole base units.
pub(super) fn depth(
    html: &mut Html,
    label: &str,
    books: &[Depth<'_>],
    unit: PriceUnit,
    quantity: impl Fn(u128) -> f64,
) {
    let line = |levels: &[LevelView], colour, dashed| {
        let mut sum = 0_u128;
        let mut points = Vec::with_capacity(2 * levels.len());
        for level in levels {
            let x = unit.value(level.price);
            points.push((x, quantity(sum)));
            sum += u128::from(level.quantity.0);
            points.push((x, quantity(sum)));
        }
        points.sort_by(|left, right| left.0.total_cmp(&right.0));
        if colour == "s3" {
            // Bids rise to the left.
            points.chunk_by_mut(|left, right| left.0 == right.0).for_each(<[_]>::reverse);
        }
        Line { colour, dashed, points }
    };
    let all: Vec<Line> = books
        .iter()
        .flat_map(|book| [line(book.bids, "s3", book.dashed), line(book.asks, "s6", book.dashed)])
        .collect();
    let points = all.iter().flat_map(|line| line.points.iter().copied());
    let Some(frame) = Frame::around(points, 280.0) else { return };
    frame.begin(html, label);
    frame.axes(html, "");
    for line in &all {
        frame.polyline(html, line);
    }
    html.raw("</svg>");
}

/// One bar of several parts that are all there is: colour, name and share of each. Parts of nothing are left out.
pub(super) fn stacked(html: &mut Html, label: &str, parts: &[(&'static str, f64)]) {
    const HEIGHT: f64 = 30.0;
    let sum: f64 = parts.iter().map(|(_, part)| part).sum();
    if sum <= 0.0 {
        return;
    }
    html.put(format_args!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" preserveAspectRatio=\"none\" style=\"height:1.6rem\">",
        Text(label)
    ));
    let mut x = 0.0;
    for (colour, part) in parts.iter().filter(|(_, part)| *part > 0.0) {
        let width = part / sum * WIDTH;
        html.put(format_args!(
            "<rect x=\"{x:.2}\" y=\"0\" width=\"{width:.2}\" height=\"{HEIGHT}\" fill=\"var(--{colour})\"/>"
        ));
        x += width;
    }
    html.raw("</svg>");
}

/// A small bar beside a number, `share` of the widest one.
pub(super) fn bar(share: f64) -> String {
    let width = (share.clamp(0.0, 1.0) * 200.0).max(if share > 0.0 { 1.0 } else { 0.0 });
    format!(
        "<svg viewBox=\"0 0 200 12\" style=\"width:9rem;height:.7rem\" aria-hidden=\"true\"><rect width=\"{width:.1}\" height=\"12\" rx=\"2\" fill=\"var(--s1)\"/></svg>"
    )
}
