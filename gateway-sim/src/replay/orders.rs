//! The exchange as a replay sees it: which of the file's orders are open there under which id, what was refused,
//! and what traded. Names of orders are the file's own ids.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail};
use engine::{
    command::Command,
    event::Event,
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId,
        Price, Quantity, Side,
    },
};

use super::venue::{Outcome, Venue};

/// The only market of a replay.
pub const MARKET: MarketId = MarketId(0);
/// What is traded.
pub const BASE: AssetId = AssetId(0);
/// What it is paid in.
pub const QUOTE: AssetId = AssetId(1);
/// Whose the buy orders of the file are.
pub const BUYER: AccountId = AccountId(1);
/// Whose the sell orders of the file are. Two accounts, so that no order meets one of its own account.
pub const SELLER: AccountId = AccountId(2);
/// Whose the orders are that the file does not show, only their executions.
pub const TAKER: AccountId = AccountId(3);

/// What each account is given of each asset: enough for any file, and three of them stay within the limit.
pub const DEPOSIT: Amount = Amount(AMOUNT_MAX / 4);

/// What is traded, and in what.
#[derive(Clone, Copy, Debug)]
pub struct Instrument {
    /// The base asset's symbol.
    pub base: &'static str,
    /// The decimal places of its minor unit, which is also the lot.
    pub base_scale: u8,
    /// The decimal places of the quote asset's minor unit: those of a tick times a lot.
    pub quote_scale: u8,
}

/// One fill that the exchange reported, by the file's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The submission of the taker.
    pub submission: u64,
    /// The resting order.
    pub maker: u64,
    /// The arriving order; 0 when it is not the file's.
    pub taker: u64,
    /// How much.
    pub quantity: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenOrder {
    id: OrderId,
    remaining: u64,
}

/// The replay's side of the conversation with a venue.
pub struct Orders<'a> {
    venue: &'a mut dyn Venue,
    inbox: Vec<Outcome>,
    open: HashMap<u64, OpenOrder>,
    names: HashMap<OrderId, u64>,
    /// Every trade, in order.
    pub trades: Vec<Trade>,
    /// Commands refused, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// How many commands were submitted.
    pub submitted: u64,
}

impl<'a> Orders<'a> {
    /// Starts a replay.
    pub fn new(venue: &'a mut dyn Venue) -> Self {
        Self {
            venue,
            inbox: Vec::new(),
            open: HashMap::new(),
            names: HashMap::new(),
            trades: Vec::new(),
            rejected: BTreeMap::new(),
            submitted: 0,
        }
    }

    /// Sets up assets, market, accounts and deposits on an empty exchange, and waits for it.
    ///
    /// # Errors
    /// When the exchange stops or refuses any of it.
    pub fn set_up(&mut self, instrument: &Instrument) -> Result<u64> {
        let Instrument { base, base_scale, quote_scale } = *instrument;
        self.submit(Command::AddAsset { asset: BASE, symbol: base.parse()?, scale: base_scale })?;
        self.submit(Command::AddAsset { asset: QUOTE, symbol: "USD".parse()?, scale: quote_scale })?;
        self.submit(Command::AddMarket {
            market: MARKET,
            base: BASE,
            quote: QUOTE,
            lot_size: Amount(1),
            tick_value: Amount(1),
            maker_rate: FeeRate(0),
            taker_rate: FeeRate(0),
        })?;
        let mut external = 0;
        for account in [BUYER, SELLER, TAKER] {
            self.submit(Command::CreateAccount { account })?;
            for asset in [BASE, QUOTE] {
                external += 1;
                let external_id = ExternalId::from_u128(external);
                self.submit(Command::Deposit { account, asset, amount: DEPOSIT, external_id })?;
            }
        }
        self.settle()?;
        if !self.rejected.is_empty() {
            bail!("the exchange refuses the replay's setup ({:?}): give an empty directory", self.rejected);
        }
        Ok(self.submitted)
    }

