//! Cuts a byte stream into lines for the chat, within a fixed memory.

/// The bytes that have arrived and are not yet a line.
#[derive(Debug)]
pub(super) struct Lines {
    max: usize,
    bytes: Vec<u8>,
    /// How far `bytes` is known to hold no line feed.
    scanned: usize,
    /// The line has grown too long; nothing of it is kept up to its end.
    discarding: bool,
}

/// Why a line is not text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It had more bytes than a line may have.
    TooLong,
    /// It is not UTF-8.
    NotText,
}

impl Lines {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            bytes: Vec::new(),
            scanned: 0,
            discarding: false,
        }
    }

    /// Adds what was read. Take all lines out before adding more: then no more than `max` bytes and one read are held.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line, without its LF or CR LF.
    pub(super) fn next(&mut self) -> Option<Result<String, Fault>> {
        let Some(found) = memchr::memchr(b'\n', &self.bytes[self.scanned..]) else {
            if self.bytes.len() > self.max {
                self.discarding = true;
            }
            if self.discarding {
                self.bytes.clear();
            }
            self.scanned = self.bytes.len();
            return None;
        };
        let end = self.scanned + found;
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        self.scanned = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if std::mem::take(&mut self.discarding) || line.len() > self.max {
            return Some(Err(Fault::TooLong));
        }
        Some(String::from_utf8(line).map(printable).map_err(|_| Fault::NotText))
    }
}

/// The line with control characters made visible, so that no guest can move another one's terminal cursor.
fn printable(line: String) -> String {
    let unsafe_here = |c: char| c.is_control() && c != '\t';
    if line.contains(unsafe_here) {
        line.replace(unsafe_here, "\u{FFFD}")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(max: usize, pieces: &[&[u8]]) -> Vec<Result<String, Fault>> {
        let mut lines = Lines::new(max);
        let mut all = Vec::new();
        for piece in pieces {
            lines.push(piece);
            all.extend(std::iter::from_fn(|| lines.next()));
            assert!(lines.bytes.len() <= max, "{} bytes held", lines.bytes.len());
        }
        all
    }

    fn text(line: &str) -> Result<String, Fault> {
        Ok(line.to_owned())
    }

    #[test]
    fn lf_and_cr_lf_end_a_line_wherever_the_stream_is_cut() {
        let stream = b"one\r\n\ntwo\nthr\xC3\xABe\r\nunfinished";
        for size in 1..=stream.len() {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(
                cut(64, &pieces),
                [text("one"), text(""), text("two"), text("thr\u{EB}e")],
                "cut by {size}"
            );
        }
    }

    #[test]
    fn a_long_line_is_lost_and_the_next_is_not() {
        let stream = b"12345678\n123456789\n123456789123456789123456789\nback\n";
        for size in 1..=stream.len() {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let all = cut(8, &pieces);
            assert_eq!(
                all,
                [
                    text("12345678"),
                    Err(Fault::TooLong),
                    Err(Fault::TooLong),
                    text("back")
                ],
                "cut by {size}"
            );
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused_and_control_characters_are_shown() {
        assert_eq!(
            cut(64, &[b"\xFF\n", b"a\tb\x1B[2J\x07\rc\n"]),
            [Err(Fault::NotText), text("a\tb\u{FFFD}[2J\u{FFFD}\u{FFFD}c")]
        );
    }
}
