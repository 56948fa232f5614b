//! Readers of recorded order flow: plain or compressed files of comma-separated lines. A line that is not what its
//! format says is an error with file, line, field and what was expected; nothing is guessed.

pub mod bitstamp;
pub mod lobster;

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A LOBSTER message file (lobsterdata.com): NASDAQ, one stock, no header.
    Lobster,
    /// Bitstamp's order events as the R package obAnalytics records them, with a header.
    Bitstamp,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Lobster => "lobster",
            Self::Bitstamp => "bitstamp",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Xz,
    Zstandard,
}

impl Compression {
    const ALL: [(Self, &'static str, &'static [u8]); 3] = [
        (Self::Gzip, "gz", &[0x1f, 0x8b]),
        (Self::Xz, "xz", &[0xfd, b'7', b'z', b'X', b'Z', 0]),
        (Self::Zstandard, "zst", &[0x28, 0xb5, 0x2f, 0xfd]),
    ];

    /// What the first bytes say; a name that says something else is an error.
    fn detect(path: &Path, head: &[u8]) -> Result<Self> {
        if let Some((compression, ..)) = Self::ALL.into_iter().find(|(_, _, magic)| head.starts_with(magic)) {
            return Ok(compression);
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if Self::ALL.iter().any(|(_, suffix, _)| extension.eq_ignore_ascii_case(suffix)) {
            bail!(
                "{} does not begin like a .{extension} file: it is damaged or of another kind; give the file as it \
                 was downloaded, or rename it if it is plain text",
                path.display()
            );
        }
        Ok(Self::None)
    }
}

/// Opens a file for reading; what is compressed (gzip, xz, Zstandard) is decompressed on the way.
///
/// # Errors
/// When the file cannot be opened, or its name promises a compression that its first bytes do not show.
pub fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("cannot open {}: give an existing file", path.display()))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        bail!("{} is a directory: give a file", path.display());
    }
    let mut file = BufReader::with_capacity(1 << 16, file);
    let head = file.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(match Compression::detect(path, head)? {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file)),
        Compression::Zstandard => {
            let decoder = zstd::Decoder::with_buffer(file);
            Box::new(decoder.with_context(|| format!("cannot decompress {}", path.display()))?)
        }
    })
}

/// The lines of a file, field by field, with the position for error messages.
pub(crate) struct Lines {
    path: PathBuf,
    reader: csv::Reader<Box<dyn Read>>,
    record: csv::ByteRecord,
    line: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(open(path)?);
        Ok(Self { path: path.to_owned(), reader, record: csv::ByteRecord::new(), line: 0 })
    }

    /// The next line, if there is one; it must have the number of fields that `names` has.
    pub(crate) fn next_line<'a, const N: usize>(
        &'a mut self,
        names: &'static [&'static str; N],
    ) -> Result<Option<Line<'a>>> {
        let more = self.reader.read_byte_record(&mut self.record).with_context(|| {
            format!("cannot read {} after line {}: the file is damaged or cut off", self.path.display(), self.line)
        })?;
        if !more {
            return Ok(None);
        }
        self.line = self.record.position().map_or(self.line + 1, csv::Position::line);
        let line = Line { path: &self.path, line: self.line, record: &self.record, names };
        if self.record.len() != N {
            let expected = format!("{N} fields ({})", names.join(", "));
            bail!("{}, line {}: {} fields: expected {expected}", self.path.display(), self.line, self.record.len());
        }
        Ok(Some(line))
    }
}

/// One line, with the right number of fields.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    path: &'a Path,
    pub(crate) line: u64,
    record: &'a csv::ByteRecord,
    names: &'static [&'static str],
}

impl Line<'_> {
    pub(crate) fn text(&self, field: usize) -> String {
        String::from_utf8_lossy(&self.record[field]).into_owned()
    }

    pub(crate) fn wrong(&self, field: usize, expected: &str) -> anyhow::Error {
        anyhow::anyhow!(
            "{}, line {}: {} is {:?}: expected {expected}",
            self.path.display(),
            self.line,
            self.names[field],
            self.text(field)
        )
    }

    /// A whole number from `low` to `high`.
    pub(crate) fn integer(&self, field: usize, low: u64, high: u64) -> Result<u64> {
        self.decimal(field, 0, low, high)
    }

    /// A decimal in units of its `places`-th place, from `low` to `high` of these units. Zeros after the
    /// `places`-th place are allowed, other digits are not.
    pub(crate) fn decimal(&self, field: usize, places: u32, low: u64, high: u64) -> Result<u64> {
        parse_decimal(&self.record[field], places).filter(|value| (low..=high).contains(value)).ok_or_else(|| {
            let kind = match places {
                0 => "a whole number".to_owned(),
                places => format!("a number with at most {places} decimal places"),
            };
            match (low, high) {
                (0, u64::MAX) => self.wrong(field, &kind),
                (_, u64::MAX) if places == 0 => self.wrong(field, &format!("{kind}, at least {low}")),
                _ if places == 0 => self.wrong(field, &format!("{kind} from {low} to {high}")),
                _ => self.wrong(field, &format!("{kind}, above zero and not too large")),
            }
        })
    }

    /// Which of the `texts` the field is.
    pub(crate) fn one_of<T: Copy>(&self, field: usize, texts: &[(&str, T)]) -> Result<T> {
        let found = texts.iter().find(|(text, _)| text.as_bytes() == &self.record[field]);
        found.map(|&(_, value)| value).ok_or_else(|| {
            let names: Vec<&str> = texts.iter().map(|&(text, _)| text).collect();
            self.wrong(field, &format!("one of {}", names.join(", ")))
        })
    }
}

fn parse_decimal(text: &[u8], places: u32) -> Option<u64> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(point) if point + 1 < text.len() => (&text[..point], &text[point + 1..]),
        Some(_) => return None,
        None => (text, &[][..]),
    };
    if whole.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    let mut push = |byte: u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
        Some(())
    };
    whole.iter().try_for_each(|&byte| push(byte))?;
    let kept = fraction.len().min(places as usize);
    fraction[..kept].iter().try_for_each(|&byte| push(byte))?;
    (kept..places as usize).try_for_each(|_| push(b'0'))?;
    fraction[kept..].iter().all(|&byte| byte == b'0').then_some(value)
}

#[cfg(test)]
mod tests {
    use super::parse_decimal;

    #[test]
    fn decimals_are_read_exactly_or_not_at_all() {
        let read = |text: &str| parse_decimal(text.as_bytes(), 2);
        assert_eq!(read("236.47"), Some(23_647));
        assert_eq!(read("236.4"), Some(23_640));
        assert_eq!(read("236"), Some(23_600));
        assert_eq!(read("236.4700"), Some(23_647));
        assert_eq!(read("0.01"), Some(1));
        for wrong in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1.234", "1.2.3", "0x10", " 1", "99999999999999999999"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
