//! Seeded streams of commands: one that does everything at random, and some that each press on one weak spot.
//!
//! A stream looks at the model's state to name orders and withdrawals that exist. An order's id is the sequence
//! of its command, so the commands of a stream must be applied with sequences 1, 2, 3 and so on.

mod payouts;

use std::collections::VecDeque;

use engine::{
    command::Command,
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId,
        PRICE_MAX, Price, Quantity, Sequence, Side, Symbol, Timestamp, TradingStatus, WithdrawalId,
    },
};

pub use super::random::Random;
use super::{ModelExchange, WithdrawalState};

/// What a stream presses on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every command, valid and invalid, on few accounts, markets and prices, so that things collide.
    Random,
    /// Every order needs the proceeds of the one before it.
    ProceedsChain,
    /// Replaces, reductions and cancels of orders that fill at the same moment.
    ReplaceRace,
    /// One-lot fills with odd rates and rebates, so that rounding matters.
    TinyFills,
    /// Fee changes, withdrawals of all and status changes every few commands.
    Barriers,
    /// Supplies, prices and quantities at their limits.
    Overflow,
    /// Prices over the whole range, deep levels, sweeps.
    FarPrices,
    /// Many orders and many mass cancels.
    MassCancel,
    /// Operators, airdrops, limits, locks, withdrawals within a velocity, and the freezing of it all.
    Payouts,
    /// Crossed books, and what becomes of them.
    Auctions,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Random,
        Self::ProceedsChain,
        Self::ReplaceRace,
        Self::TinyFills,
        Self::Barriers,
        Self::Overflow,
        Self::FarPrices,
        Self::MassCancel,
        Self::Payouts,
        Self::Auctions,
    ];

    /// When the command at `sequence` happens. For payouts it matters: there, a day has some 500 commands.
    pub const fn time(self, sequence: u64) -> Timestamp {
        match self {
            Self::Payouts => {
                let (second, hour) = (1_000_000_000, 3_600_000_000_000);
                Timestamp(1_700_000_000 * second + sequence * second / 2 + sequence / 64 * 3 * hour)
            }
            _ => Timestamp(1_000 + sequence),
        }
    }
}

/// The first `count` commands of a stream.
pub fn commands(kind: Kind, seed: u64, count: usize) -> Vec<Command> {
    let mut model = ModelExchange::new();
    let mut stream = Stream::new(kind, seed);
    (1..=count as u64)
        .map(|sequence| {
            let command = stream.next(&model);
            model.apply(Sequence(sequence), kind.time(sequence), &command);
            command
        })
        .collect()
}

const BTC: AssetId = AssetId(0);
const USD: AssetId = AssetId(1);
const ETH: AssetId = AssetId(2);
const RARE: AssetId = AssetId(1023);
const ASSETS: [AssetId; 4] = [BTC, USD, ETH, RARE];

const BTC_USD: MarketId = MarketId(0);
const ETH_USD: MarketId = MarketId(1);
const ETH_BTC: MarketId = MarketId(4095);
const MARKETS: [MarketId; 3] = [BTC_USD, ETH_USD, ETH_BTC];

/// Orders that may be open before the stream clears a market.
const fn open_orders_max(kind: Kind) -> usize {
    match kind {
        Kind::FarPrices => 1_000,
        Kind::MassCancel => 300,
        _ => 120,
    }
}

/// A stream of commands without end.
#[derive(Clone, Debug)]
pub struct Stream {
    kind: Kind,
    random: Random,
    /// Commands already decided.
    queue: VecDeque<Command>,
    /// Lines of a manifest still to be added.
    lines: Vec<Command>,
    users: Vec<AccountId>,
    external_ids: u128,
    client_order_ids: u64,
    turn: u64,
}

impl Stream {
    pub fn new(kind: Kind, seed: u64) -> Self {
        let mut random = Random::new(seed ^ ((kind as u64) << 56));
        random.word();
        let users = match kind {
            // The largest account id makes an engine that indexes by id slow to audit, so few seeds have it.
            Kind::Random | Kind::Payouts => {
                let far = if seed.is_multiple_of(64) { AccountId::USER_MAX } else { AccountId(70_000) };
                (1..=6).map(AccountId).chain([far]).collect()
            }
            Kind::ReplaceRace => (1..=3).map(AccountId).collect(),
            Kind::ProceedsChain => (1..=8).map(AccountId).collect(),
            _ => (1..=5).map(AccountId).collect(),
        };
        let mut stream = Self {
            kind,
            random,
            queue: VecDeque::new(),
            lines: Vec::new(),
            users,
            external_ids: 0,
            client_order_ids: 0,
            turn: 0,
        };
        stream.open_exchange();
        stream
    }

    /// The next command, given the state that the ones before it led to.
    pub fn next(&mut self, model: &ModelExchange) -> Command {
        while self.queue.is_empty() {
            self.turn += 1;
            if model.open_orders().count() > open_orders_max(self.kind) {
                self.clear_a_market(model);
            } else {
                self.decide(model);
            }
        }
        self.queue.pop_front().expect("the queue is not empty")
    }

