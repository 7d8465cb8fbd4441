//! `sealock decode`: captures in, records out, and the way back.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use sealock::config::parse_framing;
use sealock::framing::{Embedded, EncodeState, Framing, preset_names};
use sealock::message::{Kind, Part};
use sealock::outbox::Outbox;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::support::{sealock, soon};

struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealock"));
    command
        .arg("decode")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs `sealock decode` with these bytes on its standard input.
async fn decode<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
    let mut child = command(args).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read everything.
    let writing = tokio::spawn(async move { drop(stdin.write_all(&input).await) });
    let output = soon("sealock's end", child.wait_with_output()).await.unwrap();
    soon("the input's end", writing).await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Messages of all kinds. Each preset takes some of them: those that bring their own header need one that is true.
const MESSAGES: &[&[u8]] = &[
    b"hello",
    b"",
    b"{\"say\": \"\xC3\xA9\\n\"}",
    b"\x01\x02\x03 binary \xFF",
    // Modbus, MySQL, MongoDB.
    b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x0a",
    b"\x03\x00\x00\x05abc",
    b"\x08\x00\x00\x00abcd",
    // PostgreSQL: a start, a query. MQTT: a ping. AMQP 0-9-1: a heartbeat.
    b"\x00\x00\x00\x08\x00\x03\x00\x00",
    b"Q\x00\x00\x00\x0dselect 1\x00",
    b"\xC0\x00",
    b"\x08\x00\x00\x00\x00\x00\x00\xCE",
    // STOMP, FIX.
    b"SEND\ndestination:/q\n\nhi\x00",
    b"8=FIX.4.2\x019=5\x0135=0\x0110=161\x01",
];

/// The stream of all messages that the framing takes, and their number.
fn capture(framing: &Framing) -> (Vec<u8>, usize) {
    let (mut state, mut stream, mut taken) = (EncodeState::default(), vec![], 0);
    for message in MESSAGES.iter().chain(MESSAGES) {
        let mut out = Outbox::default();
        let part = Part::whole(Kind::Binary, message);
        if framing
            .encode(&mut state, &Embedded::Reject, &part, &mut out)
            .is_ok()
        {
            stream.extend_from_slice(out.ready());
            taken += 1;
        }
    }
    (stream, taken)
}

#[tokio::test]
async fn what_decode_prints_encode_turns_back_into_the_capture() {
    let own = [
        "{ kind = \"length-prefix\", width = 3, endian = \"little\", offset = 2, template = \"AB\" }",
        "{ kind = \"delimiter\", delimiter = [\"\\u0003\", \"\\n\"], keep = true }",
    ];
    for name in preset_names().chain(own) {
        let both = parse_framing(name, "test").unwrap();
        for (framing, direction) in [(&both.to_client, "to-client"), (&both.to_backend, "to-backend")] {
            let (stream, taken) = capture(framing);
            let options = ["--framing", name, "--direction", direction, "--json"];
            if !name.starts_with('{') {
                assert!(taken > 0, "no message here is one of {name}: add one");
            }
            let decoded = decode(options, &stream).await;
            assert_eq!(decoded.code, Some(0), "{name} {direction}: {}", decoded.stderr);
            if !framing.is_raw() {
                let lines = decoded.stdout.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(lines, taken, "{name} {direction}");
            }
            let encoded = decode(options.into_iter().chain(["--encode"]), &decoded.stdout).await;
            assert_eq!(encoded.code, Some(0), "{name} {direction}: {}", encoded.stderr);
            assert_eq!(encoded.stdout, stream, "{name} {direction}");
            // And in hex, both ways.
            let hex_out = options.into_iter().chain(["--encode", "--hex-out"]);
            let hex = decode(hex_out, &decoded.stdout).await;
            let again = decode(options.into_iter().chain(["--hex"]), &hex.stdout).await;
            if !framing.is_raw() {
                assert_eq!(again.stdout, decoded.stdout, "{name} {direction}");
            }
        }
    }
}

