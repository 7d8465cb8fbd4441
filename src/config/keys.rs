//! Names every key of the configuration file, once: what the reader knows, what it suggests, and what the documentation must hold.

use crate::alike::closest;

/// A table of the file, or one of the inline tables that a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    Limits,
    Admin,
    Listener,
    ListenerCertificate,
    Defaults,
    Route,
    Subprotocol,
    Backend,
    BackendTls,
    Health,
    FramingPair,
    Preset,
    Raw,
    Delimiter,
    LengthPrefix,
    Varint,
    Fixed,
    Netstring,
    ContentLength,
    OctetCounting,
    Block,
    Slip,
    Cobs,
    JsonSeq,
    Bytes,
    MessagePair,
    OversizedPair,
    EmptyPair,
    Replacement,
}

use Place::{
    Admin, Backend, BackendTls, Block, Bytes, Cobs, ContentLength, Defaults, Delimiter, EmptyPair, Fixed,
    FramingPair, Health, JsonSeq, LengthPrefix, Limits, Listener, ListenerCertificate, MessagePair,
    Netstring, OctetCounting, OversizedPair, Preset, Raw, Replacement, Route, Slip, Subprotocol, Top, Varint,
};

/// The keys of every place.
pub(super) const KEYS: &[(&[Place], &[&str])] = &[
    (
        &[Top],
        &[
            "drain_window",
            "shutdown_timeout",
            "reload_interval",
            "log_level",
            "log_file",
            "limits",
            "admin",
            "listener",
            "defaults",
            "route",
        ],
    ),
    (&[Limits, Listener, Route, Backend], &["max_sessions"]),
    (
        &[Limits],
        &[
            "max_sessions_per_client",
            "client_prefix_v4",
            "client_prefix_v6",
            "max_handshakes",
            "handshakes_per_second",
            "gather_budget",
        ],
    ),
    (
        &[Listener, ListenerCertificate, BackendTls],
        &["cert_file", "key_file"],
    ),
    (&[ListenerCertificate], &["names"]),
    (&[Listener, Admin], &["bind"]),
    (&[Admin], &["token", "token_file"]),
    (&[Route, Admin], &["hosts"]),
    (
        &[Listener],
        &[
            "certificate",
            "reuse_port",
            "client_ca_file",
            "plaintext",
            "proxy_protocol_from",
            "forwarded_from",
            "forwarded_header",
            "handshake_timeout",
            "request_timeout",
            "max_head",
        ],
    ),
    (&[Route], &["path", "backend", "subprotocol"]),
    (
        &[Backend],
        &[
            "targets",
            "balance",
            "queue",
            "queue_timeout",
            "fall",
            "retry_after",
            "proxy_protocol",
            "health",
            "tls",
        ],
    ),
    (&[Health], &["interval", "timeout", "rise", "send", "expect"]),
    (&[BackendTls], &["ca_file", "server_name"]),
    (&[Route, Subprotocol], &["name"]),
    (
        &[Route, Subprotocol, Defaults],
        &[
            "framing",
            "message",
            "charset",
            "invalid_text",
            "unmappable",
            "max_message",
            "embedded_delimiter",
            "oversized",
            "partial",
            "empty",
        ],
    ),
    (
        &[Route, Defaults],
        &[
            "origins",
            "absent_origin",
            "subprotocols",
            "half_close",
            "dial_timeout",
            "on_dial_failure",
            "record_timeout",
            "write_timeout",
            "close_timeout",
            "linger",
            "idle_timeout",
            "ping_interval",
            "pong_timeout",
            "max_session_age",
            "message_rate",
            "byte_rate",
            "rate_policy",
        ],
    ),
    (
        &[FramingPair, MessagePair, OversizedPair, EmptyPair],
        &["to_backend", "to_client"],
    ),
    (&[Preset], &["preset"]),
    (
        &[
            Raw,
            Delimiter,
            LengthPrefix,
            Varint,
            Fixed,
            Netstring,
            ContentLength,
            OctetCounting,
            Block,
            Slip,
            Cobs,
            JsonSeq,
        ],
        &["kind"],
    ),
    (&[Delimiter], &["delimiter", "keep"]),
    (
        &[LengthPrefix],
        &["width", "endian", "adjustment", "includes_header"],
    ),
    (&[Varint], &["encoding", "max_width"]),
    (&[LengthPrefix, Varint], &["offset", "template"]),
    (&[LengthPrefix, Varint, ContentLength], &["header"]),
    (&[Fixed], &["size", "pad"]),
    (&[Block], &["start", "end", "escape", "outside"]),
    (&[Bytes], &["hex"]),
    (&[Replacement], &["replace"]),
];

/// Keys whose values are shown to nobody: the admin token, and what logs a check in at a backend.
pub(super) const SECRET: &[&str] = &["token", "send"];

