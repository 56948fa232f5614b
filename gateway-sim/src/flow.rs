//! The built-in order flow: market makers who quote around a drifting fair price, takers who cross the spread, and
//! noise. It depends on the seed alone and needs no answer from the exchange: orders are cancelled by the
//! names that the flow gave them.
//!
//! Accounts are dealt to the gateways in turn, so that all that concerns an order goes through one gateway and
//! arrives in order. Of every ten accounts of a gateway, by their number within it:
//!
//! | accounts | role | what they do |
//! |---|---|---|
//! | 0 to 5 | maker | keep four quotes each, two per side, and replace them: a cancel, then a new order |
//! | 6, 7 | taker | immediate-or-cancel and market orders; they own no resting order, so they never meet themselves |
//! | 8 | idler | keep four orders far from the market and replace them |
//! | 9 | saver | deposit, transfer, ask for withdrawals, and reduce one large order that stands far away |
//!
//! After [`FlowSpecification::start`] the number of open orders no longer grows: whoever places one has cancelled
//! one before. Of the commands about 42 % are new orders, 42 % cancels, 12 % cross, and 4 % are the rest.

use engine::{
    command::Command,
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId,
        Price, Quantity, Side, Symbol,
    },
};

use crate::random::Random;

/// The fewest accounts a gateway can play all roles with.
pub const ACCOUNTS_PER_GATEWAY_MIN: u32 = 10;

/// The most markets of a flow.
pub const MARKETS_MAX: u16 = 1_000;

const QUOTE: AssetId = AssetId(0);
const SYMBOLS: [&str; 10] = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LTC", "DOT", "LINK", "AVAX"];
/// 0.0001 of a base asset with eight places.
const LOT_SIZE: Amount = Amount(10_000);
/// A tick of 0.01 times a lot of 0.0001, in a quote asset with six places.
const TICK_VALUE: Amount = Amount(1);
const MAKER_RATE: FeeRate = FeeRate(20);
const TAKER_RATE: FeeRate = FeeRate(50);
/// Minor units that each account starts with, per asset it trades, unless there are too many accounts for it.
const DEPOSIT: u64 = 200_000_000_000_000;
const DEPOSITS_PER_ACCOUNT: u64 = 3;

const ACCOUNTS_PER_GROUP: u64 = 10;
const MAKERS_PER_GROUP: u64 = 6;
const TAKERS_PER_GROUP: u64 = 2;
const FIRST_TAKER: u64 = MAKERS_PER_GROUP;
const IDLER: u64 = FIRST_TAKER + TAKERS_PER_GROUP;
const SAVER: u64 = IDLER + 1;
const SLOTS: u64 = 4;

/// After how many commands, all gateways together, fair prices move.
const COMMANDS_PER_STEP: u64 = 2_048;
/// How far a fair price may wander from where it began, in ticks.
const DRIFT_MAX: i64 = 5_000;
const QUOTE_DISTANCE_MAX: u64 = 50;
const IDLE_DISTANCE: (u64, u64) = (6_000, 12_000);
const SAVER_DISTANCE: u64 = 20_000;
const SAVER_QUANTITY: u64 = 1_000_000;
const MAKER_QUANTITY: (u64, u64) = (20, 200);
const TAKER_QUANTITY: (u64, u64) = (1, 10);
/// A taker's limit is this far beyond the fair price: it reaches most quotes.
const TAKER_REACH: u64 = QUOTE_DISTANCE_MAX;

/// What determines a flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowSpecification {
    /// Determines every command.
    pub seed: u64,
    /// How many accounts, at least [`ACCOUNTS_PER_GATEWAY_MIN`] for each gateway.
    pub accounts: u32,
    /// How many markets, from 1 to [`MARKETS_MAX`]; all are quoted in one asset.
    pub markets: u16,
    /// How many gateways send, at least 1.
    pub gateways: u32,
}

