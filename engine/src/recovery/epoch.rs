//! How an epoch begins: what is journaled for it, the file that holds its first state, and the one function that steps
//! history over its start.
//!
//! A recovery is committed by one record. Before it the journal gets the plan and its approvals, as `AddPlanPart` commands
//! of 32 bytes each, from index 0: length of the plan u32, the plan, count of approvals u8, each as operator u16, expiry
//! u64, signature 64 bytes. The record is a `StartEpoch`, first of a block of the new epoch; its digest is the BLAKE3 of
//!
//! ```text
//!   0 "reprise epoch"                     77 hash of the state at the halt, 32 bytes
//!  13 hash of the plan, 32 bytes         109 hash of the state from which the epoch goes on, 32 bytes
//!  45 hash of the approvals, 32 bytes    141 hash of the corrections, 32 bytes
//!                                        173 number of the new epoch u32
//! ```
//!
//! So the record, the plan and the parent's history say all: the state can be computed again. To have it at once it is
//! kept in a file, `<epoch, 8 digits or more>-<sequence of the record, 20 digits>.epoch`, which is durable before the record
//! is journaled. One that has no record counts for nothing. All numbers little-endian:
//!
//! ```text
//!   0 magic "REPRISEE"                    80 hash of the approvals, 32 bytes
//!   8 format u32 = 1                     112 hash of the state at the halt, 32 bytes
//!  12 epoch u32                          144 hash of the state, 32 bytes
//!  16 sequence u64                       176 hash of the corrections, 32 bytes
//!  24 journal id, 16 bytes               208 lengths of the four that follow, u64 each
//!  40 halt u64                           240 plan, approvals, corrections, canonical state
//!  48 hash of the plan, 32 bytes           + BLAKE3 of all before it, 32 bytes
//! ```
//!
//! Corrections are events, each with its length u8 before its canonical bytes.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write as _},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    approval::{Approval, decode_approvals, encode_approvals, operators_of},
    branch::{Branch, BranchError, evaluate},
    corrections::{carry_forward, corrections},
    plan::{Plan, PlanDocumentError},
    timeline::{Timeline, TimelineError},
};
use crate::{
    command::{Command, SequencedCommand},
    event::{Event, EventSink},
    exchange::{Exchange, RestoreError, StateHash},
    journal::{
        Epoch, JournalId, JournalReader, OpenError, Storage, epoch_starts, journal_id, look_back,
        storage::{NewFile as _, Segment as _},
    },
    types::{Digest, OperatorId, Sequence, Timestamp, wire::Writer},
};

/// The format of epoch files that this code writes.
pub const EPOCH_FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"REPRISEE";
const SUFFIX: &str = ".epoch";
const HEADER_BYTES: usize = 240;
const CHECK_BYTES: usize = 32;
const PART_BYTES: usize = 32;

/// Which epoch file: older ones are less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochName {
    /// The epoch that it begins.
    pub epoch: Epoch,
    /// The sequence of the record that begins it.
    pub sequence: Sequence,
}

impl fmt::Display for EpochName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08}-{:020}{SUFFIX}", self.epoch.0, self.sequence.0)
    }
}

/// A text that names no epoch file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no epoch file: a name is <epoch>-<sequence>{SUFFIX}")]
pub struct EpochNameError(pub String);

impl FromStr for EpochName {
    type Err = EpochNameError;

    fn from_str(text: &str) -> Result<Self, EpochNameError> {
        let parse = || {
            let (epoch, sequence) = text.strip_suffix(SUFFIX)?.split_once('-')?;
            let name = Self { epoch: Epoch(epoch.parse().ok()?), sequence: Sequence(sequence.parse().ok()?) };
            (name.to_string() == text).then_some(name)
        };
        parse().ok_or_else(|| EpochNameError(text.to_owned()))
    }
}

/// What an epoch file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochHeader {
    /// The epoch that it begins.
    pub epoch: Epoch,
    /// The sequence of the record that begins it.
    pub sequence: Sequence,
    /// The journal.
    pub journal_id: JournalId,
    /// The halt that the plan is for.
    pub halt: Sequence,
    /// The hash of the plan.
    pub plan: Digest,
    /// The hash of the approvals.
    pub approvals: Digest,
    /// The hash of the branch's state at the halt.
    pub state_at_halt: StateHash,
    /// The hash of the state from which the epoch goes on.
    pub state: StateHash,
    /// The hash of the corrections.
    pub corrections: Digest,
}

