//! Incidents that chance hardly ever finds: written by hand, and compared like the others.

use engine::{
    command::{Command, SequencedCommand},
    recovery::{Edits, Recorded, Strategy},
    types::{
        AccountId, AirdropId, Amount, AssetId, Cause, Controls, Digest, ExternalId, OperatorId, Sequence, Timestamp,
        TradingStatus, WithdrawalId,
    },
};

use crate::{
    compare,
    history::{Incident, Marks},
    model::{ModelExchange, payouts::manifest_hash},
    naive::{Coverage, Parent},
};

const ASSET: AssetId = AssetId(0);
const ACCOUNT: AccountId = AccountId(7);
const AIRDROP: AirdropId = AirdropId(1);

/// Commands from sequence 1, the freeze behind them.
struct Story(Vec<Command>);

impl Story {
    /// An asset, an account and two operators.
    fn new() -> Self {
        let mut story = Self(Vec::new());
        let symbol = "BTC".parse().expect("a valid symbol");
        story.then(Command::AddAsset { asset: ASSET, symbol, scale: 2 });
        story.then(Command::CreateAccount { account: ACCOUNT });
        for number in 1..=2 {
            let (operator, key) = (OperatorId(number), Digest([7; 32]));
            let [first, second] = [OperatorId(0); 2];
            story.then(Command::RegisterOperator { operator, key, first, second });
        }
        story.then(Command::AttestReserves { asset: ASSET, amount: Amount(1_000_000) });
        story
    }

    fn then(&mut self, command: Command) -> Sequence {
        self.0.push(command);
        Sequence(self.0.len() as u64)
    }

    fn fund(&mut self, amount: u64) -> Sequence {
        let external_id = ExternalId::from_u128(self.0.len() as u128);
        self.then(Command::FundTreasury { asset: ASSET, amount: Amount(amount), external_id })
    }

    fn deposit(&mut self, amount: u64) -> Sequence {
        let external_id = ExternalId::from_u128(self.0.len() as u128);
        self.then(Command::Deposit { account: ACCOUNT, asset: ASSET, amount: Amount(amount), external_id })
    }

    /// Another deposit in the place of one.
    fn deposit_instead(&self, sequence: Sequence, amount: u64) -> Command {
        match self.0[usize::try_from(sequence.0 - 1).expect("it fits")] {
            Command::Deposit { account, asset, external_id, .. } => {
                Command::Deposit { account, asset, amount: Amount(amount), external_id }
            }
            other => unreachable!("{other:?} is no deposit"),
        }
    }

    /// An airdrop to the account, up to its approval.
    fn airdrop(&mut self, airdrop: AirdropId, amount: u64) {
        let (author, total) = (OperatorId(1), Amount(amount));
        let hash = manifest_hash(ASSET, &[(ACCOUNT, amount.into())]);
        self.then(Command::OpenAirdrop { airdrop, author, asset: ASSET, total, lines: 1, hash, lock_seconds: 0 });
        self.then(Command::AddAirdropLine { airdrop, account: ACCOUNT, amount: total });
        self.then(Command::ApproveAirdrop { airdrop, operator: OperatorId(2) });
    }

    fn request(&mut self, amount: u64) -> WithdrawalId {
        let amount = Amount(amount);
        WithdrawalId(self.then(Command::RequestWithdrawal { account: ACCOUNT, asset: ASSET, amount }).0)
    }

    /// Compares the plan.
    fn check(mut self, strategy: &Strategy) -> Coverage {
        let halt = self.then(Command::SetGlobalStatus { status: TradingStatus::Frozen });
        let sequenced = self.0.into_iter().enumerate().map(|(place, command)| SequencedCommand {
            sequence: Sequence(place as u64 + 1),
            time: Timestamp(1_000 + place as u64),
            cause: Cause::session(1),
            command,
        });
        let commands: Vec<_> = sequenced.collect();
        let incident = Incident { seed: 0, start: Sequence(0), commands, halt, marks: Marks::default() };
        let parent = Parent::run(&ModelExchange::new(), &incident);
        let history = Recorded::new(incident.commands);
        compare::compare(&parent, &history, strategy).unwrap_or_else(|error| panic!("{error}"))
    }
}

const fn released(withdrawal: WithdrawalId, amount: u64) -> Command {
    Command::ReleaseWithdrawal { withdrawal, account: ACCOUNT, asset: ASSET, amount: Amount(amount) }
}

fn not_a_fact(sequence: Sequence) -> Edits {
    Edits { dropped: [(sequence, Some("it never arrived".to_owned()))].into(), ..Edits::default() }
}

