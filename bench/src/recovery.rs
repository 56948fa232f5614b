//! The past again: excising a wrong airdrop beside a plain replay, and loading a snapshot.

use std::{hint::black_box, path::Path, thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use engine::{
    command::{Command, SequencedCommand},
    exchange::{Exchange, ManifestHasher, StateHash},
    journal::{
        Durability, Epoch, FileStorage, Head, Journal, JournalId, Options,
        snapshot::{SnapshotName, read_snapshot},
    },
    recovery::{Edits, Strategy, Timeline, evaluate, load_snapshot, save_snapshot},
    types::{
        AccountId, AirdropId, Amount, AssetId, Cause, ClientOrderId, Controls, Digest, ExternalId, FeeRate, LimitType,
        MarketId, OperatorId, Price, Quantity, Sequence, Side, Timestamp, TradingStatus,
    },
};
use gateway_sim::{
    flow::{Flow, FlowSpecification},
    machine::file_system_of,
    report::text::grouped,
};
use tempfile::TempDir;

use crate::{
    arguments::Settings,
    exchange::read_into_page_cache,
    report::{Figure, Findings, Section, Target, median},
    tally::Tally,
};

/// The most that excising may take, in plain replays.
const EXCISION_TARGET: f64 = 1.3;
/// Bytes per second that a snapshot should be loaded with.
const SNAPSHOT_TARGET: f64 = 1e9;

/// Commands that one block of the journal takes.
const BLOCK_COMMANDS: u64 = 4_096;
/// The airdrop is paid when so many percent of the commands are through.
const CUT_PERCENT: u64 = 10;
/// Who gets something, and sells it.
const RECIPIENTS: u32 = 1_000;
/// Every so many commands of the flow, a recipient sells.
const COMMANDS_PER_SALE: u64 = 50;
/// A lot of the flow's markets, in minor units.
const LOT: u64 = 10_000;
/// What each recipient is paid, in lots, and sells at once.
const PAID_LOTS: u64 = 1_000;
const SOLD_LOTS: u64 = 20;

/// Measures what it takes to compute the history that there would have been without a wrong airdrop, beside replaying the
/// one that there was.
pub struct Excision {
    directory: TempDir,
    halt: Sequence,
    strategy: Strategy,
    commands: u64,
    resting_orders: u32,
    /// Commands of history per second, one for each round.
    replay: Vec<f64>,
    two_replays: Vec<f64>,
    excision: Vec<f64>,
    expected: Option<[StateHash; 2]>,
    voided: usize,
    failures: Vec<String>,
}

impl Excision {
    /// Writes the history: a flow with about 100,000 resting orders in ten markets, of `commands` commands and the setup; the
    /// wrong airdrop when a tenth of it is through, and recipients that sell from then on.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn new(settings: &Settings, commands: u64) -> Result<Self> {
        let flow = FlowSpecification { seed: 1, accounts: 34_490, markets: 10, gateways: 1 };
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&settings.directory);
        let directory =
            directory.with_context(|| format!("cannot make a directory in {}", settings.directory.display()))?;
        let mut history = HistoryWriter::begin(directory.path())?;
        let (setup, mut flows) = flow.start();
        setup.iter().try_for_each(|command| history.add(command))?;
        (0..RECIPIENTS)
            .try_for_each(|number| history.add(&Command::CreateAccount { account: recipient(&flow, number) }))?;
        let before = commands * CUT_PERCENT / 100;
        for _ in 0..before {
            history.add(&flows[0].next_command())?;
        }
        let paid = pay_airdrop(&mut history, &flow)?;
        sell(&mut history, &flow, &mut flows[0], commands - before)?;
        history.add(&Command::SetGlobalStatus { status: TradingStatus::Frozen })?;
        let halt = history.finish()?;
        Ok(Self {
            directory,
            halt,
            strategy: Strategy::Excise(Edits::drop_sequences([paid])),
            commands,
            resting_orders: flow.accounts / 10 * 29,
            replay: Vec::new(),
            two_replays: Vec::new(),
            excision: Vec::new(),
            expected: None,
            voided: 0,
            failures: Vec::new(),
        })
    }

    /// Measures everything once.
    ///
    /// # Errors
    /// When the journal cannot be read, or the airdrop not be excised.
    pub fn round(&mut self) -> Result<()> {
        read_into_page_cache(self.directory.path())?;
        let timeline = Timeline::open(self.directory.path())?;
        let begun = Instant::now();
        let replayed = timeline.at(self.halt)?;
        self.replay.push(self.halt.0 as f64 / begun.elapsed().as_secs_f64());

        let begun = Instant::now();
        let both: Result<Vec<_>, _> = thread::scope(|scope| {
            let running = [(); 2].map(|()| scope.spawn(|| timeline.at(self.halt)));
            running.into_iter().map(|replay| replay.join().expect("a replay does not panic")).collect()
        });
        self.two_replays.push(self.halt.0 as f64 / begun.elapsed().as_secs_f64());
        if both?.iter().any(|other| other.state_hash() != replayed.state_hash()) {
            self.failures.push("excision: two replays at once ended with another state".to_owned());
        }

        let begun = Instant::now();
        let branch = evaluate(&timeline, self.halt, &self.strategy, &|_| ())?;
        self.excision.push(self.halt.0 as f64 / begun.elapsed().as_secs_f64());

        self.voided = branch.busted.len();
        let parent = replayed.state_hash();
        if branch.parent.state_hash() != parent {
            self.failures.push("excision: the parent is not what the replay ends with".to_owned());
        }
        let ends = [parent, branch.exchange.state_hash()];
        if ends[0] == ends[1] || self.voided == 0 {
            self.failures.push("excision: the branch is the parent, so nothing was excised".to_owned());
        }
        if *self.expected.get_or_insert(ends) != ends {
            self.failures.push("excision: two rounds ended differently".to_owned());
        }
        Ok(())
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let ratio = ratio_of_times(&self.excision, &self.replay);
        let outcome = if self.failures.is_empty() { "end states as expected" } else { "END STATES DIFFER" }.to_owned();
        let setting = format!("journal on {}", file_system_of(self.directory.path()));
        let conditions = vec![
            format!(
                "a history of {} commands, setup included, about {} resting orders in ten markets; an airdrop to {} \
                 accounts when {CUT_PERCENT} % of the flow is through, who sell from then on",
                grouped(self.halt.0),
                grouped(self.resting_orders.into()),
                grouped(RECIPIENTS.into()),
            ),
            "replay: read from a warm page cache, verified and applied to the halt".to_owned(),
            "two replays: both at once and each for itself, until both are there: what two histories side by side cost this \
             machine, and so what an excision can hardly be below"
                .to_owned(),
            format!(
                "excision: the same, with the branch without the airdrop computed beside it and its invariants checked; {} \
                 fills void",
                grouped(self.voided as u64)
            ),
        ];
        let figures = vec![
            Figure::new("replay", setting.as_str(), &self.replay, outcome.clone()),
            Figure::new("two replays", setting.as_str(), &self.two_replays, outcome.clone())
                .compared_to("replay", &self.replay),
            Figure::new("excision", setting.as_str(), &self.excision, outcome).compared_to("replay", &self.replay),
        ];
        let claim = format!("excision over {} commands, time by that of a plain replay", grouped(self.commands));
        Findings {
            sections: vec![Section { title: "excision".to_owned(), conditions, unit: "commands", figures }],
            targets: vec![Target::at_most("ratios.excision_vs_replay", claim, ratio, EXCISION_TARGET)],
            failures: self.failures,
        }
    }
}

