//! Tracing: who was credited, what became of it, and who was touched.
//!
//! One pass over what happened. Three rules of contamination side by side: *lots* (what was credited, first in first out,
//! through as many hands as it went), *poison* (whoever got anything from somebody poisoned), and, from a branch, *divergence*.
//! Evidence, not entitlement.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::{
    branch::{BranchError, each_through},
    history::History,
    lots::{Lot, Lots, Origin},
};
use crate::{
    command::SequencedCommand,
    event::Event,
    exchange::Exchange,
    types::{
        AccountId, AirdropId, Amount, AssetId, MarketId, MarketSpec, Price, Sequence, Side, Timestamp, WithdrawalId,
    },
};

/// What is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspects {
    /// What an airdrop paid.
    Airdrop(AirdropId),
    /// What these commands credited.
    Sequences(BTreeSet<Sequence>),
}

/// A credit, and where it is now. Everything in minor units of its asset.
///
/// `credited = available + held + sold + withdrawn + transferred + fees + set_off`, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditRow {
    /// The sequence that credited.
    pub sequence: Sequence,
    /// Whom.
    pub account: AccountId,
    /// What.
    pub asset: AssetId,
    /// How much.
    pub credited: Amount,
    /// Still there, free.
    pub available: Amount,
    /// Still there, held for orders, withdrawals or a lock.
    pub held: Amount,
    /// Given in fills.
    pub sold: Amount,
    /// Released to the outside.
    pub withdrawn: Amount,
    /// Given to other accounts.
    pub transferred: Amount,
    /// Paid in fees.
    pub fees: Amount,
    /// Paid for what the account owed.
    pub set_off: Amount,
    /// What was got for what was sold, after fees.
    pub proceeds: BTreeMap<AssetId, Amount>,
    /// The part of the proceeds that was released to the outside.
    pub proceeds_withdrawn: BTreeMap<AssetId, Amount>,
}

impl CreditRow {
    /// Whether the columns sum to what was credited.
    #[must_use]
    pub fn sums_exactly(&self) -> bool {
        let parts = [self.available, self.held, self.sold, self.withdrawn, self.transferred, self.fees, self.set_off];
        parts.iter().map(|part| u128::from(part.0)).sum::<u128>() == u128::from(self.credited.0)
    }
}

/// How something went from one account to another, or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowKind {
    /// By a fill.
    Sold,
    /// By a transfer.
    Transferred,
    /// By a withdrawal; to `EXTERNAL`.
    Withdrawn,
    /// As a fee; to `FEES`.
    Fee,
}

/// What of the credits went from one account to another, all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// From whom.
    pub from: AccountId,
    /// To whom.
    pub to: AccountId,
    /// What.
    pub asset: AssetId,
    /// How.
    pub kind: FlowKind,
    /// The hop it is: 1 from the account that was credited.
    pub hop: u8,
    /// How much.
    pub amount: Amount,
}

/// A price, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PricePoint {
    /// The sequence of the fill.
    pub sequence: Sequence,
    /// Its time.
    pub time: Timestamp,
    /// The price.
    pub price: Price,
}

/// What traded in a market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketTrace {
    /// Which.
    pub market: MarketId,
    /// The best price before the error: of the last bid and ask the middle, or the one there is.
    pub before: Option<Price>,
    /// The lowest price after it.
    pub lowest: Price,
    /// The highest.
    pub highest: Price,
    /// The last.
    pub last: Price,
    /// Fills.
    pub fills: u64,
    /// Fills in which a poisoned account took part.
    pub fills_touched: u64,
    /// Prices along the way, thinned, extremes kept.
    pub series: Vec<PricePoint>,
}

