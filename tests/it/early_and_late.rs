//! Requests that are endless, late, cut, early with what follows them, or one too many.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{
    BINARY, Client, Program, Request, Scene, Stream, TEXT, answer, frame, read, read_to_end, soon,
    tls_connect,
};

const ROUTE: &str = "framing = \"u32be\"";

fn get() -> Request {
    Request::get("/test")
}

#[tokio::test]
async fn an_endless_head_is_refused_and_the_answer_arrives() {
    let mut scene = Scene::start(ROUTE).await;
    let long = "x".repeat(1 << 20);
    for (request, tls) in [
        (get().add("Cookie", &long), false),
        (get().add("Cookie", &long), true),
        (
            (0..9000).fold(get(), |request, at| request.add(&format!("X-{at}"), &long[..100])),
            false,
        ),
    ] {
        let refused = if tls {
            request.tls(scene.program.tls).await
        } else {
            request.plain(scene.program.plain).await
        };
        let refusal = refused.err().unwrap();
        assert_eq!((refusal.status, refusal.body.as_str()), (431, ""));
        scene
            .ended("head_too_large", json!({"state": "CR", "status": 431}))
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn a_slow_head_is_given_up() {
    let hasty = Program::more_plain("request_timeout = \"1s\"");
    let mut scene = Scene::start(&format!("{ROUTE}\n{hasty}")).await;
    let bytes = get().bytes();
    let mut slow = Vec::new();
    for part in [&[][..], &bytes[..5], &bytes[..40]] {
        let mut tcp = TcpStream::connect(scene.program.listeners[2]).await.unwrap();
        tcp.write_all(part).await.unwrap();
        slow.push(tcp);
    }
    for tcp in slow {
        let refusal = answer(Box::new(tcp)).await.err().unwrap();
        assert_eq!(refusal.status, 408);
        assert_eq!(refusal.header("connection"), Some("close"));
        assert_eq!(refusal.body, "request head took too long\n");
        scene
            .ended(
                "request_timeout",
                json!({"state": "cR", "status": 408, "level": "DEBUG"}),
            )
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_request_is_whole_is_noted_quietly() {
    let mut scene = Scene::start(ROUTE).await;
    let bytes = get().bytes();
    for part in [&[][..], &bytes[..5], &bytes[..40], &bytes[..bytes.len() - 1]] {
        let mut tcp = TcpStream::connect(scene.program.plain).await.unwrap();
        tcp.write_all(part).await.unwrap();
        tcp.shutdown().await.unwrap();
        read_to_end(&mut tcp).await.unwrap();
        scene
            .ended(
                "client_left",
                json!({"state": "CR", "status": null, "level": "DEBUG"}),
            )
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn a_refusal_lasts_until_it_has_been_told() {
    let mut scene = Scene::start(ROUTE).await;
    for (address, cause) in [
        (scene.program.plain, "not_found"),
        (scene.program.tls, "plain_http"),
    ] {
        let begin = Instant::now();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&Request::get("/none").bytes()).await.unwrap();
        read_to_end(&mut client).await.unwrap();
        let told = begin.elapsed().as_millis();
        // The client stays, and is waited for.
        let record = scene.ended(cause, json!({})).await;
        assert!(
            u128::from(record["duration_ms"].as_u64().unwrap()) <= told,
            "{record}"
        );
    }
    scene.done().await;
}

#[tokio::test]
async fn frames_right_behind_the_request_are_not_lost() {
    let mut scene = Scene::start(ROUTE).await;
    let many: Vec<u8> = (0..2000)
        .flat_map(|_| frame(true, BINARY, b"0123456789"))
        .collect();
    let large = frame(true, BINARY, &[b'x'; 64 * 1024]);
    let half = frame(true, BINARY, b"cut")[..7].to_vec();
    for (early, late, messages, len) in [
        (frame(true, TEXT, b"hello"), vec![], 1, 9),
        (half, frame(true, BINARY, b"cut")[7..].to_vec(), 1, 7),
        (many, vec![], 2000, 2000 * 14),
        (large, vec![], 1, 4 + 64 * 1024),
    ] {
        for tls in [false, true] {
            let stream: Box<dyn Stream> = if tls {
                Box::new(tls_connect(scene.program.tls).await)
            } else {
                Box::new(TcpStream::connect(scene.program.plain).await.unwrap())
            };
            let mut client = get().over(stream, &early).await.unwrap();
            let mut service = scene.backend.accept().await;
            client.raw(&late).await;
            let got = read(&mut service, len).await;
            let records = split_u32be(&got);
            assert_eq!(records.len(), messages);
            client.close(1000, "").await;
            assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
            drop(service);
            scene
                .ended("client_closed", json!({"messages_up": messages}))
                .await;
        }
    }
    scene.done().await;
}

fn split_u32be(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk() {
        let (record, rest) = rest.split_at(u32::from_be_bytes(*header) as usize);
        records.push(record);
        bytes = rest;
    }
    records
}

#[tokio::test]
async fn a_full_house_says_so_and_a_freed_place_is_taken_again() {
    // One place is the neighbour's.
    let mut scene = Scene::start_with("[limits]\nmax_sessions = 2", ROUTE).await;
    let (mut first, service) = scene.open().await;
    let refusal = get().plain(scene.program.plain).await.err().unwrap();
    assert_eq!(refusal.status, 503);
    assert_eq!(refusal.header("retry-after"), Some("1"));
    assert_eq!(refusal.body, "too many sessions, try again later\n");
    scene
        .ended(
            "too_many_sessions",
            json!({"state": "PR", "status": 503, "level": "WARN"}),
        )
        .await;
    drop(service);
    first.expect_close(1000, "backend closed").await;
    scene.ended("backend_closed", json!({})).await;
    // The place is given back right behind the record.
    let mut refused = 0;
    let again = async {
        loop {
            match get().plain(scene.program.plain).await {
                Ok(client) => return client,
                Err(refusal) => assert_eq!(refusal.status, 503),
            }
            refused += 1;
        }
    };
    let mut client = soon("a free place", again).await;
    drop(scene.backend.accept().await);
    client.expect_close(1000, "backend closed").await;
    for _ in 0..refused {
        scene.ended("too_many_sessions", json!({})).await;
    }
    scene.ended("backend_closed", json!({})).await;
    scene.done().await;
}

#[tokio::test]
async fn a_visitor_with_a_plain_browser_is_told_what_this_is() {
    let mut scene = Scene::start(ROUTE).await;
    let mut tcp = TcpStream::connect(scene.program.plain).await.unwrap();
    tcp.write_all(b"GET /test HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    soon("an answer", tcp.read_to_string(&mut text)).await.unwrap();
    drop(tcp);
    assert!(text.starts_with("HTTP/1.1 426 "), "{text}");
    scene.ended("not_an_upgrade", json!({"status": 426})).await;
    // Beside it, the right one works.
    let mut client = Client::plain(scene.program.plain, "/test").await;
    drop(scene.backend.accept().await);
    client.expect_close(1000, "backend closed").await;
    scene.ended("backend_closed", json!({})).await;
    scene.done().await;
}
