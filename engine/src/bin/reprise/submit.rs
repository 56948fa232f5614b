//! `reprise submit`, `reprise freeze` and `reprise reopen`: commands to an exchange that is stopped, as the one writer of its
//! journal. A running exchange holds its directory, and is commanded through its own operator lane.

use clap::{Args, ValueEnum};
use engine::{
    command::{Command, SequencedCommand},
    event::{Event, RejectReason, SequencedEvent},
    exchange::Exchange,
    journal::Durability,
    pipeline::Inline,
    recovery::{Moment, Timeline, find_halt},
    types::{Cause, MarketId, Sequence, TradingStatus},
};
use serde_json::{Value, json};

use crate::{
    arguments::cause,
    commands,
    describe::{self, price_text, quantity_text},
    failure::{FAILED, FINE, Failure},
    log::{self, Described},
    names::Names,
    orders::Orders,
    output::Output,
};

/// What to submit.
#[derive(Debug, Args)]
pub struct SubmitArguments {
    /// The command in JSON, as `reprise log --json` prints it: {"kind": "CreateAccount", "account": 7}. Or a file of
    /// commands, one after the other; or - for standard input.
    #[arg(long, value_name = "JSON|FILE")]
    pub command: String,
    /// Who commands: an operator's number, or operator:N, session:N, batch:N.
    #[arg(long, value_name = "WHO", value_parser = who)]
    pub cause: Cause,
    /// Of several commands, go on behind one that is refused.
    #[arg(long)]
    pub keep_going: bool,
}

/// Who freezes.
#[derive(Debug, Args)]
pub struct FreezeArguments {
    /// Who commands: an operator's number, or operator:N.
    #[arg(long, value_name = "WHO", value_parser = who)]
    pub cause: Cause,
}

/// How far to open.
#[derive(Debug, Args)]
pub struct ReopenArguments {
    /// How far.
    #[arg(value_enum)]
    pub status: Reopened,
    /// Only this market: a pair like BTC-KRW, or a number; may be given more than once. Without it, the whole exchange.
    #[arg(long, value_name = "MARKET")]
    pub market: Vec<String>,
    /// Who commands: an operator's number, or operator:N.
    #[arg(long, value_name = "WHO", value_parser = who)]
    pub cause: Cause,
    /// Open an exchange that was frozen although no plan was applied since: plans made for this halt are void then.
    #[arg(long)]
    pub without_repair: bool,
}

/// How far to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reopened {
    /// Owners may cancel and reduce their orders, and nothing else.
    CancelOnly,
    /// Orders are collected, and nothing trades.
    Auction,
    /// What was collected is uncrossed at one price, then everything goes on.
    Open,
}

impl Reopened {
    const fn status(self) -> TradingStatus {
        match self {
            Self::CancelOnly => TradingStatus::CancelOnly,
            Self::Auction => TradingStatus::Auction,
            Self::Open => TradingStatus::Open,
        }
    }

    /// What to do after it.
    const fn next(self) -> Option<&'static str> {
        match self {
            Self::CancelOnly => Some("start the exchange, or `reprise reopen auction` to collect orders"),
            Self::Auction => {
                Some("start the exchange so that orders come in; `reprise reopen open` uncrosses and opens")
            }
            Self::Open => Some("start the exchange: it goes on from here"),
        }
    }
}

/// Who commands; a number alone is an operator's.
pub fn who(text: &str) -> Result<Cause, String> {
    match text.parse::<u32>() {
        Ok(number) => cause(&format!("operator:{number}")),
        Err(_) => cause(text),
    }
}

/// A command that was taken, and what came of it.
struct Taken {
    command: SequencedCommand,
    described: Described,
}

impl Taken {
    fn refused(&self) -> Option<RejectReason> {
        self.described.events.iter().find_map(|(event, _)| match event {
            Event::Refused { reason, .. } => Some(*reason),
            _ => None,
        })
    }
}

/// The exchange in a directory, opened as its one writer.
struct Writer {
    inline: Inline,
    names: Names,
    orders: Orders,
}

impl Writer {
    fn open(timeline: &Timeline) -> Result<Self, Failure> {
        let inline = Inline::open(timeline.directory(), Durability::Sync)?;
        let (names, orders) = (Names::of(inline.exchange()), Orders::of(inline.exchange()));
        Ok(Self { inline, names, orders })
    }

