//! The double-entry ledger: what every account has of every asset, available and held.
//!
//! Every entry has a counter-entry, so for each asset all balances, the system's included, sum to zero. Nothing
//! here decides whether a movement is allowed: a movement that is not covered is a broken invariant and panics.
//! Owned by risk alone.

use std::{collections::BTreeMap, hint::select_unpredictable};

use super::slab::{Slab, room_for};
use crate::types::{AccountId, Amount, AssetId};

/// Accounts are kept in pages of this many, made when the first account of a page is created.
const PAGE_ACCOUNTS: u32 = 1 << PAGE_BITS;
const PAGE_BITS: u32 = 10;
/// No page.
const NONE: u32 = u32::MAX;

/// What an account has of one asset, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Free to use.
    pub available: Amount,
    /// Reserved for open orders and requested withdrawals.
    pub held: Amount,
}

/// One balance in an account's chunk.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    available: u64,
    held: u64,
    asset: AssetId,
}

/// How many balances an account's own record has room for: most accounts trade in one market.
const INLINE: usize = 2;

/// An account's own record, one cache line. The balances of its first assets are in it, the others in a chunk of the
/// arena.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Account {
    available: [u64; INLINE],
    held: [u64; INLINE],
    /// The last sequence of the account's own commands that the matcher may still be settling.
    pub(super) in_flight_until: u64,
    /// The markets, by number modulo 64, in which the account may have open orders.
    pub(super) market_groups: u64,
    /// How many open orders the account has at the most.
    pub(super) open_orders_max: u32,
    chunk: u32,
    assets: [AssetId; INLINE],
    /// How many balances there are in all.
    entries: u16,
    chunk_class: u8,
    /// [`EXISTS`], [`SUSPENDED`], [`OWES`], [`IN_DOUBT`].
    flags: u8,
}

const _: () = assert!(size_of::<Account>() == 64, "an account is one cache line");

const EXISTS: u8 = 1;
const SUSPENDED: u8 = 2;
/// It owes something; what, is told by the ledger's debts.
const OWES: u8 = 4;
/// The matcher may be holding a part of what is available: how much at the most, is told by risk's `left_open`.
const IN_DOUBT: u8 = 8;

/// Which asset a balance is of that is not there.
const NO_ASSET: AssetId = AssetId(u16::MAX);

const VACANT: Account = Account {
    available: [0; INLINE],
    held: [0; INLINE],
    in_flight_until: 0,
    market_groups: 0,
    open_orders_max: 0,
    chunk: 0,
    assets: [NO_ASSET; INLINE],
    entries: 0,
    chunk_class: 0,
    flags: 0,
};

impl Account {
    /// Whether the account may order, transfer and withdraw.
    #[inline]
    pub(super) const fn is_active(&self) -> bool {
        self.flags & (SUSPENDED | OWES) == 0
    }

    /// Whether less may be available than is seen.
    #[inline]
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.flags & IN_DOUBT != 0
    }

    /// Until the command at `sequence` is settled, less may be available than is seen.
    pub(super) const fn begin_doubt(&mut self, sequence: u64) {
        self.in_flight_until = sequence;
        self.set(IN_DOUBT, true);
    }

    /// What was left to the matcher has been settled.
    pub(super) const fn end_doubt(&mut self) {
        self.set(IN_DOUBT, false);
    }

    /// Whether it is suspended.
    #[inline]
    pub(super) const fn is_suspended(&self) -> bool {
        self.flags & SUSPENDED != 0
    }

    /// Suspends it, or lifts that.
    pub(super) const fn set_suspended(&mut self, suspended: bool) {
        self.set(SUSPENDED, suspended);
    }

    const fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    #[inline]
    const fn exists(&self) -> bool {
        self.flags & EXISTS != 0
    }

    /// Which of the balances in the record is of this asset.
    #[inline]
    fn inline_place(&self, asset: AssetId) -> Option<usize> {
        // Without a branch on which of the two it is, as that is all but random.
        let place = usize::from(self.assets[1] == asset);
        (self.assets[place] == asset).then_some(place)
    }

    /// An order of the account that is on its way or open, in a market of this group.
    #[inline]
    pub(super) fn order_begins(&mut self, sequence: u64, market_group: usize) {
        self.in_flight_until = sequence;
        self.open_orders_max += 1;
        self.market_groups |= 1 << market_group;
    }

    /// An order of the account is closed.
    #[inline]
    fn order_ends(&mut self) {
        self.open_orders_max = self.open_orders_max.checked_sub(1).expect("an order closes once");
        self.market_groups = select_unpredictable(self.open_orders_max == 0, 0, self.market_groups);
    }

    /// If the balance is in this record and what is available covers `amount`, makes it held; else changes nothing.
    #[inline]
    pub(super) fn try_hold(&mut self, asset: AssetId, amount: Amount) -> bool {
        let Some(place) = self.inline_place(asset) else { return false };
        let Some(left) = self.available[place].checked_sub(amount.0) else { return false };
        self.available[place] = left;
        add(&mut self.held[place], amount.0);
        true
    }

    /// Where in the arena the other balances are.
    #[inline]
    fn chunk_range(&self) -> std::ops::Range<usize> {
        self.chunk as usize..self.chunk as usize + usize::from(self.entries).saturating_sub(INLINE)
    }
}

