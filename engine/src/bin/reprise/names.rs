//! What an exchange's numbers mean to a reader: symbols instead of ids, decimals instead of ticks, lots and minor
//! units, UTC instead of nanoseconds. Knows the assets and markets that there were at the moment in question.

use std::collections::BTreeMap;

use engine::{
    event::Event,
    exchange::Exchange,
    types::{
        AccountId, AirdropId, AssetId, AssetSpec, MarketId, MarketSpec, Price, Quantity, Timestamp, decimal::MarketGrid,
    },
};
use rust_decimal::Decimal;

/// The assets and markets of a moment.
#[derive(Clone, Debug, Default)]
pub struct Names {
    assets: BTreeMap<AssetId, AssetSpec>,
    markets: BTreeMap<MarketId, Market>,
    airdrops: BTreeMap<AirdropId, AssetId>,
}

#[derive(Clone, Debug)]
struct Market {
    spec: MarketSpec,
    name: String,
    /// `None` when a tick or lot has no finite decimal.
    grid: Option<MarketGrid>,
}

impl Names {
    /// Those of a state.
    pub fn of(exchange: &Exchange) -> Self {
        let mut names = Self::default();
        names.assets.extend(exchange.assets().map(|spec| (spec.asset, *spec)));
        exchange.markets().for_each(|market| names.add_market(market.spec));
        names.learn_airdrops(exchange);
        names
    }

    /// Takes in what an event adds.
    pub fn learn(&mut self, event: &Event) {
        match *event {
            Event::AssetAdded { asset, symbol, scale } => {
                self.assets.insert(asset, AssetSpec { asset, symbol, scale });
            }
            Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } => {
                self.add_market(MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
            }
            Event::AirdropOpened { airdrop, asset, .. } => {
                self.airdrops.insert(airdrop, asset);
            }
            _ => {}
        }
    }

    /// Takes in what airdrops pay in; with a new epoch that may be another asset.
    pub fn learn_airdrops(&mut self, exchange: &Exchange) {
        self.airdrops = exchange.airdrops().map(|(id, airdrop)| (id, airdrop.asset)).collect();
    }

    /// What an airdrop pays.
    pub fn airdrop_asset(&self, airdrop: AirdropId) -> Option<AssetId> {
        self.airdrops.get(&airdrop).copied()
    }

    fn add_market(&mut self, spec: MarketSpec) {
        let mut name = format!("{}-{}", self.asset(spec.base), self.asset(spec.quote));
        // A second market of the same pair carries its number.
        if self.markets.values().any(|other| other.name == name) {
            name = format!("{name}:{}", spec.market.0);
        }
        let grid = self.assets.get(&spec.base).zip(self.assets.get(&spec.quote));
        let grid = grid.and_then(|(base, quote)| grid_of(&spec, base, quote));
        self.markets.insert(spec.market, Market { spec, name, grid });
    }

    /// An asset's symbol.
    pub fn asset(&self, asset: AssetId) -> String {
        self.assets.get(&asset).map_or_else(|| format!("asset{}", asset.0), |spec| spec.symbol.to_string())
    }

    /// A market's pair.
    pub fn market(&self, market: MarketId) -> String {
        self.markets.get(&market).map_or_else(|| format!("market{}", market.0), |known| known.name.clone())
    }

    /// What a market is.
    pub fn market_spec(&self, market: MarketId) -> Option<&MarketSpec> {
        self.markets.get(&market).map(|known| &known.spec)
    }

    /// What an asset is.
    pub fn asset_spec(&self, asset: AssetId) -> Option<&AssetSpec> {
        self.assets.get(&asset)
    }

    /// A market's tick and lot, if both have finite decimals.
    pub fn market_grid(&self, market: MarketId) -> Option<MarketGrid> {
        self.markets.get(&market).and_then(|known| known.grid)
    }

    /// An amount as a decimal, with no more places than it needs.
    pub fn amount(&self, asset: AssetId, amount: i128) -> String {
        let scale = self.assets.get(&asset).map_or(0, |spec| spec.scale);
        match Decimal::try_from_i128_with_scale(amount, u32::from(scale)) {
            Ok(decimal) => decimal.normalize().to_string(),
            Err(_) => format!("{amount}e-{scale}"),
        }
    }

    /// A price as a decimal of quote for one whole base, or in ticks where it has no decimal.
    pub fn price(&self, market: MarketId, price: Price) -> String {
        let grid = self.markets.get(&market).and_then(|known| known.grid);
        let decimal = grid.and_then(|grid| grid.tick_size.checked_mul(Decimal::from(price.0)));
        decimal.map_or_else(|| format!("{price} ticks"), |decimal| decimal.normalize().to_string())
    }

