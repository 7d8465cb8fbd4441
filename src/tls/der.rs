//! Walks through DER, which certificates are written in (X.690).

pub(super) const SEQUENCE: u8 = 0x30;

/// The next value, which must have this tag.
pub(super) fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    next(input)
        .filter(|(found, _)| *found == tag)
        .map(|(_, value)| value)
}

/// The next value that has this tag.
pub(super) fn find<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    loop {
        let (found, value) = next(input)?;
        if found == tag {
            return Some(value);
        }
    }
}

/// The next tag and value. Tags of several bytes do not occur in certificates.
pub(super) fn next<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, short], rest) = input.split_first_chunk()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = long
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((tag, value))
}
