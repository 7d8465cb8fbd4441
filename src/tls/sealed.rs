//! Ciphertext in the making.

use tokio_rustls::rustls;
use tokio_rustls::rustls::unbuffered::{EncodeError, EncodeTlsData, EncryptError};

/// A buffer for ciphertext. It stays initialised, so that reusing it costs nothing.
pub(super) struct Sealed {
    pub(super) buf: Vec<u8>,
    pub(super) len: usize,
}

impl Sealed {
    /// An empty one with room for so many bytes; it grows when they do not suffice.
    pub(super) fn with_room(size: usize) -> Self {
        Self {
            buf: vec![0; size],
            len: 0,
        }
    }

    /// Forgets what an earlier pass may have left behind.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    fn room(&mut self, needed: usize) -> &mut [u8] {
        if self.buf.len() - self.len < needed {
            self.buf.resize(self.len + needed, 0);
        }
        &mut self.buf[self.len..]
    }

    /// Appends what TLS itself has to say.
    pub(super) fn encode<Data>(&mut self, data: &mut EncodeTlsData<'_, Data>) {
        loop {
            match data.encode(self.room(1)) {
                Ok(count) => return self.len += count,
                Err(EncodeError::InsufficientSize(size)) => {
                    self.room(size.required_size);
                }
                Err(EncodeError::AlreadyEncoded) => return,
            }
        }
    }

    /// Appends what `action` seals, in as much room as it takes.
    pub(super) fn seal(
        &mut self,
        mut action: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        loop {
            match action(self.room(1)) {
                Ok(count) => {
                    self.len += count;
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(size)) => {
                    self.room(size.required_size);
                }
                Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
            }
        }
    }

    /// Hands out what there is, and is empty again.
    pub(super) fn take(&mut self) -> &[u8] {
        &self.buf[..std::mem::take(&mut self.len)]
    }
}
