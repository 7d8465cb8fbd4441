//! Input: the start, the end, an escape (a flag and a byte), skip (a flag), the policy for embedded delimiters (reject, split, replace
//! and its bytes, escape), then the traffic.

use sealock::framing::{Block, DecodeError, Embedded, EncodeError, Framing, Garbage, Outside};

use super::{Read, Traffic, decode, rules};
use crate::input::Input;

/// A limit that no stream of a fuzzer reaches.
const FREE: u64 = 1 << 40;

/// A message comes back as it was, or as the policy makes it, or is refused; and streams are read as the definition says.
pub fn framing_block(data: &[u8]) {
    let mut input = Input::new(data);
    let (start, end) = (input.text(), input.text());
    let (with_escape, byte, skip) = (input.flag(), input.byte(), input.flag());
    let embedded = match input.byte() % 4 {
        0 => Embedded::Reject,
        1 => Embedded::Split,
        2 => Embedded::Replace(input.text().into()),
        _ => Embedded::Escape,
    };
    let outside = if skip { Outside::Skip } else { Outside::Close };
    let escape = with_escape.then_some(byte);
    let Ok(rule) = Block::new(start, end, escape, outside) else {
        return;
    };
    if matches!(&embedded, Embedded::Replace(with) if rule.check_replacement(with).is_err()) {
        return;
    }
    let framing = Framing::Block(rule);
    let traffic = Traffic::read(&mut input);
    let model = Model {
        start,
        end,
        escape,
        skip,
    };

    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for message in &traffic.messages {
        match traffic.encode(&framing, &embedded, message) {
            Ok(record) => {
                sent.extend(model.messages(&embedded, message));
                stream.extend(record);
            }
            Err(error) => {
                assert_eq!(error, EncodeError::DelimiterInside);
                assert!(model.may_refuse(&embedded, message), "wrongly refused");
            }
        }
    }
    let read = decode(&framing, rules(FREE), &traffic.stream_cuts.of(&stream));
    assert_eq!(read, Read::of(&sent), "what was sent did not come back");

    traffic.cuts_change_nothing(&framing);
    let read = decode(&framing, rules(FREE), &[traffic.stream]);
    let records: Vec<Vec<u8>> = read
        .records
        .into_iter()
        .map(|record| record.expect("no limit"))
        .collect();
    let (expected, error) = model.read(traffic.stream);
    assert_eq!((records, read.error), (expected, error.map(DecodeError::Garbage)));
}

/// The definition, written for being plain.
struct Model<'a> {
    start: &'a [u8],
    end: &'a [u8],
    escape: Option<u8>,
    skip: bool,
}

impl Model<'_> {
    fn is_special(&self, byte: u8) -> bool {
        self.escape == Some(byte) || byte == self.start[0] || byte == self.end[0]
    }

    /// What a message is to be read as.
    fn messages(&self, embedded: &Embedded, message: &[u8]) -> Vec<Vec<u8>> {
        let (mut all, mut one, mut at) = (Vec::new(), Vec::new(), 0);
        while at < message.len() {
            let rest = &message[at..];
            let marks = [self.start, self.end]
                .into_iter()
                .filter(|mark| rest.starts_with(mark));
            let mark = marks.map(<[u8]>::len).max();
            match (embedded, mark) {
                (Embedded::Split, Some(_)) if self.escape.is_none() && rest.starts_with(self.end) => {
                    all.push(std::mem::take(&mut one));
                    at += self.end.len();
                }
                (Embedded::Replace(with), Some(len)) if self.escape.is_none() => {
                    one.extend_from_slice(with);
                    at += len;
                }
                _ => {
                    one.push(rest[0]);
                    at += 1;
                }
            }
        }
        all.push(one);
        all
    }

    /// True where a message holds what the policy refuses, or ends with the start of an end.
    fn may_refuse(&self, embedded: &Embedded, message: &[u8]) -> bool {
        if self.escape.is_some() {
            return *embedded == Embedded::Reject && message.iter().any(|byte| self.is_special(*byte));
        }
        let holds = |bytes: &[u8], mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        let messages = self.messages(embedded, message);
        let last = messages.last().expect("one at least");
        let ended = [last, self.end].concat();
        let refused = !matches!(embedded, Embedded::Split | Embedded::Replace(_));
        (refused && (holds(message, self.start) || holds(message, self.end)))
            || holds(&ended[..ended.len() - 1], self.end)
    }

    /// The records of a stream, and what is wrong behind them.
    fn read(&self, mut stream: &[u8]) -> (Vec<Vec<u8>>, Option<Garbage>) {
        let mut records = Vec::new();
        while !stream.is_empty() {
            let Some(body) = stream.strip_prefix(self.start) else {
                if self.skip {
                    stream = &stream[1..];
                    continue;
                }
                let cut = self.start.starts_with(stream);
                return (records, (!cut).then_some(Garbage::Outside));
            };
            let mut message = Vec::new();
            let mut at = 0;
            loop {
                let rest = &body[at..];
                if rest.starts_with(self.end) {
                    records.push(message);
                    stream = &rest[self.end.len()..];
                    break;
                }
                let (byte, len) = match (self.escape, rest) {
                    (_, []) => return (records, None),
                    (None, [byte, ..]) => (*byte, 1),
                    (Some(escape), [first, second, ..]) if *first == escape && self.is_special(*second) => {
                        (*second, 2)
                    }
                    (Some(_), [first, ..]) if !self.is_special(*first) => (*first, 1),
                    (Some(escape), _) => {
                        let cut = self.end.starts_with(rest) || *rest == [escape];
                        return (records, (!cut).then_some(Garbage::Escape));
                    }
                };
                message.push(byte);
                at += len;
            }
        }
        (records, None)
    }
}
