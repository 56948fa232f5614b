//! Asks for memory ahead of the commands that will touch it, so that waiting for it overlaps.
//!
//! A look-up is a chain: an index entry leads to an order, the order to its neighbours and its owner's account, the account to
//! the balances that are not in its record. So each command is met up to three times before it is applied, each time one link further, at the distances below. Nothing
//! here changes anything, and what is asked for in vain, because an earlier command changed what a later one will
//! find, costs a little time and nothing else. But that little is paid for every command, and a processor that runs ahead by
//! itself hides the last links of a chain as well: so nothing is asked for that most likely is near anyway. While everything
//! fits the cache it is not done at all (measured: it would take a third of a small book's speed), and levels and neighbours
//! are only asked for where there are very many (measured: in books of 100,000 orders a fifth of the speed).

use super::{
    Exchange, Matcher, Risk,
    book::BookSide,
    ledger::Ledger,
    orders::{NONE, Orders},
};
use crate::{
    command::{Command, SequencedCommand},
    types::{AccountId, ClientOrderId, MarketId, OrderId, Price, Sequence, Side},
};

/// How many commands ahead each link of the chain is followed.
const FAR: usize = 12;
const MIDDLE: usize = 8;
const NEAR: usize = 4;

/// As many accounts or open orders no longer fit the cache that a core has to itself. (Of orders measured with 1 MiB of it:
/// without looking ahead, books of 10,000 are a third faster, those of 100,000 slower by up to half.)
const ACCOUNTS_IN_CACHE: usize = 8_192;
const ORDERS_IN_CACHE: usize = 16_000;
/// With more orders than this, their neighbours and levels are asked for too; and with more levels on a side than that, only these.
const ORDERS_NEAR: usize = 400_000;
const LEVELS_NEAR: usize = 16_000;

impl Exchange {
    /// Prepares the processor for the commands that will be applied next; to be called before each one is. `upcoming`
    /// tells the command that comes so many places later (0 is the next one), as far as it is there to be seen.
    ///
    /// Changes no result, and can be left out: an exchange that has outgrown the cache is then slower by half.
    ///
    /// ```
    /// # use engine::{command::{Command, SequencedCommand}, event::NoEvents, exchange::Exchange, types::*};
    /// # let account = AccountId(1);
    /// # let (time, cause) = (Timestamp(0), Cause::operator(1));
    /// # let batch = [SequencedCommand { sequence: Sequence(1), time, cause, command: Command::CreateAccount { account } }];
    /// let mut exchange = Exchange::new();
    /// for (index, next) in batch.iter().enumerate() {
    ///     exchange.look_ahead_in(&batch, index);
    ///     exchange.apply(next.sequence, next.time, &next.command, &mut NoEvents);
    /// }
    /// ```
    #[inline]
    pub fn look_ahead<'a>(&mut self, upcoming: impl Fn(usize) -> Option<(Sequence, &'a Command)>) {
        let ledger = &self.risk.ledger;
        if self.matcher.orders.len() > ORDERS_IN_CACHE || ledger.accounts_at_most() > ACCOUNTS_IN_CACHE {
            self.matcher.look_ahead_with(Some(ledger), upcoming);
        }
    }

    /// As [`look_ahead`](Self::look_ahead), for a batch of which the command at `index` is the next.
    #[inline]
    pub fn look_ahead_in(&mut self, batch: &[SequencedCommand], index: usize) {
        self.look_ahead(|distance| batch.get(index + distance).map(|later| (later.sequence, &later.command)));
    }
}

impl Risk {
    /// As [`Exchange::look_ahead`], for a risk that is run apart.
    #[inline]
    pub fn look_ahead<'a>(&self, upcoming: impl Fn(usize) -> Option<(Sequence, &'a Command)>) {
        if self.ledger.accounts_at_most() > ACCOUNTS_IN_CACHE
            && let Some((_, command)) = upcoming(NEAR)
        {
            for account in accounts_of(command).into_iter().flatten() {
                self.ledger.prefetch_account(account);
            }
        }
    }
}