impl FlowSpecification {
    /// The commands that set up an empty exchange, to be sent in this order and awaited, and each gateway's flow
    /// from there on.
    ///
    /// The setup must be the exchange's first commands: savers name their orders by the sequence that follows.
    ///
    /// ```
    /// use gateway_sim::flow::FlowSpecification;
    /// let (setup, mut flows) = FlowSpecification { seed: 1, accounts: 100, markets: 2, gateways: 2 }.start();
    /// assert_eq!(flows.len(), 2);
    /// let first = flows[0].next_command();
    /// # let _ = (setup, first);
    /// ```
    ///
    /// # Panics
    /// When the specification is out of its ranges.
    #[must_use]
    pub fn start(&self) -> (Vec<Command>, Vec<Flow>) {
        assert!(self.gateways >= 1, "a flow needs a gateway");
        assert!((1..=MARKETS_MAX).contains(&self.markets), "a flow has 1 to {MARKETS_MAX} markets");
        assert!(self.accounts / ACCOUNTS_PER_GATEWAY_MIN >= self.gateways, "a gateway needs ten accounts");
        let mut setup = self.assets_and_accounts();
        let mut flows: Vec<Flow> = (0..self.gateways).map(|gateway| Flow::new(*self, gateway)).collect();
        for flow in &mut flows {
            flow.first_saver_order = OrderId(setup.len() as u64 + 1);
            flow.place_savers(&mut setup);
        }
        for flow in &mut flows {
            flow.place_quotes(&mut setup);
        }
        (setup, flows)
    }

    fn assets_and_accounts(&self) -> Vec<Command> {
        let accounts = u64::from(self.accounts);
        let mut setup = Vec::with_capacity((accounts * (1 + DEPOSITS_PER_ACCOUNT)) as usize);
        let symbol = |text: &str| text.parse::<Symbol>().expect("the flow's symbols are valid");
        setup.push(Command::AddAsset { asset: QUOTE, symbol: symbol("USD"), scale: 6 });
        for market in 0..self.markets {
            let name = SYMBOLS.get(usize::from(market)).map_or_else(|| format!("C{market}"), ToString::to_string);
            setup.push(Command::AddAsset { asset: base_of(market), symbol: symbol(&name), scale: 8 });
        }
        for market in 0..self.markets {
            setup.push(Command::AddMarket {
                market: MarketId(market),
                base: base_of(market),
                quote: QUOTE,
                lot_size: LOT_SIZE,
                tick_value: TICK_VALUE,
                maker_rate: MAKER_RATE,
                taker_rate: TAKER_RATE,
            });
        }
        // A quarter of what an asset's supply may be is left for the deposits that come later.
        let amount = Amount(DEPOSIT.min(AMOUNT_MAX / 4 * 3 / (accounts * DEPOSITS_PER_ACCOUNT)));
        let mut external = 0;
        for account in 1..=self.accounts {
            let number = u64::from(account - 1);
            let account = AccountId(account);
            setup.push(Command::CreateAccount { account });
            let [first, second] = self.markets_of(number / u64::from(self.gateways));
            for asset in [QUOTE, base_of(first), base_of(second)] {
                external += 1;
                let external_id = ExternalId::from_u128(external);
                setup.push(Command::Deposit { account, asset, amount, external_id });
            }
        }
        setup
    }

    /// The two markets on which a gateway's account trades, by its number within the gateway; they may be the same.
    #[inline]
    fn markets_of(&self, local: u64) -> [u16; 2] {
        let (group, markets) = (local / ACCOUNTS_PER_GROUP, u64::from(self.markets));
        [(group % markets) as u16, (group / markets % markets) as u16]
    }
}

const fn base_of(market: u16) -> AssetId {
    AssetId(market + 1)
}

/// One gateway's endless flow.
#[derive(Clone, Debug)]
pub struct Flow {
    specification: FlowSpecification,
    gateway: u32,
    random: Random,
    /// How many whole groups of ten accounts the gateway has.
    groups: u64,
    /// The second half of a replacement.
    queued: Option<Command>,
    /// The name of the open order in each slot of each account.
    slots: Vec<ClientOrderId>,
    named: u64,
    external: u64,
    first_saver_order: OrderId,
    /// The open quantity of each saver's order.
    saved: Vec<u64>,
    fair: FairPrices,
    /// How many commands of this flow are left until fair prices move.
    until_step: u64,
}

impl Flow {
    fn new(specification: FlowSpecification, gateway: u32) -> Self {
        let own = u64::from((specification.accounts - gateway).div_ceil(specification.gateways));
        let groups = own / ACCOUNTS_PER_GROUP;
        let slots = (groups * ACCOUNTS_PER_GROUP * SLOTS) as usize;
        let mut flow = Self {
            specification,
            gateway,
            random: Random::stream(specification.seed, u64::from(gateway)),
            groups,
            queued: None,
            slots: vec![ClientOrderId(0); slots],
            named: 0,
            external: 0,
            first_saver_order: OrderId(0),
            saved: vec![SAVER_QUANTITY; groups as usize],
            fair: FairPrices::new(specification.seed, specification.markets),
            until_step: 0,
        };
        flow.until_step = flow.commands_per_step();
        flow
    }

