//! The life of one connection, top to bottom. The only file that knows the order of the stages.
//!
//! ```text
//! TCP -> TLS -> HTTP request -> route -> a place -> dial -> 101 -> bridge -> record
//! ```

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{self, DialError, Reached};
use crate::bridge::{self, Live, Stop};
use crate::close::CloseReason;
use crate::config::{Config, Route};
use crate::route::RouteTable;
use crate::sessions::{Place, Session, Sessions};
use crate::telemetry::{self, Refusal, SessionEnd, log_refusal, log_session};
use crate::tls;
use crate::upgrade::{self, Bounds, Gate, OnDialFailure, Page, Policy, Upgraded};

/// What all connections share.
pub struct Service {
    /// The configuration in force. A connection keeps the one it began with.
    pub current: ArcSwap<Generation>,
    /// The sessions that run.
    pub sessions: Arc<Sessions>,
    /// Ends every connection that is not a session yet.
    pub stop: CancellationToken,
    /// All that is under way.
    pub tasks: TaskTracker,
    /// Pages beside the routes.
    pub pages: fn(&str) -> Option<Page>,
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
    pub routes: RouteTable<Arc<Route>>,
    /// What connections of each listener share, in the order of the listeners.
    pub ports: Vec<Port>,
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

/// What the gate gives to a connection that is upgraded.
struct Opened {
    route: Arc<Route>,
    way: Way,
}

/// How an upgraded connection goes on.
enum Way {
    /// As a session.
    Backend { backend: Reached, place: Place },
    /// To be told over the open WebSocket why there is none (`on_dial_failure = "close"`).
    Refuse { reason: CloseReason, detail: String },
}

/// A connection that is a session from here on.
struct Ready {
    stream: tls::Stream,
    early: Vec<u8>,
    subprotocol: Option<String>,
    route: Arc<Route>,
    backend: Reached,
    place: Place,
}

/// Begins to serve a connection of a listener, the `id`-th of the process. `handshake` is given back as soon as it is a session.
pub fn start(
    service: &Arc<Service>,
    listener: usize,
    id: u64,
    (tcp, peer): (TcpStream, SocketAddr),
    handshake: OwnedSemaphorePermit,
) {
    let service = Arc::clone(service);
    let tasks = service.tasks.clone();
    let opening = async move {
        let generation = service.current.load_full();
        let Some(port) = generation.ports.get(listener) else {
            return;
        };
        let visit = Visit {
            service: &service,
            generation: &generation,
            route: OnceLock::new(),
            detail: OnceLock::new(),
        };
        if let Some(ready) = open(&visit, port, tcp, peer, handshake).await {
            // A task of its own: a session must not carry the size of its handshake.
            service
                .tasks
                .spawn(telemetry::session(id, bridge(&service, id, peer, ready)));
        }
    };
    tasks.spawn(telemetry::connection(id, opening));
}

/// Everything up to the 101. A connection that does not become a session is told and logged here, on its handshake's permit.
async fn open(
    visit: &Visit<'_>,
    port: &Port,
    tcp: TcpStream,
    peer: SocketAddr,
    _handshake: OwnedSemaphorePermit,
) -> Option<Ready> {
    let start = Instant::now();
    let opening = async {
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
    };
    let refused = match visit.service.stop.run_until_cancelled(opening).await {
        Some(Ok(Upgraded {
            stream,
            early,
            opened: Opened { route, way },
            subprotocol,
        })) => {
            match way {
                Way::Backend { backend, place } => {
                    return Some(Ready {
                        stream,
                        early,
                        subprotocol,
                        route,
                        backend,
                        place,
                    });
                }
                Way::Refuse { reason, detail } => {
                    let settings = Arc::clone(route.settings_for(subprotocol.as_deref()));
                    let ended = bridge::refuse(stream, early, reason, settings, Arc::default()).await;
                    let end = SessionEnd {
                        ended,
                        peer,
                        route: &route.name,
                        backend: None,
                        detail: &detail,
                        subprotocol: subprotocol.as_deref(),
                        duration: start.elapsed(),
                    };
                    log_session(&end);
                    return None;
                }
            };
        }
        Some(Err(refused)) => refused,
        None => upgrade::Refused {
            reason: CloseReason::Shutdown,
            detail: String::new(),
        },
    };
    log_refusal(&Refusal {
        reason: refused.reason,
        peer,
        route: visit.route.get().map(|route| route.name.as_str()),
        detail: visit.detail.get().unwrap_or(&refused.detail),
        duration: start.elapsed(),
    });
    None
}

/// The session itself, and its record.
fn bridge(
    service: &Service,
    id: u64,
    peer: SocketAddr,
    ready: Ready,
) -> impl Future<Output = ()> + Send + use<> {
    let Ready {
        stream,
        early,
        subprotocol,
        route,
        backend: Reached {
            stream: backend,
            peer: address,
        },
        place,
    } = ready;
    tracing::debug!(
        route = route.name,
        backend = %shown(&address, &route),
        subprotocol,
        tls = stream.protocol().map(|(version, _)| version),
        suite = stream.protocol().map(|(_, suite)| suite),
        "session begins"
    );
    let settings = Arc::clone(route.settings_for(subprotocol.as_deref()));
    let live = Arc::new(Live::default());
    let session = bridge::run(stream, early, backend, settings, Arc::clone(&live));
    let listed = service.sessions.list(Session {
        id,
        peer,
        route,
        backend: address,
        subprotocol: subprotocol.map(String::into_boxed_str),
        start: Instant::now(),
        live,
    });
    // Asked to end before it was listed: nobody else would tell it.
    if service.stop.is_cancelled() {
        listed.session().live.drain(Stop::Shutdown);
    }
    // Not awaited in an `async` block, which would keep room for it twice.
    session.map(move |ended| {
        drop(place);
        let session = Arc::clone(listed.session());
        listed.ended(&ended);
        log_session(&SessionEnd {
            ended,
            peer: session.peer,
            route: &session.route.name,
            backend: Some(shown(&session.backend, &session.route)),
            detail: "",
            subprotocol: session.subprotocol.as_deref(),
            duration: session.start.elapsed(),
        });
    })
}

/// A backend's address for logs: the one that was reached, or all there is to know of it.
fn shown<'a>(reached: &'a Option<SocketAddr>, route: &'a Route) -> &'a dyn Display {
    match reached {
        Some(address) => address,
        None => &route.backend,
    }
}

/// One connection's view of the service, and what it learns on the way.
struct Visit<'a> {
    service: &'a Service,
    generation: &'a Generation,
    route: OnceLock<Arc<Route>>,
    detail: OnceLock<String>,
}

