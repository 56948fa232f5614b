//! Commands and events as lists of named fields, from which their line for people, their JSON and the answers to
//! "does it concern account 7?" are all made.

use engine::{
    command::Command,
    event::Event,
    types::{
        AccountId, AirdropId, AssetId, ClientOrderId, ExternalId, FeeRate, Gate, MarketId, MarketSpec, OperatorId,
        OrderId, Price, Quantity, Sequence, Side, Symbol, Timestamp, WithdrawalId,
    },
};
use serde_json::{Map, Value as Json, json};

use crate::{
    names::{self, Names},
    output::{count, grouped},
};

/// One named field of a command or an event.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// What stands before it in a line.
    before: &'static str,
    /// What it holds.
    pub value: Value,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// An account.
    Account(AccountId),
    /// An asset.
    Asset(AssetId),
    /// An asset's short name, known or not.
    Symbol(Symbol),
    /// A market.
    Market(MarketId),
    /// So much of an asset.
    Amount(AssetId, i128),
    /// A change of so much of an asset.
    Change(AssetId, i64),
    /// So much of an asset that is not known.
    MinorUnits(i128),
    /// A market's price.
    Price(MarketId, Price),
    /// A market's quantity.
    Quantity(MarketId, Quantity),
    /// A quantity of a market that is not known.
    Lots(Quantity),
    /// An order.
    Order(OrderId),
    /// A withdrawal.
    Withdrawal(WithdrawalId),
    /// An order's name.
    ClientOrderId(ClientOrderId),
    /// An id from outside.
    ExternalId(ExternalId),
    /// An operator.
    Operator(OperatorId),
    /// An airdrop.
    Airdrop(AirdropId),
    /// A place in the journal.
    Sequence(Sequence),
    /// A time.
    Time(Timestamp),
    /// A fee rate.
    Rate(FeeRate),
    /// A count.
    Count(u64),
    /// A time span.
    Seconds(u32),
    /// Anything that is a word.
    Word(String),
}

/// The fields of a message, in the order in which they read best.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub Vec<Field>);

impl Fields {
    fn put(&mut self, name: &'static str, before: &'static str, value: Value) -> &mut Self {
        self.0.push(Field { name, before, value });
        self
    }

    fn put_account(&mut self, account: AccountId) -> &mut Self {
        self.put("account", "", Value::Account(account))
    }

    fn order(&mut self, order: OrderId) -> &mut Self {
        self.put("order", "", Value::Order(order))
    }

    fn withdrawal(&mut self, withdrawal: WithdrawalId) -> &mut Self {
        self.put("withdrawal", "", Value::Withdrawal(withdrawal))
    }

    fn amount(&mut self, asset: AssetId, amount: u64) -> &mut Self {
        self.put("asset", "", Value::Asset(asset)).put("amount", "", Value::Amount(asset, amount.into()))
    }

    fn market(&mut self, market: MarketId) -> &mut Self {
        self.put("market", "on", Value::Market(market))
    }

    fn word(&mut self, name: &'static str, word: impl ToString) -> &mut Self {
        self.put(name, "", Value::Word(word.to_string()))
    }

    fn external_id(&mut self, id: ExternalId) -> &mut Self {
        self.put("external_id", "ref", Value::ExternalId(id))
    }

    fn rates(&mut self, maker: FeeRate, taker: FeeRate) -> &mut Self {
        self.put("maker_rate", "maker", Value::Rate(maker)).put("taker_rate", "taker", Value::Rate(taker))
    }

    fn operator(&mut self, name: &'static str, before: &'static str, operator: OperatorId) -> &mut Self {
        self.put(name, before, Value::Operator(operator))
    }

    /// The two who vouch; none do for the first two operators.
    fn vouched_by(&mut self, first: OperatorId, second: OperatorId) -> &mut Self {
        for (name, before, operator) in [("first", "vouched for by", first), ("second", "and", second)] {
            if operator.0 != 0 {
                self.operator(name, before, operator);
            }
        }
        self
    }

    fn airdrop(&mut self, airdrop: AirdropId) -> &mut Self {
        self.put("airdrop", "", Value::Airdrop(airdrop))
    }

