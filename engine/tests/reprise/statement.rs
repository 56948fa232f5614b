//! What an incident and its repair did to one customer.

use std::{collections::BTreeMap, path::Path};

use engine::{
    recovery::{Plan, Timeline, make_plan},
    types::{AccountId, Cause, Sequence, TradingStatus},
};
use rust_decimal::Decimal;
use serde_json::Value;

use super::{incident, json, open, reprise, text, world, write_history};

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

/// Lines sum to the difference, for each asset; gives what is owed and what there is after it.
fn check_sums(statement: &Value) -> BTreeMap<String, (Decimal, Decimal)> {
    let mut sums: BTreeMap<String, (Decimal, Decimal)> = BTreeMap::new();
    for line in statement["lines"].as_array().unwrap() {
        let changes = line["changes"].as_array().unwrap();
        assert!(!changes.is_empty() && !line["what"].as_str().unwrap().is_empty(), "{line}");
        for change in changes {
            let sum = sums.entry(change["asset"].as_str().unwrap().to_owned()).or_default();
            (sum.0, sum.1) = (sum.0 + decimal(&change["change"]), sum.1 + decimal(&change["owed"]));
        }
    }
    let mut after = BTreeMap::new();
    for row in statement["balances"].as_array().unwrap() {
        let asset = row["asset"].as_str().unwrap().to_owned();
        let sum = sums.remove(&asset).unwrap_or_default();
        assert_eq!(decimal(&row["after"]) - decimal(&row["before"]), sum.0, "{statement:#}");
        assert_eq!(decimal(&row["owed_after"]) - decimal(&row["owed_before"]), sum.1, "{statement:#}");
        assert_eq!((decimal(&row["change"]), decimal(&row["owed_change"])), sum);
        after.insert(asset, (decimal(&row["after"]), decimal(&row["owed_after"])));
    }
    assert!(sums.is_empty(), "{statement:#}");
    after
}

/// What the tool must find: what the account has and owes at a moment.
fn holdings(directory: &Path, sequence: Sequence, account: u32) -> BTreeMap<String, (Decimal, Decimal)> {
    let exchange = Timeline::open(directory).unwrap().at(sequence).unwrap();
    let specs: BTreeMap<_, _> = exchange.assets().map(|spec| (spec.asset, *spec)).collect();
    let all = exchange.possessions(AccountId(account)).into_iter();
    all.map(|(asset, total, owed)| {
        let spec = specs[&asset];
        (spec.symbol.to_string(), (spec.to_decimal(total), spec.to_decimal(owed)))
    })
    .collect()
}

#[test]
fn every_account_gets_lines_that_sum_before_and_after_the_plan_is_applied() {
    for number in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        incident::play(directory.path());
        let timeline = Timeline::open(directory.path()).unwrap();
        let strategy = world::strategies(&timeline, world::BAD).swap_remove(number);
        let what = strategy.name();
        let (plan, _) = make_plan(&timeline, &strategy, &|_| ()).unwrap();
        let file = directory.path().join("repair.plan");
        plan.write_file(&file).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let statement = |account: u32, more: &[&str]| {
            let account = account.to_string();
            json(directory.path(), &[&["statement", "--account", &account], more].concat())
        };
        let drafts: Vec<_> = (1..=world::ACCOUNTS).map(|account| statement(account, &["--plan", &file])).collect();
        let mut lines = 0;
        for draft in &drafts {
            assert_eq!((&draft["applied"], &draft["epoch"]), (&false.into(), &Value::Null));
            check_sums(draft);
            lines += draft["lines"].as_array().unwrap().len();
        }
        assert!(lines > 4, "{what}: {lines}");
        assert!(text(directory.path(), &["statement", "--account", "1", "--plan", &file]).contains("THIS IS A DRAFT"));

        let (_, applied) = incident::repair(directory.path(), number);
        incident::live_on(directory.path());
        for (account, draft) in (1..).zip(&drafts) {
            let found = statement(account, &[]);
            assert_eq!(
                (&found["applied"], &found["epoch"], &found["strategy"]),
                (&true.into(), &2.into(), &what.into())
            );
            assert_eq!(found, statement(account, &["--epoch", "2"]));
            assert_eq!(found, statement(account, &["--plan", &file]));
            // The deposit behind the halt is in both histories, and no line.
            assert_eq!(found["lines"], draft["lines"], "{what}, account {account}");
            assert_eq!(check_sums(&found), holdings(directory.path(), applied.sequence, account), "{what}, A{account}");
        }
        if std::env::var_os("SHOW_LETTERS").is_some() {
            for account in ["3", "4", "5", "7", "9", "12"] {
                println!("=== {}", text(directory.path(), &["statement", "--account", account]));
            }
        }
        let letter = |account: &str| text(directory.path(), &["statement", "--account", account]);
        let debtor = letter("9");
        assert!(!debtor.contains("minor units") && !debtor.contains("DRAFT"), "{debtor}");
        let credited = letter("3");
        let parts = match what {
            "excise" | "bust" => ["The credit of 0.00015 BTC by airdrop 1 was an error, and does not stand.", "void"],
            "rewind" => {
                ["came after the point to which all was taken back", "Everything from 2026-11-25 09:31:34 UTC on"]
            }
            _ => ["The credit of 0.00015 BTC was an error", "is taken back"],
        };
        for part in
            parts.into_iter().chain(["Statement for account A3", "The sum of all lines is", "2026-11-25 09:31:"])
        {
            assert!(credited.contains(part), "{what}: {part}: {credited}");
        }
        if what == "compensate" {
            let victim = letter("6");
            assert!(victim.contains("changes nothing in your balances"), "{victim}");
            assert!(victim.contains("There is nothing that you have to do."), "{victim}");
            assert!(letter("7").contains("You are paid for what you lost by the error."), "{}", letter("7"));
        } else {
            let letters: Vec<_> = (1..=world::ACCOUNTS).map(|account| letter(&account.to_string())).collect();
            for part in ["void: bought", "void: sold", "is not on the book any more", "of yours"] {
                assert!(letters.iter().any(|letter| letter.contains(part)), "{what}: {part}: {letters:?}");
            }
            assert!(debtor.contains("You owe 0.0000"), "{debtor}");
            assert!(debtor.contains("had left already, and stands"), "{debtor}");
        }
    }
}

