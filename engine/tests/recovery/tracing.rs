//! The engine's trace against naive lots: every column of every credit, flows, holders, poison, fills and prices.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    recovery::{self, CreditRow, History, MarketTrace, PricePoint, Suspects, Trace},
    types::{AirdropId, Amount, AssetId, MarketId, Price, Sequence, Side},
};

use crate::{
    compare::ensure,
    history::Incident,
    model::{Market, streams::Random},
    naive::{
        Coverage, Parent,
        lots::{Credit, Lots, Traded},
    },
};

/// What to trace in an incident: what each of its airdrops paid, and sequences at random.
pub fn suspects(incident: &Incident) -> Vec<Suspects> {
    let mut random = Random::new(incident.seed ^ 0x7ACE);
    let marks = &incident.marks;
    let mut all: Vec<_> = marks.airdrops.iter().map(|mark| Suspects::Airdrop(mark.airdrop)).collect();
    let executions = marks.airdrops.iter().map(|mark| mark.execution);
    let credits = executions.chain(marks.deposits.iter().copied()).chain(marks.transfers.iter().copied());
    let credits: Vec<_> = credits.filter(|sequence| *sequence >= marks.first).collect();
    for _ in 0..4 {
        let wanted = random.pick(&[1, 2, 4, 12]);
        let mut sequences = BTreeSet::new();
        for _ in 0..wanted {
            let any = Sequence(random.between(marks.first.0, incident.halt.0));
            sequences.insert(if credits.is_empty() || random.one_in(8) { any } else { random.pick(&credits) });
        }
        sequences.retain(|sequence| *sequence <= incident.halt);
        all.push(Suspects::Sequences(sequences));
    }
    if random.one_in(10) {
        all.push(Suspects::Airdrop(AirdropId(9_999)));
    }
    all
}

/// The commands that must stay for a trace to make sense.
pub fn kept(incident: &Incident, suspects: &Suspects) -> BTreeSet<Sequence> {
    match suspects {
        Suspects::Sequences(sequences) => sequences.clone(),
        Suspects::Airdrop(wanted) => {
            let mark = incident.marks.airdrops.iter().find(|mark| mark.airdrop == *wanted);
            mark.map(|mark| mark.execution).into_iter().collect()
        }
    }
}

/// Compares all that a trace tells.
pub fn compare(parent: &Parent, history: &dyn History, suspects: &Suspects) -> Result<Coverage, String> {
    let mut coverage = Coverage::default();
    let lots = Lots::follow(parent, suspects);
    let trace = match recovery::trace(history, parent.halt, suspects, &|_| {}) {
        Ok(trace) => trace,
        Err(why) => {
            ensure!(lots.credits.is_empty(), "the trace is refused: {why}");
            coverage.saw("trace: nothing was credited");
            return Ok(coverage);
        }
    };
    ensure!(!lots.credits.is_empty(), "nothing was credited, and there is a trace");
    coverage.saw("trace: traces");

    let rows: Vec<_> = trace.credits.iter().map(credit_of).collect();
    ensure!(rows == lots.credits, "credits differ\nmodel:  {:#?}\nengine: {rows:#?}", lots.credits);
    for (number, row) in trace.credits.iter().enumerate() {
        ensure!(row.sums_exactly(), "what became of a credit does not sum to it: {row:?}");
        proceeds(&lots, number, row)?;
        columns(row, &mut coverage);
    }
    totals(&trace)?;
    flows(&trace, &lots, &mut coverage)?;
    let holders: BTreeMap<_, _> = trace
        .holders
        .iter()
        .map(|&(account, asset, hop, amount)| ((account, asset, hop.into()), amount.0.into()))
        .collect();
    ensure!(holders == lots.holders(), "holders differ\nmodel:  {:?}\nengine: {holders:?}", lots.holders());
    ensure!(
        trace.poisoned == lots.poisoned,
        "poison differs\nmodel:  {:?}\nengine: {:?}",
        lots.poisoned,
        trace.poisoned
    );
    if trace.poisoned.len() > trace.credited_accounts().len() {
        coverage.saw("trace: poison spreads");
    }
    window(parent, &trace, suspects)?;
    markets(parent, &trace, &lots, &mut coverage)?;
    Ok(coverage)
}

