//! Input: keep (a flag), the policy for embedded delimiters (reject, split, replace and its bytes), a count of delimiters (1 to 4),
//! the delimiters, then the traffic.

use sealock::framing::{Delimiter, Embedded, EncodeError, Framing};

use super::{Read, Traffic, decode, rules};
use crate::input::Input;

/// A limit that no stream of a fuzzer reaches.
const FREE: u64 = 1 << 40;

/// A record comes back as its message or is refused, and streams are split where the definition says.
pub fn framing_delimiter(data: &[u8]) {
    let mut input = Input::new(data);
    let keep = input.flag();
    let embedded = match input.byte() % 3 {
        0 => Embedded::Reject,
        1 => Embedded::Split,
        _ => Embedded::Replace(input.text().into()),
    };
    let count = 1 + input.byte() % 4;
    let listed: Vec<Vec<u8>> = (0..count).map(|_| input.text().to_vec()).collect();
    let Ok(rule) = Delimiter::new(&listed, keep) else {
        return;
    };
    if matches!(&embedded, Embedded::Replace(with) if rule.check_replacement(with).is_err()) {
        return;
    }
    let framing = Framing::Delimiter(rule);
    let traffic = Traffic::read(&mut input);
    let model = Model {
        listed: &listed,
        keep,
    };

    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for message in &traffic.messages {
        if let Some(record) = model.check(&traffic, &framing, &embedded, message) {
            let delimiter = if keep { 0 } else { listed[0].len() };
            sent.push(record[..record.len() - delimiter].to_vec());
            stream.extend(record);
        }
    }
    if embedded == Embedded::Split {
        sent = model.split(&stream).0;
        sent.extend(Some(model.split(&stream).1).filter(|rest| !rest.is_empty()));
    }
    let mut read = decode(&framing, rules(FREE), &traffic.stream_cuts.of(&stream));
    if embedded == Embedded::Split {
        read.finish();
    }
    assert_eq!(read, Read::of(&sent), "what was sent did not come back");

    traffic.cuts_change_nothing(&framing);
    let mut read = decode(&framing, rules(FREE), &[traffic.stream]);
    read.finish();
    let (mut records, unfinished) = model.split(traffic.stream);
    records.extend(Some(unfinished).filter(|rest| !rest.is_empty()));
    assert_eq!(read, Read::of(&records), "split elsewhere than defined");
}

/// The definition, written for being plain.
struct Model<'a> {
    listed: &'a [Vec<u8>],
    keep: bool,
}

impl Model<'_> {
    /// The longest delimiter at the start of some bytes.
    fn delimiter(&self, bytes: &[u8]) -> Option<usize> {
        self.listed
            .iter()
            .filter(|one| bytes.starts_with(one))
            .map(Vec::len)
            .max()
    }

    /// Where the first delimiter starts and ends.
    fn first(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        (0..bytes.len()).find_map(|at| Some((at, at + self.delimiter(&bytes[at..])?)))
    }

    /// The records of a stream, and what is behind the last delimiter.
    fn split(&self, mut stream: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut records = Vec::new();
        while let Some((start, end)) = self.first(stream) {
            records.push(stream[..if self.keep { end } else { start }].to_vec());
            stream = &stream[end..];
        }
        (records, stream.to_vec())
    }

    /// A message with other bytes in place of its delimiters.
    fn replace(&self, message: &[u8], with: &[u8]) -> Vec<u8> {
        let (mut clean, mut at) = (Vec::new(), 0);
        while at < message.len() {
            match self.delimiter(&message[at..]) {
                Some(len) => {
                    clean.extend_from_slice(with);
                    at += len;
                }
                None => {
                    clean.push(message[at]);
                    at += 1;
                }
            }
        }
        clean
    }

    /// True when these bytes are read as one record, whatever follows: their first delimiter is their end, and no longer one that
    /// started before could be completed by what comes next.
    fn is_one_record(&self, bytes: &[u8]) -> bool {
        let Some((start, end)) = self.first(bytes) else {
            return false;
        };
        let could_grow = |at: usize| {
            let tail = &bytes[at..];
            self.listed
                .iter()
                .any(|one| one.len() > tail.len() && one.starts_with(tail))
        };
        end == bytes.len() && !(0..=start).any(could_grow)
    }

    /// The record of a message, which must be what the policy promises; `None` where it is refused, which it must have earned.
    fn check(
        &self,
        traffic: &Traffic<'_>,
        framing: &Framing,
        embedded: &Embedded,
        message: &[u8],
    ) -> Option<Vec<u8>> {
        let encoded = traffic.encode(framing, embedded, message);
        let plain = if self.keep {
            message.to_vec()
        } else {
            [message, &self.listed[0]].concat()
        };
        match (&encoded, embedded) {
            (Ok(record), Embedded::Reject | Embedded::Escape | Embedded::Split) => assert_eq!(*record, plain),
            (Ok(record), Embedded::Replace(with)) if !self.keep => {
                assert_eq!(
                    *record,
                    [&self.replace(message, with), &self.listed[0][..]].concat()
                );
            }
            (Ok(_), Embedded::Replace(_)) => {}
            (Err(error), _) => {
                assert!(matches!(
                    error,
                    EncodeError::DelimiterInside | EncodeError::DelimiterMissing
                ))
            }
        }
        match (embedded, &encoded) {
            (Embedded::Split, _) | (Embedded::Replace(_), Err(_)) => {}
            (Embedded::Reject | Embedded::Escape, _) => {
                let comes_back = self.is_one_record(&plain) && self.split(&plain).0 == [message];
                assert_eq!(encoded.is_ok(), comes_back, "wrongly refused or taken");
            }
            (Embedded::Replace(_), Ok(record)) => {
                assert!(self.is_one_record(record), "a delimiter is left in {record:?}")
            }
        }
        encoded.ok()
    }
}
