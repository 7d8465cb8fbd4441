//! A real syslog receiver, Debian's rsyslog, behind `framing = "syslog"`: octet counting (RFC 6587 §3.4.1). It tells each message that it
//! has read as a line of JSON.

use crate::support::{BINARY, Client, Service, TEXT, program};

async fn rsyslog() -> Service {
    Service::start("start", |port, dir| {
        let file = dir.join("rsyslog.conf");
        let config = format!(
            "global(workDirectory=\"{dir}\" maxMessageSize=\"256k\" processInternalMessages=\"on\"\n\
                parser.escapeControlCharactersOnReceive=\"off\")\n\
             module(load=\"imtcp\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"json\" type=\"list\") {{\n\
                constant(value=\"\\\"\") property(name=\"rawmsg\" format=\"json\") constant(value=\"\\\"\\n\")\n\
             }}\n\
             action(type=\"omfile\" file=\"/dev/stdout\" template=\"json\")\n",
            dir = dir.display()
        );
        std::fs::write(&file, config).unwrap();
        let mut command = program("rsyslogd");
        command
            .args(["-n", "-f"])
            .arg(file)
            .arg("-i")
            .arg(dir.join("pid"));
        command
    })
    .await
}

/// Asserts that this is the next message that it read.
async fn expect(server: &mut Service, message: &str) {
    let line = server.line().await;
    let read: String = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(read == message, "{read:?} is not {message:?}");
}

#[tokio::test]
async fn messages_arrive_as_they_are() {
    let mut server = rsyslog().await;
    let mut sealock = server.behind("framing = \"syslog\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    // Line feeds and what looks like a count are a part of a message here.
    let messages = [
        "<165>1 2026-01-01T12:00:00Z sea.example lock 42 ID47 [origin ip=\"192.0.2.1\"] \u{FEFF}grüße"
            .to_owned(),
        "<13>1 - - - - - - one\ntwo\r\n5 <13>x\n three".to_owned(),
        format!("<13>1 - - - - - - {}", "0123456789".repeat(15_000)),
    ];
    for message in &messages {
        client.send(TEXT, message.as_bytes()).await;
        expect(&mut server, message).await;
    }
    client.send(BINARY, b"<13>1 - - - - - - as bytes").await;
    expect(&mut server, "<13>1 - - - - - - as bytes").await;

    // Many at once, and then the end.
    let many: Vec<String> = (0..100)
        .map(|n| format!("<13>1 - - - - - - number {n}"))
        .collect();
    client.send_all(TEXT, &many).await;
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    for message in &many {
        expect(&mut server, message).await;
    }
    let record = sealock.ended("client_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&104.into(), &0.into())
    );
}
