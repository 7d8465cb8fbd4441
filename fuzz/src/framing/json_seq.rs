//! Input: the traffic.

use sealock::framing::{Embedded, EncodeError, Framing};

use super::{Read, Traffic, decode, rules};
use crate::input::Input;

/// A limit that no stream of a fuzzer reaches.
const FREE: u64 = 1 << 40;

/// What is taken comes back as it was. What is read holds no separator, lies between two, and can be written again.
pub fn framing_json_seq(data: &[u8]) {
    let mut input = Input::new(data);
    let framing = Framing::JsonSeq;
    let traffic = Traffic::read(&mut input);
    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for message in &traffic.messages {
        match traffic.encode(&framing, &Embedded::Reject, message) {
            Ok(record) => {
                assert_eq!(record, [b"\x1E", *message, b"\n"].concat());
                sent.push(*message);
                stream.extend(record);
            }
            Err(EncodeError::DelimiterInside) => assert!(message.contains(&0x1E)),
            Err(EncodeError::EmptyMessage) => assert!(message.is_empty()),
            Err(error) => assert_eq!(error, EncodeError::NotARecord),
        }
    }
    let read = decode(&framing, rules(FREE), &traffic.stream_cuts.of(&stream));
    assert_eq!(read, Read::of(&sent), "what was sent did not come back");

    traffic.cuts_change_nothing(&framing);
    let mut rest = traffic.stream;
    for record in decode(&framing, rules(FREE), &[traffic.stream]).records {
        let record = record.expect("no limit");
        let start = rest
            .iter()
            .position(|byte| *byte == 0x1E)
            .expect("a separator in front");
        let separators = rest[start..].iter().take_while(|byte| **byte == 0x1E).count();
        rest = &rest[start + separators..];
        rest = rest
            .strip_prefix(&record[..])
            .expect("a record is what stands there");
        assert!(matches!(rest, [] | [b'\n' | 0x1E, ..]), "and is all of it");
        let again = traffic
            .encode(&framing, &Embedded::Reject, &record)
            .expect("it can be written");
        assert_eq!(decode(&framing, rules(FREE), &[&again]), Read::of(&[record]));
    }
}
