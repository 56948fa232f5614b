//! `reprise plan`: what a way to put an error right would come to, computed aside, and the file that operators sign. Nothing
//! is written into the data directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use engine::{
    command::Command,
    exchange::Exchange,
    journal::JournalReader,
    recovery::{
        Approval, Branch, Halt, Outcome, Payment, Plan, PlanError, Strategy, Suspects, Timeline, Trace, compare,
        evaluate, find_halt, make_plan, outcome_of, plan_standing, trace, victims,
    },
    types::{AccountId, MarketId, Price, Sequence},
};

use crate::{
    failure::{FINE, Failure},
    names::Names,
    output::Output,
    plan_page, plan_report,
    progress::{Progress, telling},
    strategies::{EditArguments, PaymentText, credited, payment, payments},
};

/// What to plan.
#[derive(Debug, Args)]
pub struct PlanArguments {
    /// One strategy, or a plan that there is.
    #[command(subcommand)]
    pub action: Option<PlanAction>,
    /// Compute all four strategies, and show side by side what each would come to.
    #[arg(long)]
    pub compare: bool,
    #[command(flatten)]
    pub edits: EditArguments,
    /// For the rewind in the comparison: the last good sequence; without it, the one before the first edit.
    #[arg(long, value_name = "SEQ", requires = "compare")]
    pub to: Option<u64>,
    /// For the compensation in the comparison: a payment from the treasury; may be given more than once.
    #[arg(long, value_name = "ACCOUNT,ASSET,AMOUNT", value_parser = payment, requires = "compare")]
    pub pay: Vec<PaymentText>,
    /// For the compensation in the comparison: pay in this asset what innocent accounts lost, as `compensate` does.
    #[arg(long, value_name = "ASSET", requires = "compare")]
    pub pay_victims: Option<String>,
    /// Write the comparison as one HTML file with charts as well.
    #[arg(long, value_name = "FILE", requires = "compare")]
    pub html: Option<PathBuf>,
    /// Whose changes the HTML file shows line by line; without it, of those that put the error right the one that touches fewest.
    #[arg(long, value_enum, value_name = "STRATEGY", requires = "html")]
    pub choose: Option<StrategyName>,
}

/// A strategy's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrategyName {
    /// Undo everything behind a cut that is no fact.
    Rewind,
    /// Play it again without the error; orders match again.
    Excise,
    /// Keep what happened as far as it can be paid without the error.
    Bust,
    /// Keep all trades, take back what is there, and owe the rest.
    Compensate,
}

impl StrategyName {
    /// As the library calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rewind => "rewind",
            Self::Excise => "excise",
            Self::Bust => "bust",
            Self::Compensate => "compensate",
        }
    }
}

/// One strategy, or a plan that there is.
#[derive(Debug, Subcommand)]
pub enum PlanAction {
    /// Undo everything behind the last good sequence that is no fact: all orders and trades. Deposits and withdrawals that
    /// were sent stay.
    Rewind(RewindArguments),
    /// Let it all happen again without the error: orders match again, others may trade than did.
    Excise(EditsArguments),
    /// Keep what happened as far as it can be paid without the error; a trade that cannot be paid is void, whole.
    Bust(EditsArguments),
    /// Keep all trades. Take back of the wrong credits what is still there; the rest is owed. Pay others from the treasury.
    Compensate(CompensateArguments),
    /// Say what a plan does, who signed it, and with --data whether it can be applied.
    Show(ShowPlanArguments),
}

