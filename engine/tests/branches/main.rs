//! Branches, rule by rule: what each strategy makes of small histories that one can follow with pen and paper, and of
//! large ones that nobody could.
//!
//! The histories are played on an exchange by [`World`]; the names of the tests are the clauses of `recovery/rules.md`.

mod bust;
mod compensate;
mod edits;
mod excise;
#[path = "../model/mod.rs"]
mod model;
mod random;
mod releases;
mod rewind;
mod speed;

use std::collections::BTreeMap;

use engine::{
    command::{Command, SequencedCommand},
    event::{Event, NoEvents, RejectReason},
    exchange::{Exchange, ManifestHasher, Withdrawal},
    recovery::{Branch, BranchError, Edits, Recorded, Strategy, evaluate},
    types::{
        AccountId, AirdropId, Amount, AssetId, Cause, ClientOrderId, Controls, Digest, ExternalId, FeeRate, LimitType,
        MarketId, OperatorId, OrderId, Price, Quantity, Sequence, Side, Timestamp, TradingStatus, WithdrawalId,
    },
};

const BTC: AssetId = AssetId(0);
const USD: AssetId = AssetId(1);
const ETH: AssetId = AssetId(2);

/// BTC for USD: a lot is one unit of BTC, a tick one unit of USD.
const MARKET: MarketId = MarketId(0);

const ANNA: AccountId = AccountId(1);
const BERT: AccountId = AccountId(2);
const CARL: AccountId = AccountId(3);
const DORA: AccountId = AccountId(4);
const EMIL: AccountId = AccountId(5);

/// Operators: who draws airdrops up, and who approves them.
const AUTHOR: OperatorId = OperatorId(1);
const APPROVER: OperatorId = OperatorId(2);

const SECOND: u64 = 1_000_000_000;

/// Maker and taker rates in percent, for markets that charge.
const PERCENT: i16 = 1_000;

/// A history in the making, and the exchange to which it happens.
#[derive(Clone)]
struct World {
    commands: Vec<SequencedCommand>,
    exchange: Exchange,
    events: Vec<Event>,
    /// In nanoseconds; each command comes a second after the one before.
    time: u64,
    names: u64,
    airdrops: u32,
}

impl World {
    /// An exchange with three assets, five accounts with nothing, two operators, no controls and a market without fees.
    fn new() -> Self {
        Self::with_fees(0, 0)
    }

    fn with_fees(maker_rate: i16, taker_rate: i16) -> Self {
        let mut world = Self::empty();
        for (asset, symbol) in [(BTC, "BTC"), (USD, "USD"), (ETH, "ETH")] {
            world.done(Command::AddAsset { asset, symbol: symbol.parse().unwrap(), scale: 0 });
        }
        world.done(Command::AddMarket {
            market: MARKET,
            base: BTC,
            quote: USD,
            lot_size: Amount(1),
            tick_value: Amount(1),
            maker_rate: FeeRate(maker_rate),
            taker_rate: FeeRate(taker_rate),
        });
        for account in [ANNA, BERT, CARL, DORA, EMIL] {
            world.done(Command::CreateAccount { account });
        }
        for operator in [AUTHOR, APPROVER] {
            let nobody = OperatorId(0);
            let key = Digest([operator.0 as u8; 32]);
            world.done(Command::RegisterOperator { operator, key, first: nobody, second: nobody });
        }
        world.done(Command::SetControls { controls: Controls::NONE });
        world
    }

    fn empty() -> Self {
        let (commands, events) = (Vec::new(), Vec::new());
        Self { commands, exchange: Exchange::new(), events, time: 0, names: 0, airdrops: 0 }
    }

    /// Lets a command happen, whatever comes of it.
    fn apply(&mut self, command: Command) -> Sequence {
        self.time += SECOND;
        let (sequence, time) = (Sequence(self.commands.len() as u64 + 1), Timestamp(self.time));
        self.commands.push(SequencedCommand { sequence, time, cause: Cause::session(1), command });
        self.events.clear();
        self.exchange.apply(sequence, time, &command, &mut self.events);
        sequence
    }

    /// Lets a command happen that must be accepted.
    fn done(&mut self, command: Command) -> Sequence {
        let sequence = self.apply(command);
        assert_eq!(self.refusal(), None, "{command:?}");
        sequence
    }

    /// Lets a command happen that must be refused for that reason.
    fn refused(&mut self, reason: RejectReason, command: Command) -> Sequence {
        let sequence = self.apply(command);
        assert_eq!(self.refusal(), Some(reason), "{command:?}");
        sequence
    }

