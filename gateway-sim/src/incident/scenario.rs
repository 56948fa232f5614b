//! What happened, in figures: the two incidents that are played, and how long each part of them takes here.

use std::time::Duration;

use super::world::{Place, Shape, WorldSpecification};

/// An incident to be played.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// The exchange it happens to.
    pub world: WorldSpecification,
    /// Commands per second of the crowd, all gateways together.
    pub rate: u64,
    /// How many accounts are credited in error.
    pub recipients: u32,
    /// How much they are credited in all, in whole coins.
    pub coins: u64,
    /// In how many assets.
    pub assets: u16,
    /// How many of them sell.
    pub sellers: u32,
    /// How much they sell of all, in whole coins; `None` for as much as brings the prices down.
    pub sold: Option<u64>,
    /// How many withdraw.
    pub withdrawers: u32,
    /// How much of what they got for it these ask for, in thousandths.
    pub withdrawn_share: u64,
    /// How long the crowd trades before it happens.
    pub calm: Duration,
    /// How long the sale takes.
    pub sale: Duration,
    /// How long it takes from there until somebody notices.
    pub unnoticed: Duration,
    /// How long orders are collected for the auction.
    pub auction: Duration,
    /// How long the crowd trades after everything is open again.
    pub after: Duration,
    /// What it was then, for the report.
    pub then: Then,
}

/// What it was then.
#[derive(Clone, Copy, Debug)]
pub struct Then {
    /// When and where.
    pub when: &'static str,
    /// From the error until somebody noticed and stopped it.
    pub until_halt: &'static str,
    /// From the error until everything was open again.
    pub until_open: &'static str,
    /// The same in seconds.
    pub seconds: f64,
    /// What was done.
    pub how: &'static str,
}

impl Scenario {
    /// Has people act so many times as fast.
    pub fn hasten(&mut self, haste: u32) {
        for duration in [&mut self.calm, &mut self.sale, &mut self.unnoticed, &mut self.auction, &mut self.after] {
            *duration /= haste.max(1);
        }
    }

    /// Coinzest, Korea, 18 January 2019: a promotion pays 30,000 BTC, ETH and others instead of 30,000 WGT.
    #[must_use]
    pub const fn coinzest(seed: u64) -> Self {
        Self {
            name: "coinzest",
            world: WorldSpecification {
                seed,
                accounts: 100_000,
                markets: 71,
                gateways: 4,
                place: Place::Coinzest,
                shape: Shape {
                    quote_krw: (6_000, 60_000),
                    deep_krw: (6_000, 60_000),
                    deep_range: (140, 9_800),
                    deposit_krw: 1_500_000,
                    deposit_coin_krw: 1_500_000,
                    // BTC fell to 55,000 of 4.0 million won, ETH to 21,000 of 137,000, most by more than 60 %.
                    floors: [138, 1_532, 4_000],
                    floor_krw: 1_000_000,
                    first_market_share: 140,
                },
            },
            rate: 20_000,
            recipients: 402,
            coins: 30_000,
            assets: 8,
            sellers: 10,
            sold: None,
            withdrawers: 6,
            withdrawn_share: 700,
            calm: Duration::from_secs(3),
            sale: Duration::from_secs(6),
            unnoticed: Duration::from_secs(2),
            auction: Duration::from_secs(2),
            after: Duration::from_secs(4),
            then: Then {
                when: "Coinzest, 18-19 January 2019",
                until_halt: "15 min",
                until_open: "10 h 30 min",
                seconds: 37_800.0,
                how: "rolled back to 18:33:18, the order book restored item by item; everything after the cut was void",
            },
        }
    }

    /// Bithumb, Korea, 6 February 2026: a promotion pays 620,000 BTC instead of 620,000 won.
    #[must_use]
    pub const fn bithumb(seed: u64) -> Self {
        Self {
            name: "bithumb",
            world: WorldSpecification {
                seed,
                accounts: 50_000,
                markets: 10,
                gateways: 4,
                place: Place::Bithumb,
                shape: Shape {
                    quote_krw: (400_000, 8_000_000),
                    deep_krw: (5_000_000, 40_000_000),
                    deep_range: (8_400, 9_900),
                    deposit_krw: 400_000_000,
                    deposit_coin_krw: 210_000_000,
                    floors: [8_300, 8_800, 9_000],
                    floor_krw: 300_000_000,
                    first_market_share: 500,
                },
            },
            rate: 20_000,
            recipients: 695,
            coins: 620_000,
            assets: 1,
            sellers: 86,
            sold: Some(1_788),
            withdrawers: 27,
            withdrawn_share: 60,
            calm: Duration::from_secs(2),
            sale: Duration::from_secs(5),
            unnoticed: Duration::from_secs(2),
            auction: Duration::from_secs(2),
            after: Duration::from_secs(3),
            then: Then {
                when: "Bithumb, 6-7 February 2026",
                until_halt: "35 min",
                until_open: "27 h",
                seconds: 97_200.0,
                how: "accounts blocked one by one, 618,212 BTC reversed, parity restored with the company's own assets",
            },
        }
    }
}
