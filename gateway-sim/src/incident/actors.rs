//! Those who make the incident: the clerk who pays out the wrong thing, and the recipients who sell it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use engine::{
    command::Command,
    event::{Event, SequencedEvent},
    exchange::{Balance, ManifestHasher},
    types::{
        AccountId, AirdropId, Amount, AssetId, Cause, ClientOrderId, ManifestHash, OperatorId, Quantity, Sequence,
        Timestamp,
    },
};
use serde::Serialize;

use super::{
    board::{Board, Mood},
    crowd::holders,
    live::{Live, Party, accepted},
    scenario::Scenario,
    world::{COIN, KRW, Market, Place, WGT, WON, World},
};
use crate::random::Random;

/// The operator who draws up and executes the payout.
pub const CLERK: OperatorId = OperatorId(1);
/// Causes of the incident's parties.
const PAYOUT_BATCH: u32 = 1;
const SELLERS: u32 = 91;
/// How often the sellers look at the price.
const ROUND: Duration = Duration::from_millis(40);
/// How much longer than planned the sellers may take to bring the prices down.
const OVERTIME: u32 = 2;
/// Of each asset, in thousandths, what those get who will sell.
const SELLERS_SHARE: u64 = 600;
/// What the first of them passes on, in thousandths of what they got.
const PASSED_ON: u64 = 100;

/// A list of who is to get how much of what.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its number.
    pub airdrop: AirdropId,
    /// What is paid.
    pub asset: AssetId,
    /// To whom and how much.
    pub lines: Vec<(AccountId, Amount)>,
}

impl Manifest {
    /// The sum of all lines.
    #[must_use]
    pub fn total(&self) -> Amount {
        Amount(self.lines.iter().map(|(_, amount)| amount.0).sum())
    }

    /// The hash over all lines.
    #[must_use]
    pub fn hash(&self) -> ManifestHash {
        let mut hasher = ManifestHasher::new(self.asset);
        self.lines.iter().for_each(|&(account, amount)| hasher.line(account, amount));
        hasher.finish()
    }

    /// The commands that open it and fill it in.
    #[must_use]
    pub fn commands(&self) -> Vec<Command> {
        let open = Command::OpenAirdrop {
            airdrop: self.airdrop,
            author: CLERK,
            asset: self.asset,
            total: self.total(),
            lines: self.lines.len() as u32,
            hash: self.hash(),
            lock_seconds: 0,
        };
        let line = |&(account, amount)| Command::AddAirdropLine { airdrop: self.airdrop, account, amount };
        [open].into_iter().chain(self.lines.iter().map(line)).collect()
    }

    /// The command that pays it out.
    #[must_use]
    pub const fn execute(&self) -> Command {
        Command::ExecuteAirdrop { airdrop: self.airdrop, operator: CLERK }
    }
}

/// Who has which part.
#[derive(Clone, Debug)]
pub struct Cast {
    /// What is paid in error.
    pub wrong: Vec<Manifest>,
    /// What should have been paid.
    pub right: Manifest,
    /// All who are credited.
    pub recipients: BTreeSet<AccountId>,
    /// Those of them who sell.
    pub sellers: Vec<AccountId>,
    /// Whom the first seller gives something, to sell it for them.
    pub friend: AccountId,
}

/// The number of the airdrop that pays what was meant.
pub const RIGHT_AIRDROP: AirdropId = AirdropId(1_000);

