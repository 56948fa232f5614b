//! What risk says to the commands about operators, payouts and debts.

use super::{
    decision::Decision,
    ledger::{RECEIVABLES, TREASURY, UNBACKED, system_index},
    payouts::{AIRDROP_LINES_MAX, Airdrop, AirdropState},
    risk::{Refusal, Risk, check, check_amount},
};
use crate::{
    command::Command,
    event::{Event, RejectReason},
    types::{AMOUNT_MAX, AccountId, AirdropId, Amount, AssetId, Controls, Gate, Sequence, Timestamp},
};

type Decided = Result<Decision, Refusal>;

impl Risk {
    /// Decides a command that is neither an order nor one of version 1.
    pub(super) fn decide_payout(&mut self, sequence: Sequence, time: Timestamp, command: &Command) -> Decided {
        let event = match *command {
            Command::SetAssetWithdrawals { asset, withdrawals } => {
                self.existing_asset(asset)?;
                self.not_frozen()?;
                match withdrawals {
                    Gate::Open => self.payouts.stopped.remove(&asset),
                    Gate::Closed => self.payouts.stopped.insert(asset),
                };
                Event::AssetWithdrawalsSet { asset, withdrawals }
            }
            Command::RegisterOperator { operator, key, first, second } => {
                self.payouts.register(operator, key, first, second)?;
                Event::OperatorRegistered { operator, key }
            }
            Command::RevokeOperator { operator, first, second } => {
                self.payouts.revoke(operator, first, second)?;
                Event::OperatorRevoked { operator }
            }
            Command::FundTreasury { asset, amount, external_id } => {
                self.existing_asset(asset)?;
                check_amount(amount)?;
                self.arrives_for_the_first_time(asset, amount, external_id)?;
                self.ledger.move_system(super::ledger::EXTERNAL, TREASURY, asset, amount);
                Event::TreasuryFunded { asset, amount, external_id }
            }
            Command::AttestReserves { asset, amount } => {
                self.existing_asset(asset)?;
                check_at_most(amount)?;
                self.payouts.attested.insert(asset, amount);
                let liabilities = Amount(self.ledger.liabilities(asset));
                Event::ReservesAttested { asset, amount, liabilities }
            }
            Command::SetPayoutVelocity { asset, amount_max, window_seconds } => {
                self.existing_asset(asset)?;
                self.not_frozen()?;
                check_at_most(amount_max)?;
                self.payouts.set_velocity(asset, amount_max, window_seconds);
                Event::PayoutVelocitySet { asset, amount_max, window_seconds }
            }
            Command::SetAirdropLimits { asset, recipient_max, airdrop_max, day_max } => {
                self.existing_asset(asset)?;
                self.not_frozen()?;
                [recipient_max, airdrop_max, day_max].into_iter().try_for_each(check_at_most)?;
                self.payouts.set_limits(asset, recipient_max, airdrop_max, day_max);
                Event::AirdropLimitsSet { asset, recipient_max, airdrop_max, day_max }
            }
            Command::SetControls { controls } => {
                self.not_frozen()?;
                check(Controls::ALL.has(controls), RejectReason::InvalidControls)?;
                self.payouts.controls = controls;
                Event::ControlsSet { controls }
            }
            Command::OpenAirdrop { .. } => self.open_airdrop(sequence, command)?,
            Command::AddAirdropLine { airdrop, account, amount } => {
                self.existing_account(account)?;
                self.not_frozen()?;
                check_amount(amount)?;
                self.payouts.add_line(airdrop, account, amount)?;
                Event::AirdropLineAdded { airdrop, account, amount }
            }
            Command::ApproveAirdrop { airdrop, operator } => {
                self.not_frozen()?;
                self.payouts.approve(airdrop, operator)?;
                Event::AirdropApproved { airdrop, operator }
            }
            Command::CancelAirdrop { airdrop, operator } => {
                self.not_frozen()?;
                self.payouts.cancel(airdrop, operator)?;
                Event::AirdropCancelled { airdrop, operator }
            }
            Command::ExecuteAirdrop { airdrop, operator } => {
                self.not_frozen()?;
                if let Some(known) = self.payouts.airdrops.get(&airdrop)
                    && !self.payouts.controls.has(Controls::COVER)
                {
                    self.fits_supply(known.asset, known.total)?;
                }
                let found = self.payouts.check_execution(airdrop, operator, time);
                let (asset, total) = found.map(|found| (found.asset, found.total))?;
                self.check_funds(asset, total)?;
                return Ok(self.pay_airdrop(airdrop, sequence, time));
            }
            Command::SetOff { account, asset } => {
                self.barrier()?;
                self.existing_account(account)?;
                self.existing_asset(asset)?;
                self.not_frozen()?;
                let available = self.balance(account, asset).available;
                check(!available.is_zero(), RejectReason::InsufficientAvailable)?;
                let owed = self.ledger.owed(account, asset);
                check(!owed.is_zero(), RejectReason::NothingOwed)?;
                let amount = available.min(owed);
                self.ledger.set_off(account, asset, amount);
                Event::SetOffDone { account, asset, amount, owed: Amount(owed.0 - amount.0) }
            }
            _ => unreachable!("a {} is decided elsewhere", command.kind_name()),
        };
        Ok(Decision::Done(event))
    }

