//! The pipeline as its users see it: the outcome of the serial machine, whatever the threads do; durable before
//! anything leaves; and clear answers when something is full, closed, halted or broken.

mod allocations;
mod control;
mod durability;
mod kill;
mod same_outcome;

#[path = "../model/mod.rs"]
mod model;

use engine::{
    command::Command,
    event::{Event, SequencedEvent},
    exchange::{Exchange, StateHash},
    pipeline::{Config, Gateway, GatewayId, Handle, Published, Subscriber},
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, Price, Quantity,
        Sequence, Side, wire::Writer,
    },
};

/// A generator of numbers, the same on every run (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014).
#[derive(Clone)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const ACCOUNTS: u32 = 20;

/// Two assets, a market with fees, and accounts that have plenty of both.
fn setup() -> Vec<Command> {
    let (base, quote) = (AssetId(0), AssetId(1));
    let mut commands = vec![
        Command::AddAsset { asset: base, symbol: "BTC".parse().unwrap(), scale: 8 },
        Command::AddAsset { asset: quote, symbol: "USD".parse().unwrap(), scale: 6 },
        Command::AddMarket {
            market: MarketId(0),
            base,
            quote,
            lot_size: Amount(10),
            tick_value: Amount(3),
            maker_rate: FeeRate(-5),
            taker_rate: FeeRate(20),
        },
    ];
    for account in (1..=ACCOUNTS).map(AccountId) {
        commands.push(Command::CreateAccount { account });
        for asset in [base, quote] {
            let external_id = ExternalId::from_u128(u128::from(account.0));
            commands.push(Command::Deposit { account, asset, amount: Amount(1_000_000_000), external_id });
        }
    }
    commands
}

/// Order `number` of an endless flow: limits around a price, every third one a cancel of an earlier one.
fn order(number: u64) -> Command {
    let mut numbers = Numbers(number);
    let account = AccountId(1 + (number % u64::from(ACCOUNTS)) as u32);
    if number % 3 == 2 && number > 60 {
        let earlier = number - 1 - 20 * numbers.below(3);
        let account = AccountId(1 + (earlier % u64::from(ACCOUNTS)) as u32);
        return Command::CancelByClientOrderId { account, client_order_id: ClientOrderId(earlier) };
    }
    Command::PlaceLimit {
        account,
        market: MarketId(0),
        side: if numbers.below(2) == 0 { Side::Buy } else { Side::Sell },
        limit_type: LimitType::GoodTillCancel,
        price: Price(1_000 + numbers.below(20)),
        quantity: Quantity(1 + numbers.below(9)),
        client_order_id: ClientOrderId(number),
    }
}

/// The canonical bytes of events.
fn bytes_of<'a>(events: impl IntoIterator<Item = &'a SequencedEvent>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        let mut writer = Writer::default();
        event.encode(&mut writer);
        bytes.extend_from_slice(writer.as_bytes());
    }
    bytes
}

/// The commands with those that the exchange came to by itself where they were sequenced: an idle one lets time pass.
fn with_ticks(commands: &[Command], events: &[Published]) -> Vec<Command> {
    let mut submitted = commands.iter().copied();
    let of_commands = events.chunk_by(|left, right| left.event.sequence == right.event.sequence);
    let mut sequenced: Vec<_> = of_commands
        .filter_map(|events| match events[0].gateway {
            GatewayId::EXCHANGE => Some(Command::Tick {}),
            _ => submitted.next(),
        })
        .collect();
    sequenced.extend(submitted);
    sequenced
}

/// What the serial machine makes of the commands, sequenced from 1 at the times at which the events say they were.
fn serial(commands: &[Command], events: &[Published]) -> (Vec<SequencedEvent>, StateHash) {
    let mut exchange = Exchange::new();
    let mut expected = Vec::new();
    let mut seen = events.iter().map(|published| &published.event).peekable();
    for (sequence, command) in (1..).map(Sequence).zip(commands) {
        let time = seen.peek().unwrap_or_else(|| panic!("no event of sequence {sequence}")).time;
        let mut of_command: Vec<Event> = Vec::new();
        exchange.apply(sequence, time, command, &mut of_command);
        let numbered = (0..).zip(of_command);
        expected.extend(numbered.map(|(index, event)| SequencedEvent { sequence, time, index, event }));
        while seen.next_if(|event| event.sequence == sequence).is_some() {}
    }
    exchange.check_invariants().unwrap();
    (expected, exchange.state_hash())
}

/// Checks what a pipeline published, and where it ended, against the serial machine, byte for byte.
fn assert_serial(what: &str, commands: &[Command], events: &[Published], exchange: &Exchange) {
    let (expected, hash) = serial(&with_ticks(commands, events), events);
    let published: Vec<_> = events.iter().map(|published| published.event).collect();
    if let Some((at, (left, right))) =
        published.iter().zip(&expected).enumerate().find(|(_, (left, right))| left != right)
    {
        panic!("{what}: event {at} is {left:?}, the serial machine says {right:?}");
    }
    assert!(
        bytes_of(&published) == bytes_of(&expected),
        "{what}: {} events, {} expected",
        published.len(),
        expected.len()
    );
    assert_eq!(exchange.state_hash(), hash, "{what}: the final state");
    for (number, command) in events.chunk_by(|left, right| left.event.sequence == right.event.sequence).enumerate() {
        assert_eq!(command.iter().filter(|event| event.last).count(), 1, "{what}: the last event of command {number}");
        assert!(command[command.len() - 1].last, "{what}: the last event of command {number} comes last");
    }
}

/// Submits until it is taken.
fn submit(gateway: &mut Gateway, command: Command) -> u64 {
    loop {
        match gateway.submit(command) {
            Ok(submission) => return submission,
            Err(engine::pipeline::SubmitError::Busy) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads all until the pipeline ends, on a thread of its own.
fn read_all(mut subscriber: Subscriber) -> std::thread::JoinHandle<Vec<Published>> {
    std::thread::spawn(move || std::iter::from_fn(|| subscriber.next().ok()).collect())
}

fn gateway(handle: &Handle) -> Gateway {
    handle.gateway(Cause::session(1)).unwrap()
}

/// Small rings and batches, so that everything is full all the time.
fn tight(topology: &str) -> Config {
    Config {
        topology: topology.parse().unwrap(),
        gateway_ring: 4,
        input_ring: 8,
        event_ring: 4,
        batch: 3,
        ..Config::default()
    }
}
