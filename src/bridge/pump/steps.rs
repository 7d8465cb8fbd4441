//! Around a read: whether there is memory for it; and between it and the writes: what was read is translated in steps, so that the results of a large read need no large buffer.

use std::task::Context;
use std::time::Instant;

use super::super::buffers::{LEAST_STEP, MIN_WINDOW, STEP};
use super::super::delivery;
use super::super::lifecycle::Input;
use super::super::memory::Room;
use super::super::sizes::Tally;
use super::super::uplink::{Mode, Pass, Stop};
use super::Pump;
use crate::close::CloseReason;
use crate::io::Connection;
use crate::websocket::FRAGMENT;

/// The shortest frame of a client: two bytes, and the mask.
const SHORTEST: usize = 6;

impl<C: Connection, B: Connection> Pump<C, B> {
    /// Looks whether there is memory for what the session gathers.
    pub(super) fn look_at_memory(&mut self, now: Instant) {
        let gathers = self.to_backend.held().len() + self.gathers_down();
        // One that ends is read on: what its client has begun has its own deadline.
        let room = if gathers == 0 || self.life.client_input() != Input::Open {
            Room::Enough
        } else {
            self.memory.room(gathers)
        };
        self.short = room != Room::Enough;
        self.life.starve(now, room == Room::Short);
        if room == Room::Never {
            self.life.refuse(now, CloseReason::GatherBudget, self.up.is_cut());
        }
    }

    /// What is held of a record; a little of it always is, as there are no frames of single bytes.
    pub(super) fn gathers_down(&self) -> usize {
        let held = self.to_client.held().len();
        if held > FRAGMENT { held } else { 0 }
    }

    /// Translates in steps, and writes between them. What the sink has no room for is put off.
    pub(super) fn translate_up(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        mode: Mode,
        mut input: &mut [u8],
    ) {
        loop {
            let step = self.step(now);
            if input.len() <= step {
                break;
            }
            let Some(used) = self.step_up(now, mode, &mut input[..step]) else {
                self.counters.lost_up += (input.len() - step) as u64;
                return;
            };
            input = &mut input[used..];
            self.write_backend(cx, now);
            if !self.to_backend.ready().is_empty() || !self.life.backend_takes() || self.life.is_throttled() {
                // Much would be kept, and copied each time that a little of it may go on.
                self.from_client.window = MIN_WINDOW;
                return self.from_client.put_off(input);
            }
        }
        if let Some(used) = self.step_up(now, mode, input) {
            self.from_client.keep(&input[used..]);
        }
    }

    /// How much is translated at once: where messages are counted, hardly more frames than have to be allowed.
    fn step(&self, now: Instant) -> usize {
        match self.life.most_messages(now) {
            usize::MAX => STEP,
            // Or all of the frame that has begun: it is one message, however long.
            most => most
                .saturating_mul(SHORTEST)
                .max(self.up.rest_of_frame())
                .clamp(LEAST_STEP, STEP),
        }
    }

    /// Translates as much of the input as can be, and tells how much that is: nothing when it was the last.
    fn step_up(&mut self, now: Instant, mode: Mode, input: &mut [u8]) -> Option<usize> {
        let (heard, taken) = (self.counters.heard(), self.counters.taken());
        let mut sizes = Tally::new(self.size_up, self.counters.messages_up);
        let mut used = 0;
        let stop = loop {
            let mut pass = Pass {
                settings: &self.settings,
                to_backend: &mut self.to_backend,
                to_client: &mut self.to_client,
                counters: &mut self.counters,
                sizes: &mut sizes,
            };
            let (count, stop) = self.up.translate(mode, &mut input[used..], &mut pass);
            used += count;
            match stop {
                Some(Stop::HalfClose) => self.life.half_closed(),
                stop => break stop,
            }
        };
        self.size_up = sizes.end(self.counters.messages_up, &self.sizes.up);
        let heard = self.counters.heard() != heard;
        let messages = self.counters.taken() - taken;
        // What is left is the beginning of a frame's header, where it is not just left there.
        let left = input.get(used..).unwrap_or_default();
        let held = self.life.is_holding() && self.up.begins_message(left);
        let header = (stop.is_none() && !left.is_empty() && !held).then_some(0);
        let inside = self.up.received().or(header);
        self.life.client_received(now, messages, inside, heard);
        let frames = messages + self.up.take_barren();
        let fast = self.spend(now, frames, 0);
        match stop {
            Some(Stop::Close(code)) => {
                if mode == Mode::Open {
                    self.code = code;
                }
                self.life.client_closed(now);
            }
            Some(Stop::Fail(reason)) => self.life.refuse(now, reason, self.up.is_cut()),
            Some(Stop::HalfClose) | None => match fast {
                Ok(()) => return Some(used),
                Err(reason) => self.life.refuse(now, reason, self.up.is_cut()),
            },
        }
        // RFC 6455 §5.5.1: nothing behind a Close frame has a meaning; nor has what follows a breach.
        self.counters.lost_up += (input.len() - used) as u64;
        self.from_client.keep(&[]);
        None
    }

    /// Counts what the client has sent against its rates.
    #[inline(always)]
    pub(super) fn spend(&mut self, now: Instant, messages: u64, bytes: u64) -> Result<(), CloseReason> {
        if self.life.spend(now, messages, bytes)? {
            self.counters.edges_mut().throttled += 1;
        }
        Ok(())
    }

    /// As [`Self::translate_up`], the other way.
    pub(super) fn translate_down(&mut self, cx: &mut Context<'_>, now: Instant, mut input: &[u8], eof: bool) {
        while input.len() > STEP {
            let Some(used) = self.step_down(now, &input[..STEP], false) else {
                self.counters.lost_down += (input.len() - STEP) as u64;
                return;
            };
            input = &input[used..];
            self.write_client(cx, now);
            if !self.to_client.ready().is_empty()
                || self.unflushed
                || self.life.backend_input() != Input::Open
            {
                return self.from_backend.put_off(input);
            }
        }
        if let Some(used) = self.step_down(now, input, eof) {
            self.from_backend.keep(&input[used..]);
        }
    }

    /// Translates as much of the input as can be, and tells how much that is: nothing when it was the last.
    fn step_down(&mut self, now: Instant, input: &[u8], eof: bool) -> Option<usize> {
        let before = self.counters.messages_down;
        let mut sizes = Tally::new(self.size_down, self.counters.messages_down);
        let mut pass = delivery::Pass {
            settings: &self.settings,
            out: &mut self.to_client,
            counters: &mut self.counters,
            sizes: &mut sizes,
        };
        let first = self.up.first_kind();
        let (used, result) = self.down.translate(first, input, eof, &mut pass);
        self.size_down = sizes.end(self.counters.messages_down, &self.sizes.down);
        match result {
            Err(CloseReason::BackendCut) => self.life.backend_ended(Err(CloseReason::BackendCut)),
            Err(reason) => self.life.backend_failed(reason),
            Ok(()) if eof => self.life.backend_ended(Ok(())),
            Ok(()) => {
                let inside = self.down.is_inside(input.len() - used);
                let records = self.counters.messages_down - before;
                self.life.backend_received(now, records, inside);
                return Some(used);
            }
        }
        self.from_backend.keep(&[]);
        None
    }
}
