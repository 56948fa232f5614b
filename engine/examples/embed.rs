//! An exchange embedded in 30 lines: open it on a directory, trade, look at an account, shut down.
//!
//! `cargo run --release -p engine --example embed [DIRECTORY]`

use engine::{
    command::Command,
    pipeline::{Config, Pipeline},
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, Price, Quantity,
        Side,
    },
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let default = || std::env::temp_dir().join("embedded-exchange");
    let directory = std::env::args_os().nth(1).map_or_else(default, Into::into);
    let pipeline = Pipeline::open(&directory, Config::default())?;
    println!("{}: {} commands replayed", directory.display(), pipeline.recovered().commands);

    let (btc, usd, market, alice, bob) = (AssetId(0), AssetId(1), MarketId(0), AccountId(1), AccountId(2));
    let deposit = |account, asset, amount, number| {
        let external_id = ExternalId::from_u128(number);
        Command::Deposit { account, asset, amount: Amount(amount), external_id }
    };
    let limit = |account, side| Command::PlaceLimit {
        account,
        market,
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(6_000_000),
        quantity: Quantity(15),
        client_order_id: ClientOrderId(0),
    };
    let (lot_size, tick_value) = (Amount(10_000), Amount(1));
    let (maker_rate, taker_rate) = (FeeRate(10), FeeRate(20));
    let mut operator = pipeline.operator(Cause::operator(1))?;
    for command in [
        Command::AddAsset { asset: btc, symbol: "BTC".parse()?, scale: 8 },
        Command::AddAsset { asset: usd, symbol: "USD".parse()?, scale: 6 },
        Command::AddMarket { market, base: btc, quote: usd, lot_size, tick_value, maker_rate, taker_rate },
        Command::CreateAccount { account: alice },
        Command::CreateAccount { account: bob },
        deposit(alice, usd, 1_000_000_000, 1),
        deposit(bob, btc, 100_000_000, 2),
        limit(bob, Side::Sell),
        limit(alice, Side::Buy),
    ] {
        // Each is durable when it is printed. Run it twice: what exists already is refused, the orders trade again.
        for event in operator.execute(command)? {
            println!("{} {:?}", event.sequence, event.event);
        }
    }
    let (sequence, account) = pipeline.account(alice)?;
    println!("at sequence {sequence}: {account:?}");
    println!("state {}", pipeline.shutdown()?.exchange.state_hash());
    Ok(())
}
