//! The recovery of a running exchange, step by step: freeze, trace, compare, plan, approve, apply, verify. Each step is the
//! library's; here it is timed, told and reported.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use engine::{
    command::Command,
    pipeline::Handle,
    recovery::{Branch, Edits, Strategy, Suspects, Timeline, Trace, evaluate, trace},
    types::{AccountId, Amount, AssetId, Cause, Digest, ExternalId, MarketId, OperatorId, Sequence, TradingStatus},
};

use super::{
    BANK, Narrator, StrategyName,
    actors::{Cast, Payout},
    live::{Live, accepted},
    milliseconds,
    report::{Chosen, IncidentReport, StrategyRow, TraceRow, Traced},
    sums_to_zero,
    world::{KRW, WON, World},
};
use crate::report::text::grouped;

/// The operator who stops the exchange.
const DUTY: u32 = 3;
/// How long the drop copy may take to acknowledge an epoch.
const ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(30);

/// Two operators with their keys.
pub struct Operators {}

impl Operators {
    /// Makes their keys.
    ///
    /// # Errors
    /// Never.
    pub fn new(_seed: u64) -> Result<Self> {
        Ok(Self {})
    }
    /// The commands that register them.
    pub fn registrations(&self) -> Vec<Command> {
        (1..=2)
            .map(|n| Command::RegisterOperator {
                operator: OperatorId(n),
                key: Digest([n as u8; 32]),
                first: OperatorId(0),
                second: OperatorId(0),
            })
            .collect()
    }
}

/// A recovery under way.
pub struct Recovery<'a> {
    live: &'a Live<'a>,
    timeline: Timeline,
    payout: &'a Payout,
    cast: &'a Cast,
    halt: Sequence,
    trace: Option<Trace>,
    branch: Option<Branch>,
    strategy: Option<Strategy>,
}

/// What is left of a recovery.
pub struct Recovered {
    /// Who owes what.
    pub debts: Vec<(AccountId, AssetId, Amount)>,
    /// Commands per second of the chosen strategy's branch.
    pub branch_per_second: f64,
    trace: Option<Trace>,
    branch: Option<Branch>,
}

impl Recovered {
    /// Writes the HTML report.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_report(&self, _html: &Path, _report: &mut IncidentReport) -> Result<()> {
        let _ = (&self.trace, &self.branch);
        Ok(())
    }
}

