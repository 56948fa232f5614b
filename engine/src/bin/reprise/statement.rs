//! `reprise statement`: what an incident and its repair did to one account, line by line, fit to be sent to its owner.
//!
//! The lines are what the plan makes of each command, computed again from the journal; they sum to the difference, or there
//! is no statement.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use clap::Args;
use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    exchange::{Exchange, OrderView, WithdrawalState},
    journal::{Epoch, JournalId, JournalReader, epoch_starts, journal_id},
    recovery::{
        BranchError, BustedFill, Difference, Effect, Effects, EpochError, OrderChange, OrderFate, Plan, PlanError,
        Reason, Strategy, Timeline, WithdrawalChange, diff, effects, journaled_plan,
    },
    types::{AccountId, Amount, AssetId, Digest, Sequence, Side, Timestamp},
};

use crate::{
    arguments::account,
    describe::{price_text, quantity_text},
    failure::Failure,
    names::{self, Names},
    output::{Output, grouped},
    progress::Progress,
    statement_report,
};

/// Whose statement, and of what.
#[derive(Debug, Args)]
pub struct StatementArguments {
    /// Whose.
    #[arg(long, value_name = "N", value_parser = account)]
    pub account: AccountId,
    /// The epoch that the repair began; without it, the last.
    #[arg(long, value_name = "EPOCH", conflicts_with = "plan")]
    pub epoch: Option<u32>,
    /// A plan: what it would do, or, when it was applied, has done.
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<PathBuf>,
}

/// What an account has of an asset, and owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub total: Amount,
    pub owed: Amount,
}

/// An asset of the account.
#[derive(Clone, Debug)]
pub struct Row {
    pub asset: AssetId,
    /// Before the incident.
    pub at_cut: Standing,
    /// At the halt, before the repair.
    pub before: Standing,
    /// After the repair.
    pub after: Standing,
    /// Of that, what is free.
    pub free: Amount,
}

impl Row {
    /// By how much the repair changed it.
    pub fn difference(&self) -> Difference {
        let minus = |after: Amount, before: Amount| i128::from(after.0) - i128::from(before.0);
        Difference { total: minus(self.after.total, self.before.total), owed: minus(self.after.owed, self.before.owed) }
    }
}

/// What the repair changed.
#[derive(Clone, Debug)]
pub struct Item {
    /// credit, trade, transfer, withdrawal, deposit, set_off, settlement or other.
    pub kind: &'static str,
    /// Where, and when; `None` for what the repair did by itself.
    pub place: Option<(Sequence, Timestamp)>,
    /// What, and why.
    pub what: String,
    /// The trades that it is about.
    pub trades: Vec<String>,
    /// What it comes to.
    pub changes: BTreeMap<AssetId, Difference>,
}

/// An order or a withdrawal that is another now.
#[derive(Clone, Debug)]
pub struct Touched {
    /// Its number.
    pub number: u64,
    /// What became of it: gone, traded, back, changed or behind.
    pub fate: &'static str,
    /// What, and why.
    pub what: String,
}

/// A statement.
pub struct Statement {
    pub account: AccountId,
    pub journal_id: JournalId,
    pub plan: Digest,
    pub strategy: Strategy,
    /// The epoch and the record that began it, if the plan was applied.
    pub applied: Option<(Epoch, Sequence, Timestamp)>,
    /// Whether the plan was made while the exchange was not frozen.
    pub preview: bool,
    /// The first command that the plan is about, and its time.
    pub incident: (Sequence, Timestamp),
    /// The halt, and its time.
    pub halt: (Sequence, Timestamp),
    pub rows: Vec<Row>,
    pub items: Vec<Item>,
    pub orders: Vec<Touched>,
    pub withdrawals: Vec<Touched>,
    /// What the owner should do.
    pub advice: Vec<String>,
}

/// The plan that a statement is about.
struct About {
    plan: Plan,
    applied: Option<(Epoch, Sequence)>,
}

