//! A book that is easily seen to be right: a tree of queues. It makes the flows, since it knows which orders are open,
//! and says what must trade.

use std::collections::{BTreeMap, VecDeque};

use engine::types::{LimitType, Side};

use super::{BookCommand, CHUNK};

/// All trades, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trades {
    /// How many.
    pub count: u64,
    /// The sum of their quantities.
    pub quantity: u64,
    /// Over makers, takers, prices and quantities, in order.
    pub checksum: u64,
}

impl Trades {
    /// Counts a trade; orders by their names.
    #[inline]
    pub fn add(&mut self, maker: u64, taker: u64, price: u64, quantity: u64) {
        self.count += 1;
        self.quantity += quantity;
        // Odd numbers without a pattern; only the last product waits for the trade before.
        let trade = maker.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ taker.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            ^ price.wrapping_mul(0x1656_67b1_9e37_79f9)
            ^ quantity.wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.checksum = (self.checksum.rotate_left(5) ^ trade).wrapping_mul(0x2545_f491_4f6c_dd1d);
    }
}

#[derive(Clone, Copy, Debug)]
struct Order {
    account: u32,
    side: Side,
    price: u64,
    /// 0 when it is closed.
    remaining: u64,
    /// Where it stands in the list of open orders.
    place: u32,
    /// Which of the entries in its level's queue counts: an order that was replaced has left entries behind.
    entry: u32,
}

#[derive(Clone, Debug, Default)]
struct Level {
    /// Names, with the number of the entry; those that are closed or replaced are passed over.
    queue: VecDeque<(u32, u32)>,
    /// How many of them count.
    open: u32,
}

type Levels = BTreeMap<u64, Level>;

/// The book.
#[derive(Clone, Debug, Default)]
pub struct NaiveBook {
    /// By name; what is no order is `None`.
    orders: Vec<Option<Order>>,
    open: Vec<u32>,
    bids: Levels,
    asks: Levels,
    /// All that traded.
    pub trades: Trades,
    /// The price of the last trade.
    pub last_price: Option<u64>,
}

impl NaiveBook {
    /// The names of the orders that are open, in no order that means anything.
    #[must_use]
    pub fn open_orders(&self) -> &[u32] {
        &self.open
    }

    /// What is open of an order.
    #[must_use]
    pub fn remaining(&self, order: u32) -> u64 {
        self.orders[order as usize].map_or(0, |order| order.remaining)
    }

    /// An order's side and price.
    ///
    /// # Panics
    /// When there is no such order.
    #[must_use]
    pub fn side_and_price(&self, order: u32) -> (Side, u64) {
        let order = self.orders[order as usize].expect("the name of an order");
        (order.side, order.price)
    }

