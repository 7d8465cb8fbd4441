//! Reads the parameters of `content-length`.

use super::length_prefix::header;
use crate::config::reader::Section;
use crate::framing::ContentLength;

pub(super) fn read(section: &Section<'_>) -> Option<ContentLength> {
    Some(ContentLength {
        header: header(section)?,
    })
}
