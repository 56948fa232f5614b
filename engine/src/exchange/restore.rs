//! The state from its canonical bytes, as a snapshot holds them.

use std::{collections::BTreeSet, hash::BuildHasher};

use foldhash::fast::FixedState;

use super::{
    AIRDROP_LINES_MAX, Airdrop, AirdropLimits, AirdropState, Exchange, Matcher, OperatorView, PayoutVelocity,
    RULES_VERSION, Risk, Withdrawal, WithdrawalState,
    credits::{Credits, SortedCredits},
    ledger::{Balance, entries_in_chunks},
    orders::{Order, Orders, Traded},
    weighed::WeighedSum,
};
use crate::types::{
    AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, AssetSpec, ClientOrderId, Controls, Digest, ExternalId, FeeRate,
    ManifestHash, MarketId, MarketSpec, OperatorId, OrderId, Price, Quantity, Sequence, Side, Symbol, Timestamp,
    TradingStatus, WithdrawalId,
};

/// Why bytes are not a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes follow rules that this code does not know.
    #[error(
        "the state follows rules version {0}, this program knows {RULES_VERSION}: use the program that wrote it, or a newer one"
    )]
    RulesVersion(u32),
    /// The bytes end too early.
    #[error("the state ends at byte {0}, in the middle of its {1}")]
    Truncated(usize, &'static str),
    /// There are bytes behind the state.
    #[error("{0} bytes follow the state")]
    TrailingBytes(usize),
    /// A field holds what no state can hold.
    #[error("the state is impossible at byte {0}, in its {1}")]
    Invalid(usize, &'static str),
    /// The parts contradict each other.
    #[error("the state contradicts itself: {0}")]
    Inconsistent(String),
}

/// How a state is restored. What comes out is the same, so who restores it may choose.
pub trait Restoring {
    /// What weighs amounts.
    type Weights: BuildHasher + Sync;

    /// A hash that is as good as drawn by lot and that nobody knew who made the bytes: then what is held is compared with what
    /// is needed by sums of weighed amounts. Without one it is compared account by account, which takes longer.
    fn weights(&self) -> Option<&Self::Weights>;

    /// Does two things that have nothing to do with each other, one after the other or both at once, and gives what came out.
    fn both<First: Send, Second: Send>(
        &self,
        first: impl FnOnce() -> First + Send,
        second: impl FnOnce() -> Second + Send,
    ) -> (First, Second);
}

/// Does one after the other, and compares account by account.
#[derive(Clone, Copy, Debug, Default)]
pub struct InTurn;

impl Restoring for InTurn {
    type Weights = FixedState;

    fn weights(&self) -> Option<&FixedState> {
        None
    }

    fn both<First: Send, Second: Send>(
        &self,
        first: impl FnOnce() -> First + Send,
        second: impl FnOnce() -> Second + Send,
    ) -> (First, Second) {
        (first(), second())
    }
}

/// Reads fields, and knows where it is.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What is being read, for errors.
    part: &'static str,
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let field = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let field = *field.ok_or(RestoreError::Truncated(self.at, self.part))?;
        self.at += N;
        Ok(field)
    }

    /// Passes over `count` items of `item_bytes` each.
    fn skip(&mut self, count: u64, item_bytes: usize) -> Result<(), RestoreError> {
        let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(item_bytes));
        let end = bytes.and_then(|bytes| self.at.checked_add(bytes)).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or(RestoreError::Truncated(self.bytes.len(), self.part))?;
        Ok(())
    }

    /// `count` items of `N` bytes each, which it stays in front of.
    fn items<const N: usize>(&self, count: u64) -> Result<&'a [[u8; N]], RestoreError> {
        let mut end = *self;
        end.skip(count, N)?;
        Ok(self.bytes[self.at..end.at].as_chunks().0)
    }

    fn byte(&mut self) -> Result<u8, RestoreError> {
        Ok(self.take::<1>()?[0])
    }

    fn short(&mut self) -> Result<u16, RestoreError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn word(&mut self) -> Result<u32, RestoreError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn long(&mut self) -> Result<u64, RestoreError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn amount(&mut self) -> Result<Amount, RestoreError> {
        let amount = self.long()?;
        self.check(amount <= AMOUNT_MAX)?;
        Ok(Amount(amount))
    }

    /// The next asset of an ascending list.
    fn next_asset(&mut self, risk: &Risk, previous: &mut Option<AssetId>) -> Result<AssetId, RestoreError> {
        let asset = AssetId(self.short()?);
        self.check(*previous < Some(asset) && risk.asset(asset).is_some())?;
        *previous = Some(asset);
        Ok(asset)
    }

    fn rate(&mut self) -> Result<FeeRate, RestoreError> {
        Ok(FeeRate(i16::from_le_bytes(self.take()?)))
    }

    fn flag(&mut self) -> Result<bool, RestoreError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.invalid()),
        }
    }

    fn status(&mut self) -> Result<TradingStatus, RestoreError> {
        TradingStatus::from_number(self.byte()?).ok_or_else(|| self.invalid())
    }

    /// The length of a list, each of whose items takes `item_bytes` at least: a length that the bytes cannot hold
    /// is refused before anything is made of it.
    fn length(&mut self, part: &'static str, item_bytes: u64) -> Result<u64, RestoreError> {
        self.part = part;
        let length = self.long()?;
        let left = (self.bytes.len() - self.at) as u64;
        if length > left / item_bytes { Err(RestoreError::Truncated(self.bytes.len(), part)) } else { Ok(length) }
    }

    /// The same, of a list that is read later.
    fn count_of(mut self, part: &'static str, item_bytes: u64) -> Result<usize, RestoreError> {
        self.length(part, item_bytes).map(|length| length as usize)
    }

    fn check(&self, holds: bool) -> Result<(), RestoreError> {
        if holds { Ok(()) } else { Err(self.invalid()) }
    }

    const fn invalid(&self) -> RestoreError {
        RestoreError::Invalid(self.at, self.part)
    }
}

