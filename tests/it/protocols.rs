//! The framings that are a protocol's own: what passes, and what is refused at each edge.

use serde_json::json;

use crate::support::{BINARY, Frame, Scene, TEXT, read, read_to_end, write};

const HEADER: &str = "backend sent a bad record header";
const TRAILER: &str = "backend sent a bad record trailer";
const MISMATCH: (u16, &str, &str) = (
    1002,
    "header_mismatch",
    "message does not match its length header",
);
const NOT_ONE: (u16, &str, &str) = (1008, "not_a_record", "message is not one whole record");

const CONNECT: &[u8] = b"CONNECT\naccept-version:1.2\nhost:/\n\n\0";
const STARTUP: &[u8] = b"\0\0\0\x13\0\x03\0\0user\0ada\0\0\0";

#[tokio::test]
async fn records_pass_as_they_are_in_both_directions() {
    type Row = (
        &'static str,
        u8,
        &'static [&'static [u8]],
        &'static [&'static [u8]],
    );
    let rows: &[Row] = &[
        (
            "stomp",
            TEXT,
            &[
                CONNECT,
                b"\n",
                b"SEND\ndestination:/q\ncontent-length:3\n\na\0b\0",
            ],
            &[
                b"CONNECTED\r\nversion:1.2\r\n\r\n\0",
                b"\n",
                b"\r\n",
                b"MESSAGE\ncontent-length:1\n\n\0\0",
            ],
        ),
        (
            "postgres",
            BINARY,
            &[STARTUP, b"Q\0\0\0\x0Dselect 1\0", b"X\0\0\0\x04"],
            &[b"R\0\0\0\x08\0\0\0\0", b"Z\0\0\0\x05I"],
        ),
        (
            "amqp091",
            BINARY,
            &[b"AMQP\0\0\x09\x01", b"\x08\0\0\0\0\0\0\xCE"],
            &[b"\x03\0\x01\0\0\0\x03a\xCEb\xCE", b"AMQP\x01\x01\0\x0A"],
        ),
        (
            "fix",
            BINARY,
            &[b"8=F\x019=5\x0135=0\x0110=062\x01"],
            &[
                b"8=F\x019=5\x0135=1\x0110=063\x01",
                b"8=F\x019=5\x0135=1\x0110=000\x01",
            ],
        ),
    ];
    for (framing, kind, up, down) in rows {
        let mut scene = Scene::start(&format!("framing = \"{framing}\"")).await;
        let (mut client, mut service) = scene.open().await;
        for message in *up {
            client.send(*kind, message).await;
            assert_eq!(read(&mut service, message.len()).await, *message, "{framing}");
        }
        // All at once, and a byte at a time.
        write(&mut service, &down.concat()).await;
        for byte in down.concat() {
            write(&mut service, &[byte]).await;
        }
        for record in down.iter().chain(*down) {
            assert_eq!(client.message().await, (*kind, record.to_vec()), "{framing}");
        }
        drop(service);
        client.expect_close(1000, "backend closed").await;
        let fields =
            json!({"messages_up": up.len(), "messages_down": 2 * down.len(), "lost_up": 0, "lost_down": 0});
        scene.ended("backend_closed", fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn nothing_of_a_message_that_is_not_one_record_reaches_the_backend() {
    let encryption = (
        1008,
        "encryption_request",
        "TLS ends at sealock: do not ask the backend for encryption",
    );
    for (framing, good, bad, (code, cause, reason)) in [
        (
            "stomp",
            CONNECT,
            &b"SEND\ndestination:/q\n\na\0SEND\ndestination:/q\n\nb\0"[..],
            NOT_ONE,
        ),
        (
            "stomp",
            CONNECT,
            b"SEND\ndestination:/q\ncontent-length:1\n\nab\0",
            NOT_ONE,
        ),
        ("stomp", CONNECT, b"", NOT_ONE),
        ("postgres", b"", b"\0\0\0\x08\x04\xD2\x16\x2F", encryption),
        ("postgres", b"", b"\0\0\0\x08\x04\xD2\x16\x30", encryption),
        ("postgres", STARTUP, STARTUP, MISMATCH),
        ("postgres", STARTUP, b"Q\0\0\0\x05x\0", MISMATCH),
        ("amqp091", b"AMQP\0\0\x09\x01", b"\x08\0\0\0\0\0\0\xCF", MISMATCH),
        ("amqp091", b"", b"AMQP\0\x01\0\0", NOT_ONE),
        (
            "fix",
            b"8=F\x019=5\x0135=0\x0110=062\x01",
            b"8=F\x019=5\x0135=0\x0110=063\x01",
            NOT_ONE,
        ),
        ("fix", b"", b"8=F\x019=9\x0135=0\x0110=062\x01", MISMATCH),
    ] {
        let mut scene = Scene::start(&format!("framing = \"{framing}\"")).await;
        let (mut client, mut service) = scene.open().await;
        if !good.is_empty() {
            client.send(BINARY, good).await;
        }
        client.send(BINARY, bad).await;
        client.expect_refusal(code, reason).await;
        assert_eq!(
            read_to_end(&mut service).await.unwrap(),
            good,
            "{framing} {bad:?}"
        );
        drop(service);
        let fields = json!({"state": "CD", "code": code, "bytes_up": good.len(), "lost_up": bad.len()});
        scene.ended(cause, fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn what_is_no_record_of_the_protocol_ends_the_session() {
    const BIG: (u16, &str, &str) = (1009, "backend_too_big", "record over the limit of 30 B");
    let garbage = |reason| (1011, "backend_garbage", reason);
    for (framing, bytes, (code, cause, reason)) in [
        ("stomp", &b"HTTP/1.1 400 Bad Request\r\n"[..], garbage(HEADER)),
        ("stomp", b"A\ncontent-length:1\n\nab\0", garbage(TRAILER)),
        ("stomp", b"A\ncontent-length:99\n\n", BIG),
        ("stomp", b"A\n\na long body without an end...", BIG),
        ("postgres", b"\x15\x03\x01\0\x02\x02\x46", garbage(HEADER)),
        ("postgres", b"D\0\0\0\x1E", BIG),
        ("amqp091", b"HTTP/1.1 400 Bad Request\r\n", garbage(HEADER)),
        ("amqp091", b"\x08\0\0\0\0\0\0\0", garbage(TRAILER)),
        ("amqp091", b"\x03\0\x01\0\0\0\x17", BIG),
        ("fix", b"logged out\r\n", garbage(HEADER)),
        ("fix", b"8=F\x019=5\x0135=00\x0110=062\x01", garbage(TRAILER)),
        ("fix", b"8=F\x019=20\x01", BIG),
    ] {
        let mut scene = Scene::start(&format!("framing = \"{framing}\"\nmax_message = \"30 B\"")).await;
        let (mut client, mut service) = scene.open().await;
        write(&mut service, bytes).await;
        assert_eq!(
            client.frame().await,
            Some(Frame::close(code, reason)),
            "{framing} {bytes:?}"
        );
        client.close(code, "").await;
        client.expect_end().await;
        read_to_end(&mut service).await.unwrap();
        let fields = json!({"state": "SD", "messages_down": 0, "lost_down": bytes.len()});
        scene.ended(cause, fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn a_record_of_the_protocol_over_the_limit_can_be_left_out() {
    for (framing, before, long, after) in [
        (
            "stomp",
            &b"ACK\n\n\0"[..],
            &b"MESSAGE\nid:far too long\n\n\0"[..],
            &b"\n"[..],
        ),
        ("stomp", b"ACK\n\n\0", b"A\ncontent-length:3\n\na\0b\0", b"\n"),
        (
            "postgres",
            b"Z\0\0\0\x05I",
            b"C\0\0\0\x11INSERT 0 100\0",
            b"Z\0\0\0\x05I",
        ),
        (
            "amqp091",
            b"\x08\0\0\0\0\0\0\xCE",
            b"\x03\0\x01\0\0\0\x05hello\xCE",
            b"\x08\0\0\0\0\0\0\xCE",
        ),
        (
            "fix",
            b"8=F\x019=5\x0135=0\x0110=062\x01",
            b"8=F\x019=9\x0135=0\x011=2\x0110=000\x01",
            b"8=F\x019=5\x0135=0\x0110=062\x01",
        ),
    ] {
        let limit = before.len();
        let settings =
            format!("framing = \"{framing}\"\nmax_message = \"{limit} B\"\noversized = \"discard\"");
        let mut scene = Scene::start(&settings).await;
        for cut in 0..=long.len() {
            let (mut client, mut service) = scene.open().await;
            write(&mut service, &[before, &long[..cut]].concat()).await;
            assert_eq!(client.message().await.1, before);
            write(&mut service, &[&long[cut..], after].concat()).await;
            assert_eq!(client.message().await.1, after, "{framing} cut at {cut}");
            drop(service);
            client.expect_close(1000, "backend closed").await;
            let fields = json!({"messages_down": 2, "oversized_down": 1, "lost_down": long.len()});
            scene.ended("backend_closed", fields).await;
        }
        scene.done().await;
    }
}
