//! Framings whose records stand between marks: `block`, `slip`, `cobs`, `json-seq`.

use super::*;

/// DLE stuffing.
pub(super) fn dle() -> Framing {
    Framing::Block(Block::new(b"\x10\x02", b"\x10\x03", Some(0x10), Outside::Close).unwrap())
}

/// STX, ETX and DLE each behind a DLE.
pub(super) fn stx_with_escape(outside: Outside) -> Framing {
    Framing::Block(Block::new(b"\x02", b"\x03", Some(0x10), outside).unwrap())
}

fn plain(start: &[u8], end: &[u8]) -> Framing {
    Framing::Block(Block::new(start, end, None, Outside::Close).unwrap())
}

fn named(name: &str) -> Framing {
    preset(name).unwrap().to_client
}

/// Bytes that mean something to one of these framings.
pub(super) fn any_mark() -> impl Strategy<Value = u8> {
    proptest::sample::select(&b"\xC0\xDB\xDC\xDD\0\x01\x02\x03\xFF\x10\x0B\x1C\x1E \"\\{}[]1"[..])
}

/// Start and end of a block, of few bytes so that they meet.
fn any_block() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Option<u8>, Outside)> {
    let byte = || proptest::sample::select(&b"ab\n\x10"[..]);
    let mark = move || proptest::collection::vec(byte(), 1..4);
    let outside = prop_oneof![Just(Outside::Close), Just(Outside::Skip)];
    (mark(), mark(), proptest::option::of(byte()), outside)
}

pub(super) fn any_marked() -> impl Strategy<Value = Framing> {
    prop_oneof![
        3 => any_block().prop_filter_map("ambiguous", |(start, end, escape, outside)| {
            Block::new(&start, &end, escape, outside).ok().map(Framing::Block)
        }),
        1 => Just(Framing::Slip),
        1 => Just(Framing::Cobs),
        1 => Just(Framing::JsonSeq),
    ]
}

/// The definition of stuffing, written for being plain.
fn stuffed(start: &[u8], end: &[u8], escape: u8, message: &[u8]) -> Vec<u8> {
    let mut record = start.to_vec();
    for byte in message {
        if [escape, start[0], end[0]].contains(byte) {
            record.push(escape);
        }
        record.push(*byte);
    }
    [&record, end].concat()
}

fn replace_all(message: &[u8], from: &[u8], with: &[u8]) -> Vec<u8> {
    let (mut replaced, mut at) = (Vec::new(), 0);
    while at < message.len() {
        if message[at..].starts_with(from) {
            replaced.extend_from_slice(with);
            at += from.len();
        } else {
            replaced.push(message[at]);
            at += 1;
        }
    }
    replaced
}

fn holds(message: &[u8], mark: &[u8]) -> bool {
    message.windows(mark.len()).any(|window| window == mark)
}

