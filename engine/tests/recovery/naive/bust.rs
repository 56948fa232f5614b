//! Bust: one pass over what happened, on the balances of the branch.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    recovery::Edits,
    types::{AssetId, OrderId, Sequence, Side},
};

use super::{Branch, Parent, Refusal, cut_of, edits_of, fill_of, is_fact, is_refused, may_be_dropped};
use crate::model::{
    Asset, EXTERNAL, FEES, ModelExchange, Order, RECEIVABLES, TREASURY, UNBACKED, WithdrawalState, fee,
    payouts::Airdrop,
};

/// What an order traded in fills that stand, and was charged for it.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    taken: u128,
    made: u128,
    taker_charged: i128,
    maker_charged: i128,
}

pub fn bust(parent: &Parent, edits: &Edits) -> Result<Branch, Refusal> {
    let cut = cut_of(edits);
    let mut branch = Branch::new(parent.at(cut));
    let mut counts: BTreeMap<OrderId, Count> = BTreeMap::new();
    for order in release_all(&mut branch.model) {
        counts.insert(order.id, count_of(&order));
    }
    let dropped: BTreeSet<OrderId> = edits.dropped.keys().map(|sequence| OrderId(sequence.0)).collect();
    for (command, events) in parent.behind(cut) {
        branch.pass(command);
        may_be_dropped(edits, command, events)?;
        // The treasury may pay what it gets later, as long as all together have something.
        let is_lost = |asset: &Asset| asset.system[TREASURY] < 0 && liabilities(asset) < 0;
        if branch.model.assets.values().any(is_lost) {
            return Err(Refusal::OverdrawnOnTheWay);
        }
        let (is_dropped, replaced) = edits_of(Some(edits), command.sequence);
        if is_dropped {
            if !is_refused(events) && is_needed(&command.command) {
                return Err(Refusal::Unsuited);
            }
            continue;
        }
        if let Some(other) = replaced {
            if other == command.command {
                return Err(Refusal::Unchanged);
            }
            if !may_have_been_wrong(&command.command) || command.command.kind() != other.kind() {
                return Err(Refusal::Unsuited);
            }
            if is_refused(&branch.model.apply(command.sequence, command.time, &other)) {
                return Err(Refusal::Replacement);
            }
            branch.coverage.saw("bust: replaced");
            continue;
        }
        if is_refused(events) {
            continue;
        }
        if is_fact(&command.command) {
            branch.fact(command)?;
        }
        for event in events {
            branch.happens(command, event, &mut counts, &dropped)?;
        }
    }
    branch.hold_again(&parent.at_halt, &counts, &dropped);
    let overdrawn = branch.model.assets.iter().find(|(_, found)| found.system[TREASURY] < 0);
    overdrawn.map_or(Ok(()), |(asset, _)| Err(Refusal::Overdrawn(*asset)))?;
    Ok(branch)
}

/// What users, fees and treasury have.
const fn liabilities(asset: &Asset) -> i128 {
    -(asset.system[EXTERNAL] + asset.system[RECEIVABLES] + asset.system[UNBACKED])
}

/// What bust cannot do without: it puts nothing back on the book, and needs what everything else stands on.
fn is_needed(command: &Command) -> bool {
    matches!(
        command,
        Command::CancelOrder { .. }
            | Command::CancelByClientOrderId { .. }
            | Command::ReduceOrder { .. }
            | Command::ReplaceOrder { .. }
            | Command::CancelAllOfAccount { .. }
            | Command::CancelAllOfMarket { .. }
            | Command::AddAsset { .. }
            | Command::AddMarket { .. }
            | Command::CreateAccount { .. }
    )
}

/// What another of its kind may take the place of.
fn may_have_been_wrong(command: &Command) -> bool {
    matches!(
        command,
        Command::OpenAirdrop { .. }
            | Command::AddAirdropLine { .. }
            | Command::ApproveAirdrop { .. }
            | Command::ExecuteAirdrop { .. }
            | Command::CancelAirdrop { .. }
            | Command::Transfer { .. }
            | Command::Deposit { .. }
            | Command::RequestWithdrawal { .. }
            | Command::RequestWithdrawalOfAll { .. }
    )
}

