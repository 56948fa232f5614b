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
    exchange::{Decision, Exchange, MatchSink, RecentSettlements, Settlement},
    types::{
        AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId, Price, Quantity,
        Sequence, Side, Timestamp,
    },
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
    recent: &'a mut RecentSettlements,
}

impl MatchSink for Sink<'_> {
    fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    fn settle(&mut self, settlement: Settlement) {
        self.recent.note(&settlement);
        self.feedback.push_back(Feedback::Settle(settlement));
    }
}

/// How often risk could not decide alone.
#[derive(Debug, Default)]
struct Undecided {
    /// It waited.
    waits: u64,
    /// It left the decision to the matcher, by what became of it.
    covered: u64,
    refused: u64,
}

/// Runs the halves apart, each going on at random, with `lead` commands between them at the most. Of ten commands that risk
/// could wait for, it leaves so many to the matcher if it can.
fn run_apart(name: &str, history: &History, random: &mut Random, lead: usize, left: u64, count: &mut Undecided) {
    let History { begin, commands, events, end } = history;
    let last = begin.last_sequence();
    let (mut risk, mut matcher) = begin.clone().into_parts();
    let mut decided: VecDeque<Decision> = VecDeque::new();
    let mut feedback = VecDeque::new();
    let mut recent = RecentSettlements::default();
    let (mut next, mut executed, mut settled, mut settlements) = (0, 0, last, 0);
    while executed < commands.len() || !feedback.is_empty() {
        match random.below(4) {
            0 | 1 if next < commands.len() && decided.len() < lead => {
                let (sequence, time, command) = &commands[next];
                match risk.decide(*sequence, *time, command) {
                    Decision::Wait { until } => {
                        assert!(until > settled && until < *sequence, "{name}, {sequence}: waits for {until}");
                        // Asked again, it says the same.
                        assert_eq!(risk.decide(*sequence, *time, command), Decision::Wait { until }, "{name}");
                        let leaves = random.below(10) < left;
                        match leaves.then(|| risk.decide_conditionally(*sequence, command, settlements)).flatten() {
                            Some(decision) => {
                                decided.push_back(decision);
                                next += 1;
                            }
                            None => count.waits += 1,
                        }
                    }
                    decision => {
                        decided.push_back(decision);
                        next += 1;
                    }
                }
            }
            2 => {
                let Some(mut decision) = decided.pop_front() else { continue };
                let (sequence, time, command) = &commands[executed];
                let mut before = None;
                if let Decision::Conditional(conditional) = &decision {
                    let (decided, settled_before) = matcher.decide(conditional, &mut recent);
                    (decision, before) = (decided, Some(settled_before));
                    let is_refused = matches!(decision, Decision::Refuse(_));
                    *(if is_refused { &mut count.refused } else { &mut count.covered }) += 1;
                }
                let mut sink = Sink { events: Vec::new(), feedback: &mut feedback, recent: &mut recent };
                before.into_iter().for_each(|settlement| sink.settle(settlement));
                matcher.execute(*sequence, *time, command, &decision, &mut sink);
                assert_eq!(sink.events, events[executed], "{name}, {sequence}: {command:?}");
                feedback.push_back(Feedback::Through(*sequence));
                executed += 1;
            }
            _ => {
                for _ in 0..random.below(6) {
                    match feedback.pop_front() {
                        Some(Feedback::Settle(settlement)) => {
                            risk.settle(&settlement);
                            settlements += 1;
                        }
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
}

#[test]
fn halves_apart_give_the_outcome_of_the_serial_machine() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let mut count = Undecided::default();
    for kind in Kind::ALL {
        for seed in 1..=if slow { 20 } else { 2 } {
            for before in [0, 900] {
                let history = history(kind, seed, before, 1_500);
                for (lead, left) in [(1, 0), (4, 0), (60, 0), (4, 10), (60, 10), (60, 5), (1_500, 10), (1_500, 5)] {
                    let name = format!("{kind:?}, seed {seed}, behind {before}, lead {lead}, left {left}");
                    let mut random = Random::new(seed * 100 + lead as u64 + left);
                    run_apart(&name, &history, &mut random, lead, left, &mut count);
                }
            }
        }
    }
    assert!(count.waits > 1_000 && count.covered > 1_000 && count.refused > 1_000, "too seldom: {count:?}");
}

/// An account of which the matcher may hold more than risk knows is granted what is covered in any case; what may not be is left
/// to the matcher, or waits. When that is settled, it is as any other again.
#[test]
fn what_is_in_doubt_is_not_granted_twice() {
    let (account, market, quote) = (AccountId(1), MarketId(0), AssetId(1));
    let buy = |quantity| Command::PlaceLimit {
        account,
        market,
        side: Side::Buy,
        limit_type: LimitType::GoodTillCancel,
        price: Price(1),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    };
    let deposit = |number| Command::Deposit {
        account,
        asset: quote,
        amount: Amount(100),
        external_id: ExternalId::from_u128(number),
    };
    let withdraw = |amount| Command::RequestWithdrawal { account, asset: quote, amount: Amount(amount) };
    let (base, lot_size, tick_value, no_fee) = (AssetId(0), Amount(1), Amount(1), FeeRate(0));
    let setup = [
        Command::AddAsset { asset: base, symbol: "BTC".parse().unwrap(), scale: 8 },
        Command::AddAsset { asset: quote, symbol: "USD".parse().unwrap(), scale: 6 },
        Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate: no_fee, taker_rate: no_fee },
        Command::CreateAccount { account },
        deposit(1),
        buy(60),
    ];
    let mut exchange = Exchange::new();
    for (sequence, command) in (1..).map(Sequence).zip(&setup) {
        exchange.apply(sequence, Timestamp(0), command, &mut Vec::new());
    }
    let (mut risk, mut matcher) = exchange.into_parts();
    let commands = [
        // Will bring 60, which risk does not see.
        Command::CancelOrder { account, order: OrderId(6) },
        // 40 are seen: only the matcher can tell, and holds 70 of the 100.
        buy(70),
        // 40 are seen, but 70 may be held of them. Of 30 the matcher holds 20.
        buy(20),
        // Not covered: 10 are left.
        buy(15),
        // 140 are seen, and 105 may be held of them.
        deposit(2),
        buy(35),
        // 105 are seen, and as many may be held of them.
        buy(1),
    ];
    let left = [false, true, true, true, false, false, true];
    let timed = |sequence: u64| (Sequence(sequence), Timestamp(0));
    let mut decisions = Vec::new();
    for ((command, left), sequence) in commands.iter().zip(left).zip(7..) {
        let (sequence, time) = timed(sequence);
        let mut decision = risk.decide(sequence, time, command);
        assert_eq!(matches!(decision, Decision::Wait { .. }), left, "{command:?}: {decision:?}");
        if left {
            decision = risk.decide_conditionally(sequence, command, 0).expect("an order can be left to the matcher");
            assert_eq!(risk.needs_settlements_from(0), 0);
        }
        decisions.push(decision);
    }
    let (after, time) = timed(14);
    assert_eq!(risk.decide(after, time, &withdraw(1)), Decision::Wait { until: Sequence(13) });
    assert_eq!(risk.decide_conditionally(after, &withdraw(1), 0), None);

    let (mut recent, mut feedback) = (RecentSettlements::default(), VecDeque::new());
    for ((command, decision), sequence) in commands.iter().zip(decisions).zip(7..) {
        let (sequence, time) = timed(sequence);
        let (mut decision, mut before) = (decision, None);
        if let Decision::Conditional(conditional) = &decision {
            let (decided, settled_before) = matcher.decide(conditional, &mut recent);
            (decision, before) = (decided, Some(settled_before));
        }
        let mut sink = Sink { events: Vec::new(), feedback: &mut feedback, recent: &mut recent };
        before.into_iter().for_each(|settlement| sink.settle(settlement));
        matcher.execute(sequence, time, command, &decision, &mut sink);
        let is_refused = matches!(sink.events[..], [Event::Refused { .. }]);
        assert_eq!(is_refused, sequence == Sequence(10), "{:?}", sink.events);
    }
    for settled in feedback {
        if let Feedback::Settle(settlement) = settled {
            risk.settle(&settlement);
        }
    }
    // What was left is settled, the last of it not yet counted as such.
    assert_eq!(risk.balance(account, quote).available, Amount(200 - 70 - 20 - 35 - 1));
    risk.settled_through(Sequence(12));
    assert_eq!(risk.decide(after, time, &withdraw(74)), Decision::Wait { until: Sequence(13) });
    risk.settled_through(Sequence(13));
    assert_eq!(risk.needs_settlements_from(9), 9);
    assert!(matches!(risk.decide(after, time, &withdraw(74)), Decision::Done(_)));
    assert_eq!(risk.balance(account, quote).available, Amount(0));
}
