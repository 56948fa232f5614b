//! The engine against the naive models, for one history and one strategy: states, fills, debts, reach and innocents.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    command::{Command, SequencedCommand},
    event::{Event, NoEvents},
    exchange::Exchange,
    recovery::{self, Branch, BranchError, BustedFill, History, Payment, Strategy},
    types::{AccountId, AssetId, MarketId, OrderId, Sequence, Side, WithdrawalId},
};

use crate::{
    model::{ModelExchange, RECEIVABLES},
    naive::{self, Coverage, Fill, Parent, Refusal, reach::reach},
};

/// Fails with a message when something does not hold.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

/// Compares all that a strategy leads to.
pub fn compare(parent: &Parent, history: &dyn History, strategy: &Strategy) -> Result<Coverage, String> {
    let name = strategy.name();
    let engine = recovery::evaluate(history, parent.halt, strategy, &|_| {});
    let expected = match (parent.evaluate(strategy), &engine) {
        (Err(expected), Err(why)) => {
            let mut coverage = Coverage::default();
            coverage.saw(same_refusal(parent, name, expected, why)?);
            return Ok(coverage);
        }
        (Err(why), Ok(_)) => {
            return Err(format!("{name}: the model refuses the plan and the engine does not: {why:?}"));
        }
        (Ok(_), Err(why)) => return Err(format!("{name}: the engine refuses the plan and the model does not: {why}")),
        (Ok(expected), Ok(_)) => expected,
    };
    let branch = engine.expect("it was looked at");
    expected.model.check();
    let mut coverage = expected.coverage.clone();
    coverage.saw(match strategy {
        Strategy::Rewind { .. } => "plans: rewind",
        Strategy::Excise(_) => "plans: excise",
        Strategy::Bust(_) => "plans: bust",
        Strategy::Compensate { .. } => "plans: compensate",
    });

    same_state("the parent at the halt", &parent.at_halt, &branch.parent)?;
    same_state(&format!("{name} at the halt"), &expected.model, &branch.exchange)?;
    ensure!(branch.cut == strategy.cut(), "{name}: the cut is {} and not {}", branch.cut, strategy.cut());
    for exchange in [&branch.parent, &branch.exchange] {
        exchange.check_invariants().map_err(|broken| format!("{name}: invariant broken: {broken}"))?;
        conserved(exchange)?;
    }

    // Fills, kept and void.
    let before = parent.fills_behind(strategy.cut());
    let busted = difference(&before, &expected.fills);
    let new = difference(&expected.fills, &before);
    same_fills(&format!("{name}: busted"), &busted, &branch.busted)?;
    same_fills(&format!("{name}: new"), &new, &branch.new_fills)?;
    for (what, fills) in [("fills void", &busted), ("fills new", &new)] {
        if !fills.is_empty() {
            coverage.saw(what);
        }
    }
    let kept = before.len() - busted.len();
    if kept > 0 {
        coverage.saw("fills kept");
    }

    owed(parent, strategy, &expected, &mut coverage)?;
    if let Strategy::Compensate { edits, payments } = strategy {
        compensated(parent, &edits.sequences(), payments, &branch)?;
    }
    outside_reach(parent, history, strategy, &expected, &mut coverage)?;
    changed(parent, strategy, &expected, &branch, &mut coverage)?;

    // The same again, twice at once.
    let again = recovery::outcome(history, parent.halt, strategy, &credited(parent, strategy), &|_| {});
    let again = again.map_err(|error| error.to_string())?;
    ensure!(again.state_hash == branch.exchange.state_hash(), "{name}: two evaluations lead to different states");

    if matches!(strategy, Strategy::Excise(_)) && !expected.forced && parent.is_first() {
        fresh_run(parent, strategy, &branch.exchange)?;
        coverage.saw("excise equals a fresh run");
    }

    // What came behind the halt.
    let mut model = expected.model;
    let taken = parent.advance(&mut model);
    let (mut happened, mut exchange) = (branch.parent, branch.exchange);
    let carried = parent.later().try_for_each(|later| recovery::carry_forward(&mut happened, &mut exchange, later));
    if taken.is_err() {
        ensure!(
            matches!(carried, Err(BranchError::FactRefused { .. })),
            "{name}: the model refuses a fact behind the halt, and the engine says {carried:?}"
        );
        coverage.saw("a fact behind the halt is refused on the branch");
        return Ok(coverage);
    }
    carried.map_err(|why| format!("{name}, behind the halt: {why}"))?;
    same_state(&format!("{name} behind the halt"), &model, &exchange)?;
    exchange.check_invariants().map_err(|broken| format!("{name}, behind the halt: invariant broken: {broken}"))?;
    Ok(coverage)
}

