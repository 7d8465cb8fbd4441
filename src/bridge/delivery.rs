//! What a record becomes for the client: a text message or a binary one, in UTF-8 whatever charset the record has.

use super::sizes::Tally;
use super::{Counters, Deliver, InvalidText, Settings};
use crate::charset::{Charset, Decoder, Unfinished};
use crate::close::CloseReason;
use crate::framing::{Empty, Oversized};
use crate::message::{Kind, Part};
use crate::outbox::Outbox;
use crate::utf8::Utf8Check;
use crate::websocket::{Encoder, Gather};

/// Turns the records of one session into messages.
#[derive(Debug)]
pub(super) struct Delivery {
    encoder: Encoder,
    utf8: Utf8Check,
    /// Makes text of what may be no UTF-8.
    decoder: Option<Box<Decoder>>,
    /// The kind of the current record, as far as it is known.
    kind: Kind,
    /// It was to be text, and is none.
    spoilt: bool,
    /// No byte of it has come yet, and if none does it is left out.
    unopened: bool,
    /// Bytes of the current record that were counted as delivered.
    counted: u64,
}

/// Where one pass of translation reads its rules and puts its results.
pub(super) struct Pass<'a> {
    pub(super) settings: &'a Settings,
    pub(super) out: &'a mut Outbox,
    pub(super) counters: &'a mut Counters,
    pub(super) sizes: &'a mut Tally,
}

impl Pass<'_> {
    /// Counts a message that has come to its end with so many bytes, behind others of it that were counted already.
    #[inline(always)]
    fn moved(&mut self, last: u64, before: u64) {
        self.sizes.count(before + last, self.counters.messages_down);
        self.counters.bytes_down += last;
        self.counters.messages_down += 1;
    }
}

impl Delivery {
    pub(super) fn new(settings: &Settings) -> Self {
        let may_be_text = settings.deliver != Deliver::Binary;
        let needed = settings.charset.is_some() || settings.invalid_text == InvalidText::Replace;
        let charset = settings.charset.unwrap_or(Charset::UTF_8);
        Self {
            encoder: Encoder::default(),
            utf8: Utf8Check::default(),
            decoder: (may_be_text && needed).then(|| Box::new(Decoder::new(charset))),
            kind: Kind::Binary,
            spoilt: false,
            unopened: false,
            counted: 0,
        }
    }

    /// The kind, where records are delivered as they are, empty ones too. It is asked once for many of them.
    pub(super) fn plain(&self, kind: Kind, settings: &Settings) -> Option<Kind> {
        let plain = self.decoder.is_none() && settings.empty.to_client == Empty::Deliver;
        plain.then_some(kind)
    }

    /// Delivers a record that is there as a whole: what most are. `plain` is what [`Delivery::plain`] says of its kind.
    #[inline]
    pub(super) fn whole(
        &mut self,
        kind: Kind,
        plain: Option<Kind>,
        data: &[u8],
        pass: &mut Pass<'_>,
    ) -> Result<(), CloseReason> {
        let kind = match plain {
            Some(Kind::Binary) => Kind::Binary,
            Some(Kind::Text) if is_text(data) => Kind::Text,
            _ => return self.whole_at_an_edge(kind, data, pass),
        };
        Encoder::whole(kind, data, pass.out);
        pass.moved(data.len() as u64, 0);
        Ok(())
    }

    /// One that may be left out, may be no text, or may have to be made text.
    #[cold]
    fn whole_at_an_edge(&mut self, kind: Kind, data: &[u8], pass: &mut Pass<'_>) -> Result<(), CloseReason> {
        if data.is_empty() && pass.settings.empty.to_client == Empty::Skip {
            pass.counters.edges_mut().empty_down += 1;
            return Ok(());
        }
        match kind {
            Kind::Text if self.decoder.is_some() => return self.decoded(data, false, pass),
            Kind::Text if is_text(data) => {
                push_whole(Kind::Text, data, pass.out);
                pass.moved(data.len() as u64, 0);
            }
            Kind::Text if pass.settings.invalid_text != InvalidText::Binary => {
                return Err(CloseReason::BackendText);
            }
            Kind::Text => {
                pass.counters.edges_mut().invalid_binary += 1;
                self.binary(data, pass);
            }
            Kind::Binary => self.binary(data, pass),
        }
        Ok(())
    }

