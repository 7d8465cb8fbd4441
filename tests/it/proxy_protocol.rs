//! The PROXY protocol: from proxies in front, to backends, and with HAProxy at both ends.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    Backend, Client, Program, Request, Scene, Service, TEXT, connect, program, read, read_to_end,
    tls_connect_over, write,
};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const LOOPBACK: &str = "listener.proxy_protocol_from = [\"127.0.0.0/8\"]";

/// Version 2 of [`LINE`], with a value that nobody has to know.
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xC0\0\x02\x01\xC0\0\x02\x02\xDC\x04\x01\xBB\xEE\0\x02hi";
/// A proxy that speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A sealock with one route, whose listeners are in front of nobody but proxies. A neighbour would need a header of its own.
async fn behind_proxies(route: &str) -> (Program, Backend) {
    behind(LOOPBACK, route).await
}

async fn behind(listener: &str, route: &str) -> (Program, Backend) {
    let backend = Backend::start().await;
    let route = match route.contains("backend = ") {
        true => route.to_owned(),
        false => format!("backend = \"tcp://{}\"\n{route}", backend.address),
    };
    let config = format!(
        "[[route]]\nname = \"test\"\npath = \"/test\"\nframing = \"lines\"\nlinger = \"0s\"\n{route}\n"
    );
    (Program::start_with(listener, &config).await, backend)
}

/// A connection that has begun with these bytes.
async fn begun(address: SocketAddr, head: &[u8]) -> TcpStream {
    let mut stream = connect(address).await;
    stream.write_all(head).await.unwrap();
    stream
}

/// A line there and one back, and the end; `client` is what is logged.
async fn works(program: &mut Program, backend: &Backend, mut client: Client, logged: &str) {
    let mut service = backend.accept().await;
    client.send(TEXT, b"there").await;
    assert_eq!(read(&mut service, 6).await, b"there\n");
    write(&mut service, b"back\n").await;
    assert_eq!(client.message().await.1, b"back");
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let record = program.ended("client_closed").await;
    let peer = record["peer"].as_str().unwrap();
    assert!(peer.starts_with("127.0.0.1:"), "{record}");
    let logged = if logged == "peer" { peer } else { logged };
    assert_eq!(record["client"], logged, "{record}");
}

