//! What comes of an opening handshake that is wrong, odd, late or too much.

use serde_json::json;

use crate::support::{Request, Scene};

const ROUTE: &str = "framing = \"u32be\"\nhosts = [\"localhost\"]\nsubprotocols = [\"b\", \"a\"]";

fn get() -> Request {
    Request::get("/test")
}

fn with_line(line: &str) -> Request {
    Request {
        line: line.into(),
        ..get()
    }
}

#[tokio::test]
async fn each_flaw_has_its_answer() {
    const KEY: &str = "Sec-WebSocket-Key must be 16 bytes in base64, once";
    const HOST: &str = "exactly one valid Host header is needed";
    const ORIGIN: &str = "origin not allowed";
    const LIST: &str = "Sec-WebSocket-Protocol must be a list of distinct tokens";
    const NO_ROUTE: &str = "no route for this host and path";
    const VERSION: &str = "only WebSocket version 13 is supported";
    const UPGRADE: &str = "this is a WebSocket endpoint: ask for an upgrade";
    const NAME: &str = "Connection must name Upgrade";
    const BODY: &str = "an upgrade request has no body";
    let key = "Sec-WebSocket-Key";
    let version = "Sec-WebSocket-Version";
    let list = "Sec-WebSocket-Protocol";
    let rows = [
        (Request::get("/"), 404, "not_found", NO_ROUTE),
        (Request::get("/test/"), 404, "not_found", NO_ROUTE),
        (Request::get("/TEST"), 404, "not_found", NO_ROUTE),
        (get().set("Host", "other.example"), 404, "not_found", NO_ROUTE),
        (get().set("Host", "localhost.example"), 404, "not_found", NO_ROUTE),
        (get().without("Host"), 400, "bad_host", HOST),
        (get().add("Host", "localhost"), 400, "bad_host", HOST),
        (get().set("Host", "local host"), 400, "bad_host", HOST),
        (
            get().add("Origin", "http://evil.example"),
            403,
            "origin_refused",
            ORIGIN,
        ),
        (
            get().add("Origin", "http://localhost:81"),
            403,
            "origin_refused",
            ORIGIN,
        ),
        (
            get().add("Origin", "http://localhost.evil.example"),
            403,
            "origin_refused",
            ORIGIN,
        ),
        (
            get().add("Origin", "http://localhost@evil.example"),
            403,
            "origin_refused",
            ORIGIN,
        ),
        (
            get().add("Origin", "ws://localhost"),
            403,
            "origin_refused",
            ORIGIN,
        ),
        (get().add("Origin", "null"), 403, "origin_refused", ORIGIN),
        (get().add("Origin", ""), 403, "origin_refused", ORIGIN),
        (
            get()
                .add("Origin", "http://localhost")
                .add("Origin", "http://localhost"),
            400,
            "bad_origin",
            "at most one Origin header",
        ),
        (
            with_line("POST /test HTTP/1.1"),
            405,
            "bad_method",
            "only GET is supported",
        ),
        (
            with_line("CONNECT localhost:80 HTTP/1.1"),
            404,
            "not_found",
            NO_ROUTE,
        ),
        (get().without("Upgrade"), 426, "not_an_upgrade", UPGRADE),
        (get().set("Upgrade", "h2c"), 426, "not_an_upgrade", UPGRADE),
        (get().without("Connection"), 400, "bad_connection", NAME),
        (get().set("Connection", "keep-alive"), 400, "bad_connection", NAME),
        (get().set(version, "8"), 426, "bad_version", VERSION),
        (get().without(version), 426, "bad_version", VERSION),
        (get().add(version, "13"), 426, "bad_version", VERSION),
        (get().without(key), 400, "bad_key", KEY),
        (get().set(key, ""), 400, "bad_key", KEY),
        (get().set(key, "dGhlIHNhbXBsZSBub25jZQ"), 400, "bad_key", KEY),
        (get().set(key, "dGhlIHNhbXBsZSBub25jZQ=!"), 400, "bad_key", KEY),
        (get().add(key, "dGhlIHNhbXBsZSBub25jZQ=="), 400, "bad_key", KEY),
        (get().add("Content-Length", "2"), 400, "bad_body", BODY),
        (get().add("Transfer-Encoding", "chunked"), 400, "bad_body", BODY),
        (get().add(list, "a,,b"), 400, "bad_subprotocol", LIST),
        (get().add(list, "a b"), 400, "bad_subprotocol", LIST),
        (get().add(list, "a").add(list, "a"), 400, "bad_subprotocol", LIST),
        (
            with_line("GET /test HTTP/1.0"),
            400,
            "bad_http_version",
            "a WebSocket needs HTTP/1.1",
        ),
        // hyper's own answers have no text.
        (with_line("GET /test HTTP/9.9"), 400, "bad_request", ""),
        (with_line("what is this"), 400, "bad_request", ""),
        (with_line("GET /te st HTTP/1.1"), 400, "bad_request", ""),
        (with_line("GET /test\u{1b}[2J HTTP/1.1"), 400, "bad_request", ""),
        (get().add("Bad Name", "x"), 400, "bad_request", ""),
        (get().add("X", "\0"), 400, "bad_request", ""),
    ];
    let mut scene = Scene::start(ROUTE).await;
    for (request, status, cause, text) in rows {
        let shown = format!("{:?} {:?}", request.line, request.headers);
        let refusal = request.plain(scene.program.plain).await.err();
        let refusal = refusal.unwrap_or_else(|| panic!("101 for {shown}"));
        let body = if text.is_empty() {
            String::new()
        } else {
            format!("{text}\n")
        };
        assert_eq!(
            (refusal.status, refusal.body.as_str()),
            (status, body.as_str()),
            "{shown}"
        );
        match status {
            405 => assert_eq!(refusal.header("allow"), Some("GET")),
            426 => {
                assert_eq!(refusal.header("sec-websocket-version"), Some("13"));
                assert_eq!(refusal.header("upgrade"), Some("websocket"));
            }
            _ => {}
        }
        scene
            .ended(cause, json!({"state": "CR", "status": status, "level": "INFO"}))
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn a_request_may_have_a_hundred_headers() {
    let mut scene = Scene::start(ROUTE).await;
    let mut request = get();
    while request.headers.len() < 100 {
        request = request.add("x", "");
    }
    drop(request.plain(scene.program.plain).await.unwrap());
    scene.program.record().await;
    let refusal = request
        .add("x", "")
        .plain(scene.program.plain)
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.status, 431);
    let detail = "the request head is longer than max_head, or has more than 100 headers";
    scene
        .ended("head_too_large", json!({"status": 431, "detail": detail}))
        .await;
    scene.done().await;
}

#[tokio::test]
async fn odd_but_right_requests_are_accepted() {
    let mut scene = Scene::start(ROUTE).await;
    let name = "Sec-WebSocket-Protocol";
    let rows = [
        (get(), None),
        (get().set("Connection", "keep-alive, Upgrade"), None),
        (
            get().set("Connection", "keep-alive").add("Connection", "uPgRaDe"),
            None,
        ),
        (get().set("Connection", ",,upgrade ,"), None),
        (get().set("Upgrade", "WebSocket"), None),
        (get().set("Upgrade", "h2c, websocket"), None),
        (get().set("Upgrade", "h2c").add("Upgrade", "websocket"), None),
        (get().set("Host", "LocalHost:1234"), None),
        (get().set("Host", "localhost."), None),
        (get().add("Content-Length", "0"), None),
        (get().add("Origin", "http://localhost"), None),
        (get().add("Sec-WebSocket-Extensions", "permessage-deflate"), None),
        (with_line("GET /test?token=secret HTTP/1.1"), None),
        (with_line("GET http://localhost/test HTTP/1.1"), None),
        // The route's order decides, not the client's.
        (get().add(name, "a, b"), Some("b")),
        (get().add(name, "x").add(name, "\ta "), Some("a")),
        (get().add(name, "x, y"), None),
    ];
    for (request, subprotocol) in rows {
        let shown = format!("{:?} {:?}", request.line, request.headers);
        let opened = request.plain(scene.program.plain).await;
        let mut client = opened.unwrap_or_else(|refusal| panic!("{refusal:?} for {shown}"));
        // The example of RFC 6455 §1.3.
        assert_eq!(
            client.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        assert_eq!(client.header("sec-websocket-protocol"), subprotocol, "{shown}");
        assert_eq!(client.header("sec-websocket-extensions"), None);
        drop(scene.backend.accept().await);
        client.expect_close(1000, "backend closed").await;
        scene
            .ended("backend_closed", json!({"subprotocol": subprotocol}))
            .await;
    }
    assert!(!scene.done().await.contains("secret"));
}

#[tokio::test]
async fn origins_are_exact_and_their_absence_is_a_setting() {
    let route = "framing = \"raw\"\nabsent_origin = \"refuse\"\norigins = [\"https://app.example\", \"http://app.example:8080\"]";
    let mut scene = Scene::start(route).await;
    for (origin, good) in [
        (Some("https://app.example"), true),
        (Some("https://app.example:443"), true),
        (Some("http://app.example:8080"), true),
        (Some("http://app.example"), false),
        (Some("https://app.example:8080"), false),
        (Some("https://x.app.example"), false),
        (Some("https://app.example.evil"), false),
        (Some("http://localhost"), false),
        (None, false),
    ] {
        let request = origin.map_or_else(get, |origin| get().add("Origin", origin));
        match request.plain(scene.program.plain).await {
            Ok(mut client) => {
                assert!(good, "{origin:?}");
                drop(scene.backend.accept().await);
                client.expect_close(1000, "backend closed").await;
                scene.ended("backend_closed", json!({})).await;
            }
            Err(refusal) => {
                assert!(!good && refusal.status == 403, "{origin:?} {refusal:?}");
                scene.ended("origin_refused", json!({"route": "test"})).await;
            }
        }
    }
    scene.done().await;
}

#[tokio::test]
async fn a_page_in_the_clear_is_not_of_the_same_origin_as_tls() {
    let mut scene = Scene::start(ROUTE).await;
    let refusal = get()
        .add("Origin", "http://localhost")
        .tls(scene.program.tls)
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.status, 403);
    scene.ended("origin_refused", json!({"status": 403})).await;
    let same = get()
        .add("Origin", "https://localhost")
        .tls(scene.program.tls)
        .await;
    let mut client = same.unwrap();
    drop(scene.backend.accept().await);
    client.expect_close(1000, "backend closed").await;
    scene.ended("backend_closed", json!({})).await;
    scene.done().await;
}
