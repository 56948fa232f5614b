//! A report for people.

use std::fmt::{self, Write as _};

use super::{Percentiles, Report, Stages};
use crate::{
    load::LoadFigures,
    replay::{Oracle, ReplayFigures, bitstamp::BitstampReport, lobster::LobsterReport},
};

/// A whole number with commas between its thousands.
///
/// ```
/// assert_eq!(gateway_sim::report::text::grouped(1234567), "1,234,567");
/// ```
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as microseconds with one decimal place.
#[must_use]
pub fn microseconds(nanoseconds: u64) -> String {
    let tenths = (nanoseconds + 50) / 100;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}

/// Appends a line with a name in front.
pub fn line(text: &mut String, name: &str, value: impl fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name:<14}{value}");
}

fn row(text: &mut String, name: &str, of: &Percentiles) {
    let _ = write!(text, "{name:<18}");
    for value in [of.p50, of.p90, of.p99, of.p999, of.p9999, of.max] {
        let _ = write!(text, "{:>13}", microseconds(value));
    }
    text.push('\n');
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}\n\n", self.title);
        let machine = &self.machine;
        line(&mut text, "machine", format_args!("{}, {} cores, {}", machine.processor, machine.cores, machine.kernel));
        line(&mut text, "commit", &self.commit);
        line(&mut text, "topology", format_args!("{}, wait {}", self.topology, self.wait));
        line(&mut text, "durability", &self.durability);
        line(&mut text, "journal", format_args!("{} ({})", self.directory, self.file_system));
        if self.file_system.starts_with("tmpfs") {
            line(
                &mut text,
                "",
                "held in memory: making it durable costs nothing there; --data names a directory on a disk",
            );
        }
        text.push('\n');
        line(
            &mut text,
            "commands",
            format_args!(
                "{} in {:.3} s: {} per second (and {} before, to set up)",
                grouped(self.commands),
                self.seconds,
                grouped(self.commands_per_second as u64),
                grouped(self.setup_commands)
            ),
        );
        line(
            &mut text,
            "outcome",
            format_args!(
                "{} events, {} trades, {} refusals",
                grouped(self.events),
                grouped(self.trades),
                grouped(self.refusals)
            ),
        );
        if let Some(load) = &self.load {
            load_lines(&mut text, load);
        }
        if let Some(rejected) = self.rejected.as_ref().filter(|rejected| !rejected.is_empty()) {
            let reasons: Vec<String> = rejected.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            line(&mut text, "refused", reasons.join(", "));
        }
        text.push('\n');
        latency_lines(&mut text, &self.stages, &self.end_to_end_ns);
        text.push('\n');
        if let Some(oracle) = &self.oracle {
            oracle_lines(&mut text, oracle);
        }
        match &self.replay {
            Some(ReplayFigures::Lobster(report)) => lobster_lines(&mut text, report),
            Some(ReplayFigures::Bitstamp(report)) => bitstamp_lines(&mut text, report),
            None => {}
        }
        line(&mut text, "state", &self.state_hash);
        let verdict = |hash: &str| if hash == self.state_hash { "equal" } else { "DIFFERENT" };
        let from = self.reopen_snapshot.map_or_else(
            || "no snapshot".to_owned(),
            |sequence| format!("the snapshot at sequence {}", grouped(sequence)),
        );
        line(
            &mut text,
            "reopened",
            format_args!(
                "{} ({}; {:.3} s from {from}, {} commands replayed)",
                self.state_hash_reopened,
                verdict(&self.state_hash_reopened),
                self.reopen_seconds,
                grouped(self.reopen_replayed),
            ),
        );
        line(
            &mut text,
            "replayed",
            format_args!(
                "{} ({}; all {} commands from the first in {:.3} s)",
                self.state_hash_replayed,
                verdict(&self.state_hash_replayed),
                grouped(self.replay_commands),
                self.replay_seconds,
            ),
        );
        formatter.write_str(&text)
    }
}

