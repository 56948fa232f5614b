//! What a recovery may do to a state that no command can: let a sequence pass, force a release that happened, close an
//! order, move money back, and go over what happened once more on other balances.
//!
//! Called by [`recovery`](crate::recovery) alone, on a branch and never on the exchange that runs. The rules are in
//! `recovery/rules.md`.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::{
    AirdropState, Decision, Direct, Exchange, Risk, Withdrawal, WithdrawalState,
    ledger::{EXTERNAL, FEES, RECEIVABLES, TREASURY, UNBACKED, system_index},
    matcher::market_mut,
};
use crate::{
    command::Command,
    event::{CancelReason, Event, EventSink, RejectReason},
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, Controls, ExternalId, MarketId, MarketSpec, OrderId,
        Sequence, Side, Timestamp, TradingStatus, WithdrawalId,
    },
};

impl Risk {
    fn let_time_pass(&mut self, time: Timestamp) {
        if self.next_timer().is_some_and(|due| due <= time) {
            self.fire_timers(time);
        }
    }

    /// Releases a withdrawal that was released: from its own hold, then from available; the rest is owed.
    ///
    /// # Errors
    /// When it has been let out already, there is no such account or asset, or more would be owed, or could come back, than
    /// there can be. Then nothing is changed.
    fn force_release(
        &mut self,
        withdrawal: WithdrawalId,
        account: AccountId,
        asset: AssetId,
        amount: Amount,
    ) -> Result<(), RejectReason> {
        let check = |holds: bool, reason: RejectReason| if holds { Ok(()) } else { Err(reason) };
        check(self.ledger.account(account).is_some(), RejectReason::UnknownAccount)?;
        check(self.asset(asset).is_some(), RejectReason::UnknownAsset)?;
        let known = self.withdrawals.get(&withdrawal).copied();
        let is_out =
            |known: Withdrawal| !matches!(known.state, WithdrawalState::Requested | WithdrawalState::Cancelled);
        check(!known.is_some_and(is_out), RejectReason::WithdrawalStateInvalid)?;
        // With another command in its place, the request may be somebody else's, or of something else.
        let standing = known.filter(|known| known.state == WithdrawalState::Requested);
        let own = standing.filter(|known| (known.account, known.asset) == (account, asset));
        let own = own.map_or(0, |known| known.amount.0);
        let paid = amount.min(Amount(self.balance(account, asset).available.0.saturating_add(own)));
        let shortfall = Amount(amount.0 - paid.0);
        let most = i128::from(AMOUNT_MAX);
        let owed = i128::from(self.ledger.owed(account, asset).0) + i128::from(shortfall.0);
        let outstanding = i128::from(self.outstanding[usize::from(asset.0)]) + i128::from(amount.0);
        check(owed <= most && outstanding <= most, RejectReason::SupplyTooLarge)?;

        if let Some(known) = standing {
            self.ledger.release(known.account, known.asset, known.amount);
        }
        self.ledger.take_back(EXTERNAL, account, asset, paid);
        if !shortfall.is_zero() {
            self.ledger.owe(account, asset, shortfall, EXTERNAL);
        }
        let (state, external_id) = (WithdrawalState::Released, ExternalId::default());
        let released = Withdrawal { account, asset, amount, state, external_id, shortfall };
        self.withdrawals.insert(withdrawal, released);
        self.outstanding[usize::from(asset.0)] += amount.0;
        Ok(())
    }

    /// The liabilities of an asset; negative when a treasury that did not cover what it paid has let it out.
    fn owed_by_system(&self, asset: AssetId) -> i128 {
        let system = self.ledger.system(asset);
        -(system[EXTERNAL] + system[RECEIVABLES] + system[UNBACKED])
    }

    /// Everything up to `sequence` is settled, and nothing is on its way.
    fn settle_all(&mut self, sequence: Sequence) {
        self.settled_through(sequence);
    }
}

