//! Random histories with random edits: whatever comes, a branch that holds together or a refusal that says why. And excise and
//! rewind once more, as a loop over the whole past without threads, batches or verdicts.
//!
//! With `RUN_SLOW_TESTS` set, a hundred times as many.

use std::collections::BTreeMap;

use engine::{
    command::{Command, SequencedCommand},
    event::{Event, NoEvents, RejectReason},
    exchange::Exchange,
    recovery::{Branch, BranchError, BustedFill, Edits, Payment, Recorded, Strategy, evaluate, is_fact},
    types::{Cause, OrderId, Sequence, TradingStatus},
};

use super::{
    check,
    model::streams::{self, Kind, Random},
};

fn histories() -> impl Iterator<Item = (Kind, u64)> {
    let seeds = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 200 } else { 2 };
    Kind::ALL.into_iter().flat_map(move |kind| (1..=seeds).map(move |seed| (kind, seed)))
}

/// A history of some hundred commands and the freeze behind it.
fn history(kind: Kind, seed: u64, count: usize) -> (Vec<SequencedCommand>, Sequence) {
    let freeze = Command::SetGlobalStatus { status: TradingStatus::Frozen };
    let commands = streams::commands(kind, seed, count).into_iter().chain([freeze]);
    let sequenced = (1..).zip(commands).map(|(sequence, command)| {
        let (time, cause) = (kind.time(sequence), Cause::session(1));
        SequencedCommand { sequence: Sequence(sequence), time, cause, command }
    });
    (sequenced.collect(), Sequence(count as u64 + 1))
}

/// What the parent says to each command, by sequence.
fn outcomes(commands: &[SequencedCommand]) -> BTreeMap<Sequence, Vec<Event>> {
    let mut exchange = Exchange::new();
    let of = |command: &SequencedCommand| {
        let mut events = Vec::new();
        exchange.apply(command.sequence, command.time, &command.command, &mut events);
        (command.sequence, events)
    };
    commands.iter().map(of).collect()
}

fn refusal(events: &[Event]) -> Option<RejectReason> {
    match events.last() {
        Some(Event::Refused { reason, .. }) => Some(*reason),
        _ => None,
    }
}

/// Drops some commands, of which facts rarely, and replaces some by others of the same history.
fn random_edits(random: &mut Random, commands: &[SequencedCommand]) -> Edits {
    let mut edits = Edits::default();
    let behind = random.below(commands.len() as u64 - 1) as usize;
    let bound = (commands.len() - 1 - behind).min(200) as u64;
    for _ in 0..=random.below(6) {
        let command = commands[behind + random.below(bound) as usize];
        if edits.sequences().contains(&command.sequence) {
            continue;
        }
        if random.one_in(4) {
            // One of its own kind nearby, so that it is often accepted, or any.
            let kind = command.command.kind();
            let alike =
                commands.iter().filter(|other| other.command.kind() == kind && other.command != command.command);
            let alike: Vec<_> = alike.map(|other| other.command).collect();
            if alike.is_empty() {
                continue;
            }
            edits.replaced.insert(command.sequence, random.pick(&alike));
        } else if !is_fact(&command.command) {
            edits.dropped.insert(command.sequence, None);
        } else if random.one_in(5) {
            edits.dropped.insert(command.sequence, Some("it is none".to_owned()));
        }
    }
    edits
}

/// Excise, or rewind where there are no edits, as the rules have it, one after the other.
struct Naive {
    parent: Exchange,
    branch: Exchange,
    busted: Vec<BustedFill>,
    new_fills: Vec<BustedFill>,
}

fn naive(commands: &[SequencedCommand], strategy: &Strategy) -> Result<Naive, (Sequence, RejectReason)> {
    let cut = strategy.cut();
    let mut parent = Exchange::new();
    let (before, behind) = commands.split_at(cut.0 as usize);
    for command in before {
        parent.apply(command.sequence, command.time, &command.command, &mut NoEvents);
    }
    let branch = parent.clone();
    let mut naive = Naive { parent, branch, busted: Vec::new(), new_fills: Vec::new() };
    for command in behind {
        naive.step(command, strategy)?;
    }
    Ok(naive)
}

