//! Host names as they stand in headers and in the configuration, networks, and what every TCP socket is set to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};

/// A peer that vanished without a word is noticed after this time without traffic, plus three probes.
const KEEPALIVE: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Sets what every connection needs: no delay (sealock batches by itself) and keep-alive. What a listener accepts inherits it.
/// `address` is the peer's, or the listener's own.
pub fn tune(socket: &impl AsFd, address: IpAddr) -> io::Result<()> {
    if is_loopback(address) {
        unpace(socket);
    }
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

/// True for the addresses of this machine's loopback interface.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Does without pacing, for a connection on loopback. There is no network that could be congested; but where the system's choice is an
/// algorithm that paces what it sends, as BBR does, each 64 KiB would wait for a timer of its own. Reno is in every kernel, and
/// everybody may choose it (tcp(7)); where it cannot be chosen, nothing is lost but time.
pub fn unpace(socket: &impl AsFd) {
    drop(SockRef::from(socket).set_tcp_congestion(b"reno"));
}

/// Some networks, such as those of proxies that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// All of these.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// True when an address lies in one of them. An IPv4 address is one, however it is written.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// How much of an address says who somebody is: so many bits. Who has an IPv6 network has all of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Of an IPv4 address, 32 at most.
    pub v4: u8,
    /// Of an IPv6 address, 128 at most.
    pub v6: u8,
}

impl Prefix {
    /// The first address of the network that an address is in. An IPv4 address is one, however it is written.
    pub fn of(self, address: IpAddr) -> IpAddr {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { self.v4 } else { self.v6 };
        IpNet::new(address, bits).map_or(address, |network| network.network())
    }
}

/// Between whom a connection is.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Who has connected, to us or to a proxy that told so before anything else.
    pub source: SocketAddr,
    /// The address that it has connected to.
    pub destination: SocketAddr,
    /// Whom the request comes from: the source, unless that is a proxy that said more in it.
    pub client: SocketAddr,
}

impl Ends {
    /// Of a connection that has said nothing else yet.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination,
            client: source,
        }
    }
}

/// An address for logs; port 0 means that the port is not known.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub SocketAddr);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.port() {
            0 => self.0.ip().fmt(f),
            _ => self.0.fmt(f),
        }
    }
}

/// The host of a `Host` header or an authority, lower-case, without port and trailing dot; `None` when it is not a host.
pub fn normalize_host(host: &str) -> Option<String> {
    let bare = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            check_port(port)?;
            // In its one canonical form (RFC 5952).
            format!("[{address}]")
        }
        None => {
            let (name, port) = host.find(':').map_or((host, ""), |at| host.split_at(at));
            check_port(port)?;
            let name = name.strip_suffix('.').unwrap_or(name);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let whole = name.len() <= 253 && !name.split('.').any(str::is_empty);
            if !whole || !name.bytes().all(fits) {
                return None;
            }
            name.to_owned()
        }
    };
    Some(bare.to_ascii_lowercase())
}

fn check_port(port: &str) -> Option<()> {
    let Some(digits) = port.strip_prefix(':') else {
        return port.is_empty().then_some(());
    };
    // RFC 3986 §3.2.3 lets the port be empty.
    (digits.is_empty() || (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()))
        .then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_case_port_and_trailing_dot() {
        for (header, host) in [
            ("Example.COM", "example.com"),
            ("example.com:8443", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:", "example.com"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:8443", "[::1]"),
            ("[0:0::0:1]", "[::1]"),
        ] {
            assert_eq!(normalize_host(header).as_deref(), Some(host), "{header}");
        }
        for header in [
            "",
            ":1",
            "a b",
            "a/b",
            "user@host",
            "[::1",
            "[zz]",
            "a:b",
            "a:70000",
            "[::1]x",
            "a:1:2",
            "ü.de",
            ".",
            ".a",
            "a..b",
            "a..",
        ] {
            assert_eq!(normalize_host(header), None, "{header}");
        }
    }
}