    /// The limit on withdrawals within a window.
    fn velocity(&mut self, asset: AssetId, amount_max: u64, window_seconds: u32) -> &mut Self {
        self.put("asset", "", Value::Asset(asset));
        if window_seconds == 0 {
            return self.put("amount_max", "", Value::Word("no limit".to_owned()));
        }
        self.put("amount_max", "at most", Value::Amount(asset, amount_max.into()));
        self.put("window_seconds", "in", Value::Seconds(window_seconds))
    }

    /// The limits on airdrops: for a recipient, an airdrop, a day.
    fn limits(&mut self, asset: AssetId, [recipient, airdrop, day]: [u64; 3]) -> &mut Self {
        self.put("asset", "", Value::Asset(asset)).limit("recipient_max", "to one recipient", asset, recipient);
        self.limit("airdrop_max", "in one airdrop", asset, airdrop).limit("day_max", "in one day", asset, day)
    }

    fn lock(&mut self, seconds: u32) -> &mut Self {
        if seconds > 0 {
            self.put("lock_seconds", "locked for", Value::Seconds(seconds));
        }
        self
    }

    /// An amount that may be a limit: 0 is none.
    fn limit(&mut self, name: &'static str, before: &'static str, asset: AssetId, amount: u64) -> &mut Self {
        if amount == 0 {
            return self.put(name, before, Value::Word("no limit".to_owned()));
        }
        self.put(name, before, Value::Amount(asset, amount.into()))
    }

    fn name(&mut self, name: ClientOrderId) -> &mut Self {
        if name.0 != 0 {
            self.put("client_order_id", "named", Value::ClientOrderId(name));
        }
        self
    }

    /// The account that it names first.
    pub fn account(&self) -> Option<AccountId> {
        self.0.iter().find_map(|field| match field.value {
            Value::Account(account) => Some(account),
            _ => None,
        })
    }

    /// Whether it names the account.
    pub fn names_account(&self, account: AccountId) -> bool {
        self.0.iter().any(|field| matches!(field.value, Value::Account(named) if named == account))
    }

    /// Whether it names the order.
    pub fn names_order(&self, order: OrderId) -> bool {
        self.0.iter().any(|field| matches!(field.value, Value::Order(named) if named == order))
    }

    /// Whether it concerns the market.
    pub fn names_market(&self, market: MarketId) -> bool {
        self.0.iter().any(|field| match field.value {
            Value::Market(named) | Value::Price(named, _) | Value::Quantity(named, _) => named == market,
            _ => false,
        })
    }

    /// Whether it concerns the asset, itself or as half of a market.
    pub fn names_asset(&self, asset: AssetId, names: &Names) -> bool {
        let half = |market| names.market_spec(market).is_some_and(|spec| spec.base == asset || spec.quote == asset);
        self.0.iter().any(|field| match field.value {
            Value::Asset(named) | Value::Amount(named, _) | Value::Change(named, _) => named == asset,
            Value::Market(named) | Value::Price(named, _) | Value::Quantity(named, _) => half(named),
            _ => false,
        })
    }

    /// As part of a line.
    pub fn text(&self, names: &Names) -> String {
        let mut text = String::new();
        for (index, field) in self.0.iter().enumerate() {
            // An amount that follows its asset carries the symbol itself.
            let doubled = matches!((&field.value, self.0.get(index + 1).map(|next| &next.value)),
                (Value::Asset(asset), Some(Value::Amount(next, _) | Value::Change(next, _))) if asset == next)
                && self.0.get(index + 1).is_some_and(|next| next.before.is_empty());
            if doubled {
                continue;
            }
            for part in [field.before, &field.value.text(names)] {
                if !part.is_empty() {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(part);
                }
            }
        }
        text
    }

    /// As an object.
    pub fn json(&self, names: &Names) -> Map<String, Json> {
        self.0.iter().map(|field| (field.name.to_owned(), field.value.json(names))).collect()
    }
}

