//! Bust: what happened stands, as far as it can be paid without the edits.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use super::{
    branch::{Branch, BranchError, BustedFill, each_through, fill_of},
    edits::{Edits, is_fact},
    effects::Watched,
    history::Commands,
};
use crate::{
    command::{Command, SequencedCommand},
    event::Event,
    exchange::{Busting, Exchange, KeptFill},
    journal::{Giver, Taker, handover},
    types::{MarketId, MarketSpec, Sequence},
};

/// What is handed from the parent to the pass at once.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    events: Vec<Numbered>,
}

/// A command, and up to where in the batch its events go.
struct Item {
    command: SequencedCommand,
    is_refused: bool,
    events_end: usize,
}

/// An event, and its number among those of its command.
type Numbered = (u32, Event);

const BATCHES_WAITING: usize = 8;
const BATCH_ITEMS: usize = 2_048;

/// Computes the branch: one thread applies the parent, another goes over what matters of its events.
pub(super) fn evaluate(
    exchange: Exchange,
    commands: Commands,
    cut: Sequence,
    halt: Sequence,
    edits: &Edits,
    mut watched: Option<&mut Watched>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Branch, BranchError> {
    let busting = Busting::begin(&exchange);
    let specs = Specs::of(&exchange);
    if let Some(watched) = &mut watched {
        watched.begin(|account| busting.possessions(account));
    }
    // Who watches wants to know at which command a lock ended.
    let every = watched.is_some();
    let pass = Pass { busting, specs, busted: Vec::new(), edits, watched };
    let (mut giver, mut batches) = handover(BATCHES_WAITING);
    let (empty_sender, empties) = sync_channel(BATCHES_WAITING + 2);
    thread::scope(|scope| {
        let passing = scope.spawn(move || pass.over(&mut batches, &empty_sender));
        let parent = lead(exchange, commands, cut, halt, edits, every, progress, &mut giver, &empties);
        drop(giver);
        let passed = passing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What the pass came upon is the reason why the parent could not go on.
        let Pass { busting, busted, .. } = passed?;
        let (exchange, count) = parent?;
        let (branch, unfunded) = busting.finish(&exchange);
        Ok(Branch {
            parent: exchange,
            exchange: branch,
            cut,
            busted,
            new_fills: Vec::new(),
            refused: std::collections::BTreeMap::new(),
            unfunded,
            commands: count,
        })
    })
}

/// Applies the parent, and hands on what matters to the pass: orders that came to no fill do not.
#[allow(clippy::too_many_arguments, reason = "both ends of what joins it to the pass")]
fn lead(
    mut exchange: Exchange,
    commands: Commands,
    cut: Sequence,
    halt: Sequence,
    edits: &Edits,
    every: bool,
    progress: &(dyn Fn(u64) + Sync),
    giver: &mut Giver<Batch>,
    empties: &Receiver<Batch>,
) -> Result<(Exchange, u64), BranchError> {
    let mut events = Vec::new();
    let mut batch = Batch::default();
    let count = each_through(commands, cut, halt, |command| {
        events.clear();
        exchange.apply(command.sequence, command.time, &command.command, &mut events);
        let is_edited = edits.dropped.contains_key(&command.sequence) || edits.replaced.contains_key(&command.sequence);
        let matters = |event: &Event| matters(event) || is_edited;
        let before = batch.events.len();
        batch
            .events
            .extend((0..).zip(&events).filter(|(_, event)| matters(event)).map(|(index, event)| (index, *event)));
        let events_end = batch.events.len();
        let is_last = command.sequence == halt;
        if events_end > before || every || is_edited || is_last || !is_about_orders(&command.command) {
            let is_refused = matches!(events[..], [.., Event::Refused { .. }]);
            batch.items.push(Item { command: *command, is_refused, events_end });
        }
        if (command.sequence.0 - cut.0).is_multiple_of(1 << 12) || is_last {
            progress(command.sequence.0 - cut.0);
        }
        if batch.items.len() >= BATCH_ITEMS || is_last {
            let next = empties.try_recv().unwrap_or_default();
            let sent = giver.give(std::mem::replace(&mut batch, next));
            sent.map_err(|_| BranchError::Invariant("it ended before the parent did".to_owned()))?;
        }
        Ok(())
    })?;
    Ok((exchange, count))
}

/// Whether the pass looks at an event of a command that is not edited.
const fn matters(event: &Event) -> bool {
    matches!(
        event,
        Event::Filled { .. }
            | Event::OrderReplaced { .. }
            | Event::Transferred { .. }
            | Event::WithdrawalRequested { .. }
            | Event::SetOffDone { .. }
            | Event::MarketAdded { .. }
    )
}

/// Whether all that a command does to balances is told by its fills.
const fn is_about_orders(command: &Command) -> bool {
    matches!(
        command,
        Command::PlaceLimit { .. }
            | Command::PlaceMarketBuy { .. }
            | Command::PlaceMarketSell { .. }
            | Command::CancelOrder { .. }
            | Command::CancelByClientOrderId { .. }
            | Command::ReduceOrder { .. }
            | Command::ReplaceOrder { .. }
            | Command::CancelAllOfAccount { .. }
            | Command::CancelAllOfMarket { .. }
    )
}

/// The pass over what happened.
struct Pass<'a> {
    busting: Busting,
    specs: Specs,
    busted: Vec<BustedFill>,
    edits: &'a Edits,
    watched: Option<&'a mut Watched>,
}

