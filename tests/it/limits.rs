//! How much may happen at once, and how fast: each limit says so in its own words, and what is over it costs nobody else anything.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::admin;
use crate::support::{
    BINARY, Backend, CLOSE, CONTINUATION, Client, PING, PONG, Program, Request, Scene, TEXT, connect,
    connect_from, frame, read, read_to_end, soon, write,
};

/// Clients are who they say they are: a test has one address only.
const TRUSTING: &str = "listener.forwarded_from = [\"127.0.0.0/8\"]";
const LINES: &str = "framing = \"lines\"\nlinger = \"0s\"";

fn of(client: &str) -> Request {
    Request::get("/test").add("X-Forwarded-For", client)
}

/// Opens a session for a client, with its connection at the backend.
async fn open(scene: &Scene, client: &str) -> (Client, TcpStream) {
    let opened = of(client).plain(scene.program.plain).await.unwrap();
    (opened, scene.backend.accept().await)
}

async fn refused(scene: &mut Scene, client: &str, status: u16, cause: &str, text: &str) {
    let refusal = of(client).plain(scene.program.plain).await.err().unwrap();
    assert_eq!((refusal.status, refusal.body.trim_end()), (status, text));
    assert_eq!(refusal.header("retry-after"), Some("1"));
    scene
        .ended(
            cause,
            json!({"state": "PR", "status": status, "client": client, "route": "test"}),
        )
        .await;
}

/// Ends a session, and waits until its place is free: that is before its record.
async fn close(scene: &mut Scene, (mut client, service): (Client, TcpStream)) {
    drop(service);
    client.expect_close(1000, "backend closed").await;
    scene.ended("backend_closed", json!({})).await;
}

#[tokio::test]
async fn a_client_has_no_more_sessions_than_one_may_have() {
    const TEXT: &str = "too many sessions from your address: close one";
    let top = format!(
        "{TRUSTING}\n[limits]\nmax_sessions_per_client = 2\nclient_prefix_v4 = 24\nclient_prefix_v6 = 48"
    );
    let mut scene = Scene::start_with(&top, LINES).await;
    for (first, second, neighbour, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.77", "192.0.3.1"),
        ("2001:db8::1", "2001:db8:0:7::1", "2001:db8::2", "2001:db8:1::1"),
    ] {
        let first = open(&scene, first).await;
        let second = open(&scene, second).await;
        refused(&mut scene, neighbour, 429, "too_many_of_client", TEXT).await;
        let other = open(&scene, other).await;
        close(&mut scene, first).await;
        let third = open(&scene, neighbour).await;
        refused(&mut scene, neighbour, 429, "too_many_of_client", TEXT).await;
        for session in [second, third, other] {
            close(&mut scene, session).await;
        }
    }
    scene.done().await;
}

#[tokio::test]
async fn a_client_that_asks_for_close_frames_reads_why_there_is_no_session() {
    let top = format!("{TRUSTING}\n[limits]\nmax_sessions_per_client = 1");
    let route = format!("{LINES}\non_dial_failure = \"close\"");
    let mut scene = Scene::start_with(&top, &route).await;
    let first = open(&scene, "192.0.2.1").await;
    let mut second = of("192.0.2.1").plain(scene.program.plain).await.unwrap();
    second
        .expect_close(1013, "too many sessions from your address: close one")
        .await;
    scene.ended("too_many_of_client", json!({"code": 1013})).await;
    close(&mut scene, first).await;
    scene.done().await;
}

#[tokio::test]
async fn a_route_and_a_listener_have_their_own_limits() {
    let route = format!("{LINES}\nmax_sessions = 1");
    let mut scene = Scene::start_with(TRUSTING, &route).await;
    let first = open(&scene, "192.0.2.1").await;
    let text = "too many sessions of this service, try again later";
    refused(&mut scene, "192.0.2.2", 503, "too_many_on_route", text).await;
    close(&mut scene, first).await;
    let again = open(&scene, "192.0.2.2").await;
    close(&mut scene, again).await;
    scene.done().await;

    // The neighbour has come by the other listener.
    let top = format!("{TRUSTING}\nlistener.max_sessions = 1");
    let mut scene = Scene::start_with(&top, LINES).await;
    let first = open(&scene, "192.0.2.1").await;
    let text = "too many sessions on this port, try again later";
    refused(&mut scene, "192.0.2.2", 503, "too_many_on_listener", text).await;
    close(&mut scene, first).await;
    let again = soon("a place", open(&scene, "192.0.2.2")).await;
    close(&mut scene, again).await;
    scene.done().await;
}

