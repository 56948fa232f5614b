//! Human decimals to ticks, lots and minor units, and back. The edge never rounds: what is off the grid is an
//! error that names the value and the grid.

use rust_decimal::Decimal;

use super::{AMOUNT_MAX, Amount, AssetSpec, FeeRate, MarketId, MarketSpec, PRICE_MAX, Price, Quantity};

/// Why a decimal has no exact integer form here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecimalError {
    /// The value is negative.
    #[error("{value} is negative")]
    Negative {
        /// What was given.
        value: Decimal,
    },
    /// The value is no whole multiple of its grid.
    #[error("{value} is off the grid of {grid}: give a multiple of it")]
    OffGrid {
        /// What was given.
        value: Decimal,
        /// The tick size, lot size or minor unit.
        grid: Decimal,
    },
    /// The value is too large.
    #[error("{value} is too large: the most is {maximum} times {grid}")]
    TooLarge {
        /// What was given.
        value: Decimal,
        /// The tick size, lot size or minor unit.
        grid: Decimal,
        /// How many of them there can be.
        maximum: u64,
    },
    /// A tick or lot size is zero.
    #[error("a grid of zero: tick and lot sizes are positive")]
    ZeroGrid,
    /// Tick size times lot size is no whole number of minor units of quote.
    #[error("tick {tick} x lot {lot} = {product} is no whole number of the quote's minor unit {minor_unit}")]
    NotionalNotExact {
        /// The tick size.
        tick: Decimal,
        /// The lot size.
        lot: Decimal,
        /// Their product.
        product: Decimal,
        /// The quote's minor unit.
        minor_unit: Decimal,
    },
}

/// How many times `grid` goes into `value`, which it must do exactly.
///
/// # Errors
/// [`DecimalError`] when the value is negative, off the grid, or more than `maximum` times the grid.
pub fn to_count(value: Decimal, grid: Decimal, maximum: u64) -> Result<u64, DecimalError> {
    if grid.is_zero() {
        return Err(DecimalError::ZeroGrid);
    }
    if value.is_sign_negative() && !value.is_zero() {
        return Err(DecimalError::Negative { value });
    }
    let too_large = DecimalError::TooLarge { value, grid, maximum };
    let remainder = value.checked_rem(grid).ok_or_else(|| too_large.clone())?;
    if !remainder.is_zero() {
        return Err(DecimalError::OffGrid { value, grid });
    }
    let count = value.checked_div(grid).ok_or_else(|| too_large.clone())?;
    u64::try_from(count).ok().filter(|&count| count <= maximum).ok_or(too_large)
}

/// A whole count of a grid as a decimal.
///
/// # Panics
/// Never for counts of prices, quantities and amounts within their limits.
fn of_count(count: u64, grid: Decimal) -> Decimal {
    (Decimal::from(count) * grid).normalize()
}

impl AssetSpec {
    /// The smallest amount.
    #[must_use]
    pub fn minor_unit(&self) -> Decimal {
        Decimal::new(1, u32::from(self.scale))
    }

    /// A decimal amount in minor units.
    ///
    /// ```
    /// use engine::types::{Amount, AssetId, AssetSpec};
    /// let btc = AssetSpec { asset: AssetId(0), symbol: "BTC".parse()?, scale: 8 };
    /// assert_eq!(btc.amount("0.5".parse()?)?, Amount(50_000_000));
    /// assert!(btc.amount("0.000000001".parse()?).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DecimalError`] when it is negative, finer than a minor unit, or too large.
    pub fn amount(&self, value: Decimal) -> Result<Amount, DecimalError> {
        to_count(value, self.minor_unit(), AMOUNT_MAX).map(Amount)
    }

    /// An amount as a decimal, with all its places.
    #[must_use]
    pub fn to_decimal(&self, amount: Amount) -> Decimal {
        Decimal::from_i128_with_scale(i128::from(amount.0), u32::from(self.scale))
    }
}

/// A market as an operator writes it down: decimal tick and lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketGrid {
    /// The smallest step of the price: quote for one whole base.
    pub tick_size: Decimal,
    /// The smallest step of the quantity, in whole base.
    pub lot_size: Decimal,
}

impl MarketGrid {
    /// The market's specification, if notionals are exact on this grid.
    ///
    /// ```
    /// use engine::types::{Amount, AssetId, AssetSpec, FeeRate, MarketId, decimal::MarketGrid};
    /// let btc = AssetSpec { asset: AssetId(0), symbol: "BTC".parse()?, scale: 8 };
    /// let usd = AssetSpec { asset: AssetId(1), symbol: "USD".parse()?, scale: 6 };
    /// let grid = MarketGrid { tick_size: "0.01".parse()?, lot_size: "0.0001".parse()? };
    /// let spec = grid.to_spec(MarketId(0), &btc, &usd, FeeRate(10), FeeRate(20))?;
    /// assert_eq!((spec.lot_size, spec.tick_value), (Amount(10_000), Amount(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DecimalError`] when the lot is finer than base's minor unit, or tick times lot is no whole number of
    /// quote's.
    pub fn to_spec(
        &self,
        market: MarketId,
        base: &AssetSpec,
        quote: &AssetSpec,
        maker_rate: FeeRate,
        taker_rate: FeeRate,
    ) -> Result<MarketSpec, DecimalError> {
        if self.tick_size.is_zero() || self.lot_size.is_zero() {
            return Err(DecimalError::ZeroGrid);
        }
        let lot_size = base.amount(self.lot_size)?;
        let not_exact = |product| DecimalError::NotionalNotExact {
            tick: self.tick_size,
            lot: self.lot_size,
            product,
            minor_unit: quote.minor_unit(),
        };
        let product = self.tick_size.checked_mul(self.lot_size).ok_or_else(|| not_exact(Decimal::ZERO))?;
        let tick_value = match quote.amount(product) {
            Ok(amount) => amount,
            Err(DecimalError::OffGrid { .. }) => return Err(not_exact(product)),
            Err(error) => return Err(error),
        };
        let (base, quote) = (base.asset, quote.asset);
        Ok(MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate })
    }

    /// A decimal price in ticks.
    ///
    /// # Errors
    /// [`DecimalError`] when it is negative, off the tick grid, or too large.
    pub fn price(&self, value: Decimal) -> Result<Price, DecimalError> {
        to_count(value, self.tick_size, PRICE_MAX).map(Price)
    }

    /// A decimal quantity in lots.
    ///
    /// # Errors
    /// [`DecimalError`] when it is negative, off the lot grid, or too large.
    pub fn quantity(&self, value: Decimal) -> Result<Quantity, DecimalError> {
        to_count(value, self.lot_size, AMOUNT_MAX).map(Quantity)
    }

    /// A price as a decimal.
    #[must_use]
    pub fn price_to_decimal(&self, price: Price) -> Decimal {
        of_count(price.0, self.tick_size)
    }

    /// A quantity as a decimal.
    #[must_use]
    pub fn quantity_to_decimal(&self, quantity: Quantity) -> Decimal {
        of_count(quantity.0, self.lot_size)
    }
}
