//! Random incidents: a few dozen accounts trade, transfer and withdraw; operators pay airdrops, some of them wrong; those who got
//! too much sell, pass on and withdraw; the exchange is frozen, and facts go on coming in.
//!
//! Everything is a function of the seed. Balances are small against orders, so that what is missing without a wrong credit makes
//! orders refused, fills void and withdrawals unfunded. A generator looks at the reference model to name what exists.

use std::collections::BTreeMap;

use engine::{
    command::{Command, SequencedCommand},
    event::Event,
    types::{
        AccountId, AirdropId, Amount, AssetId, Cause, ClientOrderId, Controls, Digest, ExternalId, FeeRate, Gate,
        LimitType, MarketId, OperatorId, OrderId, Price, Quantity, Sequence, Side, Timestamp, TradingStatus,
        WithdrawalId,
    },
};

use crate::model::{ModelExchange, WithdrawalState, payouts::manifest_hash, streams::Random};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// The price about which markets begin, in ticks.
const PRICE: u64 = 100;
const SYMBOLS: [&str; 6] = ["KRW", "BTC", "ETH", "XRP", "NEW", "ODD"];
const RATES: [(i16, i16); 8] =
    [(0, 0), (100, 200), (500, 1_000), (-300, 700), (-1_000, 1_000), (2_500, 2_500), (37, 111), (0, 10_000)];

/// An airdrop that was paid, with the sequences of its commands.
#[derive(Clone, Debug)]
pub struct AirdropMark {
    pub airdrop: AirdropId,
    pub opening: (Sequence, Command),
    pub lines: Vec<(Sequence, Command)>,
    pub approvals: Vec<Sequence>,
    pub execution: Sequence,
    /// Whether it paid far too much.
    pub wrong: bool,
}

/// What may turn out to be a mistake: the sequences of commands that were accepted.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    pub airdrops: Vec<AirdropMark>,
    pub transfers: Vec<Sequence>,
    pub orders: Vec<Sequence>,
    pub deposits: Vec<Sequence>,
    pub requests: Vec<Sequence>,
    /// Cancels of every kind, reductions and replacings.
    pub changes: Vec<Sequence>,
    pub statuses: Vec<Sequence>,
    pub releases: Vec<Sequence>,
    /// The first command behind the setting up.
    pub first: Sequence,
}

/// What happened, up to the halt and behind it.
#[derive(Clone, Debug)]
pub struct Incident {
    pub seed: u64,
    /// The sequence before the first command.
    pub start: Sequence,
    /// Without gaps.
    pub commands: Vec<SequencedCommand>,
    /// The sequence of the freeze.
    pub halt: Sequence,
    pub marks: Marks,
}

impl Incident {
    /// A first incident, on a new exchange.
    pub fn new(seed: u64) -> Self {
        let mut generator = Generator::new(seed, ModelExchange::new(), Sequence(0), Timestamp(0));
        generator.set_up();
        generator.run()
    }

    /// A further incident, on an exchange that is frozen after the repair of another.
    pub fn after(seed: u64, model: &ModelExchange, last: Sequence, time: Timestamp) -> Self {
        let mut generator = Generator::new(seed, model.clone(), last, time);
        generator.reopen();
        generator.run()
    }

    pub fn command(&self, sequence: Sequence) -> &SequencedCommand {
        let position = usize::try_from(sequence.0 - self.start.0 - 1).expect("a position fits");
        &self.commands[position]
    }
}

/// What is particular about a history.
#[derive(Clone, Copy, Debug)]
struct Flavour {
    auctions: bool,
    locks: bool,
    limits: bool,
    velocity: bool,
    /// How large orders are against balances, in percent.
    boldness: u64,
}

struct Generator {
    seed: u64,
    random: Random,
    model: ModelExchange,
    start: Sequence,
    sequence: u64,
    time: u64,
    commands: Vec<SequencedCommand>,
    marks: Marks,
    flavour: Flavour,
    /// Who got too much, or something from those who did: they act more often than others.
    lucky: Vec<AccountId>,
    prices: BTreeMap<MarketId, u64>,
    /// Orders that a fill closed.
    filled: Vec<(AccountId, OrderId)>,
    arrivals: u128,
    airdrops: u32,
}

