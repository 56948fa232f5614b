//! The state as canonical bytes, its hash, and the checks of its invariants.

use std::fmt;

use super::{Exchange, Matcher, RULES_VERSION, Risk, WithdrawalState, ledger::Ledger, slab::room_for};
use crate::types::{AMOUNT_MAX, AccountId, AssetId, TradingStatus};

/// A hash over the whole state: blake3 over its canonical bytes. Two exchanges with the same hash hold the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateHash(pub [u8; 32]);

impl fmt::Display for StateHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StateHash({self})")
    }
}

/// Writes little-endian integers into a buffer that is handed on when it is full enough.
struct Canonical<'a> {
    buffer: Vec<u8>,
    sink: &'a mut dyn FnMut(&[u8]),
}

const BUFFER_BYTES: usize = 1 << 16;

impl Canonical<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if self.buffer.len() + N > BUFFER_BYTES {
            (self.sink)(&self.buffer);
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(&bytes);
    }

    fn length(&mut self, length: usize) {
        self.put((length as u64).to_le_bytes());
    }

    /// Sections 8 to 17.
    fn version_2(&mut self, risk: &Risk, matcher: &Matcher) {
        let payouts = &risk.payouts;
        self.put([payouts.controls.0]);
        self.length(payouts.stopped.len());
        for asset in &payouts.stopped {
            self.put(asset.0.to_le_bytes());
        }
        self.length(payouts.operators.len());
        for (operator, known) in &payouts.operators {
            self.put(operator.0.to_le_bytes());
            self.put(known.key.0);
            self.put([u8::from(known.registered)]);
        }
        self.length(payouts.attested.len());
        for (asset, amount) in &payouts.attested {
            self.put(asset.0.to_le_bytes());
            self.put(amount.0.to_le_bytes());
        }
        self.length(payouts.velocities.len());
        for (asset, velocity) in &payouts.velocities {
            self.put(asset.0.to_le_bytes());
            self.put(velocity.amount_max.0.to_le_bytes());
            self.put(velocity.window_seconds.to_le_bytes());
            self.put(velocity.window.to_le_bytes());
            self.put(velocity.requested.0.to_le_bytes());
        }
        self.length(payouts.limits.len());
        for (asset, limits) in &payouts.limits {
            self.put(asset.0.to_le_bytes());
            for value in [limits.recipient_max.0, limits.airdrop_max.0, limits.day_max.0, limits.day, limits.paid.0] {
                self.put(value.to_le_bytes());
            }
        }
        self.length(payouts.airdrops.len());
        for (id, airdrop) in &payouts.airdrops {
            self.put(id.0.to_le_bytes());
            self.put(airdrop.author.0.to_le_bytes());
            self.put(airdrop.asset.0.to_le_bytes());
            self.put(airdrop.total.0.to_le_bytes());
            self.put(airdrop.lines_announced.to_le_bytes());
            self.put(airdrop.hash.0);
            self.put(airdrop.lock_seconds.to_le_bytes());
            self.put(airdrop.opened.0.to_le_bytes());
            self.put(airdrop.executed.0.to_le_bytes());
            self.put([airdrop.state as u8]);
            self.put(airdrop.approver.0.to_le_bytes());
            self.put(airdrop.locked_until.0.to_le_bytes());
            self.put(airdrop.source.0.to_le_bytes());
            self.length(airdrop.lines.len());
            for (account, amount) in &airdrop.lines {
                self.put(account.0.to_le_bytes());
                self.put(amount.0.to_le_bytes());
            }
        }
        self.length(risk.ledger.debts().len());
        for ((account, asset), amount) in risk.ledger.debts() {
            self.put(account.0.to_le_bytes());
            self.put(asset.0.to_le_bytes());
            self.put(amount.0.to_le_bytes());
        }
        let mut shortfalls: Vec<_> =
            risk.withdrawals.iter().filter(|(_, withdrawal)| !withdrawal.shortfall.is_zero()).collect();
        shortfalls.sort_unstable_by_key(|(id, _)| **id);
        self.length(shortfalls.len());
        for (id, withdrawal) in shortfalls {
            self.put(id.0.to_le_bytes());
            self.put(withdrawal.shortfall.0.to_le_bytes());
        }
        let mut carried: Vec<_> = matcher
            .markets()
            .flat_map(|market| [market.bids(), market.asks()])
            .flat_map(|side| side.slots_in_turn(matcher.orders()))
            .map(|slot| (matcher.orders().get(slot).id, matcher.orders().traded(slot)))
            .filter(|(_, traded)| traded.is_carried())
            .map(|(order, traded)| (order, traded.taker_carry, traded.maker_carry))
            .collect();
        carried.sort_unstable();
        self.length(carried.len());
        for (order, taker_carry, maker_carry) in carried {
            self.put(order.0.to_le_bytes());
            self.put(taker_carry.to_le_bytes());
            self.put(maker_carry.to_le_bytes());
        }
    }
}

