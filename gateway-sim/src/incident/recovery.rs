//! The recovery of a running exchange, step by step: freeze, trace, compare, plan, approve, apply, verify. Each step is the
//! library's; here it is timed, told and reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use engine::{
    command::Command,
    exchange::Exchange,
    journal::FileStorage,
    pipeline::Handle,
    recovery::{
        Applied, Approval, Branch, Edits, EpochFile, EpochName, Plan, SecretKey, Strategy, Suspects, Timeline, Trace,
        make_plan, outcome, report::Reference, trace,
    },
    types::{AccountId, Amount, AssetId, Cause, ExternalId, MarketId, OperatorId, Sequence, Timestamp},
};

use super::{
    BANK, Narrator, StrategyName,
    actors::{CLERK, Cast, Manifest, Payout},
    board::Board,
    html,
    live::{Live, accepted},
    milliseconds,
    prevention::SUPERVISOR,
    report::{IncidentReport, StrategyRow, TraceRow, Traced},
    scenario::Scenario,
    sums_to_zero,
    world::{KRW, WON, World},
};
use crate::report::text::grouped;

/// The operator who stops the exchange.
const DUTY: u32 = 3;
/// For how long an approval is good.
const APPROVAL_SECONDS: u64 = 3_600;
const SECOND_NS: u64 = 1_000_000_000;
/// How long the drop copy may take to acknowledge an epoch.
const ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(30);

/// Two operators with their keys.
pub struct Operators {
    keys: [(OperatorId, SecretKey); 2],
}

impl Operators {
    /// Makes their keys.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self> {
        Ok(Self { keys: [(CLERK, SecretKey::generate()?), (SUPERVISOR, SecretKey::generate()?)] })
    }

    /// The commands that register them.
    #[must_use]
    pub fn registrations(&self) -> Vec<Command> {
        let nobody = OperatorId(0);
        let register = |(operator, key): &(OperatorId, SecretKey)| Command::RegisterOperator {
            operator: *operator,
            key: key.public(),
            first: nobody,
            second: nobody,
        };
        self.keys.iter().map(register).collect()
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
    planned: Option<(Plan, Branch)>,
    approvals: Vec<Approval>,
    applied: Option<Applied>,
    reopened: Timestamp,
}

/// What is left of a recovery.
pub struct Recovered {
    /// Who owes what.
    pub debts: Vec<(AccountId, AssetId, Amount)>,
    /// What was done.
    pub plan: Option<Plan>,
    /// The sequence of the record that began the new epoch.
    pub record: Option<Sequence>,
    board: Arc<Board>,
    error: Timestamp,
    reopened: Timestamp,
    markets: Vec<MarketId>,
    recipients: BTreeSet<AccountId>,
    trace: Option<Trace>,
    branch: Option<Branch>,
}

