//! How plans and comparisons are told: to people, and to programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use engine::{
    command::Command,
    event::RejectReason,
    recovery::{
        APPROVALS_MIN, Applied, ApplyError, Approval, BalanceChange, Edits, OrderFate, Outcome, Plan, Strategy,
        WithdrawalChange,
    },
    types::{AccountId, Amount, AssetId, Sequence},
};
use serde_json::{Value, json};

use crate::{
    commands, describe,
    failure::Failure,
    names::{self, Names},
    output::{Output, count, grouped},
    plan::Comparison,
    show::section,
    trace::more,
};

/// Lines of a plan that people are shown; programs get all.
const ROWS_SHOWN: usize = 20;

/// A plan that was made.
pub struct Planned<'a> {
    pub plan: &'a Plan,
    pub file: &'a Path,
    pub outcome: &'a Outcome,
    pub names: &'a Names,
    pub credited: &'a BTreeSet<AccountId>,
    /// What stood at the first edited sequences.
    pub commands: &'a BTreeMap<Sequence, Command>,
    /// What was accepted and is refused on the branch, by reason.
    pub refused: &'a BTreeMap<RejectReason, u64>,
    pub directory: &'a Path,
}

/// An amount with its asset.
fn with_asset(names: &Names, asset: AssetId, amount: i128) -> String {
    format!("{} {}", grouped(&names.amount(asset, amount)), names.asset(asset))
}

/// Amounts by asset in a line; `none` where there are none.
fn amounts(names: &Names, amounts: &BTreeMap<AssetId, Amount>) -> String {
    signed(names, &amounts.iter().map(|(asset, amount)| (*asset, amount.0.into())).collect())
}

fn signed(names: &Names, amounts: &BTreeMap<AssetId, i128>) -> String {
    let all: Vec<_> = amounts.iter().filter(|(_, amount)| **amount != 0).collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    let all: Vec<_> = all.into_iter().map(|(asset, amount)| with_asset(names, *asset, *amount)).collect();
    all.join(", ")
}

fn amounts_json(names: &Names, amounts: &BTreeMap<AssetId, Amount>) -> Value {
    signed_json(names, &amounts.iter().map(|(asset, amount)| (*asset, amount.0.into())).collect())
}

fn signed_json(names: &Names, amounts: &BTreeMap<AssetId, i128>) -> Value {
    let amounts = amounts.iter().filter(|(_, amount)| **amount != 0);
    amounts
        .map(|(asset, amount)| json!({ "asset": names.asset(*asset), "amount": names.amount(*asset, *amount) }))
        .collect()
}

/// A command in a line.
fn command_text(command: &Command, names: &Names) -> String {
    format!("{} {}", command.kind_name(), describe::command(command, names).text(names)).trim_end().to_owned()
}

/// What a strategy does, in lines: which commands are dropped and replaced, and what is paid.
pub fn strategy_lines(strategy: &Strategy, names: &Names, commands: &BTreeMap<Sequence, Command>) -> Vec<String> {
    let mut lines = vec![match strategy {
        Strategy::Rewind { cut } => {
            format!("rewind: of what came after sequence {cut}, only facts stay (deposits, releases, settings)")
        }
        Strategy::Excise(edits) => format!("excise: all happens again with {edits}; orders match again"),
        Strategy::Bust(edits) => format!("bust: what happened stands, as far as it can be paid with {edits}"),
        Strategy::Compensate { edits, payments } => format!(
            "compensate: trades stand; what {edits} credited is taken back or owed; {} payments",
            count(payments.len() as u64)
        ),
    }];
    let was =
        |sequence: &Sequence| commands.get(sequence).map_or_else(String::new, |command| command_text(command, names));
    if let Some(edits) = strategy.edits() {
        for (sequence, reason) in edits.dropped.iter().take(ROWS_SHOWN) {
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" (no fact: {reason})"));
            lines.push(format!("drop     {sequence}  {}{reason}", was(sequence)));
        }
        if edits.dropped.len() > ROWS_SHOWN {
            lines.push(format!("drop     and {} more", count((edits.dropped.len() - ROWS_SHOWN) as u64)));
        }
        for (sequence, command) in edits.replaced.iter().take(ROWS_SHOWN) {
            lines.push(format!("replace  {sequence}  {}", was(sequence)));
            lines.push(format!(
                "         {:>width$}  by {}",
                "",
                command_text(command, names),
                width = sequence.to_string().len()
            ));
        }
        if edits.replaced.len() > ROWS_SHOWN {
            lines.push(format!("replace  and {} more", count((edits.replaced.len() - ROWS_SHOWN) as u64)));
        }
    }
    if let Strategy::Compensate { payments, .. } = strategy {
        for payment in payments.iter().take(ROWS_SHOWN) {
            let amount = with_asset(names, payment.asset, payment.amount.0.into());
            lines.push(format!("pay      {}  {amount}", names::account(payment.account)));
        }
        if payments.len() > ROWS_SHOWN {
            lines.push(format!("pay      and {} more", count((payments.len() - ROWS_SHOWN) as u64)));
        }
        let mut sums: BTreeMap<AssetId, i128> = BTreeMap::new();
        for payment in payments {
            *sums.entry(payment.asset).or_default() += i128::from(payment.amount.0);
        }
        if !payments.is_empty() {
            lines.push(format!("pay      {} in all, from the treasury", signed(names, &sums)));
        }
    }
    lines
}

