//! A real Redis, Debian's, in both of its languages: RESP behind `framing = "raw"`, inline commands behind `framing = "crlf"`.

use crate::support::{BINARY, Client, Service, TEXT, program};

async fn redis() -> Service {
    Service::start("Ready to accept connections", |port, dir| {
        let mut command = program("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(dir);
        command
    })
    .await
}

/// A command in RESP: an array of strings, each with its length.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(string(word));
    }
    bytes
}

/// A string of any bytes in RESP.
fn string(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Reads as many bytes as this has, which must be these: a raw message is whatever was there to read.
async fn expect_bytes(client: &mut Client, expected: &[u8]) {
    let mut read = Vec::new();
    while read.len() < expected.len() {
        let (kind, bytes) = client.message().await;
        assert_eq!(kind, BINARY);
        read.extend(bytes);
    }
    assert!(
        read == expected,
        "{} is not {}",
        read.escape_ascii(),
        expected.escape_ascii()
    );
}

#[tokio::test]
async fn resp_passes_as_bytes() {
    let server = redis().await;
    let mut sealock = server.behind("framing = \"raw\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;

    // A value that no line protocol could carry.
    let value = b"\r\n\0+OK\r\n\xFF";
    client.send(BINARY, &command(&[b"SET", b"key", value])).await;
    expect_bytes(&mut client, b"+OK\r\n").await;
    client.send(BINARY, &command(&[b"GET", b"key"])).await;
    expect_bytes(&mut client, &string(value)).await;

    // Where messages end means nothing: three commands in two messages, one of them cut.
    let commands = [
        command(&[b"INCR", b"n"]),
        command(&[b"INCR", b"n"]),
        command(&[b"NONSENSE"]),
    ]
    .concat();
    let (left, right) = commands.split_at(30);
    client.send_all(BINARY, &[left, right]).await;
    expect_bytes(
        &mut client,
        b":1\r\n:2\r\n-ERR unknown command 'NONSENSE', with args beginning with: \r\n",
    )
    .await;

    let large: Vec<u8> = (0..1_000_000_u32)
        .flat_map(|n| [n as u8, (n >> 8) as u8])
        .collect();
    let set = command(&[b"SET", b"large", &large]);
    for part in set.chunks(700_000) {
        client.send(BINARY, part).await;
    }
    expect_bytes(&mut client, b"+OK\r\n").await;
    client.send(BINARY, &command(&[b"GET", b"large"])).await;
    expect_bytes(&mut client, &string(&large)).await;

    client.send(BINARY, &command(&[b"QUIT"])).await;
    expect_bytes(&mut client, b"+OK\r\n").await;
    client.expect_close(1000, "backend closed").await;
    sealock.ended("backend_closed").await;
}

#[tokio::test]
async fn inline_commands_are_lines() {
    let server = redis().await;
    let mut sealock = server.behind("framing = \"crlf\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    client.send(TEXT, "SET greeting grüße".as_bytes()).await;
    client.expect(TEXT, b"+OK").await;
    client.send(TEXT, b"GET greeting").await;
    // A reply of two lines: the length in bytes, and the value.
    client.expect(TEXT, b"$7").await;
    client.expect(TEXT, "grüße".as_bytes()).await;

    // A hundred commands that are read at once have a hundred answers, in their order.
    let commands: Vec<String> = (0..100).map(|n| format!("ECHO {n}")).collect();
    client.send_all(TEXT, &commands).await;
    for n in 0..100 {
        let value = n.to_string();
        client.expect(TEXT, format!("${}", value.len()).as_bytes()).await;
        client.expect(TEXT, value.as_bytes()).await;
    }

    // Redis takes lines of up to 64 KiB, and sends longer ones.
    let half = "1234567890".repeat(6_000);
    for _ in 0..2 {
        client.send(TEXT, format!("APPEND long {half}").as_bytes()).await;
    }
    client.expect(TEXT, b":60000").await;
    client.expect(TEXT, b":120000").await;
    client.send(TEXT, b"GET long").await;
    client.expect(TEXT, b"$120000").await;
    client.expect(TEXT, format!("{half}{half}").as_bytes()).await;

    client.send(TEXT, b"QUIT").await;
    client.expect(TEXT, b"+OK").await;
    client.expect_close(1000, "backend closed").await;
    let record = sealock.ended("backend_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&106.into(), &208.into())
    );
}

#[tokio::test]
async fn a_message_is_never_two_commands() {
    let server = redis().await;
    let mut sealock = server.behind("framing = \"crlf\"").await;
    // A bare LF ends a command of Redis too.
    for end in ["\r\n", "\n"] {
        let mut client = Client::tls(sealock.tls, "/").await;
        client
            .send(TEXT, format!("SET first 1{end}SET second 2").as_bytes())
            .await;
        client.expect_refusal(1007, "delimiter inside a message").await;
        sealock.ended("delimiter_in_text").await;

        let mut client = Client::tls(sealock.tls, "/").await;
        client.send(TEXT, b"EXISTS first second").await;
        client.expect(TEXT, b":0").await;
        client.close(1000, "").await;
        client.expect_close(1000, "").await;
        sealock.ended("client_closed").await;
    }
}
