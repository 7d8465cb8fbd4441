//! `content-length`: a block of header lines, one of which is `Content-Length`, an empty line, the body. The base protocol of LSP
//! (Language Server Protocol 3.17, "Base Protocol") and of DAP (Debug Adapter Protocol, "Base Protocol").
//!
//! ```text
//! Content-Length: 2\r\n
//! Content-Type: application/vscode-jsonrpc; charset=utf-8\r\n
//! \r\n
//! {}
//! ```
//!
//! Each line ends with CR LF. A bare LF or CR is refused: whoever reads the block otherwise would find another length in it.

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Garbage, Header, MAX_HEADER, decimal};
use crate::outbox::Outbox;

const BAD: DecodeError = DecodeError::Garbage(Garbage::Header);

/// A header block with the length in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentLength {
    /// Whether the block belongs to the message. Where it does not, its other lines are dropped, and none are written.
    pub header: Header,
}

impl Counted for ContentLength {
    fn header(&self) -> Header {
        self.header
    }

    /// Each line is checked as soon as it is there: what speaks something else is noticed by its first line, not by a length that
    /// never comes.
    fn measure(&self, place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        let block = &input[..input.len().min(MAX_HEADER)];
        let mut from = place.scanned;
        while let Some(at) = memchr::memchr(b'\n', &block[from..]) {
            let end = from + at + 1;
            let start = memchr::memrchr(b'\n', &block[..end - 1]).map_or(0, |before| before + 1);
            let line = block[start..end].strip_suffix(b"\r\n").ok_or(BAD)?;
            if line.is_empty() {
                let body = body_len(&block[..start])?;
                return Ok(Measured::Header { header: end, body });
            }
            split(line).ok_or(BAD)?;
            from = end;
        }
        if block.len() == MAX_HEADER {
            return Err(BAD);
        }
        Ok(Measured::More { scanned: block.len() })
    }

    #[inline]
    fn push_header(&self, body: u64, out: &mut Outbox) -> Result<(), EncodeError> {
        out.push(b"Content-Length: ");
        decimal::push(body, out);
        out.push(b"\r\n\r\n");
        Ok(())
    }
}

/// The length in a block of lines that have been checked one by one. It stands there exactly once: two of them could be believed
/// differently by two readers.
fn body_len(lines: &[u8]) -> Result<u64, DecodeError> {
    let mut lengths = lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| split(line.strip_suffix(b"\r")?))
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length"));
    match (lengths.next(), lengths.next()) {
        (Some((_, length)), None) => decimal::value(length),
        _ => Err(BAD),
    }
}

/// Name and value of a header line (RFC 9110 §5.1, §5.5; both protocols point to HTTP): nothing before the colon but the name, any
/// space around the value.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_value = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    let sound = !name.is_empty() && name.iter().all(is_name) && value.iter().all(is_value);
    sound.then(|| (name, value.trim_ascii()))
}
