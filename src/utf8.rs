//! Checks UTF-8 in pieces, as it streams by (RFC 3629; RFC 6455 §8.1).

/// Up to here looking for ASCII costs less than checking for UTF-8.
const SHORT: usize = 512;

/// An incremental check. Its only state is the up to three bytes of a character that a piece ended inside of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Check {
    pending: [u8; 4],
    len: u8,
}

/// The bytes are not UTF-8 and no continuation could make them so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

impl Utf8Check {
    /// Checks the next piece. Fails at the first byte that no valid text could hold, not only at the end of the character.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), InvalidUtf8> {
        while self.len > 0 {
            let Some((&first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.pending[usize::from(self.len)] = first;
            self.len += 1;
            match std::str::from_utf8(&self.pending[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {}
            }
        }
        // Most short texts are ASCII, and too short for the larger machinery to pay.
        if bytes.len() <= SHORT && bytes.is_ascii() {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(InvalidUtf8),
            Err(error) => {
                let tail = &bytes[error.valid_up_to()..];
                self.pending[..tail.len()].copy_from_slice(tail);
                self.len = tail.len() as u8;
                Ok(())
            }
        }
    }

    /// Ends the text: it must not stop inside a character. Ready for the next text afterwards.
    pub fn finish(&mut self) -> Result<(), InvalidUtf8> {
        let complete = self.len == 0;
        self.len = 0;
        if complete { Ok(()) } else { Err(InvalidUtf8) }
    }
}

/// How many bytes at the end of `bytes` are the start of a character that the following bytes might complete (0 to 3).
pub fn incomplete_tail(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - back..];
        // A continuation byte: the lead, if there is one, stands further left.
        if tail[0] & 0xC0 == 0x80 {
            continue;
        }
        return match std::str::from_utf8(tail) {
            Err(error) if error.error_len().is_none() => back,
            _ => 0,
        };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pieces: &[&[u8]]) -> bool {
        let mut check = Utf8Check::default();
        pieces.iter().all(|piece| check.push(piece).is_ok()) && check.finish().is_ok()
    }

    #[test]
    fn a_character_may_be_cut_anywhere() {
        let text = "a€😀é".as_bytes();
        for cut in 0..=text.len() {
            assert!(check(&[&text[..cut], &text[cut..]]), "cut at {cut}");
        }
        assert!(!check(&[&text[..2]]));
    }

    #[test]
    fn a_hopeless_byte_is_noticed_at_once() {
        let mut surrogate = Utf8Check::default();
        surrogate.push(&[0xED]).unwrap();
        assert_eq!(surrogate.push(&[0xA0]), Err(InvalidUtf8));
        let mut too_large = Utf8Check::default();
        too_large.push(&[0xF4]).unwrap();
        assert_eq!(too_large.push(&[0x90]), Err(InvalidUtf8));
    }

    #[test]
    fn the_tail_of_a_cut_character_is_measured() {
        for (bytes, tail) in [
            (&b""[..], 0),
            (b"abc", 0),
            (b"ab\xC3", 1),
            (b"\xE2\x82", 2),
            (b"x\xF0\x9F\x98", 3),
            (b"\xF0\x9F\x98\x80", 0),
            (b"\x80\x80\x80\x80", 0),
            (b"\xC0", 0),
            (b"\xED\xA0", 0),
        ] {
            assert_eq!(incomplete_tail(bytes), tail, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library_however_it_is_cut(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(0xE2), Just(0x82), Just(0xAC), Just(0xF0), Just(0x9F), Just(b'a')], 0..200), size in 1usize..9) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(check(&pieces), std::str::from_utf8(&bytes).is_ok());
        }

        #[test]
        fn a_text_without_its_tail_is_complete(text in "\\PC*", cut in any::<prop::sample::Index>()) {
            let piece = &text.as_bytes()[..cut.index(text.len() + 1)];
            let whole = piece.len() - incomplete_tail(piece);
            prop_assert!(std::str::from_utf8(&piece[..whole]).is_ok());
        }
    }
}
