//! Opens a capture: bytes as they are, or written in hex.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::path::Path;

/// No line of a dump is longer.
const LONGEST_LINE: u64 = 64 * 1024;
const ODD: &str = "an odd number of hex digits";

/// Opens a file; `-` is standard input.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(format!("cannot open {}: {error}", path.display())),
    }
}

/// Opens a capture, whose bytes may be written in hex.
pub(super) fn open_capture(path: &Path, hex: bool) -> Result<Box<dyn Read>, String> {
    let bytes = open(path)?;
    if !hex {
        return Ok(bytes);
    }
    match Hex::new(BufReader::new(bytes)) {
        Ok(hex) => Ok(Box::new(hex)),
        Err(error) => Err(format!("cannot read the capture: {error}")),
    }
}

/// Reads bytes out of hexadecimal text.
#[derive(Debug)]
struct Hex<R> {
    text: Chain<Cursor<Vec<u8>>, R>,
    /// Lines start with an address, and may end with the bytes as text.
    is_dump: bool,
    /// The line that is read, from 1.
    line: u64,
    /// The first digit of a byte whose second one is still to come.
    digit: Option<u8>,
    /// Bytes of a line of a dump.
    ready: Cursor<Vec<u8>>,
}

impl<R: BufRead> Hex<R> {
    fn new(mut text: R) -> io::Result<Self> {
        // The first line that is not blank tells the form.
        let mut head = Vec::new();
        let mut is_dump = false;
        loop {
            let start = head.len();
            text.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut head)?;
            let line = String::from_utf8_lossy(&head[start..]);
            if line.is_empty() || head.len() as u64 >= LONGEST_LINE {
                break;
            }
            if !line.trim().is_empty() {
                is_dump = starts_dump(&line);
                break;
            }
        }
        Ok(Self {
            text: Cursor::new(head).chain(text),
            is_dump,
            line: 1,
            digit: None,
            ready: Cursor::default(),
        })
    }

    fn wrong(&self, what: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {what}", self.line))
    }

    /// Plain digits: a line may be as long as it likes.
    fn read_plain(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let text = self.text.fill_buf()?;
            if text.is_empty() && self.digit.is_some() {
                return Err(self.wrong(ODD));
            }
            let at_end = text.is_empty();
            let (mut used, mut filled) = (0, 0);
            let mut problem = None;
            for &byte in text {
                if filled == out.len() || problem.is_some() {
                    break;
                }
                used += 1;
                match (digit(byte), self.digit.take()) {
                    (Some(low), Some(high)) => {
                        out[filled] = high << 4 | low;
                        filled += 1;
                    }
                    (Some(high), None) => self.digit = Some(high),
                    (None, Some(_)) if byte == b'\n' => problem = Some(ODD.to_owned()),
                    (None, high) if byte.is_ascii_whitespace() => {
                        self.digit = high;
                        self.line += u64::from(byte == b'\n');
                    }
                    (None, _) => problem = Some(not_a_digit(byte)),
                }
            }
            self.text.consume(used);
            match problem {
                Some(what) => return Err(self.wrong(&what)),
                None if filled > 0 || at_end || out.is_empty() => return Ok(filled),
                None => {}
            }
        }
    }

    fn read_dump(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let filled = self.ready.read(out)?;
            if filled > 0 || out.is_empty() {
                return Ok(filled);
            }
            let mut line = Vec::new();
            (&mut self.text).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(0);
            }
            let bytes = dump_line(&String::from_utf8_lossy(&line)).map_err(|what| self.wrong(&what))?;
            self.ready = Cursor::new(bytes);
            self.line += 1;
        }
    }
}

impl<R: BufRead> Read for Hex<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_dump {
            self.read_dump(out)
        } else {
            self.read_plain(out)
        }
    }
}

/// The bytes of a line of hex, with spaces anywhere.
pub(super) fn hex_line(line: &[u8]) -> Result<Vec<u8>, String> {
    let mut digits = Vec::with_capacity(line.len());
    for byte in line.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        digits.push(digit(*byte).ok_or_else(|| not_a_digit(*byte))?);
    }
    match digits.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()),
        _ => Err(ODD.to_owned()),
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn not_a_digit(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("{:?} is not a hex digit", char::from(byte))
    } else {
        format!("the byte {byte:#04x} is not a hex digit")
    }
}

