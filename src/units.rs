//! Sizes and durations as people write them: always with a unit.

use std::fmt;
use std::time::Duration;

/// A number of bytes that prints in the largest unit that divides it, such as `64 KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Why a size or duration cannot be read, said to the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub String);

impl ByteSize {
    /// Reads `"64 KiB"`, `"1MiB"`, `"512 B"`, `"10 MB"`. `KiB`, `MiB`, `GiB`, `TiB` count in 1024s, `kB`, `MB`, `GB`, `TB` in 1000s.
    /// A bare number and the ambiguous `k`, `K`, `M`, `G` are refused.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        if number.is_empty() {
            return Err(UnitError(
                "expected a whole number with a unit, such as \"64 KiB\"".into(),
            ));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let why = if unit.is_empty() {
                "the unit is missing"
            } else {
                "this is not a unit of size"
            };
            return Err(UnitError(format!(
                "{why}: use B, KiB, MiB, GiB (1024) or kB, MB, GB (1000)"
            )));
        };
        let size = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor));
        size.map(Self)
            .ok_or_else(|| UnitError("this size is too large".into()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0.is_multiple_of(*factor) && self.0 >= *factor;
        let (name, factor) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{} {name}", self.0 / factor)
    }
}

/// Reads `"30s"`, `"500ms"`, `"1m30s"`, `"2 hours"`: anything that jiff's friendly format reads, from 0 to a year.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(UnitError(
            "the unit is missing: write \"30s\", \"500ms\", \"5m\" or \"1h\"".into(),
        ));
    }
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| UnitError("expected a duration such as \"30s\", \"500ms\", \"5m\" or \"1h\"".into()))?;
    let duration =
        Duration::try_from(parsed).map_err(|_| UnitError("a duration cannot be negative".into()))?;
    if duration > Duration::from_hours(24 * 366) {
        return Err(UnitError("a duration is at most a year".into()));
    }
    Ok(duration)
}

/// Prints a duration as it could be written in the configuration, such as `1m 30s`.
pub fn show_duration(duration: Duration) -> String {
    jiff::SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |signed| format!("{signed:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0 B", 0),
            ("1B", 1),
            ("64 KiB", 65_536),
            (" 1MiB ", 1 << 20),
            ("1 GiB", 1 << 30),
            ("10 MB", 10_000_000),
            ("3 kB", 3000),
        ] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
        for text in [
            "",
            "1",
            "KiB",
            "1 k",
            "1K",
            "1 M",
            "64 kib",
            "-1 B",
            "1.5 MiB",
            "1 MiB extra",
            "99999999999 TiB",
        ] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_their_largest_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (1024, "1 KiB"),
            (1 << 20, "1 MiB"),
            (1000, "1 kB"),
            (1025, "1025 B"),
            (1536, "1536 B"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("0s", 0),
            ("2 hours", 7_200_000),
            (" 5m ", 300_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "1.5", "s", "-5s", "10 parsecs", "3000000h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_duration(&show_duration(Duration::from_secs(90))),
            Ok(Duration::from_secs(90))
        );
    }
}
