//! The load generator, with the backend inside: one thread drives both.

mod backend;
mod client;
mod endpoint;
mod tls;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::traffic::Framing;

pub(crate) use client::{Client, Dialer, open};
pub(crate) use tls::{Identity, client_config};

/// Sessions that are being opened at one time.
const OPENING_AT_ONCE: usize = 32;
/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(2);

/// What sessions send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// The framing of the records.
    pub(crate) framing: Framing,
    /// Payload of each message.
    pub(crate) size: u64,
    /// Messages that each client sends.
    pub(crate) up: Budget,
    /// Messages that each backend sends.
    pub(crate) down: Budget,
    /// Clients put many messages into one TLS record and one write.
    pub(crate) batch: bool,
}

/// How many messages one end may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Messages at the start; `u64::MAX` stands for no limit.
    pub(crate) credit: u64,
    /// Each message that comes adds one.
    pub(crate) refill: bool,
}

impl Budget {
    /// Sends nothing.
    pub(crate) const NONE: Self = Self::some(0);
    /// Sends without pause.
    pub(crate) const ENDLESS: Self = Self::some(u64::MAX);
    /// Answers each message with one.
    pub(crate) const ANSWERS: Self = Self {
        credit: 0,
        refill: true,
    };

    /// Sends so many.
    pub(crate) const fn some(credit: u64) -> Self {
        Self {
            credit,
            refill: false,
        }
    }

    /// Keeps so many under way.
    pub(crate) const fn depth(credit: u64) -> Self {
        Self { credit, refill: true }
    }
}

/// What all sessions of a measurement share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) load: Load,
    /// Payload bytes that reached backends and clients, checked.
    pub(crate) up_bytes: Cell<u64>,
    pub(crate) down_bytes: Cell<u64>,
    /// Sessions whose number has reached the backend.
    pub(crate) numbered: Cell<usize>,
    /// Connections that ended in order.
    pub(crate) closed: Cell<u64>,
    /// Backend connections that are open.
    backends: Cell<usize>,
    /// The first thing that went wrong.
    failure: RefCell<Option<String>>,
    /// Turns true when sessions may send what their budget says.
    go: watch::Sender<bool>,
    opening: Semaphore,
}

impl World {
    pub(crate) fn new(load: Load) -> Rc<Self> {
        Rc::new(Self {
            load,
            up_bytes: Cell::new(0),
            down_bytes: Cell::new(0),
            numbered: Cell::new(0),
            closed: Cell::new(0),
            backends: Cell::new(0),
            failure: RefCell::new(None),
            go: watch::Sender::new(false),
            opening: Semaphore::new(OPENING_AT_ONCE),
        })
    }

    /// Lets sessions send.
    pub(crate) fn go(&self) {
        self.go.send_replace(true);
    }

    /// Payload that has made its way, to whichever end the load is for.
    pub(crate) fn bytes(&self) -> u64 {
        if self.load.down == Budget::NONE {
            self.up_bytes.get()
        } else {
            self.down_bytes.get()
        }
    }

    /// Remembers what went wrong. What ends because something else went wrong is not told.
    pub(crate) fn fail(&self, error: &dyn std::fmt::Display) {
        self.failure.borrow_mut().get_or_insert_with(|| error.to_string());
    }

    /// Fails when anything has gone wrong.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.failure.borrow() {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, limit: Duration, so: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        while !so(self) {
            self.check()?;
            if Instant::now() > end {
                return Err(format!("not within {} s: {what}", limit.as_secs()).into());
            }
            sleep(TICK).await;
        }
        self.check()
    }
}

/// A world with its backend and its sessions. Dropping it cuts them all.
pub(crate) struct Stage {
    pub(crate) world: Rc<World>,
    pub(crate) backend: SocketAddr,
    tasks: JoinSet<()>,
}

impl Stage {
    /// Starts the backend.
    pub(crate) async fn new(load: Load) -> Result<Self> {
        let world = World::new(load);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let backend = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn_local(backend::serve(listener, Rc::clone(&world)));
        Ok(Self {
            world,
            backend,
            tasks,
        })
    }

    /// Opens sessions and waits until all of them are.
    pub(crate) async fn open(&mut self, dialer: &Rc<Dialer>, sessions: u32) -> Result<()> {
        for session in 0..sessions {
            let (world, dialer) = (Rc::clone(&self.world), Rc::clone(dialer));
            self.tasks.spawn_local(client::run(world, dialer, session));
        }
        let limit = Duration::from_secs(10) + Duration::from_millis(10) * sessions;
        let wanted = sessions as usize;
        self.world
            .until("all sessions open", limit, |world| world.numbered.get() == wanted)
            .await
    }

    /// Runs a task beside the sessions.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(task);
    }

    /// Cuts all sessions, and ends the backend.
    pub(crate) async fn cut(&mut self) {
        self.tasks.shutdown().await;
    }
}
