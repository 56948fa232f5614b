//! Reach: who may be touched by a recovery at all, told from what happened alone.
//!
//! The rules are in `rules.md`. Outside reach nothing differs between parent and branch.

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::{
    branch::{BranchError, each_through},
    edits::{Strategy, is_fact},
    history::History,
};
use crate::{
    command::{Command, SequencedCommand},
    event::Event,
    exchange::Exchange,
    types::{AccountId, AirdropId, AssetId, Controls, MarketId, OrderId, Sequence, Side, WithdrawalId},
};

/// The accounts that a strategy may change, and no others.
///
/// # Errors
/// [`BranchError`] when the past cannot be read, or ends before the halt.
pub fn reach(history: &dyn History, halt: Sequence, strategy: &Strategy) -> Result<BTreeSet<AccountId>, BranchError> {
    let cut = strategy.cut();
    let start = history.epoch_start()?;
    if cut < start {
        return Err(BranchError::EarlierEpoch { sequence: cut.next(), start });
    }
    let (exchange, commands) = history.behind(cut)?;
    let mut spread = Spread::begin(exchange, strategy);
    each_through(commands, cut, halt, |command| {
        spread.step(command);
        Ok(())
    })?;
    let Spread { exchange, mut reached, everybody, .. } = spread;
    if everybody {
        reached.extend(exchange.accounts().map(|view| view.account));
    }
    Ok(reached.into_iter().collect())
}

/// Reach as it spreads along the parent.
struct Spread<'a> {
    strategy: &'a Strategy,
    edited: BTreeSet<Sequence>,
    exchange: Exchange,
    reached: HashSet<AccountId, FxBuildHasher>,
    markets: HashSet<MarketId, FxBuildHasher>,
    /// Where each open order stands, as events say.
    market_of: HashMap<OrderId, MarketId, FxBuildHasher>,
    /// The assets of edited airdrops: what is paid of them later may be refused, or no longer be.
    paid: BTreeSet<AssetId>,
    /// The airdrops that are edited.
    manifests: BTreeSet<AirdropId>,
    /// The assets with a payout velocity of which a reached account requested some.
    requested: BTreeSet<AssetId>,
    /// Whether an edit is about everybody.
    everybody: bool,
    events: Vec<Event>,
}

impl<'a> Spread<'a> {
    fn begin(exchange: Exchange, strategy: &'a Strategy) -> Self {
        let edited = strategy.edits().map(super::edits::Edits::sequences).unwrap_or_default();
        let mut spread = Self {
            strategy,
            edited,
            reached: HashSet::default(),
            markets: HashSet::default(),
            market_of: HashMap::default(),
            paid: BTreeSet::new(),
            manifests: BTreeSet::new(),
            requested: BTreeSet::new(),
            everybody: false,
            events: Vec::new(),
            exchange,
        };
        if let Strategy::Compensate { payments, .. } = strategy {
            spread.reached.extend(payments.iter().map(|payment| payment.account));
        }
        let markets: Vec<MarketId> = spread.exchange.markets().map(|view| view.spec.market).collect();
        for market in markets {
            for side in [Side::Buy, Side::Sell] {
                let orders: Vec<_> = spread.exchange.queue(market, side).collect();
                for order in orders {
                    spread.market_of.insert(order.order, market);
                    if matches!(strategy, Strategy::Rewind { .. }) {
                        spread.reached.insert(order.account);
                    }
                }
            }
        }
        spread
    }

    fn step(&mut self, command: &SequencedCommand) {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let is_edited = self.edited.contains(&command.sequence);
        let edits = self.strategy.edits().filter(|_| is_edited);
        let replacement = edits.and_then(|edits| edits.replaced.get(&command.sequence));
        if is_edited && matches!(self.strategy, Strategy::Excise(_) | Strategy::Bust(_)) {
            self.edit(&command.command, replacement);
        }
        let acting_instead = replacement.and_then(|other| self.acting(other));
        self.exchange.apply(command.sequence, command.time, &command.command, &mut events);
        match self.strategy {
            Strategy::Rewind { .. } => {
                if !is_fact(&command.command) {
                    self.name_all(&command.command, &events);
                }
            }
            Strategy::Compensate { .. } => {
                if is_edited {
                    self.credits(&events);
                }
            }
            Strategy::Excise(_) | Strategy::Bust(_) => {
                if is_edited {
                    events.iter().for_each(|event| self.reached.extend(accounts_of(event)));
                }
                for event in &events {
                    if let Event::OrderAccepted { order, market, .. } = *event {
                        self.market_of.insert(order, market);
                    }
                }
                // A fixed point: what comes later in one command may reach what comes before it.
                loop {
                    let before = (self.reached.len(), self.markets.len());
                    self.spread(acting_instead.as_ref(), &events);
                    if before == (self.reached.len(), self.markets.len()) {
                        break;
                    }
                }
            }
        }
        self.events = events;
    }

