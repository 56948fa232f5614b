//! Queries, subscriptions, back-pressure, the control lane, and wrong configuration.

use engine::{
    command::Command,
    event::Event,
    pipeline::{
        Config, Events, Gateway, Pipeline, PipelineError, ReceiveError, StageName, SubmitError, Subscription,
        WaitStrategy, WhenFull,
    },
    types::{AccountId, Amount, AssetId, Cause, MarketId, Sequence, TradingStatus},
};

use super::{gateway, order, setup, submit, tight};

const TOPOLOGIES: [&str; 3] = ["single", "fused", "full"];

#[test]
fn queries_answer_with_settled_state_and_its_sequence() {
    for topology in TOPOLOGIES {
        let pipeline = Pipeline::in_memory(tight(topology)).unwrap();
        assert_eq!(pipeline.account(AccountId(1)).unwrap(), (Sequence(0), None));
        assert_eq!(pipeline.book(MarketId(0), 5).unwrap(), (Sequence(0), None));
        let mut events = pipeline.subscribe(Subscription::default()).unwrap();
        let mut gateway = gateway(&pipeline);
        let commands: Vec<_> = setup().into_iter().chain((0..500).map(order)).collect();
        for command in &commands {
            submit(&mut gateway, *command);
        }
        while events.next().unwrap().event.sequence.0 < commands.len() as u64 {}
        let (at, account) = pipeline.account(AccountId(1)).unwrap();
        assert_eq!(at, Sequence(commands.len() as u64));
        let (at, book) = pipeline.book(MarketId(0), usize::MAX).unwrap();
        assert_eq!(at, Sequence(commands.len() as u64));
        drop(events);
        let exchange = pipeline.shutdown().unwrap().exchange;
        assert_eq!(account, exchange.account(AccountId(1)));
        assert_eq!(book, exchange.book(MarketId(0), usize::MAX));
    }
}

/// Every answer is a state that the serial machine was in, while commands rush by.
#[test]
fn queries_under_load_see_whole_commands_only() {
    for topology in TOPOLOGIES {
        let pipeline = Pipeline::in_memory(tight(topology)).unwrap();
        let mut gateway = gateway(&pipeline);
        let commands: Vec<_> = setup().into_iter().chain((0..3_000).map(order)).collect();
        let load = commands.clone();
        let sender = std::thread::spawn(move || {
            for command in load {
                submit(&mut gateway, command);
            }
        });
        let mut answers = Vec::new();
        while !sender.is_finished() {
            answers.push((pipeline.account(AccountId(3)).unwrap(), pipeline.book(MarketId(0), 3).unwrap()));
        }
        sender.join().unwrap();
        drop(pipeline.shutdown().unwrap());

        let mut exchange = engine::exchange::Exchange::new();
        let mut applied = 0;
        let mut apply_to = |exchange: &mut engine::exchange::Exchange, at: Sequence| {
            while applied < at.0 {
                applied += 1;
                let command = &commands[applied as usize - 1];
                exchange.apply(Sequence(applied), engine::types::Timestamp(0), command, &mut engine::event::NoEvents);
            }
        };
        for ((account_at, account), (book_at, book)) in answers {
            apply_to(&mut exchange, account_at);
            assert_eq!(account, exchange.account(AccountId(3)), "at {account_at} on {topology}");
            apply_to(&mut exchange, book_at);
            assert_eq!(book, exchange.book(MarketId(0), 3), "at {book_at} on {topology}");
        }
    }
}

#[test]
fn a_full_ring_says_busy_and_drops_nothing() {
    let (handle, mut stages) = Pipeline::in_memory_unstarted(&tight("full")).unwrap();
    let mut gateway = gateway(&handle);
    let taken = (0..100).take_while(|&number| gateway.submit(order(number)).is_ok()).count();
    assert_eq!(taken, 4, "as many as the ring holds");
    assert_eq!(gateway.submit(order(0)), Err(SubmitError::Busy));
    stages.poll(StageName::Sequencer, 1);
    assert_eq!(gateway.submit(order(4)), Ok(5), "a refused submission has no number");
    handle.stop();
    while stages.running().next().is_some() {
        for stage in StageName::ALL {
            stages.poll(stage, 8);
        }
    }
    assert_eq!(gateway.submit(order(5)), Err(SubmitError::Closed));
    assert_eq!(handle.collect([stages]).unwrap().counters.commands, 5);
}

