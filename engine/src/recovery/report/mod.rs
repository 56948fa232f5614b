//! The report of an incident as one HTML file that needs nothing else: no script, no request, charts drawn here as SVG.
//!
//! Plain data in, text out. It computes no past and no branch: whoever has them fills an [`IncidentReport`], and sections
//! for which nothing was filled in are left out. The `reprise` tool and the simulator both write it.
//!
//! [`IncidentReport`] says what is shown and `fill` takes it from what recovery found; `page` puts the sections in order,
//! `times`, `prices`, `money`, `flow`, `strategies` and `changes` write them, `chart` draws, `markup` escapes whatever comes
//! from outside, and `numbers` writes figures.
//!
//! ```text
//! let mut report = IncidentReport::new("The wrong airdrop", &exchange);     assets and markets, for all that follows
//! report.add_trace(&trace);                                                credits, flows, what assets were worth
//! report.add_outcomes(outcomes, Some("bust"));                             the comparison, and which is chosen
//! report.add_diff(&outcome.diff, &credited);                               what the chosen one changes, line by line
//! report.add_prices(&trace, Some(&branch));                                prices before and after
//! report.write_file("incident.html")?;                                     other fields by hand: title, facts, checks
//! ```

mod changes;
mod chart;
mod data;
mod fill;
mod flow;
mod markup;
mod money;
mod numbers;
mod page;
mod prices;
mod strategies;
#[cfg(test)]
mod tests;
mod times;

pub use data::{
    BalanceChange, BookChange, Check, Fact, HolderRow, HopRow, IncidentReport, LatencyRow, Mark, Phase, PriceChart,
    Reference, StrategyRow, TraceFigures, Units, Valuation,
};
pub use fill::repaired;
