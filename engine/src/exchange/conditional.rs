//! Decisions that risk leaves to the matcher: whether an account covers what it asks for, when only what is on its way
//! to the books can tell.
//!
//! What risk sees of a balance is a lower bound. Where it does not cover a command, risk could wait until everything
//! before has been settled ([`Decision::Wait`]); but then an account that always asks for more than it has makes everybody
//! wait for the way to the matcher and back. The matcher need not wait: it has made all settlements itself. So it is told
//! what risk saw and after how many settlements, adds what it has settled since, and has what the serial machine has:
//!
//! ```text
//! risk      settlements 0 .. 900 seen, 30 available ──── wants 50 if covered ───►┐
//! matcher   settlements 0 ... 900 .. 912 made; of this account since 900: +25 ──►│ 55: it is covered, 50 are held
//! ```
//!
//! Until that has been settled, what risk sees of the account is no lower bound, as the matcher may hold a part of it; so
//! whatever else the account asks for waits. Thus none is in doubt for long, and the matcher goes through each of an
//! account's settlements once at the most, however many of its commands are left to it.
//!
//! Owned by who runs the halves apart; who runs them together never needs it.

use super::{
    decision::{Decision, OrderTerms, Settlement},
    matcher::Matcher,
    risk::{Risk, base_amount, charge_and_rebate, limit_hold, market_group},
};
use crate::{
    command::Command,
    event::RejectReason,
    types::{AccountId, Amount, AssetId, Sequence, Side},
};

/// A command that is to be carried out if its account covers it, which risk could not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditional {
    pub(super) account: AccountId,
    pub(super) asset: AssetId,
    /// What risk saw available of the asset.
    pub(super) available: Amount,
    /// How many settlements were in that.
    pub(super) settlements: u64,
    /// The whole of what is to be held, and the rates in force.
    pub(super) terms: OrderTerms,
    pub(super) purpose: Purpose,
}

/// What is to be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The whole hold of an order.
    Order,
    /// The new hold of an order that is replaced, or else all that is available.
    Replacing,
}

impl Risk {
    /// Leaves to the matcher what [`decide`](Self::decide) has just said to wait for, with the same arguments, if it is an
    /// order or a replacing; so many `settlements` have been settled so far. None if it has to wait.
    ///
    /// An account that is in doubt already has to wait: so it is out of doubt soon however busy it is, and the matcher looks at
    /// each of its settlements once.
    #[cold]
    pub fn decide_conditionally(
        &mut self,
        sequence: Sequence,
        command: &Command,
        settlements: u64,
    ) -> Option<Decision> {
        // Whatever else could be wrong with the command was looked at before it was said to wait.
        let (account, market, side, held, is_order) = match *command {
            Command::PlaceLimit { account, market, side, price, quantity, .. } => {
                (account, market, side, limit_hold(self.market(market).ok()?, side, price, quantity).ok()?, true)
            }
            Command::PlaceMarketBuy { account, market, budget, .. } => (account, market, Side::Buy, budget, true),
            Command::PlaceMarketSell { account, market, quantity, .. } => {
                (account, market, Side::Sell, base_amount(self.market(market).ok()?, quantity).ok()?, true)
            }
            Command::ReplaceOrder { account, market, side, price, quantity, .. } => {
                (account, market, side, limit_hold(self.market(market).ok()?, side, price, quantity).ok()?, false)
            }
            _ => return None,
        };
        let spec = self.market(market).ok()?;
        let (asset, group) = (spec.held_asset(side), market_group(market));
        let terms = OrderTerms { held, maker_rate: spec.maker_rate, taker_rate: spec.taker_rate };
        let record = self.ledger.account_mut(account).filter(|record| record.is_active())?;
        record.begin_doubt(sequence.0);
        if is_order {
            record.order_begins(sequence.0, group);
        }
        self.market_group_until[group] = sequence.0;
        self.passed_on = sequence;
        let available = self.ledger.balance(account, asset).available;
        let purpose = if is_order { Purpose::Order } else { Purpose::Replacing };
        Some(Decision::Conditional(Conditional { account, asset, available, settlements, terms, purpose }))
    }
}