/// Both refuse a plan; for the same reason?
fn same_refusal(parent: &Parent, name: &str, expected: Refusal, why: &BranchError) -> Result<&'static str, String> {
    let (same, what) = match expected {
        Refusal::NothingBehind => {
            (matches!(why, BranchError::CutNotBeforeHalt { .. }), "refused: a cut that is not before the halt")
        }
        Refusal::Fact => (matches!(why, BranchError::Fact { .. }), "refused: a fact without a reason"),
        Refusal::Unchanged => (matches!(why, BranchError::Unchanged { .. }), "refused: a replacement is the same"),
        Refusal::Replacement => {
            (matches!(why, BranchError::ReplacementRefused { .. }), "refused: a replacement is refused")
        }
        Refusal::FactRefused => (matches!(why, BranchError::FactRefused { .. }), "refused: a fact is refused"),
        Refusal::Overdrawn(asset) => {
            // It must be said of whom, and of which asset.
            let symbol = parent.at_halt.assets[&asset].symbol.to_string();
            let said = matches!(why, BranchError::Invariant(broken) if broken.contains(&format!("{symbol}: ")) && broken.contains("TREASURY"));
            (said, "refused: the treasury is overdrawn")
        }
        Refusal::OverdrawnOnTheWay => {
            (matches!(why, BranchError::Overdrawn { .. }), "refused: the treasury is overdrawn on the way")
        }
        Refusal::Unsuited => (matches!(why, BranchError::Unsuited { .. }), "refused: unsuited"),
        Refusal::NothingCredited => (matches!(why, BranchError::NothingCredited), "refused: nothing was credited"),
        Refusal::Payment => (matches!(why, BranchError::Payment { .. }), "refused: a payment"),
    };
    ensure!(same, "{name}: the model refuses the plan for {expected:?}, and the engine says: {why}");
    Ok(what)
}

/// The canonical bytes of a state.
pub fn bytes_of(exchange: &Exchange) -> Vec<u8> {
    let mut bytes = Vec::new();
    exchange.canonical_state(&mut |chunk: &[u8]| bytes.extend_from_slice(chunk));
    bytes
}

pub fn same_state(what: &str, model: &ModelExchange, exchange: &Exchange) -> Result<(), String> {
    let (expected, bytes) = (model.canonical_state(), bytes_of(exchange));
    if expected == bytes {
        ensure!(exchange.state_hash().0 == model.state_hash(), "{what}: the hash is not that of the bytes");
        return Ok(());
    }
    let read = Exchange::from_canonical_state(&expected, exchange.last_sequence(), 0);
    let lines = match read {
        Ok(read) => {
            let (model, engine) = (describe(&read), describe(exchange));
            let of_model = model.difference(&engine).map(|line| format!("  model:  {line}"));
            let of_engine = engine.difference(&model).map(|line| format!("  engine: {line}"));
            of_model.chain(of_engine).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("  the model's state cannot be read: {error}"),
    };
    Err(format!("{what}: states differ\n{lines}"))
}

/// A state as lines that can be compared.
fn describe(exchange: &Exchange) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for account in exchange.accounts() {
        for (asset, balance) in account.balances {
            lines.insert(format!("{} {asset}: {balance:?}", account.account));
        }
    }
    for asset in exchange.assets() {
        lines.insert(format!("{}: {:?}", asset.asset, exchange.system_balances(asset.asset)));
        lines.insert(format!("{}: {:?}", asset.asset, exchange.airdrop_limits(asset.asset)));
        lines.insert(format!("{}: {:?}", asset.asset, exchange.payout_velocity(asset.asset)));
    }
    for (withdrawal, found) in exchange.withdrawals() {
        lines.insert(format!("{withdrawal}: {found:?}"));
    }
    for (account, asset, owed) in exchange.receivables() {
        lines.insert(format!("{account} owes {owed} of {asset}"));
    }
    for (airdrop, found) in exchange.airdrops() {
        lines.insert(format!("{airdrop}: {found:?}"));
    }
    for market in exchange.markets() {
        for side in [Side::Buy, Side::Sell] {
            for (place, order) in exchange.queue(market.spec.market, side).enumerate() {
                lines.insert(format!("{} {side} {place}: {order:?}", market.spec.market));
            }
        }
        lines.insert(format!("{market:?}"));
    }
    // What the views do not show: the ends of the canonical bytes.
    let bytes = bytes_of(exchange);
    lines.insert(format!("last bytes: {:?}", &bytes[bytes.len().saturating_sub(200)..]));
    lines
}

