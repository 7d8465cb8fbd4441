//! Wires a configuration to the stages, runs them, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{self, Listener};
use crate::bridge::Stop;
use crate::config::{Certificate, Config, Tls};
use crate::route::RouteTable;
use crate::session::{self, Port, Service};
use crate::sessions::Sessions;
use crate::tls::{self, ClientCa, Identity, IdentityError, ServerConfig};
use crate::upgrade::{Bounds, Page};

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
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Where listeners take their certificates from.
pub enum Identities {
    /// From the files that the configuration names.
    Files,
    /// This one, for every TLS listener.
    Given(Identity),
}

/// A running sealock.
pub struct App {
    addresses: Vec<Bound>,
    stop: CancellationToken,
    tasks: TaskTracker,
    sessions: Arc<Sessions>,
    drain_window: Duration,
    shutdown_timeout: Duration,
}

/// A listener that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
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

/// Numbers connections, for the span that their log lines share.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

impl App {
    /// Loads certificates, binds every listener, and starts to serve. Nothing is served when anything fails.
    pub fn start(
        config: Config,
        identities: &Identities,
        pages: fn(&str) -> Option<Page>,
    ) -> Result<Self, StartError> {
        let mut ports = Vec::new();
        for listener in &config.listeners {
            let tls = match &listener.tls {
                Tls::On(files) => Some(server_config(files, identities)?),
                Tls::Off => None,
            };
            let bounds = Bounds {
                request_timeout: listener.request_timeout,
                max_head: listener.max_head,
                tls: tls.is_some(),
            };
            ports.push(Arc::new(Port {
                tls,
                handshake_timeout: listener.handshake_timeout,
                bounds,
            }));
        }
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listener.bind;
            listeners.push(accept::bind(address).map_err(|error| StartError::Bind { address, error })?);
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let sessions = Arc::new(Sessions::default());
        let routes = config.routes.into_iter().map(|route| {
            let route = Arc::new(route);
            (route.hosts.clone(), route.path.clone(), route)
        });
        let service = Arc::new(Service {
            routes: RouteTable::new(routes),
            places: Arc::new(Semaphore::new(config.limits.max_sessions)),
            sessions: Arc::clone(&sessions),
            stop: stop.clone(),
            tasks: tasks.clone(),
            pages,
        });
        let handshakes = Arc::new(Semaphore::new(config.limits.max_handshakes));
        let addresses = listeners
            .iter()
            .zip(&ports)
            .map(|(listener, port)| Bound {
                address: listener.address(),
                tls: port.tls.is_some(),
            })
            .collect();
        for (listener, port) in listeners.into_iter().zip(ports) {
            tasks.spawn(serve(
                listener,
                port,
                Arc::clone(&service),
                Arc::clone(&handshakes),
            ));
        }
        Ok(Self {
            addresses,
            stop,
            tasks,
            sessions,
            drain_window: config.drain_window,
            shutdown_timeout: config.shutdown_timeout,
        })
    }

    /// The listeners, in the order of the configuration.
    pub fn addresses(&self) -> &[Bound] {
        &self.addresses
    }

    /// Stops accepting, asks every session to end with 1001 within `drain_window`, and waits for them, but not longer than
    /// `shutdown_timeout` nor than `hurry`. Then those that are left get their Close frame wherever they are, and a moment for it.
    /// Returns false when some had not ended by then.
    pub async fn shutdown(self, hurry: impl Future<Output = ()>) -> bool {
        self.stop.cancel();
        self.tasks.close();
        let orderly = async {
            let window = self.drain_window.min(self.shutdown_timeout);
            self.sessions.drain(Stop::Shutdown, window, |_| true).await;
            self.tasks.wait().await;
        };
        tokio::select! {
            () = orderly => return true,
            () = tokio::time::sleep(self.shutdown_timeout) => {}
            () = hurry => {}
        }
        self.sessions.end(Stop::Shutdown);
        drop(tokio::time::timeout(LAST_MOMENT, self.tasks.wait()).await);
        false
    }
}

/// What sessions have left once `shutdown_timeout` is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The TLS of one listener. Each has its own: a ticket of one is worth nothing at another, whose clients may be others.
fn server_config(files: &Certificate, identities: &Identities) -> Result<Arc<ServerConfig>, StartError> {
    let identity = match identities {
        Identities::Files => Identity::load(&files.cert_file, &files.key_file)?,
        Identities::Given(identity) => identity.clone(),
    };
    let client_ca = files.client_ca_file.as_deref().map(ClientCa::load).transpose()?;
    tls::server_config(&identity, client_ca.as_ref()).map_err(|error| StartError::Tls(error.to_string()))
}

async fn serve(listener: Listener, port: Arc<Port>, service: Arc<Service>, handshakes: Arc<Semaphore>) {
    let stop = service.stop.clone();
    listener
        .serve(handshakes, stop, |tcp, peer, permit| {
            let id = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
            session::start(&service, &port, id, (tcp, peer), permit);
        })
        .await;
}

/// Checks what [`App::start`] would need, without starting: every certificate with its key, and the authorities of clients.
pub fn check(config: &Config) -> Vec<IdentityError> {
    let files = config
        .listeners
        .iter()
        .filter_map(|listener| match &listener.tls {
            Tls::On(files) => Some(files),
            Tls::Off => None,
        });
    files
        .flat_map(|files| {
            let identity = Identity::load(&files.cert_file, &files.key_file).err();
            let client_ca = files.client_ca_file.as_deref().map(ClientCa::load);
            identity.into_iter().chain(client_ca.and_then(Result::err))
        })
        .collect()
}