impl Recovered {
    /// Writes the HTML report.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_report(
        &self,
        path: &Path,
        world: &World,
        scenario: &Scenario,
        report: &mut IncidentReport,
    ) -> Result<()> {
        let material = html::Material {
            world,
            board: &self.board,
            markets: self.markets.clone(),
            recipients: &self.recipients,
            trace: self.trace.as_ref(),
            branch: self.branch.as_ref(),
            error: self.error,
            reopened: self.reopened,
            reference: Reference { name: scenario.then.when.to_owned(), seconds: scenario.then.seconds },
        };
        html::write(path, report, &material)?;
        report.html = Some(path.display().to_string());
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
        Ok(Self {
            live,
            timeline,
            payout,
            cast,
            halt: Sequence(0),
            trace: None,
            planned: None,
            approvals: Vec::new(),
            applied: None,
            reopened: Timestamp(0),
        })
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
        let begun = Instant::now();
        let events = accepted(self.handle().freeze(Cause::operator(DUTY))?, "the freeze")?;
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
        &self,
        asked: Option<StrategyName>,
        narrator: &mut Narrator,
        report: &mut IncidentReport,
    ) -> Result<StrategyName> {
        let begun = Instant::now();
        for name in StrategyName::ALL {
            let row = self.outcome(name);
            report.conserved &= row.conserved || row.refused.is_some();
            report.strategies.push(row);
        }
        report.phases_ms.compare = milliseconds(begun.elapsed());
        let row = |name: StrategyName| report.strategies.iter().find(|row| row.name == name.to_string());
        let chosen = match (asked, row(StrategyName::Bust), row(StrategyName::Excise)) {
            (Some(asked), _, _) => asked,
            (None, Some(bust), Some(excise)) if excise.touches() < bust.touches() => StrategyName::Excise,
            _ => StrategyName::Bust,
        };
        report.chosen.why = match asked {
            Some(_) => "it was asked for".to_owned(),
            None => why(chosen, &report.strategies),
        };
        narrator.tell(format!("four strategies compared in {:.0} ms: {chosen}", report.phases_ms.compare));
        Ok(chosen)
    }

    /// Makes the plan of a strategy: computed twice, each time from the journal.
    ///
    /// # Errors
    /// When the strategy makes no sense for this past.
    pub fn plan(&mut self, name: StrategyName, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
        let strategy = self.strategy(name);
        let begun = Instant::now();
        let (plan, branch) = make_plan(&self.timeline, &strategy, &|_| ())?;
        report.phases_ms.plan = milliseconds(begun.elapsed());
        report.chosen.strategy = name.to_string();
        report.chosen.plan = plan.hash().to_string();
        report.chosen.halt = plan.halt.0;
        report.compare("the branch at the halt, by the plan's two replays", &plan.state, &branch.exchange.state_hash());
        if let Some(row) = report.strategies.iter().find(|row| row.name == report.chosen.strategy) {
            let compared = row.state_hash.clone();
            report.compare("the same, in the comparison", &compared, &plan.state);
        }
        report.conserved &= sums_to_zero(&branch.exchange) && sums_to_zero(&branch.parent);
        narrator.tell(format!("{name} planned for the halt at {} in {:.0} ms", plan.halt, report.phases_ms.plan));
        self.planned = Some((plan, branch));
        Ok(())
    }

    fn planned(&self) -> Result<&(Plan, Branch)> {
        self.planned.as_ref().context("there is no plan yet")
    }

    /// Two operators sign the plan.
    ///
    /// # Errors
    /// When the plan cannot be signed.
    pub fn approve(
        &mut self,
        operators: &Operators,
        narrator: &mut Narrator,
        report: &mut IncidentReport,
    ) -> Result<()> {
        let begun = Instant::now();
        let (plan, _) = self.planned()?;
        let expires = Timestamp(self.handle().clock().now().0 + APPROVAL_SECONDS * SECOND_NS);
        let sign = |(operator, key): &(OperatorId, SecretKey)| Approval::sign(plan, *operator, key, expires);
        let approvals = operators.keys.iter().map(sign).collect::<Result<Vec<_>, _>>()?;
        report.phases_ms.approve = milliseconds(begun.elapsed());
        report.chosen.operators = approvals.iter().map(|approval| approval.operator.0).collect();
        narrator.tell(format!("plan {} signed by two operators", report.chosen.plan));
        self.approvals = approvals;
        Ok(())
    }

    /// Applies the plan to the exchange as it runs.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&mut self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
        let (plan, branch) = self.planned()?;
        // What the report shows of it is kept; the exchange goes on with the other.
        let (plan, copy) = (plan.clone(), branch.clone());
        let begun = Instant::now();
        let applied = self.handle().apply(&plan, copy, &self.approvals)?;
        report.phases_ms.apply = milliseconds(begun.elapsed());
        report.chosen.epoch = applied.epoch.0;
        narrator.tell(format!(
            "applied in {:.0} ms: epoch {} begins at sequence {}, {} corrections; the exchange has run all along",
            report.phases_ms.apply,
            applied.epoch.0,
            applied.sequence,
            grouped(applied.corrections as u64)
        ));
        self.applied = Some(applied);
        Ok(())
    }

    /// Reads back what the new epoch begins with, checks it, and holds it against what was planned and applied.
    ///
    /// # Errors
    /// When it cannot be read, or breaks an invariant.
    pub fn verify(&self, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
        let applied = self.applied.as_ref().context("nothing was applied yet")?;
        let begun = Instant::now();
        let storage = FileStorage::read_only(self.timeline.directory());
        let name = EpochName { epoch: applied.epoch, sequence: applied.sequence };
        let file = EpochFile::read(&storage, name)?;
        let exchange = Exchange::from_canonical_state(&file.state, applied.sequence, 0)?;
        if let Err(broken) = exchange.check_invariants() {
            bail!("the new epoch breaks an invariant: {broken}");
        }
        let conserved = sums_to_zero(&exchange);
        let read = exchange.state_hash();
        report.phases_ms.verify = milliseconds(begun.elapsed());
        report.conserved &= conserved;
        report.compare(
            "the branch at the halt, in the file of the new epoch",
            &file.header.state_at_halt,
            &file.plan.state,
        );
        if let Some(state) = &applied.state {
            report.compare("what the new epoch begins with, read back from the disk", &read, state);
        }
        narrator.tell(format!("verified in {:.0} ms: invariants hold, hashes are equal", report.phases_ms.verify));
        Ok(())
    }

    /// Waits until the drop copy has read all that changed.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn await_acknowledgement(&self, report: &mut IncidentReport) -> Result<()> {
        let begun = Instant::now();
        while !self.live.board.is_ready() {
            if begun.elapsed() > ACKNOWLEDGEMENT_MAX {
                bail!("the drop copy has not acknowledged the new epoch within {} s", ACKNOWLEDGEMENT_MAX.as_secs());
            }
            thread::sleep(Duration::from_micros(100));
        }
        report.corrections = self.live.board.corrections();
        Ok(())
    }

    /// The indicative prices of the credited assets' markets.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn indicative(&self) -> Result<Vec<(MarketId, Option<u64>)>> {
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
        let (plan, branch) = self.planned.unzip();
        let krw_market = |manifest: &Manifest| Some(self.live.world.krw_market(manifest.asset)?.spec.market);
        Recovered {
            debts: branch.iter().flat_map(|branch| branch.exchange.receivables()).collect(),
            plan,
            record: self.applied.as_ref().map(|applied| applied.sequence),
            board: Arc::clone(self.live.board),
            error: self.payout.time,
            reopened: self.reopened,
            markets: self.cast.wrong.iter().filter_map(krw_market).collect(),
            recipients: self.cast.recipients.clone(),
            trace: self.trace,
            branch,
        }
    }

    /// From when on everything is open again.
    pub const fn reopened(&mut self, time: Timestamp) {
        self.reopened = time;
    }

    /// What a strategy would come to.
    fn outcome(&self, name: StrategyName) -> StrategyRow {
        let outcome = match outcome(&self.timeline, self.halt, &self.strategy(name), &self.cast.recipients, &|_| ()) {
            Ok(outcome) => outcome,
            Err(error) => {
                let refused = Some(error.to_string());
                return StrategyRow { name: name.to_string(), refused, ..StrategyRow::default() };
            }
        };
        let world = self.live.world;
        let told = |amounts: &BTreeMap<AssetId, Amount>| -> Vec<(String, u64)> {
            amounts.iter().map(|(asset, amount)| (world.symbol(*asset), amount.0)).collect()
        };
        StrategyRow {
            name: name.to_string(),
            accounts_changed: outcome.accounts_changed,
            innocent_changed: outcome.innocent_changed,
            trades_voided: outcome.trades_voided,
            trades_new: outcome.trades_new,
            orders_restored: outcome.orders_restored,
            orders_lost: outcome.orders_lost,
            orders_requeued: outcome.orders_requeued,
            shortfall: told(&outcome.receivables),
            shortfall_krw: outcome.receivables.iter().map(|(&asset, &amount)| world.krw_of(asset, amount)).sum(),
            fee_delta: outcome.fee_delta.iter().map(|(asset, delta)| (world.symbol(*asset), *delta)).collect(),
            unbacked: told(&outcome.unbacked),
            state_hash: outcome.state_hash.to_string(),
            conserved: outcome.conserved,
            seconds: outcome.seconds,
            refused: None,
        }
    }
}

/// Why a strategy is chosen of the two that put the error right and leave innocent trades alone where they can.
fn why(chosen: StrategyName, rows: &[StrategyRow]) -> String {
    let of = |name: StrategyName| rows.iter().find(|row| row.name == name.to_string());
    let (Some(bust), Some(excise)) = (of(StrategyName::Bust), of(StrategyName::Excise)) else {
        return "nothing else can be computed".to_owned();
    };
    let (this, other) = if chosen == StrategyName::Bust { (bust, excise) } else { (excise, bust) };
    format!(
        "it takes the wrong credits back and changes {} innocent accounts and {} trades, where {} changes {} and {}",
        grouped(this.innocent_changed),
        grouped(this.trades_voided + this.trades_new),
        other.name,
        grouped(other.innocent_changed),
        grouped(other.trades_voided + other.trades_new)
    )
}

/// Minor units to a whole one.
fn unit(world: &World, asset: AssetId) -> u64 {
    10_u64.pow(world.assets[usize::from(asset.0)].scale.into())
}
