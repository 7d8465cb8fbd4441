//! What a health check says and hears, in the framing of the route. Pure.

use crate::framing::{DecodeError, DecodeRules, DecodeState, Event, Framing, Oversized};

/// The most that is heard before a check gives up.
const MOST_HEARD: usize = 64 * 1024;

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The question's record, as it stands on the stream. May be empty: some services speak first.
    pub send: Vec<u8>,
    /// What a record of the target holds that is well.
    pub expect: Vec<u8>,
    /// The framing of the target's records.
    pub framing: Framing,
}

/// Why the answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheard {
    /// The stream has ended.
    #[error("it ended without the expected answer")]
    End,
    /// There was too much else.
    #[error("it sent 64 KiB without the expected answer")]
    TooMuch,
    /// It is not the route's framing.
    #[error(transparent)]
    Framing(#[from] DecodeError),
}

/// Listens for the answer.
pub(super) struct Ear<'a> {
    exchange: &'a Exchange,
    state: DecodeState,
    /// What was heard and not decoded yet.
    input: Vec<u8>,
    /// The record so far; without records, all of it.
    record: Vec<u8>,
    heard: usize,
}

impl<'a> Ear<'a> {
    pub(super) fn new(exchange: &'a Exchange) -> Self {
        Self {
            exchange,
            state: DecodeState::default(),
            input: Vec::new(),
            record: Vec::new(),
            heard: 0,
        }
    }

    /// Hears what one read gave: nothing is the end of the stream. True once the answer was in it.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<bool, Unheard> {
        const RULES: DecodeRules = DecodeRules {
            max_message: MOST_HEARD as u64,
            oversized: Oversized::Discard,
            text: false,
        };
        let Exchange { expect, framing, .. } = self.exchange;
        self.heard += bytes.len();
        self.input.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            let rest = &self.input[used..];
            let decoded = framing.decode(&mut self.state, &RULES, rest, bytes.is_empty())?;
            used += decoded.consumed;
            match decoded.event {
                Event::More => break,
                Event::Discarded => self.record.clear(),
                Event::Part(part) => {
                    if part.begin.is_some() && !framing.is_raw() {
                        self.record.clear();
                    }
                    self.record.extend_from_slice(part.data);
                    if memchr::memmem::find(&self.record, expect).is_some() {
                        return Ok(true);
                    }
                }
            }
        }
        self.input.drain(..used);
        match () {
            () if bytes.is_empty() => Err(Unheard::End),
            () if self.heard >= MOST_HEARD => Err(Unheard::TooMuch),
            () => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::preset;

    /// What comes of these reads.
    fn hear(framing: &str, expect: &[u8], reads: &[&[u8]]) -> Result<bool, Unheard> {
        let exchange = Exchange {
            send: Vec::new(),
            expect: expect.to_vec(),
            framing: preset(framing).unwrap().to_client,
        };
        let mut ear = Ear::new(&exchange);
        let mut last = Ok(false);
        for read in reads {
            last = ear.hear(read);
            if last != Ok(false) {
                break;
            }
        }
        last
    }

    #[test]
    fn the_answer_stands_in_one_record() {
        // A framing, what is expected, what is read, and what comes of it.
        type Row = (
            &'static str,
            &'static [u8],
            &'static [&'static [u8]],
            Result<bool, Unheard>,
        );
        let rows: &[Row] = &[
            ("lines", b"PONG", &[b"+PO", b"NG\n"], Ok(true)),
            ("lines", b"PONG", &[b"hello\nPONG\n"], Ok(true)),
            ("lines", b"PONG", &[b"PO\nNG\n"], Ok(false)),
            ("lines", b"PONG", &[b"PO\nNG", b""], Err(Unheard::End)),
            ("lines", b"PONG", &[b"PONG", b""], Ok(true)),
            ("raw", b"PONG", &[b"P", b"O", b"N", b"G"], Ok(true)),
            ("raw", b"PONG", &[b""], Err(Unheard::End)),
            ("u16be", b"ok", &[b"\0\x02o", b"k"], Ok(true)),
            ("u16be", b"ok", &[b"\0\x01o\0\x01k"], Ok(false)),
            (
                "tpkt",
                b"ok",
                &[b"HTTP/1.1 200 ok"],
                Err(Unheard::Framing(DecodeError::Garbage(
                    crate::framing::Garbage::Header,
                ))),
            ),
        ];
        for (framing, expect, reads, result) in rows {
            assert_eq!(hear(framing, expect, reads), *result, "{framing} {reads:?}");
        }
    }

    #[test]
    fn there_is_an_end_to_listening() {
        for framing in ["raw", "lines"] {
            let noise = [b'x'; 1000];
            let reads = vec![&noise[..]; 66];
            assert_eq!(hear(framing, b"PONG", &reads), Err(Unheard::TooMuch), "{framing}");
            assert_eq!(hear(framing, b"PONG", &reads[..65]), Ok(false), "{framing}");
        }
    }
}
