//! What comes of messages that a route does not take, or that cannot become a record.

use serde_json::json;

use crate::support::{BINARY, CONTINUATION, PING, Scene, TEXT, frame, read, read_to_end, write};

const INSIDE: &str = "delimiter inside a message";
const TOO_BIG: &str = "message over the limit of 10 B";
const KIND: &str = "this route does not take this kind of message";
const MISMATCH: &str = "message does not match its length header";
const MISSING: &str = "message does not end with the delimiter";

/// A header of `len` bytes and nothing behind it.
fn announced(first: u8, len: u8) -> Vec<u8> {
    vec![first, 0x80 | len, 1, 2, 3, 4]
}

fn modbus(len: u16, body: &[u8]) -> Vec<u8> {
    [&[0, 1, 0, 0], &len.to_be_bytes()[..], body].concat()
}

/// What a client sends behind one good message, and how it is refused.
struct Row {
    route: &'static str,
    good: &'static [u8],
    bytes: Vec<u8>,
    code: u16,
    cause: &'static str,
    reason: &'static str,
    /// Of the refused message; bytes that could not be read count with their frame.
    lost: u64,
}

fn row(
    route: &'static str,
    bytes: Vec<u8>,
    (code, cause, reason): (u16, &'static str, &'static str),
    lost: u64,
) -> Row {
    Row {
        route,
        good: b"good",
        bytes,
        code,
        cause,
        reason,
        lost,
    }
}

#[tokio::test]
async fn nothing_of_a_refused_message_reaches_the_backend() {
    const LINES: &str = "framing = \"lines\"\nmax_message = \"10 B\"";
    const CRLF: &str = "framing = \"crlf\"";
    const ONE: &str = "framing = { kind = \"length-prefix\", width = 1 }";
    const TWO: &str = "framing = \"u16be\"";
    const VARINT: &str = "framing = { kind = \"varint\", max_width = 1 }";
    const FIXED: &str = "framing = { kind = \"fixed\", size = \"4 B\" }";
    const PADDED: &str = "framing = { kind = \"fixed\", size = \"6 B\", pad = \".\" }";
    const SYSLOG: &str = "framing = \"syslog\"";
    let text = (1007, "delimiter_in_text", INSIDE);
    let binary = (1008, "delimiter_in_binary", INSIDE);
    let big = (1009, "client_too_big", TOO_BIG);
    let long = (
        1009,
        "length_does_not_fit",
        "message too long for the length field",
    );
    let kind = (1003, "wrong_kind", KIND);
    let empty = (1008, "empty_message", "this framing has no empty message");
    let size = (
        1008,
        "size_mismatch",
        "message does not have the size of a record",
    );
    let fragments = |opcode, parts: &[&[u8]], fin| -> Vec<u8> {
        let last = parts.len() - 1;
        let one = |(at, part): (usize, &&[u8])| {
            frame(
                fin && at == last,
                if at == 0 { opcode } else { CONTINUATION },
                part,
            )
        };
        parts.iter().enumerate().flat_map(one).collect()
    };
    let rows = [
        // On the header alone.
        row(LINES, announced(0x81, 11), big, 6),
        row(LINES, announced(0x02, 11), big, 6),
        row(
            LINES,
            fragments(BINARY, &[b"12345", b"678901"], false),
            big,
            5 + 12,
        ),
        row(LINES, frame(true, TEXT, b"a\nb"), text, 3),
        row(LINES, frame(true, BINARY, b"a\nb"), binary, 3),
        row(LINES, frame(true, BINARY, b"\n"), binary, 1),
        row(LINES, frame(false, TEXT, b"a\n"), text, 2),
        row(LINES, fragments(TEXT, &[b"abc", b"\nQUIT"], true), text, 8),
        row(CRLF, frame(true, TEXT, b"a\r\nb"), text, 4),
        row(CRLF, frame(true, TEXT, b"a\nb"), text, 3),
        row(CRLF, fragments(TEXT, &[b"a\r", b"\nb"], true), text, 4),
        row(ONE, frame(true, BINARY, &[b'x'; 256]), long, 256),
        row(
            ONE,
            fragments(BINARY, &[&[b'x'; 200], &[b'x'; 100]], true),
            long,
            300,
        ),
        row(TWO, frame(true, BINARY, &[b'x'; 65536]), long, 65536),
        row(VARINT, frame(true, BINARY, &[b'x'; 128]), long, 128),
        row(FIXED, frame(true, BINARY, b"abc"), size, 3),
        row(FIXED, frame(true, BINARY, b""), size, 0),
        // On the header alone, once a first byte has come.
        row(FIXED, frame(true, BINARY, b"abcde")[..7].to_vec(), size, 1),
        row(FIXED, fragments(BINARY, &[b"abc", b"de"], true), size, 5),
        row(PADDED, frame(true, BINARY, b"abcdefg"), size, 7),
        row(SYSLOG, frame(true, TEXT, b""), empty, 0),
        row(SYSLOG, fragments(TEXT, &[b"", b""], true), empty, 0),
        row(
            "framing = \"lines\"\nmessage = \"text\"",
            frame(true, BINARY, b"x"),
            kind,
            1,
        ),
        row(
            "framing = \"raw\"\nmessage = \"text\"",
            announced(0x82, 100),
            kind,
            0,
        ),
        row(
            "framing = \"raw\"\nmessage = \"binary\"",
            frame(true, TEXT, b"x"),
            kind,
            1,
        ),
        Row {
            good: b"good\n",
            ..row(
                "framing = { kind = \"delimiter\", delimiter = \"\\n\", keep = true }",
                frame(true, TEXT, b"without"),
                (1008, "delimiter_missing", MISSING),
                7,
            )
        },
        Row {
            good: b"good\n",
            ..row(
                "framing = { kind = \"delimiter\", delimiter = \"\\n\", keep = true }",
                frame(true, TEXT, b"a\nb\n"),
                text,
                4,
            )
        },
    ];
    for row in rows {
        let mut scene = Scene::start(row.route).await;
        let (mut client, mut service) = scene.open().await;
        let kind = if row.route.contains("binary") {
            BINARY
        } else {
            TEXT
        };
        client.send(kind, row.good).await;
        client.raw(&row.bytes).await;
        client.expect_refusal(row.code, row.reason).await;
        let got = read_to_end(&mut service).await.unwrap();
        drop(service);
        let fields = json!({
            "state": "CD", "code": row.code, "level": "INFO", "route": "test",
            "messages_up": 1, "bytes_up": row.good.len(), "lost_up": row.lost,
        });
        scene.ended(row.cause, fields).await;
        let record: &[u8] = match row.route {
            ONE => b"\x04good",
            TWO => b"\0\x04good",
            CRLF => b"good\r\n",
            VARINT => b"\x04good",
            FIXED => b"good",
            PADDED => b"good..",
            SYSLOG => b"4 good",
            route if route.contains("raw") => b"good",
            _ => b"good\n",
        };
        assert_eq!(got, record, "{}: {:?}", row.route, row.bytes);
        scene.done().await;
    }
}

