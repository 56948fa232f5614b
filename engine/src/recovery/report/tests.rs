//! Pages are well formed and escaped, whatever is on them.

use super::*;
use crate::{
    exchange::{BookView, LevelView},
    recovery::{CreditRow, Flow, FlowKind, PricePoint},
    types::{
        AccountId, Amount, AssetId, AssetSpec, FeeRate, MarketId, MarketSpec, Price, Quantity, Sequence, Timestamp,
        TradingStatus,
    },
};

/// Walks the tags: each that is opened is closed, in order.
fn check_well_formed(page: &str) {
    const VOID: [&str; 7] = ["meta", "br", "line", "rect", "path", "!DOCTYPE", "hr"];
    let mut open: Vec<&str> = Vec::new();
    let body = page.replace(page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap(), "");
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("<{piece} does not end"));
        assert!(!text.contains('>'), "a bare > behind <{tag}>");
        let name = tag.trim_end_matches('/').split_whitespace().next().unwrap();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in <{tag}>");
        } else if !VOID.contains(&name) {
            assert!(!tag.ends_with('/'), "<{tag}> is not void");
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    for forbidden in ["<script", "http:", "https:", "src=", "NaN", "inf "] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

const EVIL: &str = "<script>alert(\"x\")</script> & 'more' \u{202e}";

fn full(amount: u64) -> IncidentReport {
    let asset = |number, symbol: &str| AssetSpec { asset: AssetId(number), symbol: symbol.parse().unwrap(), scale: 8 };
    let market = MarketSpec {
        market: MarketId(0),
        base: AssetId(0),
        quote: AssetId(1),
        lot_size: Amount(10_000),
        tick_value: Amount(1),
        maker_rate: FeeRate(0),
        taker_rate: FeeRate(0),
    };
    let row = CreditRow {
        sequence: Sequence(9),
        account: AccountId(1),
        asset: AssetId(0),
        credited: Amount(amount),
        available: Amount(amount / 2),
        held: Amount(0),
        sold: Amount(amount - amount / 2),
        withdrawn: Amount(0),
        transferred: Amount(0),
        fees: Amount(0),
        set_off: Amount(0),
        proceeds: [(AssetId(1), Amount(amount))].into(),
        proceeds_withdrawn: [(AssetId(1), Amount(amount / 3))].into(),
    };
    let point = |number: u64| PricePoint {
        sequence: Sequence(number),
        time: Timestamp(number * 1_000_000),
        price: Price(1 + amount / (1 + number % 7)),
    };
    let level = |price: u64| LevelView { price: Price(price), quantity: Quantity(amount), orders: 3 };
    let book = |bids: Vec<LevelView>, asks: Vec<LevelView>| BookView {
        market: MarketId(0),
        status: TradingStatus::Open,
        bids,
        asks,
    };
    let strategy = |name: &str, refused: Option<&str>| StrategyRow {
        name: name.to_owned(),
        chosen: refused.is_none(),
        refused: refused.map(str::to_owned),
        shortfall: vec![(AssetId(0), Amount(amount)), (AssetId(77), Amount(1))],
        fee_delta: vec![(AssetId(1), -i128::from(amount))],
        worth: Some((AssetId(1), Amount(amount))),
        state_hash: "ab".repeat(32),
        sound: true,
        seconds: 0.25,
        ..StrategyRow::default()
    };
    let change = BalanceChange {
        account: AccountId(3),
        asset: AssetId(0),
        before: Amount(amount),
        after: Amount(0),
        reason: EVIL.to_owned(),
    };
    IncidentReport {
        title: EVIL.to_owned(),
        lead: EVIL.to_owned(),
        facts: vec![Fact::new(EVIL, EVIL)],
        units: Units { assets: vec![asset(0, "BTC"), asset(1, "USD")], markets: vec![market] },
        error: Timestamp(5_000_000),
        timeline: vec![Mark::new(Timestamp(1), EVIL), Mark::new(Timestamp(u64::MAX), "late")],
        phases: vec![Phase { name: EVIL.to_owned(), what: EVIL.to_owned(), milliseconds: 12.5, counts: true }],
        elapsed_seconds: Some(3.0),
        references: vec![Reference::coinzest(), Reference::bithumb()],
        prices: vec![PriceChart {
            market: MarketId(0),
            happened: (0..5_000).map(point).collect(),
            repaired: Some((0..1).map(point).collect()),
            reopened: vec![],
        }],
        marks: vec![Mark::new(Timestamp(5_000_000), EVIL), Mark::new(Timestamp(5_000_001), "halt")],
        credits: vec![row],
        flows: (0..30)
            .map(|hop| Flow {
                from: AccountId(1),
                to: AccountId::EXTERNAL,
                asset: AssetId(0),
                kind: FlowKind::Withdrawn,
                hop,
                amount: Amount(amount),
            })
            .collect(),
        traced: Some(TraceFigures { recipients: amount, ..TraceFigures::default() }),
        strategies: vec![strategy("bust", None), strategy("rewind", Some(EVIL))],
        reason: EVIL.to_owned(),
        changes: vec![change.clone()],
        changes_total: 1,
        innocent_changes: vec![change],
        innocent_changes_total: amount,
        books: vec![BookChange {
            before: book(vec![level(99), level(98)], vec![level(101)]),
            after: book(vec![], vec![level(102)]),
        }],
        latency: vec![LatencyRow { name: EVIL.to_owned(), nanoseconds: [amount; 6] }],
        checks: vec![
            Check { what: EVIL.to_owned(), value: EVIL.to_owned(), holds: true },
            Check { what: "other".to_owned(), value: String::new(), holds: false },
        ],
        ..IncidentReport::default()
    }
}

#[test]
fn every_page_is_well_formed_and_escaped() {
    for amount in [0, 1, 123_456_789, u64::MAX >> 1] {
        let page = full(amount).to_html();
        check_well_formed(&page);
        assert!(page.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;more&#39;"));
        for section in ["From halt to reopened", "What happened", "Where the money went", "Ways to repair it", "Proof"]
        {
            assert!(page.contains(&format!("<h2>{section}</h2>")), "{section}");
        }
        assert!(page.contains("10 h 30 min") && page.contains("FAILS"));
    }
}

#[test]
fn what_is_empty_is_not_shown() {
    let page = IncidentReport { title: "Nothing".to_owned(), ..IncidentReport::default() }.to_html();
    check_well_formed(&page);
    assert!(!page.contains("<h2>") && !page.contains("<table"));
}

#[test]
fn axes_have_round_numbers() {
    assert_eq!(charts::ticks(0.0, 10.0, 5), (vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0], 0));
    assert_eq!(charts::ticks(3.0, 3.0, 5), (vec![3.0], 0));
    let (values, places) = charts::ticks(0.101, 0.149, 5);
    assert_eq!((values.len(), places), (4, 2));
}
