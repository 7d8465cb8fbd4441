//! How well a framing explains a capture, in bits.
//!
//! The score compares two ways to describe the capture. One knows no framing: a byte costs what its share of the other bytes says
//! (`-log2`, 8 bits at most). The other knows the framing: the bytes that it *checks* cost nothing, since they follow from the rest;
//! but the length of each record has to be told, in a code that learns which lengths are usual here. What the second way saves is
//! the evidence: chance saves `n` bits about once in 2^n captures.
//!
//! - *Checked bytes* are found by trial: where another byte stood, the framing would see another record, or none. So length fields,
//!   fixed bytes, terminators and brackets of any framing count, without this file knowing one of them.
//! - A framing that announces no length has none to tell. Its delimiters' places are news instead, as rare as the rarest byte of
//!   each. What a delimiter has beyond this byte is evidence (the CR of CR LF); a bare LF alone proves nothing.
//! - Where the capture ends with a record, the last length (or delimiter) need not be told.
//! - Framings of text ask for text. That speaks for them, up to a limit: it does not say which of them it is.
//! - Text has patterns that pass for lengths: numbers in binary that are letters all the time, amid text, are none.
//! - What would not be written as it was read pays for it, and so does every candidate for the number of those that are tried.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use super::super::cut::{Cutter, Found};
use super::candidates::Candidate;
use crate::framing::{DecodeError, DecodeRules, DecodeState, Embedded, EncodeState, Framing};
use crate::message::{Kind, Part};
use crate::outbox::Outbox;

/// So many records are looked at closely; of the rest only the borders.
const SAMPLE: u64 = 256;
/// Bytes at the start and at the end of a record that are tried: no header or terminator is longer.
const START: usize = 32;
const END: usize = 8;
/// What text can speak for a framing of text, at most.
const MOST_FOR_TEXT: f64 = 20.0;
/// What a framing pays that would write other bytes than it has read.
const UNFAITHFUL: f64 = 16.0;
/// What it takes to name a preset, or one of the others, in bits: the more are tried, the more fit by chance.
const PRESET: f64 = 6.0;
const OTHER: f64 = 10.0;
/// No length field is believed that says that more than this is missing at the end.
const MOST_MISSING: u64 = 1 << 20;
/// How many numbers of bits a length may have, up to the usual limit: what the first of them costs follows from it.
const CLASSES: f64 = 21.0;

/// The bytes of a capture, or of its start.
#[derive(Clone, Debug)]
pub(super) struct Sample<'a> {
    pub(super) bytes: &'a [u8],
    /// Nothing follows.
    pub(super) is_all: bool,
    /// What each byte tells, in bits.
    news: [f64; 256],
    is_text: bool,
}

/// What a framing makes of a capture.
#[derive(Clone, Debug, Default)]
pub(super) struct Trial {
    /// The evidence, in bits.
    pub(super) score: f64,
    pub(super) records: u64,
    /// The lengths of the shortest and the longest message.
    pub(super) lengths: (u64, u64),
    /// Where the last whole record ends.
    pub(super) end: u64,
    /// Where and why it stopped, if it did not come to the end.
    pub(super) stopped: Option<(u64, Stop)>,
    /// How many records were looked at closely, and how many bytes of these were checked.
    pub(super) looked_at: u64,
    pub(super) checked: u64,
    /// The share of text in the messages.
    pub(super) text: f64,
    /// Each record would be written as it was read.
    pub(super) faithful: bool,
    /// Equal for framings that find the same records.
    pub(super) cuts: u64,
}

/// Why a framing is out of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Error(DecodeError),
    NotText,
    Letters,
}

impl<'a> Sample<'a> {
    pub(super) fn new(bytes: &'a [u8], is_all: bool) -> Self {
        let mut counts = [0_u32; 256];
        for byte in bytes {
            counts[usize::from(*byte)] += 1;
        }
        let share = |count: u32| {
            // What a byte tells follows from the others: it must not speak for itself. All that are not seen count as one.
            (f64::from(count.saturating_sub(1)) + 1.0 / 256.0) / bytes.len() as f64
        };
        let (mut textual, mut other) = (0, 0);
        count_text(bytes, &mut textual, &mut other);
        Self {
            bytes,
            is_all,
            is_text: other < textual / 10,
            news: counts.map(|count| (-share(count).log2()).min(8.0)),
        }
    }

