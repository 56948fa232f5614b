//! Risk: decides what a command may do to balances, before the matcher sees it, and owns the ledger.
//!
//! Risk may run ahead of the matcher. What the matcher has not yet settled can only *add* to available balances,
//! because every hold is a worst case; so what risk sees is a lower bound, and a check that passes on it passes
//! on the exact balance. A check that fails on it is decided only when everything that could still change the
//! account has been settled; until then [`Risk::decide`] answers [`Decision::Wait`], having changed nothing. Whoever does
//! not want to wait leaves it [to the matcher](Decision::Conditional), which can tell at once; then the matcher may hold
//! more of the account than risk knows of, and the lower bound is less by what it may hold, until that is settled. So the
//! outcome never depends on how far risk has run ahead. Never names a thread or a ring.

use std::fmt;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::{
    conditional::LeftOpen,
    credits::Credits,
    decision::{Decision, OrderTerms, Settlement},
    ledger::{Account, Balance, EXTERNAL, Ledger},
    payouts::Payouts,
};
use crate::{
    command::Command,
    event::{Event, RejectReason},
    types::{
        AMOUNT_MAX, ASSETS_MAX, AccountId, Amount, AssetId, AssetSpec, ExternalId, FEE_RATE_DENOMINATOR, FEE_RATE_MAX,
        FeeRate, MARKETS_MAX, MarketId, MarketSpec, PRICE_MAX, Price, Quantity, SCALE_MAX, Sequence, Side, Timestamp,
        TradingStatus, WithdrawalId,
    },
};

/// How far a withdrawal has come. The numbers are part of the canonical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WithdrawalState {
    /// Asked for; its amount is held.
    Requested = 0,
    /// Released: a fact.
    Released = 1,
    /// Broadcast.
    Sent = 2,
    /// Final.
    Settled = 3,
    /// Came back.
    Failed = 4,
    /// Taken back before its release.
    Cancelled = 5,
}

impl fmt::Display for WithdrawalState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Requested => "requested",
            Self::Released => "released",
            Self::Sent => "sent",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Whose.
    pub account: AccountId,
    /// What.
    pub asset: AssetId,
    /// How much.
    pub amount: Amount,
    /// How far it has come.
    pub state: WithdrawalState,
    /// Its id outside; zeros until it is sent.
    pub external_id: ExternalId,
    /// The part of its release that the owner owes; forgiven first when it fails.
    pub shortfall: Amount,
}

/// The half of the exchange that owns balances.
#[derive(Clone, Debug)]
pub struct Risk {
    pub(super) ledger: Ledger,
    pub(super) assets: Vec<Option<AssetSpec>>,
    pub(super) markets: Vec<Option<MarketSpec>>,
    globally_halted: bool,
    frozen: bool,
    pub(super) payouts: Payouts,
    /// When the next lock ends; the end of time when there is none.
    next_timer: Timestamp,
    pub(super) credited: Credits,
    pub(super) withdrawals: HashMap<WithdrawalId, Withdrawal, FxBuildHasher>,
    /// By asset: what was released and may still come back. Together with the supply it stays within `AMOUNT_MAX`.
    pub(super) outstanding: Vec<u64>,
    /// Everything up to here has been settled.
    settled: Sequence,
    /// The last sequence passed on to the matcher.
    pub(super) passed_on: Sequence,
    /// By market number modulo 64: the last command that may change the accounts with orders there.
    pub(super) market_group_until: Box<[u64; MARKET_GROUPS]>,
    pub(super) left_open: LeftOpen,
}

const MARKET_GROUPS: usize = 64;

/// With more assets than this it is cheaper to wait than to look at what an account holds of each.
const ASSETS_LOOKED_AT: usize = 128;

const _: () = assert!((FEE_RATE_MAX as u64) < FEE_RATE_DENOMINATOR, "a rebate is less than what it is paid on");

/// The time of a timer that never fires.
pub(super) const NEVER: Timestamp = Timestamp(u64::MAX);

impl Default for Risk {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            assets: Vec::new(),
            markets: Vec::new(),
            globally_halted: false,
            frozen: false,
            payouts: Payouts::default(),
            next_timer: NEVER,
            credited: Credits::default(),
            withdrawals: HashMap::default(),
            outstanding: Vec::new(),
            settled: Sequence(0),
            passed_on: Sequence(0),
            market_group_until: Box::new([0; MARKET_GROUPS]),
            left_open: LeftOpen::default(),
        }
    }
}

