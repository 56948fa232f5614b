//! Makes a flow command by command, with the naive book beside it to know what is open.

use engine::types::{LimitType, Side};
use gateway_sim::random::Random;

use super::{BookCommand, Flow, NaiveBook};

/// How often another account is tried before an order that would meet its own goes to the last one, which never rests.
const TRIES: u32 = 16;

/// How much of what a flow is made of, in a hundred commands; the rest are cancels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    pub(super) crossing: u64,
    pub(super) resting: u64,
    pub(super) reductions: u64,
}

/// What was measured with: 9 % crossing, 48 % new, 40 % cancels, 3 % reductions.
pub(super) const USUAL: Mix = Mix { crossing: 9, resting: 48, reductions: 3 };

/// By how much, of a hundred, new orders are more and cancels fewer while there are too few orders; and the other way.
const TILT: u64 = 4;

/// A flow that is being made.
pub(super) struct Generator {
    pub(super) random: Random,
    pub(super) book: NaiveBook,
    commands: Vec<BookCommand>,
    accounts: u32,
}

impl Generator {
    pub(super) fn new(seed: u64, accounts: u32) -> Self {
        Self { random: Random::new(seed), book: NaiveBook::default(), commands: Vec::new(), accounts }
    }

    /// How many commands there are.
    pub(super) const fn len(&self) -> usize {
        self.commands.len()
    }

    /// The flow; the first `setup` commands build the book.
    pub(super) fn finish(self, name: &str, what: &str, setup: usize) -> Flow {
        Flow::new(name, what, self.commands, setup, self.accounts)
    }

    fn push(&mut self, command: BookCommand) {
        self.book.apply(self.commands.len() as u32, &command);
        self.commands.push(command);
    }

    /// A side, both as likely.
    pub(super) fn side(&mut self) -> Side {
        if self.random.below(2) == 0 { Side::Buy } else { Side::Sell }
    }

    /// From 1 to 126 lots, small ones by far more likely: one more than the product of three dice from 0 to 5.
    pub(super) fn quantity(&mut self) -> u64 {
        1 + self.random.below(6) * self.random.below(6) * self.random.below(6)
    }

    /// From 1 to about `spread`: a bell around 1, of a width that is itself drawn, narrow ones more likely.
    pub(super) fn distance(&mut self, spread: u64) -> u64 {
        let drawn = self.random.below(1 << 20);
        let width = 1 + ((drawn * drawn) >> 20) * spread / (1 << 20);
        let sum: u64 = (0..4).map(|_| self.random.below(width)).sum();
        1 + (sum / 2).abs_diff(width)
    }

    /// Places an order for an account that it does not meet.
    pub(super) fn place(&mut self, side: Side, limit_type: LimitType, price: u64, quantity: u64) {
        let taker = self.accounts;
        let first = self.random.below(u64::from(taker) - 1) as u32;
        let mut others = (0..TRIES).map(|step| 1 + (first + step) % (taker - 1));
        let account = others.find(|&account| !self.book.meets_own(account, side, price, quantity)).unwrap_or(taker);
        self.push(BookCommand::Place { account, side, limit_type, price, quantity });
    }

    /// An open order, any as likely.
    pub(super) fn any_order(&mut self) -> Option<u32> {
        let open = self.book.open_orders();
        let index = self.random.below(open.len() as u64);
        open.get(index as usize).copied()
    }

    /// Cancels any open order, if there is one.
    pub(super) fn cancel(&mut self) {
        if let Some(order) = self.any_order() {
            self.cancel_order(order);
        }
    }

    /// Cancels this order.
    pub(super) fn cancel_order(&mut self, order: u32) {
        self.push(BookCommand::Cancel { order });
    }

    /// Reduces any open order of more than one lot; cancels one when none such was found.
    pub(super) fn reduce(&mut self) {
        for _ in 0..TRIES {
            let Some(order) = self.any_order() else { return };
            let remaining = self.book.remaining(order);
            if remaining > 1 {
                let quantity = 1 + self.random.below(remaining - 1);
                self.push(BookCommand::Reduce { order, quantity });
                return;
            }
        }
        self.cancel();
    }

    /// Gives any open order the price that is drawn for it, and another quantity. Its old price is never taken: whether an
    /// order keeps its place there, books see differently.
    pub(super) fn replace(&mut self, mut price: impl FnMut(&mut Self, Side) -> u64) {
        let Some(order) = self.any_order() else { return };
        let (side, old) = self.book.side_and_price(order);
        let (price, quantity) = (price(self, side), self.quantity());
        if price == old {
            return;
        }
        self.push(BookCommand::Replace { order, price, quantity });
    }

    /// The next command of a mix that keeps about so many orders open. `resting` and `crossing` place an order.
    pub(super) fn mixed(
        &mut self,
        mix: Mix,
        orders: usize,
        resting: impl FnOnce(&mut Self),
        crossing: impl FnOnce(&mut Self),
    ) {
        self.mixed_with(mix, orders, resting, crossing, Self::cancel);
    }

    /// The same, with another way to choose whom to cancel.
    pub(super) fn mixed_with(
        &mut self,
        mix: Mix,
        orders: usize,
        resting: impl FnOnce(&mut Self),
        crossing: impl FnOnce(&mut Self),
        cancel: impl FnOnce(&mut Self),
    ) {
        let few = self.book.open_orders().len() < orders;
        let resting_share = if few { mix.resting + TILT } else { mix.resting - TILT };
        match self.random.below(100) {
            draw if draw < mix.crossing => crossing(self),
            draw if draw < mix.crossing + mix.reductions => self.reduce(),
            draw if draw < mix.crossing + mix.reductions + resting_share => resting(self),
            _ => cancel(self),
        }
    }
}
