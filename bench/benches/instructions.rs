//! Instructions of the hot paths, counted by valgrind and held to the bounds in `instructions.txt`: unlike times, counts
//! do not drift, so a path that has grown is seen on any machine, however busy.
//!
//! ```text
//! cargo bench -p bench --bench instructions                   counts, and fails if a path has grown beyond its bound
//! cargo bench -p bench --bench instructions -- --refresh      counts, and writes the bounds anew
//! ```
//!
//! A bound is what was counted when it was written; up to [`MARGIN_PERCENT`] more is let pass, as compilers and processors
//! differ. What is counted is one function each, which works off many operations; the bounds are for one of them.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, env, fmt::Write as _, fs, hint::black_box, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use bench::{tally::Tally, workload::Workload};
use engine::{
    command::{Command as Order, SequencedCommand},
    exchange::Exchange,
    journal::{Durability, Journal, JournalReader, MemoryStorage, Options, ReadCommands as _},
    types::{
        AccountId, Cause, ClientOrderId, LimitType, MarketId, OrderId, Price, Quantity, Sequence, Side, Timestamp,
    },
};
use ringbuf::spsc;

/// How much more than its bound a path may take.
const MARGIN_PERCENT: f64 = 10.0;
/// How many operations are counted at once.
const OPERATIONS: usize = 4_096;
/// Commands in one block of the journal.
const BLOCK_COMMANDS: usize = 256;
/// Commands that a reader hands out at once.
const BATCH_COMMANDS: usize = 2_048;

/// A path, and what counts it: everything but the function whose name begins with `counted_` is not counted.
const PATHS: [(&str, fn()); 5] = [
    ("place_and_cancel", place_and_cancel),
    ("cross_one_order", cross_one_order),
    ("journal_append", journal_append),
    ("ring_push_and_take", ring_push_and_take),
    ("replay_decode", replay_decode),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--count", name] => run(name),
        ["--refresh"] => {
            let counts = PATHS.iter().map(|(name, _)| Ok((*name, count(name)?))).collect::<Result<Vec<_>>>()?;
            write_bounds(&counts)
        }
        [] => check(),
        _ => bail!("give no argument to check the counts, or --refresh to write their bounds anew"),
    }
}

fn run(name: &str) -> Result<()> {
    let (_, path) =
        PATHS.iter().find(|(known, _)| *known == name).with_context(|| format!("there is no path {name}"))?;
    path();
    Ok(())
}

/// Compares all paths with their bounds, and tells every one that is beyond.
fn check() -> Result<()> {
    let bounds = read_bounds()?;
    let mut beyond = String::new();
    println!("instructions for one operation, counted by valgrind; {MARGIN_PERCENT} % above the bound are let pass");
    for (name, _) in PATHS {
        let bound =
            *bounds.get(name).with_context(|| format!("{} has no bound for {name}", bounds_file().display()))?;
        let counted = count(name)?;
        let change = (counted / bound - 1.0) * 100.0;
        println!("  {name:20}{counted:>10.1}   bound {bound:>10.1}   {change:+.1} %");
        if change > MARGIN_PERCENT {
            writeln!(beyond, "{name} takes {counted:.1} instructions, and its bound is {bound:.1}: {change:+.1} %")?;
        }
    }
    ensure!(
        beyond.is_empty(),
        "{beyond}make it cheaper, or, if it is worth that much, write the bounds anew:\n  cargo bench -p bench --bench \
         instructions -- --refresh"
    );
    Ok(())
}

fn bounds_file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions.txt"].iter().collect()
}

/// The bounds by path: a line for each, its name and its instructions; lines that begin with # are not looked at.
fn read_bounds() -> Result<BTreeMap<String, f64>> {
    let file = bounds_file();
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let parse = |line: &str| -> Option<(String, f64)> {
        let (name, bound) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), bound.trim().parse().ok().filter(|bound| *bound > 0.0)?))
    };
    lines
        .map(|line| parse(line).with_context(|| format!("{}: {line:?} is no name and number", file.display())))
        .collect()
}

