//! The crowd: everybody who has no part in the incident, and goes on trading before, during and after it.
//!
//! Of every ten accounts, by their number:
//!
//! | accounts | role | what they do |
//! |---|---|---|
//! | 0 to 3 | maker | keep a bid and an ask near the price and replace them |
//! | 4, 5 | deep | keep a bid far below and an ask far above: the depth that a crash falls through |
//! | 6, 7 | taker | immediate-or-cancel and market orders; in an auction, orders that stand |
//! | 8 | saver | deposits, transfers and asks for withdrawals, in won |
//! | 9 | holder | nothing: the scenario's actors are among them |
//!
//! What the crowd takes a price to be is on the [board](super::board). Everything else depends on the seed alone; orders are
//! cancelled by the names that the crowd gave them, so it needs no answer from the exchange.

use std::sync::Arc;

use engine::{
    command::Command,
    types::{AccountId, Amount, ClientOrderId, ExternalId, LimitType, Price, Quantity, Side},
};

use super::{
    board::{Board, Mood},
    world::{ACCOUNTS_PER_GROUP, KRW, Market, WON, World},
};
use crate::{load::Source, random::Random};

const MAKERS: (u64, u64) = (0, 4);
const DEEP: (u64, u64) = (4, 2);
const TAKERS: (u64, u64) = (6, 2);
const SAVER: u64 = 8;
/// The role of the accounts that do nothing by themselves.
pub const HOLDER: u32 = 9;

/// Of every so many groups the holder of one stands at the bottom of its market's book.
const BOTTOM_GROUPS: u32 = 8;

/// How far from the price makers quote at most, in ten-thousandths.
const QUOTE_DISTANCE_MAX: u64 = 125;
/// A taker's limit is this far beyond the price.
const TAKER_REACH: u64 = 100;
/// A taker takes from a hundredth to a tenth of a maker's greatest quote.
const TAKER_SHARE: (u64, u64) = (1, 10);
/// The largest deposit, transfer or withdrawal of a saver, in won.
const SAVER_KRW_MAX: u64 = 20_000;
/// After how many commands of the first gateway prices wander.
const COMMANDS_PER_STEP: u32 = 512;
/// The highest price of an ask far above, in multiples of the opening price.
const ASK_MAX: u64 = 3;

/// One gateway's part of the crowd.
#[derive(Clone, Debug)]
pub struct Crowd {
    world: Arc<World>,
    board: Arc<Board>,
    gateway: u32,
    random: Random,
    /// The second half of a replacement.
    queued: Option<Command>,
    groups: u64,
    /// The name of the open bid and ask of each account.
    names: Vec<[ClientOrderId; 2]>,
    named: u64,
    external: u64,
    until_step: u32,
}

impl Crowd {
    /// The crowd's part at each gateway, and the orders with which its books begin, to follow the world's setup.
    #[must_use]
    pub fn start(world: &Arc<World>, board: &Arc<Board>) -> (Vec<Command>, Vec<Self>) {
        let mut crowds: Vec<Self> =
            (0..world.specification.gateways).map(|gateway| Self::new(world, board, gateway)).collect();
        let mut orders = Vec::new();
        for crowd in &mut crowds {
            crowd.place(&mut orders);
        }
        (orders, crowds)
    }

    fn new(world: &Arc<World>, board: &Arc<Board>, gateway: u32) -> Self {
        let gateways = world.specification.gateways;
        let groups = u64::from(world.specification.accounts / ACCOUNTS_PER_GROUP);
        assert!(groups >= u64::from(gateways), "each gateway needs ten accounts");
        // Groups are dealt whole, so that a group's number tells its gateway.
        let groups = (groups - u64::from(gateway)).div_ceil(u64::from(gateways));
        Self {
            world: Arc::clone(world),
            board: Arc::clone(board),
            gateway,
            random: Random::stream(world.specification.seed, u64::from(gateway) + 1),
            queued: None,
            groups,
            names: vec![[ClientOrderId(0); 2]; (groups * u64::from(ACCOUNTS_PER_GROUP)) as usize],
            named: 0,
            external: 0,
            until_step: COMMANDS_PER_STEP,
        }
    }

    fn place(&mut self, orders: &mut Vec<Command>) {
        for local in 0..self.names.len() as u64 {
            let role = local % u64::from(ACCOUNTS_PER_GROUP);
            for side in [Side::Buy, Side::Sell] {
                if role < MAKERS.1 {
                    orders.push(self.quote(local, side));
                } else if role < DEEP.0 + DEEP.1 {
                    orders.push(self.deep(local, side));
                }
            }
            // Some holders are ready to buy a great deal where nobody else is.
            if role == u64::from(HOLDER) && (local / u64::from(ACCOUNTS_PER_GROUP)).is_multiple_of(BOTTOM_GROUPS.into())
            {
                orders.extend(self.floor(local));
            }
        }
    }

    /// The account of this number within the gateway.
    fn account(&self, local: u64) -> AccountId {
        let group_size = u64::from(ACCOUNTS_PER_GROUP);
        let group = local / group_size * u64::from(self.world.specification.gateways) + u64::from(self.gateway);
        AccountId((group * group_size + local % group_size) as u32 + 1)
    }

