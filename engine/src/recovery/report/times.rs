//! How long everything took: the timeline, the machine time of each phase, how that compares, and latencies.

use super::{
    data::{IncidentReport, Mark, Phase},
    markup::{Align, Html, Table, Text},
    numbers::{microseconds, offset, span},
};

/// What bars of durations begin with, in seconds: a hundredth of a second.
const SHORTEST: f64 = 0.01;

/// Machine time from the halt until it is open again.
pub(super) fn machine_seconds(report: &IncidentReport) -> Option<f64> {
    let counted = || report.phases.iter().filter(|phase| phase.counts);
    counted().next().map(|_| counted().map(|phase| phase.milliseconds).sum::<f64>() / 1e3)
}

/// What happened when.
pub(super) fn timeline(html: &mut Html, report: &IncidentReport) {
    if report.timeline.is_empty() {
        return;
    }
    html.raw("<ol class=\"timeline\">\n");
    for Mark { time, what } in &report.timeline {
        let from_error = i128::from(time.0) - i128::from(report.error.0);
        html.put(format_args!("<li><time>{}</time><span>{}</span></li>\n", offset(from_error), Text(what)));
    }
    html.raw("</ol>\n");
    html.note("Times are counted from the error.");
}

/// What each phase took, and how long it took others.
pub(super) fn phases(html: &mut Html, report: &IncidentReport) {
    if report.phases.is_empty() && report.elapsed_seconds.is_none() {
        return;
    }
    durations(html, report);
    if report.phases.is_empty() {
        return;
    }
    let longest = report.phases.iter().map(|phase| phase.milliseconds).fold(0.0, f64::max);
    let columns = [
        ("phase", Align::Words),
        ("machine time", Align::Numbers),
        ("", Align::Words),
        ("what was done", Align::Words),
    ];
    let beside = report.phases.iter().any(|phase| !phase.counts);
    let what = if beside {
        "What each phase took; what is grey stands beside the total: other strategies, people, the collecting of orders"
    } else {
        "What each phase took"
    };
    let mut table = Table::begin(html, what, &columns);
    for Phase { name, what, milliseconds, counts } in &report.phases {
        let share = (milliseconds / longest * 100.0).clamp(0.0, 100.0);
        let class = if *counts { "here" } else { "past" };
        table.markup_row(
            if *counts { "" } else { "beside" },
            &[
                Text(name).to_string(),
                span(milliseconds / 1e3),
                format!(
                    "<div class=\"bar phase\"><span class=\"{class}\" style=\"width:{:.1}%\"></span></div>",
                    finite(share)
                ),
                Text(what).to_string(),
            ],
        );
    }
    if let Some(seconds) = machine_seconds(report) {
        table.markup_row("total", &["total".to_owned(), span(seconds), String::new(), "halt to reopened".to_owned()]);
    }
    table.end();
}

/// Bars on a scale on which every step is ten times the one before.
fn durations(html: &mut Html, report: &IncidentReport) {
    let mut bars: Vec<(&str, &str, f64)> = Vec::new();
    if let Some(seconds) = machine_seconds(report) {
        bars.push(("here", "this recovery: machine time from the halt to the reopening", seconds));
    }
    if let Some(seconds) = report.elapsed_seconds {
        bars.push((
            "here",
            "this incident: from the error until trading went on, with everything that was waited for",
            seconds,
        ));
    }
    bars.extend(report.references.iter().map(|reference| ("past", reference.name.as_str(), reference.seconds)));
    let longest =
        bars.iter().map(|(.., seconds)| *seconds).filter(|seconds| seconds.is_finite()).fold(SHORTEST * 10.0, f64::max);
    html.raw("<div class=\"bars\">\n");
    for (class, what, seconds) in bars {
        let share = ((seconds.max(SHORTEST) / SHORTEST).ln() / (longest / SHORTEST).ln() * 100.0).clamp(0.5, 100.0);
        html.put(format_args!(
            "<div><div class=\"bar-label\"><span>{}</span><b>{}</b></div><div class=\"bar\"><span class=\"{class}\" \
             style=\"width:{:.1}%\"></span></div></div>\n",
            Text(what),
            span(seconds),
            finite(share)
        ));
    }
    html.raw("</div>\n");
    if !report.references.is_empty() {
        html.note(
            "The bars are on a logarithmic scale that begins at 10 ms: each sixth or seventh part of the width is about ten times as \
             long. On an even scale the shortest would not be seen.",
        );
    }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

/// What commands met at each stage.
pub(super) fn latency(html: &mut Html, report: &IncidentReport) {
    if report.latency.is_empty() {
        return;
    }
    let number = Align::Numbers;
    let columns = [
        ("stage", Align::Words),
        ("p50", number),
        ("p90", number),
        ("p99", number),
        ("p99.9", number),
        ("p99.99", number),
        ("max", number),
    ];
    let mut table = Table::begin(
        html,
        "Microseconds; end to end from the time at which each command was meant to be sent",
        &columns,
    );
    for row in &report.latency {
        let mut cells = vec![row.name.clone()];
        cells.extend(row.nanoseconds.iter().map(|nanoseconds| microseconds(*nanoseconds)));
        table.row(&cells);
    }
    table.end();
}
