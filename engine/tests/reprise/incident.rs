//! An exchange that has used everything there is: an airdrop that went wrong, its repair in every way, and a life after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use engine::{
    command::Command,
    event::Event,
    exchange::{Exchange, ManifestHasher},
    journal::Epoch,
    pipeline::Inline,
    recovery::{Applied, Plan, Timeline, apply},
    types::{
        AccountId, AirdropId, Amount, AssetId, Cause, Controls, ExternalId, Gate, OperatorId, Sequence, Side,
        Timestamp, TradingStatus, WithdrawalId,
    },
};

use super::world::{self, BAD, BTC, USD, limit, status};

/// The good airdrop, whose credits are locked over the repair.
pub const LOCKED: AirdropId = AirdropId(20);
/// How long.
const LOCK_SECONDS: u32 = 10_000;
/// 2026-11-25T09:30:00Z.
const BEGUN: u64 = super::BEGUN;

struct World {
    inline: Inline,
    seconds: u64,
}

impl World {
    fn open(directory: &Path, seconds: u64) -> Self {
        Self { inline: super::open(directory), seconds }
    }

    fn take(&mut self, command: Command) -> Sequence {
        self.seconds += 1;
        let time = Timestamp(BEGUN + self.seconds * 1_000_000_000);
        self.inline.submit_at(time, Cause::session(1), command).unwrap();
        self.inline.exchange().last_sequence()
    }

    fn airdrop(&mut self, airdrop: AirdropId, asset: AssetId, lines: &[(u32, u64)], lock_seconds: u32) {
        let mut hasher = ManifestHasher::new(asset);
        lines.iter().for_each(|(account, amount)| hasher.line(AccountId(*account), Amount(*amount)));
        let total = Amount(lines.iter().map(|(_, amount)| amount).sum());
        let (author, operator) = (OperatorId(1), OperatorId(2));
        let (count, hash) = (lines.len() as u32, hasher.finish());
        self.take(Command::OpenAirdrop { airdrop, author, asset, total, lines: count, hash, lock_seconds });
        for &(account, amount) in lines {
            self.take(Command::AddAirdropLine { airdrop, account: AccountId(account), amount: Amount(amount) });
        }
        self.take(Command::ApproveAirdrop { airdrop, operator });
    }
}

/// Plays everything through the freeze.
pub fn play(directory: &Path) {
    let mut world = World::open(directory, 0);
    for command in world::setup() {
        world.take(command);
    }
    world.take(Command::AttestReserves { asset: USD, amount: Amount(1_000_000_000) });
    world.take(Command::SetPayoutVelocity { asset: BTC, amount_max: Amount(1_000_000), window_seconds: 3_600 });
    let most = Amount(900_000);
    world.take(Command::SetAirdropLimits { asset: USD, recipient_max: most, airdrop_max: most, day_max: most });
    let asset = BTC;
    world.take(Command::SetAssetWithdrawals { asset, withdrawals: Gate::Closed });
    world.take(Command::RequestWithdrawal { account: AccountId(1), asset, amount: Amount(1) });
    world.take(Command::SetAssetWithdrawals { asset, withdrawals: Gate::Open });
    // One from the treasury that is locked for long, one that is given up.
    world.take(Command::SetControls { controls: Controls(Controls::COVER.0 | Controls::APPROVAL.0) });
    world.airdrop(LOCKED, USD, &[(2, 50_000), (7, 70_000)], LOCK_SECONDS);
    world.take(Command::ExecuteAirdrop { airdrop: LOCKED, operator: OperatorId(1) });
    world.airdrop(AirdropId(21), USD, &[(3, 5)], 0);
    world.take(Command::CancelAirdrop { airdrop: AirdropId(21), operator: OperatorId(2) });
    world.take(Command::SetControls { controls: Controls::NONE });
    let next = world.inline.exchange().last_sequence().next();
    for command in world::incident(BAD, next) {
        world.take(command);
    }
    // What is paid out comes from what was sold.
    let (account, asset, amount) = (AccountId(4), USD, Amount(11_500_000));
    let request = world.take(Command::RequestWithdrawal { account, asset, amount });
    let withdrawal = WithdrawalId(request.0);
    world.take(Command::ReleaseWithdrawal { withdrawal, account, asset, amount });
    world.take(Command::ConfirmWithdrawalSent { withdrawal, external_id: ExternalId::from_u128(4) });
    world.take(Command::Tick {});
    world.take(status(TradingStatus::Frozen));
    world.take(limit(1, Side::Buy, 901, 1));
    world.take(world::late_deposit(1));
    world.inline.close().unwrap();
}

