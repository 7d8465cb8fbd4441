//! Answers requests: one on each connection.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::field::display;

use super::access::{Denied, check_site};
use super::places::{self, Place, Places};
use super::query::Query;
use super::{Admin, api, change, console, metrics, past};
use crate::accept::{Listener, Pace, Room};
use crate::drain::State;
use crate::escape::Printable;
use crate::io::{BRIEF_LINGER, LINGER, linger};

/// Connections at once, with as many that have to leave for others.
const ROOM: usize = 2 * places::MOST;
/// How long a request head may take. Who asks sends it at once.
const HEAD_DEADLINE: Duration = Duration::from_secs(1);
/// The longest that one may take, from its first byte to the last of its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest that an answer may take of that.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request head.
const MAX_HEAD: usize = 16 << 10;

/// The `Content-Security-Policy` of what is no page.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const TEXT: &str = "text/plain; charset=utf-8";

/// What is asked for.
enum Endpoint<'a> {
    Health,
    Ready,
    Metrics,
    Status,
    Routes,
    Sessions,
    History,
    Ends,
    Config,
    Asset(&'static console::Asset),
    /// To the console.
    Front,
    Close(&'a str),
    Drain,
    Undrain,
    Reload,
    LogLevel,
}

/// An answer, but for what all of them have in common.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Cow<'static, str>,
}

impl Answer {
    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: format!("{text}\n").into(),
        }
    }

    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: format!("{value}\n").into(),
        }
    }

    pub(super) fn error(status: StatusCode, text: &str) -> Self {
        Self::json(status, &json!({ "error": text }))
    }
}

/// Accepts and answers until these stops.
pub(super) async fn serve(
    listener: Listener,
    admin: Arc<Admin>,
    (accepting, answering): (CancellationToken, CancellationToken),
) {
    let (room, places) = (Arc::new(Room::new(ROOM)), Arc::new(Places::default()));
    listener
        .serve(room, &Pace::default(), accepting, |tcp, peer, permit| {
            let (admin, stop) = (Arc::clone(&admin), answering.clone());
            let place = places.take(peer.ip());
            tokio::spawn(async move {
                let _permit = permit;
                let answered = timeout(DEADLINE, answer_one(tcp, peer, &place, &admin));
                let answered = place.left().run_until_cancelled(answered);
                // A client that is too slow for its answer does without.
                let _in_time = stop.run_until_cancelled(answered).await;
            });
        })
        .await;
}