    fn decide(&mut self, model: &ModelExchange) {
        match self.kind {
            Kind::Random => self.random_command(model),
            Kind::ProceedsChain => self.proceeds_chain(model),
            Kind::ReplaceRace => self.replace_race(model),
            Kind::TinyFills => self.tiny_fills(model),
            Kind::Barriers => self.barriers(model),
            Kind::Overflow => self.overflow(model),
            Kind::FarPrices => self.far_prices(model),
            Kind::MassCancel => self.mass_cancel(model),
            Kind::Payouts => self.payouts(model),
            Kind::Auctions => self.auctions(model),
        }
    }

    fn push(&mut self, command: Command) {
        self.queue.push_back(command);
    }

    // The start: assets, markets, accounts, first deposits.

    fn open_exchange(&mut self) {
        let symbols = ["BTC", "USD", "ETH", "RARE00000012"];
        for (asset, symbol) in ASSETS.into_iter().zip(symbols) {
            let symbol: Symbol = symbol.parse().expect("a valid symbol");
            self.push(Command::AddAsset { asset, symbol, scale: 8 });
        }
        // Base, quote, lot size, tick value, maker rate, taker rate.
        let specs = match self.kind {
            Kind::TinyFills => [
                (BTC_USD, BTC, USD, 1, 1, 333, 777),
                (ETH_USD, ETH, USD, 7, 3, -77, 131),
                (ETH_BTC, ETH, BTC, 1, 11, 9_999, 1),
            ],
            Kind::FarPrices => {
                [(BTC_USD, BTC, USD, 1, 1, 10, 20), (ETH_USD, ETH, USD, 1, 1, 0, 0), (ETH_BTC, ETH, BTC, 1, 1, -5, 30)]
            }
            Kind::Overflow => [
                (BTC_USD, BTC, USD, 1, 1, 10_000, 10_000),
                (ETH_USD, ETH, USD, 1 << 40, 1 << 20, 100, 200),
                (ETH_BTC, ETH, BTC, AMOUNT_MAX, AMOUNT_MAX, 0, 10_000),
            ],
            _ => [
                (BTC_USD, BTC, USD, 10, 3, 100, 250),
                (ETH_USD, ETH, USD, 1, 1, -30, 75),
                (ETH_BTC, ETH, BTC, 1_000, 7, 0, 0),
            ],
        };
        for (market, base, quote, lot_size, tick_value, maker_rate, taker_rate) in specs {
            self.push(Command::AddMarket {
                market,
                base,
                quote,
                lot_size: Amount(lot_size),
                tick_value: Amount(tick_value),
                maker_rate: FeeRate(maker_rate),
                taker_rate: FeeRate(taker_rate),
            });
        }
        for account in self.users.clone() {
            self.push(Command::CreateAccount { account });
            if self.kind == Kind::ProceedsChain && account.0 > 2 {
                continue;
            }
            for asset in [BTC, USD, ETH] {
                let amount = match self.kind {
                    Kind::FarPrices => AMOUNT_MAX / 6,
                    Kind::Overflow => AMOUNT_MAX / self.users.len() as u64,
                    Kind::ProceedsChain => 1 << 40,
                    _ => 200_000,
                };
                self.deposit(account, asset, amount);
            }
        }
    }

    fn deposit(&mut self, account: AccountId, asset: AssetId, amount: u64) {
        self.external_ids += 1;
        let external_id = ExternalId::from_u128(self.external_ids.wrapping_mul(0x1234_5678_9ABC_DEF1_2345));
        self.push(Command::Deposit { account, asset, amount: Amount(amount), external_id });
    }

    fn clear_a_market(&mut self, model: &ModelExchange) {
        if super::is_halted(model.status) {
            self.push(Command::SetGlobalStatus { status: TradingStatus::Open });
        }
        let fullest = model.markets.iter().max_by_key(|(_, market)| market.orders().count());
        let market = *fullest.expect("there are markets").0;
        self.push(Command::CancelAllOfMarket { market });
    }

    // Fields. Each is now and then a value that nobody should send.

    fn odd(&mut self) -> bool {
        self.kind == Kind::Random && self.random.one_in(60)
    }

    fn user(&mut self) -> AccountId {
        if self.odd() {
            let strangers = [
                AccountId(0),
                AccountId(99),
                AccountId(AccountId::USER_MAX.0 + 1),
                AccountId::EXTERNAL,
                AccountId::FEES,
                AccountId::UNBACKED,
            ];
            return self.random.pick(&strangers);
        }
        let users = self.users.clone();
        self.random.pick(&users)
    }

    fn asset(&mut self) -> AssetId {
        if self.odd() {
            return self.random.pick(&[AssetId(3), AssetId(1022), AssetId(1024), AssetId(u16::MAX)]);
        }
        if self.random.one_in(20) { RARE } else { self.random.pick(&[BTC, USD, ETH]) }
    }

    fn market(&mut self) -> MarketId {
        if self.odd() {
            return self.random.pick(&[MarketId(2), MarketId(4094), MarketId(4096), MarketId(u16::MAX)]);
        }
        self.random.pick(&MARKETS)
    }

