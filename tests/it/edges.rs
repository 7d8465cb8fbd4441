//! Every policy of every edge, both ways: the exact bytes at the backend, the exact messages at the client, the end, and what is
//! counted.

use serde_json::{Value, json};

use crate::support::{BINARY, CONTINUATION, Frame, Scene, TEXT, frame, read, read_to_end, write};

/// The fields of a record that count edges.
const COUNTS: &[&str] = &[
    "embedded",
    "oversized_up",
    "oversized_down",
    "empty_up",
    "empty_down",
    "partial_delivered",
    "partial_dropped",
    "invalid_replaced",
    "invalid_binary",
    "unmappable_replaced",
    "unmappable_escaped",
    "outside",
    "throttled",
];

/// Counts of edges.
type Counts<'a> = &'a [(&'a str, u64)];

/// Messages of the client, with their opcodes.
type Messages<'a> = &'a [(u8, Vec<u8>)];

/// How a session ends: close code, cause, reason.
type End = (u16, &'static str, &'static str);

const BIG: End = (1009, "client_too_big", "message over the limit of 10 B");
const RECORD_BIG: End = (1009, "backend_too_big", "record over the limit of 10 B");
const EMBEDDED_TEXT: End = (1007, "delimiter_in_text", "delimiter inside a message");
const EMBEDDED_BINARY: End = (1008, "delimiter_in_binary", "delimiter inside a message");
const LONG: End = (
    1009,
    "length_does_not_fit",
    "message too long for the length field",
);
const LACKING: End = (
    1007,
    "unmappable",
    "character that the backend's charset does not have",
);
const NO_TEXT: End = (1007, "backend_text", "backend sent bytes that are not text");
const CUT: End = (1011, "backend_cut", "backend ended inside a record");
const GARBAGE: End = (1011, "backend_garbage", "backend sent bytes outside of a record");
const CLOSED: End = (1000, "backend_closed", "backend closed");

/// Just these edges are counted in a record.
fn expect_counts(record: &Value, counts: Counts<'_>, row: &str) {
    for (name, _) in counts {
        assert!(COUNTS.contains(name), "{name}");
    }
    for name in COUNTS {
        let counted = counts.iter().find(|(listed, _)| listed == name);
        let expected = counted.map_or(Value::Null, |(_, count)| json!(count));
        assert_eq!(record[name], expected, "{name} of {row}: {record}");
    }
}

fn text(payload: &str) -> Vec<u8> {
    frame(true, TEXT, payload.as_bytes())
}

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(true, BINARY, payload)
}

/// A message in fragments.
fn fragments(opcode: u8, parts: &[&[u8]]) -> Vec<u8> {
    let last = parts.len() - 1;
    let fragment = |(at, part): (usize, &&[u8])| {
        let opcode = if at == 0 { opcode } else { CONTINUATION };
        frame(at == last, opcode, part)
    };
    parts.iter().enumerate().flat_map(fragment).collect()
}

/// Sends frames on a route with these settings. The backend gets exactly this, and the session goes on, or ends so.
async fn up(settings: &str, frames: &[Vec<u8>], arrives: &[u8], refused: Option<End>, counts: Counts<'_>) {
    let mut scene = Scene::start(settings).await;
    let (mut client, mut service) = scene.open().await;
    client.raw(&frames.concat()).await;
    let cause = match refused {
        Some((code, cause, reason)) => {
            client.expect_refusal(code, reason).await;
            cause
        }
        None => {
            client.close(1000, "").await;
            client.expect_refusal(1000, "").await;
            "client_closed"
        }
    };
    let got = read_to_end(&mut service).await.unwrap();
    assert_eq!(
        got.escape_ascii().to_string(),
        arrives.escape_ascii().to_string(),
        "{settings}"
    );
    drop(service);
    let record = scene.ended(cause, json!({})).await;
    expect_counts(&record, counts, settings);
    scene.done().await;
}

/// What the client gets.
fn is_text(payload: &str) -> (u8, Vec<u8>) {
    (TEXT, payload.as_bytes().to_vec())
}

fn is_binary(payload: &[u8]) -> (u8, Vec<u8>) {
    (BINARY, payload.to_vec())
}

/// Bytes of the backend, and the messages that the client gets before more is sent.
type Step<'a> = (&'a [u8], Messages<'a>);

/// Sends steps on a route with these settings. The client gets exactly this and this end.
async fn down(settings: &str, steps: &[Step<'_>], rest: Messages<'_>, end: End, counts: Counts<'_>) {
    let (settings, speaks_binary) = match settings.strip_suffix(" after binary") {
        Some(settings) => (settings, true),
        None => (settings, false),
    };
    let mut scene = Scene::start(settings).await;
    let (mut client, mut service) = scene.open().await;
    if speaks_binary {
        // The backend reads it: so sealock has seen it.
        client.send(BINARY, b"first").await;
        read(&mut service, 5).await;
    }
    for (bytes, messages) in steps {
        write(&mut service, bytes).await;
        for message in *messages {
            assert_eq!(client.message().await, *message, "{settings}");
        }
    }
    drop(service);
    for message in rest {
        assert_eq!(client.message().await, *message, "{settings}");
    }
    let (code, cause, reason) = end;
    let close = client.frame().await;
    assert_eq!(close, Some(Frame::close(code, reason)), "{settings}");
    client.close(code, "").await;
    client.expect_end().await;
    let record = scene.ended(cause, json!({})).await;
    expect_counts(&record, counts, settings);
    scene.done().await;
}

#[tokio::test]
async fn an_oversized_message_ends_the_session_or_is_dropped_whole() {
    let discards = [
        "oversized = \"discard\"",
        "oversized = { to_backend = \"discard\" }",
    ];
    let closes = [
        "",
        "oversized = \"close\"",
        "oversized = { to_client = \"discard\" }",
    ];
    let announced = binary(b"12345678901");
    let growing = fragments(TEXT, &[b"12345", b"", b"678901", b"x"]);
    for (framing, good, both) in [
        ("lines", &b"good\n"[..], &b"good\nnext\n"[..]),
        ("u16be", b"\0\x04good", b"\0\x04good\0\x04next"),
        ("raw", b"good", b"goodnext"),
    ] {
        for (oversized, discards) in
            (discards.iter().map(|one| (one, true))).chain(closes.iter().map(|one| (one, false)))
        {
            let settings = format!("framing = \"{framing}\"\nmax_message = \"10 B\"\n{oversized}");
            for long in [&announced, &growing] {
                let frames = [text("good"), long.clone(), text("next")];
                // Raw has let the first fragment go.
                let left = framing == "raw" && *long == growing;
                if discards && !left {
                    up(&settings, &frames, both, None, &[("oversized_up", 1)]).await;
                } else {
                    let arrives = if left { b"good12345" } else { good };
                    up(&settings, &frames, arrives, Some(BIG), &[]).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn an_oversized_message_is_dropped_to_its_end_and_costs_nothing() {
    let settings = "framing = \"lines\"\nmax_message = \"10 B\"\noversized = \"discard\"";
    let mut scene = Scene::start(settings).await;
    let (mut client, mut service) = scene.open().await;
    let before = scene.program.peak_memory();
    client.raw(&frame(false, TEXT, b"gathered")).await;
    let block = frame(false, CONTINUATION, &[0xFF; 64 * 1024]);
    for _ in 0..256 {
        client.raw(&block).await;
    }
    client.raw(&frame(true, CONTINUATION, b"")).await;
    client.send(TEXT, b"next").await;
    assert_eq!(read(&mut service, 5).await, b"next\n");
    scene.program.expect_no_growth(before);
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
    drop(service);
    let fields = json!({"messages_up": 1, "bytes_up": 4, "oversized_up": 1, "lost_up": 8 + 256 * 64 * 1024});
    scene.ended("client_closed", fields).await;
    scene.done().await;
}

#[tokio::test]
async fn an_oversized_record_ends_the_session_or_is_dropped() {
    for (framing, long, next) in [
        ("lines", &b"12345678901\n"[..], &b"next\n"[..]),
        ("u16be", b"\0\x0B12345678901", b"\0\x04next"),
    ] {
        for (oversized, discards) in [
            ("oversized = \"discard\"", true),
            ("oversized = { to_client = \"discard\" }", true),
            ("", false),
            ("oversized = { to_backend = \"discard\" }", false),
        ] {
            let settings =
                format!("framing = \"{framing}\"\nmax_message = \"10 B\"\nmessage = \"text\"\n{oversized}");
            let bytes = [long, next].concat();
            if discards {
                let steps: [Step<'_>; 1] = [(&bytes, &[is_text("next")])];
                down(&settings, &steps, &[], CLOSED, &[("oversized_down", 1)]).await;
            } else {
                down(&settings, &[(&bytes, &[])], &[], RECORD_BIG, &[]).await;
            }
        }
    }
}

#[tokio::test]
async fn bytes_outside_of_blocks_end_the_session_or_are_skipped() {
    const BLOCK: &str = "kind = \"block\", start = { hex = \"02\" }, end = { hex = \"03\" }";
    let messages = [is_binary(b"a"), is_binary(b"b")];
    let steps: [Step<'_>; 1] = [(b"\x02a\x03??\x02b\x03?", &messages)];
    let settings = format!("framing = {{ {BLOCK}, outside = \"skip\" }}\nmessage = \"binary\"");
    down(&settings, &steps, &[], CLOSED, &[("outside", 3)]).await;
    for outside in ["", ", outside = \"close\""] {
        let settings = format!("framing = {{ {BLOCK}{outside} }}\nmessage = \"binary\"");
        let steps: [Step<'_>; 1] = [(steps[0].0, &messages[..1])];
        down(&settings, &steps, &[], GARBAGE, &[]).await;
    }
}

#[tokio::test]
async fn empty_messages_and_empty_records_have_policies_of_their_own() {
    for (empty, skips_up, skips_down) in [
        ("", false, false),
        ("empty = \"skip\"", true, true),
        ("empty = { to_backend = \"skip\" }", true, false),
        (
            "empty = { to_client = \"skip\", to_backend = \"deliver\" }",
            false,
            true,
        ),
    ] {
        for (framing, up_all, up_some, sent) in [
            ("lines", &b"\na\n\n"[..], &b"a\n"[..], &b"\nb\n\n"[..]),
            ("u8", b"\0\x01a\0", b"\x01a", b"\0\x01b\0"),
            ("netstring", b"0:,1:a,0:,", b"1:a,", b"0:,1:b,0:,"),
            (
                "stx-etx",
                b"\x02\x03\x02a\x03\x02\x03",
                b"\x02a\x03",
                b"\x02\x03\x02b\x03\x02\x03",
            ),
            ("cobs", b"\x01\0\x02a\0\x01\0", b"\x02a\0", b"\x01\0\x02b\0\x01\0"),
        ] {
            let settings = format!("framing = \"{framing}\"\nmessage = \"text\"\n{empty}");
            let frames = [text(""), text("a"), fragments(TEXT, &[b"", b"", b""])];
            let (arrives, counts) = if skips_up {
                (up_some, &[("empty_up", 2)][..])
            } else {
                (up_all, &[][..])
            };
            up(&settings, &frames, arrives, None, counts).await;
            let all = [is_text(""), is_text("b"), is_text("")];
            let (messages, counts) = if skips_down {
                (&all[1..2], &[("empty_down", 2)][..])
            } else {
                (&all[..], &[][..])
            };
            down(&settings, &[(sent, messages)], &[], CLOSED, counts).await;
        }
    }
}

#[tokio::test]
async fn a_delimiter_inside_a_message_is_refused_let_pass_or_replaced() {
    const KEEP: &str = "{ kind = \"delimiter\", delimiter = [\"\\r\\n\", \"\\n\"], keep = true }";
    const ESCAPED: &str =
        "{ kind = \"block\", start = { hex = \"02\" }, end = { hex = \"03\" }, escape = { hex = \"10\" } }";
    type Row<'a> = (&'a str, &'a str, Vec<u8>, &'a [u8], Option<End>, u64);
    let rows: &[Row<'_>] = &[
        ("\"lines\"", "", text("a\nb"), b"", Some(EMBEDDED_TEXT), 0),
        (
            "\"lines\"",
            "\"reject\"",
            binary(b"a\nb"),
            b"",
            Some(EMBEDDED_BINARY),
            0,
        ),
        ("\"lines\"", "\"split\"", text("a\nb\n"), b"a\nb\n\n", None, 2),
        (
            "\"lines\"",
            "{ replace = \" \" }",
            text("a\nb\n"),
            b"a b \n",
            None,
            2,
        ),
        (
            "\"lines\"",
            "\"split\"",
            fragments(BINARY, &[b"a\n", b"b", b"\nc"]),
            b"a\nb\nc\n",
            None,
            2,
        ),
        (
            "\"irc\"",
            "\"split\"",
            text("a\r\nb\rc"),
            b"a\r\nb\rc\r\n",
            None,
            2,
        ),
        (
            "\"irc\"",
            "{ replace = \"; \" }",
            fragments(TEXT, &[b"a\r", b"\nb\rc"]),
            b"a; b; c\r\n",
            None,
            2,
        ),
        (
            "\"irc\"",
            "{ replace = \" \" }",
            text("clean"),
            b"clean\r\n",
            None,
            0,
        ),
        ("\"mllp\"", "", text("a\x1c\rb"), b"", Some(EMBEDDED_TEXT), 0),
        (
            "\"mllp\"",
            "\"split\"",
            text("a\x1c\rb"),
            b"\x0ba\x1c\r\x0bb\x1c\r",
            None,
            1,
        ),
        (
            "\"mllp\"",
            "{ replace = \" \" }",
            fragments(TEXT, &[b"a\x1c", b"\rb\x0b"]),
            b"\x0ba b \x1c\r",
            None,
            2,
        ),
        (
            ESCAPED,
            "\"reject\"",
            binary(b"a\x03b"),
            b"",
            Some(EMBEDDED_BINARY),
            0,
        ),
        (
            ESCAPED,
            "\"escape\"",
            fragments(BINARY, &[b"a\x03", b"\x10"]),
            b"\x02a\x10\x03\x10\x10\x03",
            None,
            2,
        ),
        (
            "\"slip\"",
            "",
            binary(b"\xC0a\xDB"),
            b"\xC0\xDB\xDCa\xDB\xDD\xC0",
            None,
            2,
        ),
        ("\"cobs\"", "", binary(b"a\0b"), b"\x02a\x02b\0", None, 1),
        (KEEP, "", text("a\nb\r\n"), b"", Some(EMBEDDED_TEXT), 0),
        (KEEP, "\"split\"", text("a\nb\r\n"), b"a\nb\r\n", None, 1),
        (KEEP, "{ replace = \"|\" }", text("a\nb\r\n"), b"a|b\r\n", None, 1),
    ];
    for (framing, policy, message, arrives, refused, embedded) in rows {
        let policy = if policy.is_empty() {
            String::new()
        } else {
            format!("embedded_delimiter = {policy}")
        };
        let settings = format!("framing = {framing}\n{policy}");
        let counts: &[_] = if *embedded > 0 {
            &[("embedded", *embedded)]
        } else {
            &[]
        };
        up(
            &settings,
            std::slice::from_ref(message),
            arrives,
            *refused,
            counts,
        )
        .await;
    }
}

#[tokio::test]
async fn a_record_that_is_cut_is_an_error_delivered_or_dropped() {
    let delivered: Counts<'_> = &[("partial_delivered", 1)];
    let dropped: Counts<'_> = &[("partial_dropped", 1)];
    let part = [is_text("part")];
    let header = [is_binary(b"\0\x01\0\0")];
    type Row<'a> = (&'a str, &'a str, &'a [u8], Messages<'a>, End, Counts<'a>);
    let rows: &[Row<'_>] = &[
        ("lines", "", b"part", &part, CLOSED, delivered),
        ("lines", "deliver", b"part", &part, CLOSED, delivered),
        ("lines", "drop", b"part", &[], CLOSED, dropped),
        ("lines", "error", b"part", &[], CUT, &[]),
        ("u16be", "", b"\0\x09part", &[], CUT, &[]),
        ("u16be", "deliver", b"\0\x09part", &part, CLOSED, delivered),
        ("u16be", "drop", b"\0\x09part", &[], CLOSED, dropped),
        ("u16be", "error", b"\0\x09part", &[], CUT, &[]),
        // A cut header is no part of a message, unless the message keeps it.
        ("u16be", "deliver", b"\0", &[], CLOSED, dropped),
        ("u16be", "drop", b"\0", &[], CLOSED, dropped),
        ("modbus", "deliver", b"\0\x01\0\0", &header, CLOSED, delivered),
        ("modbus", "drop", b"\0\x01\0\0", &[], CLOSED, dropped),
        // What has come whole is not cut.
        ("lines", "drop", b"part\n", &part, CLOSED, &[]),
        ("u16be", "error", b"\0\x04part", &part, CLOSED, &[]),
    ];
    for (framing, partial, bytes, messages, end, counts) in rows {
        let kind = if *framing == "modbus" { "binary" } else { "text" };
        let partial = if partial.is_empty() {
            String::new()
        } else {
            format!("partial = \"{partial}\"")
        };
        let settings = format!("framing = \"{framing}\"\nmessage = \"{kind}\"\n{partial}");
        down(&settings, &[(bytes, &[])], messages, *end, counts).await;
    }
}

/// For each framing: a record that is cut, and what there is of its message.
const CUTS: &[(&str, &[u8], &[u8])] = &[
    ("u32le", b"\x09\0\0\0part", b"part"),
    ("tpkt", b"\x03\0\0\x0Dpart", b"part"),
    ("mysql", b"\x09\0\0\0part", b"\x09\0\0\0part"),
    ("mqtt", b"\x30\x09part", b"\x30\x09part"),
    ("protobuf", b"\x09part", b"part"),
    ("netstring", b"9:part", b"part"),
    // All but the comma.
    ("netstring", b"4:part", b"part"),
    ("syslog", b"9 part", b"part"),
    ("lsp", b"Content-Length: 9\r\n\r\npart", b"part"),
    ("mllp", b"\x0Bpart", b"part"),
    ("stx-etx", b"\x02part", b"part"),
    ("slip", b"\xC0part", b"part"),
    ("cobs", b"\x09part", b"part"),
    ("json-seq", b"\x1E[1, 2", b"[1, 2"),
    ("stomp", b"SEND\n\npart", b"SEND\n\npart"),
    ("postgres", b"D\0\0\0\x09part", b"D\0\0\0\x09part"),
    (
        "amqp091",
        b"\x01\0\x01\0\0\0\x09part",
        b"\x01\0\x01\0\0\0\x09part",
    ),
    ("fix", b"8=FIX.4.4\x019=9\x01part", b"8=FIX.4.4\x019=9\x01part"),
];

#[tokio::test]
async fn a_cut_record_of_any_framing_has_its_policy() {
    for (framing, bytes, part) in CUTS {
        let message = [is_binary(part)];
        let rows: &[(&str, Messages<'_>, End, Counts<'_>)] = &[
            ("deliver", &message, CLOSED, &[("partial_delivered", 1)]),
            ("drop", &[], CLOSED, &[("partial_dropped", 1)]),
            ("error", &[], CUT, &[]),
        ];
        for (partial, messages, end, counts) in rows {
            let settings = format!("framing = \"{framing}\"\nmessage = \"binary\"\npartial = \"{partial}\"");
            down(&settings, &[(bytes, &[])], messages, *end, counts).await;
        }
    }
}

#[tokio::test]
async fn an_oversized_record_of_any_framing_ends_the_session_or_is_dropped_whole() {
    /// A framing, a record over the limit of 10 B, one that is not, and its message.
    type Row = (&'static str, &'static [u8], &'static [u8], &'static [u8]);
    const ROWS: &[Row] = &[
        ("u32le", b"\x0C\0\0\0far too long", b"\x02\0\0\0ok", b"ok"),
        ("mqtt", b"\x30\x0Cfar too long", b"\x30\x02ok", b"\x30\x02ok"),
        ("protobuf", b"\x0Cfar too long", b"\x02ok", b"ok"),
        ("netstring", b"12:far too long,", b"2:ok,", b"ok"),
        ("syslog", b"12 far too long", b"2 ok", b"ok"),
        (
            "lsp",
            b"Content-Length: 12\r\n\r\nfar too long",
            b"Content-Length: 2\r\n\r\nok",
            b"ok",
        ),
        ("mllp", b"\x0Bfar too long\x1C\r", b"\x0Bok\x1C\r", b"ok"),
        ("slip", b"\xC0far too long\xC0", b"\xC0ok\xC0", b"ok"),
        ("cobs", b"\x0Dfar too long\0", b"\x03ok\0", b"ok"),
        ("json-seq", b"\x1E\"far too long\"\n", b"\x1E1\n", b"1"),
        ("stomp", b"SEND\n\nfar too long\0", b"A\n\nok\0", b"A\n\nok\0"),
    ];
    for (framing, long, short, message) in ROWS {
        let stream = [*long, *short].concat();
        let settings = format!("framing = \"{framing}\"\nmessage = \"binary\"\nmax_message = \"10 B\"");
        down(&settings, &[(&stream, &[])], &[], RECORD_BIG, &[]).await;
        let discard = format!("{settings}\noversized = \"discard\"");
        let delivered = [is_binary(message)];
        down(
            &discard,
            &[(&stream, &[])],
            &delivered,
            CLOSED,
            &[("oversized_down", 1)],
        )
        .await;
    }
}

#[tokio::test]
async fn text_becomes_a_record_in_its_charset() {
    // More than is transcoded at once, in one frame and in two.
    let long = "你好".repeat(5_000);
    let long_gbk = b"\xC4\xE3\xBA\xC3".repeat(5_000);
    let long_record = [&20_000_u16.to_be_bytes()[..], &long_gbk].concat();
    let long_line = [&long_gbk[..], b"\n"].concat();
    let hello = "你好".as_bytes();
    let rows: &[(&str, &str, Vec<u8>, &[u8])] = &[
        ("lines", "gbk", text("你好"), b"\xC4\xE3\xBA\xC3\n"),
        (
            "lines",
            "gbk",
            fragments(TEXT, &[&hello[..1], &hello[1..5], b"", &hello[5..]]),
            b"\xC4\xE3\xBA\xC3\n",
        ),
        (
            "lines",
            "gb18030",
            text("你好😀"),
            b"\xC4\xE3\xBA\xC3\x94\x39\xFC\x36\n",
        ),
        ("lines", "big5", text("你好"), b"\xA7\x41\xA6\x6E\n"),
        ("lines", "shift_jis", text("ソa"), b"\x83\x5Ca\n"),
        ("lines", "euc-jp", text("あ"), b"\xA4\xA2\n"),
        ("lines", "euc-kr", text("가"), b"\xB0\xA1\n"),
        ("lines", "iso-2022-jp", text("あ"), b"\x1B$B\x24\x22\x1B(B\n"),
        (
            "lines",
            "windows-1251",
            text("Привет"),
            b"\xCF\xF0\xE8\xE2\xE5\xF2\n",
        ),
        ("lines", "windows-1252", text("€"), b"\x80\n"),
        ("lines", "iso-8859-1", text("é\u{80}"), b"\xE9\x80\n"),
        ("lines", "koi8-r", text("да"), b"\xC4\xC1\n"),
        ("lines", "utf-8", text("é"), b"\xC3\xA9\n"),
        ("u16be", "gbk", text("你好"), b"\0\x04\xC4\xE3\xBA\xC3"),
        (
            "u16be",
            "gbk",
            fragments(TEXT, &[&hello[..4], &hello[4..]]),
            b"\0\x04\xC4\xE3\xBA\xC3",
        ),
        ("u16be", "gbk", text(&long), &long_record),
        (
            "u16be",
            "gbk",
            fragments(TEXT, &[&long.as_bytes()[..9_001], &long.as_bytes()[9_001..]]),
            &long_record,
        ),
        ("lines", "gbk", text(&long), &long_line),
        ("raw", "gbk", text(&long), &long_gbk),
        (
            "raw",
            "gbk",
            fragments(TEXT, &[&hello[..2], &hello[2..]]),
            b"\xC4\xE3\xBA\xC3",
        ),
        (
            "raw",
            "iso-2022-jp",
            [text("あ"), text("あ")].concat(),
            b"\x1B$B\x24\x22\x1B(B\x1B$B\x24\x22\x1B(B",
        ),
        // Binary is what it is.
        ("lines", "gbk", binary(b"\xFF\xE4"), b"\xFF\xE4\n"),
        (
            "u16be",
            "gbk",
            [binary(b"\xC3\xA9"), text("你")].concat(),
            b"\0\x02\xC3\xA9\0\x02\xC4\xE3",
        ),
        ("u16be", "latin1", fragments(TEXT, &[b"", b"", b""]), b"\0\0"),
    ];
    for (framing, charset, message, arrives) in rows {
        let settings = format!("framing = \"{framing}\"\ncharset = \"{charset}\"");
        up(&settings, std::slice::from_ref(message), arrives, None, &[]).await;
    }
}

#[tokio::test]
async fn a_character_that_the_charset_lacks_is_refused_replaced_or_escaped() {
    let emoji = "a😀b😀";
    let smile = "😀".as_bytes();
    let cut = fragments(TEXT, &[b"good", &smile[..3], &smile[3..]]);
    let replaced: Counts<'_> = &[("unmappable_replaced", 2)];
    let escaped: Counts<'_> = &[("unmappable_escaped", 2)];
    let once: Counts<'_> = &[("unmappable_escaped", 1)];
    let numbers = b"a&#128512;b&#128512;";
    let counted_numbers = [&[0, numbers.len() as u8][..], numbers].concat();
    type Row<'a> = (
        &'a str,
        &'a str,
        &'a str,
        Vec<u8>,
        &'a [u8],
        Option<End>,
        Counts<'a>,
    );
    let rows: &[Row<'_>] = &[
        ("lines", "gbk", "", text(emoji), b"", Some(LACKING), &[]),
        ("lines", "gbk", "reject", cut.clone(), b"", Some(LACKING), &[]),
        (
            "u16be",
            "latin1",
            "reject",
            text("good€"),
            b"",
            Some(LACKING),
            &[],
        ),
        // Raw has let the first frame go; of the piece with the character nothing leaves.
        (
            "raw",
            "latin1",
            "reject",
            fragments(TEXT, &[b"good", "bad€".as_bytes()]),
            b"good",
            Some(LACKING),
            &[],
        ),
        ("lines", "gbk", "replace", text(emoji), b"a?b?\n", None, replaced),
        (
            "lines",
            "latin1",
            "replace",
            text(emoji),
            b"a?b?\n",
            None,
            replaced,
        ),
        (
            "u16be",
            "gbk",
            "replace",
            text(emoji),
            b"\0\x04a?b?",
            None,
            replaced,
        ),
        (
            "lines",
            "gbk",
            "escape",
            text(emoji),
            b"a&#128512;b&#128512;\n",
            None,
            escaped,
        ),
        (
            "u16be",
            "latin1",
            "escape",
            text(emoji),
            &counted_numbers,
            None,
            escaped,
        ),
        ("raw", "big5", "escape", cut, b"good&#128512;", None, once),
        (
            "lines",
            "iso-2022-jp",
            "escape",
            text("あ😀"),
            b"\x1B$B\x24\x22\x1B(B&#128512;\n",
            None,
            once,
        ),
        // The limits of the framing are those of the record.
        (
            "u8",
            "gbk",
            "escape",
            text(&"😀".repeat(30)),
            b"",
            Some(LONG),
            &[],
        ),
        (
            "lines",
            "gbk",
            "escape",
            text("a\nb"),
            b"",
            Some(EMBEDDED_TEXT),
            &[],
        ),
    ];
    for (framing, charset, policy, message, arrives, refused, counts) in rows {
        let policy = if policy.is_empty() {
            String::new()
        } else {
            format!("unmappable = \"{policy}\"")
        };
        let settings = format!("framing = \"{framing}\"\ncharset = \"{charset}\"\n{policy}");
        up(
            &settings,
            std::slice::from_ref(message),
            arrives,
            *refused,
            counts,
        )
        .await;
    }
}

#[tokio::test]
async fn a_record_becomes_text_from_its_charset() {
    let long: String = "你好".repeat(20_000);
    let long_gbk = b"\xC4\xE3\xBA\xC3".repeat(20_000);
    let long_line = [&long_gbk[..], b"\n"].concat();
    let long_record = [&80_000_u32.to_be_bytes()[..], &long_gbk].concat();
    for message in ["text", "auto"] {
        let rows: &[(&str, &str, &[Step<'_>])] = &[
            ("lines", "gbk", &[(b"\xC4\xE3\xBA\xC3\n", &[is_text("你好")])]),
            (
                "lines",
                "gbk",
                &[
                    (b"\xC4", &[]),
                    (b"\xE3\xBA", &[]),
                    (b"\xC3\n", &[is_text("你好")]),
                ],
            ),
            (
                "lines",
                "shift_jis",
                &[(b"\x83\x5Ca\n\n", &[is_text("ソa"), is_text("")])],
            ),
            ("lines", "big5", &[(b"\xA7\x41\xA6\x6E\n", &[is_text("你好")])]),
            // Each record starts in ASCII again.
            (
                "lines",
                "iso-2022-jp",
                &[(b"\x1B$B\x24\x22\n\x24\x22\n", &[is_text("あ"), is_text("$\"")])],
            ),
            ("lines", "windows-1251", &[(b"\xCF\xF0\xE8\n", &[is_text("При")])]),
            ("lines", "iso-8859-1", &[(b"\x80\xE9\n", &[is_text("\u{80}é")])]),
            ("lines", "windows-1252", &[(b"\x80\xE9\n", &[is_text("€é")])]),
            (
                "u16be",
                "gbk",
                &[(b"\0\x04\xC4\xE3", &[]), (b"\xBA\xC3", &[is_text("你好")])],
            ),
            ("lines", "gbk", &[(&long_line, &[is_text(&long)])]),
            ("u32be", "gbk", &[(&long_record, &[is_text(&long)])]),
            (
                "u32be",
                "gbk",
                &[
                    (&long_record[..30_003], &[]),
                    (&long_record[30_003..], &[is_text(&long)]),
                ],
            ),
        ];
        for (framing, charset, steps) in rows {
            let settings =
                format!("framing = \"{framing}\"\ncharset = \"{charset}\"\nmessage = \"{message}\"");
            down(&settings, steps, &[], CLOSED, &[]).await;
        }
        // Nothing else in it.
        let settings = format!("framing = \"lines\"\ncharset = \"utf-8\"\nmessage = \"{message}\"");
        down(
            &settings,
            &[("é\n".as_bytes(), &[is_text("é")])],
            &[],
            CLOSED,
            &[],
        )
        .await;
    }
}

#[tokio::test]
async fn a_stream_without_records_is_one_text() {
    for message in ["text", "auto"] {
        let rows: &[(&str, &[Step<'_>])] = &[
            (
                "gbk",
                &[(b"a\xC4", &[is_text("a")]), (b"\xE3b", &[is_text("你b")])],
            ),
            (
                "gb18030",
                &[(b"a\x94\x39\xFC", &[is_text("a")]), (b"\x36", &[is_text("😀")])],
            ),
            // The second byte of a character may look like ASCII.
            (
                "shift_jis",
                &[(b"a\x83", &[is_text("a")]), (b"\x41", &[is_text("ア")])],
            ),
            // A shift holds from one read to the next.
            (
                "iso-2022-jp",
                &[
                    (b"a\x1B$", &[is_text("a")]),
                    (b"B\x24\x22", &[is_text("あ")]),
                    (b"\x24\x22\x1B(B", &[is_text("あ")]),
                    (b"b", &[is_text("b")]),
                ],
            ),
            (
                "iso-8859-1",
                &[(b"\xE9", &[is_text("é")]), (b"\xE8", &[is_text("è")])],
            ),
        ];
        for (charset, steps) in rows {
            let settings = format!("framing = \"raw\"\ncharset = \"{charset}\"\nmessage = \"{message}\"");
            down(&settings, steps, &[], CLOSED, &[]).await;
        }
    }
    // In UTF-8 too, where it must be text.
    for invalid in ["close", "replace"] {
        let settings = format!("framing = \"raw\"\nmessage = \"text\"\ninvalid_text = \"{invalid}\"");
        let steps: &[Step<'_>] = &[(b"a\xE2\x82", &[is_text("a")]), (b"\xAC", &[is_text("€")])];
        down(&settings, steps, &[], CLOSED, &[]).await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_end_the_session_are_mended_or_stay_binary() {
    let replaced: Counts<'_> = &[("invalid_replaced", 1)];
    let stays: Counts<'_> = &[("invalid_binary", 1)];
    // Long enough to leave in fragments where nothing holds it.
    let long = [&b"x".repeat(20_000)[..], b"\xFFy"].concat();
    let long_line = [&long[..], b"\n"].concat();
    let (first, second) = long_line.split_at(10_000);
    let mended_long = format!("{}\u{FFFD}y", "x".repeat(20_000));
    for charset in ["", "charset = \"gbk\""] {
        for (message, invalid, policy) in [
            ("text", "", "close"),
            ("text", "close", "close"),
            ("text", "replace", "replace"),
            ("text", "binary", "binary"),
            ("auto", "", "binary"),
            ("auto", "close", "close"),
            ("auto", "replace", "replace"),
            ("auto", "binary", "binary"),
        ] {
            let invalid = if invalid.is_empty() {
                String::new()
            } else {
                format!("invalid_text = \"{invalid}\"")
            };
            let with = |framing: &str| {
                format!("framing = \"{framing}\"\nmessage = \"{message}\"\n{charset}\n{invalid}")
            };
            let good = is_text("ok");
            match policy {
                "close" => {
                    down(
                        &with("lines"),
                        &[(b"ok\n\xFFa\nok\n", std::slice::from_ref(&good))],
                        &[],
                        NO_TEXT,
                        &[],
                    )
                    .await;
                    down(
                        &with("u16be"),
                        &[(b"\0\x02ok\0\x02\xFFa", std::slice::from_ref(&good))],
                        &[],
                        NO_TEXT,
                        &[],
                    )
                    .await;
                    down(
                        &with("u16be"),
                        &[(b"\0\x02ok\0\x09\xFFa", std::slice::from_ref(&good))],
                        &[],
                        NO_TEXT,
                        &[],
                    )
                    .await;
                    down(
                        &with("raw"),
                        &[(b"ok", &[good]), (b"\xFFa", &[])],
                        &[],
                        NO_TEXT,
                        &[],
                    )
                    .await;
                }
                "replace" => {
                    let mended = is_text("\u{FFFD}a");
                    let all = [mended.clone(), good.clone()];
                    down(&with("lines"), &[(b"\xFFa\nok\n", &all)], &[], CLOSED, replaced).await;
                    down(
                        &with("u16be"),
                        &[(b"\0\x02\xFFa\0\x02ok", &all)],
                        &[],
                        CLOSED,
                        replaced,
                    )
                    .await;
                    down(
                        &with("u16be"),
                        &[(b"\0\x02\xFF", &[]), (b"a\0\x02ok", &all)],
                        &[],
                        CLOSED,
                        replaced,
                    )
                    .await;
                    down(&with("raw"), &[(b"\xFFa", &[mended])], &[], CLOSED, replaced).await;
                    let steps: [Step<'_>; 2] = [(first, &[]), (second, &[is_text(&mended_long)])];
                    down(&with("lines"), &steps, &[], CLOSED, replaced).await;
                }
                _ => {
                    let as_it_came = is_binary(b"\xFFa");
                    let all = [as_it_came.clone(), good.clone()];
                    down(&with("lines"), &[(b"\xFFa\nok\n", &all)], &[], CLOSED, stays).await;
                    down(
                        &with("u16be"),
                        &[(b"\0\x02\xFFa\0\x02ok", &all)],
                        &[],
                        CLOSED,
                        stays,
                    )
                    .await;
                    down(
                        &with("u16be"),
                        &[(b"\0\x02\xFF", &[]), (b"a\0\x02ok", &all)],
                        &[],
                        CLOSED,
                        stays,
                    )
                    .await;
                    down(
                        &with("raw"),
                        &[(b"\xFFa", &[as_it_came]), (b"ok", &[good])],
                        &[],
                        CLOSED,
                        stays,
                    )
                    .await;
                    let steps: [Step<'_>; 2] = [(first, &[]), (second, &[is_binary(&long)])];
                    down(&with("lines"), &steps, &[], CLOSED, stays).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_character_loses_nothing_in_silence() {
    let a = [is_text("a")];
    let half = [is_text("\u{FFFD}")];
    let delivered: Counts<'_> = &[("partial_delivered", 1), ("invalid_replaced", 1)];
    for (charset, bytes) in [
        ("utf-8", &b"a\xE2\x82"[..]),
        ("gbk", b"a\xC4"),
        ("shift_jis", b"a\x83"),
    ] {
        let rows: &[(&str, &str, Messages<'_>, End, Counts<'_>)] = &[
            ("deliver", "close", &[], NO_TEXT, &[]),
            ("deliver", "replace", &half, CLOSED, delivered),
            ("drop", "replace", &[], CLOSED, &[("partial_dropped", 1)]),
            ("drop", "close", &[], CLOSED, &[("partial_dropped", 1)]),
            ("error", "replace", &[], CUT, &[]),
            ("error", "close", &[], CUT, &[]),
        ];
        for (partial, invalid, rest, end, counts) in rows {
            let settings = format!(
                "framing = \"raw\"\nmessage = \"text\"\ncharset = \"{charset}\"\npartial = \"{partial}\"\n\
                 invalid_text = \"{invalid}\""
            );
            down(&settings, &[(bytes, &a)], rest, *end, counts).await;
        }
    }
    let auto = "framing = \"raw\"\nmessage = \"auto\"\ncharset = \"gbk\"";
    let counts = [("partial_delivered", 1), ("invalid_binary", 1)];
    down(auto, &[(b"a\xC4", &a)], &[is_binary(b"\xC4")], CLOSED, &counts).await;
    // What is no text comes with the bytes before it that were the start of a character.
    let steps: [Step<'_>; 3] = [
        (b"a\xC4", &a),
        (b"\xFFb", &[is_binary(b"\xC4\xFFb")]),
        (b"\xC4\xE3", &[is_text("你")]),
    ];
    down(auto, &steps, &[], CLOSED, &[("invalid_binary", 1)]).await;
    // A shift that was begun is half a character; one that is complete is none.
    let jis = auto.replace("gbk", "iso-2022-jp");
    down(&jis, &[(b"a\x1B$", &a)], &[is_binary(b"\x1B$")], CLOSED, &counts).await;
    down(&jis, &[(b"a\x1B$B", &a)], &[], CLOSED, &[]).await;
    // In records too.
    let lines = "framing = \"lines\"\nmessage = \"text\"\ncharset = \"gbk\"\ninvalid_text = \"replace\"";
    down(
        lines,
        &[(b"a\xC4", &[])],
        &[is_text("a\u{FFFD}")],
        CLOSED,
        delivered,
    )
    .await;
}

#[tokio::test]
async fn who_speaks_binary_gets_the_bytes_of_the_backend() {
    for invalid in ["close", "replace", "binary"] {
        for charset in ["utf-8", "gbk", "latin1"] {
            let settings = format!(
                "framing = {{ to_backend = \"raw\", to_client = \"lines\" }}\nmessage = \"auto\"\ncharset = \"{charset}\"\n\
                 invalid_text = \"{invalid}\" after binary"
            );
            let steps: [Step<'_>; 1] = [(
                b"ok\n\xC4\xE3\n\xFF\n",
                &[is_binary(b"ok"), is_binary(b"\xC4\xE3"), is_binary(b"\xFF")],
            )];
            down(&settings, &steps, &[], CLOSED, &[]).await;
        }
    }
}

/// The start of a character waits for its rest; then the client says that it wants bytes.
#[tokio::test]
async fn who_speaks_binary_late_loses_no_byte() {
    let mut scene = Scene::start("framing = \"raw\"\nmessage = \"auto\"\ncharset = \"gbk\"").await;
    let (mut client, mut service) = scene.open().await;
    write(&mut service, b"a\xC4").await;
    assert_eq!(client.message().await, is_text("a"));
    client.send(BINARY, b"first").await;
    assert_eq!(read(&mut service, 5).await, b"first");
    write(&mut service, b"\xE3b").await;
    assert_eq!(client.message().await, is_binary(b"\xC4\xE3b"));
    drop(service);
    client.expect_close(1000, "backend closed").await;
    let fields = json!({"messages_down": 2, "bytes_down": 4, "lost_down": 0});
    let record = scene.ended("backend_closed", fields).await;
    expect_counts(&record, &[], "late");
    scene.done().await;
}
