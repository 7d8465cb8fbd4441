//! Realistic captures, each with the framing that has to stand on the first place; and captures that have none.

use std::sync::LazyLock;

use super::*;

static ALL: LazyLock<Vec<Candidate>> = LazyLock::new(candidates::all);

fn hex(text: &str) -> Vec<u8> {
    capture::hex_line(text.as_bytes()).unwrap()
}

/// A length in front of each message.
fn counted(messages: &[&[u8]], header: impl Fn(usize, usize) -> Vec<u8>) -> Vec<u8> {
    let record = |(i, message): (usize, &&[u8])| [header(i, message.len()), message.to_vec()].concat();
    messages.iter().enumerate().flat_map(record).collect()
}

fn u16be(length: usize) -> [u8; 2] {
    (length as u16).to_be_bytes()
}

/// Bytes without a pattern, the same in each run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// The values of the first guess, the one that is shown first.
fn first(bytes: &[u8]) -> Vec<String> {
    let ranking = rank(&ALL, bytes, true, MAX_MESSAGE);
    let values = |guess: &Guess<'_>| guess.same.iter().map(|(one, _)| one.value.clone()).collect();
    ranking.guesses.first().map(values).unwrap_or_default()
}

const DNS_QUERY: &str = "001d 1a2b 0100 0001 0000 0000 0000 076578616d706c6503636f6d00 0001 0001";
const DNS_ANSWER: &str = "002d 1a2b 8180 0001 0001 0000 0000 076578616d706c6503636f6d00 0001 0001 \
    c00c 0001 0001 00015180 0004 5db8d822";
const IRC: &str = ":irc.example.com NOTICE * :*** Looking up your hostname\r\n\
    PING :1234\r\n:irc.example.com 001 ada :Welcome to the lock\r\n:ada!a@b JOIN #canal\r\n";
const HTTP: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nhello\r\n";

#[test]
fn the_right_framing_stands_first() {
    let some: Vec<Vec<u8>> = (3..15).map(|i| noise(i, 5 + (i as usize * 37) % 90)).collect();
    let some: Vec<&[u8]> = some.iter().map(Vec::as_slice).collect();
    let texts: Vec<&[u8]> = vec![
        b"login ada",
        b"{\"a\": 1}\n",
        b"list all ships",
        b"{\"b\": [1, 2]}\n",
        b"quit",
    ];
    let words = "the lock lifts a ship between the open sea and canals at another level of water";
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    let kafka: Vec<Vec<u8>> = (0..6_u8)
        .map(|i| {
            [
                &[0, 3, 0, 9, 0, 0, 0, i, 0, 7][..],
                b"console",
                &noise(i.into(), 20 + 7 * usize::from(i)),
            ]
            .concat()
        })
        .collect();
    let kafka: Vec<&[u8]> = kafka.iter().map(Vec::as_slice).collect();
    for (what, bytes, value) in [
        ("a DNS query", hex(DNS_QUERY), "u16be"),
        (
            "DNS",
            [hex(DNS_QUERY), hex(DNS_ANSWER), hex(DNS_QUERY)].concat(),
            "u16be",
        ),
        (
            "Modbus",
            hex(
                "0001 0000 0006 11 03 006b 0003  0002 0000 0006 11 03 0070 0002  0003 0000 0009 11 10 0001 0001 02 000a",
            ),
            "modbus",
        ),
        ("IRC", IRC.into(), "crlf"),
        (
            "JSON lines",
            b"{\"id\":1,\"op\":\"open\"}\n{\"id\":2,\"op\":\"close\"}\n{\"id\":3}\n".to_vec(),
            "lines",
        ),
        (
            "NUL separated",
            b"<a>one</a>\0<b>two</b>\0<c>\xC3\xA9t\xC3\xA9</c>\0".to_vec(),
            "nul",
        ),
        (
            "a MySQL greeting, and the answer to the login",
            hex(
                "4a000000 0a382e302e333600 0d000000 5c5f3a1b4d2e6a11 00 ffff ff 0200 ffdf 15 00000000000000000000 \
                 233b5a6c1d2e3f4a5b6c7d8e 00 63616368696e675f736861325f70617373776f726400 07000002 00 00 00 0200 0000",
            ),
            "mysql",
        ),
        (
            "TPKT",
            hex(
                "03000016 11e00000000100 c1020100 c2020102 c0010a  03000019 02f080 3201000004000008 0000f00000010001 01e0",
            ),
            "tpkt",
        ),
        (
            "Kafka",
            counted(&kafka, |_, length| (length as u32).to_be_bytes().to_vec()),
            "u32be",
        ),
        (
            "Redis",
            b"+OK\r\n$5\r\nhello\r\n:42\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n".to_vec(),
            "crlf",
        ),
        ("HTTP", HTTP.into(), "crlf"),
        (
            "Pascal strings",
            counted(&words, |_, length| vec![length as u8]),
            "u8",
        ),
        (
            "u16be",
            counted(&some, |_, length| u16be(length).to_vec()),
            "u16be",
        ),
        (
            "u16le",
            counted(&some, |_, length| (length as u16).to_le_bytes().to_vec()),
            "u16le",
        ),
        (
            "u32le",
            counted(&some, |_, length| (length as u32).to_le_bytes().to_vec()),
            "u32le",
        ),
        (
            "u16be with text inside",
            counted(&texts, |_, length| u16be(length).to_vec()),
            "u16be",
        ),
    ] {
        let found = first(&bytes);
        let shown = show(&rank(&ALL, &bytes, true, MAX_MESSAGE), &bytes, true);
        assert_eq!(found.first(), Some(&format!("\"{value}\"")), "{what}:\n{shown}");
    }
}

