//! The framings that are a protocol's own: STOMP, PostgreSQL, AMQP 0-9-1, FIX.

use super::*;

const STOMP: Framing = Framing::Stomp;
const AMQP: Framing = Framing::Amqp;
const FIX: Framing = Framing::Fix;
const CLIENT: Framing = Framing::Postgres(Postgres { client: true });
const SERVER: Framing = Framing::Postgres(Postgres { client: false });

fn garbage(what: Garbage) -> DecodeError {
    DecodeError::Garbage(what)
}

/// One of the framings above.
pub(super) fn any_protocol() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(STOMP), Just(AMQP), Just(FIX), Just(CLIENT), Just(SERVER)]
}

/// What real programs wrote: streams, cut into their records.
fn captures() -> Vec<(Framing, Vec<&'static [u8]>)> {
    vec![
        // stomp.py 9.0.0: `b"".join(stomp.utils.convert_frame(stomp.utils.Frame(command, headers, body)))`. The EOL between two frames
        // is what RabbitMQ sends behind each.
        (
            STOMP,
            vec![
                b"CONNECT\naccept-version:1.0,1.1,1.2\nheart-beat:0,0\nhost:/\n\n\0",
                b"\n",
                b"SEND\ncontent-length:3\ndestination:/queue/a\n\na\0b\0",
                b"DISCONNECT\nreceipt:1\n\n\0",
            ],
        ),
        // PostgreSQL 15.18 and pg8000 1.31.6: what `Connection(user, sock=…, ssl_context=False).run("select 7 as n, null, 'hä'")` of
        // `pg8000.native` writes to its socket and reads from it, without most of the server's parameters.
        (
            CLIENT,
            vec![
                b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0",
                b"Q\0\0\0\x1Fselect 7 as n, null, 'h\xC3\xA4'\0",
                b"X\0\0\0\x04",
            ],
        ),
        (
            SERVER,
            vec![
                b"R\0\0\0\x08\0\0\0\0",
                b"S\0\0\0\x19client_encoding\0UTF8\0",
                b"S\0\0\0\x16application_name\0\0",
                b"K\0\0\0\x0C\0\0\x13p\xBB(0\xB7",
                b"Z\0\0\0\x05I",
                b"T\0\0\0P\0\x03n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xFF\xFF\xFF\xFF\0\0\
                  ?column?\0\0\0\0\0\0\0\0\0\0\x19\xFF\xFF\xFF\xFF\xFF\xFF\0\0\
                  ?column?\0\0\0\0\0\0\0\0\0\0\x19\xFF\xFF\xFF\xFF\xFF\xFF\0\0",
                b"D\0\0\0\x16\0\x03\0\0\0\x017\xFF\xFF\xFF\xFF\0\0\0\x03h\xC3\xA4",
                b"C\0\0\0\rSELECT 1\0",
                b"Z\0\0\0\x05I",
            ],
        ),
        // pamqp 4.0.1: `header.ProtocolHeader(0, 9, 1).marshal()`, then `frame.marshal(frame, channel)` of `Connection.Open("/")`,
        // `Basic.Publish(routing_key="q")`, `ContentHeader(0, 3, Basic.Properties(content_type="text/plain"))`,
        // `ContentBody(b"a\xceb")`, `Heartbeat()`.
        (
            AMQP,
            vec![
                b"AMQP\0\0\x09\x01",
                b"\x01\0\0\0\0\0\x08\0\n\0(\x01/\0\0\xCE",
                b"\x01\0\x01\0\0\0\n\0<\0(\0\0\0\x01q\0\xCE",
                b"\x02\0\x01\0\0\0\x19\0<\0\0\0\0\0\0\0\0\0\x03\x80\0\ntext/plain\xCE",
                b"\x03\0\x01\0\0\0\x03a\xCEb\xCE",
                b"\x08\0\0\0\0\0\0\xCE",
            ],
        ),
        // simplefix 1.0.17: `FixMessage.append_pair(tag, value)` of these fields, `append_data(95, 96, b"\x0110=000\x01\xff")`, `encode()`.
        (
            FIX,
            vec![
                b"8=FIX.4.4\x019=53\x0135=A\x0134=1\x0149=ME\x0156=YOU\x0198=0\x01108=30\x0195=9\x0196=\x0110=000\x01\xFF\x0110=122\x01",
                b"8=FIXT.1.1\x019=10\x0135=0\x0134=2\x0110=244\x01",
            ],
        ),
    ]
}