#[tokio::test]
async fn a_message_that_carries_its_header_must_match_it() {
    let mut scene = Scene::start("framing = \"modbus\"").await;
    let good = modbus(3, b"abc");
    for (bytes, lost) in [
        (frame(true, BINARY, &modbus(4, b"abc")), 9),
        (frame(true, BINARY, &modbus(2, b"abc")), 9),
        (frame(true, BINARY, &good[..5]), 5),
        (frame(true, BINARY, b""), 0),
        (
            [
                frame(false, BINARY, &good[..4]),
                frame(true, CONTINUATION, &[0, 9, 1]),
            ]
            .concat(),
            7,
        ),
        // Only the start of it has come: its header is enough.
        (frame(true, BINARY, &modbus(9, b"abc"))[..12].to_vec(), 6),
    ] {
        let (mut client, mut service) = scene.open().await;
        client.send(BINARY, &good).await;
        client.raw(&bytes).await;
        client.expect_refusal(1002, MISMATCH).await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), good);
        drop(service);
        let fields = json!({"state": "CD", "code": 1002, "messages_up": 1, "bytes_up": 9, "lost_up": lost});
        scene.ended("header_mismatch", fields).await;
    }
    scene.done().await;
}

#[tokio::test]
async fn header_lines_that_the_client_writes_must_match_its_message() {
    let mut scene = Scene::start("framing = { kind = \"content-length\", header = \"keep\" }").await;
    let good = b"Content-Length: 2\r\n\r\n{}";
    for message in [
        &b"Content-Length: 3\r\n\r\n{}"[..],
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 2\n\n{}",
        b"{}",
        b"",
    ] {
        let (mut client, mut service) = scene.open().await;
        client.send(TEXT, good).await;
        client.send(TEXT, message).await;
        client.expect_refusal(1002, MISMATCH).await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), good);
        drop(service);
        let fields = json!({"state": "CD", "code": 1002, "messages_up": 1, "lost_up": message.len()});
        scene.ended("header_mismatch", fields).await;
    }
    scene.done().await;
}

#[tokio::test]
async fn a_delimiter_inside_a_message_may_split_it_or_be_replaced() {
    for (policy, expected) in [
        ("\"split\"", &b"one\ntwo\n\nthree\n"[..]),
        ("{ replace = \" \" }", b"one two  three\n"),
    ] {
        let mut scene = Scene::start(&format!("framing = \"lines\"\nembedded_delimiter = {policy}")).await;
        let (mut client, mut service) = scene.open().await;
        client.raw(&frame(false, TEXT, b"one\ntwo\n")).await;
        client.raw(&frame(true, CONTINUATION, b"\nthree")).await;
        assert_eq!(read(&mut service, expected.len()).await, expected);
        client.close(1000, "").await;
        client.expect_refusal(1000, "").await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
        drop(service);
        scene
            .ended("client_closed", json!({"messages_up": 1, "bytes_up": 14}))
            .await;
        scene.done().await;
    }
}