/// Makes a plan of the strategy of this number, and applies it.
pub fn repair(directory: &Path, number: usize) -> (Plan, Applied) {
    let timeline = Timeline::open(directory).unwrap();
    let strategy = world::strategies(&timeline, BAD).swap_remove(number);
    let (plan, _, approvals) = world::approved(&timeline, &strategy);
    let applied = super::once_free(|| apply(directory, &plan, &approvals, Timestamp(1), &|_| ()));
    assert_eq!(applied.epoch, Epoch(2));
    (plan, applied)
}

/// Reopens by auction, sets off, lets a release fail that is not covered, and lets the lock end.
pub fn live_on(directory: &Path) -> Exchange {
    let mut world = World::open(directory, 2_000);
    world.take(status(TradingStatus::Auction));
    world.take(limit(5, Side::Buy, 1_050, 30));
    world.take(limit(8, Side::Sell, 940, 25));
    world.take(limit(10, Side::Sell, 990, 10));
    world.take(status(TradingStatus::Open));
    let debts: Vec<_> = world.inline.exchange().receivables().collect();
    for (account, asset, owed) in debts {
        let external_id = ExternalId::from_u128(9_000 + u128::from(account.0));
        // Half of it, at most: some debts stay.
        let amount = Amount(owed.0.div_ceil(2));
        world.take(Command::Deposit { account, asset, amount, external_id });
        world.take(Command::SetOff { account, asset });
    }
    let released = world.inline.exchange().withdrawals().into_iter();
    let released: Vec<_> = released.filter(|(_, known)| !known.shortfall.is_zero()).collect();
    for (withdrawal, _) in released {
        world.take(Command::FailWithdrawal { withdrawal });
    }
    world.take(limit(6, Side::Buy, 1_000, 40));
    world.take(limit(11, Side::Sell, 930, 40));
    world.seconds += u64::from(LOCK_SECONDS);
    // Locks end ahead of what the command does, here nothing.
    world.take(limit(12, Side::Buy, 0, 1));
    world.inline.exchange().check_invariants().unwrap();
    world.inline.close().unwrap()
}

/// All kinds of events of a history.
pub fn kinds(directory: &Path) -> BTreeSet<&'static str> {
    let (events, _) = world::replayed(&Timeline::open(directory).unwrap());
    events.iter().map(|event| event.event.kind_name()).collect()
}

/// The events of the record that began the epoch.
pub fn corrections(directory: &Path, record: Sequence) -> Vec<Event> {
    let (events, _) = world::replayed(&Timeline::open(directory).unwrap());
    events.iter().filter(|event| event.sequence == record).map(|event| event.event).collect()
}

/// What accounts have by the exchange itself: available and held; the system's as available.
pub fn balances(exchange: &Exchange) -> BTreeMap<(u32, u16), (i64, i64)> {
    let mut all = BTreeMap::new();
    for view in exchange.accounts() {
        for (asset, balance) in view.balances {
            all.insert((view.account.0, asset.0), (balance.available.0 as i64, balance.held.0 as i64));
        }
    }
    for spec in exchange.assets() {
        let system = exchange.system_balances(spec.asset).unwrap();
        for (account, balance) in AccountId::SYSTEM.into_iter().zip(system) {
            all.insert((account.0, spec.asset.0), (i64::try_from(balance).unwrap(), 0));
        }
    }
    all.retain(|_, balance| *balance != (0, 0));
    all
}
