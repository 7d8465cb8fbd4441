//! Reads the parameters of `length-prefix`.

use super::warn_of_backslash;
use crate::config::diagnostic::{Basis, Diagnostic};
use crate::config::reader::{Item, Section};
use crate::framing::{Endian, Header, LengthPrefix, LengthPrefixError};

pub(super) fn read(section: &Section<'_>) -> Option<LengthPrefix> {
    section.require("a length-prefix framing", &[("width", "width = 2")]);
    let width = section.get("width").and_then(|item| bytes(&item));
    let offset = section.get("offset").map_or(Some(0), |item| bytes(&item));
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
    let header = header(section);
    let template = template(section);
    let rule = LengthPrefix {
        width: width?,
        endian: endian?,
        offset: offset?,
        adjustment: adjustment?,
        includes_header: includes_header?,
        header: header?,
        template: template?,
    };
    let errors = rule.check();
    for error in &errors {
        report(section, rule.offset, &rule.template, *error, &errors);
    }
    errors.is_empty().then_some(rule)
}

/// A number of bytes. What does not fit its type is out of range for `check` too.
pub(super) fn bytes(item: &Item<'_>) -> Option<usize> {
    let number = item.integer()?;
    Some(usize::try_from(number).unwrap_or(usize::MAX))
}

pub(super) fn header(section: &Section<'_>) -> Option<Header> {
    section.get("header").map_or(Some(Header::Strip), |item| {
        item.choice(&[("strip", Header::Strip), ("keep", Header::Keep)])
    })
}

pub(super) fn template(section: &Section<'_>) -> Option<Box<[u8]>> {
    section.get("template").map_or(Some(Box::default()), |item| {
        warn_of_backslash(&item);
        item.bytes().map(Into::into)
    })
}

/// Tells one problem of a length, of fixed or of variable width.
pub(super) fn report(
    section: &Section<'_>,
    offset: usize,
    template: &[u8],
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
        LengthPrefixError::MaxWidth => (
            "max_width",
            "out of range".to_owned(),
            "write a number from 1 to 10".to_owned(),
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
            format!("length {}, offset {}", template.len(), offset),
            format!(
                "write offset = {}, or a template of {} bytes",
                template.len(),
                offset
            ),
        ),
        LengthPrefixError::TemplateMissing => (
            "offset",
            "unknown bytes".to_owned(),
            format!(
                "add template = {{ hex = \"{}\" }} with the real bytes, or header = \"keep\" to leave the header in the message",
                hex_of(offset)
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
