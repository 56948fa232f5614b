//! The book as a LOBSTER file tells it, by its own bookkeeping and nothing else: what the exchange's book is held
//! against. Deliberately plain.

use std::collections::{BTreeMap, HashMap, VecDeque};

use engine::types::Side;

/// An order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOrder {
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: u64,
    /// What is open.
    pub quantity: u64,
    /// Whether the file's line that adds it has been read; an order may stand before that.
    pub listed: bool,
}

/// All open orders of the file, each level in order of arrival.
#[derive(Clone, Debug, Default)]
pub struct FileBook {
    orders: HashMap<u64, FileOrder>,
    levels: [BTreeMap<u64, VecDeque<u64>>; 2],
}

impl FileBook {
    /// An open order.
    #[must_use]
    pub fn get(&self, order: u64) -> Option<FileOrder> {
        self.orders.get(&order).copied()
    }

    /// Notes that the line that adds the order has been read.
    pub fn list(&mut self, order: u64) {
        if let Some(found) = self.orders.get_mut(&order) {
            found.listed = true;
        }
    }

    /// Puts an order behind those at its price.
    pub fn add(&mut self, order: u64, details: FileOrder) {
        self.orders.insert(order, details);
        self.levels[details.side as usize].entry(details.price).or_default().push_back(order);
    }

    /// Takes `quantity` off an order, and the order off the book when nothing is left.
    pub fn lower(&mut self, order: u64, quantity: u64) {
        let Some(found) = self.orders.get_mut(&order) else { return };
        found.quantity = found.quantity.saturating_sub(quantity);
        if found.quantity == 0 {
            self.remove(order);
        }
    }

    /// Takes an order off the book.
    pub fn remove(&mut self, order: u64) {
        let Some(FileOrder { side, price, .. }) = self.orders.remove(&order) else { return };
        let side = &mut self.levels[side as usize];
        if let Some(level) = side.get_mut(&price) {
            level.retain(|&other| other != order);
            if level.is_empty() {
                side.remove(&price);
            }
        }
    }

    /// The best price of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<u64> {
        let levels = &self.levels[side as usize];
        match side {
            Side::Buy => levels.last_key_value(),
            Side::Sell => levels.first_key_value(),
        }
        .map(|(&price, _)| price)
    }

    /// Whether an order at this price would trade at once.
    #[must_use]
    pub fn crosses(&self, side: Side, price: u64) -> bool {
        self.best(side.opposite()).is_some_and(|best| match side {
            Side::Buy => best <= price,
            Side::Sell => best >= price,
        })
    }

    /// The orders at a price, the oldest first.
    #[must_use]
    pub fn level(&self, side: Side, price: u64) -> Vec<u64> {
        self.levels[side as usize].get(&price).map(|level| level.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether an order is the next of its side to trade.
    #[must_use]
    pub fn is_next(&self, order: u64) -> bool {
        self.get(order).is_some_and(|FileOrder { side, price, .. }| {
            self.best(side) == Some(price)
                && self.levels[side as usize].get(&price).and_then(VecDeque::front) == Some(&order)
        })
    }
}
