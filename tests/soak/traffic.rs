//! Normal sessions: they come and go, and keep books of every message in both directions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::accounts::{Books, ClientView};
use crate::backends::{Does, Service};
use crate::config::SERVICES;
use crate::stage::Stage;
use crate::support::{BINARY, CLOSE, CONTINUATION, PING, PONG, Request, TEXT, frame};
use crate::wire::{self, Connection, Security, Told, close_code, next_client, take_frame, within};
use crate::words::{Framing, Plan, Way, key, message};

/// How a normal session may end.
const NORMAL: &[(&str, Told)] = &[
    ("client_closed", Told::Close(1000)),
    ("backend_closed", Told::Close(1000)),
];
/// On a route where they grow old.
const AGING: &[(&str, Told)] = &[NORMAL[0], NORMAL[1], ("max_age", Told::Close(1012))];
/// When the process ends. Who had nothing left to say may have left before.
const LAST: &[(&str, Told)] = &[("shutdown", Told::Close(1001)), NORMAL[0], NORMAL[1], AGING[2]];

/// Messages of an echo session that may be on their way at once.
const WINDOW: u32 = 4;

/// No plan lasts longer, on the slowest machine.
const LONGEST: Duration = Duration::from_secs(180);

/// Keeps so many sessions going until it is told to stop, and waits for their end.
pub async fn run(stage: &Arc<Stage>, sessions: usize, seed: u64, stop: &CancellationToken) {
    let mut slots = JoinSet::new();
    for slot in 0..sessions {
        let (stage, stop) = (Arc::clone(stage), stop.clone());
        let mut random = fastrand::Rng::with_seed(seed ^ (slot as u64) << 32);
        slots.spawn(async move {
            // They do not all come at once.
            let wait = Duration::from_millis(random.u64(..3000));
            drop(tokio::time::timeout(wait, stop.cancelled()).await);
            while !stop.is_cancelled() {
                let service = SERVICES[slot % SERVICES.len()];
                let turned_away = one(&stage, service, random.u8(..), &stop, None).await;
                let wait = if turned_away {
                    random.u64(200..600)
                } else {
                    random.u64(..200)
                };
                drop(tokio::time::timeout(Duration::from_millis(wait), stop.cancelled()).await);
            }
        });
    }
    while let Some(done) = slots.join_next().await {
        done.unwrap();
    }
}

/// Held by a session until it has begun, or come to nothing.
type Beginning = mpsc::Sender<()>;

/// Opens so many sessions; some of each kind stay until sealock ends them. The receiver comes to its end when all have begun.
pub fn to_the_end(stage: &Arc<Stage>, sessions: usize) -> (JoinSet<()>, mpsc::Receiver<()>) {
    let mut open = JoinSet::new();
    let (beginning, begun) = mpsc::channel(1);
    for at in 0..sessions {
        let (stage, beginning) = (Arc::clone(stage), beginning.clone());
        open.spawn(async move {
            let service = SERVICES[at % SERVICES.len()];
            one(
                &stage,
                service,
                at as u8,
                &CancellationToken::new(),
                Some(beginning),
            )
            .await;
        });
    }
    (open, begun)
}

