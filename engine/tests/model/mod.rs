//! The exchange written a second time, from `engine/src/exchange/rules.md` alone and as plainly as possible:
//! sorted vectors, ordered maps, wide integers. It shares the vocabulary with the engine (types, commands,
//! events) and no arithmetic. Slow, and meant to be read beside the rules.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod streams;

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    command::Command,
    event::{CancelReason, Event, RejectReason},
    types::{
        AMOUNT_MAX, ASSETS_MAX, AccountId, Amount, AssetId, ClientOrderId, ExternalId, FEE_RATE_MAX, FeeRate,
        LimitType, MARKETS_MAX, MarketId, OrderId, PRICE_MAX, Price, Quantity, SCALE_MAX, Sequence, Side, Symbol,
        Timestamp, TradingStatus, WithdrawalId,
    },
};

const MAX: u128 = AMOUNT_MAX as u128;
/// Where the system accounts that move stand in `AccountId::SYSTEM`.
const EXTERNAL: usize = 0;
const FEES: usize = 1;

/// The whole state.
#[derive(Clone, Debug)]
pub struct ModelExchange {
    pub status: TradingStatus,
    pub assets: BTreeMap<AssetId, Asset>,
    pub markets: BTreeMap<MarketId, Market>,
    pub accounts: BTreeMap<AccountId, Account>,
    pub credited: BTreeSet<(AssetId, [u8; 16])>,
    pub withdrawals: BTreeMap<WithdrawalId, Withdrawal>,
    events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub struct Asset {
    pub symbol: Symbol,
    pub scale: u8,
    /// The system accounts, in the order of `AccountId::SYSTEM`.
    pub system: [i128; 5],
}

#[derive(Clone, Debug)]
pub struct Market {
    pub base: AssetId,
    pub quote: AssetId,
    pub lot_size: u128,
    pub tick_value: u128,
    pub maker_rate: i16,
    pub taker_rate: i16,
    pub status: TradingStatus,
    /// Best first, at one price the oldest first.
    pub bids: Vec<Order>,
    /// Best first, at one price the oldest first.
    pub asks: Vec<Order>,
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub suspended: bool,
    pub balances: BTreeMap<AssetId, Balance>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub available: u128,
    pub held: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithdrawalState {
    Requested = 0,
    Released = 1,
    Sent = 2,
    Settled = 3,
    Failed = 4,
    Cancelled = 5,
}

#[derive(Clone, Debug)]
pub struct Withdrawal {
    pub account: AccountId,
    pub asset: AssetId,
    pub amount: u128,
    pub state: WithdrawalState,
    pub external_id: ExternalId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderType {
    Limit(LimitType),
    MarketBuy,
    MarketSell,
}

#[derive(Clone, Debug)]
pub struct Order {
    pub id: OrderId,
    pub account: AccountId,
    pub client_order_id: ClientOrderId,
    pub order_type: OrderType,
    pub side: Side,
    /// The limit; 0 for a market order.
    pub price: u128,
    /// Lots; 0 for a market buy.
    pub open: u128,
    pub maker_rate: i16,
    pub taker_rate: i16,
    /// Notional traded as a taker.
    pub taken: u128,
    /// Notional traded as a maker.
    pub made: u128,
    /// What is held for it now: quote for a buy (what is left of the budget for a market buy), base for a sell.
    pub hold: u128,
}

type Outcome = Result<(), RejectReason>;

fn refuse_if(condition: bool, reason: RejectReason) -> Outcome {
    if condition { Err(reason) } else { Ok(()) }
}

/// `floor(|rate| * notional / 100,000)`.
fn fee(rate: i16, notional: u128) -> u128 {
    u128::from(rate.unsigned_abs()).saturating_mul(notional) / 100_000
}

/// What a side pays for `notional` after `traded`, before the cap on rebates: negative is a rebate.
fn raw_fee(rate: i16, traded: u128, notional: u128) -> i128 {
    let magnitude = to_i128(fee(rate, traded + notional) - fee(rate, traded));
    if rate < 0 { -magnitude } else { magnitude }
}

fn to_i128(value: u128) -> i128 {
    i128::try_from(value).expect("the value fits an i128")
}

fn to_u64(value: u128) -> u64 {
    u64::try_from(value).expect("the value fits a u64")
}

fn amount(value: u128) -> Amount {
    Amount(to_u64(value))
}

impl Market {
    /// `p * q * tick_value`. It saturates: the largest arguments pass even 128 bits, and then it is far above
    /// any limit.
    pub fn notional(&self, price: u128, quantity: u128) -> u128 {
        price.saturating_mul(quantity).saturating_mul(self.tick_value)
    }

    /// The worst case of a new limit order at the rates now in force.
    pub fn worst_case(&self, price: u128, quantity: u128) -> u128 {
        let rate = self.maker_rate.max(self.taker_rate).max(0);
        let notional = self.notional(price, quantity);
        notional.saturating_add(fee(rate, notional))
    }

    pub fn side(&self, side: Side) -> &Vec<Order> {
        match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut Vec<Order> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.bids.iter().chain(&self.asks)
    }

    /// Whether an order of `side` at `price` would trade with the best of the other side.
    fn would_trade(&self, side: Side, price: u128) -> bool {
        self.side(side.opposite()).first().is_some_and(|best| crosses(side, price, best.price))
    }

