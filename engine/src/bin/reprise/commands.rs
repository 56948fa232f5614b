//! Commands from JSON: the same keys and values as `reprise log --json` prints, so that what was listed can be edited and
//! handed back. The edge never rounds: what is off an asset's or a market's grid is refused, and so is a key that the kind
//! does not have.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{self, Read as _},
    path::Path,
    str::FromStr,
};

use engine::{
    command::Command,
    event::Event,
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, ClientOrderId, Controls, Digest, ExternalId, FeeRate, Gate,
        LimitType, ManifestHash, MarketId, OperatorId, OrderId, Price, Quantity, Side, TradingStatus, WithdrawalId,
    },
};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::{describe, failure::Failure, names::Names};

/// What an operator gives for a command: JSON itself, a file of it, or `-` for standard input.
pub fn read_text(given: &str) -> Result<String, Failure> {
    if given.trim_start().starts_with(['{', '[']) {
        return Ok(given.to_owned());
    }
    let read = if given == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(Path::new(given))
    };
    read.map_err(|error| Failure::failed(format!("{given}: {error}; give a command in JSON, or a file of it")))
}

/// The commands in a text: objects one after the other, or in a list. `names` learns what they add.
pub fn parse_all(text: &str, names: &mut Names) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let values = match value.map_err(|error| format!("that is no JSON: {error}"))? {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in &values {
            let number = commands.len() + 1;
            let command = parse(value, names).map_err(|wrong| format!("command {number}: {wrong}"))?;
            learn(&command, names);
            commands.push(command);
        }
    }
    if commands.is_empty() { Err("there is no command in it".to_owned()) } else { Ok(commands) }
}

/// The one command in a text.
pub fn parse_one(text: &str, names: &Names) -> Result<Command, String> {
    match parse_all(text, &mut names.clone())?[..] {
        [command] => Ok(command),
        ref commands => Err(format!("there are {} commands in it: give one", commands.len())),
    }
}

/// A command as `parse` reads it.
pub fn to_json(command: &Command, names: &Names) -> Value {
    json!({ "kind": command.kind_name(), "command": describe::command(command, names).json(names) })
}

/// Takes in what a command adds, if it is accepted: those behind it name it.
fn learn(command: &Command, names: &mut Names) {
    match *command {
        Command::AddAsset { asset, symbol, scale } => names.learn(&Event::AssetAdded { asset, symbol, scale }),
        Command::AddMarket { market, base, quote, lot_size, tick_value, maker_rate, taker_rate } => {
            names.learn(&Event::MarketAdded { market, base, quote, lot_size, tick_value, maker_rate, taker_rate });
        }
        Command::OpenAirdrop { airdrop, author, asset, total, lines, lock_seconds, .. } => {
            names.learn(&Event::AirdropOpened { airdrop, author, asset, total, lines, lock_seconds });
        }
        _ => {}
    }
}

/// `{"kind": "CreateAccount", "command": {"account": 7}}`, a whole line of the log, or all in one:
/// `{"kind": "CreateAccount", "account": 7}`.
pub fn parse(value: &Value, names: &Names) -> Result<Command, String> {
    let object =
        value.as_object().ok_or("a command is an object such as {\"kind\": \"CreateAccount\", \"account\": 7}")?;
    let kind = object.get("kind").and_then(Value::as_str).ok_or("\"kind\" is missing: which command it is")?;
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let known = Command::KINDS.iter().map(|(_, name)| *name).find(|name| plain(name) == plain(kind));
    let Some(kind) = known else {
        let names: Vec<_> = Command::KINDS.iter().map(|(_, name)| *name).collect();
        return Err(format!("{kind:?} is no kind of command; there are: {}", names.join(", ")));
    };
    let (fields, flat) = match object.get("command") {
        Some(Value::Object(fields)) => (fields, false),
        Some(_) => return Err("\"command\" is no object: it holds the fields".to_owned()),
        None => (object, true),
    };
    let object = Object { fields, names, used: RefCell::default() };
    if flat {
        object.used.borrow_mut().insert("kind".to_owned());
    }
    let command = object.command(kind).and_then(|command| object.finish().map(|()| command));
    command.map_err(|wrong| format!("{kind}: {wrong}"))
}

