//! A whole session: the bridge between a client and a backend that do anything, on a clock that costs nothing.
//!
//! Input: [`Setup`], then what happens, one [`Step`] after the other.

mod heard;

use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use sealock::bridge::{
    Accept, Both, Deliver, Ended, HalfClose, InvalidText, Live, RatePolicy, Rates, Settings, Sizes, Stop,
    Timeouts, run,
};
use sealock::charset::{Charset, Unmappable};
use sealock::close::CloseReason;
use sealock::framing::{
    DecodeRules, DecodeState, Delimiter, Embedded, Empty, Event, Framing, Oversized, Partial, preset,
};
use sealock::io::Connection;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, WriteHalf, duplex, split,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::input::Input;
use heard::Heard;

const PRESETS: &[&str] = &[
    "lines", "crlf", "nul", "u8", "u16be", "u32le", "tpkt", "mysql", "mongodb", "modbus",
];
const SECOND: Duration = Duration::from_secs(1);
const TIMEOUTS: Timeouts = Timeouts {
    record: Duration::from_secs(11),
    write: Duration::from_secs(10),
    close: Duration::from_secs(2),
    linger: Duration::from_secs(3),
    idle: None,
    ping: Some(Duration::from_secs(7)),
    pong: Duration::from_secs(4),
    age: None,
    drain: Duration::from_secs(5),
};
/// After the stop every wait is bounded: writes to the client, the answer to the Close frame, writes to the backend, its end.
const LONGEST_END: Duration = Duration::from_secs(10 + 2 + 10 + 3);

/// What a session is like.
struct Setup {
    settings: Settings,
    /// How much each connection holds that has not been read.
    room: usize,
    client_reads: bool,
    backend_reads: bool,
    /// How much of the client's first bytes came behind its request.
    early: usize,
}

impl Setup {
    fn read(input: &mut Input<'_>) -> Self {
        let to_backend = framing(input);
        let to_client = framing(input);
        let embedded = match (&to_backend, input.byte() % 3) {
            (Framing::Delimiter(_), 1) => Embedded::Split,
            (Framing::Delimiter(rule), 2) if rule.check_replacement(b" ").is_ok() => {
                Embedded::Replace(b" "[..].into())
            }
            _ => Embedded::Reject,
        };
        let mut settings = Settings {
            to_backend,
            to_client,
            embedded,
            accept: input.pick(&[Accept::Any, Accept::Text, Accept::Binary]),
            deliver: input.pick(&[Deliver::Binary, Deliver::Text, Deliver::Auto]),
            charset: None,
            unmappable: Unmappable::Reject,
            invalid_text: InvalidText::Close,
            max_message: u64::from(input.number()) + 1,
            oversized: input.pick(&both(Oversized::Close, Oversized::Discard)),
            partial: input.pick(&[Partial::Error, Partial::Deliver, Partial::Drop]),
            empty: input.pick(&both(Empty::Deliver, Empty::Skip)),
            half_close: input.pick(&[HalfClose::Never, HalfClose::EmptyMessage]),
            rates: Rates::default(),
            timeouts: TIMEOUTS,
        };
        let limits = input.byte();
        settings.timeouts.idle = (limits & 1 == 1).then_some(SECOND * 20);
        settings.timeouts.age = (limits & 2 == 2).then_some(SECOND * 30);
        settings.rates = Rates {
            messages: (limits & 4 == 4).then_some(NonZeroU64::MIN),
            bytes: NonZeroU64::new(100).filter(|_| limits & 8 == 8),
            policy: if limits & 64 == 64 {
                RatePolicy::Close
            } else {
                RatePolicy::Delay
            },
        };
        let manner = input.byte();
        // Three more choices in the bits that are left.
        let names = [None, Some("gbk"), Some("iso-2022-jp"), Some("latin1")];
        let charset = names[usize::from(manner >> 2 & 3)];
        settings.charset = charset.map(|name| Charset::named(name).expect("a charset"));
        settings.invalid_text = match (manner >> 4 & 3, settings.deliver) {
            (1, _) => InvalidText::Replace,
            (2, _) | (0, Deliver::Auto) => InvalidText::Binary,
            _ => InvalidText::Close,
        };
        settings.unmappable = match manner >> 6 {
            1 => Unmappable::Replace,
            2 => Unmappable::Escape,
            _ => Unmappable::Reject,
        };
        Self {
            settings,
            room: input.pick(&[100_000, 1000, 64]),
            client_reads: manner & 1 == 0,
            backend_reads: manner & 2 == 0,
            early: input.byte().into(),
        }
    }
}

fn framing(input: &mut Input<'_>) -> Framing {
    let several = Delimiter::new(&[b"\r\n".to_vec(), b"\n".to_vec(), b"\r".to_vec()], false);
    let kept = Delimiter::new(&[b"--".to_vec()], true);
    match usize::from(input.byte()) % (PRESETS.len() + 3) {
        0 => Framing::Raw,
        1 => Framing::Delimiter(several.expect("unambiguous")),
        2 => Framing::Delimiter(kept.expect("unambiguous")),
        at => preset(PRESETS[at - 3]).expect("a preset").to_client,
    }
}

