//! What sealock is to reach.

use crate::proxy::Kind;
use crate::results::Results;
use crate::scenario::{self, Figure};

/// A goal: a figure of sealock that must not be larger.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) what: &'static str,
    pub(super) limit: f64,
    figure: Figure,
    of: Of,
}

#[derive(Debug)]
enum Of {
    /// In a scenario, as a multiple of another proxy's.
    Ratio(&'static str, Kind),
    /// In a scenario, as it is.
    Value(&'static str),
    /// In all scenarios whose names start so: the largest as a multiple of the smallest.
    Spread(&'static str),
}

/// How a goal was met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) value: f64,
    pub(super) met: bool,
}

impl Goal {
    /// Nothing when it was not measured.
    pub(super) fn judge(&self, results: &Results) -> Option<Verdict> {
        let value = match self.of {
            Of::Ratio(scenario, to) => results.ratio(scenario, self.figure, Kind::Sealock, to)?.median,
            Of::Value(scenario) => results.summary(scenario, self.figure, Kind::Sealock)?.median,
            Of::Spread(prefix) => {
                let of = |name: &str| results.summary(name, self.figure, Kind::Sealock);
                // All there are: some would not show how the figure grows.
                let scenarios = scenario::all()
                    .into_iter()
                    .filter(|one| one.name.starts_with(prefix));
                let medians: Option<Vec<f64>> = scenarios.map(|one| Some(of(&one.name)?.median)).collect();
                let all = crate::measure::summary(medians?)?;
                all.max / all.min
            }
        };
        Some(Verdict {
            value,
            met: value <= self.limit,
        })
    }

    /// By how much a value is over the limit, in percent.
    pub(super) fn excess(&self, value: f64) -> f64 {
        (value / self.limit - 1.0) * 100.0
    }
}

const fn goal(what: &'static str, limit: f64, figure: Figure, of: Of) -> Goal {
    Goal {
        what,
        limit,
        figure,
        of,
    }
}

const fn to_nginx(what: &'static str, limit: f64, figure: Figure, scenario: &'static str) -> Goal {
    goal(what, limit, figure, Of::Ratio(scenario, Kind::Nginx))
}

/// All goals. Ratios are medians of the ratios of each round.
pub(super) const GOALS: &[Goal] = &[
    to_nginx("16 KiB raw, up, × nginx", 0.5, Figure::CpuPerByte, "up-raw-16k"),
    to_nginx(
        "16 KiB raw, down, × nginx",
        0.5,
        Figure::CpuPerByte,
        "down-raw-16k",
    ),
    to_nginx(
        "64 B echo, depth 32, × nginx",
        0.65,
        Figure::CpuPerMessage,
        "echo-64-d32",
    ),
    to_nginx(
        "64 B u32be, up, × nginx",
        0.45,
        Figure::CpuPerMessage,
        "up-u32be-64",
    ),
    to_nginx(
        "64 B u32be, down, × nginx",
        0.45,
        Figure::CpuPerMessage,
        "down-u32be-64",
    ),
    to_nginx(
        "200 B lines, down, × nginx",
        0.6,
        Figure::CpuPerMessage,
        "down-line-200",
    ),
    to_nginx(
        "200 B lines, up, × nginx",
        0.4,
        Figure::CpuPerMessage,
        "up-line-200",
    ),
    to_nginx(
        "64 B echo, depth 1, × nginx",
        0.9,
        Figure::CpuPerMessage,
        "echo-64-d1",
    ),
    goal(
        "64 B echo, depth 1, × the bare relay",
        1.15,
        Figure::CpuPerMessage,
        Of::Ratio("echo-64-d1", Kind::Relay),
    ),
    to_nginx(
        "handshake, upgrade and dial, × nginx",
        0.5,
        Figure::CpuPerConnection,
        "handshake-full",
    ),
    goal(
        "PSS of an idle session at 9k, B",
        6000.0,
        Figure::PssFresh,
        Of::Value("idle-9k"),
    ),
    goal(
        "its growth by a 16 KiB message, B",
        1000.0,
        Figure::PssGrowth,
        Of::Value("idle-9k"),
    ),
    goal(
        "64 MiB message up, growth of peak RSS, MiB",
        2.0,
        Figure::PeakGrowth,
        Of::Value("peak-64m-up"),
    ),
    goal(
        "64 MiB message down, the same",
        2.0,
        Figure::PeakGrowth,
        Of::Value("peak-64m-down"),
    ),
    goal(
        "64 MiB message echoed, the same",
        2.0,
        Figure::PeakGrowth,
        Of::Value("peak-64m-echo"),
    ),
    goal(
        "1 to 9,000 active sessions, largest / smallest",
        1.3,
        Figure::CpuPerMessage,
        Of::Spread("scale-"),
    ),
    goal(
        "4 KiB to 64 MiB up, largest / smallest",
        1.3,
        Figure::CpuPerByte,
        Of::Spread("sizes-up-"),
    ),
    goal(
        "4 KiB to 64 MiB down, largest / smallest",
        1.3,
        Figure::CpuPerByte,
        Of::Spread("sizes-down-"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn every_goal_is_measured() {
        let results = sample();
        for goal in GOALS {
            let verdict = goal.judge(&results);
            assert!(verdict.is_some(), "{}", goal.what);
        }
        assert!(
            GOALS
                .iter()
                .all(|goal| goal.judge(&Results::new(scenario::all())).is_none())
        );
    }

    #[test]
    fn a_goal_is_met_up_to_its_limit() {
        let results = sample();
        let at = |limit| to_nginx("", limit, Figure::CpuPerMessage, "echo-64-d1").judge(&results);
        // 1/2 and 2/3 in the two rounds.
        assert_eq!(at(0.59).map(|verdict| verdict.met), Some(true));
        assert_eq!(at(0.58).map(|verdict| verdict.met), Some(false));
        let goal = to_nginx("", 0.5, Figure::CpuPerMessage, "");
        assert!((goal.excess(0.6) - 20.0).abs() < 1e-9);
    }
}