impl Generator {
    fn new(seed: u64, model: ModelExchange, start: Sequence, time: Timestamp) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x1234_5678_9ABC_DEF1));
        let flavour = Flavour {
            auctions: random.one_in(3),
            locks: random.one_in(2),
            limits: random.one_in(3),
            velocity: random.one_in(4),
            boldness: random.pick(&[60, 100, 140]),
        };
        let arrivals = u128::from(start.0) << 32;
        let airdrops = model.airdrops.keys().next_back().map_or(0, |last| last.0);
        // Late in a day, often, so that the next one begins.
        let time = if time.0 > 0 { time.0 } else { 20_000 * DAY + random.pick(&[HOUR, 24 * HOUR - 200 * SECOND]) };
        Self {
            seed,
            random,
            model,
            start,
            sequence: start.0,
            time,
            commands: Vec::new(),
            marks: Marks::default(),
            flavour,
            lucky: Vec::new(),
            prices: BTreeMap::new(),
            filled: Vec::new(),
            arrivals,
            airdrops,
        }
    }

    fn run(mut self) -> Incident {
        self.marks.first = Sequence(self.sequence + 1);
        let before = self.random.between(30, 120);
        self.trade(before);
        for _ in 0..self.random.between(1, 2) {
            if self.random.one_in(2) {
                self.big_orders();
            }
            self.mistake();
            let between = self.random.between(20, 140);
            self.trade(between);
        }
        let status = TradingStatus::Frozen;
        self.put(Command::SetGlobalStatus { status });
        let halt = Sequence(self.sequence);
        for _ in 0..self.random.below(14) {
            self.behind_the_halt();
        }
        let Self { seed, start, commands, marks, .. } = self;
        Incident { seed, start, commands, halt, marks }
    }

    /// Sequences a command; whether it was accepted.
    fn put(&mut self, command: Command) -> bool {
        self.sequence += 1;
        self.time += match self.random.below(40) {
            0..=19 => self.random.below(1_000_000),
            20..=34 => self.random.below(2 * SECOND),
            35..=38 => 5 * SECOND,
            _ => self.random.pick(&[60 * SECOND, HOUR]),
        };
        let (sequence, time) = (Sequence(self.sequence), Timestamp(self.time));
        self.commands.push(SequencedCommand { sequence, time, cause: Cause::session(1), command });
        let events = self.model.apply(sequence, time, &command);
        for event in &events {
            self.look(sequence, event);
        }
        let accepted = !matches!(events.last(), Some(Event::Refused { .. }));
        if accepted {
            self.mark(sequence, &command);
        }
        accepted
    }

    fn look(&mut self, sequence: Sequence, event: &Event) {
        if let Event::Filled { taker, maker, taker_account, maker_account, market, price, maker_remaining, .. } = *event
        {
            if maker_remaining.is_zero() {
                self.filled.push((maker_account, maker));
            }
            if taker.0 == sequence.0 && !self.model.open_orders().any(|(_, order)| order.id == taker) {
                self.filled.push((taker_account, taker));
            }
            self.prices.insert(market, price.0);
            let from_lucky = self.lucky.contains(&taker_account) || self.lucky.contains(&maker_account);
            if from_lucky && self.random.one_in(6) {
                self.lucky.extend([taker_account, maker_account]);
            }
        }
    }

    fn mark(&mut self, sequence: Sequence, command: &Command) {
        let marks = &mut self.marks;
        match command {
            Command::Transfer { .. } => marks.transfers.push(sequence),
            Command::PlaceLimit { .. } | Command::PlaceMarketBuy { .. } | Command::PlaceMarketSell { .. } => {
                marks.orders.push(sequence);
            }
            Command::Deposit { .. } => marks.deposits.push(sequence),
            Command::RequestWithdrawal { .. } | Command::RequestWithdrawalOfAll { .. } => marks.requests.push(sequence),
            Command::CancelOrder { .. }
            | Command::CancelByClientOrderId { .. }
            | Command::ReduceOrder { .. }
            | Command::ReplaceOrder { .. }
            | Command::CancelAllOfAccount { .. }
            | Command::CancelAllOfMarket { .. } => marks.changes.push(sequence),
            Command::SetMarketStatus { .. } => marks.statuses.push(sequence),
            Command::ReleaseWithdrawal { .. } => marks.releases.push(sequence),
            _ => {}
        }
    }

    // Beginning.

    fn set_up(&mut self) {
        if self.random.one_in(12) {
            // All controls stay on, and nothing of the second version may ever be used before the freeze.
            let status = TradingStatus::Open;
            self.put(Command::SetGlobalStatus { status });
        } else {
            let controls = self.random.pick(&[
                Controls::NONE,
                Controls::NONE,
                Controls::NONE,
                Controls::COVER,
                Controls::APPROVAL,
                Controls(Controls::COVER.0 | Controls::APPROVAL.0),
                Controls::ALL,
            ]);
            self.put(Command::SetControls { controls });
        }
        for number in 1..=2 {
            self.register(number, 0, 0);
        }
        let assets = self.random.between(2, 4);
        for _ in 0..assets {
            self.add_asset();
        }
        for base in 1..assets {
            self.add_market(base, 0);
        }
        if assets > 2 && self.random.one_in(2) {
            self.add_market(2, 1);
        }
        for _ in 0..self.random.between(8, 40) {
            self.add_account();
        }
        let accounts: Vec<_> = self.model.accounts.keys().copied().collect();
        let assets: Vec<_> = self.model.assets.keys().copied().collect();
        for account in accounts {
            for &asset in &assets {
                if !self.random.one_in(3) {
                    let amount = self.usual(asset, 4, 40);
                    self.deposit(account, asset, amount);
                }
            }
        }
        for &asset in &assets {
            if self.random.one_in(2) {
                let amount = self.usual(asset, 20, 300);
                self.fund(asset, amount);
            }
            if self.model.controls & Controls::RESERVES.0 != 0 || self.random.one_in(4) {
                let supply = self.model.liabilities(asset);
                let more = self.usual(asset, 1, 900).0;
                self.put(Command::AttestReserves { asset, amount: Amount(to_u64(supply) + more) });
            }
        }
        if self.flavour.velocity {
            let asset = self.random.pick(&assets);
            self.set_velocity(asset);
        }
        if self.flavour.limits {
            let asset = self.random.pick(&assets);
            self.set_limits(asset);
        }
    }

    /// Opens an exchange that is frozen after a repair.
    fn reopen(&mut self) {
        if self.random.one_in(2) {
            self.put(Command::SetGlobalStatus { status: TradingStatus::Auction });
            self.trade(8);
        }
        self.put(Command::SetGlobalStatus { status: TradingStatus::Open });
        let debtors: Vec<_> = self.model.owed.keys().copied().collect();
        for (account, asset) in debtors {
            if self.random.one_in(3) {
                let amount = self.usual(asset, 1, 20);
                self.deposit(account, asset, amount);
            }
            if self.random.one_in(2) {
                self.put(Command::SetOff { account, asset });
            }
        }
    }

    fn register(&mut self, operator: u16, first: u16, second: u16) {
        let [first, second] = [first, second].map(OperatorId);
        let key = Digest([u8::try_from(operator % 256).expect("it fits"); 32]);
        self.put(Command::RegisterOperator { operator: OperatorId(operator), key, first, second });
    }

    fn add_asset(&mut self) {
        let number = self.model.assets.len();
        let symbol = SYMBOLS[number % SYMBOLS.len()].parse().expect("a valid symbol");
        self.put(Command::AddAsset { asset: AssetId(u16::try_from(number).expect("it fits")), symbol, scale: 2 });
    }

    fn add_market(&mut self, base: u64, quote: u64) {
        let id = |number: u64| AssetId(u16::try_from(number).expect("it fits"));
        let market = MarketId(u16::try_from(self.model.markets.len()).expect("it fits"));
        let (maker_rate, taker_rate) = self.rates();
        let lot_size = Amount(self.random.pick(&[1, 1, 10, 7]));
        let tick_value = Amount(self.random.pick(&[1, 1, 3, 10]));
        let (base, quote) = (id(base), id(quote));
        self.put(Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
    }

    fn rates(&mut self) -> (FeeRate, FeeRate) {
        let (maker, taker) = self.random.pick(&RATES);
        if self.random.one_in(8) { (FeeRate(taker), FeeRate(maker)) } else { (FeeRate(maker), FeeRate(taker)) }
    }

    fn add_account(&mut self) {
        let last = self.model.accounts.keys().next_back().map_or(0, |last| last.0);
        let account = AccountId(last + self.random.pick(&[1, 1, 1, 5]));
        self.put(Command::CreateAccount { account });
    }

    fn set_velocity(&mut self, asset: AssetId) {
        let amount_max = self.usual(asset, 5, 80);
        let window_seconds = u32::try_from(self.random.pick(&[20, 100, 1_000, 0])).expect("it fits");
        self.put(Command::SetPayoutVelocity { asset, amount_max, window_seconds });
    }

    fn set_limits(&mut self, asset: AssetId) {
        let mut most = |low, high| if self.random.one_in(2) { Amount(0) } else { self.usual(asset, low, high) };
        let [recipient_max, airdrop_max, day_max] = [most(200, 900), most(400, 2_000), most(400, 2_000)];
        self.put(Command::SetAirdropLimits { asset, recipient_max, airdrop_max, day_max });
    }

    // Picking.

    fn asset(&mut self) -> AssetId {
        let assets: Vec<_> = self.model.assets.keys().copied().collect();
        self.random.pick(&assets)
    }

    fn market(&mut self) -> MarketId {
        let markets: Vec<_> = self.model.markets.keys().copied().collect();
        // Most of the trade is in one market.
        if self.random.one_in(2) { markets[0] } else { self.random.pick(&markets) }
    }

    fn account(&mut self) -> AccountId {
        if !self.lucky.is_empty() && self.random.one_in(2) {
            return self.random.pick(&self.lucky);
        }
        let accounts: Vec<_> = self.model.accounts.keys().copied().collect();
        self.random.pick(&accounts)
    }

    /// An amount worth some lots, at usual prices.
    fn usual(&mut self, asset: AssetId, low: u64, high: u64) -> Amount {
        let lots = self.random.between(low, high);
        let unit = self.model.markets.values().find_map(|market| {
            let base = (market.base == asset).then_some(market.lot_size);
            base.or((market.quote == asset).then_some(market.tick_value * u128::from(PRICE)))
        });
        Amount(lots * to_u64(unit.unwrap_or(1)) + if self.random.one_in(4) { self.random.below(5) } else { 0 })
    }

    /// Some of what the account has available, and sometimes more than that.
    fn share(&mut self, account: AccountId, asset: AssetId) -> u64 {
        let available = to_u64(self.model.balance(account, asset).available);
        let percent = self.random.pick(&[10, 25, 50, 50, 100, 100, 100, 130]);
        (u128::from(available) * percent / 100).try_into().expect("it fits")
    }

    fn open_order(&mut self) -> Option<(MarketId, crate::model::Order)> {
        let of_lucky = self.random.one_in(2);
        let mut orders: Vec<_> = self.model.open_orders().map(|(market, order)| (market, order.clone())).collect();
        if of_lucky && orders.iter().any(|(_, order)| self.lucky.contains(&order.account)) {
            orders.retain(|(_, order)| self.lucky.contains(&order.account));
        }
        let position = usize::try_from(self.random.below(orders.len().max(1) as u64)).expect("it fits");
        orders.into_iter().nth(position)
    }

    fn client_order_id(&mut self) -> ClientOrderId {
        ClientOrderId(if self.random.one_in(2) { self.random.between(1, 4) } else { 0 })
    }

    // What goes on.

    fn trade(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
    }

    fn step(&mut self) {
        if self.model.status != TradingStatus::Open && self.random.one_in(4) {
            self.put(Command::SetGlobalStatus { status: TradingStatus::Open });
            return;
        }
        let closed = self.model.markets.iter().find(|(_, market)| market.status != TradingStatus::Open);
        if let Some((&market, _)) = closed
            && self.random.one_in(6)
        {
            self.put(Command::SetMarketStatus { market, status: TradingStatus::Open });
            return;
        }
        match self.random.below(1_000) {
            0..=399 => self.limit_order(),
            400..=449 => self.market_order(),
            450..=519 => self.cancel(),
            520..=569 => self.late_cancel(),
            570..=609 => self.reduce(),
            610..=679 => self.replace(),
            680..=689 => {
                let account = self.account();
                self.put(Command::CancelAllOfAccount { account });
            }
            690..=694 => {
                let market = self.market();
                self.put(Command::CancelAllOfMarket { market });
            }
            695..=754 => self.transfer(),
            755..=809 => self.request(),
            810..=889 => self.withdrawals_go_on(),
            890..=914 => {
                let (account, asset) = (self.account(), self.asset());
                let amount = self.usual(asset, 1, 12);
                self.deposit(account, asset, amount);
            }
            915..=934 => self.airdrop(false),
            935..=939 => self.mixed_up(),
            _ => self.administer(),
        }
    }

    /// The price of an order: often one that trades.
    fn price(&mut self, market: MarketId, side: Side) -> u64 {
        let last = self.prices.get(&market).copied().unwrap_or(PRICE);
        let away = self.random.below(8);
        let trades = !self.random.one_in(3);
        let price = match (side, trades) {
            (Side::Buy, true) | (Side::Sell, false) => last + away,
            (Side::Buy, false) | (Side::Sell, true) => last.saturating_sub(away),
        };
        price.clamp(5, 400)
    }

    /// How many lots the account affords, roughly; sometimes more than it does.
    fn lots(&mut self, account: AccountId, market: MarketId, side: Side, price: u64) -> u64 {
        let found = self.model.markets[&market].clone();
        let (asset, unit) = match side {
            Side::Sell => (found.base, found.lot_size),
            Side::Buy => (found.quote, (found.notional(price.into(), 1) * 103).div_ceil(100)),
        };
        let share = self.share(account, asset) * self.flavour.boldness / 100;
        let lots = u128::from(share) / unit;
        if lots == 0 || self.random.one_in(12) { self.random.between(1, 12) } else { to_u64(lots.min(500)) }
    }

    /// The side that the account can pay for, mostly.
    fn side(&mut self, account: AccountId, market: MarketId) -> Side {
        let found = &self.model.markets[&market];
        let base = self.model.balance(account, found.base).available / found.lot_size;
        let quote = self.model.balance(account, found.quote).available / found.notional(PRICE.into(), 1);
        if self.random.one_in(4) {
            self.random.pick(&[Side::Buy, Side::Sell])
        } else if base > quote {
            Side::Sell
        } else {
            Side::Buy
        }
    }

    fn limit_order(&mut self) {
        let (account, market) = (self.account(), self.market());
        let side = self.side(account, market);
        let price = self.price(market, side);
        let quantity = Quantity(self.lots(account, market, side, price));
        let limit_type = self.random.pick(&[
            LimitType::GoodTillCancel,
            LimitType::GoodTillCancel,
            LimitType::GoodTillCancel,
            LimitType::GoodTillCancel,
            LimitType::PostOnly,
            LimitType::ImmediateOrCancel,
            LimitType::FillOrKill,
        ]);
        let client_order_id = self.client_order_id();
        let price = Price(price);
        self.put(Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id });
    }

    fn market_order(&mut self) {
        let (account, market) = (self.account(), self.market());
        let client_order_id = self.client_order_id();
        if self.side(account, market) == Side::Buy {
            let budget = Amount(self.share(account, self.model.markets[&market].quote));
            self.put(Command::PlaceMarketBuy { account, market, budget, client_order_id });
        } else {
            let quantity = Quantity(self.lots(account, market, Side::Sell, PRICE));
            self.put(Command::PlaceMarketSell { account, market, quantity, client_order_id });
        }
    }

    fn cancel(&mut self) {
        let Some((_, order)) = self.open_order() else { return self.limit_order() };
        let account = order.account;
        if order.client_order_id.0 != 0 && self.random.one_in(2) {
            let client_order_id = order.client_order_id;
            self.put(Command::CancelByClientOrderId { account, client_order_id });
        } else {
            self.put(Command::CancelOrder { account, order: order.id });
        }
    }

    /// A cancel that comes too late, or names what never was.
    fn late_cancel(&mut self) {
        if self.filled.is_empty() || self.random.one_in(6) {
            let (account, client_order_id) = (self.account(), self.client_order_id());
            self.put(Command::CancelByClientOrderId { account, client_order_id });
            return;
        }
        let recent = self.filled.len().saturating_sub(6);
        let (account, order) = self.random.pick(&self.filled[recent..]);
        if self.random.one_in(8) {
            self.put(Command::ReduceOrder { account, order, quantity: Quantity(1) });
        } else {
            self.put(Command::CancelOrder { account, order });
        }
    }

    fn reduce(&mut self) {
        let Some((_, order)) = self.open_order() else { return self.limit_order() };
        let quantity = Quantity(self.random.between(1, to_u64(order.open) + 1));
        self.put(Command::ReduceOrder { account: order.account, order: order.id, quantity });
    }

    fn replace(&mut self) {
        let Some((market, order)) = self.open_order() else { return self.limit_order() };
        let (account, side) = (order.account, order.side);
        let price = if self.random.one_in(3) { to_u64(order.price) } else { self.price(market, side) };
        let quantity = Quantity(self.random.between(1, 2 * to_u64(order.open)));
        let order = order.id;
        self.put(Command::ReplaceOrder { account, market, side, order, price: Price(price), quantity });
    }

    fn transfer(&mut self) {
        let (from, to, asset) = (self.account(), self.account(), self.asset());
        let amount = Amount(self.share(from, asset));
        let accepted = self.put(Command::Transfer { from, to, asset, amount });
        if accepted && self.lucky.contains(&from) && self.random.one_in(2) {
            self.lucky.push(to);
        }
    }

    fn request(&mut self) {
        let (account, asset) = (self.account(), self.asset());
        if self.random.one_in(3) {
            self.put(Command::RequestWithdrawalOfAll { account, asset });
        } else {
            let amount = Amount(self.share(account, asset));
            self.put(Command::RequestWithdrawal { account, asset, amount });
        }
    }

    fn withdrawals_go_on(&mut self) {
        let is_final =
            |state| matches!(state, WithdrawalState::Settled | WithdrawalState::Failed | WithdrawalState::Cancelled);
        let all = self.model.withdrawals.iter().filter(|(_, found)| !is_final(found.state) || found.amount % 16 == 3);
        let pending: Vec<WithdrawalId> = all.map(|(&id, _)| id).collect();
        if pending.is_empty() {
            return self.request();
        }
        let withdrawal = self.random.pick(&pending);
        let found = self.model.withdrawals[&withdrawal].clone();
        let (account, asset, amount) = (found.account, found.asset, Amount(to_u64(found.amount)));
        let roll = self.random.below(10);
        let command = match found.state {
            WithdrawalState::Requested if roll < 2 => Command::CancelWithdrawal { account, withdrawal },
            WithdrawalState::Released if roll < 7 => {
                self.arrivals += 1;
                Command::ConfirmWithdrawalSent { withdrawal, external_id: ExternalId::from_u128(self.arrivals) }
            }
            WithdrawalState::Sent if roll < 5 => Command::ConfirmWithdrawalSettled { withdrawal },
            WithdrawalState::Released | WithdrawalState::Sent => Command::FailWithdrawal { withdrawal },
            _ => Command::ReleaseWithdrawal { withdrawal, account, asset, amount },
        };
        self.put(command);
    }

    fn deposit(&mut self, account: AccountId, asset: AssetId, amount: Amount) {
        if !self.random.one_in(12) {
            self.arrivals += 1;
        }
        let external_id = ExternalId::from_u128(self.arrivals);
        self.put(Command::Deposit { account, asset, amount, external_id });
    }

    fn fund(&mut self, asset: AssetId, amount: Amount) {
        self.arrivals += 1;
        self.put(Command::FundTreasury { asset, amount, external_id: ExternalId::from_u128(self.arrivals) });
    }

    fn administer(&mut self) {
        match self.random.below(26) {
            0..=2 => {
                let account = self.account();
                self.put(Command::SuspendAccount { account });
            }
            3..=6 => {
                let suspended = self.model.accounts.iter().find(|(_, account)| account.suspended);
                let account = suspended.map(|(&account, _)| account);
                let account = account.unwrap_or_else(|| self.account());
                self.put(Command::ResumeAccount { account });
            }
            7..=9 => {
                let market = self.market();
                let status = self.closed_status();
                self.put(Command::SetMarketStatus { market, status });
            }
            10..=11 => {
                let status = self.closed_status();
                self.put(Command::SetGlobalStatus { status });
            }
            12..=14 => {
                let market = self.market();
                let (maker_rate, taker_rate) = self.rates();
                self.put(Command::SetMarketFees { market, maker_rate, taker_rate });
            }
            15..=16 => self.add_account(),
            17 if self.model.assets.len() < SYMBOLS.len() => {
                self.add_asset();
                self.add_market(self.model.assets.len() as u64 - 1, 0);
            }
            18 => {
                let asset = self.asset();
                let amount = self.usual(asset, 5, 100);
                self.fund(asset, amount);
            }
            19 => {
                let asset = self.asset();
                let amount = Amount(to_u64(self.model.liabilities(asset)) + self.random.below(2_000));
                self.put(Command::AttestReserves { asset, amount });
            }
            20 if self.flavour.velocity => {
                let asset = self.asset();
                self.set_velocity(asset);
            }
            21 if self.flavour.limits => {
                let asset = self.asset();
                self.set_limits(asset);
            }
            22 => {
                let asset = self.asset();
                let stopped = self.model.stopped.contains(&asset);
                let withdrawals = if stopped || self.random.one_in(3) { Gate::Open } else { Gate::Closed };
                self.put(Command::SetAssetWithdrawals { asset, withdrawals });
            }
            23 => {
                let (account, asset) = (self.account(), self.asset());
                self.put(Command::SetOff { account, asset });
            }
            24 => self.register_another(),
            _ => _ = self.put(Command::Tick {}),
        }
    }

    fn register_another(&mut self) {
        let last = self.model.operators.keys().next_back().map_or(0, |last| last.0);
        if last > 2 && self.random.one_in(3) {
            let (operator, first, second) = (OperatorId(last), OperatorId(1), OperatorId(2));
            self.put(Command::RevokeOperator { operator, first, second });
        } else {
            self.register(last + 1, 1, 2);
        }
    }

    fn closed_status(&mut self) -> TradingStatus {
        let auction = if self.flavour.auctions { TradingStatus::Auction } else { TradingStatus::CancelOnly };
        self.random.pick(&[auction, auction, TradingStatus::CancelOnly, TradingStatus::Halted, TradingStatus::Open])
    }

    /// Commands that name what is another's, or is not there.
    fn mixed_up(&mut self) {
        let (account, asset) = (self.account(), self.asset());
        match self.random.below(4) {
            0 => {
                let Some((market, order)) = self.open_order() else { return };
                let (side, price, quantity) = (order.side.opposite(), Price(PRICE), Quantity(1));
                self.put(Command::ReplaceOrder { account, market, side, order: order.id, price, quantity });
            }
            1 => {
                let Some((&withdrawal, _)) = self.model.withdrawals.first_key_value() else { return };
                self.put(Command::CancelWithdrawal { account, withdrawal });
            }
            2 => {
                let (operator, airdrop) = (OperatorId(9), AirdropId(self.airdrops));
                self.put(Command::ExecuteAirdrop { airdrop, operator });
            }
            _ => {
                let from = AccountId(4_000_000);
                self.put(Command::Transfer { from, to: account, asset, amount: Amount(1) });
            }
        }
    }

    /// A large order on each side, which those who got too much and others trade with, one after the other.
    fn big_orders(&mut self) {
        let market = self.market();
        let (base, quote) = (self.model.markets[&market].base, self.model.markets[&market].quote);
        let last = self.prices.get(&market).copied().unwrap_or(PRICE);
        for (side, asset, price) in [(Side::Sell, base, last + 1), (Side::Buy, quote, last.saturating_sub(1).max(5))] {
            let accounts: Vec<_> = self.model.accounts.keys().copied().collect();
            let account = self.random.pick(&accounts);
            let amount = self.usual(asset, 200, 300);
            self.deposit(account, asset, amount);
            let (limit_type, client_order_id) = (LimitType::GoodTillCancel, self.client_order_id());
            let (price, quantity) = (Price(price), Quantity(self.random.between(40, 150)));
            self.put(Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id });
        }
    }

    // Airdrops and mistakes.

    fn mistake(&mut self) {
        // The exchange was open when these things happened, or nothing would follow from them.
        if self.model.status != TradingStatus::Open {
            self.put(Command::SetGlobalStatus { status: TradingStatus::Open });
        }
        if self.random.one_in(5) {
            // A wrong transfer or deposit.
            let (account, asset) = (self.account(), self.asset());
            if self.random.one_in(2) {
                let amount = self.usual(asset, 60, 400);
                self.deposit(account, asset, amount);
            } else {
                let from = self.account();
                let amount = Amount(to_u64(self.model.balance(from, asset).available));
                self.put(Command::Transfer { from, to: account, asset, amount });
            }
            self.lucky.push(account);
        } else {
            self.airdrop(true);
        }
    }

    fn airdrop(&mut self, wrong: bool) {
        self.airdrops += 1;
        let (airdrop, asset) = (AirdropId(self.airdrops), self.asset());
        let mut recipients: Vec<AccountId> = self.model.accounts.keys().copied().collect();
        let count = self.random.between(1, 8).min(recipients.len() as u64);
        let mut lines: Vec<(AccountId, Amount)> = Vec::new();
        for _ in 0..count {
            let position = usize::try_from(self.random.below(recipients.len() as u64)).expect("it fits");
            let amount = if wrong { self.usual(asset, 20, 150) } else { self.usual(asset, 1, 6) };
            lines.push((recipients.swap_remove(position), amount));
        }
        let total = Amount(lines.iter().map(|(_, amount)| amount.0).sum());
        let cover = self.model.controls & Controls::COVER.0 != 0;
        if cover && (wrong || self.random.one_in(2)) {
            self.fund(asset, total);
        }
        if self.model.controls & Controls::RESERVES.0 != 0 && (wrong || self.random.one_in(2)) {
            let amount = Amount(to_u64(self.model.liabilities(asset)) + total.0 + 1_000);
            self.put(Command::AttestReserves { asset, amount });
        }
        let lock_seconds = if self.flavour.locks && self.random.one_in(2) { self.random.between(1, 90) } else { 0 };
        let opening = Command::OpenAirdrop {
            airdrop,
            author: OperatorId(1),
            asset,
            total,
            lines: u32::try_from(lines.len()).expect("it fits"),
            hash: manifest_hash(asset, &lines.iter().map(|line| (line.0, line.1.0.into())).collect::<Vec<_>>()),
            lock_seconds: u32::try_from(lock_seconds).expect("it fits"),
        };
        if !self.put(opening) {
            return;
        }
        let opening = (Sequence(self.sequence), opening);
        let mut journaled = Vec::new();
        for &(account, amount) in &lines {
            let line = Command::AddAirdropLine { airdrop, account, amount };
            self.put(line);
            journaled.push((Sequence(self.sequence), line));
            if self.random.one_in(5) {
                self.limit_order();
            }
        }
        let mut approvals = Vec::new();
        if self.model.controls & Controls::APPROVAL.0 != 0 || self.random.one_in(2) {
            self.put(Command::ApproveAirdrop { airdrop, operator: OperatorId(2) });
            approvals.push(Sequence(self.sequence));
        }
        if !wrong && self.random.one_in(8) {
            self.put(Command::CancelAirdrop { airdrop, operator: OperatorId(2) });
            return;
        }
        if self.put(Command::ExecuteAirdrop { airdrop, operator: OperatorId(2) }) {
            let execution = Sequence(self.sequence);
            self.marks.airdrops.push(AirdropMark { airdrop, opening, lines: journaled, approvals, execution, wrong });
            if wrong {
                self.lucky.extend(lines.iter().map(|line| line.0));
            }
        }
    }

    // Behind the halt.

    fn behind_the_halt(&mut self) {
        match self.random.below(16) {
            0..=2 => {
                let (account, asset) = (self.account(), self.asset());
                let amount = self.usual(asset, 1, 12);
                self.deposit(account, asset, amount);
            }
            3..=7 => self.withdrawals_go_on(),
            8 => {
                let asset = self.asset();
                let amount = self.usual(asset, 1, 12);
                self.fund(asset, amount);
            }
            9 => {
                let asset = self.asset();
                let amount = self.usual(asset, 100, 2_000);
                self.put(Command::AttestReserves { asset, amount });
            }
            10 => {
                let account = self.account();
                self.put(Command::SuspendAccount { account });
            }
            11 => {
                let account = self.account();
                self.put(Command::ResumeAccount { account });
            }
            12 => self.register_another(),
            13 => self.limit_order(),
            14 => {
                let bytes = Digest([7; 32]);
                self.put(Command::AddPlanPart { index: 0, length: 32, bytes });
            }
            _ => _ = self.put(Command::Tick {}),
        }
    }
}

pub fn to_u64(value: u128) -> u64 {
    u64::try_from(value).expect("the value fits a u64")
}
