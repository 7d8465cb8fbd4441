//! Which pages may open a route: the origin check (RFC 6454 §7, RFC 6455 §10.2).

use std::str::FromStr;

use crate::addr::normalize_host;

/// Scheme, host and port of a page, all three compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

/// Why a text is not an origin, said to the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OriginError(&'static str);

/// The origins that a route accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Pages served from the same host and port as the request itself.
    Same,
    /// These pages.
    Listed(Vec<Origin>),
    /// Every page of every site. Must be written.
    Any,
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest, default) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest, 443)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest, 80)
        } else {
            return Err(OriginError("an origin starts with https:// or http://"));
        };
        if rest.contains(['/', '?', '#', '@']) {
            return Err(OriginError("an origin has no path: scheme, host and port only"));
        }
        let host = normalize_host(rest).ok_or(OriginError("this origin has no valid host"))?;
        let port = port_of(rest).unwrap_or(default);
        Ok(Self { scheme, host, port })
    }
}

fn port_of(authority: &str) -> Option<u16> {
    let behind_host = authority.rfind(']').map_or(authority, |at| &authority[at..]);
    behind_host
        .split_once(':')
        .and_then(|(_, port)| port.parse().ok())
}

impl Origins {
    /// Whether a page of this origin may connect. `host` is the request's `Host` header, `tls` tells whether sealock itself ended
    /// TLS: without it, a proxy in front may have, so the scheme of a same-origin page cannot be known.
    pub fn allow(&self, origin: &str, host: &str, tls: bool) -> bool {
        let Ok(origin) = origin.parse::<Origin>() else {
            // "null", extension schemes, nonsense: only a route that takes everything takes them.
            return *self == Self::Any;
        };
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.contains(&origin),
            Self::Same => {
                let default = if origin.scheme == Scheme::Https { 443 } else { 80 };
                let same_scheme = !tls || origin.scheme == Scheme::Https;
                let port = port_of(host).unwrap_or(default);
                same_scheme && normalize_host(host).as_ref() == Some(&origin.host) && port == origin.port
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_origin_compares_scheme_host_and_port() {
        let rows = [
            ("https://a.com", "a.com", true, true),
            ("https://a.com", "a.com:443", true, true),
            ("https://A.com", "a.com", true, true),
            ("https://a.com:8443", "a.com:8443", true, true),
            ("https://[::1]:8443", "[::1]:8443", true, true),
            ("https://a.com:8443", "a.com", true, false),
            ("https://a.com", "a.com:8443", true, false),
            ("http://a.com", "a.com", true, false),
            ("http://a.com", "a.com", false, true),
            ("https://a.com", "a.com", false, true),
            ("https://b.a.com", "a.com", true, false),
            ("https://a.com.evil.org", "a.com", true, false),
            ("https://evil-a.com", "a.com", true, false),
            ("null", "a.com", true, false),
            ("https://a.com/", "a.com", true, false),
            ("https://a.com@b.com", "b.com", true, false),
            ("moz-extension://a.com", "a.com", true, false),
        ];
        for (origin, host, tls, allowed) in rows {
            assert_eq!(
                Origins::Same.allow(origin, host, tls),
                allowed,
                "{origin} {host} {tls}"
            );
        }
    }

    #[test]
    fn a_list_is_exact_and_a_star_takes_everything() {
        let listed = Origins::Listed(vec!["https://app.example.com".parse().unwrap()]);
        assert!(listed.allow("https://app.example.com", "x", true));
        assert!(listed.allow("https://app.example.com:443", "x", true));
        for origin in [
            "http://app.example.com",
            "https://example.com",
            "https://x.app.example.com",
            "null",
            "",
            "https://",
        ] {
            assert!(!listed.allow(origin, "app.example.com", true), "{origin}");
        }
        assert!(Origins::Any.allow("null", "x", true));
    }
}
