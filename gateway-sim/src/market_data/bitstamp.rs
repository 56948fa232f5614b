//! Bitstamp's order events as the R package obAnalytics records them
//! (<https://github.com/phil8192/ob-analytics>): a header, then
//! `id, timestamp, exchange.timestamp, price, volume, action, direction`.

use std::path::Path;

use anyhow::{Result, bail};
use engine::types::{PRICE_MAX, Side};

use super::Lines;

const NAMES: [&str; 7] = ["id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction"];
const VOLUME_MAX: u64 = 21_000_000 * 100_000_000;

/// What happened to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It arrived.
    Created,
    /// Its volume is another now.
    Changed,
    /// It is gone: filled when the volume is 0, else cancelled.
    Deleted,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderEvent {
    /// The line's number in the file, from 1; the header is line 1.
    pub line: u64,
    /// The order's id, at least 1.
    pub order: u64,
    /// When the recorder saw it: milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// USD cents; 0 for some orders that name no price.
    pub price: u64,
    /// What remains, in satoshi.
    pub volume: u64,
    /// What happened.
    pub action: Action,
    /// The order's side.
    pub side: Side,
}

/// All events of a file.
///
/// # Errors
/// When the file cannot be read, the header is missing, or a line is not as the format says.
pub fn read(path: &Path) -> Result<Vec<OrderEvent>> {
    let mut lines = Lines::open(path)?;
    match lines.next_line(&NAMES)? {
        Some(header) if NAMES.iter().enumerate().all(|(field, &name)| header.text(field) == name) => {}
        Some(_) => bail!("{}, line 1: expected the header {}", path.display(), NAMES.join(",")),
        None => bail!("{} is empty: expected the header {}", path.display(), NAMES.join(",")),
    }
    let mut events = Vec::new();
    while let Some(line) = lines.next_line(&NAMES)? {
        line.integer(2, 0, u64::MAX)?;
        events.push(OrderEvent {
            line: line.line,
            order: line.integer(0, 1, u64::MAX)?,
            time_ms: line.integer(1, 0, u64::MAX)?,
            price: line.decimal(3, 2, 0, PRICE_MAX)?,
            volume: line.integer(4, 0, VOLUME_MAX)?,
            action: line.one_of(
                5,
                &[("created", Action::Created), ("changed", Action::Changed), ("deleted", Action::Deleted)],
            )?,
            side: line.one_of(6, &[("bid", Side::Buy), ("ask", Side::Sell)])?,
        });
    }
    Ok(events)
}
