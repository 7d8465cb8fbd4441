//! Wires a configuration to the stages, runs them, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{self, Inherited, Listener, Pace};
use crate::addr;
use crate::backend::{Pool, Secure};
use crate::bridge::{self, Stop};
use crate::config::{self, BackendTls, Bind, Certificate, Config, OtherCertificate, Tls};
use crate::io::Connection;
use crate::reload::Reloader;
use crate::route::RouteTable;
use crate::session::{self, Destination, Generation, Port, Service};
use crate::tls::client::Trust;
use crate::tls::{self, Certificates, ClientCa, Connector, Identity, IdentityError, ServerConfig};
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
    /// The service manager has not passed what the configuration says.
    #[error("cannot listen on the socket {name:?} of systemd: {error}")]
    Socket {
        /// The name.
        name: String,
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
    service: Arc<Service>,
    listening: TaskTracker,
    handshakes: Arc<Semaphore>,
    /// How many of them there are.
    most_handshakes: usize,
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
    /// Loads certificates, binds every listener or takes it from what is inherited, and starts to serve. Nothing is served when
    /// anything fails.
    pub fn start(
        config: Config,
        identities: Identities,
        mut inherited: Inherited,
        pages: fn(&str) -> Option<Page>,
    ) -> Result<Self, StartError> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let generation = Generation::make(None, config, &identities, &tasks, &stop)?;
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
        let addresses = listeners
            .iter()
            .map(|(at, listener)| Bound {
                address: listener.address(),
                tls: generation.ports.get(*at).is_some_and(|port| port.tls.is_some()),
            })
            .collect();
        let most_handshakes = generation.config.limits.max_handshakes;
        let handshakes = Arc::new(Semaphore::new(most_handshakes));
        let pace = Pace::default();
        put_in_force(&generation.config.limits, &pace);
        let service = Arc::new(Service {
            reload: Reloader::new(generation.since),
            current: ArcSwap::from_pointee(generation),
            sessions: Arc::default(),
            quota: Arc::default(),
            pace,
            closing: CancellationToken::new(),
            stop,
            tasks,
            pages,
        });
        let listening = TaskTracker::new();
        for (at, listener) in listeners {
            let serving = serve(listener, at, Arc::clone(&service), Arc::clone(&handshakes));
            listening.spawn(serving);
        }
        Ok(Self {
            addresses,
            service,
            listening,
            handshakes,
            most_handshakes,
        })
    }

    /// The sockets that are listened on, in the order of the configuration.
    pub fn addresses(&self) -> &[Bound] {
        &self.addresses
    }

    /// What the connections share.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Stops accepting, asks every session to end with 1001 within `drain_window`, and waits for them, but not longer than
    /// `shutdown_timeout` nor than `hurry`. Connections that were accepted have a moment to become sessions, which end as well. Then those that are left get their Close frame wherever they are, and a moment for it.
    /// Returns false when some had not ended by then.
    pub async fn shutdown(self, hurry: impl Future<Output = ()>) -> bool {
        let Service {
            sessions,
            tasks,
            closing,
            stop,
            ..
        } = &*self.service;
        let generation = self.service.current.load();
        let timeout = generation.config.shutdown_timeout;
        let window = generation.config.drain_window.min(timeout);
        closing.cancel();
        self.listening.close();
        tasks.close();
        let orderly = async {
            tokio::join!(
                sessions.drain(Stop::Shutdown, window, |_| true),
                self.end_openings(window.min(OPENING)),
            );
            tasks.wait().await;
        };
        tokio::select! {
            () = orderly => return true,
            () = tokio::time::sleep(timeout) => {}
            () = hurry => {}
        }
        stop.cancel();
        sessions.end(Stop::Shutdown);
        drop(tokio::time::timeout(LAST_MOMENT, tasks.wait()).await);
        false
    }

    /// Waits until no connection is on its way to become a session, but not longer than `patience`; ends what is left.
    async fn end_openings(&self, patience: Duration) {
        let opened = async {
            self.listening.wait().await;
            // Each has one of the permits. More than fit into the number there never are.
            let all = u32::try_from(self.most_handshakes).unwrap_or(u32::MAX);
            drop(self.handshakes.acquire_many(all).await);
        };
        drop(tokio::time::timeout(patience, opened).await);
        self.service.stop.cancel();
    }
}

/// A configuration that is ready to come into force.
pub struct Next {
    generation: Generation,
    waiting: Vec<String>,
}

impl Next {
    /// Makes what the configuration needs, from the files that it names. Nothing is changed by that. Blocks, and belongs inside the
    /// runtime.
    pub fn make(service: &Service, config: Config) -> Result<Self, StartError> {
        let old = service.current.load();
        let (generation, waiting) =
            Generation::after(&old, config, &Identities::Files, &service.tasks, &service.stop)?;
        Ok(Self { generation, waiting })
    }

    /// Puts it in force for the connections to come; sessions go on as they began. Gives what of it has to wait for a restart.
    pub fn put(self, service: &Service) -> Vec<String> {
        put_in_force(&self.generation.config.limits, &service.pace);
        service.current.store(Arc::new(self.generation));
        self.waiting
    }
}