/// The median of the rounds' ratios of times, from speeds.
fn ratio_of_times(speeds: &[f64], others: &[f64]) -> f64 {
    let ratios: Vec<f64> = speeds.iter().zip(others).map(|(own, other)| other / own).collect();
    median(&ratios)
}

/// A journal being written as fast as it goes, without a word of what comes out.
struct HistoryWriter {
    journal: Journal<FileStorage>,
    last: u64,
}

impl HistoryWriter {
    fn begin(directory: &Path) -> Result<Self> {
        let options = Options { durability: Durability::None, ..Options::default() };
        let journal = Journal::open(FileStorage::lock(directory)?, options)?.into_journal()?;
        Ok(Self { journal, last: 0 })
    }

    fn add(&mut self, command: &Command) -> Result<()> {
        self.last += 1;
        let (sequence, time) = (Sequence(self.last), Timestamp(self.last * 1_000));
        self.journal.append(&SequencedCommand { sequence, time, cause: Cause::session(1), command: *command })?;
        if self.last.is_multiple_of(BLOCK_COMMANDS) {
            self.journal.commit()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Sequence> {
        self.journal.commit()?;
        self.journal.close()?;
        Ok(Sequence(self.last))
    }
}

const fn recipient(flow: &FlowSpecification, number: u32) -> AccountId {
    AccountId(flow.accounts + 1 + number)
}

/// Pays what was never meant; gives where.
fn pay_airdrop(history: &mut HistoryWriter, flow: &FlowSpecification) -> Result<Sequence> {
    let (clerk, second, none) = (OperatorId(1), OperatorId(2), OperatorId(0));
    // Nothing stands in its way: it is paid without cover.
    history.add(&Command::SetControls { controls: Controls(0) })?;
    for operator in [clerk, second] {
        let key = Digest([operator.0 as u8; 32]);
        history.add(&Command::RegisterOperator { operator, key, first: none, second: none })?;
    }
    let (airdrop, asset, amount) = (AirdropId(1), AssetId(1), Amount(PAID_LOTS * LOT));
    let mut hasher = ManifestHasher::new(asset);
    (0..RECIPIENTS).for_each(|number| hasher.line(recipient(flow, number), amount));
    history.add(&Command::OpenAirdrop {
        airdrop,
        author: clerk,
        asset,
        total: Amount(amount.0 * u64::from(RECIPIENTS)),
        lines: RECIPIENTS,
        hash: hasher.finish(),
        lock_seconds: 0,
    })?;
    for number in 0..RECIPIENTS {
        history.add(&Command::AddAirdropLine { airdrop, account: recipient(flow, number), amount })?;
    }
    history.add(&Command::ApproveAirdrop { airdrop, operator: second })?;
    history.add(&Command::ExecuteAirdrop { airdrop, operator: clerk })?;
    Ok(Sequence(history.last))
}

/// The flow goes on, and recipients sell into it at any price.
fn sell(history: &mut HistoryWriter, specification: &FlowSpecification, flow: &mut Flow, commands: u64) -> Result<()> {
    let mut sales = 0_u64;
    for number in 0..commands {
        if number % COMMANDS_PER_SALE == 0 {
            let account = recipient(specification, (sales % u64::from(RECIPIENTS)) as u32);
            sales += 1;
            let (market, quantity, client_order_id) = (MarketId(0), Quantity(SOLD_LOTS), ClientOrderId(0));
            history.add(&Command::PlaceMarketSell { account, market, quantity, client_order_id })?;
        } else {
            history.add(&flow.next_command())?;
        }
    }
    Ok(())
}

/// Assets of the state that is loaded; the first is what the others are paid in.
const ASSETS: u16 = 5;
/// Orders that each account has open.
const ORDERS_PER_ACCOUNT: u64 = 3;
/// How many prices each side of a market has.
const PRICES: u64 = 2_000;
const MIDDLE: u64 = 10_000;
/// Bytes that are copied to see how fast the memory is.
const COPIED_BYTES: usize = 256 << 20;

/// Measures how fast a snapshot is loaded, and what of it takes how long.
pub struct SnapshotLoad {
    _directory: TempDir,
    storage: FileStorage,
    name: SnapshotName,
    bytes: u64,
    accounts: u32,
    orders: u64,
    state_hash: StateHash,
    copied: [Vec<u8>; 2],
    /// Bytes per second, one for each round.
    loaded: Vec<f64>,
    loaded_again: Vec<f64>,
    read: Vec<f64>,
    hashed: Vec<f64>,
    restored: Vec<f64>,
    memory: Vec<f64>,
    fresh: Vec<f64>,
    failures: Vec<String>,
}

impl SnapshotLoad {
    /// Makes a state of `accounts` accounts that each have five assets and three open orders, and writes it as a snapshot.
    ///
    /// # Errors
    /// When the snapshot cannot be written.
    pub fn new(settings: &Settings, accounts: u32) -> Result<Self> {
        let (exchange, orders) = state_of(accounts)?;
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&settings.directory);
        let directory =
            directory.with_context(|| format!("cannot make a directory in {}", settings.directory.display()))?;
        let storage = FileStorage::lock(directory.path())?;
        let id = JournalId([7; 16]);
        let head = Head { sequence: exchange.last_sequence(), hash: id.genesis(), epoch: Epoch::FIRST };
        let header = save_snapshot(&storage, &exchange, head, Timestamp(1), id)?;
        let file = directory.path().join(header.name().to_string());
        let bytes = file.metadata().with_context(|| format!("cannot look at {}", file.display()))?.len();
        Ok(Self {
            _directory: directory,
            storage,
            name: header.name(),
            bytes,
            accounts,
            orders,
            state_hash: exchange.state_hash(),
            copied: [vec![1; COPIED_BYTES], vec![2; COPIED_BYTES]],
            loaded: Vec::new(),
            loaded_again: Vec::new(),
            read: Vec::new(),
            hashed: Vec::new(),
            restored: Vec::new(),
            memory: Vec::new(),
            fresh: Vec::new(),
            failures: Vec::new(),
        })
    }

    /// Measures everything once.
    ///
    /// # Errors
    /// When the snapshot cannot be loaded.
    pub fn round(&mut self) -> Result<()> {
        let bytes = self.bytes as f64;
        for (time, loads) in [("first", &mut self.loaded), ("second", &mut self.loaded_again)] {
            let begun = Instant::now();
            let loaded = load_snapshot(&self.storage, self.name, 1)?;
            loads.push(bytes / begun.elapsed().as_secs_f64());
            if loaded.exchange.state_hash() != self.state_hash {
                self.failures.push(format!("snapshot: what was loaded the {time} time is not what was written"));
            }
        }

        let begun = Instant::now();
        let (header, payload) = read_snapshot(&self.storage, self.name)?;
        self.read.push(bytes / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        black_box(blake3::hash(&payload));
        self.hashed.push(bytes / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        black_box(Exchange::from_canonical_state(&payload, header.sequence, 1)?);
        self.restored.push(bytes / begun.elapsed().as_secs_f64());

        let [from, to] = &mut self.copied;
        let begun = Instant::now();
        to.copy_from_slice(black_box(from));
        black_box(&to);
        self.memory.push(COPIED_BYTES as f64 / begun.elapsed().as_secs_f64());
        self.fresh.push(COPIED_BYTES as f64 / touch_for_the_first_time(COPIED_BYTES));
        Ok(())
    }

    /// The figures, and what ended wrongly.
    #[must_use]
    pub fn finish(self) -> Findings {
        let outcome = if self.failures.is_empty() { "the state that was written" } else { "ANOTHER STATE" }.to_owned();
        let figure = |name: &str, setting: &str, samples: &[f64]| Figure::new(name, setting, samples, outcome.clone());
        let conditions = vec![
            format!(
                "{} accounts with {ASSETS} assets each, {} open orders, a snapshot of {} bytes in the page cache",
                grouped(self.accounts.into()),
                grouped(self.orders),
                grouped(self.bytes)
            ),
            "loaded: read, its check and the state's hash verified, restored, all invariants checked".to_owned(),
            "loaded again: a second time in the same round, after the first was let go; enters no target".to_owned(),
            "memory touched: loading touches that of the file and of the state for the first time, which a machine that shares \
             its memory with others may have to find first"
                .to_owned(),
        ];
        let figures = vec![
            figure("loaded", "all of it, as opening does", &self.loaded).compared_to("memory copied", &self.memory),
            figure("loaded again", "all of it, in the same round", &self.loaded_again),
            figure("read", "and its check verified, on one thread", &self.read),
            figure("hashed", "the state's hash, on one thread", &self.hashed),
            figure("restored", "and its invariants checked, on one thread", &self.restored),
            figure("memory copied", "from memory to memory, on one thread", &self.memory),
            figure("memory touched", "for the first time, in huge pages, on one thread", &self.fresh),
        ];
        let claim = "snapshot loaded, GB/s";
        Findings {
            targets: vec![Target::at_least("", claim, median(&self.loaded) / 1e9, SNAPSHOT_TARGET / 1e9)],
            sections: vec![Section { title: "snapshot".to_owned(), conditions, unit: "bytes", figures }],
            failures: self.failures,
        }
    }
}

/// Seconds that it takes to write to memory that nobody has written to before.
fn touch_for_the_first_time(bytes: usize) -> f64 {
    let begun = Instant::now();
    let mut memory: Vec<u8> = Vec::with_capacity(bytes);
    ringbuf::advise_huge_pages(memory.spare_capacity_mut());
    memory.resize(bytes, 1);
    black_box(&memory);
    begun.elapsed().as_secs_f64()
}

/// A state made by commands, and how many orders are open in it.
fn state_of(accounts: u32) -> Result<(Exchange, u64)> {
    let (mut exchange, mut tally) = (Exchange::new(), Tally::default());
    let mut apply = |command: &Command| {
        let sequence = exchange.last_sequence().next();
        exchange.apply(sequence, Timestamp(1), command, &mut tally);
    };
    for asset in 0..ASSETS {
        apply(&Command::AddAsset { asset: AssetId(asset), symbol: format!("A{asset}").parse()?, scale: 0 });
    }
    for market in 0..ASSETS - 1 {
        apply(&Command::AddMarket {
            market: MarketId(market),
            base: AssetId(market + 1),
            quote: AssetId(0),
            lot_size: Amount(1),
            tick_value: Amount(1),
            maker_rate: FeeRate(20),
            taker_rate: FeeRate(50),
        });
    }
    let mut external_id = 0;
    for account in (1..=accounts).map(AccountId) {
        apply(&Command::CreateAccount { account });
        for asset in (0..ASSETS).map(AssetId) {
            external_id += 1;
            let amount = Amount(if asset.0 == 0 { 10_000_000 } else { 1_000 });
            apply(&Command::Deposit { account, asset, amount, external_id: ExternalId::from_u128(external_id) });
        }
    }
    // Accounts in an order that is none, as they come in life.
    let mut orders = 0_u64;
    for round in 0..ORDERS_PER_ACCOUNT {
        for number in 0..u64::from(accounts) {
            let account = AccountId(((number * 7_919 + round * 104_729) % u64::from(accounts)) as u32 + 1);
            let mixed = (number + round * 0x9E37_79B9).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let (market, away) = (MarketId((mixed % u64::from(ASSETS - 1)) as u16), mixed / 8 % PRICES);
            let buys = mixed / 4 % 2 == 0;
            let (side, price) = if buys { (Side::Buy, MIDDLE - 1 - away) } else { (Side::Sell, MIDDLE + 1 + away) };
            orders += 1;
            apply(&Command::PlaceLimit {
                account,
                market,
                side,
                limit_type: LimitType::GoodTillCancel,
                price: Price(price),
                quantity: Quantity(1 + mixed % 50),
                client_order_id: ClientOrderId(orders),
            });
        }
    }
    ensure!(tally.refusals == 0 && tally.fills == 0, "the state to load was not made: {tally:?}");
    Ok((exchange, orders))
}