impl Exchange {
    /// The exchange whose [canonical state](Self::canonical_state) is `bytes`, after the command at `last`; `hash_seed` as
    /// in [`with_hash_seed`](Self::with_hash_seed).
    ///
    /// All invariants are checked, so whatever the bytes are, what comes back is a state that commands can lead to.
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are not a state.
    pub fn from_canonical_state(bytes: &[u8], last: Sequence, hash_seed: u64) -> Result<Self, RestoreError> {
        Self::from_canonical_state_by(bytes, last, hash_seed, &InTurn)
    }

    /// As [`from_canonical_state`](Self::from_canonical_state), in the way that `how` says.
    ///
    /// # Errors
    /// As `from_canonical_state`.
    pub fn from_canonical_state_by(
        bytes: &[u8],
        last: Sequence,
        hash_seed: u64,
        how: &impl Restoring,
    ) -> Result<Self, RestoreError> {
        let mut fields = Fields { bytes, at: 0, part: "header" };
        let version = fields.word()?;
        if !(1..=RULES_VERSION).contains(&version) {
            return Err(RestoreError::RulesVersion(version));
        }
        let status = fields.status()?;
        let (mut risk, mut matcher) = (Risk::restored(status, last), Matcher::restored(status, hash_seed));
        restore_assets(&mut fields, &mut risk)?;
        let markets = restore_markets(&mut fields, &mut risk, &mut matcher)?;
        let mut books = fields;
        let in_chunks = skip_to_books(&mut books)?;
        let mut balances = BalanceSums::new(&risk, how.weights());
        let [mut needed, mut needed_by_orders] = [(); 2].map(|()| WeighedSum::new(how.weights()));
        let (restored, end) = how.both(
            || {
                risk.ledger.reserve(fields.count_of("accounts", 13)?, in_chunks);
                restore_accounts(&mut fields, &mut risk, &mut balances)?;
                restore_credits_and_withdrawals(&mut fields, &mut risk, last, &mut needed)?;
                markets.iter().try_for_each(|spec| restore_open_orders(&mut fields, &mut risk, spec))
            },
            || {
                matcher.orders.reserve(count_orders(books, markets.len())?);
                let needed = &mut needed_by_orders;
                markets.iter().try_for_each(|spec| restore_books(&mut books, &mut matcher, spec, last, needed))?;
                Ok(books)
            },
        );
        restored?;
        let mut fields: Fields<'_> = end?;
        needed.add_all(&needed_by_orders);
        if version > 1 {
            restore_payouts(&mut fields, &mut risk, &mut matcher, last, &mut needed)?;
            restore_debts(&mut fields, &mut risk)?;
            restore_carries(&mut fields, &mut matcher, &mut needed)?;
        }
        if fields.at != bytes.len() {
            return Err(RestoreError::TrailingBytes(bytes.len() - fields.at));
        }
        if let Some(asset) = risk.overflowing() {
            return Err(RestoreError::Inconsistent(format!("more of {asset} could come back than there can be")));
        }
        let exchange = Self::from_parts(risk, matcher, last);
        exchange.check_restored(balances.are_right(&needed)).map_err(RestoreError::Inconsistent)?;
        if version != exchange.rules_version_in_use() {
            return Err(RestoreError::Inconsistent(format!("it is not one of rules version {version}")));
        }
        Ok(exchange)
    }
}

