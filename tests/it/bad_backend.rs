//! What the client is told of a backend that is not there, goes away, or sends what cannot be understood.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::{Client, Frame, PATIENCE, Request, Scene, TEXT, frame, nobody, reset, write};

/// Long enough for what the kernel does at once.
const MOMENT: Duration = PATIENCE.checked_div(100).unwrap();

/// A listener whose queue is full, so that further connections hang, with what fills it.
async fn busy() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(MOMENT, TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 64, "the queue never filled");
    }
    (listener, queued)
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_told_before_or_after_the_upgrade() {
    let (full, _queued) = busy().await;
    let rows = [
        (
            format!("tcp://{}", nobody()),
            502,
            "dial_failed",
            "SC",
            "backend unreachable",
        ),
        (
            "unix:/nonexistent/socket".into(),
            502,
            "dial_failed",
            "SC",
            "backend unreachable",
        ),
        (
            "tcp://no-such-name.invalid:1".into(),
            502,
            "dial_name",
            "SC",
            "backend name cannot be resolved",
        ),
        (
            format!("tcp://{}", full.local_addr().unwrap()),
            504,
            "dial_timeout",
            "sC",
            "backend did not answer in time",
        ),
    ];
    for (backend, status, cause, state, text) in rows {
        // Only the last row needs the deadline; a name look-up may take its time.
        let timeout = if status == 504 { "300ms" } else { "20s" };
        let settings = format!("backend = \"{backend}\"\nframing = \"raw\"\ndial_timeout = \"{timeout}\"");

        let mut scene = Scene::start(&settings).await;
        let refused = Request::get("/test").plain(scene.program.plain).await;
        let refusal = refused.err().unwrap();
        assert_eq!((refusal.status, refusal.body), (status, format!("{text}\n")));
        let fields = json!({"state": state, "status": status, "level": "WARN", "route": "test"});
        let record = scene.ended(cause, fields).await;
        // The log names the address, the client does not learn it.
        assert!(
            record["detail"].as_str().unwrap().starts_with(&backend),
            "{record}"
        );
        scene.done().await;

        let mut scene = Scene::start(&format!("{settings}\non_dial_failure = \"close\"")).await;
        let mut client = Client::plain(scene.program.plain, "/test").await;
        client.send(TEXT, b"for nobody").await;
        client.expect_close(1014, text).await;
        client.expect_end().await;
        let fields = json!({
            "state": state, "code": 1014, "level": "WARN", "backend": null,
            "message": format!("refused: {text}"), "lost_up": 10,
        });
        let record = scene.ended(cause, fields).await;
        assert!(
            record["detail"].as_str().unwrap().starts_with(&backend),
            "{record}"
        );
        scene.done().await;
    }
}

