//! The example, the documentation, and texts that are kept to be read.

use super::*;

/// Every line that shows a setting at its default, with the mark taken off.
pub(super) fn uncommented(source: &str) -> String {
    let is_setting = |line: &str| {
        line.starts_with("#[[")
            || (line.starts_with('#') && line.as_bytes().get(1).is_some_and(u8::is_ascii_lowercase))
    };
    source.lines().fold(String::new(), |mut text, line| {
        let line = if is_setting(line) { &line[1..] } else { line };
        writeln!(text, "{line}").unwrap();
        text
    })
}

#[test]
fn the_example_is_good_and_shows_the_real_defaults() {
    let shown = good(EXAMPLE);
    let spelt_out = good(&uncommented(EXAMPLE));
    assert_eq!(spelt_out.listeners.len(), shown.listeners.len() + 4);
    assert_eq!(format!("{:?}", spelt_out.routes), format!("{:?}", shown.routes));
    assert_eq!(
        format!("{:?}", spelt_out.listeners[0]),
        format!("{:?}", shown.listeners[0])
    );
    assert_eq!(spelt_out.limits, shown.limits);
    assert_eq!(spelt_out.shutdown_timeout, shown.shutdown_timeout);
}

#[test]
fn every_key_stands_in_the_example_and_in_the_documentation() {
    let example = uncommented(EXAMPLE);
    for key in KEYS.iter().flat_map(|(_, keys)| keys.iter()) {
        let words: Vec<&str> = example
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .collect();
        assert!(words.contains(key), "{key} is not in the example");
        assert!(
            DOCS.contains(&format!("`{key}`"))
                || DOCS.contains(&format!("{key} = "))
                || DOCS.contains(&format!(".{key}]]`")),
            "{key} is not in docs/CONFIG.md"
        );
    }
}

#[test]
fn every_key_is_read() {
    // A date is right for no key: whoever reads the key says so.
    const DATE: &str = "1979-05-27";
    for (places, keys) in KEYS {
        for (place, key) in places
            .iter()
            .flat_map(|place| keys.iter().map(move |key| (place, key)))
        {
            let source = match place {
                Place::Top => format!("{key} = {DATE}"),
                Place::Limits => format!("[limits]\n{key} = {DATE}"),
                Place::Admin => format!("[admin]\n{key} = {DATE}"),
                Place::Listener => format!("[[listener]]\n{key} = {DATE}"),
                Place::ListenerCertificate => {
                    format!("[[listener]]\n[[listener.certificate]]\n{key} = {DATE}")
                }
                Place::Defaults => format!("[defaults]\n{key} = {DATE}"),
                Place::Route => format!("[[route]]\n{key} = {DATE}"),
                Place::Subprotocol => format!("[[route]]\n[[route.subprotocol]]\n{key} = {DATE}"),
                Place::Backend => {
                    format!("[[route]]\nbackend = {{ {key} = {DATE} }}")
                }
                Place::Health => format!("[[route]]\nbackend = {{ health = {{ {key} = {DATE} }} }}"),
                Place::BackendTls => format!("[[route]]\nbackend = {{ tls = {{ {key} = {DATE} }} }}"),
                Place::FramingPair | Place::Preset => format!("[defaults]\nframing = {{ {key} = {DATE} }}"),
                _ if *key == "kind" => format!("[defaults]\nframing = {{ kind = {DATE} }}"),
                Place::Raw
                | Place::Netstring
                | Place::OctetCounting
                | Place::Slip
                | Place::Cobs
                | Place::JsonSeq => continue,
                Place::Block => format!("[defaults]\nframing = {{ kind = \"block\", {key} = {DATE} }}"),
                Place::Delimiter => {
                    format!("[defaults]\nframing = {{ kind = \"delimiter\", {key} = {DATE} }}")
                }
                Place::LengthPrefix => {
                    format!("[defaults]\nframing = {{ kind = \"length-prefix\", {key} = {DATE} }}")
                }
                Place::Varint => format!("[defaults]\nframing = {{ kind = \"varint\", {key} = {DATE} }}"),
                Place::Fixed => format!("[defaults]\nframing = {{ kind = \"fixed\", {key} = {DATE} }}"),
                Place::ContentLength => {
                    format!("[defaults]\nframing = {{ kind = \"content-length\", {key} = {DATE} }}")
                }
                Place::Bytes => format!(
                    "[defaults]\nframing = {{ kind = \"delimiter\", delimiter = {{ {key} = {DATE} }} }}"
                ),
                Place::MessagePair => format!("[defaults]\nmessage = {{ {key} = {DATE} }}"),
                Place::OversizedPair => format!("[defaults]\noversized = {{ {key} = {DATE} }}"),
                Place::EmptyPair => format!("[defaults]\nempty = {{ {key} = {DATE} }}"),
                Place::Replacement => format!("[defaults]\nembedded_delimiter = {{ {key} = {DATE} }}"),
            };
            let problems = bad(&source);
            let read = |one: &Diagnostic| one.span().is_some_and(|span| &source[span.clone()] == DATE);
            // `plaintext` and the certificate are asked for before they are read.
            assert!(
                problems.iter().any(read),
                "{key} of {place:?} is not read:\n{problems}"
            );
        }
    }
}

