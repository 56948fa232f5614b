//! Which stages share a worker.

use std::{fmt, str::FromStr};

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageName {
    /// Gives each command its sequence and its time.
    Sequencer,
    /// Makes commands durable.
    Journaler,
    /// Decides what commands may do to balances.
    Risk,
    /// Matches orders.
    Matcher,
    /// Releases events whose command is durable.
    Publisher,
}

impl StageName {
    /// All stages, in the order in which a command meets them.
    pub const ALL: [Self; 5] = [Self::Sequencer, Self::Journaler, Self::Risk, Self::Matcher, Self::Publisher];

    const fn name(self) -> &'static str {
        match self {
            Self::Sequencer => "sequencer",
            Self::Journaler => "journaler",
            Self::Risk => "risk",
            Self::Matcher => "matcher",
            Self::Publisher => "publisher",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Which stages run on which worker. Every topology gives the same output.
///
/// Written as workers divided by `/`, each a list of stages joined by `+`, or as one of these names:
///
/// | name | workers |
/// |---|---|
/// | `single` | all stages on one |
/// | `fused` | the journaler, and all others: the default below six cores |
/// | `split` | the journaler; sequencer + risk; matcher + publisher |
/// | `full` | one for each stage: the default from six cores on |
/// | `auto` | what the number of cores suggests |
///
/// Risk and matcher on the same worker are fused: they settle by direct call.
///
/// ```
/// use engine::pipeline::Topology;
/// let topology: Topology = "fused".parse()?;
/// assert_eq!(topology.to_string(), "journaler/sequencer+risk+matcher+publisher");
/// assert_eq!(topology.workers(), 2);
/// # Ok::<(), engine::pipeline::TopologyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    workers: Vec<Vec<StageName>>,
}

/// Why a text is not a topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// A stage that does not exist.
    #[error(
        "{0:?} is no stage; they are sequencer, journaler, risk, matcher, publisher, joined by + on one worker and divided by / between workers; or name one of single, fused, split, full, auto"
    )]
    UnknownStage(String),
    /// A stage that is on two workers.
    #[error("the {0} appears twice")]
    Repeated(StageName),
    /// A stage that is on no worker.
    #[error("the {0} is missing")]
    Missing(StageName),
}

impl Topology {
    /// What suits a machine with this many cores.
    #[must_use]
    pub fn for_cores(cores: usize) -> Self {
        let name = match cores {
            0 | 1 => "single",
            2..6 => "fused",
            _ => "full",
        };
        name.parse().expect("a name of a topology")
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The stages of each worker.
    #[must_use]
    pub fn stages(&self) -> &[Vec<StageName>] {
        &self.workers
    }

    /// Whether risk and matcher share a worker.
    #[must_use]
    pub fn is_fused(&self) -> bool {
        self.worker_of(StageName::Risk) == self.worker_of(StageName::Matcher)
    }

    /// The number of the worker that runs a stage.
    pub(super) fn worker_of(&self, stage: StageName) -> usize {
        self.workers.iter().position(|stages| stages.contains(&stage)).expect("every stage is on a worker")
    }
}

impl FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, TopologyError> {
        let text = match text {
            "auto" => return Ok(Self::for_cores(super::available_cores())),
            "single" => "sequencer+journaler+risk+matcher+publisher",
            "fused" => "journaler/sequencer+risk+matcher+publisher",
            "split" => "journaler/sequencer+risk/matcher+publisher",
            "full" => "sequencer/journaler/risk/matcher/publisher",
            other => other,
        };
        let stage = |name: &str| {
            let found = StageName::ALL.into_iter().find(|stage| stage.name() == name.trim());
            found.ok_or_else(|| TopologyError::UnknownStage(name.trim().to_owned()))
        };
        let worker = |stages: &str| stages.split('+').map(stage).collect::<Result<Vec<_>, _>>();
        let workers = text.split('/').map(worker).collect::<Result<Vec<_>, _>>()?;
        for stage in StageName::ALL {
            match workers.iter().flatten().filter(|&&placed| placed == stage).count() {
                0 => return Err(TopologyError::Missing(stage)),
                1 => {}
                _ => return Err(TopologyError::Repeated(stage)),
            }
        }
        Ok(Self { workers })
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, stages) in self.workers.iter().enumerate() {
            if number > 0 {
                formatter.write_str("/")?;
            }
            for (index, stage) in stages.iter().enumerate() {
                if index > 0 {
                    formatter.write_str("+")?;
                }
                stage.fmt(formatter)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_are_understood() {
        for name in ["single", "fused", "split", "full", "auto"] {
            let topology: Topology = name.parse().unwrap();
            assert_eq!(topology.to_string().parse(), Ok(topology));
        }
        let own: Topology = "matcher+risk / publisher + journaler/sequencer".parse().unwrap();
        assert_eq!(own.to_string(), "matcher+risk/publisher+journaler/sequencer");
        assert!(own.is_fused());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let parse = |text: &str| text.parse::<Topology>();
        assert_eq!(parse("fast"), Err(TopologyError::UnknownStage("fast".to_owned())));
        assert_eq!(parse("sequencer+journaler+risk+matcher"), Err(TopologyError::Missing(StageName::Publisher)));
        let twice = "sequencer+journaler+risk+matcher+publisher/risk";
        assert_eq!(parse(twice), Err(TopologyError::Repeated(StageName::Risk)));
        assert!(parse("").is_err());
        assert!(parse("sequencer//risk").is_err());
    }
}