#[tokio::test]
async fn the_end_of_the_stream_is_told_by_where_it_comes() {
    const CLOSED: (u16, &str, &str) = (1000, "backend_closed", "backend closed");
    const CUT: (u16, &str, &str) = (1011, "backend_cut", "backend ended inside a record");
    const BAD: (u16, &str, &str) = (1007, "backend_text", "backend sent bytes that are not text");
    // Framing, settings, what the backend sends before it ends, the messages of the client, its Close frame, and what is lost.
    type Row = (
        &'static str,
        &'static str,
        &'static [u8],
        &'static [&'static [u8]],
        (u16, &'static str, &'static str),
        u64,
    );
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("lines", "", b"", &[], CLOSED, 0),
        ("lines", "", b"one\ntwo\n", &[b"one", b"two"], CLOSED, 0),
        ("u16be", "", b"\0\x03one\0\0", &[b"one", b""], CLOSED, 0),
        ("raw", "", b"", &[], CLOSED, 0),
        // Inside a record, by policy.
        ("lines", "", b"one\ntw", &[b"one", b"tw"], CLOSED, 0),
        ("lines", "partial = \"deliver\"", b"one\ntw", &[b"one", b"tw"], CLOSED, 0),
        ("lines", "partial = \"error\"", b"one\ntw", &[b"one"], CUT, 2),
        ("lines", "partial = \"drop\"", b"one\ntw", &[b"one"], CLOSED, 2),
        ("u16be", "", b"\0\x03one\0\x03tw", &[b"one"], CUT, 4),
        ("u16be", "partial = \"error\"", b"\0\x03one\0", &[b"one"], CUT, 1),
        ("u16be", "partial = \"deliver\"", b"\0\x03one\0\x03tw", &[b"one", b"tw"], CLOSED, 0),
        ("u16be", "partial = \"drop\"", b"\0\x03one\0\x03tw", &[b"one"], CLOSED, 4),
        // The start of a delimiter is data when nothing follows.
        ("crlf", "", b"one\r\ntw\r", &[b"one", b"tw\r"], CLOSED, 0),
        ("crlf", "partial = \"error\"", b"one\r\n\r", &[b"one"], CUT, 1),
        // Half a header is part of a message only where messages keep their header.
        ("u16be", "partial = \"deliver\"", b"\0\x03one\0", &[b"one"], CLOSED, 1),
        ("mongodb", "partial = \"deliver\"", b"\x08\0\0\0", &[b"\x08\0\0\0"], CLOSED, 0),
        ("mongodb", "partial = \"deliver\"", b"\x08\0", &[b"\x08\0"], CLOSED, 0),
        ("mongodb", "", b"\x08\0\0\0ab", &[], CUT, 6),
        // Nor is half of a protocol's own record a record, unless asked for; then with what has come of its trailer.
        ("stomp", "", b"ACK\nid:1\n\n\0MESSAGE\nid:2\n\nbo", &[b"ACK\nid:1\n\n\0"], CUT, 16),
        ("stomp", "partial = \"deliver\"", b"\nMESSAGE\n\nbo", &[b"\n", b"MESSAGE\n\nbo"], CLOSED, 0),
        ("postgres", "partial = \"deliver\"", b"Z\0\0\0\x05", &[b"Z\0\0\0\x05"], CLOSED, 0),
        ("amqp091", "", b"\x08\0\0\0\0\0\0", &[], CUT, 7),
        ("amqp091", "partial = \"drop\"", b"AMQP\0\0\x09", &[], CLOSED, 7),
        ("fix", "", b"8=F\x019=5\x0135=0\x0110=", &[], CUT, 16),
        ("fix", "partial = \"deliver\"", b"8=F\x019=5\x0135=0\x0110=", &[b"8=F\x019=5\x0135=0\x0110="], CLOSED, 0),
        // Half a character, and what is none.
        ("raw", "message = \"text\"", b"ab\xE2\x82", &[b"ab"], BAD, 2),
        ("lines", "message = \"text\"", b"ab\xE2\x82", &[], BAD, 4),
        ("lines", "message = \"text\"", b"ab\nc\xE2\x82\n", &[b"ab"], BAD, 4),
        ("lines", "message = \"text\"", b"ab\n\xFFxyz", &[b"ab"], BAD, 4),
    ];
    for (framing, settings, sent, messages, (code, cause, reason), lost) in rows {
        let mut scene = Scene::start(&format!("framing = \"{framing}\"\n{settings}")).await;
        let (mut client, mut service) = scene.open().await;
        write(&mut service, sent).await;
        drop(service);
        for message in *messages {
            assert_eq!(
                client.message().await.1,
                *message,
                "{framing} {settings} {sent:?}"
            );
        }
        let told = client.frame().await;
        assert_eq!(
            told,
            Some(Frame::close(*code, reason)),
            "{framing} {settings} {sent:?}"
        );
        client.close(*code, "").await;
        client.expect_end().await;
        let bytes: usize = messages.iter().map(|message| message.len()).sum();
        let fields = json!({
            "state": if *code == 1000 { "--" } else { "SD" },
            "level": if *code == 1000 { "INFO" } else { "WARN" },
            "code": code, "messages_down": messages.len(), "bytes_down": bytes, "lost_down": lost,
        });
        scene.ended(cause, fields).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn a_reset_is_told_from_an_end() {
    let mut scene = Scene::start("framing = \"raw\"").await;
    let (mut client, mut service) = scene.open().await;
    write(&mut service, b"one").await;
    assert_eq!(client.message().await.1, b"one");
    reset(service);
    client.expect_close(1014, "backend connection lost").await;
    client.expect_end().await;
    let fields = json!({"state": "SD", "level": "WARN", "code": 1014, "messages_down": 1, "lost_down": 0});
    let record = scene.ended("backend_reset", fields).await;
    let detail = record["detail"].as_str().unwrap();
    assert!(detail.contains("Connection reset by peer"), "{detail}");
    scene.done().await;
}

#[tokio::test]
async fn a_backend_that_ends_right_after_accept_is_an_ordinary_end() {
    let mut scene = Scene::start("framing = \"raw\"").await;
    let mut client = Client::plain(scene.program.plain, "/test").await;
    drop(scene.backend.accept().await);
    client.expect_close(1000, "backend closed").await;
    client.expect_end().await;
    scene
        .ended("backend_closed", json!({"state": "--", "code": 1000}))
        .await;
    scene.done().await;
}

#[tokio::test]
async fn a_reset_is_told_even_when_a_write_meets_it_first() {
    let mut scene = Scene::start("framing = \"raw\"").await;
    let (mut client, mut service) = scene.open().await;
    // The client does not read, so the backend is not read either: only a write can meet the reset.
    while timeout(MOMENT, service.write_all(&[b'x'; 64 * 1024]))
        .await
        .is_ok()
    {}
    reset(service);
    client.raw(&frame(true, TEXT, b"for nobody")).await;
    client.expect_close(1014, "backend connection lost").await;
    client.expect_end().await;
    scene
        .ended("backend_reset", json!({"state": "SD", "code": 1014}))
        .await;
    scene.done().await;
}
