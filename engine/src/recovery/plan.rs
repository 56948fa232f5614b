//! A plan: a strategy for one halt, with the states that it leads from and to, as a document that can be signed.
//!
//! The document is canonical: one plan has one encoding, and its hash is the BLAKE3 of it. All numbers little-endian:
//!
//! ```text
//!  0 magic "REPRISEP"              45 hash of the parent's state at the halt, 32 bytes
//!  8 format u32 = 1                77 hash of the branch's state at the halt, 32 bytes
//! 12 rules version u32            109 strategy u8: rewind 1, excise 2, bust 3, compensate 4
//! 16 journal id, 16 bytes         110 what the strategy needs:
//! 32 epoch u32, the parent's          rewind      cut u64
//! 36 halt u64                         excise      edits
//! 44 preview u8                       bust        edits
//!                                     compensate  edits, payments
//!
//! edits      count u32, each: sequence u64, reason u8 (0 none, else 1, then length u16 and text)    what is dropped
//!            count u32, each: sequence u64, length u8, the command's canonical bytes                what is replaced
//! payments   count u32, each: account u32, asset u16, amount u64
//! ```
//!
//! Dropped and replaced sequences ascend; a reason is one line of text, without control or invisible letters, so that who
//! signs it sees what it is; payments are in the order in which they are made. A file holds the document and
//! its hash, 32 bytes.
//!
//! A plan that was made while the exchange was not frozen is a *preview*: it can be looked at, and neither approved nor
//! applied.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{
    branch::{Branch, BranchError, evaluate},
    edits::{Edits, Payment, Strategy, is_readable},
    halt::find_halt,
    timeline::{Timeline, TimelineError},
};
use crate::{
    command::Command,
    exchange::{RULES_VERSION, StateHash},
    journal::{Epoch, JournalId, Storage},
    types::{
        AccountId, Amount, AssetId, Digest, Sequence,
        wire::{Reader, WireError, Writer},
    },
};

/// The format this code writes.
pub const PLAN_FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"REPRISEP";
const CHECK_BYTES: usize = 32;
const HEAD_BYTES: usize = 110;

/// A strategy for one halt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The journal it is for.
    pub journal_id: JournalId,
    /// The epoch that it ends.
    pub epoch: Epoch,
    /// The halt it is for: the sequence of a `SetGlobalStatus(frozen)`, since which the exchange has been frozen. In a preview
    /// the last sequence there was.
    pub halt: Sequence,
    /// Whether it was made while the exchange was not frozen, so that it can be looked at only.
    pub preview: bool,
    /// What is done.
    pub strategy: Strategy,
    /// The rules by which it was computed.
    pub rules_version: u32,
    /// The hash of what happened, after the halt.
    pub parent_state: StateHash,
    /// The hash of what the strategy leads to, after the halt.
    pub state: StateHash,
}

/// Why bytes are no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanDocumentError {
    /// They do not begin as a plan does.
    #[error("this is no plan")]
    Magic,
    /// A later version wrote it.
    #[error("the plan has format {0}: this version reads format {PLAN_FORMAT} only, take a later one")]
    Format(u32),
    /// They end too early.
    #[error("the plan is truncated: it ends in the middle of its {0}")]
    Truncated(&'static str),
    /// They are not what was written.
    #[error("the plan was altered: its check does not match")]
    Check,
    /// A field holds what no plan can hold.
    #[error("the plan was altered: its {0} cannot be")]
    Invalid(&'static str),
    /// A replacing command cannot be read.
    #[error("the plan replaces sequence {sequence} by what is no command: {error}")]
    Command {
        /// Which.
        sequence: Sequence,
        /// Why.
        error: WireError,
    },
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The operating system failed.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{}: {reason}", file.display())]
    Document {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: PlanDocumentError,
    },
    /// The strategy makes no sense for this past.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// The past cannot be read.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The same strategy led to two states.
    #[error(
        "two computations of the same strategy led to {first} and {second}: keep a copy of the data directory, and report this"
    )]
    NotReproducible {
        /// The first state.
        first: StateHash,
        /// The second.
        second: StateHash,
    },
    /// A reason is too long to be kept.
    #[error("the reason why sequence {sequence} is no fact has {bytes} bytes: the most is {}", u16::MAX)]
    LongReason {
        /// Which.
        sequence: Sequence,
        /// How many.
        bytes: usize,
    },
}

