//! `X-Forwarded-For` and `Forwarded`: who may say whom a request comes from, and what follows from it.

use serde_json::json;

use crate::support::{Backend, Client, Request, Scene, connect, read};

const TRUSTING: &str = "listener.forwarded_from = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
/// Sessions that end leave no time to a backend that does not.
const LINES: &str = "framing = \"lines\"\nlinger = \"0s\"";

/// Opens a session with these header lines, and gives the client that is logged for it.
async fn client_of(scene: &mut Scene, headers: &[(&str, &str)]) -> String {
    let request = headers
        .iter()
        .fold(Request::get("/test"), |request, (name, value)| {
            request.add(name, value)
        });
    let mut client: Client = request.plain(scene.program.plain).await.unwrap();
    let _service = scene.backend.accept().await;
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let record = scene.ended("client_closed", json!({})).await;
    let (client, peer) = (
        record["client"].as_str().unwrap(),
        record["peer"].as_str().unwrap(),
    );
    assert!(peer.starts_with("127.0.0.1:"), "{record}");
    if client == peer {
        "peer".to_owned()
    } else {
        client.to_owned()
    }
}

#[tokio::test]
async fn the_client_is_the_last_address_that_is_not_trusted() {
    let mut scene = Scene::start_with(TRUSTING, LINES).await;
    for (headers, client) in [
        (&[][..], "peer"),
        (&[("X-Forwarded-For", "192.0.2.1")], "192.0.2.1"),
        (&[("X-Forwarded-For", "[2001:db8::1]:77")], "[2001:db8::1]:77"),
        (
            &[("X-Forwarded-For", "198.51.100.1, 192.0.2.1, 10.1.2.3")],
            "192.0.2.1",
        ),
        (
            &[
                ("X-Forwarded-For", "198.51.100.1"),
                ("x-forwarded-for", "192.0.2.1"),
            ],
            "192.0.2.1",
        ),
        (&[("X-Forwarded-For", "192.0.2.1, unknown")], "peer"),
        // The other header is the client's own, which the proxy has passed on.
        (&[("Forwarded", "for=192.0.2.1")], "peer"),
    ] {
        assert_eq!(client_of(&mut scene, headers).await, client, "{headers:?}");
    }
    scene.done().await;
}

#[tokio::test]
async fn the_standard_header_is_believed_where_the_listener_says_so() {
    let standard = format!("{TRUSTING}\nlistener.forwarded_header = \"forwarded\"");
    let mut scene = Scene::start_with(&standard, LINES).await;
    for (headers, client) in [
        (
            &[("Forwarded", "for=\"[2001:db8::1]:77\";proto=https, for=10.0.0.9")][..],
            "[2001:db8::1]:77",
        ),
        (&[("X-Forwarded-For", "192.0.2.1")], "peer"),
    ] {
        assert_eq!(client_of(&mut scene, headers).await, client, "{headers:?}");
    }
    scene.done().await;
}

#[tokio::test]
async fn nobody_else_is_believed() {
    for listener in ["", "listener.forwarded_from = [\"10.0.0.0/8\"]"] {
        let mut scene = Scene::start_with(listener, LINES).await;
        let claim = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")];
        assert_eq!(client_of(&mut scene, &claim).await, "peer");
        scene.done().await;
    }
}

#[tokio::test]
async fn a_refusal_names_the_client_too() {
    let mut scene = Scene::start_with(TRUSTING, LINES).await;
    let request = Request::get("/nowhere").add("X-Forwarded-For", "192.0.2.1");
    let refusal = request.plain(scene.program.plain).await.err().unwrap();
    assert_eq!(refusal.status, 404);
    scene.ended("not_found", json!({"client": "192.0.2.1"})).await;
    scene.done().await;
}

#[tokio::test]
async fn backends_are_chosen_by_the_client_and_told_it() {
    let [a, b] = [Backend::start().await, Backend::start().await];
    let route = format!(
        "{LINES}\nbackend = {{ targets = [\"tcp://{}\", \"tcp://{}\"], balance = \"client-address\", proxy_protocol = \"v1\" }}",
        a.address, b.address
    );
    let scene = Scene::start_with(TRUSTING, &route).await;
    let mut homes = Vec::new();
    for last in 1..=30 {
        let mut home = None;
        for _ in 0..2 {
            let stream = connect(scene.program.plain).await;
            let request = Request::get("/test").add("X-Forwarded-For", &format!("192.0.2.{last}"));
            let _client = request.over(Box::new(stream), &[]).await.unwrap();
            let accepting = [&a, &b].map(|backend| Box::pin(backend.accept()));
            let (mut service, index, _) = futures_util::future::select_all(accepting).await;
            let told = format!(
                "PROXY TCP4 192.0.2.{last} 127.0.0.1 0 {}\r\n",
                scene.program.plain.port()
            );
            assert_eq!(read(&mut service, told.len()).await, told.as_bytes());
            assert_eq!(*home.get_or_insert(index), index, "192.0.2.{last}");
        }
        homes.extend(home);
    }
    assert!(homes.contains(&0) && homes.contains(&1), "{homes:?}");
}
