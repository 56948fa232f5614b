//! The engine against the model: the same events after every command, and the same state.
//!
//! In the ordinary run 100,000 random commands and some tens of thousands of each adversarial stream; with
//! `RUN_SLOW_TESTS` set, ten million random commands.

#[path = "model/mod.rs"]
mod model;

use std::{
    collections::{BTreeSet, VecDeque},
    ops::RangeInclusive,
};

use engine::{
    command::Command,
    event::{CancelReason, Event, RejectReason},
    exchange::Exchange,
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, Controls, Digest, ExternalId, Gate, OperatorId, Sequence,
        Timestamp, WithdrawalId,
    },
};
use model::{
    ModelExchange,
    streams::{self, Kind, Random, Stream},
};

/// How many commands apart whole states are compared: in short runs all, else a prime, so that it falls into step with
/// no stream.
const fn state_interval(count: u64) -> u64 {
    match count {
        0..=400 => 1,
        401..=10_000 => 97,
        _ => 997,
    }
}
/// How many of the last commands a failure prints.
const TRAIL: usize = 20;

#[test]
fn random_commands() {
    for seed in 1..=10 {
        compare(Kind::Random, seed, 10_000);
    }
    // With the largest account id.
    compare(Kind::Random, 64, 1_000);
}

#[test]
fn proceeds_chain() {
    compare_seeds(Kind::ProceedsChain);
}

#[test]
fn replace_race() {
    compare_seeds(Kind::ReplaceRace);
}

#[test]
fn tiny_fills() {
    compare_seeds(Kind::TinyFills);
}

#[test]
fn barriers() {
    compare_seeds(Kind::Barriers);
}

#[test]
fn overflow() {
    compare_seeds(Kind::Overflow);
}

#[test]
fn far_prices() {
    compare_seeds(Kind::FarPrices);
}

#[test]
fn mass_cancel() {
    compare_seeds(Kind::MassCancel);
}

#[test]
fn payouts() {
    compare_seeds(Kind::Payouts);
}

#[test]
fn auctions() {
    compare_seeds(Kind::Auctions);
}

#[test]
fn a_stream_is_a_function_of_its_seed() {
    for kind in Kind::ALL {
        let commands = streams::commands(kind, 5, 500);
        assert_eq!(commands.len(), 500);
        assert_eq!(commands, streams::commands(kind, 5, 500), "{kind:?} twice");
        assert_eq!(commands[..200], streams::commands(kind, 5, 200), "{kind:?} begins in the same way");
        assert_ne!(commands, streams::commands(kind, 6, 500), "{kind:?} of another seed");
    }
}

/// A whole supply leaves, as much comes in from elsewhere, and then the first comes back.
#[test]
fn withdrawals_fail_when_the_supply_is_full() {
    let (account, asset, amount) = (AccountId(1), AssetId(0), Amount(AMOUNT_MAX));
    let deposit = |id| Command::Deposit { account, asset, amount, external_id: ExternalId::from_u128(id) };
    let withdrawal = WithdrawalId(4);
    let script = [
        Command::AddAsset { asset, symbol: "BTC".parse().expect("a valid symbol"), scale: 8 },
        Command::CreateAccount { account },
        deposit(1),
        Command::RequestWithdrawalOfAll { account, asset },
        Command::ReleaseWithdrawal { withdrawal, account, asset, amount },
        deposit(2),
        Command::ConfirmWithdrawalSent { withdrawal, external_id: ExternalId::from_u128(3) },
        deposit(2),
        Command::FailWithdrawal { withdrawal },
        deposit(2),
        Command::RequestWithdrawalOfAll { account, asset },
    ];
    let mut commands = script.into_iter();
    let refusals =
        compare_commands("a script", script.len() as u64, Timestamp, |_| commands.next().expect("a command"));
    assert_eq!(
        refusals,
        [(6, RejectReason::SupplyTooLarge), (8, RejectReason::SupplyTooLarge), (10, RejectReason::SupplyTooLarge)]
    );
}