impl Risk {
    /// What an account has in all and owes, assets ascending, without those of which it is neither.
    fn possessions(&self, account: AccountId) -> Vec<(AssetId, Amount, Amount)> {
        let balances = self.ledger.account(account).map(|record| self.ledger.balances(record)).unwrap_or_default();
        let mut all: Vec<_> = balances
            .into_iter()
            .map(|(asset, balance)| (asset, Amount(balance.available.0 + balance.held.0), Amount::ZERO))
            .collect();
        let every = (account, AssetId(0))..=(account, AssetId(u16::MAX));
        for ((_, asset), owed) in self.ledger.debts().range(every) {
            match all.binary_search_by_key(asset, |(asset, ..)| *asset) {
                Ok(index) => all[index].2 = *owed,
                Err(index) => all.insert(index, (*asset, Amount::ZERO, *owed)),
            }
        }
        all
    }
}

impl Exchange {
    /// What an account has in all and owes, assets ascending, without those of which it is neither.
    #[must_use]
    pub fn possessions(&self, account: AccountId) -> Vec<(AssetId, Amount, Amount)> {
        self.risk.possessions(account)
    }

    fn let_time_pass(&mut self, time: Timestamp, events: &mut impl EventSink) {
        self.risk.let_time_pass(time);
        if self.matcher.mirror.is_due(time) {
            self.matcher.mirror.unlock(time, &mut Direct { risk: &mut self.risk, events });
        }
    }

    /// Lets the sequence pass without a command: only timers fire.
    ///
    /// # Panics
    /// When `sequence` is not above the last one.
    pub fn skip(&mut self, sequence: Sequence, time: Timestamp, events: &mut impl EventSink) {
        assert!(sequence > self.last, "sequence {sequence} does not follow {}", self.last);
        self.let_time_pass(time, events);
        self.risk.begins_behind(sequence);
        self.last = sequence;
    }

    /// Applies the release of a withdrawal at `sequence` as a fact, whatever its request and its owner have come to.
    ///
    /// # Errors
    /// When it has been let out already, there is no such account or asset, or more would be owed, or could come back, than
    /// there can be. Then only time has passed.
    ///
    /// # Panics
    /// When the command is none, or `sequence` is not above the last.
    pub fn force_release(
        &mut self,
        sequence: Sequence,
        time: Timestamp,
        command: &Command,
        events: &mut impl EventSink,
    ) -> Result<(), RejectReason> {
        let Command::ReleaseWithdrawal { withdrawal, account, asset, amount } = *command else {
            panic!("a {} releases nothing", command.kind_name())
        };
        self.skip(sequence, time, events);
        self.risk.force_release(withdrawal, account, asset, amount)?;
        events.emit(Event::WithdrawalReleased { withdrawal, account, asset, amount });
        Ok(())
    }

    /// Cancels an order, if it is open, whatever its market's status is; gives whether it was.
    pub fn force_cancel(&mut self, order: OrderId, events: &mut impl EventSink) -> bool {
        let Some(slot) = self.matcher.orders.find(order) else { return false };
        self.matcher.cancel_open(slot, CancelReason::Recovery, &mut Direct { risk: &mut self.risk, events });
        true
    }

    /// Ends the lock of an airdrop before its time.
    pub fn unlock_airdrop(&mut self, airdrop: AirdropId) {
        let Some(found) = self.risk.payouts.airdrops.get_mut(&airdrop).filter(|found| found.is_locked()) else {
            return;
        };
        let (asset, lines) = (found.asset, std::mem::take(&mut found.lines));
        for (account, amount) in lines {
            self.risk.ledger.release(account, asset, amount);
        }
        self.risk.set_timer();
        self.matcher.mirror.forget(airdrop);
    }

    /// Takes back from available, for a system account.
    ///
    /// # Panics
    /// When available does not cover it.
    pub fn claw_back(&mut self, account: AccountId, asset: AssetId, amount: Amount, to: AccountId) {
        if to.is_user() {
            self.risk.ledger.transfer(account, to, asset, amount);
        } else {
            self.risk.ledger.take_back(system_index(to), account, asset, amount);
        }
    }

