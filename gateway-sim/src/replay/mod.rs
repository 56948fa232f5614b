//! Recorded order flow, turned into commands and sent through the whole durable pipeline as fast as it takes them.

pub mod bitstamp;
pub mod file_book;
pub mod lobster;
pub mod orders;
pub mod pipeline_venue;
pub mod venue;

use std::path::PathBuf;

use anyhow::{Result, bail};
use engine::{exchange::Exchange, pipeline::Config};
use serde::Serialize;

use self::{
    bitstamp::BitstampReport,
    lobster::LobsterReport,
    orders::{BASE, BUYER, DEPOSIT, Orders, QUOTE, SELLER, TAKER},
    pipeline_venue::PipelineVenue,
};
use crate::{
    market_data::{self, Format},
    progress::Progress,
    report::Report,
    session::{Measured, Session},
};

/// What is run.
#[derive(Clone, Debug)]
pub struct Replay {
    /// What the file holds.
    pub format: Format,
    /// The file.
    pub file: PathBuf,
    /// Where the journal goes; `None` for a temporary directory.
    pub data: Option<PathBuf>,
    /// How the exchange runs.
    pub config: Config,
}

/// How the exchange's fills compare with what the file says they must be.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Oracle {
    /// Executions that name an order which can be executed.
    pub named_executions: u64,
    /// Of these, those that filled exactly the named order for exactly the named size.
    pub exact_fills: u64,
}

/// What only a replay has to report.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "format", rename_all = "lowercase")]
pub enum ReplayFigures {
    /// Of a LOBSTER file.
    Lobster(LobsterReport),
    /// Of a Bitstamp file.
    Bitstamp(BitstampReport),
}

enum File {
    Lobster(Vec<market_data::lobster::Message>),
    Bitstamp(Vec<market_data::bitstamp::OrderEvent>),
}

/// Runs the replay and reports.
///
/// # Errors
/// When the file cannot be read or is malformed, or the exchange cannot start, stops, or loses or makes money.
pub fn run(replay: &Replay) -> Result<Report> {
    let (file, total) = match replay.format {
        Format::Lobster => {
            let messages = market_data::lobster::read(&replay.file)?;
            let total = messages.len();
            (File::Lobster(messages), total)
        }
        Format::Bitstamp => {
            let events = market_data::bitstamp::read(&replay.file)?;
            let total = events.len();
            (File::Bitstamp(events), total)
        }
    };
    if total == 0 {
        bail!("{} holds no order flow", replay.file.display());
    }
    let session = Session::start(replay.data.as_deref(), replay.config.clone())?;
    let mut venue = PipelineVenue::open(&session)?;
    let mut orders = Orders::new(&mut venue);
    match file {
        File::Lobster(_) => lobster::set_up(&mut orders)?,
        File::Bitstamp(_) => bitstamp::set_up(&mut orders)?,
    };
    let before = session.pipeline.counters();
    session.pipeline.latency()?;

    let clock = session.pipeline.clock();
    let start = clock.now();
    let mut progress = Progress::start("lines", total as u64);
    let mut note = |done| progress.update(done, String::new);
    let figures = match &file {
        File::Lobster(messages) => ReplayFigures::Lobster(lobster::replay(messages, &mut orders, &mut note)?),
        File::Bitstamp(events) => ReplayFigures::Bitstamp(bitstamp::replay(events, &mut orders, &mut note)?),
    };
    progress.finish();
    let seconds = (clock.now().0 - start.0) as f64 / 1e9;
    let rejected = std::mem::take(&mut orders.rejected);
    drop(venue);
    let after = session.pipeline.counters();
    let latency = session.pipeline.latency()?;
    let title =
        format!("replay of {} ({}), durability {}", replay.file.display(), replay.format, replay.config.durability);
    let (mut report, exchange) = session.finish(title, &Measured { before, after, seconds, latency })?;
    check_conservation(&exchange)?;
    report.oracle = match &figures {
        ReplayFigures::Lobster(LobsterReport { named_executions, exact_fills, .. }) => {
            Some(Oracle { named_executions: *named_executions, exact_fills: *exact_fills })
        }
        ReplayFigures::Bitstamp(_) => None,
    };
    report.replay = Some(figures);
    report.rejected = Some(rejected);
    Ok(report)
}

/// Without fees the accounts must hold together exactly what was deposited.
fn check_conservation(exchange: &Exchange) -> Result<()> {
    let accounts = [BUYER, SELLER, TAKER];
    for asset in [BASE, QUOTE] {
        let held: u128 = accounts
            .iter()
            .map(|&account| exchange.risk().balance(account, asset))
            .map(|balance| u128::from(balance.available.0) + u128::from(balance.held.0))
            .sum();
        let deposited = u128::from(DEPOSIT.0) * accounts.len() as u128;
        if held != deposited {
            bail!("{deposited} of {asset} was deposited, and the accounts hold {held}: this is a defect");
        }
    }
    Ok(())
}
