//! A gateway of one's own: one thread submits, another receives what came of it, in the manner of a session that
//! speaks some protocol to its users.
//!
//! `cargo run --release -p engine --example own_gateway`

use std::{collections::HashMap, thread};

use engine::{
    command::Command,
    event::Event,
    pipeline::{Config, Events, Pipeline, SubmitError, Subscription},
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, Price, Quantity,
        Side,
    },
};

const ORDERS: u64 = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipeline = Pipeline::in_memory(Config::default())?;
    let (base, quote, market, account) = (AssetId(0), AssetId(1), MarketId(0), AccountId(1));
    let mut operator = pipeline.operator(Cause::operator(1))?;
    for command in [
        Command::AddAsset { asset: base, symbol: "BTC".parse()?, scale: 8 },
        Command::AddAsset { asset: quote, symbol: "KRW".parse()?, scale: 0 },
        Command::AddMarket {
            market,
            base,
            quote,
            lot_size: Amount(10_000),
            tick_value: Amount(1),
            maker_rate: FeeRate(0),
            taker_rate: FeeRate(5),
        },
        Command::CreateAccount { account },
        Command::Deposit { account, asset: quote, amount: Amount(1 << 40), external_id: ExternalId::from_u128(1) },
    ] {
        operator.execute(command)?;
    }

    // Its own ring, and only the events of its own commands.
    let mut gateway = pipeline.gateway(Cause::session(7))?;
    let own = Subscription { events: Events::OfGateway(gateway.id()), ..Subscription::default() };
    let mut outcomes = pipeline.subscribe(own)?;

    let sender = thread::spawn(move || {
        for number in 1..=ORDERS {
            let command = Command::PlaceLimit {
                account,
                market,
                side: Side::Buy,
                limit_type: LimitType::PostOnly,
                price: Price(1 + number % 50),
                quantity: Quantity(1 + number % 3),
                client_order_id: ClientOrderId(number),
            };
            // Busy means that the exchange takes less than is sent: a real gateway might also tell its user.
            while let Err(refused) = gateway.submit(command) {
                assert_eq!(refused, SubmitError::Busy);
                thread::yield_now();
            }
        }
    });

    let mut answers: HashMap<&str, u64> = HashMap::new();
    let mut answered = 0;
    while answered < ORDERS {
        let published = outcomes.next()?;
        *answers
            .entry(match published.event.event {
                Event::OrderAccepted { .. } => "accepted",
                Event::Refused { reason, .. } => reason.name(),
                _ => "other",
            })
            .or_default() += 1;
        answered += u64::from(published.last);
    }
    sender.join().expect("the sender does not panic");

    let latency = pipeline.latency()?.end_to_end;
    println!("{ORDERS} orders answered: {answers:?}");
    println!("end to end p50 {} ns, p99 {} ns", latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
    println!("best bid {:?}", pipeline.book(market, 1)?.1.map(|book| book.bids));
    pipeline.shutdown()?;
    Ok(())
}
