//! From the client to the backend: WebSocket frames in, records out.

use super::{Accept, Counters, HalfClose, Settings};
use crate::close::CloseReason;
use crate::framing::{Empty, EncodeError, EncodeState};
use crate::message::{Begin, Kind, Part};
use crate::outbox::Outbox;
use crate::websocket::{self, CloseCode, Decoder, Encoder, Event, ProtocolError};

/// Pongs are written as long as less than this waits for the client, held bytes included: a pong goes in front of those, so each
/// one moves them. Then only the newest ping is kept (RFC 6455 §5.5.3).
const PONG_ROOM: usize = 64 * 1024;

/// The translator of one session's uplink.
#[derive(Debug)]
pub(super) struct Uplink {
    decoder: Decoder,
    encode: EncodeState,
    /// The start of a message of which no byte has come yet.
    unopened: Option<Begin>,
    /// The kind of the message being read.
    kind: Kind,
    /// The kind of the client's first message.
    first: Option<Kind>,
    half_closed: bool,
    pong: Option<Box<[u8]>>,
    /// Bytes of the current message that were counted as delivered.
    counted: u64,
}

/// What is done with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Translate them, answer pings.
    Open,
    /// Translate them, answer nothing: our Close frame is on its way.
    Forward,
    /// Read them for the client's Close frame only; count what is dropped.
    Discard,
}

/// Why translation stopped before the end of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The client's Close frame, with its code.
    Close(Option<CloseCode>),
    /// The client ended its own direction.
    HalfClose,
    /// The client must be refused.
    Fail(CloseReason),
}

/// Where one pass of translation reads its rules and puts its results.
pub(super) struct Pass<'a> {
    pub(super) settings: &'a Settings,
    pub(super) to_backend: &'a mut Outbox,
    pub(super) to_client: &'a mut Outbox,
    pub(super) counters: &'a mut Counters,
}

impl Uplink {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            decoder: Decoder::new(settings.max_message),
            encode: EncodeState::default(),
            unopened: None,
            kind: Kind::Binary,
            first: None,
            half_closed: false,
            pong: None,
            counted: 0,
        }
    }

    /// The kind of the client's first message, once it has sent one.
    pub(super) fn first_kind(&self) -> Option<Kind> {
        self.first
    }

    /// True between the first and the last byte of a message.
    pub(super) fn is_inside(&self) -> bool {
        self.decoder.is_inside_message()
    }

    /// True when the backend has part of a record whose rest has not come.
    pub(super) fn is_cut(&self) -> bool {
        self.encode.is_cut()
    }

    /// Memory that it keeps.
    pub(super) fn held(&self) -> usize {
        self.pong.as_ref().map_or(0, |pong| pong.len())
    }

    /// Writes the pong that had to wait.
    pub(super) fn answer_ping(&mut self, to_client: &mut Outbox) {
        if let Some(payload) = self.pong.take() {
            Encoder::pong(&payload, to_client);
        }
    }

    /// Translates as much of `input` as can be; returns how many bytes were used. What is left stands before the next input.
    pub(super) fn translate(
        &mut self,
        mode: Mode,
        input: &mut [u8],
        pass: &mut Pass<'_>,
    ) -> (usize, Option<Stop>) {
        let mut used = 0;
        loop {
            if let Some(whole) = self.decoder.whole_message(&input[used..]) {
                let stop = match self.decoder.open(whole, &mut input[used..]) {
                    Ok(data) => self.whole(mode, whole.kind, data, pass),
                    Err(error) => return (used, Some(Stop::Fail(reason(error)))),
                };
                used += whole.end;
                match stop {
                    None => continue,
                    stop => return (used, stop),
                }
            }
            let (consumed, event) = match self.decoder.decode(&mut input[used..]) {
                Ok(step) => step,
                Err(error) => return (used, Some(Stop::Fail(reason(error)))),
            };
            used += consumed;
            let stop = match event {
                None => return (used, None),
                Some(Event::Message(part)) => self.message(mode, part, pass),
                Some(Event::Ping(payload)) if mode == Mode::Open => {
                    if pass.to_client.len() < PONG_ROOM {
                        self.pong = None;
                        Encoder::pong(payload, pass.to_client);
                    } else {
                        self.pong = Some(payload.into());
                    }
                    None
                }
                Some(Event::Ping(_) | Event::Pong(_)) => None,
                Some(Event::Close(frame)) => Some(Stop::Close(frame.code)),
            };
            if stop.is_some() {
                return (used, stop);
            }
        }
    }

    /// A message in one piece: what most are.
    #[inline]
    fn whole(&mut self, mode: Mode, kind: Kind, data: &[u8], pass: &mut Pass<'_>) -> Option<Stop> {
        if mode == Mode::Discard {
            pass.counters.lost_up += data.len() as u64;
            return None;
        }
        let begin = Begin {
            kind,
            len: Some(data.len() as u64),
        };
        if let Err(reason) = self.begin(begin, pass.settings) {
            pass.counters.lost_up += data.len() as u64;
            return Some(Stop::Fail(reason));
        }
        if data.is_empty() {
            return self.empty(begin, pass);
        }
        self.encode(&Part::whole(kind, data), pass)
    }

    /// A piece of a message.
    fn message(&mut self, mode: Mode, mut part: Part<'_>, pass: &mut Pass<'_>) -> Option<Stop> {
        if mode == Mode::Discard {
            pass.counters.lost_up += part.data.len() as u64;
            return None;
        }
        if let Some(begin) = part.begin
            && let Err(reason) = self.begin(begin, pass.settings)
        {
            pass.counters.lost_up += part.data.len() as u64;
            return Some(Stop::Fail(reason));
        }
        part.begin = part.begin.or(self.unopened.take());
        if let (Some(begin), []) = (part.begin, part.data) {
            if part.end {
                return self.empty(begin, pass);
            }
            if begin.len.is_none() {
                // Whether this message is empty is not known yet.
                self.unopened = Some(begin);
                return None;
            }
        }
        self.encode(&part, pass)
    }

    fn begin(&mut self, begin: Begin, settings: &Settings) -> Result<(), CloseReason> {
        if self.half_closed {
            return Err(CloseReason::AfterHalfClose);
        }
        match (settings.accept, begin.kind) {
            (Accept::Any, _) | (Accept::Text, Kind::Text) | (Accept::Binary, Kind::Binary) => {}
            (Accept::Text, Kind::Binary) | (Accept::Binary, Kind::Text) => {
                return Err(CloseReason::WrongKind);
            }
        }
        self.kind = begin.kind;
        self.first = self.first.or(Some(begin.kind));
        Ok(())
    }

    fn empty(&mut self, begin: Begin, pass: &mut Pass<'_>) -> Option<Stop> {
        if pass.settings.half_close == HalfClose::EmptyMessage {
            self.half_closed = true;
            return Some(Stop::HalfClose);
        }
        if pass.settings.empty == Empty::Skip {
            pass.counters.skipped += 1;
            return None;
        }
        self.encode(&Part::whole(begin.kind, &[]), pass)
    }

    fn encode(&mut self, part: &Part<'_>, pass: &mut Pass<'_>) -> Option<Stop> {
        let settings = pass.settings;
        let encoded = settings
            .to_backend
            .encode(&mut self.encode, &settings.embedded, part, pass.to_backend);
        match encoded {
            Ok(()) => {
                pass.counters.bytes_up += part.data.len() as u64;
                self.counted += part.data.len() as u64;
                pass.counters.messages_up += u64::from(part.end);
                // Without records the backend has no use for a message's end.
                if part.end || settings.to_backend.is_raw() {
                    self.counted = 0;
                }
                None
            }
            Err(error) => {
                pass.counters.lost_up += part.data.len() as u64;
                self.abandon(pass.counters);
                Some(Stop::Fail(match (error, self.kind) {
                    (EncodeError::DelimiterInside, Kind::Text) => CloseReason::DelimiterInText,
                    (EncodeError::DelimiterInside, Kind::Binary) => CloseReason::DelimiterInBinary,
                    (EncodeError::DelimiterMissing, _) => CloseReason::DelimiterMissing,
                    (EncodeError::LengthDoesNotFit, _) => CloseReason::LengthDoesNotFit,
                    (EncodeError::HeaderMismatch, _) => CloseReason::HeaderMismatch,
                    (EncodeError::EmptyMessage, _) => CloseReason::EmptyMessage,
                    (EncodeError::SizeMismatch, _) => CloseReason::SizeMismatch,
                    (EncodeError::NotARecord, _) => CloseReason::NotARecord,
                    (EncodeError::EncryptionRequest, _) => CloseReason::EncryptionRequest,
                }))
            }
        }
    }

    /// The rest of the current message will not come: what was counted of it is lost.
    pub(super) fn abandon(&mut self, counters: &mut Counters) {
        counters.bytes_up -= self.counted;
        counters.lost_up += self.counted;
        self.counted = 0;
    }
}

