//! The canonical state, its hash, and what must hold after every command.

use std::collections::BTreeMap;

use engine::types::{AccountId, AssetId, LimitType, Side, TradingStatus};

use super::{
    Balance, FEES, MAX, ModelExchange, Order, OrderType, RECEIVABLES, TREASURY, UNBACKED, WithdrawalState,
    payouts::Limits, to_i128, to_u64,
};

impl ModelExchange {
    /// The bytes that the state hash is taken over.
    pub fn canonical_state(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let bytes = &mut out;
        let version: u32 = if self.uses_version_2() { 2 } else { 1 };
        put(bytes, version.to_le_bytes());
        put(bytes, [self.status as u8]);

        put_length(bytes, self.assets.len());
        for (id, asset) in &self.assets {
            put(bytes, id.0.to_le_bytes());
            put(bytes, asset.symbol.to_bytes());
            put(bytes, [asset.scale]);
            for balance in asset.system {
                put(bytes, balance.to_le_bytes());
            }
        }

        put_length(bytes, self.markets.len());
        for (id, market) in &self.markets {
            put(bytes, id.0.to_le_bytes());
            put(bytes, market.base.0.to_le_bytes());
            put(bytes, market.quote.0.to_le_bytes());
            put(bytes, to_u64(market.lot_size).to_le_bytes());
            put(bytes, to_u64(market.tick_value).to_le_bytes());
            put(bytes, market.maker_rate.to_le_bytes());
            put(bytes, market.taker_rate.to_le_bytes());
            put(bytes, [market.status as u8]);
        }

        put_length(bytes, self.accounts.len());
        for (id, account) in &self.accounts {
            put(bytes, id.0.to_le_bytes());
            put(bytes, [u8::from(account.suspended)]);
            let balances: Vec<_> =
                account.balances.iter().filter(|(_, balance)| **balance != Balance::default()).collect();
            put_length(bytes, balances.len());
            for (asset, balance) in balances {
                put(bytes, asset.0.to_le_bytes());
                put(bytes, to_u64(balance.available).to_le_bytes());
                put(bytes, to_u64(balance.held).to_le_bytes());
            }
        }

        put_length(bytes, self.credited.len());
        for (asset, external_id) in &self.credited {
            put(bytes, asset.0.to_le_bytes());
            put(bytes, *external_id);
        }

        put_length(bytes, self.withdrawals.len());
        for (id, withdrawal) in &self.withdrawals {
            put(bytes, id.0.to_le_bytes());
            put(bytes, withdrawal.account.0.to_le_bytes());
            put(bytes, withdrawal.asset.0.to_le_bytes());
            put(bytes, to_u64(withdrawal.amount).to_le_bytes());
            put(bytes, [withdrawal.state as u8]);
            put(bytes, withdrawal.external_id.0);
        }

        for market in self.markets.values() {
            for orders in [&market.bids, &market.asks] {
                put_length(bytes, orders.len());
                for order in orders {
                    let post_only = order.order_type == OrderType::Limit(LimitType::PostOnly);
                    put(bytes, order.id.0.to_le_bytes());
                    put(bytes, order.account.0.to_le_bytes());
                    put(bytes, order.client_order_id.0.to_le_bytes());
                    put(bytes, [u8::from(post_only)]);
                    put(bytes, to_u64(order.price).to_le_bytes());
                    put(bytes, to_u64(order.open).to_le_bytes());
                    put(bytes, order.maker_rate.to_le_bytes());
                    put(bytes, order.taker_rate.to_le_bytes());
                    put(bytes, to_u64(order.taken).to_le_bytes());
                    put(bytes, to_u64(order.made).to_le_bytes());
                }
            }
        }
        if version == 2 {
            self.put_version_2(bytes);
        }
        out
    }

