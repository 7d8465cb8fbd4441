//! Where a backend is, as it is written.

use std::path::PathBuf;
use std::str::FromStr;

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `tcp://host:port`, or `tls://host:port`.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// 1 to 65535.
        port: u16,
        /// Whether it speaks TLS.
        tls: bool,
    },
    /// `unix:/path`, a stream socket.
    Unix(PathBuf),
}

/// Why a text is not a backend, said to the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(&'static str);

impl Target {
    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // The longest path that fits sockaddr_un, with its NUL.
            return match path {
                _ if !path.starts_with('/') => Err(TargetError(
                    "a unix backend is an absolute path, such as unix:/run/service.sock",
                )),
                _ if path.len() > 107 => Err(TargetError("the path of a unix socket has at most 107 bytes")),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        let (authority, tls) = match (text.strip_prefix("tcp://"), text.strip_prefix("tls://")) {
            (Some(authority), _) => (authority, false),
            (None, Some(authority)) => (authority, true),
            (None, None) => {
                return Err(TargetError(
                    "a backend is tcp://host:port, tls://host:port or unix:/path",
                ));
            }
        };
        let Some((host, port)) = authority.rsplit_once(':') else {
            return Err(TargetError("the port is missing: tcp://host:port"));
        };
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(TargetError("the port is a number from 1 to 65535")),
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
            Some(_) => return Err(TargetError("this is not an IPv6 address")),
            None if host.contains(':') => {
                return Err(TargetError(
                    "an IPv6 address stands in brackets: tcp://[::1]:port",
                ));
            }
            None if crate::addr::normalize_host(host).is_none() => {
                return Err(TargetError("this is not a host name or an address"));
            }
            None => host,
        };
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
            tls,
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls() { "tls" } else { "tcp" };
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{scheme}://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_written_as_they_print() {
        for text in [
            "tcp://127.0.0.1:6667",
            "tcp://[::1]:53",
            "tcp://irc.example.com:6667",
            "tcp://db_1:1",
            "tls://irc.example.com:6697",
            "tls://[::1]:6697",
            "unix:/run/x.sock",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_backend_is_refused() {
        for text in [
            "",
            "127.0.0.1:1",
            "tcp://host",
            "tcp://host:0",
            "tcp://host:65536",
            "tcp://::1:53",
            "tcp://[x]:1",
            "tcp://:1",
            "unix:run/x",
            "udp://a:1",
            "tcp://a b:1",
            "tcp://user@host:1",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(107)).parse::<Target>().is_err());
    }
}
