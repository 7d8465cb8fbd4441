//! The deadlines of a session: when each runs out, and what that means.

use std::time::{Duration, Instant};

use super::{Client, Lifecycle, Order};
use crate::close::CloseReason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Ping,
    Pong,
    Idle,
    Drain,
    Age,
    Rate,
    Memory,
    RecordUp,
    RecordDown,
    ClientWrite,
    BackendWrite,
    Close,
    Linger,
}

/// A session that is to end does so when neither side has sent anything for this long, the backend having had the last word.
const QUIET: Duration = Duration::from_millis(100);
/// Otherwise the client may have asked something, and the answer is waited for, so long. And a session that is not quiet for this long
/// ends right behind what the backend says next, which may well be an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// After this long, it ends between any two records.
const LAST: Duration = Duration::from_secs(5);

impl Lifecycle {
    pub(super) fn plan_ping(&mut self, now: Instant) {
        // ±10 %
        let spread = 0.9 + 0.2 * self.random.f64();
        self.next_ping = self.settings.timeouts.ping.map(|ping| now + ping.mul_f64(spread));
    }

    pub(super) fn plan_end(&mut self, now: Instant) {
        let spread = 0.9 + 0.2 * self.random.f64();
        self.old = self.settings.timeouts.age.map(|age| now + age.mul_f64(spread));
    }

    /// The moment at which [`Lifecycle::tick`] has something to do. `reading_client` and `reading_backend` tell whether that side
    /// is being read: timers that wait for a side stand still while it is not.
    pub(in crate::bridge) fn deadline(&self, reading_client: bool, reading_backend: bool) -> Option<Instant> {
        self.timers(reading_client, reading_backend)
            .map(|(at, _)| at)
            .min()
    }

    /// Acts on every deadline that has passed. `cut`: the backend has part of a record.
    pub(in crate::bridge) fn tick(
        &mut self,
        now: Instant,
        reading_client: bool,
        reading_backend: bool,
        cut: bool,
    ) {
        // One at a time: each may move the others.
        while let Some((_, timer)) = self
            .timers(reading_client, reading_backend)
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at)
        {
            self.fire(timer, now, cut);
        }
    }

    fn timers(
        &self,
        reading_client: bool,
        reading_backend: bool,
    ) -> impl Iterator<Item = (Instant, Timer)> + use<> {
        let t = &self.settings.timeouts;
        let open = self.client == Client::Open;
        let after = |since: Option<Instant>, wait: Duration| since.map(|since| since + wait);
        let when = |condition: bool, at: Option<Instant>| if condition { at } else { None };
        let between = self.inside_up.is_none() && self.inside_down.is_none();
        let waiting = matches!(self.client, Client::Told { .. } | Client::Refused);
        [
            (when(open, self.next_ping), Timer::Ping),
            (
                when(open && reading_client, after(self.ping_sent, t.pong)),
                Timer::Pong,
            ),
            (
                when(open, t.idle.map(|idle| self.last_message + idle)),
                Timer::Idle,
            ),
            (when(open && self.drain.is_none(), self.old), Timer::Age),
            (
                when(
                    self.takes_messages(),
                    self.throttle.as_ref().and_then(|one| one.until),
                ),
                Timer::Rate,
            ),
            (
                when(open, self.starved.as_ref().map(|one| one.due(t.record))),
                Timer::Memory,
            ),
            (
                // Only between records, and with all of them delivered.
                when(
                    open && reading_client && reading_backend && between,
                    self.drain.map(|(_, since)| {
                        let (quiet, patience) = if self.answered {
                            (QUIET, PATIENCE)
                        } else {
                            (PATIENCE, LAST)
                        };
                        (self.last_message.max(since) + quiet).min(since + patience)
                    }),
                ),
                Timer::Drain,
            ),
            (
                when(open && reading_client, after(self.inside_up, t.record)),
                Timer::RecordUp,
            ),
            (
                when(open && reading_backend, after(self.inside_down, t.record)),
                Timer::RecordDown,
            ),
            (
                when(!self.client_is_closed(), after(self.client_blocked, t.write)),
                Timer::ClientWrite,
            ),
            (
                when(!self.backend_is_closed(), after(self.backend_blocked, t.write)),
                Timer::BackendWrite,
            ),
            (when(waiting, after(self.close_sent, t.close)), Timer::Close),
            (
                when(!self.backend_is_closed(), after(self.lingering, t.linger)),
                Timer::Linger,
            ),
        ]
        .into_iter()
        .filter_map(|(at, timer)| at.map(|at| (at, timer)))
    }

    fn fire(&mut self, timer: Timer, now: Instant, cut: bool) {
        match timer {
            Timer::Ping => {
                // Behind data that the client does not take, a ping would say nothing new.
                if self.client_blocked.is_none() {
                    self.order = Some(Order::Ping);
                    self.ping_sent.get_or_insert(now);
                }
                self.plan_ping(now);
            }
            Timer::Pong => {
                self.ping_sent = None;
                self.tell(CloseReason::PongTimeout, false);
                self.finish_uplink(now, cut);
            }
            Timer::Idle => self.stop(CloseReason::Idle),
            Timer::Drain => {
                if let Some((reason, _)) = self.drain {
                    self.stop(reason);
                }
            }
            Timer::Age => self.drain(now, CloseReason::MaxAge),
            Timer::Rate => self.unthrottle(),
            Timer::Memory => self.look_for_memory(now, cut),
            Timer::RecordUp => self.refuse(now, CloseReason::ClientStalled, cut),
            Timer::RecordDown => self.backend_failed(CloseReason::BackendStalled),
            Timer::ClientWrite => {
                self.reason.get_or_insert(CloseReason::ClientNotReading);
                self.reset_client = true;
                self.client = Client::Closed;
                self.client_blocked = None;
                self.finish_uplink(now, cut);
            }
            Timer::BackendWrite => {
                self.reset_backend = true;
                self.backend_failed(CloseReason::BackendNotReading);
            }
            Timer::Close => {
                self.client = Client::Closed;
                self.finish_uplink(now, cut);
            }
            // Does nothing but close the backend once the client has been told.
            Timer::Linger => self.backend_failed(CloseReason::BackendReset),
        }
    }
}
