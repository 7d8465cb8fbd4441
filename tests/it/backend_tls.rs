//! Backends that speak TLS: OpenSSL's server, and one that ends its streams as it is told to.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use sealock::tls::{Identity, server_config};

use crate::admin;
use crate::support::{Authority, Client, Request, Scene, Service, TEXT, certificate, program, sealock, soon};

/// OpenSSL's server with the run's certificate, which sends each line back turned round; other words go to its command line.
async fn reverser(words: &[&str]) -> Service {
    Service::start("ACCEPT", |port, _| {
        let mut command = program("openssl");
        command
            .args(["s_server", "-rev", "-accept", &format!("127.0.0.1:{port}")])
            .arg("-cert")
            .arg(certificate("dev.pem"))
            .arg("-key")
            .arg(certificate("dev.key"))
            .args(words);
        command
    })
    .await
}

/// The settings of a route to this server.
fn route(server: &Service, tls: &str) -> String {
    let target = format!("tls://127.0.0.1:{}", server.address.port());
    format!("framing = \"lines\"\nbackend = {{ targets = [{target:?}], tls = {{ {tls} }} }}")
}

fn ca() -> String {
    format!("ca_file = {:?}", certificate("ca.pem"))
}

/// A session with the server: a line there, and one back.
async fn works(scene: &mut Scene) {
    let mut client = Client::plain(scene.program.plain, "/test").await;
    client.send(TEXT, b"hello").await;
    assert_eq!(client.message().await, (TEXT, b"olleh".to_vec()));
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    scene
        .ended("client_closed", json!({"messages_up": 1, "messages_down": 1}))
        .await;
}

