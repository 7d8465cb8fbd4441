//! The pieces of work that are counted: each codec for itself, and whole passes of the pump.
//!
//! A name says all that a case is: what is done, and with how many messages of how many bytes. Every case checks what came of its
//! work, so that none is cheap because it does nothing.

mod codecs;
mod pump;

use sealock::framing::{Framing, preset};
use sealock::message::Kind;
use sealock::outbox::Outbox;

/// All cases. Small messages are many, so that a single instruction is far less than what is allowed to change.
pub(crate) const NAMES: &[&str] = &[
    "frames-decode-256x64",
    "frames-decode-16x16384",
    "frames-encode-256x64",
    "frames-encode-16x16384",
    "utf8-ascii-256x64",
    "utf8-ascii-16x16384",
    "utf8-mixed-256x64",
    "utf8-mixed-16x16384",
    "raw-encode-256x64",
    "raw-encode-16x16384",
    "raw-decode-256x64",
    "lines-encode-256x200",
    "lines-encode-16x16384",
    "lines-decode-256x200",
    "lines-decode-16x16384",
    "crlf-encode-256x200",
    "crlf-encode-16x16384",
    "crlf-decode-256x200",
    "crlf-decode-16x16384",
    "u16be-encode-256x64",
    "u16be-encode-16x16384",
    "u16be-decode-256x64",
    "u16be-decode-16x16384",
    "u32be-encode-256x64",
    "u32be-encode-16x16384",
    "u32be-decode-256x64",
    "u32be-decode-16x16384",
    "pump-up-u32be-256x64",
    "pump-down-u32be-256x64",
    "pump-up-lines-64x200",
    "pump-down-lines-64x200",
    "pump-up-raw-1x16384",
    "pump-down-raw-1x16384",
    "pump-up-u32be-16x16384",
    "pump-down-u32be-16x16384",
    "pump-echo-u32be-1x64",
];

/// Work that can be done again and again, and is the same each time.
pub(crate) type Work = Box<dyn FnMut()>;

/// How many messages, of how many bytes each.
#[derive(Clone, Copy)]
struct Shape {
    count: usize,
    size: usize,
}

impl Shape {
    fn parse(text: &str) -> Option<Self> {
        let (count, size) = text.split_once('x')?;
        Some(Self {
            count: count.parse().ok()?,
            size: size.parse().ok()?,
        })
    }

    /// Bytes of all messages.
    fn total(self) -> usize {
        self.count * self.size
    }
}

/// Makes a case ready. The heap then holds what this case needs and nothing of the others, so that no count depends on them.
pub(crate) fn prepare(name: &str) -> Option<Work> {
    let words: Vec<&str> = name.split('-').collect();
    let (shape, words) = words.split_last()?;
    let shape = Shape::parse(shape)?;
    Some(match *words {
        ["frames", "decode"] => codecs::decode_frames(shape),
        ["frames", "encode"] => codecs::encode_frames(shape),
        ["utf8", "ascii"] => codecs::check_utf8(ASCII, shape),
        ["utf8", "mixed"] => codecs::check_utf8(MIXED, shape),
        ["pump", "up", name] => pump::up(&preset(name)?, shape),
        ["pump", "down", name] => pump::down(&preset(name)?, shape),
        ["pump", "echo", name] => pump::echo(&preset(name)?, shape),
        [name, "encode"] => codecs::encode(preset(name)?.to_client, shape),
        [name, "decode"] => codecs::decode(preset(name)?.to_client, shape),
        _ => return None,
    })
}

/// Sixteen bytes, so that what is made of it ends with a character whatever its size.
const ASCII: &str = "sealock: a ship.";
/// Characters of one to four bytes.
const MIXED: &str = "€😀aßäöü";

/// A message of this size.
fn message(text: &str, size: usize) -> Vec<u8> {
    text.bytes().cycle().take(size).collect()
}

/// The records of this many messages.
fn records(framing: &Framing, shape: Shape) -> Vec<u8> {
    let mut out = Outbox::default();
    codecs::encode_all(framing, &message(ASCII, shape.size), shape.count, &mut out);
    out.ready().to_vec()
}

/// The client's frames of this many messages, masked (RFC 6455 §5.2, §5.3).
fn frames(kind: Kind, shape: Shape) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = match kind {
        Kind::Text => vec![0x81],
        Kind::Binary => vec![0x82],
    };
    match shape.size {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let message = message(ASCII, shape.size);
    frame.extend(
        message
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame.repeat(shape.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_does_its_work_each_time() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        for name in NAMES {
            let mut work = prepare(name).unwrap_or_else(|| panic!("{name} cannot be made"));
            for _ in 0..3 {
                work();
            }
        }
        assert!(prepare("frames-decode-many").is_none());
        assert!(prepare("nonsense-decode-1x1").is_none());
    }

    #[test]
    fn no_case_is_listed_twice() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }
}
