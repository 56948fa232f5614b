//! Reach: whom a recovery could possibly concern, from what happened alone.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    recovery::{Edits, Strategy},
    types::{AccountId, AirdropId, AssetId, MarketId, OrderId, Sequence},
};

use super::{Parent, cut_of, is_fact, is_refused};
use crate::model::{ModelExchange, payouts::RESERVES};

/// Who is reached, and the state as it goes along.
struct Pass {
    model: ModelExchange,
    accounts: BTreeSet<AccountId>,
    markets: BTreeSet<MarketId>,
    /// Edited airdrops.
    airdrops: BTreeSet<AirdropId>,
    /// The assets of edited airdrops.
    assets: BTreeSet<AssetId>,
    /// The assets of which what may be requested can be another amount.
    requests: BTreeSet<AssetId>,
    /// Where every order was that ever stood.
    places: BTreeMap<OrderId, MarketId>,
    everybody: bool,
}

pub fn reach(parent: &Parent, strategy: &Strategy) -> BTreeSet<AccountId> {
    let mut accounts: BTreeSet<AccountId> = BTreeSet::new();
    match strategy {
        Strategy::Rewind { cut } => {
            accounts.extend(parent.at(*cut).open_orders().map(|(_, order)| order.account));
            for (command, events) in parent.behind(*cut) {
                if !is_fact(&command.command) {
                    accounts.extend(accounts_of_command(&command.command));
                    accounts.extend(events.iter().flat_map(accounts_of_event));
                }
            }
        }
        Strategy::Compensate { edits, payments } => {
            accounts.extend(payments.iter().map(|payment| payment.account));
            for event in edited(parent, edits) {
                match *event {
                    Event::AirdropCredited { account, .. } | Event::Deposited { account, .. } => {
                        accounts.insert(account);
                    }
                    Event::Transferred { from, to, .. } => accounts.extend([from, to]),
                    _ => {}
                }
            }
        }
        Strategy::Excise(edits) | Strategy::Bust(edits) => return spread(parent, edits),
    }
    accounts.retain(|account| account.is_user());
    accounts
}

/// The events of the edited sequences.
fn edited<'a>(parent: &'a Parent, edits: &Edits) -> impl Iterator<Item = &'a Event> {
    let sequences = edits.sequences();
    let events = parent.behind(Sequence(0)).filter(move |(command, _)| sequences.contains(&command.sequence));
    events.flat_map(|(_, events)| events)
}

fn spread(parent: &Parent, edits: &Edits) -> BTreeSet<AccountId> {
    let cut = cut_of(edits);
    let model = parent.at(cut);
    let places = model.open_orders().map(|(market, order)| (order.id, market)).collect();
    let mut pass = Pass {
        model,
        accounts: BTreeSet::new(),
        markets: BTreeSet::new(),
        airdrops: BTreeSet::new(),
        assets: BTreeSet::new(),
        requests: BTreeSet::new(),
        places,
        everybody: false,
    };
    let sequences = edits.sequences();
    for (command, events) in parent.behind(cut) {
        let is_edited = sequences.contains(&command.sequence);
        pass.command(command, events, is_edited, edits.replaced.get(&command.sequence));
    }
    if pass.everybody {
        pass.accounts.extend(parent.at_halt.accounts.keys());
    }
    pass.accounts.retain(|account| account.is_user());
    pass.accounts
}

fn accounts_of_command(command: &Command) -> Vec<AccountId> {
    match *command {
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
    }
}