/// JSON texts, some of them with white space of every kind between and around their tokens.
fn any_json() -> impl Strategy<Value = Vec<u8>> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[\\PC\"\\\\\n{}\\[\\]]{0,6}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a\"\\\\]{0,3}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    (value, any::<bool>(), "[ \t\r\n]{0,3}", "[ \t\r]{0,3}").prop_map(|(value, pretty, before, behind)| {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        format!("{before}{text}{behind}").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// With an escape, every message can be written, as the definition says.
    #[test]
    fn stuffing_is_as_defined((start, end, escape, _) in any_block(), message in any_message(), size in 1usize..30) {
        let Some(escape) = escape else { return Ok(()) };
        let Ok(block) = Block::new(&start, &end, Some(escape), Outside::Close) else { return Ok(()) };
        let framing = Framing::Block(block);
        for embedded in [Embedded::Escape, Embedded::Split] {
            prop_assert_eq!(
                encode(&framing, &embedded, &cut(&message, size), true),
                Ok(stuffed(&start, &end, escape, &message))
            );
        }
        let special = message.iter().any(|byte| [escape, start[0], end[0]].contains(byte));
        prop_assert_eq!(encode(&framing, &Embedded::Reject, &cut(&message, size), true).is_err(), special);
    }

    /// Without an escape, exactly those messages are refused that hold a start or an end, or form an end with the one behind them.
    #[test]
    fn marks_inside_a_message_are_refused((start, end, _, _) in any_block(), message in any_message(), size in 1usize..30) {
        let framing = plain(&start, &end);
        let ended = [&message[..], &end].concat();
        let bad = holds(&message, &start) || holds(&ended[..ended.len() - 1], &end);
        let expected = if bad { Err(EncodeError::DelimiterInside) } else { Ok([&start, &ended[..]].concat()) };
        for embedded in [Embedded::Reject, Embedded::Escape] {
            prop_assert_eq!(&encode(&framing, &embedded, &cut(&message, size), true), &expected);
        }
    }

    /// `split` makes a block of what is between two ends. Only an end that the last of them would form too early is refused.
    #[test]
    fn split_makes_several_blocks((start, end, _, _) in any_block(), message in any_message(), size in 1usize..30) {
        let framing = plain(&start, &end);
        let between = [&end[..], &start].concat();
        let expected = [&start[..], &replace_all(&message, &end, &between), &end].concat();
        let (mut parts, mut rest) = (Vec::new(), &message[..]);
        while let Some(at) = rest.windows(end.len()).position(|window| window == end) {
            parts.push(rest[..at].to_vec());
            rest = &rest[at + end.len()..];
        }
        let ended = [rest, &end].concat();
        parts.push(rest.to_vec());
        match encode(&framing, &Embedded::Split, &cut(&message, size), false) {
            Ok(record) => {
                prop_assert_eq!(&record, &expected);
                prop_assert_eq!(decode(&framing, &[&record], 1000), Ok(parts));
            }
            Err(error) => {
                prop_assert_eq!(error, EncodeError::DelimiterInside);
                prop_assert!(holds(&ended[..ended.len() - 1], &end));
            }
        }
    }

    /// `replace` leaves neither a start nor an end.
    #[test]
    fn replace_leaves_one_block(message in any_message(), size in 1usize..30) {
        let framing = plain(b"a", b"b\n");
        let with = Embedded::Replace(b"--"[..].into());
        let record = encode(&framing, &with, &cut(&message, size), false).unwrap();
        let expected = replace_all(&replace_all(&message, b"a", b"--"), b"b\n", b"--");
        prop_assert_eq!(decode(&framing, &[&record], 1000), Ok(vec![expected]));
    }

    /// Bytes between blocks are skipped and counted, and nothing of the blocks is lost.
    #[test]
    fn what_is_outside_is_skipped_and_counted(
        noise in proptest::collection::vec("[^s]{0,5}", 4), messages in proptest::collection::vec("[a-z&&[^x]]{0,5}", 3),
        size in 1usize..30,
    ) {
        let framing = Framing::Block(Block::new(b"s!", b"x", None, Outside::Skip).unwrap());
        let mut stream = noise[3].clone().into_bytes();
        let mut outside = stream.len();
        for (message, noise) in messages.iter().zip(&noise) {
            stream.extend(format!("s!{message}x{noise}").into_bytes());
            outside += noise.len();
        }
        let mut reader = Reader::new(&framing, rules(1000));
        for piece in cut(&stream, size) {
            reader.feed(piece, false).unwrap();
        }
        let records: Vec<String> = reader.records.into_iter().flatten().map(|record| String::from_utf8(record).unwrap()).collect();
        prop_assert_eq!(records, messages);
        prop_assert_eq!(reader.state.take_outside(), outside as u64);
        prop_assert_eq!(reader.state.take_outside(), 0);
    }

    /// RFC 1055, the way the RFC tells it.
    #[test]
    fn slip_is_as_defined(message in any_message(), size in 1usize..30) {
        let mut record = vec![0xC0];
        for byte in &message {
            match byte {
                0xC0 => record.extend([0xDB, 0xDC]),
                0xDB => record.extend([0xDB, 0xDD]),
                byte => record.push(*byte),
            }
        }
        record.push(0xC0);
        let expected = if message.is_empty() { Err(EncodeError::EmptyMessage) } else { Ok(record) };
        prop_assert_eq!(encode(&Framing::Slip, &Embedded::Escape, &cut(&message, size), false), expected);
    }

    /// The crate `cobs` writes the same, and reads the same.
    #[test]
    fn cobs_agrees_with_the_crate(
        runs in proptest::collection::vec((1u8..=255, 0usize..300, 0usize..3), 0..5), size in 1usize..400,
    ) {
        let message: Vec<u8> = runs.iter().flat_map(|(byte, len, zeros)| [vec![*byte; *len], vec![0; *zeros]].concat()).collect();
        let mut theirs = ::cobs::encode_vec(&message);
        theirs.push(0);
        let ours = encode(&Framing::Cobs, &Embedded::Escape, &cut(&message, size), true).unwrap();
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(decode(&Framing::Cobs, &cut(&theirs, size), 10_000), Ok(vec![message.clone()]));
        prop_assert_eq!(::cobs::decode_vec(&ours[..ours.len() - 1]).unwrap(), message);
    }

    /// Whatever they take for a record we take for the same, and we refuse what they refuse.
    #[test]
    fn any_cobs_is_read_as_by_the_crate(bytes in proptest::collection::vec(prop_oneof![4 => 1u8..6, 1 => Just(0xFF), 1 => any::<u8>()], 1..300)) {
        let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 0).collect();
        let record = [&bytes[..], &[0]].concat();
        let mut reader = Reader::new(&Framing::Cobs, rules(1000));
        let result = reader.feed(&record, false);
        match ::cobs::decode_vec(&bytes) {
            _ if bytes.is_empty() => prop_assert_eq!((result, reader.records), (Ok(()), vec![])),
            Ok(message) => prop_assert_eq!((result, reader.records), (Ok(()), vec![Some(message)])),
            Err(_) => prop_assert_eq!(result, Err(DecodeError::Garbage(Garbage::Escape))),
        }
    }

    /// Every JSON text comes back as it was, white space included, unless a line feed behind it would end it before its end.
    #[test]
    fn json_texts_come_back(texts in proptest::collection::vec(any_json(), 1..4), in_size in 1usize..40, out_size in 1usize..40) {
        let mut stream = Vec::new();
        for text in &texts {
            stream.extend(encode(&Framing::JsonSeq, &Embedded::Reject, &cut(text, in_size), false).unwrap());
        }
        prop_assert_eq!(decode(&Framing::JsonSeq, &cut(&stream, out_size), 10_000), Ok(texts));
    }

    /// What a parser takes has an end that the scanner sees; so where the scanner sees none, there is no JSON text.
    #[test]
    fn what_is_refused_is_no_json(text in any_json(), at in any::<proptest::sample::Index>(), byte in any_mark()) {
        let mut changed = text.clone();
        changed[at.index(text.len())] = byte;
        for text in [&text[..at.index(text.len())], &changed] {
            let is_json = serde_json::from_slice::<serde_json::Value>(text).is_ok();
            let value = text.trim_ascii_end();
            let ends_early = text[value.len()..].contains(&b'\n');
            if is_json && !ends_early {
                prop_assert!(encode(&Framing::JsonSeq, &Embedded::Reject, &[text], true).is_ok());
            }
        }
    }
}