    /// The best price of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<u64> {
        match side {
            Side::Buy => self.bids.last_key_value().map(|(&price, _)| price),
            Side::Sell => self.asks.first_key_value().map(|(&price, _)| price),
        }
    }

    /// How many prices there are with orders.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.bids.len() + self.asks.len()
    }

    /// Whether an order like this would meet one of the same account.
    #[must_use]
    pub fn meets_own(&self, account: u32, side: Side, limit: u64, mut quantity: u64) -> bool {
        let meets = |level: &Level, quantity: &mut u64| {
            for &(name, entry) in &level.queue {
                if *quantity == 0 {
                    break;
                }
                let Some(order) = self.orders[name as usize].filter(|order| order.entry == entry) else { continue };
                if order.remaining > 0 && order.account == account {
                    return true;
                }
                *quantity -= order.remaining.min(*quantity);
            }
            false
        };
        match side {
            Side::Buy => self.asks.range(..=limit).any(|(_, level)| meets(level, &mut quantity)),
            Side::Sell => self.bids.range(limit..).rev().any(|(_, level)| meets(level, &mut quantity)),
        }
    }

    /// Carries out the next command: that of index `name`.
    ///
    /// # Panics
    /// When the command names no order that was ever placed.
    pub fn apply(&mut self, name: u32, command: &BookCommand) {
        self.orders.resize(name as usize + 1, None);
        match *command {
            BookCommand::Place { account, side, limit_type, price, quantity } => {
                self.orders[name as usize] = Some(Order { account, side, price, remaining: 0, place: 0, entry: 0 });
                let left = self.take(name, side, price, quantity);
                if left > 0 && limit_type == LimitType::GoodTillCancel {
                    self.rest(name, price, left);
                }
            }
            BookCommand::Cancel { order } => self.close(order),
            BookCommand::Reduce { order, quantity } => {
                let order = self.orders[order as usize].as_mut().expect("the name of an order");
                order.remaining = order.remaining.min(quantity);
            }
            BookCommand::Replace { order, price, quantity } => {
                if self.remaining(order) > 0 {
                    let (side, _) = self.side_and_price(order);
                    self.close(order);
                    let left = self.take(order, side, price, quantity);
                    if left > 0 {
                        self.rest(order, price, left);
                    }
                }
            }
        }
    }

    /// Trades what it can; what is left is returned.
    fn take(&mut self, name: u32, side: Side, limit: u64, mut quantity: u64) -> u64 {
        while quantity > 0 {
            let Some(price) = self.best(side.opposite()) else { break };
            let within = match side {
                Side::Buy => price <= limit,
                Side::Sell => price >= limit,
            };
            if !within {
                break;
            }
            let maker = self.oldest(side.opposite(), price);
            let traded = quantity.min(self.remaining(maker));
            self.trades.add(maker.into(), name.into(), price, traded);
            self.last_price = Some(price);
            quantity -= traded;
            let order = self.orders[maker as usize].as_mut().expect("an open order");
            if order.remaining == traded {
                self.close(maker);
            } else {
                order.remaining -= traded;
            }
        }
        quantity
    }

    fn levels_of(&mut self, side: Side) -> &mut Levels {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    /// The oldest open order of a level that has one.
    fn oldest(&mut self, side: Side, price: u64) -> u32 {
        loop {
            let level = self.levels_of(side).get(&price).expect("a level with orders");
            let &(name, entry) = level.queue.front().expect("a level with open orders");
            let stands = |order: Order| order.entry == entry && order.remaining > 0;
            if self.orders[name as usize].is_some_and(stands) {
                return name;
            }
            self.levels_of(side).get_mut(&price).expect("a level with orders").queue.pop_front();
        }
    }

    fn rest(&mut self, name: u32, price: u64, quantity: u64) {
        let place = self.open.len() as u32;
        self.open.push(name);
        let order = self.orders[name as usize].as_mut().expect("the name of an order");
        (order.price, order.remaining, order.place) = (price, quantity, place);
        order.entry += 1;
        let (side, entry) = (order.side, order.entry);
        let level = self.levels_of(side).entry(price).or_default();
        level.queue.push_back((name, entry));
        level.open += 1;
    }

    /// Takes an order off the book, if it is there.
    fn close(&mut self, name: u32) {
        let order = self.orders[name as usize].as_mut().expect("the name of an order");
        if order.remaining == 0 {
            return;
        }
        order.remaining = 0;
        let (side, price, place) = (order.side, order.price, order.place);
        self.open.swap_remove(place as usize);
        if let Some(&moved) = self.open.get(place as usize) {
            self.orders[moved as usize].as_mut().expect("an open order").place = place;
        }
        let levels = self.levels_of(side);
        let level = levels.get_mut(&price).expect("the level of an open order");
        level.open -= 1;
        if level.open == 0 {
            levels.remove(&price);
        }
    }
}

/// How big the book was.
pub(super) struct Size {
    pub(super) orders_after_setup: usize,
    pub(super) levels_after_setup: usize,
    pub(super) orders: usize,
    pub(super) levels: usize,
}

/// What trades by the end of the setup and of each chunk, when only the commands that are `wanted` are carried out.
pub(super) fn trades_of(
    commands: &[BookCommand],
    setup: usize,
    wanted: fn(&BookCommand) -> bool,
) -> (Vec<Trades>, Size) {
    let mut book = NaiveBook::default();
    let apply = |book: &mut NaiveBook, from: usize, to: usize| {
        for (name, command) in (from as u32..).zip(&commands[from..to]) {
            if wanted(command) {
                book.apply(name, command);
            }
        }
    };
    apply(&mut book, 0, setup);
    let mut trades = vec![book.trades];
    let (orders_after_setup, levels_after_setup) = (book.open.len(), book.levels());
    for from in (setup..commands.len()).step_by(CHUNK) {
        apply(&mut book, from, (from + CHUNK).min(commands.len()));
        trades.push(book.trades);
    }
    let size = Size { orders_after_setup, levels_after_setup, orders: book.open.len(), levels: book.levels() };
    (trades, size)
}
