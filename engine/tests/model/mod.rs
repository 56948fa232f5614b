//! The exchange written a second time, from `engine/src/exchange/rules.md` alone and as plainly as possible:
//! sorted vectors, ordered maps, wide integers. It shares the vocabulary with the engine (types, commands,
//! events) and no arithmetic. Slow, and meant to be read beside the rules.
#![allow(dead_code, reason = "each test binary uses its own part")]

mod canonical;
mod orders;
pub mod payouts;
pub mod random;
pub mod streams;

use std::collections::{BTreeMap, BTreeSet};

use payouts::{Airdrop, Limits, Operator, Velocity};

use engine::{
    command::Command,
    event::{Event, RejectReason},
    types::{
        AMOUNT_MAX, ASSETS_MAX, AccountId, AirdropId, Amount, AssetId, ClientOrderId, ExternalId, FEE_RATE_MAX,
        FeeRate, LimitType, MARKETS_MAX, MarketId, OperatorId, OrderId, SCALE_MAX, Sequence, Side, Symbol, Timestamp,
        TradingStatus, WithdrawalId,
    },
};

const MAX: u128 = AMOUNT_MAX as u128;
/// Where the system accounts stand in `AccountId::SYSTEM`.
pub const EXTERNAL: usize = 0;
pub const FEES: usize = 1;
pub const TREASURY: usize = 2;
pub const RECEIVABLES: usize = 3;
pub const UNBACKED: usize = 4;

/// The whole state.
#[derive(Clone, Debug)]
pub struct ModelExchange {
    pub status: TradingStatus,
    pub assets: BTreeMap<AssetId, Asset>,
    pub markets: BTreeMap<MarketId, Market>,
    pub accounts: BTreeMap<AccountId, Account>,
    pub credited: BTreeSet<(AssetId, [u8; 16])>,
    pub withdrawals: BTreeMap<WithdrawalId, Withdrawal>,
    /// The control bits that are on.
    pub controls: u8,
    /// The assets whose withdrawals are stopped.
    pub stopped: BTreeSet<AssetId>,
    pub operators: BTreeMap<OperatorId, Operator>,
    pub attested: BTreeMap<AssetId, u128>,
    pub velocities: BTreeMap<AssetId, Velocity>,
    pub limits: BTreeMap<AssetId, Limits>,
    pub airdrops: BTreeMap<AirdropId, Airdrop>,
    /// What accounts owe; nothing is not written down.
    pub owed: BTreeMap<(AccountId, AssetId), u128>,
    /// The time of the command.
    time: Timestamp,
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
    /// The part of its release that its owner owes.
    pub shortfall: u128,
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
    /// Charged as a taker beyond what the rate says for `taken`.
    pub taker_carry: i128,
    /// Charged as a maker beyond what the rate says for `made`.
    pub maker_carry: i128,
    /// What is held for it now: quote for a buy (what is left of the budget for a market buy), base for a sell.
    pub hold: u128,
}

type Outcome = Result<(), RejectReason>;

fn refuse_if(condition: bool, reason: RejectReason) -> Outcome {
    if condition { Err(reason) } else { Ok(()) }
}