/// Lets time pass, in which the neighbour notices nothing.
async fn for_a_while(scene: &mut Scene, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        scene.neighbour().await;
    }
}

#[tokio::test]
async fn an_old_session_is_told_to_come_back() {
    let mut scene = Scene::start("framing = \"lines\"\nmax_session_age = \"1s\"\nlinger = \"0s\"").await;
    let (mut client, mut service) = young_and_inside_a_record(&mut scene).await;
    // Not inside a record, however old it is.
    for_a_while(&mut scene, Duration::from_millis(1500)).await;
    write(&mut service, b"a line\n").await;
    assert_eq!(client.message().await, (TEXT, b"only half a line".to_vec()));
    client
        .expect_close(1012, "session is old enough: connect again")
        .await;
    drop(service);
    let record = scene
        .ended(
            "max_age",
            json!({"state": "P-", "messages_down": 1, "lost_down": 0}),
        )
        .await;
    assert!(record["duration_ms"].as_u64().unwrap() >= 1500, "{record}");
    scene.done().await;
}

/// A session that got half a record before it can have become a second old.
async fn young_and_inside_a_record(scene: &mut Scene) -> (Client, TcpStream) {
    for _ in 0..10 {
        let began = Instant::now();
        let (client, mut service) = scene.open().await;
        write(&mut service, b"only half ").await;
        // The age is told with a jitter of a tenth.
        if began.elapsed() < Duration::from_millis(900) {
            return (client, service);
        }
        drop((client, service));
        scene.program.record().await;
    }
    panic!("this machine is too slow to catch a session while it is young");
}

#[tokio::test]
async fn a_client_is_read_no_faster_than_its_route_allows() {
    const MESSAGES: u32 = 300;
    for (rate, tls) in [
        ("message_rate = \"200/s\"", false),
        ("message_rate = \"200/s\"", true),
        ("byte_rate = \"20 kB/s\"", false),
    ] {
        let settings = format!("framing = \"u32be\"\n{rate}");
        let mut scene = Scene::start(&settings).await;
        let client = if tls {
            Client::tls(scene.program.tls, "/test").await
        } else {
            Client::plain(scene.program.plain, "/test").await
        };
        let mut service = scene.backend.accept().await;
        let (mut client, mut writer) = client.split();
        let start = Instant::now();
        let sent: Vec<u8> = (0..MESSAGES)
            .flat_map(|number| frame(true, BINARY, &[&number.to_be_bytes()[..], &[0; 90]].concat()))
            .collect();
        let sender = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.flush().await.unwrap();
            writer
        });
        // The other direction is as fast as ever.
        write(&mut service, b"\0\0\0\x05hello").await;
        assert_eq!(client.frame().await.unwrap().payload, b"hello");
        scene.neighbour().await;
        for number in 0..MESSAGES {
            let record = read(&mut service, 98).await;
            assert_eq!(record[4..8], number.to_be_bytes());
        }
        // All but what a full bucket holds; with some slack for what is read in one go.
        assert!(
            start.elapsed() >= Duration::from_millis(300),
            "{:?}",
            start.elapsed()
        );
        drop((service, soon("the sender", sender).await.unwrap()));
        client.read_to_close(1000, "backend closed").await;
        drop(client);
        let record = scene
            .ended("backend_closed", json!({"messages_up": MESSAGES, "lost_up": 0}))
            .await;
        assert!(record["throttled"].as_u64().unwrap() > 0, "{record}");
        scene.done().await;
    }
}

#[tokio::test]
async fn a_route_may_end_sessions_that_are_too_fast() {
    let settings = "framing = \"lines\"\nmessage_rate = \"50/s\"\nrate_policy = \"close\"";
    let mut scene = Scene::start(settings).await;
    // As many as a full bucket holds may come at once.
    let (mut client, mut service) = scene.open().await;
    client.raw(&frame(true, TEXT, b"x").repeat(50)).await;
    assert_eq!(read(&mut service, 100).await, b"x\n".repeat(50));
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
    drop(service);
    scene
        .ended("client_closed", json!({"messages_up": 50, "throttled": null}))
        .await;

    let (mut client, service) = scene.open().await;
    client.raw(&frame(true, TEXT, b"x").repeat(500)).await;
    client
        .expect_refusal(1008, "more in a second than this service takes")
        .await;
    drop(service);
    scene
        .ended("too_fast", json!({"state": "CD", "code": 1008, "level": "INFO"}))
        .await;
    scene.done().await;
}