/// All that there can be is paid without cover, leaves, and is paid again: the system accounts pass what an amount can be.
#[test]
fn a_supply_is_paid_without_cover_over_and_over() {
    let (account, asset, amount) = (AccountId(1), AssetId(0), Amount(AMOUNT_MAX));
    let author = OperatorId(1);
    let hash = model::payouts::manifest_hash(asset, &[(account, AMOUNT_MAX.into())]);
    let mut script = vec![
        Command::AddAsset { asset, symbol: "BTC".parse().expect("a valid symbol"), scale: 8 },
        Command::CreateAccount { account },
        Command::RegisterOperator {
            operator: author,
            key: Digest([1; 32]),
            first: OperatorId(0),
            second: OperatorId(0),
        },
        Command::SetControls { controls: Controls::NONE },
    ];
    for airdrop in (1..=5).map(AirdropId) {
        script.extend([
            Command::OpenAirdrop { airdrop, author, asset, total: amount, lines: 1, hash, lock_seconds: 0 },
            Command::AddAirdropLine { airdrop, account, amount },
            Command::ExecuteAirdrop { airdrop, operator: author },
        ]);
        let withdrawal = WithdrawalId(script.len() as u64 + 1);
        script.extend([
            Command::RequestWithdrawalOfAll { account, asset },
            Command::ReleaseWithdrawal { withdrawal, account, asset, amount },
            Command::ConfirmWithdrawalSent { withdrawal, external_id: ExternalId::from_u128(1) },
            // While it may come back, it counts.
            Command::ExecuteAirdrop { airdrop, operator: author },
            Command::ConfirmWithdrawalSettled { withdrawal },
        ]);
    }
    let (mut model, mut exchange) = (ModelExchange::new(), Exchange::new());
    let (count, mut commands) = (script.len() as u64, script.into_iter());
    let next = |_: &ModelExchange| commands.next().expect("a command");
    let refusals = go_on("a script", &mut model, &mut exchange, 1..=count, Timestamp, next, |_| {});
    assert_eq!(refusals.len(), 5, "{refusals:?}");
    assert!(refusals.iter().all(|(_, reason)| *reason == RejectReason::SupplyTooLarge), "{refusals:?}");
    let external = exchange.system_balances(asset).expect("it is known")[0];
    assert_eq!(external, 5 * i128::from(AMOUNT_MAX));
    let read = Exchange::from_canonical_state(&canonical(&exchange), Sequence(count), 1).unwrap();
    assert_eq!(read.state_hash(), exchange.state_hash());
}

#[test]
fn ten_million_random_commands() {
    if !slow() {
        return;
    }
    // Short enough that the lists that only grow (credits, withdrawals) do not slow the model down.
    for seed in 1_000..1_500 {
        compare(Kind::Random, seed, 20_000);
    }
}

fn slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}

fn compare_seeds(kind: Kind) {
    let seeds = if slow() { 60 } else { 3 };
    for seed in 1..=seeds {
        compare(kind, seed, 5_000);
    }
}

/// Runs a stream through both and panics at the first difference.
fn compare(kind: Kind, seed: u64, count: u64) {
    let mut stream = Stream::new(kind, seed);
    compare_commands(&format!("stream {kind:?}, seed {seed}"), count, |at| kind.time(at), |model| stream.next(model));
}

/// Runs commands, chosen on the model's state, through both; returns the refusals and their sequences.
fn compare_commands(
    name: &str,
    count: u64,
    time: impl Fn(u64) -> Timestamp,
    next: impl FnMut(&ModelExchange) -> Command,
) -> Vec<(u64, RejectReason)> {
    go_on(name, &mut ModelExchange::new(), &mut Exchange::new(), 1..=count, time, next, |_| {})
}

