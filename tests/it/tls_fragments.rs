//! Handshakes in the smallest pieces, in the largest messages, and with data right behind them.

use std::io::{Cursor, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version,
};

use crate::support::{
    Authority, Backend, CLOSE, Gate, Request, Scene, TEXT, certificate, connect, frame, read, read_to_end,
    soon, write,
};

const ROUTE: &str = "framing = \"lines\"";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];
/// The types of records (RFC 8446 §5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

fn config(version: &'static SupportedProtocolVersion, authority: Option<&Authority>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate("ca.pem")).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let Some(authority) = authority else {
        return builder.with_no_client_auth();
    };
    let chain = vec![CertificateDer::from_pem_file(authority.file("client.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(authority.file("client.key")).unwrap();
    builder.with_client_auth_cert(chain, key).unwrap()
}

/// A client whose bytes pass through our hands on their way.
struct Hand {
    tls: ClientConnection,
    tcp: TcpStream,
    way: Way,
    /// Handshake messages are sealed from here on.
    sealed: bool,
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Each is written alone.
    Bytes,
    /// Records of the handshake that are in the clear hold one byte each.
    Records,
    /// Both.
    BytesOfRecords,
    /// All that there is to send is written at once.
    Whole,
}

impl Hand {
    async fn new(config: ClientConfig, address: SocketAddr, way: Way) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            tls: ClientConnection::new(Arc::new(config), name).unwrap(),
            tcp: connect(address).await,
            way,
            sealed: false,
        }
    }

    /// Sends what TLS has to send.
    async fn send(&mut self) {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        if matches!(self.way, Way::Records | Way::BytesOfRecords) {
            bytes = self.crumbs(&bytes);
        }
        let size = match self.way {
            Way::Bytes | Way::BytesOfRecords => 1,
            Way::Records | Way::Whole => bytes.len().max(1),
        };
        for piece in bytes.chunks(size) {
            soon("room to send", self.tcp.write_all(piece)).await.unwrap();
        }
    }

    fn crumbs(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, record) in records(bytes) {
            self.sealed |= kind == CHANGE_CIPHER_SPEC;
            if kind == HANDSHAKE && !self.sealed {
                let bytes = record[5..].iter();
                out.extend(bytes.flat_map(|byte| [HANDSHAKE, 3, 3, 0, 1, *byte]));
            } else {
                out.extend_from_slice(record);
            }
        }
        out
    }

    /// Reads what has come, and works on it. False at the end of the stream.
    async fn receive(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let got = soon("bytes from sealock", self.tcp.read(&mut bytes))
            .await
            .unwrap();
        let mut left = Cursor::new(&bytes[..got]);
        while self.tls.read_tls(&mut left).unwrap() > 0 {
            self.tls.process_new_packets().unwrap();
        }
        got > 0
    }

    /// Completes the handshake. What was written before goes right behind it.
    async fn shake(&mut self) {
        while self.tls.is_handshaking() {
            self.send().await;
            if self.tls.is_handshaking() {
                assert!(self.receive().await, "sealock ended the connection");
            }
        }
        self.send().await;
    }

    /// Reads until this has come.
    async fn expect(&mut self, wanted: &[u8]) {
        let mut all = Vec::new();
        while !all.ends_with(wanted) {
            // An error is that there is nothing yet.
            drop(self.tls.reader().read_to_end(&mut all));
            if !all.ends_with(wanted) {
                assert!(self.receive().await, "sealock ended the connection");
            }
        }
    }
}

/// Records with their types.
fn records(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, ..] = bytes {
        let (record, rest) = bytes.split_at(5 + usize::from(u16::from_be_bytes([*high, *low])));
        records.push((*kind, record));
        bytes = rest;
    }
    records
}

/// A request, and a message right behind it.
fn early() -> Vec<u8> {
    [Request::get("/test").bytes(), frame(true, TEXT, b"early")].concat()
}

