//! Who may use the admin listener, and for what.

use std::hint::black_box;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;

use crate::addr::{is_loopback, normalize_host};
use crate::config::{self, Token};
use crate::files::regular;

/// More is no token.
const LONGEST_FILE: u64 = 4096;

/// Who may use the admin listener.
pub struct Access {
    token: Option<String>,
    hosts: Vec<String>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No `Host`, several, or one that is none.
    NoHost,
    /// A host that nobody has said to be this one: a page of somebody else may have had its name point here.
    OtherHost,
    /// No token, or a wrong one.
    NoToken,
    /// A page of another site asks for a change.
    OtherSite,
}

impl Access {
    /// Reads the token, where it stands in a file, unless that of another is to be kept.
    pub(crate) fn load(admin: &config::Admin, kept: Option<&Self>) -> io::Result<Self> {
        let token = match (kept, &admin.token) {
            (Some(kept), _) => kept.token.clone(),
            (None, None) => None,
            (None, Some(Token::Here(token))) => Some(token.clone()),
            (None, Some(Token::File(file))) => Some(read_token(file)?),
        };
        Ok(Self {
            token,
            hosts: admin.hosts.clone(),
        })
    }

    /// Checks that a request is meant for the listener at this address.
    pub(super) fn check_host(&self, head: &Parts, local: SocketAddr) -> Result<(), Denied> {
        let raw = only(&head.headers, &header::HOST).ok_or(Denied::NoHost)?;
        let raw = head.uri.authority().map_or(raw, |authority| authority.as_str());
        let host = normalize_host(raw).ok_or(Denied::NoHost)?;
        let ours = match address(&host) {
            Some(asked) => {
                let mut named = self.hosts.iter().filter_map(|host| address(host));
                is_loopback(asked) || asked == local.ip().to_canonical() || named.any(|named| named == asked)
            }
            None => host == "localhost" || self.hosts.contains(&host),
        };
        ours.then_some(()).ok_or(Denied::OtherHost)
    }

    /// Checks that a request shows the token, if there is one.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let shown = only(headers, &header::AUTHORIZATION)
            .and_then(|shown| shown.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, shown)| shown.trim_start());
        let right = shown.is_some_and(|shown| same(token.as_bytes(), shown.as_bytes()));
        right.then_some(()).ok_or(Denied::NoToken)
    }
}

/// Reads a token out of its file.
pub(crate) fn read_token(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = regular(file)
        .and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text))
        .and_then(|_| match Token::problem(text.trim_end()) {
            None => Ok(text.trim_end().to_owned()),
            Some(problem) => Err(io::Error::other(problem)),
        });
    read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// Checks that a request which changes something does not come from a page of another site. What is no browser sends neither header.
pub(super) fn check_site(head: &Parts) -> Result<(), Denied> {
    let headers = &head.headers;
    // Every port of a host is the same site: only the same origin will do.
    let fetched = HeaderName::from_static("sec-fetch-site");
    if headers.contains_key(&fetched) && !matches!(only(headers, &fetched), Some("same-origin" | "none")) {
        return Err(Denied::OtherSite);
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = only(headers, &header::ORIGIN).and_then(|origin| origin.split_once("://"));
        // Whether it came in the clear is not known here: something may end TLS in front.
        let host = only(headers, &header::HOST);
        if origin.map(|(_, authority)| authority) != host {
            return Err(Denied::OtherSite);
        }
    }
    Ok(())
}

impl Denied {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::OtherSite => StatusCode::FORBIDDEN,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NoHost => "exactly one valid Host header is needed",
            Self::OtherHost => "this is not a host of the admin listener: see `hosts` of [admin]",
            Self::NoToken => "the token of [admin] is needed: Authorization: Bearer …",
            Self::OtherSite => "a page of another site may not change anything here",
        }
    }
}

/// The address that a host is, if it is one: an IPv4 address has one more form, of IPv6.
fn address(host: &str) -> Option<IpAddr> {
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(address.to_canonical())
}