/// What the balances come to, while they are restored.
struct BalanceSums<'a, Weights> {
    /// By asset, over all accounts.
    sums: Vec<i128>,
    held: WeighedSum<'a, Weights>,
    /// Whether some account has more of an asset than there can be.
    too_much: bool,
}

impl<'a, Weights: BuildHasher> BalanceSums<'a, Weights> {
    /// Those of the system accounts, and nothing is held yet.
    fn new(risk: &Risk, weights: Option<&'a Weights>) -> Self {
        let system = |asset: AssetId| risk.ledger.system(asset).iter().sum();
        let sum_of = |asset: &Option<AssetSpec>| asset.as_ref().map_or(0, |asset| system(asset.asset));
        Self { sums: risk.assets.iter().map(sum_of).collect(), held: WeighedSum::new(weights), too_much: false }
    }

    #[inline]
    fn add(&mut self, account: AccountId, asset: AssetId, balance: Balance) {
        let total = u128::from(balance.available.0) + u128::from(balance.held.0);
        self.too_much |= total > u128::from(AMOUNT_MAX);
        self.sums[usize::from(asset.0)] += total as i128;
        if !balance.held.is_zero() {
            self.held.add(account, asset, balance.held.0);
        }
    }

    /// Whether every asset sums to zero, and just what is needed is held; `false` also when that is not known.
    fn are_right(&self, needed: &WeighedSum<'a, Weights>) -> bool {
        !self.too_much && self.held.equals(needed) && self.sums.iter().all(|sum| *sum == 0)
    }
}

/// What no system account passes in any history. `EXTERNAL` and `UNBACKED` together stay within `AMOUNT_MAX`, but each
/// may pass it: what was paid without cover and has left counts in both.
const SYSTEM_MAX: i128 = 1 << 100;

fn restore_assets(fields: &mut Fields<'_>, risk: &mut Risk) -> Result<(), RestoreError> {
    let mut previous = None;
    for _ in 0..fields.length("assets", 95)? {
        let asset = AssetId(fields.short()?);
        fields.check(previous < Some(asset) && asset.0 < crate::types::ASSETS_MAX)?;
        previous = Some(asset);
        let (symbol, scale) = (Symbol::from_bytes(fields.take()?), fields.byte()?);
        fields.check(symbol.is_valid() && scale <= crate::types::SCALE_MAX)?;
        let mut system = [0; AccountId::SYSTEM.len()];
        let most = i128::from(crate::types::AMOUNT_MAX);
        for balance in &mut system {
            *balance = i128::from_le_bytes(fields.take()?);
            fields.check((-SYSTEM_MAX..=SYSTEM_MAX).contains(balance))?;
        }
        // What is owed is between nothing and all there can be.
        fields.check((0..=most).contains(&-(system[0] + system[3] + system[4])))?;
        risk.restore_asset(AssetSpec { asset, symbol, scale }, system);
    }
    Ok(())
}

fn restore_markets(
    fields: &mut Fields<'_>,
    risk: &mut Risk,
    matcher: &mut Matcher,
) -> Result<Vec<MarketSpec>, RestoreError> {
    let (mut previous, mut specs) = (None, Vec::new());
    for _ in 0..fields.length("markets", 27)? {
        let spec = MarketSpec {
            market: MarketId(fields.short()?),
            base: AssetId(fields.short()?),
            quote: AssetId(fields.short()?),
            lot_size: Amount(fields.long()?),
            tick_value: Amount(fields.long()?),
            maker_rate: fields.rate()?,
            taker_rate: fields.rate()?,
        };
        let status = fields.status()?;
        fields.check(previous < Some(spec.market) && spec.market.0 < crate::types::MARKETS_MAX)?;
        fields.check(risk.asset(spec.base).is_some() && risk.asset(spec.quote).is_some() && spec.base != spec.quote)?;
        fields.check(spec.maker_rate.is_in_range() && spec.taker_rate.is_in_range())?;
        fields.check((1..=crate::types::AMOUNT_MAX).contains(&spec.lot_size.0))?;
        fields.check((1..=crate::types::AMOUNT_MAX).contains(&spec.tick_value.0))?;
        previous = Some(spec.market);
        risk.restore_market(spec);
        matcher.put_market(spec, status);
        specs.push(spec);
    }
    Ok(specs)
}

