//! Risk ahead of the matcher, at times that a test chooses: the outcome is that of the serial machine, whatever has been
//! settled when, also when locks end and debts are paid in between.
//!
//! The pipeline's own tests do the same with threads, on its own clock; here days pass, and a failure can be run again.

#[path = "model/mod.rs"]
mod model;

use std::collections::VecDeque;

use engine::{
    command::Command,
    event::Event,
    exchange::{Decision, Exchange, MatchSink, RecentSettlements, Settlement},
    types::{
        AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId, Price, Quantity,
        Sequence, Side, Timestamp,
    },
};
use model::{
    ModelExchange,
    streams::{Kind, Random, Stream},
};

/// What happened from a state on: commands, with the events that the serial machine makes of them.
struct History {
    begin: Exchange,
    commands: Vec<(Sequence, Timestamp, Command)>,
    events: Vec<Vec<Event>>,
    end: Exchange,
}

/// A stretch of a stream, from its beginning or from behind a recovery.
fn history(kind: Kind, seed: u64, before: u64, count: u64) -> History {
    let (mut model, mut stream) = (ModelExchange::new(), Stream::new(kind, seed));
    let mut next = |model: &mut ModelExchange, sequence: u64| {
        let command = stream.next(model);
        model.apply(Sequence(sequence), kind.time(sequence), &command);
        (Sequence(sequence), kind.time(sequence), command)
    };
    let mut begin = Exchange::new();
    if before > 0 {
        (1..=before).for_each(|sequence| _ = next(&mut model, sequence));
        model.recover(&mut Random::new(seed));
        begin = Exchange::from_canonical_state(&model.canonical_state(), Sequence(before), seed).expect("a state");
    }
    let commands: Vec<_> = (before + 1..=before + count).map(|sequence| next(&mut model, sequence)).collect();
    let mut end = begin.clone();
    let events = commands.iter().map(|(sequence, time, command)| {
        let mut events = Vec::new();
        end.apply(*sequence, *time, command, &mut events);
        events
    });
    let events = events.collect();
    History { begin, commands, events, end }
}

/// What is on its way back to risk.
enum Feedback {
    Settle(Settlement),
    Through(Sequence),
}

struct Sink<'a> {
    events: Vec<Event>,
    feedback: &'a mut VecDeque<Feedback>,
    recent: &'a mut RecentSettlements,
}

impl MatchSink for Sink<'_> {
    fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    fn settle(&mut self, settlement: Settlement) {
        self.recent.note(&settlement);
        self.feedback.push_back(Feedback::Settle(settlement));
    }
}

/// How often risk could not decide alone.
#[derive(Debug, Default)]
struct Undecided {
    /// It waited.
    waits: u64,
    /// It left the decision to the matcher, by what became of it.
    covered: u64,
    refused: u64,
}

/// Runs the halves apart, each going on at random, with `lead` commands between them at the most. Of ten commands that risk
/// could wait for, it leaves so many to the matcher if it can.
fn run_apart(name: &str, history: &History, random: &mut Random, lead: usize, left: u64, count: &mut Undecided) {
    let History { begin, commands, events, end } = history;
    let last = begin.last_sequence();
    let (mut risk, mut matcher) = begin.clone().into_parts();
    let mut decided: VecDeque<Decision> = VecDeque::new();
    let mut feedback = VecDeque::new();
    let mut recent = RecentSettlements::default();
    let (mut next, mut executed, mut settled, mut settlements) = (0, 0, last, 0);
    while executed < commands.len() || !feedback.is_empty() {
        match random.below(4) {
            0 | 1 if next < commands.len() && decided.len() < lead => {
                let (sequence, time, command) = &commands[next];
                match risk.decide(*sequence, *time, command) {
                    Decision::Wait { until } => {
                        assert!(until > settled && until < *sequence, "{name}, {sequence}: waits for {until}");
                        // Asked again, it says the same.
                        assert_eq!(risk.decide(*sequence, *time, command), Decision::Wait { until }, "{name}");
                        let leaves = random.below(10) < left;
                        match leaves.then(|| risk.decide_conditionally(*sequence, command, settlements)).flatten() {
                            Some(decision) => {
                                decided.push_back(decision);
                                next += 1;
                            }
                            None => count.waits += 1,
                        }
                    }
                    decision => {
                        decided.push_back(decision);
                        next += 1;
                    }
                }
            }
            2 => {
                let Some(mut decision) = decided.pop_front() else { continue };
                let (sequence, time, command) = &commands[executed];
                let mut before = None;
                if let Decision::Conditional(conditional) = &decision {
                    let (decided, settled_before) = matcher.decide(conditional, &mut recent);
                    (decision, before) = (decided, Some(settled_before));
                    let is_refused = matches!(decision, Decision::Refuse(_));
                    *(if is_refused { &mut count.refused } else { &mut count.covered }) += 1;
                }
                let mut sink = Sink { events: Vec::new(), feedback: &mut feedback, recent: &mut recent };
                before.into_iter().for_each(|settlement| sink.settle(settlement));
                matcher.execute(*sequence, *time, command, &decision, &mut sink);
                assert_eq!(sink.events, events[executed], "{name}, {sequence}: {command:?}");
                feedback.push_back(Feedback::Through(*sequence));
                executed += 1;
            }
            _ => {
                for _ in 0..random.below(6) {
                    match feedback.pop_front() {
                        Some(Feedback::Settle(settlement)) => {
                            risk.settle(&settlement);
                            settlements += 1;
                        }
                        Some(Feedback::Through(sequence)) => {
                            risk.settled_through(sequence);
                            settled = sequence;
                        }
                        None => {}
                    }
                }
            }
        }
    }
    let exchange = Exchange::from_parts(risk, matcher, end.last_sequence());
    exchange.check_invariants().unwrap_or_else(|broken| panic!("{name}: {broken}"));
    assert_eq!(exchange.state_hash(), end.state_hash(), "{name}");
}

