//! `reprise operator keygen`, `reprise approve` and `reprise apply`: who signs, what is signed, and the one step that changes
//! the exchange.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use engine::{
    exchange::AirdropState,
    pipeline::Clock,
    recovery::{
        APPROVALS_MIN, ApplyError, Approval, ApprovalError, Moment, Plan, SecretKey, Timeline, apply, generate_key,
        plan_standing,
    },
    types::{AirdropId, Digest, OperatorId, Timestamp},
};
use serde_json::json;

use crate::{
    failure::{FINE, Failure},
    names::{self, Names},
    output::{Output, count},
    plan,
    plan_report::{plan_json, plan_lines, strategy_lines, titled},
    progress::{Progress, telling},
};

/// What to do about operators.
#[derive(Debug, Subcommand)]
pub enum OperatorAction {
    /// Make an operator's secret key: a file that only its owner may read. Prints the public key, to be registered.
    Keygen(KeygenArguments),
}

/// Whose key, and where to.
#[derive(Debug, Args)]
pub struct KeygenArguments {
    /// The operator's number.
    #[arg(long, value_name = "N", value_parser = operator)]
    pub id: OperatorId,
    /// The file to make; without it operator-N.key here. Keep it where only the operator can read it, and not in the data
    /// directory.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What to sign.
#[derive(Debug, Args)]
pub struct ApproveArguments {
    /// The plan's file.
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// The operator's secret key.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Who signs; with --data it is found by the key.
    #[arg(long, value_name = "N", value_parser = operator)]
    pub operator: Option<OperatorId>,
    /// How long the approval counts: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "24h")]
    pub expires_in: u64,
}

/// What to apply.
#[derive(Debug, Args)]
pub struct ApplyArguments {
    /// The plan's file. Approvals beside it (PLAN.approval-N) are taken.
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// An approval to take instead of those beside the plan; may be given more than once.
    #[arg(long, value_name = "FILE")]
    pub approval: Vec<PathBuf>,
}

/// An operator's number.
fn operator(text: &str) -> Result<OperatorId, String> {
    let number = text.strip_prefix("operator:").unwrap_or(text);
    let number = number.parse().ok().filter(|number| *number > 0);
    number.map(OperatorId).ok_or_else(|| "give the operator's number, from 1 to 65535".to_owned())
}

/// A span of time, in nanoseconds.
fn span(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no span of time: give a number and s, m, h or d, such as 24h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    number.checked_mul(seconds).and_then(|seconds| seconds.checked_mul(1_000_000_000)).ok_or_else(wrong)
}

/// Makes a key.
pub fn keygen(arguments: &KeygenArguments, output: &mut Output) -> Result<u8, Failure> {
    let OperatorId(number) = arguments.id;
    let file = arguments.out.clone().unwrap_or_else(|| format!("operator-{number}.key").into());
    if file.exists() {
        return Err(Failure::failed(format!(
            "{} is there already, and a key is never overwritten: name another file with --out",
            file.display()
        )));
    }
    let key = generate_key(&file)?;
    let command = json!({ "kind": "RegisterOperator", "command": { "operator": number, "key": key.to_string() } });
    if output.json {
        let file = file.display().to_string();
        output.document(
            &json!({ "operator": number, "file": file, "public_key": key.to_string(), "register": command }),
        )?;
        return Ok(FINE);
    }
    output.line(format!("secret      {}: only its owner can read it; nobody else may have it", file.display()))?;
    output.line(format!("public      {key}"))?;
    output.line("register    the first two operators as it stands; each later one with \"first\" and \"second\", two who vouch:")?;
    output.line(format!("            reprise --data DIR submit --cause {number} --command '{command}'"))?;
    Ok(FINE)
}

/// Who signs: the registered operator who has this key.
fn signer(timeline: &Timeline, asked: Option<OperatorId>, key: Digest) -> Result<OperatorId, Failure> {
    let exchange = timeline.at_moment(Moment::Now)?;
    if let Some(asked) = asked {
        let known = exchange.operators().find(|(operator, _)| *operator == asked);
        return match known {
            None => Err(Failure::failed(format!(
                "there is no {asked}: `reprise show --at now` lists all; register one with the public key {key}"
            ))),
            Some((_, known)) if !known.registered => {
                Err(Failure::failed(format!("{asked} has been revoked: let another operator sign")))
            }
            Some((_, known)) if known.key != key => Err(Failure::failed(format!(
                "{asked} has registered another key than this one, whose public key is {key}: use the operator's own"
            ))),
            Some(_) => Ok(asked),
        };
    }
    let mut of_key = exchange.operators().filter(|(_, known)| known.key == key && known.registered);
    match (of_key.next(), of_key.next()) {
        (Some((operator, _)), None) => Ok(operator),
        (Some(_), Some(_)) => Err(Failure::failed("more than one operator has this key: say which with --operator")),
        (None, _) => Err(Failure::failed(format!(
            "no registered operator has this key, whose public key is {key}: register it (RegisterOperator), or use another"
        ))),
    }
}

/// Signs.
pub fn approve(timeline: Option<&Timeline>, arguments: &ApproveArguments, output: &mut Output) -> Result<u8, Failure> {
    let plan = Plan::read_file(&arguments.plan)?;
    if plan.preview {
        return Err(ApprovalError::Preview.into());
    }
    let key = SecretKey::read_file(&arguments.key)?;
    let (operator, names, commands) = match timeline {
        Some(timeline) => {
            if let Some(applied) = plan_standing(timeline.storage(), &plan)? {
                return Err(Failure::failed(format!(
                    "the plan is applied already, it began epoch {}: there is nothing to sign",
                    applied.epoch
                )));
            }
            let operator = signer(timeline, arguments.operator, key.public())?;
            let at_halt = timeline.at(plan.halt)?;
            let mut there = at_halt.operators();
            if !there.any(|(it, known)| it == operator && known.registered && known.key == key.public()) {
                return Err(ApprovalError::RegisteredLate { operator, halt: plan.halt }.into());
            }
            let (names, commands) = plan::resolve(timeline, &plan)?;
            (operator, names, commands)
        }
        None => {
            let operator = arguments.operator.ok_or_else(|| {
                Failure::Usage(
                    "say who signs with --operator N, or give --data DIR, where the key is registered".to_owned(),
                )
            })?;
            (operator, Names::default(), std::collections::BTreeMap::new())
        }
    };
    let now = Clock::new().now();
    let expires = Timestamp(now.0.saturating_add(arguments.expires_in));
    let approval = Approval::sign(&plan, operator, &key, expires)?;
    let file = Approval::file_beside(&arguments.plan, operator);
    if !output.json {
        plan_lines(&plan, &arguments.plan, output)?;
        titled(output, "strategy", &strategy_lines(&plan.strategy, &names, &commands))?;
        if timeline.is_none() {
            output.line("not checked whether it is for the exchange as it stands: give --data for that")?;
        }
    }
    approval.write_file(&file, &plan)?;
    let there = Approval::read_beside(&arguments.plan, &plan).map_or(1, |all| all.len());
    if output.json {
        output.document(&json!({
            "plan": plan_json(&plan, &arguments.plan, &names), "operator": operator.0,
            "expires": names::time(expires), "file": file.display().to_string(), "approvals": there,
            "checked": timeline.is_some(),
        }))?;
        return Ok(FINE);
    }
    output.line(format!("signed      by {operator}, until {}: {}", names::time(expires), file.display()))?;
    output.line(if there < APPROVALS_MIN {
        format!("next        {there} of {APPROVALS_MIN} approvals are there: let another operator sign, with a key of their own")
    } else {
        format!("next        {there} approvals are there: reprise --data DIR apply {}", arguments.plan.display())
    })?;
    Ok(FINE)
}

/// The airdrops that are not paid in the new epoch: one that was taken back is among them, unless its manifest went too. The
/// plan is applied: what cannot be read now is no failure of that.
fn payable(timeline: &Timeline) -> Vec<AirdropId> {
    let Ok(exchange) = timeline.at_moment(Moment::Now) else { return Vec::new() };
    let open = exchange.airdrops().filter(|(_, it)| matches!(it.state, AirdropState::Open | AirdropState::Approved));
    open.map(|(airdrop, _)| airdrop).collect()
}

/// Applies.
pub fn run_apply(timeline: &Timeline, arguments: &ApplyArguments, output: &mut Output) -> Result<u8, Failure> {
    let plan = Plan::read_file(&arguments.plan)?;
    // An applied plan is told as such, whoever has tidied its approvals away.
    let standing = plan_standing(timeline.storage(), &plan)?;
    let applied = match standing {
        Some(applied) => applied,
        None => {
            let approvals = if arguments.approval.is_empty() {
                Approval::read_beside(&arguments.plan, &plan)?
            } else {
                let read = arguments.approval.iter().map(|file| Approval::read_file(file, &plan));
                read.collect::<Result<Vec<_>, _>>()?
            };
            // The rest is checked with the operators that there are; this needs no replay.
            if approvals.len() < APPROVALS_MIN {
                return Err(ApplyError::from(ApprovalError::TooFew { found: approvals.len() }).into());
            }
            let window = plan.halt.0.saturating_sub(plan.strategy.cut().0);
            let progress = telling(Progress::start("applying", Some(window)));
            apply(timeline.directory(), &plan, &approvals, Clock::new().now(), &progress)?
        }
    };
    let payable = if applied.already { Vec::new() } else { payable(timeline) };
    if output.json {
        output.document(&json!({
            "applied": true, "already": applied.already, "epoch": applied.epoch.0, "sequence": applied.sequence.0,
            "plan": applied.plan.to_string(), "state": applied.state.map(|state| state.to_string()),
            "corrections": (!applied.already).then_some(applied.corrections),
            "payable_airdrops": (!applied.already).then(|| payable.iter().map(|airdrop| airdrop.0).collect::<Vec<_>>()),
        }))?;
        return Ok(FINE);
    }
    if applied.already {
        output.line(format!(
            "applied     already: the plan began epoch {} at sequence {}; nothing was written",
            applied.epoch, applied.sequence
        ))?;
        return Ok(FINE);
    }
    output.line(format!("applied     epoch {} begins at sequence {}", applied.epoch, applied.sequence))?;
    output.line(format!("plan        {}", applied.plan))?;
    if let Some(state) = applied.state {
        output.line(format!("state       {state}"))?;
    }
    output.line(format!(
        "changed     {} corrections, which subscribers receive: `reprise log --events --from {}` lists them",
        count(applied.corrections as u64),
        applied.sequence
    ))?;
    output.line("            what happened stays in the journal as it was; the exchange is still frozen")?;
    for airdrop in payable {
        output.line(format!(
            "note        {airdrop} is not paid now, and can be executed as it stands: give it up with a CancelAirdrop, which is taken once the exchange is cancel-only"
        ))?;
    }
    output.line("next        reprise verify; then reprise reopen cancel-only, auction, open, one after the other")?;
    Ok(FINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!((span("90s"), span("2m")), (Ok(90_000_000_000), Ok(120_000_000_000)));
        assert_eq!((span("1h"), span("1d")), (Ok(3_600_000_000_000), Ok(86_400_000_000_000)));
        for text in ["", "s", "5", "0h", "-1h", "1w", "1é", "99999999999999999999d", "999999999999d"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert_eq!((operator("3"), operator("operator:3")), (Ok(OperatorId(3)), Ok(OperatorId(3))));
        assert!(operator("0").is_err() && operator("70000").is_err());
    }
}