    /// The account owes `amount` to the exchange; `to`, a system account or a user, has it at once.
    ///
    /// # Errors
    /// When more would be owed, or had, than there can be. Then nothing is changed.
    pub fn make_owe(
        &mut self,
        account: AccountId,
        asset: AssetId,
        amount: Amount,
        to: AccountId,
    ) -> Result<(), RejectReason> {
        let most = i128::from(AMOUNT_MAX);
        let owed = i128::from(self.risk.ledger.owed(account, asset).0) + i128::from(amount.0);
        // What users and the treasury have counts as supply; what came from outside or from nowhere did so before.
        let added = if to.is_user() || to == AccountId::TREASURY { i128::from(amount.0) } else { 0 };
        let outstanding = i128::from(self.risk.outstanding[usize::from(asset.0)]);
        if owed > most || self.risk.owed_by_system(asset) + outstanding + added > most {
            return Err(RejectReason::SupplyTooLarge);
        }
        if to.is_user() {
            self.risk.ledger.owe(account, asset, amount, TREASURY);
            self.risk.ledger.pay(TREASURY, to, asset, amount);
        } else {
            self.risk.ledger.owe(account, asset, amount, system_index(to));
        }
        Ok(())
    }

    /// Pays an account from the treasury; gives false, and does nothing, when the treasury does not cover it or there is no
    /// such account or asset.
    #[must_use]
    pub fn pay_from_treasury(&mut self, account: AccountId, asset: AssetId, amount: Amount) -> bool {
        let treasury = self.system_balances(asset).map_or(0, |system| system[TREASURY]);
        if treasury < i128::from(amount.0) || self.risk.ledger.account(account).is_none() {
            return false;
        }
        self.risk.ledger.pay(TREASURY, account, asset, amount);
        true
    }
}

/// A fill as the pass over what happened needs it.
#[derive(Clone, Copy, Debug)]
pub struct KeptFill {
    /// Where.
    pub market: MarketId,
    /// The taker and its account.
    pub taker: (OrderId, AccountId),
    /// The maker and its account.
    pub maker: (OrderId, AccountId),
    /// The taker's side.
    pub taker_side: Side,
    /// What the buyer pays the seller.
    pub notional: Amount,
    /// What the seller gives the buyer.
    pub base_amount: Amount,
    /// What the taker is charged; negative is a rebate.
    pub taker_fee: i64,
    /// What the maker is charged; negative is a rebate.
    pub maker_fee: i64,
}

/// What of an open order's history is void.
#[derive(Clone, Copy, Debug, Default)]
struct Void {
    taker_notional: u64,
    maker_notional: u64,
    taker_charged: u64,
    maker_charged: u64,
}

/// One pass over what happened, on other balances: orders hold nothing, and a fill stands if both sides can pay.
#[derive(Clone, Debug)]
pub struct Busting {
    risk: Risk,
    /// By order, and never gone through: its order tells nothing.
    void: HashMap<OrderId, Void, FxBuildHasher>,
    dropped: BTreeSet<OrderId>,
    /// The statuses that the facts of the branch have set: the exchange's own, and those of markets.
    global_status: TradingStatus,
    statuses: BTreeMap<MarketId, TradingStatus>,
    /// Whether the treasury ever paid what it did not have.
    overdrawn: bool,
}

impl Busting {
    /// Begins with the state at the cut: all holds of its orders are released.
    #[must_use]
    pub fn begin(exchange: &Exchange) -> Self {
        let mut risk = exchange.risk.clone();
        for market in exchange.matcher.markets() {
            for (side, asset) in [(market.bids(), market.spec.quote), (market.asks(), market.spec.base)] {
                for slot in side.slots_in_turn(exchange.matcher.orders()) {
                    let account = exchange.matcher.orders().get(slot).account;
                    risk.ledger.release(account, asset, exchange.matcher.orders().hold(slot, &market.spec));
                }
            }
        }
        risk.begins_at(exchange.last);
        Self {
            risk,
            void: HashMap::default(),
            dropped: BTreeSet::new(),
            global_status: exchange.matcher.global_status,
            statuses: exchange.matcher.markets().map(|market| (market.spec.market, market.status)).collect(),
            overdrawn: false,
        }
    }