#[tokio::test]
async fn empty_messages_and_records_are_delivered_or_skipped() {
    for (policy, up, down, skipped) in [
        ("deliver", &b"\na\n\n"[..], &[&b""[..], b"b", b""][..], None),
        ("skip", b"a\n", &[b"b"], Some(2)),
    ] {
        let mut scene = Scene::start(&format!("framing = \"lines\"\nempty = \"{policy}\"")).await;
        let (mut client, mut service) = scene.open().await;
        client.send(TEXT, b"").await;
        client.send(TEXT, b"a").await;
        // Empty, although it takes three frames to say so.
        for (fin, opcode) in [(false, TEXT), (false, CONTINUATION), (true, CONTINUATION)] {
            client.raw(&frame(fin, opcode, b"")).await;
        }
        client.send(PING, b"").await;
        assert_eq!(read(&mut service, up.len()).await, up);
        write(&mut service, b"\nb\n\n").await;
        for record in down {
            assert_eq!(client.message().await, (TEXT, record.to_vec()));
        }
        drop(service);
        client.expect_close(1000, "backend closed").await;
        let fields = json!({
            "messages_up": up.iter().filter(|byte| **byte == b'\n').count(), "bytes_up": 1,
            "messages_down": down.len(), "bytes_down": 1, "empty_up": skipped, "empty_down": skipped,
        });
        scene.ended("backend_closed", fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn the_smallest_limit_is_one_byte() {
    let mut scene = Scene::start("framing = \"u8\"\nmax_message = \"1 B\"").await;
    let (mut client, mut service) = scene.open().await;
    client.send(BINARY, b"x").await;
    assert_eq!(read(&mut service, 2).await, b"\x01x");
    write(&mut service, b"\x01y\x00").await;
    assert_eq!(client.message().await, (BINARY, b"y".to_vec()));
    assert_eq!(client.message().await, (BINARY, b"".to_vec()));
    client.send(BINARY, b"xy").await;
    client.expect_refusal(1009, "message over the limit of 1 B").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    drop(service);
    let fields = json!({"messages_up": 1, "messages_down": 2, "lost_up": 8});
    scene.ended("client_too_big", fields).await;
    scene.done().await;
}

#[tokio::test]
async fn a_client_that_vanishes_inside_a_message_leaves_no_half_record_unmarked() {
    // Announces 1000 bytes, sends 10.
    let started = || frame(true, BINARY, &[b'x'; 1000])[..8 + 10].to_vec();
    let half = || frame(false, BINARY, b"half a message");
    let with_header = frame(true, BINARY, &modbus(20, &[0; 20]))[..6 + 10].to_vec();
    // What is on its way when the client vanishes, what the backend has of it, whether its stream is reset, and what is lost.
    let rows = [
        ("u16be", started(), &b"\x03\xE8xxxxxxxxxx"[..], true, 10),
        ("u16be", half(), b"", false, 14),
        ("lines", started(), b"", false, 10),
        ("lines", half(), b"", false, 14),
        ("modbus", with_header, b"\0\x01\0\0\0\x14\0\0\0\0", true, 10),
        // Raw has no records that could be cut.
        ("raw", half(), b"half a message", false, 0),
    ];
    for (route, bytes, arrives, reset, lost) in rows {
        let mut scene = Scene::start(&format!("framing = \"{route}\"")).await;
        let (mut client, mut service) = scene.open().await;
        client.raw(&bytes).await;
        assert_eq!(read(&mut service, arrives.len()).await, arrives, "{route}");
        drop(client);
        match read_to_end(&mut service).await {
            Ok(rest) => assert!(!reset && rest.is_empty(), "{route}: {rest:?} and an orderly end"),
            Err(error) => {
                assert!(reset, "{route}: {error}");
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            }
        }
        drop(service);
        let fields = json!({
            "state": "CD", "code": null, "level": "INFO",
            "messages_up": 0, "bytes_up": if lost == 0 { 14 } else { 0 }, "lost_up": lost,
        });
        scene.ended("client_gone", fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn a_record_that_turns_out_bad_on_its_way_is_reset() {
    let mut scene = Scene::start("framing = \"u16be\"").await;
    let (mut client, mut service) = scene.open().await;
    let message = frame(true, TEXT, b"good\xFFbad");
    client.raw(&message[..6 + 4]).await;
    assert_eq!(read(&mut service, 6).await, b"\0\x08good");
    client.raw(&message[6 + 4..]).await;
    client.expect_refusal(1007, "text that is not UTF-8").await;
    let error = read_to_end(&mut service).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let fields = json!({"state": "CD", "code": 1007, "messages_up": 0, "bytes_up": 0, "lost_up": 8});
    scene.ended("client_text", fields).await;
    scene.done().await;
}