impl Naive {
    fn step(&mut self, command: &SequencedCommand, strategy: &Strategy) -> Result<(), (Sequence, RejectReason)> {
        let SequencedCommand { sequence, time, command, .. } = *command;
        let (mut events, mut others) = (Vec::new(), Vec::new());
        self.parent.apply(sequence, time, &command, &mut events);
        let reason = refusal(&events);
        let missed = reason == Some(RejectReason::OrderNotFound)
            && matches!(command, Command::CancelOrder { .. } | Command::CancelByClientOrderId { .. });
        let closed: Vec<OrderId> = events
            .iter()
            .filter_map(|event| match event {
                Event::OrderCancelled { order, .. } => Some(*order),
                _ => None,
            })
            .collect();
        let accepted = events.iter().any(|event| matches!(event, Event::OrderAccepted { .. }));
        let filled = events.iter().any(|event| matches!(event, Event::Filled { .. }));
        let found_nothing = accepted && !filled && closed.contains(&OrderId(sequence.0));
        let edits = strategy.edits();
        let mut happens = |naive: &mut Self, command: &Command, must: bool| {
            naive.branch.apply(sequence, time, command, &mut others);
            match refusal(&others) {
                Some(reason) if must => Err((sequence, reason)),
                _ => Ok(()),
            }
        };
        let mut repeats = true;
        if edits.is_some_and(|edits| edits.dropped.contains_key(&sequence)) {
            repeats = false;
            self.branch.skip(sequence, time, &mut NoEvents);
        } else if let Some(other) = edits.and_then(|edits| edits.replaced.get(&sequence)) {
            repeats = false;
            happens(self, other, true)?;
        } else if missed {
            happens(self, &command, false)?;
        } else if reason.is_some() {
            self.branch.skip(sequence, time, &mut NoEvents);
        } else if matches!(command, Command::ReleaseWithdrawal { .. }) {
            let forced = self.branch.force_release(sequence, time, &command, &mut NoEvents);
            forced.map_err(|reason| (sequence, reason))?;
        } else if is_fact(&command) {
            happens(self, &command, true)?;
        } else if edits.is_some() {
            if found_nothing {
                self.branch.skip(sequence, time, &mut NoEvents);
            } else {
                happens(self, &command, false)?;
            }
        } else {
            match command {
                Command::CancelOrder { .. }
                | Command::CancelByClientOrderId { .. }
                | Command::ReduceOrder { .. }
                | Command::CancelAllOfAccount { .. }
                | Command::CancelAllOfMarket { .. }
                | Command::CancelWithdrawal { .. } => happens(self, &command, false)?,
                Command::ReplaceOrder { account, order, quantity, .. } => {
                    if events.iter().any(|event| matches!(event, Event::OrderReduced { .. })) {
                        happens(self, &Command::ReduceOrder { account, order, quantity }, false)?;
                    } else {
                        self.branch.skip(sequence, time, &mut NoEvents);
                        self.branch.force_cancel(order, &mut NoEvents);
                    }
                }
                _ => self.branch.skip(sequence, time, &mut NoEvents),
            }
        }
        if repeats {
            for order in closed {
                self.branch.force_cancel(order, &mut NoEvents);
            }
        }
        self.compare(sequence, time, &events, &others);
        Ok(())
    }

    fn compare(&mut self, sequence: Sequence, time: engine::types::Timestamp, events: &[Event], others: &[Event]) {
        let read = |events: &[Event]| -> Vec<BustedFill> {
            let read = |(index, event): (u32, &Event)| match *event {
                Event::Filled { taker, maker, taker_account, maker_account, market, price, quantity, .. } => {
                    let place = (sequence, index, time);
                    let (sequence, index, time) = place;
                    Some(BustedFill {
                        sequence,
                        index,
                        time,
                        taker,
                        maker,
                        taker_account,
                        maker_account,
                        market,
                        price,
                        quantity,
                    })
                }
                _ => None,
            };
            (0..).zip(events).filter_map(read).collect()
        };
        let mut left = read(others);
        for fill in read(events) {
            let same = |other: &BustedFill| {
                (other.taker, other.maker, other.price, other.quantity)
                    == (fill.taker, fill.maker, fill.price, fill.quantity)
            };
            match left.iter().position(same) {
                Some(position) => drop(left.remove(position)),
                None => self.busted.push(fill),
            }
        }
        self.new_fills.extend(left);
    }
}

