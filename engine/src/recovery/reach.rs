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
    types::{AccountId, AssetId, MarketId, OrderId, Sequence, Side},
};

/// The accounts that a strategy may change, and no others.
///
/// # Errors
/// [`BranchError`] when the past cannot be read, or ends before the halt.
pub fn reach(history: &dyn History, halt: Sequence, strategy: &Strategy) -> Result<BTreeSet<AccountId>, BranchError> {
    let cut = strategy.cut();
    let (exchange, commands) = history.behind(cut)?;
    let mut spread = Spread::begin(exchange, strategy);
    each_through(commands, cut, halt, |command| {
        spread.step(command);
        Ok(())
    })?;
    Ok(spread.reached.into_iter().collect())
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
    /// The sources and assets of edited airdrops.
    airdrops: BTreeSet<(AccountId, AssetId)>,
    /// What airdrops are edited before they are paid.
    manifests: BTreeSet<crate::types::AirdropId>,
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
            airdrops: BTreeSet::new(),
            manifests: BTreeSet::new(),
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
        let acting = self.acting(&command.command);
        self.exchange.apply(command.sequence, command.time, &command.command, &mut events);
        if is_edited {
            self.edit(command, &events);
        }
        match self.strategy {
            Strategy::Rewind { .. } => {
                if !is_fact(&command.command) {
                    self.name_all(&command.command, &events);
                }
            }
            Strategy::Compensate { .. } => {}
            Strategy::Excise(_) | Strategy::Bust(_) => self.spread(acting, &events),
        }
        self.events = events;
    }

    /// Who acts, and in which market: who places, replaces, reduces or cancels orders.
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
            Command::CancelByClientOrderId { account, .. } | Command::CancelAllOfAccount { account } => {
                let orders = self.exchange.orders_of_account(account);
                Some(orders.into_iter().map(|order| order.market).collect())
            }
            _ => None,
        }
    }

    /// An edit reaches whom its commands and events name.
    fn edit(&mut self, command: &SequencedCommand, events: &[Event]) {
        self.name_all(&command.command, events);
        if let Some(other) = self.strategy.edits().and_then(|edits| edits.replaced.get(&command.sequence)) {
            self.reached.extend(accounts_named(other));
            self.note_airdrop(other);
        }
        self.note_airdrop(&command.command);
        for event in events {
            if let Event::AirdropExecuted { source, asset, .. } = *event {
                self.airdrops.insert((source, asset));
            }
        }
    }

    fn note_airdrop(&mut self, command: &Command) {
        match *command {
            Command::OpenAirdrop { airdrop, .. }
            | Command::AddAirdropLine { airdrop, .. }
            | Command::ApproveAirdrop { airdrop, .. }
            | Command::CancelAirdrop { airdrop, .. }
            | Command::ExecuteAirdrop { airdrop, .. } => {
                self.manifests.insert(airdrop);
            }
            _ => {}
        }
        if let Command::OpenAirdrop { asset, .. } = *command {
            self.airdrops.extend([(AccountId::TREASURY, asset), (AccountId::UNBACKED, asset)]);
        }
    }

    fn name_all(&mut self, command: &Command, events: &[Event]) {
        self.reached.extend(accounts_named(command));
        events.iter().for_each(|event| self.reached.extend(accounts_of(event)));
    }

    fn spread(&mut self, acting: Option<(AccountId, Vec<MarketId>)>, events: &[Event]) {
        if let Some((account, markets)) = acting {
            for market in markets {
                self.act(account, market);
            }
        }
        for event in events {
            match *event {
                Event::OrderAccepted { order, account, market, .. } => {
                    self.market_of.insert(order, market);
                    self.act(account, market);
                }
                Event::Filled { taker_account, maker_account, market, .. } => {
                    if self.reached.contains(&taker_account) || self.reached.contains(&maker_account) {
                        self.reach_market(market);
                    }
                    if self.markets.contains(&market) {
                        self.reached.extend([taker_account, maker_account]);
                    }
                }
                Event::OrderCancelled { account, market, .. } => self.act(account, market),
                Event::Transferred { from, to, .. } if self.reached.contains(&from) => {
                    self.reached.insert(to);
                }
                Event::AirdropExecuted { airdrop, asset, source, .. }
                    if self.manifests.contains(&airdrop) || self.airdrops.contains(&(source, asset)) =>
                {
                    self.reached.extend(events.iter().flat_map(accounts_of));
                }
                Event::AirdropUnlocked { airdrop, account, .. } if self.manifests.contains(&airdrop) => {
                    self.reached.insert(account);
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

/// The user accounts that an event names.
fn accounts_of(event: &Event) -> Vec<AccountId> {
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
