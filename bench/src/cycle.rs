//! Commands that can be repeated for as long as a measurement wants, at next to no cost for whoever sends them.

use engine::{
    command::Command,
    exchange::Exchange,
    types::{MarketId, OrderId, Timestamp},
};

use crate::{exchange::workload::Workload, flows::exchange_core, tally::Tally};

/// A flow whose orders are all cancelled in its end, so that it can begin again. Orders are named by the sequences of the
/// commands that place them, so each time they have other names.
pub struct Cycle {
    /// What it is, on one line.
    pub description: String,
    /// Assets, market, accounts, deposits.
    pub setup: Vec<Command>,
    /// What is repeated: orders that rest at first, the flow, and the end of all orders.
    pub commands: Vec<Command>,
}

impl Cycle {
    /// The flow that is as exchange-core makes it, with about 1,000 accounts and 1,000 resting orders; so many commands
    /// each time, beside what makes it a cycle.
    #[must_use]
    pub fn exchange_core(commands: usize) -> Self {
        let flow = exchange_core(commands);
        let workload = Workload::new(&flow);
        let mut setup = workload.setup;
        let mut commands = setup.split_off(setup.len() - flow.setup);
        commands.extend(workload.flow);
        commands.push(Command::CancelAllOfMarket { market: MarketId(0) });
        Self { description: workload.description, setup, commands }
    }

    /// The commands behind the setup, from the first one on, without an end.
    pub fn flow(&self) -> impl Iterator<Item = Command> + '_ {
        (0_u64..).flat_map(|round| {
            let passed = round * self.commands.len() as u64;
            self.commands.iter().map(move |command| renamed(command, passed))
        })
    }

    /// Applies the setup and so many commands of the flow in line, and says how many seconds the flow took.
    #[must_use]
    pub fn in_line(&self, commands: usize) -> (Exchange, Tally, f64) {
        let (mut exchange, mut tally) = (Exchange::new(), Tally::default());
        for command in &self.setup {
            let sequence = exchange.last_sequence().next();
            exchange.apply(sequence, Timestamp(0), command, &mut tally);
        }
        let begun = std::time::Instant::now();
        for command in self.flow().take(commands) {
            let sequence = exchange.last_sequence().next();
            exchange.apply(sequence, Timestamp(0), &command, &mut tally);
        }
        let seconds = begun.elapsed().as_secs_f64();
        (exchange, tally, seconds)
    }
}

/// The command, when so many have gone before its cycle.
#[inline]
const fn renamed(command: &Command, passed: u64) -> Command {
    match *command {
        Command::CancelOrder { account, order } => Command::CancelOrder { account, order: OrderId(order.0 + passed) },
        Command::ReduceOrder { account, order, quantity } => {
            Command::ReduceOrder { account, order: OrderId(order.0 + passed), quantity }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use engine::exchange::Exchange;

    use super::*;

    /// Every cycle trades as the first one does, and leaves nothing on the book.
    #[test]
    fn each_cycle_is_as_the_one_before() {
        let cycle = Cycle::exchange_core(5_000);
        let tallies: Vec<Tally> = (0..4).map(|cycles| cycle.in_line(cycles * cycle.commands.len()).1).collect();
        let of = |number: usize| {
            let (before, after) = (tallies[number], tallies[number + 1]);
            (after.events - before.events, after.fills - before.fills, after.refusals - before.refusals)
        };
        assert!(of(0).1 > 300, "{:?}", of(0));
        assert_eq!((of(0), of(0)), (of(1), of(2)));
        let exchange: Exchange = cycle.in_line(cycle.commands.len()).0;
        assert_eq!(exchange.book(MarketId(0), 1).map(|book| book.bids.len() + book.asks.len()), Some(0));
    }
}
