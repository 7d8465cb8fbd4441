//! The misdeeds of single clients and backends, as a table.

use super::{Case, Door, End, Manner, Opening, Step};
use crate::support::{BINARY, CLOSE, CONTINUATION, Request, TEXT, frame};
use crate::wire::Told;

const NOTHING: Told = Told::Nothing;

fn early(kind: &'static str, door: Door, bytes: &[u8], manner: Manner, expected: &'static [End]) -> Case {
    Case {
        kind,
        opening: Opening::Bytes(door, bytes.to_vec(), manner),
        steps: Vec::new(),
        expected,
    }
}

fn refused(kind: &'static str, request: Request, expected: &'static [End]) -> Case {
    Case {
        kind,
        opening: Opening::Session(request),
        steps: vec![Step::Close],
        expected,
    }
}

fn session(kind: &'static str, path: &str, steps: Vec<Step>, expected: &'static [End]) -> Case {
    Case {
        kind,
        opening: Opening::Session(Request::get(path)),
        steps,
        expected,
    }
}

/// The start of a ClientHello.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00";

/// Every case once.
pub fn all() -> Vec<Case> {
    let mut all = openings();
    all.extend(requests());
    all.extend(clients());
    all.extend(backends());
    all
}

/// What never gets as far as a request.
fn openings() -> Vec<Case> {
    let tls_timeout: &[End] = &[("tls_timeout", NOTHING)];
    let left: &[End] = &[("client_left", NOTHING)];
    let late: &[End] = &[("request_timeout", Told::Status(408))];
    let bad: &[End] = &[("bad_request", Told::Status(400))];
    let no_proxy: &[End] = &[("proxy_header", NOTHING)];
    let head = b"GET /wrong-lines HTTP/1.1\r\nHost: localhost\r\nX: ";
    let long = [&head[..], &[b'x'; 10_000]].concat();
    let too_large: &[End] = &[("head_too_large", Told::Status(431))];
    vec![
        early(
            "garbage for TLS",
            Door::BeforeTls,
            &[0xFF; 64],
            Manner::Once,
            &[("tls_failed", NOTHING)],
        ),
        early(
            "HTTP on a TLS port",
            Door::BeforeTls,
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            Manner::Once,
            &[("plain_http", Told::Status(400))],
        ),
        early(
            "TLS that stalls",
            Door::BeforeTls,
            HELLO,
            Manner::Once,
            tls_timeout,
        ),
        early(
            "TLS that drips",
            Door::BeforeTls,
            HELLO,
            Manner::Drip,
            tls_timeout,
        ),
        early("TLS that ends", Door::BeforeTls, HELLO, Manner::Leave, left),
        early(
            "silence before TLS",
            Door::BeforeTls,
            b"",
            Manner::Once,
            tls_timeout,
        ),
        early("no PROXY header", Door::Proxied, head, Manner::Once, no_proxy),
        early(
            "a PROXY header that ends",
            Door::Proxied,
            b"PROXY TCP4 192.0",
            Manner::Leave,
            no_proxy,
        ),
        early(
            "a PROXY header that stalls",
            Door::Proxied,
            b"PROXY TCP4 1",
            Manner::Once,
            &[("proxy_timeout", NOTHING)],
        ),
        early("silence before a head", Door::Plain, b"", Manner::Once, late),
        early("silence behind TLS", Door::Tls, b"", Manner::Once, late),
        early("head that drips", Door::Plain, head, Manner::Drip, late),
        early("head that drips in TLS", Door::Tls, head, Manner::Drip, late),
        early("head that ends", Door::Plain, head, Manner::Leave, left),
        early("head that vanishes", Door::Plain, head, Manner::Vanish, left),
        early(
            "head that is too long",
            Door::Plain,
            &long,
            Manner::Once,
            too_large,
        ),
        early(
            "head that is none",
            Door::Plain,
            b"hello, is anybody there?\r\n\r\n",
            Manner::Once,
            bad,
        ),
    ]
}

