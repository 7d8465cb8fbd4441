//! Peers that do not read: what waits is bounded, the other direction goes on, and patience ends.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::support::{
    BINARY, Backend, CLOSE, CONTINUATION, Client, PING, PONG, Scene, TEXT, flood, frame, in_time, read, soon,
    write,
};

/// Reads to the reset that must come.
async fn read_to_reset(stream: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        match soon("the reset", stream.read(&mut bytes)).await {
            Ok(got) => assert_ne!(got, 0, "an orderly end"),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_given_up_and_costs_no_memory() {
    tokio::join!(
        flood_the_client("raw", &[]),
        flood_the_client("lines", &[]),
        flood_the_client("u32be", b"\x02\0\0\0"),
    );
}

/// The 0x0200_0000 bytes that are announced: far more than a session may hold.
const RECORD: usize = 32 << 20;

async fn flood_the_client(framing: &str, header: &[u8]) {
    let settings = format!(
        "framing = \"{framing}\"\nwrite_timeout = \"700ms\"\nlinger = \"300ms\"\nmax_message = \"64 MiB\""
    );
    let mut scene = Scene::start(&settings).await;
    let (mut client, mut service) = scene.open().await;
    let before = scene.program.peak_memory();
    write(&mut service, header).await;
    let flooded = tokio::spawn(async move { flood(service, &vec![b'x'; RECORD]).await });
    // The uplink goes on meanwhile.
    client.send(TEXT, b"hello").await;
    scene.neighbour().await;
    let fields = json!({"state": "cD", "code": null, "level": "INFO", "messages_up": 1});
    let record = scene.ended("client_not_reading", fields).await;
    assert!(record["lost_down"].as_u64().unwrap() > 0, "{record}");
    scene.program.expect_no_growth(before);
    soon("the end of the flood", flooded).await.unwrap();
    // What had left can be read; then there is no orderly end.
    read_to_reset(&mut client.stream).await;
    scene.done().await;
}

#[tokio::test]
async fn a_backend_that_never_reads_is_given_up_and_costs_no_memory() {
    tokio::join!(
        flood_the_backend("raw", b"hello"),
        flood_the_backend("lines", b"hello\n"),
        flood_the_backend("u32be", b"\0\0\0\x05hello"),
    );
}

async fn flood_the_backend(framing: &str, record: &[u8]) {
    let settings = format!("framing = \"{framing}\"\nwrite_timeout = \"700ms\"\nclose_timeout = \"300ms\"");
    let mut scene = Scene::start(&settings).await;
    let (client, mut service) = scene.open().await;
    let (mut client, writer) = client.split();
    let before = scene.program.peak_memory();
    let message = frame(true, BINARY, &[b'x'; 100_000]);
    let flooded = tokio::spawn(async move { flood(writer, &message).await });
    // The downlink goes on meanwhile.
    write(&mut service, record).await;
    assert_eq!(client.frame().await.unwrap().payload, b"hello");
    scene.neighbour().await;
    client.read_to_close(1014, "backend does not read").await;
    let fields = json!({"state": "sD", "code": 1014, "level": "WARN", "messages_down": 1});
    let record = scene.ended("backend_not_reading", fields).await;
    assert!(record["lost_up"].as_u64().unwrap() > 0, "{record}");
    let held = record["held_max"].as_u64().unwrap();
    // What one read gave, 384 KiB; and what a step of it became, 128 KiB, behind a line that is not whole, in twice the room.
    let pass = (384 + 2 * (128 + 100)) * 1024;
    assert!((1..pass).contains(&held), "one pass at most: {record}");
    scene.program.expect_no_growth(before);
    soon("the end of the flood", flooded).await.unwrap();
    // Half a record may be there.
    read_to_reset(&mut service).await;
    scene.done().await;
}

#[tokio::test]
async fn what_a_session_had_to_hold_is_told_at_its_end() {
    let mut scene = Scene::start("framing = \"lines\"").await;
    let (mut client, mut service) = scene.open().await;
    // A line must not leave before its end has come.
    client.raw(&frame(false, TEXT, &[b'x'; 40_000])).await;
    client.send(PING, b"").await;
    assert_eq!(client.frame().await.unwrap().opcode, PONG);
    client.raw(&frame(true, CONTINUATION, b"end")).await;
    assert_eq!(read(&mut service, 40_004).await[39_999..], *b"xend\n");
    drop(service);
    client.expect_close(1000, "backend closed").await;
    let record = scene.ended("backend_closed", json!({"messages_up": 1})).await;
    let held = record["held_max"].as_u64().unwrap();
    assert!((40_000..=100_000).contains(&held), "{record}");
    scene.done().await;
}

#[tokio::test]
async fn a_client_that_is_not_read_is_not_blamed_for_its_silence() {
    in_time(Duration::from_millis(1000), async |pace| {
        // Long after both timeouts the client still waits for the backend, which is none of its fault.
        let settings =
            "framing = \"u32be\"\nping_interval = \"100ms\"\npong_timeout = \"1s\"\nrecord_timeout = \"1s\"";
        // 100 MB: far more than the kernel's buffers, each of which may become 32 MiB.
        const MESSAGES: usize = 1000;
        let mut scene = Scene::start(settings).await;
        let (client, mut service) = scene.open().await;
        let (mut client, mut write) = client.split();
        let message = frame(true, BINARY, &[b'x'; 100_000]);
        let sender = tokio::spawn(async move {
            for _ in 0..MESSAGES {
                write.write_all(&message).await.unwrap();
            }
            write
        });
        for _ in 0..16 {
            client.pings(1).await;
            pace.step();
        }
        assert!(!sender.is_finished(), "everything fitted somewhere");
        scene.neighbour().await;
        for _ in 0..MESSAGES {
            let record = read(&mut service, 4 + 100_000).await;
            assert_eq!(&record[..4], 100_000_u32.to_be_bytes());
            pace.step();
        }
        let mut write = soon("the sender", sender).await.unwrap();
        write
            .write_all(&frame(true, CLOSE, &1000_u16.to_be_bytes()))
            .await
            .unwrap();
        client.read_to_close(1000, "").await;
        drop(service);
        scene
            .ended("client_closed", json!({"messages_up": MESSAGES}))
            .await;
        scene.done().await;
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_is_not_read_is_not_blamed_for_its_silence() {
    in_time(Duration::from_millis(1000), async |pace| {
        // Another route's pings tell the time, as this client does not read its own.
        let settings = "framing = \"u32be\"\nping_interval = \"off\"\nrecord_timeout = \"1s\"";
        let echo = Backend::echo().await;
        let clock = format!(
            "{settings}\n[[route]]\nname = \"clock\"\npath = \"/clock\"\nbackend = \"tcp://{echo}\"\n\
             framing = \"raw\"\nping_interval = \"100ms\""
        );
        // 100 MB, as above.
        const RECORDS: usize = 1000;
        let mut scene = Scene::start(&clock).await;
        let (mut client, mut service) = scene.open().await;
        let sender = tokio::spawn(async move {
            let record = [&100_000_u32.to_be_bytes()[..], &[b'x'; 100_000]].concat();
            for _ in 0..RECORDS {
                service.write_all(&record).await.unwrap();
            }
            service
        });
        let mut clock = Client::plain(scene.program.plain, "/clock").await;
        for _ in 0..16 {
            clock.pings(1).await;
            pace.step();
        }
        drop(clock);
        scene.ended("client_gone", json!({"route": "clock"})).await;
        assert!(!sender.is_finished(), "everything fitted somewhere");
        for _ in 0..RECORDS {
            assert_eq!(client.message().await, (BINARY, vec![b'x'; 100_000]));
            pace.step();
        }
        drop(soon("the sender", sender).await.unwrap());
        client.expect_close(1000, "backend closed").await;
        scene
            .ended("backend_closed", json!({"messages_down": RECORDS}))
            .await;
        scene.done().await;
    })
    .await;
}

#[tokio::test]
async fn both_directions_at_full_speed_do_not_wait_for_each_other() {
    const MESSAGES: usize = 128;
    let echo = Backend::echo().await;
    for framing in ["u32be", "lines"] {
        for tls in [false, true] {
            let settings =
                format!("backend = \"tcp://{echo}\"\nframing = \"{framing}\"\nmessage = \"binary\"");
            let mut scene = Scene::start(&settings).await;
            let client = if tls {
                Client::tls(scene.program.tls, "/test").await
            } else {
                Client::plain(scene.program.plain, "/test").await
            };
            let (mut client, mut write) = client.split();
            let message = |at: usize| vec![b'a' + (at % 26) as u8; 64 * 1024];
            let sender = tokio::spawn(async move {
                for at in 0..MESSAGES {
                    write.write_all(&frame(true, BINARY, &message(at))).await.unwrap();
                    write.flush().await.unwrap();
                }
                write
            });
            for at in 0..MESSAGES {
                let (kind, payload) = client.message().await;
                assert!(kind == BINARY && payload == message(at), "message {at}");
            }
            let mut write = soon("the sender", sender).await.unwrap();
            write
                .write_all(&frame(true, CLOSE, &1000_u16.to_be_bytes()))
                .await
                .unwrap();
            write.flush().await.unwrap();
            client.read_to_close(1000, "").await;
            drop((client, write));
            let bytes = MESSAGES * 64 * 1024;
            let fields = json!({
                "messages_up": MESSAGES, "bytes_up": bytes, "messages_down": MESSAGES, "bytes_down": bytes,
                "lost_up": 0, "lost_down": 0,
            });
            scene.ended("client_closed", fields).await;
            scene.done().await;
        }
    }
}
