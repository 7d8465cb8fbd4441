//! One end of a session: sends what its budget allows, checks what comes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::tls::{MAX_RECORD, Tls};
use super::{Budget, Load};
use crate::Result;
use crate::traffic::{OPENING, Receiver, Sender};

/// What is read at once.
const WINDOW: usize = 256 * 1024;
/// What is made before it is written.
const BATCH: usize = 64 * 1024;
/// Room in front of a read for a record that is not complete.
const CARRY: usize = 20 * 1024;

/// The buffers of the thread.
struct Scratch {
    input: Vec<u8>,
    plain: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; CARRY + WINDOW],
        plain: Vec::with_capacity(2 * MAX_RECORD),
    });
}

/// How the bytes of an end travel.
#[derive(Debug)]
pub(super) enum Wire {
    Plain,
    Tls(Box<Tls>),
}

/// Why an end stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What was waited for is so.
    Reached,
    /// The other side has closed.
    Closed,
}

/// One end of a session.
#[derive(Debug)]
pub(super) struct Endpoint {
    tcp: TcpStream,
    pub(super) wire: Wire,
    /// A TLS record that is not complete.
    carry: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    batch: bool,
    pub(super) tx: Sender,
    pub(super) rx: Receiver,
    /// The answer to the upgrade, while it is awaited.
    head: Option<Vec<u8>>,
}

impl Endpoint {
    pub(super) fn new(tcp: TcpStream, wire: Wire, load: &Load, tx: Sender, rx: Receiver) -> Self {
        Self {
            tcp,
            wire,
            carry: Vec::new(),
            out: Vec::new(),
            written: 0,
            batch: load.batch,
            tx,
            rx,
            head: None,
        }
    }

    /// Takes what was read before this end was made.
    pub(super) fn early(&mut self, mut input: Vec<u8>) -> Result<()> {
        SCRATCH.with_borrow_mut(|scratch| self.digest(&mut input, &mut scratch.plain))
    }

    /// Sends a request; what comes next is the head of its answer.
    pub(super) fn ask(&mut self, request: &str) -> Result<()> {
        self.head = Some(Vec::new());
        self.append(|_, out| out.extend_from_slice(request.as_bytes()))
    }

    /// True until the answer has come.
    pub(super) fn is_asking(&self) -> bool {
        self.head.is_some()
    }

    /// Sends the first message.
    pub(super) fn open(&mut self, text: [u8; OPENING]) -> Result<()> {
        self.append(|tx, out| tx.open(text, out))
    }

    /// Sends a Close frame.
    pub(super) fn close_frame(&mut self) -> Result<()> {
        self.append(Sender::close)
    }

    /// Says that nothing more will come, in each layer.
    pub(super) async fn finish(&mut self) -> Result<()> {
        if let Wire::Tls(tls) = &mut self.wire {
            tls.close(&mut self.out)?;
        }
        poll_fn(|cx| self.poll_flush(cx)).await?;
        Ok(self.tcp.shutdown().await?)
    }

    /// Frees what an idle end does not need.
    pub(super) fn shrink(&mut self) {
        self.out.shrink_to_fit();
        self.carry.shrink_to_fit();
    }

    fn append(&mut self, write: impl FnOnce(&mut Sender, &mut Vec<u8>)) -> Result<()> {
        match &mut self.wire {
            Wire::Plain => write(&mut self.tx, &mut self.out),
            Wire::Tls(tls) => {
                let mut write = Some(write);
                let mut plain = Vec::new();
                tls.seal(&mut plain, &mut self.out, |plain, _| {
                    write.take().map(|write| write(&mut self.tx, plain)).is_some()
                })?;
            }
        }
        Ok(())
    }