/// Makes a statement.
pub fn run(timeline: &Timeline, arguments: &StatementArguments, output: &mut Output) -> Result<u8, Failure> {
    let About { plan, applied } = about(timeline, arguments)?;
    let account = arguments.account;
    let record = applied.map(|(_, sequence)| sequence);
    let progress = Progress::start("computing", Some(plan.halt.0.saturating_sub(plan.strategy.cut().0)));
    let found = effects(timeline, &plan, record, account, &|_| ()).map_err(failed)?;
    drop(progress);
    check(timeline, &plan, record, &found)?;
    let states = [&found.branch.parent, &found.branch.exchange];
    if states.iter().all(|state| state.account(account).is_none()) {
        return Err(Failure::failed(format!("there is no account {account}: it was not there at the halt either")));
    }
    let names = Names::of(&found.branch.parent);
    let statement = make(timeline, plan, applied, &found, &names)?;
    statement_report::write(&statement, &names, output)
}

fn failed(error: BranchError) -> Failure {
    match error {
        BranchError::Timeline(error) => error.into(),
        other => Failure::failed(other.to_string()),
    }
}

fn epoch_failed(error: EpochError) -> Failure {
    match error {
        EpochError::Journal(error) => error.into(),
        other => Failure::Damaged(other.to_string()),
    }
}

fn plan_failed(error: PlanError) -> Failure {
    match error {
        PlanError::Document { .. } => Failure::Damaged(error.to_string()),
        other => Failure::failed(other.to_string()),
    }
}

/// Finds the plan.
fn about(timeline: &Timeline, arguments: &StatementArguments) -> Result<About, Failure> {
    let storage = timeline.storage();
    let starts = epoch_starts(storage)?;
    let begun = starts.iter().filter(|start| start.epoch > Epoch::FIRST);
    let last = starts.last().map_or(Epoch::FIRST, |last| last.epoch);
    if let Some(file) = &arguments.plan {
        let plan = Plan::read_file(file).map_err(plan_failed)?;
        let id = journal_id(storage)?;
        if plan.journal_id != id {
            return Err(Failure::failed(format!("the plan is for the journal {}, and this is {id}", plan.journal_id)));
        }
        for start in begun {
            if start.epoch == plan.epoch.next()
                && journaled_plan(storage, start.first).map_err(epoch_failed)?.plan.hash() == plan.hash()
            {
                return Ok(About { plan, applied: Some((start.epoch, start.first)) });
            }
        }
        if plan.epoch != last {
            return Err(Failure::failed(format!(
                "the plan ends epoch {}, and the exchange is in epoch {last}: it cannot be applied any more, make another",
                plan.epoch
            )));
        }
        return Ok(About { plan, applied: None });
    }
    let wanted = match arguments.epoch.map(Epoch) {
        Some(Epoch::FIRST) => {
            return Err(Failure::failed("epoch 1 is how the exchange began: no repair began it, name a later one"));
        }
        Some(epoch) if epoch.0 == 0 || epoch > last => {
            return Err(Failure::failed(format!("there is no epoch {epoch}: the last is {last}")));
        }
        Some(epoch) => epoch,
        None if last == Epoch::FIRST => {
            return Err(Failure::failed(
                "there was no incident that was repaired: the exchange is in its first epoch; to see what a plan would do, give it with --plan",
            ));
        }
        None => last,
    };
    let start = begun.into_iter().find(|start| start.epoch == wanted);
    let start = start.ok_or_else(|| Failure::failed(format!("where epoch {wanted} begins was pruned")))?;
    let plan = journaled_plan(storage, start.first).map_err(epoch_failed)?.plan;
    Ok(About { plan, applied: Some((start.epoch, start.first)) })
}