impl Matcher {
    /// Decides what risk left open: gives the decision, and what has to be [noted](RecentSettlements::note) and settled
    /// before it is carried out.
    ///
    /// `recent` must hold all settlements that came before, from the first one that risk had not seen.
    #[must_use]
    pub fn decide(&self, conditional: &Conditional, recent: &RecentSettlements) -> (Decision, Option<Settlement>) {
        let &Conditional { account, asset, available, settlements, terms, purpose } = conditional;
        let since: i128 = recent.of(account, settlements).map(|settlement| self.gain(settlement, account, asset)).sum();
        let available = u64::try_from(i128::from(available.0) + since);
        let available = Amount(available.expect("with everything settled, no balance is less than nothing"));
        if purpose == Purpose::Order && terms.held > available {
            // Risk has counted it as open.
            let (amount, order_done) = (Amount::ZERO, true);
            let closing = Settlement::Release { account, asset, amount, order_done };
            return (Decision::Refuse(RejectReason::InsufficientAvailable), Some(closing));
        }
        let held = terms.held.min(available);
        let hold = Settlement::Hold { account, asset, amount: held };
        (Decision::Order(OrderTerms { held, ..terms }), (!held.is_zero()).then_some(hold))
    }

    /// By how much a settlement makes what the account has available of the asset grow.
    fn gain(&self, settlement: &Settlement, account: AccountId, asset: AssetId) -> i128 {
        let if_is = |holds: bool, amount: u64| if holds { i128::from(amount) } else { 0 };
        match *settlement {
            Settlement::Fill {
                market, buyer, seller, notional, base_amount, buyer_fee, seller_fee, released, ..
            } => {
                let spec = self.markets[usize::from(market.0)].as_ref().expect("a fill happens on a market").spec;
                let ((_, back), (charge, rebate)) = (charge_and_rebate(buyer_fee), charge_and_rebate(seller_fee));
                if_is(account == buyer && asset == spec.quote, released.0 + back)
                    + if_is(account == buyer && asset == spec.base, base_amount.0)
                    + if_is(account == seller && asset == spec.quote, notional.0 - charge + rebate)
            }
            Settlement::Release { account: owner, asset: released, amount, .. } => {
                if_is((owner, released) == (account, asset), amount.0)
            }
            Settlement::Hold { account: owner, asset: held, amount } => {
                -if_is((owner, held) == (account, asset), amount.0)
            }
        }
    }
}

/// How many lists settlements are found by.
const LISTS: usize = 1_024;
/// How many settlements there is room for at first.
const ROOM: usize = 4_096;

/// The settlements that a matcher made last, found by account.
///
/// ```
/// use engine::{
///     exchange::{RecentSettlements, Settlement},
///     types::{AccountId, Amount, AssetId},
/// };
/// let mut recent = RecentSettlements::default();
/// for account in [1, 2, 1].map(AccountId) {
///     recent.note(&Settlement::Release { account, asset: AssetId(0), amount: Amount(5), order_done: true });
/// }
/// assert_eq!(recent.of(AccountId(1), 0).count(), 2);
/// assert_eq!(recent.of(AccountId(1), 1).count(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct RecentSettlements {
    /// A power of two; that with number `n` is at `n` modulo the length.
    entries: Vec<Entry>,
    /// By account number modulo the length: one more than the number of the last settlement of such an account, 0 for none.
    lists: Box<[u64; LISTS]>,
    /// How many were noted.
    count: u64,
    /// Those before this are not needed any more.
    needed_from: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    settlement: Settlement,
    /// Of each of its accounts: what its list held before.
    before: [u64; 2],
}

const NOTHING: Entry = Entry {
    settlement: Settlement::Release {
        account: AccountId(0),
        asset: AssetId(0),
        amount: Amount::ZERO,
        order_done: false,
    },
    before: [0; 2],
};

impl Default for RecentSettlements {
    fn default() -> Self {
        Self { entries: vec![NOTHING; ROOM], lists: Box::new([0; LISTS]), count: 0, needed_from: 0 }
    }
}

impl RecentSettlements {
    /// Notes the next settlement. One that releases nothing, as a refusal does, counts and is not found again, so that whoever
    /// is refused all the time does not make a long list.
    #[inline]
    pub fn note(&mut self, settlement: &Settlement) {
        if self.is_full() {
            self.grow();
        }
        if let Settlement::Release { amount: Amount::ZERO, .. } = settlement {
            self.count += 1;
            return;
        }
        let lists = settlement.accounts().map(list_of);
        let before = lists.map(|list| self.lists[list]);
        let place = self.place(self.count);
        self.entries[place] = Entry { settlement: *settlement, before };
        self.count += 1;
        for list in lists {
            self.lists[list] = self.count;
        }
    }