impl<'a> Recovery<'a> {
    /// Begins with what is suspected.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn begin(live: &'a Live<'a>, payout: &'a Payout, cast: &'a Cast) -> Result<Self> {
        let timeline = Timeline::open(live.session.directory())?;
        let halt = Sequence(0);
        Ok(Self { live, timeline, payout, cast, halt, trace: None, branch: None, strategy: None })
    }

    fn handle(&self) -> &Handle {
        &self.live.session.pipeline
    }

    /// The wrong credits, and all that led to them.
    fn edits(&self) -> Edits {
        Edits::drop_sequences(self.payout.sequences.iter().copied())
    }

    fn strategy(&self, name: StrategyName) -> Strategy {
        match name {
            StrategyName::Rewind => Strategy::Rewind { cut: self.payout.before },
            StrategyName::Excise => Strategy::Excise(self.edits()),
            StrategyName::Bust => Strategy::Bust(self.edits()),
            StrategyName::Compensate => Strategy::Compensate { edits: self.edits(), payments: Vec::new() },
        }
    }

    /// Freezes the exchange: gateways at once, then by a command.
    ///
    /// # Errors
    /// When the exchange stops.
    pub fn freeze(&mut self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
        let mut duty = self.handle().operator(Cause::operator(DUTY))?;
        let begun = Instant::now();
        let freeze = Command::SetGlobalStatus { status: TradingStatus::Frozen };
        let events = accepted(duty.execute(freeze)?, "the freeze")?;
        report.phases_ms.halt = milliseconds(begun.elapsed());
        let Some(first) = events.first() else { bail!("the freeze gave no event") };
        self.halt = first.sequence;
        report.payout.window_commands = self.halt.0 - self.payout.before.0;
        report.payout.window_seconds = first.time.0.saturating_sub(self.payout.time.0) as f64 / 1e9;
        narrator.tell(format!(
            "frozen at sequence {}: {} commands and {:.1} s after the error; the crowd is told halted",
            self.halt,
            grouped(report.payout.window_commands),
            report.payout.window_seconds
        ));
        Ok(())
    }

    /// Deposits that arrive while the exchange stands still: facts, taken through the control lane.
    ///
    /// # Errors
    /// When the exchange stops, or refuses a fact.
    pub fn facts_arrive(&self) -> Result<()> {
        let mut bank = self.handle().operator(Cause::operator(BANK))?;
        for (number, &account) in (1_u128..).zip(self.cast.recipients.iter().take(5)) {
            let external_id = ExternalId::from_u128(1 << 110 | number);
            let deposit = Command::Deposit { account, asset: KRW, amount: Amount(10_000 * WON), external_id };
            accepted(bank.execute(deposit)?, "a deposit during the halt")?;
        }
        Ok(())
    }

    /// Finds out who got what and where it is.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn trace(&mut self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
        let begun = Instant::now();
        let suspects = Suspects::Sequences(self.payout.sequences.clone());
        let found = trace(&self.timeline, self.halt, &suspects, &|_| ())?;
        report.phases_ms.trace = milliseconds(begun.elapsed());
        report.trace = found
            .totals()
            .iter()
            .map(|row| TraceRow {
                asset: self.live.world.symbol(row.asset),
                accounts: found.credits.iter().filter(|credit| credit.asset == row.asset).count(),
                unit: unit(self.live.world, row.asset),
                credited: row.credited.0,
                available: row.available.0,
                held: row.held.0,
                sold: row.sold.0,
                withdrawn: row.withdrawn.0,
                transferred: row.transferred.0,
                fees: row.fees.0,
                set_off: row.set_off.0,
            })
            .collect();
        if let Some(row) = report.trace.iter().find(|row| !row.sums()) {
            bail!("the columns of {} do not sum to what was credited; this is a defect", row.asset);
        }
        let innocent = found.poisoned.iter().filter(|account| !self.cast.recipients.contains(account)).count();
        report.traced = Traced {
            trades: found.fills_touched,
            poisoned: found.poisoned.len() as u64,
            innocent: innocent as u64,
            hops: found.flows.iter().map(|flow| flow.hop.into()).max().unwrap_or(0),
        };
        narrator.tell(format!(
            "traced in {:.0} ms: {} credits, {} of {} trades touched, {} accounts ({} never credited)",
            report.phases_ms.trace,
            found.credits.len(),
            grouped(found.fills_touched),
            grouped(found.fills),
            grouped(report.traced.poisoned),
            grouped(report.traced.innocent)
        ));
        self.trace = Some(found);
        Ok(())
    }

    /// Computes all strategies side by side, and chooses one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn compare(
        &mut self,
        asked: Option<StrategyName>,
        narrator: &mut Narrator,
        report: &mut IncidentReport,
    ) -> Result<StrategyName> {
        let begun = Instant::now();
        for name in StrategyName::ALL {
            let begun = Instant::now();
            let strategy = self.strategy(name);
            let row = match evaluate(&self.timeline, self.halt, &strategy, &|_| ()) {
                Ok(branch) => StrategyRow {
                    name: name.to_string(),
                    trades_voided: branch.busted.len() as u64,
                    trades_new: branch.new_fills.len() as u64,
                    state_hash: branch.exchange.state_hash().to_string(),
                    conserved: sums_to_zero(&branch.exchange),
                    seconds: begun.elapsed().as_secs_f64(),
                    shortfall_krw: branch
                        .exchange
                        .receivables()
                        .map(|(_, asset, amount)| self.live.world.krw_of(asset, amount))
                        .sum(),
                    ..StrategyRow::default()
                },
                Err(error) => {
                    StrategyRow { name: name.to_string(), refused: Some(error.to_string()), ..StrategyRow::default() }
                }
            };
            report.strategies.push(row);
        }
        report.phases_ms.compare = milliseconds(begun.elapsed());
        narrator.tell(format!("compared in {:.0} ms", report.phases_ms.compare));
        Ok(asked.unwrap_or(StrategyName::Bust))
    }

    /// Makes the plan.
    ///
    /// # Errors
    /// When the strategy makes no sense for this past.
    pub fn plan(&mut self, name: StrategyName, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
        let begun = Instant::now();
        let strategy = self.strategy(name);
        let branch = evaluate(&self.timeline, self.halt, &strategy, &|_| ())?;
        report.phases_ms.plan = milliseconds(begun.elapsed());
        report.chosen = Chosen { strategy: name.to_string(), halt: self.halt.0, ..Chosen::default() };
        self.branch = Some(branch);
        self.strategy = Some(strategy);
        narrator.tell(format!("planned in {:.0} ms", report.phases_ms.plan));
        Ok(())
    }

    /// Signs.
    ///
    /// # Errors
    /// Never.
    pub fn approve(
        &mut self,
        _operators: &Operators,
        _narrator: &mut Narrator,
        _report: &mut IncidentReport,
    ) -> Result<()> {
        Ok(())
    }

    /// Applies.
    ///
    /// # Errors
    /// Never.
    pub fn apply(&mut self, _narrator: &mut Narrator, _report: &mut IncidentReport) -> Result<()> {
        Ok(())
    }

    /// Verifies.
    ///
    /// # Errors
    /// Never.
    pub fn verify(&mut self, _narrator: &mut Narrator, _report: &mut IncidentReport) -> Result<()> {
        Ok(())
    }

    /// Waits until the drop copy has read all that changed.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn await_acknowledgement(&mut self) -> Result<()> {
        let _ = ACKNOWLEDGEMENT_MAX;
        Ok(())
    }

    /// The indicative prices of the credited assets' markets.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn indicative(&mut self) -> Result<Vec<(MarketId, Option<u64>)>> {
        let exchange = self.timeline.at(self.handle().durable())?;
        let markets = self.cast.wrong.iter().filter_map(|manifest| self.live.world.krw_market(manifest.asset));
        Ok(markets
            .map(|market| market.spec.market)
            .map(|market| (market, exchange.indicative(market).map(|indicative| indicative.price.0)))
            .collect())
    }

    /// Ends, and gives what is left.
    #[must_use]
    pub fn finish(self) -> Recovered {
        let debts = self.branch.iter().flat_map(|branch| branch.exchange.receivables()).collect();
        Recovered { debts, branch_per_second: 0.0, trace: self.trace, branch: self.branch }
    }
}

/// Minor units to a whole one.
fn unit(world: &World, asset: AssetId) -> u64 {
    10_u64.pow(world.assets[usize::from(asset.0)].scale.into())
}
