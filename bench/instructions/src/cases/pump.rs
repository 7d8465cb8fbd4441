//! Whole passes of the pump: what one wake-up of a session costs, between two connections in memory.
//!
//! The session is polled by hand: no runtime's work is counted. What the connections do is; it is little besides the copy that
//! the kernel makes otherwise. Nothing that waits for the time is due.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sealock::bridge::{
    self, Accept, Both, Deliver, Ended, HalfClose, InvalidText, Rates, Settings, Timeouts,
};
use sealock::charset::Unmappable;
use sealock::framing::{Embedded, Empty, Oversized, Preset};
use sealock::io::Connection;
use sealock::message::Kind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Shape, Work, frames, records};

/// Messages of the client that lie ready.
pub(super) fn up(preset: &Preset, shape: Shape) -> Work {
    let mut session = Session::new(preset);
    session.client.fill(frames(preset.kind, shape));
    let expected = records(&preset.to_client, shape).len();
    Box::new(move || {
        session.client.offer();
        session.pass();
        assert_eq!(session.backend.take(), expected);
    })
}

/// Records of the backend that lie ready.
pub(super) fn down(preset: &Preset, shape: Shape) -> Work {
    let mut session = Session::new(preset);
    session.backend.fill(records(&preset.to_client, shape));
    Box::new(move || {
        session.backend.offer();
        session.pass();
        assert!(session.client.take() > shape.total());
    })
}

/// Messages of the client to a backend that sends back what it gets.
pub(super) fn echo(preset: &Preset, shape: Shape) -> Work {
    let mut session = Session::new(preset);
    session.client.fill(frames(preset.kind, shape));
    session.backend.fill(records(&preset.to_client, shape));
    session.backend.echoes();
    Box::new(move || {
        session.client.offer();
        session.pass();
        assert!(session.backend.take() > shape.total());
        assert!(session.client.take() > shape.total());
    })
}

/// A session between two connections, with the defaults of a preset.
struct Session {
    client: End,
    backend: End,
    pump: Pin<Box<dyn Future<Output = Ended>>>,
}

impl Session {
    fn new(preset: &Preset) -> Self {
        let settings = Arc::new(Settings {
            to_backend: preset.to_client.clone(),
            to_client: preset.to_client.clone(),
            accept: Accept::Any,
            deliver: match preset.kind {
                Kind::Text => Deliver::Text,
                Kind::Binary => Deliver::Binary,
            },
            charset: None,
            unmappable: Unmappable::Reject,
            invalid_text: InvalidText::Close,
            max_message: 1024 * 1024,
            embedded: Embedded::Reject,
            oversized: Both::of(Oversized::Close),
            partial: preset.to_client.default_partial(),
            empty: Both::of(Empty::Deliver),
            half_close: HalfClose::Never,
            rates: Rates::default(),
            timeouts: TIMEOUTS,
        });
        let (client, backend) = (End::default(), End::default());
        let (to_client, to_backend) = (client.clone(), backend.clone());
        let (live, sizes) = (Arc::default(), Arc::default());
        Self {
            client,
            backend,
            pump: Box::pin(async move {
                bridge::run(to_client, Vec::new(), to_backend, settings, live, sizes).await
            }),
        }
    }

    /// One wake-up: the pump goes on until there is nothing to do.
    fn pass(&mut self) {
        let polled = self.pump.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "the session has ended");
    }
}

/// Those that a route has by itself, but so far off that a machine under load does not reach them.
const TIMEOUTS: Timeouts = {
    let hour = Duration::from_hours(1);
    Timeouts {
        record: hour,
        write: hour,
        close: hour,
        linger: hour,
        idle: None,
        ping: Some(hour),
        pong: hour,
        age: None,
        drain: hour,
    }
};

/// The far end of a connection, and the connection itself.
#[derive(Clone, Default)]
struct End(Rc<RefCell<Traffic>>);

#[derive(Default)]
struct Traffic {
    /// What is read, again and again.
    input: Vec<u8>,
    /// How much of it is still to be read.
    unread: usize,
    written: usize,
    /// `input` is ready once as much was written.
    echoes: bool,
}

impl End {
    fn fill(&self, input: Vec<u8>) {
        self.0.borrow_mut().input = input;
    }

    fn echoes(&self) {
        self.0.borrow_mut().echoes = true;
    }

    /// Makes the input ready to be read.
    fn offer(&self) {
        let mut traffic = self.0.borrow_mut();
        traffic.unread = traffic.input.len();
    }

    /// How much was written.
    fn take(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().written)
    }
}

impl Connection for End {
    fn reset_on_drop(&self) {}
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut traffic = self.0.borrow_mut();
        if traffic.unread == 0 {
            return Poll::Pending;
        }
        let start = traffic.input.len() - traffic.unread;
        let count = traffic.unread.min(buffer.remaining());
        buffer.put_slice(&traffic.input[start..start + count]);
        traffic.unread -= count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut traffic = self.0.borrow_mut();
        traffic.written += bytes.len();
        if traffic.echoes && traffic.written == traffic.input.len() {
            traffic.unread = traffic.written;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
