//! What a new epoch changes, told as events: so that whoever kept books by events can go on.
//!
//! In this order: the beginning of the epoch; fills that are void; what is added to balances, accounts ascending, then the
//! system's; orders that are gone; orders that are there or elsewhere now, each book and level in the order in which it
//! trades, each behind the order that stands just before it; withdrawals; debts; the end. Whoever takes each order that is
//! *restored* out of its queue, if it stands there, and puts it right behind the one named, gets the queues of the epoch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::branch::{BranchError, BustedFill};
use crate::{
    command::SequencedCommand,
    event::{Event, EventSink, RejectReason},
    exchange::{Balance, Exchange, OrderView, StateHash},
    journal::Epoch,
    types::{AccountId, Amount, AssetId, Digest, MarketId, OrderId, Sequence, Side, WithdrawalId},
};

/// Stands for a withdrawal that is not there, in [`Event::WithdrawalCorrected`].
pub const WITHDRAWAL_GONE: u8 = 255;

/// The events that say what changes from `before` to `after`.
pub(super) fn corrections(
    before: &Exchange,
    after: &Exchange,
    busted: &[BustedFill],
    epoch: Epoch,
    first_changed: Sequence,
    plan: Digest,
    state: StateHash,
) -> Vec<Event> {
    let mut events = vec![Event::EpochStarted { epoch: epoch.0, first_changed, plan }];
    events.extend(busted.iter().map(|fill| {
        let BustedFill { sequence, index, taker, maker, market, price, quantity, .. } = *fill;
        Event::FillBusted { sequence, index, taker, maker, market, price, quantity }
    }));
    balances(before, after, &mut events);
    orders(before, after, &mut events);
    withdrawals(before, after, &mut events);
    debts(before, after, &mut events);
    events.push(Event::EpochReady { epoch: epoch.0, state: Digest(state.0) });
    events
}

type Balances = BTreeMap<(AccountId, AssetId), Balance>;

fn user_balances(exchange: &Exchange) -> Balances {
    let views = exchange.accounts().flat_map(|view| {
        let account = view.account;
        view.balances.into_iter().map(move |(asset, balance)| ((account, asset), balance))
    });
    views.collect()
}

/// Users', then the system's.
fn balances(before: &Exchange, after: &Exchange, events: &mut Vec<Event>) {
    let (old, new) = (user_balances(before), user_balances(after));
    let places: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    for (account, asset) in places {
        let of = |balances: &Balances| balances.get(&(account, asset)).copied().unwrap_or_default();
        let (old, new) = (of(&old), of(&new));
        let difference = |old: Amount, new: Amount| i128::from(new.0) - i128::from(old.0);
        let (available, held) = (difference(old.available, new.available), difference(old.held, new.held));
        push_difference(account, asset, available, held, events);
    }
    let assets: BTreeSet<AssetId> = before.assets().chain(after.assets()).map(|spec| spec.asset).collect();
    for (index, account) in AccountId::SYSTEM.into_iter().enumerate() {
        for &asset in &assets {
            let of = |exchange: &Exchange| exchange.system_balances(asset).map_or(0, |system| system[index]);
            push_difference(account, asset, of(after) - of(before), 0, events);
        }
    }
}

/// One event, or, for a system account that changes by more than one can say, several.
fn push_difference(account: AccountId, asset: AssetId, available: i128, held: i128, events: &mut Vec<Event>) {
    let (mut available, mut held) = (available, held);
    while (available, held) != (0, 0) {
        let most = i128::from(i64::MAX);
        let part = |whole: i128| whole.clamp(-most, most);
        let (now_available, now_held) = (part(available), part(held));
        let narrow = |value: i128| i64::try_from(value).expect("it was clamped");
        events.push(Event::BalanceCorrected {
            account,
            asset,
            available: narrow(now_available),
            held: narrow(now_held),
        });
        (available, held) = (available - now_available, held - now_held);
    }
}

/// A level of a book: its orders in the order in which they trade.
type Queues = BTreeMap<(MarketId, Side), Vec<OrderView>>;

fn queues(exchange: &Exchange) -> Queues {
    let markets: Vec<MarketId> = exchange.markets().map(|view| view.spec.market).collect();
    let sides = markets.into_iter().flat_map(|market| [(market, Side::Buy), (market, Side::Sell)]);
    sides.map(|(market, side)| ((market, side), exchange.queue(market, side).collect())).collect()
}

