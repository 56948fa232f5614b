//! Operators, payouts and debts: the second half of the rules' version 2.

use std::collections::BTreeMap;

use engine::{
    command::Command,
    event::{Event, RejectReason},
    types::{
        AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, Digest, ExternalId, Gate, ManifestHash, MarketId,
        OperatorId, OrderId, Sequence, Timestamp, TradingStatus, WithdrawalId,
    },
};

use super::{
    Balance, EXTERNAL, MAX, ModelExchange, Outcome, RECEIVABLES, TREASURY, UNBACKED, Withdrawal, WithdrawalState,
    amount, check_amount, check_at_most, refuse_if, streams::Random, to_i128,
};

/// The control bits.
pub const COVER: u8 = 1;
pub const APPROVAL: u8 = 2;
pub const RESERVES: u8 = 4;
/// What a new exchange has.
pub const ALL_CONTROLS: u8 = 7;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

#[derive(Clone, Debug)]
pub struct Operator {
    pub key: Digest,
    pub registered: bool,
}

#[derive(Clone, Debug)]
pub struct Velocity {
    pub most: u128,
    pub seconds: u32,
    pub window: u64,
    pub requested: u128,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub recipient: u128,
    pub airdrop: u128,
    pub daily: u128,
    pub day: u64,
    pub paid: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AirdropState {
    Open = 0,
    Approved = 1,
    Executed = 2,
    Cancelled = 3,
}

#[derive(Clone, Debug)]
pub struct Airdrop {
    pub author: OperatorId,
    pub asset: AssetId,
    pub total: u128,
    pub announced: u32,
    pub hash: ManifestHash,
    pub lock_seconds: u32,
    pub opened: Sequence,
    pub executed: Sequence,
    pub state: AirdropState,
    pub approver: OperatorId,
    pub locked_until: Timestamp,
    pub source: AccountId,
    /// While it is open, approved or locked.
    pub lines: Vec<(AccountId, u128)>,
}

impl Airdrop {
    pub fn is_pending(&self) -> bool {
        self.state == AirdropState::Open || self.state == AirdropState::Approved
    }

