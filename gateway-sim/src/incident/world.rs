//! The worlds in which incidents happen: assets, markets, accounts and the shape of the books, all from a seed.
//!
//! Every market's tick and lot are derived from its price: some ten thousand ticks to the price, a lot worth a hundred won
//! or more. Accounts have a home market and a role; see [`crowd`](super::crowd).

use engine::{
    command::Command,
    types::{AccountId, Amount, AssetId, ExternalId, FeeRate, MarketId, MarketSpec, Symbol},
};

use super::crowd::is_holder;
use crate::random::Random;

/// What prices are quoted in.
pub const KRW: AssetId = AssetId(0);
/// The coin that is worth most.
pub const BTC: AssetId = AssetId(1);
/// The one with the second most.
pub const ETH: AssetId = AssetId(2);
/// The coin that the promotion was to pay.
pub const WGT: AssetId = AssetId(3);

/// Minor units of a won: 0.0001.
pub const WON: u64 = 10_000;
/// Minor units of a whole coin, of every coin.
pub const COIN: u64 = 100_000_000;
/// Accounts come in groups of ten; see [`crowd`](super::crowd).
pub const ACCOUNTS_PER_GROUP: u32 = 10;
/// The most markets there can be: 49 quoted in won, 22 in bitcoin.
pub const MARKETS_MAX: u16 = (COINZEST.len() + BTC_QUOTED_MAX) as u16;

const KRW_SCALE: u8 = 4;
const COIN_SCALE: u8 = 8;
const BTC_QUOTED_MAX: usize = 22;
/// At least so many ticks to a price.
const TICKS_MIN: u128 = 8_000;
/// A lot is worth at least this, in won.
const LOT_KRW_MIN: u64 = 100;
const MAKER_RATE: FeeRate = FeeRate(50);
const TAKER_RATE: FeeRate = FeeRate(100);
/// What holders have in won, in thousandths of what others have.
const HOLDER_SHARE: u64 = 20;
/// The external ids of the setup have this in their upper half.
const SETUP_IDS: u128 = 1 << 100;

/// Coinzest's coins, with their prices in thousandths of a won, of January 2019 or about it.
const COINZEST: [(&str, u64); 49] = [
    ("BTC", 4_000_000_000),
    ("ETH", 137_000_000),
    ("WGT", 21_000),
    ("BCH", 142_000_000),
    ("LTC", 35_000_000),
    ("XRP", 360_000),
    ("EOS", 2_700_000),
    ("ETC", 4_800_000),
    ("DASH", 79_000_000),
    ("QTUM", 2_300_000),
    ("XLM", 119_000),
    ("TRX", 27_000),
    ("ADA", 49_000),
    ("BTG", 14_000_000),
    ("ZEC", 61_000_000),
    ("XMR", 50_000_000),
    ("NEO", 8_600_000),
    ("OMG", 1_500_000),
    ("ICX", 270_000),
    ("VET", 4_400),
    ("BAT", 142_000),
    ("ZRX", 320_000),
    ("LINK", 520_000),
    ("REP", 8_500_000),
    ("WAVES", 3_000_000),
    ("LSK", 1_500_000),
    ("STEEM", 330_000),
    ("SNT", 20_000),
    ("GNT", 72_000),
    ("KNC", 160_000),
    ("LOOM", 48_000),
    ("POLY", 33_000),
    ("STORJ", 160_000),
    ("MANA", 43_000),
    ("ENJ", 29_000),
    ("ELF", 110_000),
    ("THETA", 45_000),
    ("IOST", 6_500),
    ("ZIL", 19_000),
    ("AE", 480_000),
    ("CMT", 24_000),
    ("WTC", 1_250_000),
    ("MCO", 2_300_000),
    ("POWR", 85_000),
    ("CVC", 60_000),
    ("SALT", 210_000),
    ("BNT", 650_000),
    ("DCR", 19_000_000),
    ("XEM", 58_000),
];

/// Some of Bithumb's, of February 2026 or about it.
const BITHUMB: [(&str, u64); 10] = [
    ("BTC", 98_000_000_000),
    ("ETH", 2_900_000_000),
    ("XRP", 2_050_000),
    ("SOL", 124_000_000),
    ("DOGE", 142_000),
    ("ADA", 395_000),
    ("TRX", 405_000),
    ("LINK", 12_900_000),
    ("AVAX", 13_300_000),
    ("DOT", 1_980_000),
];