#[test]
fn halves_apart_give_the_outcome_of_the_serial_machine() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let mut count = Undecided::default();
    for kind in Kind::ALL {
        for seed in 1..=if slow { 20 } else { 2 } {
            for before in [0, 900] {
                let history = history(kind, seed, before, 1_500);
                for (lead, left) in [(1, 0), (4, 0), (60, 0), (4, 10), (60, 10), (60, 5), (1_500, 10), (1_500, 5)] {
                    let name = format!("{kind:?}, seed {seed}, behind {before}, lead {lead}, left {left}");
                    let mut random = Random::new(seed * 100 + lead as u64 + left);
                    run_apart(&name, &history, &mut random, lead, left, &mut count);
                }
            }
        }
    }
    assert!(count.waits > 1_000 && count.covered > 1_000 && count.refused > 1_000, "too seldom: {count:?}");
}

/// A few accounts that are busy and near the limit of what they have: most of what they ask for only just is covered, or not,
/// by what is on its way.
fn near_the_limit(seed: u64, count: u64) -> History {
    const ACCOUNTS: u64 = 4;
    let mut random = Random::new(seed);
    let symbols = ["BTC", "USD", "ETH"];
    let mut commands: Vec<Command> = (0..)
        .zip(symbols)
        .map(|(asset, symbol)| Command::AddAsset { asset: AssetId(asset), symbol: symbol.parse().unwrap(), scale: 0 })
        .collect();
    let (lot_size, tick_value) = (Amount(1), Amount(1));
    for (market, base, rates) in [(0, 0, (10, 25)), (1, 2, (-5, 30))] {
        let (market, base, quote) = (MarketId(market), AssetId(base), AssetId(1));
        let (maker_rate, taker_rate) = (FeeRate(rates.0), FeeRate(rates.1));
        commands.push(Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
    }
    let mut external_id = 0;
    let mut deposit = |account: u64, asset: u64, amount: u64| {
        external_id += 1;
        let (account, asset, amount) = (AccountId(account as u32), AssetId(asset as u16), Amount(amount));
        Command::Deposit { account, asset, amount, external_id: ExternalId::from_u128(external_id) }
    };
    for account in 1..=ACCOUNTS {
        commands.push(Command::CreateAccount { account: AccountId(account as u32) });
        commands.extend((0..3).map(|asset| deposit(account, asset, if asset == 1 { 40_000 } else { 400 })));
    }
    while (commands.len() as u64) < count {
        let number = 1 + random.below(ACCOUNTS);
        let account = AccountId(number as u32);
        let market = MarketId(random.below(2) as u16);
        let side = [Side::Buy, Side::Sell][random.below(2) as usize];
        // Around 100; what one has is worth 400 lots.
        let (price, quantity) = (Price(95 + random.below(11)), Quantity(1 + random.below(250)));
        let client_order_id = ClientOrderId(random.below(4));
        let order = OrderId(1 + commands.len() as u64 - random.below(30).min(commands.len() as u64));
        let (asset, amount) = (AssetId(random.below(3) as u16), Amount(1 + random.below(300)));
        let limit_type = [LimitType::GoodTillCancel, LimitType::ImmediateOrCancel, LimitType::FillOrKill]
            [random.below(6).saturating_sub(3) as usize];
        commands.push(match random.below(40) {
            0..14 => Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id },
            14..22 => Command::CancelOrder { account, order },
            22..28 => Command::ReplaceOrder { account, market, side, order, price, quantity },
            28..30 => Command::PlaceMarketSell { account, market, quantity, client_order_id },
            30..32 => Command::PlaceMarketBuy { account, market, budget: Amount(quantity.0 * 100), client_order_id },
            32..34 => Command::ReduceOrder { account, order, quantity },
            34 => Command::CancelAllOfAccount { account },
            35 => Command::Transfer { from: account, to: AccountId(1 + number as u32 % 4), asset, amount },
            36 => Command::RequestWithdrawal { account, asset, amount },
            37 => Command::RequestWithdrawalOfAll { account, asset },
            38 if random.below(4) == 0 => Command::CancelAllOfMarket { market },
            _ => deposit(number, asset.0.into(), amount.0),
        });
    }
    let mut end = Exchange::new();
    let commands = (1..).map(Sequence).zip(commands).map(|(sequence, command)| (sequence, Timestamp(0), command));
    let commands: Vec<_> = commands.collect();
    let events = commands.iter().map(|(sequence, time, command)| {
        let mut events = Vec::new();
        end.apply(*sequence, *time, command, &mut events);
        events
    });
    let events = events.collect();
    History { begin: Exchange::new(), commands, events, end }
}