#[tokio::test]
async fn trusted_proxies_tell_the_client() {
    let (mut program, backend) = behind_proxies("").await;
    for (head, client) in [
        (LINE, "192.0.2.1:56324"),
        (BINARY, "192.0.2.1:56324"),
        (LOCAL, "peer"),
    ] {
        // In the clear, in the same packet as the request.
        let mut first = head.to_vec();
        first.extend(Request::get("/test").bytes());
        let stream = begun(program.plain, &first).await;
        let open = crate::support::answer(Box::new(stream)).await.unwrap();
        works(&mut program, &backend, open, client).await;
        // Before TLS, byte by byte.
        let mut stream = connect(program.tls).await;
        for byte in head {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let stream = tls_connect_over(stream).await;
        let open = Request::get("/test").over(Box::new(stream), &[]).await.unwrap();
        works(&mut program, &backend, open, client).await;
    }
}

#[tokio::test]
async fn whoever_is_trusted_must_say_it() {
    let (mut program, _backend) = behind_proxies("").await;
    let request = Request::get("/test").bytes();
    for (bytes, detail) in [
        (&request[..], "not a PROXY header"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03", "not a PROXY header"),
        (
            b"PROXY TCP4 192.0.2.1 nonsense 1 2\r\n",
            "the PROXY header is malformed",
        ),
    ] {
        for address in [program.plain, program.tls] {
            let mut stream = begun(address, bytes).await;
            // Dropped, without a word; what was not read makes it a reset.
            assert_eq!(read_to_end(&mut stream).await.unwrap_or_default(), b"");
            let record = program.ended("proxy_header").await;
            assert_eq!(
                (&record["detail"], &record["state"]),
                (&json!(detail), &json!("CT"))
            );
        }
    }
    let mut stream = begun(program.plain, b"PROXY TCP4 192.0").await;
    stream.shutdown().await.unwrap();
    let record = program.ended("proxy_header").await;
    assert_eq!(record["detail"], "the PROXY header is cut short");
    // Somebody who only looks.
    drop(connect(program.plain).await);
    assert_eq!(program.ended("client_left").await["level"], "DEBUG");
}

#[tokio::test]
async fn a_proxy_may_not_take_for_ever() {
    let timeouts = "listener.request_timeout = \"50ms\"\nlistener.handshake_timeout = \"50ms\"";
    let config =
        "[[route]]\nname = \"a\"\npath = \"/a\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n";
    let file = Program::file(&format!("{LOOPBACK}\n{timeouts}"), config);
    // The first listener has no TLS, and so no use for a handshake's deadline.
    let mut program = Program::start_file(&file.replacen("handshake_timeout = \"50ms\"\n", "", 1)).await;
    for address in [program.plain, program.tls] {
        for start in [&b""[..], b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C"] {
            let mut stream = begun(address, start).await;
            assert_eq!(read_to_end(&mut stream).await.unwrap_or_default(), b"");
            let record = program.ended("proxy_timeout").await;
            assert_eq!(record["detail"], "no PROXY header within 50ms");
        }
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let mut scene = Scene::start_with(
        "listener.proxy_protocol_from = [\"192.0.2.0/24\"]",
        "framing = \"lines\"",
    )
    .await;
    let mut first = LINE.to_vec();
    first.extend(Request::get("/test").bytes());
    let stream = begun(scene.program.plain, &first).await;
    let refusal = crate::support::answer(Box::new(stream)).await.err().unwrap();
    assert_eq!(refusal.status, 400);
    let record = scene.ended("bad_request", json!({})).await;
    assert_eq!(record["client"], record["peer"]);
    scene.done().await;
}

/// The bytes of a header of version 2 behind its signature.
async fn read_v2(service: &mut TcpStream) -> Vec<u8> {
    let start = read(service, 16).await;
    assert_eq!(&start[..12], b"\r\n\r\n\0\r\nQUIT\n");
    let len = u16::from_be_bytes([start[14], start[15]]);
    [start[12..14].to_vec(), read(service, len.into()).await].concat()
}

#[tokio::test]
async fn backends_are_told_the_client() {
    let backend = Backend::start().await;
    let route = |version| {
        format!(
            "backend = {{ targets = [\"tcp://{}\"], proxy_protocol = {version:?} }}",
            backend.address
        )
    };
    let mut scene = Scene::start(&format!("{}\nframing = \"lines\"\nlinger = \"0s\"", route("v1"))).await;
    let stream = connect(scene.program.plain).await;
    let (near, far) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let mut client = Request::get("/test").over(Box::new(stream), &[]).await.unwrap();
    let mut service = backend.accept().await;
    client.send(TEXT, b"hello").await;
    let line = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhello\n",
        near.port(),
        far.port()
    );
    assert_eq!(read(&mut service, line.len()).await, line.as_bytes());
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    scene.ended("client_closed", json!({})).await;
    scene.done().await;

    // What came in is passed on, with the host and the number of the connection.
    let (mut program, _) = behind_proxies(&route("v2")).await;
    let mut first = LINE.to_vec();
    first.extend(Request::get("/test").set("Host", "Chat.Example.com:8443").bytes());
    let stream = begun(program.plain, &first).await;
    let mut client = crate::support::answer(Box::new(stream)).await.unwrap();
    let mut service = backend.accept().await;
    let header = read_v2(&mut service).await;
    let expected = [
        &b"\x21\x11\xC0\0\x02\x01\xC0\0\x02\x02\xDC\x04\x01\xBB"[..],
        b"\x02\0\x10chat.example.com",
        b"\x05\0\x011",
    ];
    assert_eq!(header, expected.concat());
    client.send(TEXT, b"hello").await;
    assert_eq!(read(&mut service, 6).await, b"hello\n");
    drop(client);
    program.ended("client_gone").await;
}

#[tokio::test]
async fn a_check_speaks_for_nobody() {
    for (version, head) in [("v1", &b"PROXY UNKNOWN\r\n"[..]), ("v2", LOCAL)] {
        let backend = Backend::start().await;
        let route = format!(
            "backend = {{ targets = [\"tcp://{}\"], proxy_protocol = {version:?}, health = {{ interval = \"1h\", timeout = \"20s\", \
             send = \"PING\", expect = \"PONG\" }} }}",
            backend.address
        );
        let (mut program, _) = behind("", &route).await;
        let mut check = backend.accept().await;
        assert_eq!(read(&mut check, head.len()).await, head);
        assert_eq!(read(&mut check, 5).await, b"PING\n");
        write(&mut check, b"PONG\n").await;
        program.logged("\"backend is up\"").await;
    }
}

/// HAProxy with one frontend and one server.
async fn haproxy(bind: &str, server: &str) -> Service {
    Service::start("Loading success", |port, dir: &Path| {
        let file = dir.join("haproxy.cfg");
        let config = format!(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
             frontend front\n bind 127.0.0.1:{port} {bind}\n default_backend behind\n\
             backend behind\n server one {server}\n"
        );
        std::fs::write(&file, config).unwrap();
        let mut command = program("haproxy");
        // Only a master process tells when all is bound; its worker ends with it.
        command.args(["-W", "-db", "-f"]).arg(file);
        command
    })
    .await
}

#[tokio::test]
async fn haproxy_in_front_tells_the_client() {
    for version in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"] {
        let (mut program, backend) = behind_proxies("").await;
        let proxy = haproxy("", &format!("{} {version}", program.plain)).await;
        let stream = connect(proxy.address).await;
        let from = stream.local_addr().unwrap();
        let client = Request::get("/test").over(Box::new(stream), &[]).await.unwrap();
        works(&mut program, &backend, client, &from.to_string()).await;
    }
}

#[tokio::test]
async fn haproxy_behind_understands_who_the_client_is() {
    for version in ["v1", "v2"] {
        let backend = Backend::start().await;
        // It passes on, by a header of its own, what it understood of ours.
        let proxy = haproxy("accept-proxy", &format!("{} send-proxy", backend.address)).await;
        let route = format!(
            "backend = {{ targets = [\"tcp://{}\"], proxy_protocol = {version:?} }}",
            proxy.address
        );
        let (mut program, _) = behind_proxies(&route).await;
        let mut first = LINE.to_vec();
        first.extend(Request::get("/test").bytes());
        let stream = begun(program.plain, &first).await;
        let client = crate::support::answer(Box::new(stream)).await.unwrap();
        let mut service = backend.accept().await;
        assert_eq!(read(&mut service, LINE.len()).await, LINE);
        drop(client);
        program.ended("client_gone").await;
    }
}