impl Risk {
    /// Decides the command at `sequence`, which follows the last one decided.
    ///
    /// Ask again with the same arguments after [`Decision::Wait`].
    #[inline]
    pub fn decide(&mut self, sequence: Sequence, time: Timestamp, command: &Command) -> Decision {
        if self.next_timer <= time {
            self.fire_timers(time);
        }
        match *command {
            Command::PlaceLimit { account, market, side, price, quantity, .. } => {
                match self.place_limit(sequence, account, market, side, price, quantity) {
                    Ok(terms) => {
                        self.passed_on = sequence;
                        Decision::Order(terms)
                    }
                    Err(refusal) => self.refuse(sequence, refusal),
                }
            }
            Command::CancelOrder { account, .. } => match self.ledger.account_mut(account) {
                Some(record) => {
                    record.in_flight_until = sequence.0;
                    self.passed_on = sequence;
                    Decision::Forward
                }
                None => self.refuse(sequence, Refusal::Exact(RejectReason::UnknownAccount)),
            },
            _ => self.decide_other(sequence, time, command),
        }
    }

    #[inline(never)]
    fn decide_other(&mut self, sequence: Sequence, time: Timestamp, command: &Command) -> Decision {
        match self.try_decide(sequence, time, command) {
            Ok(decision) => {
                self.passed_on = sequence;
                decision
            }
            Err(refusal) => self.refuse(sequence, refusal),
        }
    }

    #[cold]
    fn refuse(&mut self, sequence: Sequence, refusal: Refusal) -> Decision {
        match refusal {
            Refusal::WaitUntil(until) => Decision::Wait { until },
            Refusal::Exact(reason) => {
                self.passed_on = sequence;
                Decision::Refuse(reason)
            }
        }
    }

    /// Takes what the matcher reports.
    #[inline(always)]
    pub fn settle(&mut self, settlement: &Settlement) {
        match *settlement {
            Settlement::Fill {
                market,
                buyer,
                seller,
                notional,
                base_amount,
                buyer_fee,
                seller_fee,
                released,
                buyer_done,
                seller_done,
            } => {
                let spec = self.markets[usize::from(market.0)].as_ref().expect("a fill happens on a market");
                let (quote, base) = (spec.quote, spec.base);
                let (buyer_charge, buyer_rebate) = charge_and_rebate(buyer_fee);
                let (seller_charge, seller_rebate) = charge_and_rebate(seller_fee);
                let (paid, received) = (notional.0 + buyer_charge, notional.0 - seller_charge + seller_rebate);
                self.ledger.trade(buyer, quote, paid, released.0, buyer_rebate, base, base_amount.0, buyer_done);
                self.ledger.trade(seller, base, base_amount.0, 0, 0, quote, received, seller_done);
                self.ledger.earn_fees(quote, buyer_fee + seller_fee);
            }
            Settlement::Release { account, asset, amount, order_done } => {
                self.ledger.release_for_order(account, asset, amount, order_done);
            }
            Settlement::Hold { amount: Amount::ZERO, .. } => {}
            Settlement::Hold { account, asset, amount } => self.ledger.hold(account, asset, amount),
        }
    }

    /// Everything up to `sequence` has been settled.
    #[inline]
    pub fn settled_through(&mut self, sequence: Sequence) {
        debug_assert!(sequence >= self.settled, "settlement goes forward");
        self.settled = sequence;
        if !self.left_open.is_empty() {
            self.end_doubts(sequence);
        }
    }

    /// Everything before the start of an epoch at `sequence` is settled, whatever the state came from.
    pub(super) fn begins_at(&mut self, sequence: Sequence) {
        (self.settled, self.passed_on) = (sequence, sequence);
        self.market_group_until.fill(0);
        self.left_open = LeftOpen::default();
        self.ledger.forget_what_is_in_flight();
    }

    /// The command at `sequence` is one that nothing was decided about.
    pub(super) fn begins_behind(&mut self, sequence: Sequence) {
        (self.settled, self.passed_on) = (sequence, sequence);
    }

