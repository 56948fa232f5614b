//! Makes a failure small: leaves out commands, as many as possible, as long as it fails in the same way.
//!
//! A command is left out by letting time pass in its place, so that every id stays what it was.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use engine::{command::Command, types::Sequence};

use crate::{history::Incident, naive::Coverage};

type Check<'a> = &'a dyn Fn(&Incident) -> Result<Coverage, String>;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a check; when it fails, panics with what is left of the incident when it is made small. `what` tells what was checked,
/// and the commands at `kept` are never left out.
pub fn checked(incident: &Incident, what: &dyn Debug, kept: &BTreeSet<Sequence>, check: Check<'_>) -> Coverage {
    let message = match run(incident, check) {
        Ok(coverage) => return coverage,
        Err(message) => message,
    };
    let kind = kind_of(&message);
    let small = shrink(incident.clone(), kept, |smaller| {
        run(smaller, check).err().is_some_and(|message| kind_of(&message) == kind)
    });
    let message = run(&small, check).err().unwrap_or(message);
    let lines = small.commands.iter().filter(|at| at.command != Command::Tick {});
    let lines: Vec<_> = lines.map(|at| format!("  {} at {}: {:?}", at.sequence, at.time, at.command)).collect();
    panic!(
        "seed {}, halt at {}, {what:?}\n{message}\nThe fewest commands that show it; time passes at all others:\n{}",
        incident.seed,
        incident.halt,
        lines.join("\n")
    );
}

/// What must stay the same while a failure is made small.
fn kind_of(message: &str) -> String {
    message.chars().take_while(|&letter| letter != '\n').filter(|letter| !letter.is_ascii_digit()).take(40).collect()
}

fn run(incident: &Incident, check: Check<'_>) -> Result<Coverage, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| check(incident)));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn shrink(mut incident: Incident, kept: &BTreeSet<Sequence>, fails: impl Fn(&Incident) -> bool) -> Incident {
    let halt = incident.halt;
    let mut chunk = incident.commands.len() / 2;
    while chunk > 0 {
        let mut begin = 0;
        while begin < incident.commands.len() {
            let end = (begin + chunk).min(incident.commands.len());
            let mut smaller = incident.clone();
            let mut left_out = 0;
            for at in &mut smaller.commands[begin..end] {
                if at.sequence != halt && !kept.contains(&at.sequence) && at.command != (Command::Tick {}) {
                    at.command = Command::Tick {};
                    left_out += 1;
                }
            }
            if left_out > 0 && fails(&smaller) {
                incident = smaller;
            }
            begin = end;
        }
        chunk /= 2;
    }
    incident
}
