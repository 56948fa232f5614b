//! The report of an incident as one HTML file that needs nothing else: no script, no request, charts drawn here as SVG.
//!
//! Plain data in, text out. It computes no past and no branch: whoever has them fills an [`IncidentReport`], and sections
//! for which nothing was filled in are left out. The `reprise` tool and the simulator both write it.
//!
//! [`IncidentReport`] says what is shown and `fill` takes it from what recovery found; `page` puts the sections in order, `tables` and `charts` draw them, `markup`
//! escapes whatever comes from outside, and `numbers` writes figures.

mod charts;
mod data;
mod fill;
mod markup;
mod numbers;
mod page;
mod tables;
#[cfg(test)]
mod tests;

pub use data::{
    BalanceChange, BookChange, Check, Fact, HolderRow, HopRow, IncidentReport, LatencyRow, Mark, Phase, PriceChart,
    Reference, StrategyRow, TraceFigures, Units, Valuation,
};
pub use fill::repaired;
