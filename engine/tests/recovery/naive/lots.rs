//! Lots: what became of each wrong credit, first in, first out; and who was poisoned by it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine::{
    event::Event,
    recovery::{FlowKind, Suspects},
    types::{AccountId, AssetId, MarketId, Price, Sequence, Side, WithdrawalId},
};

use super::Parent;
use crate::model::ModelExchange;

/// A part of a balance: whose credit it is, if any's, and how many hands it went through since.
#[derive(Clone, Copy, Debug)]
struct Lot {
    amount: u128,
    from: Option<(usize, u32)>,
}

/// A credit, and what became of it at the account that got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    pub sequence: Sequence,
    pub account: AccountId,
    pub asset: AssetId,
    pub credited: u128,
    /// Left at the end, free.
    pub available: u128,
    /// Left at the end, held.
    pub held: u128,
    pub sold: u128,
    pub withdrawn: u128,
    pub transferred: u128,
    pub fees: u128,
    pub set_off: u128,
}

/// What was got for a credit, shared out by what each lot gave: rounded down once for each fill, and for every lot.
///
/// The rules do not speak of proceeds: they tell what became of a credit, and nothing is done with what was got for it. That it is shared
/// out evenly is what the word says; where the rest of a division goes is nowhere said, so that nothing closer than these bounds can be
/// demanded. Both are the same, and exact, when a fill takes lots of one credit alone or divides without a rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proceeds {
    pub at_least: u128,
    pub at_most: u128,
}

/// From whom, to whom, what, how, and which hop it is.
pub type Way = (AccountId, AccountId, AssetId, FlowKind, u32);

/// A fill, as charts want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traded {
    pub sequence: Sequence,
    pub market: MarketId,
    pub price: Price,
    /// Whether a poisoned account took part.
    pub touched: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Lots {
    queues: BTreeMap<(AccountId, AssetId), VecDeque<Lot>>,
    pub credits: Vec<Credit>,
    pub proceeds: BTreeMap<(usize, AssetId), Proceeds>,
    pub flows: BTreeMap<Way, u128>,
    released: BTreeMap<WithdrawalId, Vec<Lot>>,
    /// Credited accounts, and whoever got something from a poisoned one afterwards.
    pub poisoned: BTreeSet<AccountId>,
    /// All fills.
    pub traded: Vec<Traded>,
}

impl Lots {
    /// Follows the lots from the first command through the halt.
    pub fn follow(parent: &Parent, suspects: &Suspects) -> Self {
        let mut lots = Self::default();
        let mut model = parent.base.clone();
        for (&account, found) in &model.accounts {
            for (&asset, balance) in &found.balances {
                lots.put(account, asset, vec![Lot { amount: balance.available + balance.held, from: None }]);
            }
        }
        for (at, events) in parent.behind(Sequence(0)) {
            model.apply(at.sequence, at.time, &at.command);
            let named = matches!(suspects, Suspects::Sequences(sequences) if sequences.contains(&at.sequence));
            for event in events {
                let is_suspect = match suspects {
                    Suspects::Airdrop(wanted) => {
                        matches!(*event, Event::AirdropCredited { airdrop, .. } if airdrop == *wanted)
                    }
                    Suspects::Sequences(_) => named,
                };
                lots.note(at.sequence, event);
                lots.take_in(&model, at.sequence, event, is_suspect);
            }
        }
        for (&(account, asset), queue) in &lots.queues {
            let balance = model.balance(account, asset);
            let sum: u128 = queue.iter().map(|lot| lot.amount).sum();
            assert_eq!(sum, balance.available + balance.held, "the lots of {account} and {asset} are its balance");
        }
        lots.tell_what_is_left(&model);
        lots
    }

    /// What is left of an account's credited lots.
    pub fn left(&self, account: AccountId, asset: AssetId) -> u128 {
        let queue = self.queues.get(&(account, asset)).into_iter().flatten();
        queue.filter(|lot| matches!(lot.from, Some((_, 0)))).map(|lot| lot.amount).sum()
    }

    /// Who has what of the credits, and how many hops from the account that was credited.
    pub fn holders(&self) -> BTreeMap<(AccountId, AssetId, u32), u128> {
        let mut holders = BTreeMap::new();
        for (&(account, asset), queue) in &self.queues {
            for lot in queue {
                if let Some((_, hop)) = lot.from {
                    *holders.entry((account, asset, hop)).or_default() += lot.amount;
                }
            }
        }
        holders
    }

    fn tell_what_is_left(&mut self, model: &ModelExchange) {
        let mut held: BTreeMap<(AccountId, AssetId), u128> = BTreeMap::new();
        for (number, credit) in self.credits.iter_mut().enumerate() {
            let of = (credit.account, credit.asset);
            let queue = self.queues.get(&of).into_iter().flatten();
            let left: u128 = queue.filter(|lot| lot.from == Some((number, 0))).map(|lot| lot.amount).sum();
            let free = held.entry(of).or_insert_with(|| model.balance(of.0, of.1).held);
            credit.held = left.min(*free);
            *free -= credit.held;
            credit.available = left - credit.held;
        }
    }

    fn note(&mut self, at: Sequence, event: &Event) {
        if let Event::Filled { taker_account, maker_account, market, price, .. } = *event {
            let touched = self.poisoned.contains(&taker_account) || self.poisoned.contains(&maker_account);
            self.traded.push(Traded { sequence: at, market, price, touched });
        }
    }

    fn flow(&mut self, lots: &[Lot], from: AccountId, to: AccountId, asset: AssetId, kind: FlowKind) {
        for lot in lots {
            if let Some((_, hop)) = lot.from {
                *self.flows.entry((from, to, asset, kind, hop + 1)).or_default() += lot.amount;
            }
        }
    }