/// What people write who come from other proxies.
const SYNONYMS: &[(&str, &str)] = &[
    ("address", "bind"),
    ("cert", "cert_file"),
    ("certificate", "cert_file"),
    ("client_ca", "client_ca_file"),
    ("connect_timeout", "dial_timeout"),
    ("encoding", "charset"),
    ("listen", "bind"),
    ("location", "path"),
    ("max_connections", "max_sessions"),
    ("max_message_size", "max_message"),
    ("port", "bind"),
    ("private_key", "key_file"),
    ("protocols", "subprotocols"),
    ("servers", "targets"),
    ("target", "backend"),
    ("upstream", "backend"),
];

impl Place {
    /// The keys that may stand here.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static str> {
        KEYS.iter()
            .filter(move |(places, _)| places.contains(&self))
            .flat_map(|(_, keys)| keys.iter().copied())
    }

    /// The key of this place that an unknown one was probably meant to be.
    pub(super) fn meant(self, unknown: &str) -> Option<&'static str> {
        let synonym = SYNONYMS.iter().find(|(other, _)| *other == unknown);
        synonym
            .map(|(_, key)| *key)
            .filter(|key| self.keys().any(|known| known == *key))
            .or_else(|| closest(unknown, self.keys()))
    }

    /// How messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Top => "the top level",
            Limits => "[limits]",
            Admin => "[admin]",
            Listener => "[[listener]]",
            ListenerCertificate => "[[listener.certificate]]",
            Defaults => "[defaults]",
            Route => "[[route]]",
            Subprotocol => "[[route.subprotocol]]",
            Backend => "`backend`",
            Health => "`health` of a backend",
            BackendTls => "`tls` of a backend",
            FramingPair => "a framing for each direction",
            Preset => "a framing with a preset",
            Raw => "a raw framing",
            Delimiter => "a delimiter framing",
            LengthPrefix => "a length-prefix framing",
            Varint => "a varint framing",
            Fixed => "a fixed framing",
            Netstring => "a netstring framing",
            ContentLength => "a content-length framing",
            OctetCounting => "an octet-counting framing",
            Block => "a block framing",
            Slip => "a slip framing",
            Cobs => "a cobs framing",
            JsonSeq => "a json-seq framing",
            Bytes => "bytes in hexadecimal",
            MessagePair => "`message`",
            OversizedPair => "`oversized`",
            EmptyPair => "`empty`",
            Replacement => "`embedded_delimiter`",
        }
    }
}

/// Where a key that is unknown in one place is known: said to the person who wrote it there.
pub(super) fn belongs(key: &str) -> Option<String> {
    let (places, _) = KEYS.iter().find(|(_, keys)| keys.contains(&key))?;
    Some(match places {
        [Top] => {
            let header = match key {
                "listener" | "route" => format!("[[{key}]]"),
                "limits" | "admin" | "defaults" => format!("[{key}]"),
                _ => {
                    return Some(format!(
                        "`{key}` stands at the top of the file, above the first table"
                    ));
                }
            };
            format!("{header} is a table of its own")
        }
        [Listener] if key == "certificate" => {
            "[[listener.certificate]] is a table of its own, below its [[listener]]".to_owned()
        }
        [Route] if key == "subprotocol" => {
            "[[route.subprotocol]] is a table of its own, below its [[route]]".to_owned()
        }
        [Listener, Admin] => format!("`{key}` is a key of [[listener]] or [admin]"),
        [Route, Admin] => format!("`{key}` is a key of [[route]] or [admin]"),
        [Limits, Listener, ..] => {
            format!("`{key}` is a key of [limits], [[listener]], [[route]] or `backend`")
        }
        [Route] => format!("`{key}` is a key of [[route]]; each route has its own"),
        [Route, Subprotocol] => format!("`{key}` is a key of [[route]] or [[route.subprotocol]]"),
        [Route, Subprotocol, Defaults] => {
            format!("`{key}` is a key of [[route]], [[route.subprotocol]] or [defaults]")
        }
        [Route, Defaults] => format!("`{key}` is a key of [[route]] or [defaults]"),
        [FramingPair, ..] => {
            format!(
                "`{key}` stands inside `framing`, `message`, `oversized` or `empty`, such as message = {{ {key} = \"text\" }}"
            )
        }
        [Replacement] => "write embedded_delimiter = { replace = \" \" }".to_owned(),
        [Bytes] => "bytes are written where they are used, such as delimiter = { hex = \"0d0a\" }".to_owned(),
        [Raw, ..] => "the kind stands inside the framing: framing = { kind = \"raw\" }".to_owned(),
        [place, ..] => format!("`{key}` is a key of {}", place.name()),
        [] => return None,
    })
}