fn restore_accounts(
    fields: &mut Fields<'_>,
    risk: &mut Risk,
    sums: &mut BalanceSums<'_, impl BuildHasher>,
) -> Result<(), RestoreError> {
    let (mut previous, mut balances) = (None, Vec::new());
    for _ in 0..fields.length("accounts", 13)? {
        let account = AccountId(fields.word()?);
        fields.check(previous < Some(account) && account.is_user())?;
        previous = Some(account);
        let suspended = fields.flag()?;
        balances.clear();
        let mut previous = None;
        let length = fields.length("balances", 18)?;
        for item in fields.items::<18>(length)? {
            let asset = AssetId(u16::from_le_bytes(field(item, 0)));
            let [available, held] = [2, 10].map(|at| Amount(u64::from_le_bytes(field(item, at))));
            let balance = Balance { available, held };
            fields.at += item.len();
            fields.check(previous < Some(asset) && risk.asset(asset).is_some() && balance != Balance::default())?;
            previous = Some(asset);
            sums.add(account, asset, balance);
            balances.push((asset, balance));
        }
        risk.ledger.restore_account(account, suspended, &balances);
        fields.part = "accounts";
    }
    Ok(())
}

/// Passes over what [`restore_accounts`] and [`restore_credits_and_withdrawals`] read; gives how many places in chunks all
/// accounts take.
fn skip_to_books(fields: &mut Fields<'_>) -> Result<usize, RestoreError> {
    let mut in_chunks = 0;
    for _ in 0..fields.length("accounts", 13)? {
        fields.skip(1, 5)?;
        let balances = fields.length("balances", 18)?;
        fields.skip(balances, 18)?;
        in_chunks += entries_in_chunks(balances as usize);
        fields.part = "accounts";
    }
    let credits = fields.length("credited external ids", 18)?;
    fields.skip(credits, 18)?;
    let withdrawals = fields.length("withdrawals", 39)?;
    fields.skip(withdrawals, 39)?;
    Ok(in_chunks)
}

/// How many orders the books of so many markets have.
fn count_orders(mut fields: Fields<'_>, markets: usize) -> Result<usize, RestoreError> {
    let mut count = 0;
    for _ in 0..2 * markets {
        let orders = fields.length("orders", 57)?;
        fields.skip(orders, 57)?;
        count += orders as usize;
    }
    Ok(count)
}

/// What risk needs to know of the orders that [`restore_books`] reads.
fn restore_open_orders(fields: &mut Fields<'_>, risk: &mut Risk, spec: &MarketSpec) -> Result<(), RestoreError> {
    for _ in [Side::Buy, Side::Sell] {
        let length = fields.length("orders", 57)?;
        let items = fields.items::<57>(length)?;
        let account_of = |item: &[u8; 57]| AccountId(u32::from_le_bytes(field(item, 8)));
        for (index, item) in items.iter().enumerate() {
            if let Some(item) = items.get(index + AHEAD) {
                risk.ledger.prefetch_account(account_of(item));
            }
            let account = account_of(item);
            fields.at += item.len();
            fields.check(risk.ledger.account(account).is_some())?;
            risk.restore_open_order(account, spec.market);
        }
    }
    Ok(())
}

fn restore_credits_and_withdrawals(
    fields: &mut Fields<'_>,
    risk: &mut Risk,
    last: Sequence,
    needed: &mut WeighedSum<'_, impl BuildHasher>,
) -> Result<(), RestoreError> {
    // No more than the bytes hold, so the room is no more than they take.
    let length = fields.length("credited external ids", 18)?;
    let mut credits = SortedCredits::with_capacity(length as usize);
    for item in fields.items::<18>(length)? {
        let credit = (AssetId(u16::from_le_bytes(field(item, 0))), ExternalId(field(item, 2)));
        fields.at += item.len();
        fields.check(credits.push(credit) && risk.asset(credit.0).is_some())?;
    }
    risk.credited = Credits::restored(credits);
    let mut previous = None;
    let withdrawals = fields.length("withdrawals", 39)?;
    risk.withdrawals.reserve(withdrawals as usize);
    for _ in 0..withdrawals {
        let id = WithdrawalId(fields.long()?);
        let (account, asset, amount) = (AccountId(fields.word()?), AssetId(fields.short()?), Amount(fields.long()?));
        let state = match fields.byte()? {
            0 => WithdrawalState::Requested,
            1 => WithdrawalState::Released,
            2 => WithdrawalState::Sent,
            3 => WithdrawalState::Settled,
            4 => WithdrawalState::Failed,
            5 => WithdrawalState::Cancelled,
            _ => return Err(fields.invalid()),
        };
        let external_id = ExternalId(fields.take()?);
        fields.check(previous < Some(id) && id.0 <= last.0 && risk.asset(asset).is_some())?;
        fields.check(risk.ledger.account(account).is_some() && amount.0 <= crate::types::AMOUNT_MAX)?;
        previous = Some(id);
        if state == WithdrawalState::Requested {
            needed.add(account, asset, amount.0);
        }
        let shortfall = Amount::ZERO;
        let withdrawal = Withdrawal { account, asset, amount, state, external_id, shortfall };
        let fits = risk.restore_withdrawal(id, withdrawal);
        fields.check(fits)?;
    }
    Ok(())
}