    /// Whether the opposite orders, in turn and before the first of the account's own, cover the quantity.
    fn can_fill(&self, account: AccountId, side: Side, price: u128, quantity: u128) -> bool {
        let mut found = 0;
        for order in self.side(side.opposite()) {
            if !crosses(side, price, order.price) || order.account == account {
                break;
            }
            found += order.open;
        }
        found >= quantity
    }

    /// Puts an order at the end of its level's queue.
    fn stand(&mut self, order: Order) {
        let orders = self.side_mut(order.side);
        let behind = |other: &Order| match order.side {
            Side::Buy => other.price < order.price,
            Side::Sell => other.price > order.price,
        };
        let position = orders.iter().position(behind).unwrap_or(orders.len());
        orders.insert(position, order);
    }

    /// What an open order must hold.
    fn required_hold(&self, order: &Order) -> u128 {
        match order.side {
            Side::Sell => order.open * self.lot_size,
            Side::Buy if order.open == 0 => 0,
            Side::Buy => {
                let rate = order.maker_rate.max(order.taker_rate).max(0);
                let rest = self.notional(order.price, order.open);
                let mut charged = 0;
                if order.taker_rate >= 0 {
                    charged += fee(order.taker_rate, order.taken);
                }
                if order.maker_rate >= 0 {
                    charged += fee(order.maker_rate, order.made);
                }
                rest + fee(rate, order.taken + order.made + rest) - charged
            }
        }
    }