/// Lines under a title.
pub fn titled(output: &mut Output, title: &str, lines: &[String]) -> Result<(), Failure> {
    for (number, line) in lines.iter().enumerate() {
        output.line(format!("{:<12}{line}", if number == 0 { title } else { "" }))?;
    }
    Ok(())
}

/// A strategy, for programs.
pub fn strategy_json(strategy: &Strategy, names: &Names) -> Value {
    let mut value = json!({ "name": strategy.name(), "cut": strategy.cut().0 });
    if let Some(Edits { dropped, replaced }) = strategy.edits() {
        let dropped = dropped.iter().map(|(sequence, reason)| json!({ "sequence": sequence.0, "not_a_fact": reason }));
        let replaced = replaced.iter().map(|(sequence, command)| {
            let mut by = commands::to_json(command, names);
            by["sequence"] = json!(sequence.0);
            by
        });
        value["dropped"] = dropped.collect();
        value["replaced"] = replaced.collect();
    }
    if let Strategy::Compensate { payments, .. } = strategy {
        let payments = payments.iter().map(|payment| {
            json!({
                "account": payment.account.0, "asset": names.asset(payment.asset),
                "amount": names.amount(payment.asset, payment.amount.0.into()),
            })
        });
        value["payments"] = payments.collect();
    }
    value
}

/// The document of a plan, for programs.
pub fn plan_json(plan: &Plan, file: &Path, names: &Names) -> Value {
    json!({
        "file": file.display().to_string(), "hash": plan.hash().to_string(), "journal_id": plan.journal_id.to_string(),
        "epoch": plan.epoch.0, "halt": plan.halt.0, "preview": plan.preview, "rules_version": plan.rules_version,
        "parent_state": plan.parent_state.to_string(), "state": plan.state.to_string(),
        "strategy": strategy_json(&plan.strategy, names),
    })
}

/// What a plan is for, in lines.
pub fn plan_lines(plan: &Plan, file: &Path, output: &mut Output) -> Result<(), Failure> {
    output.line(format!("plan        {}", file.display()))?;
    output.line(format!("hash        {}", plan.hash()))?;
    let halt =
        if plan.preview { "PREVIEW, made while the exchange was not frozen, at sequence" } else { "halt at sequence" };
    output.line(format!("for         journal {}, epoch {}, {halt} {}", plan.journal_id, plan.epoch, plan.halt))?;
    output.line(format!("leads from  state {}", plan.parent_state))?;
    output.line(format!("to          state {}", plan.state))?;
    Ok(())
}

/// The figures of an outcome, for programs.
fn outcome_json(outcome: &Outcome, names: &Names) -> Value {
    json!({
        "name": outcome.strategy.name(), "refused": null,
        "accounts_changed": outcome.accounts_changed, "innocent_changed": outcome.innocent_changed,
        "trades_voided": outcome.trades_voided, "trades_new": outcome.trades_new,
        "orders_restored": outcome.orders_restored, "orders_lost": outcome.orders_lost,
        "orders_requeued": outcome.orders_requeued, "shortfall": amounts_json(names, &outcome.shortfall),
        "receivables": amounts_json(names, &outcome.receivables), "unbacked": amounts_json(names, &outcome.unbacked),
        "fee_delta": signed_json(names, &outcome.fee_delta), "state_hash": outcome.state_hash.to_string(),
        "conserved": outcome.conserved, "seconds": outcome.seconds,
    })
}

