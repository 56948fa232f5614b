//! What an incident says in the end: as text for people, as JSON for tools.

use std::fmt::{self, Write as _};

use engine::pipeline::Latency;
use serde::Serialize;

use super::{actors::Sale, board::Corrections};
use crate::{
    machine::Machine,
    report::{
        Percentiles, Stages,
        text::{grouped, latency_lines, line, microseconds},
    },
};

/// The result of an incident.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IncidentReport {
    /// What was played.
    pub title: String,
    /// On what.
    pub machine: Machine,
    /// From which sources.
    pub commit: String,
    /// Which stages shared a worker.
    pub topology: String,
    /// When a command counted as durable.
    pub durability: String,
    /// Determines everything that is left to chance.
    pub seed: u64,
    /// User accounts.
    pub accounts: u32,
    /// Assets.
    pub assets: usize,
    /// Markets.
    pub markets: usize,
    /// When what happened, from the error on.
    pub timeline: Vec<Moment>,
    /// The machine time of each phase, in milliseconds.
    pub phases_ms: Phases,
    /// What was credited in error.
    pub payout: PayoutFigures,
    /// What the recipients did with it.
    pub sale: Sale,
    /// How prices fell.
    pub falls: Vec<Fall>,
    /// Where what was credited is, by asset.
    pub trace: Vec<TraceRow>,
    /// What else the trace found.
    pub traced: Traced,
    /// The strategies, side by side.
    pub strategies: Vec<StrategyRow>,
    /// The one that was applied.
    pub chosen: Chosen,
    /// What subscribers were told when the new epoch began.
    pub corrections: Corrections,
    /// The auction.
    pub auction: AuctionFigures,
    /// What was paid and paid back after the reopening.
    pub aftermath: Vec<String>,
    /// The same mistake with the preventive controls on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prevention: Vec<Prevented>,
    /// The crowd.
    pub load: LoadRow,
    /// What commands met at each stage, over all of it.
    pub stages: Stages,
    /// From the intended send time until the last event of the command was published.
    pub end_to_end_ns: Percentiles,
    /// Commands in the journal in the end.
    pub commands: u64,
    /// Whether no asset was made or lost, in the parent, on every branch and in the end.
    pub conserved: bool,
    /// Whether every state that was computed more than once came out the same.
    pub state_hashes_equal: bool,
    /// The states that were compared, and what they were compared for.
    pub states: Vec<Compared>,
    /// The state when the exchange was shut down.
    pub state_hash: String,
    /// Where the HTML report is.
    pub html: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the error.
    pub seconds: f64,
    /// What.
    pub what: String,
}

/// Machine time in milliseconds. The total is from the halt to the reopening without the comparison of the other
/// strategies, the approvals of people and the time in which orders are collected.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Phases {
    /// From the decision until the freeze is durable.
    pub halt: f64,
    /// Who got what, and where it is.
    pub trace: f64,
    /// The chosen strategy, computed twice.
    pub plan: f64,
    /// From the approved plan until the new epoch is durable and its state in force.
    pub apply: f64,
    /// The new state read back: invariants, and hashes held against plan and application.
    pub verify: f64,
    /// Opening for the auction, and uncrossing it.
    pub reopen: f64,
    /// The sum of these.
    pub total: f64,
    /// The other strategies.
    pub compare: f64,
    /// Signing.
    pub approve: f64,
}

impl Phases {
    /// With the sum.
    #[must_use]
    pub fn summed(self) -> Self {
        let Self { halt, trace, plan, apply, verify, reopen, .. } = self;
        Self { total: halt + trace + plan + apply + verify + reopen, ..self }
    }
}

/// What was credited in error.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PayoutFigures {
    /// To how many accounts.
    pub recipients: usize,
    /// How much, by symbol, in whole coins.
    pub credited: Vec<(String, f64)>,
    /// What it was worth at the prices before it, in won.
    pub worth_krw: u64,
    /// What was meant.
    pub meant: String,
    /// The last good sequence before it.
    pub cut: u64,
    /// Commands from there to the halt.
    pub window_commands: u64,
    /// Seconds from there to the halt.
    pub window_seconds: f64,
}

/// A price that fell.
#[derive(Clone, Debug, Serialize)]
pub struct Fall {
    /// Of which market.
    pub market: String,
    /// Before the error.
    pub before: f64,
    /// At its lowest.
    pub lowest: f64,
}