impl Plan {
    /// The document.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&PLAN_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.rules_version.to_le_bytes());
        bytes.extend_from_slice(&self.journal_id.0);
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.halt.0.to_le_bytes());
        bytes.push(u8::from(self.preview));
        bytes.extend_from_slice(&self.parent_state.0);
        bytes.extend_from_slice(&self.state.0);
        match &self.strategy {
            Strategy::Rewind { cut } => {
                bytes.push(1);
                bytes.extend_from_slice(&cut.0.to_le_bytes());
            }
            Strategy::Excise(edits) => {
                bytes.push(2);
                put_edits(&mut bytes, edits);
            }
            Strategy::Bust(edits) => {
                bytes.push(3);
                put_edits(&mut bytes, edits);
            }
            Strategy::Compensate { edits, payments } => {
                bytes.push(4);
                put_edits(&mut bytes, edits);
                put_count(&mut bytes, payments.len());
                for payment in payments {
                    bytes.extend_from_slice(&payment.account.0.to_le_bytes());
                    bytes.extend_from_slice(&payment.asset.0.to_le_bytes());
                    bytes.extend_from_slice(&payment.amount.0.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// Reads a document, which must fill `bytes`.
    ///
    /// # Errors
    /// [`PlanDocumentError`] when it is none, or not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanDocumentError> {
        let mut fields = Fields { reader: Reader::new(bytes), part: "head" };
        if fields.take()? != MAGIC {
            return Err(PlanDocumentError::Magic);
        }
        match fields.word()? {
            PLAN_FORMAT => {}
            format => return Err(PlanDocumentError::Format(format)),
        }
        let rules_version = fields.word()?;
        let journal_id = JournalId(fields.take()?);
        let epoch = Epoch(fields.word()?);
        let halt = Sequence(fields.long()?);
        let preview = fields.flag()?;
        let (parent_state, state) = (StateHash(fields.take()?), StateHash(fields.take()?));
        let strategy = match fields.byte()? {
            1 => Strategy::Rewind { cut: Sequence(fields.long()?) },
            2 => Strategy::Excise(fields.edits()?),
            3 => Strategy::Bust(fields.edits()?),
            4 => Strategy::Compensate { edits: fields.edits()?, payments: fields.payments()? },
            _ => return Err(PlanDocumentError::Invalid("strategy")),
        };
        fields.reader.finish().map_err(|_| PlanDocumentError::Invalid("length"))?;
        Ok(Self { journal_id, epoch, halt, preview, strategy, rules_version, parent_state, state })
    }

    /// The hash of the document: what is approved.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest(*blake3::hash(&self.encode()).as_bytes())
    }

    /// Writes the plan to a file that is not there yet, and makes it durable.
    ///
    /// # Errors
    /// [`PlanError::Io`] when it cannot be written or is there already, [`PlanError::LongReason`].
    pub fn write_file(&self, path: impl AsRef<Path>) -> Result<(), PlanError> {
        self.check_reasons()?;
        let path = path.as_ref();
        let mut bytes = self.encode();
        let check = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&check);
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().map_err(|source| PlanError::Io { file: path.to_owned(), source })
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// [`PlanError`] when it cannot be read, or is not what was written.
    pub fn read_file(path: impl AsRef<Path>) -> Result<Self, PlanError> {
        let file = path.as_ref().to_owned();
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(source) => return Err(PlanError::Io { file, source }),
        };
        Self::from_file_bytes(&bytes).map_err(|reason| PlanError::Document { file, reason })
    }

    fn from_file_bytes(bytes: &[u8]) -> Result<Self, PlanDocumentError> {
        if bytes.len() >= MAGIC.len() && bytes[..MAGIC.len()] != MAGIC {
            return Err(PlanDocumentError::Magic);
        }
        if let Some(format) = bytes.get(8..12).and_then(|format| format.first_chunk()).map(|f| u32::from_le_bytes(*f))
            && format != PLAN_FORMAT
        {
            return Err(PlanDocumentError::Format(format));
        }
        let Some((document, check)) = bytes.split_last_chunk::<CHECK_BYTES>() else {
            return Err(PlanDocumentError::Truncated("head"));
        };
        if blake3::hash(document).as_bytes() == check {
            return Self::decode(document);
        }
        // A file that was cut short ends before its document does, or in its check.
        match Self::decode(bytes) {
            Err(truncated @ PlanDocumentError::Truncated(_)) => Err(truncated),
            _ if bytes.len() < HEAD_BYTES + CHECK_BYTES => Err(PlanDocumentError::Truncated("head")),
            _ => Err(PlanDocumentError::Check),
        }
    }

    /// A reason must fit its length.
    fn check_reasons(&self) -> Result<(), PlanError> {
        let dropped = self.strategy.edits().into_iter().flat_map(|edits| &edits.dropped);
        for (sequence, reason) in dropped {
            let bytes = reason.as_ref().map_or(0, String::len);
            if bytes > usize::from(u16::MAX) {
                return Err(PlanError::LongReason { sequence: *sequence, bytes });
            }
        }
        Ok(())
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a plan has fewer than 2^32 items");
    bytes.extend_from_slice(&count.to_le_bytes());
}

fn put_edits(bytes: &mut Vec<u8>, edits: &Edits) {
    put_count(bytes, edits.dropped.len());
    for (sequence, reason) in &edits.dropped {
        bytes.extend_from_slice(&sequence.0.to_le_bytes());
        bytes.push(u8::from(reason.is_some()));
        if let Some(reason) = reason {
            let length = u16::try_from(reason.len()).expect("the lengths of reasons were checked");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(reason.as_bytes());
        }
    }
    put_count(bytes, edits.replaced.len());
    for (sequence, command) in &edits.replaced {
        let mut writer = Writer::default();
        command.encode(&mut writer);
        bytes.extend_from_slice(&sequence.0.to_le_bytes());
        bytes.push(writer.as_bytes().len() as u8);
        bytes.extend_from_slice(writer.as_bytes());
    }
}

/// Reads fields, and knows which part of the document they are of.
struct Fields<'a> {
    reader: Reader<'a>,
    part: &'static str,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PlanDocumentError> {
        self.reader.take().map_err(|_| PlanDocumentError::Truncated(self.part))
    }

    fn byte(&mut self) -> Result<u8, PlanDocumentError> {
        Ok(self.take::<1>()?[0])
    }

    fn word(&mut self) -> Result<u32, PlanDocumentError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn long(&mut self) -> Result<u64, PlanDocumentError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn flag(&mut self) -> Result<bool, PlanDocumentError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(PlanDocumentError::Invalid(self.part)),
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, PlanDocumentError> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// The next sequence of an ascending list.
    fn next_sequence(&mut self, previous: &mut Option<Sequence>) -> Result<Sequence, PlanDocumentError> {
        let sequence = Sequence(self.long()?);
        if *previous >= Some(sequence) {
            return Err(PlanDocumentError::Invalid(self.part));
        }
        *previous = Some(sequence);
        Ok(sequence)
    }

    fn edits(&mut self) -> Result<Edits, PlanDocumentError> {
        self.part = "dropped sequences";
        let (mut dropped, mut previous) = (BTreeMap::new(), None);
        for _ in 0..self.word()? {
            let sequence = self.next_sequence(&mut previous)?;
            let reason = if self.flag()? {
                let length = u16::from_le_bytes(self.take()?);
                let text = String::from_utf8(self.bytes(length.into())?).ok().filter(|text| is_readable(text));
                Some(text.ok_or(PlanDocumentError::Invalid(self.part))?)
            } else {
                None
            };
            dropped.insert(sequence, reason);
        }
        self.part = "replaced sequences";
        let (mut replaced, mut previous) = (BTreeMap::new(), None);
        for _ in 0..self.word()? {
            let sequence = self.next_sequence(&mut previous)?;
            let length = self.byte()?;
            let bytes = self.bytes(length.into())?;
            let command = Command::decode(&bytes).map_err(|error| PlanDocumentError::Command { sequence, error })?;
            replaced.insert(sequence, command);
        }
        Ok(Edits { dropped, replaced })
    }

    fn payments(&mut self) -> Result<Vec<Payment>, PlanDocumentError> {
        self.part = "payments";
        let mut payments = Vec::new();
        for _ in 0..self.word()? {
            let account = AccountId(self.word()?);
            let asset = AssetId(u16::from_le_bytes(self.take()?));
            payments.push(Payment { account, asset, amount: Amount(self.long()?) });
        }
        Ok(payments)
    }
}