    pub fn is_locked(&self) -> bool {
        self.state == AirdropState::Executed && !self.lines.is_empty()
    }
}

/// The hash of a manifest.
pub fn manifest_hash(asset: AssetId, lines: &[(AccountId, u128)]) -> ManifestHash {
    let mut bytes = b"reprise manifest".to_vec();
    bytes.extend(asset.0.to_le_bytes());
    for (account, value) in lines {
        bytes.extend(account.0.to_le_bytes());
        bytes.extend(amount(*value).0.to_le_bytes());
    }
    let hash = blake3::hash(&bytes);
    ManifestHash(hash.as_bytes()[..16].try_into().expect("16 bytes"))
}

impl ModelExchange {
    pub(super) fn dispatch_payout(&mut self, sequence: Sequence, command: &Command) -> Outcome {
        match *command {
            Command::SetAssetWithdrawals { asset, withdrawals } => {
                self.check_asset(asset)?;
                self.check_not_frozen()?;
                match withdrawals {
                    Gate::Closed => self.stopped.insert(asset),
                    Gate::Open => self.stopped.remove(&asset),
                };
                self.emit(Event::AssetWithdrawalsSet { asset, withdrawals })
            }
            Command::Tick {} => self.emit(Event::Ticked {}),
            Command::RegisterOperator { operator, key, first, second } => {
                self.register_operator(operator, key, first, second)
            }
            Command::RevokeOperator { operator, first, second } => self.revoke_operator(operator, first, second),
            Command::FundTreasury { asset, amount, external_id } => self.fund_treasury(asset, amount, external_id),
            Command::AttestReserves { asset, amount: attested } => {
                self.check_asset(asset)?;
                check_at_most(attested)?;
                self.attested.insert(asset, attested.0.into());
                let liabilities = amount(self.liabilities(asset));
                self.emit(Event::ReservesAttested { asset, amount: attested, liabilities })
            }
            Command::SetPayoutVelocity { asset, amount_max, window_seconds } => {
                self.check_asset(asset)?;
                self.check_not_frozen()?;
                check_at_most(amount_max)?;
                if window_seconds == 0 {
                    self.velocities.remove(&asset);
                } else {
                    let most = amount_max.0.into();
                    let begun = Velocity { most, seconds: window_seconds, window: 0, requested: 0 };
                    self.velocities.insert(asset, begun);
                }
                self.emit(Event::PayoutVelocitySet { asset, amount_max, window_seconds })
            }
            Command::SetAirdropLimits { asset, recipient_max, airdrop_max, day_max } => {
                self.check_asset(asset)?;
                self.check_not_frozen()?;
                check_at_most(recipient_max)?;
                check_at_most(airdrop_max)?;
                check_at_most(day_max)?;
                let limits = self.limits.entry(asset).or_default();
                limits.recipient = recipient_max.0.into();
                limits.airdrop = airdrop_max.0.into();
                limits.daily = day_max.0.into();
                self.emit(Event::AirdropLimitsSet { asset, recipient_max, airdrop_max, day_max })
            }
            Command::SetControls { controls } => {
                self.check_not_frozen()?;
                refuse_if(controls.0 > ALL_CONTROLS, RejectReason::InvalidControls)?;
                self.controls = controls.0;
                self.emit(Event::ControlsSet { controls })
            }
            Command::OpenAirdrop { .. } => self.open_airdrop(sequence, command),
            Command::AddAirdropLine { airdrop, account, amount } => self.add_airdrop_line(airdrop, account, amount),
            Command::ApproveAirdrop { airdrop, operator } => self.approve_airdrop(airdrop, operator),
            Command::ExecuteAirdrop { airdrop, operator } => self.execute_airdrop(sequence, airdrop, operator),
            Command::CancelAirdrop { airdrop, operator } => {
                self.check_not_frozen()?;
                self.check_operator(operator)?;
                let found = self.airdrops.get_mut(&airdrop).ok_or(RejectReason::UnknownAirdrop)?;
                refuse_if(!found.is_pending(), RejectReason::AirdropStateInvalid)?;
                found.state = AirdropState::Cancelled;
                found.lines.clear();
                self.emit(Event::AirdropCancelled { airdrop, operator })
            }
            Command::SetOff { account, asset } => self.set_off(account, asset),
            Command::AddPlanPart { index, length, .. } => {
                refuse_if(length == 0 || length > 32, RejectReason::InvalidPlanPart)?;
                self.emit(Event::PlanPartAdded { index })
            }
            Command::StartEpoch { at, .. } => {
                refuse_if(at != sequence, RejectReason::EpochOutOfPlace)?;
                unreachable!("an epoch starts with a recovery")
            }
            _ => unreachable!("dispatched elsewhere: {command:?}"),
        }
    }

    pub(super) fn check_not_frozen(&self) -> Outcome {
        refuse_if(self.status == TradingStatus::Frozen, RejectReason::ExchangeFrozen)
    }

    // Operators.

    fn is_registered(&self, operator: OperatorId) -> bool {
        self.operators.get(&operator).is_some_and(|found| found.registered)
    }

    fn check_operator(&self, operator: OperatorId) -> Outcome {
        refuse_if(!self.is_registered(operator), RejectReason::UnknownOperator)
    }

    fn register_operator(
        &mut self,
        operator: OperatorId,
        key: Digest,
        first: OperatorId,
        second: OperatorId,
    ) -> Outcome {
        let taken = operator.0 == 0 || self.operators.contains_key(&operator);
        refuse_if(taken, RejectReason::OperatorExists)?;
        let registered = self.operators.values().filter(|found| found.registered).count();
        if registered < 2 {
            refuse_if(first.0 != 0 || second.0 != 0, RejectReason::EndorsementMissing)?;
        } else {
            refuse_if(first == second && self.is_registered(first), RejectReason::SameOperator)?;
            let both = self.is_registered(first) && self.is_registered(second);
            refuse_if(!both, RejectReason::EndorsementMissing)?;
        }
        self.operators.insert(operator, Operator { key, registered: true });
        self.emit(Event::OperatorRegistered { operator, key })
    }

