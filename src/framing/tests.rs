//! Properties that every framing has, exhaustive cuts of short inputs, and comparison with other implementations.

mod marked;

use bytes::BytesMut;
use proptest::prelude::*;
use tokio_util::codec::{AnyDelimiterCodec, Decoder as _, Encoder as _, LengthDelimitedCodec};

use super::*;
use crate::message::{Begin, Kind};

mod counted;
mod protocols;

fn rules(max_message: u64) -> DecodeRules {
    DecodeRules {
        max_message,
        oversized: Oversized::Close,
        text: false,
    }
}

/// Feeds `pieces` as a stream, as the bridge does, and gives the records, `None` for one that was discarded.
struct Reader<'a> {
    framing: &'a Framing,
    rules: DecodeRules,
    state: DecodeState,
    left: Vec<u8>,
    open: Option<Vec<u8>>,
    records: Vec<Option<Vec<u8>>>,
    /// The most that was left unconsumed.
    most_left: usize,
}

impl<'a> Reader<'a> {
    fn new(framing: &'a Framing, rules: DecodeRules) -> Self {
        Self {
            framing,
            rules,
            state: DecodeState::default(),
            left: vec![],
            open: None,
            records: vec![],
            most_left: 0,
        }
    }

    fn feed(&mut self, piece: &[u8], eof: bool) -> Result<(), DecodeError> {
        let mut input = std::mem::take(&mut self.left);
        input.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let input = &input[at..];
            let mut state = self.state;
            let whole = self.framing.whole_record(&state, &self.rules, input);
            let decoded = self.framing.decode(&mut state, &self.rules, input, eof)?;
            if let Some(whole) = whole {
                assert_eq!(self.state.scanned, 0, "nothing is searched twice");
                assert_eq!(
                    decoded,
                    Decoded {
                        consumed: whole.consumed,
                        event: Event::Part(Part::whole(Kind::Binary, &input[whole.start..whole.end])),
                    },
                    "the shortcut leads to the same place"
                );
                assert!(!state.is_inside() && !state.is_discarding() && state.seen == 0);
            } else {
                // Whoever takes the shortcut leaves the state as it was.
                self.state = state;
            }
            at += decoded.consumed;
            match decoded.event {
                Event::More => break,
                Event::Discarded => {
                    self.open = None;
                    self.records.push(None);
                }
                Event::Part(part) => {
                    assert_eq!(part.begin.is_some(), self.open.is_none(), "a record begins once");
                    let mut record = self.open.take().unwrap_or_default();
                    record.extend_from_slice(part.data);
                    assert!(
                        record.len() as u64 <= self.rules.max_message,
                        "never more than the limit"
                    );
                    if part.end {
                        self.records.push(Some(record));
                    } else {
                        self.open = Some(record);
                    }
                }
            }
        }
        self.left = input[at..].to_vec();
        self.most_left = self.most_left.max(self.left.len());
        assert!(self.left.len() <= MAX_HEADER);
        Ok(())
    }
}

fn decode(framing: &Framing, pieces: &[&[u8]], max: u64) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut reader = Reader::new(framing, rules(max));
    for piece in pieces {
        reader.feed(piece, false)?;
    }
    reader.feed(&[], true)?;
    assert_eq!((reader.open, reader.left), (None, vec![]), "nothing is left over");
    Ok(reader.records.into_iter().flatten().collect())
}

/// Encodes a message that arrives in pieces; `announced`: its length is known at its start.
fn encode(
    framing: &Framing,
    embedded: &Embedded,
    pieces: &[&[u8]],
    announced: bool,
) -> Result<Vec<u8>, EncodeError> {
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    let len = pieces.iter().map(|piece| piece.len() as u64).sum();
    let whole = pieces.len() == 1;
    for (i, data) in pieces.iter().enumerate() {
        let len = (announced || whole).then_some(len);
        let begin = (i == 0).then_some(Begin {
            kind: Kind::Binary,
            len,
        });
        let part = Part {
            begin,
            data,
            end: i + 1 == pieces.len(),
        };
        framing.encode(&mut state, embedded, &part, &mut out)?;
    }
    assert!(!state.is_cut());
    assert_eq!(out.held(), b"", "all has been released");
    Ok(out.ready().to_vec())
}

fn cut(bytes: &[u8], size: usize) -> Vec<&[u8]> {
    if bytes.is_empty() {
        vec![bytes]
    } else {
        bytes.chunks(size.max(1)).collect()
    }
}

