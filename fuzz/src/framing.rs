//! The framings: what was encoded is decoded again, what could not be is refused, and any bytes are decoded the same however they
//! are cut.
//!
//! Input: the framing's parameters (see each target), then [`Traffic`].

mod block;
mod counted;
mod delimiter;
mod json_seq;
mod length_prefix;
mod protocols;
mod raw;
mod stuffed;

pub use block::framing_block;
pub use counted::framing_counted;
pub use delimiter::framing_delimiter;
pub use json_seq::framing_json_seq;
pub use length_prefix::framing_length_prefix;
pub use protocols::framing_protocols;
pub use raw::framing_raw;
pub use stuffed::framing_stuffed;

use sealock::framing::{
    DecodeError, DecodeRules, DecodeState, Embedded, EncodeError, EncodeState, Event, Framing, MAX_HEADER,
    Oversized, WholeRecord,
};
use sealock::message::{Begin, Kind, Part};
use sealock::outbox::Outbox;

use crate::input::{Cuts, Input};

/// What goes through a framing: how messages arrive, how the stream is read, the messages, and a stream of any bytes.
///
/// Input: flags (announced; discard), the limit for the stream, cuts of messages, cuts of streams, a count of messages (0 to 7), the
/// messages, and the stream.
struct Traffic<'a> {
    /// The length of a message is known when it begins.
    announced: bool,
    /// For the stream of any bytes.
    rules: DecodeRules,
    message_cuts: Cuts,
    stream_cuts: Cuts,
    messages: Vec<&'a [u8]>,
    stream: &'a [u8],
}

impl<'a> Traffic<'a> {
    fn read(input: &mut Input<'a>) -> Self {
        let (announced, discard) = (input.flag(), input.flag());
        let rules = DecodeRules {
            max_message: input.number().into(),
            oversized: if discard {
                Oversized::Discard
            } else {
                Oversized::Close
            },
            text: false,
        };
        let (message_cuts, stream_cuts) = (input.cuts(), input.cuts());
        let count = input.byte() % 8;
        let messages = (0..count).map(|_| input.text()).collect();
        Self {
            announced,
            rules,
            message_cuts,
            stream_cuts,
            messages,
            stream: input.rest(),
        }
    }

    /// Encodes a message: in one piece and in many, which must give the same.
    fn encode(&self, framing: &Framing, embedded: &Embedded, message: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let whole = encode(framing, embedded, &[message], true);
        let pieces = self.message_cuts.of(message);
        let announced = self.announced || pieces.len() == 1;
        assert_eq!(
            encode(framing, embedded, &pieces, announced),
            whole,
            "cuts of the message changed its record"
        );
        whole
    }

    /// Any bytes are read the same in pieces, within the limits.
    fn cuts_change_nothing(&self, framing: &Framing) {
        let whole = decode(framing, self.rules, &[self.stream]);
        let cut = decode(framing, self.rules, &self.stream_cuts.of(self.stream));
        assert_eq!(cut, whole, "cuts of the stream changed its records");
    }
}

/// What a message becomes, when it arrives in these pieces. `announced`: its length is known when it begins.
fn encode(
    framing: &Framing,
    embedded: &Embedded,
    pieces: &[&[u8]],
    announced: bool,
) -> Result<Vec<u8>, EncodeError> {
    const BEFORE: &[u8] = b"on its way";
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    out.push(BEFORE);
    out.commit();
    let len = pieces.iter().map(|piece| piece.len() as u64).sum();
    for (at, data) in pieces.iter().enumerate() {
        let begin = Begin {
            kind: Kind::Binary,
            len: announced.then_some(len),
        };
        let part = Part {
            begin: (at == 0).then_some(begin),
            data,
            end: at + 1 == pieces.len(),
        };
        if let Err(error) = framing.encode(&mut state, embedded, &part, &mut out) {
            assert_eq!(
                (out.ready(), out.held()),
                (BEFORE, &b""[..]),
                "some of a refused message is left"
            );
            assert!(!state.is_cut());
            return Err(error);
        }
        let leaves = out.ready().len() > BEFORE.len();
        assert!(
            part.end || !leaves || *framing == Framing::Raw || framing.announces_length(),
            "a part has left"
        );
        assert_eq!(state.is_cut(), leaves && !part.end && framing.announces_length());
    }
    assert_eq!(out.held(), b"", "some of the record stays behind");
    Ok(out.ready()[BEFORE.len()..].to_vec())
}

/// What a decoder made of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// `None` for a record that was discarded.
    records: Vec<Option<Vec<u8>>>,
    /// The record that has begun, and not ended.
    open: Option<Vec<u8>>,
    /// What the decoder left unconsumed, once it knew that nothing follows.
    left: Vec<u8>,
    error: Option<DecodeError>,
}

impl Read {
    /// Whole records and nothing else.
    fn of<R: AsRef<[u8]>>(records: &[R]) -> Self {
        Self {
            records: records
                .iter()
                .map(|record| Some(record.as_ref().to_vec()))
                .collect(),
            ..Self::default()
        }
    }

    /// Takes what is unfinished for a record, as the end of a stream of lines is.
    fn finish(&mut self) {
        let rest = [
            self.open.take().unwrap_or_default(),
            std::mem::take(&mut self.left),
        ]
        .concat();
        self.records.extend((!rest.is_empty()).then_some(Some(rest)));
    }
}

fn rules(max_message: u64) -> DecodeRules {
    DecodeRules {
        max_message,
        oversized: Oversized::Close,
        text: false,
    }
}

/// Reads the pieces as a stream that ends behind them, as the bridge does.
fn decode(framing: &Framing, rules: DecodeRules, pieces: &[&[u8]]) -> Read {
    let mut read = Read::default();
    let mut state = DecodeState::default();
    let last = pieces.len();
    for (at, piece) in pieces.iter().copied().chain([&b""[..]]).enumerate() {
        let mut input = [&read.left, piece].concat();
        let mut used = 0;
        loop {
            let whole = framing.whole_record(&state, &rules, &input[used..]);
            let decoded = match framing.decode(&mut state, &rules, &input[used..], at == last) {
                Ok(decoded) => {
                    if let Some(WholeRecord { start, end, consumed }) = whole {
                        let data = &input[used..][start..end];
                        assert_eq!(decoded.event, Event::Part(Part::whole(Kind::Binary, data)));
                        assert_eq!(decoded.consumed, consumed);
                    }
                    decoded
                }
                Err(error) => {
                    // How much of the bad record was seen before depends on the cuts.
                    return Read {
                        records: read.records,
                        error: Some(error),
                        ..Read::default()
                    };
                }
            };
            used += decoded.consumed;
            match decoded.event {
                Event::More => break,
                Event::Discarded => {
                    assert_eq!(rules.oversized, Oversized::Discard);
                    read.open = None;
                    read.records.push(None);
                }
                Event::Part(part) => {
                    assert_eq!(part.begin.is_some(), read.open.is_none(), "a record begins once");
                    assert!(!state.is_discarding());
                    assert_eq!(state.is_inside(), !part.end);
                    let mut record = read.open.take().unwrap_or_default();
                    record.extend_from_slice(part.data);
                    assert!(
                        record.len() as u64 <= rules.max_message,
                        "a record over the limit"
                    );
                    if part.end {
                        read.records.push(Some(record));
                    } else {
                        read.open = Some(record);
                    }
                }
            }
        }
        read.left = input.split_off(used);
        assert!(
            read.left.len() <= MAX_HEADER,
            "{} bytes are left",
            read.left.len()
        );
    }
    read
}
