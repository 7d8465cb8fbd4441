//! What travels: a walk through a fixed table, so that every byte says where it belongs.
//!
//! The payloads of all messages of a direction, one after the other, are one walk. A byte that is lost, doubled, swapped or of another
//! session does not match; writing is a copy and checking a comparison of memory, so it costs next to nothing.

use std::sync::LazyLock;

/// The length of the walk's circle: a prime, so that losing a block of any usual size is seen.
const PERIOD: usize = 65_521;
/// The longest piece handled in one step.
const STEP: usize = 64 * 1024;

/// The circle, and as much of it again as a step may need behind its end.
static TABLE: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    // Letters and digits: valid in a line of text too.
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let circle: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        LETTERS[(state >> 58) as usize]
    })
    .take(PERIOD)
    .collect();
    circle.iter().copied().cycle().take(PERIOD + STEP).collect()
});

/// A place in the walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    at: usize,
}

impl Cursor {
    /// Where a session's uplink starts.
    pub(crate) fn uplink(session: u32) -> Self {
        Self {
            at: session as usize * 7919 % PERIOD,
        }
    }

    /// Where a session's downlink starts: far from its uplink, so that neither is taken for the other.
    pub(crate) fn downlink(session: u32) -> Self {
        Self {
            at: (session as usize * 7919 + PERIOD / 2) % PERIOD,
        }
    }

    /// Appends the next `count` bytes.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, mut count: usize) {
        while count > 0 {
            let step = count.min(STEP);
            out.extend_from_slice(&TABLE[self.at..self.at + step]);
            self.advance(step);
            count -= step;
        }
    }

    /// True when `bytes` are the next ones.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> bool {
        bytes.chunks(STEP).all(|chunk| {
            let same = chunk == &TABLE[self.at..self.at + chunk.len()];
            self.advance(chunk.len());
            same
        })
    }

    fn advance(&mut self, count: usize) {
        self.at = (self.at + count) % PERIOD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Cursor::uplink(3).append(&mut out, count);
        out
    }

    #[test]
    fn what_is_appended_is_what_is_expected_however_it_is_cut() {
        let sent = walk(5 * PERIOD / 2);
        for piece in [1, 63, 4096, STEP, sent.len()] {
            let mut cursor = Cursor::uplink(3);
            assert!(sent.chunks(piece).all(|chunk| cursor.check(chunk)), "{piece}");
        }
    }

    #[test]
    fn loss_doubling_and_change_are_seen() {
        let sent = walk(3 * PERIOD);
        for lost in [1, 64, 1024, 4096, 16 * 1024, 64 * 1024] {
            let cut = [&sent[..1000], &sent[1000 + lost..]].concat();
            assert!(!Cursor::uplink(3).check(&cut), "{lost} lost");
            let doubled = [&sent[..1000 + lost], &sent[1000..]].concat();
            assert!(!Cursor::uplink(3).check(&doubled), "{lost} doubled");
        }
        let mut changed = sent.clone();
        changed[2 * PERIOD] ^= 1;
        assert!(!Cursor::uplink(3).check(&changed));
    }

    #[test]
    fn sessions_and_directions_differ() {
        let sent = walk(64);
        assert!(!Cursor::uplink(4).check(&sent));
        assert!(!Cursor::downlink(3).check(&sent));
    }

    #[test]
    fn the_walk_is_a_line_of_text() {
        assert!(walk(PERIOD).iter().all(u8::is_ascii_graphic));
    }
}
