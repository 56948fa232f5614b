//! What goes to standard output: lines and aligned columns for people, JSON for programs.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde_json::Value;

/// Standard output, buffered; every write can fail, as when the reader of a pipe has gone.
pub struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    /// Programs read it.
    pub json: bool,
}

impl Output {
    /// Standard output.
    pub fn new(json: bool) -> Self {
        Self { writer: BufWriter::with_capacity(1 << 16, io::stdout().lock()), json }
    }

    /// A line.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.writer.write_all(text.as_ref().as_bytes())?;
        self.writer.write_all(b"\n")
    }

    /// A document over many lines.
    pub fn document(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.writer, value)?;
        self.writer.write_all(b"\n")
    }

    /// A document on one line.
    pub fn json_line(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.writer, value)?;
        self.writer.write_all(b"\n")
    }

    /// A table. A column whose title begins with `>` is aligned to the right.
    pub fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let right: Vec<bool> = titles.iter().map(|title| title.starts_with('>')).collect();
        let titles: Vec<String> = titles.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
        let mut widths: Vec<usize> = titles.iter().map(|title| title.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in std::iter::once(&titles).chain(rows) {
            let mut line = String::from(" ");
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(&right) {
                let padding = " ".repeat(width - cell.chars().count());
                line.push(' ');
                if right {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
                line.push(' ');
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A number with a comma every three digits before the point.
pub fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// A count with a comma every three digits.
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_before_the_point() {
        for (given, expected) in
            [("1", "1"), ("1000", "1,000"), ("-123456.7891", "-123,456.7891"), ("0.0001", "0.0001")]
        {
            assert_eq!(grouped(given), expected);
        }
    }
}
