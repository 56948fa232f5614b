//! One book's line in the report.

use super::{Case, Run, grouped};
use crate::report::Figure;

/// The figure of a book beside ours, under a flow of so many commands.
pub(super) fn figure(case: &Case, ours: &Case, commands: usize) -> Figure {
    let fewest = case.runs.iter().map(|run| run.commands).min().unwrap_or(0);
    let setting = match case.setting {
        setting if fewest == commands || case.error.is_some() => setting.to_owned(),
        "" => format!("the first {} commands", grouped(fewest as u64)),
        setting => format!("{setting}; the first {} commands", grouped(fewest as u64)),
    };
    let mut outcome = match (&case.error, case.runs.last()) {
        (Some(error), _) => error.clone(),
        (None, None) => "not run".to_owned(),
        (None, Some(run)) if case.is_right() => {
            let without = if run.without_reductions { ", without the reductions, which it cannot do" } else { "" };
            format!("right trades{without}")
        }
        (None, Some(Run { trades, expected, .. })) => format!(
            "WRONG TRADES: {} of {} lots in all, not {} of {}",
            grouped(trades.count),
            grouped(trades.quantity),
            grouped(expected.count),
            grouped(expected.quantity)
        ),
    };
    if case.error.is_none() && !case.is_right() && !case.known.is_empty() {
        outcome = format!("{outcome}; {}", case.known);
    }
    let samples = if case.error.is_some() { Vec::new() } else { case.samples() };
    let figure = Figure::new(case.book, setting, &samples, outcome);
    if case.book == ours.book { figure } else { figure.compared_to(ours.book, &ours.samples()) }
}