impl Cast {
    /// Deals the parts.
    ///
    /// # Errors
    /// When the world is too small for them.
    pub fn new(scenario: &Scenario, world: &World) -> Result<Self> {
        let mut random = Random::stream(world.specification.seed, u64::MAX - 2);
        let mut holders: Vec<AccountId> = holders(world).collect();
        let parts = scenario.sellers as usize + 1;
        if holders.len() < parts || world.specification.accounts < scenario.recipients * 2 {
            bail!(
                "{} accounts are too few for {} recipients of whom {} sell: give at least {}",
                world.specification.accounts,
                scenario.recipients,
                scenario.sellers,
                (scenario.recipients * 2).max(scenario.sellers * 16)
            );
        }
        for index in 0..parts {
            let other = index + random.below((holders.len() - index) as u64) as usize;
            holders.swap(index, other);
        }
        let sellers = holders[..parts - 1].to_vec();
        let friend = holders[parts - 1];
        let mut recipients: BTreeSet<AccountId> = sellers.iter().copied().collect();
        let mut others = Vec::new();
        while recipients.len() < scenario.recipients as usize {
            let account = AccountId(random.between(1, world.specification.accounts.into()) as u32);
            if account != friend && recipients.insert(account) {
                others.push(account);
            }
        }
        let assets = dearest(world, scenario.assets);
        let total = scenario.coins * COIN / assets.len() as u64;
        let wrong = (1..)
            .map(AirdropId)
            .zip(&assets)
            .enumerate()
            .map(|(index, (airdrop, &asset))| {
                let for_sellers = total * SELLERS_SHARE / 1_000;
                let others: Vec<AccountId> = others.iter().copied().skip(index).step_by(assets.len()).collect();
                let mut lines = deal(for_sellers, &sellers, &mut random);
                lines.extend(deal(total - for_sellers, &others, &mut random));
                Manifest { airdrop, asset, lines }
            })
            .collect();
        let meant = match world.specification.place {
            Place::Coinzest => WGT,
            Place::Bithumb => KRW,
        };
        let unit = 10_u64.pow(world.assets[usize::from(meant.0)].scale.into());
        let everybody: Vec<AccountId> = recipients.iter().copied().collect();
        let lines = deal(scenario.coins * unit, &everybody, &mut random);
        let right = Manifest { airdrop: RIGHT_AIRDROP, asset: meant, lines };
        Ok(Self { wrong, right, recipients, sellers, friend })
    }
}

/// The assets that are worth most, of those that trade against won.
fn dearest(world: &World, count: u16) -> Vec<AssetId> {
    let mut assets: Vec<_> = world.assets.iter().filter(|asset| world.krw_market(asset.asset).is_some()).collect();
    assets.sort_by_key(|asset| (std::cmp::Reverse(asset.price_milli_krw), asset.asset));
    let dearest = assets.iter().map(|asset| asset.asset).filter(|&asset| asset != WGT);
    let mut dearest: Vec<AssetId> = dearest.take(count.into()).collect();
    dearest.sort_unstable();
    dearest
}

/// Deals an amount among accounts, not evenly.
fn deal(total: u64, accounts: &[AccountId], random: &mut Random) -> Vec<(AccountId, Amount)> {
    let shares: Vec<u64> = accounts.iter().map(|_| random.between(50, 200)).collect();
    let sum: u64 = shares.iter().sum();
    let part = |share: u64| (u128::from(total) * u128::from(share) / u128::from(sum)) as u64;
    let mut lines: Vec<(AccountId, Amount)> =
        accounts.iter().zip(shares).map(|(&account, share)| (account, Amount(part(share)))).collect();
    let dealt: u64 = lines.iter().map(|(_, amount)| amount.0).sum();
    if let Some((_, last)) = lines.last_mut() {
        last.0 += total - dealt;
    }
    lines
}

/// The payout, as the journal has it.
#[derive(Clone, Debug)]
pub struct Payout {
    /// The sequences of all of its commands.
    pub sequences: BTreeSet<Sequence>,
    /// The last good sequence before it.
    pub before: Sequence,
    /// When it was executed.
    pub time: Timestamp,
    /// How much was credited of each asset.
    pub credited: Vec<(AssetId, Amount)>,
}

/// Pays out the wrong thing.
///
/// # Errors
/// When the exchange refuses it, or stops.
pub fn pay(live: &Live<'_>, manifests: &[Manifest]) -> Result<Payout> {
    let mut clerk = Party::new(&live.session.pipeline, Cause::batch(PAYOUT_BATCH))?;
    let mut all = Vec::new();
    for manifest in manifests {
        all.extend(accepted(clerk.execute(&manifest.commands())?, "a line of the manifest")?);
    }
    let executions: Vec<Command> = manifests.iter().map(Manifest::execute).collect();
    all.extend(accepted(clerk.execute(&executions)?, "the payout")?);
    Ok(payout_of(&all, manifests))
}

/// The payout of these events.
#[must_use]
pub fn payout_of(events: &[SequencedEvent], manifests: &[Manifest]) -> Payout {
    let sequences: BTreeSet<Sequence> = events.iter().map(|event| event.sequence).collect();
    let first = sequences.first().copied().unwrap_or_default();
    let time = events.last().map_or(Timestamp(0), |event| event.time);
    let credited = manifests.iter().map(|manifest| (manifest.asset, manifest.total())).collect();
    Payout { sequences, before: Sequence(first.0.saturating_sub(1)), time, credited }
}

