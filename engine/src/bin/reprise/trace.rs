//! `reprise trace`: who was credited in error, what became of it to the last unit, and who was touched. Evidence for a plan,
//! not a plan.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use engine::{
    exchange::Exchange,
    recovery::{
        Branch, CreditRow, Edits, FlowKind, Halt, Strategy, Suspects, Timeline, Trace, diff, evaluate, find_halt, trace,
    },
    types::{AccountId, AirdropId, Amount, AssetId, Sequence},
};
use serde_json::{Map, Value, json};

use crate::{
    describe::price_text,
    failure::{FINE, Failure},
    names::{self, Names},
    output::{Output, count, grouped},
    progress::{Progress, telling},
    show::section,
    strategies::{airdrop, range},
};

/// Rows that people are shown; programs, and people with --all, get all.
const ROWS_SHOWN: usize = 20;

/// What to trace.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// What this airdrop paid.
    #[arg(long, value_name = "ID", value_parser = airdrop, required_unless_present = "seq", conflicts_with = "seq")]
    pub airdrop: Option<AirdropId>,
    /// What these commands credited: a sequence, or two with both ends.
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub seq: Option<(Sequence, Sequence)>,
    /// Leave out divergence, which needs the past computed once more without the error.
    #[arg(long)]
    pub quick: bool,
    /// List every recipient and every flow.
    #[arg(long)]
    pub all: bool,
}

/// What would differ if the suspects had not happened, and all else had been tried again.
struct Divergence {
    accounts: BTreeSet<AccountId>,
    trades_void: usize,
    trades_new: usize,
}

/// What was found.
struct Found<'a> {
    trace: &'a Trace,
    halt: Halt,
    names: &'a Names,
    credited: BTreeSet<AccountId>,
    /// Or why there is none.
    divergence: Result<Divergence, String>,
}

/// Traces.
pub fn run(timeline: &Timeline, arguments: &TraceArguments, output: &mut Output) -> Result<u8, Failure> {
    let halt = find_halt(timeline)?;
    let suspects = match (arguments.airdrop, arguments.seq) {
        (Some(airdrop), _) => Suspects::Airdrop(airdrop),
        (None, Some((first, last))) => {
            if first.0 == 0 || last > halt.sequence {
                return Err(Failure::failed(format!(
                    "sequences {first} to {last} are not all between 1 and the halt at {}: `reprise log` lists what there is",
                    halt.sequence
                )));
            }
            Suspects::Sequences((first.0..=last.0).map(Sequence).collect())
        }
        (None, None) => unreachable!("one of the two is required"),
    };
    let trace = trace(timeline, halt.sequence, &suspects, &telling(Progress::start("tracing", None)))?;
    let credited = trace.credited_accounts();
    let (divergence, state) = if arguments.quick {
        (Err("left out".to_owned()), timeline.at(halt.sequence)?)
    } else {
        match without(timeline, halt.sequence, &trace) {
            Ok(branch) => (Ok(divergence(&branch, &credited)), branch.parent),
            Err(error) => (Err(error.to_string()), timeline.at(halt.sequence)?),
        }
    };
    let names = Names::of(&state);
    let found = Found { trace: &trace, halt, names: &names, credited, divergence };
    if output.json {
        output.document(&found.document(&state))?;
    } else {
        found.text(&state, arguments.all, output)?;
    }
    Ok(FINE)
}

/// The past without what credited in error.
fn without(timeline: &Timeline, halt: Sequence, trace: &Trace) -> Result<Branch, engine::recovery::BranchError> {
    // A deposit that is suspected is no fact.
    let suspected = trace.credits.iter().map(|row| (row.sequence, Some("it is suspected".to_owned())));
    let edits = Edits { dropped: suspected.collect(), replaced: BTreeMap::new() };
    let window = halt.0.saturating_sub(edits.cut().0);
    let progress = telling(Progress::start("without the error", Some(window)));
    evaluate(timeline, halt, &Strategy::Excise(edits), &progress)
}

fn divergence(branch: &Branch, credited: &BTreeSet<AccountId>) -> Divergence {
    Divergence {
        accounts: diff(branch, credited).accounts(),
        trades_void: branch.busted.len(),
        trades_new: branch.new_fills.len(),
    }
}