impl Gate for Visit<'_> {
    type Route = Arc<Route>;
    type Opened = Opened;

    fn find(&self, host: &str, path: &str) -> Option<Arc<Route>> {
        let route = self.generation.routes.find(host, path)?;
        Some(Arc::clone(self.route.get_or_init(|| Arc::clone(route))))
    }

    fn policy<'a>(&self, route: &'a Arc<Route>) -> &'a Policy {
        &route.policy
    }

    fn page(&self, path: &str) -> Option<Page> {
        (self.service.pages)(path)
    }

    async fn open(&self, route: Arc<Route>) -> Result<Opened, CloseReason> {
        let (reason, detail) = match self.reach(&route).await {
            Ok((backend, place)) => {
                return Ok(Opened {
                    route,
                    way: Way::Backend { backend, place },
                });
            }
            Err(failure) => failure,
        };
        match route.policy.on_dial_failure {
            OnDialFailure::Close => Ok(Opened {
                route,
                way: Way::Refuse { reason, detail },
            }),
            OnDialFailure::Status => {
                // The first failure of a connection is the one that is told.
                self.detail.get_or_init(|| detail);
                Err(reason)
            }
        }
    }
}

impl Visit<'_> {
    /// A place and the backend, or why not, with what is only for the log.
    async fn reach(&self, route: &Route) -> Result<(Reached, Place), (CloseReason, String)> {
        let most = self.generation.config.limits.max_sessions;
        let place = self.service.sessions.reserve(most);
        let place = place.ok_or((CloseReason::TooManySessions, String::new()))?;
        let dialed = backend::dial(&route.backend, route.dial_timeout).await;
        let backend = dialed.map_err(|error| {
            let reason = match error {
                DialError::Name(_) => CloseReason::DialName,
                DialError::Failed(ref error) if is_out_of_descriptors(error) => CloseReason::OutOfDescriptors,
                DialError::Failed(_) => CloseReason::DialFailed,
                DialError::Timeout(_) => CloseReason::DialTimeout,
            };
            (reason, format!("{}: {error}", route.backend))
        })?;
        Ok((backend, place))
    }
}

/// The process or the system has no descriptor left: not the backend's fault.
fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_session<F>(_: fn(&'static Service, u64, SocketAddr, Ready) -> F) -> usize {
        size_of::<F>()
    }

    /// What an idle session costs beside its TLS state and its descriptors; `cargo test -- --nocapture` prints it.
    #[test]
    fn the_task_of_a_session_is_small() {
        let size = size_of_session(bridge);
        println!("the task of a session: {size} bytes");
        assert!(size <= 1536, "{size}");
    }
}
