//! Risk ahead of the matcher, at times that a test chooses: the outcome is that of the serial machine, whatever has been
//! settled when, also when locks end and debts are paid in between.
//!
//! The pipeline's own tests do the same with threads, on its own clock; here days pass, and a failure can be run again.

#[path = "model/mod.rs"]
mod model;

use std::collections::VecDeque;

use engine::{
    command::Command,
    event::Event,
    exchange::{Decision, Exchange, MatchSink, Settlement},
    types::{Sequence, Timestamp},
};
use model::{
    ModelExchange,
    streams::{Kind, Random, Stream},
};

/// What happened from a state on: commands, with the events that the serial machine makes of them.
struct History {
    begin: Exchange,
    commands: Vec<(Sequence, Timestamp, Command)>,
    events: Vec<Vec<Event>>,
    end: Exchange,
}

/// A stretch of a stream, from its beginning or from behind a recovery.
fn history(kind: Kind, seed: u64, before: u64, count: u64) -> History {
    let (mut model, mut stream) = (ModelExchange::new(), Stream::new(kind, seed));
    let mut next = |model: &mut ModelExchange, sequence: u64| {
        let command = stream.next(model);
        model.apply(Sequence(sequence), kind.time(sequence), &command);
        (Sequence(sequence), kind.time(sequence), command)
    };
    let mut begin = Exchange::new();
    if before > 0 {
        (1..=before).for_each(|sequence| _ = next(&mut model, sequence));
        model.recover(&mut Random::new(seed));
        begin = Exchange::from_canonical_state(&model.canonical_state(), Sequence(before), seed).expect("a state");
    }
    let commands: Vec<_> = (before + 1..=before + count).map(|sequence| next(&mut model, sequence)).collect();
    let mut end = begin.clone();
    let events = commands.iter().map(|(sequence, time, command)| {
        let mut events = Vec::new();
        end.apply(*sequence, *time, command, &mut events);
        events
    });
    let events = events.collect();
    History { begin, commands, events, end }
}

/// What is on its way back to risk.
enum Feedback {
    Settle(Settlement),
    Through(Sequence),
}

struct Sink<'a> {
    events: Vec<Event>,
    feedback: &'a mut VecDeque<Feedback>,
}

impl MatchSink for Sink<'_> {
    fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    fn settle(&mut self, settlement: Settlement) {
        self.feedback.push_back(Feedback::Settle(settlement));
    }
}

/// Runs the halves apart, each going on at random, with `lead` commands between them at the most.
fn run_apart(name: &str, history: &History, random: &mut Random, lead: usize) -> u64 {
    let History { begin, commands, events, end } = history;
    let last = begin.last_sequence();
    let (mut risk, mut matcher) = begin.clone().into_parts();
    let mut decided: VecDeque<Decision> = VecDeque::new();
    let mut feedback = VecDeque::new();
    let (mut next, mut executed, mut settled, mut waits) = (0, 0, last, 0);
    while executed < commands.len() || !feedback.is_empty() {
        match random.below(4) {
            0 | 1 if next < commands.len() && decided.len() < lead => {
                let (sequence, time, command) = &commands[next];
                match risk.decide(*sequence, *time, command) {
                    Decision::Wait { until } => {
                        assert!(until > settled && until < *sequence, "{name}, {sequence}: waits for {until}");
                        waits += 1;
                        // Asked again, it says the same.
                        assert_eq!(risk.decide(*sequence, *time, command), Decision::Wait { until }, "{name}");
                    }
                    decision => {
                        decided.push_back(decision);
                        next += 1;
                    }
                }
            }
            2 => {
                let Some(decision) = decided.pop_front() else { continue };
                let (sequence, time, command) = &commands[executed];
                let mut sink = Sink { events: Vec::new(), feedback: &mut feedback };
                matcher.execute(*sequence, *time, command, &decision, &mut sink);
                assert_eq!(sink.events, events[executed], "{name}, {sequence}: {command:?}");
                feedback.push_back(Feedback::Through(*sequence));
                executed += 1;
            }
            _ => {
                for _ in 0..random.below(6) {
                    match feedback.pop_front() {
                        Some(Feedback::Settle(settlement)) => risk.settle(&settlement),
                        Some(Feedback::Through(sequence)) => {
                            risk.settled_through(sequence);
                            settled = sequence;
                        }
                        None => {}
                    }
                }
            }
        }
    }
    let exchange = Exchange::from_parts(risk, matcher, end.last_sequence());
    exchange.check_invariants().unwrap_or_else(|broken| panic!("{name}: {broken}"));
    assert_eq!(exchange.state_hash(), end.state_hash(), "{name}");
    waits
}

#[test]
fn halves_apart_give_the_outcome_of_the_serial_machine() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let mut waits = 0;
    for kind in Kind::ALL {
        for seed in 1..=if slow { 20 } else { 2 } {
            for before in [0, 900] {
                let history = history(kind, seed, before, 1_500);
                for lead in [1, 4, 60] {
                    let name = format!("{kind:?}, seed {seed}, behind {before}, lead {lead}");
                    waits += run_apart(&name, &history, &mut Random::new(seed * 100 + lead as u64), lead);
                }
            }
        }
    }
    assert!(waits > 1_000, "risk waited {waits} times");
}
