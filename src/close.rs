//! Why a connection ended: one closed list and one table.
//!
//! Everything that tells of an end (the HTTP status, the close code and reason, the log level, the label of logs and metrics, the
//! two-letter termination state) is read from the row of its [`CloseReason`]. `docs/PROTOCOL.md` shows the same table; a test
//! compares them.

use std::borrow::Cow;

use crate::framing::Garbage;
use crate::websocket::{CloseCode, Violation};

/// Why a connection or a session ended. The first cause wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    // Before TLS.
    /// It kept sealock waiting, and others waited for room.
    CrowdedOut,
    /// A trusted proxy sent something else than a PROXY header.
    ProxyHeader,
    /// It sent none in time.
    ProxyTimeout,

    // TLS handshake.
    /// The client spoke plain HTTP to a TLS port.
    PlainHttp,
    /// The TLS handshake failed: garbage, no common version, an alert.
    TlsFailed,
    /// The TLS handshake took too long.
    TlsTimeout,
    /// The client left before the handshake (TLS or HTTP) was over.
    ClientLeft,

    // HTTP request.
    /// No complete request head in time.
    RequestTimeout,
    /// The request head is too large.
    HeadTooLarge,
    /// Not a valid HTTP/1.1 request, or not a valid opening handshake (RFC 6455 §4.2.1).
    BadRequest(BadRequest),
    /// No route for this host and path.
    NotFound,
    /// The method is not GET.
    BadMethod,
    /// A request for a WebSocket route that does not ask for the upgrade.
    NotAnUpgrade,
    /// Another WebSocket version than 13.
    BadVersion,
    /// The origin is not allowed on this route.
    OriginRefused,
    /// As many sessions as are allowed exist.
    TooManySessions,
    /// As many that began at the listener as are allowed exist.
    TooManyOnListener,
    /// As many of the route as are allowed exist.
    TooManyOnRoute,
    /// The client has as many as one may have.
    TooManyOfClient,
    /// sealock has no file descriptor left for a session.
    OutOfDescriptors,
    /// sealock or its system lacks something else for a connection to the backend.
    OutOfResources,
    /// An answer that needed no session, such as a page of the demo.
    Answered,

    // Dial.
    /// The backend's name has no address.
    DialName,
    /// The backend refused, or cannot be reached.
    DialFailed,
    /// The backend did not answer in time.
    DialTimeout,
    /// It was reached, but no TLS connection came about.
    DialTls,
    /// All targets of the backend failed lately, and are left alone for a while.
    BackendDown,
    /// The backend has as many sessions as it takes, and nobody else may wait.
    BackendFull,
    /// The backend had no place for a session in time.
    QueueTimeout,

    // Session: ends that are nobody's fault.
    /// The client closed with a Close frame.
    ClientClosed,
    /// The backend ended its stream between records.
    BackendClosed,
    /// No message in either direction for `idle_timeout`.
    Idle,
    /// sealock is shutting down.
    Shutdown,
    /// sealock, or the route, is taken out of service, to come back.
    Drain,
    /// The session has reached `max_session_age`.
    MaxAge,
    /// An operator ended it.
    Operator,

    // Session: the client's faults.
    /// The client vanished without a Close frame.
    ClientGone,
    /// The client broke RFC 6455.
    Protocol(Violation),
    /// A kind of message that the route does not take.
    WrongKind,
    /// Text that is not UTF-8.
    ClientText,
    /// A character that the route's charset does not have.
    Unmappable,
    /// A message over `max_message`.
    ClientTooBig,
    /// A delimiter inside a text message.
    DelimiterInText,
    /// A delimiter inside a binary message.
    DelimiterInBinary,
    /// A message that must carry its delimiter, and does not.
    DelimiterMissing,
    /// A message too long for the length field of the framing.
    LengthDoesNotFit,
    /// A message that does not match the length header it carries.
    HeaderMismatch,
    /// An empty message that the framing cannot express.
    EmptyMessage,
    /// A message that does not have the size of the framing's records.
    SizeMismatch,
    /// A message that carries its own framing and is not exactly one record.
    NotARecord,
    /// A request for encryption that sealock cannot pass.
    EncryptionRequest,
    /// A message after the empty one that ended the client's direction.
    AfterHalfClose,
    /// The client is faster than the route's rates, and `rate_policy` is `"close"`.
    TooFast,
    /// The client stopped in the middle of a message for `record_timeout`.
    ClientStalled,
    /// The client did not take what it was sent for `write_timeout`.
    ClientNotReading,
    /// The client answered no ping in `pong_timeout`.
    PongTimeout,

    // Session: the backend's faults.
    /// The backend's connection was reset or failed.
    BackendReset,
    /// The backend ended its stream inside a record.
    BackendCut,
    /// Bytes that no record can have in this place.
    BackendGarbage(Garbage),
    /// A record over `max_message`.
    BackendTooBig,
    /// A record for a text route that is no text.
    BackendText,
    /// The backend stopped in the middle of a record for `record_timeout`.
    BackendStalled,
    /// The backend did not take what it was sent for `write_timeout`.
    BackendNotReading,

    /// No memory to gather more of a message or record: `gather_budget` is spent.
    GatherBudget,
    /// A defect of sealock itself.
    Internal,
}

