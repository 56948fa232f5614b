//! `reprise airdrop check`: the dry run of an airdrop from its file, against the exchange as it is. Nothing is written: the
//! manifest is opened, approved and paid on a copy of the state, by the rules that the exchange itself goes by.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engine::{
    command::Command,
    event::{Event, EventSink, RejectReason},
    exchange::{AIRDROP_LINES_MAX, Airdrop, Exchange, ManifestHasher},
    recovery::{Moment, Timeline},
    types::{
        AMOUNT_MAX, AirdropId, Amount, AssetId, AssetSpec, CauseKind, Controls, Digest, ManifestHash, OperatorId,
        Timestamp,
    },
};

use crate::{
    airdrop_report,
    arguments::{cause, moment},
    failure::Failure,
    manifest::{Line, Manifest},
    moments,
    names::Names,
    output::{Output, count},
    prices::{LastPrice, last_prices},
};

/// What to do about airdrops.
#[derive(Debug, Subcommand)]
pub enum AirdropAction {
    /// Check the file of an airdrop before it is opened: what it comes to, what would refuse it, what is unusual about it.
    #[command(after_long_help = CHECK_HELP)]
    Check(CheckArguments),
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The file: CSV, a line for each recipient.
    #[arg(value_name = "FILE.csv")]
    pub file: PathBuf,
    /// What is paid: a symbol like BTC, or a number.
    #[arg(long, value_name = "ASSET")]
    pub asset: String,
    /// Amounts in the file are whole minor units of the asset, and not decimals.
    #[arg(long)]
    pub minor_units: bool,
    /// The number it is to have; without it, the next one that is free.
    #[arg(long, value_name = "N")]
    pub id: Option<u32>,
    /// The operator who draws it up, and so may not approve it: N, or operator:N.
    #[arg(long, value_name = "N", value_parser = author)]
    pub cause: Option<OperatorId>,
    /// For how many seconds what is credited is to be locked.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub lock_seconds: u32,
    /// A warning that is known and all right; may be given more than once.
    #[arg(long, value_name = "WARNING", value_parser = warning)]
    pub accept: Vec<&'static str>,
    /// Check it against the exchange as it was at a moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment, default_value = "now")]
    pub at: Moment,
}

/// So many times the median of past airdrops is unusual.
const PAST_TIMES: u128 = 10;
/// A line of so many times the median line is unusual.
const LINE_TIMES: u128 = 100;
/// So many parts in a hundred of what users have, or of what is attested, are much.
const SHARE_PERCENT: u128 = 1;

/// The warnings, each with what it says.
const WARNINGS: [&str; 11] = [
    "first_of_asset",
    "above_past_total",
    "above_past_lines",
    "outlier_lines",
    "share_of_users",
    "share_of_reserves",
    "no_attested_reserves",
    "no_limits",
    "controls_off",
    "suspended_recipients",
    "owing_recipients",
];

const CHECK_HELP: &str = "\
The file is CSV in UTF-8, a line for each recipient: account,amount
  account  its number, such as 7 or A7
  amount   a decimal of the asset, such as 0.5, with no more places than the asset has; digits and a point only
           (with --minor-units a whole number of minor units, such as 50000000)
A third column may name the asset, and then must name the one given. A first line of titles that begins with
account is skipped, and so are empty lines and those that begin with #. An account may have one line only.

Warnings (--accept NAME for one that is known and all right):
  first_of_asset        no airdrop of this asset was ever paid: is it the right asset?
  above_past_total      the total is more than 10 times the median of past airdrops of the asset
  above_past_lines      the median line is more than 10 times what a recipient got in the median past airdrop of the asset
  outlier_lines         lines of more than 100 times the median line
  share_of_users        more than 1 % of all that users have of the asset
  share_of_reserves     more than 1 % of its attested reserves
  no_attested_reserves  none were attested, so that nothing holds it against what there is
  no_limits             no limit is set for a recipient, an airdrop or a day
  controls_off          a preventive control is off
  suspended_recipients  accounts that are suspended
  owing_recipients      accounts that owe: what they get can be set off