    /// Who acts by a command in place of another, and in which markets; of what happened the events tell it.
    fn acting(&self, command: &Command) -> Option<(AccountId, Vec<MarketId>)> {
        let markets = self.acts_in(command)?;
        let account = match *command {
            Command::PlaceLimit { account, .. }
            | Command::PlaceMarketBuy { account, .. }
            | Command::PlaceMarketSell { account, .. }
            | Command::CancelOrder { account, .. }
            | Command::CancelByClientOrderId { account, .. }
            | Command::ReduceOrder { account, .. }
            | Command::ReplaceOrder { account, .. }
            | Command::CancelAllOfAccount { account } => account,
            _ => return None,
        };
        Some((account, markets))
    }

    fn acts_in(&self, command: &Command) -> Option<Vec<MarketId>> {
        match *command {
            Command::PlaceLimit { market, .. }
            | Command::PlaceMarketBuy { market, .. }
            | Command::PlaceMarketSell { market, .. }
            | Command::ReplaceOrder { market, .. } => Some(vec![market]),
            // The order may be gone in the parent and open on the branch.
            Command::CancelOrder { order, .. } | Command::ReduceOrder { order, .. } => {
                Some(self.market_of.get(&order).copied().into_iter().collect())
            }
            Command::CancelByClientOrderId { account, client_order_id } => {
                let orders = self.exchange.orders_of_account(account).into_iter();
                let named = orders.filter(|order| order.client_order_id == client_order_id && client_order_id.0 != 0);
                Some(named.map(|order| order.market).collect())
            }
            Command::CancelAllOfAccount { account } => {
                let orders = self.exchange.orders_of_account(account);
                Some(orders.into_iter().map(|order| order.market).collect())
            }
            _ => None,
        }
    }

    /// Whom compensating concerns.
    fn credits(&mut self, events: &[Event]) {
        for event in events {
            if matches!(event, Event::AirdropCredited { .. } | Event::Deposited { .. } | Event::Transferred { .. }) {
                self.reached.extend(accounts_of(event));
            }
        }
    }

    /// An edit reaches what its commands name, as it is just before.
    fn edit(&mut self, command: &Command, replacement: Option<&Command>) {
        for command in std::iter::once(command).chain(replacement) {
            self.reached.extend(accounts_named(command));
            if let Some(market) = market_named(command) {
                self.reach_market(market);
            }
            if let Some(airdrop) = airdrop_named(command) {
                self.manifests.insert(airdrop);
                if let Some(known) = self.exchange.airdrop(airdrop) {
                    self.paid.insert(known.asset);
                    self.reached.extend(known.lines.iter().map(|(account, _)| *account));
                }
            }
            if let Some(known) =
                withdrawal_named(command).and_then(|withdrawal| self.exchange.risk().withdrawal(withdrawal))
            {
                self.reached.insert(known.account);
            }
            if let Command::OpenAirdrop { asset, .. } = *command {
                self.paid.insert(asset);
            }
            self.everybody |= is_about_everybody(command);
        }
        if let Some(Command::RequestWithdrawal { asset, .. } | Command::RequestWithdrawalOfAll { asset, .. }) =
            replacement
        {
            self.request(*asset);
        }
    }

    /// A request that may be another on the branch: whoever requests later may find less of the velocity, or more.
    fn request(&mut self, asset: AssetId) {
        if self.exchange.payout_velocity(asset).is_some() {
            self.requested.insert(asset);
        }
    }

    fn name_all(&mut self, command: &Command, events: &[Event]) {
        self.reached.extend(accounts_named(command));
        events.iter().for_each(|event| self.reached.extend(accounts_of(event)));
    }

    fn spread(&mut self, acting_instead: Option<&(AccountId, Vec<MarketId>)>, events: &[Event]) {
        if let Some((account, markets)) = acting_instead {
            for market in markets {
                self.act(*account, *market);
            }
        }
        for event in events {
            match *event {
                Event::OrderAccepted { account, market, .. }
                | Event::OrderReplaced { account, market, .. }
                | Event::OrderReduced { account, market, .. }
                | Event::OrderCancelled { account, market, .. } => self.act(account, market),
                Event::Filled { taker_account, maker_account, market, .. } => {
                    self.act(taker_account, market);
                    self.act(maker_account, market);
                }
                Event::Transferred { from, to, .. } if self.reached.contains(&from) => {
                    self.reached.insert(to);
                }
                Event::AirdropExecuted { airdrop, asset, .. }
                    if self.manifests.contains(&airdrop)
                        || self.paid.contains(&asset)
                        || self.exchange.controls().has(Controls::RESERVES) =>
                {
                    let credited = |event: &&Event| matches!(event, Event::AirdropCredited { .. });
                    self.reached.extend(events.iter().filter(credited).flat_map(accounts_of));
                }
                Event::WithdrawalRequested { account, asset, .. } => {
                    if self.requested.contains(&asset) {
                        self.reached.insert(account);
                    } else if self.reached.contains(&account) {
                        self.request(asset);
                    }
                }
                _ => {}
            }
        }
    }

