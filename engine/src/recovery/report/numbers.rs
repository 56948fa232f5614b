//! Figures as people read them: grouped, with the places that they need and no more, and never rounded where they are money.

use super::data::Units;
use crate::types::{AccountId, AssetId, AssetSpec, MarketId, MarketSpec, Price, Quantity};

/// The most places that a price is told with.
const PRICE_PLACES_MAX: u8 = 12;

/// A count, with commas between thousands.
pub(super) fn grouped(value: impl Into<u128>) -> String {
    let digits = value.into().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something, whose name for more than one ends with an s.
pub(super) fn counted(value: impl Into<u128>, of: &str) -> String {
    let value = value.into();
    format!("{} {of}{}", grouped(value), if value == 1 { "" } else { "s" })
}

/// How many places amounts of this scale need to be told exactly.
pub(super) fn places(amounts: impl IntoIterator<Item = u128>, scale: u8) -> u8 {
    let needed = |mut amount: u128| {
        let mut places = scale;
        while places > 0 && amount.is_multiple_of(10) {
            amount /= 10;
            places -= 1;
        }
        places
    };
    amounts.into_iter().map(needed).max().unwrap_or(0)
}

/// Minor units of this scale as whole ones, with at least so many places. Exact: more places are given when it needs them.
pub(super) fn decimal(minor: u128, scale: u8, at_least: u8) -> String {
    let shown = places([minor], scale).max(at_least.min(scale));
    let Some(unit) = 10_u128.checked_pow(scale.into()) else { return grouped(minor) };
    let whole = grouped(minor / unit);
    if shown == 0 {
        return whole;
    }
    let fraction = format!("{:0width$}", minor % unit, width = usize::from(scale));
    format!("{whole}.{}", &fraction[..usize::from(shown)])
}

/// The same with a sign: `+` or a minus, none for nothing.
pub(super) fn signed(minor: i128, scale: u8, at_least: u8) -> String {
    let sign = match minor {
        0 => "",
        1.. => "+",
        _ => "\u{2212}",
    };
    format!("{sign}{}", decimal(minor.unsigned_abs(), scale, at_least))
}

/// About how much that is, in words that can be read aloud: three figures, and thousands of millions as bn.
pub(super) fn about(minor: u128, scale: u8) -> String {
    let value = minor as f64 / 10_f64.powi(scale.into());
    match value {
        _ if value >= 1e15 => format!("{value:.2e}"),
        _ if value >= 999.5e9 => format!("{} tn", figures(value / 1e12)),
        _ if value >= 999.5e6 => format!("{} bn", figures(value / 1e9)),
        _ if value >= 999_500.0 => format!("{} M", figures(value / 1e6)),
        _ if value >= 999.5 => grouped(value.round() as u64),
        _ => figures(value),
    }
}

/// Three figures.
fn figures(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ if value >= 0.01 => format!("{value:.2}"),
        _ => "< 0.01".to_owned(),
    }
}

/// A share in percent.
pub(super) fn percent(part: u128, whole: u128) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    match part as f64 / whole as f64 * 100.0 {
        0.0 => "0 %".to_owned(),
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share if share < 10.0 => format!("{share:.1} %"),
        share if share < 99.5 || part == whole => format!("{share:.0} %"),
        share if share < 99.95 => format!("{share:.1} %"),
        _ => "> 99.9 %".to_owned(),
    }
}

/// A time span, in the two units that say most.
pub(super) fn span(seconds: f64) -> String {
    let (minutes, hours) = (seconds / 60.0, seconds / 3_600.0);
    let two = |large: f64, of: f64, name: &str, small: &str| {
        let (whole, rest) = (large.floor(), ((large - large.floor()) * of).round());
        let (whole, rest) = if rest >= of { (whole + 1.0, 0.0) } else { (whole, rest) };
        if rest > 0.0 { format!("{whole:.0} {name} {rest:.0} {small}") } else { format!("{whole:.0} {name}") }
    };
    match seconds {
        _ if !seconds.is_finite() || seconds < 0.0 => "unknown".to_owned(),
        0.0 => "0 ms".to_owned(),
        _ if seconds < 0.001 => format!("{:.3} ms", seconds * 1e3),
        _ if seconds < 0.01 => format!("{:.2} ms", seconds * 1e3),
        _ if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        _ if seconds < 0.9995 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        _ if seconds < 3_599.5 => two(minutes, 60.0, "min", "s"),
        _ if seconds < 172_800.0 => two(hours, 60.0, "h", "min"),
        _ => two(hours / 24.0, 24.0, "d", "h"),
    }
}

