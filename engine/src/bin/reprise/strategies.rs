//! What an operator says is to be changed: from arguments to edits and strategies. Nothing contradictory gets through: one
//! sequence has one edit, and says so if it was named twice.

use std::{collections::BTreeMap, path::Path};

use clap::Args;
use engine::{
    command::Command,
    event::Event,
    exchange::Exchange,
    recovery::{BranchError, Edits, Payment, Strategy, Timeline},
    types::{AccountId, AirdropId, AssetId, Sequence},
};

use crate::{arguments::account, commands, failure::Failure, manifest::Manifest, names::Names, output::count};

/// Which commands are not to have happened, or otherwise.
#[derive(Clone, Debug, Default, Args)]
pub struct EditArguments {
    /// An airdrop that is not to have been paid; may be given more than once.
    #[arg(long, value_name = "ID", value_parser = airdrop)]
    pub airdrop: Vec<AirdropId>,
    /// Sequences that are not to have happened: 12, or 12..15 with both ends, with commas between.
    #[arg(long, value_name = "A..B,...", value_delimiter = ',', value_parser = range)]
    pub drop: Vec<(Sequence, Sequence)>,
    /// Another command at a sequence: JSON as `reprise log --json` prints it, or a file of it; may be given more than once.
    #[arg(long, value_name = "SEQ=JSON|FILE", value_parser = keyed)]
    pub replace: Vec<(u64, String)>,
    /// Other lines for an airdrop that was paid: a CSV file of account,amount, with the asset before it if it is another
    /// (3=WGT:right.csv).
    #[arg(long, value_name = "ID=[ASSET:]FILE", value_parser = keyed)]
    pub replace_airdrop: Vec<(u64, String)>,
    /// Why a dropped deposit, release or other fact is none; the reason is signed with the plan.
    #[arg(long, value_name = "SEQ=REASON", value_parser = keyed)]
    pub not_a_fact: Vec<(u64, String)>,
}

/// A payment, as `--pay` takes it: account,asset,amount.
#[derive(Clone, Debug)]
pub struct PaymentText {
    account: AccountId,
    asset: String,
    amount: String,
}

/// An airdrop's number.
pub fn airdrop(text: &str) -> Result<AirdropId, String> {
    text.parse().map(AirdropId).map_err(|_| "give the airdrop's number, such as 7".to_owned())
}

/// A sequence, or two with `..` between, both included.
pub fn range(text: &str) -> Result<(Sequence, Sequence), String> {
    let wrong = || format!("{text:?} is no sequence and no range: give 12, or 12..15 with both ends");
    let one = |text: &str| text.trim().parse().map(Sequence).map_err(|_| wrong());
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (one(first)?, one(last)?),
        None => (one(text)?, one(text)?),
    };
    if first > last {
        return Err(format!("{text:?} runs backwards: give the lower end first"));
    }
    Ok((first, last))
}

/// A number and what belongs to it.
fn keyed(text: &str) -> Result<(u64, String), String> {
    let (number, rest) = text.split_once('=').ok_or("give NUMBER=..., such as 12=...")?;
    let number = number.trim().parse().map_err(|_| format!("{number:?} is no number: give NUMBER=..."))?;
    if rest.trim().is_empty() {
        return Err(format!("nothing follows {number}="));
    }
    Ok((number, rest.to_owned()))
}

/// A payment.
pub fn payment(text: &str) -> Result<PaymentText, String> {
    match text.split(',').map(str::trim).collect::<Vec<_>>()[..] {
        [who, asset, amount] => {
            let (account, asset, amount) = (account(who)?, asset.to_owned(), amount.to_owned());
            Ok(PaymentText { account, asset, amount })
        }
        _ => Err("give account,asset,amount, such as 7,KRW,150000".to_owned()),
    }
}

