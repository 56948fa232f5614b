//! `reprise show`: the exchange, an account, a market or an order as it was at a moment.

use engine::{
    event::{Event, RejectReason},
    exchange::{Exchange, OrderView, Withdrawal, WithdrawalState},
    recovery::Timeline,
    types::{AccountId, AssetId, MarketId, OrderId, Quantity, Sequence, Side, Timestamp, TradingStatus, WithdrawalId},
};
use serde_json::{Value, json};

use crate::{
    arguments::ShowArguments,
    describe::{price_text, quantity_text},
    failure::{FINE, Failure},
    log::event_json,
    moments::{self, At, Target},
    names::{self, Names},
    orders::{Followed, Orders, Recoveries},
    output::{Output, count, grouped},
    payouts,
};

/// Shows.
pub fn run(timeline: &Timeline, arguments: &ShowArguments, output: &mut Output) -> Result<u8, Failure> {
    if let Some(order) = arguments.order {
        return show_order(timeline, arguments, order, output);
    }
    let at = moments::at(timeline, arguments.at)?;
    let names = Names::of(at.exchange());
    match (arguments.account, &arguments.market) {
        (Some(account), _) => show_account(&at, &names, account, output)?,
        (None, Some(market)) => {
            let market = names.find_market(market).map_err(Failure::Failed)?;
            if arguments.orders {
                show_orders(&at, &names, market, arguments.depth, output)?;
            } else {
                show_levels(&at, &names, market, arguments.depth, output)?;
            }
        }
        (None, None) => show_summary(&at, &names, output)?,
    }
    Ok(FINE)
}

fn moment(at: &At) -> Value {
    json!({ "sequence": at.sequence().0, "time": at.time.map(names::time) })
}

fn moment_line(sequence: Sequence, time: Option<Timestamp>) -> String {
    let time = time.map_or_else(String::new, |time| format!(" of {}", names::time(time)));
    format!("after sequence {}{time}", sequence.0)
}

/// An amount for a column of one asset.
fn cell(names: &Names, asset: AssetId, amount: i128) -> String {
    grouped(&names.amount(asset, amount))
}

fn show_summary(at: &At, names: &Names, output: &mut Output) -> Result<(), Failure> {
    let exchange = at.exchange();
    let accounts = exchange.accounts().count();
    let suspended = exchange.accounts().filter(|account| account.suspended).count();
    let open_orders = exchange.matcher().open_orders();
    let withdrawals = exchange.withdrawals();
    let pending = withdrawals.iter().filter(|(_, withdrawal)| is_pending(withdrawal.state)).count();
    let state_hash = exchange.state_hash().to_string();
    let held = held_by_users(exchange);
    let best = |market: MarketId| {
        exchange.book(market, 1).map(|book| (book.bids.first().copied(), book.asks.first().copied()))
    };
    if output.json {
        let assets: Vec<_> = exchange
            .assets()
            .map(|spec| {
                let system = exchange.system_balances(spec.asset).unwrap_or_default();
                let system: serde_json::Map<String, Value> = AccountId::SYSTEM
                    .iter()
                    .zip(system)
                    .map(|(account, balance)| (names::account(*account), json!(names.amount(spec.asset, balance))))
                    .collect();
                let users = held.iter().find(|(asset, ..)| *asset == spec.asset);
                json!({
                    "id": spec.asset.0, "symbol": spec.symbol.to_string(), "scale": spec.scale,
                    "supply": names.amount(spec.asset, supply(exchange, spec.asset)),
                    "users_available": names.amount(spec.asset, users.map_or(0, |(_, available, _)| *available)),
                    "users_held": names.amount(spec.asset, users.map_or(0, |(_, _, held)| *held)),
                    "system": system,
                })
            })
            .collect();
        let markets: Vec<_> = exchange
            .markets()
            .map(|market| {
                let (bid, ask) = best(market.spec.market).unwrap_or_default();
                json!({
                    "id": market.spec.market.0, "name": names.market(market.spec.market), "status": market.status.to_string(),
                    "best_bid": bid.map(|level| names.price(market.spec.market, level.price)),
                    "best_ask": ask.map(|level| names.price(market.spec.market, level.price)),
                })
            })
            .collect();
        output.document(&json!({
            "at": moment(at), "status": exchange.global_status().to_string(), "accounts": accounts,
            "suspended_accounts": suspended, "open_orders": open_orders, "withdrawals": withdrawals.len(),
            "pending_withdrawals": pending, "assets": assets, "markets": markets, "state_hash": state_hash,
            "payouts": payouts::json(exchange, names),
        }))?;
        return Ok(());
    }
    output.line(format!("exchange {}: {}", moment_line(at.sequence(), at.time), exchange.global_status()))?;
    output.line(format!(
        "{} accounts ({} suspended), {} open orders, {} withdrawals ({} under way)",
        count(accounts as u64),
        count(suspended as u64),
        count(open_orders as u64),
        count(withdrawals.len() as u64),
        count(pending as u64)
    ))?;
    output.line(format!("state hash {state_hash}"))?;
    output.line("")?;
    let rows: Vec<_> = exchange
        .assets()
        .map(|spec| {
            let users = held.iter().find(|(asset, ..)| *asset == spec.asset).copied();
            let (_, available, held) = users.unwrap_or((spec.asset, 0, 0));
            let mut row = vec![spec.symbol.to_string(), cell(names, spec.asset, supply(exchange, spec.asset))];
            row.extend([available, held].map(|amount| cell(names, spec.asset, amount)));
            let system = exchange.system_balances(spec.asset).unwrap_or_default();
            row.extend(system.map(|balance| cell(names, spec.asset, balance)));
            row
        })
        .collect();
    let titles = [
        "asset",
        ">supply",
        ">users available",
        ">users held",
        ">EXTERNAL",
        ">FEES",
        ">TREASURY",
        ">RECEIVABLES",
        ">UNBACKED",
    ];
    output.table(&titles, &rows)?;
    output.line("")?;
    let rows: Vec<_> = exchange
        .markets()
        .map(|market| {
            let id = market.spec.market;
            let (bid, ask) = best(id).unwrap_or_default();
            let price = |level: Option<engine::exchange::LevelView>| {
                level.map_or_else(|| "-".to_owned(), |level| price_text(names, id, level.price))
            };
            vec![id.0.to_string(), names.market(id), market.status.to_string(), price(bid), price(ask)]
        })
        .collect();
    output.table(&[">id", "market", "status", ">best bid", ">best ask"], &rows)?;
    payouts::text(exchange, names, output)
}

