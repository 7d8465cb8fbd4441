//! What is tried: every preset, and the kinds with the parameters that protocols are made of.

use std::fmt::Write as _;

use crate::config::parse_framing;
use crate::framing::{Framing, preset_names};
use crate::message::Kind;

/// Bytes before a length field, at most.
const MOST_OFFSET: usize = 12;
const WIDTHS: [usize; 5] = [1, 2, 3, 4, 8];

/// Delimiters that have no preset, as they are written in the file.
const DELIMITERS: [&str; 9] = [
    r#""\r""#,
    // Blocks of lines, with a blank line behind each.
    r#""\r\n\r\n""#,
    r#""\n\n""#,
    // ETX, EOT, RS.
    r#"{ hex = "03" }"#,
    r#"{ hex = "04" }"#,
    r#"{ hex = "1e" }"#,
    // EDIFACT and X12 end a segment with these, terminals' old protocols with a semicolon.
    r#""'""#,
    r#""~""#,
    r#"";""#,
];

/// A framing that is tried.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The value of `framing` that names it.
    pub(super) value: String,
    pub(super) framing: Framing,
    /// It has a name, which says more than its parameters.
    pub(super) is_preset: bool,
    /// Which direction of it, where the two differ.
    pub(super) direction: Option<&'static str>,
    /// Its records are text, or they are not its records.
    pub(super) is_text: bool,
    /// Its records start with a number that is not written in digits.
    pub(super) has_binary_length: bool,
}

/// All candidates, presets first. What has no records, `raw`, is none: it always fits.
pub(super) fn all() -> Vec<Candidate> {
    let mut named = Vec::new();
    for name in preset_names() {
        add(&mut named, &format!("\"{name}\""), true);
    }
    let mut others = Vec::new();
    for delimiter in DELIMITERS {
        add(
            &mut others,
            &format!("{{ kind = \"delimiter\", delimiter = {delimiter} }}"),
            false,
        );
    }
    for width in WIDTHS {
        for endian in if width == 1 {
            &["big"][..]
        } else {
            &["big", "little"]
        } {
            for offset in 0..=MOST_OFFSET {
                length_prefixes(&mut others, width, endian, offset);
            }
        }
    }
    // One that a preset names is known already.
    others.retain(|one: &Candidate| named.iter().all(|preset| preset.framing != one.framing));
    named.append(&mut others);
    named
}

/// The value of the field counts the body, the whole record, or what starts with the field itself.
fn length_prefixes(found: &mut Vec<Candidate>, width: usize, endian: &str, offset: usize) {
    let mut value = format!("{{ kind = \"length-prefix\", width = {width}");
    if endian != "big" {
        let _infallible = write!(value, ", endian = \"{endian}\"");
    }
    if offset > 0 {
        // The bytes before the field differ from record to record, for all we know: they stay in the message.
        let _infallible = write!(value, ", offset = {offset}, header = \"keep\"");
    }
    add(found, &format!("{value} }}"), false);
    add(found, &format!("{value}, includes_header = true }}"), false);
    if offset > 0 {
        add(found, &format!("{value}, adjustment = -{width} }}"), false);
    }
}

fn add(found: &mut Vec<Candidate>, value: &str, is_preset: bool) {
    // What is suggested is what was tried: both come from this text.
    let Ok(read) = parse_framing(value, "--guess") else {
        return;
    };
    let both = read.to_client == read.to_backend;
    let mut push = |framing: Framing, direction| {
        if !framing.is_raw() {
            found.push(Candidate {
                value: value.to_owned(),
                is_text: match read.kind {
                    Some(kind) => kind == Kind::Text,
                    None => !framing.announces_length(),
                },
                has_binary_length: matches!(framing, Framing::LengthPrefix(_) | Framing::Varint(_)),
                framing,
                is_preset,
                direction,
            });
        }
    };
    push(read.to_client, (!both).then_some("to_client"));
    if !both {
        push(read.to_backend, Some("to_backend"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_catalogue_is_tried_and_can_be_written() {
        let all = all();
        for name in preset_names().filter(|name| *name != "raw") {
            assert!(
                all.iter()
                    .any(|one| one.value == format!("\"{name}\"") && one.is_preset),
                "{name}"
            );
        }
        for delimiter in DELIMITERS {
            assert!(all.iter().any(|one| one.value.contains(delimiter)), "{delimiter}");
        }
        // Four fields of two orders and one of a byte: two countings without an offset, three with one; less what presets name.
        let counted = all
            .iter()
            .filter(|one| one.value.contains("length-prefix"))
            .count();
        assert!((300..=9 * (2 + 12 * 3)).contains(&counted), "{counted}");
        assert!(all.len() < 1 << 9, "the price for naming one of them is too low");
    }
}