/// What is wrong with a request that gets a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadRequest {
    /// Not HTTP/1.x at all, or malformed.
    Malformed,
    /// HTTP/1.0, which has no upgrade.
    HttpVersion,
    /// No `Host`, several, or one that is not a host.
    Host,
    /// `Connection` does not name `Upgrade`.
    Connection,
    /// `Sec-WebSocket-Key` is missing, doubled, or not 16 bytes in base64.
    Key,
    /// A request body, which an opening handshake cannot have.
    Body,
    /// `Sec-WebSocket-Protocol` is not a list of distinct tokens.
    Subprotocol,
    /// Several `Origin` headers.
    Origin,
}

/// How loudly an end is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Noise of the internet: only of interest while looking for something.
    Debug,
    /// Ordinary ends, and clients' mistakes.
    Info,
    /// Something that the operator may have to look at.
    Warn,
    /// A defect.
    Error,
}

/// Everything that is told about an end. See [`CloseReason::row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The label in logs and metrics: stable, unique, `snake_case`.
    pub label: &'static str,
    /// The HTTP status, where the end comes before the upgrade.
    pub status: Option<u16>,
    /// The close code, where a Close frame tells of it.
    pub code: Option<CloseCode>,
    /// The text of the HTTP body or of the Close frame, without any address.
    pub text: &'static str,
    /// How loudly it is logged.
    pub level: Level,
    /// Two letters, as HAProxy has. Who: `C` client, `S` backend, `P` sealock, `c`/`s` a timeout on that side, `-` nobody. When:
    /// `T` TLS, `R` request, `C` connect, `D` data, `-` between records.
    pub state: &'static str,
}

impl Row {
    /// True for ends that are nobody's fault: between records, and by somebody's will.
    pub fn is_orderly(&self) -> bool {
        self.state.ends_with('-')
    }
}

const fn row(
    label: &'static str,
    status: Option<u16>,
    code: Option<CloseCode>,
    level: Level,
    state: &'static str,
    text: &'static str,
) -> Row {
    Row {
        label,
        status,
        code,
        text,
        level,
        state,
    }
}

