//! The strategies side by side: each on a branch of its own, computed twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    branch::{Branch, BranchError, evaluate},
    diff::{Diff, OrderFate, diff},
    edits::{Payment, Strategy},
    history::History,
};
use crate::{
    exchange::{Exchange, StateHash},
    types::{AccountId, Amount, AssetId, MarketId, Price, Sequence},
};

/// What a strategy would come to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The strategy.
    pub strategy: Strategy,
    /// Accounts that differ in anything.
    pub accounts_changed: u64,
    /// Of these, the ones that were never credited in error.
    pub innocent_changed: u64,
    /// Fills that are void.
    pub trades_voided: u64,
    /// Fills that did not happen before.
    pub trades_new: u64,
    /// Orders that are open again, or with more.
    pub orders_restored: u64,
    /// Orders that are open no more, or with less.
    pub orders_lost: u64,
    /// Orders that have come behind another.
    pub orders_requeued: u64,
    /// What more accounts owe, by asset: what could not be funded.
    pub shortfall: BTreeMap<AssetId, Amount>,
    /// What accounts owe in all, by asset.
    pub receivables: BTreeMap<AssetId, Amount>,
    /// What is still not covered, by asset.
    pub unbacked: BTreeMap<AssetId, Amount>,
    /// What `FEES` has more, by asset.
    pub fee_delta: BTreeMap<AssetId, i128>,
    /// The state it leads to, found by two replays that know nothing of each other.
    pub state_hash: StateHash,
    /// Whether every asset sums to zero over all accounts, and all other invariants hold.
    pub conserved: bool,
    /// How long one evaluation took.
    pub seconds: f64,
    /// What it changes, line by line.
    pub diff: Diff,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComparisonError {
    /// The strategy makes no sense for this past.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// Two evaluations came to different states: a defect.
    #[error(
        "two evaluations of {strategy} came to different states, {first} and {second}: report this, and do not apply it"
    )]
    NotReproducible {
        /// The strategy.
        strategy: &'static str,
        /// What the first came to.
        first: StateHash,
        /// What the second came to.
        second: StateHash,
    },
}

/// Evaluates the strategies one after the other, each twice at the same time, for the halt at `halt`. `credited` are the accounts that
/// were credited in error. `progress` is told the number of the strategy, from 0, and how many commands its slower
/// evaluation has applied.
///
/// One that fails does not keep the others from an outcome.
pub fn compare(
    history: &dyn History,
    halt: Sequence,
    strategies: &[Strategy],
    credited: &BTreeSet<AccountId>,
    progress: &(dyn Fn(usize, u64) + Sync),
) -> Vec<Result<Outcome, ComparisonError>> {
    let each = strategies.iter().enumerate();
    each.map(|(number, strategy)| outcome(history, halt, strategy, credited, &|count| progress(number, count)))
        .collect()
}

/// Evaluates one strategy twice.
///
/// # Errors
/// [`ComparisonError`] when it makes no sense, or is not reproducible.
pub fn outcome(
    history: &dyn History,
    halt: Sequence,
    strategy: &Strategy,
    credited: &BTreeSet<AccountId>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Outcome, ComparisonError> {
    let timed = |progress: &(dyn Fn(u64) + Sync)| {
        let begun = Instant::now();
        evaluate(history, halt, strategy, progress).map(|branch| (branch, begun.elapsed()))
    };
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| timed(&|_| ()).map(|(branch, _)| branch.exchange.state_hash()));
        let first = timed(progress);
        (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let ((branch, took), second) = (first?, second?);
    let first = branch.exchange.state_hash();
    if first != second {
        return Err(ComparisonError::NotReproducible { strategy: strategy.name(), first, second });
    }
    Ok(outcome_of(&branch, strategy, first, credited, took))
}

/// What a branch that is known to be reproducible comes to.
#[must_use]
pub fn outcome_of(
    branch: &Branch,
    strategy: &Strategy,
    state_hash: StateHash,
    credited: &BTreeSet<AccountId>,
    took: Duration,
) -> Outcome {
    let diff = diff(branch, credited);
    let accounts = diff.accounts();
    let mut receivables: BTreeMap<AssetId, Amount> = BTreeMap::new();
    for (_, asset, amount) in branch.exchange.receivables() {
        receivables.entry(asset).or_default().0 += amount.0;
    }
    Outcome {
        strategy: strategy.clone(),
        accounts_changed: accounts.len() as u64,
        innocent_changed: accounts.difference(credited).count() as u64,
        trades_voided: branch.busted.len() as u64,
        trades_new: branch.new_fills.len() as u64,
        orders_restored: diff.orders_with(OrderFate::Restored),
        orders_lost: diff.orders_with(OrderFate::Lost),
        orders_requeued: diff.orders_with(OrderFate::Requeued),
        shortfall: diff.shortfalls.clone(),
        receivables,
        unbacked: diff.unbacked.clone(),
        fee_delta: diff.fees.clone(),
        state_hash,
        conserved: branch.exchange.check_invariants().is_ok() && sums_to_zero(&branch.exchange),
        seconds: took.as_secs_f64(),
        diff,
    }
}

/// Whether every asset sums to zero over all accounts, the system's included.
#[must_use]
pub fn sums_to_zero(exchange: &Exchange) -> bool {
    let mut sums: BTreeMap<AssetId, i128> = BTreeMap::new();
    for asset in exchange.assets().map(|spec| spec.asset) {
        let system = exchange.system_balances(asset).map_or(0, |system| system.iter().sum());
        sums.insert(asset, system);
    }
    for (asset, balance) in exchange.accounts().flat_map(|view| view.balances) {
        *sums.entry(asset).or_default() += i128::from(balance.available.0) + i128::from(balance.held.0);
    }
    sums.values().all(|sum| *sum == 0)
}

/// What innocent accounts lost by the error, as payments in `asset`: for each that an excision would leave better off than it
/// is, the difference over all assets, valued at the last price before the error and rounded down.
///
/// `prices` are those of markets whose quote is `asset`; what no such market values is left out.
#[must_use]
pub fn victims(
    excised: &Branch,
    credited: &BTreeSet<AccountId>,
    asset: AssetId,
    prices: &BTreeMap<MarketId, Price>,
) -> Vec<Payment> {
    // By base asset: what one tick of price adds to the value of a lot, and the lot.
    let mut values: BTreeMap<AssetId, (u128, u128)> = BTreeMap::from([(asset, (1, 1))]);
    for view in excised.parent.markets().filter(|view| view.spec.quote == asset) {
        if let Some(price) = prices.get(&view.spec.market) {
            let lot_value = u128::from(price.0) * u128::from(view.spec.tick_value.0);
            values.entry(view.spec.base).or_insert((lot_value, u128::from(view.spec.lot_size.0)));
        }
    }
    let mut worth: BTreeMap<AccountId, i128> = BTreeMap::new();
    for change in diff(excised, credited).balances {
        let Some((lot_value, lot)) = values.get(&change.asset) else { continue };
        let total = |balance: crate::exchange::Balance| u128::from(balance.available.0) + u128::from(balance.held.0);
        let value = |balance| i128::try_from(total(balance) * lot_value / lot).unwrap_or(i128::MAX);
        *worth.entry(change.account).or_default() += value(change.after) - value(change.before);
    }
    let innocent = worth.into_iter().filter(|(account, gain)| *gain > 0 && !credited.contains(account));
    innocent
        .filter_map(|(account, gain)| Some(Payment { account, asset, amount: Amount(u64::try_from(gain).ok()?) }))
        .collect()
}
