//! The crate `lobster`.

use ::lobster::{OrderBook, OrderEvent, OrderType, Side};
use engine::types::{self, LimitType};

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

pub(super) struct LobsterBook {
    book: OrderBook,
}

/// A call, and whether what is left of the order is cancelled.
pub(super) struct Call {
    order: OrderType,
    immediate: bool,
}

impl Book for LobsterBook {
    type Command = Call;

    const CHANGES_ORDERS: bool = false;

    fn new(flow: &Flow) -> Self {
        // Room for all orders that rest, and for some at each price, as its documentation advises.
        Self { book: OrderBook::new(2 * flow.setup.max(10_000), 16, false) }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Call> {
        let call = |&(index, command): &(u32, BookCommand)| match command {
            BookCommand::Place { side, limit_type, price, quantity: qty, .. } => {
                let side = match side {
                    types::Side::Buy => Side::Bid,
                    types::Side::Sell => Side::Ask,
                };
                let order = OrderType::Limit { id: index.into(), side, qty, price };
                Some(Call { order, immediate: limit_type == LimitType::ImmediateOrCancel })
            }
            BookCommand::Cancel { order } => {
                Some(Call { order: OrderType::Cancel { id: order.into() }, immediate: false })
            }
            BookCommand::Reduce { .. } | BookCommand::Replace { .. } => None,
        };
        commands.iter().filter_map(call).collect()
    }

    fn execute(&mut self, calls: &[Call], trades: &mut Trades) {
        for call in calls {
            let left = match self.book.execute(call.order) {
                OrderEvent::Filled { fills, .. } => {
                    add(&fills, trades);
                    None
                }
                OrderEvent::PartiallyFilled { id, fills, .. } => {
                    add(&fills, trades);
                    Some(id)
                }
                OrderEvent::Placed { id } => Some(id),
                OrderEvent::Unfilled { .. } | OrderEvent::Canceled { .. } => None,
            };
            if let Some(id) = left.filter(|_| call.immediate) {
                self.book.execute(OrderType::Cancel { id });
            }
        }
    }
}

fn add(fills: &[::lobster::FillMetadata], trades: &mut Trades) {
    for fill in fills {
        trades.add(fill.order_2 as u64, fill.order_1 as u64, fill.price, fill.qty);
    }
}