    fn hold_asset(&self, side: Side) -> AssetId {
        match side {
            Side::Buy => self.quote,
            Side::Sell => self.base,
        }
    }
}

/// Whether an order of `side` with limit `price` accepts `best`.
fn crosses(side: Side, price: u128, best: u128) -> bool {
    match side {
        Side::Buy => best <= price,
        Side::Sell => best >= price,
    }
}

impl Default for ModelExchange {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelExchange {
    pub fn new() -> Self {
        Self {
            status: TradingStatus::Open,
            assets: BTreeMap::new(),
            markets: BTreeMap::new(),
            accounts: BTreeMap::new(),
            credited: BTreeSet::new(),
            withdrawals: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Applies the command and returns its events.
    pub fn apply(&mut self, sequence: Sequence, _time: Timestamp, command: &Command) -> Vec<Event> {
        assert!(self.events.is_empty(), "events left from an earlier command");
        if let Err(reason) = self.dispatch(sequence.0, command) {
            assert!(self.events.is_empty(), "{reason} after an event: {command:?}");
            self.events.push(refusal(command, reason));
        }
        std::mem::take(&mut self.events)
    }

    fn dispatch(&mut self, sequence: u64, command: &Command) -> Outcome {
        match *command {
            Command::AddAsset { asset, symbol, scale } => self.add_asset(asset, symbol, scale),
            Command::AddMarket { .. } => self.add_market(command),
            Command::SetMarketFees { market, maker_rate, taker_rate } => {
                self.set_market_fees(market, maker_rate, taker_rate)
            }
            Command::SetMarketStatus { market, status } => {
                self.markets.get_mut(&market).ok_or(RejectReason::UnknownMarket)?.status = status;
                self.emit(Event::MarketStatusSet { market, status })
            }
            Command::SetGlobalStatus { status } => {
                self.status = status;
                self.emit(Event::GlobalStatusSet { status })
            }
            Command::CreateAccount { account } => {
                refuse_if(!is_user(account), RejectReason::ReservedAccount)?;
                refuse_if(self.accounts.contains_key(&account), RejectReason::AccountExists)?;
                self.accounts.insert(account, Account::default());
                self.emit(Event::AccountCreated { account })
            }
            Command::SuspendAccount { account } => {
                self.check_account(account)?;
                self.check_not_suspended(account)?;
                self.account(account).suspended = true;
                self.emit(Event::AccountSuspended { account })
            }
            Command::ResumeAccount { account } => {
                self.check_account(account)?;
                refuse_if(!self.accounts[&account].suspended, RejectReason::AccountNotSuspended)?;
                self.account(account).suspended = false;
                self.emit(Event::AccountResumed { account })
            }
            Command::Deposit { account, asset, amount, external_id } => {
                self.deposit(account, asset, amount, external_id)
            }
            Command::Transfer { from, to, asset, amount } => self.transfer(from, to, asset, amount),
            Command::RequestWithdrawal { account, asset, amount } => {
                self.check_withdrawal_request(account, asset)?;
                refuse_if(amount.0 == 0, RejectReason::ZeroAmount)?;
                refuse_if(amount.0 > AMOUNT_MAX, RejectReason::AmountTooLarge)?;
                let available = self.balance(account, asset).available;
                refuse_if(available < amount.0.into(), RejectReason::InsufficientAvailable)?;
                self.request_withdrawal(sequence, account, asset, amount.0.into())
            }
            Command::RequestWithdrawalOfAll { account, asset } => {
                self.check_withdrawal_request(account, asset)?;
                let available = self.balance(account, asset).available;
                refuse_if(available == 0, RejectReason::InsufficientAvailable)?;
                self.request_withdrawal(sequence, account, asset, available)
            }
            Command::CancelWithdrawal { account, withdrawal } => self.cancel_withdrawal(account, withdrawal),
            Command::ReleaseWithdrawal { withdrawal, account, asset, amount } => {
                self.release_withdrawal(withdrawal, account, asset, amount)
            }
            Command::ConfirmWithdrawalSent { withdrawal, external_id } => {
                let found = self.withdrawal_in(withdrawal, &[WithdrawalState::Released])?;
                found.state = WithdrawalState::Sent;
                found.external_id = external_id;
                self.emit(Event::WithdrawalSent { withdrawal, external_id })
            }
            Command::ConfirmWithdrawalSettled { withdrawal } => {
                self.withdrawal_in(withdrawal, &[WithdrawalState::Sent])?.state = WithdrawalState::Settled;
                self.emit(Event::WithdrawalSettled { withdrawal })
            }
            Command::FailWithdrawal { withdrawal } => self.fail_withdrawal(withdrawal),
            Command::PlaceLimit { .. } => self.place_limit(sequence, command),
            Command::PlaceMarketBuy { account, market, budget, client_order_id } => {
                self.place_market_buy(sequence, account, market, budget, client_order_id)
            }
            Command::PlaceMarketSell { account, market, quantity, client_order_id } => {
                self.place_market_sell(sequence, account, market, quantity, client_order_id)
            }
            Command::CancelOrder { account, order } => {
                self.check_account(account)?;
                self.cancel_order(account, |open| open.id == order)
            }
            Command::CancelByClientOrderId { account, client_order_id } => {
                self.check_account(account)?;
                refuse_if(client_order_id.0 == 0, RejectReason::OrderNotFound)?;
                self.cancel_order(account, |open| open.client_order_id == client_order_id)
            }
            Command::ReduceOrder { account, order, quantity } => {
                self.check_account(account)?;
                refuse_if(quantity.0 == 0, RejectReason::ZeroQuantity)?;
                let (market, _) = self.find_order(account, |open| open.id == order)?;
                refuse_if(self.status_of(market) == TradingStatus::Halted, RejectReason::MarketHalted)?;
                self.reduce(market, order, quantity.0.into())
            }
            Command::ReplaceOrder { .. } => self.replace_order(command),
            Command::CancelAllOfAccount { account } => {
                self.check_account(account)?;
                refuse_if(self.status == TradingStatus::Halted, RejectReason::MarketHalted)?;
                let mut orders: Vec<_> = self
                    .open_orders()
                    .filter(|(_, order)| order.account == account)
                    .map(|(market, order)| (order.id, market))
                    .collect();
                orders.sort();
                self.mass_cancel(&orders);
                let orders = u32::try_from(orders.len()).expect("the count fits");
                self.emit(Event::MassCancelled { account, market: MarketId(0), orders })
            }
            Command::CancelAllOfMarket { market } => {
                let found = self.markets.get(&market).ok_or(RejectReason::UnknownMarket)?;
                refuse_if(self.status == TradingStatus::Halted, RejectReason::MarketHalted)?;
                let orders: Vec<_> = found.orders().map(|order| (order.id, market)).collect();
                self.mass_cancel(&orders);
                let orders = u32::try_from(orders.len()).expect("the count fits");
                self.emit(Event::MassCancelled { account: AccountId(0), market, orders })
            }
            _ => unreachable!("the model does not know {} yet", command.kind_name()),
        }
    }

    fn emit(&mut self, event: Event) -> Outcome {
        self.events.push(event);
        Ok(())
    }

    // Assets and markets.

    fn add_asset(&mut self, asset: AssetId, symbol: Symbol, scale: u8) -> Outcome {
        refuse_if(asset.0 >= ASSETS_MAX, RejectReason::AssetIdTooLarge)?;
        refuse_if(self.assets.contains_key(&asset), RejectReason::AssetExists)?;
        refuse_if(!is_valid_symbol(symbol), RejectReason::InvalidSymbol)?;
        refuse_if(self.assets.values().any(|other| other.symbol == symbol), RejectReason::SymbolExists)?;
        refuse_if(scale > SCALE_MAX, RejectReason::ScaleTooLarge)?;
        self.assets.insert(asset, Asset { symbol, scale, system: [0; 5] });
        self.emit(Event::AssetAdded { asset, symbol, scale })
    }

    fn add_market(&mut self, command: &Command) -> Outcome {
        let &Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } = command else {
            unreachable!("called for this kind only")
        };
        refuse_if(!self.assets.contains_key(&base), RejectReason::UnknownAsset)?;
        refuse_if(!self.assets.contains_key(&quote), RejectReason::UnknownAsset)?;
        refuse_if(market.0 >= MARKETS_MAX, RejectReason::MarketIdTooLarge)?;
        refuse_if(self.markets.contains_key(&market), RejectReason::MarketExists)?;
        refuse_if(base == quote, RejectReason::SameBaseAndQuote)?;
        refuse_if(lot_size.0 == 0 || lot_size.0 > AMOUNT_MAX, RejectReason::InvalidLotSize)?;
        refuse_if(tick_value.0 == 0 || tick_value.0 > AMOUNT_MAX, RejectReason::InvalidTickValue)?;
        check_rates(maker_rate, taker_rate)?;
        self.markets.insert(
            market,
            Market {
                base,
                quote,
                lot_size: lot_size.0.into(),
                tick_value: tick_value.0.into(),
                maker_rate: maker_rate.0,
                taker_rate: taker_rate.0,
                status: TradingStatus::Open,
                bids: Vec::new(),
                asks: Vec::new(),
            },
        );
        self.emit(Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate })
    }

    fn set_market_fees(&mut self, market: MarketId, maker_rate: FeeRate, taker_rate: FeeRate) -> Outcome {
        let found = self.markets.get_mut(&market).ok_or(RejectReason::UnknownMarket)?;
        check_rates(maker_rate, taker_rate)?;
        found.maker_rate = maker_rate.0;
        found.taker_rate = taker_rate.0;
        self.emit(Event::MarketFeesSet { market, maker_rate, taker_rate })
    }

