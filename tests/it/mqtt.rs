//! A real MQTT broker, Debian's mosquitto, behind `framing = "mqtt"`: each control packet of MQTT 3.1.1 is a message, with its header.

use crate::support::{BINARY, Client, Program, Service, program, script, soon};

async fn mosquitto() -> Service {
    Service::start(" running", |port, dir| {
        let file = dir.join("mosquitto.conf");
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\nmax_queued_messages 0\n"
        );
        std::fs::write(&file, config).unwrap();
        // Where root starts it, it goes on as another user; it has read its configuration by then.
        let mut command = program("mosquitto");
        command.arg("-c").arg(file);
        command
    })
    .await
}

/// A control packet: type and flags, the length of the rest in groups of seven bits, the rest (MQTT 3.1.1 §2.2).
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = rest.len();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend(rest);
    bytes
}

/// A string as MQTT writes it: its length first (§1.5.3).
fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// PUBLISH at most once (§3.3).
fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&string(topic), payload].concat())
}

/// PUBLISH at least once (§3.3).
fn publish_surely(topic: &str, number: u16, payload: &[u8]) -> Vec<u8> {
    packet(
        0x32,
        &[&string(topic), &number.to_be_bytes()[..], payload].concat(),
    )
}

/// A client that the broker has taken.
async fn connect(sealock: &Program, name: &str) -> Client {
    let mut client = Client::tls(sealock.tls, "/").await;
    // CONNECT: level 4, a clean session, a minute of keep-alive (§3.1); CONNACK (§3.2).
    let rest = [&string("MQTT"), &[4, 2, 0, 60][..], &string(name)].concat();
    client.send(BINARY, &packet(0x10, &rest)).await;
    client.expect(BINARY, &[0x20, 2, 0, 0]).await;
    client
}

/// SUBSCRIBE (§3.8) and its SUBACK (§3.9).
async fn subscribe(client: &mut Client, topic: &str, quality: u8) {
    let rest = [&[0, 7][..], &string(topic), &[quality]].concat();
    client.send(BINARY, &packet(0x82, &rest)).await;
    client.expect(BINARY, &[0x90, 3, 0, 7, quality]).await;
}

#[tokio::test]
async fn two_clients_meet_at_a_broker() {
    let server = mosquitto().await;
    let mut sealock = server.behind("framing = \"mqtt\"").await;
    let mut alice = connect(&sealock, "alice").await;
    let mut bob = connect(&sealock, "bob").await;
    subscribe(&mut bob, "sea/#", 1).await;

    // The length of the rest, the topic and the payload, has one byte up to 127, two up to 16 383, and three here.
    for (len, width) in [(0, 1), (120, 1), (121, 2), (16_376, 2), (16_377, 3), (300_000, 3)] {
        let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let packet = publish("sea/a", &payload);
        assert_eq!(packet.len(), 1 + width + 7 + len);
        alice.send(BINARY, &packet).await;
        bob.expect(BINARY, &packet).await;
    }

    // Many at once.
    let many: Vec<Vec<u8>> = (0..200_u8).map(|n| publish("sea/many", &[n; 3])).collect();
    alice.send_all(BINARY, &many).await;
    for packet in &many {
        bob.expect(BINARY, packet).await;
    }

    // With acknowledgements, PUBACK (§3.4), on both sides.
    alice
        .send(BINARY, &publish_surely("sea/sure", 0x0D0A, b"once"))
        .await;
    alice.expect(BINARY, &[0x40, 2, 0x0D, 0x0A]).await;
    bob.expect(BINARY, &publish_surely("sea/sure", 1, b"once")).await;
    bob.send(BINARY, &[0x40, 2, 0, 1]).await;

    // PINGREQ and PINGRESP are a header and nothing else (§3.12, §3.13).
    bob.send(BINARY, &[0xC0, 0]).await;
    bob.expect(BINARY, &[0xD0, 0]).await;

    // DISCONNECT (§3.14): the broker ends the connection.
    alice.send(BINARY, &[0xE0, 0]).await;
    alice.expect_close(1000, "backend closed").await;
    let record = sealock.ended("backend_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&209.into(), &2.into())
    );
    bob.close(1000, "").await;
    bob.expect_close(1000, "").await;
    let record = sealock.ended("client_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&4.into(), &210.into())
    );
}

#[tokio::test]
async fn a_message_is_one_packet() {
    let server = mosquitto().await;
    let mut sealock = server.behind("framing = \"mqtt\"").await;
    let mut bob = connect(&sealock, "bob").await;
    subscribe(&mut bob, "sea/#", 0).await;
    let whole = publish("sea/a", b"whole");
    let two = [whole.clone(), publish("sea/a", b"second")].concat();
    for wrong in [&two[..], &whole[..whole.len() - 1], &whole[..1], b""] {
        let mut alice = connect(&sealock, "alice").await;
        alice.send(BINARY, wrong).await;
        alice
            .expect_refusal(1002, "message does not match its length header")
            .await;
        sealock.ended("header_mismatch").await;
    }
    // Bob has heard nothing of all that.
    let mut alice = connect(&sealock, "alice").await;
    alice.send(BINARY, &publish("sea/a", b"the first")).await;
    bob.expect(BINARY, &publish("sea/a", b"the first")).await;
}

#[tokio::test]
async fn a_library_for_mqtt_over_websocket_reaches_the_broker() {
    let server = mosquitto().await;
    // Such a library may cut and join packets as it likes (§6).
    let mut sealock = server
        .behind("framing = { to_backend = \"raw\", to_client = \"mqtt\" }\nsubprotocols = [\"mqtt\"]")
        .await;
    let mut client = script("mqtt_client.py", sealock.plain.port());
    client.args(["0", "100", "20000", "300000"]).kill_on_drop(true);
    let output = soon("the library's client", client.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "0 100 20000 300000\n", "{output:?}");
    let record = sealock.record().await;
    assert_eq!(record["subprotocol"], "mqtt", "{record}");
    // CONNACK, SUBACK, four PUBACK, and four PUBLISH.
    assert_eq!(record["messages_down"], 10, "{record}");
}