    fn amount(&mut self, most: u64) -> Amount {
        if self.odd() {
            return Amount(self.random.pick(&[0, 1, AMOUNT_MAX - 1, AMOUNT_MAX, AMOUNT_MAX + 1, u64::MAX]));
        }
        Amount(self.random.between(1, most.max(1)))
    }

    fn price(&mut self) -> Price {
        if self.odd() {
            return Price(self.random.pick(&[0, 1, PRICE_MAX, PRICE_MAX + 1, u64::MAX]));
        }
        Price(self.random.between(95, 105))
    }

    /// A price that crosses the other side's now and then only, so that books grow.
    fn price_for(&mut self, side: Side) -> Price {
        let price = self.price();
        match side {
            Side::Buy if (95..=105).contains(&price.0) => Price(price.0 - 4),
            Side::Sell if (95..=105).contains(&price.0) => Price(price.0 + 4),
            _ => price,
        }
    }

    fn quantity(&mut self, most: u64) -> Quantity {
        if self.odd() {
            return Quantity(self.random.pick(&[0, 1, AMOUNT_MAX / 10, AMOUNT_MAX, AMOUNT_MAX + 1, u64::MAX]));
        }
        Quantity(self.random.between(1, most))
    }

    fn side(&mut self) -> Side {
        self.random.pick(&[Side::Buy, Side::Sell])
    }

    fn limit_type(&mut self) -> LimitType {
        use LimitType::{FillOrKill, GoodTillCancel, ImmediateOrCancel, PostOnly};
        self.random.pick(&[GoodTillCancel, GoodTillCancel, GoodTillCancel, ImmediateOrCancel, FillOrKill, PostOnly])
    }

    fn status(&mut self) -> TradingStatus {
        use TradingStatus::{CancelOnly, Halted, Open};
        self.random.pick(&[Open, Open, CancelOnly, Halted])
    }

    fn symbol(&mut self) -> Symbol {
        let bytes = self.random.pick(&[
            *b"BTC\0\0\0\0\0\0\0\0\0",
            *b"\0\0\0\0\0\0\0\0\0\0\0\0",
            *b"BT\0C\0\0\0\0\0\0\0\0",
            *b"btc\0\0\0\0\0\0\0\0\0",
            *b"DOGE\0\0\0\0\0\0\0\0",
            *b"RARE00000012",
            *b"X\0\0\0\0\0\0\0\0\0\0\0",
        ]);
        Symbol::from_bytes(bytes)
    }

    fn client_order_id(&mut self) -> ClientOrderId {
        if self.kind == Kind::Random {
            let few = self.random.between(1, 20);
            return ClientOrderId(self.random.pick(&[0, 0, few, few, few, u64::MAX]));
        }
        if self.kind == Kind::MassCancel {
            return ClientOrderId(self.random.below(500));
        }
        self.client_order_ids += 1;
        ClientOrderId(self.client_order_ids)
    }

    /// Rates of which the sum is not negative, odd ones.
    fn rates(&mut self) -> (FeeRate, FeeRate) {
        let rates = [
            (0, 0),
            (10_000, -1),
            (1, 1),
            (333, 777),
            (-77, 131),
            (131, -77),
            (1, -1),
            (-9_999, 10_000),
            (10_000, 10_000),
            (-5, 5),
        ];
        let (maker, taker) = self.random.pick(&rates);
        (FeeRate(maker), FeeRate(taker))
    }

    /// Any open order: its market, its owner, itself.
    fn open_order(&mut self, model: &ModelExchange) -> Option<(MarketId, super::Order)> {
        let count = model.open_orders().count() as u64;
        if count == 0 {
            return None;
        }
        let index = usize::try_from(self.random.below(count)).expect("the index fits");
        model.open_orders().nth(index).map(|(market, order)| (market, order.clone()))
    }

