//! Reads parameters from the bytes of a fuzzer, in order and without gaps, so that a seed can be written by hand.
//!
//! Where the bytes are over, everything is zero: any input means something.

/// The bytes that have not been read yet.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// True when nothing is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next byte, as yes (odd) or no.
    pub fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// The next two bytes, the most significant first.
    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// One of several values, by the next byte.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::from(self.byte()) % values.len()]
    }

    /// The next bytes, as many as there are.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A text of bytes behind its length, which is one byte.
    pub fn text(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.take(len.into())
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// How a stream is cut: a count (0 to 7), then so many sizes, which are taken in turn.
    pub fn cuts(&mut self) -> Cuts {
        let count = self.byte() % 8;
        Cuts(
            self.take(count.into())
                .iter()
                .map(|size| usize::from(*size).max(1))
                .collect(),
        )
    }
}

/// Sizes of pieces, taken in turn. None: the stream stays whole.
pub struct Cuts(Vec<usize>);

impl Cuts {
    /// Cuts a stream. An empty one is a single empty piece.
    pub fn of<'a>(&self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut sizes = self.0.iter().cycle();
        let mut pieces = Vec::new();
        loop {
            let size = sizes.next().map_or(bytes.len(), |size| (*size).min(bytes.len()));
            let (piece, rest) = bytes.split_at(size);
            pieces.push(piece);
            bytes = rest;
            if bytes.is_empty() {
                return pieces;
            }
        }
    }
}
