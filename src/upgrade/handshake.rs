//! The checks of the opening handshake: pure (RFC 6455 §4.2.1, RFC 9110 §7.8).

use std::collections::BTreeSet;

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Version};

use super::{AbsentOrigin, Policy};
use crate::addr::normalize_host;
use crate::close::{BadRequest, CloseReason};

/// A request head, as far as the handshake looks at it.
pub(super) type Head = hyper::http::request::Parts;

/// The host a request is for: RFC 9112 §3.2 asks for exactly one `Host`, and for a 400 otherwise.
pub(super) fn host(head: &Head) -> Result<(String, &str), CloseReason> {
    let bad = CloseReason::BadRequest(BadRequest::Host);
    let raw = only(&head.headers, &header::HOST).ok_or(bad)?.ok_or(bad)?;
    // What is no host is refused even where an absolute request target overrules it (RFC 9112 §3.2.2).
    let host = normalize_host(raw).ok_or(bad)?;
    match head.uri.authority() {
        None => Ok((host, raw)),
        Some(authority) => Ok((normalize_host(authority.as_str()).ok_or(bad)?, authority.as_str())),
    }
}

/// True when the request asks for a WebSocket at all; otherwise it is a visit with a browser or a health check.
pub(super) fn asks_for_websocket(head: &Head) -> bool {
    has_token(&head.headers, &header::UPGRADE, "websocket")
}

/// Checks everything that does not depend on the route, and gives the key.
pub(super) fn check(head: &Head) -> Result<&str, CloseReason> {
    let bad = CloseReason::BadRequest;
    if head.method != Method::GET {
        return Err(CloseReason::BadMethod);
    }
    if !asks_for_websocket(head) {
        return Err(CloseReason::NotAnUpgrade);
    }
    if head.version != Version::HTTP_11 {
        return Err(bad(BadRequest::HttpVersion));
    }
    if !has_token(&head.headers, &header::CONNECTION, "upgrade") {
        return Err(bad(BadRequest::Connection));
    }
    let length = head.headers.get(header::CONTENT_LENGTH);
    if head.headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
        return Err(bad(BadRequest::Body));
    }
    if only(&head.headers, &header::SEC_WEBSOCKET_VERSION) != Some(Some("13")) {
        return Err(CloseReason::BadVersion);
    }
    match only(&head.headers, &header::SEC_WEBSOCKET_KEY) {
        Some(Some(key)) if is_key(key) => Ok(key),
        _ => Err(bad(BadRequest::Key)),
    }
}

/// Checks the page that asks. `host` is the request's host as written.
pub(super) fn check_origin(head: &Head, policy: &Policy, host: &str, tls: bool) -> Result<(), CloseReason> {
    let origin = only(&head.headers, &header::ORIGIN).ok_or(CloseReason::BadRequest(BadRequest::Origin))?;
    let allowed = match origin {
        None if head.headers.contains_key(header::ORIGIN) => false,
        None => policy.absent_origin == AbsentOrigin::Allow,
        Some(origin) => policy.origins.allow(origin, host, tls),
    };
    if allowed {
        Ok(())
    } else {
        Err(CloseReason::OriginRefused)
    }
}

/// Chooses a subprotocol: the first of the route's that the client offers (RFC 6455 §4.2.2).
pub(super) fn choose_subprotocol<'a>(
    head: &Head,
    offered: &'a [String],
) -> Result<Option<&'a str>, CloseReason> {
    let bad = CloseReason::BadRequest(BadRequest::Subprotocol);
    // A set: a head may hold thousands of names.
    let mut asked = BTreeSet::new();
    for line in head.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for item in line.to_str().map_err(|_| bad)?.split(',') {
            let item = item.trim_matches([' ', '\t']);
            if !is_token(item) || !asked.insert(item) {
                return Err(bad);
            }
        }
    }
    Ok(offered
        .iter()
        .map(String::as_str)
        .find(|name| asked.contains(name)))
}

/// The single value of a header: `None` when it occurs several times, `Some(None)` when it is missing or not visible ASCII.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => Some(value.to_str().ok()),
        (Some(_), Some(_)) => None,
    }
}

