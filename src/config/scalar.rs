//! Reads single values: numbers, sizes, durations, choices and bytes, each with its range.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::Place;
use super::reader::{Item, found};
use super::suggest::{either, quote};
use crate::alike::closest;
use crate::units::{ByteSize, UnitError, parse_duration, show_duration};

/// What a deadline may be.
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

impl Item<'_> {
    /// A whole number. A string is taken only where it holds a variable: there is no other way to put one into a number.
    pub(super) fn integer(&self) -> Option<i128> {
        let unquoted = |text: &str| text.trim().parse::<i128>().ok();
        match self.value {
            DeValue::Integer(written) => i128::from_str_radix(written.as_str(), written.radix()).ok(),
            DeValue::String(raw) if raw.contains('$') => {
                let number = unquoted(&self.text("\"${NUMBER:-1}\"")?.value);
                if number.is_none() {
                    self.mismatch("a whole number", "set the variable to digits only");
                }
                number
            }
            DeValue::String(raw) => {
                let help = match unquoted(raw) {
                    Some(number) => format!("write {number}, without quotes"),
                    None => "write a whole number, without quotes and unit".to_owned(),
                };
                self.mismatch("a whole number", help);
                None
            }
            _ => {
                self.mismatch("a whole number", "write it with digits only, such as 1000");
                None
            }
        }
    }

    /// A whole number in a range.
    pub(super) fn count(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let number = self.integer()?;
        let fitting = usize::try_from(number)
            .ok()
            .filter(|number| range.contains(number));
        if fitting.is_none() {
            let help = format!("write a number from {} to {}", range.start(), range.end());
            self.wrong(
                self.out_of_range(),
                self.side(number < *range.start() as i128),
                help,
            );
        }
        fitting
    }

    /// A whole number in a range, or `"off"`. `Some(None)` is off.
    pub(super) fn count_or_off(&self, range: RangeInclusive<usize>) -> Option<Option<usize>> {
        match self.value {
            DeValue::String(raw) if raw.trim() == "off" => Some(None),
            DeValue::Boolean(false) => {
                self.wrong(
                    format!("`{}` is a number or \"off\"", self.key),
                    "this is true or false",
                    "write \"off\"",
                );
                None
            }
            _ => self.count(range).map(Some),
        }
    }

    fn out_of_range(&self) -> String {
        format!("`{}` is out of range", self.key)
    }

    fn side(&self, below: bool) -> &'static str {
        if below { "too small" } else { "too large" }
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Option<bool> {
        if let DeValue::Boolean(value) = self.value {
            return Some(*value);
        }
        self.mismatch("true or false", "write true or false, without quotes");
        None
    }

    /// A number of bytes in a range.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        if let DeValue::Integer(number) = self.value {
            let help = match number.to_string().parse() {
                Ok(bytes) => format!("write {}", quote(&ByteSize(bytes).to_string())),
                Err(_) => "write a size such as \"64 KiB\"".to_owned(),
            };
            self.wrong(format!("`{}` needs a unit", self.key), "a bare number", help);
            return None;
        }
        let text = self.text("\"64 KiB\"")?;
        let size = match ByteSize::parse(&text.value) {
            Ok(ByteSize(size)) => size,
            Err(error) => {
                let (label, help) = match text.literal().and_then(meant_size) {
                    Some(help) => ("cannot be read".to_owned(), help),
                    None => label_or_help(error, "write a size such as \"64 KiB\""),
                };
                self.wrong(format!("`{}` is not a size", self.key), label, help);
                return None;
            }
        };
        if !range.contains(&size) {
            let [least, most] =
                [range.start(), range.end()].map(|bound| quote(&ByteSize(*bound).to_string()));
            let help = format!("write a size from {least} to {most}");
            self.wrong(self.out_of_range(), self.side(size < *range.start()), help);
            return None;
        }
        Some(size)
    }

    /// A length of time in a range.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let number = match self.value {
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            _ => None,
        };
        if let Some(number) = number {
            let meant = format!("{number}s");
            let help = match parse_duration(&meant) {
                Ok(_) => format!("write {}, if seconds are meant", quote(&meant)),
                Err(_) => "write a duration such as \"30s\"".to_owned(),
            };
            self.wrong(format!("`{}` needs a unit", self.key), "a bare number", help);
            return None;
        }
        let text = self.text("\"30s\"")?;
        let duration = match parse_duration(&text.value) {
            Ok(duration) => duration,
            Err(error) => {
                let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                if let Some(number) = text.literal().map(str::trim).filter(digits) {
                    let help = format!("write \"{number}s\", if seconds are meant");
                    self.wrong(format!("`{}` needs a unit", self.key), "a bare number", help);
                } else {
                    let (label, help) = label_or_help(error, "write a duration such as \"30s\"");
                    self.wrong(format!("`{}` is not a duration", self.key), label, help);
                }
                return None;
            }
        };
        if !range.contains(&duration) {
            let [least, most] = [range.start(), range.end()].map(|bound| quote(&show_duration(*bound)));
            let help = format!("write a duration from {least} to {most}");
            let label = if duration < *range.start() {
                "too short"
            } else {
                "too long"
            };
            self.wrong(self.out_of_range(), label, help);
            return None;
        }
        Some(duration)
    }

    /// A length of time, or `"off"`. `Some(None)` is off.
    pub(super) fn duration_or_off(&self) -> Option<Option<Duration>> {
        self.duration_in_or_off(TIMEOUT)
    }

    /// The same in another range than that of deadlines.
    pub(super) fn duration_in_or_off(&self, range: RangeInclusive<Duration>) -> Option<Option<Duration>> {
        match self.value {
            DeValue::String(raw) if raw.trim() == "off" => Some(None),
            DeValue::Boolean(false) => {
                self.wrong(
                    format!("`{}` is a string", self.key),
                    "this is true or false",
                    "write \"off\"",
                );
                None
            }
            _ => self.duration(range).map(Some),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        self.choice_or(words, "")
    }

    /// One of some words; `others` names the forms that are no words, for the messages.
    pub(super) fn choice_or<T: Copy>(&self, words: &[(&'static str, T)], others: &'static str) -> Option<T> {
        let all = || words.iter().map(|(word, _)| *word);
        let forms = either(
            all()
                .map(quote)
                .chain((!others.is_empty()).then(|| others.to_owned())),
        );
        let title = format!("`{}` is {forms}", self.key);
        if !self.value.is_str() {
            self.wrong(title, found(self.value), "");
            return None;
        }
        let text = self.text(&forms)?;
        let chosen = words.iter().find(|(word, _)| *word == text.value);
        if chosen.is_none() {
            let meant = text.literal().and_then(|text| closest(text, all()));
            let help = meant.map(|meant| format!("did you mean {}?", quote(meant)));
            self.wrong(title, "something else", help.unwrap_or_default());
        }
        chosen.map(|(_, value)| *value)
    }

    /// Bytes: a text, or `{ hex = "0d0a" }`.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        const EXAMPLE: &str = "\"\\r\\n\" or { hex = \"0d0a\" }";
        if !self.value.is_table() {
            if !self.value.is_str() {
                self.mismatch(
                    "a string or { hex = … }",
                    format!("write bytes such as {EXAMPLE}"),
                );
                return None;
            }
            return Some(self.text(EXAMPLE)?.value.into_bytes());
        }
        let section = self.table(Place::Bytes)?;
        section.require("this", &[("hex", "{ hex = \"0d0a\" }")]);
        let hex = section.get("hex")?;
        let bytes = from_hex(&hex.text("\"0d0a\"")?.value);
        if bytes.is_none() {
            let help = "write two digits from 0-9 and a-f for each byte, such as \"0d0a\" or \"0d 0a\"";
            hex.wrong("`hex` is not hexadecimal", "cannot be read", help);
        }
        bytes
    }
}

/// A short error stands beside the value, a long one below it.
fn label_or_help(error: UnitError, usual: &str) -> (String, String) {
    if error.0.len() < 40 {
        (error.0, usual.to_owned())
    } else {
        ("cannot be read".to_owned(), error.0)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits?;
    let (pairs, odd) = digits.as_chunks::<2>();
    odd.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// What a size with an ambiguous or misspelt unit can be meant to be.
fn meant_size(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    if digits.contains('.') {
        return Some("write a whole number, of a smaller unit if need be: \"1536 KiB\"".to_owned());
    }
    let number: u64 = digits.parse().ok()?;
    let unit = text[digits.len()..].trim();
    let units = match unit.to_ascii_lowercase().as_str() {
        "" | "byte" | "bytes" => return Some(format!("write {}", quote(&format!("{number} B")))),
        "k" | "kb" | "kib" => ["KiB", "kB"],
        "m" | "mb" | "mib" => ["MiB", "MB"],
        "g" | "gb" | "gib" => ["GiB", "GB"],
        "t" | "tb" | "tib" => ["TiB", "TB"],
        _ => return None,
    };
    if units.contains(&unit) {
        // The unit is right, so the number is what is wrong.
        return None;
    }
    let [binary, decimal] = units.map(|unit| quote(&format!("{number} {unit}")));
    Some(format!(
        "write {binary} (counted in 1024s) or {decimal} (in 1000s)"
    ))
}
