//! The same sequenced commands give the same bytes: on one thread, on every topology, with every timing, and
//! replayed.

use std::{thread, time::Duration};

use engine::{
    command::Command,
    event::Event,
    exchange::{Exchange, ManifestHasher, StateHash},
    journal::{Durability, JournalReader},
    pipeline::{Config, Inline, Pipeline, Progress, Published, StageName, Stages, Subscription, WaitStrategy},
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, Cause, ClientOrderId, Controls, Digest, ExternalId, FeeRate,
        LimitType, MarketId, OperatorId, Price, Quantity, Side, TradingStatus,
    },
};

use super::{
    ACCOUNTS, Numbers, assert_serial, bytes_of, gateway,
    model::streams::{self, Kind},
    order, read_all, setup, submit, tight, with_ticks,
};

const TOPOLOGIES: [&str; 6] = [
    "single",
    "fused",
    "split",
    "full",
    "matcher+journaler/publisher+risk+sequencer",
    "matcher+risk/publisher/journaler/sequencer",
];

/// Streams that try to make risk's head start show, and an ordinary one.
fn all_streams() -> Vec<(String, Vec<Command>)> {
    let mut all: Vec<_> =
        Kind::ALL.iter().map(|&kind| (format!("{kind:?}"), untripped(streams::commands(kind, 11, 3_000)))).collect();
    all.push(("orders".to_owned(), setup().into_iter().chain((0..3_000).map(order)).collect()));
    all
}

/// The commands without what gateways do not take, and without what an exchange that runs freezes itself for, which the
/// serial machine does not. What it does then has tests of its own.
fn untripped(mut commands: Vec<Command>) -> Vec<Command> {
    commands.retain(|command| !matches!(command, Command::AddPlanPart { .. } | Command::StartEpoch { .. }));
    for command in &mut commands {
        match command {
            Command::SetPayoutVelocity { window_seconds, .. } => *window_seconds = 0,
            Command::AttestReserves { amount, .. } => *amount = Amount(AMOUNT_MAX),
            _ => {}
        }
    }
    commands
}

/// Runs commands through threads, and checks them against the serial machine.
fn run(what: &str, commands: &[Command], config: Config) -> StateHash {
    let pipeline = Pipeline::in_memory(config).unwrap();
    let events = read_all(pipeline.subscribe(Subscription { ring: 64, ..Subscription::default() }).unwrap());
    let mut gateway = gateway(&pipeline);
    for command in commands {
        submit(&mut gateway, *command);
    }
    let stopped = pipeline.shutdown().unwrap();
    let events = events.join().unwrap();
    assert_serial(what, commands, &events, &stopped.exchange);
    assert_eq!(stopped.counters.commands, with_ticks(commands, &events).len() as u64);
    assert_eq!(stopped.counters.events, events.len() as u64);
    stopped.exchange.state_hash()
}

#[test]
fn every_topology_gives_the_outcome_of_the_serial_machine() {
    for (name, commands) in all_streams() {
        for topology in TOPOLOGIES {
            run(&format!("{name} on {topology}"), &commands, tight(topology));
            let roomy = Config { topology: topology.parse().unwrap(), ..Config::default() };
            run(&format!("{name} on {topology}, roomy"), &commands, roomy);
        }
    }
}

