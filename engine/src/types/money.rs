//! Price, quantity, amount and fee rate: integers, with only the arithmetic that means something.
//!
//! | expression | result |
//! |---|---|
//! | `Amount::checked_add(Amount)`, `checked_sub` | `Option<Amount>` |
//! | `MarketSpec::notional(Price, Quantity)` | `Option<Amount>` of quote |
//! | `MarketSpec::base_amount(Quantity)` | `Option<Amount>` of base |
//! | `FeeRate::fee_floor(Amount)` | minor units, rounded toward zero |
//! | `Price + Price`, `Price * Quantity`, `Amount + Amount` | deliberately missing |

use std::fmt;

/// The largest amount, and the largest supply of any asset: half of `u64`, so that a sum of two never overflows
/// and every balance fits a signed delta.
pub const AMOUNT_MAX: u64 = i64::MAX as u64;

/// The largest price, in ticks.
pub const PRICE_MAX: u64 = (1 << 40) - 1;

/// Fee rates are counted in tenths of a basis point: 1 / 100,000.
pub const FEE_RATE_DENOMINATOR: u64 = 100_000;

/// The largest magnitude of a fee rate: 10 %.
pub const FEE_RATE_MAX: i16 = 10_000;

macro_rules! count {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// None of it.
            pub const ZERO: Self = Self(0);

            /// Whether there is none of it.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

count! {
    /// A price in ticks: how many tick sizes of quote one lot size of base costs. From 1 to [`PRICE_MAX`].
    Price
}
count! {
    /// A quantity in lots.
    Quantity
}
count! {
    /// An amount in an asset's minor units, up to [`AMOUNT_MAX`].
    Amount
}

impl Amount {
    /// The sum, unless it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, unless it is negative.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }
}

/// A fee rate in tenths of a basis point; negative is a rebate. From -[`FEE_RATE_MAX`] to [`FEE_RATE_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct FeeRate(pub i16);

impl FeeRate {
    /// The magnitude of the fee on `notional`, rounded down: `floor(|rate| * notional / 100,000)`.
    #[must_use]
    #[inline]
    pub const fn fee_floor(self, notional: Amount) -> u64 {
        let magnitude = self.0.unsigned_abs() as u64;
        match magnitude.checked_mul(notional.0) {
            Some(product) => product / FEE_RATE_DENOMINATOR,
            // The quotient is at most a third of the notional (|rate| < 2^15), so it fits.
            None => (magnitude as u128 * notional.0 as u128 / FEE_RATE_DENOMINATOR as u128) as u64,
        }
    }

    /// By how much the magnitude of the fee grows when `notional` is added to what it is on.
    #[must_use]
    #[inline]
    pub const fn fee_on_top(self, before: u64, notional: Amount) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        self.fee_floor(Amount(before + notional.0)) - self.fee_floor(Amount(before))
    }

    /// Whether the rate is one that a market may have.
    #[must_use]
    pub const fn is_in_range(self) -> bool {
        self.0 >= -FEE_RATE_MAX && self.0 <= FEE_RATE_MAX
    }
}

impl fmt::Display for FeeRate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