fn conserved(exchange: &Exchange) -> Result<(), String> {
    let mut sums: BTreeMap<AssetId, i128> = BTreeMap::new();
    for asset in exchange.assets() {
        let system = exchange.system_balances(asset.asset).expect("the asset exists");
        sums.insert(asset.asset, system.iter().sum());
        let owed: i128 = exchange
            .receivables()
            .filter(|(_, of, _)| *of == asset.asset)
            .map(|(_, _, amount)| i128::from(amount.0))
            .sum();
        ensure!(
            system[RECEIVABLES] == -owed,
            "{}: RECEIVABLES is {} and {owed} is owed",
            asset.asset,
            system[RECEIVABLES]
        );
    }
    for account in exchange.accounts() {
        for (asset, balance) in account.balances {
            *sums.get_mut(&asset).expect("the asset exists") +=
                i128::from(balance.available.0) + i128::from(balance.held.0);
        }
    }
    for (asset, sum) in sums {
        ensure!(sum == 0, "{asset} sums to {sum}");
    }
    Ok(())
}

fn of_engine(fill: &BustedFill) -> Fill {
    Fill {
        sequence: fill.sequence,
        taker: fill.taker,
        maker: fill.maker,
        market: fill.market,
        price: fill.price,
        quantity: fill.quantity,
    }
}

/// The fills of the one list that the other has not, counted.
fn difference(these: &[Fill], others: &[Fill]) -> Vec<Fill> {
    let mut left = others.to_vec();
    let mut only = Vec::new();
    for fill in these {
        match left.iter().position(|other| other == fill) {
            Some(position) => _ = left.swap_remove(position),
            None => only.push(*fill),
        }
    }
    only
}

fn same_fills(what: &str, expected: &[Fill], found: &[BustedFill]) -> Result<(), String> {
    let mut expected = expected.to_vec();
    let mut found: Vec<_> = found.iter().map(of_engine).collect();
    expected.sort();
    found.sort();
    ensure!(expected == found, "{what} fills differ\nmodel:  {expected:#?}\nengine: {found:#?}");
    Ok(())
}

/// Every debt is a shortfall, or what compensating leaves to be paid; behind an earlier recovery, or what was owed then.
fn owed(parent: &Parent, strategy: &Strategy, branch: &naive::Branch, coverage: &mut Coverage) -> Result<(), String> {
    if !branch.model.owed.is_empty() {
        coverage.saw("somebody owes");
    }
    if !parent.is_first() || matches!(strategy, Strategy::Compensate { .. }) {
        return Ok(());
    }
    let short: BTreeMap<_, _> =
        branch.short.iter().filter(|(_, short)| **short > 0).map(|(of, short)| (*of, *short)).collect();
    ensure!(branch.model.owed == short, "owed {:?}, short {short:?}", branch.model.owed);
    let mut carried: BTreeMap<_, u128> = BTreeMap::new();
    for found in branch.model.withdrawals.values().filter(|found| found.shortfall > 0) {
        *carried.entry((found.account, found.asset)).or_default() += found.shortfall;
    }
    for (of, shortfall) in carried {
        let owed = short.get(&of).copied().unwrap_or(0);
        ensure!(shortfall <= owed, "withdrawals carry {shortfall} that {of:?} owes, who owes {owed}");
    }
    Ok(())
}

