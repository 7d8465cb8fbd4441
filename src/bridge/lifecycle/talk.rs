//! Who has said what, and whether that was all: what a drain guesses from.

use std::time::Duration;

use super::drain::LONG_QUIET;

/// A message without an answer and one with two may have the same sum as two with one each; but not again and again.
const SURE: u8 = 2;

/// The messages and records of a session, as far as they tell a question from an answer.
///
/// Where each message gets one record, as many of both have come whenever nothing is on its way; but for what the backend says first (a
/// greeting), and for messages that have no answer (a login). So the difference is learnt when the client begins to speak, and believed
/// when it is met again. A higher one might be that of a client that always has some messages under way: it is learnt behind a long silence
/// only. A lower one shows that the backend says more than one record to a message, or says something unasked: no difference tells
/// anything then.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// Messages that came from the client, less those that came from the backend.
    balance: i32,
    /// The same at a rest; none before the first message.
    rest: Option<i32>,
    /// How often it has been met again, up to [`SURE`].
    met: u8,
    /// It has been gone below.
    unasked: bool,
    /// The backend has had the last word.
    answered: bool,
    /// Messages since the last record, up to two.
    in_row: u8,
    /// The longest pause between two records without a message between them, in milliseconds: such as there are inside answers.
    pause: u32,
}

/// Whether an answer is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The client has never said anything.
    Unasked,
    /// Each message has had its answer.
    Answered,
    /// The last word is the backend's. There may be more of it.
    Unclear,
    /// The last word is the client's.
    Asked,
    /// The same, where each message is known to have an answer.
    Owed,
}

impl Talk {
    /// The ends of so many messages came, or something of one, after a pause in which nobody said anything.
    #[inline]
    pub(super) fn client_said(&mut self, messages: u64, pause: impl FnOnce() -> Duration) {
        match self.rest {
            None => self.rest = Some(self.balance),
            Some(rest) if self.answered && rest == self.balance => self.met = (self.met + 1).min(SURE),
            Some(rest) if self.answered && rest < self.balance && pause() >= LONG_QUIET => {
                (self.rest, self.met) = (Some(self.balance), 0);
            }
            Some(_) => {}
        }
        self.answered = false;
        let count = u32::try_from(messages).unwrap_or(u32::MAX);
        self.balance = self.balance.saturating_add_unsigned(count);
        self.in_row = self.in_row.saturating_add(count.min(2) as u8).min(2);
    }

    /// So many records came, or something of one, after a pause in which nobody said anything.
    #[inline]
    pub(super) fn backend_said(&mut self, records: u64, pause: impl FnOnce() -> Duration) {
        if self.answered {
            let pause = u32::try_from(pause().as_millis()).unwrap_or(u32::MAX);
            self.pause = self.pause.max(pause);
        }
        let count = u32::try_from(records).unwrap_or(u32::MAX);
        self.balance = self.balance.saturating_sub_unsigned(count);
        self.unasked |= self.rest.is_some_and(|rest| self.balance < rest);
        self.answered = true;
        if records > 0 {
            self.in_row = 0;
        }
    }

    /// True when the client has not sent two messages since the last record, nor has two under way, as far as that is known.
    pub(super) fn is_in_turn(&self) -> bool {
        let under_way = self.rest.map_or(0, |rest| self.balance.saturating_sub(rest));
        self.in_row < 2 && (self.unasked || under_way < 2)
    }

    /// Messages less records.
    pub(super) fn balance(&self) -> i32 {
        self.balance
    }

    /// True when the backend has had the last word.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// For how long nobody says anything when an answer is over: longer than there has been silence between two records.
    pub(super) fn quiet(&self) -> Duration {
        LONG_QUIET.max(Duration::from_millis(self.pause.into()) * 3 / 2)
    }

