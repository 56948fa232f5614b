//! What a stage is: a poller that does what it can and never waits.

/// What a poll did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something: others may have something to do now.
    Worked,
    /// Nothing: there is nothing to do, or no room for it.
    Idle,
    /// The stage has ended, and must not be polled again.
    Finished,
}

impl Progress {
    /// `Worked` if `worked`, else `Idle`.
    #[inline]
    pub(super) const fn from_worked(worked: bool) -> Self {
        if worked { Self::Worked } else { Self::Idle }
    }
}

/// A stage of the pipeline, polled by a worker.
pub(super) trait Poll {
    /// Takes what is there, up to `batch` commands, handles it and releases it at once. Never waits for another stage.
    fn poll(&mut self, batch: usize) -> Progress;

    /// Whether a poll would find something to do.
    fn is_ready(&self) -> bool;
}
