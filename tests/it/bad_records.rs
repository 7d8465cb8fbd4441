//! What comes of records that are cut, too long, or none at all.

use serde_json::json;

use crate::support::{BINARY, CONTINUATION, Frame, Scene, read_to_end, reset, write};

#[tokio::test]
async fn a_long_record_that_is_cut_never_becomes_a_message() {
    for (resets, code, cause, reason) in [
        (false, 1011, "backend_cut", "backend ended inside a record"),
        (true, 1014, "backend_reset", "backend connection lost"),
    ] {
        let mut scene = Scene::start("framing = \"u32be\"").await;
        let (mut client, mut service) = scene.open().await;
        write(&mut service, &40_000_u32.to_be_bytes()).await;
        write(&mut service, &[b'x'; 30_000]).await;
        // It streams: what is there has left as a fragment, which no message ends.
        let Frame { fin, opcode, payload } = client.frame().await.unwrap();
        assert_eq!((fin, opcode), (false, BINARY));
        assert!(payload.len() >= 16 * 1024 - 4, "{}", payload.len());
        if resets {
            reset(service);
        } else {
            drop(service);
        }
        let mut next = client.frame().await.unwrap();
        while next.opcode == CONTINUATION {
            assert!(!next.fin);
            next = client.frame().await.unwrap();
        }
        assert_eq!(next, Frame::close(code, reason));
        client.close(code, "").await;
        client.expect_end().await;
        let fields = json!({
            "state": "SD", "code": code, "messages_down": 0, "bytes_down": 0, "lost_down": 30_004,
        });
        scene.ended(cause, fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn what_cannot_be_a_record_ends_the_session_at_once() {
    const GARBAGE: (u16, &str, &str) = (1011, "backend_garbage", "backend sent a bad record header");
    const TRAILER: (u16, &str, &str) = (1011, "backend_garbage", "backend sent a bad record trailer");
    const BIG: (u16, &str, &str) = (1009, "backend_too_big", "record over the limit of 10 B");
    let counted = "framing = { kind = \"length-prefix\", width = 2, includes_header = true }";
    let rows = [
        // Not the template's bytes; a length that does not even count its own header.
        ("framing = \"tpkt\"", &b"\x04\0\0\x05x"[..], GARBAGE, 5),
        ("framing = \"tpkt\"", b"\x03\0\0\x03", GARBAGE, 4),
        (counted, b"\0\x01", GARBAGE, 2),
        ("framing = \"mongodb\"", b"\xFF\xFF\xFF\xFF", BIG, 4),
        ("framing = \"u32be\"", b"\xFF\xFF\xFF\xFFx", BIG, 5),
        ("framing = \"u32be\"", b"\0\0\0\x0B", BIG, 4),
        (
            "framing = { kind = \"length-prefix\", width = 8 }",
            b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            BIG,
            8,
        ),
        (
            "framing = { kind = \"varint\" }",
            b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02",
            GARBAGE,
            10,
        ),
        ("framing = \"mqtt\"", b"\x30\x80\x80\x80\x80", GARBAGE, 5),
        ("framing = \"protobuf\"", b"\x0B", BIG, 1),
        ("framing = \"netstring\"", b"01:", GARBAGE, 3),
        ("framing = \"netstring\"", b"1:ab", TRAILER, 4),
        ("framing = \"netstring\"", b"11:", BIG, 3),
        ("framing = \"lsp\"", b"Starting\r\n", GARBAGE, 10),
        ("framing = \"lsp\"", b"Content-Length: 1\n", GARBAGE, 18),
        ("framing = \"lsp\"", b"Content-Length: 11\r\n\r\n", BIG, 22),
        ("framing = \"syslog\"", b"0 ", GARBAGE, 2),
        ("framing = \"syslog\"", b"11 ", BIG, 3),
        ("framing = \"lines\"", b"12345678901", BIG, 11),
        ("framing = \"lines\"", b"12345678901\n", BIG, 12),
    ];
    for (route, bytes, (code, cause, reason), lost) in rows {
        let mut scene = Scene::start(&format!("max_message = \"10 B\"\n{route}")).await;
        let (mut client, mut service) = scene.open().await;
        let before = scene.program.peak_memory();
        write(&mut service, bytes).await;
        let told = client.frame().await;
        assert_eq!(told, Some(Frame::close(code, reason)), "{route}");
        scene.program.expect_no_growth(before);
        client.close(code, "").await;
        client.expect_end().await;
        // The backend is given up, whatever more it had to say.
        read_to_end(&mut service).await.unwrap();
        let fields =
            json!({"state": "SD", "code": code, "level": "WARN", "messages_down": 0, "lost_down": lost});
        scene.ended(cause, fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn a_record_over_the_limit_can_be_left_out() {
    for (framing, before, long, after) in [
        ("lines", &b"one\n"[..], &b"12345678901\n"[..], &b"two\n"[..]),
        ("u16be", b"\0\x03one", b"\0\x0B12345678901", b"\0\x03two"),
        ("protobuf", b"\x03one", b"\x0B12345678901", b"\x03two"),
        ("netstring", b"3:one,", b"11:12345678901,", b"3:two,"),
        (
            "lsp",
            b"Content-Length: 3\r\n\r\none",
            b"Content-Length: 11\r\n\r\n12345678901",
            b"Content-Length: 3\r\n\r\ntwo",
        ),
        ("syslog", b"3 one", b"11 12345678901", b"3 two"),
    ] {
        let settings = format!("framing = \"{framing}\"\nmax_message = \"10 B\"\noversized = \"discard\"");
        let mut scene = Scene::start(&settings).await;
        // In one piece, and cut at every byte of the long record.
        for cut in 0..=long.len() {
            let (mut client, mut service) = scene.open().await;
            write(&mut service, &[before, &long[..cut]].concat()).await;
            // Once this has arrived, so has the first part of the long one.
            assert_eq!(client.message().await.1, b"one");
            write(&mut service, &[&long[cut..], after].concat()).await;
            assert_eq!(client.message().await.1, b"two", "{framing} cut at {cut}");
            drop(service);
            client.expect_close(1000, "backend closed").await;
            let fields = json!({
                "messages_down": 2, "bytes_down": 6, "oversized_down": 1, "lost_down": long.len(), "lost_up": 0,
            });
            scene.ended("backend_closed", fields).await;
        }
        scene.done().await;
    }
}

#[tokio::test]
async fn a_record_over_the_limit_that_never_ends_is_dropped_to_its_end() {
    let settings =
        "framing = \"lines\"\nmax_message = \"10 B\"\noversized = \"discard\"\npartial = \"error\"";
    let mut scene = Scene::start(settings).await;
    let (mut client, mut service) = scene.open().await;
    let before = scene.program.peak_memory();
    let block = [b'x'; 64 * 1024];
    for _ in 0..256 {
        write(&mut service, &block).await;
    }
    drop(service);
    client.expect_close(1000, "backend closed").await;
    scene.program.expect_no_growth(before);
    let fields = json!({"messages_down": 0, "oversized_down": 1, "lost_down": 256 * block.len()});
    scene.ended("backend_closed", fields).await;
    scene.done().await;
}