Exit codes: 0 it can be opened; 1 lines are wrong, it would be refused, or it could not be checked; 2 the command line is
wrong; 3 the journal is damaged; 4 it would be paid, and there are warnings that were not accepted.";

fn author(text: &str) -> Result<OperatorId, String> {
    let wrong = || "give the operator's number, such as 3 or operator:3".to_owned();
    let number = match text.parse::<u16>() {
        Ok(number) => number,
        Err(_) => {
            let cause = cause(text).ok().filter(|cause| cause.kind() == CauseKind::Operator).ok_or_else(wrong)?;
            u16::try_from(cause.id()).map_err(|_| wrong())?
        }
    };
    Some(OperatorId(number)).filter(|operator| operator.0 != 0).ok_or_else(wrong)
}

fn warning(text: &str) -> Result<&'static str, String> {
    let wanted = text.replace('-', "_");
    let known = WARNINGS.iter().copied().find(|warning| *warning == wanted);
    known.ok_or_else(|| format!("there is no such warning; there are: {}", WARNINGS.join(", ")))
}

/// Something that was found.
pub struct Finding {
    /// Its name: that of a [`RejectReason`], or of a warning.
    pub name: &'static str,
    /// What it is, and what to do.
    pub what: String,
    /// The lines of the file that it is about, if it is about some.
    pub lines: Vec<u64>,
}

/// What past airdrops of the asset came to.
pub struct Past {
    /// How many.
    pub count: u64,
    /// The median total.
    pub total: u128,
    /// The median of what a recipient got on average.
    pub line: u128,
}

/// All that a check found.
pub struct Checked {
    pub spec: AssetSpec,
    pub id: AirdropId,
    pub author: Option<OperatorId>,
    pub lock_seconds: u32,
    pub manifest: Manifest,
    pub total: u128,
    /// The smallest, the median and the largest line.
    pub range: Option<[Line; 3]>,
    pub hash: ManifestHash,
    /// What users have, available and held.
    pub users: u128,
    pub treasury: i128,
    pub liabilities: Amount,
    pub attested: Option<Amount>,
    pub past: Option<Past>,
    /// Where it can be sold, and the last price there.
    pub prices: Vec<(engine::types::MarketSpec, Option<LastPrice>)>,
    pub refusals: Vec<Finding>,
    pub warnings: Vec<Finding>,
    /// Those of the warnings that were accepted.
    pub accepted: Vec<&'static str>,
}

/// Does what is to be done about an airdrop.
pub fn run(timeline: &Timeline, action: &AirdropAction, output: &mut Output) -> Result<u8, Failure> {
    let AirdropAction::Check(arguments) = action;
    let at = moments::at(timeline, arguments.at)?;
    let exchange = at.exchange();
    let names = Names::of(exchange);
    let asset = names.find_asset(&arguments.asset).map_err(Failure::Failed)?;
    let spec = exchange.assets().find(|spec| spec.asset == asset).copied();
    let spec = spec.ok_or_else(|| Failure::failed("the asset is gone"))?;
    let known = |account| exchange.account(account).is_some();
    let manifest = Manifest::read(&arguments.file, &spec, arguments.minor_units, known)?;
    if manifest.lines.is_empty() && manifest.wrong.is_empty() {
        let file = arguments.file.display();
        return Err(Failure::failed(format!("{file} has no lines: give account,amount for each recipient")));
    }
    // A limit of the day counts from now on, whenever the last command was.
    let last = at.time.unwrap_or_default();
    let time = match arguments.at {
        Moment::Now => last.max(now()),
        _ => last,
    };
    let markets: Vec<_> = exchange.markets().map(|market| market.spec).filter(|spec| spec.base == asset).collect();
    let wanted: Vec<_> = markets.iter().map(|spec| spec.market).collect();
    let last_prices = last_prices(timeline, at.sequence(), &wanted)?;
    let prices = markets.into_iter().map(|spec| (spec, last_prices.get(&spec.market).copied())).collect();

    let mut checked = figures(exchange, spec, manifest, prices, arguments);
    if checked.manifest.wrong.is_empty() {
        checked.refuse(exchange, &names, time);
    }
    checked.warn(exchange, &names);
    airdrop_report::write(&at, &names, arguments, &checked, output)
}

fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default())
}

fn figures(
    exchange: &Exchange,
    spec: AssetSpec,
    manifest: Manifest,
    prices: Vec<(engine::types::MarketSpec, Option<LastPrice>)>,
    arguments: &CheckArguments,
) -> Checked {
    let asset = spec.asset;
    let mut hasher = ManifestHasher::new(asset);
    manifest.lines.iter().for_each(|line| hasher.line(line.account, line.amount));
    let mut sorted = manifest.lines.clone();
    sorted.sort_by_key(|line| (line.amount, line.number));
    let range = sorted.first().zip(sorted.last());
    let range = range.map(|(first, last)| [*first, sorted[(sorted.len() - 1) / 2], *last]);
    let users = exchange.accounts().flat_map(|view| view.balances).filter(|(of, _)| *of == asset);
    let users = users.map(|(_, balance)| u128::from(balance.available.0) + u128::from(balance.held.0)).sum();
    let free = exchange.airdrops().map(|(id, _)| id.0).max().unwrap_or(0).saturating_add(1);
    Checked {
        spec,
        id: AirdropId(arguments.id.unwrap_or(free)),
        author: arguments.cause,
        lock_seconds: arguments.lock_seconds,
        total: manifest.total(),
        range,
        hash: hasher.finish(),
        users,
        treasury: exchange.system_balances(asset).map_or(0, |system| system[2]),
        liabilities: exchange.liabilities(asset),
        attested: exchange.attested_reserves(asset),
        past: past(exchange, asset),
        prices,
        refusals: Vec::new(),
        warnings: Vec::new(),
        accepted: arguments.accept.clone(),
        manifest,
    }
}

fn past(exchange: &Exchange, asset: AssetId) -> Option<Past> {
    let paid = |airdrop: &&Airdrop| airdrop.asset == asset && airdrop.executed.0 != 0;
    let paid: Vec<_> = exchange.airdrops().map(|(_, airdrop)| airdrop).filter(paid).collect();
    let median = |mut numbers: Vec<u128>| {
        numbers.sort_unstable();
        numbers[(numbers.len() - 1) / 2]
    };
    if paid.is_empty() {
        return None;
    }
    let totals = paid.iter().map(|airdrop| airdrop.total.0.into()).collect();
    let lines = paid.iter().map(|airdrop| u128::from(airdrop.total.0) / u128::from(airdrop.lines_announced.max(1)));
    Some(Past { count: paid.len() as u64, total: median(totals), line: median(lines.collect()) })
}

/// Keeps why a command was refused.
#[derive(Default)]
struct Refusal(Option<RejectReason>);

impl EventSink for Refusal {
    fn emit(&mut self, event: Event) {
        if let Event::Refused { reason, .. } = event {
            self.0 = Some(reason);
        }
    }
}

impl Checked {
    fn amount(&self, names: &Names, amount: u128) -> String {
        let amount = i128::try_from(amount).unwrap_or(i128::MAX);
        format!("{} {}", crate::output::grouped(&names.amount(self.spec.asset, amount)), self.spec.symbol)
    }

    fn refusal(&mut self, reason: RejectReason, what: String, lines: Vec<u64>) {
        self.refusals.push(Finding { name: reason.name(), what, lines });
    }

