//! One run of one book under one flow.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::flows::{BookCommand, CHUNK, Flow, Trades};

/// A book of one market.
pub trait Book {
    /// How the book wants a command; made beforehand.
    type Command;

    /// Whether an order can be lowered in its place, or given another price; else such commands are left out.
    const CHANGES_ORDERS: bool;

    /// An empty book.
    fn new(flow: &Flow) -> Self;

    /// The commands as the book wants them: each is the one at its index.
    fn commands(&mut self, flow: &Flow, commands: &[(u32, BookCommand)]) -> Vec<Self::Command>;

    /// Carries them out.
    fn execute(&mut self, commands: &[Self::Command], trades: &mut Trades);
}

/// After so long a peer takes no more of a flow, and its speed is that of what it took.
const PEER_LIMIT: Duration = Duration::from_millis(200);
/// After so long a peer is given up while it builds its book.
const SETUP_LIMIT: Duration = Duration::from_secs(5);

/// What a run came to.
pub(super) struct Run {
    pub(super) seconds: f64,
    /// How many commands were timed.
    pub(super) commands: usize,
    pub(super) without_reductions: bool,
    pub(super) trades: Trades,
    pub(super) expected: Trades,
}

impl Run {
    pub(super) fn per_second(&self) -> f64 {
        self.commands as f64 / self.seconds
    }

    pub(super) fn is_right(&self) -> bool {
        self.trades == self.expected
    }
}

/// Runs a peer, as far as it comes; when it panics, that is its outcome.
pub(super) fn peer<B: Book>(flow: &Flow) -> Result<Run, String> {
    catch_unwind(AssertUnwindSafe(|| run::<B>(flow, PEER_LIMIT))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("PANICS: {}", text.unwrap_or_default()))
    })
}

/// Runs a book to the end.
pub(super) fn measure<B: Book>(flow: &Flow) -> Result<Run, String> {
    run::<B>(flow, Duration::MAX)
}

fn run<B: Book>(flow: &Flow, limit: Duration) -> Result<Run, String> {
    let replaces = flow.commands.iter().any(|command| matches!(command, BookCommand::Replace { .. }));
    if replaces && !B::CHANGES_ORDERS {
        return Err("cannot change an order in its place".to_owned());
    }
    let without_reductions = !B::CHANGES_ORDERS && flow.commands.iter().any(BookCommand::is_reduction);
    let expected = if without_reductions { &flow.expected_without_reductions } else { &flow.expected };
    let mut book = B::new(flow);
    let mut chunks = |range: std::ops::Range<usize>| -> Vec<Vec<B::Command>> {
        let named: Vec<(u32, BookCommand)> = (range.start as u32..).zip(flow.commands[range].iter().copied()).collect();
        let chunks = named.chunks(CHUNK).map(|chunk| {
            let wanted = chunk.iter().filter(|(_, command)| B::CHANGES_ORDERS || !command.is_reduction());
            book.commands(flow, &wanted.copied().collect::<Vec<_>>())
        });
        chunks.collect()
    };
    let (setup, timed) = (chunks(0..flow.setup), chunks(flow.setup..flow.commands.len()));
    let mut trades = Trades::default();
    let begun = Instant::now();
    for (chunk, done) in setup.iter().zip(0..) {
        if begun.elapsed() > SETUP_LIMIT && limit < Duration::MAX {
            return Err(format!("GIVEN UP: {} orders in {SETUP_LIMIT:?} while its book was built", done * CHUNK));
        }
        book.execute(chunk, &mut trades);
    }
    let (mut taken, mut commands) = (0, 0);
    let begun = Instant::now();
    let mut elapsed = Duration::ZERO;
    for chunk in &timed {
        book.execute(chunk, &mut trades);
        (taken, commands, elapsed) = (taken + 1, commands + chunk.len(), begun.elapsed());
        if elapsed > limit {
            break;
        }
    }
    Ok(Run { seconds: elapsed.as_secs_f64(), commands, without_reductions, trades, expected: expected[taken] })
}