/// All balances.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// By account number, without its lower bits: which page it is on, or [`NONE`].
    pages: Vec<u32>,
    /// Page by page, in the order in which they were made.
    records: Slab<Account>,
    /// The numbers of the pages that there are, ascending: account ids may lie far apart.
    used_pages: Vec<u32>,
    /// The chunks of all accounts: class `c` has `2 << c` entries. Whose balances all fit their record has none.
    arena: Vec<Entry>,
    /// Chunks given back when an account outgrew them, by class.
    free_chunks: Vec<Vec<u32>>,
    /// Per asset, in the order of `AccountId::SYSTEM`.
    system: Vec<[i128; AccountId::SYSTEM.len()]>,
    /// What accounts owe; their sum per asset is minus `RECEIVABLES`.
    debts: BTreeMap<(AccountId, AssetId), Amount>,
}

impl Ledger {
    /// The account, if it was created.
    #[inline]
    pub(super) fn account(&self, account: AccountId) -> Option<&Account> {
        let record = self.records.get(self.record_of(account)?);
        record.exists().then_some(record)
    }

    /// The account, if it was created.
    #[inline]
    pub(super) fn account_mut(&mut self, account: AccountId) -> Option<&mut Account> {
        let record = self.records.get_mut(self.record_of(account)?);
        record.exists().then_some(record)
    }

    /// The number of the account's record, if its page is there.
    #[inline]
    pub(super) fn record_of(&self, account: AccountId) -> Option<u32> {
        let page = *self.pages.get((account.0 >> PAGE_BITS) as usize)?;
        (page != NONE).then_some(page << PAGE_BITS | account.0 & (PAGE_ACCOUNTS - 1))
    }

    /// Asks for an account's record, and gives its number, if its page is there.
    #[inline]
    pub(super) fn prefetch_account(&self, account: AccountId) -> Option<u32> {
        let record = self.record_of(account)?;
        ringbuf::prefetch_write(self.records.try_get(record)?);
        Some(record)
    }

    /// Asks for the first and the last of the balances that an account has outside its record, which should be in the cache.
    #[inline]
    pub(super) fn prefetch_chunk(&self, record: u32) {
        let Some(record) = self.records.try_get(record) else { return };
        if usize::from(record.entries) > INLINE {
            let range = record.chunk_range();
            ringbuf::prefetch_slice_index(&self.arena, range.start);
            ringbuf::prefetch_slice_index(&self.arena, range.end - 1);
        }
    }

    /// How many accounts there is room for without another page.
    #[inline]
    pub(super) fn accounts_at_most(&self) -> usize {
        self.records.len() as usize
    }

    /// How many balances there is room for without another page or chunk.
    pub(super) fn balances_at_most(&self) -> usize {
        self.accounts_at_most() * INLINE + self.arena.len()
    }