fn write_bounds(counts: &[(&str, f64)]) -> Result<()> {
    let mut text = "# Instructions for one operation, as benches/instructions.rs counts them. Written by\n\
                    #   cargo bench -p bench --bench instructions -- --refresh\n"
        .to_owned();
    for (name, counted) in counts {
        writeln!(text, "{name:20}{counted:>10.1}")?;
    }
    print!("{text}");
    let file = bounds_file();
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// How many instructions one operation of a path takes.
fn count(name: &str) -> Result<f64> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let out = directory.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().context("the path of this program")?)
        .args(["--count", name])
        .output()
        .context("cannot run valgrind, which counts the instructions: apt-get install valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed on {name}: {told}");
    let counts = fs::read_to_string(&out).with_context(|| format!("valgrind wrote no counts for {name}: {told}"))?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    let total: f64 = total.and_then(|total| total.trim().parse().ok()).unwrap_or_default();
    ensure!(total > 0.0, "valgrind counted nothing for {name}: was the counted function inlined?");
    Ok(total / OPERATIONS as f64)
}

/// An exchange with about 1,000 resting orders, and the number of a further account that can pay for orders.
fn shallow() -> (Exchange, AccountId) {
    let workload = Workload::shallow(0);
    let mut exchange = Exchange::new();
    for command in &workload.setup {
        apply(&mut exchange, command, &mut Tally::default());
    }
    // A taker of the flow: it has funds and rests no order.
    (exchange, AccountId(7))
}

fn apply(exchange: &mut Exchange, command: &Order, tally: &mut Tally) {
    let sequence = exchange.last_sequence().next();
    exchange.apply(sequence, Timestamp(0), command, tally);
}

const fn order(account: AccountId, side: Side, limit_type: LimitType, price: u64, name: u64) -> Order {
    Order::PlaceLimit {
        account,
        market: MarketId(0),
        side,
        limit_type,
        price: Price(price),
        quantity: Quantity(1),
        client_order_id: ClientOrderId(name),
    }
}

/// The best price of a side.
fn best(exchange: &Exchange, side: Side) -> u64 {
    let book = exchange.matcher().book(MarketId(0), 1).expect("there is the flow's market");
    let levels = if side == Side::Buy { book.bids } else { book.asks };
    levels[0].price.0
}

/// Orders that rest near the best bid and are cancelled by their ids; an operation is both.
fn place_and_cancel() {
    let (mut exchange, account) = shallow();
    let near = best(&exchange, Side::Buy);
    let mut commands = Vec::new();
    let mut next = exchange.last_sequence().0 + 1;
    for number in 0..2 * OPERATIONS as u64 {
        commands.push(order(account, Side::Buy, LimitType::GoodTillCancel, near - number % 40, 0));
        commands.push(Order::CancelOrder { account, order: OrderId(next) });
        next += 2;
    }
    let (warm_up, counted) = commands.split_at(2 * OPERATIONS);
    let mut tally = Tally::default();
    warm_up.iter().for_each(|command| apply(&mut exchange, command, &mut tally));
    counted_place_and_cancel(&mut exchange, counted, &mut tally);
    assert_eq!((tally.refusals, tally.fills), (0, 0), "orders rest and are cancelled");
}

#[inline(never)]
fn counted_place_and_cancel(exchange: &mut Exchange, commands: &[Order], tally: &mut Tally) {
    commands.iter().for_each(|command| apply(exchange, command, tally));
}

/// Orders that each take a whole resting order at the best ask; an operation is one that trades.
fn cross_one_order() {
    let (mut exchange, taker) = shallow();
    // Another taker of the flow: its orders stand before all others.
    let maker = AccountId(8);
    let price = best(&exchange, Side::Sell) - 1;
    let mut tally = Tally::default();
    let crossing = vec![order(taker, Side::Buy, LimitType::ImmediateOrCancel, price, 0); OPERATIONS];
    for is_warm_up in [true, false] {
        for _ in 0..OPERATIONS {
            apply(&mut exchange, &order(maker, Side::Sell, LimitType::GoodTillCancel, price, 0), &mut tally);
        }
        if is_warm_up {
            crossing.iter().for_each(|command| apply(&mut exchange, command, &mut tally));
        } else {
            counted_cross_one_order(&mut exchange, &crossing, &mut tally);
        }
    }
    assert_eq!((tally.refusals, tally.fills), (0, 2 * OPERATIONS as u64), "every order trades once");
}