/// The columns of a credit, with their names.
fn columns(row: &CreditRow) -> [(&'static str, Amount); 8] {
    [
        ("credited", row.credited),
        ("available", row.available),
        ("held", row.held),
        ("sold", row.sold),
        ("withdrawn", row.withdrawn),
        ("transferred", row.transferred),
        ("fees", row.fees),
        ("set_off", row.set_off),
    ]
}

const TITLES: [&str; 10] = [
    "asset",
    ">accounts",
    ">credited",
    ">= available",
    ">+ held",
    ">+ sold",
    ">+ withdrawn",
    ">+ transferred",
    ">+ fees",
    ">+ set-off",
];

/// The name of a way.
const fn way(kind: FlowKind) -> &'static str {
    match kind {
        FlowKind::Sold => "sold",
        FlowKind::Transferred => "transferred",
        FlowKind::Withdrawn => "withdrawn",
        FlowKind::Fee => "fee",
    }
}

impl Found<'_> {
    fn amount(&self, asset: AssetId, amount: Amount) -> String {
        self.names.amount(asset, amount.0.into())
    }

    fn told(&self, asset: AssetId, amount: Amount) -> String {
        grouped(&self.amount(asset, amount))
    }

    fn with_asset(&self, asset: AssetId, amount: Amount) -> String {
        format!("{} {}", self.told(asset, amount), self.names.asset(asset))
    }

    /// Accounts that are poisoned and were never credited.
    fn innocent(&self) -> usize {
        self.trace.poisoned.difference(&self.credited).count()
    }

    /// What is where, by asset and hop: in how many accounts, and how much.
    fn by_hop(&self) -> BTreeMap<(AssetId, u8), (u64, u64)> {
        let mut hops: BTreeMap<(AssetId, u8), (u64, u64)> = BTreeMap::new();
        for (_, asset, hop, amount) in self.trace.holders.iter().filter(|(.., amount)| !amount.is_zero()) {
            let hop = hops.entry((*asset, *hop)).or_default();
            *hop = (hop.0 + 1, hop.1 + amount.0);
        }
        hops
    }

    fn innocent_holders(&self) -> usize {
        let holders = self.trace.holders.iter().filter(|(.., amount)| !amount.is_zero()).map(|(account, ..)| account);
        holders.filter(|account| !self.credited.contains(account)).collect::<BTreeSet<_>>().len()
    }

    fn document(&self, state: &Exchange) -> Value {
        let trace = self.trace;
        let amounts = |amounts: &BTreeMap<AssetId, Amount>| -> Value {
            amounts.iter().map(|(asset, it)| (self.names.asset(*asset), json!(self.amount(*asset, *it)))).collect()
        };
        let row = |row: &CreditRow| -> Map<String, Value> {
            let mut object = Map::new();
            object.insert("asset".to_owned(), json!(self.names.asset(row.asset)));
            for (name, amount) in columns(row) {
                object.insert(name.to_owned(), json!(self.amount(row.asset, amount)));
            }
            object.insert("sums_exactly".to_owned(), json!(row.sums_exactly()));
            object.insert("proceeds".to_owned(), amounts(&row.proceeds));
            object.insert("proceeds_withdrawn".to_owned(), amounts(&row.proceeds_withdrawn));
            object
        };
        let recipient = |credit: &CreditRow| {
            let mut object = row(credit);
            object.insert("account".to_owned(), json!(credit.account.0));
            object.insert("sequence".to_owned(), json!(credit.sequence.0));
            object
        };
        let totals = trace.totals().into_iter().map(|total| {
            let mut object = row(&total);
            object.insert("accounts".to_owned(), json!(self.accounts_of(total.asset)));
            object
        });
        let flows = trace.flows.iter().map(|flow| {
            json!({
                "from": names::account(flow.from), "to": names::account(flow.to), "asset": self.names.asset(flow.asset),
                "amount": self.amount(flow.asset, flow.amount), "by": way(flow.kind), "hop": flow.hop,
            })
        });
        let others = trace.other_flows.iter().map(|((asset, kind), amount)| {
            json!({ "asset": self.names.asset(*asset), "by": way(*kind), "amount": self.amount(*asset, *amount) })
        });
        let hops = self.by_hop().into_iter().map(|((asset, hop), (accounts, amount))| {
            json!({
                "asset": self.names.asset(asset), "hop": hop, "accounts": accounts,
                "amount": self.amount(asset, Amount(amount)),
            })
        });
        let moved = trace.hops.iter().map(|((asset, hop, kind), amount)| {
            json!({
                "asset": self.names.asset(*asset), "hop": hop, "by": way(*kind),
                "amount": self.amount(*asset, *amount),
            })
        });
        let markets = trace.markets.iter().map(|market| {
            let price = |price| self.names.price(market.market, price);
            json!({
                "market": self.names.market(market.market), "before": market.before.map(price),
                "lowest": price(market.lowest), "highest": price(market.highest), "last": price(market.last),
                "trades": market.fills, "trades_touched": market.fills_touched,
            })
        });
        let divergence = match &self.divergence {
            Ok(found) => json!({
                "accounts": found.accounts.len(),
                "innocent": found.accounts.difference(&self.credited).count(),
                "trades_void": found.trades_void, "trades_new": found.trades_new,
            }),
            Err(why) => json!({ "left_out": why }),
        };
        json!({
            "journal_id": self.halt.journal_id.to_string(), "epoch": self.halt.epoch.0, "halt": self.halt.sequence.0,
            "frozen": self.halt.is_frozen, "state_hash": state.state_hash().to_string(),
            "first": { "sequence": trace.first.0.0, "time": names::time(trace.first.1) },
            "last": { "sequence": trace.last.0.0, "time": names::time(trace.last.1) },
            "halted": names::time(trace.halt.1), "commands": trace.commands,
            "sums_exactly": trace.credits.iter().all(CreditRow::sums_exactly),
            "totals": totals.collect::<Vec<_>>(),
            "recipients": trace.credits.iter().map(recipient).collect::<Vec<_>>(),
            "hops": hops.collect::<Vec<_>>(),
            "moved": moved.collect::<Vec<_>>(),
            "flows": flows.collect::<Vec<_>>(), "other_flows": others.collect::<Vec<_>>(),
            "fifo": { "innocent_holders": self.innocent_holders() },
            "poison": {
                "accounts": trace.poisoned.len(), "innocent": self.innocent(),
                "trades": trace.fills, "trades_touched": trace.fills_touched,
            },
            "divergence": divergence,
            "markets": markets.collect::<Vec<_>>(),
        })
    }

    /// How many accounts were credited in an asset.
    fn accounts_of(&self, asset: AssetId) -> usize {
        let of_asset = self.trace.credits.iter().filter(|row| row.asset == asset);
        of_asset.map(|row| row.account).collect::<BTreeSet<_>>().len()
    }

    fn text(&self, state: &Exchange, all: bool, output: &mut Output) -> Result<(), Failure> {
        let trace = self.trace;
        let seconds = (trace.halt.1.0.saturating_sub(trace.first.1.0)) / 1_000_000_000;
        output.line(format!("traced from  sequence {} at {}", trace.first.0, names::time(trace.first.1)))?;
        let halt =
            if self.halt.is_frozen { "the halt at sequence" } else { "now (the exchange is not frozen), sequence" };
        output.line(format!(
            "through      {halt} {}: {} commands in {} s",
            trace.halt.0,
            count(trace.commands),
            count(seconds)
        ))?;
        output.line("")?;
        let totals = trace.totals();
        let rows = totals.iter().map(|total| {
            let mut row = vec![self.names.asset(total.asset), count(self.accounts_of(total.asset) as u64)];
            row.extend(columns(total).map(|(_, amount)| self.told(total.asset, amount)));
            row
        });
        section(output, "what was credited, and where it is", &TITLES, rows.collect())?;
        output.line("  Every line sums exactly, to the last unit: for each asset, and for each of its recipients.")?;
        for total in totals.iter().filter(|total| !total.proceeds.is_empty()) {
            let list = |amounts: &BTreeMap<AssetId, Amount>| -> String {
                let all: Vec<_> = amounts.iter().map(|(asset, amount)| self.with_asset(*asset, *amount)).collect();
                all.join(", ")
            };
            let out = list(&total.proceeds_withdrawn);
            let out = if out.is_empty() { String::new() } else { format!("; withdrawn of that: {out}") };
            output.line(format!(
                "  For the {} that was sold its recipients got {}{out}.",
                self.names.asset(total.asset),
                list(&total.proceeds)
            ))?;
        }
        self.recipients(all, output)?;
        self.ways(all, output)?;
        self.touched(output)?;
        self.markets(output)?;
        if !self.halt.is_frozen {
            output.line("")?;
            output.line("The exchange is not frozen, so this goes on changing: `reprise freeze` stops it.")?;
        } else if state.global_status() == engine::types::TradingStatus::Frozen {
            output.line("")?;
            output.line(
                "Next: `reprise plan --compare` with the same airdrop or sequences shows what can be done about it.",
            )?;
        }
        Ok(())
    }

    fn recipients(&self, all: bool, output: &mut Output) -> Result<(), Failure> {
        let mut largest: Vec<_> = self.trace.credits.iter().collect();
        largest.sort_by_key(|row| (row.asset, std::cmp::Reverse(row.credited), row.account, row.sequence));
        let shown = if all { largest.len() } else { ROWS_SHOWN };
        let rows = largest.iter().take(shown).map(|row| {
            let mut cells = vec![names::account(row.account), self.names.asset(row.asset)];
            cells.extend(columns(row).map(|(_, amount)| self.told(row.asset, amount)));
            cells
        });
        let mut titles = TITLES;
        (titles[0], titles[1]) = ("recipient", "asset");
        output.line("")?;
        section(output, "recipients, the largest credits first", &titles, rows.collect())?;
        more(output, largest.len(), shown)
    }

    /// Where it went, in order of size.
    fn ways(&self, all: bool, output: &mut Output) -> Result<(), Failure> {
        let rows = self.by_hop().into_iter().map(|((asset, hop), (accounts, amount))| {
            let who = if hop == 0 { "the recipients themselves".to_owned() } else { format!("{hop} hands further") };
            vec![self.names.asset(asset), who, count(accounts), self.told(asset, Amount(amount))]
        });
        output.line("")?;
        let title = "where it is now, first in first out";
        section(output, title, &["asset", "with", ">accounts", ">amount"], rows.collect())?;
        if self.trace.flows.is_empty() {
            return Ok(());
        }
        let rows = self.trace.hops.iter().map(|((asset, hop, kind), amount)| {
            vec![self.names.asset(*asset), hop.to_string(), way(*kind).to_owned(), self.told(*asset, *amount)]
        });
        output.line("")?;
        let title = "from hand to hand: hop 1 is from the recipients";
        section(output, title, &["asset", ">hop", "by", ">amount"], rows.collect())?;
        let shown = if all { self.trace.flows.len() } else { ROWS_SHOWN };
        let rows = self.trace.flows.iter().take(shown).map(|flow| {
            vec![
                names::account(flow.from),
                names::account(flow.to),
                self.with_asset(flow.asset, flow.amount),
                way(flow.kind).to_owned(),
                flow.hop.to_string(),
            ]
        });
        output.line("")?;
        section(output, "where it went, the largest first", &["from", "to", ">amount", "by", ">hop"], rows.collect())?;
        more(output, self.trace.flows.len(), shown)?;
        for ((asset, kind), amount) in &self.trace.other_flows {
            output.line(format!("  and {} {} in smaller ones", self.with_asset(*asset, *amount), way(*kind)))?;
        }
        Ok(())
    }

    /// Three measures of who was touched.
    fn touched(&self, output: &mut Output) -> Result<(), Failure> {
        let trace = self.trace;
        output.line("")?;
        output.line("touched, by three measures")?;
        let hops = trace.flows.iter().map(|flow| flow.hop).max().unwrap_or(0);
        output.line(format!(
            "  first in first out  {} accounts that were never credited hold some of it now, up to {hops} hands away",
            count(self.innocent_holders() as u64)
        ))?;
        output.line(format!(
            "  poison              {} accounts got anything from one that had it, {} of them never credited; {} of {} trades",
            count(trace.poisoned.len() as u64),
            count(self.innocent() as u64),
            count(trace.fills_touched),
            count(trace.fills)
        ))?;
        match &self.divergence {
            Ok(found) => output.line(format!(
                "  divergence          {} accounts would be otherwise without it, {} of them never credited; {} trades not there, {} others instead",
                count(found.accounts.len() as u64),
                count(found.accounts.difference(&self.credited).count() as u64),
                count(found.trades_void as u64),
                count(found.trades_new as u64)
            ))?,
            Err(why) => output.line(format!("  divergence          not computed: {why}"))?,
        }
        Ok(())
    }

    fn markets(&self, output: &mut Output) -> Result<(), Failure> {
        let mut markets: Vec<_> = self.trace.markets.iter().filter(|market| market.fills_touched > 0).collect();
        markets.sort_by_key(|market| (std::cmp::Reverse(market.fills_touched), market.market));
        if markets.is_empty() {
            return Ok(());
        }
        let rows = markets.iter().take(ROWS_SHOWN).map(|market| {
            let price = |price| price_text(self.names, market.market, price);
            vec![
                self.names.market(market.market),
                count(market.fills),
                count(market.fills_touched),
                market.before.map_or_else(|| "-".to_owned(), price),
                price(market.lowest),
                price(market.highest),
                price(market.last),
            ]
        });
        let titles = ["market", ">trades", ">touched", ">before", ">lowest", ">highest", ">last"];
        output.line("")?;
        section(output, "markets touched", &titles, rows.collect())?;
        more(output, markets.len(), ROWS_SHOWN)
    }
}

/// Says how many rows are not shown.
pub fn more(output: &mut Output, all: usize, shown: usize) -> Result<(), Failure> {
    if all > shown {
        output.line(format!("  and {} more: --json lists all", count((all - shown) as u64)))?;
    }
    Ok(())
}
