//! The comparison as one HTML file: what was traced and computed, handed to the library's report.

use std::path::Path;

use engine::recovery::{
    Outcome, Timeline,
    report::{Check, Fact, IncidentReport, Mark},
};

use crate::{
    failure::Failure,
    output::count,
    plan::{Comparison, StrategyName, branch, chosen},
};

/// Writes the page.
pub fn write(
    timeline: &Timeline,
    comparison: &Comparison<'_>,
    asked: Option<StrategyName>,
    file: &Path,
) -> Result<(), Failure> {
    let chosen = chosen(comparison, asked);
    if let (Some(asked), None) = (asked, chosen) {
        let name = asked.name();
        return Err(Failure::failed(format!("{name} cannot do it, so its changes cannot be shown: choose another")));
    }
    let mut page = page(timeline, comparison, chosen)?;
    page.reason = match asked {
        Some(_) => "it was asked for",
        None => "of those that take the error back in full, it changes the fewest innocent accounts",
    }
    .to_owned();
    page.write_file(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

fn page(timeline: &Timeline, comparison: &Comparison<'_>, chosen: Option<&Outcome>) -> Result<IncidentReport, Failure> {
    let mut page = IncidentReport::new("An error, and what can be done about it", comparison.exchange);
    page.lead = lead(comparison, chosen);
    let halt = comparison.halt;
    let at = if halt.is_frozen { "halt" } else { "preview, not frozen, at" };
    page.facts = vec![
        Fact::new("exchange", timeline.directory().display().to_string()),
        Fact::new("journal", halt.journal_id.to_string()),
        Fact::new("epoch", halt.epoch.to_string()),
        Fact::new(at, format!("sequence {}", count(halt.sequence.0))),
        Fact::new("state there", comparison.exchange.state_hash().to_string()),
    ];
    if let Some(trace) = comparison.trace {
        page.add_trace(trace);
        let credited = count(comparison.credited.len() as u64);
        page.timeline = vec![
            Mark::new(trace.first.1, format!("sequence {}: {credited} accounts are credited in error", trace.first.0)),
            Mark::new(
                trace.halt.1,
                format!("sequence {}: {at}, {} commands later", trace.halt.0, count(trace.commands)),
            ),
        ];
    }
    let outcomes = comparison.strategies.iter().zip(comparison.outcomes);
    let outcomes: Vec<(&str, Result<&Outcome, &Failure>)> =
        outcomes.map(|(strategy, outcome)| (strategy.name(), outcome.as_ref())).collect();
    page.add_outcomes(outcomes, chosen.map(|chosen| chosen.strategy.name()));
    page.checks = checks(comparison);
    if let Some(chosen) = chosen {
        page.facts.push(Fact::new("shown line by line", chosen.strategy.to_string()));
        page.add_diff(&chosen.diff, comparison.credited);
        if let Some(trace) = comparison.trace {
            page.add_prices(trace, Some(&branch(timeline, halt.sequence, &chosen.strategy)?));
        }
    }
    Ok(page)
}

fn lead(comparison: &Comparison<'_>, chosen: Option<&Outcome>) -> String {
    let credited = count(comparison.credited.len() as u64);
    let Some(chosen) = chosen else {
        return format!(
            "{credited} accounts were credited in error. None of the four strategies can put it right as asked for."
        );
    };
    format!(
        "{credited} accounts were credited in error. Four ways to put it right, each computed twice on a branch of its own; \
         nothing is applied. Shown line by line is {}: it would change {} accounts that were never credited in error, and {} \
         trades would be void.",
        chosen.strategy.name(),
        count(chosen.innocent_changed),
        count(chosen.trades_voided)
    )
}

fn checks(comparison: &Comparison<'_>) -> Vec<Check> {
    let computed = || comparison.outcomes.iter().flatten();
    let check = |what: &str, value: String, holds: bool| Check { what: what.to_owned(), value, holds };
    let mut checks: Vec<_> = computed()
        .map(|outcome| {
            let what = format!("{}: two replays that know nothing of each other agree", outcome.strategy.name());
            check(&what, outcome.state_hash.to_string(), true)
        })
        .collect();
    let conserved = computed().all(|outcome| outcome.conserved);
    checks.push(check("every asset sums to zero over all accounts, on every branch", String::new(), conserved));
    if let Some(trace) = comparison.trace {
        let sums = trace.credits.iter().all(engine::recovery::CreditRow::sums_exactly);
        checks.push(check("every credit is found again to the last unit", String::new(), sums));
    }
    checks
}