#[test]
fn marks_that_cannot_be_told_apart_are_refused() {
    use BlockError as E;
    let long = [b'x'; 17];
    type Row<'a> = (&'a [u8], &'a [u8], Option<u8>, &'a [E]);
    let rows: &[Row<'_>] = &[
        (b"", b"", None, &[E::Start, E::End]),
        (b"a", b"", Some(b'a'), &[E::End]),
        (&long, b"b", None, &[E::Start]),
        (b"a", &long, None, &[E::End]),
        // The end is the escape, or reads as an escaped byte.
        (b"a", b"x", Some(b'x'), &[E::Ambiguous]),
        (b"a", b"xx", Some(b'x'), &[E::Ambiguous]),
        (b"a", b"xa", Some(b'x'), &[E::Ambiguous]),
    ];
    for (start, end, escape, errors) in rows {
        assert_eq!(
            Block::new(start, end, *escape, Outside::Close).unwrap_err(),
            *errors
        );
    }
    for (start, end, escape) in [
        (&b"a"[..], &b"a"[..], None),
        (&long[..16], &long[..16], None),
        (b"x", b"b", Some(b'x')),
        (b"a", b"b", Some(b'a')),
        (b"a", b"ax", Some(b'x')),
        (b"ab", b"xb", Some(b'x')),
    ] {
        assert!(Block::new(start, end, escape, Outside::Close).is_ok());
    }
}

