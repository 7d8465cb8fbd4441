//! The pages of `docs/framings/` must be true: the streams they show are what the framings beside them make of the messages.
//!
//! A page shows an example as three fences, which may have text between them:
//!
//! - `toml`: what a route says, `framing` among it.
//! - `hex`: a stream. Bytes in hexadecimal; behind two spaces the line is a comment.
//! - `messages`: what it holds, one in each line: a JSON string, or bytes in hexadecimal between `<` and `>`.
//!
//! The framing to the client has to read these messages out of the stream, and to write the same stream from them. Where a word follows
//! `messages`, it is otherwise: `read`, the framing writes another stream, or refuses one of the messages; `to-backend`, it is the
//! framing to the backend that is shown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealock::bridge::Settings;
use sealock::config;
use sealock::framing::{
    DecodeRules, DecodeState, Embedded, EncodeError, EncodeState, Event, Framing, Oversized, preset_names,
};
use sealock::message::{Kind, Part};
use sealock::outbox::Outbox;

/// What an example leaves out.
const LISTENER: &str = "[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n";
const ROUTE: &str = "[[route]]\nname = \"example\"\npath = \"/\"\nbackend = \"tcp://127.0.0.1:1\"\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/framings")
}

/// All pages, with their names.
fn pages() -> Vec<(String, String)> {
    let mut pages: Vec<(String, String)> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "md"))
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    pages.sort();
    pages
}

/// The fences of a page: what stands behind the backticks, and the text between.
fn fences(page: &str) -> Vec<(&str, String)> {
    let mut fences = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let inside = lines.by_ref().take_while(|line| *line != "```");
            fences.push((info, inside.map(|line| format!("{line}\n")).collect()));
        }
    }
    fences
}

/// See the module's documentation.
struct Example {
    toml: String,
    stream: Vec<u8>,
    messages: Vec<Vec<u8>>,
    /// What stands behind `messages`.
    how: String,
}

impl Example {
    fn all_of(name: &str, page: &str) -> Vec<Self> {
        let fences = fences(page);
        let of_interest: Vec<&(&str, String)> = fences
            .iter()
            .filter(|(info, _)| matches!(info.split(' ').next(), Some("toml" | "hex" | "messages")))
            .collect();
        let mut examples = Vec::new();
        for (at, (info, text)) in of_interest.iter().enumerate() {
            if *info != "hex" {
                continue;
            }
            let before = at.checked_sub(1).map(|before| of_interest[before]);
            let (Some(("toml", toml)), Some((messages, listed))) = (before, of_interest.get(at + 1)) else {
                panic!("{name}: a stream stands between its framing and its messages:\n{text}");
            };
            let how = messages
                .strip_prefix("messages")
                .expect("messages follow a stream");
            examples.push(Self {
                toml: toml.clone(),
                stream: text.lines().flat_map(stream_bytes).collect(),
                messages: listed.lines().map(message).collect(),
                how: how.trim().to_owned(),
            });
        }
        let shown = of_interest
            .iter()
            .filter(|(info, _)| info.starts_with("messages"));
        assert_eq!(shown.count(), examples.len(), "{name}: messages without a stream");
        examples
    }

    /// What a route makes of it.
    fn settings(&self, name: &str) -> Arc<Settings> {
        let whole = self.toml.contains("[[route]]");
        let file = if whole {
            format!("{LISTENER}{}", self.toml)
        } else {
            format!("{LISTENER}{ROUTE}{}", self.toml)
        };
        let loaded = config::parse(&file, name, Path::new(""), &|_| None)
            .unwrap_or_else(|problems| panic!("{problems}"));
        Arc::clone(&loaded.config.routes[0].settings)
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap_or_else(|_| panic!("{pair} in {text}")))
        .collect()
}

fn stream_bytes(line: &str) -> Vec<u8> {
    hex(line.split("  ").next().unwrap_or_default())
}

