//! `reprise log`: commands with what came of them, a line each.

use engine::{
    command::SequencedCommand,
    event::{Event, RejectReason},
    recovery::{Moment, Timeline, begun_by},
    types::{AccountId, AssetId, Cause, CauseKind, MarketId, OrderId, Sequence},
};
use serde_json::{Map, Value, json};

use crate::{
    arguments::LogArguments,
    describe::{self, Fields},
    failure::{FINE, Failure},
    moments::{self, Target},
    names::{self, Names},
    orders::Orders,
    output::{Output, count},
    progress::Progress,
};

/// The conditions, with symbols looked up. A market or an asset may be added in the middle of the range.
struct Filter<'a> {
    arguments: &'a LogArguments,
    market: Wanted<MarketId>,
    asset: Wanted<AssetId>,
}

#[derive(Clone, Copy)]
enum Wanted<T> {
    Any,
    NotYetThere,
    This(T),
}

/// A command and its events, as fields.
pub struct Described {
    /// The command.
    pub command: Fields,
    /// Each event as it is, and as fields.
    pub events: Vec<(Event, Fields)>,
}

/// Lists.
pub fn run(timeline: &Timeline, arguments: &LogArguments, output: &mut Output) -> Result<u8, Failure> {
    let directory = timeline.directory();
    let before = moments::before(directory, arguments.from)?;
    let last = moments::last(directory, arguments.to)?;
    if let (Target::After(before), Target::After(last)) = (before, last)
        && before >= last
        && !matches!(arguments.to, Some(Moment::Time(_)))
    {
        return Err(Failure::Usage(format!("--from {} is after --to {last}", before.next())));
    }
    let mut at = moments::at_target(timeline, before)?;
    let mut names = Names::of(at.exchange());
    let mut orders = Orders::of(at.exchange());
    let mut filter = Filter { arguments, market: Wanted::NotYetThere, asset: Wanted::NotYetThere };
    filter.look_up(&names);

    let limit = arguments.limit.unwrap_or(u64::MAX);
    let (mut listed, mut position) = (0, at.sequence());
    let mut progress = Progress::start("listing", None);
    while listed < limit && !last.is_reached(position) {
        let Some(step) = at.replay.next()? else { break };
        position = step.command.sequence;
        progress.step();
        let begins_epoch = begun_by(step.command).is_some();
        let described = filter.describe(step.command, step.events, &mut names, &mut orders);
        let command = *step.command;
        if begins_epoch {
            names.learn_airdrops(at.exchange());
        }
        let Some(described) = described else { continue };
        listed += 1;
        if output.json {
            output.json_line(&json(&command, &described, &names))?;
        } else {
            write(output, &command, &described, &names, arguments.events)?;
        }
    }
    drop(progress);
    filter.check_found()?;
    if listed == 0 && !output.json {
        eprintln!("reprise: no command up to sequence {position} meets all conditions");
    }
    Ok(FINE)
}

