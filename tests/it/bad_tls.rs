//! What comes of a TLS handshake that goes wrong, and of those that must go right.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};
use tokio_rustls::{TlsConnector, rustls};

use crate::support::{Program, Request, Scene, TEXT, answer, certificate, read, read_to_end, soon};

const ROUTE: &str = "framing = \"lines\"";

/// A ClientHello that offers TLS 1.1 (RFC 4346 §7.4.1.2) with a suite of its time.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xC0, 0x13, 1, 0]);
    // Signature algorithms, so that the version is all that is wrong with it.
    hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut bytes = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    bytes.extend(hello);
    bytes
}

fn client_config(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate("ca.pem")).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
    soon("a TLS handshake", handshake).await
}

#[tokio::test]
async fn what_is_not_tls_gets_an_alert_and_the_end() {
    let mut scene = Scene::start(ROUTE).await;
    // The alert's description (RFC 8446 §6): decode_error 50, protocol_version 70.
    for (bytes, alert) in [
        (vec![0xFF; 64], 50),
        (b"\x80\x2E\x01\x00\x02 like a hello of SSL 2".to_vec(), 50),
        (hello_of_tls_1_1(), 70),
    ] {
        let mut tcp = TcpStream::connect(scene.program.tls).await.unwrap();
        tcp.write_all(&bytes).await.unwrap();
        let answer = read(&mut tcp, 7).await;
        assert_eq!((answer[0], &answer[5..]), (21, &[2, alert][..]), "{bytes:?}");
        let record = scene
            .ended(
                "tls_failed",
                json!({"state": "CT", "status": null, "level": "DEBUG"}),
            )
            .await;
        assert!(record["detail"].is_string(), "{record}");
        // Nothing behind the alert; whether it is an end or a reset depends on what was not read.
        let rest = read_to_end(&mut tcp).await;
        assert_eq!(rest.unwrap_or_default(), b"", "{bytes:?}");
    }
    scene.done().await;
}