fn accounts_of_event(event: &Event) -> Vec<AccountId> {
    match *event {
        Event::Filled { taker_account, maker_account, .. } => vec![taker_account, maker_account],
        Event::Transferred { from, to, .. } => vec![from, to],
        Event::AccountCreated { account }
        | Event::AccountSuspended { account }
        | Event::AccountResumed { account }
        | Event::Deposited { account, .. }
        | Event::WithdrawalRequested { account, .. }
        | Event::WithdrawalCancelled { account, .. }
        | Event::WithdrawalReleased { account, .. }
        | Event::WithdrawalFailed { account, .. }
        | Event::AirdropLineAdded { account, .. }
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

impl Pass {
    fn command(&mut self, at: &SequencedCommand, events: &[Event], is_edited: bool, replacement: Option<&Command>) {
        let mut acts: Vec<(AccountId, MarketId)> = Vec::new();
        if !is_refused(events) {
            acts.extend(self.acts_of(&at.command));
        }
        acts.extend(replacement.into_iter().flat_map(|other| self.acts_of(other)));
        let orders_of = |model: &ModelExchange| -> Vec<(OrderId, AccountId, MarketId)> {
            model.open_orders().map(|(market, order)| (order.id, order.account, market)).collect()
        };
        let mut standing = orders_of(&self.model);
        self.model.apply(at.sequence, at.time, &at.command);
        standing.extend(orders_of(&self.model));
        for event in events {
            match *event {
                Event::OrderAccepted { order, account, market, .. } => {
                    self.places.insert(order, market);
                    acts.push((account, market));
                }
                Event::OrderCancelled { account, market, .. }
                | Event::OrderReduced { account, market, .. }
                | Event::OrderReplaced { account, market, .. } => acts.push((account, market)),
                Event::Filled { taker_account, maker_account, market, .. } => {
                    acts.extend([(taker_account, market), (maker_account, market)]);
                }
                _ => {}
            }
        }
        if is_edited {
            self.edit(at, events, replacement);
        }
        loop {
            let before = (self.accounts.len(), self.markets.len());
            self.spread(&acts, events);
            for (_, account, market) in &standing {
                if self.markets.contains(market) {
                    self.accounts.insert(*account);
                }
            }
            if before == (self.accounts.len(), self.markets.len()) {
                break;
            }
        }
    }

    /// What an edit reaches by itself.
    fn edit(&mut self, at: &SequencedCommand, events: &[Event], replacement: Option<&Command>) {
        self.accounts.extend(events.iter().flat_map(accounts_of_event));
        for command in std::iter::once(&at.command).chain(replacement) {
            self.accounts.extend(accounts_of_command(command));
            match *command {
                Command::SetMarketStatus { market, .. }
                | Command::SetMarketFees { market, .. }
                | Command::AddMarket { market, .. }
                | Command::CancelAllOfMarket { market } => _ = self.markets.insert(market),
                Command::OpenAirdrop { airdrop, asset, .. } => {
                    self.assets.insert(asset);
                    self.airdrop(airdrop);
                }
                Command::AddAirdropLine { airdrop, .. }
                | Command::ApproveAirdrop { airdrop, .. }
                | Command::ExecuteAirdrop { airdrop, .. }
                | Command::CancelAirdrop { airdrop, .. } => self.airdrop(airdrop),
                Command::ConfirmWithdrawalSent { withdrawal, .. }
                | Command::ConfirmWithdrawalSettled { withdrawal }
                | Command::FailWithdrawal { withdrawal } => {
                    let owner = self.model.withdrawals.get(&withdrawal).map(|found| found.account);
                    self.accounts.extend(owner);
                }
                Command::RequestWithdrawal { asset, .. } | Command::RequestWithdrawalOfAll { asset, .. } => {
                    self.request(asset);
                }
                Command::Tick {} | Command::AddPlanPart { .. } => {}
                Command::CreateAccount { .. } => self.everybody = true,
                _ => self.everybody |= accounts_of_command(command).is_empty(),
            }
        }
    }

    fn airdrop(&mut self, airdrop: AirdropId) {
        self.airdrops.insert(airdrop);
        if let Some(found) = self.model.airdrops.get(&airdrop) {
            self.assets.insert(found.asset);
            self.accounts.extend(found.lines.iter().map(|(account, _)| *account));
        }
    }

    fn request(&mut self, asset: AssetId) {
        if self.model.velocities.contains_key(&asset) {
            self.requests.insert(asset);
        }
    }

    /// Who acts where, by a command.
    fn acts_of(&self, command: &Command) -> Vec<(AccountId, MarketId)> {
        match *command {
            Command::PlaceLimit { account, market, .. }
            | Command::PlaceMarketBuy { account, market, .. }
            | Command::PlaceMarketSell { account, market, .. }
            | Command::ReplaceOrder { account, market, .. } => vec![(account, market)],
            Command::CancelOrder { account, order } | Command::ReduceOrder { account, order, .. } => {
                self.places.get(&order).map(|&market| (account, market)).into_iter().collect()
            }
            Command::CancelByClientOrderId { account, .. } | Command::CancelAllOfAccount { account } => {
                let own = self.model.open_orders().filter(|(_, order)| order.account == account);
                own.map(|(market, _)| (account, market)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn spread(&mut self, acts: &[(AccountId, MarketId)], events: &[Event]) {
        for &(account, market) in acts {
            if self.accounts.contains(&account) {
                self.markets.insert(market);
            } else if self.markets.contains(&market) {
                self.accounts.insert(account);
            }
        }
        let mut concerned = false;
        for event in events {
            match *event {
                Event::Transferred { from, to, .. } if self.accounts.contains(&from) => {
                    self.accounts.insert(to);
                }
                Event::AirdropExecuted { airdrop, asset, .. } => {
                    let reserves = self.model.controls & RESERVES != 0;
                    concerned = reserves || self.airdrops.contains(&airdrop) || self.assets.contains(&asset);
                }
                Event::AirdropCredited { account, .. } if concerned => _ = self.accounts.insert(account),
                Event::WithdrawalRequested { account, asset, .. } => {
                    if self.requests.contains(&asset) {
                        self.accounts.insert(account);
                    }
                    if self.accounts.contains(&account) {
                        self.request(asset);
                    }
                }
                _ => {}
            }
        }
    }
}