/// Compensating moves exactly what was credited and what is paid, and touches no trade, order or hold of an order.
fn compensated(
    parent: &Parent,
    dropped: &BTreeSet<Sequence>,
    payments: &[Payment],
    branch: &Branch,
) -> Result<(), String> {
    let Branch { parent: before, exchange: after, .. } = branch;
    ensure!(branch.busted.is_empty() && branch.new_fills.is_empty(), "compensating touches trades");
    for market in before.markets() {
        for side in [Side::Buy, Side::Sell] {
            let market = market.spec.market;
            ensure!(
                before.queue(market, side).eq(after.queue(market, side)),
                "compensating touches orders of {market}"
            );
        }
    }
    // By asset: what users and system accounts should have more.
    let mut users: BTreeMap<AssetId, i128> = BTreeMap::new();
    let mut system: BTreeMap<(AccountId, AssetId), i128> = BTreeMap::new();
    let mut source_now = AccountId(0);
    let mut give = |source: AccountId, asset: AssetId, amount: i128| match source.is_user() {
        true => *users.entry(asset).or_default() += amount,
        false => *system.entry((source, asset)).or_default() += amount,
    };
    let mut credits: BTreeMap<AssetId, i128> = BTreeMap::new();
    for (at, events) in parent.behind(Sequence(0)) {
        for event in events.iter().filter(|_| dropped.contains(&at.sequence)) {
            let (source, asset, amount) = match *event {
                Event::AirdropExecuted { source, .. } => {
                    source_now = source;
                    continue;
                }
                Event::AirdropCredited { asset, amount, .. } => (source_now, asset, amount),
                Event::Deposited { asset, amount, .. } => (AccountId::EXTERNAL, asset, amount),
                Event::Transferred { from, asset, amount, .. } => (from, asset, amount),
                _ => continue,
            };
            give(source, asset, amount.0.into());
            *credits.entry(asset).or_default() += i128::from(amount.0);
        }
    }
    for payment in payments {
        give(AccountId::TREASURY, payment.asset, -i128::from(payment.amount.0));
        give(payment.account, payment.asset, payment.amount.0.into());
    }
    for asset in after.assets() {
        let asset = asset.asset;
        let (then, now) =
            (before.system_balances(asset).expect("it exists"), after.system_balances(asset).expect("it exists"));
        let more_owed = then[RECEIVABLES] - now[RECEIVABLES];
        let taken = credits.get(&asset).copied().unwrap_or(0) - more_owed;
        for (index, account) in AccountId::SYSTEM.into_iter().enumerate().filter(|(index, _)| *index != RECEIVABLES) {
            let (gain, expected) = (now[index] - then[index], system.get(&(account, asset)).copied().unwrap_or(0));
            ensure!(gain == expected, "{account} gains {gain} of {asset} and not {expected}");
        }
        let sum = |exchange: &Exchange| -> i128 {
            let balances = exchange.accounts().flat_map(|account| account.balances);
            let of_asset = balances.filter(|(of, _)| *of == asset);
            of_asset.map(|(_, balance)| i128::from(balance.available.0) + i128::from(balance.held.0)).sum()
        };
        let (gain, expected) = (sum(after) - sum(before), users.get(&asset).copied().unwrap_or(0) - taken);
        ensure!(gain == expected, "all users together gain {gain} of {asset} and not {expected}");
    }
    Ok(())
}

/// All that is an account's, but for the places of its orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Footprint {
    balances: BTreeMap<AssetId, (u128, u128)>,
    owed: BTreeMap<AssetId, u128>,
    withdrawals: BTreeMap<WithdrawalId, String>,
    orders: BTreeMap<OrderId, (MarketId, Side, u128, u128)>,
}