/// Runs the commands at these sequences through both, from where they are.
fn go_on(
    name: &str,
    model: &mut ModelExchange,
    exchange: &mut Exchange,
    sequences: RangeInclusive<u64>,
    time: impl Fn(u64) -> Timestamp,
    mut next: impl FnMut(&ModelExchange) -> Command,
    mut seen: impl FnMut(&Event),
) -> Vec<(u64, RejectReason)> {
    let mut trail = VecDeque::with_capacity(TRAIL);
    let mut events = Vec::new();
    let mut refusals = Vec::new();
    let (count, end) = (sequences.end() - sequences.start() + 1, *sequences.end());
    for sequence in sequences {
        let command = next(model);
        if trail.len() == TRAIL {
            trail.pop_front();
        }
        trail.push_back((sequence, command));
        let _on_panic = PanicContext(|| {
            let lines: Vec<_> = trail.iter().map(|(sequence, command)| format!("  {sequence}: {command:?}")).collect();
            format!("{name}, command {sequence}; the last commands:\n{}", lines.join("\n"))
        });

        let (position, time) = (Sequence(sequence), time(sequence));
        let expected = model.apply(position, time, &command);
        model.check();
        events.clear();
        exchange.apply(position, time, &command, &mut events);
        assert!(events == expected, "events differ\nmodel:  {expected:#?}\nengine: {events:#?}");
        events.iter().for_each(&mut seen);
        if let Some(Event::Refused { reason, .. }) = events.last().copied() {
            refusals.push((sequence, reason));
        }
        if sequence.is_multiple_of(state_interval(count)) || sequence == end {
            compare_states(model, exchange);
        }
    }
    refusals
}

/// What recoveries leave behind, over and over: debts, withdrawals that were short, orders with carried fees.
#[test]
fn after_recoveries() {
    let seeds = if slow() { 1..=60 } else { 1..=2 };
    for kind in [Kind::Payouts, Kind::TinyFills, Kind::ReplaceRace, Kind::Auctions, Kind::MassCancel] {
        for seed in seeds.clone() {
            run_after_recoveries(kind, seed, &mut BTreeSet::new(), &mut BTreeSet::new());
        }
    }
}

/// Every 400 commands the model makes debts and carried fees, and the engine goes on from the model's bytes.
fn run_after_recoveries(kind: Kind, seed: u64, events: &mut BTreeSet<u8>, rejects: &mut BTreeSet<RejectReason>) {
    let (mut stream, mut random) = (Stream::new(kind, seed), Random::new(seed));
    let (mut model, mut exchange) = (ModelExchange::new(), Exchange::new());
    for round in 0..8 {
        let sequences = round * 400 + 1..=(round + 1) * 400;
        let last = Sequence(*sequences.end());
        let name = format!("stream {kind:?}, seed {seed}, after {round} recoveries");
        let next = |model: &ModelExchange| stream.next(model);
        go_on(
            &name,
            &mut model,
            &mut exchange,
            sequences,
            |at| kind.time(at),
            next,
            |event| {
                events.insert(event.kind());
                if let Event::Refused { reason, .. } = event {
                    rejects.insert(*reason);
                }
            },
        );
        model.recover(&mut random);
        model.check();
        exchange = Exchange::from_canonical_state(&model.canonical_state(), last, seed).unwrap();
        compare_states(&model, &exchange);
    }
}

fn compare_states(model: &ModelExchange, exchange: &Exchange) {
    let mut bytes = Vec::new();
    exchange.canonical_state(&mut |chunk: &[u8]| bytes.extend_from_slice(chunk));
    let expected = model.canonical_state();
    let difference = bytes.iter().zip(&expected).position(|(ours, theirs)| ours != theirs);
    assert!(
        bytes == expected,
        "canonical bytes differ: {} and {} long, first at {difference:?}",
        bytes.len(),
        expected.len()
    );
    assert_eq!(exchange.state_hash().0, model.state_hash(), "state hashes differ");
    if let Err(broken) = exchange.check_invariants() {
        panic!("invariant broken: {broken}");
    }
    compare_views(model, exchange);
}