    /// Whether sections 8 to 17 are other than a new exchange's, or a status is one that version 1 does not know.
    fn uses_version_2(&self) -> bool {
        let is_new = |status: TradingStatus| status == TradingStatus::Auction || status == TradingStatus::Frozen;
        let mut sections = Vec::new();
        let mut unused = Vec::new();
        self.put_version_2(&mut sections);
        Self::new().put_version_2(&mut unused);
        sections != unused || is_new(self.status) || self.markets.values().any(|market| is_new(market.status))
    }

    /// Sections 8 to 17.
    fn put_version_2(&self, bytes: &mut Vec<u8>) {
        put(bytes, [self.controls]);

        put_length(bytes, self.stopped.len());
        for asset in &self.stopped {
            put(bytes, asset.0.to_le_bytes());
        }

        put_length(bytes, self.operators.len());
        for (id, operator) in &self.operators {
            put(bytes, id.0.to_le_bytes());
            put(bytes, operator.key.0);
            put(bytes, [u8::from(operator.registered)]);
        }

        put_length(bytes, self.attested.len());
        for (asset, attested) in &self.attested {
            put(bytes, asset.0.to_le_bytes());
            put(bytes, to_u64(*attested).to_le_bytes());
        }

        put_length(bytes, self.velocities.len());
        for (asset, velocity) in &self.velocities {
            put(bytes, asset.0.to_le_bytes());
            put(bytes, to_u64(velocity.most).to_le_bytes());
            put(bytes, velocity.seconds.to_le_bytes());
            put(bytes, velocity.window.to_le_bytes());
            put(bytes, to_u64(velocity.requested).to_le_bytes());
        }

        let limits: Vec<_> = self.limits.iter().filter(|(_, limits)| **limits != Limits::default()).collect();
        put_length(bytes, limits.len());
        for (asset, limits) in limits {
            put(bytes, asset.0.to_le_bytes());
            for most in [limits.recipient, limits.airdrop, limits.daily] {
                put(bytes, to_u64(most).to_le_bytes());
            }
            put(bytes, limits.day.to_le_bytes());
            put(bytes, to_u64(limits.paid).to_le_bytes());
        }

        put_length(bytes, self.airdrops.len());
        for (id, airdrop) in &self.airdrops {
            put(bytes, id.0.to_le_bytes());
            put(bytes, airdrop.author.0.to_le_bytes());
            put(bytes, airdrop.asset.0.to_le_bytes());
            put(bytes, to_u64(airdrop.total).to_le_bytes());
            put(bytes, airdrop.announced.to_le_bytes());
            put(bytes, airdrop.hash.0);
            put(bytes, airdrop.lock_seconds.to_le_bytes());
            put(bytes, airdrop.opened.0.to_le_bytes());
            put(bytes, airdrop.executed.0.to_le_bytes());
            put(bytes, [airdrop.state as u8]);
            put(bytes, airdrop.approver.0.to_le_bytes());
            put(bytes, airdrop.locked_until.0.to_le_bytes());
            put(bytes, airdrop.source.0.to_le_bytes());
            put_length(bytes, airdrop.lines.len());
            for (account, value) in &airdrop.lines {
                put(bytes, account.0.to_le_bytes());
                put(bytes, to_u64(*value).to_le_bytes());
            }
        }

        put_length(bytes, self.owed.len());
        for ((account, asset), owed) in &self.owed {
            put(bytes, account.0.to_le_bytes());
            put(bytes, asset.0.to_le_bytes());
            put(bytes, to_u64(*owed).to_le_bytes());
        }

        let short: Vec<_> = self.withdrawals.iter().filter(|(_, found)| found.shortfall > 0).collect();
        put_length(bytes, short.len());
        for (id, withdrawal) in short {
            put(bytes, id.0.to_le_bytes());
            put(bytes, to_u64(withdrawal.shortfall).to_le_bytes());
        }

        let is_carried = |order: &&Order| order.taker_carry != 0 || order.maker_carry != 0;
        let mut carried: Vec<&Order> = self.open_orders().map(|(_, order)| order).filter(is_carried).collect();
        carried.sort_by_key(|order| order.id);
        put_length(bytes, carried.len());
        for order in carried {
            put(bytes, order.id.0.to_le_bytes());
            for carry in [order.taker_carry, order.maker_carry] {
                put(bytes, i64::try_from(carry).expect("a carry fits").to_le_bytes());
            }
        }
    }

