//! `reprise export`: history as tables, to SQLite and to CSV. The ledger is written in double entry: the effect of every
//! event as entries that sum to zero for each asset and sequence.

mod csv;
mod entries;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tables;

use std::cell::Cell as Shared;

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    exchange::Exchange,
    recovery::Timeline,
    types::{AccountId, Amount, Sequence},
};
use serde_json::json;

use crate::{
    arguments::ExportArguments,
    describe,
    failure::{FINE, Failure},
    log::cause,
    moments::{self, Target},
    names::{self, Names},
    orders::{Followed, Orders, recoveries},
    output::{Output, count},
    payouts::airdrop_state,
};
use entries::Entries;
use tables::{Cell, TABLES, Table};

/// Takes rows.
trait Sink {
    fn row(&mut self, table: Table, cells: &[Cell<'_>]) -> Result<(), Failure>;
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// Where rows go, and how many went.
struct Sinks {
    sinks: Vec<Box<dyn Sink>>,
    rows: Vec<u64>,
}

impl Sinks {
    fn row(&mut self, table: Table, cells: &[Cell<'_>]) -> Result<(), Failure> {
        debug_assert_eq!(cells.len(), TABLES[table as usize].columns.len());
        self.rows[table as usize] += 1;
        self.sinks.iter_mut().try_for_each(|sink| sink.row(table, cells))
    }
}

/// Exports.
pub fn run(timeline: &Timeline, arguments: &ExportArguments, output: &mut Output) -> Result<u8, Failure> {
    let directory = timeline.directory();
    let before = moments::before(directory, arguments.from)?;
    let last = moments::last(directory, arguments.to)?;
    let mut sinks = Sinks { sinks: Vec::new(), rows: vec![0; TABLES.len()] };
    // From the first command on, so that orders which were placed before the range are known in full.
    let mut at = moments::at_target(timeline, Target::After(Sequence(0)))?;
    let recoveries = recoveries(timeline)?;
    let (mut names, mut orders) = (Names::default(), Orders::of(at.exchange()).knowing(recoveries));
    at.follow_to(before, |step| {
        for event in step.events {
            names.learn(event);
            orders.take(step.command.sequence, step.command.time, &step.command.command, event, |_| {});
        }
    })?;
    if last.is_reached(at.sequence()) && last != before {
        return Err(Failure::Usage(format!("--from is after --to: sequence {} comes after it", at.sequence())));
    }
    #[cfg(feature = "sqlite")]
    if let Some(file) = &arguments.sqlite {
        sinks.sinks.push(Box::new(sqlite::Sqlite::create(file)?));
    }
    if let Some(directory) = &arguments.csv {
        sinks.sinks.push(Box::new(csv::Csv::create(directory)?));
    }
    balances(at.exchange(), Table::OpeningBalances, &mut sinks)?;
    let mut written = Ok(());
    let mut entries = Entries::default();
    let forgiven = Shared::new(Amount::ZERO);
    at.follow_with(
        last,
        |exchange, command| forgiven.set(forgiveness(exchange, command)),
        |step| {
            if written.is_ok() {
                entries.expect_forgiveness(forgiven.get());
                written = write_step(step, &mut names, &mut orders, &mut entries, &mut sinks);
            }
        },
    )?;
    written?;
    let mut open: Vec<_> = orders.open().chain(orders.closed()).collect();
    open.sort_unstable_by_key(|order| order.order);
    open.into_iter().try_for_each(|order| write_order(order, &mut sinks))?;
    write_state(at.exchange(), &names, &mut sinks)?;
    let Sinks { sinks, rows } = sinks;
    sinks.into_iter().try_for_each(Sink::finish)?;
    if output.json {
        let rows: serde_json::Map<_, _> =
            TABLES.iter().zip(rows).map(|(table, rows)| (table.name.to_owned(), json!(rows))).collect();
        output.document(&json!({ "sequence": at.sequence().0, "rows": rows }))?;
    } else {
        output.line(format!("exported through sequence {}", at.sequence()))?;
        let rows = TABLES.iter().zip(rows).map(|(table, rows)| vec![table.name.to_owned(), count(rows)]);
        output.table(&["table", ">rows"], &rows.collect::<Vec<_>>())?;
    }
    Ok(FINE)
}

/// What of a withdrawal would not come back if it failed now: it is set against what its owner owes for it.
fn forgiveness(exchange: &Exchange, command: &SequencedCommand) -> Amount {
    let Command::FailWithdrawal { withdrawal } = command.command else { return Amount::ZERO };
    let known = exchange.risk().withdrawal(withdrawal);
    known.map_or(Amount::ZERO, |known| known.shortfall.min(exchange.owed(known.account, known.asset)))
}

fn write_step(
    step: &engine::recovery::Step<'_>,
    names: &mut Names,
    orders: &mut Orders,
    entries: &mut Entries,
    sinks: &mut Sinks,
) -> Result<(), Failure> {
    let (sequence, time) = (step.command.sequence, step.command.time);
    let place = Cell::from(sequence.0);
    let refused = match step.events {
        // A lock that ends at the same moment is told ahead of it.
        [.., Event::Refused { reason, .. }] => Cell::Text(reason.name()),
        _ => Cell::Null,
    };
    for (index, event) in (0_u64..).zip(step.events) {
        names.learn(event);
        if let Event::Filled {
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
        {
            let spec = names.market_spec(market);
            let notional = spec.and_then(|spec| spec.notional(price, quantity)).unwrap_or_default();
            let base = spec.and_then(|spec| spec.base_amount(quantity)).unwrap_or_default();
            let side = taker_side.to_string();
            let void = orders.recoveries().busted.get(&(sequence, taker, maker));
            sinks.row(
                Table::Fills,
                &[
                    place,
                    index.into(),
                    market.into(),
                    taker.0.into(),
                    maker.0.into(),
                    taker_account.into(),
                    maker_account.into(),
                    Cell::Text(&side),
                    price.0.into(),
                    quantity.0.into(),
                    base.0.into(),
                    notional.0.into(),
                    Cell::Integer(taker_fee),
                    Cell::Integer(maker_fee),
                    void.map_or(Cell::Null, |epoch| Cell::Integer((*epoch).into())),
                ],
            )?;
        }
        for entry in entries.of(event, names, |order| orders.side(order)) {
            let cells = [
                place,
                index.into(),
                entry.account.into(),
                Cell::Integer(entry.asset.0.into()),
                Cell::Text(entry.bucket.name()),
                Cell::Integer(entry.delta),
            ];
            sinks.row(Table::LedgerEntries, &cells)?;
        }
        // A fill can close both of its orders.
        let mut closed: Vec<Followed> = Vec::new();
        orders.take(sequence, time, &step.command.command, event, |order| closed.push(order));
        closed.iter().try_for_each(|order| write_order(order, sinks))?;
    }
    let command = &step.command.command;
    let fields = describe::command(command, names);
    let account = fields.account();
    let (who, text) = (cause(step.command.cause), fields.text(names));
    let cells = [
        place,
        Cell::from(time.0),
        Cell::Text(&who),
        Cell::Text(command.kind_name()),
        account.map_or(Cell::Null, Cell::from),
        refused,
        Cell::Text(&text),
    ];
    sinks.row(Table::Commands, &cells)
}

fn write_order(order: &Followed, sinks: &mut Sinks) -> Result<(), Failure> {
    let side = order.side.to_string();
    let reason = order.end.map(|end| end.cancelled.map_or_else(|| "filled".to_owned(), |reason| reason.to_string()));
    let open = if order.end.is_some() { 0 } else { order.open.0 };
    sinks.row(
        Table::Orders,
        &[
            order.order.0.into(),
            order.account.into(),
            order.market.into(),
            Cell::Text(&side),
            order.order_type.map_or(Cell::Null, Cell::Text),
            order.price.0.into(),
            order.quantity.map_or(Cell::Null, |quantity| quantity.0.into()),
            open.into(),
            order.filled.into(),
            order.notional.into(),
            Cell::Integer(order.fees),
            order.fills.into(),
            order.client_order_id.0.into(),
            order.placed.map_or(Cell::Null, |time| time.0.into()),
            Cell::Text(order.status()),
            order.end.map_or(Cell::Null, |end| end.sequence.0.into()),
            reason.as_deref().map_or(Cell::Null, Cell::Text),
        ],
    )
}

/// All balances, the system's as well.
fn balances(exchange: &Exchange, table: Table, sinks: &mut Sinks) -> Result<(), Failure> {
    for view in exchange.accounts() {
        for (asset, balance) in &view.balances {
            let cells = [
                view.account.into(),
                Cell::Integer(asset.0.into()),
                balance.available.0.into(),
                balance.held.0.into(),
                Cell::Integer(0),
            ];
            sinks.row(table, &cells)?;
        }
    }
    for spec in exchange.assets() {
        let system = exchange.system_balances(spec.asset).unwrap_or_default();
        for (account, balance) in AccountId::SYSTEM.into_iter().zip(system).filter(|(_, balance)| *balance != 0) {
            let balance = i64::try_from(balance).map_err(|_| Failure::failed("a system balance is too large"))?;
            let zero = Cell::Integer(0);
            let cells = [account.into(), Cell::Integer(spec.asset.0.into()), zero, zero, Cell::Integer(balance)];
            sinks.row(table, &cells)?;
        }
    }
    Ok(())
}

fn write_state(exchange: &Exchange, names: &Names, sinks: &mut Sinks) -> Result<(), Failure> {
    for spec in exchange.assets() {
        let symbol = spec.symbol.to_string();
        let unit = 10_u64.pow(spec.scale.into());
        let cells =
            [Cell::Integer(spec.asset.0.into()), Cell::Text(&symbol), Cell::Integer(spec.scale.into()), unit.into()];
        sinks.row(Table::Assets, &cells)?;
    }
    for market in exchange.markets() {
        let spec = market.spec;
        let (name, status) = (names.market(spec.market), market.status.to_string());
        sinks.row(
            Table::Markets,
            &[
                spec.market.into(),
                Cell::Text(&name),
                Cell::Integer(spec.base.0.into()),
                Cell::Integer(spec.quote.0.into()),
                spec.lot_size.0.into(),
                spec.tick_value.0.into(),
                Cell::Integer(spec.maker_rate.0.into()),
                Cell::Integer(spec.taker_rate.0.into()),
                Cell::Text(&status),
            ],
        )?;
    }
    for view in exchange.accounts() {
        let name = names::account(view.account);
        let cells = [view.account.into(), Cell::Text(&name), Cell::Text("user"), u64::from(view.suspended).into()];
        sinks.row(Table::Accounts, &cells)?;
    }
    for account in AccountId::SYSTEM {
        let name = names::account(account);
        sinks.row(Table::Accounts, &[account.into(), Cell::Text(&name), Cell::Text("system"), Cell::Integer(0)])?;
    }
    balances(exchange, Table::Balances, sinks)?;
    for (id, known) in exchange.withdrawals() {
        let state = known.state.to_string();
        let external = (known.external_id.0 != [0; 16]).then(|| known.external_id.to_string());
        sinks.row(
            Table::Withdrawals,
            &[
                id.0.into(),
                known.account.into(),
                Cell::Integer(known.asset.0.into()),
                known.amount.0.into(),
                Cell::Text(&state),
                external.as_deref().map_or(Cell::Null, Cell::Text),
                known.shortfall.0.into(),
            ],
        )?;
    }
    for (id, airdrop) in exchange.airdrops() {
        let source = names::account(airdrop.source);
        let executed = airdrop.executed.0;
        sinks.row(
            Table::Airdrops,
            &[
                Cell::Integer(id.0.into()),
                Cell::Integer(airdrop.author.0.into()),
                if airdrop.approver.0 == 0 { Cell::Null } else { Cell::Integer(airdrop.approver.0.into()) },
                Cell::Integer(airdrop.asset.0.into()),
                airdrop.total.0.into(),
                Cell::Integer(airdrop.lines_announced.into()),
                Cell::Text(airdrop_state(airdrop)),
                if airdrop.source.0 == 0 { Cell::Null } else { Cell::Text(&source) },
                airdrop.opened.0.into(),
                if executed == 0 { Cell::Null } else { executed.into() },
            ],
        )?;
    }
    for (account, asset, owed) in exchange.receivables() {
        sinks.row(Table::Receivables, &[account.into(), Cell::Integer(asset.0.into()), owed.0.into()])?;
    }
    Ok(())
}
