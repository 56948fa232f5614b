//! The state as canonical bytes, its hash, and the checks of its invariants.

use std::{collections::BTreeMap, fmt};

use super::{Exchange, Matcher, RULES_VERSION, Risk, WithdrawalState};
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
        for (account, record) in risk.ledger.accounts() {
            out.put(account.0.to_le_bytes());
            out.put([u8::from(record.is_suspended())]);
            let balances = risk.ledger.balances(record);
            out.length(balances.len());
            for (asset, balance) in balances {
                out.put(asset.0.to_le_bytes());
                out.put(balance.available.0.to_le_bytes());
                out.put(balance.held.0.to_le_bytes());
            }
        }

        let mut credited: Vec<_> = risk.credited.iter().copied().collect();
        credited.sort_unstable();
        out.length(credited.len());
        for (asset, external_id) in credited {
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
                out.length(side.slots_in_turn(matcher.orders()).count());
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
        let mut needs = Needs::of(&self.risk);
        let mut queued = 0;
        for market in self.matcher.markets() {
            let name = market.spec.market;
            for (side, asset) in [(market.bids(), market.spec.quote), (market.asks(), market.spec.base)] {
                queued += side.check(self.matcher.orders()).map_err(|error| format!("{name}: {error}"))?;
                for slot in side.slots_in_turn(self.matcher.orders()) {
                    let order = self.matcher.orders().get(slot);
                    needs.hold(order.account, asset, self.matcher.orders().hold(slot, &market.spec).0)?;
                    needs.count_open_order(order.account)?;
                }
            }
            if let (Some(bid), Some(ask)) = (market.bids().best(), market.asks().best())
                && bid.price >= ask.price
                && self.matcher.is_open(name)
            {
                return Err(format!("{name}: bid {} crosses ask {}", bid.price, ask.price));
            }
        }
        if queued != self.matcher.orders().len() {
            return Err(format!("{queued} orders stand in queues, {} are open", self.matcher.orders().len()));
        }
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
/// out as the balances are, in the order of accounts, so that a state of millions is gone over without a search.
struct Needs {
    /// Numbers of pages of accounts, ascending, with where the page's accounts begin in `accounts`.
    pages: Vec<(u32, usize)>,
    /// For each account of a page, there or not: where its balances begin in `balances`, and how many orders it has open.
    accounts: Vec<(u32, u32)>,
    /// For each balance that is not zero: the asset, and what is needed of it.
    balances: Vec<(AssetId, u128)>,
}

impl Needs {
    const PAGE_BITS: u32 = 10;
    const PAGE_ACCOUNTS: usize = 1 << Self::PAGE_BITS;

    /// Nothing is needed yet.
    fn of(risk: &Risk) -> Self {
        let mut needs = Self { pages: Vec::new(), accounts: Vec::new(), balances: Vec::new() };
        for (account, record) in risk.ledger.accounts() {
            let page = account.0 >> Self::PAGE_BITS;
            let index = account.0 as usize & (Self::PAGE_ACCOUNTS - 1);
            if needs.pages.last().is_none_or(|(last, _)| *last < page) {
                needs.fill_page();
                needs.pages.push((page, needs.accounts.len()));
            }
            let (_, begin) = needs.pages[needs.pages.len() - 1];
            // Accounts that are not there have no balances: they begin where the next one does.
            let start = u32::try_from(needs.balances.len()).expect("fewer than 2^32 balances");
            needs.accounts.resize(begin + index + 1, (start, 0));
            needs.balances.extend(risk.ledger.balances(record).into_iter().map(|(asset, _)| (asset, 0)));
        }
        needs.fill_page();
        needs
    }

    /// Ends the last page, behind which its last account's balances end.
    fn fill_page(&mut self) {
        if let Some((_, begin)) = self.pages.last() {
            let end = u32::try_from(self.balances.len()).expect("fewer than 2^32 balances");
            self.accounts.resize(begin + Self::PAGE_ACCOUNTS + 1, (end, 0));
        }
    }

    /// Where an account is in `accounts`.
    fn place(&self, account: AccountId) -> Option<usize> {
        let page = account.0 >> Self::PAGE_BITS;
        let found = self.pages.binary_search_by_key(&page, |(number, _)| *number).ok()?;
        Some(self.pages[found].1 + (account.0 as usize & (Self::PAGE_ACCOUNTS - 1)))
    }

    /// Where an account's balances are in `balances`.
    fn range(&self, place: usize) -> std::ops::Range<usize> {
        self.accounts[place].0 as usize..self.accounts[place + 1].0 as usize
    }

    fn hold(&mut self, account: AccountId, asset: AssetId, amount: u64) -> Result<(), String> {
        let range = self.place(account).map(|place| self.range(place)).unwrap_or_default();
        match self.balances[range].iter_mut().find(|(known, _)| *known == asset) {
            Some((_, needed)) => *needed += u128::from(amount),
            None if amount == 0 => {}
            None => return Err(format!("{account} holds too little of {asset}: {amount} is needed")),
        }
        Ok(())
    }

    fn count_open_order(&mut self, account: AccountId) -> Result<(), String> {
        let place = self.place(account).ok_or_else(|| format!("{account} has an order and is not there"))?;
        self.accounts[place].1 += 1;
        Ok(())
    }
}

fn check_balances(risk: &Risk, needs: &Needs) -> Result<(), String> {
    let mut sums: BTreeMap<AssetId, i128> = BTreeMap::new();
    for asset in risk.assets.iter().flatten() {
        sums.insert(asset.asset, risk.ledger.system(asset.asset).iter().sum());
    }
    let mut needed = needs.balances.iter();
    for (account, record) in risk.ledger.accounts() {
        for (asset, balance) in risk.ledger.balances(record) {
            let (_, needed) = needed.next().expect("one for each balance");
            if u128::from(balance.held.0) != *needed {
                return Err(format!(
                    "{account} holds {} of {asset}; its orders and withdrawals need {needed}",
                    balance.held
                ));
            }
            let total = u128::from(balance.available.0) + u128::from(balance.held.0);
            if total > u128::from(AMOUNT_MAX) {
                return Err(format!("{account} has {total} of {asset}, more than there can be"));
            }
            *sums.entry(asset).or_default() += i128::try_from(total).expect("a balance is far below i128::MAX");
        }
        let open = needs.place(account).map_or(0, |place| needs.accounts[place].1);
        if record.open_orders_max != open {
            return Err(format!("{account} counts {} open orders, {open} are open", record.open_orders_max));
        }
    }
    match sums.into_iter().find(|(_, sum)| *sum != 0) {
        Some((asset, sum)) => Err(format!("{asset} sums to {sum} over all accounts instead of zero")),
        None => Ok(()),
    }
}