impl Value {
    fn text(&self, names: &Names) -> String {
        match self {
            Self::Account(account) => names::account(*account),
            Self::Asset(asset) => names.asset(*asset),
            Self::Symbol(symbol) => symbol.to_string(),
            Self::Market(market) => names.market(*market),
            Self::Amount(asset, amount) => {
                format!("{} {}", grouped(&names.amount(*asset, *amount)), names.asset(*asset))
            }
            Self::Change(asset, change) => {
                let sign = if *change > 0 { "+" } else { "" };
                format!("{sign}{} {}", grouped(&names.amount(*asset, (*change).into())), names.asset(*asset))
            }
            Self::MinorUnits(amount) => format!("{} minor units", grouped(&amount.to_string())),
            Self::Price(market, price) => price_text(names, *market, *price),
            Self::Quantity(market, quantity) => quantity_text(names, *market, *quantity),
            Self::Lots(quantity) => format!("{} lots", count(quantity.0)),
            Self::Order(order) => order.to_string(),
            Self::Withdrawal(withdrawal) => withdrawal.to_string(),
            Self::ClientOrderId(name) => name.to_string(),
            Self::ExternalId(id) => id.to_string(),
            Self::Rate(rate) => format!("{} %", rust_decimal::Decimal::new(i64::from(rate.0), 3).normalize()),
            Self::Operator(operator) => operator.to_string(),
            Self::Airdrop(airdrop) => airdrop.to_string(),
            Self::Sequence(sequence) => sequence.to_string(),
            Self::Time(time) => names::time(*time),
            Self::Count(number) => count(*number),
            Self::Seconds(seconds) => format!("{} s", count((*seconds).into())),
            Self::Word(word) => word.clone(),
        }
    }

    fn json(&self, names: &Names) -> Json {
        match self {
            Self::Account(account) => json!(account.0),
            Self::Amount(asset, amount) => json!(names.amount(*asset, *amount)),
            Self::Change(asset, change) => json!(names.amount(*asset, (*change).into())),
            Self::MinorUnits(amount) => json!(amount.to_string()),
            Self::Price(market, price) => json!(names.price(*market, *price)),
            Self::Quantity(market, quantity) => json!(names.quantity(*market, *quantity)),
            Self::Lots(quantity) => json!(format!("{quantity} lots")),
            Self::Order(order) => json!(order.0),
            Self::Withdrawal(withdrawal) => json!(withdrawal.0),
            Self::ClientOrderId(name) => json!(name.0),
            Self::Operator(operator) => json!(operator.0),
            Self::Airdrop(airdrop) => json!(airdrop.0),
            Self::Sequence(sequence) => json!(sequence.0),
            Self::Count(number) => json!(number),
            Self::Seconds(seconds) => json!(seconds),
            Self::Asset(_)
            | Self::Symbol(_)
            | Self::Market(_)
            | Self::ExternalId(_)
            | Self::Rate(_)
            | Self::Time(_)
            | Self::Word(_) => json!(self.text(names)),
        }
    }
}

/// A price with what it is counted in.
pub fn price_text(names: &Names, market: MarketId, price: Price) -> String {
    let quote = names.market_spec(market).map(|spec| names.asset(spec.quote)).unwrap_or_default();
    format!("{} {quote}", grouped(&names.price(market, price))).trim_end().to_owned()
}

/// A quantity with what it is counted in.
pub fn quantity_text(names: &Names, market: MarketId, quantity: Quantity) -> String {
    let base = names.market_spec(market).map(|spec| names.asset(spec.base)).unwrap_or_default();
    format!("{} {base}", grouped(&names.quantity(market, quantity))).trim_end().to_owned()
}

