//! A flow for one book as commands for a whole exchange: assets, a market with fees, accounts with deposits, orders.

use engine::{
    command::Command,
    types::{
        AMOUNT_MAX, AccountId, Amount, AssetId, ClientOrderId, ExternalId, FeeRate, MarketId, OrderId, Price, Quantity,
    },
};
use gateway_sim::report::text::grouped;

use crate::flows::{BookCommand, Flow};

const BASE: AssetId = AssetId(0);
const QUOTE: AssetId = AssetId(1);
const MARKET: MarketId = MarketId(0);
/// Two assets and a market come first.
const FIRST_COMMANDS: u64 = 3;
/// It is created, and gets something of both assets.
const COMMANDS_PER_ACCOUNT: u64 = 3;

/// Commands to be timed, and those that come before.
pub struct Workload {
    /// A word for it.
    pub name: String,
    /// What it is, on one line.
    pub description: String,
    /// Assets, market, accounts, deposits and the orders that rest; not timed.
    pub setup: Vec<Command>,
    /// What is timed.
    pub flow: Vec<Command>,
    /// How many trades there must be, and of how much in all.
    pub trades: (u64, u64),
}

impl Workload {
    /// The flow's commands, placed by its accounts.
    ///
    /// # Panics
    /// When the assets' symbols are no symbols.
    #[must_use]
    pub fn new(flow: &Flow) -> Self {
        let symbol = |text: &str| text.parse().expect("the symbols are valid");
        let mut setup = vec![
            Command::AddAsset { asset: BASE, symbol: symbol("BTC"), scale: 8 },
            Command::AddAsset { asset: QUOTE, symbol: symbol("USD"), scale: 6 },
            Command::AddMarket {
                market: MARKET,
                base: BASE,
                quote: QUOTE,
                lot_size: Amount(1_000),
                tick_value: Amount(1),
                maker_rate: FeeRate(20),
                taker_rate: FeeRate(50),
            },
        ];
        let amount = Amount(AMOUNT_MAX / 2 / u64::from(flow.accounts));
        for account in (1..=flow.accounts).map(AccountId) {
            setup.push(Command::CreateAccount { account });
            for asset in [BASE, QUOTE] {
                let external_id = ExternalId::from_u128(account.0.into());
                setup.push(Command::Deposit { account, asset, amount, external_id });
            }
        }
        let mut commands = flow.commands.iter().map(|command| command_of(flow, command));
        setup.extend(commands.by_ref().take(flow.setup));
        let trades = flow.expected.last().map_or((0, 0), |trades| (trades.count, trades.quantity));
        Self {
            name: flow.name.clone(),
            description: format!("{} accounts; {}", grouped(flow.accounts.into()), flow.description),
            setup,
            flow: commands.collect(),
            trades,
        }
    }

    /// All commands, setup and flow.
    #[must_use]
    pub const fn commands(&self) -> usize {
        self.setup.len() + self.flow.len()
    }
}

/// The id that an order gets: the sequence of its command.
const fn order_id(flow: &Flow, name: u32) -> OrderId {
    OrderId(FIRST_COMMANDS + flow.accounts as u64 * COMMANDS_PER_ACCOUNT + 1 + name as u64)
}

fn command_of(flow: &Flow, command: &BookCommand) -> Command {
    let owner = |order| AccountId(flow.owner(order).0);
    match *command {
        BookCommand::Place { account, side, limit_type, price, quantity } => Command::PlaceLimit {
            account: AccountId(account),
            market: MARKET,
            side,
            limit_type,
            price: Price(price),
            quantity: Quantity(quantity),
            client_order_id: ClientOrderId(0),
        },
        BookCommand::Cancel { order } => Command::CancelOrder { account: owner(order), order: order_id(flow, order) },
        BookCommand::Reduce { order, quantity } => {
            Command::ReduceOrder { account: owner(order), order: order_id(flow, order), quantity: Quantity(quantity) }
        }
        BookCommand::Replace { order, price, quantity } => Command::ReplaceOrder {
            account: owner(order),
            market: MARKET,
            side: flow.owner(order).1,
            order: order_id(flow, order),
            price: Price(price),
            quantity: Quantity(quantity),
        },
    }
}