/// How a world's books look and what its accounts have.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What a maker's quote is worth at the opening price, in won: from, to.
    pub quote_krw: (u64, u64),
    /// The same of an order that waits for a crash.
    pub deep_krw: (u64, u64),
    /// Where such orders stand, in ten-thousandths of the opening price: none below the first.
    pub deep_range: (u64, u64),
    /// What each account begins with, in won.
    pub deposit_krw: u64,
    /// What each account begins with of its home market's coin, in won at the opening price.
    pub deposit_coin_krw: u64,
    /// Where a market's last great bids stand, in ten-thousandths of the opening price: of BTC, of ETH, of the others.
    pub floors: [u64; 3],
    /// What each of these is worth, in won, per account on the market.
    pub floor_krw: u64,
    /// The fewest accounts on the first market, in thousandths of all.
    pub first_market_share: u64,
}

/// What determines a world.
#[derive(Clone, Copy, Debug)]
pub struct WorldSpecification {
    /// Determines everything that is left to chance.
    pub seed: u64,
    /// How many accounts, at least ten for each gateway.
    pub accounts: u32,
    /// How many markets.
    pub markets: u16,
    /// Among how many gateways the accounts are dealt.
    pub gateways: u32,
    /// Which exchange's coins.
    pub place: Place,
    /// The books.
    pub shape: Shape,
}

/// Whose coins and prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Coinzest in January 2019.
    Coinzest,
    /// Bithumb in February 2026.
    Bithumb,
}

impl Place {
    const fn coins(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Coinzest => &COINZEST,
            Self::Bithumb => &BITHUMB,
        }
    }

    /// The most markets.
    #[must_use]
    pub const fn markets_max(self) -> u16 {
        match self {
            Self::Coinzest => MARKETS_MAX,
            Self::Bithumb => BITHUMB.len() as u16,
        }
    }
}

/// An asset.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its number.
    pub asset: AssetId,
    /// Its name.
    pub symbol: Symbol,
    /// The decimal places of its minor unit.
    pub scale: u8,
    /// What a whole one is worth at the opening, in thousandths of a won.
    pub price_milli_krw: u64,
}

/// A market.
#[derive(Clone, Copy, Debug)]
pub struct Market {
    /// What the exchange knows of it.
    pub spec: MarketSpec,
    /// The opening price, in ticks.
    pub opening: u64,
    /// Where the last great bids stand, in ticks.
    pub floor: u64,
    /// What a lot is worth at the opening, in thousandths of a won.
    pub lot_milli_krw: u64,
}

impl Market {
    /// How many lots are worth about so many won at the opening; at least one.
    #[must_use]
    pub fn lots_worth(&self, krw: u64) -> u64 {
        (u128::from(krw) * 1_000 / u128::from(self.lot_milli_krw)).max(1) as u64
    }
}

/// A world: what an exchange is set up with.
#[derive(Clone, Debug)]
pub struct World {
    /// What determines it.
    pub specification: WorldSpecification,
    /// All assets, by number.
    pub assets: Vec<Asset>,
    /// All markets, by number: first those quoted in won, by the number of their coin.
    pub markets: Vec<Market>,
    /// The number of each account's home market, by account.
    homes: Vec<u16>,
    /// How many accounts are at home in each market.
    residents: Vec<u32>,
}

impl World {
    /// Makes the world.
    ///
    /// # Panics
    /// When the specification is out of its ranges.
    #[must_use]
    pub fn new(specification: WorldSpecification) -> Self {
        let WorldSpecification { seed, accounts, markets, place, .. } = specification;
        assert!((1..=place.markets_max()).contains(&markets), "there are 1 to {} markets", place.markets_max());
        let all = place.coins();
        // As many of ten markets in won as of all.
        let in_krw = match place {
            Place::Coinzest => (usize::from(markets) * COINZEST.len()).div_ceil(usize::from(MARKETS_MAX)),
            Place::Bithumb => usize::from(markets),
        };
        // WGT is there in the smallest world, too.
        let coins = &all[..in_krw.max(3).min(all.len())];
        let symbol = |text: &str| text.parse::<Symbol>().expect("the world's symbols are valid");
        let krw = Asset { asset: KRW, symbol: symbol("KRW"), scale: KRW_SCALE, price_milli_krw: 1_000 };
        let assets: Vec<Asset> = [krw]
            .into_iter()
            .chain((1..).zip(coins).map(|(number, &(name, price_milli_krw))| Asset {
                asset: AssetId(number),
                symbol: symbol(name),
                scale: COIN_SCALE,
                price_milli_krw,
            }))
            .collect();
        let floors = specification.shape.floors;
        let mut random = Random::stream(seed, u64::MAX - 1);
        let mut made = Vec::new();
        for number in 0..markets {
            let index = usize::from(number);
            let (base, quote) =
                if index < in_krw { (index + 1, KRW) } else { (2 + (index - in_krw) % (coins.len() - 1), BTC) };
            let mut market = market(MarketId(number), &assets[base], &assets[usize::from(quote.0)]);
            let floor = match market.spec.base {
                _ if quote == BTC => 0,
                BTC => floors[0],
                ETH => floors[1],
                // Not all of them alike.
                _ => floors[2] * random.between(7, 10) / 10,
            };
            market.floor = (market.opening * floor / 10_000).max(1);
            made.push(market);
        }
        let weights: Vec<u64> = (0..markets).map(|market| weight(market, &specification)).collect();
        let total: u64 = weights.iter().sum();
        let mut homes = Vec::with_capacity(accounts as usize);
        let mut residents = vec![0; usize::from(markets)];
        for _ in 0..accounts.div_ceil(ACCOUNTS_PER_GROUP) {
            let mut drawn = random.below(total);
            let home = weights.iter().position(|&weight| {
                let found = drawn < weight;
                drawn = drawn.saturating_sub(weight);
                found
            });
            homes.push(home.expect("what is drawn is below the sum") as u16);
        }
        for account in 0..accounts {
            residents[usize::from(homes[(account / ACCOUNTS_PER_GROUP) as usize])] += 1;
        }
        Self { specification, assets, markets: made, homes, residents }
    }

