//! Encodes: each line of the input is a message, whose record is written.

use std::io::{self, BufRead, BufReader, BufWriter, Write};

use serde_json::Value;

use super::{Decode, Rule, capture, count, report, show};
use crate::framing::EncodeState;
use crate::message::{Kind, Part};
use crate::outbox::Outbox;
use crate::units::ByteSize;

/// What a line may hold beside its message: the other keys of JSON, spaces between digits.
const BESIDE: u64 = 4096;

/// Writes the records of all messages. True when each of them has one.
pub(super) fn run(args: &Decode, rule: &Rule) -> Result<bool, String> {
    let form = if args.json {
        Form::Json
    } else if args.hex {
        Form::Hex
    } else {
        Form::Text
    };
    let limit = rule.limits.max_message;
    let longest = limit.saturating_mul(form.expansion()).saturating_add(BESIDE);
    let mut lines = Lines {
        input: BufReader::new(capture::open(&args.input)?),
        longest: usize::try_from(longest).unwrap_or(usize::MAX),
        line: Vec::new(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut state, mut record) = (EncodeState::default(), Outbox::default());
    let (mut number, mut refused) = (0_u64, 0);
    let over = || format!("message over the limit of {}", ByteSize(limit));
    while let Some(line) = lines
        .next()
        .map_err(|error| format!("cannot read the messages: {error}"))?
    {
        number += 1;
        let message = match line {
            Some(line) => form.read(line),
            None => Err(over()),
        };
        let encoded = message.and_then(|(kind, message)| {
            if message.len() as u64 > limit {
                return Err(over());
            }
            let part = Part::whole(kind, &message);
            rule.framing
                .encode(&mut state, &rule.embedded, &part, &mut record)
                .map_err(|error| error.to_string())
        });
        let written = match encoded {
            Err(problem) => {
                refused += 1;
                report(&format!("error: line {number}: {problem}"));
                Ok(())
            }
            Ok(()) if args.hex_out => writeln!(out, "{}", show::plain_hex(record.ready())),
            Ok(()) => out.write_all(record.ready()),
        };
        record.clear();
        written.map_err(|error| format!("cannot write: {error}"))?;
    }
    out.flush().map_err(|error| format!("cannot write: {error}"))?;
    if refused > 0 {
        report(&format!(
            "{refused} of {} have no record in {}",
            count(number, "message"),
            rule.name
        ));
    }
    Ok(refused == 0)
}

/// How a message is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    Hex,
    Json,
}

impl Form {
    /// How many bytes of a line a byte of its message takes at most.
    fn expansion(self) -> u64 {
        match self {
            Self::Text => 1,
            // Two digits and a space.
            Self::Hex => 3,
            // \u0000
            Self::Json => 6,
        }
    }

    fn read(self, line: &[u8]) -> Result<(Kind, Vec<u8>), String> {
        match self {
            Self::Text => Ok((Kind::Text, line.to_vec())),
            Self::Hex => Ok((Kind::Binary, capture::hex_line(line)?)),
            Self::Json => {
                let value: Value =
                    serde_json::from_slice(line).map_err(|error| format!("not a line of JSON: {error}"))?;
                match (&value["text"], &value["hex"]) {
                    (Value::String(text), Value::Null) => Ok((Kind::Text, text.clone().into_bytes())),
                    (Value::Null, Value::String(hex)) => {
                        Ok((Kind::Binary, capture::hex_line(hex.as_bytes())?))
                    }
                    _ => Err("a message is {\"text\":\"…\"} or {\"hex\":\"…\"}".to_owned()),
                }
            }
        }
    }
}

/// Reads lines, none of them longer than its limit.
struct Lines<R> {
    input: R,
    longest: usize,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its LF; `Some(None)` for one that is too long, of which nothing is kept.
    fn next(&mut self) -> io::Result<Option<Option<&[u8]>>> {
        self.line.clear();
        let mut fits = true;
        let mut any = false;
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() && !any {
                return Ok(None);
            }
            any = true;
            let end = memchr::memchr(b'\n', bytes);
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            fits &= self.line.len() + piece.len() <= self.longest;
            if fits {
                self.line.extend_from_slice(piece);
            }
            let used = piece.len() + usize::from(end.is_some());
            let at_end = bytes.is_empty();
            self.input.consume(used);
            if end.is_some() || at_end {
                return Ok(Some(fits.then_some(&self.line[..])));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, longest: usize, size: usize) -> Vec<Option<String>> {
        let mut lines = Lines {
            input: BufReader::with_capacity(size, text.as_bytes()),
            longest,
            line: Vec::new(),
        };
        let mut read = vec![];
        while let Some(line) = lines.next().unwrap() {
            read.push(line.map(|line| String::from_utf8(line.to_vec()).unwrap()));
        }
        assert!(lines.line.capacity() <= 16);
        read
    }

    #[test]
    fn lines_are_read_whole_or_not_at_all() {
        let some = |text: &str| Some(text.to_owned());
        for size in 1..8 {
            assert_eq!(lines("", 4, size), []);
            assert_eq!(lines("a\n\nb", 4, size), [some("a"), some(""), some("b")]);
            assert_eq!(lines("1234\n", 4, size), [some("1234")]);
            assert_eq!(
                lines("a\r\n12345678901234567890\nb\n", 4, size),
                [some("a\r"), None, some("b")]
            );
            assert_eq!(lines("12345", 4, size), [None]);
        }
    }

    #[test]
    fn a_message_is_read_in_every_form() {
        let read = |form: Form, line: &str| form.read(line.as_bytes());
        assert_eq!(read(Form::Text, " a "), Ok((Kind::Text, b" a ".to_vec())));
        assert_eq!(read(Form::Hex, "00 ff"), Ok((Kind::Binary, vec![0, 255])));
        assert_eq!(
            read(Form::Json, r#"{"offset":7,"length":3,"text":"a\u00e9"}"#),
            Ok((Kind::Text, "aé".into()))
        );
        assert_eq!(
            read(Form::Json, r#"{"hex":"00FF"}"#),
            Ok((Kind::Binary, vec![0, 255]))
        );
        for (line, told) in [
            ("{", "not a line of JSON"),
            ("[]", "a message is"),
            ("{}", "a message is"),
            (r#"{"text":"a","hex":"00"}"#, "a message is"),
            (r#"{"text":1}"#, "a message is"),
            (r#"{"hex":"0"}"#, "odd number"),
        ] {
            let problem = read(Form::Json, line).unwrap_err();
            assert!(problem.contains(told), "{line}: {problem}");
        }
    }
}