/// Appends the table of what commands met at the stages.
pub fn latency_lines(text: &mut String, stages: &Stages, end_to_end: &Percentiles) {
    let _ = writeln!(
        text,
        "{:<18}{:>13}{:>13}{:>13}{:>13}{:>13}{:>13}",
        "latency in us", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    );
    let named = [
        ("journal", &stages.journal),
        ("risk", &stages.risk),
        ("match", &stages.r#match),
        ("publish", &stages.publish),
    ];
    for (name, stage) in named {
        row(text, &format!("{name:<8} wait"), &stage.wait_ns);
        row(text, &format!("{name:<8} service"), &stage.service_ns);
    }
    row(text, "end to end", end_to_end);
}

fn load_lines(text: &mut String, load: &LoadFigures) {
    line(
        text,
        "generator",
        format_args!(
            "late by p50 {} us, p99 {} us, max {} us (counted in end to end)",
            microseconds(load.generator_late_ns.p50),
            microseconds(load.generator_late_ns.p99),
            microseconds(load.generator_late_ns.max)
        ),
    );
    line(
        text,
        "busy",
        format_args!("{} commands were told so, {} times in all", grouped(load.busy_commands), grouped(load.busy)),
    );
}

fn oracle_lines(text: &mut String, oracle: &Oracle) {
    line(
        text,
        "oracle",
        format_args!(
            "{} of {} named executions filled exactly the named order",
            grouped(oracle.exact_fills),
            grouped(oracle.named_executions)
        ),
    );
}

fn lobster_lines(text: &mut String, report: &LobsterReport) {
    line(
        text,
        "file",
        format_args!(
            "{} messages; {} orders stood before it begins; {} added orders crossed the book",
            grouped(report.messages),
            grouped(report.standing_orders),
            grouped(report.crossing_adds)
        ),
    );
    line(
        text,
        "skipped",
        format_args!(
            "{} hidden executions, {} auction trades, {} halts; of orders never added: {} executions, {} reductions, \
             {} deletions; {} repeated ids, {} executions of more than is open",
            grouped(report.hidden_executions),
            grouped(report.auction_trades),
            grouped(report.halts),
            grouped(report.unknown_executions),
            grouped(report.unknown_reductions),
            grouped(report.unknown_deletions),
            grouped(report.repeated_adds),
            grouped(report.oversized_executions)
        ),
    );
    if !report.departures.is_empty() {
        line(
            text,
            "departures",
            format_args!(
                "{} executions filled otherwise ({} commands put the book back as the file has it)",
                grouped(report.departures.len() as u64),
                grouped(report.repairs)
            ),
        );
    }
    for departure in &report.departures {
        let filled: Vec<String> =
            departure.filled.iter().map(|(order, size)| format!("{size} of order {order}")).collect();
        let _ = writeln!(
            text,
            "  line {}, {} s: names {} of order {} at {}; filled {}: {}",
            departure.line,
            departure.time,
            departure.size,
            departure.order,
            departure.price,
            if filled.is_empty() { "nothing".to_owned() } else { filled.join(", ") },
            departure.reason
        );
    }
    text.push('\n');
}

fn bitstamp_lines(text: &mut String, report: &BitstampReport) {
    line(
        text,
        "file",
        format_args!(
            "{} events; skipped: {} of orders created before it begins, {} orders without price or volume",
            grouped(report.events),
            grouped(report.unknown_orders),
            grouped(report.skipped_orders)
        ),
    );
    line(
        text,
        "trades",
        format_args!(
            "{} here ({} satoshi), {} in the file ({} satoshi); {} agree in maker and size",
            grouped(report.trades),
            grouped(report.traded_volume),
            grouped(report.file_trades),
            grouped(report.file_traded_volume),
            grouped(report.agreeing_trades)
        ),
    );
    line(
        text,
        "otherwise",
        format_args!(
            "{} changes that no trade explains (reduced), {} orders filled in the file only (cancelled), {} falls of \
             volume without a partner",
            grouped(report.unexplained_changes),
            grouped(report.filled_only_in_file),
            grouped(report.unpaired_falls)
        ),
    );
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::{grouped, microseconds};

    #[test]
    fn numbers_are_grouped_and_rounded() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(microseconds(1_234_549), "1,234.5");
        assert_eq!(microseconds(1_234_550), "1,234.6");
    }
}