    // Accounts and balances.

    fn check_account(&self, account: AccountId) -> Outcome {
        refuse_if(!self.accounts.contains_key(&account), RejectReason::UnknownAccount)
    }

    fn check_not_suspended(&self, account: AccountId) -> Outcome {
        refuse_if(self.accounts[&account].suspended, RejectReason::AccountSuspended)
    }

    fn check_asset(&self, asset: AssetId) -> Outcome {
        refuse_if(!self.assets.contains_key(&asset), RejectReason::UnknownAsset)
    }

    fn check_market(&self, market: MarketId) -> Outcome {
        refuse_if(!self.markets.contains_key(&market), RejectReason::UnknownMarket)
    }

    fn account(&mut self, account: AccountId) -> &mut Account {
        self.accounts.get_mut(&account).expect("the account exists")
    }

    /// The account's balance of the asset; nothing where it has never had any.
    pub fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        self.accounts.get(&account).and_then(|found| found.balances.get(&asset)).copied().unwrap_or_default()
    }

    fn balance_mut(&mut self, account: AccountId, asset: AssetId) -> &mut Balance {
        self.account(account).balances.entry(asset).or_default()
    }

    fn system(&mut self, index: usize, asset: AssetId) -> &mut i128 {
        &mut self.assets.get_mut(&asset).expect("the asset exists").system[index]
    }

    fn hold(&mut self, account: AccountId, asset: AssetId, amount: u128) {
        let balance = self.balance_mut(account, asset);
        balance.available -= amount;
        balance.held += amount;
    }

    fn release(&mut self, account: AccountId, asset: AssetId, amount: u128) {
        let balance = self.balance_mut(account, asset);
        balance.held -= amount;
        balance.available += amount;
    }

    fn deposit(&mut self, account: AccountId, asset: AssetId, amount: Amount, external_id: ExternalId) -> Outcome {
        self.check_account(account)?;
        self.check_asset(asset)?;
        refuse_if(amount.0 == 0, RejectReason::ZeroAmount)?;
        refuse_if(amount.0 > AMOUNT_MAX, RejectReason::AmountTooLarge)?;
        let owed = -self.assets[&asset].system[EXTERNAL];
        let supply = owed + to_i128(self.may_come_back(asset)) + i128::from(amount.0);
        refuse_if(supply > i128::from(AMOUNT_MAX), RejectReason::SupplyTooLarge)?;
        refuse_if(self.credited.contains(&(asset, external_id.0)), RejectReason::DuplicateExternalId)?;
        self.credited.insert((asset, external_id.0));
        self.balance_mut(account, asset).available += u128::from(amount.0);
        *self.system(EXTERNAL, asset) -= i128::from(amount.0);
        self.emit(Event::Deposited { account, asset, amount, external_id })
    }

    fn transfer(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: Amount) -> Outcome {
        self.check_account(from)?;
        self.check_account(to)?;
        self.check_not_suspended(from)?;
        refuse_if(from == to, RejectReason::SameAccount)?;
        self.check_asset(asset)?;
        refuse_if(self.status == TradingStatus::Halted, RejectReason::ExchangeHalted)?;
        refuse_if(amount.0 == 0, RejectReason::ZeroAmount)?;
        refuse_if(amount.0 > AMOUNT_MAX, RejectReason::AmountTooLarge)?;
        let available = self.balance(from, asset).available;
        refuse_if(available < amount.0.into(), RejectReason::InsufficientAvailable)?;
        self.balance_mut(from, asset).available -= u128::from(amount.0);
        self.balance_mut(to, asset).available += u128::from(amount.0);
        self.emit(Event::Transferred { from, to, asset, amount })
    }

    // Withdrawals.

    /// What was released or sent, and has neither settled nor failed.
    pub fn may_come_back(&self, asset: AssetId) -> u128 {
        let on_its_way = |found: &&Withdrawal| matches!(found.state, WithdrawalState::Released | WithdrawalState::Sent);
        let of_asset = self.withdrawals.values().filter(|found| found.asset == asset);
        of_asset.filter(on_its_way).map(|found| found.amount).sum()
    }

    fn check_withdrawal_request(&self, account: AccountId, asset: AssetId) -> Outcome {
        self.check_account(account)?;
        self.check_not_suspended(account)?;
        self.check_asset(asset)?;
        refuse_if(self.status == TradingStatus::Halted, RejectReason::ExchangeHalted)
    }

    fn request_withdrawal(&mut self, sequence: u64, account: AccountId, asset: AssetId, value: u128) -> Outcome {
        self.hold(account, asset, value);
        let withdrawal = WithdrawalId(sequence);
        let state = WithdrawalState::Requested;
        let external_id = ExternalId([0; 16]);
        self.withdrawals.insert(withdrawal, Withdrawal { account, asset, amount: value, state, external_id });
        self.emit(Event::WithdrawalRequested { withdrawal, account, asset, amount: amount(value) })
    }

    /// The withdrawal, if it is in one of the states.
    fn withdrawal_in(
        &mut self,
        withdrawal: WithdrawalId,
        states: &[WithdrawalState],
    ) -> Result<&mut Withdrawal, RejectReason> {
        let found = self.withdrawals.get_mut(&withdrawal).ok_or(RejectReason::UnknownWithdrawal)?;
        refuse_if(!states.contains(&found.state), RejectReason::WithdrawalStateInvalid)?;
        Ok(found)
    }

