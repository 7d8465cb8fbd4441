//! A plot a group: bars with their values, and a line from the least to the largest value of the rounds.

use super::number;
use crate::measure::Summary;
use crate::proxy::Kind;
use crate::results::{Results, Row};
use crate::scenario::Group;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 100.0;
/// The longest bar; its value is written behind it.
const BAR: f64 = 540.0;
const LINE: f64 = 18.0;
const HEAD: f64 = 26.0;
const TOP: f64 = 34.0;

/// Colours that differ for most eyes, on light and on dark.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.h{font-weight:600}.t{font-size:15px;font-weight:600}\
.s{fill:#0a7d5c}.b{fill:#7fb8a4}.n{fill:#7a8aa0}.a{fill:#a58a5b}.w{fill:#b06a8c}.r{fill:#c3c8cf}.m{stroke:#1f2328;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#3fc79a}.b{fill:#2c7a60}.n{fill:#6d7d93}.a{fill:#8f7748}.w{fill:#a35f81}.r{fill:#4a5058}\
.m{stroke:#e6edf3}}";

/// File names and plots, for the groups that were measured.
pub(crate) fn plots(results: &Results) -> Vec<(String, String)> {
    Group::ALL
        .into_iter()
        .filter_map(|group| Some((format!("{}.svg", group.name()), plot(results, group)?)))
        .collect()
}

fn plot(results: &Results, group: Group) -> Option<String> {
    let rows: Vec<Bars<'_>> = results
        .rows(group)
        .map(|row| Bars::new(results, row))
        .filter(|bars| !bars.bars.is_empty())
        .collect();
    if rows.is_empty() {
        return None;
    }
    // Where the question is how a figure grows, all rows are of one scale.
    let common = matches!(group, Group::Scale | Group::Sizes);
    let largest = rows.iter().map(Bars::largest).fold(0.0, f64::max);
    let mut body = String::new();
    let mut y = TOP;
    for row in &rows {
        y = row.draw(&mut body, y, if common { largest } else { row.largest() });
    }
    let title = escape(group.title());
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>{STYLE}</style>\n<text class=\"t\" x=\"8\" y=\"20\">{title}: less is better</text>\n{body}</svg>\n",
        height = y + 8.0
    ))
}

/// The bars of a row.
struct Bars<'a> {
    row: Row<'a>,
    bars: Vec<(Kind, Summary)>,
}

impl<'a> Bars<'a> {
    fn new(results: &Results, row: Row<'a>) -> Self {
        let bar = |kind: &Kind| Some((*kind, results.summary(&row.scenario.name, row.figure, *kind)?));
        Self {
            row,
            bars: row.scenario.kinds.iter().filter_map(bar).collect(),
        }
    }

    fn largest(&self) -> f64 {
        self.bars.iter().map(|(_, bar)| bar.max).fold(0.0, f64::max)
    }

    /// Draws at `y`; returns where the next may start.
    fn draw(&self, out: &mut String, mut y: f64, largest: f64) -> f64 {
        let title = format!("{}: {}", self.row.scenario.name, self.row.figure.title());
        let at = |value: f64| {
            LEFT + if largest > 0.0 {
                (value / largest).clamp(0.0, 1.0) * BAR
            } else {
                0.0
            }
        };
        line!(
            out,
            "<text class=\"h\" x=\"8\" y=\"{:.1}\">{}</text>",
            y + 17.0,
            escape(&title)
        );
        y += HEAD;
        for (kind, bar) in &self.bars {
            let (middle, text) = (y + LINE / 2.0, y + LINE - 5.0);
            line!(
                out,
                "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>\
                 <line class=\"m\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
                LEFT - 8.0,
                kind.name(),
                class(*kind),
                y + 2.0,
                at(bar.median) - LEFT,
                LINE - 4.0,
                at(bar.min),
                at(bar.max),
                at(bar.max) + 8.0,
                number(bar.median)
            );
            y += LINE;
        }
        y
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Sealock => "s",
        Kind::Baseline => "b",
        Kind::Nginx => "n",
        Kind::Haproxy => "a",
        Kind::Websockify => "w",
        Kind::Relay => "r",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn a_plot_has_a_bar_for_every_value_and_stays_inside() {
        let results = sample();
        let plots = plots(&results);
        assert_eq!(plots.len(), Group::ALL.len());
        for ((name, svg), group) in plots.iter().zip(Group::ALL) {
            let bars: usize = results.rows(group).map(|row| row.scenario.kinds.len()).sum();
            assert_eq!(svg.matches("<rect ").count(), bars, "{name}");
            assert!(svg.contains("prefers-color-scheme:dark"), "{name}");
            for tag in ["svg", "text", "style"] {
                let opened = svg.matches(&format!("<{tag}")).count();
                assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{name} {tag}");
            }
            let ends = svg
                .split("x2=\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next());
            assert!(
                ends.map(|end| end.parse::<f64>().unwrap())
                    .all(|end| end <= LEFT + BAR),
                "{name}"
            );
        }
    }

    #[test]
    fn values_that_are_nothing_or_less_are_drawn_as_nothing() {
        let mut results = Results::new(crate::scenario::all());
        for value in [0.0, -5.0] {
            let figures = vec![(crate::scenario::Figure::PssGrowth, value)];
            let found = crate::cell::Found { figures, busy: None };
            results.add("idle-1k", Kind::Sealock, Ok(found));
        }
        let svg = plot(&results, Group::Idle).unwrap();
        assert!(svg.contains("width=\"0.0\"") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
    }
}
