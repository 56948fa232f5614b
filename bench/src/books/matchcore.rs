//! The crate `matchcore`.

use ::matchcore::{
    AmendCmd, AmendPatch, CancelCmd, Command, CommandKind, CommandMeta, CommandOutcome, CommandReport, LimitOrder,
    LimitOrderPatch, NewOrder, OrderBook, OrderFlags, OrderId, OrderKind, Price, Quantity, QuantityPolicy,
    SequenceNumber, Side, SubmitCmd, TimeInForce, Timestamp,
};
use engine::types::{self, LimitType};

use super::run::Book;
use crate::flows::{BookCommand, Flow, Trades};

pub(super) struct MatchcoreBook {
    book: OrderBook,
}

impl Book for MatchcoreBook {
    type Command = Command;

    const CHANGES_ORDERS: bool = true;

    fn new(_flow: &Flow) -> Self {
        Self { book: OrderBook::new("BTC/USD") }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Command> {
        // An order's id is its command's sequence number, which counts from 0 without gaps: so it is the order's name.
        let meta = |index: u32| CommandMeta { sequence_number: SequenceNumber(index.into()), timestamp: Timestamp(0) };
        commands.iter().map(|&(index, ref command)| Command { meta: meta(index), kind: kind_of(command) }).collect()
    }

    fn execute(&mut self, commands: &[Command], trades: &mut Trades) {
        for command in commands {
            let outcome = self.book.execute(command);
            let CommandOutcome::Applied(CommandReport::Submit(effects) | CommandReport::Amend(effects)) = outcome
            else {
                continue;
            };
            let taker = effects.target_order().order_id().0;
            for trade in effects.target_order().match_result().map_or(&[][..], |result| result.trades()) {
                trades.add(trade.maker_order_id().0, taker, trade.price().0, trade.quantity().0);
            }
        }
    }
}

fn kind_of(command: &BookCommand) -> CommandKind {
    let standard = |quantity| QuantityPolicy::Standard { quantity: Quantity(quantity) };
    let amend = |order: u32, patch| {
        CommandKind::Amend(AmendCmd { order_id: OrderId(order.into()), patch: AmendPatch::Limit(patch) })
    };
    match *command {
        BookCommand::Place { side, limit_type, price, quantity, .. } => {
            let side = match side {
                types::Side::Buy => Side::Buy,
                types::Side::Sell => Side::Sell,
            };
            let immediate = limit_type == LimitType::ImmediateOrCancel;
            let time_in_force = if immediate { TimeInForce::Ioc } else { TimeInForce::Gtc };
            let flags = OrderFlags::new(side, false, time_in_force);
            CommandKind::Submit(SubmitCmd {
                order: NewOrder::Limit(LimitOrder::new(Price(price), standard(quantity), flags)),
            })
        }
        BookCommand::Cancel { order } => {
            CommandKind::Cancel(CancelCmd { order_id: OrderId(order.into()), order_kind: OrderKind::Limit })
        }
        BookCommand::Reduce { order, quantity } => {
            amend(order, LimitOrderPatch::new().with_quantity_policy(standard(quantity)))
        }
        BookCommand::Replace { order, price, quantity } => {
            amend(order, LimitOrderPatch::new().with_price(Price(price)).with_quantity_policy(standard(quantity)))
        }
    }
}
