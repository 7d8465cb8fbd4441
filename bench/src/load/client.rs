//! The clients.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::endpoint::{End, Endpoint, KEY, Wire};
use super::tls::Tls;
use super::{Budget, Load, World};
use crate::Result;
use crate::traffic::{Coding, Receiver, Sender};

/// Longest time for opening, for one answer, and for closing.
const LIMIT: Duration = Duration::from_secs(10);

/// Where and how clients connect.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    /// The proxy.
    pub(crate) address: SocketAddr,
    /// Without it, nothing is encrypted.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The path of the upgrade; without it, records are sent as they are.
    pub(crate) path: Option<String>,
}

/// A session, as its client sees it.
#[derive(Debug)]
pub(crate) struct Client {
    end: Endpoint,
    websocket: bool,
}

/// Opens a session: returns when the backend's greeting has come through.
pub(crate) async fn open(dialer: &Dialer, load: &Load, session: u32) -> Result<Client> {
    let opening = connect(dialer, load, session);
    timeout(LIMIT, opening)
        .await
        .map_err(|_| "a session did not open in time")?
}

async fn connect(dialer: &Dialer, load: &Load, session: u32) -> Result<Client> {
    let mut tcp = TcpStream::connect(dialer.address).await?;
    tcp.set_nodelay(true)?;
    let (wire, early) = match &dialer.tls {
        None => (Wire::Plain, Vec::new()),
        Some(config) => {
            let (tls, early) = Tls::connect(&mut tcp, Arc::clone(config)).await?;
            (Wire::Tls(Box::new(tls)), early)
        }
    };
    let websocket = dialer.path.is_some();
    let coding = if websocket {
        Coding::WebSocket(load.framing)
    } else {
        Coding::Stream(load.framing)
    };
    let tx = Sender::uplink(coding, load.size, session);
    let rx = Receiver::at_client(coding, load.size, session);
    let mut end = Endpoint::new(tcp, wire, load, tx, rx);
    end.early(early)?;
    if let Some(path) = &dialer.path {
        end.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            dialer.address
        ))?;
    }
    let greeted = |end: &Endpoint| !end.is_asking() && end.rx.opened().is_some();
    let mut none = Budget::NONE;
    match end.drive(&mut none, &Cell::new(0), greeted).await? {
        End::Reached => Ok(Client { end, websocket }),
        End::Closed => Err("closed before the backend's greeting came".into()),
    }
}

impl Client {
    /// True when the TLS handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(&self.end.wire, Wire::Tls(tls) if tls.is_resumed())
    }

    /// Tells the backend who this is.
    pub(crate) async fn introduce(&mut self, session: u32) -> Result<()> {
        let number: [u8; 8] = format!("{session:08x}")
            .as_bytes()
            .try_into()
            .map_err(|_| "a session's number is too long")?;
        self.end.open(number)?;
        let mut none = Budget::NONE;
        self.end.drive(&mut none, &Cell::new(0), |_| true).await.map(drop)
    }

    /// Sends one message and waits for its answer; returns the time between.
    pub(crate) async fn ping(&mut self, count: &Cell<u64>) -> Result<Duration> {
        let wanted = self.end.rx.messages() + 1;
        let start = Instant::now();
        let mut budget = Budget::some(1);
        let answered = |end: &Endpoint| end.rx.messages() >= wanted;
        let ended = timeout(LIMIT, self.end.drive(&mut budget, count, answered)).await;
        match ended.map_err(|_| "no answer came in time")?? {
            End::Reached => Ok(start.elapsed()),
            End::Closed => Err("closed before the answer came".into()),
        }
    }

    /// Ends the session in order, and waits until the proxy has closed.
    pub(crate) async fn close(mut self) -> Result<()> {
        let count = Cell::new(0);
        let mut none = Budget::NONE;
        let closing = async {
            if self.websocket {
                self.end.close_frame()?;
                let closed = |end: &Endpoint| end.rx.is_closed();
                if self.end.drive(&mut none, &count, closed).await? == End::Closed {
                    return Err("closed without an answer to the Close frame".into());
                }
            }
            self.end.finish().await?;
            self.end.drive(&mut none, &count, |_| false).await.map(drop)
        };
        timeout(LIMIT, closing)
            .await
            .map_err(|_| "a session did not close in time")?
    }
}

/// A session that waits for the start, then sends what the load says.
pub(super) async fn run(world: Rc<World>, dialer: Rc<Dialer>, session: u32) {
    let error = match drive(&world, &dialer, session).await {
        Ok(()) => return world.fail(&"the proxy closed a session"),
        Err(error) => error,
    };
    world.fail(&format_args!("client: {error}"));
}

async fn drive(world: &World, dialer: &Dialer, session: u32) -> Result<()> {
    let permit = world.opening.acquire().await?;
    let mut client = open(dialer, &world.load, session).await?;
    client.introduce(session).await?;
    drop(permit);
    let end = &mut client.end;
    end.shrink();
    let mut go = world.go.subscribe();
    let mut none = Budget::NONE;
    tokio::select! {
        ended = end.drive(&mut none, &world.down_bytes, |_| false) => return ended.map(drop),
        _ = go.wait_for(|go| *go) => {}
    }
    let mut budget = world.load.up;
    end.drive(&mut budget, &world.down_bytes, |_| false)
        .await
        .map(drop)
}