/// A time from the error, with a sign.
pub(super) fn offset(nanoseconds: i128) -> String {
    let seconds = nanoseconds.unsigned_abs() as f64 / 1e9;
    let sign = if nanoseconds < 0 { "\u{2212}" } else { "+" };
    if seconds < 120.0 { format!("{sign}{seconds:.3} s") } else { format!("{sign}{}", span(seconds)) }
}

/// Nanoseconds as microseconds, with places as long as they say something.
pub(super) fn microseconds(nanoseconds: u64) -> String {
    match nanoseconds {
        0..100_000 => format!("{:.1}", nanoseconds as f64 / 1e3),
        _ => grouped(nanoseconds / 1_000 + u64::from(nanoseconds % 1_000 >= 500)),
    }
}

/// An account, as a name.
pub(super) fn account(account: AccountId) -> String {
    match account {
        AccountId::EXTERNAL => "outside world".to_owned(),
        AccountId::FEES => "fees".to_owned(),
        AccountId::TREASURY => "treasury".to_owned(),
        AccountId::RECEIVABLES => "receivables".to_owned(),
        AccountId::UNBACKED => "unbacked".to_owned(),
        user => user.0.to_string(),
    }
}

/// How the prices of a market are told.
#[derive(Clone, Copy)]
pub(super) struct PriceUnit {
    /// A tick is `numerator / denominator` of a whole quote unit for a whole base unit.
    numerator: u128,
    denominator: u128,
    /// Places with which every price is exact, or nearly.
    places: u8,
}

impl PriceUnit {
    /// Prices in ticks, for a market that is not known.
    const TICKS: Self = Self { numerator: 1, denominator: 1, places: 0 };

    fn of(market: &MarketSpec, base: &AssetSpec, quote: &AssetSpec) -> Option<Self> {
        let power = |scale: u8| 10_u128.checked_pow(scale.into());
        let numerator = u128::from(market.tick_value.0).checked_mul(power(base.scale)?)?;
        let denominator = u128::from(market.lot_size.0).checked_mul(power(quote.scale)?)?;
        if denominator == 0 {
            return None;
        }
        let mut places = 0;
        let mut rest = numerator % denominator;
        while rest != 0 && places < PRICE_PLACES_MAX {
            rest = rest.checked_mul(10)? % denominator;
            places += 1;
        }
        Some(Self { numerator, denominator, places })
    }

    /// As a number, for charts.
    pub(super) fn value(self, price: Price) -> f64 {
        price.0 as f64 * (self.numerator as f64 / self.denominator as f64)
    }

    /// As text.
    pub(super) fn text(self, price: Price) -> String {
        let scaled = u128::from(price.0)
            .checked_mul(self.numerator)
            .and_then(|value| value.checked_mul(10_u128.pow(self.places.into())));
        match scaled {
            Some(scaled) => {
                let (value, half) = (scaled / self.denominator, self.denominator / 2);
                decimal(value + u128::from(scaled % self.denominator > half), self.places, 0)
            }
            None => format!("{:.*}", usize::from(self.places), self.value(price)),
        }
    }
}

impl Units {
    fn asset(&self, asset: AssetId) -> Option<&AssetSpec> {
        self.assets.iter().find(|spec| spec.asset == asset)
    }

    fn market(&self, market: MarketId) -> Option<&MarketSpec> {
        self.markets.iter().find(|spec| spec.market == market)
    }

    /// The symbol of an asset.
    pub(super) fn symbol(&self, asset: AssetId) -> String {
        self.asset(asset).map_or_else(|| format!("asset {}", asset.0), |spec| spec.symbol.to_string())
    }

    /// The places of an asset's minor unit; 0 when it is not known, so that minor units are told.
    pub(super) fn scale(&self, asset: AssetId) -> u8 {
        self.asset(asset).map_or(0, |spec| spec.scale)
    }

    /// An amount with its symbol.
    pub(super) fn amount(&self, asset: AssetId, minor: u128) -> String {
        format!("{} {}", decimal(minor, self.scale(asset), 0), self.symbol(asset))
    }

    /// About how much it is, with its symbol.
    pub(super) fn about(&self, asset: AssetId, minor: u128) -> String {
        format!("{} {}", about(minor, self.scale(asset)), self.symbol(asset))
    }

    /// Amounts of several assets, or a dash for none.
    pub(super) fn amounts<A: Into<u128>>(&self, amounts: impl IntoIterator<Item = (AssetId, A)>) -> Vec<String> {
        amounts.into_iter().map(|(asset, amount)| self.amount(asset, amount.into())).collect()
    }

    /// The name of a market.
    pub(super) fn market_name(&self, market: MarketId) -> String {
        self.market(market).map_or_else(
            || format!("market {}", market.0),
            |spec| format!("{}/{}", self.symbol(spec.base), self.symbol(spec.quote)),
        )
    }

