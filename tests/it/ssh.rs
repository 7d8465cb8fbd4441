//! A real SSH server, Debian's dropbear, behind `framing = "raw"`: it speaks first, in text and then in binary packets.

use std::net::SocketAddr;
use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{BINARY, Client, Program, Service, missing, program, soon, tls_connect};

async fn dropbear() -> Service {
    Service::start("Not backgrounding", |port, dir| {
        let key = dir.join("host_key");
        let made = std::process::Command::new("dropbearkey")
            .args(["-t", "ed25519", "-f"])
            .arg(&key)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let made =
            made.unwrap_or_else(|error| panic!("dropbearkey: {error}: tests/install-deps.sh installs it"));
        assert!(made.success());
        let mut command = program("dropbear");
        command
            .args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-r"])
            .arg(key)
            .arg("-P")
            .arg(dir.join("pid"));
        command
    })
    .await
}

async fn gateway(server: &Service) -> Program {
    Program::start(&format!(
        "[[route]]\nname = \"ssh\"\npath = \"/ssh\"\nbackend = \"tcp://{}\"\nframing = \"raw\"\nmessage = \"binary\"\n",
        server.address
    ))
    .await
}

#[tokio::test]
async fn the_server_speaks_first_and_exchanges_keys() {
    let server = dropbear().await;
    let program = gateway(&server).await;
    let mut client = Client::tls(program.tls, "/ssh").await;
    // Nothing was sent yet.
    let mut stream = Vec::new();
    while !stream.contains(&b'\n') {
        let (kind, bytes) = client.message().await;
        assert_eq!(kind, BINARY);
        stream.extend(bytes);
    }
    assert!(stream.starts_with(b"SSH-2.0-dropbear"), "{stream:?}");
    client.send(BINARY, b"SSH-2.0-sealock_test\r\n").await;
    let end = stream.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut packet = stream.split_off(end);
    // RFC 4253 §6: the length, the padding's length, then the payload, whose first byte names the message.
    while packet.len() < 6 {
        packet.extend(client.message().await.1);
    }
    let length = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
    assert!((100..10_000).contains(&length), "{length}");
    assert_eq!(packet[5], 20, "SSH_MSG_KEXINIT");
}

#[tokio::test]
async fn a_real_client_finishes_the_key_exchange_through_a_tunnel() {
    let server = dropbear().await;
    let gateway = gateway(&server).await;
    // A plain port whose connections become WebSockets.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let wss = gateway.tls;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tunnel(stream, wss));
        }
    });
    // It is let in by nobody; but to be told so it needs keys, a signature and ciphers that work.
    let mut ssh = program("ssh");
    ssh.args(["-F", "none", "-v", "-p", &port])
        .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
        ])
        .args(["-o", "PreferredAuthentications=none", "-o", "IdentityAgent=none"])
        .args(["nobody@127.0.0.1", "true"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = soon("ssh", ssh.output())
        .await
        .unwrap_or_else(|error| missing(&ssh, &error));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("SSH2_MSG_NEWKEYS received"), "{said}");
    assert!(said.contains("Permission denied (publickey"), "{said}");
}

/// Copies between a TCP connection and a WebSocket until one of them ends.
async fn tunnel(mut tcp: TcpStream, wss: SocketAddr) -> Result<(), tungstenite::Error> {
    let (socket, _) = client_async("wss://localhost/ssh", tls_connect(wss).await).await?;
    let (mut to, mut from) = socket.split();
    let (mut read, mut write) = tcp.split();
    let up = async {
        let mut chunk = [0; 4096];
        loop {
            match read.read(&mut chunk).await? {
                0 => return to.close().await,
                got => to.send(Message::binary(chunk[..got].to_vec())).await?,
            }
        }
    };
    let down = async {
        while let Some(Message::Binary(bytes)) = from.next().await.transpose()? {
            write.write_all(&bytes).await?;
        }
        write.shutdown().await?;
        Ok(())
    };
    tokio::try_join!(up, down)?;
    Ok(())
}
