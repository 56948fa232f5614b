//! An arriving order against the other side of its book: fills, and what each side is charged for them.

use super::{
    book::BookSide,
    decision::{OrderTerms, Settlement},
    matcher::{Market, MatchSink},
    orders::Orders,
};
use crate::{
    event::{CancelReason, Event},
    types::{AccountId, Amount, FEE_RATE_DENOMINATOR, FeeRate, MarketSpec, OrderId, Price, Quantity, Side},
};

/// The lowest limit there is: that of an order which sells at any price.
pub(super) const ANY_BID: Price = Price(1);

/// The arriving order, while it matches.
pub(super) struct Taker {
    id: OrderId,
    account: AccountId,
    side: Side,
    limit: Price,
    /// What is left of it; means nothing for a market buy.
    pub(super) remaining: Quantity,
    /// What it has traded.
    pub(super) notional: u64,
    maker_rate: FeeRate,
    taker_rate: FeeRate,
    /// What is held for it; counted down for a buy only.
    hold: u64,
}

/// Why matching ended before the order did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    NothingToTrade,
    OwnOrder,
}

impl Stopped {
    /// Why the rest of an order that may not rest is cancelled.
    #[inline]
    pub(super) const fn cancel_reason(self) -> CancelReason {
        match self {
            Self::NothingToTrade => CancelReason::Unfilled,
            Self::OwnOrder => CancelReason::SelfTrade,
        }
    }
}

/// Matches an order while prices allow and something is left of it, which at first there is. The market is open.
#[inline]
pub(super) fn match_limit(
    market: &mut Market,
    orders: &mut Orders,
    taker: &mut Taker,
    sink: &mut impl MatchSink,
) -> Stopped {
    let (spec, opposite) = market.spec_and_side(taker.side.opposite());
    while opposite.trades_at(taker.limit) {
        let slot = opposite.front();
        let maker = orders.get(slot);
        if maker.account == taker.account {
            return Stopped::OwnOrder;
        }
        let quantity = taker.remaining.min(maker.remaining);
        taker.remaining.0 -= quantity.0;
        let closes = taker.remaining.is_zero();
        let release = |taker: &mut Taker, paid: u64| {
            let still_held = taker.required(spec);
            Amount(std::mem::replace(&mut taker.hold, still_held) - paid - still_held)
        };
        fill(spec, opposite, orders, slot, taker, quantity, closes, release, sink);
        if closes {
            break;
        }
    }
    Stopped::NothingToTrade
}

/// Buys until the budget affords no further lot; what is left of it stays held for the order. The market is open.
pub(super) fn match_budget(
    market: &mut Market,
    orders: &mut Orders,
    taker: &mut Taker,
    sink: &mut impl MatchSink,
) -> CancelReason {
    let (spec, opposite) = market.spec_and_side(Side::Sell);
    while let Some(level) = opposite.best() {
        let (slot, price) = (level.oldest, level.price);
        let maker = orders.get(slot);
        if maker.account == taker.account {
            return CancelReason::SelfTrade;
        }
        let offered = maker.remaining;
        let quantity = taker.affordable(spec, price).min(offered);
        if quantity.is_zero() {
            return CancelReason::BudgetSpent;
        }
        let release = |taker: &mut Taker, paid: u64| {
            taker.hold -= paid;
            Amount::ZERO
        };
        fill(spec, opposite, orders, slot, taker, quantity, false, release, sink);
        if quantity < offered {
            return CancelReason::BudgetSpent;
        }
    }
    CancelReason::Unfilled
}

/// Cancels what is left of an arriving order.
pub(super) fn cancel_taker(spec: &MarketSpec, taker: &Taker, reason: CancelReason, sink: &mut impl MatchSink) {
    let (asset, released) = match taker.side {
        Side::Buy => (spec.quote, Amount(taker.hold)),
        Side::Sell => (spec.base, spec.base_amount(taker.remaining).expect("risk checked the quantity")),
    };
    let (order, account, market, quantity) = (taker.id, taker.account, spec.market, taker.remaining);
    sink.settle(Settlement::Release { account, asset, amount: released, order_done: true });
    sink.emit(Event::OrderCancelled { order, account, market, reason, quantity, released });
}

impl Taker {
    #[inline]
    pub(super) const fn new(
        id: OrderId,
        account: AccountId,
        side: Side,
        limit: Price,
        quantity: Quantity,
        terms: &OrderTerms,
    ) -> Self {
        let OrderTerms { held, maker_rate, taker_rate } = *terms;
        Self { id, account, side, limit, remaining: quantity, notional: 0, maker_rate, taker_rate, hold: held.0 }
    }

    /// What a limit buy must hold for what is left of it.
    #[inline]
    fn required(&self, spec: &MarketSpec) -> u64 {
        if self.remaining.is_zero() {
            return 0;
        }
        let notional = spec.notional(self.limit, self.remaining).expect("risk checked the whole order's notional").0;
        let hold_rate = MarketSpec::hold_rate(self.maker_rate, self.taker_rate);
        let charged = if self.taker_rate.0 > 0 { self.taker_rate.fee_floor(Amount(self.notional)) } else { 0 };
        notional + hold_rate.fee_floor(Amount(self.notional + notional)) - charged
    }

