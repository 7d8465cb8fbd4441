//! The admin listener, over plain sockets: who is answered, what is told, and what changes.

use std::ffi::OsStr;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{
    BINARY, Backend, Client, Program, Refusal, Request, Scene, TEXT, answer, certificate, connect, frame,
    free_address, missing, soon, write,
};

const ADMIN: &str = "[admin]\nbind = \"127.0.0.1:0\"\n";
pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

/// Sends a request line with these header lines to the admin listener, and gives the answer.
pub(crate) async fn ask(sealock: &Program, line: &str, headers: &str) -> Refusal {
    let mut stream = connect(sealock.admin.unwrap()).await;
    let request = format!("{line} HTTP/1.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    match answer(Box::new(stream)).await {
        Ok(_) => panic!("nothing is upgraded here"),
        Err(answer) => answer,
    }
}

/// The same with a good host, and the status that is expected.
async fn text(sealock: &Program, line: &str, status: u16) -> String {
    let answer = ask(sealock, line, "Host: localhost\r\n").await;
    assert_eq!(answer.status, status, "{line}: {answer:?}");
    answer.body
}

pub(crate) async fn json(sealock: &Program, line: &str, status: u16) -> Value {
    let body = text(sealock, line, status).await;
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// The sessions that a query finds, once they are so many: each has told its client so a moment before it is listed.
pub(crate) async fn sessions(sealock: &Program, query: &str, count: usize) -> Value {
    let listed = async {
        loop {
            let listed = json(sealock, &format!("GET /api/v1/sessions{query}"), 200).await;
            if listed["found"] == count {
                return listed;
            }
        }
    };
    soon("the sessions in the list", listed).await
}

async fn scene() -> Scene {
    // The backends of these tests do not end their streams.
    Scene::start_with(ADMIN, "framing = \"u32be\"\nlinger = \"10ms\"").await
}

/// The value of a sample, by its whole name with labels.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{metrics}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn health_and_readiness_follow_the_process() {
    let mut scene = scene().await;
    assert_eq!(text(&scene.program, "GET /healthz", 200).await, "ok\n");
    assert_eq!(text(&scene.program, "GET /readyz", 200).await, "ready\n");
    assert_eq!(text(&scene.program, "HEAD /readyz", 200).await, "");
    // A session inside a record holds the shutdown up.
    let (_client, mut service) = scene.open().await;
    write(&mut service, b"\0\0\0\x04ab").await;
    scene.program.signal("TERM").await;
    scene.program.logged("shutting down").await;
    assert_eq!(text(&scene.program, "GET /readyz", 503).await, "stopping\n");
    assert_eq!(text(&scene.program, "GET /healthz", 200).await, "ok\n");
    for change in ["drain", "drain?route=test", "undrain", "reload"] {
        let told = json(&scene.program, &format!("POST /-/{change}"), 503).await;
        assert_eq!(told["error"], "the process is about to end");
    }
    write(&mut service, b"cd").await;
    drop(service);
    assert_eq!(scene.program.exit().await, Some(0));
}

#[tokio::test]
async fn only_requests_for_a_host_of_ours_are_answered() {
    let hosts = format!("{ADMIN}hosts = [\"sealock.internal\", \"192.0.2.2\", \"[2001:db8::1]\"]\n");
    let scene = Scene::start_with(&hosts, "framing = \"u32be\"").await;
    for (headers, status) in [
        ("Host: localhost:9901\r\n", 200),
        ("Host: 127.0.0.1\r\n", 200),
        ("Host: SEALOCK.internal:80\r\n", 200),
        // As a balancer forwards them.
        ("Host: 192.0.2.2:9901\r\n", 200),
        ("Host: [2001:db8::1]\r\n", 200),
        ("Host: rebound.example\r\n", 421),
        ("Host: localhost.rebound.example\r\n", 421),
        ("Host: 192.0.2.1\r\n", 421),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("", 400),
    ] {
        for line in [
            "GET /healthz",
            "GET /metrics",
            "GET /nothing",
            "POST /-/drain?route=none",
        ] {
            let answer = ask(&scene.program, line, headers).await;
            let status = match line {
                _ if status != 200 => status,
                "GET /nothing" | "POST /-/drain?route=none" => 404,
                _ => 200,
            };
            assert_eq!(answer.status, status, "{line} {headers:?}");
        }
    }
    // Who asks for health by HTTP/1.0 may name no host; to name another is no better than ever.
    for (request, status) in [
        ("GET /healthz HTTP/1.0\r\n", "200"),
        ("GET /readyz HTTP/1.0\r\n", "200"),
        ("GET /readyz HTTP/1.0\r\nHost: rebound.example\r\n", "421"),
        ("GET /metrics HTTP/1.0\r\n", "400"),
        ("GET / HTTP/1.0\r\n", "400"),
        ("GET /console/ HTTP/1.0\r\n", "400"),
        ("POST /-/drain HTTP/1.0\r\n", "400"),
    ] {
        let mut stream = connect(scene.program.admin.unwrap()).await;
        write(&mut stream, format!("{request}\r\n").as_bytes()).await;
        let answer = crate::support::read_to_end(&mut stream).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request} {answer}");
    }
    scene.done().await;
}