impl Matcher {
    /// As [`Exchange::look_ahead`], for a matcher that is run apart.
    #[inline]
    pub fn look_ahead<'a>(&mut self, upcoming: impl Fn(usize) -> Option<(Sequence, &'a Command)>) {
        if self.orders.len() > ORDERS_IN_CACHE {
            self.look_ahead_with(None, upcoming);
        }
    }

    #[inline]
    fn look_ahead_with<'a>(
        &mut self,
        ledger: Option<&Ledger>,
        upcoming: impl Fn(usize) -> Option<(Sequence, &'a Command)>,
    ) {
        if let Some((sequence, command)) = upcoming(FAR) {
            self.look_far(ledger, sequence, command);
        }
        if let Some((sequence, command)) = upcoming(MIDDLE) {
            self.look_middle(ledger, sequence, command);
        }
        if self.orders.len() > ORDERS_NEAR
            && let Some((sequence, command)) = upcoming(NEAR)
        {
            self.look_near(sequence, command);
        }
    }

    /// What the command itself names, and where an order would come to rest, as far as that is in the cache.
    #[inline]
    fn look_far(&mut self, ledger: Option<&Ledger>, sequence: Sequence, command: &Command) {
        // The two kinds that books get most are told apart by one branch.
        let (order, account) =
            if let Command::PlaceLimit { account, market, side, price, client_order_id, .. } = *command {
                self.look_at_place(ledger, account, market, side, price, client_order_id);
                (OrderId(sequence.0), account)
            } else if let Command::CancelOrder { account, order } = *command {
                self.orders.prefetch_id(order);
                (order, account)
            } else {
                self.look_at_other(ledger, sequence, command)
            };
        self.noted.note(sequence, order);
        if let Some(ledger) = ledger {
            self.noted.note_record(sequence, ledger.prefetch_account(account));
        }
    }

    /// Where a limit order of this account will come to rest, or what it will trade with.
    #[inline]
    fn look_at_place(
        &self,
        ledger: Option<&Ledger>,
        account: AccountId,
        market: MarketId,
        side: Side,
        price: Price,
        name: ClientOrderId,
    ) {
        self.orders.prefetch_name(account, name);
        if self.orders.has_many_accounts() {
            self.orders.prefetch_account(account);
        } else {
            self.orders.prefetch_first_of(account);
        }
        let Some(books) = self.market(market) else { return };
        let (side, opposite) = (books.side(side), books.side(side.opposite()));
        if self.orders.len() <= ORDERS_NEAR && side.level_count() <= LEVELS_NEAR {
            return;
        }
        if opposite.trades_at(price) {
            self.look_at_front(ledger, opposite);
        } else {
            match side.recent_level(price) {
                Some(level) => self.orders.prefetch(level.newest()),
                None => side.prefetch_price(price),
            }
        }
    }

    /// What a command of another kind names; gives the order that it names, as [`Noted`] has it, and the account, or 0.
    #[inline(never)]
    fn look_at_other(&self, ledger: Option<&Ledger>, sequence: Sequence, command: &Command) -> (OrderId, AccountId) {
        let [account, other] = accounts_of(command);
        if let Some(other) = other {
            prefetch_account(ledger, other);
        }
        match *command {
            Command::ReduceOrder { order, .. } | Command::ReplaceOrder { order, .. } => self.orders.prefetch_id(order),
            Command::CancelByClientOrderId { account, client_order_id } => {
                self.orders.prefetch_name(account, client_order_id);
            }
            Command::PlaceMarketBuy { account, market, client_order_id, .. } => {
                self.orders.prefetch_name(account, client_order_id);
                self.market(market).into_iter().for_each(|books| self.look_at_front(ledger, books.asks()));
            }
            Command::PlaceMarketSell { account, market, client_order_id, .. } => {
                self.orders.prefetch_name(account, client_order_id);
                self.market(market).into_iter().for_each(|books| self.look_at_front(ledger, books.bids()));
            }
            _ => {}
        }
        (named_order(sequence, command), account.unwrap_or(AccountId(0)))
    }

    /// The order that an arriving one will trade with first, if the best price stays; of an empty side that which nobody reads.
    #[inline]
    fn look_at_front(&self, ledger: Option<&Ledger>, side: &BookSide) {
        let front = self.orders.get(side.front());
        prefetch_account(ledger, front.account);
        self.orders.prefetch_id(front.id);
        self.orders.prefetch_name(front.account, front.client_order_id);
        self.orders.prefetch_neighbours(front);
    }

    /// The balances that are not in the account's record, the order that is to be taken out, and with many accounts the one
    /// that a new order comes before in its account's list.
    #[inline]
    fn look_middle(&self, ledger: Option<&Ledger>, sequence: Sequence, command: &Command) {
        if let Some(ledger) = ledger {
            ledger.prefetch_chunk(self.noted.record(sequence));
        }
        self.orders.prefetch(self.guess(sequence, command));
        if self.orders.has_many_accounts()
            && let Command::PlaceLimit { account, .. } = *command
        {
            self.orders.prefetch_first_of(account);
        }
    }

    /// What an order leads to that is to be taken out.
    #[inline]
    fn look_near(&self, sequence: Sequence, command: &Command) {
        let Some(order) = self.orders.try_get(self.guess(sequence, command)) else { return };
        self.orders.prefetch_neighbours(order);
        self.orders.prefetch_id(order.id);
        self.orders.prefetch_name(order.account, order.client_order_id);
        if let Some(books) = self.market(order.market) {
            let side = books.side(order.side);
            if let Some(level) = side.level(order.level) {
                ringbuf::prefetch_write(level);
            }
            side.prefetch_removal(order.price);
        }
    }

    /// The slot of the order that a command will take out or change, most likely; of a command that does no such thing, of
    /// whichever order has the place that the index of ids will give to the new one. So most kinds of commands are
    /// treated alike: which comes is all but random, and a branch on it costs more than to look for something in vain.
    #[inline]
    fn guess(&self, sequence: Sequence, command: &Command) -> u32 {
        let order = self.noted.order(sequence).unwrap_or_else(|| named_order(sequence, command));
        if order == NAMED_BY_USER { self.guess_by_name(command) } else { self.orders.guess(order) }
    }

    #[inline(never)]
    fn guess_by_name(&self, command: &Command) -> u32 {
        match *command {
            Command::CancelByClientOrderId { account, client_order_id } => {
                self.orders.guess_by_name(account, client_order_id)
            }
            _ => NONE,
        }
    }
}