    /// The most lots at `price` that, with their fee, fit what is left of a market buy's budget.
    fn affordable(&self, spec: &MarketSpec, price: Price) -> Quantity {
        let lot = u128::from(price.0) * u128::from(spec.tick_value.0);
        let budget = u128::from(self.hold);
        let rate = self.taker_rate.max(FeeRate(0));
        let charged = rate.fee_floor(Amount(self.notional));
        let fits = |quantity: u128| {
            let notional = quantity * lot;
            // A notional above the budget is out of the question, so the sum below stays in range.
            notional <= budget && {
                let fee = rate.fee_floor(Amount(self.notional + notional as u64)) - charged;
                notional + u128::from(fee) <= budget
            }
        };
        let denominator = u128::from(FEE_RATE_DENOMINATOR);
        // Without rounding; rounding shifts it by no more than a minor unit or two.
        let mut quantity = budget * denominator / (denominator + rate.0.unsigned_abs() as u128) / lot;
        while quantity > 0 && !fits(quantity) {
            quantity -= 1;
        }
        while fits(quantity + 1) {
            quantity += 1;
        }
        Quantity(quantity as u64)
    }
}

/// One fill of `quantity` between the taker and the oldest order of the opposite side's best level, which is in
/// `slot`. `release` tells, given the taker after the fill and what it pays, how much of a buying taker's hold is
/// free again.
#[inline]
#[allow(clippy::too_many_arguments, reason = "all that a fill touches")]
fn fill(
    spec: &MarketSpec,
    opposite: &mut BookSide,
    orders: &mut Orders,
    slot: u32,
    taker: &mut Taker,
    quantity: Quantity,
    taker_closes: bool,
    release: impl FnOnce(&mut Taker, u64) -> Amount,
    sink: &mut impl MatchSink,
) {
    let maker = orders.get(slot);
    let (maker_id, maker_account, price) = (maker.id, maker.account, maker.price);
    let mut traded = orders.traded(slot);
    let notional = spec.notional(price, quantity).expect("an open order's notional was checked");
    let base_amount = spec.base_amount(quantity).expect("an open order's quantity was checked");
    let taker_due = taker.taker_rate.fee_on_top(taker.notional, notional);
    let mut maker_due = maker.maker_rate.fee_on_top(traded.maker_notional, notional);
    let carried = maker.is_carried();
    let hold_before = if carried && taker.side == Side::Sell { maker.hold(&traded, spec).0 } else { 0 };
    if carried && maker.maker_rate.0 >= 0 {
        let most = if taker.side == Side::Buy { notional.0 } else { u64::MAX };
        maker_due = carry_over(maker_due, &mut traded.maker_carry, most);
    }
    let (taker_fee, maker_fee) = fees(taker.taker_rate, taker_due, maker.maker_rate, maker_due);

    taker.notional += notional.0;
    traded.maker_notional += notional.0;
    let maker_remaining = Quantity(maker.remaining.0 - quantity.0);
    let maker_closes = maker_remaining.is_zero();

    let released = match taker.side {
        Side::Buy => release(taker, notional.0 + taker_fee.max(0).unsigned_abs()),
        // A resting buy trades at its own limit, so only its last fill leaves something: rounding, and the
        // difference between the rate it held for and those it paid. One with carried fees may leave something earlier.
        Side::Sell if carried => {
            let mut after = maker.clone();
            after.remaining = maker_remaining;
            Amount(hold_before - notional.0 - maker_fee.max(0).unsigned_abs() - after.hold(&traded, spec).0)
        }
        Side::Sell if maker_closes => {
            let hold_rate = MarketSpec::hold_rate(maker.maker_rate, maker.taker_rate);
            let notional = Amount(traded.taker_notional + traded.maker_notional);
            Amount(hold_rate.fee_floor(notional) - maker.charged(&traded))
        }
        Side::Sell => Amount::ZERO,
    };
    let ((buyer, buyer_fee, buyer_done), (seller, seller_fee, seller_done)) = {
        let (takes, makes) = ((taker.account, taker_fee, taker_closes), (maker_account, maker_fee, maker_closes));
        if taker.side == Side::Buy { (takes, makes) } else { (makes, takes) }
    };

    if maker_closes {
        opposite.unlink(orders, slot);
        orders.remove(slot);
    } else {
        let maker = orders.get_mut(slot);
        maker.remaining = maker_remaining;
        opposite.shrink(maker.level, quantity);
        orders.set_traded(slot, &traded);
    }

    sink.settle(Settlement::Fill {
        market: spec.market,
        buyer,
        seller,
        notional,
        base_amount,
        buyer_fee,
        seller_fee,
        released,
        buyer_done,
        seller_done,
    });
    sink.emit(Event::Filled {
        taker: taker.id,
        maker: maker_id,
        taker_account: taker.account,
        maker_account,
        market: spec.market,
        taker_side: taker.side,
        price,
        quantity,
        maker_remaining,
        taker_fee,
        maker_fee,
        released,
    });
}

/// What is charged of `due`, at most `most`, by an order that was charged `carry` too much; counts it in the carry.
pub(super) fn carry_over(due: u64, carry: &mut i64, most: u64) -> u64 {
    let owed = i128::from(due) - i128::from(*carry);
    let charge = u64::try_from(owed.max(0)).map_or(most, |owed| owed.min(most));
    *carry = i64::try_from(i128::from(charge) - owed).expect("a carry is a few fees at most");
    charge
}

/// What each side is charged (negative: is paid), given the magnitudes due at their rates.
#[inline]
pub(super) fn fees(taker_rate: FeeRate, taker_due: u64, maker_rate: FeeRate, maker_due: u64) -> (i64, i64) {
    let signed = |due: u64| i64::try_from(due).expect("a fee is less than its notional");
    match (taker_rate.0 < 0, maker_rate.0 < 0) {
        (false, false) => (signed(taker_due), signed(maker_due)),
        (false, true) => (signed(taker_due), -signed(maker_due.min(taker_due))),
        (true, false) => (-signed(taker_due.min(maker_due)), signed(maker_due)),
        (true, true) => (0, 0),
    }
}
