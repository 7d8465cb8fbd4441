//! Runs hyper over a client's connection until it is a WebSocket, or is not going to be one.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::handshake::{self, Head};
use super::{ForwardedHeader, Page, Policy};
use crate::close::{BadRequest, CloseReason};
use crate::io::{BRIEF_LINGER, Connection, LINGER, linger};

/// hyper's own minimum.
const MIN_BUFFER: usize = 8192;

/// How often it is looked whether a client has left while its request is answered. hyper sees that at once, unless bytes stand behind the
/// request: then it reads no further.
const LOOK: Duration = Duration::from_secs(1);

/// The bounds of the HTTP stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest time for a request head, and for taking an answer.
    pub request_timeout: Duration,
    /// Largest request head in bytes.
    pub max_head: usize,
    /// Whether sealock ended TLS: decides which scheme a page of the same origin has.
    pub tls: bool,
}

/// What the HTTP stage asks of the rest: routes, pages, and the way to the backend.
pub trait Gate: Sync {
    /// A route, as [`Gate::find`] gives it.
    type Route: Send + Sync;
    /// What [`Gate::open`] gives: whatever the session needs.
    type Opened: Send;

    /// The header that names the client of a request, where the other end of the connection is trusted with that.
    fn forwarded_header(&self) -> Option<ForwardedHeader> {
        None
    }
    /// What it says, line by line, for each request.
    fn forwarded(&self, _lines: &[&[u8]]) {}
    /// The route for a host and path.
    fn find(&self, host: &str, path: &str) -> Option<Self::Route>;
    /// The rules of a route.
    fn policy<'a>(&self, route: &'a Self::Route) -> &'a Policy;
    /// A page to serve to visitors.
    fn page(&self, path: &str) -> Option<Page>;
    /// The client has got all that it gets, and no session. What follows is only for that to arrive.
    fn over(&self) {}
    /// Returns when others wait for the client's room, and it has to go.
    fn crowded_out(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
    /// Takes whatever must be there before the 101, for a request to this host: a place, the backend.
    fn open(
        &self,
        route: Self::Route,
        host: &str,
    ) -> impl Future<Output = Result<Self::Opened, CloseReason>> + Send;
}

/// A connection that has become a WebSocket.
pub struct Upgraded<S, T> {
    /// The connection, from the first frame on.
    pub stream: S,
    /// What the client sent behind its request: it comes first.
    pub early: Vec<u8>,
    /// What the gate gave.
    pub opened: T,
    /// The subprotocol that was chosen.
    pub subprotocol: Option<String>,
}

/// A connection that has not. What is told here has been told to the client already.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub reason: CloseReason,
    /// What exactly was asked, for logs; not escaped.
    pub detail: String,
}

impl From<CloseReason> for Refused {
    fn from(reason: CloseReason) -> Self {
        Self {
            reason,
            detail: String::new(),
        }
    }
}

/// What the service leaves behind for the driver.
struct Outcome<T> {
    opened: Option<(T, Option<String>)>,
    refused: Option<Refused>,
    /// A request is being answered.
    busy: bool,
    /// Requests answered.
    answered: usize,
}

/// How the driver ends.
enum End {
    /// hyper has.
    Served(hyper::Result<()>),
    /// The client took too long: for anybody, or while others waited.
    Late(CloseReason),
    /// The client left while its request was answered.
    Left,
}

/// The connection while hyper has it, so that it can be looked at meanwhile. Never contended: all is one task.
struct Lent<'a, S>(&'a Mutex<S>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(self.0)).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(self.0)).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(self.0)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(self.0)).poll_shutdown(cx)
    }
}

/// Refuses a connection in plain HTTP, whatever it asks for, and leaves it so long to read that.
pub async fn turn_away(stream: &mut TcpStream, reason: CloseReason, patience: Duration) {
    // Whether it arrives is up to the client; a socket that nothing was written to has room for it.
    drop(stream.write_all(&written_refusal(reason)).await);
    linger(stream, patience).await;
}

