//! An incident from its commands to its page: what recovery finds is what a reader is told.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    command::{Command, SequencedCommand},
    recovery::{
        ComparisonError, Edits, History as _, Outcome, Recorded, Strategy, Suspects, evaluate, outcome,
        report::{BalanceChange, IncidentReport},
        trace,
    },
    types::{
        AccountId, Amount, AssetId, Cause, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, Price, Quantity,
        Sequence, Side, Timestamp, TradingStatus,
    },
};

const BTC: AssetId = AssetId(0);
const USD: AssetId = AssetId(1);
const MARKET: MarketId = MarketId(0);
const LUCKY: AccountId = AccountId(1);
const BUYER: AccountId = AccountId(2);
const SELLER: AccountId = AccountId(3);
const FRIEND: AccountId = AccountId(4);
const MISTAKE: Sequence = Sequence(13);

fn deposit(account: AccountId, asset: AssetId, amount: u64, number: u128) -> Command {
    Command::Deposit { account, asset, amount: Amount(amount), external_id: ExternalId::from_u128(number) }
}

fn limit(account: AccountId, side: Side, price: u64, quantity: u64) -> Command {
    Command::PlaceLimit {
        account,
        market: MARKET,
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(price),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    }
}

/// 620 BTC are credited to one who sells 0.5 of them and passes 2 on.
fn incident() -> Recorded {
    let (lot_size, tick_value, rate) = (Amount(10_000), Amount(1), FeeRate(0));
    let symbol = |text: &str| text.parse().expect("a symbol");
    let commands = [
        Command::AddAsset { asset: BTC, symbol: symbol("BTC"), scale: 8 },
        Command::AddAsset { asset: USD, symbol: symbol("USD"), scale: 6 },
        Command::AddMarket {
            market: MARKET,
            base: BTC,
            quote: USD,
            lot_size,
            tick_value,
            maker_rate: rate,
            taker_rate: rate,
        },
        Command::CreateAccount { account: LUCKY },
        Command::CreateAccount { account: BUYER },
        Command::CreateAccount { account: SELLER },
        Command::CreateAccount { account: FRIEND },
        deposit(BUYER, USD, 100_000_000_000, 1),
        deposit(SELLER, BTC, 100_000_000, 2),
        limit(BUYER, Side::Buy, 6_000_000, 5_000),
        limit(SELLER, Side::Sell, 6_000_000, 1_000),
        limit(BUYER, Side::Buy, 3_000_000, 5_000),
        deposit(LUCKY, BTC, 62_000_000_000, 3),
        limit(LUCKY, Side::Sell, 6_000_000, 4_000),
        limit(LUCKY, Side::Sell, 3_000_000, 1_000),
        Command::Transfer { from: LUCKY, to: FRIEND, asset: BTC, amount: Amount(200_000_000) },
        limit(SELLER, Side::Sell, 6_100_000, 1_000),
        Command::SetGlobalStatus { status: TradingStatus::Frozen },
    ];
    let sequenced = (1_u64..).zip(commands).map(|(number, command)| SequencedCommand {
        sequence: Sequence(number),
        time: Timestamp(number * 1_000_000_000),
        cause: Cause::operator(1),
        command,
    });
    Recorded::new(sequenced.collect())
}

#[test]
fn a_page_says_what_recovery_found() {
    let history = incident();
    let halt = Sequence(history.commands().len() as u64);
    let found = trace(&history, halt, &Suspects::Sequences(BTreeSet::from([MISTAKE])), &|_| ()).expect("a trace");
    let credited = found.credited_accounts();
    assert_eq!(credited, BTreeSet::from([LUCKY]));
    // All flows by hop are what they are one by one.
    let mut sums = BTreeMap::new();
    for flow in &found.flows {
        sums.entry((flow.asset, flow.hop, flow.kind)).or_insert(Amount::ZERO).0 += flow.amount.0;
    }
    assert_eq!(sums, found.hops);

    let mut edits = Edits::default();
    edits.dropped.insert(MISTAKE, Some("typed in; nothing arrived".to_owned()));
    let excise = Strategy::Excise(edits.clone());
    let strategies = [
        Strategy::Rewind { cut: Sequence(999) },
        excise.clone(),
        Strategy::Bust(edits.clone()),
        Strategy::Compensate { edits, payments: Vec::new() },
    ];
    let outcomes: Vec<Result<Outcome, ComparisonError>> =
        strategies.iter().map(|strategy| outcome(&history, halt, strategy, &credited, &|_| ())).collect();
    let chosen = outcomes[1].as_ref().expect("an outcome");
    let branch = evaluate(&history, halt, &excise, &|_| ()).expect("a branch");

    let mut report = IncidentReport::new("The wrong airdrop", &history.state_at(halt).expect("a state"));
    report.add_trace(&found);
    let rows = strategies.iter().zip(&outcomes).map(|(strategy, outcome)| (strategy.name(), outcome.as_ref()));
    report.add_outcomes(rows, Some("excise"));
    report.add_diff(&chosen.diff, &credited);
    report.add_prices(&found, Some(&branch));

    // A lot of 0.0001 BTC at 60,000 is worth 6 dollars.
    let valuation = report.valuation.as_ref().expect("the market has a price");
    assert_eq!((valuation.asset, valuation.worth(BTC, 10_000)), (USD, Some(6_000_000)));
    assert_eq!(report.movers.len(), 1);
    assert_eq!(report.strategies.iter().filter(|row| row.refused.is_some()).count(), 1, "the cut is in the future");
    let innocent = |change: &BalanceChange| !credited.contains(&change.account);
    assert!(report.innocent_changes.iter().all(innocent) && !report.changes.iter().any(innocent));
    assert_eq!(report.innocent_changes_total, report.innocent_changes.len() as u64);
    let prices = &report.prices[0];
    assert_eq!((prices.market, prices.happened.len()), (MARKET, 2));
    assert_eq!(prices.repaired.as_deref().map(<[_]>::len), Some(0), "both trades of the credit are void");

    let page = report.to_html();
    let told = [
        "620 BTC credited",
        "99.6 % still there",
        "<td class=\"number\">0.5</td>",
        "at sequence 13, to 1 account;",
        "transferred",
        "27,000 USD",
        &chosen.state_hash.to_string(),
        "<b>rewind</b> cannot be computed",
        "a trade is void",
        "the credit is taken back",
        "Flow of funds",
        "30,000 at its lowest",
        "BTC/USD</b> before",
    ];
    let missing: Vec<_> = told.iter().filter(|text| !page.contains(**text)).collect();
    if let Ok(path) = std::env::var("REPORT_PAGE") {
        report.write_file(path).expect("written");
    }
    assert_eq!(missing, Vec::<&&str>::new());
}