fn reason(error: ProtocolError) -> CloseReason {
    match error {
        ProtocolError::Violation(violation) => CloseReason::Protocol(violation),
        ProtocolError::InvalidText => CloseReason::ClientText,
        ProtocolError::TooBig => CloseReason::ClientTooBig,
    }
}

/// The most bytes that [`Uplink::translate`] leaves.
pub(super) const MAX_LEFT: usize = websocket::MAX_LEFT;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Embedded, Framing, Oversized, Partial};

    fn settings() -> Settings {
        Settings {
            to_backend: Framing::Raw,
            to_client: Framing::Raw,
            accept: Accept::Any,
            deliver: super::super::Deliver::Auto,
            max_message: u64::MAX,
            embedded: Embedded::Reject,
            oversized: Oversized::Close,
            partial: Partial::Error,
            empty: Empty::Deliver,
            half_close: HalfClose::Never,
            timeouts: super::super::Timeouts::default(),
        }
    }

    /// Each pong goes in front of what is held. With a large record held, a flood of pings must not move it once for each of them.
    #[test]
    fn a_flood_of_pings_does_not_move_a_held_record_for_each() {
        let settings = settings();
        let mut uplink = Uplink::new(&settings);
        let (mut to_backend, mut to_client) = (Outbox::default(), Outbox::default());
        to_client.push(&[7; PONG_ROOM]);
        let mut pings: Vec<u8> = (0..9u8).flat_map(|n| [0x89, 0x81, 0, 0, 0, 0, n]).collect();
        let mut pass = Pass {
            settings: &settings,
            to_backend: &mut to_backend,
            to_client: &mut to_client,
            counters: &mut Counters::default(),
        };
        let len = pings.len();
        assert_eq!(uplink.translate(Mode::Open, &mut pings, &mut pass), (len, None));
        assert_eq!(to_client.ready(), b"");
        uplink.answer_ping(&mut to_client);
        assert_eq!(to_client.ready(), [0x8A, 1, 8], "the newest");
        assert_eq!(to_client.held().len(), PONG_ROOM);
    }
}