    fn draw(&mut self, (first, count): (u64, u64)) -> u64 {
        let drawn = self.random.below(self.groups * count);
        drawn / count * u64::from(ACCOUNTS_PER_GROUP) + first + drawn % count
    }

    fn home(&self, local: u64) -> Market {
        *self.world.home(self.account(local))
    }

    fn replace_quote(&mut self) -> Command {
        let local = self.draw(MAKERS);
        let side = self.side();
        self.replace(local, side, Self::quote)
    }

    fn replace_deep(&mut self) -> Command {
        let local = self.draw(DEEP);
        let side = self.side();
        self.replace(local, side, Self::deep)
    }

    /// Cancels an order now, and places another with the next command.
    fn replace(&mut self, local: u64, side: Side, order: impl FnOnce(&mut Self, u64, Side) -> Command) -> Command {
        let client_order_id = self.names[local as usize][side as usize];
        let account = self.account(local);
        self.queued = Some(order(self, local, side));
        Command::CancelByClientOrderId { account, client_order_id }
    }

    fn quote(&mut self, local: u64, side: Side) -> Command {
        let market = self.home(local);
        let reference = self.board.reference(market.spec.market);
        let widest = (reference * QUOTE_DISTANCE_MAX / 10_000).max(1);
        let first = self.random.between(1, widest);
        let mut distance = first.min(self.random.between(1, widest)).cast_signed();
        if self.board.mood() == Mood::Auction {
            // Nobody knows the price, so the two sides cross.
            distance -= (widest / 4).cast_signed();
        }
        let (least, most) = self.world.specification.shape.quote_krw;
        let krw = self.random.between(least, most);
        self.order(local, &market, side, away(reference, side, distance), market.lots_worth(krw))
    }

    fn deep(&mut self, local: u64, side: Side) -> Command {
        let market = self.home(local);
        let shape = self.world.specification.shape;
        let (from, to) = shape.deep_range;
        // As many between the half and the whole of the price as between the quarter and the half.
        let [from, to] = [from, to].map(|share| (share as f64 / 10_000.0).ln());
        let share = (from + (to - from) * self.random.unit()).exp();
        let price = match side {
            Side::Buy => ((market.opening as f64 * share) as u64).max(market.floor + 1),
            Side::Sell => ((market.opening as f64 / share) as u64).min(market.opening * ASK_MAX),
        };
        let krw = self.random.between(shape.deep_krw.0, shape.deep_krw.1);
        // What a bid is worth is what its owner has for it: at a lower price it buys more.
        let lots = match side {
            Side::Buy => (market.lots_worth(krw) as f64 / share.sqrt()) as u64,
            Side::Sell => market.lots_worth(krw),
        };
        self.order(local, &market, side, price, lots)
    }

    /// The last great bid of a market, if it has a floor.
    fn floor(&mut self, local: u64) -> Option<Command> {
        let market = self.home(local);
        if market.floor <= 1 {
            return None;
        }
        let shape = self.world.specification.shape;
        let share = market.floor as f64 / market.opening as f64;
        let lots = (market.lots_worth(shape.floor_krw) as f64 / share) as u64;
        Some(self.order(local, &market, Side::Buy, market.floor, lots.max(1)))
    }

    fn order(&mut self, local: u64, market: &Market, side: Side, price: u64, lots: u64) -> Command {
        self.named += 1;
        let client_order_id = ClientOrderId(self.named);
        self.names[local as usize][side as usize] = client_order_id;
        Command::PlaceLimit {
            account: self.account(local),
            market: market.spec.market,
            side,
            limit_type: LimitType::GoodTillCancel,
            price: Price(price.max(1)),
            quantity: Quantity(lots),
            client_order_id,
        }
    }

    fn take(&mut self) -> Command {
        let local = self.draw(TAKERS);
        let side = self.side();
        let market = self.home(local);
        let shape = self.world.specification.shape;
        let krw = shape.quote_krw.1 * self.random.between(TAKER_SHARE.0, TAKER_SHARE.1) / 100;
        let reference = self.board.reference(market.spec.market);
        let reach = (reference * TAKER_REACH / 10_000).max(1).cast_signed();
        let (price, lots) = (away(reference, side, -reach), market.lots_worth(krw));
        if self.board.mood() == Mood::Auction {
            return self.replace(local, side, |crowd, local, side| crowd.order(local, &market, side, price, lots));
        }
        let (account, number) = (self.account(local), market.spec.market);
        let left = std::mem::take(&mut self.names[local as usize][side.opposite() as usize]);
        if left != ClientOrderId(0) {
            // Of an auction: it would stand in this order's way.
            return Command::CancelByClientOrderId { account, client_order_id: left };
        }
        self.named += 1;
        let client_order_id = ClientOrderId(self.named);
        match (self.random.below(4), side) {
            (0, Side::Buy) => {
                let budget = Amount(price * lots * market.spec.tick_value.0);
                Command::PlaceMarketBuy { account, market: number, budget, client_order_id }
            }
            (0, Side::Sell) => {
                Command::PlaceMarketSell { account, market: number, quantity: Quantity(lots), client_order_id }
            }
            _ => Command::PlaceLimit {
                account,
                market: number,
                side,
                limit_type: LimitType::ImmediateOrCancel,
                price: Price(price),
                quantity: Quantity(lots),
                client_order_id,
            },
        }
    }