#[test]
fn every_preset_is_documented_as_it_is() {
    let table = DOCS
        .split("Presets:\n")
        .nth(1)
        .unwrap()
        .split("## ")
        .next()
        .unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let documented: Vec<&str> = rows.iter().map(|row| row[1].trim_matches('`')).collect();
    assert_eq!(documented, preset_names().collect::<Vec<_>>());
    for row in &rows {
        let name = row[1].trim_matches('`');
        let parameters: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        let preset = settings(&format!("framing = \"{name}\""));
        if let Some(first) = parameters.first() {
            let kind = match first.split_once(' ').unwrap().0 {
                "kind" => "",
                "delimiter" => "kind = \"delimiter\", ",
                "start" => "kind = \"block\", ",
                _ => "kind = \"length-prefix\", ",
            };
            let written = settings(&format!("framing = {{ {kind}{} }}", parameters.join(", ")));
            assert_eq!(written.to_backend, preset.to_backend, "{name}");
        } else {
            // A framing of its own, with a page of its own.
            assert!(row[2].contains(&format!("(framings/{name}.md)")), "{name}");
        }
        let kind = if preset.deliver == Deliver::Text {
            "text"
        } else {
            "binary"
        };
        assert_eq!(row[3], kind, "{name}");
    }
}

/// Compares a text that is kept in a file with the real one. With `UPDATE_EXPECTED=1` it is written instead.
fn expect(file: &str, kept: &str, real: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let whole = std::fs::read_to_string(&path).unwrap_or_default();
        let updated = if kept.is_empty() {
            real.to_owned()
        } else {
            whole.replacen(kept, real, 1)
        };
        std::fs::write(path, updated).unwrap();
    } else {
        assert_eq!(
            kept, real,
            "{file} is out of date: run again with UPDATE_EXPECTED=1"
        );
    }
}

#[test]
fn a_file_full_of_mistakes_is_explained() {
    let problems = bad(include_str!("../testdata/bad.toml"));
    expect(
        "src/config/testdata/bad.txt",
        include_str!("../testdata/bad.txt"),
        &problems.to_string(),
    );
}

#[test]
fn broken_syntax_is_explained() {
    let problems = bad(include_str!("../testdata/syntax.toml"));
    expect(
        "src/config/testdata/syntax.txt",
        include_str!("../testdata/syntax.txt"),
        &problems.to_string(),
    );
}

#[test]
fn the_documentation_shows_real_output() {
    let part = DOCS.split("## When something is wrong").nth(1).unwrap();
    let source = part
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let kept = part
        .split("```text\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let frame = |text: &str| format!("```text\n{text}```\n");
    let source_and = |text: &str| format!("gives\n\n{}", frame(text));
    expect(
        "docs/CONFIG.md",
        &source_and(kept),
        &source_and(&bad(source).to_string()),
    );
}

#[test]
fn texts_fit_into_eighty_columns() {
    for text in [
        include_str!("../testdata/bad.txt"),
        include_str!("../testdata/syntax.txt"),
    ] {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
