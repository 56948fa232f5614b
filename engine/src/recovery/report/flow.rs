//! The flow of funds as bands whose widths are amounts: credited, what became of it, and where that is which went to others.

use super::{
    data::IncidentReport,
    markup::{Html, Text},
    money::{FATES, Unit, by_worth},
    numbers::{counted, percent},
};
use crate::{recovery::FlowKind, types::Amount};

const WIDTH: f64 = 940.0;
/// What all that was credited is high.
const HEIGHT: f64 = 250.0;
/// Two lines of a label need this much.
const SLOT: f64 = 34.0;
/// Width of the bar of a node.
const BAR: f64 = 12.0;
/// Where each column stands.
const COLUMNS: [f64; 4] = [4.0, 250.0, 490.0, 700.0];
/// Assets that are told apart.
const ASSETS_MAX: usize = 8;

/// Something that amounts come to.
struct Node {
    column: usize,
    class: &'static str,
    name: String,
    /// What stands behind its value.
    more: String,
    value: u128,
    /// Where it stands, and how high.
    top: f64,
    height: f64,
    /// How much of its sides is taken by bands already.
    into: f64,
    out: f64,
}

struct Diagram<'a> {
    unit: Unit<'a>,
    nodes: Vec<Node>,
    /// From, to, how much.
    bands: Vec<(usize, usize, u128)>,
    total: u128,
}

/// Draws it, where what was credited can be told in one unit.
pub(super) fn diagram(html: &mut Html, report: &IncidentReport) {
    let Some(unit) = Unit::of(report) else { return };
    let mut diagram = Diagram { unit, nodes: Vec::new(), bands: Vec::new(), total: 0 };
    diagram.total = report.credits.iter().map(|row| diagram.unit.value(row.asset, row.credited)).sum();
    if diagram.total == 0 {
        return;
    }
    diagram.credits(report);
    diagram.others(report);
    html.heading("Flow of funds");
    html.note(&format!("Widths are amounts, {}.{}", diagram.unit.name(), left_out(&diagram.unit)));
    diagram.draw(html);
}

fn left_out(unit: &Unit<'_>) -> String {
    let symbols = unit.left_out();
    if symbols.is_empty() { String::new() } else { format!(" Without a price, and not drawn: {}.", symbols.join(", ")) }
}

