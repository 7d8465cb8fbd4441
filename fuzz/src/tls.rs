//! The server's side of TLS, beside that of tokio-rustls: whatever a client does, and however the wire cuts it, both applications read
//! the same and both clients are told the same.
//!
//! Input: [`Script`], one [`Step`] after the other at its end. The client is rustls' own; nothing runs in between, so a wire may cut the
//! streams exactly where it is told to.

mod client;
mod configs;
mod wire;

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sealock::tls::TlsConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{HandshakeKind, ServerConfig};

use crate::input::Input;
use client::Client;
pub use client::Told;
pub use configs::{Clients, Version};
pub use wire::Borders;
use wire::Wire;

/// A session.
#[derive(Clone, Debug)]
pub struct Script {
    pub version: Version,
    pub clients: Clients,
    /// The session takes place twice, the second time with the ticket of the first.
    pub again: bool,
    /// How much the application reads at once.
    pub room: usize,
    /// Where the client's stream is cut, and the server's.
    pub up: Borders,
    pub down: Borders,
    /// A bit that is flipped on the way: in this record of the client, in this byte of it (or as many bytes further as it takes).
    pub damage: Option<(usize, usize)>,
    pub steps: Vec<Step>,
}

/// What the client does behind its handshake. At the end of the script its stream ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Sends so many bytes.
    Data(usize),
    /// Changes its keys, and asks for new ones (TLS 1.3 only).
    KeyUpdate,
    /// Waits for what comes of it. Otherwise everything leaves at once.
    Wait,
    /// Sends a close_notify, and nothing more.
    Close,
    /// Bytes that TLS knows nothing of.
    Raw(Vec<u8>),
    /// Ends its stream, and reads on.
    End,
}

impl Script {
    fn read(input: &mut Input<'_>) -> Self {
        let version = input.pick(&[Version::Tls13, Version::Tls12]);
        let clients = input.pick(&[
            Clients::Anybody,
            Clients::Known,
            Clients::Nameless,
            Clients::Distrustful,
        ]);
        let again = input.flag();
        let room = input.pick(&[1 << 16, 1000, 50, 1]);
        let [up, down] = [(), ()].map(|()| {
            let count = input.byte() % 8;
            let sizes = input.take(count.into());
            Borders::every(sizes.iter().map(|size| usize::from(*size).max(1)))
        });
        let damage = match input.byte() {
            0 => None,
            record => Some((usize::from(record) - 1, input.number().into())),
        };
        // Small pieces of much data take long, and show no more than those of little.
        let smallest = room.min(up.smallest()).min(down.smallest());
        let mut most = (smallest * 1000).min(100_000);
        let mut steps = Vec::new();
        while !input.is_over() {
            let mut step = Step::read(input);
            if let Step::Data(len) = &mut step {
                *len = (*len).min(most);
                most -= *len;
            }
            steps.push(step);
        }
        Self {
            version,
            clients,
            again,
            room,
            up,
            down,
            damage,
            steps,
        }
    }

    /// All that the client's application wants to send.
    fn sent(&self) -> Vec<u8> {
        let lengths = self.steps.iter().take_while(|step| !step.is_last());
        lengths
            .enumerate()
            .flat_map(|(at, step)| match step {
                Step::Data(len) => payload(at, *len),
                _ => Vec::new(),
            })
            .collect()
    }
}

impl Step {
    fn read(input: &mut Input<'_>) -> Self {
        match input.byte() % 8 {
            0 | 1 => Self::Data(input.byte().into()),
            2 => Self::Data(input.number().into()),
            3 => Self::KeyUpdate,
            4 => Self::Wait,
            5 => Self::Close,
            6 => Self::Raw(input.text().to_vec()),
            _ => Self::End,
        }
    }

    /// True when no data can follow.
    fn is_last(&self) -> bool {
        matches!(self, Self::Close | Self::End)
    }
}

/// Bytes that no other step sends at the same place.
fn payload(step: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251 + step * 31) as u8).collect()
}

/// How the server's side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both directions in order.
    Clean,
    /// In the handshake or behind it.
    Error(ErrorKind),
}

/// What became of a session.
#[derive(Debug)]
pub struct Outcome {
    /// What the application read.
    pub heard: Vec<u8>,
    pub end: End,
    /// What the client read: its own data, then [`FAREWELL`].
    pub echoed: Vec<u8>,
    pub told: Told,
    /// How the client was let in, if it was.
    pub handshake: Option<HandshakeKind>,
    /// How many bytes went up, and how many down.
    pub moved: (usize, usize),
}

/// What the application says when its client has ended.
pub const FAREWELL: &[u8] = b"bye";

/// See the module's documentation.
pub fn tls(data: &[u8]) {
    check(&Script::read(&mut Input::new(data)));
}

/// Plays a script on both sides, compares, and gives what became of it on ours.
pub fn check(script: &Script) -> Vec<Outcome> {
    let ours = play(script, ours);
    let theirs = play(script, theirs);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        compare(script, ours, theirs);
        // Whether its ticket arrived, before it broke, is left to chance.
        if ours.end != End::Clean {
            break;
        }
    }
    ours
}