/// What brings nothing is as much work as a message.
#[tokio::test]
async fn frames_that_bring_nothing_count_as_messages() {
    let oversized = [frame(false, TEXT, b"12345678"), frame(false, CONTINUATION, b"9")].concat();
    let rows = [
        (vec![], frame(true, PING, b"")),
        (vec![], frame(true, PONG, b"")),
        (frame(false, TEXT, b"x"), frame(false, CONTINUATION, b"")),
        (oversized, frame(false, CONTINUATION, b"x")),
    ];
    for policy in ["delay", "close"] {
        let settings = format!(
            "framing = \"lines\"\nmax_message = \"8 B\"\noversized = \"discard\"\nmessage_rate = \"200/s\"\nrate_policy = \"{policy}\""
        );
        let mut scene = Scene::start(&settings).await;
        for (first, more) in &rows {
            let (mut client, service) = scene.open().await;
            client.raw(first).await;
            let start = Instant::now();
            client.raw(&more.repeat(600)).await;
            if policy == "close" {
                client
                    .read_to_close(1008, "more in a second than this service takes")
                    .await;
                drop((client, service));
                scene.ended("too_fast", json!({"messages_up": 0})).await;
                continue;
            }
            client.raw(&frame(true, CLOSE, &1000u16.to_be_bytes())).await;
            client.read_to_close(1000, "").await;
            assert!(
                start.elapsed() >= Duration::from_millis(500),
                "{:?}",
                start.elapsed()
            );
            drop((client, service));
            let record = scene.ended("client_closed", json!({"messages_up": 0})).await;
            assert!(record["throttled"].as_u64().unwrap() > 0, "{record}");
        }
        scene.done().await;
    }
}