    /// A quantity as a decimal of base, or in lots where it has no decimal.
    pub fn quantity(&self, market: MarketId, quantity: Quantity) -> String {
        let grid = self.markets.get(&market).and_then(|known| known.grid);
        let decimal = grid.and_then(|grid| grid.lot_size.checked_mul(Decimal::from(quantity.0)));
        decimal.map_or_else(|| format!("{quantity} lots"), |decimal| decimal.normalize().to_string())
    }

    /// The asset that a user means: a symbol or a number.
    pub fn find_asset(&self, text: &str) -> Result<AssetId, String> {
        let by_symbol = self.assets.values().find(|spec| spec.symbol.to_string().eq_ignore_ascii_case(text));
        let by_number = || text.parse().ok().map(AssetId).and_then(|asset| self.assets.get(&asset));
        by_symbol.or_else(by_number).map(|spec| spec.asset).ok_or_else(|| {
            let known: Vec<_> = self.assets.values().map(|spec| spec.symbol.to_string()).collect();
            format!("there is no asset {text:?} at that moment; there are: {}", list(&known))
        })
    }

    /// The market that a user means: a pair or a number.
    pub fn find_market(&self, text: &str) -> Result<MarketId, String> {
        let by_name = self.markets.values().find(|known| known.name.eq_ignore_ascii_case(text));
        let by_number = || text.parse().ok().map(MarketId).and_then(|market| self.markets.get(&market));
        by_name.or_else(by_number).map(|known| known.spec.market).ok_or_else(|| {
            let known: Vec<_> = self.markets.values().map(|known| known.name.clone()).collect();
            format!("there is no market {text:?} at that moment; there are: {}", list(&known))
        })
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// Tick and lot as decimals, if both are finite.
fn grid_of(spec: &MarketSpec, base: &AssetSpec, quote: &AssetSpec) -> Option<MarketGrid> {
    let lot_size = base.to_decimal(spec.lot_size);
    let tick_value = quote.to_decimal(spec.tick_value);
    let tick_size = tick_value.checked_div(lot_size)?;
    let exact = tick_size.checked_mul(lot_size)? == tick_value;
    exact.then_some(MarketGrid { tick_size, lot_size })
}

/// What an account is called: the system's have names.
pub fn account(account: AccountId) -> String {
    let name = match account {
        AccountId::EXTERNAL => "EXTERNAL",
        AccountId::FEES => "FEES",
        AccountId::TREASURY => "TREASURY",
        AccountId::RECEIVABLES => "RECEIVABLES",
        AccountId::UNBACKED => "UNBACKED",
        user => return user.to_string(),
    };
    name.to_owned()
}

/// A time in UTC, to the nanosecond.
pub fn time(time: Timestamp) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(time.0)) {
        Ok(instant) => format!("{instant:.9}"),
        Err(_) => format!("@{time}"),
    }
}

#[cfg(test)]
mod tests {
    use engine::types::{Amount, FeeRate};

    use super::*;

    #[test]
    fn numbers_become_decimals() {
        let mut names = Names::default();
        for (asset, symbol, scale) in [(0, "BTC", 8), (1, "KRW", 0), (2, "ODD", 0)] {
            let symbol = symbol.parse().unwrap();
            names.learn(&Event::AssetAdded { asset: AssetId(asset), symbol, scale });
        }
        for (market, base, quote, lot, tick) in [(0, 0, 1, 1_000_000, 10), (1, 2, 1, 3, 1), (2, 0, 1, 1, 1)] {
            names.learn(&Event::MarketAdded {
                market: MarketId(market),
                base: AssetId(base),
                quote: AssetId(quote),
                lot_size: Amount(lot),
                tick_value: Amount(tick),
                maker_rate: FeeRate(0),
                taker_rate: FeeRate(0),
            });
        }
        assert_eq!(names.price(MarketId(0), Price(95_000)), "95000000");
        assert_eq!(names.quantity(MarketId(0), Quantity(150)), "1.5");
        assert_eq!(names.amount(AssetId(0), -150_000_000), "-1.5");
        // A tick of a third has no decimal, and is not rounded to one.
        assert_eq!(names.price(MarketId(1), Price(3)), "3 ticks");
        assert_eq!((names.market(MarketId(0)), names.market(MarketId(2))), ("BTC-KRW".into(), "BTC-KRW:2".into()));
        assert_eq!(names.find_market("btc-krw"), Ok(MarketId(0)));
        assert_eq!(names.find_market("BTC-KRW:2"), Ok(MarketId(2)));
        assert_eq!(names.find_asset("2"), Ok(AssetId(2)));
        assert!(names.find_asset("XRP").unwrap_err().contains("BTC, KRW, ODD"));
        assert_eq!(time(Timestamp(1_764_000_000_000_000_001)), "2025-11-24T16:00:00.000000001Z");
    }
}
