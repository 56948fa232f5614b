//! From what a user calls a moment to a place in the journal, and to the state there.

use std::path::Path;

use engine::{
    command::SequencedCommand,
    exchange::Exchange,
    journal::{Epoch, FileStorage, JournalReader},
    recovery::{Moment, Replay, Step, Timeline, TimelineError},
    types::{Sequence, Timestamp},
};

use crate::{failure::Failure, progress::Progress};

/// A state, and the replay that led to it and can go on.
pub struct At {
    /// The replay, standing at the moment.
    pub replay: Replay,
    /// The time of its last command; unknown when none was replayed.
    pub time: Option<Timestamp>,
}

impl At {
    /// The state.
    pub const fn exchange(&self) -> &Exchange {
        self.replay.exchange()
    }

    /// The sequence that the state comes after.
    pub const fn sequence(&self) -> Sequence {
        self.replay.exchange().last_sequence()
    }

    /// Goes on to a later moment.
    pub fn run_to(&mut self, target: Target) -> Result<(), Failure> {
        let mut progress = Progress::start("replaying", target.total());
        while !target.is_reached(self.sequence()) {
            let Some(time) = self.replay.peek()?.map(|command| command.time) else {
                return target.at_the_end(self.sequence());
            };
            self.replay.skip()?;
            self.time = Some(time);
            progress.step();
        }
        Ok(())
    }

    /// Goes on to a later moment, and shows `each` step with its events.
    pub fn follow_to(&mut self, target: Target, each: impl FnMut(&Step<'_>)) -> Result<(), Failure> {
        self.follow_with(target, |_, _| (), each)
    }

    /// As [`follow_to`](Self::follow_to), and shows each command `before` it happens, with the state it comes to.
    pub fn follow_with(
        &mut self,
        target: Target,
        mut before: impl FnMut(&Exchange, &SequencedCommand),
        mut each: impl FnMut(&Step<'_>),
    ) -> Result<(), Failure> {
        let mut progress = Progress::start("replaying", target.total());
        while !target.is_reached(self.sequence()) {
            if let Some(command) = self.replay.peek()?.copied() {
                before(self.exchange(), &command);
            }
            let Some(step) = self.replay.next()? else {
                return target.at_the_end(self.sequence());
            };
            self.time = Some(step.command.time);
            each(&step);
            progress.step();
        }
        Ok(())
    }
}

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// After the command at this sequence, which must be there.
    After(Sequence),
    /// After the last command there is.
    End,
}

impl Target {
    /// Whether a replay that stands after `sequence` has come far enough.
    pub fn is_reached(self, sequence: Sequence) -> bool {
        matches!(self, Self::After(target) if sequence >= target)
    }

    const fn total(self) -> Option<u64> {
        match self {
            Self::After(sequence) => Some(sequence.0),
            Self::End => None,
        }
    }

    /// Whether a replay may end after `last`, where the journal does.
    fn at_the_end(self, last: Sequence) -> Result<(), Failure> {
        match self {
            Self::After(asked) => Err(TimelineError::Future { asked, last }.into()),
            Self::End => Ok(()),
        }
    }
}

/// The state at a moment.
pub fn at(timeline: &Timeline, moment: Moment) -> Result<At, Failure> {
    let target = target(timeline.directory(), moment)?;
    at_target(timeline, target)
}

/// The state at a place.
pub fn at_target(timeline: &Timeline, target: Target) -> Result<At, Failure> {
    let latest = match target {
        Target::After(sequence) => sequence,
        Target::End => Sequence(u64::MAX),
    };
    let mut at = At { replay: timeline.replay_from(latest)?, time: None };
    at.run_to(target)?;
    Ok(at)
}

/// The place of the last command that a moment includes.
pub fn target(directory: &Path, moment: Moment) -> Result<Target, Failure> {
    Ok(match moment {
        Moment::Sequence(sequence) => Target::After(sequence),
        Moment::InEpoch(epoch, sequence) => Target::After(in_epoch(directory, epoch, sequence)?),
        Moment::Time(time) => Target::After(count_while(directory, |at| at <= time)?),
        Moment::Now => Target::End,
    })
}

/// The place before the first command that a range from this moment includes.
pub fn before(directory: &Path, moment: Option<Moment>) -> Result<Target, Failure> {
    let previous = |sequence: Sequence| Target::After(Sequence(sequence.0.saturating_sub(1)));
    Ok(match moment {
        None => Target::After(Sequence(0)),
        Some(Moment::Sequence(sequence)) => previous(sequence),
        Some(Moment::InEpoch(epoch, sequence)) => previous(in_epoch(directory, epoch, sequence)?),
        Some(Moment::Time(time)) => Target::After(count_while(directory, |at| at < time)?),
        Some(Moment::Now) => Target::End,
    })
}

/// The place of the last command that a range to this moment includes; one that has not come yet is the end.
pub fn last(directory: &Path, moment: Option<Moment>) -> Result<Target, Failure> {
    moment.map_or(Ok(Target::End), |moment| target(directory, moment))
}

fn in_epoch(directory: &Path, epoch: Epoch, sequence: Sequence) -> Result<Sequence, Failure> {
    Ok(Timeline::of(FileStorage::read_only(directory)).in_epoch(epoch, sequence)?)
}

/// The last sequence whose time is early enough: times never decrease, so the journal is read and not applied.
fn count_while(directory: &Path, early: impl Fn(Timestamp) -> bool) -> Result<Sequence, Failure> {
    let mut sequence = Sequence(0);
    let mut progress = Progress::start("looking for the time", crate::progress::estimate(directory));
    for command in JournalReader::open_directory(directory)? {
        let command = command?;
        if !early(command.time) {
            break;
        }
        sequence = command.sequence;
        progress.step();
    }
    Ok(sequence)
}