/// Serves the connection until it is upgraded or over. The time for its first request runs since `begin`.
pub async fn serve<S, G>(
    stream: S,
    begin: Instant,
    bounds: Bounds,
    gate: &G,
) -> Result<Upgraded<S, G::Opened>, Refused>
where
    S: Connection + Send,
    G: Gate,
{
    let stream = Mutex::new(stream);
    let outcome = Mutex::new(Outcome {
        opened: None,
        refused: None,
        busy: false,
        answered: 0,
    });
    let service = service_fn(|request: Request<Incoming>| {
        let future = async {
            with(&outcome, |outcome| outcome.busy = true);
            let (head, _body) = request.into_parts();
            let answer = answer(&head, bounds, gate).await;
            Ok::<_, Infallible>(with(&outcome, |outcome| {
                outcome.busy = false;
                outcome.answered += 1;
                match answer {
                    Answer::Switch {
                        opened,
                        subprotocol,
                        response,
                    } => {
                        outcome.opened = Some((opened, subprotocol));
                        response
                    }
                    Answer::Page(response) => {
                        outcome.refused = Some(Refused {
                            reason: CloseReason::Answered,
                            detail: request_line(&head),
                        });
                        response
                    }
                    Answer::Refuse(reason) => {
                        outcome.refused = Some(Refused {
                            reason,
                            detail: request_line(&head),
                        });
                        refusal(reason).map(Full::from)
                    }
                }
            }))
        };
        Box::pin(future) as Pin<Box<dyn Future<Output = _> + Send + '_>>
    });
    let mut connection = http1::Builder::new()
        .half_close(false)
        .max_buf_size(bounds.max_head.max(MIN_BUFFER))
        .max_header_size(bounds.max_head)
        .serve_connection(TokioIo::new(Lent(&stream)), service);

    let mut crowded_out = pin!(gate.crowded_out().fuse());
    let result = {
        let mut timer = pin!(sleep_until(begin + bounds.request_timeout));
        let mut seen = (false, 0);
        poll_fn(|cx| {
            if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(End::Served(result));
            }
            // The clock runs for the client only: while a request is answered, the dial has its own deadline.
            let now = with(&outcome, |outcome| (outcome.busy, outcome.answered));
            let wait = if now.0 { LOOK } else { bounds.request_timeout };
            if now != seen {
                seen = now;
                timer.as_mut().reset(Instant::now() + wait);
            }
            while timer.as_mut().poll(cx).is_ready() {
                if !seen.0 {
                    return Poll::Ready(End::Late(CloseReason::RequestTimeout));
                }
                if lock(&stream).has_ended() {
                    return Poll::Ready(End::Left);
                }
                timer.as_mut().reset(Instant::now() + wait);
            }
            if !seen.0 && crowded_out.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Late(CloseReason::CrowdedOut));
            }
            Poll::Pending
        })
        .await
    };
    let http1::Parts { read_buf, .. } = connection.into_parts();
    let mut stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);

    let refused = match (result, outcome.opened) {
        (End::Served(Ok(())), Some((opened, subprotocol))) => {
            return Ok(Upgraded {
                stream,
                early: read_buf.into(),
                opened,
                subprotocol,
            });
        }
        (End::Served(Ok(())), None) => outcome.refused,
        // The client went away before its 101 had left.
        (_, Some(_)) | (End::Left, None) => None,
        (End::Served(Err(error)), None) => outcome.refused.or_else(|| hyper_refusal(&error)),
        (End::Late(reason), None) => {
            if outcome.answered == 0 {
                let answer = written_refusal(reason);
                // Whether it arrives is up to the client; a connection that nothing was written to has room for it.
                drop(tokio::time::timeout(bounds.request_timeout, stream.write_all(&answer)).await);
            }
            Some(outcome.refused.unwrap_or(reason.into()))
        }
    };
    let refused = refused.unwrap_or(CloseReason::ClientLeft.into());
    let patience = match refused.reason {
        CloseReason::OutOfDescriptors => BRIEF_LINGER,
        _ if crowded_out.is_terminated() => BRIEF_LINGER,
        _ => LINGER,
    };
    gate.over();
    tokio::select! {
        () = linger(&mut stream, patience) => {}
        () = &mut crowded_out => {}
    }
    Err(refused)
}

