//! Input: text (a flag), then the traffic.

use sealock::framing::{DecodeError, DecodeRules, Embedded, Framing};

use super::{Traffic, decode};
use crate::input::Input;

/// Every byte arrives, in order; no message is empty, too long, or, where it is text, cut inside a character.
pub fn framing_raw(data: &[u8]) {
    let mut input = Input::new(data);
    let text = input.flag();
    let traffic = Traffic::read(&mut input);
    for message in &traffic.messages {
        assert_eq!(
            traffic.encode(&Framing::Raw, &Embedded::Reject, message),
            Ok(message.to_vec())
        );
    }
    // The configuration allows no limit of zero.
    let rules = DecodeRules {
        max_message: traffic.rules.max_message.max(1),
        text,
        ..traffic.rules
    };
    let read = decode(&Framing::Raw, rules, &traffic.stream_cuts.of(traffic.stream));
    let records: Vec<Vec<u8>> = read
        .records
        .into_iter()
        .map(|record| record.expect("raw discards nothing"))
        .collect();
    let all = [records.concat(), read.left.clone()].concat();
    assert_eq!(read.open, None);
    assert!(records.iter().all(|record| !record.is_empty()));
    match read.error {
        None => assert_eq!(all, traffic.stream),
        Some(error) => {
            assert_eq!(error, DecodeError::TooBig);
            assert!(
                text && rules.max_message < 4,
                "every character fits into four bytes"
            );
            assert!(traffic.stream.starts_with(&all));
        }
    }
    if text && let Ok(stream) = std::str::from_utf8(traffic.stream) {
        let mut at = 0;
        for record in &records {
            at += record.len();
            assert!(stream.is_char_boundary(at), "a character is cut");
        }
    } else {
        assert!(text || read.left.is_empty());
    }
    assert!(read.left.len() < 4);
}