    fn cancel_withdrawal(&mut self, account: AccountId, withdrawal: WithdrawalId) -> Outcome {
        self.check_account(account)?;
        let found = self.withdrawals.get(&withdrawal).ok_or(RejectReason::UnknownWithdrawal)?.clone();
        refuse_if(found.account != account, RejectReason::WithdrawalMismatch)?;
        refuse_if(found.state != WithdrawalState::Requested, RejectReason::WithdrawalStateInvalid)?;
        refuse_if(self.status == TradingStatus::Halted, RejectReason::ExchangeHalted)?;
        self.withdrawal_in(withdrawal, &[WithdrawalState::Requested])?.state = WithdrawalState::Cancelled;
        self.release(account, found.asset, found.amount);
        self.emit(Event::WithdrawalCancelled { withdrawal, account, asset: found.asset, amount: amount(found.amount) })
    }

    fn release_withdrawal(
        &mut self,
        withdrawal: WithdrawalId,
        account: AccountId,
        asset: AssetId,
        amount: Amount,
    ) -> Outcome {
        self.check_account(account)?;
        self.check_not_suspended(account)?;
        let found = self.withdrawals.get(&withdrawal).ok_or(RejectReason::UnknownWithdrawal)?;
        let matches = found.account == account && found.asset == asset && found.amount == u128::from(amount.0);
        refuse_if(!matches, RejectReason::WithdrawalMismatch)?;
        refuse_if(found.state != WithdrawalState::Requested, RejectReason::WithdrawalStateInvalid)?;
        refuse_if(self.status == TradingStatus::Halted, RejectReason::ExchangeHalted)?;
        self.withdrawal_in(withdrawal, &[WithdrawalState::Requested])?.state = WithdrawalState::Released;
        self.balance_mut(account, asset).held -= u128::from(amount.0);
        *self.system(EXTERNAL, asset) += i128::from(amount.0);
        self.emit(Event::WithdrawalReleased { withdrawal, account, asset, amount })
    }

    fn fail_withdrawal(&mut self, withdrawal: WithdrawalId) -> Outcome {
        let found = self.withdrawal_in(withdrawal, &[WithdrawalState::Released, WithdrawalState::Sent])?;
        found.state = WithdrawalState::Failed;
        let Withdrawal { account, asset, amount: value, .. } = *found;
        self.balance_mut(account, asset).available += value;
        *self.system(EXTERNAL, asset) -= to_i128(value);
        self.emit(Event::WithdrawalFailed { withdrawal, account, asset, amount: amount(value) })
    }

    // Orders.

    /// The stricter of the market's and the global status.
    fn status_of(&self, market: MarketId) -> TradingStatus {
        let severity = |status| match status {
            TradingStatus::Open => 0,
            TradingStatus::Auction => 1,
            TradingStatus::CancelOnly => 2,
            TradingStatus::Halted => 3,
            TradingStatus::Frozen => 4,
        };
        let own = self.markets[&market].status;
        if severity(own) > severity(self.status) { own } else { self.status }
    }

    /// All open orders with their markets.
    pub fn open_orders(&self) -> impl Iterator<Item = (MarketId, &Order)> {
        self.markets.iter().flat_map(|(&market, found)| found.orders().map(move |order| (market, order)))
    }

    fn find_order(
        &self,
        account: AccountId,
        wanted: impl Fn(&Order) -> bool,
    ) -> Result<(MarketId, &Order), RejectReason> {
        self.open_orders()
            .find(|(_, order)| order.account == account && wanted(order))
            .ok_or(RejectReason::OrderNotFound)
    }

    /// Takes an open order off its book.
    fn take_order(&mut self, market: MarketId, order: OrderId) -> Order {
        let found = self.markets.get_mut(&market).expect("the market exists");
        for side in [Side::Buy, Side::Sell] {
            let orders = found.side_mut(side);
            if let Some(position) = orders.iter().position(|open| open.id == order) {
                return orders.remove(position);
            }
        }
        unreachable!("the order is open")
    }

    /// The checks that every placed order passes at the matcher.
    fn check_placing(&self, account: AccountId, market: MarketId, client_order_id: ClientOrderId) -> Outcome {
        refuse_if(self.status_of(market) == TradingStatus::Halted, RejectReason::MarketHalted)?;
        refuse_if(self.status_of(market) == TradingStatus::CancelOnly, RejectReason::MarketCancelOnly)?;
        let taken = client_order_id.0 != 0
            && self
                .open_orders()
                .any(|(_, order)| order.account == account && order.client_order_id == client_order_id);
        refuse_if(taken, RejectReason::DuplicateClientOrderId)
    }

    fn place_limit(&mut self, sequence: u64, command: &Command) -> Outcome {
        let &Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id } = command
        else {
            unreachable!("called for this kind only")
        };
        self.check_account(account)?;
        self.check_not_suspended(account)?;
        self.check_market(market)?;
        self.check_limit(market, price, quantity)?;
        let found = &self.markets[&market];
        let (p, q) = (u128::from(price.0), u128::from(quantity.0));
        let hold = match side {
            Side::Buy => found.worst_case(p, q),
            Side::Sell => q * found.lot_size,
        };
        let available = self.balance(account, found.hold_asset(side)).available;
        refuse_if(available < hold, RejectReason::InsufficientAvailable)?;
        self.check_placing(account, market, client_order_id)?;
        let post_only = limit_type == LimitType::PostOnly;
        refuse_if(post_only && found.would_trade(side, p), RejectReason::WouldTrade)?;
        let fill_or_kill = limit_type == LimitType::FillOrKill;
        refuse_if(fill_or_kill && !found.can_fill(account, side, p, q), RejectReason::NotFillable)?;