fn restore_books(
    fields: &mut Fields<'_>,
    matcher: &mut Matcher,
    spec: &MarketSpec,
    last: Sequence,
    needed: &mut WeighedSum<'_, impl BuildHasher>,
) -> Result<(), RestoreError> {
    for side in [Side::Buy, Side::Sell] {
        // All open quantity is backed by balances, so it is no more than there can be.
        let mut open = 0_u64;
        let mut previous = None;
        let length = fields.length("orders", 57)?;
        let items = fields.items::<57>(length)?;
        for (index, item) in items.iter().enumerate() {
            look_ahead(&matcher.orders, items, index);
            fields.at += item.len();
            let (id, account, name) = who_of(item);
            let post_only = item[20];
            fields.check(post_only <= 1)?;
            let long = |at| u64::from_le_bytes(field(item, at));
            let (price, remaining) = (Price(long(21)), Quantity(long(29)));
            let [maker_rate, taker_rate] = [37, 39].map(|at| FeeRate(i16::from_le_bytes(field(item, at))));
            let traded = Traded { taker_notional: long(41), maker_notional: long(49), ..Traded::default() };
            let post_only = post_only == 1;
            let order =
                Order::new(id, name, account, spec.market, side, post_only, price, remaining, maker_rate, taker_rate);
            fields.check((1..=last.0).contains(&id.0) && !remaining.is_zero())?;
            fields.check(maker_rate.is_in_range() && taker_rate.is_in_range())?;
            fields.check((1..=crate::types::PRICE_MAX).contains(&price.0))?;
            // What an order's hold is computed from must stay in range.
            let notional = traded.taker_notional.checked_add(traded.maker_notional);
            fields.check(notional.is_some_and(|notional| notional <= u64::MAX / 4))?;
            fields.check(spec.notional(price, remaining).is_some() && spec.base_amount(remaining).is_some())?;
            needed.add(account, spec.held_asset(side), order.hold(&traded, spec).0);
            // Best prices first.
            fields.check(previous.is_none_or(|previous: Price| match side {
                Side::Buy => price <= previous,
                Side::Sell => price >= previous,
            }))?;
            previous = Some(price);
            open = open.saturating_add(remaining.0);
            fields.check(open <= crate::types::AMOUNT_MAX)?;
            let fits = matcher.restore_order(order, &traded);
            fields.check(fits)?;
        }
    }
    Ok(())
}

/// How many items further on memory is asked for, and how many when what is asked for depends on that.
const AHEAD: usize = 16;
const AHEAD_NEAR: usize = 8;

/// Asks for what the orders behind the one at `index` will be entered in.
#[inline]
fn look_ahead(orders: &Orders, items: &[[u8; 57]], index: usize) {
    if let Some(item) = items.get(index + AHEAD) {
        let (id, account, name) = who_of(item);
        orders.prefetch_id(id);
        orders.prefetch_name(account, name);
        orders.prefetch_account(account);
    }
    if let Some(item) = items.get(index + AHEAD_NEAR) {
        let (_, account, _) = who_of(item);
        orders.prefetch_first_of(account);
    }
}

/// An order's id, its owner, and the owner's name for it.
#[inline]
fn who_of(item: &[u8; 57]) -> (OrderId, AccountId, ClientOrderId) {
    let id = OrderId(u64::from_le_bytes(field(item, 0)));
    let account = AccountId(u32::from_le_bytes(field(item, 8)));
    (id, account, ClientOrderId(u64::from_le_bytes(field(item, 12))))
}

/// The bytes of a field at this place.
#[inline]
fn field<const N: usize>(item: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&item[at..at + N]);
    value
}

