//! What guards payouts: operators, manifests of airdrops and their limits, attested reserves, the velocity of
//! withdrawals, and locks. Owned by risk; the matcher mirrors the lines, so that it can tell what was paid.
//!
//! Never touches a balance: it says whether something may be paid, and risk pays.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::RejectReason,
    types::{AccountId, AirdropId, Amount, AssetId, Controls, Digest, ManifestHash, OperatorId, Sequence, Timestamp},
};

/// The most lines that a manifest can have.
pub const AIRDROP_LINES_MAX: u32 = 1_000_000;

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;

/// Computes the hash of a manifest: BLAKE3 over `"reprise manifest"`, the asset `u16`, and for each line in order its account
/// `u32` and amount `u64`, little-endian; the first 16 bytes of it.
///
/// ```
/// use engine::{exchange::ManifestHasher, types::{AccountId, Amount, AssetId}};
/// let mut hasher = ManifestHasher::new(AssetId(3));
/// hasher.line(AccountId(7), Amount(100));
/// hasher.line(AccountId(8), Amount(200));
/// assert_eq!(hasher.finish().to_string().len(), 32);
/// ```
#[derive(Clone, Debug)]
pub struct ManifestHasher(blake3::Hasher);

impl ManifestHasher {
    /// Begins the manifest of an airdrop of `asset`.
    #[must_use]
    pub fn new(asset: AssetId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"reprise manifest");
        hasher.update(&asset.0.to_le_bytes());
        Self(hasher)
    }

    /// Takes the next line.
    pub fn line(&mut self, account: AccountId, amount: Amount) {
        self.0.update(&account.0.to_le_bytes());
        self.0.update(&amount.0.to_le_bytes());
    }

    /// The hash over all lines.
    #[must_use]
    pub fn finish(&self) -> ManifestHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        ManifestHash(hash)
    }
}

/// How far an airdrop has come. The numbers are part of the canonical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AirdropState {
    /// Its manifest takes lines, or waits for approval.
    Open = 0,
    /// Approved by an operator other than its author.
    Approved = 1,
    /// Paid out.
    Executed = 2,
    /// Given up.
    Cancelled = 3,
}

impl AirdropState {
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Open),
            1 => Some(Self::Approved),
            2 => Some(Self::Executed),
            3 => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// An airdrop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Airdrop {
    /// Who drew it up.
    pub author: OperatorId,
    /// What is paid.
    pub asset: AssetId,
    /// The sum of all lines.
    pub total: Amount,
    /// How many lines were announced.
    pub lines_announced: u32,
    /// The hash over all lines.
    pub hash: ManifestHash,
    /// For how many seconds what was credited is locked.
    pub lock_seconds: u32,
    /// The sequence at which its manifest was opened.
    pub opened: Sequence,
    /// The sequence at which it was paid; 0 before.
    pub executed: Sequence,
    /// How far it has come.
    pub state: AirdropState,
    /// Who approved it, or 0.
    pub approver: OperatorId,
    /// Until when it is locked; 0 before it is executed, and without a lock.
    pub locked_until: Timestamp,
    /// The system account that paid, or 0.
    pub source: AccountId,
    /// The lines, while it is open, approved or locked.
    pub lines: Vec<(AccountId, Amount)>,
    /// Who has a line, while it is open.
    pub(super) recipients: BTreeSet<AccountId>,
}

/// What airdrops of an asset may pay; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AirdropLimits {
    /// To one recipient by one airdrop.
    pub recipient_max: Amount,
    /// By one airdrop.
    pub airdrop_max: Amount,
    /// By all airdrops of one day.
    pub day_max: Amount,
    /// The last day on which one was paid, counted from 1970.
    pub day: u64,
    /// What was paid on it.
    pub paid: Amount,
}

