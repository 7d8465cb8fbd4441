//! How much may happen at once, and how fast: each limit says so in its own words, and what is over it costs nobody else anything.

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Client, Request, Scene, soon};

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
