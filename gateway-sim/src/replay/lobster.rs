//! A LOBSTER file as commands, and as an oracle for price-time priority that nobody here wrote: where the file says
//! which known order an execution hit, an incoming order of that size must fill exactly that one.
//!
//! | message | becomes |
//! |---|---|
//! | 1 add | a limit order, good till cancelled, under the file's id; also when it crosses the book (counted) |
//! | 2 reduce | a reduction to what the file's own bookkeeping leaves open |
//! | 3 delete | a cancel by the file's id |
//! | 4 execute | an immediate-or-cancel order of that size at that price on the other side |
//! | 5, 6, 7 | nothing (hidden orders, auctions and halts do not touch the visible book) |
//!
//! Ids that the file never added (they stood before it begins) are skipped and counted.
//!
//! *Standing orders.* NASDAQ numbers orders as they arrive, and the file lists orders that stood before it begins as
//! soon as they come within its depth. An order whose id is below that of the file's first line therefore stood before
//! it, and is placed at the opening, in order of id; unless it would cross an order that the file lists before it.
//!
//! *Departures.* In some places the file itself departs from price-time priority: it executes an order while an older
//! one at that price is open. There the exchange rightly fills the older one. Then the levels concerned are
//! put back as the file has them (cancelled and placed anew, in order), so that one departure does not spoil all
//! that follows; what the exchange did is listed.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use engine::types::Side;
use serde::Serialize;

use super::{
    file_book::{FileBook, FileOrder},
    orders::{Instrument, Orders},
};
use crate::market_data::lobster::{Kind, Message};

const INSTRUMENT: Instrument = Instrument { base: "STOCK", base_scale: 0, quote_scale: 4 };

/// What the oracle says, and what the file held.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LobsterReport {
    /// Messages in the file.
    pub messages: u64,
    /// Executions of an order that the file added and of which enough is open.
    pub named_executions: u64,
    /// Of these, those whose order filled exactly the named one, for exactly that size.
    pub exact_fills: u64,
    /// The others.
    pub departures: Vec<Departure>,
    /// Orders placed at the opening because their ids say that they stood before the file begins.
    pub standing_orders: u64,
    /// Added orders that crossed the file's own book when they were placed.
    pub crossing_adds: u64,
    /// Added orders whose id was open already; skipped.
    pub repeated_adds: u64,
    /// Executions of an order that the file never added; skipped.
    pub unknown_executions: u64,
    /// Executions of more than is open by the file's own bookkeeping; skipped.
    pub oversized_executions: u64,
    /// Reductions of an order that the file never added; skipped.
    pub unknown_reductions: u64,
    /// Deletions of an order that the file never added; skipped.
    pub unknown_deletions: u64,
    /// Executions of hidden orders; skipped.
    pub hidden_executions: u64,
    /// Auctions' trades; skipped.
    pub auction_trades: u64,
    /// Halt messages; skipped.
    pub halts: u64,
    /// Commands that put levels back after a departure.
    pub repairs: u64,
}

/// A named execution that did not fill exactly the named order.
#[derive(Clone, Debug, Serialize)]
pub struct Departure {
    /// The line of the execution.
    pub line: u64,
    /// Seconds after midnight.
    pub time: String,
    /// The named order.
    pub order: u64,
    /// The size of the execution.
    pub size: u64,
    /// Its price, in the file's units.
    pub price: u64,
    /// What the exchange filled instead: orders by the file's ids, with sizes.
    pub filled: Vec<(u64, u64)>,
    /// Why, as far as the file tells.
    pub reason: String,
}

/// An execution that was sent and must fill exactly the named order.
#[derive(Clone, Copy, Debug)]
struct Sent {
    submission: u64,
    /// The index of its message.
    index: usize,
}

struct Replay<'a, 'b> {
    messages: &'a [Message],
    orders: &'a mut Orders<'b>,
    book: FileBook,
    sent: Vec<Sent>,
    report: LobsterReport,
}

