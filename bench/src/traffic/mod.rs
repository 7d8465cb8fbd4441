//! What the generator sends and expects: pure, no sockets.

mod pattern;
mod receiver;
mod sender;

pub(crate) use receiver::Receiver;
pub(crate) use sender::Sender;

/// How records lie on the backend's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Bytes without boundaries.
    Raw,
    /// Four bytes of length, big endian.
    U32be,
    /// A line feed behind each record.
    Lines,
}

/// How one end of a session writes: plain records, or WebSocket frames that carry the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Records on a stream.
    Stream(Framing),
    /// WebSocket messages that stand for such records.
    WebSocket(Framing),
}

/// Every session starts with these bytes from the backend: they prove that the whole way is open.
pub(crate) const GREETING: [u8; OPENING] = *b"greeting";
/// Length of the first message of either direction. The client's is its session's number in hexadecimal.
pub(crate) const OPENING: usize = 8;

/// RFC 6455 §11.8.
mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;

    /// That of messages which stand for records of this framing.
    pub(super) fn of(framing: super::Framing) -> u8 {
        match framing {
            super::Framing::Lines => TEXT,
            super::Framing::Raw | super::Framing::U32be => BINARY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [u64; 5] = [1, 64, 199, 1024, 70_000];

    /// The unmasked image of what a client's sender made: what a server would send.
    fn unmask(mut frames: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while !frames.is_empty() {
            let (header, len) = match frames[1] & 127 {
                126 => (4, usize::from(u16::from_be_bytes([frames[2], frames[3]]))),
                127 => (10, u64::from_be_bytes(frames[2..10].try_into().unwrap()) as usize),
                short => (2, usize::from(short)),
            };
            assert_eq!(frames[1] & 128, 128, "a client masks");
            out.extend_from_slice(&frames[..header]);
            let at = out.len() - header + 1;
            out[at] &= 127;
            let key: [u8; 4] = frames[header..header + 4].try_into().unwrap();
            let payload = &frames[header + 4..][..len];
            out.extend(
                payload
                    .iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
            frames = &frames[header + 4 + len..];
        }
        out
    }

    fn sent(mut sender: Sender, opening: [u8; OPENING], count: usize, room: usize) -> Vec<u8> {
        let mut out = Vec::new();
        sender.open(opening, &mut out);
        let mut whole = 0;
        while whole < count {
            whole += usize::from(sender.piece(&mut out, room));
        }
        out
    }

    fn feed(mut receiver: Receiver, bytes: &[u8], piece: usize) -> Result<u64, String> {
        for chunk in bytes.chunks(piece) {
            receiver.feed(chunk)?;
        }
        Ok(receiver.messages())
    }

    #[test]
    fn a_backend_reads_what_a_client_wrote() {
        for framing in [Framing::Raw, Framing::U32be, Framing::Lines] {
            for size in SIZES {
                let sender = Sender::uplink(Coding::Stream(framing), size, 9);
                let bytes = sent(sender, *b"00000009", 3, 16_384);
                for piece in [1, 7, 4096, bytes.len()] {
                    let receiver = Receiver::at_backend(framing, size);
                    assert_eq!(feed(receiver, &bytes, piece), Ok(3), "{framing:?} {size} {piece}");
                }
            }
        }
    }

    #[test]
    fn a_client_reads_frames() {
        for framing in [Framing::Raw, Framing::U32be, Framing::Lines] {
            for size in SIZES {
                // An uplink sender stands for the server: same walk, and the mask taken off.
                let sender = Sender::uplink(Coding::WebSocket(framing), size, 9);
                let bytes = unmask(&sent(sender, GREETING, 3, 16_384));
                for piece in [1, 7, 4096, bytes.len()] {
                    let receiver = Receiver::for_test(Coding::WebSocket(framing), size, 9);
                    assert_eq!(feed(receiver, &bytes, piece), Ok(3), "{framing:?} {size} {piece}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_boundary_is_seen() {
        for framing in [Framing::U32be, Framing::Lines] {
            let sender = Sender::uplink(Coding::Stream(framing), 65, 9);
            let bytes = sent(sender, *b"00000009", 2, 16_384);
            assert!(
                feed(Receiver::at_backend(framing, 64), &bytes, 4096).is_err(),
                "{framing:?}"
            );
            let sender = Sender::uplink(Coding::WebSocket(framing), 65, 9);
            let bytes = unmask(&sent(sender, GREETING, 2, 16_384));
            let receiver = Receiver::for_test(Coding::WebSocket(framing), 64, 9);
            assert!(feed(receiver, &bytes, 4096).is_err(), "{framing:?}");
        }
    }

    #[test]
    fn another_session_s_bytes_are_seen() {
        let sender = Sender::uplink(Coding::Stream(Framing::Raw), 64, 9);
        let bytes = sent(sender, *b"0000000a", 1, 16_384);
        assert!(feed(Receiver::at_backend(Framing::Raw, 64), &bytes, 4096).is_err());
    }
}