/// What people call a fate.
const fn fate(fate: OrderFate) -> &'static str {
    match fate {
        OrderFate::Restored => "restored",
        OrderFate::Lost => "lost",
        OrderFate::Requeued => "requeued",
    }
}

fn total(balance: engine::exchange::Balance) -> i128 {
    i128::from(balance.available.0) + i128::from(balance.held.0)
}

impl Planned<'_> {
    /// Tells it.
    pub fn write(&self, output: &mut Output) -> Result<(), Failure> {
        if output.json {
            let mut document = plan_json(self.plan, self.file, self.names);
            document["outcome"] = outcome_json(self.outcome, self.names);
            document["refused"] = self
                .refused
                .iter()
                .map(|(reason, times)| json!({ "reason": reason.name(), "commands": times }))
                .collect();
            document["changes"] = self.changes_json();
            output.document(&document)?;
            return Ok(());
        }
        plan_lines(self.plan, self.file, output)?;
        output.line("            found by two replays that know nothing of each other")?;
        titled(output, "strategy", &strategy_lines(&self.plan.strategy, self.names, self.commands))?;
        output.line("sums        every asset sums to zero over all accounts, and all invariants hold")?;
        titled(output, "changes", &self.change_lines())?;
        self.balances(output)?;
        self.orders(output)?;
        output.line("")?;
        self.next(output)
    }

    fn change_lines(&self) -> Vec<String> {
        let outcome = self.outcome;
        let mut lines = vec![
            format!(
                "{} accounts, {} of them never credited in error",
                count(outcome.accounts_changed),
                count(outcome.innocent_changed)
            ),
            format!(
                "{} trades void, {} that had not taken place",
                count(outcome.trades_voided),
                count(outcome.trades_new)
            ),
            format!(
                "{} orders restored, {} lost, {} behind others; {} withdrawals otherwise",
                count(outcome.orders_restored),
                count(outcome.orders_lost),
                count(outcome.orders_requeued),
                count(outcome.diff.withdrawals.len() as u64)
            ),
            format!("owed more by accounts: {}", amounts(self.names, &outcome.shortfall)),
            format!("not covered by anything: {}", amounts(self.names, &outcome.unbacked)),
            format!("fees: {}", signed(self.names, &outcome.fee_delta)),
        ];
        let refused: u64 = self.refused.values().sum();
        if refused > 0 {
            let reasons: Vec<_> =
                self.refused.iter().map(|(reason, times)| format!("{reason} {}", count(*times))).collect();
            lines.push(format!("{} commands that were accepted are refused: {}", count(refused), reasons.join(", ")));
        }
        lines
    }

    /// The changes of balances: those who were never credited first, for they did nothing.
    fn balances(&self, output: &mut Output) -> Result<(), Failure> {
        let mut changes: Vec<&BalanceChange> = self.outcome.diff.balances.iter().collect();
        changes.sort_by_key(|change| (self.credited.contains(&change.account), change.account, change.asset));
        let rows = changes.iter().take(ROWS_SHOWN).map(|change| {
            let (before, after) = (total(change.before), total(change.after));
            let amount = |amount: i128| grouped(&self.names.amount(change.asset, amount));
            let sign = if after > before { "+" } else { "" };
            vec![
                names::account(change.account),
                if self.credited.contains(&change.account) { "credited" } else { "innocent" }.to_owned(),
                self.names.asset(change.asset),
                amount(before),
                amount(after),
                format!("{sign}{}", amount(after - before)),
                change.reason.to_string(),
            ]
        });
        let titles = ["account", "", "asset", ">before", ">after", ">change", "why"];
        output.line("")?;
        section(output, "balances changed", &titles, rows.collect())?;
        more(output, changes.len(), ROWS_SHOWN)
    }

    fn orders(&self, output: &mut Output) -> Result<(), Failure> {
        let orders = &self.outcome.diff.orders;
        if orders.is_empty() {
            return Ok(());
        }
        let rows = orders.iter().take(ROWS_SHOWN).map(|change| {
            let market = change.order.market;
            vec![
                change.order.order.to_string(),
                names::account(change.order.account),
                self.names.market(market),
                change.order.side.to_string(),
                describe::price_text(self.names, market, change.order.price),
                self.names.quantity(market, change.before),
                self.names.quantity(market, change.after),
                fate(change.fate).to_owned(),
                change.reason.to_string(),
            ]
        });
        let titles = ["order", "of", "market", "side", ">price", ">open before", ">after", "", "why"];
        output.line("")?;
        section(output, "orders changed", &titles, rows.collect())?;
        more(output, orders.len(), ROWS_SHOWN)
    }

    fn next(&self, output: &mut Output) -> Result<(), Failure> {
        if self.plan.preview {
            output.line("This is a preview: it can be looked at, and neither signed nor applied. Next: `reprise freeze`, then make the plan again.")?;
            return Ok(());
        }
        let (data, file) = (self.directory.display(), self.file.display());
        output.line("Nothing is applied yet. Next:")?;
        output.line(format!("  two operators sign it, each:  reprise --data {data} approve {file} --key THEIR.key"))?;
        output.line(format!("  then it is applied:           reprise --data {data} apply {file}"))?;
        Ok(())
    }

    fn changes_json(&self) -> Value {
        let names = self.names;
        let diff = &self.outcome.diff;
        let balances = diff.balances.iter().map(|change| {
            let amount = |amount: Amount| names.amount(change.asset, amount.0.into());
            json!({
                "account": change.account.0, "credited": self.credited.contains(&change.account),
                "asset": names.asset(change.asset),
                "before": { "available": amount(change.before.available), "held": amount(change.before.held) },
                "after": { "available": amount(change.after.available), "held": amount(change.after.held) },
                "reason": change.reason.to_string(),
            })
        });
        let orders = diff.orders.iter().map(|change| {
            let market = change.order.market;
            json!({
                "order": change.order.order.0, "account": change.order.account.0, "market": names.market(market),
                "side": change.order.side.to_string(), "price": names.price(market, change.order.price),
                "before": names.quantity(market, change.before), "after": names.quantity(market, change.after),
                "fate": fate(change.fate), "reason": change.reason.to_string(),
            })
        });
        let withdrawals = diff.withdrawals.iter().map(|change| self.withdrawal_json(change));
        let debts = diff.debts.iter().map(|(account, asset, before, after)| {
            let amount = |amount: &Amount| names.amount(*asset, amount.0.into());
            json!({ "account": account.0, "asset": names.asset(*asset), "before": amount(before), "after": amount(after) })
        });
        json!({
            "balances": balances.collect::<Vec<_>>(), "orders": orders.collect::<Vec<_>>(),
            "withdrawals": withdrawals.collect::<Vec<_>>(), "debts": debts.collect::<Vec<_>>(),
        })
    }

    fn withdrawal_json(&self, change: &WithdrawalChange) -> Value {
        let side = |known: &Option<engine::exchange::Withdrawal>| {
            known.as_ref().map(|known| {
                json!({
                    "state": known.state.to_string(), "asset": self.names.asset(known.asset),
                    "amount": self.names.amount(known.asset, known.amount.0.into()),
                    "not_covered": self.names.amount(known.asset, known.shortfall.0.into()),
                })
            })
        };
        json!({
            "withdrawal": change.withdrawal.0, "account": change.account.0, "before": side(&change.before),
            "after": side(&change.after), "reason": change.reason.to_string(),
        })
    }
}