    fn refusal(&self) -> Option<RejectReason> {
        match self.events.last() {
            Some(Event::Refused { reason, .. }) => Some(*reason),
            _ => None,
        }
    }

    /// How many fills the last command had.
    fn fills(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Filled { .. })).count()
    }

    fn wait(&mut self, seconds: u64) {
        self.time += seconds * SECOND;
    }

    fn external_id(&mut self) -> ExternalId {
        self.names += 1;
        ExternalId::from_u128(self.names.into())
    }

    fn deposit(&mut self, account: AccountId, asset: AssetId, amount: u64) -> Sequence {
        let external_id = self.external_id();
        self.done(Command::Deposit { account, asset, amount: Amount(amount), external_id })
    }

    fn fund_treasury(&mut self, asset: AssetId, amount: u64) -> Sequence {
        let external_id = self.external_id();
        self.done(Command::FundTreasury { asset, amount: Amount(amount), external_id })
    }

    fn transfer(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: u64) -> Sequence {
        self.done(transfer(from, to, asset, amount))
    }

    fn buy(&mut self, account: AccountId, quantity: u64, price: u64) -> OrderId {
        OrderId(self.done(limit(account, Side::Buy, LimitType::GoodTillCancel, quantity, price)).0)
    }

    fn sell(&mut self, account: AccountId, quantity: u64, price: u64) -> OrderId {
        OrderId(self.done(limit(account, Side::Sell, LimitType::GoodTillCancel, quantity, price)).0)
    }

    fn cancel(&mut self, account: AccountId, order: OrderId) -> Sequence {
        self.done(Command::CancelOrder { account, order })
    }

    fn replace(&mut self, account: AccountId, side: Side, order: OrderId, quantity: u64, price: u64) -> Sequence {
        self.done(replace(account, side, order, quantity, price))
    }

    fn request(&mut self, account: AccountId, asset: AssetId, amount: u64) -> WithdrawalId {
        WithdrawalId(self.done(Command::RequestWithdrawal { account, asset, amount: Amount(amount) }).0)
    }

    /// Releases a withdrawal as it was asked for.
    fn release(&mut self, withdrawal: WithdrawalId) -> Sequence {
        let Withdrawal { account, asset, amount, .. } = withdrawal_of(&self.exchange, withdrawal).unwrap();
        self.done(Command::ReleaseWithdrawal { withdrawal, account, asset, amount })
    }

    fn sent(&mut self, withdrawal: WithdrawalId) -> Sequence {
        let external_id = self.external_id();
        self.done(Command::ConfirmWithdrawalSent { withdrawal, external_id })
    }

    /// Opens the manifest of an airdrop with its lines; gives where it was opened.
    fn open_airdrop(&mut self, asset: AssetId, lines: &[(AccountId, u64)], lock_seconds: u32) -> (AirdropId, Sequence) {
        self.airdrops += 1;
        let airdrop = AirdropId(self.airdrops);
        let opened = self.done(opening(airdrop, asset, lines, lock_seconds));
        for &(account, amount) in lines {
            self.done(Command::AddAirdropLine { airdrop, account, amount: Amount(amount) });
        }
        (airdrop, opened)
    }

    fn execute_airdrop(&mut self, airdrop: AirdropId) -> Sequence {
        self.done(Command::ExecuteAirdrop { airdrop, operator: AUTHOR })
    }

    /// An airdrop from its opening to its execution, where it is paid.
    fn airdrop(&mut self, asset: AssetId, lines: &[(AccountId, u64)]) -> Sequence {
        let (airdrop, _) = self.open_airdrop(asset, lines, 0);
        self.execute_airdrop(airdrop)
    }

    fn set_status(&mut self, status: TradingStatus) -> Sequence {
        self.done(Command::SetMarketStatus { market: MARKET, status })
    }

    fn last(&self) -> Sequence {
        Sequence(self.commands.len() as u64)
    }

    /// What happened so far, frozen, and the sequence of that.
    fn frozen(&self) -> (Recorded, Sequence, Self) {
        let mut world = self.clone();
        let halt = world.done(Command::SetGlobalStatus { status: TradingStatus::Frozen });
        (Recorded::new(world.commands.clone()), halt, world)
    }

    /// The branch that a strategy leads to when the exchange is frozen now.
    ///
    /// Of every branch is checked that it has the parent beside it, breaks no invariant, comes out the same a second time
    /// and can be restored from its bytes.
    fn branch(&self, strategy: &Strategy) -> Branch {
        self.try_branch(strategy).unwrap_or_else(|error| panic!("{strategy}: {error}"))
    }

    fn try_branch(&self, strategy: &Strategy) -> Result<Branch, BranchError> {
        let (history, halt, world) = self.frozen();
        let branch = evaluate(&history, halt, strategy, &|_| ())?;
        assert_eq!(branch.parent.state_hash(), world.exchange.state_hash(), "the parent is what happened");
        check(&branch);
        let again = evaluate(&history, halt, strategy, &|_| ()).expect("what came out once does so again");
        assert_eq!(again.exchange.state_hash(), branch.exchange.state_hash());
        assert_eq!((&again.busted, &again.new_fills), (&branch.busted, &branch.new_fills));
        Ok(branch)
    }

    /// Why there is no branch.
    fn fails(&self, strategy: &Strategy) -> BranchError {
        match self.try_branch(strategy) {
            Ok(_) => panic!("{strategy} should be refused"),
            Err(error) => error,
        }
    }

    fn excise(&self, dropped: &[Sequence]) -> Branch {
        self.branch(&Strategy::Excise(drops(dropped)))
    }

    fn rewind(&self, cut: Sequence) -> Branch {
        self.branch(&Strategy::Rewind { cut })
    }

    fn bust(&self, dropped: &[Sequence]) -> Branch {
        self.branch(&Strategy::Bust(drops(dropped)))
    }
}