    /// Tries a framing.
    pub(super) fn try_out(&self, candidate: &Candidate, limits: DecodeRules) -> Trial {
        let mut account = Account::open(self, candidate, limits);
        let mut cutter = Cutter::new(&candidate.framing, limits);
        let mut before = cutter.state();
        let mut message = Vec::new();
        let mut announced = None;
        loop {
            // Offsets are those of a slice.
            let at = cutter.at() as usize;
            match cutter.next(&self.bytes[at..], self.is_all) {
                Ok((_, Found::Part(start, part))) => {
                    if let Some(begin) = part.begin {
                        announced = begin.len;
                    }
                    message.extend_from_slice(part.data);
                    if part.end {
                        account.record(before, start as usize..cutter.at() as usize, &message);
                        message.clear();
                        before = cutter.state();
                    }
                }
                Err(error) => {
                    account.stopped(cutter.started().unwrap_or(cutter.at()), Stop::Error(error));
                    break;
                }
                Ok(_) => {
                    if let (Some(start), Some(length)) = (cutter.started(), announced) {
                        account.rest(before, start as usize, length, message.len() as u64);
                    }
                    break;
                }
            }
        }
        account.close()
    }
}

/// Adds up what speaks for a framing.
struct Account<'a> {
    sample: &'a Sample<'a>,
    candidate: &'a Candidate,
    trial: Trial,
    lengths: Lengths,
    /// What was told of the last record.
    told: f64,
    cuts: DefaultHasher,
    look: CloseLook<'a>,
    textual: u64,
    other: u64,
    /// All that was checked are letters and the like.
    letters: bool,
}

impl<'a> Account<'a> {
    fn open(sample: &'a Sample<'a>, candidate: &'a Candidate, limits: DecodeRules) -> Self {
        Self {
            sample,
            candidate,
            trial: Trial {
                faithful: true,
                ..Trial::default()
            },
            lengths: Lengths::default(),
            told: 0.0,
            cuts: DefaultHasher::new(),
            look: CloseLook {
                framing: &candidate.framing,
                limits,
                encoded: EncodeState::default(),
                image: Vec::new(),
            },
            textual: 0,
            other: 0,
            letters: true,
        }
    }

    /// A whole record. `before` is what the framing remembered in front of it.
    fn record(&mut self, before: DecodeState, place: Range<usize>, message: &[u8]) {
        let length = message.len() as u64;
        let trial = &mut self.trial;
        place.hash(&mut self.cuts);
        trial.lengths = match trial.records {
            0 => (length, length),
            _ => (trial.lengths.0.min(length), trial.lengths.1.max(length)),
        };
        trial.records += 1;
        trial.end = place.end as u64;
        if trial.records > SAMPLE {
            return;
        }
        let image = &self.sample.bytes[place];
        trial.looked_at += 1;
        trial.faithful &= self.look.is_faithful(message, image);
        count_text(message, &mut self.textual, &mut self.other);
        let checked = self.look.checked(before, image, length);
        self.add(length, &checked);
    }

    /// A record that the capture cuts: its length is announced, and has to make sense as well.
    fn rest(&mut self, before: DecodeState, start: usize, length: u64, seen: u64) {
        let missing = length.saturating_sub(seen);
        if missing > MOST_MISSING || self.trial.records >= SAMPLE {
            return;
        }
        let mut image = self.sample.bytes[start..].to_vec();
        image.resize(image.len() + missing as usize, 0);
        let checked = self.look.checked(before, &image, length);
        self.add(length, &checked);
    }

    fn add(&mut self, length: u64, checked: &[u8]) {
        let news = checked.iter().map(|byte| self.sample.news[usize::from(*byte)]);
        self.told = if self.candidate.framing.announces_length() {
            self.lengths.cost(length)
        } else {
            news.clone().fold(0.0, f64::max)
        };
        self.trial.score += news.sum::<f64>() - self.told;
        self.trial.checked += checked.len() as u64;
        self.letters &= checked
            .iter()
            .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    }

    fn stopped(&mut self, at: u64, why: Stop) {
        self.trial.stopped = Some((at, why));
    }

    fn close(mut self) -> Trial {
        let trial = &mut self.trial;
        trial.cuts = self.cuts.finish();
        if self.sample.is_all && trial.end == self.sample.bytes.len() as u64 {
            trial.score += self.told;
        }
        // One bit says whether it ends so.
        trial.score -= 1.0 + if self.candidate.is_preset { PRESET } else { OTHER };
        if !trial.faithful {
            trial.score -= UNFAITHFUL;
        }
        trial.text = self.textual as f64 / (self.textual + self.other).max(1) as f64;
        if trial.stopped.is_none() && self.sample.is_text && self.candidate.has_binary_length && self.letters
        {
            trial.stopped = Some((0, Stop::Letters));
        }
        if self.candidate.is_text {
            let bits = text_bits(self.textual, self.other);
            trial.score += bits.min(MOST_FOR_TEXT);
            if bits < 0.0 && trial.stopped.is_none() {
                trial.stopped = Some((0, Stop::NotText));
            }
        }
        self.trial
    }
}