    /// As [`Exchange::possessions`].
    #[must_use]
    pub fn possessions(&self, account: AccountId) -> Vec<(AssetId, Amount, Amount)> {
        self.risk.possessions(account)
    }

    /// A sequence passes, and timers fire.
    pub fn pass(&mut self, sequence: Sequence, time: Timestamp) {
        self.risk.let_time_pass(time);
        self.risk.begins_behind(sequence);
    }

    /// An asset of which the treasury has paid what it does not have, and all accounts together have less than nothing.
    #[must_use]
    pub fn lost(&self) -> Option<AssetId> {
        let is_lost =
            |asset: &AssetId| self.risk.ledger.system(*asset)[TREASURY] < 0 && self.risk.owed_by_system(*asset) < 0;
        self.risk.assets().map(|spec| spec.asset).filter(|_| self.overdrawn).find(is_lost)
    }

    /// Applies a command that places no order and cancels none.
    ///
    /// # Errors
    /// The reason when it is refused.
    pub fn apply(&mut self, sequence: Sequence, time: Timestamp, command: &Command) -> Result<(), RejectReason> {
        // What is owed to users and the treasury is never less than nothing, or nothing could be decided about it.
        if self.overdrawn && self.risk.assets().any(|asset| self.risk.owed_by_system(asset.asset) < 0) {
            return Err(RejectReason::TreasuryNotCovered);
        }
        let decision = self.risk.decide(sequence, time, command);
        self.risk.settle_all(sequence);
        match decision {
            Decision::Refuse(reason) => return Err(reason),
            Decision::Order(_) | Decision::Conditional(_) | Decision::Wait { .. } | Decision::StartEpoch => {
                unreachable!("a {} is not applied here", command.kind_name())
            }
            Decision::Done(_) | Decision::Forward | Decision::Airdrop { .. } => {}
        }
        match *command {
            Command::SetGlobalStatus { status } => self.global_status = status,
            Command::SetMarketStatus { market, status } => {
                self.statuses.insert(market, status);
            }
            Command::AddMarket { market, .. } => {
                self.statuses.insert(market, TradingStatus::Open);
            }
            _ => {}
        }
        Ok(())
    }

    /// Pays an airdrop without a check, if its manifest is there and unpaid.
    ///
    /// # Errors
    /// When there would be more of the asset than there can be.
    pub fn pay_airdrop(&mut self, airdrop: AirdropId, sequence: Sequence, time: Timestamp) -> Result<(), RejectReason> {
        let pending = |state| matches!(state, AirdropState::Open | AirdropState::Approved);
        let known = self.risk.payouts.airdrops.get(&airdrop).filter(|known| pending(known.state));
        let Some(known) = known else { return Ok(()) };
        let asset = known.asset;
        let paid: i128 = known.lines.iter().map(|(_, amount)| i128::from(amount.0)).sum();
        let covered = self.risk.payouts.controls.has(Controls::COVER);
        let treasury = self.risk.ledger.system(asset)[TREASURY] - if covered { paid } else { 0 };
        // All that there is after it, whatever the treasury is short of.
        let all = self.risk.owed_by_system(asset) + if covered { 0 } else { paid } - treasury.min(0);
        let outstanding = i128::from(self.risk.outstanding[usize::from(asset.0)]);
        if all + outstanding > i128::from(AMOUNT_MAX) {
            return Err(RejectReason::SupplyTooLarge);
        }
        self.overdrawn |= treasury < 0;
        self.risk.pay_airdrop(airdrop, sequence, time);
        Ok(())
    }