impl Pass<'_> {
    fn over(mut self, batches: &mut Taker<Batch>, empties: &SyncSender<Batch>) -> Result<Self, BranchError> {
        while let Some(mut batch) = batches.take() {
            let mut begin = 0;
            for Item { command, is_refused, events_end } in &batch.items {
                self.step(command, *is_refused, &batch.events[begin..*events_end])?;
                begin = *events_end;
            }
            batch.items.clear();
            batch.events.clear();
            // When nobody takes it back, it is freed.
            drop(empties.try_send(batch));
        }
        Ok(self)
    }

    fn step(&mut self, command: &SequencedCommand, is_refused: bool, events: &[Numbered]) -> Result<(), BranchError> {
        let Self { busting, specs, busted, edits, watched } = self;
        busting.pass(command.sequence, command.time);
        if let Some(reason) = edits.dropped.get(&command.sequence) {
            check_drop(command, is_refused, reason.is_some())?;
            learn(specs, events);
            drop_events(command, events, specs, busting, busted);
        } else if let Some(other) = edits.replaced.get(&command.sequence) {
            replace(command, other, busting)?;
        } else if !is_refused {
            learn(specs, events);
            repeat(command, events, specs, busting, busted)?;
        }
        if let Some(asset) = busting.lost() {
            return Err(BranchError::Overdrawn { sequence: command.sequence, asset });
        }
        if let Some(watched) = watched {
            watched.look(command.sequence, |account| busting.possessions(account));
        }
        Ok(())
    }
}

/// The markets' specifications, by number.
struct Specs(Vec<Option<MarketSpec>>);

impl Specs {
    fn of(exchange: &Exchange) -> Self {
        let mut specs = Self(Vec::new());
        exchange.markets().for_each(|market| specs.put(market.spec));
        specs
    }

    fn put(&mut self, spec: MarketSpec) {
        let index = usize::from(spec.market.0);
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(spec);
    }

    fn get(&self, market: MarketId) -> &MarketSpec {
        self.0[usize::from(market.0)].as_ref().expect("a fill happens on a market that was added")
    }
}

fn learn(specs: &mut Specs, events: &[Numbered]) {
    // A lock that ends at the same sequence is told ahead of it.
    if let [.., (_, Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate })] = *events
    {
        specs.put(MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
    }
}

fn check_drop(command: &SequencedCommand, is_refused: bool, has_reason: bool) -> Result<(), BranchError> {
    let (sequence, kind) = (command.sequence, command.command.kind_name());
    if is_refused {
        return Ok(());
    }
    if is_fact(&command.command) && !has_reason {
        return Err(BranchError::Fact { sequence, kind });
    }
    match command.command {
        Command::CancelOrder { .. }
        | Command::CancelByClientOrderId { .. }
        | Command::ReduceOrder { .. }
        | Command::ReplaceOrder { .. }
        | Command::CancelAllOfAccount { .. }
        | Command::CancelAllOfMarket { .. } => Err(BranchError::Unsuited {
            strategy: "bust",
            sequence,
            kind,
            why: "it puts nothing back on the book; take excise",
        }),
        Command::AddAsset { .. } | Command::AddMarket { .. } | Command::CreateAccount { .. } => {
            Err(BranchError::Unsuited {
                strategy: "bust",
                sequence,
                kind,
                why: "what happened later needs it; take excise",
            })
        }
        _ => Ok(()),
    }
}

