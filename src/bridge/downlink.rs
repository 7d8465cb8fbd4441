//! From the backend to the client: records in, WebSocket frames out.

use super::delivery::{Delivery, Pass};
use super::{Counters, Deliver, InvalidText, Settings};
use crate::close::CloseReason;
use crate::framing::{DecodeError, DecodeRules, DecodeState, Event, Partial};
use crate::message::{Kind, Part};
use crate::outbox::Outbox;

/// The translator of one session's downlink.
#[derive(Debug)]
pub(super) struct Downlink {
    decode: DecodeState,
    delivery: Delivery,
    /// Bytes of the current record that are used up and are none of its message: its header, escapes. They stand in front of it, or in
    /// it; if it is lost, they are lost with it.
    around: u64,
}

impl Downlink {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            decode: DecodeState::default(),
            delivery: Delivery::new(settings),
            around: 0,
        }
    }

    /// True when the record that was begun is not complete. `left` is what [`Downlink::translate`] left of the input.
    pub(super) fn is_inside(&self, left: usize) -> bool {
        self.decode.is_inside() || left > 0
    }

    /// Translates as much of `input` as can be; returns how many bytes were used. What is left stands before the next input.
    /// `first` is the kind of the client's first message; `eof` says that nothing follows.
    pub(super) fn translate(
        &mut self,
        first: Option<Kind>,
        input: &[u8],
        eof: bool,
        pass: &mut Pass<'_>,
    ) -> (usize, Result<(), CloseReason>) {
        let settings = pass.settings;
        let kind = match settings.deliver {
            Deliver::Text => Kind::Text,
            Deliver::Binary => Kind::Binary,
            Deliver::Auto if first == Some(Kind::Binary) => Kind::Binary,
            Deliver::Auto => Kind::Text,
        };
        // What may be binary, and what has another charset, is not to be cut by the rules of UTF-8.
        let is_utf8 = settings.charset.is_none() && settings.invalid_text != InvalidText::Binary;
        let rules = DecodeRules {
            max_message: settings.max_message,
            oversized: settings.oversized.to_client,
            text: kind == Kind::Text && is_utf8,
        };
        let plain = self.delivery.plain(kind, settings);
        let mut used = 0;
        loop {
            if let Some(record) = settings
                .to_client
                .whole_record(&self.decode, &rules, &input[used..])
            {
                let data = &input[used + record.start..used + record.end];
                used += record.consumed;
                if let Err(reason) = self.delivery.whole(kind, plain, data, pass) {
                    let start = used - record.consumed;
                    if start > 0 {
                        self.around = 0;
                    }
                    return (used, Err(self.give_up(reason, &input[start..], pass)));
                }
                continue;
            }
            if used > 0 && !self.decode.is_inside() {
                // It stood around a record that is done.
                self.around = 0;
            }
            let decoded = match settings
                .to_client
                .decode(&mut self.decode, &rules, &input[used..], eof)
            {
                Ok(decoded) => decoded,
                Err(error) => return (used, Err(self.give_up(reason(error), &input[used..], pass))),
            };
            let here = &input[used..];
            used += decoded.consumed;
            let outside = self.decode.take_outside();
            if outside > 0 {
                pass.counters.edges_mut().outside += outside;
            }
            let counted = outside + self.decode.take_dropped();
            pass.counters.lost_down += counted;
            // A byte that an escape stands for is one of its message, and takes none of the input twice.
            let around = (decoded.consumed as u64).saturating_sub(counted);
            match decoded.event {
                Event::More => {
                    self.around += around;
                    break;
                }
                Event::Discarded => {
                    pass.counters.edges_mut().oversized_down += 1;
                    self.around += around;
                    self.lose(pass.out, pass.counters);
                }
                Event::Part(part) => {
                    let delivered = if part.is_whole() {
                        self.delivery.whole(kind, plain, part.data, pass)
                    } else {
                        if part.begin.is_some() {
                            self.delivery.begin(kind, settings);
                        }
                        self.delivery.part(&part, pass)
                    };
                    if let Err(reason) = delivered {
                        pass.counters.lost_down -= counted;
                        return (used, Err(self.give_up(reason, here, pass)));
                    }
                    self.around = if part.end {
                        0
                    } else {
                        self.around + around.saturating_sub(part.data.len() as u64)
                    };
                }
            }
        }
        if eof {
            return (input.len(), self.end(kind, &input[used..], pass));
        }
        (used, Ok(()))
    }

    /// Bytes that were counted of a record which may yet be lost.
    pub(super) fn unfinished(&self) -> u64 {
        self.delivery.unfinished()
    }

    /// Takes back what has not left of the current record.
    pub(super) fn abandon(&mut self, out: &mut Outbox, counters: &mut Counters) {
        if !self.decode.is_inside() {
            // What stands between two records belongs to neither.
            self.around = 0;
        }
        self.lose(out, counters);
    }

    /// Counts all that has come of the current record as lost.
    fn lose(&mut self, out: &mut Outbox, counters: &mut Counters) {
        self.delivery.abandon(out, counters);
        counters.lost_down += std::mem::take(&mut self.around);
    }

    /// Nothing of the current record, which `rest` starts or continues, nor of what follows is delivered.
    #[cold]
    fn give_up(&mut self, reason: CloseReason, rest: &[u8], pass: &mut Pass<'_>) -> CloseReason {
        self.lose(pass.out, pass.counters);
        pass.counters.lost_down += rest.len() as u64;
        reason
    }

    /// The backend's stream has ended, with `rest` not decodable.
    fn end(&mut self, kind: Kind, rest: &[u8], pass: &mut Pass<'_>) -> Result<(), CloseReason> {
        if self.decode.is_discarding() {
            pass.counters.lost_down += rest.len() as u64;
            return Ok(());
        }
        let delivered = if pass.settings.partial == Partial::Deliver {
            self.deliver_cut(kind, rest, pass)
        } else {
            Ok(false)
        };
        let cut = self.is_inside(rest.len()) || self.delivery.is_cut();
        self.decode = DecodeState::default();
        match delivered {
            Ok(true) => {
                self.around = 0;
                pass.counters.edges_mut().partial_delivered += 1;
                return Ok(());
            }
            Ok(false) if !cut => {
                self.around = 0;
                return Ok(());
            }
            Ok(false) | Err(_) => {}
        }
        self.lose(pass.out, pass.counters);
        pass.counters.lost_down += rest.len() as u64;
        delivered?;
        if pass.settings.partial == Partial::Error {
            return Err(CloseReason::BackendCut);
        }
        pass.counters.edges_mut().partial_dropped += 1;
        Ok(())
    }

    /// Delivers what there is of a record that was cut, and tells whether there was a message in it.
    fn deliver_cut(&mut self, kind: Kind, rest: &[u8], pass: &mut Pass<'_>) -> Result<bool, CloseReason> {
        let framing = &pass.settings.to_client;
        if self.decode.is_inside() {
            // What is left is the start of a trailer.
            let kept = if framing.keeps_header() { rest } else { &[] };
            if self.delivery.is_unopened() && kept.is_empty() {
                return Ok(false);
            }
            let end = Part {
                begin: None,
                data: kept,
                end: true,
            };
            self.delivery.part(&end, pass)?;
            pass.counters.lost_down += (rest.len() - kept.len()) as u64;
            return Ok(true);
        }
        if rest.is_empty() {
            return self.delivery.end_stream(kind, pass);
        }
        // The start of a header belongs to the message only where the message keeps its header, and where a message may be as long as
        // that. What raw leaves is the start of a character.
        if framing.is_raw() || (framing.keeps_header() && rest.len() as u64 <= pass.settings.max_message) {
            let plain = self.delivery.plain(kind, pass.settings);
            return self.delivery.whole(kind, plain, rest, pass).map(|()| true);
        }
        Ok(false)
    }
}

