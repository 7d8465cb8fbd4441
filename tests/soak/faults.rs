//! Everything that goes wrong on purpose: each misdeed has the end that it must have, in the client's eyes and in the log.

mod cases;
mod crowds;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::accounts::{Books, ClientView};
use crate::stage::Stage;
use crate::support::{CLOSE, PING, PONG, Request, TEXT, frame};
use crate::wire::{self, Connection, Security, Told, next_client, within};

/// The cause in the log, and what the client is told.
pub type End = (&'static str, Told);

/// How a case begins.
pub enum Opening {
    /// Something that is not going to be a session: these bytes to a listener, and then whatever comes.
    Bytes(Door, Vec<u8>, Manner),
    /// A session, or its refusal, with this request.
    Session(Request),
}

/// Which listener, and how far one goes there.
#[derive(Clone, Copy)]
pub enum Door {
    /// In the clear.
    Plain,
    /// Before the TLS handshake.
    BeforeTls,
    /// After it.
    Tls,
    /// Where only proxies may come.
    Proxied,
}

/// How bytes are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// At once; then an answer is waited for.
    Once,
    /// The last one again and again, a little at a time.
    Drip,
    /// At once; then the end of the stream.
    Leave,
    /// At once; then a reset.
    Vanish,
}

/// What a client does in its session.
pub enum Step {
    /// Tells the backend what to do.
    Order(&'static str),
    /// Sends a whole message.
    Message(u8, Vec<u8>),
    /// Sends so many messages at once.
    Burst(usize),
    /// Sends bytes that are no whole message.
    Bytes(Vec<u8>),
    /// A whole message, its frame a byte at a time.
    Drip(Vec<u8>),
    /// Reads so many messages.
    Hear(u64),
    /// Sends messages until it is told to stop.
    Flood,
    /// Does nothing at all until sealock has given it up.
    Rest,
    /// Sends this many pings.
    Pings(usize),
    /// Sends a Close frame.
    Close,
    /// Ends its stream.
    Leave,
    /// Is gone, with a reset.
    Vanish,
}

/// A misdeed.
pub struct Case {
    pub kind: &'static str,
    pub opening: Opening,
    pub steps: Vec<Step>,
    pub expected: &'static [End],
}

/// Misdeeds, each again and again, from so many hands, until it is told to stop.
pub async fn run(stage: &Arc<Stage>, hands: usize, seed: u64, stop: &CancellationToken) {
    let mut doing = JoinSet::new();
    let bag = Arc::new(Mutex::new(Bag {
        left: Vec::new(),
        random: fastrand::Rng::with_seed(seed),
    }));
    for hand in 0..hands {
        let (stage, stop, bag) = (Arc::clone(stage), stop.clone(), Arc::clone(&bag));
        let mut random = fastrand::Rng::with_seed(seed ^ !(hand as u64) << 32);
        doing.spawn(async move {
            while !stop.is_cancelled() {
                let which = bag.lock().unwrap().draw();
                match cases::all().into_iter().nth(which) {
                    Some(case) => one(&stage, case, random.bool()).await,
                    None => crowds::one(&stage, which - cases::all().len()).await,
                }
                let wait = Duration::from_millis(random.u64(20..300));
                drop(tokio::time::timeout(wait, stop.cancelled()).await);
            }
        });
    }
    while let Some(done) = doing.join_next().await {
        done.unwrap();
    }
}

/// What all hands draw from: everything once, then everything once more. A short run leaves nothing out.
struct Bag {
    left: Vec<usize>,
    random: fastrand::Rng,
}

impl Bag {
    fn draw(&mut self) -> usize {
        if self.left.is_empty() {
            self.left.extend(0..cases::all().len() + crowds::KINDS);
            self.random.shuffle(&mut self.left);
        }
        self.left.pop().unwrap_or_default()
    }
}

/// The kinds of which none has come to its own end yet.
pub fn missing(books: &Books) -> Vec<&'static str> {
    let met = books.met();
    let own = |cause: &str| !["drain", "operator", "out_of_descriptors"].contains(&cause);
    let met: BTreeSet<&str> = met
        .keys()
        .filter(|(_, cause)| own(cause))
        .map(|(kind, _)| *kind)
        .collect();
    let kinds = cases::all().into_iter().map(|case| case.kind);
    kinds
        .chain(crowds::NAMES)
        .filter(|kind| !met.contains(kind))
        .collect()
}

