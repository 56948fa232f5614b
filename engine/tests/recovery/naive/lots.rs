//! Lots: what became of each wrong credit, first in, first out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::{
    event::Event,
    types::{AccountId, AirdropId, AssetId, Sequence, Side, WithdrawalId},
};

use super::Parent;

/// What is traced.
#[derive(Clone, Debug)]
pub enum Suspected {
    Airdrop(AirdropId),
    Sequences(BTreeSet<Sequence>),
}

/// A part of a balance: whose credit it is, if any's, and how many hands it went through since.
#[derive(Clone, Copy, Debug)]
struct Lot {
    amount: u128,
    from: Option<(usize, u32)>,
}

/// A credit, and what became of it at the account that got it.
#[derive(Clone, Copy, Debug)]
pub struct Credit {
    pub account: AccountId,
    pub asset: AssetId,
    pub credited: u128,
    pub sold: u128,
    pub withdrawn: u128,
    pub transferred: u128,
    pub fees: u128,
    pub set_off: u128,
}

/// How a credit is told in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub account: AccountId,
    pub asset: AssetId,
    pub credited: u128,
    pub available: u128,
    pub held: u128,
    pub sold: u128,
    pub withdrawn: u128,
    pub transferred: u128,
    pub fees: u128,
    pub set_off: u128,
}

#[derive(Clone, Debug, Default)]
pub struct Lots {
    queues: BTreeMap<(AccountId, AssetId), VecDeque<Lot>>,
    pub credits: Vec<Credit>,
    released: BTreeMap<WithdrawalId, Vec<Lot>>,
    /// Credited accounts, and whoever got something from a poisoned one afterwards.
    pub poisoned: BTreeSet<AccountId>,
}

impl Lots {
    /// Follows the lots from the first command through the halt.
    pub fn follow(parent: &Parent, suspected: &Suspected) -> Self {
        let mut lots = Self::default();
        for (&account, found) in &parent.base.accounts {
            for (&asset, balance) in &found.balances {
                lots.put(account, asset, vec![Lot { amount: balance.available + balance.held, from: None }]);
            }
        }
        for (command, events) in parent.behind(Sequence(0)) {
            for event in events {
                let is_suspected = match suspected {
                    Suspected::Airdrop(wanted) => {
                        matches!(*event, Event::AirdropCredited { airdrop, .. } if airdrop == *wanted)
                    }
                    Suspected::Sequences(sequences) => sequences.contains(&command.sequence),
                };
                lots.take_in(parent, event, is_suspected);
            }
        }
        lots
    }

    /// What is left of an account's credited lots.
    pub fn left(&self, account: AccountId, asset: AssetId) -> u128 {
        let queue = self.queues.get(&(account, asset)).into_iter().flatten();
        queue.filter(|lot| matches!(lot.from, Some((_, 0)))).map(|lot| lot.amount).sum()
    }

    /// All credits with what became of them.
    pub fn rows(&self, parent: &Parent) -> Vec<Row> {
        let mut held: BTreeMap<(AccountId, AssetId), u128> = BTreeMap::new();
        let row = |(number, credit): (usize, &Credit)| {
            let Credit { account, asset, credited, sold, withdrawn, transferred, fees, set_off } = *credit;
            let queue = self.queues.get(&(account, asset)).into_iter().flatten();
            let left: u128 = queue.filter(|lot| lot.from == Some((number, 0))).map(|lot| lot.amount).sum();
            let free = held.entry((account, asset)).or_insert_with(|| parent.at_halt.balance(account, asset).held);
            let held = left.min(*free);
            *free -= held;
            let available = left - held;
            Row { account, asset, credited, available, held, sold, withdrawn, transferred, fees, set_off }
        };
        self.credits.iter().enumerate().map(row).collect()
    }

    fn put(&mut self, account: AccountId, asset: AssetId, lots: Vec<Lot>) {
        let queue = self.queues.entry((account, asset)).or_default();
        queue.extend(lots.into_iter().filter(|lot| lot.amount > 0));
    }

    /// Takes from the front.
    fn take(&mut self, account: AccountId, asset: AssetId, amount: u128) -> Vec<Lot> {
        let queue = self.queues.entry((account, asset)).or_default();
        let mut taken = Vec::new();
        let mut due = amount;
        while due > 0 {
            let mut lot = queue.pop_front().expect("lots are what the balance is");
            if lot.amount > due {
                queue.push_front(Lot { amount: lot.amount - due, ..lot });
                lot.amount = due;
            }
            due -= lot.amount;
            taken.push(lot);
        }
        taken
    }

    /// Writes down why lots left the account that was credited.
    fn left_by(&mut self, lots: &[Lot], column: impl Fn(&mut Credit) -> &mut u128) {
        for lot in lots {
            if let Some((credit, 0)) = lot.from {
                *column(&mut self.credits[credit]) += lot.amount;
            }
        }
    }