impl EpochHeader {
    /// The name of the file.
    #[must_use]
    pub const fn name(&self) -> EpochName {
        EpochName { epoch: self.epoch, sequence: self.sequence }
    }

    /// What the record binds.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"reprise epoch");
        hasher.update(&self.plan.0);
        hasher.update(&self.approvals.0);
        hasher.update(&self.state_at_halt.0);
        hasher.update(&self.state.0);
        hasher.update(&self.corrections.0);
        hasher.update(&self.epoch.0.to_le_bytes());
        Digest(*hasher.finalize().as_bytes())
    }
}

/// What is wrong with an epoch file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EpochFileFault {
    /// It does not begin as one does, or is too short for one.
    #[error("it is no epoch file")]
    Magic,
    /// A later version wrote it.
    #[error("it has format {0}: this version reads format {EPOCH_FORMAT} only, take a later one")]
    Format(u32),
    /// It is not what was written.
    #[error("its check does not match: it was altered or cut short")]
    Check,
    /// Its parts contradict each other.
    #[error("its {0} is not what its header says")]
    Part(&'static str),
    /// It is of another journal, epoch or sequence than its place.
    #[error("it belongs to another place: it says epoch {epoch}, sequence {sequence}, journal {journal_id}")]
    Place {
        /// What it says.
        epoch: Epoch,
        /// What it says.
        sequence: Sequence,
        /// What it says.
        journal_id: JournalId,
    },
    /// It is whole, and not the one that the journal's record is about.
    #[error("the record in the journal binds {record}, and the file leads to {file}: one of them was replaced")]
    Digest {
        /// In the record.
        record: Digest,
        /// Of the file.
        file: Digest,
    },
    /// Its plan cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanDocumentError),
    /// Its state is none.
    #[error("its state cannot be restored: {0}")]
    State(#[from] RestoreError),
}

/// Why an epoch cannot be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The operating system failed.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{file}: {fault}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        fault: EpochFileFault,
    },
    /// What was journaled of the plan is not whole.
    #[error("the parts of the plan that is journaled before sequence {sequence} are not whole: {what}")]
    Parts {
        /// Where the epoch begins.
        sequence: Sequence,
        /// What is wrong.
        what: &'static str,
    },
    /// The journaled plan cannot be read.
    #[error("the plan that is journaled before sequence {sequence} is not what was signed: {reason}")]
    Plan {
        /// Where the epoch begins.
        sequence: Sequence,
        /// What is wrong.
        reason: PlanDocumentError,
    },
    /// The branch cannot be computed again.
    #[error("the state of the epoch that begins at sequence {sequence} cannot be computed again: {source}")]
    Branch {
        /// Where the epoch begins.
        sequence: Sequence,
        /// Why not.
        #[source]
        source: Box<BranchError>,
    },
    /// Computed again, it comes out differently.
    #[error(
        "the record at sequence {sequence} binds {record}, and its plan, computed again, leads to {computed}: the record, the plan or the history before it was altered"
    )]
    Digest {
        /// Where the epoch begins.
        sequence: Sequence,
        /// In the record.
        record: Digest,
        /// Computed again.
        computed: Digest,
    },
}

/// The digest of the epoch that a command begins; `None` for every command that begins none.
#[must_use]
#[inline]
pub fn begun_by(command: &SequencedCommand) -> Option<Digest> {
    match command.command {
        Command::StartEpoch { at, digest } if at == command.sequence => Some(digest),
        _ => None,
    }
}

/// Applies one command of history: what every replay does for each. At the start of an epoch the state is replaced by
/// the one that the record binds.
///
/// # Errors
/// [`EpochError`] when the state of an epoch can be had neither from its file nor from its plan.
///
/// # Panics
/// As [`Exchange::apply`].
#[inline]
pub fn step<S: Storage>(
    exchange: &mut Exchange,
    command: &SequencedCommand,
    events: &mut impl EventSink,
    epochs: &Epochs<S>,
) -> Result<(), Box<EpochError>> {
    match begun_by(command) {
        None => exchange.apply(command.sequence, command.time, &command.command, events),
        Some(digest) => {
            let begun = epochs.begin(command.sequence, digest)?;
            exchange.start_epoch(command.sequence, begun.exchange, &begun.corrections, events);
        }
    }
    Ok(())
}

