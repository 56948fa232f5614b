//! Limit orders and cancels that any book understands, taken from the load simulator's flow.

use std::collections::HashMap;

use engine::{command::Command, types::Side};
use gateway_sim::{flow::FlowSpecification, report::text::grouped};

/// A limit order that is good till cancelled, or a cancel.
#[derive(Clone, Copy, Debug)]
pub enum BookCommand {
    /// Places an order, named by the command's index.
    Place {
        /// Whose.
        account: u32,
        /// Which side.
        side: Side,
        /// In ticks.
        price: u64,
        /// In lots.
        quantity: u64,
    },
    /// Cancels an order, which may be closed already.
    Cancel {
        /// The owner.
        account: u32,
        /// The order's side.
        side: Side,
        /// The index of the command that placed it.
        order: u64,
    },
}

/// Commands for one market.
pub struct BookFlow {
    /// A word for it.
    pub name: &'static str,
    /// First those that build the book, then those that are timed.
    pub commands: Vec<BookCommand>,
    /// How many build the book.
    pub setup: usize,
    /// How many accounts there are, from 1.
    pub accounts: u32,
}

impl BookFlow {
    /// About 1,000 resting orders.
    #[must_use]
    pub fn shallow(commands: usize) -> Self {
        Self::new("shallow", 350, commands)
    }

    /// Many resting orders, about three for each account.
    #[must_use]
    pub fn deep(accounts: u32, commands: usize) -> Self {
        Self::new("deep", accounts, commands)
    }

    fn new(name: &'static str, accounts: u32, count: usize) -> Self {
        let (setup, mut flows) = FlowSpecification { seed: 2, accounts, markets: 1, gateways: 1 }.start();
        let mut commands = Vec::with_capacity(setup.len() + count);
        let mut names = HashMap::new();
        for command in setup {
            commands.extend(translate(command, commands.len() as u64, &mut names));
        }
        let setup = commands.len();
        for command in flows[0].by_ref() {
            if commands.len() - setup == count {
                break;
            }
            commands.extend(translate(command, commands.len() as u64, &mut names));
        }
        Self { name, commands, setup, accounts }
    }

    /// How many commands are timed.
    #[must_use]
    pub const fn timed(&self) -> usize {
        self.commands.len() - self.setup
    }

    /// What it is, on one line.
    #[must_use]
    pub fn description(&self) -> String {
        format!(
            "workload: the limit orders and cancels of the gateway-sim flow, one market, {} resting orders, {} commands",
            grouped(self.setup as u64),
            grouped(self.timed() as u64)
        )
    }
}

/// Keeps limit orders, all made good till cancelled, and cancels; what a plain book lacks is left out.
fn translate(command: Command, index: u64, names: &mut HashMap<(u32, u64), (u64, Side)>) -> Option<BookCommand> {
    match command {
        Command::PlaceLimit { account, side, price, quantity, client_order_id, .. } => {
            names.insert((account.0, client_order_id.0), (index, side));
            Some(BookCommand::Place { account: account.0, side, price: price.0, quantity: quantity.0 })
        }
        Command::CancelByClientOrderId { account, client_order_id } => {
            let (order, side) = names.remove(&(account.0, client_order_id.0))?;
            Some(BookCommand::Cancel { account: account.0, side, order })
        }
        _ => None,
    }
}
