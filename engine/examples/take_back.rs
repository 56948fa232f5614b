//! Taking back a mistake on an exchange that runs: a payout nobody meant, trades on it, a freeze, a trace, the strategies side by
//! side, two signatures, a new epoch, and trade goes on.
//!
//! `cargo run --release -p engine --example take_back`

use std::collections::BTreeSet;

use engine::{
    command::Command,
    pipeline::{Config, Pipeline},
    recovery::{Approval, Edits, SecretKey, Strategy, Suspects, Timeline, make_plan, outcome, trace},
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OperatorId, Price,
        Quantity, Sequence, Side, Timestamp, TradingStatus,
    },
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("taken-back-{}", std::process::id()));
    let pipeline = Pipeline::open(&directory, Config::default())?;
    let mut operator = pipeline.operator(Cause::operator(1))?;

    // An exchange, two operators with keys, and three people.
    let (btc, usd, market) = (AssetId(0), AssetId(1), MarketId(0));
    let (anna, ben, nobody) = (OperatorId(1), OperatorId(2), OperatorId(0));
    let keys = [SecretKey::generate()?, SecretKey::generate()?];
    let (lucky, buyer, seller) = (AccountId(1), AccountId(2), AccountId(3));
    let deposit = |account, asset, amount, number| {
        let external_id = ExternalId::from_u128(number);
        Command::Deposit { account, asset, amount: Amount(amount), external_id }
    };
    let limit = |account, side, price, quantity| Command::PlaceLimit {
        account,
        market,
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(price),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    };
    let (lot_size, tick_value, rate) = (Amount(10_000), Amount(1), FeeRate(10));
    let status = |status| Command::SetGlobalStatus { status };
    let mut mistake = Sequence(0);
    for command in [
        Command::AddAsset { asset: btc, symbol: "BTC".parse()?, scale: 8 },
        Command::AddAsset { asset: usd, symbol: "USD".parse()?, scale: 6 },
        Command::AddMarket { market, base: btc, quote: usd, lot_size, tick_value, maker_rate: rate, taker_rate: rate },
        Command::RegisterOperator { operator: anna, key: keys[0].public(), first: nobody, second: nobody },
        Command::RegisterOperator { operator: ben, key: keys[1].public(), first: nobody, second: nobody },
        Command::CreateAccount { account: lucky },
        Command::CreateAccount { account: buyer },
        Command::CreateAccount { account: seller },
        deposit(buyer, usd, 100_000_000_000, 1),
        deposit(seller, btc, 100_000_000, 2),
        limit(buyer, Side::Buy, 6_000_000, 5_000),
        limit(seller, Side::Sell, 6_100_000, 5_000),
        // 620 BTC, and it should have been 620 USD. Nobody sent them: the credit was typed in.
        deposit(lucky, btc, 62_000_000_000, 3),
        limit(lucky, Side::Sell, 5_900_000, 5_000),
    ] {
        let events = operator.execute(command)?;
        println!("{} {}", events[0].sequence, events[0].event.kind_name());
        if matches!(command, Command::Deposit { account, .. } if account == lucky) {
            mistake = events[0].sequence;
        }
    }

    let halt = pipeline.freeze(Cause::operator(1))?[0].sequence;
    let timeline = Timeline::open(&directory)?;
    let suspects = Suspects::Sequences(BTreeSet::from([mistake]));
    let found = trace(&timeline, halt, &suspects, &|_| ())?;
    for row in &found.credits {
        println!(
            "{}: {} credited, {} available, {} sold for {:?}",
            row.account, row.credited, row.available, row.sold, row.proceeds
        );
    }

    // A deposit is a fact, and stays, unless somebody says why it is none.
    let mut edits = Edits::default();
    edits.dropped.insert(mistake, Some("typed in; nothing arrived".to_owned()));
    let excise = Strategy::Excise(edits.clone());
    let credited = found.credited_accounts();
    for strategy in [
        Strategy::Rewind { cut: Sequence(mistake.0 - 1) },
        excise.clone(),
        Strategy::Bust(edits.clone()),
        Strategy::Compensate { edits, payments: Vec::new() },
    ] {
        match outcome(&timeline, halt, &strategy, &credited, &|_| ()) {
            Ok(it) => println!(
                "{}: {} accounts, {} trades void, state {}",
                it.strategy.name(),
                it.accounts_changed,
                it.trades_voided,
                it.state_hash
            ),
            Err(error) => println!("{}: {error}", strategy.name()),
        }
    }

    let (plan, branch) = make_plan(&timeline, &excise, &|_| ())?;
    let never = Timestamp(u64::MAX);
    let approvals = [Approval::sign(&plan, anna, &keys[0], never)?, Approval::sign(&plan, ben, &keys[1], never)?];
    let applied = pipeline.apply(&plan, branch, &approvals)?;
    println!("epoch {} begins at {} with {} corrections", applied.epoch, applied.sequence, applied.corrections);

    for command in [status(TradingStatus::CancelOnly), status(TradingStatus::Auction), status(TradingStatus::Open)] {
        operator.execute(command)?;
    }
    operator.execute(limit(seller, Side::Sell, 6_000_000, 1_000))?;
    for account in [lucky, buyer, seller] {
        println!("{account}: {:?}", pipeline.account(account)?.1);
    }
    println!("state {}", pipeline.shutdown()?.exchange.state_hash());
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
