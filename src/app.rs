//! Wires a configuration to the stages, runs them, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::accept::{self, Inherited, Listener, Pace, Room};
use crate::addr;
use crate::admin;
use crate::bridge::Stop;
use crate::config::{self, Bind, Config};
use crate::drain::Switch;
use crate::generation::{Generation, Identities, Kept, MakeError, put_in_force};
use crate::reload::Reloader;
use crate::session::{self, Service};
use crate::telemetry::counts;
use crate::upgrade::Page;

/// Why sealock could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The service manager has not passed what the configuration says.
    #[error("cannot listen on the socket {name:?} of systemd: {error}")]
    Socket {
        /// The name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// What the configuration names cannot be used.
    #[error(transparent)]
    Make(#[from] MakeError),
}

/// A running sealock.
pub struct App {
    addresses: Vec<Bound>,
    admin: Option<SocketAddr>,
    service: Arc<Service>,
    listening: TaskTracker,
    /// Ends the admin listener, after everything else.
    _admin: DropGuard,
}

/// A listener that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which one of the configuration it is, from 0.
    pub listener: usize,
    /// The address, with the port that the system chose where the file says 0.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.tls { "wss" } else { "ws" }, self.address)
    }
}

impl App {
    /// Loads certificates, binds every listener or takes it from what is inherited, and starts to serve. Nothing is served when
    /// anything fails.
    pub fn start(
        config: Config,
        identities: Identities,
        mut inherited: Inherited,
        pages: fn(&str) -> Option<Page>,
    ) -> Result<Self, StartError> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let from_files = matches!(identities, Identities::Files);
        let generation = Generation::make(None, config, Kept::default(), &identities, &tasks, &stop)?;
        let mut listeners = Vec::new();
        for (at, listener) in generation.config.listeners.iter().enumerate() {
            let listening = listen(listener, &mut inherited)?;
            listeners.extend(listening.into_iter().map(|listening| (at, listening)));
        }
        let unused = inherited.names();
        if !unused.is_empty() {
            tracing::warn!(
                sockets = unused,
                "systemd has passed sockets that no listener names: nobody accepts there"
            );
        }
        // Where processes share a port they share this one: the next must not be kept from starting.
        let shared = generation.config.listeners.iter().any(|one| one.reuse_port);
        let admin = match &generation.config.admin {
            Some(admin) => Some(bind(admin.bind, shared)?),
            None => None,
        };
        let addresses: Vec<Bound> = listeners
            .iter()
            .map(|(at, listener)| Bound {
                listener: *at,
                address: listener.address(),
                tls: generation.ports.get(*at).is_some_and(|port| port.tls.is_some()),
            })
            .collect();
        let (room, pace) = (Room::shared_by(listeners.len()), Pace::default());
        put_in_force(&generation.config.limits, &room, &pace);
        let service = Arc::new(Service {
            reload: Reloader::new(from_files),
            current: ArcSwap::from_pointee(generation),
            sessions: Arc::default(),
            quota: Arc::default(),
            room: Arc::new(room),
            pace,
            closing: CancellationToken::new(),
            stop,
            tasks,
            openings: TaskTracker::new(),
            pages,
            draining: Switch::default(),
        });
        service.current.load().begin_checks();
        let listening = TaskTracker::new();
        for (at, listener) in listeners {
            listening.spawn(serve(listener, at, Arc::clone(&service)));
        }
        let admin_stop = CancellationToken::new();
        let admin_address = admin.as_ref().map(Listener::address);
        if let Some(listener) = admin {
            // Who shares it has to give it up when the others do, or the next process could not be asked.
            let accepting = match shared {
                true => service.closing.clone(),
                false => admin_stop.clone(),
            };
            let stops = (accepting, admin_stop.clone());
            admin::start(listener, Arc::clone(&service), addresses.clone(), stops);
        }
        Ok(Self {
            addresses,
            admin: admin_address,
            service,
            listening,
            _admin: admin_stop.drop_guard(),
        })
    }

    /// The admin listener's address, if there is one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The sockets that are listened on, in the order of the configuration.
    pub fn addresses(&self) -> &[Bound] {
        &self.addresses
    }

    /// What the connections share.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Accepts no more, and is no longer ready.
    pub fn close(&self) {
        self.service.closing.cancel();
    }

    /// Stops accepting, asks every session to end with 1001 within `drain_window`, and waits for them, but not longer than
    /// `shutdown_timeout` nor than `hurry`. Connections that were accepted have a moment to become sessions, which end as well, whatever the
    /// window is. Then those that are left get their Close frame wherever they are, and a moment for it; then they are cut. Returns how many were left.
    pub async fn shutdown(self, hurry: impl Future<Output = ()>) -> usize {
        let Service {
            sessions,
            tasks,
            stop,
            ..
        } = &*self.service;
        let generation = self.service.current.load();
        let timeout = generation.config.shutdown_timeout;
        // Who is told last has as long as the window is, at least.
        let window = generation.config.drain_window.min(timeout / 2);
        self.close();
        self.listening.close();
        tasks.close();
        let orderly = async {
            tokio::join!(
                sessions.drain(Stop::Shutdown, window, |_| true),
                self.end_openings(timeout.min(OPENING)),
            );
            tasks.wait().await;
        };
        tokio::select! {
            () = orderly => return 0,
            () = tokio::time::sleep(timeout) => {}
            () = hurry => {}
        }
        stop.cancel();
        let left = sessions.count();
        sessions.end(Stop::Shutdown);
        if tokio::time::timeout(LAST_MOMENT, tasks.wait()).await.is_err() {
            // So that each leaves its record.
            sessions.cut(Stop::Shutdown);
            drop(tokio::time::timeout(LAST_MOMENT, tasks.wait()).await);
        }
        left
    }

    /// Waits until no connection is on its way to become a session, but not longer than `patience`; ends what is left.
    async fn end_openings(&self, patience: Duration) {
        let opened = async {
            self.listening.wait().await;
            self.service.openings.close();
            self.service.openings.wait().await;
        };
        drop(tokio::time::timeout(patience, opened).await);
        self.service.stop.cancel();
    }
}

