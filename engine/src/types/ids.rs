//! Identifiers: one newtype for each, so that none can stand in for another.

use std::fmt;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id! {
    /// A position in the journal: gap-free, from 1, never reused. 0 means "before the first command".
    Sequence(u64), ""
}
id! {
    /// An asset's number, below [`ASSETS_MAX`](super::ASSETS_MAX); chosen by the operator when it is added.
    AssetId(u16), "asset "
}
id! {
    /// A market's number, below [`MARKETS_MAX`](super::MARKETS_MAX); chosen by the operator when it is added.
    MarketId(u16), "market "
}
id! {
    /// An owner of balances. User accounts run from 1 to [`AccountId::USER_MAX`]; the ids above are the system's.
    AccountId(u32), "A"
}
id! {
    /// An order's id: the sequence of the command that placed it, so it is unique for ever.
    OrderId(u64), "#"
}
id! {
    /// The owner's own name for an order; 0 means "none". Unique among the account's *open* orders.
    ClientOrderId(u64), ""
}
id! {
    /// A withdrawal's id: the sequence of the command that requested it.
    WithdrawalId(u64), "W"
}
id! {
    /// A registered operator's number: from 1; 0 names none.
    OperatorId(u16), "operator "
}
id! {
    /// An airdrop's number, chosen by its author, never used again.
    AirdropId(u32), "airdrop "
}
id! {
    /// Nanoseconds since the Unix epoch, stamped by the sequencer; never decreases along the journal.
    Timestamp(u64), ""
}

impl Sequence {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl AccountId {
    /// The largest id a user account can have.
    pub const USER_MAX: Self = Self(u32::MAX - 16);
    /// The outside world: minus what the exchange owes to its users and to itself.
    pub const EXTERNAL: Self = Self(u32::MAX);
    /// Fees earned by the exchange.
    pub const FEES: Self = Self(u32::MAX - 1);
    /// The exchange's own funds, from which promotions are paid.
    pub const TREASURY: Self = Self(u32::MAX - 2);
    /// What accounts owe, when a fact could not be funded.
    pub const RECEIVABLES: Self = Self(u32::MAX - 3);
    /// The source of credits paid without cover; it alone may be negative beside `EXTERNAL`.
    pub const UNBACKED: Self = Self(u32::MAX - 4);
    /// The system accounts, in the order in which the state hash takes them.
    pub const SYSTEM: [Self; 5] = [Self::EXTERNAL, Self::FEES, Self::TREASURY, Self::RECEIVABLES, Self::UNBACKED];

    /// Whether a user can have this id.
    #[must_use]
    pub const fn is_user(self) -> bool {
        self.0 >= 1 && self.0 <= Self::USER_MAX.0
    }
}

/// An id given from outside (a transaction on a chain, a bank's reference): 16 opaque bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ExternalId(pub [u8; 16]);

impl ExternalId {
    /// The id whose bytes are `value`, little-endian.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(value.to_le_bytes())
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExternalId({self})")
    }
}

macro_rules! digest {
    ($(#[$meta:meta])* $name:ident, $bytes:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({self})", stringify!($name))
            }
        }
    };
}

digest! {
    /// 32 bytes that stand for something longer: a BLAKE3 hash, a public key.
    Digest, 32
}
digest! {
    /// The first 16 bytes of the BLAKE3 hash of an airdrop's manifest.
    ManifestHash, 16
}

/// What kind of party caused a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CauseKind {
    /// A gateway session of a user.
    Session = 0,
    /// A person with an operator's rights.
    Operator = 1,
    /// A batch, such as a payout.
    Batch = 2,
    /// The exchange itself, for what it decides on what it sees.
    Exchange = 3,
}

/// Who caused a command: journaled with it, and never read by the state machine.
///
/// ```
/// use engine::types::{Cause, CauseKind};
/// let cause = Cause::operator(7);
/// assert_eq!((cause.kind(), cause.id()), (CauseKind::Operator, 7));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Cause(u32);

impl Cause {
    /// The largest id of a session, operator or batch (28 bits).
    pub const ID_MAX: u32 = (1 << 28) - 1;

    /// A gateway session.
    ///
    /// # Panics
    /// When `id` is above [`Cause::ID_MAX`]; so for the other constructors.
    #[must_use]
    pub const fn session(id: u32) -> Self {
        Self::new(CauseKind::Session, id)
    }

    /// An operator.
    #[must_use]
    pub const fn operator(id: u32) -> Self {
        Self::new(CauseKind::Operator, id)
    }

    /// A batch.
    #[must_use]
    pub const fn batch(id: u32) -> Self {
        Self::new(CauseKind::Batch, id)
    }

    /// The exchange itself.
    #[must_use]
    pub const fn exchange() -> Self {
        Self::new(CauseKind::Exchange, 0)
    }

    const fn new(kind: CauseKind, id: u32) -> Self {
        assert!(id <= Self::ID_MAX, "the id of a cause has 28 bits");
        Self((kind as u32) << 28 | id)
    }

    /// The cause whose journaled form is `raw`, if there is one.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if raw >> 28 <= 3 { Some(Self(raw)) } else { None }
    }

    /// The journaled form: the kind in the highest four bits, the id below.
    #[must_use]
    pub const fn to_raw(self) -> u32 {
        self.0
    }

    /// What kind of party.
    #[must_use]
    pub const fn kind(self) -> CauseKind {
        match self.0 >> 28 {
            0 => CauseKind::Session,
            1 => CauseKind::Operator,
            2 => CauseKind::Batch,
            _ => CauseKind::Exchange,
        }
    }

    /// Which session, operator or batch.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.0 & Self::ID_MAX
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            CauseKind::Session => write!(formatter, "session {}", self.id()),
            CauseKind::Operator => write!(formatter, "operator {}", self.id()),
            CauseKind::Batch => write!(formatter, "batch {}", self.id()),
            CauseKind::Exchange => write!(formatter, "exchange"),
        }
    }
}
