//! Flows as a market has them: new orders around a centre, cancels of any, some that cross.
//!
//! The manner is that of exchange-core's own benchmark: prices by a bell whose width is drawn, sizes by the product of
//! dice, crossing orders at any price, and a number of orders that is kept.

use engine::types::{LimitType, Side};

use super::{
    Flow,
    generator::{Generator, USUAL},
};

/// Where prices begin, in ticks.
pub(super) const CENTRE: u64 = 100_000;
/// The highest price of an order that takes any: no more than what is held for it can be paid.
pub(super) const ANY_PRICE: u64 = 10 * CENTRE;
/// How far from the centre orders stand at most, about: some hundred levels of a thousand orders.
const NEAR: u64 = 1_500;
/// The same for a hundred thousand orders on ten thousand levels.
const FAR: u64 = 10_000;

/// By how much of the price, in percent, the five equity paths swing.
pub const EQUITY_SWINGS: [u64; 5] = [0, 2, 25, 40, 60];

/// About 1,000 orders around the last price, 1,000 accounts.
#[must_use]
pub fn exchange_core(commands: usize) -> Flow {
    let what = "as exchange-core makes them, around the last price";
    around_last_price("exchange-core", what, 1_000, 1_000, NEAR, commands)
}

/// The same with so many orders and accounts, over ten thousand levels where there are a hundred thousand orders.
#[must_use]
pub fn deep(orders: usize, accounts: u32, commands: usize) -> Flow {
    around_last_price("deep", "the same on a deep book", orders, accounts, FAR, commands)
}

fn around_last_price(name: &str, what: &str, orders: usize, accounts: u32, spread: u64, commands: usize) -> Flow {
    let mut generator = Generator::new(1, accounts);
    let resting = |generator: &mut Generator| {
        let side = generator.side();
        let centre = generator.book.last_price.unwrap_or(CENTRE).clamp(CENTRE / 2, CENTRE * 2);
        rest(generator, side, centre, spread);
    };
    for _ in 0..orders {
        resting(&mut generator);
    }
    let setup = generator.len();
    while generator.len() < setup + commands {
        generator.mixed(USUAL, orders, resting, |generator| take_any(generator, ANY_PRICE));
    }
    generator.finish(name, what, setup)
}

/// An order that takes what it can at any price up to `top`.
pub(super) fn take_any(generator: &mut Generator, top: u64) {
    let (side, quantity) = (generator.side(), generator.quantity());
    let price = if side == Side::Buy { top } else { 1 };
    generator.place(side, LimitType::ImmediateOrCancel, price, quantity);
}

fn rest(generator: &mut Generator, side: Side, centre: u64, spread: u64) {
    let (distance, quantity) = (generator.distance(spread), generator.quantity());
    let price = match side {
        Side::Buy => centre - distance,
        Side::Sell => centre + distance,
    };
    generator.place(side, LimitType::GoodTillCancel, price, quantity);
}

/// About 10,000 orders around a price that swings by so many percent: up by half of them, down by all, and back. Every other
/// crossing order has a limit a few ticks beyond the best price, and stays on the book with what it does not get.
#[must_use]
pub fn equity(swing: u64, orders: usize, commands: usize) -> Flow {
    let mut generator = Generator::new(3 + swing, 1_000);
    let resting = |generator: &mut Generator, centre: u64| {
        let side = generator.side();
        rest(generator, side, centre, NEAR);
    };
    for _ in 0..orders {
        resting(&mut generator, CENTRE);
    }
    let setup = generator.len();
    while generator.len() < setup + commands {
        let centre = on_path(swing, (generator.len() - setup) as u64, commands as u64);
        generator.mixed(USUAL, orders, |generator| resting(generator, centre), take_near);
    }
    let name = if swing == 0 { "equity still".to_owned() } else { format!("equity {swing} %") };
    let what = format!("around a price that swings by {} ticks", CENTRE * swing / 100);
    generator.finish(&name, &what, setup)
}

/// The price at a step of a path: a triangle.
const fn on_path(swing: u64, step: u64, steps: u64) -> u64 {
    let half = CENTRE * swing / 200;
    let quarter = steps.div_ceil(4);
    let (leg, along) = (step / quarter, half * (step % quarter) / quarter);
    match leg {
        0 => CENTRE + along,
        1 => CENTRE + half - along,
        2 => CENTRE - along,
        _ => CENTRE - half + along,
    }
}

/// An order that takes at the best price and a few ticks beyond.
fn take_near(generator: &mut Generator) {
    let (side, quantity) = (generator.side(), generator.quantity());
    let Some(best) = generator.book.best(side.opposite()) else { return };
    let beyond = generator.random.below(5);
    let price = match side {
        Side::Buy => best + beyond,
        Side::Sell => best - beyond,
    };
    let stays = generator.random.below(2) == 0;
    let limit_type = if stays { LimitType::GoodTillCancel } else { LimitType::ImmediateOrCancel };
    generator.place(side, limit_type, price, quantity);
}