    /// The market in which an account is at home. All of a group of ten share it.
    #[must_use]
    pub fn home(&self, account: AccountId) -> &Market {
        &self.markets[usize::from(self.homes[((account.0 - 1) / ACCOUNTS_PER_GROUP) as usize])]
    }

    /// The market of an asset that is quoted in won.
    #[must_use]
    pub fn krw_market(&self, asset: AssetId) -> Option<&Market> {
        self.markets.iter().find(|market| market.spec.base == asset && market.spec.quote == KRW)
    }

    /// How many accounts are at home in a market.
    #[must_use]
    pub fn residents(&self, market: MarketId) -> u32 {
        self.residents[usize::from(market.0)]
    }

    /// An asset's name.
    #[must_use]
    pub fn symbol(&self, asset: AssetId) -> String {
        self.assets.get(usize::from(asset.0)).map_or_else(|| asset.to_string(), |asset| asset.symbol.to_string())
    }

    /// A market's name: `BTC-KRW`.
    #[must_use]
    pub fn market_name(&self, market: MarketId) -> String {
        let spec = &self.markets[usize::from(market.0)].spec;
        format!("{}-{}", self.symbol(spec.base), self.symbol(spec.quote))
    }

    /// A price of a market, in whole units of quote.
    #[must_use]
    pub fn price(&self, market: MarketId, ticks: u64) -> f64 {
        let spec = &self.markets[usize::from(market.0)].spec;
        let unit = 10_f64.powi(self.assets[usize::from(spec.quote.0)].scale.into());
        ticks as f64 * spec.tick_value.0 as f64 / unit * COIN as f64 / spec.lot_size.0 as f64
    }

