//! Random plans for an incident: what is taken for the mistake, and what is done about it.

use std::collections::BTreeSet;

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    recovery::{Edits, Payment, Strategy},
    types::{Amount, Price, Quantity, Sequence},
};

use crate::{
    history::{AirdropMark, Incident, to_u64},
    model::{ModelExchange, TREASURY, streams::Random},
    naive::{Fill, Parent},
};

/// What a set of edits is for: not every strategy takes every edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Excise,
    Bust,
    Compensate,
}

/// One plan of each strategy, and a second excision.
pub fn strategies(incident: &Incident, parent: &Parent) -> Vec<Strategy> {
    let at_halt = &parent.at_halt;
    let early = early_takers(incident, parent);
    let mut plans = Plans { random: Random::new(incident.seed ^ 0x5EED), incident, early };
    let mut strategies = vec![plans.rewind()];
    for _ in 0..2 {
        strategies.extend(plans.edits(Use::Excise).map(Strategy::Excise));
    }
    strategies.extend(plans.edits(Use::Bust).map(Strategy::Bust));
    if let Some(edits) = plans.edits(Use::Compensate) {
        let payments = plans.payments(at_halt);
        strategies.push(Strategy::Compensate { edits, payments });
    }
    if let Some(early) = plans.one_of(&plans.early.clone()) {
        strategies.push(Strategy::Bust(Edits::drop_sequences([early])));
    }
    // And whatever else one could come upon.
    strategies.push(Strategy::Excise(plans.wild(Use::Excise)));
    strategies.push(Strategy::Bust(plans.wild(Use::Bust)));
    if plans.random.one_in(3) {
        strategies.push(Strategy::Compensate { edits: plans.wild(Use::Compensate), payments: Vec::new() });
    }
    if plans.random.one_in(20) {
        let cut = Sequence(incident.halt.0 + plans.random.below(2));
        strategies.push(Strategy::Rewind { cut });
    }
    for met in own_orders_met(incident, parent) {
        strategies.push(Strategy::Excise(Edits::drop_sequences([met])));
    }
    strategies
}

/// Orders that met another of their own account when a market was uncrossed: without them that one would have stayed.
fn own_orders_met(incident: &Incident, parent: &Parent) -> BTreeSet<Sequence> {
    let mut met = BTreeSet::new();
    for (at, events) in parent.behind(incident.marks.first) {
        if !matches!(at.command, Command::SetMarketStatus { .. } | Command::SetGlobalStatus { .. }) {
            continue;
        }
        for event in events {
            if let Event::OrderCancelled { order, account, market, .. } = *event {
                let before = parent.at(Sequence(at.sequence.0 - 1));
                let own = before.open_orders().filter(|(of, other)| *of == market && other.account == account);
                met.extend(own.filter(|(_, other)| other.id < order).map(|(_, other)| Sequence(other.id.0)));
            }
        }
    }
    met.retain(|sequence| *sequence >= incident.marks.first);
    met
}

struct Plans<'a> {
    random: Random,
    incident: &'a Incident,
    /// Orders that traded with one that stands at the halt, and was traded with again.
    early: Vec<Sequence>,
}

/// Without these the fees of what stands were charged in other steps than the rules would.
fn early_takers(incident: &Incident, parent: &Parent) -> Vec<Sequence> {
    let fills = parent.fills_behind(Sequence(0));
    let stands: BTreeSet<_> = parent.at_halt.open_orders().map(|(_, order)| order.id).collect();
    let is_early = |(place, fill): &(usize, &Fill)| {
        let again = fills[place + 1..].iter().any(|later| later.maker == fill.maker);
        again && stands.contains(&fill.maker) && fill.taker.0 == fill.sequence.0
    };
    let early = fills.iter().enumerate().filter(is_early).map(|(_, fill)| fill.sequence);
    early.filter(|sequence| *sequence >= incident.marks.first).collect()
}