    fn act(&mut self, account: AccountId, market: MarketId) {
        if self.reached.contains(&account) {
            self.reach_market(market);
        }
        if self.markets.contains(&market) {
            self.reached.insert(account);
        }
    }

    /// From here on the market is reached, and everybody with an open order in it.
    fn reach_market(&mut self, market: MarketId) {
        if !self.markets.insert(market) {
            return;
        }
        for side in [Side::Buy, Side::Sell] {
            let owners: Vec<_> = self.exchange.queue(market, side).map(|order| order.account).collect();
            self.reached.extend(owners);
        }
    }
}

/// Whether a command names nothing that could be reached: then it is about everybody, or about nobody. So is one that makes
/// an account: who pays it, and whose airdrop has a line for it, cannot without.
fn is_about_everybody(command: &Command) -> bool {
    if matches!(command, Command::CreateAccount { .. }) {
        return true;
    }
    let names = !accounts_named(command).is_empty()
        || market_named(command).is_some()
        || airdrop_named(command).is_some()
        || withdrawal_named(command).is_some();
    !names && !matches!(command, Command::Tick {} | Command::AddPlanPart { .. })
}

/// The withdrawal that a command is about: it may be somebody else's than the account that it names.
const fn withdrawal_named(command: &Command) -> Option<WithdrawalId> {
    match *command {
        Command::ConfirmWithdrawalSent { withdrawal, .. }
        | Command::ConfirmWithdrawalSettled { withdrawal }
        | Command::FailWithdrawal { withdrawal }
        | Command::CancelWithdrawal { withdrawal, .. }
        | Command::ReleaseWithdrawal { withdrawal, .. } => Some(withdrawal),
        _ => None,
    }
}

/// The market that a command is about, but for orders, which act in theirs.
const fn market_named(command: &Command) -> Option<MarketId> {
    match *command {
        Command::AddMarket { market, .. }
        | Command::SetMarketFees { market, .. }
        | Command::SetMarketStatus { market, .. }
        | Command::CancelAllOfMarket { market } => Some(market),
        _ => None,
    }
}

/// The airdrop that a command is about.
const fn airdrop_named(command: &Command) -> Option<AirdropId> {
    match *command {
        Command::OpenAirdrop { airdrop, .. }
        | Command::AddAirdropLine { airdrop, .. }
        | Command::ApproveAirdrop { airdrop, .. }
        | Command::CancelAirdrop { airdrop, .. }
        | Command::ExecuteAirdrop { airdrop, .. } => Some(airdrop),
        _ => None,
    }
}

/// The user accounts that a command names.
fn accounts_named(command: &Command) -> Vec<AccountId> {
    let named = match *command {
        Command::CreateAccount { account }
        | Command::SuspendAccount { account }
        | Command::ResumeAccount { account }
        | Command::Deposit { account, .. }
        | Command::RequestWithdrawal { account, .. }
        | Command::RequestWithdrawalOfAll { account, .. }
        | Command::CancelWithdrawal { account, .. }
        | Command::ReleaseWithdrawal { account, .. }
        | Command::AddAirdropLine { account, .. }
        | Command::SetOff { account, .. }
        | Command::PlaceLimit { account, .. }
        | Command::PlaceMarketBuy { account, .. }
        | Command::PlaceMarketSell { account, .. }
        | Command::CancelOrder { account, .. }
        | Command::CancelByClientOrderId { account, .. }
        | Command::ReduceOrder { account, .. }
        | Command::ReplaceOrder { account, .. }
        | Command::CancelAllOfAccount { account } => vec![account],
        Command::Transfer { from, to, .. } => vec![from, to],
        _ => Vec::new(),
    };
    named.into_iter().filter(|account| account.is_user()).collect()
}

/// The user accounts whose balances or orders an event tells of.
pub(super) fn accounts_of(event: &Event) -> Vec<AccountId> {
    match *event {
        Event::Filled { taker_account, maker_account, .. } => vec![taker_account, maker_account],
        Event::Transferred { from, to, .. } => vec![from, to],
        Event::Deposited { account, .. }
        | Event::WithdrawalRequested { account, .. }
        | Event::WithdrawalCancelled { account, .. }
        | Event::WithdrawalReleased { account, .. }
        | Event::WithdrawalFailed { account, .. }
        | Event::AirdropCredited { account, .. }
        | Event::AirdropUnlocked { account, .. }
        | Event::SetOffDone { account, .. }
        | Event::OrderAccepted { account, .. }
        | Event::OrderCancelled { account, .. }
        | Event::OrderReduced { account, .. }
        | Event::OrderReplaced { account, .. } => vec![account],
        _ => Vec::new(),
    }
}
