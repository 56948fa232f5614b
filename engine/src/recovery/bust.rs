//! Bust: what happened stands, as far as it can be paid without the edits.

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
    types::{MarketId, MarketSpec, Sequence},
};

/// Computes the branch. The pass goes over the parent's events while the parent is applied.
pub(super) fn evaluate(
    mut exchange: Exchange,
    commands: Commands,
    cut: Sequence,
    halt: Sequence,
    edits: &Edits,
    mut watched: Option<&mut Watched>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Branch, BranchError> {
    let mut busting = Busting::begin(&exchange);
    if let Some(watched) = &mut watched {
        watched.begin(|account| busting.possessions(account));
    }
    let mut busted = Vec::new();
    let mut specs = Specs::of(&exchange);
    let mut events = Vec::new();
    let count = each_through(commands, cut, halt, |command| {
        events.clear();
        exchange.apply(command.sequence, command.time, &command.command, &mut events);
        busting.pass(command.sequence, command.time);
        let done = (command.sequence.0 - cut.0).is_multiple_of(1 << 12) || command.sequence == halt;
        if done {
            progress(command.sequence.0 - cut.0);
        }
        let is_refused = matches!(events[..], [.., Event::Refused { .. }]);
        if let Some(reason) = edits.dropped.get(&command.sequence) {
            check_drop(command, is_refused, reason.is_some())?;
            learn(&mut specs, &events);
            drop_events(command, &events, &specs, &mut busting, &mut busted);
        } else if let Some(other) = edits.replaced.get(&command.sequence) {
            replace(command, other, &mut busting)?;
        } else if !is_refused {
            learn(&mut specs, &events);
            repeat(command, &events, &specs, &mut busting, &mut busted)?;
        }
        if let Some(watched) = &mut watched {
            watched.look(command.sequence, |account| busting.possessions(account));
        }
        Ok(())
    })?;
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

fn learn(specs: &mut Specs, events: &[Event]) {
    // A lock that ends at the same sequence is told ahead of it.
    if let [.., Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate }] = *events {
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
    events: &[Event],
    specs: &Specs,
    busting: &mut Busting,
    busted: &mut Vec<BustedFill>,
) {
    for (index, event) in (0..).zip(events) {
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
    events: &[Event],
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
    for (index, event) in (0..).zip(events) {
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