#[tokio::test]
async fn silence_in_the_handshake_ends_at_its_deadline() {
    let hasty = Program::more_tls("handshake_timeout = \"1500ms\"");
    let mut scene = Scene::start(&format!("{ROUTE}\n{hasty}")).await;
    let hello = hello_of_tls_1_1();
    let mut silent = Vec::new();
    for bytes in [&[][..], &hello[..1], &hello[..20]] {
        let mut tcp = TcpStream::connect(scene.program.listeners[2]).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        silent.push(tcp);
    }
    for mut tcp in silent {
        assert_eq!(read_to_end(&mut tcp).await.unwrap(), b"");
        scene
            .ended(
                "tls_timeout",
                json!({"state": "cT", "status": null, "level": "DEBUG"}),
            )
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_handshake_is_noted_at_once() {
    let mut scene = Scene::start(ROUTE).await;
    let hello = hello_of_tls_1_1();
    for bytes in [&[][..], &hello[..20]] {
        let mut tcp = TcpStream::connect(scene.program.tls).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        drop(tcp);
        scene
            .ended("client_left", json!({"state": "CR", "status": null}))
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_a_readable_answer() {
    let hasty = Program::more_tls("handshake_timeout = \"1500ms\"");
    let mut scene = Scene::start(&format!("{ROUTE}\n{hasty}")).await;
    let mut client = TcpStream::connect(scene.program.listeners[2]).await.unwrap();
    client.write_all(&Request::get("/test").bytes()).await.unwrap();
    // This one stays after the answer, for longer than a handshake may take.
    let told = read_to_end(&mut client).await.unwrap();
    let refusal = answer(Box::new(std::io::Cursor::new(told))).await.err().unwrap();
    assert_eq!(refusal.status, 400);
    assert_eq!(refusal.header("connection"), Some("close"));
    assert_eq!(refusal.body, "this port speaks TLS: use https:// or wss://\n");
    scene
        .ended(
            "plain_http",
            json!({"state": "CT", "status": 400, "level": "DEBUG"}),
        )
        .await;
    scene.done().await;
}

#[tokio::test]
async fn both_versions_are_spoken_and_resumed() {
    let mut scene = Scene::start(ROUTE).await;
    for (offered, spoken) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        // Keeps the tickets for the second time.
        let config = Arc::new(client_config(&[offered], &["h2", "http/1.1"]));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = connect(scene.program.tls, "localhost", &config).await.unwrap();
            let tls = stream.get_ref().1;
            assert_eq!(tls.protocol_version(), Some(spoken));
            assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
            // In TLS 1.3 a new key exchange may come with it, which is not a full handshake either.
            let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(
                resumed,
                kind == HandshakeKind::Resumed,
                "{:?}",
                tls.handshake_kind()
            );
            let mut client = Request::get("/test").over(Box::new(stream), &[]).await.unwrap();
            let mut service = scene.backend.accept().await;
            client.send(TEXT, b"hello").await;
            assert_eq!(read(&mut service, 6).await, b"hello\n");
            drop(service);
            client.expect_close(1000, "backend closed").await;
            client.expect_end().await;
            scene.ended("backend_closed", json!({"messages_up": 1})).await;
        }
    }
    scene.done().await;
}

#[tokio::test]
async fn a_client_may_offer_no_protocol_but_not_only_another() {
    let mut scene = Scene::start(ROUTE).await;
    let silent = Arc::new(client_config(rustls::ALL_VERSIONS, &[]));
    let stream = connect(scene.program.tls, "localhost", &silent).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    drop(stream);
    scene.ended("client_left", json!({})).await;

    let other = Arc::new(client_config(rustls::ALL_VERSIONS, &["h2"]));
    let error = connect(scene.program.tls, "localhost", &other).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    scene.ended("tls_failed", json!({"state": "CT"})).await;
    scene.done().await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_says_so() {
    let mut scene = Scene::start(ROUTE).await;
    let trusting = Arc::new(client_config(rustls::ALL_VERSIONS, &[]));
    let mut stranger = client_config(rustls::ALL_VERSIONS, &[]);
    let other = sealock::tls::DevelopmentCa::make(&["localhost".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    let other = CertificateDer::from_pem_slice(other.ca_pem.as_bytes()).unwrap();
    roots.add(other).unwrap();
    stranger.dangerous().set_certificate_verifier(
        rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(aws_lc_rs::default_provider()),
        )
        .build()
        .unwrap(),
    );
    for (config, name) in [(Arc::new(stranger), "localhost"), (trusting, "other.example")] {
        let error = connect(scene.program.tls, name, &config).await.unwrap_err();
        assert!(error.to_string().contains("invalid peer certificate"), "{error}");
        let record = scene.ended("tls_failed", json!({"state": "CT"})).await;
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("received fatal alert"), "{detail}");
    }
    scene.done().await;
}

#[tokio::test]
async fn a_session_whose_tls_breaks_ends_for_the_backend_too() {
    let mut scene = Scene::start(ROUTE).await;
    let config = Arc::new(client_config(rustls::ALL_VERSIONS, &[]));
    for garbage in [
        &b"this is no TLS record"[..],
        b"\x17\x03\x03\x00\x20 a record that nobody sealed here..",
    ] {
        let stream = connect(scene.program.tls, "localhost", &config).await.unwrap();
        // Around the TLS layer, as somebody on the way would.
        let around = socket2::SockRef::from(stream.get_ref().0).try_clone().unwrap();
        let mut around = TcpStream::from_std(around.into()).unwrap();
        let mut client = Request::get("/test").over(Box::new(stream), &[]).await.unwrap();
        let mut service = scene.backend.accept().await;
        client.send(TEXT, b"hello").await;
        assert_eq!(read(&mut service, 6).await, b"hello\n");
        around.write_all(garbage).await.unwrap();
        assert_eq!(read_to_end(&mut service).await.unwrap(), b"");
        assert_eq!(client.frame().await, None);
        drop(service);
        scene
            .ended(
                "client_gone",
                json!({"state": "CD", "code": null, "messages_up": 1}),
            )
            .await;
    }
    scene.done().await;
}