/// Answers the request of a connection, and ends it so that the answer arrives.
async fn answer_one(tcp: TcpStream, peer: SocketAddr, place: &Place, admin: &Arc<Admin>) {
    let Ok(local) = tcp.local_addr() else {
        return;
    };
    let service = service_fn(|request: Request<Incoming>| {
        place.answering(true);
        Box::pin(async move {
            // No request needs a body; what comes of one is dropped at the end.
            let (head, body) = request.into_parts();
            Ok::<_, Infallible>(respond(&head, !body.is_end_stream(), (local, peer), admin).await)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .keep_alive(false)
        // Who sends no more may still read, and who has left has asked all the same: a change is done to its end, and logged.
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(tcp), service);
    // What is wrong with a request hyper has told the client itself.
    match poll_fn(|cx| connection.poll_without_shutdown(cx)).await {
        Err(error) if error.is_timeout() => return,
        _ => place.answering(false),
    }
    let mut tcp = connection.into_parts().io.into_inner();
    let patience = match crate::limits::left_behind(&tcp) {
        None => LINGER,
        Some(_) => BRIEF_LINGER,
    };
    linger(&mut tcp, patience).await;
}

/// The whole answer to a request.
async fn respond(
    head: &Parts,
    has_body: bool,
    (local, peer): (SocketAddr, SocketAddr),
    admin: &Arc<Admin>,
) -> Response<Full<Bytes>> {
    let endpoint = Endpoint::of(head.uri.path());
    let changes = endpoint.as_ref().is_some_and(Endpoint::changes);
    let policy = endpoint.as_ref().map_or(POLICY, Endpoint::policy);
    let mut allow = None;
    let admitted = admit(head, local, endpoint.as_ref(), admin);
    let answer = match (admitted, endpoint) {
        (Err(denied), _) => {
            tracing::info!(%peer, status = denied.status().as_u16(), "admin: denied: {}", denied.text());
            Answer::error(denied.status(), denied.text())
        }
        (Ok(()), None) => Answer::error(StatusCode::NOT_FOUND, "there is nothing here"),
        (Ok(()), Some(_)) if !fits(&head.method, changes) => {
            allow = Some(HeaderValue::from_static(if changes {
                "POST"
            } else {
                "GET, HEAD"
            }));
            Answer::error(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        }
        // As a form would send them. To take no notice would drain the process where a route was meant.
        (Ok(()), Some(_)) if changes && has_body => Answer::error(
            StatusCode::BAD_REQUEST,
            "no body is read here: parameters stand behind the ? of the target",
        ),
        (Ok(()), Some(endpoint)) => endpoint.answer(head, peer, admin).await,
    };
    // Whatever came of it: who wonders why nothing has changed looks here.
    if changes && admitted.is_ok() {
        let (path, status) = (head.uri.path(), answer.status.as_u16());
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let route = query.and_then(|mut query| query.take("route"));
        let route = route.as_deref().map(|route| display(Printable(route)));
        tracing::info!(%peer, path, route, status, "admin: asked for a change");
    }
    let denied = answer.status == StatusCode::UNAUTHORIZED;
    let moved = answer.status == StatusCode::SEE_OTHER;
    let body = match answer.body {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => text.into(),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(answer.content_type),
    );
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if denied {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if moved {
        headers.insert(header::LOCATION, HeaderValue::from_static(console::PATH));
    }
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    response
}

fn fits(method: &Method, changes: bool) -> bool {
    match *method {
        Method::GET | Method::HEAD => !changes,
        Method::POST => changes,
        _ => false,
    }
}

/// Whether a request is answered at all. What is nowhere needs a token too: who has none learns nothing of what there is.
fn admit(
    head: &Parts,
    local: SocketAddr,
    endpoint: Option<&Endpoint<'_>>,
    admin: &Admin,
) -> Result<(), Denied> {
    let generation = admin.service.current.load();
    // A reload leaves an admin listener that runs as it is.
    let access = generation.admin.as_ref().ok_or(Denied::NoToken)?;
    let open = endpoint.is_some_and(Endpoint::is_open);
    // Balancers that ask for health by HTTP/1.0 name no host. No browser does so.
    let probe = matches!(endpoint, Some(Endpoint::Health | Endpoint::Ready));
    let nameless = head.version == Version::HTTP_10
        && !head.headers.contains_key(header::HOST)
        && head.uri.authority().is_none();
    if !(probe && nameless) {
        access.check_host(head, local)?;
    }
    if !open {
        access.check_token(&head.headers)?;
    }
    if endpoint.is_some_and(Endpoint::changes) {
        check_site(head)?;
    }
    Ok(())
}

impl<'a> Endpoint<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/api/v1/status" => Self::Status,
            "/api/v1/routes" => Self::Routes,
            "/api/v1/sessions" => Self::Sessions,
            "/-/drain" => Self::Drain,
            "/-/undrain" => Self::Undrain,
            "/-/reload" => Self::Reload,
            "/-/log-level" => Self::LogLevel,
            "/api/v1/history" => Self::History,
            "/api/v1/ends" => Self::Ends,
            "/api/v1/config" => Self::Config,
            "/" | "/console" => Self::Front,
            path if path.starts_with(console::PATH) => Self::Asset(console::asset(path)?),
            path => Self::Close(path.strip_prefix("/api/v1/sessions/")?.strip_suffix("/close")?),
        })
    }

    /// Tells no more than one word, or a page without figures, and to everybody: those who ask for health have no place to keep a
    /// secret, and it is the page that asks for one.
    fn is_open(&self) -> bool {
        matches!(self, Self::Health | Self::Ready | Self::Front | Self::Asset(_))
    }

    fn policy(&self) -> &'static str {
        match self {
            Self::Asset(_) => console::POLICY,
            _ => POLICY,
        }
    }

    fn changes(&self) -> bool {
        matches!(
            self,
            Self::Close(_) | Self::Drain | Self::Undrain | Self::Reload | Self::LogLevel
        )
    }

    async fn answer(&self, head: &Parts, peer: SocketAddr, admin: &Arc<Admin>) -> Answer {
        let Some(mut query) = Query::parse(head.uri.query().unwrap_or_default()) else {
            return Answer::error(StatusCode::BAD_REQUEST, "the query cannot be read");
        };
        let service = &admin.service;
        let state = service.state();
        let unknown = |query: &Query| {
            let unknown = query
                .rest()
                .map(|name| format!("there is no parameter {name:?} here"));
            unknown.map(|text| Answer::error(StatusCode::BAD_REQUEST, &text))
        };
        if state == State::Stopping && matches!(self, Self::Drain | Self::Undrain | Self::Reload) {
            let text = "the process is about to end";
            return Answer::error(StatusCode::SERVICE_UNAVAILABLE, text);
        }
        // Those with parameters say themselves when one is wrong.
        match self {
            Self::Sessions => return api::sessions(&service.sessions, &mut query, unknown),
            Self::Ends => return past::ends(&admin.service, &mut query, unknown),
            Self::Close(id) => {
                let started = query.take("started");
                return unknown(&query).unwrap_or_else(|| change::close(admin, id, started.as_deref()));
            }
            Self::Drain | Self::Undrain => {
                let route = query.take("route");
                let (drain, route) = (matches!(self, Self::Drain), route.as_deref());
                return unknown(&query).unwrap_or_else(|| change::drain(service, route, drain));
            }
            Self::LogLevel => {
                let level = query.take("level");
                return unknown(&query).unwrap_or_else(|| change::log_level(level.as_deref(), peer));
            }
            _ => {}
        }
        if let Some(wrong) = unknown(&query) {
            return wrong;
        }
        match self {
            Self::Ready if state != State::Ready => {
                Answer::text(StatusCode::SERVICE_UNAVAILABLE, state.name())
            }
            Self::Ready => Answer::text(StatusCode::OK, state.name()),
            Self::Metrics => metrics::answer(admin, head.headers.get(header::ACCEPT)),
            Self::Status => api::status(admin),
            Self::Routes => api::routes(service),
            Self::History => past::history(admin),
            Self::Config => api::config(service),
            Self::Asset(asset) => asset.answer(),
            Self::Front => Answer::text(StatusCode::SEE_OTHER, console::PATH),
            Self::Reload => change::reload(service).await,
            Self::Health
            | Self::Sessions
            | Self::Ends
            | Self::Close(_)
            | Self::Drain
            | Self::Undrain
            | Self::LogLevel => Answer::text(StatusCode::OK, "ok"),
        }
    }
}
