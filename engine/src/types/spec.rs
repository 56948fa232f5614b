//! What an asset and a market are, and the small enums of trading.

use std::{fmt, str::FromStr};

use super::{AMOUNT_MAX, Amount, AssetId, FeeRate, MarketId, Price, Quantity};

/// How many assets there can be; ids run below it.
pub const ASSETS_MAX: u16 = 1024;

/// How many markets there can be; ids run below it.
pub const MARKETS_MAX: u16 = 4096;

/// The largest scale of an asset: 10^18 minor units still fit an [`Amount`], a supply of 9.2 whole ones.
pub const SCALE_MAX: u8 = 18;

/// The short name of an asset: 1 to 12 characters of `A-Z` and `0-9`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol([u8; 12]);

/// Why a text is not a [`Symbol`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an asset's symbol: 1 to 12 characters of A-Z and 0-9")]
pub struct SymbolError(pub String);

impl Symbol {
    /// The symbol with these bytes, padded with zeros at the end, valid or not: the exchange refuses those that
    /// are not [valid](Self::is_valid).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The bytes, padded with zeros at the end.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 12] {
        self.0
    }

    /// Whether it has 1 to 12 characters of `A-Z` and `0-9`, and zeros after them.
    #[must_use]
    pub fn is_valid(self) -> bool {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        length > 0
            && self.0[..length].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            && self.0[length..].iter().all(|&byte| byte == 0)
    }
}

impl FromStr for Symbol {
    type Err = SymbolError;

    fn from_str(text: &str) -> Result<Self, SymbolError> {
        let mut bytes = [0; 12];
        let fits = text.len() <= bytes.len();
        if fits {
            bytes[..text.len()].copy_from_slice(text.as_bytes());
        }
        let symbol = Self(bytes);
        if fits && symbol.is_valid() { Ok(symbol) } else { Err(SymbolError(text.to_owned())) }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        formatter.pad(&String::from_utf8_lossy(&self.0[..length]))
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Symbol({self})")
    }
}

/// A thing held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetSpec {
    /// Its number.
    pub asset: AssetId,
    /// Its short name, unique.
    pub symbol: Symbol,
    /// The decimal places of its minor unit, 0 to [`SCALE_MAX`].
    pub scale: u8,
}

/// A tradable pair.
///
/// The notional of `p` ticks and `q` lots is `p * q * tick_value` minor units of quote, always a whole number.
///
/// ```
/// use engine::types::{Amount, AssetId, FeeRate, MarketId, MarketSpec, Price, Quantity};
/// // BTC with 8 places against USD with 6: ticks of 0.01 USD, lots of 0.0001 BTC.
/// let spec = MarketSpec {
///     market: MarketId(0), base: AssetId(0), quote: AssetId(1),
///     lot_size: Amount(10_000), tick_value: Amount(1), maker_rate: FeeRate(10), taker_rate: FeeRate(20),
/// };
/// // 1.5 BTC at 60,000.00 USD.
/// assert_eq!(spec.notional(Price(6_000_000), Quantity(15_000)), Some(Amount(90_000_000_000)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketSpec {
    /// Its number.
    pub market: MarketId,
    /// What is bought and sold.
    pub base: AssetId,
    /// What it is paid in; fees are charged in it.
    pub quote: AssetId,
    /// Minor units of base in one lot, at least 1.
    pub lot_size: Amount,
    /// Minor units of quote that one tick adds to the price of one lot (tick size x lot size), at least 1.
    pub tick_value: Amount,
    /// The maker's fee rate; negative is a rebate.
    pub maker_rate: FeeRate,
    /// The taker's fee rate; negative is a rebate.
    pub taker_rate: FeeRate,
}

impl MarketSpec {
    /// What `quantity` lots cost at `price`, in minor units of quote; `None` above [`AMOUNT_MAX`].
    #[must_use]
    #[inline]
    pub fn notional(&self, price: Price, quantity: Quantity) -> Option<Amount> {
        let notional = price.0.checked_mul(quantity.0)?.checked_mul(self.tick_value.0)?;
        (notional <= AMOUNT_MAX).then_some(Amount(notional))
    }