#[test]
fn what_cannot_be_stated_is_told() {
    let directory = tempfile::tempdir().unwrap();
    incident::play(directory.path());
    let timeline = Timeline::open(directory.path()).unwrap();
    let plans: Vec<_> = world::strategies(&timeline, world::BAD)
        .iter()
        .zip(["excise.plan", "bust.plan"])
        .map(|(strategy, name)| {
            let (plan, _) = make_plan(&timeline, strategy, &|_| ()).unwrap();
            let file = directory.path().join(name);
            plan.write_file(&file).unwrap();
            file.to_str().unwrap().to_owned()
        })
        .collect();
    let refused = |place: &Path, arguments: &[&str], code: i32, part: &str| {
        let output = reprise(place, &[&["statement"], arguments].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {part}: {errors}");
        assert!(output.stdout.is_empty());
    };
    let here = directory.path();
    refused(here, &["--account", "1"], 1, "there was no incident that was repaired");
    refused(here, &[], 2, "--account");
    refused(here, &["--account", "x"], 2, "account's number");
    refused(here, &["--account", "1", "--epoch", "2", "--plan", &plans[0]], 2, "cannot be used with");
    refused(here, &["--account", "1", "--epoch", "1"], 1, "no repair began it");
    refused(here, &["--account", "1", "--epoch", "2"], 1, "there is no epoch 2: the last is 1");
    refused(here, &["--account", "99", "--plan", &plans[0]], 1, "there is no account A99");
    refused(here, &["--account", "4294967294", "--plan", &plans[0]], 1, "there is no account");
    refused(here, &["--account", "1", "--plan", "/nowhere/a.plan"], 1, "/nowhere/a.plan");
    let mut bytes = std::fs::read(&plans[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let altered = here.join("altered.plan");
    std::fs::write(&altered, bytes).unwrap();
    refused(here, &["--account", "1", "--plan", altered.to_str().unwrap()], 3, "altered");
    // One that claims another state.
    let lie = Plan { state: engine::exchange::StateHash([7; 32]), ..Plan::read_file(&plans[0]).unwrap() };
    let altered = here.join("lie.plan");
    lie.write_file(&altered).unwrap();
    refused(here, &["--account", "1", "--plan", altered.to_str().unwrap()], 3, "leads to another state than it says");
    let other = tempfile::tempdir().unwrap();
    write_history(other.path());
    refused(other.path(), &["--account", "1", "--plan", &plans[0]], 1, "the plan is for the journal");

    // Of two plans one was applied, and the other cannot be any more.
    incident::repair(here, 0);
    refused(here, &["--account", "1", "--plan", &plans[1]], 1, "the plan ends epoch 1, and the exchange is in epoch 2");
    refused(here, &["--account", "99"], 1, "there is no account A99");
    refused(here, &["--account", "1", "--epoch", "0"], 1, "there is no epoch 0");
    assert!(text(here, &["statement", "--account", "1", "--plan", &plans[0]]).contains("epoch 2, sequence"));
    // A look at what a plan would do, while the exchange runs.
    let mut inline = open(here);
    inline.submit(Cause::operator(1), world::status(TradingStatus::Open)).unwrap();
    let bad = engine::types::AirdropId(5);
    for command in world::incident(bad, inline.exchange().last_sequence().next()) {
        inline.submit(Cause::session(1), command).unwrap();
    }
    inline.close().unwrap();
    let strategy = world::strategies(&timeline, bad).swap_remove(1);
    let (plan, _) = make_plan(&timeline, &strategy, &|_| ()).unwrap();
    let preview = here.join("preview.plan");
    plan.write_file(&preview).unwrap();
    let preview = json(here, &["statement", "--account", "1", "--plan", preview.to_str().unwrap()]);
    assert_eq!((&preview["preview"], &preview["applied"]), (&true.into(), &false.into()));
    check_sums(&preview);
}
