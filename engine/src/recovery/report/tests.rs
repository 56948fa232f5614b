//! Pages are well formed and escaped, whatever is on them.

use super::*;
use crate::{
    exchange::{BookView, LevelView, OrderView, Withdrawal, WithdrawalState},
    recovery::{CreditRow, Flow, FlowKind, OrderChange, OrderFate, PricePoint, Reason, WithdrawalChange},
    types::{
        AccountId, Amount, AssetId, AssetSpec, ClientOrderId, ExternalId, FeeRate, MarketId, MarketSpec, OrderId,
        Price, Quantity, Sequence, Side, Timestamp, TradingStatus, WithdrawalId,
    },
};

/// Walks the tags: each that is opened is closed, in order; attributes are quoted, ids stand once and links find them.
fn check_well_formed(page: &str) {
    const VOID: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    let (head, rest) = page.split_once("<style>").expect("a style sheet");
    let (style, rest) = rest.split_once("</style>").expect("the style sheet ends");
    assert!(!style.contains('<'), "the style sheet has no markup");
    assert_eq!(style.matches('{').count(), style.matches('}').count(), "every brace is closed");
    let body = format!("{head}{rest}");
    let mut open: Vec<&str> = Vec::new();
    let (mut ids, mut links) = (Vec::new(), Vec::new());
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("<{piece} does not end"));
        assert!(!text.contains('>'), "a bare > behind <{tag}>");
        for entity in text.split('&').skip(1) {
            let (name, _) = entity.split_once(';').unwrap_or_else(|| panic!("a bare & behind <{tag}>"));
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&name), "&{name}; behind <{tag}>");
        }
        let name = tag.trim_end_matches('/').split_whitespace().next().expect("a tag has a name");
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in <{tag}>");
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        for (place, _) in tag.match_indices('=') {
            let quoted = tag[..place].matches('"').count() % 2 == 1;
            assert!(quoted || tag[place + 1..].starts_with('"'), "an attribute without quotes in <{tag}>");
        }
        let attribute =
            |name: &str| tag.split_once(name).and_then(|(_, rest)| rest.split_once('"')).map(|(value, _)| value);
        ids.extend(attribute(" id=\""));
        links.extend(attribute(" href=\"#"));
    }
    assert_eq!(open, Vec::<&str>::new(), "everything is closed");
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "an id stands once");
    links.iter().for_each(|link| assert!(ids.contains(link), "nothing is at #{link}"));
    for forbidden in ["<script", "http", "url(", "@import", "src=", "NaN", "inf ", "inf\"", "\u{202e}"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

const EVIL: &str = "<script>alert(\"x\")</script> & 'more' \u{202e}";

fn units() -> Units {
    let asset = |number, symbol: &str| AssetSpec {
        asset: AssetId(number),
        symbol: symbol.parse().expect("a symbol"),
        scale: 8,
    };
    let market = MarketSpec {
        market: MarketId(0),
        base: AssetId(0),
        quote: AssetId(1),
        lot_size: Amount(10_000),
        tick_value: Amount(1),
        maker_rate: FeeRate(0),
        taker_rate: FeeRate(0),
    };
    Units { assets: vec![asset(0, "BTC"), asset(1, "USD")], markets: vec![market] }
}

fn credit(asset: u16, amount: u64) -> CreditRow {
    CreditRow {
        sequence: Sequence(9),
        account: AccountId(1),
        asset: AssetId(asset),
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
    }
}

fn strategy(name: &str, refused: Option<&str>, amount: u64) -> StrategyRow {
    StrategyRow {
        name: name.to_owned(),
        chosen: refused.is_none(),
        refused: refused.map(str::to_owned),
        accounts_changed: amount,
        trades_voided: amount,
        trades_new: amount,
        shortfall: vec![(AssetId(0), Amount(amount)), (AssetId(77), Amount(1))],
        unbacked: (0..9).map(|asset| (AssetId(asset), Amount(amount))).collect(),
        fee_delta: vec![(AssetId(1), -i128::from(amount))],
        worth: Some((AssetId(1), Amount(amount))),
        state_hash: "ab".repeat(32),
        sound: true,
        seconds: 0.25,
        ..StrategyRow::default()
    }
}

fn books(amount: u64) -> Vec<BookChange> {
    let level = |price: u64| LevelView { price: Price(price), quantity: Quantity(amount), orders: 3 };
    let book = |bids: Vec<LevelView>, asks: Vec<LevelView>| BookView {
        market: MarketId(0),
        status: TradingStatus::Open,
        bids,
        asks,
    };
    let far = u64::MAX - 1;
    vec![
        BookChange {
            before: book(vec![level(99), level(98)], vec![level(101)]),
            after: book(vec![], vec![level(102), level(amount.max(103))]),
        },
        BookChange { before: book(vec![level(1)], vec![level(far)]), after: book(vec![], vec![]) },
        BookChange { before: book(vec![], vec![]), after: book(vec![], vec![]) },
    ]
}

/// A report in which there is everything, with amounts of this size.
fn full(amount: u64) -> IncidentReport {
    let point = |number: u64| PricePoint {
        sequence: Sequence(number),
        time: Timestamp(number * 1_000_000),
        price: Price((amount / (1 + number % 7)).max(1)),
    };
    let change = BalanceChange {
        account: AccountId(3),
        asset: AssetId(0),
        before: Amount(amount),
        after: Amount(0),
        reason: EVIL.to_owned(),
    };
    let order = OrderView {
        order: OrderId(u64::MAX),
        client_order_id: ClientOrderId(0),
        account: AccountId(4),
        market: MarketId(0),
        side: Side::Sell,
        price: Price(amount),
        quantity: Quantity(amount),
    };
    let withdrawal = Withdrawal {
        account: AccountId(4),
        asset: AssetId(1),
        amount: Amount(amount),
        state: WithdrawalState::Sent,
        external_id: ExternalId::default(),
        shortfall: Amount(amount),
    };
    let flow = |hop, kind| Flow {
        from: AccountId(1),
        to: AccountId::EXTERNAL,
        asset: AssetId(0),
        kind,
        hop,
        amount: Amount(amount),
    };
    IncidentReport {
        title: EVIL.to_owned(),
        lead: EVIL.to_owned(),
        facts: vec![Fact::new(EVIL, EVIL)],
        units: units(),
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
        credits: vec![credit(0, amount), credit(1, amount)],
        movers: vec![credit(0, amount)],
        movers_total: 1,
        flows: (0..30).map(|hop| flow(hop, FlowKind::Withdrawn)).collect(),
        hops: [FlowKind::Sold, FlowKind::Withdrawn, FlowKind::Fee, FlowKind::Transferred]
            .into_iter()
            .flat_map(|kind| {
                (1..=9).map(move |hop| HopRow { asset: AssetId(0), hop, kind, amount: Amount(amount / 90) })
            })
            .collect(),
        holders: (0..=u8::MAX)
            .map(|hop| HolderRow { asset: AssetId(0), hop, accounts: amount, amount: Amount(amount / 300) })
            .collect(),
        valuation: Some(Valuation::new(AssetId(1), [(&units().markets[0], Price(amount))])),
        traced: Some(TraceFigures { recipients: amount, ..TraceFigures::default() }),
        strategies: vec![
            strategy("bust", None, amount),
            strategy("excise", None, amount),
            strategy("rewind", Some(EVIL), amount),
        ],
        reason: EVIL.to_owned(),
        changes: vec![change.clone()],
        changes_total: 1,
        innocent_changes: vec![change],
        innocent_changes_total: amount,
        orders: [OrderFate::Restored, OrderFate::Lost, OrderFate::Requeued]
            .map(|fate| OrderChange {
                order,
                before: Quantity(amount),
                after: Quantity::ZERO,
                fate,
                reason: Reason::NotFunded,
            })
            .to_vec(),
        orders_total: amount,
        withdrawals: vec![WithdrawalChange {
            withdrawal: WithdrawalId(7),
            account: AccountId(4),
            before: None,
            after: Some(withdrawal),
            reason: Reason::Owes,
        }],
        withdrawals_total: 1,
        debts: vec![(AccountId(4), AssetId(0), Amount(0), Amount(amount))],
        debts_total: amount,
        books: books(amount),
        latency: vec![LatencyRow { name: EVIL.to_owned(), nanoseconds: [amount; 6] }],
        checks: vec![
            Check { what: EVIL.to_owned(), value: EVIL.to_owned(), holds: true },
            Check { what: "other".to_owned(), value: String::new(), holds: false },
        ],
    }
}

#[test]
fn every_page_is_well_formed_and_escaped() {
    for amount in [0, 1, 123_456_789, u64::MAX >> 1, u64::MAX] {
        let page = full(amount).to_html();
        check_well_formed(&page);
        assert!(page.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;more&#39;"));
        let sections = [
            "What happened",
            "Prices through the incident",
            "Where the money went",
            "Ways to repair it",
            "What the repair changes",
            "Order books before and after",
            "From halt to reopened",
            "Proof",
            "Latencies",
            "Particulars",
        ];
        for section in sections {
            assert!(page.contains(&format!("<h2>{section}</h2>")), "{section}");
        }
        assert!(page.contains("10 h 30 min") && page.contains("27 h") && page.contains("FAILS"));
    }
}

#[test]
fn what_is_empty_is_not_shown() {
    let page = IncidentReport { title: "Nothing".to_owned(), ..IncidentReport::default() }.to_html();
    check_well_formed(&page);
    for absent in ["<h2>", "<table", "<svg", "<nav", "<dl"] {
        assert!(!page.contains(absent), "{absent}");
    }
    // Each part by itself, and without any units: nothing leans on another being there.
    let all = full(1_000);
    let some = IncidentReport {
        credits: all.credits.clone(),
        flows: all.flows,
        prices: all.prices,
        books: all.books,
        ..IncidentReport::default()
    };
    check_well_formed(&some.to_html());
    let only = IncidentReport { credits: all.credits[..1].to_vec(), ..IncidentReport::default() };
    let page = only.to_html();
    check_well_formed(&page);
    assert!(page.contains("Flow of funds") && page.contains("1,000 asset 0"), "one asset needs no price to be drawn");
}

#[test]
fn durations_that_are_no_numbers_do_no_harm() {
    let mut report = full(7);
    for milliseconds in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
        report.phases[0].milliseconds = milliseconds;
        report.elapsed_seconds = Some(milliseconds);
        check_well_formed(&report.to_html());
    }
}

#[test]
fn amounts_are_told_to_the_last_unit_and_a_row_that_does_not_sum_is_told_as_such() {
    let mut report = full(3_000_000_000_001);
    assert!(report.to_html().contains("30,000.00000001 BTC credited"));
    assert!(!report.to_html().contains("DIFFERS"));
    report.credits[0].available = Amount(1);
    assert!(report.to_html().contains("DIFFERS"));
}

#[test]
fn what_is_worth_most_comes_first() {
    let valuation = Valuation::new(AssetId(1), [(&units().markets[0], Price(50))]);
    assert_eq!(valuation.worth(AssetId(0), 20_000), Some(100), "two lots at fifty ticks of one minor unit");
    assert_eq!(valuation.worth(AssetId(1), 7), Some(7));
    assert_eq!(valuation.worth(AssetId(2), 7), None);
    assert_eq!(valuation.worth(AssetId(0), u128::MAX), Some(u128::MAX / 10_000 * 50), "too much for the product");
    // A lot of BTC is worth less than a minor unit's thousandth here: USD stands first.
    let report = IncidentReport { credits: vec![credit(0, 5_000), credit(1, 5_000)], units: units(), ..full(0) };
    let report = IncidentReport { valuation: Some(valuation), ..report };
    let page = report.to_html();
    let (usd, btc) = (page.find("0.00005 USD credited"), page.find("0.00005 BTC credited"));
    assert!(usd.is_some() && usd < btc, "{usd:?} {btc:?}");
}
