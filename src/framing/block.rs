//! `block`: each record stands between a start and an end: STX … ETX, MLLP, and what serial lines made of them.
//!
//! ```text
//! | start | message ... | end |      bytes between two blocks: refused, or skipped
//! ```
//!
//! *Without an escape* the first end behind a start ends the block; a start inside is data. A message that holds either is subject to
//! the policy for embedded delimiters: the end would cut it, and some devices begin anew at a start.
//!
//! *With an escape* three bytes are special: the escape, the first byte of the start and the first byte of the end. Inside a block
//! each of them is written behind an escape. That is both of the usual dialects:
//!
//! - `10 02` … `10 03`, escape `10`: all three are the same byte, which is doubled.
//! - `02` … `03`, escape `10`: `02`, `03` and `10` are each preceded by `10`.
//!
//! So inside a block a special byte that is neither escaped nor the end is no data, nor is an escape before any other byte: both are
//! garbage. Where the end starts with the escape, its second byte is not special, or `Block::new` refuses it; so every pair of bytes
//! means one thing.

use super::delimiter::{Found, MAX_LEN};
use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, Delimiter, DelimiterError, Embedded, EncodeError,
    EncodeState, Garbage, Phase, WholeRecord, runs,
};
use crate::message::Part;
use crate::outbox::Outbox;

/// A start and an end. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    start: Delimiter,
    end: Delimiter,
    /// Both: what a message must not hold where there is no escape.
    marks: Delimiter,
    escape: Option<Escape>,
    outside: Outside,
}

/// What to do with bytes between two blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// They are garbage.
    Close,
    /// Skip them, and count them.
    Skip,
}

/// Why start, end and escape cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Empty or too long.
    #[error("a start has 1 to 16 bytes")]
    Start,
    /// Empty or too long.
    #[error("an end has 1 to 16 bytes")]
    End,
    /// The end reads as an escaped byte.
    #[error("the end cannot be told from an escaped byte")]
    Ambiguous,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Escape {
    byte: u8,
    /// What it is written before: itself, and the first bytes of start and end.
    special: [u8; 3],
}

/// The bytes of a block up to the next special place.
struct Run {
    /// Where its data starts: behind an escape, if there is one in front.
    from: usize,
    /// Where its data ends.
    to: usize,
    /// The end stands behind it.
    end: bool,
}

impl Escape {
    fn next(&self, bytes: &[u8]) -> Option<usize> {
        let [a, b, c] = self.special;
        memchr::memchr3(a, b, c, bytes)
    }

    /// Appends data with its special bytes escaped, and tells how many there were.
    fn push(&self, mut data: &[u8], out: &mut Outbox) -> u64 {
        let mut met = 0;
        while let Some(at) = self.next(data) {
            out.push(&data[..at]);
            out.push(&[self.byte, data[at]]);
            data = &data[at + 1..];
            met += 1;
        }
        out.push(data);
        met
    }
}

impl Block {
    /// Takes what stands around each message. Every problem is told.
    pub fn new(
        start: &[u8],
        end: &[u8],
        escape: Option<u8>,
        outside: Outside,
    ) -> Result<Self, Vec<BlockError>> {
        let mut errors = Vec::new();
        let first = |bytes: &[u8]| bytes.first().copied().filter(|_| bytes.len() <= MAX_LEN);
        let (start_byte, end_byte) = (first(start), first(end));
        errors.extend(start_byte.is_none().then_some(BlockError::Start));
        errors.extend(end_byte.is_none().then_some(BlockError::End));
        let (Some(start_byte), Some(end_byte)) = (start_byte, end_byte) else {
            return Err(errors);
        };
        let escape = escape.map(|byte| Escape {
            byte,
            special: [byte, start_byte, end_byte],
        });
        if let Some(escape) = escape
            && end_byte == escape.byte
            && end.get(1).is_none_or(|second| escape.special.contains(second))
        {
            return Err(vec![BlockError::Ambiguous]);
        }
        Ok(Self {
            start: Delimiter::set(start, &[start], false),
            end: Delimiter::set(end, &[end], false),
            marks: Delimiter::set(end, &[end, start], false),
            escape,
            outside,
        })
    }

