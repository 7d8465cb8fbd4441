//! Wires a configuration to the stages, runs them, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::accept::{self, Listener};
use crate::admin::{self, Access};
use crate::backend::{Pool, Secure};
use crate::bridge::Stop;
use crate::config::{self, BackendTls, Certificate, Config, Tls};
use crate::io::Connection;
use crate::route::RouteTable;
use crate::session::{self, Destination, Generation, Port, Service};
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
    /// The token of the admin listener cannot be read.
    #[error("the token of the admin listener: {0}")]
    Token(io::Error),
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
    admin: Option<SocketAddr>,
    service: Arc<Service>,
    identities: Identities,
    /// Ends the admin listener, after everything else.
    _admin: DropGuard,
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
        identities: Identities,
        pages: fn(&str) -> Option<Page>,
    ) -> Result<Self, StartError> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let generation = Generation::make(0, config, &identities, &tasks, &stop)?;
        let mut listeners = Vec::new();
        for listener in &generation.config.listeners {
            let address = listener.bind;
            listeners.push(accept::bind(address).map_err(|error| StartError::Bind { address, error })?);
        }
        let admin = match &generation.config.admin {
            Some(config::Admin { bind: address, .. }) => {
                let address = *address;
                Some(accept::bind(address).map_err(|error| StartError::Bind { address, error })?)
            }
            None => None,
        };
        let addresses: Vec<Bound> = listeners
            .iter()
            .zip(&generation.ports)
            .map(|(listener, port)| Bound {
                address: listener.address(),
                tls: port.tls.is_some(),
            })
            .collect();
        let handshakes = Arc::new(Semaphore::new(generation.config.limits.max_handshakes));
        let service = Arc::new(Service {
            current: ArcSwap::from_pointee(generation),
            sessions: Arc::default(),
            stop,
            tasks,
            pages,
            draining: AtomicBool::new(false),
            reload: OnceLock::new(),
        });
        for (at, listener) in listeners.into_iter().enumerate() {
            let serving = serve(listener, at, Arc::clone(&service), Arc::clone(&handshakes));
            service.tasks.spawn(serving);
        }
        let admin_stop = CancellationToken::new();
        let admin_address = admin.as_ref().map(Listener::address);
        if let Some(listener) = admin {
            admin::start(
                listener,
                Arc::clone(&service),
                addresses.clone(),
                admin_stop.clone(),
            );
        }
        Ok(Self {
            addresses,
            admin: admin_address,
            service,
            identities,
            _admin: admin_stop.drop_guard(),
        })
    }

    /// The admin listener's address, if there is one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The listeners, in the order of the configuration.
    pub fn addresses(&self) -> &[Bound] {
        &self.addresses
    }

    /// What the connections share.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Puts another configuration in force for the connections to come; sessions go on as they began. Gives what cannot be changed
    /// while sealock runs. When anything fails, all stays as it was.
    pub fn reload(&self, config: Config) -> Result<Vec<String>, StartError> {
        let old = self.service.current.load_full();
        let Service { tasks, stop, .. } = &*self.service;
        let (next, fixed) = Generation::after(&old, config, &self.identities, tasks, stop)?;
        self.service.current.store(Arc::new(next));
        Ok(fixed)
    }

    /// Stops accepting, asks every session to end with 1001 within `drain_window`, and waits for them, but not longer than
    /// `shutdown_timeout` nor than `hurry`. Then those that are left get their Close frame wherever they are, and a moment for it.
    /// Returns false when some had not ended by then.
    pub async fn shutdown(self, hurry: impl Future<Output = ()>) -> bool {
        let Service {
            sessions,
            tasks,
            stop,
            ..
        } = &*self.service;
        let generation = self.service.current.load();
        let timeout = generation.config.shutdown_timeout;
        stop.cancel();
        tasks.close();
        let orderly = async {
            let window = generation.config.drain_window.min(timeout);
            sessions.drain(Stop::Shutdown, window, |_| true).await;
            tasks.wait().await;
        };
        tokio::select! {
            () = orderly => return true,
            () = tokio::time::sleep(timeout) => {}
            () = hurry => {}
        }
        sessions.end(Stop::Shutdown);
        drop(tokio::time::timeout(LAST_MOMENT, tasks.wait()).await);
        false
    }
}

