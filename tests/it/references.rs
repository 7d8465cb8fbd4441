//! Framings beside implementations in Python, by other people: each reads what the other has written.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use sealock::framing::{DecodeRules, DecodeState, Embedded, EncodeState, Event, Framing, Oversized, preset};
use sealock::message::{Kind, Part};
use sealock::outbox::Outbox;
use tokio::io::AsyncWriteExt;

use crate::support::{pypi, soon};

fn write(framing: &Framing, messages: &[Vec<u8>]) -> Vec<u8> {
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    for message in messages {
        let part = Part::whole(Kind::Binary, message);
        framing
            .encode(&mut state, &Embedded::Escape, &part, &mut out)
            .unwrap();
    }
    out.ready().to_vec()
}

fn read(framing: &Framing, mut stream: &[u8]) -> Vec<Vec<u8>> {
    let rules = DecodeRules {
        max_message: 1 << 20,
        oversized: Oversized::Close,
        text: false,
    };
    let (mut state, mut messages, mut open) = (DecodeState::default(), Vec::new(), Vec::new());
    loop {
        let decoded = framing.decode(&mut state, &rules, stream, false).unwrap();
        stream = &stream[decoded.consumed..];
        match decoded.event {
            Event::More => break,
            Event::Discarded => panic!("discarded"),
            Event::Part(part) => {
                open.extend_from_slice(part.data);
                if part.end {
                    messages.push(std::mem::take(&mut open));
                }
            }
        }
    }
    assert!(
        stream.is_empty() && !state.is_inside(),
        "{framing:?}: {} bytes are left behind {} messages, {state:?}",
        stream.len(),
        messages.len()
    );
    messages
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = if text == "-" { "" } else { text };
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// What the other implementation answers to these lines.
async fn ask(name: &str, lines: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/references.py");
    let mut command = pypi("python3");
    command.arg(script).arg(name);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .expect("python3 of target/services: see tests/install-deps.sh");
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    let writing = tokio::spawn(async move { stdin.write_all(lines.as_bytes()).await });
    let output = soon("the other implementation's answer", child.wait_with_output())
        .await
        .unwrap();
    writing.await.unwrap().unwrap();
    assert!(output.status.success(), "{name}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Short ones, long ones, and those of bytes that the framings give a meaning to.
fn messages() -> Vec<Vec<u8>> {
    let special = *b"\0\x01\xC0\xDB\xDC\xDD\xFF:,0a";
    let mut random = fastrand::Rng::with_seed(6455);
    let mut all: Vec<Vec<u8>> = (1..=300)
        .map(|len| {
            let byte = |random: &mut fastrand::Rng| match random.u8(..4) {
                0 => random.u8(..),
                _ => special[random.usize(..special.len())],
            };
            (0..len).map(|_| byte(&mut random)).collect()
        })
        .collect();
    // Around the longest run of COBS.
    all.extend((250..260).map(|len| vec![1; len]));
    all.extend([vec![0; 600], b"0".to_vec(), vec![7; 70_000]]);
    all
}

#[tokio::test]
async fn each_reads_what_the_other_has_written() {
    let json = |at: usize| format!("{{\"id\": {at}, \"text\": \"{}\"}}", "x".repeat(at * at)).into_bytes();
    let texts: Vec<Vec<u8>> = (0..60).map(json).collect();
    let with_empty = [messages(), vec![vec![], vec![]]].concat();
    for (name, messages) in [
        ("netstring", &with_empty),
        ("slip", &messages()),
        ("cobs", &with_empty),
        ("lsp", &texts),
    ] {
        let framing = preset(name).unwrap().to_client;
        let ours = write(&framing, messages);
        let words: Vec<String> = messages.iter().map(|message| hex(message)).collect();
        let answers = ask(name, &format!("read {}\nwrite {}\n", hex(&ours), words.join(" "))).await;
        let [theirs_of_ours, theirs] = &answers[..] else {
            panic!("{name}: {} answers", answers.len());
        };
        let read_there: Vec<Vec<u8>> = theirs_of_ours.split(' ').map(unhex).collect();
        assert_eq!(read_there.len(), messages.len(), "{name}");
        for (there, message) in read_there.iter().zip(messages) {
            assert_eq!(hex(there), hex(message), "{name}");
        }
        let theirs = read(&framing, &unhex(theirs));
        assert_eq!(theirs.len(), messages.len(), "{name}");
        if name == "lsp" {
            // They write the same values in fewer characters.
            let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
            assert!(
                theirs
                    .iter()
                    .zip(messages)
                    .all(|(one, other)| value(one) == value(other))
            );
        } else {
            assert!(theirs.iter().eq(messages.iter()), "{name}");
        }
    }
}
