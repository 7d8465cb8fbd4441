//! Obeys the lifecycle: moves bytes between the two connections through the translators.
//!
//! Both directions are polled in one task and neither waits for the other. A direction reads only when all it made before has
//! left; so backpressure is simply not reading, and what a session holds is bounded by one read. Reads land in a scratch buffer, results
//! in another; the session keeps only what is left over.

mod ends;
mod steps;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use super::buffers::{Inlet, MIN_WINDOW, Scratch, poll_read, with_scratch, write_out};
use super::downlink::Downlink;
use super::lifecycle::{Input, Lifecycle, Side};
use super::live::{Haste, Live, Told};
use super::memory::Charge;
use super::uplink::{Mode, Uplink};
use super::{Counters, Ended, Settings, Sizes};
use crate::close::CloseReason;
use crate::io::Connection;
use crate::outbox::Outbox;
use crate::websocket::CloseCode;

/// Reads and writes of one session before other sessions get their turn.
const TURNS: usize = 8;
/// Bytes that one session reads before other sessions get their turn: with large reads, that is sooner.
const MOST: u32 = 1024 * 1024;

/// A session that runs.
pub(super) struct Pump<C, B> {
    settings: Arc<Settings>,
    client: Option<C>,
    backend: Option<B>,
    life: Lifecycle,
    up: Uplink,
    down: Downlink,
    from_client: Inlet,
    from_backend: Inlet,
    to_client: Outbox,
    to_backend: Outbox,
    /// Written to the client's stream, perhaps not flushed by it.
    unflushed: bool,
    counters: Counters,
    /// Bytes read in this pass.
    read: u32,
    memory: Charge,
    /// It gathers, and there is no memory for more.
    short: bool,
    code: Option<CloseCode>,
    /// What the backend's connection has failed with first.
    failure: Option<io::Error>,
    live: Arc<Live>,
    /// What the sessions of its route share, and the class of the last message of each direction.
    sizes: Arc<Sizes>,
    size_up: u8,
    size_down: u8,
    /// When the timer will wake us.
    armed: Option<Instant>,
}

impl<C: Connection, B: Connection> Pump<C, B> {
    pub(super) fn new(
        client: C,
        early: Vec<u8>,
        backend: Option<B>,
        settings: Arc<Settings>,
        life: Lifecycle,
        (live, sizes): (Arc<Live>, Arc<Sizes>),
    ) -> Self {
        Self {
            up: Uplink::new(&settings),
            down: Downlink::new(&settings),
            settings,
            client: Some(client),
            backend,
            life,
            from_client: Inlet::new(early),
            from_backend: Inlet::new(Vec::new()),
            to_client: Outbox::default(),
            to_backend: Outbox::default(),
            unflushed: false,
            counters: Counters::default(),
            read: 0,
            memory: Charge::new(),
            short: false,
            code: None,
            failure: None,
            live,
            sizes,
            size_up: 0,
            size_down: 0,
            armed: None,
        }
    }

    /// Passes on what the session was told from outside.
    fn listen(&mut self, cx: &mut Context<'_>) {
        let Some(Told { stop, haste }) = self.live.told(cx.waker()) else {
            return;
        };
        let (now, reason) = (tokio::time::Instant::now().into_std(), stop.reason());
        match haste {
            Haste::None => self.life.drain(now, reason),
            Haste::Now => self.life.end(now, reason),
            Haste::Cut => self.life.cut(reason),
        }
    }

    /// What is to be told of a session that is over.
    pub(super) fn ended(&self, reason: CloseReason) -> Ended {
        Ended {
            reason,
            code: self.code.or(reason.row().code),
            detail: match &self.failure {
                Some(error) if reason == CloseReason::BackendReset => Some(error.to_string().into()),
                _ => None,
            },
            counters: self.counters.clone(),
            held_max: self.memory.most(),
        }
    }

