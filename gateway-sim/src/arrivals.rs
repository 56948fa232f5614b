//! When commands are due: an open-loop schedule that depends on the seed alone and never on how fast the
//! exchange answers. Offsets are nanoseconds from the start of the load.

use std::fmt;

use crate::random::Random;

const SECOND_NS: u64 = 1_000_000_000;

/// How commands arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ArrivalProcess {
    /// At equal distances; the gateways' schedules interleave.
    Constant,
    /// As a Poisson process: distances are exponentially distributed, so bursts occur.
    Poisson,
}

impl fmt::Display for ArrivalProcess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        })
    }
}

/// A load's timetable, from which each gateway takes its own.
#[derive(Clone, Copy, Debug)]
pub struct Timetable {
    /// How commands arrive.
    pub process: ArrivalProcess,
    /// Commands per second, all gateways together, at least 1.
    pub rate: u64,
    /// For how many seconds, at least 1.
    pub seconds: u64,
    /// How many gateways share the rate, at least 1.
    pub gateways: u32,
    /// Determines the Poisson process.
    pub seed: u64,
}

impl Timetable {
    /// How many commands fall due: exact for a constant rate, the mean for a Poisson process.
    #[must_use]
    pub const fn expected(&self) -> u64 {
        self.rate.saturating_mul(self.seconds)
    }

    /// The offsets at which gateway `gateway`, counted from 0, sends.
    ///
    /// ```
    /// use gateway_sim::arrivals::{ArrivalProcess, Timetable};
    /// let timetable = Timetable { process: ArrivalProcess::Constant, rate: 4, seconds: 1, gateways: 2, seed: 0 };
    /// assert_eq!(timetable.arrivals(0).collect::<Vec<_>>(), [0, 500_000_000]);
    /// assert_eq!(timetable.arrivals(1).collect::<Vec<_>>(), [250_000_000, 750_000_000]);
    /// ```
    #[must_use]
    pub fn arrivals(&self, gateway: u32) -> Arrivals {
        Arrivals {
            timetable: *self,
            next: u64::from(gateway),
            elapsed_ns: 0.0,
            random: Random::stream(self.seed, u64::from(gateway)),
        }
    }
}

/// One gateway's schedule: ascending offsets below the load's duration.
#[derive(Clone, Debug)]
pub struct Arrivals {
    timetable: Timetable,
    /// Constant: the next command's number among all gateways'.
    next: u64,
    /// Poisson: the last arrival.
    elapsed_ns: f64,
    random: Random,
}

impl Iterator for Arrivals {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let Timetable { process, rate, seconds, gateways, .. } = self.timetable;
        let end = seconds.saturating_mul(SECOND_NS);
        let offset = match process {
            ArrivalProcess::Constant => {
                let offset = u128::from(self.next) * u128::from(SECOND_NS) / u128::from(rate);
                self.next = self.next.saturating_add(gateways.into());
                u64::try_from(offset).unwrap_or(u64::MAX)
            }
            ArrivalProcess::Poisson => {
                let mean_ns = SECOND_NS as f64 * f64::from(gateways) / rate as f64;
                self.elapsed_ns -= mean_ns * self.random.unit().ln();
                self.elapsed_ns as u64
            }
        };
        (offset < end).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timetable(process: ArrivalProcess) -> Timetable {
        Timetable { process, rate: 100_000, seconds: 2, gateways: 3, seed: 42 }
    }

    #[test]
    fn a_constant_schedule_has_every_command_at_its_place() {
        let table = timetable(ArrivalProcess::Constant);
        let mut all: Vec<u64> = (0..3).flat_map(|gateway| table.arrivals(gateway)).collect();
        all.sort_unstable();
        let expected: Vec<u64> = (0..table.expected()).map(|number| number * 10_000).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_poisson_schedule_has_the_rate_and_the_spread_of_one() {
        let table = timetable(ArrivalProcess::Poisson);
        let arrivals: Vec<u64> = table.arrivals(1).collect();
        assert!(arrivals.is_sorted());
        assert_eq!(arrivals, table.arrivals(1).collect::<Vec<_>>(), "the seed determines it");
        assert_ne!(arrivals[..100], table.arrivals(2).take(100).collect::<Vec<_>>()[..], "gateways differ");
        let gaps: Vec<f64> = arrivals.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 30_000.0 - 1.0).abs() < 0.02, "mean gap {mean}");
        // An exponential distribution's standard deviation is its mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "deviation {}", variance.sqrt());
    }
}