/// What a trace found.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The first suspect command.
    pub first: (Sequence, Timestamp),
    /// The last suspect command.
    pub last: (Sequence, Timestamp),
    /// The halt.
    pub halt: (Sequence, Timestamp),
    /// Commands from the first suspect through the halt.
    pub commands: u64,
    /// Every credit, in order.
    pub credits: Vec<CreditRow>,
    /// The largest flows, by size; of each asset at most [`FLOWS_MAX`].
    pub flows: Vec<Flow>,
    /// Everything that is in no row of `flows`, by asset and kind.
    pub other_flows: BTreeMap<(AssetId, FlowKind), Amount>,
    /// The sums of all flows, by asset, hop and kind.
    pub hops: BTreeMap<(AssetId, u8, FlowKind), Amount>,
    /// Who has what of the credits now, by account, asset and hop.
    pub holders: Vec<(AccountId, AssetId, u8, Amount)>,
    /// Accounts that got anything from a poisoned one, the credited ones included.
    pub poisoned: BTreeSet<AccountId>,
    /// All fills in the window.
    pub fills: u64,
    /// Fills in which a poisoned account took part.
    pub fills_touched: u64,
    /// The markets that traded.
    pub markets: Vec<MarketTrace>,
}

/// The most flows that are told for one asset.
pub const FLOWS_MAX: usize = 200;

/// Points of a series are thinned out when there are this many.
const SERIES_MAX: usize = 1_024;

impl Trace {
    /// The accounts that were credited.
    #[must_use]
    pub fn credited_accounts(&self) -> BTreeSet<AccountId> {
        self.credits.iter().map(|row| row.account).collect()
    }

    /// The sums of all rows, by asset. Only `account` and `sequence` of these rows mean nothing.
    #[must_use]
    pub fn totals(&self) -> Vec<CreditRow> {
        let mut totals: BTreeMap<AssetId, CreditRow> = BTreeMap::new();
        for row in &self.credits {
            let total = totals.entry(row.asset).or_insert_with(|| CreditRow::new(Sequence(0), AccountId(0), row.asset));
            total.credited.0 += row.credited.0;
            total.available.0 += row.available.0;
            total.held.0 += row.held.0;
            total.sold.0 += row.sold.0;
            total.withdrawn.0 += row.withdrawn.0;
            total.transferred.0 += row.transferred.0;
            total.fees.0 += row.fees.0;
            total.set_off.0 += row.set_off.0;
            for (from, into) in
                [(&row.proceeds, &mut total.proceeds), (&row.proceeds_withdrawn, &mut total.proceeds_withdrawn)]
            {
                for (asset, amount) in from {
                    into.entry(*asset).or_default().0 += amount.0;
                }
            }
        }
        totals.into_values().collect()
    }
}

impl CreditRow {
    const fn new(sequence: Sequence, account: AccountId, asset: AssetId) -> Self {
        const ZERO: Amount = Amount::ZERO;
        Self {
            sequence,
            account,
            asset,
            credited: ZERO,
            available: ZERO,
            held: ZERO,
            sold: ZERO,
            withdrawn: ZERO,
            transferred: ZERO,
            fees: ZERO,
            set_off: ZERO,
            proceeds: BTreeMap::new(),
            proceeds_withdrawn: BTreeMap::new(),
        }
    }
}

