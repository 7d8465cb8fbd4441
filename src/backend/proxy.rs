//! Writes the PROXY header that tells a backend whom a connection is for.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};

use super::Caller;

/// Which header a backend gets before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary, with the host that was asked for and the number of the connection in the log.
    V2,
}

impl ProxyVersion {
    /// The header of a session, or that of a check, which is for nobody.
    pub(super) fn header(self, caller: Option<&Caller<'_>>) -> io::Result<Vec<u8>> {
        let address = caller.map(|caller| {
            let (source, destination) = same_family(caller.client, caller.destination);
            ProxiedAddress::stream(source, destination)
        });
        let mut bytes = Vec::new();
        let written = match self {
            Self::V1 => ProxyHeader::with_tlvs(address, []).encode_v1(&mut bytes),
            Self::V2 => {
                let id = caller.map(|caller| caller.id.to_string()).unwrap_or_default();
                let tlvs = caller.into_iter().flat_map(|caller| {
                    [
                        Tlv::Authority(caller.host.into()),
                        Tlv::UniqueId(id.as_bytes().into()),
                    ]
                });
                ProxyHeader::with_tlvs(address, tlvs).encode_v2(&mut bytes)
            }
        };
        written.map_err(io::Error::other)?;
        Ok(bytes)
    }
}

/// The header has room for one family. Where the two differ, both are written as IPv6.
fn same_family(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    let [one, other] =
        [one, other].map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    if one.is_ipv4() == other.is_ipv4() {
        return (one, other);
    }
    (mapped(one), mapped(other))
}

fn mapped(address: SocketAddr) -> SocketAddr {
    let ip: Ipv6Addr = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    SocketAddr::new(ip.into(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy_header::ParseConfig;

    fn caller<'a>(client: &str, destination: &str) -> Caller<'a> {
        Caller {
            client: client.parse().unwrap(),
            destination: destination.parse().unwrap(),
            host: "irc.example.com",
            id: 42,
        }
    }

    #[test]
    fn a_line_tells_both_addresses_in_one_family() {
        for (client, destination, line) in [
            ("192.0.2.1:5", "192.0.2.2:443", "TCP4 192.0.2.1 192.0.2.2 5 443"),
            ("[2001:db8::1]:5", "[::1]:443", "TCP6 2001:db8::1 ::1 5 443"),
            (
                "[::ffff:192.0.2.1]:5",
                "192.0.2.2:443",
                "TCP4 192.0.2.1 192.0.2.2 5 443",
            ),
            // From a header that tells no port, and of another family than the listener.
            (
                "[2001:db8::1]:0",
                "192.0.2.2:443",
                "TCP6 2001:db8::1 ::ffff:192.0.2.2 0 443",
            ),
        ] {
            let header = ProxyVersion::V1
                .header(Some(&caller(client, destination)))
                .unwrap();
            assert_eq!(header, format!("PROXY {line}\r\n").as_bytes());
        }
        assert_eq!(ProxyVersion::V1.header(None).unwrap(), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn the_second_version_tells_host_and_number_too() {
        let caller = caller("192.0.2.1:5", "192.0.2.2:443");
        let bytes = ProxyVersion::V2.header(Some(&caller)).unwrap();
        let (header, used) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        assert_eq!(used, bytes.len());
        let address = header.proxied_address().unwrap();
        assert_eq!(
            (address.source, address.destination),
            (caller.client, caller.destination)
        );
        assert_eq!(header.authority(), Some("irc.example.com"));
        assert_eq!(header.unique_id(), Some(&b"42"[..]));
        // LOCAL, without an address (§2.2).
        assert_eq!(ProxyVersion::V2.header(None).unwrap()[12..], [0x20, 0, 0, 0]);
    }
}