impl Filter<'_> {
    /// Finds the market and the asset, if they are there by now.
    fn look_up(&mut self, names: &Names) {
        fn find<T>(wanted: Option<&String>, found: impl Fn(&str) -> Result<T, String>) -> Wanted<T> {
            match wanted.map(|text| found(text)) {
                None => Wanted::Any,
                Some(Ok(found)) => Wanted::This(found),
                Some(Err(_)) => Wanted::NotYetThere,
            }
        }
        self.market = find(self.arguments.market.as_ref(), |text| names.find_market(text));
        self.asset = find(self.arguments.asset.as_ref(), |text| names.find_asset(text));
    }

    /// An asset or market that never came is a mistake in the asking.
    fn check_found(&self) -> Result<(), Failure> {
        let missing = |what: &str, text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            Err(Failure::failed(format!(
                "there is no {what} {text:?} in that range: `reprise show --at now` lists all"
            )))
        };
        match (self.market, self.asset) {
            (Wanted::NotYetThere, _) => missing("market", &self.arguments.market),
            (_, Wanted::NotYetThere) => missing("asset", &self.arguments.asset),
            _ => Ok(()),
        }
    }

    /// The command as fields if it meets all conditions; takes its events into account in any case.
    fn describe(
        &mut self,
        command: &SequencedCommand,
        events: &[Event],
        names: &mut Names,
        orders: &mut Orders,
    ) -> Option<Described> {
        let cheap = self.meets_cheap(command, events);
        let mut described = Vec::with_capacity(if cheap { events.len() } else { 0 });
        for event in events {
            names.learn(event);
            if matches!(event, Event::AssetAdded { .. } | Event::MarketAdded { .. }) {
                self.look_up(names);
            }
            if cheap {
                described.push((*event, describe::event(event, names, |order| orders.side(order))));
            }
            orders.take(command.sequence, command.time, &command.command, event, |_| {});
        }
        if !cheap {
            return None;
        }
        let described = Described { command: describe::command(&command.command, names), events: described };
        self.meets(command.sequence, &described, names).then_some(described)
    }

    /// The conditions that need no fields.
    fn meets_cheap(&self, command: &SequencedCommand, events: &[Event]) -> bool {
        let arguments = self.arguments;
        let by_cause = arguments.cause.is_none_or(|cause| command.cause == cause);
        let by_kind = arguments.kind.is_none_or(|kind| {
            command.command.kind_name() == kind || events.iter().any(|event| event.kind_name() == kind)
        });
        let by_refusal = arguments.refused.is_none_or(|wanted| match events {
            // A lock that ends at the same moment is told ahead of it.
            [.., Event::Refused { reason, .. }] => wanted.is_none_or(|wanted: RejectReason| wanted == *reason),
            _ => false,
        });
        by_cause && by_kind && by_refusal
    }

    fn meets(&self, sequence: Sequence, described: &Described, names: &Names) -> bool {
        let any = |holds: &dyn Fn(&Fields) -> bool| {
            holds(&described.command) || described.events.iter().any(|(_, fields)| holds(fields))
        };
        let by_account = |account: AccountId| any(&|fields| fields.names_account(account));
        let by_order = |order: OrderId| order.0 == sequence.0 || any(&|fields| fields.names_order(order));
        let by_market = match self.market {
            Wanted::Any => true,
            Wanted::NotYetThere => false,
            Wanted::This(market) => any(&|fields| fields.names_market(market)),
        };
        let by_asset = match self.asset {
            Wanted::Any => true,
            Wanted::NotYetThere => false,
            Wanted::This(asset) => any(&|fields| fields.names_asset(asset, names)),
        };
        self.arguments.account.is_none_or(by_account)
            && self.arguments.order.is_none_or(by_order)
            && by_market
            && by_asset
    }
}

/// What came of a command, in a few words; nothing when it is what the command says.
fn outcome(events: &[(Event, Fields)], names: &Names) -> String {
    let mut parts = Vec::new();
    // Locks that end by then are told ahead of what the command does.
    if let [.., (Event::Refused { reason, .. }, _)] = events {
        let refused = format!("REFUSED {reason}");
        return unlocked(events).map_or_else(|| refused.clone(), |unlocked| format!("{refused}, {unlocked}"));
    }
    let fills = events.iter().filter(|(event, _)| matches!(event, Event::Filled { .. })).count();
    if fills > 0 {
        parts.push(format!("{fills} fill{}", if fills == 1 { "" } else { "s" }));
    }
    for (event, fields) in events {
        match event {
            Event::OrderCancelled { reason, .. } if parts.len() < 3 => parts.push(format!("cancelled {reason}")),
            Event::MassCancelled { orders, .. } => {
                parts = vec![format!("{} orders cancelled", count((*orders).into()))]
            }
            Event::AirdropExecuted { .. } => {
                let credited = events.iter().filter(|(event, _)| matches!(event, Event::AirdropCredited { .. }));
                parts.push(format!("{} accounts credited", count(credited.count() as u64)));
            }
            Event::EpochStarted { epoch, .. } => parts.push(epoch_outcome(*epoch, events)),
            Event::AuctionUncrossed { .. } => parts.push(format!("uncrossed {}", fields.text(names))),
            Event::SetOffDone { .. } => parts.push(format!("set off {}", fields.text(names))),
            Event::ReservesAttested { amount, liabilities, .. } if amount < liabilities => {
                parts.push("BELOW LIABILITIES".to_owned());
            }
            // What the command says itself, or what its events say at length.
            _ => {}
        }
    }
    if let Some(unlocked) = unlocked(events) {
        parts.push(unlocked);
    }
    parts.join(", ")
}