/// What the exchange shows of all that version 2 added.
fn compare_views(model: &ModelExchange, exchange: &Exchange) {
    let small = |value: u128| Amount(u64::try_from(value).expect("an amount fits"));
    assert_eq!(exchange.global_status(), model.status);
    assert_eq!(exchange.controls().0, model.controls);
    let operators: Vec<_> = exchange.operators().map(|(id, found)| (id, found.key, found.registered)).collect();
    let expected: Vec<_> = model.operators.iter().map(|(id, found)| (*id, found.key, found.registered)).collect();
    assert_eq!(operators, expected);
    for (id, found) in &model.operators {
        assert_eq!(exchange.operator_key(*id), found.registered.then_some(found.key), "{id}");
    }
    assert_eq!(exchange.operator_key(OperatorId(0)), None);

    assert_eq!(
        exchange.airdrops().map(|(id, _)| id).collect::<Vec<_>>(),
        Vec::from_iter(model.airdrops.keys().copied())
    );
    for (id, expected) in &model.airdrops {
        let found = exchange.airdrop(*id).expect("it is known");
        assert_eq!(found.state as u8, expected.state as u8, "{id}");
        let lines: Vec<_> = expected.lines.iter().map(|(account, value)| (*account, small(*value))).collect();
        assert_eq!(found.lines, lines, "{id}");
        assert_eq!((found.source, found.locked_until), (expected.source, expected.locked_until), "{id}");
        assert_eq!((found.opened, found.executed), (expected.opened, expected.executed), "{id}");
        assert_eq!(found.is_locked(), expected.is_locked(), "{id}");
    }
    let locks = model.airdrops.values().filter(|found| found.is_locked()).map(|found| found.locked_until);
    assert_eq!(exchange.next_timer(), locks.min().filter(|end| end.0 < u64::MAX));

    for asset in model.assets.keys().copied().chain([AssetId(7)]) {
        let known = model.assets.contains_key(&asset);
        let liabilities = if known { small(model.liabilities(asset)) } else { Amount::ZERO };
        assert_eq!(exchange.liabilities(asset), liabilities, "{asset}");
        assert_eq!(exchange.attested_reserves(asset), model.attested.get(&asset).map(|value| small(*value)), "{asset}");
        assert_eq!(exchange.withdrawals_gate(asset) == Gate::Closed, model.stopped.contains(&asset), "{asset}");
        let velocity = exchange.payout_velocity(asset);
        let velocity = velocity.map(|found| (found.amount_max, found.window_seconds, found.window, found.requested));
        let expected = model.velocities.get(&asset);
        let expected = expected.map(|found| (small(found.most), found.seconds, found.window, small(found.requested)));
        assert_eq!(velocity, expected, "{asset}");
        let limits = exchange.airdrop_limits(asset);
        let expected = model.limits.get(&asset).cloned().unwrap_or_default();
        assert_eq!(
            (limits.recipient_max, limits.airdrop_max, limits.day_max, limits.day, limits.paid),
            (
                small(expected.recipient),
                small(expected.airdrop),
                small(expected.daily),
                expected.day,
                small(expected.paid)
            ),
            "{asset}"
        );
        for account in model.accounts.keys() {
            let expected = model.owed.get(&(*account, asset)).copied().unwrap_or(0);
            assert_eq!(exchange.owed(*account, asset), small(expected), "{account} of {asset}");
        }
    }
    let debts = model.owed.iter().map(|((account, asset), value)| (*account, *asset, small(*value)));
    assert!(exchange.receivables().eq(debts));

    for (market, found) in &model.markets {
        let indicative = exchange.indicative(*market).map(|found| (found.price.0, found.quantity.0, found.imbalance));
        let expected = found.auction().map(|(price, quantity)| {
            let imbalance = i64::try_from(found.imbalance(price)).expect("an imbalance fits");
            (small(price).0, small(quantity).0, imbalance)
        });
        assert_eq!(indicative, expected, "{market}");
    }
}

