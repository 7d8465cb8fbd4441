//! The life of one connection, top to bottom. The only file that knows the order of the stages.
//!
//! ```text
//! TCP -> PROXY header -> TLS -> HTTP request -> route -> a place -> dial -> 101 -> bridge -> record
//! ```

mod visit;

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Pace, Room};
use crate::addr::Ends;
use crate::backend::{Opened as Dialled, Reached, Target};
use crate::bridge::{self, Live, Stop};
use crate::close::CloseReason;
use crate::drain::Switch;
use crate::generation::{Destination, Generation};
use crate::limits;
use crate::quota::{Place, Quota};
use crate::reload::Reloader;
use crate::sessions::{Done, REMOVED, Session, Sessions};
use crate::telemetry::{self, Refusal, SessionEnd, counts, log_refusal, log_session};
use crate::tls;
use crate::upgrade::{self, Page, Upgraded};
use visit::{Opened, Visit, Way, lock};

/// What all connections share.
pub struct Service {
    /// The configuration in force. A connection keeps the one it began with.
    pub current: ArcSwap<Generation>,
    /// Asks for another one, and tells how that went.
    pub reload: Reloader,
    /// The sessions that run.
    pub sessions: Arc<Sessions>,
    /// Their places.
    pub quota: Arc<Quota>,
    /// Room for connections that are not sessions yet.
    pub room: Arc<Room>,
    /// How many connections are accepted in a second.
    pub pace: Pace,
    /// No connection is accepted any more, and every session ends as soon as it has begun.
    pub closing: CancellationToken,
    /// Ends every connection that is not a session yet.
    pub stop: CancellationToken,
    /// All that is under way.
    pub tasks: TaskTracker,
    /// Connections that are not sessions yet.
    pub openings: TaskTracker,
    /// Pages beside the routes.
    pub pages: fn(&str) -> Option<Page>,
    /// No sessions are begun, though connections are accepted: [`Service::drain`].
    pub draining: Switch,
}

impl Service {
    /// What the sessions of each route have done. Routes that are neither in the configuration any more nor have sessions are one,
    /// [`REMOVED`]: a name that comes and goes with reloads must not stay for the life of the process.
    pub fn totals(&self) -> HashMap<String, (usize, Done)> {
        let generation = self.current.load();
        let configured = |name: &str| generation.destination(name).is_some();
        self.sessions.fold(configured);
        counts::fold_routes(|name| configured(name) || self.sessions.any_on(name), REMOVED);
        self.sessions.totals()
    }
}

/// A connection that is a session from here on.
struct Ready {
    stream: tls::Stream,
    early: Vec<u8>,
    client: SocketAddr,
    subprotocol: Option<String>,
    destination: Arc<Destination>,
    backend: Dialled,
    place: Place,
}

/// Begins to serve a connection of a listener, the `id`-th of the process. `handshake` is given back as soon as it is a session, or waits
/// for a place at its backend; there is none where the connection had to be accepted beyond the limit.
pub fn start(
    service: &Arc<Service>,
    listener: usize,
    id: u64,
    (tcp, peer): (TcpStream, SocketAddr),
    handshake: Option<OwnedSemaphorePermit>,
) {
    let service = Arc::clone(service);
    let (tasks, openings) = (service.tasks.clone(), service.openings.clone());
    let opening = async move {
        let generation = service.current.load_full();
        let Some(port) = generation.ports.get(listener) else {
            return;
        };
        // A connection that is gone already goes no further than its first read.
        let ends = Ends::new(peer, tcp.local_addr().unwrap_or(peer));
        let client = generation.config.limits.client_prefix.of(ends.source.ip());
        let visit = Visit {
            service: &service,
            generation: &generation,
            listener,
            port,
            id,
            ends: Mutex::new(ends),
            handshake: Mutex::new(handshake),
            newcomer: service.room.enter(client),
            route: OnceLock::new(),
            told: AtomicBool::new(true),
            detail: OnceLock::new(),
            over: OnceLock::new(),
            doing: Mutex::new(""),
        };
        if let Some(ready) = open(&visit, (tcp, peer)).await {
            visit.give_way();
            // A task of its own: a session must not carry the size of its handshake.
            service
                .tasks
                .spawn(telemetry::session(id, bridge(&service, id, peer, ready)));
        }
    };
    tasks.spawn(openings.track_future(telemetry::connection(id, opening)));
}