/// The fields of a command.
struct Object<'a> {
    fields: &'a Map<String, Value>,
    names: &'a Names,
    used: RefCell<BTreeSet<String>>,
}

type Parsed<T> = Result<T, String>;

impl Object<'_> {
    fn command(&self, kind: &str) -> Parsed<Command> {
        Ok(match kind {
            "AddAsset" => Command::AddAsset {
                asset: AssetId(self.number("asset_id")?),
                symbol: self.text("symbol")?.parse().map_err(|error| format!("\"symbol\": {error}"))?,
                scale: self.number("scale")?,
            },
            "AddMarket" => {
                let (base, quote) = (self.asset("base")?, self.asset("quote")?);
                Command::AddMarket {
                    market: MarketId(self.number("market_id")?),
                    base,
                    quote,
                    lot_size: self.amount("lot_size", base)?,
                    tick_value: self.amount("tick_value", quote)?,
                    maker_rate: self.rate("maker_rate")?,
                    taker_rate: self.rate("taker_rate")?,
                }
            }
            "SetMarketFees" => Command::SetMarketFees {
                market: self.market()?,
                maker_rate: self.rate("maker_rate")?,
                taker_rate: self.rate("taker_rate")?,
            },
            "SetMarketStatus" => Command::SetMarketStatus { market: self.market()?, status: self.status()? },
            "SetGlobalStatus" => Command::SetGlobalStatus { status: self.status()? },
            "SetAssetWithdrawals" => Command::SetAssetWithdrawals {
                asset: self.asset("asset")?,
                withdrawals: self.word("withdrawals", &[Gate::Open, Gate::Closed])?,
            },
            "Tick" => Command::Tick {},
            "CreateAccount" => Command::CreateAccount { account: self.account("account")? },
            "SuspendAccount" => Command::SuspendAccount { account: self.account("account")? },
            "ResumeAccount" => Command::ResumeAccount { account: self.account("account")? },
            "RegisterOperator" => Command::RegisterOperator {
                operator: self.operator("operator")?,
                key: Digest(self.hex("key")?),
                first: self.operator_or_none("first")?,
                second: self.operator_or_none("second")?,
            },
            "RevokeOperator" => Command::RevokeOperator {
                operator: self.operator("operator")?,
                first: self.operator_or_none("first")?,
                second: self.operator_or_none("second")?,
            },
            "Deposit" => {
                let asset = self.asset("asset")?;
                let (account, amount) = (self.account("account")?, self.amount("amount", asset)?);
                Command::Deposit { account, asset, amount, external_id: self.external_id()? }
            }
            "Transfer" => {
                let asset = self.asset("asset")?;
                let (from, to) = (self.account("from")?, self.account("to")?);
                Command::Transfer { from, to, asset, amount: self.amount("amount", asset)? }
            }
            "RequestWithdrawal" => {
                let asset = self.asset("asset")?;
                let account = self.account("account")?;
                Command::RequestWithdrawal { account, asset, amount: self.amount("amount", asset)? }
            }
            "RequestWithdrawalOfAll" => {
                Command::RequestWithdrawalOfAll { account: self.account("account")?, asset: self.asset("asset")? }
            }
            "CancelWithdrawal" => {
                Command::CancelWithdrawal { account: self.account("account")?, withdrawal: self.withdrawal()? }
            }
            "ReleaseWithdrawal" => {
                let asset = self.asset("asset")?;
                let (withdrawal, account) = (self.withdrawal()?, self.account("account")?);
                Command::ReleaseWithdrawal { withdrawal, account, asset, amount: self.amount("amount", asset)? }
            }
            "ConfirmWithdrawalSent" => {
                Command::ConfirmWithdrawalSent { withdrawal: self.withdrawal()?, external_id: self.external_id()? }
            }
            "ConfirmWithdrawalSettled" => Command::ConfirmWithdrawalSettled { withdrawal: self.withdrawal()? },
            "FailWithdrawal" => Command::FailWithdrawal { withdrawal: self.withdrawal()? },
            _ => return self.payout(kind),
        })
    }

    fn payout(&self, kind: &str) -> Parsed<Command> {
        Ok(match kind {
            "FundTreasury" => {
                let asset = self.asset("asset")?;
                let amount = self.amount("amount", asset)?;
                Command::FundTreasury { asset, amount, external_id: self.external_id()? }
            }
            "AttestReserves" => {
                let asset = self.asset("asset")?;
                Command::AttestReserves { asset, amount: self.amount("amount", asset)? }
            }
            "SetPayoutVelocity" => {
                let asset = self.asset("asset")?;
                let window_seconds = if self.has("window_seconds") { self.number("window_seconds")? } else { 0 };
                Command::SetPayoutVelocity { asset, amount_max: self.limit("amount_max", asset)?, window_seconds }
            }
            "SetAirdropLimits" => {
                let asset = self.asset("asset")?;
                Command::SetAirdropLimits {
                    asset,
                    recipient_max: self.limit("recipient_max", asset)?,
                    airdrop_max: self.limit("airdrop_max", asset)?,
                    day_max: self.limit("day_max", asset)?,
                }
            }
            "SetControls" => Command::SetControls { controls: self.controls()? },
            "OpenAirdrop" => {
                let asset = self.asset("asset")?;
                Command::OpenAirdrop {
                    airdrop: self.airdrop()?,
                    author: self.operator("author")?,
                    asset,
                    total: self.amount("total", asset)?,
                    lines: self.number("lines")?,
                    hash: ManifestHash(self.hex("hash")?),
                    lock_seconds: if self.has("lock_seconds") { self.number("lock_seconds")? } else { 0 },
                }
            }
            "AddAirdropLine" => {
                let airdrop = self.airdrop()?;
                let asset = self.names.airdrop_asset(airdrop);
                let asset = asset.ok_or_else(|| format!("there is no {airdrop}, so what it pays is not known"))?;
                let account = self.account("account")?;
                Command::AddAirdropLine { airdrop, account, amount: self.amount("amount", asset)? }
            }
            "ApproveAirdrop" => {
                Command::ApproveAirdrop { airdrop: self.airdrop()?, operator: self.operator("operator")? }
            }
            "ExecuteAirdrop" => {
                Command::ExecuteAirdrop { airdrop: self.airdrop()?, operator: self.operator("operator")? }
            }
            "CancelAirdrop" => {
                Command::CancelAirdrop { airdrop: self.airdrop()?, operator: self.operator("operator")? }
            }
            "SetOff" => Command::SetOff { account: self.account("account")?, asset: self.asset("asset")? },
            _ => return self.order_command(kind),
        })
    }

    fn order_command(&self, kind: &str) -> Parsed<Command> {
        let market = || self.market();
        Ok(match kind {
            "PlaceLimit" => {
                let market = market()?;
                Command::PlaceLimit {
                    account: self.account("account")?,
                    market,
                    side: self.word("side", &[Side::Buy, Side::Sell])?,
                    limit_type: self.word("limit_type", &LIMIT_TYPES)?,
                    price: self.price(market)?,
                    quantity: self.quantity(market)?,
                    client_order_id: self.client_order_id()?,
                }
            }
            "PlaceMarketBuy" => {
                let market = market()?;
                let quote = self.names.market_spec(market).map(|spec| spec.quote).ok_or("the market is not known")?;
                let (account, budget) = (self.account("account")?, self.amount("budget", quote)?);
                Command::PlaceMarketBuy { account, market, budget, client_order_id: self.client_order_id()? }
            }
            "PlaceMarketSell" => {
                let market = market()?;
                let (account, quantity) = (self.account("account")?, self.quantity(market)?);
                Command::PlaceMarketSell { account, market, quantity, client_order_id: self.client_order_id()? }
            }
            "CancelOrder" => Command::CancelOrder { account: self.account("account")?, order: self.order()? },
            "CancelByClientOrderId" => Command::CancelByClientOrderId {
                account: self.account("account")?,
                client_order_id: self.client_order_id()?,
            },
            "ReduceOrder" => Command::ReduceOrder {
                account: self.account("account")?,
                order: self.order()?,
                quantity: self.lots("quantity")?.ok_or("\"quantity\" is counted in lots here, such as \"5 lots\"")?,
            },
            "ReplaceOrder" => {
                let market = market()?;
                Command::ReplaceOrder {
                    account: self.account("account")?,
                    market,
                    side: self.word("side", &[Side::Buy, Side::Sell])?,
                    order: self.order()?,
                    price: self.price(market)?,
                    quantity: self.quantity(market)?,
                }
            }
            "CancelAllOfAccount" => Command::CancelAllOfAccount { account: self.account("account")? },
            "CancelAllOfMarket" => Command::CancelAllOfMarket { market: market()? },
            _ => return Err("only applying a plan submits it: see reprise plan and reprise apply".to_owned()),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// The field as text: a string, or a whole number.
    fn text(&self, name: &str) -> Parsed<String> {
        self.used.borrow_mut().insert(name.to_owned());
        match self.fields.get(name) {
            None | Some(Value::Null) => Err(format!("{name:?} is missing")),
            Some(Value::String(text)) => Ok(text.trim().to_owned()),
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => Ok(number.to_string()),
            Some(other) => Err(format!("{name:?} is {other}: give it as text, such as \"0.5\", or a whole number")),
        }
    }

    fn number<T: FromStr>(&self, name: &str) -> Parsed<T> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("{name:?} is {text:?}: give a whole number that it can be"))
    }

    /// A number that may have the letter that it is written with.
    fn lettered<T: FromStr>(&self, name: &str, letters: &[char]) -> Parsed<T> {
        let text = self.text(name)?;
        let number = text.strip_prefix(letters).unwrap_or(&text);
        number.parse().map_err(|_| format!("{name:?} is {text:?}: give its number"))
    }

    fn account(&self, name: &str) -> Parsed<AccountId> {
        self.lettered(name, &['A', 'a']).map(AccountId)
    }

    fn order(&self) -> Parsed<OrderId> {
        self.lettered("order", &['#']).map(OrderId)
    }

    fn withdrawal(&self) -> Parsed<WithdrawalId> {
        self.lettered("withdrawal", &['W', 'w']).map(WithdrawalId)
    }

    fn operator(&self, name: &str) -> Parsed<OperatorId> {
        self.number(name).map(OperatorId)
    }

    fn operator_or_none(&self, name: &str) -> Parsed<OperatorId> {
        if self.has(name) { self.operator(name) } else { Ok(OperatorId(0)) }
    }

    fn airdrop(&self) -> Parsed<AirdropId> {
        self.number("airdrop").map(AirdropId)
    }

    fn client_order_id(&self) -> Parsed<ClientOrderId> {
        let name = "client_order_id";
        if self.has(name) { self.number(name).map(ClientOrderId) } else { Ok(ClientOrderId(0)) }
    }

    fn asset(&self, name: &str) -> Parsed<AssetId> {
        self.names.find_asset(&self.text(name)?)
    }

    fn market(&self) -> Parsed<MarketId> {
        self.names.find_market(&self.text("market")?)
    }

    fn status(&self) -> Parsed<TradingStatus> {
        use TradingStatus::{Auction, CancelOnly, Frozen, Halted, Open};
        self.word("status", &[Open, CancelOnly, Halted, Auction, Frozen])
    }

    /// One of these words.
    fn word<T: Copy + ToString>(&self, name: &str, words: &[T]) -> Parsed<T> {
        let text = self.text(name)?;
        let found = words.iter().copied().find(|word| word.to_string() == text.replace('_', "-"));
        found.ok_or_else(|| {
            let words: Vec<_> = words.iter().map(ToString::to_string).collect();
            format!("{name:?} is {text:?}: give one of {}", words.join(", "))
        })
    }

    fn controls(&self) -> Parsed<Controls> {
        let text = self.text("controls")?;
        match text.as_str() {
            "none" => return Ok(Controls::NONE),
            "all" => return Ok(Controls::ALL),
            _ => {}
        }
        let known = [Controls::COVER, Controls::APPROVAL, Controls::RESERVES];
        let mut controls = Controls::NONE;
        for part in text.split(['+', ',']) {
            let found = known.iter().find(|control| control.to_string() == part.trim());
            let found =
                found.ok_or_else(|| format!("{part:?} is no control: give none, all, or some of {}", Controls::ALL))?;
            controls.0 |= found.0;
        }
        Ok(controls)
    }

    fn decimal(&self, name: &str) -> Parsed<Decimal> {
        decimal(&self.text(name)?).map_err(|wrong| format!("{name:?} is {wrong}"))
    }

    fn amount(&self, name: &str, asset: AssetId) -> Parsed<Amount> {
        let value = self.decimal(name)?;
        amount(self.names, asset, value).map_err(|wrong| format!("{name:?}: {wrong}"))
    }

    /// An amount that may be no limit: 0 is none.
    fn limit(&self, name: &str, asset: AssetId) -> Parsed<Amount> {
        if !self.has(name) || self.text(name)? == "no limit" {
            return Ok(Amount::ZERO);
        }
        self.amount(name, asset)
    }

    /// So many ticks or lots, if it is given as such.
    fn counted(&self, name: &str, unit: &str) -> Parsed<Option<u64>> {
        let text = self.text(name)?;
        let Some(number) = text.strip_suffix(unit) else { return Ok(None) };
        let number =
            number.trim().parse().map_err(|_| format!("{name:?} is {text:?}: give a whole number of {unit}"))?;
        Ok(Some(number))
    }

    fn price(&self, market: MarketId) -> Parsed<Price> {
        if let Some(ticks) = self.counted("price", "ticks")? {
            return Ok(Price(ticks));
        }
        let value = self.decimal("price")?;
        let grid = self.names.market_grid(market).ok_or("\"price\": this market has no decimals, give \"N ticks\"")?;
        grid.price(value).map_err(|error| format!("\"price\": {error}"))
    }

    fn lots(&self, name: &str) -> Parsed<Option<Quantity>> {
        Ok(self.counted(name, "lots")?.map(Quantity))
    }

    fn quantity(&self, market: MarketId) -> Parsed<Quantity> {
        if let Some(lots) = self.lots("quantity")? {
            return Ok(lots);
        }
        let value = self.decimal("quantity")?;
        let grid =
            self.names.market_grid(market).ok_or("\"quantity\": this market has no decimals, give \"N lots\"")?;
        grid.quantity(value).map_err(|error| format!("\"quantity\": {error}"))
    }

    /// A rate in percent.
    fn rate(&self, name: &str) -> Parsed<FeeRate> {
        let text = self.text(name)?;
        let value = decimal(text.trim_end_matches('%').trim()).map_err(|wrong| format!("{name:?} is {wrong}"))?;
        let thousandths = value.checked_mul(Decimal::from(1_000)).filter(|value| value.fract().is_zero());
        let rate = thousandths.and_then(|value| i16::try_from(value).ok());
        rate.map(FeeRate)
            .ok_or_else(|| format!("{name:?} is {text:?}: give percent in steps of 0.001, such as \"0.05 %\""))
    }

    fn external_id(&self) -> Parsed<ExternalId> {
        let text = self.text("external_id")?;
        let id = (text.len() <= 32).then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        id.map(ExternalId::from_u128)
            .ok_or_else(|| format!("\"external_id\" is {text:?}: give up to 32 hexadecimal digits"))
    }

    fn hex<const N: usize>(&self, name: &str) -> Parsed<[u8; N]> {
        let text = self.text(name)?;
        let mut bytes = [0; N];
        let pairs = text.as_bytes().chunks_exact(2).map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            Some(digit(pair[0])? << 4 | digit(pair[1])?)
        });
        let read: Option<Vec<u8>> = pairs.collect();
        match read.filter(|read| read.len() == N && text.len() == 2 * N) {
            Some(read) => bytes.copy_from_slice(&read),
            None => return Err(format!("{name:?} is {text:?}: give {} hexadecimal digits", 2 * N)),
        }
        Ok(bytes)
    }

    /// A key that is not read would be a wish that is not heard.
    fn finish(&self) -> Parsed<()> {
        let used = self.used.borrow();
        match self.fields.keys().find(|key| !used.contains(*key)) {
            None => Ok(()),
            Some(key) => {
                let known: Vec<_> = used.iter().filter(|name| *name != "kind").map(String::as_str).collect();
                Err(format!("{key:?} is none of its fields; they are: {}", known.join(", ")))
            }
        }
    }
}