#[test]
fn a_subscriber_that_falls_behind_is_told_or_holds_the_exchange_back() {
    let commands: Vec<_> = setup().into_iter().chain((0..200).map(order)).collect();
    let pipeline = Pipeline::in_memory(Config::default()).unwrap();
    let slow = Subscription { ring: 8, when_full: WhenFull::Disconnect, ..Subscription::default() };
    let mut slow = pipeline.subscribe(slow).unwrap();
    let mut gateway = gateway(&pipeline);
    for command in &commands {
        submit(&mut gateway, *command);
    }
    while pipeline.counters().commands < commands.len() as u64 {
        std::thread::yield_now();
    }
    let read: Vec<_> = std::iter::from_fn(|| slow.next().ok()).collect();
    assert_eq!(read.len(), 8, "what its ring held");
    assert_eq!(slow.next(), Err(ReceiveError::Lagged));

    let holding = Subscription { ring: 8, when_full: WhenFull::HoldBack, ..Subscription::default() };
    let mut holding = pipeline.subscribe(holding).unwrap();
    let before = pipeline.counters().events;
    for number in 1_000..1_100 {
        submit(&mut gateway, order(number));
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(pipeline.counters().events <= before + 8, "nothing overtakes the subscriber");
    let mut commands_read = 0;
    while commands_read < 100 {
        commands_read += u64::from(holding.next().unwrap().last);
    }
    // A subscriber that goes away holds nothing back.
    drop(holding);
    submit(&mut gateway, order(2_000));
    pipeline.shutdown().unwrap();
}

#[test]
fn a_pipeline_that_is_dropped_does_not_wait_for_a_subscriber_that_never_reads() {
    for topology in TOPOLOGIES {
        let pipeline = Pipeline::in_memory(tight(topology)).unwrap();
        let mut unread = pipeline.subscribe(Subscription { ring: 4, ..Subscription::default() }).unwrap();
        let mut gateway = gateway(&pipeline);
        // As many as the rings on the way hold, and more than the subscriber's.
        for number in 0..12 {
            submit(&mut gateway, order(number));
        }
        drop(pipeline);
        let read = std::iter::from_fn(|| unread.next().ok()).count();
        assert_eq!((read, unread.next()), (4, Err(ReceiveError::Lagged)), "{topology}");
    }
}

#[test]
fn a_gateway_can_be_told_of_its_own_commands_only() {
    let pipeline = Pipeline::in_memory(tight("fused")).unwrap();
    let mut first = gateway(&pipeline);
    let mut second = first.clone();
    assert_ne!(first.id(), second.id());
    let of_second = Subscription { events: Events::OfGateway(second.id()), ..Subscription::default() };
    let mut own = pipeline.subscribe(of_second).unwrap();
    submit(&mut first, Command::CreateAccount { account: AccountId(1) });
    let submission = submit(&mut second, Command::CreateAccount { account: AccountId(2) });
    let published = own.next().unwrap();
    assert_eq!((published.gateway, published.submission), (second.id(), submission));
    assert_eq!(published.event.event, Event::AccountCreated { account: AccountId(2) });
    pipeline.shutdown().unwrap();
    assert_eq!(own.next(), Err(ReceiveError::Closed));
}

#[test]
fn the_control_lane_is_open_when_gateways_are_halted() {
    for topology in TOPOLOGIES {
        let pipeline = Pipeline::in_memory(tight(topology)).unwrap();
        let mut gateway = gateway(&pipeline);
        for command in setup() {
            submit(&mut gateway, command);
        }
        let operator = Cause::operator(1);
        let halted = pipeline.halt(operator).unwrap();
        assert_eq!(halted[0].event, Event::GlobalStatusSet { status: TradingStatus::Halted });
        assert_eq!(gateway.submit(order(1)), Err(SubmitError::Halted));
        let mut lane = pipeline.operator(operator).unwrap();
        let refused =
            lane.execute(Command::RequestWithdrawal { account: AccountId(1), asset: AssetId(0), amount: Amount(1) });
        assert!(matches!(refused.unwrap()[0].event, Event::Refused { .. }));
        let created = lane.execute(Command::CreateAccount { account: AccountId(99) }).unwrap();
        assert_eq!(created[0].event, Event::AccountCreated { account: AccountId(99) });
        lane.execute(Command::SetGlobalStatus { status: TradingStatus::Open }).unwrap();
        submit(&mut gateway, order(1));
        pipeline.shutdown().unwrap();
    }
}

#[test]
fn a_clone_of_a_gateway_of_an_ended_pipeline_is_closed() {
    let pipeline = Pipeline::in_memory(tight("fused")).unwrap();
    let mut first = gateway(&pipeline);
    let operator = pipeline.operator(Cause::operator(1)).unwrap();
    pipeline.shutdown().unwrap();
    let mut second = first.clone();
    assert_eq!(first.submit(order(1)), Err(SubmitError::Closed));
    assert_eq!(second.submit(order(1)), Err(SubmitError::Closed));
    drop(operator);
}

#[test]
fn a_wrong_configuration_is_named() {
    let config = Config { input_ring: 1_000, ..Config::default() };
    let error = Pipeline::in_memory(config).err().unwrap();
    assert!(matches!(error, PipelineError::Ring(_)) && error.to_string().contains("1000"), "{error}");
    let error = Pipeline::in_memory(Config { batch: 0, ..Config::default() }).err().unwrap();
    assert!(matches!(error, PipelineError::EmptyBatch));

    let cores = std::thread::available_parallelism().unwrap().get();
    if cores < 5 {
        let spinning = Config { topology: "full".parse().unwrap(), wait: WaitStrategy::BusySpin, ..Config::default() };
        let error = Pipeline::in_memory(spinning.clone()).err().unwrap();
        assert!(error.to_string().contains("5 workers"), "{error}");
        Pipeline::in_memory(Config { force_busy_spin: true, ..spinning }).unwrap();
    }
}

#[test]
fn latency_is_counted_for_every_command() {
    for topology in TOPOLOGIES {
        let pipeline = Pipeline::in_memory(tight(topology)).unwrap();
        let mut gateway = gateway(&pipeline);
        let commands: Vec<_> = setup().into_iter().chain((0..1_000).map(order)).collect();
        for command in &commands {
            submit(&mut gateway, *command);
        }
        while pipeline.counters().commands < commands.len() as u64 {
            std::thread::yield_now();
        }
        let first = pipeline.latency().unwrap();
        submit(&mut gateway, order(5_000));
        let rest = pipeline.shutdown().unwrap().latency;
        let count = commands.len() as u64;
        let both = |of: fn(&engine::pipeline::Latency) -> u64| (of(&first) + of(&rest), count + 1);
        let (counted, expected) = both(|latency| latency.end_to_end.len());
        assert_eq!(counted, expected);
        for stage in 0..4 {
            let wait = first.stages[stage].wait.len() + rest.stages[stage].wait.len();
            // The fused matcher takes a command at once: its wait is counted where its service is.
            let timed = first.stages[stage].service.len() + rest.stages[stage].service.len();
            assert!(wait == expected || wait == timed, "{}: {wait} of {expected}", first.stages[stage].name);
            assert!(timed > 0);
        }
    }
}

#[test]
fn the_turn_survives_gateways_that_leave() {
    const GATEWAYS: usize = 4;
    for polls in 0..GATEWAYS {
        let (handle, mut stages) = Pipeline::in_memory_unstarted(&Config::default()).unwrap();
        let mut gateways: Vec<Gateway> =
            (0..GATEWAYS).map(|number| handle.gateway(Cause::session(number as u32)).unwrap()).collect();
        for _ in 0..=polls {
            stages.poll(StageName::Sequencer, 8);
        }
        gateways.truncate(1);
        stages.poll(StageName::Sequencer, 8);
        gateways[0].submit(Command::CreateAccount { account: AccountId(7) }).unwrap();
        handle.stop();
        while stages.running().next().is_some() {
            for stage in StageName::ALL {
                stages.poll(stage, 8);
            }
        }
        let stopped = handle.collect([stages]).unwrap();
        assert!(stopped.exchange.account(AccountId(7)).is_some(), "after {polls} polls");
    }
}

#[test]
fn a_halt_comes_behind_what_gateways_have_submitted_other_commands_of_operators_before() {
    let (handle, mut stages) = Pipeline::in_memory_unstarted(&Config::default()).unwrap();
    let (handle, create) = (&handle, Command::CreateAccount { account: AccountId(10) });
    let mut events = handle.subscribe(Subscription::default()).unwrap();
    let mut gateway = gateway(handle);
    for account in (1..=9).map(AccountId) {
        submit(&mut gateway, Command::CreateAccount { account });
    }
    std::thread::scope(|scope| {
        let urgent = scope.spawn(move || handle.operator(Cause::operator(1)).unwrap().execute(create).unwrap());
        while handle.operators_waiting() < 1 {
            std::thread::yield_now();
        }
        let halt = scope.spawn(move || handle.halt(Cause::operator(1)).unwrap());
        while handle.operators_waiting() < 2 {
            std::thread::yield_now();
        }
        // Both wait before anything is sequenced.
        while !halt.is_finished() || !urgent.is_finished() {
            for stage in StageName::ALL {
                stages.poll(stage, 2);
            }
        }
    });
    let mut order = Vec::new();
    events.drain(usize::MAX, |published| order.push(published.event.event)).unwrap();
    assert_eq!(order.len(), 11);
    assert_eq!(order[0], Event::AccountCreated { account: AccountId(10) });
    assert_eq!(order[10], Event::GlobalStatusSet { status: TradingStatus::Halted });
}

#[test]
fn latency_is_told_also_when_the_pipeline_has_ended() {
    for topology in TOPOLOGIES {
        let pipeline = Pipeline::in_memory(tight(topology)).unwrap();
        submit(&mut gateway(&pipeline), order(1));
        pipeline.stop();
        let mut counted = 0;
        while counted == 0 {
            counted = pipeline.latency().unwrap().end_to_end.len();
        }
        assert_eq!(counted, 1);
        assert_eq!(pipeline.latency().unwrap().end_to_end.len(), 0);
    }
}

#[test]
fn an_operator_gets_all_events_of_a_large_mass_cancel() {
    let pipeline = Pipeline::in_memory(Config::default()).unwrap();
    let mut gateway = gateway(&pipeline);
    for command in setup() {
        submit(&mut gateway, command);
    }
    let orders = 5_000;
    for number in 0..orders {
        submit(
            &mut gateway,
            Command::PlaceLimit {
                account: AccountId(1),
                market: MarketId(0),
                side: engine::types::Side::Buy,
                limit_type: engine::types::LimitType::GoodTillCancel,
                price: engine::types::Price(1 + number % 100),
                quantity: engine::types::Quantity(1),
                client_order_id: engine::types::ClientOrderId(0),
            },
        );
    }
    while pipeline.counters().commands < setup().len() as u64 + orders {
        std::thread::yield_now();
    }
    let mut operator = pipeline.operator(Cause::operator(1)).unwrap();
    let cancel = Command::CancelAllOfAccount { account: AccountId(1) };
    let events = operator.execute(cancel).unwrap();
    assert_eq!(events.len(), orders as usize + 1);
    assert_eq!(operator.execute(cancel).unwrap().len(), 1);
}

#[test]
fn nobody_opens_a_gateway_after_the_stop_and_those_before_are_served() {
    let (handle, mut stages) = Pipeline::in_memory_unstarted(&Config::default()).unwrap();
    let mut before = gateway(&handle);
    submit(&mut before, Command::CreateAccount { account: AccountId(1) });
    handle.stop();
    assert!(matches!(handle.gateway(Cause::session(2)), Err(PipelineError::Closed)));
    while stages.running().next().is_some() {
        for stage in StageName::ALL {
            stages.poll(stage, 8);
        }
    }
    assert!(handle.collect([stages]).unwrap().exchange.account(AccountId(1)).is_some());
}

#[test]
fn gateways_are_served_in_turn_however_many_there_are() {
    const GATEWAYS: usize = 100;
    let config = Config { gateway_ring: 64, ..Config::default() };
    let (handle, mut stages) = Pipeline::in_memory_unstarted(&config).unwrap();
    let mut events = handle.subscribe(Subscription::default()).unwrap();
    let mut gateways: Vec<_> = (0..GATEWAYS).map(|_| gateway(&handle)).collect();
    for gateway in &mut gateways {
        for number in 0..64 {
            submit(gateway, order(number));
        }
    }
    handle.stop();
    while stages.running().next().is_some() {
        for stage in StageName::ALL {
            // Fewer at once than there are gateways.
            stages.poll(stage, 7);
        }
    }
    let mut served = std::collections::BTreeMap::new();
    events
        .drain(usize::MAX, |published| {
            let count: &mut usize = served.entry(published.gateway).or_default();
            *count += 1;
            let most = *count;
            let least = if served.len() < GATEWAYS { 0 } else { *served.values().min().unwrap() };
            assert!(most <= least + 1, "nobody is served twice before all others were");
        })
        .unwrap();
}

#[test]
fn an_exchange_that_was_halted_is_halted_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 2 << 20, ..Config::default() };
    let pipeline = Pipeline::open(directory.path(), config.clone()).unwrap();
    pipeline.halt(Cause::operator(1)).unwrap();
    pipeline.shutdown().unwrap();
    let pipeline = Pipeline::open(directory.path(), config).unwrap();
    let mut gateway = gateway(&pipeline);
    assert_eq!(gateway.submit(order(1)), Err(SubmitError::Halted));
    let mut operator = pipeline.operator(Cause::operator(1)).unwrap();
    operator.execute(Command::SetGlobalStatus { status: TradingStatus::Open }).unwrap();
    submit(&mut gateway, order(1));
}
