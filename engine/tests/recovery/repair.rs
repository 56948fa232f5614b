//! An exchange whose incident was repaired: where the next one begins.

use engine::{
    command::SequencedCommand,
    event::{Event, NoEvents},
    exchange::Exchange,
    recovery::{self, Commands, History, Recorded, Strategy, TimelineError},
    types::{Sequence, Timestamp},
};

use crate::{
    compare::{ensure, same_state},
    history::Incident,
    model::{ModelExchange, streams::Random},
    naive::{Branch, Coverage, Parent},
    plans,
};

/// What a repair led to, after the facts that came behind the halt.
pub struct Repaired {
    pub model: ModelExchange,
    pub exchange: Exchange,
    pub last: Sequence,
    pub time: Timestamp,
    strategy: &'static str,
}

/// The past since a repair.
pub struct Since {
    start: Sequence,
    exchange: Exchange,
    commands: Vec<SequencedCommand>,
}

impl Repaired {
    pub fn history(&self, incident: &Incident) -> Since {
        Since { start: self.last, exchange: self.exchange.clone(), commands: incident.commands.clone() }
    }
}

impl History for Since {
    fn behind(&self, cut: Sequence) -> Result<(Exchange, Commands), TimelineError> {
        let last = self.commands.last().map_or(self.start, |last| last.sequence);
        if cut > last {
            return Err(TimelineError::Future { asked: cut, last });
        }
        let mut exchange = self.exchange.clone();
        for SequencedCommand { sequence, time, command, .. } in self.commands.iter().filter(|at| at.sequence <= cut) {
            exchange.apply(*sequence, *time, command, &mut NoEvents);
        }
        let behind: Vec<_> = self.commands.iter().filter(|at| at.sequence > cut).copied().collect();
        let mut behind = Some(behind).filter(|behind| !behind.is_empty());
        Ok((exchange, Box::new(move || Ok(behind.take().map(Into::into)))))
    }

    fn epoch_start(&self) -> Result<Sequence, TimelineError> {
        Ok(self.start)
    }
}

/// Repairs an incident by one of its plans: by one that leaves carried fees or debts, when there is one.
pub fn repaired(seed: u64) -> Repaired {
    let incident = Incident::new(seed);
    let parent = Parent::run(&ModelExchange::new(), &incident);
    let history = Recorded::new(incident.commands.clone());
    let mut strategies = plans::strategies(&incident, &parent);
    let turn = usize::try_from(Random::new(seed).below(strategies.len() as u64)).expect("it fits");
    strategies.rotate_left(turn);
    let mut possible: Vec<_> = strategies
        .iter()
        .filter_map(|strategy| possible_model(&parent, strategy).map(|branch| (strategy, branch)))
        .collect();
    let carries = possible.iter().position(|(_, branch)| carries_fees(&branch.model));
    let owes = possible.iter().position(|(_, branch)| !branch.model.owed.is_empty());
    let (strategy, branch) = possible.swap_remove(carries.or(owes).unwrap_or(0));
    let mut model = branch.model;
    let evaluated = recovery::evaluate(&history, incident.halt, strategy, &|_| {});
    let branch = evaluated.unwrap_or_else(|error| panic!("seed {seed}, {strategy:?}: {error}"));
    let (mut happened, mut exchange) = (branch.parent, branch.exchange);
    parent.advance(&mut model).expect("it was looked at");
    for later in parent.later() {
        recovery::carry_forward(&mut happened, &mut exchange, later).expect("the model takes it");
    }
    let last = incident.commands.last().expect("there are commands");
    Repaired { model, exchange, last: last.sequence, time: last.time, strategy: strategy.name() }
}

fn carries_fees(model: &ModelExchange) -> bool {
    model.open_orders().any(|(_, order)| order.taker_carry != 0 || order.maker_carry != 0)
}

/// The branch of a plan that nothing speaks against, neither before nor behind the halt.
fn possible_model(parent: &Parent, strategy: &Strategy) -> Option<Branch> {
    let branch = parent.evaluate(strategy).ok()?;
    parent.advance(&mut branch.model.clone()).ok()?;
    Some(branch)
}

/// What a repair left behind.
pub fn of_state(repaired: &Repaired) -> Coverage {
    let mut coverage = Coverage::default();
    coverage.saw(match repaired.strategy {
        "rewind" => "repaired: by rewind",
        "excise" => "repaired: by excise",
        "bust" => "repaired: by bust",
        _ => "repaired: by compensate",
    });
    let model = &repaired.model;
    for (there, what) in [
        (!model.owed.is_empty(), "repaired: with debts"),
        (model.withdrawals.values().any(|found| found.shortfall > 0), "repaired: with shortfalls"),
        (carries_fees(model), "repaired: with carried fees"),
    ] {
        if there {
            coverage.saw(what);
        }
    }
    coverage
}

/// What goes on after a repair is the same to the model and the engine, command by command.
pub fn same_events(repaired: &Repaired, incident: &Incident) -> Result<Coverage, String> {
    let (mut model, mut exchange) = (repaired.model.clone(), repaired.exchange.clone());
    same_state("the repaired exchange", &model, &exchange)?;
    for at in &incident.commands {
        let expected = model.apply(at.sequence, at.time, &at.command);
        let mut events: Vec<Event> = Vec::new();
        exchange.apply(at.sequence, at.time, &at.command, &mut events);
        ensure!(events == expected, "events differ at {at:?}\nmodel:  {expected:#?}\nengine: {events:#?}");
    }
    model.check();
    same_state("the end after a repair", &model, &exchange)?;
    exchange.check_invariants().map_err(|broken| format!("after a repair: invariant broken: {broken}"))?;
    Ok(Coverage::default())
}