#[tokio::test]
async fn every_answer_forbids_to_be_kept_or_shown_elsewhere() {
    let scene = scene().await;
    for line in [
        "GET /healthz",
        "GET /api/v1/status",
        "GET /nothing",
        "GET /-/drain",
    ] {
        let answer = ask(&scene.program, line, "Host: localhost\r\n").await;
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
            ("connection", "close"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{line}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'; frame-ancestors 'none'"),
            "{policy}"
        );
    }
    let long = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(20_000));
    assert_eq!(ask(&scene.program, "GET /healthz", &long).await.status, 431);
    scene.done().await;
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_away() {
    let scene = scene().await;
    let mut silent = Vec::new();
    // More than have a place, and more all the time. In their turn, which would be after the time of each, nobody would be answered soon.
    for round in 0..20 {
        for at in 0..if round == 0 { 300 } else { 10 } {
            let mut stream = connect(scene.program.admin.unwrap()).await;
            let begun = match at % 3 {
                0 => "",
                1 => "GET /healthz HTTP/1.1\r\nHost: loc",
                // This one has its answer, and stays.
                _ => "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
            };
            // It may be gone already, for others.
            drop(stream.write_all(begun.as_bytes()).await);
            silent.push(stream);
        }
        assert_eq!(text(&scene.program, "GET /healthz", 200).await, "ok\n");
    }
    for mut stream in silent {
        // The end, or a reset.
        drop(crate::support::read_to_end(&mut stream).await);
    }
    scene.done().await;
}

#[tokio::test]
async fn the_token_is_asked_for_but_not_by_those_who_ask_for_health() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    for token in [format!("token = \"{TOKEN}\""), format!("token_file = {file:?}")] {
        let top = format!("{ADMIN}{token}\n");
        let scene = Scene::start_with(&top, "framing = \"u32be\"").await;
        for line in ["GET /healthz", "GET /readyz"] {
            assert_eq!(text(&scene.program, line, 200).await.lines().count(), 1);
        }
        for line in [
            "GET /metrics",
            "GET /api/v1/sessions",
            "GET /nothing",
            "POST /-/drain",
        ] {
            for shown in [
                "",
                "Authorization: Bearer correct-horse\r\n",
                "Authorization: Basic x\r\n",
            ] {
                let answer = ask(&scene.program, line, &format!("Host: localhost\r\n{shown}")).await;
                assert_eq!(answer.status, 401, "{line} {shown}");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
        let right = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
        assert_eq!(
            ask(&scene.program, "GET /api/v1/status", &right).await.status,
            200
        );
        assert!(!scene.done().await.contains(TOKEN));
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_used_is_told_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("sealock.toml");
    for (token, says) in [("short", "16 to 512 characters"), ("", "No such file")] {
        let file = dir.path().join(format!("token-{}", token.len()));
        if !token.is_empty() {
            std::fs::write(&file, token).unwrap();
        }
        let route =
            "[[route]]\nname = \"a\"\npath = \"/\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n";
        let top = format!("{ADMIN}token_file = {file:?}\n");
        std::fs::write(&config, Program::file(&top, route)).unwrap();
        for command in ["check", "run"] {
            let args = [command, "-c", config.to_str().unwrap()];
            let output = crate::support::sealock(args, "").await;
            assert_eq!(output.code, Some(78), "{output:?}");
            assert!(output.stderr.contains(says), "{output:?}");
        }
    }
}

#[tokio::test]
async fn get_changes_nothing_and_pages_of_other_sites_neither() {
    let mut scene = scene().await;
    let (mut client, _service) = scene.open().await;
    let sessions = sessions(&scene.program, "?route=test", 1).await;
    let close = format!("/api/v1/sessions/{}/close", sessions["sessions"][0]["id"]);
    let changes = [
        close.as_str(),
        "/-/drain",
        "/-/drain?route=test",
        "/-/undrain",
        "/-/reload",
        "/-/log-level?level=off",
    ];
    for path in changes {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            let answer = ask(&scene.program, &format!("{method} {path}"), "Host: localhost\r\n").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("POST"));
        }
        for header in [
            "Origin: https://evil.example",
            "Origin: http://localhost:3000",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            let headers = format!("Host: localhost\r\n{header}\r\n");
            let answer = ask(&scene.program, &format!("POST {path}"), &headers).await;
            assert_eq!(answer.status, 403, "{header} {path}");
        }
    }
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/routes",
        "/api/v1/sessions",
    ] {
        let answer = ask(&scene.program, &format!("POST {path}"), "Host: localhost\r\n").await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    // All is as it was.
    assert_eq!(text(&scene.program, "GET /readyz", 200).await, "ready\n");
    let after = json(&scene.program, "GET /api/v1/sessions?route=test", 200).await;
    assert_eq!(after["sessions"][0]["id"], sessions["sessions"][0]["id"]);
    assert_eq!(after["sessions"][0]["ending"], false);
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    scene.ended("client_closed", serde_json::json!({})).await;
    scene.done().await;
}

