//! One connection's view of the service on its way to become a session: what each stage is asked for it, and what it waits for meanwhile.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::Service;
use crate::accept::{self, CrowdedOut, Newcomer, Proxied, ProxyError};
use crate::addr::Ends;
use crate::backend::{Caller, Opened as Dialled};
use crate::bridge::{Live, Stop};
use crate::close::CloseReason;
use crate::config::Route;
use crate::generation::{Destination, Generation, Port};
use crate::io::{BRIEF_LINGER, LINGER, linger};
use crate::limits;
use crate::quota::{Claim, Most, Place};
use crate::telemetry::counts;
use crate::tls;
use crate::upgrade::{self, ForwardedHeader, Gate, OnDialFailure, Page, Policy};

/// What the gate gives to a connection that is upgraded.
pub(super) struct Opened {
    pub(super) destination: Arc<Destination>,
    pub(super) way: Way,
}

/// How an upgraded connection goes on.
pub(super) enum Way {
    /// As a session.
    Backend { backend: Dialled, place: Place },
    /// To be told over the open WebSocket why there is none (`on_dial_failure = "close"`).
    Refuse { reason: CloseReason, detail: String },
}

/// One connection's view of the service, and what it learns on the way.
pub(super) struct Visit<'a> {
    pub(super) service: &'a Service,
    pub(super) generation: &'a Generation,
    pub(super) listener: usize,
    pub(super) port: &'a Port,
    pub(super) id: u64,
    pub(super) ends: Mutex<Ends>,
    pub(super) handshake: Mutex<Option<OwnedSemaphorePermit>>,
    pub(super) newcomer: Newcomer,
    pub(super) route: OnceLock<Arc<Route>>,
    /// The client could be told why it was refused.
    pub(super) told: AtomicBool,
    pub(super) detail: OnceLock<String>,
    /// When it was refused: how long the answer is left to arrive says nothing of that.
    pub(super) over: OnceLock<Instant>,
    /// What a client was waiting for that leaves, in words.
    pub(super) doing: Mutex<&'static str>,
}