fn credit_of(row: &CreditRow) -> Credit {
    let wide = |amount: Amount| u128::from(amount.0);
    Credit {
        sequence: row.sequence,
        account: row.account,
        asset: row.asset,
        credited: wide(row.credited),
        available: wide(row.available),
        held: wide(row.held),
        sold: wide(row.sold),
        withdrawn: wide(row.withdrawn),
        transferred: wide(row.transferred),
        fees: wide(row.fees),
        set_off: wide(row.set_off),
    }
}

fn columns(row: &CreditRow, coverage: &mut Coverage) {
    for (column, what) in [
        (row.available, "trace: available"),
        (row.held, "trace: held"),
        (row.sold, "trace: sold"),
        (row.withdrawn, "trace: withdrawn"),
        (row.transferred, "trace: transferred"),
        (row.fees, "trace: fees"),
        (row.set_off, "trace: set off"),
    ] {
        if column > Amount::ZERO {
            coverage.saw(what);
        }
    }
    if row.proceeds_withdrawn.values().any(|amount| *amount > Amount::ZERO) {
        coverage.saw("trace: proceeds withdrawn");
    }
}

/// Bounds are all that can be demanded: see [`Proceeds`](crate::naive::lots::Proceeds).
fn proceeds(lots: &Lots, number: usize, row: &CreditRow) -> Result<(), String> {
    let assets: BTreeSet<AssetId> =
        lots.proceeds.keys().filter(|(of, _)| *of == number).map(|(_, asset)| *asset).collect();
    for asset in assets.iter().chain(row.proceeds.keys()) {
        let told = row.proceeds.get(asset).map_or(0, |amount| u128::from(amount.0));
        let expected = lots.proceeds.get(&(number, *asset)).copied().unwrap_or_default();
        ensure!(
            (expected.at_least..=expected.at_most).contains(&told),
            "proceeds in {asset} are told as {told}, and are {expected:?}: {row:?}"
        );
    }
    for (asset, withdrawn) in &row.proceeds_withdrawn {
        let all = row.proceeds.get(asset).copied().unwrap_or(Amount::ZERO);
        ensure!(*withdrawn <= all, "more proceeds are withdrawn than there were: {row:?}");
    }
    Ok(())
}

fn totals(trace: &Trace) -> Result<(), String> {
    for total in trace.totals() {
        let of_asset = || trace.credits.iter().filter(|row| row.asset == total.asset);
        let sum = |column: fn(&CreditRow) -> Amount| of_asset().map(|row| column(row).0).sum::<u64>();
        let columns: [fn(&CreditRow) -> Amount; 8] = [
            |row| row.credited,
            |row| row.available,
            |row| row.held,
            |row| row.sold,
            |row| row.withdrawn,
            |row| row.transferred,
            |row| row.fees,
            |row| row.set_off,
        ];
        for column in columns {
            ensure!(column(&total).0 == sum(column), "a total is not the sum of its rows: {total:?}");
        }
        ensure!(total.sums_exactly(), "a total does not sum: {total:?}");
    }
    Ok(())
}

fn flows(trace: &Trace, lots: &Lots, coverage: &mut Coverage) -> Result<(), String> {
    let told: BTreeMap<_, u128> = trace
        .flows
        .iter()
        .map(|flow| ((flow.from, flow.to, flow.asset, flow.kind, flow.hop.into()), flow.amount.0.into()))
        .collect();
    let expected: BTreeMap<_, u128> =
        lots.flows.iter().filter(|(_, amount)| **amount > 0).map(|(way, amount)| (*way, *amount)).collect();
    ensure!(told.len() == trace.flows.len(), "a flow is told twice");
    if trace.other_flows.is_empty() {
        ensure!(told == expected, "flows differ\nmodel:  {expected:#?}\nengine: {told:#?}");
    } else {
        coverage.saw("trace: flows are summed up");
        let mut others: BTreeMap<_, u128> = BTreeMap::new();
        for (way, amount) in expected {
            match told.get(&way) {
                Some(told) => ensure!(*told == amount, "the flow {way:?} is {amount}, and told as {told}"),
                None => *others.entry((way.2, way.3)).or_default() += amount,
            }
        }
        let told: BTreeMap<_, u128> = trace.other_flows.iter().map(|(of, amount)| (*of, amount.0.into())).collect();
        ensure!(told == others, "other flows differ\nmodel:  {others:?}\nengine: {told:?}");
    }
    if told.keys().any(|(.., hop)| *hop > 2) {
        coverage.saw("trace: flows over several hops");
    }
    Ok(())
}