/// Evaluates twice; of a branch checks what must hold of each, of a refusal that it is one of the plan.
fn evaluated(commands: &[SequencedCommand], halt: Sequence, strategy: &Strategy) -> Result<Branch, BranchError> {
    let history = Recorded::new(commands.to_vec());
    let branch = evaluate(&history, halt, strategy, &|_| ())?;
    check(&branch);
    let again = evaluate(&history, halt, strategy, &|_| ()).expect("what came out once does so again");
    assert_eq!(again.exchange.state_hash(), branch.exchange.state_hash());
    assert_eq!((&again.busted, &again.new_fills), (&branch.busted, &branch.new_fills));
    assert_eq!((&again.unfunded, &again.refused), (&branch.unfunded, &branch.refused));
    Ok(branch)
}

fn compare_with_naive(commands: &[SequencedCommand], halt: Sequence, strategy: &Strategy, what: &str) -> bool {
    let begins_epoch = |command: &Command| matches!(command, Command::StartEpoch { .. });
    if strategy.edits().is_some_and(|edits| edits.replaced.values().any(begins_epoch)) {
        // Refused before anything is applied, whatever the loop would come upon first.
        let told = evaluated(commands, halt, strategy).err();
        assert!(matches!(told, Some(BranchError::Unsuited { .. })), "{what}: {told:?}");
        return false;
    }
    match (evaluated(commands, halt, strategy), naive(commands, strategy)) {
        (Ok(branch), Ok(naive)) => {
            assert_eq!(branch.parent.state_hash(), naive.parent.state_hash(), "{what}: parent");
            assert_eq!(branch.exchange.state_hash(), naive.branch.state_hash(), "{what}: branch");
            assert_eq!(branch.busted, naive.busted, "{what}: busted");
            assert_eq!(branch.new_fills, naive.new_fills, "{what}: new fills");
            true
        }
        (Err(error), Err((sequence, reason))) => {
            let told = match error {
                BranchError::ReplacementRefused { sequence, reason }
                | BranchError::FactRefused { sequence, reason, .. } => (sequence, reason),
                error => panic!("{what}: {error}"),
            };
            assert_eq!(told, (sequence, reason), "{what}");
            false
        }
        (Ok(_), Err(reason)) => panic!("{what}: a branch, and should be refused: {reason:?}"),
        (Err(error), Ok(_)) => panic!("{what}: refused, and should be a branch: {error}"),
    }
}

#[test]
fn excise_is_the_loop_in_the_rules() {
    let mut branches = 0;
    for (kind, seed) in histories() {
        let (commands, halt) = history(kind, seed, 700);
        let mut random = Random::new(seed);
        for attempt in 0..12 {
            let edits = random_edits(&mut random, &commands);
            if edits.is_empty() {
                continue;
            }
            let what = format!("{kind:?}, seed {seed}, attempt {attempt}: {edits:?}");
            branches += u64::from(compare_with_naive(&commands, halt, &Strategy::Excise(edits), &what));
        }
    }
    assert!(branches >= 60, "only {branches} were branches");
}

#[test]
fn rewind_is_the_loop_in_the_rules() {
    for (kind, seed) in histories() {
        let (commands, halt) = history(kind, seed, 700);
        let mut random = Random::new(seed);
        for _ in 0..6 {
            let cut = Sequence(random.below(halt.0));
            let what = format!("{kind:?}, seed {seed}, to {cut}");
            // A fact may be one too many where all there can be is there already.
            let fits = compare_with_naive(&commands, halt, &Strategy::Rewind { cut }, &what);
            assert!(fits || kind == Kind::Overflow, "{what}: refused");
        }
    }
}

