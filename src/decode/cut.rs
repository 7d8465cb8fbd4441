//! Cuts a stream into records, and knows where each of them stood.

use crate::framing::{DecodeError, DecodeRules, DecodeState, Event, Framing};
use crate::message::Part;

/// A framing at work on a stream.
#[derive(Clone, Debug)]
pub(super) struct Cutter<'a> {
    framing: &'a Framing,
    limits: DecodeRules,
    state: DecodeState,
    at: u64,
    started: Option<u64>,
}

/// What the next bytes give.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Nothing before more bytes arrive.
    More,
    /// A piece of the record that starts at this offset.
    Part(u64, Part<'a>),
    /// The record that starts at this offset is over the limit: it is skipped.
    Discarded(u64),
}

impl<'a> Cutter<'a> {
    pub(super) fn new(framing: &'a Framing, limits: DecodeRules) -> Self {
        Self::resume(framing, limits, DecodeState::default())
    }

    /// Starts with what a framing remembered at some place of a stream; offsets count from there.
    pub(super) fn resume(framing: &'a Framing, limits: DecodeRules, state: DecodeState) -> Self {
        Self {
            framing,
            limits,
            state,
            at: 0,
            started: None,
        }
    }

    /// What the framing remembers here.
    pub(super) fn state(&self) -> DecodeState {
        self.state
    }

    /// The offset of the first byte that was not used.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Where the record starts whose end has not been seen.
    pub(super) fn started(&self) -> Option<u64> {
        self.started
    }

    /// Takes the next piece out of `input`, and tells how many bytes of it were used. The rest must stand at the start of the next
    /// input; `eof` says that nothing follows this one.
    pub(super) fn next<'b>(&mut self, input: &'b [u8], eof: bool) -> Result<(usize, Found<'b>), DecodeError> {
        let mut used = 0;
        let mut least = 1;
        loop {
            let rest = &input[used..];
            // The end of a record that is skipped is told together with what follows. A byte at a time tells where it was.
            let window = if self.state.is_discarding() {
                least.min(rest.len())
            } else {
                rest.len()
            };
            let last = window == rest.len();
            let decoded = self
                .framing
                .decode(&mut self.state, &self.limits, &rest[..window], eof && last)?;
            // What a framing passes over between records belongs to none of them.
            let passed = self.state.take_dropped();
            let start = self.started.unwrap_or(self.at);
            used += decoded.consumed;
            self.at += decoded.consumed as u64;
            match decoded.event {
                Event::More => {
                    if !self.state.is_discarding() && !self.state.is_inside() {
                        self.started = None;
                    }
                    if last {
                        return Ok((used, Found::More));
                    }
                    least = if decoded.consumed == 0 { least + 1 } else { 1 };
                }
                Event::Discarded => {
                    self.started = self.state.is_discarding().then_some(start);
                    return Ok((used, Found::Discarded(start)));
                }
                Event::Part(part) => {
                    let start = if part.begin.is_some() {
                        start + passed
                    } else {
                        start
                    };
                    self.started = (!part.end).then_some(start);
                    return Ok((used, Found::Part(start, part)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_framing;
    use crate::framing::Oversized;

    /// Offset and message of each record, `None` for one that is skipped.
    fn cut(framing: &str, max_message: u64, stream: &[u8], size: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let framing = parse_framing(framing, "test").unwrap().to_client;
        let limits = DecodeRules {
            max_message,
            oversized: Oversized::Discard,
            text: false,
        };
        let mut cutter = Cutter::new(&framing, limits);
        let (mut records, mut left, mut open) = (vec![], vec![], vec![]);
        let mut pieces: Vec<&[u8]> = stream.chunks(size).collect();
        pieces.push(&[]);
        for (i, piece) in pieces.iter().enumerate() {
            left.extend_from_slice(piece);
            loop {
                let (used, found) = cutter.next(&left, i + 1 == pieces.len()).unwrap();
                let more = found == Found::More;
                match found {
                    Found::More => {}
                    Found::Discarded(offset) => {
                        open.clear();
                        records.push((offset, None));
                    }
                    Found::Part(offset, part) => {
                        open.extend_from_slice(part.data);
                        if part.end {
                            records.push((offset, Some(std::mem::take(&mut open))));
                        }
                    }
                }
                left.drain(..used);
                if more {
                    break;
                }
            }
        }
        assert_eq!(cutter.started(), None);
        assert_eq!(cutter.at(), stream.len() as u64);
        records
    }

    #[test]
    fn records_know_where_they_stood_however_the_stream_is_cut() {
        let some = |text: &str| Some(text.as_bytes().to_vec());
        let lines = b"one\ntoo long\ntoo long too\n\nfour\n";
        let counted = b"\x00\x03one\x00\x08too long\x00\x0ctoo long too\x00\x00\x00\x04four";
        for size in 1..counted.len() {
            assert_eq!(
                cut("lines", 4, lines, size),
                [
                    (0, some("one")),
                    (4, None),
                    (13, None),
                    (26, some("")),
                    (27, some("four"))
                ],
                "by {size}"
            );
            assert_eq!(
                cut("u16be", 4, counted, size),
                [
                    (0, some("one")),
                    (5, None),
                    (15, None),
                    (29, some("")),
                    (31, some("four"))
                ],
                "by {size}"
            );
            assert_eq!(
                cut("crlf", 4, b"too long\r\ntoo long\rtoo\r\nfour\r\n", size),
                [(0, None), (10, None), (24, some("four"))],
                "by {size}"
            );
        }
    }
}
