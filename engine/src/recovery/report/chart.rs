//! What charts are made of: scales, axes and their ticks, and paths with no more points than can be seen.

use std::fmt::Write as _;

use super::{
    markup::{Html, Text},
    numbers::grouped,
};

/// What a character of an axis' label is wide, in units of the drawing; a little more than it is.
const CHARACTER: f64 = 6.7;

/// From values to places along one axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Values from `from` to `to` lie between `start` and `end`.
    pub(super) fn new((from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        let (from, to) = if from.is_finite() && to.is_finite() { (from, to) } else { (0.0, 1.0) };
        let to = if to > from { to } else { from + from.abs().max(1.0) };
        Self { from, to, start, end }
    }

    /// The place of a value; those outside lie at the edge.
    pub(super) fn at(self, value: f64) -> f64 {
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        let share = if share.is_finite() { share } else { 0.0 };
        self.start + share * (self.end - self.start)
    }

    /// About `count` round values within.
    fn ticks(self, count: u32) -> Vec<f64> {
        let step = step(self.to - self.from, count);
        let first = (self.from / step - 1e-6).ceil();
        (0..20)
            .map(|number| (first + f64::from(number)) * step)
            .take_while(|tick| *tick <= self.to + step * 1e-6)
            .collect()
    }
}

/// A round step of which about `count` go into `span`.
fn step(span: f64, count: u32) -> f64 {
    let rough = span / f64::from(count.max(1));
    if !rough.is_finite() || rough <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough * 0.999).unwrap_or(10.0);
    step * power
}

/// A number at an axis, as short as its neighbours allow.
fn label(value: f64, step: f64) -> String {
    let (value, sign) = (value.abs(), if value < -step * 1e-6 { "\u{2212}" } else { "" });
    let text = match value {
        _ if value >= 1e15 => format!("{value:.1e}"),
        _ if value >= 1e9 => {
            let (unit, name) = if value >= 1e12 { (1e12, "tn") } else { (1e9, "bn") };
            format!("{:.*} {name}", places(step / unit), value / unit)
        }
        _ => {
            let text = format!("{value:.*}", places(step));
            let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
            let whole = grouped(whole.parse::<u128>().unwrap_or(0));
            fraction.map_or_else(|| whole.clone(), |fraction| format!("{whole}.{fraction}"))
        }
    };
    format!("{sign}{text}")
}

/// The places that tell multiples of a step apart.
fn places(step: f64) -> usize {
    (0..12)
        .find(|places| (step * 10_f64.powi(*places)).fract().min(1.0 - (step * 10_f64.powi(*places)).fract()) < 1e-6)
        .map_or(12, |places| places as usize)
}

/// A drawing with a value axis at the left and one below.
pub(super) struct Plot {
    /// Along.
    pub(super) x: Scale,
    /// Up.
    pub(super) y: Scale,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
}

impl Plot {
    /// A drawing of a size, of values between these, with `above` left free over them.
    pub(super) fn new((width, height): (f64, f64), x: (f64, f64), y: (f64, f64), above: f64) -> Self {
        let step = step(y.1 - y.0, 5);
        let longest =
            Scale::new(y, (0.0, 1.0)).ticks(5).into_iter().map(|tick| label(tick, step).chars().count()).max();
        let left = longest.unwrap_or(1) as f64 * CHARACTER + 8.0;
        let (right, top, bottom) = (width - 10.0, 8.0 + above, height - 36.0);
        let (x, y) = (Scale::new(x, (left, right)), Scale::new(y, (bottom, top)));
        Self { x, y, width, height, left, right, bottom }
    }