async fn one(stage: &Stage, case: Case, secure: bool) {
    let vanishes = matches!(case.opening, Opening::Bytes(_, _, Manner::Vanish))
        || case.steps.iter().any(|step| matches!(step, Step::Vanish));
    let door = match case.opening {
        Opening::Bytes(door, ..) => door,
        Opening::Session(_) if secure && !vanishes => Door::Tls,
        Opening::Session(_) => Door::Plain,
    };
    // Only where a wait is what is tried: anybody else may be slow, on a slow machine.
    let waits = |(cause, _): &End| ["tls_timeout", "request_timeout", "proxy_timeout"].contains(cause);
    let hasty = case.expected.iter().any(waits);
    let Ok(mut visit) = Visit::begin(stage, next_client(), door, hasty, vanishes).await else {
        return stage
            .books
            .count("faults that did not get as far as to be one", 1);
    };
    visit.view.kind = case.kind;
    visit.view.expected = case.expected;
    // Where it goes wrong, the view says how far it got.
    drop(visit.go(case).await);
    visit.end(stage);
}

/// One connection, and what is known of it.
struct Visit {
    connection: Connection,
    view: ClientView,
    books: Arc<Books>,
}

impl Visit {
    async fn begin(
        stage: &Stage,
        from: Ipv4Addr,
        door: Door,
        hasty: bool,
        vanishes: bool,
    ) -> io::Result<Self> {
        let ports = &stage.ports;
        let to = match (door, hasty) {
            (Door::Plain, false) => ports.plain,
            (Door::Plain, true) => ports.hasty_plain,
            (Door::Tls | Door::BeforeTls, false) => ports.tls,
            (Door::Tls, true) => ports.hasty_tls,
            (Door::BeforeTls, true) => ports.hasty_handshake,
            (Door::Proxied, false) => ports.proxied,
            (Door::Proxied, true) => ports.hasty_proxied,
        };
        let opened = Instant::now();
        let stream: TcpStream = wire::tcp(&stage.books, from, to, vanishes).await?;
        let security = match door {
            Door::Tls => &stage.security,
            _ => &Security::Plain,
        };
        let view = ClientView {
            kind: "",
            framing: None,
            opened,
            expected: &[],
            told: Told::Nothing,
            sent: Vec::new(),
            received: (0, 0),
            complete: false,
        };
        let address = stream.local_addr()?;
        match Connection::secure(stream, security).await {
            Ok(connection) => Ok(Self {
                connection,
                view,
                books: Arc::clone(&stage.books),
            }),
            Err(error) => {
                // It has a record all the same, which says whether that may be.
                stage.books.client(address, view);
                Err(error)
            }
        }
    }

    fn end(self, stage: &Stage) {
        let address = self.connection.address;
        // Its socket first: it may be what the record waits for.
        drop(self.connection);
        stage.books.client(address, self.view);
    }

    async fn go(&mut self, case: Case) -> io::Result<()> {
        match case.opening {
            Opening::Bytes(_, bytes, manner) => {
                self.connection.send(&bytes).await?;
                match manner {
                    Manner::Once => {}
                    Manner::Drip => self.drip_on(*bytes.last().unwrap_or(&0)).await,
                    Manner::Leave => self.connection.writer.shutdown().await?,
                    Manner::Vanish => return Ok(()),
                }
                let (status, _) = self.connection.answer().await?;
                self.view.told = Told::Status(status);
                Ok(())
            }
            Opening::Session(request) => {
                let (status, _) = self.connection.request(&request).await?;
                if status != 101 {
                    self.view.told = Told::Status(status);
                    return Ok(());
                }
                for step in case.steps {
                    match self.step(step).await {
                        Ok(true) => {}
                        Ok(false) => return Ok(()),
                        // sealock has ended it before: what it said then is to be read.
                        Err(_) => break,
                    }
                }
                self.read_to_end().await;
                Ok(())
            }
        }
    }