    /// What was got for credited lots, pro rata.
    fn proceed(&mut self, lots: &[Lot], given: u128, asset: AssetId, got: u128) {
        let mut exact: BTreeMap<usize, u128> = BTreeMap::new();
        for lot in lots {
            if let Some((credit, 0)) = lot.from {
                self.proceeds.entry((credit, asset)).or_default().at_least += got * lot.amount / given;
                *exact.entry(credit).or_default() += lot.amount;
            }
        }
        for (credit, amount) in exact {
            self.proceeds.entry((credit, asset)).or_default().at_most += got * amount / given;
        }
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

    fn credit(&mut self, sequence: Sequence, account: AccountId, asset: AssetId, credited: u128) {
        let from = Some((self.credits.len(), 0));
        self.credits.push(Credit { sequence, account, asset, credited, ..Credit::default() });
        self.put(account, asset, vec![Lot { amount: credited, from }]);
        self.poisoned.insert(account);
    }

    fn take_in(&mut self, model: &ModelExchange, at: Sequence, event: &Event, is_suspect: bool) {
        match *event {
            Event::Deposited { account, asset, amount, .. } | Event::AirdropCredited { account, asset, amount, .. } => {
                if is_suspect {
                    self.credit(at, account, asset, amount.0.into());
                } else {
                    self.put(account, asset, vec![Lot { amount: amount.0.into(), from: None }]);
                }
            }
            Event::Transferred { from, to, asset, amount } => {
                let lots = self.take(from, asset, amount.0.into());
                self.left_by(&lots, |credit| &mut credit.transferred);
                self.flow(&lots, from, to, asset, FlowKind::Transferred);
                if is_suspect {
                    self.credit(at, to, asset, amount.0.into());
                } else {
                    self.put(to, asset, passed_on(lots));
                    if self.poisoned.contains(&from) {
                        self.poisoned.insert(to);
                    }
                }
            }
            Event::WithdrawalReleased { withdrawal, account, asset, amount } => {
                let lots = self.take(account, asset, amount.0.into());
                self.left_by(&lots, |credit| &mut credit.withdrawn);
                self.flow(&lots, account, AccountId::EXTERNAL, asset, FlowKind::Withdrawn);
                self.released.insert(withdrawal, lots);
            }
            Event::WithdrawalFailed { withdrawal, account, asset, .. } => {
                let Some(lots) = self.released.remove(&withdrawal) else {
                    // Released before the first command: what comes back is clean, and what was owed for it is not given.
                    let balance = model.balance(account, asset);
                    let queue = self.queues.get(&(account, asset)).into_iter().flatten();
                    let there: u128 = queue.map(|lot| lot.amount).sum();
                    let amount = balance.available + balance.held - there;
                    return self.put(account, asset, vec![Lot { amount, from: None }]);
                };
                for lot in &lots {
                    if let Some((credit, hop)) = lot.from {
                        if hop == 0 {
                            self.credits[credit].withdrawn -= lot.amount;
                        }
                        let way = (account, AccountId::EXTERNAL, asset, FlowKind::Withdrawn, hop + 1);
                        *self.flows.get_mut(&way).expect("it went out") -= lot.amount;
                    }
                }
                self.put(account, asset, lots);
            }
            Event::SetOffDone { account, asset, amount, .. } => {
                let lots = self.take(account, asset, amount.0.into());
                self.left_by(&lots, |credit| &mut credit.set_off);
            }
            Event::Filled { .. } => self.fill(model, event),
            _ => {}
        }
    }

    fn fill(&mut self, model: &ModelExchange, event: &Event) {
        let Event::Filled {
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
        else {
            unreachable!("called for fills only")
        };
        let found = &model.markets[&market];
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
        self.flow(&fee, buyer, AccountId::FEES, quote, FlowKind::Fee);
        let sold = self.take(seller, base, amount);
        self.left_by(&sold, |credit| &mut credit.sold);
        self.proceed(&paid, notional, base, amount);
        self.proceed(&sold, amount, quote, notional - charge(seller_fee));

        self.flow(&sold, seller, buyer, base, FlowKind::Sold);
        self.put(buyer, base, passed_on(sold));
        let (arrives, cut_off) = without_end(paid, charge(seller_fee));
        self.flow(&cut_off, buyer, AccountId::FEES, quote, FlowKind::Fee);
        self.flow(&arrives, buyer, seller, quote, FlowKind::Sold);
        self.put(seller, quote, passed_on(arrives));
        self.put(buyer, quote, vec![Lot { amount: rebate(buyer_fee), from: None }]);
        self.put(seller, quote, vec![Lot { amount: rebate(seller_fee), from: None }]);
        if self.poisoned.contains(&buyer) || self.poisoned.contains(&seller) {
            self.poisoned.extend([buyer, seller]);
        }
    }
}

/// One hand further.
fn passed_on(lots: Vec<Lot>) -> Vec<Lot> {
    let further = |lot: Lot| Lot { from: lot.from.map(|(credit, hop)| (credit, hop + 1)), ..lot };
    lots.into_iter().map(further).collect()
}

/// Lots with `amount` cut off their end, and what is cut off.
fn without_end(mut lots: Vec<Lot>, amount: u128) -> (Vec<Lot>, Vec<Lot>) {
    let mut due = amount;
    let mut cut_off = Vec::new();
    while due > 0 {
        let mut last = lots.pop().expect("a fee never exceeds the notional");
        if last.amount > due {
            lots.push(Lot { amount: last.amount - due, ..last });
            last.amount = due;
        }
        due -= last.amount;
        cut_off.push(last);
    }
    (lots, cut_off)
}