    /// A whole record as text, where that may take more than to look at it. Of a stream without records: what was read, which `last`
    /// says is its end.
    fn decoded(&mut self, data: &[u8], last: bool, pass: &mut Pass<'_>) -> Result<(), CloseReason> {
        let settings = pass.settings;
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        let is_stream = is_stream(settings);
        let mut delivered = !is_stream;
        let result = if settings.charset.is_none() && is_text(data) {
            push_whole(Kind::Text, data, pass.out);
            Ok(())
        } else {
            let mend = settings.invalid_text == InvalidText::Replace;
            let (encoder, out) = (&mut self.encoder, &mut *pass.out);
            encoder.begin(Kind::Text);
            let deliver = |text: &[u8], end| {
                // What was read may hold no whole character.
                delivered |= !text.is_empty();
                if delivered {
                    encoder.part(&piece(text, end), Gather::All, out);
                }
            };
            if is_stream && !last {
                decoder.decode_stream(data, mend, deliver)
            } else {
                decoder.decode(data, true, mend, deliver)
            }
        };
        match result {
            Ok(()) => {
                let mended = decoder.take_mended();
                if delivered {
                    pass.moved(data.len() as u64, 0);
                } else {
                    // Part of a character, which has no message of its own.
                    pass.counters.bytes_down += data.len() as u64;
                }
                count_mended(mended, pass.counters);
                Ok(())
            }
            Err(_) if settings.invalid_text == InvalidText::Binary => {
                self.encoder.abandon(pass.out);
                pass.counters.edges_mut().invalid_binary += 1;
                self.binary(data, pass);
                Ok(())
            }
            Err(_) => {
                self.abandon(pass.out, pass.counters);
                Err(CloseReason::BackendText)
            }
        }
    }

    /// A whole record as it is, behind what had been read of a character: that is of no text now.
    fn binary(&mut self, data: &[u8], pass: &mut Pass<'_>) {
        let before = self.take_unfinished();
        if before.bytes().is_empty() {
            push_whole(Kind::Binary, data, pass.out);
        } else {
            self.encoder.begin(Kind::Binary);
            for (bytes, end) in [(before.bytes(), false), (data, true)] {
                self.encoder.part(&piece(bytes, end), Gather::All, pass.out);
            }
        }
        pass.moved(data.len() as u64, 0);
    }

    /// Starts a record that comes in pieces.
    pub(super) fn begin(&mut self, kind: Kind, settings: &Settings) {
        self.kind = kind;
        self.spoilt = false;
        self.unopened = settings.empty.to_client == Empty::Skip;
        self.encoder.begin(kind);
    }

    /// Delivers a piece of it.
    pub(super) fn part(&mut self, part: &Part<'_>, pass: &mut Pass<'_>) -> Result<(), CloseReason> {
        let settings = pass.settings;
        if self.unopened && part.data.is_empty() {
            if part.end {
                self.unopened = false;
                self.encoder.abandon(pass.out);
                pass.counters.edges_mut().empty_down += 1;
            }
            return Ok(());
        }
        self.unopened = false;
        let unknown_end = settings.oversized.to_client == Oversized::Discard
            && !settings.to_client.announces_length()
            && !settings.to_client.is_raw();
        let gather = if unknown_end { Gather::All } else { Gather::Some };
        match (self.kind, settings.invalid_text) {
            (Kind::Binary, _) => self.encoder.part(part, gather, pass.out),
            (Kind::Text, InvalidText::Binary) => self.part_if_text(part, gather, pass),
            (Kind::Text, InvalidText::Close | InvalidText::Replace) => {
                self.part_as_text(part, gather, pass)?;
            }
        }
        if part.end {
            pass.moved(part.data.len() as u64, std::mem::take(&mut self.counted));
            if self.spoilt {
                pass.counters.edges_mut().invalid_binary += 1;
            }
            let decoder = self.decoder.as_mut();
            count_mended(decoder.map_or(0, |decoder| decoder.take_mended()), pass.counters);
        } else {
            pass.counters.bytes_down += part.data.len() as u64;
            self.counted += part.data.len() as u64;
        }
        Ok(())
    }

    /// A piece of what has to be text.
    fn part_as_text(
        &mut self,
        part: &Part<'_>,
        gather: Gather,
        pass: &mut Pass<'_>,
    ) -> Result<(), CloseReason> {
        let Some(decoder) = &mut self.decoder else {
            if !check_text(&mut self.utf8, part) {
                return Err(CloseReason::BackendText);
            }
            self.encoder.part(part, gather, pass.out);
            return Ok(());
        };
        let mend = pass.settings.invalid_text == InvalidText::Replace;
        let (encoder, out) = (&mut self.encoder, &mut *pass.out);
        let deliver = |text: &[u8], end| encoder.part(&piece(text, end), gather, out);
        decoder
            .decode(part.data, part.end, mend, deliver)
            .map_err(|_| CloseReason::BackendText)
    }