    /// The next command.
    #[inline]
    pub fn next_command(&mut self) -> Command {
        self.until_step -= 1;
        if self.until_step == 0 {
            self.fair.step();
            self.until_step = self.commands_per_step();
        }
        if let Some(command) = self.queued.take() {
            return command;
        }
        // Of 1,000 draws 724 give two commands, so 42 % of the commands are cancels and as many are new orders.
        match self.random.below(1_000) {
            0..634 => self.replace_quote(),
            634..724 => self.replace_idle(),
            724..931 => self.take(),
            931..961 => self.reduce(),
            961..981 => self.transfer(),
            981..991 => self.deposit(),
            _ => self.withdraw(),
        }
    }

    /// All flows move their prices at about the same time, as they send at about the same rate.
    fn commands_per_step(&self) -> u64 {
        (COMMANDS_PER_STEP / u64::from(self.specification.gateways)).max(1)
    }

    fn place_savers(&mut self, setup: &mut Vec<Command>) {
        for group in 0..self.groups {
            let local = group * ACCOUNTS_PER_GROUP + SAVER;
            let [market, _] = self.specification.markets_of(local);
            let price = self.fair.of(market) + SAVER_DISTANCE;
            let order = self.order(local, market, Side::Sell, price, SAVER_QUANTITY);
            setup.push(order);
        }
    }

    fn place_quotes(&mut self, setup: &mut Vec<Command>) {
        for local in 0..self.groups * ACCOUNTS_PER_GROUP {
            for slot in 0..SLOTS {
                match local % ACCOUNTS_PER_GROUP {
                    role if role < MAKERS_PER_GROUP => setup.push(self.quote(local, slot)),
                    IDLER => setup.push(self.idle(local, slot)),
                    _ => {}
                }
            }
        }
    }

    #[inline]
    fn replace_quote(&mut self) -> Command {
        let local = self.draw_account(0, MAKERS_PER_GROUP);
        let slot = self.random.below(SLOTS);
        let cancel = self.cancel(local, slot);
        self.queued = Some(self.quote(local, slot));
        cancel
    }

    #[inline]
    fn replace_idle(&mut self) -> Command {
        let local = self.draw_account(IDLER, 1);
        let slot = self.random.below(SLOTS);
        let cancel = self.cancel(local, slot);
        self.queued = Some(self.idle(local, slot));
        cancel
    }

    #[inline]
    fn take(&mut self) -> Command {
        let local = self.draw_account(FIRST_TAKER, TAKERS_PER_GROUP);
        let account = self.account(local);
        let bits = self.random.next_u64();
        let number = self.specification.markets_of(local)[(bits & 1) as usize];
        let market = MarketId(number);
        let side = side_of(bits >> 1 & 1);
        let quantity = self.random.between(TAKER_QUANTITY.0, TAKER_QUANTITY.1);
        let fair = self.fair.of(number);
        let client_order_id = self.name();
        match (bits >> 2 & 3, side) {
            (0, Side::Buy) => {
                let budget = Amount((fair + TAKER_REACH) * quantity * TICK_VALUE.0);
                Command::PlaceMarketBuy { account, market, budget, client_order_id }
            }
            (0, Side::Sell) => {
                Command::PlaceMarketSell { account, market, quantity: Quantity(quantity), client_order_id }
            }
            _ => Command::PlaceLimit {
                account,
                market,
                side,
                limit_type: LimitType::ImmediateOrCancel,
                price: Price(match side {
                    Side::Buy => fair + TAKER_REACH,
                    Side::Sell => fair - TAKER_REACH,
                }),
                quantity: Quantity(quantity),
                client_order_id,
            },
        }
    }

    #[inline]
    fn reduce(&mut self) -> Command {
        let group = self.random.below(self.groups);
        let saved = &mut self.saved[group as usize];
        *saved = (*saved - 1).max(1);
        Command::ReduceOrder {
            quantity: Quantity(*saved),
            account: self.account(group * ACCOUNTS_PER_GROUP + SAVER),
            order: OrderId(self.first_saver_order.0 + group),
        }
    }

    fn transfer(&mut self) -> Command {
        let local = self.draw_account(SAVER, 1);
        // Anyone but a saver, so never the payer.
        let payee = self.draw_account(0, SAVER);
        let amount = Amount(self.random.between(1, 1_000_000));
        Command::Transfer { from: self.account(local), to: self.account(payee), asset: QUOTE, amount }
    }

