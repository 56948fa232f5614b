//! A branch: what a strategy makes of the past, computed aside.
//!
//! The parent and the branch run in lock step: one thread applies what happened and says of each command what becomes of
//! it, another applies that. So a branch costs about one replay, whatever its length, and a few batches of memory.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use super::{
    bust, compensate,
    edits::{Edits, Strategy, is_fact},
    effects::Watched,
    history::{Commands, History},
    timeline::TimelineError,
};
use crate::{
    command::{Command, SequencedCommand},
    event::{Event, EventSink, NoEvents, RejectReason},
    exchange::Exchange,
    journal::{CommandBatch, Giver, Taker, handover},
    types::{AccountId, AirdropId, AssetId, MarketId, OrderId, Price, Quantity, Sequence, Timestamp},
};

/// A fill, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BustedFill {
    /// The sequence of the command that caused it.
    pub sequence: Sequence,
    /// Its position among that command's events.
    pub index: u32,
    /// When.
    pub time: Timestamp,
    /// The taker.
    pub taker: OrderId,
    /// The maker.
    pub maker: OrderId,
    /// Whose the taker is.
    pub taker_account: AccountId,
    /// Whose the maker is.
    pub maker_account: AccountId,
    /// Where.
    pub market: MarketId,
    /// The price.
    pub price: Price,
    /// How much.
    pub quantity: Quantity,
}

impl BustedFill {
    const fn outcome(&self) -> (OrderId, OrderId, Price, Quantity) {
        (self.taker, self.maker, self.price, self.quantity)
    }
}

/// What a strategy leads to.
#[derive(Clone, Debug)]
pub struct Branch {
    /// What happened, after the halt.
    pub parent: Exchange,
    /// The branch, after the halt.
    pub exchange: Exchange,
    /// The last sequence before anything changes.
    pub cut: Sequence,
    /// The fills of the parent that are void.
    pub busted: Vec<BustedFill>,
    /// The fills of the branch that did not happen.
    pub new_fills: Vec<BustedFill>,
    /// Commands that were accepted in the parent and are refused on the branch, by reason.
    pub refused: BTreeMap<RejectReason, u64>,
    /// Orders of the parent that are not held again, since they could not be funded.
    pub unfunded: Vec<OrderId>,
    /// How many commands lie between the cut and the halt.
    pub commands: u64,
}