fn restore_payouts(
    fields: &mut Fields<'_>,
    risk: &mut Risk,
    matcher: &mut Matcher,
    last: Sequence,
    needed: &mut WeighedSum<'_, impl BuildHasher>,
) -> Result<(), RestoreError> {
    fields.part = "controls";
    risk.payouts.controls = Controls(fields.byte()?);
    fields.check(Controls::ALL.has(risk.payouts.controls))?;
    let mut previous = None;
    for _ in 0..fields.length("stopped withdrawals", 2)? {
        let asset = fields.next_asset(risk, &mut previous)?;
        risk.payouts.stopped.insert(asset);
    }
    let mut previous = OperatorId(0);
    for _ in 0..fields.length("operators", 35)? {
        let operator = OperatorId(fields.short()?);
        fields.check(previous < operator)?;
        previous = operator;
        let known = OperatorView { key: Digest(fields.take()?), registered: fields.flag()? };
        risk.payouts.operators.insert(operator, known);
    }
    let mut previous = None;
    for _ in 0..fields.length("attested reserves", 10)? {
        let asset = fields.next_asset(risk, &mut previous)?;
        let amount = fields.amount()?;
        risk.payouts.attested.insert(asset, amount);
    }
    let mut previous = None;
    for _ in 0..fields.length("payout velocities", 30)? {
        let asset = fields.next_asset(risk, &mut previous)?;
        let velocity = PayoutVelocity {
            amount_max: fields.amount()?,
            window_seconds: fields.word()?,
            window: fields.long()?,
            requested: fields.amount()?,
        };
        fields.check(velocity.window_seconds > 0)?;
        risk.payouts.velocities.insert(asset, velocity);
    }
    let mut previous = None;
    for _ in 0..fields.length("airdrop limits", 42)? {
        let asset = fields.next_asset(risk, &mut previous)?;
        let limits = AirdropLimits {
            recipient_max: fields.amount()?,
            airdrop_max: fields.amount()?,
            day_max: fields.amount()?,
            day: fields.long()?,
            paid: Amount(fields.long()?),
        };
        fields.check(limits != AirdropLimits::default())?;
        risk.payouts.limits.insert(asset, limits);
    }
    let mut previous = None;
    for _ in 0..fields.length("airdrops", 79)? {
        let id = AirdropId(fields.word()?);
        fields.check(previous < Some(id))?;
        previous = Some(id);
        let airdrop = restore_airdrop(fields, risk, last)?;
        if airdrop.is_locked() {
            airdrop.lines.iter().for_each(|(account, amount)| needed.add(*account, airdrop.asset, amount.0));
        }
        matcher.mirror.restore(id, &airdrop);
        risk.payouts.airdrops.insert(id, airdrop);
    }
    risk.set_timer();
    Ok(())
}

fn restore_airdrop(fields: &mut Fields<'_>, risk: &Risk, last: Sequence) -> Result<Airdrop, RestoreError> {
    let mut airdrop = Airdrop {
        author: OperatorId(fields.short()?),
        asset: AssetId(fields.short()?),
        total: fields.amount()?,
        lines_announced: fields.word()?,
        hash: ManifestHash(fields.take()?),
        lock_seconds: fields.word()?,
        opened: Sequence(fields.long()?),
        executed: Sequence(fields.long()?),
        state: AirdropState::from_number(fields.byte()?).ok_or_else(|| fields.invalid())?,
        approver: OperatorId(fields.short()?),
        locked_until: Timestamp(fields.long()?),
        source: AccountId(fields.word()?),
        lines: Vec::new(),
        recipients: BTreeSet::new(),
    };
    fields.check(risk.asset(airdrop.asset).is_some() && (1..=AIRDROP_LINES_MAX).contains(&airdrop.lines_announced))?;
    let is_operator = |operator| risk.payouts.operators.contains_key(&operator);
    fields.check(!airdrop.total.is_zero() && is_operator(airdrop.author))?;
    fields.check((1..=last.0).contains(&airdrop.opened.0))?;
    // Whoever approved is not the author; an approval can be given up, but not taken back.
    let approved = airdrop.approver.0 != 0;
    fields.check(!approved || (is_operator(airdrop.approver) && airdrop.approver != airdrop.author))?;
    fields.check(match airdrop.state {
        AirdropState::Open => !approved,
        AirdropState::Approved => approved,
        AirdropState::Executed | AirdropState::Cancelled => true,
    })?;
    let paid = airdrop.state == AirdropState::Executed;
    let sources = [AccountId::TREASURY, AccountId::UNBACKED];
    fields.check(if paid { sources.contains(&airdrop.source) } else { airdrop.source.0 == 0 })?;
    let at = airdrop.executed;
    fields.check(if paid { airdrop.opened < at && at <= last } else { at.0 == 0 })?;
    fields.check((airdrop.locked_until.0 > 0) == (paid && airdrop.lock_seconds > 0))?;
    let lines = fields.length("lines of an airdrop", 12)?;
    fields.check(lines <= airdrop.lines_announced.into())?;
    fields.check(lines == 0 || airdrop.is_pending() || airdrop.locked_until.0 > 0)?;
    for _ in 0..lines {
        let (account, amount) = (AccountId(fields.word()?), fields.amount()?);
        fields.check(risk.ledger.account(account).is_some() && !amount.is_zero())?;
        fields.check(airdrop.recipients.insert(account))?;
        airdrop.lines.push((account, amount));
    }
    if airdrop.state == AirdropState::Approved {
        fields.check(airdrop.check_manifest().is_ok())?;
    }
    if !airdrop.is_pending() {
        airdrop.recipients.clear();
    }
    fields.part = "airdrops";
    Ok(airdrop)
}

