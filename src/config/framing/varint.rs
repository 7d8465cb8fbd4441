//! Reads the parameters of `varint`.

use super::length_prefix::{bytes, header, report, template};
use crate::config::reader::Section;
use crate::framing::{Groups, Varint};

pub(super) fn read(section: &Section<'_>) -> Option<Varint> {
    let groups = section.get("encoding").map_or(Some(Groups::Leb128), |item| {
        item.choice(&[("leb128", Groups::Leb128), ("big-endian", Groups::BigEndian)])
    });
    let offset = section.get("offset").map_or(Some(0), |item| bytes(&item));
    let max_width = section.get("max_width").map(|item| bytes(&item));
    let header = header(section);
    let template = template(section);
    let usual = Varint::plain(groups?);
    let rule = Varint {
        offset: offset?,
        max_width: max_width.unwrap_or(Some(usual.max_width))?,
        header: header?,
        template: template?,
        ..usual
    };
    let errors = rule.check();
    for error in &errors {
        report(section, rule.offset, &rule.template, *error, &errors);
    }
    errors.is_empty().then_some(rule)
}
