//! The call auction: the price at which a crossed book trades most, and the fills at that price.

use super::{
    Exchange, MatchSink, Matcher, Settlement,
    matcher::{Market, carry_over, fees, market_mut},
    orders::Order,
};
use crate::{
    event::{CancelReason, Event},
    types::{Amount, FeeRate, MarketId, Price, Quantity, Side},
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

impl Market {
    /// The price at which most would trade, if the book is crossed. The rules say how ties are decided.
    ///
    /// Takes steps in proportion to the levels in the crossed range.
    fn indicative(&self) -> Option<Indicative> {
        let (best_bid, best_ask) = (self.bids.best()?.price, self.asks.best()?.price);
        if best_bid < best_ask {
            return None;
        }
        // Both from the lowest price up.
        let mut bids: Vec<_> =
            self.bids.levels().take_while(|level| level.price >= best_ask).map(|l| (l.price, l.quantity.0)).collect();
        bids.reverse();
        let asks: Vec<_> =
            self.asks.levels().take_while(|level| level.price <= best_bid).map(|l| (l.price, l.quantity.0)).collect();
        let mut prices: Vec<Price> = bids.iter().chain(&asks).map(|(price, _)| *price).collect();
        prices.sort_unstable();
        prices.dedup();

        let mut demand: u128 = bids.iter().map(|(_, quantity)| u128::from(*quantity)).sum();
        let mut supply = 0_u128;
        let (mut bids, mut asks) = (bids.into_iter().peekable(), asks.into_iter().peekable());
        let mut best: Vec<(Price, i128)> = Vec::new();
        let mut best_rank = (0, 0);
        for price in prices {
            while let Some((_, quantity)) = asks.next_if(|(ask, _)| *ask <= price) {
                supply += u128::from(quantity);
            }
            while let Some((_, quantity)) = bids.next_if(|(bid, _)| *bid < price) {
                demand -= u128::from(quantity);
            }
            // The more trades, then the less is left, the better.
            let rank = (demand.min(supply), u128::MAX - demand.abs_diff(supply));
            if rank > best_rank {
                best.clear();
                best_rank = rank;
            }
            if rank == best_rank {
                best.push((price, demand as i128 - supply as i128));
            }
        }
        let (lowest, highest) = (best.first()?, best.last()?);
        let (price, imbalance) = if best.iter().all(|(_, left)| *left > 0) {
            *highest
        } else if best.iter().all(|(_, left)| *left < 0) {
            *lowest
        } else {
            let middle = Price(lowest.0.0.midpoint(highest.0.0));
            (middle, self.imbalance(middle))
        };
        Some(Indicative {
            price,
            quantity: Quantity(u64::try_from(best_rank.0).expect("what is open is backed by balances")),
            imbalance: i64::try_from(imbalance).expect("what is open is backed by balances"),
        })
    }

    fn imbalance(&self, price: Price) -> i128 {
        let sum = |side: Side| -> i128 {
            let (side, within) = (self.side(side), side);
            let levels = side.levels().take_while(|level| match within {
                Side::Buy => level.price >= price,
                Side::Sell => level.price <= price,
            });
            levels.map(|level| i128::from(level.quantity.0)).sum()
        };
        sum(Side::Buy) - sum(Side::Sell)
    }
}

impl Matcher {
    /// What the market's auction would come to; `None` when its book is not crossed, or there is no such market.
    #[must_use]
    pub fn indicative(&self, market: MarketId) -> Option<Indicative> {
        self.market(market)?.indicative()
    }

    /// Uncrosses a market that has become open.
    pub(super) fn uncross_if_open(&mut self, market: MarketId, sink: &mut impl MatchSink) {
        if !self.is_open(market) {
            return;
        }
        while let Some(Indicative { price, quantity, .. }) = self.indicative(market) {
            sink.emit(Event::AuctionUncrossed { market, price, quantity });
            self.trade_at(market, price, sink);
        }
    }

    fn trade_at(&mut self, market: MarketId, price: Price, sink: &mut impl MatchSink) {
        loop {
            let books = market_mut(&mut self.markets, market);
            let (Some(bid), Some(ask)) = (books.bids.best(), books.asks.best()) else { return };
            if bid.price < price || ask.price > price {
                return;
            }
            let (bid, ask) = (bid.oldest, ask.oldest);
            let (buy, sell) = (self.orders.get(bid), self.orders.get(ask));
            if buy.account == sell.account {
                let newer = if buy.id > sell.id { bid } else { ask };
                self.cancel_open(newer, CancelReason::SelfTrade, sink);
            } else {
                self.cross(bid, ask, price, sink);
            }
        }
    }

    /// One fill between the bid and the ask in these slots, as much as both have.
    fn cross(&mut self, bid: u32, ask: u32, price: Price, sink: &mut impl MatchSink) {
        let (mut buy, mut sell) = (self.orders.get(bid).clone(), self.orders.get(ask).clone());
        let market = market_mut(&mut self.markets, buy.market);
        let spec = market.spec;
        let quantity = buy.remaining.min(sell.remaining);
        let notional = spec.notional(price, quantity).expect("the buyer's limit is not below the price");
        let base_amount = spec.base_amount(quantity).expect("an open order's quantity was checked");
        let hold_before = buy.hold(&spec).0;

        let buyer_takes = buy.id > sell.id;
        let (buyer_rate, buyer_due) = due(&mut buy, buyer_takes, notional, u64::MAX);
        let (seller_rate, seller_due) = due(&mut sell, !buyer_takes, notional, notional.0);
        let (buyer_fee, seller_fee) = if buyer_takes {
            fees(buyer_rate, buyer_due, seller_rate, seller_due)
        } else {
            let (seller_fee, buyer_fee) = fees(seller_rate, seller_due, buyer_rate, buyer_due);
            (buyer_fee, seller_fee)
        };
        buy.remaining.0 -= quantity.0;
        sell.remaining.0 -= quantity.0;
        let paid = notional.0 + buyer_fee.max(0).unsigned_abs();
        let released = Amount(hold_before - paid - buy.hold(&spec).0);

        for (slot, order) in [(bid, &buy), (ask, &sell)] {
            let side = market.side_mut(order.side);
            if order.remaining.is_zero() {
                side.unlink(&mut self.orders, slot);
                self.orders.remove(slot);
            } else {
                side.shrink(order.level, quantity);
                *self.orders.get_mut(slot) = order.clone();
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
    }
}

/// What an order's rate and carry say is due for `notional` more, in the role it has; counts it.
fn due(order: &mut Order, takes: bool, notional: Amount, most: u64) -> (FeeRate, u64) {
    let (rate, traded, carry) = if takes {
        (order.taker_rate, &mut order.taker_notional, &mut order.taker_carry)
    } else {
        (order.maker_rate, &mut order.maker_notional, &mut order.maker_carry)
    };
    let by_the_rate = rate.fee_floor(Amount(*traded + notional.0)) - rate.fee_floor(Amount(*traded));
    *traded += notional.0;
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
