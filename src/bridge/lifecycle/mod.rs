//! How a session lives and ends: pure. Events and `now` go in; what to do with each side, and one deadline, come out.
//!
//! Each side has its own state, because they end at different times: the client is owed a Close frame and a moment to answer it, the
//! backend is owed what the client sent, an end of stream, and a moment to end its own.
//!
//! ```text
//! client:   Open -> Told (our Close, theirs awaited) -> Answered (both) -> Closed
//!              \--> Refused (our Close; its input means nothing any more) -> Closed
//! backend:  reads: yes -> no       writes: Open -> Finishing (flush) -> Finished (FIN)
//! ```

mod drain;
mod talk;
mod throttle;
mod timers;

use std::sync::Arc;
use std::time::Instant;

use super::Settings;
use crate::close::CloseReason;
use drain::Drain;
use talk::Talk;
use throttle::{Starved, Throttle};

/// So many bytes of a message that has begun, or its end, have to come within `record_timeout`; so many bytes of what waits for a side, or
/// all of it, have to be taken within `write_timeout`. Who sends or takes single bytes would else keep the memory of a message, or of
/// what waits, for ever. A backend may take its time for a record: it is one of ours, and lines do grow by a dot a second.
const TRICKLE: u64 = 1 << 10;

/// A backend that has been sent all and says more than this to a client that is gone is not waited for any longer. What a service says to the
/// end of a stream is a farewell; one that goes on streaming would be read, for nobody, as fast as it can send.
const FAREWELL: u32 = 1 << 20;

/// What is to be done with what a side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Translate it, answer pings.
    Open,
    /// Translate it; our Close frame has been queued.
    Forward,
    /// Read it for its meaning, but drop the data.
    Discard,
    /// Read and drop it until it ends.
    Drain,
    /// Nothing: it has ended.
    Ended,
}

/// A frame that the driver must queue for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The client's Close frame is to be echoed.
    Echo,
    /// A Close frame that tells this reason.
    Close(CloseReason),
    /// A ping.
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Open,
    /// Our Close frame is queued, theirs awaited. `forward`: the backend still takes messages.
    Told {
        forward: bool,
    },
    /// Our Close frame is queued, and nothing that comes is read for meaning.
    Refused,
    /// Both Close frames exist; ours has to leave.
    Answered,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Open,
    /// What is queued has to leave, then our FIN.
    Finishing,
    /// FIN sent.
    Finished,
    /// The way is gone.
    Lost,
}

impl Output {
    fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Lost)
    }
}

/// The two connections, for [`Lifecycle::reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Backend,
}

/// The life of one session.
#[derive(Debug)]
pub(super) struct Lifecycle {
    settings: Arc<Settings>,
    reason: Option<CloseReason>,
    client: Client,
    /// Our end of stream was sent to the client.
    client_finished: bool,
    /// The backend's stream is being read.
    backend_reads: bool,
    backend_writes: Output,
    /// Connections to be reset instead of ended.
    reset_client: bool,
    reset_backend: bool,
    order: Option<Order>,

    /// The end that was asked for: it comes at the next good moment.
    drain: Option<Box<Drain>>,
    /// When both connections are cut, wherever they are.
    cut: Option<Box<Instant>>,
    /// What was said, for the guess of a drain.
    talk: Talk,

    // Moments from which deadlines run.
    next_ping: Option<Instant>,
    ping_sent: Option<Instant>,
    last_message: Instant,
    /// Since when the client is inside a message and has not sent [`TRICKLE`] of it.
    inside_up: Option<Instant>,
    /// How much of it had come then.
    reached: u64,
    inside_down: Option<Instant>,
    /// Since when a side has not taken [`TRICKLE`] of what waits for it.
    client_blocked: Option<Instant>,
    backend_blocked: Option<Instant>,
    /// How much each has taken since then, up to that.
    client_took: u16,
    backend_took: u16,
    close_sent: Option<Instant>,
    lingering: Option<Instant>,
    /// What the backend has sent since the client is gone.
    unheard: u32,
    /// When it is old.
    old: Option<Instant>,
    throttle: Option<Box<Throttle>>,
    starved: Option<Box<Starved>>,
    /// For the jitter of pings, and of the age.
    random: fastrand::Rng,
}