/// Where what was credited of an asset is. All in whole coins, and exact in minor units.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TraceRow {
    /// The asset.
    pub asset: String,
    /// How many accounts.
    pub accounts: usize,
    /// Minor units to a whole one.
    pub unit: u64,
    /// In minor units, so all that follow.
    pub credited: u64,
    /// Still there and free.
    pub available: u64,
    /// Still there and held.
    pub held: u64,
    /// Sold.
    pub sold: u64,
    /// Withdrawn.
    pub withdrawn: u64,
    /// Passed on to others.
    pub transferred: u64,
    /// Paid as fees.
    pub fees: u64,
    /// Set off against debts.
    pub set_off: u64,
}

impl TraceRow {
    /// Whether the columns sum exactly to what was credited.
    #[must_use]
    pub const fn sums(&self) -> bool {
        let Self { available, held, sold, withdrawn, transferred, fees, set_off, .. } = self;
        self.credited == *available + *held + *sold + *withdrawn + *transferred + *fees + *set_off
    }
}

/// What a trace found.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Traced {
    /// Trades in which something credited in error changed hands.
    pub trades: u64,
    /// Accounts that got anything from a credited account, directly or through others.
    pub poisoned: u64,
    /// Of these, never credited.
    pub innocent: u64,
    /// Over how many accounts the lots have travelled at most.
    pub hops: u32,
}

/// A strategy's figures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StrategyRow {
    /// Its name.
    pub name: String,
    /// Accounts that would have another state.
    pub accounts_changed: u64,
    /// Of these, never credited in error.
    pub innocent_changed: u64,
    /// Trades that would be void.
    pub trades_voided: u64,
    /// Trades that would be there instead.
    pub trades_new: u64,
    /// Orders that would be open again.
    pub orders_restored: u64,
    /// Orders that would be lost.
    pub orders_lost: u64,
    /// Orders that would lose their place.
    pub orders_requeued: u64,
    /// What could not be funded, by symbol, in minor units.
    pub shortfall: Vec<(String, u64)>,
    /// The same in won, at the prices before the error.
    pub shortfall_krw: u64,
    /// What there would be that nothing stands behind, by symbol, in minor units.
    pub unbacked: Vec<(String, u64)>,
    /// What the exchange would have more in fees, or less, by symbol, in minor units.
    pub fee_delta: Vec<(String, i128)>,
    /// The state.
    pub state_hash: String,
    /// Whether nothing is made or lost.
    pub conserved: bool,
    /// How long computing it took, with a second, independent computation beside it.
    pub seconds: f64,
    /// Why it cannot be computed, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl StrategyRow {
    /// What speaks against it: innocent accounts that change, then trades that do.
    #[must_use]
    pub const fn touches(&self) -> (u64, u64) {
        (self.innocent_changed, self.trades_voided + self.trades_new)
    }
}

/// The strategy that was applied.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Chosen {
    /// Its name.
    pub strategy: String,
    /// Why.
    pub why: String,
    /// The plan's hash.
    pub plan: String,
    /// Who approved it.
    pub operators: Vec<u16>,
    /// The halt it binds to.
    pub halt: u64,
    /// The new epoch.
    pub epoch: u32,
}

/// The auction of the reopening.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuctionFigures {
    /// For how long orders were collected.
    pub seconds: f64,
    /// Markets that were crossed.
    pub crossed: usize,
    /// Indicative and opening prices of some of them.
    pub prices: Vec<Opening>,
}

/// How a market opened.
#[derive(Clone, Debug, Serialize)]
pub struct Opening {
    /// The market.
    pub market: String,
    /// The indicative price while orders were collected.
    pub indicative: Option<f64>,
    /// The price of the auction.
    pub opened: Option<f64>,
}

/// A mistake that a control stopped.
#[derive(Clone, Debug, Serialize)]
pub struct Prevented {
    /// Which control.
    pub control: String,
    /// What the exchange said.
    pub refusal: String,
    /// How much was credited, in minor units.
    pub credited: u64,
}

/// A state that was computed twice.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Which.
    pub what: String,
    /// Its hash.
    pub hash: String,
    /// Whether it is the one it must be.
    pub equal: bool,
}

