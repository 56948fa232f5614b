//! The tables: names and columns, the same in SQLite and CSV. Amounts are whole minor units of their asset, prices ticks,
//! quantities lots, times nanoseconds since 1970.

use engine::types::{AccountId, MarketId};

/// A value in a row.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number too large for a signed one, as text.
    Large(u64),
    /// Words.
    Text(&'a str),
}

impl From<u64> for Cell<'_> {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Large(number), Self::Integer)
    }
}

impl From<AccountId> for Cell<'_> {
    fn from(account: AccountId) -> Self {
        Self::Integer(account.0.into())
    }
}

impl From<MarketId> for Cell<'_> {
    fn from(market: MarketId) -> Self {
        Self::Integer(market.0.into())
    }
}

/// A table, by its place in [`TABLES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Accounts,
    Assets,
    Markets,
    OpeningBalances,
    Balances,
    LedgerEntries,
    Orders,
    Fills,
    Commands,
    Withdrawals,
    Airdrops,
    Receivables,
}

/// What a table is.
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [&'static str],
}

/// All tables.
pub const TABLES: [Definition; 12] = [
    Definition { name: "accounts", columns: &["account", "name", "kind", "suspended"] },
    Definition { name: "assets", columns: &["asset", "symbol", "scale", "unit"] },
    Definition {
        name: "markets",
        columns: &["market", "name", "base", "quote", "lot_size", "tick_value", "maker_rate", "taker_rate", "status"],
    },
    Definition { name: "opening_balances", columns: &["account", "asset", "available", "held", "system"] },
    Definition { name: "balances", columns: &["account", "asset", "available", "held", "system"] },
    Definition { name: "ledger_entries", columns: &["sequence", "event", "account", "asset", "bucket", "delta"] },
    Definition {
        name: "orders",
        columns: &[
            "order_id",
            "account",
            "market",
            "side",
            "type",
            "price",
            "quantity",
            "open",
            "filled",
            "notional",
            "fees",
            "fills",
            "client_order_id",
            "placed_ns",
            "status",
            "ended_sequence",
            "end_reason",
        ],
    },
    Definition {
        name: "fills",
        columns: &[
            "sequence",
            "event",
            "market",
            "taker_order",
            "maker_order",
            "taker_account",
            "maker_account",
            "taker_side",
            "price",
            "quantity",
            "base_amount",
            "notional",
            "taker_fee",
            "maker_fee",
            "void_since_epoch",
        ],
    },
    Definition { name: "commands", columns: &["sequence", "time_ns", "cause", "kind", "account", "refused", "text"] },
    Definition {
        name: "withdrawals",
        columns: &["withdrawal", "account", "asset", "amount", "state", "external_id", "shortfall"],
    },
    Definition {
        name: "airdrops",
        columns: &["airdrop", "author", "approver", "asset", "total", "lines", "state", "source", "opened", "executed"],
    },
    Definition { name: "receivables", columns: &["account", "asset", "owed"] },
];