        self.accept(
            market,
            Order {
                id: OrderId(sequence),
                account,
                client_order_id,
                order_type: OrderType::Limit(limit_type),
                side,
                price: p,
                open: q,
                maker_rate: found.maker_rate,
                taker_rate: found.taker_rate,
                taken: 0,
                made: 0,
                hold,
            },
        )
    }

    /// The checks of price and quantity that placing and replacing share.
    fn check_limit(&self, market: MarketId, price: Price, quantity: Quantity) -> Outcome {
        let found = &self.markets[&market];
        refuse_if(price.0 == 0, RejectReason::ZeroPrice)?;
        refuse_if(price.0 > PRICE_MAX, RejectReason::PriceTooLarge)?;
        refuse_if(quantity.0 == 0, RejectReason::ZeroQuantity)?;
        refuse_if(u128::from(quantity.0) * found.lot_size > MAX, RejectReason::QuantityTooLarge)?;
        let worst_case = found.worst_case(price.0.into(), quantity.0.into());
        refuse_if(worst_case > MAX, RejectReason::NotionalTooLarge)
    }

    fn place_market_buy(
        &mut self,
        sequence: u64,
        account: AccountId,
        market: MarketId,
        budget: Amount,
        client_order_id: ClientOrderId,
    ) -> Outcome {
        self.check_account(account)?;
        self.check_not_suspended(account)?;
        self.check_market(market)?;
        refuse_if(budget.0 == 0, RejectReason::ZeroAmount)?;
        refuse_if(budget.0 > AMOUNT_MAX, RejectReason::AmountTooLarge)?;
        let found = &self.markets[&market];
        let available = self.balance(account, found.quote).available;
        refuse_if(available < budget.0.into(), RejectReason::InsufficientAvailable)?;
        self.check_placing(account, market, client_order_id)?;
        self.accept(
            market,
            Order {
                id: OrderId(sequence),
                account,
                client_order_id,
                order_type: OrderType::MarketBuy,
                side: Side::Buy,
                price: 0,
                open: 0,
                maker_rate: found.maker_rate,
                taker_rate: found.taker_rate,
                taken: 0,
                made: 0,
                hold: budget.0.into(),
            },
        )
    }

    fn place_market_sell(
        &mut self,
        sequence: u64,
        account: AccountId,
        market: MarketId,
        quantity: Quantity,
        client_order_id: ClientOrderId,
    ) -> Outcome {
        self.check_account(account)?;
        self.check_not_suspended(account)?;
        self.check_market(market)?;
        let found = &self.markets[&market];
        let hold = u128::from(quantity.0) * found.lot_size;
        refuse_if(quantity.0 == 0, RejectReason::ZeroQuantity)?;
        refuse_if(hold > MAX, RejectReason::QuantityTooLarge)?;
        let available = self.balance(account, found.base).available;
        refuse_if(available < hold, RejectReason::InsufficientAvailable)?;
        self.check_placing(account, market, client_order_id)?;
        self.accept(
            market,
            Order {
                id: OrderId(sequence),
                account,
                client_order_id,
                order_type: OrderType::MarketSell,
                side: Side::Sell,
                price: 0,
                open: quantity.0.into(),
                maker_rate: found.maker_rate,
                taker_rate: found.taker_rate,
                taken: 0,
                made: 0,
                hold,
            },
        )
    }

    /// Takes a new order's hold, lets it trade and disposes of the rest.
    fn accept(&mut self, market: MarketId, order: Order) -> Outcome {
        let asset = self.markets[&market].hold_asset(order.side);
        self.hold(order.account, asset, order.hold);
        self.events.push(Event::OrderAccepted {
            order: order.id,
            account: order.account,
            market,
            side: order.side,
            price: Price(to_u64(order.price)),
            quantity: Quantity(to_u64(order.open)),
            held: amount(order.hold),
            client_order_id: order.client_order_id,
        });
        self.trade(market, order)
    }

    /// Lets an arriving order trade, then cancels what is left of it or puts it on the book.
    fn trade(&mut self, market: MarketId, mut taker: Order) -> Outcome {
        let market_buy = taker.order_type == OrderType::MarketBuy;
        let stopped = loop {
            if !market_buy && taker.open == 0 {
                return Ok(());
            }
            let found = &self.markets[&market];
            let Some(maker) = found.side(taker.side.opposite()).first() else {
                break CancelReason::Unfilled;
            };
            let is_limit = matches!(taker.order_type, OrderType::Limit(_));
            if is_limit && !crosses(taker.side, taker.price, maker.price) {
                break CancelReason::Unfilled;
            }
            if maker.account == taker.account {
                break CancelReason::SelfTrade;
            }
            let offered = maker.open;
            let quantity = if market_buy { affordable(found, &taker, maker) } else { taker.open.min(offered) };
            if quantity > 0 {
                self.fill(market, &mut taker, quantity);
            }
            if market_buy && quantity < offered {
                break CancelReason::BudgetSpent;
            }
        };
        let stands = matches!(taker.order_type, OrderType::Limit(LimitType::GoodTillCancel | LimitType::PostOnly));
        if stands && stopped != CancelReason::SelfTrade {
            self.markets.get_mut(&market).expect("the market exists").stand(taker);
            return Ok(());
        }
        self.close(market, &taker, stopped);
        Ok(())
    }