    /// The commands that make assets, markets and accounts, and credit every account.
    #[must_use]
    pub fn setup(&self) -> Vec<Command> {
        let shape = &self.specification.shape;
        let mut commands = Vec::with_capacity(self.specification.accounts as usize * 3);
        for &Asset { asset, symbol, scale, .. } in &self.assets {
            commands.push(Command::AddAsset { asset, symbol, scale });
        }
        for market in &self.markets {
            let MarketSpec { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } = market.spec;
            commands.push(Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
        }
        let mut external = SETUP_IDS;
        let mut deposit = |commands: &mut Vec<Command>, account, asset, amount| {
            external += 1;
            let external_id = ExternalId::from_u128(external);
            commands.push(Command::Deposit { account, asset, amount, external_id });
        };
        for account in (1..=self.specification.accounts).map(AccountId) {
            commands.push(Command::CreateAccount { account });
            let home = self.home(account);
            deposit(&mut commands, account, KRW, Amount(self.starting_krw(account) * WON));
            deposit(&mut commands, account, home.spec.base, self.coins_worth(home.spec.base, shape.deposit_coin_krw));
            if home.spec.quote != KRW {
                deposit(&mut commands, account, home.spec.quote, self.coins_worth(BTC, shape.deposit_krw));
            }
        }
        commands
    }

    /// What an account begins with, in won. Holders have little, but for those who stand at the bottom of a book.
    #[must_use]
    pub fn starting_krw(&self, account: AccountId) -> u64 {
        let share = if is_holder(self, account) { HOLDER_SHARE } else { 1_000 };
        self.specification.shape.deposit_krw * share / 1_000
    }

    /// As much of a coin as is worth so many won at the opening, in minor units.
    #[must_use]
    pub fn coins_worth(&self, asset: AssetId, krw: u64) -> Amount {
        let price = u128::from(self.assets[usize::from(asset.0)].price_milli_krw);
        Amount((u128::from(krw) * 1_000 * u128::from(COIN) / price) as u64)
    }

    /// What an amount is worth at the opening, in won.
    #[must_use]
    pub fn krw_of(&self, asset: AssetId, amount: Amount) -> u64 {
        let Asset { scale, price_milli_krw, .. } = self.assets[usize::from(asset.0)];
        (u128::from(amount.0) * u128::from(price_milli_krw) / 1_000 / 10_u128.pow(scale.into())) as u64
    }
}

/// Of how many residents of all markets together a market has how many.
fn weight(market: u16, specification: &WorldSpecification) -> u64 {
    let rest = u64::from(specification.markets);
    match (market, specification.place) {
        (0, _) => (rest * specification.shape.first_market_share / 1_000).max(1) + 1,
        (1, Place::Coinzest) => rest / 12 + 1,
        (3..9, Place::Coinzest) => 2,
        _ => 1,
    }
}

/// Derives tick and lot from the prices of the two assets.
fn market(market: MarketId, base: &Asset, quote: &Asset) -> Market {
    /// Of a minor unit of quote: prices and ticks of a whole coin are counted in these.
    const FINE: u128 = 1_000_000;
    let quote_unit = 10_u128.pow(quote.scale.into());
    let price = u128::from(base.price_milli_krw) * quote_unit * FINE / u128::from(quote.price_milli_krw);
    let steps = (0..).flat_map(|exponent| [1, 2, 5].map(|step| step * 10_u128.pow(exponent)));
    let tick = steps.take_while(|&step| price / step >= TICKS_MIN).last().unwrap_or(1);
    let lot_milli_krw = |lot: u64| (u128::from(lot) * u128::from(base.price_milli_krw) / u128::from(COIN)) as u64;
    let fits = |lot: &u64| {
        (tick * u128::from(*lot)).is_multiple_of(u128::from(COIN) * FINE) && lot_milli_krw(*lot) >= LOT_KRW_MIN * 1_000
    };
    let lot = (0..).map(|exponent| 10_u64.pow(exponent)).find(fits).expect("a large lot fits every tick");
    let tick_value = Amount((tick * u128::from(lot) / (u128::from(COIN) * FINE)) as u64);
    let spec = MarketSpec {
        market,
        base: base.asset,
        quote: quote.asset,
        lot_size: Amount(lot),
        tick_value,
        maker_rate: MAKER_RATE,
        taker_rate: TAKER_RATE,
    };
    Market { spec, opening: (price / tick) as u64, floor: 1, lot_milli_krw: lot_milli_krw(lot).max(1) }
}

#[cfg(test)]
mod tests {
    use engine::{
        event::Event,
        exchange::Exchange,
        types::{Sequence, Timestamp},
    };

    use super::{super::scenario::Scenario, *};

    fn world(place: Place, accounts: u32, markets: u16) -> World {
        let scenario = match place {
            Place::Coinzest => Scenario::coinzest(1),
            Place::Bithumb => Scenario::bithumb(1),
        };
        World::new(WorldSpecification { accounts, markets, ..scenario.world })
    }

    #[test]
    fn the_exchange_takes_every_world() {
        for (place, accounts, markets) in [
            (Place::Coinzest, 2_000, 71),
            (Place::Coinzest, 100, 3),
            (Place::Coinzest, 100, 1),
            (Place::Bithumb, 500, 10),
        ] {
            let mut exchange = Exchange::new();
            let mut events: Vec<Event> = Vec::new();
            for (sequence, command) in (1..).map(Sequence).zip(world(place, accounts, markets).setup()) {
                exchange.apply(sequence, Timestamp(0), &command, &mut events);
            }
            assert!(!events.iter().any(|event| matches!(event, Event::Refused { .. })), "{place:?} {markets}");
        }
    }

    #[test]
    fn prices_are_those_of_the_day() {
        let world = world(Place::Coinzest, 1_000, 71);
        assert_eq!((world.assets.len(), world.markets.len()), (50, 71));
        assert_eq!(world.market_name(MarketId(0)), "BTC-KRW");
        assert_eq!(world.market_name(MarketId(70)), "LINK-BTC");
        for market in &world.markets {
            let MarketSpec { market: number, base, quote, .. } = market.spec;
            let of = |asset: AssetId| world.assets[usize::from(asset.0)].price_milli_krw as f64;
            let (price, expected) = (world.price(number, market.opening), of(base) / of(quote));
            assert!((price / expected - 1.0).abs() < 0.001, "{}: {price} for {expected}", world.market_name(number));
        }
        assert_eq!(world.price(MarketId(0), world.markets[0].floor), 55_000.0);
        assert_eq!(world.coins_worth(BTC, 4_000_000), Amount(COIN));
        assert_eq!(world.krw_of(BTC, Amount(COIN)), 4_000_000);
    }
}