    fn place_limit(&mut self, account: AccountId, market: MarketId, side: Side, limit_type: LimitType, at: (u64, u64)) {
        let client_order_id = self.client_order_id();
        let (price, quantity) = (Price(at.0), Quantity(at.1));
        self.push(Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id });
    }

    /// A market buy whose budget is spent to the last unit on the first few asks; every other time its owner is
    /// also that of the ask after them.
    fn spend_exactly(&mut self, model: &ModelExchange) {
        let market = self.random.pick(&MARKETS);
        let Some(found) = model.markets.get(&market).filter(|found| !found.asks.is_empty()) else { return };
        let most = found.asks.len().min(4) as u64;
        let makers = usize::try_from(self.random.between(1, most)).expect("the count fits");
        let notional = found.asks[..makers].iter().map(|ask| found.notional(ask.price, ask.open)).sum();
        let cost = notional + super::fee(found.taker_rate.max(0), notional);
        let budget = Amount(u64::try_from(cost).unwrap_or(AMOUNT_MAX));
        let owner = found.asks.get(makers).map(|ask| ask.account).filter(|_| self.random.one_in(2));
        let account = owner.unwrap_or_else(|| self.user());
        let client_order_id = self.client_order_id();
        self.push(Command::PlaceMarketBuy { account, market, budget, client_order_id });
    }

    // Everything at random.

    fn random_command(&mut self, model: &ModelExchange) {
        // Restrictions are lifted soon, or nothing else would happen.
        if model.status != TradingStatus::Open && self.random.one_in(8) {
            return self.push(Command::SetGlobalStatus { status: TradingStatus::Open });
        }
        let restricted = model.markets.iter().find(|(_, market)| market.status != TradingStatus::Open);
        if let Some((&market, _)) = restricted
            && self.random.one_in(12)
        {
            return self.push(Command::SetMarketStatus { market, status: TradingStatus::Open });
        }
        let suspended = model.accounts.iter().find(|(_, account)| account.suspended);
        if let Some((&account, _)) = suspended
            && self.random.one_in(15)
        {
            return self.push(Command::ResumeAccount { account });
        }

        match self.random.below(1_000) {
            0..380 => {
                let (account, market, side, limit_type) = (self.user(), self.market(), self.side(), self.limit_type());
                let at = (self.price_for(side).0, self.quantity(30).0);
                self.place_limit(account, market, side, limit_type, at);
            }
            380..395 => self.spend_exactly(model),
            395..450 => {
                let (account, market, budget) = (self.user(), self.market(), self.amount(8_000));
                let client_order_id = self.client_order_id();
                self.push(Command::PlaceMarketBuy { account, market, budget, client_order_id });
            }
            450..510 => {
                let (account, market, quantity) = (self.user(), self.market(), self.quantity(30));
                let client_order_id = self.client_order_id();
                self.push(Command::PlaceMarketSell { account, market, quantity, client_order_id });
            }
            510..738 => self.random_change(model),
            738..744 => {
                let account = self.user();
                self.push(Command::CancelAllOfAccount { account });
            }
            744..746 => {
                let market = self.market();
                self.push(Command::CancelAllOfMarket { market });
            }
            746..800 => self.random_deposit(model),
            800..840 => {
                let (from, to, asset, amount) = (self.user(), self.user(), self.asset(), self.amount(30_000));
                self.push(Command::Transfer { from, to, asset, amount });
            }
            840..940 => self.random_withdrawal(model),
            _ => self.random_administration(),
        }
    }

    fn random_change(&mut self, model: &ModelExchange) {
        let Some((mut market, order)) = self.open_order(model) else { return };
        let (mut account, mut side, mut id) = (order.account, order.side, order.id);
        match self.random.below(40) {
            0 => account = self.user(),
            1 => market = self.market(),
            2 => side = side.opposite(),
            3 => id = OrderId(self.random.pick(&[0, 1, id.0 + 1, u64::MAX])),
            _ => {}
        }
        let command = match self.random.below(22) {
            0..4 => Command::CancelOrder { account, order: id },
            4..8 => {
                let client_order_id =
                    if self.random.one_in(4) { self.client_order_id() } else { order.client_order_id };
                Command::CancelByClientOrderId { account, client_order_id }
            }
            8..13 => Command::ReduceOrder { account, order: id, quantity: self.quantity(20) },
            _ => {
                let price = if self.random.one_in(3) {
                    Price(u64::try_from(order.price).expect("a price fits"))
                } else {
                    self.price_for(order.side)
                };
                Command::ReplaceOrder { account, market, side, order: id, price, quantity: self.quantity(30) }
            }
        };
        self.push(command);
    }

    fn random_deposit(&mut self, model: &ModelExchange) {
        let (account, asset) = (self.user(), self.asset());
        let amount = self.amount(50_000);
        // A supply at its limit would end the deposits; it is the business of another stream.
        let owed = model.assets.get(&asset).map_or(0, |found| -found.system[0]);
        if amount.0 <= AMOUNT_MAX && amount.0 > 50_000 && owed + i128::from(amount.0) <= i128::from(AMOUNT_MAX) {
            return;
        }
        if self.random.one_in(10)
            && let Some(&(asset, external_id)) = model.credited.iter().next()
        {
            return self.push(Command::Deposit { account, asset, amount, external_id: ExternalId(external_id) });
        }
        self.deposit(account, asset, amount.0);
    }

    fn random_withdrawal(&mut self, model: &ModelExchange) {
        if self.random.one_in(3) {
            let (account, asset) = (self.user(), self.asset());
            let amount = self.amount(10_000);
            return self.push(Command::RequestWithdrawal { account, asset, amount });
        }
        if self.random.one_in(15) {
            let (account, asset) = (self.user(), self.asset());
            return self.push(Command::RequestWithdrawalOfAll { account, asset });
        }
        self.next_step_of_withdrawal(model);
    }

    /// A step of one of the latest withdrawals, mostly one that is possible.
    fn next_step_of_withdrawal(&mut self, model: &ModelExchange) {
        let back = usize::try_from(self.random.below(8)).expect("the count fits");
        let Some((&id, found)) = model.withdrawals.iter().rev().nth(back) else { return };
        let (mut withdrawal, mut account, mut asset) = (id, found.account, found.asset);
        let mut amount = Amount(u64::try_from(found.amount).expect("the amount fits"));
        match self.random.below(60) {
            0 => withdrawal = WithdrawalId(self.random.pick(&[0, id.0 + 1, u64::MAX])),
            1 => account = self.user(),
            2 => asset = self.asset(),
            3 => amount = Amount(amount.0 + 1),
            _ => {}
        }
        let likely = match found.state {
            WithdrawalState::Requested => self.random.pick(&[0, 1, 1, 1]),
            WithdrawalState::Released => self.random.pick(&[2, 2, 4]),
            WithdrawalState::Sent => self.random.pick(&[3, 4]),
            _ => self.random.below(5),
        };
        let step = if self.random.one_in(12) { self.random.below(5) } else { likely };
        let command = match step {
            0 => Command::CancelWithdrawal { account, withdrawal },
            1 => Command::ReleaseWithdrawal { withdrawal, account, asset, amount },
            2 => {
                let external_id = ExternalId::from_u128(u128::from(self.random.word()));
                Command::ConfirmWithdrawalSent { withdrawal, external_id }
            }
            3 => Command::ConfirmWithdrawalSettled { withdrawal },
            _ => Command::FailWithdrawal { withdrawal },
        };
        self.push(command);
    }

    fn random_administration(&mut self) {
        let command = match self.random.below(60) {
            0..8 => {
                let (maker_rate, taker_rate) = self.rates();
                Command::SetMarketFees { market: self.market(), maker_rate, taker_rate }
            }
            8..12 => {
                let rates = [0, 1, -1, -9_999, 10_000, -10_000, 10_001, -10_001, i16::MIN, i16::MAX];
                let (maker_rate, taker_rate) = (FeeRate(self.random.pick(&rates)), FeeRate(self.random.pick(&rates)));
                Command::SetMarketFees { market: self.market(), maker_rate, taker_rate }
            }
            12..22 => Command::SetMarketStatus { market: self.market(), status: self.status() },
            22..28 => Command::SetGlobalStatus { status: self.status() },
            28..36 => Command::SuspendAccount { account: self.user() },
            36..40 => Command::ResumeAccount { account: self.user() },
            40..46 => {
                let ids = [0, 1, 7, self.users[6].0, AccountId::USER_MAX.0 + 1, u32::MAX];
                Command::CreateAccount { account: AccountId(self.random.pick(&ids)) }
            }
            46..52 => {
                let asset = AssetId(self.random.pick(&[0, 3, 4, 5, 1024, u16::MAX]));
                let scale = self.random.pick(&[0, 8, 18, 19, 255]);
                Command::AddAsset { asset, symbol: self.symbol(), scale }
            }
            _ => {
                let market = MarketId(self.random.pick(&[0, 5, 6, 4094, 4096, u16::MAX]));
                let assets = [BTC, BTC, USD, ETH, RARE, AssetId(9)];
                let (base, quote) = (self.random.pick(&assets), self.random.pick(&assets));
                let sizes = [0, 1, 1, 10, 10, AMOUNT_MAX, AMOUNT_MAX + 1, u64::MAX];
                let (lot_size, tick_value) = (Amount(self.random.pick(&sizes)), Amount(self.random.pick(&sizes)));
                let rates = [0, 0, 10, 10, -10, 20_000, -20_000];
                let (maker_rate, taker_rate) = (FeeRate(self.random.pick(&rates)), FeeRate(self.random.pick(&rates)));
                Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate }
            }
        };
        self.push(command);
    }

    // Adversarial streams.

    /// The first two accounts quote. The rest live on what they are handed: each spends all that it has just got,
    /// in a circle over the three markets, or hands it on, and the next spends it at once. Most amounts are right
    /// only if the command before has been settled in full; some are one too many.
    fn proceeds_chain(&mut self, model: &ModelExchange) {
        if self.turn % 12 == 1 {
            for market in MARKETS {
                for (account, side, low, high) in
                    [(AccountId(1), Side::Sell, 101, 104), (AccountId(2), Side::Buy, 96, 99)]
                {
                    let at = (self.random.between(low, high), self.random.between(5, 60));
                    self.place_limit(account, market, side, LimitType::GoodTillCancel, at);
                }
            }
            for account in [AccountId(1), AccountId(2)] {
                for asset in [BTC, USD, ETH] {
                    let available = model.balance(account, asset).available;
                    if available < 1 << 30 {
                        self.deposit(account, asset, 1 << 38);
                    }
                }
            }
            return;
        }
        // Whoever of the chain holds something goes on with it.
        let rich = model.accounts.iter().find_map(|(&id, account)| {
            let some = account.balances.iter().find(|(_, balance)| balance.available > 5_000)?;
            (id.0 > 2).then_some((id, *some.0, some.1.available))
        });
        let Some((account, asset, available)) = rich else {
            let asset = self.random.pick(&[BTC, USD, ETH]);
            let to = AccountId(u32::try_from(self.random.between(3, 8)).expect("an account"));
            let amount = Amount(self.random.between(6_000, 60_000));
            return self.push(Command::Transfer { from: AccountId(1), to, asset, amount });
        };
        let available = u64::try_from(available).expect("a balance fits");
        let more = u64::from(self.random.one_in(10));
        let client_order_id = self.client_order_id();
        let buys =
            |market| Command::PlaceMarketBuy { account, market, budget: Amount(available + more), client_order_id };
        let sells = |market, lot_size| Command::PlaceMarketSell {
            account,
            market,
            quantity: Quantity(available / lot_size + more),
            client_order_id,
        };
        match self.random.below(8) {
            0 => {
                let to = AccountId(3 + (account.0 - 2) % 6);
                self.push(Command::Transfer { from: account, to, asset, amount: Amount(available + more) });
            }
            1 => {
                let available = Amount(available);
                self.push(Command::RequestWithdrawal { account, asset, amount: available });
            }
            _ if asset == USD => {
                let market = self.random.pick(&[BTC_USD, ETH_USD]);
                self.push(buys(market));
                // Sells what it will have bought before anyone has seen the fills; too much, then a guess.
                let quantity = Quantity(available / 320);
                let account_sells = Command::PlaceMarketSell { account, market, quantity, client_order_id };
                self.push(account_sells);
            }
            _ if asset == BTC => {
                let choice = self.random.one_in(2);
                self.push(if choice { buys(ETH_BTC) } else { sells(BTC_USD, 10) });
            }
            _ => {
                let choice = self.random.one_in(2);
                self.push(if choice { sells(ETH_BTC, 1_000) } else { sells(ETH_USD, 1) });
            }
        }
        self.queue_resting_withdrawal(model);
    }

    /// Now and then takes a requested withdrawal back, so that its amount returns to the chain.
    fn queue_resting_withdrawal(&mut self, model: &ModelExchange) {
        let requested = model.withdrawals.iter().rev().find(|(_, found)| found.state == WithdrawalState::Requested);
        if let Some((&withdrawal, found)) = requested {
            let account = found.account;
            self.push(Command::CancelWithdrawal { account, withdrawal });
        }
    }

    /// One order, and at once several commands that fill, shrink, move or cancel it; the same again for orders
    /// already closed.
    fn replace_race(&mut self, model: &ModelExchange) {
        self.top_up(model, 200_000);
        if self.random.one_in(40) {
            let (maker_rate, taker_rate) = self.rates();
            let market = self.random.pick(&MARKETS);
            self.push(Command::SetMarketFees { market, maker_rate, taker_rate });
        }
        let Some((market, order)) = self.open_order(model).filter(|_| !self.random.one_in(3)) else {
            let (account, market, side) = (self.user(), self.random.pick(&MARKETS), self.side());
            let limit_type = self.random.pick(&[LimitType::GoodTillCancel, LimitType::PostOnly]);
            let at = (self.price().0, self.random.between(1, 40));
            return self.place_limit(account, market, side, limit_type, at);
        };
        let (id, account, side) = (order.id, order.account, order.side);
        let price = u64::try_from(order.price).expect("a price fits");
        let open = u64::try_from(order.open).expect("a quantity fits");
        for _ in 0..self.random.between(2, 5) {
            match self.random.below(6) {
                0..3 => {
                    let other = self.user();
                    let quantity = self.random.pick(&[1, open / 2 + 1, open.saturating_sub(1).max(1), open, open + 1]);
                    let limit_type = self.random.pick(&[LimitType::ImmediateOrCancel, LimitType::GoodTillCancel]);
                    self.place_limit(other, market, side.opposite(), limit_type, (price, quantity));
                }
                3 => {
                    let quantity = Quantity(self.random.between(1, open + 1));
                    self.push(Command::ReduceOrder { account, order: id, quantity });
                }
                4 => {
                    let price = Price(self.random.pick(&[price, price, price - 1, price + 1, price + 6]));
                    let quantity = Quantity(self.random.pick(&[1, open, open, open + 1, open * 2, 2_000]));
                    self.push(Command::ReplaceOrder { account, market, side, order: id, price, quantity });
                }
                _ => self.push(Command::CancelOrder { account, order: id }),
            }
        }
    }

    /// Gives whoever has little of an asset some more of it.
    fn top_up(&mut self, model: &ModelExchange, amount: u64) {
        if !self.turn.is_multiple_of(16) {
            return;
        }
        for account in self.users.clone() {
            for asset in [BTC, USD, ETH] {
                let balance = model.balance(account, asset);
                if balance.available < u128::from(amount) / 4 {
                    self.deposit(account, asset, amount);
                }
            }
        }
    }

    fn tiny_fills(&mut self, model: &ModelExchange) {
        self.top_up(model, 100_000);
        let market = self.random.pick(&MARKETS);
        let side = self.side();
        let maker = self.user();
        let users = self.users.clone();
        let others: Vec<_> = users.into_iter().filter(|&user| user != maker).collect();
        let taker = self.random.pick(&others);
        let price = self.price().0;
        let lots = self.random.between(5, 30);
        match self.random.below(9) {
            7 => self.spend_exactly(model),
            // A large maker and one-lot takers.
            0..4 => {
                self.place_limit(maker, market, side, LimitType::GoodTillCancel, (price, lots));
                for _ in 0..lots {
                    self.place_limit(taker, market, side.opposite(), LimitType::ImmediateOrCancel, (price, 1));
                }
            }
            // One-lot makers and a large taker.
            4..6 => {
                for _ in 0..lots {
                    self.place_limit(maker, market, side, LimitType::PostOnly, (price, 1));
                }
                let limit_type = self.random.pick(&[LimitType::GoodTillCancel, LimitType::FillOrKill]);
                self.place_limit(taker, market, side.opposite(), limit_type, (price, lots));
            }
            // One-lot makers and a market order.
            6 => {
                for _ in 0..lots {
                    self.place_limit(maker, market, side, LimitType::GoodTillCancel, (price, 1));
                }
                let client_order_id = self.client_order_id();
                let quantity = Quantity(lots);
                let command = match side {
                    Side::Sell => {
                        let budget = Amount(self.random.between(1, lots * price * 11));
                        Command::PlaceMarketBuy { account: taker, market, budget, client_order_id }
                    }
                    Side::Buy => Command::PlaceMarketSell { account: taker, market, quantity, client_order_id },
                };
                self.push(command);
            }
            _ => {
                let (maker_rate, taker_rate) = self.rates();
                self.push(Command::SetMarketFees { market, maker_rate, taker_rate });
            }
        }
    }

    fn barriers(&mut self, model: &ModelExchange) {
        self.top_up(model, 100_000);
        for _ in 0..self.random.between(1, 4) {
            let (account, market, side, limit_type) = (self.user(), self.market(), self.side(), self.limit_type());
            let at = (self.price().0, self.random.between(1, 40));
            self.place_limit(account, market, side, limit_type, at);
        }
        match self.random.below(9) {
            0 | 1 => {
                let (maker_rate, taker_rate) = self.rates();
                let market = self.market();
                self.push(Command::SetMarketFees { market, maker_rate, taker_rate });
            }
            2 | 3 => {
                let (account, asset) = (self.user(), self.asset());
                self.push(Command::RequestWithdrawalOfAll { account, asset });
            }
            4 => {
                let (market, status) = (self.market(), self.status());
                self.push(Command::SetMarketStatus { market, status });
            }
            5 => {
                let status = self.status();
                self.push(Command::SetGlobalStatus { status });
            }
            6 => {
                let account = self.user();
                self.push(Command::SuspendAccount { account });
                self.random_change(model);
                self.push(Command::ResumeAccount { account });
            }
            7 => self.random_change(model),
            _ => self.next_step_of_withdrawal(model),
        }
        if self.random.one_in(2) {
            self.push(Command::SetGlobalStatus { status: TradingStatus::Open });
            let market = self.market();
            self.push(Command::SetMarketStatus { market, status: TradingStatus::Open });
        }
    }

    fn overflow(&mut self, model: &ModelExchange) {
        let market = self.random.pick(&[BTC_USD, BTC_USD, BTC_USD, ETH_USD, ETH_USD, ETH_BTC]);
        let spec = &model.markets[&market];
        let (account, side) = (self.user(), self.side());
        // Just under, at and just over a limit, that of a balance or that of all amounts.
        let balance = model.balance(account, if side == Side::Buy { spec.quote } else { spec.base });
        let near = u64::try_from(balance.available).expect("a balance fits");
        let limit = self.random.pick(&[AMOUNT_MAX, near, near, near / 2]);
        let price = match self.random.below(4) {
            0 => self.random.of_bits(40),
            1 if self.random.one_in(3) => self.random.pick(&[1, 2, PRICE_MAX, PRICE_MAX + 1, u64::MAX]),
            _ => self.random.between(1, 3),
        };
        let unit = match side {
            Side::Buy => spec.notional(price.into(), 1).max(1),
            Side::Sell => spec.lot_size,
        };
        let most = u64::try_from(u128::from(limit) / unit).expect("the quotient fits");
        let with_fees = u64::try_from(u128::from(most) * 100 / 110).expect("the quotient fits");
        let over = self.random.pick(&[most.saturating_add(1), with_fees + 1, u64::MAX]);
        let quantity = self.random.pick(&[most, over, with_fees, with_fees, most / 3, most / 100]);
        match self.random.below(22) {
            0..8 => {
                let limit_type = self.limit_type();
                self.place_limit(account, market, side, limit_type, (price, quantity));
            }
            8 => {
                let budget = Amount(self.random.pick(&[near, near.saturating_add(1), AMOUNT_MAX, AMOUNT_MAX + 1]));
                let client_order_id = self.client_order_id();
                self.push(Command::PlaceMarketBuy { account, market, budget, client_order_id });
            }
            9 => {
                let client_order_id = self.client_order_id();
                let quantity = Quantity(quantity);
                self.push(Command::PlaceMarketSell { account, market, quantity, client_order_id });
            }
            10 | 11 => {
                if let Some((market, order)) = self.open_order(model) {
                    self.push(Command::ReplaceOrder {
                        account: order.account,
                        market,
                        side: order.side,
                        order: order.id,
                        price: Price(price),
                        quantity: Quantity(quantity),
                    });
                }
            }
            12 => {
                let asset = self.random.pick(&[BTC, USD, ETH, RARE]);
                let owed = u64::try_from(model.liabilities(asset)).expect("a supply fits");
                let gone = u64::try_from(model.may_come_back(asset)).expect("a supply fits");
                let room = (AMOUNT_MAX - owed).saturating_sub(self.random.pick(&[0, gone, gone]));
                let amount = self.random.pick(&[room, room.saturating_add(1), room.saturating_sub(1), AMOUNT_MAX]);
                self.deposit(account, asset, amount);
            }
            13 => {
                let (to, asset) = (self.user(), self.random.pick(&[BTC, USD, ETH, RARE]));
                let available = u64::try_from(model.balance(account, asset).available).expect("a balance fits");
                let amount = Amount(self.random.pick(&[available, available.saturating_add(1), available / 2]));
                self.push(Command::Transfer { from: account, to, asset, amount });
            }
            14 => {
                self.push(Command::CancelAllOfAccount { account });
            }
            15 | 16 => {
                let asset = self.random.pick(&[BTC, USD, ETH, RARE]);
                let available = u64::try_from(model.balance(account, asset).available).expect("a balance fits");
                let amount = Amount(self.random.pick(&[available, available, available.saturating_add(1)]));
                let all = self.random.one_in(2);
                self.push(if all {
                    Command::RequestWithdrawalOfAll { account, asset }
                } else {
                    Command::RequestWithdrawal { account, asset, amount }
                });
            }
            17..20 => self.next_step_of_withdrawal(model),
            _ => {
                let (maker_rate, taker_rate) = self.rates();
                self.push(Command::SetMarketFees { market, maker_rate, taker_rate });
            }
        }
    }

    fn far_prices(&mut self, model: &ModelExchange) {
        let market = self.random.pick(&MARKETS);
        let (account, side) = (self.user(), self.side());
        let price = if self.random.one_in(6) { self.random.between(1, 20) } else { self.random.of_bits(40) };
        match self.random.below(100) {
            // Bids low and asks high, so that the book grows deep.
            0..70 => {
                let price = match side {
                    Side::Buy => price & 0xF_FFFF | 1,
                    Side::Sell => (price | 1 << 20) & PRICE_MAX,
                };
                let quantity = self.random.between(1, 5);
                self.place_limit(account, market, side, LimitType::GoodTillCancel, (price, quantity));
            }
            70..80 => {
                let limit_type = self.limit_type();
                let quantity = self.random.between(1, 50);
                self.place_limit(account, market, side, limit_type, (price, quantity));
            }
            80..84 => {
                let price = if side == Side::Buy { PRICE_MAX } else { 1 };
                let quantity = self.random.between(1, 300);
                self.place_limit(account, market, side, LimitType::ImmediateOrCancel, (price, quantity));
            }
            84..87 => {
                let quantity = Quantity(self.random.between(1, 400));
                let client_order_id = self.client_order_id();
                self.push(Command::PlaceMarketSell { account, market, quantity, client_order_id });
            }
            87..90 => {
                let budget = Amount(self.random.of_bits(50));
                let client_order_id = self.client_order_id();
                self.push(Command::PlaceMarketBuy { account, market, budget, client_order_id });
            }
            _ => {
                let Some((market, order)) = self.open_order(model) else { return };
                let (account, side, order) = (order.account, order.side, order.id);
                let quantity = Quantity(self.random.between(1, 5));
                let command = match self.random.below(3) {
                    0 => Command::CancelOrder { account, order },
                    1 => Command::ReduceOrder { account, order, quantity },
                    _ => Command::ReplaceOrder { account, market, side, order, price: Price(price), quantity },
                };
                self.push(command);
            }
        }
    }

    fn mass_cancel(&mut self, model: &ModelExchange) {
        self.top_up(model, 200_000);
        for _ in 0..self.random.between(3, 80) {
            let (account, market, side) = (self.user(), self.random.pick(&MARKETS), self.side());
            let price = match side {
                Side::Buy => self.random.between(80, 101),
                Side::Sell => self.random.between(100, 121),
            };
            let quantity = self.random.between(1, 5);
            self.place_limit(account, market, side, LimitType::GoodTillCancel, (price, quantity));
        }
        if self.random.one_in(4) {
            let (market, status) = (self.random.pick(&MARKETS), self.status());
            self.push(Command::SetMarketStatus { market, status });
        }
        if self.random.one_in(10) {
            let status = self.status();
            self.push(Command::SetGlobalStatus { status });
        }
        if self.random.one_in(2) {
            let account = self.user();
            self.push(Command::CancelAllOfAccount { account });
        } else {
            let market = self.random.pick(&MARKETS);
            self.push(Command::CancelAllOfMarket { market });
        }
        self.push(Command::SetGlobalStatus { status: TradingStatus::Open });
        let market = self.random.pick(&MARKETS);
        self.push(Command::SetMarketStatus { market, status: TradingStatus::Open });
    }
}