#[tokio::test]
async fn who_sends_no_more_is_answered_and_whoever_leaves_has_asked() {
    let mut scene = scene().await;
    let asks = async |line: &str| {
        let mut stream = connect(scene.program.admin.unwrap()).await;
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    };
    for (line, status) in [
        ("GET /healthz", 200),
        ("GET /api/v1/status", 200),
        ("POST /-/undrain", 202),
        ("POST /-/reload", 200),
    ] {
        let told = answer(Box::new(asks(line).await)).await.err().unwrap();
        assert_eq!(told.status, status, "{line}: {told:?}");
    }
    drop(asks("POST /-/reload").await);
    scene
        .program
        .logged_times("\"path\":\"/-/reload\",\"status\":200", 2)
        .await;
    scene
        .program
        .logged("\"path\":\"/-/undrain\",\"status\":202")
        .await;
}

#[tokio::test]
async fn closing_one_session_ends_that_session_only() {
    let mut scene = scene().await;
    let (mut first, _first) = scene.open().await;
    let (mut second, _second) = scene.open().await;
    let listed = sessions(&scene.program, "?route=test", 2).await;
    let id = &listed["sessions"][1]["id"];
    for bad in ["0", "none", "-1", "99999999999999999999"] {
        json(&scene.program, &format!("POST /api/v1/sessions/{bad}/close"), 404).await;
    }
    // Another process has given the same ids.
    let close = format!("POST /api/v1/sessions/{id}/close");
    json(&scene.program, &format!("{close}?start=x"), 400).await;
    for other in ["", "2026-01-01T00:00:00Z"] {
        json(&scene.program, &format!("{close}?started={other}"), 409).await;
    }
    let third = scene.open().await;
    let listed = sessions(&scene.program, "?route=test", 3).await;
    let status = json(&scene.program, "GET /api/v1/status", 200).await;
    let (newest, started) = (&listed["sessions"][2]["id"], status["started"].as_str().unwrap());
    let close = format!("POST /api/v1/sessions/{newest}/close?started={started}");
    json(&scene.program, &close, 202).await;
    let (mut third, _third) = third;
    third.expect_close(1001, "ended by an operator").await;
    scene
        .ended("operator", serde_json::json!({ "route": "test" }))
        .await;
    // As people do it.
    let url = format!(
        "http://{}/api/v1/sessions/{id}/close",
        scene.program.admin.unwrap()
    );
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--request", "POST", &url]);
    let output = soon("curl", curl.output())
        .await
        .unwrap_or_else(|error| missing(&curl, &error));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{{\"closing\":{id}}}\n")
    );
    second.expect_close(1001, "ended by an operator").await;
    let record = scene
        .ended("operator", serde_json::json!({ "route": "test", "code": 1001 }))
        .await;
    assert_eq!(&record["span"]["id"], id, "{record}");
    first.close(1000, "").await;
    first.expect_close(1000, "").await;
    scene
        .ended("client_closed", serde_json::json!({ "route": "test" }))
        .await;
    scene.done().await;
}

