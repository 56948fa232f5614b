//! Approvals: what operators sign, and the keys they sign with (ed25519, RFC 8032).
//!
//! The message binds everything that a plan is good for, all numbers little-endian:
//!
//! ```text
//!  0 "reprise plan approval 1"     51 halt u64               99 operator u16
//! 23 zeros, 8 bytes                59 hash of the plan,     101 expiry u64, nanoseconds since 1970
//! 31 journal id, 16 bytes             32 bytes              109 end
//! 47 epoch u32, the parent's       91 zeros, 8 bytes
//! ```
//!
//! Who is an operator, and with which key, is what the journal says. A `RegisterOperator` names two who vouch and carries no
//! signature of theirs: whoever can submit commands as an operator, or holds the directory of a stopped exchange, can register
//! others. Who was registered behind the halt does not count for its plans; but whoever holds that lane can register first and
//! freeze afterwards. Two signatures are worth as much as the guard over it; `reprise log --kind RegisterOperator` lists them all.
//!
//! A key file is text: a title, and the secret in hex. Nobody but its owner may read it. So is the file of an approval:
//!
//! ```text
//! reprise operator key 1          reprise plan approval 1
//! 9d61b19d...                     plan 5f1c...
//!                                 operator 3
//!                                 expires 1764000000000000000
//!                                 signature 0a2b...
//!                                 check 77ec...       (of all before it)
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::plan::Plan;
use crate::{
    exchange::Exchange,
    types::{Digest, OperatorId, Sequence, Timestamp},
};

/// How many operators must approve.
pub const APPROVALS_MIN: usize = 2;
/// How many may.
pub const APPROVALS_MAX: usize = 100;

const TITLE: &[u8] = b"reprise plan approval 1";
const KEY_TITLE: &str = "reprise operator key 1";
const MESSAGE_BYTES: usize = 109;
/// Length of one approval among a plan's parts.
pub(super) const APPROVAL_BYTES: usize = 2 + 8 + 64;

/// An operator's signature under a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who signs.
    pub operator: OperatorId,
    /// Until when it counts.
    pub expires: Timestamp,
    /// Over the message that is drawn above.
    pub signature: [u8; 64],
}

/// Why approvals do not suffice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalError {
    /// The plan is a preview.
    #[error(
        "the plan is a preview: it was made while the exchange was not frozen in its epoch; freeze it, and make the plan again"
    )]
    Preview,
    /// Nobody has the number.
    #[error("approval of {operator}: there is no such operator")]
    Unknown {
        /// Who should have signed.
        operator: OperatorId,
    },
    /// The operator came only when the exchange was frozen.
    #[error(
        "approval of {operator}: this operator, or this key, was registered behind the halt at {halt}; let one sign who was there before"
    )]
    RegisteredLate {
        /// Who signed.
        operator: OperatorId,
        /// The plan's halt.
        halt: Sequence,
    },
    /// The operator has no rights any more.
    #[error("approval of {operator}: this operator has been revoked")]
    Revoked {
        /// Who signed.
        operator: OperatorId,
    },
    /// It is not this operator's signature under this plan.
    #[error("approval of {operator}: the signature is not this operator's under this plan and expiry")]
    Signature {
        /// Who should have signed.
        operator: OperatorId,
    },
    /// The approval is too old.
    #[error("approval of {operator}: it expired at {expires}, and it is {now} (nanoseconds since 1970): sign again")]
    Expired {
        /// Who signed.
        operator: OperatorId,
        /// Until when it counted.
        expires: Timestamp,
        /// What time it is.
        now: Timestamp,
    },
    /// One operator signed twice.
    #[error("approval of {operator}: this operator is there twice; two different ones must approve")]
    Twice {
        /// Who.
        operator: OperatorId,
    },
    /// Two operators have the same key.
    #[error("approvals of {first} and {second}: they are signed with the same key; two different people must approve")]
    SameKey {
        /// One.
        first: OperatorId,
        /// The other.
        second: OperatorId,
    },
    /// There are more than a journal takes.
    #[error("{found} approvals are there: the most is {APPROVALS_MAX}")]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// There are not enough.
    #[error("{found} approvals are there: {APPROVALS_MIN} different operators must approve")]
    TooFew {
        /// How many there are.
        found: usize,
    },
}

