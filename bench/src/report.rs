//! What was measured, for people and as JSON.

use std::{collections::BTreeMap, fmt};

use gateway_sim::{
    machine::{COMMIT, Machine},
    report::text::grouped,
};
use serde::Serialize;

use crate::limits::Together;

/// All of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The commit that was built.
    pub commit: String,
    /// Over how many rounds figures are medians.
    pub rounds: usize,
    /// The machine's load average before the run: of the last minute, five and fifteen.
    pub load_average_before: String,
    /// The same after the run.
    pub load_average_after: String,
    /// What two cores do together, one sample for each round.
    pub together: Together,
    /// The figures under a fixed name that are a ratio of two medians.
    pub ratios: BTreeMap<String, f64>,
    /// Millions of commands per second in line.
    pub inline_mps: BTreeMap<String, f64>,
    /// Millions of commands per second through the durable pipeline.
    pub durable_mps: Option<f64>,
    /// Whether all of ours ended as it must, and with it every peer that is right.
    pub agree: bool,
    /// What was to be reached.
    pub targets: Vec<Target>,
    /// The figures.
    pub sections: Vec<Section>,
    /// What of ours ended wrongly; there must be nothing.
    pub failures: Vec<String>,
}

/// What one part of a run has to say.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The figures.
    pub sections: Vec<Section>,
    /// What was to be reached.
    pub targets: Vec<Target>,
    /// What of ours ended wrongly.
    pub failures: Vec<String>,
}

/// A figure, and what it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// The fixed name that the figure has in the report: `ratios.NAME`, `inline_mps.NAME` or `durable_mps`; empty if none.
    pub key: &'static str,
    /// Of what the figure is.
    pub claim: String,
    /// The figure.
    pub value: f64,
    /// How much it should be.
    pub bound: Bound,
    /// Whether it is.
    pub met: bool,
}

/// How much a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(formatter, ">= {bound}"),
            Self::AtMost(bound) => write!(formatter, "<= {bound}"),
        }
    }
}

impl Target {
    /// A figure that should be `bound` or more.
    #[must_use]
    pub fn at_least(key: &'static str, claim: impl Into<String>, value: f64, bound: f64) -> Self {
        Self { key, claim: claim.into(), value, bound: Bound::AtLeast(bound), met: value >= bound }
    }

    /// A figure that should be `bound` or less.
    #[must_use]
    pub fn at_most(key: &'static str, claim: impl Into<String>, value: f64, bound: f64) -> Self {
        Self { key, claim: claim.into(), value, bound: Bound::AtMost(bound), met: value <= bound }
    }
}

impl Report {
    /// The report of a run whose parts found this; load averages are those before and after it.
    #[must_use]
    pub fn new(rounds: usize, load_average_before: String, together: Together, parts: Vec<Findings>) -> Self {
        let mut all = Findings::default();
        for part in parts {
            all.sections.extend(part.sections);
            all.targets.extend(part.targets);
            all.failures.extend(part.failures);
        }
        let named = |group: &str| -> BTreeMap<String, f64> {
            let keys = all.targets.iter().filter_map(|target| Some((target.key.strip_prefix(group)?, target.value)));
            keys.map(|(name, value)| (name.to_owned(), value)).collect()
        };
        Self {
            machine: Machine::current(),
            commit: COMMIT.to_owned(),
            rounds,
            load_average_before,
            load_average_after: load_average(),
            together,
            ratios: named("ratios."),
            inline_mps: named("inline_mps."),
            durable_mps: named("durable_mps").get("").copied(),
            agree: all.failures.is_empty(),
            targets: all.targets,
            sections: all.sections,
            failures: all.failures,
        }
    }
}

/// Figures of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// What they are of.
    pub title: String,
    /// Under what they were measured, a line each.
    pub conditions: Vec<String>,
    /// What is counted per second.
    pub unit: &'static str,
    /// In the order in which they are shown.
    pub figures: Vec<Figure>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Of what.
    pub name: String,
    /// How it ran: durability, topology, size of items.
    pub setting: String,
    /// The median of the samples, per second; 0 when there are none.
    pub median: f64,
    /// The least of the samples.
    pub least: f64,
    /// The most of the samples.
    pub most: f64,
    /// One for each round, per second.
    pub samples: Vec<f64>,
    /// How it compares.
    pub ratio: Option<Ratio>,
    /// Whether the outcome was the right one, and if not, how it differs.
    pub outcome: String,
}