/// Where the plan goes.
#[derive(Clone, Debug, Args)]
pub struct OutArguments {
    /// The plan's file; without it STRATEGY-HALT-HASH.plan here.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Rewind.
#[derive(Debug, Args)]
pub struct RewindArguments {
    /// The last good sequence.
    #[arg(long, value_name = "SEQ")]
    pub to: u64,
    #[command(flatten)]
    pub out: OutArguments,
}

/// Excise and bust.
#[derive(Debug, Args)]
pub struct EditsArguments {
    #[command(flatten)]
    pub edits: EditArguments,
    #[command(flatten)]
    pub out: OutArguments,
}

/// Compensate.
#[derive(Debug, Args)]
pub struct CompensateArguments {
    #[command(flatten)]
    pub edits: EditArguments,
    /// A payment from the treasury; may be given more than once.
    #[arg(long, value_name = "ACCOUNT,ASSET,AMOUNT", value_parser = payment)]
    pub pay: Vec<PaymentText>,
    /// Pay in this asset what innocent accounts lost: what each would have more without the error, at the last prices before
    /// it.
    #[arg(long, value_name = "ASSET")]
    pub pay_victims: Option<String>,
    #[command(flatten)]
    pub out: OutArguments,
}

/// Which plan.
#[derive(Debug, Args)]
pub struct ShowPlanArguments {
    /// The plan's file.
    #[arg(value_name = "PLAN")]
    pub file: PathBuf,
}

/// Where plans are made for, and what is known there.
struct Place<'a> {
    timeline: &'a Timeline,
    halt: Halt,
    exchange: Exchange,
    names: Names,
}

impl<'a> Place<'a> {
    fn find(timeline: &'a Timeline) -> Result<Self, Failure> {
        let halt = find_halt(timeline)?;
        let exchange = timeline.at(halt.sequence)?;
        let names = Names::of(&exchange);
        Ok(Self { timeline, halt, exchange, names })
    }

    fn edits(&self, arguments: &EditArguments) -> Result<engine::recovery::Edits, Failure> {
        arguments.edits(self.timeline, self.halt.sequence, &self.exchange, &self.names)
    }

    /// The payments that were named, and those to innocent accounts.
    fn payments(
        &self,
        edits: &engine::recovery::Edits,
        named: &[PaymentText],
        to_victims: Option<&String>,
    ) -> Result<Vec<Payment>, Failure> {
        let mut all = payments(named, &self.names)?;
        if let Some(asset) = to_victims {
            let asset = self.names.find_asset(asset).map_err(Failure::failed)?;
            let excise = Strategy::Excise(edits.clone());
            let credited = credited(self.timeline, &excise, self.halt.sequence)?;
            let progress = telling(Progress::start("what innocents lost", self.window(&excise)));
            let branch = evaluate(self.timeline, self.halt.sequence, &excise, &progress)?;
            all.extend(victims(&branch, &credited, asset, &self.prices_before(edits)?));
        }
        Ok(all)
    }

    /// The last prices before the error, where there are any.
    fn prices_before(&self, edits: &engine::recovery::Edits) -> Result<BTreeMap<MarketId, Price>, Failure> {
        let wanted: Vec<_> = self.exchange.markets().map(|view| view.spec.market).collect();
        let last = crate::prices::last_prices(self.timeline, edits.cut(), &wanted)?;
        Ok(last.into_iter().map(|(market, last)| (market, last.price)).collect())
    }

    fn window(&self, strategy: &Strategy) -> Option<u64> {
        Some(self.halt.sequence.0.saturating_sub(strategy.cut().0))
    }
}

/// Plans, compares or shows.
pub fn run(timeline: Option<&Timeline>, arguments: &PlanArguments, output: &mut Output) -> Result<u8, Failure> {
    if arguments.action.is_some() && (arguments.compare || !arguments.edits.is_empty()) {
        return Err(Failure::Usage(
            "a comparison and one strategy are two things: put the edits behind the strategy's name, or leave the name away".to_owned(),
        ));
    }
    if let Some(PlanAction::Show(arguments)) = &arguments.action {
        return show(timeline, &arguments.file, output);
    }
    let Some(timeline) = timeline else {
        return Err(Failure::Usage("give the exchange's data directory: --data DIR".to_owned()));
    };
    match &arguments.action {
        None if arguments.compare => run_compare(timeline, arguments, output),
        None => Err(Failure::Usage(
            "say which strategy: plan rewind, excise, bust or compensate; plan --compare shows all four side by side"
                .to_owned(),
        )),
        Some(action) => plan(timeline, action, output),
    }
}