    /// True when special bytes inside a message are escaped.
    pub fn escapes(&self) -> bool {
        self.escape.is_some()
    }

    /// Checks the bytes that are to stand for an embedded start or end.
    pub fn check_replacement(&self, bytes: &[u8]) -> Result<(), DelimiterError> {
        self.marks.check_replacement(bytes)
    }

    /// See [`super::Framing::whole_record`].
    #[inline]
    pub(super) fn whole_record(&self, input: &[u8]) -> Option<WholeRecord> {
        let start = self.start.written().len();
        let body = input.strip_prefix(self.start.written())?;
        let len = match &self.escape {
            None => match self.end.find(body, 0, false) {
                Found::At { start, .. } => start,
                Found::Perhaps { .. } | Found::No => return None,
            },
            Some(escape) => escape
                .next(body)
                .filter(|at| body[*at..].starts_with(self.end.written()))?,
        };
        let end = start + len;
        Some(WholeRecord {
            start,
            end,
            consumed: end + self.end.written().len(),
        })
    }

    pub(super) fn decode<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
        eof: bool,
    ) -> Result<Decoded<'a>, DecodeError> {
        let mut at = 0;
        while state.discarding {
            let here = &input[at..];
            let run = self.run(here, eof)?;
            #[cfg(test)]
            {
                state.examined += self.reached(&run, here);
            }
            let used = self.used(&run);
            if used == 0 {
                return Ok(Self::wait(state, at, here, eof));
            }
            runs::discard(state, used, run.end);
            at += used;
        }
        let begins = !state.inside;
        if begins {
            let (used, is_open) = self.open(state, &input[at..], eof)?;
            at += used;
            if !is_open {
                return Ok(Decoded::more(at));
            }
        }
        let here = &input[at..];
        let run = self.run(here, eof)?;
        #[cfg(test)]
        {
            state.examined += self.reached(&run, here);
        }
        let data = &here[run.from..run.to];
        if data.is_empty() && !run.end && !begins {
            return Ok(Self::wait(state, at, here, eof));
        }
        runs::part(state, rules, data, run.end, at + self.used(&run))
    }

    /// What is left starts an end or an escape; at the end of the stream it is all that there is of it.
    fn wait<'a>(state: &mut DecodeState, at: usize, left: &[u8], eof: bool) -> Decoded<'a> {
        let lost = if eof { left.len() } else { 0 };
        state.dropped += lost as u64;
        Decoded::more(at + lost)
    }

    /// How many bytes a run takes.
    fn used(&self, run: &Run) -> usize {
        run.to + if run.end { self.end.written().len() } else { 0 }
    }

    /// Goes to behind the next start: how many bytes that takes, and whether there is one.
    fn open(&self, state: &mut DecodeState, input: &[u8], eof: bool) -> Result<(usize, bool), DecodeError> {
        // Half a start at the end of the stream is half a block, where nothing else may stand between blocks.
        let found = self.start.find(input, 0, eof && self.outside == Outside::Skip);
        let (outside, start) = match found {
            Found::At { start, len } => (start, len),
            Found::Perhaps { start } => (start, 0),
            Found::No => (input.len(), 0),
        };
        #[cfg(test)]
        {
            state.examined += if start > 0 { outside + start } else { input.len() } as u64;
        }
        if outside > 0 && self.outside == Outside::Close {
            return Err(DecodeError::Garbage(Garbage::Outside));
        }
        state.outside += outside as u64;
        Ok((outside + start, start > 0))
    }

    /// How many bytes were looked at to find a run.
    #[cfg(test)]
    fn reached(&self, run: &Run, here: &[u8]) -> u64 {
        here.len().min(run.to + self.end.written().len()) as u64
    }

    /// The run at the start of a block's bytes. It is empty where nothing can be said yet.
    fn run(&self, here: &[u8], eof: bool) -> Result<Run, DecodeError> {
        if let Some(escape) = &self.escape {
            return self.escaped_run(escape, here);
        }
        let (to, end) = match self.end.find(here, 0, eof) {
            Found::At { start, .. } => (start, true),
            Found::Perhaps { start } => (start, false),
            Found::No => (here.len(), false),
        };
        Ok(Run { from: 0, to, end })
    }

    fn escaped_run(&self, escape: &Escape, here: &[u8]) -> Result<Run, DecodeError> {
        // An escaped byte leads the run that follows it.
        let (from, known) = match here {
            [first, second, ..] if *first == escape.byte && escape.special.contains(second) => (1, 2),
            _ => (0, 0),
        };
        let to = escape
            .next(&here[known..])
            .map_or(here.len(), |next| known + next);
        let (tail, end) = (&here[to..], self.end.written());
        let is_end = tail.starts_with(end);
        let may_follow = end.starts_with(tail) || *tail == [escape.byte];
        if to == 0 && !is_end && !may_follow {
            return Err(DecodeError::Garbage(Garbage::Escape));
        }
        Ok(Run {
            from,
            to,
            end: is_end,
        })
    }

    pub(super) fn encode(
        &self,
        state: &mut EncodeState,
        embedded: &Embedded,
        part: &Part<'_>,
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        if part.begin.is_some() {
            out.push(self.start.written());
            *state = EncodeState {
                phase: Phase::Holding,
                scanned: out.held().len(),
                ..EncodeState::default()
            };
        }
        if let Some(escape) = &self.escape {
            #[cfg(test)]
            {
                state.examined += part.data.len() as u64;
            }
            if *embedded == Embedded::Reject && escape.next(part.data).is_some() {
                return Err(EncodeError::DelimiterInside);
            }
            state.embedded += escape.push(part.data, out);
        } else {
            out.push(part.data);
            if embedded.is_refused() {
                self.check(state, out.held())?;
            }
        }
        if part.end {
            let met = if self.escapes() {
                out.push(self.end.written());
                state.embedded
            } else {
                self.append(embedded, out)?
            };
            *state = EncodeState {
                embedded: met,
                ..EncodeState::default()
            };
            out.commit();
        }
        Ok(())
    }

    /// Refuses early: a long message with an end near its start need not be gathered first.
    fn check(&self, state: &mut EncodeState, held: &[u8]) -> Result<(), EncodeError> {
        let from = state.scanned;
        #[cfg(test)]
        {
            state.examined += (held.len() - from) as u64;
        }
        // A start counts even where it may become an end: whatever is here whole.
        if let Found::At { .. } = self.marks.find(held, from, true) {
            return Err(EncodeError::DelimiterInside);
        }
        state.scanned = held.len().saturating_sub(self.marks.reach()).max(from);
        Ok(())
    }

    /// Ends the held block, once its message has met the policy, and makes sure that it is read with this very end. Gives how many
    /// starts and ends inside it made blocks of their own or were replaced.
    fn append(&self, embedded: &Embedded, out: &mut Outbox) -> Result<u64, EncodeError> {
        let body = self.start.written().len();
        let (last, met) = match embedded {
            Embedded::Reject | Embedded::Escape => (body, 0),
            Embedded::Split => self.split(out),
            Embedded::Replace(with) => (body, self.marks.replace(with, body, out)),
        };
        let len = out.held().len();
        out.push(self.end.written());
        // The message is clean but for its last bytes, which might form an end with what was appended.
        let from = len.saturating_sub(self.end.reach()).max(last);
        match self.end.find(out.held(), from, false) {
            Found::At { start, .. } if start == len => Ok(met),
            _ => Err(EncodeError::DelimiterInside),
        }
    }

    /// Puts a start behind each end inside the message; returns where the last block's message starts, and how many ends there were.
    fn split(&self, out: &mut Outbox) -> (usize, u64) {
        let (mut last, mut met) = (self.start.written().len(), 0);
        let Found::At { .. } = self.end.find(out.held(), last, true) else {
            return (last, met);
        };
        let whole = out.held()[last..].to_vec();
        out.replace_held_from(last, &[]);
        let mut from = 0;
        while let Found::At { start, len } = self.end.find(&whole, from, true) {
            out.push(&whole[from..start + len]);
            out.push(self.start.written());
            from = start + len;
            last = out.held().len();
            met += 1;
        }
        out.push(&whole[from..]);
        (last, met)
    }
}