/// True for the first line of a dump: `00000000: 4865` (xxd), `00000000  48 65  |He|` (hexdump -C), `0000000 48 65` (od -t x1).
fn starts_dump(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match first.strip_suffix(':') {
        Some(address) => is_hex(address),
        None => {
            let from_zero = first.len() >= 6 && first.bytes().all(|byte| byte == b'0');
            is_hex(first) && second.len() == 2 && (from_zero || line.trim_end().ends_with('|'))
        }
    }
}

fn is_hex(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The bytes of a line of a dump.
fn dump_line(line: &str) -> Result<Vec<u8>, String> {
    let line = line.trim();
    if line == "*" {
        return Err("`*` stands for lines that the dump leaves out: dump again with -v".to_owned());
    }
    let (address, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if !line.is_empty() && !is_hex(address.trim_end_matches(':')) {
        return Err("no address at its start, as the first line has".to_owned());
    }
    let rest = rest.trim_start();
    // Text stands behind two spaces (xxd), or between bars or angle brackets; hexdump has two spaces among the bytes as well.
    let bytes = if address.ends_with(':') {
        rest.split("  ").next().unwrap_or_default()
    } else {
        rest.split(['|', '>']).next().unwrap_or_default()
    };
    hex_line(bytes.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        Hex::new(text.as_bytes())
            .and_then(|mut hex| hex.read_to_end(&mut bytes))
            .map(|_| bytes)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn hex_is_read_in_every_form() {
        let bytes = b"Hello, sea lock!\x00\xff".to_vec();
        for text in [
            "48656c6c6f2c20736561206c6f636b2100ff",
            "48 65 6c 6c 6f 2c 20 73 65 61 20 6c 6f 63 6b 21\n00 FF\n",
            "\n 4865 6c6c\t6f2c2073\r\n6561206c6f636b21 00ff",
            "00000000: 4865 6c6c 6f2c 2073 6561 206c 6f63 6b21  Hello, sea lock!\n00000010: 00ff                                     ..\n",
            "00000000: 48 65 6c 6c 6f 2c 20 73 65 61 20 6c 6f 63 6b 21 00 ff  Hello, sea lock!..\n",
            "00000000  48 65 6c 6c 6f 2c 20 73  65 61 20 6c 6f 63 6b 21  |Hello, sea lock!|\n00000010  00 ff                                             |..|\n00000012\n",
            "0000000 48 65 6c 6c 6f 2c 20 73 65 61 20 6c 6f 63 6b 21\n0000020 00 ff\n0000022\n",
            "000000 48 65 6c 6c 6f 2c 20 73 65 61 20 6c 6f 63 6b 21  >Hello, sea lock!<\n000010 00 ff  >..<\n000012\n",
        ] {
            assert_eq!(read(text), Ok(bytes.clone()), "{text}");
        }
        assert_eq!(read(""), Ok(vec![]));
        // What looks like an address but is none.
        assert_eq!(read("000000 4865"), Ok(vec![0, 0, 0, 0x48, 0x65]));
    }

    #[test]
    fn what_is_not_hex_is_told_with_its_line() {
        for (text, told) in [
            ("00 11\n22 3x", "line 2: 'x' is not a hex digit"),
            ("00 1\n", "line 1: an odd number of hex digits"),
            ("00\n0", "line 2: an odd number of hex digits"),
            ("00\n\u{1}", "line 2: the byte 0x01 is not a hex digit"),
            (
                "0000000 00 00\n*\n0000040\n",
                "line 2: `*` stands for lines that the dump leaves out: dump again with -v",
            ),
            (
                "00000000: 4865\nand so on\n",
                "line 2: no address at its start, as the first line has",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), told, "{text}");
        }
    }

    #[test]
    fn a_line_of_hex_is_bytes() {
        assert_eq!(hex_line(b"de AD\tbe ef"), Ok(vec![0xDE, 0xAD, 0xBE, 0xEF]));
        assert_eq!(hex_line(b""), Ok(vec![]));
        assert!(hex_line(b"abc").is_err() && hex_line(b"zz").is_err());
    }
}