    /// One execution between the arriving order and the best opposite one, at the latter's price.
    fn fill(&mut self, market: MarketId, taker: &mut Order, quantity: u128) {
        let found = self.markets.get_mut(&market).expect("the market exists");
        let (base, quote) = (found.base, found.quote);
        let mut maker = found.side_mut(taker.side.opposite()).remove(0);
        let notional = found.notional(maker.price, quantity);
        let lots = quantity * found.lot_size;

        let mut taker_fee = raw_fee(taker.taker_rate, taker.taken, notional);
        let mut maker_fee = raw_fee(maker.maker_rate, maker.made, notional);
        let (taker_charge, maker_charge) = (taker_fee.max(0), maker_fee.max(0));
        taker_fee = taker_fee.max(-maker_charge);
        maker_fee = maker_fee.max(-taker_charge);
        taker.taken += notional;
        maker.made += notional;
        maker.open -= quantity;
        if taker.order_type != OrderType::MarketBuy {
            taker.open -= quantity;
        }

        let maker_sells = maker.side == Side::Sell;
        let (buyer, buyer_fee, seller, seller_fee) = if maker_sells {
            (&mut *taker, taker_fee, &mut maker, maker_fee)
        } else {
            (&mut maker, maker_fee, &mut *taker, taker_fee)
        };
        // What the buyer's hold pays.
        let paid = notional + u128::try_from(buyer_fee.max(0)).expect("not negative");
        let left = buyer.hold - paid;
        let required = if buyer.order_type == OrderType::MarketBuy { left } else { found.required_hold(buyer) };
        let released = left - required;
        buyer.hold = required;
        seller.hold -= lots;

        let (buyer, seller) = (buyer.account, seller.account);
        let price = Price(to_u64(maker.price));
        let (maker_id, maker_account, maker_remaining) = (maker.id, maker.account, maker.open);
        if maker.open > 0 {
            found.side_mut(maker.side).insert(0, maker);
        }

        self.balance_mut(buyer, quote).held -= paid + released;
        self.balance_mut(buyer, quote).available += released;
        self.balance_mut(buyer, quote).available += u128::try_from((-buyer_fee).max(0)).expect("not negative");
        self.balance_mut(buyer, base).available += lots;
        self.balance_mut(seller, base).held -= lots;
        let proceeds = u128::try_from(to_i128(notional) - seller_fee).expect("a fee never exceeds the notional");
        self.balance_mut(seller, quote).available += proceeds;
        *self.system(FEES, quote) += taker_fee + maker_fee;

        self.events.push(Event::Filled {
            taker: taker.id,
            maker: maker_id,
            taker_account: taker.account,
            maker_account,
            market,
            taker_side: taker.side,
            price,
            quantity: Quantity(to_u64(quantity)),
            maker_remaining: Quantity(to_u64(maker_remaining)),
            taker_fee: i64::try_from(taker_fee).expect("a fee fits"),
            maker_fee: i64::try_from(maker_fee).expect("a fee fits"),
            released: amount(released),
        });
    }

    /// Closes an order that is on no book any more, and releases its hold.
    fn close(&mut self, market: MarketId, order: &Order, reason: CancelReason) {
        let asset = self.markets[&market].hold_asset(order.side);
        self.release(order.account, asset, order.hold);
        self.events.push(Event::OrderCancelled {
            order: order.id,
            account: order.account,
            market,
            reason,
            quantity: Quantity(to_u64(order.open)),
            released: amount(order.hold),
        });
    }

    fn cancel_order(&mut self, account: AccountId, wanted: impl Fn(&Order) -> bool) -> Outcome {
        let (market, order) = self.find_order(account, wanted)?;
        refuse_if(self.status_of(market) == TradingStatus::Halted, RejectReason::MarketHalted)?;
        let order = self.take_order(market, order.id);
        self.close(market, &order, CancelReason::Owner);
        Ok(())
    }

    fn mass_cancel(&mut self, orders: &[(OrderId, MarketId)]) {
        for &(order, market) in orders {
            let order = self.take_order(market, order);
            self.close(market, &order, CancelReason::MassCancel);
        }
    }

    /// Lowers the open quantity to at most `quantity`.
    fn reduce(&mut self, market: MarketId, order: OrderId, quantity: u128) -> Outcome {
        let found = self.markets.get_mut(&market).expect("the market exists");
        let mut reduced = found.orders().find(|open| open.id == order).expect("the order is open").clone();
        reduced.open = reduced.open.min(quantity);
        let required = found.required_hold(&reduced);
        let released = reduced.hold - required;
        reduced.hold = required;
        let (account, open) = (reduced.account, reduced.open);
        let asset = found.hold_asset(reduced.side);
        let place = found.side_mut(reduced.side).iter_mut().find(|open| open.id == order).expect("it is open");
        *place = reduced;
        self.release(account, asset, released);
        self.emit(Event::OrderReduced {
            order,
            account,
            market,
            quantity: Quantity(to_u64(open)),
            released: amount(released),
        })
    }

