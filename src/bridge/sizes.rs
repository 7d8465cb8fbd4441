//! How long messages and records are, counted in classes: powers of four.
//!
//! There are millions of them, and each is little work. So a step of translation counts for itself, and tells the sum to what all
//! sessions of a route share at its end. Within a step, most are about as long as the one before: a look at the bounds is all then,
//! because how many there are is counted anyway.

use std::sync::atomic::{AtomicU64, Ordering};

/// Classes of sizes: up to 16 bytes, up to 64, and so on up to 16 MiB, and beyond.
const CLASSES: usize = 12;

/// The smallest size of each class, and how far it goes from there.
const RANGES: [(u64, u64); CLASSES] = {
    let mut ranges = [(0, most(0)); CLASSES];
    let mut class = 1;
    while class < CLASSES {
        let from = most(class - 1) + 1;
        ranges[class] = (from, most(class) - from);
        class += 1;
    }
    ranges
};

/// The largest size of a class.
const fn most(class: usize) -> u64 {
    if class + 1 < CLASSES {
        16 << (2 * class)
    } else {
        u64::MAX
    }
}

fn class_of(size: u64) -> usize {
    // The bits of what is left of the largest of each class: 4, 6, 8 and so on.
    let bits = u64::BITS - (size.saturating_sub(1) | 15).leading_zeros();
    ((bits as usize - 3) / 2).min(CLASSES - 1)
}

/// How many messages and records there were of each size, in all sessions that share it.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Messages that became records.
    pub up: Counts,
    /// Records that became messages.
    pub down: Counts,
}

impl Sizes {
    /// Adds what others have counted.
    pub fn add(&self, other: &Self) {
        for (all, more) in [(&self.up, &other.up), (&self.down, &other.down)] {
            for (class, (_, count)) in more.seen().enumerate() {
                all.add(class, count);
            }
        }
    }
}

/// How many there were of each size in one direction.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; CLASSES]);

impl Counts {
    /// The largest size of each class, the last without end, and how many were of it.
    pub fn seen(&self) -> impl Iterator<Item = (f64, u64)> {
        self.0.iter().enumerate().map(|(class, count)| {
            let bound = if class + 1 < CLASSES {
                most(class) as f64
            } else {
                f64::INFINITY
            };
            (bound, count.load(Ordering::Relaxed))
        })
    }

    #[inline(never)]
    fn add_all(&self, counts: [u32; CLASSES]) {
        for (class, count) in counts.into_iter().enumerate() {
            self.add(class, count.into());
        }
    }

    fn add(&self, class: usize, count: u64) {
        if count > 0
            && let Some(all) = self.0.get(class)
        {
            all.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// What one step of translation has counted in one direction.
#[derive(Debug)]
pub(super) struct Tally {
    /// The class of the last message, and its range.
    class: u8,
    from: u64,
    span: u64,
    /// How many messages the session had moved when the first of this class came.
    since: u64,
    /// Those before that, if there are any.
    counts: Option<[u32; CLASSES]>,
}

impl Tally {
    /// Starts where the session has moved so many messages, the last of this class.
    #[inline(always)]
    pub(super) fn new(class: u8, moved: u64) -> Self {
        let (from, span) = RANGES.get(usize::from(class)).copied().unwrap_or_default();
        Self {
            class,
            from,
            span,
            since: moved,
            counts: None,
        }
    }

    /// Counts a message of this size, with so many moved before it.
    #[inline(always)]
    pub(super) fn count(&mut self, size: u64, moved: u64) {
        if size.wrapping_sub(self.from) > self.span {
            self.change(size, moved);
        }
    }

    #[inline(never)]
    fn change(&mut self, size: u64, moved: u64) {
        self.settle(moved);
        let class = class_of(size);
        (self.from, self.span) = RANGES.get(class).copied().unwrap_or_default();
        self.class = class as u8;
    }

    /// Counts those of the class that was.
    fn settle(&mut self, moved: u64) {
        let count = moved - self.since;
        self.since = moved;
        let class = usize::from(self.class);
        if count > 0
            && let Some(counted) = self.counts.get_or_insert_default().get_mut(class)
        {
            // A step is far too short for more.
            *counted += count as u32;
        }
    }

    /// Tells what was counted, and gives the last class. The session has moved so many messages now.
    #[inline(always)]
    pub(super) fn end(self, moved: u64, to: &Counts) -> u8 {
        to.add(self.class.into(), moved - self.since);
        if let Some(counts) = self.counts {
            to.add_all(counts);
        }
        self.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(sizes: &[u64], step: usize) -> Vec<(f64, u64)> {
        let counts = Counts::default();
        let (mut class, mut moved) = (0, 0);
        for sizes in sizes.chunks(step) {
            let mut tally = Tally::new(class, moved);
            for size in sizes {
                tally.count(*size, moved);
                moved += 1;
            }
            class = tally.end(moved, &counts);
        }
        counts.seen().collect()
    }

    #[test]
    fn bounds_are_powers_of_four_and_belong_to_their_class() {
        let bounds: Vec<f64> = Counts::default().seen().map(|(bound, _)| bound).collect();
        assert_eq!(bounds[..3], [16.0, 64.0, 256.0]);
        assert_eq!(bounds[10..], [16.0 * 1024.0 * 1024.0, f64::INFINITY]);
        for (class, (from, span)) in RANGES.into_iter().enumerate() {
            for size in [from, from + span / 2, from + span] {
                assert_eq!(class_of(size), class, "{size}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_message_is_counted_once_whatever_was_before_it(
            exponents in prop::collection::vec((0_u32..64, any::<u64>()), 0..60),
            step in 1_usize..20,
        ) {
            let sizes: Vec<u64> = exponents.iter().map(|(bits, size)| size >> bits).collect();
            let mut below = 0;
            for (bound, count) in counted(&sizes, step) {
                below += count;
                let expected = sizes.iter().filter(|size| **size as f64 <= bound).count();
                prop_assert_eq!(below, expected as u64, "up to {}", bound);
            }
        }
    }
}