/// What a command asks for.
pub fn command(command: &Command, names: &Names) -> Fields {
    let mut all = Fields::default();
    match *command {
        Command::AddAsset { asset, symbol, scale } => {
            all.put("symbol", "", Value::Symbol(symbol)).put("asset_id", "as number", Value::Count(asset.0.into()));
            all.put("scale", "with scale", Value::Count(scale.into()));
        }
        Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } => {
            all.put("market_id", "number", Value::Count(market.0.into()));
            all.put("base", "base", Value::Asset(base)).put("quote", "quote", Value::Asset(quote));
            all.put("lot_size", "lot", Value::Amount(base, lot_size.0.into()));
            all.put("tick_value", "tick value", Value::Amount(quote, tick_value.0.into()));
            all.rates(maker_rate, taker_rate);
        }
        Command::SetMarketFees { market, maker_rate, taker_rate } => {
            all.market(market).rates(maker_rate, taker_rate);
        }
        Command::SetMarketStatus { market, status } => {
            all.market(market).word("status", status);
        }
        Command::SetGlobalStatus { status } => {
            all.word("status", status);
        }
        Command::CreateAccount { account }
        | Command::SuspendAccount { account }
        | Command::ResumeAccount { account }
        | Command::CancelAllOfAccount { account } => {
            all.put_account(account);
        }
        Command::Deposit { account, asset, amount, external_id } => {
            all.put_account(account).amount(asset, amount.0).external_id(external_id);
        }
        Command::Transfer { from, to, asset, amount } => {
            all.put("from", "", Value::Account(from)).put("to", "to", Value::Account(to)).amount(asset, amount.0);
        }
        Command::RequestWithdrawal { account, asset, amount } => {
            all.put_account(account).amount(asset, amount.0);
        }
        Command::RequestWithdrawalOfAll { account, asset } => {
            all.put_account(account).put("asset", "all available", Value::Asset(asset));
        }
        Command::CancelWithdrawal { account, withdrawal } => {
            all.put_account(account).withdrawal(withdrawal);
        }
        Command::ReleaseWithdrawal { withdrawal, account, asset, amount } => {
            all.withdrawal(withdrawal).put("account", "of", Value::Account(account)).amount(asset, amount.0);
        }
        Command::ConfirmWithdrawalSent { withdrawal, external_id } => {
            all.withdrawal(withdrawal).external_id(external_id);
        }
        Command::ConfirmWithdrawalSettled { withdrawal } | Command::FailWithdrawal { withdrawal } => {
            all.withdrawal(withdrawal);
        }
        Command::PlaceLimit { account, market, side, limit_type, price, quantity, client_order_id } => {
            all.put_account(account).word("side", side).put("quantity", "", Value::Quantity(market, quantity));
            all.put("price", "@", Value::Price(market, price)).market(market).word("limit_type", limit_type);
            all.name(client_order_id);
        }
        Command::PlaceMarketBuy { account, market, budget, client_order_id } => {
            all.put_account(account).put("budget", "buy for", quote_amount(names, market, budget.0.into()));
            all.market(market).name(client_order_id);
        }
        Command::PlaceMarketSell { account, market, quantity, client_order_id } => {
            all.put_account(account).put("quantity", "sell", Value::Quantity(market, quantity));
            all.market(market).name(client_order_id);
        }
        Command::CancelOrder { account, order } => {
            all.put_account(account).order(order);
        }
        Command::CancelByClientOrderId { account, client_order_id } => {
            all.put_account(account).name(client_order_id);
        }
        Command::ReduceOrder { account, order, quantity } => {
            all.put_account(account).order(order).put("quantity", "to at most", Value::Lots(quantity));
        }
        Command::ReplaceOrder { account, market, side, order, price, quantity } => {
            all.put_account(account).order(order).word("side", side);
            all.put("quantity", "now", Value::Quantity(market, quantity));
            all.put("price", "@", Value::Price(market, price)).market(market);
        }
        Command::CancelAllOfMarket { market } => {
            all.market(market);
        }
        Command::SetAssetWithdrawals { asset, withdrawals } => {
            all.put("asset", "", Value::Asset(asset)).put("withdrawals", "withdrawals", word(withdrawals));
        }
        Command::Tick {} => {}
        Command::RegisterOperator { operator, key, first, second } => {
            all.operator("operator", "", operator).put("key", "with key", word(key)).vouched_by(first, second);
        }
        Command::RevokeOperator { operator, first, second } => {
            all.operator("operator", "", operator).vouched_by(first, second);
        }
        Command::FundTreasury { asset, amount, external_id } => {
            all.amount(asset, amount.0).external_id(external_id);
        }
        Command::AttestReserves { asset, amount } => {
            all.amount(asset, amount.0);
        }
        Command::SetPayoutVelocity { asset, amount_max, window_seconds } => {
            all.velocity(asset, amount_max.0, window_seconds);
        }
        Command::SetAirdropLimits { asset, recipient_max, airdrop_max, day_max } => {
            all.limits(asset, [recipient_max.0, airdrop_max.0, day_max.0]);
        }
        Command::SetControls { controls } => {
            all.word("controls", controls);
        }
        Command::OpenAirdrop { airdrop, author, asset, total, lines, hash, lock_seconds } => {
            all.airdrop(airdrop).operator("author", "by", author);
            all.put("asset", "of", Value::Asset(asset)).put("total", "of", Value::Amount(asset, total.0.into()));
            all.put("lines", "in lines", Value::Count(lines.into())).put("hash", "hash", word(hash)).lock(lock_seconds);
        }
        Command::AddAirdropLine { airdrop, account, amount } => {
            all.airdrop(airdrop).put("account", "to", Value::Account(account));
            all.put("amount", "", airdrop_amount(names, airdrop, amount.0));
        }
        Command::ApproveAirdrop { airdrop, operator }
        | Command::ExecuteAirdrop { airdrop, operator }
        | Command::CancelAirdrop { airdrop, operator } => {
            all.airdrop(airdrop).operator("operator", "by", operator);
        }
        Command::SetOff { account, asset } => {
            all.put_account(account).put("asset", "", Value::Asset(asset));
        }
        Command::AddPlanPart { index, length, .. } => {
            all.put("index", "part", Value::Count(index.into())).put("length", "bytes", Value::Count(length.into()));
        }
        Command::StartEpoch { at, digest } => {
            all.put("at", "at", Value::Sequence(at)).put("digest", "bound to", word(digest));
        }
    }
    all
}

