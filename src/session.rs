//! The life of one connection, top to bottom. The only file that knows the order of the stages.
//!
//! ```text
//! TCP -> TLS -> HTTP request -> route -> a place -> dial -> 101 -> bridge -> record
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::{self, DialError};
use crate::bridge;
use crate::close::CloseReason;
use crate::config::Route;
use crate::route::RouteTable;
use crate::telemetry::{Refusal, SessionEnd, log_refusal, log_session};
use crate::tls;
use crate::upgrade::{self, Bounds, Gate, OnDialFailure, Page, Policy, Upgraded};

/// What all connections share.
pub struct Service {
    /// Where requests go.
    pub routes: RouteTable<Arc<Route>>,
    /// Places for sessions.
    pub sessions: Arc<Semaphore>,
    /// Ends every session, with 1001.
    pub stop: CancellationToken,
    /// Pages beside the routes.
    pub pages: fn(&str) -> Option<Page>,
}

/// What all connections of a listener share.
pub struct Port {
    /// TLS, or none.
    pub tls: Option<Arc<tls::ServerConfig>>,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// The bounds of the HTTP stage.
    pub bounds: Bounds,
}

/// A connection that is allowed to become a session.
struct Opened {
    route: Arc<Route>,
    /// `Err`: the client is to be told over the open WebSocket.
    backend: Result<backend::Stream, CloseReason>,
    _place: OwnedSemaphorePermit,
}

/// Serves one connection to its end. `handshake` is given back as soon as it is a session.
pub async fn run(
    service: Arc<Service>,
    port: Arc<Port>,
    tcp: TcpStream,
    peer: SocketAddr,
    handshake: OwnedSemaphorePermit,
) {
    let start = Instant::now();
    let visit = Visit {
        service: &service,
        route: OnceLock::new(),
        detail: OnceLock::new(),
    };
    let opening = Box::pin(open(&visit, &port, tcp));
    let opened = match service.stop.run_until_cancelled(opening).await {
        Some(Ok(opened)) => opened,
        Some(Err(refused)) => return visit.log(refused, peer, start),
        None => {
            return visit.log(
                upgrade::Refused {
                    reason: CloseReason::Shutdown,
                    detail: String::new(),
                },
                peer,
                start,
            );
        }
    };
    drop(handshake);
    let Upgraded {
        stream,
        early,
        opened,
        subprotocol,
    } = opened;
    let Opened {
        route,
        backend,
        _place,
    } = opened;

    let start = Instant::now();
    let settings = Arc::clone(&route.settings);
    let (address, ended) = match backend {
        Ok(backend) => {
            let address = backend.peer();
            tracing::debug!(
                route = route.name,
                backend = address,
                subprotocol,
                tls = stream.protocol().map(|(version, _)| version),
                suite = stream.protocol().map(|(_, suite)| suite),
                "session begins"
            );
            (
                address,
                bridge::run(stream, early, backend, settings, &service.stop).await,
            )
        }
        Err(reason) => (
            "-".into(),
            bridge::refuse(stream, early, reason, settings, &service.stop).await,
        ),
    };
    log_session(&SessionEnd {
        ended,
        peer,
        route: &route.name,
        backend: &address,
        subprotocol: subprotocol.as_deref(),
        duration: start.elapsed(),
    });
}

/// Everything up to the 101. Boxed by the caller: a session must not carry the size of its handshakes.
async fn open(
    visit: &Visit<'_>,
    port: &Port,
    tcp: TcpStream,
) -> Result<Upgraded<tls::Stream, Opened>, upgrade::Refused> {
    let stream = match &port.tls {
        None => tls::Stream::plain(tcp),
        Some(config) => tls::accept(tcp, Arc::clone(config), port.handshake_timeout)
            .await
            .map_err(|failure| upgrade::Refused {
                reason: failure.reason,
                detail: failure.detail,
            })?,
    };
    upgrade::serve(stream, port.bounds, visit).await
}

/// One connection's view of the service, and what it learns on the way.
struct Visit<'a> {
    service: &'a Service,
    route: OnceLock<Arc<Route>>,
    detail: OnceLock<String>,
}

impl Visit<'_> {
    fn log(&self, refused: upgrade::Refused, peer: SocketAddr, start: Instant) {
        log_refusal(&Refusal {
            reason: refused.reason,
            peer,
            route: self.route.get().map(|route| route.name.as_str()),
            detail: self.detail.get().unwrap_or(&refused.detail),
            duration: start.elapsed(),
        });
    }
}

impl Gate for Visit<'_> {
    type Route = Arc<Route>;
    type Opened = Opened;

    fn find(&self, host: &str, path: &str) -> Option<Arc<Route>> {
        let route = self.service.routes.find(host, path)?;
        Some(Arc::clone(self.route.get_or_init(|| Arc::clone(route))))
    }

    fn policy<'a>(&self, route: &'a Arc<Route>) -> &'a Policy {
        &route.policy
    }

    fn page(&self, path: &str) -> Option<Page> {
        (self.service.pages)(path)
    }

    async fn open(&self, route: Arc<Route>) -> Result<Opened, CloseReason> {
        if self.service.stop.is_cancelled() {
            return Err(CloseReason::Shutdown);
        }
        let place = Arc::clone(&self.service.sessions)
            .try_acquire_owned()
            .map_err(|_| CloseReason::TooManySessions)?;
        let backend = match backend::dial(&route.backend, route.dial_timeout).await {
            Ok(backend) => Ok(backend),
            Err(error) => {
                let reason = match error {
                    DialError::Name(_) => CloseReason::DialName,
                    DialError::Failed(_) => CloseReason::DialFailed,
                    DialError::Timeout(_) => CloseReason::DialTimeout,
                };
                let detail = format!("{}: {error}", route.backend);
                if route.policy.on_dial_failure == OnDialFailure::Status {
                    // The first failure is the one that is told.
                    self.detail.get_or_init(|| detail);
                    return Err(reason);
                }
                tracing::debug!(route = route.name, detail, "dial failed");
                Err(reason)
            }
        };
        Ok(Opened {
            route,
            backend,
            _place: place,
        })
    }
}