fn delimiter(listed: &[&str], keep: bool) -> Framing {
    let listed: Vec<Vec<u8>> = listed.iter().map(|one| one.as_bytes().to_vec()).collect();
    Framing::Delimiter(Delimiter::new(&listed, keep).unwrap())
}

fn any_delimiter() -> impl Strategy<Value = Framing> {
    let one = proptest::collection::vec(
        prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n'), Just(b'\r')],
        1..4,
    );
    (proptest::collection::vec(one, 1..4), any::<bool>()).prop_filter_map("ambiguous", |(listed, keep)| {
        Delimiter::new(&listed, keep).ok().map(Framing::Delimiter)
    })
}

fn any_length_prefix() -> impl Strategy<Value = Framing> {
    (
        1usize..=8,
        any::<bool>(),
        0usize..6,
        -20i64..20,
        any::<bool>(),
        any::<bool>(),
        any::<[u8; 5]>(),
    )
        .prop_map(
            |(width, big, offset, adjustment, includes_header, keep, template)| {
                Framing::LengthPrefix(LengthPrefix {
                    width,
                    endian: if big { Endian::Big } else { Endian::Little },
                    offset,
                    adjustment,
                    includes_header,
                    header: if keep { Header::Keep } else { Header::Strip },
                    template: template[..offset].into(),
                })
            },
        )
}

fn any_framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        any_delimiter(),
        any_length_prefix(),
        counted::any_counted(),
        protocols::any_protocol(),
        marked::any_marked()
    ]
}

