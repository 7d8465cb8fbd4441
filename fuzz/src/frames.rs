//! The frame engine: any bytes, any cuts, and tungstenite as a second opinion.
//!
//! Input: the limit (an index into [`LIMITS`]), the cuts, then the client's stream.

use std::io::{Cursor, Read, Write};

use sealock::message::{Begin, Kind, Part};
use sealock::websocket::{Decoder, Event, MAX_LEFT, ProtocolError, Violation};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::input::Input;

/// Limits on both sides of every border between length forms.
const LIMITS: &[u64] = &[100_000, 0, 1, 125, 126, 1000, 65_535, 65_536];

/// Below this limit tungstenite refuses control frames too.
const MAX_CONTROL: u64 = 125;

/// What a client said, with the pieces of each message put together.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Any bytes are read the same however they are cut, within the limits, and as tungstenite reads them.
pub fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = input.pick(LIMITS);
    let cuts = input.cuts();
    let stream = input.rest();
    let whole = listen(limit, &[stream]);
    assert_eq!(listen(limit, &cuts.of(stream)), whole, "cuts changed the meaning");
    if limit >= MAX_CONTROL {
        compare(whole, tungstenite(limit, stream));
    }
}

/// Feeds the pieces as a stream, as the bridge does.
fn listen(limit: u64, pieces: &[&[u8]]) -> (Vec<Said>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new(limit);
    let mut said = Vec::new();
    let mut left = Vec::new();
    let mut open: Option<(Begin, Vec<u8>)> = None;
    for piece in pieces {
        let mut input = [&left, *piece].concat();
        let mut at = 0;
        loop {
            let mut copy = input[at..].to_vec();
            let shortcut = decoder.whole_message(&copy).map(|whole| {
                let data = Decoder::new(limit).open(whole, &mut copy).map(<[u8]>::to_vec);
                (whole, data)
            });
            let step = decoder.decode(&mut input[at..]);
            if let Some((whole, data)) = shortcut {
                let message = data.as_deref().map(|data| Part::whole(whole.kind, data));
                let message = message.map(|part| (whole.end, Some(Event::Message(part))));
                assert_eq!(step, message.map_err(|error| *error));
            }
            let (used, event) = match step {
                Ok(step) => step,
                Err(error) => return (said, Err(error)),
            };
            at += used;
            match event {
                None => break,
                Some(Event::Ping(payload)) => said.push(Said::Ping(payload.to_vec())),
                Some(Event::Pong(payload)) => said.push(Said::Pong(payload.to_vec())),
                Some(Event::Skipped(_)) => unreachable!("nobody asks for it"),
                Some(Event::Close(frame)) => {
                    let code = frame.code.map(|code| code.0);
                    said.push(Said::Close(code, frame.reason.to_owned()));
                    return (said, Ok(()));
                }
                Some(Event::Message(part)) => {
                    assert_eq!(part.begin.is_some(), open.is_none(), "a message begins once");
                    assert_eq!(decoder.is_inside_message(), !part.end);
                    let (begin, mut bytes) = open
                        .take()
                        .or(part.begin.map(|begin| (begin, Vec::new())))
                        .expect("a beginning");
                    bytes.extend_from_slice(part.data);
                    assert!(
                        bytes.len() as u64 <= begin.len.unwrap_or(limit).min(limit),
                        "longer than announced"
                    );
                    if !part.end {
                        open = Some((begin, bytes));
                        continue;
                    }
                    assert!(
                        begin.len.is_none_or(|len| len == bytes.len() as u64),
                        "an announced length is true"
                    );
                    let valid = begin.kind == Kind::Binary || std::str::from_utf8(&bytes).is_ok();
                    assert!(valid, "text that is not UTF-8");
                    said.push(Said::Message(begin.kind, bytes));
                }
            }
        }
        left = input.split_off(at);
        assert!(left.len() <= MAX_LEFT, "{} bytes are left", left.len());
    }
    (said, Ok(()))
}

/// Where we take a stream, tungstenite takes it and hears the same. Where we refuse, it has heard the same before: it notices a flaw
/// of a frame once its payload is there, we on its header.
fn compare((mut ours, result): (Vec<Said>, Result<(), ProtocolError>), theirs: (Vec<Said>, bool)) {
    let (mut theirs, taken) = theirs;
    match result {
        // They take lengths that are not minimal, for which control frames leave no room, and answer a forbidden code with another.
        Err(ProtocolError::Violation(
            Violation::LengthNotMinimal | Violation::ControlTooLong | Violation::CloseCode,
        )) => return,
        Err(_) => {}
        Ok(()) => {
            assert!(taken, "we take what they refuse: {ours:?}");
            // 1012 to 1014 are registered, but unknown to them: they report 1002 instead.
            if matches!(ours.last(), Some(Said::Close(Some(1012..=1014), _))) {
                ours.pop();
                theirs.pop();
            }
        }
    }
    assert_eq!(ours, theirs);
}

/// Something to read from; what is written to it is dropped.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of the same bytes, and whether it took them all.
fn tungstenite(limit: u64, stream: &[u8]) -> (Vec<Said>, bool) {
    let limit = usize::try_from(limit).ok();
    let config = WebSocketConfig::default()
        .max_message_size(limit)
        .max_frame_size(limit);
    let mut socket = WebSocket::from_raw_socket(Wire(Cursor::new(stream)), Role::Server, Some(config));
    let mut said = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => said.push(Said::Message(Kind::Text, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => said.push(Said::Message(Kind::Binary, bytes.to_vec())),
            Ok(Message::Ping(payload)) => said.push(Said::Ping(payload.to_vec())),
            Ok(Message::Pong(payload)) => said.push(Said::Pong(payload.to_vec())),
            Ok(Message::Close(frame)) => {
                let (code, reason) = frame.map_or((None, String::new()), |CloseFrame { code, reason }| {
                    (Some(code.into()), reason.to_string())
                });
                said.push(Said::Close(code, reason));
                return (said, true);
            }
            Ok(Message::Frame(_)) => {}
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => return (said, true),
            // The stream ended without a Close frame.
            Err(Error::Protocol(error)) if error.to_string().contains("without closing") => {
                return (said, true);
            }
            Err(_) => return (said, false),
        }
    }
}
