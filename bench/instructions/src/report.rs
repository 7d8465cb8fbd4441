//! Compares the counts of now with the baseline, and says what to do.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use crate::baseline::Baseline;

/// How much more than its baseline a case may take, in percent; and how much less goes without a hint.
const ALLOWED: u64 = 3;

/// A comparison of all cases.
pub(crate) struct Report {
    rows: Vec<Row>,
    /// The tools that are not those of the baseline.
    others: Vec<String>,
}

struct Row {
    case: String,
    before: Option<u64>,
    now: Option<u64>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Shrank,
    Grew,
    /// It is not in the baseline.
    New,
    /// It is only in the baseline.
    Gone,
}

impl Verdict {
    fn of(before: Option<u64>, now: Option<u64>) -> Self {
        match (before, now) {
            (None, _) => Self::New,
            (_, None) => Self::Gone,
            (Some(before), Some(now)) if now * 100 > before * (100 + ALLOWED) => Self::Grew,
            (Some(before), Some(now)) if now * 100 < before * (100 - ALLOWED) => Self::Shrank,
            _ => Self::Same,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Shrank => "shrank",
            Self::Grew => "GREW",
            Self::New => "NOT IN THE BASELINE",
            Self::Gone => "ONLY IN THE BASELINE",
        }
    }
}

impl Report {
    pub(crate) fn new(before: &Baseline, now: &Baseline) -> Self {
        let names: BTreeSet<&String> = before.counts.keys().chain(now.counts.keys()).collect();
        let row = |case: &String| {
            let (before, now) = (before.counts.get(case).copied(), now.counts.get(case).copied());
            Row {
                case: case.clone(),
                before,
                now,
                verdict: Verdict::of(before, now),
            }
        };
        let tools = before.tools.rows().into_iter().zip(now.tools.rows());
        let others = tools.filter(|(before, now)| before != now);
        Self {
            rows: names.into_iter().map(row).collect(),
            others: others
                .map(|((tool, before), (_, now))| format!("{tool} was {before}, is {now}"))
                .collect(),
        }
    }

    /// True when the change must not go in as it is.
    pub(crate) fn failed(&self) -> bool {
        self.any(&[Verdict::Grew, Verdict::New, Verdict::Gone])
    }

    fn any(&self, verdicts: &[Verdict]) -> bool {
        self.rows.iter().any(|row| verdicts.contains(&row.verdict))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:24} {:>9} {:>9} {:>9}", "case", "baseline", "now", "change")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        let shrank = self.any(&[Verdict::Shrank]);
        if (self.failed() || shrank) && !self.others.is_empty() {
            let others = self.others.join("; ");
            writeln!(
                f,
                "The baseline was taken with other tools, which may explain it: {others}."
            )?;
        }
        if self.failed() {
            writeln!(
                f,
                "A case may grow by {ALLOWED} %, and needs its baseline. If this is meant: bench/instructions.sh --update, then commit \
                 the baseline with the change, and say why in the message."
            )?;
        } else if shrank {
            writeln!(
                f,
                "Less work: bench/instructions.sh --update keeps it so; commit the baseline with the change."
            )?;
        }
        Ok(())
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let change = self.before.zip(self.now).map_or(String::new(), |(before, now)| {
            format!("{:+.2} %", (now as f64 / before as f64 - 1.0) * 100.0)
        });
        let (before, now) = (count(self.before), count(self.now));
        let row = format!(
            "{:24} {before:>9} {now:>9} {change:>9}  {}",
            self.case,
            self.verdict.text()
        );
        f.write_str(row.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::tests::tools;

    fn baseline(rustc: &str, counts: &[(&str, u64)]) -> Baseline {
        let counts = counts.iter().map(|(case, count)| ((*case).to_owned(), *count));
        Baseline {
            tools: tools(rustc),
            counts: counts.collect(),
        }
    }

    fn report(before: &[(&str, u64)], now: &[(&str, u64)]) -> Report {
        Report::new(&baseline("1.95.0", before), &baseline("1.95.0", now))
    }

    #[test]
    fn three_percent_may_come_and_go() {
        for (now, verdict) in [
            (969, Verdict::Shrank),
            (970, Verdict::Same),
            (1000, Verdict::Same),
            (1030, Verdict::Same),
            (1031, Verdict::Grew),
        ] {
            assert_eq!(Verdict::of(Some(1000), Some(now)), verdict, "{now}");
            let failed = report(&[("a", 1000)], &[("a", now)]).failed();
            assert_eq!(failed, verdict == Verdict::Grew, "{now}");
        }
    }

    #[test]
    fn one_case_that_grew_is_enough_and_is_named() {
        let report = report(&[("a", 1000), ("b", 1000)], &[("a", 500), ("b", 1100)]);
        assert!(report.failed());
        let text = report.to_string();
        assert!(
            text.contains("\nb                             1000      1100  +10.00 %  GREW\n"),
            "{text}"
        );
        assert!(text.contains("--update"), "{text}");
    }

    #[test]
    fn a_case_without_a_baseline_fails_and_so_does_a_baseline_without_a_case() {
        for (before, now, verdict) in [
            (&[("a", 1)][..], &[("a", 1), ("b", 2)][..], "NOT IN THE BASELINE"),
            (&[("a", 1), ("b", 2)], &[("a", 1)], "ONLY IN THE BASELINE"),
        ] {
            let report = report(before, now);
            assert!(report.failed());
            assert!(report.to_string().contains(verdict), "{report}");
        }
    }

    #[test]
    fn less_work_passes_with_a_hint() {
        let report = report(&[("a", 1000)], &[("a", 900)]);
        assert!(!report.failed());
        assert!(report.to_string().contains("shrank\nLess work"), "{report}");
    }

    #[test]
    fn another_compiler_is_named_where_counts_differ() {
        for (now, told) in [(1000, false), (1100, true), (900, true)] {
            let before = baseline("1.95.0", &[("a", 1000)]);
            let report = Report::new(&before, &baseline("1.96.0", &[("a", now)])).to_string();
            assert_eq!(report.contains("rustc was 1.95.0, is 1.96.0"), told, "{report}");
        }
    }
}