/// What the commands within sight name, noted when each was first met: to find out is a branch on what is all but random,
/// so it is done once.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    /// The orders that they name, or will place, by sequence, modulo their number; each with the sequence that it was noted
    /// for.
    orders: [(Sequence, OrderId); NOTED],
    /// The records of their accounts, where the ledger is known; [`NO_RECORD`] for none.
    records: [u32; NOTED],
}

const NO_RECORD: u32 = u32::MAX;

const NOTED: usize = 16;
const _: () = assert!(NOTED.is_power_of_two() && NOTED > FAR);

/// No order has this id.
const NAMED_BY_USER: OrderId = OrderId(0);

impl Default for Noted {
    fn default() -> Self {
        Self { orders: [(Sequence(0), NAMED_BY_USER); NOTED], records: [NO_RECORD; NOTED] }
    }
}

impl Noted {
    #[inline]
    fn note(&mut self, sequence: Sequence, order: OrderId) {
        self.orders[sequence.0 as usize % NOTED] = (sequence, order);
    }

    #[inline]
    fn note_record(&mut self, sequence: Sequence, record: Option<u32>) {
        self.records[sequence.0 as usize % NOTED] = record.unwrap_or(NO_RECORD);
    }

    /// What was noted for this command, if it came into sight so early: not in a short batch, nor at the beginning of one.
    #[inline]
    fn order(&self, sequence: Sequence) -> Option<OrderId> {
        let (noted, order) = self.orders[sequence.0 as usize % NOTED];
        (noted == sequence).then_some(order)
    }

    /// The record of this command's account; when it came into sight too late, or has none, another one or none. Good enough
    /// to ask for what it leads to.
    #[inline]
    fn record(&self, sequence: Sequence) -> u32 {
        self.records[sequence.0 as usize % NOTED]
    }
}

/// The id that a command names, or its own; [`NAMED_BY_USER`] if it names an order otherwise.
#[inline(never)]
const fn named_order(sequence: Sequence, command: &Command) -> OrderId {
    match *command {
        Command::CancelOrder { order, .. }
        | Command::ReduceOrder { order, .. }
        | Command::ReplaceOrder { order, .. } => order,
        Command::CancelByClientOrderId { .. } => NAMED_BY_USER,
        _ => OrderId(sequence.0),
    }
}

/// Whose balances a command looks at first.
#[inline]
const fn accounts_of(command: &Command) -> [Option<AccountId>; 2] {
    match *command {
        Command::PlaceLimit { account, .. }
        | Command::PlaceMarketBuy { account, .. }
        | Command::PlaceMarketSell { account, .. }
        | Command::CancelOrder { account, .. }
        | Command::CancelByClientOrderId { account, .. }
        | Command::ReduceOrder { account, .. }
        | Command::ReplaceOrder { account, .. }
        | Command::CancelAllOfAccount { account }
        | Command::Deposit { account, .. }
        | Command::RequestWithdrawal { account, .. }
        | Command::RequestWithdrawalOfAll { account, .. } => [Some(account), None],
        Command::Transfer { from, to, .. } => [Some(from), Some(to)],
        _ => [None, None],
    }
}

/// Asks for an account's record, if the ledger is known.
#[inline]
fn prefetch_account(ledger: Option<&Ledger>, account: AccountId) {
    if let Some(ledger) = ledger {
        ledger.prefetch_account(account);
    }
}

impl Orders {
    /// Asks for an order.
    #[inline]
    fn prefetch(&self, slot: u32) {
        if let Some(order) = self.try_get(slot) {
            ringbuf::prefetch_write(order);
        }
    }
}