    fn credit(&mut self, account: AccountId, asset: AssetId, credited: u128) {
        let from = Some((self.credits.len(), 0));
        let (sold, withdrawn, transferred, fees, set_off) = (0, 0, 0, 0, 0);
        self.credits.push(Credit { account, asset, credited, sold, withdrawn, transferred, fees, set_off });
        self.put(account, asset, vec![Lot { amount: credited, from }]);
        self.poisoned.insert(account);
    }

    fn arrives(&mut self, account: AccountId, asset: AssetId, amount: u128, is_suspected: bool) {
        if is_suspected {
            self.credit(account, asset, amount);
        } else {
            self.put(account, asset, vec![Lot { amount, from: None }]);
        }
    }

    fn take_in(&mut self, parent: &Parent, event: &Event, is_suspected: bool) {
        match *event {
            Event::Deposited { account, asset, amount, .. } | Event::AirdropCredited { account, asset, amount, .. } => {
                self.arrives(account, asset, amount.0.into(), is_suspected);
            }
            Event::Transferred { from, to, asset, amount } => {
                let lots = self.take(from, asset, amount.0.into());
                self.left_by(&lots, |credit| &mut credit.transferred);
                if is_suspected {
                    self.credit(to, asset, amount.0.into());
                } else {
                    self.put(to, asset, passed_on(lots));
                    self.poison(from, to);
                }
            }
            Event::WithdrawalReleased { withdrawal, account, asset, amount } => {
                let lots = self.take(account, asset, amount.0.into());
                self.left_by(&lots, |credit| &mut credit.withdrawn);
                self.released.insert(withdrawal, lots);
            }
            Event::WithdrawalFailed { withdrawal, account, asset, .. } => {
                let lots = self.released.remove(&withdrawal).expect("it was released");
                for lot in &lots {
                    if let Some((credit, 0)) = lot.from {
                        self.credits[credit].withdrawn -= lot.amount;
                    }
                }
                self.put(account, asset, lots);
            }
            Event::SetOffDone { account, asset, amount, .. } => {
                let lots = self.take(account, asset, amount.0.into());
                self.left_by(&lots, |credit| &mut credit.set_off);
            }
            Event::Filled {
                taker_account,
                maker_account,
                market,
                taker_side,
                price,
                quantity,
                taker_fee,
                maker_fee,
                ..
            } => {
                let found = &parent.at_halt.markets[&market];
                let (base, quote) = (found.base, found.quote);
                let notional = found.notional(price.0.into(), quantity.0.into());
                let amount = u128::from(quantity.0) * found.lot_size;
                let (buyer, buyer_fee, seller, seller_fee) = match taker_side {
                    Side::Buy => (taker_account, taker_fee, maker_account, maker_fee),
                    Side::Sell => (maker_account, maker_fee, taker_account, taker_fee),
                };
                let charge = |fee: i64| u128::try_from(fee.max(0)).expect("not negative");
                let rebate = |fee: i64| u128::try_from((-fee).max(0)).expect("not negative");

                let paid = self.take(buyer, quote, notional);
                self.left_by(&paid, |credit| &mut credit.sold);
                let fee = self.take(buyer, quote, charge(buyer_fee));
                self.left_by(&fee, |credit| &mut credit.fees);
                let sold = self.take(seller, base, amount);
                self.left_by(&sold, |credit| &mut credit.sold);

                self.put(buyer, base, passed_on(sold));
                self.put(seller, quote, passed_on(without_end(paid, charge(seller_fee))));
                self.put(buyer, quote, vec![Lot { amount: rebate(buyer_fee), from: None }]);
                self.put(seller, quote, vec![Lot { amount: rebate(seller_fee), from: None }]);
                let (buyer_was, seller_was) = (self.poisoned.contains(&buyer), self.poisoned.contains(&seller));
                if buyer_was || seller_was {
                    self.poisoned.extend([buyer, seller]);
                }
            }
            _ => {}
        }
    }

    fn poison(&mut self, from: AccountId, to: AccountId) {
        if self.poisoned.contains(&from) {
            self.poisoned.insert(to);
        }
    }
}

/// One hand further.
fn passed_on(lots: Vec<Lot>) -> Vec<Lot> {
    let further = |lot: Lot| Lot { from: lot.from.map(|(credit, hop)| (credit, hop + 1)), ..lot };
    lots.into_iter().map(further).collect()
}

/// Lots with `amount` cut off their end.
fn without_end(mut lots: Vec<Lot>, amount: u128) -> Vec<Lot> {
    let mut due = amount;
    while due > 0 {
        let mut last = lots.pop().expect("a fee never exceeds the notional");
        if last.amount > due {
            last.amount -= due;
            lots.push(last);
            break;
        }
        due -= last.amount;
    }
    lots
}