/// What must hold of every branch.
fn check(branch: &Branch) {
    assert_eq!(branch.exchange.check_invariants(), Ok(()));
    let last = branch.parent.last_sequence();
    assert_eq!(branch.exchange.last_sequence(), last);
    let mut bytes = Vec::new();
    branch.exchange.canonical_state(&mut |piece| bytes.extend_from_slice(piece));
    let restored = Exchange::from_canonical_state(&bytes, last, 0).expect("the state of a branch can be restored");
    assert_eq!(restored.state_hash(), branch.exchange.state_hash());
    // What the bytes do not tell must be the same, too: what comes later has the same outcome.
    assert_eq!(later(restored, last), later(branch.exchange.clone(), last));
}

/// What becomes of a state that is opened again: all locks end, all orders are cancelled, everything is withdrawn.
fn later(mut exchange: Exchange, last: Sequence) -> (Vec<Event>, String) {
    let (mut events, mut sequence) = (Vec::new(), last);
    let mut apply = |exchange: &mut Exchange, time: u64, command: Command| {
        sequence = sequence.next();
        exchange.apply(sequence, Timestamp(time), &command, &mut events);
    };
    let end = u64::MAX - 1;
    apply(&mut exchange, end, Command::SetGlobalStatus { status: TradingStatus::Open });
    let markets: Vec<MarketId> = exchange.markets().map(|market| market.spec.market).collect();
    for market in markets {
        apply(&mut exchange, end, Command::SetMarketStatus { market, status: TradingStatus::Open });
        let (maker_rate, taker_rate) = (FeeRate(-7), FeeRate(11));
        apply(&mut exchange, end, Command::SetMarketFees { market, maker_rate, taker_rate });
        for side in [Side::Buy, Side::Sell] {
            let orders: Vec<_> = exchange.queue(market, side).take(50).collect();
            for order in orders {
                let (account, order, price, quantity) = (order.account, order.order, order.price, order.quantity);
                apply(&mut exchange, end, Command::ReplaceOrder { account, market, side, order, price, quantity });
                let price = Price(price.0 + 1);
                apply(&mut exchange, end, Command::ReplaceOrder { account, market, side, order, price, quantity });
            }
        }
        apply(&mut exchange, end, Command::CancelAllOfMarket { market });
    }
    for (withdrawal, Withdrawal { account, asset, amount, .. }) in exchange.withdrawals() {
        apply(&mut exchange, end, Command::ReleaseWithdrawal { withdrawal, account, asset, amount });
        apply(&mut exchange, end, Command::FailWithdrawal { withdrawal });
    }
    let accounts: Vec<_> = exchange.accounts().collect();
    for view in accounts {
        for (asset, _) in view.balances {
            let account = view.account;
            apply(&mut exchange, end, Command::SetOff { account, asset });
            apply(&mut exchange, end, Command::RequestWithdrawalOfAll { account, asset });
        }
    }
    assert_eq!(exchange.check_invariants(), Ok(()), "after the branch was opened again");
    (events, exchange.state_hash().to_string())
}