/// Makes one plan, and writes its file.
fn plan(timeline: &Timeline, action: &PlanAction, output: &mut Output) -> Result<u8, Failure> {
    let out = match action {
        PlanAction::Rewind(RewindArguments { out, .. })
        | PlanAction::Excise(EditsArguments { out, .. })
        | PlanAction::Bust(EditsArguments { out, .. })
        | PlanAction::Compensate(CompensateArguments { out, .. }) => out.out.clone(),
        PlanAction::Show(_) => unreachable!("it was shown"),
    };
    if let Some(out) = &out {
        check_out(out, timeline.directory(), "plan", is_plan)?;
    }
    let place = Place::find(timeline)?;
    let strategy = match action {
        PlanAction::Rewind(arguments) => Strategy::Rewind { cut: Sequence(arguments.to) },
        PlanAction::Excise(arguments) => Strategy::Excise(place.edits(&arguments.edits)?),
        PlanAction::Bust(arguments) => Strategy::Bust(place.edits(&arguments.edits)?),
        PlanAction::Compensate(arguments) => {
            let edits = place.edits(&arguments.edits)?;
            let payments = place.payments(&edits, &arguments.pay, arguments.pay_victims.as_ref())?;
            Strategy::Compensate { edits, payments }
        }
        PlanAction::Show(_) => unreachable!("it was shown"),
    };
    let progress = telling(Progress::start("planning", place.window(&strategy)));
    let begun = std::time::Instant::now();
    let (plan, branch) = make_plan(timeline, &strategy, &progress)?;
    let took = begun.elapsed();
    drop(progress);
    let credited = credited(timeline, &strategy, plan.halt)?;
    let outcome = outcome_of(&branch, &strategy, plan.state, &credited, took);
    if !outcome.conserved {
        return Err(Failure::Damaged(
            "on the branch an asset does not sum to zero, or another invariant is broken: nothing was written; report this"
                .to_owned(),
        ));
    }
    let file = write(&plan, out)?;
    let names = Names::of(&branch.parent);
    let commands = edited_commands(timeline, &strategy)?;
    let report = plan_report::Planned {
        plan: &plan,
        file: &file,
        outcome: &outcome,
        names: &names,
        credited: &credited,
        commands: &commands,
        refused: &branch.refused,
        directory: timeline.directory(),
    };
    report.write(output)?;
    Ok(FINE)
}

/// A file of an operator's is not overwritten, and the data directory holds the exchange's files only. Asked before anything
/// is computed; `may_be` knows what may be written again.
fn check_out(out: &Path, directory: &Path, what: &str, may_be: impl Fn(&Path) -> bool) -> Result<(), Failure> {
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let Ok(real) = parent.canonicalize() else {
        return Err(Failure::failed(format!("{}: there is no directory {}", out.display(), parent.display())));
    };
    if directory.canonicalize().is_ok_and(|directory| real.starts_with(directory)) {
        return Err(Failure::failed(format!(
            "{}: the data directory is the exchange's own; write the {what} elsewhere",
            out.display()
        )));
    }
    if out.exists() && !may_be(out) {
        return Err(Failure::failed(format!(
            "{} is there already, and is no {what}: name another file",
            out.display()
        )));
    }
    Ok(())
}

/// The same plan made again is no harm; whether it is the same is seen when it is made.
fn is_plan(file: &Path) -> bool {
    Plan::read_file(file).is_ok()
}

/// A page takes the place of an older one.
fn is_page(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"<!DOCTYPE html>"))
}