    /// Releases a withdrawal as a fact.
    ///
    /// # Errors
    /// As [`Exchange::force_release`].
    pub fn force_release(
        &mut self,
        withdrawal: WithdrawalId,
        account: AccountId,
        asset: AssetId,
        amount: Amount,
    ) -> Result<(), RejectReason> {
        self.risk.force_release(withdrawal, account, asset, amount)
    }

    /// Moves available, if it is there; gives whether it was.
    pub fn transfer(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: Amount) -> bool {
        let covered = self.risk.balance(from, asset).available >= amount;
        if covered {
            self.risk.ledger.transfer(from, to, asset, amount);
        }
        covered
    }

    /// Holds what a withdrawal asks for, if it is there; gives whether it was.
    pub fn request(
        &mut self,
        sequence: Sequence,
        time: Timestamp,
        account: AccountId,
        asset: AssetId,
        amount: Amount,
    ) -> bool {
        let covered = self.risk.balance(account, asset).available >= amount;
        if covered {
            // It was let through when it was asked for.
            self.risk.payouts.count_request(asset, amount, time);
            self.risk.request_withdrawal(sequence, account, asset, amount);
        }
        covered
    }

    /// Takes back an account's request that stands; gives whether it did.
    pub fn cancel_request(&mut self, withdrawal: WithdrawalId, account: AccountId) -> bool {
        let known = self.risk.withdrawals.get_mut(&withdrawal);
        let is_own = |known: &&mut Withdrawal| (known.state, known.account) == (WithdrawalState::Requested, account);
        let Some(known) = known.filter(is_own) else { return false };
        known.state = WithdrawalState::Cancelled;
        let (asset, amount) = (known.asset, known.amount);
        self.risk.ledger.release(account, asset, amount);
        true
    }

    /// Pays what is owed, as far as it was paid and can be.
    pub fn set_off(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        let available = self.risk.balance(account, asset).available;
        let amount = amount.min(available).min(self.risk.ledger.owed(account, asset));
        if !amount.is_zero() {
            self.risk.ledger.set_off(account, asset, amount);
        }
    }

    /// The order is not there: every fill of it is void.
    pub fn drop_order(&mut self, order: OrderId) {
        self.dropped.insert(order);
    }

    /// The order was given a new price and quantity: its fees count from zero.
    pub fn renewed(&mut self, order: OrderId) {
        self.void.remove(&order);
    }

    /// A fill stands if both sides can pay; gives whether it does.
    pub fn fill(&mut self, fill: &KeptFill) -> bool {
        let spec = self.risk.markets[usize::from(fill.market.0)].expect("a fill happens on a market");
        let stands = self.stands(fill, &spec);
        if !stands {
            self.void(fill);
        }
        stands
    }

    /// A fill does not stand: its orders do not count it.
    pub fn void(&mut self, fill: &KeptFill) {
        let taker = self.void.entry(fill.taker.0).or_default();
        taker.taker_notional += fill.notional.0;
        taker.taker_charged += fill.taker_fee.max(0).unsigned_abs();
        let maker = self.void.entry(fill.maker.0).or_default();
        maker.maker_notional += fill.notional.0;
        maker.maker_charged += fill.maker_fee.max(0).unsigned_abs();
    }

    fn stands(&mut self, fill: &KeptFill, spec: &MarketSpec) -> bool {
        if !self.dropped.is_empty() && (self.dropped.contains(&fill.taker.0) || self.dropped.contains(&fill.maker.0)) {
            return false;
        }
        let (buyer, seller, buyer_fee, seller_fee) = match fill.taker_side {
            Side::Buy => (fill.taker.1, fill.maker.1, fill.taker_fee, fill.maker_fee),
            Side::Sell => (fill.maker.1, fill.taker.1, fill.maker_fee, fill.taker_fee),
        };
        let ledger = &mut self.risk.ledger;
        let cost = i128::from(fill.notional.0) + i128::from(buyer_fee);
        let quote = i128::from(ledger.balance(buyer, spec.quote).available.0);
        let base = ledger.balance(seller, spec.base).available;
        if quote < cost || base < fill.base_amount {
            return false;
        }
        let gain = i128::from(fill.notional.0) - i128::from(seller_fee);
        let amount = |value: i128| Amount(u64::try_from(value).expect("a fee is less than its notional"));
        ledger.transfer(seller, buyer, spec.base, fill.base_amount);
        // By way of the fees: the buyer pays all, and the seller gets its part.
        ledger.take_back(FEES, buyer, spec.quote, amount(cost));
        ledger.pay(FEES, seller, spec.quote, amount(gain));
        true
    }

