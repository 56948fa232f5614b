//! `reprise diff`: what changed between two moments.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    event::Event,
    exchange::{Balance, Exchange, MarketView, OrderView, Withdrawal},
    recovery::Timeline,
    types::{AccountId, Amount, AssetId, MarketId, OrderId, Side, TradingStatus, WithdrawalId},
};
use serde_json::{Value, json};

use crate::{
    arguments::DiffArguments,
    describe::{price_text, quantity_text},
    failure::{DAMAGED, FINE, Failure},
    moments::{self, At},
    names::{self, Names},
    orders::{Followed, Orders},
    output::{Output, count, grouped},
    payouts,
    show::{order_json, withdrawal_json},
};

/// What of a state is compared.
struct Picture {
    sequence: u64,
    time: Option<String>,
    status: TradingStatus,
    accounts: BTreeMap<AccountId, bool>,
    balances: BTreeMap<(AssetId, AccountId), Balance>,
    system: BTreeMap<(AssetId, AccountId), i128>,
    markets: BTreeMap<MarketId, MarketView>,
    orders: BTreeMap<OrderId, OrderView>,
    withdrawals: BTreeMap<WithdrawalId, Withdrawal>,
    debts: BTreeMap<(AssetId, AccountId), Amount>,
    /// Of the whole exchange: controls, operators, airdrops, reserves, limits.
    standings: BTreeMap<String, String>,
}

impl Picture {
    fn of(at: &At, only: Option<AccountId>) -> Self {
        let exchange = at.exchange();
        let concerned = |account: AccountId| only.is_none_or(|only| only == account);
        let accounts: Vec<_> = exchange.accounts().filter(|view| concerned(view.account)).collect();
        let with_account = |account: AccountId| move |(asset, balance)| ((asset, account), balance);
        let withdrawals = exchange.withdrawals().into_iter();
        Self {
            sequence: at.sequence().0,
            time: at.time.map(names::time),
            status: exchange.global_status(),
            balances: accounts
                .iter()
                .flat_map(|view| view.balances.iter().copied().map(with_account(view.account)))
                .collect(),
            accounts: accounts.iter().map(|view| (view.account, view.suspended)).collect(),
            system: system(exchange),
            markets: exchange.markets().map(|market| (market.spec.market, market)).collect(),
            orders: open_orders(exchange)
                .filter(|order| concerned(order.account))
                .map(|view| (view.order, view))
                .collect(),
            withdrawals: withdrawals.filter(|(_, known)| concerned(known.account)).collect(),
            debts: exchange
                .receivables()
                .filter(|(account, ..)| concerned(*account))
                .map(|(account, asset, owed)| ((asset, account), owed))
                .collect(),
            standings: if only.is_none() {
                payouts::standings(exchange, &Names::of(exchange))
            } else {
                BTreeMap::new()
            },
        }
    }
}

fn system(exchange: &Exchange) -> BTreeMap<(AssetId, AccountId), i128> {
    let of_asset = |asset: AssetId| {
        let balances = exchange.system_balances(asset).unwrap_or_default();
        AccountId::SYSTEM.into_iter().zip(balances).map(move |(account, balance)| ((asset, account), balance))
    };
    exchange.assets().flat_map(|spec| of_asset(spec.asset)).collect()
}

fn open_orders(exchange: &Exchange) -> impl Iterator<Item = OrderView> {
    let both = |market: MarketView| [Side::Buy, Side::Sell].map(|side| (market.spec.market, side));
    exchange.markets().flat_map(both).flat_map(|(market, side)| exchange.queue(market, side))
}

/// One balance that changed, in minor units.
struct Change {
    asset: AssetId,
    account: AccountId,
    before: (i128, i128),
    after: (i128, i128),
}

impl Change {
    const fn available(&self) -> i128 {
        self.after.0 - self.before.0
    }

    const fn held(&self) -> i128 {
        self.after.1 - self.before.1
    }

    const fn total(&self) -> i128 {
        self.available() + self.held()
    }

    /// What it is sorted by: the change of the whole, then what only moved between available and held.
    const fn size(&self) -> (u128, u128) {
        (self.total().unsigned_abs(), self.available().unsigned_abs())
    }
}

/// What happened to one asset altogether.
struct Total {
    asset: AssetId,
    available: i128,
    held: i128,
    system: BTreeMap<AccountId, i128>,
}

impl Total {
    fn sum(&self) -> i128 {
        self.available + self.held + self.system.values().sum::<i128>()
    }
}