#[tokio::test]
async fn a_drained_route_sends_its_sessions_away_and_the_others_go_on() {
    let mut scene = scene().await;
    let (mut client, _service) = scene.open().await;
    json(&scene.program, "POST /-/drain?route=none", 404).await;
    json(&scene.program, "POST /-/drain?rout=test", 400).await;
    // A form's parameters are none, and must not be taken for a drain of everything.
    for body in [
        "Content-Length: 10\r\n\r\nroute=test",
        "Transfer-Encoding: chunked\r\n\r\na\r\nroute=test\r\n0\r\n",
    ] {
        let answer = ask(
            &scene.program,
            "POST /-/drain",
            &format!("Host: localhost\r\n{body}"),
        )
        .await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains("behind the ? of the target"), "{answer:?}");
    }
    text(&scene.program, "GET /-/drain?route=test", 405).await;
    // What was asked in vain is in the log as well.
    let drain = "\"admin: asked for a change\"";
    scene.program.logged_times(drain, 5).await;
    let log = scene.program.log();
    for (route, status, times) in [("", 400, 3), ("\"route\":\"test\",", 405, 1)] {
        let told = format!("\"path\":\"/-/drain\",{route}\"status\":{status}");
        assert_eq!(log.matches(&told).count(), times, "{told} in {log}");
    }
    assert_eq!(text(&scene.program, "GET /readyz", 200).await, "ready\n");
    let empty = "Host: localhost\r\nContent-Length: 0\r\n";
    assert_eq!(ask(&scene.program, "POST /-/undrain", empty).await.status, 202);
    sessions(&scene.program, "?route=test", 1).await;
    let drained = json(&scene.program, "POST /-/drain?route=%74est", 202).await;
    assert_eq!(
        drained,
        serde_json::json!({ "draining": true, "route": "test", "sessions": 1 })
    );
    client.expect_close(1012, "service restarts: connect again").await;
    scene
        .ended("drain", serde_json::json!({ "route": "test", "code": 1012 }))
        .await;
    let refusal = Request::get("/test")
        .plain(scene.program.plain)
        .await
        .err()
        .unwrap();
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("1")));
    scene
        .ended("drain", serde_json::json!({ "route": "test", "status": 503 }))
        .await;
    // One route is not the process. Which it was, the log says.
    let log = scene.program.logged("\"route\":\"test\",\"status\":202").await;
    assert!(
        log.contains("\"path\":\"/-/drain\",\"route\":\"test\",\"status\":202"),
        "{log}"
    );
    assert_eq!(text(&scene.program, "GET /readyz", 200).await, "ready\n");
    let routes = json(&scene.program, "GET /api/v1/routes", 200).await;
    let draining = |at: usize| (&routes["routes"][at]["name"], &routes["routes"][at]["draining"]);
    assert_eq!(draining(0), (&"neighbour".into(), &false.into()));
    assert_eq!(draining(1), (&"test".into(), &true.into()));
    json(&scene.program, "POST /-/undrain?route=test", 202).await;
    let (mut client, _service) = scene.open().await;
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    scene
        .ended("client_closed", serde_json::json!({ "route": "test" }))
        .await;
    scene.done().await;
}

#[tokio::test]
async fn a_drained_process_takes_no_sessions_until_it_is_told_to() {
    let top = format!("shutdown_timeout = \"1ms\"\ndrain_window = \"0s\"\n{ADMIN}");
    let mut scene = Scene::start_with(&top, "framing = \"u32be\"\non_dial_failure = \"close\"").await;
    let (mut client, mut service) = scene.open().await;
    // Inside a record, which never ends: the deadline decides.
    write(&mut service, b"\0\0\0\x04ab").await;
    sessions(&scene.program, "", 2).await;
    assert_eq!(json(&scene.program, "POST /-/drain", 202).await["sessions"], 2);
    assert_eq!(text(&scene.program, "GET /readyz", 503).await, "draining\n");
    client
        .read_to_close(1012, "service restarts: connect again")
        .await;
    for _ in 0..2 {
        scene.program.ended("drain").await;
    }
    let refused = Client::plain(scene.program.plain, "/test").await;
    refused
        .expect_refusal(1012, "service restarts: connect again")
        .await;
    assert_eq!(
        json(&scene.program, "GET /api/v1/status", 200).await["state"],
        "draining"
    );
    // What is said of the route is what holds for it.
    let told = json(&scene.program, "POST /-/undrain?route=test", 202).await;
    assert_eq!(
        (&told["draining"], &told["route"]),
        (&true.into(), &"test".into())
    );
    let told = json(&scene.program, "POST /-/undrain", 202).await;
    assert_eq!(told["draining"], false);
    assert_eq!(text(&scene.program, "GET /readyz", 200).await, "ready\n");
    let (_client, _service) = scene.open().await;
}