    async fn read_to_end(&mut self) {
        let (told, messages) = self.connection.read_to_end().await;
        self.view.received.0 += messages;
        if told != Told::Nothing {
            self.view.told = told;
            self.view.complete = true;
        }
    }

    /// Sends the same byte again and again until something comes.
    async fn drip_on(&mut self, byte: u8) {
        let Connection {
            reader,
            writer,
            buffer,
            ..
        } = &mut self.connection;
        let drip = async {
            while writer.write_all(&[byte]).await.is_ok() && writer.flush().await.is_ok() {
                sleep(Duration::from_millis(40)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // What came is looked at by whoever reads on.
            _ = within(reader.read_buf(buffer)) => {}
            () = drip => {}
        }
    }

    /// False where the client is gone.
    async fn step(&mut self, step: Step) -> io::Result<bool> {
        match step {
            Step::Order(order) => self.say(TEXT, order.as_bytes()).await?,
            Step::Message(opcode, payload) => self.say(opcode, &payload).await?,
            Step::Burst(count) => {
                let message = b"quick";
                let sent = &mut self.view.sent;
                sent.resize(sent.len() + count, message.len() as u32);
                let burst = frame(true, TEXT, message).repeat(count);
                self.connection.send(&burst).await?;
            }
            Step::Bytes(bytes) => self.connection.send(&bytes).await?,
            Step::Drip(message) => {
                self.view.sent.push(message.len() as u32);
                for byte in frame(true, TEXT, &message) {
                    self.connection.send(&[byte]).await?;
                    sleep(Duration::from_millis(15)).await;
                }
            }
            Step::Hear(messages) => return self.hear(messages).await,
            Step::Flood => self.flood().await,
            Step::Rest => self.books.recorded(self.connection.address).await,
            Step::Pings(count) => {
                let pings = frame(true, PING, &[b'p'; 100]).repeat(count);
                self.connection.send(&pings).await?;
            }
            Step::Close => {
                self.connection
                    .send(&frame(true, CLOSE, &1000_u16.to_be_bytes()))
                    .await?
            }
            Step::Leave => within(self.connection.writer.shutdown()).await?,
            Step::Vanish => return Ok(false),
        }
        Ok(true)
    }

    async fn say(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        self.view.sent.push(payload.len() as u32);
        self.connection.send(&frame(true, opcode, payload)).await
    }

    /// Reads so many messages, and answers pings meanwhile.
    async fn hear(&mut self, messages: u64) -> io::Result<bool> {
        let enough = self.view.received.0 + messages;
        while self.view.received.0 < enough {
            let Some(got) = within(self.connection.frame()).await? else {
                return Ok(false);
            };
            match got.opcode {
                PING => self.connection.send(&frame(true, PONG, &got.payload)).await?,
                PONG => {}
                CLOSE => {
                    self.view.told = Told::Close(wire::close_code(&got.payload));
                    drop(self.connection.send(&frame(true, CLOSE, &got.payload)).await);
                    return Ok(false);
                }
                _ if got.fin => self.view.received.0 += 1,
                _ => {}
            }
        }
        Ok(true)
    }

    /// Sends until something comes, or until it cannot.
    async fn flood(&mut self) {
        let message = frame(true, TEXT, &[b'x'; 30_000]);
        let Self {
            connection:
                Connection {
                    reader,
                    writer,
                    buffer,
                    ..
                },
            view,
            ..
        } = self;
        let flood = async {
            loop {
                view.sent.push(30_000);
                if writer.write_all(&message).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = within(reader.read_buf(buffer)) => {}
            () = flood => {}
        }
    }
}