impl CloseReason {
    /// The row of the table.
    #[rustfmt::skip]
    pub fn row(self) -> Row {
        use CloseCode as C;
        use Level::{Debug, Error, Info, Warn};
        let on = Some::<CloseCode>;
        match self {
            Self::CrowdedOut => row("crowded_out", Some(503), None, Debug, "PT", "too slow while others waited, try again"),
            Self::ProxyHeader => row("proxy_header", None, None, Info, "CT", "PROXY header expected"),
            Self::ProxyTimeout => row("proxy_timeout", None, None, Debug, "cT", "PROXY header took too long"),
            Self::PlainHttp => row("plain_http", Some(400), None, Debug, "CT", "this port speaks TLS: use https:// or wss://"),
            Self::TlsFailed => row("tls_failed", None, None, Debug, "CT", "TLS handshake failed"),
            Self::TlsTimeout => row("tls_timeout", None, None, Debug, "cT", "TLS handshake took too long"),
            Self::ClientLeft => row("client_left", None, None, Debug, "CR", "client left before the upgrade"),

            Self::RequestTimeout => row("request_timeout", Some(408), None, Debug, "cR", "request head took too long"),
            Self::HeadTooLarge => row("head_too_large", Some(431), None, Info, "CR", "request head is too large"),
            Self::BadRequest(what) => row(what.label(), Some(400), None, Info, "CR", what.text()),
            Self::NotFound => row("not_found", Some(404), None, Info, "CR", "no route for this host and path"),
            Self::BadMethod => row("bad_method", Some(405), None, Info, "CR", "only GET is supported"),
            Self::NotAnUpgrade => row("not_an_upgrade", Some(426), None, Info, "CR", "this is a WebSocket endpoint: ask for an upgrade"),
            Self::BadVersion => row("bad_version", Some(426), None, Info, "CR", "only WebSocket version 13 is supported"),
            Self::OriginRefused => row("origin_refused", Some(403), None, Info, "CR", "origin not allowed"),
            Self::TooManySessions => row("too_many_sessions", Some(503), on(C::TRY_AGAIN), Warn, "PR", "too many sessions, try again later"),
            Self::TooManyOnListener => row("too_many_on_listener", Some(503), on(C::TRY_AGAIN), Warn, "PR", "too many sessions on this port, try again later"),
            Self::TooManyOnRoute => row("too_many_on_route", Some(503), on(C::TRY_AGAIN), Warn, "PR", "too many sessions of this service, try again later"),
            Self::TooManyOfClient => row("too_many_of_client", Some(429), on(C::TRY_AGAIN), Info, "PR", "too many sessions from your address: close one"),
            Self::OutOfDescriptors => row("out_of_descriptors", Some(503), on(C::TRY_AGAIN), Warn, "PC", "too many open files, try again later"),
            Self::OutOfResources => row("out_of_resources", Some(503), on(C::TRY_AGAIN), Warn, "PC", "no connection to the backend can be made now, try again later"),
            Self::Answered => row("answered", Some(200), None, Debug, "--", "answered"),

            Self::DialName => row("dial_name", Some(502), on(C::BAD_GATEWAY), Warn, "SC", "backend name cannot be resolved"),
            Self::DialFailed => row("dial_failed", Some(502), on(C::BAD_GATEWAY), Warn, "SC", "backend unreachable"),
            Self::DialTimeout => row("dial_timeout", Some(504), on(C::BAD_GATEWAY), Warn, "sC", "backend did not answer in time"),
            Self::DialTls => row("dial_tls", Some(502), on(C::BAD_GATEWAY), Warn, "SC", "no secure connection with the backend"),
            Self::BackendDown => row("backend_down", Some(503), on(C::BAD_GATEWAY), Warn, "SC", "backend is down, try again later"),
            Self::BackendFull => row("backend_full", Some(503), on(C::TRY_AGAIN), Warn, "PC", "backend is busy, try again later"),
            Self::QueueTimeout => row("queue_timeout", Some(503), on(C::TRY_AGAIN), Warn, "PC", "backend was busy for too long, try again later"),

            Self::ClientClosed => row("client_closed", None, None, Info, "--", "closed by client"),
            Self::BackendClosed => row("backend_closed", None, on(C::NORMAL), Info, "--", "backend closed"),
            Self::Idle => row("idle", None, on(C::GOING_AWAY), Info, "c-", "idle for too long"),
            Self::Shutdown => row("shutdown", None, on(C::GOING_AWAY), Info, "P-", "server is shutting down"),
            Self::Drain => row("drain", Some(503), on(C::RESTART), Info, "P-", "service restarts: connect again"),
            Self::MaxAge => row("max_age", None, on(C::RESTART), Info, "P-", "session is old enough: connect again"),
            Self::Operator => row("operator", None, on(C::GOING_AWAY), Info, "P-", "ended by an operator"),

            Self::ClientGone => row("client_gone", None, None, Info, "CD", "client went away"),
            Self::Protocol(what) => row("protocol_error", None, on(C::PROTOCOL), Info, "CD", what.text()),
            Self::WrongKind => row("wrong_kind", None, on(C::UNSUPPORTED), Info, "CD", "this route does not take this kind of message"),
            Self::ClientText => row("client_text", None, on(C::INVALID), Info, "CD", "text that is not UTF-8"),
            Self::Unmappable => row("unmappable", None, on(C::INVALID), Info, "CD", "character that the backend's charset does not have"),
            Self::ClientTooBig => row("client_too_big", None, on(C::TOO_BIG), Info, "CD", "message over the limit"),
            Self::DelimiterInText => row("delimiter_in_text", None, on(C::INVALID), Info, "CD", "delimiter inside a message"),
            Self::DelimiterInBinary => row("delimiter_in_binary", None, on(C::POLICY), Info, "CD", "delimiter inside a message"),
            Self::DelimiterMissing => row("delimiter_missing", None, on(C::POLICY), Info, "CD", "message does not end with the delimiter"),
            Self::LengthDoesNotFit => row("length_does_not_fit", None, on(C::TOO_BIG), Info, "CD", "message too long for the length field"),
            Self::HeaderMismatch => row("header_mismatch", None, on(C::PROTOCOL), Info, "CD", "message does not match its length header"),
            Self::EmptyMessage => row("empty_message", None, on(C::POLICY), Info, "CD", "this framing has no empty message"),
            Self::SizeMismatch => row("size_mismatch", None, on(C::POLICY), Info, "CD", "message does not have the size of a record"),
            Self::NotARecord => row("not_a_record", None, on(C::POLICY), Info, "CD", "message is not one whole record"),
            Self::EncryptionRequest => row("encryption_request", None, on(C::POLICY), Info, "CD", "TLS ends at sealock: do not ask the backend for encryption"),
            Self::AfterHalfClose => row("after_half_close", None, on(C::POLICY), Info, "CD", "message after the end of the client's direction"),
            Self::TooFast => row("too_fast", None, on(C::POLICY), Info, "CD", "more in a second than this service takes"),
            Self::ClientStalled => row("client_stalled", None, on(C::POLICY), Info, "cD", "stalled inside a message"),
            Self::ClientNotReading => row("client_not_reading", None, None, Info, "cD", "client does not read"),
            Self::PongTimeout => row("pong_timeout", None, on(C::POLICY), Info, "cD", "no answer to a ping"),

            Self::BackendReset => row("backend_reset", None, on(C::BAD_GATEWAY), Warn, "SD", "backend connection lost"),
            Self::BackendCut => row("backend_cut", None, on(C::INTERNAL), Warn, "SD", "backend ended inside a record"),
            Self::BackendGarbage(what) => row("backend_garbage", None, on(C::INTERNAL), Warn, "SD", what.text()),
            Self::BackendTooBig => row("backend_too_big", None, on(C::TOO_BIG), Warn, "SD", "record over the limit"),
            Self::BackendText => row("backend_text", None, on(C::INVALID), Warn, "SD", "backend sent bytes that are not text"),
            Self::BackendStalled => row("backend_stalled", None, on(C::INTERNAL), Warn, "sD", "backend stalled inside a record"),
            Self::BackendNotReading => row("backend_not_reading", None, on(C::BAD_GATEWAY), Warn, "sD", "backend does not read"),

            Self::GatherBudget => row("gather_budget", None, on(C::TRY_AGAIN), Warn, "PD", "no memory for more long messages, try again later"),
            Self::Internal => row("internal", Some(500), on(C::INTERNAL), Error, "PD", "internal error"),
        }
    }