/// Why a key or an approval cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalFileError {
    /// The operating system failed.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The file holds no key.
    #[error("{} holds no operator's key: it should have the line {KEY_TITLE:?} and one of 64 hex digits", file.display())]
    Key {
        /// The file.
        file: PathBuf,
    },
    /// Others may read a secret.
    #[error("{} can be read by others (mode {mode:o}): take their rights away (chmod 600)", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds no approval.
    #[error("{} holds no approval, or was altered: {what} is not as it should be", file.display())]
    Approval {
        /// The file.
        file: PathBuf,
        /// Which line.
        what: &'static str,
    },
    /// The approval is for another plan.
    #[error("{} approves the plan {found}, not {expected}", file.display())]
    OtherPlan {
        /// The file.
        file: PathBuf,
        /// The hash of the plan it approves.
        found: Digest,
        /// The hash of this one.
        expected: Digest,
    },
    /// There is no randomness to be had.
    #[error("no secret can be made: {0}")]
    Random(#[source] io::Error),
}

/// An operator's secret.
///
/// ```
/// use engine::{recovery::SecretKey, types::Digest};
/// let key = SecretKey::from_bytes([7; 32]);
/// // Whoever has the public key, which the exchange registers, cannot sign.
/// let public: Digest = key.public();
/// assert_ne!(public.0, [7; 32]);
/// ```
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey(of {})", self.public())
    }
}

impl SecretKey {
    /// A new secret, from the operating system's randomness.
    ///
    /// # Errors
    /// [`ApprovalFileError::Random`] when there is none.
    pub fn generate() -> Result<Self, ApprovalFileError> {
        let read = || {
            let mut bytes = [0; 32];
            io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
            Ok(bytes)
        };
        read().map(Self::from_bytes).map_err(ApprovalFileError::Random)
    }

    /// The secret with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&bytes))
    }

    /// The public key: what `RegisterOperator` registers.
    #[must_use]
    pub fn public(&self) -> Digest {
        Digest(self.0.verifying_key().to_bytes())
    }

    /// Writes the secret to a file that is not there yet, which only its owner may read.
    ///
    /// # Errors
    /// [`ApprovalFileError::Io`] when it cannot be written or is there already.
    pub fn write_file(&self, path: impl AsRef<Path>) -> Result<(), ApprovalFileError> {
        let path = path.as_ref();
        let text = format!("{KEY_TITLE}\n{}\n", Digest(self.0.to_bytes()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| ApprovalFileError::Io { file: path.to_owned(), source })
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// [`ApprovalFileError`] when the file cannot be read, holds no key, or can be read by others.
    pub fn read_file(path: impl AsRef<Path>) -> Result<Self, ApprovalFileError> {
        let file = path.as_ref().to_owned();
        let read = || Ok((fs::metadata(&file)?.permissions().mode() & 0o777, fs::read(&file)?));
        let (mode, bytes) = match read() {
            Ok(read) => read,
            Err(source) => return Err(ApprovalFileError::Io { file, source }),
        };
        if mode & 0o077 != 0 {
            return Err(ApprovalFileError::Open { file, mode });
        }
        let text = String::from_utf8(bytes).unwrap_or_default();
        let mut lines = text.lines();
        let secret = match (lines.next(), lines.next(), lines.next()) {
            (Some(KEY_TITLE), Some(secret), None) => from_hex(secret.trim()),
            _ => None,
        };
        secret.map(Self::from_bytes).ok_or(ApprovalFileError::Key { file })
    }
}

/// Makes a secret, writes it to a new file that only its owner may read, and gives the public key, to be registered.
///
/// # Errors
/// [`ApprovalFileError`] when it cannot be made or written.
pub fn generate_key(path: impl AsRef<Path>) -> Result<Digest, ApprovalFileError> {
    let key = SecretKey::generate()?;
    key.write_file(path)?;
    Ok(key.public())
}

/// The bytes that hex digits stand for.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// What is signed.
fn message(plan: &Plan, hash: Digest, operator: OperatorId, expires: Timestamp) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    message[..TITLE.len()].copy_from_slice(TITLE);
    message[31..47].copy_from_slice(&plan.journal_id.0);
    message[47..51].copy_from_slice(&plan.epoch.0.to_le_bytes());
    message[51..59].copy_from_slice(&plan.halt.0.to_le_bytes());
    message[59..91].copy_from_slice(&hash.0);
    message[99..101].copy_from_slice(&operator.0.to_le_bytes());
    message[101..].copy_from_slice(&expires.0.to_le_bytes());
    message
}