/// Compares.
pub fn run(timeline: &Timeline, arguments: &DiffArguments, output: &mut Output) -> Result<u8, Failure> {
    let directory = timeline.directory();
    let mut at = moments::at(timeline, arguments.from)?;
    let to = moments::target(directory, arguments.to)?;
    if let moments::Target::After(to) = to
        && to < at.sequence()
    {
        return Err(Failure::Usage(format!("--from {} is after --to {to}", at.sequence())));
    }
    let before = Picture::of(&at, arguments.account);
    let mut followed = Orders::of(at.exchange());
    let (mut ended, mut passing) = (BTreeMap::<OrderId, Followed>::new(), 0_u64);
    at.follow_to(to, |step| {
        for event in step.events {
            // An order that came and went, and is back by a new epoch.
            if let Event::OrderRestored { order, account, .. } = event
                && arguments.account.is_none_or(|only| only == *account)
                && followed.side(*order).is_none()
                && order.0 > before.sequence
            {
                passing = passing.saturating_sub(1);
            }
            followed.take(step.command.sequence, step.command.time, &step.command.command, event, |order| {
                if arguments.account.is_some_and(|account| account != order.account) {
                    return;
                }
                if before.orders.contains_key(&order.order) {
                    ended.insert(order.order, order);
                } else {
                    passing += 1;
                }
            });
        }
    })?;
    let after = Picture::of(&at, arguments.account);
    ended.retain(|order, _| !after.orders.contains_key(order));
    let names = Names::of(at.exchange());
    let diff = Diff { before, after, ended, passing, names };
    if output.json {
        diff.json(output)?
    } else {
        diff.text(output, arguments.account.is_none())?
    }
    // Of one account alone there is nothing that could sum to zero.
    let balanced = arguments.account.is_some() || diff.totals().iter().all(|total| total.sum() == 0);
    Ok(if balanced { FINE } else { DAMAGED })
}

struct Diff {
    before: Picture,
    after: Picture,
    /// Orders that were open before and are not any more.
    ended: BTreeMap<OrderId, Followed>,
    /// How many orders came and went in between.
    passing: u64,
    names: Names,
}

impl Diff {
    /// Assets ascending, in each the largest change first.
    fn changes(&self) -> Vec<Change> {
        let parts = |balance: Option<&Balance>| {
            balance.map_or((0, 0), |balance| (balance.available.0.into(), balance.held.0.into()))
        };
        let keys: BTreeSet<_> = self.before.balances.keys().chain(self.after.balances.keys()).copied().collect();
        let changes = keys.into_iter().map(|key| Change {
            asset: key.0,
            account: key.1,
            before: parts(self.before.balances.get(&key)),
            after: parts(self.after.balances.get(&key)),
        });
        let mut changes: Vec<_> = changes.filter(|change| change.before != change.after).collect();
        changes.sort_by(|one, other| {
            (one.asset, other.size(), one.account).cmp(&(other.asset, one.size(), other.account))
        });
        changes
    }

    fn totals(&self) -> Vec<Total> {
        let mut totals: BTreeMap<AssetId, Total> = BTreeMap::new();
        let empty = |asset| Total { asset, available: 0, held: 0, system: BTreeMap::new() };
        for change in self.changes() {
            let total = totals.entry(change.asset).or_insert_with(|| empty(change.asset));
            total.available += change.available();
            total.held += change.held();
        }
        for (&(asset, account), after) in &self.after.system {
            let delta = after - self.before.system.get(&(asset, account)).copied().unwrap_or(0);
            if delta != 0 {
                totals.entry(asset).or_insert_with(|| empty(asset)).system.insert(account, delta);
            }
        }
        totals.into_values().collect()
    }

    fn opened(&self) -> Vec<&OrderView> {
        self.after.orders.values().filter(|order| !self.before.orders.contains_key(&order.order)).collect()
    }

    fn changed(&self) -> Vec<(&OrderView, &OrderView)> {
        let pairs = self.before.orders.values();
        let pairs = pairs.filter_map(|before| self.after.orders.get(&before.order).map(|after| (before, after)));
        pairs.filter(|(before, after)| before != after).collect()
    }

    /// Those that changed: before and after, where a new epoch can have made one that is not there any more.
    fn withdrawals(&self) -> Vec<(WithdrawalId, Option<&Withdrawal>, Option<&Withdrawal>)> {
        let ids: BTreeSet<_> = self.before.withdrawals.keys().chain(self.after.withdrawals.keys()).collect();
        let all = ids.into_iter().map(|id| (*id, self.before.withdrawals.get(id), self.after.withdrawals.get(id)));
        all.filter(|(_, before, after)| before != after).collect()
    }

    /// Debts that changed: asset, account, before, after.
    fn debts(&self) -> Vec<(AssetId, AccountId, Amount, Amount)> {
        let keys: BTreeSet<_> = self.before.debts.keys().chain(self.after.debts.keys()).copied().collect();
        let of = |picture: &Picture, key| picture.debts.get(&key).copied().unwrap_or_default();
        let all = keys.into_iter().map(|key| (key.0, key.1, of(&self.before, key), of(&self.after, key)));
        all.filter(|(.., before, after)| before != after).collect()
    }