#[test]
fn parameters_are_found_where_no_preset_is() {
    let bodies: Vec<Vec<u8>> = (0..8).map(|i| noise(i, 9 + (i as usize * 53) % 70)).collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let value = |inside: &str| format!("{{ kind = \"length-prefix\", width = {inside} }}");
    for (what, bytes, value) in [
        (
            "TLS: type, version, two bytes",
            counted(&bodies, |_, length| [&[0x17, 3, 3][..], &u16be(length)].concat()),
            value("2, offset = 3, header = \"keep\""),
        ),
        (
            "SMPP: four bytes that count themselves",
            counted(&bodies, |_, length| u32::to_be_bytes(length as u32 + 4).to_vec()),
            value("4, includes_header = true"),
        ),
        (
            "PostgreSQL: a type, four bytes that count themselves",
            counted(&bodies, |i, length| {
                [&[b"CDTZ"[i % 4]][..], &u32::to_be_bytes(length as u32 + 4)].concat()
            }),
            value("4, offset = 1, header = \"keep\", adjustment = -4"),
        ),
        (
            "Diameter: a version, three bytes that count the header",
            counted(&bodies, |_, length| {
                [&[1][..], &u32::to_be_bytes(length as u32 + 4)[1..]].concat()
            }),
            value("3, offset = 1, header = \"keep\", includes_header = true"),
        ),
        (
            "eight bytes, little endian",
            counted(&bodies, |_, length| (length as u64).to_le_bytes().to_vec()),
            value("8, endian = \"little\""),
        ),
        (
            "EDIFACT",
            b"UNB+UNOA:1+ADA+LOCK+061121:0905+1'UNH+1+ORDERS:D:96A:UN'BGM+220+7'UNT+3+1'UNZ+1+1'".to_vec(),
            "{ kind = \"delimiter\", delimiter = \"'\" }".to_owned(),
        ),
    ] {
        let found = first(&bytes);
        let shown = show(&rank(&ALL, &bytes, true, MAX_MESSAGE), &bytes, true);
        assert!(found.contains(&value), "{what}: {found:?}\n{shown}");
    }
}

#[test]
fn nothing_fits_what_has_no_records() {
    let letters: Vec<u8> = noise(1, 3000).iter().map(|byte| b'a' + byte % 26).collect();
    let zeros = vec![0; 3000];
    for bytes in [&letters[..], &zeros, b"", b"x", b"hello"] {
        assert_eq!(first(bytes), Vec::<String>::new(), "{} bytes", bytes.len());
    }
    for length in [40, 200, 1000, 5000] {
        for seed in 0..10 {
            let bytes = noise(seed, length);
            let ranking = rank(&ALL, &bytes, true, MAX_MESSAGE);
            assert!(
                ranking.guesses.is_empty(),
                "seed {seed}:\n{}",
                show(&ranking, &bytes, true)
            );
        }
    }
}

#[test]
fn a_line_feed_amid_text_is_no_length() {
    // To MQTT each sixth of these lines is a header, of which the line feed says that ten bytes follow.
    assert_eq!(first(&b"y\n".repeat(7_000))[0], "\"lines\"");
}

#[test]
fn one_record_is_weak_evidence() {
    let one = hex(DNS_QUERY);
    assert!(show(&rank(&ALL, &one, true, MAX_MESSAGE), &one, true).contains("weak evidence"));
    let long = [&[0, 0, 1, 0][..], &noise(9, 256)].concat();
    let ranking = rank(&ALL, &long, true, MAX_MESSAGE);
    assert!(ranking.guesses[0].score > WEAK);
    assert!(show(&ranking, &long, true).contains("weak evidence"));
}

#[test]
fn a_capture_that_was_cut_is_recognised_too() {
    let whole = [hex(DNS_QUERY), hex(DNS_ANSWER), hex(DNS_QUERY), hex(DNS_ANSWER)].concat();
    let cut = &whole[..whole.len() - 7];
    assert_eq!(first(cut)[0], "\"u16be\"");
    let shown = show(&rank(&ALL, cut, true, MAX_MESSAGE), cut, true);
    assert!(
        shown.contains("3 records of 29 to 45 bytes; 40 bytes of another one at the end"),
        "{shown}"
    );
    assert_eq!(first(&IRC.as_bytes()[..IRC.len() - 5])[0], "\"crlf\"");
}

#[test]
fn where_it_stops_to_fit_is_told() {
    let records = counted(&[&noise(1, 30), &noise(2, 50), &noise(3, 9)], |_, length| {
        [&[3, 0][..], &u16be(length + 4)].concat()
    });
    let bytes = [&records[..], b"GET / HTTP/1.1"].concat();
    let told = nothing(&rank(&ALL, &bytes, true, MAX_MESSAGE), &bytes);
    assert!(
        told.contains("closest: framing = \"tpkt\"\n  3 records, then, at offset 101: bad record header"),
        "{told}"
    );
}