    const fn exchange(&self) -> &Exchange {
        self.inline.exchange()
    }

    /// Submits a command and makes it durable. The exchange may have frozen itself at what it saw: that is a command behind
    /// it.
    fn submit(&mut self, cause: Cause, command: Command) -> Result<Vec<Taken>, Failure> {
        let submitted = self.inline.submit(cause, command)?;
        let mut events: Vec<SequencedEvent> = Vec::new();
        self.inline.commit(&mut |event| events.push(*event))?;
        let mut taken = Vec::new();
        for of_one in events.chunk_by(|one, other| one.sequence == other.sequence) {
            let (sequence, time) = (of_one[0].sequence, of_one[0].time);
            let (cause, command) = if sequence == submitted {
                (cause, command)
            } else {
                (Cause::exchange(), Command::SetGlobalStatus { status: TradingStatus::Frozen })
            };
            let command = SequencedCommand { sequence, time, cause, command };
            let mut told = Vec::with_capacity(of_one.len());
            for SequencedEvent { event, .. } in of_one {
                self.names.learn(event);
                told.push((*event, describe::event(event, &self.names, |order| self.orders.side(order))));
                self.orders.take(sequence, time, &command.command, event, |_| {});
            }
            let described = Described { command: describe::command(&command.command, &self.names), events: told };
            taken.push(Taken { command, described });
        }
        Ok(taken)
    }

    fn close(self) -> Result<(), Failure> {
        self.inline.close()?;
        Ok(())
    }
}

/// Submits.
pub fn run(timeline: &Timeline, arguments: &SubmitArguments, output: &mut Output) -> Result<u8, Failure> {
    // What cannot be meant is refused before anything is opened for writing.
    let text = commands::read_text(&arguments.command)?;
    let mut names = Names::of(&timeline.at_moment(Moment::Now)?);
    let commands = commands::parse_all(&text, &mut names).map_err(Failure::failed)?;
    let mut writer = Writer::open(timeline)?;
    let (mut taken, mut left) = (Vec::new(), commands.len());
    for command in commands {
        let now = writer.submit(arguments.cause, command)?;
        left -= 1;
        let refused = now.first().is_some_and(|first| first.refused().is_some());
        taken.extend(now);
        if refused && !arguments.keep_going {
            break;
        }
    }
    let names = writer.names.clone();
    writer.close()?;
    tell(&taken, &names, output, &[])?;
    let refused: Vec<_> = taken.iter().filter_map(Taken::refused).collect();
    let Some(reason) = refused.first() else { return Ok(FINE) };
    if !output.json {
        let unsent = if left > 0 { format!("; {left} behind it were not submitted") } else { String::new() };
        output.flush()?;
        eprintln!("reprise: the exchange refused it: {reason}; the refusal is in the journal{unsent}");
    }
    Ok(FAILED)
}

/// Freezes.
pub fn freeze(timeline: &Timeline, arguments: &FreezeArguments, output: &mut Output) -> Result<u8, Failure> {
    let halt = find_halt(timeline)?;
    let next = "`reprise trace` says what became of the error, `reprise plan --compare` what can be done about it";
    if halt.is_frozen {
        if output.json {
            output.document(&json!({ "frozen": true, "already": true, "halt": halt.sequence.0 }))?;
        } else {
            output.line(format!("frozen      since sequence {}: nothing was written", halt.sequence))?;
            output.line(format!("next        {next}"))?;
        }
        return Ok(FINE);
    }
    let mut writer = Writer::open(timeline)?;
    let taken = writer.submit(arguments.cause, Command::SetGlobalStatus { status: TradingStatus::Frozen })?;
    let names = writer.names.clone();
    writer.close()?;
    let at = taken.first().map_or(Sequence(0), |taken| taken.command.sequence);
    let more = [("frozen", json!(true)), ("already", json!(false)), ("halt", json!(at.0))];
    tell(&taken, &names, output, &more)?;
    if !output.json {
        output.line(format!("frozen      at sequence {at}: only facts, such as deposits, are taken from here on"))?;
        output.line(format!("next        {next}"))?;
    }
    Ok(FINE)
}

