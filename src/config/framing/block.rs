//! Reads the parameters of `block`.

use super::warn_of_backslash;
use crate::config::diagnostic::{Basis, Diagnostic};
use crate::config::reader::{Item, Section};
use crate::framing::{Block, BlockError, Outside};

pub(super) fn read(section: &Section<'_>) -> Option<Block> {
    section.require(
        "a block framing",
        &[
            ("start", "start = { hex = \"02\" }"),
            ("end", "end = { hex = \"03\" }"),
        ],
    );
    let bytes = |key| {
        let item = section.get(key)?;
        warn_of_backslash(&item);
        item.bytes()
    };
    let (start, end) = (bytes("start"), bytes("end"));
    let escape = section
        .get("escape")
        .map_or(Some(None), |item| escape(&item).map(Some));
    let outside = section.get("outside").map_or(Some(Outside::Close), |item| {
        item.choice(&[("close", Outside::Close), ("skip", Outside::Skip)])
    });
    let made = Block::new(&start?, &end?, escape?, outside?);
    made.map_err(|errors| {
        for error in errors {
            block_error(section, error);
        }
    })
    .ok()
}

fn escape(item: &Item<'_>) -> Option<u8> {
    warn_of_backslash(item);
    let bytes = item.bytes()?;
    let [byte] = *bytes else {
        item.wrong(
            "an escape is one byte",
            format!("{} bytes", bytes.len()),
            "write the byte that stands before an escaped one, such as { hex = \"10\" }",
        );
        return None;
    };
    Some(byte)
}

fn block_error(section: &Section<'_>, error: BlockError) {
    let (key, help) = match error {
        BlockError::Start => (
            "start",
            "write what stands before each record, such as { hex = \"02\" }",
        ),
        BlockError::End => (
            "end",
            "write what stands behind each record, such as { hex = \"03\" }",
        ),
        BlockError::Ambiguous => (
            "end",
            "behind the escape, the end goes on with a byte that is never escaped: not the escape, nor the first byte of the start",
        ),
    };
    let Some(item) = section.get(key) else {
        return;
    };
    let problem = Diagnostic::error(error.to_string()).help(help);
    let label = if error == BlockError::Ambiguous {
        "starts with the escape"
    } else {
        "out of range"
    };
    item.report(problem.at(item.span.clone(), label).basis(Basis::Value));
}