/// The session behind a handshake works.
async fn talk(client: &mut Hand, backend: &Backend) {
    let mut service = backend.accept().await;
    assert_eq!(read(&mut service, 6).await, b"early\n");
    write(&mut service, b"late\n").await;
    client.expect(b"\x81\x04late").await;
    let close = frame(true, CLOSE, &1000u16.to_be_bytes());
    client.tls.writer().write_all(&close).unwrap();
    client.send().await;
    client.expect(b"\x88\x02\x03\xE8").await;
    while client.receive().await {}
    // Ended by a close_notify: otherwise this is an error.
    assert_eq!(client.tls.reader().read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn a_handshake_may_come_in_any_pieces() {
    let mut gate = Gate::start(ROUTE).await;
    for version in VERSIONS {
        for way in [Way::Bytes, Way::Records, Way::BytesOfRecords, Way::Whole] {
            // The smallest records that rustls makes itself: the sealed part of the handshake comes in pieces, too.
            for most in [None, Some(32)] {
                let mut config = config(version, Some(&gate.authority));
                config.max_fragment_size = most;
                let mut client = Hand::new(config, gate.guarded, way).await;
                client.tls.writer().write_all(&early()).unwrap();
                client.shake().await;
                talk(&mut client, &gate.backend).await;
                gate.program.ended("client_closed").await;
            }
        }
    }
}

#[tokio::test]
async fn a_hello_may_be_as_long_as_a_handshake_message() {
    let mut scene = Scene::start(ROUTE).await;
    for version in VERSIONS {
        // Names of protocols: two records full, and all that 64 KiB hold.
        for (names, way) in [
            (70, Way::Whole),
            (70, Way::Bytes),
            (250, Way::Whole),
            (40, Way::Records),
        ] {
            let mut config = config(version, None);
            let long = |number: usize| format!("{number:0255}").into_bytes();
            config.alpn_protocols = (0..names).map(long).chain([b"http/1.1".to_vec()]).collect();
            let mut client = Hand::new(config, scene.program.tls, way).await;
            client.tls.writer().write_all(&early()).unwrap();
            client.shake().await;
            assert_eq!(client.tls.alpn_protocol(), Some(&b"http/1.1"[..]));
            talk(&mut client, &scene.backend).await;
            scene.ended("client_closed", json!({"messages_up": 1})).await;
        }
    }
    scene.done().await;
}

#[tokio::test]
async fn a_hello_without_end_is_refused() {
    let mut scene = Scene::start(ROUTE).await;
    // One byte more than a message may have is refused by its header, in whatever pieces that comes. rustls has no alert for it.
    let header = [1, 1, 0, 0];
    let whole = [&[HANDSHAKE, 3, 1, 0, 4][..], &header].concat();
    let crumbs: Vec<u8> = header
        .iter()
        .flat_map(|byte| [HANDSHAKE, 3, 1, 0, 1, *byte])
        .collect();
    for bytes in [whole, crumbs] {
        let mut tcp = connect(scene.program.tls).await;
        tcp.write_all(&bytes).await.unwrap();
        let answer = read_to_end(&mut tcp).await.unwrap();
        assert_eq!(answer, b"");
        drop(tcp);
        let record = scene.ended("tls_failed", json!({"state": "CT"})).await;
        assert!(
            record["detail"].as_str().unwrap().contains("TooLarge"),
            "{record}"
        );
    }
    // One byte less may be said, but not in wrappings that take so much more.
    let mut tcp = connect(scene.program.tls).await;
    let mut bytes = vec![HANDSHAKE, 3, 1, 0, 4, 1, 0, 0xFF, 0xFF];
    bytes.extend([HANDSHAKE, 3, 1, 0, 1, 7].repeat(60_000));
    let (mut from, mut to) = tcp.split();
    let write = async { drop(to.write_all(&bytes).await) };
    let read = async {
        // Whether it is an end or a reset depends on what was not read.
        assert_eq!(from.read(&mut [0]).await.unwrap_or(0), 0);
    };
    soon("the end", async { tokio::join!(write, read) }).await;
    drop(tcp);
    let record = scene.ended("tls_failed", json!({"state": "CT"})).await;
    assert_eq!(record["detail"], "endless TLS message", "{record}");
    scene.done().await;
}
