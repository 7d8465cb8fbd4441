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

mod throttle;
mod timers;

use std::sync::Arc;
use std::time::Instant;

use super::Settings;
use crate::close::CloseReason;
use throttle::{Starved, Throttle};

/// So many bytes of a message that has begun, or its end, have to come within `record_timeout`. A client that sends single bytes would
/// else keep a message, and the memory that it is gathered in, for ever. A backend may take its time: it is one of ours, and lines do
/// grow by a dot a second.
const TRICKLE: usize = 1 << 10;

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

    /// The end that was asked for, and since when: it comes at the next good moment.
    drain: Option<(CloseReason, Instant)>,

    // Moments from which deadlines run.
    next_ping: Option<Instant>,
    ping_sent: Option<Instant>,
    last_message: Instant,
    /// The last of it came from the backend, or nothing has come yet.
    answered: bool,
    /// Since when the client is inside a message and has not sent [`TRICKLE`] of it.
    inside_up: Option<Instant>,
    /// How much it has sent since then.
    trickle: usize,
    inside_down: Option<Instant>,
    client_blocked: Option<Instant>,
    backend_blocked: Option<Instant>,
    close_sent: Option<Instant>,
    lingering: Option<Instant>,
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
            next_ping: None,
            ping_sent: None,
            last_message: now,
            answered: true,
            inside_up: None,
            trickle: 0,
            inside_down: None,
            client_blocked: None,
            backend_blocked: None,
            close_sent: None,
            lingering: None,
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
        let over = self.client_is_closed() && self.backend_is_closed();
        over.then(|| self.reason.unwrap_or(CloseReason::Internal))
    }

    // What happened.

    /// So many bytes came from the client; `inside`: they end inside a message; `ended`: inside another one than before; `message`: they
    /// held data of one.
    pub(super) fn client_received(
        &mut self,
        now: Instant,
        bytes: usize,
        inside: bool,
        ended: bool,
        message: bool,
    ) {
        self.ping_sent = None;
        self.trickle += bytes;
        if !inside || ended || self.inside_up.is_none() || self.trickle >= TRICKLE {
            self.inside_up = inside.then_some(now);
            self.trickle = 0;
        }
        if message {
            self.last_message = now;
            self.answered = false;
        }
    }

    /// Bytes came from the backend; `inside`: they end inside a record.
    pub(super) fn backend_received(&mut self, now: Instant, inside: bool) {
        self.inside_down = inside.then_some(now);
        self.last_message = now;
        self.answered = true;
    }

    /// The client is read again after its input had to wait: the time it could not use does not count against it.
    pub(super) fn client_resumed(&mut self, now: Instant) {
        self.ping_sent = self.ping_sent.map(|_| now);
        self.inside_up = self.inside_up.map(|_| now);
    }

    /// The backend is read again after its output had to wait.
    pub(super) fn backend_resumed(&mut self, now: Instant) {
        self.inside_down = self.inside_down.map(|_| now);
    }

    /// A write to `side`: `waiting` bytes could not be written; `progress`: some could.
    pub(super) fn wrote(&mut self, side: Side, now: Instant, waiting: bool, progress: bool) {
        let blocked = match side {
            Side::Client => &mut self.client_blocked,
            Side::Backend => &mut self.backend_blocked,
        };
        if !waiting {
            *blocked = None;
        } else if progress || blocked.is_none() {
            *blocked = Some(now);
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

    /// The session is to end as soon as both sides are between messages and records and nothing seems to be on its way.
    pub(super) fn drain(&mut self, now: Instant, reason: CloseReason) {
        self.drain.get_or_insert((reason, now));
    }

    /// True while it was asked to end and has not begun to.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some() && self.client == Client::Open
    }

    /// True from when it was asked to end.
    pub(super) fn is_ending(&self) -> bool {
        self.drain.is_some() || self.client != Client::Open
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

    fn life(now: Instant) -> Lifecycle {
        Lifecycle::new(Arc::new(settings()), now, 0)
    }

    fn settings() -> Settings {
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
        asked.client_received(at(900), 9, false, true, true);
        asked.drain(at(1000), CloseReason::Drain);
        assert_eq!(due(&asked), Some(3000));
        asked.backend_received(at(1500), false);
        assert!(!told(&mut asked, 1599) && told(&mut asked, 1600));

        // Never inside a record, however long it takes (which has its own deadline), nor with one that could not be delivered yet.
        let mut inside = life(start);
        inside.drain(at(1000), CloseReason::Drain);
        inside.backend_received(at(1010), true);
        assert_eq!(due(&inside), Some(31_010));
        assert!(!told(&mut inside, 20_000));
        inside.backend_received(at(20_010), false);
        assert_eq!(inside.deadline(true, false), None);
        assert!(told(&mut inside, 20_110));
        let mut inside = life(start);
        inside.drain(at(1000), CloseReason::Drain);
        inside.client_received(at(1010), 9, true, false, true);
        assert!(!told(&mut inside, 20_000));

        // Never quiet: behind an answer, or between any two records in the end.
        for answers in [true, false] {
            let mut busy = life(start);
            busy.drain(at(1000), CloseReason::Drain);
            for ms in (1000..6000).step_by(50) {
                busy.client_received(at(ms), 9, false, true, true);
                assert!(!told(&mut busy, ms + 49), "{ms}");
                if answers {
                    busy.backend_received(at(ms + 49), false);
                    if told(&mut busy, ms + 49) {
                        assert_eq!(ms, 2950 + 50);
                        break;
                    }
                }
            }
            assert!(answers || told(&mut busy, 6000));
        }
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
