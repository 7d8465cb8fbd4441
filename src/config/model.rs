//! The configuration once it has been read: every value in range, every name resolved.

use std::net::SocketAddr;
use std::path::PathBuf;
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
    /// Within how much time sessions are told to end, at shutdown or when they are drained.
    pub drain_window: Duration,
    /// How long sessions may take to end at shutdown.
    pub shutdown_timeout: Duration,
}

/// An address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose.
    pub bind: SocketAddr,
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
            max_sessions_per_client: Some(100),
            client_prefix: Prefix { v4: 32, v6: 64 },
            max_handshakes: 1_000,
            handshakes_per_second: None,
            gather_budget: 256 << 20,
        }
    }
}