/// Looks at single records.
struct CloseLook<'a> {
    framing: &'a Framing,
    limits: DecodeRules,
    encoded: EncodeState,
    image: Vec<u8>,
}

impl CloseLook<'_> {
    /// The bytes of a record's image where no other could stand.
    fn checked(&mut self, before: DecodeState, image: &[u8], length: u64) -> Vec<u8> {
        self.image.clear();
        self.image.extend_from_slice(image);
        if !self.is_same(before, length) {
            // It takes more than itself to be read: nothing can be said.
            return Vec::new();
        }
        let start = image.len().min(START);
        let places = (0..start).chain(start.max(image.len().saturating_sub(END))..image.len());
        let mut checked = Vec::new();
        for at in places {
            // Far from what stands there, whether it is a number or a letter.
            self.image[at] = !image[at];
            if !self.is_same(before, length) {
                checked.push(image[at]);
            }
            self.image[at] = image[at];
        }
        checked
    }

    /// True when the image is exactly one record with a message of this length.
    fn is_same(&self, before: DecodeState, length: u64) -> bool {
        let mut cutter = Cutter::resume(self.framing, self.limits, before);
        let (mut at, mut seen, mut records) = (0, 0, 0);
        loop {
            match cutter.next(&self.image[at..], true) {
                Ok((used, Found::Part(_, part))) => {
                    at += used;
                    seen += part.data.len() as u64;
                    records += u64::from(part.end);
                }
                Ok((used, Found::More)) => {
                    let at_end = at + used == self.image.len() && cutter.started().is_none();
                    return at_end && records == 1 && seen == length;
                }
                _ => return false,
            }
        }
    }

    /// True when the message would be written as it was read.
    fn is_faithful(&mut self, message: &[u8], image: &[u8]) -> bool {
        let mut out = Outbox::default();
        let part = Part::whole(Kind::Binary, message);
        let done = self
            .framing
            .encode(&mut self.encoded, &Embedded::Reject, &part, &mut out);
        done.is_ok() && out.ready() == image
    }
}

/// A code for lengths that learns: one part of it are the lengths that were seen, the other one all lengths by their number of bits,
/// of which those like the seen ones are likelier. How much each part is worth is learned too.
#[derive(Clone, Debug, Default)]
struct Lengths {
    seen: HashMap<u64, u32>,
    repeated: u32,
    classes: HashMap<u32, f64>,
    all: u32,
}

impl Lengths {
    /// What it takes to tell the next length, in bits.
    fn cost(&mut self, length: u64) -> f64 {
        let class = length.saturating_add(1).ilog2();
        let all = f64::from(self.all);
        let of_class = (self.classes.get(&class).unwrap_or(&0.0) + 1.0 / CLASSES) / (all + 1.0);
        let by_class = of_class * (-f64::from(class)).exp2();
        let times = self.seen.entry(length).or_default();
        let again = (f64::from(self.repeated) + 0.5) / (all + 1.0);
        let chance = match self.all {
            0 => by_class,
            _ => again * f64::from(*times) / all + (1.0 - again) * by_class,
        };
        self.repeated += u32::from(*times > 0);
        *times += 1;
        self.all += 1;
        for (class, share) in [(class, 0.5), (class + 1, 0.25), (class.saturating_sub(1), 0.25)] {
            *self.classes.entry(class).or_default() += share;
        }
        -chance.log2()
    }
}

/// Counts the bytes of characters that a person reads, and the others.
fn count_text(message: &[u8], textual: &mut u64, other: &mut u64) {
    for chunk in message.utf8_chunks() {
        for c in chunk.valid().chars() {
            let is_control = c.is_control() && !matches!(c, '\t' | '\n' | '\r');
            *(if is_control { &mut *other } else { &mut *textual }) += c.len_utf8() as u64;
        }
        *other += chunk.invalid().len() as u64;
    }
}

/// The evidence that bytes are text, where one in fifty may be something else, and not random, where 98 of 256 would be text.
fn text_bits(textual: u64, other: u64) -> f64 {
    const BY_CHANCE: f64 = 98.0 / 256.0;
    const IN_TEXT: f64 = 0.98;
    textual as f64 * (IN_TEXT / BY_CHANCE).log2()
        + other as f64 * ((1.0 - IN_TEXT) / (1.0 - BY_CHANCE)).log2()
}