/// Bytes that are likely to meet the delimiters above.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        prop_oneof![
            4 => any::<u8>(), 3 => Just(b'a'), 3 => Just(b'b'), 1 => Just(b'\n'), 1 => Just(b'\r'),
            3 => marked::any_mark(),
        ],
        0..80,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// decode(any chunking of encode(m)) == m, for several messages in a row; and what cannot come back is refused.
    #[test]
    fn what_is_encoded_comes_back(
        framing in any_framing(), messages in proptest::collection::vec(any_message(), 1..5),
        in_size in 1usize..30, out_size in 1usize..30, announced: bool,
    ) {
        let (mut stream, mut sent) = (Vec::new(), Vec::new());
        for message in &messages {
            if let Ok(record) = encode(&framing, &Embedded::Reject, &cut(message, in_size), announced) {
                stream.extend(record);
                sent.push(message.clone());
            }
        }
        prop_assert_eq!(decode(&framing, &cut(&stream, out_size), 1000), Ok(sent));
    }

    /// However the client cuts a message, the record is the same.
    #[test]
    fn the_record_does_not_depend_on_the_cuts(framing in any_framing(), message in any_message(), size in 1usize..30) {
        let whole = encode(&framing, &Embedded::Reject, &[&message], true);
        prop_assert_eq!(&encode(&framing, &Embedded::Reject, &cut(&message, size), true), &whole);
        prop_assert_eq!(&encode(&framing, &Embedded::Reject, &cut(&message, size), false), &whole);
    }

    /// Any bytes: no panic, the limit holds, at most a header is left, and the result does not depend on the cuts.
    #[test]
    fn any_bytes_can_be_read(framing in any_framing(), bytes in any_message(), size in 1usize..30, max in 0u64..60, discard: bool) {
        let rules = DecodeRules { oversized: if discard { Oversized::Discard } else { Oversized::Close }, ..rules(max) };
        let read = |size: usize| {
            let mut reader = Reader::new(&framing, rules);
            for piece in cut(&bytes, size) {
                if let Err(error) = reader.feed(piece, false) {
                    return (Some(error), reader.records, None, vec![]);
                }
            }
            if reader.state.is_discarding() {
                reader.open = None;
            }
            (None, reader.records, reader.open, reader.left)
        };
        prop_assert_eq!(read(size), read(bytes.len().max(1)));
    }

    /// `split` lets delimiters pass: the backend sees the same bytes, in more records.
    #[test]
    fn split_loses_nothing(message in any_message(), size in 1usize..30) {
        let framing = delimiter(&["\n"], false);
        let record = encode(&framing, &Embedded::Split, &cut(&message, size), false).unwrap();
        let expected: Vec<Vec<u8>> = message.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        prop_assert_eq!(decode(&framing, &[&record], 1000), Ok(expected));
    }

    /// `replace` gives one record without any delimiter, which is as long as its replacements make it.
    #[test]
    fn replace_leaves_one_record(message in any_message(), size in 1usize..30) {
        let framing = delimiter(&["\r\n", "\n", "\r"], false);
        let record = encode(&framing, &Embedded::Replace(b" "[..].into()), &cut(&message, size), false).unwrap();
        let text: String = message.iter().map(|byte| char::from(*byte)).collect();
        let expected: Vec<u8> = text.replace("\r\n", " ").replace(['\r', '\n'], " ").chars().map(|c| c as u8).collect();
        prop_assert_eq!(decode(&framing, &[&record], 1000), Ok(vec![expected]));
    }

    /// Beside tokio-util's codec, with every parameter that it has too.
    #[test]
    fn length_prefix_agrees_with_tokio_util(
        width in 1usize..=8, big: bool, offset in 0usize..6, adjustment in -3i64..9,
        bytes in proptest::collection::vec(prop_oneof![3 => 0u8..6, 1 => any::<u8>()], 0..60), size in 1usize..20,
    ) {
        let ours = Framing::LengthPrefix(LengthPrefix {
            width, offset, adjustment, includes_header: false, header: Header::Keep, template: Box::default(),
            endian: if big { Endian::Big } else { Endian::Little },
        });
        let mut builder = LengthDelimitedCodec::builder();
        // They count the header into what they keep.
        let kept = adjustment as isize + (offset + width) as isize;
        builder
            .length_field_length(width)
            .length_field_offset(offset)
            .length_adjustment(kept)
            .num_skip(0)
            .max_frame_length(50);
        let mut theirs = if big { builder.big_endian() } else { builder.little_endian() }.new_codec();
        let (mut buffer, mut expected, mut failed) = (BytesMut::from(&bytes[..]), Vec::new(), false);
        loop {
            match theirs.decode(&mut buffer) {
                // A length that does not even reach behind its own field makes them stand still; to us it is no header.
                Ok(Some(frame)) if frame.len() < offset + width => { failed = true; break }
                Ok(Some(frame)) => expected.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => { failed = true; break }
            }
        }
        let mut reader = Reader::new(&ours, rules(1 << 40));
        let result = cut(&bytes, size).into_iter().try_for_each(|piece| reader.feed(piece, false));
        let records: Vec<Vec<u8>> = reader.records.into_iter().flatten().collect();
        if failed {
            // Their limit counts otherwise; up to there the records are the same.
            prop_assert!(records.starts_with(&expected));
        } else {
            prop_assert_eq!(records, expected);
            prop_assert_eq!(result, Ok(()));
        }
    }

    #[test]
    fn delimiters_agree_with_tokio_util(bytes in any_message(), size in 1usize..20) {
        let ours = delimiter(&["\n", "b"], false);
        let mut theirs = AnyDelimiterCodec::new(b"\nb".to_vec(), b"\n".to_vec());
        let (mut buffer, mut expected) = (BytesMut::from(&bytes[..]), Vec::new());
        while let Some(frame) = theirs.decode_eof(&mut buffer).unwrap() {
            expected.push(frame.to_vec());
        }
        let mut reader = Reader::new(&ours, rules(1000));
        for piece in cut(&bytes, size) {
            reader.feed(piece, false).unwrap();
        }
        let mut records: Vec<Vec<u8>> = reader.records.into_iter().flatten().collect();
        records.extend(reader.open);
        prop_assert_eq!(records, expected);
    }

    /// Their encoder writes the same bytes, where it can write them at all.
    #[test]
    fn length_prefix_encodes_as_tokio_util(message in any_message(), width in 1usize..=8, big: bool) {
        let ours = Framing::LengthPrefix(LengthPrefix::plain(width, if big { Endian::Big } else { Endian::Little }));
        let mut builder = LengthDelimitedCodec::builder();
        builder.length_field_length(width);
        let mut theirs = if big { builder.big_endian() } else { builder.little_endian() }.new_codec();
        let mut expected = BytesMut::new();
        theirs.encode(&message[..], &mut expected).unwrap();
        prop_assert_eq!(encode(&ours, &Embedded::Reject, &[&message], true), Ok(expected.to_vec()));
    }
}