/// Tells a plan that there is.
pub fn show(
    plan: &Plan,
    file: &Path,
    names: &Names,
    commands: &BTreeMap<Sequence, Command>,
    approvals: &[Approval],
    standing: Option<Result<Option<Applied>, ApplyError>>,
    output: &mut Output,
) -> Result<(), Failure> {
    let approved: Vec<_> =
        approvals.iter().map(|approval| (approval.operator, names::time(approval.expires))).collect();
    let (standing, word) = match &standing {
        None => ("not looked at: give --data".to_owned(), None),
        Some(Ok(None)) => ("it can be applied, once it is approved".to_owned(), Some("open")),
        Some(Ok(Some(applied))) => (
            format!("it is applied: it began epoch {} at sequence {}", applied.epoch, applied.sequence),
            Some("applied"),
        ),
        Some(Err(error)) => (format!("it cannot be applied: {error}"), Some("refused")),
    };
    if output.json {
        let mut document = plan_json(plan, file, names);
        document["approvals"] =
            approved.iter().map(|(operator, expires)| json!({ "operator": operator.0, "expires": expires })).collect();
        document["standing"] = json!(word);
        document["standing_text"] = json!(standing);
        output.document(&document)?;
        return Ok(());
    }
    plan_lines(plan, file, output)?;
    titled(output, "strategy", &strategy_lines(&plan.strategy, names, commands))?;
    let mut lines: Vec<_> = approved.iter().map(|(operator, expires)| format!("{operator}, until {expires}")).collect();
    if lines.len() < APPROVALS_MIN {
        lines.push(format!("{} of {APPROVALS_MIN} are there: signatures are checked when it is applied", lines.len()));
    }
    titled(output, "approvals", &lines)?;
    output.line(format!("standing    {standing}"))?;
    Ok(())
}