    /// Whether the next one needs more room, unless something can be [forgotten](Self::forget_before).
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count - self.needed_from == self.entries.len() as u64
    }

    /// No settlement before this number will be asked for again.
    pub fn forget_before(&mut self, number: u64) {
        self.needed_from = self.needed_from.max(number.min(self.count));
    }

    /// The settlements from this number on that touch the account, the latest first.
    ///
    /// # Panics
    /// When they were forgotten.
    pub fn of(&self, account: AccountId, from: u64) -> impl Iterator<Item = &Settlement> {
        assert!(from >= self.needed_from, "settlement {from} was forgotten");
        let list = list_of(account);
        let mut next = self.lists[list];
        let in_list = std::iter::from_fn(move || {
            let number = next.checked_sub(1).filter(|number| *number >= from)?;
            let Entry { settlement, before } = &self.entries[self.place(number)];
            next = before[usize::from(list_of(settlement.accounts()[0]) != list)];
            Some(settlement)
        });
        in_list.filter(move |settlement| settlement.accounts().contains(&account))
    }

    const fn place(&self, number: u64) -> usize {
        number as usize & (self.entries.len() - 1)
    }

    /// Makes twice the room.
    #[cold]
    fn grow(&mut self) {
        let mut larger = vec![NOTHING; self.entries.len() * 2];
        for number in self.needed_from..self.count {
            larger[number as usize & (self.entries.len() * 2 - 1)] = self.entries[self.place(number)];
        }
        self.entries = larger;
    }
}

#[inline]
const fn list_of(account: AccountId) -> usize {
    account.0 as usize % LISTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MarketId;

    const fn release(account: u32, amount: u64) -> Settlement {
        let (account, asset, amount) = (AccountId(account), AssetId(0), Amount(amount));
        Settlement::Release { account, asset, amount, order_done: false }
    }

    const fn fill(buyer: u32, seller: u32, notional: u64) -> Settlement {
        Settlement::Fill {
            market: MarketId(0),
            buyer: AccountId(buyer),
            seller: AccountId(seller),
            notional: Amount(notional),
            base_amount: Amount(1),
            buyer_fee: 0,
            seller_fee: 0,
            released: Amount::ZERO,
            buyer_done: false,
            seller_done: false,
        }
    }

    /// Held against a plain list, with accounts that share a list, while room runs out and is freed.
    #[test]
    fn it_finds_what_a_list_finds() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut recent, mut all) = (RecentSettlements::default(), Vec::new());
        // Some of them share a list.
        let accounts = [1, 2, 3, 1 + LISTS as u32, 2 + LISTS as u32, 1 + 2 * LISTS as u32];
        let mut needed_from = 0;
        for round in 0..60_000_u64 {
            let [one, other] = [random(6), random(6)].map(|index| accounts[index as usize]);
            let settlement = if random(2) == 0 { release(one, round % 3) } else { fill(one, other, round) };
            recent.note(&settlement);
            all.push(settlement);
            if random(3_000) == 0 {
                needed_from += random(all.len() as u64 - needed_from);
                recent.forget_before(needed_from);
            }
            if round % 97 == 0 {
                let from = needed_from + random(all.len() as u64 - needed_from + 1);
                for account in accounts.map(AccountId) {
                    let found: Vec<_> = recent.of(account, from).copied().collect();
                    let expected = all[from as usize..]
                        .iter()
                        .rev()
                        .filter(|one| one.accounts().contains(&account) && **one != release(account.0, 0));
                    assert_eq!(found, expected.copied().collect::<Vec<_>>());
                }
            }
        }
        assert_eq!(recent.count, all.len() as u64);
    }

    #[test]
    fn what_is_not_needed_leaves_its_room() {
        let mut recent = RecentSettlements::default();
        for number in 0..10 * ROOM as u64 {
            recent.note(&release(1, number));
            recent.forget_before(number);
        }
        assert_eq!(recent.entries.len(), ROOM);
        // Forgetting never goes back, nor beyond what there is.
        recent.forget_before(3);
        recent.forget_before(u64::MAX);
        assert_eq!(recent.of(AccountId(1), recent.count).count(), 0);
    }
}
