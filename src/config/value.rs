//! Reads a framing that stands on a command line: written as in the file, and with the same words where it is wrong.

use std::cell::RefCell;
use std::path::Path;

use toml::de::DeTable;

use super::diagnostic::{Diagnostics, Severity};
use super::framing;
use super::keys::Place;
use super::reader::{Reader, Section};
use super::suggest::quote;
use super::syntax;
use crate::framing::Framing;
use crate::message::Kind;

/// What a value of `framing` says.
#[derive(Clone, Debug)]
pub struct Directions {
    /// How messages become records.
    pub to_backend: Framing,
    /// How records become messages.
    pub to_client: Framing,
    /// What records are, where a preset says so.
    pub kind: Option<Kind>,
}

/// Reads a value of `framing`. The name of a preset needs no quotes here. `name` is what messages call the place.
pub fn parse_framing(value: &str, name: &str) -> Result<Directions, Diagnostics> {
    let value = value.trim();
    let source = if value.starts_with(['{', '"', '\'']) {
        format!("framing = {value}")
    } else {
        format!("framing = {}", quote(value))
    };
    let (tree, errors) = DeTable::parse_recoverable(&source);
    let problems = errors.iter().map(|error| syntax::explain(&source, error));
    let reader = Reader {
        source: &source,
        base_dir: Path::new(""),
        env: &|variable| std::env::var(variable).ok(),
        problems: RefCell::new(problems.collect()),
        shares: RefCell::default(),
        gather_budget: RefCell::default(),
    };
    // Of all that may stand there, only this one is written.
    let section = Section::open(&reader, Place::Defaults, 0..0, tree.get_ref());
    let read = section.get("framing").and_then(|item| framing::read(&item));
    let problems = Diagnostics::new(name, &source, reader.problems.into_inner());
    match read {
        Some(read) if problems.count(Severity::Error) == 0 => Ok(Directions {
            kind: read.to_client.kind,
            to_backend: read.to_backend.framing,
            to_client: read.to_client.framing,
        }),
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Endian, LengthPrefix, preset_names};

    #[test]
    fn a_value_is_read_as_in_the_file() {
        let plain = Framing::LengthPrefix(LengthPrefix::plain(2, Endian::Little));
        for value in [
            "u16le",
            "\"u16le\"",
            " 'u16le' ",
            "{ preset = \"u16le\" }",
            "{ kind = \"length-prefix\", width = 2, endian = \"little\" }",
            "{ to_backend = \"u16le\", to_client = \"u16le\" }",
        ] {
            let read = parse_framing(value, "--framing").unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!((&read.to_backend, &read.to_client), (&plain, &plain), "{value}");
        }
        for name in preset_names() {
            assert!(parse_framing(name, "--framing").is_ok(), "{name}");
        }
    }

    #[test]
    fn a_wrong_value_is_explained_as_in_the_file() {
        for (value, words) in [
            ("line", "did you mean \"lines\"?"),
            ("", "there is no such preset"),
            (
                "{ kind = \"length-prefix\" }",
                "a length-prefix framing needs `width`",
            ),
            ("{ kind = ", "framing = { kind ="),
            ("{ }", "a framing needs `kind`"),
            ("lines\norigins = \"*\"", "there is no such preset"),
        ] {
            let problems = parse_framing(value, "--framing").unwrap_err().to_string();
            assert!(problems.contains(words), "{value}: {problems}");
            assert!(problems.contains("--framing:"), "{value}: {problems}");
        }
    }
}
