//! A ring's end that always takes what it is given, so that a command is never left half done.

use ringbuf::spsc;

/// What does not fit the ring waits here, in order; the stage must not begin another command until it is gone.
/// So this holds at most what one command yields.
pub(super) struct Outlet<T> {
    ring: spsc::Producer<T>,
    /// The last item pushed is the last of the vector: the oldest are at the front.
    waiting: Vec<T>,
    /// How many of those that waited have been pushed.
    pushed: usize,
}

impl<T: Copy> Outlet<T> {
    pub(super) fn new(ring: spsc::Producer<T>) -> Self {
        Self { ring, waiting: Vec::with_capacity(1_024), pushed: 0 }
    }

    /// Takes an item that is passed on by the next [`commit`](Self::commit), and can be changed until then.
    #[inline(always)]
    pub(super) fn stage(&mut self, item: T) {
        if self.waiting.is_empty() {
            // A closed ring means that the other stage has gone; the pipeline is ending.
            if let Err(spsc::PushError::Full(item)) = self.ring.stage(item) {
                self.wait_with(item);
            }
        } else {
            self.waiting.push(item);
        }
    }

    /// What is staged in the ring before it is published there: it is not the last any more.
    #[cold]
    fn wait_with(&mut self, item: T) {
        self.ring.commit();
        self.waiting.push(item);
    }

    /// Changes the last item that was staged and passes on all that were.
    #[inline]
    pub(super) fn commit(&mut self, change_last: impl FnOnce(&mut T)) {
        match self.waiting.last_mut() {
            Some(last) => change_last(last),
            None => {
                self.ring.change_staged(change_last);
                self.ring.commit();
            }
        }
    }

    /// Pushes what waits; gives whether it pushed anything.
    #[inline]
    pub(super) fn flush(&mut self) -> bool {
        !self.waiting.is_empty() && self.flush_waiting()
    }

    #[cold]
    fn flush_waiting(&mut self) -> bool {
        // A closed ring takes everything, as in `stage`.
        let waiting = &self.waiting[self.pushed..];
        let pushed = self.ring.push_slice(waiting).unwrap_or(waiting.len());
        self.pushed += pushed;
        if self.pushed == self.waiting.len() {
            self.waiting.clear();
            self.pushed = 0;
        }
        pushed > 0
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) const fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a flush would push something.
    pub(super) fn is_flushable(&self) -> bool {
        !self.waiting.is_empty() && (self.ring.free() > 0 || self.ring.is_closed())
    }

    pub(super) fn close(&self) {
        self.ring.close();
    }
}