fn footprints(model: &ModelExchange) -> BTreeMap<AccountId, Footprint> {
    let mut all: BTreeMap<AccountId, Footprint> = BTreeMap::new();
    for (&account, found) in &model.accounts {
        let balances = found.balances.iter().map(|(&asset, balance)| (asset, (balance.available, balance.held)));
        let balances = balances.filter(|(_, balance)| *balance != (0, 0)).collect();
        all.insert(account, Footprint { balances, ..Footprint::default() });
    }
    for (&(account, asset), &owed) in &model.owed {
        all.entry(account).or_default().owed.insert(asset, owed);
    }
    for (&withdrawal, found) in &model.withdrawals {
        all.entry(found.account).or_default().withdrawals.insert(withdrawal, format!("{found:?}"));
    }
    for (market, order) in model.open_orders() {
        let terms = (market, order.side, order.price, order.open);
        all.entry(order.account).or_default().orders.insert(order.id, terms);
    }
    // Whether there is an account with nothing is no difference.
    all.retain(|_, footprint| *footprint != Footprint::default());
    all
}

fn outside_reach(
    parent: &Parent,
    history: &dyn History,
    strategy: &Strategy,
    branch: &naive::Branch,
    coverage: &mut Coverage,
) -> Result<(), String> {
    let name = strategy.name();
    let reached = reach(parent, strategy);
    let (before, after) = (footprints(&parent.at_halt), footprints(&branch.model));
    let accounts: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    for account in accounts.difference(&reached) {
        let (before, after) = (before.get(account), after.get(account));
        ensure!(
            before == after,
            "{name}: {account} is out of reach and changes\nbefore: {before:#?}\nafter: {after:#?}"
        );
        coverage.saw("accounts out of reach");
    }
    for (market, found) in &parent.at_halt.markets {
        for side in [Side::Buy, Side::Sell] {
            let outside = |market: &crate::model::Market| -> Vec<OrderId> {
                let queue = market.side(side).iter().filter(|order| !reached.contains(&order.account));
                queue.map(|order| order.id).collect()
            };
            let (before, after) = (outside(found), branch.model.markets.get(market).map(outside).unwrap_or_default());
            ensure!(before == after, "{name}: the queues of {market} differ out of reach: {before:?}, {after:?}");
        }
    }
    let engine = recovery::reach(history, parent.halt, strategy).map_err(|error| error.to_string())?;
    ensure!(
        engine == reached,
        "{name}: reach differs: the model alone {:?}, the engine alone {:?}",
        reached.difference(&engine).collect::<Vec<_>>(),
        engine.difference(&reached).collect::<Vec<_>>()
    );
    Ok(())
}

/// Who was credited in error.
pub fn credited(parent: &Parent, strategy: &Strategy) -> BTreeSet<AccountId> {
    let edits = strategy.edits();
    let mut accounts = BTreeSet::new();
    for (at, events) in parent.behind(Sequence(0)) {
        let edited = match edits {
            Some(edits) => edits.sequences().contains(&at.sequence),
            None => at.sequence > strategy.cut() && matches!(at.command, Command::ExecuteAirdrop { .. }),
        };
        if edited {
            for event in events {
                match *event {
                    Event::AirdropCredited { account, .. }
                    | Event::Deposited { account, .. }
                    | Event::Transferred { to: account, .. } => _ = accounts.insert(account),
                    _ => {}
                }
            }
        }
    }
    accounts
}

/// Those with an order behind another that stood behind it.
fn requeued(before: &ModelExchange, after: &ModelExchange) -> BTreeSet<AccountId> {
    let mut accounts = BTreeSet::new();
    for (market, found) in &before.markets {
        for side in [Side::Buy, Side::Sell] {
            let place = |wanted: OrderId| found.side(side).iter().position(|order| order.id == wanted);
            let now = after.markets.get(market).into_iter().flat_map(|market| market.side(side));
            let now: Vec<_> = now.filter_map(|order| Some((order, place(order.id)?))).collect();
            for (ahead, (order, place)) in now.iter().enumerate() {
                if now[..ahead].iter().any(|(_, other)| other > place) {
                    accounts.insert(order.account);
                }
            }
        }
    }
    accounts
}

