//! Order books, the whole exchange and the peers': the same limit orders and cancels, the same trades.
//!
//! The exchange is measured as it is: accounts, holds, fees, settlement and events are part of every command. The
//! peers have books and nothing else, so the comparison is against us.

mod flow;
mod lobster;
mod matchcore;
mod orderbook_rs;
mod reprise;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use gateway_sim::report::text::grouped;

pub use flow::{BookCommand, BookFlow};

use crate::{
    arguments::Settings,
    report::{Figure, Findings, Section},
};

/// A book of one market.
pub trait Book {
    /// How the book wants a command; made beforehand.
    type Command;

    /// An empty book.
    fn new(flow: &BookFlow) -> Self;

    /// The command at `index`, from 0; an order is named by the index of the command that placed it.
    fn command(flow: &BookFlow, index: u64, command: &BookCommand) -> Self::Command;

    /// Carries it out.
    fn execute(&mut self, command: &Self::Command, trades: &mut Trades);
}

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
    /// Counts a trade; orders by the index of the command that placed them.
    #[inline]
    pub fn add(&mut self, maker: u64, taker: u64, price: u64, quantity: u64) {
        self.count += 1;
        self.quantity += quantity;
        for word in [maker, taker, price, quantity] {
            // FNV-1a's prime, on words.
            self.checksum = (self.checksum ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A run's speed and trades, or why it has none.
type Outcome = Result<(f64, Trades), String>;

struct Case {
    book: &'static str,
    setting: &'static str,
    run: fn(&BookFlow) -> Outcome,
    /// Why its trades differ, where that was looked up.
    known: &'static str,
    samples: Vec<f64>,
    trades: Trades,
    error: Option<String>,
}

/// Measures books.
pub struct Books {
    runs: Vec<(BookFlow, Vec<Case>)>,
}

impl Books {
    /// Generates the commands.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let flows =
            [BookFlow::shallow(settings.book_commands), BookFlow::deep(settings.deep_accounts, settings.book_commands)];
        Self { runs: flows.into_iter().map(|flow| (flow, cases())).collect() }
    }

    /// Measures everything once.
    pub fn round(&mut self) {
        for (flow, cases) in &mut self.runs {
            for case in cases.iter_mut().filter(|case| case.error.is_none()) {
                match (case.run)(flow) {
                    Ok((seconds, trades)) => {
                        case.samples.push(flow.timed() as f64 / seconds);
                        case.trades = trades;
                    }
                    Err(error) => case.error = Some(error),
                }
            }
        }
    }

    /// The figures, and what of ours went wrong.
    #[must_use]
    pub fn finish(self) -> Findings {
        let mut failures = Vec::new();
        let mut sections = Vec::new();
        for (flow, cases) in self.runs {
            let ours = &cases[0];
            let Trades { count, quantity, .. } = ours.trades;
            failures.extend(ours.error.as_ref().map(|error| format!("book, {}: {error}", flow.name)));
            if count == 0 {
                failures.push(format!("book, {}: nothing was traded", flow.name));
            }
            let figures = cases.iter().map(|case| {
                let outcome = match &case.error {
                    Some(error) => format!("FAILED: {error}"),
                    None if case.trades == ours.trades => "same trades".to_owned(),
                    None => {
                        let Trades { count, quantity, .. } = case.trades;
                        let known = case.known;
                        format!("OTHER TRADES: {} of {} lots in all{known}", grouped(count), grouped(quantity))
                    }
                };
                let samples = if case.error.is_some() { &[] } else { case.samples.as_slice() };
                let figure = Figure::new(case.book, case.setting, samples, outcome);
                if case.book == ours.book { figure } else { figure.compared_to(ours.book, &ours.samples) }
            });
            let figures = figures.collect();
            let conditions = vec![
                flow.description(),
                format!("in line, one thread; trades: {} of {} lots in all", grouped(count), grouped(quantity)),
                "reprise does accounts, holds, fees, settlement and events besides; the peers are books without a ledger"
                    .to_owned(),
            ];
            sections.push(Section { title: format!("books, {}", flow.name), conditions, unit: "commands", figures });
        }
        Findings { sections, failures, ..Findings::default() }
    }
}

fn cases() -> Vec<Case> {
    let case = |book, setting, run| Case {
        book,
        setting,
        run,
        known: "",
        samples: Vec::new(),
        trades: Trades::default(),
        error: None,
    };
    vec![
        case("reprise", "whole exchange: risk + match + settle + events", measure::<reprise::RepriseBook>),
        Case {
            known: "; its version 0.4.0 lets a limit order that crosses trade beyond its limit",
            ..case("matchcore", "book only, integers", peer::<matchcore::MatchcoreBook>)
        },
        case("lobster", "book only, integers", peer::<lobster::LobsterBook>),
        case("orderbook-rs", "book only, integers, made for many threads", peer::<orderbook_rs::OrderbookRsBook>),
    ]
}

/// Runs a peer; when it panics, that is its outcome.
fn peer<B: Book>(flow: &BookFlow) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| measure::<B>(flow))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn measure<B: Book>(flow: &BookFlow) -> Outcome {
    let commands = (0..).zip(&flow.commands).map(|(index, command)| B::command(flow, index, command));
    let commands: Vec<B::Command> = commands.collect();
    let (setup, timed) = commands.split_at(flow.setup);
    let (mut book, mut trades) = (B::new(flow), Trades::default());
    setup.iter().for_each(|command| book.execute(command, &mut trades));
    let begun = Instant::now();
    timed.iter().for_each(|command| book.execute(command, &mut trades));
    Ok((begun.elapsed().as_secs_f64(), trades))
}