fn orders(before: &Exchange, after: &Exchange, events: &mut Vec<Event>) {
    let (old, new) = (queues(before), queues(after));
    let still: BTreeSet<OrderId> = new.values().flatten().map(|order| order.order).collect();
    let mut voided: Vec<OrderView> =
        old.values().flatten().filter(|order| !still.contains(&order.order)).copied().collect();
    voided.sort_unstable_by_key(|order| order.order);
    events.extend(voided.iter().map(|order| {
        let OrderView { order, account, market, .. } = *order;
        Event::OrderVoided { order, account, market }
    }));
    for (place, orders) in &new {
        let empty = Vec::new();
        let positions: HashMap<OrderId, (usize, &OrderView)> = old
            .get(place)
            .unwrap_or(&empty)
            .iter()
            .enumerate()
            .map(|(position, order)| (order.order, (position, order)))
            .collect();
        for level in orders.chunk_by(|left, right| left.price == right.price) {
            restore_level(level, &positions, events);
        }
    }
}

/// Says which orders of a level are not where they were.
fn restore_level(level: &[OrderView], positions: &HashMap<OrderId, (usize, &OrderView)>, events: &mut Vec<Event>) {
    // An order can stay if all it shows is the same; of those, the most that keep their order among themselves stay.
    let places: Vec<Option<usize>> = level
        .iter()
        .map(|order| positions.get(&order.order).filter(|(_, old)| *old == order).map(|(position, _)| *position))
        .collect();
    let stays = longest_ascending(&places);
    let mut behind = OrderId(0);
    for (view, stays) in level.iter().zip(stays) {
        if !stays {
            let OrderView { order, account, market, side, price, quantity, .. } = *view;
            events.push(Event::OrderRestored { order, account, market, side, price, quantity, behind });
        }
        behind = view.order;
    }
}

/// Marks the longest ascending choice among the numbers that are there (Knuth's patience piles: n log n).
fn longest_ascending(numbers: &[Option<usize>]) -> Vec<bool> {
    // `ends[n]` is the index whose number is the least that ends an ascending choice of n + 1.
    let mut ends: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = vec![None; numbers.len()];
    for (index, number) in numbers.iter().enumerate() {
        let Some(number) = number else { continue };
        let length = ends.partition_point(|&end| numbers[end].is_some_and(|end| end < *number));
        previous[index] = length.checked_sub(1).map(|before| ends[before]);
        if length == ends.len() {
            ends.push(index);
        } else {
            ends[length] = index;
        }
    }
    let mut chosen = vec![false; numbers.len()];
    let mut at = ends.last().copied();
    while let Some(index) = at {
        chosen[index] = true;
        at = previous[index];
    }
    chosen
}

fn withdrawals(before: &Exchange, after: &Exchange, events: &mut Vec<Event>) {
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (before.withdrawals().into_iter().collect(), after.withdrawals().into_iter().collect());
    let ids: BTreeSet<WithdrawalId> = old.keys().chain(new.keys()).copied().collect();
    for withdrawal in ids {
        let (old, new) = (old.get(&withdrawal), new.get(&withdrawal));
        if old != new
            && let Some(known) = new.or(old)
        {
            let state = new.map_or(WITHDRAWAL_GONE, |new| new.state as u8);
            events.push(Event::WithdrawalCorrected { withdrawal, account: known.account, state });
        }
    }
}

fn debts(before: &Exchange, after: &Exchange, events: &mut Vec<Event>) {
    let of = |exchange: &Exchange| -> BTreeMap<(AccountId, AssetId), Amount> {
        exchange.receivables().map(|(account, asset, amount)| ((account, asset), amount)).collect()
    };
    let (old, new) = (of(before), of(after));
    let debtors: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    for (account, asset) in debtors {
        let owed = new.get(&(account, asset)).copied().unwrap_or_default();
        if owed != old.get(&(account, asset)).copied().unwrap_or_default() {
            events.push(Event::ReceivableCorrected { account, asset, owed });
        }
    }
}

/// Notes why a command was refused.
#[derive(Default)]
struct Refusal(Option<RejectReason>);

impl EventSink for Refusal {
    fn emit(&mut self, event: Event) {
        if let Event::Refused { reason, .. } = event {
            self.0 = Some(reason);
        }
    }
}

/// Applies a command from behind the halt to what happened and to the branch: what was taken happens on both, what was
/// refused lets time pass on the branch.
///
/// # Errors
/// [`BranchError::FactRefused`] when it was taken and the branch refuses it.
pub fn carry_forward(
    parent: &mut Exchange,
    branch: &mut Exchange,
    command: &SequencedCommand,
) -> Result<(), BranchError> {
    let SequencedCommand { sequence, time, command, .. } = command;
    let mut refusal = Refusal::default();
    parent.apply(*sequence, *time, command, &mut refusal);
    if refusal.0.is_some() {
        branch.skip(*sequence, *time, &mut Refusal::default());
        return Ok(());
    }
    branch.apply(*sequence, *time, command, &mut refusal);
    match refusal.0 {
        None => Ok(()),
        Some(reason) => Err(BranchError::FactRefused { sequence: *sequence, kind: command.kind_name(), reason }),
    }
}
