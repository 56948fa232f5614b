//! What would have stopped it: the same payout again, with one preventive control on at a time.

use anyhow::{Result, bail};
use engine::{
    command::Command,
    event::Event,
    types::{AMOUNT_MAX, AirdropId, Amount, AssetId, Cause, Controls, ExternalId, OperatorId},
};

use super::{
    Narrator,
    actors::{CLERK, Cast, Manifest, RIGHT_AIRDROP},
    live::{Live, Party, accepted, refusals},
    report::{IncidentReport, Prevented},
};
use crate::report::text::grouped;

/// The operator who approves what the clerk drew up.
pub const SUPERVISOR: OperatorId = OperatorId(2);
const PAYOUTS: u32 = 82;
/// More of an asset than one recipient, one airdrop, one day may get, in ten-thousandths of what was paid in error.
const LIMIT_SHARE: u64 = 1;

/// Tries the same mistake once for each control, and reports what the exchange said to it.
///
/// # Errors
/// When the exchange stops, or a control lets it through.
pub fn prove(live: &Live<'_>, cast: &Cast, narrator: &mut Narrator, report: &mut IncidentReport) -> Result<()> {
    let mut party = Party::new(&live.session.pipeline, Cause::batch(PAYOUTS))?;
    let wrong = &cast.wrong[0];
    let asset = wrong.asset;
    let total = wrong.total().0;
    let largest = wrong.lines.iter().map(|(_, amount)| amount.0).max().unwrap_or(0);
    let limits = |recipient_max, airdrop_max, day_max| Command::SetAirdropLimits {
        asset,
        recipient_max: Amount(recipient_max),
        airdrop_max: Amount(airdrop_max),
        day_max: Amount(day_max),
    };
    let share = |amount: u64| (amount * LIMIT_SHARE / 10_000).max(1);
    let none = limits(0, 0, 0);
    // What the exchange has: what its users brought, and no more.
    let attested = Command::AttestReserves { asset, amount: live_reserves(live, asset)? };
    let controls = |controls| Command::SetControls { controls };
    let trials: [(&str, Vec<Command>); 7] = [
        ("treasury cover", vec![controls(Controls::COVER), none]),
        ("approval by a second operator", vec![controls(Controls::APPROVAL), none]),
        ("limit per recipient", vec![controls(Controls::NONE), limits(share(largest), 0, 0)]),
        ("limit per airdrop", vec![controls(Controls::NONE), limits(0, share(total), 0)]),
        ("limit per day", vec![controls(Controls::NONE), limits(0, 0, share(total))]),
        ("attested reserves", vec![attested, controls(Controls::RESERVES), none]),
        (
            "all controls, as an exchange has them",
            vec![controls(Controls::ALL), limits(share(largest), share(total), share(total))],
        ),
    ];
    for (number, (control, settings)) in (0..).zip(trials) {
        accepted(party.execute(&settings)?, "a control")?;
        let again = Manifest { airdrop: AirdropId(2_000 + number), ..wrong.clone() };
        let before = credited_so_far(live, &again)?;
        accepted(party.execute(&again.commands())?, "the manifest")?;
        let events = party.execute(&[again.execute()])?;
        let Some(refusal) = refusals(&events).next() else {
            bail!("{control} did not stop the payout; this is a defect");
        };
        let credited = credited_so_far(live, &again)?.saturating_sub(before);
        narrator.tell(format!("the same payout with {control}: refused, {refusal}"));
        report.prevention.push(Prevented { control: control.to_owned(), refusal: refusal.to_string(), credited });
        if credited > 0 || events.iter().any(|event| matches!(event.event, Event::AirdropCredited { .. })) {
            bail!("{control} refused the payout and something was credited; this is a defect");
        }
        accepted(
            party.execute(&[Command::CancelAirdrop { airdrop: again.airdrop, operator: CLERK }])?,
            "giving it up",
        )?;
    }
    Ok(())
}

/// Pays what was meant, with all controls on: from the treasury, approved by another operator, within limits.
///
/// # Errors
/// When the exchange refuses it, or stops.
pub fn pay_what_was_meant(live: &Live<'_>, cast: &Cast) -> Result<String> {
    let mut party = Party::new(&live.session.pipeline, Cause::batch(PAYOUTS))?;
    let right = &cast.right;
    let (asset, total) = (right.asset, right.total());
    accepted(
        party.execute(&[Command::FundTreasury {
            asset,
            amount: total,
            external_id: ExternalId::from_u128(1 << 112),
        }])?,
        "the funding of the treasury",
    )?;
    let attested = Command::AttestReserves { asset, amount: live_reserves(live, asset)? };
    let airdrop = right.airdrop;
    let on = [
        attested,
        Command::SetControls { controls: Controls::ALL },
        Command::SetAirdropLimits { asset, recipient_max: total, airdrop_max: total, day_max: total },
    ];
    accepted(party.execute(&on)?, "a control")?;
    accepted(party.execute(&right.commands())?, "the manifest")?;
    accepted(party.execute(&[Command::ApproveAirdrop { airdrop, operator: SUPERVISOR }])?, "the approval")?;
    accepted(party.execute(&[right.execute()])?, "the payout")?;
    let unit = 10_u64.pow(live.world.assets[usize::from(asset.0)].scale.into());
    Ok(format!(
        "what was meant is paid, with all controls on: {} {} to {} accounts from the treasury, approved by a second operator ({RIGHT_AIRDROP})",
        grouped(total.0 / unit),
        live.world.symbol(asset),
        right.lines.len()
    ))
}

/// What the exchange can show of an asset: what it owes at this moment.
fn live_reserves(live: &Live<'_>, asset: AssetId) -> Result<Amount> {
    let mut operations = live.session.pipeline.operator(Cause::operator(PAYOUTS))?;
    // The event tells liabilities; what is attested first is far above them.
    let events = accepted(
        operations.execute(Command::AttestReserves { asset, amount: Amount(AMOUNT_MAX) })?,
        "the attestation",
    )?;
    let liabilities = events.iter().find_map(|event| match event.event {
        Event::ReservesAttested { liabilities, .. } => Some(liabilities),
        _ => None,
    });
    // A little more than that, for what arrives meanwhile.
    Ok(liabilities.map_or(Amount(0), |amount| Amount(amount.0 + amount.0 / 100)))
}

/// What the first recipients have of the asset.
fn credited_so_far(live: &Live<'_>, manifest: &Manifest) -> Result<u64> {
    let mut sum = 0;
    // The first are sellers: holders, who do nothing by themselves. The others trade.
    for &(account, _) in manifest.lines.iter().take(10) {
        let (_, view) = live.session.pipeline.account(account)?;
        let balances = view.map(|view| view.balances).unwrap_or_default();
        let of_it = balances.iter().filter(|(asset, _)| *asset == manifest.asset);
        sum += of_it.map(|(_, balance)| balance.available.0 + balance.held.0).sum::<u64>();
    }
    Ok(sum)
}