    /// What an account has of an asset; zero when there is no such account.
    #[must_use]
    pub fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        self.ledger.balance(account, asset)
    }

    /// Whether the account exists, and whether it is suspended.
    #[must_use]
    pub fn account(&self, account: AccountId) -> Option<AccountView> {
        let record = self.ledger.account(account)?;
        Some(AccountView { account, suspended: record.is_suspended(), balances: self.ledger.balances(record) })
    }

    /// An asset's specification.
    #[must_use]
    pub fn asset(&self, asset: AssetId) -> Option<&AssetSpec> {
        self.assets.get(usize::from(asset.0))?.as_ref()
    }

    /// A withdrawal.
    #[must_use]
    pub fn withdrawal(&self, withdrawal: WithdrawalId) -> Option<&Withdrawal> {
        self.withdrawals.get(&withdrawal)
    }

    /// All assets, ids ascending.
    pub fn assets(&self) -> impl Iterator<Item = &AssetSpec> {
        self.assets.iter().flatten()
    }

    /// All user accounts with their balances, ids ascending.
    pub fn accounts(&self) -> impl Iterator<Item = AccountView> {
        self.ledger.accounts().map(|(account, record)| AccountView {
            account,
            suspended: record.is_suspended(),
            balances: self.ledger.balances(record),
        })
    }

    /// The withdrawals that are `wanted`, ids ascending.
    pub(super) fn withdrawals_where(&self, wanted: impl Fn(&Withdrawal) -> bool) -> Vec<(WithdrawalId, Withdrawal)> {
        let all = self.withdrawals.iter().filter(|(_, withdrawal)| wanted(withdrawal));
        let mut found: Vec<_> = all.map(|(id, withdrawal)| (*id, *withdrawal)).collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// The system accounts' balances of an asset, in the order of [`AccountId::SYSTEM`]; `None` when there is no such
    /// asset.
    #[must_use]
    pub fn system_balances(&self, asset: AssetId) -> Option<[i128; AccountId::SYSTEM.len()]> {
        self.asset(asset).map(|_| self.ledger.system(asset))
    }

    /// Nothing but a status and a place in history, for the state that follows.
    pub(super) fn restored(status: TradingStatus, last: Sequence) -> Self {
        let (globally_halted, frozen) = (status.is_halted(), status == TradingStatus::Frozen);
        Self { globally_halted, frozen, settled: last, passed_on: last, ..Self::default() }
    }

    pub(super) fn restore_asset(&mut self, spec: AssetSpec, system: [i128; AccountId::SYSTEM.len()]) {
        put(&mut self.assets, spec.asset.0, spec);
        self.ledger.restore_system(spec.asset, system);
        self.outstanding.resize(self.assets.len(), 0);
    }

    pub(super) fn restore_market(&mut self, spec: MarketSpec) {
        put(&mut self.markets, spec.market.0, spec);
    }

    /// Gives false when more is on its way than there can be.
    #[must_use]
    pub(super) fn restore_withdrawal(&mut self, id: WithdrawalId, withdrawal: Withdrawal) -> bool {
        self.withdrawals.insert(id, withdrawal);
        if !matches!(withdrawal.state, WithdrawalState::Released | WithdrawalState::Sent) {
            return true;
        }
        let outstanding = &mut self.outstanding[usize::from(withdrawal.asset.0)];
        *outstanding = outstanding.saturating_add(withdrawal.amount.0);
        *outstanding <= AMOUNT_MAX
    }

    /// The first asset of which there could be more than there can be, if all that is on its way came back. What its owner
    /// owes of a release pays the debt first, so it does not count.
    pub(super) fn overflowing(&self) -> Option<AssetId> {
        let mut sums: Vec<i128> = self.outstanding.iter().map(|outstanding| i128::from(*outstanding)).collect();
        for withdrawal in self.withdrawals.values() {
            sums[usize::from(withdrawal.asset.0)] -= i128::from(withdrawal.shortfall.0);
        }
        let mut assets = self.assets().map(|asset| asset.asset);
        assets.find(|asset| {
            let supply = i128::from(self.ledger.liabilities(*asset)) + sums[usize::from(asset.0)];
            supply > i128::from(AMOUNT_MAX)
        })
    }

    pub(super) fn restore_open_order(&mut self, account: AccountId, market: MarketId) {
        let record = self.ledger.account_mut(account).expect("an account that was looked up");
        record.open_orders_max += 1;
        record.market_groups |= 1 << market_group(market);
    }

    fn try_decide(&mut self, sequence: Sequence, time: Timestamp, command: &Command) -> Result<Decision, Refusal> {
        match *command {
            Command::PlaceLimit { account, market, side, price, quantity, .. } => {
                Ok(Decision::Order(self.place_limit(sequence, account, market, side, price, quantity)?))
            }
            Command::PlaceMarketBuy { account, market, budget, .. } => {
                self.active_account(account)?;
                let spec = *self.market(market)?;
                check_amount(budget)?;
                let terms = OrderTerms { held: budget, maker_rate: spec.maker_rate, taker_rate: spec.taker_rate };
                Ok(Decision::Order(self.place(sequence, account, market, spec.quote, terms)?))
            }
            Command::PlaceMarketSell { account, market, quantity, .. } => {
                self.active_account(account)?;
                let spec = *self.market(market)?;
                let held = base_amount(&spec, quantity)?;
                let terms = OrderTerms { held, maker_rate: spec.maker_rate, taker_rate: spec.taker_rate };
                Ok(Decision::Order(self.place(sequence, account, market, spec.base, terms)?))
            }
            Command::CancelOrder { account, .. } | Command::CancelByClientOrderId { account, .. } => {
                self.existing_account(account)?.in_flight_until = sequence.0;
                Ok(Decision::Forward)
            }
            Command::ReduceOrder { account, quantity, .. } => {
                let record = self.existing_account(account)?;
                check(!quantity.is_zero(), RejectReason::ZeroQuantity)?;
                record.in_flight_until = sequence.0;
                Ok(Decision::Forward)
            }
            Command::ReplaceOrder { account, market, side, price, quantity, .. } => {
                self.active_account(account)?;
                let spec = *self.market(market)?;
                let held = limit_hold(&spec, side, price, quantity)?;
                self.replace(sequence, account, &spec, spec.held_asset(side), held)
            }
            Command::CancelAllOfAccount { account } => {
                self.existing_account(account)?.in_flight_until = sequence.0;
                Ok(Decision::Forward)
            }
            Command::CancelAllOfMarket { market } => {
                self.market(market)?;
                self.market_group_until[market_group(market)] = sequence.0;
                Ok(Decision::Forward)
            }

            Command::Deposit { account, asset, amount, external_id } => {
                self.existing_account(account)?;
                self.existing_asset(asset)?;
                check_amount(amount)?;
                self.arrives_for_the_first_time(asset, amount, external_id)?;
                self.ledger.deposit(account, asset, amount);
                Ok(Decision::Done(Event::Deposited { account, asset, amount, external_id }))
            }
            Command::Transfer { from, to, asset, amount } => {
                self.existing_account(from)?;
                self.existing_account(to)?;
                self.active_account(from)?;
                check(from != to, RejectReason::SameAccount)?;
                self.existing_asset(asset)?;
                self.not_halted()?;
                check_amount(amount)?;
                self.covered(from, asset, amount)?;
                self.ledger.transfer(from, to, asset, amount);
                Ok(Decision::Done(Event::Transferred { from, to, asset, amount }))
            }
            Command::RequestWithdrawal { account, asset, amount } => {
                self.active_account(account)?;
                self.existing_asset(asset)?;
                self.withdrawals_pass(asset)?;
                check_amount(amount)?;
                self.covered(account, asset, amount)?;
                self.payouts.request(asset, amount, time)?;
                Ok(self.request_withdrawal(sequence, account, asset, amount))
            }
            Command::RequestWithdrawalOfAll { account, asset } => {
                self.barrier()?;
                self.active_account(account)?;
                self.existing_asset(asset)?;
                self.withdrawals_pass(asset)?;
                let amount = self.ledger.balance(account, asset).available;
                check(!amount.is_zero(), RejectReason::InsufficientAvailable)?;
                self.payouts.request(asset, amount, time)?;
                Ok(self.request_withdrawal(sequence, account, asset, amount))
            }
            Command::CancelWithdrawal { account, withdrawal } => {
                self.existing_account(account)?;
                let mut known = self.known_withdrawal(withdrawal)?;
                check(known.account == account, RejectReason::WithdrawalMismatch)?;
                check(known.state == WithdrawalState::Requested, RejectReason::WithdrawalStateInvalid)?;
                self.not_halted()?;
                known.state = WithdrawalState::Cancelled;
                self.withdrawals.insert(withdrawal, known);
                let (asset, amount) = (known.asset, known.amount);
                self.ledger.release(account, asset, amount);
                Ok(Decision::Done(Event::WithdrawalCancelled { withdrawal, account, asset, amount }))
            }
            Command::ReleaseWithdrawal { withdrawal, account, asset, amount } => {
                self.active_account(account)?;
                let mut known = self.known_withdrawal(withdrawal)?;
                let matches = (known.account, known.asset, known.amount) == (account, asset, amount);
                check(matches, RejectReason::WithdrawalMismatch)?;
                check(known.state == WithdrawalState::Requested, RejectReason::WithdrawalStateInvalid)?;
                self.withdrawals_pass(asset)?;
                known.state = WithdrawalState::Released;
                self.withdrawals.insert(withdrawal, known);
                self.outstanding[usize::from(asset.0)] += amount.0;
                self.ledger.withdraw_held(account, asset, amount);
                Ok(Decision::Done(Event::WithdrawalReleased { withdrawal, account, asset, amount }))
            }
            Command::ConfirmWithdrawalSent { withdrawal, external_id } => {
                let mut known = self.known_withdrawal(withdrawal)?;
                check(known.state == WithdrawalState::Released, RejectReason::WithdrawalStateInvalid)?;
                (known.state, known.external_id) = (WithdrawalState::Sent, external_id);
                self.withdrawals.insert(withdrawal, known);
                Ok(Decision::Done(Event::WithdrawalSent { withdrawal, external_id }))
            }
            Command::ConfirmWithdrawalSettled { withdrawal } => {
                let mut known = self.known_withdrawal(withdrawal)?;
                check(known.state == WithdrawalState::Sent, RejectReason::WithdrawalStateInvalid)?;
                (known.state, known.shortfall) = (WithdrawalState::Settled, Amount::ZERO);
                self.withdrawals.insert(withdrawal, known);
                self.outstanding[usize::from(known.asset.0)] -= known.amount.0;
                Ok(Decision::Done(Event::WithdrawalSettled { withdrawal }))
            }
            Command::FailWithdrawal { withdrawal } => {
                let mut known = self.known_withdrawal(withdrawal)?;
                let has_left = matches!(known.state, WithdrawalState::Released | WithdrawalState::Sent);
                check(has_left, RejectReason::WithdrawalStateInvalid)?;
                let (account, asset, amount) = (known.account, known.asset, known.amount);
                let forgiven = known.shortfall.min(self.ledger.owed(account, asset));
                (known.state, known.shortfall) = (WithdrawalState::Failed, Amount::ZERO);
                self.withdrawals.insert(withdrawal, known);
                self.outstanding[usize::from(asset.0)] -= amount.0;
                if !forgiven.is_zero() {
                    self.ledger.forgive(account, asset, forgiven, EXTERNAL);
                }
                self.ledger.deposit(account, asset, Amount(amount.0 - forgiven.0));
                Ok(Decision::Done(Event::WithdrawalFailed { withdrawal, account, asset, amount }))
            }

            Command::CreateAccount { account } => {
                check(account.is_user(), RejectReason::ReservedAccount)?;
                check(self.ledger.account(account).is_none(), RejectReason::AccountExists)?;
                self.not_frozen()?;
                self.ledger.create_account(account);
                Ok(Decision::Done(Event::AccountCreated { account }))
            }
            Command::SuspendAccount { account } => {
                let record = self.existing_account(account)?;
                check(!record.is_suspended(), RejectReason::AccountSuspended)?;
                record.set_suspended(true);
                Ok(Decision::Done(Event::AccountSuspended { account }))
            }
            Command::ResumeAccount { account } => {
                let record = self.existing_account(account)?;
                check(record.is_suspended(), RejectReason::AccountNotSuspended)?;
                record.set_suspended(false);
                Ok(Decision::Done(Event::AccountResumed { account }))
            }
            Command::AddAsset { asset, symbol, scale } => {
                check(asset.0 < ASSETS_MAX, RejectReason::AssetIdTooLarge)?;
                check(self.asset(asset).is_none(), RejectReason::AssetExists)?;
                check(symbol.is_valid(), RejectReason::InvalidSymbol)?;
                let taken = self.assets.iter().flatten().any(|known| known.symbol == symbol);
                check(!taken, RejectReason::SymbolExists)?;
                check(scale <= SCALE_MAX, RejectReason::ScaleTooLarge)?;
                self.not_frozen()?;
                put(&mut self.assets, asset.0, AssetSpec { asset, symbol, scale });
                self.ledger.add_asset(asset);
                self.outstanding.resize(self.assets.len(), 0);
                Ok(Decision::Done(Event::AssetAdded { asset, symbol, scale }))
            }
            Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } => {
                self.existing_asset(base)?;
                self.existing_asset(quote)?;
                check(market.0 < MARKETS_MAX, RejectReason::MarketIdTooLarge)?;
                check(self.market(market).is_err(), RejectReason::MarketExists)?;
                check(base != quote, RejectReason::SameBaseAndQuote)?;
                check((1..=AMOUNT_MAX).contains(&lot_size.0), RejectReason::InvalidLotSize)?;
                check((1..=AMOUNT_MAX).contains(&tick_value.0), RejectReason::InvalidTickValue)?;
                check_rates(maker_rate, taker_rate)?;
                self.not_frozen()?;
                let spec = MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate };
                put(&mut self.markets, market.0, spec);
                Ok(Decision::Forward)
            }
            Command::SetMarketFees { market, maker_rate, taker_rate } => {
                self.barrier()?;
                self.market(market)?;
                check_rates(maker_rate, taker_rate)?;
                self.not_frozen()?;
                let spec = self.markets[usize::from(market.0)].as_mut().expect("a market that was looked up");
                (spec.maker_rate, spec.taker_rate) = (maker_rate, taker_rate);
                Ok(Decision::Forward)
            }
            Command::SetMarketStatus { market, status } => {
                self.market(market)?;
                self.not_frozen()?;
                check(status != TradingStatus::Frozen, RejectReason::InvalidStatus)?;
                // What it uncrosses settles accounts.
                self.market_group_until[market_group(market)] = sequence.0;
                Ok(Decision::Forward)
            }
            Command::SetGlobalStatus { status } => {
                self.globally_halted = status.is_halted();
                self.frozen = status == TradingStatus::Frozen;
                self.market_group_until.fill(sequence.0);
                Ok(Decision::Forward)
            }
            Command::AddPlanPart { index, length, .. } => {
                check((1..=32).contains(&length), RejectReason::InvalidPlanPart)?;
                Ok(Decision::Done(Event::PlanPartAdded { index }))
            }
            Command::StartEpoch { at, .. } => {
                check(at == sequence, RejectReason::EpochOutOfPlace)?;
                self.barrier()?;
                Ok(Decision::StartEpoch)
            }
            Command::Tick {} => Ok(Decision::Done(Event::Ticked {})),
            _ => self.decide_payout(sequence, time, command),
        }
    }

    /// Holds a limit order's worst case, or says why not.
    #[inline(always)]
    fn place_limit(
        &mut self,
        sequence: Sequence,
        account: AccountId,
        market: MarketId,
        side: Side,
        price: Price,
        quantity: Quantity,
    ) -> Result<OrderTerms, Refusal> {
        let Some(record) = self.ledger.account_mut(account) else {
            return Err(Refusal::Exact(RejectReason::UnknownAccount));
        };
        check_active(record)?;
        let Some(Some(spec)) = self.markets.get(usize::from(market.0)) else {
            return Err(Refusal::Exact(RejectReason::UnknownMarket));
        };
        let (asset, held) = (spec.held_asset(side), limit_hold(spec, side, price, quantity)?);
        let terms = OrderTerms { held, maker_rate: spec.maker_rate, taker_rate: spec.taker_rate };
        if !record.is_in_doubt() && record.try_hold(asset, held) {
            let group = market_group(market);
            record.order_begins(sequence.0, group);
            self.market_group_until[group] = sequence.0;
            return Ok(terms);
        }
        self.place(sequence, account, market, asset, terms)
    }

    /// Holds an order's worst case, or says why not.
    fn place(
        &mut self,
        sequence: Sequence,
        account: AccountId,
        market: MarketId,
        asset: AssetId,
        terms: OrderTerms,
    ) -> Result<OrderTerms, Refusal> {
        if self.try_hold(account, asset, terms.held).is_err() {
            return Err(if self.can_never_cover(account, asset, terms.held) {
                Refusal::Exact(RejectReason::InsufficientAvailable)
            } else {
                self.insufficient(account)
            });
        }
        let group = market_group(market);
        self.market_group_until[group] = sequence.0;
        self.ledger.account_mut(account).expect("an account that was looked up").order_begins(sequence.0, group);
        Ok(terms)
    }

    /// Holds the whole of the new worst case; or, when exactly known not to cover it, all that is available, and
    /// the matcher, who knows the old hold, decides.
    fn replace(
        &mut self,
        sequence: Sequence,
        account: AccountId,
        spec: &MarketSpec,
        asset: AssetId,
        new_hold: Amount,
    ) -> Result<Decision, Refusal> {
        let held = match self.try_hold(account, asset, new_hold) {
            Ok(()) => new_hold,
            Err(available) => {
                if let refusal @ Refusal::WaitUntil(_) = self.insufficient(account) {
                    return Err(refusal);
                }
                if !available.is_zero() {
                    self.ledger.hold(account, asset, available);
                }
                available
            }
        };
        self.market_group_until[market_group(spec.market)] = sequence.0;
        self.ledger.account_mut(account).expect("an account that was looked up").in_flight_until = sequence.0;
        Ok(Decision::Order(OrderTerms { held, maker_rate: spec.maker_rate, taker_rate: spec.taker_rate }))
    }

    pub(super) fn request_withdrawal(
        &mut self,
        sequence: Sequence,
        account: AccountId,
        asset: AssetId,
        amount: Amount,
    ) -> Decision {
        let withdrawal = WithdrawalId(sequence.0);
        self.ledger.hold(account, asset, amount);
        let (state, external_id) = (WithdrawalState::Requested, ExternalId::default());
        let shortfall = Amount::ZERO;
        self.withdrawals.insert(withdrawal, Withdrawal { account, asset, amount, state, external_id, shortfall });
        Decision::Done(Event::WithdrawalRequested { withdrawal, account, asset, amount })
    }

    /// If what is surely available covers `amount`, makes it held; else changes nothing and gives what is seen as available.
    fn try_hold(&mut self, account: AccountId, asset: AssetId, amount: Amount) -> Result<(), Amount> {
        let in_doubt = self.in_doubt(account, asset);
        if in_doubt == 0 {
            return self.ledger.try_hold(account, asset, amount);
        }
        let available = self.ledger.balance(account, asset).available;
        if u128::from(amount.0) + in_doubt > u128::from(available.0) {
            return Err(available);
        }
        self.ledger.try_hold(account, asset, amount)
    }

    /// How much of what is seen as available the matcher may be holding.
    #[inline]
    fn in_doubt(&self, account: AccountId, asset: AssetId) -> u128 {
        let is_in_doubt = self.ledger.account(account).is_some_and(Account::is_in_doubt);
        if is_in_doubt { self.left_open.of(account, asset) } else { 0 }
    }

    /// Whether whatever is in flight cannot bring the account as much as `wanted`, so that a refusal needs not wait for it.
    ///
    /// What the matcher settles gives an account at most what is held of the asset, and rebates on what is paid with
    /// that, which are less than it; anything else only for other assets that are held for its orders.
    #[cold]
    fn can_never_cover(&self, account: AccountId, asset: AssetId, wanted: Amount) -> bool {
        let own = self.ledger.balance(account, asset);
        let most = u128::from(own.available.0) + 2 * u128::from(own.held.0);
        let holds = |other: &AssetSpec| !self.ledger.balance(account, other.asset).held.is_zero();
        let in_doubt = self.ledger.account(account).is_some_and(Account::is_in_doubt);
        most < u128::from(wanted.0)
            && !in_doubt
            && self.assets.len() <= ASSETS_LOOKED_AT
            && !self.assets().any(|other| other.asset != asset && holds(other))
    }

    /// The account does not cover what is asked of it: so it is, if nothing in flight could still change it.
    #[cold]
    fn insufficient(&self, account: AccountId) -> Refusal {
        let record = self.ledger.account(account).expect("an account that was looked up");
        let mut until = record.in_flight_until;
        if record.open_orders_max > 0 {
            let mut groups = record.market_groups;
            while groups != 0 {
                until = until.max(self.market_group_until[groups.trailing_zeros() as usize]);
                groups &= groups - 1;
            }
        }
        if until > self.settled.0 {
            Refusal::WaitUntil(Sequence(until))
        } else {
            Refusal::Exact(RejectReason::InsufficientAvailable)
        }
    }

    fn covered(&self, account: AccountId, asset: AssetId, amount: Amount) -> Result<(), Refusal> {
        let available = self.ledger.balance(account, asset).available;
        let is_covered = u128::from(available.0) >= u128::from(amount.0) + self.in_doubt(account, asset);
        if is_covered { Ok(()) } else { Err(self.insufficient(account)) }
    }

    /// Everything before this command must have been settled.
    pub(super) fn barrier(&self) -> Result<(), Refusal> {
        if self.settled >= self.passed_on { Ok(()) } else { Err(Refusal::WaitUntil(self.passed_on)) }
    }

    #[inline]
    pub(super) fn existing_account(&mut self, account: AccountId) -> Result<&mut Account, Refusal> {
        self.ledger.account_mut(account).ok_or(Refusal::Exact(RejectReason::UnknownAccount))
    }

    #[inline]
    fn active_account(&mut self, account: AccountId) -> Result<&mut Account, Refusal> {
        let record = self.existing_account(account)?;
        check_active(record)?;
        Ok(record)
    }

    /// What arrives from outside fits the supply and was not credited before.
    pub(super) fn arrives_for_the_first_time(
        &mut self,
        asset: AssetId,
        amount: Amount,
        external_id: ExternalId,
    ) -> Result<(), Refusal> {
        self.fits_supply(asset, amount)?;
        check(self.credited.insert((asset, external_id)), RejectReason::DuplicateExternalId)
    }

    /// What there is, what may come back, and `amount` together are not more than there can be.
    pub(super) fn fits_supply(&self, asset: AssetId, amount: Amount) -> Result<(), Refusal> {
        let owed = u128::from(self.ledger.liabilities(asset)) + u128::from(self.outstanding[usize::from(asset.0)]);
        check(owed + u128::from(amount.0) <= u128::from(AMOUNT_MAX), RejectReason::SupplyTooLarge)
    }

    fn withdrawals_pass(&self, asset: AssetId) -> Result<(), Refusal> {
        self.not_halted()?;
        check(!self.payouts.stopped.contains(&asset), RejectReason::WithdrawalsStopped)
    }

    pub(super) fn not_frozen(&self) -> Result<(), Refusal> {
        check(!self.frozen, RejectReason::ExchangeFrozen)
    }

    /// Ends all locks that are due, in order of (due, airdrop).
    #[cold]
    pub(super) fn fire_timers(&mut self, time: Timestamp) {
        while let Some((due, airdrop)) = self.payouts.next_lock() {
            if due > time {
                self.next_timer = due;
                return;
            }
            let found = self.payouts.airdrops.get_mut(&airdrop).expect("it is locked");
            let (asset, lines) = (found.asset, std::mem::take(&mut found.lines));
            for (account, amount) in lines {
                self.ledger.release(account, asset, amount);
            }
        }
        self.next_timer = NEVER;
    }

    /// Looks again at when the next lock ends.
    pub(super) fn set_timer(&mut self) {
        self.next_timer = self.payouts.next_lock().map_or(NEVER, |(due, _)| due);
    }

    /// When the next lock ends, if there is one.
    #[must_use]
    pub const fn next_timer(&self) -> Option<Timestamp> {
        if self.next_timer.0 == NEVER.0 { None } else { Some(self.next_timer) }
    }

    pub(super) fn existing_asset(&self, asset: AssetId) -> Result<(), Refusal> {
        check(self.asset(asset).is_some(), RejectReason::UnknownAsset)
    }

    #[inline]
    pub(super) fn market(&self, market: MarketId) -> Result<&MarketSpec, Refusal> {
        let spec = self.markets.get(usize::from(market.0)).and_then(Option::as_ref);
        spec.ok_or(Refusal::Exact(RejectReason::UnknownMarket))
    }

    fn known_withdrawal(&self, withdrawal: WithdrawalId) -> Result<Withdrawal, Refusal> {
        self.withdrawals.get(&withdrawal).copied().ok_or(Refusal::Exact(RejectReason::UnknownWithdrawal))
    }

    fn not_halted(&self) -> Result<(), Refusal> {
        check(!self.globally_halted, RejectReason::ExchangeHalted)
    }
}

