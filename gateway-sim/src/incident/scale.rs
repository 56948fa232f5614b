//! A recovery over a long history, measured.
use std::path::PathBuf;
use super::StrategyName;
/// How many commands lie between the last snapshot and the airdrop, if nothing else is asked for.
pub const BEFORE_DEFAULT: u64 = 900_000;
/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Scale {
    /// How many commands follow the bad airdrop.
    pub commands: u64,
    /// How many commands lie between the last snapshot and the airdrop.
    pub before: u64,
    /// How many accounts there are.
    pub accounts: u32,
    /// How many markets.
    pub markets: u16,
    /// The strategy to apply.
    pub strategy: StrategyName,
    /// Whether all strategies are compared as well.
    pub compare: bool,
    /// Determines the history.
    pub seed: u64,
    /// Where the journal goes; `None` for a temporary directory.
    pub data: Option<PathBuf>,
    /// Where the HTML report goes, if anywhere.
    pub html: Option<PathBuf>,
}
