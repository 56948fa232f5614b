//! Recovery written a second time, from `engine/src/recovery/rules.md` alone, on top of the reference model of the exchange: as
//! plainly as possible, with a state for every question and a pass over everything for every answer.

mod bust;
mod compensate;
pub mod lots;
pub mod reach;

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    command::{Command, SequencedCommand},
    event::{CancelReason, Event, RejectReason},
    recovery::{Edits, Strategy},
    types::{AccountId, Amount, AssetId, ExternalId, MarketId, OrderId, Price, Quantity, Sequence, WithdrawalId},
};

use crate::{
    history::Incident,
    model::{EXTERNAL, ModelExchange, Withdrawal, WithdrawalState},
};

/// How often the things happened that the tests are about.
#[derive(Clone, Debug, Default)]
pub struct Coverage(pub BTreeMap<&'static str, u64>);

impl Coverage {
    pub fn saw(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

/// What happened, with its events.
#[derive(Clone, Debug)]
pub struct Parent {
    base: ModelExchange,
    start: Sequence,
    pub halt: Sequence,
    pub commands: Vec<SequencedCommand>,
    /// The events of each command.
    pub events: Vec<Vec<Event>>,
    /// The state at the halt.
    pub at_halt: ModelExchange,
}

/// Why a plan is refused. The rules do not say which of several reasons is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A rewind that does not end before the halt.
    NothingBehind,
    /// An accepted fact is dropped and nobody says why, or another kind of command takes its place.
    Fact,
    /// What replaces a command is not another.
    Unchanged,
    /// What replaces a command is refused.
    Replacement,
    /// A fact that happened cannot happen on the branch.
    FactRefused,
    /// In the end the treasury has less than nothing of an asset.
    Overdrawn(AssetId),
    /// So it has on the way, and liabilities too are negative.
    OverdrawnOnTheWay,
    /// The strategy cannot do it.
    Unsuited,
    /// Nothing was credited.
    NothingCredited,
    /// A payment cannot be made.
    Payment,
}

/// A fill, told apart by where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fill {
    pub sequence: Sequence,
    pub taker: OrderId,
    pub maker: OrderId,
    pub market: MarketId,
    pub price: Price,
    pub quantity: Quantity,
}

/// What a strategy leads to, at the halt.
#[derive(Clone, Debug)]
pub struct Branch {
    pub model: ModelExchange,
    /// The fills behind the cut.
    pub fills: Vec<Fill>,
    pub coverage: Coverage,
    /// Whether anything happened on the branch that no command can bring about.
    pub forced: bool,
    /// What releases fell short of, less what was forgiven when they failed.
    pub short: BTreeMap<(AccountId, AssetId), u128>,
}

pub fn fill_of(sequence: Sequence, event: &Event) -> Option<Fill> {
    match *event {
        Event::Filled { taker, maker, market, price, quantity, .. } => {
            Some(Fill { sequence, taker, maker, market, price, quantity })
        }
        _ => None,
    }
}

pub fn is_refused(events: &[Event]) -> bool {
    matches!(events.last(), Some(Event::Refused { .. }))
}

fn is_fact(command: &Command) -> bool {
    match command {
        Command::SetGlobalStatus { .. }
        | Command::SetMarketStatus { .. }
        | Command::SetAssetWithdrawals { .. }
        | Command::SetMarketFees { .. }
        | Command::AddAsset { .. }
        | Command::AddMarket { .. }
        | Command::CreateAccount { .. }
        | Command::SuspendAccount { .. }
        | Command::ResumeAccount { .. }
        | Command::RegisterOperator { .. }
        | Command::RevokeOperator { .. }
        | Command::Deposit { .. }
        | Command::FundTreasury { .. }
        | Command::ReleaseWithdrawal { .. }
        | Command::ConfirmWithdrawalSent { .. }
        | Command::ConfirmWithdrawalSettled { .. }
        | Command::FailWithdrawal { .. }
        | Command::AttestReserves { .. }
        | Command::SetPayoutVelocity { .. }
        | Command::SetAirdropLimits { .. }
        | Command::SetControls { .. }
        | Command::Tick {}
        | Command::AddPlanPart { .. } => true,
        Command::Transfer { .. }
        | Command::RequestWithdrawal { .. }
        | Command::RequestWithdrawalOfAll { .. }
        | Command::CancelWithdrawal { .. }
        | Command::OpenAirdrop { .. }
        | Command::AddAirdropLine { .. }
        | Command::ApproveAirdrop { .. }
        | Command::ExecuteAirdrop { .. }
        | Command::CancelAirdrop { .. }
        | Command::SetOff { .. }
        | Command::PlaceLimit { .. }
        | Command::PlaceMarketBuy { .. }
        | Command::PlaceMarketSell { .. }
        | Command::CancelOrder { .. }
        | Command::CancelByClientOrderId { .. }
        | Command::ReduceOrder { .. }
        | Command::ReplaceOrder { .. }
        | Command::CancelAllOfAccount { .. }
        | Command::CancelAllOfMarket { .. }
        | Command::StartEpoch { .. } => false,
    }
}

/// What an owner asked for, and no recovery undoes.
fn is_asked_for_closure(command: &Command) -> bool {
    matches!(
        command,
        Command::CancelOrder { .. }
            | Command::CancelByClientOrderId { .. }
            | Command::ReduceOrder { .. }
            | Command::CancelAllOfAccount { .. }
            | Command::CancelAllOfMarket { .. }
            | Command::CancelWithdrawal { .. }
    )
}

impl Parent {
    /// Runs an incident on the model.
    pub fn run(base: &ModelExchange, incident: &Incident) -> Self {
        let mut parent = Self {
            base: base.clone(),
            start: incident.start,
            halt: incident.halt,
            commands: incident.commands.clone(),
            events: Vec::new(),
            at_halt: base.clone(),
        };
        let mut model = base.clone();
        for command in &parent.commands {
            parent.events.push(model.apply(command.sequence, command.time, &command.command));
            if command.sequence == parent.halt {
                parent.at_halt = model.clone();
            }
        }
        parent
    }

    /// Whether it began with a new exchange.
    pub const fn is_first(&self) -> bool {
        self.start.0 == 0
    }

    /// The state after the command at `cut`.
    pub fn at(&self, cut: Sequence) -> ModelExchange {
        let mut model = self.base.clone();
        for command in self.commands.iter().take_while(|command| command.sequence <= cut) {
            model.apply(command.sequence, command.time, &command.command);
        }
        model
    }

    /// The commands behind `cut` and through the halt, with their events.
    pub fn behind(&self, cut: Sequence) -> impl Iterator<Item = (&SequencedCommand, &[Event])> {
        let all = self.commands.iter().zip(self.events.iter().map(Vec::as_slice));
        all.filter(move |(command, _)| command.sequence > cut && command.sequence <= self.halt)
    }

    pub fn fills_behind(&self, cut: Sequence) -> Vec<Fill> {
        let of_command = |(command, events): (&SequencedCommand, &[Event])| {
            let sequence = command.sequence;
            events.iter().filter_map(|event| fill_of(sequence, event)).collect::<Vec<_>>()
        };
        self.behind(cut).flat_map(of_command).collect()
    }

    /// The branch at the halt; an error when the plan is refused.
    pub fn evaluate(&self, strategy: &Strategy) -> Result<Branch, Refusal> {
        match strategy {
            Strategy::Rewind { cut } if *cut >= self.halt => Err(Refusal::NothingBehind),
            Strategy::Rewind { cut } => self.replay(*cut, None),
            Strategy::Excise(edits) => self.replay(cut_of(edits), Some(edits)),
            Strategy::Bust(edits) => bust::bust(self, edits),
            Strategy::Compensate { edits, payments } => compensate::compensate(self, edits, payments),
        }
    }

    /// What came after the halt.
    pub fn later(&self) -> impl Iterator<Item = &SequencedCommand> {
        self.commands.iter().filter(|at| at.sequence > self.halt)
    }

    /// What came after the halt, on a branch.
    pub fn advance(&self, model: &mut ModelExchange) -> Result<(), Refusal> {
        for (command, events) in self.commands.iter().zip(&self.events) {
            if command.sequence > self.halt {
                let happens = !is_refused(events) && is_fact(&command.command);
                let command_now = if happens { command.command } else { Command::Tick {} };
                let now = model.apply(command.sequence, command.time, &command_now);
                if is_refused(&now) {
                    return Err(Refusal::FactRefused);
                }
            }
        }
        Ok(())
    }

    /// Excise, and rewind when there are no edits.
    fn replay(&self, cut: Sequence, edits: Option<&Edits>) -> Result<Branch, Refusal> {
        let mut branch = Branch::new(self.at(cut));
        for (command, parent) in self.behind(cut) {
            if let Some(edits) = edits {
                may_be_dropped(edits, command, parent)?;
                may_be_replaced(edits, command, parent)?;
            }
        }
        for (command, parent) in self.behind(cut) {
            let sequence = command.sequence;
            let (dropped, replaced) = edits_of(edits, sequence);
            let mut events = branch.pass(command);
            if dropped {
                branch.coverage.saw("dropped");
            } else if let Some(other) = replaced {
                events.extend(branch.model.apply(sequence, command.time, &other));
                if is_refused(&events) {
                    return Err(Refusal::Replacement);
                }
                branch.coverage.saw("replaced");
            } else {
                events.extend(branch.step(command, parent, edits.is_none())?);
                branch.repeat_closures(command, parent);
            }
            branch.fills.extend(events.iter().filter_map(|event| fill_of(sequence, event)));
        }
        Ok(branch)
    }
}

fn edits_of(edits: Option<&Edits>, sequence: Sequence) -> (bool, Option<Command>) {
    let Some(edits) = edits else { return (false, None) };
    (edits.dropped.contains_key(&sequence), edits.replaced.get(&sequence).copied())
}

/// A fact that was accepted is dropped with a reason alone.
fn may_be_dropped(edits: &Edits, at: &SequencedCommand, events: &[Event]) -> Result<(), Refusal> {
    let has_no_reason = edits.dropped.get(&at.sequence) == Some(&None);
    if has_no_reason && is_fact(&at.command) && !is_refused(events) { Err(Refusal::Fact) } else { Ok(()) }
}

/// What replaces a command is another, and of a fact that was accepted one of its kind.
fn may_be_replaced(edits: &Edits, at: &SequencedCommand, events: &[Event]) -> Result<(), Refusal> {
    let Some(other) = edits.replaced.get(&at.sequence) else { return Ok(()) };
    if *other == at.command {
        return Err(Refusal::Unchanged);
    }
    let was_fact = is_fact(&at.command) && !is_refused(events);
    if was_fact && other.kind() != at.command.kind() { Err(Refusal::Fact) } else { Ok(()) }
}

/// The sequence before the first edit.
pub fn cut_of(edits: &Edits) -> Sequence {
    let sequences: BTreeSet<_> = edits.dropped.keys().chain(edits.replaced.keys()).collect();
    Sequence(sequences.first().expect("something is edited").0 - 1)
}

/// Whether nothing is left of a command: it was refused, or its order found nothing.
pub fn is_void(sequence: Sequence, events: &[Event]) -> bool {
    is_refused(events) || found_nothing(sequence, events)
}

/// Whether the events are of an order that found nothing: accepted, never filled, and gone.
fn found_nothing(sequence: Sequence, events: &[Event]) -> bool {
    let own = OrderId(sequence.0);
    let accepted = events.iter().any(|event| matches!(*event, Event::OrderAccepted { order, .. } if order == own));
    let filled = events.iter().any(|event| matches!(event, Event::Filled { .. }));
    let gone = events.iter().any(|event| matches!(*event, Event::OrderCancelled { order, .. } if order == own));
    accepted && !filled && gone
}

impl Branch {
    fn new(model: ModelExchange) -> Self {
        Self { model, fills: Vec::new(), coverage: Coverage::default(), forced: false, short: BTreeMap::new() }
    }

    /// Lets time pass, and nothing else.
    fn pass(&mut self, at: &SequencedCommand) -> Vec<Event> {
        let events = self.model.apply(at.sequence, at.time, &Command::Tick {});
        if events.len() > 1 {
            self.coverage.saw("lock ended on the branch");
        }
        events
    }

    /// A sequence that is not edited.
    fn step(&mut self, at: &SequencedCommand, parent: &[Event], rewind: bool) -> Result<Vec<Event>, Refusal> {
        let Some(&last) = parent.last() else { unreachable!("every command has events") };
        if let Event::Refused { reason, .. } = last {
            let is_cancel = matches!(at.command, Command::CancelOrder { .. } | Command::CancelByClientOrderId { .. });
            if is_cancel && reason == RejectReason::OrderNotFound {
                let events = self.apply(at, &at.command);
                if !is_refused(&events) {
                    self.coverage.saw("a refused cancel applied");
                    self.forced = true;
                }
                return Ok(events);
            }
            return Ok(Vec::new());
        }
        if is_fact(&at.command) {
            return self.fact(at);
        }
        if found_nothing(at.sequence, parent) {
            self.coverage.saw("found nothing");
            return Ok(Vec::new());
        }
        if !rewind {
            return Ok(self.apply(at, &at.command));
        }
        if is_asked_for_closure(&at.command) {
            return Ok(self.apply(at, &at.command));
        }
        let Command::ReplaceOrder { account, order, quantity, .. } = at.command else { return Ok(Vec::new()) };
        if matches!(last, Event::OrderReduced { .. }) {
            return Ok(self.apply(at, &Command::ReduceOrder { account, order, quantity }));
        }
        if self.cancel(order) {
            self.coverage.saw("a repricing cancels in rewind");
        }
        Ok(Vec::new())
    }

    fn apply(&mut self, at: &SequencedCommand, command: &Command) -> Vec<Event> {
        let events = self.model.apply(at.sequence, at.time, command);
        if let Some(Event::Refused { reason, .. }) = events.last() {
            self.coverage.saw(match reason {
                RejectReason::InsufficientAvailable => "refused on the branch: insufficient_available",
                RejectReason::AccountOwes => "refused on the branch: account_owes",
                RejectReason::OrderNotFound => "refused on the branch: order_not_found",
                RejectReason::WouldTrade => "refused on the branch: would_trade",
                RejectReason::NotFillable => "refused on the branch: not_fillable",
                RejectReason::UnknownWithdrawal => "refused on the branch: unknown_withdrawal",
                RejectReason::DuplicateClientOrderId => "refused on the branch: duplicate_client_order_id",
                _ => "refused on the branch: else",
            });
        }
        events
    }

    /// What was accepted in the parent, and happens on every branch.
    fn fact(&mut self, at: &SequencedCommand) -> Result<Vec<Event>, Refusal> {
        if let Command::ReleaseWithdrawal { withdrawal, account, asset, amount } = at.command {
            self.forced |= is_refused(&self.model.clone().apply(at.sequence, at.time, &at.command));
            self.release(withdrawal, account, asset, amount)?;
            return Ok(Vec::new());
        }
        if let Command::FailWithdrawal { withdrawal } = at.command
            && let Some(found) = self.model.withdrawals.get(&withdrawal).filter(|found| found.shortfall > 0)
        {
            self.coverage.saw("a shortfall is forgiven");
            let short = self.short.entry((found.account, found.asset)).or_default();
            *short = short.saturating_sub(found.shortfall);
        }
        let events = self.model.apply(at.sequence, at.time, &at.command);
        if is_refused(&events) { Err(Refusal::FactRefused) } else { Ok(events) }
    }

    /// A release that happens, whatever there is to pay it.
    fn release(
        &mut self,
        withdrawal: WithdrawalId,
        account: AccountId,
        asset: AssetId,
        amount: Amount,
    ) -> Result<(), Refusal> {
        let whole = u128::from(amount.0);
        let mut due = whole;
        if !self.model.accounts.contains_key(&account) || !self.model.assets.contains_key(&asset) {
            return Err(Refusal::FactRefused);
        }
        let there = self.model.withdrawals.get(&withdrawal).cloned();
        let mut own = None;
        if let Some(there) = there {
            match there.state {
                WithdrawalState::Cancelled => {}
                WithdrawalState::Requested if (there.account, there.asset) == (account, asset) => own = Some(there),
                WithdrawalState::Requested => {
                    self.coverage.saw("a release in the place of another's request");
                    self.model.release(there.account, there.asset, there.amount);
                }
                _ => return Err(Refusal::FactRefused),
            }
        }
        self.coverage.saw("a release is forced");
        let as_it_was = own.as_ref().is_some_and(|found| found.amount == whole);
        self.forced |= !as_it_was;
        if let Some(own) = own {
            let pays = own.amount.min(due);
            due -= pays;
            let balance = self.model.balance_mut(account, asset);
            balance.held -= own.amount;
            balance.available += own.amount - pays;
            if own.amount > whole {
                self.coverage.saw("a hold beyond what is released");
            }
        } else {
            self.coverage.saw("a release without its request");
        }
        let balance = self.model.balance_mut(account, asset);
        let pays = balance.available.min(due);
        balance.available -= pays;
        due -= pays;
        *self.model.system(EXTERNAL, asset) += i128::try_from(whole - due).expect("it fits");
        if due > 0 {
            self.model.make_owe(account, asset, due);
            *self.short.entry((account, asset)).or_default() += due;
            self.coverage.saw("a release falls short");
        }
        let state = WithdrawalState::Released;
        let external_id = ExternalId([0; 16]);
        let released = Withdrawal { account, asset, amount: whole, state, external_id, shortfall: due };
        self.model.withdrawals.insert(withdrawal, released);
        Ok(())
    }

    /// Cancels an order, if it is open.
    fn cancel(&mut self, order: OrderId) -> bool {
        let market = self.model.open_orders().find(|(_, open)| open.id == order).map(|(market, _)| market);
        let Some(market) = market else { return false };
        let order = self.model.take_order(market, order);
        self.model.close(market, &order, CancelReason::Recovery);
        self.model.take_events();
        self.forced = true;
        true
    }

    /// What was closed in the parent, other than by a fill, is closed on the branch.
    fn repeat_closures(&mut self, at: &SequencedCommand, parent: &[Event]) {
        for event in parent {
            if let Event::OrderCancelled { order, .. } = *event
                && self.cancel(order)
            {
                self.coverage.saw("a closure is repeated");
                if is_fact(&at.command) {
                    self.coverage.saw("a closure of an uncrossing is repeated");
                }
            }
        }
    }
}