/// The value of a header that occurs once and is visible ASCII.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Compares in a time that tells nothing of where they differ; of the length it does.
fn same(token: &[u8], shown: &[u8]) -> bool {
    let differences = token
        .iter()
        .zip(shown)
        .fold(0, |found, (one, other)| black_box(found | (one ^ other)));
    token.len() == shown.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&str, &str)]) -> Parts {
        let mut builder = hyper::Request::builder().uri("/-/drain");
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn access(token: Option<&str>) -> Access {
        Access {
            token: token.map(str::to_owned),
            hosts: [
                "sealock.internal",
                "198.51.100.1",
                "[::ffff:198.51.100.2]",
                "[2001:db8::1]",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }

    #[test]
    fn only_our_own_hosts_are_answered() {
        let local = "192.0.2.1:9901".parse().unwrap();
        for (host, expected) in [
            ("localhost:9901", Ok(())),
            ("LOCALHOST", Ok(())),
            ("127.0.0.1:1", Ok(())),
            ("127.1.2.3", Ok(())),
            ("[::1]:9901", Ok(())),
            ("192.0.2.1:9901", Ok(())),
            ("sealock.internal.", Ok(())),
            ("198.51.100.1:9901", Ok(())),
            ("[::ffff:198.51.100.1]", Ok(())),
            ("198.51.100.2", Ok(())),
            ("[2001:DB8:0::1]:9901", Ok(())),
            ("[2001:db8::2]", Err(Denied::OtherHost)),
            ("198.51.100.3", Err(Denied::OtherHost)),
            ("192.0.2.2", Err(Denied::OtherHost)),
            ("sealock.internal.example.com", Err(Denied::OtherHost)),
            ("localhost.example.com", Err(Denied::OtherHost)),
            ("", Err(Denied::NoHost)),
            ("a b", Err(Denied::NoHost)),
        ] {
            let checked = access(None).check_host(&head(&[("host", host)]), local);
            assert_eq!(checked, expected, "{host}");
        }
        for hosts in [&[][..], &[("host", "localhost"), ("host", "localhost")]] {
            let checked = access(None).check_host(&head(hosts), local);
            assert_eq!(checked, Err(Denied::NoHost));
        }
    }

    #[test]
    fn the_token_is_compared_whole() {
        let token = "0123456789abcdef";
        for (shown, right) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer  0123456789abcdef", true),
            ("Bearer 0123456789abcdeg", false),
            ("Bearer 1123456789abcdef", false),
            ("Bearer 0123456789abcde", false),
            ("Bearer 0123456789abcdef0", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic 0123456789abcdef", false),
            ("0123456789abcdef", false),
        ] {
            let headers = head(&[("authorization", shown)]).headers;
            assert_eq!(
                access(Some(token)).check_token(&headers).is_ok(),
                right,
                "{shown}"
            );
        }
        let twice = ("authorization", "Bearer 0123456789abcdef");
        for headers in [&[][..], &[twice, twice]] {
            let checked = access(Some(token)).check_token(&head(headers).headers);
            assert_eq!(checked, Err(Denied::NoToken));
            assert_eq!(access(None).check_token(&head(headers).headers), Ok(()));
        }
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let host = ("host", "localhost:9901");
        let fetched = "sec-fetch-site";
        for (lines, expected) in [
            (&[][..], true),
            (&[("origin", "http://localhost:9901")], true),
            (&[("origin", "https://localhost:9901")], true),
            (&[(fetched, "same-origin")], true),
            (&[(fetched, "none")], true),
            (
                &[("origin", "http://localhost:9901"), (fetched, "cross-site")],
                false,
            ),
            (&[(fetched, "same-site")], false),
            (&[(fetched, "cross-site")], false),
            (&[(fetched, "same-origin"), (fetched, "same-origin")], false),
            (&[("origin", "http://localhost:3000")], false),
            (&[("origin", "http://localhost")], false),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "null")], false),
            (
                &[
                    ("origin", "http://localhost:9901"),
                    ("origin", "http://localhost:9901"),
                ],
                false,
            ),
        ] {
            let all: Vec<_> = lines.iter().copied().chain([host]).collect();
            assert_eq!(check_site(&head(&all)).is_ok(), expected, "{lines:?}");
        }
    }
}
