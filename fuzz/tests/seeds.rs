//! Runs every target with its committed seeds: on any toolchain, without a fuzzer.
//!
//! The seeds that are not text are made here, where their names and bytes can be read side by side. `SEALOCK_WRITE_SEEDS=1` writes
//! them; otherwise a test compares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sealock_fuzz::{TARGETS, is_upgraded};

/// Seeds by name.
type Seeds = Vec<(&'static str, Vec<u8>)>;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A client's frame. `first` is FIN, RSV and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// Bytes behind their length.
fn text(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

fn texts(all: &[&[u8]]) -> Vec<u8> {
    all.iter().flat_map(|one| text(one)).collect()
}

/// Limit 1000; pieces of 1, 2 and 40 bytes in turn.
fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
    [&[5, 3, 1, 2, 40], &frames.concat()[..]].concat()
}

fn frames() -> Seeds {
    let long = "ä€😀".repeat(90);
    vec![
        (
            "text-and-binary",
            stream(&[frame(0x81, "hello €".as_bytes()), frame(0x82, &[0xFF; 130])]),
        ),
        (
            "fragments-with-a-ping-between",
            stream(&[
                frame(0x01, b"\xE2\x82"),
                frame(0x89, b"?"),
                frame(0x00, b""),
                frame(0x80, b"\xAC"),
            ]),
        ),
        (
            "empty-messages",
            stream(&[frame(0x81, b""), frame(0x02, b""), frame(0x80, b"")]),
        ),
        (
            "close-with-a-reason",
            stream(&[
                frame(0x88, "\u{3}\u{FFFD}".as_bytes()),
                frame(0x88, b"\x03\xE8bye"),
            ]),
        ),
        (
            "close-1014",
            stream(&[frame(0x88, b"\x03\xF6gateway"), vec![0xFF; 9]]),
        ),
        (
            "close-of-one-byte",
            stream(&[frame(0x8A, b""), frame(0x88, b"\x03")]),
        ),
        (
            "text-cut-inside-a-character",
            stream(&[frame(0x81, b"ab\xE2\x82")]),
        ),
        (
            "text-that-is-no-utf8-in-its-first-fragment",
            stream(&[frame(0x01, b"\xF4\x90"), frame(0x89, b"")]),
        ),
        (
            "message-at-the-limit-and-one-over-it",
            stream(&[
                frame(0x82, &[7; 1000]),
                frame(0x02, &[7; 999]),
                frame(0x80, &[7; 2]),
            ]),
        ),
        (
            "length-not-minimal",
            stream(&[vec![0x82, 0xFE, 0x00, 0x7D, 0, 0, 0, 0]]),
        ),
        (
            "pong-with-a-length-not-minimal",
            stream(&[b"\x8A\xFE\x00\x01\0\0\0\0a".to_vec()]),
        ),
        (
            "length-of-2-to-the-63",
            stream(&[vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]),
        ),
        (
            "length-in-eight-bytes",
            [&[0, 2, 255, 7][..], &frame(0x82, &[0; 65_536])].concat(),
        ),
        ("not-masked", stream(&[frame(0x81, b"a"), b"\x81\x01a".to_vec()])),
        ("reserved-bit", stream(&[frame(0xC1, b"a")])),
        (
            "continuation-of-nothing",
            stream(&[frame(0x82, b"a"), frame(0x80, b"b")]),
        ),
        (
            "message-inside-a-message",
            stream(&[frame(0x01, long.as_bytes()), frame(0x81, b"b")]),
        ),
        ("fragmented-ping", stream(&[frame(0x09, b"a")])),
        (
            "limit-of-nothing",
            [&[1, 0][..], &frame(0x82, b""), &frame(0x82, b"a")].concat(),
        ),
    ]
}

/// Announced, not discarding, limit 50; messages in pieces of 3, streams in pieces of 1 and 5.
const TRAFFIC: &[u8] = &[1, 0, 0, 50, 1, 3, 2, 1, 5];
/// The same for fragmented messages, and records over the limit are discarded.
const FRAGMENTS: &[u8] = &[0, 1, 0, 5, 1, 3, 2, 1, 5];

fn traffic(manner: &[u8], messages: &[&[u8]], stream: &[u8]) -> Vec<u8> {
    [manner, &[messages.len() as u8], &texts(messages), stream].concat()
}

fn raw() -> Seeds {
    let text = "a€😀b".as_bytes();
    vec![
        (
            "binary",
            [
                &[0][..],
                &traffic(TRAFFIC, &[b"hello", b""], b"\x00\xFF\xFEany bytes"),
            ]
            .concat(),
        ),
        (
            "text-with-long-characters",
            [&[1][..], &traffic(TRAFFIC, &[text], text)].concat(),
        ),
        (
            "text-that-ends-inside-a-character",
            [&[1][..], &traffic(TRAFFIC, &[], &text[..6])].concat(),
        ),
        (
            "text-wider-than-the-limit",
            [&[1][..], &traffic(&[0, 0, 0, 2, 0, 0], &[], text)].concat(),
        ),
    ]
}

fn delimiter() -> Seeds {
    let rule = |keep: u8, policy: &[u8], listed: &[&[u8]]| -> Vec<u8> {
        [&[keep], policy, &[listed.len() as u8 - 1], &texts(listed)].concat()
    };
    let (reject, split): (&[u8], &[u8]) = (&[0], &[1]);
    let space = [&[2][..], &text(b" ")].concat();
    let messages: &[&[u8]] = &[b"hello", b"", b"a\nb", b"a\r", b"x\r\n"];
    let ends: &[u8] = b"a\r\nb\rc\n\r\nd\r";
    vec![
        (
            "lines",
            [
                rule(0, reject, &[b"\n"]),
                traffic(TRAFFIC, messages, b"one\ntwo\n\nthree"),
            ]
            .concat(),
        ),
        (
            "every-end-of-line",
            [
                rule(0, reject, &[b"\r\n", b"\n", b"\r"]),
                traffic(FRAGMENTS, messages, ends),
            ]
            .concat(),
        ),
        (
            "kept",
            [
                rule(1, reject, &[b"\r\n", b"\r"]),
                traffic(TRAFFIC, &[b"a\r", b"a\r\n", b"a\rb\r\n"], ends),
            ]
            .concat(),
        ),
        (
            "split",
            [rule(0, split, &[b"\n"]), traffic(TRAFFIC, messages, b"\n\n")].concat(),
        ),
        (
            "replaced-by-a-space",
            [
                rule(0, &space, &[b"\r\n", b"\n"]),
                traffic(TRAFFIC, messages, ends),
            ]
            .concat(),
        ),
        (
            "kept-and-replaced-where-the-end-overlaps-itself",
            [
                rule(1, &space, &[b"aa"]),
                traffic(TRAFFIC, &[b"xaaa", b"aaxaa", b"xaa"], b"aaa"),
            ]
            .concat(),
        ),
        (
            "overlapping-itself",
            [
                rule(0, reject, &[b"abab"]),
                traffic(TRAFFIC, &[b"ab", b"xa"], b"xabababab"),
            ]
            .concat(),
        ),
        (
            "longer-one-completed-by-the-next-message",
            [
                rule(0, reject, &[b"b", b"abc"]),
                traffic(TRAFFIC, &[b"a", b"c", b"x"], b"abcb"),
            ]
            .concat(),
        ),
        (
            "kept-longer-one-completed-by-the-next-message",
            [
                rule(1, reject, &[b"b", b"abc"]),
                traffic(TRAFFIC, &[b"ab", b"cb"], b"abcb"),
            ]
            .concat(),
        ),
        (
            "message-that-completes-another-delimiter",
            [
                rule(0, reject, &[b"\n", b"\r\n"]),
                traffic(TRAFFIC, &[b"a\r", b"b"], ends),
            ]
            .concat(),
        ),
        (
            "ambiguous",
            [
                rule(0, reject, &[b"\r", b"\r\n"]),
                traffic(TRAFFIC, messages, ends),
            ]
            .concat(),
        ),
    ]
}

fn counted() -> Seeds {
    let seed = |rule: &[u8], rest: Vec<u8>| [rule, &rest].concat();
    let long = [7; 200];
    let calls: &[u8] = b"Content-Length: 2\r\nContent-Type: a\r\n\r\n{}content-length:0\r\n\r\n";
    vec![
        (
            "leb128",
            seed(
                &[0, 0, 10, 0, 0, 0],
                traffic(TRAFFIC, &[b"hello", b"", &long], b"\x02ab\0\x81\0c\x80"),
            ),
        ),
        (
            "big-endian-behind-a-template",
            seed(
                &[0, 1, 2, 0, 2, 2, 3, 0],
                traffic(TRAFFIC, &[b"hello", &long], b"\x03\0\x02ab\x03\0\x81\0c\x04"),
            ),
        ),
        (
            "length-of-more-than-64-bits",
            seed(&[0, 0, 10, 0, 0, 0], traffic(TRAFFIC, &[b"a"], &[0xFF; 12])),
        ),
        (
            "mqtt",
            seed(
                &[0, 0, 4, 1, 1, 0],
                traffic(
                    TRAFFIC,
                    &[b"\x30\x02ab", b"\x30\x82\0ab", b"\x30\x03ab", b""],
                    b"\xd0\0\x30\x02ab\x30\x80\x80\x80\x80",
                ),
            ),
        ),
        (
            "fixed",
            seed(
                &[1, 0, 3, 0, 0],
                traffic(TRAFFIC, &[b"abc", b"ab", b"abcd", b""], b"abcdefgh"),
            ),
        ),
        (
            "fixed-and-filled-up",
            seed(
                &[1, 0, 7, 1, b' '],
                traffic(FRAGMENTS, &[b"a name", b"", b"too long"], b"a name  another"),
            ),
        ),
        (
            "netstrings",
            seed(
                &[2],
                traffic(TRAFFIC, &[b"hello", b"", &long], b"2:ab,0:,1:c,1:d"),
            ),
        ),
        (
            "netstring-over-the-limit",
            seed(&[2], traffic(FRAGMENTS, &[], b"2:ok,12:far too long,3:end,")),
        ),
        (
            "netstring-with-a-leading-zero",
            seed(&[2], traffic(TRAFFIC, &[], b"1:a,01:b,")),
        ),
        (
            "netstring-without-its-comma",
            seed(&[2], traffic(TRAFFIC, &[], b"1:a;")),
        ),
        (
            "header-lines",
            seed(&[3, 0], traffic(TRAFFIC, &[b"{}", b"", &long], calls)),
        ),
        (
            "header-lines-kept",
            seed(
                &[3, 1],
                traffic(
                    FRAGMENTS,
                    &[b"{}", calls, b"a:b\r\nContent-Length: 2\r\n\r\n{}"],
                    calls,
                ),
            ),
        ),
        (
            "header-lines-with-two-lengths",
            seed(
                &[3, 0],
                traffic(TRAFFIC, &[], b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
            ),
        ),
        (
            "header-lines-with-a-bare-line-feed",
            seed(&[3, 0], traffic(TRAFFIC, &[], b"Content-Length: 2\n\n{}")),
        ),
        (
            "counted-octets",
            seed(
                &[4],
                traffic(TRAFFIC, &[b"<13>1 - - - - -", b""], b"2 ab15 <13>1 - - - - -0 "),
            ),
        ),
    ]
}

/// 0 STOMP, 1 a PostgreSQL server, 2 AMQP, 3 FIX, 4 the start of a PostgreSQL client.
fn protocols() -> Seeds {
    const CONNECT: &[u8] = b"CONNECT\naccept-version:1.2\n\n\0";
    const COUNTED: &[u8] = b"SEND\r\ncontent-length:3\r\n\r\na\0b\0";
    const TWICE: &[u8] = b"A\ncontent-length: 1\nx:\ry\ncontent-length:9\n\n\0\0";
    const FIX: &[u8] = b"8=F\x019=5\x0135=0\x0110=062\x01";
    let seed = |protocol, manner, messages: &[&[u8]], stream: &[u8]| -> Vec<u8> {
        [&[protocol], &traffic(manner, messages, stream)[..]].concat()
    };
    let two = [CONNECT, CONNECT].concat();
    let stomp = [CONNECT, b"\n\r\n", COUNTED, TWICE, b"MESSAGE\n\nhalf"].concat();
    let fix = [
        FIX,
        b"8=FIXT.1.1\x019=12\x0135=A\x0158=\x0110=\x0110=000\x01",
        FIX,
    ]
    .concat();
    vec![
        (
            "stomp",
            seed(
                0,
                TRAFFIC,
                &[CONNECT, b"\n", COUNTED, TWICE, b"\n\n", &two],
                &stomp,
            ),
        ),
        ("stomp-fragments", seed(0, FRAGMENTS, &[COUNTED, CONNECT], &stomp)),
        (
            "stomp-that-announces-too-much",
            seed(0, TRAFFIC, &[], b"A\ncontent-length:99999999999999999999\n\n\0"),
        ),
        (
            "postgres",
            seed(
                1,
                TRAFFIC,
                &[b"X\0\0\0\x04", b"Q\0\0\0\x06x\0", b"Q\0\0\0\x05x\0"],
                b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IZ\0\0\0\x03",
            ),
        ),
        (
            "postgres-start",
            seed(
                4,
                FRAGMENTS,
                &[b"\0\0\0\x09\0\x03\0\0\0", b"\0\0\0\x08\x04\xD2\x16\x2F"],
                b"\0\0\0\x09\0\x03\0\0\0X\0\0\0\x04",
            ),
        ),
        (
            "amqp",
            seed(
                2,
                TRAFFIC,
                &[b"AMQP\0\0\x09\x01", b"AMQP\0\x01\0\0", b"\x08\0\0\0\0\0\0\xCE"],
                b"\x08\0\0\0\0\0\0\xCEAMQP\0\0\x09\x01\x03\0\x01\0\0\0\x02\xCE\xCE\xCE\x08\0\0\0\0\0\0\0",
            ),
        ),
        (
            "amqp-fragments",
            seed(
                2,
                FRAGMENTS,
                &[b"\x03\0\x01\0\0\0\x02\xCE\xCE\xCE"],
                b"\x03\0\x01\0\0\0\x02\xCE\xCE\xCEAMQX",
            ),
        ),
        (
            "fix",
            seed(
                3,
                TRAFFIC,
                &[FIX, &fix, b"8=F\x019=5\x0135=0\x0110=063\x01"],
                &fix,
            ),
        ),
        ("fix-fragments", seed(3, FRAGMENTS, &[FIX], &fix)),
    ]
}

fn block() -> Seeds {
    let rule = |start: &[u8], end: &[u8], escape: Option<u8>, skip: u8, policy: &[u8]| -> Vec<u8> {
        let escape = [u8::from(escape.is_some()), escape.unwrap_or(0), skip];
        [&texts(&[start, end]), &escape[..], policy].concat()
    };
    let (reject, split, escape): (&[u8], &[u8], &[u8]) = (&[0], &[1], &[3]);
    let dash = [&[2][..], &text(b"-")].concat();
    let messages: &[&[u8]] = &[b"hello", b"", b"a\x1c\rb", b"a\x1c", b"\x0bx", b"\x02\x03\x10"];
    let mllp = |policy| rule(b"\x0b", b"\x1c\r", None, 0, policy);
    let stream: &[u8] = b"\x0bone\x1c\r\x0b\x1c\r\x0bt\x1cw\x0bo\x1c\r\x0b\x1c";
    let stuffed: &[u8] = b"\x10\x02a\x10\x10\x03\x10\x03\x10\x02\x10";
    vec![
        (
            "mllp",
            [mllp(reject), traffic(TRAFFIC, messages, stream)].concat(),
        ),
        (
            "split",
            [mllp(split), traffic(FRAGMENTS, messages, stream)].concat(),
        ),
        (
            "replaced",
            [mllp(&dash), traffic(TRAFFIC, messages, b"?\x0b")].concat(),
        ),
        (
            "outside-skipped",
            [
                rule(b"ab", b"ba", None, 1, reject),
                traffic(FRAGMENTS, &[b"b", b"x", b"ab"], b"aabxbabaabba?a"),
            ]
            .concat(),
        ),
        (
            "end-that-overlaps-itself",
            [
                rule(b"<", b"aa", None, 0, split),
                traffic(TRAFFIC, &[b"xaaa", b"aaaa", b"a"], b"<aaa"),
            ]
            .concat(),
        ),
        (
            "dle",
            [
                rule(b"\x10\x02", b"\x10\x03", Some(0x10), 0, escape),
                traffic(TRAFFIC, messages, stuffed),
            ]
            .concat(),
        ),
        (
            "dle-refused",
            [
                rule(b"\x10\x02", b"\x10\x03", Some(0x10), 1, reject),
                traffic(FRAGMENTS, messages, stuffed),
            ]
            .concat(),
        ),
        (
            "escape-before-special",
            [
                rule(b"\x02", b"\x03", Some(0x10), 0, escape),
                traffic(TRAFFIC, messages, b"\x02\x10\x02\x10\x03\x10\x10\x03\x02a\x02"),
            ]
            .concat(),
        ),
    ]
}

fn stuffed() -> Seeds {
    let run = [7; 254];
    let messages: &[&[u8]] = &[b"hello", b"", b"a\0\0", b"\xc0\xdb\xdc", &run];
    vec![
        (
            "slip",
            [
                &[0][..],
                &traffic(TRAFFIC, messages, b"\xc0\xc0a\xdb\xdc\xdb\xdd\xc0b\xc0\xdb"),
            ]
            .concat(),
        ),
        (
            "slip-with-a-bad-escape",
            [
                &[0][..],
                &traffic(FRAGMENTS, messages, b"far too long\xdb\xc0a\xc0\xdba"),
            ]
            .concat(),
        ),
        (
            "cobs",
            [
                &[1][..],
                &traffic(TRAFFIC, messages, b"\0\x03ab\x01\x02c\0\x01\0\0\x04a"),
            ]
            .concat(),
        ),
        (
            "cobs-with-a-zero-inside",
            [
                &[1][..],
                &traffic(FRAGMENTS, messages, b"\x09far too \x05long\0\x02a\0\x05ab\0"),
            ]
            .concat(),
        ),
        (
            "cobs-with-a-full-run",
            [
                &[1][..],
                &traffic(
                    &[0, 0, 1, 0, 1, 200, 1, 9],
                    messages,
                    &[&[0xFF], &run[..], b"\x01\0"].concat(),
                ),
            ]
            .concat(),
        ),
    ]
}

fn json_seq() -> Seeds {
    let messages: &[&[u8]] = &[b"{\"a\":[1,\n2]}", b"", b"12 ", b"\"\\\"\"", b"1\n", b"[\x1e]"];
    vec![
        (
            "texts",
            traffic(TRAFFIC, messages, b"\x1e\x1e[1,\n2]\n\n\x1e\"\\\"\n\"\x1e12\n"),
        ),
        (
            "broken-ones-discarded",
            traffic(
                FRAGMENTS,
                messages,
                b"no\x1e[1\x1e{}\n\x1e12\x1e[1,2,3]\nx\x1e{} x\n\x1e3\n",
            ),
        ),
        (
            "cut-short",
            traffic(TRAFFIC, messages, b"\x1e{\"a\": 1}\x1e{\"a\":"),
        ),
    ]
}

/// Width, little endian, includes header, keep, offset, adjustment (an index and a sign), template.
fn prefix(width: u8, flags: [u8; 3], offset: u8, adjustment: [u8; 2], template: &[u8]) -> Vec<u8> {
    [&[width], &flags[..], &[offset], &adjustment, &text(template)].concat()
}

fn length_prefix() -> Seeds {
    let plain = |width, little| prefix(width, [little, 0, 0], 0, [0, 0], b"");
    let long = [7; 255];
    vec![
        (
            "u16be",
            [
                plain(2, 0),
                traffic(TRAFFIC, &[b"hello", b""], b"\0\x02ab\0\0\0\x01c\0"),
            ]
            .concat(),
        ),
        (
            "u24le",
            [
                plain(3, 1),
                traffic(FRAGMENTS, &[b"hello"], b"\x02\0\0ab\x09\0\0far too long"),
            ]
            .concat(),
        ),
        (
            "u64be-that-announces-too-much",
            [plain(8, 0), traffic(FRAGMENTS, &[b"a"], &[0xFF; 20])].concat(),
        ),
        (
            "u8-that-cannot-hold-the-length",
            [prefix(1, [0; 3], 0, [1, 1], b""), traffic(TRAFFIC, &[&long], b"")].concat(),
        ),
        (
            "tpkt",
            [
                prefix(2, [0, 1, 0], 2, [0, 0], b"\x03\0"),
                traffic(TRAFFIC, &[b"ab"], b"\x03\0\0\x06ab\x04\0\0\x06"),
            ]
            .concat(),
        ),
        (
            "header-kept",
            [
                prefix(3, [1, 0, 1], 0, [1, 0], b""),
                traffic(
                    TRAFFIC,
                    &[b"\x02\0\0\x07ab", b"\x03\0\0\x07ab", b""],
                    b"\x02\0\0\x07ab",
                ),
            ]
            .concat(),
        ),
        (
            "header-kept-of-a-fragmented-message",
            [
                prefix(2, [0, 0, 1], 4, [0, 0], b""),
                traffic(
                    FRAGMENTS,
                    &[b"\0\x01\0\0\0\x02\x11\x03"],
                    b"\0\x01\0\0\0\x02\x11\x03",
                ),
            ]
            .concat(),
        ),
        (
            "value-less-than-the-header",
            [
                prefix(2, [0, 1, 0], 0, [0, 0], b""),
                traffic(TRAFFIC, &[b"a"], b"\0\x01"),
            ]
            .concat(),
        ),
    ]
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const USUAL: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";

/// Names that start with `right` are upgraded; the others are not.
fn request_head() -> Seeds {
    let ask = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n").into_bytes();
    let get = |headers: &str| ask("GET /ws HTTP/1.1", &format!("Host: a.com\r\n{headers}"));
    let good = get(&format!("{USUAL}{KEY}"));
    let long = "x".repeat(1100);
    vec![
        ("right", good.clone()),
        (
            "right-with-early-frames",
            [&good[..], &frame(0x81, b"hello")].concat(),
        ),
        (
            "right-in-odd-spelling",
            ask(
                "\r\nGET http://a.com/ws?token=1 HTTP/1.1",
                &format!(
                    "hOST: b.org:80\r\nupgrade: h2c, WebSocket\r\nConnection: keep-alive\r\nconnection: , UPGRADE\r\nSec-WebSocket-Version:13\r\nContent-Length: 0\r\n{KEY}"
                ),
            ),
        ),
        (
            "right-with-bare-line-feeds",
            String::from_utf8_lossy(&good).replace('\r', "").into_bytes(),
        ),
        (
            "right-of-the-same-origin-with-a-subprotocol",
            get(&format!(
                "{USUAL}{KEY}Origin: http://a.com\r\nSec-WebSocket-Protocol: x, chat\r\nSec-WebSocket-Protocol: text.ircv3.net\r\n"
            )),
        ),
        (
            "other-origin",
            get(&format!("{USUAL}{KEY}Origin: https://a.com.evil.org\r\n")),
        ),
        (
            "other-method",
            ask("POST /ws HTTP/1.1", &format!("Host: a.com\r\n{USUAL}{KEY}")),
        ),
        ("head-method", ask("HEAD /ws HTTP/1.1", "Host: a.com\r\n")),
        (
            "other-version",
            ask("GET /ws HTTP/1.0", &format!("Host: a.com\r\n{USUAL}{KEY}")),
        ),
        (
            "http2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        ),
        (
            "other-websocket-version",
            get(&format!(
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n{KEY}"
            )),
        ),
        (
            "other-path",
            ask("GET /wsx HTTP/1.1", &format!("Host: a.com\r\n{USUAL}{KEY}")),
        ),
        (
            "no-upgrade",
            get(&format!(
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{KEY}"
            )),
        ),
        ("no-key", get(USUAL)),
        ("two-keys", get(&format!("{USUAL}{KEY}{KEY}"))),
        (
            "key-with-spare-bits",
            get(&format!("{USUAL}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n")),
        ),
        ("two-hosts", get(&format!("Host: a.com\r\n{USUAL}{KEY}"))),
        (
            "bad-host-behind-an-absolute-target",
            ask(
                "GET http://a.com/ws HTTP/1.1",
                &format!("Host: a com\r\n{USUAL}{KEY}"),
            ),
        ),
        ("no-host", ask("GET /ws HTTP/1.1", &format!("{USUAL}{KEY}"))),
        (
            "with-a-body",
            [&get(&format!("{USUAL}{KEY}Content-Length: 3\r\n"))[..], b"abc"].concat(),
        ),
        (
            "with-chunks",
            get(&format!(
                "{USUAL}{KEY}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
            )),
        ),
        ("folded-header", get(&format!("{USUAL}{KEY}X: a\r\n b\r\n"))),
        ("head-over-the-limit", get(&format!("{USUAL}{KEY}X: {long}\r\n"))),
        ("unfinished", good[..good.len() - 3].to_vec()),
        ("nothing", Vec::new()),
        ("tls", b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03".to_vec()),
    ]
}

/// Both framings (0 raw, 3 lines, 7 u16be, 10 mysql), embedded, accept, deliver, the limit, oversized, partial, empty, half-close, idle,
/// manner (1 a deaf client, 2 a deaf backend, 4 GBK, 8 ISO-2022-JP, 16 text is mended, 128 characters are escaped), room (0 large, 2 small),
/// early bytes.
fn setup(framings: [u8; 2], policies: [u8; 3], limit: u16, ends: [u8; 5], manner: u8, room: u8) -> Vec<u8> {
    [
        &framings[..],
        &policies,
        &limit.to_be_bytes(),
        &ends,
        &[manner, room, 0],
    ]
    .concat()
}

fn session() -> Seeds {
    let client = |first: u8, payload: &[u8]| [&[1, first][..], &text(payload)].concat();
    let bulk_up = |first: u8, len: u16| [&[2, first][..], &len.to_be_bytes(), b"x"].concat();
    let backend = |bytes: &[u8]| [&[3][..], &text(bytes)].concat();
    let bulk_down = |len: u16| [&[4][..], &len.to_be_bytes(), b"y"].concat();
    let line = |payload: &[u8]| [&[8][..], &text(payload)].concat();
    let (wait, client_ends, stop, backend_ends): (&[u8], &[u8], &[u8], &[u8]) =
        (&[5, 3], &[6], &[7, 0], &[7, 1]);
    let usual = [0, 0, 0, 0, 0];
    let lines = setup([3, 3], [0, 0, 1], 999, usual, 0, 0);
    let counted = setup([7, 7], [0, 0, 0], 4999, usual, 0, 0);
    vec![
        (
            "lines-both-ways-then-stop",
            [&lines[..], &client(0x81, b"hello"), &line(b"hi"), wait, stop].concat(),
        ),
        (
            "client-closes",
            [
                &lines[..],
                &client(0x81, b"bye"),
                &client(0x88, b"\x03\xE8"),
                wait,
                backend_ends,
            ]
            .concat(),
        ),
        (
            "backend-ends-inside-a-line",
            [
                &lines[..],
                &backend(b"one\ntw"),
                backend_ends,
                &client(0x88, b"\x03\xE8"),
            ]
            .concat(),
        ),
        (
            "backend-ends-inside-a-record",
            [&counted[..], &backend(b"\0\x05ab"), backend_ends].concat(),
        ),
        (
            "client-leaves-inside-a-record",
            [
                &counted[..],
                &[0],
                &text(&frame(0x82, b"a long message")[..9]),
                client_ends,
            ]
            .concat(),
        ),
        (
            "delimiter-inside-a-message",
            [&lines[..], &client(0x81, b"a\nb"), wait].concat(),
        ),
        (
            "record-over-the-limit-is-discarded",
            [
                &setup([3, 3], [0; 3], 9, [1, 0, 0, 0, 0], 0, 0)[..],
                &line(b"far too long"),
                &line(b"ok"),
            ]
            .concat(),
        ),
        (
            "record-over-the-limit",
            [
                &setup([7, 7], [0; 3], 9, usual, 0, 0)[..],
                &line(b"far too long"),
                wait,
            ]
            .concat(),
        ),
        (
            "half-close",
            [
                &setup([3, 3], [0, 0, 1], 99, [0, 0, 0, 1, 0], 0, 0)[..],
                &client(0x81, b""),
                &line(b"reply"),
                backend_ends,
            ]
            .concat(),
        ),
        (
            "deaf-client",
            [
                &setup([0, 0], [0; 3], 9999, usual, 1, 2)[..],
                &bulk_down(5000),
                &client(0x89, b"?"),
                wait,
                wait,
                wait,
                wait,
            ]
            .concat(),
        ),
        (
            "deaf-backend",
            [
                &setup([7, 7], [0; 3], 9999, usual, 2, 2)[..],
                &bulk_up(0x82, 5000),
                wait,
                wait,
                wait,
                wait,
            ]
            .concat(),
        ),
        (
            "silence-after-a-ping",
            [&lines[..], &[5, 7], &[5, 7], &[5, 7]].concat(),
        ),
        (
            "stalled-inside-a-message",
            [
                &counted[..],
                &client(0x02, b"half"),
                &client(0x8A, b""),
                &[5, 6],
                &client(0x8A, b""),
                &[5, 7],
            ]
            .concat(),
        ),
        (
            "record-discarded-behind-a-pong",
            [
                &setup([1, 2], [0; 3], 9999, [1, 0, 0, 0, 0], 1, 2)[..],
                &bulk_down(5000),
                &client(0x89, b"?"),
                wait,
                &bulk_down(65_000),
                wait,
                &bulk_down(256),
            ]
            .concat(),
        ),
        (
            "backend-fails-while-a-record-is-on-its-way",
            [
                &setup([7, 3], [0, 0, 1], 999, usual, 0, 0)[..],
                &[0],
                &text(&frame(0x82, b"a long message")[..9]),
                &backend(b"\xFF\n"),
            ]
            .concat(),
        ),
        (
            "backend-fails-while-half-a-line-waits",
            [
                &setup([3, 3], [0, 0, 1], 999, usual, 2, 2)[..],
                &bulk_up(0x82, 100),
                wait,
                &backend(b"\xFF\n"),
                wait,
            ]
            .concat(),
        ),
        (
            "partial-header",
            [
                &setup([10, 10], [0, 0, 2], 99, [0, 1, 0, 0, 0], 0, 0)[..],
                &backend(b"\x05\0"),
                backend_ends,
            ]
            .concat(),
        ),
        (
            "partial-header-that-is-no-text",
            [
                &setup([10, 10], [0, 0, 1], 99, [0, 1, 0, 0, 0], 0, 0)[..],
                &backend(b"\xFF\0"),
                backend_ends,
            ]
            .concat(),
        ),
        (
            "partial-header-over-the-limit",
            [
                &setup([10, 10], [0, 0, 2], 0, [0, 1, 0, 0, 0], 0, 0)[..],
                &backend(b"\x05\0"),
                backend_ends,
            ]
            .concat(),
        ),
        (
            "auto-text-and-binary",
            [
                &setup([3, 3], [0, 0, 2], 99, usual, 0, 0)[..],
                &line("€".as_bytes()),
                &line(b"\xFF"),
            ]
            .concat(),
        ),
        (
            "charset-both-ways",
            [
                &setup([3, 3], [0, 0, 1], 99, usual, 4 | 16 | 128, 0)[..],
                &client(0x01, &"你😀".as_bytes()[..4]),
                &client(0x80, &"你😀".as_bytes()[4..]),
                &line(b"\xC4\xE3\xFF"),
            ]
            .concat(),
        ),
        (
            "charset-of-a-stream-that-is-cut",
            [
                &setup([0, 0], [0, 0, 2], 99, usual, 8, 0)[..],
                &backend(b"\x1B$B\x24"),
                wait,
                &backend(b"\x22\xFF\x1B$"),
                wait,
                backend_ends,
            ]
            .concat(),
        ),
        (
            "message-over-the-limit-is-discarded",
            [
                &setup([3, 3], [0, 0, 1], 9, [1, 0, 0, 0, 0], 0, 0)[..],
                &client(0x01, b"12345"),
                &client(0x00, b"678901"),
                &client(0x80, b"2"),
                &client(0x81, b"next"),
            ]
            .concat(),
        ),
    ]
}

/// The session of a client that nobody asks for a certificate, with these cuts, and no damage.
fn tls_session(version: u8, room: u8, [up, down]: [&[u8]; 2]) -> Vec<u8> {
    [&[version, 0, 0, room][..], &text(up), &text(down), &[0]].concat()
}

fn tls() -> Seeds {
    const TLS13: u8 = 0;
    const TLS12: u8 = 1;
    const WHOLE: u8 = 0;
    const KEYS: &[u8] = &[3];
    const WAIT: &[u8] = &[4];
    const CLOSE: &[u8] = &[5];
    const END: &[u8] = &[7];
    let data = |len: u16| [&[2][..], &len.to_be_bytes()].concat();
    let raw = |bytes: &[u8]| [&[6][..], &text(bytes)].concat();
    let whole = |version| tls_session(version, WHOLE, [&[], &[]]);
    vec![
        (
            "an-echo-in-order",
            [&whole(TLS13)[..], &data(100), WAIT, &data(3), CLOSE].concat(),
        ),
        (
            "an-echo-in-order-in-1.2",
            [&whole(TLS12)[..], &data(100), WAIT, &data(3), CLOSE].concat(),
        ),
        (
            "byte-by-byte",
            [
                &tls_session(TLS13, 3, [&[1], &[1]])[..],
                &data(50),
                KEYS,
                &data(50),
                CLOSE,
            ]
            .concat(),
        ),
        (
            "byte-by-byte-in-1.2",
            [&tls_session(TLS12, 3, [&[1], &[1]])[..], &data(50), CLOSE].concat(),
        ),
        (
            "keys-change-all-the-time",
            [
                &whole(TLS13)[..],
                KEYS,
                KEYS,
                &data(9),
                WAIT,
                KEYS,
                &data(9),
                KEYS,
                CLOSE,
            ]
            .concat(),
        ),
        (
            "several-full-records",
            [
                &tls_session(TLS13, 1, [&[255, 3], &[250]])[..],
                &data(40_000),
                &data(40_000),
                CLOSE,
            ]
            .concat(),
        ),
        (
            "a-resumed-session-of-a-known-client",
            [&[TLS13, 1, 1, 2, 1, 60, 0, 0][..], &data(30), CLOSE].concat(),
        ),
        (
            "a-resumed-session-of-a-known-client-in-1.2",
            [&[TLS12, 1, 1, 2, 1, 60, 0, 0][..], &data(30), CLOSE].concat(),
        ),
        (
            "a-nameless-client",
            [&[TLS13, 2, 0, 0, 0, 0, 0][..], &data(30), CLOSE].concat(),
        ),
        ("a-distrustful-client", [TLS12, 3, 0, 0, 0, 0, 0].to_vec()),
        (
            "a-flipped-bit-in-the-hello",
            [&[TLS13, 0, 0, 0, 0, 0, 1, 0, 43][..], &data(30), CLOSE].concat(),
        ),
        (
            "a-flipped-bit-behind-data",
            [&[TLS13, 0, 0, 0, 0, 0, 5, 0, 9][..], &data(30), &data(30), CLOSE].concat(),
        ),
        (
            "garbage-behind-data",
            [
                &whole(TLS13)[..],
                &data(30),
                WAIT,
                &raw(b"GET / HTTP/1.1"),
                &data(1),
            ]
            .concat(),
        ),
        (
            "garbage-behind-the-end",
            [&whole(TLS12)[..], &data(30), CLOSE, &raw(&[0; 200])].concat(),
        ),
        (
            "an-alert-that-nobody-sealed",
            [&whole(TLS13)[..], &data(30), &raw(b"\x15\x03\x03\0\x02\x01\0")].concat(),
        ),
        (
            "an-empty-record",
            [&whole(TLS12)[..], &raw(b"\x17\x03\x03\0\0"), &data(3), CLOSE].concat(),
        ),
        (
            "too-many-new-keys-behind-the-handshake",
            [
                &[TLS13, 0, 1, 0, 0, 1, 227, 0][..],
                &KEYS.repeat(26),
                &data(58_339),
                &KEYS.repeat(41),
                &data(41_661),
                CLOSE,
            ]
            .concat(),
        ),
        ("cut-off", [&whole(TLS13)[..], &data(30), END].concat()),
        (
            "cut-off-inside-a-record",
            [&whole(TLS13)[..], &data(30), &raw(b"\x17\x03\x03\0\x30..."), END].concat(),
        ),
    ]
}

fn made() -> Vec<(&'static str, Seeds)> {
    vec![
        ("frames", frames()),
        ("framing_block", block()),
        ("framing_counted", counted()),
        ("framing_delimiter", delimiter()),
        ("framing_json_seq", json_seq()),
        ("framing_length_prefix", length_prefix()),
        ("framing_protocols", protocols()),
        ("framing_raw", raw()),
        ("framing_stuffed", stuffed()),
        ("request_head", request_head()),
        ("session", session()),
        ("tls", tls()),
    ]
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

fn committed(target: &str) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
    files
        .map(|file| {
            let path = file.unwrap().path();
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                std::fs::read(path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn committed_seeds_are_what_this_file_makes() {
    for (target, seeds) in made() {
        let expected: BTreeMap<String, Vec<u8>> = seeds
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        if std::env::var_os("SEALOCK_WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(folder(target)).unwrap();
            for (name, bytes) in &expected {
                std::fs::write(folder(target).join(name), bytes).unwrap();
            }
        }
        assert_eq!(
            committed(target),
            expected,
            "{target}: run this test with SEALOCK_WRITE_SEEDS=1"
        );
    }
}

#[test]
fn every_target_holds_for_its_seeds() {
    for (target, run) in TARGETS {
        let seeds = committed(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for (name, bytes) in seeds {
            println!("{target}/{name}");
            run(&bytes);
            // Every beginning is an input too.
            for end in 0..bytes.len().min(200) {
                run(&bytes[..end]);
            }
        }
    }
}

#[test]
fn right_requests_are_upgraded_and_no_others() {
    for (name, bytes) in request_head() {
        assert_eq!(is_upgraded(&bytes), name.starts_with("right"), "{name}");
    }
}

#[test]
fn every_target_has_its_program() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(programs)
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    found.sort();
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, known);
}