const LIMIT_TYPES: [LimitType; 4] =
    [LimitType::GoodTillCancel, LimitType::ImmediateOrCancel, LimitType::FillOrKill, LimitType::PostOnly];

fn decimal(text: &str) -> Parsed<Decimal> {
    let plain = !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit() || ".-".contains(letter));
    let parsed = Some(text).filter(|_| plain).and_then(|text| Decimal::from_str_exact(text).ok());
    parsed.ok_or_else(|| format!("{text:?}: give digits, with a point, such as 0.5"))
}

/// A decimal amount of an asset in minor units.
pub fn amount(names: &Names, asset: AssetId, value: Decimal) -> Result<Amount, String> {
    match names.asset_spec(asset) {
        Some(spec) => spec.amount(value).map_err(|error| error.to_string()),
        None => u64::try_from(value)
            .ok()
            .filter(|amount| *amount <= AMOUNT_MAX && value.fract().is_zero())
            .map(Amount)
            .ok_or_else(|| format!("{value} is no number of minor units")),
    }
}

/// A decimal amount of an asset, as text.
pub fn amount_of(names: &Names, asset: AssetId, text: &str) -> Result<Amount, String> {
    amount(names, asset, decimal(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        let text = r#"
            {"kind": "AddAsset", "command": {"symbol": "BTC", "asset_id": 0, "scale": 8}}
            {"kind": "AddAsset", "command": {"symbol": "KRW", "asset_id": 1, "scale": 0}}
            [{"kind": "add-market", "market_id": 0, "base": "BTC", "quote": "KRW", "lot_size": "0.01", "tick_value": 10,
              "maker_rate": "-0.05 %", "taker_rate": "0.1"},
             {"kind": "OpenAirdrop", "airdrop": 7, "author": 1, "asset": "BTC", "total": "0.5", "lines": 1,
              "hash": "000102030405060708090a0b0c0d0e0f"}]"#;
        let commands = parse_all(text, &mut names).unwrap();
        let (maker_rate, taker_rate) = (FeeRate(-50), FeeRate(100));
        let market = Command::AddMarket {
            market: MarketId(0),
            base: AssetId(0),
            quote: AssetId(1),
            lot_size: Amount(1_000_000),
            tick_value: Amount(10),
            maker_rate,
            taker_rate,
        };
        assert_eq!((commands.len(), commands[2]), (4, market));
        names
    }

    /// One of each kind, with fields of all sizes.
    fn every_kind() -> Vec<Command> {
        let commands = Command::KINDS.iter().map(|(kind, name)| {
            let mut bytes = vec![*kind];
            // A message is read from bytes that are small numbers: valid in every small enum, and within every limit.
            let command = loop {
                match Command::decode(&bytes) {
                    Ok(command) => break command,
                    Err(engine::types::wire::WireError::Truncated) => bytes.push(0),
                    Err(error) => panic!("{name}: {error}"),
                }
            };
            assert_eq!(command.kind_name(), *name);
            command
        });
        commands.collect()
    }

    #[test]
    fn what_the_log_prints_is_read_back() {
        let names = names();
        let (account, market, asset, amount) = (AccountId(7), MarketId(0), AssetId(0), Amount(50_000_001));
        let (order, withdrawal) = (OrderId(11), WithdrawalId(12));
        let (price, quantity, client_order_id) = (Price(95_001), Quantity(120), ClientOrderId(u64::MAX));
        let mut commands = vec![
            Command::PlaceLimit {
                account,
                market,
                side: Side::Sell,
                limit_type: LimitType::PostOnly,
                price,
                quantity,
                client_order_id,
            },
            Command::PlaceMarketBuy { account, market, budget: Amount(123), client_order_id: ClientOrderId(0) },
            Command::ReplaceOrder { account, market, side: Side::Buy, order, price, quantity },
            Command::ReduceOrder { account, order, quantity },
            Command::Deposit { account, asset, amount, external_id: ExternalId::from_u128(u128::MAX - 5) },
            Command::ReleaseWithdrawal { withdrawal, account, asset, amount },
            Command::SetMarketStatus { market, status: TradingStatus::CancelOnly },
            Command::SetAssetWithdrawals { asset, withdrawals: Gate::Closed },
            Command::SetControls { controls: Controls(5) },
            Command::SetPayoutVelocity { asset, amount_max: amount, window_seconds: 60 },
            Command::SetAirdropLimits { asset, recipient_max: amount, airdrop_max: Amount(0), day_max: Amount(9) },
            Command::AddAirdropLine { airdrop: AirdropId(7), account, amount },
            Command::RegisterOperator {
                operator: OperatorId(3),
                key: Digest([0xa7; 32]),
                first: OperatorId(1),
                second: OperatorId(2),
            },
        ];
        commands.extend(every_kind().into_iter().filter(|command| {
            // These name what is not there, or are not submitted.
            !matches!(
                command,
                Command::AddAsset { .. }
                    | Command::AddAirdropLine { .. }
                    | Command::AddPlanPart { .. }
                    | Command::StartEpoch { .. }
            )
        }));
        for command in commands {
            let text = to_json(&command, &names);
            assert_eq!(parse(&text, &names), Ok(command), "{text}");
            let line = json!({
                "sequence": 3, "time": "2026-11-25T09:30:14Z", "cause": "operator:1", "kind": command.kind_name(),
                "command": text["command"], "refused": null, "events": [],
            });
            assert_eq!(parse(&line, &names), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let names = names();
        for (text, part) in [
            ("", "no command in it"),
            ("{", "no JSON"),
            ("[7]", "command 1: a command is an object"),
            (r#"{"account": 7}"#, "\"kind\" is missing"),
            (r#"{"kind": "Fly"}"#, "\"Fly\" is no kind of command; there are: AddAsset"),
            (r#"{"kind": "CreateAccount"}"#, "CreateAccount: \"account\" is missing"),
            (r#"{"kind": "CreateAccount", "command": 7}"#, "no object"),
            (
                r#"{"kind": "CreateAccount", "account": 7, "asset": "BTC"}"#,
                "\"asset\" is none of its fields; they are: account",
            ),
            (r#"{"kind": "CreateAccount", "account": 7.5}"#, "give it as text"),
            (r#"{"kind": "CreateAccount", "account": -7}"#, "give its number"),
            (r#"{"kind": "SetOff", "account": 7, "asset": "XRP"}"#, "there is no asset \"XRP\""),
            (
                r#"{"kind": "FundTreasury", "asset": "BTC", "amount": "0.000000001", "external_id": "1"}"#,
                "off the grid",
            ),
            (r#"{"kind": "FundTreasury", "asset": "BTC", "amount": "1e3", "external_id": "1"}"#, "give digits"),
            (r#"{"kind": "FundTreasury", "asset": "BTC", "amount": "-1", "external_id": "1"}"#, "negative"),
            (r#"{"kind": "FundTreasury", "asset": "BTC", "amount": 1, "external_id": "xyz"}"#, "hexadecimal"),
            (r#"{"kind": "PlaceMarketSell", "account": 7, "market": "BTC-KRW", "quantity": "0.001"}"#, "off the grid"),
            (r#"{"kind": "SetGlobalStatus", "status": "asleep"}"#, "give one of open, cancel-only, halted"),
            (r#"{"kind": "SetControls", "controls": "cover+luck"}"#, "\"luck\" is no control"),
            (r#"{"kind": "AddAirdropLine", "airdrop": 9, "account": 7, "amount": "1"}"#, "there is no airdrop 9"),
            (r#"{"kind": "StartEpoch", "at": 9}"#, "only applying a plan submits it"),
            (r#"{"kind": "RegisterOperator", "operator": 1, "key": "00"}"#, "give 64 hexadecimal digits"),
            (r#"{"kind": "SetMarketFees", "market": 0, "maker_rate": "0.0001", "taker_rate": 0}"#, "steps of 0.001"),
        ] {
            let wrong = parse_all(text, &mut names.clone()).unwrap_err();
            assert!(wrong.contains(part), "{text}: {wrong}");
        }
        let two = r#"{"kind": "Tick"} {"kind": "Tick"}"#;
        assert!(parse_one(two, &names).unwrap_err().contains("2 commands"));
        assert_eq!(parse_one(r#"{"kind": "tick"}"#, &names), Ok(Command::Tick {}));
    }
}
