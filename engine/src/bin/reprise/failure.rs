//! Why the tool ends without an answer, and with which exit code.

use std::{fmt, io};

use engine::{journal::OpenError, recovery::TimelineError};

/// Exit code: all is well.
pub const FINE: u8 = 0;
/// Exit code: it could not be done, or what was asked for is not there.
pub const FAILED: u8 = 1;
/// Exit code: the command line makes no sense.
pub const USAGE: u8 = 2;
/// Exit code: the journal is damaged, or something does not agree with something else.
pub const DAMAGED: u8 = 3;
/// Exit code: it can be done, and there is something to look at before.
pub const WARNED: u8 = 4;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// It could not be done, or what was asked for is not there.
    Failed(String),
    /// What was asked for makes no sense.
    Usage(String),
    /// Damage, or a mismatch.
    Damaged(String),
    /// Whoever was reading has gone: there is nobody left to tell.
    BrokenPipe,
}

impl Failure {
    /// What was asked for is not there.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The exit code that says so.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => FAILED,
            Self::Usage(_) => USAGE,
            Self::Damaged(_) => DAMAGED,
            Self::BrokenPipe => FINE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) | Self::Usage(message) | Self::Damaged(message) => formatter.write_str(message),
            Self::BrokenPipe => formatter.write_str("the reader has gone"),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::Damaged { .. } => Self::Damaged(error.to_string()),
            OpenError::Missing { .. } => {
                Self::Failed(format!("{error}: give the exchange's data directory with --data"))
            }
            OpenError::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                Self::Failed(format!("{error}: give the exchange's data directory with --data"))
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<TimelineError> for Failure {
    fn from(error: TimelineError) -> Self {
        match error {
            TimelineError::Journal(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(format!("the output cannot be written: {error}")),
        }
    }
}