/// `floor(|rate| * notional / 100,000)`.
pub fn fee(rate: i16, notional: u128) -> u128 {
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
            controls: payouts::ALL_CONTROLS,
            stopped: BTreeSet::new(),
            operators: BTreeMap::new(),
            attested: BTreeMap::new(),
            velocities: BTreeMap::new(),
            limits: BTreeMap::new(),
            airdrops: BTreeMap::new(),
            owed: BTreeMap::new(),
            time: Timestamp(0),
            events: Vec::new(),
        }
    }

    /// The events of what was done to the state by hand.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Applies the command and returns its events.
    pub fn apply(&mut self, sequence: Sequence, time: Timestamp, command: &Command) -> Vec<Event> {
        assert!(self.events.is_empty(), "events left from an earlier command");
        self.time = time;
        self.end_locks();
        let ended = self.events.len();
        if let Err(reason) = self.dispatch(sequence.0, command) {
            assert_eq!(self.events.len(), ended, "{reason} after an event: {command:?}");
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
                self.check_market(market)?;
                self.check_not_frozen()?;
                refuse_if(status == TradingStatus::Frozen, RejectReason::InvalidStatus)?;
                self.markets.get_mut(&market).expect("it exists").status = status;
                self.events.push(Event::MarketStatusSet { market, status });
                self.uncross(market);
                Ok(())
            }
            Command::SetGlobalStatus { status } => {
                self.status = status;
                self.events.push(Event::GlobalStatusSet { status });
                for market in self.markets.keys().copied().collect::<Vec<_>>() {
                    self.uncross(market);
                }
                Ok(())
            }
            Command::CreateAccount { account } => {
                refuse_if(!is_user(account), RejectReason::ReservedAccount)?;
                refuse_if(self.accounts.contains_key(&account), RejectReason::AccountExists)?;
                self.check_not_frozen()?;
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
                check_amount(amount)?;
                let available = self.balance(account, asset).available;
                refuse_if(available < amount.0.into(), RejectReason::InsufficientAvailable)?;
                self.count_request(asset, amount.0.into())?;
                self.request_withdrawal(sequence, account, asset, amount.0.into())
            }
            Command::RequestWithdrawalOfAll { account, asset } => {
                self.check_withdrawal_request(account, asset)?;
                let available = self.balance(account, asset).available;
                refuse_if(available == 0, RejectReason::InsufficientAvailable)?;
                self.count_request(asset, available)?;
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
                let found = self.withdrawal_in(withdrawal, &[WithdrawalState::Sent])?;
                found.state = WithdrawalState::Settled;
                found.shortfall = 0;
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
                refuse_if(is_halted(self.status_of(market)), RejectReason::MarketHalted)?;
                self.reduce(market, order, quantity.0.into())
            }
            Command::ReplaceOrder { .. } => self.replace_order(command),
            Command::CancelAllOfAccount { account } => {
                self.check_account(account)?;
                refuse_if(is_halted(self.status), RejectReason::MarketHalted)?;
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
                refuse_if(is_halted(self.status), RejectReason::MarketHalted)?;
                let orders: Vec<_> = found.orders().map(|order| (order.id, market)).collect();
                self.mass_cancel(&orders);
                let orders = u32::try_from(orders.len()).expect("the count fits");
                self.emit(Event::MassCancelled { account: AccountId(0), market, orders })
            }
            _ => self.dispatch_payout(Sequence(sequence), command),
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
        self.check_not_frozen()?;
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
        self.check_not_frozen()?;
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
        self.check_market(market)?;
        check_rates(maker_rate, taker_rate)?;
        self.check_not_frozen()?;
        let found = self.markets.get_mut(&market).expect("it exists");
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

    /// The account may order, transfer and withdraw.
    fn check_active(&self, account: AccountId) -> Outcome {
        self.check_not_suspended(account)?;
        refuse_if(self.owes(account), RejectReason::AccountOwes)
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

    pub fn balance_mut(&mut self, account: AccountId, asset: AssetId) -> &mut Balance {
        self.account(account).balances.entry(asset).or_default()
    }

    pub fn system(&mut self, index: usize, asset: AssetId) -> &mut i128 {
        &mut self.assets.get_mut(&asset).expect("the asset exists").system[index]
    }

    pub fn hold(&mut self, account: AccountId, asset: AssetId, amount: u128) {
        let balance = self.balance_mut(account, asset);
        balance.available -= amount;
        balance.held += amount;
    }

    pub fn release(&mut self, account: AccountId, asset: AssetId, amount: u128) {
        let balance = self.balance_mut(account, asset);
        balance.held -= amount;
        balance.available += amount;
    }

    fn deposit(&mut self, account: AccountId, asset: AssetId, amount: Amount, external_id: ExternalId) -> Outcome {
        self.check_account(account)?;
        self.check_asset(asset)?;
        check_amount(amount)?;
        self.check_supply(asset, amount.0.into())?;
        refuse_if(self.credited.contains(&(asset, external_id.0)), RejectReason::DuplicateExternalId)?;
        self.credited.insert((asset, external_id.0));
        self.balance_mut(account, asset).available += u128::from(amount.0);
        *self.system(EXTERNAL, asset) -= i128::from(amount.0);
        self.emit(Event::Deposited { account, asset, amount, external_id })
    }

    fn transfer(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: Amount) -> Outcome {
        self.check_account(from)?;
        self.check_account(to)?;
        self.check_active(from)?;
        refuse_if(from == to, RejectReason::SameAccount)?;
        self.check_asset(asset)?;
        refuse_if(is_halted(self.status), RejectReason::ExchangeHalted)?;
        check_amount(amount)?;
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
        self.check_active(account)?;
        self.check_asset(asset)?;
        refuse_if(is_halted(self.status), RejectReason::ExchangeHalted)?;
        refuse_if(self.stopped.contains(&asset), RejectReason::WithdrawalsStopped)
    }

    pub fn request_withdrawal(&mut self, sequence: u64, account: AccountId, asset: AssetId, value: u128) -> Outcome {
        self.hold(account, asset, value);
        let withdrawal = WithdrawalId(sequence);
        let state = WithdrawalState::Requested;
        let external_id = ExternalId([0; 16]);
        let requested = Withdrawal { account, asset, amount: value, state, external_id, shortfall: 0 };
        self.withdrawals.insert(withdrawal, requested);
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
        refuse_if(is_halted(self.status), RejectReason::ExchangeHalted)?;
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
        self.check_active(account)?;
        let found = self.withdrawals.get(&withdrawal).ok_or(RejectReason::UnknownWithdrawal)?;
        let matches = found.account == account && found.asset == asset && found.amount == u128::from(amount.0);
        refuse_if(!matches, RejectReason::WithdrawalMismatch)?;
        refuse_if(found.state != WithdrawalState::Requested, RejectReason::WithdrawalStateInvalid)?;
        refuse_if(is_halted(self.status), RejectReason::ExchangeHalted)?;
        refuse_if(self.stopped.contains(&asset), RejectReason::WithdrawalsStopped)?;
        self.withdrawal_in(withdrawal, &[WithdrawalState::Requested])?.state = WithdrawalState::Released;
        self.balance_mut(account, asset).held -= u128::from(amount.0);
        *self.system(EXTERNAL, asset) += i128::from(amount.0);
        self.emit(Event::WithdrawalReleased { withdrawal, account, asset, amount })
    }

    fn fail_withdrawal(&mut self, withdrawal: WithdrawalId) -> Outcome {
        let found = self.withdrawal_in(withdrawal, &[WithdrawalState::Released, WithdrawalState::Sent])?;
        let Withdrawal { account, asset, amount: value, shortfall, .. } = *found;
        found.state = WithdrawalState::Failed;
        found.shortfall = 0;
        let forgiven = shortfall.min(self.owed.get(&(account, asset)).copied().unwrap_or(0));
        if forgiven > 0 {
            self.owe_less(account, asset, forgiven);
        }
        self.balance_mut(account, asset).available += value - forgiven;
        *self.system(EXTERNAL, asset) -= to_i128(value);
        self.emit(Event::WithdrawalFailed { withdrawal, account, asset, amount: amount(value) })
    }
}

fn is_halted(status: TradingStatus) -> bool {
    status == TradingStatus::Halted || status == TradingStatus::Frozen
}

fn check_at_most(amount: Amount) -> Outcome {
    refuse_if(amount.0 > AMOUNT_MAX, RejectReason::AmountTooLarge)
}

fn check_amount(amount: Amount) -> Outcome {
    refuse_if(amount.0 == 0, RejectReason::ZeroAmount)?;
    check_at_most(amount)
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

/// The refusal of a command: its kind, and the account, client order id and order, withdrawal, operator or airdrop it
/// names.
fn refusal(command: &Command, reason: RejectReason) -> Event {
    let none = (AccountId(0), ClientOrderId(0), 0);
    let (account, client_order_id, subject) = match *command {
        Command::AddAsset { .. }
        | Command::AddMarket { .. }
        | Command::SetMarketFees { .. }
        | Command::SetMarketStatus { .. }
        | Command::SetGlobalStatus { .. }
        | Command::CancelAllOfMarket { .. }
        | Command::SetAssetWithdrawals { .. }
        | Command::Tick {}
        | Command::FundTreasury { .. }
        | Command::AttestReserves { .. }
        | Command::SetPayoutVelocity { .. }
        | Command::SetAirdropLimits { .. }
        | Command::SetControls { .. }
        | Command::AddPlanPart { .. }
        | Command::StartEpoch { .. } => none,
        Command::RegisterOperator { operator, .. } | Command::RevokeOperator { operator, .. } => {
            (AccountId(0), ClientOrderId(0), operator.0.into())
        }
        Command::OpenAirdrop { airdrop, .. }
        | Command::ApproveAirdrop { airdrop, .. }
        | Command::ExecuteAirdrop { airdrop, .. }
        | Command::CancelAirdrop { airdrop, .. } => (AccountId(0), ClientOrderId(0), airdrop.0.into()),
        Command::AddAirdropLine { airdrop, account, .. } => (account, ClientOrderId(0), airdrop.0.into()),
        Command::CreateAccount { account }
        | Command::SuspendAccount { account }
        | Command::ResumeAccount { account }
        | Command::Deposit { account, .. }
        | Command::RequestWithdrawal { account, .. }
        | Command::RequestWithdrawalOfAll { account, .. }
        | Command::SetOff { account, .. }
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
    };
    Event::Refused { reason, command_kind: command.kind(), account, client_order_id, subject }
}