/// Makes a plan of a strategy, for the halt that the exchange is in, or a preview where it is in none. The branch is computed
/// twice, at the same time, each from the journal, and must come out the same. `progress` is told how many commands were applied.
///
/// # Errors
/// [`PlanError`] when the strategy makes no sense for this past, or the past cannot be read.
pub fn make_plan<S: Storage>(
    timeline: &Timeline<S>,
    strategy: &Strategy,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Plan, Branch), PlanError> {
    let halt = find_halt(timeline)?;
    let (first, second) = std::thread::scope(|scope| {
        let second = scope
            .spawn(|| evaluate(timeline, halt.sequence, strategy, &|_| ()).map(|branch| branch.exchange.state_hash()));
        let first = evaluate(timeline, halt.sequence, strategy, progress);
        (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (first, again) = (first?, second?);
    let state = first.exchange.state_hash();
    if state != again {
        return Err(PlanError::NotReproducible { first: state, second: again });
    }
    let plan = Plan {
        journal_id: halt.journal_id,
        epoch: halt.epoch,
        halt: halt.sequence,
        preview: !halt.is_frozen,
        strategy: strategy.clone(),
        rules_version: RULES_VERSION,
        parent_state: first.parent.state_hash(),
        state,
    };
    plan.check_reasons()?;
    Ok((plan, first))
}