/// The state an epoch goes on from, and what it changes.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The state.
    pub exchange: Exchange,
    /// The events of the record.
    pub corrections: Vec<Event>,
}

/// An epoch file that was no good, so that its state was computed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recomputed {
    /// Where the epoch begins.
    pub sequence: Sequence,
    /// What was wrong with the file.
    pub reason: String,
}

/// Where the first states of epochs are had from.
#[derive(Clone, Debug)]
pub struct Epochs<S: Storage> {
    storage: S,
    hash_seed: u64,
    writes: bool,
    recomputed: Arc<Mutex<Vec<Recomputed>>>,
}

impl<S: Storage> Epochs<S> {
    /// From the files beside the journal, or computed again.
    #[must_use]
    pub fn new(storage: S) -> Self {
        Self { storage, hash_seed: 0, writes: false, recomputed: Arc::default() }
    }

    /// For an exchange that goes on: with its seed, and files that were lost are written again.
    #[must_use]
    pub(super) fn for_writing(storage: S, hash_seed: u64) -> Self {
        Self { hash_seed, writes: true, ..Self::new(storage) }
    }

    /// The epochs whose files were no good, so far.
    #[must_use]
    pub fn recomputed(&self) -> Vec<Recomputed> {
        self.recomputed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state of the epoch whose record, at `sequence`, has this digest.
    #[cold]
    fn begin(&self, sequence: Sequence, digest: Digest) -> Result<Begun, Box<EpochError>> {
        let reason = match self.read_file(sequence, digest) {
            Ok(Some(begun)) => return Ok(begun),
            Ok(None) => "the file is not there".to_owned(),
            Err(error) => error.to_string(),
        };
        let made = compute(&self.storage, sequence)?;
        let computed = made.header.digest();
        if computed != digest {
            return Err(EpochError::Digest { sequence, record: digest, computed }.into());
        }
        self.recomputed.lock().unwrap_or_else(PoisonError::into_inner).push(Recomputed { sequence, reason });
        if self.writes {
            // Without it the next start computes it once more; nothing else depends on it.
            drop(made.write(&self.storage));
        }
        Ok(made.into_begun(self.hash_seed).map_err(|error| EpochError::Branch {
            sequence,
            source: Box::new(BranchError::Invariant(error.to_string())),
        })?)
    }

    fn read_file(&self, sequence: Sequence, digest: Digest) -> Result<Option<Begun>, EpochError> {
        let names = epoch_files(&self.storage)?;
        let Some(name) = names.into_iter().find(|name| name.sequence == sequence) else { return Ok(None) };
        let file = EpochFile::read(&self.storage, name)?;
        let fault = |fault| EpochError::File { file: self.storage.file_name(&name.to_string()), fault };
        let found = file.header.digest();
        if found != digest {
            return Err(fault(EpochFileFault::Digest { record: digest, file: found }));
        }
        let before = Sequence(sequence.0 - 1);
        let exchange =
            Exchange::from_canonical_state(&file.state, before, self.hash_seed).map_err(|error| fault(error.into()))?;
        Ok(Some(Begun { exchange, corrections: file.corrections }))
    }
}

/// The names of all epoch files, the oldest first. Whether they are good is not looked at.
///
/// # Errors
/// [`EpochError::Io`].
pub fn epoch_files<S: Storage>(storage: &S) -> Result<Vec<EpochName>, EpochError> {
    let files = storage.files().map_err(|source| EpochError::Io { file: storage.file_name(""), source })?;
    let mut names: Vec<EpochName> = files.iter().filter_map(|file| file.parse().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The contents of an epoch file.
#[derive(Clone, Debug)]
pub struct EpochFile {
    /// What it says of itself.
    pub header: EpochHeader,
    /// The plan.
    pub plan: Plan,
    /// Who approved it.
    pub approvals: Vec<Approval>,
    /// The events of the record.
    pub corrections: Vec<Event>,
    /// The canonical bytes of the state.
    pub state: Vec<u8>,
}

impl EpochFile {
    /// Reads one and verifies all that can be without the journal's records.
    ///
    /// # Errors
    /// [`EpochError`] when it cannot be read, or is not what was written, or is not of this journal.
    pub fn read<S: Storage>(storage: &S, name: EpochName) -> Result<Self, EpochError> {
        let file = storage.file_name(&name.to_string());
        let read = || -> io::Result<Vec<u8>> {
            let segment = storage.open_file(&name.to_string())?;
            let mut bytes = vec![0; usize::try_from(segment.bytes()?).map_err(io::Error::other)?];
            segment.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let bytes = match read() {
            Ok(bytes) => bytes,
            Err(source) => return Err(EpochError::Io { file, source }),
        };
        let found = match Self::decode(&bytes) {
            Ok(found) => found,
            Err(fault) => return Err(EpochError::File { file, fault }),
        };
        let EpochHeader { epoch, sequence, journal_id: id, .. } = found.header;
        if found.header.name() != name || id != journal_id(storage)? {
            return Err(EpochError::File { file, fault: EpochFileFault::Place { epoch, sequence, journal_id: id } });
        }
        Ok(found)
    }

    fn decode(bytes: &[u8]) -> Result<Self, EpochFileFault> {
        if bytes.len() < HEADER_BYTES + CHECK_BYTES || bytes[..8] != MAGIC {
            return Err(EpochFileFault::Magic);
        }
        let word = |at: usize| u32::from_le_bytes(field(bytes, at));
        let long = |at: usize| u64::from_le_bytes(field(bytes, at));
        match word(8) {
            EPOCH_FORMAT => {}
            format => return Err(EpochFileFault::Format(format)),
        }
        let (body, check) = bytes.split_at(bytes.len() - CHECK_BYTES);
        if blake3::hash(body).as_bytes() != check {
            return Err(EpochFileFault::Check);
        }
        let header = EpochHeader {
            epoch: Epoch(word(12)),
            sequence: Sequence(long(16)),
            journal_id: JournalId(field(bytes, 24)),
            halt: Sequence(long(40)),
            plan: Digest(field(bytes, 48)),
            approvals: Digest(field(bytes, 80)),
            state_at_halt: StateHash(field(bytes, 112)),
            state: StateHash(field(bytes, 144)),
            corrections: Digest(field(bytes, 176)),
        };
        let mut rest = &body[HEADER_BYTES..];
        let mut parts: [&[u8]; 4] = [&[]; 4];
        for (part, at) in parts.iter_mut().zip((208..).step_by(8)) {
            let length = usize::try_from(long(at)).ok().filter(|length| *length <= rest.len());
            (*part, rest) = rest.split_at(length.ok_or(EpochFileFault::Part("length"))?);
        }
        if !rest.is_empty() {
            return Err(EpochFileFault::Part("length"));
        }
        let [plan, approvals, corrections, state] = parts;
        for (name, part, hash) in [
            ("plan", plan, header.plan.0),
            ("list of approvals", approvals, header.approvals.0),
            ("list of corrections", corrections, header.corrections.0),
            ("state", state, header.state.0),
        ] {
            if *blake3::hash(part).as_bytes() != hash {
                return Err(EpochFileFault::Part(name));
            }
        }
        let plan = Plan::decode(plan)?;
        if plan.halt != header.halt || plan.epoch.0.checked_add(1) != Some(header.epoch.0) {
            return Err(EpochFileFault::Part("plan"));
        }
        Ok(Self {
            header,
            plan,
            approvals: decode_approvals(approvals).ok_or(EpochFileFault::Part("list of approvals"))?,
            corrections: decode_events(corrections).ok_or(EpochFileFault::Part("list of corrections"))?,
            state: state.to_vec(),
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn encode_events(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(events.len() * 40);
    for event in events {
        let mut writer = Writer::default();
        event.encode(&mut writer);
        bytes.push(writer.as_bytes().len() as u8);
        bytes.extend_from_slice(writer.as_bytes());
    }
    bytes
}

fn decode_events(mut bytes: &[u8]) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (event, rest) = rest.split_at_checked(usize::from(*length))?;
        events.push(Event::decode(event).ok()?);
        bytes = rest;
    }
    Some(events)
}

/// An epoch that is ready to begin: what its file holds.
pub(super) struct Made {
    pub(super) header: EpochHeader,
    plan: Vec<u8>,
    approvals: Vec<u8>,
    corrections: Vec<Event>,
    corrections_bytes: Vec<u8>,
    state: Vec<u8>,
}

impl Made {
    /// Of the parent and the branch as they are right before the record at `sequence`.
    pub(super) fn new(
        plan: &Plan,
        approvals: &[Approval],
        parent: &Exchange,
        branch: &Exchange,
        busted: &[super::branch::BustedFill],
        sequence: Sequence,
    ) -> Self {
        let mut state = Vec::new();
        branch.canonical_state(&mut |bytes| state.extend_from_slice(bytes));
        let hash = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
        let state_hash = StateHash(hash(&state));
        let (plan_bytes, approvals) = (plan.encode(), encode_approvals(approvals));
        let (plan_hash, epoch) = (Digest(hash(&plan_bytes)), plan.epoch.next());
        let corrections = corrections(parent, branch, busted, epoch, plan.strategy.cut().next(), plan_hash, state_hash);
        let corrections_bytes = encode_events(&corrections);
        let header = EpochHeader {
            epoch,
            sequence,
            journal_id: plan.journal_id,
            halt: plan.halt,
            plan: plan_hash,
            approvals: Digest(hash(&approvals)),
            state_at_halt: plan.state,
            state: state_hash,
            corrections: Digest(hash(&corrections_bytes)),
        };
        Self { header, plan: plan_bytes, approvals, corrections, corrections_bytes, state }
    }

    /// Writes the file and makes it durable; one of the same name is replaced.
    pub(super) fn write<S: Storage>(&self, storage: &S) -> Result<(), EpochError> {
        let name = self.header.name().to_string();
        let write = || {
            let mut file = storage.create_file(&name)?;
            let mut hasher = blake3::Hasher::new();
            let header = self.encode_header();
            for part in [&header[..], &self.plan, &self.approvals, &self.corrections_bytes, &self.state] {
                hasher.update(part);
                file.write_all(part)?;
            }
            file.write_all(hasher.finalize().as_bytes())?;
            file.publish()
        };
        write().map_err(|source| EpochError::Io { file: storage.file_name(&name), source })
    }

    fn encode_header(&self) -> [u8; HEADER_BYTES] {
        let header = &self.header;
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&EPOCH_FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&header.epoch.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&header.sequence.0.to_le_bytes());
        bytes[24..40].copy_from_slice(&header.journal_id.0);
        bytes[40..48].copy_from_slice(&header.halt.0.to_le_bytes());
        bytes[48..80].copy_from_slice(&header.plan.0);
        bytes[80..112].copy_from_slice(&header.approvals.0);
        bytes[112..144].copy_from_slice(&header.state_at_halt.0);
        bytes[144..176].copy_from_slice(&header.state.0);
        bytes[176..208].copy_from_slice(&header.corrections.0);
        let lengths =
            [self.plan.len(), self.approvals.len(), self.corrections_bytes.len(), self.state.len()].into_iter();
        for (length, at) in lengths.zip((208..).step_by(8)) {
            bytes[at..at + 8].copy_from_slice(&(length as u64).to_le_bytes());
        }
        bytes
    }

    /// What the record tells.
    pub(super) fn corrections(&self) -> &[Event] {
        &self.corrections
    }

    /// The state that the exchange goes on from: the one in the file, read back.
    pub(super) fn into_begun(self, hash_seed: u64) -> Result<Begun, RestoreError> {
        let before = Sequence(self.header.sequence.0 - 1);
        let exchange = Exchange::from_canonical_state(&self.state, before, hash_seed)?;
        Ok(Begun { exchange, corrections: self.corrections })
    }
}

/// The commands that journal a plan and its approvals.
pub(super) fn plan_parts(plan: &Plan, approvals: &[Approval]) -> Vec<Command> {
    let document = plan.encode();
    let mut bytes = u32::try_from(document.len()).expect("a plan is far below 4 GiB").to_le_bytes().to_vec();
    bytes.extend_from_slice(&document);
    bytes.extend_from_slice(&encode_approvals(approvals));
    let parts = bytes.chunks(PART_BYTES).zip(0..).map(|(chunk, index)| {
        let mut part = [0; PART_BYTES];
        part[..chunk.len()].copy_from_slice(chunk);
        Command::AddPlanPart { index, length: chunk.len() as u8, bytes: Digest(part) }
    });
    parts.collect()
}

/// A plan as it is journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournaledPlan {
    /// When its first part was journaled.
    pub time: Timestamp,
    /// The plan.
    pub plan: Plan,
    /// Who approved it.
    pub approvals: Vec<Approval>,
}

/// Reads the plan that was journaled before the epoch whose record is at `sequence`.
///
/// # Errors
/// [`EpochError`] when the journal cannot be read, or the plan is not whole.
pub fn journaled_plan<S: Storage>(storage: &S, sequence: Sequence) -> Result<JournaledPlan, EpochError> {
    let mut parts: Vec<(u32, u8, Digest)> = Vec::new();
    let mut time = Timestamp(0);
    look_back(storage, Sequence(1), Sequence(sequence.0.saturating_sub(1)), |piece| {
        for command in piece.iter().rev() {
            if let Command::AddPlanPart { index, length, bytes } = command.command
                && (1..=PART_BYTES as u8).contains(&length)
            {
                parts.push((index, length, bytes));
                time = command.time;
                if index == 0 {
                    return true;
                }
            }
        }
        false
    })?;
    let wrong = |what| EpochError::Parts { sequence, what };
    parts.reverse();
    let last = parts.len().saturating_sub(1);
    let mut bytes = Vec::with_capacity(parts.len() * PART_BYTES);
    for (position, (index, length, part)) in parts.iter().enumerate() {
        let length = usize::from(*length);
        if usize::try_from(*index) != Ok(position) || (position < last && length < PART_BYTES) {
            return Err(wrong("their numbers have a gap"));
        }
        bytes.extend_from_slice(&part.0[..length]);
    }
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| wrong("there are none"))?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (plan, approvals) = rest.split_at_checked(length).ok_or_else(|| wrong("the plan is longer than they are"))?;
    let plan = Plan::decode(plan).map_err(|reason| EpochError::Plan { sequence, reason })?;
    let approvals = decode_approvals(approvals).ok_or_else(|| wrong("the approvals behind the plan are cut short"))?;
    Ok(JournaledPlan { time, plan, approvals })
}

/// Computes the epoch whose record is at `sequence` from its parent and its plan.
pub(super) fn compute<S: Storage>(storage: &S, sequence: Sequence) -> Result<Made, Box<EpochError>> {
    let JournaledPlan { plan, approvals, .. } = journaled_plan(storage, sequence)?;
    compute_plan(storage, sequence, &plan, &approvals)
}

/// As [`compute`], with the plan at hand.
pub(super) fn compute_plan<S: Storage>(
    storage: &S,
    sequence: Sequence,
    plan: &Plan,
    approvals: &[Approval],
) -> Result<Made, Box<EpochError>> {
    let (branch, _) = branch_before(storage, sequence, plan, &|_| ())?;
    Ok(Made::new(plan, approvals, &branch.parent, &branch.exchange, &branch.busted, sequence))
}

/// What there was at the halt.
pub(super) struct AtHalt {
    pub(super) parent: StateHash,
    pub(super) branch: StateHash,
    /// Who could sign, and with which key.
    pub(super) operators: BTreeMap<OperatorId, Digest>,
}

/// The parent and the branch of a plan right before the record at `sequence`, and what there was at the halt.
pub(super) fn branch_before<S: Storage>(
    storage: &S,
    sequence: Sequence,
    plan: &Plan,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Branch, AtHalt), Box<EpochError>> {
    let failed = |source: BranchError| EpochError::Branch { sequence, source: Box::new(source) };
    let timeline = Timeline::of(storage.clone()).before(sequence);
    let mut branch = evaluate(&timeline, plan.halt, &plan.strategy, progress).map_err(failed)?;
    let at_halt = AtHalt {
        parent: branch.parent.state_hash(),
        branch: branch.exchange.state_hash(),
        operators: operators_of(&branch.parent),
    };
    let later = JournalReader::open_at(storage.clone(), plan.halt).map_err(EpochError::from)?;
    for command in later {
        let command = command.map_err(EpochError::from)?;
        if command.sequence >= sequence {
            break;
        }
        carry_forward(&mut branch.parent, &mut branch.exchange, &command).map_err(failed)?;
    }
    Ok((branch, at_halt))
}

/// The sequence of the record that began the epoch that is now, if it is not the first; only records before `until` count.
pub(super) fn last_start<S: Storage>(storage: &S, until: Sequence) -> Result<Sequence, TimelineError> {
    let starts = epoch_starts(storage)?;
    let last = starts.iter().rev().find(|start| start.first < until && start.epoch > Epoch::FIRST);
    Ok(last.map_or(Sequence(0), |last| last.first))
}
