//! Reach: whom a recovery could possibly concern, from what happened alone. A walk over the parent with its whole state at hand: at each
//! sequence, who and what is named or acts, again and again until nothing more is reached.

use std::collections::BTreeSet;

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    recovery::{Edits, Payment, Strategy},
    types::{AccountId, AirdropId, AssetId, MarketId, OrderId, Sequence, WithdrawalId},
};

use super::{Parent, cut_of, is_fact, is_refused};
use crate::model::{ModelExchange, payouts::RESERVES};

pub fn reach(parent: &Parent, strategy: &Strategy) -> BTreeSet<AccountId> {
    let mut reached = match strategy {
        Strategy::Rewind { cut } => of_rewind(parent, *cut),
        Strategy::Compensate { edits, payments } => of_compensate(parent, edits, payments),
        Strategy::Excise(edits) | Strategy::Bust(edits) => Spread::along(parent, edits),
    };
    reached.retain(|account| account.is_user());
    reached
}

/// Every account with an open order at the cut, or named by a command behind it that is no fact, or by its events.
fn of_rewind(parent: &Parent, cut: Sequence) -> BTreeSet<AccountId> {
    let mut reached: BTreeSet<_> = parent.at(cut).open_orders().map(|(_, order)| order.account).collect();
    for (at, events) in parent.behind(cut) {
        if !is_fact(&at.command) {
            reached.extend(Names::of(&at.command).accounts);
            reached.extend(accounts_of(events));
        }
    }
    reached
}

/// Credited accounts, payers and payees.
fn of_compensate(parent: &Parent, edits: &Edits, payments: &[Payment]) -> BTreeSet<AccountId> {
    let mut reached: BTreeSet<_> = payments.iter().map(|payment| payment.account).collect();
    for (at, events) in parent.behind(Sequence(0)) {
        for event in events.iter().filter(|_| edits.dropped.contains_key(&at.sequence)) {
            match *event {
                Event::AirdropCredited { account, .. } | Event::Deposited { account, .. } => {
                    reached.insert(account);
                }
                Event::Transferred { from, to, .. } => reached.extend([from, to]),
                _ => {}
            }
        }
    }
    reached
}

/// What a command names.
#[derive(Clone, Debug, Default)]
struct Names {
    accounts: Vec<AccountId>,
    withdrawals: Vec<WithdrawalId>,
    /// Also those of orders.
    markets: Vec<MarketId>,
    airdrops: Vec<AirdropId>,
    /// The asset of an airdrop that is opened.
    airdrop_asset: Option<AssetId>,
}

impl Names {
    fn of(command: &Command) -> Self {
        let nothing = Self::default();
        let account = |account: AccountId| Self { accounts: vec![account], ..Self::default() };
        let market = |market: MarketId| Self { markets: vec![market], ..Self::default() };
        let withdrawal = |withdrawal: WithdrawalId| Self { withdrawals: vec![withdrawal], ..Self::default() };
        let airdrop = |airdrop: AirdropId| Self { airdrops: vec![airdrop], ..Self::default() };
        match *command {
            Command::AddAsset { .. }
            | Command::SetGlobalStatus { .. }
            | Command::SetAssetWithdrawals { .. }
            | Command::Tick {}
            | Command::RegisterOperator { .. }
            | Command::RevokeOperator { .. }
            | Command::FundTreasury { .. }
            | Command::AttestReserves { .. }
            | Command::SetPayoutVelocity { .. }
            | Command::SetAirdropLimits { .. }
            | Command::SetControls { .. }
            | Command::AddPlanPart { .. }
            | Command::StartEpoch { .. } => nothing,
            Command::AddMarket { market: named, .. }
            | Command::SetMarketFees { market: named, .. }
            | Command::SetMarketStatus { market: named, .. }
            | Command::CancelAllOfMarket { market: named } => market(named),
            Command::CreateAccount { account: named }
            | Command::SuspendAccount { account: named }
            | Command::ResumeAccount { account: named }
            | Command::Deposit { account: named, .. }
            | Command::RequestWithdrawal { account: named, .. }
            | Command::RequestWithdrawalOfAll { account: named, .. }
            | Command::SetOff { account: named, .. }
            | Command::CancelOrder { account: named, .. }
            | Command::CancelByClientOrderId { account: named, .. }
            | Command::ReduceOrder { account: named, .. }
            | Command::CancelAllOfAccount { account: named } => account(named),
            Command::Transfer { from, to, .. } => Self { accounts: vec![from, to], ..nothing },
            Command::CancelWithdrawal { account: owner, withdrawal: named }
            | Command::ReleaseWithdrawal { account: owner, withdrawal: named, .. } => {
                Self { accounts: vec![owner], ..withdrawal(named) }
            }
            Command::ConfirmWithdrawalSent { withdrawal: named, .. }
            | Command::ConfirmWithdrawalSettled { withdrawal: named }
            | Command::FailWithdrawal { withdrawal: named } => withdrawal(named),
            Command::OpenAirdrop { airdrop: named, asset, .. } => Self { airdrop_asset: Some(asset), ..airdrop(named) },
            Command::AddAirdropLine { airdrop: named, account, .. } => {
                Self { accounts: vec![account], ..airdrop(named) }
            }
            Command::ApproveAirdrop { airdrop: named, .. }
            | Command::ExecuteAirdrop { airdrop: named, .. }
            | Command::CancelAirdrop { airdrop: named, .. } => airdrop(named),
            Command::PlaceLimit { account: owner, market: named, .. }
            | Command::PlaceMarketBuy { account: owner, market: named, .. }
            | Command::PlaceMarketSell { account: owner, market: named, .. }
            | Command::ReplaceOrder { account: owner, market: named, .. } => {
                Self { accounts: vec![owner], ..market(named) }
            }
        }
    }

