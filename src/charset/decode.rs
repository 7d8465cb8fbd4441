//! A charset to UTF-8 text.

use encoding_rs::{DecoderResult, mem};

use super::{Charset, Chunk, Table};

/// What stands for bytes that are no text: U+FFFD.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// No character takes more bytes, nor what may stand before it in ISO-2022-JP.
const LONGEST: usize = 8;

/// Bytes that are no text in the charset, and must not be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not text in this charset")]
pub struct Malformed;

/// The bytes of a character that has not come whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unfinished {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Unfinished {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
    }
}

/// Turns a charset into text, record by record or as one stream.
#[derive(Debug)]
pub struct Decoder {
    charset: Charset,
    state: State,
    unfinished: Unfinished,
    /// How often something was replaced, since the caller last asked.
    mended: u64,
}

#[derive(Debug)]
enum State {
    Latin1,
    Standard(encoding_rs::Decoder),
}

impl State {
    fn new(charset: Charset) -> Self {
        match charset.0 {
            Table::Latin1 => Self::Latin1,
            Table::Standard(table) => Self::Standard(table.new_decoder_without_bom_handling()),
        }
    }

    /// Decodes what fits, and tells how much was read and written.
    fn decode(&mut self, bytes: &[u8], out: &mut [u8], last: bool) -> (DecoderResult, usize, usize) {
        let decoder = match self {
            Self::Latin1 => {
                let (read, written) = mem::convert_latin1_to_utf8_partial(bytes, out);
                let result = if read < bytes.len() {
                    DecoderResult::OutputFull
                } else {
                    DecoderResult::InputEmpty
                };
                return (result, read, written);
            }
            Self::Standard(decoder) => decoder,
        };
        decoder.decode_to_utf8_without_replacement(bytes, out, last)
    }
}

/// Where the results of one call go.
struct Output<S> {
    chunk: Chunk,
    /// Bytes written, those in `chunk` included.
    written: u64,
    mend: bool,
    /// How often something was replaced.
    mended: u64,
    sink: S,
}

impl<S: FnMut(&[u8], bool)> Output<S> {
    fn new(mend: bool, sink: S) -> Self {
        Self {
            chunk: Chunk::new(),
            written: 0,
            mend,
            mended: 0,
            sink,
        }
    }

    fn flush(&mut self, last: bool) {
        (self.sink)(self.chunk.ready(), last);
        self.chunk.len = 0;
    }
}

impl Decoder {
    /// A decoder between records.
    pub fn new(charset: Charset) -> Self {
        Self {
            charset,
            state: State::new(charset),
            unfinished: Unfinished::default(),
            mended: 0,
        }
    }

    /// Decodes the next piece of a record; `last` says that it is the last one.
    ///
    /// `sink` gets the result in chunks, the last of them (which may be empty) with true where the record ends with it. Bytes that are
    /// no text are replaced by U+FFFD with `mend`, as browsers do; otherwise they are an error, after which the decoder stands between
    /// records.
    pub fn decode(
        &mut self,
        piece: &[u8],
        last: bool,
        mend: bool,
        sink: impl FnMut(&[u8], bool),
    ) -> Result<(), Malformed> {
        let mut output = Output::new(mend, sink);
        let done = self.piece(piece, last, &mut output);
        if last || done.is_err() {
            self.state = State::new(self.charset);
        }
        done?;
        if last {
            self.unfinished = Unfinished::default();
        }
        output.flush(last);
        self.mended += output.mended;
        Ok(())
    }

    /// As [`Decoder::decode`], for what was read of a stream without records: the result is all the text that there is by now. Of a
    /// character that is cut at the end, the bytes are kept for whoever has to know them ([`Decoder::take_unfinished`]), after an error
    /// too, where they stood before this piece.
    pub fn decode_stream(
        &mut self,
        piece: &[u8],
        mend: bool,
        sink: impl FnMut(&[u8], bool),
    ) -> Result<(), Malformed> {
        let mut output = Output::new(mend, sink);
        let mut unfinished = self.unfinished;
        // A character that is cut at the end begins among the last bytes: which of them gave one is asked after each.
        let (bulk, tail) = piece.split_at(piece.len().saturating_sub(LONGEST));
        let mut done = self.piece(bulk, false, &mut output);
        if !bulk.is_empty() {
            unfinished = Unfinished::default();
        }
        for byte in tail {
            let before = output.written;
            done = done.and_then(|()| self.piece(std::slice::from_ref(byte), false, &mut output));
            if output.written > before {
                unfinished = Unfinished::default();
            } else {
                unfinished.push(*byte);
            }
        }
        if done.is_err() {
            self.state = State::new(self.charset);
        }
        done?;
        self.unfinished = unfinished;
        output.flush(true);
        self.mended += output.mended;
        Ok(())
    }

    /// How often something was replaced since this was last asked.
    pub fn take_mended(&mut self) -> u64 {
        std::mem::take(&mut self.mended)
    }

    /// True when the start of a character waits for its rest.
    pub fn has_unfinished(&self) -> bool {
        self.unfinished.len > 0
    }

    /// The bytes of the character that has not come whole.
    pub fn unfinished(&self) -> &Unfinished {
        &self.unfinished
    }

    /// Forgets what was begun, and gives the bytes of the character that has not come whole.
    pub fn take_unfinished(&mut self) -> Unfinished {
        self.state = State::new(self.charset);
        std::mem::take(&mut self.unfinished)
    }

    fn piece<S: FnMut(&[u8], bool)>(
        &mut self,
        mut bytes: &[u8],
        last: bool,
        output: &mut Output<S>,
    ) -> Result<(), Malformed> {
        loop {
            let (result, read, written) = self.state.decode(bytes, output.chunk.free(), last);
            bytes = &bytes[read..];
            output.chunk.len += written;
            output.written += written as u64;
            match result {
                DecoderResult::InputEmpty => return Ok(()),
                DecoderResult::OutputFull => output.flush(false),
                DecoderResult::Malformed(..) if output.mend => {
                    if output.chunk.free().len() < REPLACEMENT.len() {
                        output.flush(false);
                    }
                    output.chunk.free()[..REPLACEMENT.len()].copy_from_slice(REPLACEMENT);
                    output.chunk.len += REPLACEMENT.len();
                    output.written += REPLACEMENT.len() as u64;
                    output.mended += 1;
                }
                DecoderResult::Malformed(..) => return Err(Malformed),
            }
        }
    }
}
