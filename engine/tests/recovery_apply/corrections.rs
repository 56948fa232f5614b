//! Books that are kept by events alone go on over the start of an epoch: whoever applies its corrections to what he had has
//! what the exchange has.

use std::collections::BTreeMap;

use engine::{
    command::Command,
    event::{Event, SequencedEvent},
    exchange::Exchange,
    journal::{Durability, MemoryStorage, Options},
    pipeline::Inline,
    recovery::{Approval, Edits, PlanError, Strategy, Timeline, WITHDRAWAL_GONE, is_fact, make_plan, verify_epochs},
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, Cause, MarketId, OperatorId, OrderId, Price, Quantity, Sequence, Side,
        WithdrawalId,
    },
};

use super::{
    model::streams::{self, Kind, Random},
    world::{BAD, NEVER, approved, bytes_of, key, play, replayed, strategies},
};

/// An order as whoever reads events knows it.
type Known = (OrderId, AccountId, Price, Quantity);

/// What someone keeps who reads events.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shadow {
    users: BTreeMap<(AccountId, AssetId), (i128, i128)>,
    system: BTreeMap<(AccountId, AssetId), i128>,
    queues: BTreeMap<(MarketId, Side), Vec<Known>>,
    withdrawals: BTreeMap<WithdrawalId, u8>,
    owed: BTreeMap<(AccountId, AssetId), Amount>,
}

impl Shadow {
    fn of(exchange: &Exchange) -> Self {
        let mut shadow = Self::default();
        for view in exchange.accounts() {
            for (asset, balance) in view.balances {
                let balance = (i128::from(balance.available.0), i128::from(balance.held.0));
                shadow.users.insert((view.account, asset), balance);
            }
        }
        for asset in exchange.assets() {
            let system = exchange.system_balances(asset.asset).unwrap();
            for (account, balance) in AccountId::SYSTEM.into_iter().zip(system) {
                shadow.system.insert((account, asset.asset), balance);
            }
        }
        for market in exchange.markets() {
            for side in [Side::Buy, Side::Sell] {
                let queue = exchange.queue(market.spec.market, side);
                let queue = queue.map(|order| (order.order, order.account, order.price, order.quantity)).collect();
                shadow.queues.insert((market.spec.market, side), queue);
            }
        }
        let withdrawals = exchange.withdrawals().into_iter();
        shadow.withdrawals = withdrawals.map(|(id, withdrawal)| (id, withdrawal.state as u8)).collect();
        shadow.owed = exchange.receivables().map(|(account, asset, owed)| ((account, asset), owed)).collect();
        shadow
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::BalanceCorrected { account, asset, available, held } if account.is_user() => {
                let balance = self.users.entry((account, asset)).or_default();
                *balance = (balance.0 + i128::from(available), balance.1 + i128::from(held));
                if *balance == (0, 0) {
                    self.users.remove(&(account, asset));
                }
            }
            Event::BalanceCorrected { account, asset, available, held } => {
                assert_eq!(held, 0);
                *self.system.entry((account, asset)).or_default() += i128::from(available);
            }
            Event::OrderVoided { order, market, .. } => self.remove(order, market),
            Event::OrderRestored { order, account, market, side, price, quantity, behind } => {
                self.remove(order, market);
                let queue = self.queues.get_mut(&(market, side)).unwrap();
                let better = |other: Price| if side == Side::Buy { other > price } else { other < price };
                let at = match behind {
                    OrderId(0) => queue.iter().take_while(|(.., other, _)| better(*other)).count(),
                    _ => 1 + queue.iter().position(|(other, ..)| *other == behind).expect("it stands there"),
                };
                queue.insert(at, (order, account, price, quantity));
            }
            Event::WithdrawalCorrected { withdrawal, state: WITHDRAWAL_GONE, .. } => {
                self.withdrawals.remove(&withdrawal).expect("it was there");
            }
            Event::WithdrawalCorrected { withdrawal, state, .. } => drop(self.withdrawals.insert(withdrawal, state)),
            Event::ReceivableCorrected { account, asset, owed: Amount(0) } => {
                self.owed.remove(&(account, asset)).expect("it was owed");
            }
            Event::ReceivableCorrected { account, asset, owed } => drop(self.owed.insert((account, asset), owed)),
            Event::EpochStarted { .. } | Event::FillBusted { .. } | Event::EpochReady { .. } => {}
            ref other => panic!("{other:?} corrects nothing"),
        }
    }

    fn remove(&mut self, order: OrderId, market: MarketId) {
        for side in [Side::Buy, Side::Sell] {
            self.queues.get_mut(&(market, side)).unwrap().retain(|(other, ..)| *other != order);
        }
    }
}