    fn is_nothing(&self) -> bool {
        self.accounts.is_empty() && self.withdrawals.is_empty() && self.markets.is_empty() && self.airdrops.is_empty()
    }
}

fn is_order(command: &Command) -> bool {
    matches!(
        command,
        Command::PlaceLimit { .. }
            | Command::PlaceMarketBuy { .. }
            | Command::PlaceMarketSell { .. }
            | Command::ReplaceOrder { .. }
    )
}

/// The accounts that the events of a sequence name, ends of locks among them.
fn accounts_of(events: &[Event]) -> Vec<AccountId> {
    let mut accounts = Vec::new();
    for event in events {
        match *event {
            Event::Refused { account, .. }
            | Event::AccountCreated { account }
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
            | Event::OrderReplaced { account, .. }
            | Event::MassCancelled { account, .. } => accounts.push(account),
            Event::Transferred { from, to, .. } => accounts.extend([from, to]),
            Event::Filled { taker_account, maker_account, .. } => accounts.extend([taker_account, maker_account]),
            _ => {}
        }
    }
    accounts
}

/// Who places, replaces, reduces or cancels an order, or has one filled; and where.
fn acts_of(events: &[Event]) -> Vec<(AccountId, MarketId)> {
    let mut acts = Vec::new();
    for event in events {
        match *event {
            Event::OrderAccepted { account, market, .. }
            | Event::OrderReplaced { account, market, .. }
            | Event::OrderReduced { account, market, .. }
            | Event::OrderCancelled { account, market, .. } => acts.push((account, market)),
            Event::Filled { taker_account, maker_account, market, .. } => {
                acts.extend([(taker_account, market), (maker_account, market)]);
            }
            _ => {}
        }
    }
    acts
}

/// An open order: whose, where, which.
type Open = (AccountId, MarketId, OrderId);

fn open_orders(state: &ModelExchange) -> Vec<Open> {
    state.open_orders().map(|(market, order)| (order.account, market, order.id)).collect()
}

/// What is reached so far.
#[derive(Clone, Debug, Default)]
struct Spread {
    accounts: BTreeSet<AccountId>,
    markets: BTreeSet<MarketId>,
    /// Assets of edited airdrops.
    assets: BTreeSet<AssetId>,
    /// Edited airdrops.
    airdrops: BTreeSet<AirdropId>,
    /// Assets whose velocity counts otherwise, perhaps.
    requested: BTreeSet<AssetId>,
}

impl Spread {
    fn along(parent: &Parent, edits: &Edits) -> BTreeSet<AccountId> {
        let cut = cut_of(edits);
        let mut spread = Self::default();
        let mut state = parent.at(cut);
        for (at, events) in parent.behind(cut) {
            let replaced = edits.replaced.get(&at.sequence);
            let mut acts = if is_refused(events) { Vec::new() } else { acts_of(events) };
            if replaced.is_some() || edits.dropped.contains_key(&at.sequence) {
                spread.edited(parent, &state, &at.command);
                spread.accounts.extend(accounts_of(events));
            }
            if let Some(other) = replaced {
                spread.edited(parent, &state, other);
                acts.extend(acts_instead(parent, &state, other));
                if let Command::RequestWithdrawal { asset, .. } | Command::RequestWithdrawalOfAll { asset, .. } = *other
                    && state.velocities.contains_key(&asset)
                {
                    spread.requested.insert(asset);
                }
            }
            let mut open = open_orders(&state);
            let has_reserves = state.controls & RESERVES != 0;
            let velocities: BTreeSet<_> = state.velocities.keys().copied().collect();
            state.apply(at.sequence, at.time, &at.command);
            open.extend(open_orders(&state));
            loop {
                let before = spread.clone();
                spread.within(at, events, &acts, &open);
                spread.paid(events, has_reserves);
                spread.requests(events, &velocities);
                if spread.accounts == before.accounts
                    && spread.markets == before.markets
                    && spread.requested == before.requested
                {
                    break;
                }
            }
        }
        spread.accounts
    }