impl Approval {
    /// Signs a plan.
    ///
    /// # Errors
    /// [`ApprovalError::Preview`] when it is one.
    pub fn sign(plan: &Plan, operator: OperatorId, key: &SecretKey, expires: Timestamp) -> Result<Self, ApprovalError> {
        if plan.preview {
            return Err(ApprovalError::Preview);
        }
        let signature = key.0.sign(&message(plan, plan.hash(), operator, expires)).to_bytes();
        Ok(Self { operator, expires, signature })
    }

    /// Whether it is the signature of who has this public key.
    fn is_signed_with(&self, plan: &Plan, hash: Digest, key: Digest) -> bool {
        let message = message(plan, hash, self.operator, self.expires);
        let signature = Signature::from_bytes(&self.signature);
        VerifyingKey::from_bytes(&key.0).is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
    }

    /// The name of its file beside that of the plan.
    #[must_use]
    pub fn file_beside(plan: impl AsRef<Path>, operator: OperatorId) -> PathBuf {
        let mut name = plan.as_ref().as_os_str().to_owned();
        name.push(format!(".approval-{}", operator.0));
        name.into()
    }

    /// Writes it to a file; one that is there is replaced.
    ///
    /// # Errors
    /// [`ApprovalFileError::Io`].
    pub fn write_file(&self, path: impl AsRef<Path>, plan: &Plan) -> Result<(), ApprovalFileError> {
        let path = path.as_ref();
        let signature: String = self.signature.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!(
            "reprise plan approval 1\nplan {}\noperator {}\nexpires {}\nsignature {signature}\n",
            plan.hash(),
            self.operator.0,
            self.expires.0
        );
        let text = format!("{text}check {}\n", blake3::hash(text.as_bytes()));
        fs::write(path, text).map_err(|source| ApprovalFileError::Io { file: path.to_owned(), source })
    }

    /// Reads one for `plan`. Whether it is good is not looked at.
    ///
    /// # Errors
    /// [`ApprovalFileError`] when it cannot be read, or is for another plan.
    pub fn read_file(path: impl AsRef<Path>, plan: &Plan) -> Result<Self, ApprovalFileError> {
        let file = path.as_ref().to_owned();
        let text = match fs::read(&file) {
            Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
            Err(source) => return Err(ApprovalFileError::Io { file, source }),
        };
        let wrong = |what| ApprovalFileError::Approval { file: file.clone(), what };
        let mut lines = text.lines();
        if lines.next() != Some("reprise plan approval 1") {
            return Err(wrong("the title"));
        }
        let mut field = |name: &'static str| {
            lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' ')).ok_or_else(|| wrong(name))
        };
        let found = Digest(from_hex(field("plan")?).ok_or_else(|| wrong("plan"))?);
        let operator = OperatorId(field("operator")?.parse().map_err(|_| wrong("operator"))?);
        let expires = Timestamp(field("expires")?.parse().map_err(|_| wrong("expires"))?);
        let signature = from_hex(field("signature")?).ok_or_else(|| wrong("signature"))?;
        let check = field("check")?;
        let checked = text.strip_suffix(&format!("check {check}\n")).ok_or_else(|| wrong("end"))?;
        if blake3::hash(checked.as_bytes()).to_string() != check {
            return Err(wrong("check"));
        }
        let expected = plan.hash();
        if found != expected {
            return Err(ApprovalFileError::OtherPlan { file, found, expected });
        }
        Ok(Self { operator, expires, signature })
    }

    /// Reads all that lie beside the file of a plan, operators ascending.
    ///
    /// # Errors
    /// [`ApprovalFileError`] when one cannot be read.
    pub fn read_beside(plan_file: impl AsRef<Path>, plan: &Plan) -> Result<Vec<Self>, ApprovalFileError> {
        let plan_file = plan_file.as_ref();
        let directory = match plan_file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let prefix = plan_file.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}.approval-"));
        let failed = |source| ApprovalFileError::Io { file: directory.to_owned(), source };
        let mut operators = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number =
                name.to_str().zip(prefix.as_ref()).and_then(|(name, prefix)| name.strip_prefix(prefix.as_str()));
            // Only what `file_beside` names: a copy named 03 is not read as a second file of 3.
            let operator = number.and_then(|number| number.parse().ok().filter(|n: &u16| n.to_string() == number));
            operators.extend(operator.map(OperatorId));
        }
        operators.sort_unstable();
        operators.into_iter().map(|operator| Self::read_file(Self::file_beside(plan_file, operator), plan)).collect()
    }
}

