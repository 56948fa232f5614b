//! The board: what everybody on an exchange can see. Last and lowest prices, what the crowd takes a price to be, and its
//! mood; read and written by all threads of an incident.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use engine::{
    event::{Event, SequencedEvent},
    recovery::PricePoint,
    types::MarketId,
};

use super::world::{KRW, World};
use crate::random::Random;

/// How far a price may wander by itself, in ten-thousandths of the opening price.
const WANDER_MAX: u64 = 300;

/// At most so often a price is remembered.
const SERIES_EVERY_NS: u64 = 50_000_000;

/// How the crowd behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// Prices wander.
    Calm = 0,
    /// Quotes follow the last trade.
    Panic = 1,
    /// Nothing trades: orders are collected, and some cross.
    Auction = 2,
}

/// What everybody can see.
#[derive(Debug)]
pub struct Board {
    /// Of each market, a price every so often.
    series: Mutex<Vec<Vec<PricePoint>>>,
    markets: Vec<Seen>,
    mood: AtomicU8,
    /// An epoch has begun, and everything that changed with it was read.
    ready: AtomicBool,
    corrections: [AtomicU64; 5],
}

#[derive(Debug)]
struct Seen {
    opening: u64,
    last: AtomicU64,
    lowest: AtomicU64,
    reference: AtomicU64,
    follows: bool,
}

/// What subscribers were told of an epoch's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Corrections {
    /// Fills that are void.
    pub fills_busted: u64,
    /// Balances that are others.
    pub balances_corrected: u64,
    /// Orders that are open again, or otherwise.
    pub orders_restored: u64,
    /// Orders that are open no more.
    pub orders_voided: u64,
    /// Withdrawals and debts that are others.
    pub others: u64,
}

impl Board {
    /// The board of a world at its opening.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let seen = |opening, follows| Seen {
            opening,
            last: AtomicU64::new(opening),
            lowest: AtomicU64::new(opening),
            reference: AtomicU64::new(opening),
            follows,
        };
        Self {
            series: Mutex::new(vec![Vec::new(); world.markets.len()]),
            markets: world.markets.iter().map(|market| seen(market.opening, market.spec.quote == KRW)).collect(),
            mood: AtomicU8::new(Mood::Calm as u8),
            ready: AtomicBool::new(false),
            corrections: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn seen(&self, market: MarketId) -> &Seen {
        &self.markets[usize::from(market.0)]
    }

    /// The last price, in ticks.
    #[must_use]
    pub fn last(&self, market: MarketId) -> u64 {
        self.seen(market).last.load(Ordering::Relaxed)
    }

    /// The lowest price since the opening, in ticks.
    #[must_use]
    pub fn lowest(&self, market: MarketId) -> u64 {
        self.seen(market).lowest.load(Ordering::Relaxed)
    }

    /// What the crowd takes the price to be, in ticks.
    #[must_use]
    #[inline]
    pub fn reference(&self, market: MarketId) -> u64 {
        self.seen(market).reference.load(Ordering::Relaxed)
    }

    /// How the crowd behaves.
    #[must_use]
    #[inline]
    pub fn mood(&self) -> Mood {
        match self.mood.load(Ordering::Relaxed) {
            0 => Mood::Calm,
            1 => Mood::Panic,
            _ => Mood::Auction,
        }
    }

    /// Changes the crowd's mood. Whoever is calm again remembers the prices of the opening.
    pub fn set_mood(&self, mood: Mood) {
        if mood != Mood::Panic {
            for seen in &self.markets {
                seen.reference.store(seen.opening, Ordering::Relaxed);
            }
        }
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// Whether an epoch's beginning was read to its end.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// What was read of it.
    #[must_use]
    pub fn corrections(&self) -> Corrections {
        let [fills_busted, balances_corrected, orders_restored, orders_voided, others] =
            self.corrections.each_ref().map(|count| count.load(Ordering::Relaxed));
        Corrections { fills_busted, balances_corrected, orders_restored, orders_voided, others }
    }

    /// The prices of a market so far: what traded first in every twentieth of a second.
    #[must_use]
    pub fn series(&self, market: MarketId) -> Vec<PricePoint> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.get(usize::from(market.0)).cloned().unwrap_or_default()
    }

    /// Takes notice of an event.
    pub fn notice(&self, event: &SequencedEvent) {
        let (sequence, time) = (event.sequence, event.time);
        let count = |number: usize| {
            self.corrections[number].fetch_add(1, Ordering::Relaxed);
        };
        match event.event {
            Event::Filled { market, price, .. } => {
                let seen = self.seen(market);
                seen.last.store(price.0, Ordering::Relaxed);
                seen.lowest.fetch_min(price.0, Ordering::Relaxed);
                let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
                let series = &mut series[usize::from(market.0)];
                if series.last().is_none_or(|last| time.0 >= last.time.0 + SERIES_EVERY_NS) {
                    series.push(PricePoint { sequence, time, price });
                }
                if seen.follows && self.mood() == Mood::Panic {
                    seen.reference.store(price.0, Ordering::Relaxed);
                }
            }
            Event::FillBusted { .. } => count(0),
            Event::BalanceCorrected { .. } => count(1),
            Event::OrderRestored { .. } => count(2),
            Event::OrderVoided { .. } => count(3),
            Event::WithdrawalCorrected { .. } | Event::ReceivableCorrected { .. } => count(4),
            Event::EpochReady { .. } => self.ready.store(true, Ordering::Release),
            _ => {}
        }
    }

    /// Lets all prices wander a little, unless there is panic.
    pub fn wander(&self, random: &mut Random) {
        if self.mood() == Mood::Panic {
            return;
        }
        for seen in &self.markets {
            let step = (seen.opening / 5_000).max(1);
            let change = random.below(2 * step + 1);
            let reference = (seen.reference.load(Ordering::Relaxed) + change).saturating_sub(step);
            let most = seen.opening * WANDER_MAX / 10_000;
            seen.reference.store(reference.clamp(seen.opening - most, seen.opening + most).max(1), Ordering::Relaxed);
        }
    }
}