    /// All that would refuse it: each limit for itself, and then what the exchange itself says.
    fn refuse(&mut self, exchange: &Exchange, names: &Names, time: Timestamp) {
        use RejectReason::{
            AirdropExists, AmountTooLarge, LineCountInvalid, OverAirdropLimit, OverDayLimit, OverRecipientLimit,
            ReservesExceeded, ReservesNotAttested, TreasuryNotCovered, UnknownOperator,
        };
        let (asset, total, id) = (self.spec.asset, self.total, self.id);
        if exchange.airdrop(id).is_some() {
            self.refusal(AirdropExists, format!("there is an {id} already: give another --id"), Vec::new());
        }
        if self.manifest.lines.len() > AIRDROP_LINES_MAX as usize {
            let what = format!(
                "{} lines are more than {}: make two airdrops of it",
                count(self.manifest.lines.len() as u64),
                count(AIRDROP_LINES_MAX.into())
            );
            self.refusal(LineCountInvalid, what, Vec::new());
        }
        if total > u128::from(AMOUNT_MAX) {
            let what = format!("the total of {} is more than there can be of an asset", self.amount(names, total));
            self.refusal(AmountTooLarge, what, Vec::new());
        }
        let registered: Vec<_> =
            exchange.operators().filter(|(_, view)| view.registered).map(|(operator, _)| operator).collect();
        match self.author {
            Some(author) if !registered.contains(&author) => {
                let what = format!("{author} is not registered, or not any more: who is, may draw it up");
                self.refusal(UnknownOperator, what, Vec::new());
            }
            _ if registered.is_empty() => {
                let what = "no operator is registered, and an airdrop needs one who draws it up".to_owned();
                self.refusal(UnknownOperator, what, Vec::new());
            }
            _ => {}
        }
        let limits = exchange.airdrop_limits(asset);
        let over = |most: Amount, amount: u128| !most.is_zero() && amount > u128::from(most.0);
        let lines: Vec<_> =
            self.manifest.lines.iter().filter(|line| over(limits.recipient_max, line.amount.0.into())).collect();
        if !lines.is_empty() {
            let lines = lines.iter().map(|line| line.number).collect();
            let what =
                format!("above the limit of {} to one recipient", self.amount(names, limits.recipient_max.0.into()));
            self.refusal(OverRecipientLimit, what, lines);
        }
        if over(limits.airdrop_max, total) {
            let most = self.amount(names, limits.airdrop_max.0.into());
            self.refusal(
                OverAirdropLimit,
                format!("the total is above the limit of {most} for one airdrop"),
                Vec::new(),
            );
        }
        let day = time.0 / (86_400 * 1_000_000_000);
        let paid = if day == limits.day { u128::from(limits.paid.0) } else { 0 };
        if over(limits.day_max, paid + total) {
            let [most, paid] = [limits.day_max.0.into(), paid].map(|amount| self.amount(names, amount));
            let what = format!("with {paid} paid today, the total is above the limit of {most} for one day");
            self.refusal(OverDayLimit, what, Vec::new());
        }
        let covered = exchange.controls().has(Controls::COVER);
        let treasury = u128::try_from(self.treasury).unwrap_or(0);
        if covered && treasury < total {
            let [has, lacks] = [treasury, total - treasury].map(|amount| self.amount(names, amount));
            let what = format!(
                "the treasury has {has}, and {lacks} too little: fund it first, or see whether the file is right"
            );
            self.refusal(TreasuryNotCovered, what, Vec::new());
        }
        if exchange.controls().has(Controls::RESERVES) {
            let after = u128::from(self.liabilities.0) + if covered { 0 } else { total };
            match self.attested {
                None => {
                    let what = "no reserves of the asset were attested: attest them first".to_owned();
                    self.refusal(ReservesNotAttested, what, Vec::new());
                }
                Some(attested) if after > u128::from(attested.0) => {
                    let [after, attested] = [after, attested.0.into()].map(|amount| self.amount(names, amount));
                    let what = format!("the exchange would owe {after}, and has attested reserves of {attested}");
                    self.refusal(ReservesExceeded, what, Vec::new());
                }
                Some(_) => {}
            }
        }
        if let Some((kind, reason)) = self.dry_run(exchange, time, &registered)
            && !self.refusals.iter().any(|known| known.name == reason.name())
        {
            self.refusal(reason, format!("the exchange would refuse its {kind}"), Vec::new());
        }
    }

