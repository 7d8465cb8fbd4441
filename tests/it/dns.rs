//! A real DNS server, Debian's dnsmasq, behind `framing = "dns"`.

use crate::support::{BINARY, Chromium, Client, Program, Service, empty_page, program};

async fn dnsmasq() -> Service {
    Service::start("started, version", |port, _| {
        let mut command = program("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--log-facility=-",
            "--pid-file",
            "--address=/example.test/192.0.2.7",
        ]);
        command.arg(format!("--port={port}"));
        command
    })
    .await
}

async fn gateway(server: &Service, origin: &str) -> Program {
    Program::start(&format!(
        "[[route]]\nname = \"dns\"\npath = \"/dns\"\nbackend = \"tcp://{}\"\nframing = \"dns\"\nmessage = \"binary\"\n\
         origins = [\"{origin}\"]\n",
        server.address
    ))
    .await
}

/// A question for the address of a name (RFC 1035 §4).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    // Recursion desired; one question and nothing else.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    // The root; type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// Checks that this answers the question with the address that dnsmasq was given for the name.
fn check(answer: &[u8], id: u16, question: &[u8]) {
    assert_eq!(answer[..2], id.to_be_bytes(), "the same id");
    assert_eq!(answer[2] & 0x80, 0x80, "an answer");
    assert_eq!(answer[3] & 0x0F, 0, "no error");
    assert_eq!(answer[4..8], [0, 1, 0, 1], "one question, one answer");
    assert_eq!(answer[12..question.len()], question[12..]);
    // Four bytes of data: the last of the answer, as there is no further record.
    assert!(answer.ends_with(&[0, 4, 192, 0, 2, 7]), "{answer:02x?}");
}

#[tokio::test]
async fn questions_get_their_answers() {
    let server = dnsmasq().await;
    let mut program = gateway(&server, "https://localhost").await;
    let mut client = Client::tls(program.tls, "/dns").await;
    let first = question(0x1234, "example.test");
    client.send(BINARY, &first).await;
    let (kind, answer) = client.message().await;
    assert_eq!(kind, BINARY);
    check(&answer, 0x1234, &first);

    // Two on their way at once (RFC 7766 §6.2.1.1).
    let (one, two) = (question(1, "a.example.test"), question(2, "bb.example.test"));
    client.send(BINARY, &one).await;
    client.send(BINARY, &two).await;
    check(&client.message().await.1, 1, &one);
    check(&client.message().await.1, 2, &two);

    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let record = program.ended("client_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&3.into(), &3.into())
    );
}

#[tokio::test]
async fn a_page_asks_too() {
    let server = dnsmasq().await;
    let origin = empty_page().await;
    let program = gateway(&server, &origin).await;
    let browser = Chromium::start().await;
    let tab = browser.tab(&origin).await;
    let query = question(0xBEEF, "www.example.test");
    let answer = tab
        .evaluate(&format!(
            "await (async () => {{
                const client = await openSocket('wss://{}/dns');
                client.send(new Uint8Array({query:?}));
                return [...await client.next()];
            }})()",
            program.tls
        ))
        .await;
    let answer: Vec<u8> = serde_json::from_value(answer).unwrap();
    check(&answer, 0xBEEF, &query);
}