    /// Sends and receives until `until` says so, or the other side closes. Payload that has come is added to `count`.
    ///
    /// May be dropped at any time and called again.
    pub(super) async fn drive(
        &mut self,
        budget: &mut Budget,
        count: &Cell<u64>,
        until: impl Fn(&Self) -> bool,
    ) -> Result<End> {
        poll_fn(|cx| self.poll(cx, budget, count, &until)).await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        budget: &mut Budget,
        count: &Cell<u64>,
        until: &impl Fn(&Self) -> bool,
    ) -> Poll<Result<End>> {
        loop {
            if until(self) {
                // What is still to be written must not wait for the next call.
                ready!(self.poll_flush(cx))?;
                return Poll::Ready(Ok(End::Reached));
            }
            if self.out.is_empty() && (budget.credit > 0 || self.tx.is_inside()) {
                self.fill(budget)?;
            }
            let blocked = self.poll_flush(cx)?.is_pending();
            let (bytes, messages) = (self.rx.bytes(), self.rx.messages());
            match self.poll_receive(cx)? {
                Poll::Ready(true) => {
                    count.set(count.get() + self.rx.bytes() - bytes);
                    if budget.refill {
                        budget.credit += self.rx.messages() - messages;
                    }
                }
                Poll::Ready(false) => return Poll::Ready(Ok(End::Closed)),
                Poll::Pending if blocked || (budget.credit == 0 && !self.tx.is_inside()) => {
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
    }

    /// Makes up to a batch of what the budget allows. Each message is a TLS record of its own, as clients write them, unless the
    /// load batches.
    fn fill(&mut self, budget: &mut Budget) -> Result<()> {
        let (tx, batch) = (&mut self.tx, self.batch);
        let mut piece = |out: &mut Vec<u8>, room: usize| {
            if !tx.is_inside() {
                if budget.credit == 0 {
                    return false;
                }
                if budget.credit != u64::MAX {
                    budget.credit -= 1;
                }
            }
            tx.piece(out, room);
            true
        };
        match &mut self.wire {
            Wire::Plain => while self.out.len() < BATCH && piece(&mut self.out, BATCH) {},
            Wire::Tls(tls) => SCRATCH.with_borrow_mut(|scratch| {
                tls.seal(&mut scratch.plain, &mut self.out, |plain, made| {
                    if made >= BATCH || !piece(plain, MAX_RECORD) {
                        return false;
                    }
                    while batch && plain.len() < MAX_RECORD && piece(plain, MAX_RECORD) {}
                    true
                })
            })?,
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.written < self.out.len() {
            let count = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.out[self.written..]))?;
            self.written += count;
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once; false at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch.input[CARRY..]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
            let got = buffer.filled().len();
            if got == 0 {
                return Poll::Ready(Ok(false));
            }
            let start = CARRY
                .checked_sub(self.carry.len())
                .ok_or("a TLS record is too long")?;
            scratch.input[start..CARRY].copy_from_slice(&self.carry);
            self.digest(&mut scratch.input[start..CARRY + got], &mut scratch.plain)?;
            Poll::Ready(Ok(true))
        })
    }

    /// Opens and checks what came.
    fn digest(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<()> {
        let (rx, head) = (&mut self.rx, &mut self.head);
        let mut take = |bytes: &[u8]| match answer(head, bytes)? {
            Some(rest) => Ok(rx.feed(&rest)?),
            None if head.is_none() => Ok(rx.feed(bytes)?),
            None => Ok(()),
        };
        match &mut self.wire {
            Wire::Plain => take(input)?,
            Wire::Tls(tls) => {
                let used = tls.open(input, &mut self.out, take)?;
                self.carry.clear();
                self.carry.extend_from_slice(&input[used..]);
            }
        }
        // Inside a frame there is no place for another one.
        if !self.tx.is_inside() {
            let pongs = self.rx.take_pongs();
            if let Wire::Tls(tls) = &mut self.wire
                && !pongs.is_empty()
            {
                let mut pongs = pongs.into_iter();
                tls.seal(plain, &mut self.out, |plain, _| {
                    pongs
                        .next()
                        .map(|payload| self.tx.pong(&payload, plain))
                        .is_some()
                })?;
            }
        }
        Ok(())
    }
}

/// The longest head of an answer.
const MAX_HEAD: usize = 4096;
/// The key of RFC 6455 §1.3 and what it must be answered with.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Takes the head of the answer to an upgrade, if one is awaited. Returns what is behind it once it is complete.
fn answer(head: &mut Option<Vec<u8>>, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let Some(text) = head else {
        return Ok(None);
    };
    text.extend_from_slice(bytes);
    let Some(end) = text.windows(BLANK.len()).position(|window| window == BLANK) else {
        let long = text.len() > MAX_HEAD;
        return if long {
            Err("the answer to the upgrade is too long".into())
        } else {
            Ok(None)
        };
    };
    let rest = text.split_off(end + BLANK.len());
    let text = String::from_utf8_lossy(text).into_owned();
    *head = None;
    if !text.starts_with("HTTP/1.1 101 ") || !text.contains(ACCEPT) {
        return Err(format!(
            "the upgrade was refused: {}",
            text.lines().next().unwrap_or_default()
        )
        .into());
    }
    Ok(Some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn an_answer_may_come_in_pieces_with_data_behind_it() {
        let mut head = Some(Vec::new());
        let whole = format!("{GOOD}data");
        let (first, last) = whole.as_bytes().split_at(GOOD.len() - 1);
        assert_eq!(answer(&mut head, first).unwrap(), None);
        assert_eq!(answer(&mut head, last).unwrap(), Some(b"data".to_vec()));
        assert_eq!(head, None);
        assert_eq!(answer(&mut head, b"more").unwrap(), None);
    }

    #[test]
    fn a_refusal_is_an_error() {
        for bad in [
            GOOD.replace("101", "403"),
            GOOD.replace("s3pP", "xxxx"),
            "x".repeat(MAX_HEAD + 1),
        ] {
            assert!(answer(&mut Some(Vec::new()), bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