#[test]
fn messages_that_a_mark_would_break_are_refused() {
    use EncodeError as E;
    type Row<'a> = (Framing, &'a [u8], Result<&'a [u8], E>);
    let rows: &[Row<'_>] = &[
        (named("mllp"), b"a", Ok(b"\x0ba\x1c\r")),
        (named("mllp"), b"", Ok(b"\x0b\x1c\r")),
        (named("mllp"), b"a\x1cb\r", Ok(b"\x0ba\x1cb\r\x1c\r")),
        (named("mllp"), b"a\x1c\rb", Err(E::DelimiterInside)),
        (named("mllp"), b"a\x0bb", Err(E::DelimiterInside)),
        (named("stx-etx"), b"a\x03", Err(E::DelimiterInside)),
        (named("stx-etx"), b"\x02", Err(E::DelimiterInside)),
        (plain(b"<", b"aa"), b"xa", Err(E::DelimiterInside)),
        (plain(b"<", b"ab"), b"xa", Ok(b"<xaab")),
        (dle(), b"\x02\x03", Ok(b"\x10\x02\x02\x03\x10\x03")),
        (dle(), b"\x10", Err(E::DelimiterInside)),
        (named("slip"), b"", Err(E::EmptyMessage)),
        (named("cobs"), b"", Ok(b"\x01\0")),
        (named("cobs"), b"\0", Ok(b"\x01\x01\0")),
        (named("json-seq"), b"", Err(E::EmptyMessage)),
        (named("json-seq"), b" ", Err(E::NotARecord)),
        (named("json-seq"), b"{}", Ok(b"\x1e{}\n")),
        (named("json-seq"), b"\n1 ", Ok(b"\x1e\n1 \n")),
        (named("json-seq"), b"{}\n", Err(E::NotARecord)),
        (named("json-seq"), b"1\n", Err(E::NotARecord)),
        (named("json-seq"), b"{} {}", Err(E::NotARecord)),
        (named("json-seq"), b"1 2", Err(E::NotARecord)),
        (named("json-seq"), b"[1", Err(E::NotARecord)),
        (named("json-seq"), b"1]", Err(E::NotARecord)),
        (named("json-seq"), b"]", Err(E::NotARecord)),
        (named("json-seq"), b"\"a", Err(E::NotARecord)),
        (named("json-seq"), b"\"a\\\"", Err(E::NotARecord)),
        (named("json-seq"), b"\"a\\\\\"", Ok(b"\x1e\"a\\\\\"\n")),
        (named("json-seq"), b"\"\x1e\"", Err(E::DelimiterInside)),
        (named("json-seq"), b"\"\\\x1e\"", Err(E::DelimiterInside)),
    ];
    for (framing, message, expected) in rows {
        for size in [1, 2, 1000] {
            for announced in [false, true] {
                let actual = encode(framing, &Embedded::Reject, &cut(message, size), announced);
                assert_eq!(
                    actual.as_deref().map_err(|error| *error),
                    *expected,
                    "{framing:?} {message:?} by {size}"
                );
            }
        }
    }
}

#[test]
fn a_refused_message_leaves_nothing_and_the_next_one_is_written() {
    for (framing, bad, good) in [
        (named("mllp"), &b"a\x1c\rb"[..], &b"good"[..]),
        (dle(), b"a\x10b", b"good"),
        (named("slip"), b"", b"good"),
        (named("json-seq"), b"{\"a\":[1 2\x1e", b"{}"),
    ] {
        let (mut state, mut out) = (EncodeState::default(), Outbox::default());
        let bad = Part::whole(Kind::Text, bad);
        assert!(
            framing
                .encode(&mut state, &Embedded::Reject, &bad, &mut out)
                .is_err()
        );
        assert_eq!((out.len(), state.is_cut()), (0, false), "{framing:?}");
        framing
            .encode(
                &mut state,
                &Embedded::Reject,
                &Part::whole(Kind::Text, good),
                &mut out,
            )
            .unwrap();
        assert_eq!(decode(&framing, &[out.ready()], 1000), Ok(vec![good.to_vec()]));
    }
}