impl Lifecycle {
    /// `seed` decides the jitter of the pings and of the age, so that sessions that began together do not ping or end together.
    pub(super) fn new(settings: Arc<Settings>, now: Instant, seed: u64) -> Self {
        let mut life = Self {
            throttle: Throttle::new(&settings.rates, now),
            starved: None,
            old: None,
            settings,
            reason: None,
            client: Client::Open,
            client_finished: false,
            backend_reads: true,
            backend_writes: Output::Open,
            reset_client: false,
            reset_backend: false,
            order: None,
            drain: None,
            cut: None,
            talk: Talk::default(),
            next_ping: None,
            ping_sent: None,
            last_message: now,
            inside_up: None,
            reached: 0,
            inside_down: None,
            client_blocked: None,
            backend_blocked: None,
            client_took: 0,
            backend_took: 0,
            close_sent: None,
            lingering: None,
            unheard: 0,
            random: fastrand::Rng::with_seed(seed),
        };
        life.plan_ping(now);
        life.plan_end(now);
        life
    }

    /// A session whose backend could not be reached: the client is told so, nothing else.
    pub(super) fn without_backend(settings: Arc<Settings>, now: Instant, reason: CloseReason) -> Self {
        let mut life = Self::new(settings, now, 0);
        life.close_backend();
        life.tell(reason, false);
        life
    }

    // What to do.

    pub(super) fn client_input(&self) -> Input {
        match self.client {
            Client::Open if self.backend_writes == Output::Lost => Input::Discard,
            Client::Open => Input::Open,
            Client::Told { forward: true } => Input::Forward,
            Client::Told { forward: false } => Input::Discard,
            Client::Refused => Input::Drain,
            Client::Answered | Client::Closed => Input::Ended,
        }
    }

    pub(super) fn backend_input(&self) -> Input {
        match self.client {
            _ if !self.backend_reads => Input::Ended,
            Client::Open => Input::Open,
            _ => Input::Drain,
        }
    }

    /// The frame to queue for the client, if any. Ask until there is none.
    pub(super) fn take_order(&mut self) -> Option<Order> {
        self.order.take()
    }

    /// True when the client's outbox is to be flushed and its stream ended.
    pub(super) fn finish_client(&self) -> bool {
        matches!(self.client, Client::Refused | Client::Answered) && !self.client_finished
    }

    /// True when the backend's outbox is to be flushed and its stream ended.
    pub(super) fn finish_backend(&self) -> bool {
        self.backend_writes == Output::Finishing
    }

    /// True when this connection must be reset rather than ended: a record was cut, or nobody is there.
    pub(super) fn reset(&self, side: Side) -> bool {
        match side {
            Side::Client => self.reset_client,
            Side::Backend => self.reset_backend,
        }
    }

    /// True when the client can get nothing any more.
    pub(super) fn client_is_closed(&self) -> bool {
        self.client == Client::Closed
    }

    /// True when the backend can get nothing any more.
    pub(super) fn backend_is_closed(&self) -> bool {
        self.backend_writes.is_over() && !self.backend_reads
    }

    /// True while messages may still be written to the backend.
    pub(super) fn backend_takes(&self) -> bool {
        !self.backend_writes.is_over()
    }

    /// Why the session ended, once both sides are closed.
    pub(super) fn over(&self) -> Option<CloseReason> {
        self.is_over()
            .then(|| self.reason.unwrap_or(CloseReason::Internal))
    }

    fn is_over(&self) -> bool {
        self.client_is_closed() && self.backend_is_closed()
    }

    // What happened.

    /// Bytes came from the client, with the ends of so many messages. They end between two, or so far `inside` one. `heard`: they held
    /// something of a message.
    pub(super) fn client_received(&mut self, now: Instant, messages: u64, inside: Option<u64>, heard: bool) {
        self.ping_sent = None;
        let same = messages == 0 && self.inside_up.is_some();
        match inside {
            None => self.inside_up = None,
            Some(received) if same && received < self.reached.saturating_add(TRICKLE) => {}
            Some(received) => {
                self.inside_up = Some(now);
                self.reached = received;
            }
        }
        if heard {
            let last = self.last_message;
            self.talk
                .client_said(messages, || now.saturating_duration_since(last));
            self.last_message = now;
            if let Some(drain) = &mut self.drain {
                drain.heard = now;
                drain.in_turn &= self.talk.is_in_turn();
            }
        }
    }