/// Why there is no branch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BranchError {
    /// The past cannot be read, or ends too early.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// Nothing is to be changed.
    #[error("no command is dropped and none replaced: name at least one")]
    NoEdits,
    /// One sequence has two edits.
    #[error("sequence {sequence} is both dropped and replaced: decide for one")]
    EditedTwice {
        /// Which.
        sequence: Sequence,
    },
    /// A sequence is not between the first command and the halt.
    #[error("sequence {sequence} is not between 1 and the halt at {halt}")]
    OutsideHistory {
        /// Which.
        sequence: Sequence,
        /// The halt.
        halt: Sequence,
    },
    /// The cut is not before the halt.
    #[error("the cut at {cut} is not before the halt at {halt}: nothing would be undone")]
    CutNotBeforeHalt {
        /// The cut.
        cut: Sequence,
        /// The halt.
        halt: Sequence,
    },
    /// What would be changed lies in an earlier epoch.
    #[error(
        "sequence {sequence} belongs to an earlier epoch, which ended at {start}: a recovery changes the epoch that is now"
    )]
    EarlierEpoch {
        /// The first sequence that would be changed.
        sequence: Sequence,
        /// Where the epoch that is now begins.
        start: Sequence,
    },
    /// A fact would be dropped without a reason.
    #[error("sequence {sequence} is a {kind}, which states a fact: to drop it, say that it is none, and why")]
    Fact {
        /// Which.
        sequence: Sequence,
        /// The kind of command.
        kind: &'static str,
    },
    /// A reason would not show as what it is to those who sign it.
    #[error(
        "the reason why sequence {sequence} is no fact is empty, or has letters that cannot be seen: give one line of text"
    )]
    UnreadableReason {
        /// Which.
        sequence: Sequence,
    },
    /// A command would be replaced by itself.
    #[error("sequence {sequence} is replaced by the same command")]
    Unchanged {
        /// Which.
        sequence: Sequence,
    },
    /// A replacement is refused on the branch.
    #[error("the command that replaces sequence {sequence} is refused on the branch: {reason}")]
    ReplacementRefused {
        /// Which.
        sequence: Sequence,
        /// Why.
        reason: RejectReason,
    },
    /// A fact that happened cannot be repeated on the branch.
    #[error("sequence {sequence} is a {kind}, a fact, and is refused on the branch: {reason}")]
    FactRefused {
        /// Which.
        sequence: Sequence,
        /// The kind of command.
        kind: &'static str,
        /// Why.
        reason: RejectReason,
    },
    /// An airdrop that happened cannot be paid on the branch.
    #[error("{airdrop}, paid at {sequence}, cannot be paid on the branch: {reason}")]
    PayoutRefused {
        /// Which.
        airdrop: AirdropId,
        /// Where it was paid.
        sequence: Sequence,
        /// Why.
        reason: RejectReason,
    },
    /// On the way there would be less than nothing.
    #[error(
        "behind sequence {sequence} the treasury would have paid what it does not have of asset {}, and all accounts together would have less than nothing of it: drop or replace the payout too, or take excise or compensate",
        asset.0
    )]
    Overdrawn {
        /// Where it shows.
        sequence: Sequence,
        /// Of what.
        asset: AssetId,
    },
    /// The strategy cannot do this.
    #[error("{strategy} cannot change sequence {sequence}, a {kind}: {why}")]
    Unsuited {
        /// The strategy.
        strategy: &'static str,
        /// Which.
        sequence: Sequence,
        /// The kind of command.
        kind: &'static str,
        /// What speaks against it, and what to do instead.
        why: &'static str,
    },
    /// There is no such airdrop.
    #[error("there is no {airdrop}")]
    UnknownAirdrop {
        /// Which.
        airdrop: AirdropId,
    },
    /// The airdrop credited nobody.
    #[error("{airdrop} has not been paid: there is nothing to take back")]
    AirdropNotPaid {
        /// Which.
        airdrop: AirdropId,
    },
    /// A manifest has more lines than the one it replaces.
    #[error(
        "the new manifest of {airdrop} has {given} lines and the journaled one {journaled}: give at least 1 and not more, or drop the airdrop and run another when the exchange is open again"
    )]
    TooManyLines {
        /// Which.
        airdrop: AirdropId,
        /// How many were given.
        given: usize,
        /// How many there are in the journal.
        journaled: usize,
    },
    /// Nothing was credited by what is dropped.
    #[error("the dropped sequences credited nobody: there is nothing to compensate")]
    NothingCredited,
    /// A payment cannot be made.
    #[error(
        "payment {number} of {amount} minor units of {asset} to {account} is not possible: the treasury does not cover it, or there is no such account or asset"
    )]
    Payment {
        /// Its number, from 1.
        number: usize,
        /// To whom.
        account: AccountId,
        /// What.
        asset: AssetId,
        /// How much.
        amount: u64,
    },
    /// The branch would be a state that cannot be.
    #[error("the branch breaks an invariant: {0}")]
    Invariant(String),
}

/// What becomes of a command on the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is applied.
    Apply,
    /// It is applied, and must be accepted: a fact.
    MustApply,
    /// Another takes its place, which must be accepted.
    Replace,
    /// Only time passes.
    Tombstone,
    /// Only time passes, and what the command closed is not closed.
    Drop,
    /// A release, forced.
    Force,
    /// The order that it would have repriced is cancelled.
    Cancel,
}

/// What is handed from the parent to the branch at once.
#[derive(Default)]
struct Batch {
    /// As they were read.
    commands: CommandBatch,
    /// One for each command; none for those behind the halt.
    verdicts: Vec<Verdict>,
    /// Commands that are others on the branch, with their numbers.
    instead: Vec<(u32, Command)>,
    /// Orders that were closed otherwise than by a fill, with the command's number.
    closures: Vec<(u32, OrderId)>,
    /// The parent's fills.
    fills: Vec<BustedFill>,
}

const BATCHES_WAITING: usize = 16;