/// What has happened. `side_of` knows the sides of the orders that were open before it.
pub fn event(event: &Event, names: &Names, side_of: impl Fn(OrderId) -> Option<Side>) -> Fields {
    let mut all = Fields::default();
    let held = |market: MarketId, side: Option<Side>, amount: u64| match (names.market_spec(market), side) {
        (Some(spec), Some(side)) => Value::Amount(held_asset(spec, side), amount.into()),
        _ => Value::MinorUnits(amount.into()),
    };
    match *event {
        Event::Refused { reason, account, client_order_id, subject, .. } => {
            all.word("reason", reason);
            if account.0 != 0 {
                all.put_account(account);
            }
            all.name(client_order_id);
            if subject != 0 {
                all.put("subject", "about", Value::Count(subject));
            }
        }
        Event::AssetAdded { asset, symbol, scale } => {
            all.put("symbol", "", Value::Symbol(symbol)).put("asset_id", "as number", Value::Count(asset.0.into()));
            all.put("scale", "with scale", Value::Count(scale.into()));
        }
        Event::MarketAdded { market, maker_rate, taker_rate, .. } => {
            all.market(market).put("market_id", "number", Value::Count(market.0.into()));
            all.rates(maker_rate, taker_rate);
        }
        Event::MarketFeesSet { market, maker_rate, taker_rate } => {
            all.market(market).rates(maker_rate, taker_rate);
        }
        Event::MarketStatusSet { market, status } => {
            all.market(market).word("status", status);
        }
        Event::GlobalStatusSet { status } => {
            all.word("status", status);
        }
        Event::AccountCreated { account } | Event::AccountSuspended { account } | Event::AccountResumed { account } => {
            all.put_account(account);
        }
        Event::Deposited { account, asset, amount, external_id } => {
            all.put_account(account).amount(asset, amount.0).external_id(external_id);
        }
        Event::Transferred { from, to, asset, amount } => {
            all.put("from", "", Value::Account(from)).put("to", "to", Value::Account(to)).amount(asset, amount.0);
        }
        Event::WithdrawalRequested { withdrawal, account, asset, amount }
        | Event::WithdrawalCancelled { withdrawal, account, asset, amount }
        | Event::WithdrawalReleased { withdrawal, account, asset, amount }
        | Event::WithdrawalFailed { withdrawal, account, asset, amount } => {
            all.withdrawal(withdrawal).put("account", "of", Value::Account(account)).amount(asset, amount.0);
        }
        Event::WithdrawalSent { withdrawal, external_id } => {
            all.withdrawal(withdrawal).external_id(external_id);
        }
        Event::WithdrawalSettled { withdrawal } => {
            all.withdrawal(withdrawal);
        }
        Event::OrderAccepted { order, account, market, side, price, quantity, held: amount, client_order_id } => {
            all.order(order).put("account", "of", Value::Account(account)).word("side", side);
            if !quantity.is_zero() {
                all.put("quantity", "", Value::Quantity(market, quantity));
            }
            if !price.is_zero() {
                all.put("price", "@", Value::Price(market, price));
            }
            all.market(market).put("held", "holding", held(market, Some(side), amount.0)).name(client_order_id);
        }
        Event::Filled {
            taker,
            maker,
            taker_account,
            maker_account,
            market,
            taker_side,
            price,
            quantity,
            maker_remaining,
            taker_fee,
            maker_fee,
            released,
        } => {
            all.put("taker", "taker", Value::Order(taker)).put("taker_account", "of", Value::Account(taker_account));
            all.word("taker_side", if taker_side == Side::Buy { "buys" } else { "sells" });
            all.put("quantity", "", Value::Quantity(market, quantity)).put("price", "@", Value::Price(market, price));
            all.put("maker", "from", Value::Order(maker)).put("maker_account", "of", Value::Account(maker_account));
            all.market(market);
            if maker_remaining.is_zero() {
                all.put("maker_remaining", "maker done, left", Value::Quantity(market, maker_remaining));
            } else {
                all.put("maker_remaining", "maker left", Value::Quantity(market, maker_remaining));
            }
            all.put("taker_fee", "taker fee", quote_amount(names, market, taker_fee.into()));
            all.put("maker_fee", "maker fee", quote_amount(names, market, maker_fee.into()));
            all.put("released", "released", quote_amount(names, market, released.0.into()));
        }
        Event::OrderCancelled { order, account, market, reason, quantity, released } => {
            all.order(order).put("account", "of", Value::Account(account)).word("reason", reason);
            all.put("quantity", "left", Value::Quantity(market, quantity)).market(market);
            all.put("released", "released", held(market, side_of(order), released.0));
        }
        Event::OrderReduced { order, account, market, quantity, released } => {
            all.order(order).put("account", "of", Value::Account(account));
            all.put("quantity", "to", Value::Quantity(market, quantity)).market(market);
            all.put("released", "released", held(market, side_of(order), released.0));
        }
        Event::OrderReplaced { order, account, market, price, quantity, released, held: amount } => {
            let side = side_of(order);
            all.order(order).put("account", "of", Value::Account(account));
            all.put("quantity", "now", Value::Quantity(market, quantity)).put(
                "price",
                "@",
                Value::Price(market, price),
            );
            all.market(market).put("released", "released", held(market, side, released.0));
            all.put("held", "holding", held(market, side, amount.0));
        }
        Event::MassCancelled { account, market, orders } => {
            if account.0 == 0 {
                all.market(market);
            } else {
                all.put_account(account);
            }
            all.put("orders", "orders", Value::Count(orders.into()));
        }
        Event::AssetWithdrawalsSet { asset, withdrawals } => {
            all.put("asset", "", Value::Asset(asset)).put("withdrawals", "withdrawals", word(withdrawals));
        }
        Event::Ticked {} => {}
        Event::OperatorRegistered { operator, key } => {
            all.operator("operator", "", operator).put("key", "with key", word(key));
        }
        Event::OperatorRevoked { operator } => {
            all.operator("operator", "", operator);
        }
        Event::TreasuryFunded { asset, amount, external_id } => {
            all.amount(asset, amount.0).external_id(external_id);
        }
        Event::ReservesAttested { asset, amount, liabilities } => {
            all.amount(asset, amount.0).put("liabilities", "liabilities", Value::Amount(asset, liabilities.0.into()));
        }
        Event::PayoutVelocitySet { asset, amount_max, window_seconds } => {
            all.velocity(asset, amount_max.0, window_seconds);
        }
        Event::AirdropLimitsSet { asset, recipient_max, airdrop_max, day_max } => {
            all.limits(asset, [recipient_max.0, airdrop_max.0, day_max.0]);
        }
        Event::ControlsSet { controls } => {
            all.word("controls", controls);
        }
        Event::AirdropOpened { airdrop, author, asset, total, lines, lock_seconds } => {
            all.airdrop(airdrop).operator("author", "by", author);
            all.put("asset", "of", Value::Asset(asset)).put("total", "of", Value::Amount(asset, total.0.into()));
            all.put("lines", "in lines", Value::Count(lines.into())).lock(lock_seconds);
        }
        Event::AirdropLineAdded { airdrop, account, amount } => {
            all.airdrop(airdrop).put("account", "to", Value::Account(account));
            all.put("amount", "", airdrop_amount(names, airdrop, amount.0));
        }
        Event::AirdropApproved { airdrop, operator } | Event::AirdropCancelled { airdrop, operator } => {
            all.airdrop(airdrop).operator("operator", "by", operator);
        }
        Event::AirdropExecuted { airdrop, asset, total, source, locked_until } => {
            all.airdrop(airdrop).put("asset", "", Value::Asset(asset));
            all.put("total", "", Value::Amount(asset, total.0.into())).put("source", "from", Value::Account(source));
            if locked_until.0 != 0 {
                all.put("locked_until", "locked until", Value::Time(locked_until));
            }
        }
        Event::AirdropCredited { airdrop, account, asset, amount, locked } => {
            all.put_account(account).amount(asset, amount.0).put("airdrop", "by", Value::Airdrop(airdrop));
            if locked == Gate::Closed {
                all.word("locked", "locked");
            }
        }
        Event::AirdropUnlocked { airdrop, account, asset, amount } => {
            all.put_account(account).amount(asset, amount.0).put("airdrop", "of", Value::Airdrop(airdrop));
        }
        Event::SetOffDone { account, asset, amount, owed } => {
            all.put_account(account).amount(asset, amount.0);
            all.put("owed", "still owed", Value::Amount(asset, owed.0.into()));
        }
        Event::AuctionUncrossed { market, price, quantity } => {
            all.market(market).put("quantity", "", Value::Quantity(market, quantity));
            all.put("price", "@", Value::Price(market, price));
        }
        Event::PlanPartAdded { index } => {
            all.put("index", "part", Value::Count(index.into()));
        }
        Event::EpochStarted { epoch, first_changed, plan } => {
            all.put("epoch", "", Value::Count(epoch.into()));
            all.put("first_changed", "changes from sequence", Value::Sequence(first_changed));
            all.put("plan", "plan", word(plan));
        }
        Event::FillBusted { sequence, index, taker, maker, market, price, quantity } => {
            all.put("sequence", "of sequence", Value::Sequence(sequence));
            all.put("index", "event", Value::Count(index.into()));
            all.put("taker", "taker", Value::Order(taker)).put("maker", "maker", Value::Order(maker));
            all.put("quantity", "", Value::Quantity(market, quantity)).put("price", "@", Value::Price(market, price));
            all.market(market);
        }
        Event::BalanceCorrected { account, asset, available, held } => {
            all.put_account(account).put("asset", "", Value::Asset(asset));
            all.put("available", "available by", Value::Change(asset, available));
            if held != 0 {
                all.put("held", "held by", Value::Change(asset, held));
            }
        }
        Event::OrderVoided { order, account, market } => {
            all.order(order).put("account", "of", Value::Account(account)).market(market);
        }
        Event::OrderRestored { order, account, market, side, price, quantity, behind } => {
            all.order(order).put("account", "of", Value::Account(account)).word("side", side);
            all.put("quantity", "", Value::Quantity(market, quantity)).put("price", "@", Value::Price(market, price));
            all.market(market);
            // The order before it is not what this is about.
            let behind = if behind.0 == 0 { "first".to_owned() } else { format!("behind {behind}") };
            all.word("place", behind);
        }
        Event::WithdrawalCorrected { withdrawal, account, state } => {
            all.withdrawal(withdrawal).put("account", "of", Value::Account(account));
            all.put("state", "now", word(withdrawal_state(state)));
        }
        Event::ReceivableCorrected { account, asset, owed } => {
            all.put_account(account).put("asset", "", Value::Asset(asset));
            all.put("owed", "now owes", Value::Amount(asset, owed.0.into()));
        }
        Event::EpochReady { epoch, state } => {
            all.put("epoch", "", Value::Count(epoch.into())).put("state", "state", word(state));
        }
    }
    all
}

fn word(word: impl ToString) -> Value {
    Value::Word(word.to_string())
}

/// What an airdrop pays, if it is known what it pays in.
fn airdrop_amount(names: &Names, airdrop: AirdropId, amount: u64) -> Value {
    let asset = names.airdrop_asset(airdrop);
    asset.map_or(Value::MinorUnits(amount.into()), |asset| Value::Amount(asset, amount.into()))
}

/// The name of a withdrawal's state, by its number.
pub fn withdrawal_state(number: u8) -> String {
    use engine::exchange::WithdrawalState::{Cancelled, Failed, Released, Requested, Sent, Settled};
    let known = [Requested, Released, Sent, Settled, Failed, Cancelled];
    known.into_iter().find(|state| *state as u8 == number).map_or_else(|| "gone".to_owned(), |state| state.to_string())
}

/// What is held for an order.
pub fn held_asset(spec: &MarketSpec, side: Side) -> AssetId {
    match side {
        Side::Buy => spec.quote,
        Side::Sell => spec.base,
    }
}

fn quote_amount(names: &Names, market: MarketId, amount: i128) -> Value {
    names.market_spec(market).map_or(Value::MinorUnits(amount), |spec| Value::Amount(spec.quote, amount))
}