    fn revoke_operator(&mut self, operator: OperatorId, first: OperatorId, second: OperatorId) -> Outcome {
        self.check_operator(operator)?;
        let vouches = |other| other != operator && self.is_registered(other);
        refuse_if(first == second && vouches(first), RejectReason::SameOperator)?;
        refuse_if(!vouches(first) || !vouches(second), RejectReason::EndorsementMissing)?;
        self.operators.get_mut(&operator).expect("it is registered").registered = false;
        self.emit(Event::OperatorRevoked { operator })
    }

    // Payouts.

    /// What users, fees and treasury have.
    pub fn liabilities(&self, asset: AssetId) -> u128 {
        let system = &self.assets[&asset].system;
        u128::try_from(-(system[EXTERNAL] + system[RECEIVABLES] + system[UNBACKED])).expect("not negative")
    }

    /// What there is, what may come back and `value` are together no more than there can be.
    pub(super) fn check_supply(&self, asset: AssetId, value: u128) -> Outcome {
        let supply = self.liabilities(asset) + self.may_come_back(asset) + value;
        refuse_if(supply > MAX, RejectReason::SupplyTooLarge)
    }

    fn fund_treasury(&mut self, asset: AssetId, amount: Amount, external_id: ExternalId) -> Outcome {
        self.check_asset(asset)?;
        check_amount(amount)?;
        self.check_supply(asset, amount.0.into())?;
        refuse_if(self.credited.contains(&(asset, external_id.0)), RejectReason::DuplicateExternalId)?;
        self.credited.insert((asset, external_id.0));
        *self.system(TREASURY, asset) += i128::from(amount.0);
        *self.system(EXTERNAL, asset) -= i128::from(amount.0);
        self.emit(Event::TreasuryFunded { asset, amount, external_id })
    }

    /// Counts a request of a withdrawal that passes all other checks, or refuses it.
    pub(super) fn count_request(&mut self, asset: AssetId, value: u128) -> Outcome {
        let time = self.time.0;
        let Some(velocity) = self.velocities.get_mut(&asset) else { return Ok(()) };
        let window = time / (u64::from(velocity.seconds) * SECOND);
        let before = if window == velocity.window { velocity.requested } else { 0 };
        refuse_if(before + value > velocity.most, RejectReason::VelocityExceeded)?;
        velocity.window = window;
        velocity.requested = before + value;
        Ok(())
    }

    fn open_airdrop(&mut self, sequence: Sequence, command: &Command) -> Outcome {
        let &Command::OpenAirdrop { airdrop, author, asset, total, lines, hash, lock_seconds } = command else {
            unreachable!("called for this kind only")
        };
        self.check_asset(asset)?;
        self.check_not_frozen()?;
        check_amount(total)?;
        self.check_operator(author)?;
        refuse_if(self.airdrops.contains_key(&airdrop), RejectReason::AirdropExists)?;
        refuse_if(lines == 0 || lines > 1_000_000, RejectReason::LineCountInvalid)?;
        let opened = Airdrop {
            author,
            asset,
            total: total.0.into(),
            announced: lines,
            hash,
            lock_seconds,
            opened: sequence,
            executed: Sequence(0),
            state: AirdropState::Open,
            approver: OperatorId(0),
            locked_until: Timestamp(0),
            source: AccountId(0),
            lines: Vec::new(),
        };
        self.airdrops.insert(airdrop, opened);
        self.emit(Event::AirdropOpened { airdrop, author, asset, total, lines, lock_seconds })
    }