#[test]
fn what_real_programs_write_passes_however_it_is_cut() {
    for (framing, records) in captures() {
        let stream = records.concat();
        for size in 1..=stream.len() {
            let read = decode(&framing, &cut(&stream, size), 1000).unwrap();
            assert_eq!(read, records, "{framing:?} by {size}");
        }
        for size in [1, 2, 7, 1000] {
            for announced in [false, true] {
                assert_eq!(
                    encode_all(&framing, &records, size, announced),
                    Ok(stream.clone()),
                    "{framing:?} by {size}"
                );
            }
        }
    }
}

/// Encodes messages of one session.
fn encode_all<M: AsRef<[u8]>>(
    framing: &Framing,
    messages: &[M],
    size: usize,
    announced: bool,
) -> Result<Vec<u8>, EncodeError> {
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    for message in messages {
        let pieces = cut(message.as_ref(), size);
        let len = (announced || pieces.len() == 1).then_some(message.as_ref().len() as u64);
        for (at, data) in pieces.iter().enumerate() {
            let part = Part {
                begin: (at == 0).then_some(Begin {
                    kind: Kind::Binary,
                    len,
                }),
                data,
                end: at + 1 == pieces.len(),
            };
            let sent = out.ready().len();
            framing
                .encode(&mut state, &Embedded::Reject, &part, &mut out)
                .inspect_err(|_| {
                    assert_eq!(
                        (out.ready().len(), out.held(), state.is_cut()),
                        (sent, &b""[..], false)
                    );
                })?;
            let streams = announced && matches!(framing, Framing::Postgres(_));
            assert!(
                part.end || streams || out.ready().len() == sent,
                "half a record leaves"
            );
        }
        assert_eq!(out.held(), b"");
    }
    Ok(out.ready().to_vec())
}

#[test]
fn every_two_cuts_of_a_short_stream_give_the_same_records() {
    type Row = (Framing, &'static [&'static [u8]]);
    let rows: &[Row] = &[
        (
            STOMP,
            &[
                b"\n",
                b"\r\n",
                b"ACK\nid:1\n\n\0",
                b"\n",
                b"ACK\r\n\r\nx\0",
                b"\r\n",
            ],
        ),
        (
            STOMP,
            &[
                b"SEND\ncontent-length:2\n\n\0\0\0",
                b"SEND\r\na:b\r\ncontent-length:0\r\n\r\n\0",
            ],
        ),
        // What only a backend may send: a CR inside a value (1.1), a blank before the length (1.0), a second length.
        (
            STOMP,
            &[
                b"A\na:\rb\r\r\n\n\0",
                b"A\ncontent-length: 1\ncontent-length:9\n\n\0\0",
            ],
        ),
        // Names that only look like it.
        (
            STOMP,
            &[
                b"A\ncontent-lengt:x\n\n\0",
                b"A\ncontent-lengthy:x\n\n\0",
                b"A\ncontent-Length:x\n\n\0",
                b"A\nx:content-length:9\n\n\0",
            ],
        ),
        (
            CLIENT,
            &[b"\0\0\0\x09\0\x03\0\0\0", b"X\0\0\0\x04", b"Q\0\0\0\x06x\0"],
        ),
        (SERVER, &[b"X\0\0\0\x04", b"Q\0\0\0\x06x\0", b"1\0\0\0\x04"]),
        (
            AMQP,
            &[
                b"AMQP\0\0\x09\x01",
                b"\x08\0\0\0\0\0\0\xCE",
                b"\x03\0\x01\0\0\0\x02\xCE\xCE\xCE",
                b"AMQP\x01\x01\0\x0A",
            ],
        ),
        (
            FIX,
            &[
                b"8=F\x019=5\x0135=0\x0110=062\x01",
                b"8=F\x019=07\x0135=\x01\x01\x01\x0110=000\x01",
            ],
        ),
    ];
    for (framing, records) in rows {
        let stream = records.concat();
        for one in 0..=stream.len() {
            for two in one..=stream.len() {
                let pieces = [&stream[..one], &stream[one..two], &stream[two..]];
                assert_eq!(
                    decode(framing, &pieces, 100).unwrap(),
                    *records,
                    "{framing:?} cut at {one} and {two}"
                );
            }
        }
    }
}

