//! How fast a branch is computed, beside the same commands applied in line. It prints what it measures, for
//! `RUN_SLOW_TESTS=1 cargo test --release -p engine --test branches speed -- --nocapture`; in the ordinary run it is small and
//! shows only that a long history goes through.

use std::time::{Duration, Instant};

use engine::{
    command::{Command, SequencedCommand},
    event::NoEvents,
    exchange::Exchange,
    recovery::{Edits, Recorded, Strategy, evaluate},
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId, Price,
        Quantity, Sequence, Side, Timestamp, TradingStatus,
    },
};

use super::model::streams::Random;

const ACCOUNTS: u32 = 20_000;
const MARKETS: u16 = 20;
const QUOTE: AssetId = AssetId(0);

/// Orders around a price that wanders, of which half are cancelled later: some 0.4 fills a command.
fn long_history(commands: usize) -> (Vec<SequencedCommand>, Sequence, Sequence) {
    let mut random = Random::new(7);
    let mut list: Vec<Command> = Vec::with_capacity(commands + 1);
    for asset in 0..=MARKETS {
        let symbol = format!("A{asset}").parse().expect("a symbol");
        list.push(Command::AddAsset { asset: AssetId(asset), symbol, scale: 0 });
    }
    for market in 0..MARKETS {
        list.push(Command::AddMarket {
            market: MarketId(market),
            base: AssetId(market + 1),
            quote: QUOTE,
            lot_size: Amount(1),
            tick_value: Amount(1),
            maker_rate: FeeRate(50),
            taker_rate: FeeRate(100),
        });
    }
    let mut external_id = 0;
    let mut deposit = |account: u32, asset: u16, amount: u64| {
        external_id += 1;
        let external_id = ExternalId::from_u128(external_id);
        Command::Deposit { account: AccountId(account), asset: AssetId(asset), amount: Amount(amount), external_id }
    };
    for account in 1..=ACCOUNTS {
        list.push(Command::CreateAccount { account: AccountId(account) });
        list.push(deposit(account, 0, 100_000_000_000));
        list.push(deposit(account, 1 + (account % u32::from(MARKETS)) as u16, 1_000_000_000));
    }
    // One more deposit, which nobody made.
    let bad = Sequence(list.len() as u64 + 1);
    list.push(deposit(1, 0, 1_000_000_000));
    let mut open: Vec<(AccountId, OrderId)> = Vec::new();
    let mut middle = [10_000_u64; MARKETS as usize];
    while list.len() < commands {
        if open.len() > 1_000 && random.one_in(3) {
            let index = random.below(open.len() as u64) as usize;
            let (account, order) = open.swap_remove(index);
            list.push(Command::CancelOrder { account, order });
            continue;
        }
        let account = AccountId(random.between(1, ACCOUNTS.into()) as u32);
        let buys = random.one_in(2);
        let market = if buys { random.below(MARKETS.into()) as u16 } else { (account.0 % u32::from(MARKETS)) as u16 };
        let price = &mut middle[usize::from(market)];
        *price = (*price + random.below(3)).clamp(5_001, 19_999) - 1;
        let away = random.below(8);
        let price = if buys { *price + 2 - away.min(7) } else { *price - 2 + away };
        let (side, limit_type) = (if buys { Side::Buy } else { Side::Sell }, LimitType::GoodTillCancel);
        let quantity = Quantity(random.between(1, 50));
        open.push((account, OrderId(list.len() as u64 + 1)));
        let (market, price, client_order_id) = (MarketId(market), Price(price), ClientOrderId(0));
        list.push(Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id });
    }
    list.push(Command::SetGlobalStatus { status: TradingStatus::Frozen });
    let sequenced = (1..).zip(list).map(|(sequence, command)| {
        let (time, cause) = (Timestamp(sequence * 1_000), Cause::session(1));
        SequencedCommand { sequence: Sequence(sequence), time, cause, command }
    });
    let sequenced: Vec<_> = sequenced.collect();
    let halt = Sequence(sequenced.len() as u64);
    (sequenced, bad, halt)
}

#[test]
fn a_branch_keeps_up_with_its_parent() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let (commands, bad, halt) = long_history(if slow { 5_000_000 } else { 90_000 });
    let history = Recorded::new(commands);
    let behind = halt.0 - bad.0 + 1;
    let rate = |took: Duration| behind as f64 / took.as_secs_f64() / 1e6;

    let mut in_line = Duration::MAX;
    let mut hash = None;
    for _ in 0..if slow { 3 } else { 1 } {
        let mut exchange = Exchange::new();
        let (before, behind) = history.commands().split_at(bad.0 as usize - 1);
        before.iter().for_each(|c| exchange.apply(c.sequence, c.time, &c.command, &mut NoEvents));
        let start = Instant::now();
        behind.iter().for_each(|c| exchange.apply(c.sequence, c.time, &c.command, &mut NoEvents));
        in_line = in_line.min(start.elapsed());
        hash = Some(exchange.state_hash());
    }
    println!("{behind} commands in line: {:.2} s, {:.2} M/s", in_line.as_secs_f64(), rate(in_line));

    let mut edits = Edits::drop_sequences([]);
    edits.dropped.insert(bad, Some("nobody made it".to_owned()));
    let cut = Sequence(bad.0 - 1);
    let payments = Vec::new();
    for strategy in [
        Strategy::Excise(edits.clone()),
        Strategy::Rewind { cut },
        Strategy::Bust(edits.clone()),
        Strategy::Compensate { edits, payments },
    ] {
        let mut best = Duration::MAX;
        for _ in 0..if slow { 3 } else { 1 } {
            // From the first report of progress, when the past up to the cut has been made, to the end, which walks the whole
            // state once for its invariants.
            let first = std::sync::OnceLock::new();
            let branch = evaluate(&history, halt, &strategy, &|_| {
                first.get_or_init(Instant::now);
            });
            let branch = branch.unwrap_or_else(|error| panic!("{strategy}: {error}"));
            best = best.min(first.get().expect("there was progress").elapsed());
            assert_eq!(Some(branch.parent.state_hash()), hash);
        }
        let part = in_line.as_secs_f64() / best.as_secs_f64() * 100.0;
        println!("{:>10}: {:.2} s, {:.2} M/s, {part:.0} % of in line", strategy.name(), best.as_secs_f64(), rate(best));
    }
}