    /// A piece of what is text only if all of it is. It is gathered as it came, and becomes what it is at its end.
    fn part_if_text(&mut self, part: &Part<'_>, gather: Gather, pass: &mut Pass<'_>) {
        let good = match &mut self.decoder {
            Some(decoder) => decoder.decode(part.data, part.end, false, |_, _| {}).is_ok(),
            None => check_text(&mut self.utf8, part),
        };
        if !good {
            self.spoilt = true;
            self.kind = Kind::Binary;
            self.encoder.set_kind(Kind::Binary);
            self.encoder.part(part, gather, pass.out);
        } else if let (true, Some(decoder)) = (part.end, &mut self.decoder) {
            pass.out.push(part.data);
            decode_held(decoder, pass.out);
            self.encoder.part(&piece(&[], true), Gather::All, pass.out);
        } else {
            self.encoder.part(part, Gather::All, pass.out);
        }
    }

    /// True while a record has begun that is left out if no byte of it comes.
    pub(super) fn is_unopened(&self) -> bool {
        self.unopened
    }

    /// Bytes that were counted of a record which may yet be lost: what [`Delivery::abandon`] would take back.
    pub(super) fn unfinished(&self) -> u64 {
        let decoder = self.decoder.as_ref();
        self.counted + decoder.map_or(0, |decoder| decoder.unfinished().bytes().len() as u64)
    }

    /// Takes back what has not left of the current record.
    pub(super) fn abandon(&mut self, out: &mut Outbox, counters: &mut Counters) {
        self.encoder.abandon(out);
        self.unopened = false;
        self.utf8 = Utf8Check::default();
        let mut lost = std::mem::take(&mut self.counted);
        if let Some(decoder) = &mut self.decoder {
            lost += decoder.take_unfinished().bytes().len() as u64;
            decoder.take_mended();
        }
        counters.bytes_down -= lost;
        counters.lost_down += lost;
    }

    /// True when a stream without records has ended inside a character. Only its bytes are known afterwards.
    pub(super) fn is_cut(&mut self) -> bool {
        match &mut self.decoder {
            Some(decoder) if decoder.has_unfinished() => decoder.decode(&[], true, false, |_, _| {}).is_err(),
            _ => false,
        }
    }

    /// Delivers what is left of a stream without records at its end: the start of a character. Tells whether there was one.
    pub(super) fn end_stream(&mut self, kind: Kind, pass: &mut Pass<'_>) -> Result<bool, CloseReason> {
        if !self
            .decoder
            .as_ref()
            .is_some_and(|decoder| decoder.has_unfinished())
        {
            return Ok(false);
        }
        let before = pass.counters.messages_down;
        match kind {
            Kind::Text => self.decoded(&[], true, pass)?,
            Kind::Binary => self.binary(&[], pass),
        }
        Ok(pass.counters.messages_down > before)
    }

    fn take_unfinished(&mut self) -> Unfinished {
        let Some(decoder) = &mut self.decoder else {
            return Unfinished::default();
        };
        decoder.take_unfinished()
    }
}

/// As [`Encoder::whole`], which is there for those that are plain: it is made for the place where it stands.
#[cold]
fn push_whole(kind: Kind, data: &[u8], out: &mut Outbox) {
    Encoder::whole(kind, data, out);
}

/// Replaces what is held, which is all of a record and text, by its text.
fn decode_held(decoder: &mut Decoder, out: &mut Outbox) {
    let len = out.held().len();
    let mut copy = [0; 1024];
    let mut at = 0;
    while at < len {
        let take = copy.len().min(len - at);
        copy[..take].copy_from_slice(&out.held()[at..at + take]);
        at += take;
        let decoded = decoder.decode(&copy[..take], at == len, false, |text, _| out.push(text));
        debug_assert_eq!(decoded, Ok(()), "it was found to be text");
    }
    out.remove_from_held(len);
}

/// True when what is read is text of one stream, in which characters may be cut between two reads.
fn is_stream(settings: &Settings) -> bool {
    settings.charset.is_some() && settings.to_client.is_raw()
}

fn piece(data: &[u8], end: bool) -> Part<'_> {
    Part {
        begin: None,
        data,
        end,
    }
}

fn count_mended(mended: u64, counters: &mut Counters) {
    if mended > 0 {
        counters.edges_mut().invalid_replaced += mended;
    }
}

fn is_text(data: &[u8]) -> bool {
    let mut check = Utf8Check::default();
    check.push(data).is_ok() && check.finish().is_ok()
}

fn check_text(check: &mut Utf8Check, part: &Part<'_>) -> bool {
    let good = check.push(part.data).is_ok() && (!part.end || check.finish().is_ok());
    if !good {
        *check = Utf8Check::default();
    }
    good
}