/// Writes the plan, unless the very same is there.
fn write(plan: &Plan, out: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let hash = plan.hash().to_string();
    let preview = if plan.preview { "preview-" } else { "" };
    let file =
        out.unwrap_or_else(|| format!("{preview}{}-{}-{}.plan", plan.strategy.name(), plan.halt, &hash[..8]).into());
    if file.exists() {
        return match Plan::read_file(&file) {
            Ok(there) if there == *plan => Ok(file),
            _ => Err(Failure::failed(format!(
                "{} is there already, and is another plan: name another file",
                file.display()
            ))),
        };
    }
    plan.write_file(&file).map_err(|error| match error {
        PlanError::Io { .. } => Failure::failed(format!("{error}; name another file with --out")),
        other => other.into(),
    })?;
    Ok(file)
}

/// What the edited sequences were, as far as people want to read it.
const EDITS_SHOWN: usize = 20;

/// The commands at the first edited sequences.
fn edited_commands(timeline: &Timeline, strategy: &Strategy) -> Result<BTreeMap<Sequence, Command>, Failure> {
    let sequences = strategy.edits().map(engine::recovery::Edits::sequences).unwrap_or_default();
    let mut commands = BTreeMap::new();
    for sequence in sequences.into_iter().take(EDITS_SHOWN) {
        let mut behind = JournalReader::open_at(timeline.storage().clone(), Sequence(sequence.0.saturating_sub(1)))?;
        if let Some(command) = behind.next().transpose()? {
            commands.insert(sequence, command.command);
        }
    }
    Ok(commands)
}

/// The four side by side.
pub struct Comparison<'a> {
    pub halt: Halt,
    pub names: &'a Names,
    pub exchange: &'a Exchange,
    pub strategies: &'a [Strategy],
    pub outcomes: &'a [Result<Outcome, Failure>],
    pub credited: &'a BTreeSet<AccountId>,
    /// What was traced, for the charts.
    pub trace: Option<&'a Trace>,
}

fn run_compare(timeline: &Timeline, arguments: &PlanArguments, output: &mut Output) -> Result<u8, Failure> {
    if let Some(page) = &arguments.html {
        check_out(page, timeline.directory(), "page", is_page)?;
    }
    let place = Place::find(timeline)?;
    let edits = place.edits(&arguments.edits)?;
    let payments = place.payments(&edits, &arguments.pay, arguments.pay_victims.as_ref())?;
    let cut = arguments.to.map_or_else(|| edits.cut(), Sequence);
    let excise = Strategy::Excise(edits.clone());
    let credited = credited(timeline, &excise, place.halt.sequence)?;
    let strategies = [
        Strategy::Rewind { cut },
        excise,
        Strategy::Bust(edits.clone()),
        Strategy::Compensate { edits: edits.clone(), payments },
    ];
    const WHATS: [&str; 4] = ["1 of 4, rewind", "2 of 4, excise", "3 of 4, bust", "4 of 4, compensate"];
    let progress: Vec<_> = strategies
        .iter()
        .zip(WHATS)
        .map(|(strategy, what)| (what, place.window(strategy)))
        .map(|(what, window)| std::sync::Mutex::new((what, window, None)))
        .collect();
    let tell = |number: usize, done: u64| {
        if let Some(Ok(mut slot)) = progress.get(number).map(std::sync::Mutex::lock) {
            let (what, window, _) = *slot;
            slot.2.get_or_insert_with(|| Progress::start(what, window)).reach(done);
        }
    };
    let outcomes = compare(timeline, place.halt.sequence, &strategies, &credited, &tell);
    drop(progress);
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map_err(Failure::from)).collect();
    let unsound = |outcome: &Result<Outcome, Failure>| match outcome {
        Ok(outcome) => !outcome.conserved,
        Err(failure) => matches!(failure, Failure::Damaged(_)),
    };
    let sound = !outcomes.iter().any(unsound);
    let trace = match &arguments.html {
        Some(_) => Some(traced(&place, &edits)?),
        None => None,
    };
    let comparison = Comparison {
        halt: place.halt,
        names: &place.names,
        exchange: &place.exchange,
        strategies: &strategies,
        outcomes: &outcomes,
        credited: &credited,
        trace: trace.as_ref().and_then(Option::as_ref),
    };
    if let Some(file) = &arguments.html {
        plan_page::write(timeline, &comparison, arguments.choose, file)?;
    }
    plan_report::comparison(&comparison, arguments.html.as_deref(), output)?;
    if !sound {
        return Err(Failure::Damaged(
            "a strategy came to no sound state: keep a copy of the data directory, report this, and apply none of its plans"
                .to_owned(),
        ));
    }
    if outcomes.iter().all(Result::is_err) {
        return Err(Failure::failed("no strategy can do this: the reasons are above"));
    }
    Ok(FINE)
}

