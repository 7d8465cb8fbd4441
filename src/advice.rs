//! What an operator can do about each way to end: one sentence a cause, beside the table of [`crate::close`].
//!
//! `docs/CONSOLE.md` shows the same sentences; a test compares them.

use crate::close::{BadRequest, CloseReason};

impl CloseReason {
    /// One sentence for the operator. Reasons of one label have the same.
    #[rustfmt::skip]
    pub fn advice(self) -> &'static str {
        match self {
            Self::CrowdedOut => "Look for who connects and says nothing, or next to nothing, and block it in front; if these are clients on slow networks, raise `max_handshakes`.",
            Self::ProxyHeader => "Let the proxy in front send a PROXY header, or take its address out of `proxy_protocol_from`.",
            Self::ProxyTimeout => "Look at the proxy in front: it connected and said nothing; health checks of proxies often do.",
            Self::PlainHttp => "Correct the client's address: this port speaks TLS, so it begins with https:// or wss://.",
            Self::TlsFailed => "Nothing, for a scanner; if real clients fail, check that they trust the certificate, that its names fit, and what `client_ca_file` asks of them.",
            Self::TlsTimeout => "Nothing, if few; if many, look for a flood, a slow network or too little processor time, before raising `handshake_timeout`.",
            Self::ClientLeft => "Nothing, if few; if many, see in `sealock_dial_seconds` whether clients lose patience with a slow backend.",

            Self::RequestTimeout => "Nothing, if few; many from one address are a slow attack: block it in front, or lower `request_timeout`.",
            Self::HeadTooLarge => "Raise `max_head` if the clients are yours; large cookies of the same host are the usual cause. More than 100 headers are never taken.",
            Self::BadRequest(what) => match what {
                BadRequest::Malformed => "Look at what connects: it does not speak HTTP/1.1, or something in front of sealock changes the request.",
                BadRequest::HttpVersion => "Set the proxy in front to HTTP/1.1 towards sealock; many use 1.0 unless told.",
                BadRequest::Host => "Set the proxy in front to pass one `Host` header on.",
                BadRequest::Connection => "Set the proxy in front to pass `Connection: Upgrade` and `Upgrade: websocket` on.",
                BadRequest::Key => "Correct the client, which is no browser: its `Sec-WebSocket-Key` is wrong.",
                BadRequest::Body => "Correct the client, or the proxy in front: the upgrade request carries a body.",
                BadRequest::Subprotocol => "Correct the list of subprotocols that the page or program offers.",
                BadRequest::Origin => "Look for what adds a second `Origin` header, most likely a proxy in front.",
            },
            Self::NotFound => "Compare host and path of the log record with `hosts` and `path` of the routes.",
            Self::BadMethod => "Nothing: it was no WebSocket; health checks belong to `/readyz` of the admin listener.",
            Self::NotAnUpgrade => "Open the address as a WebSocket; if clients do, set the proxy in front to pass `Upgrade` on.",
            Self::BadVersion => "Update the client: it speaks a draft that is older than RFC 6455.",
            Self::OriginRefused => "Add the page's origin to `origins` of the route, if the page is yours.",
            Self::TooManySessions => "Raise `max_sessions` of [limits] if memory and descriptors allow it, or add another instance.",
            Self::TooManyOnListener => "Raise `max_sessions` of the listener, or look for who holds so many sessions there.",
            Self::TooManyOnRoute => "Raise `max_sessions` of the route if its backend can take more, or look for clients that do not close.",
            Self::TooManyOfClient => "Raise `max_sessions_per_client` if many people share an address; otherwise look for a client that reconnects without closing.",
            Self::OutOfDescriptors => "Raise `LimitNOFILE` of the unit, or `ulimit -n`: each session needs two descriptors.",
            Self::OutOfResources => "The log record says what is lacking: raise `net.ipv4.ip_local_port_range` or give the service more addresses, add memory, or mend the resolver.",
            Self::Answered => "Nothing: it was a page, not a session.",

            Self::DialName => "Check the name in `backend` and the resolver of this machine.",
            Self::DialFailed => "Start the backend, or check its address, its port, and the firewall between.",
            Self::DialTimeout => "Look at the backend's load and at the network; raise `dial_timeout` if it is slow by nature.",
            Self::DialTls => "Check the backend's certificate against `ca_file` and `server_name`; the log record says what is wrong with it.",
            Self::BackendDown => "Look at the targets of the route: every one failed, and the last failure of each says how.",
            Self::BackendFull => "Add targets, or raise `max_sessions` of the backend, or `queue`.",
            Self::QueueTimeout => "Add targets, or raise `max_sessions` of the backend, or `queue_timeout`.",

            Self::ClientClosed => "Nothing: the ordinary end of a session.",
            Self::BackendClosed => "Nothing, if the protocol ends so; otherwise the log of the backend says why it hung up.",
            Self::Idle => "Nothing, or raise `idle_timeout` if sessions of this route are quiet for longer by nature.",
            Self::Shutdown => "Nothing: clients were told that sealock stops.",
            Self::Drain => "Nothing: clients were told to come back; undrain to take sessions here again.",
            Self::MaxAge => "Nothing, or raise `max_session_age` if clients should reconnect less often.",
            Self::Operator => "Nothing: somebody ended it by hand; the log says from which address.",

            Self::ClientGone => "Nothing, if few: a closed laptop or a lost network; many at one moment point at something in front of sealock.",
            Self::Protocol(_) => "Update the client's WebSocket library; if it is a browser, look for what changes bytes between it and sealock.",
            Self::WrongKind => "Let the client send the kind that `message` of the route names, or set `message = \"auto\"`.",
            Self::ClientText => "Let the client send UTF-8 in text messages, or binary messages if it is no text.",
            Self::Unmappable => "Set `unmappable` to \"replace\" or \"escape\", or use a backend that takes UTF-8.",
            Self::ClientTooBig => "Raise `max_message` of the route if such messages are legitimate.",
            Self::DelimiterInText => "Let the client send one record a message; where its text may hold delimiters, set `embedded_delimiter`.",
            Self::DelimiterInBinary => "Let the client send one record a message, or choose a framing that has a length.",
            Self::DelimiterMissing => "Let the client end each message with the delimiter, or take `keep` out, and sealock adds it.",
            Self::LengthDoesNotFit => "Lower `max_message` to what the length field can say, so that clients are told of that limit.",
            Self::HeaderMismatch => "Correct the length that the client writes, or set `header = \"strip\"`, and sealock writes it.",
            Self::EmptyMessage => "Let the client send no empty messages, or set `empty = \"skip\"`.",
            Self::SizeMismatch => "Let the client send messages of the size of a record, or set `pad` for shorter ones.",
            Self::NotARecord => "Let the client send exactly one whole record a message; if it cannot, the framing is the wrong one, and `raw` may do.",
            Self::EncryptionRequest => "Switch TLS off in the client's driver (`sslmode=disable`): the way to sealock is encrypted already.",
            Self::AfterHalfClose => "Let the client send nothing behind the empty message, or remove `half_close`.",
            Self::TooFast => "Raise the rates of the route, or set `rate_policy = \"delay\"`, if such clients are legitimate.",
            Self::ClientStalled => "Nothing, if few; raise `record_timeout` for clients on slow networks.",
            Self::ClientNotReading => "Look at what the client does while it should read; raise `write_timeout` for clients on slow networks.",
            Self::PongTimeout => "Nothing, if few: the network to the client is gone; raise `pong_timeout` where it is slow.",

            Self::BackendReset => "The log of the backend says why it broke off; look for a crash, a restart, or a firewall that forgets idle connections.",
            Self::BackendCut => "Look for a crash of the backend; if it always ends so, the framing is the wrong one, or set `partial`.",
            Self::BackendGarbage(_) => "Compare the framing with what the backend sends: `sealock decode --guess` reads a capture of it.",
            Self::BackendTooBig => "Raise `max_message`; if the number makes no sense, the framing is the wrong one.",
            Self::BackendText => "Set `charset` to what the backend speaks, or `message = \"binary\"`, or `invalid_text`.",
            Self::BackendStalled => "Look at the load of the backend; if it waits for more input instead, the framing is the wrong one.",
            Self::BackendNotReading => "Look at the load of the backend: it took less than 1 KiB of what waited in `write_timeout`.",

            Self::GatherBudget => "Raise `gather_budget` if there is memory, or lower `max_message`; many long messages at once may be an attack.",
            Self::Internal => "Report it with the log record: this is a defect of sealock.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_cause_has_one_advice() {
        let mut known = BTreeMap::new();
        for reason in CloseReason::all() {
            let advice = reason.advice();
            assert!(advice.ends_with('.') && advice.len() < 200, "{advice}");
            assert_eq!(*known.entry(reason.row().label).or_insert(advice), advice);
        }
    }

    #[test]
    fn the_documentation_shows_the_same() {
        let documented: Vec<(&str, &str)> = include_str!("../docs/CONSOLE.md")
            .lines()
            .skip_while(|line| !line.starts_with("| cause |"))
            .skip(2)
            .map_while(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
            .collect();
        let mut real: Vec<(&str, &str)> = CloseReason::all()
            .into_iter()
            .map(|reason| (reason.row().label, reason.advice()))
            .collect();
        real.dedup();
        assert_eq!(documented, real);
    }
}
