//! From the client to the backend: WebSocket frames in, records out.

use super::sizes::Tally;
use super::{Accept, Counters, HalfClose, Settings};
use crate::charset::{self, Unmappable, UnmappableCharacter};
use crate::close::CloseReason;
use crate::framing::{Embedded, Empty, EncodeError, EncodeState, Oversized};
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
    /// Makes records of text, where they have another charset.
    charset: Option<Box<charset::Encoder>>,
    /// The kind of a message that has begun without a length, and of which no byte has come yet.
    unopened: Option<Kind>,
    /// The kind of the message being read.
    kind: Kind,
    /// The kind of the client's first message.
    first: Option<Kind>,
    half_closed: bool,
    /// Messages become records with nothing to note beside: no charset, no policy that lets delimiters pass, no raw.
    plain: bool,
    /// Bytes of the current message that are with the backend, where nobody can tell them from a whole one.
    passed: u64,
    pong: Option<Box<[u8]>>,
    /// Bytes of the current message that were counted as delivered.
    counted: u64,
    /// Frames that brought nothing of a message, since the caller last asked.
    barren: u32,
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
    pub(super) sizes: &'a mut Tally,
}

impl Uplink {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            decoder: Decoder::new(settings.max_message),
            encode: EncodeState::default(),
            charset: settings
                .charset
                .map(|charset| Box::new(charset::Encoder::new(charset, settings.unmappable))),
            unopened: None,
            kind: Kind::Binary,
            first: None,
            half_closed: false,
            plain: settings.charset.is_none()
                && settings.embedded == Embedded::Reject
                && !settings.to_backend.is_raw(),
            passed: 0,
            pong: None,
            counted: 0,
            barren: 0,
        }
    }

    /// How many frames have brought nothing of a message since this was last asked: control frames, empty fragments, and those of a message
    /// that is being dropped. Each is as much work as a message.
    pub(super) fn take_barren(&mut self) -> u64 {
        std::mem::take(&mut self.barren).into()
    }

    /// The kind of the client's first message, once it has sent one.
    pub(super) fn first_kind(&self) -> Option<Kind> {
        self.first
    }

    /// True between the first and the last byte of a message.
    pub(super) fn is_inside(&self) -> bool {
        self.decoder.is_inside_message()
    }

    /// How much of a message that has begun has come.
    pub(super) fn received(&self) -> Option<u64> {
        self.decoder.received()
    }

    /// True when a message begins with these bytes, and not a frame of the protocol's own.
    pub(super) fn begins_message(&self, bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|first| first & 0x08 == 0)
    }

    /// How many bytes may be read without reading beyond the frame that is being read.
    pub(super) fn rest_of_frame(&self) -> usize {
        self.decoder.rest_of_frame()
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
                Err(ProtocolError::TooBig) if self.may_drop(pass.settings) => {
                    self.drop_message(mode, pass);
                    continue;
                }
                Err(error) => return (used, Some(Stop::Fail(reason(error)))),
            };
            used += consumed;
            let Some(event) = event else {
                return (used, None);
            };
            let stop = self.event(mode, consumed, event, pass);
            if stop.is_some() {
                return (used, stop);
            }
        }
    }

    /// What a frame brings that is no whole message. Apart from those, which then need fewer registers.
    #[inline(never)]
    fn event(&mut self, mode: Mode, consumed: usize, event: Event<'_>, pass: &mut Pass<'_>) -> Option<Stop> {
        match event {
            Event::Message(part) => {
                self.barren += u32::from(part.data.is_empty() && !part.end);
                self.message(mode, part, pass)
            }
            Event::Skipped(len) => {
                // More was used than that where a frame began.
                self.barren += u32::from(consumed > len);
                pass.counters.lost_up += len as u64;
                None
            }
            Event::Ping(payload) if mode == Mode::Open => {
                self.barren += 1;
                if pass.to_client.len() < PONG_ROOM {
                    self.pong = None;
                    Encoder::pong(payload, pass.to_client);
                } else {
                    self.pong = Some(payload.into());
                }
                None
            }
            Event::Ping(_) | Event::Pong(_) => {
                self.barren += 1;
                None
            }
            Event::Close(frame) => Some(Stop::Close(frame.code)),
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
        if let Some(kind) = self.unopened.take() {
            part.begin = Some(Begin { kind, len: None });
        }
        if let (Some(begin), []) = (part.begin, part.data) {
            if part.end {
                return self.empty(begin, pass);
            }
            if begin.len.is_none() {
                // Whether this message is empty is not known yet.
                self.unopened = Some(begin.kind);
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
        if pass.settings.empty.to_backend == Empty::Skip {
            pass.counters.edges_mut().empty_up += 1;
            return None;
        }
        self.encode(&Part::whole(begin.kind, &[]), pass)
    }

    // Inlined wherever it is called: what a whole message needs is little of it, and there may be a million of them.
    #[inline(always)]
    fn encode(&mut self, part: &Part<'_>, pass: &mut Pass<'_>) -> Option<Stop> {
        let settings = pass.settings;
        if !self.plain {
            return self.encode_at_an_edge(part, pass);
        }
        let encoded = settings
            .to_backend
            .encode(&mut self.encode, &settings.embedded, part, pass.to_backend);
        if let Err(error) = encoded {
            return Some(self.refuse(part, refusal(error, self.kind), pass));
        }
        pass.counters.bytes_up += part.data.len() as u64;
        self.counted += part.data.len() as u64;
        if part.end {
            pass.sizes.count(self.counted, pass.counters.messages_up);
            pass.counters.messages_up += 1;
            self.counted = 0;
        }
        None
    }

    /// The same where there may be more to do, or to note.
    #[inline(never)]
    fn encode_at_an_edge(&mut self, part: &Part<'_>, pass: &mut Pass<'_>) -> Option<Stop> {
        let settings = pass.settings;
        if self.charset.is_some() && self.kind == Kind::Text {
            return self.encode_in_charset(part, pass);
        }
        let encoded = settings
            .to_backend
            .encode(&mut self.encode, &settings.embedded, part, pass.to_backend);
        if let Err(error) = encoded {
            return Some(self.refuse(part, refusal(error, self.kind), pass));
        }
        self.note(part, pass);
        None
    }

    /// Text, made bytes of the charset first. Its length is known ahead only where it comes out as one chunk.
    #[cold]
    fn encode_in_charset(&mut self, part: &Part<'_>, pass: &mut Pass<'_>) -> Option<Stop> {
        let charset = self.charset.as_mut()?;
        let settings = pass.settings;
        let (framing, out, state) = (&settings.to_backend, &mut *pass.to_backend, &mut self.encode);
        let mut begin = part.begin;
        let encoded = charset.encode(part.data, part.end, |data, end| {
            if framing.is_raw() {
                // It would let each chunk go at once, and a part is refused as a whole.
                out.push(data);
                return Ok(());
            }
            let begin = begin.take().map(|Begin { kind, .. }| Begin {
                kind,
                len: end.then_some(data.len() as u64),
            });
            let part = Part { begin, data, end };
            framing
                .encode(state, &settings.embedded, &part, out)
                .map_err(Refused::ByFraming)
        });
        match encoded {
            Ok(()) => {}
            Err(Refused::Unmappable) => return Some(self.refuse(part, CloseReason::Unmappable, pass)),
            Err(Refused::ByFraming(error)) => {
                return Some(self.refuse(part, refusal(error, Kind::Text), pass));
            }
        }
        if framing.is_raw() {
            pass.to_backend.commit();
        }
        // A message that is yet to be held may still be dropped.
        let substituted = if part.end || framing.is_raw() {
            charset.take_substituted()
        } else {
            0
        };
        if substituted > 0 {
            let edges = pass.counters.edges_mut();
            match settings.unmappable {
                Unmappable::Escape => edges.unmappable_escaped += substituted,
                Unmappable::Replace | Unmappable::Reject => edges.unmappable_replaced += substituted,
            }
        }
        self.note(part, pass);
        None
    }

    /// Counts a part that has been encoded.
    fn note(&mut self, part: &Part<'_>, pass: &mut Pass<'_>) {
        pass.counters.bytes_up += part.data.len() as u64;
        self.counted += part.data.len() as u64;
        if part.end {
            let size = std::mem::take(&mut self.passed) + std::mem::take(&mut self.counted);
            pass.sizes.count(size, pass.counters.messages_up);
            pass.counters.messages_up += 1;
        } else if pass.settings.to_backend.is_raw() {
            // Without records the backend has no use for a message's end, and part of one has left for good.
            self.passed += std::mem::take(&mut self.counted);
        }
        // A message that is yet to be held may still be dropped.
        let embedded = if part.end { self.encode.take_embedded() } else { 0 };
        if embedded > 0 {
            pass.counters.edges_mut().embedded += embedded;
        }
    }

    /// A message that cannot become a record.
    #[cold]
    fn refuse(&mut self, part: &Part<'_>, reason: CloseReason, pass: &mut Pass<'_>) -> Stop {
        pass.counters.lost_up += part.data.len() as u64;
        self.take_back(pass);
        Stop::Fail(reason)
    }

    /// True when a message that turns out to be over the limit may be dropped: only while nothing of it has left.
    fn may_drop(&self, settings: &Settings) -> bool {
        settings.oversized.to_backend == Oversized::Discard && self.passed == 0 && !self.encode.is_cut()
    }

    /// Drops the message that is over the limit, what has come of it and what will.
    fn drop_message(&mut self, mode: Mode, pass: &mut Pass<'_>) {
        if mode != Mode::Discard {
            pass.counters.edges_mut().oversized_up += 1;
        }
        self.decoder.skip();
        self.take_back(pass);
    }

    /// Forgets the current message, of which nothing more is to leave.
    fn take_back(&mut self, pass: &mut Pass<'_>) {
        self.unopened = None;
        self.encode.forget_message();
        if let Some(charset) = &mut self.charset {
            charset.reset();
            charset.take_substituted();
        }
        pass.to_backend.discard_held();
        self.abandon(pass.counters);
    }

    /// Bytes that were counted of a message which may yet be lost.
    pub(super) fn unfinished(&self) -> u64 {
        self.counted
    }

    /// The rest of the current message will not come: what was counted of it is lost.
    pub(super) fn abandon(&mut self, counters: &mut Counters) {
        counters.bytes_up -= self.counted;
        counters.lost_up += self.counted;
        self.counted = 0;
    }
}

/// Why a message cannot become a record.
enum Refused {
    Unmappable,
    ByFraming(EncodeError),
}

impl From<UnmappableCharacter> for Refused {
    fn from(_: UnmappableCharacter) -> Self {
        Self::Unmappable
    }
}

fn refusal(error: EncodeError, kind: Kind) -> CloseReason {
    match (error, kind) {
        (EncodeError::DelimiterInside, Kind::Text) => CloseReason::DelimiterInText,
        (EncodeError::DelimiterInside, Kind::Binary) => CloseReason::DelimiterInBinary,
        (EncodeError::DelimiterMissing, _) => CloseReason::DelimiterMissing,
        (EncodeError::LengthDoesNotFit, _) => CloseReason::LengthDoesNotFit,
        (EncodeError::HeaderMismatch, _) => CloseReason::HeaderMismatch,
        (EncodeError::EmptyMessage, _) => CloseReason::EmptyMessage,
        (EncodeError::SizeMismatch, _) => CloseReason::SizeMismatch,
        (EncodeError::NotARecord, _) => CloseReason::NotARecord,
        (EncodeError::EncryptionRequest, _) => CloseReason::EncryptionRequest,
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
    use crate::bridge::{Both, Deliver, InvalidText, Timeouts};
    use crate::charset::Charset;
    use crate::framing::{Block, Framing, Outside, Partial, preset};
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    fn settings() -> Settings {
        Settings {
            to_backend: Framing::Raw,
            to_client: Framing::Raw,
            accept: Accept::Any,
            deliver: Deliver::Auto,
            charset: None,
            unmappable: Unmappable::Reject,
            invalid_text: InvalidText::Binary,
            max_message: u64::MAX,
            embedded: Embedded::Reject,
            oversized: Both::of(Oversized::Close),
            partial: Partial::Error,
            empty: Both::of(Empty::Deliver),
            half_close: HalfClose::Never,
            rates: crate::bridge::Rates::default(),
            timeouts: Timeouts::default(),
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
            sizes: &mut Tally::new(0, 0),
        };
        let len = pings.len();
        assert_eq!(uplink.translate(Mode::Open, &mut pings, &mut pass), (len, None));
        assert_eq!(to_client.ready(), b"");
        uplink.answer_ping(&mut to_client);
        assert_eq!(to_client.ready(), [0x8A, 1, 8], "the newest");
        assert_eq!(to_client.held().len(), PONG_ROOM);
    }

    /// The place of a message tells PostgreSQL's first one from the others: a message that is dropped has none, and moves no other.
    #[test]
    fn a_dropped_message_does_not_change_the_place_of_others() {
        let settings = Settings {
            to_backend: preset("postgres").unwrap().to_backend,
            max_message: 32,
            oversized: Both::of(Oversized::Discard),
            ..settings()
        };
        let frame = |payload: &[u8]| [&[0x82, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
        let (startup, sync) = (b"\0\0\0\x09\0\x03\0\0\0", b"S\0\0\0\x04");
        let frames = [&[7; 40][..], startup, sync, &[7; 40], sync].map(frame);
        let (written, counters) = translate(&settings, &[&frames.concat()]);
        assert_eq!(written, [&startup[..], sync, sync].concat());
        assert_eq!(counters.edges().oversized_up, 2);
    }

    #[test]
    fn what_is_escaped_is_counted_with_the_message_that_leaves() {
        let block = Block::new(b"\x02", b"\x03", Some(0x10), Outside::Close).unwrap();
        for (framing, escaped) in [
            (Framing::Block(block), b'\x03'),
            (Framing::Slip, b'\xC0'),
            (Framing::Cobs, b'\0'),
        ] {
            let settings = Settings {
                embedded: framing.default_embedded(),
                to_backend: framing,
                max_message: 4,
                oversized: Both::of(Oversized::Discard),
                ..settings()
            };
            // Two escaped bytes in two fragments; the same with what is over the limit behind them.
            let start = [0x02, 0x81, 0, 0, 0, 0, escaped, 0x00, 0x81, 0, 0, 0, 0, escaped];
            let good = [&start[..], &[0x80, 0x81, 0, 0, 0, 0, b'a']].concat();
            let long = [&start[..], &[0x80, 0x83, 0, 0, 0, 0, b'a', b'b', b'c']].concat();
            let (_, counters) = translate(&settings, &[&[long, good].concat()]);
            let edges = counters.edges();
            assert_eq!(
                (edges.embedded, edges.oversized_up),
                (2, 1),
                "{:?}",
                settings.to_backend
            );
        }
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        [
            &[first, 0xFE],
            &(payload.len() as u16).to_be_bytes()[..],
            &[0; 4],
            payload,
        ]
        .concat()
    }

    /// What the backend gets of these reads, and what is counted.
    fn translate(settings: &Settings, reads: &[&[u8]]) -> (Vec<u8>, Counters) {
        let mut uplink = Uplink::new(settings);
        let (mut to_backend, mut to_client) = (Outbox::default(), Outbox::default());
        let (mut counters, mut sizes, mut left) = (Counters::default(), Tally::new(0, 0), Vec::new());
        for read in reads {
            left.extend_from_slice(read);
            let mut pass = Pass {
                settings,
                to_backend: &mut to_backend,
                to_client: &mut to_client,
                counters: &mut counters,
                sizes: &mut sizes,
            };
            let (used, stop) = uplink.translate(Mode::Open, &mut left, &mut pass);
            assert_eq!(stop, None);
            left.drain(..used);
        }
        assert!(left.is_empty() && to_backend.held().is_empty());
        (to_backend.ready().to_vec(), counters)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn how_a_message_is_cut_never_shows(
            name in select(&["lines", "crlf", "u16be"][..]),
            charset in select(&[None, Some("gbk"), Some("iso-2022-jp"), Some("latin1")][..]),
            unmappable in select(&[Unmappable::Replace, Unmappable::Escape][..]),
            text in "[a-c\u{E9}\u{A5}\u{4F60}\u{3042}\u{1F600}]{126,200}",
            cuts in prop::collection::vec(any::<Index>(), 0..4),
            reads in prop::collection::vec(any::<Index>(), 0..4),
        ) {
            let framing = preset(name).unwrap().to_client;
            let settings = Settings {
                to_backend: framing,
                charset: charset.map(|name| Charset::named(name).unwrap()),
                unmappable,
                // Some are over it.
                max_message: 400,
                oversized: Both::of(Oversized::Discard),
                ..settings()
            };
            let at = |cuts: &[Index], len: usize| {
                let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
                places.extend([0, len]);
                places.sort_unstable();
                places
            };
            let places = at(&cuts, text.len());
            let parts: Vec<&[u8]> = places.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let last = parts.len() - 1;
            let fragments: Vec<u8> = parts.iter().enumerate().flat_map(|(at, part)| {
                let fin = if at == last { 0x80 } else { 0 };
                let opcode = u8::from(at == 0);
                // A length in its shortest form.
                if part.len() < 126 {
                    [&[fin | opcode, 0x80 | part.len() as u8, 0, 0, 0, 0], *part].concat()
                } else {
                    frame(fin | opcode, part)
                }
            }).collect();
            let reads = at(&reads, fragments.len());
            let reads: Vec<&[u8]> = reads.windows(2).map(|pair| &fragments[pair[0]..pair[1]]).collect();
            let whole = frame(0x81, text.as_bytes());
            prop_assert_eq!(translate(&settings, &reads), translate(&settings, &[&whole]));
        }
    }
}