/// A fill as it was.
fn kept_fill(event: &Event, specs: &Specs) -> Option<KeptFill> {
    let Event::Filled {
        taker,
        maker,
        taker_account,
        maker_account,
        market,
        taker_side,
        price,
        quantity,
        taker_fee,
        maker_fee,
        ..
    } = *event
    else {
        return None;
    };
    let spec = specs.get(market);
    Some(KeptFill {
        market,
        taker: (taker, taker_account),
        maker: (maker, maker_account),
        taker_side,
        notional: spec.notional(price, quantity).expect("a fill's notional fits"),
        base_amount: spec.base_amount(quantity).expect("a fill's quantity fits"),
        taker_fee,
        maker_fee,
    })
}

/// What the events of a dropped command did does not happen.
fn drop_events(
    command: &SequencedCommand,
    events: &[Numbered],
    specs: &Specs,
    busting: &mut Busting,
    busted: &mut Vec<BustedFill>,
) {
    for &(index, ref event) in events {
        if let Event::OrderAccepted { order, .. } = *event {
            busting.drop_order(order);
        } else if let Some(fill) = kept_fill(event, specs) {
            busting.void(&fill);
            busted.extend(fill_of(event, command.sequence, command.time, index));
        }
    }
}

fn replace(command: &SequencedCommand, other: &Command, busting: &mut Busting) -> Result<(), BranchError> {
    let (sequence, kind) = (command.sequence, command.command.kind_name());
    if *other == command.command {
        return Err(BranchError::Unchanged { sequence });
    }
    let suited = matches!(
        other,
        Command::OpenAirdrop { .. }
            | Command::AddAirdropLine { .. }
            | Command::ApproveAirdrop { .. }
            | Command::ExecuteAirdrop { .. }
            | Command::CancelAirdrop { .. }
            | Command::Transfer { .. }
            | Command::Deposit { .. }
            | Command::RequestWithdrawal { .. }
            | Command::RequestWithdrawalOfAll { .. }
    );
    if !suited || other.kind() != command.command.kind() {
        let why = "only airdrops, transfers, deposits and requests of withdrawals can be replaced, by one of their kind; take excise";
        return Err(BranchError::Unsuited { strategy: "bust", sequence, kind, why });
    }
    busting.apply(sequence, command.time, other).map_err(|reason| BranchError::ReplacementRefused { sequence, reason })
}

/// Lets happen what happened, as far as it can be paid.
fn repeat(
    command: &SequencedCommand,
    events: &[Numbered],
    specs: &Specs,
    busting: &mut Busting,
    busted: &mut Vec<BustedFill>,
) -> Result<(), BranchError> {
    let SequencedCommand { sequence, time, .. } = *command;
    let kind = command.command.kind_name();
    let refused = |reason| BranchError::FactRefused { sequence, kind, reason };
    match command.command {
        Command::ReleaseWithdrawal { withdrawal, account, asset, amount } => {
            return busting.force_release(withdrawal, account, asset, amount).map_err(refused);
        }
        Command::ExecuteAirdrop { airdrop, .. } => {
            let paid = busting.pay_airdrop(airdrop, sequence, time);
            return paid.map_err(|reason| BranchError::PayoutRefused { airdrop, sequence, reason });
        }
        Command::OpenAirdrop { .. }
        | Command::AddAirdropLine { .. }
        | Command::ApproveAirdrop { .. }
        | Command::CancelAirdrop { .. } => {
            // Without its manifest, or with another, it may be refused, and then it is.
            let _ = busting.apply(sequence, time, &command.command);
            return Ok(());
        }
        Command::CancelWithdrawal { account, withdrawal } => {
            busting.cancel_request(withdrawal, account);
            return Ok(());
        }
        _ if is_fact(&command.command) => busting.apply(sequence, time, &command.command).map_err(refused)?,
        _ => {}
    }
    for &(index, ref event) in events {
        match *event {
            Event::Transferred { from, to, asset, amount } => {
                busting.transfer(from, to, asset, amount);
            }
            Event::WithdrawalRequested { account, asset, amount, .. } => {
                busting.request(sequence, time, account, asset, amount);
            }
            Event::SetOffDone { account, asset, amount, .. } => busting.set_off(account, asset, amount),
            Event::OrderReplaced { order, .. } => busting.renewed(order),
            Event::Filled { .. } => {
                if let Some(fill) = kept_fill(event, specs)
                    && !busting.fill(&fill)
                {
                    busted.extend(fill_of(event, sequence, time, index));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