/// What users have of each asset: available and held.
fn held_by_users(exchange: &Exchange) -> Vec<(AssetId, i128, i128)> {
    let mut sums: Vec<_> = exchange.assets().map(|spec| (spec.asset, 0, 0)).collect();
    for account in exchange.accounts() {
        for (asset, balance) in account.balances {
            if let Ok(index) = sums.binary_search_by_key(&asset, |(asset, ..)| *asset) {
                sums[index].1 += i128::from(balance.available.0);
                sums[index].2 += i128::from(balance.held.0);
            }
        }
    }
    sums
}

/// What was let in and has not left.
fn supply(exchange: &Exchange, asset: AssetId) -> i128 {
    -exchange.system_balances(asset).unwrap_or_default()[0]
}

const fn is_pending(state: WithdrawalState) -> bool {
    matches!(state, WithdrawalState::Requested | WithdrawalState::Released | WithdrawalState::Sent)
}

fn show_account(at: &At, names: &Names, account: AccountId, output: &mut Output) -> Result<(), Failure> {
    let exchange = at.exchange();
    let Some(view) = exchange.account(account) else {
        return Err(Failure::failed(format!("there is no account {account} after sequence {}", at.sequence())));
    };
    let orders = exchange.orders_of_account(account);
    let withdrawals = exchange.withdrawals_of(account);
    let owes = payouts::owed_by(exchange, account);
    let locked = payouts::locked(exchange, account);
    if output.json {
        let balances: Vec<_> = view
            .balances
            .iter()
            .map(|(asset, balance)| {
                let [available, held] = [balance.available.0, balance.held.0].map(i128::from);
                json!({
                    "asset": names.asset(*asset), "available": names.amount(*asset, available),
                    "held": names.amount(*asset, held), "total": names.amount(*asset, available + held),
                })
            })
            .collect();
        output.document(&json!({
            "at": moment(at), "account": account.0, "suspended": view.suspended, "balances": balances,
            "open_orders": orders.iter().map(|order| order_json(names, order)).collect::<Vec<_>>(),
            "withdrawals": withdrawals.iter().map(|(id, known)| withdrawal_json(names, *id, known)).collect::<Vec<_>>(),
            "locked": locked.iter().map(|(airdrop, asset, amount, until)| json!({
                "airdrop": airdrop.0, "asset": names.asset(*asset), "amount": names.amount(*asset, amount.0.into()),
                "until": names::time(*until),
            })).collect::<Vec<_>>(),
            "owes": owes.iter().map(|(asset, amount)| json!({
                "asset": names.asset(*asset), "owed": names.amount(*asset, amount.0.into()),
            })).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    let suspended = if view.suspended { ", suspended" } else { "" };
    output.line(format!("account {account} {}{suspended}", moment_line(at.sequence(), at.time)))?;
    output.line("")?;
    let rows: Vec<_> = view
        .balances
        .iter()
        .map(|(asset, balance)| {
            let [available, held] = [balance.available.0, balance.held.0].map(i128::from);
            let amounts = [available, held, available + held].map(|amount| cell(names, *asset, amount));
            std::iter::once(names.asset(*asset)).chain(amounts).collect()
        })
        .collect();
    section(output, "balances", &["asset", ">available", ">held", ">total"], rows)?;
    let rows = orders.iter().map(|order| order_row(names, order)).collect();
    section(output, "open orders", &ORDER_TITLES, rows)?;
    let rows = withdrawals
        .iter()
        .map(|(id, known)| {
            let amount = format!("{} {}", cell(names, known.asset, known.amount.0.into()), names.asset(known.asset));
            vec![id.to_string(), amount, known.state.to_string(), external(known).unwrap_or_default()]
        })
        .collect();
    section(output, "withdrawals", &["id", ">amount", "state", "ref"], rows)?;
    for (airdrop, asset, amount, until) in locked {
        output.line(format!(
            "{} {} of {airdrop} are locked until {}",
            cell(names, asset, amount.0.into()),
            names.asset(asset),
            names::time(until)
        ))?;
    }
    for (asset, amount) in owes {
        output.line(format!("owes {} {}", cell(names, asset, amount.0.into()), names.asset(asset)))?;
    }
    Ok(())
}

/// A table with its title, or that it has no rows.
pub fn section(output: &mut Output, title: &str, titles: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    if rows.is_empty() {
        output.line(format!("{title}: none"))?;
    } else {
        output.line(title)?;
        output.table(titles, &rows)?;
    }
    Ok(())
}

const ORDER_TITLES: [&str; 6] = ["order", "market", "side", ">open", ">price", "name"];

fn order_row(names: &Names, order: &OrderView) -> Vec<String> {
    let name = if order.client_order_id.0 == 0 { String::new() } else { order.client_order_id.to_string() };
    vec![
        order.order.to_string(),
        names.market(order.market),
        order.side.to_string(),
        quantity_text(names, order.market, order.quantity),
        price_text(names, order.market, order.price),
        name,
    ]
}

/// An open order.
pub fn order_json(names: &Names, order: &OrderView) -> Value {
    json!({
        "order": order.order.0, "account": order.account.0, "market": names.market(order.market),
        "side": order.side.to_string(), "price": names.price(order.market, order.price),
        "open": names.quantity(order.market, order.quantity), "client_order_id": order.client_order_id.0,
    })
}

/// A withdrawal.
pub fn withdrawal_json(names: &Names, id: WithdrawalId, known: &Withdrawal) -> Value {
    json!({
        "withdrawal": id.0, "account": known.account.0, "asset": names.asset(known.asset),
        "amount": names.amount(known.asset, known.amount.0.into()), "state": known.state.to_string(),
        "external_id": external(known),
        "shortfall": (!known.shortfall.is_zero()).then(|| names.amount(known.asset, known.shortfall.0.into())),
    })
}

fn external(known: &Withdrawal) -> Option<String> {
    (known.external_id.0 != [0; 16]).then(|| known.external_id.to_string())
}

fn show_levels(at: &At, names: &Names, market: MarketId, depth: usize, output: &mut Output) -> Result<(), Failure> {
    let Some(book) = at.exchange().book(market, depth) else {
        return Err(Failure::failed(format!("there is no {market} after sequence {}", at.sequence())));
    };
    // What an auction would open at; elsewhere no book is crossed.
    let indicative = at.exchange().indicative(market).filter(|_| book.status == TradingStatus::Auction);
    if output.json {
        let side = |levels: &[engine::exchange::LevelView]| -> Vec<_> {
            let level = |level: &engine::exchange::LevelView| {
                json!({
                    "price": names.price(market, level.price), "quantity": names.quantity(market, level.quantity),
                    "orders": level.orders,
                })
            };
            levels.iter().map(level).collect()
        };
        output.document(&json!({
            "at": moment(at), "market": names.market(market), "status": book.status.to_string(),
            "bids": side(&book.bids), "asks": side(&book.asks),
            "indicative": indicative.map(|indicative| json!({
                "price": names.price(market, indicative.price), "quantity": names.quantity(market, indicative.quantity),
                "imbalance_side": if indicative.imbalance < 0 { "sell" } else { "buy" },
                "imbalance": names.quantity(market, Quantity(indicative.imbalance.unsigned_abs())),
            })),
        }))?;
        return Ok(());
    }
    output.line(format!("{} {}: {}", names.market(market), moment_line(at.sequence(), at.time), book.status))?;
    if let Some(indicative) = indicative {
        let side = if indicative.imbalance < 0 { "sell" } else { "buy" };
        output.line(format!(
            "would open at {} with {}; {} more to {side} at that price",
            price_text(names, market, indicative.price),
            quantity_text(names, market, indicative.quantity),
            quantity_text(names, market, Quantity(indicative.imbalance.unsigned_abs()))
        ))?;
    }
    output.line("")?;
    // As on a screen: the asks above the bids, the best of both in the middle.
    let row = |side: &str, level: &engine::exchange::LevelView| {
        let quantity = quantity_text(names, market, level.quantity);
        vec![side.to_owned(), price_text(names, market, level.price), quantity, count(level.orders.into())]
    };
    let asks = book.asks.iter().rev().map(|level| row("ask", level));
    let rows: Vec<_> = asks.chain(book.bids.iter().map(|level| row("bid", level))).collect();
    section(output, "book", &["side", ">price", ">quantity", ">orders"], rows)?;
    Ok(())
}

fn show_orders(at: &At, names: &Names, market: MarketId, depth: usize, output: &mut Output) -> Result<(), Failure> {
    let exchange = at.exchange();
    // The orders of the best levels, each with its place in its level's queue, from 1.
    let queue = |side: Side| {
        let (mut levels, mut place, mut price) = (0, 0, None);
        let mut queued = Vec::new();
        for order in exchange.queue(market, side) {
            if price != Some(order.price) {
                (levels, place, price) = (levels + 1, 0, Some(order.price));
            }
            if levels > depth {
                break;
            }
            place += 1;
            queued.push((place, order));
        }
        queued
    };
    let (bids, asks) = (queue(Side::Buy), queue(Side::Sell));
    if output.json {
        let list = |orders: &[(u64, OrderView)]| -> Vec<_> {
            let with_place = |(place, order): &(u64, OrderView)| {
                let mut object = order_json(names, order);
                object["position"] = json!(place);
                object
            };
            orders.iter().map(with_place).collect()
        };
        output.document(&json!({
            "at": moment(at), "market": names.market(market), "bids": list(&bids), "asks": list(&asks),
        }))?;
        return Ok(());
    }
    output.line(format!("{} {}", names.market(market), moment_line(at.sequence(), at.time)))?;
    for (title, orders) in [("asks", asks), ("bids", bids)] {
        output.line("")?;
        let rows = orders
            .iter()
            .map(|(place, order)| {
                vec![
                    price_text(names, market, order.price),
                    place.to_string(),
                    order.order.to_string(),
                    order.account.to_string(),
                    quantity_text(names, market, order.quantity),
                ]
            })
            .collect();
        section(output, &format!("{title}, in turn"), &[">price", ">place", "order", "account", ">open"], rows)?;
    }
    Ok(())
}

/// Follows an order from the command that placed it to the moment.
fn show_order(
    timeline: &Timeline,
    arguments: &ShowArguments,
    order: OrderId,
    output: &mut Output,
) -> Result<u8, Failure> {
    let target = moments::target(timeline.directory(), arguments.at)?;
    if order.0 == 0 {
        return Err(Failure::failed("there is no order #0: an order's number is the sequence that placed it"));
    }
    if let Target::After(sequence) = target
        && sequence.0 < order.0
    {
        return Err(Failure::failed(format!("order {order} was not placed yet after sequence {sequence}")));
    }
    let mut at = moments::at_target(timeline, Target::After(Sequence(order.0 - 1)))?;
    let mut names = Names::of(at.exchange());
    let mut orders = Orders::of(at.exchange()).knowing(Recoveries::of_order(order));
    let mut closed: Option<Followed> = None;
    let mut story: Vec<(Sequence, Timestamp, Event, crate::describe::Fields)> = Vec::new();
    let mut refused: Option<RejectReason> = None;
    let mut other: Option<&'static str> = None;
    at.follow_to(target, |step| {
        let (sequence, time) = (step.command.sequence, step.command.time);
        if sequence.0 == order.0 {
            other = Some(step.command.command.kind_name());
        }
        for event in step.events {
            names.learn(event);
            let fields = crate::describe::event(event, &names, |order| orders.side(order));
            orders.take(sequence, time, &step.command.command, event, |ended| {
                if ended.order == order {
                    closed = Some(ended);
                }
            });
            if fields.names_order(order) {
                story.push((sequence, time, *event, fields));
            } else if let (true, Event::Refused { reason, .. }) = (sequence.0 == order.0, event) {
                refused = Some(*reason);
            }
        }
    })?;
    if story.is_empty() {
        let kind = other.unwrap_or("nothing");
        return Err(Failure::failed(match refused {
            Some(reason) => format!("there is no order {order}: the {kind} at that sequence was refused ({reason})"),
            None => format!("there is no order {order}: at that sequence stands a {kind}"),
        }));
    }
    let all = orders.open().chain(orders.closed());
    let followed = closed.or_else(|| all.into_iter().find(|followed| followed.order == order).cloned());
    let followed = followed.ok_or_else(|| Failure::failed(format!("there is no order {order}")))?;
    let position = at.exchange().queue_position(order);
    let market = followed.market;
    let quote = names.market_spec(market).map(|spec| spec.quote).unwrap_or_default();
    if output.json {
        let mut document = json!({
            "at": moment(&at), "order": order.0, "account": followed.account.0, "market": names.market(market),
            "side": followed.side.to_string(), "type": followed.order_type, "status": followed.status(),
            "price": names.price(market, followed.price),
            "quantity": followed.quantity.map(|quantity| names.quantity(market, quantity)),
            "open": names.quantity(market, if followed.end.is_some() { Default::default() } else { followed.open }),
            "filled": names.quantity(market, engine::types::Quantity(followed.filled)),
            "notional": names.amount(quote, followed.notional.into()), "fees": names.amount(quote, followed.fees.into()),
            "fills": followed.fills, "client_order_id": followed.client_order_id.0,
            "placed": followed.placed.map(names::time),
        });
        if let Some(position) = position {
            document["queue"] = json!({
                "orders_ahead": position.orders_ahead,
                "quantity_ahead": names.quantity(market, position.quantity_ahead),
                "quantity_at_better_prices": names.quantity(market, position.quantity_at_better_prices),
            });
        }
        if let Some(end) = followed.end {
            document["ended"] = json!({
                "sequence": end.sequence.0, "time": names::time(end.time),
                "reason": end.cancelled.map_or_else(|| "filled".to_owned(), |reason| reason.to_string()),
            });
        }
        let events = story.iter().map(|(sequence, time, event, fields)| {
            let mut object = event_json(event, fields, &names);
            object.insert("sequence".to_owned(), json!(sequence.0));
            object.insert("time".to_owned(), json!(names::time(*time)));
            object
        });
        document["events"] = json!(events.collect::<Vec<_>>());
        output.document(&document)?;
        return Ok(FINE);
    }
    output.line(format!("order {order} {}: {}", moment_line(at.sequence(), at.time), followed.status()))?;
    let price =
        if followed.price.is_zero() { "at the market".to_owned() } else { price_text(&names, market, followed.price) };
    output.line(format!(
        "  {} {} {} of {}, {price}",
        names.market(market),
        followed.order_type.unwrap_or("order"),
        followed.side,
        followed.account
    ))?;
    output.line(format!(
        "  filled {} in {} fills for {} {}, fees {} {}",
        quantity_text(&names, market, engine::types::Quantity(followed.filled)),
        count(followed.fills),
        cell(&names, quote, followed.notional.into()),
        names.asset(quote),
        cell(&names, quote, followed.fees.into()),
        names.asset(quote)
    ))?;
    if let Some(position) = position {
        output.line(format!(
            "  open {}; ahead of it at its price {} orders with {}, at better prices {}",
            quantity_text(&names, market, followed.open),
            count(position.orders_ahead.into()),
            quantity_text(&names, market, position.quantity_ahead),
            quantity_text(&names, market, position.quantity_at_better_prices)
        ))?;
    }
    if let Some(end) = followed.end {
        let how = end.cancelled.map_or_else(|| "filled".to_owned(), |reason| format!("cancelled ({reason})"));
        output.line(format!("  {how} at sequence {} of {}", end.sequence, names::time(end.time)))?;
    }
    output.line("")?;
    for (sequence, time, event, fields) in &story {
        output.line(format!(
            "{:>10}  {}  {} {}",
            sequence.0,
            names::time(*time),
            event.kind_name(),
            fields.text(&names)
        ))?;
    }
    Ok(FINE)
}
