//! The call auction: the price at which a crossed book trades most, and the fills at that price.

use std::cmp::Reverse;

use super::{
    Exchange, MatchSink, Matcher, Settlement,
    matcher::{Market, market_mut},
    matching::{carry_over, fees},
    orders::{Order, Traded},
};
use crate::{
    event::{CancelReason, Event},
    types::{Amount, FeeRate, MarketId, Price, Quantity},
};

/// What an auction would come to if it ended now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indicative {
    /// The price of all fills.
    pub price: Price,
    /// How much would trade, as far as no account meets itself.
    pub quantity: Quantity,
    /// What would be left at that price: of the bids if positive, of the asks if negative.
    pub imbalance: i64,
}

/// The prices at which a book is crossed, as it was when this was made, from the lowest up: an account that meets itself
/// may make a new price necessary at every level, so each must cost less than to walk them all.
struct CrossedRange {
    points: Vec<Point>,
}

/// A limit price in the book.
#[derive(Clone, Copy)]
struct Point {
    price: Price,
    /// What was bid at this price or above.
    demand: u64,
    /// What was offered at this price or below.
    supply: u64,
}

/// What has gone from each side since. Whatever goes in an auction goes from the front, so the same has gone at every price
/// that is still in the crossed range.
#[derive(Clone, Copy, Default)]
struct Gone {
    bids: u64,
    asks: u64,
}

impl CrossedRange {
    /// Takes steps in proportion to the levels in the range.
    fn of(market: &Market) -> Option<Self> {
        let (best_bid, best_ask) = (market.bids().best()?.price, market.asks().best()?.price);
        if best_bid < best_ask {
            return None;
        }
        let bids = market.bids().levels().take_while(|level| level.price >= best_ask);
        let asks = market.asks().levels().take_while(|level| level.price <= best_bid);
        // At each price what its own levels add; then the sums, from either end.
        let mut points: Vec<Point> = bids
            .map(|level| Point { price: level.price, demand: level.quantity.0, supply: 0 })
            .chain(asks.map(|level| Point { price: level.price, demand: 0, supply: level.quantity.0 }))
            .collect();
        points.sort_unstable_by_key(|point| point.price);
        points.dedup_by(|next, point| {
            let same = next.price == point.price;
            if same {
                point.demand += next.demand;
                point.supply += next.supply;
            }
            same
        });
        let mut supply = 0;
        for point in &mut points {
            supply += point.supply;
            point.supply = supply;
        }
        let mut demand = 0;
        for point in points.iter_mut().rev() {
            demand += point.demand;
            point.demand = demand;
        }
        Some(Self { points })
    }

    /// The price at which most would trade, while the best prices are these and cross. The rules say how ties are decided.
    ///
    /// Takes steps in proportion to the logarithm of the levels.
    fn choose(&self, best_bid: Price, best_ask: Price, gone: Gone) -> Option<Indicative> {
        if best_bid < best_ask {
            return None;
        }
        let start = self.points.partition_point(|point| point.price < best_ask);
        let end = self.points.partition_point(|point| point.price <= best_bid);
        // Both best prices are in it, and of those between them none has gone.
        let points = &self.points[start..end];
        let demand = |point: &Point| point.demand - gone.bids;
        let supply = |point: &Point| point.supply - gone.asks;
        let left = |point: &Point| i128::from(demand(point)) - i128::from(supply(point));
        // The more trades, then the less is left, the better.
        let rank = |point: &Point| (demand(point).min(supply(point)), Reverse(left(point).abs()));
        // Demand falls with the price and supply grows. So ranks rise to where they meet, and fall from there.
        let (below, above) = points.split_at(points.partition_point(|point| left(point) >= 0));
        let best = below.last().map(rank).max(above.first().map(rank))?;
        // Prices that rank alike are few: at the next one either demand or supply differs, but for one with asks alone before one
        // with bids alone.
        let lowest = below.len() - below.iter().rev().take_while(|point| rank(point) == best).count();
        let highest = below.len() + above.iter().take_while(|point| rank(point) == best).count() - 1;
        let (lowest, highest) = (&points[lowest], &points[highest]);
        let (price, imbalance) = if left(highest) > 0 {
            (highest.price, left(highest))
        } else if left(lowest) < 0 {
            (lowest.price, left(lowest))
        } else {
            let middle = Price(lowest.price.0.midpoint(highest.price.0));
            let from = points.partition_point(|point| point.price < middle);
            let to = points.partition_point(|point| point.price <= middle) - 1;
            (middle, i128::from(demand(&points[from])) - i128::from(supply(&points[to])))
        };
        let imbalance = i64::try_from(imbalance).expect("what is open is backed by balances");
        Some(Indicative { price, quantity: Quantity(best.0), imbalance })
    }
}

impl Market {
    fn choose(&self, range: &CrossedRange, gone: Gone) -> Option<Indicative> {
        range.choose(self.bids().best()?.price, self.asks().best()?.price, gone)
    }
}

impl Matcher {
    /// What the market's auction would come to; `None` when its book is not crossed, or there is no such market.
    ///
    /// Takes steps in proportion to the levels in the crossed range.
    #[must_use]
    pub fn indicative(&self, market: MarketId) -> Option<Indicative> {
        let market = self.market(market)?;
        market.choose(&CrossedRange::of(market)?, Gone::default())
    }

