//! Decodes: prints a line for each record, and tells where and why it stopped.

use std::io::{self, BufWriter, Read, StdoutLock, Write};

use super::cut::{Cutter, Found};
use super::{Decode, Rule, capture, count, report, show};
use crate::framing::{DecodeError, MAX_HEADER, Partial};
use crate::message::Part;
use crate::units::ByteSize;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// What is kept of a record to show it: more than a line of a wide terminal.
const SHOWN: usize = 1024;
/// How many bytes are shown of what stands where a record should start.
const FOUND: usize = 16;
/// Where the texts of a report start.
const INDENT: usize = 12;

/// Prints the records of a capture. True when all of it is whole records.
pub(super) fn run(args: &Decode, rule: &Rule) -> Result<bool, String> {
    let mut capture = capture::open_capture(&args.input, args.hex)?;
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        columns: show::columns(),
        json: args.json,
        message: Vec::new(),
        length: 0,
        announced: None,
        records: 0,
        skipped: 0,
    };
    match decode(rule, &mut capture, &mut printer) {
        Ok(whole) => Ok(whole),
        // A reader that has gone has seen what it wanted.
        Err(Halt::Gone) => Ok(true),
        Err(Halt::Failed(problem)) => Err(problem),
    }
}

/// Why the work ends early.
enum Halt {
    /// Nobody reads what is printed.
    Gone,
    Failed(String),
}

fn writing(error: io::Error) -> Halt {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Halt::Gone,
        _ => Halt::Failed(format!("cannot write: {error}")),
    }
}

fn decode(rule: &Rule, capture: &mut dyn Read, printer: &mut Printer<'_>) -> Result<bool, Halt> {
    let mut cutter = Cutter::new(&rule.framing, rule.limits);
    // What a framing leaves stands in front of the next chunk.
    let mut buffer = vec![0; MAX_HEADER + CHUNK];
    let mut left = 0;
    let mut eof = false;
    while !eof {
        let read = match capture.read(&mut buffer[left..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Halt::Failed(format!("cannot read the capture: {error}"))),
        };
        eof = read == 0;
        let input = &buffer[..left + read];
        let mut at = 0;
        loop {
            match cutter.next(&input[at..], eof) {
                Ok((used, Found::More)) => {
                    at += used;
                    break;
                }
                Ok((used, Found::Discarded(offset))) => {
                    at += used;
                    printer.skip().map_err(writing)?;
                    let limit = ByteSize(rule.limits.max_message);
                    report(&format!(
                        "note: the record at offset {offset} is over the limit of {limit}: skipped"
                    ));
                }
                Ok((used, Found::Part(offset, part))) => {
                    at += used;
                    printer.add(offset, &part).map_err(writing)?;
                }
                Err(error) => {
                    printer.out.flush().map_err(writing)?;
                    report(&printer.stopped(rule, error, &cutter, &input[at..]));
                    return Ok(false);
                }
            }
        }
        left = input.len() - at;
        buffer.copy_within(at..at + left, 0);
        // What is here is shown, whatever may come.
        printer.out.flush().map_err(writing)?;
    }
    let end = cutter.at() + left as u64;
    let start = cutter.started().unwrap_or(cutter.at());
    if start < end {
        report(&printer.unfinished(rule, start, end, &buffer[..left]));
        return Ok(false);
    }
    report(&format!(
        "{}, {}; nothing is left over",
        count(end, "byte"),
        printer.so_far()
    ));
    Ok(printer.skipped == 0)
}

/// Prints records, and counts them.
struct Printer<'a> {
    out: BufWriter<StdoutLock<'a>>,
    columns: usize,
    json: bool,
    /// The record so far, as much of it as is needed to show it.
    message: Vec<u8>,
    length: u64,
    announced: Option<u64>,
    records: u64,
    skipped: u64,
}

