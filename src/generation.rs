//! What one reading of the configuration gives, replaced as a whole: routes with their backends, certificates, limits.

use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Pace, Room};
use crate::addr::{self, Networks};
use crate::admin::Access;
use crate::backend::{Pool, Secure};
use crate::bridge;
use crate::config::{self, BackendTls, Certificate, Config, OtherCertificate, Route, Tls};
use crate::drain::Switch;
use crate::io::Connection;
use crate::route::RouteTable;
use crate::session::Service;
use crate::tls::{
    self, Certificates, ClientCa, Connector, Identity, IdentityError, ServerConfig, SystemRoots,
};
use crate::upgrade::{Bounds, Forwarding};

/// A route, and the way to its backend. Sessions keep the route alone, so that the pool can be replaced under them.
pub struct Destination {
    /// What the configuration says.
    pub route: Arc<Route>,
    /// Its targets, with what is known of them.
    pub pool: Arc<Pool>,
    /// What its TLS is made of, where a target speaks it.
    print: Option<u64>,
    /// When the certificate ends that its targets are shown, if they are shown one.
    pub not_after: Option<jiff::Timestamp>,
    /// No sessions are begun: [`Service::drain`].
    pub draining: Arc<Switch>,
}

/// What one reading of the configuration gave. It is replaced as a whole.
pub struct Generation {
    /// How many there were before it.
    pub number: u64,
    /// When it came into force.
    pub since: SystemTime,
    /// What it was made of.
    pub config: Config,
    /// Where requests go.
    pub routes: RouteTable<Arc<Destination>>,
    /// The same, each once, in the order of the file.
    pub destinations: Vec<Arc<Destination>>,
    /// Who may use the admin listener, where there is one.
    pub admin: Option<Arc<Access>>,
    /// What connections of each listener share, in the order of the listeners.
    pub ports: Vec<Arc<Port>>,
}

/// What all connections of a listener share.
pub struct Port {
    /// The most sessions that began here.
    pub max_sessions: Option<usize>,
    /// Proxies that send a PROXY header first.
    pub proxies: Networks,
    /// The longest time that one may take.
    pub proxy_timeout: Duration,
    /// Proxies that say in the request whom it comes from, and where.
    pub forwarding: Option<Forwarding>,
    /// TLS, or none.
    pub tls: Option<Arc<ServerConfig>>,
    /// When the first of its certificates ends, where they say so.
    pub not_after: Option<jiff::Timestamp>,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// The bounds of the HTTP stage.
    pub bounds: Bounds,
}

/// Why what a configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A certificate or key.
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

/// What goes on as it is, because the file no longer says how it would be made: the files that it was made of may be gone.
#[derive(Default)]
pub(crate) struct Kept {
    /// By listener.
    ports: Vec<Option<Arc<Port>>>,
    admin: KeptAccess,
}

/// What of the admin listener goes on.
#[derive(Default)]
enum KeptAccess {
    /// Nothing: all of it is what the file says.
    #[default]
    None,
    /// Its token.
    Token(Arc<Access>),
    /// All.
    All(Arc<Access>),
}

/// A configuration that is ready to come into force.
pub struct Next {
    generation: Generation,
    waiting: Vec<String>,
}

impl Next {
    /// Makes what the configuration needs, from the files that it names. Nothing is changed by that, and nobody asked. Blocks.
    pub fn make(service: &Service, config: Config) -> Result<Self, MakeError> {
        let old = service.current.load();
        let (generation, waiting) =
            Generation::after(&old, config, &Identities::Files, &service.tasks, &service.stop)?;
        Ok(Self { generation, waiting })
    }

    /// Puts it in force for the connections to come; sessions go on as they began. Gives what of it has to wait for a restart.
    pub fn put(self, service: &Service) -> Vec<String> {
        put_in_force(&self.generation.config.limits, &service.room, &service.pace);
        let generation = Arc::new(self.generation);
        service.current.store(Arc::clone(&generation));
        generation.begin_checks();
        service.totals();
        self.waiting
    }
}