/// What an account looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Which.
    pub account: AccountId,
    /// Whether it may order, transfer and withdraw.
    pub suspended: bool,
    /// What it has, assets ascending, without those it has nothing of.
    pub balances: Vec<(AssetId, Balance)>,
}

/// Why a command does not go through, now or at all.
pub(super) enum Refusal {
    Exact(RejectReason),
    WaitUntil(Sequence),
}

impl From<RejectReason> for Refusal {
    fn from(reason: RejectReason) -> Self {
        Self::Exact(reason)
    }
}

#[inline]
pub(super) fn check(holds: bool, reason: RejectReason) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Exact(reason)) }
}

pub(super) fn check_amount(amount: Amount) -> Result<(), Refusal> {
    check(!amount.is_zero(), RejectReason::ZeroAmount)?;
    check(amount.0 <= AMOUNT_MAX, RejectReason::AmountTooLarge)
}

fn check_rates(maker_rate: FeeRate, taker_rate: FeeRate) -> Result<(), Refusal> {
    check(maker_rate.is_in_range() && taker_rate.is_in_range(), RejectReason::FeeRateOutOfRange)?;
    check(maker_rate.0 + taker_rate.0 >= 0, RejectReason::FeeRatesSumNegative)
}

#[inline]
pub(super) fn base_amount(spec: &MarketSpec, quantity: Quantity) -> Result<Amount, Refusal> {
    check(!quantity.is_zero(), RejectReason::ZeroQuantity)?;
    spec.base_amount(quantity).ok_or(Refusal::Exact(RejectReason::QuantityTooLarge))
}