impl Generation {
    /// Makes what a configuration needs.
    fn make(
        number: u64,
        config: Config,
        identities: &Identities,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let ports = config
            .listeners
            .iter()
            .map(|listener| Port::make(listener, identities))
            .collect::<Result<_, _>>()?;
        let (mut routes, mut destinations) = (Vec::new(), Vec::new());
        for route in config.routes.iter().cloned() {
            let secure = route.backend_tls.as_ref().map(secure).transpose()?;
            let pool = Pool::new(&route.name, route.backend.clone(), secure, tasks, stop);
            let (hosts, path) = (route.hosts.clone(), route.path.clone());
            let destination = Arc::new(Destination {
                route: Arc::new(route),
                pool,
                draining: AtomicBool::new(false),
            });
            destinations.push(Arc::clone(&destination));
            routes.push((hosts, path, destination));
        }
        let admin = config.admin.as_ref().map(Access::load).transpose();
        Ok(Self {
            number,
            since: SystemTime::now(),
            routes: RouteTable::new(routes),
            destinations,
            admin: admin.map_err(StartError::Token)?,
            ports,
            config,
        })
    }

    /// Makes the next one for the same listeners, and says what of it has to wait for a restart.
    fn after(
        old: &Self,
        mut config: Config,
        identities: &Identities,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(Self, Vec<String>), StartError> {
        let mut fixed = Vec::new();
        let mut wanted = std::mem::take(&mut config.listeners);
        for running in &old.config.listeners {
            let same = |other: &config::Listener| {
                other.bind == running.bind
                    && matches!(other.tls, Tls::On(_)) == matches!(running.tls, Tls::On(_))
            };
            let found = wanted.iter().position(same).map(|at| wanted.remove(at));
            if found.is_none() {
                fixed.push(format!(
                    "the listener {} is no longer in the file, or has TLS no longer",
                    running.bind
                ));
            }
            config.listeners.push(found.unwrap_or_else(|| running.clone()));
        }
        fixed.extend(
            wanted
                .iter()
                .map(|new| format!("the listener {} is new", new.bind)),
        );
        let address = |config: &Config| config.admin.as_ref().map(|admin| admin.bind);
        if address(&config) != address(&old.config) {
            fixed.push("the address of the admin listener is another".to_owned());
            config.admin.clone_from(&old.config.admin);
        }
        if config.limits.max_handshakes != old.config.limits.max_handshakes {
            fixed.push("max_handshakes is another".to_owned());
        }
        Ok((
            Self::make(old.number + 1, config, identities, tasks, stop)?,
            fixed,
        ))
    }
}

impl Port {
    fn make(listener: &config::Listener, identities: &Identities) -> Result<Self, StartError> {
        let (tls, not_after) = match &listener.tls {
            Tls::On(files) => {
                let (config, not_after) = server_config(files, identities)?;
                (Some(config), not_after)
            }
            Tls::Off => (None, None),
        };
        Ok(Self {
            proxies: listener.proxies.clone(),
            proxy_timeout: match tls {
                Some(_) => listener.handshake_timeout,
                None => listener.request_timeout,
            },
            forwarding: listener.forwarding.clone(),
            handshake_timeout: listener.handshake_timeout,
            bounds: Bounds {
                request_timeout: listener.request_timeout,
                max_head: listener.max_head,
                tls: tls.is_some(),
            },
            tls,
            not_after,
        })
    }
}

/// What sessions have left once `shutdown_timeout` is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The TLS of one listener. Each has its own: a ticket of one is worth nothing at another, whose clients may be others.
fn server_config(
    files: &Certificate,
    identities: &Identities,
) -> Result<(Arc<ServerConfig>, Option<jiff::Timestamp>), StartError> {
    let identity = match identities {
        Identities::Files => Identity::load(&files.cert_file, &files.key_file)?,
        Identities::Given(identity) => identity.clone(),
    };
    let client_ca = files.client_ca_file.as_deref().map(ClientCa::load).transpose()?;
    match tls::server_config(&identity, client_ca.as_ref()) {
        Ok(config) => Ok((config, identity.not_after())),
        Err(error) => Err(StartError::Tls(error.to_string())),
    }
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

async fn serve(listener: Listener, at: usize, service: Arc<Service>, handshakes: Arc<Semaphore>) {
    let stop = service.stop.clone();
    listener
        .serve(handshakes, stop, |tcp, peer, permit| {
            let id = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
            session::start(&service, at, id, (tcp, peer), permit);
        })
        .await;
}

/// Checks what [`App::start`] would need, without starting: every certificate with its key, and the authorities of clients and
/// backends, and the token of the admin listener.
pub fn check(config: &Config) -> Vec<StartError> {
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
    let token = config.admin.as_ref().and_then(|admin| Access::load(admin).err());
    let token = token.map(StartError::Token);
    files
        .flat_map(|files| {
            let identity = Identity::load(&files.cert_file, &files.key_file).err();
            let client_ca = files.client_ca_file.as_deref().map(ClientCa::load);
            identity.into_iter().chain(client_ca.and_then(Result::err))
        })
        .chain(backends)
        .map(StartError::Identity)
        .chain(token)
        .collect()
}