/// One session, or an attempt; true where it was turned away.
async fn one(
    stage: &Stage,
    service: Service,
    variety: u8,
    stop: &CancellationToken,
    last: Option<Beginning>,
) -> bool {
    let (port, security) = match variety % 5 {
        0 | 1 => (stage.ports.plain, &Security::Plain),
        2 => (stage.ports.tls, &stage.security),
        3 => (stage.ports.tls, &stage.other_name),
        _ => (stage.ports.proxied, &stage.security),
    };
    let entrance = Entrance {
        security,
        announced: (port == stage.ports.proxied).then(|| SocketAddr::from((next_client(), 40_000))),
    };
    let books = &stage.books;
    let opened = Instant::now();
    let stream = match wire::tcp(books, next_client(), port, false).await {
        Ok(stream) => stream,
        Err(error) => {
            books.complain(format!("cannot connect: {error}"));
            return true;
        }
    };
    let address = stream.local_addr().unwrap();
    if let Some(client) = entrance.announced {
        books.announce(address, client);
    }
    let mut view = ClientView {
        kind: service.name,
        framing: Some(service.framing),
        opened,
        expected: match service.name {
            _ if last.is_some() => LAST,
            "aging-feed" => AGING,
            _ => NORMAL,
        },
        told: Told::Nothing,
        sent: Vec::new(),
        received: (0, 0),
        complete: false,
    };
    let result = talk(stream, entrance, service, &mut view, stop, books, last).await;
    if let Err(error) = result {
        books.count("connections of normal clients that failed", 1);
        eprintln!("soak: {address}, {}: {error}", service.name);
    }
    let turned_away = matches!(view.told, Told::Status(_));
    books.client(address, view);
    turned_away
}

/// How a client comes in.
struct Entrance<'a> {
    security: &'a Security,
    /// Whom it speaks for, where it is a proxy.
    announced: Option<SocketAddr>,
}

async fn talk(
    mut stream: TcpStream,
    entrance: Entrance<'_>,
    service: Service,
    view: &mut ClientView,
    stop: &CancellationToken,
    books: &Books,
    last: Option<Beginning>,
) -> io::Result<()> {
    if let Some(client) = entrance.announced {
        let header = format!("PROXY TCP4 {} 127.0.0.1 {} 443\r\n", client.ip(), client.port());
        within(stream.write_all(header.as_bytes())).await?;
    }
    let mut connection = Connection::secure(stream, entrance.security).await?;
    let (status, _) = connection
        .request(&Request::get(&format!("/{}", service.name)))
        .await?;
    if status != 101 {
        view.told = Told::Status(status);
        return Ok(());
    }
    let key = key(entrance.announced.unwrap_or(connection.address));
    let mut plan = Plan::of(key);
    if last.map(drop).is_some() {
        // Something is always under way.
        (plan.up, plan.pause) = (u32::MAX, Duration::from_millis(20));
    }
    let mut talk = Talk {
        service,
        key,
        plan,
        out: BytesMut::new(),
        heard: 0,
        begun: Vec::new(),
        raw: BytesMut::new(),
        closing: false,
    };
    let deadline = Instant::now() + LONGEST;
    let mut next = Instant::now();
    let mut stopping = false;
    loop {
        while let Some(got) = take_frame(&mut connection.buffer)? {
            talk.hear(got, view, books)?;
        }
        talk.close_when_done(view, stopping);
        let may_say = !stopping && talk.may_say(view);
        tokio::select! {
            read = tokio::io::AsyncReadExt::read_buf(&mut connection.reader, &mut connection.buffer) => {
                if read? == 0 {
                    view.complete = true;
                    return Ok(());
                }
            }
            written = connection.writer.write(&talk.out), if !talk.out.is_empty() => {
                match written {
                    Ok(written) => talk.out.advance(written),
                    // sealock may have ended the connection behind its Close frame.
                    Err(_) if view.told != Told::Nothing => talk.out.clear(),
                    Err(error) => return Err(error),
                }
                if talk.out.is_empty() {
                    drop(connection.writer.flush().await);
                }
            }
            () = sleep_until(next), if may_say => {
                talk.say(view);
                next = Instant::now() + plan.pause;
            }
            () = stop.cancelled(), if !stopping => stopping = true,
            () = sleep_until(deadline) => return Err(io::Error::other("it does not end")),
        }
    }
}

/// A client in the middle of its session.
struct Talk {
    service: Service,
    key: u64,
    plan: Plan,
    out: BytesMut,
    /// Messages that came, by their contents.
    heard: u32,
    /// A message whose last fragment has not come.
    begun: Vec<u8>,
    /// Bytes of `raw`, where messages mean nothing.
    raw: BytesMut,
    closing: bool,
}

