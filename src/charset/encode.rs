//! UTF-8 text to a charset.

use encoding_rs::{EncoderResult, mem};

use super::{Charset, Chunk, Table};

/// What to do with a character that the charset does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmappable {
    /// Refuse the message.
    Reject,
    /// Write a question mark.
    Replace,
    /// Write its number as forms of HTML do: `&#128512;`.
    Escape,
}

/// The charset does not have a character, which must not be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the charset does not have this character")]
pub struct UnmappableCharacter;

/// Turns text into a charset, message by message.
#[derive(Debug)]
pub struct Encoder {
    charset: Charset,
    unmappable: Unmappable,
    state: State,
    /// The start of a character that the last piece was cut inside of.
    cut: [u8; 4],
    cut_len: usize,
    substituted: u64,
}

enum State {
    Latin1,
    Standard(encoding_rs::Encoder),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Latin1 => "Latin1",
            Self::Standard(_) => "Standard",
        })
    }
}

impl State {
    fn new(charset: Charset) -> Self {
        match charset.0 {
            Table::Latin1 => Self::Latin1,
            Table::Standard(table) => Self::Standard(table.new_encoder()),
        }
    }

    /// Encodes what fits, and tells how much was read and written.
    fn encode(&mut self, text: &str, out: &mut [u8], last: bool) -> (EncoderResult, usize, usize) {
        let encoder = match self {
            Self::Latin1 => return encode_latin1(text, out),
            Self::Standard(encoder) => encoder,
        };
        encoder.encode_from_utf8_without_replacement(text, out, last)
    }
}

fn encode_latin1(text: &str, out: &mut [u8]) -> (EncoderResult, usize, usize) {
    // No result is longer than its text. What does not fit is not looked at: so the work is linear.
    let fits = &text[..text.floor_char_boundary(out.len())];
    let good = mem::str_latin1_up_to(fits);
    let written = mem::convert_utf8_to_latin1_lossy(&fits.as_bytes()[..good], out);
    match fits[good..].chars().next() {
        Some(character) => (
            EncoderResult::Unmappable(character),
            good + character.len_utf8(),
            written,
        ),
        None if fits.len() < text.len() => (EncoderResult::OutputFull, good, written),
        None => (EncoderResult::InputEmpty, good, written),
    }
}

impl Encoder {
    /// An encoder between messages.
    pub fn new(charset: Charset, unmappable: Unmappable) -> Self {
        Self {
            charset,
            unmappable,
            state: State::new(charset),
            cut: [0; 4],
            cut_len: 0,
            substituted: 0,
        }
    }

    /// Encodes the next piece of a message; `last` says that it is the last one. The pieces together are UTF-8, which may be cut
    /// anywhere.
    ///
    /// `sink` gets the result in chunks, the last of them (which may be empty) with true where the message ends with it. After an
    /// error the encoder stands between messages.
    pub fn encode<E: From<UnmappableCharacter>>(
        &mut self,
        piece: &[u8],
        last: bool,
        mut sink: impl FnMut(&[u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut chunk = Chunk::new();
        let encoded = self.pieces(piece, last, &mut chunk, &mut sink);
        let done = encoded.and_then(|()| sink(chunk.ready(), last));
        if last || done.is_err() {
            self.reset();
        }
        done
    }

    /// Forgets the message that was begun.
    pub fn reset(&mut self) {
        self.state = State::new(self.charset);
        self.cut_len = 0;
    }

    /// How many characters were replaced or escaped since this was last asked.
    pub fn take_substituted(&mut self) -> u64 {
        std::mem::take(&mut self.substituted)
    }

    fn pieces<E: From<UnmappableCharacter>>(
        &mut self,
        mut piece: &[u8],
        last: bool,
        chunk: &mut Chunk,
        sink: &mut impl FnMut(&[u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.cut_len > 0
            && let Some((&next, rest)) = piece.split_first()
        {
            piece = rest;
            self.cut[self.cut_len] = next;
            self.cut_len += 1;
            let cut = self.cut;
            match std::str::from_utf8(&cut[..self.cut_len]) {
                Ok(character) => {
                    self.cut_len = 0;
                    self.text(character, last && piece.is_empty(), chunk, sink)?;
                }
                Err(error) if error.error_len().is_some() => return Err(UnmappableCharacter.into()),
                Err(_) => {}
            }
        }
        let (text, cut) = match std::str::from_utf8(piece) {
            Ok(text) => (text, &[][..]),
            Err(error) if error.error_len().is_some() => return Err(UnmappableCharacter.into()),
            Err(error) => {
                let (good, cut) = piece.split_at(error.valid_up_to());
                (std::str::from_utf8(good).unwrap_or_default(), cut)
            }
        };
        self.text(text, last, chunk, sink)?;
        if !cut.is_empty() {
            self.cut[..cut.len()].copy_from_slice(cut);
            self.cut_len = cut.len();
        }
        Ok(())
    }

    fn text<E: From<UnmappableCharacter>>(
        &mut self,
        mut text: &str,
        last: bool,
        chunk: &mut Chunk,
        sink: &mut impl FnMut(&[u8], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let (result, read, written) = self.state.encode(text, chunk.free(), last);
            text = &text[read..];
            chunk.len += written;
            match result {
                EncoderResult::InputEmpty => return Ok(()),
                EncoderResult::OutputFull => {
                    sink(chunk.ready(), false)?;
                    chunk.len = 0;
                }
                EncoderResult::Unmappable(character) => {
                    // As text: some charsets have to be told which of their sets comes next. All of them have ASCII.
                    match self.unmappable {
                        Unmappable::Reject => return Err(UnmappableCharacter.into()),
                        Unmappable::Replace => self.text("?", false, chunk, sink)?,
                        Unmappable::Escape => {
                            self.text(reference(character, &mut [0; 10]), false, chunk, sink)?;
                        }
                    }
                    self.substituted += 1;
                }
            }
        }
    }
}

/// A character's number as a reference of HTML.
fn reference(character: char, room: &mut [u8; 10]) -> &str {
    let mut rest = u32::from(character);
    let mut at = room.len() - 1;
    room[at] = b';';
    loop {
        at -= 1;
        room[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    room[at - 2..at].copy_from_slice(b"&#");
    std::str::from_utf8(&room[at - 2..]).unwrap_or_default()
}