/// True when a list header has this token, in any case, on any of its lines.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|line| {
        line.to_str().is_ok_and(|line| {
            line.split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(token))
        })
    })
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// Sixteen bytes in base64: 22 characters, the last of which carries four bits, and two of padding.
fn is_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/';
    bytes.len() == 24
        && bytes.ends_with(b"==")
        && bytes[..22].iter().all(digit)
        && b"AQgw".contains(&bytes[21])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upgrade::{OnDialFailure, Origins};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head(lines: &[(&str, &str)]) -> Head {
        let mut builder = hyper::Request::builder().uri("/x");
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn good() -> Vec<(&'static str, &'static str)> {
        vec![
            ("host", "a.com"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ]
    }

    /// The good request with one header replaced (or, with no values, left out).
    fn with(name: &'static str, values: &[&'static str]) -> Head {
        let mut lines: Vec<_> = good().into_iter().filter(|(known, _)| *known != name).collect();
        lines.extend(values.iter().map(|value| (name, *value)));
        head(&lines)
    }

    #[test]
    fn a_good_request_passes_in_all_its_spellings() {
        assert_eq!(check(&head(&good())), Ok(KEY));
        for head in [
            with("connection", &["keep-alive, Upgrade"]),
            with("connection", &["keep-alive", "UPGRADE"]),
            with("connection", &[" , upgrade"]),
            with("upgrade", &["WebSocket"]),
            with("upgrade", &["h2c, websocket"]),
            with("content-length", &["0"]),
        ] {
            assert_eq!(check(&head), Ok(KEY), "{:?}", head.headers);
        }
    }

    #[test]
    fn each_flaw_has_its_answer() {
        let bad = CloseReason::BadRequest;
        let rows = [
            (with("upgrade", &[]), CloseReason::NotAnUpgrade),
            (with("upgrade", &["h2c"]), CloseReason::NotAnUpgrade),
            (with("connection", &[]), bad(BadRequest::Connection)),
            (with("connection", &["keep-alive"]), bad(BadRequest::Connection)),
            (with("connection", &["upgraded"]), bad(BadRequest::Connection)),
            (with("sec-websocket-version", &[]), CloseReason::BadVersion),
            (with("sec-websocket-version", &["8"]), CloseReason::BadVersion),
            (with("sec-websocket-version", &["13, 8"]), CloseReason::BadVersion),
            (
                with("sec-websocket-version", &["13", "13"]),
                CloseReason::BadVersion,
            ),
            (with("sec-websocket-key", &[]), bad(BadRequest::Key)),
            (
                with("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"]),
                bad(BadRequest::Key),
            ),
            (
                with("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZ===="]),
                bad(BadRequest::Key),
            ),
            (
                with("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZR=="]),
                bad(BadRequest::Key),
            ),
            (with("sec-websocket-key", &[KEY, KEY]), bad(BadRequest::Key)),
            (with("content-length", &["3"]), bad(BadRequest::Body)),
            (with("transfer-encoding", &["chunked"]), bad(BadRequest::Body)),
        ];
        for (head, reason) in rows {
            assert_eq!(check(&head), Err(reason), "{:?}", head.headers);
        }
        let mut post = head(&good());
        post.method = Method::POST;
        assert_eq!(check(&post), Err(CloseReason::BadMethod));
        let mut old = head(&good());
        old.version = Version::HTTP_10;
        assert_eq!(check(&old), Err(bad(BadRequest::HttpVersion)));
    }

    #[test]
    fn there_is_one_host() {
        let refused = Err(CloseReason::BadRequest(BadRequest::Host));
        assert_eq!(
            host(&with("host", &["A.com:8443"])),
            Ok(("a.com".to_owned(), "A.com:8443"))
        );
        for values in [&[][..], &["a.com", "a.com"], &["a com"], &[""]] {
            assert_eq!(host(&with("host", values)), refused, "{values:?}");
        }
        let absolute = |values| {
            let mut head = with("host", values);
            head.uri = "http://b.com/x".parse().unwrap();
            head
        };
        assert_eq!(host(&absolute(&["a.com"])), Ok(("b.com".to_owned(), "b.com")));
        assert_eq!(host(&absolute(&["a com"])), refused);
    }

    #[test]
    fn origins_are_checked_and_their_absence_is_a_setting() {
        let policy = |absent_origin| Policy {
            origins: Origins::Same,
            absent_origin,
            subprotocols: vec![],
            on_dial_failure: OnDialFailure::Status,
        };
        let check = |values: &[&'static str], absent| {
            check_origin(&with("origin", values), &policy(absent), "a.com", true)
        };
        assert_eq!(check(&["https://a.com"], AbsentOrigin::Refuse), Ok(()));
        assert_eq!(check(&[], AbsentOrigin::Allow), Ok(()));
        assert_eq!(check(&[], AbsentOrigin::Refuse), Err(CloseReason::OriginRefused));
        for value in ["https://b.com", "null", "", "\u{e9}"] {
            assert_eq!(
                check(&[value], AbsentOrigin::Allow),
                Err(CloseReason::OriginRefused),
                "{value}"
            );
        }
        let twice = check(&["https://a.com", "https://a.com"], AbsentOrigin::Allow);
        assert_eq!(twice, Err(CloseReason::BadRequest(BadRequest::Origin)));
    }

    #[test]
    fn the_routes_order_decides_the_subprotocol() {
        let offered = ["b".to_owned(), "a".to_owned()];
        let choose = |values: &[&'static str]| {
            choose_subprotocol(&with("sec-websocket-protocol", values), &offered)
                .map(|name| name.map(str::to_owned))
        };
        assert_eq!(choose(&[]), Ok(None));
        assert_eq!(choose(&["a, b"]), Ok(Some("b".into())));
        assert_eq!(choose(&["x", "a"]), Ok(Some("a".into())));
        assert_eq!(choose(&["x"]), Ok(None));
        for values in [&["a,,b"][..], &["a b"], &["a", "a"], &[""], &["a;b"]] {
            assert_eq!(
                choose(values),
                Err(CloseReason::BadRequest(BadRequest::Subprotocol)),
                "{values:?}"
            );
        }
    }
}
