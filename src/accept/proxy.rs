//! Reads the PROXY header that a proxy in front puts before everything else: whom it speaks for.
//!
//! Both versions, as in the specification "The PROXY protocol, Versions 1 & 2" of HAProxy. Not a byte behind the header is taken.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of a line of version 1, its end included (§2.1).
const LONGEST_V1: usize = 107;
/// Version 2, command LOCAL: the proxy speaks for itself.
const LOCAL: u8 = 0x20;
/// Before the addresses and values of version 2, whose length is in the last two bytes.
const START_V2: usize = 16;
/// Of addresses and values: more than any proxy is known to send.
const LONGEST_V2: usize = 4096;

/// The ends of a connection that a proxy speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Who connected to the proxy.
    pub client: SocketAddr,
    /// Which address of the proxy that was.
    pub destination: SocketAddr,
}

/// Why there is no PROXY header.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The connection ended without a byte: somebody only looked whether we are there.
    #[error("nothing was sent")]
    Left,
    /// The connection was lost.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// It took too long.
    #[error("no PROXY header within {}", crate::units::show_duration(*.0))]
    Late(Duration),
    /// Something else stands there.
    #[error("{0}")]
    Bad(&'static str),
}

/// Reads the header within `limit` from `begin` on. `None`: the proxy speaks for itself, as it does to find out whether we are well.
pub async fn read_proxy(
    tcp: &mut TcpStream,
    begin: Instant,
    limit: Duration,
) -> Result<Option<Proxied>, ProxyError> {
    timeout_at(begin + limit, read(tcp))
        .await
        .unwrap_or(Err(ProxyError::Late(limit)))
}

async fn read(tcp: &mut TcpStream) -> Result<Option<Proxied>, ProxyError> {
    let mut head = Vec::new();
    let mut next = [0; 256];
    loop {
        // What follows the header belongs to others: it is looked at first, and then taken only as far as the header goes.
        let ready = tcp.peek(&mut next).await?;
        if ready == 0 {
            return Err(match head.len() {
                0 => ProxyError::Left,
                _ => ProxyError::Bad("the PROXY header is cut short"),
            });
        }
        let (mut taken, mut whole) = (0, false);
        while taken < ready && !whole {
            head.push(next[taken]);
            taken += 1;
            whole = is_whole(&head)?;
        }
        tcp.read_exact(&mut next[..taken]).await?;
        if whole {
            return parse(&head);
        }
    }
}

/// True when this is all of a header; an error when it cannot become one.
fn is_whole(head: &[u8]) -> Result<bool, ProxyError> {
    let starts = |with: &[u8]| {
        let len = head.len().min(with.len());
        head[..len] == with[..len]
    };
    if starts(V1) {
        return match head.ends_with(b"\n") {
            false if head.len() == LONGEST_V1 => Err(ProxyError::Bad("the PROXY line is too long")),
            ended => Ok(ended),
        };
    }
    if !starts(V2) {
        return Err(ProxyError::Bad("not a PROXY header"));
    }
    let Some(&[high, low]) = head.get(START_V2 - 2..START_V2) else {
        return Ok(false);
    };
    match usize::from(u16::from_be_bytes([high, low])) {
        len if len > LONGEST_V2 => Err(ProxyError::Bad("the PROXY header is too long")),
        len => Ok(head.len() == START_V2 + len),
    }
}