/// The crowd's load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadRow {
    /// Commands per second that were due.
    pub rate: u64,
    /// Commands that were taken.
    pub commands: u64,
    /// Commands that were told `Halted`.
    pub halted: u64,
    /// How many commands were told `Busy` at least once. All were taken in the end.
    pub busy_commands: u64,
    /// End to end before, during and after the incident.
    pub end_to_end: Vec<(String, Percentiles)>,
}

/// Adds one interval's latencies to those of the others.
pub fn merge(all: &mut Option<Latency>, one: Latency) {
    match all {
        None => *all = Some(one),
        Some(all) => {
            for (stage, more) in all.stages.iter_mut().zip(&one.stages) {
                // Bounds are the same everywhere.
                let _ = stage.wait.add(&more.wait);
                let _ = stage.service.add(&more.service);
            }
            let _ = all.end_to_end.add(&one.end_to_end);
        }
    }
}

/// Minor units as whole ones with a few places.
fn whole(amount: u64, unit: u64) -> String {
    let places = (amount % unit) as f64 / unit as f64;
    format!("{}.{}", grouped(amount / unit), format!("{places:.3}").get(2..5).unwrap_or("000"))
}

/// A price, with as many places as say something.
fn price(value: f64) -> String {
    if value >= 100.0 { grouped(value.round() as u64) } else { format!("{value:.4}") }
}

impl IncidentReport {
    /// Notes that a state was computed twice.
    pub fn compare(&mut self, what: impl Into<String>, one: &impl ToString, other: &impl ToString) {
        let (hash, equal) = (one.to_string(), one.to_string() == other.to_string());
        self.state_hashes_equal &= equal;
        self.states.push(Compared { what: what.into(), hash, equal });
    }

    /// Whether everything came out as it must.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.conserved && self.state_hashes_equal
    }
}

impl fmt::Display for IncidentReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}\n\n", self.title);
        let machine = &self.machine;
        line(&mut text, "machine", format_args!("{}, {} cores, {}", machine.processor, machine.cores, machine.kernel));
        line(&mut text, "commit", &self.commit);
        line(&mut text, "topology", format_args!("{}, durability {}", self.topology, self.durability));
        text.push('\n');
        timeline(&mut text, self);
        trace(&mut text, self);
        strategies(&mut text, self);
        phases(&mut text, &self.phases_ms, self.auction.seconds);
        prevention(&mut text, self);
        load(&mut text, self);
        latency_lines(&mut text, &self.stages, &self.end_to_end_ns);
        text.push('\n');
        for state in &self.states {
            let verdict = if state.equal { "equal" } else { "DIFFERENT" };
            line(&mut text, "state", format_args!("{} ({verdict}: {})", state.hash, state.what));
        }
        let verdict = if self.conserved { "every asset sums to zero, on every branch and in the end" } else { "NO" };
        line(&mut text, "conserved", verdict);
        if let Some(html) = &self.html {
            line(&mut text, "report", html);
        }
        formatter.write_str(&text)
    }
}

fn timeline(text: &mut String, report: &IncidentReport) {
    let _ = writeln!(text, "timeline, in seconds from the error");
    for Moment { seconds, what } in &report.timeline {
        let _ = writeln!(text, "{seconds:>9.3}  {what}");
    }
    text.push('\n');
}

fn trace(text: &mut String, report: &IncidentReport) {
    let columns = ["credited", "available", "held", "sold", "withdrawn", "passed on", "fees", "set off"];
    let _ = write!(text, "{:<10}{:>9}", "trace", "accounts");
    for column in columns {
        let _ = write!(text, "{column:>15}");
    }
    text.push('\n');
    for row in &report.trace {
        let _ = write!(text, "{:<10}{:>9}", row.asset, row.accounts);
        let TraceRow { credited, available, held, sold, withdrawn, transferred, fees, set_off, .. } = *row;
        for amount in [credited, available, held, sold, withdrawn, transferred, fees, set_off] {
            let _ = write!(text, "{:>15}", whole(amount, row.unit));
        }
        let _ = writeln!(text, "{}", if row.sums() { "" } else { "  DOES NOT SUM" });
    }
    let Traced { trades, poisoned, innocent, hops } = report.traced;
    let _ = writeln!(
        text,
        "touched   {} trades, {} accounts ({} of them never credited), over at most {hops} hops\n",
        grouped(trades),
        grouped(poisoned),
        grouped(innocent)
    );
}

