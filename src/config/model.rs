//! The configuration once it has been read: every value in range, every name resolved.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::addr::{Networks, Prefix};
use crate::backend::Plan;
use crate::bridge::Settings;
use crate::route::{HostPattern, PathPattern};
use crate::upgrade::{Forwarding, Policy};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<Listener>,
    /// At least one, in the order of the file.
    pub routes: Vec<Route>,
    /// How much may happen at once.
    pub limits: Limits,
    /// Where an operator looks at it, if anywhere.
    pub admin: Option<Admin>,
    /// Within how much time sessions are told to end, at shutdown or when they are drained.
    pub drain_window: Duration,
    /// How long sessions may take to end at shutdown.
    pub shutdown_timeout: Duration,
    /// What it was read from.
    pub written: Arc<Written>,
    /// The file that log lines go to. None: standard error.
    pub log_file: Option<PathBuf>,
    /// How often the files are looked at for a change. None: never.
    pub reload_interval: Option<Duration>,
    /// What is logged, where the command line does not say. One that can be read.
    pub log_level: Option<String>,
}

/// A file, for operators to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// What messages call it.
    pub name: String,
    /// Its text before any variable was put in, with its secrets masked.
    pub text: String,
}

impl Config {
    /// Every file that it names, and that is read when it comes into force.
    pub fn files(&self) -> BTreeSet<&Path> {
        let mut files = BTreeSet::new();
        for listener in &self.listeners {
            if let Tls::On(Certificate {
                cert_file,
                key_file,
                others,
                client_ca_file,
            }) = &listener.tls
            {
                files.extend([cert_file, key_file].map(PathBuf::as_path));
                files.extend(client_ca_file.as_deref());
                let others = others.iter();
                files.extend(others.flat_map(|other| [&*other.cert_file, &*other.key_file]));
            }
        }
        for BackendTls {
            ca_file,
            server_name: _,
            certificate,
        } in self.routes.iter().filter_map(|route| route.backend_tls.as_ref())
        {
            files.extend(ca_file.as_deref());
            files.extend(certificate.iter().flat_map(|(cert, key)| [&**cert, &**key]));
        }
        if let Some(Token::File(file)) = self.admin.as_ref().and_then(|admin| admin.token.as_ref()) {
            files.insert(file);
        }
        files
    }
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Listener {
    /// An address, or a socket that is there already.
    pub bind: Bind,
    /// Whether other processes may listen on the same address.
    pub reuse_port: bool,
    /// The file promises that it is on loopback. Of an address this is checked already, of a socket only when it is there.
    pub loopback: bool,
    /// The most sessions that began here; more are refused with 503.
    pub max_sessions: Option<usize>,
    /// Proxies that send a PROXY header first.
    pub proxies: Networks,
    /// Proxies that say in the request whom it comes from, and where.
    pub forwarding: Option<Forwarding>,
    /// With TLS, or in the clear.
    pub tls: Tls,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest time for a request head.
    pub request_timeout: Duration,
    /// Largest request head in bytes.
    pub max_head: usize,
}

/// What a listener listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Address and port; port 0 lets the system choose.
    Address(SocketAddr),
    /// The sockets that the service manager passes under this name.
    Socket(String),
}

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// Whether a listener speaks TLS.
#[derive(Clone, Debug)]
pub enum Tls {
    /// It does, with these files.
    On(Certificate),
    /// It does not. Off loopback, the file says so in words.
    Off,
}

/// A certificate chain and its key, as files, and whose certificates are asked for in return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, the leaf first.
    pub cert_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
    /// Those that are shown instead of it to clients that ask for one of their names.
    pub others: Vec<OtherCertificate>,
    /// PEM, the authorities that clients need a certificate of. None: clients need no certificate.
    pub client_ca_file: Option<PathBuf>,
}

/// A certificate for clients that ask for one of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherCertificate {
    /// PEM, the leaf first.
    pub cert_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
    /// For which of its names it is shown, in lower case. None: for all.
    pub names: Option<Vec<String>>,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique; stands in logs.
    pub name: String,
    /// Empty: every host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// The most sessions; more are refused with 503.
    pub max_sessions: Option<usize>,
    /// Where its sessions go.
    pub backend: Plan,
    /// How the targets that speak TLS are trusted, where there are any.
    pub backend_tls: Option<BackendTls>,
    /// Who may connect.
    pub policy: Policy,
    /// How its sessions are translated.
    pub settings: Arc<Settings>,
    /// Subprotocols whose sessions are translated otherwise. Their names stand in [`Policy::subprotocols`] too, before others.
    pub subprotocols: Vec<(String, Arc<Settings>)>,
}

/// TLS to the targets of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendTls {
    /// PEM, the authorities that are trusted. None: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What their certificate is for. None: the host of each target.
    pub server_name: Option<String>,
    /// The certificate that they may ask for, and its key; PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Route {
    /// How sessions are translated for which this subprotocol was chosen.
    pub fn settings_for(&self, subprotocol: Option<&str>) -> &Arc<Settings> {
        let own = self
            .subprotocols
            .iter()
            .find(|(name, _)| Some(name.as_str()) == subprotocol);
        own.map_or(&self.settings, |(_, settings)| settings)
    }

    /// Sets how long its sessions may look for a good moment when they are asked to end.
    pub(super) fn set_drain(&mut self, drain: Duration) {
        let others = self.subprotocols.iter_mut().map(|(_, settings)| settings);
        for settings in others.chain([&mut self.settings]) {
            Arc::make_mut(settings).timeouts.drain = drain;
        }
    }
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address and port; port 0 lets the system choose. On loopback, unless there is a token.
    pub bind: SocketAddr,
    /// What every request has to show. None: whoever can connect may do everything.
    pub token: Option<Token>,
    /// Names and addresses that it is reached by, besides those of loopback and its address; as [`crate::addr::normalize_host`] gives them.
    pub hosts: Vec<String>,
}

/// A secret, or the file that it stands in.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// It stands in the configuration.
    Here(String),
    /// The file holds it, and perhaps the end of a line.
    File(PathBuf),
}

impl Token {
    /// What is wrong with a token, if anything: it has to be long enough not to be guessed, and to fit into a header.
    pub fn problem(token: &str) -> Option<&'static str> {
        const LENGTHS: std::ops::RangeInclusive<usize> = 16..=512;
        if !LENGTHS.contains(&token.len()) {
            Some("a token has 16 to 512 characters")
        } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("a token has letters, digits and signs of ASCII, and no spaces")
        } else {
            None
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(_) => f.write_str("Here(…)"),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// How much may happen at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions in the process; more are refused with 503.
    pub max_sessions: usize,
    /// Sessions of one client; more are refused with 429.
    pub max_sessions_per_client: Option<usize>,
    /// How much of an address says who the client is.
    pub client_prefix: Prefix,
    /// Connections that have not become sessions yet; more wait in the kernel's queue.
    pub max_handshakes: usize,
    /// Connections accepted in a second; more wait in the kernel's queue.
    pub handshakes_per_second: Option<usize>,
    /// Bytes that sessions hold together before those that gather have to wait.
    pub gather_budget: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            max_sessions_per_client: None,
            client_prefix: Prefix { v4: 32, v6: 64 },
            max_handshakes: 1_000,
            handshakes_per_second: None,
            gather_budget: 256 << 20,
        }
    }
}