    /// Creates an account.
    pub(super) fn create_account(&mut self, account: AccountId) {
        let number = account.0 >> PAGE_BITS;
        let page = number as usize;
        if page >= self.pages.len() {
            self.pages.resize(page + 1, NONE);
        }
        if self.pages[page] == NONE {
            self.pages[page] = self.records.len() >> PAGE_BITS;
            let place = self.used_pages.partition_point(|&used| used < number);
            self.used_pages.insert(place, number);
            for _ in 0..PAGE_ACCOUNTS {
                self.records.push(VACANT);
            }
        }
        let record = self.record_of(account).expect("its page was made");
        let record = self.records.get_mut(record);
        assert!(!record.exists(), "an account is created once");
        record.set(EXISTS, true);
    }

    /// All accounts, ids ascending.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        let ids =
            self.used_pages.iter().flat_map(|&page| (0..PAGE_ACCOUNTS).map(move |index| page << PAGE_BITS | index));
        ids.filter_map(|id| self.account(AccountId(id)).map(|record| (AccountId(id), record)))
    }

    /// No account counts an open order any more.
    pub(super) fn forget_open_orders(&mut self) {
        self.records.iter_mut().for_each(|record| (record.open_orders_max, record.market_groups) = (0, 0));
    }

    /// No command is on its way any more.
    pub(super) fn forget_what_is_in_flight(&mut self) {
        for record in self.records.iter_mut() {
            record.in_flight_until = 0;
            record.end_doubt();
        }
    }

    /// Opens the books of an asset; ids may leave gaps.
    pub(super) fn add_asset(&mut self, asset: AssetId) {
        let count = usize::from(asset.0) + 1;
        if self.system.len() < count {
            self.system.resize(count, [0; AccountId::SYSTEM.len()]);
        }
    }

    /// What an account has of an asset.
    #[inline]
    pub(super) fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        let Some(record) = self.account(account) else { return Balance::default() };
        if let Some(place) = record.inline_place(asset) {
            return Balance { available: Amount(record.available[place]), held: Amount(record.held[place]) };
        }
        self.chunk(record).iter().find(|entry| entry.asset == asset).map_or_else(Balance::default, |entry| Balance {
            available: Amount(entry.available),
            held: Amount(entry.held),
        })
    }

    /// An account's balances that are not zero, assets ascending.
    pub(super) fn balances(&self, record: &Account) -> Vec<(AssetId, Balance)> {
        let mut balances = Vec::new();
        self.read_balances(record, &mut balances);
        balances
    }

    /// Puts an account's balances that are not zero in `balances`, assets ascending, instead of what is there.
    pub(super) fn read_balances(&self, record: &Account, balances: &mut Vec<(AssetId, Balance)>) {
        let inline = (0..INLINE.min(usize::from(record.entries))).map(|place| Entry {
            available: record.available[place],
            held: record.held[place],
            asset: record.assets[place],
        });
        let entries = inline.chain(self.chunk(record).iter().copied());
        let entries = entries.filter(|entry| entry.available != 0 || entry.held != 0);
        balances.clear();
        balances.extend(
            entries
                .map(|entry| (entry.asset, Balance { available: Amount(entry.available), held: Amount(entry.held) })),
        );
        if !balances.is_sorted_by_key(|(asset, _)| *asset) {
            balances.sort_unstable_by_key(|(asset, _)| *asset);
        }
    }

    /// The system accounts' balances of an asset, in the order of `AccountId::SYSTEM`.
    pub(super) fn system(&self, asset: AssetId) -> [i128; AccountId::SYSTEM.len()] {
        self.system[usize::from(asset.0)]
    }

    /// What users, fees and treasury have of an asset: what came in from outside and has not left, and what was paid
    /// without cover or is owed to the exchange.
    pub(super) fn liabilities(&self, asset: AssetId) -> u64 {
        let system = &self.system[usize::from(asset.0)];
        let owed = -(system[EXTERNAL] + system[RECEIVABLES] + system[UNBACKED]);
        u64::try_from(owed).expect("no balance but those three is negative")
    }

    /// What an account owes.
    pub(super) fn owed(&self, account: AccountId, asset: AssetId) -> Amount {
        self.debts.get(&(account, asset)).copied().unwrap_or_default()
    }

    /// What all accounts owe, ascending.
    pub(super) const fn debts(&self) -> &BTreeMap<(AccountId, AssetId), Amount> {
        &self.debts
    }

    /// Sets what an account owes, and nothing else.
    pub(super) fn restore_debt(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        self.set_debt(account, asset, amount);
    }

    /// The account owes `amount` more; the system account at `source` gets the claim.
    pub(super) fn owe(&mut self, account: AccountId, asset: AssetId, amount: Amount, source: usize) {
        let system = &mut self.system[usize::from(asset.0)];
        system[RECEIVABLES] -= i128::from(amount.0);
        system[source] += i128::from(amount.0);
        let owed = self.owed(account, asset).checked_add(amount).expect("a debt stays within the asset's supply");
        self.set_debt(account, asset, owed);
    }

    /// The account owes `amount` less, which the system account at `payer` loses.
    pub(super) fn forgive(&mut self, account: AccountId, asset: AssetId, amount: Amount, payer: usize) {
        let system = &mut self.system[usize::from(asset.0)];
        system[RECEIVABLES] += i128::from(amount.0);
        system[payer] -= i128::from(amount.0);
        let owed = self.owed(account, asset).checked_sub(amount).expect("no more is forgiven than is owed");
        self.set_debt(account, asset, owed);
    }

    /// Available pays `amount` of what the account owes.
    pub(super) fn set_off(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        take(self.balance_mut(account, asset).0, amount.0);
        self.system[usize::from(asset.0)][RECEIVABLES] += i128::from(amount.0);
        let owed = self.owed(account, asset).checked_sub(amount).expect("no more is set off than is owed");
        self.set_debt(account, asset, owed);
    }

    fn set_debt(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        if amount.is_zero() {
            self.debts.remove(&(account, asset));
        } else {
            self.debts.insert((account, asset), amount);
        }
        let owes = self.debts.range((account, AssetId(0))..=(account, AssetId(u16::MAX))).next().is_some();
        self.account_mut(account).expect("a debtor exists").set(OWES, owes);
    }

    /// Available grows by what the system account at `source` pays.
    pub(super) fn pay(&mut self, source: usize, account: AccountId, asset: AssetId, amount: Amount) {
        self.system[usize::from(asset.0)][source] -= i128::from(amount.0);
        add(self.balance_mut(account, asset).0, amount.0);
    }

    /// Available pays the system account at `to`.
    pub(super) fn take_back(&mut self, to: usize, account: AccountId, asset: AssetId, amount: Amount) {
        take(self.balance_mut(account, asset).0, amount.0);
        self.system[usize::from(asset.0)][to] += i128::from(amount.0);
    }

    /// Moves an amount from one system account to another.
    pub(super) fn move_system(&mut self, from: usize, to: usize, asset: AssetId, amount: Amount) {
        let system = &mut self.system[usize::from(asset.0)];
        system[from] -= i128::from(amount.0);
        system[to] += i128::from(amount.0);
    }

    /// Sets the system accounts' balances of an asset.
    pub(super) fn restore_system(&mut self, asset: AssetId, balances: [i128; AccountId::SYSTEM.len()]) {
        self.add_asset(asset);
        self.system[usize::from(asset.0)] = balances;
    }

    /// Makes room, in a ledger without accounts, for so many whose ids lie close together, and for so many balances in chunks.
    pub(super) fn reserve(&mut self, accounts: usize, in_chunks: usize) {
        self.records.reserve(accounts.next_multiple_of(PAGE_ACCOUNTS as usize) + PAGE_ACCOUNTS as usize);
        self.arena = room_for(in_chunks);
    }

    /// Creates an account that has these balances, each of another asset.
    pub(super) fn restore_account(&mut self, account: AccountId, suspended: bool, balances: &[(AssetId, Balance)]) {
        self.create_account(account);
        let mut record = *self.account(account).expect("it was just created");
        record.set_suspended(suspended);
        record.entries = u16::try_from(balances.len()).expect("no more balances than assets");
        let (inline, others) = balances.split_at(INLINE.min(balances.len()));
        for (place, (asset, balance)) in inline.iter().enumerate() {
            record.assets[place] = *asset;
            (record.available[place], record.held[place]) = (balance.available.0, balance.held.0);
        }
        if let Some(class) = chunk_class_for(others.len()) {
            (record.chunk, record.chunk_class) = (self.allocate_chunk(class), class);
            for (entry, (asset, balance)) in self.arena[record.chunk as usize..].iter_mut().zip(others) {
                *entry = Entry { available: balance.available.0, held: balance.held.0, asset: *asset };
            }
        }
        *self.account_mut(account).expect("it was just created") = record;
    }

    /// Lets `amount` in from outside: available grows.
    pub(super) fn deposit(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        self.system[usize::from(asset.0)][EXTERNAL] -= i128::from(amount.0);
        add(self.balance_mut(account, asset).0, amount.0);
    }

    /// Lets held `amount` out.
    pub(super) fn withdraw_held(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        take(self.balance_mut(account, asset).1, amount.0);
        self.system[usize::from(asset.0)][EXTERNAL] += i128::from(amount.0);
    }

    /// Moves available from one account to another.
    pub(super) fn transfer(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: Amount) {
        take(self.balance_mut(from, asset).0, amount.0);
        add(self.balance_mut(to, asset).0, amount.0);
    }

    /// Available becomes held.
    #[inline]
    pub(super) fn hold(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        let (available, held) = self.balance_mut(account, asset);
        take(available, amount.0);
        add(held, amount.0);
    }

    /// If available covers `amount`, makes it held; else changes nothing and gives what is available.
    #[inline]
    pub(super) fn try_hold(&mut self, account: AccountId, asset: AssetId, amount: Amount) -> Result<(), Amount> {
        let Some((available, held)) = self.existing_balance_mut(account, asset) else { return Err(Amount(0)) };
        if *available < amount.0 {
            return Err(Amount(*available));
        }
        *available -= amount.0;
        add(held, amount.0);
        Ok(())
    }

    /// Held becomes available.
    #[inline]
    pub(super) fn release(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        let (available, held) = self.balance_mut(account, asset);
        take(held, amount.0);
        add(available, amount.0);
    }

    /// Held becomes available, and if `done`, an order is closed by it.
    #[inline]
    pub(super) fn release_for_order(&mut self, account: AccountId, asset: AssetId, amount: Amount, done: bool) {
        let record = self.account_mut(account).expect("the owner of an order exists");
        if done {
            record.order_ends();
        }
        if let Some(place) = record.inline_place(asset) {
            take(&mut record.held[place], amount.0);
            add(&mut record.available[place], amount.0);
        } else if !amount.is_zero() {
            self.release(account, asset, amount);
        }
    }

    /// One account's part in a fill: `spent` of the one asset leaves held, of which `released` becomes available too, and
    /// of the other asset `gained` is new in available. `back` is a rebate in the asset that was spent. If `done`, its
    /// order is closed by it.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "all that a fill moves")]
    pub(super) fn trade(
        &mut self,
        account: AccountId,
        spent_asset: AssetId,
        spent: u64,
        released: u64,
        back: u64,
        gained_asset: AssetId,
        gained: u64,
        done: bool,
    ) {
        let record = self.account_mut(account).expect("the owner of an order exists");
        if done {
            record.order_ends();
        }
        if let (Some(from), Some(to)) = (record.inline_place(spent_asset), record.inline_place(gained_asset)) {
            take(&mut record.held[from], spent + released);
            add(&mut record.available[from], released + back);
            add(&mut record.available[to], gained);
        } else {
            self.settle(account, spent_asset, spent, released, back);
            self.settle(account, gained_asset, 0, 0, gained);
        }
    }

    /// Applies changes to one balance: `spent` leaves held, `released` moves from held to available, `gained` is
    /// new in available.
    #[inline(never)]
    fn settle(&mut self, account: AccountId, asset: AssetId, spent: u64, released: u64, gained: u64) {
        let (available, held) = self.balance_mut(account, asset);
        take(held, spent + released);
        add(available, released + gained);
    }

    /// Fees earned in an asset, from balances that have just paid them.
    #[inline]
    pub(super) fn earn_fees(&mut self, asset: AssetId, amount: i64) {
        self.system[usize::from(asset.0)][FEES] += i128::from(amount);
    }

    /// The balances that are not in the account's own record.
    #[inline]
    fn chunk(&self, record: &Account) -> &[Entry] {
        &self.arena[record.chunk_range()]
    }

    /// Available and held of an asset, if the account ever had any.
    #[inline]
    fn existing_balance_mut(&mut self, account: AccountId, asset: AssetId) -> Option<(&mut u64, &mut u64)> {
        let record = self.account_mut(account).expect("the account of a movement exists");
        if let Some(place) = record.inline_place(asset) {
            // Looked up again, as a borrow that may be returned cannot be given up; it costs nothing.
            let record = self.account_mut(account)?;
            return Some((&mut record.available[place], &mut record.held[place]));
        }
        let range = record.chunk_range();
        let entry = self.arena[range].iter_mut().find(|entry| entry.asset == asset)?;
        Some((&mut entry.available, &mut entry.held))
    }

    /// Available and held of an asset, made if the account never had any.
    #[inline]
    fn balance_mut(&mut self, account: AccountId, asset: AssetId) -> (&mut u64, &mut u64) {
        let record = self.account(account).expect("the account of a movement exists");
        if let Some(place) = record.inline_place(asset) {
            let record = self.account_mut(account).expect("the account of a movement exists");
            return (&mut record.available[place], &mut record.held[place]);
        }
        let found = self.chunk(record).iter().position(|entry| entry.asset == asset);
        if found.is_none() {
            self.add_balance(account, asset);
        }
        self.existing_balance_mut(account, asset).expect("it was there or was made")
    }

    #[cold]
    fn add_balance(&mut self, account: AccountId, asset: AssetId) {
        let mut record = *self.account(account).expect("the account of a movement exists");
        let length = usize::from(record.entries);
        record.entries += 1;
        if length < INLINE {
            (record.assets[length], record.available[length], record.held[length]) = (asset, 0, 0);
        } else {
            let in_chunk = length - INLINE;
            if in_chunk == 0 {
                (record.chunk, record.chunk_class) = (self.allocate_chunk(0), 0);
            } else if in_chunk == chunk_entries(record.chunk_class) {
                let (chunk, class) = (record.chunk as usize, record.chunk_class);
                let larger = self.allocate_chunk(class + 1);
                self.arena.copy_within(chunk..chunk + in_chunk, larger as usize);
                self.free_chunks[usize::from(class)].push(record.chunk);
                (record.chunk, record.chunk_class) = (larger, class + 1);
            }
            self.arena[record.chunk as usize + in_chunk] = Entry { available: 0, held: 0, asset };
        }
        *self.account_mut(account).expect("the account of a movement exists") = record;
    }

    fn allocate_chunk(&mut self, class: u8) -> u32 {
        let class = usize::from(class);
        if self.free_chunks.len() <= class {
            self.free_chunks.resize_with(class + 1, Vec::new);
        }
        if let Some(chunk) = self.free_chunks[class].pop() {
            return chunk;
        }
        let start = self.arena.len();
        self.arena.resize(start + chunk_entries(class as u8), Entry::default());
        u32::try_from(start).expect("fewer than 2^32 balances")
    }
}