/// A policy for both directions, and each for one.
fn both<T: Copy>(one: T, other: T) -> [Both<T>; 4] {
    let pair = |to_backend, to_client| Both {
        to_backend,
        to_client,
    };
    [Both::of(one), Both::of(other), pair(one, other), pair(other, one)]
}

/// What happens next.
enum Step<'a> {
    Client(Vec<u8>),
    Backend(Vec<u8>),
    ClientEnds,
    BackendEnds,
    Wait(Duration),
    Stop,
    /// Bytes of the backend that are a record of its framing, as far as that is a delimiter.
    Line(&'a [u8]),
}

impl<'a> Step<'a> {
    fn read(input: &mut Input<'a>) -> Option<Self> {
        if input.is_over() {
            return None;
        }
        Some(match input.byte() % 9 {
            0 => Self::Client(input.text().to_vec()),
            1 => {
                let first = input.byte();
                Self::Client(frame(first, input.text()))
            }
            2 => {
                let first = input.byte();
                let len = input.number();
                Self::Client(frame(first, &vec![input.byte(); len.into()]))
            }
            3 => Self::Backend(input.text().to_vec()),
            4 => {
                let len = input.number();
                Self::Backend(vec![input.byte(); len.into()])
            }
            5 => Self::Wait(SECOND * u32::from(input.byte() % 8)),
            6 => Self::ClientEnds,
            7 => match input.byte() % 8 {
                0 => Self::Stop,
                _ => Self::BackendEnds,
            },
            _ => Self::Line(input.text()),
        })
    }
}

