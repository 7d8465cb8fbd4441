//! Numbers and names for columns of a terminal, pure.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

use crate::escape::is_obeyed;

/// A text in which every character is seen, and takes one or two columns. What a terminal would obey is escaped, and so is what takes
/// no room of its own: how much such characters take together is a thing that terminals do not agree on.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) || c.width().is_none_or(|width| width == 0) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// How many columns a visible text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The beginning of a visible text, in at most so many columns; `…` stands for the rest.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut room = most.saturating_sub(1);
    let fits = |c: &char| {
        let left = room.checked_sub(c.width().unwrap_or(0));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let mut out: String = text.chars().take_while(fits).collect();
    if most > 0 {
        out.push('…');
    }
    out
}

/// A number of bytes in at most eight columns.
pub(super) fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes.max(0.0), 0);
    // What would be shown as 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Bytes in a second; a dash where that is not known.
pub(super) fn rate(bytes: Option<f64>) -> String {
    bytes.map_or_else(|| "-".into(), size)
}

/// A time in at most six columns, in its two largest units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m{:02}s", seconds % 60),
        () if days == 0 => format!("{hours}h{:02}m", minutes % 60),
        () if days < 100 => format!("{days}d{:02}h", hours % 24),
        () => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_the_columns_that_they_take() {
        for (text, most, expected) in [
            ("irc", 3, "irc"),
            ("irc", 2, "i…"),
            ("irc", 1, "…"),
            ("irc", 0, ""),
            ("", 0, ""),
            ("閘門です", 8, "閘門です"),
            ("閘門です", 7, "閘門で…"),
            ("閘門です", 6, "閘門…"),
            ("a閘門", 3, "a…"),
            ("閘門", 1, "…"),
            ("閘b", 2, "…"),
        ] {
            let cut = cut(text, most);
            assert_eq!(cut, expected, "{text:?} in {most}");
            assert!(width(&cut) <= most);
        }
    }

    #[test]
    fn what_is_not_seen_is_escaped() {
        for (text, expected) in [
            ("é 閘", "é 閘"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("\u{9b}x\n", "\\u{9b}x\\u{a}"),
            ("\u{202e}x\u{200b}\u{feff}", "\\u{202e}x\\u{200b}\\u{feff}"),
            ("e\u{301}", "e\\u{301}"),
        ] {
            assert_eq!(visible(text), expected);
            assert_eq!(width(&visible(text)), width(expected));
        }
    }

    #[test]
    fn sizes_have_three_digits_and_fit() {
        for (bytes, expected) in [
            (0.0, "0 B"),
            (-1.0, "0 B"),
            (0.4, "0 B"),
            (1023.4, "1023 B"),
            (1023.6, "1.00 KiB"),
            (1024.0, "1.00 KiB"),
            (10_230.0, "9.99 KiB"),
            (10_240.0, "10.0 KiB"),
            (102_390.0, "100 KiB"),
            (1_048_000.0, "1023 KiB"),
            (1_048_576.0, "1.00 MiB"),
            (5e15, "4547 TiB"),
        ] {
            assert_eq!(size(bytes), expected);
            assert!(expected.len() <= 8);
        }
        assert_eq!(rate(None), "-");
    }

    #[test]
    fn times_have_two_units_and_fit() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (86_399, "23h59m"),
            (86_400, "1d00h"),
            (8_639_999, "99d23h"),
            (8_640_000, "100d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
            assert!(expected.len() <= 6);
        }
    }
}