    /// The unit of a market's prices, in words.
    pub(super) fn price_name(&self, market: MarketId) -> String {
        self.market(market).map_or_else(
            || "ticks".to_owned(),
            |spec| format!("{} for 1 {}", self.symbol(spec.quote), self.symbol(spec.base)),
        )
    }

    /// How a market's prices are told.
    pub(super) fn price_unit(&self, market: MarketId) -> PriceUnit {
        let unit = || {
            let spec = self.market(market)?;
            PriceUnit::of(spec, self.asset(spec.base)?, self.asset(spec.quote)?)
        };
        unit().unwrap_or(PriceUnit::TICKS)
    }

    /// A quantity in a market, in minor units of its base, and their scale.
    pub(super) fn quantity(&self, market: MarketId, quantity: Quantity) -> (u128, u8) {
        self.market(market).map_or((quantity.0.into(), 0), |spec| {
            (u128::from(quantity.0) * u128::from(spec.lot_size.0), self.scale(spec.base))
        })
    }

    /// A market's base; an asset that there is not when the market is not known.
    pub(super) fn base(&self, market: MarketId) -> AssetId {
        self.market(market).map_or(AssetId(u16::MAX), |spec| spec.base)
    }

    /// The symbol of a market's quote.
    pub(super) fn quote_name(&self, market: MarketId) -> String {
        self.market(market).map_or_else(|| "ticks times lots".to_owned(), |spec| self.symbol(spec.quote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Amount, FeeRate};

    #[test]
    fn money_is_told_exactly() {
        assert_eq!(grouped(0_u64), "0");
        assert_eq!(grouped(999_u64), "999");
        assert_eq!(grouped(1_234_567_u64), "1,234,567");
        assert_eq!(decimal(3_000_000_000_000, 8, 0), "30,000");
        assert_eq!(decimal(3_000_000_000_000, 8, 2), "30,000.00");
        assert_eq!(decimal(1, 8, 2), "0.00000001", "places asked for never cut what is there");
        assert_eq!(decimal(5, 0, 3), "5");
        assert_eq!(signed(-12_500, 4, 0), "\u{2212}1.25");
        assert_eq!(signed(12_500, 4, 2), "+1.25");
        assert_eq!(signed(0, 4, 0), "0");
        assert_eq!(places([100, 120, 0], 2), 1);
    }

    #[test]
    fn shares_and_spans_never_say_all_or_nothing_where_it_is_not() {
        assert_eq!(percent(0, 10), "0 %");
        assert_eq!(percent(1, 1_000_000), "< 0.1 %");
        assert_eq!(percent(618_016, 620_000), "99.7 %");
        assert_eq!(percent(999_999, 1_000_000), "> 99.9 %");
        assert_eq!(percent(10, 10), "100 %");
        assert_eq!(about(1_234_567_890_123, 4), "123 M");
        assert_eq!(about(82_345_678_901_230, 4), "8.23 bn");
        assert_eq!(about(9_999_999, 4), "1,000");
        assert_eq!(about(1, 8), "< 0.01");
        assert_eq!(about(u128::MAX, 0), "3.40e38");
        assert_eq!(span(37_800.0), "10 h 30 min");
        assert_eq!(span(97_200.0), "27 h");
        assert_eq!(span(59.99), "1 min");
        assert_eq!(span(0.8124), "812 ms");
        assert_eq!(span(0.9999), "1.0 s");
        assert_eq!(offset(-1_500_000_000), "\u{2212}1.500 s");
        assert_eq!(microseconds(1_234), "1.2");
        assert_eq!(microseconds(1_234_567), "1,235");
    }

    #[test]
    fn prices_are_told_in_the_markets_own_units() {
        let asset = |number, symbol: &str, scale| AssetSpec {
            asset: AssetId(number),
            symbol: symbol.parse().expect("a symbol"),
            scale,
        };
        let market = MarketSpec {
            market: MarketId(7),
            base: AssetId(0),
            quote: AssetId(1),
            lot_size: Amount(10_000),
            tick_value: Amount(1),
            maker_rate: FeeRate(0),
            taker_rate: FeeRate(0),
        };
        let units = Units { assets: vec![asset(0, "BTC", 8), asset(1, "USD", 6)], markets: vec![market] };
        assert_eq!(units.price_unit(MarketId(7)).text(Price(6_000_025)), "60,000.25");
        assert!((units.price_unit(MarketId(7)).value(Price(6_000_025)) - 60_000.25).abs() < 1e-9);
        assert_eq!(units.price_unit(MarketId(8)).text(Price(12_345)), "12,345", "in ticks");
        assert_eq!(units.market_name(MarketId(7)), "BTC/USD");
        assert_eq!(units.quantity(MarketId(7), Quantity(15_000)), (150_000_000, 8));
        assert_eq!(units.amount(AssetId(9), 12), "12 asset 9");
    }
}