/// Requests that are refused.
fn requests() -> Vec<Case> {
    let get = || Request::get("/wrong-lines");
    let mut old = get();
    old.line = "GET /wrong-lines HTTP/1.0".into();
    let mut post = get();
    post.line = "POST /wrong-lines HTTP/1.1".into();
    vec![
        refused(
            "no Host",
            get().without("Host"),
            &[("bad_host", Told::Status(400))],
        ),
        refused(
            "two Hosts",
            get().add("Host", "localhost"),
            &[("bad_host", Told::Status(400))],
        ),
        refused(
            "another Origin",
            get().set("Origin", "https://evil.example"),
            &[("origin_refused", Told::Status(403))],
        ),
        refused(
            "two Origins",
            get().add("Origin", "a").add("Origin", "b"),
            &[("bad_origin", Told::Status(400))],
        ),
        refused(
            "no such path",
            Request::get("/nothing"),
            &[("not_found", Told::Status(404))],
        ),
        refused(
            "no upgrade",
            get().without("Upgrade"),
            &[("not_an_upgrade", Told::Status(426))],
        ),
        refused("HTTP/1.0", old, &[("bad_http_version", Told::Status(400))]),
        refused("POST", post, &[("bad_method", Told::Status(405))]),
        refused(
            "a bad key",
            get().set("Sec-WebSocket-Key", "short"),
            &[("bad_key", Told::Status(400))],
        ),
        refused(
            "another version",
            get().set("Sec-WebSocket-Version", "8"),
            &[("bad_version", Told::Status(426))],
        ),
        refused(
            "a body",
            get().set("Content-Length", "5"),
            &[("bad_body", Told::Status(400))],
        ),
        refused(
            "nobody there",
            Request::get("/nobody"),
            &[
                ("dial_failed", Told::Status(502)),
                ("backend_down", Told::Status(503)),
            ],
        ),
        refused(
            "nobody there, told in words",
            Request::get("/nobody-in-words"),
            &[
                ("dial_failed", Told::Close(1014)),
                ("backend_down", Told::Close(1014)),
            ],
        ),
        refused(
            "a target that comes and goes",
            Request::get("/flappy"),
            &[
                ("client_closed", Told::Close(1000)),
                ("dial_failed", Told::Status(502)),
                ("backend_down", Told::Status(503)),
                // Queued at a listener that closes.
                ("backend_reset", Told::Close(1014)),
            ],
        ),
        refused(
            "a route that comes and goes",
            Request::get("/sometimes"),
            &[
                ("client_closed", Told::Close(1000)),
                ("not_found", Told::Status(404)),
            ],
        ),
    ]
}