impl Talk {
    fn feeds(&self) -> bool {
        self.service.does == Does::Feed
    }

    fn accents(&self) -> bool {
        self.service.does == Does::Accents
    }

    fn opcode(&self) -> u8 {
        match self.service.framing {
            Framing::Lines | Framing::Crlf => TEXT,
            _ => BINARY,
        }
    }

    fn may_say(&self, view: &ClientView) -> bool {
        let said = view.sent.len() as u32;
        !self.closing
            && self.out.is_empty()
            && said < self.plan.up
            && (self.feeds() || said - self.heard < WINDOW)
    }

    fn say(&mut self, view: &mut ClientView) {
        let number = view.sent.len() as u32;
        let text = message(self.key, Way::Up, number, self.accents());
        let bytes = text.as_bytes();
        let opcode = self.opcode();
        if (self.key + u64::from(number)).is_multiple_of(10) {
            // In two fragments, cut anywhere, with a ping between them.
            let (one, two) = bytes.split_at(bytes.len() / 3);
            self.out.extend(frame(false, opcode, one));
            self.out.extend(frame(true, PING, b"between"));
            self.out.extend(frame(true, CONTINUATION, two));
        } else {
            self.out.extend(frame(true, opcode, bytes));
        }
        view.sent.push(bytes.len() as u32);
    }

    /// Closes when everything was said and heard, or when it has to end soon.
    fn close_when_done(&mut self, view: &ClientView, stopping: bool) {
        let said = view.sent.len() as u32;
        let heard_all = match self.feeds() {
            true => stopping || self.heard == self.plan.down && self.plan.backend_ends_after.is_none(),
            false => self.heard == said,
        };
        if !self.closing && self.out.is_empty() && heard_all && (stopping || said >= self.plan.up) {
            self.out.extend(frame(true, CLOSE, &1000_u16.to_be_bytes()));
            self.closing = true;
        }
    }

    fn hear(&mut self, got: wire::Frame, view: &mut ClientView, books: &Books) -> io::Result<()> {
        match got.opcode {
            PING if !self.closing => self.out.extend(frame(true, PONG, &got.payload)),
            PING | PONG => {}
            CLOSE => {
                view.told = Told::Close(close_code(&got.payload));
                if !self.closing {
                    self.out.extend(frame(true, CLOSE, &got.payload));
                    self.closing = true;
                }
            }
            opcode => {
                let expected = if self.begun.is_empty() {
                    self.opcode()
                } else {
                    CONTINUATION
                };
                if opcode != expected {
                    books.complain(format!("{}: a frame with opcode {opcode}", self.service.name));
                }
                self.begun.extend(got.payload);
                if got.fin {
                    let whole = std::mem::take(&mut self.begun);
                    view.received.0 += 1;
                    view.received.1 += whole.len() as u64;
                    self.compare(&whole, books)?;
                }
            }
        }
        Ok(())
    }

    /// Compares what came with what comes next.
    fn compare(&mut self, whole: &[u8], books: &Books) -> io::Result<()> {
        let way = if self.feeds() { Way::Down } else { Way::Up };
        let raw = self.service.framing == Framing::Raw;
        if raw {
            self.raw.extend_from_slice(whole);
        }
        loop {
            let expected = message(self.key, way, self.heard, self.accents());
            let got = match raw {
                false => whole.to_vec(),
                true => match Framing::Raw.take(&mut self.raw, expected.len()) {
                    Some(got) => got,
                    None => return Ok(()),
                },
            };
            if got != expected.as_bytes() {
                books.complain(format!(
                    "{}: message {} is another",
                    self.service.name, self.heard
                ));
                return Err(io::Error::other("another message"));
            }
            self.heard += 1;
            if !raw {
                return Ok(());
            }
        }
    }
}