    /// A command that is edited, or what replaces it, reaches what it names.
    fn edited(&mut self, parent: &Parent, state: &ModelExchange, command: &Command) {
        let names = Names::of(command);
        let is_empty = matches!(command, Command::Tick {} | Command::AddPlanPart { .. });
        if (names.is_nothing() && !is_empty) || matches!(command, Command::CreateAccount { .. }) {
            self.accounts.extend(parent.at_halt.accounts.keys());
        }
        self.accounts.extend(&names.accounts);
        let owners = names.withdrawals.iter().filter_map(|withdrawal| state.withdrawals.get(withdrawal));
        self.accounts.extend(owners.map(|found| found.account));
        if !is_order(command) {
            self.markets.extend(&names.markets);
        }
        self.assets.extend(names.airdrop_asset);
        for airdrop in names.airdrops {
            self.airdrops.insert(airdrop);
            if let Some(found) = state.airdrops.get(&airdrop) {
                self.assets.insert(found.asset);
                self.accounts.extend(found.lines.iter().map(|(account, _)| *account));
            }
        }
    }

    /// Transfers and markets.
    fn within(&mut self, at: &SequencedCommand, events: &[Event], acts: &[(AccountId, MarketId)], open: &[Open]) {
        if let Command::Transfer { from, to, .. } = at.command
            && !is_refused(events)
            && self.accounts.contains(&from)
        {
            self.accounts.insert(to);
        }
        for (account, market) in acts {
            if self.accounts.contains(account) {
                self.markets.insert(*market);
            }
            if self.markets.contains(market) {
                self.accounts.insert(*account);
            }
        }
        for (account, market, _) in open {
            // Who had an order there when it became reached has been reached since, and so has who placed one later.
            if self.markets.contains(market) {
                self.accounts.insert(*account);
            }
        }
    }

    /// The recipients of an airdrop.
    fn paid(&mut self, events: &[Event], has_reserves: bool) {
        let mut reaches = false;
        for event in events {
            match *event {
                Event::AirdropExecuted { airdrop, asset, .. } => {
                    reaches = has_reserves || self.airdrops.contains(&airdrop) || self.assets.contains(&asset);
                }
                Event::AirdropCredited { account, .. } if reaches => _ = self.accounts.insert(account),
                _ => {}
            }
        }
    }

    /// Requests that count in a velocity.
    fn requests(&mut self, events: &[Event], velocities: &BTreeSet<AssetId>) {
        for event in events {
            if let Event::WithdrawalRequested { account, asset, .. } = *event {
                if self.accounts.contains(&account) && velocities.contains(&asset) {
                    self.requested.insert(asset);
                }
                if self.requested.contains(&asset) {
                    self.accounts.insert(account);
                }
            }
        }
    }
}

/// Where a command that replaces another acts: it happens, or there is no plan.
fn acts_instead(parent: &Parent, state: &ModelExchange, command: &Command) -> Vec<(AccountId, MarketId)> {
    let open = open_orders(state);
    let everywhere = parent.events.iter().flatten().filter_map(|event| match *event {
        Event::OrderAccepted { order, account, market, .. } => Some((account, market, order)),
        _ => None,
    });
    match *command {
        Command::PlaceLimit { account, market, .. }
        | Command::PlaceMarketBuy { account, market, .. }
        | Command::PlaceMarketSell { account, market, .. }
        | Command::ReplaceOrder { account, market, .. } => vec![(account, market)],
        Command::CancelOrder { account, order } | Command::ReduceOrder { account, order, .. } => {
            let named = open.iter().copied().chain(everywhere).filter(|(_, _, id)| *id == order);
            named.map(|(_, market, _)| (account, market)).collect()
        }
        Command::CancelByClientOrderId { account, client_order_id } => {
            let of_name = state.open_orders().filter(|(_, order)| {
                order.account == account && order.client_order_id == client_order_id && client_order_id.0 != 0
            });
            of_name.map(|(market, _)| (account, market)).collect()
        }
        Command::CancelAllOfAccount { account } => {
            open.iter().filter(|(owner, _, _)| *owner == account).map(|(_, market, _)| (account, *market)).collect()
        }
        _ => Vec::new(),
    }
}