/// The account is neither suspended nor owes.
#[inline]
fn check_active(account: &Account) -> Result<(), Refusal> {
    if account.is_active() { Ok(()) } else { Err(why_inactive(account)) }
}

#[cold]
const fn why_inactive(account: &Account) -> Refusal {
    Refusal::Exact(if account.is_suspended() { RejectReason::AccountSuspended } else { RejectReason::AccountOwes })
}

/// What is held for a limit order. What it can cost at worst, fee included, must fit an amount for a sell too.
#[inline]
pub(super) fn limit_hold(spec: &MarketSpec, side: Side, price: Price, quantity: Quantity) -> Result<Amount, Refusal> {
    check(!price.is_zero(), RejectReason::ZeroPrice)?;
    check(price.0 <= PRICE_MAX, RejectReason::PriceTooLarge)?;
    let base_amount = base_amount(spec, quantity)?;
    let too_large = Refusal::Exact(RejectReason::NotionalTooLarge);
    let Some(notional) = spec.notional(price, quantity) else { return Err(too_large) };
    let worst_case = notional.0 + MarketSpec::hold_rate(spec.maker_rate, spec.taker_rate).fee_floor(notional);
    if worst_case > AMOUNT_MAX {
        return Err(too_large);
    }
    Ok(match side {
        Side::Buy => Amount(worst_case),
        Side::Sell => base_amount,
    })
}

#[inline]
pub(super) const fn charge_and_rebate(fee: i64) -> (u64, u64) {
    if fee >= 0 { (fee.unsigned_abs(), 0) } else { (0, fee.unsigned_abs()) }
}

#[inline]
pub(super) const fn market_group(market: MarketId) -> usize {
    market.0 as usize % MARKET_GROUPS
}

fn put<T>(list: &mut Vec<Option<T>>, index: u16, value: T) {
    let index = usize::from(index);
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    list[index] = Some(value);
}