impl Diagram<'_> {
    fn node(&mut self, column: usize, class: &'static str, name: impl Into<String>, value: u128) -> usize {
        let (name, more) = (name.into(), String::new());
        self.nodes.push(Node { column, class, name, more, value, top: 0.0, height: 0.0, into: 0.0, out: 0.0 });
        self.nodes.len() - 1
    }

    /// From assets to what became of them.
    fn credits(&mut self, report: &IncidentReport) {
        let rows: Vec<_> =
            by_worth(report).into_iter().filter(|row| self.unit.value(row.asset, row.credited) > 0).collect();
        let sum = |of: fn(&crate::recovery::CreditRow) -> Amount, unit: &Unit<'_>| {
            rows.iter().map(|row| unit.value(row.asset, of(row))).sum::<u128>()
        };
        let fates = FATES.map(|(class, name, of)| {
            let value = sum(of, &self.unit);
            (value > 0).then(|| self.node(1, class, name, value))
        });
        // The smallest ones are one node when there are too many.
        let apart = if rows.len() > ASSETS_MAX { ASSETS_MAX - 1 } else { rows.len() };
        let (large, small) = rows.split_at(apart);
        let mut groups: Vec<(String, &[&crate::recovery::CreditRow])> =
            large.chunks(1).map(|row| (report.units.symbol(row[0].asset), row)).collect();
        if !small.is_empty() {
            groups.push((format!("{} others", small.len()), small));
        }
        for (name, rows) in groups {
            let value = rows.iter().map(|row| self.unit.value(row.asset, row.credited)).sum();
            let from = self.node(0, "asset", name, value);
            for ((_, _, of), to) in FATES.iter().zip(fates) {
                let value = rows.iter().map(|row| self.unit.value(row.asset, of(row))).sum();
                if let Some(to) = to.filter(|_| value > 0) {
                    self.bands.push((from, to, value));
                }
            }
        }
    }

    /// From what was sold or transferred to where it is now.
    fn others(&mut self, report: &IncidentReport) {
        let sources: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].column == 1 && ["sold", "transferred"].contains(&self.nodes[*node].class))
            .collect();
        let passed: u128 = sources.iter().map(|node| self.nodes[*node].value).sum();
        if passed == 0 || report.holders.is_empty() {
            return;
        }
        let others = self.node(2, "others", "to other accounts", passed);
        for from in sources {
            self.bands.push((from, others, self.nodes[from].value));
        }
        let held = |from: u8, to: u8| {
            let rows = report.holders.iter().filter(|row| (from..=to).contains(&row.hop));
            let (mut value, mut balances) = (0_u128, 0_u128);
            for row in rows {
                value += self.unit.value(row.asset, row.amount);
                balances += u128::from(row.accounts);
            }
            (value, balances)
        };
        let gone = |kind: FlowKind| {
            let rows = report.hops.iter().filter(|row| row.kind == kind && row.hop > 1);
            rows.map(|row| self.unit.value(row.asset, row.amount)).sum::<u128>()
        };
        let balances = |count: u128| format!(", {}", counted(count, "balance"));
        let (first, second, further) = (held(1, 1), held(2, 2), held(3, u8::MAX));
        let mut ends = vec![
            ("available", "with who got it", balances(first.1), first.0),
            ("held", "passed on once more", balances(second.1), second.0),
            ("transferred", "passed on further", balances(further.1), further.0),
            ("withdrawn", "withdrawn by them", String::new(), gone(FlowKind::Withdrawn)),
            ("fees", "fees paid by them", String::new(), gone(FlowKind::Fee)),
        ];
        let told: u128 = ends.iter().map(|(.., value)| value).sum();
        // Rounding leaves nothing that could be seen; what can be was set off or is with those credited again.
        let rest = passed.saturating_sub(told);
        if rest.saturating_mul(1_000) > passed {
            ends.push(("setoff", "elsewhere", String::new(), rest));
        }
        for (class, name, more, value) in ends.into_iter().filter(|(.., value)| *value > 0) {
            let to = self.node(3, class, name, value);
            self.nodes[to].more = more;
            self.bands.push((others, to, value));
        }
    }

    /// Gives every node its place; gives the height of all.
    fn lay_out(&mut self) -> f64 {
        let per_value = HEIGHT / self.total as f64;
        let mut lowest: f64 = 0.0;
        for column in 0..COLUMNS.len() {
            let mut top = if column == 2 { SLOT } else { 0.0 };
            for node in self.nodes.iter_mut().filter(|node| node.column == column) {
                node.height = (node.value as f64 * per_value).max(1.5);
                let slot = (node.height + 8.0).max(SLOT);
                node.top = top + (slot - node.height) / 2.0;
                top += slot;
            }
            lowest = lowest.max(top);
        }
        // What went to others stands where it comes from.
        let from = self.bands.iter().filter(|(_, to, _)| self.nodes[*to].column == 2).map(|(from, ..)| *from);
        if let Some(top) = from.map(|from| self.nodes[from].top).reduce(f64::min) {
            let ends: f64 =
                self.nodes.iter().filter(|node| node.column == 3).map(|node| (node.height + 8.0).max(SLOT)).sum();
            let shift = top.min((lowest - ends).max(0.0));
            for node in &mut self.nodes {
                match node.column {
                    2 => node.top = top.max(SLOT),
                    3 => node.top += shift,
                    _ => {}
                }
            }
        }
        self.nodes.iter().map(|node| node.top + node.height).fold(lowest, f64::max) + 4.0
    }

    fn draw(mut self, html: &mut Html) {
        let height = self.lay_out();
        html.put(format_args!(
            "<figure class=\"scroll wide\" tabindex=\"0\"><svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"flow of \
             funds\">\n"
        ));
        let per_value = HEIGHT / self.total as f64;
        for (from, to, value) in std::mem::take(&mut self.bands) {
            let width = value as f64 * per_value;
            let (x1, x2) = (COLUMNS[self.nodes[from].column] + BAR, COLUMNS[self.nodes[to].column]);
            let (y1, y2) = (self.nodes[from].top + self.nodes[from].out, self.nodes[to].top + self.nodes[to].into);
            self.nodes[from].out += width;
            self.nodes[to].into += width;
            let (middle, width) = (f64::midpoint(x1, x2), width.max(0.75));
            html.put(format_args!(
                "<path class=\"ribbon {}\" d=\"M{x1:.1} {y1:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {x2:.1} {y2:.1}V{:.1}C{middle:.1} \
                 {:.1} {middle:.1} {:.1} {x1:.1} {:.1}Z\"><title>{} \u{2192} {}: {}</title></path>\n",
                self.nodes[to].class,
                y2 + width,
                y2 + width,
                y1 + width,
                y1 + width,
                Text(&self.nodes[from].name),
                Text(&self.nodes[to].name),
                Text(&self.unit.text(value))
            ));
        }
        for node in &self.nodes {
            self.label(html, node);
        }
        html.raw("</svg></figure>\n");
    }

    fn label(&self, html: &mut Html, node: &Node) {
        let x = COLUMNS[node.column];
        html.put(format_args!(
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{BAR}\" height=\"{:.1}\"/>",
            node.class, node.top, node.height
        ));
        let middle = node.top + node.height / 2.0;
        let (x, y) = if node.column == 2 { (x, node.top - 20.0) } else { (x + BAR + 7.0, middle - 3.0) };
        let share = percent(node.value, self.total);
        html.put(format_args!(
            "<text class=\"strong halo\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text><text class=\"halo\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
            Text(&node.name),
            y + 14.0,
            Text(&format!("{}, {share}{}", self.unit.about(node.value), node.more))
        ));
    }
}