impl Exchange {
    /// The hash over all balances, orders, queues, markets and withdrawals; not over how the state came about.
    ///
    /// Walks the whole state: milliseconds per hundred thousand orders and balances.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        let mut hasher = blake3::Hasher::new();
        self.canonical_state(&mut |bytes| {
            hasher.update(bytes);
        });
        StateHash(*hasher.finalize().as_bytes())
    }

    /// Hands the bytes that are hashed to `sink`, piece by piece; the rules above say what they are.
    pub fn canonical_state(&self, sink: &mut dyn FnMut(&[u8])) {
        let mut out = Canonical { buffer: Vec::with_capacity(BUFFER_BYTES), sink };
        let (risk, matcher) = (&self.risk, &self.matcher);
        let version = self.rules_version_in_use();
        out.put(version.to_le_bytes());
        out.put([matcher.global_status() as u8]);

        out.length(risk.assets.iter().flatten().count());
        for asset in risk.assets.iter().flatten() {
            out.put(asset.asset.0.to_le_bytes());
            out.put(asset.symbol.to_bytes());
            out.put([asset.scale]);
            for balance in risk.ledger.system(asset.asset) {
                out.put(balance.to_le_bytes());
            }
        }

        out.length(matcher.markets().count());
        for market in matcher.markets() {
            let spec = &market.spec;
            out.put(spec.market.0.to_le_bytes());
            out.put(spec.base.0.to_le_bytes());
            out.put(spec.quote.0.to_le_bytes());
            out.put(spec.lot_size.0.to_le_bytes());
            out.put(spec.tick_value.0.to_le_bytes());
            out.put(spec.maker_rate.0.to_le_bytes());
            out.put(spec.taker_rate.0.to_le_bytes());
            out.put([market.status as u8]);
        }

        out.length(risk.ledger.accounts().count());
        let mut balances = Vec::new();
        for (account, record) in risk.ledger.accounts() {
            out.put(account.0.to_le_bytes());
            out.put([u8::from(record.is_suspended())]);
            risk.ledger.read_balances(record, &mut balances);
            out.length(balances.len());
            for (asset, balance) in &balances {
                out.put(asset.0.to_le_bytes());
                out.put(balance.available.0.to_le_bytes());
                out.put(balance.held.0.to_le_bytes());
            }
        }

        out.length(risk.credited.len());
        for (asset, external_id) in risk.credited.in_order() {
            out.put(asset.0.to_le_bytes());
            out.put(external_id.0);
        }

        let mut withdrawals: Vec<_> = risk.withdrawals.iter().collect();
        withdrawals.sort_unstable_by_key(|(id, _)| **id);
        out.length(withdrawals.len());
        for (id, withdrawal) in withdrawals {
            out.put(id.0.to_le_bytes());
            out.put(withdrawal.account.0.to_le_bytes());
            out.put(withdrawal.asset.0.to_le_bytes());
            out.put(withdrawal.amount.0.to_le_bytes());
            out.put([withdrawal.state as u8]);
            out.put(withdrawal.external_id.0);
        }

        for market in matcher.markets() {
            for side in [market.bids(), market.asks()] {
                out.length(side.count());
                for slot in side.slots_in_turn(matcher.orders()) {
                    let (order, traded) = (matcher.orders().get(slot), matcher.orders().traded(slot));
                    out.put(order.id.0.to_le_bytes());
                    out.put(order.account.0.to_le_bytes());
                    out.put(order.client_order_id.0.to_le_bytes());
                    out.put([u8::from(order.is_post_only())]);
                    out.put(order.price.0.to_le_bytes());
                    out.put(order.remaining.0.to_le_bytes());
                    out.put(order.maker_rate.0.to_le_bytes());
                    out.put(order.taker_rate.0.to_le_bytes());
                    out.put(traded.taker_notional.to_le_bytes());
                    out.put(traded.maker_notional.to_le_bytes());
                }
            }
        }
        if version > 1 {
            out.version_2(risk, matcher);
        }
        (out.sink)(&out.buffer);
    }

    /// The version of the rules whose canonical bytes the state has: the oldest that knows all that is in use.
    pub(super) fn rules_version_in_use(&self) -> u32 {
        if self.is_version_1() { 1 } else { RULES_VERSION }
    }

    /// Whether nothing of version 2 is in use.
    fn is_version_1(&self) -> bool {
        let is_old = |status: TradingStatus| !matches!(status, TradingStatus::Auction | TradingStatus::Frozen);
        self.risk.payouts.is_unused()
            && self.risk.ledger.debts().is_empty()
            && is_old(self.matcher.global_status())
            && self.matcher.markets().all(|market| is_old(market.status))
            && self.risk.withdrawals.values().all(|withdrawal| withdrawal.shortfall.is_zero())
            && !self.matcher.orders().any_carried()
    }

    /// Checks what must always hold: every asset sums to zero over all accounts, what is held is exactly what open
    /// orders and requested withdrawals need, and the books are in order and not crossed.
    ///
    /// Walks the whole state.
    ///
    /// # Errors
    /// The first thing that does not hold, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_books()?;
        self.check_needs()
    }

    /// As [`check_invariants`](Self::check_invariants), of a state that was just restored, so that queues have ends and each
    /// account counts the orders that there are. `sums_are_right` says that every asset sums to zero, and that no more and no
    /// less is held than is needed; else both are looked up.
    pub(super) fn check_restored(&self, sums_are_right: bool) -> Result<(), String> {
        self.check_books()?;
        if sums_are_right { self.risk.check_debts() } else { self.check_needs() }
    }

    /// Of [`check_invariants`](Self::check_invariants), what concerns the books alone.
    pub(crate) fn check_books(&self) -> Result<(), String> {
        let (mut queued, orders) = (0, self.matcher.orders());
        for market in self.matcher.markets() {
            let name = market.spec.market;
            for side in [market.bids(), market.asks()] {
                queued += side.check(orders).map_err(|error| format!("{name}: {error}"))?;
            }
            if let (Some(bid), Some(ask)) = (market.bids().best(), market.asks().best())
                && bid.price >= ask.price
                && self.matcher.is_open(name)
            {
                return Err(format!("{name}: bid {} crosses ask {}", bid.price, ask.price));
            }
        }
        if queued != orders.len() {
            return Err(format!("{queued} orders stand in queues, {} are open", orders.len()));
        }
        Ok(())
    }

    /// Of [`check_invariants`](Self::check_invariants), what concerns the balances and what is held of them; books that are
    /// wrong may make it fail otherwise than they do themselves, or panic.
    pub(crate) fn check_needs(&self) -> Result<(), String> {
        let (mut needs, orders) = (Needs::of(&self.risk), self.matcher.orders());
        let mut left = orders.len();
        for market in self.matcher.markets() {
            for (side, asset) in [(market.bids(), market.spec.quote), (market.asks(), market.spec.base)] {
                for slot in side.slots_in_turn(orders) {
                    // A queue that leads back into itself has no end.
                    left = left.checked_sub(1).ok_or("more orders stand in queues than are open")?;
                    needs.hold_for_order(orders.get(slot).account, asset, orders.hold(slot, &market.spec).0)?;
                }
            }
        }
        needs.hold_for_those_waiting()?;
        for withdrawal in self.risk.withdrawals.values() {
            if withdrawal.state == WithdrawalState::Requested {
                needs.hold(withdrawal.account, withdrawal.asset, withdrawal.amount.0)?;
            }
        }
        for airdrop in self.risk.payouts.airdrops.values().filter(|airdrop| airdrop.is_locked()) {
            for (account, amount) in &airdrop.lines {
                needs.hold(*account, airdrop.asset, amount.0)?;
            }
        }
        self.risk.check_debts()?;
        check_balances(&self.risk, &needs)
    }
}

