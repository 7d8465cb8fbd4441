//! What people and programs read in the end.

/// Appends a line to a text.
macro_rules! line {
    ($out:expr, $($what:tt)*) => {{
        $out.push_str(&format!($($what)*));
        $out.push('\n');
    }};
}

mod goals;
mod json;
mod page;
mod plot;
mod table;

pub(crate) use json::json;
pub(crate) use page::page;
pub(crate) use plot::plots;
pub(crate) use table::table;

use crate::measure::{Machine, Summary};
use crate::proxy::Kind;

/// The folder of the plots, beside the page.
pub(crate) const PLOTS: &str = "performance";

/// What a reader must know of a run to judge it.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) machine: Machine,
    /// Of those that are installed.
    pub(crate) versions: Vec<(Kind, Option<String>)>,
    pub(crate) commit: Option<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) idle_seconds: f64,
    pub(crate) minutes: f64,
    /// The arguments of this run.
    pub(crate) command: String,
}

/// Three digits that count, with separators where there are many before the point.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 0.0995 => 4,
        small if small < 0.995 => 3,
        small if small < 9.95 => 2,
        small if small < 99.5 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    if digits > 0 || text.len() < 5 {
        return text;
    }
    let mut grouped = String::new();
    for (at, digit) in text.chars().enumerate() {
        let left = text.len() - at;
        if at > 0 && left % 3 == 0 && grouped != "-" {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `0.81 (0.79–0.84)`.
fn spread(summary: Summary) -> String {
    if summary.min == summary.max {
        return number(summary.median);
    }
    format!(
        "{} ({}–{})",
        number(summary.median),
        number(summary.min),
        number(summary.max)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.02841, "0.0284"),
            (0.5, "0.500"),
            (0.999, "1.00"),
            (9.814, "9.81"),
            (12.34, "12.3"),
            (123.4, "123"),
            (6356.2, "6356"),
            (37_305.0, "37,305"),
            (-123_456.0, "-123,456"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