/// Computes the branch that `strategy` leads to, for the halt at `halt`. `progress` is told how many commands were applied.
///
/// # Errors
/// [`BranchError`] when the strategy makes no sense for this past.
pub fn evaluate(
    history: &dyn History,
    halt: Sequence,
    strategy: &Strategy,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Branch, BranchError> {
    evaluate_watching(history, halt, strategy, None, progress)
}

/// As [`evaluate`], while an account is watched on the branch.
pub(super) fn evaluate_watching(
    history: &dyn History,
    halt: Sequence,
    strategy: &Strategy,
    watched: Option<&mut Watched>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Branch, BranchError> {
    let cut = strategy.cut();
    if let Some(edits) = strategy.edits() {
        edits.check(halt, strategy.name())?;
    } else if cut >= halt {
        return Err(BranchError::CutNotBeforeHalt { cut, halt });
    }
    // Both at once: that what would be changed is too old is seldom, and then the past was read in vain.
    let (start, behind) = thread::scope(|scope| {
        let start = scope.spawn(|| history.epoch_start());
        let behind = history.behind(cut);
        (start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), behind)
    });
    let start = start?;
    if cut < start {
        return Err(BranchError::EarlierEpoch { sequence: cut.next(), start });
    }
    let (exchange, commands) = behind?;
    let branch = match strategy {
        Strategy::Rewind { .. } => in_lock_step(exchange, commands, cut, halt, None, watched, progress)?,
        Strategy::Excise(edits) => in_lock_step(exchange, commands, cut, halt, Some(edits), watched, progress)?,
        Strategy::Bust(edits) => bust::evaluate(exchange, commands, cut, halt, edits, watched, progress)?,
        Strategy::Compensate { edits, payments } => {
            compensate::evaluate(exchange, commands, cut, halt, edits, payments, progress)?
        }
    };
    check_invariants(&branch.exchange).map_err(BranchError::Invariant)?;
    Ok(branch)
}

/// As [`Exchange::check_invariants`], by two threads.
fn check_invariants(exchange: &Exchange) -> Result<(), String> {
    thread::scope(|scope| {
        let needs = scope.spawn(|| exchange.check_needs());
        let books = exchange.check_books();
        let needs = needs.join();
        // With wrong books, whatever became of the other.
        books?;
        needs.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Hands out the commands behind the cut through the halt, in order.
pub(super) fn each_through(
    mut commands: Commands,
    cut: Sequence,
    halt: Sequence,
    mut each: impl FnMut(&SequencedCommand) -> Result<(), BranchError>,
) -> Result<u64, BranchError> {
    let mut last = cut;
    while last < halt {
        let Some(batch) = commands()? else {
            return Err(TimelineError::Future { asked: halt, last }.into());
        };
        for command in batch.iter().take_while(|command| command.sequence <= halt) {
            each(command)?;
            last = command.sequence;
        }
    }
    Ok(last.0 - cut.0)
}

/// A fill as it is told.
pub(super) fn fill_of(event: &Event, sequence: Sequence, time: Timestamp, index: u32) -> Option<BustedFill> {
    let Event::Filled { taker, maker, taker_account, maker_account, market, price, quantity, .. } = *event else {
        return None;
    };
    Some(BustedFill { sequence, index, time, taker, maker, taker_account, maker_account, market, price, quantity })
}

/// What the parent's events say of one command, and of all commands of a batch.
#[derive(Default)]
struct ParentWatch {
    index: u32,
    refused: Option<RejectReason>,
    accepted: Option<OrderId>,
    reduced: bool,
    number: u32,
    at: (Sequence, Timestamp),
    /// Where those of this command begin.
    closures_from: usize,
    fills_from: usize,
    closures: Vec<(u32, OrderId)>,
    fills: Vec<BustedFill>,
}

impl ParentWatch {
    fn begin(&mut self, number: u32, command: &SequencedCommand) {
        self.index = 0;
        (self.refused, self.accepted, self.reduced) = (None, None, false);
        (self.number, self.at) = (number, (command.sequence, command.time));
        (self.closures_from, self.fills_from) = (self.closures.len(), self.fills.len());
    }

    /// Whether the command placed an order that found nothing and stands nowhere: it counts as refused.
    fn found_nothing(&self) -> bool {
        self.accepted.is_some_and(|accepted| {
            self.fills.len() == self.fills_from
                && self.closures[self.closures_from..].iter().any(|(_, order)| *order == accepted)
        })
    }

    /// Nothing that the command closed is closed on the branch.
    fn forget_closures(&mut self) {
        self.closures.truncate(self.closures_from);
    }

    /// The order that the command placed is on no branch where it is not applied.
    fn forget_own_closure(&mut self) {
        if self.closures.len() == self.closures_from + 1
            && self.closures.last().map(|(_, order)| *order) == self.accepted
        {
            self.forget_closures();
        }
    }
}

impl EventSink for ParentWatch {
    #[inline]
    fn emit(&mut self, event: Event) {
        match event {
            Event::Filled { .. } => self.fills.extend(fill_of(&event, self.at.0, self.at.1, self.index)),
            Event::OrderAccepted { order, .. } => self.accepted = Some(order),
            Event::OrderCancelled { order, .. } => self.closures.push((self.number, order)),
            Event::OrderReduced { .. } => self.reduced = true,
            Event::Refused { reason, .. } => self.refused = Some(reason),
            _ => {}
        }
        self.index += 1;
    }
}

/// What the branch's events say of one command.
#[derive(Default)]
struct BranchWatch {
    index: u32,
    refused: Option<RejectReason>,
    at: (Sequence, Timestamp),
    closed: Vec<OrderId>,
    fills: Vec<BustedFill>,
}

impl BranchWatch {
    fn begin(&mut self, command: &SequencedCommand) {
        (self.index, self.refused) = (0, None);
        self.at = (command.sequence, command.time);
        self.closed.clear();
        self.fills.clear();
    }
}

impl EventSink for BranchWatch {
    #[inline]
    fn emit(&mut self, event: Event) {
        match event {
            Event::Filled { .. } => self.fills.extend(fill_of(&event, self.at.0, self.at.1, self.index)),
            Event::OrderCancelled { order, .. } => self.closed.push(order),
            Event::Refused { reason, .. } => self.refused = Some(reason),
            _ => {}
        }
        self.index += 1;
    }
}

/// Rewind (without edits) and excise.
fn in_lock_step(
    exchange: Exchange,
    commands: Commands,
    cut: Sequence,
    halt: Sequence,
    edits: Option<&Edits>,
    watched: Option<&mut Watched>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Branch, BranchError> {
    let branch = exchange.clone();
    let (mut giver, mut batches) = handover(BATCHES_WAITING);
    let (empty_sender, empties) = sync_channel(BATCHES_WAITING + 2);
    thread::scope(|scope| {
        let applying = scope.spawn(move || follow(branch, &mut batches, &empty_sender, watched));
        let parent = lead(exchange, commands, cut, halt, edits, progress, &mut giver, &empties);
        drop(giver);
        let followed = applying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What the branch came upon is the reason why the parent could not go on.
        let followed = followed?;
        let (parent, count) = parent?;
        Ok(Branch {
            parent,
            exchange: followed.exchange,
            cut,
            busted: followed.busted,
            new_fills: followed.new_fills,
            refused: followed.refused,
            unfunded: Vec::new(),
            commands: count,
        })
    })
}

/// Applies the parent, and says what becomes of each command.
#[allow(clippy::too_many_arguments, reason = "both ends of what joins it to the branch")]
fn lead(
    mut exchange: Exchange,
    mut commands: Commands,
    cut: Sequence,
    halt: Sequence,
    edits: Option<&Edits>,
    progress: &(dyn Fn(u64) + Sync),
    giver: &mut Giver<Batch>,
    empties: &Receiver<Batch>,
) -> Result<(Exchange, u64), BranchError> {
    let mut watch = ParentWatch::default();
    let mut last = cut;
    while last < halt {
        let Some(read) = commands()? else {
            return Err(TimelineError::Future { asked: halt, last }.into());
        };
        let mut batch = empties.try_recv().unwrap_or_default();
        (watch.closures, watch.fills) = (std::mem::take(&mut batch.closures), std::mem::take(&mut batch.fills));
        for (number, command) in (0_u32..).zip(read.iter()).take_while(|(_, command)| command.sequence <= halt) {
            watch.begin(number, command);
            exchange.look_ahead_in(&read, number as usize);
            exchange.apply(command.sequence, command.time, &command.command, &mut watch);
            let verdict = match edits {
                Some(edits) => excised(command, &mut watch, edits, &mut batch.instead)?,
                None => rewound(command, &watch, &mut batch.instead),
            };
            if matches!(verdict, Verdict::Drop | Verdict::Replace) {
                watch.forget_closures();
            }
            batch.verdicts.push(verdict);
            last = command.sequence;
        }
        (batch.closures, batch.fills) = (std::mem::take(&mut watch.closures), std::mem::take(&mut watch.fills));
        batch.commands = read;
        progress(last.0 - cut.0);
        giver.give(batch).map_err(|_| BranchError::Invariant("it ended before the parent did".to_owned()))?;
    }
    Ok((exchange, last.0 - cut.0))
}

/// Whether it is a cancel that was refused as the order was not there: on the branch it may be.
fn missed(command: &Command, watch: &ParentWatch) -> bool {
    matches!(command, Command::CancelOrder { .. } | Command::CancelByClientOrderId { .. })
        && watch.refused == Some(RejectReason::OrderNotFound)
}

fn excised(
    command: &SequencedCommand,
    watch: &mut ParentWatch,
    edits: &Edits,
    instead: &mut Vec<(u32, Command)>,
) -> Result<Verdict, BranchError> {
    let sequence = command.sequence;
    if let Some(reason) = edits.dropped.get(&sequence) {
        if reason.is_none() && watch.refused.is_none() && is_fact(&command.command) {
            return Err(BranchError::Fact { sequence, kind: command.command.kind_name() });
        }
        return Ok(Verdict::Drop);
    }
    if let Some(other) = edits.replaced.get(&sequence) {
        if *other == command.command {
            return Err(BranchError::Unchanged { sequence });
        }
        // By another kind it would be dropped without a reason.
        if watch.refused.is_none() && is_fact(&command.command) && other.kind() != command.command.kind() {
            return Err(BranchError::Fact { sequence, kind: command.command.kind_name() });
        }
        instead.push((watch.number, *other));
        return Ok(Verdict::Replace);
    }
    Ok(match watch.refused {
        None if is_fact(&command.command) => fact(&command.command),
        None if watch.found_nothing() => {
            watch.forget_own_closure();
            Verdict::Tombstone
        }
        None => Verdict::Apply,
        Some(_) if missed(&command.command, watch) => Verdict::Apply,
        Some(_) => Verdict::Tombstone,
    })
}

fn rewound(command: &SequencedCommand, watch: &ParentWatch, instead: &mut Vec<(u32, Command)>) -> Verdict {
    match command.command {
        _ if watch.refused.is_some() => {
            if missed(&command.command, watch) {
                Verdict::Apply
            } else {
                Verdict::Tombstone
            }
        }
        fact_command if is_fact(&fact_command) => fact(&fact_command),
        Command::CancelOrder { .. }
        | Command::CancelByClientOrderId { .. }
        | Command::ReduceOrder { .. }
        | Command::CancelAllOfAccount { .. }
        | Command::CancelAllOfMarket { .. }
        | Command::CancelWithdrawal { .. } => Verdict::Apply,
        Command::ReplaceOrder { account, order, quantity, .. } if watch.reduced => {
            instead.push((watch.number, Command::ReduceOrder { account, order, quantity }));
            Verdict::Apply
        }
        Command::ReplaceOrder { .. } => Verdict::Cancel,
        _ => Verdict::Tombstone,
    }
}

const fn fact(command: &Command) -> Verdict {
    match command {
        Command::ReleaseWithdrawal { .. } => Verdict::Force,
        _ => Verdict::MustApply,
    }
}

/// The branch when it has followed.
struct Followed {
    exchange: Exchange,
    busted: Vec<BustedFill>,
    new_fills: Vec<BustedFill>,
    refused: BTreeMap<RejectReason, u64>,
}

/// Applies what is handed over.
fn follow(
    mut exchange: Exchange,
    batches: &mut Taker<Batch>,
    empties: &SyncSender<Batch>,
    mut watched: Option<&mut Watched>,
) -> Result<Followed, BranchError> {
    if let Some(watched) = &mut watched {
        watched.begin(|account| exchange.possessions(account));
    }
    let (mut busted, mut new_fills) = (Vec::new(), Vec::new());
    let mut refused = BTreeMap::new();
    let mut watch = BranchWatch::default();
    while let Some(mut batch) = batches.take() {
        let (mut closures, mut fills) = (&batch.closures[..], &batch.fills[..]);
        let mut instead = batch.instead.iter().peekable();
        for (number, (sequenced, verdict)) in (0_u32..).zip(batch.commands.iter().zip(&batch.verdicts)) {
            let SequencedCommand { sequence, time, .. } = *sequenced;
            let command = instead.next_if(|(at, _)| *at == number).map_or(&sequenced.command, |(_, other)| other);
            watch.begin(sequenced);
            exchange.look_ahead_in(&batch.commands, number as usize);
            match verdict {
                Verdict::Apply | Verdict::MustApply | Verdict::Replace => {
                    exchange.apply(sequence, time, command, &mut watch);
                }
                Verdict::Tombstone | Verdict::Drop => exchange.skip(sequence, time, &mut NoEvents),
                Verdict::Force => {
                    let kind = command.kind_name();
                    exchange
                        .force_release(sequence, time, command, &mut NoEvents)
                        .map_err(|reason| BranchError::FactRefused { sequence, kind, reason })?;
                }
                Verdict::Cancel => {
                    exchange.skip(sequence, time, &mut NoEvents);
                    if let Command::ReplaceOrder { order, .. } = command {
                        exchange.force_cancel(*order, &mut NoEvents);
                    }
                }
            }
            if let Some(reason) = watch.refused {
                check_refusal(*verdict, sequence, command, reason)?;
                *refused.entry(reason).or_default() += 1;
            }
            let parents_closures = take_front(&mut closures, |(at, _)| *at == number);
            // Mostly the branch has closed the same.
            if !parents_closures.iter().map(|(_, order)| order).eq(&watch.closed) {
                for (_, order) in parents_closures {
                    exchange.force_cancel(*order, &mut NoEvents);
                }
            }
            let parents_fills = take_front(&mut fills, |fill| fill.sequence == sequence);
            compare_fills(parents_fills, &watch.fills, &mut busted, &mut new_fills);
            if let Some(watched) = &mut watched {
                watched.look(sequence, |account| exchange.possessions(account));
            }
        }
        // Given back to the reader.
        batch.commands = CommandBatch::default();
        batch.verdicts.clear();
        batch.instead.clear();
        batch.closures.clear();
        batch.fills.clear();
        // If it is not wanted, another is made.
        drop(empties.try_send(batch));
    }
    Ok(Followed { exchange, busted, new_fills, refused })
}

/// Takes from the front of a list what belongs to one command.
fn take_front<'a, Item>(list: &mut &'a [Item], belongs: impl Fn(&Item) -> bool) -> &'a [Item] {
    let count = list.iter().take_while(|item| belongs(item)).count();
    let (front, rest) = list.split_at(count);
    *list = rest;
    front
}

fn check_refusal(
    verdict: Verdict,
    sequence: Sequence,
    command: &Command,
    reason: RejectReason,
) -> Result<(), BranchError> {
    match verdict {
        Verdict::Replace => Err(BranchError::ReplacementRefused { sequence, reason }),
        Verdict::MustApply => Err(BranchError::FactRefused { sequence, kind: command.kind_name(), reason }),
        _ => Ok(()),
    }
}

/// Finds the fills of one sequence that only one of the two has.
fn compare_fills(
    parents: &[BustedFill],
    branchs: &[BustedFill],
    busted: &mut Vec<BustedFill>,
    new_fills: &mut Vec<BustedFill>,
) {
    let same = parents.len() == branchs.len()
        && parents.iter().zip(branchs).all(|(parent, branch)| parent.outcome() == branch.outcome());
    if same {
        return;
    }
    let mut by_outcome: Vec<usize> = (0..branchs.len()).collect();
    by_outcome.sort_by_key(|index| branchs[*index].outcome());
    let mut is_matched = vec![false; branchs.len()];
    for fill in parents {
        let from = by_outcome.partition_point(|index| branchs[*index].outcome() < fill.outcome());
        let same = by_outcome[from..].iter().take_while(|index| branchs[**index].outcome() == fill.outcome());
        match same.copied().find(|index| !is_matched[*index]) {
            Some(index) => is_matched[index] = true,
            None => busted.push(*fill),
        }
    }
    new_fills.extend(branchs.iter().zip(is_matched).filter(|(_, matched)| !matched).map(|(fill, _)| *fill));
}
