//! The memory of a ring: a power of two of slots, addressed by ever-growing positions.
//!
//! It knows nothing of who may touch which slot when; both rings guarantee that, and it never drops items.

use std::alloc::Layout;
use std::error::Error;
use std::fmt;
use std::mem::MaybeUninit;
use std::slice::from_ref;

use crate::prefetch::{LINE_BYTES, read_line, write_line};
use crate::sync::UnsafeCell;

/// The capacity asked for cannot be that of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CapacityError {
    /// A ring has at least one slot.
    Zero,
    /// The capacity, in items, is not a power of two.
    NotPowerOfTwo(usize),
    /// So many items do not fit the address space.
    TooLarge(usize),
}

impl CapacityError {
    /// Refuses a number of slots that cannot be that of a ring.
    pub(crate) fn check<Slot>(capacity: usize) -> Result<(), Self> {
        if capacity == 0 {
            return Err(Self::Zero);
        }
        if !capacity.is_power_of_two() {
            return Err(Self::NotPowerOfTwo(capacity));
        }
        if Layout::array::<Slot>(capacity).is_err() {
            return Err(Self::TooLarge(capacity));
        }
        Ok(())
    }
}

impl fmt::Display for CapacityError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => write!(formatter, "the capacity of a ring must not be zero"),
            Self::NotPowerOfTwo(capacity) => {
                write!(formatter, "the capacity of a ring must be a power of two, not {capacity}")
            }
            Self::TooLarge(capacity) => {
                write!(formatter, "a ring of {capacity} items does not fit the address space")
            }
        }
    }
}

impl Error for CapacityError {}

/// How many slots ahead of the one in use its thread asks for at most, so that it need not wait for another core then.
pub(crate) const SLOTS_AHEAD_MAX: u64 = 32;

/// The same for a producer in a ring of so many: a part of it only, as what is just before the consumer is still being read.
pub(crate) fn slots_ahead(capacity: usize) -> u64 {
    (capacity as u64 / 8).clamp(1, SLOTS_AHEAD_MAX)
}

type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// The slots of a ring; position `p` lives in slot `p % capacity`.
pub(crate) struct Slots<T> {
    /// Its length is a power of two.
    cells: Box<[Slot<T>]>,
}