/// What the recipients did with it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sale {
    /// What was sold, by symbol, in whole coins.
    pub sold: Vec<(String, f64)>,
    /// What they got for it, in won.
    pub proceeds_krw: u64,
    /// How many asked for withdrawals.
    pub withdrawers: u32,
    /// How much of won these asked for.
    pub asked_krw: u64,
}

/// One market in which there is a sale.
struct Selling {
    market: Market,
    /// How many lots to sell next.
    lots: f64,
    /// How many are left, when that is given.
    left: Option<u64>,
    sold: u64,
    /// What each seller still has, in lots.
    stock: Vec<(AccountId, u64)>,
    turn: usize,
    /// How many orders there are time for.
    rounds: f64,
    done: bool,
}

/// The sale of what was credited, in all markets.
pub struct Sellers {
    markets: Vec<Selling>,
    proceeds: u64,
}

impl Sellers {
    /// The sale that a scenario asks for.
    #[must_use]
    pub fn new(world: &World, scenario: &Scenario, cast: &Cast) -> Self {
        let markets = cast.wrong.iter().filter_map(|manifest| Selling::new(world, scenario, cast, manifest)).collect();
        Self { markets, proceeds: 0 }
    }

    /// One of them has somebody else sell a part.
    pub fn pass_on(&mut self, cast: &Cast) -> Option<Command> {
        let first = self.markets.first_mut()?;
        let (from, lots) = *first.stock.first()?;
        let passed = lots * PASSED_ON / 1_000;
        first.stock[0].1 -= passed;
        first.stock.push((cast.friend, passed));
        let amount = Amount(passed * first.market.spec.lot_size.0);
        (passed > 0).then_some(Command::Transfer { from, to: cast.friend, asset: first.market.spec.base, amount })
    }

    /// Whether nobody sells any more.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.markets.iter().all(|market| market.done)
    }

    /// What they order now, when so much of their time has passed: 0 at the beginning, 1 at the end.
    pub fn orders(&mut self, board: &Board, elapsed: f64) -> Vec<Command> {
        self.markets.iter_mut().filter_map(|market| market.next(board, elapsed)).collect()
    }

    /// Takes notice of what came of their orders.
    pub fn notice(&mut self, event: &Event) {
        if let Event::Filled { market, quantity, price, taker_fee, .. } = *event
            && let Some(selling) = self.markets.iter_mut().find(|selling| selling.market.spec.market == market)
        {
            selling.sold += quantity.0;
            selling.left = selling.left.map(|left| left.saturating_sub(quantity.0));
            let notional = price.0 * quantity.0 * selling.market.spec.tick_value.0;
            self.proceeds += notional.saturating_add_signed(-taker_fee);
        }
    }

    /// What they have sold, and what for.
    #[must_use]
    pub fn sale(&self, world: &World) -> Sale {
        let sold = self.markets.iter().map(|market| {
            let spec = &market.market.spec;
            (world.symbol(spec.base), (market.sold * spec.lot_size.0) as f64 / COIN as f64)
        });
        Sale { sold: sold.collect(), proceeds_krw: self.proceeds / WON, ..Sale::default() }
    }
}

/// Sells, passes on and withdraws.
///
/// # Errors
/// When the exchange stops.
pub fn sell(live: &Live<'_>, scenario: &Scenario, cast: &Cast) -> Result<Sale> {
    let mut party = Party::new(&live.session.pipeline, Cause::session(SELLERS))?;
    live.board.set_mood(Mood::Panic);
    let mut sellers = Sellers::new(live.world, scenario, cast);
    if let Some(transfer) = sellers.pass_on(cast) {
        accepted(party.execute(&[transfer])?, "the transfer")?;
    }
    let begun = Instant::now();
    let (mut asked, mut asked_krw) = (0, 0);
    while !sellers.are_done() && begun.elapsed() < scenario.sale * OVERTIME {
        let elapsed = begun.elapsed().as_secs_f64() / scenario.sale.as_secs_f64();
        let orders = sellers.orders(live.board, elapsed);
        party.execute(&orders)?.iter().for_each(|event| sellers.notice(&event.event));
        // Some of them are quick: they ask for their money while the others still sell.
        let quick = scenario.withdrawers * 2 / 3;
        if elapsed > 0.7 && asked < quick {
            asked_krw += withdraw(live, scenario, &mut party, &cast.sellers[..quick as usize])?;
            asked = quick;
        }
        live.wait(ROUND)?;
    }
    Ok(Sale { withdrawers: asked, asked_krw, ..sellers.sale(live.world) })
}

