//! The canonical state, its hash, and what must hold after every command.

use std::collections::BTreeMap;

use engine::types::{AccountId, AssetId, LimitType, Side};

use super::{Balance, EXTERNAL, MAX, ModelExchange, Order, OrderType, WithdrawalState, to_i128, to_u64};

impl ModelExchange {
    /// The bytes that the state hash is taken over.
    pub fn canonical_state(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let bytes = &mut out;
        put(bytes, 1_u32.to_le_bytes());
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
        out
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
                assert!(bid.price < ask.price, "{market_id:?} is crossed: {bid:?} and {ask:?}");
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
            let supply = to_i128(gone) - self.assets[&asset].system[EXTERNAL];
            assert!((0..=to_i128(MAX)).contains(&supply), "{asset} has a supply of {supply}");
        }
    }
}

fn put<const N: usize>(bytes: &mut Vec<u8>, value: [u8; N]) {
    bytes.extend(value);
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put(bytes, (length as u64).to_le_bytes());
}
