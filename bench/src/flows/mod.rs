//! Commands for one order book, made from a seed: what every book takes, ours and the peers'.
//!
//! ```text
//! mixed    as exchange-core makes them, around a centre that stands, drifts, or follows a price path
//! worst    what is hard on a book
//! recorded one hour of one stock, where the file is at hand
//! naive    a slow book that is easily seen to be right: it says what must trade
//! ```

mod generator;
mod mixed;
mod naive;
mod recorded;
mod worst;

use engine::types::{LimitType, Side};
use gateway_sim::report::text::grouped;

pub use mixed::{EQUITY_SWINGS, deep, equity, exchange_core};
pub use naive::{NaiveBook, Trades};
pub use recorded::recorded;
pub use worst::worst_cases;

/// What one command asks of the book. An order's name is the index in its flow of the command that placed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookCommand {
    /// Places an order.
    Place {
        /// Whose; no order of a flow meets another of the same account.
        account: u32,
        /// Which side.
        side: Side,
        /// Good till cancelled, or immediate or cancel.
        limit_type: LimitType,
        /// In ticks.
        price: u64,
        /// In lots.
        quantity: u64,
    },
    /// Cancels an open order.
    Cancel {
        /// Its name.
        order: u32,
    },
    /// Lowers what is open of an order, which keeps its place.
    Reduce {
        /// Its name.
        order: u32,
        /// What remains open, less than what was.
        quantity: u64,
    },
    /// Gives an open order another price and quantity; it keeps its name, loses its place, and may trade at once.
    Replace {
        /// Its name.
        order: u32,
        /// The new price.
        price: u64,
        /// What is open of it then.
        quantity: u64,
    },
}

/// How many of a flow's commands lie between two moments at which its trades are compared.
pub const CHUNK: usize = 500;

/// Commands for one market.
#[derive(Clone, Debug)]
pub struct Flow {
    /// A word for it.
    pub name: String,
    /// What it is, on one line.
    pub description: String,
    /// First those that build the book, then those that are timed.
    pub commands: Vec<BookCommand>,
    /// How many build the book.
    pub setup: usize,
    /// How many accounts there are, from 1.
    pub accounts: u32,
    /// What the naive book traded by the end of the setup and of each chunk of [`CHUNK`] timed commands.
    pub expected: Vec<Trades>,
    /// The same when nobody reduces an order.
    pub expected_without_reductions: Vec<Trades>,
}

impl Flow {
    /// A flow of these commands, run through the naive book.
    #[must_use]
    pub fn new(name: &str, what: &str, commands: Vec<BookCommand>, setup: usize, accounts: u32) -> Self {
        eprintln!("made {name} {:?}", std::time::SystemTime::now());
        let (expected, book) = naive::trades_of(&commands, setup, |_| true);
        let (expected_without_reductions, _) = naive::trades_of(&commands, setup, |command| !command.is_reduction());
        let timed = &commands[setup..];
        let share = |of: fn(&BookCommand) -> bool| {
            100.0 * timed.iter().filter(|command| of(command)).count() as f64 / timed.len().max(1) as f64
        };
        let description = format!(
            "{what}; {} orders on {} levels at first, {} on {} at last; {} commands: {:.0} % resting, {:.0} % immediate, {:.0} % \
             cancels, {:.0} % reductions, {:.0} % replacements; {} trades",
            grouped(book.orders_after_setup as u64),
            grouped(book.levels_after_setup as u64),
            grouped(book.orders as u64),
            grouped(book.levels as u64),
            grouped(timed.len() as u64),
            share(|command| matches!(command, BookCommand::Place { limit_type: LimitType::GoodTillCancel, .. })),
            share(|command| matches!(command, BookCommand::Place { limit_type: LimitType::ImmediateOrCancel, .. })),
            share(|command| matches!(command, BookCommand::Cancel { .. })),
            share(|command| matches!(command, BookCommand::Reduce { .. })),
            share(|command| matches!(command, BookCommand::Replace { .. })),
            grouped(expected.last().map_or(0, |trades| trades.count) - expected[0].count),
        );
        Self { name: name.to_owned(), description, commands, setup, accounts, expected, expected_without_reductions }
    }

    /// How many commands are timed.
    #[must_use]
    pub const fn timed(&self) -> usize {
        self.commands.len() - self.setup
    }

    /// Who placed the order of this name, and on which side.
    ///
    /// # Panics
    /// When no command of that index places one.
    #[must_use]
    pub fn owner(&self, order: u32) -> (u32, Side) {
        match self.commands[order as usize] {
            BookCommand::Place { account, side, .. } => (account, side),
            other => panic!("order {order} is named by {other:?}"),
        }
    }
}

impl BookCommand {
    /// Whether it lowers an order in its place, which not every book can.
    #[must_use]
    pub const fn is_reduction(&self) -> bool {
        matches!(self, Self::Reduce { .. })
    }
}