/// What open orders, requested withdrawals and locks need of each balance, and how many orders each account has open. Laid
/// out as the balances are, so that a state of millions is gone over without a search.
struct Needs<'a> {
    ledger: &'a Ledger,
    /// By the number of the account's record.
    accounts: Vec<AccountNeeds>,
    /// For each balance that is not zero: the asset.
    assets: Vec<AssetId>,
    /// And what is needed of it. More than a `u64` is more than any account may hold, and counts as the most there is.
    needed: Vec<u64>,
    /// Orders that are dealt with together, so that memory is waited for once.
    waiting: Vec<Waiting>,
}

/// An order whose account was asked for.
struct Waiting {
    account: AccountId,
    record: u32,
    asset: AssetId,
    amount: u64,
}

/// Where the needs of an account are, and how many orders it has open.
#[derive(Clone, Copy, Default)]
struct AccountNeeds {
    first: u32,
    balances: u32,
    open_orders: u32,
}

/// How many orders are dealt with together.
const WAITING_MAX: usize = 64;

impl<'a> Needs<'a> {
    /// Nothing is needed yet.
    fn of(risk: &'a Risk) -> Self {
        let ledger = &risk.ledger;
        let mut accounts = room_for(ledger.accounts_at_most());
        accounts.resize(ledger.accounts_at_most(), AccountNeeds::default());
        let (mut assets, balances_max) = (Vec::new(), ledger.balances_at_most());
        assets.reserve(balances_max);
        let mut found = Vec::new();
        for (account, record) in ledger.accounts() {
            ledger.read_balances(record, &mut found);
            let first = u32::try_from(assets.len()).expect("fewer than 2^32 balances");
            accounts[ledger.record_of(account).expect("it is there") as usize] =
                AccountNeeds { first, balances: found.len() as u32, open_orders: 0 };
            assets.extend(found.iter().map(|(asset, _)| *asset));
        }
        let mut needed = room_for(assets.len());
        needed.resize(assets.len(), 0);
        Self { ledger, accounts, assets, needed, waiting: Vec::with_capacity(WAITING_MAX) }
    }