/// Payments in minor units.
pub fn payments(texts: &[PaymentText], names: &Names) -> Result<Vec<Payment>, Failure> {
    let one = |text: &PaymentText| {
        let asset = names.find_asset(&text.asset).map_err(Failure::failed)?;
        let amount = commands::amount_of(names, asset, &text.amount);
        let amount = amount.map_err(|wrong| Failure::failed(format!("--pay to {}: {wrong}", text.account)))?;
        if amount.is_zero() {
            return Err(Failure::failed(format!("--pay to {}: an amount of zero", text.account)));
        }
        Ok(Payment { account: text.account, asset, amount })
    };
    texts.iter().map(one).collect()
}

/// Edits as they are collected, with what each sequence was named by.
#[derive(Default)]
struct Collected {
    edits: Edits,
    named: BTreeMap<Sequence, String>,
}

impl Collected {
    /// One sequence has one edit.
    fn name(&mut self, sequence: Sequence, by: &str) -> Result<(), Failure> {
        match self.named.insert(sequence, by.to_owned()) {
            None => Ok(()),
            Some(before) => Err(Failure::Usage(format!(
                "the edits overlap: sequence {sequence} is named by {before} and by {by}; decide for one"
            ))),
        }
    }

    fn drop(&mut self, sequence: Sequence, by: &str) -> Result<(), Failure> {
        self.name(sequence, by)?;
        self.edits.dropped.insert(sequence, None);
        Ok(())
    }

    fn replace(&mut self, sequence: Sequence, command: Command, by: &str) -> Result<(), Failure> {
        self.name(sequence, by)?;
        self.edits.replaced.insert(sequence, command);
        Ok(())
    }

    fn take(&mut self, edits: Edits, by: &str) -> Result<(), Failure> {
        for sequence in edits.dropped.into_keys() {
            self.drop(sequence, by)?;
        }
        edits.replaced.into_iter().try_for_each(|(sequence, command)| self.replace(sequence, command, by))
    }
}

impl EditArguments {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.airdrop.is_empty()
            && self.drop.is_empty()
            && self.replace.is_empty()
            && self.replace_airdrop.is_empty()
            && self.not_a_fact.is_empty()
    }

    /// The edits, for a halt at `halt`, where the state is `exchange`.
    pub fn edits(
        &self,
        timeline: &Timeline,
        halt: Sequence,
        exchange: &Exchange,
        names: &Names,
    ) -> Result<Edits, Failure> {
        if self.airdrop.is_empty() && self.drop.is_empty() && self.replace.is_empty() && self.replace_airdrop.is_empty()
        {
            return Err(Failure::Usage(
                "say what is wrong: --airdrop ID, --drop A..B, --replace SEQ=... or --replace-airdrop ID=..."
                    .to_owned(),
            ));
        }
        let mut collected = Collected::default();
        for airdrop in &self.airdrop {
            collected.take(Edits::drop_airdrop(timeline, halt, *airdrop)?, &format!("--airdrop {}", airdrop.0))?;
        }
        for (first, last) in &self.drop {
            // Looked at before a range is written out, which may be of any length.
            if first.0 == 0 || *last >= halt {
                let sequence = if first.0 == 0 { *first } else { *last };
                return Err(BranchError::OutsideHistory { sequence, halt }.into());
            }
            for sequence in first.0..=last.0 {
                collected.drop(Sequence(sequence), &format!("--drop {first}..{last}"))?;
            }
        }
        for (sequence, text) in &self.replace {
            let command = commands::read_text(text)
                .and_then(|text| commands::parse_one(&text, names).map_err(Failure::failed))
                .map_err(|failure| {
                    Failure::failed(format!("the command that replaces sequence {sequence}: {failure}"))
                })?;
            collected.replace(Sequence(*sequence), command, &format!("--replace {sequence}"))?;
        }
        for (number, text) in &self.replace_airdrop {
            let by = format!("--replace-airdrop {number}");
            let airdrop = u32::try_from(*number)
                .map(AirdropId)
                .map_err(|_| Failure::failed(format!("{by}: no airdrop has that number")))?;
            let (asset, lines) = manifest(airdrop, text, exchange, names)?;
            collected.take(Edits::replace_airdrop(timeline, halt, airdrop, asset, &lines)?, &by)?;
        }
        for (sequence, reason) in &self.not_a_fact {
            let Some(dropped) = collected.edits.dropped.get_mut(&Sequence(*sequence)) else {
                return Err(Failure::Usage(format!(
                    "--not-a-fact {sequence}: that sequence is not dropped; name it with --drop as well"
                )));
            };
            if dropped.replace(reason.trim().to_owned()).is_some() {
                return Err(Failure::Usage(format!("--not-a-fact {sequence}: it has a reason already")));
            }
        }
        Ok(collected.edits)
    }
}

