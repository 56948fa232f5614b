//! An hour of one stock on NASDAQ, as the load simulator replays it, where the file is at hand.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use engine::{
    command::Command,
    types::{AccountId, ClientOrderId, OrderId},
};
use gateway_sim::{
    market_data,
    replay::{
        lobster,
        orders::Orders,
        venue::{DirectVenue, Outcome, Venue},
    },
};

use super::{BookCommand, Flow, NaiveBook};

const FILE: &str = "lobster-aapl-2012-06-21-0930-1030-message-50.csv.xz";
/// The accounts of the simulator's replay: who buys, who sells, who takes.
const ACCOUNTS: u32 = 3;

/// The flow of the hour, again and again until there are about so many commands; or why there is none.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn recorded(commands: usize) -> Result<Result<Flow, String>> {
    let directory = std::env::var_os("MARKET_DATA_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let file = directory.join(FILE);
    if !file.exists() {
        return Ok(Err(format!("skipped: {} is not there (MARKET_DATA_DIR says where to look)", file.display())));
    }
    let messages = market_data::lobster::read(&file)?;
    let mut venue = Recorder::default();
    let mut orders = Orders::new(&mut venue);
    let setup = lobster::set_up(&mut orders)? as usize;
    lobster::replay(&messages, &mut orders, &mut |_| {}).context("the recorded hour cannot be replayed")?;
    let hour = &venue.commands[setup..];

    let (mut flow, mut book) = (Vec::new(), NaiveBook::default());
    while flow.len() < commands {
        let mut names = Names::default();
        for (sequence, command) in (setup as u64 + 1..).map(OrderId).zip(hour) {
            let Some(command) = names.translate(flow.len() as u32, sequence, command) else { continue };
            book.apply(flow.len() as u32, &command);
            flow.push(command);
        }
        for order in book.open_orders().to_vec() {
            book.apply(flow.len() as u32, &BookCommand::Cancel { order });
            flow.push(BookCommand::Cancel { order });
        }
    }
    flow.truncate(commands.max(hour.len()));
    Ok(Ok(Flow::new("LOBSTER", "AAPL, 21 June 2012, 9:30 to 10:30, again and again", flow, 0, ACCOUNTS)))
}

/// Names of orders, by those that the simulator gives them.
#[derive(Default)]
struct Names {
    by_client_order_id: HashMap<(AccountId, ClientOrderId), u32>,
    by_id: HashMap<OrderId, u32>,
}

impl Names {
    fn translate(&mut self, index: u32, sequence: OrderId, command: &Command) -> Option<BookCommand> {
        match *command {
            Command::PlaceLimit { account, side, limit_type, price, quantity, client_order_id, .. } => {
                self.by_client_order_id.insert((account, client_order_id), index);
                self.by_id.insert(sequence, index);
                let (account, price, quantity) = (account.0, price.0, quantity.0);
                Some(BookCommand::Place { account, side, limit_type, price, quantity })
            }
            Command::CancelByClientOrderId { account, client_order_id } => {
                let order = *self.by_client_order_id.get(&(account, client_order_id))?;
                Some(BookCommand::Cancel { order })
            }
            Command::ReduceOrder { order, quantity, .. } => {
                let order = *self.by_id.get(&order)?;
                Some(BookCommand::Reduce { order, quantity: quantity.0 })
            }
            _ => None,
        }
    }
}

/// A bare exchange that notes what it is told.
#[derive(Default)]
struct Recorder {
    exchange: DirectVenue,
    commands: Vec<Command>,
}

impl Venue for Recorder {
    fn submit(&mut self, command: Command, outcomes: &mut Vec<Outcome>) -> Result<u64> {
        self.commands.push(command);
        self.exchange.submit(command, outcomes)
    }

    fn settle(&mut self, outcomes: &mut Vec<Outcome>) -> Result<()> {
        self.exchange.settle(outcomes)
    }
}
