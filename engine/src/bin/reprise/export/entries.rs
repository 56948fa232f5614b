//! What each event does to balances, as entries that sum to zero for each asset.

use engine::{
    event::Event,
    types::{AccountId, Amount, AssetId, Gate, OrderId, Side},
};

use crate::{describe::held_asset, names::Names};

/// Which part of an account's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    Available,
    Held,
    System,
}

impl Bucket {
    /// As the tables name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Held => "held",
            Self::System => "system",
        }
    }
}

/// One change of one balance, in minor units.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub account: AccountId,
    pub asset: AssetId,
    pub bucket: Bucket,
    pub delta: i64,
}

/// Makes entries; kept to be used again.
#[derive(Debug, Default)]
pub struct Entries {
    entries: Vec<Entry>,
    /// The system account that pays the airdrop whose credits are next.
    source: Option<AccountId>,
    /// What the next withdrawal that fails leaves unpaid: its event tells the whole amount.
    forgiven: Amount,
}

impl Entries {
    /// Says beforehand what of a withdrawal that may fail now would not come back, since its owner owes it.
    pub const fn expect_forgiveness(&mut self, amount: Amount) {
        self.forgiven = amount;
    }

    /// The entries of an event, without those of nothing. `side_of` knows the orders that were open before it.
    pub fn of(&mut self, event: &Event, names: &Names, side_of: impl Fn(OrderId) -> Option<Side>) -> &[Entry] {
        self.entries.clear();
        let market_spec = |market| names.market_spec(market).expect("an order stands on a market");
        let held = |market, order| held_asset(market_spec(market), side_of(order).expect("the order was open"));
        match *event {
            Event::Deposited { account, asset, amount, .. } => {
                self.put(account, asset, Bucket::Available, signed(amount));
                self.put(AccountId::EXTERNAL, asset, Bucket::System, -signed(amount));
            }
            Event::WithdrawalFailed { account, asset, amount, .. } => {
                let forgiven = std::mem::take(&mut self.forgiven);
                self.put(account, asset, Bucket::Available, signed(amount) - signed(forgiven));
                self.put(AccountId::RECEIVABLES, asset, Bucket::System, signed(forgiven));
                self.put(AccountId::EXTERNAL, asset, Bucket::System, -signed(amount));
            }
            Event::TreasuryFunded { asset, amount, .. } => {
                self.put(AccountId::TREASURY, asset, Bucket::System, signed(amount));
                self.put(AccountId::EXTERNAL, asset, Bucket::System, -signed(amount));
            }
            // Its credits follow, and say what each takes from the source.
            Event::AirdropExecuted { source, .. } => self.source = Some(source),
            Event::AirdropCredited { account, asset, amount, locked, .. } => {
                let bucket = if locked == Gate::Closed { Bucket::Held } else { Bucket::Available };
                self.put(account, asset, bucket, signed(amount));
                let source = self.source.expect("a credit follows its airdrop");
                self.put(source, asset, Bucket::System, -signed(amount));
            }
            Event::AirdropUnlocked { account, asset, amount, .. } => self.hold(account, asset, -signed(amount)),
            Event::SetOffDone { account, asset, amount, .. } => {
                self.put(account, asset, Bucket::Available, -signed(amount));
                self.put(AccountId::RECEIVABLES, asset, Bucket::System, signed(amount));
            }
            Event::BalanceCorrected { account, asset, available, held } => {
                let bucket = if account.is_user() { Bucket::Available } else { Bucket::System };
                self.put(account, asset, bucket, available);
                self.put(account, asset, Bucket::Held, held);
            }
            Event::Transferred { from, to, asset, amount } => {
                self.put(from, asset, Bucket::Available, -signed(amount));
                self.put(to, asset, Bucket::Available, signed(amount));
            }
            Event::WithdrawalRequested { account, asset, amount, .. } => self.hold(account, asset, signed(amount)),
            Event::WithdrawalCancelled { account, asset, amount, .. } => self.hold(account, asset, -signed(amount)),
            Event::WithdrawalReleased { account, asset, amount, .. } => {
                self.put(account, asset, Bucket::Held, -signed(amount));
                self.put(AccountId::EXTERNAL, asset, Bucket::System, signed(amount));
            }
            Event::OrderAccepted { account, market, side, held, .. } => {
                self.hold(account, held_asset(market_spec(market), side), signed(held));
            }
            Event::OrderCancelled { order, account, market, released, .. }
            | Event::OrderReduced { order, account, market, released, .. } => {
                self.hold(account, held(market, order), -signed(released));
            }
            Event::OrderReplaced { order, account, market, released, held: new, .. } => {
                self.hold(account, held(market, order), signed(new) - signed(released));
            }
            Event::Filled {
                taker_account,
                maker_account,
                market,
                taker_side,
                price,
                quantity,
                taker_fee,
                maker_fee,
                released,
                ..
            } => {
                let spec = market_spec(market);
                let notional = signed(spec.notional(price, quantity).expect("a fill's notional fits"));
                let base = signed(spec.base_amount(quantity).expect("a fill's quantity fits"));
                let (buyer, buyer_fee, seller, seller_fee) = match taker_side {
                    Side::Buy => (taker_account, taker_fee, maker_account, maker_fee),
                    Side::Sell => (maker_account, maker_fee, taker_account, taker_fee),
                };
                let (base_asset, quote) = (spec.base, spec.quote);
                let released = signed(released);
                self.put(buyer, quote, Bucket::Held, -(notional + buyer_fee.max(0) + released));
                self.put(buyer, quote, Bucket::Available, released + (-buyer_fee).max(0));
                self.put(seller, quote, Bucket::Available, notional - seller_fee);
                self.put(AccountId::FEES, quote, Bucket::System, buyer_fee + seller_fee);
                self.put(seller, base_asset, Bucket::Held, -base);
                self.put(buyer, base_asset, Bucket::Available, base);
            }
            // No balance moves, or an event of its own says how: orders and debts that a new epoch corrects.
            Event::Refused { .. }
            | Event::AssetAdded { .. }
            | Event::MarketAdded { .. }
            | Event::MarketFeesSet { .. }
            | Event::MarketStatusSet { .. }
            | Event::GlobalStatusSet { .. }
            | Event::AssetWithdrawalsSet { .. }
            | Event::Ticked {}
            | Event::AccountCreated { .. }
            | Event::AccountSuspended { .. }
            | Event::AccountResumed { .. }
            | Event::OperatorRegistered { .. }
            | Event::OperatorRevoked { .. }
            | Event::WithdrawalSent { .. }
            | Event::WithdrawalSettled { .. }
            | Event::ReservesAttested { .. }
            | Event::PayoutVelocitySet { .. }
            | Event::AirdropLimitsSet { .. }
            | Event::ControlsSet { .. }
            | Event::AirdropOpened { .. }
            | Event::AirdropLineAdded { .. }
            | Event::AirdropApproved { .. }
            | Event::AirdropCancelled { .. }
            | Event::AuctionUncrossed { .. }
            | Event::PlanPartAdded { .. }
            | Event::EpochStarted { .. }
            | Event::FillBusted { .. }
            | Event::OrderVoided { .. }
            | Event::OrderRestored { .. }
            | Event::WithdrawalCorrected { .. }
            | Event::ReceivableCorrected { .. }
            | Event::EpochReady { .. }
            | Event::MassCancelled { .. } => {}
        }
        &self.entries
    }

    fn put(&mut self, account: AccountId, asset: AssetId, bucket: Bucket, delta: i64) {
        if delta != 0 {
            self.entries.push(Entry { account, asset, bucket, delta });
        }
    }

    /// From available to held; the other way when negative.
    fn hold(&mut self, account: AccountId, asset: AssetId, amount: i64) {
        self.put(account, asset, Bucket::Available, -amount);
        self.put(account, asset, Bucket::Held, amount);
    }
}

fn signed(amount: Amount) -> i64 {
    i64::try_from(amount.0).expect("an amount is at most AMOUNT_MAX")
}
