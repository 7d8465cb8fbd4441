//! What is said: payloads that both ends can make by themselves, and the records of the legacy side.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BytesMut};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// How records stand on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Raw,
    Lines,
    Crlf,
    U32,
    Netstring,
}

impl Framing {
    /// Its name in the configuration.
    pub fn preset(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lines => "lines",
            Self::Crlf => "crlf",
            Self::U32 => "u32be",
            Self::Netstring => "netstring",
        }
    }

    /// A record with this payload.
    pub fn record(self, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => payload.to_vec(),
            Self::Lines => [payload, b"\n"].concat(),
            Self::Crlf => [payload, b"\r\n"].concat(),
            Self::U32 => [&(payload.len() as u32).to_be_bytes(), payload].concat(),
            Self::Netstring => [format!("{}:", payload.len()).as_bytes(), payload, b","].concat(),
        }
    }

    /// How many bytes a record has beside its payload.
    pub fn overhead(self, payload: usize) -> usize {
        self.record(&[]).len()
            + match self {
                Self::Netstring => payload.to_string().len() - 1,
                _ => 0,
            }
    }

    /// The payload of the next record, if all of it is there. `Raw` has none: there it is as many bytes as `expected`.
    pub fn take(self, buffer: &mut BytesMut, expected: usize) -> Option<Vec<u8>> {
        let find = |what: u8| buffer.iter().position(|byte| *byte == what);
        let (before, len, behind) = match self {
            Self::Raw => (0, expected, 0),
            Self::Lines => (0, find(b'\n')?, 1),
            Self::Crlf => (0, find(b'\n')?.checked_sub(1)?, 2),
            Self::U32 => (
                4,
                u32::from_be_bytes(buffer.get(..4)?.try_into().unwrap()) as usize,
                0,
            ),
            Self::Netstring => {
                let colon = find(b':')?;
                let length = std::str::from_utf8(&buffer[..colon]).ok()?;
                (colon + 1, length.parse().ok()?, 1)
            }
        };
        if buffer.len() < before + len + behind {
            return None;
        }
        buffer.advance(before);
        let payload = buffer.split_to(len).to_vec();
        buffer.advance(behind);
        Some(payload)
    }
}

/// What makes a session's messages its own: both ends know the client's address.
pub fn key(client: SocketAddr) -> u64 {
    let IpAddr::V4(address) = client.ip() else {
        panic!("clients have addresses of version 4")
    };
    u64::from(address.to_bits()) << 16 | u64::from(client.port())
}

/// The `number`-th message of a session in a direction. Most are short, some take several reads and fragments.
pub fn message(key: u64, way: Way, number: u32, accents: bool) -> String {
    let seed = key ^ u64::from(number) << 48 ^ if way == Way::Up { 0 } else { 1 << 63 };
    let mut random = fastrand::Rng::with_seed(seed);
    let filler = match random.u8(..) {
        0..=199 => random.usize(..200),
        200..=245 => random.usize(200..4_000),
        246..=253 => random.usize(4_000..40_000),
        _ => random.usize(40_000..160_000),
    };
    let mut text = format!("{key:x} {number} ");
    let start = random.usize(..26);
    for at in start..start + filler {
        text.push(match at % 29 {
            26 if accents => 'é',
            27 if accents => 'ü',
            28 if accents => '€',
            letter => char::from(b'a' + (letter % 26) as u8),
        });
    }
    text
}

/// The same text in windows-1252.
pub fn windows_1252(text: &str) -> Vec<u8> {
    let byte = |char| match char {
        'é' => 0xE9,
        'ü' => 0xFC,
        '€' => 0x80,
        ascii => ascii as u8,
    };
    text.chars().map(byte).collect()
}

/// What a normal session does, as both its ends know.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Messages of the client.
    pub up: u32,
    /// Messages that the backend sends by itself, where it does.
    pub down: u32,
    /// The pause between two messages.
    pub pause: Duration,
    /// After how many messages the backend ends the session; the client does where there is none.
    pub backend_ends_after: Option<u32>,
}

impl Plan {
    /// The plan of the session with this key.
    pub fn of(key: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(!key);
        let up = random.u32(1..80);
        Self {
            up,
            down: random.u32(1..80),
            pause: Duration::from_millis(random.u64(1..250)),
            backend_ends_after: random.bool().then(|| random.u32(1..=up)),
        }
    }
}