    fn deposit(&mut self) -> Command {
        let local = self.draw_account(SAVER, 1);
        self.external += 1;
        Command::Deposit {
            account: self.account(local),
            asset: QUOTE,
            amount: Amount(self.random.between(1, 1_000_000)),
            // The setup's ids have nothing in the upper half.
            external_id: ExternalId::from_u128(u128::from(self.gateway + 1) << 64 | u128::from(self.external)),
        }
    }

    fn withdraw(&mut self) -> Command {
        let local = self.draw_account(SAVER, 1);
        let amount = Amount(self.random.between(1, 1_000_000));
        Command::RequestWithdrawal { account: self.account(local), asset: QUOTE, amount }
    }

    /// An account with one of `count` roles from `first` on, by its number within the gateway.
    #[inline]
    fn draw_account(&mut self, first: u64, count: u64) -> u64 {
        let drawn = self.random.below(self.groups * count);
        drawn / count * ACCOUNTS_PER_GROUP + first + drawn % count
    }

    #[inline]
    const fn account(&self, local: u64) -> AccountId {
        AccountId(1 + self.gateway + local as u32 * self.specification.gateways)
    }

    #[inline]
    const fn name(&mut self) -> ClientOrderId {
        self.named += 1;
        ClientOrderId(self.named)
    }

    #[inline]
    fn cancel(&self, local: u64, slot: u64) -> Command {
        let client_order_id = self.slots[(local * SLOTS + slot) as usize];
        Command::CancelByClientOrderId { account: self.account(local), client_order_id }
    }

    /// A maker's quote: near the fair price, and nearer ones are likelier.
    #[inline]
    fn quote(&mut self, local: u64, slot: u64) -> Command {
        let first = self.random.between(1, QUOTE_DISTANCE_MAX);
        let distance = first.min(self.random.between(1, QUOTE_DISTANCE_MAX));
        self.slot_order(local, slot, distance)
    }

    #[inline]
    fn idle(&mut self, local: u64, slot: u64) -> Command {
        let distance = self.random.between(IDLE_DISTANCE.0, IDLE_DISTANCE.1);
        self.slot_order(local, slot, distance)
    }

    /// Slots 0 and 2 buy, 1 and 3 sell; 0 and 1 on the account's first market, 2 and 3 on its second.
    #[inline]
    fn slot_order(&mut self, local: u64, slot: u64, distance: u64) -> Command {
        let market = self.specification.markets_of(local)[(slot >> 1) as usize];
        let side = side_of(slot & 1);
        let fair = self.fair.of(market);
        let price = match side {
            Side::Buy => fair - distance,
            Side::Sell => fair + distance,
        };
        let quantity = self.random.between(MAKER_QUANTITY.0, MAKER_QUANTITY.1);
        let order = self.order(local, market, side, price, quantity);
        self.slots[(local * SLOTS + slot) as usize] = ClientOrderId(self.named);
        order
    }

    #[inline]
    fn order(&mut self, local: u64, market: u16, side: Side, price: u64, quantity: u64) -> Command {
        Command::PlaceLimit {
            account: self.account(local),
            market: MarketId(market),
            side,
            limit_type: LimitType::GoodTillCancel,
            price: Price(price),
            quantity: Quantity(quantity),
            client_order_id: self.name(),
        }
    }
}

impl Iterator for Flow {
    type Item = Command;

    #[inline]
    fn next(&mut self) -> Option<Command> {
        Some(self.next_command())
    }
}

const fn side_of(bit: u64) -> Side {
    if bit == 0 { Side::Buy } else { Side::Sell }
}

/// Each market's fair price: a bounded random walk, the same for all gateways.
#[derive(Clone, Debug)]
struct FairPrices {
    random: Random,
    drift: Vec<i64>,
}

impl FairPrices {
    fn new(seed: u64, markets: u16) -> Self {
        Self { random: Random::stream(seed, u64::MAX), drift: vec![0; usize::from(markets)] }
    }

    #[inline]
    fn of(&self, market: u16) -> u64 {
        let opening = 100_000 * (1 + u64::from(market % 60));
        opening.saturating_add_signed(self.drift[usize::from(market)])
    }