#[tokio::test]
async fn who_gathers_waits_for_memory_and_who_gets_none_is_told() {
    let top = "[limits]\ngather_budget = \"256 KiB\"";
    let settings = "framing = \"lines\"\nclose_timeout = \"300ms\"\nrecord_timeout = ";
    // On one route nobody waits in vain; on the other nobody waits for long.
    let backend = Backend::start().await;
    let hasty = format!(
        "[[route]]\nname = \"hasty\"\npath = \"/hasty\"\nbackend = \"tcp://{}\"\n{settings}\"1s\"",
        backend.address
    );
    let mut scene = Scene::start_with(top, &format!("{settings}\"1h\"\n{hasty}")).await;
    // A line leaves when its end has come: until then it is held.
    let half = |len: usize| frame(false, TEXT, &vec![b'x'; len]);
    let gathering = async |scene: &Scene, len| {
        let (mut client, service) = scene.open().await;
        client.raw(&half(len)).await;
        (client, service)
    };
    let (mut first, first_service) = gathering(&scene, 200_000).await;
    first.send(PING, b"").await;
    assert_eq!(first.frame().await.unwrap().opcode, PONG);
    let (mut second, mut service) = gathering(&scene, 100_000).await;
    second.raw(&frame(true, CONTINUATION, b"end")).await;
    // Whoever does not gather notices nothing.
    scene.neighbour().await;
    // The first makes room for the second, whose line comes whole.
    drop(first_service);
    first.expect_close(1000, "backend closed").await;
    scene.ended("backend_closed", json!({"messages_up": 0})).await;
    assert_eq!(read(&mut service, 100_004).await[99_999..], *b"xend\n");
    drop(service);
    second.expect_close(1000, "backend closed").await;
    scene.ended("backend_closed", json!({"messages_up": 1})).await;

    // Neither of these makes room for the other. Who waits for too long has to go, and the other goes on.
    let (mut first, mut first_service) = gathering(&scene, 200_000).await;
    first.send(PING, b"").await;
    assert_eq!(first.frame().await.unwrap().opcode, PONG);
    let mut second = Client::plain(scene.program.plain, "/hasty").await;
    let mut second_service = backend.accept().await;
    second.raw(&half(200_000)).await;
    let text = "no memory for more long messages, try again later";
    second.expect_refusal(1013, text).await;
    first.raw(&frame(true, CONTINUATION, b"end")).await;
    scene
        .ended(
            "gather_budget",
            json!({"state": "PD", "code": 1013, "messages_up": 0}),
        )
        .await;
    assert_eq!(second_service.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(read(&mut first_service, 200_004).await[199_999..], *b"xend\n");
    drop(first_service);
    first.expect_close(1000, "backend closed").await;
    scene.ended("backend_closed", json!({"messages_up": 1})).await;

    // More than all may hold: nothing can make room.
    let mut client = Client::plain(scene.program.plain, "/hasty").await;
    let service = backend.accept().await;
    client.raw(&half(300_000)).await;
    client.expect_refusal(1013, text).await;
    drop(service);
    scene
        .ended("gather_budget", json!({"code": 1013, "level": "WARN"}))
        .await;
    scene.done().await;
}

#[tokio::test]
async fn connections_beyond_the_rate_wait_and_are_served() {
    let scene = Scene::start_with("[limits]\nhandshakes_per_second = 5", LINES).await;
    let start = Instant::now();
    let mut sessions = Vec::new();
    for _ in 0..12 {
        sessions.push(scene.open().await);
    }
    // Five at once, at most; and two of the listeners may be one ahead.
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_has_left_already_costs_nothing_of_the_rate() {
    let mut scene = Scene::start_with("[limits]\nhandshakes_per_second = 5", LINES).await;
    let start = Instant::now();
    for _ in 0..100 {
        drop(connect(scene.program.plain).await);
    }
    let session = soon("its turn", scene.open()).await;
    // Those would take twenty seconds.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    drop(session);
    // Each has its record nevertheless.
    for _ in 0..100 {
        while scene.program.record().await["cause"] != "client_left" {}
    }
}

const ADMIN: &str = "[admin]\nbind = \"127.0.0.1:0\"";

#[tokio::test]
async fn connections_wait_while_as_many_as_may_be_are_not_sessions_yet() {
    // Nobody is sent away for being slow.
    let top = format!("listener.request_timeout = \"1m\"\n[limits]\nmax_handshakes = 1\n{ADMIN}");
    let scene = Scene::start_with(&top, LINES).await;
    let mut slow = connect(scene.program.plain).await;
    write(&mut slow, b"GET ").await;
    let (request, address) = (Request::get("/test"), scene.program.plain);
    let more = tokio::spawn(async move { request.plain(address).await });
    // The listener has stopped to accept because of that.
    let waits = "sealock_accept_waits_total{limit=\"max_handshakes\"} ";
    let stopped = async {
        loop {
            let metrics = admin::ask(&scene.program, "GET /metrics", "Host: localhost\r\n").await;
            let count = metrics.body.lines().find_map(|line| line.strip_prefix(waits));
            if count.unwrap() != "0" {
                return;
            }
        }
    };
    soon("a listener that waits", stopped).await;
    // The other listener goes on.
    drop(Client::tls(scene.program.tls, "/test").await);
    drop(slow);
    let session = soon("its turn", more).await.unwrap().unwrap();
    drop(session);
}

#[tokio::test]
async fn who_is_silent_does_not_keep_others_away() {
    const CROWD: usize = 60;
    // The deadlines of those who are silent are longer than this test may take.
    let top = "listener.request_timeout = \"1m\"\nlistener.handshake_timeout = \"1m\"\n[limits]\nmax_handshakes = 8";
    let mut scene = Scene::start_with(top, LINES).await;
    let mut slow = connect_from(2, scene.program.plain).await;
    write(&mut slow, b"GET ").await;
    let mut silent = Vec::new();
    for at in 0..CROWD {
        let address = [scene.program.plain, scene.program.tls][at % 2];
        silent.push(connect(address).await);
    }
    let (mut client, mut service) = soon("a session", scene.open()).await;
    client.send(TEXT, b"hello").await;
    assert_eq!(read(&mut service, 6).await, b"hello\n");
    drop(Client::tls(scene.program.tls, "/test").await);
    let record = scene.program.ended("crowded_out").await;
    assert_eq!(
        (&record["state"], &record["level"]),
        (&json!("PT"), &json!("DEBUG"))
    );
    // The oldest went, and saw its end; who is alone at its address is still waited for.
    assert_eq!(soon("an end", silent[0].read(&mut [0])).await.unwrap(), 0);
    write(&mut slow, b"/test HTTP/1.1\r\n\r\n").await;
    let mut answer = [0; 12];
    soon("an answer", slow.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    // Nobody waits any more, and who has come last may go on being silent.
    let last = silent.last_mut().unwrap();
    write(last, b"hello").await;
}

/// Nothing but the need of others ends a connection within the time of a test.
const HOURS: &str =
    "listener.request_timeout = \"1h\"\nlistener.handshake_timeout = \"1h\"\n[limits]\nmax_handshakes = 8";

/// Connections of one address that say this and no more, and come again as soon as they have to go.
async fn besiege(address: SocketAddr, word: &[u8]) -> JoinSet<Infallible> {
    let mut siege = JoinSet::new();
    for _ in 0..20 {
        let word = word.to_vec();
        // Before the others are in the queue.
        let mut stream = connect_from(2, address).await;
        siege.spawn(async move {
            loop {
                // It may have had to go already.
                let _said = stream.write_all(&word).await;
                let _answer = read_to_end(&mut stream).await;
                stream = connect_from(2, address).await;
            }
        });
    }
    siege
}

#[tokio::test]
async fn who_says_next_to_nothing_does_not_keep_others_away() {
    let route = format!("{LINES}\nmax_sessions = 1\non_dial_failure = \"close\"\nclose_timeout = \"1h\"");
    let whole = Request::get("/test").bytes();
    // A part of a record of TLS; of a request; and no answer to a Close frame.
    for (at, word, cause, status) in [
        (1, &b"\x16"[..], "crowded_out", json!(null)),
        (0, b"G", "crowded_out", json!(503)),
        (0, &whole, "too_many_on_route", json!(null)),
    ] {
        let mut scene = Scene::start_with(HOURS, &route).await;
        let _only = scene.open().await;
        let address = [scene.program.plain, scene.program.tls][at];
        let siege = besiege(address, word).await;
        let plain = Client::plain(scene.program.plain, "/neighbour");
        let tls = Client::tls(scene.program.tls, "/neighbour");
        drop(soon("their turn", async { tokio::join!(plain, tls) }).await);
        let record = scene.program.ended(cause).await;
        assert_eq!(record["status"], status, "{record}");
        drop(siege);
    }
}

#[tokio::test]
async fn who_has_to_go_in_the_middle_of_a_request_is_told() {
    let scene = Scene::start_with(&HOURS.replace('8', "2"), LINES).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = connect_from(2, scene.program.plain).await;
        write(&mut stream, b"GET /test HTTP/1.1\r\n").await;
        slow.push(stream);
    }
    let _session = scene.open().await;
    let [one, other] = &mut slow[..] else {
        unreachable!()
    };
    // Which of them was heard first is up to the system.
    let told = tokio::select! {
        told = read_to_end(one) => told,
        told = read_to_end(other) => told,
    };
    let told = String::from_utf8(told.unwrap()).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert!(
        told.ends_with("\r\n\r\ntoo slow while others waited, try again\n"),
        "{told}"
    );
}

/// The last descriptors, which sealock keeps for other things than sessions.
const KEPT: usize = 32;

#[tokio::test]
async fn without_descriptors_clients_are_told_and_the_service_recovers() {
    let mut scene = Scene::start_with(ADMIN, LINES).await;
    let pid = scene.program.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit_files(pid, open + KEPT + 3).await;
    // One session has room; the next connection has none for its backend.
    let mut held = vec![scene.open().await];
    let refusal = loop {
        match Request::get("/test").plain(scene.program.plain).await {
            Ok(client) => held.push((client, scene.backend.accept().await)),
            Err(refusal) => break refusal,
        }
        assert!(held.len() < 4);
    };
    assert_eq!(refusal.status, 503);
    assert_eq!(refusal.body, "too many open files, try again later\n");
    scene
        .ended(
            "out_of_descriptors",
            json!({"state": "PC", "level": "WARN", "status": 503}),
        )
        .await;
    // Those who wait for nothing have what is left. Who comes then is told at once, or is cut off where there are no words for it.
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connect(scene.program.plain).await);
    }
    for _ in 0..2 * KEPT {
        turned_away(&scene).await;
    }
    scene.neighbour().await;
    healthy(&scene).await;
    drop(silent);

    // None at all: neither for those who are to be told.
    limit_files(pid, open).await;
    for _ in 0..6 {
        turned_away(&scene).await;
        healthy(&scene).await;
    }
    scene.program.logged("raise LimitNOFILE or ulimit -n").await;
    scene.neighbour().await;
    for session in held {
        close_any(&mut scene, session).await;
    }
    limit_files(pid, 1024).await;
    let session = soon("a session again", scene.open()).await;
    close_any(&mut scene, session).await;
    scene.neighbour().await;
}

