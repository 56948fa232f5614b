//! The commands that every run of the exchange takes: the load simulator's flow, generated beforehand.

use engine::{
    command::Command,
    types::{AccountId, Amount, AssetId, ClientOrderId, ExternalId, LimitType, MarketId, Price, Quantity, Side},
};
use gateway_sim::{flow::FlowSpecification, report::text::grouped};

/// Commands to be timed, and those that come before.
pub struct Workload {
    /// A word for it.
    pub name: &'static str,
    /// Assets, markets, accounts, deposits and the orders that rest; not timed.
    pub setup: Vec<Command>,
    /// What is timed.
    pub flow: Vec<Command>,
    specification: FlowSpecification,
}

/// Of ten accounts six keep four quotes, one keeps four orders far away, and one keeps one.
const RESTING_ORDERS_PER_TEN_ACCOUNTS: u32 = 29;

const ATTACKERS: u32 = 16;
/// The flow's quote asset.
const QUOTE: AssetId = AssetId(0);
/// Enough for one lot at one tick, fee included, and for little more.
const ATTACKERS_DEPOSIT: Amount = Amount(10);

impl Workload {
    /// About 1,000 resting orders in one market.
    #[must_use]
    pub fn shallow(commands: usize) -> Self {
        Self::new("shallow", FlowSpecification { seed: 1, accounts: 350, markets: 1, gateways: 1 }, commands)
    }

    /// Many resting orders, about three for each account, in ten markets.
    #[must_use]
    pub fn deep(accounts: u32, commands: usize) -> Self {
        Self::new("deep", FlowSpecification { seed: 1, accounts, markets: 10, gateways: 1 }, commands)
    }

    /// The shallow workload, with an attacker's command behind every command of the flow: first an order that finds
    /// nothing to trade with and is cancelled, then, behind the flow's next, one that its account cannot pay.
    #[must_use]
    pub fn overdrawn(commands: usize) -> Self {
        let Self { mut setup, flow, specification, .. } = Self::shallow(commands.div_ceil(2));
        for account in (specification.accounts + 1..).take(ATTACKERS as usize).map(AccountId) {
            setup.push(Command::CreateAccount { account });
            let external_id = ExternalId::from_u128(u128::MAX - u128::from(account.0));
            setup.push(Command::Deposit { account, asset: QUOTE, amount: ATTACKERS_DEPOSIT, external_id });
        }
        let flow = flow.into_iter().zip(0..).flat_map(|(command, number)| {
            let attacker = AccountId(specification.accounts + 1 + number / 2 % ATTACKERS);
            [command, attack(attacker, number % 2 == 1)]
        });
        Self { name: "overdrawn", setup, flow: flow.take(commands).collect(), specification }
    }

    fn new(name: &'static str, specification: FlowSpecification, commands: usize) -> Self {
        let (setup, mut flows) = specification.start();
        let flow = flows[0].by_ref().take(commands).collect();
        Self { name, setup, flow, specification }
    }

    /// How many orders rest before the timed commands, and within a few during them.
    #[must_use]
    pub const fn resting_orders(&self) -> u32 {
        self.specification.accounts / 10 * RESTING_ORDERS_PER_TEN_ACCOUNTS
    }

    /// What it is, on one line.
    #[must_use]
    pub fn description(&self) -> String {
        let FlowSpecification { seed, accounts, markets, .. } = self.specification;
        format!(
            "workload: gateway-sim flow, seed {seed}, {} resting orders, {} accounts, markets: {markets}; {} commands \
             after a setup of {}; 42 % new orders, 42 % cancels, 12 % crossing, 4 % other",
            grouped(self.resting_orders().into()),
            grouped(accounts.into()),
            grouped(self.flow.len() as u64),
            grouped(self.setup.len() as u64),
        )
    }

    /// All commands, setup and flow.
    #[must_use]
    pub const fn commands(&self) -> usize {
        self.setup.len() + self.flow.len()
    }
}

/// An attacker's order: far from the market, or beyond what it owns.
const fn attack(account: AccountId, overdraws: bool) -> Command {
    Command::PlaceLimit {
        account,
        market: MarketId(0),
        side: Side::Buy,
        limit_type: LimitType::ImmediateOrCancel,
        price: Price(1),
        quantity: Quantity(if overdraws { 1_000 } else { 1 }),
        client_order_id: ClientOrderId(0),
    }
}
