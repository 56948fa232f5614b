//! The crate `matchcore`.

use ::matchcore::{
    CancelCmd, Command, CommandKind, CommandMeta, CommandOutcome, CommandReport, LimitOrder, NewOrder, OrderBook,
    OrderFlags, OrderId, OrderKind, Price, Quantity, QuantityPolicy, SequenceNumber, Side, SubmitCmd, TimeInForce,
    Timestamp,
};
use engine::types;

use super::{Book, BookCommand, BookFlow, Trades};

pub(super) struct MatchcoreBook {
    book: OrderBook,
}

impl Book for MatchcoreBook {
    type Command = Command;

    fn new(_flow: &BookFlow) -> Self {
        Self { book: OrderBook::new("BTC/USD") }
    }

    fn command(_flow: &BookFlow, index: u64, command: &BookCommand) -> Command {
        let kind = match *command {
            BookCommand::Place { side, price, quantity, .. } => {
                let side = match side {
                    types::Side::Buy => Side::Buy,
                    types::Side::Sell => Side::Sell,
                };
                CommandKind::Submit(SubmitCmd {
                    order: NewOrder::Limit(LimitOrder::new(
                        Price(price),
                        QuantityPolicy::Standard { quantity: Quantity(quantity) },
                        OrderFlags::new(side, false, TimeInForce::Gtc),
                    )),
                })
            }
            BookCommand::Cancel { order, .. } => {
                CommandKind::Cancel(CancelCmd { order_id: OrderId(order), order_kind: OrderKind::Limit })
            }
        };
        // An order's id is its command's sequence number, which counts from 0 without gaps.
        Command { meta: CommandMeta { sequence_number: SequenceNumber(index), timestamp: Timestamp(0) }, kind }
    }

    #[inline]
    fn execute(&mut self, command: &Command, trades: &mut Trades) {
        if let CommandOutcome::Applied(CommandReport::Submit(effects)) = self.book.execute(command) {
            let taker = effects.target_order().order_id().0;
            for trade in effects.target_order().match_result().map_or(&[][..], |result| result.trades()) {
                trades.add(trade.maker_order_id().0, taker, trade.price().0, trade.quantity().0);
            }
        }
    }
}