#[inline(never)]
fn counted_cross_one_order(exchange: &mut Exchange, commands: &[Order], tally: &mut Tally) {
    commands.iter().for_each(|command| apply(exchange, command, tally));
}

fn records(first: u64) -> Vec<SequencedCommand> {
    let record = |number: u64| SequencedCommand {
        sequence: Sequence(number),
        time: Timestamp(number),
        cause: Cause::session(1),
        command: order(AccountId(7), Side::Buy, LimitType::GoodTillCancel, 100_000 + number % 40, number),
    };
    (first..first + OPERATIONS as u64).map(record).collect()
}

/// A journal in memory that holds its first [`OPERATIONS`] commands.
fn journal(storage: &MemoryStorage) -> Journal<MemoryStorage> {
    let options = Options { durability: Durability::None, segments_ahead: 0, ..Options::default() };
    let opening = Journal::open(storage.clone(), options).expect("a new journal opens");
    let mut journal = opening.into_journal().expect("it can be written");
    append(&mut journal, &records(1));
    journal
}

fn append(journal: &mut Journal<MemoryStorage>, records: &[SequencedCommand]) {
    for block in records.chunks(BLOCK_COMMANDS) {
        block.iter().for_each(|record| journal.append(record).expect("there is room"));
        journal.commit().expect("memory takes it");
    }
}

/// Commands appended and committed in blocks: encoding, checks, hash chain, and the copy that memory makes of a block.
fn journal_append() {
    let mut journal = journal(&MemoryStorage::default());
    let records = records(OPERATIONS as u64 + 1);
    counted_journal_append(&mut journal, &records);
}

#[inline(never)]
fn counted_journal_append(journal: &mut Journal<MemoryStorage>, records: &[SequencedCommand]) {
    append(journal, records);
}

/// Commands read back: sectors, hash chain and records checked, commands decoded.
fn replay_decode() {
    let storage = MemoryStorage::default();
    journal(&storage).close().expect("memory takes it");
    let mut batch = Vec::with_capacity(BATCH_COMMANDS);
    for warm_up in [true, false] {
        let mut reader = JournalReader::open(storage.clone()).expect("there is a journal");
        let read =
            if warm_up { decode(&mut reader, &mut batch) } else { counted_replay_decode(&mut reader, &mut batch) };
        assert_eq!(read, OPERATIONS, "all is read");
    }
}

#[inline(never)]
fn counted_replay_decode(reader: &mut JournalReader<MemoryStorage>, batch: &mut Vec<SequencedCommand>) -> usize {
    decode(reader, batch)
}

fn decode(reader: &mut JournalReader<MemoryStorage>, batch: &mut Vec<SequencedCommand>) -> usize {
    let mut read = 0;
    while read < OPERATIONS {
        batch.clear();
        reader.read_commands(batch, BATCH_COMMANDS).expect("the journal is whole");
        read += black_box(&batch).len();
    }
    read
}

/// Items of a cache line through a ring, one by one; an operation is both ends of one item's way.
fn ring_push_and_take() {
    let (mut producer, mut consumer) = spsc::channel::<[u64; 8]>(1_024).expect("the capacity is a power of two");
    for _ in 0..OPERATIONS {
        producer.push(black_box([7; 8])).expect("there is room");
        black_box(consumer.take());
    }
    counted_ring_push_and_take(&mut producer, &mut consumer);
}

#[inline(never)]
fn counted_ring_push_and_take(producer: &mut spsc::Producer<[u64; 8]>, consumer: &mut spsc::Consumer<[u64; 8]>) {
    for _ in 0..OPERATIONS {
        producer.push(black_box([7; 8])).expect("there is room");
        black_box(consumer.take());
    }
}