fn reason(error: DecodeError) -> CloseReason {
    match error {
        DecodeError::TooBig => CloseReason::BackendTooBig,
        DecodeError::Garbage(what) => CloseReason::BackendGarbage(what),
    }
}

/// The most bytes that [`Downlink::translate`] leaves.
pub(super) const MAX_LEFT: usize = crate::framing::MAX_HEADER;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::sizes::Tally;
    use crate::bridge::{Accept, Both, HalfClose, Timeouts};
    use crate::charset::{Charset, Unmappable};
    use crate::framing::{Embedded, Empty, Framing, Oversized, preset, preset_names};
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    type Messages = Vec<(bool, Vec<u8>)>;

    /// What the client gets of these reads, its end, and what is counted. Nothing is long enough for fragments.
    fn translate(settings: &Settings, reads: &[&[u8]]) -> (Messages, Result<(), CloseReason>, Counters) {
        let mut down = Downlink::new(settings);
        let (mut out, mut counters) = (Outbox::default(), Counters::default());
        let mut sizes = Tally::new(0, 0);
        let mut left = Vec::new();
        let mut result = Ok(());
        for (at, read) in reads.iter().chain([&&[][..]]).enumerate() {
            left.extend_from_slice(read);
            let mut pass = Pass {
                settings,
                out: &mut out,
                counters: &mut counters,
                sizes: &mut sizes,
            };
            let used;
            (used, result) = down.translate(None, &left, at == reads.len(), &mut pass);
            left.drain(..used);
            if result.is_err() {
                // What is not read any more is lost as well.
                let rest = &reads[reads.len().min(at + 1)..];
                counters.lost_down += rest.iter().map(|read| read.len() as u64).sum::<u64>();
                break;
            }
        }
        assert!(out.held().is_empty());
        let mut frames = out.ready();
        let mut messages = Vec::new();
        while let [first, len @ 0..126, rest @ ..] = frames {
            let (payload, behind) = rest.split_at(usize::from(*len));
            messages.push((*first == 0x81, payload.to_vec()));
            frames = behind;
        }
        assert!(frames.is_empty());
        assert_eq!(counters.messages_down, messages.len() as u64);
        (messages, result, counters)
    }

    /// A record of each kind.
    const RECORDS: [(&str, &[u8]); 18] = [
        ("lines", b"ab\n"),
        ("crlf", b"ab\r\n"),
        ("u16be", b"\0\x02ab"),
        ("mysql", b"\x02\0\0\0ab"),
        ("modbus", b"\0\x01\0\0\0\x02ab"),
        ("mqtt", b"\x30\x82\x00ab"),
        ("protobuf", b"\x82\x80\0ab"),
        ("netstring", b"12:hello world!,"),
        ("syslog", b"12 hello world!"),
        ("lsp", b"Content-Length: 2\r\n\r\n{}"),
        ("stomp", b"SEND\ncontent-length:2\n\nab\0"),
        ("postgres", b"Q\0\0\0\x06a\0"),
        ("amqp091", b"\x01\0\0\0\0\0\x02ab\xCE"),
        ("mllp", b"\x0Bab\x1C\r"),
        ("stx-etx", b"\x02ab\x03"),
        ("json-seq", b"\x1E{\"a\":[1]}\n"),
        ("slip", b"a\xDB\xDCb\xC0"),
        ("cobs", b"\x03ab\x01\x02c\0"),
    ];

    /// However much of a record has come, and whichever of it was taken for its header, an escape or part of a delimiter.
    #[test]
    fn all_of_a_record_that_never_ends_is_lost() {
        for (name, record) in RECORDS {
            for cut in 1..record.len() {
                let cut = &record[..cut];
                for size in [1, 2, 1000] {
                    let settings = Settings {
                        to_client: preset(name).unwrap().to_client,
                        ..plain()
                    };
                    let context = format!("{name} {cut:?} {size}");
                    let stream = [record, cut].concat();
                    // It stays away.
                    let mut down = Downlink::new(&settings);
                    let (mut out, mut counters) = (Outbox::default(), Counters::default());
                    let mut left = Vec::new();
                    for read in stream.chunks(size) {
                        left.extend_from_slice(read);
                        let mut pass = Pass {
                            settings: &settings,
                            out: &mut out,
                            counters: &mut counters,
                            sizes: &mut Tally::new(0, 0),
                        };
                        let (used, result) = down.translate(None, &left, false, &mut pass);
                        assert_eq!(result, Ok(()), "{context}");
                        left.drain(..used);
                    }
                    down.abandon(&mut out, &mut counters);
                    let lost = counters.lost_down + left.len() as u64;
                    assert_eq!((counters.messages_down, lost), (1, cut.len() as u64), "{context}");

                    // The stream ends there.
                    for partial in [Partial::Error, Partial::Drop] {
                        let settings = Settings {
                            partial,
                            ..settings.clone()
                        };
                        let reads: Vec<&[u8]> = stream.chunks(size).collect();
                        let (messages, _, counters) = translate(&settings, &reads);
                        // The value is whole without its line feed.
                        if messages.len() == 2 && name == "json-seq" {
                            continue;
                        }
                        let counted = (messages.len(), counters.lost_down);
                        assert_eq!(counted, (1, cut.len() as u64), "{context} {partial:?}");
                    }
                }
            }
        }
    }

    fn plain() -> Settings {
        Settings {
            to_backend: Framing::Raw,
            to_client: Framing::Raw,
            accept: Accept::Any,
            deliver: Deliver::Binary,
            charset: None,
            unmappable: Unmappable::Reject,
            invalid_text: InvalidText::Close,
            max_message: 300,
            embedded: Embedded::Reject,
            oversized: Both::of(Oversized::Close),
            partial: Partial::Error,
            empty: Both::of(Empty::Deliver),
            half_close: HalfClose::Never,
            rates: crate::bridge::Rates::default(),
            timeouts: Timeouts::default(),
        }
    }

    fn any_settings() -> impl Strategy<Value = Settings> {
        let policies = (
            select(&[Partial::Error, Partial::Deliver, Partial::Drop][..]),
            select(&[Empty::Deliver, Empty::Skip][..]),
            select(&[Oversized::Close, Oversized::Discard][..]),
        );
        (
            any_preset(),
            select(
                &[
                    None,
                    Some("gbk"),
                    Some("shift_jis"),
                    Some("iso-2022-jp"),
                    Some("latin1"),
                ][..],
            ),
            select(&[InvalidText::Close, InvalidText::Replace, InvalidText::Binary][..]),
            select(&[Deliver::Text, Deliver::Auto, Deliver::Binary][..]),
            policies,
        )
            .prop_map(
                |(name, charset, invalid_text, deliver, (partial, empty, oversized))| {
                    Settings {
                        to_client: preset(name).unwrap().to_client,
                        deliver,
                        charset: charset.map(|name| Charset::named(name).unwrap()),
                        invalid_text,
                        // Of two mistakes in one record, the one that is seen first is told: here is but one.
                        max_message: 300,
                        oversized: Both::of(oversized),
                        partial,
                        empty: Both::of(empty),
                        ..plain()
                    }
                },
            )
    }

    /// The preset `raw` aside: its messages are what was read.
    fn any_preset() -> impl Strategy<Value = &'static str> {
        let names: Vec<&str> = preset_names().filter(|name| *name != "raw").collect();
        select(names)
    }

    #[test]
    fn an_empty_record_is_left_out_however_it_is_cut() {
        for (name, records) in [
            ("stx-etx", &b"\x02\x03\x02b\x03"[..]),
            ("cobs", b"\x01\0\x02b\0"),
            ("netstring", b"0:,1:b,"),
        ] {
            let framing = preset(name).unwrap().to_client;
            let settings = Settings {
                to_client: framing,
                empty: Both::of(Empty::Skip),
                ..plain()
            };
            for cut in 0..records.len() {
                let (first, second) = records.split_at(cut);
                let (messages, end, counters) = translate(&settings, &[first, second]);
                assert_eq!(messages, [(false, b"b".to_vec())], "{name}, {cut}");
                assert_eq!((end, counters.edges().empty_down), (Ok(()), 1), "{name}, {cut}");
                assert_eq!(counters.lost_down, 0, "{name}, {cut}");
            }
        }
        // Nothing is left to deliver of one that was never finished.
        let settings = Settings {
            to_client: preset("stx-etx").unwrap().to_client,
            empty: Both::of(Empty::Skip),
            partial: Partial::Deliver,
            ..plain()
        };
        let (messages, end, counters) = translate(&settings, &[b"\x02"]);
        let counted = (counters.edges().partial_dropped, counters.lost_down);
        assert_eq!((messages, end, counted), (vec![], Ok(()), (1, 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6000))]

        #[test]
        fn where_reads_are_cut_never_shows(
            settings in any_settings(),
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..9, select(&b"\xC0\xDB\xDC\xDD\x0b\x1c\r\x1e{}[]0123456789:, AMQP\xCE\x02\x03"[..]), select(&b"\n\r\x04\x02\x1B$B(\x24\x22\xC4\xE3\x83\xE2\x82\xACab"[..])], 0..60),
            cuts in prop::collection::vec(any::<Index>(), 0..5),
        ) {
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let reads: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (mut cut, mut whole) = (translate(&settings, &reads), translate(&settings, &[&bytes]));
            // A record that is bad in two ways, in its text and behind it, say: which of them is met first may depend on the cuts.
            if let (Err(_), Err(_)) = (cut.1, whole.1) {
                (cut.1, whole.1) = (Ok(()), Ok(()));
            }
            prop_assert_eq!(cut, whole);
        }
    }
}