/// Traces what the suspects credited, through the halt at `halt`. `progress` is told how many commands were looked at.
///
/// # Errors
/// [`BranchError`] when the suspects are not there, or credited nobody, or the past cannot be read.
///
/// # Panics
/// When the columns of a credit do not sum to it: then this is wrong.
pub fn trace(
    history: &dyn History,
    halt: Sequence,
    suspects: &Suspects,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Trace, BranchError> {
    let sequences = match suspects {
        Suspects::Sequences(sequences) => sequences.clone(),
        Suspects::Airdrop(airdrop) => {
            // Nearly always the last order to execute it is the one that did.
            if let Some(last) = history.last_execution(*airdrop, halt)? {
                match trace_sequences(history, halt, BTreeSet::from([last]), progress) {
                    Err(BranchError::NothingCredited) => {}
                    traced => return traced,
                }
            }
            let state = history.state_at(halt)?;
            let known = state.airdrop(*airdrop).ok_or(BranchError::UnknownAirdrop { airdrop: *airdrop })?;
            if known.executed.0 == 0 {
                return Err(BranchError::AirdropNotPaid { airdrop: *airdrop });
            }
            BTreeSet::from([known.executed])
        }
    };
    trace_sequences(history, halt, sequences, progress)
}

fn trace_sequences(
    history: &dyn History,
    halt: Sequence,
    sequences: BTreeSet<Sequence>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Trace, BranchError> {
    let (Some(&first), Some(&last)) = (sequences.first(), sequences.last()) else {
        return Err(BranchError::NoEdits);
    };
    if first.0 == 0 || last > halt {
        let sequence = if first.0 == 0 { first } else { last };
        return Err(BranchError::OutsideHistory { sequence, halt });
    }
    let cut = Sequence(first.0 - 1);
    let start = history.epoch_start()?;
    if cut < start {
        return Err(BranchError::EarlierEpoch { sequence: first, start });
    }
    let (exchange, commands) = history.behind(cut)?;
    let mut tracer = Tracer::new(exchange, sequences);
    let mut times = [Timestamp(0); 3];
    let commands = each_through(commands, cut, halt, |command| {
        tracer.step(command);
        if command.sequence == last && tracer.rows.is_empty() {
            return Err(BranchError::NothingCredited);
        }
        for (time, at) in times.iter_mut().zip([first, last, halt]) {
            if command.sequence == at {
                *time = command.time;
            }
        }
        if (command.sequence.0 - cut.0).is_multiple_of(1 << 12) || command.sequence == halt {
            progress(command.sequence.0 - cut.0);
        }
        Ok(())
    })?;
    Ok(tracer.finish(commands, (first, times[0]), (last, times[1]), (halt, times[2])))
}

/// Follows lots and poison along the parent.
pub(super) struct Tracer {
    exchange: Exchange,
    suspects: BTreeSet<Sequence>,
    events: Vec<Event>,
    lots: Lots,
    rows: Vec<CreditRow>,
    /// The lots that a withdrawal took, should it fail.
    withdrawals: HashMap<WithdrawalId, Vec<Lot>, FxBuildHasher>,
    flows: HashMap<(AccountId, AccountId, AssetId, FlowKind, u8), u64, FxBuildHasher>,
    poisoned: HashSet<AccountId, FxBuildHasher>,
    markets: Vec<Option<Seen>>,
    taken: Vec<Lot>,
}

/// What was seen of a market.
struct Seen {
    spec: MarketSpec,
    trace: MarketTrace,
    /// Every so many fills is kept in the series.
    stride: u64,
}

impl Tracer {
    /// Begins with the state before the first suspect.
    pub(super) fn new(exchange: Exchange, suspects: BTreeSet<Sequence>) -> Self {
        let mut tracer = Self {
            exchange,
            suspects,
            events: Vec::new(),
            lots: Lots::default(),
            rows: Vec::new(),
            withdrawals: HashMap::default(),
            flows: HashMap::default(),
            poisoned: HashSet::default(),
            markets: Vec::new(),
            taken: Vec::new(),
        };
        let specs: Vec<_> = tracer.exchange.markets().map(|market| market.spec).collect();
        specs.into_iter().for_each(|spec| tracer.add_market(spec));
        tracer
    }

    /// The state so far.
    pub(super) const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// What is left of all credits to an account, with that account.
    pub(super) fn left(&self, account: AccountId, asset: AssetId) -> u64 {
        self.lots.left(account, asset, |origin| {
            let row = &self.rows[origin.credit as usize];
            origin.hop == 0 && !origin.proceeds && (row.account, row.asset) == (account, asset)
        })
    }

    /// Applies a command and follows what it moved; gives its events.
    pub(super) fn step(&mut self, command: &SequencedCommand) -> &[Event] {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        self.exchange.apply(command.sequence, command.time, &command.command, &mut events);
        let suspect = self.suspects.contains(&command.sequence);
        for index in 0..events.len() {
            self.follow(command, &events[index..], suspect);
        }
        self.events = events;
        &self.events
    }

    fn add_market(&mut self, spec: MarketSpec) {
        let market = spec.market;
        let book = self.exchange.book(market, 1);
        let best = book.map(|book| (book.bids.first().map(|l| l.price), book.asks.first().map(|l| l.price)));
        let before = match best {
            Some((Some(bid), Some(ask))) => Some(Price(bid.0.midpoint(ask.0))),
            Some((one, other)) => one.or(other),
            None => None,
        };
        let nothing = Price::ZERO;
        let trace = MarketTrace {
            market,
            before,
            lowest: nothing,
            highest: nothing,
            last: nothing,
            fills: 0,
            fills_touched: 0,
            series: Vec::new(),
        };
        let index = usize::from(market.0);
        if self.markets.len() <= index {
            self.markets.resize_with(index + 1, || None);
        }
        self.markets[index] = Some(Seen { spec, trace, stride: 1 });
    }

    /// Follows the first of `rest`, the events that are left of the command.
    fn follow(&mut self, command: &SequencedCommand, rest: &[Event], suspect: bool) {
        match rest[0] {
            Event::Filled { .. } => self.fill(command, rest),
            Event::Transferred { from, to, asset, amount } => {
                let credits = suspect.then_some(command.sequence);
                if let Some(sequence) = credits {
                    // What the payer had of other credits ends here: with the payee it is this one.
                    self.take(from, asset, amount.0);
                    self.give(from, to, asset, FlowKind::Transferred);
                    self.credit(sequence, to, asset, amount, rest);
                } else if self.poisoned.contains(&from) {
                    self.poisoned.insert(to);
                    self.transfer(from, to, asset, amount, rest);
                } else {
                    self.arrive_clean(to, asset, amount.0);
                }
            }
            Event::AirdropCredited { account, asset, amount, .. } => {
                if suspect {
                    self.credit(command.sequence, account, asset, amount, rest);
                } else {
                    self.arrive_clean(account, asset, amount.0);
                }
            }
            Event::Deposited { account, asset, amount, .. } => {
                if suspect {
                    self.credit(command.sequence, account, asset, amount, rest);
                } else {
                    self.arrive_clean(account, asset, amount.0);
                }
            }
            Event::WithdrawalReleased { withdrawal, account, asset, amount } => {
                if !self.lots.has(account, asset) {
                    return;
                }
                self.take(account, asset, amount.0);
                for lot in self.taken.clone() {
                    let Some(origin) = lot.origin else { continue };
                    let row = &mut self.rows[origin.credit as usize];
                    if origin.proceeds {
                        row.proceeds_withdrawn.entry(asset).or_default().0 += lot.amount;
                    } else {
                        if origin.hop == 0 {
                            row.withdrawn.0 += lot.amount;
                        }
                        self.flow(account, AccountId::EXTERNAL, asset, FlowKind::Withdrawn, origin.hop, lot.amount);
                    }
                }
                self.withdrawals.insert(withdrawal, self.taken.clone());
            }
            Event::WithdrawalFailed { withdrawal, account, asset, amount } => {
                let Some(lots) = self.withdrawals.remove(&withdrawal) else {
                    // Its shortfall is forgiven and does not arrive: what does is what the balance has more than the queue.
                    let there = self.lots.left(account, asset, |_| true) + self.lots.clean(account, asset);
                    let now = self.exchange.risk().balance(account, asset);
                    let more = (now.available.0 + now.held.0).saturating_sub(there);
                    self.arrive_clean(account, asset, more.min(amount.0));
                    return;
                };
                for lot in lots {
                    if let Some(origin) = lot.origin {
                        let row = &mut self.rows[origin.credit as usize];
                        if origin.proceeds {
                            row.proceeds_withdrawn.entry(asset).or_default().0 -= lot.amount;
                        } else {
                            if origin.hop == 0 {
                                row.withdrawn.0 -= lot.amount;
                            }
                            let key = (account, AccountId::EXTERNAL, asset, FlowKind::Withdrawn, origin.hop + 1);
                            if let Some(flow) = self.flows.get_mut(&key) {
                                *flow -= lot.amount;
                            }
                        }
                    }
                    self.lots.arrive(account, asset, lot);
                }
            }
            Event::SetOffDone { account, asset, amount, .. } if self.lots.has(account, asset) => {
                self.take(account, asset, amount.0);
                for lot in &self.taken {
                    if let Some(origin) = lot.origin.filter(|origin| origin.hop == 0 && !origin.proceeds) {
                        self.rows[origin.credit as usize].set_off.0 += lot.amount;
                    }
                }
            }
            Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } => {
                self.add_market(MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
            }
            _ => {}
        }
    }

    fn take(&mut self, account: AccountId, asset: AssetId, amount: u64) {
        let mut taken = std::mem::take(&mut self.taken);
        self.lots.take(account, asset, amount, &mut taken);
        self.taken = taken;
    }

    /// Something clean arrives; it matters only where a queue is kept.
    fn arrive_clean(&mut self, account: AccountId, asset: AssetId, amount: u64) {
        if amount > 0 && self.lots.has(account, asset) {
            self.lots.arrive(account, asset, Lot { origin: None, amount });
        }
    }

    /// Makes sure that a balance is kept as a queue, before the first of `rest` changes it.
    fn begin(&mut self, account: AccountId, asset: AssetId, rest: &[Event]) {
        if self.lots.has(account, asset) {
            return;
        }
        // The state is the one after the command: what the events to come change is taken back.
        let now = self.exchange.risk().balance(account, asset);
        let mut balance = i128::from(now.available.0) + i128::from(now.held.0);
        for event in rest {
            balance -= self.change(event, account, asset);
        }
        let balance = u64::try_from(balance).expect("a balance is not negative at any time");
        self.lots.begin(account, asset, balance);
    }

    /// What an event adds to a balance, available and held together.
    fn change(&self, event: &Event, of: AccountId, asset: AssetId) -> i128 {
        let signed = |amount: Amount| i128::from(amount.0);
        match *event {
            Event::Deposited { account, asset: what, amount, .. }
            | Event::WithdrawalFailed { account, asset: what, amount, .. }
            | Event::AirdropCredited { account, asset: what, amount, .. }
                if (account, what) == (of, asset) =>
            {
                signed(amount)
            }
            Event::WithdrawalReleased { account, asset: what, amount, .. }
            | Event::SetOffDone { account, asset: what, amount, .. }
                if (account, what) == (of, asset) =>
            {
                -signed(amount)
            }
            Event::Transferred { from, to, asset: what, amount } if what == asset => match of {
                _ if of == from => -signed(amount),
                _ if of == to => signed(amount),
                _ => 0,
            },
            Event::Filled { .. } => {
                let Some(fill) = self.read_fill(event) else { return 0 };
                let mut change = 0;
                if fill.spec.quote == asset {
                    change -= if of == fill.buyer { i128::from(fill.notional) + i128::from(fill.buyer_fee) } else { 0 };
                    change +=
                        if of == fill.seller { i128::from(fill.notional) - i128::from(fill.seller_fee) } else { 0 };
                }
                if fill.spec.base == asset {
                    change += if of == fill.buyer { i128::from(fill.base) } else { 0 };
                    change -= if of == fill.seller { i128::from(fill.base) } else { 0 };
                }
                change
            }
            _ => 0,
        }
    }

    fn credit(&mut self, sequence: Sequence, account: AccountId, asset: AssetId, amount: Amount, rest: &[Event]) {
        self.begin(account, asset, rest);
        let credit = u32::try_from(self.rows.len()).expect("fewer credits than commands");
        let mut row = CreditRow::new(sequence, account, asset);
        row.credited = amount;
        self.rows.push(row);
        self.poisoned.insert(account);
        let origin = Some(Origin { credit, hop: 0, proceeds: false });
        self.lots.arrive(account, asset, Lot { origin, amount: amount.0 });
    }

    /// The lots in `taken` arrive with another account, one hop further.
    fn pass_on(&mut self, from: AccountId, to: AccountId, asset: AssetId, kind: FlowKind, rest: &[Event]) {
        if self.taken.iter().all(|lot| lot.origin.is_none()) && !self.lots.has(to, asset) {
            return;
        }
        self.begin(to, asset, rest);
        for lot in &self.taken {
            let origin = lot.origin.map(|origin| Origin { hop: origin.hop.saturating_add(1), ..origin });
            self.lots.arrive(to, asset, Lot { origin, ..*lot });
        }
        self.give(from, to, asset, kind);
    }

    /// Notes how the lots in `taken` left an account.
    fn give(&mut self, from: AccountId, to: AccountId, asset: AssetId, kind: FlowKind) {
        let taken = std::mem::take(&mut self.taken);
        for lot in &taken {
            let Some(origin) = lot.origin.filter(|origin| !origin.proceeds) else { continue };
            if origin.hop == 0 {
                let row = &mut self.rows[origin.credit as usize];
                match kind {
                    FlowKind::Sold => row.sold.0 += lot.amount,
                    FlowKind::Transferred => row.transferred.0 += lot.amount,
                    FlowKind::Withdrawn | FlowKind::Fee => {}
                }
            }
            self.flow(from, to, asset, kind, origin.hop, lot.amount);
        }
        self.taken = taken;
    }

    fn flow(&mut self, from: AccountId, to: AccountId, asset: AssetId, kind: FlowKind, hop: u8, amount: u64) {
        *self.flows.entry((from, to, asset, kind, hop.saturating_add(1))).or_default() += amount;
    }

    fn transfer(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: Amount, rest: &[Event]) {
        if self.lots.has(from, asset) {
            self.take(from, asset, amount.0);
            self.pass_on(from, to, asset, FlowKind::Transferred, rest);
        } else {
            self.arrive_clean(to, asset, amount.0);
        }
    }

    fn fill(&mut self, command: &SequencedCommand, rest: &[Event]) {
        let Event::Filled { taker_account, maker_account, market, price, .. } = rest[0] else { return };
        let (taker_poisoned, maker_poisoned) =
            (self.poisoned.contains(&taker_account), self.poisoned.contains(&maker_account));
        let touched = taker_poisoned || maker_poisoned;
        let seen = self.markets[usize::from(market.0)].as_mut().expect("a fill happens on a market that was added");
        seen.count(PricePoint { sequence: command.sequence, time: command.time, price }, touched);
        if touched {
            self.poisoned.insert(taker_account);
            self.poisoned.insert(maker_account);
        }
        if !self.lots.knows(taker_account) && !self.lots.knows(maker_account) {
            return;
        }
        let Some(fill) = self.read_fill(&rest[0]) else { return };
        let Fill { spec, buyer, seller, notional, base, buyer_fee, seller_fee } = fill;
        let gain = u64::try_from(i128::from(notional) - i128::from(seller_fee)).unwrap_or(0);

        // Base goes from the seller to the buyer; what the seller gets for credited lots are its proceeds.
        self.take(seller, spec.base, base);
        let sold = self.taken.clone();
        self.pass_on(seller, buyer, spec.base, FlowKind::Sold, rest);
        // Quote goes from the buyer to the seller, but for the seller's fee, which is cut off its end.
        self.take(buyer, spec.quote, notional);
        let bought = self.taken.clone();
        let arriving = notional.min(gain);
        let mut cut = notional - arriving;
        while cut > 0 {
            let Some(last) = self.taken.last_mut() else { break };
            let part = last.amount.min(cut);
            last.amount -= part;
            cut -= part;
            if let Some(origin) = last.origin.filter(|origin| !origin.proceeds) {
                if origin.hop == 0 {
                    self.rows[origin.credit as usize].sold.0 += part;
                }
                self.flow(buyer, AccountId::FEES, spec.quote, FlowKind::Fee, origin.hop, part);
            }
            if self.taken.last().is_some_and(|last| last.amount == 0) {
                self.taken.pop();
            }
        }
        self.proceed(seller, spec.quote, &sold, base, arriving, rest);
        self.arrive_clean(seller, spec.quote, gain - arriving);
        // What the buyer bought with credited quote are its proceeds, told but not followed: base is followed as base.
        self.note_proceeds(&bought, notional, spec.base, base);

        if buyer_fee > 0 {
            self.take(buyer, spec.quote, buyer_fee.unsigned_abs());
            for lot in self.taken.clone() {
                if let Some(origin) = lot.origin.filter(|origin| !origin.proceeds) {
                    if origin.hop == 0 {
                        self.rows[origin.credit as usize].fees.0 += lot.amount;
                    }
                    self.flow(buyer, AccountId::FEES, spec.quote, FlowKind::Fee, origin.hop, lot.amount);
                }
            }
        } else {
            self.arrive_clean(buyer, spec.quote, buyer_fee.unsigned_abs());
        }
    }

    /// Quote arrives with a seller: credited quote keeps being credited, and clean quote that was got for credited base is
    /// its proceeds, pro rata.
    fn proceed(&mut self, seller: AccountId, quote: AssetId, sold: &[Lot], base: u64, arriving: u64, rest: &[Event]) {
        let from_credit: Vec<_> = sold
            .iter()
            .filter_map(|lot| {
                let origin = lot.origin.filter(|origin| origin.hop == 0 && !origin.proceeds)?;
                let share = u128::from(arriving) * u128::from(lot.amount) / u128::from(base.max(1));
                Some((origin, u64::try_from(share).unwrap_or(arriving)))
            })
            .collect();
        for (origin, share) in &from_credit {
            self.rows[origin.credit as usize].proceeds.entry(quote).or_default().0 += share;
        }
        let is_credited = self.taken.iter().any(|lot| lot.origin.is_some());
        let buyer = match rest[0] {
            Event::Filled { taker_account, maker_account, taker_side, .. } => {
                if taker_side == Side::Buy {
                    taker_account
                } else {
                    maker_account
                }
            }
            _ => seller,
        };
        if is_credited || from_credit.is_empty() {
            // What was sold was counted already where it was taken.
            self.pass_on(buyer, seller, quote, FlowKind::Sold, rest);
            return;
        }
        self.begin(seller, quote, rest);
        let mut clean = arriving;
        for (origin, share) in from_credit {
            clean -= share;
            self.lots.arrive(seller, quote, Lot { origin: Some(Origin { proceeds: true, ..origin }), amount: share });
        }
        self.lots.arrive(seller, quote, Lot { origin: None, amount: clean });
    }

    fn note_proceeds(&mut self, spent: &[Lot], notional: u64, asset: AssetId, got: u64) {
        for lot in spent {
            if let Some(origin) = lot.origin.filter(|origin| origin.hop == 0 && !origin.proceeds) {
                let share = u128::from(got) * u128::from(lot.amount) / u128::from(notional.max(1));
                let share = u64::try_from(share).unwrap_or(got);
                self.rows[origin.credit as usize].proceeds.entry(asset).or_default().0 += share;
            }
        }
    }

    fn read_fill(&self, event: &Event) -> Option<Fill> {
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
            return None;
        };
        let spec = self.markets[usize::from(market.0)].as_ref()?.spec;
        let (buyer, seller, buyer_fee, seller_fee) = match taker_side {
            Side::Buy => (taker_account, maker_account, taker_fee, maker_fee),
            Side::Sell => (maker_account, taker_account, maker_fee, taker_fee),
        };
        let (notional, base) = (spec.notional(price, quantity)?.0, spec.base_amount(quantity)?.0);
        Some(Fill { spec, buyer, seller, notional, base, buyer_fee, seller_fee })
    }

    fn finish(
        mut self,
        commands: u64,
        first: (Sequence, Timestamp),
        last: (Sequence, Timestamp),
        halt: (Sequence, Timestamp),
    ) -> Trace {
        let mut held: BTreeMap<(AccountId, AssetId), u64> = BTreeMap::new();
        for (credit, row) in (0_u32..).zip(&mut self.rows) {
            let left =
                self.lots.left(row.account, row.asset, |origin| origin == Origin { credit, hop: 0, proceeds: false });
            let balance = self.exchange.risk().balance(row.account, row.asset);
            let held = held.entry((row.account, row.asset)).or_insert(balance.held.0);
            row.held = Amount(left.min(*held));
            *held -= row.held.0;
            row.available = Amount(left - row.held.0);
            assert!(row.sums_exactly(), "what became of the credit of {} at {} sums to it", row.account, row.sequence);
        }
        let mut holders: BTreeMap<(AccountId, AssetId, u8), u64> = BTreeMap::new();
        for ((account, asset), queue) in self.lots.queues() {
            for lot in queue {
                if let Some(origin) = lot.origin.filter(|origin| !origin.proceeds) {
                    *holders.entry((account, asset, origin.hop)).or_default() += lot.amount;
                }
            }
        }
        let holders = holders.into_iter().map(|((account, asset, hop), amount)| (account, asset, hop, Amount(amount)));
        let mut hops: BTreeMap<(AssetId, u8, FlowKind), Amount> = BTreeMap::new();
        for (&(_, _, asset, kind, hop), amount) in self.flows.iter().filter(|(_, amount)| **amount > 0) {
            hops.entry((asset, hop, kind)).or_default().0 += amount;
        }
        let (flows, other_flows) = largest(self.flows);
        let markets: Vec<MarketTrace> =
            self.markets.into_iter().flatten().map(|seen| seen.trace).filter(|market| market.fills > 0).collect();
        Trace {
            first,
            last,
            halt,
            commands,
            credits: self.rows,
            flows,
            other_flows,
            hops,
            holders: holders.collect(),
            poisoned: self.poisoned.into_iter().collect(),
            fills: markets.iter().map(|market| market.fills).sum(),
            fills_touched: markets.iter().map(|market| market.fills_touched).sum(),
            markets,
        }
    }
}

/// A fill, read.
struct Fill {
    spec: MarketSpec,
    buyer: AccountId,
    seller: AccountId,
    notional: u64,
    base: u64,
    buyer_fee: i64,
    seller_fee: i64,
}

impl Seen {
    fn count(&mut self, point: PricePoint, touched: bool) {
        let Self { trace, stride, .. } = self;
        let is_extreme = trace.fills == 0 || point.price < trace.lowest || point.price > trace.highest;
        if trace.fills == 0 {
            (trace.lowest, trace.highest) = (point.price, point.price);
        }
        trace.lowest = trace.lowest.min(point.price);
        trace.highest = trace.highest.max(point.price);
        trace.last = point.price;
        if is_extreme || trace.fills.is_multiple_of(*stride) {
            trace.series.push(point);
            if trace.series.len() >= SERIES_MAX {
                *stride *= 2;
                trace.series = thinned(&trace.series);
            }
        }
        trace.fills += 1;
        trace.fills_touched += u64::from(touched);
    }
}

/// Of every four points the lowest and the highest, in their order.
fn thinned(series: &[PricePoint]) -> Vec<PricePoint> {
    let mut kept = Vec::with_capacity(SERIES_MAX);
    for four in series.chunks(4) {
        let lowest = four.iter().enumerate().min_by_key(|(_, point)| point.price).map_or(0, |(index, _)| index);
        let highest = four.iter().enumerate().max_by_key(|(_, point)| point.price).map_or(0, |(index, _)| index);
        kept.push(four[lowest.min(highest)]);
        if lowest != highest {
            kept.push(four[lowest.max(highest)]);
        }
    }
    kept
}

type Flows = HashMap<(AccountId, AccountId, AssetId, FlowKind, u8), u64, FxBuildHasher>;

/// The largest flows of each asset, and the sums of the others.
fn largest(flows: Flows) -> (Vec<Flow>, BTreeMap<(AssetId, FlowKind), Amount>) {
    let mut all: Vec<Flow> = flows
        .into_iter()
        .filter(|(_, amount)| *amount > 0)
        .map(|((from, to, asset, kind, hop), amount)| Flow { from, to, asset, kind, hop, amount: Amount(amount) })
        .collect();
    all.sort_unstable_by_key(|flow| {
        (flow.asset, std::cmp::Reverse(flow.amount), flow.hop, flow.from, flow.to, flow.kind)
    });
    let (mut kept, mut others) = (Vec::new(), BTreeMap::new());
    let mut of_asset: BTreeMap<AssetId, usize> = BTreeMap::new();
    for flow in all {
        let count = of_asset.entry(flow.asset).or_default();
        *count += 1;
        if *count <= FLOWS_MAX {
            kept.push(flow);
        } else {
            others.entry((flow.asset, flow.kind)).or_insert(Amount::ZERO).0 += flow.amount.0;
        }
    }
    (kept, others)
}
