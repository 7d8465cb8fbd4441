//! All that was found, round by round.

use std::collections::BTreeMap;

use crate::cell::Found;
use crate::measure::{Summary, ratios, summary};
use crate::proxy::Kind;
use crate::scenario::{Figure, Group, Scenario};

/// The figures of a run.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) scenarios: Vec<Scenario>,
    /// Of each scenario, proxy and round.
    found: BTreeMap<(String, Kind), Vec<Option<Found>>>,
    /// What did not work: scenario, proxy, why.
    pub(crate) failures: Vec<(String, Kind, String)>,
}

/// A line of a table: one figure of one scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) figure: Figure,
}

impl Results {
    pub(crate) fn new(scenarios: Vec<Scenario>) -> Self {
        Self {
            scenarios,
            found: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Adds what a round found. Rounds come in order.
    pub(crate) fn add(&mut self, scenario: &str, kind: Kind, found: crate::Result<Found>) {
        let rounds = self.found.entry((scenario.to_owned(), kind)).or_default();
        match found {
            Ok(found) => rounds.push(Some(found)),
            Err(error) => {
                rounds.push(None);
                self.failures.push((scenario.to_owned(), kind, error.to_string()));
            }
        }
    }

    /// The rows to show of a group.
    pub(crate) fn rows(&self, group: Group) -> impl Iterator<Item = Row<'_>> {
        self.scenarios
            .iter()
            .filter(move |scenario| scenario.group == group)
            .flat_map(|scenario| {
                scenario.shows.iter().map(move |figure| Row {
                    scenario,
                    figure: *figure,
                })
            })
    }

    /// The values of a figure, round by round.
    pub(crate) fn values(&self, scenario: &str, figure: Figure, kind: Kind) -> Vec<Option<f64>> {
        let rounds = self.found.get(&(scenario.to_owned(), kind));
        let value = |found: &Found| {
            let of_it = found.figures.iter().find(|(one, _)| *one == figure);
            of_it.map(|(_, value)| *value)
        };
        rounds
            .into_iter()
            .flatten()
            .map(|found| found.as_ref().and_then(value))
            .collect()
    }

    /// A figure over the rounds.
    pub(crate) fn summary(&self, scenario: &str, figure: Figure, kind: Kind) -> Option<Summary> {
        summary(self.values(scenario, figure, kind).into_iter().flatten())
    }

    /// What a figure of one proxy is to that of another, over the rounds.
    pub(crate) fn ratio(&self, scenario: &str, figure: Figure, kind: Kind, to: Kind) -> Option<Summary> {
        ratios(
            &self.values(scenario, figure, kind),
            &self.values(scenario, figure, to),
        )
    }

    /// How busy proxy and generator were, as medians.
    pub(crate) fn busy(&self, scenario: &str, kind: Kind) -> Option<(f64, f64)> {
        let rounds = self.found.get(&(scenario.to_owned(), kind))?;
        let all = || rounds.iter().flatten().filter_map(|found| found.busy);
        let (proxy, own) = (
            summary(all().map(|busy| busy.0))?,
            summary(all().map(|busy| busy.1))?,
        );
        Some((proxy.median, own.median))
    }

    /// Every figure that there is: scenario, proxy, figure.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&str, Kind, Figure)> {
        self.found.iter().flat_map(|((scenario, kind), rounds)| {
            let first = rounds.iter().flatten().next();
            let figures = first.into_iter().flat_map(|found| &found.figures);
            figures.map(move |(figure, _)| (scenario.as_str(), *kind, *figure))
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::scenario;

    /// A run of two rounds that has figures for every scenario: sealock's are half of the others'.
    pub(crate) fn sample() -> Results {
        let mut results = Results::new(scenario::all());
        for scenario in scenario::all() {
            for kind in scenario.kinds {
                for round in 0..2 {
                    let value = if *kind == Kind::Sealock { 1.0 } else { 2.0 } + f64::from(round);
                    let figures = scenario.shows.iter().map(|figure| (*figure, value)).collect();
                    let busy = Some((1.0, 0.5));
                    results.add(&scenario.name, *kind, Ok(Found { figures, busy }));
                }
            }
        }
        results
    }

    #[test]
    fn a_failed_round_leaves_a_gap() {
        let mut results = sample();
        results.add("echo-64-d1", Kind::Sealock, Err("it broke".into()));
        let values = results.values("echo-64-d1", Figure::CpuPerMessage, Kind::Sealock);
        assert_eq!(values, [Some(1.0), Some(2.0), None]);
        assert_eq!(results.failures.len(), 1);
        let ratio = results.ratio("echo-64-d1", Figure::CpuPerMessage, Kind::Sealock, Kind::Nginx);
        assert_eq!(ratio.map(|ratio| (ratio.min, ratio.max)), Some((0.5, 2.0 / 3.0)));
        assert_eq!(results.busy("echo-64-d1", Kind::Sealock), Some((1.0, 0.5)));
    }
}