/// A lock of a second ends while orders flow, on the pipeline's own clock.
#[test]
fn a_lock_ends_in_every_topology_as_in_the_serial_machine() {
    let (asset, author, airdrop) = (AssetId(0), OperatorId(1), AirdropId(1));
    let recipients = (1..=ACCOUNTS).map(AccountId);
    let mut hasher = ManifestHasher::new(asset);
    recipients.clone().for_each(|account| hasher.line(account, Amount(50)));
    let (nobody, total) = (OperatorId(0), Amount(50 * u64::from(ACCOUNTS)));
    let mut before = setup();
    before.extend([
        Command::RegisterOperator { operator: author, key: Digest([1; 32]), first: nobody, second: nobody },
        Command::SetControls { controls: Controls::NONE },
        Command::OpenAirdrop { airdrop, author, asset, total, lines: ACCOUNTS, hash: hasher.finish(), lock_seconds: 1 },
    ]);
    before.extend(recipients.map(|account| Command::AddAirdropLine { airdrop, account, amount: Amount(50) }));
    before.push(Command::ExecuteAirdrop { airdrop, operator: author });
    before.extend((0..300).map(order));
    let after: Vec<_> = (300..600).map(order).collect();
    for topology in TOPOLOGIES {
        let pipeline = Pipeline::in_memory(tight(topology)).unwrap();
        let events = read_all(pipeline.subscribe(Subscription { ring: 64, ..Subscription::default() }).unwrap());
        let mut gateway = gateway(&pipeline);
        before.iter().for_each(|command| _ = submit(&mut gateway, *command));
        thread::sleep(Duration::from_millis(1_050));
        after.iter().for_each(|command| _ = submit(&mut gateway, *command));
        let stopped = pipeline.shutdown().unwrap();
        let events = events.join().unwrap();
        let commands = [&before[..], &after[..]].concat();
        assert_serial(topology, &commands, &events, &stopped.exchange);
        let ended = |event: &&Published| matches!(event.event.event, Event::AirdropUnlocked { .. });
        assert_eq!(events.iter().filter(ended).count(), ACCOUNTS as usize, "{topology}");
        assert_eq!(stopped.exchange.next_timer(), None, "{topology}");
    }
}

/// A seller in an auction, whose proceeds the commands right behind the opening need, and risk far ahead of the matcher: risk must
/// wait for what the opening settles, whether a market or the exchange opens. None of the accounts has anything else under way.
#[test]
fn proceeds_of_an_auction_are_waited_for() {
    let (seller, buyer, other) = (AccountId(1), AccountId(2), AccountId(3));
    let (base, quote) = (AssetId(0), AssetId(1));
    let place = |account, market, side, quantity, price, client_order_id| Command::PlaceLimit {
        account,
        market: MarketId(market),
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(price),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(client_order_id),
    };
    let setup = |market| {
        let mut commands = vec![
            Command::AddAsset { asset: base, symbol: "BTC".parse().unwrap(), scale: 8 },
            Command::AddAsset { asset: quote, symbol: "USD".parse().unwrap(), scale: 6 },
        ];
        for market in [0, market] {
            commands.push(Command::AddMarket {
                market: MarketId(market),
                base,
                quote,
                lot_size: Amount(1),
                tick_value: Amount(1),
                maker_rate: FeeRate(0),
                taker_rate: FeeRate(0),
            });
        }
        for (account, asset) in [(seller, base), (buyer, quote), (other, base)] {
            commands.push(Command::CreateAccount { account });
            let external_id = ExternalId::from_u128(u128::from(account.0));
            commands.push(Command::Deposit { account, asset, amount: Amount(1_000), external_id });
        }
        commands
    };
    let (in_auction, open) = (TradingStatus::Auction, TradingStatus::Open);
    let of_exchange = |status| Command::SetGlobalStatus { status };
    // What needs the proceeds, and what it comes to.
    let needs = [
        place(seller, 0, Side::Buy, 10, 70, 9),
        Command::RequestWithdrawal { account: seller, asset: quote, amount: Amount(700) },
        Command::Transfer { from: seller, to: other, asset: quote, amount: Amount(700) },
        Command::PlaceMarketBuy {
            account: seller,
            market: MarketId(0),
            budget: Amount(700),
            client_order_id: ClientOrderId(9),
        },
    ];
    // Market 64 is of the same group as market 0.
    for market in [1, 64, 4_095] {
        for closes_exchange in [false, true] {
            let of_market = |status| Command::SetMarketStatus { market: MarketId(market), status };
            let set = |status| if closes_exchange { of_exchange(status) } else { of_market(status) };
            for need in needs {
                let mut commands = setup(market);
                commands.push(set(in_auction));
                commands.push(place(seller, market, Side::Sell, 10, 70, 1));
                commands.push(place(buyer, market, Side::Buy, 10, 70, 2));
                let quiet = commands.len();
                // The seller has nothing of quote before, and 700 right behind.
                commands.extend([need, set(open), need, need]);

                let what = format!("market {market}, the whole exchange: {closes_exchange}, {need:?}");
                let config = Config { topology: "full".parse().unwrap(), ..Config::default() };
                let (handle, mut stages) = Pipeline::in_memory_unstarted(&config).unwrap();
                let mut subscriber = handle.subscribe(Subscription::default()).unwrap();
                let mut gateway = gateway(&handle);
                for command in &commands[..quiet] {
                    submit(&mut gateway, *command);
                }
                for _ in 0..100 {
                    StageName::ALL.into_iter().for_each(|stage| _ = stages.poll(stage, 64));
                }
                // Everything before is settled. From here on the matcher stands still until risk gets no further.
                for command in &commands[quiet..] {
                    submit(&mut gateway, *command);
                }
                handle.stop();
                while stages.running().next().is_some() {
                    for _ in 0..10 {
                        for stage in [StageName::Sequencer, StageName::Risk] {
                            stages.poll(stage, 64);
                        }
                    }
                    for stage in [StageName::Matcher, StageName::Journaler, StageName::Publisher] {
                        stages.poll(stage, 64);
                    }
                }
                let mut events = Vec::new();
                while subscriber.drain(usize::MAX, |event| events.push(*event)).is_ok() {}
                let stopped = handle.collect([stages]).unwrap();
                assert_serial(&what, &commands, &events, &stopped.exchange);
                let refused: Vec<_> = events
                    .iter()
                    .filter(|event| matches!(event.event.event, Event::Refused { .. }))
                    .map(|event| event.event.sequence.0)
                    .collect();
                let first = quiet as u64 + 1;
                // A market buy finds nothing, and leaves all for the next.
                let is_spent = !matches!(need, Command::PlaceMarketBuy { .. });
                let expected = if is_spent { &[first, first + 3][..] } else { &[first] };
                assert_eq!(refused, expected, "{what}");
            }
        }
    }
}