fn strategies(text: &mut String, report: &IncidentReport) {
    let columns = ["accounts", "innocent", "trades", "trades", "orders", "orders", "orders", "shortfall", "twice"];
    let second = ["changed", "changed", "voided", "new", "restored", "lost", "requeued", "in KRW", "in s"];
    for (name, columns) in [("strategy", columns), ("", second)] {
        let _ = write!(text, "{name:<12}");
        for column in columns {
            let _ = write!(text, "{column:>14}");
        }
        text.push('\n');
    }
    for row in &report.strategies {
        let _ = write!(text, "{:<12}", row.name);
        if let Some(refused) = &row.refused {
            let _ = writeln!(text, "  refused: {refused}");
            continue;
        }
        for number in [
            row.accounts_changed,
            row.innocent_changed,
            row.trades_voided,
            row.trades_new,
            row.orders_restored,
            row.orders_lost,
            row.orders_requeued,
            row.shortfall_krw,
        ] {
            let _ = write!(text, "{:>14}", grouped(number));
        }
        let _ = writeln!(text, "{:>14.2}", row.seconds);
    }
    let Chosen { strategy, why, plan, operators, epoch, .. } = &report.chosen;
    let signers: Vec<String> = operators.iter().map(ToString::to_string).collect();
    line(text, "chosen", format_args!("{strategy}: {why}"));
    line(text, "plan", format_args!("{plan}, approved by operators {}; epoch {epoch}", signers.join(" and ")));
    let Corrections { fills_busted, balances_corrected, orders_restored, orders_voided, others } = report.corrections;
    line(
        text,
        "told",
        format_args!(
            "{} busts, {} balances, {} orders restored, {} voided, {} withdrawals and debts",
            grouped(fills_busted),
            grouped(balances_corrected),
            grouped(orders_restored),
            grouped(orders_voided),
            grouped(others)
        ),
    );
    text.push('\n');
}

/// The phases with their machine times.
pub fn phases(text: &mut String, phases: &Phases, auction_seconds: f64) {
    let Phases { halt, trace, plan, apply, verify, reopen, total, compare, approve } = *phases;
    let _ = writeln!(text, "{:<12}{:>16}", "phase", "machine time");
    let rows = [
        ("halt", halt, "from the decision until the freeze is durable"),
        ("trace", trace, "who got what, and where it is now"),
        ("plan", plan, "the chosen strategy on a branch, twice by independent replays"),
        ("apply", apply, "signatures checked, one committing record, the new state in force"),
        ("verify", verify, "what the new epoch begins with read back: hashes, invariants"),
        ("reopen", reopen, "the corrections acknowledged, the auction opened and uncrossed"),
        ("total", total, "halt to reopened"),
    ];
    for (name, ms, what) in rows {
        let _ = writeln!(text, "{name:<12}{ms:>13.1} ms  {what}");
    }
    let _ = writeln!(
        text,
        "{:<12}beside it: comparison of all strategies {compare:.1} ms, two signatures {approve:.1} ms, {auction_seconds:.1} s of collecting \
         orders for the auction",
        ""
    );
    text.push('\n');
}

fn prevention(text: &mut String, report: &IncidentReport) {
    if report.prevention.is_empty() {
        return;
    }
    let _ = writeln!(text, "the same payout again, with one preventive control at a time");
    for Prevented { control, refusal, credited } in &report.prevention {
        let _ = writeln!(text, "  {control:<42}{refusal:<24}credited {credited}");
    }
    text.push('\n');
}

fn load(text: &mut String, report: &IncidentReport) {
    let LoadRow { rate, commands, halted, busy_commands, end_to_end } = &report.load;
    line(
        text,
        "load",
        format_args!(
            "{} per second: {} commands taken, {} told halted, {} told busy and sent again",
            grouped(*rate),
            grouped(*commands),
            grouped(*halted),
            grouped(*busy_commands)
        ),
    );
    for (when, percentiles) in end_to_end {
        line(
            text,
            "",
            format_args!(
                "{when:<24} end to end p50 {} us, p99 {} us, max {} us",
                microseconds(percentiles.p50),
                microseconds(percentiles.p99),
                microseconds(percentiles.max)
            ),
        );
    }
    text.push('\n');
}

impl Fall {
    /// By how many percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        (100.0 - self.lowest / self.before * 100.0).round() as u64
    }
}

impl fmt::Display for Fall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} to {} (-{} %)", self.market, price(self.before), price(self.lowest), self.percent())
    }
}