    /// Plays it on a copy of the exchange: the first command that is refused, and why. Where operators are missing, others
    /// stand in for them.
    fn dry_run(
        &self,
        exchange: &Exchange,
        time: Timestamp,
        registered: &[OperatorId],
    ) -> Option<(&'static str, RejectReason)> {
        let mut copy = exchange.clone();
        let mut apply = |command: Command| {
            let mut refusal = Refusal::default();
            copy.apply(copy.last_sequence().next(), time, &command, &mut refusal);
            refusal.0.map(|reason| (command.kind_name(), reason))
        };
        let mut operators = registered.to_vec();
        let taken: Vec<_> = exchange.operators().map(|(operator, _)| operator).collect();
        let mut free = (1..=u16::MAX).map(OperatorId).filter(|operator| !taken.contains(operator));
        while operators.len() < 2 {
            let (operator, nobody) = (free.next()?, OperatorId(0));
            let key = Digest([0; 32]);
            if let Some(refused) = apply(Command::RegisterOperator { operator, key, first: nobody, second: nobody }) {
                return Some(refused);
            }
            operators.push(operator);
        }
        let author = self.author.filter(|author| operators.contains(author)).unwrap_or(operators[0]);
        let other = operators.iter().copied().find(|operator| *operator != author)?;
        // What is wrong with the number itself has been told.
        let id = if exchange.airdrop(self.id).is_some() {
            AirdropId(exchange.airdrops().map(|(id, _)| id.0).max()?.checked_add(1)?)
        } else {
            self.id
        };
        let open = Command::OpenAirdrop {
            airdrop: id,
            author,
            asset: self.spec.asset,
            total: Amount(u64::try_from(self.total).ok()?),
            lines: u32::try_from(self.manifest.lines.len()).ok()?,
            hash: self.hash,
            lock_seconds: self.lock_seconds,
        };
        let lines = self.manifest.lines.iter();
        let lines =
            lines.map(|line| Command::AddAirdropLine { airdrop: id, account: line.account, amount: line.amount });
        let rest = [
            Command::ApproveAirdrop { airdrop: id, operator: other },
            Command::ExecuteAirdrop { airdrop: id, operator: author },
        ];
        std::iter::once(open).chain(lines).chain(rest).find_map(apply)
    }

    fn warning(&mut self, name: &'static str, what: String, lines: Vec<u64>) {
        debug_assert!(WARNINGS.contains(&name));
        self.warnings.push(Finding { name, what, lines });
    }