/// Credits whose lock has ended by then.
fn unlocked(events: &[(Event, Fields)]) -> Option<String> {
    let unlocked = events.iter().filter(|(event, _)| matches!(event, Event::AirdropUnlocked { .. })).count() as u64;
    (unlocked > 0).then(|| format!("{} credits unlocked", count(unlocked)))
}

/// What a new epoch changes, in numbers.
fn epoch_outcome(epoch: u32, events: &[(Event, Fields)]) -> String {
    let mut numbers = [0_u64; 5];
    for (event, _) in events {
        let place = match event {
            Event::FillBusted { .. } => 0,
            Event::BalanceCorrected { .. } => 1,
            Event::OrderVoided { .. } => 2,
            Event::OrderRestored { .. } => 3,
            Event::WithdrawalCorrected { .. } | Event::ReceivableCorrected { .. } => 4,
            _ => continue,
        };
        numbers[place] += 1;
    }
    let whats = ["fills void", "balances corrected", "orders voided", "orders restored", "withdrawals and debts"];
    let parts: Vec<_> = numbers.iter().zip(whats).map(|(number, what)| format!("{} {what}", count(*number))).collect();
    format!("epoch {epoch}: {}", parts.join(", "))
}

/// A command as a line, with its events under it if they are wanted.
pub fn write(
    output: &mut Output,
    command: &SequencedCommand,
    described: &Described,
    names: &Names,
    events: bool,
) -> Result<(), Failure> {
    let mut line = format!(
        "{:>10}  {}  {:<12}  {} {}",
        command.sequence.0,
        names::time(command.time),
        command.cause.to_string(),
        command.command.kind_name(),
        described.command.text(names)
    );
    let outcome = outcome(&described.events, names);
    if !outcome.is_empty() {
        line.push_str("  -> ");
        line.push_str(&outcome);
    }
    output.line(line)?;
    if events {
        for (event, fields) in &described.events {
            output.line(format!("{:>10}    {} {}", "", event.kind_name(), fields.text(names)))?;
        }
    }
    Ok(())
}

/// A command with its events, for programs.
pub fn json(command: &SequencedCommand, described: &Described, names: &Names) -> Value {
    let refused = described.events.iter().find_map(|(event, _)| match event {
        Event::Refused { reason, .. } => Some(reason.name()),
        _ => None,
    });
    json!({
        "sequence": command.sequence.0,
        "time": names::time(command.time),
        "cause": cause(command.cause),
        "kind": command.command.kind_name(),
        "command": described.command.json(names),
        "refused": refused,
        "events": described.events.iter().map(|(event, fields)| event_json(event, fields, names)).collect::<Vec<_>>(),
    })
}

/// An event with its kind.
pub fn event_json(event: &Event, fields: &Fields, names: &Names) -> Map<String, Value> {
    let mut object = fields.json(names);
    object.insert("kind".to_owned(), json!(event.kind_name()));
    object
}

/// A cause as `--cause` takes it.
pub fn cause(cause: Cause) -> String {
    match cause.kind() {
        CauseKind::Session => format!("session:{}", cause.id()),
        CauseKind::Operator => format!("operator:{}", cause.id()),
        CauseKind::Batch => format!("batch:{}", cause.id()),
        CauseKind::Exchange => "exchange".to_owned(),
    }
}
