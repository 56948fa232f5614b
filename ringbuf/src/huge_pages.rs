//! A hint to the operating system that memory would do well on huge pages; it never changes what the memory holds.
//!
//! It does something on Linux where transparent huge pages may be asked for, and nothing elsewhere.

/// Asks for huge pages under memory that will be touched in no order: on ordinary ones, finding out where it lies costs
/// as much as reading it. Ask before it is touched for the first time. A refusal means nothing, and is not told.
///
/// ```
/// let mut numbers: Vec<u64> = Vec::with_capacity(1 << 20);
/// ringbuf::advise_huge_pages(numbers.spare_capacity_mut());
/// numbers.resize(1 << 20, 0);
/// ```
pub fn advise_huge_pages<T>(memory: &mut [T]) {
    #[cfg(all(target_os = "linux", not(loom), not(miri)))]
    {
        const HUGE_PAGE_BYTES: usize = 1 << 21;
        const PAGE_BYTES: usize = 1 << 12;
        let range = memory.as_mut_ptr_range();
        let (start, end) = (range.start as usize, range.end as usize);
        // Whole ordinary pages, which the call wants; the system takes the whole huge ones among them.
        let (first, behind) = (start.next_multiple_of(PAGE_BYTES), end & !(PAGE_BYTES - 1));
        if behind.saturating_sub(first) >= HUGE_PAGE_BYTES {
            // SAFETY: the range lies within the slice, so it is mapped, and this advice changes neither what it holds nor
            // whether it may be accessed.
            unsafe { libc::madvise(first as *mut libc::c_void, behind - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(all(target_os = "linux", not(loom), not(miri))))]
    let _ = memory;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_advice_changes_nothing() {
        let mut numbers: Vec<u64> = (0..1 << 20).collect();
        advise_huge_pages(&mut numbers);
        advise_huge_pages(numbers.spare_capacity_mut());
        advise_huge_pages::<u64>(&mut []);
        assert!((0..1 << 20).eq(numbers));
    }
}
