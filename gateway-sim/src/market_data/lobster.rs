//! LOBSTER message files (<https://lobsterdata.com>): `time, type, order id, size, price, direction`, no header.

use std::path::Path;

use anyhow::Result;
use engine::types::{PRICE_MAX, Side};

use super::Lines;

const NAMES: [&str; 6] = ["time", "type", "order id", "size", "price", "direction"];
const SIZE_MAX: u64 = u32::MAX as u64;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Type 1: a limit order stands on the book.
    Add,
    /// Type 2: a part of it is taken back; the size is that part.
    Reduce,
    /// Type 3: all of it is taken back.
    Delete,
    /// Type 4: it traded; the size is what traded.
    Execute,
    /// Type 5: an order that nobody sees traded.
    ExecuteHidden,
    /// Type 6: an auction's trade.
    Cross,
    /// Type 7: trading is halted or resumed.
    Halt,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The line's number in the file, from 1.
    pub line: u64,
    /// Nanoseconds after midnight.
    pub time_ns: u64,
    /// What it says.
    pub kind: Kind,
    /// The order's id, at least 1 in the kinds that concern a visible order.
    pub order: u64,
    /// Shares, at least 1 in the kinds that concern a visible order.
    pub size: u64,
    /// 1/10,000 USD, from 1 to [`PRICE_MAX`] in the kinds that concern a visible order, else 0.
    pub price: u64,
    /// The side of the *resting* order.
    pub side: Side,
}

/// All messages of a file.
///
/// # Errors
/// When the file cannot be read, or a line is not as the format says.
pub fn read(path: &Path) -> Result<Vec<Message>> {
    let mut lines = Lines::open(path)?;
    let mut messages = Vec::new();
    while let Some(line) = lines.next_line(&NAMES)? {
        let kind = line.one_of(
            1,
            &[
                ("1", Kind::Add),
                ("2", Kind::Reduce),
                ("3", Kind::Delete),
                ("4", Kind::Execute),
                ("5", Kind::ExecuteHidden),
                ("6", Kind::Cross),
                ("7", Kind::Halt),
            ],
        )?;
        let visible = matches!(kind, Kind::Add | Kind::Reduce | Kind::Delete | Kind::Execute);
        let least = u64::from(visible);
        messages.push(Message {
            line: line.line,
            // Written from a binary fraction: some have more places than the clock.
            time_ns: line.decimal(0, 12, 0, u64::MAX)? / 1_000,
            kind,
            order: line.integer(2, least, u64::MAX)?,
            size: line.integer(3, least, SIZE_MAX)?,
            // A halt's price is a code, also a negative one.
            price: if visible { line.integer(4, 1, PRICE_MAX)? } else { 0 },
            side: line.one_of(5, &[("1", Side::Buy), ("-1", Side::Sell)])?,
        });
    }
    Ok(messages)
}