fn window(parent: &Parent, trace: &Trace, suspects: &Suspects) -> Result<(), String> {
    let sequences: BTreeSet<_> = match suspects {
        Suspects::Sequences(sequences) => sequences.clone(),
        Suspects::Airdrop(_) => trace.credits.iter().map(|row| row.sequence).collect(),
    };
    let (Some(&first), Some(&last)) = (sequences.first(), sequences.last()) else { unreachable!("there are credits") };
    let at = |wanted: Sequence| {
        let found = parent.commands.iter().find(|at| at.sequence == wanted).expect("it is there");
        (found.sequence, found.time)
    };
    ensure!(
        [trace.first, trace.last, trace.halt] == [first, last, parent.halt].map(at),
        "first, last and halt are {:?}, {:?} and {:?}",
        trace.first,
        trace.last,
        trace.halt
    );
    let commands = parent.halt.0 + 1 - first.0;
    ensure!(trace.commands == commands, "there are {commands} commands, and {} are told", trace.commands);
    Ok(())
}

/// The middle of the best prices, or the one there is.
fn best_price(market: &Market) -> Option<Price> {
    let best = |side: Side| market.side(side).first().map(|order| order.price);
    let price = match (best(Side::Buy), best(Side::Sell)) {
        (Some(bid), Some(ask)) => bid.midpoint(ask),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    Some(Price(crate::history::to_u64(price)))
}

fn markets(parent: &Parent, trace: &Trace, lots: &Lots, coverage: &mut Coverage) -> Result<(), String> {
    let first = trace.first.0;
    let cut = parent.at(Sequence(first.0 - 1));
    let mut by_market: BTreeMap<MarketId, Vec<Traded>> = BTreeMap::new();
    for traded in lots.traded.iter().filter(|traded| traded.sequence >= first) {
        by_market.entry(traded.market).or_default().push(*traded);
    }
    for (&market, traded) in &by_market {
        let found = trace.markets.iter().find(|found| found.market == market);
        let Some(found) = found else { return Err(format!("{market} traded, and is not told")) };
        let time_of =
            |wanted: Sequence| parent.commands.iter().find(|at| at.sequence == wanted).expect("it is there").time;
        let series = traded.iter().map(|traded| PricePoint {
            sequence: traded.sequence,
            time: time_of(traded.sequence),
            price: traded.price,
        });
        let prices = || traded.iter().map(|traded| traded.price);
        let expected = MarketTrace {
            market,
            before: cut.markets.get(&market).and_then(best_price),
            lowest: prices().min().expect("it traded"),
            highest: prices().max().expect("it traded"),
            last: prices().next_back().expect("it traded"),
            fills: traded.len() as u64,
            fills_touched: traded.iter().filter(|traded| traded.touched).count() as u64,
            series: series.collect(),
        };
        ensure!(*found == expected, "{market} differs\nmodel:  {expected:#?}\nengine: {found:#?}");
        coverage.saw("trace: markets");
    }
    ensure!(trace.markets.len() == by_market.len(), "a market is told that did not trade");
    let fills: u64 = trace.markets.iter().map(|market| market.fills).sum();
    let touched: u64 = trace.markets.iter().map(|market| market.fills_touched).sum();
    ensure!((trace.fills, trace.fills_touched) == (fills, touched), "fills are not those of the markets");
    if touched > 0 {
        coverage.saw("trace: fills touched");
    }
    Ok(())
}
