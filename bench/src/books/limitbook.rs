//! The crate `limitbook`. Its prices and quantities are decimals, and it numbers orders itself.

use ::limitbook::{OrderBook, OrderSide};
use engine::types::{LimitType, Side};
use rust_decimal::Decimal;

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

pub(super) struct LimitbookBook {
    book: OrderBook,
    /// By the book's numbers, which count from 0: the flow's names.
    names: Vec<u32>,
    /// By the flow's names: the book's numbers.
    ids: Vec<u64>,
}

/// One of its calls.
pub(super) enum Call {
    Place { side: OrderSide, price: Decimal, quantity: Decimal, immediate: bool },
    Cancel(u64),
}

impl Book for LimitbookBook {
    type Command = Call;

    const CHANGES_ORDERS: bool = false;

    fn new(flow: &Flow) -> Self {
        let book = OrderBook::new(Decimal::ONE).expect("a tick of one");
        Self { book, names: Vec::new(), ids: vec![0; flow.commands.len()] }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Call> {
        let call = |&(index, command): &(u32, BookCommand)| match command {
            BookCommand::Place { side, limit_type, price, quantity, .. } => {
                self.ids[index as usize] = self.names.len() as u64;
                self.names.push(index);
                Some(Call::Place {
                    side: if side == Side::Buy { OrderSide::Buy } else { OrderSide::Sell },
                    price: price.into(),
                    quantity: quantity.into(),
                    immediate: limit_type == LimitType::ImmediateOrCancel,
                })
            }
            BookCommand::Cancel { order } => Some(Call::Cancel(self.ids[order as usize])),
            BookCommand::Reduce { .. } | BookCommand::Replace { .. } => None,
        };
        commands.iter().filter_map(call).collect()
    }

    fn execute(&mut self, calls: &[Call], trades: &mut Trades) {
        for call in calls {
            match *call {
                Call::Place { side, price, quantity, immediate } => {
                    let placed = self.book.add_limit_order(side, price, quantity);
                    let (id, fills) = placed.expect("the book takes every order of the flow");
                    let mut left = quantity;
                    for fill in &fills {
                        let name = |id: u64| u64::from(self.names[id as usize]);
                        let (price, quantity) = (fill.price.mantissa() as u64, fill.quantity.mantissa() as u64);
                        trades.add(name(fill.maker_order_id), name(fill.taker_order_id), price, quantity);
                        left -= fill.quantity;
                    }
                    if immediate && !left.is_zero() {
                        self.book.cancel_limit_order(id).expect("what is left rests");
                    }
                }
                Call::Cancel(id) => {
                    // An order that is closed already is no error of the flow.
                    drop(self.book.cancel_limit_order(id));
                }
            }
        }
    }
}