    fn add_airdrop_line(&mut self, airdrop: AirdropId, account: AccountId, amount: Amount) -> Outcome {
        self.check_account(account)?;
        self.check_not_frozen()?;
        check_amount(amount)?;
        let found = self.airdrops.get_mut(&airdrop).ok_or(RejectReason::UnknownAirdrop)?;
        let full = found.lines.len() as u64 == u64::from(found.announced);
        refuse_if(found.state != AirdropState::Open || full, RejectReason::AirdropStateInvalid)?;
        let twice = found.lines.iter().any(|(other, _)| *other == account);
        refuse_if(twice, RejectReason::DuplicateRecipient)?;
        found.lines.push((account, amount.0.into()));
        self.emit(Event::AirdropLineAdded { airdrop, account, amount })
    }

    fn check_manifest(&self, airdrop: AirdropId) -> Outcome {
        let found = &self.airdrops[&airdrop];
        refuse_if((found.lines.len() as u64) < found.announced.into(), RejectReason::AirdropIncomplete)?;
        let sum: u128 = found.lines.iter().map(|(_, value)| value).sum();
        refuse_if(sum != found.total, RejectReason::AirdropTotalMismatch)?;
        let hash = manifest_hash(found.asset, &found.lines);
        refuse_if(hash != found.hash, RejectReason::AirdropHashMismatch)
    }

    fn approve_airdrop(&mut self, airdrop: AirdropId, operator: OperatorId) -> Outcome {
        self.check_not_frozen()?;
        self.check_operator(operator)?;
        let author = self.airdrops.get(&airdrop).map(|found| found.author);
        refuse_if(author == Some(operator), RejectReason::SameOperator)?;
        refuse_if(author.is_none(), RejectReason::UnknownAirdrop)?;
        refuse_if(!self.airdrops[&airdrop].is_pending(), RejectReason::AirdropStateInvalid)?;
        self.check_manifest(airdrop)?;
        let found = self.airdrops.get_mut(&airdrop).expect("it is known");
        found.state = AirdropState::Approved;
        found.approver = operator;
        self.emit(Event::AirdropApproved { airdrop, operator })
    }

    fn execute_airdrop(&mut self, sequence: Sequence, airdrop: AirdropId, operator: OperatorId) -> Outcome {
        self.check_not_frozen()?;
        let cover = self.controls & COVER != 0;
        let known = self.airdrops.get(&airdrop).cloned();
        if let Some(known) = &known
            && !cover
        {
            self.check_supply(known.asset, known.total)?;
        }
        self.check_operator(operator)?;
        let known = known.ok_or(RejectReason::UnknownAirdrop)?;
        refuse_if(!known.is_pending(), RejectReason::AirdropStateInvalid)?;
        self.check_manifest(airdrop)?;
        let needs_approval = self.controls & APPROVAL != 0;
        refuse_if(needs_approval && known.state != AirdropState::Approved, RejectReason::ApprovalMissing)?;

        let (asset, total) = (known.asset, known.total);
        let limits = self.limits.get(&asset).cloned().unwrap_or_default();
        let day = self.time.0 / DAY;
        let paid_today = if limits.day == day { limits.paid } else { 0 };
        let above = |value: u128, most: u128| most != 0 && value > most;
        let over_recipient = known.lines.iter().any(|(_, value)| above(*value, limits.recipient));
        refuse_if(over_recipient, RejectReason::OverRecipientLimit)?;
        refuse_if(above(total, limits.airdrop), RejectReason::OverAirdropLimit)?;
        refuse_if(above(paid_today + total, limits.daily), RejectReason::OverDayLimit)?;

        let treasury = self.assets[&asset].system[TREASURY];
        refuse_if(cover && treasury < to_i128(total), RejectReason::TreasuryNotCovered)?;
        if self.controls & RESERVES != 0 {
            let attested = *self.attested.get(&asset).ok_or(RejectReason::ReservesNotAttested)?;
            let after = self.liabilities(asset) + if cover { 0 } else { total };
            refuse_if(after > attested, RejectReason::ReservesExceeded)?;
        }
        self.pay_airdrop(sequence, airdrop);
        Ok(())
    }