/// A client's frame in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// Whatever both sides do, the session ends in time, the client hears frames that are right, the backend gets whole records or a
/// reset, and the books balance.
pub fn session(data: &[u8]) {
    // The jitter of pings is the only chance in a session.
    fastrand::seed(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(meet(data));
}

/// How much each side has sent, and all that it got.
struct Seen {
    ended: Ended,
    sent_up: u64,
    sent_down: u64,
    client: Vec<u8>,
    backend: Vec<u8>,
    backend_reset: bool,
}

async fn meet(data: &[u8]) {
    let mut input = Input::new(data);
    let setup = Setup::read(&mut input);
    let early = input.take(setup.early).to_vec();
    let settings = Arc::new(setup.settings.clone());
    let (client, client_wire) = Wire::new(setup.room);
    let (backend, backend_wire) = Wire::new(setup.room);
    let backend_reset = Arc::clone(&backend_wire.reset);
    let (live, sizes) = (Arc::new(Live::default()), Arc::<Sizes>::default());
    let over = CancellationToken::new();
    let (mut client_read, client_write) = split(client);
    let (mut backend_read, backend_write) = split(backend);

    let bridge = async {
        let ended = run(
            client_wire,
            early.clone(),
            backend_wire,
            Arc::clone(&settings),
            Arc::clone(&live),
            Arc::clone(&sizes),
        )
        .await;
        over.cancel();
        (ended, Instant::now())
    };
    let script = async {
        let mut sides = Sides {
            client: client_write,
            backend: backend_write,
            sent_up: 0,
            sent_down: 0,
        };
        while let Some(step) = Step::read(&mut input) {
            sides.act(step, &settings, &live).await;
        }
        live.end(Stop::Shutdown);
        // The connections stay open: the session has to end by itself.
        (sides, Instant::now())
    };
    let client_hears = listen(&mut client_read, setup.client_reads, &over);
    let backend_hears = listen(&mut backend_read, setup.backend_reads, &over);
    let all = async { tokio::join!(bridge, script, client_hears, backend_hears) };
    let day = Duration::from_hours(24);
    let ((ended, end), (sides, stopped), client, backend) = timeout(day, all).await.expect("it hangs");
    assert!(end <= stopped + LONGEST_END, "the end took {:?}", end - stopped);
    check(
        &setup,
        &Seen {
            ended,
            sent_up: sides.sent_up + early.len() as u64,
            sent_down: sides.sent_down,
            client,
            backend,
            backend_reset: backend_reset.load(Ordering::Relaxed),
        },
    );
}

/// The ends that the script holds.
struct Sides {
    client: WriteHalf<DuplexStream>,
    backend: WriteHalf<DuplexStream>,
    sent_up: u64,
    sent_down: u64,
}

impl Sides {
    async fn act(&mut self, step: Step<'_>, settings: &Settings, live: &Live) {
        match step {
            Step::Client(bytes) => {
                self.sent_up += bytes.len() as u64;
                send(&mut self.client, &bytes).await;
            }
            Step::Backend(bytes) => {
                self.sent_down += bytes.len() as u64;
                send(&mut self.backend, &bytes).await;
            }
            Step::Line(payload) => {
                let bytes = record(&settings.to_client, payload);
                self.sent_down += bytes.len() as u64;
                send(&mut self.backend, &bytes).await;
            }
            // Either may be gone already.
            Step::ClientEnds => drop(self.client.shutdown().await),
            Step::BackendEnds => drop(self.backend.shutdown().await),
            Step::Wait(time) => sleep(time).await,
            Step::Stop => live.end(Stop::Shutdown),
        }
        tokio::task::yield_now().await;
    }
}

/// Sends what is taken within a second; the rest is lost, as from a program that gives up.
async fn send(side: &mut WriteHalf<DuplexStream>, bytes: &[u8]) {
    drop(timeout(SECOND, side.write_all(bytes)).await);
}

/// A record with a payload, as a well-behaved backend sends it.
fn record(framing: &Framing, payload: &[u8]) -> Vec<u8> {
    use sealock::framing::EncodeState;
    use sealock::message::{Kind, Part};
    let mut out = sealock::outbox::Outbox::default();
    let part = Part::whole(Kind::Binary, payload);
    match framing.encode(&mut EncodeState::default(), &Embedded::Split, &part, &mut out) {
        Ok(()) => out.ready().to_vec(),
        Err(_) => payload.to_vec(),
    }
}

/// Hears a side to its end; what does not read is asked afterwards what had come.
async fn listen(side: &mut (impl AsyncRead + Unpin), reads: bool, over: &CancellationToken) -> Vec<u8> {
    if !reads {
        over.cancelled().await;
    }
    let mut heard = Vec::new();
    while let Ok(1..) = side.read_buf(&mut heard).await {}
    heard
}

fn check(setup: &Setup, seen: &Seen) {
    let settings = &setup.settings;
    let Ended {
        reason,
        code,
        counters,
        held_max: _,
        detail: _,
    } = seen.ended.clone();
    assert_ne!(reason, CloseReason::Internal);

    // A byte may become a character of three.
    let growth = match (settings.charset, settings.invalid_text) {
        (None, InvalidText::Close | InvalidText::Binary) => 1,
        _ => 3,
    };
    let heard = Heard::read(&seen.client);
    for (kind, message) in &heard.messages {
        assert!(
            message.len() as u64 <= settings.max_message * growth,
            "the client got {} bytes",
            message.len()
        );
        assert!(
            settings.deliver == Deliver::Auto
                || settings.invalid_text == InvalidText::Binary
                || (settings.deliver == Deliver::Text) == (*kind == sealock::message::Kind::Text)
        );
    }
    if let Some(told) = heard.close {
        assert_eq!(
            told,
            code.map(|code| code.0),
            "what was told is not what is logged"
        );
    }
    let bytes: usize = heard.messages.iter().map(|(_, message)| message.len()).sum();
    assert!(
        counters.messages_down >= heard.messages.len() as u64 && counters.bytes_down * growth >= bytes as u64
    );
    assert!(counters.bytes_up <= seen.sent_up, "more went up than was sent");
    assert!(
        counters.bytes_down <= seen.sent_down,
        "more went down than was sent"
    );

    let records = whole_records(&settings.to_backend, &seen.backend);
    if settings.to_backend == Framing::Raw {
        let growth = if settings.charset.is_some() { 4 } else { 1 };
        assert!(seen.backend.len() as u64 <= counters.bytes_up * growth);
    } else {
        let (count, end) = records;
        assert!(
            settings.embedded == Embedded::Split || count <= counters.messages_up,
            "more records than messages"
        );
        assert!(
            end == seen.backend.len() || seen.backend_reset || settings.embedded == Embedded::Split,
            "a record was cut without a reset"
        );
    }
}

/// How many whole records a stream has, and where the last of them ends.
fn whole_records(framing: &Framing, stream: &[u8]) -> (u64, usize) {
    let rules = DecodeRules {
        max_message: u64::MAX,
        oversized: Oversized::Close,
        text: false,
    };
    let (mut state, mut at, mut count, mut end) = (DecodeState::default(), 0, 0, 0);
    while let Ok(decoded) = framing.decode(&mut state, &rules, &stream[at..], true) {
        at += decoded.consumed;
        match decoded.event {
            Event::Part(part) if part.end => {
                count += 1;
                end = at;
            }
            Event::Part(_) => {}
            Event::More | Event::Discarded => break,
        }
    }
    (count, end)
}

/// A connection that remembers whether it was to be reset.
struct Wire {
    io: DuplexStream,
    reset: Arc<AtomicBool>,
}

impl Wire {
    fn new(room: usize) -> (DuplexStream, Self) {
        let (far, io) = duplex(room);
        (
            far,
            Self {
                io,
                reset: Arc::default(),
            },
        )
    }
}

impl Connection for Wire {
    fn reset_on_drop(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
