//! Flows that are hard on a book, each in its own way.

use engine::types::{LimitType, Side};

use super::{
    Flow,
    generator::{Generator, Mix, USUAL},
    mixed::{ANY_PRICE, CENTRE, take_any},
};

const ACCOUNTS: u32 = 1_000;
/// How many orders one sweep takes.
const SWEPT: usize = 5_000;

/// All of them; books of `many` orders where there are many, 100,000 by right.
#[must_use]
pub fn worst_cases(many: usize, commands: usize) -> Vec<Flow> {
    vec![
        one_tick(many / 10, commands),
        scattered(many / 10, commands),
        one_level(many, commands),
        many_levels(many, commands),
        sweeps(many.min(SWEPT), commands),
        cancel_storm(many, commands),
        modify_heavy(many / 10, commands),
    ]
}

/// The usual mix, its resting orders at the price that is drawn for each; `top` is above all of them.
fn usual_mix(
    name: &str,
    what: &str,
    (orders, commands): (usize, usize),
    top: u64,
    price: impl Fn(&mut Generator, Side) -> u64,
) -> Flow {
    let mut generator = Generator::new(11, ACCOUNTS);
    let resting = |generator: &mut Generator| {
        let (side, quantity) = (generator.side(), generator.quantity());
        let price = price(generator, side);
        generator.place(side, LimitType::GoodTillCancel, price, quantity);
    };
    for _ in 0..orders {
        resting(&mut generator);
    }
    let setup = generator.len();
    while generator.len() < setup + commands {
        generator.mixed(USUAL, orders, resting, |generator| take_any(generator, top));
    }
    generator.finish(name, what, setup)
}

/// A bid below the middle or an ask above it, any of so many prices as likely.
fn anywhere(generator: &mut Generator, side: Side, prices: u64) -> u64 {
    let distance = generator.random.below(prices);
    if side == Side::Buy { prices - distance } else { prices + 1 + distance }
}

fn one_tick(orders: usize, commands: usize) -> Flow {
    let what = "all bids at one price, all asks a tick above";
    usual_mix("one-tick spread", what, (orders, commands), ANY_PRICE, |generator, side| anywhere(generator, side, 1))
}

fn scattered(orders: usize, commands: usize) -> Flow {
    const REACH: u64 = 5_000_000;
    let what = "prices scattered over ten million ticks";
    usual_mix("scattered prices", what, (orders, commands), 3 * REACH, |generator, side| {
        anywhere(generator, side, REACH)
    })
}

fn many_levels(orders: usize, commands: usize) -> Flow {
    // So many prices that few orders share one.
    let reach = 8 * orders as u64;
    let what = "about one order on each level";
    usual_mix("one order a level", what, (orders, commands), 3 * reach, |generator, side| {
        anywhere(generator, side, reach)
    })
}

/// All asks at one price, and no bids.
fn one_level(orders: usize, commands: usize) -> Flow {
    let mut generator = Generator::new(13, ACCOUNTS);
    let resting = |generator: &mut Generator| {
        let quantity = generator.quantity();
        generator.place(Side::Sell, LimitType::GoodTillCancel, CENTRE, quantity);
    };
    for _ in 0..orders {
        resting(&mut generator);
    }
    let setup = generator.len();
    let crossing = |generator: &mut Generator| {
        let quantity = generator.quantity();
        generator.place(Side::Buy, LimitType::ImmediateOrCancel, CENTRE, quantity);
    };
    while generator.len() < setup + commands {
        generator.mixed(USUAL, orders, resting, crossing);
    }
    generator.finish("one level", "all asks at one price, no bids", setup)
}

/// Orders on a few hundred levels, then one that takes them all, again and again.
fn sweeps(swept: usize, commands: usize) -> Flow {
    const LEVELS: u64 = 500;
    let mut generator = Generator::new(14, ACCOUNTS);
    let lay_out = |generator: &mut Generator, side: Side, count: usize| {
        let mut total = 0;
        for _ in 0..count {
            let (distance, quantity) = (generator.random.below(LEVELS), generator.quantity());
            let price = if side == Side::Buy { CENTRE - distance } else { CENTRE + 1 + distance };
            generator.place(side, LimitType::GoodTillCancel, price, quantity);
            total += quantity;
        }
        total
    };
    // A book behind it that the sweeps don't reach.
    lay_out(&mut generator, Side::Buy, swept.min(1_000));
    let setup = generator.len();
    while generator.len() < setup + commands {
        let count = swept.min(setup + commands - generator.len());
        let total = lay_out(&mut generator, Side::Sell, count);
        generator.place(Side::Buy, LimitType::ImmediateOrCancel, ANY_PRICE, total);
    }
    generator.finish("sweeps", &format!("{swept} orders, then one that takes them all"), setup)
}

/// All orders are cancelled in random order, and placed anew.
fn cancel_storm(orders: usize, commands: usize) -> Flow {
    let mut generator = Generator::new(15, ACCOUNTS);
    let resting = |generator: &mut Generator| {
        let (side, quantity, distance) = (generator.side(), generator.quantity(), generator.random.below(5_000));
        let price = if side == Side::Buy { CENTRE - distance } else { CENTRE + 1 + distance };
        generator.place(side, LimitType::GoodTillCancel, price, quantity);
    };
    for _ in 0..orders {
        resting(&mut generator);
    }
    let setup = generator.len();
    while generator.len() < setup + commands {
        while !generator.book.open_orders().is_empty() && generator.len() < setup + commands {
            generator.cancel();
        }
        while generator.book.open_orders().len() < orders && generator.len() < setup + commands {
            resting(&mut generator);
        }
    }
    generator.finish("cancel storm", "all orders are cancelled in random order, and as many placed", setup)
}

/// Orders are changed far more often than they come and go.
fn modify_heavy(orders: usize, commands: usize) -> Flow {
    const REPLACEMENTS: u64 = 40;
    let mix = Mix { crossing: 5, resting: 20, reductions: 58 };
    let mut generator = Generator::new(16, ACCOUNTS);
    let price = |generator: &mut Generator, side: Side| {
        let distance = generator.distance(3_000);
        if side == Side::Buy { CENTRE - distance } else { CENTRE + distance }
    };
    let resting = |generator: &mut Generator| {
        let (side, quantity) = (generator.side(), generator.quantity());
        let price = price(generator, side);
        generator.place(side, LimitType::GoodTillCancel, price, quantity);
    };
    for _ in 0..orders {
        resting(&mut generator);
    }
    let setup = generator.len();
    while generator.len() < setup + commands {
        if generator.random.below(100) < REPLACEMENTS {
            generator.replace(price);
        } else {
            generator.mixed(mix, orders, resting, |generator| take_any(generator, ANY_PRICE));
        }
    }
    generator.finish("modify-heavy", "orders are reduced and replaced", setup)
}
