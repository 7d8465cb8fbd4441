//! Lengths in decimal digits, as netstrings, syslog and header lines write them.

use super::counted::Measured;
use super::{DecodeError, Garbage};
use crate::outbox::Outbox;

/// What [`u64::MAX`] takes.
const MAX_DIGITS: usize = 20;

const BAD: DecodeError = DecodeError::Garbage(Garbage::Header);

/// Appends a number, without leading zeros.
pub(super) fn push(value: u64, out: &mut Outbox) {
    let mut digits = [b'0'; MAX_DIGITS];
    let (mut at, mut rest) = (MAX_DIGITS, value);
    loop {
        at -= 1;
        digits[at] += (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.push(&digits[at..]);
        }
    }
}

/// Reads a number of any count of digits. What does not fit is over every limit there is.
pub(super) fn value(digits: &[u8]) -> Result<u64, DecodeError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let add = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, add).ok_or(DecodeError::TooBig)
}

/// Reads a header that is a number without leading zeros, with `end` behind it. The first `scanned` bytes are known to be digits.
pub(super) fn measure(scanned: usize, input: &[u8], end: u8) -> Result<Measured, DecodeError> {
    let header = &input[..input.len().min(MAX_DIGITS + 1)];
    let len = header[scanned..]
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .map_or(header.len(), |at| scanned + at);
    let digits = &header[..len];
    if len > MAX_DIGITS || matches!(digits, [b'0', _, ..]) {
        return Err(BAD);
    }
    match header.get(len) {
        None => Ok(Measured::More { scanned: len }),
        Some(byte) if *byte == end => Ok(Measured::Header {
            header: len + 1,
            body: value(digits)?,
        }),
        Some(_) => Err(BAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX / 10, u64::MAX] {
            let mut out = Outbox::default();
            push(number, &mut out);
            assert_eq!(out.held(), number.to_string().as_bytes());
            assert_eq!(value(out.held()), Ok(number));
        }
    }

    #[test]
    fn numbers_are_read_up_to_the_largest() {
        for (digits, expected) in [
            (&b"007"[..], Ok(7)),
            (b"18446744073709551615", Ok(u64::MAX)),
            (b"18446744073709551616", Err(DecodeError::TooBig)),
            (b"99999999999999999999999999", Err(DecodeError::TooBig)),
            (b"", Err(BAD)),
            (b"+1", Err(BAD)),
            (b"1 ", Err(BAD)),
            (b"99999999999999999999999999x", Err(BAD)),
        ] {
            assert_eq!(value(digits), expected, "{}", digits.escape_ascii());
        }
    }
}
