//! The HTTP stage: whatever a client sends, it is answered or left in time, and upgraded only where it asked for it rightly.
//!
//! Input: what the client sends, from its first byte on.

mod asked;

use std::sync::Arc;
use std::time::Duration;

use sealock::close::CloseReason;
use sealock::upgrade::{AbsentOrigin, Bounds, Gate, OnDialFailure, Origins, Page, Policy, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use asked::Asked;

/// The only path that there is.
const PATH: &str = "/ws";
const SUBPROTOCOLS: [&str; 2] = ["chat", "text.ircv3.net"];
const BOUNDS: Bounds = Bounds {
    request_timeout: Duration::from_secs(5),
    max_head: 1024,
    tls: false,
};
/// A head, an answer that hyper cannot send, one that we cannot send, and the drain behind it.
const LONGEST: Duration = Duration::from_secs(5 + 5 + 5 + 2);

/// How the client behaves.
#[derive(Clone, Copy)]
struct Manner {
    /// How much it sends at once.
    piece: usize,
    /// It ends its direction once it has sent all; otherwise it waits for the answer.
    leaves: bool,
    /// It reads; otherwise there is little room for the answer.
    reads: bool,
}

/// What the client got.
#[derive(Debug)]
struct Visit {
    answer: Vec<u8>,
    /// `Ok`: upgraded, with what came behind the head, and the subprotocol.
    end: Result<(Vec<u8>, Option<String>), CloseReason>,
}

/// Any bytes get an answer or a close in time; a 101 only where [`Asked`] sees a right request, and then no early byte is lost.
pub fn request_head(data: &[u8]) {
    let asked = Asked::read(data);
    let sum = data
        .iter()
        .fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    let piece = 1 + usize::from(sum % 64);
    let whole = Manner {
        piece: data.len().max(1),
        leaves: false,
        reads: true,
    };
    let first = check(data, asked.as_ref(), whole);
    let second = check(data, asked.as_ref(), Manner { piece, ..whole });
    if first.end.is_ok() || second.end.is_ok() {
        assert_eq!(first.end, second.end, "cuts changed the answer");
    }
    check(
        data,
        asked.as_ref(),
        Manner {
            leaves: true,
            ..whole
        },
    );
    check(
        data,
        asked.as_ref(),
        Manner {
            reads: false,
            ..whole
        },
    );
}

/// True when the request is upgraded: for the seeds, which say what they expect.
pub fn is_upgraded(data: &[u8]) -> bool {
    visit(
        data,
        Manner {
            piece: data.len().max(1),
            leaves: false,
            reads: true,
        },
    )
    .end
    .is_ok()
}

fn check(data: &[u8], asked: Option<&Asked<'_>>, manner: Manner) -> Visit {
    let visit = visit(data, manner);
    let status = (manner.reads && !visit.answer.is_empty())
        .then(|| status(&visit.answer, data.trim_ascii_start().starts_with(b"HEAD ")));
    match &visit.end {
        Ok((behind, subprotocol)) => {
            let asked = asked.expect("upgraded without a right request");
            assert!(asked.head_len <= BOUNDS.max_head, "the head is over the limit");
            assert_eq!(behind, &data[asked.head_len..], "early bytes are lost");
            assert!(
                subprotocol
                    .as_deref()
                    .is_none_or(|name| asked.subprotocols.contains(&name) && SUBPROTOCOLS.contains(&name))
            );
            if manner.reads {
                assert_eq!(status, Some(101));
                let accept = format!(
                    "sec-websocket-accept: {}\r\n",
                    derive_accept_key(asked.key.as_bytes())
                );
                let head = String::from_utf8_lossy(&visit.answer);
                assert!(head.contains(&accept), "{head}");
                let line = subprotocol
                    .as_ref()
                    .map(|name| format!("sec-websocket-protocol: {name}\r\n"));
                assert_eq!(line.is_some(), head.contains("sec-websocket-protocol"));
                assert!(line.is_none_or(|line| head.contains(&line)), "{head}");
            }
        }
        Err(reason) => {
            let told = reason.row().status;
            // hyper has a status of its own for a long request target.
            let agrees = status == told || (*reason == CloseReason::HeadTooLarge && status == Some(414));
            assert!(
                status.is_none_or(|status| status != 101) && (status.is_none() || agrees),
                "{reason:?} is told as {status:?}"
            );
        }
    }
    visit
}

/// The status of a whole answer. That to a HEAD request has no body, once the request has been understood as one.
fn status(answer: &[u8], to_head: bool) -> u16 {
    let text = std::str::from_utf8(answer).expect("an answer in UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "))
        .expect("a status line");
    let status: u16 = status
        .split(' ')
        .next()
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let mut announced = None;
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        if name.eq_ignore_ascii_case("content-length") {
            assert_eq!(announced, None, "two lengths");
            announced = Some(value.parse::<usize>().expect("a length"));
        }
    }
    let expected = if status == 101 { 0 } else { announced.unwrap_or(0) };
    assert!(
        body.len() == expected || (to_head && body.is_empty()),
        "the body is not as long as announced"
    );
    status
}

struct Door(Arc<Policy>);

impl Gate for Door {
    type Route = Arc<Policy>;
    type Opened = ();

    fn find(&self, _host: &str, path: &str) -> Option<Arc<Policy>> {
        (path == PATH).then(|| Arc::clone(&self.0))
    }

    fn policy<'a>(&self, route: &'a Arc<Policy>) -> &'a Policy {
        route
    }

    fn page(&self, _path: &str) -> Option<Page> {
        None
    }

    async fn open(&self, _route: Arc<Policy>, _host: &str) -> Result<(), CloseReason> {
        Ok(())
    }
}

fn visit(data: &[u8], manner: Manner) -> Visit {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(meet(data, manner))
}

async fn meet(data: &[u8], manner: Manner) -> Visit {
    let (client, server) = duplex(if manner.reads { 64 * 1024 } else { 64 });
    let (mut read, mut write) = split(client);
    let served = Notify::new();
    let door = Door(Arc::new(Policy {
        origins: Origins::Same,
        absent_origin: AbsentOrigin::Allow,
        subprotocols: SUBPROTOCOLS.map(str::to_owned).into(),
        on_dial_failure: OnDialFailure::Status,
    }));
    let start = Instant::now();
    let serving = async {
        let served_in_time = timeout(LONGEST, serve(server, Instant::now(), BOUNDS, &door))
            .await
            .expect("it hangs");
        assert!(start.elapsed() <= LONGEST);
        served.notify_waiters();
        match served_in_time {
            Ok(mut upgraded) => {
                let mut behind = upgraded.early;
                read_all(&mut upgraded.stream, &mut behind).await;
                Ok((behind, upgraded.subprotocol))
            }
            Err(refused) => Err(refused.reason),
        }
    };
    let sending = async {
        let answered = served.notified();
        for piece in data.chunks(manner.piece) {
            if write.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if !manner.leaves {
            answered.await;
        }
        // The server may be gone.
        drop(write.shutdown().await);
    };
    let receiving = async {
        let mut answer = Vec::new();
        if manner.reads {
            read_all(&mut read, &mut answer).await;
        }
        answer
    };
    let (end, (), answer) = tokio::join!(serving, sending, receiving);
    Visit { answer, end }
}

/// Reads to the end of a stream that is known to be short.
async fn read_all(stream: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) {
    while let Ok(1..) = stream.read_buf(into).await {}
}