    /// Pays an airdrop, whatever the checks would say.
    pub fn pay_airdrop(&mut self, sequence: Sequence, airdrop: AirdropId) {
        let cover = self.controls & COVER != 0;
        let (source, index) = if cover { (AccountId::TREASURY, TREASURY) } else { (AccountId::UNBACKED, UNBACKED) };
        let time = self.time.0;
        let found = self.airdrops.get_mut(&airdrop).expect("it is known");
        found.state = AirdropState::Executed;
        found.source = source;
        found.executed = sequence;
        let lock = found.lock_seconds != 0;
        if lock {
            found.locked_until = Timestamp(time.saturating_add(u64::from(found.lock_seconds) * SECOND));
        }
        let Airdrop { asset, total, locked_until, .. } = *found;
        let lines = found.lines.clone();
        // The lines are paid: forced by a recovery, they need not sum to the total.
        let sum: u128 = lines.iter().map(|(_, value)| value).sum();
        if !lock {
            found.lines.clear();
        }
        let day = time / DAY;
        let paid = self.limits.entry(asset).or_default();
        let paid_today = if paid.day == day { paid.paid } else { 0 };
        paid.day = day;
        paid.paid = (paid_today + sum).min(u64::MAX.into());
        *self.system(index, asset) -= to_i128(sum);
        self.events.push(Event::AirdropExecuted { airdrop, asset, total: amount(total), source, locked_until });
        for (account, value) in lines {
            let balance = self.balance_mut(account, asset);
            if lock {
                balance.held += value;
            } else {
                balance.available += value;
            }
            let locked = if lock { Gate::Closed } else { Gate::Open };
            self.events.push(Event::AirdropCredited { airdrop, account, asset, amount: amount(value), locked });
        }
    }

    /// Ends the locks that are due.
    pub(super) fn end_locks(&mut self) {
        let mut due: Vec<_> = self
            .airdrops
            .iter()
            .filter(|(_, found)| found.is_locked() && found.locked_until <= self.time)
            .map(|(&airdrop, found)| (found.locked_until, airdrop))
            .collect();
        due.sort();
        for (_, airdrop) in due {
            let found = self.airdrops.get_mut(&airdrop).expect("it is known");
            let (asset, lines) = (found.asset, std::mem::take(&mut found.lines));
            for (account, value) in lines {
                self.release(account, asset, value);
                self.events.push(Event::AirdropUnlocked { airdrop, account, asset, amount: amount(value) });
            }
        }
    }

    // Owing.

    /// Whether the account owes anything.
    pub fn owes(&self, account: AccountId) -> bool {
        self.owed.keys().any(|(debtor, _)| *debtor == account)
    }

    fn set_off(&mut self, account: AccountId, asset: AssetId) -> Outcome {
        self.check_account(account)?;
        self.check_asset(asset)?;
        self.check_not_frozen()?;
        let available = self.balance(account, asset).available;
        refuse_if(available == 0, RejectReason::InsufficientAvailable)?;
        let owed = self.owed.get(&(account, asset)).copied().unwrap_or(0);
        refuse_if(owed == 0, RejectReason::NothingOwed)?;
        let value = available.min(owed);
        self.balance_mut(account, asset).available -= value;
        self.owe_less(account, asset, value);
        let left = owed - value;
        self.emit(Event::SetOffDone { account, asset, amount: amount(value), owed: amount(left) })
    }

    /// A debt becomes smaller: `RECEIVABLES`, which is minus all debts, grows.
    pub fn owe_less(&mut self, account: AccountId, asset: AssetId, value: u128) {
        *self.system(RECEIVABLES, asset) += to_i128(value);
        let owed = self.owed.get_mut(&(account, asset)).expect("it owes something");
        *owed -= value;
        if *owed == 0 {
            self.owed.remove(&(account, asset));
        }
    }

    // What no command does, and a recovery may.