#[test]
fn many_batches_are_as_one() {
    let (commands, halt) = history(Kind::Random, 3, 30_000);
    assert!(compare_with_naive(&commands, halt, &Strategy::Rewind { cut: Sequence(5_000) }, "rewind"));
    let first = commands.iter().skip(6_000).find(|command| matches!(command.command, Command::PlaceLimit { .. }));
    let edits = Edits::drop_sequences([first.expect("there are orders").sequence]);
    assert!(compare_with_naive(&commands, halt, &Strategy::Excise(edits), "excise"));
}

#[test]
fn progress_goes_up_to_the_last_command() {
    let (commands, halt) = history(Kind::Random, 4, 20_000);
    let order = commands.iter().find(|command| matches!(command.command, Command::PlaceLimit { .. })).unwrap();
    let edits = Edits::drop_sequences([order.sequence]);
    let payments = Vec::new();
    for strategy in [
        Strategy::Rewind { cut: Sequence(10) },
        Strategy::Excise(edits.clone()),
        Strategy::Bust(edits.clone()),
        Strategy::Compensate { edits, payments },
    ] {
        let seen = std::sync::Mutex::new(Vec::new());
        let history = Recorded::new(commands.clone());
        let branch = evaluate(&history, halt, &strategy, &|done| seen.lock().unwrap().push(done));
        let seen = seen.into_inner().unwrap();
        assert!(seen.is_sorted() && seen.len() > 2, "{strategy}: {seen:?}");
        assert_eq!(seen.last(), Some(&(halt.0 - strategy.cut().0)), "{strategy}");
        if let Ok(branch) = branch {
            assert_eq!(branch.commands, halt.0 - strategy.cut().0);
        }
    }
}

