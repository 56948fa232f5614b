//! The crate `lobster`.

use ::lobster::{OrderBook, OrderEvent, OrderType, Side};
use engine::types;

use super::{Book, BookCommand, BookFlow, Trades};

pub(super) struct LobsterBook {
    book: OrderBook,
}

impl Book for LobsterBook {
    type Command = OrderType;

    fn new(flow: &BookFlow) -> Self {
        // Room for all orders that rest, and for some at each price, as its documentation advises.
        Self { book: OrderBook::new(2 * flow.setup, 16, false) }
    }

    fn command(_flow: &BookFlow, index: u64, command: &BookCommand) -> OrderType {
        match *command {
            BookCommand::Place { side, price, quantity, .. } => OrderType::Limit {
                id: index.into(),
                side: match side {
                    types::Side::Buy => Side::Bid,
                    types::Side::Sell => Side::Ask,
                },
                qty: quantity,
                price,
            },
            BookCommand::Cancel { order, .. } => OrderType::Cancel { id: order.into() },
        }
    }

    #[inline]
    fn execute(&mut self, command: &OrderType, trades: &mut Trades) {
        if let OrderEvent::Filled { fills, .. } | OrderEvent::PartiallyFilled { fills, .. } =
            self.book.execute(*command)
        {
            for fill in fills {
                trades.add(fill.order_2 as u64, fill.order_1 as u64, fill.price, fill.qty);
            }
        }
    }
}