#[test]
fn bytes_that_no_record_can_have_are_garbage() {
    use Garbage as G;
    type Row<'a> = (Framing, &'a [u8], G);
    let rows: &[Row<'_>] = &[
        (named("mllp"), b"a", G::Outside),
        (named("mllp"), b"\x0ba\x1c\r\n", G::Outside),
        (dle(), b"\x10\x10", G::Outside),
        (dle(), b"\x10\x02a\x10\x04", G::Escape),
        // A start inside a block.
        (dle(), b"\x10\x02a\x10\x02", G::Escape),
        (stx_with_escape(Outside::Skip), b"\x02a\x02", G::Escape),
        (stx_with_escape(Outside::Skip), b"\x02a\x10a", G::Escape),
        // The first byte of the end is escaped, or starts the end.
        (
            Framing::Block(Block::new(b"<", b">>", Some(b'\\'), Outside::Close).unwrap()),
            b"<a>b",
            G::Escape,
        ),
        (named("slip"), b"\xc0a\xdb\xc0", G::Escape),
        (named("slip"), b"\xdba", G::Escape),
        (named("slip"), b"\xdb\xdb", G::Escape),
        (named("cobs"), b"\x03a\0", G::Escape),
        (named("cobs"), b"\x02\0", G::Escape),
        (named("cobs"), b"\x02a\x03b\0", G::Escape),
        (named("json-seq"), b"{}\n", G::Outside),
        (named("json-seq"), b"\x1e{}\n{}\n", G::Outside),
        (named("json-seq"), b"\x1e{\x1e", G::Trailer),
        (named("json-seq"), b"\x1e\"a\n\x1e", G::Trailer),
        (named("json-seq"), b"\x1e \x1e", G::Trailer),
        // It may have been a longer number.
        (named("json-seq"), b"\x1e12\x1e", G::Trailer),
        (named("json-seq"), b"\x1e{} {}\n", G::Trailer),
        (named("json-seq"), b"\x1e]\n", G::Trailer),
    ];
    for (framing, bytes, garbage) in rows {
        for size in 1..=bytes.len() {
            let mut reader = Reader::new(framing, rules(100));
            let result = bytes.chunks(size).try_for_each(|piece| reader.feed(piece, false));
            assert_eq!(
                result,
                Err(DecodeError::Garbage(*garbage)),
                "{framing:?} {bytes:?} by {size}"
            );
        }
    }
}

/// RFC 7464 §2.3: it need not be the end.
#[test]
fn a_broken_json_text_can_be_discarded_and_the_next_one_is_read() {
    let discard = DecodeRules {
        oversized: Oversized::Discard,
        ..rules(100)
    };
    let stream = b"no separator\n\x1e{\"a\":\n\x1e[1]\n\x1e12\x1e{} x\n\x1e{}\x1e3\n";
    for size in 1..=stream.len() {
        let mut reader = Reader::new(&Framing::JsonSeq, discard);
        for piece in stream.chunks(size) {
            reader.feed(piece, false).unwrap();
        }
        let text = |text: &[u8]| Some(text.to_vec());
        let expected = [None, None, text(b"[1]"), None, None, text(b"{}"), text(b"3")];
        assert_eq!(reader.records, expected, "by {size}");
    }
}

#[test]
fn a_record_cut_short_by_the_end_of_the_stream_is_seen_as_such() {
    // What is open, what the decoder left, and what it dropped. `None`: the record was whole.
    type Row<'a> = (Framing, &'a [u8], Option<&'a [u8]>, &'a [u8], u64);
    let rows: &[Row<'_>] = &[
        (named("mllp"), b"\x0bab", Some(b"ab"), b"", 0),
        (named("mllp"), b"\x0b", Some(b""), b"", 0),
        (named("mllp"), b"\x0bab\x1c", Some(b"ab\x1c"), b"", 0),
        (dle(), b"\x10", None, b"\x10", 0),
        (dle(), b"\x10\x02a\x10", Some(b"a"), b"", 1),
        (named("slip"), b"\xc0a", Some(b"a"), b"", 0),
        (named("slip"), b"\xc0a\xdb", Some(b"a"), b"", 1),
        (named("slip"), b"\xc0\xdb", None, b"\xdb", 0),
        (named("cobs"), b"\x03a", Some(b"a"), b"", 0),
        (named("cobs"), b"\x02a", Some(b"a"), b"", 0),
        (named("json-seq"), b"\x1e", Some(b""), b"", 0),
        (named("json-seq"), b"\x1e12", Some(b"12"), b"", 0),
        (named("json-seq"), b"\x1e{", Some(b"{"), b"", 0),
    ];
    for (framing, stream, open, left, dropped) in rows {
        for size in 1..=stream.len() {
            let mut reader = Reader::new(framing, rules(100));
            for piece in stream.chunks(size) {
                reader.feed(piece, false).unwrap();
            }
            reader.feed(&[], true).unwrap();
            assert_eq!(reader.records, [], "{framing:?} {stream:?}");
            assert_eq!(reader.open.as_deref(), *open, "{framing:?} {stream:?}");
            assert_eq!(reader.left, *left, "{framing:?} {stream:?}");
            assert_eq!(reader.state.take_dropped(), *dropped, "{framing:?} {stream:?}");
        }
    }
}