#[test]
fn dropping_what_was_refused_changes_nothing() {
    for (kind, seed) in histories() {
        let (commands, halt) = history(kind, seed, 700);
        let outcomes = outcomes(&commands);
        let refused = outcomes.iter().filter(|(_, events)| refusal(events).is_some()).map(|(sequence, _)| *sequence);
        let refused: Vec<Sequence> = refused.filter(|sequence| *sequence < halt).collect();
        let Some(&first) = refused.first() else { continue };
        let mut random = Random::new(seed);
        for edits in [
            Edits::drop_sequences([first]),
            Edits::drop_sequences([random.pick(&refused)]),
            Edits::drop_sequences(refused.iter().copied()),
        ] {
            for strategy in [Strategy::Excise(edits.clone()), Strategy::Bust(edits.clone())] {
                let what = format!("{kind:?}, seed {seed}, {strategy}");
                let branch = evaluated(&commands, halt, &strategy).unwrap_or_else(|error| panic!("{what}: {error}"));
                let missed = branch.parent.state_hash() == branch.exchange.state_hash();
                assert!(missed, "{what}: nothing happened, and something changed");
                assert!(
                    branch.busted.is_empty() && branch.new_fills.is_empty() && branch.unfunded.is_empty(),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_bust_holds_together() {
    let (mut branches, mut void) = (0, 0);
    for (kind, seed) in histories() {
        let (commands, halt) = history(kind, seed, 700);
        let mut random = Random::new(seed ^ 0xB057);
        for attempt in 0..16 {
            let edits = random_edits(&mut random, &commands);
            let cut = edits.cut();
            let what = format!("{kind:?}, seed {seed}, attempt {attempt}: {edits:?}");
            let Ok(branch) = evaluated(&commands, halt, &Strategy::Bust(edits)) else { continue };
            branches += 1;
            void += branch.busted.len();
            assert!(branch.new_fills.is_empty(), "{what}");
            let after = |fill: &BustedFill| fill.sequence > cut;
            assert!(branch.busted.iter().all(after) && branch.busted.is_sorted(), "{what}");
            // What is open is the parent's, in the parent's order and quantity.
            for view in branch.parent.markets() {
                for side in [engine::types::Side::Buy, engine::types::Side::Sell] {
                    let mut parents = branch.parent.queue(view.spec.market, side);
                    for order in branch.exchange.queue(view.spec.market, side) {
                        assert!(parents.any(|other| other == order), "{what}: {order:?}");
                    }
                }
            }
            for order in &branch.unfunded {
                assert!(branch.parent.order(*order).is_some() && branch.exchange.order(*order).is_none(), "{what}");
            }
        }
    }
    assert!(branches >= 80 && void >= 50, "only {branches} branches with {void} void fills");
}

#[test]
fn a_compensation_touches_nobody_else() {
    let mut branches = 0;
    for (kind, seed) in histories() {
        let (commands, halt) = history(kind, seed, 700);
        let outcomes = outcomes(&commands);
        let mut random = Random::new(seed ^ 0xC0);
        let credits: Vec<Sequence> = outcomes
            .iter()
            .filter(|(_, events)| {
                events.iter().any(|event| {
                    matches!(event, Event::Transferred { .. } | Event::Deposited { .. } | Event::AirdropCredited { .. })
                })
            })
            .map(|(sequence, _)| *sequence)
            .collect();
        if credits.is_empty() {
            continue;
        }
        for _ in 0..8 {
            let dropped = (0..=random.below(4)).map(|_| (random.pick(&credits), Some("it is none".to_owned())));
            let edits = Edits { dropped: dropped.collect(), replaced: BTreeMap::new() };
            let payments: Vec<Payment> = Vec::new();
            let what = format!("{kind:?}, seed {seed}: {edits:?}");
            let strategy = Strategy::Compensate { edits: edits.clone(), payments };
            let branch = match evaluated(&commands, halt, &strategy) {
                Ok(branch) => branch,
                Err(BranchError::Invariant(reason)) if reason.contains("than there can be") => continue,
                Err(error) => panic!("{what}: {error}"),
            };
            branches += 1;
            let mut touched = Vec::new();
            let mut credited = BTreeMap::new();
            for event in edits.dropped.keys().flat_map(|sequence| &outcomes[sequence]) {
                match *event {
                    Event::Transferred { from, to, asset, amount } => {
                        touched.extend([from, to]);
                        *credited.entry(asset).or_insert(0) += i128::from(amount.0);
                    }
                    Event::Deposited { account, asset, amount, .. }
                    | Event::AirdropCredited { account, asset, amount, .. } => {
                        touched.push(account);
                        *credited.entry(asset).or_insert(0) += i128::from(amount.0);
                    }
                    _ => {}
                }
            }
            for view in branch.parent.accounts() {
                if touched.contains(&view.account) {
                    continue;
                }
                assert_eq!(branch.exchange.account(view.account), Some(view.clone()), "{what}");
            }
            for (asset, credited) in credited {
                let sum = |exchange: &Exchange, of: engine::types::AccountId| super::system(exchange, of, asset);
                let rose = |of| sum(&branch.exchange, of) - sum(&branch.parent, of);
                let owed = |exchange: &Exchange| -> i128 {
                    let debts = exchange.receivables().filter(|(_, of, _)| *of == asset);
                    debts.map(|(_, _, amount)| i128::from(amount.0)).sum()
                };
                let receivables = owed(&branch.exchange) - owed(&branch.parent);
                assert_eq!(rose(engine::types::AccountId::RECEIVABLES), -receivables, "{what}");
                assert!((0..=credited).contains(&receivables), "{what}: {receivables} of {credited}");
            }
            assert_eq!(
                branch.exchange.markets().map(|view| orders(&branch.exchange, view.spec.market)).collect::<Vec<_>>(),
                branch.parent.markets().map(|view| orders(&branch.parent, view.spec.market)).collect::<Vec<_>>(),
                "{what}"
            );
        }
    }
    assert!(branches >= 60, "only {branches} were branches");
}

fn orders(exchange: &Exchange, market: engine::types::MarketId) -> Vec<engine::exchange::OrderView> {
    use engine::types::Side::{Buy, Sell};
    exchange.queue(market, Buy).chain(exchange.queue(market, Sell)).collect()
}