fn message(line: &str) -> Vec<u8> {
    match line.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        Some(bytes) => hex(bytes),
        None => serde_json::from_str::<String>(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .into_bytes(),
    }
}

/// Reads a stream that comes in pieces of this size.
fn decode(framing: &Framing, stream: &[u8], size: usize) -> Vec<Vec<u8>> {
    let rules = DecodeRules {
        max_message: 1 << 20,
        oversized: Oversized::Close,
        text: false,
    };
    let (mut state, mut left) = (DecodeState::default(), Vec::new());
    let (mut messages, mut open) = (Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        left.extend_from_slice(piece);
        let mut used = 0;
        loop {
            let decoded = framing.decode(&mut state, &rules, &left[used..], false).unwrap();
            used += decoded.consumed;
            match decoded.event {
                Event::More => break,
                Event::Discarded => panic!("nothing is too long"),
                Event::Part(part) => {
                    open.extend_from_slice(part.data);
                    if part.end {
                        messages.push(std::mem::take(&mut open));
                    }
                }
            }
        }
        left.drain(..used);
    }
    // A delimiter may be waiting to see whether it is a longer one.
    let rest = framing.decode(&mut state, &rules, &left, true).unwrap();
    if let Event::Part(part) = rest.event {
        open.extend_from_slice(part.data);
        assert!(part.end);
        messages.push(std::mem::take(&mut open));
    }
    assert_eq!(
        (left.len(), open.len(), state.is_inside()),
        (rest.consumed, 0, false),
        "a record is cut short"
    );
    messages
}

fn encode(framing: &Framing, embedded: &Embedded, messages: &[Vec<u8>]) -> Result<Vec<u8>, EncodeError> {
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    for message in messages {
        let part = Part::whole(Kind::Binary, message);
        framing.encode(&mut state, embedded, &part, &mut out)?;
    }
    Ok(out.ready().to_vec())
}

#[test]
fn every_stream_holds_the_messages_below_it() {
    let mut seen = 0;
    for (name, page) in pages() {
        let examples = Example::all_of(&name, &page);
        assert!(
            name == "README.md" || !examples.is_empty(),
            "{name} shows no stream"
        );
        for example in examples {
            let settings = example.settings(&name);
            let (framing, writes) = match &*example.how {
                "" => (&settings.to_client, true),
                "read" => (&settings.to_client, false),
                "to-backend" => (&settings.to_backend, true),
                other => panic!("{name}: messages {other}"),
            };
            let what = format!("{name}: {}", example.toml);
            // Without records each piece that is read is a message.
            let sizes = if framing.is_raw() { 2..2 } else { 1..4 };
            for size in sizes.chain([example.stream.len()]) {
                let read = decode(framing, &example.stream, size);
                assert_eq!(read, example.messages, "{what} by {size}");
            }
            let written = encode(framing, &settings.embedded, &example.messages);
            let same = written.as_ref() == Ok(&example.stream);
            assert_eq!(same, writes, "{what} {written:02x?}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_preset_stands_in_the_index_and_has_an_example_on_its_page() {
    let index = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let rows = index
        .lines()
        .skip_while(|line| !line.starts_with("| preset |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut listed = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let preset = cells[0].trim_matches('`');
        let page = cells[1].split(['(', '#', ')']).nth(1).unwrap();
        let text = std::fs::read_to_string(folder().join(page)).unwrap();
        let example = format!("framing = \"{preset}\"");
        let shown = Example::all_of(page, &text)
            .iter()
            .any(|shown| shown.toml.contains(&example));
        assert!(shown, "{page} does not show {preset}");
        assert!(listed.insert(preset.to_owned()), "{preset} stands there twice");
    }
    let known: BTreeSet<String> = preset_names().map(str::to_owned).collect();
    let differ: Vec<&String> = known.symmetric_difference(&listed).collect();
    assert!(
        differ.is_empty(),
        "in the index or a preset, but not both: {differ:?}"
    );
}
