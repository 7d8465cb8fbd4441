//! What comes of frames that break RFC 6455, and of control frames that do not.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::support::{
    BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, Request, Scene, TEXT, frame, read, read_to_end, soon,
};

const ROUTE: &str = "framing = \"raw\"";

/// A frame whose first two bytes and length field are as told, and that ends with its mask.
fn header(first: u8, second: u8, len: &[u8]) -> Vec<u8> {
    [&[first, second], len, &[1, 2, 3, 4]].concat()
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(true, CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// Sends each of these to a session of its own, which must end with this code and reason, and give the backend nothing but its end.
async fn each_is_refused(code: u16, cause: &str, rows: &[(Vec<u8>, &str)]) {
    let mut scene = Scene::start(ROUTE).await;
    for (bytes, reason) in rows {
        let (mut client, mut service) = scene.open().await;
        client.raw(bytes).await;
        client.expect_refusal(code, reason).await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"", "{bytes:?}");
        drop(service);
        let fields = json!({
            "state": "CD", "code": code, "level": "INFO", "route": "test",
            "messages_up": 0, "bytes_up": 0, "messages_down": 0,
        });
        scene.ended(cause, fields).await;
    }
    scene.done().await;
}

#[tokio::test]
async fn each_breach_of_the_protocol_is_named() {
    let rsv = |bits: u8| (header(0x82 | bits, 0x80, &[]), "reserved bit set");
    let mut rows = vec![rsv(0x40), rsv(0x20), rsv(0x10), rsv(0x70)];
    rows.extend(
        [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|opcode| (frame(true, opcode, b"x"), "reserved opcode")),
    );
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        rows.push((vec![0x80 | opcode, 0], "frame not masked"));
    }
    for opcode in [CLOSE, PING, PONG] {
        rows.push((frame(false, opcode, b""), "fragmented control frame"));
        rows.push((frame(true, opcode, &[b'x'; 126]), "control frame over 125 bytes"));
    }
    let long = "frame length not minimal";
    rows.extend([
        (header(0x82, 0xFE, &[0, 0]), long),
        (header(0x82, 0xFE, &[0, 125]), long),
        (header(0x82, 0xFF, &[0, 0, 0, 0, 0, 0, 0, 1]), long),
        (header(0x82, 0xFF, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), long),
        (
            header(0x82, 0xFF, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            "frame length of 2^63 or more",
        ),
        (frame(true, CONTINUATION, b"x"), "continuation of no message"),
        (frame(false, CONTINUATION, b""), "continuation of no message"),
        (
            [frame(false, TEXT, b""), frame(true, TEXT, b"x")].concat(),
            "new message inside a fragmented one",
        ),
        (
            [frame(false, BINARY, b""), frame(false, TEXT, b"")].concat(),
            "new message inside a fragmented one",
        ),
        (frame(true, CLOSE, b"x"), "close frame of one byte"),
    ]);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        rows.push((close(code, b"why"), "forbidden close code"));
    }
    each_is_refused(1002, "protocol_error", &rows).await;
}

#[tokio::test]
async fn what_a_header_tells_is_refused_on_its_first_bytes() {
    // Nothing follows: there is no need to wait for it.
    let rows = [
        (vec![0xC2], "reserved bit set"),
        (vec![0x83], "reserved opcode"),
        (vec![0x09], "fragmented control frame"),
        (vec![0x82, 0x05], "frame not masked"),
        (vec![0x89, 0xFE], "control frame over 125 bytes"),
        (vec![0x82, 0xFE, 0, 7], "frame length not minimal"),
    ];
    each_is_refused(1002, "protocol_error", &rows).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let text = "text that is not UTF-8";
    let rows = [
        (frame(true, TEXT, b"\xFFabc"), text),
        (frame(true, TEXT, b"\xC0\x80"), text),
        (frame(true, TEXT, b"\xED\xA0\x80"), text),
        (frame(true, TEXT, b"\xF4\x90\x80\x80"), text),
        (frame(true, TEXT, b"\xC3"), text),
        // A hopeless byte is told before the message ends.
        (frame(false, TEXT, b"\xFF"), text),
        (frame(true, TEXT, b"\xED\xA0...........")[..8].to_vec(), text),
        (close(1000, b"\xFF"), text),
    ];
    each_is_refused(1007, "client_text", &rows).await;
}