    fn open_airdrop(&mut self, sequence: Sequence, command: &Command) -> Result<Event, Refusal> {
        let Command::OpenAirdrop { airdrop, author, asset, total, lines, hash, lock_seconds } = *command else {
            unreachable!("a {} opens no airdrop", command.kind_name())
        };
        self.existing_asset(asset)?;
        self.not_frozen()?;
        check_amount(total)?;
        self.payouts.known_operator(author)?;
        check(!self.payouts.airdrops.contains_key(&airdrop), RejectReason::AirdropExists)?;
        check((1..=AIRDROP_LINES_MAX).contains(&lines), RejectReason::LineCountInvalid)?;
        let opened = Airdrop {
            author,
            asset,
            total,
            lines_announced: lines,
            hash,
            lock_seconds,
            opened: sequence,
            executed: Sequence(0),
            state: AirdropState::Open,
            approver: crate::types::OperatorId(0),
            locked_until: Timestamp(0),
            source: AccountId(0),
            lines: Vec::new(),
            recipients: std::collections::BTreeSet::new(),
        };
        self.payouts.airdrops.insert(airdrop, opened);
        Ok(Event::AirdropOpened { airdrop, author, asset, total, lines, lock_seconds })
    }

    /// The treasury covers the total, and reserves cover what is owed after it.
    fn check_funds(&self, asset: AssetId, total: Amount) -> Result<(), Refusal> {
        let covered = self.payouts.controls.has(Controls::COVER);
        let treasury = self.ledger.system(asset)[TREASURY];
        check(!covered || treasury >= i128::from(total.0), RejectReason::TreasuryNotCovered)?;
        if self.payouts.controls.has(Controls::RESERVES) {
            let attested = self.payouts.attested.get(&asset).ok_or(RejectReason::ReservesNotAttested)?;
            let after = self.ledger.liabilities(asset) + if covered { 0 } else { total.0 };
            check(after <= attested.0, RejectReason::ReservesExceeded)?;
        }
        Ok(())
    }

    /// Pays an airdrop, whatever the checks would say.
    pub(super) fn pay_airdrop(&mut self, airdrop: AirdropId, sequence: Sequence, time: Timestamp) -> Decision {
        let covered = self.payouts.controls.has(Controls::COVER);
        let source = if covered { AccountId::TREASURY } else { AccountId::UNBACKED };
        let known = &self.payouts.airdrops[&airdrop];
        let (asset, lines) = (known.asset, known.lines.clone());
        let locked_until = self.payouts.paid(airdrop, source, sequence, time);
        for (account, amount) in lines {
            self.ledger.pay(system_index(source), account, asset, amount);
            if locked_until.0 > 0 {
                self.ledger.hold(account, asset, amount);
            }
        }
        self.set_timer();
        Decision::Airdrop { source, locked_until }
    }

    /// Checks what must hold of payouts and debts.
    pub(super) fn check_debts(&self) -> Result<(), String> {
        for asset in self.assets() {
            let system = self.ledger.system(asset.asset);
            if system[RECEIVABLES] > 0 || system[UNBACKED] > 0 {
                return Err(format!("{}: RECEIVABLES or UNBACKED is positive", asset.symbol));
            }
            if system[super::ledger::FEES] < 0 || system[TREASURY] < 0 {
                return Err(format!("{}: FEES or TREASURY is negative", asset.symbol));
            }
            let debts = self.ledger.debts().iter().filter(|((_, owed), _)| *owed == asset.asset);
            let owed: i128 = debts.map(|(_, amount)| i128::from(amount.0)).sum();
            if owed != -system[RECEIVABLES] {
                return Err(format!(
                    "{}: accounts owe {owed}, RECEIVABLES says {}",
                    asset.symbol, -system[RECEIVABLES]
                ));
            }
        }
        Ok(())
    }
}

fn check_at_most(amount: Amount) -> Result<(), Refusal> {
    check(amount.0 <= AMOUNT_MAX, RejectReason::AmountTooLarge)
}
