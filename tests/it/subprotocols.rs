//! One route, several subprotocols: each session is translated as the one that was chosen for it says.

use serde_json::json;

use crate::support::{BINARY, Client, Request, Scene, TEXT, read, write};

const ROUTE: &str = "framing = \"irc\"
message = \"auto\"
subprotocols = [\"plain.example\"]
[[route.subprotocol]]
name = \"text.ircv3.net\"
message = \"text\"
[[route.subprotocol]]
name = \"binary.ircv3.net\"
message = \"binary\"
max_message = \"4 B\"
[[route.subprotocol]]
name = \"raw\"
framing = \"raw\"
message = \"binary\"
[[route.subprotocol]]
name = \"counted\"
framing = { to_backend = \"u16be\", to_client = \"lines\" }";

async fn open(scene: &Scene, offered: Option<&str>) -> (Client, tokio::net::TcpStream) {
    let mut request = Request::get("/test");
    if let Some(offered) = offered {
        request = request.add("Sec-WebSocket-Protocol", offered);
    }
    let client = request.plain(scene.program.plain).await;
    let client = client.unwrap_or_else(|refusal| panic!("{}", refusal.head));
    (client, scene.backend.accept().await)
}

#[tokio::test]
async fn the_chosen_subprotocol_decides_how_a_session_is_translated() {
    type Row<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        (u8, &'a [u8], &'a [u8]),
        (&'a [u8], u8, &'a [u8]),
    );
    let rows: &[Row<'_>] = &[
        // None offered, none known, and one without a table of its own: the route's own rules.
        (None, None, (TEXT, b"hi", b"hi\r\n"), (b"yo\r\n", TEXT, b"yo")),
        (
            Some("other"),
            None,
            (BINARY, b"hi", b"hi\r\n"),
            (b"yo\r\n", BINARY, b"yo"),
        ),
        (
            Some("plain.example"),
            Some("plain.example"),
            (TEXT, b"hi", b"hi\r\n"),
            (b"yo\r\n", TEXT, b"yo"),
        ),
        (
            Some("text.ircv3.net"),
            Some("text.ircv3.net"),
            (TEXT, b"hi", b"hi\r\n"),
            (b"yo\r\n", TEXT, b"yo"),
        ),
        // The route's order counts, not the client's.
        (
            Some("raw, binary.ircv3.net"),
            Some("binary.ircv3.net"),
            (BINARY, b"hi", b"hi\r\n"),
            (b"yo\r\n", BINARY, b"yo"),
        ),
        (
            Some("raw"),
            Some("raw"),
            (BINARY, b"h\ni", b"h\ni"),
            (b"y\no", BINARY, b"y\no"),
        ),
        // Its framing without a word on messages: as the route says.
        (
            Some("counted"),
            Some("counted"),
            (TEXT, b"h\ni", b"\0\x03h\ni"),
            (b"yo\n", TEXT, b"yo"),
        ),
    ];
    let mut scene = Scene::start(ROUTE).await;
    for (offered, chosen, (sent, message, record), (bytes, kind, got)) in rows {
        let (mut client, mut service) = open(&scene, *offered).await;
        assert_eq!(client.header("sec-websocket-protocol"), *chosen);
        client.send(*sent, message).await;
        assert_eq!(read(&mut service, record.len()).await, *record, "{offered:?}");
        write(&mut service, bytes).await;
        assert_eq!(client.message().await, (*kind, got.to_vec()), "{offered:?}");
        client.close(1000, "").await;
        drop(service);
        client.expect_refusal(1000, "").await;
        scene
            .ended("client_closed", json!({ "subprotocol": chosen }))
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn limits_and_kinds_of_a_subprotocol_are_its_own() {
    let mut scene = Scene::start(ROUTE).await;
    for (offered, (kind, message), code, cause, text) in [
        (
            "text.ircv3.net",
            (BINARY, &b"hi"[..]),
            1003,
            "wrong_kind",
            "this route does not take this kind of message",
        ),
        (
            "binary.ircv3.net",
            (BINARY, b"longer"),
            1009,
            "client_too_big",
            "message over the limit of 4 B",
        ),
    ] {
        let (mut client, _service) = open(&scene, Some(offered)).await;
        client.send(kind, message).await;
        client.expect_refusal(code, text).await;
        scene.ended(cause, json!({ "subprotocol": offered })).await;
    }
    scene.done().await;
}