#[test]
fn every_wait_strategy_gives_the_outcome_of_the_serial_machine() {
    let commands: Vec<_> = setup().into_iter().chain((0..2_000).map(order)).collect();
    for wait in [WaitStrategy::BusySpin, WaitStrategy::Yield, WaitStrategy::BackOff, WaitStrategy::Park] {
        for topology in ["fused", "full"] {
            // A spinning worker among more workers than cores gets on only when it is preempted: fewer commands do.
            let count = if wait == WaitStrategy::BusySpin && topology == "full" { 200 } else { commands.len() };
            let config = Config { wait, force_busy_spin: true, ..tight(topology) };
            run(&format!("{wait} on {topology}"), &commands[..count], config);
        }
    }
}

/// Polls a stage until it ends, with pauses, yields and batches of random lengths.
fn poll_erratically(mut stage: Stages, mut numbers: Numbers) -> Stages {
    let name = stage.running().next().expect("a stage");
    // Each stage is fast at some times and slow at others.
    let mut slow = numbers.below(2) == 0;
    loop {
        if numbers.below(50) == 0 {
            slow = !slow;
        }
        match numbers.below(if slow { 4 } else { 40 }) {
            0 => thread::sleep(Duration::from_micros(numbers.below(60))),
            1..3 => thread::yield_now(),
            _ => {}
        }
        if stage.poll(name, 1 + numbers.below(40) as usize) == Progress::Finished {
            return stage;
        }
    }
}

#[test]
fn twenty_random_thread_timings_give_the_outcome_of_the_serial_machine() {
    for (name, commands) in all_streams() {
        let commands = &commands[..1_500];
        for seed in 0..20 {
            let mut numbers = Numbers(seed);
            let ring = |numbers: &mut Numbers| 1 << (1 + numbers.below(8));
            let config = Config {
                // Risk and matcher apart in three runs of four.
                topology: if seed % 4 == 0 { "fused" } else { "full" }.parse().unwrap(),
                gateway_ring: ring(&mut numbers),
                input_ring: ring(&mut numbers),
                event_ring: ring(&mut numbers),
                ..Config::default()
            };
            let (handle, stages) = Pipeline::in_memory_unstarted(&config).unwrap();
            let events = read_all(handle.subscribe(Subscription { ring: 16, ..Subscription::default() }).unwrap());
            let mut gateway = gateway(&handle);
            let threads: Vec<_> = stages
                .apart()
                .into_iter()
                .zip(1..)
                .map(|(stage, number)| {
                    let numbers = Numbers(seed * 100 + number);
                    thread::spawn(move || poll_erratically(stage, numbers))
                })
                .collect();
            for command in commands {
                submit(&mut gateway, *command);
            }
            handle.stop();
            let stages: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            let stopped = handle.collect(stages).unwrap();
            assert_serial(&format!("{name}, timing {seed}"), commands, &events.join().unwrap(), &stopped.exchange);
        }
    }
}

