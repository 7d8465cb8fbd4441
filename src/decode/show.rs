//! How records look: a preview for people, JSON for programs.

use std::fmt::Write as _;

use crate::escape::is_obeyed;
use crate::utf8::incomplete_tail;

/// Up to one control character in so many makes no text binary: IRC and FIX use some.
const CONTROLS: usize = 4;

/// The width of standard output: that of the terminal, otherwise 80.
pub(super) fn columns() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col >= 40 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// The bytes as text, if a person would call them that. With `more`, bytes that follow are not here.
pub(super) fn as_text(bytes: &[u8], more: bool) -> Option<&str> {
    let kept = bytes.len() - if more { incomplete_tail(bytes) } else { 0 };
    let text = std::str::from_utf8(&bytes[..kept]).ok()?;
    let (mut all, mut controls) = (0, 0);
    for c in text.chars() {
        all += 1;
        controls += usize::from(c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    }
    (controls * CONTROLS <= all).then_some(text)
}

/// As much of the bytes as fits into so many columns: text in quotes, anything else in hex. With `more`, bytes that follow are not here.
pub(super) fn preview(bytes: &[u8], more: bool, columns: usize) -> String {
    match as_text(bytes, more) {
        Some(text) => quoted(text, more, columns),
        None => hex(bytes, more, columns),
    }
}

fn quoted(text: &str, more: bool, columns: usize) -> String {
    let mut shown = String::from("\"");
    // The quotes, and the sign for what is left out.
    let mut room = columns.saturating_sub(3);
    let mut cut = more;
    for c in text.chars() {
        let image: String = if is_obeyed(c) {
            c.escape_default().collect()
        } else if matches!(c, '"' | '\\') {
            format!("\\{c}")
        } else {
            c.to_string()
        };
        // A character beyond ASCII takes up to two columns.
        let width = if c.is_ascii() || image.len() > 4 {
            image.len()
        } else {
            2
        };
        if width > room {
            cut = true;
            break;
        }
        room -= width;
        shown += &image;
    }
    shown + if cut { "\"…" } else { "\"" }
}

/// As many of the bytes in hex as fit into so many columns.
pub(super) fn hex(bytes: &[u8], more: bool, columns: usize) -> String {
    // Two digits and a space each; the space behind the last one is the place of the sign for what is left out.
    let fit = (columns.saturating_sub(1) / 3).min(bytes.len());
    let pairs: Vec<String> = bytes[..fit].iter().map(|byte| format!("{byte:02x}")).collect();
    let cut = more || fit < bytes.len();
    format!("{}{}", pairs.join(" "), if cut { " …" } else { "" })
}

/// Bytes in hex, without spaces.
pub(super) fn plain_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// A record as a line of JSON. What a terminal would obey is escaped, as JSON allows for any character.
pub(super) fn json(offset: u64, message: &[u8]) -> String {
    let length = message.len();
    let Some(text) = as_text(message, false) else {
        let hex = plain_hex(message);
        return format!("{{\"offset\":{offset},\"length\":{length},\"hex\":\"{hex}\"}}");
    };
    let mut line = format!("{{\"offset\":{offset},\"length\":{length},\"text\":\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '\n' => line += "\\n",
            '\r' => line += "\\r",
            '\t' => line += "\\t",
            // All of these lie in the basic plane.
            _ if is_obeyed(c) => {
                let _infallible = write!(line, "\\u{:04x}", u32::from(c));
            }
            _ => line.push(c),
        }
    }
    line + "\"}"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_preview_is_text_or_hex_and_fits() {
        for (bytes, more, columns, shown) in [
            (&b"NICK ada"[..], false, 20, "\"NICK ada\""),
            (b"", false, 20, "\"\""),
            (
                b"say \"hi\" \\o/\r\n\x1b[0m",
                false,
                40,
                "\"say \\\"hi\\\" \\\\o/\\r\\n\\u{1b}[0m\"",
            ),
            (b"0123456789", false, 10, "\"0123456\"…"),
            (b"0123", true, 10, "\"0123\"…"),
            (b"\x00\x01\x02", false, 20, "00 01 02"),
            (b"\x00\x01\x02", true, 20, "00 01 02 …"),
            (b"\x00\x01\x02\xff", false, 10, "00 01 02 …"),
            (b"caf\xc3\xa9", false, 20, "\"café\""),
            // A character that the preview cuts is no reason for hex; a byte that is none is.
            (b"caf\xc3", true, 20, "\"caf\"…"),
            (b"caf\xe9", false, 20, "63 61 66 e9"),
        ] {
            assert_eq!(preview(bytes, more, columns), shown, "{bytes:?}");
        }
    }

    #[test]
    fn json_holds_what_a_person_and_a_program_can_read() {
        assert_eq!(json(7, b"a\tb\""), r#"{"offset":7,"length":4,"text":"a\tb\""}"#);
        assert_eq!(json(0, b"\x00\xff"), r#"{"offset":0,"length":2,"hex":"00ff"}"#);
        assert_eq!(json(0, b""), r#"{"offset":0,"length":0,"text":""}"#);
        assert_eq!(
            json(0, "abcd\u{9b}".as_bytes()),
            r#"{"offset":0,"length":6,"text":"abcd\u009b"}"#
        );
    }

    proptest! {
        #[test]
        fn any_message_comes_back_from_json(message in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40), "\\PC*".prop_map(String::into_bytes), ".*".prop_map(String::into_bytes)]) {
            let value: serde_json::Value = serde_json::from_str(&json(1, &message)).unwrap();
            prop_assert_eq!(&value["length"], message.len());
            match value["text"].as_str() {
                Some(text) => prop_assert_eq!(text.as_bytes(), &message),
                None => prop_assert_eq!(value["hex"].as_str(), Some(&*plain_hex(&message))),
            }
        }

        #[test]
        fn no_preview_is_wider_than_its_place(bytes in proptest::collection::vec(any::<u8>(), 0..60),
            text in ".*", more in any::<bool>(), columns in 10usize..60) {
            for bytes in [&bytes[..], text.as_bytes()] {
                prop_assert!(preview(bytes, more, columns).chars().count() <= columns);
            }
        }
    }
}