type Lines = Vec<(AccountId, engine::types::Amount)>;

/// The lines of another manifest, and its asset where one is named.
fn manifest(
    airdrop: AirdropId,
    text: &str,
    exchange: &Exchange,
    names: &Names,
) -> Result<(Option<AssetId>, Lines), Failure> {
    let known = exchange.airdrop(airdrop).ok_or(BranchError::UnknownAirdrop { airdrop })?;
    let named = text.split_once(':').filter(|_| !Path::new(text).exists());
    let (asset, file) = match named {
        Some((asset, file)) => (Some(names.find_asset(asset).map_err(Failure::failed)?), file),
        None => (None, text),
    };
    let spec = names.asset_spec(asset.unwrap_or(known.asset)).expect("an airdrop pays an asset that there is");
    let manifest = Manifest::read(Path::new(file), spec, false, |account| exchange.account(account).is_some())?;
    if let Some(wrong) = manifest.wrong.first() {
        let more = match manifest.wrong.len() {
            1 => String::new(),
            number => format!(", and {} more lines are wrong", count(number as u64 - 1)),
        };
        return Err(Failure::failed(format!("{file}, line {}: {}{more}; put it right", wrong.number, wrong.what)));
    }
    Ok((asset, manifest.lines.iter().map(|line| (line.account, line.amount)).collect()))
}

/// The accounts that were credited in error: by an edited sequence or an airdrop whose manifest is edited; for a rewind by
/// any airdrop behind its cut.
pub fn credited(
    timeline: &Timeline,
    strategy: &Strategy,
    halt: Sequence,
) -> Result<std::collections::BTreeSet<AccountId>, Failure> {
    let edited = strategy.edits().map(Edits::sequences);
    let cut = strategy.cut();
    let mut replay = timeline.replay_from(cut)?;
    replay.run_to(cut)?;
    let (mut found, mut manifests) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    while let Some(step) = replay.next()? {
        let sequence = step.command.sequence;
        if sequence > halt {
            break;
        }
        let is_edited = edited.as_ref().is_none_or(|edited| edited.contains(&sequence));
        if let (true, Command::OpenAirdrop { airdrop, .. } | Command::AddAirdropLine { airdrop, .. }) =
            (is_edited, step.command.command)
        {
            manifests.insert(airdrop);
        }
        for event in step.events {
            match *event {
                Event::AirdropCredited { airdrop, account, .. } if is_edited || manifests.contains(&airdrop) => {
                    found.insert(account);
                }
                Event::Deposited { account, .. } | Event::Transferred { to: account, .. }
                    if is_edited && edited.is_some() =>
                {
                    found.insert(account);
                }
                _ => {}
            }
        }
        let is_last = edited.as_ref().is_some_and(|edited| edited.last().is_some_and(|last| *last <= sequence));
        if is_last && manifests.is_empty() {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends() {
        assert_eq!(range("12"), Ok((Sequence(12), Sequence(12))));
        assert_eq!(range("12..15"), Ok((Sequence(12), Sequence(15))));
        assert!(range("15..12").unwrap_err().contains("backwards"));
        for text in ["", "x", "1..", "..2", "1-2", "-3"] {
            assert!(range(text).is_err(), "{text}");
        }
        assert_eq!(keyed("12= {\"a=b\"}"), Ok((12, " {\"a=b\"}".to_owned())));
        assert!(["12", "x=1", "12=", "12=  "].iter().all(|text| keyed(text).is_err()));
        assert!(payment("A7, KRW, 150000").is_ok() && payment("7,KRW").is_err());
    }
}