/// Takes all orders off the books and releases what they hold.
fn release_all(model: &mut ModelExchange) -> Vec<Order> {
    let open: Vec<_> = model.open_orders().map(|(market, order)| (market, order.id)).collect();
    let mut taken = Vec::new();
    for (market, order) in open {
        let order = model.take_order(market, order);
        let asset = model.markets[&market].hold_asset(order.side);
        model.release(order.account, asset, order.hold);
        taken.push(order);
    }
    taken
}

fn charged_by_the_rules(rate: i16, traded: u128) -> i128 {
    if rate < 0 { 0 } else { i128::try_from(fee(rate, traded)).expect("it fits") }
}

/// What an order has traded before the cut, charged by the rules.
fn count_of(order: &Order) -> Count {
    Count {
        taken: order.taken,
        made: order.made,
        taker_charged: charged_by_the_rules(order.taker_rate, order.taken) + order.taker_carry,
        maker_charged: charged_by_the_rules(order.maker_rate, order.made) + order.maker_carry,
    }
}

impl Branch {
    /// One event of the parent.
    fn happens(
        &mut self,
        at: &SequencedCommand,
        event: &Event,
        counts: &mut BTreeMap<OrderId, Count>,
        dropped: &BTreeSet<OrderId>,
    ) -> Result<(), Refusal> {
        match *event {
            Event::Transferred { from, to, asset, amount } => {
                if self.model.balance(from, asset).available >= amount.0.into() {
                    self.model.balance_mut(from, asset).available -= u128::from(amount.0);
                    self.model.balance_mut(to, asset).available += u128::from(amount.0);
                } else {
                    self.coverage.saw("a transfer is void");
                }
            }
            Event::WithdrawalRequested { account, asset, amount, .. } => {
                let amount = u128::from(amount.0);
                if self.model.balance(account, asset).available >= amount {
                    let result = self.model.request_withdrawal(at.sequence.0, account, asset, amount);
                    result.expect("it is not refused");
                    self.count_request(at, asset, amount);
                } else {
                    self.coverage.saw("a request is void");
                }
            }
            Event::WithdrawalCancelled { withdrawal, account, .. } => {
                if let Some(found) = self.model.withdrawals.get_mut(&withdrawal)
                    && found.state == WithdrawalState::Requested
                    && found.account == account
                {
                    found.state = WithdrawalState::Cancelled;
                    let (asset, amount) = (found.asset, found.amount);
                    self.model.release(account, asset, amount);
                }
            }
            Event::SetOffDone { account, asset, amount, .. } => {
                let available = self.model.balance(account, asset).available;
                let owed = self.model.owed.get(&(account, asset)).copied().unwrap_or(0);
                let value = available.min(owed).min(amount.0.into());
                if value > 0 {
                    self.model.balance_mut(account, asset).available -= value;
                    self.model.owe_less(account, asset, value);
                }
            }
            Event::AirdropOpened { .. }
            | Event::AirdropLineAdded { .. }
            | Event::AirdropApproved { .. }
            | Event::AirdropCancelled { .. } => {
                let now = self.model.apply(at.sequence, at.time, &at.command);
                if is_refused(&now) {
                    self.coverage.saw("bust: a manifest is refused");
                }
            }
            Event::AirdropExecuted { airdrop, .. } => {
                if self.model.airdrops.get(&airdrop).is_some_and(Airdrop::is_pending) {
                    self.model.pay_airdrop(at.sequence, airdrop);
                } else {
                    self.coverage.saw("bust: an airdrop without a manifest pays nobody");
                }
            }
            Event::OrderAccepted { order, .. } | Event::OrderReplaced { order, .. } => {
                counts.insert(order, Count::default());
            }
            Event::Filled { .. } => self.fill(at.sequence, event, counts, dropped),
            _ => {}
        }
        self.model.take_events();
        Ok(())
    }

    fn count_request(&mut self, at: &SequencedCommand, asset: AssetId, value: u128) {
        let Some(velocity) = self.model.velocities.get_mut(&asset) else { return };
        let window = at.time.0 / (u64::from(velocity.seconds) * 1_000_000_000);
        let before = if window == velocity.window { velocity.requested } else { 0 };
        velocity.window = window;
        velocity.requested = (before + value).min(velocity.most);
    }