/// What was computed must be what the plan says, and what the journal's record tells.
fn check(timeline: &Timeline, plan: &Plan, record: Option<Sequence>, found: &Effects) -> Result<(), Failure> {
    let wrong = |what: &str| {
        Failure::Damaged(format!(
            "{what}: the plan or the history before it was altered; `reprise verify` says more, and no statement is made"
        ))
    };
    if let Some(record) = record {
        let before = Sequence(record.0 - 1);
        let mut replay = timeline.replay_from(before)?;
        replay.run_to(before)?;
        let mut told: BTreeMap<AssetId, i128> = BTreeMap::new();
        if let Some(step) = replay.next()? {
            for event in step.events {
                if let Event::BalanceCorrected { account, asset, available, held } = *event
                    && account == found.account
                {
                    *told.entry(asset).or_default() += i128::from(available) + i128::from(held);
                }
            }
        }
        told.retain(|_, told| *told != 0);
        let computed = found.difference().into_iter().map(|(asset, change)| (asset, change.total));
        let computed: BTreeMap<_, _> = computed.filter(|(_, total)| *total != 0).collect();
        if told != computed || replay.exchange().state_hash() != found.branch.exchange.state_hash() {
            return Err(wrong("the repair comes out otherwise than it was recorded"));
        }
    } else if (found.branch.parent.state_hash(), found.branch.exchange.state_hash()) != (plan.parent_state, plan.state)
    {
        return Err(wrong("the plan leads to another state than it says"));
    }
    // Whatever is explained must be all.
    let mut rest = found.difference();
    for changes in found.effects.iter().map(|effect| &effect.changes).chain([&found.settled]) {
        for (asset, change) in changes {
            let rest = rest.entry(*asset).or_default();
            (rest.total, rest.owed) = (rest.total - change.total, rest.owed - change.owed);
        }
    }
    if rest.values().any(|rest| *rest != Difference::default()) {
        return Err(wrong("the lines do not sum to the difference"));
    }
    Ok(())
}

/// The command behind a sequence.
fn command_behind(timeline: &Timeline, after: Sequence) -> Result<SequencedCommand, Failure> {
    let mut reader = JournalReader::open_at(timeline.storage().clone(), after)?;
    let command = reader.next().transpose()?;
    command.ok_or_else(|| Failure::failed(format!("the journal ends at sequence {after}")))
}

fn make(
    timeline: &Timeline,
    plan: Plan,
    applied: Option<(Epoch, Sequence)>,
    found: &Effects,
    names: &Names,
) -> Result<Statement, Failure> {
    let time_of = |sequence: Sequence| -> Result<(Sequence, Timestamp), Failure> {
        Ok((sequence, command_behind(timeline, Sequence(sequence.0 - 1))?.time))
    };
    let applied = match applied {
        Some((epoch, sequence)) => Some((epoch, sequence, time_of(sequence)?.1)),
        None => None,
    };
    let teller = Teller { found, names, plan: &plan };
    let mut items: Vec<_> = found.effects.iter().map(|effect| teller.item(effect)).collect();
    items.extend(teller.settled());
    let credited: BTreeSet<_> =
        items.iter().any(|item| item.kind == "credit").then_some(found.account).into_iter().collect();
    let changes = diff(&found.branch, &credited);
    let orders = changes.orders.iter().filter(|change| change.order.account == found.account);
    let orders: Vec<_> = orders.map(|change| teller.order(change)).collect();
    let withdrawals = changes.withdrawals.iter().filter(|change| change.account == found.account);
    let withdrawals: Vec<_> = withdrawals.filter_map(|change| teller.withdrawal(change)).collect();
    let rows = rows(found);
    let advice = advice(&rows, &orders, &withdrawals, names);
    Ok(Statement {
        account: found.account,
        journal_id: plan.journal_id,
        plan: plan.hash(),
        applied,
        preview: plan.preview,
        incident: time_of(plan.strategy.cut().next())?,
        halt: time_of(plan.halt)?,
        strategy: plan.strategy,
        rows,
        items,
        orders,
        withdrawals,
        advice,
    })
}