/// A comparison with another figure of the section.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// The other figure.
    pub to: String,
    /// The median of the rounds' ratios.
    pub median: f64,
}

impl Figure {
    /// A figure from its samples.
    #[must_use]
    pub fn new(name: impl Into<String>, setting: impl Into<String>, samples: &[f64], outcome: String) -> Self {
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
        Self {
            name: name.into(),
            setting: setting.into(),
            median: median(samples),
            least: if samples.is_empty() { 0.0 } else { least },
            most: samples.iter().copied().fold(0.0, f64::max),
            samples: samples.to_vec(),
            ratio: None,
            outcome,
        }
    }

    /// The figure with its ratio to another, round by round.
    #[must_use]
    pub fn compared_to(mut self, to: &str, samples: &[f64]) -> Self {
        if self.samples.len() == samples.len() && !samples.is_empty() {
            let ratios: Vec<f64> = self.samples.iter().zip(samples).map(|(own, other)| own / other).collect();
            self.ratio = Some(Ratio { to: to.to_owned(), median: median(&ratios) });
        }
        self
    }
}

/// The median; 0 of nothing.
///
/// ```
/// use bench::report::median;
/// assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
/// assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
/// ```
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The machine's load average as the system tells it.
#[must_use]
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let fields: Vec<&str> = text.split_ascii_whitespace().take(3).collect();
    if fields.is_empty() { "unknown".to_owned() } else { fields.join(" ") }
}

fn millions(per_second: f64) -> String {
    if per_second >= 10_000.0 {
        format!("{:.2} M/s", per_second / 1e6)
    } else {
        format!("{}/s", grouped(per_second as u64))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(formatter, "machine   {}, {} cores, {}", machine.processor, machine.cores, machine.kernel)?;
        writeln!(formatter, "commit    {}", self.commit)?;
        writeln!(
            formatter,
            "rounds    {}, interleaved; figures are medians, with the least and the most",
            self.rounds
        )?;
        writeln!(formatter, "load      {} before, {} after", self.load_average_before, self.load_average_after)?;
        if self.rounds > 0 {
            write!(formatter, "{}", self.together)?;
        }
        for section in &self.sections {
            write!(formatter, "\n{section}")?;
        }
        if !self.targets.is_empty() {
            writeln!(formatter, "\ntargets")?;
        }
        let width = self.targets.iter().map(|target| target.claim.chars().count()).max().unwrap_or(0);
        for Target { claim, value, bound, met, .. } in &self.targets {
            let (value, bound, met) = (format!("{value:.2}"), bound.to_string(), if *met { "met" } else { "MISSED" });
            writeln!(formatter, "  {claim:width$}  {value:>10}  {bound:>10}  {met}")?;
        }
        for failure in &self.failures {
            writeln!(formatter, "\nFAILED: {failure}")?;
        }
        let agree = if self.agree { "yes" } else { "NO" };
        writeln!(formatter, "\nall ended as they must, and as every peer that is right: {agree}")
    }
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timed = self.figures.iter().any(|figure| !figure.samples.is_empty());
        let unit = if timed { format!(" ({} per second)", self.unit) } else { String::new() };
        writeln!(formatter, "{}{unit}", self.title)?;
        for condition in &self.conditions {
            writeln!(formatter, "  {condition}")?;
        }
        let width = |of: fn(&Figure) -> usize| self.figures.iter().map(of).max().unwrap_or(0);
        let names = width(|figure| figure.name.chars().count());
        let settings = width(|figure| figure.setting.chars().count());
        for figure in &self.figures {
            write!(formatter, "  {:names$}  {:settings$}", figure.name, figure.setting)?;
            if figure.samples.is_empty() {
                writeln!(formatter, "  {}", figure.outcome)?;
                continue;
            }
            let range = format!("({} to {})", millions(figure.least), millions(figure.most));
            write!(formatter, "  {:>12}  {range:28}", millions(figure.median))?;
            let ratio = figure.ratio.as_ref();
            let ratio = ratio.map_or_else(String::new, |ratio| format!("{:.2} of {}", ratio.median, ratio.to));
            writeln!(formatter, "  {ratio:24}  {}", figure.outcome)?;
        }
        Ok(())
    }
}
