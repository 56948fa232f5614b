//! What the halves say to each other: risk's decision on a command, and the matcher's settlements.
//!
//! A decision goes with its command to the matcher; a settlement comes back for the ledger. Neither half knows anything else
//! of the other.

use super::conditional::Conditional;
use crate::{
    event::{Event, RejectReason},
    types::{AccountId, Amount, AssetId, FeeRate, MarketId, Sequence, Timestamp},
};

/// What risk says to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing was changed: ask again when everything up to `until` has been settled.
    Wait {
        /// The last sequence that could still change the answer.
        until: Sequence,
    },
    /// The command is declined.
    Refuse(RejectReason),
    /// All of it is done; the matcher only publishes the event.
    Done(Event),
    /// The matcher alone decides.
    Forward,
    /// An order or a replacing, with what was moved to held for it and the rates in force.
    Order(OrderTerms),
    /// The matcher has to [decide](super::Matcher::decide), before it carries it out, whether the account covers it.
    Conditional(Conditional),
    /// An airdrop was paid; the matcher tells to whom.
    Airdrop {
        /// The system account that paid.
        source: AccountId,
        /// Until when it is locked; 0 without a lock.
        locked_until: Timestamp,
    },
    /// The state is to be replaced: a new epoch starts here.
    StartEpoch,
}

/// What an order takes along from risk to the matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderTerms {
    /// What is held for it. For a replacing this may be less than the new hold: all that was available.
    pub held: Amount,
    /// The maker's rate pinned to it.
    pub maker_rate: FeeRate,
    /// The taker's rate pinned to it.
    pub taker_rate: FeeRate,
}

/// What the matcher reports back to risk's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// A fill. Both sides' assets are the market's.
    Fill {
        /// The market.
        market: MarketId,
        /// Who pays quote.
        buyer: AccountId,
        /// Who pays base.
        seller: AccountId,
        /// What the buyer pays the seller.
        notional: Amount,
        /// What the seller gives the buyer.
        base_amount: Amount,
        /// What the buyer is charged; negative is a rebate.
        buyer_fee: i64,
        /// What the seller is charged; negative is a rebate.
        seller_fee: i64,
        /// The part of the buyer's hold that is free again.
        released: Amount,
        /// The buyer's order is closed.
        buyer_done: bool,
        /// The seller's order is closed.
        seller_done: bool,
    },
    /// A hold, or part of one, is free again.
    Release {
        /// Whose.
        account: AccountId,
        /// What.
        asset: AssetId,
        /// How much.
        amount: Amount,
        /// An order is closed by it.
        order_done: bool,
    },
    /// What [was left open](Decision::Conditional) is covered, and held from now on.
    Hold {
        /// Whose.
        account: AccountId,
        /// What.
        asset: AssetId,
        /// How much.
        amount: Amount,
    },
}

impl Settlement {
    /// Whose balances it changes; one account twice if it is one.
    #[inline]
    #[must_use]
    pub const fn accounts(&self) -> [AccountId; 2] {
        match *self {
            Self::Fill { buyer, seller, .. } => [buyer, seller],
            Self::Release { account, .. } | Self::Hold { account, .. } => [account; 2],
        }
    }
}