#[tokio::test]
async fn what_a_listener_has_kept_for_a_refusal_is_not_spent_where_nobody_waits() {
    let scene = Scene::start(LINES).await;
    let pid = scene.program.pid();
    let count = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let open = count();
    limit_files(pid, open).await;
    for _ in 0..3 {
        turned_away(&scene).await;
        // Who was turned away has gone, and nobody else has come.
        let kept = async {
            while count() != open {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        soon("the last descriptors", kept).await;
    }
}

/// Comes where there is no descriptor for a session.
async fn turned_away(scene: &Scene) {
    let request = Request::get("/test");
    let refused = request.plain(scene.program.plain);
    let refusal = soon("a refusal", refused).await.err().unwrap();
    assert_eq!(
        (refusal.status, &*refusal.body),
        (503, "too many open files, try again later\n")
    );
    assert_eq!(refusal.header("connection"), Some("close"));
    assert_eq!(refusal.header("retry-after"), Some("1"));
    let mut secret = connect(scene.program.tls).await;
    // Whether as a reset is the system's choice.
    assert!(matches!(
        soon("an end", secret.read(&mut [0])).await,
        Ok(0) | Err(_)
    ));
}

async fn healthy(scene: &Scene) {
    for path in ["/healthz", "/readyz", "/metrics"] {
        let line = format!("GET {path}");
        let answer = admin::ask(&scene.program, &line, "Host: localhost\r\n");
        assert_eq!(soon(path, answer).await.status, 200);
    }
}

/// Ends a session; others may end before its record.
async fn close_any(scene: &mut Scene, (mut client, service): (Client, TcpStream)) {
    drop(service);
    client.expect_close(1000, "backend closed").await;
    while scene.program.record().await["cause"] != "backend_closed" {}
}

/// Lowers or raises how many files a process may have open.
pub(crate) async fn limit_files(pid: u32, limit: usize) {
    let limits = format!("--nofile={limit}:");
    let done = tokio::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &limits])
        .status()
        .await;
    assert!(done.unwrap().success());
}