#[test]
fn a_record_that_lies_whole_in_the_input_is_one_part() {
    for (framing, records) in captures() {
        let stream = records.concat();
        let (mut state, mut used) = (DecodeState::default(), 0);
        for record in records {
            let decoded = framing
                .decode(&mut state, &rules(1000), &stream[used..], false)
                .unwrap();
            assert_eq!(
                decoded.event,
                Event::Part(Part::whole(Kind::Binary, record)),
                "{framing:?}"
            );
            used += decoded.consumed;
        }
    }
}

#[test]
fn messages_that_are_not_one_record_are_refused() {
    use EncodeError::{EncryptionRequest, HeaderMismatch, NotARecord};
    let rows: &[(Framing, &[u8], EncodeError)] = &[
        (STOMP, b"", NotARecord),
        (STOMP, b"ACK\nid:1\n\n", NotARecord),
        (STOMP, b"ACK\nid:1\n\n\0\n", NotARecord),
        (STOMP, b"ACK\nid:1\n\n\0ACK\nid:1\n\n\0", NotARecord),
        (STOMP, b"SEND\n\na\0b\0", NotARecord),
        (STOMP, b"\n\n", NotARecord),
        (STOMP, b"\nACK\n\n\0", NotARecord),
        (STOMP, b"\r", NotARecord),
        (STOMP, b"ack\n\n\0", NotARecord),
        (STOMP, b"ABCDEFGHIJKL\n\n\0", NotARecord),
        (STOMP, b"A\nno colon\n\n\0", NotARecord),
        (STOMP, b"A\n:no name\n\n\0", NotARecord),
        (STOMP, b"A\nnul:\0\n\n\0", NotARecord),
        (STOMP, b"A\na:b\rc\n\n\0", NotARecord),
        (STOMP, b"A\r\r\n\n\0", NotARecord),
        (STOMP, b"SEND\ncontent-length:2\n\nabc\0", NotARecord),
        (STOMP, b"SEND\ncontent-length:4\n\nabc\0", NotARecord),
        (STOMP, b"SEND\ncontent-length: 3\n\nabc\0", NotARecord),
        (STOMP, b"SEND\ncontent-length:\n\n\0", NotARecord),
        (STOMP, b"SEND\ncontent-length:-1\n\n\0", NotARecord),
        (
            STOMP,
            b"SEND\ncontent-length:1\ncontent-length:1\n\nx\0",
            NotARecord,
        ),
        // 2^64, which is 0 to whoever does not look.
        (
            STOMP,
            b"SEND\ncontent-length:18446744073709551616\n\n\0",
            NotARecord,
        ),
        (CLIENT, b"", HeaderMismatch),
        (CLIENT, b"X\0\0\0\x04", HeaderMismatch),
        (CLIENT, b"\0\0\0\x07\0\x03\0", HeaderMismatch),
        (CLIENT, b"\0\0\0\x09\0\x03\0\0", HeaderMismatch),
        (CLIENT, b"\0\0\0\x08\x04\xD2\x16\x2F", EncryptionRequest),
        (CLIENT, b"\0\0\0\x08\x04\xD2\x16\x30", EncryptionRequest),
        (CLIENT, b"\0\0\0\x08\0\x02\0\0", NotARecord),
        // A TLS handshake without asking first.
        (CLIENT, b"\x16\x03\x01\0\x04\x01\0\0\0", HeaderMismatch),
        (SERVER, b"\0\0\0\x09\0\x03\0\0\0", HeaderMismatch),
        (SERVER, b"X\0\0\0\x03", HeaderMismatch),
        (SERVER, b"X\0\0\0\x05", HeaderMismatch),
        (SERVER, b"X\0\0\0\x04\0", HeaderMismatch),
        (SERVER, b"X\0\0\0\x04X\0\0\0\x04", HeaderMismatch),
        (SERVER, b"X\x80\0\0\0", HeaderMismatch),
        (AMQP, b"", HeaderMismatch),
        (AMQP, b"AMQP\0\0\x09", HeaderMismatch),
        (AMQP, b"AMQP\0\0\x09\x01\x08\0\0\0\0\0\0\xCE", HeaderMismatch),
        (AMQP, b"AMQP\0\x01\0\0", NotARecord),
        (AMQP, b"AMQX\0\0\x09\x01", HeaderMismatch),
        (AMQP, b"\x08\0\0\0\0\0\0\xCD", HeaderMismatch),
        (AMQP, b"\x08\0\0\0\0\0\0", HeaderMismatch),
        (AMQP, b"\x04\0\0\0\0\0\0\xCE", HeaderMismatch),
        (AMQP, b"\x03\0\0\0\0\0\x02a\xCE", HeaderMismatch),
        (FIX, b"", HeaderMismatch),
        (FIX, b"8=F\x019=5\x0135=0\x0110=063\x01", NotARecord),
        (FIX, b"8=F\x019=4\x0135=\x0110=062\x01", HeaderMismatch),
        (FIX, b"8=F\x019=6\x0135=0\x0110=062\x01", HeaderMismatch),
        (FIX, b"8=F\x019=5\x0135=0|10=062\x01", HeaderMismatch),
        (FIX, b"8=F\x019=5\x0135=0\x0110=06 \x01", HeaderMismatch),
        (FIX, b"8=F\x019=5\x0135=0\x0110=062", HeaderMismatch),
        (FIX, b"8=F\x019=5\x0135=0\x0110=062\x01\n", HeaderMismatch),
        (FIX, b"8=\x019=5\x0135=0\x0110=062\x01", HeaderMismatch),
        (FIX, b"9=5\x018=F\x0135=0\x0110=062\x01", HeaderMismatch),
    ];
    for (framing, message, error) in rows {
        for size in [1, 2, 1000] {
            for announced in [false, true] {
                assert_eq!(
                    encode_all(framing, &[message], size, announced),
                    Err(*error),
                    "{framing:?} {message:?} by {size}"
                );
            }
        }
    }
    // A second request for encryption is an ordinary message that does not exist.
    let late: [&[u8]; 2] = [b"\0\0\0\x09\0\x03\0\0\0", b"\0\0\0\x08\x04\xD2\x16\x2F"];
    assert_eq!(encode_all(&CLIENT, &late, 1000, true), Err(HeaderMismatch));
}