const EXECUTE: Command = Command::ExecuteAirdrop { airdrop: AIRDROP, operator: OperatorId(2) };

/// The treasury pays what it never got, what it paid is withdrawn, and only then it gets as much again.
#[test]
fn bust_is_refused_when_the_treasury_and_all_together_are_overdrawn_on_the_way() {
    for next in [Command::Tick {}, Command::SetOff { account: ACCOUNT, asset: ASSET }] {
        let mut story = Story::new();
        let funded = story.fund(100);
        story.airdrop(AIRDROP, 100);
        story.then(EXECUTE);
        let withdrawal = story.request(100);
        story.then(released(withdrawal, 100));
        story.then(next);
        story.fund(100);
        let coverage = story.check(&Strategy::Bust(not_a_fact(funded)));
        assert_eq!(coverage.count("refused: the treasury is overdrawn on the way"), 1, "{next:?}");
    }
}

/// What makes liabilities positive again is a deposit that replaces another.
#[test]
fn bust_is_refused_for_what_is_overdrawn_until_a_replaced_deposit() {
    let mut story = Story::new();
    let funded = story.fund(100);
    story.airdrop(AIRDROP, 100);
    story.then(EXECUTE);
    let withdrawal = story.request(100);
    story.then(released(withdrawal, 100));
    let deposit = story.deposit(50);
    let instead = story.deposit_instead(deposit, 200);
    story.fund(100);
    let mut edits = not_a_fact(funded);
    edits.replaced.insert(deposit, instead);
    let coverage = story.check(&Strategy::Bust(edits));
    assert_eq!(coverage.count("refused: the treasury is overdrawn on the way"), 1);
}

/// What a manifest had before it was given up is paid to its recipients, when its payout takes the place of the giving up.
#[test]
fn a_payout_in_the_place_of_a_cancelled_airdrop_reaches_its_recipients() {
    let mut story = Story::new();
    story.fund(100);
    story.airdrop(AIRDROP, 100);
    let cancelled = story.then(Command::CancelAirdrop { airdrop: AIRDROP, operator: OperatorId(2) });
    let edits = Edits { replaced: [(cancelled, EXECUTE)].into(), ..Edits::default() };
    let coverage = story.check(&Strategy::Excise(edits));
    assert_eq!(coverage.count("plans: excise"), 1);
}

/// What makes liabilities positive again is an airdrop that nothing covers.
#[test]
fn bust_is_refused_for_what_is_overdrawn_until_an_airdrop_without_cover() {
    let mut story = Story::new();
    let funded = story.fund(100);
    story.airdrop(AIRDROP, 100);
    story.then(EXECUTE);
    story.then(Command::SetControls { controls: Controls::NONE });
    let second = AirdropId(2);
    story.airdrop(second, 100);
    let withdrawal = story.request(100);
    story.then(released(withdrawal, 100));
    story.then(Command::ExecuteAirdrop { airdrop: second, operator: OperatorId(2) });
    story.fund(100);
    let coverage = story.check(&Strategy::Bust(not_a_fact(funded)));
    assert_eq!(coverage.count("refused: the treasury is overdrawn on the way"), 1);
}

/// The same without the withdrawal: all together have something all the way.
#[test]
fn bust_lets_the_treasury_pay_what_it_gets_later() {
    let mut story = Story::new();
    let funded = story.fund(100);
    story.airdrop(AIRDROP, 100);
    story.then(EXECUTE);
    story.fund(100);
    let coverage = story.check(&Strategy::Bust(not_a_fact(funded)));
    assert_eq!(coverage.count("plans: bust"), 1);
}

#[test]
fn bust_is_refused_when_the_treasury_is_overdrawn_in_the_end() {
    let mut story = Story::new();
    let funded = story.fund(100);
    story.airdrop(AIRDROP, 100);
    story.then(EXECUTE);
    story.fund(99);
    let coverage = story.check(&Strategy::Bust(not_a_fact(funded)));
    assert_eq!(coverage.count("refused: the treasury is overdrawn"), 1);
}

/// A withdrawal that was out and failed is not released again.
#[test]
fn a_release_of_what_was_out_already_refuses_the_plan() {
    let mut story = Story::new();
    story.deposit(100);
    let [one, other] = [story.request(30), story.request(40)];
    let release = story.then(released(one, 30));
    let failure = story.then(Command::FailWithdrawal { withdrawal: one });
    story.then(released(other, 40));
    let replaced = [(release, released(other, 40)), (failure, Command::FailWithdrawal { withdrawal: other })].into();
    let coverage = story.check(&Strategy::Excise(Edits { replaced, ..Edits::default() }));
    assert_eq!(coverage.count("refused: a fact is refused"), 1);
}