#[tokio::test]
async fn sessions_are_listed_as_they_are_asked_for() {
    let scene = scene().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(scene.open().await);
    }
    let listed = async |query: &str| json(&scene.program, &format!("GET /api/v1/sessions{query}"), 200).await;
    let all = sessions(&scene.program, "", 4).await;
    let ids: Vec<u64> = (0..4)
        .map(|at| all["sessions"][at]["id"].as_u64().unwrap())
        .collect();
    assert!(ids.is_sorted(), "{all}");
    for (query, found, shown) in [
        ("?route=test".to_owned(), 3, 3),
        ("?route=test&limit=2".to_owned(), 3, 2),
        (format!("?after={}", ids[2]), 1, 1),
        ("?route=nothing".to_owned(), 0, 0),
        ("?client=127.0.0.1".to_owned(), 4, 4),
        ("?client=%3A%3Affff%3A127.0.0.1".to_owned(), 4, 4),
        ("?client=::1".to_owned(), 0, 0),
    ] {
        let some = listed(&query).await;
        let len = some["sessions"].as_array().unwrap().len();
        assert_eq!((&some["found"], len), (&found.into(), shown), "{query}");
    }
    let (client, service) = &mut clients[0];
    client.send(BINARY, b"abc").await;
    assert_eq!(crate::support::read(service, 7).await, b"\0\0\0\x03abc");
    write(service, b"\0\0\0\x01x").await;
    client.expect(BINARY, b"x").await;
    // A message arrives a moment before it is counted.
    let counted = async {
        loop {
            let one = listed("?route=test&limit=1").await["sessions"][0].take();
            if one["moved"]["messages_down"] == 1 {
                return one;
            }
        }
    };
    let one = soon("the message to be counted", counted).await;
    assert_eq!(one["target"], format!("tcp://{}", scene.backend.address), "{one}");
    assert_eq!(one["backend"], scene.backend.address.to_string());
    assert_eq!(
        (&one["moved"]["messages_up"], &one["moved"]["bytes_up"]),
        (&1.into(), &3.into())
    );
    assert_eq!(
        (&one["moved"]["messages_down"], &one["moved"]["bytes_down"]),
        (&1.into(), &1.into())
    );
    assert_eq!(one["held_bytes"], 0);
    for bad in [
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?client=host",
        "?after=x",
        "?rout=test",
        "?route=a&route=b",
        "?a=%",
    ] {
        json(&scene.program, &format!("GET /api/v1/sessions{bad}"), 400).await;
    }
}