    /// Begins the drawing, with its axes. `name` says what it shows to those who cannot see it, `along` names the lower axis.
    pub(super) fn begin(&self, html: &mut Html, name: &str, along: &str) {
        let Self { width, height, left, right, bottom, .. } = *self;
        html.put(format_args!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n", Text(name)));
        let size = step(self.y.to - self.y.from, 5);
        for tick in self.y.ticks(5) {
            let y = self.y.at(tick);
            html.put(format_args!(
                "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                label(tick, size)
            ));
        }
        let (size, ticks) = self.ticks_along();
        for tick in ticks {
            let x = self.x.at(tick);
            html.put(format_args!(
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 16.0,
                label(tick, size)
            ));
        }
        html.put(format_args!(
            "<line class=\"axis\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{right:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            height - 5.0,
            Text(along)
        ));
    }

    /// As many ticks below as have room for their labels.
    fn ticks_along(&self) -> (f64, Vec<f64>) {
        let mut chosen = (1.0, Vec::new());
        for count in 2..9 {
            let size = step(self.x.to - self.x.from, count);
            let ticks = self.x.ticks(count);
            let longest = ticks.iter().map(|tick| label(*tick, size).chars().count()).max().unwrap_or(1) as f64;
            let room = (self.right - self.left) * size / (self.x.to - self.x.from);
            if count == 2 || longest * CHARACTER + 12.0 <= room {
                chosen = (size, ticks);
            }
        }
        // A label at the very edge would be cut off.
        let half = |tick: f64| label(tick, chosen.0).chars().count() as f64 * CHARACTER / 2.0;
        let fits = |tick: &f64| self.x.at(*tick) + half(*tick) <= self.width && self.x.at(*tick) >= half(*tick);
        let ticks = chosen.1.into_iter().filter(fits).collect();
        (chosen.0, ticks)
    }

    /// Lines across with a word above each; words that would run into each other go one line lower.
    pub(super) fn marks(&self, html: &mut Html, marks: &[(f64, &str)]) {
        let mut ends = [f64::MIN; 3];
        for (value, word) in marks {
            let x = self.x.at(*value);
            let wide = word.chars().count() as f64 * CHARACTER;
            let from = (x - wide / 2.0).clamp(0.0, (self.width - wide).max(0.0));
            let line = ends.iter().position(|end| *end + 6.0 <= from).unwrap_or(ends.len() - 1);
            ends[line] = from + wide;
            let y = 12.0 + line as f64 * 13.0;
            html.put(format_args!(
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"halo\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>\n",
                y + 3.0,
                self.bottom,
                from + wide / 2.0,
                Text(word)
            ));
        }
    }

    /// A line through points that ascend along; of those that share a place the lowest and the highest are drawn.
    pub(super) fn line(&self, html: &mut Html, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        // Of one place: first, lowest, highest, last.
        let mut place: Option<(f64, [f64; 4])> = None;
        let mut draw = |x: f64, ys: [f64; 4]| {
            let mut last = f64::NAN;
            for y in ys {
                if (y - last).abs() < 0.05 {
                    continue;
                }
                last = y;
                let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
            }
        };
        for (x, y) in points {
            let (x, y) = (self.x.at(x), self.y.at(y));
            match &mut place {
                Some((at, [_, lowest, highest, last])) if x - *at < 0.6 => {
                    (*lowest, *highest, *last) = (lowest.max(y), highest.min(y), y);
                }
                _ => {
                    if let Some((at, ys)) = place.replace((x, [y; 4])) {
                        draw(at, ys);
                    }
                }
            }
        }
        if let Some((at, ys)) = place {
            // A single point would not be seen.
            draw(at, ys);
            draw(at + 0.8, [ys[3]; 4]);
        }
        if !path.is_empty() {
            html.put(format_args!("<path class=\"series {class}\" d=\"{path}\"/>\n"));
        }
    }

    /// An area under steps, from the first of `points` onwards, that ends where the last one stands or at `until`.
    pub(super) fn steps(&self, html: &mut Html, class: &str, points: &[(f64, f64)], until: f64) {
        let Some(&(first, _)) = points.first() else { return };
        let base = self.y.at(0.0);
        let mut path = format!("M{:.1} {base:.1}", self.x.at(first));
        let mut at = f64::NAN;
        for (place, (x, y)) in points.iter().enumerate() {
            let (x, y) = (self.x.at(*x), self.y.at(*y));
            // Steps that nobody can see are left out, the last one apart.
            if (x - at).abs() < 0.4 && place + 1 < points.len() {
                continue;
            }
            at = x;
            let _ = write!(path, "H{x:.1}V{y:.1}");
        }
        let _ = write!(path, "H{:.1}V{base:.1}Z", self.x.at(until));
        html.put(format_args!("<path class=\"{class}\" d=\"{path}\"/>\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_round_and_short() {
        let ticks = |from, to| -> Vec<String> {
            let size = step(to - from, 5);
            Scale::new((from, to), (0.0, 1.0)).ticks(5).into_iter().map(|tick| label(tick, size)).collect()
        };
        assert_eq!(ticks(0.0, 4_100_000.0), ["0", "1,000,000", "2,000,000", "3,000,000", "4,000,000"]);
        assert_eq!(ticks(-3.0, 14.0), ["0", "5", "10"]);
        assert_eq!(ticks(0.021, 0.0228), ["0.0210", "0.0215", "0.0220", "0.0225"]);
        assert_eq!(ticks(0.0, 1.8e19).last().map(String::as_str), Some("1.5e19"));
        assert_eq!(ticks(0.0, 4.5e9).last().map(String::as_str), Some("4 bn"));
        assert_eq!(label(-2.0, 1.0), "\u{2212}2");
    }

    #[test]
    fn nothing_that_is_no_number_gets_into_a_drawing() {
        for range in [(f64::NAN, 1.0), (0.0, f64::INFINITY), (5.0, 5.0), (7.0, 3.0), (0.0, 0.0)] {
            let plot = Plot::new((400.0, 200.0), range, range, 0.0);
            let mut html = Html::default();
            plot.begin(&mut html, "test", "along");
            plot.line(&mut html, "happened", [(0.0, f64::NAN), (f64::INFINITY, 1.0)].into_iter());
            plot.steps(&mut html, "bid", &[(f64::NAN, f64::NAN)], f64::NAN);
            let drawn = html.finish();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{range:?}: {drawn}");
        }
    }
}