/// Clients that do wrong in their sessions.
fn clients() -> Vec<Case> {
    let (lines, u32, slow) = ("/wrong-lines", "/wrong-u32", "/slow-netstring");
    let protocol: &[End] = &[("protocol_error", Told::Close(1002))];
    let stalled: &[End] = &[("client_stalled", Told::Close(1008))];
    let gone: &[End] = &[("client_gone", NOTHING)];
    let closed: &[End] = &[("client_closed", Told::Close(1000))];
    let whole = frame(true, TEXT, b"a message that comes slowly");
    let text = |payload: &[u8]| Step::Message(TEXT, payload.to_vec());
    let binary = |payload: &[u8]| Step::Message(BINARY, payload.to_vec());
    let listen = || Step::Order("listen");
    let fragmented_ping = Step::Bytes(frame(false, 9, b""));
    let twice = [frame(false, TEXT, b"one"), frame(true, TEXT, b"two")].concat();
    vec![
        session(
            "a frame that drips",
            slow,
            vec![Step::Drip(b"a message that comes slowly".to_vec()), Step::Close],
            closed,
        ),
        session(
            "a frame that stalls",
            lines,
            vec![listen(), Step::Bytes(whole[..9].to_vec())],
            stalled,
        ),
        session(
            "a header that stalls",
            u32,
            vec![listen(), Step::Bytes(whole[..3].to_vec())],
            stalled,
        ),
        session(
            "a message that stalls",
            lines,
            vec![listen(), Step::Bytes(frame(false, TEXT, b"half"))],
            stalled,
        ),
        session(
            "a frame without mask",
            lines,
            vec![listen(), Step::Bytes(b"\x81\x05hello".to_vec())],
            protocol,
        ),
        session(
            "a reserved bit",
            u32,
            vec![listen(), Step::Bytes(b"\xC1\x80abcd".to_vec())],
            protocol,
        ),
        session(
            "a reserved opcode",
            u32,
            vec![listen(), Step::Bytes(b"\x83\x80abcd".to_vec())],
            protocol,
        ),
        session(
            "a continuation of nothing",
            lines,
            vec![listen(), Step::Bytes(frame(true, CONTINUATION, b"x"))],
            protocol,
        ),
        session(
            "a message in a message",
            lines,
            vec![listen(), Step::Bytes(twice)],
            protocol,
        ),
        session(
            "a fragmented ping",
            u32,
            vec![listen(), fragmented_ping],
            protocol,
        ),
        session(
            "a close code of none",
            u32,
            vec![listen(), Step::Bytes(frame(true, CLOSE, &[3, 237]))],
            protocol,
        ),
        session(
            "text that is none",
            lines,
            vec![listen(), text(b"caf\xE9")],
            &[("client_text", Told::Close(1007))],
        ),
        session(
            "a message too long",
            u32,
            vec![listen(), binary(&[b'x'; 70_000])],
            &[("client_too_big", Told::Close(1009))],
        ),
        session(
            "a delimiter in text",
            lines,
            vec![listen(), text(b"QUIT\nKILL")],
            &[("delimiter_in_text", Told::Close(1007))],
        ),
        session(
            "a delimiter in bytes",
            lines,
            vec![listen(), binary(b"a\nb")],
            &[("delimiter_in_binary", Told::Close(1008))],
        ),
        session(
            "the wrong kind",
            "/accents",
            vec![binary(b"hello")],
            &[("wrong_kind", Told::Close(1003))],
        ),
        session(
            "what a charset lacks",
            "/accents",
            vec![text("😀".as_bytes())],
            &[("unmappable", Told::Close(1007))],
        ),
        session(
            "a client that vanishes",
            slow,
            vec![listen(), Step::Bytes(whole[..9].to_vec()), Step::Vanish],
            gone,
        ),
        session(
            "a client that vanishes idle",
            u32,
            vec![listen(), Step::Vanish],
            gone,
        ),
        session("a client that leaves", lines, vec![listen(), Step::Leave], gone),
        session(
            "a client that is silent",
            "/silent",
            vec![listen(), Step::Rest],
            &[("pong_timeout", Told::Close(1008))],
        ),
        session(
            "an idle client",
            "/idle",
            vec![listen()],
            &[("idle", Told::Close(1001))],
        ),
        session(
            "a client that does not read",
            u32,
            vec![Step::Order("flood"), Step::Rest],
            &[("client_not_reading", NOTHING)],
        ),
        session(
            "a flood of pings",
            lines,
            vec![listen(), Step::Pings(2000), Step::Close],
            closed,
        ),
        session(
            "a client that is too fast",
            "/rated",
            vec![Step::Burst(30)],
            &[("too_fast", Told::Close(1008))],
        ),
        session(
            "a client that has to wait",
            "/delayed",
            vec![
                Step::Order("echo"),
                Step::Burst(120),
                Step::Hear(120),
                Step::Close,
            ],
            closed,
        ),
    ]
}

/// Backends that do wrong. The client reads, and is told.
fn backends() -> Vec<Case> {
    let stalled: &[End] = &[("backend_stalled", Told::Close(1011))];
    let reset: &[End] = &[("backend_reset", Told::Close(1014))];
    let big: &[End] = &[("backend_too_big", Told::Close(1009))];
    let closed: &[End] = &[("backend_closed", Told::Close(1000))];
    let case = |kind, path, order, expected| session(kind, path, vec![Step::Order(order)], expected);
    let (lines, u32, netstring) = ("/wrong-lines", "/wrong-u32", "/wrong-netstring");
    vec![
        session(
            "a record that drips",
            "/slow-netstring",
            vec![Step::Order("drip"), Step::Hear(1), Step::Close],
            &[("client_closed", Told::Close(1000))],
        ),
        case("a record that stalls", u32, "half", stalled),
        case("a netstring that stalls", netstring, "half", stalled),
        case(
            "a record that is cut",
            u32,
            "cut",
            &[("backend_cut", Told::Close(1011))],
        ),
        case("a line that is cut", lines, "cut", closed),
        case("a reset inside a record", u32, "reset", reset),
        case("a reset inside a line", lines, "reset", reset),
        case("a record too long", u32, "big", big),
        case("a netstring too long", netstring, "big", big),
        case(
            "no record at all",
            netstring,
            "garbage",
            &[("backend_garbage", Told::Close(1011))],
        ),
        case(
            "a line that is no text",
            lines,
            "latin",
            &[("backend_text", Told::Close(1007))],
        ),
        session(
            "a backend that does not read",
            u32,
            vec![Step::Order("deaf"), Step::Flood],
            &[("backend_not_reading", Told::Close(1014))],
        ),
        session("a backend that hangs up", "/hangs-up", vec![], closed),
    ]
}