fn compare(script: &Script, ours: &Outcome, theirs: &Outcome) {
    let both = || format!("{script:#?}\nours {ours:#?}\ntheirs {theirs:#?}");
    let sent = script.sent();
    assert_eq!(ours.end, theirs.end, "{}", both());
    assert_eq!(ours.handshake, theirs.handshake, "{}", both());
    for outcome in [ours, theirs] {
        assert!(
            sent.starts_with(&outcome.heard),
            "something else was heard: {}",
            both()
        );
        let said = match outcome.end {
            End::Clean => [&outcome.heard, FAREWELL].concat(),
            End::Error(_) => outcome.heard.clone(),
        };
        assert!(
            said.starts_with(&outcome.echoed),
            "something else was said: {}",
            both()
        );
        // A client that is broken reads no more. Whoever reads ahead may have sent its alert before the application speaks.
        let ahead = outcome.end != End::Clean;
        let all = matches!(outcome.told, Told::Failed(_)) || ahead || said == outcome.echoed;
        assert!(all, "not all was said: {}", both());
    }
    // What TLS refuses takes nothing with it that came before; with tokio-rustls, what was read together with it.
    if ours.end == End::Error(ErrorKind::InvalidData) {
        assert!(ours.heard.starts_with(&theirs.heard), "{}", both());
    } else {
        assert_eq!(ours.heard, theirs.heard, "{}", both());
    }
    assert!(ours.end != End::Clean || ours.heard == sent, "{}", both());
    // An alert is the last word: when the wire stops inside it, nobody waits for the rest. tokio-rustls does not even try again.
    if ours.end == End::Clean || script.down.is_none() {
        assert_eq!(ours.told, theirs.told, "{}", both());
    }
}

fn play<Serving: Future<Output = (Vec<u8>, End)>>(
    script: &Script,
    serve: fn(Wire, Arc<ServerConfig>, usize) -> Serving,
) -> Vec<Outcome> {
    let (client_config, server_config) = configs::make(script.version, script.clients);
    let times = if script.again { 2 } else { 1 };
    (0..times)
        .map(|_| {
            let wire = Wire::new(script.down.clone());
            let server = serve(wire.clone(), Arc::clone(&server_config), script.room);
            let client = Client::new(Arc::clone(&client_config), script.damage);
            Session {
                client,
                wire,
                server: Box::pin(server),
                ended: None,
                moved: (0, 0),
            }
            .run(script)
        })
        .collect()
}

async fn ours(wire: Wire, config: Arc<ServerConfig>, room: usize) -> (Vec<u8>, End) {
    let mut connection = TlsConnection::new(wire, config).expect("a good configuration");
    match std::future::poll_fn(|cx| connection.poll_handshake(cx)).await {
        Ok(()) => application(connection, room).await,
        Err(error) => (Vec::new(), End::Error(error.kind())),
    }
}

async fn theirs(wire: Wire, config: Arc<ServerConfig>, room: usize) -> (Vec<u8>, End) {
    match TlsAcceptor::from(config).accept(wire).await {
        Ok(stream) => application(stream, room).await,
        Err(error) => (Vec::new(), End::Error(error.kind())),
    }
}

/// Sends everything back, and ends when its client does.
async fn application(mut stream: impl AsyncRead + AsyncWrite + Unpin, room: usize) -> (Vec<u8>, End) {
    let mut heard = Vec::new();
    let end = async {
        let mut buf = vec![0; room];
        loop {
            let got = stream.read(&mut buf).await?;
            if got == 0 {
                stream.write_all(FAREWELL).await?;
                stream.flush().await?;
                return stream.shutdown().await;
            }
            heard.extend_from_slice(&buf[..got]);
            stream.write_all(&buf[..got]).await?;
            stream.flush().await?;
        }
    }
    .await
    .map_or_else(|error| End::Error(error.kind()), |()| End::Clean);
    (heard, end)
}

struct Session<Serving> {
    client: Client,
    wire: Wire,
    server: Pin<Box<Serving>>,
    /// What became of the server.
    ended: Option<(Vec<u8>, End)>,
    moved: (usize, usize),
}

impl<Serving: Future<Output = (Vec<u8>, End)>> Session<Serving> {
    fn run(mut self, script: &Script) -> Outcome {
        let mut up = script.up.clone();
        let mut steps = script.steps.iter().enumerate();
        loop {
            let mut bytes = self.client.output();
            let mut over = self.client.is_broken();
            while !over && self.client.may_speak() {
                let Some((at, step)) = steps.next() else {
                    over = true;
                    break;
                };
                match step {
                    Step::Data(len) => self.client.write(&payload(at, *len)),
                    Step::KeyUpdate => self.client.change_keys(),
                    Step::Wait => break,
                    Step::Close => self.client.close(),
                    Step::Raw(raw) => {
                        bytes.extend(self.client.output());
                        bytes.extend_from_slice(raw);
                    }
                    Step::End => over = true,
                }
                bytes.extend(self.client.output());
            }
            let waits = bytes.is_empty();
            self.moved.0 += bytes.len();
            while !bytes.is_empty() {
                let rest = bytes.split_off(up.next(bytes.len()));
                self.wire.feed(&bytes);
                self.exchange();
                bytes = rest;
            }
            // A client that has nothing to say to what it has heard, in the middle of its handshake, waits for what will never come.
            if over || (waits && !self.client.may_speak()) {
                break;
            }
        }
        self.wire.end();
        self.exchange();
        let (heard, end) = self
            .ended
            .take()
            .expect("the server's side ends, as its client has");
        self.client.hear_the_end();
        Outcome {
            heard,
            end,
            handshake: self.client.handshake(),
            echoed: std::mem::take(&mut self.client.heard),
            told: self.client.told(),
            moved: self.moved,
        }
    }

    /// Lets the server's side work, and the client hear, until nothing happens any more.
    fn exchange(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if self.ended.is_none()
                && let Poll::Ready(ended) = self.server.as_mut().poll(&mut cx)
            {
                self.ended = Some(ended);
            }
            let bytes = self.wire.drain();
            if bytes.is_empty() {
                return;
            }
            self.moved.1 += bytes.len();
            self.client.input(&bytes);
        }
    }
}
