//! Recovery against naive models of it, on random incidents.
//!
//! In the ordinary run 300 incidents, and as many after the repair of another; with `RUN_SLOW_TESTS` set 1,000 of each; `INCIDENTS` says
//! how many. A failure prints the seed, the plan, and the fewest commands of the incident that still show it, at their own sequences.

#[path = "../model/mod.rs"]
mod model;

mod by_hand;
mod compare;
mod history;
mod naive;
mod plans;
mod repair;
mod shrink;
mod tracing;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use engine::{
    command::Command,
    event::{Event, RejectReason},
    exchange::Exchange,
    recovery::{Edits, History, Recorded, Suspects},
};
use history::Incident;
use model::ModelExchange;
use naive::{Coverage, Parent};

fn incidents() -> u64 {
    let all = std::env::var_os("RUN_SLOW_TESTS").is_some();
    std::env::var("INCIDENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(if all { 1_000 } else { 300 })
}

/// Runs the seeds on all cores and adds up what was seen.
fn on_all_cores(run: impl Fn(u64) -> Coverage + Sync) -> Coverage {
    let next = AtomicU64::new(1);
    let total = Mutex::new(Coverage::default());
    let last = incidents();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    let coverage = run(seed);
                    total.lock().expect("nobody panicked").add(&coverage);
                }
            });
        }
    });
    total.into_inner().expect("nobody panicked")
}

fn print(title: &str, coverage: &Coverage) {
    println!("{title}, {} incidents:", incidents());
    for (what, count) in &coverage.0 {
        println!("  {count:>8}  {what}");
    }
}

/// What the tests are about must have happened, or they show nothing.
fn must_have_seen(coverage: &Coverage, also: &[&str]) {
    if incidents() < 300 {
        return;
    }
    let missing: Vec<_> = WANTED.iter().chain(also).filter(|what| coverage.count(what) == 0).collect();
    assert!(missing.is_empty(), "never seen in {} incidents: {missing:?}", incidents());
}

/// What happened is the same to both, command by command.
#[test]
fn the_past_is_what_the_model_says() {
    on_all_cores(|seed| {
        let incident = Incident::new(seed);
        let (mut model, mut exchange) = (ModelExchange::new(), Exchange::new());
        for at in &incident.commands {
            let expected = model.apply(at.sequence, at.time, &at.command);
            let mut events: Vec<Event> = Vec::new();
            exchange.apply(at.sequence, at.time, &at.command, &mut events);
            assert!(events == expected, "seed {seed}, {at:?}: {events:#?} and not {expected:#?}");
        }
        model.check();
        compare::same_state("the end", &model, &exchange).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        Coverage::default()
    });
}

/// Every plan for a first incident, and every trace of it.
#[test]
fn every_strategy_and_trace_is_what_the_models_say() {
    let coverage = on_all_cores(|seed| {
        let incident = Incident::new(seed);
        let history = |incident: &Incident| Recorded::new(incident.commands.clone());
        check_all(&incident, &ModelExchange::new(), &history)
    });
    print("First incidents", &coverage);
    must_have_seen(&coverage, IN_FIRST);
}

/// The same for an incident that happens after the repair of another: with debts, shortfalls, carried fees and all.
#[test]
fn incidents_after_a_repair_are_what_the_models_say() {
    let coverage = on_all_cores(|seed| {
        let repaired = repair::repaired(seed);
        let incident = Incident::after(seed, &repaired.model, repaired.last, repaired.time);
        let mut total = repair::of_state(&repaired);
        let same = |smaller: &Incident| repair::same_events(&repaired, smaller);
        total.add(&shrink::checked(&incident, &"events", &BTreeSet::new(), &same));
        total.add(&check_all(&incident, &repaired.model, &|incident| repaired.history(incident)));
        total
    });
    print("Incidents after a repair", &coverage);
    must_have_seen(&coverage, IN_SECOND);
}

fn check_all<H: History>(incident: &Incident, base: &ModelExchange, history: &dyn Fn(&Incident) -> H) -> Coverage {
    let parent = Parent::run(base, incident);
    let mut total = history_of(&parent, incident);
    for strategy in plans::strategies(incident, &parent) {
        let check = |smaller: &Incident| compare::compare(&Parent::run(base, smaller), &history(smaller), &strategy);
        let kept = strategy.edits().map(Edits::sequences).unwrap_or_default();
        total.add(&shrink::checked(incident, &strategy, &kept, &check));
    }
    // What a plan puts right is traced as well: what became of it sums exactly for every plan.
    let of_plans = plans::strategies(incident, &parent).into_iter().filter_map(|strategy| {
        let sequences = strategy.edits()?.sequences();
        Some(Suspects::Sequences(sequences))
    });
    for suspects in tracing::suspects(incident).into_iter().chain(of_plans) {
        let check = |smaller: &Incident| tracing::compare(&Parent::run(base, smaller), &history(smaller), &suspects);
        total.add(&shrink::checked(incident, &suspects, &tracing::kept(incident, &suspects), &check));
    }
    total
}

