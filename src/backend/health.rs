//! Whether a target is up, from what its dials and checks tell. Pure: the time is handed in.
//!
//! ```text
//! Unknown ──┬── a dial or check that passes ──► Up
//!           └── `fall` failures in a row ─────► Down ◄──┐ fails: the pause doubles
//!                                                │      │
//!                   without checks: after a pause, one session tries ─ passes ─► Up
//!                   with checks:    `rise` of them pass in a row ──────────────► Up
//! ```
//!
//! What is down takes no session: whoever asks is told at once, instead of waiting for a dial to fail.

use std::time::{Duration, Instant};

/// The first pause is this part of the longest.
const FIRST_PAUSE: u32 = 16;

/// When a target is down, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Failures in a row, of dials and checks, after which it is down. At least 1.
    pub(super) fall: u32,
    /// Checks that must pass in a row before it is up again. `None`: there are no checks.
    pub(super) rise: Option<u32>,
    /// The longest pause before a session may try, where there are no checks.
    pub(super) pause: Duration,
}

/// What is known of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was neither dialled nor checked with success yet, nor often enough without.
    Unknown,
    /// The last that was heard of it was good.
    Up,
    /// It takes no sessions.
    Down,
}

/// The health of one target.
#[derive(Clone, Debug)]
pub(super) struct Health {
    rule: Rule,
    condition: Condition,
    /// In a row.
    failures: u32,
    /// Checks that passed in a row while it is down.
    passes: u32,
    /// How long it rests after the next failure of a trial.
    pause: Duration,
    /// When a session may try.
    again: Option<Instant>,
    /// A session tries.
    trying: bool,
    /// When the last failure was counted.
    counted: Option<Instant>,
}

/// A dial that has begun. Its end must be told: [`Health::passed`], [`Health::failed`] or [`Health::abandoned`].
#[derive(Debug)]
#[must_use]
pub(super) struct Attempt {
    is_trial: bool,
    began: Instant,
}

impl Attempt {
    /// True when the target is down, and this one finds out whether it still is.
    pub(super) fn is_trial(&self) -> bool {
        self.is_trial
    }
}

