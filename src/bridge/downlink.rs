//! From the backend to the client: records in, WebSocket frames out.

use super::{Counters, Deliver, Settings};
use crate::close::CloseReason;
use crate::framing::{DecodeError, DecodeRules, DecodeState, Empty, Event, Oversized, Partial};
use crate::message::{Kind, Part};
use crate::outbox::Outbox;
use crate::utf8::Utf8Check;
use crate::websocket::{Encoder, Gather};

/// The translator of one session's downlink.
#[derive(Debug, Default)]
pub(super) struct Downlink {
    decode: DecodeState,
    encoder: Encoder,
    utf8: Utf8Check,
    text: Text,
    /// Bytes of the current record that were counted as delivered.
    counted: u64,
}

/// What is known of the current record's kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    /// It is binary, whatever it holds.
    #[default]
    No,
    /// It must be text.
    Must,
    /// It is text, as far as it has come.
    SoFar,
}

impl Downlink {
    /// True when the record that was begun is not complete. `left` is what [`Downlink::translate`] left of the input.
    pub(super) fn is_inside(&self, left: usize) -> bool {
        self.decode.is_inside() || left > 0
    }

    /// Translates as much of `input` as can be; returns how many bytes were used. What is left stands before the next input.
    /// `first` is the kind of the client's first message; `eof` says that nothing follows.
    pub(super) fn translate(
        &mut self,
        settings: &Settings,
        first: Option<Kind>,
        input: &[u8],
        eof: bool,
        out: &mut Outbox,
        counters: &mut Counters,
    ) -> (usize, Result<(), CloseReason>) {
        let text = match settings.deliver {
            Deliver::Text => Text::Must,
            Deliver::Binary => Text::No,
            Deliver::Auto if first == Some(Kind::Binary) => Text::No,
            Deliver::Auto => Text::SoFar,
        };
        let rules = DecodeRules {
            max_message: settings.max_message,
            oversized: settings.oversized,
            text: text == Text::Must,
        };
        let mut used = 0;
        loop {
            if let Some(record) = settings
                .to_client
                .whole_record(&self.decode, &rules, &input[used..])
            {
                let data = &input[used + record.start..used + record.end];
                used += record.consumed;
                if let Err(reason) = self.whole(settings, text, data, out, counters) {
                    counters.lost_down += (input.len() - used + data.len()) as u64;
                    return (used, Err(reason));
                }
                continue;
            }
            let decoded = match settings
                .to_client
                .decode(&mut self.decode, &rules, &input[used..], eof)
            {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.abandon(out, counters);
                    counters.lost_down += (input.len() - used) as u64;
                    return (used, Err(reason(error)));
                }
            };
            used += decoded.consumed;
            counters.lost_down += self.decode.take_dropped();
            match decoded.event {
                Event::More => break,
                Event::Discarded => {
                    counters.oversized += 1;
                    self.abandon(out, counters);
                }
                Event::Part(part) if part.is_whole() => {
                    if let Err(reason) = self.whole(settings, text, part.data, out, counters) {
                        counters.lost_down += (input.len() - used + part.data.len()) as u64;
                        return (used, Err(reason));
                    }
                }
                Event::Part(part) => {
                    if part.begin.is_some() {
                        self.text = text;
                    }
                    if let Err(reason) = self.part(settings, &part, out, counters) {
                        self.abandon(out, counters);
                        counters.lost_down += (input.len() - used + part.data.len()) as u64;
                        return (used, Err(reason));
                    }
                }
            }
        }
        if eof {
            let rest = &input[used..];
            return (input.len(), self.end(settings, text, rest, out, counters));
        }
        (used, Ok(()))
    }

    /// A record in one piece: what most are.
    #[inline]
    fn whole(
        &mut self,
        settings: &Settings,
        text: Text,
        data: &[u8],
        out: &mut Outbox,
        counters: &mut Counters,
    ) -> Result<(), CloseReason> {
        if data.is_empty() && settings.empty == Empty::Skip {
            counters.skipped += 1;
            return Ok(());
        }
        let kind = match text {
            Text::No => Kind::Binary,
            Text::Must | Text::SoFar if is_text(data) => Kind::Text,
            Text::SoFar => Kind::Binary,
            Text::Must => return Err(CloseReason::BackendText),
        };
        Encoder::whole(kind, data, out);
        counters.bytes_down += data.len() as u64;
        counters.messages_down += 1;
        Ok(())
    }

    /// A piece of a record.
    fn part(
        &mut self,
        settings: &Settings,
        part: &Part<'_>,
        out: &mut Outbox,
        counters: &mut Counters,
    ) -> Result<(), CloseReason> {
        if part.begin.is_some() {
            self.encoder.begin(if self.text == Text::No {
                Kind::Binary
            } else {
                Kind::Text
            });
        }
        if self.text != Text::No && !self.check_text(part) {
            if self.text == Text::Must {
                return Err(CloseReason::BackendText);
            }
            self.text = Text::No;
            self.encoder.set_kind(Kind::Binary);
        }
        let unknown_end = settings.oversized == Oversized::Discard && !settings.to_client.announces_length();
        let gather = if self.text == Text::SoFar || (unknown_end && !settings.to_client.is_raw()) {
            Gather::All
        } else {
            Gather::Some
        };
        self.encoder.part(part, gather, out);
        counters.bytes_down += part.data.len() as u64;
        self.counted += part.data.len() as u64;
        if part.end {
            counters.messages_down += 1;
            self.counted = 0;
        }
        Ok(())
    }

    fn check_text(&mut self, part: &Part<'_>) -> bool {
        let good = self.utf8.push(part.data).is_ok() && (!part.end || self.utf8.finish().is_ok());
        if !good {
            self.utf8 = Utf8Check::default();
        }
        good
    }

    /// Takes back what has not left of the current record.
    pub(super) fn abandon(&mut self, out: &mut Outbox, counters: &mut Counters) {
        self.encoder.abandon(out);
        self.utf8 = Utf8Check::default();
        counters.bytes_down -= self.counted;
        counters.lost_down += self.counted;
        self.counted = 0;
    }

    /// The backend's stream has ended, with `rest` not decodable.
    fn end(
        &mut self,
        settings: &Settings,
        text: Text,
        rest: &[u8],
        out: &mut Outbox,
        counters: &mut Counters,
    ) -> Result<(), CloseReason> {
        if self.decode.is_discarding() || !self.is_inside(rest.len()) {
            return Ok(());
        }
        let begun = self.decode.is_inside();
        self.decode = DecodeState::default();
        match settings.partial {
            Partial::Deliver if begun => {
                // What is left is the start of a trailer.
                let data = if settings.to_client.keeps_header() {
                    rest
                } else {
                    counters.lost_down += rest.len() as u64;
                    &[]
                };
                let part = Part {
                    begin: None,
                    data,
                    end: true,
                };
                let result = self.part(settings, &part, out, counters);
                if result.is_err() {
                    self.abandon(out, counters);
                    counters.lost_down += data.len() as u64;
                }
                return result;
            }
            // The start of a header belongs to the message only where the message keeps its header, and where a message may be as
            // long as that.
            Partial::Deliver
                if settings.to_client.keeps_header() && rest.len() as u64 <= settings.max_message =>
            {
                let result = self.whole(settings, text, rest, out, counters);
                if result.is_err() {
                    counters.lost_down += rest.len() as u64;
                }
                return result;
            }
            Partial::Deliver if settings.to_client.is_raw() => {
                // What raw leaves is the start of a character.
                counters.lost_down += rest.len() as u64;
                return Err(CloseReason::BackendText);
            }
            Partial::Deliver | Partial::Drop | Partial::Error => {}
        }
        self.abandon(out, counters);
        counters.lost_down += rest.len() as u64;
        if settings.partial == Partial::Error {
            Err(CloseReason::BackendCut)
        } else {
            Ok(())
        }
    }
}

fn is_text(data: &[u8]) -> bool {
    let mut check = Utf8Check::default();
    check.push(data).is_ok() && check.finish().is_ok()
}

fn reason(error: DecodeError) -> CloseReason {
    match error {
        DecodeError::TooBig => CloseReason::BackendTooBig,
        DecodeError::Garbage(what) => CloseReason::BackendGarbage(what),
    }
}

/// The most bytes that [`Downlink::translate`] leaves.
pub(super) const MAX_LEFT: usize = crate::framing::MAX_HEADER;