    /// The end of the pass: the orders of `parent` with what was kept of them, held again in order of acceptance on the
    /// balances of this pass. Gives the state and the orders that could not be funded.
    #[must_use]
    pub fn finish(self, parent: &Exchange) -> (Exchange, Vec<OrderId>) {
        let Self { mut risk, void, dropped, global_status, statuses, .. } = self;
        let mut matcher = parent.matcher.clone();
        // The same but for facts that were dropped.
        matcher.global_status = global_status;
        for market in matcher.markets.iter_mut().flatten() {
            let id = market.spec.market;
            market.spec = risk.markets[usize::from(id.0)].expect("no market is dropped");
            market.status = statuses[&id];
        }
        risk.ledger.forget_open_orders();
        let mut open: BTreeMap<OrderId, u32> = BTreeMap::new();
        for market in parent.matcher.markets() {
            for side in [market.bids(), market.asks()] {
                open.extend(side.slots_in_turn(parent.matcher.orders()).map(|slot| {
                    let order = parent.matcher.orders().get(slot);
                    (order.id, slot)
                }));
            }
        }
        let mut unfunded = Vec::new();
        for (&id, &slot) in &open {
            let order = matcher.orders.get(slot);
            let (account, market, side) = (order.account, order.market, order.side);
            if let Some(void) = void.get(&id) {
                let mut traded = matcher.orders.traded(slot);
                // What was charged in a role, less what is void of it; the rest of the rule is the difference.
                let charged = |rate: crate::types::FeeRate, traded: u64, carry: i64, void: u64| {
                    i128::from(rate.fee_floor(Amount(traded))) + i128::from(carry) - i128::from(void)
                };
                let carry = |rate: crate::types::FeeRate, charged: i128, traded: u64| {
                    if rate.0 < 0 {
                        return 0;
                    }
                    let by_the_rules = i128::from(rate.fee_floor(Amount(traded)));
                    i64::try_from(charged - by_the_rules).expect("a carry is a few units at most")
                };
                let taken = charged(order.taker_rate, traded.taker_notional, traded.taker_carry, void.taker_charged);
                let made = charged(order.maker_rate, traded.maker_notional, traded.maker_carry, void.maker_charged);
                traded.taker_notional -= void.taker_notional;
                traded.maker_notional -= void.maker_notional;
                traded.taker_carry = carry(order.taker_rate, taken, traded.taker_notional);
                traded.maker_carry = carry(order.maker_rate, made, traded.maker_notional);
                matcher.orders.set_traded(slot, &traded);
            }
            let spec = matcher.markets[usize::from(market.0)].as_ref().expect("an order has a market").spec;
            let hold = matcher.orders.hold(slot, &spec);
            let asset = if side == Side::Buy { spec.quote } else { spec.base };
            let is_dropped = dropped.contains(&id);
            if !is_dropped && risk.ledger.try_hold(account, asset, hold).is_ok() {
                risk.restore_open_order(account, market);
                continue;
            }
            market_mut(&mut matcher.markets, market).side_mut(side).unlink(&mut matcher.orders, slot);
            matcher.orders.remove(slot);
            if !is_dropped {
                unfunded.push(id);
            }
        }
        matcher.mirror = super::mirror::Mirror::default();
        for (id, airdrop) in &risk.payouts.airdrops {
            matcher.mirror.restore(*id, airdrop);
        }
        let mut exchange = Exchange::from_parts(risk, matcher, parent.last);
        exchange.risk.begins_at(parent.last);
        (exchange, unfunded)
    }
}
