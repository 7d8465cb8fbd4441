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
}

impl Downlink {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            decode: DecodeState::default(),
            delivery: Delivery::new(settings),
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
        let mut used = 0;
        loop {
            if let Some(record) = settings
                .to_client
                .whole_record(&self.decode, &rules, &input[used..])
            {
                let data = &input[used + record.start..used + record.end];
                used += record.consumed;
                if let Err(reason) = self.delivery.whole(kind, data, pass) {
                    pass.counters.lost_down += (input.len() - used + data.len()) as u64;
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
                    self.delivery.abandon(pass.out, pass.counters);
                    pass.counters.lost_down += (input.len() - used) as u64;
                    return (used, Err(reason(error)));
                }
            };
            used += decoded.consumed;
            pass.counters.lost_down += self.decode.take_dropped();
            match decoded.event {
                Event::More => break,
                Event::Discarded => {
                    pass.counters.edges_mut().oversized_down += 1;
                    self.delivery.abandon(pass.out, pass.counters);
                }
                Event::Part(part) if part.is_whole() => {
                    if let Err(reason) = self.delivery.whole(kind, part.data, pass) {
                        pass.counters.lost_down += (input.len() - used + part.data.len()) as u64;
                        return (used, Err(reason));
                    }
                }
                Event::Part(part) => {
                    if part.begin.is_some() {
                        self.delivery.begin(kind);
                    }
                    if let Err(reason) = self.delivery.part(&part, pass) {
                        self.delivery.abandon(pass.out, pass.counters);
                        pass.counters.lost_down += (input.len() - used + part.data.len()) as u64;
                        return (used, Err(reason));
                    }
                }
            }
        }
        if eof {
            return (input.len(), self.end(kind, &input[used..], pass));
        }
        (used, Ok(()))
    }

    /// Takes back what has not left of the current record.
    pub(super) fn abandon(&mut self, out: &mut Outbox, counters: &mut Counters) {
        self.delivery.abandon(out, counters);
    }

    /// The backend's stream has ended, with `rest` not decodable.
    fn end(&mut self, kind: Kind, rest: &[u8], pass: &mut Pass<'_>) -> Result<(), CloseReason> {
        if self.decode.is_discarding() {
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
                pass.counters.edges_mut().partial_delivered += 1;
                return Ok(());
            }
            Ok(false) if !cut => return Ok(()),
            Ok(false) | Err(_) => {}
        }
        self.delivery.abandon(pass.out, pass.counters);
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
            pass.counters.lost_down += (rest.len() - kept.len()) as u64;
            let end = Part {
                begin: None,
                data: kept,
                end: true,
            };
            return self.delivery.part(&end, pass).map(|()| true);
        }
        if rest.is_empty() {
            return self.delivery.end_stream(kind, pass);
        }
        // The start of a header belongs to the message only where the message keeps its header, and where a message may be as long as
        // that. What raw leaves is the start of a character.
        if framing.is_raw() || (framing.keeps_header() && rest.len() as u64 <= pass.settings.max_message) {
            return self.delivery.whole(kind, rest, pass).map(|()| true);
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
