//! Reads `framing`: the name of a preset, a kind with parameters, or one of these for each direction.

mod block;
mod content_length;
mod delimiter;
mod fixed;
mod length_prefix;
mod varint;

use toml::de::DeValue;

use super::diagnostic::{Basis, Diagnostic};
use super::keys::Place;
use super::reader::Item;
use super::suggest::quote;
use crate::alike::closest;
use crate::framing::{Framing, Preset, preset, preset_names};
use crate::message::Kind;

pub(super) const KINDS: &[&str] = &[
    "raw",
    "delimiter",
    "length-prefix",
    "varint",
    "fixed",
    "netstring",
    "content-length",
    "octet-counting",
    "block",
    "slip",
    "cobs",
    "json-seq",
];

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
        return one(item);
    }
    let section = item.table(Place::FramingPair)?;
    section.require(
        "a framing for each direction",
        &[
            ("to_backend", "to_backend = \"lines\""),
            ("to_client", "to_client = \"lines\""),
        ],
    );
    let to_backend = section
        .get("to_backend")
        .and_then(|item| one(&item))
        .map(|both| both.to_backend);
    let to_client = section
        .get("to_client")
        .and_then(|item| one(&item))
        .map(|both| both.to_client);
    Some(Framings {
        to_backend: to_backend?,
        to_client: to_client?,
    })
}

/// One value: a preset may be two framings.
fn one(item: &Item<'_>) -> Option<Framings> {
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
        } else if has("max_width") || has("encoding") {
            "varint"
        } else if has("size") {
            "fixed"
        } else if has("start") || has("end") {
            "block"
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
        "delimiter" => delimiter::read(&item.table(Place::Delimiter)?).map(Framing::Delimiter),
        "length-prefix" => length_prefix::read(&item.table(Place::LengthPrefix)?).map(Framing::LengthPrefix),
        "varint" => varint::read(&item.table(Place::Varint)?).map(Framing::Varint),
        "fixed" => fixed::read(&item.table(Place::Fixed)?).map(Framing::Fixed),
        "netstring" => item.table(Place::Netstring).map(|_| Framing::Netstring),
        "content-length" => {
            content_length::read(&item.table(Place::ContentLength)?).map(Framing::ContentLength)
        }
        "octet-counting" => item.table(Place::OctetCounting).map(|_| Framing::OctetCounting),
        "block" => block::read(&item.table(Place::Block)?).map(Framing::Block),
        "slip" => item.table(Place::Slip).map(|_| Framing::Slip),
        "cobs" => item.table(Place::Cobs).map(|_| Framing::Cobs),
        "json-seq" => item.table(Place::JsonSeq).map(|_| Framing::JsonSeq),
        _ => item.table(Place::Raw).map(|_| Framing::Raw),
    };
    let written = Written {
        framing: framing?,
        kind: None,
    };
    Some(Framings {
        to_backend: written.clone(),
        to_client: written,
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

fn named(item: &Item<'_>) -> Option<Framings> {
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
            Some("block") => {
                "with parameters: framing = { kind = \"block\", start = \"<\", end = \">\" }".to_owned()
            }
            Some("length-prefix") => {
                "with parameters: framing = { kind = \"length-prefix\", width = 2 }".to_owned()
            }
            Some("fixed") => "with parameters: framing = { kind = \"fixed\", size = \"80 B\" }".to_owned(),
            Some(name) if KINDS.contains(&name) => {
                format!("this is a kind: write framing = {{ kind = {} }}", quote(name))
            }
            Some(name) => match closest(name, preset_names()) {
                Some(meant) => format!("did you mean {}?", quote(meant)),
                None => all,
            },
            None => all,
        };
        item.wrong("there is no such preset", "unknown name", help);
    }
    let Preset {
        to_backend,
        to_client,
        kind,
    } = found?;
    let written = |framing| Written {
        framing,
        kind: Some(kind),
    };
    Some(Framings {
        to_backend: written(to_backend),
        to_client: written(to_client),
    })
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