fn rows(found: &Effects) -> Vec<Row> {
    let states: [&Exchange; 3] = [&found.at_cut, &found.branch.parent, &found.branch.exchange];
    let mut rows: BTreeMap<AssetId, [Standing; 3]> = BTreeMap::new();
    for (index, state) in states.into_iter().enumerate() {
        for (asset, total, owed) in state.possessions(found.account) {
            rows.entry(asset).or_default()[index] = Standing { total, owed };
        }
    }
    let free = |asset| found.branch.exchange.risk().balance(found.account, asset).available;
    let row = |(asset, [at_cut, before, after]): (AssetId, [Standing; 3])| Row {
        asset,
        at_cut,
        before,
        after,
        free: free(asset),
    };
    rows.into_iter().map(row).collect()
}

/// What is to be done by the owner.
fn advice(rows: &[Row], orders: &[Touched], withdrawals: &[Touched], names: &Names) -> Vec<String> {
    let mut advice = Vec::new();
    let owed: Vec<_> = rows.iter().filter(|row| !row.after.owed.is_zero()).collect();
    if !owed.is_empty() {
        let owed: Vec<_> = owed.iter().map(|row| amount(names, row.asset, row.after.owed.0.into())).collect();
        advice.push(format!(
            "You owe {}. Please deposit what your free balance does not cover, and write to us, so that we can set it off. Until it is paid you cannot place orders, transfer or withdraw; you can cancel orders and deposit.",
            owed.join(" and ")
        ));
    }
    if orders.iter().any(|order| order.fate == "gone") {
        advice.push(
            "Orders that are not on the book any more have to be placed again, if you still want them.".to_owned(),
        );
    }
    if orders.iter().any(|order| order.fate == "back") {
        advice.push("Orders that are on the book again can trade as soon as the market opens: cancel those that you do not want.".to_owned());
    }
    if withdrawals.iter().any(|withdrawal| withdrawal.fate == "gone") {
        advice.push("A withdrawal that is void has to be asked for again.".to_owned());
    }
    if advice.is_empty() {
        advice.push("There is nothing that you have to do.".to_owned());
    }
    advice
}

/// An amount with its asset.
pub fn amount(names: &Names, asset: AssetId, amount: i128) -> String {
    format!("{} {}", grouped(&names.amount(asset, amount)), names.asset(asset))
}

/// Says in words what was found.
struct Teller<'a> {
    found: &'a Effects,
    names: &'a Names,
    plan: &'a Plan,
}

