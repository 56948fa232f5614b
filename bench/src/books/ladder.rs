//! A plain price ladder, as a yardstick: what a book costs that does next to nothing but match. No bound: where prices lie far
//! apart it looks through its bitmap word by word.
//!
//! An array of levels by price with a bitmap over it, a slab, intrusive queues, orders found by an array of all names that
//! there ever are. It knows no owners, writes no events, checks nothing, and takes prices below some limit only.

use anyhow::Result;
use engine::types::{LimitType, Side};

use super::run::{Book, Run, measure};
use crate::flows::{BookCommand, Flow, Trades};

/// Prices of orders that rest are below.
const PRICES: usize = 1 << 17;
const NONE: u32 = u32::MAX;

/// Runs it, under a flow that it can take.
pub(super) fn run(flow: &Flow) -> Result<Run, String> {
    if flow.commands.iter().any(|command| matches!(command, BookCommand::Replace { .. })) {
        return Err("cannot give an order another price".to_owned());
    }
    let fits = |command: &BookCommand| match *command {
        BookCommand::Place { limit_type, price, .. } => {
            price > 0 && (limit_type == LimitType::ImmediateOrCancel || price < PRICES as u64)
        }
        _ => true,
    };
    if flow.commands.iter().all(fits) {
        measure::<Ladder>(flow)
    } else {
        Err(format!("has room for prices below {PRICES} only"))
    }
}

#[derive(Clone, Copy)]
struct Order {
    remaining: u64,
    name: u32,
    price: u32,
    older: u32,
    newer: u32,
    side: u8,
}

/// The orders at a price; both ends are [`NONE`], or neither.
#[derive(Clone, Copy)]
struct Queue {
    oldest: u32,
    newest: u32,
}

struct LadderSide {
    queues: Vec<Queue>,
    /// Which prices have orders.
    bitmap: Vec<u64>,
    /// The best price; that of no order when there is none.
    best: u32,
}

impl LadderSide {
    fn new(best: u32) -> Self {
        let nobody = Queue { oldest: NONE, newest: NONE };
        Self { queues: vec![nobody; PRICES], bitmap: vec![0; PRICES / 64], best }
    }

    /// The best price from `price` on.
    fn best_from(&self, side: usize, price: u32) -> u32 {
        let mut word = (price / 64) as usize;
        if side == Side::Buy as usize {
            let mut bits = self.bitmap[word] & (u64::MAX >> (63 - price % 64));
            while bits == 0 && word > 0 {
                word -= 1;
                bits = self.bitmap[word];
            }
            // No order has the price 0.
            bits.checked_ilog2().map_or(0, |bit| word as u32 * 64 + bit)
        } else {
            let mut bits = self.bitmap[word] & (u64::MAX << (price % 64));
            while bits == 0 && word + 1 < self.bitmap.len() {
                word += 1;
                bits = self.bitmap[word];
            }
            if bits == 0 { NONE } else { word as u32 * 64 + bits.trailing_zeros() }
        }
    }
}

struct Ladder {
    orders: Vec<Order>,
    free: Vec<u32>,
    /// By name.
    slots: Vec<u32>,
    sides: [LadderSide; 2],
    /// That of the next command.
    name: u32,
}

impl Ladder {
    fn place(&mut self, side: Side, limit_type: LimitType, price: u32, mut remaining: u64, trades: &mut Trades) {
        let (own, other) = (side as usize, side.opposite() as usize);
        while remaining > 0 {
            let best = self.sides[other].best;
            if !(if side == Side::Buy { best <= price } else { best >= price }) {
                break;
            }
            let slot = self.sides[other].queues[best as usize].oldest;
            let maker = &mut self.orders[slot as usize];
            let quantity = maker.remaining.min(remaining);
            maker.remaining -= quantity;
            remaining -= quantity;
            trades.add(maker.name.into(), self.name.into(), best.into(), quantity);
            if maker.remaining == 0 {
                self.remove(slot);
            }
        }
        if remaining > 0 && limit_type == LimitType::GoodTillCancel {
            let ladder = &mut self.sides[own];
            let queue = &mut ladder.queues[price as usize];
            let older = queue.newest;
            let order = Order { remaining, name: self.name, price, older, newer: NONE, side: own as u8 };
            let slot = match self.free.pop() {
                Some(slot) => {
                    self.orders[slot as usize] = order;
                    slot
                }
                None => {
                    self.orders.push(order);
                    self.orders.len() as u32 - 1
                }
            };
            queue.newest = slot;
            if older == NONE {
                queue.oldest = slot;
                ladder.bitmap[price as usize / 64] |= 1 << (price % 64);
                ladder.best = if side == Side::Buy { ladder.best.max(price) } else { ladder.best.min(price) };
            } else {
                self.orders[older as usize].newer = slot;
            }
            self.slots[self.name as usize] = slot;
        }
    }

    fn remove(&mut self, slot: u32) {
        let Order { name, price, older, newer, side, .. } = self.orders[slot as usize];
        let ladder = &mut self.sides[usize::from(side)];
        let queue = &mut ladder.queues[price as usize];
        match older {
            NONE => queue.oldest = newer,
            older => self.orders[older as usize].newer = newer,
        }
        match newer {
            NONE => queue.newest = older,
            newer => self.orders[newer as usize].older = older,
        }
        if queue.oldest == NONE {
            ladder.bitmap[price as usize / 64] &= !(1 << (price % 64));
            if ladder.best == price {
                ladder.best = ladder.best_from(usize::from(side), price);
            }
        }
        self.slots[name as usize] = NONE;
        self.free.push(slot);
    }
}

impl Book for Ladder {
    type Command = BookCommand;

    const CHANGES_ORDERS: bool = true;

    fn new(flow: &Flow) -> Self {
        let (orders, free, slots) = (Vec::new(), Vec::new(), vec![NONE; flow.commands.len()]);
        Self { orders, free, slots, sides: [LadderSide::new(0), LadderSide::new(NONE)], name: 0 }
    }

    fn commands(&mut self, _flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<BookCommand> {
        commands.iter().map(|(_, command)| *command).collect()
    }

    fn execute(&mut self, commands: &[BookCommand], trades: &mut Trades) {
        for command in commands {
            match *command {
                BookCommand::Place { side, limit_type, price, quantity, .. } => {
                    // One that rests is below; of another this is as good as any above.
                    let price = price.min(PRICES as u64) as u32;
                    self.place(side, limit_type, price, quantity, trades);
                }
                BookCommand::Cancel { order } => match self.slots[order as usize] {
                    NONE => {}
                    slot => self.remove(slot),
                },
                BookCommand::Reduce { order, quantity } => {
                    if let Some(order) = self.orders.get_mut(self.slots[order as usize] as usize) {
                        order.remaining = order.remaining.min(quantity);
                    }
                }
                BookCommand::Replace { .. } => unreachable!("a flow with replacements is not taken"),
            }
            self.name += 1;
        }
    }
}
