//! Our own book: the matcher, driven as the pipeline drives it, with what risk would have decided given beforehand.

use std::hint::black_box;

use engine::{
    command::Command,
    event::Event,
    exchange::{Decision, MatchSink, Matcher, OrderTerms, Settlement},
    types::{
        AccountId, Amount, AssetId, ClientOrderId, FeeRate, MarketId, OrderId, Price, Quantity, Sequence, Timestamp,
    },
};

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

const MARKET: MarketId = MarketId(0);
/// More than any order needs.
const HELD: Amount = Amount(1 << 60);
/// No fees: the peers charge none.
const TERMS: Decision = Decision::Order(OrderTerms { held: HELD, maker_rate: FeeRate(0), taker_rate: FeeRate(0) });
/// How many commands are handed over at once; what comes out is taken after each batch.
const BATCH: usize = 64;

pub(super) struct RepriseBook {
    matcher: Matcher,
    /// Of the last command.
    sequence: Sequence,
    /// What came out of the batch.
    events: Vec<Event>,
}

/// Writes events out, and counts trades as every peer's are counted.
struct Written<'a> {
    events: &'a mut Vec<Event>,
    trades: &'a mut Trades,
}

impl MatchSink for Written<'_> {
    #[inline(always)]
    fn emit(&mut self, event: Event) {
        if let Event::Filled { taker, maker, price, quantity, .. } = event {
            self.trades.add(name_of(maker), name_of(taker), price.0, quantity.0);
        }
        self.events.push(event);
    }

    #[inline]
    fn settle(&mut self, _settlement: Settlement) {}
}

/// The sequence of the command that adds the market; those of the flow follow.
const FIRST: u64 = 1;

const fn name_of(order: OrderId) -> u64 {
    order.0 - FIRST - 1
}

const fn order_id(name: u32) -> OrderId {
    OrderId(name as u64 + FIRST + 1)
}

impl Book for RepriseBook {
    /// With what risk says to it.
    type Command = (Command, &'static Decision);

    const CHANGES_ORDERS: bool = true;

    fn new(_flow: &Flow) -> Self {
        let mut book = Self { matcher: Matcher::default(), sequence: Sequence(FIRST), events: Vec::new() };
        let add = Command::AddMarket {
            market: MARKET,
            base: AssetId(0),
            quote: AssetId(1),
            lot_size: Amount(1),
            tick_value: Amount(1),
            maker_rate: FeeRate(0),
            taker_rate: FeeRate(0),
        };
        let mut sink = Written { events: &mut book.events, trades: &mut Trades::default() };
        book.matcher.execute(book.sequence, Timestamp(0), &add, &Decision::Forward, &mut sink);
        book
    }

    fn commands(&mut self, flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Self::Command> {
        let decided = commands.iter().map(|(_, command)| command_of(flow, command)).map(|command| match command {
            Command::PlaceLimit { .. } | Command::ReplaceOrder { .. } => (command, &TERMS),
            _ => (command, &Decision::Forward),
        });
        decided.collect()
    }

    fn execute(&mut self, commands: &[Self::Command], trades: &mut Trades) {
        let first = self.sequence.0 + 1;
        let numbered = |index: usize| Some((Sequence(first + index as u64), &commands.get(index)?.0));
        for (batch, begin) in commands.chunks(BATCH).zip((0..).step_by(BATCH)) {
            self.events.clear();
            let mut sink = Written { events: &mut self.events, trades };
            for ((command, decision), index) in batch.iter().zip(begin..) {
                self.matcher.look_ahead(|distance| numbered(index + distance));
                let sequence = Sequence(first + index as u64);
                self.matcher.execute(sequence, Timestamp(0), command, decision, &mut sink);
            }
            black_box(&self.events);
        }
        self.sequence = Sequence(first + commands.len() as u64 - 1);
    }
}

fn command_of(flow: &Flow, command: &BookCommand) -> Command {
    match *command {
        BookCommand::Place { account, side, limit_type, price, quantity } => Command::PlaceLimit {
            account: AccountId(account),
            market: MARKET,
            side,
            limit_type,
            price: Price(price),
            quantity: Quantity(quantity),
            client_order_id: ClientOrderId(0),
        },
        BookCommand::Cancel { order } => {
            Command::CancelOrder { account: AccountId(flow.owner(order).0), order: order_id(order) }
        }
        BookCommand::Reduce { order, quantity } => Command::ReduceOrder {
            account: AccountId(flow.owner(order).0),
            order: order_id(order),
            quantity: Quantity(quantity),
        },
        BookCommand::Replace { order, price, quantity } => {
            let (account, side) = flow.owner(order);
            Command::ReplaceOrder {
                account: AccountId(account),
                market: MARKET,
                side,
                order: order_id(order),
                price: Price(price),
                quantity: Quantity(quantity),
            }
        }
    }
}
