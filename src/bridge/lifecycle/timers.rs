//! The deadlines of a session: when each runs out, and what that means.

use std::time::{Duration, Instant};

use super::{Client, Lifecycle, Order};
use crate::close::CloseReason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Ping,
    Pong,
    Idle,
    Hold,
    Drain,
    Overdue,
    Cut,
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
        let mut first: Option<Instant> = None;
        self.timers(reading_client, reading_backend, |at, _| {
            first = Some(first.map_or(at, |first| first.min(at)));
        });
        first
    }

    /// Acts on every deadline that has passed; true when there was one. `cut`: the backend has part of a record.
    pub(in crate::bridge) fn tick(
        &mut self,
        now: Instant,
        reading_client: bool,
        reading_backend: bool,
        cut: bool,
    ) -> bool {
        // One at a time: each may move the others.
        let mut any = false;
        loop {
            let mut first = None;
            self.timers(reading_client, reading_backend, |at, timer| {
                if at <= now && first.is_none_or(|(earliest, _)| at < earliest) {
                    first = Some((at, timer));
                }
            });
            let Some((_, timer)) = first else {
                return any;
            };
            any = true;
            self.fire(timer, now, cut);
        }
    }

    /// Shows every timer that runs. Not a list of them: this is asked at the end of nearly every pass, and few of them run.
    #[inline(always)]
    fn timers(&self, reading_client: bool, reading_backend: bool, mut show: impl FnMut(Instant, Timer)) {
        let t = &self.settings.timeouts;
        let mut run = |at: Option<Instant>, timer| {
            if let Some(at) = at {
                show(at, timer);
            }
        };
        let after = |since: Option<Instant>, wait: Duration| since.map(|since| since + wait);
        if self.client == Client::Open {
            run(self.next_ping, Timer::Ping);
            if reading_client {
                run(after(self.ping_sent, t.pong), Timer::Pong);
            }
            run(t.idle.map(|idle| self.last_message + idle), Timer::Idle);
            run(self.starved.as_ref().map(|one| one.due(t.record)), Timer::Memory);
            if let Some(drain) = &self.drain {
                if !drain.holding {
                    run(Some(drain.since + self.hold_after()), Timer::Hold);
                }
                let read = (reading_client || drain.held) && reading_backend;
                // Only between records, and with all of them delivered.
                if read && self.is_between() {
                    run(Some(self.good_moment(drain)), Timer::Drain);
                }
            }
            if reading_client {
                run(after(self.inside_up, t.record), Timer::RecordUp);
            }
            if reading_backend {
                run(after(self.inside_down, t.record), Timer::RecordDown);
            }
        }
        if let Some(throttle) = &self.throttle
            && self.takes_messages()
        {
            run(throttle.until, Timer::Rate);
        }
        if !self.client_is_closed() {
            run(after(self.client_blocked, t.write), Timer::ClientWrite);
        }
        if !self.backend_is_closed() {
            run(after(self.backend_blocked, t.write), Timer::BackendWrite);
        }
        // A session that ends by itself may take its time for that, but not more than one that is asked to.
        match (&self.cut, &self.drain) {
            _ if self.is_over() => {}
            (Some(at), _) => run(Some(**at), Timer::Cut),
            (None, Some(drain)) => run(Some(drain.since + t.drain), Timer::Overdue),
            (None, None) => run(self.old, Timer::Age),
        }
        if matches!(self.client, Client::Told { .. } | Client::Refused) {
            run(after(self.close_sent, t.close), Timer::Close);
        }
        if !self.backend_is_closed() {
            run(after(self.lingering, t.linger), Timer::Linger);
        }
    }

    fn is_between(&self) -> bool {
        self.inside_up.is_none() && self.inside_down.is_none()
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
            Timer::Hold => {
                if let Some(drain) = &mut self.drain {
                    drain.holding = true;
                }
            }
            Timer::Drain => {
                if let Some(drain) = self.drain.as_deref() {
                    let reason = drain.reason;
                    if self.gets_answers(drain, now) {
                        // Those of what comes now could not be told any more: it must not be carried out.
                        self.tell(reason, false);
                    } else {
                        self.stop(reason);
                    }
                }
            }
            Timer::Overdue => self.end(now, CloseReason::Internal),
            Timer::Cut => {
                self.cut = None;
                self.cut(CloseReason::Internal);
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