    fn step(&mut self) {
        for drift in &mut self.drift {
            let change = self.random.below(5) as i64 - 2;
            *drift = (*drift + change).clamp(-DRIFT_MAX, DRIFT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::{
        event::Event,
        exchange::Exchange,
        types::{Sequence, Timestamp},
    };

    use super::*;

    struct Tally {
        exchange: Exchange,
        events: Vec<Event>,
        last: Sequence,
    }

    impl Tally {
        fn apply(&mut self, command: &Command) {
            self.last = self.last.next();
            self.exchange.apply(self.last, Timestamp(0), command, &mut self.events);
        }

        fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
            self.events.iter().filter(|event| matches(event)).count()
        }

        fn open_orders(&self, markets: u16) -> usize {
            let sides = [Side::Buy, Side::Sell];
            let queues = (0..markets).flat_map(|market| sides.map(|side| (MarketId(market), side)));
            queues.map(|(market, side)| self.exchange.matcher().queue(market, side).count()).sum()
        }
    }

    fn run(specification: FlowSpecification, commands: usize) -> (Tally, Vec<Command>) {
        let (setup, mut flows) = specification.start();
        let mut tally = Tally { exchange: Exchange::new(), events: Vec::new(), last: Sequence(0) };
        setup.iter().for_each(|command| tally.apply(command));
        assert_eq!(tally.count(|event| matches!(event, Event::Refused { .. })), 0, "the setup is accepted");
        tally.events.clear();
        let flow: Vec<Command> =
            (0..commands).map(|number| flows[number % specification.gateways as usize].next_command()).collect();
        flow.iter().for_each(|command| tally.apply(command));
        (tally, flow)
    }

    #[test]
    fn the_mix_is_the_documented_one_and_hardly_anything_is_refused() {
        let specification = FlowSpecification { seed: 5, accounts: 2_000, markets: 10, gateways: 3 };
        let (tally, flow) = run(specification, 200_000);
        let share = |matches: fn(&Command) -> bool| {
            flow.iter().filter(|command| matches(command)).count() as f64 / flow.len() as f64
        };
        let cancels = share(|command| matches!(command, Command::CancelByClientOrderId { .. }));
        let resting =
            share(|command| matches!(command, Command::PlaceLimit { limit_type: LimitType::GoodTillCancel, .. }));
        let crossing = share(|command| {
            matches!(
                command,
                Command::PlaceLimit { limit_type: LimitType::ImmediateOrCancel, .. }
                    | Command::PlaceMarketBuy { .. }
                    | Command::PlaceMarketSell { .. }
            )
        });
        assert!((0.40..0.44).contains(&cancels), "cancels {cancels}");
        assert!((0.40..0.44).contains(&resting), "new orders {resting}");
        assert!((0.10..0.14).contains(&crossing), "crossing {crossing}");
        let refused = tally.count(|event| matches!(event, Event::Refused { .. })) as f64 / flow.len() as f64;
        assert!(refused < 0.05, "refused {refused}");
        let fills = tally.count(|event| matches!(event, Event::Filled { .. })) as f64 / flow.len() as f64;
        assert!((0.08..0.30).contains(&fills), "fills {fills}");
        let reduced = tally.count(|event| matches!(event, Event::OrderReduced { .. }));
        let asked = flow.iter().filter(|command| matches!(command, Command::ReduceOrder { .. })).count();
        assert_eq!(reduced, asked, "every reduction finds its order");
        tally.exchange.check_invariants().expect("the invariants hold");
    }

    #[test]
    fn open_orders_do_not_grow() {
        let specification = FlowSpecification { seed: 6, accounts: 500, markets: 4, gateways: 2 };
        let begin = run(specification, 0).0.open_orders(4);
        let end = run(specification, 100_000).0.open_orders(4);
        assert!(end <= begin + 2, "{begin} open orders became {end}");
        assert!(end > begin * 9 / 10, "{begin} open orders became {end}");
    }

    #[test]
    fn the_seed_determines_the_flow() {
        let specification = FlowSpecification { seed: 7, accounts: 100, markets: 3, gateways: 2 };
        let state = |specification| run(specification, 5_000).0.exchange.state_hash();
        assert_eq!(state(specification), state(specification));
        assert_ne!(state(specification), state(FlowSpecification { seed: 8, ..specification }));
    }

    #[test]
    fn the_smallest_flow_runs() {
        let (tally, _) = run(FlowSpecification { seed: 1, accounts: 10, markets: 1, gateways: 1 }, 2_000);
        assert!(tally.count(|event| matches!(event, Event::Filled { .. })) > 0);
    }
}