    /// Makes some debts, shortfalls and carries, as a recovery may leave them.
    pub fn recover(&mut self, random: &mut Random) {
        let accounts: Vec<_> = self.accounts.keys().copied().collect();
        let assets: Vec<_> = self.assets.keys().copied().collect();
        for _ in 0..random.below(3) {
            self.make_owe(random.pick(&accounts), random.pick(&assets), random.between(1, 9_000).into());
        }
        let on_their_way =
            |found: &Withdrawal| matches!(found.state, WithdrawalState::Released | WithdrawalState::Sent);
        let short: Vec<_> =
            self.withdrawals.iter().filter(|(_, found)| on_their_way(found)).map(|(&id, _)| id).collect();
        for withdrawal in short.into_iter().rev().take(3) {
            self.make_short(withdrawal, random.between(1, 3_000).into());
        }
        let orders: Vec<_> = self.open_orders().map(|(market, order)| (market, order.id)).collect();
        for (market, order) in orders {
            if random.one_in(2) {
                let most = random.pick(&[40, 40, 400]);
                let mut carry = || i128::from(random.below(2 * most)) - i128::from(most);
                self.make_carry(market, order, carry(), carry());
            }
        }
        // Debts are forgotten, or nobody would trade any more.
        let old: Vec<_> = self.owed.keys().copied().filter(|_| random.one_in(2)).collect();
        for (account, asset) in old {
            self.forget_debt(account, asset);
        }
    }

    /// A release happened that nothing funded: the account owes what `EXTERNAL` got.
    pub fn make_owe(&mut self, account: AccountId, asset: AssetId, value: u128) {
        *self.owed.entry((account, asset)).or_default() += value;
        *self.system(RECEIVABLES, asset) -= to_i128(value);
        *self.system(EXTERNAL, asset) += to_i128(value);
    }

    /// A withdrawal that may still come back was larger by `value`, and that part of it is owed.
    fn make_short(&mut self, withdrawal: WithdrawalId, value: u128) {
        if self.check_supply(self.withdrawals[&withdrawal].asset, value).is_err() {
            return;
        }
        let found = self.withdrawals.get_mut(&withdrawal).expect("it is known");
        found.amount += value;
        found.shortfall += value;
        let (account, asset) = (found.account, found.asset);
        self.make_owe(account, asset, value);
    }

    /// `EXTERNAL` bears what an account owed.
    fn forget_debt(&mut self, account: AccountId, asset: AssetId) {
        let value = self.owed[&(account, asset)];
        self.owe_less(account, asset, value);
        *self.system(EXTERNAL, asset) -= to_i128(value);
    }

    /// An open order was charged other fees than its rates say; what it must hold for that is held, if it is there.
    fn make_carry(&mut self, market: MarketId, order: OrderId, taker_carry: i128, maker_carry: i128) {
        let found = self.markets.get_mut(&market).expect("it is known");
        let mut carried = found.orders().find(|open| open.id == order).expect("it is open").clone();
        if carried.taker_rate >= 0 {
            carried.taker_carry = taker_carry;
        }
        if carried.maker_rate >= 0 {
            carried.maker_carry = maker_carry;
        }
        let required = found.required_hold(&carried);
        let more = to_i128(required) - to_i128(carried.hold);
        carried.hold = required;
        let (account, asset) = (carried.account, found.hold_asset(carried.side));
        let balance = self.balance(account, asset);
        if to_i128(balance.available) < more {
            return;
        }
        let available = u128::try_from(to_i128(balance.available) - more).expect("it is covered");
        let held = u128::try_from(to_i128(balance.held) + more).expect("it is covered");
        *self.balance_mut(account, asset) = Balance { available, held };
        let found = self.markets.get_mut(&market).expect("it is known");
        let place = found.side_mut(carried.side).iter_mut().find(|open| open.id == order).expect("it is open");
        *place = carried;
    }

    /// All debts of an asset.
    pub(super) fn debts(&self) -> BTreeMap<AssetId, u128> {
        let mut sums = BTreeMap::new();
        for ((_, asset), value) in &self.owed {
            *sums.entry(*asset).or_default() += value;
        }
        sums
    }
}

const _: () = assert!(AMOUNT_MAX as u128 == MAX);
