//! Whom a request comes from when proxies stand in between: `X-Forwarded-For` and `Forwarded` (RFC 7239). Pure.
//!
//! Each proxy appends the address that it was called from. Everything before what a trusted proxy has written may be made up, so the
//! list is read from its end: an address is believed while all behind it are trusted.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::addr::Networks;

/// Whose word is taken for whom a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Proxies that are trusted.
    pub from: Networks,
    /// Where they say it. Never both: a proxy that writes one of them passes on what its client has written in the other.
    pub header: ForwardedHeader,
}

/// A header that names clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 192.0.2.1, 10.0.0.1`
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"`
    Forwarded,
}

impl ForwardedHeader {
    /// The name, as hyper compares it.
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The elements of a line, one of each proxy. `None`: of what is quoted there, the end cannot be told, and so nothing is believed.
    fn elements(self, line: &[u8]) -> Option<Vec<&[u8]>> {
        match self {
            Self::XForwardedFor => Some(line.split(|byte| *byte == b',').collect()),
            Self::Forwarded => split(line, b','),
        }
    }

    /// Only what is looked at has to be text: bytes that are none, beside it, must not hide it.
    fn address(self, element: &[u8]) -> Option<SocketAddr> {
        match self {
            Self::XForwardedFor => address(std::str::from_utf8(element).ok()?.trim_ascii()),
            Self::Forwarded => {
                let pairs = split(element, b';')?;
                let mut nodes = pairs.into_iter().filter_map(|pair| {
                    let at = pair.iter().position(|byte| *byte == b'=')?;
                    let name = pair[..at].trim_ascii();
                    name.eq_ignore_ascii_case(b"for").then(|| &pair[at + 1..])
                });
                let node = nodes.next()?;
                // Two of them are no address: none is the right one.
                match nodes.next() {
                    None => {
                        let node = unquoted(std::str::from_utf8(node).ok()?.trim_ascii());
                        address(without_hidden_port(&node))
                    }
                    Some(_) => None,
                }
            }
        }
    }
}

/// Splits where a separator stands outside of quotes. `None` where a quote does not end, or stands where none may: what somebody has
/// written before may have shifted what is quoted, and then what comes from one client would look like the word of a proxy.
fn split(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        if byte == b'"' {
            if !text[..at].trim_ascii_end().ends_with(b"=") {
                return None;
            }
            at += 1 + quoted(&text[at + 1..])?;
            let next = text[at..].trim_ascii_start().first();
            if !matches!(next, None | Some(b',' | b';')) {
                return None;
            }
            continue;
        }
        if byte == separator {
            parts.push(&text[begin..at]);
            begin = at + 1;
        }
        at += 1;
    }
    parts.push(&text[begin..]);
    Some(parts)
}

/// The length of what is quoted, with the quote that ends it (RFC 9110 §5.6.4).
fn quoted(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    Some(end + 1)
}

/// A value without its quotes, if it has any.
fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.into();
    };
    let mut escaped = false;
    let kept = inner.chars().filter(|char| {
        escaped = *char == '\\' && !escaped;
        !escaped
    });
    kept.collect::<String>().into()
}

impl Forwarding {
    /// The client of a connection from `peer` on which these lines of the header came: the last address that is not trusted. Where
    /// somebody has written what is no address (RFC 7239 has `unknown`), it is the proxy that tells so.
    pub fn client<'a>(
        &self,
        peer: SocketAddr,
        lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> SocketAddr {
        let mut client = peer;
        for line in lines.rev() {
            let Some(elements) = self.header.elements(line) else {
                return client;
            };
            for element in elements.into_iter().rev() {
                if !self.from.contains(client.ip()) {
                    return client;
                }
                match self.header.address(element) {
                    Some(address) => client = address,
                    // An empty element is none (RFC 9110 §5.6.1).
                    None if element.trim_ascii().is_empty() => {}
                    None => return client,
                }
            }
        }
        client
    }
}

