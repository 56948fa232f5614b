//! How durable writes reach the device.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    str::FromStr,
};

/// How a write is made durable, under [`Durability::Sync`](crate::journal::Durability::Sync). All of them keep the same promise and the
/// same bytes; which is fastest depends on kernel, file system and device: `cargo run --release -p bench -- limits`
/// compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteMethod {
    /// The file is opened with `O_DSYNC`: one call writes through the page cache and waits for the device.
    Dsync,
    /// The file is opened with `O_DIRECT` and `O_DSYNC`: as above, past the page cache. Not every file system can.
    Direct,
    /// A write, then `fdatasync`.
    Fdatasync,
    /// As [`Direct`](Self::Direct), by a ring of `io_uring`. Not every kernel allows it.
    Uring,
}

impl WriteMethod {
    /// All methods.
    pub const ALL: [Self; 4] = [Self::Dsync, Self::Direct, Self::Fdatasync, Self::Uring];

    /// The name by which it is configured.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dsync => "dsync",
            Self::Direct => "direct",
            Self::Fdatasync => "fdatasync",
            Self::Uring => "io-uring",
        }
    }
}

impl fmt::Display for WriteMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A text that is no [`WriteMethod`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way to write: give dsync, direct, fdatasync or io-uring")]
pub struct WriteMethodError(pub String);

impl FromStr for WriteMethod {
    type Err = WriteMethodError;

    /// Reads the name of a method.
    ///
    /// ```
    /// use engine::journal::WriteMethod;
    /// assert_eq!("io-uring".parse(), Ok(WriteMethod::Uring));
    /// assert!("mmap".parse::<WriteMethod>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, WriteMethodError> {
        let found = Self::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| WriteMethodError(text.to_owned()))
    }
}

/// Bytes in memory that begin at the beginning of a page.
///
/// Direct writes want that. And so no copy from here to a cached page of a file is one between places that lie a few bytes
/// apart within their pages, at which the processor's string copy, by which the kernel copies, may collapse: measured at
/// 2 to 3 instead of 40 GB/s on a virtualised AMD EPYC of the third generation.
#[derive(Debug)]
pub struct PageBuffer {
    /// Never grows, so `start` stays.
    bytes: Box<[u8]>,
    start: usize,
    length: usize,
}

impl PageBuffer {
    /// What the buffer is aligned to.
    pub const PAGE_BYTES: usize = 4_096;

    /// So many zeros.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let bytes: Box<[u8]> = vec![0; length + Self::PAGE_BYTES].into();
        let start = bytes.as_ptr().align_offset(Self::PAGE_BYTES);
        assert!(start <= Self::PAGE_BYTES, "bytes can be aligned");
        Self { bytes, start, length }
    }
}

impl Default for PageBuffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for PageBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}