    /// Bytes came from the backend, with the ends of so many records; `inside`: they end inside one.
    pub(super) fn backend_received(&mut self, now: Instant, records: u64, inside: bool) {
        let last = self.last_message;
        self.talk
            .backend_said(records, || now.saturating_duration_since(last));
        self.inside_down = inside.then_some(now);
        self.last_message = now;
    }

    /// The client is read again after its input had to wait: the time it could not use does not count against it. Time that it could use
    /// before does, where it has made itself wait.
    pub(super) fn client_resumed(&mut self, now: Instant) {
        let pause = self.throttled_for(now);
        for since in [&mut self.ping_sent, &mut self.inside_up].into_iter().flatten() {
            *since = pause.map_or(now, |pause| (*since + pause).min(now));
        }
    }

    /// The backend is read again after its output had to wait.
    pub(super) fn backend_resumed(&mut self, now: Instant) {
        self.inside_down = self.inside_down.map(|_| now);
    }

    /// A write to `side` took so many bytes; others have to wait.
    pub(super) fn wrote(&mut self, side: Side, now: Instant, taken: usize, waiting: bool) {
        let (blocked, took) = match side {
            Side::Client => (&mut self.client_blocked, &mut self.client_took),
            Side::Backend => (&mut self.backend_blocked, &mut self.backend_took),
        };
        if !waiting {
            *blocked = None;
            return;
        }
        let more = u16::try_from(taken).map_or(u16::MAX, |taken| took.saturating_add(taken));
        if blocked.is_some() && u64::from(more) < TRICKLE {
            *took = more;
        } else {
            (*blocked, *took) = (Some(now), 0);
        }
    }

    /// All that was queued for the client has left.
    pub(super) fn client_flushed(&mut self, now: Instant) {
        if matches!(self.client, Client::Told { .. } | Client::Refused) {
            self.close_sent.get_or_insert(now);
        }
    }

    /// The client's Close frame came.
    pub(super) fn client_closed(&mut self, now: Instant) {
        match self.client {
            Client::Open => {
                self.reason.get_or_insert(CloseReason::ClientClosed);
                self.order = Some(Order::Echo);
            }
            Client::Told { .. } => {}
            Client::Refused | Client::Answered | Client::Closed => return,
        }
        self.client = Client::Answered;
        self.finish_uplink(now, false);
    }

    /// The client ended its own direction.
    pub(super) fn half_closed(&mut self) {
        if self.backend_writes == Output::Open {
            self.backend_writes = Output::Finishing;
        }
    }

    /// Bytes of the backend were read and dropped.
    pub(super) fn backend_dropped(&mut self, count: u64) {
        self.unheard = self
            .unheard
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.unheard > FAREWELL && self.client_is_closed() && self.backend_writes.is_over() {
            self.close_backend();
        }
    }

    /// True while what the backend says to a client that hears nothing any more is read and dropped. While that client still has to take
    /// its Close frame, not more than a farewell.
    pub(super) fn drops(&self) -> bool {
        self.client_is_closed() || self.unheard <= FAREWELL
    }

    /// The client's stream ended or failed. `cut`: the backend has part of a record.
    pub(super) fn client_gone(&mut self, now: Instant, cut: bool) {
        if self.client == Client::Closed {
            return;
        }
        self.reason.get_or_insert(CloseReason::ClientGone);
        self.client = Client::Closed;
        self.finish_uplink(now, cut);
    }

    /// Our end of stream was sent to the client.
    pub(super) fn client_finished(&mut self) {
        self.client_finished = true;
        if self.client == Client::Answered {
            self.client = Client::Closed;
        }
    }

    /// The client sent something that cannot be accepted. `cut`: the backend has part of a record.
    pub(super) fn refuse(&mut self, now: Instant, reason: CloseReason, cut: bool) {
        match self.client {
            Client::Open => {
                self.reason.get_or_insert(reason);
                self.order = Some(Order::Close(reason));
            }
            Client::Told { .. } => {}
            Client::Refused | Client::Answered | Client::Closed => return,
        }
        self.client = Client::Refused;
        self.finish_uplink(now, cut);
    }