#[test]
fn every_two_cuts_of_a_short_stream_give_the_same_records() {
    type Row = (Framing, &'static [u8], &'static [&'static [u8]]);
    let rows: &[Row] = &[
        (delimiter(&["\n"], false), b"ab\n\nc\n", &[b"ab", b"", b"c"]),
        (
            delimiter(&["\r\n", "\n", "\r"], false),
            b"a\r\nb\rc\n\r\nd\r",
            &[b"a", b"b", b"c", b"", b"d"],
        ),
        (delimiter(&["\r\n"], false), b"a\r\r\n\nb\r\n", &[b"a\r", b"\nb"]),
        (
            delimiter(&["--\n"], true),
            b"a-\n--\n---\n",
            &[b"a-\n--\n", b"---\n"],
        ),
        (delimiter(&["abab"], false), b"xababab", &[b"x", b"ab"]),
        (
            preset("u16be").unwrap().to_client,
            b"\0\x02ab\0\0\0\x01c",
            &[b"ab", b"", b"c"],
        ),
        (
            preset("tpkt").unwrap().to_client,
            b"\x03\0\0\x06ab\x03\0\0\x04",
            &[b"ab", b""],
        ),
        (
            preset("mysql").unwrap().to_client,
            b"\x02\0\0\x07ab\0\0\0\x08",
            &[b"\x02\0\0\x07ab", b"\0\0\0\x08"],
        ),
        (
            preset("mongodb").unwrap().to_client,
            b"\x06\0\0\0ab\x04\0\0\0",
            &[b"\x06\0\0\0ab", b"\x04\0\0\0"],
        ),
        (
            preset("modbus").unwrap().to_client,
            b"\0\x01\0\0\0\x02\x11\x03",
            &[b"\0\x01\0\0\0\x02\x11\x03"],
        ),
        (
            preset("protobuf").unwrap().to_client,
            b"\x02ab\0\x81\0c",
            &[b"ab", b"", b"c"],
        ),
        (
            preset("mqtt").unwrap().to_client,
            b"\x30\x02ab\xd0\0",
            &[b"\x30\x02ab", b"\xd0\0"],
        ),
        (
            Framing::Fixed(Fixed::new(3, Some(b' ')).unwrap()),
            b"abcd  ",
            &[b"abc", b"d  "],
        ),
        (
            preset("netstring").unwrap().to_client,
            b"2:ab,0:,10:0123456789,",
            &[b"ab", b"", b"0123456789"],
        ),
        (
            preset("lsp").unwrap().to_client,
            b"Content-Length: 2\r\n\r\nabx:y\r\ncontent-length:0\r\n\r\n",
            &[b"ab", b""],
        ),
        (
            counted::headers_kept(),
            b"Content-Length: 2\r\n\r\nab",
            &[b"Content-Length: 2\r\n\r\nab"],
        ),
        (
            preset("syslog").unwrap().to_client,
            b"2 ab10 0123456789",
            &[b"ab", b"0123456789"],
        ),
        (
            preset("mllp").unwrap().to_client,
            b"\x0ba\x1cb\x0bc\x1c\r\x0b\x1c\r",
            &[b"a\x1cb\x0bc", b""],
        ),
        (
            marked::dle(),
            b"\x10\x02a\x10\x10\x03\x10\x03\x10\x02\x10\x10\x10\x03",
            &[b"a\x10\x03", b"\x10"],
        ),
        (
            marked::stx_with_escape(Outside::Skip),
            b"?\x02a\x10\x03\x10\x10\x03?\x10\x02\x03",
            &[b"a\x03\x10", b""],
        ),
        (
            preset("slip").unwrap().to_client,
            b"\xc0\xc0\xdb\xdca\xdb\xdd\xc0b\xc0\xc0",
            &[b"\xc0a\xdb", b"b"],
        ),
        (
            preset("cobs").unwrap().to_client,
            b"\0\x03ab\x01\x02c\0\x01\0\x02a\x01\0",
            &[b"ab\0\0c", b"", b"a\0"],
        ),
        (
            preset("json-seq").unwrap().to_client,
            b"\x1e\x1e[1,\n2]\n\n\x1e\"\\\"\n\"\x1e12\n",
            &[b"[1,\n2]", b"\"\\\"\n\"", b"12"],
        ),
    ];
    for (framing, stream, expected) in rows {
        // "xababab": what follows the delimiter is an unfinished record, which the helper must not see as lost.
        let ends_open = *stream == b"xababab";
        for one in 0..=stream.len() {
            for two in one..=stream.len() {
                let pieces = [&stream[..one], &stream[one..two], &stream[two..]];
                let mut reader = Reader::new(framing, rules(100));
                for piece in pieces {
                    reader.feed(piece, false).unwrap();
                }
                reader.feed(&[], true).unwrap();
                let mut records: Vec<Vec<u8>> = reader.records.into_iter().flatten().collect();
                assert_eq!(reader.open.is_some(), ends_open, "{framing:?}");
                records.extend(reader.open);
                assert_eq!(records, *expected, "{framing:?} cut at {one} and {two}");
            }
        }
    }
}

#[test]
fn messages_that_would_not_come_back_are_refused() {
    use EncodeError as E;
    let u8be = preset("u8").unwrap().to_client;
    let tpkt = preset("tpkt").unwrap().to_client;
    let mysql = preset("mysql").unwrap().to_client;
    let modbus = preset("modbus").unwrap().to_client;
    type Row<'a> = (&'a Framing, &'a [u8], Result<&'a [u8], E>);
    let rows: &[Row<'_>] = &[
        (&delimiter(&["\n"], false), b"a\nb", Err(E::DelimiterInside)),
        (&delimiter(&["\n"], false), b"a\n", Err(E::DelimiterInside)),
        (&delimiter(&["\n"], false), b"a\r", Ok(b"a\r\n")),
        (&delimiter(&["\r\n", "\n"], false), b"a\r", Ok(b"a\r\r\n")),
        (
            &delimiter(&["\n", "\r\n"], false),
            b"a\r",
            Err(E::DelimiterInside),
        ),
        (&delimiter(&["aa"], false), b"xa", Err(E::DelimiterInside)),
        (&delimiter(&["ab"], false), b"xa", Ok(b"xaab")),
        (&delimiter(&["\n"], true), b"a", Err(E::DelimiterMissing)),
        (&delimiter(&["\n"], true), b"a\n", Ok(b"a\n")),
        (&delimiter(&["\n"], true), b"a\nb\n", Err(E::DelimiterInside)),
        (
            &delimiter(&["\r\n", "\r"], true),
            b"a\r",
            Err(E::DelimiterMissing),
        ),
        (&delimiter(&["b", "abc"], false), b"a", Err(E::DelimiterInside)),
        (&delimiter(&["b", "abc"], false), b"c", Ok(b"cb")),
        (&delimiter(&["b", "abc"], true), b"ab", Err(E::DelimiterInside)),
        (&u8be, &[7; 256], Err(E::LengthDoesNotFit)),
        (&tpkt, b"ab", Ok(b"\x03\0\0\x06ab")),
        (&mysql, b"\x02\0\0\x07ab", Ok(b"\x02\0\0\x07ab")),
        (&mysql, b"\x03\0\0\x07ab", Err(E::HeaderMismatch)),
        (&mysql, b"\x02\0", Err(E::HeaderMismatch)),
        (&modbus, b"", Err(E::HeaderMismatch)),
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

/// Messages of different lengths are searched in different ways, and long ones in pieces.
#[test]
fn a_delimiter_is_noticed_wherever_it_stands() {
    let framing = delimiter(&["\n"], false);
    let all = |len| (0..len).collect::<Vec<usize>>();
    let mut cases: Vec<_> = (0..300).map(|len| (len, all(len))).collect();
    cases.extend((8190..8200).map(|len| (len, vec![0, 300, len - 1])));
    cases.push((20_000, vec![0, 8191, 8192, 16_383, 16_384, 19_999]));
    for (len, places) in cases {
        let mut message = vec![b'x'; len];
        let record = [&message[..], b"\n"].concat();
        assert_eq!(encode(&framing, &Embedded::Reject, &[&message], true), Ok(record));
        for at in places {
            message[at] = b'\n';
            let encoded = encode(&framing, &Embedded::Reject, &[&message], true);
            assert_eq!(encoded, Err(EncodeError::DelimiterInside), "{at} of {len}");
            message[at] = b'x';
        }
    }
}

#[test]
fn a_replacement_does_not_leave_a_delimiter_at_the_end() {
    let kept = delimiter(&["aa"], true);
    let with = Embedded::Replace(b" "[..].into());
    for (message, expected) in [
        (&b"xaayaa"[..], Ok(b"x yaa".to_vec())),
        (b"xaa", Ok(b"xaa".to_vec())),
        (b"xaaa", Err(EncodeError::DelimiterInside)),
    ] {
        assert_eq!(encode(&kept, &with, &[message], true), expected, "{message:?}");
    }
}

#[test]
fn headers_that_cannot_be_are_refused_and_long_ones_noticed_at_once() {
    use DecodeError as E;
    let strict = LengthPrefix {
        offset: 2,
        template: Box::new([3, 0]),
        includes_header: true,
        ..LengthPrefix::plain(2, Endian::Big)
    };
    let signed = LengthPrefix {
        adjustment: -4,
        ..LengthPrefix::plain(4, Endian::Big)
    };
    let rows: &[(Framing, &[u8], E)] = &[
        (
            Framing::LengthPrefix(strict.clone()),
            b"\x04\0\0\x08",
            E::Garbage(Garbage::Header),
        ),
        (
            Framing::LengthPrefix(strict),
            b"\x03\0\0\x03",
            E::Garbage(Garbage::Header),
        ),
        (
            Framing::LengthPrefix(signed),
            b"\0\0\0\x03",
            E::Garbage(Garbage::Header),
        ),
        (preset("u32be").unwrap().to_client, b"\xff\xff\xff\xff", E::TooBig),
        (
            Framing::LengthPrefix(LengthPrefix::plain(8, Endian::Big)),
            &[0xFF; 8],
            E::TooBig,
        ),
        (
            Framing::LengthPrefix(LengthPrefix {
                adjustment: 9,
                ..LengthPrefix::plain(8, Endian::Big)
            }),
            &[0xFF; 8],
            E::TooBig,
        ),
        (delimiter(&["\n"], false), &[b'x'; 101], E::TooBig),
    ];
    for (framing, bytes, error) in rows {
        let mut reader = Reader::new(framing, rules(100));
        assert_eq!(reader.feed(bytes, false), Err(*error), "{framing:?}");
    }
}

#[test]
fn a_record_over_the_limit_can_be_discarded_and_the_next_one_is_read() {
    let discard = DecodeRules {
        oversized: Oversized::Discard,
        ..rules(3)
    };
    let rows: &[(Framing, &[u8])] = &[
        (delimiter(&["\n"], false), b"ok\nfar too long\nend\n"),
        (
            preset("u16be").unwrap().to_client,
            b"\0\x02ok\0\x0cfar too long\0\x03end",
        ),
        (
            preset("protobuf").unwrap().to_client,
            b"\x02ok\x0cfar too long\x03end",
        ),
        (
            preset("netstring").unwrap().to_client,
            b"2:ok,12:far too long,3:end,",
        ),
        (
            preset("lsp").unwrap().to_client,
            b"Content-Length:2\r\n\r\nokContent-Length:12\r\n\r\nfar too longContent-Length:3\r\n\r\nend",
        ),
        (preset("syslog").unwrap().to_client, b"2 ok12 far too long3 end"),
        (
            preset("mllp").unwrap().to_client,
            b"\x0bok\x1c\r\x0bfar too long\x1c\r\x0bend\x1c\r",
        ),
        (
            marked::dle(),
            b"\x10\x02ok\x10\x03\x10\x02far \x10\x10\x02\x03 long\x10\x03\x10\x02end\x10\x03",
        ),
        (
            preset("slip").unwrap().to_client,
            b"ok\xc0\xc0far \xdb\xdc\xdb\xdd too long\xc0end\xc0",
        ),
        (
            preset("cobs").unwrap().to_client,
            b"\x03ok\0\x05far \x01\x01\x09too long\0\x04end\0",
        ),
        (
            // Of a text that is no value, and of what stands in front of a separator, nothing is delivered either.
            preset("json-seq").unwrap().to_client,
            b"\x1e\"\"\n\x1e[1,\n\n\n2]\nx\n\x1e100\n",
        ),
    ];
    for (framing, stream) in rows {
        for size in 1..=stream.len() {
            let mut reader = Reader::new(framing, discard);
            for piece in stream.chunks(size) {
                reader.feed(piece, false).unwrap();
            }
            let (first, last): (&[u8], &[u8]) = match framing {
                Framing::JsonSeq => (b"\"\"", b"100"),
                _ => (b"ok", b"end"),
            };
            assert_eq!(
                reader.records,
                [Some(first.to_vec()), None, Some(last.to_vec())],
                "{framing:?} by {size}"
            );
        }
    }
}

#[test]
fn raw_never_cuts_a_character_of_text() {
    let text = "a€😀b".as_bytes();
    let rules = DecodeRules {
        text: true,
        ..rules(100)
    };
    for size in 1..=text.len() {
        let mut reader = Reader::new(&Framing::Raw, rules);
        for piece in text.chunks(size) {
            reader.feed(piece, false).unwrap();
        }
        let records: Vec<Vec<u8>> = reader.records.into_iter().flatten().collect();
        assert!(
            records.iter().all(|record| std::str::from_utf8(record).is_ok()),
            "by {size}"
        );
        assert_eq!(records.concat(), text);
    }
    let mut narrow = Reader::new(
        &Framing::Raw,
        DecodeRules {
            max_message: 2,
            ..rules
        },
    );
    assert_eq!(narrow.feed("😀".as_bytes(), false), Err(DecodeError::TooBig));
}

/// The longest line that a route with `max_message = "64 MiB"` takes, in the smallest pieces there are. What is counted is bytes looked
/// at: each once, and again only as many as a longer delimiter may reach back over.
#[test]
fn a_line_of_64_mib_that_arrives_a_byte_at_a_time_is_searched_once() {
    for (len, listed, again) in [(1 << 20, &["\n"][..], 0), (64 << 20, &["\r\n", "\n"], 1)] {
        let framing = delimiter(listed, false);
        let mut state = DecodeState::default();
        for _ in 0..len {
            let decoded = framing.decode(&mut state, &rules(len), b"x", false).unwrap();
            assert_eq!(decoded.consumed, 1);
        }
        let decoded = framing.decode(&mut state, &rules(len), b"\n", false).unwrap();
        assert!(matches!(decoded.event, Event::Part(Part { end: true, .. })));
        assert_eq!(state.examined, len + 1);

        let (mut state, mut out) = (EncodeState::default(), Outbox::default());
        let begin = Begin {
            kind: Kind::Text,
            len: None,
        };
        for at in 0..len {
            let part = Part {
                begin: (at == 0).then_some(begin),
                data: b"x",
                end: false,
            };
            framing
                .encode(&mut state, &Embedded::Reject, &part, &mut out)
                .unwrap();
        }
        assert_eq!(out.held().len() as u64, len);
        assert!(state.examined <= len * (1 + again), "{}", state.examined);
    }
}

/// Messages of which every preset takes one: text, and what carries its own framing.
fn samples() -> Vec<Vec<u8>> {
    let text = |len| {
        b"The quick brown fox. "
            .iter()
            .copied()
            .cycle()
            .take(len)
            .collect::<Vec<u8>>()
    };
    let around = |start: &[u8], body: &[u8], end: &[u8]| [start, body, end].concat();
    vec![
        text(20_000),
        text(200),
        // mongodb, mysql, modbus, mqtt
        around(&20_004_u32.to_le_bytes(), &text(20_000), b""),
        around(b"\x20\x4e\0\x07", &text(20_000), b""),
        around(b"\0\x01\0\0\x4e\x20", &text(20_000), b""),
        around(b"\x30\xa0\x9c\x01", &text(20_000), b""),
        // postgres, amqp091
        around(b"D\0\0\x4e\x24", &text(20_000), b""),
        around(b"\0\0\0\x17\0\x03\0\0user\0", b"me456789\0", b"\0"),
        around(b"\x03\0\x01\0\0\x4e\x20", &text(20_000), b"\xce"),
        b"AMQP\0\0\x09\x01".to_vec(),
        around(b"SEND\ndestination:/queue/a\n\n", &text(20_000), b"\0"),
        b"8=FIX.4.4\x019=5\x0135=0\x0110=163\x01".to_vec(),
    ]
}

/// No byte is looked at again because more came, however little that was. For what a framing has to look at twice (the start of a delimiter,
/// a header that is too short to be remembered) there is room, but for nothing that grows faster than its record.
#[test]
fn no_preset_looks_at_more_for_bytes_that_come_alone() {
    let work = |framing: &Framing, stream: &[u8], size: usize| {
        let (mut state, mut left, mut ended) = (DecodeState::default(), Vec::new(), 0);
        for piece in stream.chunks(size) {
            left.extend_from_slice(piece);
            let mut used = 0;
            loop {
                let decoded = framing
                    .decode(&mut state, &rules(1 << 20), &left[used..], false)
                    .unwrap();
                used += decoded.consumed;
                let Event::Part(part) = decoded.event else { break };
                ended += usize::from(part.end);
            }
            left.drain(..used);
        }
        assert!(left.is_empty() && !state.is_inside(), "{framing:?}");
        assert!(ended > 0, "{framing:?}");
        state.examined
    };
    let mut counting = 0;
    for name in preset_names() {
        let made = preset(name).unwrap();
        for framing in [&made.to_backend, &made.to_client] {
            let taken: Vec<(Vec<u8>, Vec<u8>)> = samples()
                .into_iter()
                .filter_map(|message| {
                    let record = encode(framing, &Embedded::Reject, &[&message], true).ok()?;
                    Some((message, record))
                })
                .collect();
            assert!(!taken.is_empty(), "{name} takes none of the samples: add one");
            for (message, record) in taken {
                let (whole, alone) = (work(framing, &record, record.len()), work(framing, &record, 1));
                let most = 3 * record.len() as u64 + 2 * MAX_HEADER as u64;
                assert!(
                    whole <= most && alone <= most,
                    "{name}: {whole} and {alone} of {}",
                    record.len()
                );
                counting += usize::from(alone > 0);

                // All but the last byte: behind it the count starts anew.
                let (mut state, mut out) = (EncodeState::default(), Outbox::default());
                for at in 0..message.len() - 1 {
                    let part = Part {
                        begin: (at == 0).then_some(Begin {
                            kind: Kind::Binary,
                            len: None,
                        }),
                        data: &message[at..=at],
                        end: false,
                    };
                    framing
                        .encode(&mut state, &Embedded::Reject, &part, &mut out)
                        .unwrap();
                }
                assert!(
                    state.examined <= most,
                    "{name}: {} of {}",
                    state.examined,
                    message.len()
                );
            }
        }
    }
    assert!(counting > preset_names().count(), "{counting}");
}

/// Whoever asks until there is no more must come to an end, in the middle of a record too.
#[test]
fn without_input_there_is_nothing_more_wherever_the_stream_stands() {
    for name in preset_names() {
        let framing = preset(name).unwrap().to_client;
        for message in samples() {
            let Ok(record) = encode(&framing, &Embedded::Reject, &[&message], true) else {
                continue;
            };
            for cut in [0, 1, 5, 30, record.len() / 2, record.len()] {
                let (mut state, mut used) = (DecodeState::default(), 0);
                let input = &record[..cut.min(record.len())];
                while used < input.len() {
                    let decoded = framing
                        .decode(&mut state, &rules(1 << 20), &input[used..], false)
                        .unwrap();
                    used += decoded.consumed;
                    if decoded.event == Event::More {
                        break;
                    }
                }
                if used < input.len() {
                    continue;
                }
                for eof in [false, true] {
                    let decoded = framing.decode(&mut state, &rules(1 << 20), &[], eof);
                    let more = Decoded {
                        consumed: 0,
                        event: Event::More,
                    };
                    assert_eq!(decoded, Ok(more), "{name} at {cut}, eof {eof}");
                }
            }
        }
    }
}

#[test]
fn half_a_line_never_leaves_and_half_a_counted_record_shows() {
    let part = |begin, len, data| Part {
        begin: if begin {
            Some(Begin {
                kind: Kind::Text,
                len,
            })
        } else {
            None
        },
        data,
        end: false,
    };
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    delimiter(&["\n"], false)
        .encode(
            &mut state,
            &Embedded::Reject,
            &part(true, Some(9), b"half"),
            &mut out,
        )
        .unwrap();
    assert_eq!((out.ready(), state.is_cut()), (&b""[..], false));

    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    let u16be = preset("u16be").unwrap().to_client;
    u16be
        .encode(
            &mut state,
            &Embedded::Reject,
            &part(true, Some(9), b"half"),
            &mut out,
        )
        .unwrap();
    assert_eq!((out.ready(), state.is_cut()), (&b"\0\x09half"[..], true));

    // A fragmented message has no length yet: it is gathered.
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    u16be
        .encode(
            &mut state,
            &Embedded::Reject,
            &part(true, None, b"half"),
            &mut out,
        )
        .unwrap();
    assert_eq!((out.ready(), state.is_cut()), (&b""[..], false));
}

#[test]
fn delimiters_inside_messages_are_counted() {
    let crlf = |keep| Framing::Delimiter(Delimiter::new(&[b"\r\n".to_vec(), b"\n".to_vec()], keep).unwrap());
    let replace = Embedded::Replace(b" "[..].into());
    for (keep, embedded, message, count) in [
        (false, &Embedded::Reject, "clean", 0),
        (false, &Embedded::Split, "clean", 0),
        (false, &Embedded::Split, "", 0),
        (false, &Embedded::Split, "a\nb\r\n\n", 3),
        (false, &replace, "a\nb\r\n\n", 3),
        // The last one ends the record.
        (true, &Embedded::Split, "a\nb\r\n", 1),
        (true, &Embedded::Split, "\n", 0),
        (true, &replace, "a\nb\r\n", 1),
        (true, &replace, "", 0),
    ] {
        let (mut state, mut out) = (EncodeState::default(), Outbox::default());
        let part = Part::whole(Kind::Text, message.as_bytes());
        let encoded = crlf(keep).encode(&mut state, embedded, &part, &mut out);
        assert_eq!(encoded.is_ok(), !(keep && message.is_empty()));
        assert_eq!(state.take_embedded(), count, "{message:?} {embedded:?}");
        assert_eq!(state.take_embedded(), 0);
    }
}