impl Health {
    /// Of a target that nothing is known of: it is trusted.
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            condition: Condition::Unknown,
            failures: 0,
            passes: 0,
            pause: rule.pause / FIRST_PAUSE,
            again: None,
            trying: false,
            counted: None,
        }
    }

    /// What is known.
    pub(super) fn condition(&self) -> Condition {
        self.condition
    }

    /// True when a session may be sent to it.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.condition != Condition::Down || self.next_trial().is_some_and(|at| at <= now)
    }

    /// When a session may try, where that is what it needs to come back.
    pub(super) fn next_trial(&self) -> Option<Instant> {
        self.again
            .filter(|_| self.condition == Condition::Down && !self.trying)
    }

    /// A dial begins. Where the target is down, it is the only one.
    pub(super) fn begin(&mut self, now: Instant) -> Attempt {
        let is_trial = self.condition == Condition::Down;
        self.trying |= is_trial;
        Attempt { is_trial, began: now }
    }

    /// The dial has succeeded.
    pub(super) fn passed(&mut self, attempt: Attempt) {
        self.trying &= !attempt.is_trial;
        // One that was under way when it went down proves nothing to checks.
        if self.condition != Condition::Down || self.rule.rise.is_none() {
            self.up();
        }
    }

    /// The dial has failed, by the target's fault. Those that were under way when the last failure was counted have seen the same
    /// moment of it, and are not counted: a crowd that comes in one bad second is not `fall` failures in a row.
    pub(super) fn failed(&mut self, attempt: Attempt, now: Instant) {
        if attempt.is_trial {
            self.trying = false;
            // It may have come up meanwhile, by a dial that was slower to tell.
            if self.condition == Condition::Down {
                self.pause = (self.pause * 2).min(self.rule.pause);
                self.again = Some(now + self.pause);
            }
        } else if self.counted.is_none_or(|counted| attempt.began >= counted) {
            self.failure(now);
        }
    }

    /// The dial ended without telling anything of the target: the client left, say.
    pub(super) fn abandoned(&mut self, attempt: Attempt) {
        self.trying &= !attempt.is_trial;
    }

    /// A check has passed, or failed.
    pub(super) fn checked(&mut self, passed: bool, now: Instant) {
        if !passed {
            self.passes = 0;
            return self.failure(now);
        }
        self.passes = self.passes.saturating_add(1);
        if self.condition != Condition::Down || self.rule.rise.is_some_and(|rise| self.passes >= rise) {
            self.up();
        }
    }

    fn up(&mut self) {
        self.condition = Condition::Up;
        self.failures = 0;
        self.pause = self.rule.pause / FIRST_PAUSE;
        self.again = None;
    }

    fn failure(&mut self, now: Instant) {
        // What is down stays so; dials that began before it went down must not lengthen its pause.
        if self.condition == Condition::Down {
            return;
        }
        self.counted = Some(now);
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.rule.fall {
            self.condition = Condition::Down;
            self.passes = 0;
            self.again = self.rule.rise.is_none().then(|| now + self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const PAUSE: Duration = Duration::from_secs(16);
    const ALONE: Rule = Rule {
        fall: 3,
        rise: None,
        pause: PAUSE,
    };
    const CHECKED: Rule = Rule {
        rise: Some(2),
        ..ALONE
    };

    fn fail(health: &mut Health, now: Instant) {
        let attempt = health.begin(now);
        health.failed(attempt, now);
    }

    #[test]
    fn some_failures_in_a_row_are_the_end_of_it() {
        let now = start();
        let mut health = Health::new(ALONE);
        for _ in 0..2 {
            fail(&mut health, now);
            fail(&mut health, now);
            assert!(health.admits(now));
            let attempt = health.begin(now);
            health.passed(attempt);
            assert_eq!(health.condition(), Condition::Up);
        }
        for _ in 0..3 {
            fail(&mut health, now);
        }
        assert_eq!(health.condition(), Condition::Down);
        assert!(!health.admits(now));
    }

    #[test]
    fn dials_that_fail_together_count_once() {
        let mut now = start();
        let mut health = Health::new(ALONE);
        for round in 1..=3 {
            let crowd: Vec<Attempt> = (0..5).map(|_| health.begin(now)).collect();
            for attempt in crowd {
                now += Duration::from_millis(1);
                health.failed(attempt, now);
            }
            assert_eq!(health.condition() == Condition::Down, round == 3, "{round}");
        }
    }

    #[test]
    fn pauses_double_to_the_longest_and_one_session_tries() {
        let mut now = start();
        let mut health = Health::new(ALONE);
        let slow = health.begin(now);
        for _ in 0..3 {
            fail(&mut health, now);
        }
        for seconds in [1, 2, 4, 8, 16, 16] {
            let due = now + Duration::from_secs(seconds);
            assert_eq!(health.next_trial(), Some(due));
            assert!(!health.admits(due - Duration::from_millis(1)));
            assert!(health.admits(due));
            now = due;
            let trial = health.begin(now);
            assert!(!health.admits(now), "one at a time");
            health.abandoned(trial);
            assert!(health.admits(now), "the next one may, at once");
            fail(&mut health, now);
        }
        // A dial from before.
        health.failed(slow, now);
        assert_eq!(health.next_trial(), Some(now + PAUSE));
        now += PAUSE;
        let trial = health.begin(now);
        health.passed(trial);
        assert_eq!(health.condition(), Condition::Up);
        for _ in 0..3 {
            fail(&mut health, now);
        }
        assert_eq!(
            health.next_trial(),
            Some(now + PAUSE / 16),
            "from the shortest again"
        );
    }

    #[test]
    fn with_checks_only_checks_bring_it_back() {
        let now = start();
        let mut health = Health::new(CHECKED);
        let slow = health.begin(now);
        fail(&mut health, now);
        health.checked(false, now);
        fail(&mut health, now);
        assert_eq!(health.condition(), Condition::Down);
        assert_eq!(health.next_trial(), None);
        assert!(!health.admits(now + PAUSE * 100));
        health.passed(slow);
        assert_eq!(health.condition(), Condition::Down);
        for passed in [true, false, true] {
            health.checked(passed, now);
            assert_eq!(health.condition(), Condition::Down);
        }
        health.checked(true, now);
        assert_eq!(health.condition(), Condition::Up);
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Dial { passes: Option<bool> },
        Check(bool),
        Wait(u8),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            any::<Option<bool>>().prop_map(|passes| Event::Dial { passes }),
            any::<bool>().prop_map(Event::Check),
            any::<u8>().prop_map(Event::Wait),
        ];
        prop::collection::vec(event, 0..100)
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_down_for_a_reason_and_comes_back(
            events in events(), fall in 1..5_u32, checked: bool,
        ) {
            let rule = Rule { fall, rise: checked.then_some(2), pause: PAUSE };
            let mut health = Health::new(rule);
            let (mut now, mut failures) = (start(), 0);
            for event in events {
                let was_down = health.condition() == Condition::Down;
                match event {
                    Event::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                    Event::Check(passed) if checked => {
                        health.checked(passed, now);
                        failures = if passed { 0 } else { failures + 1 };
                    }
                    Event::Dial { passes } if health.admits(now) => {
                        let attempt = health.begin(now);
                        prop_assert!(!was_down || !health.admits(now + PAUSE), "a second trial");
                        match passes {
                            Some(true) => health.passed(attempt),
                            Some(false) => health.failed(attempt, now),
                            None => health.abandoned(attempt),
                        }
                        failures = match passes {
                            Some(true) => 0,
                            Some(false) => failures + 1,
                            None => failures,
                        };
                    }
                    Event::Check(_) | Event::Dial { .. } => {}
                }
                let is_down = health.condition() == Condition::Down;
                if is_down && !was_down {
                    prop_assert!(failures >= fall, "{failures} of {fall}");
                }
                // Without checks nobody waits longer than the longest pause.
                prop_assert!(checked || health.admits(now + PAUSE));
                prop_assert!(checked || is_down == health.next_trial().is_some());
            }
            if checked {
                health.checked(true, now);
                health.checked(true, now);
                prop_assert_eq!(health.condition(), Condition::Up);
            }
        }
    }
}