#[tokio::test]
async fn openssl_serves_behind_sealock() {
    for version in ["-tls1_2", "-tls1_3"] {
        let server = reverser(&[version]).await;
        for tls in [ca(), format!("{}, server_name = \"localhost\"", ca())] {
            let mut scene = Scene::start(&route(&server, &tls)).await;
            works(&mut scene).await;
            scene.done().await;
        }
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused() {
    let server = reverser(&[]).await;
    let stranger = Authority::make("a stranger");
    for (tls, detail) in [
        (
            format!("ca_file = {:?}", stranger.file("ca.pem")),
            "UnknownIssuer",
        ),
        (
            format!("{}, server_name = \"example.com\"", ca()),
            "not valid for name",
        ),
        // No authority of the system knows a certificate that was made for this run.
        (String::new(), "UnknownIssuer"),
    ] {
        let mut scene = Scene::start(&route(&server, &tls)).await;
        let refusal = Request::get("/test")
            .plain(scene.program.plain)
            .await
            .err()
            .unwrap();
        assert_eq!(refusal.status, 502);
        assert_eq!(refusal.body, "no secure connection with the backend\n");
        let record = scene
            .ended("dial_tls", json!({"state": "SC", "level": "WARN"}))
            .await;
        assert!(record["detail"].as_str().unwrap().contains(detail), "{record}");
        scene.done().await;
    }
}

#[tokio::test]
async fn a_backend_may_ask_who_we_are() {
    let authority = Authority::make("the backend's own");
    let ca_file = authority.file("ca.pem");
    let asks = [
        "-tls1_2",
        "-Verify",
        "1",
        "-verify_return_error",
        "-CAfile",
        ca_file.to_str().unwrap(),
    ];
    let server = reverser(&asks).await;
    let with = |name: &str| {
        let (cert, key) = (
            authority.file(&format!("{name}.pem")),
            authority.file(&format!("{name}.key")),
        );
        format!("{}, cert_file = {cert:?}, key_file = {key:?}", ca())
    };
    let mut scene = Scene::start(&route(&server, &with("client"))).await;
    works(&mut scene).await;
    scene.done().await;

    // The first second of 2001.
    for (tls, expiry) in [(ca(), None), (with("expired"), Some(978_307_200.0))] {
        let admin = "[admin]\nbind = \"127.0.0.1:0\"\n";
        let mut scene = Scene::start_with(admin, &route(&server, &tls)).await;
        let metrics = admin::ask(&scene.program, "GET /metrics", "Host: localhost\r\n").await;
        let name = "sealock_backend_certificate_expiry_timestamp_seconds{route=\"test\"} ";
        let sample = metrics.body.lines().find_map(|line| line.strip_prefix(name));
        assert_eq!(sample.map(|value| value.parse::<f64>().unwrap()), expiry);
        let refusal = Request::get("/test")
            .plain(scene.program.plain)
            .await
            .err()
            .unwrap();
        assert_eq!(refusal.status, 502);
        scene.ended("dial_tls", json!({"state": "SC"})).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn an_end_without_close_notify_is_a_loss() {
    let identity = Identity::load(&certificate("dev.pem"), &certificate("dev.key")).unwrap();
    let acceptor = TlsAcceptor::from(server_config(&identity, None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ca();
    let settings =
        format!("framing = \"lines\"\nbackend = {{ targets = [\"tls://{address}\"], tls = {{ {tls} }} }}");
    let mut scene = Scene::start(&settings).await;
    for (politely, code, cause, reason) in [
        (true, 1000, "backend_closed", "backend closed"),
        (false, 1014, "backend_reset", "backend connection lost"),
    ] {
        let accepting = async {
            let (tcp, _) = listener.accept().await.unwrap();
            acceptor.accept(tcp).await.unwrap()
        };
        let (mut client, mut service) = tokio::join!(
            Client::plain(scene.program.plain, "/test"),
            soon("sealock's connection", accepting)
        );
        service.write_all(b"one\ntw").await.unwrap();
        if politely {
            service.shutdown().await.unwrap();
        } else {
            service.flush().await.unwrap();
            service.get_mut().0.shutdown().await.unwrap();
        }
        assert_eq!(client.message().await.1, b"one");
        if politely {
            assert_eq!(
                client.message().await.1,
                b"tw",
                "the last line, which ended with the stream"
            );
        }
        client.expect_close(code, reason).await;
        // Half a line that was cut is none.
        let lost = if politely { 0 } else { 2 };
        let detail = (!politely).then_some("TLS ended without close_notify");
        let fields = json!({"code": code, "lost_down": lost, "detail": detail});
        scene.ended(cause, fields).await;
    }
    scene.done().await;
}

#[tokio::test]
async fn bulk_goes_both_ways_at_once() {
    const MESSAGE: usize = 1 << 20;
    const COUNT: usize = 16;
    let identity = Identity::load(&certificate("dev.pem"), &certificate("dev.key")).unwrap();
    let acceptor = TlsAcceptor::from(server_config(&identity, None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = tokio::io::split(acceptor.accept(tcp).await.unwrap());
        drop(tokio::io::copy(&mut read, &mut write).await);
    });
    let settings = format!(
        "framing = \"u32be\"\nmax_message = \"1 MiB\"\nbackend = {{ targets = [\"tls://{address}\"], tls = {{ {} }} }}",
        ca()
    );
    let mut scene = Scene::start(&settings).await;
    let client = Client::plain(scene.program.plain, "/test").await;
    let (mut client, mut write) = client.split();
    let message: Arc<Vec<u8>> = Arc::new((0..MESSAGE).map(|at| (at / 3) as u8).collect());
    let sent = Arc::clone(&message);
    let sending = tokio::spawn(async move {
        for _ in 0..COUNT {
            let frame = crate::support::frame(true, crate::support::BINARY, &sent);
            write.write_all(&frame).await.unwrap();
        }
        write
    });
    for _ in 0..COUNT {
        assert!(client.message().await.1 == *message);
    }
    let mut write = soon("all to be sent", sending).await.unwrap();
    write
        .write_all(&crate::support::frame(
            true,
            crate::support::CLOSE,
            &1000u16.to_be_bytes(),
        ))
        .await
        .unwrap();
    client.read_to_close(1000, "").await;
    scene
        .ended(
            "client_closed",
            json!({"messages_up": COUNT, "messages_down": COUNT}),
        )
        .await;
    scene.done().await;
}

#[tokio::test]
async fn files_are_checked_before_anything_starts() {
    let authority = Authority::make("any");
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer_key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&params, &issuer_key);
        let path = dir.path().join(name);
        std::fs::write(&path, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        path
    };
    let stranger = made("stranger.pem");
    let check = async |tls: String| {
        let route = |name: &str| {
            format!(
                "[[route]]\nname = {name:?}\npath = \"/{name}\"\nframing = \"raw\"\n\
                 backend = {{ targets = [\"tls://localhost:1\"], tls = {{ {tls} }} }}\n"
            )
        };
        let listener = "[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n";
        let file = [listener, &route("a"), &route("b")].concat();
        let path = dir.path().join("sealock.toml");
        std::fs::write(&path, file).unwrap();
        sealock([Path::new("check"), Path::new("-c"), &path], "").await
    };
    assert_eq!(check(ca()).await.code, Some(0));
    let missing = check("ca_file = \"missing.pem\"".to_owned()).await;
    assert_eq!(missing.code, Some(78));
    assert!(missing.stderr.contains("missing.pem"), "{missing:?}");
    // Each file that is, at once.
    let files = ["ca_file", "cert_file", "key_file"];
    let all = check(files.map(|name| format!("{name} = \"no-{name}\"")).join(", ")).await;
    for name in files {
        let told = all.stderr.matches(&format!("no-{name}: No such file")).count();
        assert_eq!(told, 1, "{name}: {all:?}");
    }
    let key = authority.file("client.key");
    let mismatch = check(format!("{}, cert_file = {stranger:?}, key_file = {key:?}", ca())).await;
    assert_eq!(mismatch.code, Some(78));
    let told = mismatch.stderr.matches("does not belong").count();
    assert_eq!(told, 1, "once for all routes: {mismatch:?}");
}
