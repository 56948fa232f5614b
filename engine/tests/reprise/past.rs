//! A thousand moments of a long random run, each as the naive model saw it: balances, holds, books with queue order.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    journal::Durability,
    pipeline::Inline,
    recovery::Timeline,
    types::{Cause, Sequence, Side, Timestamp},
};

use crate::model::{
    ModelExchange,
    streams::{Kind, Random, Stream},
};

const COMMANDS: u64 = 20_000;
const MOMENTS: usize = 1_000;

#[test]
fn a_thousand_moments_are_as_the_model_saw_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(9);
    let mut moments = BTreeSet::new();
    while moments.len() < MOMENTS {
        moments.insert(random.between(1, COMMANDS));
    }
    let mut inline = Inline::open(directory.path(), Durability::None).unwrap();
    let (mut model, mut stream) = (ModelExchange::new(), Stream::new(Kind::Random, 3));
    let mut pictures: BTreeMap<u64, ModelExchange> = BTreeMap::new();
    for sequence in 1..=COMMANDS {
        let command = stream.next(&model);
        let time = Timestamp(1_000 + sequence);
        inline.submit_at(time, Cause::session(1), command).unwrap();
        model.apply(Sequence(sequence), time, &command);
        if moments.contains(&sequence) {
            pictures.insert(sequence, model.clone());
        }
    }
    inline.close().unwrap();

    let timeline = Timeline::open(directory.path()).unwrap();
    let mut replay = timeline.replay().unwrap();
    for (sequence, picture) in pictures {
        replay.run_to(Sequence(sequence)).unwrap();
        compare(&picture, replay.exchange(), sequence);
    }
}

fn compare(model: &ModelExchange, exchange: &engine::exchange::Exchange, sequence: u64) {
    let accounts: Vec<_> = exchange.accounts().map(|view| (view.account, view.suspended)).collect();
    let expected: Vec<_> = model.accounts.iter().map(|(id, known)| (*id, known.suspended)).collect();
    assert_eq!(accounts, expected, "accounts at {sequence}");
    for (&account, known) in &model.accounts {
        for &asset in model.assets.keys() {
            let balance = exchange.risk().balance(account, asset);
            let expected = known.balances.get(&asset).copied().unwrap_or_default();
            let found = (u128::from(balance.available.0), u128::from(balance.held.0));
            assert_eq!(found, (expected.available, expected.held), "{account} {asset} at {sequence}");
        }
    }
    for (&market, known) in &model.markets {
        for side in [Side::Buy, Side::Sell] {
            let queue = exchange.queue(market, side);
            let found: Vec<_> = queue
                .map(|order| (order.order, order.account, u128::from(order.price.0), u128::from(order.quantity.0)))
                .collect();
            let expected: Vec<_> =
                known.side(side).iter().map(|order| (order.id, order.account, order.price, order.open)).collect();
            assert_eq!(found, expected, "{market} {side} at {sequence}");
        }
    }
}