    /// The reason of the Close frame, with the detail that the row cannot have. `limit` is the route's `max_message`.
    pub fn close_text(self, limit: u64) -> Cow<'static, str> {
        match self {
            Self::ClientTooBig | Self::BackendTooBig => {
                format!("{} of {}", self.row().text, crate::units::ByteSize(limit)).into()
            }
            _ => self.row().text.into(),
        }
    }

    /// Every reason, with every detail it can carry: for tests, documentation and metrics.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::CrowdedOut,
            Self::ProxyHeader,
            Self::ProxyTimeout,
            Self::PlainHttp,
            Self::TlsFailed,
            Self::TlsTimeout,
            Self::ClientLeft,
            Self::RequestTimeout,
            Self::HeadTooLarge,
        ];
        all.extend(BadRequest::ALL.map(Self::BadRequest));
        all.extend([
            Self::NotFound,
            Self::BadMethod,
            Self::NotAnUpgrade,
            Self::BadVersion,
            Self::OriginRefused,
        ]);
        all.extend([
            Self::TooManySessions,
            Self::TooManyOnListener,
            Self::TooManyOnRoute,
            Self::TooManyOfClient,
            Self::OutOfDescriptors,
            Self::OutOfResources,
            Self::Answered,
            Self::DialName,
            Self::DialFailed,
            Self::DialTimeout,
        ]);
        all.extend([
            Self::DialTls,
            Self::BackendDown,
            Self::BackendFull,
            Self::QueueTimeout,
        ]);
        all.extend([
            Self::ClientClosed,
            Self::BackendClosed,
            Self::Idle,
            Self::Shutdown,
            Self::Drain,
        ]);
        all.extend([Self::MaxAge, Self::Operator, Self::ClientGone]);
        all.extend(Violation::ALL.map(Self::Protocol));
        all.extend([
            Self::WrongKind,
            Self::ClientText,
            Self::Unmappable,
            Self::ClientTooBig,
            Self::DelimiterInText,
            Self::DelimiterInBinary,
        ]);
        all.extend([
            Self::DelimiterMissing,
            Self::LengthDoesNotFit,
            Self::HeaderMismatch,
            Self::EmptyMessage,
            Self::SizeMismatch,
        ]);
        all.extend([Self::NotARecord, Self::EncryptionRequest, Self::AfterHalfClose]);
        all.extend([
            Self::TooFast,
            Self::ClientStalled,
            Self::ClientNotReading,
            Self::PongTimeout,
            Self::BackendReset,
            Self::BackendCut,
        ]);
        all.extend(Garbage::ALL.map(Self::BackendGarbage));
        all.extend([Self::BackendTooBig, Self::BackendText, Self::BackendStalled]);
        all.extend([Self::BackendNotReading, Self::GatherBudget, Self::Internal]);
        all
    }
}