fn parse(head: &[u8]) -> Result<Option<Proxied>, ProxyError> {
    // LOCAL: whatever follows must be ignored, families that nobody knows yet included (§2.2).
    if head.starts_with(V2) && head.get(V2.len()) == Some(&LOCAL) {
        return Ok(None);
    }
    // Whatever is said besides the addresses is nobody's business here.
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (header, used) =
        ProxyHeader::parse(head, config).map_err(|_| ProxyError::Bad("the PROXY header is malformed"))?;
    if used != head.len() {
        return Err(ProxyError::Bad("the PROXY header is malformed"));
    }
    match header.proxied_address() {
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(Proxied {
            client: address.source,
            destination: address.destination,
        })),
        Some(_) => Err(ProxyError::Bad("the PROXY header is of a datagram")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, Tlv};

    /// What comes of these bytes when they arrive one by one, and how many of them were taken.
    fn feed(bytes: &[u8]) -> (Result<Option<Proxied>, String>, usize) {
        for len in 1..=bytes.len() {
            match is_whole(&bytes[..len]) {
                Ok(false) => {}
                Ok(true) => return (parse(&bytes[..len]).map_err(|error| error.to_string()), len),
                Err(error) => return (Err(error.to_string()), len),
            }
        }
        (Err("more".into()), bytes.len())
    }

    fn proxied(client: &str, destination: &str) -> Proxied {
        Proxied {
            client: client.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn headers_of_both_versions_are_taken_and_nothing_behind_them() {
        let four = proxied("192.0.2.1:56324", "192.0.2.2:443");
        let six = proxied("[2001:db8::1]:1", "[2001:db8::2]:443");
        let v2 = |one: Proxied, tlvs: &[Tlv<'_>]| {
            let address = ProxiedAddress::stream(one.client, one.destination);
            let mut bytes = Vec::new();
            let header = ProxyHeader::with_tlvs(Some(address), tlvs.iter().cloned());
            header.encode_v2(&mut bytes).unwrap();
            bytes
        };
        let mut local = Vec::new();
        ProxyHeader::with_local().encode_v2(&mut local).unwrap();
        let of_unix = [V2, &[0x21, 0x31, 0, 216], &[b'/'; 216]].concat();
        for (head, result) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(),
                Some(four),
            ),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n".to_vec(),
                Some(six),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\n".to_vec(),
                None,
            ),
            (v2(four, &[]), Some(four)),
            (
                v2(six, &[Tlv::Authority("example.com".into()), Tlv::Noop(3000)]),
                Some(six),
            ),
            (local, None),
            (of_unix, None),
            ([V2, &[0x20, 0xf1, 0, 3], &[1; 3]].concat(), None),
            ([V2, &[0x20, 0x11, 0, 12], &[1; 12]].concat(), None),
        ] {
            let behind = [&head[..], b"PROXY GET /"].concat();
            assert_eq!(feed(&behind), (Ok(result), head.len()), "{head:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_noticed_at_once() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
        let huge = [V2, &[0x21, 0x11, 0x10, 0x01]].concat();
        let short = [V2, &[0x21, 0x11, 0, 4, 1, 2, 3, 4]].concat();
        let datagram = [V2, &[0x21, 0x12, 0, 12], &[1; 12]].concat();
        let version = [V2, &[0x31, 0x11, 0, 12], &[1; 12]].concat();
        for (bytes, says, taken) in [
            (&b"GET / HTTP/1.1\r\n"[..], "not a PROXY header", 1),
            (b"\x16\x03\x01", "not a PROXY header", 1),
            (b"PROXYS ", "not a PROXY header", 6),
            (b"\r\n\r\n\0\r\nQUIT\r", "not a PROXY header", 12),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 99999\r\n", "malformed", 44),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n", "malformed", 41),
            (b"PROXY TCP4 localhost 192.0.2.2 56324 443\r\n", "malformed", 42),
            (b"PROXY \r\n", "malformed", 8),
            (&long, "too long", 107),
            (&huge, "too long", 16),
            (&short, "malformed", 20),
            (&datagram, "of a datagram", 28),
            (&version, "malformed", 28),
            (b"PROXY TCP4 192.0.2.1", "more", 20),
        ] {
            let (result, len) = feed(bytes);
            assert!(
                result.as_ref().is_err_and(|text| text.contains(says)),
                "{bytes:?}: {result:?}"
            );
            assert_eq!(len, taken, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_there_is_an_end(
            version in 0..3_usize, rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let start = [&b""[..], V1, V2][version];
            let bytes = [start, &rest[..]].concat();
            let (_, taken) = feed(&bytes);
            prop_assert!(taken <= START_V2 + LONGEST_V2);
        }
    }
}
