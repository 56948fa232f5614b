//! Reads the file of an airdrop: a line for each recipient. What is wrong with it is collected, each with its line, so
//! that all of it can be put right at once.

use std::{collections::HashMap, path::Path};

use engine::types::{AMOUNT_MAX, AccountId, Amount, AssetSpec};
use rust_decimal::Decimal;

use crate::{arguments, failure::Failure};

/// A line that can be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands in the file, from 1.
    pub number: u64,
    /// To whom.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
}

/// A line that cannot be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where it stands in the file, from 1.
    pub number: u64,
    /// What is wrong with it, and what to do.
    pub what: String,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// In the order of the file.
    pub lines: Vec<Line>,
    /// In the order of the file.
    pub wrong: Vec<Wrong>,
}

impl Manifest {
    /// Reads a file. Amounts are decimals of the asset, or whole minor units of it. `exists` knows the accounts.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn read(
        path: &Path,
        spec: &AssetSpec,
        minor_units: bool,
        exists: impl Fn(AccountId) -> bool,
    ) -> Result<Self, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| unreadable(&error))?;
        Ok(Self::parse(&bytes, spec, minor_units, exists))
    }

    fn parse(bytes: &[u8], spec: &AssetSpec, minor_units: bool, exists: impl Fn(AccountId) -> bool) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let (mut manifest, mut seen) = (Self::default(), HashMap::new());
        let mut is_first = true;
        // Line by line, so that a quote that is not closed is one wrong line, and does not swallow the rest.
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let Some(record) = record_of(line) else { continue };
            let is_title = std::mem::take(&mut is_first) && is_title(&record);
            if is_title {
                continue;
            }
            if line.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
                manifest.wrong.push(Wrong { number, what: "a quote is not closed".to_owned() });
                continue;
            }
            match parse_line(&record, spec, minor_units, &exists) {
                Err(what) => manifest.wrong.push(Wrong { number, what }),
                Ok((account, amount)) => match seen.get(&account) {
                    None => {
                        seen.insert(account, number);
                        manifest.lines.push(Line { number, account, amount });
                    }
                    Some(first) => {
                        let what = format!("{account} has a line already, line {first}: make one of both");
                        manifest.wrong.push(Wrong { number, what });
                    }
                },
            }
        }
        manifest
    }

    /// What all lines come to. More than there can be of an asset is told as it is.
    pub fn total(&self) -> u128 {
        self.lines.iter().map(|line| u128::from(line.amount.0)).sum()
    }
}

/// The fields of a line; `None` for one that is empty or a remark.
fn record_of(line: &[u8]) -> Option<csv::ByteRecord> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return None;
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .buffer_capacity(line.len() + 1)
        .from_reader(line);
    let mut record = csv::ByteRecord::new();
    reader.read_byte_record(&mut record).ok().filter(|read| *read).map(|_| record)
}

/// Whether the first line is the titles.
fn is_title(record: &csv::ByteRecord) -> bool {
    record.get(0).is_some_and(|first| first.eq_ignore_ascii_case(b"account"))
}

fn parse_line(
    record: &csv::ByteRecord,
    spec: &AssetSpec,
    minor_units: bool,
    exists: impl Fn(AccountId) -> bool,
) -> Result<(AccountId, Amount), String> {
    let fields: Vec<&str> =
        record.iter().map(std::str::from_utf8).collect::<Result<_, _>>().map_err(|_| "it is no text in UTF-8")?;
    let (account, amount) = match fields[..] {
        [account, amount] => (account, amount),
        [account, amount, asset] if asset.eq_ignore_ascii_case(&spec.symbol.to_string()) => (account, amount),
        [_, _, asset] => return Err(format!("it pays {asset:?}, and the airdrop is of {}", spec.symbol)),
        _ => return Err(format!("it has {} columns: give account,amount", fields.len())),
    };
    let account = arguments::account(account).map_err(|wrong| format!("{account:?} is no account: {wrong}"))?;
    if !account.is_user() {
        return Err(format!("account {} is the exchange's own, and no recipient", account.0));
    }
    if !exists(account) {
        return Err(format!("there is no account {account}"));
    }
    let amount = parse_amount(amount, spec, minor_units)?;
    if amount.is_zero() {
        return Err("an amount of zero".to_owned());
    }
    Ok((account, amount))
}

