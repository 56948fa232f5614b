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
//! Until that has been settled the matcher may hold more of the account than risk knows of: at the most all that it was asked
//! to. The account is *in doubt*. What risk sees of it, less that, is a lower bound again: what that covers, risk grants as
//! ever; what it does not cover is left to the matcher like the first. So nobody waits, and whoever has enough is decided
//! about by risk alone as soon as what he was in doubt for has been settled, however busy he is.
//!
//! The matcher keeps the sum of what it has settled since for whom it is asked about, so that it looks at each settlement of
//! an account once, however many of its commands are left to it.
//!
//! Owned by who runs the halves apart; who runs them together never needs it.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

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

/// What risk has left to the matcher and not seen settled yet.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftOpen {
    queue: VecDeque<Left>,
    /// By account and asset: how much the matcher may come to hold for all of them, if there are any.
    sums: BTreeMap<(AccountId, AssetId), u128>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    sequence: Sequence,
    account: AccountId,
    asset: AssetId,
    held: Amount,
    settlements: u64,
}

impl LeftOpen {
    /// Whether there is nothing.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How much of what an account has available of an asset the matcher may be holding.
    pub(super) fn of(&self, account: AccountId, asset: AssetId) -> u128 {
        self.sums.get(&(account, asset)).copied().unwrap_or_default()
    }

    fn push(&mut self, left: Left) {
        *self.sums.entry((left.account, left.asset)).or_default() += u128::from(left.held.0);
        self.queue.push_back(left);
    }

    /// Takes out what has been settled with everything up to `sequence`; gives an account about which nothing is open any
    /// more, or none when nothing is left to be taken out.
    fn next_closed(&mut self, sequence: Sequence) -> Option<AccountId> {
        while let Some(Left { account, asset, held, .. }) = self.queue.pop_front_if(|left| left.sequence <= sequence) {
            let sum = self.sums.get_mut(&(account, asset)).expect("it was added to the sum");
            *sum -= u128::from(held.0);
            if *sum > 0 {
                continue;
            }
            self.sums.remove(&(account, asset));
            let all_assets = (account, AssetId(0))..=(account, AssetId(u16::MAX));
            if self.sums.range(all_assets).next().is_none() {
                return Some(account);
            }
        }
        None
    }
}

impl Risk {
    /// Leaves to the matcher what [`decide`](Self::decide) has just said to wait for, with the same arguments, if it is an
    /// order or a replacing; so many `settlements` have been settled so far. None if it has to wait.
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
        let record = self.ledger.account_mut(account)?;
        record.begin_doubt(sequence.0);
        if is_order {
            record.order_begins(sequence.0, group);
        }
        self.market_group_until[group] = sequence.0;
        self.passed_on = sequence;
        self.left_open.push(Left { sequence, account, asset, held, settlements });
        let available = self.ledger.balance(account, asset).available;
        let purpose = if is_order { Purpose::Order } else { Purpose::Replacing };
        Some(Decision::Conditional(Conditional { account, asset, available, settlements, terms, purpose }))
    }

    /// From which settlement on the matcher has to know them, when so many have been settled.
    #[must_use]
    pub fn needs_settlements_from(&self, settlements: u64) -> u64 {
        self.left_open.queue.front().map_or(settlements, |left| left.settlements)
    }

    /// Everything up to `sequence` has been settled: accounts about which nothing is open any more are in doubt no longer.
    #[cold]
    pub(super) fn end_doubts(&mut self, sequence: Sequence) {
        while let Some(account) = self.left_open.next_closed(sequence) {
            self.ledger.account_mut(account).expect("whose command was left").end_doubt();
        }
    }
}

impl Matcher {
    /// Decides what risk left open: gives the decision, and what has to be [noted](RecentSettlements::note) and settled
    /// before it is carried out.
    ///
    /// `recent` must hold all settlements that came before, from the first one that risk had not seen.
    #[must_use]
    pub fn decide(&self, conditional: &Conditional, recent: &mut RecentSettlements) -> (Decision, Settlement) {
        let &Conditional { account, asset, available, settlements, terms, purpose } = conditional;
        let since = recent.sum_since(account, asset, settlements, |settlement| self.gain(settlement, account, asset));
        let available = u64::try_from(i128::from(available.0) + since);
        let available = Amount(available.expect("with everything settled, no balance is less than nothing"));
        if purpose == Purpose::Order && terms.held > available {
            // Risk has counted it as open.
            let (amount, order_done) = (Amount::ZERO, true);
            let closing = Settlement::Release { account, asset, amount, order_done };
            return (Decision::Refuse(RejectReason::InsufficientAvailable), closing);
        }
        let held = terms.held.min(available);
        let hold = Settlement::Hold { account, asset, amount: held };
        (Decision::Order(OrderTerms { held, ..terms }), hold)
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
/// for (account, amount) in [(1, 5), (2, 6), (1, 7)] {
///     let (account, asset, amount) = (AccountId(account), AssetId(0), Amount(amount));
///     recent.note(&Settlement::Release { account, asset, amount, order_done: true });
/// }
/// let released = |settlement: &Settlement| match settlement {
///     Settlement::Release { amount, .. } => i128::from(amount.0),
///     _ => 0,
/// };
/// assert_eq!(recent.sum_since(AccountId(1), AssetId(0), 0, released), 12);
/// assert_eq!(recent.sum_since(AccountId(1), AssetId(0), 1, released), 7);
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
    /// The sums that were asked for of late. Nothing depends on their order.
    sums: HashMap<(AccountId, AssetId), RecentSum, FxBuildHasher>,
    /// What was found last, the latest first: kept for its room.
    found: Vec<(u64, i128)>,
}

/// By how much one balance has grown of late.
#[derive(Clone, Debug, Default)]
struct RecentSum {
    sum: i128,
    /// What the sum is of: the settlement's number, and by how much.
    gains: VecDeque<(u64, i128)>,
    /// How many settlements had been made when it was last asked for.
    count: u64,
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
        Self {
            entries: vec![NOTHING; ROOM],
            lists: Box::new([0; LISTS]),
            count: 0,
            needed_from: 0,
            sums: HashMap::default(),
            found: Vec::new(),
        }
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
        // Whatever is asked for again later begins behind what these had seen, so nothing is looked at twice.
        let needed_from = self.needed_from;
        self.sums.retain(|_, sum| sum.count >= needed_from);
    }