/// The others are slower: they ask just before everything is stopped.
///
/// # Errors
/// When the exchange stops.
pub fn withdraw_late(live: &Live<'_>, scenario: &Scenario, cast: &Cast, sale: &mut Sale) -> Result<()> {
    let mut party = Party::new(&live.session.pipeline, Cause::session(SELLERS))?;
    let slow = &cast.sellers[sale.withdrawers as usize..scenario.withdrawers as usize];
    sale.asked_krw += withdraw(live, scenario, &mut party, slow)?;
    sale.withdrawers = scenario.withdrawers;
    Ok(())
}

/// Each asks for a part of the won they have; gives the sum.
fn withdraw(live: &Live<'_>, scenario: &Scenario, party: &mut Party, accounts: &[AccountId]) -> Result<u64> {
    let mut sum = 0;
    for &account in accounts {
        let (_, view) = live.session.pipeline.account(account)?;
        let amount = wanted(live.world, scenario, account, &view.map(|view| view.balances).unwrap_or_default());
        if amount.0 > 0 {
            party.execute(&[Command::RequestWithdrawal { account, asset: KRW, amount }])?;
            sum += amount.0 / WON;
        }
    }
    Ok(sum)
}

/// How much of their won a seller with these balances withdraws.
#[must_use]
pub fn wanted(world: &World, scenario: &Scenario, account: AccountId, balances: &[(AssetId, Balance)]) -> Amount {
    let available = balances.iter().find(|(asset, _)| *asset == KRW).map_or(0, |(_, balance)| balance.available.0);
    let got = available.saturating_sub(world.starting_krw(account) * WON);
    Amount((u128::from(got) * u128::from(scenario.withdrawn_share) / 1_000) as u64)
}

impl Selling {
    fn new(world: &World, scenario: &Scenario, cast: &Cast, manifest: &Manifest) -> Option<Self> {
        let market = *world.krw_market(manifest.asset)?;
        let lot = market.spec.lot_size.0;
        let stock = cast.sellers.iter().filter_map(|seller| {
            let line = manifest.lines.iter().find(|(account, _)| account == seller)?;
            Some((*seller, line.1.0 / lot))
        });
        let left = scenario.sold.map(|coins| coins * COIN / lot);
        let lots = market.lots_worth(world.specification.shape.quote_krw.1) as f64;
        let rounds = scenario.sale.as_secs_f64() / ROUND.as_secs_f64();
        Some(Self { market, lots, left, sold: 0, stock: stock.collect(), turn: 0, rounds, done: false })
    }

    /// The next order, if there is to be one now: so much as keeps the price on its way down.
    fn next(&mut self, board: &Board, elapsed: f64) -> Option<Command> {
        let number = self.market.spec.market;
        let last = board.last(number);
        let (opening, floor) = (self.market.opening as f64, self.market.floor as f64);
        let lots = match self.left {
            Some(0) => {
                self.done = true;
                return None;
            }
            // A given quantity, in equal parts.
            Some(left) => {
                let rounds = ((1.0 - elapsed).max(0.0) * self.rounds + 1.0) as u64;
                (left / rounds).clamp(1, left)
            }
            None => {
                if last <= self.market.floor {
                    self.done = true;
                    return None;
                }
                let target = opening * (floor / opening).powf(elapsed.min(1.0));
                let late = last as f64 > target;
                self.lots = (self.lots * if late { 1.5 } else { 0.5 }).max(1.0);
                if !late {
                    return None;
                }
                self.lots as u64
            }
        };
        // Each in turn, as long as they have something.
        let turns = self.stock.len();
        let seller = (0..turns).map(|step| (self.turn + step) % turns).find(|&seller| self.stock[seller].1 > 0);
        let Some(seller) = seller else {
            self.done = true;
            return None;
        };
        self.turn = seller + 1;
        let (account, stock) = &mut self.stock[seller];
        let quantity = lots.min(*stock);
        *stock -= quantity;
        Some(Command::PlaceMarketSell {
            account: *account,
            market: number,
            quantity: Quantity(quantity),
            client_order_id: ClientOrderId(0),
        })
    }
}

/// How far the price of an asset's market in won has fallen, in whole won: opening and lowest.
#[must_use]
pub fn fall(live: &Live<'_>, asset: AssetId) -> Option<(f64, f64)> {
    let market = live.world.krw_market(asset)?;
    let number = market.spec.market;
    Some((live.world.price(number, market.opening), live.world.price(number, live.board.lowest(number))))
}
