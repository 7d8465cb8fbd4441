//! What the lifecycle orders at the end: its frames, the ends of both streams, and letting go.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::super::buffers::write_out;
use super::super::lifecycle::{Order, Side};
use super::Pump;
use crate::io::Connection;
use crate::websocket::{CloseFrame, Encoder};

impl<C: Connection, B: Connection> Pump<C, B> {
    /// Queues the frames that the lifecycle asks for.
    pub(super) fn obey(&mut self) -> bool {
        let mut any = false;
        while let Some(order) = self.life.take_order() {
            any = true;
            match order {
                Order::Ping => Encoder::ping(&mut self.to_client),
                Order::Echo => {
                    let frame = CloseFrame {
                        code: self.code,
                        reason: "",
                    };
                    Encoder::close(&frame, &mut self.to_client);
                }
                Order::Close(reason) => {
                    // Nothing more of the backend's is delivered: what is gathered of a record is memory that others wait for.
                    self.down.abandon(&mut self.to_client, &mut self.counters);
                    let text = reason.close_text(self.settings.max_message);
                    self.code = reason.row().code;
                    let frame = CloseFrame {
                        code: self.code,
                        reason: &text,
                    };
                    Encoder::close(&frame, &mut self.to_client);
                }
            }
        }
        any
    }

    /// Writes what is left for the client, and the end of its stream with it: one packet, where there is room for it.
    pub(super) fn finish_client(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(client) = self.client.as_mut() else {
            return false;
        };
        let before = self.to_client.ready().len() + client.backlog();
        let ended = match write_out(client, cx, &mut self.to_client, true) {
            Ok(()) if self.to_client.ready().is_empty() => Pin::new(&mut *client).poll_shutdown(cx),
            written => written.map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending),
        };
        match ended {
            // The last bytes, those of TLS too, wait for room: they have a deadline, as all before them.
            Poll::Pending => {
                let taken = before.saturating_sub(self.to_client.ready().len() + client.backlog());
                self.life.wrote(Side::Client, now, taken, true);
                return taken > 0;
            }
            // With nothing left to tell, its end is the client's affair.
            Poll::Ready(Err(_)) if before > 0 => self.life.client_gone(now, self.up.is_cut()),
            Poll::Ready(_) => {
                self.life.client_flushed(now);
                self.life.client_finished();
            }
        }
        true
    }

    /// Lets go of what is closed: at once, not when the whole session is over.
    pub(super) fn drop_closed(&mut self) {
        if self.life.client_is_closed()
            && let Some(client) = self.client.take()
        {
            if self.life.reset(Side::Client) {
                client.reset_on_drop();
            }
            self.counters.lost_up += self.from_client.forget();
            self.down.abandon(&mut self.to_client, &mut self.counters);
            self.counters.lost_down += self.to_client.clear() as u64;
        }
        if self.life.backend_is_closed()
            && let Some(backend) = self.backend.take()
        {
            // Whatever the cause: what follows part of a record must not look like its end.
            let cut = self.up.is_cut() || !self.to_backend.ready().is_empty();
            if cut || self.life.reset(Side::Backend) {
                backend.reset_on_drop();
            }
            self.counters.lost_down += self.from_backend.forget();
            self.drop_uplink();
        }
    }

    /// Drops, and counts, what the backend will never get.
    pub(super) fn drop_uplink(&mut self) {
        self.up.abandon(&mut self.counters);
        self.counters.lost_up += self.to_backend.clear() as u64;
    }
}
