//! Hints to the processor that memory will be used soon; they never fault and never change a result.
//!
//! They do something on x86-64 and nothing elsewhere.

/// Asks for the first cache line of a value, to be read soon.
///
/// ```
/// let orders = [1, 2, 3];
/// ringbuf::prefetch_read(&orders[2]);
/// ringbuf::prefetch_slice_index(&orders, 99); // not in the slice: does nothing
/// ```
#[inline(always)]
pub fn prefetch_read<T>(value: &T) {
    read_line(std::ptr::from_ref(value).cast());
}

/// Asks for the first cache line of a value, to be written soon: no other core keeps a copy that the write would have to
/// wait for.
#[inline(always)]
pub fn prefetch_write<T>(value: &T) {
    write_line(std::ptr::from_ref(value).cast());
}

/// Asks for the first cache line of an element, to be read soon; an index past the end does nothing.
#[inline(always)]
pub fn prefetch_slice_index<T>(slice: &[T], index: usize) {
    if let Some(value) = slice.get(index) {
        prefetch_read(value);
    }
}

/// How far apart the lines are that [`read_line`] and [`write_line`] ask for.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks for the cache line at an address, whatever is there, to be read soon.
#[inline(always)]
pub(crate) fn read_line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect on memory and does not fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    let _ = address;
}

/// Asks for the cache line at an address, whatever is there, to be written soon.
///
/// By the instruction itself: the compiler makes of its intrinsic with the hint to write, for any x86-64, a prefetch that
/// only reads, and whoever then writes still has to take the line from the other core.
#[inline(always)]
pub(crate) fn write_line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    // SAFETY: as for `read_line`. Processors of this architecture that do not have the instruction take it for none at all.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    let _ = address;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn prefetching_changes_nothing() {
        let values = [1_u8, 2, 3];
        prefetch_read(&values);
        prefetch_write(&values);
        (0..5).for_each(|index| prefetch_slice_index(&values, index));
        assert_eq!(values, [1, 2, 3]);
    }
}