    /// Stands whole, if both sides can pay; else it is void.
    fn fill(
        &mut self,
        sequence: Sequence,
        event: &Event,
        counts: &mut BTreeMap<OrderId, Count>,
        dropped: &BTreeSet<OrderId>,
    ) {
        let &Event::Filled {
            taker,
            maker,
            taker_account,
            maker_account,
            market,
            taker_side,
            price,
            quantity,
            taker_fee,
            maker_fee,
            ..
        } = event
        else {
            unreachable!("called for fills only")
        };
        let found = &self.model.markets[&market];
        let (base, quote) = (found.base, found.quote);
        let notional = found.notional(price.0.into(), quantity.0.into());
        let lots = u128::from(quantity.0) * found.lot_size;
        let (taker_fee, maker_fee) = (i128::from(taker_fee), i128::from(maker_fee));
        let (buyer, buyer_fee, seller, seller_fee) = match taker_side {
            Side::Buy => (taker_account, taker_fee, maker_account, maker_fee),
            Side::Sell => (maker_account, maker_fee, taker_account, taker_fee),
        };
        let signed = i128::try_from(notional).expect("it fits");
        let pays = u128::try_from(signed + buyer_fee).expect("a rebate never exceeds the notional");
        let gets = u128::try_from(signed - seller_fee).expect("a fee never exceeds the notional");
        if dropped.contains(&taker) || dropped.contains(&maker) {
            self.coverage.saw("a fill of a dropped order is void");
            return;
        }
        let buyer_can = self.model.balance(buyer, quote).available >= pays;
        let seller_can = self.model.balance(seller, base).available >= lots;
        if !buyer_can || !seller_can {
            self.coverage.saw("a fill is void");
            return;
        }
        self.model.balance_mut(buyer, quote).available -= pays;
        self.model.balance_mut(buyer, base).available += lots;
        self.model.balance_mut(seller, base).available -= lots;
        self.model.balance_mut(seller, quote).available += gets;
        *self.model.system(FEES, quote) += taker_fee + maker_fee;
        let count = counts.entry(taker).or_default();
        count.taken += notional;
        count.taker_charged += taker_fee.max(0);
        let count = counts.entry(maker).or_default();
        count.made += notional;
        count.maker_charged += maker_fee.max(0);
        self.fills.extend(fill_of(sequence, event));
    }

    /// Opens the parent's orders again, as far as they can be held.
    fn hold_again(&mut self, at_halt: &ModelExchange, counts: &BTreeMap<OrderId, Count>, dropped: &BTreeSet<OrderId>) {
        let mut orders: Vec<_> =
            at_halt.open_orders().map(|(market, order)| (order.id, market, order.clone())).collect();
        orders.retain(|(id, _, _)| !dropped.contains(id));
        orders.sort_by_key(|(id, _, _)| *id);
        let mut standing: BTreeMap<OrderId, Order> = BTreeMap::new();
        for (id, market, mut order) in orders {
            let count = counts[&id];
            order.taken = count.taken;
            order.made = count.made;
            let carry = |rate: i16, charged: i128, traded: u128| {
                if rate < 0 { 0 } else { charged - charged_by_the_rules(rate, traded) }
            };
            order.taker_carry = carry(order.taker_rate, count.taker_charged, order.taken);
            order.maker_carry = carry(order.maker_rate, count.maker_charged, order.made);
            if order.taker_carry != 0 || order.maker_carry != 0 {
                self.coverage.saw("a fee is carried");
            }
            let found = &self.model.markets[&market];
            let (asset, required) = (found.hold_asset(order.side), found.required_hold(&order));
            if self.model.balance(order.account, asset).available < required {
                self.coverage.saw("an order cannot be held again");
                continue;
            }
            self.model.hold(order.account, asset, required);
            order.hold = required;
            standing.insert(id, order);
        }
        for (&market, found) in &at_halt.markets {
            let here = self.model.markets.get_mut(&market).expect("markets are facts");
            for side in [Side::Buy, Side::Sell] {
                let queue = found.side(side).iter().filter_map(|order| standing.get(&order.id).cloned());
                *here.side_mut(side) = queue.collect();
            }
        }
        debug_assert!(self.model.assets.values().all(|asset| asset.system[RECEIVABLES] <= 0));
    }
}