impl Teller<'_> {
    fn amount(&self, asset: AssetId, value: i128) -> String {
        amount(self.names, asset, value)
    }

    fn is_me(&self, account: AccountId) -> bool {
        account == self.found.account
    }

    /// What one command did, and does not any more.
    fn item(&self, effect: &Effect) -> Item {
        let sequence = effect.command.sequence;
        let mine = |fill: &&BustedFill| {
            fill.sequence == sequence && (self.is_me(fill.taker_account) || self.is_me(fill.maker_account))
        };
        let void: Vec<_> = self.found.branch.busted.iter().filter(mine).collect();
        let new: Vec<_> = self.found.branch.new_fills.iter().filter(mine).collect();
        let (kind, what, trades) = match effect.command.command {
            Command::ExecuteAirdrop { airdrop, .. } => {
                ("credit", self.credit(effect, &format!("airdrop {}", airdrop.0)), Vec::new())
            }
            Command::Transfer { from, to, .. } => ("transfer", self.transfer(effect, from, to), Vec::new()),
            Command::Deposit { .. } => ("deposit", self.deposit(effect), Vec::new()),
            Command::ReleaseWithdrawal { asset, amount, .. } => {
                ("withdrawal", self.release(effect, asset, amount), Vec::new())
            }
            Command::FailWithdrawal { .. } => {
                let what = "A withdrawal of yours failed and came back: it first pays what you owed for it.";
                ("withdrawal", what.to_owned(), Vec::new())
            }
            Command::SetOff { .. } => {
                ("set_off", "What was set off against your debt is another, as the debt is.".to_owned(), Vec::new())
            }
            _ if !void.is_empty() || !new.is_empty() => {
                let trades = void.iter().map(|fill| ("void", *fill)).chain(new.iter().map(|fill| ("new", *fill)));
                let trades = trades.map(|(word, fill)| format!("{word}: {}", self.fill(fill))).collect();
                ("trade", self.trades(void.len(), new.len()), trades)
            }
            _ if effect.events.iter().any(|event| matches!(event, Event::Filled { .. })) => {
                let what =
                    "A trade of yours stands, and its fee is another, since earlier trades of the same order are.";
                ("trade", what.to_owned(), Vec::new())
            }
            other => ("other", format!("{} at {sequence} led to something else.", other.kind_name()), Vec::new()),
        };
        let place = Some((sequence, effect.command.time));
        Item { kind, place, what, trades, changes: effect.changes.clone() }
    }

    /// Sums of assets, as they were or are.
    fn sums(&self, sums: &BTreeMap<AssetId, i128>) -> String {
        let sums = sums.iter().filter(|(_, sum)| **sum != 0);
        let sums: Vec<_> = sums.map(|(asset, sum)| self.amount(*asset, *sum)).collect();
        sums.join(" and ")
    }

    fn credit(&self, effect: &Effect, by: &str) -> String {
        let mut was: BTreeMap<AssetId, i128> = BTreeMap::new();
        for event in &effect.events {
            if let Event::AirdropCredited { asset, amount, .. } = *event {
                *was.entry(asset).or_default() += i128::from(amount.0);
            }
        }
        let mut is = was.clone();
        for (asset, change) in &effect.changes {
            *is.entry(*asset).or_default() += change.total;
        }
        let [was, is] = [self.sums(&was), self.sums(&is)];
        match (was.is_empty(), is.is_empty()) {
            (false, true) if matches!(self.plan.strategy, Strategy::Rewind { .. }) => {
                format!("The credit of {was} by {by} came after the point to which all was taken back.")
            }
            (false, true) => format!("The credit of {was} by {by} was an error, and does not stand."),
            (false, false) => format!("The credit of {was} by {by} was an error. The right one is {is}."),
            (true, false) => format!("You are credited {is} by {by}, as you should have been at once."),
            (true, true) => format!("{by} was changed."),
        }
    }

    fn transfer(&self, effect: &Effect, from: AccountId, to: AccountId) -> String {
        let transferred = effect.events.iter().find_map(|event| match *event {
            Event::Transferred { asset, amount, .. } => Some(self.amount(asset, amount.0.into())),
            _ => None,
        });
        let Some(amount) = transferred else {
            return "A transfer that had not happened does now.".to_owned();
        };
        if self.plan.strategy.edits().is_some_and(|edits| edits.sequences().contains(&effect.command.sequence)) {
            return format!(
                "The transfer of {amount} from account {from} to account {to} was an error, and is put right."
            );
        }
        let why = self.why("the sender did not have it without what was credited in error");
        if self.is_me(from) {
            format!("Your transfer of {amount} to account {to} is void: {why}.")
        } else {
            format!("The transfer of {amount} from account {from} to you is void: {why}.")
        }
    }

    /// Why something is void, where `other` is the reason but for a rewinding.
    fn why(&self, other: &str) -> String {
        match self.plan.strategy {
            Strategy::Rewind { .. } => "it came after the point to which all was taken back".to_owned(),
            _ => other.to_owned(),
        }
    }

    fn deposit(&self, effect: &Effect) -> String {
        let edits = self.plan.strategy.edits();
        let reason = edits.and_then(|edits| edits.dropped.get(&effect.command.sequence)).and_then(Option::as_ref);
        match reason {
            Some(reason) => format!("A deposit was credited that is none ({reason})."),
            None => "A deposit was credited wrongly, and is put right.".to_owned(),
        }
    }

    fn release(&self, effect: &Effect, asset: AssetId, amount: Amount) -> String {
        let uncovered = effect.changes.get(&asset).map_or(0, |change| change.owed);
        let paid = self.amount(asset, amount.0.into());
        format!(
            "Your withdrawal of {paid} had left already, and stands. Of it {} was not covered by what you had without the error: you owe it.",
            self.amount(asset, uncovered)
        )
    }

    fn trades(&self, void: usize, new: usize) -> String {
        let trades = |count: usize| if count == 1 { "A trade".to_owned() } else { format!("{count} trades") };
        let is = |count: usize| if count == 1 { "is" } else { "are" };
        let why = match self.plan.strategy {
            Strategy::Rewind { .. } => "all that came after this point was taken back",
            Strategy::Excise(_) => "without the error the orders on the market met in another way",
            Strategy::Bust(_) => "one of the two sides could not pay for it without what was credited in error",
            Strategy::Compensate { .. } => "it was corrected",
        };
        match (void, new) {
            (void, 0) => format!("{} of yours {} void: {why}.", trades(void), is(void)),
            (0, new) => format!("{} of yours {} there that had not been: {why}.", trades(new), is(new)),
            (void, new) => {
                format!("{} of yours {} void, and {new} took the place: {why}.", trades(void), is(void))
            }
        }
    }

    /// A fill as the account sees it.
    fn fill(&self, fill: &BustedFill) -> String {
        let (mine, is_taker) = if self.is_me(fill.taker_account) { (fill.taker, true) } else { (fill.maker, false) };
        let side = self.side(fill, is_taker);
        let word = match side {
            Some(Side::Buy) => "bought",
            Some(Side::Sell) => "sold",
            None => "traded",
        };
        let quantity = quantity_text(self.names, fill.market, fill.quantity);
        let price = price_text(self.names, fill.market, fill.price);
        format!("{word} {quantity} at {price}, order {mine}")
    }

    /// The side of the account in a fill, if what happened tells it.
    fn side(&self, fill: &BustedFill, is_taker: bool) -> Option<Side> {
        let opposite = |side| match side {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        };
        let effect = self.found.effects.iter().find(|effect| effect.command.sequence == fill.sequence)?;
        let told = effect.events.iter().find_map(|event| match *event {
            Event::Filled { taker, maker, taker_side, .. } if (taker, maker) == (fill.taker, fill.maker) => {
                Some(taker_side)
            }
            _ => None,
        });
        let placed = match effect.command.command {
            Command::PlaceLimit { side, .. } | Command::ReplaceOrder { side, .. } => Some(side),
            Command::PlaceMarketBuy { .. } => Some(Side::Buy),
            Command::PlaceMarketSell { .. } => Some(Side::Sell),
            _ => None,
        };
        let taker_side = told.or(placed)?;
        Some(if is_taker { taker_side } else { opposite(taker_side) })
    }

    /// What the strategy did by itself.
    fn settled(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let Strategy::Compensate { payments, .. } = &self.plan.strategy else { return items };
        let mut left = self.found.settled.clone();
        let mine = payments.iter().filter(|payment| self.is_me(payment.account));
        for payment in mine {
            let paid = i128::from(payment.amount.0);
            left.entry(payment.asset).or_default().total -= paid;
            let changes = BTreeMap::from([(payment.asset, Difference { total: paid, owed: 0 })]);
            let what = "You are paid for what you lost by the error.".to_owned();
            items.push(Item { kind: "settlement", place: None, what, trades: Vec::new(), changes });
        }
        left.retain(|_, change| *change != Difference::default());
        for (asset, change) in left {
            let (taken, owed) = (-change.total, change.owed);
            let what = if taken < 0 {
                "What went from you to another account in error comes back to you.".to_owned()
            } else {
                let credited = self.amount(asset, taken + owed);
                let [taken, owed] = [taken, owed].map(|value| self.amount(asset, value));
                match change.owed {
                    0 => format!("The credit of {credited} was an error: all of it was still free, and is taken back."),
                    _ => format!(
                        "The credit of {credited} was an error: {taken} of it was still free and is taken back, {owed} was not, and you owe it."
                    ),
                }
            };
            let changes = BTreeMap::from([(asset, change)]);
            items.push(Item { kind: "credit", place: None, what, trades: Vec::new(), changes });
        }
        items
    }

    fn order(&self, change: &OrderChange) -> Touched {
        let OrderView { order, market, side, price, .. } = change.order;
        let name = format!(
            "Order {order} to {side} {} at {} on {}",
            quantity_text(self.names, market, change.order.quantity),
            price_text(self.names, market, price),
            self.names.market(market)
        );
        let was = quantity_text(self.names, market, change.before);
        let (fate, what) = match change.fate {
            _ if change.after.is_zero() && change.reason == Reason::FillNew => {
                ("traded", "is not on the book any more: it has traded now".to_owned())
            }
            _ if change.after.is_zero() => {
                let without = self.why(match change.reason {
                    Reason::NotFunded => self.reason(Reason::NotFunded),
                    _ => "without the error it was refused, or ended in another way",
                });
                ("gone", format!("is not on the book any more: {without}"))
            }
            _ if change.before.is_zero() => ("back", format!("is on the book again: {}", self.reason(change.reason))),
            OrderFate::Requeued => ("behind", "stands behind orders now that stood behind it".to_owned()),
            OrderFate::Restored | OrderFate::Lost => {
                ("changed", format!("is open for that now, and was for {was}: {}", self.reason(change.reason)))
            }
        };
        Touched { number: order.0, fate, what: format!("{name} {what}.") }
    }

    fn reason(&self, reason: Reason) -> &'static str {
        match reason {
            Reason::NotFunded => "your balance does not cover it without what was credited in error",
            Reason::FillVoid => "a trade of it is void",
            Reason::FillNew => "it has traded now",
            Reason::Undone => "it came after the point to which all was taken back",
            _ => "what happened on the market before it is another",
        }
    }

    fn withdrawal(&self, change: &WithdrawalChange) -> Option<Touched> {
        let known = change.before.or(change.after)?;
        let name = format!("Withdrawal {} of {}", change.withdrawal, self.amount(known.asset, known.amount.0.into()));
        let (fate, what) = match (&change.before, &change.after) {
            (_, None) => {
                let why = self.why("your balance does not cover it without what was credited in error");
                ("gone", format!("is void, and nothing of it left: {why}"))
            }
            (_, Some(after)) if !after.shortfall.is_zero() => {
                let shortfall = self.amount(after.asset, after.shortfall.0.into());
                ("changed", format!("stands ({}), and you owe {shortfall} of it", after.state))
            }
            (Some(before), Some(after)) if before.state != after.state => {
                ("changed", format!("is {} now, and was {}", state(after.state), state(before.state)))
            }
            (Some(before), Some(after)) if before.amount != after.amount => {
                ("changed", format!("is one of {} now", self.amount(after.asset, after.amount.0.into())))
            }
            (None, Some(after)) => ("changed", format!("is there, and {}", state(after.state))),
            (Some(_), Some(_)) => return None,
        };
        Some(Touched { number: change.withdrawal.0, fate, what: format!("{name} {what}.") })
    }
}

fn state(state: WithdrawalState) -> String {
    state.to_string()
}

/// A time as a customer reads it.
pub fn date(time: Timestamp) -> String {
    names::time(time).split('.').next().unwrap_or_default().replacen('T', " ", 1) + " UTC"
}