fn parse_amount(text: &str, spec: &AssetSpec, minor_units: bool) -> Result<Amount, String> {
    if minor_units {
        let amount = text.parse().ok().filter(|amount| *amount <= AMOUNT_MAX && is_plain(text, ""));
        return amount
            .map(Amount)
            .ok_or_else(|| format!("{text:?} is no amount: give a whole number of minor units, up to {AMOUNT_MAX}"));
    }
    let decimal = Some(text).filter(|text| is_plain(text, "."));
    let decimal = decimal.and_then(|text| Decimal::from_str_exact(text).ok());
    let decimal = decimal.ok_or_else(|| format!("{text:?} is no amount: give digits, with a point, such as 0.5"))?;
    spec.amount(decimal).map_err(|error| error.to_string())
}

/// Whether there are digits and nothing else but what is `allowed`.
fn is_plain(text: &str, allowed: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit() || allowed.contains(letter))
}

#[cfg(test)]
mod tests {
    use engine::types::AssetId;

    use super::*;

    fn parse(text: &str, minor_units: bool) -> Manifest {
        let spec = AssetSpec { asset: AssetId(0), symbol: "BTC".parse().unwrap(), scale: 8 };
        Manifest::parse(text.as_bytes(), &spec, minor_units, |account| account.0 < 100)
    }

    #[test]
    fn good_lines_are_read_in_order() {
        let found = parse("\u{feff}Account,Amount\r\n7,0.5\r\n\r\n# a remark\nA8, 1 \n9,0.00000001,btc\n", false);
        assert_eq!(found.wrong, []);
        let lines: Vec<_> = found.lines.iter().map(|line| (line.number, line.account.0, line.amount.0)).collect();
        assert_eq!(lines, [(2, 7, 50_000_000), (5, 8, 100_000_000), (6, 9, 1)]);
        assert_eq!(found.total(), 150_000_001);
        assert_eq!(parse("7,50", true).lines[0].amount, Amount(50));
        assert_eq!(parse("", false), Manifest::default());
        assert_eq!(parse("account,amount\n", false), Manifest::default());
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = "1,0.5\n2\n3,4,5,6\nx,1\n100,1\n4,-1\n5,1e3\n6,0\n7,0.000000001\n8,99999999999999999999\n1,2\n9,1,ETH\n\
                    4294967295,1\n0,1\n10,\"1,000\"\n11,\n12,0.1.2\n13,1_0\naccount,amount\n14,+1\n";
        let found = parse(text, false);
        assert_eq!(found.lines.len(), 1);
        let numbers: Vec<_> = found.wrong.iter().map(|wrong| wrong.number).collect();
        assert_eq!(numbers, (2..=20).collect::<Vec<_>>());
        for (number, part) in [
            (2, "1 columns"),
            (3, "4 columns"),
            (4, "\"x\" is no account"),
            (5, "no account A100"),
            (6, "\"-1\" is no amount"),
            (7, "\"1e3\" is no amount"),
            (8, "zero"),
            (9, "off the grid of 0.00000001"),
            (10, "too large"),
            (11, "has a line already, line 1"),
            (12, "pays \"ETH\", and the airdrop is of BTC"),
            (13, "no recipient"),
        ] {
            let wrong = found.wrong.iter().find(|wrong| wrong.number == number).unwrap();
            assert!(wrong.what.contains(part), "{wrong:?}");
        }
        for text in ["1,0.5", "1,-1", "1,9223372036854775808", "1,"] {
            assert_eq!(parse(text, true).wrong.len(), 1, "{text}");
        }
    }
}
