//! The crate `rust_ob`. Its prices and quantities are decimals.

use ::rust_ob::{Decimal, OrderBook, Side};
use engine::types::{self, LimitType};

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

pub(super) struct RustObBook {
    book: OrderBook<u64>,
}

/// One of its calls.
pub(super) enum Call {
    Place { id: u64, side: Side, price: Decimal, quantity: Decimal, immediate: bool },
    Cancel(u64),
}

impl Book for RustObBook {
    type Command = Call;

    const CHANGES_ORDERS: bool = false;

    fn new(_flow: &Flow) -> Self {
        Self { book: OrderBook::new() }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Call> {
        let call = |&(index, command): &(u32, BookCommand)| match command {
            BookCommand::Place { side, limit_type, price, quantity, .. } => Some(Call::Place {
                id: index.into(),
                side: match side {
                    types::Side::Buy => Side::Buy,
                    types::Side::Sell => Side::Sell,
                },
                price: price.into(),
                quantity: quantity.into(),
                immediate: limit_type == LimitType::ImmediateOrCancel,
            }),
            BookCommand::Cancel { order } => Some(Call::Cancel(order.into())),
            BookCommand::Reduce { .. } | BookCommand::Replace { .. } => None,
        };
        commands.iter().filter_map(call).collect()
    }

    fn execute(&mut self, calls: &[Call], trades: &mut Trades) {
        for call in calls {
            match *call {
                Call::Place { id, side, price, quantity, immediate } => {
                    let matches = self.book.process_limit_order(id, side, price, quantity);
                    let matches = matches.expect("the book takes every order of the flow");
                    // The last says what the order itself got in all.
                    if let Some((all, makers)) = matches.split_last() {
                        for maker in makers {
                            let (cost, quantity) = (whole(maker.cost), whole(maker.quantity));
                            trades.add(maker.order, all.order, cost / quantity, quantity);
                        }
                    }
                    let filled = matches.last().is_some_and(|all| all.quantity == quantity);
                    if immediate && !filled {
                        self.book.cancel_order(id).expect("what is left rests");
                    }
                }
                Call::Cancel(id) => {
                    // An order that is closed already is no error of the flow.
                    let _ = self.book.cancel_order(id);
                }
            }
        }
    }
}

/// A decimal without places as an integer; its sign says only who pays.
fn whole(decimal: Decimal) -> u64 {
    debug_assert_eq!(decimal.scale(), 0, "products of whole numbers");
    decimal.mantissa().unsigned_abs() as u64
}