/// A query of another session is cancelled on a connection of its own, with keys of any length since protocol 3.2.
#[test]
fn a_postgres_client_may_also_cancel() {
    for cancel in [
        &b"\0\0\0\x10\x04\xD2\x16\x2E\0\0\0\x01\0\0\0\x02"[..],
        b"\0\0\0\x12\x04\xD2\x16\x2E\0\0\0\x01secret",
    ] {
        assert_eq!(encode_all(&CLIENT, &[cancel], 3, true), Ok(cancel.to_vec()));
    }
}

#[test]
fn what_no_backend_may_send_is_garbage() {
    let rows: &[(Framing, &[u8], DecodeError)] = &[
        (STOMP, b"x", garbage(Garbage::Header)),
        (STOMP, b"\0", garbage(Garbage::Header)),
        (STOMP, b"\rA", garbage(Garbage::Header)),
        (STOMP, b"ABCDEFGHIJKL", garbage(Garbage::Header)),
        (STOMP, b"MESSAGE x", garbage(Garbage::Header)),
        (STOMP, b"MESSAGE\nx\n", garbage(Garbage::Header)),
        (STOMP, b"MESSAGE\na:\0", garbage(Garbage::Header)),
        (STOMP, b"MESSAGE\ncontent-length:1x", garbage(Garbage::Header)),
        (
            STOMP,
            b"MESSAGE\ncontent-length:1\n\nxx",
            garbage(Garbage::Trailer),
        ),
        (
            STOMP,
            b"A\ncontent-length:99999999999999999999\n\n",
            DecodeError::TooBig,
        ),
        (STOMP, b"A\ncontent-length:80\n\n", DecodeError::TooBig),
        (SERVER, b"\0\0\0\0\x04", garbage(Garbage::Header)),
        (SERVER, b"R\0\0\0\x03", garbage(Garbage::Header)),
        (SERVER, b"R\0\0\0\x64", DecodeError::TooBig),
        // What a postmaster that cannot fork writes, in the manner of protocol 2.
        (SERVER, b"Ecould not fork\n\0", DecodeError::TooBig),
        (AMQP, b"B", garbage(Garbage::Header)),
        (AMQP, b"AMX", garbage(Garbage::Header)),
        (AMQP, b"\x08\0\0\0\0\0\0\0", garbage(Garbage::Trailer)),
        (AMQP, b"\x03\0\0\0\0\0\x5D", DecodeError::TooBig),
        (FIX, b"9", garbage(Garbage::Header)),
        (
            FIX,
            b"8=FIX.4.4|9=5|35=0|10=062|8=FIX.4.4",
            garbage(Garbage::Header),
        ),
        (FIX, b"8=F\x0135=0\x01", garbage(Garbage::Header)),
        (FIX, b"8=F\x019=99999999999\x01", garbage(Garbage::Header)),
        (FIX, b"8=F\x019=100\x01", DecodeError::TooBig),
        (FIX, b"8=F\x019=5\x0135=00\x0110=062", garbage(Garbage::Trailer)),
    ];
    for (framing, bytes, error) in rows {
        for size in [1, 1000] {
            let mut reader = Reader::new(framing, rules(99));
            let mut pieces = cut(bytes, size).into_iter();
            let found = pieces.find_map(|piece| reader.feed(piece, false).err());
            assert_eq!(
                (found, reader.records.len()),
                (Some(*error), 0),
                "{framing:?} {bytes:?}"
            );
        }
    }
}

