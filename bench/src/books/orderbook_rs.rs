//! The crate `orderbook-rs`. Made for many threads that share a book; here one drives it, as all the others.

use ::orderbook_rs::{DefaultOrderBook, Id, Side, TimeInForce};
use engine::types;

use super::{Book, BookCommand, BookFlow, Trades};

pub(super) struct OrderbookRsBook {
    book: DefaultOrderBook,
}

/// One of its calls.
pub(super) enum Call {
    Place { id: Id, price: u128, quantity: u64, side: Side },
    Cancel(Id),
}

const fn number(id: Id) -> u64 {
    match id {
        Id::Sequential(number) => number,
        _ => u64::MAX,
    }
}

impl Book for OrderbookRsBook {
    type Command = Call;

    fn new(_flow: &BookFlow) -> Self {
        Self { book: DefaultOrderBook::new("BTC/USD") }
    }

    fn command(_flow: &BookFlow, index: u64, command: &BookCommand) -> Call {
        match *command {
            BookCommand::Place { side, price, quantity, .. } => Call::Place {
                id: Id::Sequential(index),
                price: price.into(),
                quantity,
                side: match side {
                    types::Side::Buy => Side::Buy,
                    types::Side::Sell => Side::Sell,
                },
            },
            BookCommand::Cancel { order, .. } => Call::Cancel(Id::Sequential(order)),
        }
    }

    fn execute(&mut self, command: &Call, trades: &mut Trades) {
        match *command {
            Call::Place { id, price, quantity, side } => {
                let placed = self.book.add_limit_order_with_result(id, price, quantity, side, TimeInForce::Gtc, None);
                let (_, result) = placed.expect("the book takes every order of the flow");
                for trade in result.iter().flat_map(|result| result.match_result.trades().as_vec()) {
                    let (maker, taker) = (number(trade.maker_order_id()), number(trade.taker_order_id()));
                    trades.add(maker, taker, trade.price().as_u128() as u64, trade.quantity().as_u64());
                }
            }
            Call::Cancel(id) => {
                // An order that is closed already is no error of the flow.
                drop(self.book.cancel_order(id));
            }
        }
    }
}
