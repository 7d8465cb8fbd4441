//! A real Modbus/TCP server, of the Python library pyModbusTCP, behind `framing = "modbus"`.

use crate::support::{BINARY, Client, Service, script};

async fn server() -> Service {
    Service::start("listening", |port, _| script("modbus.py", port)).await
}

/// A message for unit 1, request or response: its number, protocol 0, the length of what follows, the unit, the rest
/// (MODBUS Messaging on TCP/IP V1.0b §3.1.3).
fn message(transaction: u16, pdu: &[u8]) -> Vec<u8> {
    let [high, low] = transaction.to_be_bytes();
    let mut bytes = vec![high, low, 0, 0, 0, 1 + pdu.len() as u8, 1];
    bytes.extend(pdu);
    bytes
}

#[tokio::test]
async fn registers_are_read_and_written() {
    let server = server().await;
    let mut sealock = server.behind("framing = \"modbus\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    for (number, (request, response)) in [
        // Read holding registers 16 to 18.
        (&[3, 0, 16, 0, 3][..], &[3, 6, 0, 16, 0, 17, 0, 18][..]),
        // Write two from 17 on, and read them with their neighbours.
        (&[16, 0, 17, 0, 2, 4, 0xCA, 0xFE, 0x0D, 0x0A], &[16, 0, 17, 0, 2]),
        (&[3, 0, 16, 0, 4], &[3, 8, 0, 16, 0xCA, 0xFE, 0x0D, 0x0A, 0, 19]),
        // Exceptions: a register beyond the last, a function that is none.
        (&[3, 0xFF, 0xFF, 0, 2], &[0x83, 2]),
        (&[0x41, 0], &[0xC1, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        // Bytes like those of a length field, or of a line's end, mean nothing in the number.
        let number = 0x0D0A + number as u16;
        client.send(BINARY, &message(number, request)).await;
        client.expect(BINARY, &message(number, response)).await;
    }
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let record = sealock.ended("client_closed").await;
    assert_eq!(
        (&record["messages_up"], &record["messages_down"]),
        (&5.into(), &5.into())
    );
}

#[tokio::test]
async fn requests_on_their_way_at_once_get_their_own_answers() {
    let server = server().await;
    let sealock = server.behind("framing = \"modbus\"").await;
    let mut client = Client::tls(sealock.tls, "/").await;
    // 125 registers are the most that one response can hold.
    let requests: Vec<Vec<u8>> = (0..1000)
        .map(|number| message(number, &[3, 0, (number % 75) as u8, 0, 125]))
        .collect();
    client.send_all(BINARY, &requests).await;
    for number in 0..1000_u16 {
        let mut pdu = vec![3, 250];
        pdu.extend((0..125_u16).flat_map(|n| (number % 75 + n).to_be_bytes()));
        client.expect(BINARY, &message(number, &pdu)).await;
    }
}

#[tokio::test]
async fn a_request_whose_length_is_a_lie_does_not_reach_the_server() {
    let server = server().await;
    let mut sealock = server.behind("framing = \"modbus\"").await;
    let write = message(1, &[6, 0, 5, 0xBA, 0xAD]);
    // A second request behind the first; one byte less than announced; half a header.
    for wrong in [
        &[&write[..], &write].concat(),
        &write[..write.len() - 1],
        &write[..5],
    ] {
        let mut client = Client::tls(sealock.tls, "/").await;
        client.send(BINARY, wrong).await;
        client
            .expect_refusal(1002, "message does not match its length header")
            .await;
        sealock.ended("header_mismatch").await;
    }
    let mut client = Client::tls(sealock.tls, "/").await;
    client.send(BINARY, &message(2, &[3, 0, 5, 0, 1])).await;
    client.expect(BINARY, &message(2, &[3, 2, 0, 5])).await;
}
