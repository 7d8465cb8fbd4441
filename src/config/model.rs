//! The configuration once it has been read: every value in range, every name resolved.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::Networks;
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
}

/// A file, for operators to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// What messages call it.
    pub name: String,
    /// Its text before any variable was put in, with its secrets masked.
    pub text: String,
}

/// An address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose.
    pub bind: SocketAddr,
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
    /// PEM, the authorities that clients need a certificate of. None: clients need no certificate.
    pub client_ca_file: Option<PathBuf>,
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
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address and port; port 0 lets the system choose. On loopback, unless there is a token.
    pub bind: SocketAddr,
    /// What every request has to show. None: whoever can connect may do everything.
    pub token: Option<Token>,
    /// Names that it is reached by, besides those of loopback and its address; as [`crate::addr::normalize_host`] gives them.
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
    /// Connections that have not become sessions yet; more wait in the kernel's queue.
    pub max_handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            max_handshakes: 1_000,
        }
    }
}