#[test]
fn accounts_near_their_limit_get_what_the_serial_machine_gives() {
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let mut count = Undecided::default();
    for seed in 1..=if slow { 200 } else { 4 } {
        let history = near_the_limit(seed, if slow { 20_000 } else { 4_000 });
        for (lead, left) in [(2, 10), (16, 10), (300, 9), (16_384, 10)] {
            let mut random = Random::new(seed * 100 + lead as u64);
            run_apart(&format!("seed {seed}, lead {lead}"), &history, &mut random, lead, left, &mut count);
        }
    }
    assert!(count.waits > 1_000 && count.covered > 1_000 && count.refused > 1_000, "too seldom: {count:?}");
}

/// One market without fees, with what comes behind it, from the sixth command on.
fn without_fees(behind: &[Command]) -> Exchange {
    let (base, quote, lot_size, tick_value, no_fee) = (AssetId(0), AssetId(1), Amount(1), Amount(1), FeeRate(0));
    let (market, maker_rate, taker_rate) = (MarketId(0), no_fee, no_fee);
    let setup = [
        Command::AddAsset { asset: base, symbol: "BTC".parse().unwrap(), scale: 8 },
        Command::AddAsset { asset: quote, symbol: "USD".parse().unwrap(), scale: 6 },
        Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate },
        Command::CreateAccount { account: AccountId(1) },
        Command::CreateAccount { account: AccountId(2) },
    ];
    let mut exchange = Exchange::new();
    for (sequence, command) in (1..).map(Sequence).zip(setup.iter().chain(behind)) {
        exchange.apply(sequence, Timestamp(0), command, &mut Vec::new());
    }
    exchange
}

/// An account of which the matcher may hold more than risk knows is granted what is covered in any case; what may not be is left
/// to the matcher, or waits. When that is settled, it is as any other again.
#[test]
fn what_is_in_doubt_is_not_granted_twice() {
    let (account, market, quote) = (AccountId(1), MarketId(0), AssetId(1));
    let buy = |quantity| Command::PlaceLimit {
        account,
        market,
        side: Side::Buy,
        limit_type: LimitType::GoodTillCancel,
        price: Price(1),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    };
    let deposit = |number| Command::Deposit {
        account,
        asset: quote,
        amount: Amount(100),
        external_id: ExternalId::from_u128(number),
    };
    let withdraw = |amount| Command::RequestWithdrawal { account, asset: quote, amount: Amount(amount) };
    let (mut risk, mut matcher) = without_fees(&[deposit(1), buy(60)]).into_parts();
    let commands = [
        // Will bring 60, which risk does not see.
        Command::CancelOrder { account, order: OrderId(7) },
        // 40 are seen: only the matcher can tell, and holds 70 of the 100.
        buy(70),
        // 40 are seen, but 70 may be held of them. Of 30 the matcher holds 20.
        buy(20),
        // Not covered: 10 are left.
        buy(15),
        // 140 are seen, and 105 may be held of them.
        deposit(2),
        buy(35),
        // 105 are seen, and as many may be held of them.
        buy(1),
    ];
    let left = [false, true, true, true, false, false, true];
    let timed = |sequence: u64| (Sequence(sequence), Timestamp(0));
    let mut decisions = Vec::new();
    for ((command, left), sequence) in commands.iter().zip(left).zip(8..) {
        let (sequence, time) = timed(sequence);
        let mut decision = risk.decide(sequence, time, command);
        assert_eq!(matches!(decision, Decision::Wait { .. }), left, "{command:?}: {decision:?}");
        if left {
            decision = risk.decide_conditionally(sequence, command, 0).expect("an order can be left to the matcher");
            assert_eq!(risk.needs_settlements_from(0), 0);
        }
        decisions.push(decision);
    }
    let (after, time) = timed(15);
    assert_eq!(risk.decide(after, time, &withdraw(1)), Decision::Wait { until: Sequence(14) });
    assert_eq!(risk.decide_conditionally(after, &withdraw(1), 0), None);

    let (mut recent, mut feedback) = (RecentSettlements::default(), VecDeque::new());
    for ((command, decision), sequence) in commands.iter().zip(decisions).zip(8..) {
        let (sequence, time) = timed(sequence);
        let (mut decision, mut before) = (decision, None);
        if let Decision::Conditional(conditional) = &decision {
            let (decided, settled_before) = matcher.decide(conditional, &mut recent);
            (decision, before) = (decided, Some(settled_before));
        }
        let mut sink = Sink { events: Vec::new(), feedback: &mut feedback, recent: &mut recent };
        before.into_iter().for_each(|settlement| sink.settle(settlement));
        matcher.execute(sequence, time, command, &decision, &mut sink);
        let is_refused = matches!(sink.events[..], [Event::Refused { .. }]);
        assert_eq!(is_refused, sequence == Sequence(11), "{:?}", sink.events);
    }
    for settled in feedback {
        if let Feedback::Settle(settlement) = settled {
            risk.settle(&settlement);
        }
    }
    // What was left is settled, the last of it not yet counted as such.
    assert_eq!(risk.balance(account, quote).available, Amount(200 - 70 - 20 - 35 - 1));
    risk.settled_through(Sequence(13));
    assert_eq!(risk.decide(after, time, &withdraw(74)), Decision::Wait { until: Sequence(14) });
    risk.settled_through(Sequence(14));
    assert_eq!(risk.needs_settlements_from(9), 9);
    assert!(matches!(risk.decide(after, time, &withdraw(74)), Decision::Done(_)));
    assert_eq!(risk.balance(account, quote).available, Amount(0));
}

