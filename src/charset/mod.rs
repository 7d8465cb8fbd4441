//! Legacy charsets to UTF-8 text and back, in pieces as they stream by. The tables are those of the Encoding Standard of the WHATWG,
//! which browsers use, by encoding_rs; ISO-8859-1 is added, which that standard takes for windows-1252.
//!
//! Both ways give their results in chunks from a small buffer on the stack: there is no allocation, however long a text is. A text has
//! at most three times the bytes of its record. A record has less than four times those of its text: an escape of seven bytes may stand
//! for a character of two, and ISO-2022-JP says with three more which of its sets a character is of. (It has no place for three control
//! characters, ESC, SO and SI, each of which an escape of eight bytes stands for.)

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Malformed, Unfinished};
pub use encode::{Encoder, Unmappable, UnmappableCharacter};

use encoding_rs::Encoding;

/// Results come in chunks of at most this many bytes.
const CHUNK: usize = 2048;

/// A charset that records can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset(Table);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// Each byte is the character of its number.
    Latin1,
    Standard(&'static Encoding),
}

/// Why a name stands for no charset that records can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No charset has this name.
    #[error("there is no such charset")]
    Unknown,
    /// UTF-16: its bytes cannot be searched for a delimiter, and the standard has no encoder for it.
    #[error("UTF-16 cannot be transcoded")]
    Utf16,
    /// ASCII, which the standard takes for windows-1252.
    #[error("ASCII is a part of UTF-8")]
    Ascii,
    /// A name of the standard behind which there is no table.
    #[error("this charset has no table")]
    NoTable,
}

impl Charset {
    /// No transcoding: records are UTF-8 as messages are.
    pub const UTF_8: Self = Self(Table::Standard(encoding_rs::UTF_8));

    /// Takes every name of the Encoding Standard, in any case.
    pub fn named(name: &str) -> Result<Self, NameError> {
        let table = Encoding::for_label(name.as_bytes()).ok_or(NameError::Unknown)?;
        let is = |listed: &[&str]| {
            listed
                .iter()
                .any(|one| one.eq_ignore_ascii_case(name.trim_ascii()))
        };
        if table == encoding_rs::UTF_16LE || table == encoding_rs::UTF_16BE {
            Err(NameError::Utf16)
        } else if table == encoding_rs::REPLACEMENT || table == encoding_rs::X_USER_DEFINED {
            Err(NameError::NoTable)
        } else if is(&["ascii", "us-ascii", "ansi_x3.4-1968"]) {
            Err(NameError::Ascii)
        } else if table == encoding_rs::WINDOWS_1252 && !is(&["windows-1252", "cp1252", "x-cp1252"]) {
            Ok(Self(Table::Latin1))
        } else {
            Ok(Self(Table::Standard(table)))
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Table::Latin1 => "ISO-8859-1",
            Table::Standard(table) => table.name(),
        }
    }
}

/// The charsets by their names, for suggestions.
pub const NAMES: &[&str] = &[
    "utf-8",
    "big5",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "gbk",
    "ibm866",
    "iso-2022-jp",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-9",
    "iso-8859-10",
    "iso-8859-11",
    "iso-8859-13",
    "iso-8859-14",
    "iso-8859-15",
    "iso-8859-16",
    "koi8-r",
    "koi8-u",
    "latin1",
    "macintosh",
    "shift_jis",
    "windows-874",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "x-mac-cyrillic",
];

/// What stands ready of a result.
struct Chunk {
    bytes: [u8; CHUNK],
    len: usize,
}

impl Chunk {
    fn new() -> Self {
        Self {
            bytes: [0; CHUNK],
            len: 0,
        }
    }

    fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    fn ready(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