impl Garbage {
    fn text(self) -> &'static str {
        match self {
            Self::Header => "backend sent a bad record header",
            Self::Trailer => "backend sent a bad record trailer",
            Self::Escape => "backend sent a bad escape",
            Self::Outside => "backend sent bytes outside of a record",
        }
    }
}

impl BadRequest {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::HttpVersion,
        Self::Host,
        Self::Connection,
        Self::Key,
        Self::Body,
        Self::Subprotocol,
        Self::Origin,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Malformed => "bad_request",
            Self::HttpVersion => "bad_http_version",
            Self::Host => "bad_host",
            Self::Connection => "bad_connection",
            Self::Key => "bad_key",
            Self::Body => "bad_body",
            Self::Subprotocol => "bad_subprotocol",
            Self::Origin => "bad_origin",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Malformed => "not a valid HTTP/1.1 request",
            Self::HttpVersion => "a WebSocket needs HTTP/1.1",
            Self::Host => "exactly one valid Host header is needed",
            Self::Connection => "Connection must name Upgrade",
            Self::Key => "Sec-WebSocket-Key must be 16 bytes in base64, once",
            Self::Body => "an upgrade request has no body",
            Self::Subprotocol => "Sec-WebSocket-Protocol must be a list of distinct tokens",
            Self::Origin => "at most one Origin header",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::MAX_REASON;
    use std::collections::HashMap;

    #[test]
    fn labels_are_unique_but_for_their_details() {
        let mut seen: HashMap<&str, std::mem::Discriminant<CloseReason>> = HashMap::new();
        for reason in CloseReason::all() {
            let kind = std::mem::discriminant(&reason);
            let before = seen.insert(reason.row().label, kind);
            assert!(before.is_none_or(|before| before == kind), "{reason:?}");
        }
    }

    #[test]
    fn every_row_can_be_put_on_the_wire() {
        assert!(CloseReason::all().len() > 50);
        for reason in CloseReason::all() {
            let row = reason.row();
            let text = reason.close_text(u64::MAX);
            assert!(text.len() <= MAX_REASON && !text.is_empty(), "{reason:?}");
            assert!(text.is_ascii(), "{reason:?}");
            assert!(row.code.is_none_or(CloseCode::may_be_sent), "{reason:?}");
            assert!(
                row.label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{reason:?}"
            );
            let state = row.state.as_bytes();
            assert_eq!(state.len(), 2, "{reason:?}");
            assert!(
                b"CSPcs-".contains(&state[0]) && b"TRCD-".contains(&state[1]),
                "{reason:?}"
            );
        }
    }

    #[test]
    fn clients_mistakes_are_not_warnings() {
        for reason in CloseReason::all() {
            let row = reason.row();
            if row.state.starts_with(['C', 'c']) {
                assert!(row.level <= Level::Info, "{reason:?}");
            }
        }
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let documented: Vec<Vec<&str>> = include_str!("../docs/PROTOCOL.md")
            .lines()
            .skip_while(|line| !line.starts_with("| label |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let dash = |number: Option<u16>| number.map_or("–".to_owned(), |number| number.to_string());
        let real: Vec<Vec<String>> = CloseReason::all()
            .into_iter()
            .map(|reason| {
                let row = reason.row();
                vec![
                    format!("`{}`", row.label),
                    dash(row.status),
                    dash(row.code.map(|code| code.0)),
                    row.text.to_owned(),
                    format!("{:?}", row.level).to_lowercase(),
                    format!("`{}`", row.state),
                ]
            })
            .collect();
        for (row, real) in documented.iter().zip(&real) {
            let (when, told): (Vec<_>, Vec<_>) = row.iter().enumerate().partition(|(column, _)| *column == 1);
            assert!(!when[0].1.is_empty(), "when? {row:?}");
            let told: Vec<&str> = told.into_iter().map(|(_, cell)| *cell).collect();
            assert_eq!(&told, real);
        }
        assert_eq!(documented.len(), real.len());
    }
}