    /// The sum of the account's gains of the asset, from the settlement of this number on, which for an account and an asset
    /// never goes back. `gain` says how much it is, and is asked once about each settlement.
    ///
    /// # Panics
    /// When they were forgotten.
    pub fn sum_since(
        &mut self,
        account: AccountId,
        asset: AssetId,
        from: u64,
        gain: impl Fn(&Settlement) -> i128,
    ) -> i128 {
        assert!(from >= self.needed_from, "settlement {from} was forgotten");
        let unseen = self.sums.get(&(account, asset)).map_or(from, |sum| sum.count.max(from));
        let mut found = std::mem::take(&mut self.found);
        let gains = self.of(account, unseen).map(|(number, settlement)| (number, gain(settlement)));
        found.extend(gains.filter(|(_, gain)| *gain != 0));

        let recent = self.sums.entry((account, asset)).or_default();
        recent.sum += found.iter().map(|(_, gain)| gain).sum::<i128>();
        recent.gains.extend(found.drain(..).rev());
        while let Some((_, gain)) = recent.gains.pop_front_if(|(number, _)| *number < from) {
            recent.sum -= gain;
        }
        recent.count = self.count;
        let sum = recent.sum;
        self.found = found;
        sum
    }

    /// The settlements from this number on that touch the account, with their numbers, the latest first.
    fn of(&self, account: AccountId, from: u64) -> impl Iterator<Item = (u64, &Settlement)> {
        let list = list_of(account);
        let mut next = self.lists[list];
        let in_list = std::iter::from_fn(move || {
            let number = next.checked_sub(1).filter(|number| *number >= from)?;
            let Entry { settlement, before } = &self.entries[self.place(number)];
            next = before[usize::from(list_of(settlement.accounts()[0]) != list)];
            Some((number, settlement))
        });
        in_list.filter(move |(_, settlement)| settlement.accounts().contains(&account))
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
    use std::cell::Cell;

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
        let (mut needed_from, mut asked_from, mut looks) = (0, [0; 6], 0);
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
                    let found: Vec<_> = recent.of(account, from).map(|(_, settlement)| *settlement).collect();
                    let expected = all[from as usize..]
                        .iter()
                        .rev()
                        .filter(|one| one.accounts().contains(&account) && **one != release(account.0, 0));
                    assert_eq!(found, expected.copied().collect::<Vec<_>>());
                }
            }
            if round % 13 == 0 {
                let index = random(6) as usize;
                let account = AccountId(accounts[index]);
                asked_from[index] = asked_from[index].max(needed_from);
                asked_from[index] += random(all.len() as u64 - asked_from[index] + 1) / 8;
                let from = asked_from[index];
                let gain = |settlement: &Settlement| {
                    if !settlement.accounts().contains(&account) {
                        return 0;
                    }
                    match *settlement {
                        Settlement::Release { amount, .. } => i128::from(amount.0),
                        Settlement::Fill { notional, .. } => 7 - i128::from(notional.0),
                        Settlement::Hold { .. } => unreachable!("none was noted"),
                    }
                };
                let looked_at = Cell::new(0);
                let counted = |settlement: &Settlement| {
                    looked_at.set(looked_at.get() + 1);
                    gain(settlement)
                };
                let found = recent.sum_since(account, AssetId(0), from, counted);
                assert_eq!(found, all[from as usize..].iter().map(gain).sum::<i128>());
                looks += looked_at.get();
            }
        }
        assert_eq!(recent.count, all.len() as u64);
        // However often it was asked, about each account of a settlement once at the most.
        assert!(looks < 2 * all.len(), "{looks} looks at {} settlements", all.len());
    }

    /// What is not asked for again is forgotten with the settlements it is of.
    #[test]
    fn sums_are_forgotten() {
        let mut recent = RecentSettlements::default();
        for account in 0..10_000 {
            if recent.is_full() {
                recent.forget_before(u64::from(account) - 10);
            }
            recent.note(&release(account, 1));
            assert_eq!(recent.sum_since(AccountId(account), AssetId(0), u64::from(account), |_| 1), 1);
        }
        assert!(recent.sums.len() <= ROOM && recent.entries.len() == ROOM, "{} sums", recent.sums.len());
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
        assert_eq!(recent.sum_since(AccountId(1), AssetId(0), recent.count, |_| 1), 0);
    }
}