/// An order is not refused at once for more than its account could come to own, when an order of the account that risk knows
/// nothing of may have sold something for it.
#[test]
fn what_is_in_doubt_may_bring_something_else() {
    let market = MarketId(0);
    let place = |account, side, price, quantity| Command::PlaceLimit {
        account: AccountId(account),
        market,
        side,
        limit_type: LimitType::GoodTillCancel,
        price: Price(price),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    };
    let deposit = |account, asset, amount| Command::Deposit {
        account: AccountId(account),
        asset: AssetId(asset),
        amount: Amount(amount),
        external_id: ExternalId::from_u128(account.into()),
    };
    // All that the first has is offered, too dear for the second.
    let behind = [deposit(1, 0, 10), deposit(2, 1, 1_000), place(1, Side::Sell, 900, 10), place(2, Side::Buy, 100, 10)];
    let (mut risk, mut matcher) = without_fees(&behind).into_parts();
    let commands = [
        Command::CancelOrder { account: AccountId(1), order: OrderId(8) },
        place(1, Side::Sell, 100, 10),
        place(1, Side::Buy, 50, 20),
    ];
    let sequences = [10, 11, 12].map(Sequence);
    assert_eq!(risk.decide(sequences[0], Timestamp(0), &commands[0]), Decision::Forward);
    assert!(matches!(risk.decide(sequences[1], Timestamp(0), &commands[1]), Decision::Wait { .. }));
    let left = risk.decide_conditionally(sequences[1], &commands[1], 0);
    let Some(Decision::Conditional(left)) = left else { panic!("an order can be left to the matcher: {left:?}") };

    let (mut recent, mut feedback) = (RecentSettlements::default(), VecDeque::new());
    let mut sink = Sink { events: Vec::new(), feedback: &mut feedback, recent: &mut recent };
    matcher.execute(sequences[0], Timestamp(0), &commands[0], &Decision::Forward, &mut sink);
    let (decision, settled_before) = matcher.decide(&left, &mut recent);
    let mut sink = Sink { events: Vec::new(), feedback: &mut feedback, recent: &mut recent };
    sink.settle(settled_before);
    matcher.execute(sequences[1], Timestamp(0), &commands[1], &decision, &mut sink);
    assert!(matches!(sink.events[..], [Event::OrderAccepted { .. }, Event::Filled { .. }]), "{:?}", sink.events);
    // Of this risk sees the first only: nothing is held any more, and nothing is there to buy for.
    let Some(Feedback::Settle(release)) = feedback.pop_front() else { panic!("the cancelled order's hold is free") };
    risk.settle(&release);
    assert_eq!(risk.decide(sequences[2], Timestamp(0), &commands[2]), Decision::Wait { until: sequences[1] });
    let left = risk.decide_conditionally(sequences[2], &commands[2], 1);
    let Some(Decision::Conditional(left)) = left else { panic!("an order can be left to the matcher: {left:?}") };
    let (decision, _) = matcher.decide(&left, &mut recent);
    assert!(matches!(decision, Decision::Order(terms) if terms.held == Amount(1_000)), "{decision:?}");
}