/// One thread polls the stages in random order: every run of a seed is the same, so a failure can be run again.
#[test]
fn random_orders_of_polling_give_the_outcome_of_the_serial_machine() {
    for (name, commands) in all_streams() {
        for seed in 0..6 {
            let mut numbers = Numbers(seed);
            let ring = |numbers: &mut Numbers| 1 << (1 + numbers.below(6));
            let config = Config {
                topology: if seed % 3 == 0 { "fused" } else { "full" }.parse().unwrap(),
                gateway_ring: ring(&mut numbers),
                input_ring: ring(&mut numbers),
                event_ring: ring(&mut numbers),
                ..Config::default()
            };
            let (handle, mut stages) = Pipeline::in_memory_unstarted(&config).unwrap();
            let mut subscriber = handle.subscribe(Subscription { ring: 16, ..Subscription::default() }).unwrap();
            let mut gateway = gateway(&handle);
            let (mut events, mut submitted) = (Vec::new(), 0);
            while stages.running().next().is_some() {
                match numbers.below(7) {
                    0 if submitted < commands.len() => {
                        submitted += usize::from(gateway.submit(commands[submitted]).is_ok());
                        if submitted == commands.len() {
                            handle.stop();
                        }
                    }
                    1 => drop(subscriber.drain(1 + numbers.below(16) as usize, |event| events.push(*event))),
                    stage => {
                        let stage = StageName::ALL[stage as usize % StageName::ALL.len()];
                        stages.poll(stage, 1 + numbers.below(20) as usize);
                    }
                }
            }
            while subscriber.drain(usize::MAX, |event| events.push(*event)).is_ok() {}
            let stopped = handle.collect([stages]).unwrap();
            assert_serial(&format!("{name}, order {seed}"), &commands, &events, &stopped.exchange);
        }
    }
}

#[test]
fn the_journal_replayed_gives_the_same_bytes_and_the_same_state() {
    for (name, commands) in all_streams() {
        for topology in ["fused", "full"] {
            let directory = tempfile::tempdir().unwrap();
            let config = Config {
                topology: topology.parse().unwrap(),
                durability: Durability::None,
                segment_bytes: 2 << 20,
                ..Config::default()
            };
            let pipeline = Pipeline::open(directory.path(), config.clone()).unwrap();
            let events = read_all(pipeline.subscribe(Subscription::default()).unwrap());
            let mut gateway = gateway(&pipeline);
            for command in &commands {
                submit(&mut gateway, *command);
            }
            let stopped = pipeline.shutdown().unwrap();
            let events = events.join().unwrap();
            let what = format!("{name} on {topology}");
            assert_serial(&what, &commands, &events, &stopped.exchange);

            // The journal holds just these commands, at these times, and replaying it gives the same bytes.
            let (mut replayed, mut again, mut inline) = (Exchange::new(), Vec::new(), Inline::in_memory());
            let journal = JournalReader::open_directory(directory.path()).unwrap();
            let commands = with_ticks(&commands, &events);
            for (record, command) in journal.map(Result::unwrap).zip(&commands) {
                let is_own = record.cause == Cause::exchange() && *command == (Command::Tick {});
                let cause = if is_own { Cause::exchange() } else { Cause::session(1) };
                assert_eq!((record.command, record.cause), (*command, cause), "{what}");
                let mut of_command = Vec::new();
                replayed.apply(record.sequence, record.time, &record.command, &mut of_command);
                inline.submit_at(record.time, record.cause, record.command).unwrap();
                inline.commit(&mut |event| again.push(*event)).unwrap();
            }
            let published: Vec<_> = events.iter().map(|published| published.event).collect();
            assert!(bytes_of(&published) == bytes_of(&again), "{what}: replayed in line");
            let hash = stopped.exchange.state_hash();
            assert_eq!(replayed.state_hash(), hash, "{what}: replayed");
            assert_eq!(inline.exchange().state_hash(), hash, "{what}: in line");
            let reopened = Pipeline::open(directory.path(), config).unwrap();
            assert_eq!(reopened.recovered().state_hash, hash, "{what}: reopened");
            assert_eq!(reopened.recovered().commands, commands.len() as u64);
        }
    }
}
