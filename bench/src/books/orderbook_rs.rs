//! The crate `orderbook-rs`. Made for many threads that share a book; here one drives it, as all the others.

use ::orderbook_rs::{DefaultOrderBook, Id, Side, TimeInForce};
use engine::types::{self, LimitType};
use pricelevel::OrderUpdate;

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

pub(super) struct OrderbookRsBook {
    book: DefaultOrderBook,
}

/// One of its calls.
pub(super) enum Call {
    Place { id: Id, price: u128, quantity: u64, side: Side, immediate: bool },
    Cancel(Id),
    Change(OrderUpdate),
}

const fn number(id: Id) -> u64 {
    match id {
        Id::Sequential(number) => number,
        _ => u64::MAX,
    }
}

impl Book for OrderbookRsBook {
    type Command = Call;

    const CHANGES_ORDERS: bool = true;

    fn new(_flow: &Flow) -> Self {
        Self { book: DefaultOrderBook::new("BTC/USD") }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Call> {
        let named = |order: u32| Id::Sequential(order.into());
        let call = |&(index, command): &(u32, BookCommand)| match command {
            BookCommand::Place { side, limit_type, price, quantity, .. } => Call::Place {
                id: named(index),
                price: price.into(),
                quantity,
                side: match side {
                    types::Side::Buy => Side::Buy,
                    types::Side::Sell => Side::Sell,
                },
                immediate: limit_type == LimitType::ImmediateOrCancel,
            },
            BookCommand::Cancel { order } => Call::Cancel(named(order)),
            BookCommand::Reduce { order, quantity } => Call::Change(OrderUpdate::UpdateQuantity {
                order_id: named(order),
                new_quantity: pricelevel::Quantity::new(quantity),
            }),
            BookCommand::Replace { order, price, quantity } => Call::Change(OrderUpdate::UpdatePriceAndQuantity {
                order_id: named(order),
                new_price: pricelevel::Price::new(price.into()),
                new_quantity: pricelevel::Quantity::new(quantity),
            }),
        };
        commands.iter().map(call).collect()
    }

    fn execute(&mut self, calls: &[Call], trades: &mut Trades) {
        for call in calls {
            match *call {
                Call::Place { id, price, quantity, side, immediate } => {
                    // Its own immediate orders return no trades when something of them is left.
                    let placed =
                        self.book.add_limit_order_with_result(id, price, quantity, side, TimeInForce::Gtc, None);
                    let (_, result) = placed.expect("the book takes every order of the flow");
                    let mut left = quantity;
                    for trade in result.iter().flat_map(|result| result.match_result.trades().as_vec()) {
                        let (maker, taker) = (number(trade.maker_order_id()), number(trade.taker_order_id()));
                        let quantity = trade.quantity().as_u64();
                        trades.add(maker, taker, trade.price().as_u128() as u64, quantity);
                        left -= quantity;
                    }
                    if immediate && left > 0 {
                        drop(self.book.cancel_order(id));
                    }
                }
                Call::Cancel(id) => {
                    // An order that is closed already is no error of the flow.
                    drop(self.book.cancel_order(id));
                }
                Call::Change(update) => drop(self.book.update_order(update)),
            }
        }
    }
}