    /// Changes of status, as what, before and after.
    fn statuses(&self) -> Vec<[String; 3]> {
        let mut changes = Vec::new();
        let mut compare = |what: String, before: String, after: String| {
            if before != after {
                changes.push([what, before, after]);
            }
        };
        compare("exchange".to_owned(), self.before.status.to_string(), self.after.status.to_string());
        let market = |view: Option<&MarketView>| {
            view.map_or_else(
                || "-".to_owned(),
                |view| {
                    let (maker, taker) = (view.spec.maker_rate, view.spec.taker_rate);
                    format!("{}, fees {maker}/{taker} per 100,000", view.status)
                },
            )
        };
        for (id, after) in &self.after.markets {
            compare(self.names.market(*id), market(self.before.markets.get(id)), market(Some(after)));
        }
        let account = |suspended: Option<&bool>| match suspended {
            None => "-".to_owned(),
            Some(true) => "suspended".to_owned(),
            Some(false) => "active".to_owned(),
        };
        for (id, after) in &self.after.accounts {
            compare(names::account(*id), account(self.before.accounts.get(id)), account(Some(after)));
        }
        let (before, after) = (&self.before.standings, &self.after.standings);
        let whats: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let standing = |all: &BTreeMap<String, String>, what| all.get(what).cloned().unwrap_or_else(|| "-".to_owned());
        for what in whats {
            compare(what.clone(), standing(before, what), standing(after, what));
        }
        changes
    }

    fn json(&self, output: &mut Output) -> Result<(), Failure> {
        let names = &self.names;
        let moment = |picture: &Picture| json!({ "sequence": picture.sequence, "time": picture.time });
        let balances: Vec<_> = self
            .changes()
            .iter()
            .map(|change| {
                let amount = |amount| names.amount(change.asset, amount);
                json!({
                    "asset": names.asset(change.asset), "account": change.account.0,
                    "available": { "before": amount(change.before.0), "after": amount(change.after.0), "delta": amount(change.available()) },
                    "held": { "before": amount(change.before.1), "after": amount(change.after.1), "delta": amount(change.held()) },
                    "delta": amount(change.total()),
                })
            })
            .collect();
        let totals: Vec<_> = self
            .totals()
            .iter()
            .map(|total| {
                let amount = |amount| names.amount(total.asset, amount);
                let system = total.system.iter();
                let system: serde_json::Map<String, Value> =
                    system.map(|(account, delta)| (names::account(*account), json!(amount(*delta)))).collect();
                json!({
                    "asset": names.asset(total.asset), "available": amount(total.available), "held": amount(total.held),
                    "system": system, "sum": amount(total.sum()),
                })
            })
            .collect();
        let closed: Vec<_> = self
            .ended
            .values()
            .map(|order| {
                json!({
                    "order": order.order.0, "account": order.account.0, "market": names.market(order.market),
                    "side": order.side.to_string(), "price": names.price(order.market, order.price),
                    "how": how(order), "sequence": order.end.map(|end| end.sequence.0),
                })
            })
            .collect();
        let changed: Vec<_> = self
            .changed()
            .into_iter()
            .map(|(before, after)| json!({ "before": order_json(names, before), "after": order_json(names, after) }))
            .collect();
        let withdrawals: Vec<_> = self
            .withdrawals()
            .into_iter()
            .filter_map(|(id, before, after)| {
                let mut object = withdrawal_json(names, id, after.or(before)?);
                object["before"] = json!(before.map(|before| before.state.to_string()));
                if after.is_none() {
                    object["state"] = json!("gone");
                }
                Some(object)
            })
            .collect();
        let statuses = self.statuses().into_iter();
        output.document(&json!({
            "from": moment(&self.before), "to": moment(&self.after), "balances": balances, "totals": totals,
            "orders": {
                "opened": self.opened().into_iter().map(|order| order_json(names, order)).collect::<Vec<_>>(),
                "closed": closed, "changed": changed, "opened_and_closed": self.passing,
            },
            "withdrawals": withdrawals,
            "debts": self.debts().into_iter().map(|(asset, account, before, after)| json!({
                "asset": names.asset(asset), "account": account.0, "before": names.amount(asset, before.0.into()),
                "after": names.amount(asset, after.0.into()),
            })).collect::<Vec<_>>(),
            "statuses": statuses.map(|[what, before, after]| json!({ "what": what, "before": before, "after": after })).collect::<Vec<_>>(),
        }))?;
        Ok(())
    }