/// Tells the four side by side.
pub fn comparison(comparison: &Comparison<'_>, page: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let names = comparison.names;
    if output.json {
        let strategies = comparison.outcomes.iter().zip(comparison.strategies).map(|(outcome, strategy)| {
            let mut value = match outcome {
                Ok(outcome) => outcome_json(outcome, names),
                Err(failure) => json!({ "name": strategy.name(), "refused": failure.to_string() }),
            };
            value["strategy"] = strategy_json(strategy, names);
            value
        });
        output.document(&json!({
            "journal_id": comparison.halt.journal_id.to_string(), "epoch": comparison.halt.epoch.0,
            "halt": comparison.halt.sequence.0, "preview": !comparison.halt.is_frozen,
            "credited_accounts": comparison.credited.len(),
            "parent_state": comparison.exchange.state_hash().to_string(),
            "strategies": strategies.collect::<Vec<_>>(),
            "conserved": comparison.outcomes.iter().flatten().all(|outcome| outcome.conserved),
            "state_hashes_equal": !comparison.outcomes.iter().any(|outcome| matches!(outcome, Err(Failure::Damaged(_)))),
            "html": page.map(|page| page.display().to_string()),
        }))?;
        return Ok(());
    }
    let halt = if comparison.halt.is_frozen { "halt" } else { "PREVIEW, not frozen:" };
    output.line(format!(
        "journal {}, epoch {}, {halt} at sequence {}; {} accounts credited in error",
        comparison.halt.journal_id,
        comparison.halt.epoch,
        comparison.halt.sequence,
        count(comparison.credited.len() as u64)
    ))?;
    output.line("")?;
    type Figure = fn(&Outcome, &Names) -> String;
    let figures: [(&str, Figure); 15] = [
        ("accounts changed", |outcome, _| count(outcome.accounts_changed)),
        ("  never credited in error", |outcome, _| count(outcome.innocent_changed)),
        ("trades void", |outcome, _| count(outcome.trades_voided)),
        ("trades new", |outcome, _| count(outcome.trades_new)),
        ("orders restored", |outcome, _| count(outcome.orders_restored)),
        ("orders lost", |outcome, _| count(outcome.orders_lost)),
        ("orders behind others", |outcome, _| count(outcome.orders_requeued)),
        ("owed more by accounts", |outcome, names| amounts(names, &outcome.shortfall)),
        ("owed by accounts in all", |outcome, names| amounts(names, &outcome.receivables)),
        ("covered by nothing", |outcome, names| amounts(names, &outcome.unbacked)),
        ("fees", |outcome, names| signed(names, &outcome.fee_delta)),
        ("every asset sums to zero", |outcome, _| if outcome.conserved { "yes" } else { "NO" }.to_owned()),
        ("same state twice", |_, _| "yes".to_owned()),
        ("state", |outcome, _| outcome.state_hash.to_string()[..16].to_owned()),
        ("seconds", |outcome, _| format!("{:.2}", outcome.seconds)),
    ];
    let rows: Vec<_> = figures
        .iter()
        .map(|(title, figure)| {
            let mut row = vec![(*title).to_owned()];
            row.extend(comparison.outcomes.iter().map(|outcome| match outcome {
                Ok(outcome) => figure(outcome, names),
                Err(_) => "-".to_owned(),
            }));
            row
        })
        .collect();
    let mut titles = vec![String::new()];
    titles.extend(comparison.strategies.iter().map(|strategy| format!(">{}", strategy.name())));
    let titles: Vec<_> = titles.iter().map(String::as_str).collect();
    output.table(&titles, &rows)?;
    for (outcome, strategy) in comparison.outcomes.iter().zip(comparison.strategies) {
        if let Err(failure) = outcome {
            output.line("")?;
            output.line(format!("{} cannot do it: {failure}", strategy.name()))?;
        }
    }
    output.line("")?;
    if let Some(page) = page {
        output.line(format!("written     {}", page.display()))?;
    }
    let next = if comparison.halt.is_frozen {
        "Nothing was written into the data directory. Next: `reprise plan STRATEGY` with the same edits makes the plan to sign."
    } else {
        "This is a preview. Next: `reprise freeze`, then compare again: what goes on meanwhile changes these figures."
    };
    output.line(next)?;
    Ok(())
}
