//! Reach: whom a recovery could possibly concern, from what happened alone.

use std::collections::BTreeSet;

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    recovery::{Edits, Strategy},
    types::{AccountId, AssetId, MarketId, Sequence},
};

use super::{Parent, cut_of, is_fact, is_refused};
use crate::model::ModelExchange;

/// Who is reached, and the state as it goes along.
struct Pass {
    model: ModelExchange,
    accounts: BTreeSet<AccountId>,
    markets: BTreeSet<MarketId>,
}

pub fn reach(parent: &Parent, strategy: &Strategy) -> BTreeSet<AccountId> {
    let (cut, mut accounts) = match strategy {
        Strategy::Rewind { cut } => {
            let mut start: BTreeSet<_> = parent.at(*cut).open_orders().map(|(_, order)| order.account).collect();
            for (command, events) in parent.behind(*cut) {
                if !is_fact(&command.command) {
                    start.extend(accounts_of_command(&command.command));
                    start.extend(events.iter().flat_map(accounts_of_event));
                }
            }
            (*cut, start)
        }
        Strategy::Compensate { edits, payments } => {
            let mut all: BTreeSet<_> = payments.iter().map(|payment| payment.account).collect();
            for event in edited(parent, edits).flat_map(|(_, events)| events) {
                match *event {
                    Event::AirdropCredited { account, .. } | Event::Deposited { account, .. } => {
                        all.insert(account);
                    }
                    Event::Transferred { from, to, .. } => all.extend([from, to]),
                    _ => {}
                }
            }
            return all;
        }
        Strategy::Excise(edits) | Strategy::Bust(edits) => {
            let mut start = BTreeSet::new();
            for (command, events) in edited(parent, edits) {
                start.extend(accounts_of_command(command));
                start.extend(events.iter().flat_map(accounts_of_event));
            }
            start.extend(edits.replaced.values().flat_map(accounts_of_command));
            start.extend(later_recipients(parent, edits));
            (cut_of(edits), start)
        }
    };
    accounts.retain(|account| account.is_user());
    let edits = strategy.edits();
    let mut pass = Pass { model: parent.at(cut), accounts, markets: BTreeSet::new() };
    for (command, events) in parent.behind(cut) {
        let replaced = edits.and_then(|edits| edits.replaced.get(&command.sequence));
        pass.command(command, events, replaced);
    }
    pass.accounts
}

fn edited<'a>(parent: &'a Parent, edits: &Edits) -> impl Iterator<Item = (&'a Command, &'a [Event])> {
    let sequences: BTreeSet<Sequence> = edits.dropped.keys().chain(edits.replaced.keys()).copied().collect();
    parent.behind(Sequence(0)).filter_map(move |(command, events)| {
        sequences.contains(&command.sequence).then_some((&command.command, events))
    })
}

/// Those whom airdrops paid later, from the source and of the asset of an edited one.
fn later_recipients(parent: &Parent, edits: &Edits) -> BTreeSet<AccountId> {
    let airdrop_of = |command: &Command| match *command {
        Command::OpenAirdrop { airdrop, .. }
        | Command::AddAirdropLine { airdrop, .. }
        | Command::ApproveAirdrop { airdrop, .. }
        | Command::ExecuteAirdrop { airdrop, .. }
        | Command::CancelAirdrop { airdrop, .. } => Some(airdrop),
        _ => None,
    };
    let edited: BTreeSet<_> = edited(parent, edits).filter_map(|(command, _)| airdrop_of(command)).collect();
    let mut sources: BTreeSet<(AccountId, AssetId)> = BTreeSet::new();
    let mut recipients = BTreeSet::new();
    for (_, events) in parent.behind(Sequence(0)) {
        let mut concerned = false;
        for event in events {
            match *event {
                Event::AirdropExecuted { airdrop, asset, source, .. } => {
                    concerned = edited.contains(&airdrop) || sources.contains(&(source, asset));
                    if concerned {
                        sources.insert((source, asset));
                    }
                }
                Event::AirdropCredited { account, .. } if concerned => _ = recipients.insert(account),
                _ => {}
            }
        }
    }
    recipients
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

/// The account and market of an order that is placed or replaced.
fn orders_in(command: &Command) -> Option<(AccountId, MarketId)> {
    match *command {
        Command::PlaceLimit { account, market, .. }
        | Command::PlaceMarketBuy { account, market, .. }
        | Command::PlaceMarketSell { account, market, .. }
        | Command::ReplaceOrder { account, market, .. } => Some((account, market)),
        _ => None,
    }
}

impl Pass {
    fn command(&mut self, at: &SequencedCommand, events: &[Event], replaced: Option<&Command>) {
        let mut standing: Vec<(AccountId, MarketId)> =
            self.model.open_orders().map(|(market, order)| (order.account, market)).collect();
        self.model.apply(at.sequence, at.time, &at.command);
        standing.extend(self.model.open_orders().map(|(market, order)| (order.account, market)));

        // Who acts where, by this command.
        let mut acts: Vec<(AccountId, MarketId)> = Vec::new();
        if !is_refused(events) {
            acts.extend(orders_in(&at.command));
        }
        acts.extend(replaced.and_then(orders_in));
        for event in events {
            match *event {
                Event::Transferred { from, to, .. } if self.accounts.contains(&from) => {
                    self.accounts.insert(to);
                }
                Event::OrderCancelled { account, market, .. } | Event::OrderReduced { account, market, .. } => {
                    acts.push((account, market));
                }
                Event::Filled { taker_account, maker_account, market, .. } => {
                    acts.extend([(taker_account, market), (maker_account, market)]);
                }
                _ => {}
            }
        }
        // To a fixed point: a reached account reaches the market, and a reached market all who act or stand in it.
        loop {
            let before = (self.accounts.len(), self.markets.len());
            for &(account, market) in &acts {
                if self.accounts.contains(&account) && self.markets.insert(market) {
                    self.accounts
                        .extend(standing.iter().filter(|(_, place)| *place == market).map(|(owner, _)| *owner));
                }
                if self.markets.contains(&market) {
                    self.accounts.insert(account);
                }
            }
            if before == (self.accounts.len(), self.markets.len()) {
                break;
            }
        }
    }
}
