//! What a route says about its backend.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Balance, Check, ProxyVersion, Target};
use crate::io::Connection;

/// Makes TLS of a connection to a host. How that is done is not this stage's affair.
pub type Secure = Arc<dyn Fn(TcpStream, &str) -> Securing + Send + Sync>;

/// See [`Secure`].
pub type Securing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection + Send>>> + Send>>;

/// What a route says about its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// 1 to [`MAX_TARGETS`](super::MAX_TARGETS), each once.
    pub targets: Vec<Target>,
    /// How sessions are spread over them.
    pub balance: Balance,
    /// Longest dial: name look-ups, all addresses, all targets that are tried, PROXY header and TLS.
    pub dial_timeout: Duration,
    /// Sessions at each target. `None`: as many as come.
    pub max_sessions: Option<usize>,
    /// Sessions that may wait while every target has as many as it takes.
    pub queue: usize,
    /// How long they may.
    pub queue_timeout: Duration,
    /// Failures in a row after which a target is down.
    pub fall: u32,
    /// The longest pause before a session tries a target that is down, where there are no checks.
    pub retry_after: Duration,
    /// The PROXY header that targets get, if they get one.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How targets are checked, if they are.
    pub check: Option<Check>,
}