    pub(super) fn state(&self) -> State {
        let known = self.met == SURE && !self.unasked;
        match self.rest {
            None => State::Unasked,
            Some(rest) if !self.answered && known && rest < self.balance => State::Owed,
            Some(_) if !self.answered => State::Asked,
            Some(rest) if known && rest == self.balance => State::Answered,
            Some(_) => State::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use fastrand::Rng;

    use super::super::tests::{DRAIN, settings};
    use super::super::{Input, Lifecycle};
    use super::*;
    use crate::close::CloseReason;

    /// How a service and its client talk, in milliseconds.
    #[derive(Clone, Copy, Debug, Default)]
    struct Manners {
        /// Records that the backend says first.
        greeting: u64,
        /// The client's first message has no answer.
        login: bool,
        /// Records of an answer, the time until the first, and between them.
        records: u64,
        delay: u64,
        apart: u64,
        /// Messages that the client sends before it waits for all of their answers, and how long it thinks then.
        batch: u64,
        think: u64,
        /// The backend also says something of its own so often.
        ticks: Option<u64>,
        /// From sealock to the client and back.
        travel: u64,
    }

    /// What became of a session.
    #[derive(Debug)]
    struct Told {
        /// After so many milliseconds.
        after: u64,
        /// Answers that nobody gets: of messages that the backend had, or will have.
        lost: u64,
        /// Messages that the backend never gets.
        dropped: u64,
    }

    impl Manners {
        /// Talks until the session has been drained and told.
        fn talk(self, drain_at: u64) -> Told {
            let start = tokio::time::Instant::now().into_std();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut life = Lifecycle::new(Arc::new(settings()), start, 0);
            let mut answers: VecDeque<(u64, u64)> = VecDeque::new();
            let mut unread = 0;
            let mut next_batch = 50;
            let mut silent = u64::from(self.login);
            // When the backend is free for the next message.
            let mut free = 0;
            for ms in 0..drain_at + 60_000 {
                if ms == drain_at {
                    life.drain(at(ms), CloseReason::Drain);
                }
                // All of it is read in one turn, the client first.
                if ms == next_batch {
                    unread += self.batch;
                    next_batch = u64::MAX;
                }
                let holds = life.is_holding();
                life.set_held(holds);
                if unread > 0 && !holds {
                    life.client_received(at(ms), unread, None, true);
                    for _ in 0..std::mem::take(&mut unread) {
                        if silent > 0 {
                            silent -= 1;
                            continue;
                        }
                        let first = free.max(ms) + self.delay;
                        answers.extend((0..self.records).map(|at| (first + at * self.apart, 1)));
                        free = first + (self.records - 1) * self.apart;
                    }
                }
                if ms == 20 && self.greeting > 0 {
                    life.backend_received(at(ms), self.greeting, false);
                }
                let due = answers.iter().take_while(|(due, _)| *due <= ms).count() as u64;
                answers.drain(..due as usize);
                let ticks = u64::from(self.ticks.is_some_and(|ticks| ms % ticks == 0));
                if due + ticks > 0 {
                    life.backend_received(at(ms), due + ticks, false);
                }
                if answers.is_empty() && unread == 0 && next_batch == u64::MAX {
                    next_batch = ms + self.think + self.travel;
                }
                life.tick(at(ms), true, true, false);
                if life.take_order().is_some() {
                    // It has sent them before it can know.
                    if next_batch != u64::MAX && next_batch < ms + self.travel {
                        unread += self.batch;
                    }
                    let (carried_out, dropped) = match life.client_input() {
                        Input::Forward => (unread, 0),
                        _ => (0, unread),
                    };
                    return Told {
                        after: ms - drain_at,
                        lost: answers.len() as u64 + carried_out * self.records,
                        dropped,
                    };
                }
            }
            panic!("{self:?}");
        }
    }

    /// Whatever is said first, and however many records are an answer: each message that the backend gets has its answer, and the client
    /// gets that.
    #[test]
    fn no_answer_is_lost_in_a_drain() {
        let mut random = Rng::with_seed(6455);
        for case in 0..1000 {
            let mut manners = Manners {
                greeting: random.u64(0..3),
                login: random.bool(),
                records: [1, 1, 1, 2, 5][random.usize(..5)],
                delay: [0, 1, 30, 700][random.usize(..4)],
                apart: [0, 1, 150, 700][random.usize(..4)],
                batch: [1, 1, 2, 6][random.usize(..4)],
                think: [1, 10, 50, 300, 5000][random.usize(..5)],
                ticks: None,
                travel: [0, 0, 20, 80, 250][random.usize(..5)],
            };
            // Answers that take a third of the time are taken for a backend that talks by itself.
            while manners.batch * (manners.delay + manners.records * manners.apart) > 6000 {
                manners.batch -= 1;
            }
            let told = manners.talk(random.u64(3000..12_000));
            assert_eq!(told.lost, 0, "{case}: {told:?}, {manners:?}");
            // Most need not wait until their messages are left where they are, and lose none of them either.
            if manners.records == 1 && !manners.login && manners.batch == 1 && manners.think < 1000 {
                let soon = DRAIN.as_millis() as u64 / 10 + 2000;
                assert!(told.after <= soon && told.dropped == 0, "{told:?}, {manners:?}");
            }
        }
    }

    /// Nor more than the last where the backend says other things all the time, as long as the client waits for its answer.
    #[test]
    fn ticks_of_the_backend_are_no_answers() {
        for (delay, think) in [(400, 100), (400, 300), (40, 10), (0, 10)] {
            let manners = Manners {
                records: 1,
                batch: 1,
                delay,
                think,
                ticks: Some(250),
                ..Manners::default()
            };
            for drain_at in (3000..4000).step_by(37) {
                let told = manners.talk(drain_at);
                assert!(told.lost <= 1 && told.dropped == 0, "{told:?}, {manners:?}");
            }
        }
    }

    /// Where neither side waits for the other, nothing that the client has sent is dropped.
    #[test]
    fn two_streams_that_know_nothing_of_each_other_are_no_talk() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for (up, down) in [
            (500, 300),
            (300, 500),
            (2000, 700),
            (700, 2000),
            (50, 40),
            (1000, 999),
            (400, 5000),
            (90, 1500),
        ] {
            for drain_at in (10_000..12_000).step_by(170) {
                let mut life = Lifecycle::new(Arc::new(settings()), start, 0);
                let mut unread = 0;
                let ended = (1..drain_at + 60_000).find(|ms| {
                    if *ms == drain_at {
                        life.drain(at(*ms), CloseReason::Drain);
                    }
                    unread += u64::from(ms % up == 0);
                    let holds = life.is_holding();
                    life.set_held(holds);
                    if !holds && unread > 0 {
                        life.client_received(at(*ms), std::mem::take(&mut unread), None, true);
                    }
                    if ms % down == 0 {
                        life.backend_received(at(*ms), 1, false);
                    }
                    life.tick(at(*ms), true, true, false);
                    life.take_order().is_some()
                });
                assert!(ended.is_some());
                let dropped = if life.client_input() == Input::Forward {
                    0
                } else {
                    unread
                };
                assert_eq!(dropped, 0, "{up} {down} {drain_at}: {ended:?}");
            }
        }
    }
}