#[tokio::test]
async fn a_record_is_shown_before_the_capture_ends() {
    let mut child = command(["--framing", "lines"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (typed, shown) in [
        ("one\ntw", "       0        3  \"one\""),
        ("o\n", "       4        3  \"two\""),
    ] {
        stdin.write_all(typed.as_bytes()).await.unwrap();
        let line = soon("a record", lines.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some(shown));
    }
    drop(stdin);
    let output = soon("the end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "8 bytes, 2 records; nothing is left over\n"
    );
}

#[tokio::test]
async fn a_reader_that_goes_is_no_failure() {
    let mut child = command(["--framing", "lines"]).spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stdin.take().unwrap().write_all(b"one\n").await);
    let output = soon("the end", child.wait_with_output()).await.unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[tokio::test]
async fn a_route_says_how_its_records_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sealock.toml");
    let routes = "[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n\
        [[route]]\nname = \"chat\"\npath = \"/chat\"\nbackend = \"tcp://127.0.0.1:1\"\n\
        framing = { to_backend = \"lines\", to_client = \"u8\" }\nmax_message = \"4 B\"\noversized = \"discard\"\n\
        embedded_delimiter = { replace = \" \" }\n\
        [[route.subprotocol]]\nname = \"text.example\"\nframing = \"nul\"\n";
    std::fs::write(&file, routes).unwrap();
    let file = file.to_str().unwrap();
    let route = ["--config", file, "--route", "chat"];

    let stream = b"\x03one\x08too long\x04four\x03fi";
    let ran = decode(route, stream).await;
    assert_eq!(
        String::from_utf8(ran.stdout).unwrap(),
        "       0        3  \"one\"\n      13        4  \"four\"\n"
    );
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.stderr,
        "note: the record at offset 4 is over the limit of 4 B: skipped\n\
         error: the capture ends inside record 4, which starts at offset 18\n  \
         expected: the rest of a record of route chat\n  \
         found:    3 bytes of it, 1 missing\n            \"fi\"\n  \
         before:   2 records, 1 skipped\n  \
         note: a session would end here with 1011 (partial = \"error\")\n"
    );
    // What was skipped is not whole, even where nothing else is wrong.
    let ran = decode(route, &stream[..18]).await;
    assert_eq!(
        (ran.code, ran.stderr.lines().count()),
        (Some(1), 2),
        "{}",
        ran.stderr
    );
    let ran = decode(route.into_iter().chain(["--max-message", "8 B"]), &stream[..18]).await;
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), "18 bytes, 3 records; nothing is left over\n")
    );

    let to_backend = route.into_iter().chain(["--direction", "to-backend"]);
    let ran = decode(to_backend.clone(), b"one\ntwo\n").await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // The policy for delimiters inside is that of the route as well.
    let json = "{\"text\":\"a\\nb\"}\n{\"text\":\"12345\"}\n";
    let ran = decode(to_backend.chain(["--encode", "--json"]), json.as_bytes()).await;
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(1), &b"a b\n"[..]));
    assert_eq!(
        ran.stderr,
        "error: line 2: message over the limit of 4 B\n1 of 2 messages have no record in route chat\n"
    );

    let spoken = route.into_iter().chain(["--subprotocol", "text.example"]);
    let ran = decode(spoken, b"one\0two\0").await;
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), "8 bytes, 2 records; nothing is left over\n")
    );
    let ran = decode(route.into_iter().chain(["--subprotocol", "other"]), b"").await;
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr
            .starts_with("error: route chat translates no subprotocol \"other\" in its own way\n"),
        "{}",
        ran.stderr
    );

    let ran = decode(["--config", file, "--route", "cat"], b"").await;
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.stderr,
        "error: there is no route \"cat\"\n  help: the routes are chat\n"
    );
    std::fs::write(file, "nonsense").unwrap();
    let ran = decode(route, b"").await;
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
}

