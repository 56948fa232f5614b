//! The commands that every run of the exchange takes: the load simulator's flow, generated beforehand.

use std::iter;

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

const ATTACKERS: usize = 16;
/// Commands of others between two attacks.
const OTHERS: usize = 9;
/// The flow's quote asset.
const QUOTE: AssetId = AssetId(0);
/// Enough for the resting order, fee included, and not for another like it.
const ATTACKERS_DEPOSIT: Amount = Amount(1_000);
/// Lots at one tick.
const ATTACKERS_RESTING: u64 = 900;

impl Workload {
    /// About 1,000 resting orders in one market.
    #[must_use]
    pub fn shallow(commands: usize) -> Self {
        Self::new("shallow", FlowSpecification { seed: 1, accounts: 350, markets: 1, gateways: 1 }, commands)
    }

    /// The shallow workload, and of every ten commands one of an attacker, who has an order resting far away and cannot pay
    /// for another: either for more than it owns in all, or for no more than would be free if that order were cancelled.
    #[must_use]
    pub fn overdrawn(commands: usize, beyond_all: bool) -> Self {
        let Self { mut setup, flow, specification, .. } = Self::shallow(commands);
        let attackers = (specification.accounts + 1..).take(ATTACKERS).map(AccountId);
        for account in attackers.clone() {
            setup.push(Command::CreateAccount { account });
            let external_id = ExternalId::from_u128(u128::MAX - u128::from(account.0));
            setup.push(Command::Deposit { account, asset: QUOTE, amount: ATTACKERS_DEPOSIT, external_id });
            setup.push(attack(account, LimitType::GoodTillCancel, ATTACKERS_RESTING));
        }
        let quantity = if beyond_all { 10 * ATTACKERS_DEPOSIT.0 } else { ATTACKERS_RESTING };
        let mut attacks = attackers.cycle().map(|account| attack(account, LimitType::ImmediateOrCancel, quantity));
        let attack_behind = |(number, command)| {
            let attack = if number % OTHERS == OTHERS - 1 { attacks.next() } else { None };
            iter::once(command).chain(attack)
        };
        let flow = flow.into_iter().enumerate().flat_map(attack_behind).collect();
        let name = if beyond_all { "overdrawn beyond all" } else { "overdrawn" };
        Self { name, setup, flow, specification }
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

/// An attacker's order, far from the market.
const fn attack(account: AccountId, limit_type: LimitType, quantity: u64) -> Command {
    Command::PlaceLimit {
        account,
        market: MarketId(0),
        side: Side::Buy,
        limit_type,
        price: Price(1),
        quantity: Quantity(quantity),
        client_order_id: ClientOrderId(0),
    }
}