    /// `quantity` lots in minor units of base; `None` above [`AMOUNT_MAX`].
    #[must_use]
    #[inline]
    pub fn base_amount(&self, quantity: Quantity) -> Option<Amount> {
        let amount = quantity.0.checked_mul(self.lot_size.0)?;
        (amount <= AMOUNT_MAX).then_some(Amount(amount))
    }

    /// What is held for an order of this side: quote for a buy, base for a sell.
    #[must_use]
    #[inline]
    pub const fn held_asset(&self, side: Side) -> AssetId {
        match side {
            Side::Buy => self.quote,
            Side::Sell => self.base,
        }
    }

    /// The higher of the two rates, or zero when both are rebates or nothing.
    #[must_use]
    #[inline]
    pub fn hold_rate(maker_rate: FeeRate, taker_rate: FeeRate) -> FeeRate {
        maker_rate.max(taker_rate).max(FeeRate(0))
    }
}

macro_rules! small_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_meta])* $variant = $number),+ }

        impl $name {
            /// The variant with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(match self { $(Self::$variant => $text),+ })
            }
        }
    };
}
pub(crate) use small_enum;

small_enum! {
    /// Which side of the book.
    Side {
        /// Pays quote, gets base.
        Buy = 0 "buy",
        /// Pays base, gets quote.
        Sell = 1 "sell",
    }
}

impl Side {
    /// The other side.
    #[must_use]
    #[inline]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

small_enum! {
    /// What a limit order does with the part that does not trade at once.
    LimitType {
        /// Good till cancelled: the rest stands on the book.
        GoodTillCancel = 0 "gtc",
        /// Immediate or cancel: the rest is cancelled.
        ImmediateOrCancel = 1 "ioc",
        /// Fill or kill: refused unless all of it trades at once.
        FillOrKill = 2 "fok",
        /// Post only: refused if any of it would trade at once.
        PostOnly = 3 "post-only",
    }
}

impl LimitType {
    /// Whether the part that does not trade at once stands on the book.
    #[must_use]
    #[inline]
    pub const fn may_rest(self) -> bool {
        matches!(self, Self::GoodTillCancel | Self::PostOnly)
    }
}

small_enum! {
    /// What a market, or the whole exchange, accepts.
    TradingStatus {
        /// Everything.
        Open = 0 "open",
        /// Cancels and reductions, no new orders and no replacing.
        CancelOnly = 1 "cancel-only",
        /// Neither orders nor cancels; for the whole exchange also no transfer, no withdrawal asked for or released.
        Halted = 2 "halted",
        /// Orders are collected and nothing trades; the market is uncrossed when it opens.
        Auction = 3 "auction",
        /// The whole exchange stands still for a recovery: as halted, and of the rest only facts are taken.
        Frozen = 4 "frozen",
    }
}

impl TradingStatus {
    /// The one of the two that allows less: open, auction, cancel-only, halted, frozen.
    #[must_use]
    #[inline]
    pub const fn stricter(self, other: Self) -> Self {
        if self.strictness() >= other.strictness() { self } else { other }
    }

    /// Whether orders are neither taken nor cancelled.
    #[must_use]
    #[inline]
    pub const fn is_halted(self) -> bool {
        matches!(self, Self::Halted | Self::Frozen)
    }

    const fn strictness(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Auction => 1,
            Self::CancelOnly => 2,
            Self::Halted => 3,
            Self::Frozen => 4,
        }
    }
}

small_enum! {
    /// Whether something may pass.
    Gate {
        /// It may.
        Open = 0 "open",
        /// It is stopped.
        Closed = 1 "closed",
    }
}

/// The preventive controls that are on: a set of bits. All are on in a new exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Controls(pub u8);

impl Controls {
    /// An airdrop is paid from the treasury, which must cover it; without this, from `UNBACKED`.
    pub const COVER: Self = Self(1);
    /// An airdrop needs the approval of an operator other than its author.
    pub const APPROVAL: Self = Self(2);
    /// No airdrop may bring liabilities above attested reserves, and an attestation below liabilities trips the halt.
    pub const RESERVES: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether all of `other` are on.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Default for Controls {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for Controls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(Self::COVER, "cover"), (Self::APPROVAL, "approval"), (Self::RESERVES, "reserves")];
        let on: Vec<_> = names.iter().filter(|(control, _)| self.has(*control)).map(|(_, name)| *name).collect();
        formatter.pad(&if on.is_empty() { "none".to_owned() } else { on.join("+") })
    }
}
