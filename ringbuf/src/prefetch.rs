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
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect on memory and does not fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    let _ = value;
}

/// Asks for the first cache line of a value, to be written soon.
#[inline(always)]
pub fn prefetch_write<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch has no effect on memory and does not fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    let _ = value;
}

/// Asks for the first cache line of an element, to be read soon; an index past the end does nothing.
#[inline(always)]
pub fn prefetch_slice_index<T>(slice: &[T], index: usize) {
    if let Some(value) = slice.get(index) {
        prefetch_read(value);
    }
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
