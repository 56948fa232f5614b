//! How fast memory is copied: by the C library, as `copy_from_slice` does, and by a plain loop.
//!
//! From some size on the C library uses the processor's string instruction, `rep movsb`. On some processors, and above all
//! under some hypervisors, that one is slow when source and destination lie a little apart within their pages. So each
//! size is copied from a page's beginning to the same, and to places a little beyond it.

use std::{
    fmt,
    hint::black_box,
    sync::atomic::{Ordering, compiler_fence},
    time::Instant,
};

use engine::journal::storage::PageBuffer;
use serde::Serialize;

use crate::report::median;

/// From a cache line's to far beyond the last cache's size.
const SIZES: [usize; 11] =
    [64, 256, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20, 32 << 20];
/// By how much source and destination lie beyond a page's beginning.
const OFFSETS: [(usize, usize); 4] = [(0, 0), (0, 16), (16, 0), (0, 2_048)];
/// Bytes in one round of one size.
const ROUND_BYTES: usize = 64 << 20;
/// What the plain loop moves at once.
const STEP_BYTES: usize = 64;

/// How fast memory is copied.
#[derive(Clone, Debug, Serialize)]
pub struct Copies {
    /// By how much source and destination lay beyond a page's beginning, for each column.
    pub offsets: Vec<(usize, usize)>,
    /// A row for each size.
    pub sizes: Vec<CopySize>,
}

/// One size.
#[derive(Clone, Debug, Serialize)]
pub struct CopySize {
    /// Bytes copied at once.
    pub bytes: usize,
    /// Bytes per second by the C library, for each of the offsets: the median of the rounds.
    pub library: Vec<f64>,
    /// The same by a plain loop.
    pub plain: Vec<f64>,
}

/// Copies in all ways in turn.
pub(super) fn measure(rounds: usize) -> Copies {
    let most = SIZES.into_iter().max().unwrap_or_default() + PageBuffer::PAGE_BYTES;
    let (mut source, mut destination) = (PageBuffer::new(most), PageBuffer::new(most));
    source.fill(1);
    destination.fill(2);
    let mut sizes: Vec<CopySize> = Vec::new();
    for bytes in SIZES {
        let mut row = CopySize { bytes, library: Vec::new(), plain: Vec::new() };
        for (from, to) in OFFSETS {
            let source = &source[from..from + bytes];
            let destination = &mut destination[to..to + bytes];
            let (mut library, mut plain) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                library.push(bytes_per_second(destination, source, |to, from| to.copy_from_slice(from)));
                plain.push(bytes_per_second(destination, source, copy_plainly));
            }
            row.library.push(median(&library));
            row.plain.push(median(&plain));
        }
        sizes.push(row);
    }
    Copies { offsets: OFFSETS.to_vec(), sizes }
}

fn bytes_per_second(destination: &mut [u8], source: &[u8], copy: impl Fn(&mut [u8], &[u8])) -> f64 {
    let times = (ROUND_BYTES / source.len()).max(1);
    let begun = Instant::now();
    for _ in 0..times {
        copy(black_box(&mut *destination), black_box(source));
    }
    black_box(&mut *destination);
    (times * source.len()) as f64 / begun.elapsed().as_secs_f64()
}

/// Copies in steps that the compiler turns into vector instructions, and cannot put together to a call of the C
/// library's copy.
fn copy_plainly(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.chunks_exact_mut(STEP_BYTES).zip(from.chunks_exact(STEP_BYTES)) {
        to.copy_from_slice(from);
        compiler_fence(Ordering::SeqCst);
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "memory copies (GB/s; the C library / a plain loop), by how far source and destination lie beyond a page's beginning"
        )?;
        write!(formatter, "  {:>10}", "bytes")?;
        for (from, to) in &self.offsets {
            write!(formatter, "  {:>17}", format!("{from} to {to}"))?;
        }
        writeln!(formatter)?;
        for row in &self.sizes {
            write!(formatter, "  {:>10}", row.bytes)?;
            for (library, plain) in row.library.iter().zip(&row.plain) {
                write!(formatter, "  {:>17}", format!("{:.1} / {:.1}", library / 1e9, plain / 1e9))?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}