/// Sends the messages through the venue; `progress` hears the number of messages done now and then.
///
/// # Errors
/// When the exchange stops.
pub fn replay(messages: &[Message], orders: &mut Orders<'_>, progress: &mut dyn FnMut(u64)) -> Result<LobsterReport> {
    let report = LobsterReport { messages: messages.len() as u64, ..LobsterReport::default() };
    let mut replay = Replay { messages, orders, book: FileBook::default(), sent: Vec::new(), report };
    replay.place_standing()?;
    for index in 0..messages.len() {
        replay.send(index)?;
        if index % 1_024 == 0 {
            progress(index as u64);
        }
    }
    replay.orders.settle()?;
    progress(messages.len() as u64);
    replay.judge();
    Ok(replay.report)
}

/// Sets up an empty exchange for such a replay; returns the number of commands.
///
/// # Errors
/// When the exchange stops or refuses.
pub fn set_up(orders: &mut Orders<'_>) -> Result<u64> {
    orders.set_up(&INSTRUMENT)
}

impl Replay<'_, '_> {
    fn place_standing(&mut self) -> Result<()> {
        let mut standing = standing_orders(self.messages);
        standing.sort_by_key(|message| message.order);
        self.report.standing_orders = standing.len() as u64;
        for Message { order, side, price, size, .. } in standing {
            self.orders.place(order, side, price, size)?;
            self.book.add(order, FileOrder { side, price, quantity: size, listed: false });
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> Result<()> {
        let message = self.messages[index];
        match message.kind {
            Kind::Add => self.add(&message),
            Kind::Reduce => self.reduce(&message),
            Kind::Delete => self.delete(&message),
            Kind::Execute => self.execute(index),
            Kind::ExecuteHidden => count(&mut self.report.hidden_executions),
            Kind::Cross => count(&mut self.report.auction_trades),
            Kind::Halt => count(&mut self.report.halts),
        }
    }

    fn add(&mut self, message: &Message) -> Result<()> {
        let Message { order, side, price, size, .. } = *message;
        match self.book.get(order) {
            Some(FileOrder { listed: false, .. }) => {
                self.book.list(order);
                return Ok(());
            }
            Some(_) => return count(&mut self.report.repeated_adds),
            None => {}
        }
        if self.book.crosses(side, price) {
            self.report.crossing_adds += 1;
        }
        self.orders.place(order, side, price, size)?;
        self.book.add(order, FileOrder { side, price, quantity: size, listed: true });
        Ok(())
    }

    /// The order, if the file has added it.
    fn listed(&self, order: u64) -> Option<FileOrder> {
        self.book.get(order).filter(|order| order.listed)
    }

    fn reduce(&mut self, message: &Message) -> Result<()> {
        let Message { order, size, .. } = *message;
        let Some(FileOrder { side, quantity, .. }) = self.listed(order) else {
            return count(&mut self.report.unknown_reductions);
        };
        if quantity > size {
            self.orders.reduce(order, side, quantity - size)?;
        } else {
            self.orders.cancel(order, side)?;
        }
        self.book.lower(order, size);
        Ok(())
    }

    fn delete(&mut self, message: &Message) -> Result<()> {
        let Some(FileOrder { side, .. }) = self.listed(message.order) else {
            return count(&mut self.report.unknown_deletions);
        };
        self.orders.cancel(message.order, side)?;
        self.book.remove(message.order);
        Ok(())
    }

    fn execute(&mut self, index: usize) -> Result<()> {
        let Message { order, size, price, .. } = self.messages[index];
        let Some(named) = self.listed(order) else { return count(&mut self.report.unknown_executions) };
        if named.quantity < size {
            return count(&mut self.report.oversized_executions);
        }
        let submission = self.orders.take(named.side.opposite(), price, size)?;
        self.sent.push(Sent { submission, index });
        let is_next = self.book.is_next(order);
        self.book.lower(order, size);
        if is_next { Ok(()) } else { self.put_back(submission, named) }
    }

    /// Puts the levels that an execution out of turn has touched back as the file has them.
    fn put_back(&mut self, submission: u64, named: FileOrder) -> Result<()> {
        self.orders.settle()?;
        let filled = fills_of(self.orders, submission);
        let named_order = self.sent.last().map_or(0, |sent| self.messages[sent.index].order);
        let mut levels = BTreeSet::from([(named.side, named.price)]);
        levels.extend(filled.iter().filter_map(|&(maker, _)| {
            let FileOrder { side, price, .. } = self.book.get(maker)?;
            Some((side, price))
        }));
        let before = self.orders.submitted;
        // The named order may be closed in the file and still open on the exchange.
        if self.book.get(named_order).is_none() && self.orders.remaining(named_order) > 0 {
            self.orders.cancel(named_order, named.side)?;
        }
        for (side, price) in levels {
            self.put_level_back(side, price)?;
        }
        self.report.repairs += self.orders.submitted - before;
        Ok(())
    }

    fn put_level_back(&mut self, side: Side, price: u64) -> Result<()> {
        let level = self.book.level(side, price);
        for &order in &level {
            if self.orders.remaining(order) > 0 {
                self.orders.cancel(order, side)?;
            }
        }
        for &order in &level {
            if let Some(FileOrder { quantity, .. }) = self.book.get(order) {
                self.orders.place(order, side, price, quantity)?;
            }
        }
        Ok(())
    }

    /// Holds every execution that was sent against what the exchange reported.
    fn judge(&mut self) {
        let mut fills: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
        for trade in &self.orders.trades {
            fills.entry(trade.submission).or_default().push((trade.maker, trade.quantity));
        }
        self.report.named_executions = self.sent.len() as u64;
        for Sent { submission, index } in std::mem::take(&mut self.sent) {
            let Message { line, time_ns, order, size, price, .. } = self.messages[index];
            let filled = fills.remove(&submission).unwrap_or_default();
            if filled == [(order, size)] {
                self.report.exact_fills += 1;
                continue;
            }
            let reason = self.explain(index, &filled);
            let time = format!("{}.{:09}", time_ns / 1_000_000_000, time_ns % 1_000_000_000);
            self.report.departures.push(Departure { line, time, order, size, price, filled, reason });
        }
    }

    /// What the file tells of the orders that were filled instead.
    fn explain(&self, index: usize, filled: &[(u64, u64)]) -> String {
        let named = self.messages[index].order;
        let Some(&(other, _)) = filled.iter().find(|&&(maker, _)| maker != named) else {
            return match filled {
                [] => "nothing stood at this price or better".to_owned(),
                _ => "less was open of it than the file says".to_owned(),
            };
        };
        let (before, after) = self.messages.split_at(index);
        let mention = |message: &&Message| message.order == other;
        let added = match before.iter().find(|message| mention(message) && message.kind == Kind::Add) {
            Some(message) => format!("which line {} adds", message.line),
            None => "which stood before the file begins".to_owned(),
        };
        let later = match after.iter().find(mention) {
            Some(Message { line, kind: Kind::Execute, .. }) => format!("executes it only at line {line}"),
            Some(Message { line, kind: Kind::Delete, .. }) => format!("deletes it at line {line}"),
            Some(Message { line, kind: Kind::Reduce, .. }) => format!("reduces it at line {line}"),
            Some(Message { line, .. }) => format!("mentions it next at line {line}"),
            None => "does not mention it again".to_owned(),
        };
        format!("order {other}, {added}, stood ahead at this price or a better one; the file {later}")
    }
}

/// The fills of a submission whose outcomes have arrived, by the file's ids.
fn fills_of(orders: &Orders<'_>, submission: u64) -> Vec<(u64, u64)> {
    let trades = orders.trades.iter().rev().take_while(|trade| trade.submission >= submission);
    let mut fills: Vec<(u64, u64)> =
        trades.filter(|trade| trade.submission == submission).map(|trade| (trade.maker, trade.quantity)).collect();
    fills.reverse();
    fills
}

/// The added orders whose ids say that they stood before the file begins, in the file's order.
fn standing_orders(messages: &[Message]) -> Vec<Message> {
    let Some(first) = messages.iter().find(|message| message.kind == Kind::Add) else { return Vec::new() };
    let (mut highest_buy, mut lowest_sell) = (0, u64::MAX);
    let mut seen = BTreeSet::new();
    let mut standing = Vec::new();
    for message in messages.iter().filter(|message| message.kind == Kind::Add) {
        let crosses = match message.side {
            Side::Buy => message.price >= lowest_sell,
            Side::Sell => message.price <= highest_buy,
        };
        if message.order < first.order && !crosses && seen.insert(message.order) {
            standing.push(*message);
        }
        match message.side {
            Side::Buy => highest_buy = highest_buy.max(message.price),
            Side::Sell => lowest_sell = lowest_sell.min(message.price),
        }
    }
    standing
}

#[expect(clippy::unnecessary_wraps, reason = "so that it can stand where a command would be sent")]
fn count(counter: &mut u64) -> Result<()> {
    *counter += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::venue::DirectVenue;

    fn message(line: u64, kind: Kind, order: u64, size: u64, price: u64, side: Side) -> Message {
        Message { line, time_ns: line, kind, order, size, price, side }
    }

    fn run(messages: &[Message]) -> LobsterReport {
        let mut venue = DirectVenue::default();
        let mut orders = Orders::new(&mut venue);
        set_up(&mut orders).expect("the setup is accepted");
        let report = replay(messages, &mut orders, &mut |_| {}).expect("the exchange does not stop");
        assert!(orders.rejected.is_empty(), "{:?}", orders.rejected);
        venue.exchange.check_invariants().expect("the invariants hold");
        report
    }

    #[test]
    fn executions_in_turn_are_exact() {
        let report = run(&[
            message(1, Kind::Add, 10, 100, 50, Side::Sell),
            message(2, Kind::Add, 11, 100, 50, Side::Sell),
            message(3, Kind::Reduce, 10, 40, 50, Side::Sell),
            message(4, Kind::Execute, 10, 60, 50, Side::Sell),
            message(5, Kind::Execute, 11, 30, 50, Side::Sell),
            message(6, Kind::Delete, 11, 70, 50, Side::Sell),
            message(7, Kind::Execute, 99, 70, 50, Side::Sell),
            message(8, Kind::ExecuteHidden, 0, 70, 50, Side::Sell),
        ]);
        assert_eq!((report.named_executions, report.exact_fills), (2, 2));
        assert_eq!((report.unknown_executions, report.hidden_executions), (1, 1));
    }

    #[test]
    fn a_departure_is_listed_and_does_not_spoil_what_follows() {
        let report = run(&[
            message(1, Kind::Add, 10, 100, 50, Side::Sell),
            message(2, Kind::Add, 11, 100, 50, Side::Sell),
            message(3, Kind::Add, 12, 100, 50, Side::Sell),
            // Out of turn: order 10 is older.
            message(4, Kind::Execute, 11, 60, 50, Side::Sell),
            message(5, Kind::Execute, 10, 100, 50, Side::Sell),
            message(6, Kind::Execute, 11, 40, 50, Side::Sell),
            message(7, Kind::Execute, 12, 100, 50, Side::Sell),
        ]);
        assert_eq!((report.named_executions, report.exact_fills), (4, 3));
        let [departure] = &report.departures[..] else { panic!("one departure: {:?}", report.departures) };
        assert_eq!((departure.line, departure.order, &departure.filled[..]), (4, 11, &[(10, 60)][..]));
        assert!(departure.reason.contains("order 10, which line 1 adds"), "{}", departure.reason);
        assert!(departure.reason.contains("executes it only at line 5"), "{}", departure.reason);
        assert!(report.repairs > 0);
    }

    #[test]
    fn an_order_whose_id_is_older_than_the_file_stands_first() {
        let report = run(&[
            message(1, Kind::Add, 10, 100, 50, Side::Sell),
            message(2, Kind::Add, 3, 100, 50, Side::Sell),
            message(3, Kind::Execute, 3, 100, 50, Side::Sell),
            message(4, Kind::Execute, 10, 100, 50, Side::Sell),
        ]);
        assert_eq!((report.named_executions, report.exact_fills, report.standing_orders), (2, 2, 1));
    }

    #[test]
    fn adds_that_cross_trade_and_are_counted() {
        let report = run(&[
            message(1, Kind::Add, 10, 100, 50, Side::Sell),
            message(2, Kind::Add, 11, 30, 51, Side::Buy),
            message(3, Kind::Execute, 10, 100, 50, Side::Sell),
        ]);
        assert_eq!((report.crossing_adds, report.named_executions, report.exact_fills), (1, 1, 0));
        assert_eq!(report.departures[0].reason, "less was open of it than the file says");
    }
}
