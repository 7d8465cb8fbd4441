//! Reads the parameters of `fixed`.

use super::warn_of_backslash;
use crate::config::reader::{Item, Section};
use crate::config::settings::MAX_MESSAGE;
use crate::framing::{Fixed, FixedError};

pub(super) fn read(section: &Section<'_>) -> Option<Fixed> {
    section.require("a fixed framing", &[("size", "size = \"80 B\"")]);
    let item = section.get("size");
    let size = item.as_ref().and_then(|item| item.size(MAX_MESSAGE));
    let pad = section
        .get("pad")
        .map_or(Some(None), |item| Some(Some(byte(&item)?)));
    let (item, pad) = (item?, pad?);
    match Fixed::new(size?, pad) {
        Ok(rule) => Some(rule),
        Err(error) => {
            let (label, help) = match error {
                FixedError::Empty => ("too small", "write the size of each record"),
                FixedError::Padded => (
                    "too large",
                    "remove `pad`, and let the page fill up its messages: longer records would let a page of short ones flood the backend",
                ),
            };
            item.wrong(error.to_string(), label, help);
            None
        }
    }
}

fn byte(item: &Item<'_>) -> Option<u8> {
    warn_of_backslash(item);
    let bytes = item.bytes()?;
    if let [byte] = *bytes {
        return Some(byte);
    }
    let label = format!("{} bytes", bytes.len());
    item.wrong(
        "`pad` is one byte",
        &label,
        "write one, such as \" \" or { hex = \"00\" }",
    );
    None
}