const WANTED: &[&str] = &[
    "history: airdrops paid",
    "history: auctions uncrossed",
    "history: deposits",
    "history: facts behind the halt",
    "history: fills with fees",
    "history: locks ended",
    "history: operators changed",
    "history: orders cancelled",
    "history: orders reduced",
    "history: orders replaced",
    "history: reserves attested",
    "history: several wrong airdrops",
    "history: transfers",
    "history: treasury funded",
    "history: velocity trips",
    "history: withdrawals failed",
    "history: withdrawals released",
    "history: withdrawals sent",
    "plans: bust",
    "plans: compensate",
    "plans: excise",
    "plans: rewind",
    "accounts out of reach",
    "innocent accounts changed",
    "fills kept",
    "fills new",
    "fills void",
    "a closure is repeated",
    "a fee is carried",
    "a fill is void",
    "a fill of a dropped order is void",
    "a hold beyond what is released",
    "a refused cancel applied",
    "a release falls short",
    "a release without its request",
    "a repricing cancels in rewind",
    "a request is void",
    "a shortfall is forgiven",
    "a transfer is void",
    "an order cannot be held again",
    "bust: replaced",
    "compensate: a lock is ended",
    "compensate: owed",
    "compensate: paid",
    "compensate: taken back",
    "dropped",
    "found nothing",
    "lock ended on the branch",
    "replaced",
    "somebody owes",
    "refused on the branch: account_owes",
    "refused on the branch: insufficient_available",
    "refused on the branch: not_fillable",
    "refused on the branch: order_not_found",
    "refused on the branch: would_trade",
    "refused: a cut that is not before the halt",
    "refused: a fact is refused",
    "refused: a fact without a reason",
    "refused: a payment",
    "refused: a replacement is refused",
    "refused: nothing was credited",
    "refused: unsuited",
    "trace: fees",
    "trace: fills touched",
    "trace: flows over several hops",
    "trace: held",
    "trace: poison spreads",
    "trace: proceeds withdrawn",
    "trace: sold",
    "trace: transferred",
    "trace: withdrawn",
];
const IN_FIRST: &[&str] = &["excise equals a fresh run", "history: controls set"];
const IN_SECOND: &[&str] = &[
    "history: refused for owing",
    "history: set-offs",
    "repaired: by bust",
    "repaired: by compensate",
    "repaired: by excise",
    "repaired: by rewind",
    "repaired: with carried fees",
    "repaired: with debts",
    "repaired: with shortfalls",
    "trace: set off",
];

/// What an incident is like.
fn history_of(parent: &Parent, incident: &Incident) -> Coverage {
    let mut coverage = Coverage::default();
    for (at, events) in parent.commands.iter().zip(&parent.events) {
        coverage.saw("history: commands");
        if naive::is_refused(events) {
            coverage.saw("history: refused");
        }
        let is_behind = at.sequence > parent.halt;
        if is_behind && !naive::is_refused(events) && at.command != (Command::Tick {}) {
            coverage.saw("history: facts behind the halt");
        }
        for event in events {
            coverage.saw(match event {
                Event::Filled { .. } => "history: fills",
                Event::Deposited { .. } => "history: deposits",
                Event::AirdropExecuted { .. } => "history: airdrops paid",
                Event::AirdropUnlocked { .. } => "history: locks ended",
                Event::AuctionUncrossed { .. } => "history: auctions uncrossed",
                Event::WithdrawalReleased { .. } => "history: withdrawals released",
                Event::WithdrawalSent { .. } => "history: withdrawals sent",
                Event::WithdrawalFailed { .. } => "history: withdrawals failed",
                Event::Transferred { .. } => "history: transfers",
                Event::OrderReplaced { .. } => "history: orders replaced",
                Event::OrderReduced { .. } => "history: orders reduced",
                Event::OrderCancelled { .. } => "history: orders cancelled",
                Event::SetOffDone { .. } => "history: set-offs",
                Event::OperatorRegistered { .. } | Event::OperatorRevoked { .. } => "history: operators changed",
                Event::ControlsSet { .. } => "history: controls set",
                Event::TreasuryFunded { .. } => "history: treasury funded",
                Event::ReservesAttested { .. } => "history: reserves attested",
                Event::Refused { reason: RejectReason::AccountOwes, .. } => "history: refused for owing",
                Event::Refused { reason: RejectReason::VelocityExceeded, .. } => "history: velocity trips",
                _ => continue,
            });
        }
        let fees = events.iter().any(
            |event| matches!(event, Event::Filled { taker_fee, maker_fee, .. } if *taker_fee != 0 || *maker_fee != 0),
        );
        if fees {
            coverage.saw("history: fills with fees");
        }
    }
    let wrong = incident.marks.airdrops.iter().filter(|mark| mark.wrong).count();
    if wrong > 1 {
        coverage.saw("history: several wrong airdrops");
    }
    coverage.saw("history: incidents");
    coverage
}