/// Has Prometheus' own tool look at something, and gives what it says.
async fn promtool(arguments: &[&OsStr], input: &str) -> String {
    let mut promtool = crate::support::program("promtool");
    let mut child = promtool
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| missing(&promtool, &error));
    let mut stdin = child.stdin.take().unwrap();
    soon("promtool to read", stdin.write_all(input.as_bytes()))
        .await
        .unwrap();
    drop(stdin);
    let output = soon("promtool", child.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// The metrics once they hold this line, which something that has happened already will put there.
async fn metrics_with(sealock: &Program, line: &str) -> String {
    let line = format!("\n{line}\n");
    soon(&line, async {
        loop {
            let metrics = text(sealock, "GET /metrics", 200).await;
            if metrics.contains(&line) {
                return metrics;
            }
        }
    })
    .await
}

#[tokio::test]
async fn messages_are_counted_by_their_size() {
    let mut scene = Scene::start_with(
        ADMIN,
        "framing = \"u32be\"\nlinger = \"10ms\"\nmax_message = \"32 MiB\"",
    )
    .await;
    let (mut client, mut service) = scene.open().await;
    // What lies at a bound belongs to it. The last goes in pieces, both ways.
    let sizes = [0, 16, 16, 17, 64, 1000, 16 << 20, 5, (16 << 20) + 1];
    for size in sizes {
        let message = vec![7; size];
        let ((), record) = tokio::join!(
            client.send(BINARY, &message),
            crate::support::read(&mut service, 4 + size)
        );
        let ((), (_, answer)) = tokio::join!(write(&mut service, &record), client.message());
        assert_eq!(answer.len(), size);
    }
    let total: usize = sizes.iter().sum();
    for direction in ["up", "down"] {
        let labels = format!("route=\"test\",direction=\"{direction}\"");
        let all = format!("sealock_messages_total{{{labels}}} {}", sizes.len());
        let metrics = metrics_with(&scene.program, &all).await;
        let value =
            |name: &str, labels: &str| sample(&metrics, &format!("sealock_{name}{{{labels}}}")) as usize;
        for (bound, below) in [
            ("16.0", 4),
            ("64.0", 6),
            ("256.0", 6),
            ("1024.0", 7),
            ("4194304.0", 7),
            ("16777216.0", 8),
            ("+Inf", 9),
        ] {
            let labels = format!("le=\"{bound}\",{labels}");
            assert_eq!(value("message_size_bytes_bucket", &labels), below, "{labels}");
        }
        assert_eq!(value("message_size_bytes_count", &labels), sizes.len());
        assert_eq!(value("message_size_bytes_sum", &labels), total);
        assert_eq!(value("message_bytes_total", &labels), total);
        // A route without a message has all of them too.
        let idle = format!("le=\"+Inf\",route=\"neighbour\",direction=\"{direction}\"");
        assert!(metrics.contains(&format!("sealock_message_size_bytes_bucket{{{idle}}} ")));
    }
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let moved = serde_json::json!({ "messages_up": sizes.len(), "bytes_down": total });
    scene.ended("client_closed", moved).await;
    let count = format!(
        "sealock_message_size_bytes_count{{route=\"test\",direction=\"up\"}} {}",
        sizes.len()
    );
    metrics_with(&scene.program, &count).await;
    scene.done().await;
}

/// A session that begins and ends, once its record is there.
async fn visit(sealock: &mut Program, visits: &mut usize) {
    let mut client = Client::plain(sealock.plain, "/echo").await;
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
    *visits += 1;
    sealock.logged_times("\"cause\":\"client_closed\"", *visits).await;
}

#[tokio::test]
async fn what_is_logged_is_changed_until_the_file_says_something_else() {
    let echo = Backend::echo().await;
    let file = |level: &str| {
        let top = format!("reload_interval = \"off\"\nlog_level = \"{level}\"\n{ADMIN}");
        let route = format!(
            "[[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\nframing = \"lines\"\n"
        );
        Program::file(&top, &route)
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sealock.toml");
    std::fs::write(&path, file("info")).unwrap();
    let mut sealock = Program::start_in(dir, &[]).await;
    let level = async |sealock: &Program| json(sealock, "GET /api/v1/status", 200).await["log_level"].take();
    let begun = |sealock: &Program| sealock.log().matches("session begins").count();
    let mut visits = 0;

    for (query, says) in [
        ("", "level is missing"),
        ("?level=", "level: \"\" is not one"),
        ("?level=debgu", "level: \"debgu\" is not one"),
        ("?level=info,sealock=loud", "level: \"loud\" is not one"),
        ("?level=sealock=5", "level: \"5\" is not one"),
        ("?level=debug%0a", "level: \"debug\\n\" is not one"),
        (
            "?level=info,sealock::sesion=debug",
            "called \"sealock::sesion\": did you mean sealock::session?",
        ),
        ("?level=debug&target=sealock", "no parameter \"target\""),
    ] {
        let bad = json(&sealock, &format!("POST /-/log-level{query}"), 400).await;
        assert!(bad["error"].as_str().unwrap().contains(says), "{query}: {bad}");
    }
    assert_eq!(level(&sealock).await, "info");
    visit(&mut sealock, &mut visits).await;
    assert_eq!(begun(&sealock), 0);

    let debug = "info,sealock::session=debug";
    let changed = json(&sealock, &format!("POST /-/log-level?level={debug}"), 200).await;
    assert_eq!(changed, serde_json::json!({ "log_level": debug }));
    assert_eq!(level(&sealock).await, debug);
    let told = |sealock: &Program| {
        let log = sealock.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("the log level is another"));
        lines
            .map(|line| {
                let told: Value = serde_json::from_str(line).unwrap();
                assert!(told["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{told}");
                ["before", "log_level"].map(|name| told[name].as_str().unwrap().to_owned())
            })
            .collect::<Vec<_>>()
    };
    sealock.logged("the log level is another").await;
    assert_eq!(told(&sealock), [["info", debug]]);
    visit(&mut sealock, &mut visits).await;
    assert_eq!(begun(&sealock), 1);

    // The file says what it said before.
    json(&sealock, "POST /-/reload", 200).await;
    assert_eq!(level(&sealock).await, debug);
    visit(&mut sealock, &mut visits).await;
    assert_eq!(begun(&sealock), 2);

    std::fs::write(&path, file("error")).unwrap();
    json(&sealock, "POST /-/reload", 200).await;
    assert_eq!(level(&sealock).await, "error");
    // Blanks between words are as good as none.
    for (next, told) in [("off,%20sealock=off", "off,sealock=off"), ("error+", "error")] {
        let changed = json(&sealock, &format!("POST /-/log-level?level={next}"), 200).await;
        assert_eq!(changed["log_level"], told);
        assert_eq!(level(&sealock).await, told);
    }

    // Whichever of both levels lets it through, it is told once.
    for next in ["warn", "info", "off"] {
        json(&sealock, &format!("POST /-/log-level?level={next}"), 200).await;
    }
    sealock.logged_times("the log level is another", 3).await;
    assert_eq!(
        told(&sealock),
        [["info", debug], ["warn", "info"], ["info", "off"]]
    );
    assert_eq!(begun(&sealock), 2);
}

#[tokio::test]
async fn the_metrics_are_well_formed_and_count_what_happens() {
    let mut scene = scene().await;
    let (mut client, mut service) = scene.open().await;
    client.send(BINARY, b"abc").await;
    assert_eq!(crate::support::read(&mut service, 7).await, b"\0\0\0\x03abc");
    write(&mut service, b"\0\0\0\x02xy").await;
    client.expect(BINARY, b"xy").await;
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    scene
        .ended("client_closed", serde_json::json!({ "route": "test" }))
        .await;
    let refused = Request::get("/nowhere").plain(scene.program.plain).await;
    assert_eq!(refused.err().unwrap().status, 404);
    scene.ended("not_found", serde_json::json!({})).await;
    json(&scene.program, "POST /-/reload", 200).await;
    std::fs::write(scene.program.path("sealock.toml"), "[[route]]\n").unwrap();
    json(&scene.program, "POST /-/reload", 422).await;
    for _ in 0..2 {
        scene.program.ended("request").await;
    }

    // The refused connection is told of a moment before it is gone.
    let metrics = soon("the end of what was opening", async {
        loop {
            let metrics = text(&scene.program, "GET /metrics", 200).await;
            if metrics.contains("\nsealock_connections_opening 0") {
                return metrics;
            }
        }
    })
    .await;
    for (name, value) in [
        ("sealock_ready", 1.0),
        ("sealock_sessions{route=\"neighbour\"}", 1.0),
        ("sealock_sessions{route=\"test\"}", 0.0),
        (
            "sealock_session_ends_total{route=\"test\",cause=\"client_closed\"}",
            1.0,
        ),
        ("sealock_messages_total{route=\"test\",direction=\"up\"}", 1.0),
        (
            "sealock_message_bytes_total{route=\"test\",direction=\"up\"}",
            3.0,
        ),
        ("sealock_messages_total{route=\"test\",direction=\"down\"}", 1.0),
        (
            "sealock_message_bytes_total{route=\"test\",direction=\"down\"}",
            2.0,
        ),
        ("sealock_refusals_total{cause=\"not_found\"}", 1.0),
        ("sealock_refusals_total{cause=\"dial_failed\"}", 0.0),
        ("sealock_connections_total", 3.0),
        ("sealock_tls_handshake_seconds_count", 1.0),
        ("sealock_dial_seconds_count{route=\"test\"}", 1.0),
        ("sealock_session_seconds_bucket{le=\"+Inf\",route=\"test\"}", 1.0),
        ("sealock_backend_targets{route=\"test\",condition=\"up\"}", 1.0),
        ("sealock_buffer_bytes", 0.0),
        ("sealock_generation", 1.0),
        ("sealock_reloads_total{outcome=\"success\"}", 1.0),
        ("sealock_reloads_total{outcome=\"failure\"}", 1.0),
        ("sealock_reload_failed", 1.0),
        ("sealock_reload_blind", 0.0),
        (
            "sealock_message_size_bytes_count{route=\"test\",direction=\"up\"}",
            1.0,
        ),
    ] {
        assert!((sample(&metrics, name) - value).abs() < 0.5, "{name}:\n{metrics}");
    }
    assert!(sample(&metrics, "process_open_fds") > 5.0);
    let listener = format!(
        "sealock_certificate_expiry_timestamp_seconds{{listener=\"{}\"}}",
        scene.program.tls
    );
    let expires = sample(&metrics, &listener);
    let openssl = Command::new("openssl")
        .args(["x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in"])
        .arg(certificate("dev.pem"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(openssl.stdout).unwrap();
    let end: jiff::Timestamp = said.trim().trim_start_matches("notAfter=").parse().unwrap();
    assert!((expires - end.as_second() as f64).abs() < 0.5, "{said}");

    let check = ["check", "metrics"].map(OsStr::new);
    assert_eq!(promtool(&check, &metrics).await, "");

    let accept = "Host: localhost\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let less = accept.replace("version=1.0.0", "q=0.4");
    let older = ask(&scene.program, "GET /metrics", &less).await;
    assert_eq!(
        older.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let openmetrics = ask(&scene.program, "GET /metrics", accept).await;
    assert_eq!(
        openmetrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(openmetrics.body.ends_with("\n# EOF\n"));
    // That check reads the older format only. What reads this one is the import of old samples, which have times.
    let timed = openmetrics.body.lines().map(|line| match line.starts_with('#') {
        true => format!("{line}\n"),
        false => format!("{line} 1700000000\n"),
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("openmetrics");
    std::fs::write(&file, timed.collect::<String>()).unwrap();
    let import = ["tsdb", "create-blocks-from", "openmetrics"].map(OsStr::new);
    promtool(&[&import[..], &[file.as_ref(), dir.path().as_ref()]].concat(), "").await;
    assert!(openmetrics.body.contains("\n# TYPE sealock_messages counter\n"));

    // The page names exactly these.
    let page = include_str!("../../docs/OPERATIONS.md");
    let named = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut named: Vec<&str> = named
        .filter(|name| name.starts_with("sealock_") || name.starts_with("process_"))
        .collect();
    let real = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut real: Vec<&str> = real.collect();
    named.sort_unstable();
    real.sort_unstable();
    assert_eq!(named, real);
    scene.done().await;
}

#[tokio::test]
async fn a_client_that_is_refused_by_a_close_frame_is_a_refusal_wherever_one_looks() {
    let nobody = free_address();
    let route = format!("backend = \"tcp://{nobody}\"\nframing = \"lines\"\non_dial_failure = \"close\"");
    let mut scene = Scene::start_with(ADMIN, &route).await;
    let mut client = Client::plain(scene.program.plain, "/test").await;
    client.send(TEXT, b"for nobody").await;
    client.expect_close(1014, "backend unreachable").await;
    client.expect_end().await;
    let fields = serde_json::json!({
        "message": "refused: backend unreachable", "code": 1014, "status": null, "lost_up": 10, "messages_up": null,
    });
    scene.ended("dial_failed", fields).await;
    let metrics = text(&scene.program, "GET /metrics", 200).await;
    for (name, value) in [
        ("sealock_refusals_total{cause=\"dial_failed\"}", 1.0),
        ("sealock_lost_bytes_total{route=\"test\",direction=\"up\"}", 10.0),
    ] {
        assert!((sample(&metrics, name) - value).abs() < 0.5, "{name}:\n{metrics}");
    }
    assert!(
        !metrics.contains("sealock_session_ends_total{route=\"test\""),
        "{metrics}"
    );
    let ends = json(&scene.program, "GET /api/v1/ends", 200).await;
    assert_eq!(ends["refusals"][0]["code"], 1014, "{ends}");
    assert_eq!(ends["sessions"], serde_json::json!([]), "{ends}");
    let routes = json(&scene.program, "GET /api/v1/routes", 200).await;
    assert_eq!(routes["routes"][1]["moved"]["lost_up"], 10, "{routes}");
    // However short ago it was, it was not at this moment.
    let failure = &routes["routes"][1]["targets"][0]["last_failure"];
    assert!(failure["seconds_ago"].as_f64().unwrap() > 0.0, "{failure}");
    scene.done().await;
}

#[tokio::test]
async fn bytes_of_what_may_come_to_nothing_are_not_in_the_sums() {
    let mut scene = scene().await;
    let (mut client, mut service) = scene.open().await;
    // More than half of a message, and of a record, have gone through.
    let half = &frame(true, BINARY, &[b'x'; 50_000])[..30_000];
    client.raw(half).await;
    let payload = 30_000 - 8;
    crate::support::read(&mut service, 4 + payload).await;
    write(
        &mut service,
        &[&50_000_u32.to_be_bytes()[..], &[b'x'; 30_000]].concat(),
    )
    .await;
    assert!(!client.frame().await.unwrap().fin);
    // Who looks at the session sees that it is busy.
    let busy = async {
        loop {
            let listed = json(&scene.program, "GET /api/v1/sessions?route=test", 200).await;
            let moved = &listed["sessions"][0]["moved"];
            if moved["bytes_up"] == payload && moved["bytes_down"] == 30_000 {
                return;
            }
        }
    };
    soon("both halves", busy).await;
    let metrics = text(&scene.program, "GET /metrics", 200).await;
    for direction in ["up", "down"] {
        for name in ["sealock_message_bytes_total", "sealock_lost_bytes_total"] {
            let name = format!("{name}{{route=\"test\",direction=\"{direction}\"}}");
            assert!(sample(&metrics, &name).abs() < 0.5, "{name}:\n{metrics}");
        }
    }
    drop(service);
    client.read_to_close(1011, "backend ended inside a record").await;
    drop(client);
    let nothing = serde_json::json!({ "bytes_down": 0, "bytes_up": 0 });
    scene.ended("backend_cut", nothing).await;
    scene.done().await;
}