fn changed(
    parent: &Parent,
    strategy: &Strategy,
    expected: &naive::Branch,
    branch: &Branch,
    coverage: &mut Coverage,
) -> Result<(), String> {
    let name = strategy.name();
    let (before, after) = (footprints(&parent.at_halt), footprints(&expected.model));
    let accounts: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let mut changed: BTreeSet<_> =
        accounts.into_iter().filter(|account| before.get(account) != after.get(account)).collect();
    let requeued = requeued(&parent.at_halt, &expected.model);
    if !requeued.is_subset(&changed) {
        coverage.saw("accounts that only lost a place");
    }
    changed.extend(requeued);
    let credited = credited(parent, strategy);
    let innocent = changed.difference(&credited).count() as u64;

    let hash = branch.exchange.state_hash();
    let outcome = recovery::outcome_of(branch, strategy, hash, &credited, std::time::Duration::ZERO);
    let of_diff = outcome.diff.accounts();
    ensure!(
        of_diff == changed,
        "{name}: who changes differs: the model alone {:?}, the engine alone {:?}",
        changed.difference(&of_diff).collect::<Vec<_>>(),
        of_diff.difference(&changed).collect::<Vec<_>>()
    );
    let counts = (outcome.accounts_changed, outcome.innocent_changed);
    ensure!(
        counts == (changed.len() as u64, innocent),
        "{name}: {} accounts change, {innocent} of them innocent; the engine says {counts:?}",
        changed.len()
    );
    ensure!(outcome.conserved, "{name}: the outcome says that money is not conserved");
    ensure!(
        (outcome.trades_voided, outcome.trades_new) == (branch.busted.len() as u64, branch.new_fills.len() as u64),
        "{name}: the outcome counts other trades"
    );
    for (&asset, found) in &expected.model.assets {
        let then = parent.at_halt.assets.get(&asset).map_or([0; 5], |asset| asset.system);
        let fees = found.system[crate::model::FEES] - then[crate::model::FEES];
        let told = outcome.fee_delta.get(&asset).copied().unwrap_or(0);
        ensure!(fees == told, "{name}: fees of {asset} change by {fees}, the engine says {told}");
        let owed = -found.system[RECEIVABLES];
        let told = outcome.receivables.get(&asset).map_or(0, |amount| i128::from(amount.0));
        ensure!(owed == told, "{name}: {owed} of {asset} is owed, the engine says {told}");
        let more = (owed + then[RECEIVABLES]).max(0);
        let told = outcome.shortfall.get(&asset).map_or(0, |amount| i128::from(amount.0));
        ensure!(more == told, "{name}: {more} more of {asset} is owed, the engine says {told}");
    }
    for _ in 0..innocent {
        coverage.saw("innocent accounts changed");
    }
    for _ in 0..changed.len() {
        coverage.saw("accounts changed");
    }
    Ok(())
}

/// An ordinary run of the corrected list: where a command is dropped or was refused, time passes and nothing else.
fn fresh_run(parent: &Parent, strategy: &Strategy, branch: &Exchange) -> Result<(), String> {
    let edits = strategy.edits().expect("excise has edits");
    let mut exchange = Exchange::new();
    for (at, events) in parent.behind(Sequence(0)) {
        let SequencedCommand { sequence, time, mut command, .. } = *at;
        if let Some(other) = edits.replaced.get(&sequence) {
            command = *other;
        } else if edits.dropped.contains_key(&sequence) || naive::is_void(sequence, events) {
            command = Command::Tick {};
        }
        exchange.apply(sequence, time, &command, &mut NoEvents);
    }
    ensure!(exchange.state_hash() == branch.state_hash(), "excise is not what a fresh run of the corrected list gives");
    Ok(())
}