    fn transfer(&mut self) -> Command {
        let (from, to) = (self.draw((SAVER, 1)), self.draw((0, SAVER)));
        Command::Transfer { from: self.account(from), to: self.account(to), asset: KRW, amount: self.pocket_money() }
    }

    fn deposit(&mut self) -> Command {
        let local = self.draw((SAVER, 1));
        self.external += 1;
        let external_id = ExternalId::from_u128(u128::from(self.gateway + 1) << 64 | u128::from(self.external));
        Command::Deposit { account: self.account(local), asset: KRW, amount: self.pocket_money(), external_id }
    }

    fn withdraw(&mut self) -> Command {
        let local = self.draw((SAVER, 1));
        Command::RequestWithdrawal { account: self.account(local), asset: KRW, amount: self.pocket_money() }
    }

    fn pocket_money(&mut self) -> Amount {
        Amount(self.random.between(1_000, SAVER_KRW_MAX) * WON)
    }

    fn side(&mut self) -> Side {
        if self.random.below(2) == 0 { Side::Buy } else { Side::Sell }
    }
}

impl Source for Crowd {
    /// Of the commands about 43 % are new orders, as many cancels, 13 % cross, and 1 % move money.
    fn next_command(&mut self) -> Command {
        if let Some(command) = self.queued.take() {
            return command;
        }
        if self.gateway == 0 {
            self.until_step -= 1;
            if self.until_step == 0 {
                self.until_step = COMMANDS_PER_STEP;
                self.board.wander(&mut self.random);
            }
        }
        match self.random.below(1_000) {
            0..660 => self.replace_quote(),
            660..750 => self.replace_deep(),
            750..980 => self.take(),
            980..988 => self.transfer(),
            988..997 => self.deposit(),
            _ => self.withdraw(),
        }
    }
}

/// The price so many ticks from another, away from the other side.
fn away(price: u64, side: Side, distance: i64) -> u64 {
    price
        .saturating_add_signed(match side {
            Side::Buy => -distance,
            Side::Sell => distance,
        })
        .max(1)
}

/// Whether an account does nothing by itself. Of the holders those of every eighth group stand at the bottom of a book.
#[must_use]
pub fn is_holder(world: &World, account: AccountId) -> bool {
    let number = account.0 - 1;
    let local = number / ACCOUNTS_PER_GROUP / world.specification.gateways;
    number % ACCOUNTS_PER_GROUP == HOLDER && !local.is_multiple_of(BOTTOM_GROUPS)
}

/// The accounts that do nothing by themselves, ids ascending.
pub fn holders(world: &World) -> impl Iterator<Item = AccountId> {
    (1..=world.specification.accounts).map(AccountId).filter(|&account| is_holder(world, account))
}

#[cfg(test)]
mod tests {
    use engine::{
        event::{Event, SequencedEvent},
        exchange::Exchange,
        types::{Sequence, Timestamp},
    };

    use super::{
        super::{
            scenario::Scenario,
            world::{World, WorldSpecification},
        },
        *,
    };

    #[test]
    fn hardly_anything_is_refused_and_books_keep_their_size() {
        let specification = WorldSpecification { accounts: 3_000, markets: 10, ..Scenario::coinzest(4).world };
        let world = Arc::new(World::new(specification));
        let board = Arc::new(Board::new(&world));
        let (orders, mut crowds) = Crowd::start(&world, &board);
        let mut exchange = Exchange::new();
        let mut sequence = Sequence(0);
        let mut refused = 0;
        let mut apply = |exchange: &mut Exchange, command: &Command| {
            let mut events: Vec<Event> = Vec::new();
            sequence = sequence.next();
            exchange.apply(sequence, Timestamp(0), command, &mut events);
            for (index, &event) in (0..).zip(&events) {
                board.notice(&SequencedEvent { sequence, time: Timestamp(0), index, event });
            }
            refused += u64::from(events.iter().any(|event| matches!(event, Event::Refused { .. })));
        };
        let open = |exchange: &Exchange| -> usize {
            world
                .markets
                .iter()
                .flat_map(|market| [Side::Buy, Side::Sell].map(|side| (market.spec.market, side)))
                .map(|(market, side)| exchange.queue(market, side).count())
                .sum()
        };
        world.setup().iter().chain(&orders).for_each(|command| apply(&mut exchange, command));
        let begin = open(&exchange);
        let gateways = crowds.len();
        for number in 0..100_000 {
            let command = crowds[number % gateways].next_command();
            apply(&mut exchange, &command);
        }
        let end = open(&exchange);
        assert!(end <= begin && end > begin * 9 / 10, "{begin} open orders became {end}");
        assert!(refused < 5_000, "{refused} refused");
        exchange.check_invariants().expect("the invariants hold");
    }
}