    /// True while something waits for this side, which does not take it.
    pub(super) fn is_blocked(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client_blocked.is_some(),
            Side::Backend => self.backend_blocked.is_some(),
        }
    }

    /// The session is to end for a reason outside of it: shutdown, idleness. What the client has sent still goes to the backend.
    pub(super) fn stop(&mut self, reason: CloseReason) {
        let forward = self.backend_writes == Output::Open;
        self.tell(reason, forward);
    }

    /// The backend's stream ended: between records (`Ok`), or in a way that has a name.
    pub(super) fn backend_ended(&mut self, result: Result<(), CloseReason>) {
        self.backend_reads = false;
        self.inside_down = None;
        let forward = self.backend_writes == Output::Open;
        let reason = match result {
            Err(reason) => reason,
            // A socket tells of its reset once. When that was a write, reading on ends like an orderly stream.
            Ok(()) if self.backend_writes == Output::Lost => CloseReason::BackendReset,
            Ok(()) => CloseReason::BackendClosed,
        };
        self.tell(reason, forward);
    }

    /// The backend's connection failed, or what it sent cannot be used: it is given up.
    pub(super) fn backend_failed(&mut self, reason: CloseReason) {
        self.close_backend();
        self.tell(reason, false);
    }

    /// Writing to the backend failed. What it sent before may still be there to be read, and its end will tell the reason; but that
    /// is not waited for longer than `linger`, as the client's messages go nowhere meanwhile.
    pub(super) fn backend_write_failed(&mut self, now: Instant) {
        self.backend_writes = Output::Lost;
        self.backend_blocked = None;
        self.stop_forwarding();
        self.lingering.get_or_insert(now);
    }

    /// Our end of stream was sent to the backend.
    pub(super) fn backend_finished(&mut self, now: Instant) {
        self.backend_writes = Output::Finished;
        self.linger(now);
    }

    /// Once the client has left and nothing more is written, the backend has a while to end its own stream.
    fn linger(&mut self, now: Instant) {
        if self.client != Client::Open && self.backend_writes.is_over() {
            self.lingering.get_or_insert(now);
        }
    }

    fn stop_forwarding(&mut self) {
        if let Client::Told { forward } = &mut self.client {
            *forward = false;
        }
    }

    fn tell(&mut self, reason: CloseReason, forward: bool) {
        if self.client == Client::Open {
            self.reason.get_or_insert(reason);
            self.order = Some(Order::Close(reason));
            self.client = Client::Told { forward };
        }
    }

    /// Nothing more comes from the client: the backend gets what there is and our FIN, or a reset where a record was cut.
    fn finish_uplink(&mut self, now: Instant, cut: bool) {
        self.inside_up = None;
        if cut {
            self.reset_backend = true;
            self.close_backend();
        } else if self.backend_writes == Output::Open {
            self.backend_writes = Output::Finishing;
        }
        self.linger(now);
    }

    fn close_backend(&mut self) {
        self.backend_reads = false;
        self.backend_writes = Output::Lost;
        self.backend_blocked = None;
        self.inside_down = None;
        self.stop_forwarding();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bridge::{Accept, Both, Deliver, HalfClose, InvalidText, RatePolicy, Rates, Timeouts};
    use crate::charset::Unmappable;
    use crate::framing::{Embedded, Empty, Framing, Oversized, Partial};

    /// How long the sessions of these tests may look for a good moment.
    pub(super) const DRAIN: Duration = Duration::from_secs(20);

    fn life(now: Instant) -> Lifecycle {
        Lifecycle::new(Arc::new(settings()), now, 0)
    }

    pub(super) fn settings() -> Settings {
        Settings {
            to_backend: Framing::Raw,
            to_client: Framing::Raw,
            accept: Accept::Any,
            deliver: Deliver::Binary,
            max_message: 1000,
            embedded: Embedded::Reject,
            charset: None,
            unmappable: Unmappable::Reject,
            invalid_text: InvalidText::Close,
            oversized: Both::of(Oversized::Close),
            partial: Partial::Error,
            empty: Both::of(Empty::Deliver),
            half_close: HalfClose::Never,
            rates: Rates::default(),
            timeouts: Timeouts {
                ping: None,
                drain: DRAIN,
                ..Timeouts::default()
            },
        }
    }

    /// What a drain waits for, on a clock of milliseconds.
    #[test]
    fn a_drained_session_ends_at_the_first_good_moment() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let due = |life: &Lifecycle| life.deadline(true, true).map(|at| (at - start).as_millis());
        let told = |life: &mut Lifecycle, ms| {
            life.tick(at(ms), true, true, false);
            life.take_order() == Some(Order::Close(CloseReason::Drain))
        };

        // Silent: at once, but for what may be on its way.
        let mut silent = life(start);
        assert_eq!(due(&silent), None);
        silent.drain(at(1000), CloseReason::Drain);
        assert_eq!(due(&silent), Some(1100));
        assert!(!told(&mut silent, 1099) && told(&mut silent, 1100));

        // A question waits for its answer, and the answer for what may belong to it.
        let mut asked = life(start);
        asked.client_received(at(900), 1, None, true);
        asked.drain(at(1000), CloseReason::Drain);
        assert_eq!(
            asked.good_moment(asked.drain.as_ref().unwrap()),
            at(900) + DRAIN / 3
        );
        asked.backend_received(at(1500), 1, false);
        assert!(!told(&mut asked, 2499) && told(&mut asked, 2500));

        // Longer where each message is known to have one answer, unless that was long ago.
        let mut asked = life(start);
        for ms in [0, 200, 400] {
            asked.client_received(at(ms), 1, None, true);
            asked.backend_received(at(ms + 100), 1, false);
        }
        asked.drain(at(1000), CloseReason::Drain);
        asked.client_received(at(1000), 1, None, true);
        assert!(!told(&mut asked, 14_000));
        asked.backend_received(at(14_010), 1, false);
        assert!(told(&mut asked, 14_010));
        let mut asked = life(start);
        for ms in [0, 200, 400] {
            asked.client_received(at(ms), 1, None, true);
            asked.backend_received(at(ms + 100), 1, false);
        }
        asked.client_received(at(1000), 1, None, true);
        asked.drain(at(60_000), CloseReason::Drain);
        assert!(told(&mut asked, 60_100));

        // Never inside a record, unless it is overdue, nor with one that could not be delivered yet.
        let mut inside = life(start);
        inside.drain(at(1000), CloseReason::Drain);
        inside.backend_received(at(1010), 0, true);
        assert!(!told(&mut inside, 20_000));
        inside.backend_received(at(20_010), 1, false);
        inside.tick(at(20_010), true, false, false);
        assert_eq!(inside.take_order(), None);
        assert!(told(&mut inside, 20_110));
        for up in [true, false] {
            let mut inside = life(start);
            inside.drain(at(1000), CloseReason::Drain);
            for ms in (1000..22_000).step_by(100) {
                match up {
                    true => inside.client_received(at(ms), 0, Some(5 * ms), true),
                    false => inside.backend_received(at(ms), 0, true),
                }
                assert_eq!(told(&mut inside, ms), ms == 21_000, "{ms}");
            }
        }

        // A question without an answer, long ago, is none any more.
        let mut silent = life(start);
        silent.client_received(at(0), 1, None, true);
        silent.drain(at(60_000), CloseReason::Drain);
        assert!(!told(&mut silent, 60_099) && told(&mut silent, 60_100));

        // A question and its answer, again and again: right behind an answer.
        let mut busy = life(start);
        busy.drain(at(1000), CloseReason::Drain);
        let ended = (1000..30_000).step_by(50).find(|&ms| {
            busy.client_received(at(ms), 1, None, true);
            assert!(!told(&mut busy, ms), "{ms}");
            busy.backend_received(at(ms + 25), 1, false);
            told(&mut busy, ms + 25)
        });
        assert_eq!(ended, Some(1000 + 2000));

        // Others are always under way: the client is asked no more, and what it has asked is answered first.
        let mut busy = life(start);
        busy.drain(at(1000), CloseReason::Drain);
        busy.client_received(at(1000), 3, None, true);
        let mut ms = 1000;
        while !busy.is_holding() && ms < 30_000 {
            busy.client_received(at(ms), 1, None, true);
            assert!(!told(&mut busy, ms), "{ms}");
            busy.backend_received(at(ms + 25), 1, false);
            assert!(!told(&mut busy, ms + 25), "{ms}");
            ms += 50;
        }
        assert_eq!(ms, 1000 + 6700);
        busy.set_held(true);
        for answer in 0..3 {
            ms += 900;
            busy.backend_received(at(ms), 1, false);
            assert!(!told(&mut busy, ms + 899), "{answer}");
        }
        assert!(!told(&mut busy, ms + 1387) && told(&mut busy, ms + 1388));
        // What it has sent meanwhile is not carried out.
        assert_eq!(busy.client_input(), Input::Discard);

        // Messages without answers are no questions: they reach the backend, as far as they were sent.
        let mut telling = life(start);
        telling.drain(at(1000), CloseReason::Drain);
        for ms in (1000..30_000).step_by(50) {
            if telling.is_holding() {
                break;
            }
            telling.client_received(at(ms), 1, None, true);
            assert!(!told(&mut telling, ms), "{ms}");
        }
        telling.set_held(true);
        assert!(!told(&mut telling, 1000 + 13_300) && told(&mut telling, 1000 + 13_334));
        assert_eq!(telling.client_input(), Input::Forward);

        // Lines that nobody has asked for, and that never end: between two of them. Sooner where the client has been silent, and at once
        // where it has never said anything.
        for (heard, expected) in [(None, 1100), (Some(500), 1000 + 6700), (Some(4000), 4000 + 6700)] {
            let mut chatty = life(start);
            let ended = (0..30_000).step_by(50).find(|&ms| {
                if ms == 1000 {
                    chatty.drain(at(ms), CloseReason::Drain);
                }
                if heard == Some(ms) || (heard == Some(4000) && ms == 500) {
                    chatty.client_received(at(ms), 1, None, true);
                }
                chatty.backend_received(at(ms), 1, false);
                told(&mut chatty, ms)
            });
            assert_eq!(ended, Some(expected), "{heard:?}");
        }

        // One direction has ended: the other one is not cut short by a guess.
        let mut half = life(start);
        half.client_received(at(900), 1, None, true);
        half.half_closed();
        half.drain(at(1000), CloseReason::Drain);
        half.backend_received(at(1000), 1, false);
        assert!(!told(&mut half, 1000 + 13_333) && told(&mut half, 1000 + 13_334));
    }

    #[test]
    fn who_is_told_to_end_now_has_a_while_and_is_cut_then() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms: u64| start + Duration::from_millis(ms);
        // Also where it was asked to end before, and when the client takes what there is byte by byte.
        for drained in [false, true] {
            let mut life = life(start);
            if drained {
                life.drain(at(0), CloseReason::MaxAge);
            }
            life.end(at(50), CloseReason::Operator);
            life.end(at(3000), CloseReason::Shutdown);
            let first = if drained {
                CloseReason::MaxAge
            } else {
                CloseReason::Operator
            };
            assert_eq!(life.take_order(), Some(Order::Close(first)));
            for ms in (50..5050).step_by(50) {
                life.wrote(Side::Client, at(ms), 2000, true);
                life.tick(at(ms), true, true, false);
                assert_eq!(life.over(), None, "{ms}");
            }
            life.tick(at(5050), true, true, false);
            assert_eq!(life.over(), Some(first));
            assert!(life.reset(Side::Client) && life.reset(Side::Backend));
        }
    }

    #[test]
    fn single_bytes_are_no_progress_inside_a_message() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut life = life(start);
        let due = |life: &Lifecycle| life.deadline(true, true).map(|at| (at - start).as_millis());
        for (ms, messages, inside, expected) in [
            (0, 0, Some(1), Some(30_000)),
            (1000, 0, Some(2), Some(30_000)),
            // Pings and empty fragments are none either.
            (2000, 0, Some(2), Some(30_000)),
            (3000, 0, Some(1024), Some(30_000)),
            (4000, 0, Some(1025), Some(34_000)),
            (5000, 0, Some(1026), Some(34_000)),
            (6000, 0, Some(9000), Some(36_000)),
            (7000, 1, Some(1), Some(37_000)),
            (8000, 0, Some(2), Some(37_000)),
            (9000, 1, None, None),
        ] {
            life.client_received(at(ms), messages, inside, true);
            assert_eq!(due(&life), expected, "{ms}");
        }
    }

    #[test]
    fn single_bytes_are_no_progress_of_what_waits() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for side in [Side::Client, Side::Backend] {
            let mut life = life(start);
            let due = |life: &Lifecycle| life.deadline(true, true).map(|at| (at - start).as_millis());
            for (ms, taken, waiting, expected) in [
                (0, 5000, true, Some(60_000)),
                (1000, 1, true, Some(60_000)),
                (2000, 1022, true, Some(60_000)),
                (3000, 1, true, Some(63_000)),
                (4000, 5000, true, Some(64_000)),
                (5000, 1, false, None),
                (6000, 0, true, Some(66_000)),
            ] {
                life.wrote(side, at(ms), taken, waiting);
                assert_eq!(due(&life), expected, "{ms}");
            }
        }
    }

    #[test]
    fn a_backend_that_streams_to_nobody_is_left_once_it_has_all() {
        let now = tokio::time::Instant::now().into_std();
        let mut life = life(now);
        life.client_closed(now);
        life.backend_dropped(FAREWELL.into());
        assert!(life.drops());
        // The client's end of it takes what it takes, and nothing more is read for nobody meanwhile.
        life.backend_dropped(1);
        assert!(!life.drops());
        life.client_finished();
        assert!(life.drops());
        life.backend_dropped(FAREWELL.into());
        life.backend_dropped(1);
        assert!(!life.backend_is_closed(), "it does not have everything yet");
        life.backend_finished(now);
        assert!(!life.backend_is_closed());
        life.backend_dropped(1);
        assert_eq!(life.over(), Some(CloseReason::ClientClosed));
        assert!(!life.reset(Side::Backend));

        // A farewell is heard to its end.
        let mut life = self::life(now);
        life.client_gone(now, false);
        life.backend_finished(now);
        life.backend_dropped(FAREWELL.into());
        assert!(!life.backend_is_closed());
        life.backend_ended(Ok(()));
        assert_eq!(life.over(), Some(CloseReason::ClientGone));
    }

    #[test]
    fn sessions_that_began_together_do_not_grow_old_together() {
        let start = tokio::time::Instant::now().into_std();
        let mut settings = settings();
        settings.timeouts.age = Some(Duration::from_secs(1000));
        let settings = Arc::new(settings);
        let ages: std::collections::BTreeSet<_> = (0..100)
            .map(|seed| {
                let mut life = Lifecycle::new(Arc::clone(&settings), start, seed);
                let age = life.deadline(true, true).unwrap();
                assert!((900..=1100).contains(&(age - start).as_secs()));
                // Then it is drained as for any other reason.
                life.tick(age, true, true, false);
                assert!(life.is_draining() && life.take_order().is_none());
                life.tick(age + Duration::from_millis(100), true, true, false);
                assert_eq!(life.take_order(), Some(Order::Close(CloseReason::MaxAge)));
                age
            })
            .collect();
        assert!(ages.len() > 90);
    }

    #[test]
    fn a_fast_client_waits_or_is_told_to_go() {
        let start = tokio::time::Instant::now().into_std();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let rate = |rate| std::num::NonZeroU64::new(rate);
        for (messages, bytes) in [(rate(100), None), (None, rate(100)), (rate(100), rate(100))] {
            for policy in [RatePolicy::Delay, RatePolicy::Close] {
                let rates = Rates {
                    messages,
                    bytes,
                    policy,
                };
                let settings = Settings { rates, ..settings() };
                let mut life = Lifecycle::new(Arc::new(settings), start, 0);
                assert_eq!(life.spend(at(0), 60, 60), Ok(false));
                let last = life.spend(at(0), 40, 40);
                if policy == RatePolicy::Close {
                    assert_eq!(last, Ok(false));
                    assert_eq!(life.most_messages(at(0)), messages.map_or(usize::MAX, |_| 1));
                    assert_eq!(life.most_bytes(at(0)), usize::MAX);
                    assert_eq!(life.spend(at(0), 1, 1), Err(CloseReason::TooFast));
                    continue;
                }
                assert_eq!(last, Ok(true));
                assert!(life.is_throttled());
                assert_eq!(life.deadline(false, true), Some(at(50)));
                life.tick(at(50), false, true, false);
                assert!(!life.is_throttled());
                let most = [life.most_messages(at(50)), life.most_bytes(at(50))];
                assert_eq!(most, [messages, bytes].map(|rate| rate.map_or(usize::MAX, |_| 5)));
            }
        }
    }

    #[test]
    fn a_session_that_waits_for_memory_looks_again_and_gives_up() {
        let start = tokio::time::Instant::now().into_std();
        let mut life = life(start);
        life.starve(start, true);
        let mut looks = 0;
        let last = loop {
            let now = life.deadline(false, true).unwrap();
            life.tick(now, false, true, false);
            match life.take_order() {
                None => looks += 1,
                Some(order) => {
                    assert_eq!(order, Order::Close(CloseReason::GatherBudget));
                    break now;
                }
            }
        };
        assert_eq!((last - start, looks), (Duration::from_secs(30), 299));

        let mut other = self::life(start);
        other.starve(start, true);
        other.starve(start, false);
        assert_eq!(other.deadline(true, true), None);
    }
}