/// What may be asked for in withdrawals of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayoutVelocity {
    /// The most within one window.
    pub amount_max: Amount,
    /// The window, in seconds.
    pub window_seconds: u32,
    /// The last window in which something was asked for, counted from 1970.
    pub window: u64,
    /// What was asked for in it.
    pub requested: Amount,
}

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorView {
    /// The public key.
    pub key: Digest,
    /// Whether the rights have not been taken away.
    pub registered: bool,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Payouts {
    pub(super) controls: Controls,
    /// The assets whose withdrawals are stopped.
    pub(super) stopped: BTreeSet<AssetId>,
    pub(super) operators: BTreeMap<OperatorId, OperatorView>,
    pub(super) attested: BTreeMap<AssetId, Amount>,
    pub(super) velocities: BTreeMap<AssetId, PayoutVelocity>,
    pub(super) limits: BTreeMap<AssetId, AirdropLimits>,
    pub(super) airdrops: BTreeMap<AirdropId, Airdrop>,
}

type Checked<T = ()> = Result<T, RejectReason>;

const fn check(holds: bool, reason: RejectReason) -> Checked {
    if holds { Ok(()) } else { Err(reason) }
}

impl Payouts {
    /// Whether nothing was ever used: then the state is one of version 1.
    pub(super) fn is_unused(&self) -> bool {
        self.controls == Controls::default()
            && self.stopped.is_empty()
            && self.operators.is_empty()
            && self.attested.is_empty()
            && self.velocities.is_empty()
            && self.limits.is_empty()
            && self.airdrops.is_empty()
    }

    fn is_registered(&self, operator: OperatorId) -> bool {
        self.operators.get(&operator).is_some_and(|known| known.registered)
    }

    pub(super) fn known_operator(&self, operator: OperatorId) -> Checked {
        check(self.is_registered(operator), RejectReason::UnknownOperator)
    }

    pub(super) fn register(
        &mut self,
        operator: OperatorId,
        key: Digest,
        first: OperatorId,
        second: OperatorId,
    ) -> Checked {
        let is_new = operator.0 != 0 && !self.operators.contains_key(&operator);
        check(is_new, RejectReason::OperatorExists)?;
        let nobody = OperatorId(0);
        if self.operators.values().filter(|known| known.registered).count() < 2 {
            check(same(first, second) && second == nobody, RejectReason::EndorsementMissing)?;
        } else {
            check(!same(first, second) || !self.is_registered(first), RejectReason::SameOperator)?;
            check(self.is_registered(first) && self.is_registered(second), RejectReason::EndorsementMissing)?;
        }
        self.operators.insert(operator, OperatorView { key, registered: true });
        Ok(())
    }

    pub(super) fn revoke(&mut self, operator: OperatorId, first: OperatorId, second: OperatorId) -> Checked {
        self.known_operator(operator)?;
        let vouches = |other: OperatorId| other != operator && self.is_registered(other);
        check(!same(first, second) || !vouches(first), RejectReason::SameOperator)?;
        check(vouches(first) && vouches(second), RejectReason::EndorsementMissing)?;
        self.operators.get_mut(&operator).expect("it is known").registered = false;
        Ok(())
    }

    /// Counts a request of a withdrawal, if it may pass.
    pub(super) fn request(&mut self, asset: AssetId, amount: Amount, time: Timestamp) -> Checked {
        let Some(velocity) = self.velocities.get_mut(&asset) else { return Ok(()) };
        let window = time.0 / (u64::from(velocity.window_seconds) * SECOND_NS);
        let requested = if window == velocity.window { velocity.requested } else { Amount::ZERO };
        let requested = requested.checked_add(amount).filter(|sum| *sum <= velocity.amount_max);
        let Some(requested) = requested else { return Err(RejectReason::VelocityExceeded) };
        (velocity.window, velocity.requested) = (window, requested);
        Ok(())
    }

    /// Counts a request of a withdrawal that passes in any case, as far as it fits.
    pub(super) fn count_request(&mut self, asset: AssetId, amount: Amount, time: Timestamp) {
        if self.request(asset, amount, time).is_ok() {
            return;
        }
        if let Some(velocity) = self.velocities.get_mut(&asset) {
            let window = time.0 / (u64::from(velocity.window_seconds) * SECOND_NS);
            (velocity.window, velocity.requested) = (window, velocity.amount_max);
        }
    }

    pub(super) fn set_velocity(&mut self, asset: AssetId, amount_max: Amount, window_seconds: u32) {
        if window_seconds == 0 {
            self.velocities.remove(&asset);
            return;
        }
        let (window, requested) = (0, Amount::ZERO);
        self.velocities.insert(asset, PayoutVelocity { amount_max, window_seconds, window, requested });
    }

    pub(super) fn set_limits(&mut self, asset: AssetId, recipient_max: Amount, airdrop_max: Amount, day_max: Amount) {
        let limits = self.limits.entry(asset).or_default();
        (limits.recipient_max, limits.airdrop_max, limits.day_max) = (recipient_max, airdrop_max, day_max);
        if *limits == AirdropLimits::default() {
            self.limits.remove(&asset);
        }
    }

    pub(super) fn known_airdrop(&self, airdrop: AirdropId) -> Checked<&Airdrop> {
        self.airdrops.get(&airdrop).ok_or(RejectReason::UnknownAirdrop)
    }

    pub(super) fn add_line(&mut self, airdrop: AirdropId, account: AccountId, amount: Amount) -> Checked {
        let found = self.airdrops.get_mut(&airdrop).ok_or(RejectReason::UnknownAirdrop)?;
        let takes = found.state == AirdropState::Open && found.lines.len() < found.lines_announced as usize;
        check(takes, RejectReason::AirdropStateInvalid)?;
        check(found.recipients.insert(account), RejectReason::DuplicateRecipient)?;
        found.lines.push((account, amount));
        Ok(())
    }

    pub(super) fn approve(&mut self, airdrop: AirdropId, operator: OperatorId) -> Checked {
        self.known_operator(operator)?;
        if let Some(found) = self.airdrops.get(&airdrop) {
            check(found.author != operator, RejectReason::SameOperator)?;
        }
        let found = self.known_airdrop(airdrop)?;
        check(found.is_pending(), RejectReason::AirdropStateInvalid)?;
        found.check_manifest()?;
        let found = self.airdrops.get_mut(&airdrop).expect("it is known");
        (found.state, found.approver) = (AirdropState::Approved, operator);
        Ok(())
    }

    pub(super) fn cancel(&mut self, airdrop: AirdropId, operator: OperatorId) -> Checked {
        self.known_operator(operator)?;
        let found = self.airdrops.get_mut(&airdrop).ok_or(RejectReason::UnknownAirdrop)?;
        check(found.is_pending(), RejectReason::AirdropStateInvalid)?;
        found.state = AirdropState::Cancelled;
        found.forget_lines();
        Ok(())
    }

    /// Whether an airdrop may be paid, as far as neither treasury, supply nor reserves say.
    pub(super) fn check_execution(
        &self,
        airdrop: AirdropId,
        operator: OperatorId,
        time: Timestamp,
    ) -> Checked<&Airdrop> {
        self.known_operator(operator)?;
        let found = self.known_airdrop(airdrop)?;
        check(found.is_pending(), RejectReason::AirdropStateInvalid)?;
        found.check_manifest()?;
        let approved = found.state == AirdropState::Approved || !self.controls.has(Controls::APPROVAL);
        check(approved, RejectReason::ApprovalMissing)?;
        let limits = self.limits.get(&found.asset).copied().unwrap_or_default();
        let within = |most: Amount, amount: Amount| most.is_zero() || amount <= most;
        let largest = found.lines.iter().map(|(_, amount)| *amount).max().unwrap_or_default();
        check(within(limits.recipient_max, largest), RejectReason::OverRecipientLimit)?;
        check(within(limits.airdrop_max, found.total), RejectReason::OverAirdropLimit)?;
        let paid = Amount(limits.paid_on(day_of(time)).0.saturating_add(found.total.0));
        check(within(limits.day_max, paid), RejectReason::OverDayLimit)?;
        Ok(found)
    }

    /// Records that an airdrop was paid by the command at `at`, at `time`; gives until when it is locked.
    pub(super) fn paid(&mut self, airdrop: AirdropId, source: AccountId, at: Sequence, time: Timestamp) -> Timestamp {
        let found = self.airdrops.get_mut(&airdrop).expect("it was checked");
        (found.state, found.source, found.executed) = (AirdropState::Executed, source, at);
        found.recipients.clear();
        // What is paid is the lines: behind a repaired manifest they need not sum to the total.
        let paid = found.lines.iter().fold(0_u64, |paid, (_, amount)| paid.saturating_add(amount.0));
        if found.lock_seconds > 0 {
            found.locked_until = Timestamp(time.0.saturating_add(u64::from(found.lock_seconds) * SECOND_NS));
        } else {
            found.forget_lines();
        }
        let (asset, locked_until) = (found.asset, found.locked_until);
        let limits = self.limits.entry(asset).or_default();
        let day = day_of(time);
        limits.paid = Amount(limits.paid_on(day).0.saturating_add(paid));
        limits.day = day;
        locked_until
    }

    /// The lock that ends first.
    pub(super) fn next_lock(&self) -> Option<(Timestamp, AirdropId)> {
        let locked = self.airdrops.iter().filter(|(_, airdrop)| airdrop.is_locked());
        locked.map(|(id, airdrop)| (airdrop.locked_until, *id)).min()
    }
}

impl AirdropLimits {
    fn paid_on(&self, day: u64) -> Amount {
        if day == self.day { self.paid } else { Amount::ZERO }
    }
}

impl Airdrop {
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, AirdropState::Open | AirdropState::Approved)
    }

    /// Whether what it paid is still locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.state == AirdropState::Executed && !self.lines.is_empty()
    }

    pub(super) fn forget_lines(&mut self) {
        (self.lines, self.recipients) = (Vec::new(), BTreeSet::new());
    }

    /// Whether the lines are as many as were announced, sum to the total and have the hash.
    pub(super) fn check_manifest(&self) -> Checked {
        check(self.lines.len() == self.lines_announced as usize, RejectReason::AirdropIncomplete)?;
        let sum: u128 = self.lines.iter().map(|(_, amount)| u128::from(amount.0)).sum();
        check(sum == u128::from(self.total.0), RejectReason::AirdropTotalMismatch)?;
        let mut hasher = ManifestHasher::new(self.asset);
        self.lines.iter().for_each(|&(account, amount)| hasher.line(account, amount));
        check(hasher.finish() == self.hash, RejectReason::AirdropHashMismatch)
    }
}

/// The day of a time, counted from 1970, in UTC.
const fn day_of(time: Timestamp) -> u64 {
    time.0 / DAY_NS
}

fn same(first: OperatorId, second: OperatorId) -> bool {
    first == second
}