/// RFC 7464 §2.4: an array, an object or a string that is complete needs nothing behind it.
#[test]
fn the_end_of_the_stream_ends_a_json_text_that_cannot_go_on() {
    for text in [&b"[1]"[..], b"{\"a\":{}}", b"\"a\"", b"12 "] {
        let stream = [b"\x1e", text].concat();
        for size in 1..=stream.len() {
            assert_eq!(
                decode(&Framing::JsonSeq, &cut(&stream, size), 100),
                Ok(vec![text.to_vec()])
            );
        }
    }
}

#[test]
fn nothing_of_an_unfinished_message_leaves() {
    for framing in [
        named("mllp"),
        dle(),
        named("slip"),
        named("cobs"),
        named("json-seq"),
    ] {
        let (mut state, mut out) = (EncodeState::default(), Outbox::default());
        let half = Part {
            begin: Some(Begin {
                kind: Kind::Text,
                len: Some(9),
            }),
            data: b"[\"half",
            end: false,
        };
        framing
            .encode(&mut state, &Embedded::Escape, &half, &mut out)
            .unwrap();
        assert_eq!((out.ready(), state.is_cut()), (&b""[..], false), "{framing:?}");
        assert!(!framing.announces_length());
    }
}

/// A byte at a time, and of the dearest kind: what is counted is bytes looked at.
#[test]
fn a_long_record_that_arrives_a_byte_at_a_time_is_looked_at_once() {
    const LEN: usize = 1 << 17;
    let json = |inside: &[u8]| [b"[\"", inside, b"\"]"].concat();
    for (framing, message, most) in [
        (named("mllp"), vec![b'x'; LEN], 2),
        // Each byte may be the start of the end.
        (named("mllp"), vec![0x1C; LEN], 3),
        (plain(b"<", b"aaab"), vec![b'a'; LEN], 8),
        (dle(), vec![b'x'; LEN], 2),
        (dle(), vec![0x10; LEN], 4),
        (named("slip"), vec![b'x'; LEN], 2),
        (named("slip"), vec![0xC0; LEN], 4),
        (named("cobs"), vec![b'x'; LEN], 3),
        (named("cobs"), vec![0; LEN], 3),
        (named("json-seq"), json(&[b'x'; LEN]), 2),
        (named("json-seq"), json(&[b'\\'; LEN]), 2),
    ] {
        let (mut state, mut out) = (EncodeState::default(), Outbox::default());
        for (at, byte) in message.iter().enumerate() {
            let part = Part {
                begin: (at == 0).then_some(Begin {
                    kind: Kind::Text,
                    len: None,
                }),
                data: &[*byte],
                end: false,
            };
            framing
                .encode(&mut state, &Embedded::Escape, &part, &mut out)
                .unwrap();
        }
        let looked = state.examined;
        assert!(
            (message.len() as u64..=4 * message.len() as u64).contains(&looked),
            "{framing:?}: {looked}"
        );
        let record = encode(&framing, &Embedded::Escape, &[&message], true).unwrap();
        let mut reader = Reader::new(&framing, rules(1 << 20));
        for byte in &record {
            reader.feed(&[*byte], false).unwrap();
        }
        assert_eq!(reader.records, [Some(message)]);
        assert!(reader.most_left < 16);
        let (looked, len) = (reader.state.examined, record.len() as u64);
        assert!(
            (len..=most * len).contains(&looked),
            "{framing:?}: {looked} of {len}"
        );
    }
}
