//! A Bitstamp file as commands; the exchange's trades are held against the file's own.
//!
//! | event | becomes |
//! |---|---|
//! | created | a limit order, good till cancelled, under the file's id; without price or volume it is skipped |
//! | deleted, volume above 0 | a cancel by the file's id |
//! | deleted, volume 0 | nothing if the order is filled here too; else a cancel: the file's fill did not happen here |
//! | changed | nothing if trades here explain it; else a reduction to the file's volume |
//!
//! The file does not list trades. One is where an order's volume falls and within two seconds that of an order on the
//! other side falls by the same amount; the order with the lower id is the maker. Falls without such a partner remain
//! unpaired (one taker that met several makers is reported in one fall, for example).

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use engine::types::Side;
use serde::Serialize;

use super::orders::{Instrument, Orders};
use crate::market_data::bitstamp::{Action, OrderEvent};

/// Ticks are cents and lots are satoshi: the quote's minor unit is 10^-10 USD.
const INSTRUMENT: Instrument = Instrument { base: "BTC", base_scale: 8, quote_scale: 10 };
const PAIRING_WINDOW_MS: u64 = 2_000;
const PAIRING_DEPTH: usize = 40;

/// How the exchange's trades compare with the file's.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BitstampReport {
    /// Events in the file.
    pub events: u64,
    /// Trades of the exchange.
    pub trades: u64,
    /// Their volume, in satoshi.
    pub traded_volume: u64,
    /// Trades that the file's falls of volume show.
    pub file_trades: u64,
    /// Their volume, in satoshi.
    pub file_traded_volume: u64,
    /// Trades that agree in maker and size.
    pub agreeing_trades: u64,
    /// Falls of volume that found no partner.
    pub unpaired_falls: u64,
    /// Orders without price or volume; skipped.
    pub skipped_orders: u64,
    /// Events of orders that were created before the file begins; skipped.
    pub unknown_orders: u64,
    /// Changes of volume that no trade explains: reductions.
    pub unexplained_changes: u64,
    /// Orders that the file fills and the exchange has not: cancelled.
    pub filled_only_in_file: u64,
}

/// Sets up an empty exchange for such a replay; returns the number of commands.
///
/// # Errors
/// When the exchange stops or refuses.
pub fn set_up(orders: &mut Orders<'_>) -> Result<u64> {
    orders.set_up(&INSTRUMENT)
}

/// Sends the events through the venue; `progress` hears the number of events done now and then.
///
/// # Errors
/// When the exchange stops.
pub fn replay(events: &[OrderEvent], orders: &mut Orders<'_>, progress: &mut dyn FnMut(u64)) -> Result<BitstampReport> {
    let mut report = BitstampReport { events: events.len() as u64, ..BitstampReport::default() };
    let mut known: HashMap<u64, Side> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        if index % 1_024 == 0 {
            progress(index as u64);
        }
        let OrderEvent { order, side, price, volume, .. } = *event;
        match event.action {
            Action::Created if price == 0 || volume == 0 => report.skipped_orders += 1,
            Action::Created => {
                orders.place(order, side, price, volume)?;
                known.insert(order, side);
            }
            _ if !known.contains_key(&order) => report.unknown_orders += 1,
            Action::Deleted if volume > 0 => {
                orders.cancel(order, side)?;
                known.remove(&order);
            }
            Action::Deleted => {
                orders.settle()?;
                if orders.remaining(order) > 0 {
                    report.filled_only_in_file += 1;
                    orders.cancel(order, side)?;
                }
                known.remove(&order);
            }
            Action::Changed => {
                orders.settle()?;
                if orders.remaining(order) > volume {
                    report.unexplained_changes += 1;
                    if volume == 0 {
                        orders.cancel(order, side)?;
                    } else {
                        orders.reduce(order, side, volume)?;
                    }
                }
            }
        }
    }
    orders.settle()?;
    progress(events.len() as u64);
    compare(events, orders, &mut report);
    Ok(report)
}