/// Everything up to the 101. A connection that does not become a session is told and logged here, on its handshake's permit.
async fn open(visit: &Visit<'_>, (mut tcp, peer): (TcpStream, SocketAddr)) -> Option<Ready> {
    let start = Instant::now();
    let _opening = counts::opening();
    let port = visit.port;
    let opening = async {
        if let Some(left) = limits::left_behind(&tcp) {
            return Err(visit.turn_away(tcp, left).await);
        }
        visit.hear(&tcp).await?;
        // Of the first deadline, a part may be over.
        let mut begin = start;
        if visit.has_proxy() {
            visit.read_proxy(&mut tcp, begin).await?;
            begin = Instant::now();
        }
        let stream = match &port.tls {
            None => tls::Stream::plain(tcp),
            Some(config) => {
                let limit = port.handshake_timeout.saturating_sub(begin.elapsed());
                let accepted = tls::accept(tcp, Arc::clone(config), limit);
                let stream = match visit.unless_crowded_out(accepted).await? {
                    Ok(stream) => stream,
                    Err(failure) => return Err(visit.part(failure).await),
                };
                visit.await_client();
                counts::tls_handshakes().observe(begin.elapsed());
                begin = Instant::now();
                stream
            }
        };
        upgrade::serve(stream, begin, port.bounds, visit).await
    };
    let (refused, ended) = match visit.service.stop.run_until_cancelled(opening).await {
        Some(Ok(Upgraded {
            stream,
            early,
            opened: Opened { destination, way },
            subprotocol,
        })) => match way {
            Way::Backend { backend, place } => {
                return Some(Ready {
                    stream,
                    early,
                    client: visit.client(),
                    subprotocol,
                    destination,
                    backend,
                    place,
                });
            }
            Way::Refuse { reason, detail } => {
                let route = &destination.route;
                let settings = Arc::clone(route.settings_for(subprotocol.as_deref()));
                let live = Arc::new(Live::default());
                visit.over.get_or_init(Instant::now);
                let refused = bridge::refuse(stream, early, reason, settings, Arc::clone(&live));
                let ended = tokio::select! {
                    ended = refused => ended,
                    never = visit.cut_in_time(&live) => match never {},
                };
                let counters = &ended.counters;
                visit.service.sessions.add(visit.id, &route.name, counters);
                let reason = ended.reason;
                (upgrade::Refused { reason, detail }, Some(ended))
            }
        },
        Some(Err(mut refused)) => {
            if refused.reason == CloseReason::ClientLeft && refused.detail.is_empty() {
                refused.detail = lock(&visit.doing).to_string();
            }
            (refused, None)
        }
        None => (CloseReason::Shutdown.into(), None),
    };
    log_refusal(&Refusal {
        reason: refused.reason,
        told: ended.is_none() && visit.told.load(Ordering::Relaxed),
        code: ended.as_ref().and_then(|ended| ended.code),
        lost_up: ended.as_ref().map_or(0, |ended| ended.counters.lost_up),
        peer,
        client: visit.client(),
        route: visit.route.get().map(|route| route.name.as_str()),
        detail: visit.detail.get().unwrap_or(&refused.detail),
        duration: *visit.over.get_or_init(Instant::now) - start,
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
        client,
        subprotocol,
        destination,
        backend:
            Dialled {
                reached:
                    Reached {
                        stream: backend,
                        peer: address,
                    },
                place: at_backend,
            },
        place,
    } = ready;
    let (route, target) = (Arc::clone(&destination.route), Arc::clone(at_backend.target()));
    tracing::debug!(
        route = route.name,
        backend = %shown(&address, &target),
        subprotocol,
        tls = stream.protocol().map(|(version, _)| version),
        suite = stream.protocol().map(|(_, suite)| suite),
        "session begins"
    );
    let settings = Arc::clone(route.settings_for(subprotocol.as_deref()));
    let live = Arc::new(Live::default());
    let sizes = Arc::clone(&counts::route(&route.name).sizes);
    let session = bridge::run(stream, early, backend, settings, Arc::clone(&live), sizes);
    let listed = service.sessions.list(Session {
        id,
        peer,
        named: (client != peer).then(|| Box::new(client)),
        route,
        target,
        backend: address,
        subprotocol: subprotocol.map(String::into_boxed_str),
        start: Instant::now(),
        live,
        list: Arc::clone(&service.sessions),
    });
    // Asked to end before it was listed: nobody else would tell it.
    if service.closing.is_cancelled() {
        listed.session().live.drain(Stop::Shutdown);
    } else if service.is_draining(&destination) {
        listed.session().live.drain(Stop::Drain);
    }
    // Not awaited in an `async` block, which would keep room for it twice.
    session.map(move |mut ended| {
        // Before it is told: whoever reads of it may count on its places.
        drop((place, at_backend));
        let session = Arc::clone(listed.session());
        listed.ended(&ended);
        let detail = ended.detail.take();
        log_session(&SessionEnd {
            ended,
            peer: session.peer,
            client: session.client(),
            route: &session.route.name,
            backend: shown(&session.backend, &session.target),
            detail: detail.as_deref().unwrap_or_default(),
            subprotocol: session.subprotocol.as_deref(),
            duration: session.start.elapsed(),
        });
    })
}

/// A backend's address for logs: the one that was reached, or all there is to know of it.
fn shown<'a>(reached: &'a Option<SocketAddr>, target: &'a Target) -> &'a dyn Display {
    match reached {
        Some(address) => address,
        None => target,
    }
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