    fn text(&self, output: &mut Output, whole: bool) -> Result<(), Failure> {
        let names = &self.names;
        let moment = |picture: &Picture| {
            let time = picture.time.as_ref().map_or_else(String::new, |time| format!(" ({time})"));
            format!("{}{time}", picture.sequence)
        };
        output.line(format!("from {} to {}", moment(&self.before), moment(&self.after)))?;
        output.line("")?;
        let rows = self.changes().into_iter().map(|change| {
            let cell = |before, after, delta| {
                let [before, after] = [before, after].map(|amount| grouped(&names.amount(change.asset, amount)));
                let delta = signed(names, change.asset, delta);
                format!("{before} -> {after} ({delta})")
            };
            vec![
                names.asset(change.asset),
                names::account(change.account),
                signed(names, change.asset, change.total()),
                cell(change.before.0, change.after.0, change.available()),
                cell(change.before.1, change.after.1, change.held()),
            ]
        });
        let titles = ["asset", "account", ">total", ">available", ">held"];
        section(output, "balances", &titles, rows.collect())?;
        if whole {
            let rows = self.totals().into_iter().map(|total| {
                let system = total.system.iter();
                let system: Vec<_> = system
                    .map(|(account, delta)| {
                        format!("{} {}", names::account(*account), signed(names, total.asset, *delta))
                    })
                    .collect();
                let sum = if total.sum() == 0 {
                    "sums to zero".to_owned()
                } else {
                    format!("DOES NOT SUM TO ZERO: {}", signed(names, total.asset, total.sum()))
                };
                let [available, held] = [total.available, total.held].map(|delta| signed(names, total.asset, delta));
                vec![names.asset(total.asset), available, held, system.join(", "), sum]
            });
            let titles = ["asset", ">users available", ">users held", "system", "sum"];
            section(output, "totals", &titles, rows.collect())?;
        }
        let row = |order: &OrderView| {
            vec![
                order.order.to_string(),
                order.account.to_string(),
                names.market(order.market),
                order.side.to_string(),
                quantity_text(names, order.market, order.quantity),
                price_text(names, order.market, order.price),
            ]
        };
        let titles = ["order", "account", "market", "side", ">open", ">price", "what"];
        section(output, "orders opened", &titles[..6], self.opened().into_iter().map(row).collect())?;
        let rows = self.changed().into_iter().map(|(before, after)| {
            let was = quantity_text(names, before.market, before.quantity);
            let price = price_text(names, before.market, before.price);
            let mut row = row(after);
            row.push(format!("was {was} @ {price}"));
            row
        });
        section(output, "orders changed", &titles, rows.collect())?;
        let rows = self.ended.values().filter_map(|ended| {
            let mut row = row(self.before.orders.get(&ended.order)?);
            let sequence = ended.end.map_or(0, |end| end.sequence.0);
            row.push(format!("{} at {sequence}", how(ended)));
            Some(row)
        });
        section(output, "orders closed", &titles, rows.collect())?;
        output.line(format!("orders opened and closed in between: {}", count(self.passing)))?;
        let rows = self.withdrawals().into_iter().filter_map(|(id, before, after)| {
            let known = after.or(before)?;
            let amount =
                format!("{} {}", grouped(&names.amount(known.asset, known.amount.0.into())), names.asset(known.asset));
            let [was, is] = [(before, "-"), (after, "gone")]
                .map(|(known, none)| known.map_or_else(|| none.to_owned(), |known| known.state.to_string()));
            Some(vec![id.to_string(), known.account.to_string(), amount, was, is])
        });
        section(output, "withdrawals", &["id", "account", ">amount", "before", "after"], rows.collect())?;
        let rows = self.debts().into_iter().map(|(asset, account, before, after)| {
            let [before, after] = [before, after].map(|owed| grouped(&names.amount(asset, owed.0.into())));
            vec![names.asset(asset), names::account(account), before, after]
        });
        section(output, "owed by accounts", &["asset", "account", ">before", ">after"], rows.collect())?;
        let rows = self.statuses().into_iter().map(Vec::from);
        section(output, "status", &["what", "before", "after"], rows.collect())
    }
}

fn how(order: &Followed) -> String {
    match order.end.and_then(|end| end.cancelled) {
        None => "filled".to_owned(),
        Some(reason) => format!("cancelled ({reason})"),
    }
}

fn signed(names: &Names, asset: AssetId, delta: i128) -> String {
    let sign = if delta > 0 { "+" } else { "" };
    format!("{sign}{}", grouped(&names.amount(asset, delta)))
}

fn section(output: &mut Output, title: &str, titles: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    if rows.is_empty() {
        output.line(format!("{title}: none"))?;
        return Ok(());
    }
    output.line(format!("{title}:"))?;
    output.table(titles, &rows)?;
    Ok(())
}