impl Gate for Visit<'_> {
    type Route = Arc<Destination>;
    type Opened = Opened;

    fn forwarded_header(&self) -> Option<ForwardedHeader> {
        let forwarding = self.port.forwarding.as_ref();
        let believed = forwarding.filter(|forwarding| forwarding.from.contains(self.ends().source.ip()));
        believed.map(|forwarding| forwarding.header)
    }

    fn forwarded(&self, lines: &[&[u8]]) {
        if let Some(forwarding) = &self.port.forwarding {
            let mut ends = self.ends();
            // Of this request: those before may have come from others, by the same proxy.
            ends.client = forwarding.client(ends.source, lines.iter().copied());
        }
    }

    fn find(&self, host: &str, path: &str) -> Option<Arc<Destination>> {
        let found = self.generation.routes.find(host, path)?;
        self.route.get_or_init(|| Arc::clone(&found.route));
        Some(Arc::clone(found))
    }

    fn policy<'a>(&self, destination: &'a Arc<Destination>) -> &'a Policy {
        &destination.route.policy
    }

    fn page(&self, path: &str) -> Option<Page> {
        (self.service.pages)(path)
    }

    fn over(&self) {
        self.over.get_or_init(Instant::now);
    }

    /// What is told to the client then takes no room.
    async fn crowded_out(&self) {
        self.newcomer.crowded_out().await;
        self.give_way();
    }

    async fn open(&self, destination: Arc<Destination>, host: &str) -> Result<Opened, CloseReason> {
        self.newcomer.work();
        let reached = self.reach(&destination, host).await;
        self.await_client();
        let (reason, detail) = match reached {
            Ok((backend, place)) => {
                return Ok(Opened {
                    destination,
                    way: Way::Backend { backend, place },
                });
            }
            Err(failure) => failure,
        };
        match destination.route.policy.on_dial_failure {
            OnDialFailure::Close => Ok(Opened {
                destination,
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Visit<'_> {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        lock(&self.ends)
    }

    pub(super) fn client(&self) -> SocketAddr {
        self.ends().client
    }

    /// Gives the handshake's permit back: who waits in the queue of a backend is bounded by that queue, and has its place as a session
    /// already. With the permit, those who wait for one service would keep out those who come for another.
    pub(super) fn give_way(&self) {
        drop(lock(&self.handshake).take());
    }

    pub(super) fn has_proxy(&self) -> bool {
        self.port.proxies.contains(self.ends().source.ip())
    }

    /// Refuses a connection that has one of the last descriptors, where so many are left behind it: the fewer, the shorter it keeps
    /// that. Before TLS there are no words for it.
    pub(super) async fn turn_away(&self, mut tcp: TcpStream, left: u32) -> upgrade::Refused {
        let reason = CloseReason::OutOfDescriptors;
        match self.port.tls {
            None => upgrade::turn_away(&mut tcp, reason, BRIEF_LINGER * (left + 1) / limits::KEPT).await,
            Some(_) => self.told.store(false, Ordering::Relaxed),
        }
        reason.into()
    }

    /// Waits for the first byte, for as long as the stage may that reads it.
    pub(super) async fn hear(&self, tcp: &TcpStream) -> Result<(), upgrade::Refused> {
        let port = self.port;
        let limit = match &port.tls {
            _ if self.has_proxy() => port.proxy_timeout,
            Some(_) => port.handshake_timeout,
            None => port.bounds.request_timeout,
        };
        // A new socket is taken for readable until it was tried. What is wrong with it tells who reads.
        let mut first = [0];
        let heard = timeout(limit, tcp.peek(&mut first));
        drop(self.unless_crowded_out(heard).await?);
        self.await_client();
        Ok(())
    }

    /// It is the client that is waited for, from now on, and as who it is known by now.
    pub(super) fn await_client(&self) {
        let prefix = self.generation.config.limits.client_prefix;
        self.newcomer.await_client(prefix.of(self.ends().source.ip()));
    }

    /// What comes before HTTP. There are no words for it until then.
    pub(super) async fn unless_crowded_out<T>(
        &self,
        awaited: impl Future<Output = T>,
    ) -> Result<T, upgrade::Refused> {
        let done = self.newcomer.unless_crowded_out(awaited).await;
        done.map_err(|CrowdedOut| {
            self.told.store(false, Ordering::Relaxed);
            CloseReason::CrowdedOut.into()
        })
    }

    /// Waits no longer for the answer of who has been told why there is no session, where others wait for its room, or for the end.
    pub(super) async fn cut_in_time(&self, live: &Live) -> Infallible {
        tokio::select! {
            () = self.newcomer.crowded_out() => {}
            () = self.service.stop.cancelled() => {}
        }
        live.cut(Stop::Shutdown);
        std::future::pending().await
    }

    /// Leaves who has failed in TLS a moment to read why. That time is not the handshake's.
    pub(super) async fn part(&self, failure: tls::Failure) -> upgrade::Refused {
        let tls::Failure { reason, detail, tcp } = failure;
        self.over();
        if let Some(mut tcp) = tcp {
            let read = self.newcomer.unless_crowded_out(linger(&mut tcp, LINGER));
            // Others may wait for its place.
            drop(read.await);
        }
        upgrade::Refused { reason, detail }
    }

    /// Learns from a trusted proxy whom it speaks for.
    pub(super) async fn read_proxy(
        &self,
        tcp: &mut TcpStream,
        begin: Instant,
    ) -> Result<(), upgrade::Refused> {
        let read = accept::read_proxy(tcp, begin, self.port.proxy_timeout);
        match self.unless_crowded_out(read).await? {
            Ok(Some(Proxied { client, destination })) => {
                *self.ends() = Ends::new(client, destination);
                self.await_client();
            }
            Ok(None) => {}
            Err(error) => {
                let reason = match error {
                    ProxyError::Left | ProxyError::Lost(_) => CloseReason::ClientLeft,
                    ProxyError::Late(_) => CloseReason::ProxyTimeout,
                    ProxyError::Bad(_) => CloseReason::ProxyHeader,
                };
                return Err(upgrade::Refused {
                    reason,
                    detail: error.to_string(),
                });
            }
        }
        Ok(())
    }

    /// A place and the backend, or why not, with what is only for the log.
    async fn reach(
        &self,
        destination: &Destination,
        host: &str,
    ) -> Result<(Dialled, Place), (CloseReason, String)> {
        if self.service.is_draining(destination) {
            return Err((CloseReason::Drain, String::new()));
        }
        let ends = *self.ends();
        let limits = &self.generation.config.limits;
        let most = Most {
            all: limits.max_sessions,
            listener: self.port.max_sessions,
            route: destination.route.max_sessions,
            client: limits.max_sessions_per_client,
            prefix: limits.client_prefix,
        };
        let claim = Claim {
            listener: self.listener,
            route: Arc::clone(&destination.route),
            client: ends.client.ip(),
        };
        let place = self.service.quota.reserve(claim, &most);
        let place = place.map_err(|reason| (reason, String::new()))?;
        let caller = Caller {
            client: ends.client,
            destination: ends.destination,
            host,
            id: self.id,
        };
        let begin = Instant::now();
        *lock(&self.doing) = "while its backend was dialled";
        let waits = || {
            self.give_way();
            *lock(&self.doing) = "after it had begun to wait for a place at its backend";
        };
        let opened = destination.pool.open(caller, waits).await;
        let backend = opened.map_err(|refused| (refused.reason(), refused.to_string()))?;
        let times = counts::route(&destination.route.name);
        times.dial.observe(begin.elapsed());
        Ok((backend, place))
    }
}