fn drops(sequences: &[Sequence]) -> Edits {
    Edits::drop_sequences(sequences.iter().copied())
}

/// Drops a sequence that only seems to be a fact.
fn drops_fact(sequence: Sequence) -> Edits {
    let reason = Some("it was booked by mistake".to_owned());
    Edits { dropped: BTreeMap::from([(sequence, reason)]), replaced: BTreeMap::new() }
}

fn replaces(sequence: Sequence, command: Command) -> Edits {
    Edits { dropped: BTreeMap::new(), replaced: BTreeMap::from([(sequence, command)]) }
}

fn limit(account: AccountId, side: Side, limit_type: LimitType, quantity: u64, price: u64) -> Command {
    named(account, side, limit_type, quantity, price, 0)
}

fn named(account: AccountId, side: Side, limit_type: LimitType, quantity: u64, price: u64, name: u64) -> Command {
    let (price, quantity, client_order_id) = (Price(price), Quantity(quantity), ClientOrderId(name));
    Command::PlaceLimit { account, market: MARKET, side, limit_type, price, quantity, client_order_id }
}

fn replace(account: AccountId, side: Side, order: OrderId, quantity: u64, price: u64) -> Command {
    let (price, quantity) = (Price(price), Quantity(quantity));
    Command::ReplaceOrder { account, market: MARKET, side, order, price, quantity }
}

fn transfer(from: AccountId, to: AccountId, asset: AssetId, amount: u64) -> Command {
    Command::Transfer { from, to, asset, amount: Amount(amount) }
}

fn opening(airdrop: AirdropId, asset: AssetId, lines: &[(AccountId, u64)], lock_seconds: u32) -> Command {
    let mut hasher = ManifestHasher::new(asset);
    lines.iter().for_each(|&(account, amount)| hasher.line(account, Amount(amount)));
    let total = Amount(lines.iter().map(|(_, amount)| amount).sum());
    let count = lines.len() as u32;
    Command::OpenAirdrop { airdrop, author: AUTHOR, asset, total, lines: count, hash: hasher.finish(), lock_seconds }
}

/// Available and held.
fn has(exchange: &Exchange, account: AccountId, asset: AssetId) -> (u64, u64) {
    let balance = exchange.risk().balance(account, asset);
    (balance.available.0, balance.held.0)
}

/// A system account's balance.
fn system(exchange: &Exchange, account: AccountId, asset: AssetId) -> i128 {
    let place = AccountId::SYSTEM.iter().position(|other| *other == account).expect("a system account");
    exchange.system_balances(asset).expect("a known asset")[place]
}

fn owes(exchange: &Exchange, account: AccountId, asset: AssetId) -> u64 {
    exchange.owed(account, asset).0
}

fn withdrawal_of(exchange: &Exchange, withdrawal: WithdrawalId) -> Option<Withdrawal> {
    exchange.risk().withdrawal(withdrawal).copied()
}

/// What is open of an order, or nothing.
fn open(exchange: &Exchange, order: OrderId) -> Option<u64> {
    exchange.order(order).map(|order| order.quantity.0)
}

/// The orders of a side in the order in which they would trade.
fn queue(exchange: &Exchange, side: Side) -> Vec<OrderId> {
    exchange.queue(MARKET, side).map(|order| order.order).collect()
}

/// Lets a branch go on, open again, with a command.
fn goes_on(branch: &Branch, command: &Command) -> (Exchange, Vec<Event>) {
    let mut exchange = branch.exchange.clone();
    let (mut events, last) = (Vec::new(), exchange.last_sequence());
    let time = Timestamp(u64::MAX / 2);
    let opening = Command::SetGlobalStatus { status: TradingStatus::Open };
    exchange.apply(Sequence(last.0 + 1), time, &opening, &mut NoEvents);
    exchange.apply(Sequence(last.0 + 2), time, command, &mut events);
    (exchange, events)
}

/// The fees of the one fill among events: the taker's, the maker's.
fn fees_of(events: &[Event]) -> (i64, i64) {
    let fills: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Filled { taker_fee, maker_fee, .. } => Some((*taker_fee, *maker_fee)),
            _ => None,
        })
        .collect();
    assert_eq!(fills.len(), 1, "{events:?}");
    fills[0]
}