impl Plans<'_> {
    fn rewind(&mut self) -> Strategy {
        let wrong = self.incident.marks.airdrops.iter().find(|mark| mark.wrong);
        let cut = match wrong {
            Some(mark) if !self.random.one_in(3) => mark.execution.0 - 1,
            _ => self.random.between(self.incident.marks.first.0, self.incident.halt.0 - 1),
        };
        Strategy::Rewind { cut: Sequence(cut) }
    }

    fn edits(&mut self, purpose: Use) -> Option<Edits> {
        let mut edits = Edits::default();
        let wanted = self.random.pick(&[1, 1, 1, 2, 3]);
        for _ in 0..30 {
            if edits.dropped.len() + edits.replaced.len() >= wanted {
                break;
            }
            let Some(more) = self.edit(purpose) else { continue };
            let taken: BTreeSet<_> = edits.sequences();
            if more.sequences().is_disjoint(&taken) {
                edits = edits.and(more);
            }
        }
        (!edits.is_empty()).then_some(edits)
    }

    /// One thing that was wrong.
    fn edit(&mut self, purpose: Use) -> Option<Edits> {
        let incident = self.incident;
        let marks = &incident.marks;
        let edits = match self.random.below(20) {
            0..=10 => {
                let wrong: Vec<_> = marks.airdrops.iter().filter(|mark| mark.wrong).collect();
                let any = self.random.one_in(4) || wrong.is_empty();
                let all: Vec<_> = marks.airdrops.iter().collect();
                let mark = self.one_of(if any { &all } else { &wrong })?;
                self.airdrop(mark, purpose)
            }
            11..=12 => {
                let sequence = self.one_of(&marks.transfers)?;
                self.drop_or_replace(sequence, purpose)
            }
            13..=14 => {
                let sequence = self.one_of(&marks.orders)?;
                if purpose == Use::Compensate {
                    return None;
                }
                self.order(sequence, purpose)
            }
            15..=16 => {
                let sequence = self.one_of(&marks.deposits)?;
                self.drop_or_replace(sequence, purpose)
            }
            17 if purpose != Use::Compensate => {
                let sequence = self.one_of(&marks.requests)?;
                self.drop_or_replace(sequence, purpose)
            }
            18 if purpose != Use::Compensate => {
                let sequence = self.one_of(&marks.releases)?;
                self.release(sequence)
            }
            19 if purpose == Use::Excise => {
                let sequences = if self.random.one_in(4) { &marks.statuses } else { &marks.changes };
                let sequence = self.one_of(sequences)?;
                dropped([sequence], "it was not meant")
            }
            _ => return None,
        };
        Some(edits).filter(|edits| edits.sequences().iter().all(|sequence| *sequence < incident.halt))
    }

    /// Any commands at all are dropped, or replaced by any others of the same past.
    fn wild(&mut self, purpose: Use) -> Edits {
        let commands = &self.incident.commands;
        let before_halt = |at: &&SequencedCommand| at.sequence < self.incident.halt;
        let all: Vec<_> = commands.iter().filter(before_halt).copied().collect();
        let traded: Vec<_> = all.iter().filter(|at| at.sequence >= self.incident.marks.first).copied().collect();
        let mut edits = Edits::default();
        for _ in 0..self.random.pick(&[1, 1, 2, 4]) {
            let wrong = if self.random.one_in(12) { self.random.pick(&all) } else { self.random.pick(&traded) };
            let same_kind: Vec<_> = all
                .iter()
                .filter(|at| at.command.kind() == wrong.command.kind() && at.command != wrong.command)
                .collect();
            let is_replaced = purpose != Use::Compensate && self.random.one_in(3);
            let others = self.random.one_in(3) || same_kind.is_empty();
            let other = if others { self.random.pick(&all) } else { *self.random.pick(&same_kind) };
            if edits.sequences().contains(&wrong.sequence) {
                continue;
            }
            if is_replaced {
                edits.replaced.insert(wrong.sequence, other.command);
            } else {
                let reason = if self.random.one_in(10) { None } else { Some("a test".to_owned()) };
                edits.dropped.insert(wrong.sequence, reason);
            }
        }
        edits
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| self.random.pick(from))
    }

    fn airdrop(&mut self, mark: &AirdropMark, purpose: Use) -> Edits {
        match self.random.below(6) {
            0 if purpose != Use::Compensate => {
                // All of it.
                let lines = mark.lines.iter().map(|(sequence, _)| *sequence);
                let others = mark.approvals.iter().copied().chain([mark.opening.0, mark.execution]);
                Edits::drop_sequences(lines.chain(others))
            }
            1..=2 if purpose != Use::Compensate => self.corrected(mark),
            _ => Edits::drop_sequences([mark.execution]),
        }
    }

    /// The airdrop as it was meant.
    fn corrected(&mut self, mark: &AirdropMark) -> Edits {
        let mut edits = Edits::default();
        let keep = usize::try_from(self.random.between(1, mark.lines.len() as u64)).expect("it fits");
        let divisor = self.random.pick(&[2, 10, 50]);
        let mut lines = Vec::new();
        for (sequence, was) in &mark.lines[..keep] {
            let Command::AddAirdropLine { airdrop, account, amount } = *was else { unreachable!("it is a line") };
            let amount = Amount((amount.0 / divisor).max(1));
            lines.push((account, u128::from(amount.0)));
            let line = Command::AddAirdropLine { airdrop, account, amount };
            if line != *was {
                edits.replaced.insert(*sequence, line);
            }
        }
        for (sequence, _) in &mark.lines[keep..] {
            edits.dropped.insert(*sequence, None);
        }
        let Command::OpenAirdrop { airdrop, author, asset, lock_seconds, .. } = mark.opening.1 else {
            unreachable!("it is an opening")
        };
        let opening = Command::OpenAirdrop {
            airdrop,
            author,
            asset,
            total: Amount(to_u64(lines.iter().map(|(_, amount)| amount).sum())),
            lines: u32::try_from(lines.len()).expect("it fits"),
            hash: crate::model::payouts::manifest_hash(asset, &lines),
            lock_seconds,
        };
        if opening != mark.opening.1 {
            edits.replaced.insert(mark.opening.0, opening);
        }
        edits
    }

    fn drop_or_replace(&mut self, sequence: Sequence, purpose: Use) -> Edits {
        let was = self.incident.command(sequence).command;
        let less = |amount: Amount| Amount((amount.0 / 3).max(1));
        let instead = match was {
            Command::Transfer { from, to, asset, amount } => {
                Command::Transfer { from, to, asset, amount: less(amount) }
            }
            Command::Deposit { account, asset, amount, external_id } => {
                Command::Deposit { account, asset, amount: less(amount), external_id }
            }
            Command::RequestWithdrawal { account, asset, amount } => {
                Command::RequestWithdrawal { account, asset, amount: less(amount) }
            }
            other => other,
        };
        if purpose == Use::Compensate || instead == was || !self.random.one_in(3) {
            return dropped([sequence], "another's");
        }
        Edits { replaced: [(sequence, instead)].into(), ..Edits::default() }
    }

    fn order(&mut self, sequence: Sequence, purpose: Use) -> Edits {
        if purpose == Use::Bust || self.random.one_in(2) {
            return Edits::drop_sequences([sequence]);
        }
        let was = self.incident.command(sequence).command;
        let instead = match was {
            Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id } => {
                let quantity = Quantity(self.random.between(1, quantity.0));
                let price = Price(price.0 + self.random.below(4));
                Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id }
            }
            Command::PlaceMarketSell { account, market, quantity, client_order_id } => {
                let quantity = Quantity((quantity.0 / 2).max(1));
                Command::PlaceMarketSell { account, market, quantity, client_order_id }
            }
            other => other,
        };
        if instead == was {
            return Edits::drop_sequences([sequence]);
        }
        Edits { replaced: [(sequence, instead)].into(), ..Edits::default() }
    }

    /// A release that did not happen, nor anything that followed from it.
    fn release(&mut self, sequence: Sequence) -> Edits {
        let Command::ReleaseWithdrawal { withdrawal: released, .. } = self.incident.command(sequence).command else {
            unreachable!("it is a release")
        };
        let follows = |command: &Command| match *command {
            Command::ConfirmWithdrawalSent { withdrawal, .. }
            | Command::ConfirmWithdrawalSettled { withdrawal }
            | Command::FailWithdrawal { withdrawal } => withdrawal == released,
            _ => false,
        };
        let outcomes = self.incident.commands.iter().filter(|at| follows(&at.command)).map(|at| at.sequence);
        // One that came behind the halt cannot be dropped: then the release is left as it is.
        dropped(outcomes.chain([sequence]), "it was never broadcast")
    }

    fn payments(&mut self, at_halt: &ModelExchange) -> Vec<Payment> {
        let accounts: Vec<_> = at_halt.accounts.keys().copied().collect();
        let assets: Vec<_> = at_halt.assets.keys().copied().collect();
        let mut payments = Vec::new();
        for _ in 0..self.random.below(4) {
            let (account, asset) = (self.random.pick(&accounts), self.random.pick(&assets));
            let treasury = u64::try_from(at_halt.assets[&asset].system[TREASURY]).expect("it is not negative");
            let amount = if self.random.one_in(20) { treasury + 1 } else { treasury / 4 };
            if amount > 0 || self.random.one_in(40) {
                payments.push(Payment { account, asset, amount: Amount(amount) });
            }
        }
        payments
    }
}

fn dropped(sequences: impl IntoIterator<Item = Sequence>, reason: &str) -> Edits {
    let dropped = sequences.into_iter().map(|sequence| (sequence, Some(reason.to_owned()))).collect();
    Edits { dropped, ..Edits::default() }
}
