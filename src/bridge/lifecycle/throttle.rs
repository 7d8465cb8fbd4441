//! What keeps a client from being read: the rates of its route, and the memory of the process.

use std::time::{Duration, Instant};

use super::{Client, Lifecycle};
use crate::bridge::{RatePolicy, Rates};
use crate::close::CloseReason;
use crate::rate::Bucket;

/// A session that waits for memory looks so often whether there is some.
const LOOK: Duration = Duration::from_millis(100);

/// What a client may still send. Sessions of routes without rates have none.
#[derive(Debug)]
pub(super) struct Throttle {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    policy: RatePolicy,
    pub(super) until: Option<Instant>,
    /// Since when it is not read for that.
    since: Option<Instant>,
}

/// A session that gathers, and may not gather more for now.
#[derive(Debug)]
pub(super) struct Starved {
    since: Instant,
    look: Instant,
}

impl Throttle {
    pub(super) fn new(rates: &Rates, now: Instant) -> Option<Box<Self>> {
        let bucket = |rate: Option<_>| rate.map(|rate| Bucket::new(rate, now));
        (rates.messages.is_some() || rates.bytes.is_some()).then(|| {
            Box::new(Self {
                messages: bucket(rates.messages),
                bytes: bucket(rates.bytes),
                policy: rates.policy,
                until: None,
                since: None,
            })
        })
    }

    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.messages.iter().chain(&self.bytes)
    }
}

impl Starved {
    /// The moment at which there is something to do.
    pub(super) fn due(&self, patience: Duration) -> Instant {
        self.look.min(self.since + patience)
    }
}

impl Lifecycle {
    /// True while messages of the client go to the backend, if they are allowed to.
    pub(super) fn takes_messages(&self) -> bool {
        matches!(self.client, Client::Open | Client::Told { forward: true })
    }

    /// True while the client has sent as much as it may.
    pub(in crate::bridge) fn is_throttled(&self) -> bool {
        self.throttle.as_ref().is_some_and(|one| one.until.is_some()) && self.takes_messages()
    }

    /// How many bytes may be read from the client at once. One that has to go for its bytes is told by what it has sent.
    pub(in crate::bridge) fn most_bytes(&self, now: Instant) -> usize {
        let delays = |throttle: &&Throttle| throttle.policy == RatePolicy::Delay;
        self.most(now, |throttle| Some(throttle).filter(delays)?.bytes.as_ref())
    }

    /// How many messages may be translated at once: hardly one more may reach the backend.
    pub(in crate::bridge) fn most_messages(&self, now: Instant) -> usize {
        self.most(now, |throttle| throttle.messages.as_ref())
    }

    fn most(&self, now: Instant, which: impl Fn(&Throttle) -> Option<&Bucket>) -> usize {
        let throttle = self.throttle.as_deref().filter(|_| self.takes_messages());
        let bucket = throttle.and_then(which);
        bucket.map_or(usize::MAX, |bucket| {
            usize::try_from(bucket.tokens(now)).unwrap_or(usize::MAX).max(1)
        })
    }

    /// The client has sent this. An error is the end of a session that may not be faster than its rates; `Ok(true)`: from here on it
    /// has to wait.
    #[inline(always)]
    pub(in crate::bridge) fn spend(
        &mut self,
        now: Instant,
        messages: u64,
        bytes: u64,
    ) -> Result<bool, CloseReason> {
        if self.throttle.is_none() {
            return Ok(false);
        }
        self.spend_tokens(now, messages, bytes)
    }

    fn spend_tokens(&mut self, now: Instant, messages: u64, bytes: u64) -> Result<bool, CloseReason> {
        let takes = self.takes_messages();
        let Some(throttle) = self.throttle.as_mut().filter(|_| takes) else {
            return Ok(false);
        };
        let spent = [(&mut throttle.messages, messages), (&mut throttle.bytes, bytes)];
        for (bucket, count) in spent {
            if let Some(bucket) = bucket.as_mut().filter(|_| count > 0) {
                bucket.spend(now, count);
            }
        }
        match throttle.policy {
            RatePolicy::Close if throttle.buckets().any(|bucket| bucket.owes(now)) => {
                Err(CloseReason::TooFast)
            }
            RatePolicy::Close => Ok(false),
            RatePolicy::Delay => {
                let before = throttle.until;
                throttle.until = throttle
                    .buckets()
                    .filter_map(|bucket| bucket.empty_until(now))
                    .max();
                let begins = before.is_none() && throttle.until.is_some();
                if begins {
                    throttle.since = Some(now);
                }
                Ok(begins)
            }
        }
    }

    /// The client is read again. How long it was not, if that was for its rates: a client can bring that about whenever it likes.
    pub(super) fn throttled_for(&mut self, now: Instant) -> Option<Duration> {
        let since = self.throttle.as_mut()?.since.take()?;
        Some(now.saturating_duration_since(since))
    }

    /// The wait is over.
    pub(super) fn unthrottle(&mut self) {
        if let Some(throttle) = &mut self.throttle {
            throttle.until = None;
        }
    }

    /// The session gathers, and there is no memory for more; or there is.
    pub(in crate::bridge) fn starve(&mut self, now: Instant, starves: bool) {
        if !starves {
            self.starved = None;
        } else if self.starved.is_none() {
            self.starved = Some(Box::new(Starved {
                since: now,
                look: now + LOOK,
            }));
        }
    }

    /// Time to look again, or to give up.
    pub(super) fn look_for_memory(&mut self, now: Instant, cut: bool) {
        let patience = self.settings.timeouts.record;
        match &mut self.starved {
            Some(starved) if starved.since + patience > now => starved.look = now + LOOK,
            _ => {
                self.starved = None;
                self.refuse(now, CloseReason::GatherBudget, cut);
            }
        }
    }
}
