//! A real listener for HL7 v2, of the Python library hl7, behind `framing = "mllp"`. It acknowledges each message, and sends what it
//! understood of it back.

use crate::support::{Client, Service, TEXT, script};

async fn listener() -> Service {
    Service::start("listening", |port, _| script("mllp.py", port)).await
}

/// A message: segments, each with its CR.
fn admission(number: usize, note: &str) -> String {
    format!(
        "MSH|^~\\&|LAB|WARD|SEA|LOCK|20260101120000||ADT^A01|{number}|P|2.5\r\
         PID|1||42||Müller^Jürgen\r\
         NTE|1||{note}\r"
    )
}

/// Checks the next message: the acknowledgement of this one (HL7 v2.5, 2.9.2).
async fn expect_acknowledgement(client: &mut Client, number: usize) {
    let (kind, bytes) = client.message().await;
    assert_eq!(kind, TEXT);
    let text = String::from_utf8(bytes).unwrap();
    let (header, rest) = text.split_once('\r').unwrap();
    let header: Vec<&str> = header.split('|').collect();
    // The time and the number of the answer are the listener's own.
    assert_eq!(header[..6], ["MSH", "^~\\&", "SEA", "LOCK", "LAB", "WARD"]);
    assert_eq!(header[8], "ACK^A01^ACK");
    assert_eq!(header[10..], ["P", "2.5"]);
    assert_eq!(rest, format!("MSA|AA|{number}\r"));
}

#[tokio::test]
async fn messages_are_acknowledged() {
    let listener = listener().await;
    let mut sealock = listener.behind("framing = \"mllp\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    let message = admission(1, "grüße");
    client.send(TEXT, message.as_bytes()).await;
    expect_acknowledgement(&mut client, 1).await;
    client.expect(TEXT, message.as_bytes()).await;

    // Many at once, and a long one.
    let mut messages: Vec<String> = (2..50).map(|number| admission(number, "")).collect();
    messages.push(admission(50, &"0123456789".repeat(40_000)));
    client.send_all(TEXT, &messages).await;
    for (message, number) in messages.iter().zip(2..) {
        expect_acknowledgement(&mut client, number).await;
        client.expect(TEXT, message.as_bytes()).await;
    }
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let record = sealock.ended("client_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&50.into(), &100.into())
    );
}

#[tokio::test]
async fn a_message_is_never_two_blocks() {
    let listener = listener().await;
    let mut sealock = listener.behind("framing = \"mllp\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    let two = format!("{}\x1C\r\x0B{}", admission(1, ""), admission(2, ""));
    client.send(TEXT, two.as_bytes()).await;
    client.expect_refusal(1007, "delimiter inside a message").await;
    let record = sealock.ended("delimiter_in_text").await;
    // Neither reached the listener, which would have answered.
    assert_eq!(record["messages_down"], 0);
}
