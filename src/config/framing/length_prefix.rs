//! Reads the parameters of `length-prefix`.

use super::warn_of_backslash;
use crate::config::diagnostic::{Basis, Diagnostic};
use crate::config::reader::Section;
use crate::framing::{Endian, Header, LengthPrefix, LengthPrefixError};

pub(super) fn read(section: &Section<'_>) -> Option<LengthPrefix> {
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