fn restore_debts(fields: &mut Fields<'_>, risk: &mut Risk) -> Result<(), RestoreError> {
    let mut previous = None;
    for _ in 0..fields.length("debts", 14)? {
        let debt = (AccountId(fields.word()?), AssetId(fields.short()?));
        fields.check(previous < Some(debt) && risk.ledger.account(debt.0).is_some() && risk.asset(debt.1).is_some())?;
        previous = Some(debt);
        let amount = fields.amount()?;
        fields.check(!amount.is_zero())?;
        risk.ledger.restore_debt(debt.0, debt.1, amount);
    }
    let mut previous = None;
    for _ in 0..fields.length("shortfalls", 16)? {
        let id = WithdrawalId(fields.long()?);
        let shortfall = fields.amount()?;
        fields.check(previous < Some(id))?;
        previous = Some(id);
        let known = risk.withdrawals.get_mut(&id).filter(|known| {
            matches!(known.state, WithdrawalState::Released | WithdrawalState::Sent)
                && (1..=known.amount.0).contains(&shortfall.0)
        });
        let Some(known) = known else { return Err(fields.invalid()) };
        known.shortfall = shortfall;
    }
    Ok(())
}

fn restore_carries(
    fields: &mut Fields<'_>,
    matcher: &mut Matcher,
    needed: &mut WeighedSum<'_, impl BuildHasher>,
) -> Result<(), RestoreError> {
    let mut previous = None;
    for _ in 0..fields.length("carried fees", 24)? {
        let order = OrderId(fields.long()?);
        let carries = [i64::from_le_bytes(fields.take()?), i64::from_le_bytes(fields.take()?)];
        fields.check(previous < Some(order) && carries != [0, 0])?;
        fields.check(carries.iter().all(|carry| carry.unsigned_abs() <= AMOUNT_MAX / 4))?;
        previous = Some(order);
        let Some(slot) = matcher.orders.find(order) else { return Err(fields.invalid()) };
        let order = matcher.orders.get(slot).clone();
        // Rebates take no notice of what was charged.
        let rates = [order.taker_rate, order.maker_rate];
        fields.check(rates.iter().zip(carries).all(|(rate, carry)| rate.0 >= 0 || carry == 0))?;
        let [taker_carry, maker_carry] = carries;
        let traded = Traded { taker_carry, maker_carry, ..matcher.orders.traded(slot) };
        let spec = &matcher.market(order.market).expect("its books were restored").spec;
        let asset = spec.held_asset(order.side);
        needed.subtract(order.account, asset, matcher.orders.hold(slot, spec).0);
        needed.add(order.account, asset, order.hold(&traded, spec).0);
        matcher.orders.set_traded(slot, &traded);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;
    use crate::{
        command::Command,
        event::{Event, EventSink},
        types::LimitType,
    };

    struct Unrefused;

    impl EventSink for Unrefused {
        fn emit(&mut self, event: Event) {
            assert!(!matches!(event, Event::Refused { .. }), "{event:?}");
        }
    }

    /// An account with two deposits, and two orders at the end of the only market's asks.
    fn state() -> (Vec<u8>, Sequence) {
        let account = AccountId(7);
        let (market, base, quote) = (MarketId(0), AssetId(0), AssetId(1));
        let deposit = |asset, id| Command::Deposit {
            account,
            asset,
            amount: Amount(100),
            external_id: ExternalId::from_u128(id),
        };
        let order = |name| Command::PlaceLimit {
            account,
            market,
            side: Side::Sell,
            limit_type: LimitType::GoodTillCancel,
            price: Price(10),
            quantity: Quantity(5),
            client_order_id: ClientOrderId(name),
        };
        let rate = FeeRate(0);
        let (one, symbol) = (Amount(1), |symbol: &str| symbol.parse().expect("a symbol"));
        let spec = Command::AddMarket {
            market,
            base,
            quote,
            lot_size: one,
            tick_value: one,
            maker_rate: rate,
            taker_rate: rate,
        };
        let commands = [
            Command::AddAsset { asset: base, symbol: symbol("BTC"), scale: 0 },
            Command::AddAsset { asset: quote, symbol: symbol("USD"), scale: 0 },
            spec,
            Command::CreateAccount { account },
            deposit(base, 1),
            deposit(base, 2),
            order(1),
            order(2),
        ];
        let mut exchange = Exchange::new();
        for (sequence, command) in (1..).map(Sequence).zip(&commands) {
            exchange.apply(sequence, Timestamp(0), command, &mut Unrefused);
        }
        let mut bytes = Vec::new();
        exchange.canonical_state(&mut |piece| bytes.extend_from_slice(piece));
        (bytes, exchange.last_sequence())
    }

    fn error_of(bytes: &[u8], last: Sequence) -> RestoreError {
        Exchange::from_canonical_state(bytes, last, 0).expect_err("it is no state")
    }

    #[test]
    fn bytes_that_end_early_or_late_are_no_state() {
        let (mut bytes, last) = state();
        Exchange::from_canonical_state(&bytes, last, 0).expect("it is a state");
        for length in 0..bytes.len() {
            let error = error_of(&bytes[..length], last);
            assert!(matches!(error, RestoreError::Truncated(..)), "{length} bytes: {error}");
        }
        bytes.push(0);
        assert_eq!(error_of(&bytes, last), RestoreError::TrailingBytes(1));
    }

    #[test]
    fn what_is_there_twice_or_out_of_order_is_no_state() {
        let (bytes, last) = state();
        let second = bytes.len() - 57;
        let first = second - 57;
        // The lengths of withdrawals, bids and asks lie between.
        let credit = first - 3 * 8 - 18;
        let copied = |from: usize, to: usize, count: usize| {
            let mut changed = bytes.clone();
            changed.copy_within(from..from + count, to);
            changed
        };
        let mut wrong_flag = bytes.clone();
        wrong_flag[second + 20] = 2;
        let mut out_of_order = bytes.clone();
        out_of_order[credit - 18..credit + 18].rotate_left(18);
        let cases = [
            (copied(first, second, 8), "orders"),
            (copied(first + 12, second + 12, 8), "orders"),
            (wrong_flag, "orders"),
            (copied(credit - 18, credit, 18), "credited external ids"),
            (out_of_order, "credited external ids"),
        ];
        for (number, (changed, part)) in cases.into_iter().enumerate() {
            let error = error_of(&changed, last);
            assert!(matches!(error, RestoreError::Invalid(_, found) if found == part), "case {number}: {error}");
        }
    }

    /// Compares by sums.
    #[derive(Default)]
    struct Weighed(BuildHasherDefault<DefaultHasher>);

    impl Restoring for Weighed {
        type Weights = BuildHasherDefault<DefaultHasher>;

        fn weights(&self) -> Option<&Self::Weights> {
            Some(&self.0)
        }

        fn both<First: Send, Second: Send>(
            &self,
            first: impl FnOnce() -> First + Send,
            second: impl FnOnce() -> Second + Send,
        ) -> (First, Second) {
            InTurn.both(first, second)
        }
    }

    /// Whichever byte is wrong, and in whatever way: what is told of it is the same.
    #[test]
    fn sums_and_the_comparison_by_account_agree() {
        let (bytes, last) = state();
        let (mut sound, mut contradictory) = (0, 0);
        for at in 0..bytes.len() {
            for change in [1, 2, 4, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let by_account =
                    Exchange::from_canonical_state(&changed, last, 0).map(|exchange| exchange.state_hash());
                let by_sums = Exchange::from_canonical_state_by(&changed, last, 0, &Weighed::default());
                let by_sums = by_sums.map(|exchange| exchange.state_hash());
                sound += u32::from(by_account.is_ok());
                contradictory += u32::from(matches!(by_account, Err(RestoreError::Inconsistent(_))));
                assert_eq!(by_sums, by_account, "byte {at}, {change}");
            }
        }
        assert!(sound > 0 && contradictory > 20, "{sound} sound, {contradictory} contradictory");
    }
}
