//! Recovery against naive models of it, on random incidents.
//!
//! In the ordinary run 150 incidents; with `RUN_SLOW_TESTS` set, or compiled with optimizations, 1,000. A failure prints the seed,
//! the plan, and the fewest commands of the incident that still show it, at their own sequences.

#[path = "../model/mod.rs"]
mod model;

mod compare;
mod history;
mod naive;
mod plans;
mod shrink;
mod tracing;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use engine::{
    event::Event,
    exchange::Exchange,
    recovery::{Recorded, Strategy},
};
use history::Incident;
use model::ModelExchange;
use naive::{Coverage, Parent};

fn incidents() -> u64 {
    let all = std::env::var_os("RUN_SLOW_TESTS").is_some() || !cfg!(debug_assertions);
    std::env::var("INCIDENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(if all { 1_000 } else { 150 })
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

fn must_have_seen(coverage: &Coverage, wanted: &[&str]) {
    let missing: Vec<_> = wanted.iter().filter(|what| coverage.count(what) == 0).collect();
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

#[test]
fn every_strategy_does_what_the_models_say() {
    let coverage = on_all_cores(|seed| {
        let incident = Incident::new(seed);
        let parent = Parent::run(&ModelExchange::new(), &incident);
        let mut total = history_of(&parent);
        for strategy in plans::strategies(&incident, &parent.at_halt) {
            total.add(&shrink::checked(&incident, &strategy, compare_first));
        }
        total
    });
    print("Strategies against naive models", &coverage);
    must_have_seen(&coverage, &WANTED);
}

/// Builds what a comparison needs, for an incident on a new exchange.
fn compare_first(incident: &Incident, strategy: &Strategy) -> Result<Coverage, String> {
    let parent = Parent::run(&ModelExchange::new(), incident);
    let history = Recorded::new(incident.commands.clone());
    compare::compare(&parent, &history, strategy)
}

const WANTED: [&str; 0] = [];

/// What an incident is like.
fn history_of(parent: &Parent) -> Coverage {
    let mut coverage = Coverage::default();
    for (at, events) in parent.commands.iter().zip(&parent.events) {
        coverage.saw("history: commands");
        if naive::is_refused(events) {
            coverage.saw("history: refused");
        }
        for event in events {
            coverage.saw(match event {
                Event::Filled { .. } => "history: fills",
                Event::AirdropExecuted { .. } => "history: airdrops paid",
                Event::AirdropUnlocked { .. } => "history: locks ended",
                Event::AuctionUncrossed { .. } => "history: auctions",
                Event::WithdrawalReleased { .. } => "history: releases",
                Event::WithdrawalFailed { .. } => "history: withdrawals failed",
                Event::Transferred { .. } => "history: transfers",
                Event::OrderReplaced { .. } => "history: replacings",
                _ if at.sequence > parent.halt => "history: events behind the halt",
                _ => continue,
            });
        }
    }
    coverage
}