/// The places of the system accounts in `AccountId::SYSTEM`.
pub(super) const EXTERNAL: usize = 0;
pub(super) const FEES: usize = 1;
pub(super) const TREASURY: usize = 2;
pub(super) const RECEIVABLES: usize = 3;
pub(super) const UNBACKED: usize = 4;

/// The place of a system account.
pub(super) fn system_index(account: AccountId) -> usize {
    AccountId::SYSTEM.iter().position(|&system| system == account).expect("a system account")
}

const fn chunk_entries(class: u8) -> usize {
    2 << class
}

/// The smallest class of chunk that has room for so many balances; none for no balance.
const fn chunk_class_for(entries: usize) -> Option<u8> {
    match entries {
        0 => None,
        // There are no more balances than assets, so the class is a small number.
        _ => Some((entries.next_power_of_two().ilog2() as u8).saturating_sub(1)),
    }
}

/// How many places in chunks an account takes that has so many balances.
pub(super) fn entries_in_chunks(balances: usize) -> usize {
    chunk_class_for(balances.saturating_sub(INLINE)).map_or(0, chunk_entries)
}

#[inline]
fn add(balance: &mut u64, amount: u64) {
    *balance = balance.checked_add(amount).expect("a balance stays within the asset's supply");
}

#[inline]
fn take(balance: &mut u64, amount: u64) {
    *balance = balance.checked_sub(amount).expect("a movement is covered by the balance it comes from");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_can_hold_every_asset() {
        let mut ledger = Ledger::default();
        let (first, second) = (AccountId(1), AccountId(AccountId::USER_MAX.0));
        ledger.create_account(first);
        ledger.create_account(second);
        for asset in (0..500).map(AssetId) {
            ledger.add_asset(asset);
            ledger.deposit(first, asset, Amount(u64::from(asset.0) + 1));
            ledger.deposit(second, asset, Amount(7));
        }
        for asset in (0..500).map(AssetId) {
            ledger.hold(first, asset, Amount(1));
            let expected = Balance { available: Amount(u64::from(asset.0)), held: Amount(1) };
            assert_eq!(ledger.balance(first, asset), expected);
            assert_eq!(ledger.balance(second, asset).available, Amount(7));
            assert_eq!(ledger.liabilities(asset), u64::from(asset.0) + 8);
        }
        assert_eq!(ledger.accounts().map(|(id, _)| id).collect::<Vec<_>>(), [first, second]);
        assert_eq!(ledger.balances(ledger.account(first).unwrap()).len(), 500);
    }

    /// An account that is restored, however many balances it has, is one that came about by deposits.
    #[test]
    fn a_restored_account_grows_as_any_other() {
        for balances in 0..20 {
            let (mut ledger, mut expected) = (Ledger::default(), Ledger::default());
            let (account, assets) = (AccountId(1_030), (0..30).map(AssetId));
            assets.clone().for_each(|asset| ledger.add_asset(asset));
            assets.clone().for_each(|asset| expected.add_asset(asset));
            expected.create_account(account);
            assets.clone().take(balances).for_each(|asset| expected.deposit(account, asset, Amount(9)));
            let known = expected.balances(expected.account(account).unwrap());
            ledger.reserve(1, entries_in_chunks(balances));
            let room = ledger.arena.capacity();
            ledger.restore_account(account, true, &known);
            assert_eq!(ledger.arena.capacity(), room, "{balances} balances have room");
            assert!(ledger.account(account).unwrap().is_suspended());
            for asset in assets.rev() {
                assert_eq!(ledger.balance(account, asset), expected.balance(account, asset));
                ledger.deposit(account, asset, Amount(5));
                expected.deposit(account, asset, Amount(5));
            }
            let found = ledger.balances(ledger.account(account).unwrap());
            assert_eq!(found, expected.balances(expected.account(account).unwrap()));
        }
    }

    #[test]
    fn a_hold_that_is_not_covered_changes_nothing() {
        let mut ledger = Ledger::default();
        ledger.create_account(AccountId(1));
        ledger.add_asset(AssetId(0));
        assert_eq!(ledger.try_hold(AccountId(1), AssetId(0), Amount(1)), Err(Amount(0)));
        ledger.deposit(AccountId(1), AssetId(0), Amount(5));
        assert_eq!(ledger.try_hold(AccountId(1), AssetId(0), Amount(6)), Err(Amount(5)));
        assert_eq!(ledger.try_hold(AccountId(1), AssetId(0), Amount(5)), Ok(()));
        assert_eq!(ledger.balance(AccountId(1), AssetId(0)), Balance { available: Amount(0), held: Amount(5) });
    }
}