/// A proxy may hide the port behind a name of its own (RFC 7239, section 6): that says nothing of the address.
fn without_hidden_port(node: &str) -> &str {
    let is_hidden = |port: &str| {
        let name = port.strip_prefix('_').unwrap_or_default();
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match node.rsplit_once(':') {
        Some((host, port)) if is_hidden(port) => host,
        _ => node,
    }
}

/// An address with or without a port; port 0 stands for none.
fn address(node: &str) -> Option<SocketAddr> {
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = node
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|rest| rest.contains(':'));
    let ip: IpAddr = bare.unwrap_or(node).parse().ok()?;
    Some(SocketAddr::new(ip, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trusting(header: ForwardedHeader) -> Forwarding {
        let from = Networks::new(["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap()));
        Forwarding { from, header }
    }

    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        client_of(header, peer, &lines)
    }

    fn client_of(header: ForwardedHeader, peer: &str, lines: &[&[u8]]) -> String {
        let client = trusting(header).client(peer.parse().unwrap(), lines.iter().copied());
        client.to_string()
    }

    #[test]
    fn bytes_that_are_no_text_hide_nobody() {
        const PROXY: &str = "10.0.0.1:9";
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (header, line, said) in [
            (XForwardedFor, &b"\xff, 192.0.2.1"[..], "192.0.2.1:0"),
            (XForwardedFor, b"\xc3, 192.0.2.1, 10.0.0.3", "192.0.2.1:0"),
            (XForwardedFor, b"192.0.2.1, \xff", PROXY),
            (Forwarded, b"for=\xff, for=192.0.2.1", "192.0.2.1:0"),
            (Forwarded, b"for=\"192.0.2.1:_gazonk\"", "192.0.2.1:0"),
            (Forwarded, b"for=\"[2001:db8::17]:_p.-\"", "[2001:db8::17]:0"),
            (Forwarded, b"for=\"192.0.2.1:_\"", PROXY),
            (Forwarded, b"for=\"192.0.2.1:_a:b\"", PROXY),
            (Forwarded, b"for=\"\xff\", for=192.0.2.1", "192.0.2.1:0"),
            (Forwarded, b"for=192.0.2.1;host=\"\xe4.example\"", "192.0.2.1:0"),
            (Forwarded, b"host=\xe4.example;for=192.0.2.1", "192.0.2.1:0"),
            (Forwarded, b"for=192.0.2.1, for=\xff", PROXY),
        ] {
            assert_eq!(client_of(header, PROXY, &[line]), said, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        const PROXY: &str = "10.0.0.1:9";
        for (peer, lines, said) in [
            (PROXY, &["192.0.2.1"][..], "192.0.2.1:0"),
            (PROXY, &["192.0.2.1:77"], "192.0.2.1:77"),
            (PROXY, &["2001:db8::7"], "[2001:db8::7]:0"),
            (PROXY, &["[2001:db8::7]"], "[2001:db8::7]:0"),
            (PROXY, &["[2001:db8::7]:5"], "[2001:db8::7]:5"),
            ("[::ffff:10.0.0.1]:9", &["192.0.2.1"], "192.0.2.1:0"),
            // What stands before the client's address it may have written itself.
            (PROXY, &["127.0.0.1, 192.0.2.1"], "192.0.2.1:0"),
            (PROXY, &["127.0.0.1", "192.0.2.1"], "192.0.2.1:0"),
            (
                PROXY,
                &["127.0.0.1, 192.0.2.1 , 10.0.0.3,10.0.0.2"],
                "192.0.2.1:0",
            ),
            (PROXY, &["192.0.2.1", "10.0.0.3", "2001:db8:1::2"], "192.0.2.1:0"),
            (PROXY, &["\"", "192.0.2.1"], "192.0.2.1:0"),
            // Nobody else was on the way.
            (PROXY, &["10.0.0.3"], "10.0.0.3:0"),
            (PROXY, &[], PROXY),
            (PROXY, &["", " , "], PROXY),
            (PROXY, &["192.0.2.1,"], "192.0.2.1:0"),
            // Not said: then it is the one who does not say it.
            (PROXY, &["192.0.2.1, unknown"], PROXY),
            (PROXY, &["192.0.2.1, 10.0.0.3, bad"], PROXY),
            (PROXY, &["192.0.2.1, bad, 10.0.0.3"], "10.0.0.3:0"),
            (PROXY, &["\"192.0.2.1\""], PROXY),
            (PROXY, &["[192.0.2.1]"], PROXY),
            // Who is not trusted may say what they like.
            ("192.0.2.9:9", &["192.0.2.1"], "192.0.2.9:9"),
        ] {
            assert_eq!(
                client(ForwardedHeader::XForwardedFor, peer, lines),
                said,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn the_standard_header_is_read_in_the_same_way() {
        const PROXY: &str = "10.0.0.1:9";
        for (lines, said) in [
            (&["for=192.0.2.1"][..], "192.0.2.1:0"),
            (&["For=\"[2001:db8::7]:4711\""], "[2001:db8::7]:4711"),
            (&["for=\"[2001:db8::7]\""], "[2001:db8::7]:0"),
            (&["for=192.0.2.1;proto=http;by=203.0.113.43"], "192.0.2.1:0"),
            (&["proto=https; FOR = \"192.0.2.1:5\" ;by=_x"], "192.0.2.1:5"),
            (&["for=127.0.0.1, for=192.0.2.1, for=10.0.0.2"], "192.0.2.1:0"),
            (&["for=192.0.2.1, for=10.0.0.2;host=\"a,b\""], "192.0.2.1:0"),
            (&["for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1:0"),
            (&["for=192.0.2.1, for=unknown"], PROXY),
            (&["for=192.0.2.1, for=_hidden"], PROXY),
            (&["for=192.0.2.1, by=10.0.0.2"], PROXY),
            (&["for=\"192.0.\\2.1\""], "192.0.2.1:0"),
            // What is quoted names nobody.
            (
                &["proto=https;host=\"a;for=127.0.0.1;b\";for=192.0.2.1"],
                "192.0.2.1:0",
            ),
            (&["host=\"x,for=127.0.0.1;y=\\\"\";for=192.0.2.1"], "192.0.2.1:0"),
            (&["for=192.0.2.1;host=\"x,for=127.0.0.1;y=\\\"\""], "192.0.2.1:0"),
            (
                &["for=192.0.2.1;host=\"x\\\", for=127.0.0.1, by=\\\\\""],
                "192.0.2.1:0",
            ),
            // It is not said which of them.
            (&["for=192.0.2.1;for=127.0.0.1"], PROXY),
            (&["for=127.0.0.1;For=\"192.0.2.1\""], PROXY),
            // Where a quote of the client does not end, or begins where none may, nobody knows what the proxy has written behind it.
            (&["for=\"x, for=192.0.2.1"], PROXY),
            (&["for=\"x, for=192.0.2.1;host=\",for=127.0.0.1;a=\""], PROXY),
            (&["for=\"x, for=192.0.2.1;host=\",for=127.0.0.1;a=\\\"\""], PROXY),
            (&["x\"y\", for=192.0.2.1"], PROXY),
            (&["for=\"x\"y, for=192.0.2.1"], PROXY),
            // On a line of its own it is nobody's business.
            (&["for=\"x", "for=192.0.2.1"], "192.0.2.1:0"),
            (&["for=\"x", "for=10.0.0.2"], "10.0.0.2:0"),
        ] {
            assert_eq!(
                client(ForwardedHeader::Forwarded, PROXY, lines),
                said,
                "{lines:?}"
            );
        }
    }

    /// Text out of what forgeries are made of.
    fn written() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec!["\"", "\\", ",", ";", "=", " ", "for=127.0.0.1", "x"]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn quote(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_writes_changes_what_its_proxy_says(
            made_up in prop::collection::vec(any::<u8>(), 0..60), standard: bool, own_line: bool,
        ) {
            let (header, said) = if standard {
                (ForwardedHeader::Forwarded, &b"for=192.0.2.1"[..])
            } else {
                (ForwardedHeader::XForwardedFor, &b"192.0.2.1"[..])
            };
            let joined = [&made_up, &b", "[..], said].concat();
            let lines: &[&[u8]] = if own_line { &[&made_up, said] } else { &[&joined] };
            let found = client_of(header, "10.0.0.1:9", lines);
            // By its quotes it can bring about that nothing is believed.
            let torn = standard && !own_line && made_up.contains(&b'"');
            prop_assert!(found == "192.0.2.1:0" || torn && found == "10.0.0.1:9", "{found}");
        }

        #[test]
        fn whatever_is_quoted_the_address_is_that_of_for(
            before in written(), host in written(), path in written(), first: bool,
        ) {
            let (host, path) = (quote(&host), quote(&path));
            let said = if first {
                format!("for=192.0.2.1;host={host};path={path}")
            } else {
                format!("host={host};path={path};for=192.0.2.1")
            };
            let honest = format!("for=127.0.0.1;host={}, {said}", quote(&before));
            prop_assert_eq!(client(ForwardedHeader::Forwarded, "10.0.0.1:9", &[&honest]), "192.0.2.1:0");
            let made_up = format!("{before}, {said}");
            let found = client(ForwardedHeader::Forwarded, "10.0.0.1:9", &[&made_up]);
            prop_assert!(found == "192.0.2.1:0" || found == "10.0.0.1:9", "{} from {}", found, made_up);
        }

        #[test]
        fn any_bytes_have_an_answer(line in prop::collection::vec(any::<u8>(), 0..100), standard: bool) {
            let header = if standard { ForwardedHeader::Forwarded } else { ForwardedHeader::XForwardedFor };
            trusting(header).client("10.0.0.1:9".parse().unwrap(), [&line[..]].into_iter());
        }
    }
}