/// Checks the events of the record at `sequence` against the states before and after it.
fn check(what: &str, events: &[SequencedEvent], sequence: Sequence, before: &Exchange, after: &Exchange) -> usize {
    let of_record: Vec<Event> =
        events.iter().filter(|event| event.sequence == sequence).map(|event| event.event).collect();
    assert!(matches!(of_record[0], Event::EpochStarted { .. }), "{what}");
    let hash = after.state_hash().0;
    assert!(matches!(of_record.last(), Some(Event::EpochReady { state, .. }) if state.0 == hash), "{what}");
    let mut shadow = Shadow::of(before);
    of_record.iter().for_each(|event| shadow.apply(event));
    let expected = Shadow::of(after);
    assert_eq!(shadow.users, expected.users, "{what}");
    assert_eq!(shadow.system, expected.system, "{what}");
    assert_eq!(shadow.queues, expected.queues, "{what}");
    assert_eq!(shadow.withdrawals, expected.withdrawals, "{what}");
    assert_eq!(shadow.owed, expected.owed, "{what}");
    // Money is moved and not made.
    let mut sums: BTreeMap<AssetId, i128> = BTreeMap::new();
    for event in &of_record {
        if let Event::BalanceCorrected { asset, available, held, .. } = *event {
            *sums.entry(asset).or_default() += i128::from(available) + i128::from(held);
        }
    }
    assert!(sums.values().all(|sum| *sum == 0), "{what}: {sums:?}");
    of_record.len()
}

#[test]
fn corrections_lead_from_what_was_to_what_is() {
    for number in 0..4 {
        let storage = MemoryStorage::default();
        let mut inline = Inline::open_memory_storage(&storage, &Options::default()).unwrap();
        play(&mut inline);
        inline.commit(&mut |_| ()).unwrap();
        let timeline = Timeline::of(storage);
        let strategy = strategies(&timeline, BAD).swap_remove(number);
        let (plan, branch, approvals) = approved(&timeline, &strategy);
        let busted = branch.busted.len();
        let applied = inline.apply(&plan, branch, &approvals).unwrap();
        let before = timeline.at(Sequence(applied.sequence.0 - 1)).unwrap();
        let events = replayed(&timeline).0;
        let count = check(strategy.name(), &events, applied.sequence, &before, inline.exchange());
        let told = events.iter().filter(|event| matches!(event.event, Event::FillBusted { .. })).count();
        assert_eq!(told, busted);
        // Each does something, and only compensation leaves trades alone.
        assert!(count > 4, "{strategy}");
        assert_eq!(busted > 0, strategy.name() != "compensate", "{strategy}");
        verify_epochs(&timeline, &|_| ()).unwrap();
    }
}

/// As they come, but for what an exchange freezes itself for, and for what only a recovery submits.
pub fn stream(kind: Kind, seed: u64, count: usize) -> Vec<Command> {
    let mut commands = streams::commands(kind, seed, count);
    for command in &mut commands {
        match command {
            Command::AddPlanPart { .. } | Command::StartEpoch { .. } => *command = Command::Tick {},
            Command::SetPayoutVelocity { window_seconds, .. } => *window_seconds = 0,
            Command::AttestReserves { amount, .. } => *amount = Amount(AMOUNT_MAX),
            _ => {}
        }
    }
    commands
}