    /// Does what can be done now, in turn with other sessions.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Sleep>) -> Poll<CloseReason> {
        self.listen(cx);
        let window = self.from_client.window.max(self.from_backend.window);
        let polled = with_scratch(window, |scratch| self.turns(cx, timer, scratch));
        let held = self.held();
        let gathered = self.to_backend.held().len() + self.gathers_down();
        self.memory.set(held, gathered);
        self.live.publish(|state| {
            state.counters.copy_from(&self.counters);
            state.unfinished = (self.up.unfinished(), self.down.unfinished());
            state.held = held as u64;
            state.client_blocked = self.life.is_blocked(Side::Client);
            state.backend_blocked = self.life.is_blocked(Side::Backend);
            state.ending = self.life.is_ending();
        });
        polled
    }

    /// Memory of its own, now that the scratch has gone back.
    fn held(&self) -> usize {
        let outboxes = self.to_client.held_memory() + self.to_backend.held_memory();
        let inlets = self.from_client.left.len() + self.from_backend.left.len();
        let client = self.client.as_ref().map_or(0, Connection::held_memory);
        let backend = self.backend.as_ref().map_or(0, Connection::held_memory);
        outboxes + inlets + client + backend + self.up.held()
    }

    fn turns(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        scratch: &mut Scratch,
    ) -> Poll<CloseReason> {
        let now = tokio::time::Instant::now().into_std();
        self.read = 0;
        for _ in 0..TURNS {
            self.look_at_memory(now);
            let Scratch { input, output } = &mut *scratch;
            self.to_backend.borrow(output);
            let mut progress = self.read_client(cx, now, input);
            progress |= self.write_backend(cx, now);
            self.to_backend.settle(output);
            self.to_client.borrow(output);
            progress |= self.read_backend(cx, now, input);
            // Only now: what has come in time counts, however late the session gets its turn. And one that is to end at a good moment does
            // so behind an answer, before the client can have seen it: no request is on its way then.
            let due = self.armed.take_if(|at| *at <= now).is_some();
            if due || self.life.is_draining() {
                // What a deadline has changed is for the reads and writes of another turn, without which nothing would wake the session.
                progress |= self.tick(now);
            }
            progress |= self.obey();
            progress |= self.write_client(cx, now);
            self.to_client.settle(output);
            self.drop_closed();
            if let Some(reason) = self.life.over() {
                return Poll::Ready(reason);
            }
            if !progress && self.arm(cx, now, timer.as_mut()) {
                return Poll::Pending;
            }
            if self.read >= MOST {
                break;
            }
        }
        if self.armed.is_none() {
            // A session that is never at rest sets no timer.
            self.tick(now);
        }
        // Others first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// True when a deadline had passed.
    fn tick(&mut self, now: Instant) -> bool {
        let (client, backend) = (self.from_client.reading, self.from_backend.reading);
        self.life.tick(now, client, backend, self.up.is_cut())
    }

    /// Sets the timer to the lifecycle's deadline; false when that is over already. A timer that was set earlier than needed stays:
    /// it then only looks again, which is cheaper than moving it with every byte.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant, mut timer: Pin<&mut Sleep>) -> bool {
        let (client, backend) = (self.from_client.reading, self.from_backend.reading);
        let Some(at) = self.life.deadline(client, backend) else {
            return true;
        };
        if self.armed.is_some_and(|armed| armed <= at) {
            return true;
        }
        self.armed = Some(at);
        if at <= now {
            return false;
        }
        timer.as_mut().reset(at.into());
        timer.poll(cx).is_pending()
    }

    // The uplink.

    fn read_client(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut [u8]) -> bool {
        let mode = match self.life.client_input() {
            Input::Open => Mode::Open,
            Input::Forward => Mode::Forward,
            Input::Discard => Mode::Discard,
            Input::Drain => return self.drain_client(cx, now, scratch),
            Input::Ended => return false,
        };
        let starved = self.short && !self.to_backend.held().is_empty();
        let held = self.life.is_holding()
            && !self.from_client.fresh
            && !self.up.is_inside()
            && self.up.begins_message(&self.from_client.left);
        let could = self.to_backend.ready().is_empty() && !starved && !self.life.is_throttled();
        self.life.set_held(held && could);
        let reading = could && !held;
        if reading && !self.from_client.reading {
            self.life.client_resumed(now);
        }
        self.from_client.reading = reading;
        if !reading {
            return false;
        }
        if self.from_client.fresh {
            self.from_client.fresh = false;
            let mut input = std::mem::take(&mut self.from_client.left);
            self.translate_up(cx, now, mode, &mut input);
            return true;
        }
        let left = self.from_client.left.len();
        scratch[..left].copy_from_slice(&self.from_client.left);
        let mut window = self.from_client.room().min(self.life.most_bytes(now));
        if self.life.is_holding() {
            // To the end of the message that has begun, and no further: to see whether a message comes next, or a frame of the protocol.
            window = window.min(self.up.rest_of_frame());
        }
        let end = scratch.len().min(left + window);
        match poll_read(self.client.as_mut(), cx, &mut scratch[left..end]) {
            Poll::Pending => false,
            Poll::Ready(Ok(got)) if got > 0 => {
                self.from_client.adapt(got);
                self.read += got as u32;
                if let Err(reason) = self.spend(now, 0, got as u64) {
                    self.life.refuse(now, reason, self.up.is_cut());
                    self.from_client.keep(&[]);
                    self.counters.lost_up += (left + got) as u64;
                } else {
                    self.translate_up(cx, now, mode, &mut scratch[..left + got]);
                }
                true
            }
            Poll::Ready(_) => {
                self.life.client_gone(now, self.up.is_cut());
                true
            }
        }
    }

    fn drain_client(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut [u8]) -> bool {
        self.counters.lost_up += self.from_client.forget();
        match poll_read(self.client.as_mut(), cx, scratch) {
            Poll::Pending => return false,
            Poll::Ready(Ok(got)) if got > 0 => {
                self.read += got as u32;
                self.counters.lost_up += got as u64;
            }
            Poll::Ready(_) => self.life.client_gone(now, self.up.is_cut()),
        }
        true
    }

    fn write_backend(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(backend) = self.backend.as_mut().filter(|_| self.life.backend_takes()) else {
            self.drop_uplink();
            return false;
        };
        let before = self.to_backend.ready().len();
        let last = self.life.finish_backend();
        let result = write_out(backend, cx, &mut self.to_backend, last);
        let waiting = self.to_backend.ready().len();
        let mut progress = waiting < before;
        if let Err(error) = result {
            self.failure.get_or_insert(error);
            self.life.backend_write_failed(now);
            self.drop_uplink();
            return true;
        }
        if waiting > 0 {
            self.from_client.window = MIN_WINDOW;
        }
        let taken = before.saturating_sub(waiting);
        let ending = waiting == 0 && last;
        if ending {
            // Half a message never leaves.
            self.up.abandon(&mut self.counters);
            self.to_backend.discard_held();
        }
        let ended = ending && Pin::new(backend).poll_shutdown(cx).is_ready();
        // What TLS says last may wait for room as well: it has a deadline, as all before it.
        let waits = waiting > 0 || (ending && !ended);
        self.life.wrote(Side::Backend, now, taken, waits);
        if ended {
            self.life.backend_finished(now);
            progress = true;
        }
        progress
    }

    // The downlink.

    fn read_backend(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut [u8]) -> bool {
        match self.life.backend_input() {
            Input::Open => {}
            Input::Ended => return false,
            Input::Forward | Input::Discard | Input::Drain => {
                return self.life.drops() && self.drain_backend(cx, scratch);
            }
        }
        let starved = self.short && self.gathers_down() > 0;
        let reading = self.to_client.ready().is_empty() && !self.unflushed && !starved;
        if reading && !self.from_backend.reading {
            self.life.backend_resumed(now);
        }
        self.from_backend.reading = reading;
        if !reading {
            return false;
        }
        if self.from_backend.fresh {
            self.from_backend.fresh = false;
            let input = std::mem::take(&mut self.from_backend.left);
            self.translate_down(cx, now, &input, false);
            return true;
        }
        let left = self.from_backend.left.len();
        scratch[..left].copy_from_slice(&self.from_backend.left);
        let end = scratch.len().min(left + self.from_backend.room());
        match poll_read(self.backend.as_mut(), cx, &mut scratch[left..end]) {
            Poll::Pending => return false,
            Poll::Ready(Ok(got)) => {
                self.from_backend.adapt(got);
                self.read += got as u32;
                self.translate_down(cx, now, &scratch[..left + got], got == 0);
            }
            Poll::Ready(Err(error)) => {
                self.failure.get_or_insert(error);
                self.counters.lost_down += self.from_backend.forget();
                self.down.abandon(&mut self.to_client, &mut self.counters);
                self.life.backend_failed(CloseReason::BackendReset);
            }
        }
        true
    }

    fn drain_backend(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> bool {
        self.counters.lost_down += self.from_backend.forget();
        match poll_read(self.backend.as_mut(), cx, scratch) {
            Poll::Pending => return false,
            Poll::Ready(Ok(got)) if got > 0 => {
                self.read += got as u32;
                self.counters.lost_down += got as u64;
                self.life.backend_dropped(got as u64);
            }
            Poll::Ready(Ok(_)) => self.life.backend_ended(Ok(())),
            Poll::Ready(Err(error)) => {
                self.failure.get_or_insert(error);
                self.life.backend_failed(CloseReason::BackendReset);
            }
        }
        true
    }

    fn write_client(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(client) = self.client.as_mut() else {
            return false;
        };
        if self.life.client_is_closed() {
            return false;
        }
        if self.life.finish_client() {
            return self.finish_client(cx, now);
        }
        let before = self.to_client.ready().len() + client.backlog();
        let unflushed = self.unflushed;
        let any = unflushed || !self.to_client.ready().is_empty() || client.backlog() > 0;
        let flushed = match write_out(client, cx, &mut self.to_client, false) {
            Ok(()) if any => {
                let flush = Pin::new(&mut *client).poll_flush(cx);
                self.unflushed = flush.is_pending();
                match flush {
                    Poll::Ready(result) => result,
                    Poll::Pending => Ok(()),
                }
            }
            other => other,
        };
        if flushed.is_err() {
            self.life.client_gone(now, self.up.is_cut());
            return true;
        }
        let waiting = self.to_client.ready().len() + client.backlog();
        // A flush that has come to its end may move no byte here, but the backend may be read again: nothing else would wake us for it.
        let mut progress = waiting < before || (unflushed && !self.unflushed);
        if waiting > 0 || self.unflushed {
            self.from_backend.window = MIN_WINDOW;
            let taken = before.saturating_sub(waiting);
            self.life.wrote(Side::Client, now, taken, true);
            return progress;
        }
        self.life.wrote(Side::Client, now, 0, false);
        if self.life.client_input() == Input::Open {
            self.up.answer_ping(&mut self.to_client);
            progress |= !self.to_client.ready().is_empty();
        } else {
            self.life.client_flushed(now);
        }
        progress
    }
}