/// What connections have to become sessions once no more are accepted. They had been let in, and are not refused: their clients learn
/// from the Close frame of the session that they should come again.
const OPENING: Duration = Duration::from_secs(2);

/// What sessions have left once `shutdown_timeout` is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The sockets of a listener: one of its own, or those that it names.
fn listen(listener: &config::Listener, inherited: &mut Inherited) -> Result<Vec<Listener>, StartError> {
    match &listener.bind {
        Bind::Address(address) => Ok(vec![bind(*address, listener.reuse_port)?]),
        Bind::Socket(name) => {
            let near = |listening: &Listener| addr::is_loopback(listening.address().ip());
            let taken = inherited.listeners(name).and_then(|taken| {
                match taken
                    .iter()
                    .find(|listening| listener.loopback && !near(listening))
                {
                    None => Ok(taken),
                    Some(far) => Err(io::Error::other(format!(
                        "the listener promises plaintext = \"loopback\", and the socket is at {}",
                        far.address()
                    ))),
                }
            });
            taken.map_err(|error| StartError::Socket {
                name: name.clone(),
                error,
            })
        }
    }
}

fn bind(address: SocketAddr, reuse_port: bool) -> Result<Listener, StartError> {
    accept::bind(address, reuse_port).map_err(|error| StartError::Bind { address, error })
}

async fn serve(listener: Listener, at: usize, service: Arc<Service>) {
    let (room, closing) = (Arc::clone(&service.room), service.closing.clone());
    listener
        .serve(room, &service.pace, closing, |tcp, peer, permit| {
            session::start(&service, at, counts::accepted(), (tcp, peer), permit);
        })
        .await;
}
