//! The crate `rust-order-book`. It numbers orders itself, and says of an order only how much of it was executed.

use engine::types::{self, LimitType};
use rust_order_book::{OrderBook, OrderBookOptions, Side, TimeInForce};

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

pub(super) struct RustOrderBook {
    book: OrderBook,
    /// How many orders were placed: the book's number of the next.
    placed: u64,
    /// By the flow's names: the book's numbers.
    ids: Vec<u64>,
}

/// One of its calls.
pub(super) enum Call {
    Place { side: Side, price: u64, quantity: u64, time_in_force: TimeInForce },
    Cancel(u64),
}

impl Book for RustOrderBook {
    type Command = Call;

    // Whatever is changed is placed anew, behind all others.
    const CHANGES_ORDERS: bool = false;

    fn new(flow: &Flow) -> Self {
        let book = OrderBook::new("BTC/USD", OrderBookOptions::default());
        Self { book, placed: 0, ids: vec![0; flow.commands.len()] }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Call> {
        let call = |&(index, command): &(u32, BookCommand)| match command {
            BookCommand::Place { side, limit_type, price, quantity, .. } => {
                self.ids[index as usize] = self.placed;
                self.placed += 1;
                let immediate = limit_type == LimitType::ImmediateOrCancel;
                Some(Call::Place {
                    side: match side {
                        types::Side::Buy => Side::Buy,
                        types::Side::Sell => Side::Sell,
                    },
                    price,
                    quantity,
                    time_in_force: if immediate { TimeInForce::IOC } else { TimeInForce::GTC },
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
                Call::Place { side, price, quantity, time_in_force } => {
                    // It refuses an immediate order where nothing stands.
                    if let Ok(report) = self.book.limit_raw(side, quantity, price, Some(time_in_force), None) {
                        trades.quantity += report.executed_qty.value();
                    }
                }
                Call::Cancel(id) => {
                    // An order that is closed already is no error of the flow.
                    drop(self.book.cancel_raw(id));
                }
            }
        }
    }
}