    fn hold(&mut self, account: AccountId, asset: AssetId, amount: u64) -> Result<(), String> {
        let place = self.ledger.record_of(account).and_then(|record| self.place(record, asset));
        self.hold_at(place, account, asset, amount)
    }

    /// Counts an open order, for which `amount` is to be held; at the latest when
    /// [those that wait](Self::hold_for_those_waiting) are.
    fn hold_for_order(&mut self, account: AccountId, asset: AssetId, amount: u64) -> Result<(), String> {
        let there = self.ledger.record_of(account).ok_or_else(|| format!("{account} has an order and is not there"));
        let record = there?;
        ringbuf::prefetch_write(&self.accounts[record as usize]);
        self.waiting.push(Waiting { account, record, asset, amount });
        if self.waiting.len() < WAITING_MAX { Ok(()) } else { self.hold_for_those_waiting() }
    }

    fn hold_for_those_waiting(&mut self) -> Result<(), String> {
        let mut waiting = std::mem::take(&mut self.waiting);
        for order in &waiting {
            let account = &mut self.accounts[order.record as usize];
            account.open_orders += 1;
            ringbuf::prefetch_slice_index(&self.assets, account.first as usize);
        }
        let mut places = [None; WAITING_MAX];
        for (place, order) in places.iter_mut().zip(&waiting) {
            *place = self.place(order.record, order.asset);
            if let Some(needed) = place.and_then(|place| self.needed.get(place)) {
                ringbuf::prefetch_write(needed);
            }
        }
        for (place, order) in places.into_iter().zip(waiting.drain(..)) {
            self.hold_at(place, order.account, order.asset, order.amount)?;
        }
        self.waiting = waiting;
        Ok(())
    }

    /// Where a balance is in `assets` and `needed`.
    fn place(&self, record: u32, asset: AssetId) -> Option<usize> {
        let AccountNeeds { first, balances, .. } = self.accounts[record as usize];
        let assets = &self.assets[first as usize..][..balances as usize];
        assets.iter().position(|known| *known == asset).map(|index| first as usize + index)
    }

    fn hold_at(&mut self, place: Option<usize>, account: AccountId, asset: AssetId, amount: u64) -> Result<(), String> {
        match place {
            Some(place) => self.needed[place] = self.needed[place].saturating_add(amount),
            None if amount == 0 => {}
            None => return Err(format!("{account} holds too little of {asset}: {amount} is needed")),
        }
        Ok(())
    }
}

fn check_balances(risk: &Risk, needs: &Needs<'_>) -> Result<(), String> {
    let mut sums: Vec<i128> = vec![0; risk.assets.len()];
    for asset in risk.assets.iter().flatten() {
        sums[usize::from(asset.asset.0)] = risk.ledger.system(asset.asset).iter().sum();
    }
    let (mut needed, mut balances) = (needs.needed.iter(), Vec::new());
    for (account, record) in risk.ledger.accounts() {
        risk.ledger.read_balances(record, &mut balances);
        for &(asset, balance) in &balances {
            let needed = needed.next().expect("one for each balance");
            if balance.held.0 != *needed {
                return Err(format!(
                    "{account} holds {} of {asset}; its orders and withdrawals need {needed}",
                    balance.held
                ));
            }
            let total = u128::from(balance.available.0) + u128::from(balance.held.0);
            if total > u128::from(AMOUNT_MAX) {
                return Err(format!("{account} has {total} of {asset}, more than there can be"));
            }
            let sum = sums.get_mut(usize::from(asset.0)).ok_or_else(|| format!("{account} has {total} of no asset"))?;
            *sum += i128::try_from(total).expect("a balance is far below i128::MAX");
        }
        let open = risk.ledger.record_of(account).map_or(0, |record| needs.accounts[record as usize].open_orders);
        if record.open_orders_max != open {
            return Err(format!("{account} counts {} open orders, {open} are open", record.open_orders_max));
        }
    }
    match (0..).map(AssetId).zip(sums).find(|(_, sum)| *sum != 0) {
        Some((asset, sum)) => Err(format!("{asset} sums to {sum} over all accounts instead of zero")),
        None => Ok(()),
    }
}