    /// Uncrosses a market that has become open.
    pub(super) fn uncross_if_open(&mut self, market: MarketId, sink: &mut impl MatchSink) {
        if !self.is_open(market) {
            return;
        }
        let Some(range) = CrossedRange::of(market_mut(&mut self.markets, market)) else { return };
        let mut gone = Gone::default();
        while let Some(next) = market_mut(&mut self.markets, market).choose(&range, gone) {
            let Indicative { price, quantity, .. } = next;
            sink.emit(Event::AuctionUncrossed { market, price, quantity });
            self.trade_at(market, price, &mut gone, sink);
        }
    }

    fn trade_at(&mut self, market: MarketId, price: Price, gone: &mut Gone, sink: &mut impl MatchSink) {
        loop {
            let books = market_mut(&mut self.markets, market);
            let (Some(bid), Some(ask)) = (books.bids().best(), books.asks().best()) else { return };
            if bid.price < price || ask.price > price {
                return;
            }
            let (bid, ask) = (bid.oldest, ask.oldest);
            let (buy, sell) = (self.orders.get(bid), self.orders.get(ask));
            if buy.account != sell.account {
                let quantity = self.cross(bid, ask, price, sink);
                gone.bids += quantity.0;
                gone.asks += quantity.0;
            } else if buy.id > sell.id {
                gone.bids += buy.remaining.0;
                self.cancel_open(bid, CancelReason::SelfTrade, sink);
            } else {
                gone.asks += sell.remaining.0;
                self.cancel_open(ask, CancelReason::SelfTrade, sink);
            }
        }
    }

    /// One fill between the bid and the ask in these slots, as much as both have.
    fn cross(&mut self, bid: u32, ask: u32, price: Price, sink: &mut impl MatchSink) -> Quantity {
        let (mut buy, mut sell) = (self.orders.get(bid).clone(), self.orders.get(ask).clone());
        let (mut buy_traded, mut sell_traded) = (self.orders.traded(bid), self.orders.traded(ask));
        let market = market_mut(&mut self.markets, buy.market);
        let spec = market.spec;
        let quantity = buy.remaining.min(sell.remaining);
        let notional = spec.notional(price, quantity).expect("the buyer's limit is not below the price");
        let base_amount = spec.base_amount(quantity).expect("an open order's quantity was checked");
        let hold_before = buy.hold(&buy_traded, &spec).0;

        let buyer_takes = buy.id > sell.id;
        let (buyer_rate, buyer_due) = due(&buy, &mut buy_traded, buyer_takes, notional, u64::MAX);
        let (seller_rate, seller_due) = due(&sell, &mut sell_traded, !buyer_takes, notional, notional.0);
        let (buyer_fee, seller_fee) = if buyer_takes {
            fees(buyer_rate, buyer_due, seller_rate, seller_due)
        } else {
            let (seller_fee, buyer_fee) = fees(seller_rate, seller_due, buyer_rate, buyer_due);
            (buyer_fee, seller_fee)
        };
        buy.remaining.0 -= quantity.0;
        sell.remaining.0 -= quantity.0;
        let paid = notional.0 + buyer_fee.max(0).unsigned_abs();
        let released = Amount(hold_before - paid - buy.hold(&buy_traded, &spec).0);

        for (slot, order, traded) in [(bid, &buy, &buy_traded), (ask, &sell, &sell_traded)] {
            let side = market.side_mut(order.side);
            if order.remaining.is_zero() {
                side.unlink(&mut self.orders, slot);
                self.orders.remove(slot);
            } else {
                side.shrink(order.level, quantity);
                self.orders.get_mut(slot).remaining = order.remaining;
                self.orders.set_traded(slot, traded);
            }
        }
        sink.settle(Settlement::Fill {
            market: spec.market,
            buyer: buy.account,
            seller: sell.account,
            notional,
            base_amount,
            buyer_fee,
            seller_fee,
            released,
            buyer_done: buy.remaining.is_zero(),
            seller_done: sell.remaining.is_zero(),
        });
        let (taker, maker, taker_fee, maker_fee) =
            if buyer_takes { (&buy, &sell, buyer_fee, seller_fee) } else { (&sell, &buy, seller_fee, buyer_fee) };
        sink.emit(Event::Filled {
            taker: taker.id,
            maker: maker.id,
            taker_account: taker.account,
            maker_account: maker.account,
            market: spec.market,
            taker_side: taker.side,
            price,
            quantity,
            maker_remaining: maker.remaining,
            taker_fee,
            maker_fee,
            released,
        });
        quantity
    }
}

/// What an order's rate and carry say is due for `notional` more, in the role it has; counts it.
fn due(order: &Order, traded: &mut Traded, takes: bool, notional: Amount, most: u64) -> (FeeRate, u64) {
    let (rate, before, carry) = if takes {
        (order.taker_rate, &mut traded.taker_notional, &mut traded.taker_carry)
    } else {
        (order.maker_rate, &mut traded.maker_notional, &mut traded.maker_carry)
    };
    let by_the_rate = rate.fee_floor(Amount(*before + notional.0)) - rate.fee_floor(Amount(*before));
    *before += notional.0;
    let due = if rate.0 >= 0 { carry_over(by_the_rate, carry, most) } else { by_the_rate };
    (rate, due)
}

impl Exchange {
    /// What a market's auction would come to if it ended now; `None` when its book is not crossed.
    #[must_use]
    pub fn indicative(&self, market: MarketId) -> Option<Indicative> {
        self.matcher.indicative(market)
    }
}