fn compare(events: &[OrderEvent], orders: &Orders<'_>, report: &mut BitstampReport) {
    let falls = falls_of(events);
    let pairs = pair(&falls);
    report.unpaired_falls = (falls.len() - 2 * pairs.len()) as u64;
    report.file_trades = pairs.len() as u64;
    report.file_traded_volume = pairs.iter().map(|&(_, volume)| volume).sum();
    report.trades = orders.trades.len() as u64;
    report.traded_volume = orders.trades.iter().map(|trade| trade.quantity).sum();
    let mut open: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for pair in pairs {
        *open.entry(pair).or_default() += 1;
    }
    for trade in &orders.trades {
        if let Some(count) = open.get_mut(&(trade.maker, trade.quantity)).filter(|count| **count > 0) {
            *count -= 1;
            report.agreeing_trades += 1;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Fall {
    order: u64,
    time_ms: u64,
    volume: u64,
    side: Side,
}

/// Where the volume of an order falls other than by its cancelling.
fn falls_of(events: &[OrderEvent]) -> Vec<Fall> {
    let mut volumes: HashMap<u64, u64> = HashMap::new();
    let mut falls = Vec::new();
    for &OrderEvent { order, time_ms, volume, action, side, .. } in events {
        let cancelled = action == Action::Deleted && volume > 0;
        if action == Action::Created {
            volumes.insert(order, volume);
        } else if let Some(before) = volumes.get_mut(&order).filter(|before| !cancelled && **before > volume) {
            falls.push(Fall { order, time_ms, volume: *before - volume, side });
            *before = volume;
        }
        if action == Action::Deleted {
            volumes.remove(&order);
        }
    }
    falls
}

/// The trades that falls show: maker and volume.
fn pair(falls: &[Fall]) -> Vec<(u64, u64)> {
    let mut paired = vec![false; falls.len()];
    let mut pairs = Vec::new();
    for (index, fall) in falls.iter().enumerate() {
        if paired[index] {
            continue;
        }
        let near = falls.iter().enumerate().skip(index + 1).take(PAIRING_DEPTH);
        let partner =
            near.take_while(|(_, other)| other.time_ms.saturating_sub(fall.time_ms) <= PAIRING_WINDOW_MS).find(
                |&(other_index, other)| !paired[other_index] && other.volume == fall.volume && other.side != fall.side,
            );
        if let Some((other_index, other)) = partner {
            paired[other_index] = true;
            pairs.push((fall.order.min(other.order), fall.volume));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::venue::DirectVenue;

    #[test]
    fn trades_agree_with_the_files_own() {
        let event = |order, action, volume, side| OrderEvent {
            line: 2,
            order,
            time_ms: 1_000,
            price: 23_600,
            volume,
            action,
            side,
        };
        let events = [
            event(1, Action::Created, 500, Side::Sell),
            event(2, Action::Created, 200, Side::Buy),
            event(1, Action::Changed, 300, Side::Sell),
            event(2, Action::Deleted, 0, Side::Buy),
            // No trade explains this one.
            event(1, Action::Changed, 100, Side::Sell),
            event(1, Action::Deleted, 100, Side::Sell),
            event(77, Action::Deleted, 100, Side::Sell),
        ];
        let mut venue = DirectVenue::default();
        let mut orders = Orders::new(&mut venue);
        set_up(&mut orders).expect("the setup is accepted");
        let report = replay(&events, &mut orders, &mut |_| {}).expect("the exchange does not stop");
        assert!(orders.rejected.is_empty(), "{:?}", orders.rejected);
        assert_eq!((report.trades, report.file_trades, report.agreeing_trades), (1, 1, 1));
        assert_eq!((report.traded_volume, report.unexplained_changes, report.unknown_orders), (200, 1, 1));
        assert_eq!((report.unpaired_falls, report.filled_only_in_file), (1, 0));
    }
}
