//! The crate `nanobook`. It numbers orders itself, and keeps every order and every trade until it is told to forget them.

use ::nanobook::{Exchange, OrderId, Price, Side, TimeInForce};
use engine::types::{self, LimitType};

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

pub(super) struct NanobookBook {
    exchange: Exchange,
    /// By the book's numbers, which count from 1: the flow's names.
    names: Vec<u32>,
    /// By the flow's names: the book's numbers.
    ids: Vec<u64>,
}

/// One of its calls.
pub(super) enum Call {
    Place { side: Side, price: Price, quantity: u64, time_in_force: TimeInForce },
    Cancel(OrderId),
}

impl Book for NanobookBook {
    type Command = Call;

    // Whatever is changed is placed anew, behind all others.
    const CHANGES_ORDERS: bool = false;

    fn new(flow: &Flow) -> Self {
        Self { exchange: Exchange::new(), names: vec![u32::MAX], ids: vec![0; flow.commands.len()] }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Call> {
        let call = |&(index, command): &(u32, BookCommand)| match command {
            BookCommand::Place { side, limit_type, price, quantity, .. } => {
                self.ids[index as usize] = self.names.len() as u64;
                self.names.push(index);
                let immediate = limit_type == LimitType::ImmediateOrCancel;
                Some(Call::Place {
                    side: match side {
                        types::Side::Buy => Side::Buy,
                        types::Side::Sell => Side::Sell,
                    },
                    price: Price(price as i64),
                    quantity,
                    time_in_force: if immediate { TimeInForce::IOC } else { TimeInForce::GTC },
                })
            }
            BookCommand::Cancel { order } => Some(Call::Cancel(OrderId(self.ids[order as usize]))),
            BookCommand::Reduce { .. } | BookCommand::Replace { .. } => None,
        };
        commands.iter().filter_map(call).collect()
    }

    fn execute(&mut self, calls: &[Call], trades: &mut Trades) {
        for call in calls {
            match *call {
                Call::Place { side, price, quantity, time_in_force } => {
                    let result = self.exchange.submit_limit(side, price, quantity, time_in_force);
                    for trade in &result.trades {
                        let name = |id: OrderId| u64::from(self.names[id.0 as usize]);
                        let (maker, taker) = (name(trade.passive_order_id), name(trade.aggressor_order_id));
                        trades.add(maker, taker, trade.price.0 as u64, trade.quantity);
                    }
                }
                Call::Cancel(id) => {
                    self.exchange.cancel(id);
                }
            }
        }
        // What was handed out need not be kept.
        self.exchange.clear_trades();
    }
}