/// What the edited sequences credited; `None` when they are not what credited, as with a manifest.
fn traced(place: &Place<'_>, edits: &engine::recovery::Edits) -> Result<Option<Trace>, Failure> {
    use engine::recovery::BranchError::NothingCredited;
    let mut sequences = edits.sequences();
    for (_, airdrop) in place.exchange.airdrops() {
        // An airdrop whose manifest is edited credited where it was paid.
        if airdrop.executed.0 != 0 && sequences.contains(&airdrop.opened) {
            sequences.insert(airdrop.executed);
        }
    }
    let progress = telling(Progress::start("tracing", Some(place.halt.sequence.0.saturating_sub(edits.cut().0))));
    match trace(place.timeline, place.halt.sequence, &Suspects::Sequences(sequences), &progress) {
        Ok(trace) => Ok(Some(trace)),
        Err(NothingCredited) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Shows a plan that there is.
fn show(timeline: Option<&Timeline>, file: &Path, output: &mut Output) -> Result<u8, Failure> {
    let plan = Plan::read_file(file)?;
    let (mut names, mut commands, mut standing) = (Names::default(), BTreeMap::new(), None);
    if let Some(timeline) = timeline {
        standing = Some(plan_standing(timeline.storage(), &plan));
        if matches!(standing, Some(Ok(_))) {
            names = Names::of(&timeline.at(plan.halt)?);
            commands = edited_commands(timeline, &plan.strategy)?;
        }
    }
    let approvals = Approval::read_beside(file, &plan)?;
    plan_report::show(&plan, file, &names, &commands, &approvals, standing, output)?;
    Ok(FINE)
}

/// What a plan does, resolved with the exchange's names where its data is at hand.
pub fn resolve(timeline: &Timeline, plan: &Plan) -> Result<(Names, BTreeMap<Sequence, Command>), Failure> {
    Ok((Names::of(&timeline.at(plan.halt)?), edited_commands(timeline, &plan.strategy)?))
}

/// The strategy that the HTML file shows line by line.
pub fn chosen<'a>(comparison: &'a Comparison<'_>, asked: Option<StrategyName>) -> Option<&'a Outcome> {
    let outcomes = || comparison.outcomes.iter().flatten();
    if let Some(asked) = asked {
        return outcomes().find(|outcome| outcome.strategy.name() == asked.name());
    }
    let repairing = outcomes().filter(|outcome| matches!(outcome.strategy, Strategy::Excise(_) | Strategy::Bust(_)));
    let touches = |outcome: &&Outcome| (outcome.innocent_changed, outcome.trades_voided + outcome.trades_new);
    repairing.min_by_key(touches).or_else(|| outcomes().next())
}

/// The branch of a strategy, computed again for its charts.
pub fn branch(timeline: &Timeline, halt: Sequence, strategy: &Strategy) -> Result<Branch, Failure> {
    let window = halt.0.saturating_sub(strategy.cut().0);
    Ok(evaluate(timeline, halt, strategy, &telling(Progress::start("for the charts", Some(window))))?)
}