impl Printer<'_> {
    fn add(&mut self, offset: u64, part: &Part<'_>) -> io::Result<()> {
        if let Some(begin) = part.begin {
            self.announced = begin.len;
        }
        let room = if self.json {
            part.data.len()
        } else {
            SHOWN - self.message.len()
        };
        self.message
            .extend_from_slice(&part.data[..room.min(part.data.len())]);
        self.length += part.data.len() as u64;
        if !part.end {
            return Ok(());
        }
        self.records += 1;
        let line = if self.json {
            show::json(offset, &self.message)
        } else {
            let place = format!("{offset:>8}  {:>7}  ", self.length);
            let more = self.length > self.message.len() as u64;
            let preview = show::preview(&self.message, more, self.columns.saturating_sub(place.len()));
            place + &preview
        };
        self.forget();
        writeln!(self.out, "{line}")
    }

    /// Counts a record that is not shown. What was shown so far comes before what is said of it.
    fn skip(&mut self) -> io::Result<()> {
        self.skipped += 1;
        self.forget();
        self.out.flush()
    }

    fn forget(&mut self) {
        self.message.clear();
        self.length = 0;
        self.announced = None;
    }

    fn so_far(&self) -> String {
        let records = count(self.records, "record");
        match self.skipped {
            0 => records,
            skipped => format!("{records}, {skipped} skipped"),
        }
    }

    /// The number of the record that is read, from 1.
    fn number(&self) -> u64 {
        self.records + self.skipped + 1
    }

    fn stopped(&self, rule: &Rule, error: DecodeError, cutter: &Cutter<'_>, rest: &[u8]) -> String {
        let (number, name) = (self.number(), &rule.name);
        let (offset, expected, there) = match (error, cutter.started()) {
            // It may have begun in an earlier chunk: what is kept of it is its start.
            (DecodeError::TooBig, Some(start)) => {
                (start, format!("record {number} of {name}"), &self.message[..])
            }
            (_, Some(start)) => {
                let expected = format!("more of record {number} of {name}, which starts at offset {start}");
                (cutter.at(), expected, rest)
            }
            (_, None) => (cutter.at(), format!("record {number} of {name}"), rest),
        };
        let room = self.columns.saturating_sub(INDENT);
        let shown = &there[..there.len().min(FOUND)];
        let hex = show::hex(shown, shown.len() < there.len(), room);
        let text = match show::as_text(shown, true) {
            Some(text) if !text.is_empty() => {
                format!("\n{:INDENT$}{}", "", show::preview(text.as_bytes(), false, room))
            }
            _ => String::new(),
        };
        let help = match error {
            DecodeError::TooBig => {
                "--max-message allows longer records. A length that makes no sense speaks\n  \
                 for another framing: sealock decode --guess tries all"
            }
            _ if self.records == 0 => {
                "a capture holds one direction, from its first byte on. If this one does,\n  \
                 the framing is another one: sealock decode --guess tries all"
            }
            _ => {
                "up to here the framing fits. Are bytes missing in the capture, or does\n  \
                 the service go over to something else?"
            }
        };
        let limit = match error {
            DecodeError::TooBig => format!(" of {}", ByteSize(rule.limits.max_message)),
            _ => String::new(),
        };
        format!(
            "error: stopped at offset {offset}: {error}{limit}\n  \
             expected: {expected}\n  found:    {hex}{text}\n  \
             before:   {}\n  help: {help}",
            self.so_far()
        )
    }

    fn unfinished(&self, rule: &Rule, start: u64, end: u64, rest: &[u8]) -> String {
        let missing = match self.announced {
            Some(announced) => format!(", {} missing", announced.saturating_sub(self.length)),
            None => String::new(),
        };
        let there = if self.message.is_empty() {
            rest
        } else {
            &self.message
        };
        let preview = show::preview(
            there,
            self.length > self.message.len() as u64,
            self.columns.saturating_sub(INDENT),
        );
        let then = match rule.partial {
            Partial::Error => "a session would end here with 1011 (partial = \"error\")",
            Partial::Deliver => "a session would deliver what is there (partial = \"deliver\")",
            Partial::Drop => "a session would drop what is there (partial = \"drop\")",
        };
        format!(
            "error: the capture ends inside record {}, which starts at offset {start}\n  \
             expected: the rest of a record of {}\n  found:    {} of it{missing}\n{:INDENT$}{preview}\n  \
             before:   {}\n  note: {then}",
            self.number(),
            rule.name,
            count(end - start, "byte"),
            "",
            self.so_far()
        )
    }
}