/// Approvals as they stand among a plan's parts: a count, then each.
pub(super) fn encode_approvals(approvals: &[Approval]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + approvals.len() * APPROVAL_BYTES);
    bytes.push(u8::try_from(approvals.len()).expect("there are few operators"));
    for approval in approvals {
        bytes.extend_from_slice(&approval.operator.0.to_le_bytes());
        bytes.extend_from_slice(&approval.expires.0.to_le_bytes());
        bytes.extend_from_slice(&approval.signature);
    }
    bytes
}

/// The approvals in `bytes`, which they must fill.
pub(super) fn decode_approvals(bytes: &[u8]) -> Option<Vec<Approval>> {
    let (count, rest) = bytes.split_first()?;
    if rest.len() != usize::from(*count) * APPROVAL_BYTES {
        return None;
    }
    let approvals = rest.chunks_exact(APPROVAL_BYTES).map(|chunk| {
        let (operator, chunk) = chunk.split_first_chunk::<2>()?;
        let (expires, signature) = chunk.split_first_chunk::<8>()?;
        Some(Approval {
            operator: OperatorId(u16::from_le_bytes(*operator)),
            expires: Timestamp(u64::from_le_bytes(*expires)),
            signature: *signature.first_chunk()?,
        })
    });
    approvals.collect()
}

/// The operators who have rights, and their keys.
pub(super) fn operators_of(exchange: &Exchange) -> BTreeMap<OperatorId, Digest> {
    exchange.operators().filter(|(_, known)| known.registered).map(|(operator, known)| (operator, known.key)).collect()
}

/// Checks that the approvals suffice for the plan at `now`: by operators who were there `at_halt`, with the same keys, and
/// whose rights have not been taken away since, as `exchange` knows. So nobody can make himself two signers for a plan while
/// the exchange is frozen.
///
/// # Errors
/// [`ApprovalError`] names the first that is not good, and why.
pub(super) fn check_approvals(
    plan: &Plan,
    approvals: &[Approval],
    at_halt: &BTreeMap<OperatorId, Digest>,
    exchange: &Exchange,
    now: Timestamp,
) -> Result<(), ApprovalError> {
    if plan.preview {
        return Err(ApprovalError::Preview);
    }
    if approvals.len() > APPROVALS_MAX {
        return Err(ApprovalError::TooMany { found: approvals.len() });
    }
    let hash = plan.hash();
    let mut keys: Vec<(OperatorId, Digest)> = Vec::with_capacity(approvals.len());
    for approval in approvals {
        let operator = approval.operator;
        if keys.iter().any(|(other, _)| *other == operator) {
            return Err(ApprovalError::Twice { operator });
        }
        let (_, known) =
            exchange.operators().find(|(number, _)| *number == operator).ok_or(ApprovalError::Unknown { operator })?;
        if !known.registered {
            return Err(ApprovalError::Revoked { operator });
        }
        if at_halt.get(&operator) != Some(&known.key) {
            return Err(ApprovalError::RegisteredLate { operator, halt: plan.halt });
        }
        if !approval.is_signed_with(plan, hash, known.key) {
            return Err(ApprovalError::Signature { operator });
        }
        if approval.expires < now {
            return Err(ApprovalError::Expired { operator, expires: approval.expires, now });
        }
        if let Some((first, _)) = keys.iter().find(|(_, key)| *key == known.key) {
            return Err(ApprovalError::SameKey { first: *first, second: operator });
        }
        keys.push((operator, known.key));
    }
    if keys.len() < APPROVALS_MIN {
        return Err(ApprovalError::TooFew { found: keys.len() });
    }
    Ok(())
}
