//! How a session ends that is asked to: at a good moment, now, or without waiting for anybody.

use std::time::{Duration, Instant};

use super::talk::State;
use super::{Client, Lifecycle, Output};
use crate::close::CloseReason;

/// A session that is asked to end at a good moment.
///
/// Nobody here knows what is a question, and what its answer. So it is guessed (see [`Talk`](super::talk::Talk)), and the guess costs
/// time: a session ends when neither side has sent anything for a while. Of the time that there is (`Timeouts::drain`), a third is given
/// to a question without any answer. After a tenth, a client that waits for each answer ends right behind one, before it can have seen it:
/// then nothing of it is on its way, however far it is. After a third, the messages of a client that always has others under way are left
/// where they are, so that those can be answered. What comes of a client behind the end is dropped where messages have answers, as nobody
/// could tell its own; elsewhere it still goes to the backend. After two thirds the session ends between any two records, and in the end
/// anywhere.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) reason: CloseReason,
    pub(super) since: Instant,
    /// The client's last message since then.
    pub(super) heard: Instant,
    /// Messages less records then.
    pub(super) balance: i32,
    /// The client has waited for a record behind each message since then.
    pub(super) in_turn: bool,
    /// The client's messages are read no more, but to the end of one that has begun.
    pub(super) holding: bool,
    /// So it is, and all that was read of them is with the backend.
    pub(super) held: bool,
}

/// What may be on its way already when a session is asked to end.
const QUIET: Duration = Duration::from_millis(100);
/// Neither side says anything more, and no message is under way from a client that is far.
pub(super) const LONG_QUIET: Duration = Duration::from_secs(1);
/// The client's pings and its Close frame may stand behind messages that are left where they are: not for longer than this.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

impl Lifecycle {
    /// The session is to end as soon as both sides are between messages and records and nothing seems to be on its way.
    pub(in crate::bridge) fn drain(&mut self, now: Instant, reason: CloseReason) {
        // A box, as most sessions have none.
        self.drain.get_or_insert_with(|| {
            Box::new(Drain {
                reason,
                since: now,
                heard: now,
                balance: self.talk.balance(),
                in_turn: self.talk.is_in_turn(),
                holding: false,
                held: false,
            })
        });
    }

    /// The session is to end now, wherever it is: the client is told, and has `close_timeout` to take that and to answer.
    pub(in crate::bridge) fn end(&mut self, now: Instant, reason: CloseReason) {
        // The first cause is the one that counts.
        self.stop(self.drain.as_ref().map_or(reason, |drain| drain.reason));
        let cut = now + self.settings.timeouts.close;
        self.cut.get_or_insert_with(|| Box::new(cut));
    }

    /// The session ends with this: nobody is waited for any more.
    pub(in crate::bridge) fn cut(&mut self, reason: CloseReason) {
        let reason = self.drain.as_ref().map_or(reason, |drain| drain.reason);
        self.reason.get_or_insert(reason);
        self.reset_client |= self.client != Client::Closed;
        self.client = Client::Closed;
        self.client_blocked = None;
        self.inside_up = None;
        self.reset_backend |= !self.backend_writes.is_over();
        self.close_backend();
    }

    /// True while the client's messages are left where they are: it is about to be told that it has to go.
    pub(in crate::bridge) fn is_holding(&self) -> bool {
        self.is_draining() && self.drain.as_ref().is_some_and(|drain| drain.holding)
    }

    /// Whether the client's messages are left where they are now, and all that was read of them is with the backend.
    pub(in crate::bridge) fn set_held(&mut self, held: bool) {
        if let Some(drain) = &mut self.drain {
            drain.held = held;
        }
    }

    /// True while it was asked to end and has not begun to.
    pub(in crate::bridge) fn is_draining(&self) -> bool {
        self.drain.is_some() && self.client == Client::Open
    }

    /// True from when it was asked to end.
    pub(in crate::bridge) fn is_ending(&self) -> bool {
        self.drain.is_some() || self.client != Client::Open
    }

    /// When a session that is between records may be told to end, if nothing more is said until then.
    pub(super) fn good_moment(&self, drain: &Drain) -> Instant {
        let time = self.settings.timeouts.drain;
        let last = drain.since + self.longest_search();
        if self.backend_writes != Output::Open {
            // The client has ended its direction: the backend ends its own when it has told all.
            return last;
        }
        let (quiet, busy) = match self.talk.state() {
            State::Unasked => (QUIET, drain.since + QUIET),
            State::Answered if drain.in_turn && self.last_message >= drain.since + time / 10 => {
                (LONG_QUIET, self.last_message)
            }
            State::Answered => (LONG_QUIET, last),
            // Where only the backend says anything, those are no answers.
            State::Unclear => (self.talk.quiet().min(time / 3), drain.heard + time / 3),
            // It comes late, or is forgotten.
            State::Owed if self.last_message + time > drain.since => (time, last),
            State::Owed | State::Asked => (time / 3, last),
        };
        let quiet = (self.last_message + quiet).max(drain.since + QUIET);
        quiet.min(busy).min(last)
    }

    /// From then on the session ends between any two records.
    fn longest_search(&self) -> Duration {
        self.settings.timeouts.drain * 2 / 3
    }

    /// From then on the client's messages are left where they are.
    pub(super) fn hold_after(&self) -> Duration {
        let longest = self.longest_search().saturating_sub(LONGEST_HOLD);
        longest.max(self.settings.timeouts.drain / 3)
    }

    /// True when the messages of this session seem to have answers: each had its own; or the backend has had the last word and has nothing
    /// more to say, and the client waits for that, or no more of it is read and as many records have come as messages.
    pub(super) fn gets_answers(&self, drain: &Drain, now: Instant) -> bool {
        match self.talk.state() {
            State::Answered | State::Owed => true,
            State::Asked => drain.in_turn && drain.holding,
            // A backend that never falls silent says other things than answers.
            State::Unclear => {
                let all = drain.holding && self.talk.balance() <= drain.balance;
                (drain.in_turn || all) && self.last_message + LONG_QUIET <= now
            }
            State::Unasked => self.talk.is_answered(),
        }
    }
}
