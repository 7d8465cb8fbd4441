//! A real STOMP broker, coilmq of PyPI, behind `framing = "stomp"`: each frame of STOMP is a message, with the NUL at its end.

use std::collections::BTreeMap;

use crate::support::{Client, Program, Service, TEXT, pypi};

async fn coilmq() -> Service {
    Service::start("Stomp server listening", |port, _| {
        let mut command = pypi("coilmq");
        command
            .args(["--host", "127.0.0.1", "--port"])
            .arg(port.to_string());
        command
    })
    .await
}

/// A frame as the broker sent it.
struct Received {
    command: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// The next message, which is one frame.
async fn frame(client: &mut Client) -> Received {
    let (kind, message) = client.message().await;
    assert_eq!(kind, TEXT);
    let message = String::from_utf8(message).unwrap();
    let (head, rest) = message.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let command = lines.next().unwrap().to_owned();
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let body = rest.strip_suffix('\0').unwrap().to_owned();
    Received {
        command,
        headers,
        body,
    }
}

/// A client that the broker has taken.
async fn connect(sealock: &Program) -> Client {
    let mut client = Client::tls(sealock.tls, "/").await;
    client
        .send(TEXT, b"CONNECT\naccept-version:1.1\nhost:broker\n\n\0")
        .await;
    let connected = frame(&mut client).await;
    assert_eq!(
        (connected.command.as_str(), connected.body.as_str()),
        ("CONNECTED", "")
    );
    assert_eq!(connected.headers["version"], "1.1");
    client
}

/// Listens to the queue.
async fn subscribe(client: &mut Client) {
    client
        .send(TEXT, b"SUBSCRIBE\nid:0\ndestination:/queue/sea\nreceipt:1\n\n\0")
        .await;
    client
        .expect(TEXT, b"RECEIPT\nreceipt-id:1\ncontent-length:0\n\n\0")
        .await;
}

/// A frame that sends this to the queue.
fn send(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("SEND\ndestination:/queue/sea\ncontent-length:{length}\n\n{body}\0").into_bytes()
}

/// Checks that the next frame delivers this.
async fn expect_delivery(client: &mut Client, body: &str) {
    let delivered = frame(client).await;
    assert_eq!(delivered.command, "MESSAGE");
    assert_eq!(delivered.headers["destination"], "/queue/sea");
    assert_eq!(delivered.headers["content-length"], body.len().to_string());
    assert!(delivered.body == body, "{:?} is not {body:?}", delivered.body);
}

#[tokio::test]
async fn what_is_sent_to_a_queue_comes_back() {
    let server = coilmq().await;
    let mut sealock = server.behind("framing = \"stomp\"").await;
    let mut client = connect(&sealock).await;
    subscribe(&mut client).await;
    // Without a length the body ends at the NUL.
    client
        .send(TEXT, "SEND\ndestination:/queue/sea\n\ngrüße\n\0".as_bytes())
        .await;
    expect_delivery(&mut client, "grüße\n").await;
    // With one it may hold NULs, and what looks like a frame.
    for body in [
        "",
        "\0",
        "one\0\nSEND\ndestination:/queue/sea\n\ntwo\0",
        &"0123456789".repeat(20_000),
    ] {
        client.send(TEXT, &send(body)).await;
        expect_delivery(&mut client, body).await;
    }

    // Many at once.
    let many: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let frames: Vec<Vec<u8>> = many.iter().map(|body| send(body)).collect();
    client.send_all(TEXT, &frames).await;
    for body in &many {
        expect_delivery(&mut client, body).await;
    }

    client.send(TEXT, b"DISCONNECT\nreceipt:2\n\n\0").await;
    client
        .expect(TEXT, b"RECEIPT\nreceipt-id:2\ncontent-length:0\n\n\0")
        .await;
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let record = sealock.ended("client_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&58.into(), &58.into())
    );
}

#[tokio::test]
async fn a_heart_beat_is_a_message() {
    let server = coilmq().await;
    let sealock = server.behind("framing = \"stomp\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    client
        .send(TEXT, b"CONNECT\naccept-version:1.1\nheart-beat:0,100\n\n\0")
        .await;
    // The broker starts its clock before it says so.
    let mut beats = 0;
    let mut connected = false;
    while beats < 3 || !connected {
        let (kind, message) = client.message().await;
        assert_eq!(kind, TEXT);
        if message == b"\n" {
            beats += 1;
        } else {
            assert!(
                message.starts_with(b"CONNECTED\n") && message.ends_with(b"\n\n\0"),
                "{}",
                message.escape_ascii()
            );
            connected = true;
        }
    }
}

#[tokio::test]
async fn a_message_is_never_two_frames() {
    let server = coilmq().await;
    let mut sealock = server.behind("framing = \"stomp\"").await;
    let mut bob = connect(&sealock).await;
    subscribe(&mut bob).await;
    let (one, two) = (send("one"), send("two"));
    for wrong in [
        &[&one[..], &two].concat(),
        // No NUL at the end; a length that hides one frame in another, or too small a one.
        &one[..one.len() - 1],
        b"SEND\ndestination:/queue/sea\ncontent-length:100\n\none\0",
        b"SEND\ndestination:/queue/sea\ncontent-length:2\n\none\0",
        b"SEND\ndestination:/queue/sea\n\none\0two\0",
    ] {
        let mut alice = connect(&sealock).await;
        alice.send(TEXT, wrong).await;
        alice
            .expect_refusal(1008, "message is not one whole record")
            .await;
        sealock.ended("not_a_record").await;
    }
    // None of them reached the broker.
    bob.send(TEXT, &send("the first")).await;
    expect_delivery(&mut bob, "the first").await;
}
