//! Our own: the whole exchange, in line.
//!
//! Every account of the flow is two here, one that buys and one that sells: peers know no owners and would trade
//! where we prevent a self-trade.

use engine::{
    command::Command,
    event::{Event, EventSink},
    exchange::Exchange,
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, LimitType, MarketId, OrderId,
        Price, Quantity, Side, Timestamp,
    },
};

use super::{Book, BookCommand, BookFlow, Trades};

const BASE: AssetId = AssetId(0);
const QUOTE: AssetId = AssetId(1);
const MARKET: MarketId = MarketId(0);
/// Assets and market.
const FIRST_COMMANDS: u64 = 3;
/// For each account of the flow: two accounts, two deposits.
const COMMANDS_PER_ACCOUNT: u64 = 4;

pub(super) struct RepriseBook {
    exchange: Exchange,
    first: u64,
}

/// The sequence of the flow's command 0.
const fn first_sequence(flow: &BookFlow) -> u64 {
    FIRST_COMMANDS + flow.accounts as u64 * COMMANDS_PER_ACCOUNT + 1
}

const fn account_of(flow_accounts: u32, account: u32, side: Side) -> AccountId {
    match side {
        Side::Buy => AccountId(account),
        Side::Sell => AccountId(account + flow_accounts),
    }
}

struct TradeSink<'a> {
    trades: &'a mut Trades,
    first: u64,
}

impl EventSink for TradeSink<'_> {
    #[inline]
    fn emit(&mut self, event: Event) {
        if let Event::Filled { taker, maker, price, quantity, .. } = event {
            self.trades.add(maker.0 - self.first, taker.0 - self.first, price.0, quantity.0);
        }
    }
}

impl RepriseBook {
    fn apply(&mut self, command: &Command, events: &mut impl EventSink) {
        let sequence = self.exchange.last_sequence().next();
        self.exchange.apply(sequence, Timestamp(0), command, events);
    }
}

impl Book for RepriseBook {
    type Command = Command;

    fn new(flow: &BookFlow) -> Self {
        let mut book = Self { exchange: Exchange::new(), first: first_sequence(flow) };
        let mut events: Vec<Event> = Vec::new();
        let symbol = |text: &str| text.parse().expect("the symbols are valid");
        book.apply(&Command::AddAsset { asset: BASE, symbol: symbol("BTC"), scale: 8 }, &mut events);
        book.apply(&Command::AddAsset { asset: QUOTE, symbol: symbol("USD"), scale: 6 }, &mut events);
        let market = Command::AddMarket {
            market: MARKET,
            base: BASE,
            quote: QUOTE,
            lot_size: Amount(10_000),
            tick_value: Amount(1),
            maker_rate: FeeRate(20),
            taker_rate: FeeRate(50),
        };
        book.apply(&market, &mut events);
        let amount = Amount(AMOUNT_MAX / 2 / u64::from(flow.accounts));
        for account in 1..=flow.accounts {
            for (side, asset) in [(Side::Buy, QUOTE), (Side::Sell, BASE)] {
                let account = account_of(flow.accounts, account, side);
                let external_id = ExternalId::from_u128(account.0.into());
                book.apply(&Command::CreateAccount { account }, &mut events);
                book.apply(&Command::Deposit { account, asset, amount, external_id }, &mut events);
            }
        }
        let refused = events.iter().find(|event| matches!(event, Event::Refused { .. }));
        assert!(refused.is_none(), "the setup was refused: {refused:?}");
        assert_eq!(book.exchange.last_sequence().next().0, book.first);
        book
    }

    fn command(flow: &BookFlow, _index: u64, command: &BookCommand) -> Command {
        match *command {
            BookCommand::Place { account, side, price, quantity } => Command::PlaceLimit {
                account: account_of(flow.accounts, account, side),
                market: MARKET,
                side,
                limit_type: LimitType::GoodTillCancel,
                price: Price(price),
                quantity: Quantity(quantity),
                client_order_id: ClientOrderId(0),
            },
            BookCommand::Cancel { account, side, order } => Command::CancelOrder {
                account: account_of(flow.accounts, account, side),
                order: OrderId(first_sequence(flow) + order),
            },
        }
    }

    #[inline]
    fn execute(&mut self, command: &Command, trades: &mut Trades) {
        let first = self.first;
        self.apply(command, &mut TradeSink { trades, first });
    }
}