impl Generation {
    /// Makes what a configuration needs. A route whose backend is as it was in the old one keeps what is known of its targets, and how
    /// many sessions they have. Over TLS it does not: its files may hold something else now.
    fn make(
        old: Option<&Self>,
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
        let mut routes = Vec::new();
        for route in config.routes.iter().cloned() {
            let secure = route.backend_tls.as_ref().map(secure).transpose()?;
            let same = |other: &&Arc<Destination>| {
                let clear = secure.is_none() && other.route.backend_tls.is_none();
                clear && other.route.name == route.name && other.route.backend == route.backend
            };
            let pool = match old.and_then(|old| old.routes.values().find(same)) {
                Some(same) => Arc::clone(&same.pool),
                None => {
                    let pool = Pool::new(&route.name, route.backend.clone(), secure, tasks, stop);
                    Arc::new(pool)
                }
            };
            let (hosts, path) = (route.hosts.clone(), route.path.clone());
            let route = Arc::new(route);
            routes.push((hosts, path, Arc::new(Destination { route, pool })));
        }
        Ok(Self {
            number: old.map_or(0, |old| old.number + 1),
            since: SystemTime::now(),
            routes: RouteTable::new(routes),
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
            let mut found = wanted.iter().position(same).map(|at| wanted.remove(at));
            if let Some(found) = found
                .as_mut()
                .filter(|found| found.reuse_port != running.reuse_port)
            {
                fixed.push(format!("reuse_port of the listener {} is another", running.bind));
                found.reuse_port = running.reuse_port;
            }
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
        if config.limits.max_handshakes != old.config.limits.max_handshakes {
            fixed.push("max_handshakes is another".to_owned());
            config.limits.max_handshakes = old.config.limits.max_handshakes;
        }
        if config.log_file != old.config.log_file {
            fixed.push("log_file is another".to_owned());
            config.log_file.clone_from(&old.config.log_file);
        }
        Ok((Self::make(Some(old), config, identities, tasks, stop)?, fixed))
    }
}

impl Port {
    fn make(listener: &config::Listener, identities: &Identities) -> Result<Self, StartError> {
        let tls = match &listener.tls {
            Tls::On(files) => Some(server_config(files, identities)?),
            Tls::Off => None,
        };
        Ok(Self {
            max_sessions: listener.max_sessions,
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
        })
    }
}

/// What connections have to become sessions once no more are accepted. They had been let in, and are not refused: their clients learn
/// from the Close frame of the session that they should come again.
const OPENING: Duration = Duration::from_secs(2);

/// What sessions have left once `shutdown_timeout` is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The TLS of one listener. Each has its own: a ticket of one is worth nothing at another, whose clients may be others.
fn server_config(files: &Certificate, identities: &Identities) -> Result<Arc<ServerConfig>, StartError> {
    let certificates = match identities {
        Identities::Files => certificates(files)?,
        Identities::Given(identity) => Certificates::from(identity),
    };
    let client_ca = files.client_ca_file.as_deref().map(ClientCa::load).transpose()?;
    tls::server_config(certificates, client_ca.as_ref()).map_err(|error| StartError::Tls(error.to_string()))
}

fn certificates(files: &Certificate) -> Result<Certificates, IdentityError> {
    let mut certificates = Certificates::from(&Identity::load(&files.cert_file, &files.key_file)?);
    for other in &files.others {
        let (identity, names) = load_other(other)?;
        certificates.add(&identity, names);
    }
    Ok(certificates)
}

/// A certificate, and the names for which it is shown.
fn load_other(other: &OtherCertificate) -> Result<(Identity, Vec<String>), IdentityError> {
    let identity = Identity::load(&other.cert_file, &other.key_file)?;
    match identity.names(other.names.as_deref()) {
        Ok(names) => Ok((identity, names)),
        Err(problem) => Err(IdentityError::File {
            file: other.cert_file.clone(),
            problem,
        }),
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

/// The sockets of a listener: one of its own, or those that it names.
fn listen(listener: &config::Listener, inherited: &mut Inherited) -> Result<Vec<Listener>, StartError> {
    match &listener.bind {
        Bind::Address(address) => match accept::bind(*address, listener.reuse_port) {
            Ok(listening) => Ok(vec![listening]),
            Err(error) => Err(StartError::Bind {
                address: *address,
                error,
            }),
        },
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

/// Sets those limits that are no affair of a single connection.
fn put_in_force(limits: &config::Limits, pace: &Pace) {
    bridge::set_budget(limits.gather_budget);
    let rate = limits
        .handshakes_per_second
        .and_then(|rate| NonZeroU64::new(rate as u64));
    pace.set(rate);
}

async fn serve(listener: Listener, at: usize, service: Arc<Service>, handshakes: Arc<Semaphore>) {
    let closing = service.closing.clone();
    listener
        .serve(handshakes, &service.pace, closing, |tcp, peer, permit| {
            let id = CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1;
            session::start(&service, at, id, (tcp, peer), permit);
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
            let others = files.others.iter().filter_map(|other| load_other(other).err());
            let client_ca = files.client_ca_file.as_deref().map(ClientCa::load);
            identity
                .into_iter()
                .chain(others)
                .chain(client_ca.and_then(Result::err))
        })
        .chain(backends)
        .collect()
}