    fn replace_order(&mut self, command: &Command) -> Outcome {
        let &Command::ReplaceOrder { account, market, side, order, price, quantity } = command else {
            unreachable!("called for this kind only")
        };
        self.check_account(account)?;
        self.check_not_suspended(account)?;
        self.check_market(market)?;
        self.check_limit(market, price, quantity)?;
        let (p, q) = (u128::from(price.0), u128::from(quantity.0));
        let (actual_market, open) = self.find_order(account, |open| open.id == order)?;
        refuse_if(actual_market != market || open.side != side, RejectReason::OrderMismatch)?;
        refuse_if(self.status_of(market) == TradingStatus::Halted, RejectReason::MarketHalted)?;
        if p == open.price && q <= open.open {
            return self.reduce(market, order, q);
        }
        refuse_if(self.status_of(market) == TradingStatus::CancelOnly, RejectReason::MarketCancelOnly)?;
        let found = &self.markets[&market];
        let post_only = open.order_type == OrderType::Limit(LimitType::PostOnly);
        refuse_if(post_only && found.would_trade(side, p), RejectReason::WouldTrade)?;
        let asset = found.hold_asset(side);
        let held = match side {
            Side::Buy => found.worst_case(p, q),
            Side::Sell => q * found.lot_size,
        };
        let funds = self.balance(account, asset).available + open.hold;
        refuse_if(funds < held, RejectReason::InsufficientAvailable)?;

        let (maker_rate, taker_rate) = (found.maker_rate, found.taker_rate);
        let old = self.take_order(market, order);
        let released = old.hold;
        self.release(account, asset, released);
        self.hold(account, asset, held);
        self.events.push(Event::OrderReplaced {
            order,
            account,
            market,
            price,
            quantity,
            released: amount(released),
            held: amount(held),
        });
        self.trade(market, Order { price: p, open: q, maker_rate, taker_rate, taken: 0, made: 0, hold: held, ..old })
    }

    // Canonical state.

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

/// The most lots of the maker whose notional and fee fit what is left of a market buy's budget.
fn affordable(market: &Market, taker: &Order, maker: &Order) -> u128 {
    let fits = |quantity: u128| {
        let notional = market.notional(maker.price, quantity);
        let charge = u128::try_from(raw_fee(taker.taker_rate, taker.taken, notional).max(0)).expect("not negative");
        notional + charge <= taker.hold
    };
    // Cost grows with quantity: halve the range until only the answer is left.
    let (mut fitting, mut above) = (0, maker.open + 1);
    while above - fitting > 1 {
        let middle = fitting + (above - fitting) / 2;
        if fits(middle) { fitting = middle } else { above = middle }
    }
    fitting
}

fn is_user(account: AccountId) -> bool {
    account.0 != 0 && account.0 <= AccountId::USER_MAX.0
}

fn is_valid_symbol(symbol: Symbol) -> bool {
    let bytes = symbol.to_bytes();
    let text: Vec<u8> = bytes.iter().copied().take_while(|&byte| byte != 0).collect();
    let padding = &bytes[text.len()..];
    !text.is_empty()
        && text.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9'))
        && padding.iter().all(|&byte| byte == 0)
}

fn check_rates(maker_rate: FeeRate, taker_rate: FeeRate) -> Outcome {
    let range = -FEE_RATE_MAX..=FEE_RATE_MAX;
    let in_range = range.contains(&maker_rate.0) && range.contains(&taker_rate.0);
    refuse_if(!in_range, RejectReason::FeeRateOutOfRange)?;
    refuse_if(maker_rate.0 + taker_rate.0 < 0, RejectReason::FeeRatesSumNegative)
}

fn put<const N: usize>(bytes: &mut Vec<u8>, value: [u8; N]) {
    bytes.extend(value);
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put(bytes, (length as u64).to_le_bytes());
}

/// The refusal of a command: its kind, and the account, client order id and order or withdrawal it names.
fn refusal(command: &Command, reason: RejectReason) -> Event {
    let none = (AccountId(0), ClientOrderId(0), 0);
    let (account, client_order_id, subject) = match *command {
        Command::AddAsset { .. }
        | Command::AddMarket { .. }
        | Command::SetMarketFees { .. }
        | Command::SetMarketStatus { .. }
        | Command::SetGlobalStatus { .. }
        | Command::CancelAllOfMarket { .. } => none,
        Command::CreateAccount { account }
        | Command::SuspendAccount { account }
        | Command::ResumeAccount { account }
        | Command::Deposit { account, .. }
        | Command::RequestWithdrawal { account, .. }
        | Command::RequestWithdrawalOfAll { account, .. }
        | Command::CancelAllOfAccount { account } => (account, ClientOrderId(0), 0),
        Command::Transfer { from, .. } => (from, ClientOrderId(0), 0),
        Command::CancelWithdrawal { account, withdrawal } | Command::ReleaseWithdrawal { withdrawal, account, .. } => {
            (account, ClientOrderId(0), withdrawal.0)
        }
        Command::ConfirmWithdrawalSent { withdrawal, .. }
        | Command::ConfirmWithdrawalSettled { withdrawal }
        | Command::FailWithdrawal { withdrawal } => (AccountId(0), ClientOrderId(0), withdrawal.0),
        Command::PlaceLimit { account, client_order_id, .. }
        | Command::PlaceMarketBuy { account, client_order_id, .. }
        | Command::PlaceMarketSell { account, client_order_id, .. }
        | Command::CancelByClientOrderId { account, client_order_id } => (account, client_order_id, 0),
        Command::CancelOrder { account, order }
        | Command::ReduceOrder { account, order, .. }
        | Command::ReplaceOrder { account, order, .. } => (account, ClientOrderId(0), order.0),
        _ => none,
    };
    Event::Refused { reason, command_kind: command.kind(), account, client_order_id, subject }
}