/// Opens as far as is said.
pub fn reopen(timeline: &Timeline, arguments: &ReopenArguments, output: &mut Output) -> Result<u8, Failure> {
    let halt = find_halt(timeline)?;
    if halt.is_frozen && arguments.market.is_empty() && !arguments.without_repair {
        return Err(Failure::failed(format!(
            "the exchange has been frozen since sequence {}, and no plan was applied since: to open it makes every plan for this halt void; apply one first, or say --without-repair",
            halt.sequence
        )));
    }
    let exchange = timeline.at_moment(Moment::Now)?;
    let names = Names::of(&exchange);
    let markets = arguments.market.iter().map(|text| names.find_market(text).map_err(Failure::failed));
    let markets = markets.collect::<Result<Vec<MarketId>, _>>()?;
    if exchange.global_status() == TradingStatus::Frozen && !markets.is_empty() {
        return Err(Failure::failed(
            "the exchange as a whole is frozen, and no market opens by itself then: reopen it first, without --market",
        ));
    }
    let status = arguments.status.status();
    let commands: Vec<_> = if markets.is_empty() {
        vec![Command::SetGlobalStatus { status }]
    } else {
        markets.iter().map(|&market| Command::SetMarketStatus { market, status }).collect()
    };
    let mut writer = Writer::open(timeline)?;
    let mut taken = Vec::new();
    for command in commands {
        taken.extend(writer.submit(arguments.cause, command)?);
    }
    let global = writer.exchange().global_status();
    let indicative = indicative(writer.exchange(), &markets, &names);
    let own = writer.exchange().markets().filter(|view| status.stricter(view.status) != status);
    let stricter: Vec<String> = own.map(|view| format!("{} {}", names.market(view.spec.market), view.status)).collect();
    let names = writer.names.clone();
    writer.close()?;
    let prices: Vec<_> = indicative.iter().map(|found| found.json.clone()).collect();
    tell(&taken, &names, output, &[("global_status", json!(global.to_string())), ("indicative", json!(prices))])?;
    if let Some(reason) = taken.iter().find_map(Taken::refused) {
        output.flush()?;
        eprintln!("reprise: the exchange refused it: {reason}; the refusal is in the journal");
        return Ok(FAILED);
    }
    if output.json {
        return Ok(FINE);
    }
    for found in indicative {
        output.line(format!("indicative  {}", found.text))?;
    }
    let held_back = !markets.is_empty() && status.stricter(global) != status;
    if held_back {
        output.line(format!("note        the exchange as a whole is {global}, and the stricter of both counts"))?;
    }
    let stricter: Vec<_> = stricter.iter().map(String::as_str).collect();
    if markets.is_empty() && !stricter.is_empty() {
        output.line(format!("note        restricted by themselves: {}", stricter.join(", ")))?;
    }
    if let Some(next) = arguments.status.next().filter(|_| !held_back) {
        output.line(format!("next        {next}"))?;
    }
    Ok(FINE)
}

/// What an auction would come to now.
struct IndicativePrice {
    text: String,
    json: Value,
}

/// Of the markets that are in an auction: all, or those that were named.
fn indicative(exchange: &Exchange, markets: &[MarketId], names: &Names) -> Vec<IndicativePrice> {
    let in_auction = exchange.markets().filter(|view| {
        view.status.stricter(exchange.global_status()) == TradingStatus::Auction
            && (markets.is_empty() || markets.contains(&view.spec.market))
    });
    let priced = in_auction.filter_map(|view| {
        let market = view.spec.market;
        let found = exchange.indicative(market)?;
        Some(IndicativePrice {
            text: format!(
                "{}: {} would trade at {}",
                names.market(market),
                quantity_text(names, market, found.quantity),
                price_text(names, market, found.price)
            ),
            json: json!({
                "market": names.market(market), "price": names.price(market, found.price),
                "quantity": names.quantity(market, found.quantity), "imbalance_lots": found.imbalance,
            }),
        })
    });
    priced.collect()
}

/// Lists what was taken, as `reprise log --events` would.
fn tell(taken: &[Taken], names: &Names, output: &mut Output, more: &[(&str, Value)]) -> Result<(), Failure> {
    if output.json {
        let lines: Vec<_> = taken.iter().map(|taken| log::json(&taken.command, &taken.described, names)).collect();
        let mut document = json!({ "commands": lines });
        for (name, value) in more {
            document[*name] = value.clone();
        }
        output.document(&document)?;
        return Ok(());
    }
    taken.iter().try_for_each(|taken| log::write(output, &taken.command, &taken.described, names, true))
}
