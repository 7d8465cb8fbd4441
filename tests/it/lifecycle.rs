//! Who ends when: Close frames, half-close, linger, and the timers of a session.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, Scene, TEXT, flood, frame, in_time, read, read_to_end,
    soon, write,
};

/// Pings as a clock: often, and never missed.
const CLOCK: &str = "ping_interval = \"100ms\"\npong_timeout = \"60s\"";

#[tokio::test]
async fn what_the_client_sent_before_its_close_still_arrives() {
    let mut scene = Scene::start("framing = \"lines\"").await;
    let (mut client, mut service) = scene.open().await;
    let mut bytes: Vec<u8> = (0..1000).flat_map(|_| frame(true, TEXT, b"a line")).collect();
    // The last one is not finished, so it is no line.
    bytes.extend(frame(false, TEXT, b"DELETE EVERY"));
    bytes.extend(frame(
        true,
        CLOSE,
        &[&4321_u16.to_be_bytes()[..], b"enough"].concat(),
    ));
    client.raw(&bytes).await;
    client.expect_refusal(4321, "").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"a line\n".repeat(1000));
    drop(service);
    let fields = json!({"state": "--", "code": 4321, "messages_up": 1000, "bytes_up": 6000, "lost_up": 12});
    scene.ended("client_closed", fields).await;
    scene.done().await;
}

#[tokio::test]
async fn after_the_clients_close_the_backend_gets_its_end_and_a_while() {
    // Long enough that only the backend's own end can be what ends the session.
    let mut scene = Scene::start("framing = \"lines\"\nlinger = \"1h\"").await;
    let (mut client, mut service) = scene.open().await;
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    write(&mut service, b"too late\n").await;
    drop(service);
    let fields = json!({"state": "--", "messages_down": 0, "bytes_down": 0, "lost_down": 9});
    scene.ended("client_closed", fields).await;
    scene.done().await;

    let mut scene = Scene::start("framing = \"lines\"\nlinger = \"300ms\"").await;
    let (mut client, mut service) = scene.open().await;
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    // This one never ends; the session does.
    scene
        .ended("client_closed", json!({"state": "--", "lost_down": 0}))
        .await;
    scene.done().await;
    drop(service);
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_close_is_left_at_its_deadline() {
    let mut scene = Scene::start("framing = \"lines\"\nclose_timeout = \"300ms\"").await;
    let (mut client, mut service) = scene.open().await;
    write(&mut service, b"bye\n").await;
    drop(service);
    assert_eq!(client.message().await, (TEXT, b"bye".to_vec()));
    assert_eq!(client.frame().await, Some(Frame::close(1000, "backend closed")));
    // No answer.
    client.expect_end().await;
    scene
        .ended("backend_closed", json!({"code": 1000, "messages_down": 1}))
        .await;
    scene.done().await;
}

#[tokio::test]
async fn an_empty_message_can_end_the_clients_direction_alone() {
    let mut scene = Scene::start("framing = \"lines\"\nhalf_close = \"empty-message\"").await;
    for fragments in [1, 3] {
        let (mut client, mut service) = scene.open().await;
        client.send(TEXT, b"request").await;
        for at in 0..fragments {
            let opcode = if at == 0 { TEXT } else { CONTINUATION };
            client.raw(&frame(at + 1 == fragments, opcode, b"")).await;
        }
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"request\n");
        write(&mut service, b"answer\nand more\n").await;
        assert_eq!(client.message().await, (TEXT, b"answer".to_vec()));
        assert_eq!(client.message().await, (TEXT, b"and more".to_vec()));
        scene.neighbour().await;
        drop(service);
        client.expect_close(1000, "backend closed").await;
        client.expect_end().await;
        let fields = json!({"code": 1000, "messages_up": 1, "messages_down": 2, "lost_up": 0});
        scene.ended("backend_closed", fields).await;
    }

    for late in [&b"more"[..], b""] {
        let (mut client, mut service) = scene.open().await;
        client.send(TEXT, b"request").await;
        client.send(TEXT, b"").await;
        client.send(TEXT, late).await;
        client
            .expect_refusal(1008, "message after the end of the client's direction")
            .await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"request\n");
        drop(service);
        let fields = json!({"state": "CD", "code": 1008, "messages_up": 1, "lost_up": late.len()});
        scene.ended("after_half_close", fields).await;
    }
    scene.done().await;
}

