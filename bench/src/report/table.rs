//! The table of the terminal.

use super::goals::{GOALS, Verdict};
use super::{number, spread};
use crate::measure::Summary;
use crate::proxy::Kind;
use crate::results::{Results, Row};
use crate::scenario::Group;

/// All that is shown, then what of the goals was met; 100 columns at most.
pub(crate) fn table(results: &Results) -> String {
    let mut out = String::new();
    let to = reference(results);
    for group in Group::ALL {
        let mut rows = results.rows(group).peekable();
        if rows.peek().is_some() {
            let title = group.title();
            line!(
                out,
                "\n{title:<32}{:>9} {:>9} {:>9}   {:<23} {:>5} {:>5}",
                "median",
                "min",
                "max",
                format!("× {}", to.name()),
                "proxy",
                "load"
            );
        }
        rows.for_each(|row| lines(&mut out, results, row, to));
    }
    goals(&mut out, results);
    for (scenario, kind, error) in &results.failures {
        line!(out, "\nFAILED {scenario}, {}: {error}", kind.name());
    }
    out
}

/// What the others are compared with: a baseline where there is one.
fn reference(results: &Results) -> Kind {
    let any = results.figures().any(|(_, kind, _)| kind == Kind::Baseline);
    if any { Kind::Baseline } else { Kind::Nginx }
}

fn lines(out: &mut String, results: &Results, row: Row<'_>, to: Kind) {
    let name = &row.scenario.name;
    line!(out, "  {name}: {}", row.figure.title());
    for kind in row.scenario.kinds {
        let Some(Summary { median, min, max }) = results.summary(name, row.figure, *kind) else {
            continue;
        };
        let ratio = results.ratio(name, row.figure, *kind, to);
        let ratio = ratio.filter(|_| *kind != to).map_or_else(String::new, spread);
        let busy = results
            .busy(name, *kind)
            .map_or_else(String::new, |(proxy, own)| {
                format!("{:>4.0}% {:>4.0}%", proxy * 100.0, own * 100.0)
            });
        let line = format!(
            "    {:<28}{:>9} {:>9} {:>9}   {ratio:<23} {busy}",
            kind.name(),
            number(median),
            number(min),
            number(max)
        );
        line!(out, "{}", line.trim_end());
    }
}

fn goals(out: &mut String, results: &Results) {
    let judged: Vec<_> = GOALS
        .iter()
        .filter_map(|goal| Some((goal, goal.judge(results)?)))
        .collect();
    if judged.is_empty() {
        return;
    }
    line!(out, "\n{:<52}{:>10} {:>12}", "Target", "at most", "measured");
    for (goal, Verdict { value, met }) in judged {
        let met = if met {
            "met".to_owned()
        } else {
            format!("missed by {:.0} %", goal.excess(value))
        };
        let line = format!(
            "  {:<50}{:>10} {:>12}   {met}",
            goal.what,
            number(goal.limit),
            number(value)
        );
        line!(out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn the_table_has_every_row_and_fits() {
        let results = sample();
        let text = table(&results);
        for scenario in &results.scenarios {
            assert!(
                text.contains(&format!("  {}: ", scenario.name)),
                "{}",
                scenario.name
            );
        }
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 100), "{widest:?}\n{text}");
    }
}