fn with<T, R>(outcome: &Mutex<Outcome<T>>, action: impl FnOnce(&mut Outcome<T>) -> R) -> R {
    action(&mut lock(outcome))
}

enum Answer<T> {
    Switch {
        opened: T,
        subprotocol: Option<String>,
        response: Response<Full<Bytes>>,
    },
    Page(Response<Full<Bytes>>),
    Refuse(CloseReason),
}

async fn answer<G: Gate>(head: &Head, bounds: Bounds, gate: &G) -> Answer<G::Opened> {
    if let Some(header) = gate.forwarded_header() {
        let lines = head.headers.get_all(header.name());
        let lines: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
        gate.forwarded(&lines);
    }
    let path = head.uri.path();
    if !handshake::asks_for_websocket(head)
        && let Some(page) = gate.page(path)
    {
        return Answer::Page(page.respond(&head.method));
    }
    match admit(head, path, bounds, gate).await {
        Ok(answer) => answer,
        Err(reason) => Answer::Refuse(reason),
    }
}

async fn admit<G: Gate>(
    head: &Head,
    path: &str,
    bounds: Bounds,
    gate: &G,
) -> Result<Answer<G::Opened>, CloseReason> {
    let (host, raw_host) = handshake::host(head)?;
    let route = gate.find(&host, path).ok_or(CloseReason::NotFound)?;
    let key = handshake::check(head)?;
    let policy = gate.policy(&route);
    handshake::check_origin(head, policy, raw_host, bounds.tls)?;
    let subprotocol = handshake::choose_subprotocol(head, &policy.subprotocols)?.map(str::to_owned);
    let accept = derive_accept_key(key.as_bytes());
    let opened = gate.open(route, &host).await?;
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    // Both are visible ASCII: base64, and a token.
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(Ok(name)) = subprotocol.as_deref().map(HeaderValue::try_from) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(Answer::Switch {
        opened,
        subprotocol,
        response,
    })
}

fn refusal(reason: CloseReason) -> Response<String> {
    let row = reason.row();
    let mut response = Response::new(format!("{}\n", row.text));
    *response.status_mut() = row
        .status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    match reason {
        CloseReason::BadVersion | CloseReason::NotAnUpgrade => {
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
        }
        CloseReason::BadMethod => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        CloseReason::TooManySessions
        | CloseReason::TooManyOnListener
        | CloseReason::TooManyOnRoute
        | CloseReason::TooManyOfClient
        | CloseReason::Drain
        | CloseReason::CrowdedOut
        | CloseReason::OutOfDescriptors
        | CloseReason::OutOfResources
        | CloseReason::BackendDown
        | CloseReason::BackendFull
        | CloseReason::QueueTimeout => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// The refusal as it is written where hyper cannot.
fn written_refusal(reason: CloseReason) -> Vec<u8> {
    let (head, body) = refusal(reason).into_parts();
    let mut answer = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", head.status, body.len()).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            answer.extend_from_slice(part);
        }
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(body.as_bytes());
    answer
}

/// hyper has answered these itself (400, 414, 431), where there was something to answer.
fn hyper_refusal(error: &hyper::Error) -> Option<Refused> {
    let (reason, detail) = if error.is_parse_too_large() {
        // hyper does not say which. So many headers have room on its stack; more would be memory for each request.
        let detail = "the request head is longer than max_head, or has more than 100 headers";
        (CloseReason::HeadTooLarge, detail.to_owned())
    } else if error.is_parse() {
        (CloseReason::BadRequest(BadRequest::Malformed), error.to_string())
    } else {
        return None;
    };
    Some(Refused { reason, detail })
}

/// The method, host and path; no query, which may carry secrets.
fn request_line(head: &Head) -> String {
    let host = head
        .headers
        .get(header::HOST)
        .map_or("-".into(), |host| String::from_utf8_lossy(host.as_bytes()));
    format!("{} {host}{}", head.method, head.uri.path())
}
