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
use crate::backend::{Pool, Secure};
use crate::config::{BackendTls, Certificate, Config, Tls};
use crate::io::Connection;
use crate::route::RouteTable;
use crate::session::{self, Destination, Port, Service};
use crate::tls::client::Trust;
use crate::tls::{self, ClientCa, Connector, Identity, IdentityError, ServerConfig};
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
                proxies: listener.proxies.clone(),
                proxy_timeout: match tls {
                    Some(_) => listener.handshake_timeout,
                    None => listener.request_timeout,
                },
                forwarding: listener.forwarding.clone(),
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
        let mut routes = Vec::new();
        for route in config.routes {
            let secure = route.backend_tls.as_ref().map(secure).transpose()?;
            let pool = Pool::new(&route.name, route.backend.clone(), secure, &tasks, &stop);
            let (hosts, path) = (route.hosts.clone(), route.path.clone());
            let route = Arc::new(route);
            routes.push((hosts, path, Arc::new(Destination { route, pool })));
        }
        let service = Arc::new(Service {
            routes: RouteTable::new(routes),
            sessions: Arc::new(Semaphore::new(config.limits.max_sessions)),
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
            shutdown_timeout: config.shutdown_timeout,
        })
    }

    /// The listeners, in the order of the configuration.
    pub fn addresses(&self) -> &[Bound] {
        &self.addresses
    }

    /// Stops accepting, tells every session 1001, and waits for them, but not longer than `shutdown_timeout` nor than `hurry`.
    /// Returns false when some had to be cut.
    pub async fn shutdown(self, hurry: impl Future<Output = ()>) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => true,
            () = tokio::time::sleep(self.shutdown_timeout) => false,
            () = hurry => false,
        }
    }
}

/// The TLS of one listener. Each has its own: a ticket of one is worth nothing at another, whose clients may be others.
fn server_config(files: &Certificate, identities: &Identities) -> Result<Arc<ServerConfig>, StartError> {
    let identity = match identities {
        Identities::Files => Identity::load(&files.cert_file, &files.key_file)?,
        Identities::Given(identity) => identity.clone(),
    };
    let client_ca = files.client_ca_file.as_deref().map(ClientCa::load).transpose()?;
    tls::server_config(&identity, client_ca.as_ref()).map_err(|error| StartError::Tls(error.to_string()))
}

/// TLS to the targets of a route.
fn secure(tls: &BackendTls) -> Result<Secure, IdentityError> {
    let trust = tls.ca_file.clone().map_or(Trust::System, Trust::File);
    let certificate = tls.certificate.as_ref();
    let identity = certificate
        .map(|(cert, key)| Identity::load(cert, key))
        .transpose()?;
    let connector = Connector::new(&trust, tls.server_name.as_deref(), identity.as_ref())?;
    Ok(Arc::new(move |tcp, host| {
        let (connector, host) = (connector.clone(), host.to_owned());
        Box::pin(async move {
            let stream: Box<dyn Connection + Send> = Box::new(connector.connect(tcp, &host).await?);
            Ok(stream)
        })
    }))
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

/// Checks what [`App::start`] would need, without starting: every certificate with its key, and the authorities of clients and
/// backends.
pub fn check(config: &Config) -> Vec<IdentityError> {
    let files = config
        .listeners
        .iter()
        .filter_map(|listener| match &listener.tls {
            Tls::On(files) => Some(files),
            Tls::Off => None,
        });
    let backends = config
        .routes
        .iter()
        .filter_map(|route| secure(route.backend_tls.as_ref()?).err());
    files
        .flat_map(|files| {
            let identity = Identity::load(&files.cert_file, &files.key_file).err();
            let client_ca = files.client_ca_file.as_deref().map(ClientCa::load);
            identity.into_iter().chain(client_ca.and_then(Result::err))
        })
        .chain(backends)
        .collect()
}