    /// Submits a command; its submission number is returned.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn submit(&mut self, command: Command) -> Result<u64> {
        let submission = self.venue.submit(command, &mut self.inbox)?;
        self.submitted += 1;
        self.take_in();
        Ok(submission)
    }

    /// Waits for the outcomes of all that was submitted.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn settle(&mut self) -> Result<()> {
        self.venue.settle(&mut self.inbox)?;
        self.take_in();
        Ok(())
    }

    /// Places one of the file's orders under its own id.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn place(&mut self, order: u64, side: Side, price: u64, quantity: u64) -> Result<u64> {
        self.submit(Command::PlaceLimit {
            account: owner(side),
            market: MARKET,
            side,
            limit_type: LimitType::GoodTillCancel,
            price: Price(price),
            quantity: Quantity(quantity),
            client_order_id: ClientOrderId(order),
        })
    }

    /// Sends an order that takes what it can at this price or better.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn take(&mut self, side: Side, price: u64, quantity: u64) -> Result<u64> {
        self.submit(Command::PlaceLimit {
            account: TAKER,
            market: MARKET,
            side,
            limit_type: LimitType::ImmediateOrCancel,
            price: Price(price),
            quantity: Quantity(quantity),
            client_order_id: ClientOrderId(0),
        })
    }

    /// Cancels one of the file's orders by its name, whether or not it is known to be open.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn cancel(&mut self, order: u64, side: Side) -> Result<u64> {
        let client_order_id = ClientOrderId(order);
        self.submit(Command::CancelByClientOrderId { account: owner(side), client_order_id })
    }

    /// Lowers what is open of one of the file's orders; waits for the order's id if it has not arrived yet.
    /// Returns whether the order is open, as far as is known.
    ///
    /// # Errors
    /// When the exchange has stopped.
    pub fn reduce(&mut self, order: u64, side: Side, remaining: u64) -> Result<bool> {
        if !self.open.contains_key(&order) {
            self.settle()?;
        }
        let Some(OpenOrder { id, .. }) = self.open.get(&order).copied() else { return Ok(false) };
        self.submit(Command::ReduceOrder { account: owner(side), order: id, quantity: Quantity(remaining) })?;
        Ok(true)
    }

    /// What is open of an order by the outcomes that have arrived; 0 if it is not open.
    #[must_use]
    pub fn remaining(&self, order: u64) -> u64 {
        self.open.get(&order).map_or(0, |open| open.remaining)
    }

    fn take_in(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        for outcome in inbox.drain(..) {
            self.note(&outcome);
        }
        self.inbox = inbox;
    }

    fn note(&mut self, outcome: &Outcome) {
        match outcome.event.event {
            Event::Refused { reason, .. } => *self.rejected.entry(reason.name()).or_default() += 1,
            Event::OrderAccepted { order, quantity, client_order_id, .. } if client_order_id.0 != 0 => {
                self.open.insert(client_order_id.0, OpenOrder { id: order, remaining: quantity.0 });
                self.names.insert(order, client_order_id.0);
            }
            Event::Filled { taker, maker, quantity, .. } => {
                let name = |order| self.names.get(order).copied().unwrap_or(0);
                let (maker, taker) = (name(&maker), name(&taker));
                let quantity = quantity.0;
                self.trades.push(Trade { submission: outcome.submission, maker, taker, quantity });
                for order in [maker, taker] {
                    if let Some(open) = self.open.get_mut(&order) {
                        open.remaining -= quantity;
                        if open.remaining == 0 {
                            self.open.remove(&order);
                        }
                    }
                }
            }
            Event::OrderCancelled { order, .. } => {
                if let Some(name) = self.names.get(&order) {
                    self.open.remove(name);
                }
            }
            Event::OrderReduced { order, quantity, .. } => {
                if let Some(open) = self.names.get(&order).and_then(|name| self.open.get_mut(name)) {
                    open.remaining = quantity.0;
                }
            }
            _ => {}
        }
    }
}

const fn owner(side: Side) -> AccountId {
    match side {
        Side::Buy => BUYER,
        Side::Sell => SELLER,
    }
}
