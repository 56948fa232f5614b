//! A list whose items are named by 32-bit numbers and that asks for huge pages when it is large: with ordinary ones, most
//! of the time of a look-up among a million goes into finding out where the memory is.

/// Room is made for so many at first.
const ITEMS_MIN: usize = 32;

/// Items by number, from 0.
#[derive(Debug)]
pub(super) struct Slab<T> {
    items: Vec<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T: Clone> Clone for Slab<T> {
    fn clone(&self) -> Self {
        let mut items = room_for(self.items.capacity());
        items.extend_from_slice(&self.items);
        Self { items }
    }
}

impl<T> Slab<T> {
    /// A list of one item, its number 0.
    pub(super) fn of(item: T) -> Self {
        let mut slab = Self { items: room_for(ITEMS_MIN) };
        slab.push(item);
        slab
    }

    /// How many there are.
    #[inline]
    pub(super) const fn len(&self) -> u32 {
        // No more were ever let in.
        self.items.len() as u32
    }

    /// The item with this number.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        &self.items[number as usize]
    }

    /// The item with this number, if there is one.
    #[inline]
    pub(super) fn try_get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)
    }

    /// The item with this number.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.items[number as usize]
    }

    /// Adds an item and gives its number.
    #[inline]
    pub(super) fn push(&mut self, item: T) -> u32 {
        let number = u32::try_from(self.items.len()).expect("fewer than 2^32 items");
        if self.items.len() == self.items.capacity() {
            self.grow(self.items.len() * 2);
        }
        self.items.push(item);
        number
    }

    /// Makes room for so many in all.
    pub(super) fn reserve(&mut self, items: usize) {
        if items > self.items.capacity() {
            self.grow(items);
        }
    }

    /// All items, numbers ascending.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }

    #[cold]
    fn grow(&mut self, capacity: usize) {
        let mut larger = room_for(capacity.max(ITEMS_MIN));
        larger.append(&mut self.items);
        self.items = larger;
    }
}

/// An empty list with room.
pub(super) fn room_for<T>(capacity: usize) -> Vec<T> {
    let mut items = Vec::with_capacity(capacity);
    ringbuf::advise_huge_pages(items.spare_capacity_mut());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_numbers() {
        let mut slab = Slab::default();
        for number in 0..9_500_u32 {
            assert_eq!(slab.push(u64::from(number) * 3), number);
        }
        *slab.get_mut(1_024) += 1;
        slab.reserve(1 << 19);
        let copy = slab.clone();
        assert_eq!((copy.len(), *copy.get(0), *copy.get(1_024), *copy.get(9_499)), (9_500, 0, 3_073, 28_497));
        assert_eq!((copy.try_get(9_500), copy.try_get(u32::MAX)), (None, None));
        assert_eq!(slab.iter_mut().map(|item| *item).sum::<u64>(), 3 * 9_499 * 9_500 / 2 + 1);
    }
}