#[test]
fn a_record_over_the_limit_is_discarded_and_the_next_one_is_read() {
    type Row = (Framing, [&'static [u8]; 3]);
    let rows: &[Row] = &[
        (STOMP, [b"A\n\nab\0", b"MESSAGE\nfar:too long\n\n\0", b"\n"]),
        (STOMP, [b"A\n\nab\0", b"A\ncontent-length:99999\n\n", b"A\n\n\0"]),
        (STOMP, [b"A\n\nab\0", b"A\n\nabcdefgh\0", b"A\n\n\0"]),
        (
            CLIENT,
            [
                b"\0\0\0\x08\0\x03\0\0",
                b"Q\0\0\0\x0Ftoo long..\0",
                b"X\0\0\0\x04",
            ],
        ),
        (CLIENT, [b"", b"\0\0\0\x0E\0\x03\0\0user\0\0", b"X\0\0\0\x04"]),
        (
            SERVER,
            [b"Z\0\0\0\x05I", b"C\0\0\0\x0FSELECT 100\0", b"Z\0\0\0\x05I"],
        ),
        (
            AMQP,
            [
                b"\x08\0\0\0\0\0\0\xCE",
                b"\x03\0\0\0\0\0\x05hello\xCE",
                b"AMQP\0\0\x09\x01",
            ],
        ),
    ];
    for (framing, [before, long, after]) in rows {
        // A body as long as its header says.
        let body = if long.ends_with(b"99999\n\n") {
            99_999 + 1
        } else {
            0
        };
        let stream = [before, *long, &vec![0; body], after].concat();
        for size in [1, 2, 3, 5, 7, 11, stream.len()] {
            let rules = DecodeRules {
                oversized: Oversized::Discard,
                ..rules(8)
            };
            let mut reader = Reader::new(framing, rules);
            for piece in stream.chunks(size) {
                reader.feed(piece, false).unwrap();
            }
            let mut expected = vec![Some(before.to_vec()), None, Some(after.to_vec())];
            expected.retain(|one| one.as_deref() != Some(&[]));
            assert_eq!(reader.records, expected, "{framing:?} by {size}");
        }
    }
    // All FIX records are longer than that.
    let mut reader = Reader::new(
        &FIX,
        DecodeRules {
            oversized: Oversized::Discard,
            ..rules(20)
        },
    );
    reader
        .feed(
            b"8=F\x019=15\x0135=0\x01112=hello\x0110=000\x018=F\x019=5\x0135=0\x0110=062\x01",
            false,
        )
        .unwrap();
    let short = b"8=F\x019=5\x0135=0\x0110=062\x01".to_vec();
    assert_eq!(reader.records, [None, Some(short)]);
}

/// In the smallest pieces there are, every byte of a frame is looked at once, in both directions.
#[test]
fn a_long_stomp_frame_that_arrives_a_byte_at_a_time_is_read_once() {
    let frames = [
        [
            b"SEND\nx:".to_vec(),
            vec![b'y'; 1 << 16],
            b"\n\n".to_vec(),
            vec![b'z'; 1 << 16],
            vec![0],
        ]
        .concat(),
        [b"SEND\ncontent-length:65536\n\n".to_vec(), vec![0; (1 << 16) + 1]].concat(),
    ];
    for frame in frames {
        let mut state = DecodeState::default();
        for (at, byte) in frame.chunks(1).enumerate() {
            let decoded = STOMP.decode(&mut state, &rules(1 << 20), byte, false).unwrap();
            let Event::Part(part) = decoded.event else {
                panic!("{decoded:?}")
            };
            assert_eq!((decoded.consumed, part.end), (1, at + 1 == frame.len()));
        }
        assert_eq!(state.examined, frame.len() as u64);

        let (mut state, mut out) = (EncodeState::default(), Outbox::default());
        for (at, data) in frame.chunks(1).enumerate() {
            let begin = Begin {
                kind: Kind::Text,
                len: None,
            };
            let part = Part {
                begin: (at == 0).then_some(begin),
                data,
                end: at + 1 == frame.len(),
            };
            assert_eq!(out.ready(), b"");
            STOMP
                .encode(&mut state, &Embedded::Reject, &part, &mut out)
                .unwrap();
        }
        assert_eq!((state.examined, out.ready()), (frame.len() as u64, &frame[..]));
    }
}

/// A frame of STOMP as a client may send it, or a heart-beat.
fn any_stomp() -> impl Strategy<Value = Vec<u8>> {
    let eol = prop_oneof![Just("\n"), Just("\r\n")];
    let header = "[a-z-]{1,6}:[ -~é]{0,12}";
    let frame = (
        "[A-Z]{1,11}",
        proptest::collection::vec(header, 0..4),
        proptest::option::of(0usize..5),
        proptest::collection::vec(prop_oneof![Just(0), Just(b'\n'), any::<u8>()], 0..40),
        eol.clone(),
    )
        .prop_map(|(command, mut headers, counted, mut body, eol)| {
            match counted {
                Some(at) => headers.insert(at.min(headers.len()), format!("content-length:{}", body.len())),
                None => body.retain(|byte| *byte != 0),
            }
            headers.insert(0, command);
            headers.extend([String::new(), String::new()]);
            [headers.join(eol).as_bytes(), &body, b"\0"].concat()
        });
    prop_oneof![1 => eol.prop_map(|eol| eol.into()), 5 => frame]
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

fn any_postgres() -> impl Strategy<Value = Vec<u8>> {
    ("[A-Za-z0-9]", any_body())
        .prop_map(|(kind, body)| [kind.as_bytes(), &(body.len() as u32 + 4).to_be_bytes(), &body].concat())
}

fn any_startup() -> impl Strategy<Value = Vec<u8>> {
    any_body().prop_map(|body| [&(body.len() as u32 + 8).to_be_bytes()[..], b"\0\x03\0\0", &body].concat())
}

fn any_amqp() -> impl Strategy<Value = Vec<u8>> {
    let frame = (
        prop_oneof![Just(1), Just(2), Just(3), Just(8)],
        any::<u16>(),
        any_body(),
    )
        .prop_map(|(kind, channel, body): (u8, u16, Vec<u8>)| {
            let size = body.len() as u32;
            [
                &[kind][..],
                &channel.to_be_bytes(),
                &size.to_be_bytes(),
                &body,
                b"\xCE",
            ]
            .concat()
        });
    prop_oneof![1 => Just(b"AMQP\0\0\x09\x01".to_vec()), 5 => frame]
}

fn any_fix() -> impl Strategy<Value = Vec<u8>> {
    ("FIX[.T0-9]{0,6}", "[0A-Z]", any_body()).prop_map(|(version, kind, body)| {
        let body = [format!("35={kind}\x01").as_bytes(), &body, b"\x01"].concat();
        let mut message = [format!("8={version}\x019={}\x01", body.len()).as_bytes(), &body].concat();
        let sum = message.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256;
        message.extend(format!("10={sum:03}\x01").as_bytes());
        message
    })
}

/// A framing with records of it.
fn any_session() -> impl Strategy<Value = (Framing, Vec<Vec<u8>>)> {
    let some = 0usize..6;
    prop_oneof![
        proptest::collection::vec(any_stomp(), some.clone()).prop_map(|records| (STOMP, records)),
        proptest::collection::vec(any_postgres(), some.clone()).prop_map(|records| (SERVER, records)),
        (
            any_startup(),
            proptest::collection::vec(any_postgres(), some.clone())
        )
            .prop_map(|(first, mut records)| {
                records.insert(0, first);
                (CLIENT, records)
            }),
        proptest::collection::vec(any_amqp(), some.clone()).prop_map(|records| (AMQP, records)),
        proptest::collection::vec(any_fix(), some).prop_map(|records| (FIX, records)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the protocol allows passes in both directions as it is, however it is cut.
    #[test]
    fn records_pass_unchanged(
        (framing, records) in any_session(), in_size in 1usize..30, out_size in 1usize..30, announced: bool,
    ) {
        let stream = encode_all(&framing, &records, in_size, announced);
        prop_assert_eq!(&stream, &Ok(records.concat()));
        prop_assert_eq!(decode(&framing, &cut(&records.concat(), out_size), 1000), Ok(records));
    }

    /// A message that was damaged is refused, or is still one record.
    #[test]
    fn what_is_taken_comes_back(
        (framing, mut records) in any_session(), at: prop::sample::Index, to: u8, kind in 0usize..3, announced: bool, size in 1usize..30,
    ) {
        if let Some(last) = records.last_mut() {
            damage(last, at, to, kind);
        }
        if let Ok(stream) = encode_all(&framing, &records, size, announced) {
            prop_assert_eq!(decode(&framing, &cut(&stream, size), 1000), Ok(records.clone()));
        }
        prop_assert_eq!(encode_all(&framing, &records, size, announced), encode_all(&framing, &records, 1000, true));
    }

    /// A damaged stream gives the same records, errors and discards however it is cut.
    #[test]
    fn a_damaged_stream_is_read_the_same_however_it_is_cut(
        (framing, records) in any_session(), at: prop::sample::Index, to: u8, kind in 0usize..3,
        size in 1usize..30, max in 0u64..80, discard: bool,
    ) {
        let mut stream = records.concat();
        damage(&mut stream, at, to, kind);
        let rules = DecodeRules { oversized: if discard { Oversized::Discard } else { Oversized::Close }, ..rules(max) };
        let read = |size: usize| {
            let mut reader = Reader::new(&framing, rules);
            for piece in cut(&stream, size) {
                if let Err(error) = reader.feed(piece, false) {
                    return (Some(error), reader.records, None, vec![]);
                }
            }
            if reader.state.is_discarding() {
                reader.open = None;
            }
            (None, reader.records, reader.open, reader.left)
        };
        prop_assert_eq!(read(size), read(stream.len().max(1)));
    }
}

/// Overwrites, inserts or removes a byte.
fn damage(bytes: &mut Vec<u8>, at: prop::sample::Index, to: u8, kind: usize) {
    if bytes.is_empty() {
        return;
    }
    let at = at.index(bytes.len());
    match kind {
        0 => bytes[at] = to,
        1 => bytes.insert(at, to),
        _ => {
            bytes.remove(at);
        }
    }
}