impl<T> Slots<T> {
    pub(crate) fn new(capacity: usize) -> Result<Self, CapacityError> {
        CapacityError::check::<Slot<T>>(capacity)?;
        Ok(Self { cells: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect() })
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// Moves an item into the slot of a position; what was there is forgotten, not dropped.
    ///
    /// # Safety
    ///
    /// Nobody else may touch the slot during the call, nor hold a reference into it.
    #[inline]
    pub(crate) unsafe fn write(&self, position: u64, item: T) {
        // SAFETY: the pointer is valid, and the caller guarantees that the slot is theirs alone.
        self.cell(position).with_mut(|slot| unsafe { slot.cast::<T>().write(item) });
    }

    /// Borrows the item in the slot of a position, to change it.
    ///
    /// # Safety
    ///
    /// The slot must hold an item that was written before the call, and nobody else may touch it during the call.
    #[inline]
    pub(crate) unsafe fn change(&self, position: u64, change: impl FnOnce(&mut T)) {
        // SAFETY: the pointer is valid; the caller guarantees an initialised slot that is theirs alone.
        self.cell(position).with_mut(|slot| change(unsafe { (*slot).assume_init_mut() }));
    }

    /// Copies items into the slots from a position on, and asks for as many behind them, as most likely they come next.
    ///
    /// # Safety
    ///
    /// As for [`Slots::write`], for each of the slots; there must be no more items than slots.
    #[inline]
    pub(crate) unsafe fn write_slice(&self, position: u64, items: &[T])
    where
        T: Copy,
    {
        if items.len() <= self.capacity() / 4 {
            // Else they are most likely still being read.
            self.ask_for(position.wrapping_add(items.len() as u64), items.len(), write_line);
        }
        let [before_wrap, after_wrap] = self.run(position, items.len());
        let (first, second) = items.split_at(before_wrap.len());
        for (cells, items) in [(before_wrap, first), (after_wrap, second)] {
            for (cell, item) in cells.iter().zip(items) {
                // SAFETY: as in `write`, for this slot.
                cell.with_mut(|slot| unsafe { slot.cast::<T>().write(*item) });
            }
        }
    }

    /// Moves the item out of the slot of a position.
    ///
    /// # Safety
    ///
    /// The slot must hold an item that was written before the call, nobody may write it during the call,
    /// and the item must not be used through the slot again.
    #[inline]
    pub(crate) unsafe fn read(&self, position: u64) -> T {
        // SAFETY: the pointer is valid; the caller guarantees an initialised slot that is moved out of once.
        self.cell(position).with(|slot| unsafe { slot.cast::<T>().read() })
    }

    /// Borrows the item in the slot of a position.
    ///
    /// # Safety
    ///
    /// The slot must hold an item that was written before the call, and nobody may write or move out of
    /// the slot while the reference lives.
    #[inline]
    pub(crate) unsafe fn get(&self, position: u64) -> &T {
        // SAFETY: the pointer is valid while `self` is; the caller guarantees an initialised slot that
        // stays untouched.
        self.cell(position).with(|slot| unsafe { (*slot).assume_init_ref() })
    }

    /// Asks for the cache lines of `count` slots from a position on, which will be read soon.
    #[inline]
    pub(crate) fn prefetch(&self, position: u64, count: usize) {
        self.ask_for(position, count, read_line);
    }

    /// Asks for the slot of a position, which will be written soon, where slots hardly share cache lines.
    #[inline]
    pub(crate) fn prefetch_write(&self, position: u64) {
        if const { size_of::<T>() * 2 >= LINE_BYTES } {
            ask_for_each_line(from_ref(self.cell(position)), write_line);
        }
    }

    /// The same of one that will be read soon.
    #[inline]
    pub(crate) fn prefetch_read(&self, position: u64) {
        if const { size_of::<T>() * 2 >= LINE_BYTES } {
            ask_for_each_line(from_ref(self.cell(position)), read_line);
        }
    }

    #[inline]
    fn ask_for(&self, position: u64, count: usize, ask: impl Fn(*const u8)) {
        for cells in self.run(position, count) {
            ask_for_each_line(cells, &ask);
        }
    }

    /// Moves the items out of `count` slots from a position on, in order. If `take` panics, the items behind stay.
    ///
    /// # Safety
    ///
    /// As for [`Slots::read`], for each of the slots that is come to; there must be no more than the ring has.
    #[inline]
    pub(crate) unsafe fn read_each(&self, position: u64, count: usize, mut take: impl FnMut(T)) {
        for cells in self.run(position, count) {
            for cell in cells {
                // SAFETY: as in `read`, for this slot.
                take(cell.with(|slot| unsafe { slot.cast::<T>().read() }));
            }
        }
    }

    /// Borrows the items in `count` slots from a position on, one after the other.
    ///
    /// # Safety
    ///
    /// As for [`Slots::get`], for each of the slots; there must be no more than the ring has.
    #[inline]
    pub(crate) unsafe fn get_each(&self, position: u64, count: usize, mut look: impl FnMut(&T)) {
        for cells in self.run(position, count) {
            for cell in cells {
                // SAFETY: as in `get`, for this slot.
                cell.with(|slot| look(unsafe { (*slot).assume_init_ref() }));
            }
        }
    }

    /// The slots of `count` positions, at most as many as there are, where they lie: before the wrap and behind it.
    #[inline]
    fn run(&self, position: u64, count: usize) -> [&[Slot<T>]; 2] {
        let (behind, from) = self.cells.split_at(self.index(position));
        let before_wrap = count.min(from.len());
        [&from[..before_wrap], &behind[..count - before_wrap]]
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        position as usize & self.cells.len().wrapping_sub(1)
    }

    #[inline]
    fn cell(&self, position: u64) -> &Slot<T> {
        let index = self.index(position);
        debug_assert!(index < self.cells.len());
        // SAFETY: the length is a power of two, since `new`, so the masked index is below it.
        unsafe { self.cells.get_unchecked(index) }
    }
}

#[inline]
fn ask_for_each_line<T>(cells: &[T], ask: impl Fn(*const u8)) {
    let first = cells.as_ptr().cast::<u8>();
    (0..size_of_val(cells)).step_by(LINE_BYTES).for_each(|offset| ask(first.wrapping_add(offset)));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn capacities_that_cannot_be() {
        let error = |capacity| Slots::<u64>::new(capacity).err().unwrap();
        assert_eq!(error(0), CapacityError::Zero);
        assert_eq!(error(12), CapacityError::NotPowerOfTwo(12));
        assert_eq!(error(1 << 62), CapacityError::TooLarge(1 << 62));
        assert_eq!(error(12).to_string(), "the capacity of a ring must be a power of two, not 12");
        assert_eq!(Slots::<u64>::new(1).unwrap().capacity(), 1);
    }

    #[test]
    fn runs_wrap() {
        let slots = Slots::new(4).unwrap();
        let (mut seen, mut read) = (Vec::new(), Vec::new());
        // SAFETY: one thread; four positions of four slots are written before they are looked at and read.
        let one_by_one: Vec<u32> = unsafe {
            slots.write_slice(6, &[1, 2, 3, 4]);
            slots.get_each(6, 4, |item| seen.push(*item));
            slots.read_each(7, 2, |item| read.push(item));
            (6..10).map(|position| slots.read(position)).collect()
        };
        assert_eq!(one_by_one, [1, 2, 3, 4]);
        assert_eq!((seen, read), (one_by_one, vec![2, 3]));
    }
}