#[tokio::test]
async fn a_character_may_be_cut_by_frames_but_must_be_one() {
    let mut scene = Scene::start("framing = \"lines\"\nmessage = \"text\"").await;
    let (mut client, mut service) = scene.open().await;
    // "é€😀", a byte a frame.
    let bytes = "é€😀".as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        client.raw(&frame(at + 1 == bytes.len(), opcode, &[*byte])).await;
        client.send(PING, b"between").await;
    }
    assert_eq!(read(&mut service, 10).await, [bytes, b"\n"].concat());
    for _ in bytes {
        assert_eq!(client.frame().await, Some(Frame::control(PONG, b"between")));
    }
    client.raw(&frame(false, TEXT, b"abc\xF0\x9F")).await;
    client.raw(&frame(true, CONTINUATION, b"\x20")).await;
    client.expect_refusal(1007, "text that is not UTF-8").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    drop(service);
    // Of the part that could be read, its payload is counted as lost; of the rest, all seven bytes of the frame.
    let fields = json!({"state": "CD", "messages_up": 1, "bytes_up": 9, "lost_up": 5 + 7});
    scene.ended("client_text", fields).await;
    scene.done().await;
}

#[tokio::test]
async fn every_allowed_close_code_is_echoed_at_once() {
    let mut scene = Scene::start(ROUTE).await;
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999,
    ] {
        let (mut client, mut service) = scene.open().await;
        client.send(TEXT, b"last words").await;
        client.close(code, "bye").await;
        // At once: the backend has not ended yet.
        client.expect_refusal(code, "").await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"last words");
        drop(service);
        let fields = json!({"state": "--", "code": code, "messages_up": 1, "level": "INFO"});
        scene.ended("client_closed", fields).await;
    }
    let (mut client, mut service) = scene.open().await;
    client.send(CLOSE, b"").await;
    client.expect_refusal(1005, "").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    drop(service);
    scene.ended("client_closed", json!({"code": null})).await;
    scene.done().await;
}

#[tokio::test]
async fn nothing_behind_a_close_frame_has_a_meaning() {
    let mut scene = Scene::start(ROUTE).await;
    let (mut client, mut service) = scene.open().await;
    let behind = [
        close(1000, b""),
        frame(true, BINARY, b"late"),
        frame(true, PING, b"late"),
    ];
    client.raw(&behind.concat()).await;
    client.expect_refusal(1000, "").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    drop(service);
    let fields = json!({"messages_up": 0, "lost_up": 2 * (2 + 4 + 4)});
    scene.ended("client_closed", fields).await;
    scene.done().await;
}

#[tokio::test]
async fn pings_are_answered_and_pongs_are_not() {
    let mut scene = Scene::start(ROUTE).await;
    let (mut client, mut service) = scene.open().await;
    let full = [b'p'; 125];
    for payload in [&b""[..], b"hello", &[0, 0xFF, 0x80], &full] {
        client.send(PONG, payload).await;
        client.send(PING, payload).await;
        assert_eq!(client.frame().await, Some(Frame::control(PONG, payload)));
    }
    client.send(BINARY, b"data").await;
    assert_eq!(read(&mut service, 4).await, b"data");
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
    drop(service);
    // Control frames are no messages.
    let fields = json!({"messages_up": 1, "bytes_up": 4, "messages_down": 0, "bytes_down": 0});
    scene.ended("client_closed", fields).await;
    scene.done().await;
}

#[tokio::test]
async fn a_flood_of_pings_without_reading_costs_no_memory() {
    const PINGS: usize = 100_000;
    let mut scene = Scene::start(ROUTE).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let tcp = socket.connect(scene.program.plain).await.unwrap();
    let mut client = Request::get("/test").over(Box::new(tcp), &[]).await.unwrap();
    let mut service = scene.backend.accept().await;
    let before = scene.program.peak_memory();
    for block in 0..PINGS / 100 {
        let pings: Vec<u8> = (0..100)
            .flat_map(|at| frame(true, PING, format!("{:0>100}", block * 100 + at).as_bytes()))
            .collect();
        client.raw(&pings).await;
    }
    client.send(BINARY, b"still here").await;
    assert_eq!(read(&mut service, 10).await, b"still here");
    scene.program.expect_no_growth(before);
    scene.neighbour().await;

    // RFC 6455 §5.5.3: pongs may be left out, but for the newest.
    let (mut pongs, mut last) = (0, 0);
    while last < PINGS - 1 {
        let pong = client.frame().await.unwrap();
        let number = String::from_utf8(pong.payload).unwrap().parse().unwrap();
        assert!(pong.opcode == PONG && (pongs == 0 || number > last));
        (pongs, last) = (pongs + 1, number);
    }
    assert!(pongs < PINGS, "all pongs fitted somewhere");
    soon("the end", client.stream.shutdown()).await.unwrap();
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    drop(service);
    scene
        .ended("client_gone", json!({"state": "CD", "code": null}))
        .await;
    scene.done().await;
}
