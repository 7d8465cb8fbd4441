//! How much may happen in a second: a token bucket, pure.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// What a full bucket holds: as much as comes into it in this time may be spent at once.
const FULL: Duration = Duration::from_secs(1);
/// Who has spent all waits for as much as comes in this time, and not for each single token.
const PAUSE: Duration = Duration::from_millis(50);
const SECOND: u128 = 1_000_000_000;

/// Fills by so many tokens a second. More can be spent than there is: that is owed then, and has to come in before anything else.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: NonZeroU64,
    /// What has come in until this moment is spent.
    spent: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: NonZeroU64, now: Instant) -> Self {
        Self {
            rate,
            spent: now.checked_sub(FULL).unwrap_or(now),
        }
    }

    /// How many tokens come in a second.
    pub fn rate(&self) -> NonZeroU64 {
        self.rate
    }

    /// How many tokens there are.
    pub fn tokens(&self, now: Instant) -> u64 {
        let saved = now.saturating_duration_since(self.spent).min(FULL);
        u64::try_from(saved.as_nanos() * u128::from(self.rate.get()) / SECOND).unwrap_or(u64::MAX)
    }

    /// Takes so many, whether they are there or not.
    pub fn spend(&mut self, now: Instant, count: u64) {
        let oldest = now.checked_sub(FULL).unwrap_or(now);
        self.spent = self.spent.max(oldest) + self.time(count);
    }

    /// True when more was spent than there was.
    pub fn owes(&self, now: Instant) -> bool {
        self.spent > now
    }

    /// Where there is no token: when it is worth looking again.
    pub fn empty_until(&self, now: Instant) -> Option<Instant> {
        (self.tokens(now) == 0).then(|| self.spent + self.time(1).max(PAUSE))
    }

    /// How long so many take to come in. Rounded up: never too early.
    fn time(&self, count: u64) -> Duration {
        let nanos = (u128::from(count) * SECOND).div_ceil(u128::from(self.rate.get()));
        // Nobody spends what takes longer than 24 hours to come in.
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(Duration::from_hours(24))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket(rate: u64, now: Instant) -> Bucket {
        Bucket::new(NonZeroU64::new(rate).unwrap(), now)
    }

    #[test]
    fn a_bucket_holds_a_second_and_what_is_owed_comes_first() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut bucket = bucket(100, start);
        assert_eq!(bucket.tokens(at(0)), 100);
        bucket.spend(at(0), 40);
        assert_eq!((bucket.tokens(at(0)), bucket.tokens(at(100))), (60, 70));
        assert_eq!(bucket.tokens(at(60_000)), 100);
        assert_eq!((bucket.empty_until(at(0)), bucket.owes(at(0))), (None, false));
        bucket.spend(at(0), 60);
        assert_eq!(bucket.empty_until(at(0)), Some(at(50)));
        assert!(!bucket.owes(at(0)));
        bucket.spend(at(0), 200);
        assert!(bucket.owes(at(0)) && !bucket.owes(at(2000)));
        assert_eq!(bucket.empty_until(at(1000)), Some(at(2050)));
        assert_eq!(bucket.tokens(at(2050)), 5);
    }

    proptest! {
        /// Whoever looks when it is told to, and spends no more than there is, has all of the rate and never more than a second above it.
        #[test]
        fn in_the_long_run_the_rate_holds(rate in 1..10_000_000_000_u64, greed in 1..2_000_000_u64) {
            let start = tokio::time::Instant::now().into_std();
            let mut bucket = bucket(rate, start);
            let (mut now, mut spent) = (start, 0_u128);
            let end = start + Duration::from_secs(20);
            for _ in 0..100_000 {
                if now >= end {
                    break;
                }
                let tokens = bucket.tokens(now).min(greed.max(rate / 100));
                if tokens > 0 {
                    bucket.spend(now, tokens);
                    spent += u128::from(tokens);
                }
                let passed = now.saturating_duration_since(start).as_nanos();
                let most = u128::from(rate) * (passed + SECOND) / SECOND;
                prop_assert!(spent <= most + 1, "{spent} {most}");
                match bucket.empty_until(now) {
                    Some(next) => {
                        prop_assert!(next > now);
                        now = next;
                        prop_assert!(bucket.tokens(now) > 0);
                    }
                    None => now += Duration::from_millis(1),
                }
            }
            let passed = now.saturating_duration_since(start).as_nanos();
            if greed >= rate {
                prop_assert!(spent * 10 >= u128::from(rate) * passed / SECOND * 9, "{spent}");
            }
        }
    }
}