/// Says where a run was when something in it panicked.
struct PanicContext<F: Fn() -> String>(F);

impl<F: Fn() -> String> Drop for PanicContext<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", (self.0)());
        }
    }
}

/// Reasons that no stream can bring about.
const UNREACHABLE: [(RejectReason, &str); 1] =
    [(RejectReason::TooManyOpenOrders, "it needs 4,294,967,294 open orders")];

/// Events that no command brings about, but the start of an epoch with its corrections.
const EVENTS_OF_AN_EPOCH: RangeInclusive<u8> = 61..=68;

#[test]
fn the_streams_reach_everything() {
    let mut commands = BTreeSet::new();
    let mut events = BTreeSet::new();
    let mut cancels = BTreeSet::new();
    let mut rejects = BTreeSet::new();
    for kind in Kind::ALL {
        for seed in 1..=3 {
            let mut model = ModelExchange::new();
            let mut stream = Stream::new(kind, seed);
            let count = if matches!(kind, Kind::Random | Kind::Payouts) { 10_000 } else { 1_000 };
            for sequence in 1..=count {
                let command = stream.next(&model);
                commands.insert(command.kind());
                for event in model.apply(Sequence(sequence), kind.time(sequence), &command) {
                    events.insert(event.kind());
                    match event {
                        Event::Refused { reason, .. } => _ = rejects.insert(reason),
                        Event::OrderCancelled { reason, .. } => _ = cancels.insert(reason),
                        _ => {}
                    }
                }
            }
        }
    }
    // Debts come from recoveries alone.
    let set_off = Event::SetOffDone { account: AccountId(1), asset: AssetId(0), amount: Amount(1), owed: Amount(0) };
    assert!(!events.contains(&set_off.kind()) && !rejects.contains(&RejectReason::AccountOwes));
    run_after_recoveries(Kind::Payouts, 1, &mut events, &mut rejects);

    // A kind exists when its number alone is too short a message rather than an unknown one.
    let known = |is_known: &dyn Fn(&[u8]) -> bool| (0..=u8::MAX).filter(|&kind| is_known(&[kind])).collect();
    let unknown = |kind: u8| engine::types::wire::WireError::UnknownKind(kind);
    let all_commands: BTreeSet<u8> = known(&|bytes| Command::decode(bytes) != Err(unknown(bytes[0])));
    let all_events: BTreeSet<u8> =
        known(&|bytes| Event::decode(bytes) != Err(unknown(bytes[0])) && !EVENTS_OF_AN_EPOCH.contains(&bytes[0]));
    assert_eq!(commands, all_commands, "kinds of command");
    assert_eq!(events, all_events, "kinds of event");

    // A recovery alone closes orders for a reason of its own.
    cancels.insert(CancelReason::Recovery);
    let all_cancels: BTreeSet<_> = (0..=u8::MAX).filter_map(CancelReason::from_number).collect();
    assert_eq!(cancels, all_cancels, "reasons of a cancel");

    let missing: Vec<_> = RejectReason::ALL.iter().filter(|reason| !rejects.contains(reason)).collect();
    let unreachable: Vec<_> = UNREACHABLE.iter().map(|(reason, _)| reason).collect();
    assert_eq!(missing, unreachable, "reasons of a refusal that no stream reaches");
}