/// Sends a byte now and then, until it is cut off.
fn drip(mut stream: TcpStream, start: &'static [u8], byte: u8) {
    tokio::spawn(async move {
        let mut pace = interval(Duration::from_millis(50));
        let mut bytes = start.iter().copied().chain(std::iter::repeat(byte));
        while stream.write_all(&[bytes.next().unwrap()]).await.is_ok() {
            pace.tick().await;
        }
    });
}

#[tokio::test]
async fn whoever_is_slow_is_ended_by_a_deadline_and_costs_others_nothing() {
    const EACH: usize = 8;
    let settings =
        "framing = \"u32be\"\nrecord_timeout = \"1s\"\nclose_timeout = \"100ms\"\nlinger = \"100ms\"";
    let plain = Program::more_plain("request_timeout = \"1s\"");
    let tls = Program::more_tls("handshake_timeout = \"1s\"");
    let mut scene = Scene::start(&format!("{settings}\n{plain}\n{tls}")).await;
    let mut sessions = Vec::new();
    for _ in 0..EACH {
        // Bytes that go on and on are no progress where something has to be complete.
        drip(
            connect(scene.program.listeners[3]).await,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            0,
        );
        drip(
            connect(scene.program.listeners[2]).await,
            b"GET /test HTTP/1.1\r\nX: ",
            b'x',
        );
        let (mut in_frame, service) = scene.open().await;
        in_frame.raw(&frame(true, BINARY, b"hello")[..3]).await;
        sessions.push((in_frame, service));
        let (mut in_message, service) = scene.open().await;
        in_message.raw(&frame(false, BINARY, b"hello")).await;
        sessions.push((in_message, service));
        let (client, mut in_record) = scene.open().await;
        write(&mut in_record, b"\0\0\0\x05he").await;
        sessions.push((client, in_record));
    }
    let mut causes = BTreeMap::new();
    for _ in 0..5 * EACH {
        scene.neighbour().await;
        let record = scene.program.record().await;
        *causes
            .entry(record["cause"].as_str().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    let expected = [
        ("backend_stalled", EACH),
        ("client_stalled", 2 * EACH),
        ("request_timeout", EACH),
        ("tls_timeout", EACH),
    ];
    assert_eq!(
        causes,
        expected.map(|(cause, count)| (cause.to_owned(), count)).into()
    );
    drop(sessions);
    scene.done().await;
}