impl Generation {
    /// Makes what a configuration needs. A route whose backend is as it was in the old one, files of its TLS included, keeps what is known
    /// of its targets, and how many sessions they have.
    pub(crate) fn make(
        old: Option<&Self>,
        config: Config,
        kept: Kept,
        identities: &Identities,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, MakeError> {
        let mut running = kept.ports.into_iter();
        let ports = config
            .listeners
            .iter()
            .map(|listener| match running.next().flatten() {
                Some(port) => Ok(port),
                None => Port::make(listener, identities).map(Arc::new),
            })
            .collect::<Result<_, _>>()?;
        let (mut routes, mut destinations) = (Vec::new(), Vec::new());
        let system = SystemRoots::default();
        for route in config.routes.iter().cloned() {
            let tls = route.backend_tls.as_ref();
            let tls = tls.map(|tls| secure(tls, &system)).transpose()?;
            let not_after = tls.as_ref().and_then(|(.., not_after)| *not_after);
            let (secure, print) = tls.map(|(secure, print, _)| (secure, print)).unzip();
            let before = old.and_then(|old| old.destination(&route.name));
            let same =
                |other: &&Arc<Destination>| other.print == print && other.route.backend == route.backend;
            let draining = before
                .map(|before| Arc::clone(&before.draining))
                .unwrap_or_default();
            let pool = match before.filter(same) {
                Some(same) => Arc::clone(&same.pool),
                None => {
                    let pool = Pool::new(&route.name, route.backend.clone(), secure, tasks, stop);
                    Arc::new(pool)
                }
            };
            let (hosts, path) = (route.hosts.clone(), route.path.clone());
            let destination = Arc::new(Destination {
                route: Arc::new(route),
                pool,
                print,
                not_after,
                draining,
            });
            destinations.push(Arc::clone(&destination));
            routes.push((hosts, path, destination));
        }
        let read = |kept: Option<&Access>| {
            let access = config.admin.as_ref().map(|admin| Access::load(admin, kept));
            access.transpose().map_err(MakeError::Token)
        };
        let admin = match kept.admin {
            KeptAccess::None => read(None)?.map(Arc::new),
            KeptAccess::Token(running) => read(Some(&running))?.map(Arc::new),
            KeptAccess::All(running) => Some(running),
        };
        Ok(Self {
            number: old.map_or(0, |old| old.number + 1),
            since: SystemTime::now(),
            routes: RouteTable::new(routes),
            destinations,
            admin,
            ports,
            config,
        })
    }

    /// Has the targets of its routes checked, from the moment on that it is in force: what comes to nothing must not have asked anybody.
    pub(crate) fn begin_checks(&self) {
        for destination in &self.destinations {
            destination.pool.begin_checks();
        }
    }

    /// The route of this name.
    pub fn destination(&self, name: &str) -> Option<&Arc<Destination>> {
        self.destinations.iter().find(|one| one.route.name == name)
    }

    /// Makes the next one for the same listeners, and says what of it has to wait for a restart.
    fn after(
        old: &Self,
        mut config: Config,
        identities: &Identities,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(Self, Vec<String>), MakeError> {
        let mut fixed = Vec::new();
        let mut kept = Kept::default();
        let mut wanted = std::mem::take(&mut config.listeners);
        let has_tls = |one: &config::Listener| matches!(one.tls, Tls::On(_));
        let same = |running: &config::Listener| {
            let same =
                |other: &config::Listener| other.bind == running.bind && has_tls(other) == has_tls(running);
            wanted.iter().position(same).map(|at| wanted.remove(at))
        };
        // All of them first: several may have the same address where the port is 0.
        let found: Vec<_> = old.config.listeners.iter().map(same).collect();
        for ((running, port), mut found) in old.config.listeners.iter().zip(&old.ports).zip(found) {
            if let Some(found) = found
                .as_mut()
                .filter(|found| found.reuse_port != running.reuse_port)
            {
                fixed.push(format!("reuse_port of the listener {} is another", running.bind));
                found.reuse_port = running.reuse_port;
            }
            if found.is_none() {
                let other = wanted.iter().position(|other| other.bind == running.bind);
                let what = match other.map(|at| wanted.remove(at)) {
                    None => "is no longer in the file",
                    Some(_) if has_tls(running) => "has TLS no longer",
                    Some(_) => "has TLS now",
                };
                fixed.push(format!("the listener {} {what}", running.bind));
            }
            kept.ports.push(found.is_none().then(|| Arc::clone(port)));
            config.listeners.push(found.unwrap_or_else(|| running.clone()));
        }
        fixed.extend(
            wanted
                .iter()
                .map(|new| format!("the listener {} is new", new.bind)),
        );
        kept.admin = keep_admin(old, &mut config, &mut fixed);
        if config.log_file != old.config.log_file {
            fixed.push("log_file is another".to_owned());
            config.log_file.clone_from(&old.config.log_file);
        }
        Ok((
            Self::make(Some(old), config, kept, identities, tasks, stop)?,
            fixed,
        ))
    }
}

/// Leaves the admin listener where it is, with what the file says of it now.
fn keep_admin(old: &Generation, config: &mut Config, fixed: &mut Vec<String>) -> KeptAccess {
    let (Some(admin), Some(access)) = (&old.config.admin, &old.admin) else {
        if config.admin.take().is_some() {
            fixed.push("the admin listener is new".to_owned());
        }
        return KeptAccess::None;
    };
    let Some(wanted) = &mut config.admin else {
        fixed.push("the admin listener is no longer in the file".to_owned());
        config.admin = Some(admin.clone());
        return KeptAccess::All(Arc::clone(access));
    };
    if wanted.bind == admin.bind {
        return KeptAccess::None;
    }
    fixed.push("the address of the admin listener is another".to_owned());
    wanted.bind = admin.bind;
    if wanted.token.is_none() && !addr::is_loopback(admin.bind.ip()) {
        // The address that it would be safe at without one is not the one that it has.
        fixed.push("the admin listener has no token any more".to_owned());
        wanted.token.clone_from(&admin.token);
        return KeptAccess::Token(Arc::clone(access));
    }
    KeptAccess::None
}

impl Port {
    fn make(listener: &config::Listener, identities: &Identities) -> Result<Self, MakeError> {
        let (tls, not_after) = match &listener.tls {
            Tls::On(files) => {
                let (config, not_after) = server_config(files, identities)?;
                (Some(config), not_after)
            }
            Tls::Off => (None, None),
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
            not_after,
        })
    }
}

/// The TLS of one listener. Each has its own: a ticket of one is worth nothing at another, whose clients may be others.
fn server_config(
    files: &Certificate,
    identities: &Identities,
) -> Result<(Arc<ServerConfig>, Option<jiff::Timestamp>), MakeError> {
    let certificates = match identities {
        Identities::Files => certificates(files)?,
        Identities::Given(identity) => Certificates::from(identity),
    };
    let not_after = certificates.not_after();
    let client_ca = files.client_ca_file.as_deref().map(ClientCa::load).transpose()?;
    match tls::server_config(certificates, client_ca.as_ref()) {
        Ok(config) => Ok((config, not_after)),
        Err(error) => Err(MakeError::Tls(error.to_string())),
    }
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

/// TLS to the targets of a route, a number for what it is made of, and when the certificate ends that they are shown.
fn secure(
    tls: &BackendTls,
    system: &SystemRoots,
) -> Result<(Secure, u64, Option<jiff::Timestamp>), IdentityError> {
    let (connector, identity) = connector(tls, system)?;
    let print = connector.print();
    let secure: Secure = Arc::new(move |tcp, host| {
        let (connector, host) = (connector.clone(), host.to_owned());
        Box::pin(async move {
            let stream: Box<dyn Connection + Send> = Box::new(connector.connect(tcp, &host).await?);
            Ok(stream)
        })
    });
    Ok((secure, print, identity.and_then(|identity| identity.not_after())))
}

/// What connects to the targets of a route, and the certificate that it shows them.
fn connector(tls: &BackendTls, system: &SystemRoots) -> Result<(Connector, Option<Identity>), IdentityError> {
    let certificate = tls.certificate.as_ref();
    let identity = certificate
        .map(|(cert, key)| Identity::load(cert, key))
        .transpose()?;
    let (ca_file, name) = (tls.ca_file.as_deref(), tls.server_name.as_deref());
    let connector = Connector::new(ca_file, system, name, identity.as_ref())?;
    Ok((connector, identity))
}

/// Sets those limits that are no affair of a single connection.
pub(crate) fn put_in_force(limits: &config::Limits, room: &Room, pace: &Pace) {
    room.resize(limits.max_handshakes);
    bridge::set_budget(limits.gather_budget);
    let rate = limits
        .handshakes_per_second
        .and_then(|rate| NonZeroU64::new(rate as u64));
    pace.set(rate);
}

/// What there is to say about the files that a configuration names.
#[derive(Default)]
pub struct Checked {
    /// Why it cannot come into force.
    pub problems: Vec<MakeError>,
    /// What is odd about it.
    pub warnings: Vec<String>,
}

/// Checks what the start would need, without starting: every certificate with its key, and the authorities of clients and
/// backends, and the token of the admin listener.
pub fn check(config: &Config) -> Checked {
    let mut checked = Checked::default();
    for listener in &config.listeners {
        let Tls::On(files) = &listener.tls else {
            continue;
        };
        let (cert, key) = (&files.cert_file, &files.key_file);
        checked.identity((cert, key), Identity::load(cert, key));
        for other in &files.others {
            let loaded = load_other(other).map(|(identity, _)| identity);
            checked.identity((&other.cert_file, &other.key_file), loaded);
        }
        let client_ca = files.client_ca_file.as_deref().map(ClientCa::load);
        checked.problem(client_ca.and_then(Result::err));
    }
    let system = SystemRoots::default();
    for tls in config
        .routes
        .iter()
        .filter_map(|route| route.backend_tls.as_ref())
    {
        match (connector(tls, &system), &tls.certificate) {
            (Ok((_, Some(identity))), Some((cert, key))) => checked.identity((cert, key), Ok(identity)),
            (Ok(_), _) => {}
            // It tells of the first file alone that is wrong.
            (Err(error), files) => {
                checked.problem(Some(error));
                checked.problem(files.as_ref().and_then(|(_, key)| Identity::key_problem(key)));
                checked.problem(Connector::new(tls.ca_file.as_deref(), &system, None, None).err());
            }
        }
    }
    let token = config.admin.as_ref().map(|admin| Access::load(admin, None));
    checked.problem(token.and_then(Result::err).map(MakeError::Token));
    checked
}

impl Checked {
    fn problem(&mut self, problem: Option<impl Into<MakeError>>) {
        let Some(problem) = problem.map(Into::into) else {
            return;
        };
        // Several listeners or routes may have it.
        let says = problem.to_string();
        if !self.problems.iter().any(|told| told.to_string() == says) {
            self.problems.push(problem);
        }
    }

    fn identity(&mut self, (cert, key): (&Path, &Path), loaded: Result<Identity, IdentityError>) {
        let identity = match loaded {
            Ok(identity) => identity,
            Err(error) => {
                self.problem(Some(error));
                return self.problem(Identity::key_problem(key));
            }
        };
        for remark in identity.remarks(jiff::Timestamp::now()) {
            let warning = format!("{}: {remark}", cert.display());
            // Several listeners may have it.
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }
}