/// Registers two operators whose keys are known, where others may be registered already.
pub fn register(inline: &mut Inline) {
    for operator in [60_001, 60_002] {
        let registered: Vec<OperatorId> =
            inline.exchange().operators().filter(|(_, view)| view.registered).map(|(number, _)| number).collect();
        let (first, second) = match registered[..] {
            [first, second, ..] => (first, second),
            _ => (OperatorId(0), OperatorId(0)),
        };
        let key = key(operator).public();
        let command = Command::RegisterOperator { operator: OperatorId(operator), key, first, second };
        inline.submit(Cause::operator(1), command).unwrap();
        assert!(inline.exchange().operator_key(OperatorId(operator)).is_some());
    }
}

/// A random strategy over the commands.
pub fn random_strategy(random: &mut Random, commands: &[Command]) -> Strategy {
    let last = commands.len() as u64;
    if random.one_in(4) {
        return Strategy::Rewind { cut: Sequence(random.between(last / 4, last)) };
    }
    let mut sequences = Vec::new();
    for _ in 0..random.between(1, 12) {
        let sequence = random.between(last / 4, last);
        if !is_fact(&commands[sequence as usize - 1]) {
            sequences.push(Sequence(sequence));
        }
    }
    let edits = Edits::drop_sequences(sequences);
    match random.below(3) {
        0 => Strategy::Excise(edits),
        1 => Strategy::Bust(edits),
        _ => Strategy::Compensate { edits, payments: Vec::new() },
    }
}

#[test]
fn random_histories_are_corrected_exactly_and_verify() {
    let seeds = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 60 } else { 4 };
    let (mut applied_in_all, mut by_name) = (0, BTreeMap::<&str, u32>::new());
    for kind in Kind::ALL {
        for seed in 0..seeds {
            let mut random = Random::new(seed * 1_000 + kind as u64);
            let commands = stream(kind, seed, 400);
            let storage = MemoryStorage::default();
            let options = Options {
                durability: Durability::None,
                segment_bytes: 2 << 20,
                segments_ahead: 0,
                ..Options::default()
            };
            let mut inline = Inline::open_memory_storage(&storage, &options).unwrap();
            for (sequence, command) in (1..).zip(&commands) {
                inline.submit_at(kind.time(sequence), Cause::session(1), *command).unwrap();
            }
            register(&mut inline);
            inline.freeze(Cause::operator(1)).unwrap();
            let mut live: Vec<SequencedEvent> = Vec::new();
            inline.commit(&mut |event| live.push(*event)).unwrap();
            let timeline = Timeline::of(storage);
            let strategy = random_strategy(&mut random, &commands);
            let what = format!("{kind:?}, seed {seed}, {strategy}");
            let (plan, branch) = match make_plan(&timeline, &strategy, &|_| ()) {
                Ok(made) => made,
                // Chance may ask for what makes no sense.
                Err(PlanError::Branch(_)) => continue,
                Err(error) => panic!("{what}: {error}"),
            };
            let approvals = [60_001, 60_002]
                .map(|operator| Approval::sign(&plan, OperatorId(operator), &key(operator), NEVER).unwrap());
            let applied = inline.apply(&plan, branch, &approvals).unwrap();
            inline.commit(&mut |event| live.push(*event)).unwrap();
            let before = timeline.at(Sequence(applied.sequence.0 - 1)).unwrap();
            let (events, exchange) = replayed(&timeline);
            assert!(bytes_of(&live) == bytes_of(&events), "{what}");
            assert_eq!(exchange.state_hash(), inline.exchange().state_hash(), "{what}");
            check(&what, &events, applied.sequence, &before, &exchange);
            let verified = verify_epochs(&timeline, &|_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(verified.len(), 1);
            applied_in_all += 1;
            *by_name.entry(strategy.name()).or_default() += 1;
        }
    }
    println!("{applied_in_all} recoveries of random histories: {by_name:?}");
    assert!(applied_in_all * 3 > seeds * Kind::ALL.len() as u64, "{by_name:?}");
}