#[tokio::test]
async fn where_and_why_it_stopped_is_told() {
    for (framing, stream, offset, why, help) in [
        (
            "tpkt",
            &b"\x03\x00\x00\x05a\x47\x45\x54\x20"[..],
            5,
            "bad record header",
            "up to here the framing fits",
        ),
        (
            "tpkt",
            b"GET / HTTP/1.1",
            0,
            "bad record header",
            "--guess tries all",
        ),
        (
            "u32be",
            b"GET / HTTP/1.1",
            0,
            "record over the limit of 1 MiB",
            "--max-message allows",
        ),
    ] {
        let ran = decode(["--framing", framing], stream).await;
        assert_eq!(ran.code, Some(1), "{framing}");
        let first = format!("error: stopped at offset {offset}: {why}\n");
        assert!(ran.stderr.starts_with(&first), "{}", ran.stderr);
        assert!(ran.stderr.contains(help), "{}", ran.stderr);
        assert!(
            ran.stderr.lines().all(|line| line.chars().count() <= 80),
            "{}",
            ran.stderr
        );
    }
    // A line that never ends is found out before it has been read.
    let ran = decode(["--framing", "lines", "--max-message", "1 KiB"], &[b'a'; 5000]).await;
    assert!(
        ran.stderr
            .starts_with("error: stopped at offset 0: record over the limit of 1 KiB\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_wrong_command_line_is_told() {
    for (args, code, told) in [
        (&[][..], 2, "required"),
        (&["--framing", "lines", "--guess"], 2, "cannot be used with"),
        (&["--framing", "line"], 2, "did you mean \"lines\"?"),
        (
            &["--framing", "lines", "--max-message", "1"],
            2,
            "the unit is missing",
        ),
        (
            &["--framing", "lines", "--encode", "--hex", "--json"],
            2,
            "not both",
        ),
        (
            &["--framing", "lines", "/nowhere/at/all"],
            1,
            "error: cannot open /nowhere/at/all: No such file",
        ),
        (
            &["--framing", "lines", "/"],
            1,
            "error: cannot read the capture: Is a directory",
        ),
    ] {
        let ran = decode(args, b"").await;
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{args:?}: {}", ran.stderr);
    }
    let ran = decode(["--framing", "lines", "--hex"], b"00 11\n2x").await;
    assert_eq!(
        ran.stderr,
        "error: cannot read the capture: line 2: 'x' is not a hex digit\n"
    );
}

/// The commands of the page give what stands below them.
#[tokio::test]
async fn the_page_shows_what_is_printed() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DECODE.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_sealock"))
        .parent()
        .unwrap()
        .to_owned();
    let others = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&others))).unwrap();
    let mut ran = 0;
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for step in block.split("$ ").skip(1) {
            let (typed, shown) = step.split_once('\n').unwrap();
            if typed == "cat meters.hex" {
                std::fs::write(dir.path().join("meters.hex"), shown).unwrap();
            }
            let output = Command::new("sh")
                .args(["-c", &format!("{{ {typed}; }} 2>&1")])
                .current_dir(dir.path())
                .env("PATH", &path)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = soon("the command's end", output).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), shown, "{typed}");
            ran += 1;
        }
    }
    assert!(ran >= 7, "{ran}");
    // What the page says of guessing in words.
    let output = sealock(["decode", "--help"], "").await;
    for option in [
        "--framing",
        "--config",
        "--route",
        "--subprotocol",
        "--direction",
        "--max-message",
        "--hex",
        "--json",
        "--encode",
        "--hex-out",
        "--guess",
    ] {
        assert!(
            output.stdout.contains(option) && page.contains(option),
            "{option}"
        );
    }
}

#[tokio::test]
async fn a_full_disk_is_told_by_every_mode() {
    for (args, input) in [
        (&["--framing", "u8"][..], &b"\x02hi"[..]),
        (&["--guess"], b"{\"a\": 1}\n{\"b\": 2}\n{\"c\": 3}\n"),
        (&["--framing", "u8", "--encode"], b"hi\n"),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut child = command(args).stdout(full).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).await.unwrap();
        drop(stdin);
        let output = soon("the end", child.wait_with_output()).await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains("error: cannot write: No space left on device"),
            "{args:?}: {told}"
        );
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
}
