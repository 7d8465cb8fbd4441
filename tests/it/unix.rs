//! Backends behind a unix socket, and everything over IPv6.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use crate::support::{Client, Program, TEXT, certificate, nobody_at, soon};

#[tokio::test]
async fn a_backend_may_be_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("service.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut program = Program::start(&format!(
        "[[route]]\nname = \"lines\"\npath = \"/lines\"\nbackend = \"unix:{}\"\nframing = \"lines\"\n",
        path.display()
    ))
    .await;
    let mut client = Client::tls(program.tls, "/lines").await;
    let (mut service, _) = soon("sealock's connection", listener.accept()).await.unwrap();
    client.send(TEXT, b"hello").await;
    let mut line = [0; 6];
    soon("a line", service.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"hello\n");
    service.write_all(b"hi\n").await.unwrap();
    assert_eq!(client.message().await, (TEXT, b"hi".to_vec()));
    drop(service);
    client.expect_close(1000, "backend closed").await;
    program.ended("backend_closed").await;

    // A socket file that nobody listens on, and none at all.
    drop(listener);
    for _ in 0..2 {
        let refusal = crate::support::Request::get("/lines")
            .tls(program.tls)
            .await
            .err()
            .unwrap();
        assert_eq!(
            (refusal.status, refusal.body.trim()),
            (502, "backend unreachable")
        );
        let record = program.ended("dial_failed").await;
        assert_eq!(record["route"], "lines");
        // The second time.
        drop(std::fs::remove_file(&path));
    }
}

#[tokio::test]
async fn listeners_and_backends_may_be_ipv6() {
    let listener = match TcpListener::bind("[::1]:0").await {
        Ok(listener) => listener,
        Err(error) => {
            // Written to the terminal past the test's captured output: nobody shall believe that this was tested.
            let loud = format!("\nNOT TESTED: this machine has no IPv6 loopback ([::1]: {error})\n\n");
            drop(std::io::Write::write_all(&mut std::io::stderr(), loud.as_bytes()));
            return;
        }
    };
    let backend = listener.local_addr().unwrap();
    let dead = nobody_at(backend.ip());
    let (cert, key) = (certificate("dev.pem"), certificate("dev.key"));
    let mut program = Program::start_file(&format!(
        "[[listener]]\nbind = \"[::1]:0\"\nplaintext = \"loopback\"\n\
         [[listener]]\nbind = \"[::1]:0\"\ncert_file = {cert:?}\nkey_file = {key:?}\n\
         [[route]]\nname = \"lines\"\npath = \"/lines\"\nbackend = \"tcp://{backend}\"\nframing = \"lines\"\nhosts = [\"[::1]\"]\n\
         [[route]]\nname = \"dead\"\npath = \"/dead\"\nbackend = \"tcp://{dead}\"\nframing = \"lines\"\n"
    ))
    .await;
    for tls in [false, true] {
        assert!(program.plain.is_ipv6() && program.tls.is_ipv6());
        let address = if tls { program.tls } else { program.plain };
        let request = crate::support::Request::get("/lines").set("Host", &address.to_string());
        let opened = if tls {
            request.tls(address).await
        } else {
            request.plain(address).await
        };
        let mut client = opened.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let (mut service, peer) = soon("sealock's connection", listener.accept()).await.unwrap();
        assert!(peer.is_ipv6());
        client.send(TEXT, b"hello").await;
        let mut line = [0; 6];
        soon("a line", service.read_exact(&mut line)).await.unwrap();
        assert_eq!(&line, b"hello\n");
        drop(service);
        client.expect_close(1000, "backend closed").await;
        let record = program.ended("backend_closed").await;
        assert_eq!(record["backend"], backend.to_string());
    }
    let refusal = crate::support::Request::get("/dead")
        .plain(program.plain)
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.status, 502);
}