#[tokio::test]
async fn idle_sessions_end_but_messages_keep_them_alive() {
    in_time(Duration::from_millis(800), async |pace| {
        let mut scene =
            Scene::start(&format!("framing = \"lines\"\nidle_timeout = \"800ms\"\n{CLOCK}")).await;
        let (mut client, mut service) = scene.open().await;
        pace.step();
        // Each direction alone is a sign of life: nine moments of 100 ms are longer than the timeout.
        for _ in 0..3 {
            client.pings(3).await;
            client.send(TEXT, b"up").await;
            assert_eq!(read(&mut service, 3).await, b"up\n");
            pace.step();
        }
        for _ in 0..3 {
            client.pings(3).await;
            write(&mut service, b"down\n").await;
            while client.frame().await.unwrap().opcode != TEXT {}
            pace.step();
        }
        pace.rest();
        // Control frames are none: this answers every ping and is idle all the same.
        loop {
            let next = client.frame().await.unwrap();
            if next.opcode == CLOSE {
                assert_eq!(next, Frame::close(1001, "idle for too long"));
                break;
            }
            client.send(PONG, &next.payload).await;
        }
        client.close(1001, "").await;
        client.expect_end().await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
        drop(service);
        let fields =
            json!({"state": "c-", "code": 1001, "level": "INFO", "messages_up": 3, "messages_down": 3});
        scene.ended("idle", fields).await;
        scene.done().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_given_up() {
    let settings =
        "framing = \"lines\"\nping_interval = \"100ms\"\npong_timeout = \"600ms\"\nclose_timeout = \"300ms\"";
    let mut scene = Scene::start(settings).await;
    let (mut client, mut service) = scene.open().await;
    client.read_to_close(1008, "no answer to a ping").await;
    client.expect_end().await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
    drop(service);
    let fields = json!({"state": "cD", "code": 1008, "level": "INFO"});
    scene.ended("pong_timeout", fields).await;
    scene.done().await;
}

#[tokio::test]
async fn any_byte_of_the_client_is_a_sign_of_life() {
    in_time(Duration::from_millis(700), async |pace| {
        let settings = "framing = \"lines\"\nping_interval = \"100ms\"\npong_timeout = \"700ms\"";
        let mut scene = Scene::start(settings).await;
        let (mut client, mut service) = scene.open().await;
        pace.step();
        // One message that takes far longer than the timeout, a byte at a time; no ping is answered.
        let message = frame(true, TEXT, b"but alive");
        for byte in &message {
            client.raw(&[*byte]).await;
            client.pings(1).await;
            pace.step();
        }
        assert_eq!(read(&mut service, 10).await, b"but alive\n");
        pace.rest();
        client.close(1000, "").await;
        while client.frame().await.is_some() {}
        drop(service);
        scene.ended("client_closed", json!({"messages_up": 1})).await;
        scene.done().await;
    })
    .await;
}

#[tokio::test]
async fn half_a_frame_header_is_a_stall_too() {
    let mut scene =
        Scene::start("framing = \"u32be\"\nrecord_timeout = \"300ms\"\nping_interval = \"off\"").await;
    for started in [1, 2, 5] {
        let (mut client, mut service) = scene.open().await;
        client.raw(&frame(true, BINARY, b"hello")[..started]).await;
        client.expect_refusal(1008, "stalled inside a message").await;
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
        drop(service);
        scene
            .ended("client_stalled", json!({"state": "cD", "code": 1008}))
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn only_what_does_not_go_on_inside_a_message_or_record_is_a_stall() {
    in_time(Duration::from_millis(600), async |pace| {
        let settings = format!("framing = \"u32be\"\nrecord_timeout = \"600ms\"\n{CLOCK}");
        let mut scene = Scene::start(&settings).await;
        let (mut client, mut service) = scene.open().await;
        // A pause between messages is nothing.
        client.pings(8).await;
        client.send(BINARY, b"up").await;
        assert_eq!(read(&mut service, 6).await, b"\0\0\0\x02up");
        client.pings(8).await;
        write(&mut service, b"\0\0\0\x04down").await;
        while client.frame().await.unwrap().opcode != BINARY {}
        // Nor is a message that takes longer, as long as it goes on.
        let message = vec![b'a'; 8 << 10];
        for piece in frame(true, BINARY, &message).chunks(1 << 10) {
            client.raw(piece).await;
            client.pings(1).await;
            pace.step();
        }
        pace.rest();
        assert_eq!(read(&mut service, 4 + message.len()).await[4..], message);

        client.raw(&frame(true, BINARY, b"hello")[..8]).await;
        client.read_to_close(1008, "stalled inside a message").await;
        client.expect_end().await;
        // The record had begun, so its end is a reset.
        read(&mut service, 4).await;
        let error = read_to_end(&mut service).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        drop((client, service));
        let fields = json!({"state": "cD", "code": 1008, "messages_up": 2, "messages_down": 1, "lost_up": 2});
        scene.ended("client_stalled", fields).await;

        // Single bytes of a message are no progress.
        let (client, service) = scene.open().await;
        let (mut client, mut writer) = client.split();
        let message = frame(true, BINARY, &message);
        let (begin, rest) = message.split_at(20);
        writer.write_all(begin).await.unwrap();
        let mut bytes = rest[..100].iter();
        let told = loop {
            let frame = client.frame().await.unwrap();
            if frame.opcode != PING {
                break frame;
            }
            let byte = *bytes.next().expect("a Close frame by now");
            writer.write_all(&[byte]).await.unwrap();
            writer.flush().await.unwrap();
        };
        assert_eq!(told, Frame::close(1008, "stalled inside a message"));
        drop((client, writer, service));
        scene
            .ended("client_stalled", json!({"code": 1008, "messages_up": 0}))
            .await;

        let (mut client, mut service) = scene.open().await;
        write(&mut service, b"\0\0\0\x05he").await;
        client
            .read_to_close(1011, "backend stalled inside a record")
            .await;
        client.close(1011, "").await;
        client.expect_end().await;
        drop(service);
        let fields =
            json!({"state": "sD", "code": 1011, "messages_down": 0, "lost_down": 6, "level": "WARN"});
        scene.ended("backend_stalled", fields).await;
        scene.done().await;
    })
    .await;
}

/// The start of a header is no message, but it has come and reached nobody.
#[tokio::test]
async fn what_was_read_of_a_record_that_never_comes_is_lost() {
    tokio::join!(
        stall("netstring", b"1"),
        stall("netstring", b"12:"),
        stall("protobuf", b"\x80\x80"),
        stall("u32be", b"\0\0\0"),
        stall("crlf", b"ab\r"),
        stall("slip", b"a\xDB\xDCb\xDB"),
        stall("cobs", b"\x05ab"),
        stall("lsp", b"Content-Len"),
        stall("raw\"\nmessage = \"text", b"\xE2\x82"),
    );
}

async fn stall(framing: &str, sent: &[u8]) {
    let settings = format!("framing = \"{framing}\"\nrecord_timeout = \"200ms\"\nlinger = \"100ms\"");
    let mut scene = Scene::start(&settings).await;
    let (mut client, mut service) = scene.open().await;
    write(&mut service, sent).await;
    client.expect_close(1011, "backend stalled inside a record").await;
    client.close(1011, "").await;
    client.expect_end().await;
    let fields = json!({"messages_down": 0, "bytes_down": 0, "lost_down": sent.len()});
    scene.ended("backend_stalled", fields).await;

    // The same the other way: the start of a frame's header, and part of a control frame.
    for part in [
        &frame(true, BINARY, &[0; 200])[..5],
        &frame(true, PING, b"hello")[..9],
    ] {
        let (mut client, _service) = scene.open().await;
        client.raw(part).await;
        client.expect_refusal(1008, "stalled inside a message").await;
        let fields = json!({"messages_up": 0, "bytes_up": 0, "lost_up": part.len()});
        scene.ended("client_stalled", fields).await;
    }
    scene.done().await;
}

#[tokio::test]
async fn a_backend_that_streams_to_nobody_is_not_heard_for_long() {
    // It would be, without an end to what it says.
    let mut scene = Scene::start("framing = \"lines\"\nlinger = \"1h\"").await;
    for is_cut in [false, true] {
        let (mut client, mut service) = scene.open().await;
        client.raw(&frame(true, TEXT, b"bye")).await;
        assert_eq!(read(&mut service, 4).await, b"bye\n");
        if is_cut {
            drop(client);
        } else {
            client.close(1000, "").await;
            client.expect_refusal(1000, "").await;
        }
        assert_eq!(soon("the end", service.read(&mut [0; 1])).await.unwrap(), 0);
        let flooded = tokio::spawn(async move { flood(service, &[b'x'; 1 << 16]).await });
        let cause = if is_cut { "client_gone" } else { "client_closed" };
        let record = scene.ended(cause, json!({"messages_up": 1, "lost_up": 0})).await;
        let lost = record["lost_down"].as_u64().unwrap();
        assert!((1 << 20..3 << 20).contains(&lost), "{record}");
        soon("the end of the flood", flooded).await.unwrap();
    }
    scene.done().await;
}
