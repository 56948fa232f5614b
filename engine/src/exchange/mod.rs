//! The state machine: what each command does to balances, orders and books.
//!
//! [`Exchange::apply`] is synchronous, total and deterministic: the outcome of a command depends on the commands
//! before it and on nothing else. It is made of two halves that know nothing of each other's state, so that they
//! can also run on two threads with the same outcome: [`Risk`] owns the balances and decides first, [`Matcher`]
//! owns the books and numbers all that happens.
//!
#![doc = include_str!("rules.md")]

mod auction;
mod book;
mod conditional;
mod credits;
mod decision;
mod id_index;
mod ledger;
mod levels;
mod look_ahead;
mod matcher;
mod matching;
mod mirror;
mod orders;
mod payout_rules;
mod payouts;
mod repair;
mod restore;
mod risk;
mod slab;
mod slot_index;
mod state;
mod view;
mod weighed;

pub use auction::Indicative;
pub use conditional::{Conditional, RecentSettlements};
pub use decision::{Decision, OrderTerms, Settlement};
pub use ledger::Balance;
pub use matcher::{MatchSink, Matcher};
pub use payouts::{
    AIRDROP_LINES_MAX, Airdrop, AirdropLimits, AirdropState, ManifestHasher, OperatorView, PayoutVelocity,
};
pub use repair::{Busting, KeptFill};
pub use restore::{InTurn, RestoreError, Restoring};
pub use risk::{AccountView, Risk, Withdrawal, WithdrawalState};
pub use state::StateHash;
pub use view::{BookView, LevelView, MarketView, OrderView, QueuePosition};

use crate::{
    command::Command,
    event::{Event, EventSink},
    types::{Sequence, Timestamp},
};

/// The version of the rules that this code follows. It includes version 1: see the rules.
pub const RULES_VERSION: u32 = 2;

/// An exchange: all balances, all orders, and the rules.
///
/// ```
/// use engine::{
///     command::Command,
///     event::Event,
///     exchange::Exchange,
///     types::{AccountId, Amount, AssetId, ExternalId, Sequence, Timestamp},
/// };
/// let commands = [
///     Command::AddAsset { asset: AssetId(0), symbol: "BTC".parse()?, scale: 8 },
///     Command::CreateAccount { account: AccountId(7) },
///     Command::Deposit {
///         account: AccountId(7), asset: AssetId(0), amount: Amount(100_000_000), external_id: ExternalId::from_u128(1),
///     },
/// ];
/// let mut exchange = Exchange::new();
/// let mut events: Vec<Event> = Vec::new();
/// for (sequence, command) in (1..).map(Sequence).zip(&commands) {
///     exchange.apply(sequence, Timestamp(0), command, &mut events);
/// }
/// assert!(matches!(events[2], Event::Deposited { account: AccountId(7), .. }));
/// assert_eq!(exchange.account(AccountId(7)).unwrap().balances[0].1.available, Amount(100_000_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    risk: Risk,
    matcher: Matcher,
    last: Sequence,
}

/// Risk and matcher on one thread: what the matcher reports is settled at once.
struct Direct<'a, Events> {
    risk: &'a mut Risk,
    events: &'a mut Events,
}

impl<Events: EventSink> MatchSink for Direct<'_, Events> {
    #[inline(always)]
    fn emit(&mut self, event: Event) {
        self.events.emit(event);
    }

    #[inline(always)]
    fn settle(&mut self, settlement: Settlement) {
        self.risk.settle(&settlement);
    }
}

impl Exchange {
    /// An exchange without assets, markets or accounts, open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), with a seed for the hash of the names that users choose. Take one that nobody can guess, or
    /// crafted names can make look-ups slow; nothing that comes out depends on it.
    #[must_use]
    pub fn with_hash_seed(seed: u64) -> Self {
        Self { matcher: Matcher::with_hash_seed(seed), ..Self::default() }
    }

    /// Applies the command at `sequence`, sequenced at `time`, and emits its events in order.
    ///
    /// Whatever the command holds, it is taken: what is declined is an event
    /// [`Refused`](crate::event::Event::Refused), and changes nothing.
    ///
    /// # Panics
    /// When `sequence` is not above the last one, or an invariant is broken: the exchange must not go on. Also at the
    /// start of an epoch, where the state is replaced instead: see [`start_epoch`](Self::start_epoch).
    #[inline]
    pub fn apply(&mut self, sequence: Sequence, time: Timestamp, command: &Command, events: &mut impl EventSink) {
        let decision = self.decide(sequence, time, command);
        self.execute(sequence, time, command, &decision, events);
    }

    /// The first half of [`apply`](Self::apply): what risk says to the command.
    ///
    /// # Panics
    /// As `apply`.
    #[inline]
    pub fn decide(&mut self, sequence: Sequence, time: Timestamp, command: &Command) -> Decision {
        assert!(sequence > self.last, "sequence {sequence} does not follow {}", self.last);
        self.risk.decide(sequence, time, command)
    }

    /// The second half of [`apply`](Self::apply), to follow [`decide`](Self::decide) with the same command.
    ///
    /// # Panics
    /// As `apply`.
    #[inline]
    pub fn execute(
        &mut self,
        sequence: Sequence,
        time: Timestamp,
        command: &Command,
        decision: &Decision,
        events: &mut impl EventSink,
    ) {
        self.matcher.execute(sequence, time, command, decision, &mut Direct { risk: &mut self.risk, events });
        self.risk.settled_through(sequence);
        self.last = sequence;
    }

    /// Goes on, at the [`StartEpoch`](Command::StartEpoch) at `sequence`, with the state in `replacement`, and says with
    /// `corrections` what that changes.
    ///
    /// # Panics
    /// When `sequence` does not follow the last one.
    pub fn start_epoch(
        &mut self,
        sequence: Sequence,
        replacement: Self,
        corrections: &[Event],
        events: &mut impl EventSink,
    ) {
        assert!(sequence > self.last, "sequence {sequence} does not follow {}", self.last);
        *self = replacement.beginning_at(sequence);
        corrections.iter().for_each(|event| events.emit(*event));
    }

    /// The same state, ready to go on behind the start of an epoch at `sequence`.
    #[must_use]
    pub fn beginning_at(mut self, sequence: Sequence) -> Self {
        self.last = sequence;
        self.risk.begins_at(sequence);
        self
    }

    /// The last sequence applied, 0 before the first.
    #[must_use]
    pub const fn last_sequence(&self) -> Sequence {
        self.last
    }

    /// The two halves, to be run apart.
    #[must_use]
    pub fn into_parts(self) -> (Risk, Matcher) {
        (self.risk, self.matcher)
    }

    /// Puts together two halves that have both dealt with everything up to `last`.
    #[must_use]
    pub const fn from_parts(risk: Risk, matcher: Matcher, last: Sequence) -> Self {
        Self { risk, matcher, last }
    }

    /// The half that owns the balances.
    #[must_use]
    pub const fn risk(&self) -> &Risk {
        &self.risk
    }

    /// The half that owns the books.
    #[must_use]
    pub const fn matcher(&self) -> &Matcher {
        &self.matcher
    }
}