/// A state that is written down and read again goes on as the one it came from.
#[test]
fn a_state_restored_from_its_bytes_goes_on_alike() {
    for kind in Kind::ALL {
        let commands = streams::commands(kind, 5, 3_000);
        let mut exchange = Exchange::new();
        let mut restored: Option<Exchange> = None;
        for (sequence, command) in (1..).map(Sequence).zip(&commands) {
            let (mut expected, mut events) = (Vec::<Event>::new(), Vec::<Event>::new());
            let time = kind.time(sequence.0);
            exchange.apply(sequence, time, command, &mut expected);
            if let Some(restored) = &mut restored {
                restored.apply(sequence, time, command, &mut events);
                assert_eq!(events, expected, "{kind:?}, {sequence}");
            }
            if sequence.0 % 250 == 0 {
                let bytes = canonical(&exchange);
                let read = Exchange::from_canonical_state(&bytes, sequence, sequence.0).unwrap();
                assert!(canonical(&read) == bytes, "{kind:?}, {sequence}");
                restored = Some(read);
            }
        }
        let bytes = canonical(&exchange);
        let last = exchange.last_sequence();
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
            assert!(Exchange::from_canonical_state(&bytes[..cut], last, 0).is_err(), "{kind:?}: cut at {cut}");
        }
        change_bits(&format!("{kind:?}"), &bytes, last, 600);
    }
}

/// A changed bit is refused, or gives another state that is sound: never a panic, never the same.
fn change_bits(name: &str, bytes: &[u8], last: Sequence, count: usize) {
    for bit in (0..bytes.len() * 8).step_by(1 + bytes.len() * 8 / count) {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = Exchange::from_canonical_state(&changed, last, 0) {
            other.check_invariants().unwrap();
            assert!(canonical(&other) == changed, "{name}: changed byte {}, bit {}", bit / 8, bit % 8);
        }
    }
}

/// Every bit of small states, with something of everything in them.
#[test]
fn any_changed_bit_is_refused_or_gives_a_sound_state() {
    for kind in [Kind::Payouts, Kind::Random, Kind::Auctions] {
        for seed in if slow() { 1..=20 } else { 1..=1 } {
            let mut model = ModelExchange::new();
            let mut stream = Stream::new(kind, seed);
            let mut last = 0;
            // Until there are airdrops of all kinds, and little else.
            while last < 200 || (kind == Kind::Payouts && model.airdrops.len() < 12 && last < 1_000) {
                let command = stream.next(&model);
                last += 1;
                model.apply(Sequence(last), kind.time(last), &command);
            }
            let last = Sequence(last);
            let check = |model: &ModelExchange, name: &str| {
                let bytes = model.canonical_state();
                assert!(canonical(&Exchange::from_canonical_state(&bytes, last, 0).unwrap()) == bytes);
                change_bits(&format!("{kind:?}, seed {seed}, {name}"), &bytes, last, bytes.len() * 8);
            };
            check(&model, "as it was");
            model.recover(&mut Random::new(seed));
            check(&model, "after a recovery");
        }
    }
    // Limits that are none would be a state without them, in other bytes.
    let (mut exchange, asset) = (Exchange::new(), AssetId(0));
    let (one, none) = (Amount(1), Amount(0));
    let add = Command::AddAsset { asset, symbol: "BTC".parse().expect("a valid symbol"), scale: 8 };
    let limit = Command::SetAirdropLimits { asset, recipient_max: one, airdrop_max: none, day_max: none };
    exchange.apply(Sequence(1), Timestamp(1), &add, &mut Vec::new());
    exchange.apply(Sequence(2), Timestamp(1), &limit, &mut Vec::new());
    let mut bytes = canonical(&exchange);
    // Behind the limits, an asset and five numbers, come four empty lists.
    let recipient_max = bytes.len() - 4 * 8 - 5 * 8;
    assert_eq!(std::mem::take(&mut bytes[recipient_max]), 1);
    assert!(Exchange::from_canonical_state(&bytes, Sequence(2), 0).is_err());
}

fn canonical(exchange: &Exchange) -> Vec<u8> {
    let mut bytes = Vec::new();
    exchange.canonical_state(&mut |chunk: &[u8]| bytes.extend_from_slice(chunk));
    bytes
}
