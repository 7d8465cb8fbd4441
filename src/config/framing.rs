//! Reads `framing`: the name of a preset, a kind with parameters, or one of these for each direction.

use toml::de::DeValue;

use super::diagnostic::{Basis, Diagnostic};
use super::keys::Place;
use super::reader::{Item, Section};
use super::suggest::{closest, quote};
use crate::framing::{
    Delimiter, DelimiterError, Endian, Framing, Header, LengthPrefix, LengthPrefixError, preset, preset_names,
};
use crate::message::Kind;

const KINDS: &[&str] = &["raw", "delimiter", "length-prefix"];

/// The framing of one direction.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) framing: Framing,
    /// What its records are, where the framing is a preset and says so.
    pub(super) kind: Option<Kind>,
}

/// The framings of both directions.
#[derive(Clone)]
pub(super) struct Framings {
    pub(super) to_backend: Written,
    pub(super) to_client: Written,
}

/// Reads the value of `framing`.
pub(super) fn read(item: &Item<'_>) -> Option<Framings> {
    let is_pair = matches!(item.value, DeValue::Table(table)
        if table.iter().any(|(key, _)| Place::FramingPair.keys().any(|known| known == key.get_ref())));
    if !is_pair {
        let both = one(item)?;
        return Some(Framings {
            to_backend: both.clone(),
            to_client: both,
        });
    }
    let section = item.table(Place::FramingPair)?;
    section.require(
        "a framing for each direction",
        &[
            ("to_backend", "to_backend = \"lines\""),
            ("to_client", "to_client = \"lines\""),
        ],
    );
    let to_backend = section.get("to_backend").and_then(|item| one(&item));
    let to_client = section.get("to_client").and_then(|item| one(&item));
    Some(Framings {
        to_backend: to_backend?,
        to_client: to_client?,
    })
}

fn one(item: &Item<'_>) -> Option<Written> {
    let DeValue::Table(table) = item.value else {
        return named(item);
    };
    let has = |name: &str| table.iter().any(|(key, _)| key.get_ref() == name);
    if has("preset") {
        return named(&item.table(Place::Preset)?.get("preset")?);
    }
    let Some((_, kind)) = table.iter().find(|(key, _)| key.get_ref() == "kind") else {
        let guess = if has("delimiter") {
            "delimiter"
        } else if has("width") {
            "length-prefix"
        } else {
            "raw"
        };
        let problem = Diagnostic::error("a framing needs `kind`")
            .at(item.span.start..item.span.start + 1, "missing here")
            .help(format!(
                "add kind = {}, or name a preset: framing = \"lines\"",
                quote(guess)
            ));
        item.report(problem);
        return None;
    };
    let framing = match kind_of(&item.element(kind))? {
        "delimiter" => delimiter(&item.table(Place::Delimiter)?).map(Framing::Delimiter),
        "length-prefix" => length_prefix(&item.table(Place::LengthPrefix)?).map(Framing::LengthPrefix),
        _ => item.table(Place::Raw).map(|_| Framing::Raw),
    };
    Some(Written {
        framing: framing?,
        kind: None,
    })
}

fn kind_of(item: &Item<'_>) -> Option<&'static str> {
    let text = item.text("\"raw\"")?;
    let known = KINDS.iter().find(|kind| **kind == text.value);
    if known.is_none() {
        let help = match text.literal() {
            Some(name) if preset(name).is_some() => {
                format!("this is a preset: write framing = {}", quote(name))
            }
            Some(name) => match closest(name, KINDS.iter().copied()) {
                Some(meant) => format!("did you mean {}?", quote(meant)),
                None => format!("the kinds are {}", KINDS.join(", ")),
            },
            None => format!("the kinds are {}", KINDS.join(", ")),
        };
        item.wrong("there is no such kind of framing", "unknown kind", help);
    }
    known.copied()
}

fn named(item: &Item<'_>) -> Option<Written> {
    if !item.value.is_str() {
        item.mismatch(
            "a preset's name or a table",
            "write framing = \"lines\", or framing = { kind = \"delimiter\", delimiter = \"\\n\" }",
        );
        return None;
    }
    let text = item.text("\"lines\"")?;
    let found = preset(&text.value);
    if found.is_none() {
        let names: Vec<&str> = preset_names().collect();
        let all = format!("the presets are {}", names.join(", "));
        let help = match text.literal() {
            Some("delimiter") => {
                "with parameters: framing = { kind = \"delimiter\", delimiter = \"\\n\" }".to_owned()
            }
            Some("length-prefix") => {
                "with parameters: framing = { kind = \"length-prefix\", width = 2 }".to_owned()
            }
            Some(name) => match closest(name, preset_names()) {
                Some(meant) => format!("did you mean {}?", quote(meant)),
                None => all,
            },
            None => all,
        };
        item.wrong("there is no such preset", "unknown name", help);
    }
    found.map(|preset| Written {
        framing: preset.framing,
        kind: Some(preset.kind),
    })
}

fn delimiter(section: &Section<'_>) -> Option<Delimiter> {
    section.require("a delimiter framing", &[("delimiter", "delimiter = \"\\n\"")]);
    let keep = section.get("keep").map_or(Some(false), |item| item.boolean());
    let item = section.get("delimiter")?;
    let elements = match item.value {
        DeValue::Array(_) => item.list("[\"\\r\\n\", \"\\n\"]")?,
        _ => vec![item.clone()],
    };
    let listed = item.each(&elements, |one| {
        warn_of_backslash(one);
        one.bytes()
    })?;
    let bytes: Vec<Vec<u8>> = listed.into_iter().map(|(_, bytes)| bytes).collect();
    let keep = keep?;
    match Delimiter::new(&bytes, keep) {
        Ok(rule) => Some(rule),
        Err(error) => {
            delimiter_error(&item, &elements, &bytes, error);
            None
        }
    }
}

/// In single quotes a backslash is a backslash.
fn warn_of_backslash(item: &Item<'_>) {
    let written = item.reader.source.get(item.span.clone()).unwrap_or_default();
    if let Some(inside) = written
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        && inside.contains('\\')
    {
        let problem = Diagnostic::warning("in single quotes a backslash is a backslash")
            .at(item.span.clone(), "taken as it stands")
            .help(format!("if it is to start an escape, write \"{inside}\""));
        item.report(problem.basis(Basis::Value));
    }
}

fn delimiter_error(item: &Item<'_>, elements: &[Item<'_>], bytes: &[Vec<u8>], error: DelimiterError) {
    let problem = |element: &Item<'_>, label: &str, help: &str| element.wrong(error.to_string(), label, help);
    match error {
        DelimiterError::None => problem(item, "an empty list", "write delimiter = \"\\n\""),
        DelimiterError::TooMany => problem(item, "too many", "list those that the backend really sends"),
        DelimiterError::Length => {
            for (element, bytes) in elements.iter().zip(bytes) {
                if Delimiter::new(std::slice::from_ref(bytes), false).is_err() {
                    let label = if bytes.is_empty() {
                        "empty".to_owned()
                    } else {
                        format!("{} bytes", bytes.len())
                    };
                    problem(
                        element,
                        &label,
                        "write what stands between two records, such as \"\\r\\n\"",
                    );
                }
            }
        }
        DelimiterError::Ambiguous => {
            if let [written, ..] = elements {
                problem(written, "written behind each record", "put the longer one first");
            }
        }
        DelimiterError::Replacement => problem(item, "", "replace with other bytes"),
    }
}