    /// The state hash.
    pub fn state_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.canonical_state()).as_bytes()
    }

    /// What must hold after every command.
    pub fn check(&self) {
        let mut held: BTreeMap<(AccountId, AssetId), u128> = BTreeMap::new();
        for (market_id, market) in &self.markets {
            for order in market.orders() {
                assert!(order.open > 0, "{:?} is open with nothing open", order.id);
                assert_eq!(order.hold, market.required_hold(order), "hold of {:?} in {market_id:?}", order.id);
                *held.entry((order.account, market.hold_asset(order.side))).or_default() += order.hold;
            }
            let in_order = |a: &Order, b: &Order| match a.side {
                Side::Buy => a.price >= b.price,
                Side::Sell => a.price <= b.price,
            };
            assert!(market.bids.is_sorted_by(in_order), "bids of {market_id:?}");
            assert!(market.asks.is_sorted_by(in_order), "asks of {market_id:?}");
            if let (Some(bid), Some(ask)) = (market.bids.first(), market.asks.first()) {
                let trades = self.status_of(*market_id) == TradingStatus::Open;
                assert!(!trades || bid.price < ask.price, "{market_id:?} is crossed: {bid:?} and {ask:?}");
            }
        }
        let mut on_their_way: BTreeMap<AssetId, u128> = BTreeMap::new();
        for withdrawal in self.withdrawals.values() {
            match withdrawal.state {
                WithdrawalState::Requested => {
                    *held.entry((withdrawal.account, withdrawal.asset)).or_default() += withdrawal.amount;
                }
                WithdrawalState::Released | WithdrawalState::Sent => {
                    *on_their_way.entry(withdrawal.asset).or_default() += withdrawal.amount;
                }
                WithdrawalState::Settled | WithdrawalState::Failed | WithdrawalState::Cancelled => {}
            }
        }
        for airdrop in self.airdrops.values().filter(|airdrop| airdrop.is_locked()) {
            for (account, value) in &airdrop.lines {
                *held.entry((*account, airdrop.asset)).or_default() += value;
            }
        }
        let debts = self.debts();
        for (id, asset) in &self.assets {
            let owed = debts.get(id).copied().unwrap_or(0);
            assert_eq!(asset.system[RECEIVABLES], -to_i128(owed), "receivables of {id}");
            assert!(asset.system[FEES] >= 0 && asset.system[TREASURY] >= 0, "{id}: {:?}", asset.system);
            assert!(asset.system[UNBACKED] <= 0, "{id}: {:?}", asset.system);
        }
        let mut sums: BTreeMap<AssetId, i128> =
            self.assets.iter().map(|(&id, asset)| (id, asset.system.iter().sum())).collect();
        for (&id, account) in &self.accounts {
            for (&asset, balance) in &account.balances {
                let expected = held.remove(&(id, asset)).unwrap_or(0);
                assert_eq!(balance.held, expected, "held of {id} in {asset}");
                assert!(balance.available + balance.held <= MAX, "{id} has {balance:?} of {asset}");
                *sums.get_mut(&asset).expect("the asset exists") += to_i128(balance.available + balance.held);
            }
        }
        assert!(held.is_empty(), "holds without a balance: {held:?}");
        for (asset, sum) in sums {
            assert_eq!(sum, 0, "{asset} does not sum to zero");
            let gone = on_their_way.get(&asset).copied().unwrap_or(0);
            let supply = gone + self.liabilities(asset);
            assert!(supply <= MAX, "{asset} has a supply of {supply}");
        }
    }
}

fn put<const N: usize>(bytes: &mut Vec<u8>, value: [u8; N]) {
    bytes.extend(value);
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put(bytes, (length as u64).to_le_bytes());
}