    /// All that is unusual about it.
    fn warn(&mut self, exchange: &Exchange, names: &Names) {
        let total = self.total;
        let median = self.range.map_or(0, |[_, median, _]| u128::from(median.amount.0));
        match &self.past {
            None => {
                let what = format!("no airdrop of {} was ever paid: is it the right asset?", self.spec.symbol);
                self.warning("first_of_asset", what, Vec::new());
            }
            Some(past) => {
                let past = (past.total, past.line);
                if total > past.0 * PAST_TIMES {
                    let [total, usual] = [total, past.0].map(|amount| self.amount(names, amount));
                    let what = format!("a total of {total}, where the median of past airdrops is {usual}");
                    self.warning("above_past_total", what, Vec::new());
                }
                if median > past.1 * PAST_TIMES {
                    let [median, usual] = [median, past.1].map(|amount| self.amount(names, amount));
                    let what = format!("{median} to the median recipient, where it was {usual} in past airdrops");
                    self.warning("above_past_lines", what, Vec::new());
                }
            }
        }
        let lines = self.manifest.lines.iter().filter(|line| u128::from(line.amount.0) > median * LINE_TIMES);
        let lines: Vec<_> = lines.map(|line| line.number).collect();
        if !lines.is_empty() {
            let what = format!("above {LINE_TIMES} times the median line of {}", self.amount(names, median));
            self.warning("outlier_lines", what, lines);
        }
        if total * 100 > self.users * SHARE_PERCENT {
            let share = share(total, self.users).map_or_else(String::new, |share| format!(": {share}"));
            let what =
                format!("more than {SHARE_PERCENT} % of the {} that users have{share}", self.amount(names, self.users));
            self.warning("share_of_users", what, Vec::new());
        }
        match self.attested {
            None => {
                let what = format!("no reserves of {} were attested", self.spec.symbol);
                self.warning("no_attested_reserves", what, Vec::new());
            }
            Some(attested) if total * 100 > u128::from(attested.0) * SHARE_PERCENT => {
                let share = share(total, attested.0.into()).map_or_else(String::new, |share| format!(": {share}"));
                let attested = self.amount(names, attested.0.into());
                let what = format!("more than {SHARE_PERCENT} % of the attested reserves of {attested}{share}");
                self.warning("share_of_reserves", what, Vec::new());
            }
            Some(_) => {}
        }
        let limits = exchange.airdrop_limits(self.spec.asset);
        let missing =
            [(limits.recipient_max, "a recipient"), (limits.airdrop_max, "an airdrop"), (limits.day_max, "a day")];
        let missing: Vec<_> = missing.iter().filter(|(most, _)| most.is_zero()).map(|(_, what)| *what).collect();
        if !missing.is_empty() {
            let what = format!("no limit is set for {}", missing.join(", "));
            self.warning("no_limits", what, Vec::new());
        }
        let controls = [
            (Controls::COVER, "cover: it is paid from UNBACKED, whatever the treasury has"),
            (Controls::APPROVAL, "approval: nobody but its author need see it"),
            (Controls::RESERVES, "reserves: it is not held against what there is"),
        ];
        let off: Vec<_> = controls.iter().filter(|(control, _)| !exchange.controls().has(*control)).collect();
        if !off.is_empty() {
            let off: Vec<_> = off.iter().map(|(_, what)| *what).collect();
            self.warning("controls_off", format!("off is {}", off.join("; ")), Vec::new());
        }
        let debtors: std::collections::BTreeSet<_> = exchange.receivables().map(|(account, ..)| account).collect();
        let suspended = |line: &&Line| exchange.account(line.account).is_some_and(|view| view.suspended);
        let suspended: Vec<_> = self.manifest.lines.iter().filter(suspended).map(|line| line.number).collect();
        let owing = self.manifest.lines.iter().filter(|line| debtors.contains(&line.account));
        let owing: Vec<_> = owing.map(|line| line.number).collect();
        if !suspended.is_empty() {
            self.warning("suspended_recipients", "accounts that are suspended".to_owned(), suspended);
        }
        if !owing.is_empty() {
            self.warning("owing_recipients", "accounts that owe".to_owned(), owing);
        }
    }

    /// The warnings that were not accepted.
    pub fn open_warnings(&self) -> impl Iterator<Item = &Finding> {
        self.warnings.iter().filter(|warning| !self.accepted.contains(&warning.name))
    }

    /// Whether it can be paid.
    pub fn can_be_paid(&self) -> bool {
        self.manifest.wrong.is_empty() && self.refusals.is_empty()
    }
}

/// A part of a whole in percent, to four places; `None` of nothing.
pub fn share(part: u128, whole: u128) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let share = part.checked_mul(1_000_000)?.checked_div(whole)?;
    let percent = rust_decimal::Decimal::try_from_i128_with_scale(i128::try_from(share).ok()?, 4).ok()?;
    Some(format!("{} %", crate::output::grouped(&percent.normalize().to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent() {
        assert_eq!(share(1, 3), Some("33.3333 %".to_owned()));
        assert_eq!(share(620_000, 10), Some("6,200,000 %".to_owned()));
        assert_eq!((share(0, 5), share(5, 0)), (Some("0 %".to_owned()), None));
        assert_eq!(share(u128::MAX, 1), None);
    }

    #[test]
    fn the_help_names_every_warning() {
        assert!(WARNINGS.iter().all(|warning| CHECK_HELP.contains(&format!("  {warning} "))));
        assert_eq!((author("3"), author("operator:3")), (Ok(OperatorId(3)), Ok(OperatorId(3))));
        assert!(["0", "x", "session:3", "operator:70000"].iter().all(|text| author(text).is_err()));
    }
}