fn length_prefix(section: &Section<'_>) -> Option<LengthPrefix> {
    section.require("a length-prefix framing", &[("width", "width = 2")]);
    // What does not fit its type is out of range for `check` too.
    let bytes = |key| {
        let item = section.get(key)?;
        Some(
            item.integer()
                .map(|number| usize::try_from(number).unwrap_or(usize::MAX)),
        )
    };
    let width = bytes("width");
    let offset = bytes("offset").unwrap_or(Some(0));
    let adjustment = section.get("adjustment").map_or(Some(0), |item| {
        item.integer()
            .map(|number| i64::try_from(number).unwrap_or(i64::MAX))
    });
    let includes_header = section
        .get("includes_header")
        .map_or(Some(false), |item| item.boolean());
    let endian = section.get("endian").map_or(Some(Endian::Big), |item| {
        item.choice(&[("big", Endian::Big), ("little", Endian::Little)])
    });
    let header = section.get("header").map_or(Some(Header::Strip), |item| {
        item.choice(&[("strip", Header::Strip), ("keep", Header::Keep)])
    });
    let template = section.get("template").map_or(Some(Vec::new()), |item| {
        warn_of_backslash(&item);
        item.bytes()
    });
    let rule = LengthPrefix {
        width: width??,
        endian: endian?,
        offset: offset?,
        adjustment: adjustment?,
        includes_header: includes_header?,
        header: header?,
        template: template?.into(),
    };
    let errors = rule.check();
    for error in &errors {
        length_prefix_error(section, &rule, *error, &errors);
    }
    errors.is_empty().then_some(rule)
}

fn length_prefix_error(
    section: &Section<'_>,
    rule: &LengthPrefix,
    error: LengthPrefixError,
    errors: &[LengthPrefixError],
) {
    let (key, label, help) = match error {
        // A bad offset is told; no template can fit it.
        LengthPrefixError::Template | LengthPrefixError::TemplateMissing
            if errors.contains(&LengthPrefixError::Offset) =>
        {
            return;
        }
        LengthPrefixError::Width => (
            "width",
            "out of range".to_owned(),
            "write a number from 1 to 8".to_owned(),
        ),
        LengthPrefixError::Offset => (
            "offset",
            "out of range".to_owned(),
            "write a number from 0 to 255".to_owned(),
        ),
        LengthPrefixError::Adjustment => (
            "adjustment",
            "out of range".to_owned(),
            "write what is added to the value of the length field to get the length of the body".to_owned(),
        ),
        LengthPrefixError::Template => (
            "template",
            format!("length {}, offset {}", rule.template.len(), rule.offset),
            format!(
                "write offset = {}, or a template of {} bytes",
                rule.template.len(),
                rule.offset
            ),
        ),
        LengthPrefixError::TemplateMissing => (
            "offset",
            "unknown bytes".to_owned(),
            format!(
                "add template = {{ hex = \"{}\" }} with the real bytes, or header = \"keep\" to leave the header in the message",
                hex_of(rule.offset)
            ),
        ),
    };
    let problem = Diagnostic::error(error.to_string()).help(help);
    match section.get(key) {
        Some(item) => item.report(problem.at(item.span.clone(), label).basis(Basis::Value)),
        None => section.reader.report(problem.at(section.span.clone(), label)),
    }
}

/// A place for so many bytes in hexadecimal, as long as that stays readable.
fn hex_of(bytes: usize) -> String {
    if bytes <= 8 {
        vec!["00"; bytes].join(" ")
    } else {
        "…".to_owned()
    }
}
